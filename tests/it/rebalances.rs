//! Rebalances over librdkafka: static members that restart in turn, and groups whose partitions the broker assigns.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use faust::prelude::*;
use faust::{AppBuilder, Worker};
use faust_broker::BrokerConfig;

use crate::harness::{Cluster, LONG, Message, Proxy, wait_for};

const PARTITIONS: usize = 6;
const GUARANTEES: [&str; 2] = ["at_least_once", "exactly_once"];

async fn count_all(
    mut numbers: Stream<i64, String>,
    counts: Table<String, u64>,
    out: Topic<String, u64>,
) -> Result<()> {
    while let Some(number) = numbers.next_event().await {
        let count = counts.update(number.key(), |count| {
            *count += 1;
            *count
        });
        out.send(number.key(), &count).await?;
    }
    Ok(())
}

/// Counts the numbers by key, in static workers.
#[agent(topic = "rb-static-in")]
async fn of_static(
    numbers: Stream<i64, String>,
    #[table(name = "counts", partition_by_source)] counts: Table<String, u64>,
    #[topic("rb-static-out")] out: Topic<String, u64>,
) -> Result<()> {
    count_all(numbers, counts, out).await
}

/// Counts the numbers by key, where the broker assigns the partitions.
#[agent(topic = "rb-broker-in")]
async fn of_broker(
    numbers: Stream<i64, String>,
    #[table(name = "counts", partition_by_source)] counts: Table<String, u64>,
    #[topic("rb-broker-out")] out: Topic<String, u64>,
) -> Result<()> {
    count_all(numbers, counts, out).await
}

/// Counts the numbers by key, in a worker whose messages are late.
#[agent(topic = "rb-late-in")]
async fn of_late(
    numbers: Stream<i64, String>,
    #[table(name = "counts", partition_by_source)] counts: Table<String, u64>,
    #[topic("rb-late-out")] out: Topic<String, u64>,
) -> Result<()> {
    count_all(numbers, counts, out).await
}

async fn create(cluster: &Cluster, name: &str) {
    cluster.create(&format!("{name}-in"), i32::try_from(PARTITIONS).unwrap()).await;
    cluster.create(&format!("{name}-out"), 1).await;
}

/// Sends numbers to all partitions in turn until `stop` is set. Returns how many to each.
async fn feed(cluster: &Cluster, name: &str, stop: &AtomicBool) -> u64 {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut rounds = 0;
    while !stop.load(Ordering::Relaxed) {
        tick.tick().await;
        send_rounds(cluster, name, 1).await;
        rounds += 1;
    }
    rounds
}

/// Sends this many numbers to each partition.
async fn send_rounds(cluster: &Cluster, name: &str, rounds: usize) {
    let to = |partition| Message::of("1").key(format!("p{partition}")).to(i32::try_from(partition).unwrap());
    cluster.producer(&format!("{name}-in")).send_all((0..rounds).flat_map(|_| (0..PARTITIONS).map(to))).await;
}

/// Waits until all partitions are assigned, at least one to each worker, and restored.
async fn shared_out(workers: &[Worker]) {
    wait_for("the partitions to be shared", LONG, async || {
        let all: Vec<_> = workers.iter().map(Worker::status).collect();
        let counts = all.iter().map(|status| status.assignment.len());
        counts.clone().sum::<usize>() == PARTITIONS && counts.min() > Some(0) && all.iter().all(|status| status.ready)
    })
    .await;
}

/// Waits until each worker has had another event.
async fn all_go_on(workers: &[Worker]) {
    let events = || workers.iter().map(|worker| worker.status().counts.events);
    let before: Vec<_> = events().collect();
    wait_for("events of each worker", LONG, async || events().zip(&before).all(|(now, before)| now > *before)).await;
}

