//! Routing of requests: checks and decodes a frame, calls the API's handler, and encodes the response.

use std::net::SocketAddr;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AlterConfigsRequest, AlterPartitionReassignmentsRequest,
    AlterReplicaLogDirsRequest, ApiKey, ApiVersionsRequest, ConsumerGroupDescribeRequest,
    ConsumerGroupHeartbeatRequest, CreateAclsRequest, CreatePartitionsRequest, CreateTopicsRequest, DeleteAclsRequest,
    DeleteGroupsRequest, DeleteRecordsRequest, DeleteTopicsRequest, DescribeAclsRequest, DescribeClientQuotasRequest,
    DescribeClusterRequest, DescribeConfigsRequest, DescribeGroupsRequest, DescribeLogDirsRequest,
    DescribeProducersRequest, DescribeQuorumRequest, DescribeTopicPartitionsRequest, DescribeTransactionsRequest,
    DescribeUserScramCredentialsRequest, ElectLeadersRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest,
    HeartbeatRequest, IncrementalAlterConfigsRequest, InitProducerIdRequest, JoinGroupRequest, LeaveGroupRequest,
    ListConfigResourcesRequest, ListGroupsRequest, ListOffsetsRequest, ListPartitionReassignmentsRequest,
    ListTransactionsRequest, MetadataRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, ProduceRequest, RequestHeader, ResponseHeader, SyncGroupRequest,
    TxnOffsetCommitRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes};

use crate::listener::answer::Answer;
use crate::listener::api::{
    cluster, configs, consumer_groups, fetch, fetch_response, group_admin, group_offsets, groups, log_dirs, offsets,
    produce, quorum, security, topic_partitions, topics, transaction_admin, transactions, versions,
};
use crate::listener::fault::Fault;
use crate::listener::topic_ids::{self, TOPIC_IDS};
use crate::listener::{Shared, shape};

/// The two ends of a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Link {
    /// The address of the client.
    pub(crate) peer: SocketAddr,
    /// The address at which the client has reached the broker.
    pub(crate) local: SocketAddr,
}

/// The context of a request: its connection, client and version.
#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) shared: Arc<Shared>,
    pub(crate) link: Link,
    pub(crate) client_id: String,
    pub(crate) version: i16,
}

impl Call {
    /// Returns the host and port that the client is told to connect to.
    pub(crate) fn advertised(&self) -> (StrBytes, i32) {
        let (host, port) = self.shared.endpoint.advertised(self.link.local);
        (StrBytes::from_string(host), i32::from(port))
    }
}

/// Answers one request. Returns `None` if the request does not expect a response.
pub(crate) async fn answer(shared: &Arc<Shared>, link: Link, mut frame: Bytes) -> Result<Option<Answer>, Fault> {
    let (api_key, version) = key_and_version(&frame)?;
    let api = ApiKey::try_from(api_key).map_err(|()| Fault::Unsupported { api_key, version })?;
    if !versions::supports(api, version) {
        return if api == ApiKey::ApiVersions {
            versions::refuse(&frame).map(|answer| Some(answer.into()))
        } else {
            Err(Fault::Unsupported { api_key, version })
        };
    }
    // IMPORTANT: before any decoding; see `shape`.
    shape::check(api, version, &frame)
        .map_err(|reason| Fault::Malformed(format!("{api:?} version {version}: {reason}")))?;
    let header = RequestHeader::decode(&mut frame, api.request_header_version(version)).map_err(malformed)?;
    let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
    let call = Call { shared: Arc::clone(shared), link, client_id, version };
    dispatch(&call, api, header.correlation_id, frame).await
}

