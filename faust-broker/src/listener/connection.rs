//! A client connection: reads request frames and writes responses in the order of the requests.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::listener::fault::Fault;
use crate::listener::{Link, Shared, router};

/// Maximum size in bytes of requests other than produce requests.
const MAX_PLAIN_REQUEST: usize = 16 * 1024 * 1024;
/// Initial buffer size of a request. It grows as bytes arrive, so that a wrong length does not allocate memory.
const FIRST_READ: usize = 256 * 1024;
const PRODUCE: i16 = 0;

/// An accepted connection.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: TcpStream,
    link: Link,
    shared: Arc<Shared>,
}

impl Connection {
    pub(crate) fn new(stream: TcpStream, peer: SocketAddr, shared: Arc<Shared>) -> Self {
        // The address is unknown only if the client has gone already.
        let local = stream.local_addr().unwrap_or(peer);
        Self { stream, link: Link { peer, local }, shared }
    }

    pub(crate) async fn run(mut self) {
        if let Err(error) = self.stream.set_nodelay(true) {
            tracing::debug!(peer = %self.link.peer, %error, "cannot set TCP_NODELAY");
        }
        match self.serve().await {
            Ok(()) => {}
            Err(Fault::Socket(error)) => {
                tracing::debug!(peer = %self.link.peer, %error, "connection failed")
            }
            Err(fault) => tracing::warn!(peer = %self.link.peer, %fault, "closed a connection"),
        }
    }

    async fn serve(&mut self) -> Result<(), Fault> {
        while let Some(frame) = self.read_frame().await? {
            // If the client disconnects, a request that waits for its group or for records is cancelled. Requests
            // that do not wait are still executed: `answer` is polled first.
            let answer = tokio::select! {
                biased;
                answer = router::answer(&self.shared, self.link, frame) => answer?,
                () = closed(&self.stream) => return Ok(()),
            };
            if let Some(mut answer) = answer {
                self.stream.write_all_buf(&mut answer).await?;
            }
        }
        Ok(())
    }

    /// Reads the next request. Returns `None` if the client has closed the connection.
    async fn read_frame(&mut self) -> Result<Option<Bytes>, Fault> {
        let claimed = match self.stream.read_i32().await {
            Ok(claimed) => claimed,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let api_key = self.stream.read_i16().await?;
        let max = self.shared.settings.max_request_bytes;
        let limit = if api_key == PRODUCE { max } else { max.min(MAX_PLAIN_REQUEST) };
        let len = usize::try_from(claimed).ok().filter(|len| (2..=limit).contains(len));
        let len = len.ok_or(Fault::Length { claimed, limit })?;
        let mut frame = BytesMut::with_capacity(len.min(FIRST_READ));
        frame.extend_from_slice(&api_key.to_be_bytes());
        let mut rest = (&mut self.stream).take((len - 2) as u64);
        while frame.len() < len {
            if rest.read_buf(&mut frame).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
        Ok(Some(frame.freeze()))
    }
}

/// Waits until the client has closed the connection. Never returns if the client has sent more data.
async fn closed(stream: &TcpStream) {
    let mut byte = [0];
    match stream.peek(&mut byte).await {
        Ok(0) | Err(_) => {}
        Ok(_) => std::future::pending().await,
    }
}