/// Waits until all events are committed, and compares the outputs and the tables. Stops the workers.
async fn check(cluster: &Cluster, (id, name, guarantee): (&str, &str, &str), rounds: u64, workers: Vec<Worker>) {
    let all = usize::try_from(rounds).unwrap() * PARTITIONS;
    cluster.wait_done(&cluster.id(id), &format!("{name}-in"), all).await;
    let mut table = BTreeMap::new();
    for worker in &workers {
        table.extend(worker.table::<String, u64>("counts").unwrap().iter().unwrap());
    }
    let expected: BTreeMap<_, _> = (0..PARTITIONS).map(|partition| (format!("p{partition}"), rounds)).collect();
    assert_eq!(table, expected, "{guarantee}");
    for worker in workers {
        worker.stop().await.unwrap();
    }
    let mut counted: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for message in cluster.read(&format!("{name}-out")).await {
        counted.entry(message.key_text()).or_default().push(message.text().parse().unwrap());
    }
    assert_eq!(counted.len(), PARTITIONS);
    for (key, mut counts) in counted {
        if guarantee == "at_least_once" {
            counts.sort_unstable();
            counts.dedup();
        }
        assert!(counts.iter().copied().eq(1..=rounds), "{guarantee}: the counts of {key} up to {rounds}: {counts:?}");
    }
}

/// Law: static workers that restart in turn get their partitions back, and the others do not notice.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_restart_of_static_workers_causes_no_rebalance() {
    for guarantee in GUARANTEES {
        let cluster = Cluster::start().await;
        create(&cluster, "rb-static").await;
        let id = format!("rb-static-{guarantee}");
        let names = ["one", "two", "three"];
        let app = |name: &str| {
            let app = cluster.app(&id).only::<of_static>().setting("datadir", cluster.dir(name).display());
            let app = app.setting("processing_guarantee", guarantee).setting("worker_name", name);
            app.setting("consumer_group_instance_id", name).setting("broker_session_timeout", "60s")
        };
        let stop = AtomicBool::new(false);
        let restarts = async {
            let mut workers = Vec::new();
            for name in names {
                workers.push(cluster.run(app(name)).await);
            }
            shared_out(&workers).await;
            all_go_on(&workers).await;
            let seen = |worker: &Worker| (worker.status().assignment, worker.status().counts.rebalances);
            for (at, name) in names.into_iter().enumerate() {
                let mut expected: Vec<_> = workers.iter().map(seen).collect();
                workers.remove(at).stop().await.unwrap();
                all_go_on(&workers).await;
                workers.insert(at, cluster.run(app(name)).await);
                all_go_on(&workers).await;
                // The new process has had one assignment.
                expected[at].1 = 1;
                assert_eq!(workers.iter().map(seen).collect::<Vec<_>>(), expected, "{guarantee}, restart of {name}");
            }
            stop.store(true, Ordering::Relaxed);
            workers
        };
        let (rounds, workers) = tokio::join!(feed(&cluster, "rb-static", &stop), restarts);
        check(&cluster, (&id, "rb-static", guarantee), rounds, workers).await;
    }
}

/// Law: messages that are on their way when their worker loses the partitions, and arrive when it owns them again, do not count:
/// another worker has processed their events meanwhile. Under at-least-once, the outputs among them are repetitions.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_that_arrive_once_the_partitions_are_back_do_not_count() {
    for guarantee in GUARANTEES {
        let cluster = Cluster::start().await;
        create(&cluster, "rb-late").await;
        let id = format!("rb-late-{guarantee}");
        let app = |name: &str| {
            let app = cluster.app(&id).only::<of_late>().setting("datadir", cluster.dir(name).display());
            let app = app.setting("processing_guarantee", guarantee).setting("worker_name", name);
            app.setting("broker_rebalance_timeout", "3s")
        };
        let proxy = Proxy::steady(cluster.bootstrap());
        let late = cluster.run(app("late").setting("broker", proxy.bootstrap())).await;
        send_rounds(&cluster, "rb-late", 20).await;
        cluster.wait_done(&cluster.id(&id), "rb-late-in", 20 * PARTITIONS).await;

        proxy.hold_messages();
        send_rounds(&cluster, "rb-late", 20).await;
        let processed = async || late.status().counts.events >= 40 * PARTITIONS as u64;
        wait_for("events whose outputs are held back", LONG, processed).await;
        let other = cluster.run(app("other")).await;
        let taken = async || {
            let owned = other.status().assignment;
            let committed = cluster.committed(&cluster.id(&id), "rb-late-in").await;
            let ends = owned.iter().filter_map(|part| committed.get(&part.partition));
            !owned.is_empty() && ends.filter(|committed| committed.offset.0 >= 40).count() == owned.len()
        };
        wait_for("commits of the other worker", LONG, taken).await;
        other.stop().await.unwrap();
        let is_back = async || late.status().assignment.len() == PARTITIONS;
        wait_for("the partitions to come back", LONG, is_back).await;
        assert!(proxy.is_holding());
        proxy.release();
        send_rounds(&cluster, "rb-late", 20).await;
        cluster.wait_done(&cluster.id(&id), "rb-late-in", 60 * PARTITIONS).await;
        assert_eq!(late.status().counts.agent_failures, 0, "{guarantee}: the lost messages are no fault of the agent");
        check(&cluster, (&id, "rb-late", guarantee), 60, vec![late]).await;
    }
}

