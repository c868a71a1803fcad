//! The test driver: runs the real app on an in-process Kafka, with a clock that only the test advances.
//!
//! Only the transport is replaced; the rest of the engine is the production code. A test can run several workers and
//! any number of partitions, and can start, stop, crash and restart workers. Execution is deterministic.
//!
//! ```
//! use faust_core::{app::App, testing::TestDriver};
//! # use faust_core::agent::*;
//! # struct double {}
//! # impl AgentHandle for double { const DEF: AgentDef = AgentDef { name: "double", topics: &["numbers"], sinks: &[], help: "", module: "", file: "", line: 0, start: |cx| {
//! #     static IN: ArgSpec = ArgSpec::new("numbers");
//! #     static OUT: ArgSpec = ArgSpec::new("out").with_topic(TopicDecl::new("doubled"));
//! #     let mut numbers: faust_core::stream::Stream<i64, String> = arg(cx, &IN)?;
//! #     let out: faust_core::topic::Topic<String, i64> = arg(cx, &OUT)?;
//! #     Ok(Box::pin(async move {
//! #         while let Some(event) = numbers.next_event().await { out.send(event.key(), &(event.value() * 2)).await?; }
//! #         Ok(())
//! #     })) } }; }
//! let mut driver = TestDriver::new(App::new("lesson").only::<double>())?;
//! driver.start_worker()?;
//! driver.send("numbers", &"a".to_owned(), &21)?;
//! driver.run_until_idle();
//! assert_eq!(driver.read::<String, i64>("doubled")?, [("a".to_owned(), 42)]);
//! # Ok::<(), faust_core::error::Error>(())
//! ```

mod disk;
mod table;
mod driver;

pub use self::driver::{START, TestDriver, TestMessage, WorkerId};
pub use self::table::{TestTable, TestWindowedTable};
