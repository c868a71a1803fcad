//! The state of a cluster for the command `doctor`.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tracing::debug;

use super::admin_clients::AdminClients;
use super::config::KafkaConfig;
use super::errors::{failed, refused, unusable};
use super::native::{brokers, describe_topics};
use crate::error::TransportError;
use crate::transport::inspection::ClusterState;
use crate::transport::port::GroupMember;

/// Time for which a client's log lines are waited for after its first answer.
const LOG_WITHIN: Duration = Duration::from_secs(2);

/// Describes the brokers, the topics and the rights for the group. Blocks.
pub(super) fn cluster(
    clients: &AdminClients,
    topics: Vec<String>,
    group: &str,
    within: Duration,
) -> Result<ClusterState, TransportError> {
    let client = clients.lookups().client();
    let brokers = brokers(client, within).map_err(|code| refused("description of the cluster", code))?;
    let described = match topics.is_empty() {
        true => Vec::new(),
        false => describe_topics(client, &topics.into_iter().collect(), true, within)
            .map_err(|code| refused("description of topics", code))?,
    };
    let mut topics = BTreeMap::new();
    for (name, described) in described {
        match described {
            Ok(topic) => drop(topics.insert(name, Ok(topic.state))),
            Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
            Err(code @ RDKafkaErrorCode::TopicAuthorizationFailed) => drop(topics.insert(name, Err(code.to_string()))),
            Err(code) => return Err(refused(format!("description of topic `{name}`"), code)),
        }
    }
    let group_rights = match clients.describe_group(group, within)? {
        Ok(group) => group.rights.map(Ok),
        // It does not exist yet: only its members create it.
        Err(RDKafkaErrorCode::GroupIdNotFound) => None,
        Err(code @ RDKafkaErrorCode::GroupAuthorizationFailed) => Some(Err(code.to_string())),
        // Such as a coordinator that is being elected: it answers later.
        Err(code) => return Err(refused("description of the group", code)),
    };
    Ok(ClusterState { brokers, topics, group_rights, ..ClusterState::default() })
}

/// Returns the members of a group; none if it does not exist. Blocks.
pub(super) fn members(
    clients: &AdminClients,
    group: &str,
    within: Duration,
) -> Result<Vec<GroupMember>, TransportError> {
    match clients.describe_group(group, within)? {
        Ok(group) => Ok(group.members),
        Err(RDKafkaErrorCode::GroupIdNotFound) => Ok(Vec::new()),
        Err(code) => Err(refused(format!("lookup of the members of group `{group}`"), code)),
    }
}

/// Returns the versions of the requests that those brokers answer to which this client has connected. Blocks.
///
/// librdkafka has no call for them, but logs them when it connects, whatever the security of the connection is.
pub(super) fn apis(
    config: &KafkaConfig,
    within: Duration,
) -> Result<BTreeMap<i16, RangeInclusive<i16>>, TransportError> {
    let what = "lookup of the broker's version";
    let mut client = config.lookup(None);
    client.set("debug", "feature").set_log_level(RDKafkaLogLevel::Debug);
    let consumer: BaseConsumer<_> =
        client.create_with_context(ApiLog::default()).map_err(|error| unusable(what, &error))?;
    consumer.fetch_metadata(None, within).map_err(|error| failed(what, &error))?;
    let log = consumer.client().context();
    let deadline = Instant::now() + LOG_WITHIN;
    while log.found().is_empty() && Instant::now() < deadline {
        drop(consumer.poll(Duration::from_millis(50)));
    }
    Ok(log.found().clone())
}

/// The context of a client whose log names the versions of the broker's requests.
#[derive(Default)]
struct ApiLog(Mutex<BTreeMap<i16, RangeInclusive<i16>>>);

impl ApiLog {
    fn found(&self) -> std::sync::MutexGuard<'_, BTreeMap<i16, RangeInclusive<i16>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for ApiLog {
    fn log(&self, _: RDKafkaLogLevel, _: &str, line: &str) {
        if let Some((key, versions)) = api(line) {
            let mut found = self.found();
            let common = found.entry(key).or_insert_with(|| versions.clone());
            *common = *common.start().max(versions.start())..=*common.end().min(versions.end());
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        debug!(target: "faust::kafka", "{error}: {reason}");
    }
}

impl ConsumerContext for ApiLog {}

/// Reads a line such as `..: ApiKey Produce (0) Versions 0..13`.
fn api(line: &str) -> Option<(i16, RangeInclusive<i16>)> {
    let (_, line) = line.split_once("ApiKey ")?;
    let (name, versions) = line.split_once(" Versions ")?;
    let (_, key) = name.strip_suffix(')')?.rsplit_once('(')?;
    let (low, high) = versions.trim().split_once("..")?;
    Some((key.parse().ok()?, low.parse().ok()?..=high.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_versions_are_those_that_all_brokers_have() {
        let log = ApiLog::default();
        let lines = [
            "[thrd:a:1/bootstrap]: a:1/bootstrap: Broker API support:",
            "[thrd:a:1/bootstrap]: a:1/bootstrap:   ApiKey Produce (0) Versions 0..13",
            "[thrd:b:1/2]: b:1/2:   ApiKey Produce (0) Versions 3..11",
            "[thrd:b:1/2]: b:1/2:   ApiKey Unknown-92? (92) Versions 0..0",
            "[thrd:b:1/2]: b:1/2:  Feature MsgVer2: Produce (3..3) supported by broker",
        ];
        lines.iter().for_each(|line| log.log(RDKafkaLogLevel::Debug, "APIVERSION", line));
        assert_eq!(*log.found(), BTreeMap::from([(0, 3..=11), (92, 0..=0)]));
    }
}
