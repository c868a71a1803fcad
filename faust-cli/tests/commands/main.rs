//! Tests of the command line as a user runs it: a program that contains an app, its output and its exit code.

#![allow(clippy::unwrap_used, reason = "a test fails by a panic")]

mod broker;
mod doctor;
mod harness;
mod ready;
mod skip;
mod tables;
mod tool;
mod upgrade;

use std::io::{BufRead, BufReader, Read, Write};
use std::process::Stdio;

use harness::Shop;

#[test]
fn without_arguments_the_help_is_printed() {
    let help = Shop::new().ok(&[]);
    assert!(help.starts_with("The stream processing app `shop`.") && help.contains("--until-idle"), "{help}");
}

#[test]
fn an_invalid_command_line_exits_with_2() {
    let shop = Shop::new();
    for line in [&["nope"][..], &["worker", "--until-idle", "2"], &["worker", "--set", "x"], &["send", "t"]] {
        assert!(shop.fails(2, line).contains("--help"), "{line:?}");
    }
}

#[test]
fn an_app_within_a_runtime_says_how_to_start_it() {
    let error = Shop::of("nested").fails(1, &["topology"]);
    assert!(error.contains("remove `#[tokio::main]`") && error.contains("start().await"), "{error}");
}

#[test]
fn the_completion_script_contains_commands_and_options() {
    let script = Shop::new().ok(&["completion", "bash"]);
    assert!(script.contains("complete -F _shop") && script.contains("--until-idle"), "{script}");
}

#[test]
fn lists_are_printed_as_tables_or_json() {
    let shop = Shop::new();
    let agents = "\
+Agents-+--------+-------+----------------+
| name  | topic  | sinks | help           |
+-------+--------+-------+----------------+
| @copy | orders |       | Copies orders. |
+-------+--------+-------+----------------+
";
    assert_eq!(shop.ok(&["agents"]), agents);
    let json: serde_json::Value = serde_json::from_str(&shop.ok(&["agents", "--json"])).unwrap();
    assert_eq!((json[0]["name"].as_str(), json[0]["topics"][0].as_str()), (Some("copy"), Some("orders")));
    assert!(shop.ok(&["models"]).contains("| Order | An order for an item. |"));
    assert!(shop.ok(&["model", "Order"]).contains("| count | u32    | 1       | in 1..=100 | Number of items.  |"));
    assert!(shop.fails(1, &["model", "Ordre"]).contains("did you mean `Order`?"));
    assert_eq!(shop.ok(&["topology"]), "orders\n└─ @copy\n   └─ copies\n");
}

#[test]
fn settings_are_taken_from_command_line_environment_and_file() {
    let shop = Shop::new();
    std::fs::write(
        shop.directory.path().join("faust.toml"),
        "topic_partitions = 3\nversion = 2\nshutdown_timeout = \"1s\"\n",
    )
    .unwrap();
    let mut command = shop.command(&["settings", "--json", "--set", "version=4"]);
    let output = command.env("FAUST_VERSION", "3").env("FAUST_TOPIC_PARTITIONS", "5").output().unwrap();
    let lines: Vec<serde_json::Value> = serde_json::from_slice(&output.stdout).unwrap();
    let of = |name: &str| {
        let line = lines.iter().find(|line| line["name"] == name).unwrap();
        (line["value"].as_str().unwrap().to_owned(), line["origin"].as_str().unwrap().to_owned())
    };
    let expected = [
        ("version", "4", "command line"),
        ("topic_partitions", "5", "FAUST_TOPIC_PARTITIONS"),
        ("shutdown_timeout", "1s", "faust.toml:3"),
        ("broker", "", "default"),
    ];
    for (name, value, origin) in expected {
        assert_eq!(of(name), (value.to_owned(), origin.to_owned()), "{name}");
    }
    let error = shop.fails(1, &["agents", "--set", "topic_partition=1", "--set", "version=x"]);
    assert!(error.contains("2 faults") && error.contains("did you mean `topic_partitions`?"), "{error}");
}

