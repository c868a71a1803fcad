//! The whole verification: every topic is read once and compared with the input.

use serde::{Deserialize, Serialize};

use super::changelogs::FinalState;
use super::fault::Faults;
use super::groups::GroupCheck;
use super::guarantee::Guarantee;
use super::input::Input;
use super::oracle::Oracle;
use super::outputs::OutputCheck;
use super::record::Record;
use super::windows::WindowCheck;
use crate::BoxError;
use crate::topics::{CHANGELOGS, GROUPS, GROUPS_CHANGELOG, INPUT, Output, PARTITIONS, WINDOWED_CHANGELOG, WINDOWS};

/// The topics to verify.
pub(crate) trait RecordSource {
    /// Passes every committed record of a topic to `each`, in the order of each partition. Returns their number.
    ///
    /// # Errors
    /// Fails if the topic cannot be read to its end.
    fn read(&self, topic: &str, each: &mut dyn FnMut(&Record<'_>)) -> Result<u64, BoxError>;
}

/// The figures of a verification. Their JSON is the last line of the output.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Number of events in the input.
    pub(crate) events: usize,
    /// Number of output records that were compared.
    pub(crate) outputs: u64,
    /// Number of those that repeat an earlier one.
    pub(crate) repeats: u64,
    /// Number of keys in the final states of the tables.
    pub(crate) keys: usize,
    /// Number of faults.
    pub(crate) faults: u64,
}

/// Verifies all topics. `fed` is the number of events that the feeder has sent, if it is known.
///
/// # Errors
/// Fails if a topic cannot be read, or if the input does not have all events.
pub(crate) fn judge(
    source: &dyn RecordSource,
    guarantee: Guarantee,
    fed: Option<usize>,
) -> Result<(Figures, Faults), BoxError> {
    let (mut faults, mut figures) = (Faults::default(), Figures::default());
    let input = read_input(source, &mut faults)?;
    if faults.count > 0 {
        figures.faults = faults.count;
        return Ok((figures, faults));
    }
    if let Some(fed) = fed.filter(|fed| *fed != input.len()) {
        let found = input.len();
        return Err(
            format!("the input has {found} events, but {fed} were fed: the feeder or the brokers lost some").into()
        );
    }
    let oracle = Oracle::of(&input);
    figures.events = input.len();
    figures.keys = oracle.partitions.iter().map(|partition| partition.tables.len()).sum();
    for output in Output::ALL {
        let mut check = OutputCheck::new(output, guarantee, &input, &oracle);
        figures.outputs += source.read(output.topic(), &mut |record| check.record(record, &mut faults))?;
        figures.repeats += check.finish(&mut faults);
    }
    let mut check = WindowCheck::new(guarantee, &input, &oracle);
    figures.outputs += source.read(WINDOWS, &mut |record| check.record(record, &mut faults))?;
    figures.repeats += check.finish(&mut faults);
    let mut check = GroupCheck::new(guarantee, &oracle);
    figures.outputs += source.read(GROUPS, &mut |record| check.record(record, &mut faults))?;
    figures.repeats += check.finish(&mut faults);
    for (table, changelog) in CHANGELOGS.into_iter().enumerate() {
        final_state(source, changelog)?.check_totals(table, &input, &oracle, &mut faults);
    }
    final_state(source, GROUPS_CHANGELOG)?.check_groups(guarantee, &oracle, &mut faults);
    final_state(source, WINDOWED_CHANGELOG)?.check_windows(&oracle, &mut faults);
    figures.faults = faults.count;
    Ok((figures, faults))
}

fn read_input(source: &dyn RecordSource, faults: &mut Faults) -> Result<Input, BoxError> {
    let mut input = Input::new(usize::try_from(PARTITIONS)?);
    source.read(INPUT, &mut |record| {
        if let Err(fault) = input.push(record) {
            faults.add(fault);
        }
    })?;
    Ok(input)
}

fn final_state(source: &dyn RecordSource, topic: &str) -> Result<FinalState, BoxError> {
    let mut state = FinalState::default();
    source.read(topic, &mut |record| state.record(record))?;
    Ok(state)
}
