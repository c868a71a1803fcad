//! Rules beyond single values: the app's id, and conflicts between settings.

use super::origin::Origin;
use super::resolved::Resolved;
use super::store_kind::StoreKind;
use super::value::{BrokerUrl, GroupProtocol, SecurityProtocol, SettingValue};

/// Checks the app's id, which must be valid both as a consumer group and in topic names.
pub(super) fn app_id(id: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if id.is_empty() || id.len() > 150 || !id.chars().all(fits) || id.chars().all(|c| c == '.') {
        return Err(format!(
            "app id `{id}` is not a valid consumer group name: use 1 to 150 letters, digits, `.`, `_` and `-`"
        ));
    }
    Ok(())
}

/// Returns the conflicts between settings.
pub(super) fn together(resolved: &Resolved) -> Vec<String> {
    let s = &resolved.settings;
    let mut faults = Vec::new();
    let mut order = |small: (&str, std::time::Duration), large: (&str, std::time::Duration), why: &str| {
        if small.1 >= large.1 {
            faults.push(format!(
                "settings `{}` ({}, {}) and `{}` ({}, {}): the first must be below the second, {why}",
                small.0,
                small.1.show(),
                resolved.origin(small.0),
                large.0,
                large.1.show(),
                resolved.origin(large.0),
            ));
        }
    };
    let heartbeat = ("broker_heartbeat_interval", s.broker_heartbeat_interval);
    let session = ("broker_session_timeout", s.broker_session_timeout);
    let request = ("broker_request_timeout", s.broker_request_timeout);
    let rebalance = ("broker_rebalance_timeout", s.broker_rebalance_timeout);
    let max_poll = ("broker_max_poll_interval", s.broker_max_poll_interval);
    order(heartbeat, session, "or every worker's session expires between two heartbeats");
    order(session, request, "or a worker is removed from the group while it waits for a response");
    order(session, max_poll, "as the brokers require");
    order(rebalance, max_poll, "or the brokers remove the worker from the group before it has committed");
    if s.agent_backoff_min > s.agent_backoff_max {
        faults.push(format!(
            "settings `agent_backoff_min` ({}) and `agent_backoff_max` ({}): the first is above the second",
            s.agent_backoff_min.show(),
            s.agent_backoff_max.show()
        ));
    }
    faults.extend(compiled_in(resolved, Build::THIS));
    faults.extend(group_protocol(resolved));
    faults.extend(security(resolved));
    faults
}

/// The parts of a build that are features.
#[derive(Clone, Copy)]
struct Build {
    stores: &'static [StoreKind],
    embedded: bool,
}

impl Build {
    const THIS: Self = Self { stores: StoreKind::COMPILED_IN, embedded: cfg!(feature = "embedded") };
}

/// Rejects a store or a broker that this build does not have.
fn compiled_in(resolved: &Resolved, build: Build) -> Vec<String> {
    let store = resolved.settings.store;
    let mut faults = Vec::new();
    if !build.stores.contains(&store) {
        let others: Vec<_> = build.stores.iter().map(|kind| format!("`{kind}`")).collect();
        faults.push(format!(
            "setting `store` ({}): `{store}` is not compiled in: build with the feature `{}`, or set `store` to {}",
            resolved.origin("store"),
            store.scheme(),
            others.join(" or ")
        ));
    }
    if let Some(url @ (BrokerUrl::Embedded(_) | BrokerUrl::Memory)) = &resolved.settings.broker
        && !build.embedded
    {
        faults.push(format!(
            "setting `broker` ({}): the embedded broker, `{url}`, is not compiled in: build with the feature \
             `embedded`, or set `broker` to the `host:port` of a Kafka cluster",
            resolved.origin("broker")
        ));
    }
    faults
}

/// Rejects two timeouts that the brokers decide under KIP-848; librdkafka does not accept them there.
fn group_protocol(resolved: &Resolved) -> Vec<String> {
    if resolved.settings.group_protocol != GroupProtocol::Consumer {
        return Vec::new();
    }
    let set = ["broker_session_timeout", "broker_heartbeat_interval"].into_iter();
    set.filter(|name| *resolved.origin(name) != Origin::Default)
        .map(|name| {
            let origin = resolved.origin(name);
            format!("setting `{name}` ({origin}): the brokers decide it when `group_protocol` is `consumer`; remove it")
        })
        .collect()
}

