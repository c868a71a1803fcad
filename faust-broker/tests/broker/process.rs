//! A broker in a process of its own, which can be killed: this test binary, started again.

use std::ffi::OsString;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use faust_broker::{Broker, BrokerConfig, Port, Storage};

const DIRECTORY: &str = "FAUST_BROKER_TEST_DIRECTORY";
const PORT: &str = "FAUST_BROKER_TEST_PORT";
const OPEN_FILES: &str = "FAUST_BROKER_TEST_OPEN_FILES";
const FREE_FILES: &str = "FAUST_BROKER_TEST_FREE_FILES";
const LOG: &str = "FAUST_BROKER_TEST_LOG";

/// A broker's process. It is killed on drop.
pub(crate) struct Process {
    child: Child,
    /// Kept open: the process would end if it could not write.
    _output: BufReader<ChildStdout>,
    pub(crate) address: SocketAddr,
}

impl Process {
    /// Starts a broker and waits until it is listening. Port 0 stands for any port.
    pub(crate) fn start(directory: &Path, port: u16) -> Self {
        Self::run(directory, port, Vec::new())
    }

    /// Starts a broker that appends its log to a file.
    pub(crate) fn start_with_log(directory: &Path, port: u16, log: &Path) -> Self {
        Self::run(directory, port, vec![(LOG, log.into())])
    }

    /// Starts a broker whose process may have `limit` open files, of which the program leaves `free` to the broker.
    pub(crate) fn start_with_files(directory: &Path, limit: usize, free: usize) -> Self {
        Self::run(directory, 0, vec![(OPEN_FILES, limit.to_string().into()), (FREE_FILES, free.to_string().into())])
    }

    fn run(directory: &Path, port: u16, settings: Vec<(&str, OsString)>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["process::role", "--exact", "--nocapture"]).stdout(Stdio::piped());
        command.env(DIRECTORY, directory).env(PORT, port.to_string());
        command.envs(settings);
        let mut child = command.spawn().unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let address = |line: String| line.split_once("listening on ").map(|(_, address)| address.parse().unwrap());
        let found = output.by_ref().lines().map_while(Result::ok).find_map(address);
        Self { child, _output: output, address: found.expect("the broker starts") }
    }

    /// Kills the broker, as `kill -9` does, and waits until the process has ended.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if it has ended already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Runs the broker of a [`Process`]. Without its environment, it tests that such a process can be started and killed.
#[test]
#[allow(clippy::print_stdout, reason = "the address is read by the process that has started this one")]
fn role() {
    let Ok(directory) = std::env::var(DIRECTORY) else {
        let directory = tempfile::tempdir().unwrap();
        Process::start(directory.path(), 0).kill();
        return;
    };
    if let Some(log) = std::env::var_os(LOG) {
        let log = File::options().create(true).append(true).open(log).unwrap();
        tracing_subscriber::fmt().with_ansi(false).with_writer(Mutex::new(log)).init();
    }
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<usize>().unwrap());
    if let Some(limit) = number(OPEN_FILES) {
        rlimit::setrlimit(rlimit::Resource::NOFILE, limit as u64, limit as u64).unwrap();
    }
    let port = match std::env::var(PORT).unwrap().parse().unwrap() {
        0 => Port::Any,
        port => Port::Exact(port),
    };
    let server = Broker::start_with(BrokerConfig::new(Storage::Directory(directory.into()), port)).unwrap();
    // The files of a program that hosts the broker.
    let mut others: Vec<File> = Vec::new();
    if let Some(free) = number(FREE_FILES) {
        others.extend(std::iter::from_fn(|| File::open(".").ok()));
        others.truncate(others.len().saturating_sub(free));
    }
    println!("listening on {}", server.address());
    loop {
        std::thread::park();
    }
}
