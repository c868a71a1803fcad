//! The one line that the core prints: how to see the log, if the program would show nothing of it.

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
