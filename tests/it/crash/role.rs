//! The processes that are killed: this test binary again, told by its environment to be a worker or a broker.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use faust_broker::{BrokerConfig, Port, Server, Storage};

use super::work::Work;
use crate::harness::{LONG, wait_for};

const ROLE: &str = "FAUST_TEST_ROLE";

/// Where the binary plays its other roles: a test that, without a role, sees that a role's process can be had and ended.
macro_rules! role_test {
    () => {
        #[test]
        fn role() {
            crate::crash::role::play_or_try();
        }
    };
}
pub(super) use role_test;

/// How a worker belongs to its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Membership {
    /// Under a lasting name: the next worker of that name takes over at once.
    Static,
    /// Nameless: after a `kill -9` the group waits for the end of its session.
    Dynamic,
}

/// What a worker process is to be.
pub(super) struct WorkerRole<'a> {
    pub(super) work: Work,
    pub(super) id: &'a str,
    pub(super) input: &'a str,
    pub(super) bootstrap: &'a str,
    pub(super) membership: Membership,
    /// Where it keeps tables, if it has any.
    pub(super) store: Option<&'static str>,
}

/// A process in a role. Dropping it kills it.
pub(super) struct Process {
    child: Child,
    /// Says the log's name when something is wrong.
    log: PathBuf,
    /// Exists when a worker has its partitions.
    ready: PathBuf,
    /// What the table of an interrupted worker held.
    table: PathBuf,
    /// Exists when a worker's store has got anything.
    stored: PathBuf,
}

impl Process {
    /// A worker; its log lies in `dir` under `name`.
    pub(super) fn worker(dir: &Path, name: &str, role: &WorkerRole<'_>) -> Self {
        let mut command = this_binary(dir, name, "worker");
        command.env("FAUST_TEST_WORK", role.work.name()).env("FAUST_TEST_ID", role.id);
        command.env("FAUST_TEST_INPUT", role.input).env("FAUST_TEST_BOOTSTRAP", role.bootstrap);
        if let Some(store) = role.store {
            command.env("FAUST_TEST_STORE", store);
        }
        if role.membership == Membership::Static {
            command.env("FAUST_TEST_INSTANCE", "the-one");
        }
        Self::spawn(command, dir, name)
    }

    /// The durable embedded broker on a port and a directory.
    pub(super) fn broker(dir: &Path, name: &str, port: u16) -> Self {
        let mut command = this_binary(dir, name, "broker");
        command.env("FAUST_TEST_PORT", port.to_string()).env("FAUST_TEST_DIR", dir.join("broker"));
        Self::spawn(command, dir, name)
    }

    fn spawn(mut command: Command, dir: &Path, name: &str) -> Self {
        let [log, ready, table, stored] =
            ["log", "ready", "table", "stored"].map(|what| dir.join(format!("{name}.{what}")));
        let file = File::create(&log).unwrap();
        // The pipe ends with this process, and the child with the pipe, however this process ends.
        command.stdin(Stdio::piped()).stdout(file.try_clone().unwrap()).stderr(file);
        Self { child: command.spawn().unwrap(), log, ready, table, stored }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it is a worker that has partitions.
    pub(super) fn is_ready(&mut self) -> bool {
        self.assert_alive();
        self.ready.exists()
    }

    /// Whether its store has got anything since it was started.
    pub(super) fn has_stored(&mut self) -> bool {
        self.assert_alive();
        self.stored.exists()
    }

    /// Panics with the end of its log if it has ended by itself.
    pub(super) fn assert_alive(&mut self) {
        if let Some(status) = self.child.try_wait().unwrap() {
            panic!("{} has ended by itself ({status}):\n{}", self.log.display(), self.log_end());
        }
    }

    /// `kill -9`; returns when it is gone.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Ctrl-C; it must end well.
    pub(super) async fn interrupt(&mut self) {
        signal("-INT", self.pid());
        let mut ended: Option<ExitStatus> = None;
        wait_for("the end of an interrupted worker", LONG, async || {
            ended = self.child.try_wait().unwrap();
            ended.is_some()
        })
        .await;
        assert!(ended.unwrap().success(), "an interrupted worker ended badly:\n{}", self.log_end());
    }

    /// What it has said so far.
    pub(super) fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Keys and counts of the table `counts`, as far as it was here when the worker was interrupted.
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
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
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
    command.env("FAUST_TEST_STORED", dir.join(format!("{name}.stored")));
    command
}

/// Plays the role that the environment gives; without one, tries a role out.
pub(super) fn play_or_try() {
    match std::env::var(ROLE).as_deref() {
        Ok("worker") => play_worker(),
        Ok("broker") => play_broker(),
        Ok(other) => panic!("no role is called `{other}`"),
        Err(_) => {
            let dir = tempfile::tempdir().unwrap();
            let mut broker = Process::broker(dir.path(), "broker-0", 0);
            broker.assert_alive();
            broker.kill();
            assert!(
                broker.child.try_wait().unwrap().is_some_and(|status| !status.success()),
                "a killed process did not end well"
            );
        }
    }
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("the parent sets {name}"))
}

/// Ends this process when its parent has gone.
fn end_with_parent() {
    std::thread::spawn(|| {
        // Nothing is ever written: this returns at the end of the pipe.
        let _ = std::io::stdin().read(&mut [0]);
        std::process::exit(3);
    });
}

fn play_broker() {
    end_with_parent();
    let port = variable("FAUST_TEST_PORT").parse().unwrap();
    let storage = Storage::Directory(variable("FAUST_TEST_DIR").into());
    let server = Server::start(BrokerConfig::new(storage, Port::Exact(port))).unwrap();
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
        // A restore does not get far ahead of the store.
        app = app.setting("state_memory", "1MiB");
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
    tokio::select! {
        ended = worker.wait() => panic!("the worker ended by itself: {ended:?}"),
        () = stored => {}
        interrupted = tokio::signal::ctrl_c() => interrupted.unwrap(),
    }
    if let Ok(table) = worker.table::<String, u64>("counts") {
        let lines: String = table.iter().unwrap().map(|(key, count)| format!("{key} {count}\n")).collect();
        std::fs::write(variable("FAUST_TEST_TABLE"), lines).unwrap();
    }
    println!("{:?}", worker.status().counts);
    worker.stop().await.unwrap();
}
