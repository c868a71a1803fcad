//! The lesson's tables and windows: their output, page by page, is compared with the correct one and Python Faust's.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{CLICKS, COUNT, Lesson};
use crate::harness::Message;

/// The sums printed for each page, in order. There is no order between pages.
type Pages = BTreeMap<String, Vec<i64>>;

/// Parses lines such as `https://shop.example/: 63`.
fn by_page<'a>(lines: impl IntoIterator<Item = &'a str>) -> Pages {
    let mut pages = Pages::new();
    for line in lines {
        let (page, sum) = line.rsplit_once(": ").unwrap_or_else(|| panic!("`{line}` is not a line of these examples"));
        pages.entry(page.to_owned()).or_default().push(sum.parse().unwrap());
    }
    pages
}

fn recorded(file: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("foreign/recorded").join(file);
    std::fs::read_to_string(&path).unwrap_or_else(|why| panic!("{}: {why}", path.display()))
}

/// The windows of an example: size and step in milliseconds. A table without windows has one that never ends.
#[derive(Clone, Copy)]
struct Spec {
    size: i64,
    step: i64,
}

impl Spec {
    const NONE: Self = Self { size: i64::MAX / 4, step: i64::MAX / 4 };
    const TUMBLING: Self = Self { size: 10_000, step: 10_000 };
    const HOPPING: Self = Self { size: 60_000, step: 10_000 };

    /// Computes by definition, for clicks in this order, the sum of the latest window that contains each click.
    fn sums(self, clicks: &[(String, i64, i64)]) -> Pages {
        let mut pages = Pages::new();
        for (at, (page, time, _)) in clicks.iter().enumerate() {
            let start = time.div_euclid(self.step) * self.step;
            let window = start..start + self.size;
            let inside = |(other, time, _): &&(String, i64, i64)| other == page && window.contains(time);
            let sum = clicks[..=at].iter().filter(inside).map(|(_, _, number)| number).sum();
            pages.entry(page.clone()).or_default().push(sum);
        }
        pages
    }
}

/// Returns the page of a click, the timestamp of its message, and its number.
fn click(message: &Message) -> (String, i64, i64) {
    let value = message.json();
    (value["uri"].as_str().unwrap().to_owned(), message.timestamp.unwrap(), value["number"].as_i64().unwrap())
}

/// Produces the recorded clicks, the first three with `send`, and compares the output of the example.
async fn check_recorded(lesson: &Lesson, example: &str, python: &str) {
    let input: Vec<Value> =
        recorded(&format!("{example}.input.jsonl")).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (sent, produced) = input.split_at(3);
    for click in sent {
        let (value, time) = (click["value"].to_string(), click["timestamp_ms"].to_string());
        let args = ["send", CLICKS, &value, "--key", click["key"].as_str().unwrap(), "--timestamp", &time];
        lesson.example(example).args(args).run().await.success();
    }
    let produced = produced.iter().map(|click| {
        let message = Message::of(click["value"].to_string()).key(click["key"].as_str().unwrap());
        message.at(click["timestamp_ms"].as_i64().unwrap())
    });
    lesson.cluster.produce(CLICKS, produced).await;
    let printed = lesson.work(example).await;
    let printed = by_page(printed.iter().map(String::as_str));
    assert_eq!(printed, by_page(recorded(&format!("{example}.expected.txt")).lines()), "{example}: the correct output");
    // The output of the original program without the defect that `foreign/recorded/README.md` describes.
    assert_eq!(printed, by_page(recorded(python).lines()), "{example}: the output of Python Faust");
}

/// Produces the clicks of `clicks`, without keys and with wall-clock timestamps, and compares with the definitions.
async fn check_made(lesson: &Lesson, example: &str, spec: Spec) {
    let between = format!("{example}-v{}-clickevent-uri-repartition", std::process::id());
    let before = lesson.cluster.count(&between).await;
    let count = COUNT.to_string();
    lesson.example("clicks").args([&*super::SEED.to_string(), "0", &count]).run().await.success();
    let printed = lesson.work(example).await;
    // Clicks of different partitions have no order until they are in the repartition topic, which is read here.
    let clicks: Vec<_> = lesson.cluster.read(&between).await.iter().map(click).collect();
    assert_eq!(clicks.len(), before + COUNT, "{example}");
    let sums = spec.sums(&clicks);
    let printed = by_page(printed.iter().map(String::as_str));
    assert_eq!(printed.values().map(Vec::len).sum::<usize>(), COUNT, "{example}, fed by `clicks`");
    // The table continues from the previous run, and so do the printed sums.
    for (page, lines) in printed {
        assert!(sums[&page].ends_with(&lines), "{example}, {page}: {lines:?} is not the end of {:?}", sums[&page]);
    }
}

async fn check(example: &str, python: &str, spec: Spec) {
    let lesson = Lesson::begin(4).await;
    check_recorded(&lesson, example, python).await;
    check_made(&lesson, example, spec).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tables_prints_what_python_prints() {
    check("tables", "tables.output.4.txt", Spec::NONE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tumbling_window_prints_what_python_prints() {
    check("tumbling_window", "tumbling_window_keyed.output.4.txt", Spec::TUMBLING).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hopping_window_prints_what_python_prints() {
    check("hopping_window", "hopping_window_keyed.output.4.txt", Spec::HOPPING).await;
}
