//! Changes of a partition's values: taking a value out, putting it back, and replacing it.

use super::held::Held;
use super::partition::{State, TablePartition};
use super::spec::TableValue;
use crate::error::Error;
use crate::time::Timestamp;

impl<V: TableValue> TablePartition<V> {
    /// Moves the value of a key out for a change by an event of this time. [`put_back`](Self::put_back) must follow in all
    /// cases.
    #[inline]
    pub(crate) fn take_out(&self, key: &[u8], time: Timestamp) -> Result<(u32, Option<V>), Error> {
        let mut state = self.state();
        let at = self.load_for_change(&mut state, key, time)?;
        self.decoded(&mut state, at)?;
        self.begin_change(&mut state, at, time);
        match state.overlay.put(at, Held::Taken) {
            Held::Value(value) => Ok((at, Some(value))),
            _ => Ok((at, None)),
        }
    }

    /// Moves a changed value back into its slot.
    ///
    /// # Errors
    /// The value could not be read back from the store. The key then has its value of the last seal; the agent's event
    /// fails, and is rolled back.
    #[inline]
    pub(crate) fn put_back(&self, at: u32, value: V) -> Result<(), Error> {
        if self.is_suspect(&value) {
            self.check_change(at, &value)?;
        }
        self.give_back(at, Some(value));
        Ok(())
    }

    /// Checks a changed value, and restores the former one if it is refused.
    #[cold]
    fn check_change(&self, at: u32, value: &V) -> Result<(), Error> {
        let mut state = self.state();
        let checked = self.check_value(state.overlay.key(at), value);
        if checked.is_err() {
            state.overlay.revert(at);
            self.notify_waiting(&state);
        }
        checked
    }

    /// Moves an unchanged value back into its slot.
    #[inline]
    pub(crate) fn give_back(&self, at: u32, value: Option<V>) {
        let mut state = self.state();
        state.overlay.put(at, value.map_or(Held::Absent, Held::Value));
        self.notify_waiting(&state);
    }

    /// Sets the value of a key for an event of this time; `None` removes it. The previous value is not decoded.
    ///
    /// # Errors
    /// The value could not be read back; then nothing is changed.
    pub(crate) fn set(&self, key: &[u8], value: Option<V>, time: Timestamp) -> Result<(), Error> {
        self.replace(key, value, time).map(drop)
    }

    /// Sets the value of a key for an event of this time, and returns the previous one. A previous value that cannot be
    /// decoded is discarded, which is logged: a key must never keep a value only because it cannot be read.
    ///
    /// # Errors
    /// As [`set`](Self::set).
    pub(crate) fn swap(&self, key: &[u8], value: Option<V>, time: Timestamp) -> Result<Option<V>, Error> {
        match self.replace(key, value, time)? {
            Held::Value(before) => Ok(Some(before)),
            Held::Bytes(bytes) => match self.spec.value.decode(&bytes) {
                Ok(before) => Ok(Some(before)),
                Err(why) => {
                    let key = self.shown(key);
                    tracing::warn!(table = %self.spec.info.name, partition = self.cx.partition, "the value of key {key} cannot be decoded ({why}) and is replaced");
                    Ok(None)
                }
            },
            Held::Absent | Held::Taken => Ok(None),
        }
    }

    fn replace(&self, key: &[u8], value: Option<V>, time: Timestamp) -> Result<Held<V>, Error> {
        value.as_ref().map_or(Ok(()), |value| self.check_value(key, value))?;
        let mut state = self.state();
        let at = self.load_for_change(&mut state, key, time)?;
        self.begin_change(&mut state, at, time);
        Ok(state.overlay.put(at, value.map_or(Held::Absent, Held::Value)))
    }

    /// Returns the entry of a key, which is created if there is none.
    #[inline]
    fn load_for_change(&self, state: &mut State<V>, key: &[u8], time: Timestamp) -> Result<u32, Error> {
        let at = match state.overlay.find(key) {
            Some(at) => at,
            None => self.load_or_create(state, key, time)?,
        };
        match state.overlay.held(at) {
            Held::Taken => Err(self.changed_inside()),
            _ => Ok(at),
        }
    }

    /// Returns the entry of a key that is not in memory. Kept apart, so that the common case is small enough to be inlined.
    #[cold]
    fn load_or_create(&self, state: &mut State<V>, key: &[u8], time: Timestamp) -> Result<u32, Error> {
        if let Some(at) = self.load(state, key)? {
            return Ok(at);
        }
        if let Some(Err(why)) = self.spec.check_key.as_ref().map(|check| check(self.spec.info.plain_key(key))) {
            return Err(self.spec.info.refused(format!("key {}", self.shown(key)), &why));
        }
        self.check_place(key);
        Ok(self.insert(state, key, Held::Absent, time))
    }

    #[cold]
    fn changed_inside(&self) -> Error {
        self.misuse("is changed inside its own update; change the value passed to the closure")
    }

    #[inline]
    fn begin_change(&self, state: &mut State<V>, at: u32, time: Timestamp) {
        state.overlay.write(at, time);
        if state.is_commit_due() {
            self.cx.commit_soon.notify_one();
        }
    }
}
