//! One task with a table, its changelog and its commits, through several owners. A former owner may continue: its records may
//! arrive late, and its commits may be carried out.

use std::fmt;

use stateright::{Model, Property};

use crate::case::Cases;

/// Number of events. Event `n` changes the key `n % KEYS`.
const EVENTS: usize = 2;
const KEYS: usize = 2;

/// The number of times each event is counted in the value of a key.
type Value = [u8; EVENTS];
type Table = [Value; KEYS];

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Rule {
    EpochsInRecords,
    FreshNumbers,
    RecordsBeforeCommit,
    OffsetsBeforeEnds,
    Rewrites,
    RewritesBeforeEpoch,
    RewritesUnderCommittedNumber,
    Ends,
    NoGap,
}

impl Rule {
    const ALL: [Self; 9] = [
        Self::EpochsInRecords,
        Self::FreshNumbers,
        Self::RecordsBeforeCommit,
        Self::OffsetsBeforeEnds,
        Self::Rewrites,
        Self::RewritesBeforeEpoch,
        Self::RewritesUnderCommittedNumber,
        Self::Ends,
        Self::NoGap,
    ];
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EpochsInRecords => "a record names its owner",
            Self::FreshNumbers => "no number is used twice",
            Self::RecordsBeforeCommit => "a commit waits for its records",
            Self::OffsetsBeforeEnds => "offsets are looked up before the ends of changelogs",
            Self::Rewrites => "skipped keys are written again",
            Self::RewritesBeforeEpoch => "keys are written again before the own epoch is committed",
            Self::RewritesUnderCommittedNumber => "keys are written again under the committed number",
            Self::Ends => "records below the end of the restore count",
            Self::NoGap => "a task survives a rebalance only without a gap, and if the commit is its own",
        })
    }
}

/// A record of the changelog.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Record {
    epoch: u8,
    number: u8,
    key: u8,
    value: Value,
}

/// A commit: the position, with the metadata.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Commit {
    epoch: u8,
    number: u8,
    position: u8,
    /// End of the changelog when the owner restored.
    end: u8,
    /// Number of the last commit that covers the table.
    table: u8,
}

/// The first commit of the group.
const NONE: Commit = Commit { epoch: 0, number: 0, position: 0, end: 0, table: 0 };

impl Commit {
    fn covers(&self, offset: usize, record: &Record, left_out: Option<Rule>) -> bool {
        let is_below = offset < usize::from(self.end) && left_out != Some(Rule::Ends);
        let is_own = record.epoch == self.epoch || left_out == Some(Rule::EpochsInRecords);
        is_below || (is_own && record.number <= self.table)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Phase {
    /// Looks up the offset and the end, in this order.
    LooksUp {
        commit: Option<Commit>,
        end: Option<u8>,
    },
    /// Writes skipped keys again.
    Rewrites {
        commit: Commit,
    },
    /// Commits its epoch.
    CommitsEpoch,
    Runs,
    /// Its partition was revoked after its last commit: it may be resumed.
    Parked,
}

/// An owner of the task, present or former.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Owner {
    epoch: u8,
    phase: Phase,
    position: u8,
    table: Table,
    /// Keys changed since the last confirmed commit.
    changed: [bool; KEYS],
    /// The highest number used.
    number: u8,
    /// Number of the last commit that covers the table.
    committed_number: u8,
    end: u8,
    confirmed: Commit,
    /// The commit in progress, and whether it was requested.
    pending: Option<(Commit, bool)>,
    /// Records on their way to the changelog, in order.
    records: Vec<Record>,
    /// Commits on their way to the broker, in order.
    requests: Vec<Commit>,
}

/// The state of the broker and of all owners.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    changelog: Vec<Record>,
    committed: Commit,
    owners: Vec<Owner>,
    /// The owner of the present generation.
    present: usize,
    /// Index of the owner of each generation.
    generations: Vec<u8>,
    commits: u8,
    /// A resumed task repeats events that another owner has committed.
    is_behind: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A new owner is assigned; the former one continues unless it has crashed.
    Assign,
    /// A former owner is assigned again, and continues with its table.
    Resume(usize),
    Park,
    Crash(usize),
    LookUpCommit(usize),
    LookUpEnd(usize),
    Restore(usize),
    Rewritten(usize),
    Process(usize),
    BeginCommit(usize),
    /// The records are late: their seal takes part in the next commit, under its own number.
    Postpone(usize),
    Deliver(usize),
    Request(usize),
    /// The broker carries out a commit. The answer may be lost.
    CarryOut(usize, bool),
}

