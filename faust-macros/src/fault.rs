//! Collects the mistakes in one annotation, so that the compiler shows them all at once.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// The mistakes found so far. Must be emitted: dropping it with mistakes in it would hide them.
#[derive(Default)]
pub(crate) struct Faults(Option<syn::Error>);

impl Faults {
    /// Notes a mistake and where it is.
    pub(crate) fn add(&mut self, place: impl ToTokens, text: impl Display) {
        self.push(syn::Error::new_spanned(place, text));
    }

    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The `compile_error!` calls; empty if nothing is wrong.
    pub(crate) fn emit(mut self) -> TokenStream {
        self.0.take().map(|error| error.into_compile_error()).unwrap_or_default()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if let (Some(error), false) = (&self.0, std::thread::panicking()) {
            panic!("a fault of the annotation was found and not emitted: {error}");
        }
    }
}

/// Where to point when an attribute stands on the wrong kind of item.
pub(crate) fn first_token(item: &TokenStream) -> TokenStream {
    item.clone().into_iter().take(1).collect()
}
