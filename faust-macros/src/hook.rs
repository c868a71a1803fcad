//! `#[window_close]` and `#[window_late]`: keep the function, add a handle of the same name, and register the hook.

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
use crate::update;

/// The moment at which a hook is called.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Moment {
    /// A window has closed.
    Close,
    /// An event is too late for its window.
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

    /// Returns an example of the signature, for error messages.
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

/// The options of the attribute.
struct HookOptions {
    facade: Path,
    table: Option<LitStr>,
    /// `true` if the options were parsed without errors. Only then is a missing `table` reported.
    were_right: bool,
}

/// Expands the attribute. The function and its handle are emitted even if there are errors, so that code that uses them
/// does not cause further errors.
pub(crate) fn expand(moment: Moment, options: TokenStream, item: TokenStream) -> TokenStream {
    let mut faults = Faults::default();
    let Ok(mut function) = syn::parse2::<AnnotatedFn>(item.clone()) else {
        let (attribute, example) = (moment.grammar().attribute, moment.example());
        faults.add(first_token(&item), format_args!("{attribute} must be applied to a function: `{example}`"));
        let errors = faults.emit();
        return quote!(#item #errors);
    };
    let options = self::options(moment, options, &mut faults);
    let arguments = take_arguments(&mut function.sig, Kind::Hook, &mut faults);
    update::check(&function.body, &arguments, &mut faults);
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