#[test]
fn every_command_refuses_librdkafka_settings_that_break_a_promise() {
    let shop = Shop::new();
    let faulty = ["--set", "kafka.delivery.report.only.error=true", "--set", "kafka.fetch.min.byte=1"];
    for command in [&["worker"][..], &["topology"], &["settings"], &["topics"], &["send", "orders", "x"], &["reset"]] {
        let error = shop.fails(1, &[command, &faulty].concat());
        assert!(error.contains("2 faults") && error.contains("commits would wait for ever"), "{command:?}: {error}");
        assert!(error.contains("did you mean `kafka.fetch.min.bytes`?"), "{command:?}: {error}");
    }
}

#[test]
fn sent_messages_are_consumed_with_key_and_headers() {
    let shop = Shop::new();
    let _broker = shop.broker();
    shop.ok(&[
        "send",
        "notes",
        "first",
        "-k",
        "a",
        "--header",
        "by=me",
        "--timestamp",
        "1700000000000",
        "--partition",
        "2",
    ]);
    let mut lines =
        shop.command(&["send", "notes", "-", "-k", "a", "--partition", "2"]).stdin(Stdio::piped()).spawn().unwrap();
    lines.stdin.take().unwrap().write_all(b"second\nthird\n").unwrap();
    assert!(lines.wait().unwrap().success());
    shop.ok(&["send", "notes", "fourth", "--repeat", "2", "--partition", "2"]);

    let all = shop.ok(&["consume", "notes", "--from-beginning", "--keys", "-n", "5"]);
    assert_eq!(all, "a\tfirst\na\tsecond\na\tthird\nnull\tfourth\nnull\tfourth\n");
    let first = shop.ok(&["consume", "notes", "--from-beginning", "-n", "1", "--json"]);
    let first: serde_json::Value = serde_json::from_str(&first).unwrap();
    let expected = serde_json::json!({
        "topic": "notes", "partition": 2, "offset": 0, "timestamp": 1_700_000_000_000_i64,
        "key": "a", "value": "first", "headers": [["by", "me"]],
    });
    assert_eq!(first, expected);
    for (time, reason) in
        [("0", "not after 1970-01-01"), ("-1", "not after 1970-01-01"), ("4102444800000", "after.max.ms")]
    {
        let output = shop.run(&["send", "notes", "fifth", &format!("--timestamp={time}")]);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(
            output.status.code() == Some(1) && error.contains(reason) && error.contains("notes"),
            "{time}: {error}"
        );
    }
    let topics: serde_json::Value = serde_json::from_str(&shop.ok(&["topics", "--json"])).unwrap();
    let notes = topics.as_array().unwrap().iter().find(|topic| topic["topic"] == "notes").unwrap();
    assert_eq!((notes["partitions"].as_i64(), notes["messages"].as_i64()), (Some(8), Some(5)));
}

#[test]
fn consume_exits_after_its_timeout_and_reports_missing_messages() {
    let shop = Shop::new();
    let _broker = shop.broker();
    shop.ok(&["send", "notes", "only", "-q"]);
    assert_eq!(shop.ok(&["consume", "notes", "--from-beginning", "--timeout", "300ms"]), "only\n");
    let output = shop.run(&["consume", "notes", "--from-beginning", "--timeout", "300ms", "-n", "2"]);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.as_slice()), (Some(1), &b"only\n"[..]));
    assert!(error.contains("timed out after 1 of 2 messages"), "{error}");
}

#[test]
fn a_missing_topic_is_named_with_the_one_that_was_meant() {
    let shop = Shop::new();
    let _broker = shop.broker();
    shop.ok(&["send", "notes", "only", "-q"]);
    for options in [&["-n", "1"][..], &[]] {
        let error = shop.fails(1, &[&["consume", "nots", "--timeout", "300ms"], options].concat());
        let expected = "topic `nots` does not exist (did you mean `notes`?)";
        assert!(error.contains(&format!("{expected}; waiting for it")), "{error}");
        assert!(error.ends_with(&format!("error: {expected}\n")), "{error}");
    }
}

