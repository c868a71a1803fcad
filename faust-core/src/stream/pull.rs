//! How operators are made: a blueprint that any task can bring to life, and the living thing that is pulled.

use std::pin::Pin;
use std::task::{Context, Poll};

use super::event::Item;
use super::origin::StreamOrigin;
use crate::error::Error;

/// A chain of operators, alive in one stage of one partition.
///
/// One virtual call per operator and event: cheap, and it keeps the type of a stream to its value and key.
/// A fault is told to the stage's cursor, and the pull stays pending.
pub(crate) trait Pull<V, K>: Send {
    /// The next item; `None` ends the stream.
    fn poll_pull(&mut self, cx: &mut Context<'_>) -> Poll<Option<Item<V, K>>>;
}

/// A chain of operators as the agent declared it, shared by all partitions and by the stages of a repartition.
pub(crate) trait Blueprint<V, K>: Send + Sync {
    /// Brings it to life for one stage.
    fn build(&self, origin: &StreamOrigin) -> Result<Box<dyn Pull<V, K>>, Error>;
}

/// Polls a boxed future that is there, and forgets it when it is done.
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
