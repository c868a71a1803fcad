//! The directory that holds the logs, as clients see it.

use std::path::PathBuf;

use crate::config::Storage;

/// The size of a volume if it is not known.
const UNKNOWN: i64 = -1;

/// The log directory of the broker.
#[derive(Debug, Clone)]
pub(crate) struct LogDir {
    /// The path, or `memory`.
    pub(crate) name: String,
    /// The path; `None` for a broker in memory.
    path: Option<PathBuf>,
}

impl LogDir {
    pub(crate) fn of(storage: &Storage) -> Self {
        match storage {
            Storage::Memory => Self { name: "memory".to_owned(), path: None },
            Storage::Directory(path) => Self { name: path.display().to_string(), path: Some(path.clone()) },
        }
    }

    /// Returns the size of the volume and the space that is left on it, in bytes; -1 means that they are not known.
    #[cfg(unix)]
    pub(crate) fn bytes(&self) -> (i64, i64) {
        let Some(volume) = self.path.as_ref().and_then(|path| rustix::fs::statvfs(path).ok()) else {
            return (UNKNOWN, UNKNOWN);
        };
        let bytes = |blocks: u64| i64::try_from(blocks.saturating_mul(volume.f_frsize)).unwrap_or(i64::MAX);
        (bytes(volume.f_blocks), bytes(volume.f_bavail))
    }

    /// Returns the size of the volume and the space that is left on it, which are not known on this platform.
    #[cfg(not(unix))]
    pub(crate) fn bytes(&self) -> (i64, i64) {
        (UNKNOWN, UNKNOWN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(unix)]
    fn the_volume_of_a_directory_is_measured() {
        assert_eq!(LogDir::of(&Storage::Memory).bytes(), (UNKNOWN, UNKNOWN));
        assert_eq!(LogDir::of(&Storage::Directory("/no/such/directory".into())).bytes(), (UNKNOWN, UNKNOWN));
        let (total, usable) = LogDir::of(&Storage::Directory(std::env::temp_dir())).bytes();
        assert!(0 < total && (0..=total).contains(&usable), "{usable} of {total}");
    }
}
