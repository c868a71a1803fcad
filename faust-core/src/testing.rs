//! The test driver: runs the real app on an in-process Kafka, with a clock that only the test advances.
//!
//! Only the transport is replaced; the rest of the engine is the production code. A test can run several workers and
//! any number of partitions, and can start, stop, crash and restart workers. Execution is deterministic.
//!
//! A test that panics, or returns an error as a [`TestResult`], prints its [`Timeline`]: the inputs with their times, stream time,
//! the windows that each event falls into, late events, outputs, commits and rebalances.
//!
//! # Examples
//! ```
//! use faust::{App, testing::{TestDriver, examples::double}};
//!
//! let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
//! driver.start_worker()?;
//! driver.send("numbers", &"a".to_owned(), &21)?;
//! driver.run_until_idle();
//! assert_eq!(driver.read::<String, i64>("doubled")?, [("a".to_owned(), 42)]);
//! # Ok::<(), faust::Error>(())
//! ```

mod disk;
mod failure;
mod history;
mod settle;
mod driver;
mod table;
mod timeline;
mod position;
mod topics;
pub mod examples;

pub use self::driver::{START, TestDriver, WorkerId};
pub use self::failure::{TestError, TestResult};
#[doc(hidden)]
pub use self::position::committed_position;
pub use self::table::{TestTable, TestWindowedTable};
pub use self::timeline::Timeline;
pub use self::topics::TestMessage;
pub use crate::transport::memory::{ClusterFault, FaultProfile};
