//! Topics as annotations name them: the rules of Kafka for names, and the options of `#[topic]`.

use proc_macro2::{Span, TokenStream, TokenTree};
use quote::quote;
use syn::spanned::Spanned;
use syn::{Attribute, Expr, ExprLit, Ident, Lit, LitStr, Meta};

use crate::duration::millis;
use crate::fault::Faults;
use crate::options::{Grammar, Leading, Options, literal};

/// `#[topic("a.b", ..)]` on an argument, validated.
pub(crate) struct TopicDecl {
    name: Expr,
    partitions: Option<i32>,
    replication: Option<i16>,
    retention_ms: Option<i64>,
    compacting: bool,
    key_codec: Option<LitStr>,
    value_codec: Option<LitStr>,
}

static GRAMMAR: Grammar = Grammar {
    attribute: "`#[topic]`",
    known: &["partitions", "replication", "retention", "compacting", "key_codec", "value_codec"],
    lists: &[],
    leading: Leading::Taken,
};

impl TopicDecl {
    /// Reads the attribute; `None` after noting that it names no topic.
    pub(crate) fn parse(attribute: &Attribute, faults: &mut Faults) -> Option<Self> {
        let tokens = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            _ => TokenStream::new(),
        };
        let mut options = Options::parse(&GRAMMAR, tokens, faults);
        let partitions = number(&mut options, "partitions", faults).and_then(|n| i32::try_from(n).ok());
        let replication = number(&mut options, "replication", faults).and_then(|n| i16::try_from(n).ok());
        let retention_ms = retention(&mut options, faults);
        let compacting = options.flag("compacting", faults);
        let key_codec = codec(&mut options, "key_codec", faults);
        let value_codec = codec(&mut options, "value_codec", faults);
        let Some(name) = options.leading() else {
            faults.add(attribute, "`#[topic]` needs the topic's name first: `#[topic(\"clicks\")]`");
            return None;
        };
        let name = topic_name(name, "#[topic(\"clicks\")]", faults)?;
        Some(Self { name, partitions, replication, retention_ms, compacting, key_codec, value_codec })
    }

    /// The declaration as an expression that is constant.
    pub(crate) fn to_tokens(&self, private: &TokenStream) -> TokenStream {
        let Self { name, .. } = self;
        let partitions = option(&self.partitions);
        let replication = option(&self.replication);
        let retention_ms = option(&self.retention_ms);
        let compacting = option(&self.compacting.then_some(true));
        let key_codec = option(&self.key_codec);
        let value_codec = option(&self.value_codec);
        quote! {
            #private::TopicDecl {
                name: #name,
                partitions: #partitions,
                replication: #replication,
                retention_ms: #retention_ms,
                compacting: #compacting,
                key_codec: #key_codec,
                value_codec: #value_codec,
            }
        }
    }
}

/// `Some(value)` or `None`, spelt so that nothing the user names can get in its way.
pub(crate) fn option(value: &Option<impl quote::ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// A chain of codecs; which names there are is known only when the app is built.
pub(crate) fn codec(options: &mut Options, name: &str, faults: &mut Faults) -> Option<LitStr> {
    options.text(name, "\"binary|json\"", faults)
}

/// A topic's name: a literal that Kafka would accept, or the path of a constant.
pub(crate) fn topic_name(name: Expr, example: &str, faults: &mut Faults) -> Option<Expr> {
    match (&name, literal(&name)) {
        (_, Some(text)) => match fault_in_name("topic", &text.value()) {
            Some(fault) => {
                faults.add(text, fault);
                None
            }
            None => Some(name),
        },
        (Expr::Path(_), None) => Some(name),
        _ => {
            faults.add(name, format_args!("a topic is named by a string literal or a constant: `{example}`"));
            None
        }
    }
}

/// What keeps `name`, that of a `noun`, from being or joining a topic's.
pub(crate) fn fault_in_name(noun: &str, name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Some(format!("the {noun}'s name is empty; write one like `com.example.clicks`"))
    } else if let Some(c) = name.chars().find(|c| !legal(*c)) {
        Some(format!("{noun} `{name}` contains {c:?}; Kafka takes letters, digits, `.`, `_` and `-`"))
    } else if name.len() > 249 {
        Some(format!("a {noun}'s name of {} characters is too long; Kafka takes 249", name.len()))
    } else if matches!(name, "." | "..") {
        Some(format!("a {noun} cannot be named `{name}`; write a name like `com.example.clicks`"))
    } else {
        None
    }
}

