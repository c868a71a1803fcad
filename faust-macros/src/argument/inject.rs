//! The code that makes an argument: a static with its declaration, and a call that evaluates the static.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Type};

use super::Argument;
use crate::table::TableDecl;
use crate::topic::{TopicDecl, placed};
use crate::types::type_span;

/// A validated argument, with the span for errors about it.
pub(crate) struct Injected {
    at: usize,
    name: String,
    topic: Option<TopicDecl>,
    table: Option<TableDecl>,
    value_type: Option<Type>,
    pub(crate) span: Span,
}

impl Injected {
    pub(crate) fn new(at: usize, argument: Argument) -> Self {
        Self {
            at,
            name: argument.name().unwrap_or_else(|| format!("argument{}", at + 1)),
            span: type_span(&argument.ty),
            value_type: argument.value_type(),
            topic: argument.topic.flatten(),
            table: argument.table,
        }
    }

    /// Returns the name of the static.
    pub(crate) fn spec_ident(&self) -> Ident {
        format_ident!("__FAUST_ARGUMENT_{}", self.at)
    }

    /// Returns the static; `more` is appended to its declaration.
    pub(crate) fn spec(&self, more: Option<TokenStream>, private: &TokenStream) -> TokenStream {
        let (spec, name) = (self.spec_ident(), &self.name);
        let topic = self.topic.as_ref().map(|topic| {
            let declared = topic.to_tokens(private);
            quote!(.with_topic(#declared))
        });
        let table = self.table.as_ref().map(|table| {
            let declared = table.to_tokens(self.value_type.as_ref(), private);
            quote!(.with_table(#declared))
        });
        quote!(static #spec: #private::ArgSpec = #private::ArgSpec::new(#name)#topic #table #more;)
    }

    /// Returns the call. `arg` has the span of the argument's type, and its type parameter is inferred from the function.
    /// An argument that cannot be injected therefore causes exactly one error, at its type.
    pub(crate) fn make(&self, cx: &Ident, private: &TokenStream) -> TokenStream {
        let (spec, span) = (self.spec_ident(), self.span);
        let private = placed(private, span);
        quote_spanned!(span=> #private::arg(#cx, &#spec)?)
    }
}
