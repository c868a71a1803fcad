//! An encoded response. It may consist of parts, so that the records of a fetch are not copied.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};

/// A response with its length and header, as the connection sends it.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    /// None of them is empty.
    parts: VecDeque<Bytes>,
}

impl Answer {
    pub(crate) fn push(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.parts.push_back(part);
        }
    }

    pub(crate) fn push_front(&mut self, part: Bytes) {
        if !part.is_empty() {
            self.parts.push_front(part);
        }
    }
}

impl From<BytesMut> for Answer {
    fn from(bytes: BytesMut) -> Self {
        let mut answer = Self::default();
        answer.push(bytes.freeze());
        answer
    }
}

impl Buf for Answer {
    fn remaining(&self) -> usize {
        self.parts.iter().map(Bytes::len).sum()
    }

    fn chunk(&self) -> &[u8] {
        self.parts.front().map_or(&[], |first| first)
    }

    fn chunks_vectored<'a>(&'a self, into: &mut [IoSlice<'a>]) -> usize {
        for (slice, part) in into.iter_mut().zip(&self.parts) {
            *slice = IoSlice::new(part);
        }
        into.len().min(self.parts.len())
    }

    fn advance(&mut self, mut count: usize) {
        while let Some(first) = self.parts.front_mut().filter(|_| count > 0) {
            let taken = count.min(first.len());
            first.advance(taken);
            count -= taken;
            if first.is_empty() {
                self.parts.pop_front();
            }
        }
        assert_eq!(count, 0, "no more than what remains");
    }
}
