//! `ApiVersions`: the supported requests and versions.

use std::ops::RangeInclusive;

use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::core::ErrorCode;
use crate::listener::fault::Fault;
use crate::listener::router::{Call, encode_as};

/// The supported requests, in all versions that the codec supports.
///
/// Other requests are left out on purpose: if transactions or the new group protocol are not listed, clients report an
/// error of their own or fall back.
pub(crate) const SUPPORTED: &[ApiKey] = &[
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::Metadata,
    ApiKey::OffsetCommit,
    ApiKey::OffsetFetch,
    ApiKey::FindCoordinator,
    ApiKey::JoinGroup,
    ApiKey::Heartbeat,
    ApiKey::LeaveGroup,
    ApiKey::SyncGroup,
    ApiKey::DescribeGroups,
    ApiKey::ListGroups,
    ApiKey::ApiVersions,
    ApiKey::CreateTopics,
    ApiKey::DeleteTopics,
    ApiKey::DeleteRecords,
    ApiKey::InitProducerId,
    ApiKey::OffsetForLeaderEpoch,
    ApiKey::DescribeConfigs,
    ApiKey::AlterConfigs,
    ApiKey::CreatePartitions,
    ApiKey::DeleteGroups,
    ApiKey::IncrementalAlterConfigs,
    ApiKey::OffsetDelete,
    ApiKey::DescribeCluster,
    ApiKey::DescribeAcls,
    ApiKey::CreateAcls,
    ApiKey::DeleteAcls,
    ApiKey::AlterReplicaLogDirs,
    ApiKey::DescribeLogDirs,
    ApiKey::ElectLeaders,
    ApiKey::AlterPartitionReassignments,
    ApiKey::ListPartitionReassignments,
    ApiKey::DescribeClientQuotas,
    ApiKey::DescribeUserScramCredentials,
    ApiKey::DescribeQuorum,
    ApiKey::DescribeProducers,
    ApiKey::DescribeTransactions,
    ApiKey::ListTransactions,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

/// Returns the supported versions of a request.
///
/// `ApiKey::valid_versions` includes versions that were unstable in Kafka when the codec was generated, and that the
/// codec cannot decode.
pub(crate) fn range(api: ApiKey) -> RangeInclusive<i16> {
    let claimed = api.valid_versions();
    let max = match api {
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        ApiKey::InitProducerId => 5,
        _ => claimed.max,
    };
    claimed.min..=max
}

/// Returns the versions of a request that the response lists.
///
/// Like Apache Kafka 4, the broker lists the versions 0 to 2 of `Produce`, although it does not support them: librdkafka
/// before 2.12 compresses records only for a broker that lists them.
fn advertised(api: ApiKey) -> RangeInclusive<i16> {
    let range = range(api);
    if api == ApiKey::Produce { 0..=*range.end() } else { range }
}

pub(crate) fn supports(api: ApiKey, version: i16) -> bool {
    SUPPORTED.contains(&api) && range(api).contains(&version)
}

pub(crate) fn handle(call: &Call, _request: ApiVersionsRequest) -> ApiVersionsResponse {
    if call.version >= 3 { with_features(response()) } else { response() }
}

/// Rejects an unsupported version of `ApiVersions`, with a response in version 0, which every client can decode.
pub(crate) fn refuse(frame: &[u8]) -> Result<BytesMut, Fault> {
    let Some([_, _, _, _, correlation_id @ ..]) = frame.first_chunk::<8>() else {
        return Err(Fault::Malformed("truncated header".to_owned()));
    };
    let response = response().with_error_code(ErrorCode::UnsupportedVersion.code());
    encode_as(ApiKey::ApiVersions, 0, i32::from_be_bytes(*correlation_id), &response)
}

/// The version of Kafka whose requests and configs this broker has, as the level of the feature `metadata.version`
/// (4.3-IV0), by which admin consoles show the version of a cluster.
const METADATA_LEVEL: i16 = 30;
/// The lowest level that Kafka 4 supports (3.3-IV3).
const LEAST_METADATA_LEVEL: i16 = 7;

/// Adds the features of the cluster. Those for transactions and new kinds of groups are left out, as are their requests.
fn with_features(response: ApiVersionsResponse) -> ApiVersionsResponse {
    let name = StrBytes::from_static_str("metadata.version");
    let supported = SupportedFeatureKey::default()
        .with_name(name.clone())
        .with_min_version(LEAST_METADATA_LEVEL)
        .with_max_version(METADATA_LEVEL);
    let finalized = FinalizedFeatureKey::default()
        .with_name(name)
        .with_min_version_level(METADATA_LEVEL)
        .with_max_version_level(METADATA_LEVEL);
    response
        .with_supported_features(vec![supported])
        .with_finalized_features(vec![finalized])
        .with_finalized_features_epoch(0)
}

fn response() -> ApiVersionsResponse {
    let supported = |api: &ApiKey| {
        let range = advertised(*api);
        ApiVersion::default().with_api_key(*api as i16).with_min_version(*range.start()).with_max_version(*range.end())
    };
    ApiVersionsResponse::default().with_api_keys(SUPPORTED.iter().map(supported).collect())
}
