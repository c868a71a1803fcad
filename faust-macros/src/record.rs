//! `#[record]`: derives serde's traits for a struct or an enum, names it, validates its fields on deserialization and
//! registers its model.

mod expand;
mod field;
mod model;
mod naming;
mod owned;
mod rules;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::quote;
use syn::DeriveInput;

use crate::fault::{Faults, first_token};
use crate::options::{Grammar, Leading, Options};

static GRAMMAR: Grammar = Grammar {
    attribute: "`#[record]`",
    known: &["name", "serializer", "codec", "key", "timestamp", "no_derive", "crate"],
    lists: &["no_derive"],
    leading: Leading::Refused("name = \"Click\""),
};

/// Expands the attribute. The item is emitted even if there are errors, and implements `Record` where possible.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let Ok(mut item) = syn::parse2::<DeriveInput>(item.clone()) else {
        // The compiler reports a syntax error inside a struct, with a better message.
        if !is_type(&item) {
            faults.add(first_token(&item), "`#[record]` must be applied to a struct or an enum");
        }
        let errors = faults.emit();
        return quote!(#item #errors);
    };
    let options = Options::parse(&GRAMMAR, options, &mut faults);
    match model::Record::new(&mut item, options, &mut faults) {
        Some(record) => expand::expand(&item, &record, faults),
        None => {
            let errors = faults.emit();
            quote!(#item #errors)
        }
    }
}

fn is_type(item: &TokenStream) -> bool {
    item.clone().into_iter().any(|token| matches!(token.to_string().as_str(), "struct" | "enum"))
}
