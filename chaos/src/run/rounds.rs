//! The faults. Each round waits until its fault has had an effect and is overcome; one without effect does not count.

use std::fmt;
use std::time::{Duration, Instant};

use super::cluster::Role;
use super::journal::Restored;
use super::say::say;
use super::trial::Trial;
use crate::BoxError;
use crate::topics::PARTITIONS;

/// The number of attempts for a round that has an effect.
const ATTEMPTS: usize = 20;

/// The effect of a fault on the workers: what was done again.
struct Effect {
    events: u64,
    restored: Restored,
}

impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Restored { again, moved } = self.restored;
        write!(f, "{} events and {again} changelog records again, {moved} of partitions that moved", self.events)
    }
}

impl Trial {
    /// Kills one or more random workers with SIGKILL, and starts them again, until one had processed events since its last
    /// commit. With an unkind network, it is so from shortly before the kill until they are started.
    pub(crate) fn kill(&mut self, count: usize, unkind: bool) -> Result<(), BoxError> {
        for _ in 0..ATTEMPTS {
            self.await_calm()?;
            self.proxy.set_unkind(unkind);
            self.await_random_moment()?;
            let victims = self.victims(count);
            let effect = self.effect_of(|trial, before| {
                victims.iter().try_for_each(|victim| trial.workers.kill(*victim).map(drop))?;
                victims.iter().try_for_each(|victim| trial.workers.start(*victim))?;
                trial.proxy.set_unkind(false);
                trial.await_progress(before)?;
                trial.await_calm()
            })?;
            let network = if unkind { ", network unkind" } else { "" };
            say(format!("kill: workers {victims:?}{network}; {effect}"));
            if effect.events > 0 {
                self.figures.kills += 1;
                self.figures.replayed.push(effect.events);
                self.figures.restored.push(effect.restored.again);
                return Ok(());
            }
            self.figures.void += 1;
        }
        Err(format!("none of {ATTEMPTS} kills hit a worker that had processed events since its last commit").into())
    }

    /// Stops a random worker with SIGSTOP until the others have its partitions, then continues it.
    pub(crate) fn pause(&mut self) -> Result<(), BoxError> {
        if self.workers.running().len() < 2 {
            let number = self.workers.idle().first().copied().ok_or("no worker")?;
            self.workers.start(number)?;
        }
        for _ in 0..ATTEMPTS {
            self.await_calm()?;
            self.await_random_moment()?;
            let (victim, others) = (self.victim()?, self.workers.running().len() - 1);
            let began = Instant::now();
            let effect = self.effect_of(|trial, before| {
                trial.workers.pause(victim)?;
                trial.await_members(others)?;
                trial.await_progress(before)
            })?;
            let paused = began.elapsed();
            self.workers.resume(victim)?;
            self.await_calm()?;
            let before = self.watch.progress();
            self.await_progress(&before)?;
            let paused = paused.as_secs_f64();
            say(format!("pause: worker {victim} for {paused:.1} s; {effect}"));
            if effect.events > 0 {
                self.figures.pauses += 1;
                return Ok(());
            }
            self.figures.void += 1;
        }
        Err(format!("none of {ATTEMPTS} pauses hit a worker that had processed events since its last commit").into())
    }

    /// Stops or kills the broker that has a role, waits until the workers go on without it, and starts it again.
    pub(crate) fn bounce(&mut self, role: Role, hard: bool) -> Result<(), BoxError> {
        self.await_calm()?;
        self.await_random_moment()?;
        let partition = i32::try_from(self.random.below(u64::from(PARTITIONS.unsigned_abs())))?;
        let node = self.cluster.who(role, partition)?;
        let began = Instant::now();
        let effect = self.effect_of(|trial, _| {
            trial.cluster.end_node(node, hard)?;
            let without = trial.watch.progress();
            trial.await_progress(&without)
        })?;
        let without = began.elapsed().as_secs_f64();
        let started = Instant::now();
        self.cluster.start_node(node)?;
        let in_sync = started.elapsed().as_secs_f64();
        let before = self.watch.progress();
        self.await_progress(&before)?;
        let (how, name) = (if hard { "kill -9" } else { "clean stop" }, role.name());
        say(format!(
            "bounce: {how} of broker {node}, the {name}; the workers went on in {without:.1} s, its replicas were in sync \
             {in_sync:.1} s after its start; {effect}"
        ));
        let count = if hard { &mut self.figures.hard_bounces } else { &mut self.figures.clean_bounces };
        *count += 1;
        Ok(())
    }

