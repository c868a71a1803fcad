//! The comparison of this machine's clock with the broker's.

use std::sync::Arc;
use std::time::Duration;

use faust_core::config::Settings;
use faust_core::message::Offset;
use faust_core::time::{Clock, Timestamp};
use faust_core::transport::{
    self, Delivery, Outgoing, PROMPT, Read, StartAt, TopicPartition, Transport, TransportError,
};

use super::check::Check;

/// Maximum time for the delivery and the read of the record that the clocks are compared by.
const WITHIN: Duration = Duration::from_secs(10);
/// Difference of the clocks below which nothing depends on it.
const HARMLESS: i64 = 2000;

/// Compares the clocks by a record that the broker stamps: a removal under a key of its own in the app's control topic, which
/// workers ignore and compaction deletes.
pub(super) async fn check(transport: &dyn Transport, control_topic: &str, settings: &Settings) -> Check {
    match tokio::time::timeout(WITHIN, measure(transport, control_topic)).await {
        Ok(Ok(difference)) => judged(difference, settings),
        Ok(Err(error)) => Check::fail("clock", format!("a record in `{control_topic}` failed: {error}")),
        Err(_) => Check::fail(
            "clock",
            format!(
                "a record in `{control_topic}` was not written and read within {WITHIN:?}: see the lines above, or the broker's log"
            ),
        ),
    }
}

/// Returns the bounds of the difference by which the broker's clock is ahead of this machine's, in milliseconds.
async fn measure(transport: &dyn Transport, control_topic: &str) -> Result<(i64, i64), TransportError> {
    let (sink, clock) = (transport.sink()?, Clock::default());
    let topic = sink.topic(control_topic)?;
    let delivery = Delivery::with_offsets(Arc::default());
    let key = format!("doctor/{}", std::process::id());
    let message = Outgoing { partition: Some(0), key: Some(key.as_bytes()), ..Outgoing::default() };
    let before = clock.now();
    transport::send(&*sink, &*topic, &message, &delivery).await?;
    delivery.all().await?;
    let after = clock.now();
    let unknown = || TransportError::retriable("record of the clock", "its offset is unknown");
    let offset = delivery.last_offset().ok_or_else(unknown)?;
    let stamp = stamp(transport, control_topic, offset).await?;
    Ok((stamp.as_millis() - after.as_millis(), stamp.as_millis() - before.as_millis()))
}

/// Reads the time that the broker has given to the record at this offset.
async fn stamp(transport: &dyn Transport, topic: &str, offset: Offset) -> Result<Timestamp, TransportError> {
    let mut reader = transport.read(vec![(TopicPartition::new(topic, 0), StartAt::Offset(offset))], PROMPT)?;
    loop {
        if let Some(Read::Message(_, message)) = reader.next(WITHIN).await? {
            return Ok(message.timestamp);
        }
    }
}

/// Judges the difference by which the broker's clock is ahead, in milliseconds.
fn judged((low, high): (i64, i64), settings: &Settings) -> Check {
    // The record took some time: as much as that, the clocks may be closer.
    let ahead = if low > 0 { low } else { high.min(0) };
    let size = Duration::from_millis(ahead.unsigned_abs());
    let text = match ahead {
        0 => "the clocks of this machine and of the broker agree".to_owned(),
        1.. => format!("the clock of this machine is {size:?} behind the broker's"),
        _ => format!("the clock of this machine is {size:?} ahead of the broker's"),
    };
    let fix = "set both by NTP";
    match ahead.abs() {
        0..HARMLESS => Check::ok("clock", text),
        _ if size >= settings.stream_time_max_ahead => Check::fail(
            "clock",
            format!(
                "{text}, more than `stream_time_max_ahead`, so that windows do not close or all events are late: {fix}"
            ),
        ),
        _ => Check::warn("clock", format!("{text}: {fix}")),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use faust_core::config::Layers;

    use super::super::check::CheckState;
    use super::*;

    #[test]
    fn a_difference_counts_beyond_the_time_of_the_measurement() {
        let settings = Layers::default().resolve("shop").unwrap().settings;
        let hours = 2 * 3_600_000;
        let cases = [
            ((-30, 5), CheckState::Ok, "agree"),
            ((-9_000, 4_000), CheckState::Ok, "agree"),
            ((500, 600), CheckState::Ok, "500ms behind"),
            ((5_000, 5_100), CheckState::Warn, "5s behind"),
            ((-5_100, -5_000), CheckState::Warn, "5s ahead"),
            ((hours, hours), CheckState::Fail, "`stream_time_max_ahead`"),
        ];
        for (difference, state, text) in cases {
            let check = judged(difference, &settings);
            assert!(check.state == state && check.text.contains(text), "{difference:?}: {check}");
        }
    }
}
