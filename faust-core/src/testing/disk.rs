//! The disks of a driver's workers: real stores in the app's data directory, which survive a crash.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::app::App;
use crate::config::{Origin, Settings, StoreKind};
use crate::error::Error;
use crate::store::{self, Store, StoreError, StoreErrorKind, StoreName, StoreSet};

/// The assignment of disks to workers.
pub(super) struct Disks {
    /// `None` if tables are kept in memory and restored from their changelogs.
    kind: Option<StoreKind>,
    /// For each worker ever started, its disk and whether the worker is using it.
    places: Vec<(usize, bool)>,
}

/// Maximum number of attempts to open a database that a thread of a crashed worker still holds open.
const TRIES: u32 = 2000;

/// Pause between two such attempts.
const PAUSE: Duration = Duration::from_millis(5);

impl Disks {
    /// Creates the disks. They are only used if the test sets `store`; otherwise a driver leaves no files behind.
    pub(super) fn new(app: &App) -> Self {
        let is_set = !matches!(app.resolved().origin("store"), Origin::Default);
        let kind = Some(app.settings().store).filter(|kind| is_set && *kind != StoreKind::Memory);
        Self { kind, places: Vec::new() }
    }

    /// Opens the disk of the next worker: the first one not in use by a running worker, as if a worker were restarted
    /// on its machine. Returns its number, too.
    pub(super) fn open(&mut self, settings: &Settings) -> Result<(usize, Option<Arc<dyn StoreSet>>), Error> {
        let used = |place: &usize| self.places.contains(&(*place, true));
        let place = (0..).find(|place| !used(place)).unwrap_or_default();
        self.places.push((place, true));
        let Some(kind) = self.kind else { return Ok((place, None)) };
        let directory = store::directory(&directory(settings, place), settings.version, kind);
        for _ in 0..TRIES {
            match store::open(kind, &directory) {
                // The last thread of a crashed worker's database is about to end.
                Err(error) if error.kind() == StoreErrorKind::Locked => std::thread::park_timeout(PAUSE),
                Err(error) => return Err(Error::LocalState(error.to_string())),
                Ok(stores) => {
                    let stepped = stores.map(|stores| Arc::new(SteppedStores(stores)) as Arc<dyn StoreSet>);
                    return Ok((place, stepped));
                }
            }
        }
        Err(Error::LocalState(format!("{} is still in use", directory.display())))
    }

    /// Marks the disk of a stopped worker as free.
    pub(super) fn free(&mut self, worker: usize) {
        if let Some((_, in_use)) = self.places.get_mut(worker) {
            *in_use = false;
        }
    }

    /// Deletes the disk of a stopped worker.
    pub(super) fn lose(&self, worker: usize, settings: &Settings) -> Result<(), Error> {
        let Some((place, false)) = self.places.get(worker) else {
            return Err(Error::Misuse("a running worker cannot lose its disk".to_owned()));
        };
        let directory = directory(settings, *place);
        match std::fs::remove_dir_all(&directory) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::Misuse(format!("{}: {error}", directory.display())))
            }
            _ => Ok(()),
        }
    }
}

/// Stores without threads of the engine, whose effects would depend on the system's clock.
struct SteppedStores(Arc<dyn StoreSet>);

impl StoreSet for SteppedStores {
    fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StoreError> {
        self.0.open(name)
    }

    fn destroy(&self, name: &StoreName) -> Result<(), StoreError> {
        self.0.destroy(name)
    }

    #[cfg(test)]
    fn names(&self) -> Result<Vec<StoreName>, StoreError> {
        self.0.names()
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.0.size_on_disk()
    }

    fn describe(&self) -> String {
        self.0.describe()
    }

    fn set_aside(&self) -> u64 {
        self.0.set_aside()
    }

    fn is_stepped(&self) -> bool {
        true
    }
}

fn directory(settings: &Settings, place: usize) -> PathBuf {
    settings.datadir.join(format!("worker-{}", place + 1))
}
