//! The arguments of the program `chaos`, and the run of its scenarios.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Parser;

use super::figures::RunFigures;
use super::say::{say, say_error, say_result};
use super::scenario::Scenario;
use super::trial::{Trial, TrialOptions};
use crate::BoxError;
use crate::verify::Guarantee;

/// Disturbs workers on three brokers of Apache Kafka, and verifies everything they wrote.
///
/// Workers are killed and paused, brokers stopped and killed, connections delayed and broken, by a schedule from a seed.
/// Exits with 0 only if everything was verified; the last line has the figures.
#[derive(Parser, Debug)]
#[command(name = "chaos", bin_name = "scripts/chaos")]
struct Arguments {
    /// All faults in one scenario, a few minutes (default)
    #[arg(long, conflicts_with = "long")]
    short: bool,
    /// Six scenarios, about three quarters of an hour: 40 kills, 5 pauses, 30 bounces of brokers, all mixed for ten minutes, an
    /// unkind network
    #[arg(long)]
    long: bool,
    /// The guarantee of the workers, which decides what the verifier accepts
    #[arg(long, value_enum, default_value_t = Guarantee::ExactlyOnce)]
    guarantee: Guarantee,
    /// Seed of the events and of the faults; random by default
    #[arg(long)]
    seed: Option<u64>,
    /// Run only the scenarios with these names: kills, static-kills, pauses, bounces, mixed, network,
    /// short, calm (without faults)
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Events per second
    #[arg(long, default_value_t = 5_000, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    rate: u64,
    /// Number of workers at the start
    #[arg(long, default_value_t = 3, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(2..=6))]
    workers: u64,
    /// Stores of the workers, which take them in turn
    #[arg(long, default_value = "sled://,fjall://", value_name = "STORES", value_delimiter = ',')]
    store: Vec<String>,
    /// Set a setting of the workers; `%n` is replaced by the number of the worker
    #[arg(long = "set", value_name = "NAME=VALUE")]
    settings: Vec<String>,
    /// Directory for the data of brokers and workers, and for their logs; those of an earlier run are deleted
    #[arg(long, default_value = "target/chaos", value_name = "DIR")]
    dir: PathBuf,
    /// Root of the repository
    #[arg(long, default_value = ".", hide = true)]
    root: PathBuf,
}

/// Runs the program.
pub(crate) fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(figures) => {
            say_result(figures.line());
            ExitCode::SUCCESS
        }
        Err(error) => {
            say_error(error.to_string());
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<RunFigures, BoxError> {
    let seed = match arguments.seed {
        Some(seed) => seed,
        None => SystemTime::now().duration_since(UNIX_EPOCH)?.subsec_nanos().into(),
    };
    let scenarios = selected(&arguments)?;
    std::fs::create_dir_all(&arguments.dir)?;
    let programs = std::env::current_exe()?.parent().map(Path::to_path_buf).ok_or("a program without a directory")?;
    let options = TrialOptions {
        root: arguments.root.canonicalize()?,
        programs,
        dir: arguments.dir.canonicalize()?,
        guarantee: arguments.guarantee,
        law: arguments.guarantee,
        seed,
        rate: arguments.rate,
        workers: usize::try_from(arguments.workers)?,
        stores: arguments.store,
        settings: arguments.settings,
    };
    let mut figures = RunFigures::default();
    for scenario in scenarios {
        let of = |error: BoxError| {
            let logs = options.dir.join(scenario.name);
            format!("scenario `{}`: {error}\nrepeat it with --seed {seed}; logs: {}", scenario.name, logs.display())
        };
        say(format!("scenario `{}`, {}, --seed {seed}", scenario.name, arguments.guarantee.name()));
        let law = scenario.law.unwrap_or(options.law);
        let mut options = TrialOptions { law, ..options.clone() };
        options.settings.splice(0..0, scenario.settings.iter().map(|setting| (*setting).to_owned()));
        let mut trial = Trial::start(options, scenario.name).map_err(of)?;
        let done = scenario.run(&mut trial).and_then(|()| trial.finish()).map_err(of)?;
        say(format!("scenario `{}`: {}", scenario.name, done.line()));
        figures.add(done);
    }
    Ok(figures)
}

/// Returns the scenarios that were asked for.
fn selected(arguments: &Arguments) -> Result<Vec<Scenario>, BoxError> {
    let all = if arguments.long || !arguments.only.is_empty() { Scenario::long() } else { Scenario::short() };
    if arguments.only.is_empty() {
        return Ok(all);
    }
    let known: Vec<_> = all.into_iter().chain(Scenario::short()).chain([Scenario::calm()]).collect();
    let find = |name: &String| {
        let names = || known.iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
        known
            .iter()
            .find(|scenario| scenario.name == name)
            .cloned()
            .ok_or_else(|| format!("there is no scenario `{name}`; there are {}", names()).into())
    };
    arguments.only.iter().map(find).collect()
}
