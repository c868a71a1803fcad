//! An agent as its annotation and signature together say it is; every rule is checked here.

use proc_macro2::Span;
use quote::ToTokens;
use syn::{Expr, Ident, LitStr, Path, ReturnType, Type};

use super::parse::{AgentFn, AgentOptions, Argument};
use crate::docs::first_paragraph;
use crate::fault::Faults;
use crate::topic::{TopicDecl, located};

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
    pub(super) arguments: Vec<ModelArgument>,
    pub(super) form: Form,
    pub(super) output: Output,
}

/// An argument, and where errors about it belong.
pub(super) struct ModelArgument {
    pub(super) name: String,
    pub(super) topic: Option<TopicDecl>,
    pub(super) span: Span,
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
        function: &AgentFn,
        arguments: Vec<Argument>,
        options: AgentOptions,
        faults: &mut Faults,
    ) -> Self {
        let ident = function.sig.ident.clone();
        check_signature(function, faults);
        arguments.iter().for_each(|argument| check_argument(argument, faults));
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
            arguments: arguments.into_iter().enumerate().map(|(at, argument)| model_argument(at, argument)).collect(),
            ident,
            form,
            output,
        }
    }
}

fn model_argument(at: usize, argument: Argument) -> ModelArgument {
    ModelArgument {
        name: argument.name.as_ref().map_or_else(|| format!("argument{}", at + 1), ident_text),
        span: type_span(&argument.ty),
        topic: argument.topic.flatten(),
    }
}

fn ident_text(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn check_signature(function: &AgentFn, faults: &mut Faults) {
    let sig = &function.sig;
    let name = &sig.ident;
    if sig.asyncness.is_none() {
        faults.add(sig.fn_token, format_args!("agent `{name}` must be an `async fn`"));
    }
    if let Some(constness) = &sig.constness {
        faults.add(constness, format_args!("agent `{name}` cannot be `const`; remove it"));
    }
    if let Some(abi) = &sig.abi {
        faults.add(abi, format_args!("agent `{name}` cannot be `extern`; remove it"));
    }
    if !matches!(sig.safety, syn::Safety::Default) {
        faults.add(&sig.safety, format_args!("agent `{name}` cannot be `unsafe`: the framework calls it; remove it"));
    }
    if !sig.generics.params.is_empty() {
        let text = format_args!("agent `{name}` cannot be generic: it is registered once; write its types out");
        faults.add(&sig.generics, text);
    }
}

fn check_argument(argument: &Argument, faults: &mut Faults) {
    let name = argument.name.as_ref().map_or_else(|| "_".to_owned(), ident_text);
    match &argument.ty {
        Type::Reference(reference) => {
            let owned = reference.elem.to_token_stream();
            faults.add(
                reference,
                format_args!(
                    "argument `{name}` must be owned, as the agent outlives the call: take `{owned}` by value"
                ),
            );
        }
        Type::ImplTrait(ty) => {
            faults.add(ty, format_args!("argument `{name}` needs a type of its own; write it out instead of `impl`"));
        }
        ty if argument.topic.is_none() && last_name(ty).is_some_and(|name| name == "Topic") => {
            faults.add(
                ty,
                format_args!("argument `{name}` does not say which topic it is: `#[topic(\"..\")] {name}: Topic<..>`"),
            );
        }
        ty if argument.topic.is_some() && last_name(ty).is_some_and(|name| name == "Stream") => {
            faults.add(
                ty,
                format_args!(
                    "`#[topic]` is for outputs; the stream `{name}` gets its topic from `#[agent(topic = \"..\")]`"
                ),
            );
        }
        _ => {}
    }
}

/// The stream if there is one, else the first argument that nothing else claims.
fn source(agent: &Ident, arguments: &[Argument], faults: &mut Faults) -> Option<Form> {
    let is_stream = |argument: &Argument| last_name(&argument.ty).is_some_and(|name| name == "Stream");
    let mut streams = arguments.iter().enumerate().filter(|(_, argument)| is_stream(argument));
    if let Some((at, _)) = streams.next() {
        for (_, second) in streams {
            let text = "an agent reads one stream; for several topics write `topics = [..]`, or make two agents";
            faults.add(&second.ty, text);
        }
        return Some(Form::Stream(at));
    }
    let event = arguments.iter().position(|argument| argument.topic.is_none());
    if event.is_none() {
        faults.add(
            agent,
            format_args!("agent `{agent}` reads nothing: take `Stream<T>`, or the event itself, as an argument"),
        );
    }
    event.map(Form::PerEvent)
}

fn output(function: &AgentFn) -> Output {
    match &function.sig.output {
        ReturnType::Default => Output { span: located(&function.sig.ident), kind: OutputKind::Unit },
        ReturnType::Type(_, ty) => {
            let kind = match &**ty {
                Type::Tuple(tuple) if tuple.elems.is_empty() => OutputKind::Unit,
                // An alias of `Result` is taken for one by its name.
                ty if last_name(ty).is_some_and(|name| name.to_string().ends_with("Result")) => OutputKind::Result,
                _ => OutputKind::Value,
            };
            Output { span: type_span(ty), kind }
        }
    }
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

/// Where a type is underlined: at its own name, as of a path the compiler would take the first part.
fn type_span(ty: &Type) -> Span {
    last_name(ty).map_or_else(|| located(ty), located)
}

/// `Stream` of `faust::Stream<Click>`.
fn last_name(ty: &Type) -> Option<&Ident> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| &segment.ident),
        Type::Paren(inner) => last_name(&inner.elem),
        Type::Group(inner) => last_name(&inner.elem),
        _ => None,
    }
}
