//! Large buffers that are used again. The system clears and maps the pages of a new one, which takes longer than to read a
//! fetch of a megabyte into it, or to encode its response.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Size from which buffers are used again, in bytes. The allocator keeps the pages of smaller ones.
const LARGE: usize = 64 * 1024;
/// Size of the unused buffers that are kept, in bytes.
const KEPT: usize = 16 * 1024 * 1024;

/// Buffers of one kind.
#[derive(Debug)]
struct Pool<B> {
    unused: Mutex<Vec<B>>,
}

trait Buffer {
    fn size(&self) -> usize;
}

impl Buffer for Vec<u8> {
    fn size(&self) -> usize {
        self.len()
    }
}

impl Buffer for BytesMut {
    fn size(&self) -> usize {
        self.capacity()
    }
}

impl<B> Default for Pool<B> {
    fn default() -> Self {
        Self { unused: Mutex::default() }
    }
}

impl<B: Buffer> Pool<B> {
    fn lock(&self) -> MutexGuard<'_, Vec<B>> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the smallest buffer of at least this size.
    fn take(&self, size: usize) -> Option<B> {
        let mut unused = self.lock();
        let fits = unused.iter().enumerate().filter(|(_, buffer)| buffer.size() >= size);
        let (at, _) = fits.min_by_key(|(_, buffer)| buffer.size())?;
        Some(unused.swap_remove(at))
    }

    /// Keeps a buffer unless there are enough.
    fn put(&self, buffer: B) {
        let mut unused = self.lock();
        let kept: usize = unused.iter().map(Buffer::size).sum();
        if buffer.size() >= LARGE && kept + buffer.size() <= KEPT {
            unused.push(buffer);
        }
    }
}

/// Buffers into which files are read.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffers {
    pool: Arc<Pool<Vec<u8>>>,
}

/// Bytes that were read. Their buffer is used again when they are not needed any more.
#[derive(Debug)]
struct Pooled {
    buffer: Vec<u8>,
    len: usize,
    pool: Arc<Pool<Vec<u8>>>,
}

impl AsRef<[u8]> for Pooled {
    fn as_ref(&self) -> &[u8] {
        &self.buffer[..self.len]
    }
}

impl Drop for Pooled {
    fn drop(&mut self) {
        self.pool.put(std::mem::take(&mut self.buffer));
    }
}

impl ReadBuffers {
    /// Returns bytes that `read` has read into a buffer of `len` bytes; it returns how many of them count.
    pub(crate) fn fill(&self, len: usize, read: impl FnOnce(&mut [u8]) -> io::Result<usize>) -> io::Result<Bytes> {
        if len < LARGE {
            let mut bytes = BytesMut::zeroed(len);
            let read = read(&mut bytes)?;
            bytes.truncate(read);
            return Ok(bytes.freeze());
        }
        let buffer = self.pool.take(len).unwrap_or_else(|| vec![0; len.next_power_of_two()]);
        let mut pooled = Pooled { buffer, len: 0, pool: Arc::clone(&self.pool) };
        pooled.len = read(&mut pooled.buffer[..len])?;
        Ok(Bytes::from_owner(pooled))
    }
}

/// Buffers into which responses are encoded.
#[derive(Debug, Default)]
pub(crate) struct ResponseBuffers {
    pool: Pool<BytesMut>,
}

impl ResponseBuffers {
    /// Returns an empty buffer for this many bytes.
    pub(crate) fn take(&self, len: usize) -> BytesMut {
        let unused = if len < LARGE { None } else { self.pool.take(len) };
        unused.unwrap_or_else(|| BytesMut::with_capacity(if len < LARGE { len } else { len.next_power_of_two() }))
    }

    /// Gives a buffer back.
    pub(crate) fn give_back(&self, mut buffer: BytesMut) {
        buffer.clear();
        self.pool.put(buffer);
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may panic")]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_when_its_bytes_are_gone() {
        let buffers = ReadBuffers::default();
        let read = |byte: u8, len: usize| {
            let fill = |buffer: &mut [u8]| {
                buffer.fill(byte);
                Ok(len - 1)
            };
            buffers.fill(len, fill).unwrap()
        };
        let first = read(1, 100_000);
        let second = read(2, 100_000);
        let part = first.slice(10..20);
        assert_ne!(first.as_ptr(), second.as_ptr());
        let address = first.as_ptr();
        drop(first);
        let other = read(3, 100_000);
        assert_ne!(other.as_ptr(), address, "a part of it is still in use");
        assert_eq!(part, [1; 10][..]);
        drop(part);
        let third = read(3, 80_000);
        assert_eq!((third.as_ptr(), third.len()), (address, 79_999));
        assert!(third.iter().all(|byte| *byte == 3));
        assert_eq!(second, vec![2; 99_999]);
    }

    #[test]
    fn few_bytes_are_kept() {
        let buffers = ResponseBuffers::default();
        let taken: Vec<BytesMut> = (0..40).map(|_| buffers.take(1 << 20)).collect();
        taken.into_iter().for_each(|buffer| buffers.give_back(buffer));
        buffers.give_back(BytesMut::with_capacity(100));
        let sizes: Vec<usize> = buffers.pool.lock().iter().map(BytesMut::capacity).collect();
        assert_eq!(sizes, [1 << 20; 16]);
        assert_eq!(buffers.take(1 << 20).len(), 0);
    }
}
