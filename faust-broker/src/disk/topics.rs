//! A copy of each topic's creation in its own directory, so that damage to the journal loses no topic and no records.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::{fs, io};

use crate::core::advice::at_path;
use crate::core::change::{Change, Id};
use crate::disk::journal::JournalPart;
use crate::disk::line;

/// Returns the directory of a topic.
pub(crate) fn topic_dir(logs: &Path, topic_id: u128) -> PathBuf {
    logs.join(format!("{topic_id:032x}"))
}

/// Writes the copy of a `TopicCreated`; other changes have none. The copy is needed only if the journal is damaged, so a
/// failure is not an error.
pub(crate) fn write_copy(logs: &Path, change: &Change) {
    let Change::TopicCreated { id, .. } = change else { return };
    if let Err(error) = try_write_copy(&topic_dir(logs, id.0), change) {
        tracing::warn!(%error, "cannot write the copy of a topic's creation");
    }
}

fn try_write_copy(directory: &Path, change: &Change) -> io::Result<()> {
    let mut text = Vec::new();
    line::encode(change, &mut text)?;
    let path = directory.join("topic");
    if let Ok(present) = fs::read(&path) {
        if present == text {
            return Ok(());
        }
        if decode(&present).is_none() {
            tracing::warn!(?path, "the copy of a topic's creation is damaged; it is written anew, and nothing is lost");
        }
    }
    let beside = directory.join("topic.new");
    let written =
        fs::create_dir_all(directory).and_then(|()| fs::write(&beside, text)).and_then(|()| fs::rename(&beside, &path));
    written.map_err(at_path(&path))
}

/// Deletes the files of a topic, if there are any.
pub(crate) fn delete(logs: &Path, topic_id: u128) -> io::Result<()> {
    let directory = topic_dir(logs, topic_id);
    // The copy first: a topic whose deletion is interrupted must not come back.
    for removed in [fs::remove_file(directory.join("topic")), fs::remove_dir_all(&directory)] {
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(at_path(&directory)(error)),
            _ => {}
        }
    }
    Ok(())
}

/// Makes journal and directories agree. Deletes the files of topics whose deletion is in the journal but was interrupted by
/// a crash, and adds the topics that have a copy but are not in the journal to `entries`. Returns true if there are any.
///
/// # Errors
/// Returns an error if a directory cannot be read or deleted.
pub(crate) fn restore(logs: &Path, entries: &mut Vec<JournalPart>) -> io::Result<bool> {
    let mut live = HashMap::new();
    for entry in entries.iter() {
        match entry {
            JournalPart::Change(Change::TopicCreated { name, id, .. }) => drop(live.insert(name.clone(), id.0)),
            JournalPart::Change(Change::TopicDeleted { name }) => {
                if let Some(id) = live.remove(name) {
                    delete(logs, id)?;
                }
            }
            _ => {}
        }
    }
    let ids: HashSet<u128> = live.values().copied().collect();
    let mut is_changed = false;
    for (id, directory) in directories(logs)? {
        if ids.contains(&id) {
            continue;
        }
        let Some(created) = read_copy(&directory) else {
            // The deletion of a topic begins with its copy.
            if directory.join("topic").exists() {
                tracing::error!(
                    ?directory,
                    "a topic is lost: its creation is damaged both in the journal and in its directory; restore the directory \
                     from a backup"
                );
            }
            continue;
        };
        let Change::TopicCreated { name, .. } = &created else { continue };
        if live.contains_key(name) {
            tracing::warn!(
                topic = name,
                ?directory,
                "a directory belongs to a former topic of this name; it is not used"
            );
            continue;
        }
        tracing::error!(
            topic = name,
            ?directory,
            "the journal has lost a topic; it is restored with its records, and with the configuration of its creation"
        );
        live.insert(name.clone(), id);
        let at = place(entries, &created)?;
        entries.insert(at, JournalPart::Change(created));
        is_changed = true;
    }
    for entry in entries.iter() {
        // Topics of earlier versions have no copy yet.
        match entry {
            JournalPart::Change(change @ Change::TopicCreated { name, id, .. }) if live.get(name) == Some(&id.0) => {
                write_copy(logs, change);
            }
            _ => {}
        }
    }
    Ok(is_changed)
}

fn decode(copy: &[u8]) -> Option<Change> {
    line::decode_checked(copy.strip_suffix(b"\n")?).ok()
}

fn directories(logs: &Path) -> io::Result<BTreeMap<u128, PathBuf>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(logs).map_err(at_path(logs))? {
        let path = entry.map_err(at_path(logs))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).filter(|name| name.len() == 32);
        if let Some(id) = name.and_then(|name| u128::from_str_radix(name, 16).ok()) {
            found.insert(id, path);
        }
    }
    Ok(found)
}

/// Reads the copy in a topic's directory. The topic has at least the partitions that have files.
fn read_copy(directory: &Path) -> Option<Change> {
    let text = fs::read(directory.join("topic")).ok()?;
    let Change::TopicCreated { name, id: Id(id), partitions, configs } = decode(&text)? else {
        return None;
    };
    let numbers =
        fs::read_dir(directory).ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    let partitions = numbers.map(|number| number.saturating_add(1)).fold(partitions, i32::max);
    Some(Change::TopicCreated { name, id: Id(id), partitions, configs })
}

/// Returns the place of a lost entry: before the damaged one that resembles it most, because later changes of the topic
/// must follow it; without any, the end.
fn place(entries: &[JournalPart], lost: &Change) -> io::Result<usize> {
    let mut text = Vec::new();
    line::encode(lost, &mut text)?;
    let resemblance = |damaged: &[u8]| damaged.iter().zip(&text).filter(|(one, other)| one == other).count();
    let damaged = entries.iter().enumerate().filter_map(|(at, entry)| match entry {
        JournalPart::Damaged(_, bytes) => Some((resemblance(bytes), at)),
        JournalPart::Change(_) => None,
    });
    Ok(damaged.max().map_or(entries.len(), |(_, at)| at))
}
