//! Sample requests: one of each API in each version, as encoded by a client.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "by_id.rs"]
pub(crate) mod by_id;

use std::ops::RangeInclusive;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::{Encodable, Message, StrBytes};

/// A request without its header.
pub(crate) struct Sample {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
    pub(crate) body: Bytes,
}

impl Sample {
    /// Encodes the request as a frame without its length.
    pub(crate) fn frame(&self) -> Bytes {
        let header = RequestHeader::default()
            .with_request_api_key(self.api as i16)
            .with_request_api_version(self.version)
            .with_correlation_id(5)
            .with_client_id(Some(text()));
        let mut frame = BytesMut::new();
        header.encode(&mut frame, self.api.request_header_version(self.version)).unwrap();
        frame.extend_from_slice(&self.body);
        frame.freeze()
    }
}

/// Creates a sample of each request in each version that `range` returns for it.
///
/// Topics are named `name`, or have the id `topic_id` in versions with topic ids. Produce requests contain `batch`.
pub(crate) fn samples(
    range: impl Fn(ApiKey) -> RangeInclusive<i16> + 'static,
    topic_id: u128,
    batch: Bytes,
) -> Vec<Sample> {
    let mut to = Samples { range: Box::new(range), topic_id, batch, samples: Vec::new() };
    records_and_offsets(&mut to);
    cluster(&mut to);
    groups(&mut to);
    consumer_groups(&mut to);
    committed_offsets(&mut to);
    topics_and_configs(&mut to);
    administration(&mut to);
    access_rights(&mut to);
    transactions(&mut to);
    to.samples
}

struct Samples {
    range: Box<dyn Fn(ApiKey) -> RangeInclusive<i16>>,
    topic_id: u128,
    batch: Bytes,
    samples: Vec<Sample>,
}

impl Samples {
    /// Adds the request in each version. The codec's last one is also the format of later ones.
    fn add<M: Encodable + Message>(&mut self, api: ApiKey, make: impl Fn(i16) -> M) {
        self.add_encoded(api, |version| {
            let codec = version.min(M::VERSIONS.max);
            let mut body = BytesMut::new();
            make(codec).encode(&mut body, codec).unwrap();
            body.freeze()
        });
    }

    /// Adds a request whose topics have ids since version 10. It is made with the names of its topics.
    fn add_by_id<M: Encodable>(&mut self, api: ApiKey, make: impl Fn(i16, TopicName) -> M) {
        let topic_id = self.topic_id;
        self.add_encoded(api, |version| {
            if version >= 10 {
                return by_id::encode(&make(version, by_id::topic()), std::iter::repeat(topic_id));
            }
            let mut body = BytesMut::new();
            make(version, topic()).encode(&mut body, version).unwrap();
            body.freeze()
        });
    }

    fn add_encoded(&mut self, api: ApiKey, encode: impl Fn(i16) -> Bytes) {
        for version in (self.range)(api) {
            self.samples.push(Sample { api, version, body: encode(version) });
        }
    }
}

fn text() -> StrBytes {
    StrBytes::from_static_str("name")
}

fn topic() -> TopicName {
    TopicName(text())
}

fn some() -> Option<StrBytes> {
    Some(text())
}

const BLOB: Bytes = Bytes::from_static(b"bytes");

fn id(topic_id: u128, version: i16, since: i16) -> uuid::Uuid {
    uuid::Uuid::from_u128(if version >= since { topic_id } else { 0 })
}

fn name(version: i16, until: i16) -> TopicName {
    if version <= until { topic() } else { TopicName::default() }
}

