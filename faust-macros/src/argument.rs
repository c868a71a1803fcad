//! An argument of an agent or a hook as it is written, and what its attributes say.

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
    /// `None` without `#[topic]`; `Some(None)` if that is faulty, which was noted.
    topic: Option<Option<TopicDecl>>,
    /// From `#[table]`, which a table need not have.
    table: Option<TableDecl>,
}

impl Argument {
    /// The binding; a table has its name.
    fn name(&self) -> Option<String> {
        match &self.pattern {
            Pat::Ident(binding) => Some(ident_text(&binding.ident)),
            _ => None,
        }
    }

    /// How messages call it.
    fn shown(&self) -> String {
        self.name().unwrap_or_else(|| "_".to_owned())
    }

    /// Whether its type, as far as its tokens say, is the framework's of that name.
    pub(crate) fn is(&self, name: &str) -> bool {
        last_name(&self.ty).is_some_and(|found| found == name)
    }

    /// Whether it is a table, with or without its attribute.
    fn is_table(&self) -> bool {
        self.table.is_some() || self.is("Table") || self.is("WindowedTable")
    }

    /// Whether it says that the framework makes it, so that it cannot be an event, a key or a value.
    pub(crate) fn is_declared(&self) -> bool {
        self.topic.is_some() || self.is_table()
    }
}

/// Reads the arguments and removes our attributes from them, which rustc would not know.
pub(crate) fn take_arguments(sig: &mut Signature, kind: Kind, faults: &mut Faults) -> Vec<Argument> {
    let mut arguments = Vec::new();
    for input in &mut sig.inputs {
        match input {
            FnArg::Receiver(receiver) => {
                let a_function = kind.with_article();
                faults.add(
                    receiver,
                    format_args!("{a_function} is a free function, it has no `self`; move it out of the `impl`"),
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
                faults.add(attribute, "an argument is one topic; remove the second `#[topic]`");
            } else {
                refuse_both(table.is_some(), attribute, faults);
                topic = Some(TopicDecl::parse(attribute, faults));
            }
            return false;
        }
        if path.is_ident("table") {
            if table.is_some() {
                faults.add(attribute, "`#[table]` stands here twice; put all options into one");
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
                "`#[{name}]` is not an attribute of {of}'s argument; there are `#[topic(\"..\")]` and `#[table(..)]`"
            );
            faults.add(path, text);
        }
        is_rust
    });
    (topic, table)
}

fn refuse_both(other_stands: bool, attribute: &Attribute, faults: &mut Faults) {
    if other_stands {
        faults.add(attribute, "an argument is a topic or a table, not both; remove one of the two attributes");
    }
}

/// Only these are the compiler's own on an argument.
fn is_rust(attribute: &Attribute) -> bool {
    let known = ["cfg", "cfg_attr", "allow", "expect", "warn", "deny", "forbid"];
    known.iter().any(|known| attribute.path().is_ident(known))
}
