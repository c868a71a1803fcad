//! The processes to kill: this test binary, which runs as a worker or a broker depending on its environment.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use faust_broker::{Broker, BrokerConfig, Port, Storage};

use super::work::Work;
use crate::harness::{LONG, wait_for};

const ROLE: &str = "FAUST_TEST_ROLE";

/// Defines the test that is the entry point of all roles. Without a role, it tests that a role's process can be started
/// and killed.
macro_rules! role_test {
    () => {
        #[test]
        fn role() {
            crate::crash::role::play_or_try();
        }
    };
}
pub(super) use role_test;

/// The kind of a worker's membership in its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// With an instance id: the next worker with the same id takes over at once.
    Static,
    /// Without an instance id: after a `kill -9`, the group waits for the session timeout.
    Dynamic,
}

/// The parameters of a worker process.
pub(super) struct WorkerRole<'a> {
    pub(super) work: Work,
    pub(super) id: &'a str,
    pub(super) input: &'a str,
    pub(super) bootstrap: &'a str,
    pub(super) membership: Membership,
    /// The setting `store`, if the worker has tables.
    pub(super) store: Option<&'static str>,
}

/// A process in a role, which is killed on drop.
pub(super) struct Process {
    child: Child,
    /// File with the process's log.
    log: PathBuf,
    /// File that exists once a worker has partitions.
    ready: PathBuf,
    /// File with the table's contents when the worker was interrupted.
    table: PathBuf,
    /// File that exists once a worker has written to its store.
    stored: PathBuf,
    /// File with the lag of a worker's standbys.
    lag: PathBuf,
}

impl Process {
    /// Starts a worker with these environment variables. Its files in `dir` are named after `name`.
    pub(super) fn worker(dir: &Path, name: &str, role: &WorkerRole<'_>, variables: &[(&str, &str)]) -> Self {
        let mut command = this_binary(dir, name, "worker");
        command.env("FAUST_TEST_WORK", role.work.name()).env("FAUST_TEST_ID", role.id);
        command.env("FAUST_TEST_INPUT", role.input).env("FAUST_TEST_BOOTSTRAP", role.bootstrap);
        if let Some(store) = role.store {
            command.env("FAUST_TEST_STORE", store);
        }
        command.envs(variables.iter().copied());
        if role.membership == Membership::Static {
            command.env("FAUST_TEST_INSTANCE", "the-one");
        }
        Self::spawn(command, dir, name)
    }

    /// Starts the durable embedded broker with a port and a directory.
    pub(super) fn broker(dir: &Path, name: &str, port: u16) -> Self {
        let mut command = this_binary(dir, name, "broker");
        command.env("FAUST_TEST_PORT", port.to_string()).env("FAUST_TEST_DIR", dir.join("broker"));
        Self::spawn(command, dir, name)
    }

    fn spawn(mut command: Command, dir: &Path, name: &str) -> Self {
        let [log, ready, table, stored, lag] =
            ["log", "ready", "table", "stored", "lag"].map(|what| dir.join(format!("{name}.{what}")));
        let file = File::create(&log).unwrap();
        // However this process ends, its end closes the pipe, and the child exits when the pipe is closed.
        command.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log, ready, table, stored, lag }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns whether the worker has partitions.
    pub(super) fn is_ready(&mut self) -> bool {
        self.assert_alive();
        self.ready.exists()
    }

    /// Returns whether the worker has written to its store since it was started.
    pub(super) fn has_stored(&mut self) -> bool {
        self.assert_alive();
        self.stored.exists()
    }

    /// Returns the lag of the worker's standbys; `None` while it has none, or it is unknown.
    pub(super) fn lag(&mut self) -> Option<u64> {
        self.assert_alive();
        std::fs::read_to_string(&self.lag).ok()?.parse().ok()
    }

    /// Panics with the end of the log if the process has exited.
    pub(super) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} has exited ({status}):\n{}", self.log.display(), self.log_end());
        }
    }

    /// Kills the process, as `kill -9` does, and waits until it has exited.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Interrupts the process, as Ctrl-C does. Panics unless it exits successfully.
    pub(super) async fn interrupt(&mut self) {
        signal("-INT", self.pid());
        let mut ended: Option<ExitStatus> = None;
        wait_for("exit of an interrupted worker", LONG, async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert!(ended.unwrap().success(), "an interrupted worker failed:\n{}", self.log_end());
    }

    /// Returns the log so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Returns keys and counts of the table `counts`, from the partitions that the worker had when it was interrupted.
    pub(super) fn table(&self) -> Vec<(String, u64)> {
        let text = std::fs::read_to_string(&self.table).unwrap();
        let pair = |line: &str| line.split_once(' ').map(|(key, count)| (key.to_owned(), count.parse().unwrap()));
        text.lines().map(|line| pair(line).unwrap()).collect()
    }

    fn log_end(&self) -> String {
        let text = self.log();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The process may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Sends a signal by its name, such as `-STOP`.
pub(super) fn signal(name: &str, pid: u32) {
    let status = Command::new("kill").args([name, &pid.to_string()]).status().unwrap();
    assert!(status.success(), "kill {name} {pid} failed");
}

fn this_binary(dir: &Path, name: &str, role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "crash::role", "--nocapture"]).env(ROLE, role);
    command.env("FAUST_TEST_READY", dir.join(format!("{name}.ready"))).env("FAUST_TEST_DATADIR", dir.join("data"));
    command.env("FAUST_TEST_TABLE", dir.join(format!("{name}.table")));
    command.env("FAUST_TEST_LAG", dir.join(format!("{name}.lag")));
    command.env("FAUST_TEST_STORED", dir.join(format!("{name}.stored")));
    command
}

