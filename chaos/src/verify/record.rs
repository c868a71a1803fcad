//! A record as it was read, and the values inside.

use serde::Deserialize;

use super::fault::{Fault, Problem};

/// A record of a topic.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Record<'a> {
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
    pub(crate) key: &'a [u8],
    pub(crate) payload: Option<&'a [u8]>,
    /// Milliseconds since 1970.
    pub(crate) time: i64,
}

impl<'a> Record<'a> {
    /// Returns the key as text; bytes that are no UTF-8 are replaced.
    pub(crate) fn key_text(&self) -> std::borrow::Cow<'a, str> {
        String::from_utf8_lossy(self.key)
    }

    /// Returns the partition as an index.
    pub(crate) fn index(&self) -> usize {
        usize::try_from(self.partition).unwrap_or_default()
    }

    /// Parses the value.
    ///
    /// # Errors
    /// Returns the fault of a value that cannot be parsed.
    pub(crate) fn parse<T: Deserialize<'a>>(&self) -> Result<T, Fault> {
        let payload = self.payload.unwrap_or_default();
        serde_json::from_slice(payload).map_err(|error| {
            let text = String::from_utf8_lossy(payload);
            self.fault(Problem::Unreadable, format!("a {}", std::any::type_name::<T>()), format!("`{text}` ({error})"))
        })
    }

    /// Returns a fault of this record.
    pub(crate) fn fault(&self, problem: Problem, expected: impl ToString, found: impl ToString) -> Fault {
        Fault {
            topic: self.topic.to_owned(),
            partition: self.partition,
            offset: Some(self.offset),
            key: self.key_text().into_owned(),
            problem,
            expected: expected.to_string(),
            found: found.to_string(),
        }
    }
}
