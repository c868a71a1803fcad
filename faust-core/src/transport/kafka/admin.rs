//! Administration of topics and groups, and lookups. librdkafka's blocking calls run on the runtime's blocking threads.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, OwnedResourceSpecifier, ResourceSpecifier};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::metadata::MetadataTopic;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::OnceCell;
use tokio::time::timeout;
use tracing::warn;

use super::admin_clients::{AdminClients, LookupClient};
use super::blocking::beside;
use super::config::KafkaConfig;
use super::connection::NoListener;
use super::errors::{failed, refused, refused_because, unusable};
use super::inspect;
use super::native::{LONGEST, TopicRefusal, answers, create_topics, topic_ids};
use super::offsets;
use crate::error::TransportError;
use crate::message::Offset;
use crate::transport::inspection::ClusterState;
use crate::transport::outage::Outage;
use crate::transport::port::{
    Admin, Committed, GroupMember, NewTopic, TopicConfigs, TopicPartition, Watermarks, has_members, topic_id_text,
};

/// Maximum time until a created topic is visible and all its partitions have leaders.
const VISIBLE_WITHIN: Duration = Duration::from_secs(15);

/// The administration of a cluster. Its clients are created by the first request, and serve all others.
pub(super) struct KafkaAdmin {
    config: Arc<KafkaConfig>,
    clients: OnceCell<Arc<AdminClients>>,
    outage: Arc<Outage>,
}

impl KafkaAdmin {
    pub(super) fn new(config: Arc<KafkaConfig>, outage: Arc<Outage>) -> Self {
        Self { config, clients: OnceCell::new(), outage }
    }

    async fn clients(&self) -> Result<Arc<AdminClients>, TransportError> {
        let open = || {
            let (config, outage) = (Arc::clone(&self.config), Arc::clone(&self.outage));
            beside("opening the admin client", move || AdminClients::open(config, outage).map(Arc::new))
        };
        self.clients.get_or_try_init(open).await.cloned()
    }

    async fn changes(&self) -> Result<Arc<AdminClient<NoListener>>, TransportError> {
        let clients = self.clients().await?;
        beside("opening the admin client", move || clients.changes()).await
    }

    /// Runs a blocking lookup.
    async fn look_up<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&LookupClient, Duration) -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        self.look_up_with(what, move |clients, within| call(clients.lookups(), within)).await
    }

    /// Runs a blocking lookup that chooses its client.
    async fn look_up_with<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl FnOnce(&AdminClients, Duration) -> Result<T, TransportError> + Send + 'static,
    ) -> Result<T, TransportError> {
        let (clients, within) = (self.clients().await?, self.config.request_timeout);
        let found = beside(what, move || call(&clients, within)).await;
        if found.is_ok() {
            self.outage.answered();
        }
        found
    }

    async fn create_all(&self, topics: Vec<NewTopic>) -> Result<(), TransportError> {
        if topics.is_empty() {
            return Ok(());
        }
        let refusals = create_or_fall_back(&topics, |topics| self.request_creation(topics, false)).await?;
        let exists = |refusal: &TopicRefusal| refusal.code == RDKafkaErrorCode::TopicAlreadyExists;
        if let Some(refusal) = refusals.into_iter().find(|refusal| !exists(refusal)) {
            return Err(refused_because(
                format!("creation of topic `{}`", refusal.topic),
                refusal.code,
                &refusal.reason,
            ));
        }
        let deadline = Instant::now() + VISIBLE_WITHIN;
        for topic in topics {
            while !self.visible(topic.name.clone()).await? {
                if Instant::now() > deadline {
                    let why = format!("not all of its partitions have a leader after {VISIBLE_WITHIN:?}");
                    return Err(TransportError::retriable(format!("creation of topic `{}`", topic.name), why));
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        Ok(())
    }

    /// Creates topics, or with `validate_only` checks whether they could be created, and returns those that are refused.
    fn request_creation(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> BoxFuture<'_, Result<Vec<TopicRefusal>, TransportError>> {
        let what = if validate_only { "check of new topics" } else { "creation of topics" };
        self.look_up(what, move |lookups, within| {
            create_topics(lookups.client(), &topics, validate_only, within).map_err(|code| refused(what, code))
        })
        .boxed()
    }

    async fn visible(&self, name: String) -> Result<bool, TransportError> {
        self.look_up("lookup of a topic", move |lookups, within| {
            let metadata =
                lookups.fetch_metadata(Some(&name), within).map_err(|error| failed("lookup of a topic", &error))?;
            Ok(metadata
                .topics()
                .iter()
                .any(|topic| partitions(topic).is_some_and(|_| topic.partitions().iter().all(|p| p.leader() >= 0))))
        })
        .await
    }

    fn options(&self) -> AdminOptions {
        let within = self.config.request_timeout;
        AdminOptions::new().request_timeout(Some(within)).operation_timeout(Some(within))
    }
}

impl fmt::Debug for KafkaAdmin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KafkaAdmin({})", self.config.bootstrap)
    }
}

