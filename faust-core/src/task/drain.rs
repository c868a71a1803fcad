//! The end of a task: its streams end, its agents return, and the last cut is taken. The task can be resumed then, if its
//! partitions are assigned to the same worker again.

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::command::{Command, Drained};
use super::cut::Resolution;
use super::failure::{Failure, Returned};
use super::group::{Activity, StageGroup};
use super::partition_task::{Drain, Task};
use super::run::{GroupRun, RunEvent};

impl Task {
    /// Ends the streams. The task ends once all agents have returned and the commit in progress has ended.
    pub(super) fn begin_drain(&mut self, deadline: Instant, reply: oneshot::Sender<Drained>) {
        self.drain = Some(Drain { deadline, reply: Some(reply) });
        self.groups.iter().filter_map(StageGroup::run).for_each(GroupRun::drain);
        for group in &mut self.groups {
            if let Activity::Pausing(_) | Activity::Relocating = group.activity {
                group.activity = Activity::Ended { in_time: true };
            }
        }
    }

    /// Returns whether the task has been drained. Sends the last cut then.
    pub(super) fn is_drained(&mut self) -> bool {
        if self.is_running() || self.resolution.is_some() {
            return false;
        }
        let Some(reply) = self.drain.as_mut().and_then(|drain| drain.reply.take()) else { return false };
        // Seals that are unconfirmed or late by now are part of the last cut.
        self.groups.iter_mut().for_each(|group| group.resolve(false));
        let in_time = self.groups.iter().all(|group| matches!(group.activity, Activity::Ended { in_time: true }));
        // The worker may have given up waiting for the answer.
        drop(reply.send(Drained { cut: self.cut(), in_time, can_resume: true }));
        true
    }

    /// Waits, drained, for the worker to resume the task or to drop it. Returns whether it is resumed.
    pub(super) async fn is_resumed(&mut self, commands: &mut mpsc::UnboundedReceiver<Command>) -> bool {
        while let Some(command) = commands.recv().await {
            match command {
                // The partitions are not owned. The worker may have given up waiting for the answer.
                Command::Cut(reply) => drop(reply.send(None)),
                Command::Drain(_, reply) => {
                    drop(reply.send(Drained { cut: None, in_time: true, can_resume: true }));
                }
                Command::Resume => {
                    // The last cut, whose commit has ended.
                    if let Some(resolution) = self.resolution.take() {
                        self.resolve(resolution.await.unwrap_or_else(|_| Resolution::abandoned()));
                    }
                    self.drain = None;
                    return true;
                }
            }
        }
        false
    }

    /// Handles an event of a group that is being drained.
    pub(super) fn drain_event(&mut self, index: usize, event: RunEvent) {
        let Some(group) = self.groups.get_mut(index) else { return };
        let Some(run) = group.run() else { return };
        let finished = match event {
            RunEvent::LogsFound(_) | RunEvent::Resolved(_) => return,
            // The group is sealed when it has ended.
            RunEvent::AtRest => {
                group.run_mut().into_iter().for_each(GroupRun::sealed);
                return;
            }
            RunEvent::Faulted(_, fault) => {
                tracing::error!("{}", fault.error);
                false
            }
            RunEvent::Returned(index, Returned::Result(Ok(()))) => {
                let stage = run.stages.get(index);
                // The event has begun to close windows, and is not finished.
                let is_closing = stage.is_some_and(|stage| stage.is_closing());
                if let Some(stage) = stage.filter(|_| !is_closing) {
                    stage.cursor.returned(stage.cursor.gate.has_ended());
                    stage.cursor.gate.end_turn();
                    if run.running() > 0 {
                        return;
                    }
                }
                !is_closing
            }
            RunEvent::Returned(index, returned) => {
                if let Some(stage) = run.stages.get(index) {
                    let failure = Failure::returned((index, stage), returned);
                    tracing::error!(agent = %failure.agent, place = %failure.place, "{} while it was drained; the event will be read again", failure.what());
                }
                false
            }
        };
        self.end_group(index, finished, true);
    }

    /// Ends the groups whose agents have not returned by the deadline.
    pub(super) fn end_drain(&mut self) {
        for index in 0..self.groups.len() {
            if self.groups.get(index).is_some_and(|group| group.run().is_some()) {
                self.end_group(index, false, false);
            }
        }
    }

    fn end_group(&mut self, index: usize, finished: bool, in_time: bool) {
        let Some(group) = self.groups.get_mut(index) else { return };
        if let Err(error) = group.end_drained(finished, in_time) {
            tracing::error!("{error}; the events since the last commit will be processed again");
        }
        self.publish_live();
    }
}
