//! The parts of a windowed table that its views share.

use super::handle::TableHandle;
use crate::codec::Data;
use crate::declare::RelativeTo;
use crate::error::Error;
use crate::table_state::TableValue;
use crate::time::Timestamp;
use crate::window::WindowSpec;

/// A table handle with the windows of the table.
pub(super) struct WindowedHandle<K, V> {
    pub(super) handle: TableHandle<K, V>,
    pub(super) spec: WindowSpec,
    pub(super) relative_to: RelativeTo,
}

impl<K: Data, V: TableValue> WindowedHandle<K, V> {
    /// Returns the time of the wall clock, or of the test driver's clock.
    pub(super) fn now(&self) -> Timestamp {
        self.handle.stage().map_or_else(Timestamp::now, |stage| stage.clock.now())
    }

    /// Returns the timestamp of the current event, if there is exactly one.
    pub(super) fn event_time_if_known(&self) -> Option<Timestamp> {
        match self.handle.stage() {
            Some(stage) => stage.cursor.event_time(),
            None => Some(self.now()),
        }
    }

    /// Returns the timestamp of the current event. Fails the agent if there is none, or if there are several.
    pub(super) fn event_time(&self) -> Option<Timestamp> {
        let time = self.event_time_if_known();
        if time.is_none() {
            self.handle.fail(Error::Misuse(format!(
                "windowed table `{}` is used where it is not clear which event is meant; in a batch, or outside of an event, write `{0}.at(&event)` or `{0}.at_time(time)`",
                self.handle.name()
            )));
        }
        time
    }
}

impl<K, V> Clone for WindowedHandle<K, V> {
    fn clone(&self) -> Self {
        Self { handle: self.handle.clone(), spec: self.spec, relative_to: self.relative_to }
    }
}
