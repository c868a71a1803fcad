//! The comparison of plans: that of this program with those of other workers of the app.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::model::{Plan, PlannedStage};
use crate::offsets::fnv1a;

/// The parts of a plan that other workers have to know.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PlanSummary {
    pub(crate) stages: BTreeMap<String, StageSummary>,
    pub(crate) tables: BTreeMap<String, TableSummary>,
}

/// A stage of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StageSummary {
    pub(crate) reads: BTreeSet<String>,
    pub(crate) writes: BTreeSet<String>,
    pub(crate) tables: BTreeSet<String>,
}

/// A table of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct TableSummary {
    pub(crate) changelog: String,
    /// Types, codecs and windows.
    pub(crate) kind: String,
    /// The topics whose partitions own those of the table.
    pub(crate) topics: BTreeSet<String>,
}

impl TableSummary {
    /// Returns the types and codecs, without the windows.
    pub(super) fn types(&self) -> &str {
        // A type of several parameters contains `, `, but codecs come last.
        let codec = self.kind.rfind(" by ").map_or(0, |at| at + 4);
        let end = self.kind[codec..].find(", ").map_or(self.kind.len(), |at| codec + at);
        &self.kind[..end]
    }
}

/// A table of which two plans own the same partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ContestedTable {
    /// Name of the table in this plan.
    pub(crate) table: String,
    /// The topics of the other plan that own its partitions.
    pub(crate) topics: BTreeSet<String>,
}

impl Plan {
    /// Returns the parts of the plan that other workers have to know.
    pub(crate) fn summary(&self) -> PlanSummary {
        let owned = |names: &mut dyn Iterator<Item = &str>| names.map(str::to_owned).collect::<BTreeSet<_>>();
        let stage = |stage: &PlannedStage| StageSummary {
            reads: owned(&mut stage.reads.iter().map(|topic| &**topic)),
            writes: stage.writes.iter().cloned().collect(),
            tables: owned(&mut stage.tables()),
        };
        let stages = self.stages.iter().map(|planned| (planned.name.to_string(), stage(planned))).collect();
        let tables = self.tables.iter().map(|(name, table)| {
            let sets = self.sets.iter().filter(|set| set.tables.contains(name));
            let topics = owned(&mut sets.flat_map(|set| &set.topics).map(|topic| &**topic));
            let info = table.factory.info();
            (name.to_string(), TableSummary { changelog: info.changelog.clone(), kind: info.kind(), topics })
        });
        PlanSummary { stages, tables: tables.collect() }
    }
}

impl PlanSummary {
    /// Returns a hash of the summary, by which workers of different versions of a program are told apart.
    pub(crate) fn fingerprint(&self) -> u32 {
        fnv1a(&serde_json::to_string(self).expect("maps with text as keys are always JSON"))
    }

    /// Returns the tables whose changelogs the other plan writes as well, from other topics. If the plans have a topic of the
    /// table in common, its partitions have one owner; otherwise two workers own the same partition of the table.
    pub(crate) fn contested(&self, other: &Self) -> Vec<ContestedTable> {
        let contested = self.tables.iter().filter_map(|(name, table)| {
            let theirs = other.tables.values().find(|theirs| theirs.changelog == table.changelog)?;
            let topics = theirs.topics.clone();
            let is_contested = !table.topics.is_empty() && !topics.is_empty() && table.topics.is_disjoint(&topics);
            is_contested.then(|| ContestedTable { table: name.clone(), topics })
        });
        contested.collect()
    }

    /// Describes the differences of the other plan from this one, one line each.
    pub(crate) fn differences(&self, other: &Self) -> Vec<String> {
        let mut lines = Vec::new();
        compare("stage", &self.stages, &other.stages, &mut lines, |ours, theirs| {
            let parts = [
                ("reads", &ours.reads, &theirs.reads),
                ("writes", &ours.writes, &theirs.writes),
                ("uses table", &ours.tables, &theirs.tables),
            ];
            let differing = parts.into_iter().find(|(_, ours, theirs)| ours != theirs);
            differing.map(|(what, ours, theirs)| format!("{what} {} here and {} there", list(ours), list(theirs)))
        });
        compare("table", &self.tables, &other.tables, &mut lines, |ours, theirs| {
            if ours.kind != theirs.kind {
                return Some(format!("holds {} here and {} there", ours.kind, theirs.kind));
            }
            let (ours, theirs) = (&ours.changelog, &theirs.changelog);
            (ours != theirs).then(|| format!("has the changelog `{ours}` here and `{theirs}` there"))
        });
        lines
    }
}

