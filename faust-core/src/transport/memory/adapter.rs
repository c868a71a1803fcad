//! The port to the in-memory cluster.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use faust_broker::core::{ConfigKey, ErrorCode, OffsetSpec, TOPIC_CONFIGS, TopicSpec};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use super::cluster::{MemoryCluster, refused};
use super::group::Membership;
use super::member::{Member, member_id};
use super::queue::MemoryQueue;
use super::reader::MemoryReader;
use super::sink::MemorySink;
use super::transaction::MemoryTransactions;
use crate::error::TransportError;
use crate::message::Offset;
use crate::time::Clock;
use crate::transport::inspection::{ClusterState, PartitionReplicas, TopicState};
use crate::transport::outage::Outage;
use crate::transport::port::{
    Admin, Committed, Group, GroupListener, GroupMember, NewTopic, PartitionQueue, Reader, Sink, StartAt, Subscription,
    TailPace, TopicConfigs, TopicPartition, Transactions, Transport, Watermarks, has_members, topic_id_text,
};
use crate::transport::transaction::TransactionError;

impl MemoryCluster {
    /// Opens a producer that the cluster's faults do not concern.
    pub(crate) fn reliable_sink(&self) -> Arc<dyn Sink> {
        Arc::new(MemorySink::new(self.clone(), false))
    }

    fn queues(&self, from: Vec<(TopicPartition, StartAt)>) -> Result<Vec<MemoryQueue>, TransportError> {
        let queue = |(partition, start)| {
            let offset = match start {
                StartAt::Offset(offset) => offset,
                StartAt::Earliest => self.state().end(&partition, OffsetSpec::Earliest)?,
                StartAt::Latest => self.state().end(&partition, OffsetSpec::Latest)?,
            };
            Ok(MemoryQueue::new(self.clone(), partition, offset))
        };
        from.into_iter().map(queue).collect()
    }
}

impl crate::transport::port::Sealed for MemoryCluster {}

impl Transport for MemoryCluster {
    fn describe(&self) -> String {
        "memory://".to_owned()
    }

    fn clock(&self) -> Clock {
        let cluster = self.clone();
        Clock::new(move || cluster.time())
    }

    fn outage(&self) -> Arc<Outage> {
        Arc::new(Outage::new(self.describe()))
    }

    fn sink(&self) -> Result<Arc<dyn Sink>, TransportError> {
        Ok(Arc::new(MemorySink::new(self.clone(), true)))
    }

    fn transactions(&self, id: &str) -> BoxFuture<'_, Result<Arc<dyn Transactions>, TransactionError>> {
        let opened = MemoryTransactions::open(self, id);
        ready(opened.map(|opened| Arc::new(opened) as Arc<dyn Transactions>)).boxed()
    }

    fn admin(&self) -> Result<Arc<dyn Admin>, TransportError> {
        Ok(Arc::new(self.clone()))
    }

    fn join(
        &self,
        subscription: Subscription,
        listener: Arc<dyn GroupListener>,
    ) -> Result<Arc<dyn Group>, TransportError> {
        Ok(Membership::join(self, subscription, listener))
    }

    fn read(&self, from: Vec<(TopicPartition, StartAt)>, _: Duration) -> Result<Box<dyn Reader>, TransportError> {
        Ok(Box::new(MemoryReader::new(self.queues(from)?)))
    }

    fn tail(
        &self,
        from: Vec<(TopicPartition, StartAt)>,
        _: TailPace,
    ) -> BoxFuture<'_, Result<Vec<Box<dyn PartitionQueue>>, TransportError>> {
        let boxed = |queue| Box::new(queue) as Box<dyn PartitionQueue>;
        ready(self.queues(from).map(|queues| queues.into_iter().map(boxed).collect())).boxed()
    }
}

