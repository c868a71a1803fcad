//! The metadata of a commit.

use std::collections::BTreeMap;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::earlier::EarlierMetadata;
use super::log_id::LogId;
use super::name_hash::NameHash;
use super::number::{CommitNumber, CommitVersion, OwnerEpoch};
use crate::message::Offset;
use crate::time::Timestamp;

/// The metadata that a task commits with its offsets: the same for each of its topics, whose offsets the broker may accept
/// or refuse one by one. Of several, those with the highest version count for all topics.
///
/// The text is short, because brokers accept at most 4096 bytes: `f2.` and, in Base64, the numbers as variable-length
/// integers, hashes instead of names, and differences instead of offsets and times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommitMetadata {
    pub(crate) version: CommitVersion,
    /// Fingerprint of the plan, to tell workers of different versions apart; 0 if it is unknown. It only warns.
    pub(crate) plan: u32,
    /// Stream time of the stages that have no mark of their own.
    pub(crate) time: Option<Timestamp>,
    pub(crate) stages: BTreeMap<NameHash, StageMark>,
    pub(crate) tables: BTreeMap<NameHash, TableMark>,
    /// The log of each topic to which the offsets belong. Topics whose log is not known are omitted, and all of them if they do
    /// not fit into the text.
    pub(crate) logs: BTreeMap<NameHash, LogId>,
}

/// The progress of a stage at a commit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct StageMark {
    /// Stream time; `None` before the first event.
    pub(crate) time: Option<Timestamp>,
    /// Next offset in each topic.
    pub(crate) offsets: BTreeMap<NameHash, Offset>,
}

/// The state of a table at a commit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableMark {
    /// End of the changelog when the owner restored the table. The records below it count, or their keys have been
    /// written again.
    pub(crate) end: Offset,
    /// End of the changelog at the commit. A restore must never find a changelog that ends earlier.
    pub(crate) length: Offset,
    /// Number of the last commit that covers the table.
    pub(crate) number: CommitNumber,
}

/// The committed state of a table: its mark, and the epoch of the commit that contains it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct CommittedTable {
    pub(crate) epoch: OwnerEpoch,
    pub(crate) mark: TableMark,
}

impl CommittedTable {
    /// Returns the mark in the latest of these commits that contains the table; `None` without commits.
    ///
    /// A table that no commit contains is new, and no record of it counts, except those that an earlier release wrote.
    pub(crate) fn of(table: &str, commits: &[CommitMetadata]) -> Option<Self> {
        let table = NameHash::of(table);
        let of_table = commits.iter().filter_map(|commit| Some((commit.version, *commit.tables.get(&table)?)));
        let latest = of_table.max_by_key(|(version, _)| *version);
        let (version, mark) = match latest {
            Some(latest) => latest,
            None => {
                let version = CommitMetadata::latest(commits)?.version;
                let is_earlier = version.epoch == OwnerEpoch::default();
                let number = if is_earlier { version.number } else { CommitNumber::default() };
                (version, TableMark { number, ..TableMark::default() })
            }
        };
        Some(Self { epoch: version.epoch, mark })
    }

    /// Returns the version of the commit.
    pub(crate) fn version(&self) -> CommitVersion {
        CommitVersion { epoch: self.epoch, number: self.mark.number }
    }

    /// Returns whether a changelog record counts.
    pub(crate) fn covers(&self, offset: Offset, written: CommitVersion) -> bool {
        offset < self.mark.end || (written.epoch == self.epoch && written.number <= self.mark.number)
    }
}

/// Beginning of the text, with the version of its format.
const PREFIX: &str = "f2.";

impl CommitMetadata {
    /// Maximum length of the text in bytes: the default of the broker setting `offset.metadata.max.bytes`.
    pub(crate) const LIMIT: usize = 4096;

    /// Returns the latest of several commits.
    pub(crate) fn latest(commits: &[Self]) -> Option<&Self> {
        commits.iter().max_by_key(|commit| commit.version)
    }

