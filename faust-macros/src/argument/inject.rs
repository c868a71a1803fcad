//! The code that makes an argument: a static of what its annotation says, and a call that reads it.

use proc_macro2::{Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::{Ident, Type};

use super::Argument;
use crate::table::TableDecl;
use crate::topic::{TopicDecl, placed};
use crate::types::type_span;

/// A validated argument, and where errors about it belong.
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

    /// The static's name.
    pub(crate) fn spec_ident(&self) -> Ident {
        format_ident!("__FAUST_ARGUMENT_{}", self.at)
    }

    /// The static; `more` is what else is said of it.
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

    /// The call. `arg` has the span of the argument's type, and its type parameter comes from the function: that makes
    /// one error, there, of an argument that cannot be injected.
    pub(crate) fn make(&self, cx: &Ident, private: &TokenStream) -> TokenStream {
        let (spec, span) = (self.spec_ident(), self.span);
        let private = placed(private, span);
        quote_spanned!(span=> #private::arg(#cx, &#spec)?)
    }
}
