//! What an argument may be: its type and its attributes have to fit each other.

use syn::{GenericArgument, PathArguments, Type, parse_quote};

use super::Argument;
use crate::docs::as_written;
use crate::fault::Faults;
use crate::function::Kind;
use crate::topic::fault_in_name;
use crate::types::{last_name, last_segment};

impl Argument {
    /// Notes what is wrong with it, whatever its place in the function.
    pub(crate) fn check(&self, kind: Kind, faults: &mut Faults) {
        let name = self.shown();
        match &self.ty {
            Type::Reference(reference) => {
                let (owned, noun) = (as_written(owned(&reference.elem)), kind.noun());
                faults.add(
                    reference,
                    format_args!(
                        "argument `{name}` must be owned, as the {noun} outlives the call: take `{owned}` by value"
                    ),
                );
            }
            Type::ImplTrait(ty) => {
                let text = format_args!("argument `{name}` needs a type of its own; write it out instead of `impl`");
                faults.add(ty, text);
            }
            // Both attributes at once were told already.
            _ if self.topic.is_some() && self.table.is_some() => {}
            ty => match self.misfit(&name) {
                Some(text) => faults.add(ty, text),
                None if self.is_table() => self.check_table(&name, faults),
                None => {}
            },
        }
    }

    /// What is wrong between the type and the attribute that stands before it.
    fn misfit(&self, name: &str) -> Option<String> {
        let written = last_name(&self.ty).map(ToString::to_string).unwrap_or_default();
        Some(match (written.as_str(), self.topic.is_some(), self.table.is_some()) {
            ("Topic", false, false) => {
                format!("argument `{name}` does not say which topic it is: `#[topic(\"..\")] {name}: Topic<..>`")
            }
            ("Topic", _, true) => {
                format!("`#[table]` is for tables; write `#[topic(\"..\")] {name}: Topic<..>`")
            }
            ("Stream", true, _) => {
                format!("`#[topic]` is for outputs; the stream `{name}` gets its topic from `#[agent(topic = \"..\")]`")
            }
            ("Stream", _, true) => {
                format!("`#[table]` is for tables; the stream `{name}` keeps nothing, remove the attribute")
            }
            ("Table" | "WindowedTable", true, _) => {
                "`#[topic]` is for outputs; the changelog of a table is named by `#[table(changelog_topic = \"..\")]`"
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
                format_args!("a table with a window is a `WindowedTable`: write `{name}: WindowedTable<..>`"),
            );
        }
        if self.is("WindowedTable") && !has_window {
            let text = format_args!(
                "table `{name}` does not say what its windows are: `#[table(window = tumbling(\"10s\"))] {name}: WindowedTable<..>`"
            );
            faults.add(last_name(&self.ty), text);
        }
        if self.table.as_ref().is_some_and(|table| table.default.is_some()) && self.value_type().is_none() {
            let text =
                "the type of `default` is not to be seen here; write the table's type out, like `Table<String, i64>`";
            faults.add(&self.ty, text);
        }
        if self.table.as_ref().is_none_or(|table| !table.is_named) {
            match self.name() {
                Some(name) => {
                    if let Some(fault) = fault_in_name("table", &name) {
                        let text = format!(
                            "{fault}, and the changelog is named after the table: `#[table(name = \"counts\")]`"
                        );
                        faults.add(&self.pattern, text);
                    }
                }
                None => faults.add(
                    &self.pattern,
                    "a table is named after its argument; write `counts: Table<..>`, or `#[table(name = \"counts\")]`",
                ),
            }
        }
    }

    /// The `V` of a table whose type is written out.
    pub(super) fn value_type(&self) -> Option<Type> {
        let PathArguments::AngleBracketed(generics) = &last_segment(&self.ty)?.arguments else { return None };
        generics.args.iter().rev().find_map(|argument| match argument {
            GenericArgument::Type(ty) => Some(ty.clone()),
            _ => None,
        })
    }
}

/// What to take instead of a reference.
fn owned(borrowed: &Type) -> Type {
    if last_name(borrowed).is_some_and(|name| name == "str") { parse_quote!(String) } else { borrowed.clone() }
}
