//! The options in an attribute's parentheses: `name = value` and bare flags. All of them are parsed before any is
//! validated.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Path, Token};

use crate::fault::Faults;

/// The options that an attribute accepts.
pub(crate) struct Grammar {
    /// The attribute as error messages name it, with backquotes.
    pub(crate) attribute: &'static str,
    pub(crate) known: &'static [&'static str],
    /// The options in `known` that take a list in parentheses instead of a value: `no_derive(Debug)`.
    pub(crate) lists: &'static [&'static str],
    pub(crate) leading: Leading,
}

/// The handling of a first value without a name.
pub(crate) enum Leading {
    /// The value is accepted, as in `#[topic("a.b")]`.
    Taken,
    /// The value is an error. The message shows this example of an option.
    Refused(&'static str),
}

/// The parsed options of one attribute. Each is removed when it is read.
pub(crate) struct Options {
    grammar: &'static Grammar,
    leading: Option<Expr>,
    given: Vec<Given>,
}

struct Given {
    name: Ident,
    value: Option<Expr>,
}

impl Options {
    /// Parses the options. Reports unknown, repeated and malformed ones and leaves them out.
    pub(crate) fn parse(grammar: &'static Grammar, tokens: TokenStream, faults: &mut Faults) -> Self {
        let mut options = Self { grammar, leading: None, given: Vec::new() };
        let parsed = Parser::parse2(|input: ParseStream<'_>| options.read(input), tokens);
        parsed.unwrap_or_else(|error| faults.push(error));
        options.refuse_leading(faults);
        options.refuse_unknown(faults);
        options
    }

    fn read(&mut self, input: ParseStream<'_>) -> syn::Result<()> {
        let mut first = true;
        while !input.is_empty() {
            if self.is_option(input, first) {
                let name = input.call(Ident::parse_any)?;
                let is_list = self.grammar.lists.contains(&name.to_string().as_str()) && input.peek(syn::token::Paren);
                let has_value = is_list || input.parse::<Option<Token![=]>>()?.is_some();
                let value = if has_value { Some(input.parse()?) } else { None };
                self.given.push(Given { name, value });
            } else if first {
                self.leading = Some(input.parse()?);
            } else {
                return Err(
                    input.error(format_args!("{} expects an option `name = value` here", self.grammar.attribute))
                );
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
            first = false;
        }
        Ok(())
    }

    /// Returns whether the next item is an option. A bare word is either a flag or a constant in the first position.
    fn is_option(&self, input: ParseStream<'_>, first: bool) -> bool {
        if !input.peek(Ident::peek_any) || input.peek2(Token![::]) {
            return false;
        }
        let takes_constant = first && matches!(self.grammar.leading, Leading::Taken) && !input.peek2(Token![=]);
        let is_known = |word: Ident| self.grammar.known.contains(&word.to_string().as_str());
        !takes_constant || input.fork().call(Ident::parse_any).is_ok_and(is_known)
    }

    fn refuse_leading(&mut self, faults: &mut Faults) {
        if let Leading::Refused(example) = self.grammar.leading
            && let Some(value) = self.leading.take()
        {
            faults.add(value, format_args!("the options of {} must be named: `{example}`", self.grammar.attribute));
        }
    }

    fn refuse_unknown(&mut self, faults: &mut Faults) {
        let mut kept: Vec<Given> = Vec::new();
        for given in self.given.drain(..) {
            let name = given.name.unraw().to_string();
            if !self.grammar.known.contains(&name.as_str()) {
                let known = self.grammar.known.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
                faults.add(
                    &given.name,
                    format_args!("{} has no option `{name}`; its options are {known}", self.grammar.attribute),
                );
            } else if kept.iter().any(|other| other.name == given.name) {
                faults.add(&given.name, format_args!("`{name}` is specified twice; remove one"));
            } else {
                kept.push(given);
            }
        }
        self.given = kept;
    }

    /// Takes the first value if it has no name.
    pub(crate) fn leading(&mut self) -> Option<Expr> {
        self.leading.take()
    }

    /// Returns whether an option was given and has not been taken, whatever its value.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.name == name)
    }

    /// Takes a bare flag; returns whether it was given.
    pub(crate) fn flag(&mut self, name: &str, faults: &mut Faults) -> bool {
        match self.take(name) {
            None => false,
            Some(Given { value: None, .. }) => true,
            Some(Given { value: Some(value), .. }) => {
                faults.add(value, format_args!("`{name}` does not take a value; write `{name}` alone or omit it"));
                true
            }
        }
    }

    /// Takes an option's name and value, of any form. The error for a missing value shows `example`.
    pub(crate) fn value(&mut self, name: &str, example: &str, faults: &mut Faults) -> Option<(Ident, Expr)> {
        let given = self.take(name)?;
        if given.value.is_none() {
            faults.add(&given.name, format_args!("`{name}` needs a value: `{name} = {example}`"));
        }
        given.value.map(|value| (given.name, value))
    }

    /// Takes a value that must be a non-empty string literal.
    pub(crate) fn text(&mut self, name: &str, example: &str, faults: &mut Faults) -> Option<LitStr> {
        let (_, value) = self.value(name, example, faults)?;
        match literal(&value) {
            Some(text) if text.value().trim().is_empty() => {
                faults.add(value, format_args!("`{name}` is empty; write `{name} = {example}` or omit it"));
                None
            }
            Some(text) => Some(text.clone()),
            None => {
                faults.add(value, format_args!("`{name}` must be a string literal: `{name} = {example}`"));
                None
            }
        }
    }

    /// Takes the names of a list in parentheses. The error for a missing list shows `example`.
    pub(crate) fn list(&mut self, name: &str, example: &str, faults: &mut Faults) -> Vec<Path> {
        let Some(Given { name: option, value }) = self.take(name) else { return Vec::new() };
        let elements = match value {
            Some(Expr::Paren(one)) => vec![*one.expr],
            Some(Expr::Tuple(many)) => many.elems.into_iter().collect(),
            _ => Vec::new(),
        };
        if elements.is_empty() {
            faults.add(option, format_args!("`{name}` takes a list of names: `{name}({example})`"));
        }
        let mut paths = Vec::new();
        for element in elements {
            match element {
                Expr::Path(path) => paths.push(path.path),
                other => faults.add(other, format_args!("`{name}` takes names: `{name}({example})`")),
            }
        }
        paths
    }

    /// Takes the path of the facade for the generated code: that of `crate = path`, or `::faust`.
    pub(crate) fn facade(&mut self, faults: &mut Faults) -> Path {
        match self.value("crate", "path", faults) {
            Some((_, Expr::Path(path))) => path.path,
            Some((_, other)) => {
                faults.add(other, "`crate` must be a path: `crate = ::faust`");
                syn::parse_quote!(::faust)
            }
            None => syn::parse_quote!(::faust),
        }
    }

    /// Takes an option that may have a value.
    pub(crate) fn bare_or_value(&mut self, name: &str) -> Option<(Ident, Option<Expr>)> {
        self.take(name).map(|given| (given.name, given.value))
    }

    fn take(&mut self, name: &str) -> Option<Given> {
        let at = self.given.iter().position(|given| given.name == name)?;
        Some(self.given.remove(at))
    }
}

/// Returns the string literal of an expression that is one.
pub(crate) fn literal(expr: &Expr) -> Option<&LitStr> {
    match expr {
        Expr::Lit(ExprLit { lit: Lit::Str(text), .. }) => Some(text),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use quote::quote;

    use super::*;

    static GRAMMAR: Grammar = Grammar {
        attribute: "`#[agent]`",
        known: &["name", "topic", "crate"],
        lists: &[],
        leading: Leading::Refused("topic = \"clicks\""),
    };

    fn faults_of(tokens: TokenStream) -> String {
        let mut faults = Faults::default();
        let mut options = Options::parse(&GRAMMAR, tokens, &mut faults);
        options.text("name", "\"clicks\"", &mut faults);
        options.flag("topic", &mut faults);
        options.facade(&mut faults);
        faults.emit().to_string()
    }

    #[test]
    fn all_errors_are_reported_together() {
        let text = faults_of(quote!("clicks", name = 3, nome = "x", topic = 1, topic, crate = "faust"));
        for expected in [
            "the options of `#[agent]` must be named: `topic = \\\"clicks\\\"`",
            "`name` must be a string literal: `name = \\\"clicks\\\"`",
            "`#[agent]` has no option `nome`; its options are `name`, `topic`, `crate`",
            "`topic` does not take a value",
            "`topic` is specified twice; remove one",
            "`crate` must be a path: `crate = ::faust`",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
    }

    #[test]
    fn valid_options_are_accepted() {
        assert_eq!(faults_of(quote!(name = "x", topic, crate = ::other)), "");
        assert_eq!(faults_of(quote!()), "");
    }
}
