//! The scenarios: lists of faults.

use std::time::Duration;

use super::cluster::Role;
use super::trial::Trial;
use crate::BoxError;
use crate::verify::Guarantee;

/// A scenario, which has brokers, topics and workers of its own.
#[derive(Clone, Debug)]
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// Settings of the workers beside those of the command line.
    pub(crate) settings: &'static [&'static str],
    /// The law that the verifier applies, if it is not that of the workers' guarantee.
    pub(crate) law: Option<Guarantee>,
    steps: Vec<Step>,
}

/// A part of a scenario.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Waits for a random number of events, this often.
    Moments(usize),
    /// A number of kills of random workers.
    Kills(usize),
    /// A number of pauses of random workers, each longer than the session timeout.
    Pauses(usize),
    /// Bounces of the broker that has each role, clean and hard, this often each.
    Bounces(usize),
    Bounce {
        role: Role,
        hard: bool,
    },
    /// A number of joins and leaves.
    Scaling(usize),
    /// An unkind network, this often, for this time.
    Network(usize, Duration),
    /// All mixed for this time.
    Mixed(Duration),
}

impl Scenario {
    /// Returns the one scenario of a short run, with each fault.
    pub(crate) fn short() -> Vec<Self> {
        let bounce = |role, hard| Step::Bounce { role, hard };
        let steps = vec![
            Step::Kills(3),
            Step::Pauses(1),
            bounce(Role::Leader, true),
            Step::Scaling(1),
            bounce(Role::Controller, false),
            bounce(Role::Coordinator, true),
            Step::Network(1, Duration::from_secs(10)),
            Step::Scaling(1),
        ];
        vec![Self { name: "short", settings: &[], law: None, steps }]
    }

    /// Returns the scenarios of a long run.
    pub(crate) fn long() -> Vec<Self> {
        let of = |name, step| Self { name, settings: &[], law: None, steps: vec![step] };
        // A member with an id of its own gets its partitions back, so its stores show what a kill costs.
        let settings = &["consumer_group_instance_id=chaos-%n"];
        vec![
            of("kills", Step::Kills(30)),
            Self { name: "static-kills", settings, law: None, steps: vec![Step::Kills(10)] },
            of("pauses", Step::Pauses(5)),
            of("bounces", Step::Bounces(5)),
            of("mixed", Step::Mixed(Duration::from_secs(600))),
            of("network", Step::Network(3, Duration::from_secs(60))),
        ]
    }

    /// Returns a scenario without faults, in which at-least-once must satisfy the law of exactly-once: what the verifier demands
    /// of exactly-once is no more than an undisturbed worker does.
    pub(crate) fn calm() -> Self {
        Self { name: "calm", settings: &[], law: Some(Guarantee::ExactlyOnce), steps: vec![Step::Moments(10)] }
    }

    /// Runs the faults.
    pub(crate) fn run(&self, trial: &mut Trial) -> Result<(), BoxError> {
        self.steps.iter().try_for_each(|step| step.run(trial))
    }
}

impl Step {
    fn run(self, trial: &mut Trial) -> Result<(), BoxError> {
        match self {
            Self::Moments(count) => (0..count).try_for_each(|_| trial.await_random_moment()),
            Self::Kills(rounds) => (0..rounds).try_for_each(|_| trial.kill(1, false)),
            Self::Pauses(rounds) => (0..rounds).try_for_each(|_| trial.pause()),
            Self::Bounces(rounds) => (0..rounds).try_for_each(|_| {
                Role::ALL.into_iter().try_for_each(|role| {
                    trial.bounce(role, false)?;
                    trial.bounce(role, true)
                })
            }),
            Self::Bounce { role, hard } => trial.bounce(role, hard),
            Self::Scaling(rounds) => (0..rounds).try_for_each(|_| trial.join_or_leave()),
            Self::Network(rounds, time) => (0..rounds).try_for_each(|_| trial.unkind_network(time)),
            Self::Mixed(time) => trial.mixed(time),
        }
    }
}
