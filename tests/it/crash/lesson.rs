//! `kill -9` of the lesson's programs with a table behind a `group_by`, at random moments and at default settings: the final values
//! are those of a run without a kill.
//!
//! Without `FAUST_TEST_KAFKA`, the program hosts its broker, as in the lesson, and both are killed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinHandle;

use super::broker::free_port;
use super::scenario::kills;
use crate::harness::{Cluster, LONG, Message, Process, Program, Random, wait_for};

const CLICKS: &str = "com.udacity.streams.clickevents";
const PAGES: [&str; 6] = ["/", "/search", "/cart", "/checkout", "/blog/streams", "/account/orders"];
/// Number of clicks that are sent together, and their interval.
const TOGETHER: u64 = 5;
const EVERY: Duration = Duration::from_millis(10);

/// An example that prints the new sum of a page for each click.
struct Example {
    program: Program,
    worker: Process,
    feed: ClickFeed,
    random: Random,
    /// The values that have been printed last.
    printed: BTreeMap<String, i64>,
    /// Number of kills after which a value was printed again, because it was not committed.
    repeats: u32,
    _dir: TempDir,
}

impl Example {
    /// Starts the example's worker, and the feed of its clicks.
    async fn begin(name: &'static str) -> Self {
        let mut random = Random::new(name);
        let dir = tempfile::tempdir().unwrap();
        let now = i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap();
        let program = Program::example(name, dir.path()).args(["worker"]).setting("worker_name", "lesson");
        let (bootstrap, program) = match std::env::var("FAUST_TEST_KAFKA") {
            Ok(bootstrap) => {
                Cluster::at(&bootstrap).await.create(CLICKS, 4).await;
                // Each run has another group. The worker is a static member: otherwise each restart would wait for the end of
                // the session of its predecessor.
                let version = (now / 1000 % 1_000_000).to_string();
                let program = program.setting("broker", &bootstrap).setting("version", &version);
                (bootstrap, program.setting("consumer_group_instance_id", "lesson"))
            }
            Err(_) => {
                let port = free_port();
                (format!("127.0.0.1:{port}"), program.setting("embedded_port", &port.to_string()))
            }
        };
        let worker = started(&program).await;
        let feed = ClickFeed::start(&Cluster::at(&bootstrap).await, random.fork(), now);
        Self { program, worker, feed, random, printed: BTreeMap::new(), repeats: 0, _dir: dir }
    }

    /// Kills the worker at a random moment while clicks arrive, and starts it again.
    async fn kill(&mut self) {
        tokio::time::sleep(self.random.while_below(Duration::from_secs(1))).await;
        self.worker.kill();
        let next = started(&self.program).await;
        let lines = std::mem::replace(&mut self.worker, next).wait().await.stdout;
        self.take(&lines);
    }

    /// Notes what a run of the worker has printed.
    fn take(&mut self, lines: &[String]) {
        let mut has_repeats = false;
        for (page, sum) in values(lines) {
            let before = self.printed.insert(page, sum);
            has_repeats |= before.is_some_and(|before| before >= sum);
        }
        self.repeats += u32::from(has_repeats);
    }
}

/// Returns the values in printed lines such as `/cart: 17`.
fn values(lines: &[String]) -> impl Iterator<Item = (String, i64)> {
    let pairs = lines.iter().filter_map(|line| line.rsplit_once(": "));
    pairs.filter_map(|(page, sum)| Some((page.to_owned(), sum.parse().ok()?)))
}

/// A feed of clicks that runs until it is stopped.
struct ClickFeed {
    enough: Arc<AtomicBool>,
    /// Returns the sum of the numbers of each page.
    running: JoinHandle<BTreeMap<String, i64>>,
}

impl ClickFeed {
    /// Starts a feed of clicks of the same time, so that they are in the same windows.
    fn start(cluster: &Cluster, mut random: Random, time: i64) -> Self {
        let enough = Arc::new(AtomicBool::new(false));
        let (producer, done) = (cluster.producer(CLICKS), Arc::clone(&enough));
        let running = tokio::spawn(async move {
            let mut sums = BTreeMap::new();
            while !done.load(Ordering::Relaxed) {
                let mut click = || (PAGES[usize::try_from(random.below(6)).unwrap()], 1 + random.below(100));
                let clicks: Vec<_> = (0..TOGETHER).map(|_| click()).collect();
                for (page, number) in &clicks {
                    *sums.entry((*page).to_owned()).or_insert(0) += i64::try_from(*number).unwrap();
                }
                // While the broker is down, the producer waits for it.
                let messages: Vec<_> = clicks.into_iter().map(|(page, number)| message(page, number, time)).collect();
                producer.send_all(messages).await;
                tokio::time::sleep(EVERY).await;
            }
            // A click that adds nothing shows the final value of each page.
            let last: Vec<_> = PAGES.into_iter().map(|page| message(page, 0, time)).collect();
            producer.send_all(last).await;
            sums
        });
        Self { enough, running }
    }

    /// Stops the feed, and returns the expected values.
    async fn stop(&mut self) -> BTreeMap<String, i64> {
        self.enough.store(true, Ordering::Relaxed);
        (&mut self.running).await.unwrap()
    }
}

fn message(page: &str, number: u64, time: i64) -> Message {
    let click = json!({"email": "", "timestamp": "", "uri": page, "number": number});
    Message::of(click.to_string()).at(time)
}

/// Law: whenever the program is killed, each click counts once.
async fn final_values_are_exact(name: &'static str) {
    let mut example = Example::begin(name).await;
    for _ in 0..kills() {
        example.kill().await;
    }
    let expected = example.feed.stop().await;
    wait_for(&format!("the final values of {name}"), LONG, async || {
        assert!(example.worker.ended().is_none(), "the worker has ended: {}", example.worker.stderr().join("\n"));
        let mut printed = example.printed.clone();
        printed.extend(values(&example.worker.stdout()));
        expected.iter().all(|(page, sum)| printed.get(page).is_some_and(|printed| printed >= sum))
    })
    .await;
    example.worker.interrupt();
    let Example { worker, mut printed, repeats, .. } = example;
    printed.extend(values(&worker.wait().await.success().stdout));
    assert_eq!(printed, expected, "{name}");
    eprintln!("{name}: {} kills, {repeats} of which left clicks that were processed again", kills());
    assert!(repeats >= kills() / 4, "too few kills were in the middle of something: they prove nothing");
}

/// Starts a worker, and waits for its assignment.
async fn started(program: &Program) -> Process {
    let mut worker = program.spawn();
    worker.wait_for_line("assigned: ").await;
    worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_lesson_s_programs_count_exactly_when_they_are_killed() {
    // One after the other: they read the same topic.
    for name in ["tables", "tumbling_window", "hopping_window"] {
        final_values_are_exact(name).await;
    }
}