    /// Adds a worker, or stops one.
    pub(crate) fn join_or_leave(&mut self) -> Result<(), BoxError> {
        let (running, most) = (self.workers.running(), self.options.workers + 1);
        let leaves = running.len() >= most || (running.len() >= self.options.workers && self.random.below(2) == 0);
        let number = if leaves { self.victim()? } else { self.idle_worker()? };
        let effect = self.effect_of(|trial, before| {
            if leaves {
                trial.workers.stop(number)?
            } else {
                trial.workers.start(number)?
            };
            trial.await_calm()?;
            trial.await_progress(before)
        })?;
        let (how, count) = (if leaves { "leave" } else { "join" }, self.workers.running().len());
        say(format!("{how}: worker {number}; {count} are running; {effect}"));
        self.figures.joins_and_leaves += 1;
        Ok(())
    }

    /// Makes the network unkind for a time, and until each of its faults has occurred.
    pub(crate) fn unkind_network(&mut self, time: Duration) -> Result<(), BoxError> {
        self.await_calm()?;
        let broken = self.proxy.network().broken();
        let effect = self.effect_of(|trial, _| {
            trial.proxy.set_unkind(true);
            let began = Instant::now();
            let is_over = |trial: &mut Self| began.elapsed() >= time && trial.proxy.network().has_all();
            // A longer time than others wait.
            while began.elapsed() < time {
                trial.workers.check()?;
                std::thread::sleep(Duration::from_millis(100));
            }
            trial.wait_for("each fault of the network", is_over)?;
            trial.proxy.set_unkind(false);
            let before = trial.watch.progress();
            trial.await_calm()?;
            trial.await_progress(&before)
        })?;
        let (broken, shown) = (self.proxy.network().broken() - broken, self.proxy.network().shown());
        say(format!("network: unkind for {time:?}, {broken} broken connections (so far {shown}); {effect}"));
        if broken == 0 { Err("the network has broken no connection".into()) } else { Ok(()) }
    }

    /// All faults mixed, in random order, while workers join and leave. Kills hit one to three workers at once, a third of them while
    /// the network is unkind.
    pub(crate) fn mixed(&mut self, time: Duration) -> Result<(), BoxError> {
        let began = Instant::now();
        while began.elapsed() < time {
            match self.random.below(12) {
                0..4 => {
                    let (count, unkind) = (1 + self.random.below(3), self.random.below(3) == 0);
                    self.kill(usize::try_from(count)?, unkind)?;
                }
                4..8 => self.join_or_leave()?,
                8..10 => {
                    let (role, hard) = (self.random.pick(&Role::ALL).ok_or("no role")?, self.random.below(2) == 0);
                    self.bounce(role, hard)?;
                }
                10 => self.pause()?,
                _ => self.unkind_network(Duration::from_secs(15))?,
            }
        }
        Ok(())
    }

    /// Returns what was done again while `fault` ran. It gets the progress before.
    fn effect_of(
        &mut self,
        fault: impl FnOnce(&mut Self, &super::watch::Progress) -> Result<(), BoxError>,
    ) -> Result<Effect, BoxError> {
        let (before, restores) = (self.watch.progress(), self.journal.records());
        fault(self, &before)?;
        let events = self.watch.progress().replayed - before.replayed;
        let now = self.journal.records();
        let restored = Restored { again: now.again - restores.again, moved: now.moved - restores.moved };
        Ok(Effect { events, restored })
    }

    /// Returns different running workers, as many as there are at most.
    fn victims(&mut self, count: usize) -> Vec<usize> {
        let mut running = self.workers.running();
        let mut victims = Vec::new();
        while let Some(victim) = self.random.pick(&running).filter(|_| victims.len() < count) {
            running.retain(|number| *number != victim);
            victims.push(victim);
        }
        victims
    }

    fn victim(&mut self) -> Result<usize, BoxError> {
        let running = self.workers.running();
        self.random.pick(&running).ok_or_else(|| "no worker is running".into())
    }

    fn idle_worker(&mut self) -> Result<usize, BoxError> {
        let idle = self.workers.idle();
        self.random.pick(&idle).ok_or_else(|| "every worker is running".into())
    }
}
