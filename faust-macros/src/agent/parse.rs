//! The options of `#[agent(..)]`, each parsed and checked on its own.

use proc_macro2::{Span, TokenStream};
use syn::{Expr, Ident, LitStr, Path};

use crate::fault::Faults;
use crate::options::{Grammar, Leading, Options};
use crate::topic::{codec, topic_name};

/// The options of the attribute.
pub(super) struct AgentOptions {
    pub(super) facade: Path,
    pub(super) name: Option<LitStr>,
    pub(super) topics: Vec<Expr>,
    pub(super) sinks: Vec<Expr>,
    /// The name of the option that lists the sinks, as the location of errors.
    pub(super) sink_option: Option<Ident>,
    /// The variant of `FailurePolicy`.
    pub(super) on_failure: Option<Ident>,
    pub(super) key_codec: Option<LitStr>,
    pub(super) value_codec: Option<LitStr>,
}

static GRAMMAR: Grammar = Grammar {
    attribute: "`#[agent]`",
    known: &["topic", "topics", "name", "sink", "sinks", "on_failure", "key_codec", "value_codec", "crate"],
    lists: &[],
    leading: Leading::Refused("topic = \"clicks\""),
};

/// Parses the options of the attribute.
pub(super) fn options(tokens: TokenStream, faults: &mut Faults) -> AgentOptions {
    let mut options = Options::parse(&GRAMMAR, tokens, faults);
    let facade = options.facade(faults);
    let name = options.text("name", "\"clicks\"", faults);
    let key_codec = codec(&mut options, "key_codec", faults);
    let value_codec = codec(&mut options, "value_codec", faults);
    let (_, topics) = one_or_list(&mut options, ["topic", "topics"], faults);
    let (sink_option, sinks) = one_or_list(&mut options, ["sink", "sinks"], faults);
    let on_failure = failure_policy(&mut options, faults);
    AgentOptions { facade, name, topics, sinks, sink_option, on_failure, key_codec, value_codec }
}

/// The values of `on_failure`, each with its variant of `FailurePolicy`.
const POLICIES: [(&str, &str); 4] =
    [("retry", "Retry"), ("stop", "Stop"), ("dead_letter", "DeadLetter"), ("skip", "Skip")];

/// Takes the policy for failures, and returns its variant.
fn failure_policy(options: &mut Options, faults: &mut Faults) -> Option<Ident> {
    let text = options.text("on_failure", "\"dead_letter\"", faults)?;
    let found = POLICIES.iter().find(|(name, _)| *name == text.value());
    if found.is_none() {
        let known = POLICIES.map(|(name, _)| format!("`{name}`")).join(", ");
        faults.add(&text, format_args!("`on_failure` is one of {known}"));
    }
    found.map(|(_, variant)| Ident::new(variant, Span::call_site()))
}

/// Takes the names of an option with a singular and a plural form: `topic = "a"` or `topics = ["a", "b"]`.
fn one_or_list(options: &mut Options, [one, list]: [&str; 2], faults: &mut Faults) -> (Option<Ident>, Vec<Expr>) {
    let single = options.value(one, "\"clicks\"", faults);
    let several = options.value(list, "[\"clicks\", \"views\"]", faults);
    if let (Some(_), Some((option, _))) = (&single, &several) {
        faults.add(option, format_args!("`{one}` and `{list}` cannot be combined; list all names in `{list} = [..]`"));
        return (None, Vec::new());
    }
    match (single, several) {
        (Some((option, Expr::Array(value))), _) => {
            faults.add(value, format_args!("`{one}` takes one name; for several names write `{list} = [..]`"));
            (Some(option), Vec::new())
        }
        (Some((option, value)), _) => {
            let example = format!("{one} = \"clicks\"");
            (Some(option), topic_name(value, &example, faults).into_iter().collect())
        }
        (None, Some((option, Expr::Array(array)))) => {
            if array.elems.is_empty() {
                faults.add(&array, format_args!("`{list}` is empty; name at least one topic"));
            }
            let example = format!("{list} = [\"clicks\", \"views\"]");
            let names: Vec<Expr> =
                array.elems.into_iter().filter_map(|name| topic_name(name, &example, faults)).collect();
            refuse_repeated(&names, faults);
            (Some(option), names)
        }
        (None, Some((option, value))) => {
            faults.add(value, format_args!("`{list}` takes a list: `{list} = [\"clicks\", \"views\"]`"));
            (Some(option), Vec::new())
        }
        (None, None) => (None, Vec::new()),
    }
}

fn refuse_repeated(names: &[Expr], faults: &mut Faults) {
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            faults.add(name, "this topic is listed twice; remove one");
        }
    }
}
