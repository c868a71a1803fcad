//! `upgrade-check`: compares the plan that the group runs with that of this program, and says how to upgrade.

use std::time::Duration;

use faust_core::plan::{PlanChange, UpgradeEffect};
use faust_core::time::parse_duration;
use serde::Serialize;

use crate::client::Client;
use crate::context::Context;
use crate::failure::Failure;
use crate::output::Output;

/// Options of `upgrade-check`.
#[derive(clap::Args, Debug)]
pub(crate) struct UpgradeCheckArgs {
    /// Fail if the broker does not respond within this time
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    timeout: Option<Duration>,
}

/// The result as printed with `--json`.
#[derive(Serialize)]
struct Report {
    /// `first`, `same`, `rolling`, `stop all` or `refused`.
    verdict: &'static str,
    workers: Vec<String>,
    changes: Vec<ChangeRow>,
}

#[derive(Serialize)]
struct ChangeRow {
    part: String,
    name: String,
    change: &'static str,
    upgrade: String,
    detail: String,
}

pub(crate) async fn run(args: UpgradeCheckArgs, mut context: Context) -> Result<(), Failure> {
    let resolved = context.resolve()?;
    let (app, mut out) = context.build()?;
    let (plan, failures) = app.partial_plan().await?;
    // Behind the plan: its agents may take long, and the timeout is for the broker.
    let mut client = Client::find(resolved, args.timeout, &out).await?;
    failures.iter().for_each(|why| out.note(format!("{why}; it is left out")));
    let Some(running) = client.running_app(&plan).await?.filter(|running| !running.is_new()) else {
        return report(&mut out, &Verdict::First, Vec::new(), &[]);
    };
    let changes = running.changes_to(&plan);
    let workers: Vec<String> = running.workers().map(str::to_owned).collect();
    if running.plan_count() > 1 {
        out.note(format!(
            "the workers run {} different plans: another upgrade is in progress; the changes from all of them are shown",
            running.plan_count()
        ));
    }
    let verdict = Verdict::of(&changes, !workers.is_empty());
    report(&mut out, &verdict, workers, &changes)
}

/// The answer of the command.
#[derive(Debug, PartialEq, Eq)]
enum Verdict {
    /// No worker has run so far.
    First,
    /// The plans are equal.
    Same,
    /// Workers of both versions may run at the same time.
    Rolling,
    /// All workers must stop before one of this program starts; these are the parts of the plan.
    StopAll(Vec<String>),
    /// Workers of this program would fail, or lose state; these are the parts of the plan.
    Refused(Vec<String>),
}

impl Verdict {
    fn of(changes: &[PlanChange], has_workers: bool) -> Self {
        let of = |effect| {
            let changes = changes.iter().filter(move |change| change.effect == effect);
            changes.map(|change| format!("{} `{}`", change.part, change.name)).collect::<Vec<_>>()
        };
        let (refused, stop) = (of(UpgradeEffect::Refused), of(UpgradeEffect::StopAll));
        match changes {
            _ if !refused.is_empty() => Self::Refused(refused),
            _ if !stop.is_empty() && has_workers => Self::StopAll(stop),
            [] => Self::Same,
            _ => Self::Rolling,
        }
    }

    fn name(&self) -> &'static str {
        match self {
            Self::First => "first",
            Self::Same => "same",
            Self::Rolling => "rolling",
            Self::StopAll(_) => "stop all",
            Self::Refused(_) => "refused",
        }
    }
}

/// Prints the changes and the verdict.
///
/// # Errors
/// The upgrade is refused, or all workers have to stop first.
fn report(out: &mut Output, verdict: &Verdict, workers: Vec<String>, changes: &[PlanChange]) -> Result<(), Failure> {
    let rows: Vec<ChangeRow> = changes.iter().map(row).collect();
    let (count, verdict_name) = (workers.len(), verdict.name());
    if out.json {
        out.object(&Report { verdict: verdict_name, workers, changes: rows })?;
        out.flush()?;
    } else if !rows.is_empty() {
        out.list(
            "Changes",
            &rows,
            &[
                ("part", |row| row.part.clone()),
                ("name", |row| row.name.clone()),
                ("change", |row| row.change.to_owned()),
                ("upgrade", |row| row.upgrade.clone()),
                ("detail", |row| row.detail.clone()),
            ],
        )?;
    }
    let running = match count {
        0 => "no worker runs".to_owned(),
        1 => "1 worker runs".to_owned(),
        count => format!("{count} workers run"),
    };
    match verdict {
        Verdict::First => out.note("no worker of this app has run yet: there is nothing to compare with"),
        Verdict::Same if count == 0 => out.note(format!("the plan is the same; {running}")),
        Verdict::Same => out.note(format!("the plan is the same; {running}: replace workers one by one")),
        Verdict::Rolling if count == 0 => out.note(format!("{running}: start the new version")),
        Verdict::Rolling => out.note(format!("{running}: a rolling upgrade is possible; replace workers one by one")),
        Verdict::StopAll(parts) => {
            return Err(Failure::error(format!(
                "{running}: stop all of them before the new version starts, because of {}",
                parts.join(", ")
            )));
        }
        Verdict::Refused(parts) => {
            return Err(Failure::error(format!("the upgrade is not possible because of {}", parts.join(", "))));
        }
    }
    Ok(())
}

fn row(change: &PlanChange) -> ChangeRow {
    ChangeRow {
        part: change.part.to_string(),
        name: change.name.clone(),
        change: change.change,
        upgrade: change.effect.to_string(),
        detail: change.detail.clone(),
    }
}
