//! Copies of damaged bytes, which are kept beside the file that contained them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use crate::core::advice::at_path;
use crate::disk::sync::sync_name;

/// Copies bytes of the file `path`, which begin at `position` there, to a new file `NAME.at-POSITION.damaged`, and syncs it.
pub(crate) fn set_aside(path: &Path, position: u64, bytes: &mut dyn Read) -> io::Result<PathBuf> {
    let (mut file, copy) = create(path, position)?;
    if let Err(error) = io::copy(bytes, &mut file).and_then(|_| file.sync_all()).and_then(|()| sync_name(&copy)) {
        // An incomplete copy would only take space. If it stays, it does no harm.
        drop(std::fs::remove_file(&copy));
        return Err(at_path(&copy)(error));
    }
    Ok(copy)
}

fn create(path: &Path, position: u64) -> io::Result<(File, PathBuf)> {
    let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let mut number = 1;
    loop {
        let suffix = if number == 1 { String::new() } else { format!(".{number}") };
        let copy = path.with_file_name(format!("{name}.at-{position}{suffix}.damaged"));
        match File::options().create_new(true).write(true).open(&copy) {
            Ok(file) => return Ok((file, copy)),
            // From an earlier repair, or one that was interrupted.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => number += 1,
            Err(error) => return Err(at_path(&copy)(error)),
        }
    }
}
