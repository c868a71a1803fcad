//! The stores of a worker in one database of any engine. It opens the database, sets a broken one aside, and reopens
//! one after a failed write.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard, Weak};
use std::time::Duration;

use bytes::Bytes;

use super::database_dir::DatabaseDir;
use super::engine::{Engine, EngineFault, Tree, guarded};
use super::port::{Store, StoreError, StoreErrorKind, StoreName, StoreSet, Write};
use super::watch::{CallWatch, WatchPace, WatchedCall};

/// Opens the database in this directory. A broken database is set aside and replaced by an empty one.
pub(super) fn open<E: Engine>(dir: &Path) -> Result<Arc<DatabaseStores<E>>, StoreError> {
    let take = || DatabaseDir::take(dir).map_err(|fault| error::<E>(dir, &fault));
    let place = take()?;
    let opened = match place.broken() {
        Some(why) => Err(EngineFault::Broken(why)),
        None => guarded(|| checked::<E>(&place)),
    };
    let why = match opened {
        Ok(engine) => return DatabaseStores::new(place, engine, 0),
        Err(EngineFault::Broken(why)) => why,
        Err(other) => return Err(error::<E>(dir, &other)),
    };
    let to = place.set_aside().map_err(|fault| error::<E>(dir, &fault))?;
    tracing::error!(
        dir = %dir.display(),
        moved_to = %to.display(),
        "the {} store is broken: {why}; it was set aside, and its tables are restored from their changelogs, \
         which takes time but loses no data; delete `{}` unless you want to examine it",
        E::NAME,
        to.display(),
    );
    let place = take()?;
    let engine = guarded(|| checked::<E>(&place)).map_err(|fault| error::<E>(dir, &fault))?;
    DatabaseStores::new(place, engine, 1)
}

/// Opens the engine and reads every mark. Other damage is detected only when a page is read.
fn checked<E: Engine>(place: &DatabaseDir) -> Result<E, EngineFault> {
    let engine = E::open(&place.data())?;
    for name in engine.names()?.iter().filter(|name| parsed(name).is_some()) {
        engine.tree(name)?.mark()?;
    }
    Ok(engine)
}

/// An open database.
pub(super) struct DatabaseStores<E: Engine> {
    set_aside: u64,
    /// The reason for which the database is broken. A broken engine is not called any more.
    broken: OnceLock<String>,
    /// Set after a failed write, until the engine is open again. Meanwhile nothing but reads is called on it.
    failed: AtomicBool,
    /// Set by a write, until the database is synced.
    is_unsynced: AtomicBool,
    /// Number of times that the engine was opened.
    openings: AtomicU64,
    watch: CallWatch,
    state: Mutex<State<E>>,
    /// Reference given to the stores, which keep the database open.
    this: Weak<Self>,
    /// IMPORTANT: this is the last field. Fields are dropped in order, and the directory must stay locked until the engine
    /// is closed.
    place: DatabaseDir,
}

struct State<E: Engine> {
    /// `None` after a failed attempt to reopen the engine.
    engine: Option<E>,
    /// The stores in use. Their trees must be dropped before the engine can be reopened.
    open: BTreeMap<StoreName, Weak<OneStore<E>>>,
}

impl<E: Engine> DatabaseStores<E> {
    fn new(place: DatabaseDir, engine: E, set_aside: u64) -> Result<Arc<Self>, StoreError> {
        let shown = place.dir().display().to_string();
        let report = move |call: &str, elapsed: Duration| {
            tracing::warn!(
                dir = %shown,
                "the {} store has tried {call} for {elapsed:?}; check whether the disk is full or slow; if this goes \
                 on, restart the worker: no data is lost, because stores are restored from the changelogs",
                E::NAME
            );
        };
        let watch = CallWatch::spawn(WatchPace::default(), report)
            .map_err(|why| error::<E>(place.dir(), &EngineFault::Io(format!("cannot start a thread: {why}"))))?;
        watch.set_waker(engine.waker());
        let state = Mutex::new(State { engine: Some(engine), open: BTreeMap::new() });
        Ok(Arc::new_cyclic(|this| Self {
            set_aside,
            broken: OnceLock::new(),
            failed: AtomicBool::new(false),
            is_unsynced: AtomicBool::new(false),
            openings: AtomicU64::new(1),
            watch,
            state,
            this: Weak::clone(this),
            place,
        }))
    }

