//! `topology`: shows the graph of topics, agents and tables as a tree, or in the format of Graphviz or Mermaid.

use std::collections::BTreeSet;
use std::fmt::Write;

use faust_core::plan::{Plan, TopicRole};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// Options of `topology`.
#[derive(clap::Args, Debug)]
pub(crate) struct TopologyArgs {
    /// Print the graph in the DOT language of Graphviz
    #[arg(long, conflicts_with = "mermaid")]
    dot: bool,
    /// Print the graph as a Mermaid flowchart, for Markdown
    #[arg(long)]
    mermaid: bool,
}

#[derive(Serialize)]
struct Topology {
    topics: Vec<Topic>,
    tables: Vec<Table>,
    stages: Vec<Stage>,
    /// Stages that use a table in common: only one of each group is inside an event at a time, in each partition.
    groups: Vec<Vec<String>>,
}

#[derive(Serialize)]
struct Table {
    name: String,
    window: Option<String>,
    changelog: String,
}

#[derive(Serialize)]
struct Topic {
    name: String,
    role: String,
}

#[derive(Serialize)]
struct Stage {
    name: String,
    agent: String,
    kind: &'static str,
    from: Vec<String>,
    to: Vec<String>,
    tables: Vec<String>,
}

pub(crate) async fn run(args: TopologyArgs, context: Context) -> Result<(), Failure> {
    let (app, mut out) = context.build()?;
    let (plan, failures) = app.partial_plan().await?;
    failures.iter().for_each(|why| out.note(format!("{why}; it is left out")));
    if out.json {
        out.object(&topology(&plan))?;
        return out.flush();
    }
    let shown = shown(&plan);
    match args {
        TopologyArgs { dot: true, .. } => out.text(dot(&shown)),
        TopologyArgs { mermaid: true, .. } => out.text(mermaid(&shown)),
        _ => out.text(tree(&shown)),
    }
}

/// Extracts the graph from a plan.
fn topology(plan: &Plan) -> Topology {
    let topics = plan.topics().map(|topic| Topic { name: topic.name().to_owned(), role: topic.role().to_string() });
    let stages = plan.stages().iter().map(|stage| Stage {
        name: stage.name().to_owned(),
        agent: stage.agent().to_owned(),
        kind: if stage.is_forward() { "forward" } else { "agent" },
        from: stage.reads().map(str::to_owned).collect(),
        to: stage.writes().to_vec(),
        tables: stage.tables().map(str::to_owned).collect(),
    });
    let tables = plan.tables().map(|table| Table {
        name: table.name().to_owned(),
        window: table.window().map(|window| window.to_string()),
        changelog: table.changelog().to_owned(),
    });
    let groups = plan.groups().into_iter().map(|stages| stages.into_iter().map(str::to_owned).collect());
    Topology { topics: topics.collect(), tables: tables.collect(), stages: stages.collect(), groups: groups.collect() }
}

/// Returns the graph without the dead-letter topic, to which every stage may write: its edges would obscure the graph.
fn shown(plan: &Plan) -> Topology {
    let mut shown = topology(plan);
    shown.topics.retain(|topic| topic.role != TopicRole::DeadLetter.to_string());
    shown
}

/// Draws a tree for each source topic: its readers, the topics that they write to, the readers of those, and so on.
fn tree(topology: &Topology) -> String {
    let (mut text, mut seen) = (String::new(), BTreeSet::new());
    let read = |topic: &&Topic| topology.stages.iter().any(|stage| stage.from.contains(&topic.name));
    let written = |topic: &Topic| topology.stages.iter().any(|stage| stage.to.contains(&topic.name));
    // Topics that no stage writes to are the roots. The topics that are not reached from them form cycles.
    let (inner, outer): (Vec<_>, Vec<_>) = topology.topics.iter().filter(read).partition(|topic| written(topic));
    for Topic { name, .. } in outer.into_iter().chain(inner) {
        if !seen.contains(name.as_str()) {
            _ = writeln!(text, "{name}");
            write_readers(topology, name, "", &mut seen, &mut text);
        }
    }
    for stages in &topology.groups {
        let names = stages.iter().map(|stage| format!("@{stage}")).collect::<Vec<_>>().join(", ");
        _ = writeln!(text, "{names}: take turns in each partition, since they use a table in common");
    }
    text
}