/// A whole number above zero that fits Kafka's field.
fn number(options: &mut Options, name: &str, faults: &mut Faults) -> Option<i64> {
    let limit = if name == "replication" { i64::from(i16::MAX) } else { i64::from(i32::MAX) };
    let (_, value) = options.value(name, "3", faults)?;
    let number = match &value {
        Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse().ok(),
        _ => None,
    };
    let number = number.filter(|n| (1..=limit).contains(n));
    if number.is_none() {
        faults.add(value, format_args!("`{name}` must be a whole number from 1 to {limit}: `{name} = 3`"));
    }
    number
}

fn retention(options: &mut Options, faults: &mut Faults) -> Option<i64> {
    let text = options.text("retention", "\"7d\"", faults)?;
    millis(&text, faults)
}

/// Where generated code that belongs to `place` says it is, while it resolves names as the macro does.
pub(crate) fn located(place: &impl Spanned) -> Span {
    Span::call_site().located_at(place.span())
}

/// A name of ours in generated code about what is at `span`: hygiene hides it from the user's locals, the underscores
/// from a unit struct of the user's, which a pattern would match.
pub(crate) fn local(name: &str, span: Span) -> Ident {
    Ident::new(&format!("__{name}"), Span::mixed_site().located_at(span))
}

/// Tokens that came from elsewhere, put where `span` is: an error underlines from its first token to its last.
pub(crate) fn placed(tokens: &TokenStream, span: Span) -> TokenStream {
    let placed = |mut token: TokenTree| {
        token.set_span(span);
        token
    };
    tokens.clone().into_iter().map(placed).collect()
}

#[cfg(test)]
mod tests {
    use syn::parse_quote;

    use super::*;

    fn check(attribute: Attribute, expected: &str) {
        let mut faults = Faults::default();
        let decl = TopicDecl::parse(&attribute, &mut faults);
        let text = faults.emit().to_string();
        assert!(text.contains(expected) && (decl.is_none() || text.is_empty() == expected.is_empty()), "{text}");
    }

    #[test]
    fn names_are_those_that_kafka_accepts() {
        check(parse_quote!(#[topic("com.example.clicks_2-x")]), "");
        check(parse_quote!(#[topic(CLICKS)]), "");
        check(parse_quote!(#[topic(names::CLICKS, compacting)]), "");
        check(parse_quote!(#[topic("clicks per page")]), "contains ' '; Kafka takes letters");
        check(parse_quote!(#[topic("")]), "the topic's name is empty");
        check(parse_quote!(#[topic("..")]), "a topic cannot be named `..`");
        check(parse_quote!(#[topic]), "needs the topic's name first");
        check(parse_quote!(#[topic(3)]), "named by a string literal or a constant");
    }

    #[test]
    fn options_are_checked_where_they_stand() {
        check(parse_quote!(#[topic("a", partitions = 3, replication = 1, retention = "7d", key_codec = "json")]), "");
        check(parse_quote!(#[topic("a", partitions = 0)]), "`partitions` must be a whole number from 1");
        check(parse_quote!(#[topic("a", replication = 40000)]), "from 1 to 32767");
        check(parse_quote!(#[topic("a", retention = "1month")]), "`1month` is no duration");
        check(parse_quote!(#[topic("a", retention = 7)]), "`retention` must be a string literal");
    }
}
