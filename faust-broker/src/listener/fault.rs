//! What ends a connection.

use std::io;

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    /// The length in front of a request is negative or over the limit.
    #[error("a request claims {claimed} bytes, the limit is {limit}")]
    Length { claimed: i32, limit: usize },
    /// The bytes are no request, or not what they say they are.
    #[error("cannot read a request: {0}")]
    Malformed(String),
    /// The request asks for something that was not offered in `ApiVersions`.
    #[error("request {api_key} version {version} is not supported")]
    Unsupported { api_key: i16, version: i16 },
    /// An answer that cannot be written is a mistake of ours.
    #[error("cannot write the answer to request {api_key} version {version}: {reason}")]
    Encode { api_key: i16, version: i16, reason: String },
    /// The socket failed.
    #[error("the connection failed: {0}")]
    Socket(#[from] io::Error),
}
