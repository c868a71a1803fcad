//! `#[window_close]` and `#[window_late]`: keep the function, put a handle of its name beside it, and register it.

mod expand;
mod model;
#[cfg(test)]
mod tests;

use proc_macro2::TokenStream;
use quote::quote;
use syn::{LitStr, Path};

use crate::argument::take_arguments;
use crate::fault::{Faults, first_token};
use crate::function::{AnnotatedFn, Kind};
use crate::options::{Grammar, Leading, Options};
use crate::table::check_name;

/// What a hook is called for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    Close,
    Late,
}

impl Moment {
    fn grammar(self) -> &'static Grammar {
        static CLOSE: Grammar = grammar("`#[window_close]`");
        static LATE: Grammar = grammar("`#[window_late]`");
        match self {
            Moment::Close => &CLOSE,
            Moment::Late => &LATE,
        }
    }

    /// What the function's first arguments look like.
    fn example(self) -> &'static str {
        match self {
            Moment::Close => "async fn closed(key: String, window: Window, total: i64)",
            Moment::Late => "async fn late(key: String, window: Window, event: LateEvent)",
        }
    }
}

const fn grammar(attribute: &'static str) -> Grammar {
    Grammar { attribute, known: &["table", "crate"], lists: &[], leading: Leading::Refused("table = \"sums\"") }
}

/// What the attribute said.
struct HookOptions {
    facade: Path,
    table: Option<LitStr>,
    /// Whether a missing table is news: of an attribute that could not be read it is not.
    were_right: bool,
}

/// The attribute's expansion. Whatever is wrong, the function and its handle stay, so that their users see no errors
/// of second hand.
pub(crate) fn expand(moment: Moment, options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let Ok(mut function) = syn::parse2::<AnnotatedFn>(item.clone()) else {
        let (attribute, example) = (moment.grammar().attribute, moment.example());
        faults.add(first_token(&item), format_args!("{attribute} goes on a function: `{example}`"));
        let errors = faults.emit();
        return quote!(#item #errors);
    };
    let options = self::options(moment, options, &mut faults);
    let arguments = take_arguments(&mut function.sig, Kind::Hook, &mut faults);
    let hook = model::Hook::new(moment, &function, arguments, options, &mut faults);
    expand::expand(&function, &hook, faults)
}

fn options(moment: Moment, tokens: TokenStream, faults: &mut Faults) -> HookOptions {
    let mut options = Options::parse(moment.grammar(), tokens, faults);
    let facade = options.facade(faults);
    let table = options.text("table", "\"sums\"", faults);
    let were_right = faults.is_empty();
    if let Some(table) = &table {
        check_name(&table.value(), table, faults);
    }
    HookOptions { facade, table, were_right }
}
