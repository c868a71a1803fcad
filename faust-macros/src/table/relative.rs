//! `relative_to = ..`: the time that selects the window of a plain read.

use proc_macro2::TokenStream;
use quote::{quote, quote_spanned};
use syn::{Expr, Ident, Path};

use crate::fault::Faults;
use crate::topic::{local, located, placed};

/// The time that selects the window.
pub(super) enum RelativeTo {
    /// The timestamp of the current event.
    Stream,
    /// The wall clock.
    Now,
    /// A field of the current event: `field(Type::field)`.
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
                _ => faults.add(call, format_args!("`field` takes the path of a record field: `{EXAMPLE}`")),
            },
            other => faults.add(other, format_args!("`relative_to` must be `stream`, `now` or `{EXAMPLE}`")),
        }
        Self::Stream
    }

    /// Splits the path: the last segment is the field, the rest is the type.
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
                // The span makes the compiler report a field that is not a timestamp where the option names it.
                let read = quote_spanned!(span=> #private_here::support::IntoTimestamp::to_timestamp(&#value.#field));
                quote! {
                    #private::RelativeTo::Field(|#event| {
                        #private::support::record_in::<#ty>(#event).and_then(|#value| #read.ok().flatten())
                    })
                }
            }
        }
    }
}
