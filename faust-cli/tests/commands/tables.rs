//! Tables on the command line: lists, changelogs, `reset` and `clean-versions`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::Shop;

/// Sends sales to the app `till`, runs a worker, and returns the sums that it prints.
fn sell(till: &Shop, options: &[&str], amounts: &[i64]) -> Vec<String> {
    for amount in amounts {
        till.ok(&["send", "sales", &amount.to_string(), "--partition", "0", "--timestamp", "1767225600000", "-q"]);
    }
    work(till, options)
}

/// Runs a worker until all messages have been read, and returns its printed lines, sorted.
fn work(till: &Shop, options: &[&str]) -> Vec<String> {
    let printed = till.ok(&[&["worker", "--until-idle", "700ms", "-q"], options].concat());
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn json(till: &Shop, line: &[&str]) -> Value {
    serde_json::from_str(&till.ok(&[line, &["--json"]].concat())).unwrap()
}

/// Returns the `what` and `name` of each row.
fn rows(removed: &Value) -> Vec<String> {
    let text = |row: &Value, column: &str| row[column].as_str().unwrap().to_owned();
    let row = |row: &Value| format!("{} {}", text(row, "what"), text(row, "name"));
    removed.as_array().unwrap().iter().map(row).collect()
}

#[test]
fn tables_are_listed_and_drawn() {
    let till = Shop::of("till");
    let tables = "\
+Tables---+--------+-------+---------------------------+------------------------+--------+-------+------+
| name    | key    | value | window                    | changelog              | agents | hooks | help |
+---------+--------+-------+---------------------------+------------------------+--------+-------+------+
| minutes | String | i64   | tumbling 1m, expires 1day | till-minutes-changelog | @add   |       |      |
| sums    | String | i64   |                           | till-sums-changelog    | @add   |       |      |
+---------+--------+-------+---------------------------+------------------------+--------+-------+------+
";
    assert_eq!(till.ok(&["tables"]), tables);
    let sums = json!({
        "name": "sums", "key": "String", "value": "i64", "window": null, "changelog": "till-sums-changelog",
        "agents": ["add"], "hooks": [], "help": "",
    });
    assert_eq!(json(&till, &["tables"])[1], sums);
    let tree = "\
sales
└─ add/0 (forwards)
   └─ till-add-place-repartition
      └─ @add
         ├─ table minutes, tumbling 1m, expires 1day
         └─ table sums
";
    assert_eq!(till.ok(&["topology"]), tree);
    assert!(till.ok(&["topology", "--dot"]).contains(r#""table:sums" -> "topic:till-sums-changelog""#));
    assert!(till.ok(&["topology", "--mermaid"]).contains("[[\"sums\"]]"));
    assert_eq!(json(&till, &["topology"])["stages"][1]["tables"], json!(["sums", "minutes"]));
}

#[test]
fn replicas_are_shown_with_their_lag() {
    let till = Shop::of("till");
    let _broker = till.broker();
    assert_eq!(json(&till, &["tables", "--replicas"]), json!([]), "no worker has run");
    assert_eq!(sell(&till, &[], &[5]), ["shop 5"]);
    let (_first, _first_log) = till.worker(&[], "assigned: ");
    let (_second, _second_log) = till.worker(&[], "assigned: ");
    let is_complete = |row: &Value| {
        let standby = &row["standbys"][0];
        row["worker"].is_string() && standby["lag"] == json!(0) && standby["worker"] != row["worker"]
    };
    let began = Instant::now();
    let rows = loop {
        let rows = json(&till, &["tables", "--replicas"]).as_array().unwrap().clone();
        let workers: BTreeSet<_> = rows.iter().filter_map(|row| row["worker"].as_str()).collect();
        if workers.len() == 2 && rows.iter().all(is_complete) {
            break rows;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{rows:?}");
    };
    let of = |table: &str| -> Vec<_> {
        rows.iter().filter(|row| row["table"] == table).map(|row| row["partition"].clone()).collect()
    };
    assert!(of("minutes").len() > 1 && of("minutes") == of("sums"), "{rows:?}");
    let shown = till.ok(&["tables", "--replicas"]);
    assert!(shown.contains("(lag 0) |"), "{shown}");
}

#[test]
fn the_keys_of_a_windowed_changelog_are_shown_with_their_windows() {
    let till = Shop::of("till");
    let _broker = till.broker();
    assert_eq!(sell(&till, &[], &[5]), ["shop 5"]);
    let consume = ["consume", "till-minutes-changelog", "--from-beginning", "-n", "1", "--keys"];
    assert_eq!(till.ok(&consume), "shop [2026-01-01T00:00:00.000Z, +1m)\t5\n");
    let line = json(&till, &consume);
    let window = json!({"start": 1_767_225_600_000_i64, "end": 1_767_225_660_000_i64});
    assert_eq!((&line["key"], &line["window"]), (&json!("shop"), &window));
    let sums = ["consume", "till-sums-changelog", "--from-beginning", "-n", "1", "--keys"];
    assert_eq!(till.ok(&sums), "shop\t5\n");
    assert_eq!(json(&till, &sums).get("window"), None);
    let topics = json(&till, &["topics"]);
    let role =
        |name: &str| topics.as_array().unwrap().iter().find(|topic| topic["topic"] == name).unwrap()["role"].clone();
    assert_eq!((role("till-sums-changelog"), role("sales")), (json!("changelog"), json!("source")));
}

#[test]
fn reset_is_rejected_while_a_worker_runs_and_needs_confirmation() {
    let till = Shop::of("till");
    let (worker, _log) = till.worker(&[], "assigned: ");
    let error = till.fails(1, &["reset", "--yes"]);
    assert!(error.contains("a worker is running in `till-data/worker-1`: stop it first"), "{error}");
    worker.interrupt();
    let state = till.directory.path().join("till-data/worker-1/state");
    assert!(state.is_dir());
    let output = till.run(&["reset"]);
    let (listed, error) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
    assert_eq!(output.status.code(), Some(1));
    assert!(listed.contains("state | till-data/worker-1/state | 1") && listed.contains(" MB "), "{listed}");
    assert!(error.contains("`--yes`") && state.is_dir(), "{error}");
    let error = till.fails(1, &["reset", "--topics", "--yes"]);
    assert!(error.contains("no broker is running for app `till`") && state.is_dir(), "{error}");
    till.ok(&["reset", "--yes"]);
    assert!(!state.exists());
    assert_eq!(till.ok(&["reset"]), "");
}

#[test]
fn reset_state_is_restored_and_reset_topics_starts_over() {
    let till = Shop::of("till");
    let broker = till.broker();
    assert_eq!(sell(&till, &[], &[1, 2, 500]), ["shop 1", "shop 3", "store 500"]);
    assert_eq!(rows(&json(&till, &["reset", "--yes"])), ["state till-data/worker-1/state"]);
    // No message is read again, and the sums continue.
    assert_eq!(sell(&till, &[], &[4]), ["shop 7"]);

    // The other data directory stands for another machine, which gets its own store.
    let elsewhere = ["--datadir", "elsewhere", "--broker", &broker.address];
    assert_eq!(work(&till, &elsewhere), [""; 0]);
    let (worker, _log) = till.worker(&elsewhere, "assigned: ");
    let error = till.fails(1, &["reset", "--topics", "--yes"]);
    assert!(error.contains("group `till` has a member: stop that worker first"), "{error}");
    worker.interrupt();

    till.ok(&["send", "sales", "no number"]);
    assert_eq!(work(&till, &[]), [""; 0]);
    let removed = json(&till, &["reset", "--topics", "--yes"]);
    let expected = [
        "group till",
        "state till-data/worker-1/state",
        "topic till-add-place-repartition",
        "topic till-control",
        "topic till-minutes-changelog",
        "topic till-sums-changelog",
    ];
    assert_eq!(rows(&removed), expected);
    assert!(removed[4]["records"].as_i64() >= Some(2) && removed[1]["bytes"].as_u64() > Some(0), "{removed}");
    assert_eq!(till.ok(&["consume", "till-dead-letter", "--from-beginning", "-n", "1"]), "no number\n");
    assert_eq!(work(&till, &[]), ["shop 1", "shop 3", "shop 7", "store 500"]);
    // The other machine has not been reset: its tables do not belong to the commits of the new group.
    let stale = till.fails(1, &[&["worker", "--until-idle", "700ms"], &elsewhere[..]].concat());
    assert!(stale.contains("run `reset`"), "{stale}");
    till.ok(&["reset", "--yes", "--datadir", "elsewhere"]);
    assert_eq!(work(&till, &elsewhere), [""; 0]);
}

#[test]
fn clean_versions_removes_older_versions_and_keeps_the_current_one() {
    let till = Shop::of("till");
    let _broker = till.broker();
    assert_eq!(sell(&till, &[], &[1, 2]), ["shop 1", "shop 3"]);
    assert_eq!(till.ok(&["clean-versions"]), "", "there is no version before version 1");
    assert_eq!(work(&till, &["--set", "version=2"]), ["shop 1", "shop 3"], "a new version starts over");
    assert_eq!(work(&till, &["--set", "version=12"]), ["shop 1", "shop 3"]);
    till.ok(&["send", "till-roll-changelog", "of the app `till-roll`"]);

    let (worker, _log) = till.worker(&["--set", "version=2"], "assigned: ");
    let error = till.fails(1, &["clean-versions", "--yes", "--set", "version=12"]);
    assert!(error.contains("group `till-v2` has a member"), "{error}");
    worker.interrupt();
    // A worker of the current version may be running.
    let (worker, _log) = till.worker(&["--set", "version=12"], "assigned: ");
    let output = till.run(&["clean-versions", "--yes", "--json", "--set", "version=12"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && error.contains("`till-`: till-roll-changelog;"), "{error}");
    let expected = [
        "group till",
        "group till-v2",
        "state till-data/worker-1/state",
        "state till-data/worker-1/state-v2",
        "topic till-add-place-repartition",
        "topic till-control",
        "topic till-minutes-changelog",
        "topic till-sums-changelog",
        "topic till-v2-add-place-repartition",
        "topic till-v2-control",
        "topic till-v2-minutes-changelog",
        "topic till-v2-sums-changelog",
    ];
    assert_eq!(rows(&serde_json::from_slice(&output.stdout).unwrap()), expected);
    worker.interrupt();
    assert_eq!(sell(&till, &["--set", "version=12"], &[4]), ["shop 7"]);
    assert_eq!(till.ok(&["clean-versions", "--set", "version=12"]), "");
    let topics = json(&till, &["topics", "--set", "version=12"]);
    let names: Vec<&str> = topics.as_array().unwrap().iter().map(|topic| topic["topic"].as_str().unwrap()).collect();
    let kept = ["sales", "till-dead-letter", "till-roll-changelog", "till-v2-dead-letter", "till-v12-sums-changelog"];
    assert!(kept.iter().all(|name| names.contains(name)), "{names:?}");
}
