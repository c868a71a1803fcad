//! The declaration of an agent's stream.

/// How a stream is decoded when the types' own codecs are not meant.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceDecl {
    /// A codec's name or a chain of them.
    pub key_codec: Option<&'static str>,
    /// A codec's name or a chain of them.
    pub value_codec: Option<&'static str>,
}
