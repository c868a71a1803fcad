//! The options between an attribute's parentheses: `name = value` and bare flags, all of them read before any is judged.

use proc_macro2::TokenStream;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, ExprLit, Ident, Lit, LitStr, Path, Token};

use crate::fault::Faults;

/// What an attribute can hold.
pub(crate) struct Grammar {
    /// How messages name it, with its quotes.
    pub(crate) attribute: &'static str,
    pub(crate) known: &'static [&'static str],
    /// Those of them that take a list in parentheses instead of a value: `no_derive(Debug)`.
    pub(crate) lists: &'static [&'static str],
    pub(crate) leading: Leading,
}

/// What becomes of a value without a name at the start.
pub(crate) enum Leading {
    /// It is the topic of `#[topic("a.b")]`.
    Taken,
    /// It is a mistake, answered with this example of an option.
    Refused(&'static str),
}

/// The options of one attribute that nobody has taken yet.
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
    /// Reads them; notes those unknown, repeated or malformed, so that what is left can be trusted.
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
                    input.error(format_args!("{} takes options like `name = value` here", self.grammar.attribute))
                );
            }
            if !input.is_empty() {
                input.parse::<Token![,]>()?;
            }
            first = false;
        }
        Ok(())
    }

    /// A bare word may be a flag or the constant that a leading value is.
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
            faults.add(value, format_args!("{} takes its options by name: `{example}`", self.grammar.attribute));
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
                    format_args!("{} has no option `{name}`; it has {known}", self.grammar.attribute),
                );
            } else if kept.iter().any(|other| other.name == given.name) {
                faults.add(&given.name, format_args!("`{name}` is given twice; keep one"));
            } else {
                kept.push(given);
            }
        }
        self.given = kept;
    }

    /// The value that stands first without a name.
    pub(crate) fn leading(&mut self) -> Option<Expr> {
        self.leading.take()
    }

    /// Whether an option stands there and nobody has taken it, whatever its value.
    pub(crate) fn is_given(&self, name: &str) -> bool {
        self.given.iter().any(|given| given.name == name)
    }

    /// Whether a bare flag was given.
    pub(crate) fn flag(&mut self, name: &str, faults: &mut Faults) -> bool {
        match self.take(name) {
            None => false,
            Some(Given { value: None, .. }) => true,
            Some(Given { value: Some(value), .. }) => {
                faults.add(value, format_args!("`{name}` takes no value; write `{name}` alone or leave it out"));
                true
            }
        }
    }

    /// The option's name and its value, whatever that is; `example` is shown when the value is missing.
    pub(crate) fn value(&mut self, name: &str, example: &str, faults: &mut Faults) -> Option<(Ident, Expr)> {
        let given = self.take(name)?;
        if given.value.is_none() {
            faults.add(&given.name, format_args!("`{name}` needs a value: `{name} = {example}`"));
        }
        given.value.map(|value| (given.name, value))
    }

    /// A value that is a string literal and not empty.
    pub(crate) fn text(&mut self, name: &str, example: &str, faults: &mut Faults) -> Option<LitStr> {
        let (_, value) = self.value(name, example, faults)?;
        match literal(&value) {
            Some(text) if text.value().trim().is_empty() => {
                faults.add(value, format_args!("`{name}` is empty; write `{name} = {example}` or leave it out"));
                None
            }
            Some(text) => Some(text.clone()),
            None => {
                faults.add(value, format_args!("`{name}` must be a string literal: `{name} = {example}`"));
                None
            }
        }
    }

    /// Takes the names of a list in parentheses; `example` is shown when there is none.
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

    /// The path by which the generated code finds the facade: `::faust` unless `crate = path` says otherwise.
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

    /// Takes an option as it was given, with or without a value.
    pub(crate) fn bare_or_value(&mut self, name: &str) -> Option<(Ident, Option<Expr>)> {
        self.take(name).map(|given| (given.name, given.value))
    }

    fn take(&mut self, name: &str) -> Option<Given> {
        let at = self.given.iter().position(|given| given.name == name)?;
        Some(self.given.remove(at))
    }
}

/// The string literal that an expression is, if it is one.
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
    fn every_mistake_is_told_and_none_hides_another() {
        let text = faults_of(quote!("clicks", name = 3, nome = "x", topic = 1, topic, crate = "faust"));
        for expected in [
            "`#[agent]` takes its options by name: `topic = \\\"clicks\\\"`",
            "`name` must be a string literal: `name = \\\"clicks\\\"`",
            "`#[agent]` has no option `nome`; it has `name`, `topic`, `crate`",
            "`topic` takes no value",
            "`topic` is given twice; keep one",
            "`crate` must be a path: `crate = ::faust`",
        ] {
            assert!(text.contains(expected), "{expected} is not in {text}");
        }
    }

    #[test]
    fn good_options_leave_no_fault() {
        assert_eq!(faults_of(quote!(name = "x", topic, crate = ::other)), "");
        assert_eq!(faults_of(quote!()), "");
    }
}
