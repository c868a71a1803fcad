//! Counts words, like Faust's `word_count` example: one agent splits lines into words, another one counts them.
use faust::prelude::*;

/// Forwards each word of a line, in lower case.
#[agent(topic = "lines")]
async fn split(mut lines: Stream<String>, #[topic("words")] words: Topic<RawKey, String>) -> Result<()> {
    while let Some(line) = lines.next().await {
        for word in line.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
            words.send_value(&word.to_lowercase()).await?;
        }
    }
    Ok(())
}

/// Repartitions the words, and counts them.
#[agent(topic = "words")]
async fn count(words: Stream<String>, counts: Table<String, u64>) {
    let mut words = words.group_by("word", |word| word.clone());
    while let Some(word) = words.next().await {
        let count = counts.update(&word, |count| {
            *count += 1;
            *count
        });
        println!("{word}: {count}");
    }
}

fn main() -> std::process::ExitCode {
    App::new("word_count").main()
}
