//! The policies for failing agents (promise P6): retried for ever by default; or the worker stops, or the event is given up.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::time::Duration;

use faust::__private::serde;
use faust::prelude::*;
use faust::testing::{ClusterFault, FaultProfile, TestDriver, WorkerId};
use faust::{AppBuilder, Error, Offset};

use super::harness::{create_small_topic, kept, lengthy, lengthy_pairs};

fn start(app: AppBuilder, partitions: i32) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", partitions)).unwrap();
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

fn send(driver: &mut TestDriver, numbers: impl IntoIterator<Item = i64>) {
    numbers.into_iter().for_each(|n| driver.send("in", &n.to_string(), &n).unwrap());
}

/// Returns how often each number was sent on.
fn outputs(driver: &mut TestDriver) -> BTreeMap<i64, usize> {
    let mut counts = BTreeMap::new();
    for (_, n) in driver.read::<RawKey, i64>("out").unwrap() {
        *counts.entry(n).or_default() += 1;
    }
    counts
}

/// Returns the value, the offset and the error of each dead letter.
fn dead_letters(driver: &mut TestDriver) -> Vec<(String, String, String)> {
    let letters = driver.messages("policies-dead-letter").unwrap();
    let header = |name: &str, letter: &faust::testing::TestMessage| letter.headers.get_str(name).unwrap().to_owned();
    letters
        .iter()
        .map(|letter| {
            let value = String::from_utf8(letter.payload.clone().unwrap().to_vec()).unwrap();
            (value, header("faust-offset", letter), header("faust-error", letter))
        })
        .collect()
}

thread_local! {
    /// The database of `stored` is unavailable.
    static IS_AWAY: Cell<bool> = const { Cell::new(false) };
}

/// Cannot process 13 while its database is away.
#[agent(topic = "in")]
async fn stored(mut numbers: Stream<i64, String>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    while let Some(n) = numbers.next().await {
        if n == 13 && IS_AWAY.get() {
            return Err("the database is away".into());
        }
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

#[test]
fn minutes_without_a_database_cost_these_minutes_and_nothing_else() {
    let (mut driver, worker) = start(App::new("policies").only::<stored>(), 2);
    IS_AWAY.set(true);
    send(&mut driver, 0..30);
    driver.advance(Duration::from_secs(5 * 60));
    assert!(driver.ended(worker).is_none(), "the worker goes on");
    let status = driver.status(worker).unwrap();
    assert!(!status.ready);
    let [failing] = status.failing.as_slice() else { panic!("{:?}", status.failing) };
    // Attempts every thirty seconds, after the first ones.
    assert!((15..20).contains(&failing.attempts), "{failing:?}");
    let (partition, offset) = failing.place.split_once(" offset ").unwrap();
    assert_eq!(failing.skip, Some(format!("skip '{partition}' {offset} --agent stored")));
    assert_eq!(failing.error, "agent failed: the database is away");
    // The other partition is processed, and so is what comes before the event. It repeats at most once.
    let before = outputs(&mut driver);
    assert!(before.values().all(|count| *count <= 2), "{before:?}");
    let committed = driver.committed("in").unwrap();
    let number = i32::from(partition == "in[1]");
    assert_eq!(committed[&number], Offset(offset.parse().unwrap()), "the events before are committed");
    assert_eq!(committed.values().map(|at| at.0).sum::<i64>() as usize, before.len());

    IS_AWAY.set(false);
    driver.advance(Duration::from_secs(40));
    let status = driver.status(worker).unwrap();
    assert!(status.ready && status.failing.is_empty(), "{status:?}");
    assert_eq!(outputs(&mut driver).len(), 30);
    driver.commit();
    assert_eq!(driver.committed("in").unwrap().values().map(|at| at.0).sum::<i64>(), 30);
    driver.stop(worker).unwrap();
}

#[test]
fn an_event_that_fails_each_time_is_one_dead_letter() {
    IS_AWAY.set(true);
    let app = App::new("policies").only::<stored>().setting("agent_failure", "dead_letter");
    let (mut driver, worker) = start(app, 1);
    send(&mut driver, 10..16);
    driver.advance(Duration::from_secs(10));
    driver.commit();
    let error = "failed 5 times: agent failed: the database is away";
    assert_eq!(dead_letters(&mut driver), [("13".to_owned(), "3".to_owned(), error.to_owned())]);
    let counts = outputs(&mut driver);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [10, 11, 12, 14, 15]);
    assert!(counts.values().all(|count| *count <= 2), "{counts:?}");
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(6));
    let status = driver.status(worker).unwrap();
    assert_eq!((status.counts.dead_letters, status.counts.agent_failures), (1, 5));
    assert!(status.ready);
    driver.stop(worker).unwrap();
}

