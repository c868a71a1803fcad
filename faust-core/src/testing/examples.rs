//! The agents `double` and `count`, which the examples in the documentation of the test driver run.
//!
//! They are what `#[agent]` makes of these functions, so that each example shows the driver alone:
//!
//! ```
//! use faust::prelude::*;
//!
//! /// Doubles each number, with the same key.
//! #[agent(topic = "numbers")]
//! async fn double(mut numbers: Stream<i64, String>, #[topic("doubled")] out: Topic<String, i64>) -> Result<()> {
//!     while let Some(event) = numbers.next_event().await {
//!         out.send(event.key(), &(event.value() * 2)).await?;
//!     }
//!     Ok(())
//! }
//!
//! /// Counts the words of each key, and of each key per minute.
//! #[agent(topic = "words")]
//! async fn count(
//!     mut words: Stream<String, String>,
//!     counts: Table<String, u64>,
//!     #[table(window = tumbling("1m"))] per_minute: WindowedTable<String, u64>,
//! ) {
//!     while let Some(event) = words.next_event().await {
//!         counts.update(event.key(), |count| *count += 1);
//!         per_minute.update(event.key(), |count| *count += 1);
//!     }
//! }
//! ```

use std::time::Duration;

use crate::agent::{AgentDef, AgentHandle};
use crate::declare::{ArgSpec, TableDecl, TopicDecl, WindowDecl};
use crate::stage::arg;
use crate::stream::Stream;
use crate::table::{Table, WindowedTable};
use crate::topic::Topic;
use crate::window::WindowSpec;

/// Reads numbers from `numbers` and sends their doubles to `doubled`, with the same keys.
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "it is named as a function that `#[agent]` annotates")]
pub struct double {}

impl AgentHandle for double {
    const DEF: AgentDef = AgentDef::new("double", &["numbers"], |cx| {
        static NUMBERS: ArgSpec = ArgSpec::new("numbers");
        static OUT: ArgSpec = ArgSpec::new("out").with_topic(TopicDecl::new("doubled"));
        let mut numbers: Stream<i64, String> = arg(cx, &NUMBERS)?;
        let out: Topic<String, i64> = arg(cx, &OUT)?;
        Ok(Box::pin(async move {
            while let Some(event) = numbers.next_event().await {
                out.send(event.key(), &(event.value() * 2)).await?;
            }
            Ok(())
        }))
    });
}

/// Counts the values of `words`, in the table `counts` and per minute in the windowed table `per_minute`.
#[derive(Debug)]
#[allow(non_camel_case_types, reason = "it is named as a function that `#[agent]` annotates")]
pub struct count {}

impl AgentHandle for count {
    const DEF: AgentDef = AgentDef::new("count", &["words"], |cx| {
        const MINUTE: WindowDecl = WindowDecl::New(|| WindowSpec::tumbling(Duration::from_secs(60)));
        static WORDS: ArgSpec = ArgSpec::new("words");
        static COUNTS: ArgSpec = ArgSpec::new("counts");
        static PER_MINUTE: ArgSpec =
            ArgSpec::new("per_minute").with_table(TableDecl { window: Some(MINUTE), ..TableDecl::new() });
        let mut words: Stream<String, String> = arg(cx, &WORDS)?;
        let counts: Table<String, u64> = arg(cx, &COUNTS)?;
        let per_minute: WindowedTable<String, u64> = arg(cx, &PER_MINUTE)?;
        Ok(Box::pin(async move {
            while let Some(event) = words.next_event().await {
                counts.update(event.key(), |count| *count += 1);
                per_minute.update(event.key(), |count| *count += 1);
            }
            Ok(())
        }))
    });
}
