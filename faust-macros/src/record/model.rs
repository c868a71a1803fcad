//! The validated model of a record, built from its annotation and its fields. All rules are checked here.

use syn::{Data, DeriveInput, Expr, ExprLit, Fields, Ident, Lit, LitStr, Member, Meta, Path, Token};

use super::field::{Field, Place, member_text};
use super::naming::{SerdeAttributes, variant_name};
use super::owned::own_fields;
use crate::docs::first_paragraph;
use crate::fault::Faults;
use crate::options::Options;

/// A validated record.
pub(super) struct Record {
    pub(super) facade: Path,
    /// The traits of [`DERIVED`] that the macro derives.
    pub(super) derives: Vec<&'static str>,
    pub(super) ident: Ident,
    pub(super) name: String,
    pub(super) help: String,
    pub(super) serializer: Option<LitStr>,
    pub(super) key: Option<Accessed>,
    pub(super) timestamp: Option<Accessed>,
    pub(super) body: Body,
    /// Set if serde alone reads and writes the record.
    pub(super) is_plain: bool,
}

/// A field named by an option, with the span of the option's value for errors about the field's type.
pub(super) struct Accessed {
    pub(super) member: Member,
    pub(super) wire_name: String,
    pub(super) ty: syn::Type,
    pub(super) span: proc_macro2::Span,
}

pub(super) enum Body {
    Struct(Vec<Field>),
    Enum(Vec<Variant>),
}

pub(super) struct Variant {
    pub(super) wire_name: String,
    pub(super) help: String,
    pub(super) fields: Vec<Field>,
}

impl Record {
    /// Validates the record, removes `#[field]` from the item and adds serde's attributes. Returns `None` if serde could
    /// not derive its traits either.
    pub(super) fn new(item: &mut DeriveInput, mut options: Options, faults: &mut Faults) -> Option<Self> {
        let facade = options.facade(faults);
        let name = options.text("name", "\"Click\"", faults);
        let serializer = serializer(&mut options, faults);
        refuse_derives(item, faults);
        let derives = derives(item, &mut options, faults);
        let sound = refuse_generics(item, faults);
        if sound {
            own_fields(item, faults);
        }
        let body = body(item, faults);
        let key = accessed(&mut options, "key", item, body.as_ref(), faults);
        let timestamp = accessed(&mut options, "timestamp", item, body.as_ref(), faults);
        let ident = item.ident.clone();
        let is_plain = is_plain(item, body.as_ref());
        Some(Self {
            is_plain,
            name: name.map_or_else(|| ident.to_string().trim_start_matches("r#").to_owned(), |name| name.value()),
            help: first_paragraph(&item.attrs),
            body: body.filter(|_| sound)?,
            facade,
            derives,
            ident,
            serializer,
            key,
            timestamp,
        })
    }
}

fn serializer(options: &mut Options, faults: &mut Faults) -> Option<LitStr> {
    let serializer = options.text("serializer", "\"binary|json\"", faults);
    let codec = options.text("codec", "\"binary|json\"", faults);
    if let (Some(_), Some(codec)) = (&serializer, &codec) {
        faults.add(codec, "`serializer` and `codec` are two names of the same option; remove one");
    }
    serializer.or(codec)
}

/// The traits that `#[record]` derives in addition to serde's, so that a record can be stored in a table and compared in
/// a test.
pub(super) const DERIVED: [&str; 3] = ["Clone", "Debug", "PartialEq"];

/// Returns the traits of [`DERIVED`] that the item does not derive itself and that `no_derive(..)` does not exclude.
fn derives(item: &DeriveInput, options: &mut Options, faults: &mut Faults) -> Vec<&'static str> {
    let mut excluded = Vec::new();
    for path in options.list("no_derive", "PartialEq", faults) {
        match DERIVED.into_iter().find(|name| path.is_ident(name)) {
            Some(name) => excluded.push(name),
            None => faults.add(
                path,
                "`no_derive` accepts only `Clone`, `Debug` and `PartialEq`, the traits that `#[record]` derives",
            ),
        }
    }
    let is_derived =
        |name: &str| derived_paths(item).any(|path| path.segments.last().is_some_and(|last| last.ident == name));
    DERIVED.into_iter().filter(|name| !excluded.contains(name) && !is_derived(name)).collect()
}

/// Returns the paths in the `#[derive(..)]` attributes of an item.
fn derived_paths(item: &DeriveInput) -> impl Iterator<Item = Path> {
    let lists = item.attrs.iter().filter(|attribute| attribute.path().is_ident("derive"));
    lists
        .filter_map(|attribute| {
            attribute.parse_args_with(syn::punctuated::Punctuated::<Path, Token![,]>::parse_terminated).ok()
        })
        .flatten()
}

