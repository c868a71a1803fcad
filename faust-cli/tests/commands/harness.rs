//! Processes of the examples, each in a temporary directory.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStderr, Command, Output, Stdio};

/// An example app with a temporary directory to run it in. Each test has its own.
pub(crate) struct Shop {
    app: &'static str,
    pub(crate) directory: tempfile::TempDir,
}

impl Shop {
    pub(crate) fn new() -> Self {
        Self::of("shop")
    }

    /// Creates a directory for the example `app`.
    pub(crate) fn of(app: &'static str) -> Self {
        Self { app, directory: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn command(&self, line: &[&str]) -> Command {
        self.command_of(self.app, line)
    }

    /// Returns a command of another example in the same directory, such as another version of the app.
    pub(crate) fn command_of(&self, app: &str, line: &[&str]) -> Command {
        // The test binary is in `target/<profile>/deps`, the app in `target/<profile>/examples`.
        let mut built: PathBuf = std::env::current_exe().unwrap();
        built.pop();
        built.pop();
        let app = built.join("examples").join(format!("{app}{}", std::env::consts::EXE_SUFFIX));
        assert!(app.exists(), "the app of these tests is missing: run cargo build -p faust-cli --examples");
        let mut command = Command::new(app);
        command.args(line).current_dir(&self.directory).env("FAUST_EMBEDDED_PORT", "0").env_remove("FAUST_BROKER");
        command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    pub(crate) fn run(&self, line: &[&str]) -> Output {
        self.command(line).output().unwrap()
    }

    /// Runs a command that must succeed, and returns its standard output.
    pub(crate) fn ok(&self, line: &[&str]) -> String {
        let output = self.run(line);
        assert!(output.status.success(), "{line:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Runs a command that must fail with this exit code and print no data, and returns its standard error.
    pub(crate) fn fails(&self, code: i32, line: &[&str]) -> String {
        let output = self.run(line);
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stdout).as_ref()),
            (Some(code), ""),
            "{error}"
        );
        error
    }

    /// Starts the command `broker`, and waits until it has printed its address.
    pub(crate) fn broker(&self) -> Running {
        self.broker_with(&[])
    }

    /// Like [`broker`](Self::broker), with these options.
    pub(crate) fn broker_with(&self, options: &[&str]) -> Running {
        let mut child = self.command(&[&["broker"], options].concat()).spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut address = String::new();
        stdout.read_line(&mut address).unwrap();
        Running { child, address: address.trim().to_owned() }
    }

    /// Starts the command `worker`, waits until a line on its standard error contains `text`, and returns the rest of
    /// its standard error.
    pub(crate) fn worker(&self, options: &[&str], text: &str) -> (Running, BufReader<ChildStderr>) {
        let line = [&["worker"], options].concat();
        let mut worker = Running { child: self.command(&line).spawn().unwrap(), address: String::new() };
        let mut log = BufReader::new(worker.child.stderr.take().unwrap());
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(log.read_line(&mut line).unwrap(), 0, "the worker has exited");
        }
        (worker, log)
    }
}

/// A process that runs until it is stopped. It is killed on drop, in case the test fails.
pub(crate) struct Running {
    pub(crate) child: Child,
    pub(crate) address: String,
}

impl Running {
    /// Sends a signal by name.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.child.id().to_string()).status().unwrap();
        assert!(sent.success());
    }

    /// Interrupts the process as Ctrl-C does, and waits until it has exited with success.
    pub(crate) fn interrupt(mut self) {
        self.signal("INT");
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // The process may have exited already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
