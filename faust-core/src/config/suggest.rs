//! "Did you mean" suggestions: the known name closest to a misspelt one.

use strsim::osa_distance;

/// Returns the closest of `known`, if it is close enough for a suggestion.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    // Insertions, deletions, replacements and swaps of adjacent characters.
    let scored = known.into_iter().map(|name| (osa_distance(&word, &name.to_ascii_lowercase()), name));
    let near = scored.filter(|(distance, name)| *distance <= limit || same_words(&word, name));
    near.min().map(|(_, name)| name)
}

/// Returns `true` if one name is the end of the other after a `_`, as `commit_interval` is of `broker_commit_interval`.
fn same_words(word: &str, name: &str) -> bool {
    word.len() >= 5 && (name.ends_with(&format!("_{word}")) || word.ends_with(&format!("_{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_name_is_recognised_and_another_name_is_not() {
        let known = ["broker", "broker_commit_interval", "datadir", "topic_partitions"];
        let cases = [
            ("brokr", Some("broker")),
            ("borker", Some("broker")),
            ("BROKER", Some("broker")),
            ("commit_interval", Some("broker_commit_interval")),
            ("topic_partition", Some("topic_partitions")),
            ("web_port", None),
            ("x", None),
        ];
        for (word, expected) in cases {
            assert_eq!(closest(word, known), expected, "{word}");
        }
    }
}
