//! The librdkafka properties that settings may pass on, and the reason for each that they may not.
//!
//! Every property is in one of two lists. An unlisted name is misspelt, or belongs to another version of librdkafka.

use super::suggest;

/// The clients that a property applies to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ClientSide {
    Both,
    Consumer,
    Producer,
}

/// The values that a property may have.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PropertyForm {
    Flag,
    Number(i64, i64),
    OneOf(&'static [&'static str]),
    /// Anything; librdkafka checks it when a client is created.
    Text,
}

use ClientSide::{Both, Consumer, Producer};
use PropertyForm::{Flag, Number, OneOf, Text};

/// Largest 32-bit number, the upper bound of many properties.
const MAX: i64 = i32::MAX as i64;
const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 86_400_000;

/// The properties that may be set: connections, security, tuning and diagnosis. None of them affects which messages are
/// read, written, acknowledged or committed.
pub(crate) const ALLOWED: &[(&str, ClientSide, PropertyForm)] = &[
    // Connections.
    ("api.version.request.timeout.ms", Both, Number(1, 300_000)),
    ("broker.address.family", Both, OneOf(&["any", "v4", "v6"])),
    ("broker.address.ttl", Both, Number(0, DAY_MS)),
    ("client.dns.lookup", Both, OneOf(&["use_all_dns_ips", "resolve_canonical_bootstrap_servers_only"])),
    ("client.rack", Both, Text),
    ("connections.max.idle.ms", Both, Number(0, MAX)),
    ("coordinator.query.interval.ms", Consumer, Number(1, HOUR_MS)),
    ("metadata.max.age.ms", Both, Number(1, DAY_MS)),
    ("metadata.recovery.rebootstrap.trigger.ms", Both, Number(0, MAX)),
    ("metadata.recovery.strategy", Both, OneOf(&["none", "rebootstrap"])),
    ("reconnect.backoff.max.ms", Both, Number(0, HOUR_MS)),
    ("reconnect.backoff.ms", Both, Number(0, HOUR_MS)),
    ("retry.backoff.max.ms", Both, Number(1, 300_000)),
    ("retry.backoff.ms", Both, Number(1, 300_000)),
    ("socket.connection.setup.timeout.ms", Both, Number(1000, MAX)),
    ("socket.keepalive.enable", Both, Flag),
    ("socket.max.fails", Both, Number(0, 1_000_000)),
    ("socket.nagle.disable", Both, Flag),
    ("socket.receive.buffer.bytes", Both, Number(0, 100_000_000)),
    ("socket.send.buffer.bytes", Both, Number(0, 100_000_000)),
    ("topic.metadata.propagation.max.ms", Both, Number(0, HOUR_MS)),
    ("topic.metadata.refresh.fast.interval.ms", Both, Number(1, 60_000)),
    ("topic.metadata.refresh.interval.ms", Both, Number(-1, HOUR_MS)),
    ("topic.metadata.refresh.sparse", Both, Flag),
    // Security.
    ("enable.sasl.oauthbearer.unsecure.jwt", Both, Flag),
    ("enable.ssl.certificate.verification", Both, Flag),
    ("https.ca.location", Both, Text),
    ("https.ca.pem", Both, Text),
    ("sasl.kerberos.keytab", Both, Text),
    ("sasl.kerberos.kinit.cmd", Both, Text),
    ("sasl.kerberos.min.time.before.relogin", Both, Number(0, DAY_MS)),
    ("sasl.kerberos.principal", Both, Text),
    ("sasl.kerberos.service.name", Both, Text),
    ("sasl.mechanism", Both, Text),
    ("sasl.oauthbearer.assertion.algorithm", Both, OneOf(&["RS256", "ES256"])),
    ("sasl.oauthbearer.assertion.claim.aud", Both, Text),
    ("sasl.oauthbearer.assertion.claim.exp.seconds", Both, Number(1, MAX)),
    ("sasl.oauthbearer.assertion.claim.iss", Both, Text),
    ("sasl.oauthbearer.assertion.claim.jti.include", Both, Flag),
    ("sasl.oauthbearer.assertion.claim.nbf.seconds", Both, Number(0, MAX)),
    ("sasl.oauthbearer.assertion.claim.sub", Both, Text),
    ("sasl.oauthbearer.assertion.file", Both, Text),
    ("sasl.oauthbearer.assertion.jwt.template.file", Both, Text),
    ("sasl.oauthbearer.assertion.private.key.file", Both, Text),
    ("sasl.oauthbearer.assertion.private.key.passphrase", Both, Text),
    ("sasl.oauthbearer.assertion.private.key.pem", Both, Text),
    ("sasl.oauthbearer.client.id", Both, Text),
    ("sasl.oauthbearer.client.secret", Both, Text),
    ("sasl.oauthbearer.config", Both, Text),
    ("sasl.oauthbearer.extensions", Both, Text),
    (
        "sasl.oauthbearer.grant.type",
        Both,
        OneOf(&["client_credentials", "urn:ietf:params:oauth:grant-type:jwt-bearer"]),
    ),
    ("sasl.oauthbearer.metadata.authentication.type", Both, OneOf(&["none", "azure_imds"])),
    ("sasl.oauthbearer.method", Both, OneOf(&["default", "oidc"])),
    ("sasl.oauthbearer.scope", Both, Text),
    ("sasl.oauthbearer.token.endpoint.url", Both, Text),
    ("sasl.password", Both, Text),
    ("sasl.username", Both, Text),
    ("security.protocol", Both, OneOf(&["plaintext", "ssl", "sasl_plaintext", "sasl_ssl"])),
    ("ssl.ca.certificate.stores", Both, Text),
    ("ssl.ca.location", Both, Text),
    ("ssl.ca.pem", Both, Text),
    ("ssl.certificate.location", Both, Text),
    ("ssl.certificate.pem", Both, Text),
    ("ssl.cipher.suites", Both, Text),
    ("ssl.crl.location", Both, Text),
    ("ssl.curves.list", Both, Text),
    ("ssl.endpoint.identification.algorithm", Both, OneOf(&["none", "https"])),
    ("ssl.engine.id", Both, Text),
    ("ssl.engine.location", Both, Text),
    ("ssl.key.location", Both, Text),
    ("ssl.key.password", Both, Text),
    ("ssl.key.pem", Both, Text),
    ("ssl.keystore.location", Both, Text),
    ("ssl.keystore.password", Both, Text),
    ("ssl.providers", Both, Text),
    ("ssl.sigalgs.list", Both, Text),
    // Tuning of consumers.
    ("check.crcs", Consumer, Flag),
    ("fetch.error.backoff.ms", Consumer, Number(0, 300_000)),
    // At least librdkafka's default of `message.max.bytes`.
    ("fetch.max.bytes", Consumer, Number(1_000_000, MAX - 512)),
    ("fetch.message.max.bytes", Consumer, Number(1, 1_000_000_000)),
    ("fetch.min.bytes", Consumer, Number(1, 100_000_000)),
    ("fetch.queue.backoff.ms", Consumer, Number(0, 300_000)),
    ("fetch.wait.max.ms", Consumer, Number(0, 300_000)),
    ("queued.min.messages", Consumer, Number(1, 10_000_000)),
    ("receive.message.max.bytes", Both, Number(1000, MAX)),
    // Tuning of producers.
    ("batch.num.messages", Producer, Number(1, 1_000_000)),
    ("batch.size", Producer, Number(1, MAX)),
    ("compression.level", Producer, Number(-1, 12)),
    ("compression.type", Producer, OneOf(&["none", "gzip", "snappy", "lz4", "zstd"])),
    ("linger.ms", Producer, Number(0, 900_000)),
    // More than five would disable idempotence.
    ("max.in.flight.requests.per.connection", Producer, Number(1, 5)),
    ("message.copy.max.bytes", Producer, Number(0, 1_000_000_000)),
    ("queue.buffering.backpressure.threshold", Producer, Number(1, 1_000_000)),
    ("queue.buffering.max.kbytes", Producer, Number(1, MAX)),
    ("queue.buffering.max.messages", Producer, Number(1, MAX)),
    ("request.timeout.ms", Producer, Number(1, 900_000)),
    ("sticky.partitioning.linger.ms", Producer, Number(0, 900_000)),
    // Diagnosis.
    ("debug", Both, Text),
    ("enable.metrics.push", Both, Flag),
    ("log.connection.close", Both, Flag),
    ("log.thread.name", Both, Flag),
    ("statistics.interval.ms", Both, Number(0, DAY_MS)),
];

