//! The attribute macros of Faust for Rust. The facade crate `faust` re-exports them; use them from there.
//!
//! Each macro has three phases: parse (syntax only), model (validation, which collects all errors) and expand (`quote!`
//! only, which cannot fail). This crate depends on no other crate of the workspace: the generated code refers to the
//! facade by path.

mod agent;
mod argument;
mod codec;
mod docs;
mod duration;
mod fault;
mod function;
#[cfg(test)]
mod golden;
mod hook;
mod options;
mod record;
mod table;
mod topic;
mod types;
mod update;

use proc_macro::TokenStream;

/// Turns an async function into an agent, which processes the events of one or more topics.
///
/// The function is either a loop over a stream, or is called once per event. It remains an ordinary function, so that a
/// test can call it directly. The macro generates a struct of the same name. `App::new("..")` runs every linked agent, and
/// `App::new("..").only::<count>()` runs the named agents only.
///
/// # Options
///
/// | option | value |
/// |---|---|
/// | `topic = "clicks"` | name of the topic to read: a string literal or a constant |
/// | `topics = ["clicks", VIEWS]` | names of several topics to read as one stream |
/// | `name = "counter"` | name of the agent in the app; default: the name of the function |
/// | `sink = "scored"`, `sinks = ["scored", TOTALS]` | topics that receive the values returned for each event; only without a `Stream` argument |
/// | `on_failure = "dead_letter"` | handling of an event that fails each time: `retry`, `stop`, `dead_letter` or `skip`; by default the setting `agent_failure` |
/// | `key_codec = "raw"`, `value_codec = "binary\|json"` | codec, or chain of codecs, of the keys and values read |
/// | `crate = path` | path of the facade crate; default: `::faust` |
///
/// # Arguments
///
/// The framework injects the arguments. They must be owned.
///
/// | argument | value |
/// |---|---|
/// | `clicks: Stream<V>`, `Stream<V, K>` | the events, as a stream; at most one |
/// | `click: V`, `Event<V, K>` | the current event; the agent is then called once per event |
/// | `#[topic("pages")] out: Topic<K, V>` | an output topic |
/// | `counts: Table<K, V>` | a table, named after the argument |
/// | `#[table(window = ..)] sums: WindowedTable<K, V>` | a windowed table |
///
/// `#[topic("pages", ..)]` takes the name of the topic (a string literal or a constant), followed by options. All of them
/// are optional. The first four apply when the topic is created.
///
/// | option | value |
/// |---|---|
/// | `partitions = 3` | number of partitions |
/// | `replication = 1` | replication factor |
/// | `retention = "7d"` | retention time |
/// | `compacting` | enables compaction: the topic retains the last message of each key |
/// | `key_codec = ".."`, `value_codec = ".."` | codec, or chain of codecs, of the keys and values sent |
///
/// `#[table(..)]` takes the following options, all of them optional except `window` for a `WindowedTable`.
///
/// | option | value |
/// |---|---|
/// | `name = "counts"` | name of the table; default: the name of the argument |
/// | `default = 10` | value of a missing key; default: `V::default()` |
/// | `window = tumbling("10s")` | windows of the given size |
/// | `window = hopping("1m", "10s")` | overlapping windows: the size, and the step from one start to the next |
/// | `expires = "1h"` | time after its end during which a window accepts late events; default: 24 hours |
/// | `relative_to = stream` | time that selects the window of a plain read: `stream` (the timestamp of the event, the default), `now` (the wall clock) or `field(Click::at)` (a field of the event) |
/// | `changelog_topic = "log"` | name of the changelog topic; default: `<app>-<table>-changelog` |
/// | `key_codec = ".."`, `value_codec = ".."` | codec, or chain of codecs, of the keys and values |
/// | `partition_by_source` | keeps each key in the partition of its event, even if the partitioner would choose another |
/// | `help = ".."` | description for the command `tables` |
///
/// # Examples
///
/// An agent that loops over a stream, with a table and an output:
///
/// ```
/// use faust::prelude::*;
///
/// #[record]
/// struct Click { uri: String, number: i64 }
///
/// /// Counts the clicks on each page.
/// #[agent(topic = "clicks")]
/// async fn count(
///     clicks: Stream<Click>,
///     counts: Table<String, u64>,
///     #[topic("totals", partitions = 3, retention = "7d")] totals: Topic<String, u64>,
/// ) -> Result<()> {
///     let mut clicks = clicks.group_by("uri", |click| click.uri.clone());
///     while let Some(click) = clicks.next().await {
///         counts.update(&click.uri, |count| *count += 1);
///         totals.send(&click.uri, &counts.get(&click.uri)).await?;
///     }
///     Ok(())
/// }
/// ```
///
/// An agent that is called once per event and returns a value for a sink:
///
/// ```
/// use faust::prelude::*;
///
/// #[record]
/// struct Click { uri: String, number: i64 }
///
/// /// Rates each click by its number.
/// #[agent(topic = "clicks", sink = "scored")]
/// async fn score(click: Click) -> Result<i64> {
///     Ok(click.number / 10)
/// }
/// ```
#[proc_macro_attribute]
pub fn agent(options: TokenStream, item: TokenStream) -> TokenStream {
    agent::expand(options.into(), item.into()).into()
}