    /// Runs `work` on the engine, after reopening it if it has failed or an earlier attempt to do so has failed.
    fn on_engine<T>(
        &self,
        what: &'static str,
        work: impl FnOnce(&mut State<E>) -> Result<T, EngineFault>,
    ) -> Result<T, StoreError> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let _watched = self.watch.begin(what, None);
        self.run(|| {
            if state.engine.is_none() || self.has_failed() {
                self.reopen(&mut state)?;
            }
            work(&mut state)
        })
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }

    /// Runs engine code, and records if it shows that the database is broken.
    fn run<T>(&self, work: impl FnOnce() -> Result<T, EngineFault>) -> Result<T, StoreError> {
        let result = match self.broken.get() {
            Some(why) => Err(EngineFault::Broken(why.clone())),
            None => guarded(work),
        };
        result.map_err(|fault| {
            let error = error::<E>(self.place.dir(), &fault);
            if let EngineFault::Broken(why) = fault
                && self.broken.set(why.clone()).is_ok()
            {
                self.place.note_broken(&why);
                tracing::error!(dir = %self.place.dir().display(), "{error}");
            }
            error
        })
    }

    /// Closes and reopens the engine: after a failed write (a full disk), both engines reject all writes until then.
    ///
    /// Nothing that was synced is lost, because its data has left the process.
    fn reopen(&self, state: &mut State<E>) -> Result<(), EngineFault> {
        // While the disk is still full, the old engine continues to serve reads.
        self.place.probe()?;
        let open: Vec<_> = state.open.values().filter_map(Weak::upgrade).collect();
        // These locks make readers wait until the engine is open again, rather than fail.
        let mut trees: Vec<_> = open.iter().map(|store| (store, store.tree_mut())).collect();
        trees
            .iter_mut()
            .filter(|(_, tree)| !matches!(**tree, OpenDatabase::Gone))
            .for_each(|(_, tree)| **tree = OpenDatabase::Closed);
        self.watch.set_waker(None);
        state.engine = None;
        let engine = guarded(|| E::open(&self.place.data()))?;
        for (store, tree) in &mut trees {
            if !matches!(**tree, OpenDatabase::Gone) {
                **tree = OpenDatabase::Open(engine.tree(&store.name)?);
            }
        }
        self.watch.set_waker(engine.waker());
        state.engine = Some(engine);
        self.openings.fetch_add(1, Ordering::AcqRel);
        self.failed.store(false, Ordering::Release);
        tracing::info!(dir = %self.place.dir().display(), "the {} store is open again", E::NAME);
        Ok(())
    }

    /// Reopens the engine if a write has failed. Until then it is not written to: a call into an engine that has failed may
    /// never return.
    fn mend(&self, store: &OneStore<E>) -> Result<(), StoreError> {
        if !self.has_failed() {
            return Ok(());
        }
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        // Another store may have reopened it meanwhile.
        if !self.has_failed() || matches!(*store.tree(), OpenDatabase::Gone) {
            return Ok(());
        }
        let _watched = self.watch.begin("to open again", None);
        self.run(|| self.reopen(&mut state))
    }
}

