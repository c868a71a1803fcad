//! An agent as its annotation and signature together say it is; every rule is checked here.

use proc_macro2::Span;
use syn::{Expr, Ident, LitStr, Path, ReturnType, Type};

use super::parse::AgentOptions;
use crate::argument::{Argument, Injected};
use crate::docs::first_paragraph;
use crate::fault::Faults;
use crate::function::{AnnotatedFn, Kind, ident_text};
use crate::types::last_name;

/// A validated agent; where something was wrong it holds what is left, and expands to no more than its handle.
pub(super) struct Agent {
    pub(super) facade: Path,
    pub(super) ident: Ident,
    pub(super) name: String,
    pub(super) help: String,
    pub(super) topics: Vec<Expr>,
    pub(super) sinks: Vec<Expr>,
    pub(super) key_codec: Option<LitStr>,
    pub(super) value_codec: Option<LitStr>,
    pub(super) arguments: Vec<Injected>,
    pub(super) form: Form,
    pub(super) output: Output,
}

/// How an agent gets its events.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// It pulls them from the stream that is this argument.
    Stream(usize),
    /// It is called with each, as this argument.
    PerEvent(usize),
}

impl Form {
    /// The argument that the events come in by.
    pub(super) fn source(self) -> usize {
        match self {
            Form::Stream(at) | Form::PerEvent(at) => at,
        }
    }
}

/// What the function returns, as far as its tokens say.
pub(super) struct Output {
    pub(super) span: Span,
    pub(super) kind: OutputKind,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum OutputKind {
    Unit,
    Result,
    /// A bare value, which only a sink can take.
    Value,
}

impl Agent {
    /// Judges the whole and notes everything that is wrong with it.
    pub(super) fn new(
        function: &AnnotatedFn,
        arguments: Vec<Argument>,
        options: AgentOptions,
        faults: &mut Faults,
    ) -> Self {
        let ident = function.sig.ident.clone();
        function.check_signature(Kind::Agent, faults);
        arguments.iter().for_each(|argument| argument.check(Kind::Agent, faults));
        // A method's arguments are not judged: it has to become a function first.
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
            key_codec: options.key_codec,
            value_codec: options.value_codec,
            arguments: arguments.into_iter().enumerate().map(|(at, argument)| Injected::new(at, argument)).collect(),
            ident,
            form,
            output,
        }
    }
}

/// The stream if there is one, else the first argument that nothing else claims.
fn source(agent: &Ident, arguments: &[Argument], faults: &mut Faults) -> Option<Form> {
    let mut streams = arguments.iter().enumerate().filter(|(_, argument)| argument.is("Stream"));
    if let Some((at, _)) = streams.next() {
        for (_, second) in streams {
            let text = "an agent reads one stream; for several topics write `topics = [..]`, or make two agents";
            faults.add(&second.ty, text);
        }
        return Some(Form::Stream(at));
    }
    let event = arguments.iter().position(|argument| !argument.is_declared());
    if event.is_none() {
        faults.add(
            agent,
            format_args!("agent `{agent}` reads nothing: take `Stream<T>`, or the event itself, as an argument"),
        );
    }
    event.map(Form::PerEvent)
}

fn output(function: &AnnotatedFn) -> Output {
    let kind = match &function.sig.output {
        ReturnType::Default => OutputKind::Unit,
        ReturnType::Type(_, ty) => match &**ty {
            Type::Tuple(tuple) if tuple.elems.is_empty() => OutputKind::Unit,
            // An alias of `Result` is taken for one by its name.
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
            let text = "a sink takes what an agent returns for one event; with a `Stream`, send to an argument `#[topic(\"..\")] out: Topic<K, V>`";
            faults.add(option, text);
        }
        (Form::PerEvent(_), Some(option), OutputKind::Unit) => {
            faults.add(
                option,
                format_args!(
                    "agent `{agent}` returns nothing that could go to a sink; return a value or `Result` of one"
                ),
            );
        }
        (Form::PerEvent(_), None, OutputKind::Value) => {
            let ReturnType::Type(_, ty) = written else { return };
            faults.add(ty, format_args!("what agent `{agent}` returns goes nowhere; name a topic with `sink = \"..\"`, or return `()` or `Result<()>`"));
        }
        _ => {}
    }
}
