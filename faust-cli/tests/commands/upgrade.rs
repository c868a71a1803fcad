//! The command `upgrade-check`: a running app, and next versions of it.

use std::process::Output;

use serde_json::Value;

use crate::harness::Shop;

/// Runs `upgrade-check` of the next version of the app in its directory.
fn check(till: &Shop, version: &str, options: &[&str]) -> Output {
    let mut command = till.command_of("till_next", &[&["upgrade-check"], options].concat());
    command.env("TILL", version).output().unwrap()
}

/// Returns the changes as `part name change upgrade`.
fn changes(output: &Output) -> (String, Vec<String>) {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |row: &Value, column: &str| row[column].as_str().unwrap().to_owned();
    let row = |row: &Value| ["part", "name", "change", "upgrade"].map(|column| text(row, column)).join(" ");
    (text(&report, "verdict"), report["changes"].as_array().unwrap().iter().map(row).collect())
}

fn errors(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn the_plan_of_the_running_workers_decides_how_to_upgrade() {
    let till = Shop::of("till");
    let broker = till.broker();
    let first = till.run(&["upgrade-check"]);
    assert!(
        first.status.success() && errors(&first).contains("no worker of this app has run yet"),
        "{}",
        errors(&first)
    );

    let (worker, _log) = till.worker(&[], "assigned: ");
    let same = till.run(&["upgrade-check"]);
    assert!(
        same.status.success() && errors(&same).contains("the plan is the same; 1 worker runs"),
        "{}",
        errors(&same)
    );
    assert_eq!(String::from_utf8_lossy(&same.stdout), "");

    let grown = check(&till, "grown", &["--json"]);
    assert!(grown.status.success() && errors(&grown).contains("a rolling upgrade is possible"), "{}", errors(&grown));
    let expected = ["table counts new rolling", "stage add changed rolling"].map(str::to_owned);
    assert_eq!(changes(&grown), ("rolling".to_owned(), expected.to_vec()));

    let moved = check(&till, "moved", &["--json"]);
    assert_eq!(moved.status.code(), Some(1));
    assert!(errors(&moved).contains("error: 1 worker runs: stop all of them before"), "{}", errors(&moved));
    let expected = [
        "table minutes changed stop all",
        "table sums changed stop all",
        "stage add changed rolling",
        "stage add/0 changed rolling",
        "topic till-add-town-repartition new rolling",
        "topic till-add-place-repartition removed attention",
    ];
    assert_eq!(changes(&moved), ("stop all".to_owned(), expected.map(str::to_owned).to_vec()));

    let retyped = check(&till, "retyped", &[]);
    assert_eq!(retyped.status.code(), Some(1));
    assert!(errors(&retyped).contains("not possible because of table `minutes`, table `sums`"), "{}", errors(&retyped));
    let table = String::from_utf8_lossy(&retyped.stdout);
    assert!(table.contains("run `reset`") && table.contains("revert the windows"), "{table}");

    worker.interrupt();
    let stopped = check(&till, "moved", &[]);
    let text = errors(&stopped);
    assert!(stopped.status.success() && text.contains("no worker runs: start the new version"), "{text}");
    broker.interrupt();
}
