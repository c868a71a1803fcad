//! The changes between the plan that the workers of an app run and that of this program, and what each means for an upgrade.

use std::collections::BTreeSet;
use std::fmt;

use super::compare::{PlanSummary, TableSummary, list};

/// A difference between the plan of the running workers and that of this program.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct PlanChange {
    /// The part of the plan that differs.
    pub part: PlanPart,
    /// Name of the table, stage or topic.
    pub name: String,
    /// The change in a word: `new`, `removed`, `changed` or `renamed`.
    pub change: &'static str,
    /// The consequence for an upgrade.
    pub effect: UpgradeEffect,
    /// The change in detail, with the fix if the upgrade is not possible as it is.
    pub detail: String,
}

/// A part of a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum PlanPart {
    /// A table, with its windows.
    Table,
    /// A stage: an agent, or the part of it before a `group_by` or `through`.
    Stage,
    /// A topic that the app reads or writes.
    Topic,
}

/// The consequence of a change for an upgrade, the least serious first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum UpgradeEffect {
    /// Workers of both versions may run at the same time.
    Rolling,
    /// As above, but the detail names something that should be considered.
    Attention,
    /// All workers of the running version must stop before one of this program starts.
    StopAll,
    /// Workers of this program would stop with an error, or begin without the state of the table.
    Refused,
}

impl PlanSummary {
    /// Returns the changes from the plan of the running workers to this one: tables first, then stages and topics.
    pub(crate) fn changes_from(&self, running: &Self) -> Vec<PlanChange> {
        let mut changes = self.table_changes(running);
        changes.extend(self.stage_changes(running));
        changes.extend(self.topic_changes(running));
        changes
    }

    fn table_changes(&self, running: &Self) -> Vec<PlanChange> {
        let contested = self.contested(running);
        let mut changes = Vec::new();
        for (name, table) in &self.tables {
            let stops = contested.iter().find(|contested| contested.table == *name);
            let (change, effect, detail) = match running.tables.get(name) {
                Some(theirs) => match changed_table(table, theirs, stops.is_some()) {
                    Some((effect, detail)) => ("changed", effect, detail),
                    None => continue,
                },
                None => match running.tables.iter().find(|(_, theirs)| theirs.changelog == table.changelog) {
                    Some((former, _)) => (
                        "renamed",
                        UpgradeEffect::Refused,
                        format!(
                            "it has the changelog of `{former}`, whose state is committed under that name; keep it: `name = \"{former}\"`"
                        ),
                    ),
                    None => self.new_table(table, running),
                },
            };
            changes.push(PlanChange { part: PlanPart::Table, name: name.clone(), change, effect, detail });
        }
        let is_gone = |(name, theirs): &(&String, &TableSummary)| {
            !self.tables.contains_key(*name) && !self.tables.values().any(|table| table.changelog == theirs.changelog)
        };
        for (name, theirs) in running.tables.iter().filter(is_gone) {
            let detail = format!("its changelog `{}` stays, and can be deleted after the upgrade", theirs.changelog);
            let (part, name, effect) = (PlanPart::Table, name.clone(), UpgradeEffect::Rolling);
            changes.push(PlanChange { part, name, change: "removed", effect, detail });
        }
        changes
    }

    /// Describes a table that the running workers do not have.
    fn new_table(&self, table: &TableSummary, running: &Self) -> (&'static str, UpgradeEffect, String) {
        let was_it = |(name, theirs): &(&String, &TableSummary)| {
            !self.tables.contains_key(*name) && theirs.kind == table.kind && theirs.topics == table.topics
        };
        match running.tables.iter().find(was_it) {
            Some((former, _)) => (
                "new",
                UpgradeEffect::Attention,
                format!(
                    "it begins empty; if it is the former `{former}` under another name, keep its name: `name = \"{former}\"`"
                ),
            ),
            None => ("new", UpgradeEffect::Rolling, format!("it holds {} and begins empty", table.kind)),
        }
    }

