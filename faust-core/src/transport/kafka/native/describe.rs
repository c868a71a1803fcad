//! Descriptions of topics and groups with the rights of the client, and the brokers of the cluster, for which rdkafka has no calls.
#![allow(unsafe_code)]

use std::collections::BTreeSet;
use std::ffi::{CStr, CString, c_char};
use std::ptr;
use std::time::Duration;

use rdkafka::bindings::{rd_kafka_AclOperation_t as Acl, rd_kafka_admin_op_t as AdminOp};
use rdkafka::client::Client;
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};
use rdkafka::{ClientContext, bindings as rd};

use super::handle::{NativeHandle, ResultQueue, millis};
use crate::transport::inspection::{Operation, PartitionReplicas, TopicState};
use crate::transport::port::{GroupMember, TopicPartition};

/// A topic's name with its description or error.
pub(crate) type DescribedTopic = (String, Result<TopicDescription, RDKafkaErrorCode>);

/// The description of a topic.
pub(crate) struct TopicDescription {
    /// The topic's id; 0 if the broker does not support topic ids.
    pub(crate) id: u128,
    pub(crate) state: TopicState,
}

/// The rights of a client; `None` if the broker does not tell.
pub(crate) type Rights = Option<BTreeSet<Operation>>;

/// Describes the topics, with the rights for them if they are asked for. Blocks.
pub(crate) fn describe_topics<C: ClientContext>(
    client: &Client<C>,
    names: &BTreeSet<String>,
    with_rights: bool,
    within: Duration,
) -> Result<Vec<DescribedTopic>, RDKafkaErrorCode> {
    let names: Result<Vec<_>, _> = names.iter().map(|name| CString::new(name.as_str())).collect();
    let names = names.map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let mut pointers: Vec<*const c_char> = names.iter().map(|name| name.as_ptr()).collect();
    let client = client.native_ptr();
    // SAFETY: the client is valid while borrowed. The names are copied; queue, collection, options and event are owned here
    // and destroyed once each, the event only after the data read from it has been copied.
    unsafe {
        let queue = ResultQueue::new(client);
        let topics = rd::rd_kafka_TopicCollection_of_topic_names(pointers.as_mut_ptr(), pointers.len());
        let topics = NativeHandle(topics, rd::rd_kafka_TopicCollection_destroy);
        let options = options(client, AdminOp::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS, with_rights, within);
        rd::rd_kafka_DescribeTopics(client, topics.0, options.0, queue.native());
        let event = queue.result(within)?;
        Ok(described_topics(event.0))
    }
}

/// A topic's name with its id or error. The id is 0 if the broker does not support topic ids.
pub(crate) type TopicId = (String, Result<u128, RDKafkaErrorCode>);

/// Returns the id of each topic, or the error for it. Blocks.
pub(crate) fn topic_ids<C: ClientContext>(
    client: &Client<C>,
    names: &BTreeSet<String>,
    within: Duration,
) -> Result<Vec<TopicId>, RDKafkaErrorCode> {
    let described = describe_topics(client, names, false, within)?.into_iter();
    Ok(described.map(|(name, topic)| (name, topic.map(|topic| topic.id))).collect())
}

/// Returns the addresses of the brokers. Blocks.
pub(crate) fn brokers<C: ClientContext>(client: &Client<C>, within: Duration) -> Result<Vec<String>, RDKafkaErrorCode> {
    let client = client.native_ptr();
    // SAFETY: as in `describe_topics`. The nodes belong to the event; hosts end with a NUL.
    unsafe {
        let queue = ResultQueue::new(client);
        let options = options(client, AdminOp::RD_KAFKA_ADMIN_OP_DESCRIBECLUSTER, false, within);
        rd::rd_kafka_DescribeCluster(client, options.0, queue.native());
        let event = queue.result(within)?;
        let result = rd::rd_kafka_event_DescribeCluster_result(event.0);
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let first = rd::rd_kafka_DescribeCluster_result_nodes(result, &mut count);
        let address = |node: &*const rd::rd_kafka_Node_t| {
            let host = CStr::from_ptr(rd::rd_kafka_Node_host(*node)).to_string_lossy();
            format!("{host}:{}", rd::rd_kafka_Node_port(*node))
        };
        Ok(elements(first, count).iter().map(address).collect())
    }
}

/// The description of a consumer group.
pub(crate) struct GroupDescription {
    /// The members, whatever the protocol of the group is.
    pub(crate) members: Vec<GroupMember>,
    pub(crate) rights: Rights,
}

/// The longest timeout that librdkafka accepts.
pub(crate) const LONGEST: Duration = Duration::from_secs(60 * 60);