/// Adds a line for each item that only one of the plans has, and for each that differs.
fn compare<T: PartialEq>(
    kind: &str,
    ours: &BTreeMap<String, T>,
    theirs: &BTreeMap<String, T>,
    lines: &mut Vec<String>,
    difference: impl Fn(&T, &T) -> Option<String>,
) {
    for (name, our) in ours {
        match theirs.get(name) {
            None => lines.push(format!("{kind} `{name}` is here only")),
            Some(their) => lines.extend(difference(our, their).map(|what| format!("{kind} `{name}` {what}"))),
        }
    }
    let only_there = theirs.keys().filter(|name| !ours.contains_key(*name));
    lines.extend(only_there.map(|name| format!("{kind} `{name}` is there only")));
}

pub(super) fn list(names: &BTreeSet<String>) -> String {
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn summary(stages: &[(&str, &[&str], &[&str])], tables: &[(&str, &str, &[&str])]) -> PlanSummary {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let stage = |(name, reads, tables): &(&str, &[&str], &[&str])| {
            let stage = StageSummary { reads: set(reads), tables: set(tables), ..StageSummary::default() };
            ((*name).to_owned(), stage)
        };
        let table = |(name, kind, topics): &(&str, &str, &[&str])| {
            let (changelog, kind) = (format!("app-{name}-changelog"), (*kind).to_owned());
            ((*name).to_owned(), TableSummary { changelog, kind, topics: set(topics) })
        };
        PlanSummary { stages: stages.iter().map(stage).collect(), tables: tables.iter().map(table).collect() }
    }

    #[test]
    fn the_windows_of_a_kind_are_no_part_of_its_types() {
        let types = |kind: &str| TableSummary { kind: kind.to_owned(), ..TableSummary::default() }.types().to_owned();
        let pair = "(u8, String) by json -> (u8, u8) by binary|json";
        assert_eq!(types(pair), pair);
        assert_eq!(types(&format!("{pair}, hopping windows of 10s every 5s")), pair);
    }

    #[test]
    fn a_table_is_contested_if_no_topic_is_common() {
        let mine = summary(&[], &[("t", "u8", &["a", "b"]), ("u", "u8", &["a"])]);
        let contested = |topics: &[&str]| mine.contested(&summary(&[], &[("t", "u8", topics)]));
        assert_eq!(contested(&["a"]), []);
        assert_eq!(contested(&["b", "c"]), [], "a version that reads another topic as well");
        assert_eq!(contested(&[]), [], "a table that no stage owns");
        let topics: BTreeSet<_> = ["c".to_owned(), "d".to_owned()].into();
        assert_eq!(contested(&["c", "d"]), [ContestedTable { table: "t".to_owned(), topics }]);
    }

    #[test]
    fn differences_name_what_differs() {
        let ours = summary(&[("count", &["a"], &["t"]), ("old", &["a"], &[])], &[("t", "u8", &["a"])]);
        let theirs = summary(&[("count", &["a", "b"], &["t"]), ("new", &["b"], &[])], &[("t", "u16", &["a", "b"])]);
        assert_eq!(
            ours.differences(&theirs),
            [
                "stage `count` reads `a` here and `a`, `b` there",
                "stage `old` is here only",
                "stage `new` is there only",
                "table `t` holds u8 here and u16 there"
            ]
        );
        assert_eq!(ours.differences(&ours), [""; 0]);
    }

    #[test]
    fn a_summary_is_read_by_later_releases() {
        let text = r#"{"stages":{"count":{"reads":["a"],"writes":[],"tables":["t"]}},"tables":{"t":{"changelog":"app-t-changelog","kind":"u8","topics":["a"]}}}"#;
        let summary = summary(&[("count", &["a"], &["t"])], &[("t", "u8", &["a"])]);
        assert_eq!(serde_json::to_string(&summary).expect("plain data"), text);
        assert_eq!(serde_json::from_str::<PlanSummary>(text).expect("the same"), summary);
    }
}