/// Writes the readers of a topic, and below them the topics that they write to with their readers.
fn write_readers<'a>(
    topology: &'a Topology,
    topic: &'a str,
    indent: &str,
    seen: &mut BTreeSet<&'a str>,
    text: &mut String,
) {
    // The readers of a topic are drawn only where the topic first occurs, because the graph may have cycles.
    if !seen.insert(topic) {
        return;
    }
    let readers: Vec<&Stage> =
        topology.stages.iter().filter(|stage| stage.from.iter().any(|from| from == topic)).collect();
    for (index, stage) in readers.iter().enumerate() {
        let (child, deeper) = branch(index + 1 == readers.len());
        let name =
            if stage.kind == "forward" { format!("{} (forwards)", stage.name) } else { format!("@{}", stage.name) };
        _ = writeln!(text, "{indent}{child}{name}");
        let tables = topology.tables.iter().filter(|table| stage.tables.contains(&table.name));
        for (index, table) in tables.enumerate() {
            let (leaf, _) = branch(index + 1 == stage.tables.len() + stage.to.len());
            _ = writeln!(text, "{indent}{deeper}{leaf}{}", table.title("table ", ", "));
        }
        for (index, to) in stage.to.iter().enumerate() {
            let (leaf, below) = branch(index + 1 == stage.to.len());
            _ = writeln!(text, "{indent}{deeper}{leaf}{to}");
            write_readers(topology, to, &format!("{indent}{deeper}{below}"), seen, text);
        }
    }
}

/// Returns the prefix of an item and the indentation of its children.
fn branch(last: bool) -> (&'static str, &'static str) {
    if last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

/// Draws the graph in the DOT language.
fn dot(topology: &Topology) -> String {
    let mut text = "digraph topology {\n  rankdir=LR;\n".to_owned();
    for Topic { name, role } in &topology.topics {
        _ = writeln!(text, "  {:?} [shape=cylinder, label={:?}];", format!("topic:{name}"), format!("{name}\n{role}"));
    }
    for table in &topology.tables {
        let (node, label) = (format!("table:{}", table.name), table.title("", "\n"));
        _ = writeln!(text, "  {node:?} [shape=box3d, label={label:?}];");
        _ = writeln!(text, "  {node:?} -> {:?} [style=dashed];", format!("topic:{}", table.changelog));
    }
    for stage in &topology.stages {
        let node = format!("stage:{}", stage.name);
        _ = writeln!(text, "  {node:?} [shape=box, label={:?}];", stage.name);
        stage.from.iter().for_each(|topic| _ = writeln!(text, "  {:?} -> {node:?};", format!("topic:{topic}")));
        stage.to.iter().for_each(|topic| _ = writeln!(text, "  {node:?} -> {:?};", format!("topic:{topic}")));
        let edge = |table: &String| format!("  {node:?} -> {:?} [dir=both];\n", format!("table:{table}"));
        text.extend(stage.tables.iter().map(edge));
    }
    for (number, stages) in topology.groups.iter().enumerate() {
        let nodes: String = stages.iter().map(|stage| format!(" {:?};", format!("stage:{stage}"))).collect();
        _ = writeln!(text, "  subgraph cluster_{number} {{ label=\"take turns\"; style=dotted;{nodes} }}");
    }
    text + "}\n"
}

/// Draws the graph as a Mermaid flowchart.
fn mermaid(topology: &Topology) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let topic = |name: &str| topology.topics.iter().position(|topic| topic.name == name);
    for (number, Topic { name, role }) in topology.topics.iter().enumerate() {
        _ = writeln!(text, "  t{number}[(\"{name}<br>{role}\")]");
    }
    let table = |name: &str| topology.tables.iter().position(|table| table.name == name);
    for (number, table) in topology.tables.iter().enumerate() {
        _ = writeln!(text, "  b{number}[[\"{}\"]]", table.title("", "<br>"));
        topic(&table.changelog).into_iter().for_each(|to| _ = writeln!(text, "  b{number} -.-> t{to}"));
    }
    for (number, stage) in topology.stages.iter().enumerate() {
        _ = writeln!(text, "  s{number}[\"{}\"]", stage.name);
        stage.from.iter().filter_map(|name| topic(name)).for_each(|from| _ = writeln!(text, "  t{from} --> s{number}"));
        stage.to.iter().filter_map(|name| topic(name)).for_each(|to| _ = writeln!(text, "  s{number} --> t{to}"));
        let tables = stage.tables.iter().filter_map(|name| table(name));
        tables.for_each(|table| _ = writeln!(text, "  s{number} <--> b{table}"));
    }
    let stage = |name: &String| topology.stages.iter().position(|stage| stage.name == *name);
    for (number, stages) in topology.groups.iter().enumerate() {
        let nodes: String = stages.iter().filter_map(stage).map(|stage| format!("    s{stage}\n")).collect();
        _ = writeln!(text, "  subgraph g{number} [take turns]\n{nodes}  end");
    }
    text
}

