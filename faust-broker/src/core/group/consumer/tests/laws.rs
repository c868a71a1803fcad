//! The law of consumer groups: no partition has two members, and once all is quiet, each has the one of the target assignment.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::core::storage::MemoryStorage;

const TOPICS: [&str; 3] = ["t", "u", "v"];

/// A step of a random history. The first number selects the client.
#[derive(Debug, Clone, Copy)]
enum Step {
    Beat(usize),
    /// The broker handles a heartbeat of which the client does not get the response.
    Lose(usize),
    /// The client finishes giving up partitions.
    GiveUp(usize),
    Leave(usize),
    LeaveForAWhile(usize),
    /// The process ends without a word; the next heartbeat is that of a new process.
    Die(usize),
    Subscribe(usize, usize),
    Prefer(usize, bool),
    Grow(usize),
    Recreate(usize),
    Pass(i64),
    Restart,
}

fn steps() -> impl Strategy<Value = Step> {
    let who = || 0usize..4;
    prop_oneof![
        16 => who().prop_map(Step::Beat),
        3 => who().prop_map(Step::Lose),
        8 => who().prop_map(Step::GiveUp),
        2 => who().prop_map(Step::Leave),
        2 => who().prop_map(Step::LeaveForAWhile),
        1 => who().prop_map(Step::Die),
        3 => (who(), 1usize..8).prop_map(|(who, topics)| Step::Subscribe(who, topics)),
        1 => (who(), any::<bool>()).prop_map(|(who, ranged)| Step::Prefer(who, ranged)),
        1 => (0usize..3).prop_map(Step::Grow),
        1 => (0usize..3).prop_map(Step::Recreate),
        4 => (100i64..1500).prop_map(Step::Pass),
        1 => Just(Step::Restart),
    ]
}

/// A client that gives up partitions in its own time, and gets others only afterwards.
struct Slow {
    client: Client,
    /// Number of processes that have run as this client; each has a member id of its own.
    runs: usize,
    /// What the client uses.
    uses: BTreeSet<TopicPartition>,
    /// What it is to use once it has given up the others.
    due: Option<BTreeSet<TopicPartition>>,
    /// True if the next heartbeat reports everything.
    is_full: bool,
}

impl Slow {
    fn new(index: usize) -> Self {
        let client = match index {
            0 | 1 => Client::fixed("", &format!("i{index}")),
            _ => Client::new(""),
        };
        let mut slow = Self { client, runs: 0, uses: BTreeSet::new(), due: None, is_full: true };
        slow.start(index);
        slow
    }

    fn start(&mut self, index: usize) {
        self.runs += 1;
        self.client.id = format!("m{index}-{}", self.runs);
        self.drop_all();
    }

    fn drop_all(&mut self) {
        self.client.epoch = 0;
        self.client.owned.clear();
        self.uses.clear();
        self.due = None;
        self.is_full = true;
    }

    fn give_up(&mut self) {
        if let Some(due) = self.due.take() {
            self.uses = due;
        }
    }

    fn request(&self) -> ConsumerHeartbeat {
        let client = Client { owned: self.uses.clone(), ..self.client.clone() };
        match (self.is_full, self.due.is_some()) {
            (true, _) => client.full(),
            // It reports what it owns when it has given up the rest.
            (false, false) => ConsumerHeartbeat { owned: Some(client.owned.clone()), ..client.brief() },
            (false, true) => client.brief(),
        }
    }

    fn receive(&mut self, outcome: Result<ConsumerReply, ErrorCode>) {
        match outcome {
            Ok(reply) => {
                self.is_full = false;
                self.client.epoch = reply.epoch;
                let Some(assignment) = reply.assignment else { return };
                if self.uses.is_subset(&assignment) {
                    (self.uses, self.due) = (assignment, None);
                } else {
                    self.due = Some(assignment);
                }
            }
            // The instance id is that of a former process, whose session has not expired.
            Err(ErrorCode::UnreleasedInstanceId) => {}
            Err(ErrorCode::FencedMemberEpoch | ErrorCode::UnknownMemberId | ErrorCode::GroupIdNotFound) => {
                self.drop_all()
            }
            Err(code) => panic!("unexpected {code:?}"),
        }
    }
}

/// The configs after a restart, with another seed, so that topics created since have ids of their own.
fn seeded(now_ms: i64) -> CoreConfig {
    CoreConfig { seed: u64::try_from(now_ms).unwrap() + 1000, ..quick() }
}

struct World {
    scene: Scene,
    clients: Vec<Slow>,
}

impl World {
    fn new() -> Self {
        let mut scene = Scene::new();
        scene.broker.create_topic("u", six()).unwrap();
        Self { scene, clients: (0..4).map(Slow::new).collect() }
    }

    fn beat(&mut self, who: usize) {
        let outcome = self.scene.send(self.clients[who].request());
        self.clients[who].receive(outcome);
    }