/// Turns an async function into a hook that a windowed table calls with the final value of each closed window.
///
/// A window closes once stream time has passed its end by `expires`. The first three arguments are the key, the window and
/// its value; the others are injected like those of an agent, except that a hook takes no `Stream`. The function returns
/// nothing or a `Result<()>`. It remains an ordinary function, and the macro generates a struct of the same name, which
/// is used to register the hook explicitly.
///
/// # Options
///
/// | option | value |
/// |---|---|
/// | `table = "sums"` | name of the windowed table; required |
/// | `crate = path` | path of the facade crate; default: `::faust` |
///
/// # Examples
///
/// ```
/// use faust::prelude::*;
///
/// /// Publishes the sum of each window.
/// #[window_close(table = "sums")]
/// async fn closed(uri: String, window: Window, sum: i64, #[topic("sums")] out: Topic<String, i64>) -> Result<()> {
///     println!("{uri} in {window}: {sum}");
///     out.send(&uri, &sum).await?;
///     Ok(())
/// }
/// ```
#[proc_macro_attribute]
pub fn window_close(options: TokenStream, item: TokenStream) -> TokenStream {
    hook::expand(hook::Moment::Close, options.into(), item.into()).into()
}

/// Turns an async function into a hook that a windowed table calls for each event that arrives after its window has
/// expired.
///
/// The changes of such an event to the window are discarded. The first three arguments are the key, the window and the
/// event; the options and the other arguments are those of [`macro@window_close`].
///
/// # Examples
///
/// ```
/// use faust::prelude::*;
///
/// /// Reports late events.
/// #[window_late(table = "sums")]
/// async fn late(uri: String, window: Window, event: LateEvent) {
///     println!("{uri}: {event:?} is too late for {window}");
/// }
/// ```
#[proc_macro_attribute]
pub fn window_late(options: TokenStream, item: TokenStream) -> TokenStream {
    hook::expand(hook::Moment::Late, options.into(), item.into()).into()
}

/// Turns a struct or an enum into a message type.
///
/// The macro derives serde's traits (the crate that uses it needs no dependency on serde), validates the fields during
/// deserialization, and registers the type for the commands `models` and `model`. The type must own its fields and cannot
/// be generic. A message that does not match the type, or violates a rule, is sent to the topic `<app>-dead-letter`.
///
/// # Options
///
/// | option | value |
/// |---|---|
/// | `name = "Click"` | name of the model; default: the name of the type |
/// | `serializer = "binary\|json"` | codec, or chain of codecs, of the type; `codec` is another name of this option |
/// | `key = uri` | field that is the key of a message sent without a key |
/// | `timestamp = at` | field that is the timestamp of the event, instead of the timestamp of the message; if it holds no time, the message cannot be decoded |
/// | `no_derive(PartialEq)` | traits that are not derived, see below |
/// | `crate = path` | path of the facade crate; default: `::faust` |
///
/// A field takes one attribute `#[field(..)]` with the following options. On an `Option`, a rule applies to the value
/// inside.
///
/// | option | value |
/// |---|---|
/// | `default` or `default = 1` | value if the message lacks the field: the default of its type, or this value |
/// | `range = 0..=100` | valid values |
/// | `len = 1..=20` | valid lengths |
/// | `check = path` | a function that validates the value: `fn(&T) -> bool`, or `fn(&T) -> Result<(), String>` with the reason |
///
/// # Derived traits
///
/// `Clone`, `Debug` and `PartialEq` are derived as well, so that a record can be stored in a table and compared in a test.
/// A `#[derive(..)]` below `#[record]` that names one of them replaces it; one above is not visible to the macro. If the type implements one by hand, or a field
/// does not support it, exclude it with `no_derive`; otherwise the compiler reports conflicting implementations (E0119) or
/// a missing one.
///
/// # Examples
///
/// ```
/// use faust::prelude::*;
///
/// #[record(key = user, timestamp = at)]
/// struct Withdrawal {
///     user: String,
///     #[field(range = 1..)]
///     amount: i64,
///     #[field(default = "EUR", len = 3..=3)]
///     currency: String,
///     at: i64,
/// }
/// ```
///
/// A record with an implementation of `PartialEq` by hand:
///
/// ```
/// use faust::prelude::*;
///
/// #[record(no_derive(PartialEq))]
/// struct Reading { sensor: String, value: f64 }
///
/// impl PartialEq for Reading {
///     fn eq(&self, other: &Self) -> bool { self.sensor == other.sensor }
/// }
/// ```
#[proc_macro_attribute]
pub fn record(options: TokenStream, item: TokenStream) -> TokenStream {
    record::expand(options.into(), item.into()).into()
}

/// Registers a codec under a name, which codec options can then use alone or in a chain.
///
/// The item must be a unit struct that implements `Codec`, because all topics share one value.
///
/// # Options
///
/// | option | value |
/// |---|---|
/// | `name = "rot13"` | name of the codec; required, and not `json`, `raw` or `binary`, which are built in |
/// | `crate = path` | path of the facade crate; default: `::faust` |
///
/// # Examples
///
/// ```
/// use faust::prelude::*;
/// use faust::{BoxError, Codec};
///
/// #[codec(name = "reversed")]
/// struct Reversed;
///
/// impl Codec for Reversed {
///     fn encode(&self, mut bytes: Vec<u8>) -> Result<Vec<u8>, BoxError> {
///         bytes.reverse();
///         Ok(bytes)
///     }
///
///     fn decode(&self, bytes: &[u8]) -> Result<Vec<u8>, BoxError> {
///         Ok(bytes.iter().rev().copied().collect())
///     }
/// }
///
/// #[record(serializer = "reversed|json")]
/// struct Click { uri: String }
/// ```
#[proc_macro_attribute]
pub fn codec(options: TokenStream, item: TokenStream) -> TokenStream {
    codec::expand(options.into(), item.into()).into()
}
