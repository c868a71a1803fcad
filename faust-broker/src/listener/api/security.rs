//! Requests about access rights, credentials and quotas, which this broker does not have.

use kafka_protocol::messages::create_acls_response::AclCreationResult;
use kafka_protocol::messages::delete_acls_response::DeleteAclsFilterResult;
use kafka_protocol::messages::describe_user_scram_credentials_response::DescribeUserScramCredentialsResult;
use kafka_protocol::messages::{
    CreateAclsRequest, CreateAclsResponse, DeleteAclsRequest, DeleteAclsResponse, DescribeAclsRequest,
    DescribeAclsResponse, DescribeClientQuotasRequest, DescribeClientQuotasResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use kafka_protocol::protocol::StrBytes;

use crate::core::ErrorCode;
use crate::listener::api::text;
use crate::listener::router::Call;

/// The types of clients that a quota may be for.
const ENTITIES: [&str; 3] = ["user", "client-id", "ip"];

/// The error of all requests about access rights, and its message.
fn disabled() -> (i16, Option<StrBytes>) {
    let code = ErrorCode::SecurityDisabled;
    (code.code(), Some(text(code.to_string())))
}

pub(crate) fn describe_acls(_call: &Call, _request: DescribeAclsRequest) -> DescribeAclsResponse {
    let (code, message) = disabled();
    DescribeAclsResponse::default().with_error_code(code).with_error_message(message)
}

pub(crate) fn create_acls(_call: &Call, request: CreateAclsRequest) -> CreateAclsResponse {
    let (code, message) = disabled();
    let result = AclCreationResult::default().with_error_code(code).with_error_message(message);
    CreateAclsResponse::default().with_results(vec![result; request.creations.len()])
}

pub(crate) fn delete_acls(_call: &Call, request: DeleteAclsRequest) -> DeleteAclsResponse {
    let (code, message) = disabled();
    let result = DeleteAclsFilterResult::default().with_error_code(code).with_error_message(message);
    DeleteAclsResponse::default().with_filter_results(vec![result; request.filters.len()])
}

pub(crate) fn describe_quotas(_call: &Call, request: DescribeClientQuotasRequest) -> DescribeClientQuotasResponse {
    let mut types = request.components.iter().map(|component| component.entity_type.as_str());
    if let Some(other) = types.find(|entity_type| !ENTITIES.contains(entity_type)) {
        return DescribeClientQuotasResponse::default()
            .with_error_code(ErrorCode::UnsupportedVersion.code())
            .with_error_message(Some(text(format!("unsupported entity type {other}"))))
            .with_entries(None);
    }
    DescribeClientQuotasResponse::default().with_error_message(None).with_entries(Some(Vec::new()))
}

pub(crate) fn describe_credentials(
    _call: &Call,
    request: DescribeUserScramCredentialsRequest,
) -> DescribeUserScramCredentialsResponse {
    let unknown = |name: StrBytes| {
        let message = format!("no user `{name}` has credentials: this broker has no authentication");
        DescribeUserScramCredentialsResult::default()
            .with_user(name)
            .with_error_code(ErrorCode::ResourceNotFound.code())
            .with_error_message(Some(text(message)))
    };
    let results = request.users.unwrap_or_default().into_iter().map(|user| unknown(user.name));
    DescribeUserScramCredentialsResponse::default().with_error_message(None).with_results(results.collect())
}
