//! The checks of this machine: the data directory, its free space, and the limit of open files.

use std::fs::OpenOptions;
use std::io;
use std::path::Path;

use faust_core::config::Settings;

use super::check::Check;

/// Free space below which a disk may soon be full.
#[cfg(unix)]
const SCARCE_SPACE: u64 = 1 << 30;
/// Free space below which a store cannot be written for long.
#[cfg(unix)]
const NO_SPACE: u64 = 64 << 20;
/// Limit of open files that suffices for hundreds of partitions.
#[cfg(unix)]
const MANY_FILES: u64 = 1024;

/// Checks the machine. Blocks.
pub(super) fn checks(settings: &Settings) -> Vec<Check> {
    let existing = existing(&settings.datadir);
    let mut checks = vec![writable(&settings.datadir, existing)];
    #[cfg(unix)]
    checks.extend([space(existing), open_files()]);
    checks
}

/// Returns the nearest directory that exists, of the path and its parents.
fn existing(path: &Path) -> &Path {
    let exists = path.ancestors().find(|path| path.is_dir());
    exists.unwrap_or(Path::new("."))
}

/// Checks whether files can be created in the data directory, or where it would be created.
fn writable(datadir: &Path, existing: &Path) -> Check {
    let shown = datadir.display();
    if let Some(file) = datadir.ancestors().find(|path| path.exists()).filter(|path| !path.is_dir()) {
        let text = format!("`{}` is a file, not a directory: remove it, or set `datadir` to another", file.display());
        return Check::fail("datadir", text);
    }
    let probe = existing.join(format!(".faust-doctor-{}", std::process::id()));
    let written: io::Result<()> = OpenOptions::new().write(true).create_new(true).open(&probe).map(drop);
    match written.and_then(|()| std::fs::remove_file(&probe)) {
        Ok(()) if datadir.is_dir() => Check::ok("datadir", format!("`{shown}` can be written")),
        Ok(()) => Check::ok("datadir", format!("`{shown}` does not exist yet; it can be created")),
        Err(error) => Check::fail(
            "datadir",
            format!(
                "`{}` cannot be written: {error}; give this user the right to write there, or set `datadir` to another directory",
                existing.display()
            ),
        ),
    }
}

#[cfg(unix)]
fn space(existing: &Path) -> Check {
    match rustix::fs::statvfs(existing) {
        Ok(disk) => free_space(disk.f_bavail.saturating_mul(disk.f_frsize)),
        Err(error) => Check::warn("disk", format!("the free space of `{}` is unknown: {error}", existing.display())),
    }
}

#[cfg(unix)]
fn free_space(free: u64) -> Check {
    let text = format!("{} MiB are free", free >> 20);
    match free {
        0..NO_SPACE => Check::fail("disk", format!("{text}: free space on this disk, or set `datadir` to another one")),
        NO_SPACE..SCARCE_SPACE => {
            Check::warn("disk", format!("{text}: a worker pauses when the disk is full; free space on it"))
        }
        _ => Check::ok("disk", text),
    }
}

#[cfg(unix)]
fn open_files() -> Check {
    let limits = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    file_limit(limits.current)
}

/// Checks the limit of open files; `None` stands for no limit.
#[cfg(unix)]
fn file_limit(limit: Option<u64>) -> Check {
    match limit {
        Some(limit @ 0..MANY_FILES) => Check::warn(
            "open files",
            format!(
                "this process may open {limit} files, which stores and connections of many partitions exceed: raise the limit with `ulimit -n 65536` (systemd: `LimitNOFILE=65536`)"
            ),
        ),
        Some(limit) => Check::ok("open files", format!("this process may open {limit} files")),
        None => Check::ok("open files", "this process may open any number of files"),
    }
}

#[cfg(all(test, unix))]
mod tests {
    use super::super::check::CheckState;
    use super::*;

    #[test]
    fn little_space_and_few_files_are_reported() {
        let states = [10 << 20, 100 << 20, 10 << 30].map(|free| free_space(free).state);
        assert_eq!(states, [CheckState::Fail, CheckState::Warn, CheckState::Ok]);
        let states = [Some(256), Some(1024), None].map(|limit| file_limit(limit).state);
        assert_eq!(states, [CheckState::Warn, CheckState::Ok, CheckState::Ok]);
    }

    #[test]
    fn a_directory_that_is_no_directory_cannot_be_written() {
        let missing = Path::new("/proc/self/none/below");
        let check = writable(missing, existing(missing));
        assert!(check.state == CheckState::Fail && check.text.contains("set `datadir`"), "{check}");
    }
}
