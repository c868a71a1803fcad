//! The listener without its socket, for tests that send it millions of requests. Not public API.

use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, Bytes};

use crate::config::{BrokerConfig, Storage};
use crate::core::{BrokerCore, CoreConfig};
use crate::error::Error;
use crate::listener::{Endpoint, Link, LogDir, Shared, answer, wall_ms};
use crate::server::core_config;

/// An in-memory broker with its request handlers.
#[derive(Debug)]
pub struct Handler {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
}

/// The outcome of a request.
#[derive(Debug)]
pub enum Reaction {
    /// A response, preceded by its length.
    Answered(Bytes),
    /// No response: the request does not expect one, or it would have to wait.
    Silent,
    /// The connection would be closed for this reason.
    Closed(String),
}

impl Handler {
    /// Creates an empty broker.
    ///
    /// # Errors
    /// Returns an error if a config is invalid or the system cannot create a timer.
    pub fn new(config: BrokerConfig, seed: u64) -> Result<Self, Error> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build();
        let runtime = runtime.map_err(|source| Error::Thread { source })?;
        let broker = BrokerCore::new(CoreConfig { seed, ..core_config(&config)? });
        let endpoint = Endpoint::new(([127, 0, 0, 1], 9092).into(), config.advertised);
        let shared = Arc::new(Shared::new(broker, endpoint, LogDir::of(&Storage::Memory)));
        Ok(Self { shared, runtime })
    }

    /// Handles one request as if it had arrived over a connection. A request that would have to wait is dropped.
    pub fn answer(&self, frame: Bytes) -> Reaction {
        let _entered = self.runtime.enter();
        let link = Link { peer: ([127, 0, 0, 1], 40_000).into(), local: ([127, 0, 0, 1], 9092).into() };
        let answer = pin!(answer(&self.shared, link, frame));
        match answer.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Some(mut answer))) => Reaction::Answered(answer.copy_to_bytes(answer.remaining())),
            Poll::Ready(Ok(None)) | Poll::Pending => Reaction::Silent,
            Poll::Ready(Err(fault)) => Reaction::Closed(fault.to_string()),
        }
    }

    /// Runs the broker's periodic work, as its server does.
    pub fn tick(&self) {
        self.shared.tick();
        self.shared.clean();
        self.shared.lock().broker.clean(wall_ms());
    }
}
