//! Tests of the layers: precedence of values, and reported faults.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::time::Duration;

use super::*;
use crate::config::StoreKind;
use crate::config::layers::Layers;
use crate::config::origin::Origin;
use crate::config::resolved::Resolved;
use crate::config::value::{BrokerUrl, ByteSize, Secret};

fn resolve(fill: impl FnOnce(&mut Layers)) -> Result<Resolved, Vec<String>> {
    let mut layers = Layers::default();
    fill(&mut layers);
    layers.resolve("orders").map_err(|errors| errors.faults().to_vec())
}

/// Resolves the settings and expects exactly these faults, each identified by the parts that it must contain.
fn faults(fill: impl FnOnce(&mut Layers), expected: &[&[&str]]) {
    let faults = resolve(fill).unwrap_err();
    assert_eq!(faults.len(), expected.len(), "{faults:#?}");
    for parts in expected {
        assert!(faults.iter().any(|fault| parts.iter().all(|part| fault.contains(part))), "{parts:?} in {faults:#?}");
    }
}

/// Parses the value of one setting, which this build may not support.
fn set(name: &str, value: &str) -> Settings {
    let mut settings = Settings::defaults("orders");
    let def = Settings::table().iter().find(|def| def.name == name).unwrap();
    (def.set)(&mut settings, value).unwrap();
    settings
}