impl crate::transport::port::Sealed for KafkaAdmin {}

impl Admin for KafkaAdmin {
    fn topics(&self, names: Option<Vec<String>>) -> BoxFuture<'_, Result<BTreeMap<String, i32>, TransportError>> {
        let what = "lookup of topics";
        self.look_up(what, move |lookups, within| {
            let mut found = BTreeMap::new();
            for name in names.map_or_else(|| vec![None], |names| names.into_iter().map(Some).collect()) {
                let metadata = lookups.fetch_metadata(name.as_deref(), within).map_err(|error| failed(what, &error))?;
                found.extend(
                    metadata.topics().iter().filter_map(|topic| Some((topic.name().to_owned(), partitions(topic)?))),
                );
            }
            Ok(found)
        })
        .boxed()
    }

    fn create(&self, topics: Vec<NewTopic>) -> BoxFuture<'_, Result<(), TransportError>> {
        self.create_all(topics).boxed()
    }

    fn delete(&self, topics: Vec<String>) -> BoxFuture<'_, Result<(), TransportError>> {
        async move {
            let names: Vec<&str> = topics.iter().map(String::as_str).collect();
            if names.is_empty() {
                return Ok(());
            }
            let deleted = self
                .changes()
                .await?
                .delete_topics(&names, &self.options())
                .await
                .map_err(|error| failed("deletion of topics", &error))?;
            let refusal = deleted
                .into_iter()
                .filter_map(Result::err)
                .find(|(_, code)| *code != RDKafkaErrorCode::UnknownTopicOrPartition);
            refusal.map_or(Ok(()), |(name, code)| Err(refused(format!("deletion of topic `{name}`"), code)))
        }
        .boxed()
    }

    fn delete_records(&self, before: BTreeMap<TopicPartition, Offset>) -> BoxFuture<'_, Result<(), TransportError>> {
        let what = "deletion of records";
        async move {
            if before.is_empty() {
                return Ok(());
            }
            let list = offsets::listed_at(before.iter().map(|(of, offset)| (of, rdkafka::Offset::Offset(offset.0))))
                .map_err(|error| failed(what, &error))?;
            let deleted = self.changes().await?.delete_records(&list, &self.options()).await;
            let rows = answers(&deleted.map_err(|error| failed(what, &error))?);
            offsets::checked(what, rows).map(drop)
        }
        .boxed()
    }

    fn topic_ids(&self, names: Vec<String>) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>> {
        let what = "lookup of topic ids";
        self.look_up(what, move |lookups, within| {
            let rows = topic_ids(lookups.client(), &names.into_iter().collect(), within);
            let mut ids = BTreeMap::new();
            for (name, id) in rows.map_err(|code| refused(what, code))? {
                match id {
                    Ok(id) => _ = ids.insert(name, topic_id_text(id)),
                    Err(RDKafkaErrorCode::UnknownTopicOrPartition) => {}
                    Err(code) => return Err(refused(format!("{what}, `{name}`"), code)),
                }
            }
            Ok(ids)
        })
        .boxed()
    }

    fn watermarks(&self, of: Vec<TopicPartition>) -> BoxFuture<'_, Result<Watermarks, TransportError>> {
        self.look_up("lookup of watermarks", move |lookups, within| offsets::watermarks(lookups, &of, within)).boxed()
    }

    fn configs(&self, topics: Vec<String>) -> BoxFuture<'_, Result<TopicConfigs, TransportError>> {
        async move {
            if topics.is_empty() {
                return Ok(TopicConfigs::new());
            }
            let what = "lookup of configurations";
            let wanted: Vec<_> = topics.iter().map(|topic| ResourceSpecifier::Topic(topic)).collect();
            let described = self.changes().await?.describe_configs(&wanted, &self.options()).await;
            let configs = |resource: ConfigResource| {
                let OwnedResourceSpecifier::Topic(topic) = resource.specifier else { return None };
                let values = resource.entries.into_iter().filter_map(|entry| Some((entry.name, entry.value?)));
                Some((topic, values.collect()))
            };
            let described = described.map_err(|error| failed(what, &error))?.into_iter();
            let found = described.zip(&topics).filter_map(|(described, topic)| match described {
                Ok(resource) => Some(resource),
                Err(RDKafkaErrorCode::UnknownTopicOrPartition) => None,
                Err(code) => {
                    warn!(target: "faust::kafka", "the configuration of topic `{topic}` cannot be checked: {code}");
                    None
                }
            });
            Ok(found.filter_map(configs).collect())
        }
        .boxed()
    }

    fn committed(
        &self,
        group: &str,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<BTreeMap<TopicPartition, Committed>, TransportError>> {
        let what = "lookup of committed offsets";
        let (client, within) = (self.config.lookup(Some(group)), self.config.request_timeout);
        beside(what, move || {
            let consumer: BaseConsumer<_> =
                client.create_with_context(NoListener).map_err(|error| unusable(what, &error))?;
            offsets::committed(&consumer, &of, within)
        })
        .boxed()
    }

    fn committed_now(
        &self,
        group: &str,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<BTreeMap<TopicPartition, Committed>, TransportError>> {
        let (group, within) = (group.to_owned(), self.config.request_timeout);
        async move {
            let clients = self.clients().await?;
            let what = "lookup of committed offsets";
            beside(what, move || offsets::committed(&*clients.of_group(&group)?, &of, within)).await
        }
        .boxed()
    }

    fn commit(
        &self,
        group: &str,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        let what = format!("commit of group `{group}`");
        let client = self.config.lookup(Some(group));
        let group = group.to_owned();
        beside("commit of offsets", move || {
            let consumer: BaseConsumer<_> =
                client.create_with_context(NoListener).map_err(|error| unusable("commit of offsets", &error))?;
            let list = offsets::to_commit(&offsets).map_err(|error| failed(what.as_str(), &error))?;
            match consumer.commit(&list, CommitMode::Sync) {
                // All offsets were committed already.
                Ok(()) | Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::NoOffset)) => Ok(()),
                // The broker does not know a client that is not a member, unless the group is empty.
                Err(KafkaError::ConsumerCommit(RDKafkaErrorCode::UnknownMemberId)) => Err(has_members(&group)),
                Err(error) => Err(failed(what.as_str(), &error)),
            }
        })
        .boxed()
    }

    fn inspect(&self, topics: Vec<String>, group: &str) -> BoxFuture<'_, Result<ClusterState, TransportError>> {
        let (config, group) = (Arc::clone(&self.config), group.to_owned());
        self.look_up_with("inspection of the cluster", move |clients, within| {
            let state = inspect::cluster(clients, topics, &group, within)?;
            Ok(ClusterState { apis: inspect::apis(&config, within)?, ..state })
        })
        .boxed()
    }

    fn check_creation(&self, topics: Vec<NewTopic>) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>> {
        if topics.is_empty() {
            return ready(Ok(BTreeMap::new())).boxed();
        }
        async move {
            let refusals = create_or_fall_back(&topics, |topics| self.request_creation(topics, true)).await?;
            // A worker may have created a topic meanwhile.
            let refusals = refusals.into_iter().filter(|refusal| refusal.code != RDKafkaErrorCode::TopicAlreadyExists);
            let reason =
                |refusal: TopicRefusal| (refusal.topic, refused_because("", refusal.code, &refusal.reason).why);
            Ok(refusals.map(reason).collect())
        }
        .boxed()
    }

    fn groups(&self) -> BoxFuture<'_, Result<BTreeSet<String>, TransportError>> {
        let what = "lookup of groups";
        self.look_up(what, move |lookups, within| {
            let listed = lookups.fetch_group_list(None, within).map_err(|error| failed(what, &error))?;
            Ok(listed.groups().iter().map(|group| group.name().to_owned()).collect())
        })
        .boxed()
    }

    fn members(&self, group: &str) -> BoxFuture<'_, Result<usize, TransportError>> {
        let members = self.group_members(group);
        async { Ok(members.await?.len()) }.boxed()
    }

    fn group_members(&self, group: &str) -> BoxFuture<'_, Result<Vec<GroupMember>, TransportError>> {
        let group = group.to_owned();
        // The list of groups shows those of the newer protocol as empty (KIP-848).
        self.look_up_with("lookup of a group's members", move |clients, within| {
            inspect::members(clients, &group, within)
        })
        .boxed()
    }

    fn delete_group(&self, group: &str) -> BoxFuture<'_, Result<(), TransportError>> {
        let group = group.to_owned();
        async move {
            let what = format!("deletion of group `{group}`");
            // Like a description (`describe_group`), the request must not time out before its client is dropped.
            let clients = self.clients().await?;
            let client = beside("opening the admin client", move || clients.open_for_changes()).await?;
            let options = self.options().request_timeout(Some(LONGEST));
            let deleted = timeout(self.config.request_timeout, client.delete_groups(&[&group], &options)).await;
            // Closing the client blocks.
            drop(tokio::task::spawn_blocking(move || drop(client)));
            let deleted = deleted.map_err(|_| refused(what.as_str(), RDKafkaErrorCode::OperationTimedOut))?;
            let deleted = deleted.map_err(|error| failed(what.as_str(), &error))?;
            match deleted.into_iter().find_map(Result::err) {
                None | Some((_, RDKafkaErrorCode::GroupIdNotFound)) => Ok(()),
                Some((_, RDKafkaErrorCode::NonEmptyGroup)) => Err(has_members(&group)),
                Some((_, code)) => Err(refused(what, code)),
            }
        }
        .boxed()
    }
}

