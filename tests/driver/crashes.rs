//! Tables of all kinds of agents, through random histories: in the end they match the input, read from disk or
//! restored.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use faust::Offset;
use faust::prelude::*;
use faust::testing::TestDriver;
use proptest::prelude::*;

use super::chaos::{Chaos, Disk, Held, Step, cases, faults, histories, history, input, number, step, store, trip};
use super::harness::at_least_once;

/// Sums the values of each key, and sends the sum after each event.
#[agent(topic = "in")]
async fn count(
    mut numbers: Stream<i64, String>,
    counts: Table<String, i64>,
    #[topic("counted")] counted: Topic<(i32, Offset), i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        trip()?;
        let sum = counts.update(event.key(), |sum| {
            *sum += event.value();
            *sum
        });
        rest(*event.value()).await;
        trip()?;
        counted.send(&(event.partition(), event.offset()), &sum).await?;
    }
    Ok(())
}

/// Sets, changes and removes values, and sends the number and the sum of the values after each event.
#[agent(topic = "in")]
async fn bag(
    mut numbers: Stream<i64, String>,
    last: Table<String, i64>,
    #[topic("bagged")] bagged: Topic<(i32, Offset), (usize, i64)>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        match event.value() % 5 {
            0 | 1 => drop(last.remove(event.key())),
            2 => last.set(event.key(), *event.value()),
            3 => *last.entry(event.key()).or_insert(100) += 1,
            _ => last.retain(|_, value| value % 2 == 0),
        }
        trip()?;
        rest(*event.value()).await;
        bagged.send(&(event.partition(), event.offset()), &(last.len(), last.values().sum())).await?;
    }
    Ok(())
}

/// Shares a table with [`right`], and runs ahead of it.
#[agent(topic = "in")]
async fn left(mut numbers: Stream<i64, String>, shared: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        shared.update(event.key(), |sum| *sum += event.value());
        trip()?;
    }
    Ok(())
}

/// Shares a table with [`left`], and is slower.
#[agent(topic = "in")]
async fn right(mut numbers: Stream<i64, String>, shared: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        tokio::time::sleep(Duration::from_millis(40)).await;
        shared.update(event.key(), |sum| *sum += 1000 * event.value());
        trip()?;
    }
    Ok(())
}

/// Reads batches, and stores the values of each key in order.
#[agent(topic = "in")]
async fn batch(numbers: Stream<i64, String>, lists: Table<String, Vec<i64>>) -> Result<()> {
    let mut batches = numbers.take(4, Duration::from_millis(300));
    while let Some(batch) = batches.next_events().await {
        for event in &batch {
            lists.update(event.key(), |list| list.push(*event.value()));
            rest(*event.value()).await;
            trip()?;
        }
    }
    Ok(())
}

/// A per-event agent, which keeps the maximum of each key.
#[agent(topic = "in")]
async fn each(event: Event<i64, String>, most: Table<String, i64>) -> Result<()> {
    let most = most.update(event.key(), |most| {
        *most = (*most).max(*event.value());
        *most
    });
    rest(most).await;
    trip()
}

/// Returns in the middle of its stream, which finishes the current event.
#[agent(topic = "in")]
async fn quitter(mut numbers: Stream<i64, String>, quits: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        quits.update(event.key(), |count| *count += 1);
        rest(*event.value()).await;
        if trip().is_err() {
            return Ok(());
        }
    }
    Ok(())
}

thread_local! {
    static DICE: Cell<i64> = const { Cell::new(0) };
}

/// Writes something different at each attempt, and sometimes nothing.
#[agent(topic = "in")]
async fn dice(mut numbers: Stream<i64, String>, thrown: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        DICE.set(DICE.get() * 1_103_515_245 % 2_147_483_647 + 12_345 + event.value());
        match DICE.get() % 4 {
            0 => {}
            1 => drop(thrown.remove(event.key())),
            2 => thrown.set(&format!("{}-{}", event.partition(), DICE.get() % 9), DICE.get()),
            _ => thrown.set(event.key(), DICE.get()),
        }
        trip()?;
    }
    Ok(())
}