fn records_and_offsets(to: &mut Samples) {
    use kafka_protocol::messages::{
        delete_records_request as delete, fetch_request as fetch, list_offsets_request as list,
    };
    use kafka_protocol::messages::{offset_for_leader_epoch_request as epoch, produce_request as produce};
    let (topic_id, batch) = (to.topic_id, to.batch.clone());
    to.add(ApiKey::Produce, |v| {
        let data = produce::PartitionProduceData::default().with_records(Some(batch.clone()));
        let data = produce::TopicProduceData::default()
            .with_name(name(v, 12))
            .with_topic_id(id(topic_id, v, 13))
            .with_partition_data(vec![data; 2]);
        ProduceRequest::default().with_topic_data(vec![data; 2]).with_transactional_id(Some(TransactionalId(text())))
    });
    to.add(ApiKey::Fetch, |v| {
        let partitions = vec![fetch::FetchPartition::default(); 3];
        let wanted = fetch::FetchTopic::default()
            .with_topic(name(v, 12))
            .with_topic_id(id(topic_id, v, 13))
            .with_partitions(partitions);
        let forgotten = fetch::ForgottenTopic::default()
            .with_topic(name(v, 12))
            .with_topic_id(id(topic_id, v, 13))
            .with_partitions(vec![1, 2]);
        let forgotten = if v >= 7 { vec![forgotten; 2] } else { Vec::new() };
        let rack = if v >= 11 { text() } else { StrBytes::default() };
        FetchRequest::default().with_topics(vec![wanted; 2]).with_forgotten_topics_data(forgotten).with_rack_id(rack)
    });
    to.add(ApiKey::ListOffsets, |_| {
        let partitions = vec![list::ListOffsetsPartition::default(); 2];
        let wanted = list::ListOffsetsTopic::default().with_name(topic()).with_partitions(partitions);
        ListOffsetsRequest::default().with_topics(vec![wanted; 2])
    });
    to.add(ApiKey::DeleteRecords, |_| {
        let partitions = vec![delete::DeleteRecordsPartition::default(); 2];
        let wanted = delete::DeleteRecordsTopic::default().with_name(topic()).with_partitions(partitions);
        DeleteRecordsRequest::default().with_topics(vec![wanted; 2])
    });
    to.add(ApiKey::OffsetForLeaderEpoch, |_| {
        let partitions = vec![epoch::OffsetForLeaderPartition::default(); 2];
        let wanted = epoch::OffsetForLeaderTopic::default().with_topic(topic()).with_partitions(partitions);
        OffsetForLeaderEpochRequest::default().with_topics(vec![wanted; 2])
    });
}

fn cluster(to: &mut Samples) {
    let topic_id = to.topic_id;
    to.add(ApiKey::Metadata, |v| {
        let wanted = metadata_request::MetadataRequestTopic::default()
            .with_name(Some(topic()))
            .with_topic_id(id(topic_id, v, 10));
        MetadataRequest::default().with_topics(Some(vec![wanted; 2]))
    });
    to.add(ApiKey::FindCoordinator, |v| {
        let request = FindCoordinatorRequest::default();
        if v < 4 { request.with_key(text()) } else { request.with_coordinator_keys(vec![text(); 2]) }
    });
    to.add(ApiKey::InitProducerId, |_| {
        InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text())))
    });
    to.add(ApiKey::DescribeCluster, |_| DescribeClusterRequest::default());
    to.add(ApiKey::ApiVersions, |v| {
        let request = ApiVersionsRequest::default();
        if v < 3 { request } else { request.with_client_software_name(text()).with_client_software_version(text()) }
    });
}

fn groups(to: &mut Samples) {
    use kafka_protocol::messages::{leave_group_request as leave, sync_group_request as sync};
    to.add(ApiKey::JoinGroup, |v| {
        let protocol = join_group_request::JoinGroupRequestProtocol::default().with_name(text()).with_metadata(BLOB);
        JoinGroupRequest::default()
            .with_group_id(GroupId(text()))
            .with_member_id(text())
            .with_group_instance_id(some().filter(|_| v >= 5))
            .with_protocols(vec![protocol; 2])
            .with_reason(some().filter(|_| v >= 8))
    });
    to.add(ApiKey::SyncGroup, |v| {
        let assignment = sync::SyncGroupRequestAssignment::default().with_member_id(text()).with_assignment(BLOB);
        SyncGroupRequest::default()
            .with_group_id(GroupId(text()))
            .with_group_instance_id(some().filter(|_| v >= 3))
            .with_protocol_type(some().filter(|_| v >= 5))
            .with_assignments(vec![assignment; 2])
    });
    to.add(ApiKey::Heartbeat, |v| HeartbeatRequest::default().with_group_instance_id(some().filter(|_| v >= 3)));
    to.add(ApiKey::LeaveGroup, |v| {
        let request = LeaveGroupRequest::default().with_group_id(GroupId(text()));
        let member = leave::MemberIdentity::default().with_member_id(text()).with_group_instance_id(some());
        let member = member.with_reason(some().filter(|_| v >= 5));
        if v < 3 { request.with_member_id(text()) } else { request.with_members(vec![member; 2]) }
    });
    to.add(ApiKey::DescribeGroups, |_| DescribeGroupsRequest::default().with_groups(vec![GroupId(text()); 2]));
    to.add(ApiKey::ListGroups, |v| {
        let states = if v >= 4 { vec![text(); 2] } else { Vec::new() };
        let types = if v >= 5 { vec![text(); 2] } else { Vec::new() };
        ListGroupsRequest::default().with_states_filter(states).with_types_filter(types)
    });
    to.add(ApiKey::DeleteGroups, |_| DeleteGroupsRequest::default().with_groups_names(vec![GroupId(text()); 2]));
}