    fn leave(&mut self, who: usize, epoch: i32) {
        if self.clients[who].client.epoch > 0 {
            // Fails if the broker has removed the member before.
            self.scene.send(ConsumerHeartbeat { epoch, ..self.clients[who].client.brief() }).ok();
            self.clients[who].start(who);
        }
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Beat(who) => self.beat(who),
            Step::Lose(who) => {
                self.scene.send(self.clients[who].request()).ok();
                self.clients[who].is_full = true;
            }
            Step::GiveUp(who) => self.clients[who].give_up(),
            Step::Leave(who) => self.leave(who, -1),
            Step::LeaveForAWhile(who) if self.clients[who].client.instance_id.is_some() => self.leave(who, -2),
            Step::LeaveForAWhile(_) => {}
            Step::Die(who) => self.clients[who].start(who),
            Step::Subscribe(who, topics) => {
                let chosen = TOPICS.iter().enumerate().filter(|(index, _)| topics >> index & 1 == 1);
                self.clients[who].client.topics = chosen.map(|(_, topic)| (*topic).to_owned()).collect();
                self.clients[who].is_full = true;
            }
            Step::Prefer(who, ranged) => {
                self.clients[who].client.assignor = Some(if ranged { "range" } else { "uniform" }.to_owned());
                self.clients[who].is_full = true;
            }
            Step::Grow(topic) => {
                let partitions = self.scene.broker.topic(TOPICS[topic]).map_or(0, |topic| topic.partitions());
                self.scene.broker.create_partitions(TOPICS[topic], (partitions + 1).min(12), false).ok();
            }
            Step::Recreate(topic) => {
                self.scene.broker.delete_topic(TOPICS[topic]).ok();
                self.scene.broker.create_topic(TOPICS[topic], six()).unwrap();
            }
            Step::Pass(ms) => self.scene.pass(ms),
            Step::Restart => {
                self.scene.now_ms += 1;
                let changes = self.scene.broker.snapshot();
                self.scene.broker =
                    BrokerCore::restore(seeded(self.scene.now_ms), Box::new(MemoryStorage), changes).unwrap();
            }
        }
    }

    /// Returns what each client uses, of those that are members.
    fn uses(&self) -> BTreeMap<String, BTreeSet<TopicPartition>> {
        let group = self.scene.broker.describe_consumer_group("g");
        let members = group.map(|group| group.members).unwrap_or_default();
        let is_member = |slow: &&Slow| members.iter().any(|member| member.member_id == slow.client.id);
        self.clients.iter().filter(is_member).map(|slow| (slow.client.id.clone(), slow.uses.clone())).collect()
    }

    fn check_owners(&self) {
        let mut owners = BTreeMap::new();
        for (id, uses) in self.uses() {
            for at in uses {
                if let Some(other) = owners.insert(at, id.clone()) {
                    panic!("partition {at:?} has the members {other} and {id}");
                }
            }
        }
    }

    /// Lets all clients follow until nothing is left to do.
    fn settle(&mut self) {
        for _ in 0..40 {
            self.scene.pass(1000);
            for who in 0..self.clients.len() {
                self.clients[who].give_up();
                self.beat(who);
                self.check_owners();
            }
        }
    }
}

proptest! {
    /// Law: whatever members, topics and the broker do, no partition is used by two members. Once the members follow, each
    /// partition of a subscribed topic has one member, the group is stable, and the members have what the assignor gives them.
    #[test]
    fn no_partition_has_two_members_and_in_the_end_each_has_one(history in proptest::collection::vec(steps(), 1..120)) {
        let mut world = World::new();
        for step in history {
            world.step(step);
            world.check_owners();
        }
        world.settle();
        // Another assignor is used at the next change, as in Kafka.
        world.leave(3, -1);
        world.settle();
        let group = world.scene.group();
        prop_assert_eq!(group.state, "Stable", "{:?}", group);
        let uses = world.uses();
        prop_assert_eq!(uses.len(), world.clients.len());
        let subscribed: BTreeSet<&String> = world.clients.iter().flat_map(|slow| &slow.client.topics).collect();
        let mut expected = BTreeSet::new();
        for topic in subscribed {
            if let Some(topic) = world.scene.broker.topic(topic) {
                expected.extend((0..topic.partitions()).map(|partition| (topic.id(), partition)));
            }
        }
        prop_assert_eq!(uses.values().flatten().copied().collect::<BTreeSet<_>>(), expected);
        for member in &group.members {
            prop_assert_eq!(&uses[&member.member_id], &member.target);
        }
        let mine = world.scene.broker.groups.by_id["g"].consumer.as_ref().unwrap();
        let targets: Vec<_> = group.members.iter().map(|member| member.target.clone()).collect();
        prop_assert_eq!(mine.assignment(), targets, "the assignor would change its own assignment");
    }
}
