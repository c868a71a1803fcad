//! Verification of the checksums that a start has not verified, because the batches had been synced by an earlier run.
//!
//! Damage to them is rare, and no consequence of a crash, so clients need not wait for it: the broker reads them in steps while
//! it is running, and repairs what is damaged.

use std::io;
use std::ops::Range;

use crate::core::BrokerCore;
use crate::core::advice::advice;
use crate::core::log::Verified;

/// The work that a segment takes beside its bytes, as a number of bytes: its file may have to be opened.
const SEGMENT_BYTES: usize = 8 * 1024;

/// The part of a log whose checksums are to be verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Unverified {
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offsets: Range<i64>,
    /// The offset at which the log was repaired last.
    pub(crate) repaired: Option<i64>,
}

/// Verification.
impl BrokerCore {
    /// Returns true if there are checksums to verify.
    pub(crate) fn is_unverified(&self) -> bool {
        !self.unverified.is_empty()
    }

    /// Verifies the checksums of the next batches, about `step_bytes`, and returns their number of bytes.
    pub(crate) fn verify_step(&mut self, step_bytes: usize) -> usize {
        let (mut bytes, mut work) = (0, 0);
        while work < step_bytes
            && let Some(part) = self.unverified.pop_front()
        {
            let verified = self.verify_segment(part, step_bytes - work);
            bytes += verified;
            work += verified + SEGMENT_BYTES;
        }
        bytes
    }

    /// Verifies the next batches of a segment, and returns their number of bytes.
    fn verify_segment(&mut self, mut part: Unverified, step_bytes: usize) -> usize {
        // The topic may have been deleted meanwhile.
        let Some(held) = self.topics.get_mut(&part.topic) else { return 0 };
        let Ok((log, _)) = held.log_mut(part.partition) else { return 0 };
        let Verified { next, bytes, is_damaged } = log.verify(part.offsets.clone(), step_bytes);
        part.offsets.start = next;
        if is_damaged {
            let repaired = match part.repaired.replace(next) {
                Some(before) if before == next => Err(io::ErrorKind::InvalidData.into()),
                _ => log.repair(&part.topic, next, self.storage.as_mut()),
            };
            if let Err(error) = repaired {
                let (Unverified { topic, partition, .. }, advice) = (part, advice(&error));
                tracing::error!(topic, partition, %error, advice, "a segment is damaged and cannot be repaired");
                return bytes;
            }
        }
        if is_damaged && let Err(code) = self.end_hanging_transactions(true) {
            tracing::error!(%code, "cannot end a transaction whose marker was damaged; it is tried again");
            self.expect_hanging_transactions();
        }
        if !part.offsets.is_empty() {
            self.unverified.push_front(part);
        }
        bytes
    }
}