#[test]
fn a_worker_with_until_idle_reads_all_messages() {
    let shop = Shop::new();
    let broker = shop.broker();
    shop.ok(&["send", "orders", r#"{"item":"tea","count":2}"#]);
    shop.ok(&["send", "orders", r#"{"item":"cup"}"#]);
    shop.ok(&["send", "orders", "no order"]);
    let worker = shop.run(&["worker", "--until-idle", "500ms"]);
    let (printed, log) = (String::from_utf8(worker.stdout).unwrap(), String::from_utf8(worker.stderr).unwrap());
    let summary = log.lines().find(|line| line.contains("the worker has ended: ")).unwrap_or_else(|| panic!("{log}"));
    assert!(
        summary.contains("3 messages read, 3 messages sent, ") && summary.ends_with(", 1 dead letter"),
        "{summary}"
    );
    let mut printed: Vec<&str> = printed.lines().collect();
    printed.sort_unstable();
    assert_eq!(printed, ["1 x cup", "2 x tea"]);
    assert_eq!(shop.ok(&["consume", "copies", "--from-beginning", "--keys", "-n", "2"]).lines().count(), 2);
    let rejected = shop.run(&["consume", "shop-dead-letter", "--from-beginning", "-n", "1"]);
    assert_eq!(String::from_utf8_lossy(&rejected.stdout), "no order\n");
    let why = String::from_utf8_lossy(&rejected.stderr);
    let is_named = why.starts_with("rejected by agent `copy` from orders[") && why.contains("] offset ");
    assert!(is_named && why.contains("expected"), "{why}");
    // Committed messages are not read again, even if the broker is given by address.
    assert_eq!(shop.ok(&["worker", "--until-idle", "300ms", "--broker", &broker.address, "-q"]), "");
}

#[test]
fn commands_find_the_broker_of_a_worker_and_never_start_one() {
    let shop = Shop::new();
    for line in [&["send", "t", "x"][..], &["consume", "t"], &["topics"]] {
        let error = shop.fails(1, line);
        assert!(error.contains("no broker is running for app `shop`") && error.contains("FAUST_BROKER"), "{error}");
    }
    let (mut worker, mut log) = shop.worker(&[], "it is for one machine");
    shop.ok(&["send", "orders", r#"{"item":"tea"}"#]);
    assert_eq!(shop.ok(&["consume", "copies", "--from-beginning", "-n", "1"]), "{\"item\":\"tea\",\"count\":1}\n");
    let error = shop.fails(1, &["broker"]);
    assert!(error.contains("is already running"), "{error}");
    worker.signal("INT");
    let mut rest = String::new();
    log.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("draining; press Ctrl-C again to exit immediately"), "{rest}");
    assert!(worker.child.wait().unwrap().success());
    assert!(shop.fails(1, &["topics"]).contains("no broker is running"));
}

#[test]
fn the_timeout_limits_the_wait_for_an_unavailable_broker() {
    let shop = Shop::new();
    // Nothing listens on port 1; without the timeout these commands would not exit.
    for line in [&["consume", "t"][..], &["send", "t", "x"], &["topics"]] {
        let line = [line, &["--timeout", "1s", "--broker", "localhost:1"]].concat();
        let error = shop.fails(1, &line);
        let (waiting, failed) = error.split_once("error: ").unwrap_or_else(|| panic!("{line:?}: {error}"));
        assert!(
            waiting.starts_with("waiting for the broker: ") && waiting.contains("refused; start the broker"),
            "{error}"
        );
        assert!(failed.contains("localhost:1") && failed.contains("refused"), "{error}");
    }
}

#[test]
fn a_closed_pipe_ends_the_output_silently() {
    let shop = Shop::new();
    let _broker = shop.broker();
    shop.ok(&["send", "notes", "again and again", "--repeat", "20000", "-q"]);
    let mut consume = shop.command(&["consume", "notes", "--from-beginning"]).spawn().unwrap();
    let mut line = String::new();
    BufReader::new(consume.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let output = consume.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
}

#[test]
fn the_broker_command_keeps_its_data_and_its_address() {
    let shop = Shop::new();
    let broker = shop.broker();
    shop.ok(&["send", "notes", "kept"]);
    let error = shop.fails(1, &["broker"]);
    assert!(error.contains("is already running") && error.contains(&broker.address), "{error}");
    let before = broker.address.clone();
    drop(broker);
    let broker = shop.broker();
    assert_eq!(broker.address, before, "clients that wait for the broker would not find it");
    assert_eq!(shop.ok(&["consume", "notes", "--from-beginning", "-n", "1"]), "kept\n");
}