/// The model with its bounds.
pub(crate) struct Owners {
    left_out: Option<Rule>,
    max_owners: usize,
    max_commits: u8,
}

impl Owners {
    fn owner(&self, epoch: u8) -> Owner {
        Owner {
            epoch,
            phase: Phase::LooksUp { commit: None, end: None },
            position: 0,
            table: Table::default(),
            changed: [false; KEYS],
            number: 0,
            committed_number: 0,
            end: 0,
            confirmed: NONE,
            pending: None,
            records: Vec::new(),
            requests: Vec::new(),
        }
    }

    /// Returns the table that a restore finds, and the keys whose last record does not count.
    fn restored(&self, changelog: &[Record], commit: &Commit) -> (Table, [bool; KEYS]) {
        let (mut table, mut skipped) = (Table::default(), [false; KEYS]);
        for (offset, record) in changelog.iter().enumerate() {
            let counts = commit.covers(offset, record, self.left_out);
            let key = usize::from(record.key);
            if let (true, Some(value)) = (counts, table.get_mut(key)) {
                *value = record.value;
            }
            if let Some(skipped) = skipped.get_mut(key) {
                *skipped = !counts;
            }
        }
        (table, skipped)
    }

    fn step(&self, state: &mut State, step: &Step) -> Option<()> {
        match *step {
            Step::Assign => {
                let epoch = u8::try_from(state.generations.len()).ok()? + 1;
                state.owners.push(self.owner(epoch));
                state.present = state.owners.len() - 1;
                state.generations.push(u8::try_from(state.present).ok()?);
            }
            Step::Resume(index) => {
                let owner = state.owners.get_mut(index)?;
                owner.phase = Phase::Runs;
                state.is_behind |= owner.position < state.committed.position;
                state.present = index;
                state.generations.push(u8::try_from(index).ok()?);
            }
            Step::Park => state.owners.get_mut(state.present)?.phase = Phase::Parked,
            Step::Crash(index) => {
                // What it has sent is lost, at the latest possible moment: whatever arrives before is another history.
                let owner = state.owners.get_mut(index)?;
                *owner = self.owner(owner.epoch);
                owner.phase = Phase::Parked;
                // It is never resumed.
                owner.pending = Some((NONE, true));
            }
            Step::LookUpCommit(index) => {
                let committed = state.committed;
                let Phase::LooksUp { commit, .. } = &mut state.owners.get_mut(index)?.phase else { return None };
                *commit = Some(committed);
            }
            Step::LookUpEnd(index) => {
                let found = u8::try_from(state.changelog.len()).ok()?;
                let Phase::LooksUp { end, .. } = &mut state.owners.get_mut(index)?.phase else { return None };
                *end = Some(found);
            }
            Step::Restore(index) => {
                let owner = state.owners.get_mut(index)?;
                let Phase::LooksUp { commit: Some(commit), end: Some(end) } = owner.phase else { return None };
                let read = state.changelog.get(..usize::from(end))?;
                let (table, skipped) = self.restored(read, &commit);
                let highest = read.iter().map(|record| record.number).max().unwrap_or(0);
                owner.number = highest.max(commit.number);
                (owner.table, owner.position, owner.end) = (table, commit.position, end);
                owner.committed_number = commit.table;
                let number = match self.left_out {
                    Some(Rule::RewritesUnderCommittedNumber) => commit.table + 1,
                    _ => commit.table,
                };
                if self.left_out != Some(Rule::Rewrites) {
                    for key in (0..KEYS).filter(|key| skipped.get(*key) == Some(&true)) {
                        let value = *table.get(key)?;
                        owner.records.push(Record { epoch: owner.epoch, number, key: u8::try_from(key).ok()?, value });
                    }
                }
                owner.phase = Phase::Rewrites { commit };
                if self.left_out == Some(Rule::RewritesBeforeEpoch) {
                    self.commit_epoch(owner, commit);
                }
            }
            Step::Rewritten(index) => {
                let owner = state.owners.get_mut(index)?;
                let Phase::Rewrites { commit } = owner.phase else { return None };
                self.commit_epoch(owner, commit);
            }
            Step::Process(index) => {
                let owner = state.owners.get_mut(index)?;
                let event = usize::from(owner.position);
                *owner.table.get_mut(event % KEYS)?.get_mut(event)? += 1;
                *owner.changed.get_mut(event % KEYS)? = true;
                owner.position += 1;
            }
            Step::BeginCommit(index) => {
                state.commits += 1;
                let owner = state.owners.get_mut(index)?;
                let is_fresh = self.left_out != Some(Rule::FreshNumbers) || owner.pending.is_none();
                owner.number += u8::from(is_fresh);
                for key in (0..KEYS).filter(|key| owner.changed.get(*key) == Some(&true)) {
                    let record = Record {
                        epoch: owner.epoch,
                        number: owner.number,
                        key: u8::try_from(key).ok()?,
                        value: *owner.table.get(key)?,
                    };
                    owner.records.push(record);
                }
                let commit = Commit {
                    epoch: owner.epoch,
                    number: owner.number,
                    position: owner.position,
                    end: owner.end,
                    table: owner.number,
                };
                owner.pending = Some((commit, false));
            }
            Step::Postpone(index) => {
                state.commits += 1;
                let owner = state.owners.get_mut(index)?;
                owner.number += 1;
                let (commit, _) = owner.pending?;
                owner.pending = Some((Commit { number: owner.number, ..commit }, false));
            }
            Step::Deliver(index) => {
                let owner = state.owners.get_mut(index)?;
                state.changelog.push(owner.records.remove(0));
            }
            Step::Request(index) => {
                let owner = state.owners.get_mut(index)?;
                let (commit, _) = owner.pending?;
                owner.pending = Some((commit, true));
                owner.requests.push(commit);
            }
            Step::CarryOut(index, is_answered) => {
                let owner = state.owners.get_mut(index)?;
                let commit = owner.requests.remove(0);
                state.committed = commit;
                if is_answered && owner.pending == Some((commit, true)) {
                    owner.confirmed = commit;
                    (owner.committed_number, owner.pending) = (commit.table, None);
                    if owner.phase == Phase::CommitsEpoch {
                        owner.phase = Phase::Runs;
                    } else if commit.position == owner.position {
                        owner.changed = [false; KEYS];
                    }
                }
            }
        }
        Some(())
    }

