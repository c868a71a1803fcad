//! Errors of the storage, with the file that they concern and advice for the reader of the log.

use std::io;
use std::path::{Path, PathBuf};

/// An error with the file that it concerns.
#[derive(Debug, thiserror::Error)]
#[error("{path:?}: {source}")]
struct FileError {
    path: PathBuf,
    source: io::Error,
}

/// Adds the path of the file to an error, unless it has one already.
pub(crate) fn at_path(path: &Path) -> impl Fn(io::Error) -> io::Error + '_ {
    move |source| match file_error(&source) {
        Some(_) => source,
        None => io::Error::new(source.kind(), FileError { path: path.to_owned(), source }),
    }
}

fn file_error(error: &io::Error) -> Option<&FileError> {
    error.get_ref()?.downcast_ref()
}

/// The advice if there are too many open files.
pub(crate) const TOO_MANY_FILES: &str =
    "raise the limit of open files of the process, for example with `ulimit -n 4096`";

/// Returns the advice for an error of the storage.
pub(crate) fn advice(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::PermissionDenied => "check the permissions of the file and its directory",
        _ if is_out_of_space(error) => "free disk space",
        Kind::ReadOnlyFilesystem => "make the file system writable",
        Kind::NotFound | Kind::NotADirectory | Kind::IsADirectory | Kind::AlreadyExists => {
            "check whether another program has moved, removed or created the file"
        }
        Kind::InvalidData | Kind::UnexpectedEof => "the file is damaged: restart the broker, which repairs it",
        _ if is_out_of_files(error) => TOO_MANY_FILES,
        _ => "check the disk; the log of the operating system may say more",
    }
}

/// Returns true if the disk, or this user's share of it, is full.
pub(crate) fn is_out_of_space(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns true if the process, or the system, has too many open files.
pub(crate) fn is_out_of_files(error: &io::Error) -> bool {
    let source = file_error(error).map_or(error, |error| &error.source);
    // ENFILE and EMFILE, which have these numbers on all Unix systems.
    cfg!(unix) && matches!(source.raw_os_error(), Some(23 | 24))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_file_once_and_the_advice_fits_the_cause() {
        let missing = std::fs::read("no/such/file").map_err(at_path(Path::new("no/such/file"))).unwrap_err();
        let again = at_path(Path::new("elsewhere"))(missing);
        let text = again.to_string();
        assert!(text.contains("no/such/file") && !text.contains("elsewhere"), "{text}");
        let advice_for = |kind: io::ErrorKind| advice(&at_path(Path::new("x"))(kind.into()));
        assert!(advice_for(io::ErrorKind::StorageFull).contains("free disk space"));
        assert!(!advice_for(io::ErrorKind::InvalidData).contains("permissions"));
        if cfg!(unix) {
            let out_of_files = at_path(Path::new("x"))(io::Error::from_raw_os_error(24));
            assert!(is_out_of_files(&out_of_files) && advice(&out_of_files).contains("ulimit"));
        }
    }
}
