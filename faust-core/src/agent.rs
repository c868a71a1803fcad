//! What an agent is to the engine: a definition made by `#[agent]`, and the arguments it asks for.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use crate::codec::Data;
use crate::error::{BoxError, Error};
use crate::stage::running::LiveStage;
use crate::stage::recorder::Sketch;
use crate::stream::{Event, Stream};
use crate::topic::Topic;
use crate::declare::ArgSpec;
use crate::stage::context::AgentCx;
use crate::stage::future::AgentFuture;
use crate::stage::context::arg;

/// Everything `#[agent]` knows at compile time: plain data and one function pointer.
#[derive(Clone, Copy, Debug)]
pub struct AgentDef {
    /// Unique in an app; the function's name unless `name = ".."` was given.
    pub name: &'static str,
    /// The topics its stream reads.
    pub topics: &'static [&'static str],
    /// The topics that the values it returns go to.
    pub sinks: &'static [&'static str],
    /// The first paragraph of its doc comment.
    pub help: &'static str,
    /// Where it is defined, for [`AppBuilder::discover_in`](crate::app::AppBuilder::discover_in).
    pub module: &'static str,
    /// The source file, for error messages.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// Makes the arguments and calls the function.
    pub start: fn(&mut AgentCx<'_>) -> Result<AgentFuture, Error>,
}

inventory::collect!(AgentDef);

/// The type that `#[agent]` makes beside the function, under the same name: how to register it by hand.
pub trait AgentHandle {
    /// The definition.
    const DEF: AgentDef;
}

/// What an agent or a hook may return.
#[diagnostic::on_unimplemented(
    message = "agents and hooks cannot return `{Self}`",
    note = "return `()` or `Result<(), E>`, where `E` is any error that `?` can turn into a boxed one"
)]
pub trait AgentOutput {
    /// Success or failure.
    fn into_result(self) -> Result<(), BoxError>;
}

impl AgentOutput for () {
    fn into_result(self) -> Result<(), BoxError> {
        Ok(())
    }
}

impl<E: Into<BoxError>> AgentOutput for Result<(), E> {
    fn into_result(self) -> Result<(), BoxError> {
        self.map_err(Into::into)
    }
}

/// Turns what the agent returned into success or failure.
#[doc(hidden)]
pub fn output<R: AgentOutput>(returned: R) -> Result<(), BoxError> {
    returned.into_result()
}

/// What the first argument of a per-event agent may be: a message's value, or its [`Event`].
#[diagnostic::on_unimplemented(
    message = "a per-event agent cannot take `{Self}` as its event",
    note = "take a record, any other type serde can read, or `Event<V, K>`"
)]
pub trait EventArg: Send + 'static {
    /// The value's type.
    type Value: Data;
    /// The key's type.
    type Key: Data;

    /// Takes out of the event what the agent asked for.
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

/// Runs a per-event agent whose values go nowhere.
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

/// Runs a per-event agent and sends each value to its sinks, under the key and time of the event it came from.
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