impl Admin for MemoryCluster {
    fn topics(&self, names: Option<Vec<String>>) -> BoxFuture<'_, Result<BTreeMap<String, i32>, TransportError>> {
        let mut topics = self.state().topics();
        if let Some(names) = names {
            topics.retain(|name, _| names.contains(name));
        }
        ready(Ok(topics)).boxed()
    }

    fn create(&self, topics: Vec<NewTopic>) -> BoxFuture<'_, Result<(), TransportError>> {
        let mut state = self.state();
        state.active();
        let created = topics.into_iter().filter(|topic| state.broker.topic(&topic.name).is_none()).collect::<Vec<_>>();
        let results = created.into_iter().map(|topic| {
            let spec = TopicSpec { partitions: topic.partitions, configs: topic.configs };
            let created = state.broker.create_topic(&topic.name, spec);
            created
                .map(drop)
                .map_err(|refusal| TransportError::fatal(format!("create topic `{}`", topic.name), refusal.message))
        });
        let result: Result<Vec<()>, _> = results.collect();
        ready(result.map(drop)).boxed()
    }

    fn delete(&self, topics: Vec<String>) -> BoxFuture<'_, Result<(), TransportError>> {
        let mut state = self.state();
        state.active();
        for topic in topics {
            // A topic that does not exist is no error.
            state.broker.delete_topic(&topic).ok();
        }
        ready(Ok(())).boxed()
    }

    fn delete_records(&self, before: BTreeMap<TopicPartition, Offset>) -> BoxFuture<'_, Result<(), TransportError>> {
        let mut state = self.state();
        state.active();
        let deleted = before.into_iter().try_for_each(|(of, offset)| {
            let deleted = state.broker.delete_records(&of.topic, of.partition, Some(offset.0));
            deleted.map(drop).map_err(|code| refused(&format!("deletion of records of {of}"), code))
        });
        ready(deleted).boxed()
    }

    fn topic_ids(&self, names: Vec<String>) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>> {
        let state = self.state();
        let ids = names.into_iter().filter_map(|name| {
            let id = topic_id_text(state.broker.topic(&name)?.id());
            Some((name, id))
        });
        ready(Ok(ids.collect())).boxed()
    }

    fn watermarks(&self, of: Vec<TopicPartition>) -> BoxFuture<'_, Result<Watermarks, TransportError>> {
        let state = self.state();
        let bounds = of.into_iter().map(|partition| {
            let low = state.end(&partition, OffsetSpec::Earliest)?;
            let high = state.end(&partition, OffsetSpec::Latest)?;
            Ok((partition, (low, high)))
        });
        ready(bounds.collect()).boxed()
    }

    fn configs(&self, topics: Vec<String>) -> BoxFuture<'_, Result<TopicConfigs, TransportError>> {
        let state = self.state();
        let configs = |topic: String| {
            let own = state.broker.topic(&topic)?.configs();
            let value = |key: &ConfigKey| own.get(key.name).map_or(key.default, String::as_str).to_owned();
            let configs = TOPIC_CONFIGS.iter().map(|key| (key.name.to_owned(), value(key))).collect();
            Some((topic, configs))
        };
        ready(Ok(topics.into_iter().filter_map(configs).collect())).boxed()
    }

    fn committed(
        &self,
        group: &str,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<BTreeMap<TopicPartition, Committed>, TransportError>> {
        let group = group.to_owned();
        async move {
            self.offsets_settled(&group, &of, || ()).await;
            let state = self.state();
            let committed =
                of.into_iter().filter_map(|partition| Some((partition.clone(), state.committed(&group, &partition)?)));
            Ok(committed.collect())
        }
        .boxed()
    }

    fn committed_now(
        &self,
        group: &str,
        of: Vec<TopicPartition>,
    ) -> BoxFuture<'_, Result<BTreeMap<TopicPartition, Committed>, TransportError>> {
        let now = self.time();
        let mut state = self.state();
        let committed = of
            .into_iter()
            .filter_map(|partition| Some((partition.clone(), state.committed_now(group, &partition, now)?)));
        ready(Ok(committed.collect())).boxed()
    }

    fn commit(
        &self,
        group: &str,
        offsets: BTreeMap<TopicPartition, Committed>,
    ) -> BoxFuture<'_, Result<(), TransportError>> {
        let now = self.time();
        let mut state = self.state();
        state.active();
        if state.members.values().any(|member| member.group() == group) {
            return ready(Err(has_members(group))).boxed();
        }
        ready(state.commit(group, offsets, now).map(drop)).boxed()
    }

    fn inspect(&self, topics: Vec<String>, _: &str) -> BoxFuture<'_, Result<ClusterState, TransportError>> {
        let state = self.state();
        let described = topics.into_iter().filter_map(|name| {
            let partitions = 0..state.broker.topic(&name)?.partitions();
            let partitions = partitions.map(|_| PartitionReplicas::new(true, 1, 1)).collect();
            Some((name, Ok(TopicState { partitions, rights: None })))
        });
        let topics = described.collect();
        ready(Ok(ClusterState { brokers: vec![self.describe()], topics, ..ClusterState::default() })).boxed()
    }

    fn check_creation(&self, topics: Vec<NewTopic>) -> BoxFuture<'_, Result<BTreeMap<String, String>, TransportError>> {
        let state = self.state();
        let refusals = topics.into_iter().filter_map(|topic| {
            let spec = TopicSpec { partitions: topic.partitions, configs: topic.configs };
            let refusal = state.broker.check_topic(&topic.name, &spec).err()?;
            Some((topic.name, refusal.message))
        });
        ready(Ok(refusals.collect())).boxed()
    }

    fn groups(&self) -> BoxFuture<'_, Result<BTreeSet<String>, TransportError>> {
        let state = self.state();
        let members = state.members.values().map(Member::group);
        ready(Ok(state.broker.groups().chain(members).map(str::to_owned).collect())).boxed()
    }

    fn members(&self, group: &str) -> BoxFuture<'_, Result<usize, TransportError>> {
        let members = self.state().members.values().filter(|member| member.group() == group).count();
        ready(Ok(members)).boxed()
    }

    fn group_members(&self, group: &str) -> BoxFuture<'_, Result<Vec<GroupMember>, TransportError>> {
        let state = self.state();
        let members = state.members.iter().filter(|(_, member)| member.group() == group && !member.expelled);
        let described = members.map(|(id, member)| GroupMember {
            member_id: member_id(*id),
            instance_id: None,
            client_id: format!("{}/memory", member.client),
            host: "memory".to_owned(),
            partitions: member.assigned.clone(),
        });
        ready(Ok(described.collect())).boxed()
    }

    fn delete_group(&self, group: &str) -> BoxFuture<'_, Result<(), TransportError>> {
        let mut state = self.state();
        state.active();
        // Membership is managed by this transport, as for commits.
        if state.members.values().any(|member| member.group() == group) {
            return ready(Err(has_members(group))).boxed();
        }
        ready(match state.broker.delete_group(group, 0) {
            Ok(()) | Err(ErrorCode::GroupIdNotFound) => Ok(()),
            Err(code) => Err(refused(&format!("deletion of group `{group}`"), code)),
        })
        .boxed()
    }
}
