//! A worker that runs until Ctrl-C and reports at regular intervals.

use std::time::Duration;

use faust::{AppBuilder, Status};

use crate::BoxError;

/// Runs a worker of the app, with the settings of the process, and passes its status to `report`.
///
/// # Errors
/// Returns the error that has ended the worker.
pub fn run_worker(app: AppBuilder, every: Duration, report: impl Fn(&Status)) -> Result<(), BoxError> {
    let log = tracing_subscriber::fmt().with_writer(std::io::stderr);
    log.with_max_level(tracing_subscriber::filter::LevelFilter::WARN).init();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let worker = app.from_process().build()?.start().await?;
        let mut reports = tokio::time::interval(every);
        // One for all turns of the loop: a signal between two would be lost.
        let interrupted = tokio::signal::ctrl_c();
        tokio::pin!(interrupted);
        loop {
            tokio::select! {
                ended = worker.wait() => return Ok(ended?),
                interrupted = &mut interrupted => {
                    interrupted?;
                    return Ok(worker.stop().await?);
                }
                _ = reports.tick() => report(&worker.status()),
            }
        }
    })
}
