//! What `#[record]` accepts, what it refuses, and what it makes of it.
