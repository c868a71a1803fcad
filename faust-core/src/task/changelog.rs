//! The changelog of a table: the format of its records.
//!
//! The key of a record is the output of the key codec, followed by the start of the window if the table has windows, as
//! in Kafka Streams' windowed serde. The value is the output of the value codec; a removal is a tombstone. A header
//! ([`COMMIT_HEADER`]) contains the epoch of the record's writer and the number of its commit: a restore skips the records of
//! commits that never took effect, and those of a former owner. It also contains the entry's time, the greatest of the events
//! that made the value: the record's own timestamp is the broker's, so that retention keeps records of old events. The last
//! record of a commit also has its metadata, from which the command `recover` takes the positions up again if the group's
//! offsets have expired.

use bytes::Bytes;

use super::check::differing_windows;
use super::commit_header::CommitHeader;
use crate::error::Error;
use crate::message::{Headers, RawMessage};
use crate::offsets::{CommitMetadata, CommitNumber, CommitVersion};
use crate::table_state::TableInfo;
use crate::time::Timestamp;
use crate::transport::TopicPartition;
use crate::window::key::{split_changelog_key, store_key};

/// Name of the header with the metadata of the commit, after the number of tables that it changes: `TABLES METADATA`. The last
/// record of each of these tables has it. If it is there, so are the others of the table.
pub(super) const METADATA_HEADER: &str = "faust-commit-metadata";

/// Returns the header's value for a commit that changes this number of tables.
pub(super) fn metadata_header(tables: usize, metadata: &CommitMetadata) -> Bytes {
    Bytes::from(format!("{tables} {}", metadata.to_text()))
}

/// Reads the metadata of a commit from the headers of a record, with the number of tables that it changes. `topic` is one of
/// those that the task reads.
pub(super) fn metadata_of(headers: &Headers, topic: &str) -> Option<(usize, CommitMetadata)> {
    let (tables, text) = headers.get_str(METADATA_HEADER)?.split_once(' ')?;
    Some((tables.parse().ok()?, CommitMetadata::from_text(text, topic)?))
}

/// Creates the error of a changelog with commits whose group has none.
pub(super) fn without_offsets(table: &str, changelog: &TopicPartition, number: CommitNumber) -> Error {
    Error::State {
        table: table.to_owned(),
        partition: changelog.partition,
        why: format!(
            "its changelog `{}` holds commit {number}, but there is no commit of this app: the group's offsets were deleted or changed, they expired while no worker ran, or the changelog is that of another program with the id of this app, which reads other topics; run `recover` to continue from the last commit in it, or `reset --topics` to start over; give another program an id of its own",
            changelog.topic
        ),
    }
}

/// A changelog record, decoded for a restore.
pub(crate) struct ChangelogRecord<'a> {
    pub(crate) version: CommitVersion,
    /// The key may have had no value at the last commit.
    pub(crate) is_new: bool,
    /// Key in the store's format.
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
    /// The entry's time; that of the record if an earlier release wrote it.
    pub(crate) time: Timestamp,
}

impl<'a> ChangelogRecord<'a> {
    /// Decodes a record. `layout` is that of the table's windows, and `buffer` holds the converted key of a windowed table.
    ///
    /// # Errors
    /// Fails if the record cannot belong to the table: it has no key, or was written with other windows.
    pub(crate) fn read(
        info: &TableInfo,
        partition: i32,
        layout: Option<&str>,
        message: &RawMessage<'a>,
        buffer: &'a mut Vec<u8>,
    ) -> Result<Self, Error> {
        let foreign = |what: &str| {
            Error::Misuse(format!(
                "changelog `{}` holds a record that does not belong to table `{}`, at offset {}: {what}; delete the topic with `reset --topics`, or choose another with `changelog_topic`",
                info.changelog, info.name, message.offset
            ))
        };
        let mut key = message.key.ok_or_else(|| foreign("it has no key"))?;
        let CommitHeader { version, is_new, time, layout: written } = CommitHeader::of(&message.headers);
        // The removal of an old window does no harm.
        if written.is_some() && written != layout && message.payload.is_some() {
            return Err(Error::State {
                table: info.name.to_string(),
                partition,
                why: differing_windows(info, &format!("changelog `{}`", info.changelog), written),
            });
        }
        if let Some(window) = info.window {
            let (plain, start) = split_changelog_key(key).ok_or_else(|| foreign("its key has no window"))?;
            // Records of earlier releases name no windows.
            if written.is_none() && !window.is_start(start) {
                return Err(foreign("its key has no window of the table"));
            }
            buffer.clear();
            store_key(start, plain, buffer);
            key = buffer;
        }
        let time = time.unwrap_or(message.timestamp);
        Ok(Self { version, is_new, key, value: message.payload, time })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::declare::{TableDecl, WindowDecl};
    use crate::message::Offset;
    use crate::table_state::TableSpec;
    use crate::task::commit_header::{COMMIT_HEADER, CommitHeaders};
    use crate::window::WindowSpec;
    use crate::window::key::changelog_key;

    const START: Timestamp = Timestamp(1_767_225_600_000);

    /// Reads a record whose key has this start of a window, into a table with windows of a minute.
    fn read(start: Option<Timestamp>, layout: Option<&str>, value: Option<&[u8]>) -> Result<Vec<u8>, String> {
        let window = WindowSpec::tumbling(Duration::from_secs(60)).unwrap();
        let decl = TableDecl { window: Some(WindowDecl::Of(window)), ..TableDecl::new() };
        let info = TableSpec::<i64>::new::<String>(&decl, "counts", "count", "shop").unwrap().info;
        let mut key = b"k".to_vec();
        if let Some(start) = start {
            key.clear();
            changelog_key(b"k", start, &mut key);
        }
        let header = CommitHeaders::new(CommitVersion::default(), layout).value(false, START).to_vec();
        let headers = Headers::new().with(COMMIT_HEADER, header);
        let message = RawMessage { offset: Offset(5), timestamp: START, key: Some(&key), payload: value, headers };
        let (layout, mut buffer) = (info.layout(), Vec::new());
        let record = ChangelogRecord::read(&info, 0, layout.as_deref(), &message, &mut buffer);
        record.map(|record| record.key.to_vec()).map_err(|error| error.to_string())
    }

    /// Law: a record counts for the windows that it was written for. One of an earlier release, which does not say that, counts if
    /// one of the table's windows starts there.
    #[test]
    fn a_record_belongs_to_the_windows_that_it_was_written_for() {
        let mut stored = Vec::new();
        store_key(START, b"k", &mut stored);
        let between = Timestamp(START.0 + 1);
        assert_eq!(read(Some(START), Some("tumbling 1m"), Some(b"1")), Ok(stored.clone()));
        assert_eq!(read(Some(START), None, Some(b"1")), Ok(stored.clone()));
        let of_other_windows = read(Some(START), Some("tumbling 10s"), Some(b"1")).unwrap_err();
        assert!(of_other_windows.contains("holds windows `tumbling 10s`"), "{of_other_windows}");
        assert_eq!(read(Some(START), Some("tumbling 10s"), None), Ok(stored), "a removal does no harm");
        for (start, expected) in [(Some(between), "no window of the table"), (None, "its key has no window")] {
            let error = read(start, None, Some(b"1")).unwrap_err();
            assert!(error.contains(expected) && error.contains("at offset 5"), "{error}");
        }
    }
}
