//! The context of a command: the app, the settings of this invocation, and the output.

use std::pin::Pin;

use faust_core::app::{App, AppBuilder};
use faust_core::config::Resolved;
use faust_core::worker::Worker;

use crate::failure::Failure;
use crate::global::Global;
use crate::output::Output;

/// A future that the command `worker` polls while the worker runs, such as a producer of sample data.
///
/// The worker keeps running when the future completes. The future is dropped when the worker stops.
pub type Background = Box<dyn for<'a> FnOnce(&'a Worker) -> Pin<Box<dyn Future<Output = ()> + 'a>>>;

/// The input of every command.
pub(crate) struct Context {
    app: AppBuilder,
    background: Background,
    log: String,
    pub(crate) out: Output,
}

/// The input of the command `worker`.
pub(crate) struct RunOptions {
    pub(crate) app: App,
    pub(crate) background: Background,
    /// Destination and level of the log, for the start-up table.
    pub(crate) log: String,
    pub(crate) out: Output,
}

impl Context {
    /// Creates a context, and adds the settings of the environment and of the global options to those of the app.
    pub(crate) fn new(mut app: AppBuilder, background: Background, global: &Global, log: String) -> Self {
        let layers = app.layers_mut();
        // IMPORTANT: before `process`, because this file takes precedence over the one named by the environment.
        if let Some(file) = &global.config {
            layers.file(file);
        }
        layers.process();
        for (name, value) in &global.set {
            layers.command_line(name, value);
        }
        for (name, value) in [("broker", &global.broker), ("datadir", &global.datadir)] {
            if let Some(value) = value {
                layers.command_line(name, value);
            }
        }
        Self { app, background, log, out: Output::new(global.json, global.quiet) }
    }

    /// Returns the effective settings, without building the app: commands that need only settings work even if the
    /// app has faults or no agents.
    ///
    /// # Errors
    /// A setting is unknown or invalid; the error lists all such faults.
    pub(crate) fn resolve(&mut self) -> Result<Resolved, Failure> {
        let id = self.app.id().to_owned();
        self.app.layers_mut().resolve(&id).map_err(|errors| Failure::faults(errors.faults()))
    }

    /// Builds the app.
    ///
    /// # Errors
    /// The app or its settings have faults.
    pub(crate) fn build(self) -> Result<(App, Output), Failure> {
        Ok((self.app.build()?, self.out))
    }

    /// Builds the app and returns it with everything else that running it needs.
    ///
    /// # Errors
    /// The app or its settings have faults.
    pub(crate) fn build_to_run(self) -> Result<RunOptions, Failure> {
        Ok(RunOptions { app: self.app.build()?, background: self.background, log: self.log, out: self.out })
    }

    /// Returns the app without building it, for commands that also work if the app has faults.
    pub(crate) fn unchecked(self) -> (AppBuilder, Output) {
        (self.app, self.out)
    }
}