fn consumer_groups(to: &mut Samples) {
    use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
    let topic_id = id(to.topic_id, 0, 0);
    to.add(ApiKey::ConsumerGroupHeartbeat, |v| {
        let owned = TopicPartitions::default().with_topic_id(topic_id).with_partitions(vec![0, 1]);
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(text()))
            .with_member_id(text())
            .with_instance_id(some())
            .with_rack_id(some())
            .with_member_epoch(1)
            .with_rebalance_timeout_ms(1000)
            .with_subscribed_topic_names(Some(vec![topic(); 2]))
            .with_subscribed_topic_regex(some().filter(|_| v >= 1))
            .with_server_assignor(Some(StrBytes::from_static_str("uniform")))
            .with_topic_partitions(Some(vec![owned; 2]))
    });
    // A member that joins, so that other requests find a group of this protocol.
    to.add(ApiKey::ConsumerGroupHeartbeat, |v| {
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(StrBytes::from_static_str("consumers")))
            .with_member_id(text())
            .with_rebalance_timeout_ms(1000)
            .with_subscribed_topic_names(Some(vec![topic(); 2]))
            .with_subscribed_topic_regex(Some(StrBytes::from_static_str("na.e{1,9}|\\pL+")).filter(|_| v >= 1))
            .with_topic_partitions(Some(Vec::new()))
    });
    to.add(ApiKey::ConsumerGroupDescribe, |_| {
        let ids = ["consumers", "name"].map(|id| GroupId(StrBytes::from_static_str(id)));
        ConsumerGroupDescribeRequest::default().with_group_ids(ids.to_vec())
    });
}

fn committed_offsets(to: &mut Samples) {
    use kafka_protocol::messages::{
        offset_commit_request as commit, offset_delete_request as delete, offset_fetch_request as fetch,
    };
    to.add_by_id(ApiKey::OffsetCommit, |v, name| {
        let partition = commit::OffsetCommitRequestPartition::default().with_committed_metadata(some());
        let wanted = commit::OffsetCommitRequestTopic::default().with_name(name).with_partitions(vec![partition; 2]);
        OffsetCommitRequest::default().with_group_instance_id(some().filter(|_| v >= 7)).with_topics(vec![wanted; 2])
    });
    to.add_by_id(ApiKey::OffsetFetch, |v, name| {
        let request = OffsetFetchRequest::default();
        if v < 8 {
            let wanted = fetch::OffsetFetchRequestTopic::default().with_name(name).with_partition_indexes(vec![1, 2]);
            return request.with_group_id(GroupId(text())).with_topics(Some(vec![wanted; 2]));
        }
        let wanted = fetch::OffsetFetchRequestTopics::default().with_name(name).with_partition_indexes(vec![1, 2]);
        let group =
            fetch::OffsetFetchRequestGroup::default().with_group_id(GroupId(text())).with_topics(Some(vec![wanted; 2]));
        request.with_groups(vec![group.with_member_id(some().filter(|_| v >= 9)); 2])
    });
    to.add(ApiKey::OffsetDelete, |_| {
        let partitions = vec![delete::OffsetDeleteRequestPartition::default(); 2];
        let wanted = delete::OffsetDeleteRequestTopic::default().with_name(topic()).with_partitions(partitions);
        OffsetDeleteRequest::default().with_topics(vec![wanted; 2])
    });
}