/// Sleeps for some values, so that cuts, failures and crashes occur in the middle of events.
async fn rest(value: i64) {
    let time = match value {
        // Longer than some rebalances wait.
        17 | 37 | 57 | 97 => Duration::from_millis(700),
        _ if value % 7 == 3 => Duration::from_millis(30),
        _ => return,
    };
    tokio::time::sleep(time).await;
}

/// The set of agents in the app, never empty, as a bit mask.
#[derive(Clone, Copy, Debug)]
struct Agents(u8);

fn agents() -> impl Strategy<Value = Agents> {
    (1u8..128).prop_map(Agents)
}

impl Agents {
    fn has(self, bit: u8) -> bool {
        self.0 & (1 << bit) != 0
    }

    fn app(self) -> faust::AppBuilder {
        let mut app = at_least_once("crashes");
        let add: [fn(faust::AppBuilder) -> faust::AppBuilder; 7] = [
            |app| app.only::<count>(),
            |app| app.only::<bag>(),
            |app| app.only::<left>().only::<right>(),
            |app| app.only::<batch>(),
            |app| app.only::<each>(),
            |app| app.only::<quitter>(),
            |app| app.only::<dice>(),
        ];
        for (bit, add) in (0u8..).zip(add) {
            if self.has(bit) {
                app = add(app);
            }
        }
        app
    }
}

/// The contents of the tables by name, with values as JSON.
type Tables = BTreeMap<&'static str, BTreeMap<String, String>>;

struct World {
    chaos: Chaos,
    agents: Agents,
}

impl World {
    fn new(agents: Agents, store: &str) -> Self {
        DICE.set(1);
        Self { chaos: Chaos::new(agents.app(), 3, store), agents }
    }

    /// Standbys wait for the threads of stores on disk, whose time is not the driver's.
    fn without_standbys(agents: Agents, store: &str) -> Self {
        DICE.set(1);
        Self { chaos: Chaos::with_standbys(agents.app(), 3, store, 0), agents }
    }

    /// Returns the input, partition by partition.
    fn input(&mut self) -> Vec<(i32, Offset, String, i64)> {
        let messages = self.chaos.driver.messages("in").unwrap().into_iter();
        let read = messages.map(|message| {
            let key = String::from_utf8(message.key.unwrap()).unwrap();
            (message.partition, message.offset, key, number(message.payload.as_deref()))
        });
        read.collect()
    }

