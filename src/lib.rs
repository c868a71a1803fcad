//! Faust for Rust: Kafka stream processing with annotated async functions and structs.
//!
//! ```no_run
//! use faust::prelude::*;
//!
//! #[record]
//! struct Click { uri: String, number: i64 }
//!
//! /// Prints every click.
//! #[agent(topic = "clicks")]
//! async fn show(mut clicks: Stream<Click>) {
//!     while let Some(click) = clicks.next().await {
//!         println!("{}: {}", click.uri, click.number);
//!     }
//! }
//!
//! fn main() -> std::process::ExitCode { App::new("lesson").main() }
//! ```
//!
//! `cargo run -- worker` runs the app on the Kafka at `FAUST_BROKER`, or on an embedded broker.
//!
//! The book, in the folder `docs` of the repository, begins with a lesson, and explains the concepts. Errors name its pages:
//! `(book: Blocking code)`.

pub use faust_core::agent::{AgentArg, AgentHandle, AgentOptions, AgentOutput, EventArg};
pub use faust_core::aggregate;
pub use faust_core::app::{AgentInfo, App, AppBuilder};
pub use faust_core::client::Client;
pub use faust_core::codec::record::{IntoTimestamp, Record, TimestampError, models};
pub use faust_core::codec::{Codec, Data};
pub use faust_core::config::{FailurePolicy, Settings};
pub use faust_core::dead_letter;
pub use faust_core::error::{BoxError, Error, Result, SetupErrors};
pub use faust_core::message::{EVENT_TIME, Headers, Offset, OwnedMessage, RawKey};
pub use faust_core::partitioner::partition_of;
pub use faust_core::plan::{Plan, TablePlan};
pub use faust_core::stage::{HookHandle, LateEvent};
pub use faust_core::stats::Counts;
pub use faust_core::stream::{Batches, Enumerated, Event, Events, Items, Stream};
pub use faust_core::table::{Entry, OrderedKey, Table, TableValue, ValueMut, WindowSet, WindowedAt, WindowedTable};
pub use faust_core::task::{RestoreListener, RestoreProgress};
#[cfg(feature = "testing")]
pub use faust_core::testing;
pub use faust_core::time::{Timestamp, parse_duration};
pub use faust_core::topic::{RawTopic, Recorded, SendOptions, Topic};
#[doc(hidden)]
pub use faust_core::transport;
pub use faust_core::window::{self, Window, WindowSpec};
pub use faust_core::worker::{StandbyStatus, Status, TableView, WindowedView, Worker, WorkerOptions};
pub use faust_macros::{agent, codec, record, window_close, window_late};
/// The allocator mimalloc. A program that declares it uses it in Rust and in librdkafka, which frees memory on other
/// threads than those that allocated it:
///
/// ```
/// #[global_allocator]
/// static ALLOCATOR: faust::MiMalloc = faust::MiMalloc;
/// # fn main() {}
/// ```
#[cfg(feature = "mimalloc")]
pub use mimalloc::MiMalloc;
pub use serde_json::{self, Value};

#[doc(hidden)]
pub use faust_core::__private;

/// The items that most apps need: `use faust::prelude::*;`.
pub mod prelude {
    pub use crate::{
        App, Event, Headers, LateEvent, Main, RawKey, Result, Stream, Table, Timestamp, Topic, Value, Window,
        WindowedTable, agent, codec, record, window_close, window_late,
    };
}

/// Adds the command line to an app: `worker`, `send`, `consume` and the other commands.
///
/// The trait is sealed. It adds `main()` to [`AppBuilder`], whose crate does not depend on the command line.
pub trait Main: sealed::Sealed {
    /// Runs the command given in the arguments of the process.
    fn main(self) -> std::process::ExitCode;
}

impl Main for AppBuilder {
    fn main(self) -> std::process::ExitCode {
        faust_cli::main(self)
    }
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for super::AppBuilder {}
}

/// Compiles the code of the README together with the doc tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
mod book;
