//! The lesson's examples, run as processes on the input of `clicks` and `send`, and checked for the expected output.

mod classics;
mod state;

use serde_json::{Value, json};
use tokio::sync::{Mutex, MutexGuard};

use crate::harness::{Cluster, Message, Program};

const CLICKS: &str = "com.udacity.streams.clickevents";
const SEED: u64 = 7;
const COUNT: usize = 500;

/// Returns the clicks that `clicks SEED RATE COUNT` must produce, computed independently of it.
fn made() -> Vec<Value> {
    const PAGES: [&str; 6] = ["/", "/search", "/cart", "/checkout", "/blog/streams", "/account/orders"];
    let mut state = SEED;
    let click = |n: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let page = PAGES[usize::try_from((state >> 33) % 6).unwrap()];
        let (minute, second) = (n / 60, n % 60);
        json!({
            "email": format!("user{}@example.com", (state >> 40) % 100),
            "timestamp": format!("2026-01-01T00:{minute:02}:{second:02}Z"),
            "uri": format!("https://shop.example{page}"),
            "number": (state >> 48) % 200,
        })
    };
    (0..COUNT).map(click).collect()
}

/// Messages for `send`: two clicks, and one whose number is not a number.
const SENT: [&str; 3] = [
    r#"{"email":"ada@example.com","timestamp":"2026-01-02T00:00:00Z","uri":"https://shop.example/é","number":100}"#,
    r#"{"email":"bob@example.com","timestamp":"2026-01-02T00:00:01Z","uri":"https://shop.example/b","number":99,"more":[1]}"#,
    r#"{"email":"eve@example.com","timestamp":"2026-01-02T00:00:02Z","uri":"https://shop.example/c","number":"many"}"#,
];

/// Sorts messages for a comparison, because messages of different partitions have no order.
fn sorted(mut values: Vec<Value>) -> Vec<Value> {
    values.sort_by_key(Value::to_string);
    values
}

struct Lesson {
    cluster: Cluster,
    /// Lock on the topic. Its name is fixed in the examples, so on a shared Kafka only one test at a time may use it.
    _turn: MutexGuard<'static, ()>,
}

impl Lesson {
    /// Starts a cluster with an empty topic for the lesson's clicks.
    async fn begin(partitions: i32) -> Self {
        static TURN: Mutex<()> = Mutex::const_new(());
        let turn = TURN.lock().await;
        let cluster = Cluster::start().await;
        cluster.create(CLICKS, partitions).await;
        Self { cluster, _turn: turn }
    }

    fn example(&self, name: &str) -> Program {
        // On a Kafka that outlives the test, a version per run means a new consumer group per run.
        let version = std::process::id().to_string();
        let program = Program::example(name, self.cluster.dir(name)).on(&self.cluster).setting("version", &version);
        // The repartition topics are read at the end of the test, so they must not be purged before.
        program.setting("repartition_purge_interval", "1h")
    }

    async fn feed(&self) {
        let count = COUNT.to_string();
        self.example("clicks").args([&*SEED.to_string(), "0", &count]).run().await.success();
        for click in SENT {
            self.example("filter").args(["send", CLICKS, click, "--key", "sent"]).run().await.success();
        }
    }

    /// Runs the example's worker until all events are processed, and returns the lines that it printed.
    async fn work(&self, name: &str) -> Vec<String> {
        self.example(name).args(["worker", "--until-idle", "1s"]).run().await.success().stdout
    }

    /// Returns the keys and values that `consume` prints for a topic.
    async fn consume(&self, topic: &str) -> Vec<(String, Value)> {
        let consume = self.example("filter").args(["consume", topic, "--from-beginning", "--keys", "--timeout", "2s"]);
        let lines = consume.run().await.success().stdout;
        let pair = |line: String| {
            let (key, value) = line.split_once('\t').unwrap();
            (key.to_owned(), serde_json::from_str(value).unwrap())
        };
        lines.into_iter().map(pair).collect()
    }

    /// Asserts that a topic contains these values, each with its `uri` as the key.
    async fn expect_keyed_by_uri(&self, topic: &str, expected: Vec<Value>) {
        let messages = self.consume(topic).await;
        for (key, value) in &messages {
            assert_eq!(*key, value["uri"], "{topic}: {value}");
        }
        assert_eq!(sorted(messages.into_iter().map(|(_, value)| value).collect()), sorted(expected), "{topic}");
    }

    async fn expect_dead_letters(&self, name: &str, count: usize) {
        let letters = self.cluster.read(&format!("{name}-v{}-dead-letter", std::process::id())).await;
        assert_eq!(letters.len(), count, "{name}");
        for letter in letters {
            assert_eq!(letter.text(), SENT[2]);
            assert_eq!(letter.header_text("faust-error"), Some("value: number: expected i64, found string \"many\""));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_example_of_the_lesson_writes_the_expected_output() {
    let lesson = Lesson::begin(4).await;
    for output in ["sanitized", "popular", "scored"] {
        lesson.cluster.create(&format!("{CLICKS}.{output}"), 4).await;
    }
    lesson.feed().await;
    let fed: Vec<Value> = made().into_iter().chain(SENT.map(|sent| serde_json::from_str(sent).unwrap())).collect();
    let in_topic: Vec<Value> = lesson.cluster.read(CLICKS).await.iter().map(Message::json).collect();
    assert_eq!(sorted(in_topic), sorted(fed.clone()), "messages sent by `clicks` and `send`");
    let typed: Vec<Value> = fed
        .iter()
        .filter(|click| click["number"].is_number())
        .map(|click| json!({"email": click["email"], "timestamp": click["timestamp"], "uri": click["uri"], "number": click["number"]}))
        .collect();

    let printed = lesson.work("hello_world").await;
    assert_eq!(sorted(printed.iter().map(|line| serde_json::from_str(line).unwrap()).collect()), sorted(fed));
    lesson.expect_dead_letters("hello_world", 0).await;

    let printed = lesson.work("deserialization").await.join("\n");
    assert!(printed.starts_with("{\n  \"email\": \""), "indented, in the order of the record:\n{}", &printed[..60]);
    let printed: Vec<Value> = serde_json::Deserializer::from_str(&printed).into_iter().map(Result::unwrap).collect();
    assert_eq!(sorted(printed), sorted(typed.clone()));
    lesson.expect_dead_letters("deserialization", 1).await;

    assert_eq!(lesson.work("serialization").await, [""; 0]);
    let sanitized = typed.iter().cloned().map(|mut click| {
        click.as_object_mut().unwrap().remove("email");
        click
    });
    lesson.expect_keyed_by_uri(&format!("{CLICKS}.sanitized"), sanitized.collect()).await;
    lesson.expect_dead_letters("serialization", 1).await;

    lesson.work("filter").await;
    let popular = typed.iter().filter(|click| click["number"].as_i64().unwrap() >= 100).cloned().collect();
    lesson.expect_keyed_by_uri(&format!("{CLICKS}.popular"), popular).await;

    lesson.work("processors").await;
    let scored = typed.iter().cloned().map(|mut click| {
        let length = i64::try_from(click["uri"].as_str().unwrap().len()).unwrap();
        click["score"] = (length + click["number"].as_i64().unwrap() / 10).min(100).into();
        click
    });
    lesson.expect_keyed_by_uri(&format!("{CLICKS}.scored"), scored.collect()).await;
}
