//! The options of `#[field(..)]`: the rules for the values of a field, and its default.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote, quote_spanned};
use syn::{Attribute, Expr, ExprLit, ExprRange, Ident, Lit, Meta, Path};

use crate::docs::as_written;
use crate::fault::Faults;
use crate::options::{Grammar, Leading, Options, literal};
use crate::topic::{located, placed};

/// The options of `#[field(..)]`; empty if the attribute is absent.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) default: Option<Default>,
    range: Option<Expr>,
    len: Option<Expr>,
    check: Option<Path>,
}

/// The default value of a field that is missing in a message.
pub(super) enum Default {
    /// `default`: the default of the field's type.
    OfType,
    /// `default = expr`.
    Value(Box<Expr>),
}

static GRAMMAR: Grammar = Grammar {
    attribute: "`#[field]`",
    known: &["default", "range", "len", "check"],
    lists: &[],
    leading: Leading::Refused("range = 0..=100"),
};

impl Rules {
    /// Parses the attribute `#[field]` and removes it, because rustc does not know it.
    pub(super) fn take(attributes: &mut Vec<Attribute>, faults: &mut Faults) -> Self {
        let mut rules = None;
        attributes.retain(|attribute| {
            let ours = attribute.path().is_ident("field");
            if ours && rules.is_some() {
                faults.add(attribute, "`#[field]` is specified twice; combine the options in one attribute");
            } else if ours {
                rules = Some(Self::parse(attribute, faults));
            }
            !ours
        });
        rules.unwrap_or_default()
    }

    fn parse(attribute: &Attribute, faults: &mut Faults) -> Self {
        let tokens = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            _ => TokenStream::new(),
        };
        let mut options = Options::parse(&GRAMMAR, tokens, faults);
        let default = options
            .bare_or_value("default")
            .map(|(_, value)| value.map_or(Default::OfType, |value| Default::Value(Box::new(value))));
        let range = range(&mut options, "range", "0..=100", faults);
        let len = range_of_lengths(&mut options, faults);
        let check = match options.value("check", "path::to::function", faults) {
            Some((_, Expr::Path(path))) => Some(path.path),
            Some((_, other)) => {
                faults.add(other, "`check` must name a function: `fn(&T) -> bool` or `fn(&T) -> Result<(), String>`");
                None
            }
            None => None,
        };
        Self { default, range, len, check }
    }

    /// Returns whether there are rules to check.
    pub(super) fn any(&self) -> bool {
        self.range.is_some() || self.len.is_some() || self.check.is_some()
    }

    /// Returns a short description of the rules for models.
    pub(super) fn in_words(&self) -> Option<String> {
        let range = self.range.as_ref().map(|range| format!("in {}", as_written(range)));
        let len = self.len.as_ref().map(|len| format!("length in {}", as_written(len)));
        let check = self.check.as_ref().map(|check| format!("checked by {}", as_written(check)));
        let all: Vec<String> = [range, len, check].into_iter().flatten().collect();
        (!all.is_empty()).then(|| all.join(", "))
    }

    /// Returns the code that checks the value behind the reference `value`.
    pub(super) fn checks(&self, value: &Ident, private: &TokenStream, error: &TokenStream) -> TokenStream {
        let range = self.range.as_ref().map(|range| bound_check("check_range", range, value, private, error));
        let len = self.len.as_ref().map(|len| bound_check("check_len", len, value, private, error));
        let check = self.check.as_ref().map(|check| {
            let place = located(check);
            let value = Ident::new(&value.to_string(), value.span().located_at(place));
            let (private, written) = (placed(private, place), as_written(check));
            quote_spanned!(place=> #private::check_with::<_, #error>(#check(#value), #written)?;)
        });
        quote!(#range #len #check)
    }
}

fn bound_check(function: &str, range: &Expr, value: &Ident, private: &TokenStream, error: &TokenStream) -> TokenStream {
    let span = located(range);
    let function = Ident::new(function, span);
    let private = placed(private, span);
    let written = as_written(range);
    quote_spanned!(span=> #private::#function::<_, #error>(#value, #range, #written)?;)
}

fn range(options: &mut Options, name: &str, example: &str, faults: &mut Faults) -> Option<Expr> {
    let (_, value) = options.value(name, example, faults)?;
    match &value {
        // A constant is accepted here; the compiler checks its type.
        Expr::Path(_) => Some(value),
        Expr::Range(ExprRange { start: Some(start), end: Some(end), .. }) if is_empty(start, end) => {
            faults.add(value, format_args!("this range is empty; write the smaller bound first: `{name} = {example}`"));
            None
        }
        Expr::Range(_) => Some(value),
        _ => {
            faults.add(value, format_args!("`{name}` must be a range: `{name} = {example}`"));
            None
        }
    }
}

fn range_of_lengths(options: &mut Options, faults: &mut Faults) -> Option<Expr> {
    range(options, "len", "1..=20", faults)
}

/// Returns whether both bounds are integer literals in the wrong order.
fn is_empty(start: &Expr, end: &Expr) -> bool {
    matches!((whole(start), whole(end)), (Some(start), Some(end)) if start > end)
}

fn whole(expr: &Expr) -> Option<i128> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Int(int), .. }) => int.base10_parse().ok(),
        Expr::Unary(unary) if matches!(unary.op, syn::UnOp::Neg(_)) => whole(&unary.expr).map(|value| -value),
        _ => None,
    }
}

impl Default {
    /// Returns the default as an expression of the field's type.
    pub(super) fn value(&self) -> TokenStream {
        match self {
            Default::OfType => quote!(::core::default::Default::default()),
            // A string literal is converted to the field's text type.
            Default::Value(value) if literal(value).is_some() => quote!(::core::convert::From::from(#value)),
            Default::Value(value) => value.to_token_stream(),
        }
    }

    /// Returns the default as text for models.
    pub(super) fn in_words(&self) -> String {
        match self {
            Default::OfType => "the type's default".to_owned(),
            Default::Value(value) => as_written(value),
        }
    }
}
