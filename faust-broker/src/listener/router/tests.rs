//! Every sample request is answered in every version, for topics and groups that exist and for those that do not.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bytes::{Buf, Bytes};
use kafka_protocol::messages::ApiKey;

use super::*;
use crate::config::Storage;
use crate::core::records::{self, Producer, Record};
use crate::core::{BrokerCore, CoreConfig, TopicSpec};
use crate::listener::api::versions::range;
use crate::listener::samples::{Sample, samples};
use crate::listener::{Endpoint, LogDir};

fn broker() -> BrokerCore {
    BrokerCore::new(CoreConfig::default().with_config("auto.create.topics.enable", "false").unwrap())
}

fn shared(broker: BrokerCore) -> Arc<Shared> {
    let endpoint = Endpoint::new(([127, 0, 0, 1], 9092).into(), None);
    Arc::new(Shared::new(broker, endpoint, LogDir::of(&Storage::Memory)))
}

async fn check(shared: &Arc<Shared>, sample: &Sample) {
    let link = Link { peer: ([127, 0, 0, 1], 1).into(), local: ([127, 0, 0, 1], 9092).into() };
    let answered = tokio::time::timeout(std::time::Duration::from_secs(600), answer(shared, link, sample.frame()));
    let outcome = answered.await.unwrap_or_else(|_| panic!("{:?} version {} waits", sample.api, sample.version));
    let name = format!("{:?} version {}", sample.api, sample.version);
    let answer = outcome.unwrap_or_else(|fault| panic!("{name}: {fault}"));
    // The samples produce with acks = 0, for which no response is sent.
    assert_eq!(answer.is_none(), sample.api == ApiKey::Produce, "{name}");
    if let Some(mut answer) = answer {
        assert_eq!(usize::try_from(answer.get_i32()).unwrap(), answer.remaining(), "{name}");
        assert_eq!(answer.get_i32(), 5, "{name}: the correlation id");
    }
}

#[tokio::test(start_paused = true)]
async fn all_requests_are_answered_on_an_empty_broker() {
    let shared = shared(broker());
    for sample in samples(range, 7, Bytes::from_static(b"no batch")) {
        check(&shared, &sample).await;
    }
}

#[tokio::test(start_paused = true)]
async fn all_requests_are_answered_for_an_existing_topic() {
    let record = Record { value: Some(Bytes::from_static(b"value")), ..Record::default() };
    let batch = records::encode(&[record], Producer::NONE).unwrap();
    let destructive = [ApiKey::DeleteTopics, ApiKey::DeleteRecords, ApiKey::DeleteGroups];
    let mut broker = broker();
    let spec = TopicSpec { partitions: 3, ..TopicSpec::default() };
    let id = broker.create_topic("name", spec).unwrap().id();
    let shared = shared(broker);
    let (last, first): (Vec<Sample>, Vec<Sample>) =
        samples(range, id, batch).into_iter().partition(|sample| destructive.contains(&sample.api));
    for sample in first.iter().chain(&last) {
        check(&shared, sample).await;
    }
}