fn security(resolved: &Resolved) -> Vec<String> {
    let s = &resolved.settings;
    let sasl = matches!(s.broker_security_protocol, SecurityProtocol::SaslPlaintext | SecurityProtocol::SaslSsl);
    let tls = matches!(s.broker_security_protocol, SecurityProtocol::Ssl | SecurityProtocol::SaslSsl);
    let mut faults = Vec::new();
    let mut needs = |name: &str, set: bool, met: bool, wanted: &str| {
        if set && !met {
            faults.push(format!(
                "setting `{name}` ({}) has no effect: set `broker_security_protocol` to {wanted}",
                resolved.origin(name)
            ));
        }
    };
    needs("broker_username", s.broker_username.is_some(), sasl, "`sasl_ssl` or `sasl_plaintext`");
    needs("broker_password", s.broker_password.is_some(), sasl, "`sasl_ssl` or `sasl_plaintext`");
    needs("broker_ssl_ca", s.broker_ssl_ca.is_some(), tls, "`ssl` or `sasl_ssl`");
    needs("broker_ssl_certificate", s.broker_ssl_certificate.is_some(), tls, "`ssl` or `sasl_ssl`");
    needs("broker_ssl_key", s.broker_ssl_key.is_some(), tls, "`ssl` or `sasl_ssl`");
    let by_name = s.broker_sasl_mechanism == "PLAIN" || s.broker_sasl_mechanism.starts_with("SCRAM-");
    if sasl && by_name && (s.broker_username.is_none() || s.broker_password.is_none()) {
        let mechanism = &s.broker_sasl_mechanism;
        faults.push(format!("{mechanism} authentication needs `broker_username` and `broker_password`: set both"));
    }
    if s.broker_ssl_certificate.is_some() != s.broker_ssl_key.is_some() {
        faults.push("`broker_ssl_certificate` and `broker_ssl_key` belong together: set both or neither".to_owned());
    }
    faults
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::config::layers::Layers;

    const NOTHING: Build = Build { stores: &[StoreKind::Memory], embedded: false };

    /// Checks these settings, made by a complete build, against another build.
    fn faults(store: StoreKind, broker: Option<BrokerUrl>, build: Build) -> Vec<String> {
        let mut resolved = Layers::default().resolve("orders").unwrap();
        resolved.settings.store = store;
        resolved.settings.broker = broker;
        compiled_in(&resolved, build)
    }

    #[test]
    fn a_store_that_is_not_compiled_in_is_a_fault_that_names_its_feature() {
        assert_eq!(
            faults(StoreKind::Sled, None, NOTHING),
            [
                "setting `store` (default): `sled://` is not compiled in: build with the feature `sled`, or set `store` to \
              `memory://`"
            ]
        );
        assert_eq!(
            faults(StoreKind::Fjall, None, Build { stores: &[StoreKind::Sled, StoreKind::Memory], ..NOTHING }),
            [
                "setting `store` (default): `fjall://` is not compiled in: build with the feature `fjall`, or set `store` \
              to `sled://` or `memory://`"
            ]
        );
        assert!(faults(StoreKind::Fjall, None, Build { stores: &[StoreKind::Fjall], ..NOTHING }).is_empty());
        assert!(faults(StoreKind::Memory, None, NOTHING).is_empty());
    }

    #[test]
    fn the_embedded_broker_is_a_fault_if_it_is_not_compiled_in() {
        for (url, shown) in
            [(BrokerUrl::Memory, "memory://"), (BrokerUrl::Embedded("/tmp/b".into()), "embedded:///tmp/b")]
        {
            assert_eq!(
                faults(StoreKind::Memory, Some(url.clone()), NOTHING),
                [format!(
                    "setting `broker` (default): the embedded broker, `{shown}`, is not compiled in: build with the \
                     feature `embedded`, or set `broker` to the `host:port` of a Kafka cluster"
                )]
            );
            assert!(faults(StoreKind::Memory, Some(url), Build { embedded: true, ..NOTHING }).is_empty());
        }
        let kafka = BrokerUrl::Kafka(vec!["kafka-1:9092".to_owned()]);
        assert!(faults(StoreKind::Memory, Some(kafka), NOTHING).is_empty());
    }

    #[test]
    fn the_default_store_is_the_first_of_this_build() {
        let default = Layers::default().resolve("orders").unwrap().settings.store;
        assert_eq!(Some(&default), StoreKind::COMPILED_IN.first());
    }
}
