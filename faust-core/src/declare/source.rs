//! The declaration of an agent's stream.

/// The codecs of a stream, where they differ from its types' own.
#[derive(Clone, Copy, Debug, Default)]
pub struct SourceDecl {
    /// Name of a codec, or of a chain of codecs.
    pub key_codec: Option<&'static str>,
    /// Name of a codec, or of a chain of codecs.
    pub value_codec: Option<&'static str>,
}