    /// Returns the next offset of a stage in a topic, if the commit contains it.
    pub(crate) fn offset(&self, stage: NameHash, topic: NameHash) -> Option<Offset> {
        self.stages.get(&stage)?.offsets.get(&topic).copied()
    }

    /// Returns the following metadata, in which the positions in these topics are in another log, at its start. All else is kept.
    pub(crate) fn in_other_logs(mut self, others: &BTreeMap<NameHash, (LogId, Offset)>) -> Self {
        // A restore takes the positions in all topics from the latest commit.
        self.version.number = self.version.number.next();
        for (topic, offset) in self.stages.values_mut().flat_map(|stage| &mut stage.offsets) {
            *offset = others.get(topic).map_or(*offset, |(_, start)| *start);
        }
        self.logs.extend(others.iter().map(|(topic, (log, _))| (*topic, *log)));
        self
    }

    /// Returns the stream time of a stage.
    pub(crate) fn stage_time(&self, stage: NameHash) -> Option<Timestamp> {
        self.stages.get(&stage).map_or(self.time, |stage| stage.time)
    }

    /// Returns whether metadata of this many stages, inputs of stages, topics and tables fit, whatever values they have in practice:
    /// up to 2^47 records of a changelog, 2^42 commits, differences of 2^40 events. The logs are not counted, since they are left out
    /// where they do not fit: a plan that an earlier release accepts is not refused for them.
    pub(crate) fn fits(stages: usize, inputs: usize, topics: usize, tables: usize) -> bool {
        let bytes = 40 + 12 * topics + 11 * stages + 8 * inputs + 23 * tables;
        PREFIX.len() + bytes.div_ceil(3) * 4 <= Self::LIMIT
    }

    /// Returns the text to commit.
    pub(crate) fn to_text(&self) -> String {
        let mut bytes = self.encode();
        let length = bytes.len();
        self.encode_logs(&mut bytes);
        if PREFIX.len() + (bytes.len() * 4).div_ceil(3) > Self::LIMIT {
            bytes.truncate(length);
        }
        let mut text = PREFIX.to_owned();
        BASE64_URL_SAFE_NO_PAD.encode_string(bytes, &mut text);
        text
    }

    /// Parses a committed text. Returns `None` for empty metadata and for that of other programs. `topic` is the topic it was
    /// committed for.
    pub(crate) fn from_text(text: &str, topic: &str) -> Option<Self> {
        match text.strip_prefix(PREFIX) {
            Some(encoded) => Self::decode(&BASE64_URL_SAFE_NO_PAD.decode(encoded).ok()?),
            None => EarlierMetadata::parse(text).map(|earlier| Self::from_earlier(earlier, topic)),
        }
    }

    fn from_earlier(earlier: EarlierMetadata, topic: &str) -> Self {
        let mut stages: BTreeMap<NameHash, StageMark> = BTreeMap::new();
        for (stage, time) in earlier.times {
            stages.insert(NameHash::of(&stage), StageMark { time, ..StageMark::default() });
        }
        for (stage, offset) in earlier.ahead {
            let mark = || StageMark { time: earlier.time, ..StageMark::default() };
            stages.entry(NameHash::of(&stage)).or_insert_with(mark).offsets.insert(NameHash::of(topic), offset);
        }
        let table = |(table, length): (String, Offset)| {
            (NameHash::of(&table), TableMark { end: Offset(0), length, number: earlier.cut })
        };
        Self {
            version: CommitVersion { epoch: OwnerEpoch::default(), number: earlier.cut },
            plan: 0,
            time: earlier.time,
            stages,
            tables: earlier.logs.into_iter().map(table).collect(),
            logs: BTreeMap::new(),
        }
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = MetadataEncoder(Vec::new());
        out.number(self.version.number.0);
        out.number(self.version.epoch.0);
        out.0.extend(self.plan.to_be_bytes());
        out.time(self.time, None);
        // The lowest offset of each topic, to which the stages' offsets are relative.
        let mut lowest: BTreeMap<NameHash, Offset> = BTreeMap::new();
        for (topic, offset) in self.stages.values().flat_map(|stage| &stage.offsets) {
            let lowest = lowest.entry(*topic).or_insert(*offset);
            *lowest = (*lowest).min(*offset);
        }
        out.number(lowest.len() as u64);
        for (topic, offset) in &lowest {
            out.hash(*topic);
            out.signed(offset.0);
        }
        out.number(self.stages.len() as u64);
        for (name, stage) in &self.stages {
            out.hash(*name);
            out.time(stage.time, self.time);
            out.number(stage.offsets.len() as u64);
            for (topic, offset) in &stage.offsets {
                let index = lowest.keys().position(|other| other == topic).unwrap_or_default();
                out.number(index as u64);
                out.signed(offset.0.wrapping_sub(lowest.get(topic).map_or(0, |lowest| lowest.0)));
            }
        }
        out.number(self.tables.len() as u64);
        for (name, table) in &self.tables {
            out.hash(*name);
            out.signed(table.end.0);
            out.signed(table.length.0.wrapping_sub(table.end.0));
            out.number(self.version.number.0.wrapping_sub(table.number.0));
        }
        out.0
    }