    /// Returns the expected contents of the tables of all deterministic agents. Also checks the messages that these
    /// agents have sent.
    fn oracle(&mut self) -> Tables {
        let mut oracle = Tables::new();
        let input = self.input();
        let mut fold = |bit: u8, name: &'static str, take: fn(&[i64]) -> String| {
            let mut values: BTreeMap<String, Vec<i64>> = BTreeMap::new();
            for (_, _, key, value) in &input {
                values.entry(key.clone()).or_default().push(*value);
            }
            if self.agents.has(bit) {
                oracle.insert(name, values.into_iter().map(|(key, values)| (key, take(&values))).collect());
            }
        };
        fold(0, "counts", |values| values.iter().sum::<i64>().to_string());
        fold(2, "shared", |values| (1001 * values.iter().sum::<i64>()).to_string());
        fold(3, "lists", |values| format!("{values:?}").replace(' ', ""));
        fold(4, "most", |values| values.iter().max().unwrap().to_string());
        fold(5, "quits", |values| values.len().to_string());
        if self.agents.has(0) {
            self.check_counted(&input);
        }
        if self.agents.has(1) {
            oracle.insert("last", self.check_bagged(&input));
        }
        oracle
    }

    /// Checks that the agent sent the expected sum for each event, at every attempt.
    fn check_counted(&mut self, input: &[(i32, Offset, String, i64)]) {
        let mut sums: BTreeMap<&str, i64> = BTreeMap::new();
        let mut expected = BTreeSet::new();
        for (partition, offset, key, value) in input {
            let sum = sums.entry(key).or_default();
            *sum += value;
            expected.insert(((*partition, *offset), *sum));
        }
        let counted: BTreeSet<_> =
            self.chaos.driver.read::<(i32, Offset), i64>("counted").unwrap().into_iter().collect();
        assert_eq!(counted, expected);
    }

    /// Checks the messages of `bag`, and returns the expected contents of its table.
    fn check_bagged(&mut self, input: &[(i32, Offset, String, i64)]) -> BTreeMap<String, String> {
        let mut all: BTreeMap<i32, BTreeMap<String, i64>> = BTreeMap::new();
        let mut expected = BTreeSet::new();
        for (partition, offset, key, value) in input {
            let bag = all.entry(*partition).or_default();
            match value % 5 {
                0 | 1 => drop(bag.remove(key)),
                2 => drop(bag.insert(key.clone(), *value)),
                3 => *bag.entry(key.clone()).or_insert(100) += 1,
                _ => bag.retain(|_, value| *value % 2 == 0),
            }
            expected.insert(((*partition, *offset), (bag.len(), bag.values().sum::<i64>())));
        }
        let bagged = self.chaos.driver.read::<(i32, Offset), (usize, i64)>("bagged").unwrap();
        assert_eq!(bagged.into_iter().collect::<BTreeSet<_>>(), expected);
        all.into_values().flatten().map(|(key, value)| (key, value.to_string())).collect()
    }

    /// Returns the actual contents of the tables.
    fn tables(&mut self) -> Tables {
        let mut tables = Tables::new();
        for (bit, name) in [(0, "counts"), (1, "last"), (2, "shared"), (4, "most"), (5, "quits"), (6, "thrown")] {
            if self.agents.has(bit) {
                let table = self.chaos.driver.table::<String, i64>(name).unwrap();
                tables.insert(name, table.iter().map(|(key, value)| (key, value.to_string())).collect());
            }
        }
        if self.agents.has(3) {
            let table = self.chaos.driver.table::<String, Vec<i64>>("lists").unwrap();
            tables
                .insert("lists", table.iter().map(|(key, list)| (key, format!("{list:?}").replace(' ', ""))).collect());
        }
        tables
    }

    /// Returns the contents of the changelogs: the last record of each key in each partition.
    fn logged(&mut self, names: &[&'static str]) -> Tables {
        let mut tables = Tables::new();
        for name in names {
            let mut table: BTreeMap<(i32, String), String> = BTreeMap::new();
            for message in self.chaos.driver.messages(&format!("crashes-{name}-changelog")).unwrap() {
                let at = (message.partition, String::from_utf8(message.key.unwrap()).unwrap());
                match message.payload {
                    Some(payload) => table.insert(at, String::from_utf8(payload).unwrap()),
                    None => table.remove(&at),
                };
            }
            tables.insert(name, table.into_iter().map(|((_, key), value)| (key, value)).collect());
        }
        tables
    }

    /// Returns all messages of all topics with their timestamps, and the number of faults.
    fn trace(&mut self) -> Vec<String> {
        let changelogs = ["counts", "last", "shared", "lists", "most", "quits", "thrown"];
        let topics = changelogs.map(|name| format!("crashes-{name}-changelog"));
        let topics = topics.into_iter().chain(["in", "counted", "bagged"].map(String::from));
        let mut trace = vec![format!("{:?}", self.chaos.driver.cluster().fault_counts())];
        for topic in topics {
            // The changelogs of agents that are not part of the app do not exist.
            let messages = self.chaos.driver.messages(&topic).unwrap_or_default();
            trace.extend(messages.into_iter().map(|message| format!("{topic} {message:?}")));
        }
        trace
    }

    /// Checks, after everything has been committed, that the tables match the input.
    fn check_tables(&mut self) -> Tables {
        let tables = self.tables();
        for (name, expected) in self.oracle() {
            assert_eq!(tables.get(name), Some(&expected), "table `{name}` differs from the input");
        }
        tables
    }

    /// Like [`check_tables`](Self::check_tables), and checks that the changelogs match the tables.
    fn check(&mut self) -> Tables {
        let tables = self.check_tables();
        let names: Vec<_> = tables.keys().copied().filter(|name| *name != "thrown").collect();
        let logged = self.logged(&names);
        for name in names {
            assert_eq!(logged.get(name), tables.get(name), "the changelog of `{name}` differs from the table");
        }
        tables
    }

    /// Checks the tables, and repeats the check after restarts with and without the disks, for the changelogs too: until then,
    /// their last records may be those of a former owner.
    fn check_restores(&mut self) {
        let before = self.check_tables();
        for disk in [Disk::Kept, Disk::Lost, Disk::Kept] {
            self.chaos.restart(disk);
            assert_eq!(self.check(), before, "after a restore, disk {disk:?}");
        }
    }
}

