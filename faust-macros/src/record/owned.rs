//! Fields that are references, which a record cannot have.

use syn::{Data, DeriveInput, GenericArgument, PathArguments, Type, parse_quote};

use super::naming::has_serde;
use crate::docs::as_written;
use crate::fault::Faults;

/// Reports the fields that are references, or an `Option` of one, and makes their types owned, so that the compiler does not
/// report their lifetimes as well. With attributes of serde, such as `skip`, a reference may be correct.
pub(super) fn own_fields(item: &mut DeriveInput, faults: &mut Faults) {
    let fields: Vec<_> = match &mut item.data {
        Data::Struct(data) => data.fields.iter_mut().collect(),
        Data::Enum(data) => data.variants.iter_mut().flat_map(|variant| &mut variant.fields).collect(),
        Data::Union(_) => Vec::new(),
    };
    for field in fields.into_iter().filter(|field| !has_serde(&field.attrs)) {
        own(&mut field.ty, faults);
    }
}

fn own(ty: &mut Type, faults: &mut Faults) {
    let Some(reference) = inside_option(ty) else { return };
    let Type::Reference(borrowed) = &*reference else { return };
    let (owned, shown): (Type, String) = match &*borrowed.elem {
        Type::Path(path) if path.path.is_ident("str") => (parse_quote!(::std::string::String), "String".to_owned()),
        Type::Slice(slice) => {
            let element = &slice.elem;
            (parse_quote!(::std::vec::Vec<#element>), format!("Vec<{}>", as_written(element)))
        }
        other => (other.clone(), as_written(other)),
    };
    let text = format_args!("a record owns its fields, because it outlives the bytes it is read from; write `{shown}`");
    faults.add(&*reference, text);
    *reference = owned;
}

/// Returns the `T` of an `Option<T>`, or the type itself.
fn inside_option(ty: &mut Type) -> Option<&mut Type> {
    let is_option =
        matches!(&*ty, Type::Path(path) if path.path.segments.last().is_some_and(|last| last.ident == "Option"));
    if !is_option {
        return Some(ty);
    }
    let Type::Path(path) = ty else { return None };
    let PathArguments::AngleBracketed(arguments) = &mut path.path.segments.last_mut()?.arguments else { return None };
    match arguments.args.first_mut() {
        Some(GenericArgument::Type(inner)) => Some(inner),
        _ => None,
    }
}
