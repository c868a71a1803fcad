//! The agents of the workers under test, and the conditions that their outputs must satisfy.

use std::time::Duration;

use faust::prelude::*;
use faust::{AppBuilder, Result};

/// A numbered event.
#[record]
pub(super) struct Number {
    /// Distinguishes this run's events from those of earlier runs on the same Kafka.
    pub(super) run: u64,
    pub(super) n: u64,
    pub(super) group: String,
}

/// A set of agents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Work {
    FilterAndGroup,
    TwoPaces,
    Awaiting,
    /// Counts the events of each group in a table `counts`.
    Count,
    /// Adds up the values of each key in a table `counts`. The input does not consist of `Number`s.
    Tally,
}

/// An invariant: for every event of `from` that `stage` has processed, `to` has the output if `wants` expects one.
pub(super) struct Link {
    pub(super) stage: &'static str,
    pub(super) from: String,
    pub(super) to: String,
    pub(super) wants: fn(u64) -> bool,
}

impl Work {
    /// Returns the name with which the work is passed to the worker process.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::FilterAndGroup => "filter-and-group",
            Self::TwoPaces => "two-paces",
            Self::Awaiting => "awaiting",
            Self::Count => "count",
            Self::Tally => "tally",
        }
    }

    pub(super) fn of_name(name: &str) -> Self {
        let all = [Self::FilterAndGroup, Self::TwoPaces, Self::Awaiting, Self::Count, Self::Tally];
        all.into_iter().find(|work| work.name() == name).expect("the parent passes a known name")
    }

    /// Returns the app, which reads `input`.
    pub(super) fn app(self, id: &str, input: &str) -> AppBuilder {
        let app = App::new(id);
        let input = input.to_owned();
        match self {
            Self::FilterAndGroup => {
                app.only::<keep>().agent_with::<keep>(|a| a.topic(&*input)).agent_with::<regroup>(|a| a.topic(&*input))
            }
            Self::TwoPaces => {
                app.only::<fast>().agent_with::<fast>(|a| a.topic(&*input)).agent_with::<slow>(|a| a.topic(&*input))
            }
            Self::Awaiting => app.only::<ponder>().agent_with::<ponder>(|a| a.topic(&*input)),
            Self::Count => app.only::<count>().agent_with::<count>(|a| a.topic(&*input)),
            Self::Tally => app.only::<tally>().agent_with::<tally>(|a| a.topic(&*input)),
        }
    }

    /// Returns the commit interval and the producer's linger time, chosen so that wrong commits are detected.
    pub(super) fn times(self) -> (&'static str, &'static str) {
        match self {
            // A commit that does not wait for sent messages would be ahead of them most of the time.
            Self::FilterAndGroup | Self::TwoPaces => ("700ms", "300ms"),
            // As above, but for a smaller part of the time, because kills must leave events to be replayed.
            Self::Count => ("700ms", "150ms"),
            Self::Tally => ("200ms", "1ms"),
            // Commits often come just before a slow event, and must not cover the events that wait behind it.
            Self::Awaiting => ("100ms", "1ms"),
        }
    }

    /// Returns the invariants.
    pub(super) fn links(self, id: &str, input: &str) -> Vec<Link> {
        let link = |stage, from: &str, to: &str, wants| Link { stage, from: from.to_owned(), to: to.to_owned(), wants };
        let between = format!("{id}-regroup-group-repartition");
        match self {
            Self::FilterAndGroup => vec![
                link("keep", input, "crash.kept", is_kept),
                link("regroup/0", input, &between, |_| true),
                link("regroup", &between, "crash.grouped", |_| true),
            ],
            Self::TwoPaces => {
                vec![link("fast", input, "crash.fast", |_| true), link("slow", input, "crash.slow", |_| true)]
            }
            Self::Count => vec![link("count", input, "crash.counted", |_| true)],
            Self::Tally => Vec::new(),
            Self::Awaiting => {
                vec![link("ponder", input, "crash.before", |_| true), link("ponder", input, "crash.after", |_| true)]
            }
        }
    }
}

/// The predicate of the filter, which keeps nine of ten events.
fn is_kept(n: u64) -> bool {
    !n.is_multiple_of(10)
}

#[agent(topic = "crash.numbers")]
async fn keep(numbers: Stream<Number>, #[topic("crash.kept")] kept: Topic<u64, Number>) -> Result<()> {
    let mut numbers = numbers.filter(|number| is_kept(number.n));
    while let Some(number) = numbers.next().await {
        kept.send(&number.n, &number).await?;
    }
    Ok(())
}

#[agent(topic = "crash.numbers")]
async fn regroup(numbers: Stream<Number>, #[topic("crash.grouped")] grouped: Topic<u64, Number>) -> Result<()> {
    let mut numbers = numbers.group_by("group", |number| number.group.clone());
    while let Some(number) = numbers.next().await {
        grouped.send(&number.n, &number).await?;
    }
    Ok(())
}

#[agent(topic = "crash.numbers")]
async fn fast(mut numbers: Stream<Number>, #[topic("crash.fast")] out: Topic<u64, Number>) -> Result<()> {
    while let Some(number) = numbers.next().await {
        out.send(&number.n, &number).await?;
    }
    Ok(())
}

#[agent(topic = "crash.numbers")]
async fn slow(mut numbers: Stream<Number>, #[topic("crash.slow")] out: Topic<u64, Number>) -> Result<()> {
    let mut done = 0;
    while let Some(number) = numbers.next().await {
        // This agent sleeps two thirds of the time, so that the fast one gets ahead.
        done += 1;
        if done % 50 == 0 {
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        out.send(&number.n, &number).await?;
    }
    Ok(())
}

#[agent(topic = "crash.numbers")]
async fn ponder(
    mut numbers: Stream<Number>,
    #[topic("crash.before")] before: Topic<u64, Number>,
    #[topic("crash.after")] after: Topic<u64, Number>,
) -> Result<()> {
    let mut done = 0;
    while let Some(number) = numbers.next().await {
        before.send(&number.n, &number).await?;
        done += 1;
        if done % 12 == 0 {
            // Slower than the events of a replay arrive, so that whole batches wait behind such an event.
            tokio::time::sleep(Duration::from_millis(5)).await;
        } else {
            tokio::task::yield_now().await;
        }
        after.send(&number.n, &number).await?;
    }
    Ok(())
}

/// The output shows which events were processed, and which were replayed. The table must count each event once anyway.
#[agent(topic = "crash.numbers")]
async fn count(
    mut numbers: Stream<Number>,
    #[table(partition_by_source)] counts: Table<String, u64>,
    #[topic("crash.counted")] counted: Topic<u64, Number>,
) -> Result<()> {
    while let Some(number) = numbers.next().await {
        counts.update(&number.group, |count| *count += 1);
        counted.send(&number.n, &number).await?;
    }
    Ok(())
}

#[agent(topic = "crash.tallied")]
async fn tally(mut values: Stream<u64, String>, counts: Table<String, u64>) {
    let mut last = None;
    while let Some(value) = values.next_event().await {
        // Another process measures by it how long a takeover takes.
        if last != Some(value.partition()) {
            last = Some(value.partition());
            tracing::info!(partition = value.partition(), "the next event of a partition");
        }
        counts.update(value.key(), |count| *count += value.value());
    }
}
