//! The failures of a group since its last commit, and the decision what follows each of them (promise P6).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tokio::time::Instant;

use super::failure::{Failure, Why};
use super::positions::Positions;
use crate::config::{FailurePolicy, Settings};
use crate::message::Offset;
use crate::offsets::Position;
use crate::stage::given_up::{Disposal, GivenUp};

/// An event of a group: the index of its stage, and its position.
pub(super) type EventId = (usize, Position);

/// The failures of a group.
#[derive(Debug, Default)]
pub(super) struct FailureHistory {
    /// Events that have failed and that no commit covers. Before each attempt the group is sealed, so that the outputs of the
    /// events before do not repeat again.
    events: BTreeMap<EventId, FailedEvent>,
    /// The failures whose event is unknown.
    others: Option<Failures>,
    /// A message sent before these positions was refused, and the event that sent it is unknown: until a commit has reached
    /// them, the runs note the event of each message.
    notes_senders_until: Option<Positions>,
    /// A seal at these positions has failed, because a table cannot be encoded, and the event that is the cause is unknown:
    /// until a commit has reached them, each write of the tables is encoded, so that it fails in its event.
    checks_writes_until: Option<Positions>,
}

/// An event that has failed.
#[derive(Debug)]
struct FailedEvent {
    failures: Failures,
    /// Set once the event is not processed any more.
    given_up: Option<GivenUp>,
}

/// Successive failures of one cause.
#[derive(Clone, Debug)]
struct Failures {
    count: u32,
    since: Instant,
    last: Instant,
    /// The event begun last.
    at: Option<Position>,
    agent: String,
    place: String,
    what: String,
    /// The command that skips the event.
    skip: Option<String>,
    /// The agent returns while its stream is open: it makes progress, but is wrong.
    is_ended: bool,
    /// The broker has refused a message, after the agent had finished the event.
    is_refused: bool,
    /// A message was not delivered, which is no fault of an event.
    is_undelivered: bool,
}

/// The consequence of a failure.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The group starts again after this pause.
    Retry(Duration),
    /// The group starts again, and passes the event.
    GiveUp(Disposal),
    /// The worker stops, after this number of attempts.
    Stop(u32),
}

/// An agent that has failed `agent_max_attempts` times or more, and is tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FailingAgent {
    /// Name of the agent, or of the agents that share the tables.
    pub agent: String,
    /// Topic, partition and offset of the event, or a description of the step that fails.
    pub place: String,
    /// Number of failures at this event.
    pub attempts: u32,
    /// The last error.
    pub error: String,
    /// The command that skips the event; `None` if the failure has another cause, or the event is unknown.
    pub skip: Option<String>,
}

impl fmt::Display for FailingAgent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { agent, place, attempts, error, .. } = self;
        write!(
            f,
            "agent `{agent}` has failed {attempts} times at {place} and is tried again; its partition waits: {error}"
        )?;
        match &self.skip {
            Some(command) => write!(f, "; to skip the event, stop the workers and run `{command}`"),
            None => Ok(()),
        }
    }
}

impl FailureHistory {
    /// Counts the failure. Returns what follows it.
    pub(super) fn note(
        &mut self,
        failure: &Failure,
        policy: FailurePolicy,
        settings: &Settings,
        now: Instant,
    ) -> Decision {
        if let Why::Unsealed(_) = failure.why {
            // The next run finds the event.
            return Decision::Retry(settings.agent_backoff_min);
        }
        let failures = self.count(failure, settings, now);
        let (count, since) = (failures.count, failures.since);
        let pause = settings.agent_backoff_min.saturating_mul(1 << (count - 1).min(16)).min(settings.agent_backoff_max);
        match failure.why {
            // The fault is the broker's, not the agent's: it is retried without a limit (promise P7).
            Why::Undelivered(_) => return Decision::Retry(pause),
            Why::Final(_) => return Decision::Stop(count),
            Why::Agent(_) | Why::Hook(_) | Why::Ended | Why::Refused(_) | Why::Unsealed(_) => {}
        }
        if count < settings.agent_max_attempts && now - since < settings.agent_max_time {
            return Decision::Retry(pause);
        }
        let disposal = match policy {
            FailurePolicy::Retry => return Decision::Retry(pause),
            FailurePolicy::Stop => return Decision::Stop(count),
            FailurePolicy::DeadLetter => Disposal::DeadLetter,
            FailurePolicy::Skip => Disposal::Skip,
        };
        // Only an event that has failed alone is known to be the cause.
        let cause = match (failure.stage, failure.events.as_slice()) {
            (Some(stage), [at]) if !matches!(failure.why, Why::Hook(_)) => self.events.get_mut(&(stage, *at)),
            _ => None,
        };
        let Some(event) = cause else { return Decision::Retry(pause) };
        let attempts = match count {
            1 => "once".to_owned(),
            count => format!("{count} times"),
        };
        event.given_up = Some(GivenUp { disposal, why: format!("failed {attempts}: {}", failure.what()) });
        Decision::GiveUp(disposal)
    }

