//! The construction of operators: a blueprint shared by all tasks, and the operators that one stage builds from it.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::event::Item;
use super::origin::StreamOrigin;
use crate::error::Error;

/// A chain of operators, running in one stage of one partition.
///
/// It costs one virtual call per operator and event, which is cheap, and reduces the type of a stream to its value and
/// key. Errors are reported to the stage's cursor, and the pull then stays pending.
pub(crate) trait Pull<V, K>: Send {
    /// Polls the next item; `None` ends the stream.
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, K>>>;
}

/// A chain of operators as the agent declared it, shared by all partitions and by the stages of a repartition.
pub(crate) trait Blueprint<V, K>: Send + Sync {
    /// Builds the chain for one stage.
    fn build(&self, origin: &StreamOrigin) -> Result<Box<dyn Pull<V, K>>, Error>;
}

/// Polls the boxed future in the slot, if any, and clears the slot once it has completed.
pub(crate) fn poll_slot<T>(
    slot: &mut Option<Pin<Box<dyn Future<Output = T> + Send>>>,
    cx: &mut Context<'_>,
) -> Poll<Option<T>> {
    let Some(future) = slot else { return Poll::Ready(None) };
    let polled = future.as_mut().poll(cx).map(Some);
    if polled.is_ready() {
        *slot = None;
    }
    polled
}
