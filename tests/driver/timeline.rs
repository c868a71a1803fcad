//! The timeline that a failing test prints.

use std::process::Command;
use std::time::Duration;

use faust::AppBuilder;
use faust::prelude::*;
use faust::testing::{START, TestDriver, TestResult};

/// Sums numbers per minute, and sends each to `seen`. It fails at a negative number.
#[agent(topic = "numbers")]
async fn sum(
    mut numbers: Stream<i64, String>,
    #[table(name = "timeline_sums", window = tumbling("1m"), expires = "10s")] sums: WindowedTable<String, i64>,
    #[topic("seen")] seen: Topic<String, i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        if *event.value() < 0 {
            return Err("a negative number".into());
        }
        sums.update(event.key(), |sum| *sum += event.value());
        seen.send(event.key(), event.value()).await?;
    }
    Ok(())
}

/// Prints the sum of each minute.
#[window_close(table = "timeline_sums")]
async fn print(_key: String, _window: Window, _sum: i64) {}

fn app() -> AppBuilder {
    App::new("timeline").only::<sum>()
}

/// A driver with one worker and the topic `numbers`, which has this number of partitions.
fn driver(partitions: i32) -> TestDriver {
    let mut driver = TestDriver::new(app()).unwrap();
    driver.create_topic("numbers", partitions).unwrap();
    driver.start_worker().unwrap();
    driver
}

/// Sends a number to the first partition, with a time in seconds since the start.
fn send(driver: &mut TestDriver, number: i64, seconds: i64) {
    let time = Timestamp(START.0 + seconds * 1_000);
    driver.send_with("numbers", &"a".to_owned(), &number, |message| message.partition(0).timestamp(time)).unwrap();
    driver.run_until_idle();
}

/// Asserts that the timeline contains these lines in this order, whatever is between them.
fn check(driver: &TestDriver, lines: &[&str]) {
    let timeline = driver.timeline().to_string();
    let mut rest = timeline.as_str();
    for line in lines {
        let Some(at) = rest.find(line) else { panic!("`{line}` is missing, or is in another place:\n{timeline}") };
        rest = &rest[at + line.len()..];
    }
}

#[test]
fn an_event_is_shown_with_its_times_windows_outputs_and_commit() {
    let mut driver = driver(1);
    send(&mut driver, 3, 5);
    driver.commit();
    check(
        &driver,
        &[
            "timeline of the app `timeline`, times since 2026-01-01T00:00:00.000Z:",
            "+0s  worker-1  is assigned numbers[0]",
            r#"test      sends numbers[0] offset 0, time 2026-01-01T00:00:05.000Z, key "a", value 3"#,
            "worker-1  sum reads numbers[0] offset 0, time 2026-01-01T00:00:05.000Z, stream time 2026-01-01T00:00:05.000Z",
            r#"worker-1    timeline_sums "a" in [2026-01-01T00:00:00.000Z, +1m)"#,
            "worker-1  sends seen[",
            "worker-1  commits numbers[0] up to offset 1",
        ],
    );
    assert!(!driver.timeline().to_string().contains("changelog"), "the app's own topics are left out");
}

#[test]
fn late_events_and_closed_windows_are_shown() {
    let mut driver = driver(1);
    for (number, seconds) in [(1, 5), (2, 200), (3, 6)] {
        send(&mut driver, number, seconds);
    }
    check(
        &driver,
        &[
            "sum reads numbers[0] offset 1, time 2026-01-01T00:03:20.000Z, stream time 2026-01-01T00:03:20.000Z",
            r#"timeline_sums "a" in [2026-01-01T00:03:00.000Z, +1m)"#,
            r#"sum closes timeline_sums "a" in [2026-01-01T00:00:00.000Z, +1m)"#,
            "sum reads numbers[0] offset 2, time 2026-01-01T00:00:06.000Z, stream time 2026-01-01T00:03:20.000Z",
            r#"timeline_sums "a" in [2026-01-01T00:00:00.000Z, +1m): too late, the window has expired"#,
        ],
    );
}

