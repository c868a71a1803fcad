//! The command `doctor`: an app on its embedded broker, and one without a broker.

use serde_json::Value;

use crate::harness::Shop;

/// Runs `doctor`, and returns its exit code and its lines as `state check`.
fn doctor(shop: &Shop, options: &[&str]) -> (Option<i32>, Vec<String>, String) {
    let output = shop.run(&[&["doctor", "--json"], options].concat());
    let checks: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
    let text = |check: &Value, column: &str| check[column].as_str().unwrap().to_owned();
    let line = |check: &Value| format!("{} {}", text(check, "state"), text(check, "check"));
    let details: Vec<_> = checks.iter().map(|check| text(check, "text")).collect();
    (output.status.code(), checks.iter().map(line).collect(), details.join("\n"))
}

#[test]
fn a_healthy_app_passes_before_and_after_its_first_worker() {
    let shop = Shop::new();
    let broker = shop.broker();
    let names = [
        "datadir",
        "disk",
        "open files",
        "security",
        "agents",
        "broker",
        "version",
        "topics",
        "replication",
        "rights",
        "clock",
    ];
    for topics in ["0 exist, and 4 can be created", "all 4 exist"] {
        let (code, lines, details) = doctor(&shop, &[]);
        assert_eq!(code, Some(0), "{lines:?} {details}");
        let checks: Vec<_> = lines.iter().map(|line| line.split_once(' ').unwrap().1).collect();
        assert_eq!(checks, names);
        assert!(details.contains(topics) && details.contains("Kafka"), "{details}");
        // The machine of the test may have little space or few files.
        assert!(lines[3..].iter().all(|line| line.starts_with("ok ")), "{lines:?} {details}");
        shop.ok(&["worker", "--until-idle", "100ms", "-q"]);
    }
    let text = shop.ok(&["doctor"]);
    assert!(text.lines().any(|line| line.starts_with("ok    topics ")), "{text}");
    broker.interrupt();
}

#[test]
fn without_a_broker_the_other_checks_are_made() {
    let shop = Shop::new();
    let (code, lines, details) = doctor(&shop, &[]);
    assert!(code == Some(1) && lines.contains(&"fail broker".to_owned()), "{lines:?}");
    assert!(lines.contains(&"ok datadir".to_owned()) && lines.contains(&"ok agents".to_owned()), "{lines:?}");
    assert!(details.contains("start `worker` or `broker`"), "{details}");
    let (code, lines, details) = doctor(&shop, &["--broker", "localhost:1", "--timeout", "1s"]);
    assert!(code == Some(1) && lines.contains(&"fail broker".to_owned()), "{lines:?}");
    assert!(details.contains("localhost:1") && details.contains("Connection refused"), "{details}");
}

#[test]
fn what_the_broker_would_refuse_is_found_before_a_worker_starts() {
    let shop = Shop::new();
    let broker = shop.broker();
    let (code, _, details) = doctor(&shop, &["--set", "topic_replication_factor=3"]);
    assert!(
        code == Some(1) && details.contains("topic `orders` does not exist, and the broker would refuse"),
        "{details}"
    );
    let (code, _, details) = doctor(&shop, &["--set", "topic_allow_declare=false"]);
    assert!(code == Some(1) && details.contains("`topic_allow_declare` forbids"), "{details}");
    broker.interrupt();
}