/// Reports and removes derives of serde's traits.
fn refuse_derives(item: &mut DeriveInput, faults: &mut Faults) {
    let ours = |path: &Path| {
        path.segments
            .last()
            .filter(|last| last.ident == "Serialize" || last.ident == "Deserialize")
            .map(|last| last.ident.clone())
    };
    for attribute in item.attrs.iter_mut().filter(|attribute| attribute.path().is_ident("derive")) {
        let Meta::List(list) = &mut attribute.meta else { continue };
        let Ok(paths) = list.parse_args_with(syn::punctuated::Punctuated::<Path, Token![,]>::parse_terminated) else {
            continue;
        };
        let mut kept = Vec::new();
        for path in paths {
            match ours(&path) {
                Some(name) => faults.add(&path, format_args!("`#[record]` already derives `{name}`; remove it here")),
                None => kept.push(path),
            }
        }
        // The derives are removed, because they would cause a second error for the same mistake.
        list.tokens = quote::quote!(#(#kept),*);
    }
}

fn refuse_generics(item: &DeriveInput, faults: &mut Faults) -> bool {
    let name = &item.ident;
    let Some(first) = item.generics.params.first() else { return true };
    let reason = match first {
        syn::GenericParam::Lifetime(_) => {
            "it outlives the bytes that it was deserialized from; use owned fields like `String`"
        }
        _ => "it has one name and one model; define one record for each type",
    };
    faults.add(&item.generics, format_args!("record `{name}` cannot be generic, because {reason}"));
    false
}

fn body(item: &mut DeriveInput, faults: &mut Faults) -> Option<Body> {
    let serde = SerdeAttributes::of(&item.attrs);
    let record = &item.ident;
    match &mut item.data {
        Data::Struct(data) => Some(Body::Struct(fields(&mut data.fields, record, None, &serde, faults))),
        Data::Enum(data) => {
            if data.variants.is_empty() {
                faults.add(
                    record,
                    format_args!("record `{record}` has no variants, so no message can contain it; add a variant"),
                );
            }
            let variants = data.variants.iter_mut().map(|variant| {
                let own = SerdeAttributes::of(&variant.attrs);
                let text = variant.ident.to_string();
                Variant {
                    help: first_paragraph(&variant.attrs),
                    fields: fields(&mut variant.fields, record, Some(&variant.ident), &own, faults),
                    wire_name: own.rename.unwrap_or_else(|| variant_name(&text, serde.rename_all.as_deref())),
                }
            });
            Some(Body::Enum(variants.collect()))
        }
        Data::Union(data) => {
            let text = format_args!(
                "record `{record}` cannot be a union, because its bytes do not identify the active field; use an enum"
            );
            faults.add(data.union_token, text);
            None
        }
    }
}

/// Returns `true` if neither the item nor its variants and fields change the format that serde derives.
fn is_plain(item: &DeriveInput, body: Option<&Body>) -> bool {
    let variants = match &item.data {
        Data::Enum(data) => data.variants.iter().map(|variant| &*variant.attrs).collect(),
        Data::Struct(_) | Data::Union(_) => Vec::new(),
    };
    let is_special = |attributes: &[syn::Attribute]| SerdeAttributes::of(attributes).is_special;
    let fields: Vec<_> = body.map(Body::fields).unwrap_or_default();
    !is_special(&item.attrs) && !variants.into_iter().any(is_special) && fields.into_iter().all(|field| field.is_plain)
}

impl Body {
    /// Returns the fields of the struct, or those of all variants.
    pub(super) fn fields(&self) -> Vec<&Field> {
        match self {
            Self::Struct(fields) => fields.iter().collect(),
            Self::Enum(variants) => variants.iter().flat_map(|variant| &variant.fields).collect(),
        }
    }
}

fn fields(
    fields: &mut Fields,
    record: &Ident,
    variant: Option<&Ident>,
    container: &SerdeAttributes,
    faults: &mut Faults,
) -> Vec<Field> {
    let mut model = Vec::new();
    for (position, field) in fields.iter_mut().enumerate() {
        model.push(Field::new(field, &Place { record, variant, position, container }, faults));
    }
    model
}

/// Returns the field named by `key = field` or `timestamp = field`.
fn accessed(
    options: &mut Options,
    option: &str,
    item: &DeriveInput,
    body: Option<&Body>,
    faults: &mut Faults,
) -> Option<Accessed> {
    let (name, value) = options.value(option, "field", faults)?;
    let wanted = match &value {
        Expr::Path(path) => path.path.get_ident().map(|ident| ident.to_string().trim_start_matches("r#").to_owned()),
        Expr::Lit(ExprLit { lit: Lit::Int(position), .. }) => Some(position.base10_digits().to_owned()),
        _ => None,
    };
    let Some(wanted) = wanted else {
        faults.add(&value, format_args!("`{option}` takes a field name without quotes: `{option} = field`"));
        return None;
    };
    let record = &item.ident;
    let fields = match body {
        Some(Body::Struct(fields)) => fields,
        Some(Body::Enum(_)) => {
            faults.add(
                name,
                format_args!("`{option}` requires a struct: the variants of enum `{record}` have no common field"),
            );
            return None;
        }
        None => return None,
    };
    let Some(field) = fields.iter().find(|field| member_text(&field.member) == wanted) else {
        let known =
            fields.iter().map(|field| format!("`{}`", member_text(&field.member))).collect::<Vec<_>>().join(", ");
        let known = if known.is_empty() { "none".to_owned() } else { known };
        faults.add(&value, format_args!("record `{record}` has no field `{wanted}`; its fields: {known}"));
        return None;
    };
    Some(Accessed {
        member: field.member.clone(),
        wire_name: field.wire_name.clone(),
        ty: field.ty.clone(),
        span: crate::topic::located(&value),
    })
}
