//! Planning: the topology derived from the agents, and the faults of those that cannot be planned.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use faust::prelude::*;
use faust::{AppBuilder, Error};

use crate::harness::{Cluster, LONG, Message, wait_for};

/// Starts an app that cannot be planned and returns its faults, which are found without a broker.
async fn faults(app: AppBuilder) -> Vec<String> {
    // An agent that fails before it reads its stream is reported by the first attempt.
    let app = app.setting("agent_failure", "stop").setting("agent_max_attempts", 1);
    match app.setting("broker", "127.0.0.1:1").build().unwrap().start().await {
        Err(Error::Setup(faults)) => faults.faults().to_vec(),
        other => panic!("no faults: {other:?}"),
    }
}

#[agent(topic = "plan-tick")]
async fn ticking(mut numbers: Stream<i64>, #[topic("plan-tick-out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut sum = 0;
    loop {
        tokio::select! {
            number = numbers.next() => match number {
                Some(number) => sum += number,
                None => return Ok(()),
            },
            _ = tick.tick() => if sum != 0 { out.send(&RawKey::NONE, &std::mem::take(&mut sum)).await? },
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_that_selects_between_a_tick_and_next_is_planned_and_loses_nothing() {
    let cluster = Cluster::start().await;
    cluster.create("plan-tick", 1).await;
    cluster.create("plan-tick-out", 1).await;
    let worker = cluster.run(cluster.app("plan-tick").only::<ticking>()).await;
    for n in 0..20 {
        cluster.produce("plan-tick", (n * 10..n * 10 + 10).map(|n: i64| Message::of(n.to_string()))).await;
    }
    let total =
        async || cluster.texts("plan-tick-out").await.iter().map(|sum| sum.parse::<i64>().unwrap()).sum::<i64>();
    wait_for("the sum of all numbers", LONG, async || total().await == (0..200).sum::<i64>()).await;
    worker.stop().await.unwrap();
    assert_eq!(cluster.done(&cluster.id("plan-tick"), "plan-tick").await, 200);
}

static PRELUDES: AtomicU32 = AtomicU32::new(0);

#[agent(topic = "plan-prelude")]
async fn with_prelude(mut numbers: Stream<i64>) {
    PRELUDES.fetch_add(1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    while let Some(_number) = numbers.next().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn code_before_the_loop_runs_once_in_planning_and_once_in_each_partition() {
    let cluster = Cluster::start().await;
    cluster.create("plan-prelude", 3).await;
    let app = cluster.app("plan-prelude").only::<with_prelude>().build().unwrap();
    app.plan().await.unwrap();
    assert_eq!(PRELUDES.load(Ordering::SeqCst), 1);
    let worker = app.start().await.unwrap();
    worker.ready().await;
    wait_for("the prelude in each partition", LONG, async || PRELUDES.load(Ordering::SeqCst) >= 5).await;
    worker.stop().await.unwrap();
    assert_eq!(PRELUDES.load(Ordering::SeqCst), 5, "two plans and three partitions");
}

#[agent(topic = "plan-never")]
async fn never_there(mut numbers: Stream<i64>) {
    std::future::pending::<()>().await;
    while let Some(_number) = numbers.next().await {}
}

#[agent(topic = "plan-blocked")]
async fn blocking(mut numbers: Stream<i64>) {
    std::thread::sleep(Duration::from_secs(2));
    while let Some(_number) = numbers.next().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_prelude_that_never_ends_is_reported_with_the_agents_name() {
    for app in [App::new("plan").only::<never_there>(), App::new("plan").only::<blocking>()] {
        let faults = faults(app.setting("plan_timeout", "200ms")).await;
        assert_eq!(faults.len(), 1);
        let [agent, words] = ["agent `never_there`", "did not reach its stream within 200ms"];
        assert!(
            faults[0].replace("blocking", "never_there").starts_with(agent) && faults[0].contains(words),
            "{faults:?}"
        );
    }
}

#[agent(topic = "plan-early")]
async fn early(mut numbers: Stream<i64>, #[topic("plan-out")] out: Topic<String, i64>) -> Result<()> {
    out.send(&"hello".to_owned(), &1).await?;
    while let Some(_number) = numbers.next().await {}
    Ok(())
}

#[agent(topic = "plan-early")]
async fn early_unawaited(mut numbers: Stream<i64>, #[topic("plan-out")] out: Topic<String, i64>) {
    // The fault is reported even if the agent discards the error.
    drop(out.send(&"hello".to_owned(), &1).await);
    while let Some(_number) = numbers.next().await {}
}

#[agent(topic = "plan-early")]
async fn blind(_numbers: Stream<i64>) {}

#[agent(topic = "plan-early")]
async fn failing(_numbers: Stream<i64>) -> Result<()> {
    Err("no licence".into())
}

#[agent(topic = "plan-early")]
async fn panicking(_numbers: Stream<i64>) {
    panic!("no licence");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_faults_of_all_agents_are_reported_together() {
    let app = App::new("plan").only::<early>().agent::<early_unawaited>().agent::<blind>();
    let faults = faults(app.agent::<failing>().agent::<panicking>()).await;
    let moved = "sends to topic `plan-out` before it reads its stream; move that into the loop, because every agent is started once to learn its topology (book: Code before the first next())";
    let expected = [
        "agent `blind` returned before it read its stream; read it with `while let Some(event) = stream.next().await` (book: Code before the first next())",
        &format!("agent `early` {moved}"),
        &format!("agent `early_unawaited` {moved}"),
        "agent `failing` failed before it read its stream: no licence",
        "agent `panicking` failed before it read its stream: it panicked: no licence",
    ];
    assert_eq!(faults, expected);
}

#[agent(topic = "plan-late")]
async fn late_group_by(mut numbers: Stream<i64>) {
    if let Some(_first) = numbers.next().await {
        let mut numbers = numbers.group_by("late", |n| n % 2);
        while let Some(_number) = numbers.next().await {}
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_by_after_the_first_event_is_an_error() {
    let cluster = Cluster::start().await;
    cluster.create("plan-late", 1).await;
    cluster.produce("plan-late", [Message::of("1")]).await;
    let worker = cluster.run(cluster.app("plan-late").only::<late_group_by>()).await;
    let error = worker.wait().await.unwrap_err().to_string();
    let expected = "agent `late_group_by`: group_by `late` comes after the first event, when the topology is fixed; move it before the first `next()` (book: Code before the first next())";
    assert_eq!(error, expected);
    assert_eq!(cluster.done(&cluster.id("plan-late"), "plan-late").await, 0);
}

#[agent(topic = "plan-same")]
async fn grouped_twice(numbers: Stream<i64>) {
    let mut numbers = numbers.group_by("half", |n| n / 2).group_by("half", |n| n / 4);
    while let Some(_number) = numbers.next().await {}
}

#[agent(topic = "plan-circle")]
async fn circle(numbers: Stream<i64, String>) {
    let mut numbers = numbers.through("plan-circle");
    while let Some(_number) = numbers.next().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_invalid_topology_is_reported_before_topics_are_subscribed() {
    let faults = faults(App::new("plan").only::<grouped_twice>().agent::<circle>()).await;
    let expected = [
        "agent `circle`: through `plan-circle` leads back to the topic it reads; name another topic",
        "agent `grouped_twice`: group_by `half` occurs twice; give each `group_by` its own name",
    ];
    assert_eq!(faults, expected);
}

#[agent(topic = "plan-drawn", sink = "plan-sink")]
async fn drawn_event(number: i64) -> i64 {
    number
}

#[agent(topic = "plan-drawn")]
async fn drawn_stream(numbers: Stream<i64>, #[topic("plan-out")] out: Topic<i64, i64>) -> Result<()> {
    let mut numbers = numbers.group_by("half", |n| n / 2);
    while let Some(number) = numbers.next().await {
        out.send(&number, &number).await?;
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_plan_names_stages_and_topics_with_their_roles() {
    let app = App::new("plan").only::<drawn_event>().agent::<drawn_stream>().build().unwrap();
    let plan = app.plan().await.unwrap();
    let topics: Vec<_> = plan.topics().map(|topic| format!("{} {}", topic.name(), topic.role())).collect();
    let expected = [
        "plan-control control",
        "plan-dead-letter dead-letter",
        "plan-drawn source",
        "plan-drawn_stream-half-repartition internal",
        "plan-out output",
        "plan-sink output",
    ];
    assert_eq!(topics, expected);
    assert_eq!(plan.stages().len(), 3);
}

static STARTS: AtomicU32 = AtomicU32::new(0);

/// Fails twice before it reads its stream.
#[agent(topic = "plan-later")]
async fn later(
    mut numbers: Stream<i64, String>,
    #[table(name = "later", window = tumbling("10s"))] sums: WindowedTable<String, i64>,
) -> Result<()> {
    if STARTS.fetch_add(1, Ordering::Relaxed) < 2 {
        return Err("the database is away".into());
    }
    while let Some(event) = numbers.next_event().await {
        sums.update(event.key(), |sum| *sum += event.value());
    }
    Ok(())
}

/// Needs the table of an agent that cannot be planned yet.
#[window_close(table = "later")]
async fn closed(_key: String, _window: Window, _sum: i64) {}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_worker_plans_again_until_all_agents_have_read_their_streams() {
    let cluster = Cluster::start().await;
    cluster.create("plan-later", 1).await;
    cluster.produce("plan-later", [Message::of("1").key("k")]).await;
    let app = App::new("plan").only::<later>().hook::<closed>().build().unwrap();
    let error = app.partial_plan().await.unwrap_err().to_string();
    assert_eq!(error, "agent `later` failed before it read its stream: the database is away");
    let worker = cluster.run(cluster.app("plan-later").only::<later>().hook::<closed>()).await;
    cluster.wait_done(&cluster.id("plan-later"), "plan-later", 1).await;
    worker.stop().await.unwrap();
}
