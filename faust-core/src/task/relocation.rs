//! Positions that are not in the log any more: retention has deleted the messages, or the topic was truncated, or deleted and
//! created again, while the worker ran.

use std::sync::Arc;

use futures_util::FutureExt;

use super::group::Activity;
use super::group::StageGroup;
use super::log_change::{FoundLogs, ResetPolicies};
use super::partition::TaskPartition;
use super::partition_task::Task;
use crate::error::{Error, TransportError};
use crate::offsets::LogId;
use crate::transport::{Retries, TopicPartition};

impl Task {
    /// Ends the run of a group that cannot read on, and looks up where its logs begin and end.
    pub(super) fn look_up_logs(&mut self, index: usize, why: &dyn std::fmt::Display) {
        let Some(group) = self.groups.get_mut(index) else { return };
        tracing::warn!("{why}; looking up the log");
        // The finished events may not be in the log any more, so that they could not be read again.
        if let Err(error) = group.seal() {
            let failure = group.failed_seal(error);
            return self.fail(index, failure);
        }
        group.end(Activity::Relocating);
        let cx = Arc::clone(&self.cx);
        let partitions: Vec<TopicPartition> =
            group.inputs.iter().flatten().map(|input| input.reader.partition().clone()).collect();
        let look_up = async move {
            let admin = match cx.transport.admin() {
                Ok(admin) => admin,
                Err(error) => return (index, Err(error)),
            };
            let mut retries = Retries::default().of(cx.transport.outage());
            (index, FoundLogs::look_up(&*admin, partitions, &mut retries).await)
        };
        self.relocations.push(look_up.boxed());
        self.publish_live();
    }

    /// Moves the positions of a group into its logs, and starts it again.
    pub(super) fn relocate(&mut self, index: usize, found: Result<FoundLogs, TransportError>) {
        let stages = self.groups.iter().flat_map(|group| &group.stages);
        let policies = ResetPolicies::new(stages, self.cx.settings.consumer_auto_offset_reset);
        let Some(group) = self.groups.get_mut(index).filter(|group| matches!(group.activity, Activity::Relocating))
        else {
            return;
        };
        let moved = found.map_err(Error::from).and_then(|found| move_into(group, &found, &self.parts, &policies));
        match moved {
            // Without another comparison of the logs: it would find the same ones.
            Ok(()) => self.start_run(index),
            Err(error) => self.stop(index, error),
        }
    }
}

/// Moves the positions of a group into these logs.
fn move_into(
    group: &mut StageGroup,
    found: &FoundLogs,
    parts: &[TaskPartition],
    policies: &ResetPolicies,
) -> Result<(), Error> {
    let mut positions = group.sealed_positions().clone();
    let mut logs = positions.logs.to_vec();
    for (stage, (inputs, at)) in group.inputs.iter().zip(&mut positions.stages).enumerate() {
        let agent = group.stages.get(stage).map(|stage| stage.agent()).unwrap_or_default();
        let logs = logs.get_mut(stage).into_iter().flatten();
        for (number, ((input, next), of)) in (0..).zip(inputs.iter().zip(at).zip(logs)) {
            let partition = input.reader.partition();
            let Some(log) = found.get(partition) else { continue };
            if let Some(part) = parts.iter().find(|part| Arc::ptr_eq(&part.reader, &input.reader)) {
                // The other groups must not take the messages of this log for those that follow in the former one.
                if LogId::differ(part.log().id, log.id) {
                    input.reader.fail_all();
                }
                // A group that starts later is compared with this log, and so is a task that starts with the partition.
                part.found(log);
            }
            let before = *next;
            let tables = !group.tables.is_empty();
            *next = log.moved((partition, before, of.id()), (agent, tables), policies.of(&partition.topic))?;
            if *next < before || LogId::differ(of.id(), log.id) {
                group.failures.relocated((stage, number), *next);
            }
            *of = log.input(&partition.topic, *next);
        }
    }
    positions.logs = logs.into();
    group.seal_moved(positions)
}
