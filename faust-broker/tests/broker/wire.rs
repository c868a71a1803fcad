//! Tests of the protocol on the socket: framing, versions, long polling and acknowledgements.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use faust_broker::core::records::{self, Producer, Record};
use faust_broker::{Broker, BrokerConfig, Error, Port, Storage};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, FetchRequest, FetchResponse, MetadataRequest, ProduceRequest,
    RequestHeader, ResponseHeader, TopicName,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Request, StrBytes};

/// A client that encodes requests and decodes responses on a plain socket.
pub(crate) struct Client {
    pub(crate) stream: TcpStream,
    next_id: i32,
}

impl Client {
    pub(crate) fn new(server: &Broker) -> Self {
        Self::connect(server.bootstrap())
    }

    /// Connects to the broker at an address, which may be another than ours.
    pub(crate) fn connect(address: impl ToSocketAddrs) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        // A request is written in two parts.
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        Self { stream, next_id: 0 }
    }

    pub(crate) fn call<Q: Request>(&mut self, request: &Q, version: i16) -> Q::Response {
        let id = self.send(request, version);
        self.receive::<Q>(id, version)
    }

    pub(crate) fn send<Q: Request>(&mut self, request: &Q, version: i16) -> i32 {
        let mut body = BytesMut::new();
        request.encode(&mut body, version).unwrap();
        self.write(Q::KEY, version, Q::header_version(version), &body)
    }

    fn write(&mut self, api_key: i16, version: i16, header_version: i16, body: &[u8]) -> i32 {
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(api_key)
            .with_request_api_version(version)
            .with_correlation_id(self.next_id);
        let mut frame = BytesMut::new();
        header.encode(&mut frame, header_version).unwrap();
        frame.extend_from_slice(body);
        self.stream.write_all(&u32::try_from(frame.len()).unwrap().to_be_bytes()).unwrap();
        self.stream.write_all(&frame).unwrap();
        self.next_id
    }

    pub(crate) fn receive<Q: Request>(&mut self, id: i32, version: i16) -> Q::Response {
        let mut frame = self.frame();
        let header = ResponseHeader::decode(&mut frame, Q::Response::header_version(version)).unwrap();
        assert_eq!(header.correlation_id, id);
        let response = Q::Response::decode(&mut frame, version).unwrap();
        assert!(frame.is_empty(), "trailing bytes after the response");
        response
    }

    /// Calls with a version that the codec does not have: sends an encoded body with a flexible header, and decodes the response
    /// as that of version `codec`.
    pub(crate) fn call_encoded<Q: Request>(&mut self, body: &[u8], version: i16, codec: i16) -> Q::Response {
        let id = self.write(Q::KEY, version, 2, body);
        self.receive::<Q>(id, codec)
    }

    fn frame(&mut self) -> Bytes {
        let mut len = [0; 4];
        self.stream.read_exact(&mut len).unwrap();
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(len)).unwrap()];
        self.stream.read_exact(&mut frame).unwrap();
        frame.into()
    }

    pub(crate) fn is_closed(&mut self) -> bool {
        match self.stream.read(&mut [0]) {
            Ok(read) => read == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }
}

pub(crate) fn topic(name: &'static str) -> TopicName {
    TopicName(StrBytes::from_static_str(name))
}

pub(crate) fn create(client: &mut Client, name: &'static str) {
    let wanted = MetadataRequestTopic::default().with_name(Some(topic(name)));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    let response = client.call(&request, 9);
    assert_eq!(response.topics[0].error_code, 0);
    assert_eq!(response.topics[0].partitions.len(), 8);
}

pub(crate) fn produce(name: &'static str, values: &[&'static str], acks: i16) -> ProduceRequest {
    let record =
        |value: &&'static str| Record { value: Some(Bytes::from_static(value.as_bytes())), ..Record::default() };
    let records: Vec<Record> = values.iter().map(record).collect();
    let batch = records::encode(&records, Producer::NONE).unwrap();
    let data = PartitionProduceData::default().with_index(0).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![data])
}

