//! Unacknowledged changelog records of a worker's tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::transport::{Delivery, TopicPartition};

/// In-flight deliveries to changelogs, by changelog partition.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    deliveries: Mutex<BTreeMap<TopicPartition, Vec<Arc<Delivery>>>>,
}

impl InFlight {
    /// Adds the delivery of records to a changelog.
    pub(crate) fn add(&self, changelog: TopicPartition, delivery: &Arc<Delivery>) {
        let mut deliveries = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner);
        let of_one = deliveries.entry(changelog).or_default();
        of_one.retain(|delivery| delivery.pending() > 0);
        of_one.push(Arc::clone(delivery));
    }

    /// Waits until the records that earlier tasks of this worker sent to a changelog are acknowledged or have failed.
    pub(super) async fn settled(&self, changelog: &TopicPartition) {
        // They stay in the map: a later preparation has to wait for them as well.
        let sent = self.deliveries.lock().unwrap_or_else(PoisonError::into_inner).get(changelog).cloned();
        for delivery in sent.unwrap_or_default() {
            // A failed record is not in the changelog, so its error does not matter here.
            drop(delivery.all().await);
        }
    }
}
