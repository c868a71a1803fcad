//! The common part of all table handles: access to keys and values, and the reporting of errors.

use std::any::Any;
use std::borrow::Borrow;
use std::cell::Cell;
use std::ops::Bound;
use std::sync::Arc;

use crate::codec::{Data, EncodeError, EntryCoder, KeyRef, Role, without_paths};
use crate::declare::{ArgSpec, TableDecl};
use crate::error::Error;
use crate::stage::AgentCx;
use crate::stage::binding::Binding;
use crate::stage::context::StageMode;
use crate::stage::recorder::PlanRecorder;
use crate::stage::running::RunningStage;
use crate::table_state::{KeyBounds, PartitionCx, SharedSpec, TablePartition, TableSpec, TableValue};
use crate::time::Timestamp;

/// The handle of a table in one agent.
pub(super) struct TableHandle<K, V> {
    name: Arc<str>,
    key: EntryCoder<K>,
    /// Default from `#[table(default = ..)]`, used while the table is only planned.
    planned_default: Option<fn() -> Box<dyn Any + Send>>,
    binding: TableBinding<V>,
}

/// The table's partition, with the stage that uses it.
type TableBinding<V> = Binding<(Arc<TablePartition<V>>, Arc<RunningStage>), Arc<TablePartition<V>>>;

/// A value that is being read. It is returned to the table when this is dropped, even if the reader panics.
struct Looked<'a, V: TableValue> {
    partition: &'a TablePartition<V>,
    place: u32,
    value: Option<V>,
}

impl<V: TableValue> Drop for Looked<'_, V> {
    fn drop(&mut self) {
        self.partition.give_back(self.place, self.value.take());
    }
}

/// A value taken out of its table, to be returned to its place.
pub(super) struct TakenOut<V> {
    pub(super) place: u32,
    pub(super) value: Option<V>,
}

impl<K: Data, V: TableValue> TableHandle<K, V> {
    /// Creates an agent's handle. A planning run also records the table.
    pub(super) fn arg(cx: &mut AgentCx<'_>, spec: &'static ArgSpec) -> Result<Self, Error> {
        let decl = spec.table.unwrap_or_default();
        let name = decl.name.unwrap_or(spec.name);
        let fault = |why: String| Error::setup(vec![why]);
        let key = EntryCoder::resolve(decl.key_codec, Role::Key);
        let key = key.map_err(|why| fault(format!("agent `{}`, table `{name}`: {why}", cx.agent)))?;
        let binding = match &cx.mode {
            StageMode::Planning(recorder) => {
                let spec = TableSpec::<V>::new::<K>(&decl, name, cx.agent, recorder.group()).map_err(fault)?;
                recorder.table(Arc::new(SharedSpec(Arc::new(spec))));
                Binding::Planning(Arc::clone(recorder))
            }
            StageMode::Live(stage) => {
                let partition =
                    stage.tables.state(name).and_then(|state| state.as_any().downcast::<TablePartition<V>>().ok());
                let missing = || Error::Misuse(format!("table `{name}` is not part of the plan"));
                Binding::Live((partition.ok_or_else(missing)?, Arc::clone(stage)))
            }
        };
        Ok(Self { name: name.into(), key, planned_default: decl.default, binding })
    }

    /// Creates a separate table, without a changelog or a store.
    pub(super) fn detached(decl: &TableDecl, name: &str) -> Self {
        let spec = TableSpec::<V>::new::<K>(decl, name, "a test", "test").expect("the types of a table have codecs");
        let key = EntryCoder::resolve(decl.key_codec, Role::Key).expect("the key of a table has a codec");
        let partition = TablePartition::new(Arc::new(spec), PartitionCx::alone());
        Self { name: name.into(), key, planned_default: None, binding: Binding::Detached(partition) }
    }

    pub(super) fn stage(&self) -> Option<&Arc<RunningStage>> {
        match &self.binding {
            Binding::Live((_, stage)) => Some(stage),
            Binding::Planning(_) | Binding::Detached(_) => None,
        }
    }

    pub(super) fn partition(&self) -> Option<&Arc<TablePartition<V>>> {
        match &self.binding {
            Binding::Live((partition, _)) | Binding::Detached(partition) => Some(partition),
            Binding::Planning(_) => None,
        }
    }

