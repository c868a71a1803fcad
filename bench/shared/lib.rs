//! What the programs of the benchmarks share: the clicks, the meter, the sums that results are compared by.

mod clicks;
mod loops;
mod meter;
mod tally;

pub use self::clicks::{Click, mix};
pub use self::loops::{assign, consumer_settings, send};
pub use self::meter::{Measured, Meter, Usage};
pub use self::tally::{Tally, hash};

/// Any error: these are programs for the terminal.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The size of the windows of `W4-tumbling`, in milliseconds.
pub const WINDOW_MS: i64 = 10_000;
