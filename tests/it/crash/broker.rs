//! The broker of a scenario: a given Kafka, or a broker in a process of its own that can be killed and suspended.

use std::io;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

use tempfile::TempDir;

use super::role::{Process, signal};

/// The broker of a scenario.
pub(super) struct Broker {
    bootstrap: String,
    kind: Kind,
}

enum Kind {
    /// The Kafka of `FAUST_TEST_KAFKA`, which scenarios must not stop.
    Given,
    /// The durable embedded broker.
    Embedded { process: Option<Process>, dir: TempDir, port: u16, starts: u32 },
    /// An Apache Kafka that belongs to this scenario.
    Kafka { home: TempDir },
}

/// Returns the address of the Kafka that the suite runs on, if one is given.
fn given() -> Option<String> {
    std::env::var("FAUST_TEST_KAFKA").ok()
}

impl Broker {
    /// Returns the Kafka of `FAUST_TEST_KAFKA`, or starts an embedded broker in a process of its own.
    pub(super) async fn given_or_embedded() -> Self {
        match given() {
            Some(bootstrap) => Self { bootstrap, kind: Kind::Given },
            None => Self::embedded(),
        }
    }

    /// Starts a broker of the kind that the suite runs on, for this scenario only.
    pub(super) async fn own() -> Self {
        match given() {
            Some(_) => Self::kafka(),
            None => Self::embedded(),
        }
    }

    fn embedded() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let kind = Kind::Embedded { process: None, dir, port, starts: 0 };
        let mut broker = Self { bootstrap: format!("127.0.0.1:{port}"), kind };
        broker.start();
        broker
    }

    fn kafka() -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut broker = Self { bootstrap: String::new(), kind: Kind::Kafka { home } };
        broker.start();
        broker
    }

    pub(super) fn bootstrap(&self) -> &str {
        &self.bootstrap
    }

    /// Returns whether the scenario may kill the broker.
    pub(super) fn is_ours(&self) -> bool {
        !matches!(self.kind, Kind::Given)
    }

    /// Kills the broker, as `kill -9` does.
    pub(super) fn kill(&mut self) {
        match &mut self.kind {
            Kind::Given => panic!("a given Kafka must not be killed"),
            Kind::Embedded { process, .. } => process.take().expect("it is running").kill(),
            Kind::Kafka { home } => {
                let pid = pid_of(home.path());
                signal("-KILL", pid);
                while Path::new(&format!("/proc/{pid}")).exists() {
                    std::thread::yield_now();
                }
            }
        }
    }

    /// Starts the broker, or restarts it with the same directory and port.
    pub(super) fn start(&mut self) {
        match &mut self.kind {
            Kind::Given => panic!("a given Kafka must not be started"),
            Kind::Embedded { process, dir, port, starts } => {
                *starts += 1;
                *process = Some(Process::broker(dir.path(), &format!("broker-{starts}"), *port));
            }
            Kind::Kafka { home } => self.bootstrap = script(home.path(), "up"),
        }
    }

    /// Suspends the broker, which simulates a machine that is swapping.
    pub(super) fn freeze(&self) {
        signal("-STOP", self.pid());
    }

    pub(super) fn thaw(&self) {
        signal("-CONT", self.pid());
    }

    fn pid(&self) -> u32 {
        match &self.kind {
            Kind::Given => panic!("a given Kafka must not be suspended"),
            Kind::Embedded { process, .. } => process.as_ref().expect("it is running").pid(),
            Kind::Kafka { home } => pid_of(home.path()),
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Kind::Kafka { home } = &self.kind {
            // A panic here would hide the one that failed the test.
            drop(run_script(home.path(), "down"));
        }
    }
}

/// Returns a free port below the range of ephemeral ports: an outgoing connection could take one of these while the
/// broker is down.
pub(super) fn free_port() -> u16 {
    let first = 12_000 + u16::try_from(std::process::id() % 15_000).unwrap();
    let is_free = |port: &u16| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok();
    // Each scenario of a run searches a range of its own.
    static TAKEN: AtomicU16 = AtomicU16::new(0);
    let from = first + TAKEN.fetch_add(20, Ordering::Relaxed);
    (from..from + 20).find(is_free).expect("one of twenty ports is free")
}

fn pid_of(home: &Path) -> u32 {
    std::fs::read_to_string(home.join("node-1.pid")).unwrap().trim().parse().unwrap()
}

/// Runs `scripts/kafka` and returns its output.
fn script(home: &Path, command: &str) -> String {
    let output = run_script(home, command).unwrap();
    assert!(output.status.success(), "scripts/kafka {command}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Runs `scripts/kafka` with a separate home, but the existing jars.
fn run_script(home: &Path, command: &str) -> io::Result<Output> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let libs = std::env::var_os("FAUST_KAFKA_LIBS").map_or_else(|| root.join(".kafka/libs"), PathBuf::from);
    let mut script = Command::new(root.join("scripts/kafka"));
    // Other scenarios may keep the machine busy.
    script.env("FAUST_KAFKA_READY_WITHIN", "180");
    script.arg(command).env("FAUST_KAFKA_HOME", home).env("FAUST_KAFKA_LIBS", libs).output()
}
