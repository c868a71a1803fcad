//! Finds an `update` that changes nothing, `counts.update(&key, |count| *count + 1);`, which compiles: the closure may return a value.

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};

use crate::argument::Argument;
use crate::fault::Faults;

/// The operators of numbers. With `=` behind it, each is an assignment.
const OPERATORS: &str = "+-*/%&|^";

/// Reports each statement that updates a table with a closure that only calculates.
pub(crate) fn check(body: &TokenStream, arguments: &[Argument], faults: &mut Faults) {
    let tables: Vec<String> =
        arguments.iter().filter(|argument| argument.is_table()).filter_map(Argument::name).collect();
    if !tables.is_empty() {
        check_in(body, &tables, faults);
    }
}

/// Like [`check`], for part of a body.
fn check_in(body: &TokenStream, tables: &[String], faults: &mut Faults) {
    let tokens: Vec<TokenTree> = body.clone().into_iter().collect();
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Group(group) => check_in(&group.stream(), tables, faults),
            TokenTree::Ident(table) if tables.iter().any(|name| table == name) && begins_statement(&tokens, at) => {
                check_statement(&tokens[at + 1..], faults);
            }
            _ => {}
        }
    }
}

/// Returns whether a statement begins at this token, so that its value is not used.
fn begins_statement(tokens: &[TokenTree], at: usize) -> bool {
    match at.checked_sub(1).map(|before| &tokens[before]) {
        None => true,
        Some(TokenTree::Punct(punct)) => punct.as_char() == ';',
        Some(TokenTree::Group(group)) => group.delimiter() == Delimiter::Brace,
        Some(_) => false,
    }
}

/// Reports the statement `table.update(..);`, of which these are the tokens behind the table, if its closure only calculates.
fn check_statement(tokens: &[TokenTree], faults: &mut Faults) {
    let [dot, TokenTree::Ident(method), TokenTree::Group(arguments), end, ..] = tokens else { return };
    if method != "update" || !is(dot, '.') || !is(end, ';') {
        return;
    }
    if let Some((value, operator)) = calculation(arguments.stream()) {
        let text = format!(
            "the closure of `update` changes nothing: it returns a new value, which is dropped; write \
             `|{value}| *{value} {operator}= ..`"
        );
        faults.add(method, text);
    }
}

/// Returns the closure's argument and the first operator, if the closure, the last argument, is `|value| *value + ..`.
fn calculation(arguments: TokenStream) -> Option<(Ident, char)> {
    let tokens: Vec<TokenTree> = arguments.into_iter().collect();
    let closure = tokens.windows(2).position(|pair| is(&pair[0], ',') && is(&pair[1], '|'))? + 1;
    let [_, TokenTree::Ident(value), bar, star, TokenTree::Ident(read), TokenTree::Punct(operator), rest @ ..] =
        &tokens[closure..]
    else {
        return None;
    };
    let calculates = is(bar, '|') && is(star, '*') && read == value && OPERATORS.contains(operator.as_char());
    // `+=`, `&&` and the like are joint. Anything behind the calculation may have an effect.
    let is_plain = operator.spacing() == Spacing::Alone && !rest.iter().any(|token| is(token, '='));
    (calculates && is_plain).then(|| (value.clone(), operator.as_char()))
}

fn is(token: &TokenTree, c: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == c)
}
