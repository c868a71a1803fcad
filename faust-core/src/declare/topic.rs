//! The declaration of a topic, as `#[topic(..)]` makes it.

/// A topic as `#[topic("name", ..)]` declares it; what is not said is the setting's or the broker's.
#[derive(Clone, Copy, Debug)]
pub struct TopicDecl {
    /// Its name.
    pub name: &'static str,
    /// How many partitions, when it has to be created.
    pub partitions: Option<i32>,
    /// Copies of each partition, when it has to be created.
    pub replication: Option<i16>,
    /// How long messages are kept, in milliseconds, when it has to be created.
    pub retention_ms: Option<i64>,
    /// Whether only the last message of each key is kept, when it has to be created.
    pub compacting: Option<bool>,
    /// A codec's name or a chain of them.
    pub key_codec: Option<&'static str>,
    /// A codec's name or a chain of them.
    pub value_codec: Option<&'static str>,
}

impl TopicDecl {
    /// A topic of that name, everything else by default.
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
