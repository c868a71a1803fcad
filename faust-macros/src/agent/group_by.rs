//! Finds `group_by` without a name in the body of an agent, which the compiler would report as a missing `&str`.

use proc_macro2::{Delimiter, Group, Spacing, TokenStream, TokenTree};
use quote::quote;

use crate::fault::Faults;

/// Reports each `stream.group_by(|value| ..)`, also behind other operators. Returns the body with a name in each, so that the
/// compiler does not report it again; `None` if there is nothing to report.
pub(super) fn name_all(body: &TokenStream, stream: String, faults: &mut Faults) -> Option<TokenStream> {
    name_in(body, &mut vec![stream], faults)
}

/// Like [`name_all`], for part of a body. `streams` are the variables that hold the stream.
fn name_in(body: &TokenStream, streams: &mut Vec<String>, faults: &mut Faults) -> Option<TokenStream> {
    let mut tokens: Vec<TokenTree> = body.clone().into_iter().collect();
    let mut has_changed = false;
    for at in 0..tokens.len() {
        match &tokens[at] {
            TokenTree::Group(group) => {
                if let Some(inner) = name_in(&group.stream(), streams, faults) {
                    tokens[at] = with_content(group, inner);
                    has_changed = true;
                }
            }
            TokenTree::Ident(ident) if streams.iter().any(|stream| ident == stream) => {
                streams.extend(bound_to(&tokens, at));
                has_changed |= name_in_chain(&mut tokens, at + 1, faults);
            }
            _ => {}
        }
    }
    has_changed.then(|| tokens.into_iter().collect())
}

/// Returns the variable of `let variable = stream..`, if the token is the stream.
fn bound_to(tokens: &[TokenTree], at: usize) -> Option<String> {
    let is_assignment =
        matches!(tokens.get(at.checked_sub(1)?), Some(TokenTree::Punct(punct)) if punct.as_char() == '=');
    match tokens.get(at.checked_sub(2)?) {
        Some(TokenTree::Ident(variable)) if is_assignment => Some(variable.to_string()),
        _ => None,
    }
}

/// Names the unnamed `group_by` in the method calls that begin at this token. Returns whether there is one.
fn name_in_chain(tokens: &mut [TokenTree], mut at: usize, faults: &mut Faults) -> bool {
    let mut has_changed = false;
    while let Some((method, arguments)) = call(tokens, at) {
        if let (TokenTree::Ident(ident), TokenTree::Group(group)) = (&tokens[method], &tokens[arguments])
            && ident == "group_by"
            && is_closure(group.stream())
        {
            let (closure, name) = (group.stream(), key_name(group.stream()));
            let text = format!(
                "`group_by` needs a name, because it sends the events through the topic \
                 `<app>-<agent>-{name}-repartition`: write `group_by(\"{name}\", |..| ..)`, and keep the name when the \
                 code changes"
            );
            faults.add(ident, text);
            tokens[arguments] = with_content(group, quote!(#name, #closure));
            has_changed = true;
        }
        at = arguments + 1;
    }
    has_changed
}

fn with_content(group: &Group, content: TokenStream) -> TokenTree {
    let mut changed = Group::new(group.delimiter(), content);
    changed.set_span(group.span());
    changed.into()
}

/// Returns the places of the method and of the arguments in `.method(..)` or `.method::<..>(..)`.
fn call(tokens: &[TokenTree], at: usize) -> Option<(usize, usize)> {
    let is = |at: usize, c: char| matches!(tokens.get(at), Some(TokenTree::Punct(punct)) if punct.as_char() == c);
    if !is(at, '.') || !matches!(tokens.get(at + 1), Some(TokenTree::Ident(_))) {
        return None;
    }
    let mut end = at + 2;
    if is(end, ':') && is(end + 1, ':') && is(end + 2, '<') {
        end += 3;
        let mut depth = 1;
        while depth > 0 {
            // The `>` of `->` closes nothing.
            let is_arrow = end > 0
                && matches!(&tokens[end - 1], TokenTree::Punct(punct) if punct.as_char() == '-' && punct.spacing() == Spacing::Joint);
            match tokens.get(end)? {
                TokenTree::Punct(punct) if punct.as_char() == '<' => depth += 1,
                TokenTree::Punct(punct) if punct.as_char() == '>' && !is_arrow => depth -= 1,
                _ => {}
            }
            end += 1;
        }
    }
    let is_call =
        matches!(tokens.get(end), Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis);
    is_call.then_some((at + 1, end))
}

/// Returns whether the arguments begin with a closure.
fn is_closure(arguments: TokenStream) -> bool {
    match arguments.into_iter().next() {
        Some(TokenTree::Punct(punct)) => punct.as_char() == '|',
        Some(TokenTree::Ident(ident)) => ident == "move",
        _ => false,
    }
}

/// Proposes a name for a key: the first field that its closure takes.
fn key_name(closure: TokenStream) -> String {
    let tokens: Vec<TokenTree> = closure.into_iter().collect();
    let field = tokens.windows(2).find_map(|pair| match pair {
        [TokenTree::Punct(dot), TokenTree::Ident(field)] if dot.as_char() == '.' => Some(field.to_string()),
        _ => None,
    });
    field.unwrap_or_else(|| "key".to_owned())
}
