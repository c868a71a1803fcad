//! `models`: the records of the program.

use faust_core::codec::record::{ModelDef, models};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Nothing to choose.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {}

#[derive(Serialize)]
struct Row {
    name: &'static str,
    help: &'static str,
}

pub(crate) fn run(_: Args, mut context: Context) -> Result<(), Failure> {
    let row = |model: &ModelDef| Row { name: model.name, help: model.help };
    let rows: Vec<Row> = models().into_iter().map(row).collect();
    context.out.list("Models", &rows, &[("name", |row| row.name.to_owned()), ("help", |row| row.help.to_owned())])
}
