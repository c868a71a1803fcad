//! The cases: a model with all its rules, and one for each rule that is left out.

use std::fmt::{Debug, Display};
use std::hash::Hash;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use stateright::{Checker, Expectation, HasDiscoveries, Model};

/// Runs cases, and counts those with another result than expected.
pub(crate) struct Cases {
    filter: String,
    traces: bool,
    began: Instant,
    run: usize,
    states: usize,
    bad: usize,
}

/// Threads of a check: CI has two cores.
const THREADS: usize = 2;

impl Cases {
    /// Creates a run of the cases whose names contain a text.
    pub(crate) fn new(filter: String, traces: bool) -> Self {
        Self { filter, traces, began: Instant::now(), run: 0, states: 0, bad: 0 }
    }

    /// Checks a model. `broken` is the rule that it leaves out: a property must then be violated. Without one, all must hold.
    pub(crate) fn check<M>(&mut self, area: &str, broken: Option<impl Display>, model: M)
    where
        M: Model + Send + Sync + 'static,
        M::State: Debug + Hash + Send + Sync + Clone + PartialEq,
        M::Action: Debug + Send + Sync + Clone + PartialEq,
    {
        let name = match &broken {
            Some(rule) => format!("{area}, without: {rule}"),
            None => format!("{area}, with all rules"),
        };
        if !name.contains(&self.filter) {
            return;
        }
        let began = Instant::now();
        // One violation is enough, but without any, every state is visited.
        let until = if broken.is_some() { HasDiscoveries::AnyFailures } else { HasDiscoveries::All };
        let checked = model.checker().threads(THREADS).finish_when(until).spawn_bfs().join();
        let found: Vec<_> = checked.discoveries().into_iter().collect();
        let properties = checked.model().properties();
        let laws: Vec<_> = properties
            .iter()
            .filter(|property| property.expectation == Expectation::Always)
            .map(|law| law.name)
            .collect();
        let is_violation = |property: &str| laws.contains(&property);
        let violated = found.iter().filter(|(property, _)| is_violation(property)).count();
        let unreached = properties.len() - found.len();
        let always = laws.len();
        // Every `sometimes` must have an example, or the case proves nothing.
        let is_good = match broken {
            None => violated == 0 && unreached == always,
            Some(_) => violated > 0,
        };
        self.run += 1;
        self.states += checked.unique_state_count();
        self.bad += usize::from(!is_good);
        let verdict = if is_good { "ok " } else { "BAD" };
        println!("{verdict} {name}: {} states in {}", checked.unique_state_count(), seconds(began.elapsed()));
        for (property, path) in found.into_iter().filter(|(property, _)| is_violation(property)) {
            println!("      violated: {property}, after {} steps", path.clone().into_actions().len());
            if self.traces {
                path.into_actions().iter().for_each(|step| println!("        {step:?}"));
            }
        }
    }

    /// Prints the sum, and returns the exit code.
    pub(crate) fn verdict(&self) -> ExitCode {
        let time = seconds(self.began.elapsed());
        println!("{} cases, {} states, {time}; {} with another result than expected", self.run, self.states, self.bad);
        if self.bad == 0 && self.run > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}
