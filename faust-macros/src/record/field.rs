//! A field of a record: its model, and the functions that serde calls for its default and its rules.

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::{GenericArgument, Ident, Index, LitStr, Member, PathArguments, Type, parse_quote};

use super::naming::{SerdeAttributes, field_name, has_serde};
use super::rules::Rules;
use crate::docs::{as_written, first_paragraph};
use crate::fault::Faults;
use crate::topic::{local, located, option, placed};

/// A validated field. Its serde attributes have been added to the item.
pub(super) struct Field {
    pub(super) member: Member,
    pub(super) ty: Type,
    pub(super) wire_name: String,
    help: String,
    required: bool,
    /// Set if serde alone reads and writes the field.
    pub(super) is_plain: bool,
    /// Set if the user has given the field no attribute of serde.
    has_no_serde: bool,
    rules: Rules,
    /// The generated functions that are named in serde attributes.
    default_function: Option<Ident>,
    read_function: Option<Ident>,
}

/// The position of a field in its record.
pub(super) struct Place<'a> {
    /// The record's type, on which the generated functions are defined.
    pub(super) record: &'a Ident,
    /// The variant, if the record is an enum.
    pub(super) variant: Option<&'a Ident>,
    pub(super) position: usize,
    /// serde's attributes on the struct or the variant.
    pub(super) container: &'a SerdeAttributes,
}

