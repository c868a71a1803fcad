//! An argument of an agent or a hook, with its attributes.

mod inject;
mod rules;

use quote::ToTokens;
use syn::{Attribute, FnArg, Pat, Signature, Type};

use crate::fault::Faults;
use crate::function::{Kind, ident_text};
use crate::table::TableDecl;
use crate::topic::TopicDecl;
use crate::types::last_name;

pub(crate) use inject::Injected;

/// One argument.
pub(crate) struct Argument {
    pattern: Pat,
    pub(crate) ty: Type,
    /// `None` without `#[topic]`; `Some(None)` if the attribute is invalid, which has been reported.
    topic: Option<Option<TopicDecl>>,
    /// The options of `#[table]`, which is optional on a table.
    table: Option<TableDecl>,
}

impl Argument {
    /// Returns the name of the binding, which is also the default name of a table.
    pub(crate) fn name(&self) -> Option<String> {
        match &self.pattern {
            Pat::Ident(binding) => Some(ident_text(&binding.ident)),
            _ => None,
        }
    }

    /// Returns the name that error messages use.
    fn shown(&self) -> String {
        self.name().unwrap_or_else(|| "_".to_owned())
    }

    /// Returns whether its type is the framework's type `name`, judged by the last segment of the path.
    pub(crate) fn is(&self, name: &str) -> bool {
        last_name(&self.ty).is_some_and(|found| found == name)
    }

    /// Returns whether the argument is a table, with or without `#[table]`.
    pub(crate) fn is_table(&self) -> bool {
        self.table.is_some() || self.is("Table") || self.is("WindowedTable")
    }

    /// Returns whether the argument is declared as a topic or a table, so that it cannot be an event, a key or a value.
    pub(crate) fn is_declared(&self) -> bool {
        self.topic.is_some() || self.is_table()
    }
}

/// Parses the arguments and removes `#[topic]` and `#[table]` from them, because rustc does not know these attributes.
pub(crate) fn take_arguments(sig: &mut Signature, kind: Kind, faults: &mut Faults) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for input in &mut sig.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                let a_function = kind.with_article();
                faults.add(
                    receiver,
                    format_args!("{a_function} must be a free function without `self`; move it out of the `impl`"),
                );
            }
            FnArg::Typed(typed) => {
                let (topic, table) = take_attributes(&mut typed.attrs, kind, faults);
                arguments.push(Argument { pattern: (*typed.pat).clone(), ty: (*typed.ty).clone(), topic, table });
            }
        }
    }
    arguments
}

type Declared = (Option<Option<TopicDecl>>, Option<TableDecl>);

fn take_attributes(attributes: &mut Vec<Attribute>, kind: Kind, faults: &mut Faults) -> Declared {
    let (mut topic, mut table) = (None, None);
    attributes.retain(|attribute| {
        let path = attribute.path();
        if path.is_ident("topic") {
            if topic.is_some() {
                faults.add(attribute, "`#[topic]` is specified twice; remove one");
            } else {
                refuse_both(table.is_some(), attribute, faults);
                topic = Some(TopicDecl::parse(attribute, faults));
            }
            return false;
        }
        if path.is_ident("table") {
            if table.is_some() {
                faults.add(attribute, "`#[table]` is specified twice; combine the options in one attribute");
            } else {
                refuse_both(topic.is_some(), attribute, faults);
                table = Some(TableDecl::parse(attribute, faults));
            }
            return false;
        }
        let is_rust = is_rust(attribute);
        if !is_rust {
            let (name, of) = (path.to_token_stream().to_string(), kind.with_article());
            let text = format!(
                "`#[{name}]` is not supported on an argument of {of}; use `#[topic(\"..\")]` or `#[table(..)]`"
            );
            faults.add(path, text);
        }
        is_rust
    });
    (topic, table)
}

fn refuse_both(other_stands: bool, attribute: &Attribute, faults: &mut Faults) {
    if other_stands {
        faults.add(attribute, "an argument cannot be both a topic and a table; remove one of the two attributes");
    }
}

/// Returns whether the attribute is one that the compiler accepts on an argument.
fn is_rust(attribute: &Attribute) -> bool {
    let known = ["cfg", "cfg_attr", "allow", "expect", "warn", "deny", "forbid"];
    known.iter().any(|known| attribute.path().is_ident(known))
}
