//! The validated model of a hook, built from its annotation and its signature. All rules are checked here.

use proc_macro2::Span;
use syn::{Ident, LitStr, Path, Type};

use super::{HookOptions, Moment};
use crate::argument::{Argument, Injected};
use crate::docs::first_paragraph;
use crate::fault::Faults;
use crate::function::{AnnotatedFn, Kind, ident_text};

/// A validated hook. After an error it contains only the valid parts, and only its handle is expanded.
pub(super) struct Hook {
    pub(super) moment: Moment,
    pub(super) facade: Path,
    pub(super) ident: Ident,
    pub(super) name: String,
    pub(super) table: String,
    pub(super) help: String,
    /// The key, the window and the value or late event, followed by the injected arguments.
    pub(super) arguments: Vec<Injected>,
    /// The span for errors about the return value.
    pub(super) returned: Span,
}

/// Number of arguments that each call passes to the hook; the others are injected.
pub(super) const CALLED_WITH: usize = 3;

impl Hook {
    /// Validates the hook and reports all errors.
    pub(super) fn new(
        moment: Moment,
        function: &AnnotatedFn,
        arguments: Vec<Argument>,
        options: HookOptions,
        faults: &mut Faults,
    ) -> Self {
        let ident = function.sig.ident.clone();
        function.check_signature(Kind::Hook, faults);
        // The arguments of a method are not checked: it has to be turned into a function first.
        if function.sig.receiver().is_none() {
            check_called_with(moment, &ident, &arguments, faults);
            arguments.iter().skip(CALLED_WITH).for_each(|argument| check_injected(argument, faults));
        }
        if options.table.is_none() && options.were_right {
            let attribute = moment.grammar().attribute.trim_matches(['`', '#', '[', ']']);
            let text = format_args!("hook `{ident}` does not name its table: `#[{attribute}(table = \"sums\")]`");
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

/// Checks the arguments that each call passes. They are identified by position, so only the first misplaced one is
/// reported.
fn check_called_with(moment: Moment, hook: &Ident, arguments: &[Argument], faults: &mut Faults) {
    let third = match moment {
        Moment::Close => "its value",
        Moment::Late => "the late event",
    };
    let order =
        format!("the first arguments of hook `{hook}` must be the key, the window and {third}: `{}`", moment.example());
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

/// Returns the error message if the type does not fit this position.
fn misplaced(moment: Moment, hook: &Ident, at: usize, argument: &Argument) -> Option<String> {
    let is_told_anyhow = matches!(argument.ty, Type::Reference(_) | Type::ImplTrait(_));
    match (at, moment) {
        (1, _) if !is_told_anyhow && !argument.is("Window") => {
            Some(format!("the second argument of hook `{hook}` must be the window: write `window: Window` here"))
        }
        (2, Moment::Late) if !is_told_anyhow && !argument.is("LateEvent") => {
            Some(format!("the third argument of hook `{hook}` must be the late event: write `event: LateEvent` here"))
        }
        (2, Moment::Close) if argument.is("LateEvent") => Some(
            "`LateEvent` is only passed to `#[window_late]`; take the value of the window here, for example `total: i64`".to_owned(),
        ),
        _ => None,
    }
}

fn check_injected(argument: &Argument, faults: &mut Faults) {
    if argument.is("Stream") {
        faults.add(&argument.ty, "a hook is called by its table and cannot read a `Stream`; remove this argument");
    } else {
        argument.check(Kind::Hook, faults);
    }
}