fn variables(list: &[(&str, &str)]) -> Vec<(String, String)> {
    list.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn file(text: &str) -> tempfile::NamedTempFile {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    file
}

#[test]
fn every_default_limit_and_example_is_well_formed() {
    let mut settings = Settings::defaults("orders");
    for def in Settings::table() {
        let shown = def.show(&settings);
        if def.name != "broker_password" {
            (def.set)(&mut settings, &shown).unwrap_or_else(|why| panic!("{}: default {shown}: {why}", def.name));
            assert_eq!(def.show(&settings), shown, "{} does not read back what it shows", def.name);
        }
        (def.set)(&mut settings, def.example).unwrap_or_else(|why| panic!("{}: example: {why}", def.name));
        assert!(def.doc.ends_with('.') && !def.doc.starts_with(' '), "{}: {:?}", def.name, def.doc);
    }
    Layers::default().resolve("orders").unwrap();
}

#[test]
fn a_default_is_shown_in_its_written_form() {
    let settings = Settings::defaults("orders");
    for def in Settings::table() {
        let same = match def.name {
            "broker_password" => "",
            _ => def.default,
        };
        assert_eq!(def.show(&settings), same, "{}", def.name);
    }
}

#[test]
fn the_layer_of_highest_precedence_wins_and_is_recorded() {
    let file = file("topic_partitions = 3\nbroker_commit_interval = \"1s\"\nversion = 2\n");
    let resolved = resolve(|layers| {
        layers.command_line("topic_partitions", 5).file(file.path());
        layers.environment(variables(&[("FAUST_TOPIC_PARTITIONS", "4"), ("FAUST_BROKER_COMMIT_INTERVAL", "2s")]));
        layers.builder("topic_partitions", 2).builder("version", 9).builder("agent_max_attempts", 7);
    })
    .unwrap();
    let settings = &resolved.settings;
    assert_eq!((settings.topic_partitions, settings.version, settings.agent_max_attempts), (5, 2, 7));
    assert_eq!(settings.commit_interval(), Duration::from_secs(2));
    assert_eq!(resolved.origin("topic_partitions"), &Origin::CommandLine);
    assert_eq!(resolved.origin("broker_commit_interval").to_string(), "FAUST_BROKER_COMMIT_INTERVAL");
    assert_eq!(resolved.origin("version"), &Origin::File { path: file.path().to_owned(), line: 3 });
    assert_eq!(resolved.origin("agent_max_attempts"), &Origin::Builder);
    assert_eq!(resolved.origin("datadir"), &Origin::Default);
}

#[test]
fn the_id_makes_the_group_and_the_data_directory() {
    let first = resolve(|_| ()).unwrap().settings;
    assert_eq!((first.group().as_str(), first.datadir.to_str()), ("orders", Some("orders-data")));
    let second = resolve(|layers| _ = layers.builder("version", 2).builder("datadir", "/var/{id}")).unwrap().settings;
    assert_eq!((second.group().as_str(), second.broker_dir().to_str()), ("orders-v2", Some("/var/orders/broker")));
    for id in ["", "a b", "a/b", "..", &"x".repeat(151)] {
        assert!(Layers::default().resolve(id).unwrap_err().faults()[0].contains("app id"), "{id}");
    }
}

#[test]
fn an_unknown_name_is_a_fault_in_every_layer() {
    let file = file("brokr = \"a\"\n[web]\nport = 1\n");
    faults(
        |layers| {
            layers.builder("topic_partition", 1).file(file.path()).command_line("data_dir", "x");
            layers.environment(variables(&[("FAUST_BROKRE", "b:1"), ("FAUSTIAN", "bargain"), ("PATH", "/bin")]));
        },
        &[
            &["`topic_partition`", "builder", "did you mean `topic_partitions`?"],
            &["`brokr`", ":1)", "did you mean `broker`?"],
            &["`web`", ":2)", "a table is not allowed"],
            &["`data_dir`", "command line", "did you mean `datadir`?"],
            &["FAUST_BROKRE", "did you mean FAUST_BROKER?"],
        ],
    );
}

#[test]
fn a_bad_value_names_setting_layer_value_and_form() {
    faults(
        |layers| {
            layers.builder("topic_partitions", 0).builder("shutdown_timeout", "10");
            layers.command_line("fetch_memory", "64").command_line("on_decode_error", "ignore");
            layers.environment(variables(&[("FAUST_BROKER", "http://x"), ("FAUST_TOPIC_ALLOW_DECLARE", "maybe")]));
        },
        &[
            &["`topic_partitions`", "builder", "`0` is out of range: from `1` to `100000`"],
            &["`shutdown_timeout`", "`10` is not a duration", "expected a duration like"],
            &["`fetch_memory`", "command line", "`64` is not a size"],
            &["`on_decode_error`", "`ignore` is not one of `dead_letter`, `skip`, `stop`"],
            &["`broker`", "FAUST_BROKER", "`http://x` is not a broker address", "such as `kafka://"],
            &["FAUST_TOPIC_ALLOW_DECLARE", "`maybe` is neither"],
        ],
    );
}

#[test]
fn conflicting_settings_are_named_together() {
    faults(
        |layers| {
            layers.builder("broker_session_timeout", "3s").builder("broker_rebalance_timeout", "5m");
            layers.builder("agent_backoff_min", "60s").builder("broker_username", "me");
        },
        &[
            &["`broker_heartbeat_interval` (3s, default)", "`broker_session_timeout` (3s, builder)"],
            &["`broker_rebalance_timeout` (5m, builder)", "`broker_max_poll_interval` (5m, default)"],
            &["`agent_backoff_min` (1m)", "`agent_backoff_max` (30s)"],
            &["`broker_username`", "no effect", "`sasl_ssl`"],
        ],
    );
    faults(
        |layers| _ = layers.builder("group_protocol", "consumer").builder("broker_session_timeout", "10s"),
        &[&["`broker_session_timeout` (builder)", "`group_protocol` is `consumer`"]],
    );
    faults(|layers| _ = layers.builder("broker_security_protocol", "sasl_ssl"), &[&["PLAIN", "`broker_password`"]]);
}

#[test]
fn librdkafka_settings_are_passed_on_by_their_own_names() {
    let file = file(
        "[kafka]\nfetch.min.bytes = 1\n\"socket.keepalive.enable\" = true\n\"sasl.oauthbearer.client.secret\" = \"s\"\n",
    );
    let resolved = resolve(|layers| {
        layers.file(file.path()).environment(variables(&[("FAUST_KAFKA_FETCH_WAIT_MAX_MS", "50")]));
        layers.command_line("kafka.fetch.min.bytes", 2);
    })
    .unwrap();
    let kafka: Vec<_> = resolved.settings.kafka.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let secret = ("sasl.oauthbearer.client.secret", "s");
    let expected = [("fetch.min.bytes", "2"), ("fetch.wait.max.ms", "50"), secret, ("socket.keepalive.enable", "true")];
    assert_eq!(kafka, expected);
    assert!(resolved.explain().iter().all(|line| line.value != "s"), "a secret is shown");
    faults(
        |layers| _ = layers.builder("kafka.consumer.enable.auto.commit", true).command_line("kafka.group.id", "x"),
        &[&["`kafka.consumer.enable.auto.commit` (builder)"], &["`kafka.group.id` (command line)", "app's id"]],
    );
}

#[test]
fn faulty_librdkafka_settings_are_reported_together_and_in_the_spelling_of_their_layer() {
    let file = file("[kafka]\n\"delivery.report.only.error\" = true\nfetch.min.bites = 1\nsocket.max.fails = \"x\"\n");
    faults(
        |layers| {
            layers.file(file.path()).environment(variables(&[("FAUST_KAFKA_FETCH_MIN_BYTE", "1")]));
            layers.command_line("kafka.acks", 1).builder("kafka.producer.fetch.min.bytes", 1);
        },
        &[
            &["`kafka.delivery.report.only.error`", ":2)", "commits would wait for ever"],
            &["`kafka.fetch.min.bites`", ":3)", "did you mean `kafka.fetch.min.bytes`?"],
            &["`kafka.socket.max.fails`", ":4)", "`x` is not a whole number from `0` to `1000000`"],
            &["FAUST_KAFKA_FETCH_MIN_BYTE)", "did you mean `FAUST_KAFKA_FETCH_MIN_BYTES`?"],
            &["`kafka.acks` (command line)", "in-sync"],
            &["`kafka.producer.fetch.min.bytes` (builder)", "consumers only"],
        ],
    );
    let secret = "kafka.sasl.oauthbearer.assertion.private.key.passphrase";
    let resolved = resolve(|layers| _ = layers.builder(secret, "hunter2")).unwrap();
    assert!(resolved.explain().iter().all(|line| line.value != "hunter2"), "a secret is shown");
}

#[test]
fn the_environment_may_name_the_file_and_empty_variables_are_unset() {
    let (named, asked) = (file("version = 3"), file("version = 4"));
    let path = named.path().to_str().unwrap().to_owned();
    let others = [("FAUST_TEST_KAFKA", "localhost:1"), ("FAUST_KAFKA_HOME", "/kafka"), ("FAUST_FUZZ_CASES", "9")];
    let list = variables(&[&[("FAUST_CONFIG", path.as_str()), ("FAUST_BROKER", "")], &others[..]].concat());
    let resolved = resolve(|layers| _ = layers.environment(list.clone())).unwrap();
    assert_eq!((resolved.settings.version, resolved.settings.broker.is_none()), (3, true));
    assert!(resolved.settings.kafka.is_empty(), "{:?}", resolved.settings.kafka);
    let resolved = resolve(|layers| _ = layers.file(asked.path()).environment(list)).unwrap();
    assert_eq!(resolved.settings.version, 4);
}

#[test]
fn a_file_that_cannot_be_read_or_parsed_is_a_fault() {
    faults(|layers| _ = layers.file("/nowhere/faust.toml"), &[&["`/nowhere/faust.toml` cannot be read"]]);
    let file = file("version = 1\nbroker = [\n");
    faults(|layers| _ = layers.file(file.path()), &[&[":2: unclosed array"]]);
}

#[test]
fn a_password_is_never_shown() {
    let resolved = resolve(|layers| {
        layers.builder("broker_security_protocol", "sasl_plaintext").builder("broker_username", "me");
        layers.builder("broker_password", "hunter2");
    });
    let resolved = resolved.unwrap();
    assert_eq!(resolved.settings.broker_password.as_ref().map(Secret::reveal), Some("hunter2"));
    let shown = format!("{resolved:?} {:?}", resolved.explain());
    assert!(!shown.contains("hunter2") && shown.contains("********"), "{shown}");
}

#[test]
fn broker_addresses_have_many_forms() {
    let kafka = |list: &[&str]| Some(BrokerUrl::Kafka(list.iter().map(|text| (*text).to_owned()).collect()));
    let cases = [
        ("localhost", kafka(&["localhost:9092"])),
        ("kafka://a:1;b:2, c", kafka(&["a:1", "b:2", "c:9092"])),
        ("kafka://a,kafka://b/", kafka(&["a:9092", "b:9092"])),
        ("[::1]", kafka(&["[::1]:9092"])),
        ("[::1]:19092", kafka(&["[::1]:19092"])),
        ("memory://", Some(BrokerUrl::Memory)),
        ("embedded:///tmp/x", Some(BrokerUrl::Embedded("/tmp/x".into()))),
    ];
    for (text, expected) in cases {
        assert_eq!(set("broker", text).broker, expected, "{text}");
    }
    for text in ["http://a", "a:b", "a:0", ":9092", ",", "embedded://", "a b:1", "::1"] {
        assert!(resolve(|layers| _ = layers.builder("broker", text)).is_err(), "{text}");
    }
}

#[test]
fn stores_are_chosen_by_url() {
    let cases = [("memory://", StoreKind::Memory), ("SLED://", StoreKind::Sled), ("fjall://", StoreKind::Fjall)];
    for (text, expected) in cases {
        let settings = set("store", text);
        assert_eq!((settings.store, settings.store.to_string()), (expected, text.to_lowercase()));
    }
    for text in ["", "sled", "rocksdb://", "sled:///var/lib"] {
        faults(|layers| _ = layers.builder("store", text), &[&["`store`", "`memory://`, `sled://`, `fjall://`"]]);
    }
}

proptest::proptest! {
    /// Law: a size or a duration that is shown reads back unchanged.
    #[test]
    fn sizes_and_durations_round_trip(bytes: u64, short in 0_u64..130_000, long in 0_u64..10_000_000_000) {
        use super::value::{SettingValue, parse};
        proptest::prop_assert_eq!(parse(&ByteSize(bytes).show(), None), Ok(ByteSize(bytes)));
        for duration in [short, long].map(Duration::from_millis) {
            proptest::prop_assert_eq!(parse(&duration.show(), None), Ok(duration));
        }
    }

    /// Law: no text causes more than a fault.
    #[test]
    fn no_text_panics(text: String) {
        for def in Settings::table() {
            drop((def.set)(&mut Settings::defaults("orders"), &text));
        }
    }
}