    fn stage_changes(&self, running: &Self) -> Vec<PlanChange> {
        let mut changes = Vec::new();
        let mut add = |name: &String, change, detail| {
            let (part, name, effect) = (PlanPart::Stage, name.clone(), UpgradeEffect::Rolling);
            changes.push(PlanChange { part, name, change, effect, detail });
        };
        for (name, stage) in &self.stages {
            match running.stages.get(name) {
                None => add(name, "new", format!("it reads {}", list(&stage.reads))),
                Some(theirs) => {
                    let parts = [
                        ("reads", &stage.reads, &theirs.reads),
                        ("writes", &stage.writes, &theirs.writes),
                        ("uses table", &stage.tables, &theirs.tables),
                    ];
                    let differing = parts.into_iter().filter(|(_, ours, theirs)| ours != theirs);
                    let differing = differing
                        .map(|(what, ours, theirs)| format!("it {what} {} instead of {}", list(ours), list(theirs)));
                    let differing: Vec<_> = differing.collect();
                    if !differing.is_empty() {
                        add(name, "changed", differing.join("; "));
                    }
                }
            }
        }
        for (name, theirs) in running.stages.iter().filter(|(name, _)| !self.stages.contains_key(*name)) {
            add(name, "removed", format!("it read {}", list(&theirs.reads)));
        }
        changes
    }

    fn topic_changes(&self, running: &Self) -> Vec<PlanChange> {
        let (ours, theirs) = (self.topics(), running.topics());
        let dropped = running.forwarded();
        let still_read: BTreeSet<_> = self.stages.values().flat_map(|stage| &stage.reads).collect();
        let change = |name: &&String, change, effect, detail: &str| PlanChange {
            part: PlanPart::Topic,
            name: (*name).clone(),
            change,
            effect,
            detail: detail.to_owned(),
        };
        let added = ours.difference(&theirs).map(|name| {
            change(
                name,
                "new",
                UpgradeEffect::Rolling,
                "it is created if it does not exist, unless `topic_allow_declare` is false",
            )
        });
        let removed = theirs.iter().filter_map(|name| {
            let (effect, detail) = match dropped.contains(*name) && !still_read.contains(*name) {
                true => (
                    UpgradeEffect::Attention,
                    "events in it that are not processed when the last worker of the running version stops stay there",
                ),
                false if ours.contains(*name) => return None,
                false => (UpgradeEffect::Rolling, "it is no longer used"),
            };
            Some(change(name, "removed", effect, detail))
        });
        added.chain(removed).collect()
    }

    /// Returns the topics that stages read or write.
    fn topics(&self) -> BTreeSet<&String> {
        self.stages.values().flat_map(|stage| stage.reads.iter().chain(&stage.writes)).collect()
    }

    /// Returns the topics through which events pass from one stage to another: if no stage reads them, they stop there.
    fn forwarded(&self) -> BTreeSet<&String> {
        let read: BTreeSet<_> = self.stages.values().flat_map(|stage| &stage.reads).collect();
        self.stages.values().flat_map(|stage| &stage.writes).filter(|topic| read.contains(topic)).collect()
    }
}

/// Describes the change of a table that both plans have; `None` if there is none.
fn changed_table(ours: &TableSummary, theirs: &TableSummary, is_contested: bool) -> Option<(UpgradeEffect, String)> {
    if ours.kind != theirs.kind {
        let fix = match (ours.types(), theirs.types()) {
            (our, their) if our == their => {
                "revert the windows, give the table another name, or raise the app's `version`"
            }
            _ => {
                "if the new types read the old values (new fields have `#[field(default)]`), stop all workers and run `reset` on each machine; otherwise give the table another name, or raise the app's `version`"
            }
        };
        let detail = format!("it holds {} instead of {}; {fix}", ours.kind, theirs.kind);
        return Some((UpgradeEffect::Refused, detail));
    }
    if ours.changelog != theirs.changelog {
        let detail = format!(
            "its changelog is `{}` instead of `{}`, which does not have its committed state; revert that, give the table another name, or raise the app's `version`",
            ours.changelog, theirs.changelog
        );
        return Some((UpgradeEffect::Refused, detail));
    }
    let from = || format!("its partitions belong to {} instead of {}", list(&ours.topics), list(&theirs.topics));
    if is_contested {
        let detail =
            format!("{}: workers of both versions would own the same partitions of it; stop all first", from());
        return Some((UpgradeEffect::StopAll, detail));
    }
    (ours.topics != theirs.topics).then(|| {
        let detail = format!("{}: while both versions run, some of its partitions wait", from());
        (UpgradeEffect::Attention, detail)
    })
}

impl fmt::Display for PlanPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Table => "table",
            Self::Stage => "stage",
            Self::Topic => "topic",
        })
    }
}

