//! The declaration of a topic, from `#[topic(..)]`.

/// A topic as `#[topic("name", ..)]` declares it. Absent values are those of the settings or the broker.
#[derive(Clone, Copy, Debug)]
pub struct TopicDecl {
    /// Name of the topic.
    pub name: &'static str,
    /// Number of partitions, if the topic has to be created.
    pub partitions: Option<i32>,
    /// Replication factor, if the topic has to be created.
    pub replication: Option<i16>,
    /// Retention time in milliseconds, if the topic has to be created.
    pub retention_ms: Option<i64>,
    /// `true` to compact the topic, so that it retains only the last message of each key, if it has to be created.
    pub compacting: Option<bool>,
    /// Name of a codec, or of a chain of codecs.
    pub key_codec: Option<&'static str>,
    /// Name of a codec, or of a chain of codecs.
    pub value_codec: Option<&'static str>,
}

impl TopicDecl {
    /// Creates a declaration of a topic with defaults only.
    pub const fn new(name: &'static str) -> Self {
        Self {
            name,
            partitions: None,
            replication: None,
            retention_ms: None,
            compacting: None,
            key_codec: None,
            value_codec: None,
        }
    }
}
