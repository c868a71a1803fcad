//! A task that reads two topics and changes one table: the broker accepts or refuses the offset of each topic.

use std::fmt;

use stateright::{Model, Property};

use crate::case::Cases;

const TOPICS: usize = 2;
/// Number of events of each topic.
const EVENTS: u8 = 2;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    EachTopicKnowsAll,
    LatestCounts,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EachTopicKnowsAll => "each topic holds the positions in all topics",
            Self::LatestCounts => "the commit with the highest number counts for all topics",
        })
    }
}

/// The number of times each event of each topic is counted in the table.
type Table = [[u8; EVENTS as usize]; TOPICS];

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Commit {
    number: u8,
    positions: [u8; TOPICS],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    positions: [u8; TOPICS],
    table: Table,
    number: u8,
    /// The table at each number, whose records were acknowledged before the commit was requested.
    changelog: Vec<Table>,
    /// The commit in progress, with the topics that have not answered.
    pending: Option<(Commit, [bool; TOPICS])>,
    committed: [Commit; TOPICS],
    crashes: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Process(usize),
    Commit,
    /// The broker accepts or refuses the offset of a topic.
    Answer(usize, bool),
    /// The worker crashes, and the next one restores.
    Crash,
}

struct Topics {
    left_out: Option<Rule>,
    max_commits: u8,
    max_crashes: u8,
}

impl Topics {
    /// Returns what a restore finds: the positions, the table, and the highest number.
    fn restored(&self, state: &State) -> Option<([u8; TOPICS], Table, u8)> {
        let latest = match self.left_out {
            Some(Rule::LatestCounts) => state.committed.first()?,
            _ => state.committed.iter().max_by_key(|commit| commit.number)?,
        };
        let mut positions = latest.positions;
        if self.left_out == Some(Rule::EachTopicKnowsAll) {
            for (topic, position) in positions.iter_mut().enumerate() {
                *position = *state.committed.get(topic)?.positions.get(topic)?;
            }
        }
        let number = match self.left_out {
            // The table follows the latest commit that the broker knows of.
            Some(Rule::LatestCounts) => state.committed.iter().map(|commit| commit.number).max()?,
            _ => latest.number,
        };
        let table = match number {
            0 => Table::default(),
            number => *state.changelog.get(usize::from(number) - 1)?,
        };
        Some((positions, table, number))
    }
}

impl Model for Topics {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let none = Commit { number: 0, positions: [0; TOPICS] };
        vec![State {
            positions: [0; TOPICS],
            table: Table::default(),
            number: 0,
            changelog: Vec::new(),
            pending: None,
            committed: [none; TOPICS],
            crashes: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        for (topic, position) in state.positions.iter().enumerate() {
            if *position < EVENTS {
                actions.push(Step::Process(topic));
            }
        }
        match state.pending {
            None if state.number < self.max_commits => actions.push(Step::Commit),
            None => {}
            Some((_, open)) => {
                for topic in (0..TOPICS).filter(|topic| open.get(*topic) == Some(&true)) {
                    actions.extend([Step::Answer(topic, true), Step::Answer(topic, false)]);
                }
            }
        }
        if state.crashes < self.max_crashes {
            actions.push(Step::Crash);
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        match step {
            Step::Process(topic) => {
                let position = next.positions.get_mut(topic)?;
                *next.table.get_mut(topic)?.get_mut(usize::from(*position))? += 1;
                *position += 1;
            }
            Step::Commit => {
                next.number += 1;
                next.changelog.push(next.table);
                next.pending = Some((Commit { number: next.number, positions: next.positions }, [true; TOPICS]));
            }
            Step::Answer(topic, is_accepted) => {
                let (commit, open) = next.pending.as_mut()?;
                *open.get_mut(topic)? = false;
                if is_accepted {
                    *next.committed.get_mut(topic)? = *commit;
                }
                if *open == [false; TOPICS] {
                    next.pending = None;
                }
            }
            Step::Crash => {
                let (positions, table, _) = self.restored(state)?;
                (next.positions, next.table, next.pending) = (positions, table, None);
                next.crashes += 1;
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(
                "a restore finds exactly the events before its positions",
                |model: &Self, state: &State| {
                    let Some((positions, table, _)) = model.restored(state) else { return false };
                    positions.iter().zip(&table).all(|(position, counts)| {
                        counts
                            .iter()
                            .enumerate()
                            .all(|(event, count)| *count == u8::from(event < usize::from(*position)))
                    })
                },
            ),
            Property::sometimes("everything is committed, with a refused offset", |_, state: &State| {
                let [a, b] = state.committed;
                a.number != b.number && a.positions.max(b.positions) == [EVENTS; TOPICS]
            }),
        ]
    }
}

/// Runs the cases.
pub(crate) fn run(cases: &mut Cases) {
    let model = |left_out| Topics { left_out, max_commits: 3, max_crashes: 2 };
    cases.check("topics", None::<Rule>, model(None));
    for rule in [Rule::EachTopicKnowsAll, Rule::LatestCounts] {
        cases.check("topics", Some(rule), model(Some(rule)));
    }
}
