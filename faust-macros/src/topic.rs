//! Topics in annotations: Kafka's rules for topic names, and the options of `#[topic]`.

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
    /// Parses the attribute. Reports a missing or invalid topic name and returns `None`.
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
            faults.add(attribute, "`#[topic]` requires a topic name as the first argument: `#[topic(\"clicks\")]`");
            return None;
        };
        let name = topic_name(name, "#[topic(\"clicks\")]", faults)?;
        Some(Self { name, partitions, replication, retention_ms, compacting, key_codec, value_codec })
    }

    /// Returns the declaration as a constant expression.
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

/// Returns the tokens of `Some(value)` or `None`, with absolute paths, so that no name in the user's scope can shadow them.
pub(crate) fn option(value: &Option<impl quote::ToTokens>) -> TokenStream {
    match value {
        Some(value) => quote!(::core::option::Option::Some(#value)),
        None => quote!(::core::option::Option::None),
    }
}

/// Takes a chain of codecs. The names are checked when the app is built, because only then all codecs are known.
pub(crate) fn codec(options: &mut Options, name: &str, faults: &mut Faults) -> Option<LitStr> {
    options.text(name, "\"binary|json\"", faults)
}

/// Validates a topic name: a string literal that Kafka accepts, or the path of a constant.
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
            faults.add(name, format_args!("a topic name must be a string literal or a constant: `{example}`"));
            None
        }
    }
}

/// Returns the error message if the name of a `noun` (a topic or a table) is not valid in a topic name.
pub(crate) fn fault_in_name(noun: &str, name: &str) -> Option<String> {
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() {
        Some(format!("the {noun} name is empty; use a name like `com.example.clicks`"))
    } else if let Some(c) = name.chars().find(|c| !legal(*c)) {
        Some(format!("{noun} name `{name}` contains {c:?}; Kafka allows only ASCII letters, digits, `.`, `_` and `-`"))
    } else if name.len() > 249 {
        Some(format!("the {noun} name has {} characters; Kafka allows at most 249", name.len()))
    } else if matches!(name, "." | "..") {
        Some(format!("the {noun} name cannot be `{name}`; use a name like `com.example.clicks`"))
    } else {
        None
    }
}

/// Takes a positive integer that fits Kafka's field.
fn number(options: &mut Options, name: &str, faults: &mut Faults) -> Option<i64> {
    let limit = if name == "replication" { i64::from(i16::MAX) } else { i64::from(i32::MAX) };
    let (_, value) = options.value(name, "3", faults)?;
    let number = match &value {
        Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse().ok(),
        _ => None,
    };
    let number = number.filter(|n| (1..=limit).contains(n));
    if number.is_none() {
        faults.add(value, format_args!("`{name}` must be an integer from 1 to {limit}: `{name} = 3`"));
    }
    number
}

fn retention(options: &mut Options, faults: &mut Faults) -> Option<i64> {
    let text = options.text("retention", "\"7d\"", faults)?;
    millis(&text, faults)
}

/// Returns a span located at `place`, for errors, that resolves names at the macro's call site.
pub(crate) fn located(place: &impl Spanned) -> Span {
    Span::call_site().located_at(place.span())
}

/// Returns an identifier for generated code, located at `span`. Hygiene keeps it apart from the user's local variables;
/// the underscores keep it apart from a unit struct of the same name, which a pattern would match.
pub(crate) fn local(name: &str, span: Span) -> Ident {
    Ident::new(&format!("__{name}"), Span::mixed_site().located_at(span))
}

/// Returns the tokens with the span `span`, because an error underlines the range from its first to its last token.
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
    fn topic_names_follow_kafkas_rules() {
        check(parse_quote!(#[topic("com.example.clicks_2-x")]), "");
        check(parse_quote!(#[topic(CLICKS)]), "");
        check(parse_quote!(#[topic(names::CLICKS, compacting)]), "");
        check(parse_quote!(#[topic("clicks per page")]), "contains ' '; Kafka allows only ASCII letters");
        check(parse_quote!(#[topic("")]), "the topic name is empty");
        check(parse_quote!(#[topic("..")]), "the topic name cannot be `..`");
        check(parse_quote!(#[topic]), "requires a topic name as the first argument");
        check(parse_quote!(#[topic(3)]), "must be a string literal or a constant");
    }

    #[test]
    fn options_are_validated() {
        check(parse_quote!(#[topic("a", partitions = 3, replication = 1, retention = "7d", key_codec = "json")]), "");
        check(parse_quote!(#[topic("a", partitions = 0)]), "`partitions` must be an integer from 1");
        check(parse_quote!(#[topic("a", replication = 40000)]), "from 1 to 32767");
        check(parse_quote!(#[topic("a", retention = "1month")]), "`1month` is not a duration");
        check(parse_quote!(#[topic("a", retention = 7)]), "`retention` must be a string literal");
    }
}