/// Law: the messages of a producer that has failed for good are not refused, so no event is given up because of them.
#[test]
fn a_worker_whose_producer_fails_for_good_ends_and_gives_no_event_up() {
    IS_AWAY.set(false);
    let app = App::new("policies").only::<stored>().setting("processing_guarantee", "at_least_once");
    let (mut driver, mut worker) = start(app.setting("agent_failure", "skip").setting("agent_max_attempts", 1), 2);
    driver.cluster().set_faults(FaultProfile::default().with(ClusterFault::ProducerFailed, 0.5));
    let mut ended = 0;
    for n in 0..300 {
        send(&mut driver, [n]);
        driver.run_until_idle();
        driver.commit();
        if let Some(outcome) = driver.ended(worker) {
            let why = outcome.unwrap_err().to_string();
            assert!(why.contains("the producer: it has failed for good"), "{why}");
            ended += 1;
            driver.crash(worker);
            worker = driver.start_worker().unwrap();
        }
    }
    assert!(ended >= 5, "{ended} workers have ended");
    driver.cluster().set_faults(FaultProfile::default());
    driver.advance(Duration::from_secs(30));
    assert_eq!(outputs(&mut driver).into_keys().collect::<Vec<_>>(), (0..300).collect::<Vec<_>>());
    assert_eq!(driver.status(worker).unwrap().counts.agent_failures, 0);
}

/// The limit in time applies before the number of attempts.
#[test]
fn an_event_is_given_up_after_the_maximum_time() {
    IS_AWAY.set(true);
    let app = App::new("policies").only::<stored>().setting("agent_failure", "skip");
    let app = app.setting("agent_max_attempts", 1000).setting("agent_max_time", "1m");
    let (mut driver, worker) = start(app, 1);
    send(&mut driver, 10..16);
    driver.advance(Duration::from_secs(50));
    assert_eq!(driver.status(worker).unwrap().counts.skipped, 0);
    driver.advance(Duration::from_secs(40));
    assert_eq!(driver.status(worker).unwrap().counts.skipped, 1);
    driver.commit();
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(6));
    assert!(dead_letters(&mut driver).is_empty());
}

/// Fails at 13, in a batch.
#[agent(topic = "in", on_failure = "dead_letter")]
async fn batched(numbers: Stream<i64, String>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut batches = numbers.take(10, Duration::from_secs(1));
    while let Some(batch) = batches.next().await {
        if batch.contains(&13) {
            return Err("thirteen".into());
        }
        for n in batch {
            out.send(&RawKey::NONE, &n).await?;
        }
    }
    Ok(())
}

/// Law: of a batch that fails, only the event that fails alone is given up.
#[test]
fn a_bad_event_costs_no_other_event_of_its_batch() {
    let (mut driver, worker) = start(App::new("policies").only::<batched>(), 1);
    send(&mut driver, 0..25);
    driver.advance(Duration::from_secs(60));
    driver.commit();
    let letters = dead_letters(&mut driver);
    assert_eq!(letters.iter().map(|(value, ..)| &**value).collect::<Vec<_>>(), ["13"]);
    let expected: Vec<_> = (0..25).filter(|n| *n != 13).collect();
    assert_eq!(outputs(&mut driver).keys().copied().collect::<Vec<_>>(), expected);
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(25));
    driver.stop(worker).unwrap();
}