    /// Adds a failure to those of the same cause, and returns them.
    fn count(&mut self, failure: &Failure, settings: &Settings, now: Instant) -> Failures {
        let first = || Failures {
            count: 1,
            since: now,
            last: now,
            at: failure.at,
            agent: failure.agent.clone(),
            place: failure.place.clone(),
            what: failure.what(),
            skip: failure.skip.clone(),
            is_ended: matches!(failure.why, Why::Ended),
            is_refused: matches!(failure.why, Why::Refused(_)),
            is_undelivered: matches!(failure.why, Why::Undelivered(_)),
        };
        let again = |before: &Failures| Failures { count: before.count + 1, since: before.since, ..first() };
        let is_undelivered = matches!(failure.why, Why::Undelivered(_));
        if let (Some(stage), [_, ..], false) = (failure.stage, failure.events.as_slice(), is_undelivered) {
            let mut most = first();
            for at in &failure.events {
                let event = self.events.entry((stage, *at));
                let event = event
                    .and_modify(|event| event.failures = again(&event.failures))
                    .or_insert_with(|| FailedEvent { failures: first(), given_up: None });
                if event.failures.count > most.count {
                    most = event.failures.clone();
                }
            }
            return most;
        }
        let before = self.others.as_ref().filter(|before| before.continues_with(failure, settings, now));
        let failures = before.map_or_else(first, again);
        self.others.insert(failures).clone()
    }

    /// Returns the events of a stage that have failed.
    pub(super) fn of_stage(&self, stage: usize) -> impl Iterator<Item = (Position, Option<&GivenUp>)> {
        let of_stage = self.events.iter().filter(move |((of, _), _)| *of == stage);
        of_stage.map(|((_, at), event)| (*at, event.given_up.as_ref()))
    }

    /// Notes the events of messages from now on, until a commit has reached these positions.
    pub(super) fn note_senders_until(&mut self, positions: Positions) {
        self.notes_senders_until = Some(positions);
    }

    /// Returns whether the runs have to note the event of each message.
    pub(super) fn notes_senders(&self) -> bool {
        self.notes_senders_until.is_some()
    }

    /// Starts encoding each write of the tables, until a commit has reached these positions. Returns `false` if that had
    /// begun before.
    pub(super) fn check_writes_until(&mut self, positions: Positions) -> bool {
        self.checks_writes_until.replace(positions).is_none()
    }

    /// Returns whether each write of the tables is encoded.
    pub(super) fn checks_writes(&self) -> bool {
        self.checks_writes_until.is_some()
    }

    /// Forgets the failures that a commit covers.
    pub(super) fn committed(&mut self, positions: &Positions) {
        self.events.retain(|event, _| positions.is_before(*event));
        self.others.take_if(|failures| !failures.is_ended);
        self.notes_senders_until.take_if(|until| positions.has_reached(until));
        self.checks_writes_until.take_if(|until| positions.has_reached(until));
    }

    /// Forgets the failures of the events of an input of a stage, whose next offset is now `to` in another log: its offsets
    /// are those of other events.
    pub(super) fn relocated(&mut self, (stage, input): (usize, u32), to: Offset) {
        self.events.retain(|(of, at), _| (*of, at.input) != (stage, input));
        let until = [&mut self.notes_senders_until, &mut self.checks_writes_until];
        for until in until.into_iter().flatten() {
            let next = until.stages.get_mut(stage).and_then(|inputs| inputs.get_mut(input as usize));
            next.into_iter().for_each(|next| *next = to.min(*next));
        }
    }

    /// Returns whether an event between these positions has sent a message that was refused.
    pub(super) fn has_refused_between(&self, from: &Positions, to: &Positions) -> bool {
        let refused = self.events.iter().filter(|(_, event)| event.failures.is_refused);
        refused.map(|(event, _)| *event).any(|event| from.is_before(event) && !to.is_before(event))
    }

    /// Returns whether there are failures that no commit covers.
    pub(super) fn is_pending(&self) -> bool {
        !self.events.is_empty() || self.others.is_some()
    }

