//! An annotated function, taken apart: what agents and hooks have in common.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::parse::{Parse, ParseStream};
use syn::{Attribute, Ident, ReturnType, Safety, Signature, Visibility};

use crate::fault::Faults;
use crate::topic::located;
use crate::types::type_span;

/// The annotated function. Its body stays tokens: one that is half typed must not break the macro.
pub(crate) struct AnnotatedFn {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    body: TokenStream,
}

/// What the annotation makes of a function, as messages call it.
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
    /// Notes what the framework could not call.
    pub(crate) fn check_signature(&self, kind: Kind, faults: &mut Faults) {
        let (sig, noun) = (&self.sig, kind.noun());
        let name = &sig.ident;
        if sig.asyncness.is_none() {
            faults.add(sig.fn_token, format_args!("{noun} `{name}` must be an `async fn`"));
        }
        if let Some(constness) = &sig.constness {
            faults.add(constness, format_args!("{noun} `{name}` cannot be `const`; remove it"));
        }
        if let Some(abi) = &sig.abi {
            faults.add(abi, format_args!("{noun} `{name}` cannot be `extern`; remove it"));
        }
        if !matches!(sig.safety, Safety::Default) {
            let text = format_args!("{noun} `{name}` cannot be `unsafe`: the framework calls it; remove it");
            faults.add(&sig.safety, text);
        }
        if !sig.generics.params.is_empty() {
            let text = format_args!("{noun} `{name}` cannot be generic: it is registered once; write its types out");
            faults.add(&sig.generics, text);
        }
    }

    /// Where errors about what it returns belong.
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

/// A name as the user reads it: without `r#`.
pub(crate) fn ident_text(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}