const COMMITS: &str = "offsets are committed when events are processed, never on a timer";
const DELIVERY: &str = "a message counts as sent only once every in-sync replica has it";
const RETRIED: &str = "messages are retried until they are delivered, or an outage would fail the agents";
const TRANSACTIONS: &str = "under `processing_guarantee` `exactly_once`, the engine sets it, by the app's id and `worker_name`; otherwise there are no transactions";
const OBSOLETE: &str = "it has no effect, or serves brokers older than Kafka 0.11, which cannot be used";
const CODE: &str = "code loaded into librdkafka could change or drop messages";
const PURPOSE: &str = "it has no use in this program";

/// The properties that the engine sets itself or depends on, each with its replacement or the reason it is fixed.
pub(crate) const REFUSED: &[(&str, &str)] = &[
    ("acks", DELIVERY),
    ("allow.auto.create.topics", "topics are created with the partition counts of the plan: see `topic_allow_declare`"),
    ("api.version.fallback.ms", OBSOLETE),
    ("api.version.request", OBSOLETE),
    ("auto.commit.enable", COMMITS),
    ("auto.commit.interval.ms", "offsets are committed at `broker_commit_interval`: set that"),
    ("auto.offset.reset", "set `consumer_auto_offset_reset`"),
    ("bootstrap.servers", "set `broker`"),
    ("broker.version.fallback", OBSOLETE),
    ("builtin.features", "it is fixed when librdkafka is built"),
    ("client.id", "set `broker_client_id`"),
    ("compression.codec", "set `producer_compression_type`"),
    ("consume.callback.max.messages", PURPOSE),
    ("delivery.report.only.error", "without reports of delivered messages, commits would wait for ever"),
    ("delivery.timeout.ms", RETRIED),
    ("enable.auto.commit", COMMITS),
    ("enable.auto.offset.store", COMMITS),
    ("enable.gapless.guarantee", "a message that the broker refuses would end the producer instead of one agent"),
    ("enable.idempotence", "without it, a retry may duplicate or reorder messages"),
    ("enable.partition.eof", "the engine needs it to detect the end of a partition"),
    ("enable.random.seed", PURPOSE),
    ("group.id", "it is derived from the app's id and `version`"),
    ("group.instance.id", "set `consumer_group_instance_id`"),
    ("group.protocol", "set `group_protocol`"),
    ("group.protocol.type", "set `group_protocol`"),
    (
        "group.remote.assignor",
        "co-partitioned topics must be assigned together, as `range` does; `uniform` would give partitions of one table to several workers",
    ),
    ("heartbeat.interval.ms", "set `broker_heartbeat_interval`"),
    ("interceptors", CODE),
    ("internal.termination.signal", PURPOSE),
    ("isolation.level", "aborted transactions must not be processed"),
    ("log.queue", "the engine decides where librdkafka's log goes"),
    ("max.in.flight", "write `max.in.flight.requests.per.connection`"),
    ("max.partition.fetch.bytes", "write `fetch.message.max.bytes`"),
    ("max.poll.interval.ms", "set `broker_max_poll_interval`"),
    ("message.max.bytes", "set `producer_max_request_size`"),
    ("message.send.max.retries", RETRIED),
    ("message.timeout.ms", RETRIED),
    ("metadata.broker.list", "set `broker`"),
    ("offset.store.method", COMMITS),
    ("offset.store.path", COMMITS),
    ("offset.store.sync.interval.ms", COMMITS),
    ("opaque", CODE),
    ("partition.assignment.strategy", "co-partitioned topics must be assigned together, as `range` does"),
    ("partitioner", "keys must be partitioned as by Java clients, or tables are read on the wrong partition"),
    ("plugin.library.paths", CODE),
    ("produce.offset.report", OBSOLETE),
    ("queue.buffering.max.ms", "set `producer_linger`"),
    ("queued.max.messages.kbytes", "set `fetch_memory`"),
    ("queuing.strategy", "messages of a partition must be sent in order"),
    ("reconnect.backoff.jitter.ms", OBSOLETE),
    ("request.required.acks", DELIVERY),
    ("retries", RETRIED),
    ("sasl.mechanisms", "set `broker_sasl_mechanism`"),
    ("sasl.oauthbearer.client.credentials.client.id", "write `sasl.oauthbearer.client.id`"),
    ("sasl.oauthbearer.client.credentials.client.secret", "write `sasl.oauthbearer.client.secret`"),
    ("session.timeout.ms", "set `broker_session_timeout`"),
    ("socket.blocking.max.ms", OBSOLETE),
    ("socket.timeout.ms", "set `broker_request_timeout`"),
    ("topic.blacklist", "a hidden topic of the plan would be waited for for ever"),
    ("topic.metadata.refresh.fast.cnt", OBSOLETE),
    ("transaction.timeout.ms", TRANSACTIONS),
    ("transactional.id", TRANSACTIONS),
];