fn topics_and_configs(to: &mut Samples) {
    use kafka_protocol::messages::{
        alter_configs_request as alter, create_partitions_request as grow, create_topics_request as create,
    };
    use kafka_protocol::messages::{describe_configs_request as describe, incremental_alter_configs_request as edit};
    to.add(ApiKey::CreateTopics, |_| {
        let assignment = create::CreatableReplicaAssignment::default().with_broker_ids(vec![BrokerId(1); 2]);
        let config = create::CreatableTopicConfig::default().with_name(text()).with_value(some());
        let wanted = create::CreatableTopic::default()
            .with_name(topic())
            .with_assignments(vec![assignment; 2])
            .with_configs(vec![config; 2]);
        CreateTopicsRequest::default().with_topics(vec![wanted; 2])
    });
    to.add(ApiKey::DeleteTopics, |v| {
        let request = DeleteTopicsRequest::default();
        let state = delete_topics_request::DeleteTopicState::default().with_name(Some(topic()));
        if v < 6 { request.with_topic_names(vec![topic(); 2]) } else { request.with_topics(vec![state; 2]) }
    });
    to.add(ApiKey::CreatePartitions, |_| {
        let assignment = grow::CreatePartitionsAssignment::default().with_broker_ids(vec![BrokerId(1); 2]);
        let wanted =
            grow::CreatePartitionsTopic::default().with_name(topic()).with_assignments(Some(vec![assignment; 2]));
        CreatePartitionsRequest::default().with_topics(vec![wanted; 2])
    });
    to.add(ApiKey::DescribeConfigs, |_| {
        let resource = describe::DescribeConfigsResource::default().with_resource_name(text());
        DescribeConfigsRequest::default()
            .with_resources(vec![resource.with_configuration_keys(Some(vec![text(); 2])); 2])
    });
    to.add(ApiKey::AlterConfigs, |_| {
        let config = alter::AlterableConfig::default().with_name(text()).with_value(some());
        let resource = alter::AlterConfigsResource::default().with_resource_name(text()).with_configs(vec![config; 2]);
        AlterConfigsRequest::default().with_resources(vec![resource; 2])
    });
    to.add(ApiKey::IncrementalAlterConfigs, |_| {
        let config = edit::AlterableConfig::default().with_name(text()).with_value(some());
        let resource = edit::AlterConfigsResource::default().with_resource_name(text()).with_configs(vec![config; 2]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource; 2])
    });
}

fn administration(to: &mut Samples) {
    use kafka_protocol::messages::{
        alter_replica_log_dirs_request as move_to, describe_log_dirs_request as dirs,
        describe_producers_request as active,
    };
    use kafka_protocol::messages::{
        describe_quorum_request as quorum, describe_topic_partitions_request as pages, elect_leaders_request as elect,
    };
    to.add(ApiKey::DescribeTopicPartitions, |_| {
        let cursor = pages::Cursor::default().with_topic_name(topic()).with_partition_index(1);
        DescribeTopicPartitionsRequest::default()
            .with_topics(vec![pages::TopicRequest::default().with_name(topic()); 2])
            .with_cursor(Some(cursor))
    });
    to.add(ApiKey::ListConfigResources, |v| {
        ListConfigResourcesRequest::default().with_resource_types(if v >= 1 { vec![2, 4] } else { Vec::new() })
    });
    to.add(ApiKey::DescribeLogDirs, |_| {
        let wanted = dirs::DescribableLogDirTopic::default().with_topic(topic()).with_partitions(vec![1, 2]);
        DescribeLogDirsRequest::default().with_topics(Some(vec![wanted; 2]))
    });
    to.add(ApiKey::AlterReplicaLogDirs, |_| {
        let wanted = move_to::AlterReplicaLogDirTopic::default().with_name(topic()).with_partitions(vec![1, 2]);
        let dir = move_to::AlterReplicaLogDir::default().with_path(text()).with_topics(vec![wanted; 2]);
        AlterReplicaLogDirsRequest::default().with_dirs(vec![dir; 2])
    });
    to.add(ApiKey::DescribeQuorum, |_| {
        let partitions = vec![quorum::PartitionData::default(); 2];
        let wanted = quorum::TopicData::default().with_topic_name(topic()).with_partitions(partitions);
        DescribeQuorumRequest::default().with_topics(vec![wanted; 2])
    });
    to.add(ApiKey::ElectLeaders, |_| {
        let wanted = elect::TopicPartitions::default().with_topic(topic()).with_partitions(vec![1, 2]);
        ElectLeadersRequest::default().with_topic_partitions(Some(vec![wanted; 2]))
    });
    to.add(ApiKey::ListPartitionReassignments, |_| {
        let wanted = list_partition_reassignments_request::ListPartitionReassignmentsTopics::default()
            .with_name(topic())
            .with_partition_indexes(vec![1, 2]);
        ListPartitionReassignmentsRequest::default().with_topics(Some(vec![wanted; 2]))
    });
    to.add(ApiKey::AlterPartitionReassignments, |_| {
        use kafka_protocol::messages::alter_partition_reassignments_request as reassign;
        let partition = reassign::ReassignablePartition::default().with_replicas(Some(vec![BrokerId(1); 2]));
        let wanted = reassign::ReassignableTopic::default().with_name(topic()).with_partitions(vec![partition; 2]);
        AlterPartitionReassignmentsRequest::default().with_topics(vec![wanted; 2])
    });
    to.add(ApiKey::DescribeProducers, |_| {
        let wanted = active::TopicRequest::default().with_name(topic()).with_partition_indexes(vec![1, 2]);
        DescribeProducersRequest::default().with_topics(vec![wanted; 2])
    });
    to.add(ApiKey::ListTransactions, |v| {
        ListTransactionsRequest::default()
            .with_state_filters(vec![text(); 2])
            .with_producer_id_filters(vec![ProducerId(1); 2])
            .with_transactional_id_pattern(some().filter(|_| v >= 2))
    });
    to.add(ApiKey::DescribeTransactions, |_| {
        DescribeTransactionsRequest::default().with_transactional_ids(vec![TransactionalId(text()); 2])
    });
}

