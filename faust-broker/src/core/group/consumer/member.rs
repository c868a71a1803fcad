//! A member of a consumer group: its subscription, its epochs and the partitions that it has.

use std::collections::{BTreeMap, BTreeSet};

use crate::core::group::consumer::TopicPartition;
use crate::core::group::consumer::assignor::Assignor;
use crate::core::group::consumer::subscription::Subscription;

/// Partitions of a member, each with the member epoch since which it has been assigned to it.
pub(crate) type Assigned = BTreeMap<TopicPartition, i32>;

/// The epoch of a static member that has left for a while.
pub(super) const LEFT_FOR_A_WHILE: i32 = -2;

/// The progress of a member towards its target assignment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum MemberPhase {
    /// The member has its target assignment as of its epoch.
    Stable,
    /// The member must give up partitions before it gets others.
    Revoking,
    /// The member waits for partitions that others have not given up yet.
    Waiting,
}

/// A member of a consumer group, from its first heartbeat until it leaves or one of its timeouts expires.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct ConsumerMember {
    pub(crate) instance_id: Option<String>,
    pub(crate) rack_id: Option<String>,
    pub(crate) client_id: String,
    pub(crate) client_host: String,
    /// Time in milliseconds that the member has to give up partitions.
    pub(crate) rebalance_timeout_ms: i32,
    pub(crate) subscription: Subscription,
    /// The assignor that the member prefers.
    pub(crate) assignor: Option<Assignor>,
    /// The group epoch up to which the member has followed, or [`LEFT_FOR_A_WHILE`].
    pub(crate) epoch: i32,
    /// The epoch before, which the member has if a response was lost.
    pub(crate) former_epoch: i32,
    pub(crate) phase: MemberPhase,
    /// The partitions that the member may use.
    pub(crate) assigned: Assigned,
    /// The partitions that the member must give up, and has until then.
    pub(crate) revoking: Assigned,
    /// The member's share in the target assignment.
    pub(crate) target: BTreeSet<TopicPartition>,
    /// Time at which the session expires unless it is renewed; `None` after a restart of the broker.
    pub(crate) session_ends_ms: Option<i64>,
    /// Time at which the member is removed unless it has given up partitions; `None` after a restart of the broker as well.
    pub(crate) revoke_by_ms: Option<i64>,
}

impl ConsumerMember {
    pub(super) fn new() -> Self {
        Self {
            instance_id: None,
            rack_id: None,
            client_id: String::new(),
            client_host: String::new(),
            rebalance_timeout_ms: -1,
            subscription: Subscription::default(),
            assignor: None,
            epoch: 0,
            former_epoch: -1,
            phase: MemberPhase::Stable,
            assigned: Assigned::new(),
            revoking: Assigned::new(),
            target: BTreeSet::new(),
            session_ends_ms: None,
            revoke_by_ms: None,
        }
    }

    /// Returns the partitions that no other member may have.
    pub(super) fn held(&self) -> impl Iterator<Item = TopicPartition> {
        self.assigned.keys().chain(self.revoking.keys()).copied()
    }

    /// Returns true if the member has followed the target assignment of an epoch.
    pub(super) fn is_reconciled(&self, assignment_epoch: i32) -> bool {
        self.phase == MemberPhase::Stable && self.epoch == assignment_epoch
    }

    /// Moves the member towards its target assignment of `assignment_epoch`, as far as possible.
    ///
    /// `owned` are the partitions that the member has reported, if it has reported any; `held` those that some member
    /// has; `has_resubscribed` is true if the member's topics have changed.
    pub(super) fn reconcile(
        &mut self,
        assignment_epoch: i32,
        owned: Option<&BTreeSet<TopicPartition>>,
        held: &BTreeSet<TopicPartition>,
        has_resubscribed: bool,
    ) {
        let follows = match self.phase {
            MemberPhase::Stable => self.epoch != assignment_epoch,
            MemberPhase::Revoking => !still_has(&self.revoking, owned),
            MemberPhase::Waiting => true,
        };
        if follows {
            self.follow(assignment_epoch, owned, held);
        } else if has_resubscribed {
            self.give_up_unsubscribed(owned);
        }
    }

    /// Gives up partitions that are not in the target assignment. If there are none, moves to its epoch, with all partitions
    /// that no other member has.
    fn follow(
        &mut self,
        assignment_epoch: i32,
        owned: Option<&BTreeSet<TopicPartition>>,
        held: &BTreeSet<TopicPartition>,
    ) {
        let topics = &self.subscription.topics;
        let target: BTreeSet<_> = self.target.iter().filter(|at| topics.contains(&at.0)).copied().collect();
        let (kept, given_up): (Assigned, Assigned) =
            self.assigned.iter().map(|(at, epoch)| (*at, *epoch)).partition(|(at, _)| target.contains(at));
        if still_has(&given_up, owned) {
            self.phase = MemberPhase::Revoking;
            self.advance(self.epoch);
            (self.assigned, self.revoking) = (kept, given_up);
            return;
        }
        let (mut assigned, mut waits) = (kept, false);
        for at in target {
            // What the member itself has given up just now is free; so is what it gives up and gets back.
            let is_free = !held.contains(&at) || self.revoking.contains_key(&at) || self.assigned.contains_key(&at);
            match is_free {
                true => _ = assigned.entry(at).or_insert(assignment_epoch),
                false => waits = true,
            }
        }
        self.phase = if waits { MemberPhase::Waiting } else { MemberPhase::Stable };
        self.advance(assignment_epoch);
        (self.assigned, self.revoking) = (assigned, Assigned::new());
    }

    /// Gives up the partitions of topics to which the member is no longer subscribed, without waiting for an assignment.
    fn give_up_unsubscribed(&mut self, owned: Option<&BTreeSet<TopicPartition>>) {
        let topics = &self.subscription.topics;
        let (kept, given_up): (Assigned, Assigned) =
            self.assigned.iter().map(|(at, epoch)| (*at, *epoch)).partition(|(at, _)| topics.contains(&at.0));
        if given_up.is_empty() {
            return;
        }
        self.assigned = kept;
        let mut revoking = self.revoking.clone();
        revoking.extend(given_up);
        if still_has(&revoking, owned) {
            self.phase = MemberPhase::Revoking;
            self.revoking = revoking;
        }
        self.advance(self.epoch);
    }

    fn advance(&mut self, epoch: i32) {
        self.former_epoch = self.epoch;
        self.epoch = epoch;
    }
}

/// Returns true if the member has not reported that it has given up these partitions.
fn still_has(revoking: &Assigned, owned: Option<&BTreeSet<TopicPartition>>) -> bool {
    match owned {
        None => !revoking.is_empty(),
        Some(owned) => revoking.keys().any(|at| owned.contains(at)),
    }
}
