//! Validation of requests before they are decoded, because the codec trusts array lengths.
//!
//! The codec allocates memory for an array as soon as it has read its length: eight malicious bytes could request
//! terabytes, which aborts the process. This module checks that all elements are present, and limits their number.

use kafka_protocol::messages::ApiKey;

use self::Kind::{Array, Blob, Fixed, Fixeds, Nullable, Text, Texts};

/// Maximum number of array elements and tagged fields in a request. Clients send fewer; this many take some tens of
/// megabytes when decoded.
const MAX_ELEMENTS: usize = 200_000;

/// Maximum length of a string in bytes, as in Kafka.
const MAX_TEXT: usize = i16::MAX as usize;

/// The fields of a message in the order of the protocol.
struct Shape {
    /// First flexible version, from which lengths are varints and each struct ends with tagged fields.
    flexible_from: i16,
    fields: &'static [Field],
}

struct Field {
    from: i16,
    to: i16,
    kind: Kind,
}

enum Kind {
    /// A fixed number of bytes.
    Fixed(usize),
    /// A nullable string: a length of two bytes (or a varint), then that many bytes.
    Text,
    /// Nullable bytes: a length of four bytes (or a varint), then that many bytes.
    Blob,
    /// A nullable array of structs.
    Array(&'static [Field]),
    /// A nullable array of values with a fixed number of bytes.
    Fixeds(usize),
    /// A nullable array of strings.
    Texts,
    /// A nullable struct: one byte, then the struct unless the byte is negative.
    Nullable(&'static [Field]),
}

const fn always(kind: Kind) -> Field {
    since(0, kind)
}

const fn since(from: i16, kind: Kind) -> Field {
    Field { from, to: i16::MAX, kind }
}

const fn until(to: i16, kind: Kind) -> Field {
    Field { from: 0, to, kind }
}

const fn between(from: i16, to: i16, kind: Kind) -> Field {
    Field { from, to, kind }
}

const fn shape(flexible_from: i16, fields: &'static [Field]) -> Shape {
    Shape { flexible_from, fields }
}

/// Value of `flexible_from` for a message without flexible versions.
const NEVER: i16 = i16::MAX;

static PRODUCE: Shape = shape(
    9,
    &[
        always(Text),
        always(Fixed(2)),
        always(Fixed(4)),
        always(Array(&[until(12, Text), since(13, Fixed(16)), always(Array(&[always(Fixed(4)), always(Blob)]))])),
    ],
);
static FETCH: Shape = shape(
    12,
    &[
        until(14, Fixed(4)),
        always(Fixed(12)),
        always(Fixed(1)),
        since(7, Fixed(8)),
        always(Array(&[
            until(12, Text),
            since(13, Fixed(16)),
            always(Array(&[
                always(Fixed(4)),
                since(9, Fixed(4)),
                always(Fixed(8)),
                since(12, Fixed(4)),
                since(5, Fixed(8)),
                always(Fixed(4)),
            ])),
        ])),
        since(7, Array(&[until(12, Text), since(13, Fixed(16)), always(Fixeds(4))])),
        since(11, Text),
    ],
);
static LIST_OFFSETS: Shape = shape(
    6,
    &[
        always(Fixed(4)),
        since(2, Fixed(1)),
        always(Array(&[always(Text), always(Array(&[always(Fixed(4)), since(4, Fixed(4)), always(Fixed(8))]))])),
        since(10, Fixed(4)),
    ],
);
static METADATA: Shape = shape(
    9,
    &[
        always(Array(&[since(10, Fixed(16)), always(Text)])),
        since(4, Fixed(1)),
        between(8, 10, Fixed(1)),
        since(8, Fixed(1)),
    ],
);
static OFFSET_COMMIT: Shape = shape(
    8,
    &[
        always(Text),
        always(Fixed(4)),
        always(Text),
        since(7, Text),
        until(4, Fixed(8)),
        always(Array(&[
            until(9, Text),
            since(10, Fixed(16)),
            always(Array(&[always(Fixed(4)), always(Fixed(8)), since(6, Fixed(4)), always(Text)])),
        ])),
    ],
);
static OFFSET_FETCH: Shape = shape(
    6,
    &[
        until(7, Text),
        until(7, Array(&[always(Text), always(Fixeds(4))])),
        since(
            8,
            Array(&[
                always(Text),
                since(9, Text),
                since(9, Fixed(4)),
                always(Array(&[until(9, Text), since(10, Fixed(16)), always(Fixeds(4))])),
            ]),
        ),
        since(7, Fixed(1)),
    ],
);
static FIND_COORDINATOR: Shape = shape(3, &[until(3, Text), since(1, Fixed(1)), since(4, Texts)]);
static JOIN_GROUP: Shape = shape(
    6,
    &[
        always(Text),
        always(Fixed(4)),
        since(1, Fixed(4)),
        always(Text),
        since(5, Text),
        always(Text),
        always(Array(&[always(Text), always(Blob)])),
        since(8, Text),
    ],
);
static HEARTBEAT: Shape = shape(4, &[always(Text), always(Fixed(4)), always(Text), since(3, Text)]);
static LEAVE_GROUP: Shape =
    shape(4, &[always(Text), until(2, Text), since(3, Array(&[always(Text), always(Text), since(5, Text)]))]);
static SYNC_GROUP: Shape = shape(
    4,
    &[
        always(Text),
        always(Fixed(4)),
        always(Text),
        since(3, Text),
        since(5, Text),
        since(5, Text),
        always(Array(&[always(Text), always(Blob)])),
    ],
);
static DESCRIBE_GROUPS: Shape = shape(5, &[always(Texts), since(3, Fixed(1))]);
static LIST_GROUPS: Shape = shape(3, &[since(4, Texts), since(5, Texts)]);
static API_VERSIONS: Shape = shape(3, &[since(3, Text), since(3, Text)]);
static CREATE_TOPICS: Shape = shape(
    5,
    &[
        always(Array(&[
            always(Text),
            always(Fixed(6)),
            always(Array(&[always(Fixed(4)), always(Fixeds(4))])),
            always(Array(&[always(Text), always(Text)])),
        ])),
        always(Fixed(4)),
        since(1, Fixed(1)),
    ],
);
static DELETE_TOPICS: Shape =
    shape(4, &[since(6, Array(&[always(Text), always(Fixed(16))])), until(5, Texts), always(Fixed(4))]);
static DELETE_RECORDS: Shape =
    shape(2, &[always(Array(&[always(Text), always(Array(&[always(Fixed(12))]))])), always(Fixed(4))]);
static INIT_PRODUCER_ID: Shape = shape(2, &[always(Text), always(Fixed(4)), since(3, Fixed(10))]);
static OFFSET_FOR_LEADER_EPOCH: Shape = shape(
    4,
    &[
        since(3, Fixed(4)),
        always(Array(&[always(Text), always(Array(&[always(Fixed(4)), since(2, Fixed(4)), always(Fixed(4))]))])),
    ],
);
static DESCRIBE_CONFIGS: Shape = shape(
    4,
    &[always(Array(&[always(Fixed(1)), always(Text), always(Texts)])), since(1, Fixed(1)), since(3, Fixed(1))],
);
static ALTER_CONFIGS: Shape = shape(
    2,
    &[always(Array(&[always(Fixed(1)), always(Text), always(Array(&[always(Text), always(Text)]))])), always(Fixed(1))],
);
static INCREMENTAL_ALTER_CONFIGS: Shape = shape(
    1,
    &[
        always(Array(&[
            always(Fixed(1)),
            always(Text),
            always(Array(&[always(Text), always(Fixed(1)), always(Text)])),
        ])),
        always(Fixed(1)),
    ],
);
static CREATE_PARTITIONS: Shape = shape(
    2,
    &[always(Array(&[always(Text), always(Fixed(4)), always(Array(&[always(Fixeds(4))]))])), always(Fixed(5))],
);
static DELETE_GROUPS: Shape = shape(2, &[always(Texts)]);
static OFFSET_DELETE: Shape =
    shape(NEVER, &[always(Text), always(Array(&[always(Text), always(Array(&[always(Fixed(4))]))]))]);
static DESCRIBE_CLUSTER: Shape = shape(0, &[always(Fixed(1)), since(1, Fixed(1)), since(2, Fixed(1))]);

static CONSUMER_GROUP_HEARTBEAT: Shape = shape(
    0,
    &[
        always(Text),
        always(Text),
        always(Fixed(4)),
        always(Text),
        always(Text),
        always(Fixed(4)),
        always(Texts),
        since(1, Text),
        always(Text),
        always(Array(&[always(Fixed(16)), always(Fixeds(4))])),
    ],
);
static CONSUMER_GROUP_DESCRIBE: Shape = shape(0, &[always(Texts), always(Fixed(1))]);
static DESCRIBE_TOPIC_PARTITIONS: Shape =
    shape(0, &[always(Array(&[always(Text)])), always(Fixed(4)), always(Nullable(&[always(Text), always(Fixed(4))]))]);
static LIST_CONFIG_RESOURCES: Shape = shape(0, &[since(1, Fixeds(1))]);
static DESCRIBE_LOG_DIRS: Shape = shape(2, &[always(Array(&[always(Text), always(Fixeds(4))]))]);
static ALTER_REPLICA_LOG_DIRS: Shape =
    shape(2, &[always(Array(&[always(Text), always(Array(&[always(Text), always(Fixeds(4))]))]))]);
static DESCRIBE_QUORUM: Shape = shape(0, &[always(Array(&[always(Text), always(Array(&[always(Fixed(4))]))]))]);
static ELECT_LEADERS: Shape =
    shape(2, &[since(1, Fixed(1)), always(Array(&[always(Text), always(Fixeds(4))])), always(Fixed(4))]);
static LIST_PARTITION_REASSIGNMENTS: Shape =
    shape(0, &[always(Fixed(4)), always(Array(&[always(Text), always(Fixeds(4))]))]);
static ALTER_PARTITION_REASSIGNMENTS: Shape = shape(
    0,
    &[
        always(Fixed(4)),
        since(1, Fixed(1)),
        always(Array(&[always(Text), always(Array(&[always(Fixed(4)), always(Fixeds(4))]))])),
    ],
);
/// The fields of a filter of access rights, and of an access right.
const ACL: &[Field] =
    &[always(Fixed(1)), always(Text), always(Fixed(1)), always(Text), always(Text), always(Fixed(1)), always(Fixed(1))];
static DESCRIBE_ACLS: Shape = shape(2, ACL);
static CREATE_OR_DELETE_ACLS: Shape = shape(2, &[always(Array(ACL))]);
static DESCRIBE_CLIENT_QUOTAS: Shape =
    shape(1, &[always(Array(&[always(Text), always(Fixed(1)), always(Text)])), always(Fixed(1))]);
static DESCRIBE_USER_SCRAM_CREDENTIALS: Shape = shape(0, &[always(Array(&[always(Text)]))]);
static DESCRIBE_PRODUCERS: Shape = shape(0, &[always(Array(&[always(Text), always(Fixeds(4))]))]);
static LIST_TRANSACTIONS: Shape = shape(0, &[always(Texts), always(Fixeds(8)), since(1, Fixed(8)), since(2, Text)]);
static DESCRIBE_TRANSACTIONS: Shape = shape(0, &[always(Texts)]);
static ADD_PARTITIONS_TO_TXN: Shape =
    shape(3, &[always(Text), always(Fixed(10)), always(Array(&[always(Text), always(Fixeds(4))]))]);
static ADD_OFFSETS_TO_TXN: Shape = shape(3, &[always(Text), always(Fixed(10)), always(Text)]);
static END_TXN: Shape = shape(3, &[always(Text), always(Fixed(11))]);
static TXN_OFFSET_COMMIT: Shape = shape(
    3,
    &[
        always(Text),
        always(Text),
        always(Fixed(10)),
        since(3, Fixed(4)),
        since(3, Text),
        since(3, Text),
        always(Array(&[always(Text), always(Array(&[always(Fixed(12)), since(2, Fixed(4)), always(Text)]))])),
    ],
);
static WRITE_TXN_MARKERS: Shape = shape(
    1,
    &[always(Array(&[always(Fixed(11)), always(Array(&[always(Text), always(Fixeds(4))])), always(Fixed(4))]))],
);

fn shape_of(api: ApiKey) -> Option<&'static Shape> {
    Some(match api {
        ApiKey::Produce => &PRODUCE,
        ApiKey::Fetch => &FETCH,
        ApiKey::ListOffsets => &LIST_OFFSETS,
        ApiKey::Metadata => &METADATA,
        ApiKey::OffsetCommit => &OFFSET_COMMIT,
        ApiKey::OffsetFetch => &OFFSET_FETCH,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::JoinGroup => &JOIN_GROUP,
        ApiKey::Heartbeat => &HEARTBEAT,
        ApiKey::LeaveGroup => &LEAVE_GROUP,
        ApiKey::SyncGroup => &SYNC_GROUP,
        ApiKey::DescribeGroups => &DESCRIBE_GROUPS,
        ApiKey::ListGroups => &LIST_GROUPS,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::DeleteRecords => &DELETE_RECORDS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::OffsetForLeaderEpoch => &OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::AlterConfigs => &ALTER_CONFIGS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::DeleteGroups => &DELETE_GROUPS,
        ApiKey::OffsetDelete => &OFFSET_DELETE,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::ConsumerGroupHeartbeat => &CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => &CONSUMER_GROUP_DESCRIBE,
        ApiKey::DescribeTopicPartitions => &DESCRIBE_TOPIC_PARTITIONS,
        ApiKey::ListConfigResources => &LIST_CONFIG_RESOURCES,
        ApiKey::DescribeLogDirs => &DESCRIBE_LOG_DIRS,
        ApiKey::AlterReplicaLogDirs => &ALTER_REPLICA_LOG_DIRS,
        ApiKey::DescribeQuorum => &DESCRIBE_QUORUM,
        ApiKey::ElectLeaders => &ELECT_LEADERS,
        ApiKey::ListPartitionReassignments => &LIST_PARTITION_REASSIGNMENTS,
        ApiKey::AlterPartitionReassignments => &ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::DescribeAcls => &DESCRIBE_ACLS,
        ApiKey::CreateAcls | ApiKey::DeleteAcls => &CREATE_OR_DELETE_ACLS,
        ApiKey::DescribeClientQuotas => &DESCRIBE_CLIENT_QUOTAS,
        ApiKey::DescribeUserScramCredentials => &DESCRIBE_USER_SCRAM_CREDENTIALS,
        ApiKey::DescribeProducers => &DESCRIBE_PRODUCERS,
        ApiKey::ListTransactions => &LIST_TRANSACTIONS,
        ApiKey::DescribeTransactions => &DESCRIBE_TRANSACTIONS,
        ApiKey::AddPartitionsToTxn => &ADD_PARTITIONS_TO_TXN,
        ApiKey::AddOffsetsToTxn => &ADD_OFFSETS_TO_TXN,
        ApiKey::EndTxn => &END_TXN,
        ApiKey::TxnOffsetCommit => &TXN_OFFSET_COMMIT,
        ApiKey::WriteTxnMarkers => &WRITE_TXN_MARKERS,
        _ => return None,
    })
}

/// Checks that a request, including its header, matches the shape of its API and version.
pub(crate) fn check(api: ApiKey, version: i16, frame: &[u8]) -> Result<(), &'static str> {
    let shape = shape_of(api).ok_or("unknown request")?;
    let mut walk = Walk { rest: frame, version, is_flexible: false, known_tags: 0, elements: 0 };
    walk.header(api.request_header_version(version))?;
    walk.is_flexible = version >= shape.flexible_from;
    walk.known_tags = known_tags(api);
    walk.fields(shape.fields)
}

