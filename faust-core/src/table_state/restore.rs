//! Applying restored changelog records to a partition.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::held::Held;
use super::partition::TablePartition;
use super::roles::{PriorValue, RestoreState};
use super::spec::TableValue;
use crate::error::Error;
use crate::store::{Sealed, StoreWriter};
use crate::time::Timestamp;

impl<V: TableValue> RestoreState for TablePartition<V> {
    fn begin_whole(&self) {
        self.state().whole = true;
    }

    fn apply(&self, batch: Arc<Sealed>, mark: Vec<u8>, writer: &StoreWriter) {
        let mut state = self.state();
        let mut slots = Vec::with_capacity(batch.len());
        for entry in batch.iter() {
            let (at, is_new) = state.overlay.apply(entry.key, entry.value(), entry.time);
            if is_new {
                self.note_start(&mut state, entry.key, at);
            }
            slots.push(at);
        }
        // The table may exceed its memory budget: entries already in the store are evicted.
        if self.cx.store.is_some() && state.overlay.evict(2 * slots.len()) {
            state.is_not_whole();
        }
        let number = state.overlay.applied(slots);
        drop(state);
        self.hand_over(number, batch, mark, writer);
    }

    fn repair(&self, keys: &BTreeMap<Vec<u8>, PriorValue>) -> Result<(), Error> {
        let mut state = self.state();
        for (key, prior) in keys {
            let at = match (self.load(&mut state, key)?, prior) {
                (Some(at), _) => at,
                (None, PriorValue::Unknown) => self.insert(&mut state, key, Held::Absent, Timestamp(0)),
                (None, PriorValue::Likely) => {
                    let (table, partition, key_text) = (&self.spec.info.name, self.cx.partition, self.shown(key));
                    tracing::warn!(%table, partition, "key {key_text} has no committed value, although an owner whose commits do not count had one: either it was removed since, or compaction has removed it because no worker ran for longer than the changelog's `min.compaction.lag.ms` after a crash");
                    self.insert(&mut state, key, Held::Absent, Timestamp(0))
                }
                // The changelog was compacted while an uncommitted record was the latest of this key.
                (None, PriorValue::Certain) => {
                    let shown = String::from_utf8_lossy(self.spec.info.plain_key(key)).into_owned();
                    return Err(self.state_error(format!(
                        "the committed value of key {shown:?} is missing from `{}`: compaction removed it in favor of a later, uncommitted value, because no worker ran for longer than the topic's `min.compaction.lag.ms` after a crash; run `reset --topics` to start over",
                        self.spec.info.changelog
                    )));
                }
            };
            state.overlay.repair(at);
        }
        Ok(())
    }
}
