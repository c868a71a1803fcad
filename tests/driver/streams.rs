//! Stream operators, and their effect on keys, headers, timestamps and acknowledgements.

use std::time::Duration;

use faust::Offset;
use faust::prelude::*;
use faust::testing::TestDriver;

#[record]
#[derive(Clone, Debug, PartialEq)]
struct Click {
    uri: String,
    number: i64,
}

fn click(uri: &str, number: i64) -> Click {
    Click { uri: uri.to_owned(), number }
}

/// Groups twice, with a filter before and a map in between.
#[agent(topic = "clicks")]
async fn regroup(clicks: Stream<Click>, #[topic("sums")] sums: Topic<i64, i64>) -> Result<()> {
    let mut clicks = clicks
        .filter(|click| click.number > 0)
        .group_by("uri", |click| click.uri.clone())
        .map(|click| Click { number: click.number * 10, ..click })
        .group_by("parity", |click| click.number / 10 % 2);
    while let Some(event) = clicks.next_event().await {
        let headers = event.headers().clone();
        sums.send_with(event.key(), &event.value().number, |m| m.timestamp(event.timestamp()).headers(headers)).await?;
    }
    Ok(())
}

#[test]
fn group_by_applies_preceding_operators_and_keeps_headers_and_timestamps() {
    let mut driver = TestDriver::new(App::new("s").only::<regroup>()).unwrap();
    driver.start_worker().unwrap();
    for n in -5..10 {
        driver
            .send_with("clicks", &RawKey::NONE, &click(&format!("u{}", n % 3), n), |m| {
                m.timestamp(Timestamp(1000 + n)).header("n", n.to_string())
            })
            .unwrap();
    }
    driver.run_until_idle();
    let sums = driver.messages("sums").unwrap();
    assert_eq!(sums.len(), 9, "filtered events are not forwarded");
    for sum in &sums {
        let number = number(sum);
        assert_eq!(sum.key.as_deref(), Some((number / 10 % 2).to_string().as_bytes()));
        assert_eq!(sum.timestamp, Timestamp(1000 + number / 10));
        assert_eq!(sum.headers.get_str("n"), Some((number / 10).to_string().as_str()));
    }
    let repartitioned = driver.messages("s-regroup-uri-repartition").unwrap();
    let placed = |key: &[u8]| faust::partition_of(key, 8);
    assert!(
        repartitioned.iter().all(|m| m.partition == placed(m.key.as_deref().unwrap())),
        "keys are placed as by the Java client's partitioner"
    );
}

fn number(message: &faust::testing::TestMessage) -> i64 {
    std::str::from_utf8(message.payload.as_deref().unwrap()).unwrap().parse().unwrap()
}

/// Reads batches of three, or fewer after two seconds.
#[agent(topic = "clicks")]
async fn batches(clicks: Stream<Click>, #[topic("sizes")] sizes: Topic<RawKey, usize>) -> Result<()> {
    let mut batches = clicks.take(3, Duration::from_secs(2));
    while let Some(batch) = batches.next().await {
        sizes.send(&RawKey::NONE, &batch.len()).await?;
    }
    Ok(())
}

