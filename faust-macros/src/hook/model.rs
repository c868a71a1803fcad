//! A hook as its annotation and signature together say it is; every rule is checked here.

use proc_macro2::Span;
use syn::{Ident, LitStr, Path, Type};

use super::{HookOptions, Moment};
use crate::argument::{Argument, Injected};
use crate::docs::first_paragraph;
use crate::fault::Faults;
use crate::function::{AnnotatedFn, Kind, ident_text};

/// A validated hook; where something was wrong it holds what is left, and expands to no more than its handle.
pub(super) struct Hook {
    pub(super) moment: Moment,
    pub(super) facade: Path,
    pub(super) ident: Ident,
    pub(super) name: String,
    pub(super) table: String,
    pub(super) help: String,
    /// Key, window and value or late event; then what is injected.
    pub(super) arguments: Vec<Injected>,
    /// Where errors about what it returns belong.
    pub(super) returned: Span,
}

/// How many arguments a call brings.
pub(super) const CALLED_WITH: usize = 3;

impl Hook {
    /// Judges the whole and notes everything that is wrong with it.
    pub(super) fn new(
        moment: Moment,
        function: &AnnotatedFn,
        arguments: Vec<Argument>,
        options: HookOptions,
        faults: &mut Faults,
    ) -> Self {
        let ident = function.sig.ident.clone();
        function.check_signature(Kind::Hook, faults);
        // A method's arguments are not judged: it has to become a function first.
        if function.sig.receiver().is_none() {
            check_called_with(moment, &ident, &arguments, faults);
            arguments.iter().skip(CALLED_WITH).for_each(|argument| check_injected(argument, faults));
        }
        if options.table.is_none() && options.were_right {
            let attribute = moment.grammar().attribute.trim_matches(['`', '#', '[', ']']);
            let text = format_args!("hook `{ident}` needs its table: `#[{attribute}(table = \"sums\")]`");
            faults.add(&ident, text);
        }
        Self {
            moment,
            facade: options.facade,
            name: ident_text(&ident),
            table: options.table.as_ref().map_or_else(String::new, LitStr::value),
            help: first_paragraph(&function.attrs),
            arguments: arguments.into_iter().enumerate().map(|(at, argument)| Injected::new(at, argument)).collect(),
            returned: function.returned(),
            ident,
        }
    }
}

/// The arguments that each call brings. They are told by their place, so the first that is out of place says it all.
fn check_called_with(moment: Moment, hook: &Ident, arguments: &[Argument], faults: &mut Faults) {
    let third = match moment {
        Moment::Close => "its value",
        Moment::Late => "the late event",
    };
    let order = format!("hook `{hook}` takes the key, the window and {third} first: `{}`", moment.example());
    for (at, argument) in arguments.iter().take(CALLED_WITH).enumerate() {
        if argument.is_declared() || argument.is("Topic") || argument.is("Stream") {
            return faults.add(&argument.ty, order);
        }
        if let Some(text) = misplaced(moment, hook, at, argument) {
            return faults.add(&argument.ty, text);
        }
        argument.check(Kind::Hook, faults);
    }
    if arguments.len() < CALLED_WITH {
        faults.add(hook, order);
    }
}

/// What is wrong with the type for this place.
fn misplaced(moment: Moment, hook: &Ident, at: usize, argument: &Argument) -> Option<String> {
    let is_told_anyhow = matches!(argument.ty, Type::Reference(_) | Type::ImplTrait(_));
    match (at, moment) {
        (1, _) if !is_told_anyhow && !argument.is("Window") => {
            Some(format!("the second argument of hook `{hook}` is the window: write `window: Window` here"))
        }
        (2, Moment::Late) if !is_told_anyhow && !argument.is("LateEvent") => {
            Some(format!("the third argument of hook `{hook}` is the late event: write `event: LateEvent` here"))
        }
        (2, Moment::Close) if argument.is("LateEvent") => Some(
            "`LateEvent` is what `#[window_late]` gets; take the window's value here, like `total: i64`".to_owned(),
        ),
        _ => None,
    }
}

fn check_injected(argument: &Argument, faults: &mut Faults) {
    if argument.is("Stream") {
        faults.add(&argument.ty, "a hook reads no stream, it is called with each window; remove it");
    } else {
        argument.check(Kind::Hook, faults);
    }
}