/// An operator panics at 13.
#[agent(topic = "in", on_failure = "dead_letter")]
async fn mapped(numbers: Stream<i64, String>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut numbers = numbers.filter(|n| *n != 12).map(|n| if n == 13 { panic!("thirteen") } else { n });
    while let Some(n) = numbers.next().await {
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

/// The event is known though the agent never sees it: the filter has passed it after the agent's last event.
#[test]
fn an_operator_fails_at_its_own_event() {
    let (mut driver, _) = start(App::new("policies").only::<mapped>(), 1);
    send(&mut driver, 10..16);
    driver.advance(Duration::from_secs(10));
    driver.commit();
    let error = "failed 5 times: agent failed: it panicked: thirteen";
    assert_eq!(dead_letters(&mut driver), [("13".to_owned(), "3".to_owned(), error.to_owned())]);
    let counts = outputs(&mut driver);
    assert_eq!(counts.keys().copied().collect::<Vec<_>>(), [10, 11, 14, 15]);
    assert!(counts.values().all(|count| *count <= 2), "{counts:?}");
}

/// Fails at 13 behind a hop.
#[agent(topic = "in", on_failure = "dead_letter")]
async fn rekeyed(numbers: Stream<i64, String>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    let mut numbers = numbers.group_by("parity", |n: &i64| n % 2);
    while let Some(n) = numbers.next().await {
        if n == 13 {
            return Err("thirteen".into());
        }
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

#[test]
fn an_event_behind_a_hop_is_given_up_there() {
    let (mut driver, _) = start(App::new("policies").only::<rekeyed>(), 1);
    send(&mut driver, 10..16);
    driver.advance(Duration::from_secs(20));
    driver.commit();
    let letters = driver.messages("policies-dead-letter").unwrap();
    let [letter] = letters.as_slice() else { panic!("{letters:?}") };
    assert_eq!(letter.payload.as_deref(), Some(&b"13"[..]));
    assert!(letter.headers.get_str("faust-topic").unwrap().contains("parity"), "{:?}", letter.headers);
    assert_eq!(outputs(&mut driver).keys().copied().collect::<Vec<_>>(), [10, 11, 12, 14, 15]);
}

/// Sends a text as long as the number says.
#[agent(topic = "in")]
async fn long(mut numbers: Stream<i64, String>, #[topic("texts")] texts: Topic<RawKey, String>) -> Result<()> {
    while let Some(n) = numbers.next().await {
        texts.send(&RawKey::NONE, &"x".repeat(n as usize)).await?;
    }
    Ok(())
}

fn with_small_topic(app: AppBuilder) -> (TestDriver, WorkerId) {
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    create_small_topic(&driver);
    let worker = driver.start_worker().unwrap();
    (driver, worker)
}

fn texts(driver: &mut TestDriver) -> Vec<usize> {
    let mut texts: Vec<_> = driver.read::<RawKey, String>("texts").unwrap().iter().map(|(_, t)| t.len()).collect();
    texts.sort_unstable();
    texts.dedup();
    texts
}

/// The broker refuses a message after the event has been processed, and the agent has gone on.
#[test]
fn a_message_that_the_broker_refuses_is_traced_to_its_event() {
    let (mut driver, worker) = with_small_topic(App::new("policies").only::<long>());
    send(&mut driver, [1, 2, 3000, 4, 5]);
    driver.advance(Duration::from_secs(60));
    let status = driver.status(worker).unwrap();
    let [failing] = status.failing.as_slice() else { panic!("{:?}", status.failing) };
    assert_eq!((&*failing.agent, &*failing.place), ("long", "in[0] offset 2"));
    assert!(failing.error.contains("delivery to `texts` (3000 bytes): MessageTooLarge"), "{}", failing.error);
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(2));

    let (mut driver, worker) =
        with_small_topic(App::new("policies").only::<long>().setting("agent_failure", "dead_letter"));
    send(&mut driver, [1, 2, 3000, 4, 5]);
    driver.advance(Duration::from_secs(60));
    let letters = dead_letters(&mut driver);
    assert_eq!(letters.iter().map(|(value, ..)| &**value).collect::<Vec<_>>(), ["3000"]);
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(5));
    assert_eq!(texts(&mut driver), [1, 2, 4, 5]);
    driver.stop(worker).unwrap();

    let (mut driver, worker) = with_small_topic(App::new("policies").only::<long>().setting("agent_failure", "stop"));
    send(&mut driver, [1, 2, 3000, 4, 5]);
    driver.advance(Duration::from_secs(60));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    let text = error.to_string();
    for part in [
        "agent `long`",
        "in[0] offset 2",
        "delivery to `texts` (3000 bytes): MessageTooLarge",
        "skip 'in[0]' 2 --agent long",
    ] {
        assert!(text.contains(part), "{part} is missing in: {text}");
    }
}

/// Fails before its first event while its database is away; not while it is planned.
#[agent(topic = "in")]
async fn connecting(mut numbers: Stream<i64, String>, #[topic("out")] out: Topic<RawKey, i64>) -> Result<()> {
    if IS_AWAY.get() {
        return Err("cannot connect".into());
    }
    while let Some(n) = numbers.next().await {
        out.send(&RawKey::NONE, &n).await?;
    }
    Ok(())
}

#[test]
fn an_agent_that_cannot_start_is_retried() {
    let mut driver = TestDriver::new(App::new("policies").only::<connecting>().setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    send(&mut driver, [1]);
    driver.commit();
    driver.stop(worker).unwrap();
    let worker = driver.start_worker().unwrap();
    // The database goes away after the worker was planned, and the partition is given to it anew.
    IS_AWAY.set(true);
    driver.expel(worker, Duration::from_secs(1));
    driver.advance(Duration::from_secs(300));
    assert!(driver.ended(worker).is_none());
    let failing = driver.status(worker).unwrap().failing;
    let [failing] = failing.as_slice() else { panic!("{failing:?}") };
    assert!(failing.error.contains("cannot connect") && failing.skip.is_none(), "{failing:?}");
    IS_AWAY.set(false);
    send(&mut driver, [2]);
    driver.advance(Duration::from_secs(40));
    assert_eq!(outputs(&mut driver), BTreeMap::from([(1, 1), (2, 1)]));
}

/// Law: with `stop`, events of several partitions and agents do not share their attempts.
#[test]
fn the_policy_to_stop_counts_each_event_for_itself() {
    IS_AWAY.set(true);
    let app = App::new("policies").only::<stored>().setting("agent_failure", "stop");
    let (mut driver, worker) = start(app, 1);
    send(&mut driver, [10, 13, 14]);
    driver.advance(Duration::from_millis(400));
    assert!(driver.ended(worker).is_none());
    IS_AWAY.set(false);
    driver.advance(Duration::from_secs(5));
    driver.commit();
    IS_AWAY.set(true);
    send(&mut driver, [13]);
    driver.advance(Duration::from_secs(60));
    let Some(Err(error)) = driver.ended(worker) else { panic!("the worker is still running") };
    assert!(matches!(error, Error::Agent { attempts: 5, .. }), "{error}");
}

/// A value that cannot be encoded if it is 13.
#[derive(Clone, Default, serde::Deserialize)]
#[serde(crate = "faust::__private::serde")]
struct Unlucky(i64);

impl serde::Serialize for Unlucky {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0 == 13 { Err(serde::ser::Error::custom("an unlucky number")) } else { self.0.serialize(serializer) }
    }
}

/// A seal is about many events. The one whose value is too large for the changelog is found, and the policy applies to it.
#[test]
fn a_value_that_is_too_large_for_the_changelog_is_traced_to_its_event() {
    let large = [10, 11, 30_000, 12, 13];
    let expected: Vec<_> = [10, 11, 12, 13].map(|n: usize| (n.to_string(), n)).into();
    for is_batch in [false, true] {
        let app = App::new("policies").setting("producer_max_request_size", "20KiB");
        let app = if is_batch { app.only::<lengthy_pairs>() } else { app.only::<lengthy>() };
        let agent = if is_batch { "lengthy_pairs" } else { "lengthy" };
        let (mut driver, worker) = start(app.setting("agent_failure", "retry"), 1);
        send(&mut driver, large);
        driver.advance(Duration::from_secs(60));
        let status = driver.status(worker).unwrap();
        let [failing] = status.failing.as_slice() else { panic!("{:?}", status.failing) };
        assert_eq!((&*failing.agent, &*failing.place), (agent, "in[0] offset 2"));
        assert_eq!(failing.skip, Some(format!("skip 'in[0]' 2 --agent {agent}")));
        for part in ["table `lengthy`", "key \"30000\"", "producer_max_request_size"] {
            assert!(failing.error.contains(part), "{part} is missing in: {}", failing.error);
        }
        driver.commit();
        assert_eq!(driver.committed("in").unwrap()[&0], Offset(2));
        driver.crash(worker);

        let app = App::new("policies").setting("producer_max_request_size", "20KiB");
        let app = if is_batch { app.only::<lengthy_pairs>() } else { app.only::<lengthy>() };
        let (mut driver, worker) = start(app.setting("agent_failure", "dead_letter"), 1);
        send(&mut driver, large);
        driver.advance(Duration::from_secs(60));
        driver.commit();
        let letters = dead_letters(&mut driver);
        assert_eq!(letters.iter().map(|(value, at, _)| (&**value, &**at)).collect::<Vec<_>>(), [("30000", "2")]);
        assert!(letters[0].2.contains("table `lengthy`"), "{letters:?}");
        assert_eq!((kept(&driver), driver.committed("in").unwrap()[&0]), (expected.clone(), Offset(5)));
        assert!(driver.status(worker).unwrap().ready);
        if !is_batch {
            let counts = outputs(&mut driver);
            // Once when the seal fails, once when the event is found.
            assert!(counts.values().all(|count| *count <= 3), "{counts:?}");
        }
        driver.restart(worker).unwrap();
        assert_eq!(kept(&driver), expected);
        // Later events are sealed together again.
        send(&mut driver, 100..200);
        driver.commit();
        assert_eq!(driver.committed("in").unwrap()[&0], Offset(105));
    }
}

#[agent(topic = "in")]
async fn keep_unlucky(mut numbers: Stream<i64, String>, kept: Table<String, Unlucky>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        kept.set(event.key(), Unlucky(*event.value()));
    }
    Ok(())
}

/// The agent ends the event before the task notices that the table has refused a value.
#[test]
fn a_value_that_a_table_refuses_is_traced_to_its_event() {
    let (mut driver, worker) = start(App::new("policies").only::<keep_unlucky>().setting("agent_failure", "skip"), 1);
    send(&mut driver, 10..20);
    driver.advance(Duration::from_secs(60));
    driver.commit();
    let status = driver.status(worker).unwrap();
    assert_eq!((status.counts.skipped, status.ready), (1, true), "{status:?}");
    assert_eq!(driver.committed("in").unwrap()[&0], Offset(10));
    let mut kept: Vec<_> =
        driver.table::<String, Unlucky>("kept").unwrap().iter().map(|(_, Unlucky(number))| number).collect();
    kept.sort_unstable();
    assert_eq!(kept, [10, 11, 12, 14, 15, 16, 17, 18, 19]);
}
