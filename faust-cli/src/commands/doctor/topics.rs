//! The checks of the app's topics and of its rights: those that exist, and those that a worker would create.

use std::collections::{BTreeMap, BTreeSet};

use faust_core::config::Settings;
use faust_core::plan::{Plan, TopicRole, TopicsCheck};
use faust_core::transport::{ClusterState, Operation, PartitionReplicas, TopicConfigs, TopicState};

use super::check::Check;

/// The topics of an app on its cluster.
pub(super) struct Topics<'a> {
    pub(super) plan: &'a Plan,
    pub(super) settings: &'a Settings,
    pub(super) cluster: &'a ClusterState,
    pub(super) configs: &'a TopicConfigs,
    pub(super) found: &'a TopicsCheck,
    /// The topics that would be created, with the reasons for which the broker would refuse them.
    pub(super) refused: &'a BTreeMap<String, String>,
}

impl Topics<'_> {
    pub(super) fn checks(&self) -> Vec<Check> {
        let mut checks = self.topics();
        checks.extend(self.replication());
        checks.extend(self.rights());
        checks
    }

    /// Checks partition counts and configurations, and whether missing topics can be created.
    fn topics(&self) -> Vec<Check> {
        let mut checks: Vec<_> = self.found.faults.iter().map(|fault| Check::fail("topics", fault)).collect();
        checks.extend(self.found.warnings.iter().map(|warning| Check::warn("topics", warning)));
        for (topic, why) in self.refused {
            let text = format!(
                "topic `{topic}` does not exist, and the broker would refuse to create it: {why}; create it, or let this user do so"
            );
            // Without its control topic, an app runs.
            let is_needed = *topic != self.plan.control_topic();
            checks.push(if is_needed { Check::fail("topics", text) } else { Check::warn("topics", text) });
        }
        checks.extend(self.found.awaited.iter().map(|topic| {
            Check::fail(
                "topics",
                format!("topic `{topic}` does not exist, and `topic_allow_declare` forbids to create it: create it"),
            )
        }));
        if checks.is_empty() {
            let (exist, created) = (self.states().count(), self.found.missing.len());
            let text = match created {
                0 => format!("all {exist} exist, with the partitions and configurations that the app needs"),
                created => format!("{exist} exist, and {created} can be created: a worker does so when it starts"),
            };
            checks.push(Check::ok("topics", text));
        }
        checks
    }

    /// Returns the topics that exist and can be described.
    fn states(&self) -> impl Iterator<Item = (&str, &TopicState)> {
        let states = self.cluster.topics.iter();
        states.filter_map(|(name, state)| Some((name.as_str(), state.as_ref().ok()?)))
    }

    /// Checks the replicas of the topics against `min.insync.replicas` and the number of brokers.
    fn replication(&self) -> Vec<Check> {
        let brokers = self.cluster.brokers.len();
        let mut checks = Vec::new();
        for (topic, state) in self.states() {
            let minimum = self.configs.get(topic).and_then(|configs| configs.get("min.insync.replicas"));
            let minimum = minimum.and_then(|minimum| minimum.parse().ok()).unwrap_or(1);
            checks.extend(replicas(topic, &state.partitions, minimum, brokers));
        }
        let factor = usize::try_from(self.settings.topic_replication_factor).unwrap_or(1);
        let created = self.found.missing.iter().filter(|topic| topic.replication == 1).count();
        if brokers > 1 && factor == 1 && created > 0 {
            checks.push(Check::warn(
                "replication",
                format!("{created} topics would be created with one replica on a cluster of {brokers} brokers, so that the loss of one loses data: set `topic_replication_factor=3`"),
            ));
        }
        if checks.is_empty() {
            let text = match brokers {
                1 => "a single broker keeps one replica of each partition".to_owned(),
                brokers => format!("replicas are in sync on {brokers} brokers"),
            };
            checks.push(Check::ok("replication", text));
        }
        checks
    }

    /// Checks the rights that the app needs, as far as the broker tells them.
    fn rights(&self) -> Vec<Check> {
        let mut checks = Vec::new();
        let mut told = false;
        let (group, topics) = (self.settings.group(), &self.cluster.topics);
        for topic in self.plan.topics() {
            match topics.get(topic.name()) {
                None => {}
                Some(Err(why)) => checks.push(Check::fail(
                    "rights",
                    format!("topic `{}` cannot be described: {why}; allow this user to `Describe` it", topic.name()),
                )),
                Some(Ok(state)) => {
                    let Some(rights) = &state.rights else { continue };
                    told = true;
                    let what = format!("{} topic `{}`", topic.role(), topic.name());
                    checks.extend(missing_rights(&what, rights, needed(topic.role())));
                    if !rights.contains(&Operation::DescribeConfigs) {
                        checks.push(Check::warn(
                            "rights",
                            format!(
                                "the configuration of {what} cannot be checked: allow this user to `DescribeConfigs`"
                            ),
                        ));
                    }
                }
            }
        }
        match &self.cluster.group_rights {
            None => {}
            Some(Ok(rights)) => {
                told = true;
                checks.extend(missing_rights(&format!("group `{group}`"), rights, &[Operation::Read]));
            }
            Some(Err(why)) => checks.push(Check::fail(
                "rights",
                format!("group `{group}` cannot be described: {why}; allow this user to `Read` it"),
            )),
        }
        if checks.is_empty() {
            let text = match told {
                true => "this user may do what the app needs with its topics and its group",
                false => "the broker does not restrict this user, or does not tell",
            };
            checks.push(Check::ok("rights", text));
        }
        checks
    }
}

