//! Rules for arguments: an argument's type and its attributes must match.

use syn::{GenericArgument, PathArguments, Type, parse_quote};

use super::Argument;
use crate::docs::as_written;
use crate::fault::Faults;
use crate::function::Kind;
use crate::topic::fault_in_name;
use crate::types::{last_name, last_segment};

impl Argument {
    /// Reports the errors that do not depend on the position of the argument.
    pub(crate) fn check(&self, kind: Kind, faults: &mut Faults) {
        let name = self.shown();
        match &self.ty {
            Type::Reference(reference) => {
                let (owned, noun) = (as_written(owned(&reference.elem)), kind.noun());
                faults.add(
                    reference,
                    format_args!(
                        "argument `{name}` must be owned, because the {noun} outlives the call: take `{owned}` by value"
                    ),
                );
            }
            Type::ImplTrait(ty) => {
                let text = format_args!("argument `{name}` must have a concrete type instead of `impl`");
                faults.add(ty, text);
            }
            // Both attributes on one argument have been reported already.
            _ if self.topic.is_some() && self.table.is_some() => {}
            ty => match self.misfit(&name) {
                Some(text) => faults.add(ty, text),
                None if self.is_table() => self.check_table(&name, faults),
                None => {}
            },
        }
    }

    /// Returns the error message if the type and the attribute do not match.
    fn misfit(&self, name: &str) -> Option<String> {
        let written = last_name(&self.ty).map(ToString::to_string).unwrap_or_default();
        Some(match (written.as_str(), self.topic.is_some(), self.table.is_some()) {
            ("Topic", false, false) => {
                format!("argument `{name}` does not specify its topic: write `#[topic(\"..\")] {name}: Topic<..>`")
            }
            ("Topic", _, true) => {
                format!("`#[table]` cannot be applied to a `Topic`; write `#[topic(\"..\")] {name}: Topic<..>`")
            }
            ("Stream", true, _) => {
                format!("`#[topic]` cannot be applied to a `Stream`; the topic of `{name}` is set by `#[agent(topic = \"..\")]`")
            }
            ("Stream", _, true) => {
                format!("`#[table]` cannot be applied to a `Stream`; remove the attribute from `{name}`")
            }
            ("Table" | "WindowedTable", true, _) => {
                "`#[topic]` cannot be applied to a table; set its changelog topic with `#[table(changelog_topic = \"..\")]`"
                    .to_owned()
            }
            _ => return None,
        })
    }

    fn check_table(&self, name: &str, faults: &mut Faults) {
        let has_window = self.table.as_ref().is_some_and(|table| table.windows.are_written());
        if self.is("Table") && has_window {
            faults.add(
                last_name(&self.ty),
                format_args!("a table with a window must be a `WindowedTable`: write `{name}: WindowedTable<..>`"),
            );
        }
        if self.is("WindowedTable") && !has_window {
            let text = format_args!(
                "windowed table `{name}` does not specify its window: write `#[table(window = tumbling(\"10s\"))] {name}: WindowedTable<..>`"
            );
            faults.add(last_name(&self.ty), text);
        }
        if self.table.as_ref().is_some_and(|table| table.default.is_some()) && self.value_type().is_none() {
            let text = "the type of `default` is unknown here; write the table's type in full, for example `Table<String, i64>`";
            faults.add(&self.ty, text);
        }
        if self.table.as_ref().is_none_or(|table| !table.is_named) {
            match self.name() {
                Some(name) => {
                    if let Some(fault) = fault_in_name("table", &name) {
                        let text = format!(
                            "{fault} (the changelog topic is named after the table): write `#[table(name = \"counts\")]`"
                        );
                        faults.add(&self.pattern, text);
                    }
                }
                None => faults.add(
                    &self.pattern,
                    "a table is named after its argument; name the argument, as in `counts: Table<..>`, or write `#[table(name = \"counts\")]`",
                ),
            }
        }
    }

    /// Returns the `V` of a table if its type is written in full.
    pub(super) fn value_type(&self) -> Option<Type> {
        let PathArguments::AngleBracketed(generics) = &last_segment(&self.ty)?.arguments else { return None };
        generics.args.iter().rev().find_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        })
    }
}

/// Returns the owned type to use instead of a reference: `String` for `str`.
fn owned(borrowed: &Type) -> Type {
    if last_name(borrowed).is_some_and(|name| name == "str") { parse_quote!(String) } else { borrowed.clone() }
}
