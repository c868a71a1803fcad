//! The validated model of an agent, built from its annotation and its signature. All rules are checked here.

use proc_macro2::Span;
use syn::{Expr, Ident, LitStr, Path, ReturnType, Type};

use super::parse::AgentOptions;
use crate::argument::{Argument, Injected};
use crate::docs::first_paragraph;
use crate::fault::Faults;
use crate::function::{AnnotatedFn, Kind, ident_text};
use crate::types::last_name;

/// A validated agent. After an error it contains only the valid parts, and only its handle is expanded.
pub(super) struct Agent {
    pub(super) facade: Path,
    pub(super) ident: Ident,
    pub(super) name: String,
    pub(super) help: String,
    pub(super) topics: Vec<Expr>,
    pub(super) sinks: Vec<Expr>,
    /// The variant of `FailurePolicy`.
    pub(super) on_failure: Option<Ident>,
    pub(super) key_codec: Option<LitStr>,
    pub(super) value_codec: Option<LitStr>,
    pub(super) arguments: Vec<Injected>,
    pub(super) form: Form,
    pub(super) output: Output,
}

/// The way an agent receives its events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// The agent pulls events from a stream, the argument at this position.
    Stream(usize),
    /// The agent is called once per event, passed as the argument at this position.
    PerEvent(usize),
}

impl Form {
    /// Returns the position of the argument that provides the events.
    pub(super) fn source(self) -> usize {
        match self {
            Form::Stream(at) | Form::PerEvent(at) => at,
        }
    }
}

/// The return type of the function, as far as the tokens show it.
pub(super) struct Output {
    pub(super) span: Span,
    pub(super) kind: OutputKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputKind {
    Unit,
    Result,
    /// A plain value, which requires a sink.
    Value,
}

impl Agent {
    /// Validates the agent and reports all errors.
    pub(super) fn new(
        function: &AnnotatedFn,
        arguments: Vec<Argument>,
        options: AgentOptions,
        faults: &mut Faults,
    ) -> Self {
        let ident = function.sig.ident.clone();
        function.check_signature(Kind::Agent, faults);
        arguments.iter().for_each(|argument| argument.check(Kind::Agent, faults));
        // The arguments of a method are not checked: it has to be turned into a function first.
        let is_method = function.sig.receiver().is_some();
        let source = if is_method { None } else { source(&ident, &arguments, faults) };
        let form = source.unwrap_or(Form::Stream(0));
        let output = output(function);
        if source.is_some() {
            check_sinks(&ident, form, &output, &options, &function.sig.output, faults);
        }
        Self {
            name: options.name.map_or_else(|| ident_text(&ident), |name| name.value()),
            help: first_paragraph(&function.attrs),
            facade: options.facade,
            topics: options.topics,
            sinks: options.sinks,
            on_failure: options.on_failure,
            key_codec: options.key_codec,
            value_codec: options.value_codec,
            arguments: arguments.into_iter().enumerate().map(|(at, argument)| Injected::new(at, argument)).collect(),
            ident,
            form,
            output,
        }
    }
}

/// Returns the stream argument, or else the first argument that is neither a topic nor a table.
fn source(agent: &Ident, arguments: &[Argument], faults: &mut Faults) -> Option<Form> {
    let mut streams = arguments.iter().enumerate().filter(|(_, argument)| argument.is("Stream"));
    if let Some((at, _)) = streams.next() {
        for (_, second) in streams {
            let text = "an agent takes one `Stream`; to read several topics, write `topics = [..]` or use two agents";
            faults.add(&second.ty, text);
        }
        return Some(Form::Stream(at));
    }
    let event = arguments.iter().position(|argument| !argument.is_declared());
    if event.is_none() {
        faults.add(
            agent,
            format_args!(
                "agent `{agent}` has no source: add an argument of type `Stream<T>`, or one for the event itself"
            ),
        );
    }
    event.map(Form::PerEvent)
}

fn output(function: &AnnotatedFn) -> Output {
    let kind = match &function.sig.output {
        ReturnType::Default => OutputKind::Unit,
        ReturnType::Type(_, ty) => match &**ty {
            Type::Tuple(tuple) if tuple.elems.is_empty() => OutputKind::Unit,
            // An alias of `Result` is recognized by the suffix of its name.
            ty if last_name(ty).is_some_and(|name| name.to_string().ends_with("Result")) => OutputKind::Result,
            _ => OutputKind::Value,
        },
    };
    Output { span: function.returned(), kind }
}

fn check_sinks(
    agent: &Ident,
    form: Form,
    output: &Output,
    options: &AgentOptions,
    written: &ReturnType,
    faults: &mut Faults,
) {
    match (form, &options.sink_option, output.kind) {
        (Form::Stream(_), Some(option), _) => {
            let text = "a sink requires an agent that returns a value for each event; with a `Stream`, send to an argument `#[topic(\"..\")] out: Topic<K, V>`";
            faults.add(option, text);
        }
        (Form::PerEvent(_), Some(option), OutputKind::Unit) => {
            faults.add(
                option,
                format_args!("agent `{agent}` has a sink but returns no value; return a value or a `Result` of one"),
            );
        }
        (Form::PerEvent(_), None, OutputKind::Value) => {
            let ReturnType::Type(_, ty) = written else { return };
            faults.add(ty, format_args!("the value returned by agent `{agent}` has no destination; name a topic with `sink = \"..\"`, or return `()` or `Result<()>`"));
        }
        _ => {}
    }
}