impl<E: Engine> StoreSet for DatabaseStores<E> {
    fn open(&self, name: &StoreName) -> Result<Arc<dyn Store>, StoreError> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(store) = state.open.get(name).and_then(Weak::upgrade) {
            return Ok(store as Arc<dyn Store>);
        }
        drop(state);
        self.on_engine("to open a store", |state| {
            if let Some(store) = state.open.get(name).and_then(Weak::upgrade) {
                return Ok(store as Arc<dyn Store>);
            }
            state.open.retain(|_, store| store.strong_count() > 0);
            let (Some(engine), Some(set)) = (&state.engine, self.this.upgrade()) else {
                return Err(EngineFault::Io("the database is closed".to_owned()));
            };
            let text = name.to_string();
            let mut tree = engine.tree(&text)?;
            if tree.mark()?.is_none() && !is_empty(&tree)? {
                drop(tree);
                engine.destroy(&text)?;
                tree = engine.tree(&text)?;
            }
            let tree = RwLock::new(OpenDatabase::Open(tree));
            let store = Arc::new(OneStore { name: text.into(), tree, written_in: AtomicU64::new(0), set });
            state.open.insert(name.clone(), Arc::downgrade(&store));
            Ok(store)
        })
    }

    fn destroy(&self, name: &StoreName) -> Result<(), StoreError> {
        self.on_engine("to remove a store", |state| {
            if let Some(store) = state.open.remove(name).and_then(|store| store.upgrade()) {
                *store.tree_mut() = OpenDatabase::Gone;
            }
            state.engine.as_ref().map_or(Ok(()), |engine| engine.destroy(&name.to_string()))
        })
    }

    #[cfg(test)]
    fn names(&self) -> Result<Vec<StoreName>, StoreError> {
        self.on_engine("to list the stores", |state| {
            let names = state.engine.as_ref().map_or(Ok(Vec::new()), E::names)?;
            let mut names: Vec<_> = names.iter().filter_map(|name| parsed(name)).collect();
            names.sort();
            Ok(names)
        })
    }

    fn size_on_disk(&self) -> Result<u64, StoreError> {
        self.on_engine("to measure its size", |state| state.engine.as_ref().map_or(Ok(0), E::size_on_disk))
    }

    fn describe(&self) -> String {
        format!("{} at {}", E::NAME, self.place.dir().display())
    }

    fn set_aside(&self) -> u64 {
        self.set_aside
    }
}

/// Parses the name of a tree, which is the `Display` form of a store's name.
fn parsed(tree: &str) -> Option<StoreName> {
    let (table, partition) = tree.rsplit_once('/')?;
    Some(StoreName::new(table, partition.parse().ok()?))
}

fn is_empty(tree: &impl Tree) -> Result<bool, EngineFault> {
    let mut empty = true;
    tree.range(Bound::Unbounded, Bound::Unbounded, &mut |_, _| {
        empty = false;
        false
    })?;
    Ok(empty)
}

/// One store of an open database.
struct OneStore<E: Engine> {
    /// The store's name as text.
    name: Arc<str>,
    /// Locked for reading by the task and the store writer, so rarely contended; locked for writing when the engine is
    /// reopened.
    tree: RwLock<OpenDatabase<E::Tree>>,
    /// The opening of the engine in which the first write since the last sync was made; 0 if there is none.
    written_in: AtomicU64,
    set: Arc<DatabaseStores<E>>,
}

/// State of a store's tree.
enum OpenDatabase<T> {
    Open(T),
    /// The engine could not be reopened.
    Closed,
    /// The store was destroyed.
    Gone,
}

impl<E: Engine> OneStore<E> {
    fn on_tree<T>(&self, work: impl FnOnce(&E::Tree) -> Result<T, EngineFault>) -> Result<T, StoreError> {
        match &*self.tree() {
            OpenDatabase::Open(tree) => self.set.run(|| work(tree)),
            OpenDatabase::Closed => {
                self.set.run(|| Err(EngineFault::Io("it could not be reopened after a failure".to_owned())))
            }
            OpenDatabase::Gone => Err(StoreError::new(
                StoreErrorKind::Gone,
                format!("the store `{}` in `{}`", self.name, self.set.place.dir().display()),
                "was destroyed; open it again".to_owned(),
            )),
        }
    }

    /// Reopens the engine if it has failed.
    ///
    /// # Errors
    /// Writes that were not synced may be lost, so all of them must be made again: a mark must not follow them.
    fn mend(&self) -> Result<(), StoreError> {
        self.set.mend(self)?;
        if self.has_lost() {
            self.written_in.store(0, Ordering::Release);
            return self.set.run(|| Err(reopened()));
        }
        Ok(())
    }

    /// Returns whether the engine was opened again since a write that was not synced.
    fn has_lost(&self) -> bool {
        let opening = self.written_in.load(Ordering::Acquire);
        opening != 0 && opening != self.set.openings.load(Ordering::Acquire)
    }

