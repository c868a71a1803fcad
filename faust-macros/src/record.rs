//! `#[record]`: derives serde on a struct or an enum, names it, checks its fields as they are read, registers its model.

mod expand;
mod field;
mod model;
mod naming;
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

/// The attribute's expansion. Whatever is wrong, the item stays, and stays a message type where it can be one.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let Ok(mut item) = syn::parse2::<DeriveInput>(item.clone()) else {
        // A syntax error inside a struct is the compiler's to report, and better.
        if !is_type(&item) {
            faults.add(first_token(&item), "`#[record]` goes on a struct or an enum");
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
