//! `ApiVersions`: the supported requests and versions.

use std::ops::RangeInclusive;

use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use crate::core::ErrorCode;
use crate::listener::fault::Fault;
use crate::listener::router::{Call, encode_as};
use crate::listener::topic_ids::TOPIC_IDS;

/// First version of `ApiVersions` with features.
const FEATURES: i16 = 3;

/// A feature of Kafka, by which clients and admin consoles know what a broker can do.
struct Feature {
    name: &'static str,
    /// The lowest level that is supported.
    least: i16,
    /// The level that is supported and in use.
    level: i16,
}

/// The features.
const FEATURE_LEVELS: &[Feature] = &[
    // The version of Kafka whose requests and configs this broker has (4.3-IV0), by which admin consoles show the version of a
    // cluster. The lowest is that of Kafka 4 (3.3-IV3).
    Feature { name: "metadata.version", least: 7, level: 30 },
    // Groups may have the consumer protocol (KIP-848).
    Feature { name: "group.version", least: 0, level: 1 },
    // Clients use the second version of transactions (KIP-890).
    Feature { name: "transaction.version", least: 0, level: 2 },
];

/// The supported requests, in the versions of [`range`].
///
/// Other requests are left out on purpose: if share groups are not listed, clients report an error of their own.
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
    ApiKey::AddPartitionsToTxn,
    ApiKey::AddOffsetsToTxn,
    ApiKey::EndTxn,
    ApiKey::TxnOffsetCommit,
    ApiKey::WriteTxnMarkers,
    ApiKey::ListTransactions,
    ApiKey::ConsumerGroupHeartbeat,
    ApiKey::ConsumerGroupDescribe,
    ApiKey::ListConfigResources,
    ApiKey::DescribeTopicPartitions,
];

/// Returns the supported versions of a request.
///
/// `ApiKey::valid_versions` includes versions that were unstable in Kafka when the codec was generated, and that the
/// codec cannot decode. It lacks version 11 of `ListOffsets`, which has the format of 10 and another special timestamp, and
/// the requests of version 10 of `OffsetCommit` and `OffsetFetch`, which `topic_ids` decodes.
pub(crate) fn range(api: ApiKey) -> RangeInclusive<i16> {
    let claimed = api.valid_versions();
    let max = match api {
        ApiKey::ListOffsets => 11,
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => TOPIC_IDS,
        ApiKey::InitProducerId => 5,
        // Later versions are for brokers.
        ApiKey::AddPartitionsToTxn => 3,
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
    if call.version < FEATURES { response() } else { with_features(response(), call.version) }
}

/// Rejects an unsupported version of `ApiVersions`, with a response in version 0, which every client can decode.
pub(crate) fn refuse(frame: &[u8]) -> Result<BytesMut, Fault> {
    let Some([_, _, _, _, correlation_id @ ..]) = frame.first_chunk::<8>() else {
        return Err(Fault::Malformed("truncated header".to_owned()));
    };
    let response = response().with_error_code(ErrorCode::UnsupportedVersion.code());
    encode_as(ApiKey::ApiVersions, 0, i32::from_be_bytes(*correlation_id), &response)
}

/// Adds the features. Version 3 cannot list one whose lowest version is 0.
fn with_features(response: ApiVersionsResponse, version: i16) -> ApiVersionsResponse {
    let supported = |feature: &Feature| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(feature.name))
            .with_min_version(feature.least)
            .with_max_version(feature.level)
    };
    let finalized = |feature: &Feature| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(feature.name))
            .with_min_version_level(feature.level)
            .with_max_version_level(feature.level)
    };
    let listed = FEATURE_LEVELS.iter().filter(|feature| version > FEATURES || feature.least > 0);
    response
        .with_supported_features(listed.map(supported).collect())
        .with_finalized_features(FEATURE_LEVELS.iter().map(finalized).collect())
        .with_finalized_features_epoch(0)
}

fn response() -> ApiVersionsResponse {
    let supported = |api: &ApiKey| {
        let range = advertised(*api);
        ApiVersion::default().with_api_key(*api as i16).with_min_version(*range.start()).with_max_version(*range.end())
    };
    ApiVersionsResponse::default().with_api_keys(SUPPORTED.iter().map(supported).collect())
}