    /// Writes the logs behind the tables, where releases that know no logs ignore them. Nothing is written for none.
    fn encode_logs(&self, bytes: &mut Vec<u8>) {
        if self.logs.is_empty() {
            return;
        }
        let mut out = MetadataEncoder(std::mem::take(bytes));
        out.number(self.logs.len() as u64);
        for (topic, log) in &self.logs {
            out.hash(*topic);
            out.0.extend(log.0.to_be_bytes());
        }
        *bytes = out.0;
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let mut bytes = MetadataDecoder(bytes);
        let number = CommitNumber(bytes.number()?);
        let epoch = OwnerEpoch(bytes.number()?);
        let plan = u32::from_be_bytes(bytes.take()?);
        let time = bytes.time(None)?;
        let topics = bytes.several(|bytes| Some((bytes.hash()?, bytes.signed()?)))?;
        let stages = bytes.several(|bytes| {
            let name = bytes.hash()?;
            let time = bytes.time(time)?;
            let offsets = bytes.several(|bytes| {
                let (topic, lowest) = topics.get(usize::try_from(bytes.number()?).ok()?)?;
                Some((*topic, Offset(lowest.wrapping_add(bytes.signed()?))))
            })?;
            Some((name, StageMark { time, offsets: offsets.into_iter().collect() }))
        })?;
        let tables = bytes.several(|bytes| {
            let (name, end) = (bytes.hash()?, bytes.signed()?);
            let length = Offset(end.wrapping_add(bytes.signed()?));
            let number = CommitNumber(number.0.wrapping_sub(bytes.number()?));
            Some((name, TableMark { end: Offset(end), length, number }))
        })?;
        let logs = match bytes.0 {
            // They were not known, did not fit, or an earlier release has written the text.
            [] => Vec::new(),
            _ => bytes.several(|bytes| Some((bytes.hash()?, LogId(u32::from_be_bytes(bytes.take()?)))))?,
        };
        // Bytes behind the logs are left for later releases.
        let version = CommitVersion { epoch, number };
        let (stages, tables) = (stages.into_iter().collect(), tables.into_iter().collect());
        Some(Self { version, plan, time, stages, tables, logs: logs.into_iter().collect() })
    }
}

/// Writes variable-length integers (LEB128), negative ones by the zigzag code, as Kafka and Protobuf do.
struct MetadataEncoder(Vec<u8>);

impl MetadataEncoder {
    fn number(&mut self, mut number: u64) {
        while number >= 0x80 {
            self.0.push((number & 0x7f) as u8 | 0x80);
            number >>= 7;
        }
        self.0.push(number as u8);
    }

    fn signed(&mut self, number: i64) {
        self.number(((number << 1) ^ (number >> 63)).cast_unsigned());
    }

    fn hash(&mut self, hash: NameHash) {
        self.0.extend(&hash.0.to_be_bytes()[1..]);
    }

