//! A scenario that is running: brokers, proxy, feeder, workers, and the means to see what they do.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::cluster::Cluster;
use super::feeder::{Feeder, feed_last_lap};
use super::figures::RunFigures;
use super::group::Group;
use super::journal::Journal;
use super::proxy::{Proxy, Unkindness};
use super::say::say;
use super::watch::{Progress, Watch};
use super::workers::{WorkerOptions, Workers};
use crate::BoxError;
use crate::random::Random;
use crate::topics::PARTITIONS;
use crate::verify::{self, Guarantee};

/// Time in which the workers must reach what is awaited.
const PATIENCE: Duration = Duration::from_secs(180);
/// Interval between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The settings of scenarios.
#[derive(Clone)]
pub(crate) struct TrialOptions {
    /// Root of the repository.
    pub(crate) root: PathBuf,
    /// Directory of the programs.
    pub(crate) programs: PathBuf,
    /// Directory for data and logs.
    pub(crate) dir: PathBuf,
    pub(crate) guarantee: Guarantee,
    /// The law that the verifier applies.
    pub(crate) law: Guarantee,
    pub(crate) seed: u64,
    /// Events per second.
    pub(crate) rate: u64,
    /// Number of workers at the start.
    pub(crate) workers: usize,
    pub(crate) stores: Vec<String>,
    pub(crate) settings: Vec<String>,
}

/// A running scenario. All processes are ended when this is dropped.
pub(crate) struct Trial {
    pub(super) options: TrialOptions,
    pub(super) random: Random,
    pub(super) figures: RunFigures,
    // Dropped in this order: workers before their brokers.
    pub(super) workers: Workers,
    pub(super) journal: Arc<Journal>,
    pub(super) watch: Watch,
    pub(super) group: Group,
    pub(super) proxy: Proxy,
    feeder: Option<Feeder>,
    pub(super) cluster: Cluster,
}

impl Trial {
    /// Starts brokers without data, the feeder and the workers, and waits until every partition is processed.
    pub(crate) fn start(options: TrialOptions, name: &str) -> Result<Self, BoxError> {
        let dir = options.dir.join(name);
        // The data of an earlier run, if there is any.
        drop(std::fs::remove_dir_all(&dir));
        std::fs::create_dir_all(&dir)?;
        let cluster = Cluster::start(&options.root, &options.dir)?;
        let mut random = Random::new(options.seed);
        let proxy = Proxy::start(cluster.listeners()?, random.fork(), Unkindness::default())?;
        let journal = Arc::new(Journal::default());
        let workers = WorkerOptions {
            binary: options.programs.join("chaos-worker"),
            dir,
            bootstrap: proxy.bootstrap().to_owned(),
            guarantee: options.guarantee,
            stores: options.stores.clone(),
            settings: worker_settings(&options)?,
        };
        let mut trial = Self {
            random,
            figures: RunFigures::default(),
            workers: Workers::new(workers, Arc::clone(&journal)),
            journal,
            watch: Watch::start(cluster.bootstrap())?,
            group: Group::new(cluster.bootstrap())?,
            proxy,
            feeder: Some(Feeder::start(cluster.bootstrap(), options.seed, options.rate)?),
            cluster,
            options,
        };
        (0..trial.options.workers).try_for_each(|number| trial.workers.start(number))?;
        trial.await_calm()?;
        trial.await_progress(&trial.watch.progress())?;
        trial.watch.forget_pauses();
        say(format!("{} workers process all partitions", trial.options.workers));
        Ok(trial)
    }

    /// Waits until a condition holds.
    ///
    /// # Errors
    /// Fails after three minutes, or if a worker ends by itself or gives a store up.
    pub(super) fn wait_for(&mut self, what: &str, mut is_met: impl FnMut(&mut Self) -> bool) -> Result<(), BoxError> {
        let began = Instant::now();
        while !is_met(self) {
            self.workers.check()?;
            if began.elapsed() > PATIENCE {
                let (progress, members) = (self.watch.progress(), self.group.members());
                return Err(
                    format!("waited {PATIENCE:?} for {what}; progress: {progress:?}, members: {members:?}").into()
                );
            }
            std::thread::sleep(LOOK);
        }
        Ok(())
    }

