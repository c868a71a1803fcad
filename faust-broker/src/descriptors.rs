//! The limit of open files of the process.

use std::num::NonZeroUsize;

/// Number of open files that the broker asks for: more than it needs on one machine.
const WANTED: u64 = 65_536;
/// The default limit of macOS, assumed if the limit is unknown.
const USUAL: u64 = 256;
/// Most segments that are open at a time.
const MAX_SEGMENTS: u64 = 4096;
/// Part of the limit for open segments, and part for connections. The rest is for the program that hosts the broker.
const SEGMENTS: u64 = 4;
const CONNECTIONS: u64 = 2;

/// Raises the soft limit of open files as far as the hard limit permits, and returns it.
pub(crate) fn raise_limit() -> u64 {
    rlimit::increase_nofile_limit(WANTED).unwrap_or_else(|error| {
        tracing::debug!(%error, "cannot raise the limit of open files");
        USUAL
    })
}

/// Returns the number of segments that may be open at a time if the process may have `limit` open files.
pub(crate) fn open_segments(limit: u64) -> NonZeroUsize {
    let share = usize::try_from((limit / SEGMENTS).min(MAX_SEGMENTS)).unwrap_or(usize::MAX);
    NonZeroUsize::new(share).unwrap_or(NonZeroUsize::MIN)
}

/// Returns the number of connections that the broker accepts at a time if the process may have `limit` open files.
pub(crate) fn connections(limit: u64) -> usize {
    usize::try_from(limit / CONNECTIONS).unwrap_or(usize::MAX).max(1)
}