/// Checks that a librdkafka property may be passed on with this value. A prefix `consumer.` or `producer.` limits it to
/// that client.
///
/// # Errors
/// Returns the reason. `spell` writes a name as the layer of the setting does.
pub(super) fn check(name: &str, value: &str, spell: impl Fn(&str) -> String) -> Result<(), String> {
    let (prefix, plain) = match name.split_once('.') {
        Some(("consumer", rest)) => (Some(Consumer), rest),
        Some(("producer", rest)) => (Some(Producer), rest),
        _ => (None, name),
    };
    if let Some((_, why)) = REFUSED.iter().find(|(refused, _)| *refused == plain) {
        return Err(format!("cannot be passed to librdkafka: {why}"));
    }
    let Some((_, side, form)) = ALLOWED.iter().find(|(allowed, ..)| *allowed == plain) else {
        return Err(unknown(plain, &name[..name.len() - plain.len()], spell));
    };
    match (prefix, side) {
        (Some(Consumer), Producer) => return Err(format!("applies to producers only: write `{}`", spell(plain))),
        (Some(Producer), Consumer) => return Err(format!("applies to consumers only: write `{}`", spell(plain))),
        _ => {}
    }
    form.check(value)
}

fn unknown(plain: &str, prefix: &str, spell: impl Fn(&str) -> String) -> String {
    let known = ALLOWED.iter().map(|(name, ..)| *name).chain(REFUSED.iter().map(|(name, _)| *name));
    let Some(close) = suggest::closest(plain, known) else {
        return "is not a property of librdkafka: its CONFIGURATION.md lists them".to_owned();
    };
    match REFUSED.iter().find(|(refused, _)| *refused == close) {
        Some((_, why)) => format!("is not a property of librdkafka, and `{close}` cannot be passed to it: {why}"),
        None => format!("is not a property of librdkafka: did you mean `{}`?", spell(&format!("{prefix}{close}"))),
    }
}

