//! `relative_to = ..`: which time chooses the window of a plain read.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Expr, Ident, Path};

use crate::fault::Faults;
use crate::topic::{local, located, placed};

/// The three times there are.
pub(super) enum RelativeTo {
    Stream,
    Now,
    /// `field(Type::field)`.
    Field(Path, Ident),
}

const EXAMPLE: &str = "field(Click::at)";

impl RelativeTo {
    pub(super) fn parse(value: Expr, faults: &mut Faults) -> Self {
        let named = |expr: &Expr, name: &str| matches!(expr, Expr::Path(path) if path.path.is_ident(name));
        match value {
            value if named(&value, "stream") => return Self::Stream,
            value if named(&value, "now") => return Self::Now,
            Expr::Call(call) if named(&call.func, "field") => match call.args.first() {
                Some(Expr::Path(path))
                    if call.args.len() == 1 && path.qself.is_none() && path.path.segments.len() > 1 =>
                {
                    return Self::field(path.path.clone());
                }
                _ => faults.add(call, format_args!("`field` names a record and its field: `{EXAMPLE}`")),
            },
            other => faults.add(other, format_args!("`relative_to` is `stream`, `now` or `{EXAMPLE}`")),
        }
        Self::Stream
    }

    /// The last part of the path is the field, what is before it the type.
    fn field(mut path: Path) -> Self {
        match path.segments.pop() {
            Some(field) => {
                path.segments.pop_punct();
                Self::Field(path, field.ident)
            }
            None => Self::Stream,
        }
    }

    pub(super) fn to_tokens(&self, private: &TokenStream) -> TokenStream {
        match self {
            Self::Stream => quote!(#private::RelativeTo::Stream),
            Self::Now => quote!(#private::RelativeTo::Now),
            Self::Field(ty, field) => {
                let span = located(field);
                let [event, value] = ["event", "value"].map(|name| local(name, span));
                let private_here = placed(private, span);
                // A field that is no time is told where it is named.
                let read = quote_spanned!(span=> #private_here::support::IntoTimestamp::to_timestamp(&#value.#field));
                quote! {
                    #private::RelativeTo::Field(|#event| {
                        #private::support::record_in::<#ty>(#event).and_then(|#value| #read)
                    })
                }
            }
        }
    }
}