impl Table {
    /// Returns the name of the table, followed by its window if it has one.
    fn title(&self, before: &str, between: &str) -> String {
        match &self.window {
            Some(window) => format!("{before}{}{between}{window}", self.name),
            None => format!("{before}{}", self.name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Topology {
        let topic = |name: &str, role: TopicRole| Topic { name: name.to_owned(), role: role.to_string() };
        let stage = |name: &str, kind, from: &str, to: &[&str]| Stage {
            name: name.to_owned(),
            agent: name.to_owned(),
            kind,
            from: vec![from.to_owned()],
            to: to.iter().map(|topic| (*topic).to_owned()).collect(),
            tables: if kind == "agent" && to.is_empty() { vec!["counts".to_owned()] } else { Vec::new() },
        };
        let topics = [
            ("clicks", TopicRole::Source),
            ("by-uri", TopicRole::Internal),
            ("popular", TopicRole::Output),
            ("log", TopicRole::Changelog),
        ];
        let table =
            Table { name: "counts".to_owned(), window: Some("tumbling 10s".to_owned()), changelog: "log".to_owned() };
        Topology {
            tables: vec![table],
            topics: topics.map(|(name, role)| topic(name, role)).into(),
            stages: vec![
                stage("count/0", "forward", "clicks", &["by-uri"]),
                stage("count", "agent", "by-uri", &[]),
                stage("filter", "agent", "clicks", &["popular", "clicks"]),
            ],
            groups: Vec::new(),
        }
    }

    #[test]
    fn a_tree_shows_the_readers_of_each_topic_once() {
        let expected = "\
clicks
├─ count/0 (forwards)
│  └─ by-uri
│     └─ @count
│        └─ table counts, tumbling 10s
└─ @filter
   ├─ popular
   └─ clicks
";
        let mut example = example();
        assert_eq!(tree(&example), expected);
        // A topic that the app writes to is drawn below its writer, and not again at the top level.
        example.stages[1].to.push("more".to_owned());
        example.topics.push(Topic { name: "more".to_owned(), role: TopicRole::Source.to_string() });
        example.stages.push(Stage { from: vec!["more".to_owned()], to: vec![], ..example_stage("last") });
        assert!(tree(&example).ends_with(
            "│     └─ @count\n│        ├─ table counts, tumbling 10s\n│        └─ more\n│           └─ @last\n└─ @filter\n   ├─ popular\n   └─ clicks\n"
        ));
    }

    #[test]
    fn groups_of_stages_that_take_turns_are_shown() {
        let mut example = example();
        example.groups.push(vec!["count".to_owned(), "filter".to_owned()]);
        let shown = "@count, @filter: take turns in each partition, since they use a table in common\n";
        assert!(tree(&example).ends_with(shown));
        let cluster =
            "  subgraph cluster_0 { label=\"take turns\"; style=dotted; \"stage:count\"; \"stage:filter\"; }\n}\n";
        assert!(dot(&example).ends_with(cluster), "{}", dot(&example));
        assert!(mermaid(&example).ends_with("  subgraph g0 [take turns]\n    s1\n    s2\n  end\n"));
    }

    fn example_stage(name: &str) -> Stage {
        Stage { name: name.to_owned(), agent: name.to_owned(), kind: "agent", from: vec![], to: vec![], tables: vec![] }
    }

    #[test]
    fn dot_and_mermaid_contain_all_nodes_and_edges() {
        let dot = dot(&example());
        assert!(
            dot.contains(r#""topic:clicks" -> "stage:count/0";"#)
                && dot.contains(r#""stage:count/0" -> "topic:by-uri";"#)
        );
        assert!(dot.contains(r#"[shape=cylinder, label="popular\noutput"]"#), "{dot}");
        let mermaid = mermaid(&example());
        assert!(dot.contains(r#""table:counts" -> "topic:log" [style=dashed];"#), "{dot}");
        assert!(dot.contains(r#""stage:count" -> "table:counts" [dir=both];"#), "{dot}");
        assert_eq!(mermaid.matches(" --> ").count(), 6);
        assert!(mermaid.contains("b0[[\"counts<br>tumbling 10s\"]]\n  b0 -.-> t3\n"), "{mermaid}");
        assert!(mermaid.contains("  s1 <--> b0\n"), "{mermaid}");
        assert!(mermaid.contains("  t0 --> s0\n  s0 --> t1\n"), "{mermaid}");
    }
}
