//! The leases of stores: each store is used by one task or by one standby at a time, and standbys give way to tasks.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::{OwnedMutexGuard, watch};

use crate::store::StoreName;

/// The uses of a worker's stores.
#[derive(Clone, Default)]
pub(crate) struct StoreLeases {
    uses: Arc<Mutex<BTreeMap<StoreName, StoreUse>>>,
}

/// The use of a store.
#[derive(Default)]
struct StoreUse {
    lock: Arc<tokio::sync::Mutex<()>>,
    /// Number of reservations. Without any, a standby may use the store.
    reservations: usize,
    /// Tells the standby that uses the store to stop.
    standby: Option<watch::Sender<bool>>,
    /// A standby has followed the changelog since a task last used the store.
    was_standby: bool,
}

/// The claim of a task on a store, from the request of its restore on. Standbys stop at once, and none starts meanwhile.
#[must_use = "the claim is withdrawn when the value is dropped"]
pub(super) struct StoreReservation {
    leases: StoreLeases,
    name: StoreName,
}

/// The exclusive use of a store, by the preparation of a restore and then by the task. Without it, a preparation whose
/// assignment has ended could replace a store that the next task uses.
pub(crate) struct StoreLease {
    /// A standby has followed the changelog since a task last used the store.
    pub(super) was_standby: bool,
    _lock: OwnedMutexGuard<()>,
    reservation: StoreReservation,
}

/// The exclusive use of a store by a standby, until a task needs the store.
pub(super) struct StandbyLease {
    leases: StoreLeases,
    name: StoreName,
    revoked: watch::Receiver<bool>,
    _lock: OwnedMutexGuard<()>,
}

impl StoreLeases {
    /// Reserves a store for a task, and stops a standby that uses it.
    pub(super) fn reserve(&self, name: StoreName) -> StoreReservation {
        let mut uses = self.uses();
        let of_store = uses.entry(name.clone()).or_default();
        of_store.reservations += 1;
        if let Some(standby) = &of_store.standby {
            standby.send_replace(true);
        }
        drop(uses);
        StoreReservation { leases: self.clone(), name }
    }

    /// Leases a store for a standby; `None` if a task uses it or has reserved it, or another standby uses it.
    pub(super) fn lease_for_standby(&self, name: &StoreName) -> Option<StandbyLease> {
        let mut uses = self.uses();
        let of_store = uses.entry(name.clone()).or_default();
        if of_store.reservations > 0 {
            return None;
        }
        let lock = Arc::clone(&of_store.lock).try_lock_owned().ok()?;
        let (sender, revoked) = watch::channel(false);
        of_store.standby = Some(sender);
        drop(uses);
        Some(StandbyLease { leases: self.clone(), name: name.clone(), revoked, _lock: lock })
    }

    /// Stops the standby that uses a store, if any. It ends soon afterwards.
    pub(crate) fn stop_standby(&self, name: &StoreName) {
        if let Some(standby) = self.uses().get(name).and_then(|of_store| of_store.standby.as_ref()) {
            standby.send_replace(true);
        }
    }

    fn uses(&self) -> MutexGuard<'_, BTreeMap<StoreName, StoreUse>> {
        self.uses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl StoreReservation {
    /// Leases the store if it is not in use. Returns the reservation otherwise.
    pub(super) fn try_lease(self) -> Result<StoreLease, Self> {
        match self.lock().try_lock_owned() {
            Ok(lock) => Ok(self.leased(lock)),
            Err(_) => Err(self),
        }
    }

    /// Leases the store, once the task or the standby that uses it has ended.
    pub(super) async fn lease(self) -> StoreLease {
        let lock = self.lock().lock_owned().await;
        self.leased(lock)
    }

    fn lock(&self) -> Arc<tokio::sync::Mutex<()>> {
        Arc::clone(&self.leases.uses().entry(self.name.clone()).or_default().lock)
    }

    fn leased(self, lock: OwnedMutexGuard<()>) -> StoreLease {
        let was_standby =
            self.leases.uses().get_mut(&self.name).is_some_and(|of_store| std::mem::take(&mut of_store.was_standby));
        StoreLease { was_standby, _lock: lock, reservation: self }
    }
}

impl Drop for StoreReservation {
    fn drop(&mut self) {
        if let Some(of_store) = self.leases.uses().get_mut(&self.name) {
            of_store.reservations -= 1;
        }
    }
}

impl StoreLease {
    /// Returns whether the store is that of this table.
    pub(super) fn is_of(&self, table: &str) -> bool {
        self.reservation.name.table == table
    }
}

impl StandbyLease {
    pub(super) fn name(&self) -> &StoreName {
        &self.name
    }

    /// Records that the standby has begun to follow the changelog.
    pub(super) fn begin(&self) {
        if let Some(of_store) = self.leases.uses().get_mut(&self.name) {
            of_store.was_standby = true;
        }
    }

    /// Resolves once the standby has to stop.
    pub(super) async fn revoked(&mut self) {
        // An error means that the store has no standby any more.
        drop(self.revoked.wait_for(|revoked| *revoked).await);
    }
}

impl Drop for StandbyLease {
    fn drop(&mut self) {
        if let Some(of_store) = self.leases.uses().get_mut(&self.name) {
            of_store.standby = None;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use futures_util::FutureExt;

    use super::*;

    fn name() -> StoreName {
        StoreName::new("counts", 3)
    }

    /// Law: a task waits for a standby only until the standby has noticed it, and no standby comes in between.
    #[test]
    fn a_standby_gives_way_to_a_task() {
        let leases = StoreLeases::default();
        let mut standby = leases.lease_for_standby(&name()).unwrap();
        assert!(leases.lease_for_standby(&name()).is_none(), "another standby uses it");
        standby.begin();
        assert_eq!(standby.revoked().now_or_never(), None);
        let reserved = leases.reserve(name());
        assert_eq!(standby.revoked().now_or_never(), Some(()));
        let Err(reserved) = reserved.try_lease() else { panic!("the standby has not ended yet") };
        drop(standby);
        assert!(leases.lease_for_standby(&name()).is_none(), "a task has reserved the store");
        let Ok(task) = reserved.try_lease() else { panic!("the standby has ended") };
        assert!(task.was_standby);
        let next = leases.reserve(name());
        let Err(next) = next.try_lease() else { panic!("the task has not ended yet") };
        drop(task);
        assert!(!next.lease().now_or_never().unwrap().was_standby);
        assert!(leases.lease_for_standby(&name()).is_some());
    }

    #[test]
    fn a_standby_is_stopped_without_a_task() {
        let leases = StoreLeases::default();
        let mut standby = leases.lease_for_standby(&name()).unwrap();
        leases.stop_standby(&StoreName::new("counts", 4));
        assert_eq!(standby.revoked().now_or_never(), None);
        leases.stop_standby(&name());
        assert_eq!(standby.revoked().now_or_never(), Some(()));
    }
}
