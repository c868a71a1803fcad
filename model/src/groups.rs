//! A group whose agent fails at an event, and whose broker refuses a message: how often the outputs of the other events repeat,
//! and that an abandoned commit says nothing about another one.

use std::fmt;

use stateright::{Model, Property};

use crate::case::Cases;

/// Number of events.
const EVENTS: usize = 4;
/// The event at which the agent fails.
const FAILS: u8 = 1;
/// The event whose message the broker refuses.
const REFUSED: u8 = 3;
/// The number of times each of them fails before it succeeds.
const TIMES: u8 = 3;

/// A rule that is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rule {
    SealBeforeRetry,
    BackToSeal,
    RefusedApart,
    OwnResult,
    RestoredTable,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::SealBeforeRetry => "a seal comes before each retry",
            Self::BackToSeal => "a failed event goes back to the seal, not to the commit",
            Self::RefusedApart => "the seal with a refused message is committed apart",
            Self::OwnResult => "a cut is resolved by its own commit",
            Self::RestoredTable => "the table goes back with the position",
        })
    }
}

/// A position with the table at it: how often each event is counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
struct Seal {
    position: u8,
    table: [u8; EVENTS],
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct State {
    now: Seal,
    ready: Option<Seal>,
    /// A later seal, which is committed apart.
    apart: Option<Seal>,
    pending: Option<Seal>,
    confirmed: Seal,
    /// The commit that the broker has accepted last.
    committed: Seal,
    /// Failures at the event at which the agent fails, and refusals of a message.
    failures: u8,
    refusals: u8,
    /// The event with the refused message is known from the second refusal on.
    is_refused_known: bool,
    sent: [u8; EVENTS],
    commits: u8,
    abandoned: u8,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Process,
    Seal,
    Commit,
    /// The broker has accepted the commit, or has refused a message before it.
    Answer,
    /// A commit of other tasks is abandoned, while that of this one is in progress.
    AbandonOther,
}

struct Groups {
    left_out: Option<Rule>,
    max_commits: u8,
}

impl State {
    fn sealed(&self) -> Seal {
        self.apart.or(self.ready).or(self.pending).unwrap_or(self.confirmed)
    }

    fn seal(&mut self, is_apart: bool) {
        let last = self.sealed();
        if last == self.now {
            return;
        }
        let passes_refused = self.is_refused_known && last.position <= REFUSED && self.now.position > REFUSED;
        if self.apart.is_some() || (is_apart && passes_refused && self.ready.is_some()) {
            self.apart = Some(self.now);
        } else {
            self.ready = Some(self.now);
        }
    }
}

impl Model for Groups {
    type State = State;
    type Action = Step;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            now: Seal::default(),
            ready: None,
            apart: None,
            pending: None,
            confirmed: Seal::default(),
            committed: Seal::default(),
            failures: 0,
            refusals: 0,
            is_refused_known: false,
            sent: [0; EVENTS],
            commits: 0,
            abandoned: 0,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Step>) {
        if usize::from(state.now.position) < EVENTS {
            actions.push(Step::Process);
        }
        if state.sealed() != state.now {
            actions.push(Step::Seal);
        }
        if state.pending.is_none() && state.ready.is_some() && state.commits < self.max_commits {
            actions.push(Step::Commit);
        }
        if state.pending.is_some() {
            actions.push(Step::Answer);
        }
        if state.pending.is_some() && state.abandoned == 0 {
            actions.push(Step::AbandonOther);
        }
    }

    fn next_state(&self, state: &State, step: Step) -> Option<State> {
        let mut next = state.clone();
        let is_apart = self.left_out != Some(Rule::RefusedApart);
        match step {
            Step::Process => {
                let event = next.now.position;
                let has_failed = (event == FAILS && next.failures > 0) || (event == REFUSED && next.is_refused_known);
                if has_failed && self.left_out != Some(Rule::SealBeforeRetry) {
                    next.seal(is_apart);
                }
                if event == FAILS && next.failures < TIMES {
                    next.failures += 1;
                    let to = if self.left_out == Some(Rule::BackToSeal) { next.confirmed } else { next.sealed() };
                    next.now = match self.left_out {
                        Some(Rule::RestoredTable) => Seal { position: to.position, table: next.now.table },
                        _ => to,
                    };
                } else {
                    let index = usize::from(event);
                    *next.now.table.get_mut(index)? += 1;
                    let sent = next.sent.get_mut(index)?;
                    *sent = sent.saturating_add(1).min(9);
                    next.now.position += 1;
                }
            }
            Step::Seal => next.seal(is_apart),
            Step::Commit => {
                next.commits += 1;
                next.pending = next.ready.take();
            }
            Step::Answer => {
                let seal = next.pending.take()?;
                let has_message = seal.position > REFUSED && next.confirmed.position <= REFUSED;
                if has_message && next.refusals < TIMES {
                    // Back to the last commit.
                    next.is_refused_known = next.refusals > 0;
                    next.refusals += 1;
                    (next.ready, next.apart, next.now) = (None, None, next.confirmed);
                } else {
                    (next.confirmed, next.committed) = (seal, seal);
                    next.ready = next.ready.take().or_else(|| next.apart.take());
                }
            }
            Step::AbandonOther => {
                next.abandoned += 1;
                if self.left_out == Some(Rule::OwnResult) {
                    // The task takes its own commit for abandoned, and the broker accepts it.
                    let seal = next.pending.take()?;
                    next.committed = seal;
                    next.ready = next.ready.or(Some(seal));
                    // What is committed cannot be rolled back.
                    next.confirmed.table = seal.table;
                }
            }
        }
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("the table has exactly the events before the position", |_, state: &State| {
                let Seal { position, table } = state.now;
                table.iter().enumerate().all(|(event, count)| *count == u8::from(event < usize::from(position)))
            }),
            Property::always("outputs before a failing event repeat at most once", |_, state: &State| {
                // Those of event 0 repeat once for the failing agent, and twice for the refused message, whose event is unknown
                // at first.
                state.sent.first().is_some_and(|sent| *sent <= 4) && state.sent.get(2).is_some_and(|sent| *sent <= 3)
            }),
            Property::sometimes("everything is committed", |_, state: &State| {
                usize::from(state.confirmed.position) == EVENTS && state.failures == TIMES && state.refusals == TIMES
            }),
        ]
    }
}

/// Runs the cases.
pub(crate) fn run(cases: &mut Cases) {
    let model = |left_out| Groups { left_out, max_commits: 8 };
    cases.check("groups", None::<Rule>, model(None));
    for rule in [Rule::SealBeforeRetry, Rule::BackToSeal, Rule::RefusedApart, Rule::OwnResult, Rule::RestoredTable] {
        cases.check("groups", Some(rule), model(Some(rule)));
    }
}
