//! The options for windows: `tumbling("10s")` or `hopping("1m", "10s")`, their expiry, and the window of a plain read.

use proc_macro2::{Span, TokenStream};
use quote::quote;
use syn::{Expr, ExprCall, LitStr};

use super::relative::RelativeTo;
use crate::duration::millis;
use crate::fault::Faults;
use crate::options::{Options, literal};
use crate::topic::local;

const WINDOWS: &str = "`tumbling(\"10s\")` or `hopping(\"1m\", \"10s\")`";

/// The window options of a table.
pub(crate) struct Windows {
    are_written: bool,
    /// The constructor of the windows and its arguments: `tumbling(..)`.
    kind: Option<TokenStream>,
    expires_ms: Option<i64>,
    relative_to: RelativeTo,
}

impl Windows {
    /// Takes the window options and reports their errors.
    pub(super) fn parse(options: &mut Options, faults: &mut Faults) -> Self {
        let are_written = options.is_given("window");
        let kind = options.value("window", "tumbling(\"10s\")", faults).and_then(|(_, value)| window(&value, faults));
        let mut of_windows = |name: &str, example: &str, faults: &mut Faults| {
            let (option, value) = options.value(name, example, faults)?;
            if !are_written {
                faults
                    .add(option, format_args!("`{name}` requires a windowed table: add `window = tumbling(\"10s\")`"));
            }
            are_written.then_some(value)
        };
        let expires = of_windows("expires", "\"1h\"", faults);
        let relative_to = of_windows("relative_to", "now", faults);
        Self {
            are_written,
            kind,
            expires_ms: expires.and_then(|value| Some(duration(&value, "expires = \"1h\"", faults)?.1)),
            relative_to: relative_to.map_or(RelativeTo::Stream, |value| RelativeTo::parse(value, faults)),
        }
    }

    /// Returns whether the option `window` is given, valid or not.
    pub(crate) fn are_written(&self) -> bool {
        self.are_written
    }

    pub(super) fn decl(&self, private: &TokenStream) -> Option<TokenStream> {
        let kind = self.kind.as_ref()?;
        let spec = local("spec", Span::mixed_site());
        let expires = self.expires_ms.map(in_millis).map(|time| quote!(.and_then(|#spec| #spec.with_expires(#time))));
        Some(quote!(#private::WindowDecl::New(|| #private::WindowSpec::#kind #expires)))
    }

    pub(super) fn relative_to(&self, private: &TokenStream) -> TokenStream {
        self.relative_to.to_tokens(private)
    }
}

/// Parses `tumbling(..)` or `hopping(..)` and returns the call of this constructor of `WindowSpec`.
fn window(value: &Expr, faults: &mut Faults) -> Option<TokenStream> {
    // A name without parentheses is accepted here, so that the error names the missing arguments.
    let (name, call) = match value {
        Expr::Call(call) => (&*call.func, Some(call)),
        name => (name, None),
    };
    let is = |kind: &str| matches!(name, Expr::Path(path) if path.path.is_ident(kind));
    if is("tumbling") {
        tumbling(value, call, faults)
    } else if is("hopping") {
        hopping(value, call, faults)
    } else {
        faults.add(name, format_args!("`window` must be {WINDOWS}"));
        None
    }
}

fn tumbling(written: &Expr, call: Option<&ExprCall>, faults: &mut Faults) -> Option<TokenStream> {
    let example = "tumbling(\"10s\")";
    let Some([size]) = arguments(call) else {
        faults.add(written, format_args!("`tumbling` takes one argument, the size: `{example}`"));
        return None;
    };
    let size = in_millis(span_of_time(size, "size", example, faults)?.1);
    Some(quote!(tumbling(#size)))
}

fn hopping(written: &Expr, call: Option<&ExprCall>, faults: &mut Faults) -> Option<TokenStream> {
    let example = "hopping(\"1m\", \"10s\")";
    let Some([size, step]) = arguments(call) else {
        faults.add(written, format_args!("`hopping` takes two arguments, the size and the step: `{example}`"));
        return None;
    };
    let size = span_of_time(size, "size", example, faults);
    let step = span_of_time(step, "step", example, faults);
    let ((size_text, size), (step_text, step)) = (size?, step?);
    if step > size {
        let (long, short) = (step_text.value(), size_text.value());
        faults.add(
            step_text,
            format_args!(
                "step `{long}` is longer than size `{short}`, so events between two windows would belong to none; use at most `{short}`"
            ),
        );
        return None;
    }
    let (size, step) = (in_millis(size), in_millis(step));
    Some(quote!(hopping(#size, #step)))
}

fn arguments<const N: usize>(call: Option<&ExprCall>) -> Option<[&Expr; N]> {
    call?.args.iter().collect::<Vec<_>>().try_into().ok()
}

/// Parses a duration greater than zero; `what` names it in the error message.
fn span_of_time<'a>(value: &'a Expr, what: &str, example: &str, faults: &mut Faults) -> Option<(&'a LitStr, i64)> {
    let (text, ms) = duration(value, example, faults)?;
    if ms == 0 {
        faults.add(text, format_args!("the {what} of a window must be greater than zero: `{example}`"));
        return None;
    }
    Some((text, ms))
}

/// Returns the expression of a `Duration` of so many milliseconds.
fn in_millis(ms: i64) -> TokenStream {
    let ms = ms.unsigned_abs();
    quote!(::core::time::Duration::from_millis(#ms))
}

fn duration<'a>(value: &'a Expr, example: &str, faults: &mut Faults) -> Option<(&'a LitStr, i64)> {
    let Some(text) = literal(value) else {
        faults.add(value, format_args!("a duration must be a string literal: `{example}`"));
        return None;
    };
    Some((text, millis(text, faults)?))
}
