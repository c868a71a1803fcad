//! A commit: takes cuts of all tasks, waits until their messages are acknowledged, and commits them in one request, or in a
//! transaction. A step that fails ends the commit.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::error::TransportErrorKind;
use crate::task::{Command, CommittedOffsets, Cut, TaskCx};
use crate::transport::{PROGRESS_INTERVAL, with_progress};

/// Maximum time that a commit waits for the cut of a task. A task answers at once, unless an agent blocks its thread: then
/// the other tasks are committed without it.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Takes a cut of every task, and commits the cuts together.
pub(super) async fn commit(tasks: Vec<mpsc::UnboundedSender<Command>>, cx: Arc<TaskCx>) -> CommittedOffsets {
    let within = cx.settings.commit_interval().min(ANSWER_WITHIN);
    let cuts = take(tasks, within).await;
    finish(cuts, &cx, Some(within)).await
}

/// Commits cuts, without the groups of which a message was not delivered. With `patience`, a commit without a transaction does
/// not wait longer for messages that are late: their groups take part in a later one. The tasks learn the result. If the future
/// is dropped, the commit is abandoned: the next cuts cover it.
pub(super) async fn finish(cuts: Vec<Cut>, cx: &TaskCx, patience: Option<Duration>) -> CommittedOffsets {
    match &cx.transactor {
        Some(transactor) => transactor.commit(cuts).await,
        None => commit_in_request(cuts, cx, patience).await,
    }
}

/// Takes the cuts of the tasks that answer in time.
async fn take(tasks: Vec<mpsc::UnboundedSender<Command>>, within: Duration) -> Vec<Cut> {
    let cuts = join_all(tasks.into_iter().map(|commands| async move {
        let (reply, cut) = oneshot::channel();
        commands.send(Command::Cut(reply)).ok()?;
        timeout(within, cut).await.ok()?.ok()?
    }));
    cuts.await.into_iter().flatten().collect()
}

/// Waits until the messages of the cuts are acknowledged, then commits them in one request.
async fn commit_in_request(mut cuts: Vec<Cut>, cx: &TaskCx, patience: Option<Duration>) -> CommittedOffsets {
    // Waits for the others even if one has failed: before a revocation ends, no message may be left that could arrive
    // after those of the next owner.
    let arrived = async {
        let all = join_all(cuts.iter().map(Cut::arrived));
        match patience {
            None => drop(all.await),
            // Late messages are not sent again, so that nothing piles up.
            Some(patience) => drop(timeout(patience, all).await),
        }
    };
    with_progress(arrived, PROGRESS_INTERVAL, || {
        let left: u64 = cuts.iter().map(Cut::pending).sum();
        tracing::warn!("the commit is waiting for {left} messages that the brokers have not acknowledged");
    })
    .await;
    let left: u64 = cuts.iter().map(Cut::pending).sum();
    let late: usize = cuts.iter_mut().map(Cut::leave_out).sum();
    if late > 0 {
        let text = format!(
            "{left} messages are not acknowledged yet: the agents that have sent them take part in a later commit ({late} groups of agents)"
        );
        cx.refusals.lock().unwrap_or_else(PoisonError::into_inner).report(&text);
    }
    let (mut offsets, mut given_away) = (CommittedOffsets::new(), 0);
    for cut in &cuts {
        match cut.to_commit() {
            Ok(mut of_cut) => {
                for partition in cut.given_away(&cx.ownership) {
                    given_away += usize::from(of_cut.remove(partition).is_some());
                }
                offsets.extend(of_cut);
            }
            Err(error) => {
                // An error means that the worker has ended already.
                drop(cx.failed.send(error));
                cuts.into_iter().for_each(|cut| cut.resolve(false));
                return CommittedOffsets::new();
            }
        }
    }
    if given_away > 0 {
        tracing::warn!(
            "{given_away} partitions were given away before they could be committed: their next owner reads the events again"
        );
    }
    let committed = request(offsets, cx).await;
    // A cut is confirmed if one of its topics has accepted it: a restore takes the positions in all topics from it.
    for cut in cuts {
        let is_confirmed = cut.is_confirmed_by(&committed);
        cut.resolve(is_confirmed);
    }
    committed
}

/// Commits all offsets in one request. Returns those that the broker has accepted.
async fn request(mut offsets: CommittedOffsets, cx: &TaskCx) -> CommittedOffsets {
    if offsets.is_empty() {
        return offsets;
    }
    match cx.group.commit(offsets.clone()).await {
        Ok(refused) => {
            cx.stats.committed();
            if let Some((_, error)) = refused.first_key_value() {
                let partitions = refused.keys().map(ToString::to_string).collect::<Vec<_>>().join(", ");
                let text = format!(
                    "the offsets of {partitions} are not committed: {error}; the next commit covers them, unless the topic was deleted"
                );
                cx.refusals.lock().unwrap_or_else(PoisonError::into_inner).report(&text);
            }
            offsets.retain(|partition, _| !refused.contains_key(partition));
            offsets
        }
        Err(error) => {
            match error.kind {
                TransportErrorKind::Rebalanced => {
                    tracing::info!("the commit failed due to a rebalance; its events will be read again: {error}")
                }
                _ => tracing::warn!("the commit failed; the next one covers it: {error}"),
            }
            CommittedOffsets::new()
        }
    }
}
