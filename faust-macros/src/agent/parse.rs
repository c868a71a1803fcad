//! What stands in the annotation and in the signature, taken apart but not judged as a whole.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Expr, FnArg, Ident, LitStr, Pat, Path, Signature, Type, Visibility};

use crate::fault::Faults;
use crate::options::{Grammar, Leading, Options};
use crate::topic::{TopicDecl, codec, topic_name};

/// The annotated function. Its body stays tokens: one that is half typed must not break the macro.
pub(super) struct AgentFn {
    pub(super) attrs: Vec<Attribute>,
    pub(super) vis: Visibility,
    pub(super) sig: Signature,
    body: TokenStream,
}

impl Parse for AgentFn {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl ToTokens for AgentFn {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}

/// One argument as it is written.
pub(super) struct Argument {
    /// The binding; the table, later, of that name.
    pub(super) name: Option<Ident>,
    pub(super) ty: Type,
    /// `None` without `#[topic]`; `Some(None)` if that is faulty, which was noted.
    pub(super) topic: Option<Option<TopicDecl>>,
}

/// Reads the arguments and removes our attributes from them, which rustc would not know.
pub(super) fn take_arguments(sig: &mut Signature, faults: &mut Faults) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for input in &mut sig.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                faults.add(receiver, "an agent is a free function, it has no `self`; move it out of the `impl`");
            }
            FnArg::Typed(typed) => {
                let topic = take_topic(&mut typed.attrs, faults);
                let name = match &*typed.pat {
                    Pat::Ident(binding) => Some(binding.ident.clone()),
                    _ => None,
                };
                arguments.push(Argument { name, ty: (*typed.ty).clone(), topic });
            }
        }
    }
    arguments
}

fn take_topic(attributes: &mut Vec<Attribute>, faults: &mut Faults) -> Option<Option<TopicDecl>> {
    let mut topic = None;
    attributes.retain(|attribute| {
        let path = attribute.path();
        if path.is_ident("topic") {
            if topic.is_some() {
                faults.add(attribute, "an argument is one topic; remove the second `#[topic]`");
            } else {
                topic = Some(TopicDecl::parse(attribute, faults));
            }
            return false;
        }
        // Only these are the compiler's own on an argument.
        let is_rust =
            ["cfg", "cfg_attr", "allow", "expect", "warn", "deny", "forbid"].iter().any(|known| path.is_ident(known));
        if !is_rust {
            let name = path.to_token_stream().to_string();
            faults.add(
                path,
                format_args!("`#[{name}]` is not an attribute of an agent's argument; there is `#[topic(\"..\")]`"),
            );
        }
        is_rust
    });
    topic
}

/// What the attribute said.
pub(super) struct AgentOptions {
    pub(super) facade: Path,
    pub(super) name: Option<LitStr>,
    pub(super) topics: Vec<Expr>,
    pub(super) sinks: Vec<Expr>,
    /// The option that named the sinks, to point at.
    pub(super) sink_option: Option<Ident>,
    pub(super) key_codec: Option<LitStr>,
    pub(super) value_codec: Option<LitStr>,
}

static GRAMMAR: Grammar = Grammar {
    attribute: "`#[agent]`",
    known: &["topic", "topics", "name", "sink", "sinks", "key_codec", "value_codec", "crate"],
    leading: Leading::Refused("topic = \"clicks\""),
};

pub(super) fn options(tokens: TokenStream, faults: &mut Faults) -> AgentOptions {
    let mut options = Options::parse(&GRAMMAR, tokens, faults);
    let facade = options.facade(faults);
    let name = options.text("name", "\"clicks\"", faults);
    let key_codec = codec(&mut options, "key_codec", faults);
    let value_codec = codec(&mut options, "value_codec", faults);
    let (_, topics) = one_or_list(&mut options, ["topic", "topics"], faults);
    let (sink_option, sinks) = one_or_list(&mut options, ["sink", "sinks"], faults);
    AgentOptions { facade, name, topics, sinks, sink_option, key_codec, value_codec }
}

/// `topic = "a"` or `topics = ["a", "b"]`.
fn one_or_list(options: &mut Options, [one, list]: [&str; 2], faults: &mut Faults) -> (Option<Ident>, Vec<Expr>) {
    let single = options.value(one, "\"clicks\"", faults);
    let several = options.value(list, "[\"clicks\", \"views\"]", faults);
    if let (Some(_), Some((option, _))) = (&single, &several) {
        faults.add(option, format_args!("`{one}` and `{list}` are both given; put all names into `{list} = [..]`"));
        return (None, Vec::new());
    }
    match (single, several) {
        (Some((option, Expr::Array(value))), _) => {
            faults.add(value, format_args!("`{one}` takes one name; for several write `{list} = [..]`"));
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
            faults.add(name, "this topic is listed twice; keep one");
        }
    }
}
