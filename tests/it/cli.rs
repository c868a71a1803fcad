//! Tests of the commands, run as processes on a cluster.

use serde_json::{Value, json};

use crate::harness::{Cluster, LONG, Message, Process, Program, wait_for};

/// Returns a program with one agent, connected to the cluster.
fn program(cluster: &Cluster) -> Program {
    let version = std::process::id().to_string();
    Program::example("filter", cluster.dir("cli")).on(cluster).setting("version", &version)
}

/// Runs a command that must succeed, and returns the lines of its standard output.
async fn run(cluster: &Cluster, args: &[&str]) -> Vec<String> {
    program(cluster).args(args.iter().copied()).run().await.success().stdout
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sent_messages_are_consumed_with_key_headers_partition_and_timestamp() {
    let cluster = Cluster::start().await;
    cluster.create("cli-round", 3).await;
    let send = ["send", "cli-round", "{\"a\": 1}", "-k", "key é", "--header", "a=1", "--header", "b=c=d"];
    run(&cluster, &[&send[..], &["--partition", "2", "--timestamp", "1700000000123"]].concat()).await;
    let sent = Message::of("{\"a\": 1}").key("key é").to(2).at(1_700_000_000_123).header("a", "1").header("b", "c=d");
    assert_eq!(cluster.read("cli-round").await, [sent]);
    let all = ["consume", "cli-round", "--from-beginning", "-n", "1"];
    assert_eq!(run(&cluster, &all).await, ["{\"a\": 1}"]);
    assert_eq!(run(&cluster, &[&all[..], &["--keys"]].concat()).await, ["key é\t{\"a\": 1}"]);
    let line = run(&cluster, &[&all[..], &["--json"]].concat()).await;
    let expected = json!({
        "topic": "cli-round", "partition": 2, "offset": 0, "timestamp": 1_700_000_000_123_i64,
        "key": "key é", "value": "{\"a\": 1}", "headers": [["a", "1"], ["b", "c=d"]],
    });
    assert_eq!(serde_json::from_str::<Value>(&line[0]).unwrap(), expected);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn send_repeats_messages_reads_lines_and_reports_invalid_arguments() {
    let cluster = Cluster::start().await;
    cluster.create("cli-send", 1).await;
    run(&cluster, &["send", "cli-send", "again", "--repeat", "3"]).await;
    program(&cluster).args(["send", "cli-send", "-", "--key", "k"]).stdin("one\n\ntwo é\nlast").run().await.success();
    assert_eq!(cluster.texts("cli-send").await, ["again", "again", "again", "one", "", "two é", "last"]);
    let refused = program(&cluster).args(["send", "cli-send", "x", "--partition", "7"]).run().await.expect_code(1);
    assert_eq!(refused.errors(), "error: topic `cli-send` has partitions 0 to 0, not 7");
    let refused = program(&cluster).args(["send", "cli-send", "x", "--header", "novalue"]).run().await.expect_code(2);
    assert!(refused.errors().contains("write it as name=value"), "{}", refused.errors());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consume_starts_at_the_end_or_the_beginning_and_exits_after_count_or_timeout() {
    let cluster = Cluster::start().await;
    cluster.create("cli-consume", 1).await;
    cluster.produce("cli-consume", ["old 1", "old 2", "old 3"].map(Message::of)).await;
    let mut consume = program(&cluster).args(["consume", "cli-consume", "-n", "1"]).spawn();
    // The consumer may need some time to reach the end of the topic. It then receives new messages.
    wait_for("the end of consume", LONG, async || {
        cluster.produce("cli-consume", [Message::of("new")]).await;
        consume.ended().is_some()
    })
    .await;
    assert_eq!(consume.wait().await.success().stdout, ["new"]);
    let too_many = ["consume", "cli-consume", "--from-beginning", "-n", "100000", "--timeout", "500ms"];
    let ended = program(&cluster).args(too_many).run().await.expect_code(1);
    let count = ended.stdout.len();
    assert_eq!(ended.errors(), format!("error: timed out after {count} of 100000 messages of topic `cli-consume`"));
    let all = run(&cluster, &["consume", "cli-consume", "--from-beginning", "--timeout", "500ms"]).await;
    assert_eq!(all, cluster.texts("cli-consume").await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_pipe_ends_a_command_silently() {
    let cluster = Cluster::start().await;
    cluster.create("com.udacity.streams.clickevents.head", 1).await;
    cluster.produce("com.udacity.streams.clickevents.head", (0..50_000).map(|n| Message::of(n.to_string()))).await;
    let line =
        r#""$0" consume com.udacity.streams.clickevents.head --from-beginning | head -n 2; echo "${PIPESTATUS[0]}""#;
    let ended = program(&cluster).shell(line).await.success();
    assert_eq!((ended.stdout.as_slice(), &*ended.errors()), (&["0", "1", "0"].map(str::to_owned)[..], ""));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_are_printed_as_json() {
    let cluster = Cluster::start().await;
    cluster.create("com.udacity.streams.clickevents.popular", 2).await;
    let json = async |args: &[&str]| {
        let ended = program(&cluster).args(args.iter().copied()).args(["--json"]).run().await.success();
        assert_eq!(ended.errors(), "");
        ended.json()
    };
    let agents = json(&["agents"]).await;
    assert_eq!(agents[0]["name"], "clickevent");
    assert_eq!(agents[0]["topics"], json!(["com.udacity.streams.clickevents"]));
    assert_eq!(json(&["models"]).await[0]["name"], "ClickEvent");
    let fields: Vec<_> =
        json(&["model", "ClickEvent"]).await.as_array().unwrap().iter().map(|f| f["field"].clone()).collect();
    assert_eq!(fields, ["email", "timestamp", "uri", "number"]);
    let topics = json(&["topics"]).await;
    let popular = topics.as_array().unwrap().iter().find(|t| t["topic"] == "com.udacity.streams.clickevents.popular");
    assert_eq!(popular.unwrap()["partitions"], 2, "{topics}");
    let topology = json(&["topology"]).await;
    assert_eq!(topology["stages"][0]["to"], json!(["com.udacity.streams.clickevents.popular"]));
    let settings = json(&["settings", "--set", "version=3"]).await;
    let find = |name: &str| settings.as_array().unwrap().iter().find(|s| s["name"] == name).unwrap().clone();
    assert_eq!((&find("version")["value"], &find("version")["layer"]), (&json!("3"), &json!("command line")));
    assert_eq!(
        (&find("broker")["value"], &find("broker")["origin"]),
        (&json!(format!("kafka://{}", cluster.bootstrap())), &json!("FAUST_BROKER"))
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mistakes_are_reported_in_one_line_and_by_the_exit_code() {
    let dir = tempfile::tempdir().unwrap();
    let program = || Program::example("filter", dir.path());
    let cases: [(&[&str], i32, &str); 5] = [
        (
            &["topics"],
            1,
            "error: no broker is running for app `filter` (looked in `filter-data/broker`): start `worker` or `broker`, or set FAUST_BROKER",
        ),
        (
            &["send", "t", "v"],
            1,
            "error: no broker is running for app `filter` (looked in `filter-data/broker`): start `worker` or `broker`, or set FAUST_BROKER",
        ),
        (
            &["consume", "t"],
            1,
            "error: no broker is running for app `filter` (looked in `filter-data/broker`): start `worker` or `broker`, or set FAUST_BROKER",
        ),
        (&["--set", "borker=x", "agents"], 1, "error: unknown setting `borker` (command line): did you mean `broker`?"),
        (&["model", "Clack"], 1, "error: no model `Clack`: the command `models` lists them all"),
    ];
    for (args, code, text) in cases {
        let ended = program().args(args.iter().copied()).run().await.expect_code(code);
        assert!(ended.errors().starts_with(text), "{args:?} printed:\n{}", ended.errors());
        assert_eq!(ended.stdout, [""; 0]);
    }
    let ended = program().setting("borker", "x").args(["agents"]).run().await.expect_code(1);
    assert!(ended.errors().contains("unknown setting `borker` (FAUST_BORKER)"), "{}", ended.errors());
    program().args(["wroker"]).run().await.expect_code(2);
    let help = program().run().await.success();
    for word in ["filter worker", "filter send", "--until-idle", "--from-beginning", "--json"] {
        assert!(help.stdout.iter().any(|line| line.contains(word)), "{word} is missing in the help");
    }
}

/// Starts a worker of the example `filter`, and waits until its partitions have been assigned.
async fn worker(cluster: &Cluster) -> Process {
    let mut worker = program(cluster).args(["worker"]).spawn();
    worker.wait_for_line("assigned: com.udacity").await;
    worker
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_one_interrupt_drains_and_a_second_exits_immediately() {
    let mut cluster = Cluster::durable().await;
    let worker_one = worker(&cluster).await;
    worker_one.interrupt();
    let ended = worker_one.wait().await.success();
    assert!(ended.errors().contains("draining; press Ctrl-C again to exit immediately"), "{}", ended.errors());
    // With events in progress and no broker, the worker cannot drain.
    let mut worker_two = worker(&cluster).await;
    let click = r#"{"email":"a","timestamp":"b","uri":"/","number":100}"#;
    cluster.produce("com.udacity.streams.clickevents", (0..20_000).map(|_| Message::of(click))).await;
    cluster.stop_broker();
    worker_two.wait_for_line("the broker is unavailable").await;
    worker_two.interrupt();
    worker_two.wait_for_line("draining; press Ctrl-C again").await;
    worker_two.interrupt();
    worker_two.wait().await.expect_code(130);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_an_interrupt_while_waiting_for_the_broker_exits_with_success() {
    let dir = tempfile::tempdir().unwrap();
    let waiting = Program::example("filter", dir.path()).args(["worker", "--broker", "127.0.0.1:1"]);
    let mut waiting = waiting.spawn();
    waiting.wait_for_line("waiting for the broker").await;
    waiting.interrupt();
    waiting.wait().await.success();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_client_says_what_it_waits_for_and_continues_when_the_broker_is_there() {
    let mut cluster = Cluster::durable().await;
    cluster.stop_broker();
    let clicks = Program::example("clicks", cluster.dir("clicks")).on(&cluster).args(["1", "0", "5"]);
    let mut clicks = clicks.spawn();
    let report = clicks.wait_for_line("waiting for the broker").await;
    let expected = format!("faust: waiting for the broker: no answer yet from {}: ", cluster.bootstrap());
    assert!(report.starts_with(&expected), "{report}");
    assert!(report.contains("Connection refused; start the broker, or set `broker` (FAUST_BROKER"), "{report}");
    cluster.start_broker();
    clicks.wait().await.success();
    assert_eq!(cluster.texts(CLICKS).await.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_a_client_reports_a_broker_that_goes_away() {
    let mut cluster = Cluster::durable().await;
    let mut clicks = Program::example("clicks", cluster.dir("clicks")).on(&cluster).args(["1", "100"]).spawn();
    wait_for("clicks", LONG, async || cluster.partitions(CLICKS).await.is_some() && cluster.count(CLICKS).await > 0)
        .await;
    cluster.stop_broker();
    let report = clicks.wait_for_line("waiting for the delivery of messages").await;
    assert!(report.contains(cluster.bootstrap()), "{report}");
    assert!(clicks.ended().is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_consume_reports_a_broker_that_goes_away() {
    let mut cluster = Cluster::durable().await;
    cluster.create("cli-away", 1).await;
    cluster.produce("cli-away", [Message::of("before")]).await;
    let mut consume = program(&cluster).args(["consume", "cli-away", "--from-beginning", "-n", "2"]).spawn();
    consume.wait_for_line("before").await;
    cluster.stop_broker();
    consume.wait_for_line("waiting for the broker").await;
    cluster.start_broker();
    cluster.produce("cli-away", [Message::of("after")]).await;
    assert_eq!(consume.wait().await.success().stdout, ["before", "after"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn logs_are_json_on_request_and_separate_from_data() {
    let cluster = Cluster::start().await;
    cluster.create("com.udacity.streams.clickevents.json", 1).await;
    let args = ["worker", "--until-idle", "500ms", "--log-format", "json", "--quiet", "--loglevel", "info"];
    let ended = program(&cluster).setting("topic_partitions", "1").args(args).run().await.success();
    assert_eq!(ended.stdout, [""; 0]);
    assert!(!ended.stderr.is_empty());
    for line in &ended.stderr {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|why| panic!("{why}: {line}"));
        assert!(line["level"].is_string() && line["timestamp"].is_string(), "{line}");
    }
}

/// Returns an example with tables, connected to the cluster.
fn tables(cluster: &Cluster, version: u32) -> Program {
    let version = version.to_string();
    Program::example("tables", cluster.dir("tables")).on(cluster).setting("version", &version)
}

const CLICKS: &str = "com.udacity.streams.clickevents";

fn click(number: i64) -> Message {
    Message::of(json!({"email": "", "timestamp": "", "uri": "/", "number": number}).to_string()).to(0)
}

/// Starts an embedded broker with two clicks. On a shared Kafka, the state of other users of the example would be found, too.
async fn with_clicks() -> Cluster {
    let cluster = Cluster::durable().await;
    cluster.create(CLICKS, 2).await;
    cluster.produce(CLICKS, [1, 2].map(click)).await;
    cluster
}

/// Runs its worker until all messages are read, and returns its printed lines, sorted.
async fn sum_up(cluster: &Cluster, version: u32) -> Vec<String> {
    let ended = tables(cluster, version).args(["worker", "--until-idle", "1s"]).run().await.success();
    let mut lines = ended.stdout;
    lines.sort();
    lines
}

/// Runs a command that removes items, and returns `what` and `name` of each.
async fn rows(program: Program, args: &[&str]) -> Vec<String> {
    let ended = program.args(args.iter().copied()).args(["--yes", "--json"]).run().await.success();
    let row = |row: &Value| format!("{} {}", row["what"].as_str().unwrap(), row["name"].as_str().unwrap());
    ended.json().as_array().unwrap().iter().map(row).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_reset_and_clean_versions_remove_state_topics_and_groups() {
    let cluster = with_clicks().await;
    let (version, group) = (2, "tables-v2");
    assert_eq!(sum_up(&cluster, version).await, ["/: 1", "/: 3"]);
    let state = "state tables-data/worker-1/state-v2";
    assert_eq!(rows(tables(&cluster, version), &["reset"]).await, [state]);
    cluster.produce(CLICKS, [click(4)]).await;
    assert_eq!(sum_up(&cluster, version).await, ["/: 7"]);

    let mut worker = tables(&cluster, version).args(["worker"]).spawn();
    worker.wait_for_line("assigned: ").await;
    let elsewhere = tables(&cluster, version).args(["reset", "--topics", "--yes", "--datadir", "elsewhere"]);
    let refused = elsewhere.run().await.expect_code(1).errors();
    assert!(refused.contains("group `tables-v2` has a member"), "{refused}");
    worker.interrupt();
    worker.wait().await.success();
    let expected = [
        "group tables-v2",
        state,
        "topic tables-v2-clickevent-uri-repartition",
        "topic tables-v2-control",
        "topic tables-v2-uri_summary-changelog",
    ];
    assert_eq!(rows(tables(&cluster, version), &["reset", "--topics"]).await, expected);
    assert_eq!(cluster.committed(group, CLICKS).await.len(), 0);
    assert_eq!(sum_up(&cluster, version).await, ["/: 1", "/: 3", "/: 7"]);

    assert_eq!(sum_up(&cluster, 3).await, ["/: 1", "/: 3", "/: 7"]);
    assert_eq!(rows(tables(&cluster, 3), &["clean-versions"]).await, expected);
    assert_eq!(sum_up(&cluster, 3).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_recover_takes_the_state_up_again_after_the_offsets_have_expired() {
    let cluster = with_clicks().await;
    let (version, group) = (4, "tables-v4");
    assert_eq!(sum_up(&cluster, version).await, ["/: 1", "/: 3"]);
    let nothing = tables(&cluster, version).args(["recover"]).run().await.success();
    assert!(nothing.errors().contains("there is nothing to recover"), "{}", nothing.errors());

    cluster.delete_group(group).await;
    // A message that has arrived since.
    cluster.produce(CLICKS, [click(8)]).await;
    let refused = tables(&cluster, version).args(["worker", "--until-idle", "1s"]).run().await.expect_code(1).errors();
    assert!(refused.contains("run `recover` to continue from the last commit"), "{refused}");
    let refused = tables(&cluster, version).args(["recover", "--yes"]).run().await.expect_code(1).errors();
    assert!(
        refused.contains("such as com.udacity.streams.clickevents[0]") && refused.contains("--others"),
        "{refused}"
    );
    let refused = tables(&cluster, version).args(["recover", "--others", "latest"]).run().await.expect_code(1).errors();
    assert!(refused.contains("pass `--yes`"), "{refused}");
    let rows = tables(&cluster, version).args(["recover", "--others", "latest", "--yes", "--json"]).run().await;
    let rows = rows.success().json();
    let rows: Vec<(String, i64, String)> = rows
        .as_array()
        .unwrap()
        .iter()
        .map(|row| {
            let text = |name: &str| row[name].as_str().unwrap().to_owned();
            (text("topic"), row["offset"].as_i64().unwrap(), text("from"))
        })
        .collect();
    let of_table = ("tables-v4-clickevent-uri-repartition".to_owned(), "changelog".to_owned());
    let from: Vec<_> = rows.iter().map(|(topic, _, from)| (topic.clone(), from.clone())).collect();
    assert_eq!(from, [(CLICKS.to_owned(), "--others".to_owned()), of_table]);
    // A transaction ends in an offset of its own.
    assert!(rows[0].1 == 3 && (2..=3).contains(&rows[1].1), "{rows:?}");
    cluster.produce(CLICKS, [click(4)]).await;
    assert_eq!(sum_up(&cluster, version).await, ["/: 7"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn embedded_recover_takes_the_state_up_again_after_a_topic_was_created_again() {
    let cluster = with_clicks().await;
    let (version, log) = (5, "tables-v5-clickevent-uri-repartition");
    assert_eq!(sum_up(&cluster, version).await, ["/: 1", "/: 3"]);
    // An empty log has no identity, and the first worker has found an empty one.
    cluster.produce(CLICKS, [click(4)]).await;
    assert_eq!(sum_up(&cluster, version).await, ["/: 7"]);
    let messages = cluster.read(log).await;
    cluster.delete(log).await;
    cluster.create(log, 2).await;
    // The new log is longer than the position in the former one.
    cluster.produce(log, messages.iter().chain(&messages).cloned()).await;
    let refused = tables(&cluster, version).args(["worker", "--until-idle", "1s"]).run().await.expect_code(1).errors();
    assert!(refused.contains("run `recover` to continue from the last commit"), "{refused}");
    let recovered = tables(&cluster, version).args(["recover", "--yes", "--json"]).run().await.success().json();
    let rows: Vec<_> = recovered.as_array().unwrap().iter().filter(|row| row["behind"] == 6).collect();
    let [row] = rows[..] else { panic!("{recovered}") };
    assert_eq!(
        (row["topic"].as_str(), row["offset"].as_i64(), row["from"].as_str()),
        (Some(log), Some(0), Some("new log"))
    );
    assert_eq!(sum_up(&cluster, version).await, ["/: 10", "/: 14", "/: 15", "/: 17", "/: 21", "/: 8"]);
    assert_eq!(sum_up(&cluster, version).await, [""; 0]);
}
