//! `topology`: how topics and agents hang together, as a tree or for a drawing program.

use std::collections::BTreeSet;
use std::fmt::Write;

use faust_core::plan::{Plan, Role};
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
    stages: Vec<Stage>,
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
    });
    Topology { topics: topics.collect(), stages: stages.collect() }
}

/// For people: the dead-letter topic, to which every stage may write, would only be in the way.
fn shown(plan: &Plan) -> Topology {
    let mut shown = topology(plan);
    shown.topics.retain(|topic| topic.role != Role::DeadLetter.to_string());
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
    for stage in &topology.stages {
        let node = format!("stage:{}", stage.name);
        _ = writeln!(text, "  {node:?} [shape=box, label={:?}];", stage.name);
        stage.from.iter().for_each(|topic| _ = writeln!(text, "  {:?} -> {node:?};", format!("topic:{topic}")));
        stage.to.iter().for_each(|topic| _ = writeln!(text, "  {node:?} -> {:?};", format!("topic:{topic}")));
    }
    text + "}\n"
}

fn mermaid(topology: &Topology) -> String {
    let mut text = "flowchart LR\n".to_owned();
    let topic = |name: &str| topology.topics.iter().position(|topic| topic.name == name);
    for (number, Topic { name, role }) in topology.topics.iter().enumerate() {
        _ = writeln!(text, "  t{number}[(\"{name}<br>{role}\")]");
    }
    for (number, stage) in topology.stages.iter().enumerate() {
        _ = writeln!(text, "  s{number}[\"{}\"]", stage.name);
        stage.from.iter().filter_map(|name| topic(name)).for_each(|from| _ = writeln!(text, "  t{from} --> s{number}"));
        stage.to.iter().filter_map(|name| topic(name)).for_each(|to| _ = writeln!(text, "  s{number} --> t{to}"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Topology {
        let topic = |name: &str, role: Role| Topic { name: name.to_owned(), role: role.to_string() };
        let stage = |name: &str, kind, from: &str, to: &[&str]| Stage {
            name: name.to_owned(),
            agent: name.to_owned(),
            kind,
            from: vec![from.to_owned()],
            to: to.iter().map(|topic| (*topic).to_owned()).collect(),
        };
        let topics = [("clicks", Role::Source), ("by-uri", Role::Internal), ("popular", Role::Output)];
        Topology {
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
└─ @filter
   ├─ popular
   └─ clicks
";
        let mut example = example();
        assert_eq!(tree(&example), expected);
        // A topic of the app's own is drawn below its writer, and not again at the top.
        example.stages[1].to.push("more".to_owned());
        example.topics.push(Topic { name: "more".to_owned(), role: Role::Source.to_string() });
        example.stages.push(Stage { from: vec!["more".to_owned()], to: vec![], ..example_stage("last") });
        assert!(tree(&example).ends_with(
            "│     └─ @count\n│        └─ more\n│           └─ @last\n└─ @filter\n   ├─ popular\n   └─ clicks\n"
        ));
    }

    fn example_stage(name: &str) -> Stage {
        Stage { name: name.to_owned(), agent: name.to_owned(), kind: "agent", from: vec![], to: vec![] }
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
        assert_eq!(mermaid.matches("-->").count(), 6);
        assert!(mermaid.contains("  t0 --> s0\n  s0 --> t1\n"), "{mermaid}");
    }
}
