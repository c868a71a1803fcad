//! Positions that are not in the log any more: retention has deleted the messages, or the topic was truncated, or deleted and
//! created again, while the worker ran.

use futures_util::FutureExt;

use super::group::Activity;
use super::partition_task::Task;
use crate::config::OffsetReset;
use crate::error::{Error, TransportError};
use crate::message::Offset;
use crate::transport::{Retries, TopicPartition, Watermarks};

impl Task {
    /// Ends the run of a group that cannot read on, and looks up where its logs begin and end.
    pub(super) fn look_up_logs(&mut self, index: usize, error: &Error) {
        let Some(group) = self.groups.get_mut(index) else { return };
        tracing::warn!("{error}; looking up the log");
        group.end(Activity::Relocating);
        let cx = std::sync::Arc::clone(&self.cx);
        let partitions: Vec<TopicPartition> =
            group.inputs.iter().flatten().map(|input| input.reader.partition().clone()).collect();
        let look_up = async move {
            let admin = match cx.transport.admin() {
                Ok(admin) => admin,
                Err(error) => return (index, Err(error)),
            };
            let mut retries = Retries::default().of(cx.transport.outage());
            let found = retries.run("the broker to look up a log", || admin.watermarks(partitions.clone())).await;
            (index, found)
        };
        self.relocations.push(look_up.boxed());
        self.publish_live();
    }

    /// Moves the positions of a group into its logs, and starts it again.
    pub(super) fn relocate(&mut self, index: usize, found: Result<Watermarks, TransportError>) {
        let Some(group) = self.groups.get_mut(index).filter(|group| matches!(group.activity, Activity::Relocating))
        else {
            return;
        };
        let moved = found.map_err(Error::from).and_then(|bounds| {
            let reset = self.cx.settings.consumer_auto_offset_reset;
            let mut positions = group.sealed_positions().clone();
            for (stage, (inputs, at)) in group.inputs.iter().zip(&mut positions.stages).enumerate() {
                let agent = group.stages.get(stage).map(|stage| stage.agent().to_owned()).unwrap_or_default();
                for (input, next) in inputs.iter().zip(at) {
                    let partition = input.reader.partition();
                    let Some(bounds) = bounds.get(partition) else { continue };
                    *next = moved((partition, *next), *bounds, (&agent, !group.tables.is_empty()), reset)?;
                }
            }
            group.seal_at(positions, Vec::new())
        });
        match moved {
            Ok(()) => self.start(index),
            Err(error) => self.stop(index, error),
        }
    }
}

/// Returns a position that is in the log from `low` to `high`.
///
/// # Errors
/// The position is behind the end, and a table still has the events of the former log; or the policy is to stop.
fn moved(
    (partition, next): (&TopicPartition, Offset),
    (low, high): (Offset, Offset),
    (agent, has_tables): (&str, bool),
    reset: OffsetReset,
) -> Result<Offset, Error> {
    if (low..=high).contains(&next) {
        return Ok(next);
    }
    let what = match next < low {
        true => format!(
            "the messages of {partition} from offset {next} to {low} were deleted before agent `{agent}` read them"
        ),
        false => format!(
            "{partition} ends at offset {high}, and agent `{agent}` has read it up to offset {next}: the topic was truncated, or deleted and created again"
        ),
    };
    if reset == OffsetReset::None {
        return Err(Error::Misuse(format!("{what}; `consumer_auto_offset_reset` is `none`")));
    }
    if next > high && has_tables {
        return Err(Error::Misuse(format!(
            "{what}. Its tables still contain the events of the former log. To keep them and to read the new log from its beginning, run `recover`, and start the worker again; to start over, run `reset --topics`"
        )));
    }
    let to = if reset == OffsetReset::Latest { high } else { low };
    tracing::error!("{what}; it continues at offset {to}");
    Ok(to)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_moved_into_the_log_or_the_worker_stops() {
        let partition = TopicPartition::new("in", 0);
        let bounds = (Offset(10), Offset(20));
        let at = |next: i64, has_tables: bool, reset: OffsetReset| {
            moved((&partition, Offset(next)), bounds, ("sum", has_tables), reset).map_err(|error| error.to_string())
        };
        use OffsetReset::{Earliest, Latest, None};
        for (next, tables, reset, expected) in [
            (10, true, None, 10),
            (20, true, Earliest, 20),
            (5, false, Earliest, 10),
            (5, true, Earliest, 10),
            (5, false, Latest, 20),
            (25, false, Earliest, 10),
        ] {
            assert_eq!(at(next, tables, reset), Ok(Offset(expected)), "{next}");
        }
        for (next, tables, reset, why) in [
            (5, false, None, "the messages of in[0] from offset 5 to 10 were deleted before agent `sum` read them"),
            (25, false, None, "`consumer_auto_offset_reset` is `none`"),
            (25, true, Earliest, "run `reset --topics`"),
            (25, true, Latest, "To keep them and to read the new log"),
        ] {
            let error = at(next, tables, reset).expect_err("it stops");
            assert!(error.contains(why), "{error}");
        }
    }
}