async fn dispatch(call: &Call, api: ApiKey, id: i32, body: Bytes) -> Result<Option<Answer>, Fault> {
    macro_rules! reply {
        ($request:ty, $handler:path) => {
            encode(call, api, id, &$handler(call, decode::<$request>(call, body)?)).map(Some)
        };
        ($request:ty, $handler:path, wait) => {
            encode(call, api, id, &$handler(call, decode::<$request>(call, body)?).await).map(Some)
        };
        (by $decode:path, $handler:path) => {
            encode(call, api, id, &$handler(call, $decode(body)?)).map(Some)
        };
    }
    match api {
        ApiKey::ApiVersions => reply!(ApiVersionsRequest, versions::handle),
        ApiKey::Produce => {
            let request = decode::<ProduceRequest>(call, body)?;
            let wants_answer = request.acks != 0;
            let response = produce::handle(call, request);
            if wants_answer { encode(call, api, id, &response).map(Some) } else { Ok(None) }
        }
        ApiKey::Fetch => {
            let response = fetch::handle(call, decode::<FetchRequest>(call, body)?).await;
            fetch_response::encode(response, call.version, id).map(Some)
        }
        ApiKey::ListOffsets => reply!(ListOffsetsRequest, offsets::list),
        ApiKey::OffsetForLeaderEpoch => reply!(OffsetForLeaderEpochRequest, offsets::for_leader_epoch),
        ApiKey::DeleteRecords => reply!(DeleteRecordsRequest, offsets::delete_records),
        ApiKey::Metadata => reply!(MetadataRequest, cluster::metadata),
        ApiKey::DescribeCluster => reply!(DescribeClusterRequest, cluster::describe),
        ApiKey::FindCoordinator => reply!(FindCoordinatorRequest, cluster::find_coordinator),
        ApiKey::InitProducerId => reply!(InitProducerIdRequest, transactions::init_producer_id),
        ApiKey::CreateTopics => reply!(CreateTopicsRequest, topics::create),
        ApiKey::DeleteTopics => reply!(DeleteTopicsRequest, topics::delete),
        ApiKey::CreatePartitions => reply!(CreatePartitionsRequest, topics::create_partitions),
        ApiKey::DescribeConfigs => reply!(DescribeConfigsRequest, configs::describe),
        ApiKey::AlterConfigs => reply!(AlterConfigsRequest, configs::alter),
        ApiKey::IncrementalAlterConfigs => reply!(IncrementalAlterConfigsRequest, configs::alter_incrementally),
        ApiKey::JoinGroup => reply!(JoinGroupRequest, groups::join, wait),
        ApiKey::SyncGroup => reply!(SyncGroupRequest, groups::sync, wait),
        ApiKey::Heartbeat => reply!(HeartbeatRequest, groups::heartbeat),
        ApiKey::LeaveGroup => reply!(LeaveGroupRequest, groups::leave),
        ApiKey::ConsumerGroupHeartbeat => reply!(ConsumerGroupHeartbeatRequest, consumer_groups::heartbeat),
        ApiKey::ConsumerGroupDescribe => reply!(ConsumerGroupDescribeRequest, consumer_groups::describe),
        ApiKey::OffsetCommit if call.version >= TOPIC_IDS => {
            reply!(by topic_ids::offset_commit, group_offsets::commit)
        }
        ApiKey::OffsetFetch if call.version >= TOPIC_IDS => reply!(by topic_ids::offset_fetch, group_offsets::fetch),
        ApiKey::OffsetCommit => reply!(OffsetCommitRequest, group_offsets::commit),
        ApiKey::OffsetFetch => reply!(OffsetFetchRequest, group_offsets::fetch),
        ApiKey::OffsetDelete => reply!(OffsetDeleteRequest, group_offsets::delete),
        ApiKey::ListGroups => reply!(ListGroupsRequest, group_admin::list),
        ApiKey::DescribeGroups => reply!(DescribeGroupsRequest, group_admin::describe),
        ApiKey::DeleteGroups => reply!(DeleteGroupsRequest, group_admin::delete),
        ApiKey::DescribeTopicPartitions => reply!(DescribeTopicPartitionsRequest, topic_partitions::describe),
        ApiKey::ListConfigResources => reply!(ListConfigResourcesRequest, configs::list_resources),
        ApiKey::DescribeLogDirs => reply!(DescribeLogDirsRequest, log_dirs::describe),
        ApiKey::AlterReplicaLogDirs => reply!(AlterReplicaLogDirsRequest, log_dirs::alter),
        ApiKey::DescribeQuorum => reply!(DescribeQuorumRequest, quorum::describe),
        ApiKey::ElectLeaders => reply!(ElectLeadersRequest, quorum::elect_leaders),
        ApiKey::ListPartitionReassignments => reply!(ListPartitionReassignmentsRequest, quorum::reassignments),
        ApiKey::AlterPartitionReassignments => reply!(AlterPartitionReassignmentsRequest, quorum::reassign),
        ApiKey::DescribeAcls => reply!(DescribeAclsRequest, security::describe_acls),
        ApiKey::CreateAcls => reply!(CreateAclsRequest, security::create_acls),
        ApiKey::DeleteAcls => reply!(DeleteAclsRequest, security::delete_acls),
        ApiKey::DescribeClientQuotas => reply!(DescribeClientQuotasRequest, security::describe_quotas),
        ApiKey::DescribeUserScramCredentials => {
            reply!(DescribeUserScramCredentialsRequest, security::describe_credentials)
        }
        ApiKey::DescribeProducers => reply!(DescribeProducersRequest, transaction_admin::describe_producers),
        ApiKey::ListTransactions => reply!(ListTransactionsRequest, transaction_admin::list),
        ApiKey::DescribeTransactions => reply!(DescribeTransactionsRequest, transaction_admin::describe),
        ApiKey::WriteTxnMarkers => reply!(WriteTxnMarkersRequest, transaction_admin::write_markers),
        ApiKey::AddPartitionsToTxn => reply!(AddPartitionsToTxnRequest, transactions::add_partitions),
        ApiKey::AddOffsetsToTxn => reply!(AddOffsetsToTxnRequest, transactions::add_offsets),
        ApiKey::TxnOffsetCommit => reply!(TxnOffsetCommitRequest, transactions::commit_offsets),
        ApiKey::EndTxn => reply!(EndTxnRequest, transactions::end),
        _ => Err(Fault::Unsupported { api_key: api as i16, version: call.version }),
    }
}

