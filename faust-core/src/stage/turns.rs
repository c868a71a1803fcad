//! The turns of the stages of a group: only one of them is inside an event at a time.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::task::Waker;

/// The turns of a group. The stage that has waited longest takes the next one.
#[derive(Debug, Default)]
pub(super) struct Turns {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The stage that has the turn.
    holder: Option<usize>,
    waiting: VecDeque<(usize, Waker)>,
    /// The first stage of the queue was woken, and has not taken its turn when another stage asked for it.
    is_overdue: bool,
}

impl Turns {
    /// Takes the turn, if no other stage has it or has waited longer. Otherwise the stage waits, and is woken.
    pub(super) fn take(&self, stage: usize, waker: &Waker) -> bool {
        let mut state = self.state();
        if state.holder == Some(stage) {
            return true;
        }
        // A stage that was polled since it was woken, and has not taken its turn, waits no longer: its agent awaits
        // something else.
        if state.holder.is_none() && state.is_overdue && !state.is_next(stage) {
            state.waiting.pop_front();
            state.is_overdue = false;
        }
        if state.holder.is_none() && state.is_next(stage) {
            (state.holder, state.is_overdue) = (Some(stage), false);
            state.waiting.pop_front();
            return true;
        }
        if state.holder.is_none() {
            // The first stage is polled before this one, which was woken later.
            state.is_overdue = true;
            state.waiting.iter().take(1).for_each(|(_, first)| first.wake_by_ref());
            waker.wake_by_ref();
        }
        match state.waiting.iter_mut().find(|(waiting, _)| *waiting == stage) {
            Some((_, registered)) => registered.clone_from(waker),
            None => state.waiting.push_back((stage, waker.clone())),
        }
        false
    }

    /// Ends a stage's turn, and wakes the next stage. A stage that waits no longer leaves the queue.
    pub(super) fn end(&self, stage: usize) {
        let mut state = self.state();
        state.waiting.retain(|(waiting, _)| *waiting != stage);
        state.is_overdue = false;
        if state.holder == Some(stage) {
            state.holder = None;
        }
        let next = state.holder.is_none().then(|| state.waiting.front().map(|(_, waker)| waker.clone())).flatten();
        drop(state);
        if let Some(waker) = next {
            waker.wake();
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_next(&self, stage: usize) -> bool {
        self.waiting.front().is_none_or(|(first, _)| *first == stage)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stage_that_has_waited_longest_has_the_next_turn() {
        let (turns, waker) = (Turns::default(), Waker::noop());
        assert!(turns.take(0, waker) && turns.take(0, waker));
        assert!(!turns.take(1, waker) && !turns.take(2, waker) && !turns.take(1, waker));
        turns.end(0);
        assert!(!turns.take(0, waker), "two others have waited longer");
        assert!(turns.take(1, waker));
        assert!(!turns.take(2, waker));
        turns.end(1);
        assert!(turns.take(2, waker));
        turns.end(2);
        assert!(turns.take(0, waker));
    }

    #[test]
    fn a_stage_that_awaits_something_else_is_passed_over() {
        let (turns, waker) = (Turns::default(), Waker::noop());
        assert!(turns.take(0, waker) && !turns.take(1, waker));
        turns.end(0);
        assert!(!turns.take(0, waker), "stage 1 was woken, and is polled before the next call");
        assert!(turns.take(0, waker));
    }

    #[test]
    fn a_stage_that_has_ended_is_not_waited_for() {
        let (turns, waker) = (Turns::default(), Waker::noop());
        assert!(turns.take(0, waker) && !turns.take(1, waker) && !turns.take(2, waker));
        turns.end(1);
        turns.end(0);
        assert!(turns.take(2, waker));
    }
}
