//! Hooks: user functions that a windowed table calls when a window closes or an event is late.

use std::sync::Arc;

use super::context::{AgentCx, StageMode};
use super::future::AgentFuture;
use super::hook_call::{HookCall, HookFn, HookKind, LateEvent};
use crate::codec::{Data, EntryCoder, Role};
use crate::error::{BoxError, Error};
use crate::window::Window;

/// The definition that `#[window_close]` and `#[window_late]` generate at compile time: plain data and one function
/// pointer.
#[derive(Clone, Copy, Debug)]
pub struct HookDef {
    /// Kind of the hook.
    pub kind: HookKind,
    /// Name of the windowed table that calls it.
    pub table: &'static str,
    /// Name of the function.
    pub name: &'static str,
    /// First paragraph of its doc comment.
    pub help: &'static str,
    /// Module that defines it, for [`AppBuilder::discover_in`](crate::app::AppBuilder::discover_in).
    pub module: &'static str,
    /// Source file, for error messages.
    pub file: &'static str,
    /// Line in the source file.
    pub line: u32,
    /// Builds the injected arguments once, and returns the function that is called for each window or event.
    pub start: fn(&mut AgentCx<'_>) -> Result<HookFn, Error>,
}

inventory::collect!(HookDef);

/// The type that `#[window_close]` and `#[window_late]` generate beside the function, under the same name. It is used
/// to register the hook explicitly.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a hook",
    label = "not a hook",
    note = "name an async function that is annotated with `#[window_close(table = \"..\")]` or `#[window_late(table = \"..\")]`"
)]
pub trait HookHandle {
    /// The definition.
    const DEF: HookDef;
}

/// A function that decodes a key or value of the table.
pub type HookPart<T> = Box<dyn Fn(&[u8]) -> Result<T, BoxError> + Send + Sync>;

/// Returns the decoder of a hook's key. The macro calls it with the span of the argument's type.
#[doc(hidden)]
pub fn hook_key<K: Data>(cx: &mut AgentCx<'_>, table: &'static str) -> Result<HookPart<K>, Error> {
    part(cx, table, Role::Key)
}

/// Returns the decoder of a hook's value. The macro calls it with the span of the argument's type.
#[doc(hidden)]
pub fn hook_value<V: Data>(cx: &mut AgentCx<'_>, table: &'static str) -> Result<HookPart<V>, Error> {
    part(cx, table, Role::Value)
}

fn part<T: Data>(cx: &AgentCx<'_>, table: &'static str, role: Role) -> Result<HookPart<T>, Error> {
    let half_type = std::any::type_name::<T>();
    let codec = match &cx.mode {
        StageMode::Planning(recorder) => {
            recorder.hook_part(role, half_type);
            None
        }
        StageMode::Live(stage) => stage.tables.state(table).map(|state| match role {
            Role::Key => state.info().key_codec.clone(),
            Role::Value => state.info().value_codec.clone(),
        }),
    };
    let coder = EntryCoder::<T>::resolve(codec.as_deref(), role)
        .map_err(|why| Error::setup(vec![format!("hook `{}` of table `{table}`: {why}", cx.agent)]))?;
    let half = match role {
        Role::Key => "key",
        Role::Value => "value",
    };
    let ty = std::any::type_name::<T>();
    Ok(Box::new(move |bytes| {
        coder.decode(bytes).map_err(|why| {
            format!("cannot read a {half} of table `{table}` as `{ty}`: {why}; use the table's type").into()
        })
    }))
}

/// Wraps the function of `#[window_close]`.
#[doc(hidden)]
pub fn window_close<K: 'static, V: 'static>(
    key: HookPart<K>,
    value: HookPart<V>,
    f: impl Fn(K, Window, V) -> AgentFuture + Send + Sync + 'static,
) -> HookFn {
    Arc::new(move |call| match call {
        HookCall::Close { key: key_bytes, window, value: value_bytes } => {
            match key(&key_bytes).and_then(|key| Ok((key, value(&value_bytes)?))) {
                Ok((key, value)) => f(key, window, value),
                Err(error) => failed(error),
            }
        }
        HookCall::Late { .. } => failed("a hook for closed windows was called for a late event".into()),
    })
}

/// Wraps the function of `#[window_late]`.
#[doc(hidden)]
pub fn window_late<K: 'static>(
    key: HookPart<K>,
    f: impl Fn(K, Window, LateEvent) -> AgentFuture + Send + Sync + 'static,
) -> HookFn {
    Arc::new(move |call| match call {
        HookCall::Late { key: key_bytes, window, event } => match key(&key_bytes) {
            Ok(key) => f(key, window, event),
            Err(error) => failed(error),
        },
        HookCall::Close { .. } => failed("a hook for late events was called for a closed window".into()),
    })
}

fn failed(error: BoxError) -> AgentFuture {
    Box::pin(std::future::ready(Err(error)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.
    use std::sync::Mutex;

    use super::*;
    use crate::stage::context::StageMode;
    use crate::stage::recorder::PlanRecorder;
    use crate::time::Timestamp;

    fn call(hook: &HookFn, call: HookCall) -> Result<(), String> {
        futures_util::FutureExt::now_or_never(hook(call)).unwrap().map_err(|error| error.to_string())
    }

    const WINDOW: Window = Window::new(Timestamp(0), Timestamp(10));

    #[test]
    fn hooks_decode_keys_and_values() {
        let mut cx =
            AgentCx { agent: "closed", sinks: &[], mode: StageMode::Planning(Arc::new(PlanRecorder::default())) };
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = Arc::clone(&seen);
        let key = hook_key::<String>(&mut cx, "sums").unwrap();
        let value = hook_value::<i64>(&mut cx, "sums").unwrap();
        let hook = window_close(key, value, move |key, window, value| {
            note.lock().unwrap().push((key, window, value));
            Box::pin(async { Ok(()) })
        });
        let close = |value: &[u8]| HookCall::Close { key: b"a".into(), window: WINDOW, value: value.into() };
        assert_eq!(call(&hook, close(b"7")), Ok(()));
        assert_eq!(*seen.lock().unwrap(), [("a".to_owned(), WINDOW, 7)]);
        let error = call(&hook, close(b"\"x\"")).unwrap_err();
        assert!(error.contains("a value of table `sums` as `i64`") && error.contains("expected i64"), "{error}");

        let late = window_late(hook_key::<u8>(&mut cx, "sums").unwrap(), |_, _, _| Box::pin(async { Ok(()) }));
        let event = LateEvent::new(Timestamp(1), Timestamp(20));
        let error = call(&late, HookCall::Late { key: b"x".into(), window: WINDOW, event }).unwrap_err();
        assert!(error.contains("a key of table `sums` as `u8`"), "{error}");
        assert!(call(&late, close(b"7")).unwrap_err().contains("for a closed window"));
    }
}