impl Field {
    /// Parses a field and adds the serde attributes that apply its default and its rules.
    pub(super) fn new(field: &mut syn::Field, place: &Place<'_>, faults: &mut Faults) -> Self {
        let rules = Rules::take(&mut field.attrs, faults);
        let serde = SerdeAttributes::of(&field.attrs);
        let has_no_serde = !has_serde(&field.attrs);
        let member = match &field.ident {
            Some(ident) => Member::Named(ident.clone()),
            None => Member::Unnamed(Index::from(place.position)),
        };
        let text = member_text(&member);
        check_combination(field, &text, &rules, &serde, faults);
        let optional = inside_option(&field.ty).is_some();
        let function = |verb: &str| {
            let variant = place.variant.map(|variant| format!("{variant}_")).unwrap_or_default();
            Ident::new(&format!("__faust_{verb}_{variant}{text}"), Span::call_site())
        };
        let default_function = (rules.default.is_some() && !serde.default).then(|| function("default"));
        // A default in place of a `None` that is left out would be read back instead.
        let restores_none =
            !serde.omits_none || (rules.default.is_none() && !serde.default && !place.container.default);
        let is_plain = !rules.any() && !serde.is_special && restores_none;
        let read_function = (rules.any() && serde.own_reader.is_none()).then(|| function("read"));
        if let Some(function) = &default_function {
            let path = path_text(place.record, function);
            field.attrs.push(parse_quote!(#[serde(default = #path)]));
        } else if read_function.is_some() && optional && !serde.default {
            // serde treats a missing `Option` as `None` only without `deserialize_with`.
            field.attrs.push(parse_quote!(#[serde(default)]));
        }
        if let Some(function) = &read_function {
            let path = path_text(place.record, function);
            field.attrs.push(parse_quote!(#[serde(deserialize_with = #path)]));
        }
        Self {
            wire_name: serde.rename.unwrap_or_else(|| field_name(&text, place.container.rename_all.as_deref())),
            help: first_paragraph(&field.attrs),
            required: !optional
                && rules.default.is_none()
                && !serde.default
                && !serde.skipped
                && !place.container.default,
            is_plain,
            has_no_serde,
            ty: field.ty.clone(),
            member,
            rules,
            default_function,
            read_function,
        }
    }

    /// Returns the associated functions that the field's serde attributes name.
    pub(super) fn functions(&self, private: &TokenStream) -> TokenStream {
        let ty = &self.ty;
        let default = self.default_function.as_ref().zip(self.rules.default.as_ref()).map(|(function, default)| {
            let value = quote_spanned!(located(ty)=> #default);
            quote!(fn #function() -> #ty { #value })
        });
        let read = self.read_function.as_ref().map(|function| self.read(function, private));
        quote!(#default #read)
    }

    /// Returns a function that deserializes the field and then checks its rules. The check is part of deserialization,
    /// so an error contains the path of the field.
    fn read(&self, function: &Ident, private: &TokenStream) -> TokenStream {
        let ty = &self.ty;
        let [read, value, from] = ["read", "value", "from"].map(|name| local(name, Span::call_site()));
        let error = quote!(__D::Error);
        let checks = self.rules.checks(&value, private, &error);
        let checks = match inside_option(ty) {
            Some(_) => quote!(if let ::core::option::Option::Some(#value) = &#read { #checks }),
            None => quote!(let #value = &#read; #checks),
        };
        quote! {
            fn #function<'de, __D>(#from: __D) -> ::core::result::Result<#ty, __D::Error>
            where
                __D: #private::serde::Deserializer<'de>,
            {
                let #read: #ty = #private::serde::Deserialize::deserialize(#from)?;
                #checks
                ::core::result::Result::Ok(#read)
            }
        }
    }

    /// Returns a check that the field's type can be part of a message, unless attributes of serde may take care of it.
    pub(super) fn check_type(&self, private: &TokenStream) -> Option<TokenStream> {
        let (ty, span) = (&self.ty, located(&self.ty));
        let private = placed(private, span);
        self.has_no_serde.then(|| quote_spanned!(span=> #private::check_field::<#ty>();))
    }

    /// Returns the field's entry in the model.
    pub(super) fn definition(&self, private: &TokenStream) -> TokenStream {
        let Self { wire_name, help, required, .. } = self;
        let type_name = as_written(&self.ty);
        let default = option(&self.rules.default.as_ref().map(|default| default.in_words()));
        let rule = option(&self.rules.in_words());
        quote! {
            #private::FieldDef {
                name: #wire_name,
                type_name: #type_name,
                required: #required,
                default: #default,
                help: #help,
                rule: #rule,
            }
        }
    }
}

impl ToTokens for super::rules::Default {
    fn to_tokens(&self, tokens: &mut TokenStream) {
        tokens.extend(self.value());
    }
}

/// Reports rules and serde attributes that exclude each other.
fn check_combination(field: &syn::Field, name: &str, rules: &Rules, serde: &SerdeAttributes, faults: &mut Faults) {
    let place =
        |field: &syn::Field| field.ident.as_ref().map_or_else(|| field.ty.to_token_stream(), ToTokens::to_token_stream);
    if let (true, Some(own)) = (rules.any(), serde.own_reader) {
        let text = format!(
            "the rules of field `{name}` cannot be combined with `#[serde({own})]`; validate the value there instead"
        );
        faults.add(place(field), text);
    }
    if rules.default.is_some() && serde.default {
        faults.add(place(field), format_args!("field `{name}` has two defaults; remove `#[serde(default)]`"));
    }
}

/// Returns the name or the position of a field.
pub(super) fn member_text(member: &Member) -> String {
    match member {
        Member::Named(ident) => ident.to_string().trim_start_matches("r#").to_owned(),
        Member::Unnamed(index) => index.index.to_string(),
    }
}

/// Returns a path like `Click::__faust_read_number` as a string literal, as serde's attributes require.
fn path_text(record: &Ident, function: &Ident) -> LitStr {
    LitStr::new(&format!("{record}::{function}"), Span::call_site())
}

/// Returns the `T` of an `Option<T>`, as far as the tokens show it.
pub(super) fn inside_option(ty: &Type) -> Option<&Type> {
    let Type::Path(path) = ty else { return None };
    let last = path.path.segments.last().filter(|segment| segment.ident == "Option")?;
    let PathArguments::AngleBracketed(arguments) = &last.arguments else { return None };
    match arguments.args.first() {
        Some(GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}