/// Describes a consumer group. One that does not exist may be described as one without members. Blocks.
///
/// IMPORTANT: the caller drops the client after `OperationTimedOut`. In librdkafka 2.12.1, a request to a coordinator whose timeout
/// passes before there is one frees its state, and then uses it again when a broker connects (`rd_kafka_admin_coord_request` returns
/// an error, for which `rd_kafka_coord_req_fail` calls back). So the request has the longest timeout, and ends with its client.
pub(crate) fn describe_group<C: ClientContext>(
    client: &Client<C>,
    group: &str,
    within: Duration,
) -> Result<GroupDescription, RDKafkaErrorCode> {
    let group = CString::new(group).map_err(|_| RDKafkaErrorCode::InvalidGroupId)?;
    let client = client.native_ptr();
    let mut groups = [group.as_ptr()];
    // SAFETY: as in `describe_topics`. The group's description, its error and operations belong to the event.
    unsafe {
        let queue = ResultQueue::new(client);
        let options = options(client, AdminOp::RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS, true, LONGEST);
        rd::rd_kafka_DescribeConsumerGroups(client, groups.as_mut_ptr(), groups.len(), options.0, queue.native());
        let event = queue.result(within)?;
        let result = rd::rd_kafka_event_DescribeConsumerGroups_result(event.0);
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let first = rd::rd_kafka_DescribeConsumerGroups_result_groups(result, &mut count);
        let group = elements(first, count).first().ok_or(RDKafkaErrorCode::GroupIdNotFound)?;
        match rd::rd_kafka_error_code(rd::rd_kafka_ConsumerGroupDescription_error(*group)) {
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {}
            error => return Err(error.into()),
        }
        let members = (0..rd::rd_kafka_ConsumerGroupDescription_member_count(*group))
            .map(|index| described_member(rd::rd_kafka_ConsumerGroupDescription_member(*group, index)))
            .collect();
        let first = rd::rd_kafka_ConsumerGroupDescription_authorized_operations(*group, &mut count);
        Ok(GroupDescription { members, rights: rights(first, count) })
    }
}

/// Copies the description of a member.
///
/// # Safety
/// `member` must be valid.
unsafe fn described_member(member: *const rd::rd_kafka_MemberDescription_t) -> GroupMember {
    // SAFETY: as promised by the caller. Texts and partitions live as long as the member; texts are null or end with a NUL.
    unsafe {
        let text = |text: *const c_char| {
            (!text.is_null())
                .then(|| CStr::from_ptr(text).to_string_lossy().into_owned())
                .filter(|text| !text.is_empty())
        };
        let assignment = rd::rd_kafka_MemberDescription_assignment(member);
        let partitions =
            if assignment.is_null() { ptr::null() } else { rd::rd_kafka_MemberAssignment_partitions(assignment) };
        GroupMember {
            member_id: text(rd::rd_kafka_MemberDescription_consumer_id(member)).unwrap_or_default(),
            instance_id: text(rd::rd_kafka_MemberDescription_group_instance_id(member)),
            client_id: text(rd::rd_kafka_MemberDescription_client_id(member)).unwrap_or_default(),
            host: text(rd::rd_kafka_MemberDescription_host(member)).unwrap_or_default(),
            partitions: listed_partitions(partitions),
        }
    }
}

/// Copies the partitions of a list, in order.
///
/// # Safety
/// `list` must be null or valid.
unsafe fn listed_partitions(list: *const rd::rd_kafka_topic_partition_list_t) -> Vec<TopicPartition> {
    if list.is_null() {
        return Vec::new();
    }
    // SAFETY: as promised by the caller; the array has `cnt` elements, whose topics end with a NUL.
    let mut partitions: Vec<_> = unsafe {
        let rows = elements((*list).elems.cast_const(), usize::try_from((*list).cnt).unwrap_or(0));
        let row = |row: &rd::rd_kafka_topic_partition_t| {
            TopicPartition::new(CStr::from_ptr(row.topic).to_string_lossy(), row.partition)
        };
        rows.iter().map(row).collect()
    };
    partitions.sort();
    partitions
}

/// Creates the options of a description.
///
/// # Safety
/// `client` must be valid.
unsafe fn options(
    client: *mut rd::rd_kafka_t,
    operation: AdminOp,
    with_rights: bool,
    within: Duration,
) -> NativeHandle<rd::rd_kafka_AdminOptions_t> {
    // SAFETY: as promised by the caller. Errors are owned by their handles.
    unsafe {
        let options = NativeHandle(rd::rd_kafka_AdminOptions_new(client, operation), rd::rd_kafka_AdminOptions_destroy);
        // Both fail only for values out of range; librdkafka's defaults apply then.
        _ = rd::rd_kafka_AdminOptions_set_request_timeout(options.0, millis(within), ptr::null_mut(), 0);
        let error = rd::rd_kafka_AdminOptions_set_include_authorized_operations(options.0, with_rights.into());
        drop(NativeHandle(error, rd::rd_kafka_error_destroy));
        options
    }
}