proptest! {
    #![proptest_config(cases(16))]

    /// Law: after any crashes, failures, rebalances and losses of disks, the tables are the fold of the input, a
    /// restore yields the same contents, and the changelog alone contains them too.
    #[test]
    fn tables_survive_everything(
        agents in agents(),
        store in store(),
        steps in prop::collection::vec(step(1000), 1..30),
    ) {
        let mut world = World::new(agents, store);
        steps.iter().for_each(|step| world.chaos.apply(step));
        world.chaos.finish();
        world.check_restores();
    }

    /// Law: after a crash at any turn between the changelog's flush and the end of the offset commit, recovery and
    /// another commit leave nothing of it for a later restore to find.
    #[test]
    fn a_crash_inside_a_commit_leaves_nothing(
        agents in agents(),
        store in store(),
        first in prop::collection::vec(input(1000), 1..12),
        second in prop::collection::vec(input(1000), 1..12),
        third in prop::collection::vec(input(1000), 0..6),
        held in prop_oneof![Just(Held::Deliveries), Just(Held::Commits), Just(Held::CommitAnswers)],
        turns in 0u8..60,
        again in any::<bool>(),
        fails in prop::option::of(0u8..10),
    ) {
        let mut world = World::new(agents, store);
        let mut steps = vec![Step::Send(first, None), Step::Commit];
        for _ in 0..=u8::from(again) {
            steps.extend([Step::Send(second.clone(), None), Step::Hold(held), Step::Commit]);
            // The agents continue while the commit is in progress, and may fail.
            steps.extend(fails.map(Step::Fail));
            steps.extend([Step::Send(third.clone(), None), Step::Release(Some(turns)), Step::CrashAll(Disk::Kept), Step::Start]);
        }
        steps.iter().for_each(|step| world.chaos.apply(step));
        world.chaos.finish();
        world.check_restores();
    }
}

/// Law: the tables are the fold of the input on a cluster that behaves as badly as Kafka can.
#[test]
fn tables_survive_an_unkind_cluster() {
    let strategy = (agents(), store(), history(1000, faults()));
    histories(16, faults(), &strategy, |(agents, store, history), count| {
        let mut world = World::new(agents, store);
        world.chaos.run_history(&history);
        count(&world.chaos);
        world.chaos.finish();
        world.check_restores();
        Ok(())
    });
}

/// Law: the same history on the same seed has the same effects, message by message.
#[test]
fn a_history_is_replayed_exactly() {
    let strategy = (agents(), store(), history(1000, faults()));
    histories(6, &[], &strategy, |(agents, store, history), count| {
        let run = || {
            let mut world = World::without_standbys(agents, store);
            world.chaos.run_history(&history);
            count(&world.chaos);
            world.chaos.finish();
            world.chaos.restart(Disk::Kept);
            world.trace()
        };
        let (first, second) = (run(), run());
        for (first, second) in first.iter().zip(&second) {
            prop_assert_eq!(first, second, "the first difference");
        }
        prop_assert_eq!(first.len(), second.len());
        Ok(())
    });
}

/// Sets a key for a positive value, and removes it after a delay for any other value.
#[agent(topic = "in")]
async fn comes_and_goes(mut numbers: Stream<i64, String>, here: Table<String, i64>) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        if *event.value() > 0 {
            here.set(event.key(), *event.value());
        } else {
            tokio::time::sleep(Duration::from_secs(1)).await;
            here.remove(event.key());
        }
    }
    Ok(())
}

