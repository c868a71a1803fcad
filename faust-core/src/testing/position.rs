//! The positions of agents in the metadata of committed offsets.

use crate::message::Offset;
use crate::offsets::{CommitMetadata, NameHash};

/// Returns the next offset of an agent in a topic, from the metadata of an offset that was committed for this topic: an agent
/// may be ahead of the committed offset, which is that of the slowest. Returns `None` if another program has written the
/// metadata, or if they do not contain the agent.
pub fn committed_position(metadata: &str, topic: &str, agent: &str) -> Option<Offset> {
    CommitMetadata::from_text(metadata, topic)?.offset(NameHash::of(agent), NameHash::of(topic))
}
