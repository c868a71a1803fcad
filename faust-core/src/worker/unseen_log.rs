//! The lines that the core prints if the program would show nothing of the log: how to see it, and what a client waits for.

use std::sync::Once;

/// Says once how to see the log, unless the program has a subscriber of `tracing`.
#[allow(clippy::print_stderr, reason = "a log that is not shown cannot say so")]
pub(crate) fn mention_once() {
    static ONCE: Once = Once::new();
    if !tracing::dispatcher::has_been_set() {
        ONCE.call_once(|| {
            eprintln!("faust: this program shows no logs; add a subscriber of `tracing`, such as `tracing_subscriber::fmt::init()`, to see those of the worker (book: A worker in your own program)");
        });
    }
}

/// Reports to the user of a client what it waits for: in the log, or on standard error if the program has no subscriber of
/// `tracing`.
#[allow(clippy::print_stderr, reason = "a client that waits without a word looks like one that hangs")]
pub(crate) fn report(text: &str) {
    match tracing::dispatcher::has_been_set() {
        true => tracing::warn!("{text}"),
        false => eprintln!("faust: {text}"),
    }
}