/// Returns a topic's number of partitions, or `None` if the topic does not exist.
fn partitions(topic: &MetadataTopic) -> Option<i32> {
    let missing =
        topic.error().is_some_and(|error| RDKafkaErrorCode::from(error) != RDKafkaErrorCode::LeaderNotAvailable);
    let count = i32::try_from(topic.partitions().len()).ok()?;
    (!missing && count > 0).then_some(count)
}

/// Bounds of a message's timestamp, and the configuration that brokers before Kafka 3.6 have instead (KIP-937).
const TIME_BOUNDS: [&str; 2] = ["message.timestamp.before.max.ms", "message.timestamp.after.max.ms"];
const FORMER_TIME_BOUND: &str = "message.timestamp.difference.max.ms";

/// Creates topics, and returns those that were refused. Brokers refuse a topic with a configuration that they do not
/// know, so a refused topic is created again as an older broker understands it.
async fn create_or_fall_back<'a>(
    topics: &[NewTopic],
    create: impl Fn(Vec<NewTopic>) -> BoxFuture<'a, Result<Vec<TopicRefusal>, TransportError>>,
) -> Result<Vec<TopicRefusal>, TransportError> {
    let mut refusals = create(topics.to_vec()).await?;
    let unknown = |topic: &&NewTopic| {
        let of_topic = |refusal: &TopicRefusal| refusal.topic == topic.name;
        refusals.iter().any(|refusal| of_topic(refusal) && refusal.code == RDKafkaErrorCode::InvalidConfig)
    };
    let former: Vec<_> = topics.iter().filter(unknown).filter_map(with_former_bound).collect();
    if !former.is_empty() {
        let names: Vec<_> = former.iter().map(|topic| topic.name.clone()).collect();
        let still = create(former).await?;
        // Another configuration was invalid if the topic is refused again: the first reason names it.
        refusals.retain(|refusal| !names.contains(&refusal.topic) || still.iter().any(|s| s.topic == refusal.topic));
    }
    Ok(refusals)
}

