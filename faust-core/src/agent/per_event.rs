//! Per-event agents: functions that take one event and may return a value.

use crate::codec::Data;
use crate::declare::ArgSpec;
use crate::error::{BoxError, Error};
use crate::stage::{AgentCx, AgentFuture, arg};
use crate::stream::{Event, Stream};
use crate::topic::Topic;

/// A type of the first argument of a per-event agent: a message's value, or its [`Event`].
#[diagnostic::on_unimplemented(
    message = "a per-event agent cannot take `{Self}` as its event",
    note = "take a record, any other type serde can read, or `Event<V, K>`"
)]
pub trait EventArg: Send + 'static {
    /// Type of the value.
    type Value: Data;
    /// Type of the key.
    type Key: Data;

    /// Converts the event into the argument.
    fn from_event(event: Event<Self::Value, Self::Key>) -> Self;
}

impl<V: Data> EventArg for V {
    type Value = V;
    type Key = crate::message::RawKey;

    fn from_event(event: Event<V>) -> Self {
        event.into_value()
    }
}

impl<V: Data, K: Data> EventArg for Event<V, K> {
    type Value = V;
    type Key = K;

    fn from_event(event: Event<V, K>) -> Self {
        event
    }
}

/// Runs a per-event agent whose return values are discarded.
#[doc(hidden)]
pub fn per_event<A, F, Fut, T, E>(cx: &mut AgentCx<'_>, spec: &'static ArgSpec, f: F) -> Result<AgentFuture, Error>
where
    A: EventArg,
    F: Fn(A) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Send,
    E: Into<BoxError>,
{
    let mut stream: Stream<A::Value, A::Key> = arg(cx, spec)?;
    Ok(Box::pin(async move {
        while let Some(event) = stream.next_event().await {
            f(A::from_event(event)).await.map_err(Into::into)?;
        }
        Ok(())
    }))
}

/// Runs a per-event agent and sends each return value to its sinks, with the key, timestamp and headers of its event.
#[doc(hidden)]
pub fn per_event_to_sinks<A, F, Fut, T, E>(
    cx: &mut AgentCx<'_>,
    spec: &'static ArgSpec,
    f: F,
) -> Result<AgentFuture, Error>
where
    A: EventArg,
    A::Key: Clone,
    F: Fn(A) -> Fut + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Data,
    E: Into<BoxError>,
{
    let mut stream: Stream<A::Value, A::Key> = arg(cx, spec)?;
    let sinks = cx.sinks.to_vec();
    let sinks = sinks.iter().map(|name| Topic::<A::Key, T>::open(cx, name)).collect::<Result<Vec<_>, _>>()?;
    Ok(Box::pin(async move {
        while let Some(event) = stream.next_event().await {
            let (key, timestamp, headers) = (event.key().clone(), event.timestamp(), event.headers().clone());
            let value = f(A::from_event(event)).await.map_err(Into::into)?;
            for sink in &sinks {
                sink.send_with(&key, &value, |m| m.timestamp(timestamp).headers(headers.clone())).await?;
            }
        }
        Ok(())
    }))
}