    /// Encodes a key into a buffer that this thread reuses, and passes it to `then`. A key that is refused fails the agent;
    /// `then` gets `None`.
    pub(super) fn keyed<Q: KeyRef + ?Sized, R>(&self, key: &Q, then: impl FnOnce(Option<&[u8]>) -> R) -> R
    where
        K: Borrow<Q>,
    {
        thread_local! {
            static BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
        }
        // Taken out rather than borrowed: `then` may call this function again.
        let mut bytes = BUFFER.take();
        bytes.clear();
        let encoded = self.key.encode_key(key, &mut bytes).map_err(|why| self.fail(self.refused(key, &why)));
        let result = then(encoded.ok().map(|()| &*bytes));
        BUFFER.set(bytes);
        result
    }

    #[cold]
    fn refused<Q: KeyRef + ?Sized>(&self, key: &Q, why: &EncodeError) -> Error {
        let shown = serde_json::to_string(key).map_or_else(|_| String::new(), |key| format!(" {key}"));
        let what = format!("key{shown} of type `{}`", without_paths(std::any::type_name::<K>()));
        Error::Refused { table: self.name.to_string(), what, why: why.to_string() }
    }

    /// Returns an encoded key; `None` if it is refused, which fails the agent.
    pub(super) fn encode<Q: KeyRef + ?Sized>(&self, key: &Q) -> Option<Vec<u8>>
    where
        K: Borrow<Q>,
    {
        self.keyed(key, |bytes| bytes.map(<[u8]>::to_vec))
    }

    pub(super) fn decode_key(&self, bytes: &[u8]) -> Option<K> {
        let decoded = self.key.decode(bytes);
        decoded.map_err(|why| self.fail(Error::Misuse(format!("table `{}`, key {bytes:?}: {why}", self.name)))).ok()
    }

    /// Returns `true` if keys are stored as the plain bytes of their type.
    pub(super) fn keys_are_raw(&self) -> bool {
        self.key.name() == "raw"
    }

    pub(super) fn find(&self, key: &[u8]) -> Option<V> {
        let found = self.readable()?.find(key);
        found.map_err(|error| self.fail(error)).ok().flatten()
    }

    /// Returns a copy of the value of a key, without failing the agent if it cannot be read.
    pub(super) fn peek(&self, key: &[u8]) -> Option<V> {
        self.partition()?.find(key).ok().flatten()
    }

    pub(super) fn contains(&self, key: &[u8]) -> bool {
        let Some(partition) = self.readable() else { return false };
        partition.contains(key).map_err(|error| self.fail(error)).unwrap_or_default()
    }

    /// Passes a reference to a key's value to `look`, without copying the value. Meanwhile the table may be used,
    /// except for this key.
    pub(super) fn with<R>(&self, key: Option<&[u8]>, look: impl FnOnce(Option<&V>) -> R) -> R {
        let (Some(partition), Some(key)) = (self.readable(), key) else { return look(None) };
        match partition.take_to_look(key) {
            Ok(Some((place, value))) => {
                let taken = Looked { partition, place, value: Some(value) };
                look(taken.value.as_ref())
            }
            Ok(None) => look(None),
            // The agent has failed, and messages that it sends from now on are rejected.
            Err(error) => {
                self.fail(error);
                look(None)
            }
        }
    }

    /// Sets the value of a key; `None` removes it.
    pub(super) fn set(&self, key: &[u8], value: Option<V>) {
        let time = self.write_time();
        if let Some(Err(error)) = self.writable().map(|partition| partition.set(key, value, time)) {
            self.fail(error);
        }
    }

    /// Sets the value of a key, and returns the previous one.
    pub(super) fn swap(&self, key: &[u8], value: Option<V>) -> Option<V> {
        let swapped = self.writable()?.swap(key, value, self.write_time());
        swapped.map_err(|error| self.fail(error)).ok().flatten()
    }

    /// Takes out the value of a key. Returns `None` if that fails the agent.
    #[inline]
    pub(super) fn take_out(&self, key: &[u8]) -> Option<TakenOut<V>> {
        let taken = self.writable()?.take_out(key, self.write_time());
        let (place, value) = taken.map_err(|error| self.fail(error)).ok()?;
        Some(TakenOut { place, value })
    }

    /// Puts a changed value back. Fails the agent if the value could not be read back from the store.
    #[inline]
    pub(super) fn put_back(&self, place: u32, value: V) {
        if let Some(Err(error)) = self.partition().map(|partition| partition.put_back(place, value)) {
            self.fail(error);
        }
    }

