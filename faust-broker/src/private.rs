//! The listener without its socket, for tests that feed it millions of requests. Not public API.

use std::{
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::{Bytes, BytesMut};

use crate::config::BrokerConfig;
use crate::core::{Broker, CoreConfig};
use crate::listener::{Shared, answer, wall_ms};

/// A broker in memory and the code that answers requests.
#[derive(Debug)]
pub struct Handler {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Runtime,
}

/// What came of a request.
#[derive(Debug)]
pub enum Outcome {
    /// An answer, with its length in front.
    Answered(BytesMut),
    /// The request wants no answer, or has to wait for something.
    Silent,
    /// The connection would be closed, for this reason.
    Closed(String),
}

impl Handler {
    /// An empty broker.
    ///
    /// # Errors
    /// When the system gives no timer.
    pub fn new(config: BrokerConfig, seed: u64) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let broker = Broker::new(CoreConfig::seeded(seed));
        let shared = Arc::new(Shared::new(broker, config, ([127, 0, 0, 1], 9092).into()));
        Ok(Self { shared, runtime })
    }

    /// Answers one request as if it had come over a connection; one that has to wait is given up.
    #[must_use]
    pub fn answer(&self, frame: Bytes) -> Outcome {
        let _entered = self.runtime.enter();
        let answer = pin!(answer(&self.shared, ([127, 0, 0, 1], 40_000).into(), frame));
        match answer.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(Ok(Some(answer))) => Outcome::Answered(answer),
            Poll::Ready(Ok(None)) | Poll::Pending => Outcome::Silent,
            Poll::Ready(Err(fault)) => Outcome::Closed(fault.to_string()),
        }
    }

    /// Lets the broker's clocks go on, as its server does.
    pub fn tick(&self) {
        self.shared.tick();
        self.shared.clean();
        self.shared.lock().broker.clean(wall_ms());
    }
}
