//! Blocking calls of librdkafka, made beside the runtime.

use crate::error::TransportError;

/// Runs a blocking call on the runtime's pool of blocking threads.
pub(super) async fn beside<T: Send + 'static>(
    what: &str,
    call: impl FnOnce() -> Result<T, TransportError> + Send + 'static,
) -> Result<T, TransportError> {
    tokio::task::spawn_blocking(call).await.unwrap_or_else(|error| Err(TransportError::fatal(what, error)))
}
