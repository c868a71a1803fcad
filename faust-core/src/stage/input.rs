//! One input of a stage: a partition and the stage's subscriber there.

use std::sync::Arc;
use std::task::{Context, Poll};

use super::reader::StageReader;
use crate::error::TransportError;
use crate::message::{Offset, RawMessage};

/// One partition that a stage of a group reads, run after run.
#[derive(Clone)]
pub(crate) struct GroupInput {
    pub(crate) reader: Arc<StageReader>,
    pub(crate) subscriber: usize,
}

impl GroupInput {
    /// Starts the subscriber at an offset.
    pub(crate) fn start(&self, at: Offset) -> Input {
        let epoch = self.reader.start(self.subscriber, at);
        Input { reader: Arc::clone(&self.reader), subscriber: self.subscriber, epoch }
    }
}

/// One partition a stage reads, and its subscriber there.
#[derive(Clone, Debug)]
pub(crate) struct Input {
    pub(crate) reader: Arc<StageReader>,
    pub(crate) subscriber: usize,
    /// The reader's epoch when this stage was started.
    pub(crate) epoch: u64,
}

impl Input {
    /// Polls the reader for this subscriber; see [`StageReader::poll_batch`].
    pub(crate) fn poll_batch(
        &self,
        cx: &mut Context<'_>,
        max: usize,
        each: &mut dyn FnMut(RawMessage<'_>),
    ) -> Poll<Result<usize, TransportError>> {
        self.reader.poll_batch((self.epoch, self.subscriber), cx, max, each)
    }

    /// Stops the subscriber.
    pub(crate) fn stop(&self) {
        self.reader.stop((self.epoch, self.subscriber));
    }

    /// Returns the partition's end if this subscriber has reached it; see [`StageReader::end`].
    pub(crate) fn end(&self) -> Option<Offset> {
        self.reader.end((self.epoch, self.subscriber))
    }
}