/// Formats the effect as `rolling`, `attention`, `stop all` or `refused`.
impl fmt::Display for UpgradeEffect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rolling => "rolling",
            Self::Attention => "attention",
            Self::StopAll => "stop all",
            Self::Refused => "refused",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::compare::StageSummary;
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn table(changelog: &str, kind: &str, topics: &[&str]) -> TableSummary {
        TableSummary { changelog: changelog.to_owned(), kind: kind.to_owned(), topics: set(topics) }
    }

    fn plan(tables: &[(&str, TableSummary)], stages: &[(&str, &[&str], &[&str])]) -> PlanSummary {
        let stage = |(name, reads, writes): &(&str, &[&str], &[&str])| {
            let stage = StageSummary { reads: set(reads), writes: set(writes), ..StageSummary::default() };
            ((*name).to_owned(), stage)
        };
        let tables = tables.iter().map(|(name, table)| ((*name).to_owned(), table.clone()));
        PlanSummary { tables: tables.collect(), stages: stages.iter().map(stage).collect() }
    }

    fn changes(ours: &PlanSummary, running: &PlanSummary) -> Vec<(String, &'static str, UpgradeEffect)> {
        let changes = ours.changes_from(running).into_iter();
        changes.map(|change| (format!("{} {}", change.part, change.name), change.change, change.effect)).collect()
    }

    const COUNT: &str = "String by raw -> u64 by json";

    #[test]
    fn the_same_plan_has_no_changes() {
        let same = plan(&[("t", table("t-log", COUNT, &["a"]))], &[("count", &["a"], &["b"]), ("next", &["b"], &[])]);
        assert_eq!(same.changes_from(&same), []);
    }

    #[test]
    fn a_changed_table_is_refused_stops_all_or_waits() {
        let running = plan(&[("t", table("t-log", COUNT, &["a", "b"]))], &[]);
        let change = |ours: TableSummary| plan(&[("t", ours)], &[]).changes_from(&running).remove(0);
        let types = change(table("t-log", "String by raw -> f64 by json", &["a", "b"]));
        assert!(types.effect == UpgradeEffect::Refused && types.detail.contains("run `reset`"), "{types:?}");
        let windows = change(table("t-log", &format!("{COUNT}, tumbling windows of 1m"), &["a", "b"]));
        assert!(
            windows.effect == UpgradeEffect::Refused && windows.detail.contains("revert the windows"),
            "{windows:?}"
        );
        assert_eq!(change(table("u-log", COUNT, &["a", "b"])).effect, UpgradeEffect::Refused);
        assert_eq!(change(table("t-log", COUNT, &["c"])).effect, UpgradeEffect::StopAll);
        assert_eq!(change(table("t-log", COUNT, &["b"])).effect, UpgradeEffect::Attention);
    }

    #[test]
    fn a_renamed_table_keeps_its_state_only_under_its_name() {
        let running = plan(&[("t", table("t-log", COUNT, &["a"]))], &[]);
        let renamed = plan(&[("u", table("t-log", COUNT, &["a"]))], &[]);
        assert_eq!(changes(&renamed, &running), [("table u".to_owned(), "renamed", UpgradeEffect::Refused)]);
        let other = plan(&[("u", table("u-log", COUNT, &["a"]))], &[]);
        let found = other.changes_from(&running);
        assert!(found[0].effect == UpgradeEffect::Attention && found[0].detail.contains("`t`"), "{found:?}");
        assert_eq!((found[1].name.as_str(), found[1].change), ("t", "removed"));
        let unlike = plan(&[("u", table("u-log", "u8 by raw -> u8 by json", &["a"]))], &[]);
        assert_eq!(unlike.changes_from(&running)[0].effect, UpgradeEffect::Rolling);
    }

    #[test]
    fn stages_and_topics_may_change_while_both_versions_run() {
        let running =
            plan(&[], &[("count/0", &["a"], &["a-by"]), ("count", &["a-by"], &["out"]), ("old", &["o"], &[])]);
        let ours = plan(&[], &[("count", &["a"], &["out", "more"]), ("new", &["a"], &[])]);
        let rolling = |name: &str, change| (name.to_owned(), change, UpgradeEffect::Rolling);
        let expected = [
            rolling("stage count", "changed"),
            rolling("stage new", "new"),
            rolling("stage count/0", "removed"),
            rolling("stage old", "removed"),
            rolling("topic more", "new"),
            ("topic a-by".to_owned(), "removed", UpgradeEffect::Attention),
            rolling("topic o", "removed"),
        ];
        assert_eq!(changes(&ours, &running), expected);
    }
}
