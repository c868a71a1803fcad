//! The entry of one key, for changes in several steps.

use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};

use super::handle::{TableHandle, TakenOut};
use crate::codec::Data;
use crate::table_state::TableValue;

/// The entry of a key in a table, from [`Table::entry`](super::Table::entry).
#[must_use = "an entry does nothing until a value is inserted or changed"]
pub struct Entry<'a, K, V> {
    handle: &'a TableHandle<K, V>,
    /// `None` for a key that is refused: changes of its entry are not kept.
    key: Option<Vec<u8>>,
    /// Makes the entry `!Send`, so that an agent cannot hold it across an `await`.
    here: PhantomData<*const ()>,
}

impl<'a, K: Data, V: TableValue> Entry<'a, K, V> {
    pub(super) fn new(handle: &'a TableHandle<K, V>, key: Option<Vec<u8>>) -> Self {
        Self { handle, key, here: PhantomData }
    }

    /// Ensures that the key has a value by inserting `value` if there is none, and returns the value for modification.
    pub fn or_insert(self, value: V) -> ValueMut<'a, K, V> {
        self.or_insert_with(|| value)
    }

    /// Ensures that the key has a value by inserting the result of `make` if there is none, and returns the value for
    /// modification.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> ValueMut<'a, K, V> {
        ValueMut::new(self.handle, self.key.and_then(|key| self.handle.take_out(&key)), make)
    }

    /// Changes the value in place if there is one.
    pub fn and_modify(self, change: impl FnOnce(&mut V)) -> Self {
        if let Some(key) = self.key.as_ref().filter(|key| self.handle.contains(key))
            && let Some(TakenOut { place, value: Some(value) }) = self.handle.take_out(key)
        {
            let mut guard = ValueMut::new(self.handle, Some(TakenOut { place, value: None }), || value);
            change(&mut guard);
        }
        self
    }

    /// Ensures that the key has a value by inserting the table's default if there is none, and returns the value for
    /// modification.
    pub fn or_default(self) -> ValueMut<'a, K, V>
    where
        V: Default,
    {
        let handle = self.handle;
        self.or_insert_with(|| handle.default())
    }
}

/// A value that is being changed. It is returned to the table when this guard is dropped.
pub struct ValueMut<'a, K: Data, V: TableValue> {
    handle: &'a TableHandle<K, V>,
    place: Option<u32>,
    value: Option<V>,
    here: PhantomData<*const ()>,
}

impl<'a, K: Data, V: TableValue> ValueMut<'a, K, V> {
    /// Creates the guard. If `taken` is `None`, the agent has failed, and may continue with a value that is not stored.
    pub(super) fn new(handle: &'a TableHandle<K, V>, taken: Option<TakenOut<V>>, make: impl FnOnce() -> V) -> Self {
        let (place, value) = taken.map_or((None, None), |TakenOut { place, value }| (Some(place), value));
        let mut guard = Self { handle, place, value, here: PhantomData };
        // Called inside the guard, so that a panic in `make` gives the place back.
        guard.value.get_or_insert_with(make);
        guard
    }
}

impl<K: Data, V: TableValue> Deref for ValueMut<'_, K, V> {
    type Target = V;

    fn deref(&self) -> &V {
        self.value.as_ref().expect("the value is present until the guard is dropped")
    }
}

impl<K: Data, V: TableValue> DerefMut for ValueMut<'_, K, V> {
    fn deref_mut(&mut self) -> &mut V {
        self.value.as_mut().expect("the value is present until the guard is dropped")
    }
}

impl<K: Data, V: TableValue> Drop for ValueMut<'_, K, V> {
    fn drop(&mut self) {
        if let Some(place) = self.place {
            match self.value.take() {
                Some(value) => self.handle.put_back(place, value),
                // The function that makes the first value has panicked.
                None => self.handle.give_back_empty(place),
            }
        }
    }
}

impl<K, V> std::fmt::Debug for Entry<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Entry").field("table", &self.handle.name()).finish_non_exhaustive()
    }
}

impl<K: Data, V: TableValue + std::fmt::Debug> std::fmt::Debug for ValueMut<'_, K, V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.value.fmt(f)
    }
}
