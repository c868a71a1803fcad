//! Events that an agent fails at each time, and the command that skips them.

use std::fs::{remove_file, write};
use std::io::{BufRead, Read};

use crate::harness::Shop;

const FAST: [&str; 4] = ["--set", "agent_backoff_min=5ms", "--set", "agent_backoff_max=20ms"];

/// Returns the lines that a worker prints until it has read everything, sorted.
fn work(scales: &Shop) -> Vec<String> {
    let printed = scales.ok(&["worker", "--until-idle", "700ms", "-q"]);
    let mut lines: Vec<String> = printed.lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

fn send(scales: &Shop, weights: &[&str]) {
    for weight in weights {
        scales.ok(&["send", "weights", weight, "--partition", "0", "-q"]);
    }
}

#[test]
fn a_failing_event_is_skipped_for_its_agent_only() {
    let scales = Shop::of("scales");
    let broker = scales.broker();
    let setup = ["worker", "--until-idle", "100ms", "-q"];
    scales.ok(&setup);
    send(&scales, &["1", "2", "13", "4"]);
    let (worker, _log) = scales.worker(&FAST, "run `skip 'weights[0]' 2 --agent sum`");
    let refused = scales.fails(1, &["skip", "weights[0]", "2", "--yes"]);
    assert!(refused.contains("group `scales` has a member"), "{refused}");
    worker.interrupt();

    // `print` has passed it. Nothing but the next event can be skipped.
    for (line, expected) in [
        (&["skip", "weights[0]", "2"][..], "pass `--yes` to skip the question"),
        (&["skip", "weights[0]", "3"], "agent `sum` is at offset 2 of weights[0]"),
        (&["skip", "weights[0]", "1"], "run a worker until it fails there"),
        (&["skip", "weights[0]", "2", "--agent", "print"], "agent `print` is at offset 4 of weights[0]"),
        (
            &["skip", "weights[0]", "2", "--agent", "copy"],
            "agent `copy` does not read topic `weights`; it is read by `print`, `sum`",
        ),
        (&["skip", "weights[99]", "2"], "topic `weights` has only"),
        (&["skip", "prices[0]", "2"], "topic `prices` does not exist"),
    ] {
        let output = scales.run(line);
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(1) && error.contains(expected), "{line:?}: {error}");
    }
    assert!(scales.fails(2, &["skip", "weights", "2"]).contains("orders[3]"));

    let row = scales.ok(&["skip", "weights[0]", "2", "--yes", "--json"]);
    let row: serde_json::Value = serde_json::from_str(&row).unwrap();
    let expected = serde_json::json!([{
        "topic": "weights", "partition": 0, "offset": 2, "agent": "sum", "key": null, "value": "13",
    }]);
    assert_eq!(row, expected);
    // The table goes on from the events before, and the other agent repeats nothing.
    assert_eq!(work(&scales), ["sum 7"]);
    broker.interrupt();
}

#[test]
fn the_first_event_of_a_partition_can_be_skipped() {
    let scales = Shop::of("scales");
    let broker = scales.broker();
    scales.ok(&["worker", "--until-idle", "100ms", "-q"]);
    send(&scales, &["13", "4"]);
    let (worker, _log) = scales.worker(&FAST, "run `skip 'weights[0]' 0 --agent sum`");
    worker.interrupt();
    scales.ok(&["skip", "weights[0]", "0", "--yes"]);
    assert_eq!(work(&scales), ["sum 4"]);
    broker.interrupt();
}

#[test]
fn an_agent_that_cannot_start_is_tried_again_and_left_out_of_lists() {
    let scales = Shop::of("scales");
    let away = scales.directory.path().join("away");
    write(&away, "").unwrap();
    for (command, expected) in [("topology", "weights\n└─ @sum\n   └─ table sums\n"), ("tables", "| sums |")] {
        let output = scales.run(&[command]);
        let (text, note) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success() && text.contains(expected), "{text}{note}");
        let why = "agent `print` failed before it read its stream: the printer is away; ";
        assert!(note.contains(why) && note.contains("left out"), "{note}");
    }
    let refused = scales.fails(1, &["worker", "--set", "agent_failure=stop", "--set", "agent_max_attempts=1"]);
    assert!(refused.contains("the printer is away"), "{refused}");

    let (worker, mut log) = scales.worker(&FAST, "the printer is away; trying again in ");
    remove_file(&away).unwrap();
    let mut line = String::new();
    while !line.contains("assigned: ") {
        line.clear();
        assert_ne!(log.read_line(&mut line).unwrap(), 0, "the worker has exited");
    }
    worker.interrupt();
    log.read_to_string(&mut line).unwrap();
}