    /// Writes a time as the difference to another one: 0 if there is none, 1 if it is equal, otherwise 2 and the difference.
    fn time(&mut self, time: Option<Timestamp>, base: Option<Timestamp>) {
        match time {
            None => self.number(0),
            Some(_) if time == base => self.number(1),
            Some(time) => {
                self.number(2);
                self.signed(time.0.wrapping_sub(base.map_or(0, |base| base.0)));
            }
        }
    }
}

struct MetadataDecoder<'a>(&'a [u8]);

impl MetadataDecoder<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (first, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u64> {
        let mut number = 0;
        for shift in (0..64).step_by(7) {
            let [byte] = self.take()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(number);
            }
        }
        None
    }

    fn signed(&mut self) -> Option<i64> {
        let number = self.number()?;
        Some((number >> 1).cast_signed() ^ -(number & 1).cast_signed())
    }

    fn hash(&mut self) -> Option<NameHash> {
        let [high, middle, low] = self.take()?;
        Some(NameHash(u32::from_be_bytes([0, high, middle, low])))
    }

    fn time(&mut self, base: Option<Timestamp>) -> Option<Option<Timestamp>> {
        Some(match self.number()? {
            0 => None,
            1 => base,
            _ => Some(Timestamp(self.signed()?.wrapping_add(base.map_or(0, |base| base.0)))),
        })
    }

    /// Reads a count and as many items.
    fn several<T>(&mut self, read: impl Fn(&mut Self) -> Option<T>) -> Option<Vec<T>> {
        let count = self.number()?;
        // A hostile count ends at the end of the bytes: each item takes some.
        (0..count).map(|_| read(self)).collect()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.

    use super::*;
    use proptest::prelude::*;

    fn offsets() -> impl Strategy<Value = BTreeMap<NameHash, Offset>> {
        prop::collection::btree_map((0u32..4).prop_map(NameHash), any::<i64>().prop_map(Offset), 0..4)
    }

    fn time() -> impl Strategy<Value = Option<Timestamp>> {
        prop::option::of(any::<i64>().prop_map(Timestamp))
    }

    fn metadata() -> impl Strategy<Value = CommitMetadata> {
        let name = || (0u32..1 << 24).prop_map(NameHash);
        let stage = (time(), offsets()).prop_map(|(time, offsets)| StageMark { time, offsets });
        let table = (any::<i64>(), any::<i64>(), any::<u64>()).prop_map(|(end, length, number)| TableMark {
            end: Offset(end),
            length: Offset(length),
            number: CommitNumber(number),
        });
        let stages = prop::collection::btree_map(name(), stage, 0..8);
        let tables = prop::collection::btree_map(name(), table, 0..8);
        let logs = prop::collection::btree_map(name(), any::<u32>().prop_map(LogId), 0..8);
        (any::<u64>(), any::<u64>(), any::<u32>(), time(), stages, tables, logs).prop_map(
            |(number, epoch, plan, time, stages, tables, logs)| CommitMetadata {
                version: CommitVersion { epoch: OwnerEpoch(epoch), number: CommitNumber(number) },
                plan,
                time,
                stages,
                tables,
                logs,
            },
        )
    }

    fn with_logs(metadata: &CommitMetadata) -> Vec<u8> {
        let mut bytes = metadata.encode();
        metadata.encode_logs(&mut bytes);
        bytes
    }

    proptest! {
        /// Law: a restart reads the metadata that a commit wrote.
        #[test]
        fn a_text_is_read_as_it_was_written(metadata in metadata()) {
            prop_assert_eq!(CommitMetadata::from_text(&metadata.to_text(), "any"), Some(metadata));
        }

        /// Law: no text makes the decoder panic or allocate without bound.
        #[test]
        fn a_damaged_text_is_refused(metadata in metadata(), at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = with_logs(&metadata);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            drop(CommitMetadata::decode(&bytes));
            prop_assert_ne!(CommitMetadata::decode(&bytes[..at]), Some(metadata), "a truncated text is not the whole");
        }

        /// Law: the logs are behind all that a release without logs reads, and a text without logs has all the rest.
        #[test]
        fn a_text_without_logs_is_that_of_the_former_release(metadata in metadata()) {
            let former = CommitMetadata { logs: BTreeMap::new(), ..metadata.clone() };
            let bytes = metadata.encode();
            prop_assert!(with_logs(&metadata).starts_with(&bytes));
            prop_assert_eq!(&bytes, &with_logs(&former));
            prop_assert_eq!(CommitMetadata::decode(&bytes), Some(former));
        }
    }

    /// The former release has written this text, and reads one with logs behind the same bytes.
    #[test]
    fn a_text_of_the_former_release_is_read_and_its_logs_are_unknown() {
        let text = "f2.BgIAAAAJAg4BOHrfCgFOOnUBAQAAAVa1qAYKAg";
        let former = CommitMetadata::from_text(text, "in").unwrap();
        assert_eq!(former.offset(NameHash::of("sum"), NameHash::of("in")), Some(Offset(5)));
        assert_eq!(former.tables.get(&NameHash::of("totals")).map(|table| table.number), Some(CommitNumber(4)));
        assert_eq!((former.to_text().as_str(), former.logs.len()), (text, 0));
        let known = CommitMetadata { logs: BTreeMap::from([(NameHash::of("in"), LogId(7))]), ..former };
        assert!(BASE64_URL_SAFE_NO_PAD.decode(&known.to_text()[3..]).unwrap().starts_with(&known.encode()));
    }

    #[test]
    fn logs_that_do_not_fit_are_left_out() {
        let topics = |count: u32| CommitMetadata {
            logs: (0..count).map(|topic| (NameHash(topic), LogId(topic))).collect(),
            ..CommitMetadata::default()
        };
        let fits = |count: &u32| CommitMetadata::from_text(&topics(*count).to_text(), "in") == Some(topics(*count));
        let most = (0..).take_while(fits).last().unwrap();
        assert_eq!(most, 436);
        assert!(topics(most).to_text().len() > CommitMetadata::LIMIT - 10);
        let left_out = CommitMetadata::from_text(&topics(most + 1).to_text(), "in");
        assert_eq!(left_out, Some(CommitMetadata::default()));
    }

    /// The promise of [`CommitMetadata::fits`]: the text never exceeds the limit, whatever the plan has most of.
    #[test]
    fn what_fits_never_exceeds_the_limit() {
        let most = |fits: &dyn Fn(usize) -> bool| (1..).take_while(|count| fits(*count)).last().unwrap();
        let stages = most(&|n| CommitMetadata::fits(n, n, 1, 1));
        let topics = most(&|n| CommitMetadata::fits(1, n, n, 1));
        let tables = most(&|n| CommitMetadata::fits(1, 1, 1, n));
        let several = most(&|n| CommitMetadata::fits(n, n * n, n, n));
        assert_eq!((stages, topics, tables, several), (157, 149, 130, 16));
        assert!(stages >= 150, "{stages} stages fit");
        for (stages, topics, tables) in [(stages, 1, 1), (1, topics, 1), (1, 1, tables), (several, several, several)] {
            let text = of_plan(stages, topics, tables).to_text();
            assert!(
                text.len() <= CommitMetadata::LIMIT,
                "{stages} stages, {topics} topics, {tables} tables: {}",
                text.len()
            );
        }
    }

    /// Returns metadata with the largest values that occur in practice, of stages that read each of the topics.
    fn of_plan(stages: usize, topics: usize, tables: usize) -> CommitMetadata {
        let hash = |n: usize| NameHash(u32::try_from(n).unwrap());
        let stage = |n: usize| {
            // Differences of 2^40 events and of 270 years.
            let offset = Offset(if n == 0 { 1 << 45 } else { (1 << 45) + (1 << 40) });
            let offsets = (0..topics).map(|topic| (hash(topic), offset)).collect();
            (hash(n), StageMark { time: Some(Timestamp(-1)), offsets })
        };
        let table = TableMark { end: Offset(1 << 45), length: Offset(1 << 46), number: CommitNumber(0) };
        let year_2200 = Timestamp(7_258_118_400_000);
        CommitMetadata {
            version: CommitVersion { epoch: OwnerEpoch(1 << 40), number: CommitNumber(1 << 40) },
            plan: u32::MAX,
            time: Some(year_2200),
            stages: (0..stages).map(stage).collect(),
            tables: (0..tables).map(|n| (hash(n), table)).collect(),
            logs: (0..topics).map(|n| (hash(n), LogId(u32::MAX))).collect(),
        }
    }

    /// Groups of earlier releases hold this text.
    #[test]
    fn the_text_of_an_earlier_release_is_read() {
        let text = r#"{"v":1,"cut":3,"time":5,"times":{"a":null,"b":-1},"ahead":{"b":9,"c":7},"logs":{"t":70}}"#;
        let metadata = CommitMetadata::from_text(text, "in").unwrap();
        let [a, b, c, d] = ["a", "b", "c", "d"].map(NameHash::of);
        let topic = NameHash::of("in");
        assert_eq!(metadata.version, CommitVersion { epoch: OwnerEpoch(0), number: CommitNumber(3) });
        assert_eq!(
            [a, b, c, d].map(|stage| metadata.offset(stage, topic)),
            [None, Some(Offset(9)), Some(Offset(7)), None]
        );
        let times = [a, b, c, d].map(|stage| metadata.stage_time(stage));
        assert_eq!(times, [None, Some(Timestamp(-1)), Some(Timestamp(5)), Some(Timestamp(5))]);
        let table = CommittedTable::of("t", std::slice::from_ref(&metadata)).unwrap();
        assert_eq!(table.mark, TableMark { end: Offset(0), length: Offset(70), number: CommitNumber(3) });
        // A table that did not fit into the text.
        let other = CommittedTable::of("other", &[metadata]).unwrap();
        assert_eq!(other.mark, TableMark { number: CommitNumber(3), ..TableMark::default() });
    }

    #[test]
    fn metadata_of_other_programs_is_ignored() {
        for text in ["", "consumer-1", "{\"v\":2,\"cut\":1}", "{}", "f2.", "f2.!", "f2.AA"] {
            assert_eq!(CommitMetadata::from_text(text, "in"), None, "{text}");
        }
    }

    #[test]
    fn the_latest_commit_counts_and_a_record_by_its_offset_or_its_version() {
        let commit = |epoch, number, tables: &[(&str, i64, u64)]| CommitMetadata {
            version: CommitVersion { epoch: OwnerEpoch(epoch), number: CommitNumber(number) },
            tables: tables
                .iter()
                .map(|(name, end, number)| {
                    let (end, number) = (Offset(*end), CommitNumber(*number));
                    (NameHash::of(name), TableMark { end, length: end, number })
                })
                .collect(),
            ..CommitMetadata::default()
        };
        let commits = [commit(3, 9, &[("t", 10, 9)]), commit(4, 7, &[("t", 20, 6), ("u", 5, 7)]), commit(3, 12, &[])];
        let t = CommittedTable::of("t", &commits).unwrap();
        assert_eq!((t.epoch, t.mark.end, t.mark.number), (OwnerEpoch(4), Offset(20), CommitNumber(6)));
        let written = |epoch, number| CommitVersion { epoch: OwnerEpoch(epoch), number: CommitNumber(number) };
        for (offset, version, counts) in [
            (19, written(9, 99), true),
            (20, written(4, 6), true),
            (20, written(4, 7), false),
            (20, written(3, 1), false),
            (20, written(5, 1), false),
        ] {
            assert_eq!(t.covers(Offset(offset), version), counts, "{offset} {version:?}");
        }
        let new = CommittedTable::of("new", &commits).unwrap();
        assert_eq!((new.epoch, new.mark), (OwnerEpoch(4), TableMark::default()));
        assert_eq!(CommittedTable::of("t", &[]), None);
    }
}
