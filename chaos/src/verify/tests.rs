//! The verifier must accept right outputs, and reject each kind of wrong ones, in each topic.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};

use super::fault::{Fault, Problem};
use super::guarantee::Guarantee::{self, AtLeastOnce, ExactlyOnce};
use super::input::Input;
use super::judge::{RecordSource, judge};
use super::oracle::{Oracle, group_of};
use super::record::Record;
use crate::BoxError;
use crate::topics::{CHANGELOGS, GROUPS, GROUPS_CHANGELOG, INPUT, Output, PARTITIONS, WINDOWED_CHANGELOG, WINDOWS};

/// A record of a topic in memory; its offset is its index in its partition.
#[derive(Clone, Debug, PartialEq)]
struct Stored {
    partition: i32,
    key: String,
    value: Option<String>,
    time: i64,
}

/// Topics in memory.
#[derive(Clone, Default)]
struct Memory {
    topics: BTreeMap<String, Vec<Stored>>,
}

impl RecordSource for Memory {
    fn read(&self, topic: &str, each: &mut dyn FnMut(&Record<'_>)) -> Result<u64, BoxError> {
        let mut ends = HashMap::new();
        let records = self.topics.get(topic).ok_or_else(|| format!("no topic {topic}"))?;
        for Stored { partition, key, value, time } in records {
            let end = ends.entry(*partition).or_insert(0);
            let payload = value.as_ref().map(String::as_bytes);
            each(&Record { topic, partition: *partition, offset: *end, key: key.as_bytes(), payload, time: *time });
            *end += 1;
        }
        Ok(records.len() as u64)
    }
}

/// Number of events of the input.
const EVENTS: i64 = 600;
/// The run that has sent all outputs.
const RUN: u64 = 7;

impl Memory {
    /// Returns an input, and everything that a worker without faults makes of it.
    fn right() -> Self {
        let mut memory = Self::default();
        let mut input = Input::new(usize::try_from(PARTITIONS).unwrap());
        for n in 0..EVENTS {
            let partition = i32::try_from(n % i64::from(PARTITIONS)).unwrap();
            let key = format!("k{}", n % 30);
            memory.push(INPUT, partition, &key, Some((1 + n * 37 % 1_000).to_string()), n * 50);
        }
        let read = memory.read(INPUT, &mut |record| input.push(record).unwrap());
        assert_eq!(read.unwrap(), EVENTS as u64);
        let oracle = Oracle::of(&input);
        let mut groups: HashMap<String, (i64, i64)> = HashMap::new();
        for (partition, (events, of)) in (0..).zip(input.partitions.iter().zip(&oracle.partitions)) {
            for (from, (event, after)) in events.iter().zip(&of.after).enumerate() {
                let key = &input.keys[event.key];
                for output in Output::ALL {
                    let value = output.expected(event.value, after);
                    let value = format!(r#"{{"from":{from},"run":{RUN},"value":{value}}}"#);
                    memory.push(output.topic(), partition, key, Some(value), 0);
                }
                for (topic, total) in CHANGELOGS.iter().zip(after) {
                    memory.push(topic, partition, key, Some(total.to_string()), 0);
                }
                let group = group_of(event.value);
                let state = groups.entry(group.clone()).or_default();
                *state = (state.0 + 1, state.1 + event.value);
                let value = format!(r#"{{"count":{},"sum":{}}}"#, state.0, state.1);
                memory.push(GROUPS_CHANGELOG, 0, &group, Some(value), 0);
                let value = format!(r#"{{"run":{RUN},"count":{},"sum":{}}}"#, state.0, state.1);
                memory.push(GROUPS, 0, &group, Some(value), 0);
            }
            let mut closed: Vec<_> = of.closed.iter().collect();
            closed.sort_by_key(|((_, start), _)| *start);
            for ((key, start), count) in closed {
                let (text, value) = (&input.keys[*key], format!(r#"{{"start":{start},"count":{count}}}"#));
                memory.push(WINDOWED_CHANGELOG, partition, &format!("{text}@{start}"), Some(count.to_string()), 0);
                memory.push(WINDOWED_CHANGELOG, partition, &format!("{text}@{start}"), None, 0);
                memory.push(WINDOWS, partition, text, Some(value), 0);
            }
            for ((key, start), count) in &of.open {
                let key = format!("{}@{start}", input.keys[*key]);
                memory.push(WINDOWED_CHANGELOG, partition, &key, Some(count.to_string()), 0);
            }
        }
        memory
    }

    fn push(&mut self, topic: &str, partition: i32, key: &str, value: Option<String>, time: i64) {
        let record = Stored { partition, key: key.to_owned(), value, time };
        self.topics.entry(topic.to_owned()).or_default().push(record);
    }

    fn topic(&mut self, topic: &str) -> &mut Vec<Stored> {
        self.topics.get_mut(topic).unwrap()
    }

    /// Returns the faults, and the number of repeats.
    fn judged(&self, guarantee: Guarantee) -> (Vec<Fault>, u64) {
        let (figures, faults) = judge(self, guarantee, Some(usize::try_from(EVENTS).unwrap())).unwrap();
        assert_eq!(figures.faults, faults.count);
        (faults.first, figures.repeats)
    }

    /// Asserts that both guarantees reject the topics, with this problem in this topic.
    fn assert_rejected(&self, topic: &str, problem: Problem) {
        for guarantee in [ExactlyOnce, AtLeastOnce] {
            self.assert_rejected_under(guarantee, topic, problem);
        }
    }

    fn assert_rejected_under(&self, guarantee: Guarantee, topic: &str, problem: Problem) {
        let (faults, _) = self.judged(guarantee);
        let is_found = faults.iter().any(|fault| fault.topic == topic && fault.problem == problem);
        assert!(is_found, "{guarantee:?} {topic}: no {problem} among {faults:?}");
    }
}

/// All outputs with an order.
fn ordered() -> Vec<&'static str> {
    Output::ALL.iter().map(|output| output.topic()).chain([GROUPS]).collect()
}

#[test]
fn right_outputs_are_accepted() {
    let memory = Memory::right();
    for guarantee in [ExactlyOnce, AtLeastOnce] {
        assert_eq!(memory.judged(guarantee), (Vec::new(), 0));
    }
    let figures = judge(&memory, ExactlyOnce, None).unwrap().0;
    assert_eq!((figures.events, figures.keys), (600, 30));
    assert!(figures.outputs > 6 * 600, "windows are outputs, too: {figures:?}");
}

#[test]
fn an_input_with_fewer_events_than_were_fed_is_an_error() {
    let error = judge(&Memory::right(), AtLeastOnce, Some(601)).unwrap_err();
    assert_eq!(error.to_string(), "the input has 600 events, but 601 were fed: the feeder or the brokers lost some");
}

#[test]
fn a_lost_record_is_found_in_every_output() {
    for topic in ordered().into_iter().chain([WINDOWS]) {
        let mut memory = Memory::right();
        memory.topic(topic).remove(100);
        memory.assert_rejected(topic, Problem::Lost);
    }
}

#[test]
fn a_lost_end_is_found_in_every_output() {
    for topic in ordered().into_iter().chain([WINDOWS]) {
        let mut memory = Memory::right();
        memory.topic(topic).pop();
        memory.assert_rejected(topic, Problem::Lost);
    }
}

#[test]
fn a_duplicate_is_found_under_exactly_once_and_inside_a_run() {
    for topic in ordered() {
        let mut memory = Memory::right();
        let records = memory.topic(topic);
        records.insert(101, records[100].clone());
        memory.assert_rejected(topic, Problem::Duplicate);
    }
    let mut memory = Memory::right();
    let records = memory.topic(WINDOWS);
    records.insert(101, records[100].clone());
    memory.assert_rejected_under(ExactlyOnce, WINDOWS, Problem::Duplicate);
    assert_eq!(memory.judged(AtLeastOnce), (Vec::new(), 1));
}

#[test]
fn a_wrong_value_is_found_in_every_output() {
    for topic in Output::ALL.map(Output::topic).into_iter().chain([WINDOWS]) {
        let mut memory = Memory::right();
        let value = memory.topic(topic)[100].value.as_mut().unwrap();
        // The last field is the value.
        *value = value.replace('}', "1}");
        memory.assert_rejected(topic, Problem::WrongValue);
    }
}

#[test]
fn a_group_whose_sum_does_not_grow_is_found() {
    let mut memory = Memory::right();
    let group = memory.topic(GROUPS)[300].key.clone();
    let of_group: Vec<_> = (0..600).filter(|at| memory.topics[GROUPS][*at].key == group).collect();
    let records = memory.topic(GROUPS);
    records[of_group[1]].value = Some(format!(r#"{{"run":{RUN},"count":2,"sum":0}}"#));
    memory.assert_rejected(GROUPS, Problem::WrongValue);
}

#[test]
fn outputs_in_another_order_are_found() {
    for topic in ordered() {
        let mut memory = Memory::right();
        let (key, partition) = (memory.topic(topic)[0].key.clone(), memory.topic(topic)[0].partition);
        let of_key = |record: &Stored| record.key == key && record.partition == partition;
        let places: Vec<_> = (0..600).filter(|at| of_key(&memory.topics[topic][*at])).collect();
        memory.topic(topic).swap(places[0], places[1]);
        // The later one comes first, so the earlier one is missing then, and comes too late.
        memory.assert_rejected(topic, Problem::Lost);
        memory.assert_rejected_under(ExactlyOnce, topic, Problem::Duplicate);
        memory.assert_rejected_under(AtLeastOnce, topic, Problem::OutOfOrder);
    }
    let mut memory = Memory::right();
    let records = memory.topic(WINDOWS);
    let last_of_partition = records.iter().rposition(|record| record.partition == 0).unwrap();
    records.swap(0, last_of_partition);
    memory.assert_rejected_under(ExactlyOnce, WINDOWS, Problem::OutOfOrder);
}

#[test]
fn a_wrong_key_and_a_wrong_partition_are_found() {
    for topic in Output::ALL.map(Output::topic).into_iter().chain([WINDOWS, GROUPS]) {
        let mut memory = Memory::right();
        memory.topic(topic)[100].key = "other".to_owned();
        memory.assert_rejected(topic, Problem::WrongKey);
    }
    let mut memory = Memory::right();
    let of_group = memory.topic(GROUPS)[599].key.clone();
    memory.push(GROUPS, 1, &of_group, Some(format!(r#"{{"run":{RUN},"count":1,"sum":1}}"#)), 0);
    memory.assert_rejected(GROUPS, Problem::WrongKey);
}

#[test]
fn a_value_that_cannot_be_parsed_is_found_everywhere() {
    let all = ordered().into_iter().chain([WINDOWS, GROUPS_CHANGELOG, WINDOWED_CHANGELOG]).chain(CHANGELOGS);
    for topic in all {
        let mut memory = Memory::right();
        let last = memory.topic(topic).iter().rposition(|record| record.value.is_some()).unwrap();
        memory.topic(topic)[last].value = Some("x".to_owned());
        memory.assert_rejected(topic, Problem::Unreadable);
    }
}

/// Returns the outputs of partition 0, repeated by another run from this event on, and after that the rest.
fn replayed(topic: &str, run: u64, from: usize, until: usize) -> Memory {
    let mut memory = Memory::right();
    let records = memory.topic(topic);
    let of_partition: Vec<_> = records.iter().filter(|record| record.partition == 0).cloned().collect();
    records.retain(|record| record.partition != 0);
    let again = of_partition[from..].iter().map(|record| {
        let value = record.value.as_ref().unwrap().replace(&format!(r#""run":{RUN}"#), &format!(r#""run":{run}"#));
        Stored { value: Some(value), ..record.clone() }
    });
    let replayed: Vec<_> = of_partition[..until].iter().cloned().chain(again).collect();
    records.extend(replayed);
    memory
}

#[test]
fn a_run_from_an_earlier_event_is_accepted_under_at_least_once_only() {
    for topic in Output::ALL.map(Output::topic) {
        let memory = replayed(topic, 8, 40, 60);
        assert_eq!(memory.judged(AtLeastOnce), (Vec::new(), 20));
        memory.assert_rejected_under(ExactlyOnce, topic, Problem::Duplicate);
    }
}

#[test]
fn a_run_that_goes_back_or_ahead_without_a_new_start_is_found() {
    for topic in Output::ALL.map(Output::topic) {
        // The same run cannot go back: an agent reads its partition in order.
        replayed(topic, RUN, 40, 60).assert_rejected_under(AtLeastOnce, topic, Problem::OutOfOrder);
        // Another run cannot begin behind events that were never processed.
        replayed(topic, 8, 60, 40).assert_rejected_under(AtLeastOnce, topic, Problem::Lost);
        // A run cannot skip events, even if an earlier run has processed them.
        let mut memory = replayed(topic, 8, 40, 60);
        let (records, skipped) = (memory.topic(topic), r#""from":45,"run":8,"#);
        records.retain(|record| !record.value.as_ref().unwrap().contains(skipped));
        memory.assert_rejected_under(AtLeastOnce, topic, Problem::Lost);
    }
}

#[test]
fn a_zombie_that_goes_on_beside_its_successor_is_accepted_under_at_least_once() {
    let mut memory = replayed("chaos.count", 8, 40, 60);
    let records = memory.topic("chaos.count");
    let is_last = |record: &Stored| record.value.as_ref().unwrap().contains(r#""from":59,"run":7,"#);
    let of_zombie = records.iter().position(|record| record.partition == 0 && is_last(record));
    let last = records.remove(of_zombie.unwrap());
    records.push(last);
    assert_eq!(memory.judged(AtLeastOnce), (Vec::new(), 20));
}

#[test]
fn a_wrong_state_is_found_in_every_changelog() {
    for topic in CHANGELOGS.into_iter().chain([WINDOWED_CHANGELOG]) {
        let mut memory = Memory::right();
        let last = memory.topic(topic).last_mut().unwrap();
        last.value = last.value.as_ref().map(|value| format!("{value}0"));
        memory.assert_rejected(topic, Problem::WrongState);
    }
    let mut memory = Memory::right();
    let (partition, key) =
        (memory.topic(GROUPS_CHANGELOG)[599].partition, memory.topic(GROUPS_CHANGELOG)[599].key.clone());
    memory.push(GROUPS_CHANGELOG, partition, &key, Some(r#"{"count":1,"sum":1}"#.to_owned()), 0);
    memory.assert_rejected(GROUPS_CHANGELOG, Problem::WrongState);
}

#[test]
fn a_key_without_a_state_or_without_events_is_found() {
    for topic in CHANGELOGS.into_iter().chain([GROUPS_CHANGELOG]) {
        let mut memory = Memory::right();
        let (partition, key) = (memory.topic(topic)[599].partition, memory.topic(topic)[599].key.clone());
        memory.push(topic, partition, &key, None, 0);
        memory.assert_rejected(topic, Problem::Lost);
    }
    for topic in CHANGELOGS {
        let mut memory = Memory::right();
        memory.push(topic, 0, "other", Some("1".to_owned()), 0);
        memory.assert_rejected(topic, Problem::WrongState);
    }
}

#[test]
fn groups_may_count_events_again_under_at_least_once_only() {
    let mut memory = Memory::right();
    let last = memory.topic(GROUPS)[599].clone();
    let count = memory.topics[GROUPS].iter().filter(|record| record.key == last.key).count() + 1;
    memory.push(GROUPS, last.partition, &last.key, Some(format!(r#"{{"run":{RUN},"count":{count},"sum":999999}}"#)), 0);
    memory.push(GROUPS_CHANGELOG, last.partition, &last.key, Some(format!(r#"{{"count":{count},"sum":999999}}"#)), 0);
    assert_eq!(memory.judged(AtLeastOnce), (Vec::new(), 0));
    memory.assert_rejected_under(ExactlyOnce, GROUPS, Problem::WrongValue);
    memory.assert_rejected_under(ExactlyOnce, GROUPS_CHANGELOG, Problem::WrongState);
}

#[test]
fn a_fault_names_its_place() {
    let mut memory = Memory::right();
    let at = memory.topic("chaos.sum").iter().position(|record| record.partition == 2).unwrap() + 5;
    memory.topic("chaos.sum").remove(at);
    let (faults, _) = memory.judged(ExactlyOnce);
    assert_eq!(
        faults[0].to_string(),
        "lost: chaos.sum [2] offset 5, key `k8`: expected number 5, found number 6 of run 7"
    );
}

#[test]
fn windows_close_by_the_time_of_their_partition() {
    let mut input = Input::new(1);
    let mut push = |offset, time| {
        let record = Record { topic: INPUT, partition: 0, offset, key: b"k", payload: Some(b"1"), time };
        input.push(&record).unwrap();
    };
    [0, 4_999, 5_000, 5_999].into_iter().enumerate().for_each(|(offset, time)| push(offset as i64, time));
    assert!(Oracle::of(&input).partitions[0].closed.is_empty());
    let record = Record { topic: INPUT, partition: 0, offset: 4, key: b"k", payload: Some(b"1"), time: 6_000 };
    input.push(&record).unwrap();
    let oracle = Oracle::of(&input);
    assert_eq!(oracle.partitions[0].closed, HashMap::from([((0, 0), 2)]));
    assert_eq!(oracle.partitions[0].open, HashMap::from([((0, 5_000), 3)]));
}
