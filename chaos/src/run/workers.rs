//! The workers: processes of `chaos-worker`, each with a data directory of its own that outlives it.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::cluster::Cluster;
use super::journal::{Journal, Life};
use crate::BoxError;
use crate::topics::PARTITIONS;
use crate::verify::Guarantee;

/// Time in which a worker must end after SIGTERM.
const STOP_WITHIN: Duration = Duration::from_secs(90);

/// The settings with which workers are started.
#[derive(Clone)]
pub(crate) struct WorkerOptions {
    pub(crate) binary: PathBuf,
    pub(crate) dir: PathBuf,
    /// Bootstrap address of the proxy.
    pub(crate) bootstrap: String,
    pub(crate) guarantee: Guarantee,
    /// The stores, which the workers take in turn.
    pub(crate) stores: Vec<String>,
    /// Further settings, `name=value`; `%n` is replaced by the number of the worker.
    pub(crate) settings: Vec<String>,
}

/// All workers, by number.
pub(crate) struct Workers {
    options: WorkerOptions,
    journal: Arc<Journal>,
    workers: Vec<Worker>,
}

/// A worker, which may be running.
#[derive(Default)]
struct Worker {
    child: Option<Child>,
    /// Number of its starts.
    starts: usize,
}

impl Workers {
    pub(crate) fn new(options: WorkerOptions, journal: Arc<Journal>) -> Self {
        Self { options, journal, workers: Vec::new() }
    }

    /// Returns the numbers of the running workers.
    pub(crate) fn running(&self) -> Vec<usize> {
        (0..self.workers.len()).filter(|number| self.workers[*number].child.is_some()).collect()
    }

    /// Returns the numbers of the workers that are not running, and the next new one.
    pub(crate) fn idle(&self) -> Vec<usize> {
        (0..=self.workers.len())
            .filter(|at| self.workers.get(*at).is_none_or(|worker| worker.child.is_none()))
            .collect()
    }

    /// Starts a worker with its former data directory, or a new one.
    pub(crate) fn start(&mut self, number: usize) -> Result<(), BoxError> {
        while self.workers.len() <= number {
            self.workers.push(Worker::default());
        }
        let life = (number, self.workers[number].starts);
        let mut child = self
            .command(number)
            .spawn()
            .map_err(|error| format!("cannot start {}: {error}", self.options.binary.display()))?;
        self.workers[number].starts += 1;
        // Read by `scripts/chaos`, to end what a killed run has left.
        std::fs::write(self.options.dir.join(format!("worker-{number}.pid")), child.id().to_string())?;
        let log = child.stderr.take().ok_or("a worker without a log")?;
        let mut file =
            File::options().create(true).append(true).open(self.options.dir.join(format!("worker-{number}.log")))?;
        let journal = Arc::clone(&self.journal);
        std::thread::spawn(move || {
            for line in BufReader::new(log).lines().map_while(Result::ok) {
                journal.line(life, &line);
                // The file is for the reader of a failed run.
                drop(writeln!(file, "{line}"));
            }
        });
        self.workers[number].child = Some(child);
        Ok(())
    }

    fn command(&self, number: usize) -> Command {
        let WorkerOptions { binary, dir, bootstrap, guarantee, stores, settings } = &self.options;
        let mut command = Command::new(binary);
        // The settings of the calling environment must not affect the workers.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FAUST_")) {
            command.env_remove(name);
        }
        command.args(["worker", "--log-format", "json", "--broker", bootstrap]);
        let mut set = |name: &str, value: &dyn std::fmt::Display| {
            command.args(["--set", &format!("{name}={value}")]);
        };
        set("datadir", &dir.join(format!("worker-{number}")).display());
        set("worker_name", &format!("chaos-{number}"));
        set("store", &stores[number % stores.len()]);
        set("topic_partitions", &PARTITIONS);
        set("topic_replication_factor", &Cluster::replicas());
        set("broker_session_timeout", &"6s");
        set("broker_heartbeat_interval", &"1s");
        // Small batches of many partitions would leave the machine to the brokers.
        set("producer_compression_type", &"lz4");
        set("producer_linger", &"50ms");
        set("repartition_purge_interval", &"1d");
        // Long enough for a kill to hit a worker that has processed events since its last commit.
        set("broker_commit_interval", &if *guarantee == Guarantee::ExactlyOnce { "100ms" } else { "500ms" });
        for setting in settings {
            command.args(["--set", &setting.replace("%n", &number.to_string())]);
        }
        let log = "info,librdkafka=error,rdkafka=error,faust_core::task::progress=debug";
        command.env("RUST_LOG", log).current_dir(dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// Kills a worker with SIGKILL, and waits until its process is gone.
    pub(crate) fn kill(&mut self, number: usize) -> Result<Life, BoxError> {
        let life = self.life(number);
        let mut child = self.take(number)?;
        child.kill()?;
        child.wait()?;
        self.journal.killed(life);
        Ok(life)
    }

    /// Stops the process of a worker with SIGSTOP: it does not run until [`resume`](Self::resume).
    pub(crate) fn pause(&self, number: usize) -> Result<(), BoxError> {
        self.signal(number, Signal::STOP)
    }

    /// Continues the process of a worker.
    pub(crate) fn resume(&self, number: usize) -> Result<(), BoxError> {
        self.signal(number, Signal::CONT)
    }

    /// Stops a worker with SIGTERM, and waits until it has ended with success.
    pub(crate) fn stop(&mut self, number: usize) -> Result<(), BoxError> {
        self.signal(number, Signal::TERM)?;
        let (life, mut child, began) = (self.life(number), self.take(number)?, Instant::now());
        loop {
            if let Some(status) = child.try_wait()? {
                if status.success() {
                    return Ok(());
                }
                return Err(format!(
                    "worker {number} was asked to stop, and ended with {status}:{}",
                    self.journal.last_lines(life)
                )
                .into());
            }
            if began.elapsed() > STOP_WITHIN {
                child.kill()?;
                child.wait()?;
                return Err(format!(
                    "worker {number} did not stop within {STOP_WITHIN:?}:{}",
                    self.journal.last_lines(life)
                )
                .into());
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Stops all workers.
    pub(crate) fn stop_all(&mut self) -> Result<(), BoxError> {
        self.running().into_iter().try_for_each(|number| self.stop(number))
    }

    /// Checks that no worker has ended by itself, and that none has given a store up.
    pub(crate) fn check(&mut self) -> Result<(), BoxError> {
        if let Some(wiped) = self.journal.wiped().first() {
            return Err(format!("a store was lost: {wiped}").into());
        }
        for number in self.running() {
            let life = self.life(number);
            let Some(child) = &mut self.workers[number].child else { continue };
            if let Some(status) = child.try_wait()? {
                self.workers[number].child = None;
                return Err(format!(
                    "worker {number} has ended by itself with {status}:{}",
                    self.journal.last_lines(life)
                )
                .into());
            }
        }
        Ok(())
    }

    fn life(&self, number: usize) -> Life {
        (number, self.workers[number].starts.saturating_sub(1))
    }

    fn take(&mut self, number: usize) -> Result<Child, BoxError> {
        self.workers[number].child.take().ok_or_else(|| format!("worker {number} is not running").into())
    }

    fn signal(&self, number: usize, signal: Signal) -> Result<(), BoxError> {
        let child = self.workers[number].child.as_ref().ok_or("the worker is not running")?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).ok_or("a process without an id")?;
        Ok(kill_process(pid, signal)?)
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        for worker in &mut self.workers {
            if let Some(child) = &mut worker.child {
                // It may have ended already.
                drop(child.kill());
                drop(child.wait());
            }
        }
    }
}