/// Returns the number of tags, starting at 0, that the codec decodes by name in this request.
///
/// The codec decodes such a field without checking its size prefix, so its position would differ from the one here if
/// the two contradict each other. Only replicas send these fields, and this broker has none.
fn known_tags(api: ApiKey) -> usize {
    if api == ApiKey::Fetch { 2 } else { 0 }
}

struct Walk<'a> {
    rest: &'a [u8],
    version: i16,
    is_flexible: bool,
    known_tags: usize,
    elements: usize,
}

impl Walk<'_> {
    /// Checks the header: key, version and correlation id, then the client id, whose length is never a varint.
    fn header(&mut self, header_version: i16) -> Result<(), &'static str> {
        self.skip(8)?;
        self.text()?;
        if header_version >= 2 { self.tagged_fields() } else { Ok(()) }
    }

    fn fields(&mut self, fields: &'static [Field]) -> Result<(), &'static str> {
        let version = self.version;
        for field in fields.iter().filter(|field| (field.from..=field.to).contains(&version)) {
            match field.kind {
                Fixed(size) => self.skip(size)?,
                Text => self.text()?,
                Blob => {
                    let len = self.long_len()?;
                    self.skip(len)?;
                }
                Array(of) => self.array(|walk| walk.fields(of))?,
                Fixeds(size) => self.array(|walk| walk.skip(size))?,
                Texts => self.array(Self::text)?,
                Nullable(of) => match self.byte()? {
                    0xff => {}
                    1 => self.fields(of)?,
                    _ => return Err("a nullable struct is neither null nor present"),
                },
            }
        }
        if self.is_flexible { self.tagged_fields() } else { Ok(()) }
    }

    fn array(&mut self, mut element: impl FnMut(&mut Self) -> Result<(), &'static str>) -> Result<(), &'static str> {
        for _ in 0..self.long_len()? {
            self.count()?;
            element(self)?;
        }
        Ok(())
    }

    fn tagged_fields(&mut self) -> Result<(), &'static str> {
        for _ in 0..self.varint()? {
            self.count()?;
            if self.varint()? < self.known_tags {
                return Err("a tagged field that only replicas send");
            }
            let size = self.varint()?;
            self.skip(size)?;
        }
        Ok(())
    }

    fn text(&mut self) -> Result<(), &'static str> {
        if self.is_flexible {
            let len = self.varint()?.saturating_sub(1);
            return if len > MAX_TEXT { Err("a string is too long") } else { self.skip(len) };
        }
        let (len, rest) = self.rest.split_first_chunk().ok_or("truncated")?;
        self.rest = rest;
        // A negative length is null.
        self.skip(usize::try_from(i16::from_be_bytes(*len)).unwrap_or(0))
    }

    fn long_len(&mut self) -> Result<usize, &'static str> {
        if self.is_flexible {
            return Ok(self.varint()?.saturating_sub(1));
        }
        let (len, rest) = self.rest.split_first_chunk().ok_or("truncated")?;
        self.rest = rest;
        // A negative length is null.
        Ok(usize::try_from(i32::from_be_bytes(*len)).unwrap_or(0))
    }

    fn varint(&mut self) -> Result<usize, &'static str> {
        let mut value = 0u64;
        for shift in (0..35).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                // The codec would discard the higher bits and read another number.
                let value = u32::try_from(value).map_err(|_| "a varint exceeds 32 bits")?;
                return usize::try_from(value).map_err(|_| "a length exceeds the address space");
            }
        }
        Err("a varint exceeds five bytes")
    }

    fn byte(&mut self) -> Result<u8, &'static str> {
        let (byte, rest) = self.rest.split_first().ok_or("truncated")?;
        self.rest = rest;
        Ok(*byte)
    }

    fn skip(&mut self, len: usize) -> Result<(), &'static str> {
        self.rest = self.rest.get(len..).ok_or("a length exceeds the request")?;
        Ok(())
    }

    fn count(&mut self) -> Result<(), &'static str> {
        self.elements += 1;
        if self.elements > MAX_ELEMENTS { Err("too many elements") } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests;
