//! The expansion of `#[record]`: the item with its derives, its field functions, its model and its registration.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{DeriveInput, LitStr};

use super::field::Field;
use super::model::{Accessed, Body, Record};
use crate::fault::Faults;
use crate::topic::{local, option, placed};

/// Returns the complete expansion of the annotated item.
pub(super) fn expand(item: &DeriveInput, record: &Record, faults: Faults) -> TokenStream {
    let Record { facade, ident, name, .. } = record;
    let private = quote!(#facade::__private::support);
    // The path is passed as a string that serde parses and shows, so spaces are removed.
    let serde_path =
        format!("{facade}::__private::support::serde", facade = facade.to_token_stream().to_string().replace(' ', ""));
    let serde_path = LitStr::new(&serde_path, Span::call_site());
    let derives = record.derives.iter().map(|name| derived_path(name));
    let functions = functions(record, &private);
    let model = model(record, &private);
    let registration =
        faults.is_empty().then(|| quote!(#private::inventory::submit! { <#ident as #private::Record>::MODEL }));
    let errors = faults.emit();
    let checks: TokenStream = match errors.is_empty() {
        true => record.body.fields().into_iter().filter_map(|field| field.check_type(&private)).collect(),
        false => TokenStream::new(),
    };
    let checks = (!checks.is_empty()).then(|| quote!(const _: fn() = || { #checks };));
    quote! {
        // Reports a field's type that cannot be part of a message, before the derives report each of its missing traits.
        #checks

        // The user's item. serde is re-exported by the facade, so that the user's crate needs no dependency on it.
        #[derive(#(#derives,)* #private::serde::Serialize, #private::serde::Deserialize)]
        #[serde(crate = #serde_path)]
        #item

        const _: () = {
            // The functions that serde calls for the defaults and the rules of fields.
            #functions

            #[automatically_derived]
            impl #private::Record for #ident {
                const NAME: &'static str = #name;
                const MODEL: #private::ModelDef = #model;
            }

            // Lets `models` and streams of this type find the model.
            #registration
        };

        #errors
    }
}

/// Returns the absolute path of a trait that is derived in addition to serde's.
fn derived_path(name: &str) -> TokenStream {
    match name {
        "Clone" => quote!(::core::clone::Clone),
        "Debug" => quote!(::core::fmt::Debug),
        _ => quote!(::core::cmp::PartialEq),
    }
}

fn functions(record: &Record, private: &TokenStream) -> Option<TokenStream> {
    let ident = &record.ident;
    let functions: TokenStream = record.body.fields().iter().map(|field| field.functions(private)).collect();
    (!functions.is_empty()).then(|| {
        quote! {
            #[automatically_derived]
            #[allow(non_snake_case)]
            impl #ident {
                #functions
            }
        }
    })
}

fn model(record: &Record, private: &TokenStream) -> TokenStream {
    let Record { ident, name, help, .. } = record;
    let codec = option(&record.serializer);
    let key = option(&record.key.as_ref().map(|key| key_function(record, key, private)));
    let timestamp = option(&record.timestamp.as_ref().map(|field| timestamp_function(record, field, private)));
    let plain = option(&record.is_plain.then(|| plain_definition(record, private)));
    let (fields, variants) = match &record.body {
        Body::Struct(fields) => (definitions(fields, private), TokenStream::new()),
        Body::Enum(variants) => {
            let variants = variants.iter().map(|variant| {
                let (name, help, fields) = (&variant.wire_name, &variant.help, definitions(&variant.fields, private));
                quote!(#private::VariantDef { name: #name, fields: &[#fields], help: #help })
            });
            (TokenStream::new(), quote!(#(#variants),*))
        }
    };
    quote! {
        #private::ModelDef {
            name: #name,
            help: #help,
            fields: &[#fields],
            variants: &[#variants],
            codec: #codec,
            types: || [::core::any::TypeId::of::<#ident>(), ::core::any::TypeId::of::<::core::option::Option<#ident>>()],
            timestamp: #timestamp,
            key: #key,
            plain: #plain,
            file: ::core::file!(),
            line: ::core::line!(),
        }
    }
}

/// Returns a function that names the record's type and those of its fields.
fn plain_definition(record: &Record, private: &TokenStream) -> TokenStream {
    let ident = &record.ident;
    let fields = record.body.fields().into_iter().map(|field| {
        let ty = &field.ty;
        quote!(::core::any::type_name::<#ty>())
    });
    quote! {
        || #private::PlainDef {
            name: ::core::any::type_name::<#ident>(),
            fields: ::std::vec::Vec::from([#(#fields),*]),
        }
    }
}

fn definitions(fields: &[Field], private: &TokenStream) -> TokenStream {
    let fields = fields.iter().map(|field| field.definition(private));
    quote!(#(#fields),*)
}

fn key_function(model: &Record, key: &Accessed, private: &TokenStream) -> TokenStream {
    let Accessed { member, ty, span, .. } = key;
    let ident = &model.ident;
    let value = local("value", *span);
    let [record, out] = ["record", "out"].map(|name| local(name, *span));
    let private_here = placed(private, *span);
    // The span makes the compiler report a field that cannot be a key where the option names it.
    let encode = quote_spanned!(*span=> #private_here::encode_key(&KEY, &#value.#member, #out));
    quote! {
        |#record, #out| {
            static KEY: #private::KeyCoder<#ty> = #private::KeyCoder::new();
            match #private::record_in::<#ident>(#record) {
                ::core::option::Option::Some(#value) => #encode,
                ::core::option::Option::None => ::core::result::Result::Ok(false),
            }
        }
    }
}

fn timestamp_function(model: &Record, timestamp: &Accessed, private: &TokenStream) -> TokenStream {
    let Accessed { member, wire_name, span, .. } = timestamp;
    let ident = &model.ident;
    let record = local("record", *span);
    let value = local("value", *span);
    let private_here = placed(private, *span);
    let read = quote_spanned!(*span=> #private_here::IntoTimestamp::to_timestamp(&#value.#member));
    quote! {
        |#record| match #private::record_in::<#ident>(#record) {
            ::core::option::Option::Some(#value) => #private::timestamp_of_field(#wire_name, #read),
            ::core::option::Option::None => ::core::result::Result::Ok(::core::option::Option::None),
        }
    }
}
