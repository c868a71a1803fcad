//! Large buffers that are used again. The system clears and maps the pages of a new one, which takes longer than to read a
//! megabyte into it.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::{Bytes, BytesMut};

/// Size from which buffers are used again, in bytes. The allocator keeps the pages of smaller ones.
const LARGE: usize = 64 * 1024;
/// Size of the unused buffers that are kept, in bytes.
const KEPT: usize = 16 * 1024 * 1024;

/// The unused buffers.
#[derive(Debug, Default)]
struct Pool {
    unused: Mutex<Vec<Vec<u8>>>,
}

impl Pool {
    fn lock(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.unused.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes the smallest buffer of at least this size.
    fn take(&self, size: usize) -> Option<Vec<u8>> {
        let mut unused = self.lock();
        let fits = unused.iter().enumerate().filter(|(_, buffer)| buffer.len() >= size);
        let (at, _) = fits.min_by_key(|(_, buffer)| buffer.len())?;
        Some(unused.swap_remove(at))
    }

    /// Keeps a buffer unless there are enough.
    fn put(&self, buffer: Vec<u8>) {
        let mut unused = self.lock();
        let kept: usize = unused.iter().map(Vec::len).sum();
        if buffer.len() >= LARGE && kept + buffer.len() <= KEPT {
            unused.push(buffer);
        }
    }
}

/// Buffers into which files are read.
#[derive(Debug, Default)]
pub(crate) struct ReadBuffers {
    pool: Arc<Pool>,
}

/// Bytes that were read. Their buffer is used again when they are not needed any more.
#[derive(Debug)]
struct Pooled {
    buffer: Vec<u8>,
    len: usize,
    pool: Arc<Pool>,
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
        let buffers = ReadBuffers::default();
        let read = |len: usize| buffers.fill(len, |_| Ok(1)).unwrap();
        let all: Vec<Bytes> = (0..40).map(|_| read(1 << 20)).collect();
        drop((all, read(100)));
        let sizes: Vec<usize> = buffers.pool.lock().iter().map(Vec::len).collect();
        assert_eq!(sizes, [1 << 20; 16]);
    }
}