    fn try_write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), StoreError> {
        let _watched = self.watched("to write entries of");
        self.set.is_unsynced.store(true, Ordering::Release);
        let opening = self.set.openings.load(Ordering::Acquire);
        let written = self.noted(self.on_tree(|tree| tree.write(entries, mark)));
        if written.is_ok() {
            // An earlier write remains the first.
            self.written_in.compare_exchange(0, opening, Ordering::AcqRel, Ordering::Acquire).ok();
        }
        written
    }

    /// Notes a failed write, after which the engine has to be opened again.
    fn noted(&self, written: Result<(), StoreError>) -> Result<(), StoreError> {
        if written.as_ref().is_err_and(|error| error.kind() == StoreErrorKind::Io) {
            self.set.failed.store(true, Ordering::Release);
        }
        written
    }

    fn watched(&self, what: &'static str) -> WatchedCall<'_> {
        self.set.watch.begin(what, Some(&self.name))
    }

    fn tree(&self) -> RwLockReadGuard<'_, OpenDatabase<E::Tree>> {
        self.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn tree_mut(&self) -> RwLockWriteGuard<'_, OpenDatabase<E::Tree>> {
        self.tree.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<E: Engine> Store for OneStore<E> {
    fn get(&self, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        self.on_tree(|tree| tree.get(key))
    }

    fn range(
        &self,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        each: &mut dyn FnMut(&[u8], &[u8]) -> bool,
    ) -> Result<(), StoreError> {
        if is_void(from, to) {
            return Ok(());
        }
        // A panic of the visitor must not be taken for a panic of the engine.
        let mut panic = None;
        let _watched = self.watched("to read a range of");
        let visited = self.on_tree(|tree| {
            tree.range(from, to, &mut |key, value| {
                catch_unwind(AssertUnwindSafe(|| each(key, value))).unwrap_or_else(|payload| {
                    panic = Some(payload);
                    false
                })
            })
        });
        match panic {
            Some(payload) => resume_unwind(payload),
            None => visited,
        }
    }

    fn mark(&self) -> Result<Option<Vec<u8>>, StoreError> {
        let _watched = self.watched("to read the mark of");
        self.on_tree(Tree::mark)
    }

    fn write(&self, entries: &[Write<'_>], mark: Option<&[u8]>) -> Result<(), StoreError> {
        debug_assert!(entries.is_sorted_by(|(one, _), (next, _)| one < next), "keys must ascend");
        self.mend()?;
        match self.try_write(entries, mark) {
            // The engine has just failed, so another attempt is made once it is open again.
            Err(error) if error.kind() == StoreErrorKind::Io => {
                self.mend()?;
                self.try_write(entries, mark)
            }
            other => other,
        }
    }

    fn sync(&self) -> Result<(), StoreError> {
        let is_lost = self.has_lost();
        self.written_in.store(0, Ordering::Release);
        if is_lost || self.set.has_failed() {
            // A call into an engine that has failed may never return.
            return self.set.run(|| Err(reopened()));
        }
        // The writes before it are complete, so none of them sets the flag again.
        if !self.set.is_unsynced.swap(false, Ordering::AcqRel) {
            return Ok(());
        }
        let _watched = self.watched("to flush the writes of");
        let synced = self.noted(self.on_tree(Tree::sync));
        if synced.is_err() {
            self.set.is_unsynced.store(true, Ordering::Release);
        }
        synced
    }
}

fn reopened() -> EngineFault {
    EngineFault::Io("it has failed since the last write".to_owned())
}

/// Returns whether the range is always empty. Engines handle such ranges differently, and some panic.
pub(super) fn is_void(from: Bound<&[u8]>, to: Bound<&[u8]>) -> bool {
    match (from, to) {
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (Bound::Included(from) | Bound::Excluded(from), Bound::Included(to) | Bound::Excluded(to)) => from >= to,
        _ => false,
    }
}

/// Converts an engine's error by adding the location and the remedy.
fn error<E: Engine>(dir: &Path, fault: &EngineFault) -> StoreError {
    let (kind, why) = match fault {
        EngineFault::Locked => (
            StoreErrorKind::Locked,
            "is used by another process; stop that process, or give this worker a `datadir` of its own".to_owned(),
        ),
        EngineFault::Broken(why) => (
            StoreErrorKind::Broken,
            format!("is broken: {why}; restart the worker, which sets it aside and restores it from the changelogs"),
        ),
        EngineFault::Io(why) => (
            StoreErrorKind::Io,
            format!("cannot be used: {why}; check that the disk has room and that the directory is writable"),
        ),
        EngineFault::Unfit(why) => (StoreErrorKind::Unfit, why.clone()),
    };
    StoreError::new(kind, format!("the {} store in `{}`", E::NAME, dir.display()), why)
}
