//! The groups of stages: those that use a table in common, directly or through others, take turns and are sealed together.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::model::{Plan, PlannedStage};

impl Plan {
    /// Returns the groups of stages that use a table in common, directly or through others, and take turns in each partition:
    /// the names of each group's stages. Groups of a single stage are not included.
    pub fn groups(&self) -> Vec<Vec<&str>> {
        let groups = stage_groups(self.stages().to_vec()).into_iter().filter(|stages| stages.len() > 1);
        let name =
            |stage: PlannedStage| self.stages().iter().map(PlannedStage::name).find(|name| **name == *stage.name);
        groups.map(|stages| stages.into_iter().filter_map(name).collect()).collect()
    }
}

/// Divides stages into groups. A stage without tables is a group of its own.
pub(crate) fn stage_groups(stages: Vec<PlannedStage>) -> Vec<Vec<PlannedStage>> {
    let mut groups: Vec<(BTreeSet<Arc<str>>, Vec<PlannedStage>)> = Vec::new();
    for stage in stages {
        let mut tables: BTreeSet<_> = stage.tables.iter().cloned().collect();
        let (joined, apart): (Vec<_>, Vec<_>) = groups.into_iter().partition(|(used, _)| !used.is_disjoint(&tables));
        let mut members = Vec::new();
        for (used, stages) in joined {
            tables.extend(used);
            members.extend(stages);
        }
        members.push(stage);
        groups = apart;
        groups.push((tables, members));
    }
    groups.into_iter().map(|(_, stages)| stages).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stage(name: &'static str, tables: &[&str]) -> PlannedStage {
        let tables = tables.iter().map(|table| Arc::from(*table)).collect();
        PlannedStage { tables, ..PlannedStage::idle(name, &["t"]) }
    }

    #[test]
    fn stages_are_grouped_by_their_tables() {
        let stages = vec![
            stage("a", &["x"]),
            stage("b", &[]),
            stage("c", &["y"]),
            stage("d", &["z"]),
            stage("e", &["x", "y"]),
            stage("f", &[]),
        ];
        let names =
            |group: Vec<PlannedStage>| group.iter().map(|stage| stage.name.to_string()).collect::<Vec<_>>().concat();
        let groups: Vec<_> = stage_groups(stages).into_iter().map(names).collect();
        assert_eq!(groups, ["b", "d", "ace", "f"]);
    }
}
