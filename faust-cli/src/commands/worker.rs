//! `worker`: runs the app until it is stopped, fails, or with `--until-idle` has nothing left to read.

use std::path::PathBuf;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use faust_core::app::App;
use faust_core::plan::{TablePlan, TopicPlan, TopicRole};
use faust_core::time::parse_duration;
use faust_core::worker::{Worker, WorkerOptions};

use crate::context::{Context, RunOptions};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::ready_file::ReadyFile;
use crate::signals::Signals;

/// Options of `worker`.
#[derive(clap::Args, Debug)]
pub(crate) struct WorkerArgs {
    /// Exit once all partitions have been read to their ends and no message has arrived for this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    until_idle: Option<Duration>,
    /// Keep this file while the worker is ready, for a probe that looks whether it exists
    #[arg(long, value_name = "FILE")]
    ready_file: Option<PathBuf>,
}

pub(crate) async fn run(args: WorkerArgs, context: Context) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let ready_file = args.ready_file.map(ReadyFile::new).transpose()?;
    let RunOptions { app, background, log, out } = context.build_to_run()?;
    let mut options =
        args.until_idle.map_or_else(WorkerOptions::default, |quiet| WorkerOptions::default().until_idle(quiet));
    if let Some(bar) = out.restore_bar() {
        options = options.restore_listener(Arc::new(bar));
    }
    let worker = tokio::select! {
        worker = app.start_with(options) => worker?,
        // Nothing has started yet, so there is nothing to drain.
        () = signals.next() => return Ok(()),
    };
    out.banner(&format!("Faust for Rust v{}", env!("CARGO_PKG_VERSION")), banner(&app, &worker, log));
    worker.description().notices.iter().for_each(|notice| out.note(notice));
    let mut background = pin!(background(&worker));
    tokio::select! {
        ended = until_end(&worker, &mut signals, &out) => ended,
        // This branch never completes: the worker keeps running when these futures are done.
        () = async {
            tokio::join!(background.as_mut(), ReadyFile::follow(ready_file, &worker, &out));
            std::future::pending().await
        } => unreachable!("it never completes"),
    }
}

/// Waits until the worker stops. The first signal drains the worker, the second exits immediately.
async fn until_end(worker: &Worker, signals: &mut Signals, out: &Output) -> Result<(), Failure> {
    let mut draining = false;
    loop {
        tokio::select! {
            ended = worker.wait() => return Ok(ended?),
            () = signals.next() => {
                if draining {
                    output::force_end();
                }
                draining = true;
                out.note("draining; press Ctrl-C again to exit immediately");
                worker.begin_stop();
            }
        }
    }
}

/// Returns the rows of the start-up table: those of Faust that apply here.
fn banner(app: &App, worker: &Worker, log: String) -> Vec<Vec<String>> {
    let settings = app.settings();
    let description = worker.description();
    let agents: Vec<String> = app.agents().iter().map(|agent| format!("@{}", agent.name)).collect();
    let sources: Vec<&str> =
        worker.plan().topics().filter(|topic| topic.role() == TopicRole::Source).map(TopicPlan::name).collect();
    let directory = description.directory.as_deref().unwrap_or(&settings.datadir);
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname");
    let tables: Vec<&str> = worker.plan().tables().map(TablePlan::name).collect();
    let tables = description.store.clone().map(|store| [("tables", tables.join(", ")), ("store", store)]);
    let rows = [
        ("id", description.group.clone()),
        ("broker", description.broker.clone()),
        ("log", log),
        ("datadir", directory.display().to_string()),
        ("agents", agents.join(", ")),
        ("reads", sources.join(", ")),
    ];
    let process = [
        ("pid", std::process::id().to_string()),
        ("hostname", hostname.map_or_else(|_| "unknown".to_owned(), |name| name.trim().to_owned())),
        ("platform", format!("{} {}", std::env::consts::OS, std::env::consts::ARCH)),
    ];
    let rows = rows.into_iter().chain(tables.into_iter().flatten()).chain(process);
    rows.map(|(name, value)| vec![name.to_owned(), value]).collect()
}
