//! Doc comments as text: the help that the commands `agents` and `models` show.

use quote::ToTokens;
use syn::{Attribute, Expr, Lit, Meta};

/// Returns the first paragraph of the doc comment as one line, or an empty string if there is no doc comment.
pub(crate) fn first_paragraph(attributes: &[Attribute]) -> String {
    let lines = attributes.iter().filter_map(doc_line);
    let text = lines.collect::<Vec<_>>().join("\n");
    let lines = text.lines().map(str::trim).skip_while(|line| line.is_empty()).take_while(|line| !line.is_empty());
    lines.collect::<Vec<_>>().join(" ")
}

fn doc_line(attribute: &Attribute) -> Option<String> {
    let Meta::NameValue(meta) = &attribute.meta else { return None };
    match &meta.value {
        Expr::Lit(literal) if meta.path.is_ident("doc") => match &literal.lit {
            Lit::Str(text) => Some(text.value()),
            _ => None,
        },
        _ => None,
    }
}

/// Formats tokens with the usual spacing: `Vec<Option<u8>>`, `-1..=100`.
pub(crate) fn as_written(tokens: impl ToTokens) -> String {
    let mut text = tokens.to_token_stream().to_string();
    for (loose, tight) in [
        (" :: ", "::"),
        (":: ", "::"),
        (" < ", "<"),
        (" <", "<"),
        ("< ", "<"),
        (" >", ">"),
        (" ,", ","),
        (" ..= ", "..="),
        (" .. ", ".."),
        ("..= ", "..="),
        (" ..", ".."),
        (".. ", ".."),
        ("& ", "&"),
        ("- ", "-"),
        ("[ ", "["),
        (" ]", "]"),
        (" ;", ";"),
        (" (", "("),
        ("( ", "("),
        (" )", ")"),
    ] {
        text = text.replace(loose, tight);
    }
    text
}

#[cfg(test)]
mod tests {
    use quote::quote;
    use syn::{ItemFn, parse_quote};

    use super::*;

    #[test]
    fn the_first_paragraph_is_joined() {
        let item: ItemFn = parse_quote! {
            ///
            /// Counts clicks
            /// per page.
            ///
            /// More.
            #[allow(unused)]
            fn f() {}
        };
        assert_eq!(first_paragraph(&item.attrs), "Counts clicks per page.");
        assert_eq!(first_paragraph(&[]), "");
    }

    #[test]
    fn tokens_are_formatted_with_the_usual_spacing() {
        assert_eq!(as_written(quote!(Vec<Option<u8>>)), "Vec<Option<u8>>");
        assert_eq!(as_written(quote!(-1..=100)), "-1..=100");
        assert_eq!(as_written(quote!(..=MAX)), "..=MAX");
        assert_eq!(as_written(quote!(..2)), "..2");
        assert_eq!(as_written(quote!(HashMap<String, [u8; 4]>)), "HashMap<String, [u8; 4]>");
        assert_eq!(as_written(quote!(::std::string::String)), "::std::string::String");
    }
}