impl PropertyForm {
    fn check(self, value: &str) -> Result<(), String> {
        let is = |known: &&str| known.eq_ignore_ascii_case(value);
        match self {
            Flag if ["true", "false", "t", "f", "1", "0"].iter().any(is) => Ok(()),
            Flag => Err(format!("`{value}` is neither `true` nor `false`")),
            Number(low, high) => match value.parse::<i64>() {
                Ok(number) if (low..=high).contains(&number) => Ok(()),
                Ok(_) => Err(format!("`{value}` is out of range: from `{low}` to `{high}`")),
                Err(_) => Err(format!("`{value}` is not a whole number from `{low}` to `{high}`")),
            },
            OneOf(known) if known.iter().any(is) => Ok(()),
            OneOf(known) => Err(format!("`{value}` is not one of `{}`", known.join("`, `"))),
            Text => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;

    fn checked(name: &str, value: &str) -> Result<(), String> {
        check(name, value, |name| format!("kafka.{name}"))
    }

    #[test]
    fn what_a_promise_depends_on_is_refused_with_the_reason() {
        for (name, part) in [
            ("delivery.report.only.error", "commits would wait for ever"),
            ("group.remote.assignor", "`uniform` would give partitions of one table to several workers"),
            ("transactional.id", "transaction"),
            ("producer.acks", "in-sync"),
            ("message.timeout.ms", "retried"),
            ("enable.auto.commit", "when events are processed"),
            ("queue.buffering.max.ms", "`producer_linger`"),
            ("consumer.auto.offset.reset", "`consumer_auto_offset_reset`"),
        ] {
            let why = checked(name, "1").unwrap_err();
            assert!(why.contains("cannot be passed to librdkafka") && why.contains(part), "{name}: {why}");
        }
    }

    #[test]
    fn a_misspelt_name_is_refused_with_the_closest_one() {
        for (name, part) in [
            ("fetch.min.byte", "did you mean `kafka.fetch.min.bytes`?"),
            ("consumer.fetch.mim.bytes", "did you mean `kafka.consumer.fetch.min.bytes`?"),
            ("sasl.user.name", "did you mean `kafka.sasl.username`?"),
            ("enable.auto.commits", "`enable.auto.commit` cannot be passed to it: offsets"),
            ("buffer.memory.of.java", "CONFIGURATION.md"),
            ("", "CONFIGURATION.md"),
            ("consumer.", "CONFIGURATION.md"),
        ] {
            let why = checked(name, "1").unwrap_err();
            assert!(why.contains("not a property") && why.contains(part), "{name}: {why}");
        }
    }

    #[test]
    fn a_value_is_checked_and_a_side_must_fit() {
        for (name, value, part) in [
            ("fetch.min.bytes", "0", "`0` is out of range: from `1` to `100000000`"),
            ("socket.max.fails", "many", "`many` is not a whole number"),
            ("check.crcs", "yes", "neither `true` nor `false`"),
            ("security.protocol", "tls", "`tls` is not one of `plaintext`, `ssl`"),
            ("consumer.linger.ms", "5", "applies to producers only: write `kafka.linger.ms`"),
            ("producer.check.crcs", "true", "applies to consumers only: write `kafka.check.crcs`"),
        ] {
            let why = checked(name, value).unwrap_err();
            assert!(why.contains(part), "{name}: {why}");
        }
        for (name, value) in [
            ("security.protocol", "SASL_SSL"),
            ("consumer.check.crcs", "TRUE"),
            ("producer.client.rack", "a"),
            ("topic.metadata.refresh.interval.ms", "-1"),
            ("debug", "cgrp,fetch"),
        ] {
            checked(name, value).unwrap_or_else(|why| panic!("{name}: {why}"));
        }
    }

    #[test]
    fn every_property_is_listed_once_and_in_order() {
        let allowed = ALLOWED.iter().map(|(name, ..)| *name);
        let names: Vec<_> = allowed.chain(REFUSED.iter().map(|(name, _)| *name)).collect();
        let distinct: std::collections::BTreeSet<_> = names.iter().collect();
        assert_eq!(distinct.len(), names.len());
        assert!(REFUSED.is_sorted_by_key(|(name, _)| name));
    }
}
