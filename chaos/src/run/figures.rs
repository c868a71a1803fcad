//! The figures of a run: its last line.

use std::time::Duration;

use crate::verify;

/// The figures of one or more scenarios.
#[derive(Debug, Default)]
pub(crate) struct RunFigures {
    pub(crate) kills: u64,
    pub(crate) pauses: u64,
    pub(crate) clean_bounces: u64,
    pub(crate) hard_bounces: u64,
    pub(crate) joins_and_leaves: u64,
    /// Broken connections between workers and brokers.
    pub(crate) broken_connections: u64,
    /// Rounds in which nothing happened, so that they were repeated.
    pub(crate) void: u64,
    /// The changelog records that were read again after each kill.
    pub(crate) restored: Vec<u64>,
    /// The events that were processed again after each kill.
    pub(crate) replayed: Vec<u64>,
    pub(crate) longest_pause: Duration,
    /// Number of events that were fed, and the time for that.
    pub(crate) events: u64,
    pub(crate) feeding: Duration,
    pub(crate) verified: verify::Figures,
}

impl RunFigures {
    /// Adds the figures of another scenario.
    pub(crate) fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.pauses += other.pauses;
        self.clean_bounces += other.clean_bounces;
        self.hard_bounces += other.hard_bounces;
        self.joins_and_leaves += other.joins_and_leaves;
        self.broken_connections += other.broken_connections;
        self.void += other.void;
        self.restored.extend(other.restored);
        self.replayed.extend(other.replayed);
        self.longest_pause = self.longest_pause.max(other.longest_pause);
        self.events += other.events;
        self.feeding += other.feeding;
        self.verified.events += other.verified.events;
        self.verified.outputs += other.verified.outputs;
        self.verified.repeats += other.verified.repeats;
        self.verified.keys += other.verified.keys;
    }

    /// Returns the figures in one line.
    pub(crate) fn line(&self) -> String {
        let rate = self.events as f64 / self.feeding.as_secs_f64().max(0.001);
        format!(
            "{} events, {rate:.0}/s; {} kills, {} pauses, {} clean and {} hard bounces, {} joins and leaves, {} broken connections \
             ({} void rounds); after a kill max/median {} changelog records and {} events again; longest pause {:.1} s; {} outputs, \
             {} of them repeats; verified",
            self.events,
            self.kills,
            self.pauses,
            self.clean_bounces,
            self.hard_bounces,
            self.joins_and_leaves,
            self.broken_connections,
            self.void,
            max_and_median(&self.restored),
            max_and_median(&self.replayed),
            self.longest_pause.as_secs_f64(),
            self.verified.outputs,
            self.verified.repeats,
        )
    }
}

fn max_and_median(numbers: &[u64]) -> String {
    let mut sorted = numbers.to_vec();
    sorted.sort_unstable();
    match sorted.last() {
        Some(max) => format!("{max}/{}", sorted[sorted.len() / 2]),
        None => "-/-".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_of_an_even_number_is_the_upper_one() {
        assert_eq!(max_and_median(&[4, 1, 3, 2]), "4/3");
        assert_eq!(max_and_median(&[]), "-/-");
    }
}
