//! Scenarios of consumer groups.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod commits;
mod epochs;
mod laws;
mod restarts;

use std::collections::BTreeSet;

use crate::core::{
    BrokerCore, ConsumerHeartbeat, ConsumerReply, CoreConfig, DescribedConsumerGroup, ErrorCode, MemberRef,
    TopicPartition, TopicSpec,
};

const SESSION_MS: i64 = 6000;
const REBALANCE_MS: i32 = 3000;

/// A client: what it sends in a heartbeat, and what it has been assigned.
#[derive(Debug, Clone)]
struct Client {
    id: String,
    instance_id: Option<String>,
    topics: Vec<String>,
    assignor: Option<String>,
    epoch: i32,
    owned: BTreeSet<TopicPartition>,
}

impl Client {
    fn new(id: &str) -> Self {
        let (id, topics) = (id.to_owned(), vec!["t".to_owned()]);
        Self { id, instance_id: None, topics, assignor: None, epoch: 0, owned: BTreeSet::new() }
    }

    fn ranged(id: &str) -> Self {
        Self { assignor: Some("range".to_owned()), ..Self::new(id) }
    }

    fn fixed(id: &str, instance_id: &str) -> Self {
        Self { instance_id: Some(instance_id.to_owned()), ..Self::ranged(id) }
    }

    /// A heartbeat with everything.
    fn full(&self) -> ConsumerHeartbeat {
        ConsumerHeartbeat {
            member_id: self.id.clone(),
            epoch: self.epoch,
            instance_id: self.instance_id.clone(),
            rebalance_timeout_ms: REBALANCE_MS,
            topics: Some(self.topics.clone()),
            assignor: self.assignor.clone(),
            owned: Some(self.owned.clone()),
            ..ConsumerHeartbeat::default()
        }
    }

    /// A heartbeat without changes.
    fn brief(&self) -> ConsumerHeartbeat {
        let (member_id, epoch, instance_id) = (self.id.clone(), self.epoch, self.instance_id.clone());
        ConsumerHeartbeat { member_id, epoch, instance_id, rebalance_timeout_ms: -1, ..ConsumerHeartbeat::default() }
    }

    fn partitions(&self) -> Vec<i32> {
        self.owned.iter().map(|at| at.1).collect()
    }

    fn member(&self) -> MemberRef {
        MemberRef {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            generation: self.epoch,
            knows_member_epochs: true,
        }
    }
}

/// A broker with a topic `t` of six partitions, and a clock.
struct Scene {
    broker: BrokerCore,
    now_ms: i64,
}

fn quick() -> CoreConfig {
    let session = SESSION_MS.to_string();
    let configs = [
        ("group.consumer.min.session.timeout.ms", &session[..]),
        ("group.consumer.session.timeout.ms", &session),
        ("group.consumer.min.heartbeat.interval.ms", "1000"),
        ("group.consumer.heartbeat.interval.ms", "1000"),
    ];
    configs.iter().fold(CoreConfig::seeded(7), |config, (name, value)| config.with_config(name, value).unwrap())
}

fn six() -> TopicSpec {
    TopicSpec { partitions: 6, ..TopicSpec::default() }
}

impl Scene {
    fn new() -> Self {
        Self::with(quick())
    }

    fn with(config: CoreConfig) -> Self {
        let mut broker = BrokerCore::new(config);
        broker.create_topic("t", six()).unwrap();
        Self { broker, now_ms: 0 }
    }

    fn send(&mut self, request: ConsumerHeartbeat) -> Result<ConsumerReply, ErrorCode> {
        self.broker.consumer_heartbeat("g", request, self.now_ms).map_err(|refusal| refusal.code)
    }

    /// Sends a heartbeat with everything, and takes over the response.
    fn join(&mut self, client: &mut Client) {
        let reply = self.send(client.full()).unwrap();
        client.epoch = reply.epoch;
        client.owned = reply.assignment.unwrap();
    }

    /// Sends a heartbeat as a client does, and takes over the response: it gives up partitions at once, and says so in the
    /// next heartbeat.
    fn beat(&mut self, client: &mut Client) {
        let mut request = client.brief();
        request.owned = Some(client.owned.clone());
        let reply = self.send(request).unwrap();
        client.epoch = reply.epoch;
        if let Some(assignment) = reply.assignment {
            client.owned = assignment;
        }
    }

    fn pass(&mut self, ms: i64) {
        self.now_ms += ms;
        self.broker.tick(self.now_ms);
    }

    fn group(&self) -> DescribedConsumerGroup {
        self.broker.describe_consumer_group("g").unwrap()
    }

    fn id(&self, topic: &str) -> u128 {
        self.broker.topic(topic).unwrap().id()
    }
}

/// Two members that share the partitions of `t` in ranges.
fn pair(scene: &mut Scene) -> (Client, Client) {
    let (mut a, mut b) = (Client::ranged("a"), Client::ranged("b"));
    scene.join(&mut a);
    scene.join(&mut b);
    scene.beat(&mut a);
    scene.beat(&mut a);
    scene.beat(&mut b);
    assert_eq!((a.partitions(), b.partitions()), (vec![0, 1, 2], vec![3, 4, 5]));
    assert_eq!(scene.group().state, "Stable");
    (a, b)
}