    /// Gives a place back whose value was removed.
    pub(super) fn give_back_empty(&self, place: u32) {
        if let Some(partition) = self.partition() {
            partition.give_back(place, None);
        }
    }

    pub(super) fn scan_bytes(&self, bounds: KeyBounds<'_>) -> Vec<(Vec<u8>, V)> {
        let Some(partition) = self.readable() else { return Vec::new() };
        partition.scan(bounds, &|_| true).unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        })
    }

    /// Returns the entries of all keys for which `keep` returns `true`.
    pub(super) fn scan_for(&self, keep: &dyn Fn(&[u8]) -> bool) -> Vec<(Vec<u8>, V)> {
        let Some(partition) = self.readable() else { return Vec::new() };
        partition.scan((Bound::Unbounded, Bound::Unbounded), keep).unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        })
    }

    pub(super) fn scan(&self, bounds: KeyBounds<'_>) -> impl Iterator<Item = (K, V)> + use<K, V> {
        let found = self.scan_bytes(bounds);
        let decoded: Vec<_> =
            found.into_iter().filter_map(|(key, value)| Some((self.decode_key(&key)?, value))).collect();
        decoded.into_iter()
    }

    /// Returns the encoded keys that have a value.
    pub(super) fn encoded_keys(&self) -> Vec<Vec<u8>> {
        let Some(partition) = self.readable() else { return Vec::new() };
        partition.scan_keys().unwrap_or_else(|error| {
            self.fail(error);
            Vec::new()
        })
    }

    pub(super) fn count(&self) -> usize {
        let Some(partition) = self.readable() else { return 0 };
        partition.count().unwrap_or_else(|error| {
            self.fail(error);
            0
        })
    }

    /// Returns the value that is read for a missing key.
    pub(super) fn default(&self) -> V
    where
        V: Default,
    {
        let declared = match &self.binding {
            Binding::Planning(_) => self.planned_default.and_then(|make| make().downcast().ok()).map(|value| *value),
            Binding::Live((partition, _)) | Binding::Detached(partition) => partition.spec().declared_default(),
        };
        declared.unwrap_or_default()
    }

    /// Fails the agent.
    pub(super) fn fail(&self, error: Error) {
        match &self.binding {
            Binding::Planning(recorder) => recorder.fault(error.to_string()),
            Binding::Live((_, stage)) => stage.fail(error),
            Binding::Detached(_) => tracing::error!("{error}"),
        }
    }

    /// Returns the time of a write: that of the current event.
    #[inline]
    fn write_time(&self) -> Timestamp {
        let of_event = |stage: &Arc<RunningStage>| stage.cursor.write_time().unwrap_or(Timestamp(0));
        self.stage().map_or(Timestamp(0), of_event)
    }

    fn readable(&self) -> Option<&Arc<TablePartition<V>>> {
        if let Binding::Planning(recorder) = &self.binding {
            self.fail_planning(recorder);
        }
        self.partition()
    }

    #[cold]
    fn fail_planning(&self, recorder: &PlanRecorder) {
        recorder.violation(&format!("uses table `{}`", self.name));
    }

    /// Returns the partition for writing. Fails the agent outside of an event: a cut may be taken whenever the agent
    /// holds no event, and must not include half of an event's changes.
    #[inline]
    fn writable(&self) -> Option<&Arc<TablePartition<V>>> {
        if let Binding::Live((_, stage)) = &self.binding
            && !stage.cursor.gate.is_busy()
        {
            self.fail_outside();
            return None;
        }
        self.readable()
    }

    #[cold]
    fn fail_outside(&self) {
        self.fail(Error::Misuse(format!(
            "table `{}` is changed outside of an event, where a commit may happen at any time; change it between `next()` and the following `next()` (streams of `events()` cannot change tables: use `next_event()` or `take()`)",
            self.name
        )));
    }
}

impl<K, V> TableHandle<K, V> {
    pub(super) fn name(&self) -> &str {
        &self.name
    }
}

impl<K, V> Clone for TableHandle<K, V> {
    fn clone(&self) -> Self {
        Self {
            name: Arc::clone(&self.name),
            key: self.key.clone(),
            planned_default: self.planned_default,
            binding: self.binding.clone(),
        }
    }
}
