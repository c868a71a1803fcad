//! Faust for Rust.
