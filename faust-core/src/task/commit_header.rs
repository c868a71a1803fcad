//! The header of changelog records: by which commit a record became true, and what Kafka's record has no field for.
//!
//! Its value is the text `EPOCH.NUMBER TIME WINDOWS`: the epoch of the record's writer and the number of its commit, followed
//! by `n` unless the key surely had a value at the last commit; the entry's time in milliseconds since the Unix epoch; and,
//! in a table with windows, their kind and size. One header holds all of it, because librdkafka allocates memory for each.

use std::io::Write;

use crate::message::Headers;
use crate::offsets::{CommitNumber, CommitVersion, OwnerEpoch};
use crate::time::Timestamp;

/// Name of the header.
pub(crate) const COMMIT_HEADER: &str = "faust-commit";
/// Name of the header of earlier releases, with the number only.
const EARLIER_HEADER: &str = "faust-cut";
/// Name of the header with the windows in earlier releases.
const EARLIER_WINDOW_HEADER: &str = "faust-window";

/// The header of a changelog record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CommitHeader<'a> {
    pub(super) version: CommitVersion,
    /// The key may have had no value at the last commit.
    pub(super) is_new: bool,
    /// The entry's time; `None` if an earlier release wrote the record.
    pub(super) time: Option<Timestamp>,
    /// The layout of the table's windows. Without it, a start would be read as that of any window.
    pub(super) layout: Option<&'a str>,
}

impl<'a> CommitHeader<'a> {
    /// Reads the header of a record. A record of another program has none and counts as written before the first commit.
    pub(super) fn of(headers: &'a Headers) -> Self {
        let header = match headers.get_str(COMMIT_HEADER) {
            Some(text) => Self::parse(text),
            None => headers.get_str(EARLIER_HEADER).and_then(|text| Self::of_commit("0", text)),
        };
        let of_other = Self { version: CommitVersion::default(), is_new: true, time: None, layout: None };
        let header = header.unwrap_or(of_other);
        let time = header.time.or_else(|| headers.event_time());
        Self { time, layout: header.layout.or_else(|| headers.get_str(EARLIER_WINDOW_HEADER)), ..header }
    }

    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(3, ' ');
        let (epoch, number) = parts.next()?.split_once('.')?;
        let header = Self::of_commit(epoch, number)?;
        let time = match parts.next() {
            Some(time) => Some(Timestamp(time.parse().ok()?)),
            None => None,
        };
        Some(Self { time, layout: parts.next(), ..header })
    }

    fn of_commit(epoch: &str, number: &str) -> Option<Self> {
        let (number, is_new) = number.strip_suffix('n').map_or((number, false), |number| (number, true));
        let (epoch, number) = (epoch.parse::<u64>().ok()?, number.parse::<u64>().ok()?);
        // No app counts that far, and the next numbers must be greater.
        let is_absurd = epoch.max(number) > u64::MAX / 2;
        let version = CommitVersion { epoch: OwnerEpoch(epoch), number: CommitNumber(number) };
        (!is_absurd).then_some(Self { version, is_new, time: None, layout: None })
    }
}

/// The values of the header for the records of one commit and table.
#[derive(Debug)]
pub(super) struct CommitHeaders {
    kept: HeaderText,
    new: HeaderText,
    /// End of the text behind the time: the layout of the table's windows, or nothing.
    end: String,
}

/// A buffer with the value of a header, whose beginning is the same in each record.
#[derive(Debug)]
struct HeaderText {
    text: Vec<u8>,
    beginning: usize,
}

impl CommitHeaders {
    pub(super) fn new(version: CommitVersion, layout: Option<&str>) -> Self {
        let CommitVersion { epoch, number } = version;
        let [kept, new] = ["", "n"].map(|suffix| {
            let text = format!("{epoch}.{number}{suffix} ").into_bytes();
            HeaderText { beginning: text.len(), text }
        });
        Self { kept, new, end: layout.map_or_else(String::new, |layout| format!(" {layout}")) }
    }

    /// Returns the value for an entry.
    pub(super) fn value(&mut self, is_new: bool, time: Timestamp) -> &[u8] {
        let HeaderText { text, beginning } = if is_new { &mut self.new } else { &mut self.kept };
        text.truncate(*beginning);
        // Writing to a vector cannot fail.
        drop(write!(text, "{}{}", time.as_millis(), self.end));
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::EVENT_TIME;

    fn header(epoch: u64, number: u64, is_new: bool) -> CommitHeader<'static> {
        let version = CommitVersion { epoch: OwnerEpoch(epoch), number: CommitNumber(number) };
        CommitHeader { version, is_new, time: None, layout: None }
    }

    #[test]
    fn a_header_is_read_as_it_was_written() {
        let layouts = [None, Some("tumbling windows of 10s")];
        for (layout, is_new, time) in [(0, false, 0), (0, true, -1), (1, true, i64::MIN), (1, false, 1_700_000_000_123)]
        {
            let written =
                CommitHeader { time: Some(Timestamp(time)), layout: layouts[layout], ..header(5, 17, is_new) };
            let mut headers = CommitHeaders::new(written.version, written.layout);
            for _ in 0..2 {
                let value = headers.value(is_new, Timestamp(time)).to_vec();
                assert_eq!(CommitHeader::of(&Headers::new().with(COMMIT_HEADER, value)), written);
            }
        }
    }

    #[test]
    fn headers_of_earlier_releases_and_other_programs_are_read() {
        let other = header(0, 0, true);
        for (name, text, expected) in [
            (COMMIT_HEADER, "5.17", header(5, 17, false)),
            (COMMIT_HEADER, "5.3n", header(5, 3, true)),
            (EARLIER_HEADER, "17", header(0, 17, false)),
            (EARLIER_HEADER, "3n", header(0, 3, true)),
            (COMMIT_HEADER, "17", other),
            (COMMIT_HEADER, ".n", other),
            (COMMIT_HEADER, "5.17 x", other),
            (COMMIT_HEADER, "18446744073709551615.1", other),
            (EARLIER_HEADER, "x", other),
            ("other", "17", other),
        ] {
            assert_eq!(CommitHeader::of(&Headers::new().with(name, text.to_owned())), expected, "{name} {text}");
        }
        let time = Timestamp(7);
        let headers = Headers::new().with(COMMIT_HEADER, "5.3n").with(EARLIER_WINDOW_HEADER, "windows");
        let headers = headers.with(EVENT_TIME, time.0.to_be_bytes().to_vec());
        let expected = CommitHeader { time: Some(time), layout: Some("windows"), ..header(5, 3, true) };
        assert_eq!(CommitHeader::of(&headers), expected);
    }
}
