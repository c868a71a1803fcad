//! The command `doctor` on a configured broker: its release, the topics, and the clock.

use crate::harness::{Cluster, Ended, Program};

/// Returns a version that no other test has used: on a real Kafka, topics of former runs exist.
fn version() -> String {
    (500_000 + std::process::id() % 500_000).to_string()
}

async fn doctor(cluster: &Cluster, example: &str, options: &[&str]) -> Ended {
    let program = Program::example(example, cluster.dir("doctor")).on(cluster).setting("version", &version());
    program.args(["doctor"]).args(options.iter().copied()).run().await
}

fn line<'a>(ended: &'a Ended, check: &str) -> &'a str {
    let is_of = |line: &&String| line.split_whitespace().nth(1) == Some(check);
    ended.stdout.iter().find(is_of).unwrap_or_else(|| panic!("no line for {check}: {:?}", ended.stdout))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_clock_is_compared_once_a_worker_has_run() {
    let cluster = Cluster::start().await;
    let before = doctor(&cluster, "filter", &[]).await.success();
    assert!(line(&before, "clock").starts_with("warn"), "{}", line(&before, "clock"));
    let worker = Program::example("filter", cluster.dir("doctor")).on(&cluster).setting("version", &version());
    worker.args(["worker", "--until-idle", "300ms"]).run().await.success();
    let after = doctor(&cluster, "filter", &[]).await.success();
    assert!(
        line(&after, "clock").ends_with("the clocks of this machine and of the broker agree"),
        "{:?}",
        after.stdout
    );
    assert!(line(&after, "topics").starts_with("ok"), "{:?}", after.stdout);
    assert!(line(&after, "version").contains("answers as Kafka"), "{:?}", after.stdout);
    let bootstrap = cluster.bootstrap();
    assert!(line(&after, "broker").contains(bootstrap.rsplit(':').next().unwrap()), "{:?}", after.stdout);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changelog_that_would_lose_state_fails_with_its_fix() {
    let cluster = Cluster::start().await;
    let changelog = format!("tables-v{}-uri_summary-changelog", version());
    cluster.create_with(&changelog, 3, &[("cleanup.policy", "delete")]).await;
    let ended = doctor(&cluster, "tables", &[]).await.expect_code(1);
    let fails: Vec<_> = ended.stdout.iter().filter(|line| line.starts_with("fail")).collect();
    assert_eq!(fails.len(), 2, "{:?}", ended.stdout);
    assert!(fails[0].contains(&format!("topic `{changelog}` has 3 partitions, but")), "{}", fails[0]);
    assert!(fails[1].contains("kafka-configs") && fails[1].contains("cleanup.policy=compact"), "{}", fails[1]);
    assert!(ended.errors().ends_with("error: 2 checks have failed"), "{}", ended.errors());
    cluster.delete(&changelog).await;
}