#[test]
fn workers_that_come_and_go_are_shown() {
    let mut driver = driver(2);
    let second = driver.start_worker().unwrap();
    driver.crash(second);
    driver.advance(Duration::from_secs(60));
    check(
        &driver,
        &[
            "worker-1  is assigned numbers[0], numbers[1]",
            "worker-1  loses ",
            "worker-2  is assigned numbers[1]",
            "worker-2  is killed by the test",
            "worker-1  is assigned ",
        ],
    );
    let first = driver.start_worker().unwrap();
    driver.stop(first).unwrap();
    check(&driver, &["worker-3  is assigned", "worker-3  is stopped by the test", "worker-3  loses "]);
}

#[test]
fn failures_are_shown_with_their_reason() {
    let mut driver = driver(1);
    send(&mut driver, -1, 0);
    check(&driver, &["worker-1  sum fails at numbers[0] offset 0: agent failed: a negative number"]);
}

#[test]
fn the_last_lines_are_shown_and_counted() {
    let mut driver = driver(1);
    driver.limit_timeline(4);
    for number in 0..10 {
        send(&mut driver, number, number);
    }
    let timeline = driver.timeline().to_string();
    assert!(timeline.contains(", the last 4 of "), "{timeline}");
    // The heading, four lines, and the window of one of them.
    assert!(timeline.lines().count() <= 7, "{timeline}");
    assert!(timeline.contains("numbers[0] offset 9") && !timeline.contains("offset 7"), "{timeline}");
    driver.limit_timeline(0);
    assert!(driver.timeline().is_empty());
}

/// The variable with which the test below runs this one, so that its assertion fails.
const FAILS: &str = "FAUST_TEST_TIMELINE_FAILS";

#[test]
fn a_test_of_which_the_assertion_may_fail() {
    let mut driver = driver(1);
    send(&mut driver, 3, 5);
    let sent = driver.read::<String, i64>("seen").unwrap();
    let expected = if std::env::var_os(FAILS).is_some() { 4 } else { 3 };
    assert_eq!(sent, [("a".to_owned(), expected)], "the number that was sent");
}

#[test]
fn a_test_that_may_end_with_an_error() -> TestResult {
    let mut driver = driver(1);
    send(&mut driver, 3, 5);
    let topic = if std::env::var_os(FAILS).is_some() { "no topic" } else { "seen" };
    driver.read::<String, i64>(topic)?;
    Ok(())
}

/// Runs a test of this file, and returns whether it has passed, and its output.
fn run(test: &str, fails: bool) -> (bool, String) {
    let mut run = Command::new(std::env::current_exe().unwrap());
    run.args(["--exact", &format!("timeline::{test}")]).env_remove(FAILS);
    if fails {
        run.env(FAILS, "yes");
    }
    let output = run.output().unwrap();
    (output.status.success(), String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr))
}

/// A driver cannot notice that a test returns an error, but `?` converts it to the error of a test.
#[test]
fn a_test_that_ends_with_an_error_prints_the_timeline() {
    let (passed, text) = run("a_test_that_may_end_with_an_error", true);
    assert!(!passed && text.contains("timeline of the app `timeline`"), "{text}");
    assert!(text.contains("worker-1  sum reads numbers[0] offset 0") && text.contains("`no topic`"), "{text}");
    let (passed, text) = run("a_test_that_may_end_with_an_error", false);
    assert!(passed && !text.contains("timeline of the app"), "{text}");
}

/// The output of a failed test has the message of the assertion and the timeline behind it; that of a passed test has
/// neither.
#[test]
fn a_failed_assertion_prints_the_timeline() {
    let (passed, text) = run("a_test_of_which_the_assertion_may_fail", true);
    assert!(!passed && text.contains("the number that was sent"), "{text}");
    let (_, behind) = text.split_once("the number that was sent").unwrap();
    assert!(behind.contains("timeline of the app `timeline`"), "{text}");
    assert!(behind.contains("worker-1  sum reads numbers[0] offset 0"), "{text}");
    let (passed, text) = run("a_test_of_which_the_assertion_may_fail", false);
    assert!(passed && !text.contains("timeline of the app"), "{text}");
}