#[test]
fn a_key_removed_after_an_abandoned_commit_stays_removed() {
    let app = at_least_once("crashes").only::<comes_and_goes>();
    let mut driver = TestDriver::new(app.setting("topic_partitions", 1)).unwrap();
    let first = driver.start_worker().unwrap();
    driver.send("in", &"a".to_owned(), &1i64).unwrap();
    // The changelog contains the key, and the commit is in progress when a rebalance begins.
    driver.cluster().hold_commits();
    driver.commit();
    driver.send("in", &"a".to_owned(), &0i64).unwrap();
    driver.start_worker().unwrap();
    driver.cluster().release_commits();
    driver.advance(Duration::from_secs(5));
    driver.commit();
    let there = |driver: &TestDriver| driver.table::<String, i64>("here").unwrap().iter().collect::<Vec<_>>();
    assert_eq!(there(&driver), []);
    driver.restart(first).unwrap();
    assert_eq!(there(&driver), [], "a restore keeps the key removed");
    let last = driver.messages("crashes-here-changelog").unwrap().pop().unwrap();
    assert_eq!(last.payload, None, "the changelog contains the removal");
}

/// Reads, changes and removes keys in random order; their values exceed the memory budget of tables.
#[agent(topic = "in")]
async fn large(
    mut numbers: Stream<i64, String>,
    texts: Table<String, String>,
    #[topic("counted")] counted: Topic<(i32, Offset), i64>,
) -> Result<()> {
    while let Some(event) = numbers.next_event().await {
        let key = format!("{}-{}", event.key(), event.value());
        let number = |text: &str| text.trim_start_matches('.').parse::<i64>().unwrap_or(0);
        if event.value() % 9 == 0 {
            texts.remove(&key);
        } else {
            let times = number(&texts.get(&key)) + 1;
            texts.set(&key, format!("{times:.>40000}"));
        }
        trip()?;
        let other = number(&texts.get(&format!("{}-{}", event.key(), event.value() * 31 % 100)));
        counted.send(&(event.partition(), event.offset()), &(1000 * i64::try_from(texts.len())? + other)).await?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(cases(4))]

    /// Law: the memory budget of tables affects their speed, but not their contents.
    #[test]
    fn eviction_changes_nothing(
        store in prop_oneof![Just("sled://"), Just("fjall://")],
        steps in prop::collection::vec(prop_oneof![
            3 => prop::collection::vec(input(1000), 20..60).prop_map(|input| Step::Send(input, None)),
            2 => step(1000),
        ], 4..16),
    ) {
        let app = at_least_once("crashes").only::<large>().setting("table_cache_memory", "1MiB");
        let mut chaos = Chaos::new(app.setting("state_memory", "1MiB"), 3, store);
        steps.iter().for_each(|step| chaos.apply(step));
        chaos.finish();
        let mut texts: BTreeMap<i32, BTreeMap<String, i64>> = BTreeMap::new();
        let mut expected = BTreeSet::new();
        for message in chaos.driver.messages("in").unwrap() {
            let (key, value) = (String::from_utf8(message.key.unwrap()).unwrap(), number(message.payload.as_deref()));
            let mine = texts.entry(message.partition).or_default();
            let at = format!("{key}-{value}");
            if value % 9 == 0 {
                mine.remove(&at);
            } else {
                *mine.entry(at).or_default() += 1;
            }
            let other = mine.get(&format!("{key}-{}", value * 31 % 100)).copied().unwrap_or(0);
            expected.insert(((message.partition, message.offset), 1000 * i64::try_from(mine.len()).unwrap() + other));
        }
        let counted: BTreeSet<_> = chaos.driver.read::<(i32, Offset), i64>("counted").unwrap().into_iter().collect();
        prop_assert_eq!(counted, expected);
        let expected: BTreeMap<_, _> = texts.into_values().flatten().map(|(at, n)| (at, format!("{n:.>40000}"))).collect();
        for disk in [Disk::Kept, Disk::Kept, Disk::Lost] {
            let table = chaos.driver.table::<String, String>("texts").unwrap();
            prop_assert!(table.iter().collect::<BTreeMap<_, _>>() == expected, "table differs before a restart with disk {:?}", disk);
            prop_assert_eq!(table.len(), expected.len());
            // The table keeps the worker's disk open.
            drop(table);
            chaos.restart(disk);
        }
    }
}
