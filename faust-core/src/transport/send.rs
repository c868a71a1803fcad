//! Sending that waits for room in the producer's buffer.

use std::sync::Arc;

use super::delivery::Delivery;
use super::port::{Outgoing, SendRefused, Sink, SinkTopic};
use crate::error::TransportError;

/// Sends a message, waiting for room for as long as it takes.
///
/// # Errors
/// Fails if the producer will never accept the message.
pub async fn send(
    sink: &dyn Sink,
    topic: &dyn SinkTopic,
    message: &Outgoing<'_>,
    delivery: &Arc<Delivery>,
) -> Result<(), TransportError> {
    send_by(sink, || topic.try_send(message, delivery)).await
}

/// Calls `try_send` until there is room. If there is room at once, it suspends nowhere.
pub(crate) async fn send_by(
    sink: &dyn Sink,
    mut try_send: impl FnMut() -> Result<(), SendRefused>,
) -> Result<(), TransportError> {
    loop {
        match try_send() {
            Ok(()) => return Ok(()),
            Err(SendRefused::Full) => sink.room().await,
            Err(SendRefused::Failed(error)) => return Err(error),
        }
    }
}

/// Number of characters of a key that errors show.
const SHOWN_KEY: usize = 40;

/// Describes the delivery of a message, for the error of one that was not delivered.
pub(super) fn delivery_of(topic: &str, key: Option<&[u8]>, payload: Option<&[u8]>) -> String {
    let key = key.map_or_else(String::new, |key| {
        let text = String::from_utf8_lossy(key);
        format!("key `{}`, ", text.chars().take(SHOWN_KEY).collect::<String>())
    });
    format!("delivery to `{topic}` ({key}{} bytes)", payload.map_or(0, <[u8]>::len))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::{BoxFuture, ready};

    use super::*;

    /// A sink that counts how often room is waited for.
    #[derive(Default)]
    struct CountingSink(AtomicUsize);

    impl crate::transport::port::Sealed for CountingSink {}

    impl Sink for CountingSink {
        fn topic(&self, _: &str) -> Result<Arc<dyn SinkTopic>, TransportError> {
            Err(TransportError::fatal("topic", "there is none"))
        }

        fn room(&self) -> BoxFuture<'_, ()> {
            self.0.fetch_add(1, Ordering::Relaxed);
            ready(()).boxed()
        }

        fn flush(&self, _: Duration) -> BoxFuture<'_, Result<(), TransportError>> {
            ready(Ok(())).boxed()
        }
    }

    #[test]
    fn a_full_buffer_is_waited_for_and_a_rejection_is_reported() {
        for (full, accepted) in [(0, true), (2, true), (0, false), (1, false)] {
            let (sink, mut tries) = (CountingSink::default(), 0);
            let sent = send_by(&sink, || {
                tries += 1;
                match tries > full {
                    false => Err(SendRefused::Full),
                    true if accepted => Ok(()),
                    true => Err(SendRefused::Failed(TransportError::fatal("send", "too large"))),
                }
            });
            let sent = sent.now_or_never().expect("the sink has room at once");
            assert_eq!(sent.map_err(|error| error.to_string()), accepted.then_some(()).ok_or("send: too large".into()));
            assert_eq!((sink.0.into_inner(), tries), (full, full + 1));
        }
    }

    #[test]
    fn an_undelivered_message_is_described() {
        assert_eq!(delivery_of("t", Some(b"k1"), Some(b"abc")), "delivery to `t` (key `k1`, 3 bytes)");
        let long = "k".repeat(100);
        assert_eq!(delivery_of("t", Some(long.as_bytes()), None).len(), "delivery to `t` (key ``, 0 bytes)".len() + 40);
        assert_eq!(delivery_of("t", None, Some(b"")), "delivery to `t` (0 bytes)");
    }
}
