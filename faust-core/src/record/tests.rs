//! How the engine asks for what `#[record]` says.
