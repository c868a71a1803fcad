//! What every command has: the app as it was written, the settings of this call, and where to print.

use faust_core::app::{App, AppBuilder};
use faust_core::config::Resolved;

use crate::Beside;
use crate::args::Global;
use crate::failure::Failure;
use crate::output::Output;

/// What every command has.
pub(crate) struct Context {
    app: AppBuilder,
    beside: Beside,
    log: String,
    pub(crate) out: Output,
}

/// What the command `worker` needs.
pub(crate) struct ToRun {
    pub(crate) app: App,
    pub(crate) beside: Beside,
    /// Where the log goes, for the start-up table.
    pub(crate) log: String,
    pub(crate) out: Output,
}

impl Context {
    pub(crate) fn new(mut app: AppBuilder, beside: Beside, global: &Global, log: String) -> Self {
        let layers = app.layers_mut();
        // Before `process`, because a file that is named here wins over the one that the environment names.
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
        Self { app, beside, log, out: Output::new(global.json, global.quiet) }
    }

    /// The settings alone: enough for commands that need none of the agents, and then they work without any.
    pub(crate) fn resolve(&mut self) -> Result<Resolved, Failure> {
        let id = self.app.id().to_owned();
        self.app.layers_mut().resolve(&id).map_err(|errors| Failure::faults(errors.faults()))
    }

    /// The app, checked.
    pub(crate) fn build(self) -> Result<(App, Output), Failure> {
        Ok((self.app.build()?, self.out))
    }

    /// The app, checked, and what goes with it when it is run.
    pub(crate) fn build_to_run(self) -> Result<ToRun, Failure> {
        Ok(ToRun { app: self.app.build()?, beside: self.beside, log: self.log, out: self.out })
    }

    /// The app as it was written, for commands that can do without it.
    pub(crate) fn unchecked(self) -> (AppBuilder, Output) {
        (self.app, self.out)
    }
}
