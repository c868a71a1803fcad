//! The future of an agent, a hook or a forwarder.

use std::future::Future;
use std::pin::Pin;

use crate::error::BoxError;

/// A running agent, hook or forwarder.
pub type AgentFuture = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send + 'static>>;
