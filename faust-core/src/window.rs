//! Windows of time: which of them an event belongs to, and when one may go. Pure: time is an argument.
//!
//! Unlike Python Faust's, they are half-open and have no gap of 0.1 s before their end, steps may be as short as a
//! millisecond, and starts are multiples of the step whatever the size.

pub mod key;
pub(super) mod spec;
pub use self::spec::{Window, WindowSpec};