/// Returns the rights that an app needs for a topic of this role.
fn needed(role: TopicRole) -> &'static [Operation] {
    match role {
        TopicRole::Source => &[Operation::Read],
        TopicRole::Output | TopicRole::DeadLetter => &[Operation::Write],
        // Committed records are deleted.
        TopicRole::Internal => &[Operation::Read, Operation::Write, Operation::Delete],
        _ => &[Operation::Read, Operation::Write],
    }
}

fn missing_rights(what: &str, rights: &BTreeSet<Operation>, needed: &[Operation]) -> Option<Check> {
    let missing: Vec<_> =
        needed.iter().filter(|right| !rights.contains(right)).map(|right| format!("`{right}`")).collect();
    (!missing.is_empty())
        .then(|| Check::fail("rights", format!("{what}: allow this user to {}", missing.join(" and "))))
}

/// Checks the replicas of a topic.
fn replicas(topic: &str, partitions: &[PartitionReplicas], minimum: usize, brokers: usize) -> Vec<Check> {
    let count = |is: &dyn Fn(&PartitionReplicas) -> bool| partitions.iter().filter(|partition| is(partition)).count();
    let all = partitions.len();
    let (leaderless, unwritable) = (count(&|of| !of.has_leader), count(&|of| of.in_sync < minimum));
    let (behind, factor) = (count(&|of| of.in_sync < of.replicas), partitions.iter().map(|of| of.replicas).min());
    let factor = factor.unwrap_or(0);
    let mut checks = Vec::new();
    if leaderless > 0 {
        checks.push(Check::fail(
            "replication",
            format!("topic `{topic}`: {leaderless} of {all} partitions have no leader, and can be neither read nor written: start the brokers that have their replicas"),
        ));
    } else if factor < minimum {
        checks.push(Check::fail(
            "replication",
            format!("topic `{topic}` has {factor} replicas, but `min.insync.replicas={minimum}`, so that nothing can be written: lower that, or add replicas"),
        ));
    } else if unwritable > 0 {
        checks.push(Check::fail(
            "replication",
            format!("topic `{topic}`: {unwritable} of {all} partitions have fewer than `min.insync.replicas={minimum}` replicas in sync, and cannot be written: start the missing brokers"),
        ));
    } else if behind > 0 {
        checks.push(Check::warn(
            "replication",
            format!("topic `{topic}`: {behind} of {all} partitions have replicas that are not in sync: a broker is down or slow"),
        ));
    } else if factor == 1 && brokers > 1 {
        checks.push(Check::warn(
            "replication",
            format!("topic `{topic}` has one replica on a cluster of {brokers} brokers: the loss of one loses its data; add replicas"),
        ));
    } else if factor == minimum && factor > 1 {
        checks.push(Check::warn(
            "replication",
            format!("topic `{topic}` has {factor} replicas and `min.insync.replicas={minimum}`: it cannot be written while a broker is down; lower that, or add replicas"),
        ));
    }
    checks
}

#[cfg(test)]
mod tests {
    use super::super::check::CheckState;
    use super::*;

    #[test]
    fn rights_are_named_that_are_missing() {
        let rights = BTreeSet::from([Operation::Read, Operation::Describe]);
        let text = |role| missing_rights("topic `t`", &rights, needed(role)).map(|check| check.text);
        assert_eq!(text(TopicRole::Source), None);
        assert_eq!(text(TopicRole::Output).as_deref(), Some("topic `t`: allow this user to `Write`"));
        assert_eq!(text(TopicRole::Internal).as_deref(), Some("topic `t`: allow this user to `Write` and `Delete`"));
    }

    #[test]
    fn replicas_are_compared_with_the_minimum_and_the_brokers() {
        let found = |(has_leader, all, in_sync), minimum, brokers| {
            let checks = replicas("t", &[PartitionReplicas::new(has_leader, all, in_sync)], minimum, brokers);
            checks.into_iter().map(|check| (check.state, check.text)).next()
        };
        let (fail, warn) = (CheckState::Fail, CheckState::Warn);
        let cases = [
            ((true, 1, 1), 1, 1, None),
            ((true, 3, 3), 2, 3, None),
            ((false, 3, 0), 2, 3, Some((fail, "no leader"))),
            ((true, 1, 1), 2, 3, Some((fail, "nothing can be written"))),
            ((true, 3, 1), 2, 3, Some((fail, "cannot be written: start"))),
            ((true, 3, 2), 2, 3, Some((warn, "not in sync"))),
            ((true, 1, 1), 1, 3, Some((warn, "the loss of one"))),
            ((true, 2, 2), 2, 3, Some((warn, "while a broker is down"))),
        ];
        for (partition, minimum, brokers, expected) in cases {
            let found = found(partition, minimum, brokers);
            let fits = match (&found, expected) {
                (None, None) => true,
                (Some((state, text)), Some((expected, part))) => *state == expected && text.contains(part),
                _ => false,
            };
            assert!(fits, "{partition:?} with {minimum} on {brokers}: {found:?}");
        }
    }
}