/// Copies the descriptions from the result of a describe-topics request.
///
/// # Safety
/// `event` must be valid, and the result of a describe-topics request.
unsafe fn described_topics(event: *mut rd::rd_kafka_event_t) -> Vec<DescribedTopic> {
    // SAFETY: as promised by the caller; other events have no topics. Names end with a NUL, all else lives as long as the
    // event; an error may be null.
    unsafe {
        let result = rd::rd_kafka_event_DescribeTopics_result(event);
        if result.is_null() {
            return Vec::new();
        }
        let mut count = 0;
        let first = rd::rd_kafka_DescribeTopics_result_topics(result, &mut count);
        let row = |topic: &*const rd::rd_kafka_TopicDescription_t| {
            let name = CStr::from_ptr(rd::rd_kafka_TopicDescription_name(*topic)).to_string_lossy().into_owned();
            let error = rd::rd_kafka_error_code(rd::rd_kafka_TopicDescription_error(*topic));
            let described = match error {
                RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(description(*topic)),
                error => Err(error.into()),
            };
            (name, described)
        };
        elements(first, count).iter().map(row).collect()
    }
}

/// Copies the description of a topic.
///
/// # Safety
/// `topic` must be valid, and have no error.
unsafe fn description(topic: *const rd::rd_kafka_TopicDescription_t) -> TopicDescription {
    // SAFETY: as promised by the caller; partitions and operations live as long as the topic.
    unsafe {
        let mut count = 0;
        let first = rd::rd_kafka_TopicDescription_partitions(topic, &mut count);
        let partition = |partition: &*const rd::rd_kafka_TopicPartitionInfo_t| {
            let (mut replicas, mut in_sync) = (0, 0);
            rd::rd_kafka_TopicPartitionInfo_replicas(*partition, &mut replicas);
            rd::rd_kafka_TopicPartitionInfo_isr(*partition, &mut in_sync);
            let leader = rd::rd_kafka_TopicPartitionInfo_leader(*partition);
            PartitionReplicas::new(!leader.is_null(), replicas, in_sync)
        };
        let partitions = elements(first, count).iter().map(partition).collect();
        let first = rd::rd_kafka_TopicDescription_authorized_operations(topic, &mut count);
        let state = TopicState { partitions, rights: rights(first, count) };
        TopicDescription { id: number(rd::rd_kafka_TopicDescription_topic_id(topic)), state }
    }
}

/// Returns the elements of an array of librdkafka, which may be null if it is empty.
///
/// # Safety
/// `first` must be null or point to `count` elements, which live as long as the result is used.
unsafe fn elements<'a, T>(first: *const T, count: usize) -> &'a [T] {
    if first.is_null() || count == 0 {
        return &[];
    }
    // SAFETY: as promised by the caller.
    unsafe { std::slice::from_raw_parts(first, count) }
}

/// Copies the rights; `None` for null, which stands for a broker that does not tell.
///
/// # Safety
/// `first` must be null or point to `count` elements.
unsafe fn rights(first: *const Acl, count: usize) -> Rights {
    if first.is_null() {
        return None;
    }
    let known = |acl: &Acl| match acl {
        Acl::RD_KAFKA_ACL_OPERATION_READ => Some(Operation::Read),
        Acl::RD_KAFKA_ACL_OPERATION_WRITE => Some(Operation::Write),
        Acl::RD_KAFKA_ACL_OPERATION_DELETE => Some(Operation::Delete),
        Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE => Some(Operation::Describe),
        Acl::RD_KAFKA_ACL_OPERATION_DESCRIBE_CONFIGS => Some(Operation::DescribeConfigs),
        _ => None,
    };
    // SAFETY: as promised by the caller.
    Some(unsafe { elements(first, count) }.iter().filter_map(known).collect())
}

/// Converts a topic id to a number.
///
/// # Safety
/// `id` must be valid.
unsafe fn number(id: *const rd::rd_kafka_Uuid_t) -> u128 {
    // SAFETY: as promised by the caller.
    let (high, low) =
        unsafe { (rd::rd_kafka_Uuid_most_significant_bits(id), rd::rd_kafka_Uuid_least_significant_bits(id)) };
    u128::from(high.cast_unsigned()) << 64 | u128::from(low.cast_unsigned())
}
