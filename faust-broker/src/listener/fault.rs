//! Errors that close a connection.

use std::io;

/// An error for which a connection is closed without a response.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The length of a request is negative, too small or over the limit.
    #[error("invalid request length of {claimed} bytes; the limit is {limit}")]
    Length { claimed: i32, limit: usize },
    /// The request is malformed.
    #[error("malformed request: {0}")]
    Malformed(String),
    /// The request or its version is not listed in the `ApiVersions` response.
    #[error("request {api_key} version {version} is not supported")]
    Unsupported { api_key: i16, version: i16 },
    /// The response cannot be encoded, which is a bug in the broker.
    #[error("cannot encode the response to request {api_key} version {version}: {reason}")]
    Encode { api_key: i16, version: i16, reason: String },
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Socket(#[from] io::Error),
}