    /// Returns the agents that fail again and again. Events before `sealed`, the positions of the newest seal, have succeeded
    /// since; those of which a message was refused have to be committed for that: they are never before `confirmed`.
    pub(super) fn failing(
        &self,
        (sealed, confirmed): (&Positions, &Positions),
        settings: &Settings,
        now: Instant,
    ) -> Vec<FailingAgent> {
        let is_pending = |event: EventId, failed: &FailedEvent| {
            let done = if failed.failures.is_refused { confirmed } else { sealed };
            failed.given_up.is_none() && done.is_before(event)
        };
        let pending = self.events.iter().filter(|(event, failed)| is_pending(**event, failed));
        let pending = pending.map(|(_, event)| (&event.failures, true));
        let forgotten = settings.agent_backoff_max.saturating_mul(2);
        let others = self.others.iter().filter(|failures| now - failures.last <= forgotten);
        let all = pending.chain(others.map(|failures| (failures, false)));
        let failing = all.filter(|(failures, _)| failures.count >= settings.agent_max_attempts);
        failing
            .map(|(failures, is_event)| FailingAgent {
                agent: failures.agent.clone(),
                place: failures.place.clone(),
                attempts: failures.count,
                error: failures.what.clone(),
                skip: failures.skip.clone().filter(|_| is_event),
            })
            .collect()
    }
}

