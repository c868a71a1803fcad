//! The events of the input, in the order of each partition.

use std::collections::HashMap;

use super::fault::{Fault, Problem};
use super::record::Record;

/// An event of the input. Its position is its offset.
#[derive(Clone, Copy, Debug)]
pub(crate) struct InputEvent {
    /// Index of the key in [`Input::keys`].
    pub(crate) key: usize,
    pub(crate) value: i64,
    pub(crate) time: i64,
}

/// The whole input.
#[derive(Debug)]
pub(crate) struct Input {
    pub(crate) partitions: Vec<Vec<InputEvent>>,
    pub(crate) keys: Vec<String>,
    by_key: HashMap<Vec<u8>, usize>,
}

impl Input {
    pub(crate) fn new(partitions: usize) -> Self {
        Self { partitions: vec![Vec::new(); partitions], keys: Vec::new(), by_key: HashMap::new() }
    }

    /// Appends the next record of a partition.
    ///
    /// # Errors
    /// Returns the fault of a record that the feeder cannot have sent: the results of such an input are not defined.
    pub(crate) fn push(&mut self, record: &Record<'_>) -> Result<(), Fault> {
        let value = record.parse()?;
        let events = &mut self.partitions[record.index()];
        if usize::try_from(record.offset) != Ok(events.len()) {
            return Err(record.fault(Problem::Lost, format!("offset {}", events.len()), "a gap"));
        }
        if let Some(before) = events.last().filter(|before| before.time > record.time) {
            return Err(record.fault(Problem::OutOfOrder, format!("a time from {}", before.time), record.time));
        }
        let key = match self.by_key.get(record.key) {
            Some(key) => *key,
            None => {
                self.keys.push(record.key_text().into_owned());
                self.by_key.insert(record.key.to_vec(), self.keys.len() - 1);
                self.keys.len() - 1
            }
        };
        events.push(InputEvent { key, value, time: record.time });
        Ok(())
    }

    /// Returns the number of events.
    pub(crate) fn len(&self) -> usize {
        self.partitions.iter().map(Vec::len).sum()
    }
}
