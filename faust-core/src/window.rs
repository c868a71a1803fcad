//! Time windows: assignment of events to windows, and expiry of windows. The functions are pure; time is an argument.
//!
//! Unlike in Python Faust, windows are half-open and have no gap of 0.1 s before their end, steps may be as short as a
//! millisecond, and starts are multiples of the step whatever the size.

pub mod key;
mod span;
mod kind;
mod tumbling;
mod hopping;
pub(super) mod spec;
pub use self::span::Window;
pub use self::spec::WindowSpec;