impl Failures {
    /// Returns whether a failure without a known event continues these.
    fn continues_with(&self, failure: &Failure, settings: &Settings, now: Instant) -> bool {
        let is_same = self.is_undelivered == matches!(failure.why, Why::Undelivered(_)) && self.agent == failure.agent;
        if !is_same || now - self.last > settings.agent_backoff_max.saturating_mul(2) {
            return false;
        }
        // An agent that returns after each event makes progress each time, but is still wrong.
        if let Why::Ended = failure.why {
            return true;
        }
        match (failure.at, self.at) {
            (Some(now), Some(before)) => now.input != before.input || now.offset <= before.offset,
            (now, None) => now.is_none(),
            (None, Some(_)) => true,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a failed unwrap is the test's failure")]
mod tests {
    use super::*;
    use crate::task::input_log::InputLog;

    fn settings() -> Settings {
        let mut layers = crate::config::Layers::default();
        layers.builder("agent_max_attempts", 3).builder("agent_backoff_min", "1s").builder("agent_backoff_max", "5s");
        layers.resolve("shop").unwrap().settings
    }

    fn failure(offsets: &[i64], why: Why) -> Failure {
        let events: Vec<_> = offsets.iter().map(|&offset| Position { input: 0, offset: Offset(offset) }).collect();
        let place = format!("in[0] offset {}", offsets.first().copied().unwrap_or_default());
        let at = events.first().copied();
        Failure { agent: "a".to_owned(), place, stage: Some(0), events, skip: Some("skip".to_owned()), at, why }
    }

    fn agent(offsets: &[i64]) -> Failure {
        failure(offsets, Why::Agent("sick".into()))
    }

    fn sealed(next: i64) -> Positions {
        Positions { stages: vec![vec![Offset(next)]], times: vec![None], logs: [vec![InputLog::Unknown]].into() }
    }

    #[test]
    fn an_event_is_retried_with_growing_pauses_and_reported() {
        let (mut history, settings, now) = (FailureHistory::default(), settings(), Instant::now());
        let pauses: Vec<_> = (0..5)
            .map(|_| match history.note(&agent(&[7]), FailurePolicy::Retry, &settings, now) {
                Decision::Retry(pause) => pause.as_secs(),
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        let failing = history.failing((&sealed(7), &sealed(7)), &settings, now);
        assert_eq!(failing.len(), 1);
        assert_eq!((failing[0].attempts, &*failing[0].place), (5, "in[0] offset 7"));
        assert_eq!(failing[0].skip.as_deref(), Some("skip"));
        assert!(history.failing((&sealed(8), &sealed(7)), &settings, now).is_empty(), "the event has succeeded");
        history.committed(&sealed(8));
        assert_eq!(
            history.note(&agent(&[7]), FailurePolicy::Stop, &settings, now),
            Decision::Retry(Duration::from_secs(1))
        );
    }

    #[test]
    fn each_policy_applies_after_the_attempts() {
        let (settings, now) = (settings(), Instant::now());
        for (policy, last) in [
            (FailurePolicy::Stop, Decision::Stop(3)),
            (FailurePolicy::DeadLetter, Decision::GiveUp(Disposal::DeadLetter)),
            (FailurePolicy::Skip, Decision::GiveUp(Disposal::Skip)),
        ] {
            let mut history = FailureHistory::default();
            let two = [1, 2].map(|_| history.note(&agent(&[7]), policy, &settings, now));
            assert_eq!(two, [1, 2].map(|seconds| Decision::Retry(Duration::from_secs(seconds))));
            assert_eq!(history.note(&agent(&[7]), policy, &settings, now), last);
        }
    }

    #[test]
    fn events_are_counted_apart_and_the_time_counts_too() {
        let (mut history, settings, now) = (FailureHistory::default(), settings(), Instant::now());
        for offset in [1, 2, 1, 2] {
            let decision = history.note(&agent(&[offset]), FailurePolicy::Skip, &settings, now);
            assert!(matches!(decision, Decision::Retry(_)), "{decision:?}");
        }
        assert_eq!(history.note(&agent(&[1]), FailurePolicy::Skip, &settings, now), Decision::GiveUp(Disposal::Skip));
        history.note(&agent(&[3]), FailurePolicy::Skip, &settings, now);
        let later = now + settings.agent_max_time;
        assert_eq!(history.note(&agent(&[3]), FailurePolicy::Skip, &settings, later), Decision::GiveUp(Disposal::Skip));
    }

    /// Law: an event is given up only if it has failed alone.
    #[test]
    fn events_that_failed_together_are_retried() {
        let (mut history, settings, now) = (FailureHistory::default(), settings(), Instant::now());
        for _ in 0..10 {
            let decision = history.note(&agent(&[1, 2]), FailurePolicy::Skip, &settings, now);
            assert!(matches!(decision, Decision::Retry(_)), "{decision:?}");
        }
        let hook = failure(&[5], Why::Hook("sick".into()));
        for _ in 0..10 {
            assert!(matches!(history.note(&hook, FailurePolicy::Skip, &settings, now), Decision::Retry(_)));
        }
        assert_eq!(history.note(&agent(&[2]), FailurePolicy::Skip, &settings, now), Decision::GiveUp(Disposal::Skip));
        let given_up: Vec<_> = history.of_stage(0).filter(|(_, given_up)| given_up.is_some()).collect();
        assert_eq!(given_up.len(), 1);
    }

    /// Law: an unavailable broker is no failure of an event.
    #[test]
    fn undelivered_messages_are_no_attempts() {
        let (mut history, settings, now) = (FailureHistory::default(), settings(), Instant::now());
        for _ in 0..10 {
            let why = Why::Undelivered(crate::error::TransportError::retriable("delivery", "timed out"));
            assert!(matches!(
                history.note(&failure(&[7], why), FailurePolicy::Skip, &settings, now),
                Decision::Retry(_)
            ));
        }
        let two = [1, 2].map(|_| history.note(&agent(&[7]), FailurePolicy::Skip, &settings, now));
        assert!(two.iter().all(|decision| matches!(decision, Decision::Retry(_))), "{two:?}");
        assert_eq!(history.note(&agent(&[7]), FailurePolicy::Skip, &settings, now), Decision::GiveUp(Disposal::Skip));
    }

    /// Law: failures without a known event that pass do not add up.
    #[test]
    fn failures_that_pass_do_not_add_up() {
        let (mut history, settings, now) = (FailureHistory::default(), settings(), Instant::now());
        let start = || Failure { stage: None, ..failure(&[], Why::Agent("no database".into())) };
        for day in 0..10 {
            let now = now + settings.agent_backoff_max * 3 * day;
            let decision = history.note(&start(), FailurePolicy::Stop, &settings, now);
            assert_eq!(decision, Decision::Retry(Duration::from_secs(1)));
        }
        let now = now + settings.agent_backoff_max * 30;
        history.note(&start(), FailurePolicy::Stop, &settings, now);
        history.committed(&sealed(0));
        let after = [1, 2, 3].map(|_| history.note(&start(), FailurePolicy::Stop, &settings, now));
        assert_eq!(after[2], Decision::Stop(3));
        // An agent that returns after each event is wrong, though it makes progress.
        let ended = |offset| Failure { events: Vec::new(), ..failure(&[offset], Why::Ended) };
        let mut history = FailureHistory::default();
        let three = [1, 2, 3].map(|offset| {
            let decision = history.note(&ended(offset), FailurePolicy::Stop, &settings, now);
            history.committed(&sealed(offset + 1));
            decision
        });
        assert_eq!(three[2], Decision::Stop(3));
    }

    /// Law: senders are noted, and writes encoded, no longer than until a commit has passed the events that may be the cause.
    #[test]
    fn the_search_for_an_event_ends_with_a_commit_or_with_its_log() {
        let mut history = FailureHistory::default();
        history.note_senders_until(sealed(7));
        assert!(history.check_writes_until(sealed(7)) && !history.check_writes_until(sealed(7)));
        history.committed(&sealed(6));
        assert!(history.notes_senders() && history.checks_writes());
        history.committed(&sealed(7));
        assert!(!history.notes_senders() && !history.checks_writes());
        history.note_senders_until(sealed(7));
        history.check_writes_until(sealed(7));
        history.relocated((0, 1), Offset(2));
        history.committed(&sealed(2));
        assert!(history.notes_senders() && history.checks_writes(), "another input was moved");
        history.relocated((0, 0), Offset(2));
        history.committed(&sealed(2));
        assert!(!history.notes_senders() && !history.checks_writes());
    }
}