fn key_and_version(frame: &[u8]) -> Result<(i16, i16), Fault> {
    match frame {
        [key_high, key_low, high, low, ..] => {
            Ok((i16::from_be_bytes([*key_high, *key_low]), i16::from_be_bytes([*high, *low])))
        }
        _ => Err(Fault::Malformed("truncated header".to_owned())),
    }
}

fn decode<Q: Decodable + Message>(call: &Call, mut body: Bytes) -> Result<Q, Fault> {
    Q::decode(&mut body, codec_version::<Q>(call.version)).map_err(malformed)
}

/// Returns the version in which the codec encodes or decodes a message: its last one is also the format of the later ones that
/// the broker supports.
fn codec_version<M: Message>(version: i16) -> i16 {
    version.min(M::VERSIONS.max)
}

fn malformed(error: impl std::fmt::Display) -> Fault {
    Fault::Malformed(error.to_string())
}

fn encode<R>(call: &Call, api: ApiKey, id: i32, response: &R) -> Result<Answer, Fault>
where
    R: Encodable + HeaderVersion + Message,
{
    encode_as(api, codec_version::<R>(call.version), id, response).map(Answer::from)
}

/// Encodes length, header and body into one buffer of exactly the required size.
pub(crate) fn encode_as<R: Encodable + HeaderVersion>(
    api: ApiKey,
    version: i16,
    id: i32,
    response: &R,
) -> Result<BytesMut, Fault> {
    let fault = |reason: String| Fault::Encode { api_key: api as i16, version, reason };
    let header = ResponseHeader::default().with_correlation_id(id);
    let header_version = R::header_version(version);
    let header_size = header.compute_size(header_version).map_err(|error| fault(error.to_string()))?;
    let body_size = response.compute_size(version).map_err(|error| fault(error.to_string()))?;
    let len = i32::try_from(header_size + body_size).map_err(|_| fault("larger than 2 GiB".to_owned()))?;
    let mut out = BytesMut::with_capacity(4 + header_size + body_size);
    out.extend_from_slice(&len.to_be_bytes());
    header.encode(&mut out, header_version).map_err(|error| fault(error.to_string()))?;
    response.encode(&mut out, version).map_err(|error| fault(error.to_string()))?;
    Ok(out)
}

#[cfg(test)]
mod tests;
