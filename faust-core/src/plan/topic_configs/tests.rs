//! Tests of the configurations: new topics name them, and existing ones are checked.

#![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

use super::*;
use crate::config::Layers;
use crate::plan::model::Plan;

fn settings() -> Settings {
    Layers::default().resolve("shop").unwrap().settings
}

fn topic(role: TopicRole, change: impl FnOnce(&mut TopicPlan)) -> TopicPlan {
    let mut plan = Plan::build("shop", Vec::new(), Vec::new()).unwrap();
    let topic = plan.topic(if role == TopicRole::DeadLetter { "shop-dead-letter" } else { "t" }, role);
    change(topic);
    topic.clone()
}

fn repartition() -> TopicPlan {
    topic(TopicRole::Internal, |topic| topic.purge = true)
}

/// The configurations of a topic that sets `own`, in a cluster with the defaults of Kafka 4.
fn found(own: &[(&str, &str)]) -> BTreeMap<String, String> {
    let defaults = [
        (POLICY, "delete"),
        (RETENTION, "604800000"),
        (RETENTION_BYTES, "-1"),
        (TIME, "CreateTime"),
        (BEFORE, "9223372036854775807"),
        (AFTER, "3600000"),
        (SIZE, "1048588"),
        (LAG, "0"),
        (TOMBSTONES, "86400000"),
    ];
    defaults.iter().chain(own).map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn findings(topic: &TopicPlan, own: &[(&str, &str)]) -> Findings {
    let mut findings = Findings::default();
    check(topic, &found(own), &settings(), &mut findings);
    findings
}

/// Asserts that there is exactly one text for each of these parts.
fn assert_named(texts: &[String], parts: &[&str]) {
    assert_eq!(texts.len(), parts.len(), "{texts:#?}");
    for part in parts {
        assert!(texts.iter().any(|text| text.contains(part)), "{part} in {texts:#?}");
    }
}

#[test]
fn a_new_topic_names_what_a_default_of_the_cluster_could_break() {
    let roles =
        [TopicRole::Source, TopicRole::Internal, TopicRole::Changelog, TopicRole::Output, TopicRole::DeadLetter];
    for topic in roles.map(|role| topic(role, |_| ())).into_iter().chain([repartition()]) {
        let configs = configs(&topic, &settings());
        for name in [POLICY, TIME, BEFORE, AFTER, SIZE] {
            assert!(configs.contains_key(name), "{name} of {}", topic.role);
        }
        assert!(configs[SIZE].parse::<u64>().unwrap() > 16 << 20, "a message of `producer_max_request_size` fits");
        assert_eq!(configs[TIME] == "LogAppendTime", topic.role == TopicRole::Changelog);
    }
    for topic in [repartition(), topic(TopicRole::DeadLetter, |_| ())] {
        let configs = configs(&topic, &settings());
        let kept = [POLICY, RETENTION, RETENTION_BYTES].map(|name| configs[name].as_str());
        assert_eq!(kept, ["delete", "-1", "-1"]);
    }
    let changelog = configs(&topic(TopicRole::Changelog, |_| ()), &settings());
    assert_eq!([POLICY, LAG].map(|name| changelog[name].as_str()), ["compact", "86400000"]);
}

#[test]
fn a_batch_of_the_maximum_size_fits_in_a_segment_of_a_changelog() {
    for (size, segment) in [("16MiB", 64 << 20), ("100MiB", 101 << 20)] {
        let mut layers = Layers::default();
        let settings = layers.builder("producer_max_request_size", size).resolve("shop").unwrap().settings;
        let changelog = configs(&topic(TopicRole::Changelog, |_| ()), &settings);
        assert_eq!(changelog["segment.bytes"], segment.to_string());
    }
}

#[test]
fn a_declaration_decides_over_the_policy_of_the_users_topics() {
    let cases = [
        (None, None, "delete", None),
        (Some(false), Some(5), "delete", Some("5")),
        (Some(true), None, "compact", None),
        (Some(true), Some(5), "compact,delete", Some("5")),
    ];
    for (compacting, retention_ms, policy, retention) in cases {
        let decl = TopicDecl { compacting, retention_ms, ..TopicDecl::new("t") };
        let configs = configs(&topic(TopicRole::Output, |topic| topic.decl = Some(decl)), &settings());
        assert_eq!((configs[POLICY].as_str(), configs.get(RETENTION).map(String::as_str)), (policy, retention));
    }
}

/// Law: what is created passes the check.
#[test]
fn a_topic_that_was_created_by_the_app_has_no_findings() {
    let topics = [repartition()].into_iter();
    for topic in topics.chain([TopicRole::Changelog, TopicRole::DeadLetter].map(|role| topic(role, |_| ()))) {
        assert!(!rules(&topic).is_empty());
        let own = configs(&topic, &settings());
        let own: Vec<_> = own.iter().map(|(name, value)| (*name, value.as_str())).collect();
        assert_eq!(findings(&topic, &own), Findings::default(), "{}", topic.role);
    }
}

#[test]
fn what_loses_events_or_state_is_a_fault_and_what_may_stop_the_app_a_warning() {
    let found = findings(&repartition(), &[(POLICY, "compact")]);
    assert_named(&found.faults, &["`cleanup.policy=compact`"]);
    assert_named(&found.warnings, &["`retention.ms=604800000`", "`max.message.bytes=1048588`"]);
    let fix = "kafka-configs --bootstrap-server BROKER --alter --entity-type topics --entity-name t --add-config \
               retention.ms=-1`";
    assert!(found.warnings[0].contains(fix) && found.warnings[0].contains("internal topic `t`"), "{found:?}");

    let found = findings(&topic(TopicRole::DeadLetter, |_| ()), &[(POLICY, "compact")]);
    assert_named(&found.faults, &["dead-letter topic `shop-dead-letter` has `cleanup.policy=compact`"]);
    assert_named(&found.warnings, &["`max.message.bytes=1048588`"]);

    let changelog = topic(TopicRole::Changelog, |_| ());
    let found = findings(&changelog, &[(POLICY, "compact,delete"), (LAG, "3600000"), (SIZE, "99999999")]);
    assert_named(&found.faults, &["changelog topic `t` has `cleanup.policy=compact,delete`"]);
    assert_named(&found.warnings, &["--entity-name t --add-config min.compaction.lag.ms=86400000`"]);
}

/// An event keeps its time in any topic: a timestamp that the topic would refuse or change is sent in a header.
#[test]
fn no_configuration_of_timestamps_is_a_finding() {
    let kept = [(RETENTION, "-1"), (SIZE, "99999999"), (LAG, "86400000")];
    let times = [(TIME, "LogAppendTime"), (BEFORE, "0"), (AFTER, "0")];
    for topic in [repartition(), topic(TopicRole::DeadLetter, |_| ()), topic(TopicRole::Internal, |_| ())] {
        assert_eq!(findings(&topic, &[kept, times].concat()), Findings::default(), "{}", topic.role);
    }
}

#[test]
fn a_source_of_larger_messages_than_the_app_can_send_on_is_a_warning() {
    let source = topic(TopicRole::Source, |_| ());
    assert_eq!(check_source(&source, &found(&[]), &settings()), None);
    let warning = check_source(&source, &found(&[(SIZE, "33554432")]), &settings()).unwrap();
    assert!(warning.contains("`t`") && warning.contains("raise `producer_max_request_size`"), "{warning}");
}

#[test]
fn a_configuration_that_an_older_broker_does_not_report_is_skipped() {
    let mut reported = found(&[(RETENTION, "-1")]);
    reported.retain(|name, _| name != SIZE);
    let mut findings = Findings::default();
    check(&repartition(), &reported, &settings(), &mut findings);
    assert_eq!(findings, Findings::default());
}

#[cfg(feature = "testing")]
#[tokio::test]
async fn a_worker_does_not_start_with_a_dead_letter_topic_that_is_compacted() {
    use std::time::Duration;

    use crate::plan::ensure_topics;
    use crate::time::Timestamp;
    use crate::transport::memory::{GroupTimeouts, MemoryCluster};
    use crate::transport::{Admin, NewTopic};

    let cluster =
        MemoryCluster::new(1, GroupTimeouts::new(Duration::from_secs(10), Duration::from_secs(10)), || Timestamp(0));
    let configs = BTreeMap::from([(POLICY.to_owned(), "compact".to_owned())]);
    let name = "shop-dead-letter".to_owned();
    cluster.create(vec![NewTopic { name: name.clone(), partitions: 1, replication: 1, configs }]).await.unwrap();
    let plan = || Plan::build("shop", Vec::new(), Vec::new()).unwrap();
    let error = ensure_topics(&mut plan(), &cluster, &settings()).await.unwrap_err();
    assert!(error.to_string().contains("`shop-dead-letter` has `cleanup.policy=compact`"), "{error}");
    cluster.delete(vec![name]).await.unwrap();
    ensure_topics(&mut plan(), &cluster, &settings()).await.unwrap();
}
