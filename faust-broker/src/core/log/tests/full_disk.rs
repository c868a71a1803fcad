//! A storage that is full at times: an append is stored and acknowledged, or refused and without effect.

use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use proptest::prelude::*;

use super::*;
use crate::core::batch::{HEADER_LEN, STAMP_LEN};
use crate::core::change::Change;
use crate::core::storage::{LogStorage, MemoryStorage, PartitionId, SegmentData, StoredLog};

/// A disk in memory, which is full as long as the flag is set.
#[derive(Debug, Clone, Default)]
struct Disk {
    is_full: Arc<AtomicBool>,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.is_full.load(Ordering::Relaxed) { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn segment(&self, inner: Box<dyn SegmentData>) -> Box<dyn SegmentData> {
        Box::new(FullableSegment { inner, disk: self.clone() })
    }
}

impl LogStorage for Disk {
    fn record(&mut self, _change: &Change) -> io::Result<()> {
        self.check()
    }

    fn create_segment(&mut self, partition: &PartitionId, base_offset: i64) -> io::Result<Box<dyn SegmentData>> {
        self.check()?;
        Ok(self.segment(MemoryStorage.create_segment(partition, base_offset)?))
    }

    fn load_segments(&mut self, _partition: &PartitionId) -> io::Result<StoredLog> {
        Ok(StoredLog::default())
    }

    fn rewrite_segment(&mut self, partition: &PartitionId, offsets: Range<i64>) -> io::Result<Box<dyn SegmentData>> {
        self.check()?;
        Ok(self.segment(MemoryStorage.rewrite_segment(partition, offsets)?))
    }

    fn delete_topic(&mut self, _topic_id: u128) -> io::Result<()> {
        Ok(())
    }

    fn wants_snapshot(&self) -> bool {
        false
    }

    fn replace_changes(&mut self, _snapshot: &[Change]) -> io::Result<()> {
        self.check()
    }

    fn release_files(&mut self) {}

    fn checkpoint(&mut self, _ends: &[Change]) -> io::Result<()> {
        self.check()
    }

    fn close(&mut self, _ends: &[Change]) -> io::Result<()> {
        self.check()
    }
}

#[derive(Debug)]
struct FullableSegment {
    inner: Box<dyn SegmentData>,
    disk: Disk,
}

impl SegmentData for FullableSegment {
    fn len(&self) -> u64 {
        self.inner.len()
    }

    fn append(&mut self, stamp: &[u8; STAMP_LEN], rest: &[u8]) -> io::Result<()> {
        self.disk.check()?;
        self.inner.append(stamp, rest)
    }

    fn header(&self, position: u64) -> io::Result<[u8; HEADER_LEN]> {
        self.inner.header(position)
    }

    fn read(&self, position: u64, max_bytes: usize) -> io::Result<Vec<Bytes>> {
        self.inner.read(position, max_bytes)
    }

    fn raw(&self, position: u64, len: usize) -> io::Result<Bytes> {
        self.inner.raw(position, len)
    }

    fn install(&mut self) -> io::Result<()> {
        self.disk.check()
    }

    fn truncate(&mut self, position: u64) -> io::Result<()> {
        self.inner.truncate(position)
    }

    fn set_aside(&mut self, damaged: Range<u64>) -> io::Result<String> {
        self.inner.set_aside(damaged)
    }

    fn cover(&mut self, offsets: Range<i64>) -> io::Result<()> {
        self.inner.cover(offsets)
    }

    fn name(&self) -> String {
        self.inner.name()
    }

    fn delete(&mut self) -> io::Result<()> {
        self.inner.delete()
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Appends this many records, and retries once.
    Append(i32),
    /// The disk is full from now on, or has space again.
    Fill(bool),
    Delete(i64),
    Compact,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1i32..5).prop_map(Step::Append),
        3 => any::<bool>().prop_map(Step::Fill),
        1 => (0i64..40).prop_map(Step::Delete),
        1 => Just(Step::Compact),
    ]
}

proptest! {
    /// Law: whenever the disk is full, a log has exactly the acknowledged batches, without a gap, and goes on when there is
    /// space again.
    #[test]
    fn a_full_disk_has_no_effect_but_the_error(steps in proptest::collection::vec(step(), 1..60)) {
        let disk = Disk::default();
        let mut broker = BrokerCore::restore(CoreConfig::default(), Box::new(disk.clone()), Vec::new()).unwrap();
        let configs = [("segment.bytes", "200"), ("cleanup.policy", "compact,delete")];
        let configs = configs.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        broker.create_topic("t", TopicSpec { partitions: 1, configs }).unwrap();
        let (mut sequence, mut end, mut start) = (0, 0, 0);
        for step in steps {
            let is_full = disk.is_full.load(Ordering::Relaxed);
            match step {
                Step::Append(count) => {
                    let record = |number: i32| Record {
                        key: Some(Bytes::from(number.to_string())),
                        ..Record::default()
                    };
                    let records: Vec<Record> = (sequence..sequence + count).map(record).collect();
                    let producer = Producer { id: 7, epoch: 0, sequence };
                    let batch = Batch::parse(records::encode(&records, producer).unwrap()).unwrap();
                    for is_repeated in [false, true] {
                        let appended = broker.append("t", 0, &batch, 0);
                        if is_full {
                            prop_assert_eq!(appended, Err(ErrorCode::StorageError));
                        } else {
                            let appended = appended.unwrap();
                            prop_assert_eq!((appended.base_offset, appended.is_repeated), (end, is_repeated));
                        }
                    }
                    if !is_full {
                        sequence += count;
                        end += i64::from(count);
                    }
                }
                Step::Fill(full) => disk.is_full.store(full, Ordering::Relaxed),
                Step::Delete(offset) => {
                    let deleted = broker.delete_records("t", 0, Some(offset.min(end)));
                    prop_assert!(deleted.is_ok() || is_full);
                    let now = broker.find_offset("t", 0, OffsetSpec::Earliest).unwrap().offset;
                    prop_assert!(now == start || now == offset.min(end), "start {now}");
                    start = now;
                }
                // The keys are all different, so nothing is removed.
                Step::Compact => prop_assert!(broker.compact_now("t", 0, 0).is_ok() || is_full),
            }
            let mut found = Vec::new();
            while found.last().map_or(start, |last| last + 1) < end {
                let from = found.last().map_or(start, |last| last + 1);
                found.extend(offsets(&broker, from, usize::MAX).into_iter().filter(|offset| *offset >= from));
            }
            prop_assert_eq!(found, (start..end).collect::<Vec<_>>());
        }
    }
}