    /// Commits the own epoch at the position of the last commit.
    fn commit_epoch(&self, owner: &mut Owner, commit: Commit) {
        owner.number += 1;
        let own = Commit {
            epoch: owner.epoch,
            number: owner.number,
            position: commit.position,
            end: owner.end,
            table: commit.table,
        };
        owner.requests.push(own);
        owner.pending = Some((own, true));
        owner.phase = Phase::CommitsEpoch;
    }

    /// Returns whether an owner may be resumed: no other was assigned since, and the commit is its own.
    fn can_resume(&self, state: &State, index: usize) -> bool {
        let Some(owner) = state.owners.get(index) else { return false };
        let is_last = state.generations.last().is_some_and(|last| usize::from(*last) == index);
        let has_no_gap = is_last && state.committed == owner.confirmed;
        owner.phase == Phase::Parked && owner.pending.is_none() && (has_no_gap || self.left_out == Some(Rule::NoGap))
    }
}

impl Model for Owners {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        let first = self.owner(1);
        vec![State {
            changelog: Vec::new(),
            committed: NONE,
            owners: vec![first],
            present: 0,
            generations: vec![0],
            commits: 0,
            is_behind: false,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if state.generations.len() < self.max_owners {
            actions.push(Step::Assign);
            actions.extend((0..state.owners.len()).filter(|index| self.can_resume(state, *index)).map(Step::Resume));
        }
        for (index, owner) in state.owners.iter().enumerate() {
            if index != state.present && owner.phase != Phase::Parked {
                actions.push(Step::Crash(index));
            }
            if !owner.records.is_empty() {
                actions.push(Step::Deliver(index));
            }
            if !owner.requests.is_empty() {
                actions.extend([Step::CarryOut(index, true), Step::CarryOut(index, false)]);
            }
            match owner.phase {
                Phase::LooksUp { commit, end } => {
                    let in_order = self.left_out != Some(Rule::OffsetsBeforeEnds);
                    match (commit, end) {
                        (None, None) if !in_order => actions.push(Step::LookUpEnd(index)),
                        (None, _) => actions.push(Step::LookUpCommit(index)),
                        (Some(_), None) => actions.push(Step::LookUpEnd(index)),
                        (Some(_), Some(_)) => actions.push(Step::Restore(index)),
                    }
                }
                Phase::Rewrites { .. } if owner.records.is_empty() => actions.push(Step::Rewritten(index)),
                Phase::Runs => {
                    if usize::from(owner.position) < EVENTS {
                        actions.push(Step::Process(index));
                    }
                    let is_ahead = owner.position != owner.confirmed.position || owner.changed != [false; KEYS];
                    let may_begin = owner.pending.is_none_or(|(_, is_requested)| is_requested);
                    if is_ahead && may_begin && state.commits < self.max_commits {
                        actions.push(Step::BeginCommit(index));
                    }
                    let is_late = !owner.records.is_empty() && owner.pending.is_some_and(|(_, requested)| !requested);
                    if is_late && state.commits < self.max_commits {
                        actions.push(Step::Postpone(index));
                    }
                    let has_arrived = owner.records.is_empty() || self.left_out == Some(Rule::RecordsBeforeCommit);
                    if has_arrived && owner.pending.is_some_and(|(_, is_requested)| !is_requested) {
                        actions.push(Step::Request(index));
                    }
                    let is_quiet = owner.pending.is_none() && owner.records.is_empty() && owner.requests.is_empty();
                    if index == state.present && is_quiet && owner.position == owner.confirmed.position {
                        actions.push(Step::Park);
                    }
                }
                // An owner that waits for the answer to its epoch asks again, as one with a commit of unknown outcome does.
                Phase::CommitsEpoch if owner.requests.is_empty() => {
                    if owner.pending.is_some_and(|(commit, _)| state.committed != commit) {
                        actions.push(Step::Request(index));
                    }
                }
                Phase::Rewrites { .. } | Phase::CommitsEpoch | Phase::Parked => {}
            }
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        self.step(&mut next, &step)?;
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        /// Returns whether a table has exactly the events before a position.
        fn is_exact(table: &Table, position: u8) -> bool {
            let counts = |key: usize, event: usize| u8::from(event % KEYS == key && event < usize::from(position));
            table
                .iter()
                .enumerate()
                .all(|(key, value)| value.iter().enumerate().all(|(event, count)| *count == counts(key, event)))
        }
        vec![
            Property::always(
                "a running owner's table has exactly the events before its position",
                |_, state: &State| {
                    let mut running = state.owners.iter().filter(|owner| owner.phase == Phase::Runs);
                    running.all(|owner| is_exact(&owner.table, owner.position))
                },
            ),
            Property::always("what is committed can be restored at any time", |model: &Self, state: &State| {
                let (table, _) = model.restored(&state.changelog, &state.committed);
                is_exact(&table, state.committed.position)
            }),
            Property::always("a resumed task repeats nothing that is committed", |_, state: &State| !state.is_behind),
            Property::sometimes("everything is committed", |_, state: &State| {
                usize::from(state.committed.position) == EVENTS && state.generations.len() > 1
            }),
            Property::sometimes("a task is resumed", |_, state: &State| {
                state.generations.windows(2).any(|pair| matches!(pair, [former, next] if former == next))
            }),
        ]
    }
}

/// Runs the cases.
pub(crate) fn run(cases: &mut Cases) {
    let model = |left_out| Owners { left_out, max_owners: 3, max_commits: 2 };
    cases.check("owners", None::<Rule>, model(None));
    for rule in Rule::ALL {
        cases.check("owners", Some(rule), model(Some(rule)));
    }
}
