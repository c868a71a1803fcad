//! `#[codec(name = "..")]`: registers a user's codec under a name.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Fields, ItemStruct, LitStr};

use crate::fault::{Faults, first_token};
use crate::options::{Grammar, Leading, Options};
use crate::topic::located;

static GRAMMAR: Grammar = Grammar {
    attribute: "`#[codec]`",
    known: &["name", "crate"],
    lists: &[],
    leading: Leading::Refused("name = \"rot13\""),
};

const EXAMPLE: &str = "\"rot13\"";

/// Expands the attribute: the unchanged struct and its registration.
pub(crate) fn expand(options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let mut options = Options::parse(&GRAMMAR, options, &mut faults);
    let facade = options.facade(&mut faults);
    let any_fault_yet = !faults.is_empty();
    let name = options.text("name", EXAMPLE, &mut faults);
    let Ok(unit) = syn::parse2::<ItemStruct>(item.clone()) else {
        faults.add(first_token(&item), "`#[codec]` must be applied to a unit struct: `struct Rot13;`");
        let errors = faults.emit();
        return quote!(#item #errors);
    };
    let ident = &unit.ident;
    if !matches!(unit.fields, Fields::Unit) || !unit.generics.params.is_empty() {
        faults.add(
            ident,
            format_args!(
                "codec `{ident}` must be a unit struct, because all topics share one value: `struct {ident};`"
            ),
        );
    }
    match &name {
        Some(name) => check_name(name, &mut faults),
        None if faults.is_empty() && !any_fault_yet => {
            faults.add(ident, format_args!("codec `{ident}` needs a name: `#[codec(name = {EXAMPLE})]`"));
        }
        None => {}
    }
    // The compiler checks here that the struct implements `Codec`: the span puts the error on its name.
    let value = quote_spanned!(located(ident)=> &#ident);
    let registration = faults.is_empty().then(|| {
        quote! {
            #facade::__private::support::inventory::submit! {
                #facade::__private::support::CodecDef {
                    name: #name,
                    codec: #value,
                    file: ::core::file!(),
                    line: ::core::line!(),
                }
            }
        }
    });
    let errors = faults.emit();
    quote!(#item #registration #errors)
}

fn check_name(name: &LitStr, faults: &mut Faults) {
    let text = name.value();
    if ["json", "raw", "binary"].contains(&text.as_str()) {
        faults.add(name, format_args!("`{text}` is a built-in codec; choose another name"));
    } else if text.contains(|c: char| c == '|' || c.is_whitespace()) {
        faults.add(
            name,
            format_args!("codec name `{text}` contains `|` or whitespace, which is reserved for chains of codecs; choose another name"),
        );
    }
}