pub(crate) fn fetch(name: &'static str, offset: i64, max_wait_ms: i32) -> FetchRequest {
    let partition =
        FetchPartition::default().with_partition(0).with_fetch_offset(offset).with_partition_max_bytes(1 << 20);
    let wanted = FetchTopic::default().with_topic(topic(name)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(max_wait_ms)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_topics(vec![wanted])
}

pub(crate) fn values(response: &FetchResponse) -> Vec<String> {
    let mut bytes = response.responses[0].partitions[0].records.clone().unwrap();
    let mut values = Vec::new();
    while let Some(header) = faust_broker::core::batch::Header::read(&bytes) {
        for record in records::decode(&bytes.split_to(header.size)).unwrap() {
            values.push(String::from_utf8(record.value.unwrap().to_vec()).unwrap());
        }
    }
    values
}

fn server() -> Broker {
    Broker::start_with(BrokerConfig::default()).unwrap()
}

#[test]
fn produced_records_are_fetched() {
    let server = server();
    let mut client = Client::new(&server);
    create(&mut client, "t");
    for (acks, version) in [(1, 3), (-1, 9), (1, 12)] {
        let response = client.call(&produce("t", &["a", "b"], acks), version);
        assert_eq!(response.responses[0].partition_responses[0].error_code, 0);
    }
    for version in [4, 7, 11, 12] {
        assert_eq!(values(&client.call(&fetch("t", 4, 0), version)), ["a", "b"], "version {version}");
        assert_eq!(values(&client.call(&fetch("t", 0, 0), version)).len(), 6, "version {version}");
    }
    assert_eq!(client.call(&fetch("t", 7, 0), 12).responses[0].partitions[0].error_code, 1, "out of range");
    assert_eq!(client.call(&fetch("u", 0, 0), 12).responses[0].partitions[0].error_code, 3, "no such topic");
}

#[test]
fn a_waiting_fetch_is_woken_by_an_append() {
    let server = server();
    let (mut reader, mut writer) = (Client::new(&server), Client::new(&server));
    create(&mut writer, "t");
    let id = reader.send(&fetch("t", 0, 20_000), 12);
    let started = Instant::now();
    writer.call(&produce("t", &["late"], 1), 9);
    let response = reader.receive::<FetchRequest>(id, 12);
    assert_eq!(values(&response), ["late"]);
    assert!(started.elapsed() < Duration::from_secs(15), "the fetch waited for its timeout");
}

#[test]
fn a_fetch_without_records_waits_no_longer_than_max_wait() {
    let server = server();
    let mut client = Client::new(&server);
    create(&mut client, "t");
    assert_eq!(values(&client.call(&fetch("t", 0, 50), 12)), Vec::<String>::new());
}

#[test]
fn a_full_fetch_needs_no_session() {
    let server = server();
    let mut client = Client::new(&server);
    create(&mut client, "t");
    client.call(&produce("t", &["a"], -1), 9);
    // Kafka looks for the session only if the epoch is that of an incremental fetch.
    for (id, epoch) in [(0, 0), (0, -1), (-1, -1), (7, -1), (7, 0)] {
        let request = fetch("t", 0, 0).with_session_id(id).with_session_epoch(epoch);
        let response = client.call(&request, 11);
        assert_eq!((response.error_code, response.session_id), (0, 0), "session {id}, epoch {epoch}");
        assert_eq!(values(&response), ["a"], "session {id}, epoch {epoch}");
    }
    for (id, epoch) in [(7, 1), (0, 1)] {
        let request = fetch("t", 0, 0).with_session_id(id).with_session_epoch(epoch);
        assert_eq!(client.call(&request, 11).error_code, 70, "session {id}, epoch {epoch}");
    }
}

#[test]
fn there_is_no_response_without_acks() {
    let server = server();
    let mut client = Client::new(&server);
    create(&mut client, "t");
    client.send(&produce("t", &["unseen"], 0), 9);
    // The next response belongs to the next request.
    assert_eq!(values(&client.call(&fetch("t", 0, 0), 12)), ["unseen"]);
}

#[test]
fn requests_are_answered_in_order() {
    let server = server();
    let mut client = Client::new(&server);
    create(&mut client, "t");
    let slow = client.send(&fetch("t", 0, 100), 12);
    let quick = client.send(&MetadataRequest::default(), 9);
    client.receive::<FetchRequest>(slow, 12);
    client.receive::<MetadataRequest>(quick, 9);
}

#[test]
fn an_unsupported_version_of_api_versions_is_answered_in_version_0() {
    let server = server();
    let mut client = Client::new(&server);
    client.stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 99, 0, 0, 0, 7, 255, 255]).unwrap();
    let mut frame = client.frame();
    assert_eq!(ResponseHeader::decode(&mut frame, 0).unwrap().correlation_id, 7);
    let versions = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
    assert_eq!(versions.error_code, 35);
    assert!(versions.api_keys.iter().any(|api| api.api_key == 18 && api.max_version == 4));
    assert_eq!(client.call(&ApiVersionsRequest::default(), 0).error_code, 0, "the connection stays open");
}

#[test]
fn invalid_lengths_close_the_connection() {
    let server = server();
    let cases: [&[u8]; 5] = [
        &[0x7f, 0xff, 0xff, 0xff, 0, 0],
        &[0xff, 0xff, 0xff, 0xff, 0, 0],
        &[0, 0, 0, 1, 0, 0],
        // Only produce requests may be this long.
        &[2, 0, 0, 0, 0, 3],
        // An unknown API key.
        &[0, 0, 0, 8, 0x44, 0x44, 0, 0, 0, 0, 0, 0],
    ];
    for bytes in cases {
        let mut client = Client::new(&server);
        client.stream.write_all(bytes).unwrap();
        assert!(client.is_closed(), "{bytes:?}");
    }
    let mut client = Client::new(&server);
    assert_eq!(client.call(&ApiVersionsRequest::default(), 0).error_code, 0, "other clients are served");
}

#[test]
fn non_loopback_addresses_are_rejected() {
    let refused = Broker::start_with(BrokerConfig::default().with_host("0.0.0.0".parse().unwrap())).unwrap_err();
    assert!(matches!(refused, Error::NotLoopback { .. }), "{refused}");
}

#[test]
fn a_port_in_use_is_an_error_or_avoided() {
    let first = server();
    let port = first.address().port();
    let exact = Broker::start_with(BrokerConfig::new(Storage::Memory, Port::Exact(port))).unwrap_err();
    assert!(exact.to_string().contains(&format!("127.0.0.1:{port}")), "{exact}");
    let other = Broker::start_with(BrokerConfig::new(Storage::Memory, Port::Prefer(port))).unwrap();
    assert_ne!(other.address().port(), port);
    first.stop().unwrap();
    let again = Broker::start_with(BrokerConfig::new(Storage::Memory, Port::Exact(port))).unwrap();
    assert_eq!(again.address().port(), port);
}
