//! The names of types, as far as the tokens show them.

use proc_macro2::Span;
use syn::{Ident, PathSegment, Type};

use crate::topic::located;

/// Returns the span of a type for error messages: that of the last path segment. The compiler would underline the first.
pub(crate) fn type_span(ty: &Type) -> Span {
    last_name(ty).map_or_else(|| located(ty), located)
}

/// Returns the last name of a type's path: `Stream` of `faust::Stream<Click>`.
pub(crate) fn last_name(ty: &Type) -> Option<&Ident> {
    last_segment(ty).map(|segment| &segment.ident)
}

/// Returns the last segment of a type's path, with its generic arguments.
pub(crate) fn last_segment(ty: &Type) -> Option<&PathSegment> {
    match ty {
        Type::Path(path) => path.path.segments.last(),
        Type::Paren(inner) => last_segment(&inner.elem),
        Type::Group(inner) => last_segment(&inner.elem),
        _ => None,
    }
}
