//! Programs in processes of their own: the tour, the examples, and their commands.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::cluster::{Cluster, quick_settings};
use super::wait::LONG;

/// A program to start.
#[derive(Clone)]
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dir: PathBuf,
    stdin: Vec<u8>,
}

impl Program {
    /// Returns the tour, `src/main.rs`, to be started in `dir`.
    pub(crate) fn tour(dir: impl Into<PathBuf>) -> Self {
        Self::at(PathBuf::from(env!("CARGO_BIN_EXE_tour")), dir.into())
    }

    /// Returns an example, to be started in `dir`.
    pub(crate) fn example(name: &str, dir: impl Into<PathBuf>) -> Self {
        // Cargo does not give tests the paths of examples, but places them in a folder next to the binary.
        let path = PathBuf::from(env!("CARGO_BIN_EXE_tour")).with_file_name("examples").join(name);
        assert!(path.exists(), "{} is missing; build it with `cargo build --examples`", path.display());
        Self::at(path, dir.into())
    }

    fn at(path: PathBuf, dir: PathBuf) -> Self {
        let env = BTreeMap::from([("NO_COLOR".to_owned(), "1".to_owned())]);
        Self { path, args: Vec::new(), env, dir, stdin: Vec::new() }
    }

    /// Connects the program to the cluster, with the settings of workers under test.
    pub(crate) fn on(mut self, cluster: &Cluster) -> Self {
        for (name, value) in quick_settings(cluster.bootstrap()) {
            self = self.setting(name, &value);
        }
        self
    }

    /// Sets a setting by its environment variable.
    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.env.insert(format!("FAUST_{}", name.to_uppercase()), value.to_owned());
        self
    }

    /// Appends arguments. Repeated calls append further ones.
    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// Sets the contents of the standard input.
    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.into();
        self
    }

    /// Starts the program. Its standard input is closed after the given contents.
    pub(crate) fn spawn(&self) -> Process {
        let mut command = Command::new(&self.path);
        command.args(&self.args).current_dir(&self.dir);
        // The developer's environment must not affect the tests.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FAUST_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.envs(&self.env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|why| panic!("cannot start {}: {why}", self.path.display()));
        let (mut stdin, given) = (child.stdin.take().unwrap(), self.stdin.clone());
        // Written on a thread, because the program may not read its input at all.
        std::thread::spawn(move || drop(stdin.write_all(&given)));
        let stdout = capture(child.stdout.take().unwrap());
        let stderr = capture(child.stderr.take().unwrap());
        let name = format!("{} {}", self.path.file_name().unwrap().to_string_lossy(), self.args.join(" "));
        Process { name, child, stdout, stderr }
    }

    /// Runs the program and waits until it exits.
    pub(crate) async fn run(&self) -> Ended {
        self.spawn().wait().await
    }

    /// Runs a shell command line in which `"$0"` is the program, for pipes.
    pub(crate) async fn shell(&self, line: &str) -> Ended {
        let mut shell = self.clone();
        shell.args = vec!["-c".to_owned(), line.to_owned(), self.path.display().to_string()];
        shell.path = PathBuf::from("bash");
        shell.run().await
    }
}

/// A running program, which is killed on drop.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// The output of a stream so far, and the thread that reads it.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Returns the lines of the standard output so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lines.lock().unwrap().clone()
    }

    /// Returns the lines of the standard error so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lines.lock().unwrap().clone()
    }

    /// Waits until a line of either stream contains the text, and returns the line.
    pub(crate) async fn wait_for_line(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            let lines = [self.stdout(), self.stderr()].concat();
            if let Some(line) = lines.into_iter().find(|line| line.contains(text)) {
                return line;
            }
            let waiting = ended.is_none() && began.elapsed() < LONG;
            assert!(waiting, "`{}` did not print `{text}` ({ended:?}):\n{}", self.name, self.transcript());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let sent = Command::new("bash").args(["-c", &format!("kill -INT {}", self.pid())]).status().unwrap();
        assert!(sent.success(), "cannot interrupt `{}`", self.name);
    }

    /// Kills the process, as `kill -9` does.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Returns the exit status if the process has exited.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits until the process exits.
    pub(crate) async fn wait(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < LONG, "`{}` does not exit:\n{}", self.name, self.transcript());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // Wait until all output has been read.
        for lines in [&mut self.stdout, &mut self.stderr] {
            lines.reader.take().unwrap().join().unwrap();
        }
        Ended { name: self.name.clone(), code: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }

    fn transcript(&self) -> String {
        transcript(&self.stdout(), &self.stderr())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails if the process has already exited.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The output and the exit code of a program.
#[derive(Debug)]
pub(crate) struct Ended {
    name: String,
    /// `None` if the program was terminated by a signal.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Ended {
    /// Panics unless the program exited with this code.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        let Self { name, code: found, stdout, stderr } = &self;
        assert_eq!(*found, Some(code), "the exit code of `{name}`:\n{}", transcript(stdout, stderr));
        self
    }

    /// Panics unless the program succeeded.
    pub(crate) fn success(self) -> Self {
        self.expect_code(0)
    }

    /// Returns the standard error as one text.
    pub(crate) fn errors(&self) -> String {
        self.stderr.join("\n")
    }

    /// Parses the standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let text = self.stdout.join("\n");
        serde_json::from_str(&text)
            .unwrap_or_else(|why| panic!("`{}` printed invalid JSON ({why}):\n{text}", self.name))
    }
}

fn transcript(stdout: &[String], stderr: &[String]) -> String {
    format!("--- standard output\n{}\n--- standard error\n{}", stdout.join("\n"), stderr.join("\n"))
}

fn capture(stream: impl Read + Send + 'static) -> Lines {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&lines);
    let reader = std::thread::spawn(move || {
        let mut stream = BufReader::new(stream);
        let mut line = Vec::new();
        while stream.read_until(b'\n', &mut line).is_ok_and(|count| count > 0) {
            let text = String::from_utf8_lossy(&line);
            kept.lock().unwrap().push(text.strip_suffix('\n').unwrap_or(&text).to_owned());
            line.clear();
        }
    });
    Lines { lines, reader: Some(reader) }
}
