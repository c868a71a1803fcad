//! `ApiVersions`: what this broker speaks.

use std::ops::RangeInclusive;

use bytes::BytesMut;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};

use crate::core::ErrorCode;
use crate::listener::fault::Fault;
use crate::listener::router::{Call, encode_as};

/// Every request that is answered, in all the versions that the codec knows.
///
/// What is missing here is missing on purpose: a client that is not offered transactions or the newer group protocol
/// says so itself, or falls back.
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
];

/// The versions of a request that can be read.
///
/// `ApiKey::valid_versions` counts versions that Kafka had not settled when the codec was made; it cannot read those.
pub(crate) fn range(api: ApiKey) -> RangeInclusive<i16> {
    let claimed = api.valid_versions();
    let max = match api {
        ApiKey::OffsetCommit | ApiKey::OffsetFetch => 9,
        ApiKey::InitProducerId => 5,
        _ => claimed.max,
    };
    claimed.min..=max
}

pub(crate) fn supports(api: ApiKey, version: i16) -> bool {
    SUPPORTED.contains(&api) && range(api).contains(&version)
}

pub(crate) fn handle(_call: &Call, _request: ApiVersionsRequest) -> ApiVersionsResponse {
    response()
}

/// A version above ours is answered in version 0, the only one both sides are sure to know.
pub(crate) fn refuse(frame: &[u8]) -> Result<BytesMut, Fault> {
    let Some([_, _, _, _, correlation_id @ ..]) = frame.first_chunk::<8>() else {
        return Err(Fault::Malformed("shorter than its header".to_owned()));
    };
    let response = response().with_error_code(ErrorCode::UnsupportedVersion.code());
    encode_as(ApiKey::ApiVersions, 0, i32::from_be_bytes(*correlation_id), &response)
}

fn response() -> ApiVersionsResponse {
    let supported = |api: &ApiKey| {
        let range = range(*api);
        ApiVersion::default().with_api_key(*api as i16).with_min_version(*range.start()).with_max_version(*range.end())
    };
    ApiVersionsResponse::default().with_api_keys(SUPPORTED.iter().map(supported).collect())
}