/// Returns the topic with the configuration that older brokers have for the bounds of timestamps; `None` if it sets no
/// bounds.
fn with_former_bound(topic: &NewTopic) -> Option<NewTopic> {
    let mut topic = topic.clone();
    let [before, after] = TIME_BOUNDS.map(|name| topic.configs.remove(name));
    topic.configs.insert(FORMER_TIME_BOUND.to_owned(), before.or(after)?);
    Some(topic)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use std::sync::Mutex;

    use super::*;

    fn topic(name: &str, configs: &[(&str, &str)]) -> NewTopic {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        NewTopic { name: name.to_owned(), partitions: 1, replication: 1, configs }
    }

    #[tokio::test]
    async fn a_broker_that_does_not_know_the_bounds_of_timestamps_gets_their_predecessor() {
        let known = ["cleanup.policy", FORMER_TIME_BOUND];
        let created = Mutex::new(Vec::new());
        let broker = |topics: Vec<NewTopic>| {
            let (fine, refused): (Vec<_>, Vec<_>) =
                topics.into_iter().partition(|topic| topic.configs.keys().all(|name| known.contains(&&**name)));
            created.lock().unwrap().extend(fine);
            let refusal = |topic: NewTopic| TopicRefusal {
                topic: topic.name,
                code: RDKafkaErrorCode::InvalidConfig,
                reason: format!("unknown {:?}", topic.configs.keys().next()),
            };
            futures_util::future::ready(Ok(refused.into_iter().map(refusal).collect())).boxed()
        };
        let bounds = [(TIME_BOUNDS[0], "9"), (TIME_BOUNDS[1], "9")];
        let topics = [
            topic("plain", &[("cleanup.policy", "delete")]),
            topic("bound", &bounds),
            topic("wrong", &[bounds[0], ("a.b", "c")]),
        ];
        let refusals = create_or_fall_back(&topics, broker).await.unwrap();
        let refused: Vec<_> = refusals.iter().map(|refusal| (&*refusal.topic, &*refusal.reason)).collect();
        assert_eq!(refused, [("wrong", "unknown Some(\"a.b\")")]);
        let expected = [topics[0].clone(), topic("bound", &[(FORMER_TIME_BOUND, "9")])];
        assert_eq!(created.into_inner().unwrap(), expected);
    }
}
