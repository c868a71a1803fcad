//! The stream of events that an agent reads: its own `next()`, and Faust's operators as methods.

mod detached;
mod echo;
pub(super) mod event;
mod events;
pub(super) mod handle;
mod operators;
mod origin;
mod pull;
mod repartition;
mod source;
mod views;

pub use self::event::Event;
pub use self::events::Events;
pub use self::handle::Stream;
pub use self::views::{Batches, Enumerated, Items};
