//! `topology`: how topics and agents hang together, as a tree or for a drawing program.

use std::collections::BTreeSet;
use std::fmt::Write;

use faust_core::plan::{Plan, TopicRole};
use serde::Serialize;

use crate::context::Context;
use crate::failure::Failure;

/// The form to print.
#[derive(clap::Args, Debug)]
pub(crate) struct Args {
    /// For Graphviz
    #[arg(long, conflicts_with = "mermaid")]
    dot: bool,
    /// For Mermaid, as in Markdown
    #[arg(long)]
    mermaid: bool,
}

#[derive(Serialize)]
struct Topology {
    topics: Vec<Topic>,
    tables: Vec<Table>,
    stages: Vec<Stage>,
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

pub(crate) async fn run(args: Args, context: Context) -> Result<(), Failure> {
    let (app, mut out) = context.build()?;
    let plan = app.plan().await?;
    if out.json {
        out.object(&topology(&plan))?;
        return out.flush();
    }
    let shown = shown(&plan);
    match args {
        Args { dot: true, .. } => out.text(dot(&shown)),
        Args { mermaid: true, .. } => out.text(mermaid(&shown)),
        _ => out.text(tree(&shown)),
    }
}

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
    Topology { topics: topics.collect(), tables: tables.collect(), stages: stages.collect() }
}

/// For people: the dead-letter topic, to which every stage may write, would only be in the way.
fn shown(plan: &Plan) -> Topology {
    let mut shown = topology(plan);
    shown.topics.retain(|topic| topic.role != TopicRole::DeadLetter.to_string());
    shown
}

/// Each source topic with what reads it, what those write, what reads that.
fn tree(topology: &Topology) -> String {
    let (mut text, mut seen) = (String::new(), BTreeSet::new());
    let read = |topic: &&Topic| topology.stages.iter().any(|stage| stage.from.contains(&topic.name));
    let written = |topic: &Topic| topology.stages.iter().any(|stage| stage.to.contains(&topic.name));
    // What nobody writes comes first; what is left then is read and written in a circle.
    let (inner, outer): (Vec<_>, Vec<_>) = topology.topics.iter().filter(read).partition(|topic| written(topic));
    for Topic { name, .. } in outer.into_iter().chain(inner) {
        if !seen.contains(name.as_str()) {
            _ = writeln!(text, "{name}");
            branch(topology, name, "", &mut seen, &mut text);
        }
    }
    text
}

fn branch<'a>(topology: &'a Topology, topic: &'a str, indent: &str, seen: &mut BTreeSet<&'a str>, text: &mut String) {
    // What hangs on a topic is drawn where it first occurs: an app may read what it writes, without end.
    if !seen.insert(topic) {
        return;
    }
    let readers: Vec<&Stage> =
        topology.stages.iter().filter(|stage| stage.from.iter().any(|from| from == topic)).collect();
    for (index, stage) in readers.iter().enumerate() {
        let (twig, deeper) = limb(index + 1 == readers.len());
        let name =
            if stage.kind == "forward" { format!("{} (forwards)", stage.name) } else { format!("@{}", stage.name) };
        _ = writeln!(text, "{indent}{twig}{name}");
        let tables = topology.tables.iter().filter(|table| stage.tables.contains(&table.name));
        for (index, table) in tables.enumerate() {
            let (leaf, _) = limb(index + 1 == stage.tables.len() + stage.to.len());
            _ = writeln!(text, "{indent}{deeper}{leaf}{}", table.title("table ", ", "));
        }
        for (index, to) in stage.to.iter().enumerate() {
            let (leaf, below) = limb(index + 1 == stage.to.len());
            _ = writeln!(text, "{indent}{deeper}{leaf}{to}");
            branch(topology, to, &format!("{indent}{deeper}{below}"), seen, text);
        }
    }
}

/// What stands before an item, and before what hangs on it.
fn limb(last: bool) -> (&'static str, &'static str) {
    if last { ("└─ ", "   ") } else { ("├─ ", "│  ") }
}

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
    text + "}\n"
}

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
    text
}

impl Table {
    /// Its name, and its windows if it has any.
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
        }
    }

    #[test]
    fn a_tree_shows_who_reads_what_and_ends_where_it_comes_back() {
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
        // A topic of the app's own is drawn below its writer, and not again at the top.
        example.stages[1].to.push("more".to_owned());
        example.topics.push(Topic { name: "more".to_owned(), role: TopicRole::Source.to_string() });
        example.stages.push(Stage { from: vec!["more".to_owned()], to: vec![], ..example_stage("last") });
        assert!(tree(&example).ends_with(
            "│     └─ @count\n│        ├─ table counts, tumbling 10s\n│        └─ more\n│           └─ @last\n└─ @filter\n   ├─ popular\n   └─ clicks\n"
        ));
    }

    fn example_stage(name: &str) -> Stage {
        Stage { name: name.to_owned(), agent: name.to_owned(), kind: "agent", from: vec![], to: vec![], tables: vec![] }
    }

    #[test]
    fn the_drawings_have_every_node_and_arrow() {
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