    /// Waits until the group has one member for each worker.
    pub(super) fn await_calm(&mut self) -> Result<(), BoxError> {
        self.await_members(self.workers.running().len())
    }

    /// Waits until the group has this number of members.
    pub(super) fn await_members(&mut self, count: usize) -> Result<(), BoxError> {
        self.wait_for(&format!("{count} members of the group"), |trial| trial.group.members() == Some(count))
    }

    /// Waits until every partition has processed a second's worth of events more than before.
    pub(super) fn await_progress(&mut self, before: &Progress) -> Result<(), BoxError> {
        let by = i64::try_from(self.options.rate)? / i64::from(PARTITIONS);
        self.wait_for("every partition to go on", |trial| trial.watch.progress().is_past(before, by))
    }

    /// Waits until a random number of events was processed, of half a second to two seconds.
    pub(super) fn await_random_moment(&mut self) -> Result<(), BoxError> {
        let events = self.options.rate / 2 + self.random.below(self.options.rate * 3 / 2);
        let until = self.watch.progress().processed() + i64::try_from(events)?;
        self.wait_for("events to be processed", |trial| trial.watch.progress().processed() >= until)
    }

    /// Ends the scenario: all events are processed, a worker without a store restores all tables and processes one more event of
    /// each key, and the results are verified.
    pub(crate) fn finish(mut self) -> Result<RunFigures, BoxError> {
        self.proxy.set_unkind(false);
        let longest_pause = self.watch.progress().longest_pause;
        let fed = self.feeder.take().ok_or("the feeder was stopped before")?.stop()?;
        let stopped = Instant::now();
        self.group.await_done(|| self.workers.check())?;
        say(format!("{} events are processed, {:.1} s after the last one", fed.count, stopped.elapsed().as_secs_f64()));
        self.workers.stop_all()?;
        let fresh = self.workers.idle().last().copied().ok_or("no worker")?;
        self.workers.start(fresh)?;
        let lap = feed_last_lap(self.cluster.bootstrap(), self.options.seed, &fed)?;
        self.group.await_done(|| self.workers.check())?;
        say(format!("worker {fresh} has restored all tables, and processed {lap} more events"));
        self.workers.stop_all()?;
        let mut figures = std::mem::take(&mut self.figures);
        (figures.events, figures.feeding) = (fed.count, fed.took);
        figures.broken_connections = self.proxy.network().broken();
        figures.longest_pause = longest_pause;
        figures.verified = self.verify(fed.count + lap)?;
        Ok(figures)
    }

    fn verify(&self, events: u64) -> Result<verify::Figures, BoxError> {
        let mut command = Command::new(self.options.programs.join("chaos-verify"));
        command.args(["--bootstrap", self.cluster.bootstrap(), "--guarantee", self.options.law.name()]);
        let output = command.args(["--events", &events.to_string()]).output()?;
        if !output.status.success() {
            return Err(
                format!("the results are wrong:\n{}", String::from_utf8_lossy(&output.stderr).trim_end()).into()
            );
        }
        let figures: verify::Figures = serde_json::from_slice(&output.stdout)?;
        say(format!(
            "verified: {} events, {} outputs, {} of them repeats, {} keys",
            figures.events, figures.outputs, figures.repeats, figures.keys
        ));
        Ok(figures)
    }
}

/// Returns the settings of the workers. Without the setting `processing_guarantee`, a worker has at-least-once, and rejects
/// `exactly_once`.
fn worker_settings(options: &TrialOptions) -> Result<Vec<String>, BoxError> {
    let mut settings = options.settings.clone();
    let knows_guarantees =
        options.guarantee == Guarantee::ExactlyOnce || has_setting(&options.programs, "processing_guarantee")?;
    if knows_guarantees {
        settings.push(format!("processing_guarantee={}", options.guarantee.name()));
    }
    Ok(settings)
}

fn has_setting(programs: &Path, name: &str) -> Result<bool, BoxError> {
    let output = Command::new(programs.join("chaos-worker")).args(["settings", "--json"]).output()?;
    Ok(output.status.success() && String::from_utf8_lossy(&output.stdout).contains(name))
}