/// Two workers with one instance id: the first ends with an error that names the setting.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_static_worker_ends_if_another_joins_under_its_instance_id() {
    let cluster = Cluster::start().await;
    cluster.create("rb-same", 1).await;
    let app = |name: &str| {
        let app = cluster.app("rb-same").setting("datadir", cluster.dir(name).display()).only::<of_static>();
        app.agent_with::<of_static>(|agent| agent.topic("rb-same"))
            .setting("worker_name", name)
            .setting("consumer_group_instance_id", "same")
    };
    let first = cluster.run(app("one")).await;
    let second = cluster.run(app("two")).await;
    let error = first.wait().await.unwrap_err().to_string();
    assert!(error.contains("`consumer_group_instance_id`") && error.contains("another worker"), "{error}");
    second.stop().await.unwrap();
}

fn quick_sessions() -> BrokerConfig {
    let configs = [("session.timeout.ms", 6000), ("heartbeat.interval.ms", 500)];
    configs.into_iter().fold(BrokerConfig::default(), |config, (name, value)| {
        let config = config.with_config(format!("group.consumer.min.{name}"), value);
        config.with_config(format!("group.consumer.{name}"), value)
    })
}

/// Law: where the broker assigns the partitions (KIP-848), joins, leaves and kills lose nothing; under exactly-once, they repeat
/// nothing either. The members' epochs advance meanwhile, with and without a new assignment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_join_leave_and_are_killed_where_the_broker_assigns() {
    for guarantee in GUARANTEES {
        // Kafka detects the kill after 45 seconds, unless `group.consumer.session.timeout.ms` is set there.
        let real = std::env::var_os("FAUST_TEST_KAFKA").is_some();
        let cluster = if real { Cluster::start().await } else { Cluster::embedded(quick_sessions()).await };
        create(&cluster, "rb-broker").await;
        let id = format!("rb-broker-{guarantee}");
        let app = |name: &str| -> AppBuilder {
            let app = cluster.app_where_the_broker_assigns(&id).only::<of_broker>();
            let app = app.setting("datadir", cluster.dir(name).display()).setting("worker_name", name);
            app.setting("processing_guarantee", guarantee)
        };
        let stop = AtomicBool::new(false);
        let changes = async {
            let mut workers = vec![cluster.run(app("one")).await];
            for name in ["two", "three"] {
                workers.push(cluster.run(app(name)).await);
                shared_out(&workers).await;
                all_go_on(&workers).await;
            }
            workers.remove(1).stop().await.unwrap();
            shared_out(&workers).await;
            all_go_on(&workers).await;
            workers.remove(1).crash();
            shared_out(&workers).await;
            all_go_on(&workers).await;
            workers.push(cluster.run(app("four")).await);
            shared_out(&workers).await;
            all_go_on(&workers).await;
            stop.store(true, Ordering::Relaxed);
            workers
        };
        let (rounds, workers) = tokio::join!(feed(&cluster, "rb-broker", &stop), changes);
        check(&cluster, (&id, "rb-broker", guarantee), rounds, workers).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_broker_without_the_consumer_protocol_is_reported() {
    let config = BrokerConfig::default().with_config("group.coordinator.rebalance.protocols", "classic");
    let cluster = Cluster::embedded(config).await;
    create(&cluster, "rb-broker").await;
    let app = cluster.app_where_the_broker_assigns("rb-without").only::<of_broker>();
    let worker = app.build().unwrap().start().await.unwrap();
    let error = worker.wait().await.unwrap_err().to_string();
    for part in ["group protocol `consumer` (KIP-848)", "set `group_protocol` to `classic`"] {
        assert!(error.contains(part), "{part} is missing in: {error}");
    }
}
