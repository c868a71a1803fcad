//! Programs as processes of their own: the tour, the examples, and their commands.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::cluster::{Cluster, quick_settings};
use super::wait::LONG;

/// A program that is to be started.
#[derive(Clone)]
pub(crate) struct Program {
    path: PathBuf,
    args: Vec<String>,
    env: BTreeMap<String, String>,
    dir: PathBuf,
    stdin: Vec<u8>,
}

impl Program {
    /// The tour, `src/main.rs`, started in `dir`.
    pub(crate) fn tour(dir: impl Into<PathBuf>) -> Self {
        Self::at(PathBuf::from(env!("CARGO_BIN_EXE_faust")), dir.into())
    }

    /// An example, started in `dir`.
    pub(crate) fn example(name: &str, dir: impl Into<PathBuf>) -> Self {
        // Cargo gives tests no path of an example, but keeps them in a folder beside the binary.
        let path = PathBuf::from(env!("CARGO_BIN_EXE_faust")).with_file_name("examples").join(name);
        assert!(path.exists(), "{} is missing; build it with `cargo build --examples`", path.display());
        Self::at(path, dir.into())
    }

    fn at(path: PathBuf, dir: PathBuf) -> Self {
        let env = BTreeMap::from([("NO_COLOR".to_owned(), "1".to_owned())]);
        Self { path, args: Vec::new(), env, dir, stdin: Vec::new() }
    }

    /// Connects it to the cluster, with the settings of workers under test.
    pub(crate) fn on(mut self, cluster: &Cluster) -> Self {
        for (name, value) in quick_settings(cluster.bootstrap()) {
            self = self.setting(name, &value);
        }
        self
    }

    /// Sets a setting, by its environment variable.
    pub(crate) fn setting(mut self, name: &str, value: &str) -> Self {
        self.env.insert(format!("FAUST_{}", name.to_uppercase()), value.to_owned());
        self
    }

    /// The words after the program's name; more calls add more.
    pub(crate) fn args<'a>(mut self, args: impl IntoIterator<Item = &'a str>) -> Self {
        self.args.extend(args.into_iter().map(str::to_owned));
        self
    }

    /// What it reads on its standard input.
    pub(crate) fn stdin(mut self, text: &str) -> Self {
        self.stdin = text.into();
        self
    }

    /// Starts it; its standard input ends after what was given.
    pub(crate) fn spawn(&self) -> Process {
        let mut command = Command::new(&self.path);
        command.args(&self.args).current_dir(&self.dir);
        // What the developer has set must not decide a test.
        for (name, _) in std::env::vars().filter(|(name, _)| name.starts_with("FAUST_") || name == "RUST_LOG") {
            command.env_remove(name);
        }
        command.envs(&self.env).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|why| panic!("{} does not start: {why}", self.path.display()));
        let (mut stdin, given) = (child.stdin.take().unwrap(), self.stdin.clone());
        // On a thread, since the program may not read it at all.
        std::thread::spawn(move || drop(stdin.write_all(&given)));
        let stdout = capture(child.stdout.take().unwrap());
        let stderr = capture(child.stderr.take().unwrap());
        let name = format!("{} {}", self.path.file_name().unwrap().to_string_lossy(), self.args.join(" "));
        Process { name, child, stdout, stderr }
    }

    /// Runs it to its end.
    pub(crate) async fn run(&self) -> Ended {
        self.spawn().wait().await
    }

    /// Runs a shell line in which `"$0"` is the program, for pipes.
    pub(crate) async fn shell(&self, line: &str) -> Ended {
        let mut shell = self.clone();
        shell.args = vec!["-c".to_owned(), line.to_owned(), self.path.display().to_string()];
        shell.path = PathBuf::from("bash");
        shell.run().await
    }
}

/// A running program; killed when it is dropped.
pub(crate) struct Process {
    name: String,
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// What a stream has given so far, and the thread that reads it.
struct Lines {
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Process {
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The lines of its standard output so far.
    pub(crate) fn stdout(&self) -> Vec<String> {
        self.stdout.lines.lock().unwrap().clone()
    }

    /// The lines of its standard error so far.
    pub(crate) fn stderr(&self) -> Vec<String> {
        self.stderr.lines.lock().unwrap().clone()
    }

    /// Waits until a line of either stream holds the text, and returns the line.
    pub(crate) async fn wait_for_line(&mut self, text: &str) -> String {
        let began = Instant::now();
        loop {
            let ended = self.child.try_wait().unwrap();
            let lines = [self.stdout(), self.stderr()].concat();
            if let Some(line) = lines.into_iter().find(|line| line.contains(text)) {
                return line;
            }
            let waiting = ended.is_none() && began.elapsed() < LONG;
            assert!(waiting, "`{}` never said `{text}` ({ended:?}):\n{}", self.name, self.transcript());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends it SIGINT, as Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        let sent = Command::new("bash").args(["-c", &format!("kill -INT {}", self.pid())]).status().unwrap();
        assert!(sent.success(), "`{}` is not there to be interrupted", self.name);
    }

    /// `kill -9`.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Whether it has ended, and how.
    pub(crate) fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Waits for its end.
    pub(crate) async fn wait(mut self) -> Ended {
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(began.elapsed() < LONG, "`{}` does not end:\n{}", self.name, self.transcript());
            tokio::time::sleep(Duration::from_millis(10)).await;
        };
        // All it has written, and not only what was read by now.
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
        // Fails when it has ended, which is as well.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What a program said, and how it ended.
#[derive(Debug)]
pub(crate) struct Ended {
    name: String,
    /// Absent when a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<String>,
    pub(crate) stderr: Vec<String>,
}

impl Ended {
    /// Panics unless it ended with this code.
    pub(crate) fn expect_code(self, code: i32) -> Self {
        let Self { name, code: found, stdout, stderr } = &self;
        assert_eq!(*found, Some(code), "the exit code of `{name}`:\n{}", transcript(stdout, stderr));
        self
    }

    /// Panics unless it succeeded.
    pub(crate) fn success(self) -> Self {
        self.expect_code(0)
    }

    /// Its standard error as one text.
    pub(crate) fn errors(&self) -> String {
        self.stderr.join("\n")
    }

    /// Its standard output as JSON.
    pub(crate) fn json(&self) -> serde_json::Value {
        let text = self.stdout.join("\n");
        serde_json::from_str(&text).unwrap_or_else(|why| panic!("`{}` printed no JSON ({why}):\n{text}", self.name))
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