fn transactions(to: &mut Samples) {
    use kafka_protocol::messages::{
        add_partitions_to_txn_request as add, txn_offset_commit_request as commit, write_txn_markers_request as markers,
    };
    to.add(ApiKey::AddPartitionsToTxn, |_| {
        let topic = add::AddPartitionsToTxnTopic::default().with_name(TopicName(text())).with_partitions(vec![1; 2]);
        AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text()))
            .with_v3_and_below_topics(vec![topic; 2])
    });
    to.add(ApiKey::AddOffsetsToTxn, |_| {
        AddOffsetsToTxnRequest::default().with_transactional_id(TransactionalId(text())).with_group_id(GroupId(text()))
    });
    to.add(ApiKey::TxnOffsetCommit, |v| {
        let partition = commit::TxnOffsetCommitRequestPartition::default().with_committed_metadata(some());
        let topic = commit::TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text()))
            .with_partitions(vec![partition; 2]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text()))
            .with_group_id(GroupId(text()))
            .with_topics(vec![topic; 2]);
        if v < 3 { request } else { request.with_member_id(text()).with_group_instance_id(some()) }
    });
    to.add(ApiKey::EndTxn, |_| EndTxnRequest::default().with_transactional_id(TransactionalId(text())));
    to.add(ApiKey::WriteTxnMarkers, |_| {
        let topic =
            markers::WritableTxnMarkerTopic::default().with_name(TopicName(text())).with_partition_indexes(vec![1; 2]);
        let marker = markers::WritableTxnMarker::default().with_topics(vec![topic; 2]);
        WriteTxnMarkersRequest::default().with_markers(vec![marker; 2])
    });
}

fn access_rights(to: &mut Samples) {
    use kafka_protocol::messages::{
        create_acls_request as create, delete_acls_request as delete, describe_client_quotas_request as quotas,
    };
    to.add(ApiKey::DescribeAcls, |_| {
        DescribeAclsRequest::default()
            .with_resource_name_filter(some())
            .with_pattern_type_filter(3)
            .with_principal_filter(some())
            .with_host_filter(some())
    });
    to.add(ApiKey::CreateAcls, |_| {
        let right = create::AclCreation::default().with_resource_name(text()).with_principal(text()).with_host(text());
        CreateAclsRequest::default().with_creations(vec![right; 2])
    });
    to.add(ApiKey::DeleteAcls, |_| {
        let filter = delete::DeleteAclsFilter::default()
            .with_resource_name_filter(some())
            .with_principal_filter(some())
            .with_host_filter(some());
        DeleteAclsRequest::default().with_filters(vec![filter; 2])
    });
    to.add(ApiKey::DescribeClientQuotas, |_| {
        let component = quotas::ComponentData::default().with_entity_type(text()).with_match(some());
        DescribeClientQuotasRequest::default().with_components(vec![component; 2])
    });
    to.add(ApiKey::DescribeUserScramCredentials, |_| {
        let user = describe_user_scram_credentials_request::UserName::default().with_name(text());
        DescribeUserScramCredentialsRequest::default().with_users(Some(vec![user; 2]))
    });
}
