//! `model NAME`: lists the fields of a record with their types, defaults and rules.

use faust_core::codec::record::{FieldDef, ModelDef, models};
use faust_core::config::closest;
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Options of `model`.
#[derive(clap::Args, Debug)]
pub(crate) struct ModelArgs {
    /// Name of the record; `models` lists all names
    name: String,
}

#[derive(Serialize)]
struct FieldRow {
    field: String,
    #[serde(rename = "type")]
    type_name: String,
    required: bool,
    default: Option<&'static str>,
    rule: Option<&'static str>,
    help: &'static str,
}

pub(crate) fn run(args: &ModelArgs, mut context: Context) -> Result<(), Failure> {
    let model = find(&args.name, &models()).map_err(Failure::Error)?;
    let fields = model.fields.iter().map(|field| row("", field));
    let variants = model.variants.iter().flat_map(|variant| {
        let head = FieldRow::variant(variant.name, variant.help);
        std::iter::once(head).chain(variant.fields.iter().map(|field| row(&format!("{}.", variant.name), field)))
    });
    let rows: Vec<FieldRow> = fields.chain(variants).collect();
    context.out.list(
        model.name,
        &rows,
        &[
            ("field", |row| row.field.clone()),
            ("type", |row| row.type_name.clone()),
            // As in Faust, a star marks a required field.
            ("default", |row| row.default.unwrap_or(if row.required { "*" } else { "" }).to_owned()),
            ("rule", |row| row.rule.unwrap_or_default().to_owned()),
            ("help", |row| row.help.to_owned()),
        ],
    )
}

fn find(name: &str, models: &[&'static ModelDef]) -> Result<&'static ModelDef, String> {
    let exact = models.iter().find(|model| model.name == name);
    exact.copied().ok_or_else(|| match closest(name, models.iter().map(|model| model.name)) {
        Some(known) => format!("no model `{name}`: did you mean `{known}`?"),
        None => format!("no model `{name}`: the command `models` lists them all"),
    })
}

fn row(prefix: &str, field: &FieldDef) -> FieldRow {
    FieldRow {
        field: format!("{prefix}{}", field.name),
        type_name: field.type_name.to_owned(),
        required: field.required,
        default: field.default,
        rule: field.rule,
        help: field.help,
    }
}

impl FieldRow {
    fn variant(name: &str, help: &'static str) -> Self {
        Self {
            field: name.to_owned(),
            type_name: "variant".to_owned(),
            required: false,
            default: None,
            rule: None,
            help,
        }
    }
}
