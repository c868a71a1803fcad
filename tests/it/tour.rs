//! The tour with its embedded broker, run as a new user does in two terminals.

use crate::harness::{Cluster, LONG, Process, Program, wait_for};

/// Returns a command of the tour that runs in the folder, with an embedded broker on any free port.
fn tour(dir: &std::path::Path, args: &[&str]) -> Program {
    let program = Program::tour(dir).setting("embedded_port", "0").setting("broker_commit_interval", "200ms");
    program.setting("broker_session_timeout", "6s").args(args.iter().copied())
}

/// Returns the number of partitions of `tour.clicks` in the worker's last log line about its assignment.
fn partitions(worker: &Process) -> usize {
    let assigned = worker
        .stderr()
        .into_iter()
        .rev()
        .find_map(|line| line.split_once("assigned: ").map(|(_, rest)| rest.to_owned()));
    let clicks = assigned.and_then(|line| line.split_once("tour.clicks[").map(|(_, rest)| rest.to_owned()));
    clicks.map_or(0, |numbers| numbers.split(']').next().unwrap().split(',').count())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_second_worker_finds_the_broker_and_shares_the_partitions() {
    let dir = tempfile::tempdir().unwrap();
    let mut first = tour(dir.path(), &["worker"]).spawn();
    first.wait_for_line("the embedded broker is running at").await;
    first.wait_for_line(" is open ").await;
    assert_eq!(partitions(&first), 8);
    let mut second = tour(dir.path(), &["worker"]).spawn();
    wait_for("four partitions each", LONG, async || (partitions(&first), partitions(&second)) == (4, 4)).await;
    second.wait_for_line(" is open ").await;

    let topics = tour(dir.path(), &["topics", "--json"]).run().await.success().json();
    let clicks = topics.as_array().unwrap().iter().find(|topic| topic["topic"] == "tour.clicks").unwrap();
    assert_eq!(clicks["partitions"], 8, "{clicks}");
    let popular =
        tour(dir.path(), &["consume", "tour.popular", "--from-beginning", "-n", "3", "--json"]).run().await.success();
    assert_eq!(popular.stdout.len(), 3);

    second.interrupt();
    second.wait().await.success();
    wait_for("all partitions on the first worker", LONG, async || partitions(&first) == 8).await;
    first.interrupt();
    first.wait().await.success();
    let gone = tour(dir.path(), &["topics"]).run().await.expect_code(1);
    assert!(gone.errors().contains("no broker is running for app `tour`"), "{}", gone.errors());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_workers_stop_with_an_error_when_the_worker_that_hosts_the_broker_drains() {
    let dir = tempfile::tempdir().unwrap();
    let mut host = tour(dir.path(), &["worker"]).spawn();
    host.wait_for_line("assigned: ").await;
    let mut guest = tour(dir.path(), &["worker"]).spawn();
    guest.wait_for_line("assigned: ").await;
    host.interrupt();
    let guest = guest.wait().await.expect_code(1);
    assert!(guest.errors().contains("the worker that hosts the embedded broker"), "{}", guest.errors());
    host.wait().await.success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_separate_broker_outlives_the_workers_and_keeps_the_data() {
    let dir = tempfile::tempdir().unwrap();
    let mut broker = tour(dir.path(), &["broker"]).spawn();
    broker.wait_for_line("127.0.0.1:").await;
    let mut worker = tour(dir.path(), &["worker"]).spawn();
    worker.wait_for_line("per page ").await;
    worker.interrupt();
    let worker = worker.wait().await.success();
    let read = ["consume", "tour.clicks", "--from-beginning", "--timeout", "1s"];
    let before = tour(dir.path(), &read).run().await.success().stdout;
    assert!(!before.is_empty());
    // After `kill -9` and a restart in the same folder, all acknowledged messages are still there.
    broker.kill();
    let mut broker = tour(dir.path(), &["broker"]).spawn();
    broker.wait_for_line("127.0.0.1:").await;
    assert_eq!(tour(dir.path(), &read).run().await.success().stdout, before);
    // So are the counts: a page with 20 clicks continues to 40.
    let counted = counts(&worker.stdout);
    let mut worker = tour(dir.path(), &["worker"]).spawn();
    worker.wait_for_line("lately ").await;
    worker.wait_for_line("has had 40 clicks").await;
    worker.interrupt();
    let later = counts(&worker.wait().await.success().stdout);
    assert!(later.iter().all(|count| !counted.contains(count)), "{later:?} after {counted:?}");
    broker.interrupt();
    broker.wait().await.success();
}

/// Returns the printed lines with the clicks per page.
fn counts(printed: &[String]) -> Vec<String> {
    printed.iter().filter(|line| line.starts_with("per page ")).cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tour_runs_on_a_given_broker() {
    let cluster = Cluster::start().await;
    for topic in ["tour.clicks", "tour.popular"] {
        cluster.delete(topic).await;
    }
    let version = std::process::id().to_string();
    let mut worker =
        Program::tour(cluster.dir("tour")).on(&cluster).setting("version", &version).args(["worker"]).spawn();
    worker.wait_for_line(" is open ").await;
    worker.interrupt();
    let ended = worker.wait().await.success();
    let done = cluster.done(&format!("tour-v{version}"), "tour.clicks").await;
    assert!(done > 0, "nothing is committed:\n{}", ended.errors());
}
