//! All forms of records.
#![deny(warnings, missing_docs)]

use std::collections::BTreeMap;

use faust::prelude::*;
use faust::Record;

const PERCENT: std::ops::RangeInclusive<i64> = 0..=100;

/// A click.
#[record(name = "app.Click", serializer = "binary|json", key = uri, timestamp = at)]
#[derive(Clone, Debug, PartialEq)]
pub struct Click {
    uri: String,
    #[field(range = PERCENT)]
    number: i64,
    #[field(default = 0.5, range = 0.0..1.0)]
    score: f64,
    #[field(default = "none", len = 1..=20, check = lower_case)]
    tag: String,
    #[field(len = ..=3, check = are_sorted)]
    labels: Option<Vec<String>>,
    at: Option<String>,
    r#type: Kind,
    pages: BTreeMap<String, Position>,
}

/// An input device.
#[record]
#[derive(Clone, Debug, PartialEq)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Kind {
    /// A button.
    Button {
        /// Position from the left.
        #[field(range = 1..)]
        number: u8,
    },
    /// The wheel.
    Wheel,
}

#[record(codec = "json", key = 1)]
#[derive(Clone, Debug, PartialEq)]
struct Position(#[field(range = -180.0..=180.0)] f64, u32);

#[record]
struct Nothing;

#[record]
#[serde(transparent)]
struct Email(#[field(check = lower_case)] String);

fn lower_case(text: &str) -> std::result::Result<(), &'static str> {
    if text.chars().any(char::is_uppercase) { Err("must be in lower case") } else { Ok(()) }
}

fn are_sorted(labels: &[String]) -> bool {
    labels.is_sorted()
}

/// A record without derives of its own, for tables and comparisons.
#[record]
struct Bare {
    number: f64,
}

/// A record that implements one of the derived traits by hand.
#[record(no_derive(PartialEq))]
struct Compared {
    number: f64,
}

impl PartialEq for Compared {
    fn eq(&self, other: &Self) -> bool {
        self.number.to_bits() == other.number.to_bits()
    }
}

fn is_table_value<V: faust::TableValue + std::fmt::Debug + PartialEq>() {}

fn main() {
    is_table_value::<Bare>();
    is_table_value::<Compared>();
    drop((Click::NAME, Kind::MODEL, Position(0.0, 1), Nothing, Email(String::new())));
}