/// Runs in the role given by the environment. Without one, tests that a role can be started and killed.
pub(super) fn play_or_try() {
    match std::env::var(ROLE).as_deref() {
        Ok("worker") => play_worker(),
        Ok("broker") => play_broker(),
        Ok(other) => panic!("unknown role `{other}`"),
        Err(_) => {
            let dir = tempfile::tempdir().unwrap();
            let mut broker = Process::broker(dir.path(), "broker-0", 0);
            broker.assert_alive();
            broker.kill();
            assert!(
                broker.child.try_wait().unwrap().is_some_and(|status| !status.success()),
                "a killed process does not exit successfully"
            );
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set by the parent"))
}

/// Exits this process when its parent has ended.
fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever written to the pipe, so this returns when it is closed.
        drop(std::io::stdin().read(&mut [0]));
        std::process::exit(3);
    });
}

fn play_broker() {
    end_with_parent();
    let port = variable("FAUST_TEST_PORT").parse().unwrap();
    let storage = Storage::Directory(variable("FAUST_TEST_DIR").into());
    let server = Broker::start_with(BrokerConfig::new(storage, Port::Exact(port))).unwrap();
    println!("listening on {}", server.bootstrap());
    loop {
        std::thread::park();
    }
}

#[tokio::main(worker_threads = 2)]
async fn play_worker() {
    end_with_parent();
    let log = tracing_subscriber::EnvFilter::try_from_env("FAUST_TEST_LOG");
    let log = log.unwrap_or_else(|_| "info,faust_core::task=debug".into());
    tracing_subscriber::fmt().with_env_filter(log).with_ansi(false).init();
    let work = Work::of_name(&variable("FAUST_TEST_WORK"));
    let mut app = work.app(&variable("FAUST_TEST_ID"), &variable("FAUST_TEST_INPUT"));
    if let Ok(instance) = std::env::var("FAUST_TEST_INSTANCE") {
        app = app.setting("consumer_group_instance_id", instance);
    }
    if let Ok(store) = std::env::var("FAUST_TEST_STORE") {
        app = app.setting("store", store);
    }
    if work == Work::Tally {
        // Prevents a restore from getting far ahead of the store.
        app = app.setting("state_memory", std::env::var("FAUST_TEST_STATE_MEMORY").unwrap_or("1MiB".to_owned()));
    }
    if let Ok(guarantee) = std::env::var("FAUST_TEST_GUARANTEE") {
        app = app.setting("processing_guarantee", guarantee);
    }
    if let Ok(replicas) = std::env::var("FAUST_TEST_REPLICAS") {
        app = app.setting("table_standby_replicas", replicas);
    }
    let (commit_interval, linger) = work.times();
    let app = app
        .setting("broker_commit_interval", commit_interval)
        .setting("producer_linger", linger)
        .setting("broker", variable("FAUST_TEST_BOOTSTRAP"))
        .setting("datadir", variable("FAUST_TEST_DATADIR"))
        .setting("broker_session_timeout", "6s")
        .setting("broker_heartbeat_interval", "1s")
        .build()
        .unwrap();
    let worker = app.start().await.unwrap();
    while worker.status().assignment.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    std::fs::write(variable("FAUST_TEST_READY"), "").unwrap();
    let stored = async {
        while worker.status().counts.stored == 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        std::fs::write(variable("FAUST_TEST_STORED"), "").unwrap();
        std::future::pending::<()>().await;
    };
    let lags = async {
        loop {
            let standbys = worker.status().standbys;
            let lag = standbys.iter().map(|standby| standby.lag).sum::<Option<u64>>().filter(|_| !standbys.is_empty());
            std::fs::write(variable("FAUST_TEST_LAG"), lag.map_or(String::new(), |lag| lag.to_string())).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        ended = worker.wait() => panic!("the worker stopped: {ended:?}"),
        () = stored => {}
        () = lags => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.unwrap(),
    }
    if let Ok(table) = worker.table::<String, u64>("counts") {
        let lines: String = table.iter().unwrap().map(|(key, count)| format!("{key} {count}\n")).collect();
        std::fs::write(variable("FAUST_TEST_TABLE"), lines).unwrap();
    }
    println!("{:?}", worker.status().counts);
    worker.stop().await.unwrap();
}
