//! Parsed form of an annotated function, shared by agents and hooks.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Ident, ReturnType, Safety, Signature, Visibility};

use crate::fault::Faults;
use crate::topic::located;
use crate::types::type_span;

/// An annotated function. The body is kept as tokens, so that the macro also expands while the user is still typing it.
pub(crate) struct AnnotatedFn {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: TokenStream,
}

/// The kind of an annotated function, as error messages name it.
#[derive(Clone, Copy)]
pub(crate) enum Kind {
    Agent,
    Hook,
}

impl Kind {
    pub(crate) fn noun(self) -> &'static str {
        match self {
            Kind::Agent => "agent",
            Kind::Hook => "hook",
        }
    }

    pub(crate) fn with_article(self) -> &'static str {
        match self {
            Kind::Agent => "an agent",
            Kind::Hook => "a hook",
        }
    }
}

impl AnnotatedFn {
    /// Reports the parts of the signature that the framework cannot call.
    pub(crate) fn check_signature(&self, kind: Kind, faults: &mut Faults) {
        let (sig, noun) = (&self.sig, kind.noun());
        let name = &sig.ident;
        if sig.asyncness.is_none() {
            faults.add(sig.fn_token, format_args!("{noun} `{name}` must be an `async fn`"));
        }
        if let Some(constness) = &sig.constness {
            faults.add(constness, format_args!("{noun} `{name}` cannot be `const`; remove `const`"));
        }
        if let Some(abi) = &sig.abi {
            faults.add(abi, format_args!("{noun} `{name}` cannot be `extern`; remove `extern`"));
        }
        if !matches!(sig.safety, Safety::Default) {
            let text =
                format_args!("{noun} `{name}` cannot be `unsafe`, because the framework calls it; remove `unsafe`");
            faults.add(&sig.safety, text);
        }
        if !sig.generics.params.is_empty() {
            let text =
                format_args!("{noun} `{name}` cannot be generic, because it is registered once; use concrete types");
            faults.add(&sig.generics, text);
        }
    }

    /// Returns the span for errors about the return value.
    pub(crate) fn returned(&self) -> Span {
        match &self.sig.output {
            ReturnType::Default => located(&self.sig.ident),
            ReturnType::Type(_, ty) => type_span(ty),
        }
    }
}

impl Parse for AnnotatedFn {
    fn parse(input: ParseStream<'_>) -> syn::Result<Self> {
        Ok(Self {
            attrs: input.call(Attribute::parse_outer)?,
            vis: input.parse()?,
            sig: input.parse()?,
            body: input.parse()?,
        })
    }
}

impl ToTokens for AnnotatedFn {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        let Self { attrs, vis, sig, body } = self;
        tokens.extend(quote!(#(#attrs)* #vis #sig #body));
    }
}

/// Returns the text of an identifier without the `r#` prefix.
pub(crate) fn ident_text(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}
