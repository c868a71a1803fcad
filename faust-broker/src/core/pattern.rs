//! Regular expressions of clients, for names.

use regex::{Regex, RegexBuilder};

use crate::core::{ErrorCode, Refusal};

/// Maximum size of a compiled expression in bytes.
const MAX_PATTERN_SIZE: usize = 1024 * 1024;

/// A regular expression that matches whole names, of topics or transactional ids.
#[derive(Debug, Clone)]
pub(crate) struct NamePattern {
    text: String,
    regex: Regex,
}

impl PartialEq for NamePattern {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl NamePattern {
    /// Compiles an expression in the syntax of RE2, which the field `field` of a request contains.
    ///
    /// # Errors
    /// `InvalidRegularExpression`, with the reason.
    pub(crate) fn new(field: &str, text: &str) -> Result<Self, Refusal> {
        // On its own first, since the group around it could close one that the text leaves open.
        let built = RegexBuilder::new(text)
            .size_limit(MAX_PATTERN_SIZE)
            .build()
            .and_then(|_| RegexBuilder::new(&format!("^(?:{text})$")).size_limit(MAX_PATTERN_SIZE).build());
        match built {
            Ok(regex) => Ok(Self { text: text.to_owned(), regex }),
            Err(error) => {
                // The error shows the expression in several lines; its last one is the reason.
                let shown = error.to_string();
                let reason = shown.lines().last().unwrap_or_default().trim_start_matches("error: ");
                let text = format!("{field} `{text}` is not a valid regular expression of RE2: {reason}");
                Err(Refusal::new(ErrorCode::InvalidRegularExpression, text))
            }
        }
    }

    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn matches(&self, name: &str) -> bool {
        self.regex.is_match(name)
    }
}
