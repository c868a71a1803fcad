//! Tokio's LIFO slot, in which a task waits for the one that its thread is polling.

use tokio::runtime::{Handle, RuntimeFlavor};

/// The LIFO slots of a runtime's threads.
///
/// A thread of Tokio's multi-thread runtime keeps the task that it has woken last in a slot of its own. No other thread can take it
/// from there. Usually the thread polls it next, but not always: now and then it prefers a task that was woken by a thread outside
/// the runtime, such as one of librdkafka. If that task is a partition whose agent blocks the thread, the task in the slot waits for
/// the agent, although other threads are idle. It may be any task: the control loop, which a timer has woken while the thread was
/// parked, or another partition.
#[derive(Debug)]
pub(super) struct LifoSlot {
    /// The runtime, if its threads have such a slot.
    runtime: Option<Handle>,
}

impl LifoSlot {
    /// Finds the slots of the current runtime.
    pub(super) fn of_runtime() -> Self {
        let runtime = Handle::current();
        Self { runtime: (runtime.runtime_flavor() == RuntimeFlavor::MultiThread).then_some(runtime) }
    }

    /// Moves the task in this thread's slot, if there is one, to the queue from which idle threads take tasks.
    ///
    /// Tokio has no call for this, but a new task takes the place in the slot. It costs about 0.2 microseconds.
    pub(super) fn vacate(&self) {
        if let Some(runtime) = &self.runtime {
            drop(runtime.spawn(async {}));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// Returns whether a task that a thread has woken is polled while the thread is blocked.
    fn is_polled(vacates: bool, within: Duration) -> bool {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().expect("a runtime");
        let (polled, polls) = mpsc::channel();
        let blocking = async move {
            let slot = LifoSlot::of_runtime();
            drop(tokio::spawn(async move { polled.send(()) }));
            if vacates {
                slot.vacate();
            }
            polls.recv_timeout(within).is_ok()
        };
        runtime.block_on(async { tokio::spawn(blocking).await.expect("no panic") })
    }

    #[test]
    fn a_vacated_slot_keeps_no_task_while_its_thread_is_blocked() {
        assert!(is_polled(true, Duration::from_secs(20)));
        // If this fails, Tokio has changed: `LifoSlot` is not needed any more.
        assert!(!is_polled(false, Duration::from_millis(200)));
    }

    #[test]
    fn a_runtime_without_slots_gets_no_tasks() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            LifoSlot::of_runtime().vacate();
            assert_eq!(Handle::current().metrics().num_alive_tasks(), 0);
        });
    }
}
