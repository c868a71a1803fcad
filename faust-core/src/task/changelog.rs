//! The changelog of a table: how its records look, and who writes them.
//!
//! A record's key is the key codec's bytes (with the window's start behind them, as Kafka Streams' windowed serde writes
//! it), its value the value codec's; a removal is a tombstone. A header carries the number of the cut that wrote it: a
//! restore skips what a cut wrote whose commit never came.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::in_flight::InFlight;
use crate::error::{Error, TransportError};
use crate::message::{Headers, RawMessage};
use crate::stats::Stats;
use crate::store::Sealed;
use crate::table_state::TableInfo;
use crate::transport::{Delivery, Outgoing, SendRefused, Sink, SinkTopic, TopicPartition};
use crate::window::key::{changelog_key, split_changelog_key, split_store_key, store_key};

/// The header with the cut's number, followed by `n` where the key had no value at the last commit.
pub(crate) const CUT_HEADER: &str = "faust-cut";
/// Records sent before others get a turn.
const TURN: usize = 256;

/// Sends sealed tables of one task to their changelogs, in the order they were sealed.
///
/// It runs beside the task, so that a commit with many keys does not keep the agents waiting. When its last owner drops
/// it, it ends at once: what is not sent then must not be sent, because the partition may be another worker's.
#[derive(Debug)]
pub(crate) struct ChangelogWriter {
    work: mpsc::UnboundedSender<Work>,
    running: tokio::task::JoinHandle<()>,
    in_flight: Arc<InFlight>,
}

/// A sealed table on its way.
struct Work {
    topic: Arc<dyn SinkTopic>,
    partition: i32,
    windowed: bool,
    sealed: Arc<Sealed>,
    cut: u64,
    delivery: Arc<Delivery>,
    outcome: Result<(), TransportError>,
}

impl Drop for Work {
    /// Gives back the count that `begin` took, so that nobody thinks all has arrived before all was sent.
    fn drop(&mut self) {
        let outcome = std::mem::replace(&mut self.outcome, Ok(()));
        self.delivery.done(outcome.map(|()| None));
    }
}

impl ChangelogWriter {
    pub(crate) fn spawn(sink: Arc<dyn Sink>, stats: Arc<Stats>, in_flight: Arc<InFlight>) -> Arc<Self> {
        let (work, mut waiting) = mpsc::unbounded_channel::<Work>();
        let running = tokio::spawn(async move {
            while let Some(mut work) = waiting.recv().await {
                work.outcome = work.send(&*sink).await;
                stats.changelog(work.sealed.len() as u64);
            }
        });
        Arc::new(Self { work, running, in_flight })
    }

    /// Begins to send; the delivery is fulfilled when all of it has arrived.
    pub(crate) fn begin(
        &self,
        info: &TableInfo,
        topic: Arc<dyn SinkTopic>,
        partition: i32,
        cut: u64,
        sealed: Arc<Sealed>,
    ) -> Arc<Delivery> {
        let delivery = Delivery::with_offsets();
        delivery.sent();
        let windowed = info.window.is_some();
        // A task that is made anew must not look at the changelog before this has arrived there.
        self.in_flight.add(TopicPartition::new(info.changelog.as_str(), partition), &delivery);
        // Until it was sent, it was not: whoever ends the writer before has nothing to wait for.
        let outcome = Err(TransportError::retriable("changelog", "the task has ended"));
        let work = Work { topic, partition, windowed, sealed, cut, delivery: Arc::clone(&delivery), outcome };
        // It ends only with its owner, which is calling.
        drop(self.work.send(work));
        delivery
    }
}

impl Drop for ChangelogWriter {
    fn drop(&mut self) {
        self.running.abort();
    }
}

impl Work {
    async fn send(&self, sink: &dyn Sink) -> Result<(), TransportError> {
        let [kept, new] = [self.cut.to_string(), format!("{}n", self.cut)].map(|cut| {
            let mut headers = Headers::new();
            headers.push(CUT_HEADER.to_owned(), Some(Bytes::from(cut)));
            headers
        });
        let mut rotated = Vec::new();
        for (index, entry) in self.sealed.iter().enumerate() {
            if index % TURN == TURN - 1 {
                tokio::task::yield_now().await;
            }
            let key = if self.windowed { rotate(entry.key, &mut rotated) } else { entry.key };
            let message = Outgoing {
                partition: Some(self.partition),
                key: Some(key),
                payload: entry.value,
                headers: if entry.is_new { new.clone() } else { kept.clone() },
                timestamp: None,
            };
            while let Err(refused) = self.topic.try_send(&message, &self.delivery) {
                match refused {
                    SendRefused::Full => sink.room().await,
                    SendRefused::Failed(error) => return Err(error),
                }
            }
        }
        Ok(())
    }
}

/// The changelog's form of a windowed key: the window's start behind the key instead of before it.
fn rotate<'a>(key: &'a [u8], out: &'a mut Vec<u8>) -> &'a [u8] {
    let Some((start, plain)) = split_store_key(key) else { return key };
    out.clear();
    changelog_key(plain, start, out);
    out
}

/// A record of a changelog, as a restore reads it.
pub(crate) struct ChangelogRecord<'a> {
    pub(crate) cut: Option<CutTag>,
    /// In the store's form.
    pub(crate) key: &'a [u8],
    pub(crate) value: Option<&'a [u8]>,
}

/// What the header says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct CutTag {
    pub(crate) number: u64,
    pub(crate) is_new: bool,
}

impl<'a> ChangelogRecord<'a> {
    /// Reads a record; `buffer` is for a key that has to be put in another form.
    ///
    /// # Errors
    /// It is none of ours: no key, or a key that cannot be that of a window.
    pub(crate) fn read(info: &TableInfo, message: &RawMessage<'a>, buffer: &'a mut Vec<u8>) -> Result<Self, Error> {
        let foreign = |what: &str| {
            Error::Misuse(format!(
                "changelog `{}` holds a record that is none of table `{}`, at offset {}: {what}; delete the topic with `reset --topics`, or name another with `changelog_topic`",
                info.changelog, info.name, message.offset
            ))
        };
        let mut key = message.key.ok_or_else(|| foreign("it has no key"))?;
        if info.window.is_some() {
            let (plain, start) = split_changelog_key(key).ok_or_else(|| foreign("its key ends with no window"))?;
            buffer.clear();
            store_key(start, plain, buffer);
            key = buffer;
        }
        Ok(Self { cut: cut_of(&message.headers), key, value: message.payload })
    }
}

fn cut_of(headers: &Headers) -> Option<CutTag> {
    let text = headers.get_str(CUT_HEADER)?;
    let (number, is_new) = text.strip_suffix('n').map_or((text, false), |number| (number, true));
    Some(CutTag { number: number.parse().ok()?, is_new })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_is_read_as_it_was_written() {
        let headers = |text: &str| Headers::new().with(CUT_HEADER, text.to_owned());
        for (text, cut) in [
            ("17", Some(CutTag { number: 17, is_new: false })),
            ("3n", Some(CutTag { number: 3, is_new: true })),
            ("n", None),
            ("x", None),
        ] {
            assert_eq!(cut_of(&headers(text)), cut, "{text}");
        }
        assert_eq!(cut_of(&Headers::new()), None);
    }
}
