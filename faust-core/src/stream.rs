//! The stream of events that an agent reads: its own `next()`, and Faust's operators as methods.

mod origin;
pub(super) mod event;
mod pull;
mod source;
pub(super) mod handle;
mod detached;
mod echo;
mod events;
mod operators;
mod repartition;
mod views;

pub use self::event::Event;
pub use self::events::Events;
pub use self::handle::Stream;
pub use self::views::{Batches, Enumerated, Items};
