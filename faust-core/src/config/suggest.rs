//! "Did you mean" suggestions: the known name closest to a misspelt one.

/// Returns the closest of `known`, if it is close enough for a suggestion.
pub fn closest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let limit = (word.chars().count() / 3).max(1);
    let scored = known.into_iter().map(|name| (distance(&word, &name.to_ascii_lowercase()), name));
    let near = scored.filter(|(distance, name)| *distance <= limit || same_words(&word, name));
    near.min().map(|(_, name)| name)
}

/// Returns `true` if one name is the end of the other after a `_`, as `commit_interval` is of `broker_commit_interval`.
fn same_words(word: &str, name: &str) -> bool {
    word.len() >= 5 && (name.ends_with(&format!("_{word}")) || word.ends_with(&format!("_{name}")))
}

/// Returns the number of insertions, deletions, replacements and swaps of adjacent characters that turn `a` into `b`.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
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
