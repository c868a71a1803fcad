//! `#[table(..)]` on an argument: the declaration of a table.

mod relative;
mod windows;

use proc_macro2::{Span, TokenStream};
use quote::{ToTokens, quote};
use syn::{Attribute, Expr, LitStr, Meta, Type};

use crate::fault::Faults;
use crate::options::{Grammar, Leading, Options, literal};
use crate::topic::{codec, fault_in_name, local, option, topic_name};

use windows::Windows;

/// `#[table(..)]` on an argument. Invalid options have been reported and are left out.
pub(crate) struct TableDecl {
    name: Option<LitStr>,
    /// `true` if the option `name` is given, valid or not.
    pub(crate) is_named: bool,
    pub(crate) windows: Windows,
    changelog_topic: Option<Expr>,
    help: Option<LitStr>,
    key_codec: Option<LitStr>,
    value_codec: Option<LitStr>,
    pub(crate) default: Option<Expr>,
    partition_by_source: bool,
}

static GRAMMAR: Grammar = Grammar {
    attribute: "`#[table]`",
    known: &[
        "name",
        "default",
        "window",
        "expires",
        "relative_to",
        "changelog_topic",
        "key_codec",
        "value_codec",
        "partition_by_source",
        "help",
    ],
    lists: &[],
    leading: Leading::Refused("name = \"counts\""),
};

impl TableDecl {
    /// Parses the attribute and reports its errors.
    pub(crate) fn parse(attribute: &Attribute, faults: &mut Faults) -> Self {
        let tokens = match &attribute.meta {
            Meta::List(list) => list.tokens.clone(),
            Meta::Path(_) => TokenStream::new(),
            Meta::NameValue(_) => {
                faults.add(attribute, "`#[table]` takes its options in parentheses: `#[table(name = \"counts\")]`");
                TokenStream::new()
            }
        };
        let mut options = Options::parse(&GRAMMAR, tokens, faults);
        let is_named = options.is_given("name");
        let name = options.text("name", "\"counts\"", faults);
        if let Some(name) = &name {
            check_name(&name.value(), name, faults);
        }
        let changelog_topic = options.value("changelog_topic", "\"my-log\"", faults);
        Self {
            name,
            is_named,
            windows: Windows::parse(&mut options, faults),
            changelog_topic: changelog_topic
                .and_then(|(_, name)| topic_name(name, "changelog_topic = \"my-log\"", faults)),
            help: options.text("help", "\"Clicks per page\"", faults),
            key_codec: codec(&mut options, "key_codec", faults),
            value_codec: codec(&mut options, "value_codec", faults),
            default: options.value("default", "10", faults).map(|(_, value)| value),
            partition_by_source: options.flag("partition_by_source", faults),
        }
    }

    /// Returns the declaration as a constant expression; `value` is the type of the table's values.
    pub(crate) fn to_tokens(&self, value: Option<&Type>, private: &TokenStream) -> TokenStream {
        let name = option(&self.name);
        let window = option(&self.windows.decl(private));
        let changelog_topic = option(&self.changelog_topic);
        let help = self.help.as_ref().map_or_else(String::new, LitStr::value);
        let (key_codec, value_codec) = (option(&self.key_codec), option(&self.value_codec));
        let default = option(&self.default.as_ref().zip(value).map(|(default, ty)| maker(default, ty)));
        let partition_by_source = self.partition_by_source;
        let relative_to = self.windows.relative_to(private);
        quote! {
            #private::TableDecl {
                name: #name,
                window: #window,
                changelog_topic: #changelog_topic,
                help: #help,
                key_codec: #key_codec,
                value_codec: #value_codec,
                default: #default,
                partition_by_source: #partition_by_source,
                relative_to: #relative_to,
            }
        }
    }
}

/// Returns a closure that creates the default value. The `let` has an explicit type, so that the compiler reports a
/// mismatch at the expression.
fn maker(default: &Expr, ty: &Type) -> TokenStream {
    let value = local("value", Span::mixed_site());
    // A string literal is converted to `String`, as for the default of a record's field.
    let is_text = literal(default).is_some() && crate::types::last_name(ty).is_some_and(|name| name == "String");
    let default = if is_text { quote!(::core::convert::From::from(#default)) } else { default.to_token_stream() };
    quote! {
        || {
            let #value: #ty = #default;
            ::std::boxed::Box::new(#value) as ::std::boxed::Box<dyn ::core::any::Any + ::core::marker::Send>
        }
    }
}

/// Reports a table name that is not valid in the name of the changelog topic.
pub(crate) fn check_name(name: &str, place: impl ToTokens, faults: &mut Faults) {
    if let Some(fault) = fault_in_name("table", name) {
        faults.add(place, format_args!("{fault} (the changelog topic is named after the table)"));
    }
}

#[cfg(test)]
mod tests;
