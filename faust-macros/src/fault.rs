//! Collects the errors of one annotation, so that the compiler reports all of them together.

use std::fmt::Display;

use proc_macro2::TokenStream;
use quote::ToTokens;

/// The errors found so far. They must be emitted with [`emit`](Self::emit): dropping a non-empty value panics,
/// because its errors would be lost.
#[derive(Default)]
pub(crate) struct Faults(Option<syn::Error>);

impl Faults {
    /// Adds an error that points to `place`.
    pub(crate) fn add(&mut self, place: impl ToTokens, text: impl Display) {
        self.push(syn::Error::new_spanned(place, text));
    }

    /// Adds an error that already has a span.
    pub(crate) fn push(&mut self, error: syn::Error) {
        match &mut self.0 {
            Some(all) => all.combine(error),
            none => *none = Some(error),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Returns one `compile_error!` call for each error, or no tokens without errors.
    pub(crate) fn emit(mut self) -> TokenStream {
        self.0.take().map(|error| error.into_compile_error()).unwrap_or_default()
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if let (Some(error), false) = (&self.0, std::thread::panicking()) {
            panic!("an error of the annotation was dropped without being emitted: {error}");
        }
    }
}

/// Returns the token to point to when an attribute is applied to the wrong kind of item.
pub(crate) fn first_token(item: &TokenStream) -> TokenStream {
    item.clone().into_iter().take(1).collect()
}
