//! Conversion of the settings to the configuration of the Kafka adapter.

use super::connection::Connection;
use crate::config::{self, Settings};
use crate::transport::kafka::{GroupProtocol, KafkaConfig};

impl Connection {
    /// Returns the configuration of the Kafka adapter for this connection.
    pub fn kafka(&self, settings: &Settings) -> KafkaConfig {
        let bytes = |size: config::ByteSize| usize::try_from(size.0).unwrap_or(usize::MAX);
        let mut kafka = KafkaConfig::new(self.bootstrap());
        kafka.client_id = settings.broker_client_id.clone();
        kafka.session_timeout = settings.broker_session_timeout;
        kafka.heartbeat_interval = settings.broker_heartbeat_interval;
        kafka.max_poll_interval = settings.broker_max_poll_interval;
        kafka.rebalance_budget = settings.broker_rebalance_timeout;
        kafka.request_timeout = settings.broker_request_timeout;
        kafka.group_protocol = match settings.group_protocol {
            config::GroupProtocol::Classic => GroupProtocol::Classic,
            config::GroupProtocol::Consumer => GroupProtocol::Consumer,
        };
        kafka.group_instance_id = settings.consumer_group_instance_id.clone();
        kafka.fetch_memory = bytes(settings.fetch_memory);
        kafka.max_message_bytes = bytes(settings.producer_max_request_size);
        kafka.linger = settings.producer_linger;
        kafka.compression = settings.producer_compression_type.to_string();
        // The security settings come first, so that settings given by librdkafka's names override them.
        kafka.settings.extend(security(settings));
        kafka.settings.extend(settings.kafka.clone());
        kafka
    }
}

/// Returns the security settings under librdkafka's names. The embedded broker, on loopback, has none.
fn security(settings: &Settings) -> Vec<(String, String)> {
    let path = |path: &Option<std::path::PathBuf>| path.as_ref().map(|path| path.display().to_string());
    let sasl = settings.broker_security_protocol.as_str().starts_with("sasl");
    let named = [
        ("security.protocol", Some(settings.broker_security_protocol.to_string())),
        ("sasl.mechanism", sasl.then(|| settings.broker_sasl_mechanism.clone())),
        ("sasl.username", settings.broker_username.clone()),
        ("sasl.password", settings.broker_password.as_ref().map(|password| password.reveal().to_owned())),
        ("ssl.ca.location", path(&settings.broker_ssl_ca)),
        ("ssl.certificate.location", path(&settings.broker_ssl_certificate)),
        ("ssl.key.location", path(&settings.broker_ssl_key)),
    ];
    let plain = settings.broker_security_protocol == config::SecurityProtocol::Plaintext;
    let named = named.into_iter().filter(|_| !plain);
    named.filter_map(|(name, value)| value.map(|value| (name.to_owned(), value))).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use super::*;
    use crate::config::Layers;

    fn kafka(given: &[(&str, &str)]) -> KafkaConfig {
        let mut layers = Layers::default();
        for (name, value) in given {
            layers.builder(*name, value);
        }
        let connection = Connection { bootstrap: "a:1,b:2".to_owned(), embedded: None };
        connection.kafka(&layers.resolve("orders").unwrap().settings)
    }

    #[test]
    fn settings_reach_the_adapter() {
        let given = [("fetch_memory", "1MiB"), ("producer_linger", "7ms")];
        let kafka = kafka(&given);
        assert_eq!((kafka.bootstrap.as_str(), kafka.fetch_memory), ("a:1,b:2", 1 << 20));
        assert_eq!(kafka.linger.as_millis(), 7);
        assert!(kafka.settings.is_empty(), "{:?}", kafka.settings);
    }

    #[test]
    fn librdkafka_settings_override_security_settings() {
        let kafka = kafka(&[
            ("broker_security_protocol", "sasl_ssl"),
            ("broker_username", "me"),
            ("broker_password", "hunter2"),
            ("broker_ssl_ca", "/ca.pem"),
            ("kafka.sasl.mechanism", "OAUTHBEARER"),
        ]);
        let settings: Vec<_> = kafka.settings.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let expected = [
            ("sasl.mechanism", "OAUTHBEARER"),
            ("sasl.password", "hunter2"),
            ("sasl.username", "me"),
            ("security.protocol", "sasl_ssl"),
            ("ssl.ca.location", "/ca.pem"),
        ];
        assert_eq!(settings, expected);
    }
}
