//! `models`: lists the records of the program.

use faust_core::codec::record::{ModelDef, models};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Options of `models`: none.
#[derive(clap::Args, Debug)]
pub(crate) struct ModelsArgs {}

#[derive(Serialize)]
struct ModelRow {
    name: &'static str,
    help: &'static str,
}

pub(crate) fn run(_: ModelsArgs, mut context: Context) -> Result<(), Failure> {
    let row = |model: &ModelDef| ModelRow { name: model.name, help: model.help };
    let rows: Vec<ModelRow> = models().into_iter().map(row).collect();
    context.out.list("Models", &rows, &[("name", |row| row.name.to_owned()), ("help", |row| row.help.to_owned())])
}