#[test]
fn take_yields_full_batches_at_once_and_partial_ones_after_the_timeout() {
    let mut driver = TestDriver::new(App::new("s").only::<batches>().setting("topic_partitions", 1)).unwrap();
    let worker = driver.start_worker().unwrap();
    let send = |driver: &mut TestDriver, n: i64| {
        (0..n).for_each(|n| driver.send("clicks", &RawKey::NONE, &click("u", n)).unwrap())
    };
    let sizes = |driver: &mut TestDriver| {
        driver.read::<RawKey, usize>("sizes").unwrap().into_iter().map(|(_, n)| n).collect::<Vec<_>>()
    };
    send(&mut driver, 7);
    driver.run_until_idle();
    assert_eq!(sizes(&mut driver), [3, 3]);
    driver.advance(Duration::from_millis(1900));
    assert_eq!(sizes(&mut driver), [3, 3]);
    driver.advance(Duration::from_millis(200));
    assert_eq!(sizes(&mut driver), [3, 3, 1]);
    // A timeout without events yields no batch.
    driver.advance(Duration::from_secs(10));
    assert_eq!(sizes(&mut driver), [3, 3, 1]);
    assert_eq!(driver.committed("clicks").unwrap().get(&0), Some(&Offset(7)));
    // Events that were collected but not yielded are not finished.
    send(&mut driver, 2);
    driver.run_until_idle();
    driver.stop(worker).unwrap();
    assert_eq!(driver.committed("clicks").unwrap().get(&0), Some(&Offset(7)));
    driver.start_worker().unwrap();
    driver.advance(Duration::from_secs(3));
    assert_eq!(sizes(&mut driver), [3, 3, 1, 2]);
}

/// Applies every operator once.
#[agent(topic = "clicks")]
async fn everything(clicks: Stream<Click, String>, #[topic("lines")] lines: Topic<RawKey, String>) -> Result<()> {
    let mut clicks = clicks
        .filter_async(|click| async move { click.number != 3 })
        .add_processor(|click| Click { number: click.number + 1, ..click })
        .then(|click| async move {
            tokio::task::yield_now().await;
            click
        })
        .filter_map(|click| (click.number % 2 == 0).then_some(click))
        .echo("echoed")
        .through("passed")
        .items();
    while let Some((key, click)) = clicks.next().await {
        lines.send(&RawKey::NONE, &format!("{key} {}", click.number)).await?;
    }
    Ok(())
}

#[test]
fn operators_apply_in_the_order_they_were_added() {
    let mut driver = TestDriver::new(App::new("s").only::<everything>().setting("topic_partitions", 1)).unwrap();
    driver.start_worker().unwrap();
    for n in 0..8 {
        driver.send("clicks", &format!("k{n}"), &click("u", n)).unwrap();
    }
    driver.commit();
    let lines: Vec<_> = driver.read::<RawKey, String>("lines").unwrap().into_iter().map(|(_, line)| line).collect();
    assert_eq!(lines, ["k1 2", "k5 6", "k7 8"]);
    let echoed: Vec<_> =
        driver.read::<String, Click>("echoed").unwrap().into_iter().map(|(key, c)| (key, c.number)).collect();
    assert_eq!(echoed, [("k1".to_owned(), 2), ("k5".to_owned(), 6), ("k7".to_owned(), 8)]);
    assert_eq!(driver.committed("clicks").unwrap().get(&0), Some(&Offset(8)));
}

/// Returns one value per event, which is sent to the sinks.
#[agent(topic = "clicks", sinks = ["doubled", "copied"])]
async fn double(event: Event<Click, String>) -> Result<i64> {
    Ok(event.value().number * 2)
}

#[test]
fn a_per_event_agent_sends_its_results_with_the_events_key() {
    let mut driver = TestDriver::new(App::new("s").only::<double>()).unwrap();
    driver.start_worker().unwrap();
    driver.send("clicks", &"k".to_owned(), &click("u", 21)).unwrap();
    driver.run_until_idle();
    for sink in ["doubled", "copied"] {
        assert_eq!(driver.read::<String, i64>(sink).unwrap(), [("k".to_owned(), 42)]);
    }
}

#[test]
fn one_function_can_be_several_agents() {
    let mut app = App::new("s").only::<double>();
    for city in ["rome", "oslo"] {
        app = app.agent_with::<double>(|a| {
            a.name(format!("double-{city}")).topic(format!("clicks.{city}")).sinks([format!("out.{city}")])
        });
    }
    let mut driver = TestDriver::new(app).unwrap();
    driver.start_worker().unwrap();
    driver.send("clicks.oslo", &"k".to_owned(), &click("u", 1)).unwrap();
    driver.run_until_idle();
    assert_eq!(driver.read::<String, i64>("out.oslo").unwrap(), [("k".to_owned(), 2)]);
    assert!(driver.read::<String, i64>("out.rome").unwrap().is_empty());
}

