//! `worker`: runs the app until it is stopped, has failed, or has nothing left to read.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use faust_core::app::App;
use faust_core::plan::{TablePlan, TopicPlan, TopicRole};
use faust_core::time::parse_duration;
use faust_core::worker::{Worker, WorkerOptions};

use crate::context::{Context, ToRun};
use crate::failure::Failure;
use crate::output::{self, Output};
use crate::signals::Signals;

/// When to end.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// End with success when every partition has been read to its end and nothing has come for this long
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    until_idle: Option<Duration>,
}

pub(crate) async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let ToRun { app, beside, log, out } = context.build_to_run()?;
    let mut options =
        args.until_idle.map_or_else(WorkerOptions::default, |quiet| WorkerOptions::default().until_idle(quiet));
    if let Some(bar) = out.restore_bar() {
        options = options.restore_listener(Arc::new(bar));
    }
    let worker = tokio::select! {
        worker = app.start_with(options) => worker?,
        // Nothing has begun that would have to be finished.
        () = signals.next() => return Ok(()),
    };
    out.banner(&format!("Faust for Rust v{}", env!("CARGO_PKG_VERSION")), banner(&app, &worker, log));
    worker.description().notices.iter().for_each(|notice| out.note(notice));
    let mut beside = pin!(beside(&worker));
    tokio::select! {
        ended = until_end(&worker, &mut signals, &out) => ended,
        // Never the first to complete: a worker outlasts what is beside it.
        () = async { beside.as_mut().await; std::future::pending().await } => unreachable!("it never completes"),
    }
}

/// The first signal drains, the second ends at once.
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
                out.note("draining; press again to end at once");
                worker.begin_stop();
            }
        }
    }
}

/// What Faust shows at start, as far as it has a meaning here.
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