#[test]
fn an_agents_function_can_be_called_with_a_stream_of_given_events() {
    let clicks = Stream::from_pairs([("k".to_owned(), click("u", 1)), ("l".to_owned(), click("v", 3))]);
    let (lines, recorded) = Topic::recorded("lines").unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    runtime.block_on(everything(clicks, lines)).unwrap();
    assert_eq!(recorded.values().unwrap(), ["k 2"]);
}

/// Passes events through a topic with fewer partitions and one with more.
#[agent(topic = "clicks")]
async fn widths(clicks: Stream<Click>, #[topic("seen")] seen: Topic<String, i64>) -> Result<()> {
    let mut clicks = clicks.group_by_into("uri", 2, |click| click.uri.clone()).through("own");
    while let Some(event) = clicks.next_event().await {
        seen.send(event.key(), &event.value().number).await?;
    }
    Ok(())
}

#[test]
fn repartition_topics_can_have_any_number_of_partitions() {
    let mut driver = TestDriver::new(App::new("s").only::<widths>().setting("topic_partitions", 3)).unwrap();
    driver.create_topic("own", 5).unwrap();
    let worker = driver.start_worker().unwrap();
    let count = |topic: &str| driver.assignment(worker).iter().filter(|p| &*p.topic == topic).count();
    assert_eq!((count("clicks"), count("s-widths-uri-repartition"), count("own")), (3, 2, 5));
    for n in 0..100 {
        driver.send("clicks", &RawKey::NONE, &click(&format!("u{n}"), n)).unwrap();
    }
    driver.run_until_idle();
    let mut seen: Vec<_> = driver.read::<String, i64>("seen").unwrap().into_iter().map(|(_, n)| n).collect();
    seen.sort_unstable();
    assert_eq!(seen, (0..100).collect::<Vec<_>>());
}

#[record(key = page)]
struct Visit {
    page: String,
    seconds: u32,
}

/// Sums the viewing time of each page, behind a repartition topic whose committed records are deleted.
#[agent(topic = "visits")]
async fn dwell(visits: Stream<Visit>, seconds: Table<String, u32>) -> Result<()> {
    let mut visits = visits.group_by_key::<String>("page");
    while let Some(visit) = visits.next().await {
        seconds.update(&visit.page, |total| *total += visit.seconds);
    }
    Ok(())
}

#[test]
fn group_by_key_uses_the_records_key_and_its_topic_is_purged_after_commits() {
    let app = App::new("streams").only::<dwell>().setting("topic_partitions", 2);
    let mut driver = TestDriver::new(app).unwrap();
    driver.start_worker().unwrap();
    for (page, seconds) in [("/", 1), ("/cart", 2), ("/", 3)] {
        driver.send("visits", &RawKey::NONE, &Visit { page: page.to_owned(), seconds }).unwrap();
    }
    driver.run_until_idle();
    let table = driver.table::<String, u32>("seconds").unwrap();
    assert_eq!((table.find(&"/".to_owned()), table.find(&"/cart".to_owned())), (Some(4), Some(2)));
    let repartition = "streams-dwell-page-repartition";
    assert_eq!(driver.messages(repartition).unwrap().len(), 3);
    driver.advance(std::time::Duration::from_secs(40));
    assert_eq!(driver.messages(repartition).unwrap().len(), 0, "committed records are deleted");
    driver.send("visits", &RawKey::NONE, &Visit { page: "/".to_owned(), seconds: 5 }).unwrap();
    driver.run_until_idle();
    assert_eq!(table.find(&"/".to_owned()), Some(9), "processing continues after the purge");
}
