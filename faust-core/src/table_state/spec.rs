//! The specification of a table, as resolved by the plan.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::codec::{Data, EncodeError, EntryCoder, Role, without_paths};
use crate::declare::{RelativeTo, TableDecl};
use crate::error::Error;
use crate::window::WindowSpec;
use crate::window::key::split_store_key;

/// The untyped properties of a table, on which the declarations of all its agents must agree.
#[derive(Clone, Debug)]
pub(crate) struct TableInfo {
    pub(crate) name: Arc<str>,
    /// The agent that declared the table first, for error messages.
    pub(crate) agent: String,
    pub(crate) key_type: &'static str,
    pub(crate) value_type: &'static str,
    pub(crate) key_codec: String,
    pub(crate) value_codec: String,
    pub(crate) window: Option<WindowSpec>,
    pub(crate) relative_to: RelativeTo,
    /// The changelog topic: `<app>-<table>-changelog` unless the user specifies one.
    pub(crate) changelog: String,
    pub(crate) help: &'static str,
    pub(crate) partition_by_source: bool,
    /// The bytes of the key `None`, if keys are optional.
    none_key: Option<Vec<u8>>,
    /// The value of `default = ..`, encoded by the value codec.
    default: Option<Vec<u8>>,
}

impl TableInfo {
    /// Returns the part of an overlay key that the key codec wrote. Keys of a windowed table are prefixed with the
    /// window's start.
    pub(crate) fn plain_key<'a>(&self, key: &'a [u8]) -> &'a [u8] {
        match self.window {
            Some(_) => split_store_key(key).map_or(key, |(_, key)| key),
            None => key,
        }
    }

    /// Returns `true` for the bytes of the key `None`.
    pub(super) fn is_none(&self, plain_key: &[u8]) -> bool {
        self.none_key.as_deref() == Some(plain_key)
    }

    /// Returns an overlay key for an error or a log line.
    pub(crate) fn shown_key(&self, key: &[u8]) -> String {
        let plain = self.plain_key(key);
        if self.is_none(plain) {
            return "`None`".to_owned();
        }
        format!("{:?}", String::from_utf8_lossy(plain))
    }

    /// Creates the error of a key or value that could not be read back.
    pub(crate) fn refused(&self, what: String, why: &EncodeError) -> Error {
        Error::Refused { table: self.name.to_string(), what, why: why.to_string() }
    }

    /// Returns a description of the table's types and codecs. Types have no paths, so that they may be moved to another
    /// module.
    pub(crate) fn types(&self) -> String {
        let [key, value] = [self.key_type, self.value_type].map(without_paths);
        format!("{key} by {} -> {value} by {}", self.key_codec, self.value_codec)
    }

    /// Returns a description of the windows' kind and size; `None` for a table without windows.
    pub(crate) fn layout(&self) -> Option<String> {
        self.window.map(WindowSpec::layout)
    }

    /// Returns a description of the table's types, codecs and windows. A store is only reused if it was written with the
    /// same one.
    pub(crate) fn kind(&self) -> String {
        let window = self.layout().map_or_else(String::new, |layout| format!(", {layout}"));
        format!("{}{window}", self.types())
    }

    /// Returns the first difference between two declarations of a table, if there is one.
    pub(crate) fn differs_from(&self, other: &Self) -> Option<String> {
        let window = |info: &Self| info.window.map_or_else(|| "no window".to_owned(), |window| window.to_string());
        let pairs = [
            ("keys of type", self.key_type.to_owned(), other.key_type.to_owned()),
            ("values of type", self.value_type.to_owned(), other.value_type.to_owned()),
            ("key codec", self.key_codec.clone(), other.key_codec.clone()),
            ("value codec", self.value_codec.clone(), other.value_codec.clone()),
            ("window", window(self), window(other)),
            ("changelog topic", self.changelog.clone(), other.changelog.clone()),
            ("default", self.shown_default(), other.shown_default()),
            ("relative_to", self.shown_relative(), other.shown_relative()),
            ("partition_by_source", self.partition_by_source.to_string(), other.partition_by_source.to_string()),
        ];
        let differing = pairs.into_iter().find(|(_, mine, others)| mine != others);
        differing.map(|(what, mine, others)| format!("{what} `{mine}` in one and `{others}` in the other"))
    }

    fn shown_default(&self) -> String {
        self.default.as_ref().map_or_else(|| "none".to_owned(), |bytes| String::from_utf8_lossy(bytes).into_owned())
    }

    fn shown_relative(&self) -> String {
        match self.relative_to {
            RelativeTo::Stream => "stream".to_owned(),
            RelativeTo::Now => "now".to_owned(),
            RelativeTo::Field(_) => "field(..)".to_owned(),
        }
    }
}

/// A function that fails for bytes that cannot be read back as a key.
type KeyCheck = Box<dyn Fn(&[u8]) -> Result<(), EncodeError> + Send + Sync>;

/// A table's properties, with the type of its values.
pub(crate) struct TableSpec<V> {
    pub(crate) info: TableInfo,
    pub(crate) value: EntryCoder<V>,
    /// Checks the bytes of a new key, if keys of its type may be unreadable.
    pub(super) check_key: Option<KeyCheck>,
    /// From `#[table(default = ..)]`; returns a boxed `V`.
    pub(crate) default: Option<fn() -> Box<dyn Any + Send>>,
    /// Set once a key was found outside its own partition, so that the warning is logged only once per table.
    pub(crate) has_misplaced: AtomicBool,
}

impl<V: TableValue> TableSpec<V> {
    /// Resolves a declaration.
    ///
    /// # Errors
    /// A codec cannot be resolved, the window is invalid, or the default cannot be encoded.
    pub(crate) fn new<K: Data>(decl: &TableDecl, name: &str, agent: &str, group: &str) -> Result<Self, String> {
        let fault = |why: &dyn std::fmt::Display| format!("agent `{agent}`, table `{name}`: {why}");
        let key: EntryCoder<K> = EntryCoder::resolve(decl.key_codec, Role::Key).map_err(|why| fault(&why))?;
        let value: EntryCoder<V> = EntryCoder::resolve(decl.value_codec, Role::Value).map_err(|why| fault(&why))?;
        let window = decl.window.map(|window| window.spec()).transpose().map_err(|why| fault(&why))?;
        let changelog = decl.changelog_topic.map_or_else(|| format!("{group}-{name}-changelog"), str::to_owned);
        let default = decl.default.and_then(|make| make().downcast::<V>().ok()).map(|default| {
            let mut bytes = Vec::new();
            let encoded = value.check(&default).and_then(|()| value.encode(&default, &mut bytes));
            encoded.map(|()| bytes).map_err(|why| fault(&format_args!("the default: {why}")))
        });
        let info = TableInfo {
            default: default.transpose()?,
            none_key: key.none(),
            name: name.into(),
            agent: agent.to_owned(),
            key_type: std::any::type_name::<K>(),
            value_type: std::any::type_name::<V>(),
            key_codec: key.name().to_owned(),
            value_codec: value.name().to_owned(),
            window,
            relative_to: decl.relative_to,
            changelog,
            help: decl.help,
            partition_by_source: decl.partition_by_source,
        };
        let check_key = key.is_checked().then(|| -> KeyCheck { Box::new(move |bytes| key.check_key(bytes)) });
        Ok(Self { info, value, check_key, default: decl.default, has_misplaced: AtomicBool::new(false) })
    }

    /// Returns the declared default value, if there is one.
    pub(crate) fn declared_default(&self) -> Option<V> {
        // The macro generates a default of type `V`.
        self.default.and_then(|make| make().downcast::<V>().ok()).map(|value| *value)
    }
}

/// A type that can be the value of a table: message data that is [`Clone`], so that writes can be rolled back.
///
/// A value that could not be read back from the store fails the event that writes it. With the codec `raw` there is none.
/// With `json`, the type decides what each write costs for that:
///
/// | Type | Check of each written value |
/// |---|---|
/// | Integers, `bool`, `char`, `String`, `()`, `Bytes`, `Timestamp`, `Duration`, `Count`, `Sum`, `Average` | None |
/// | `f32`, `f64`, `Option`, `Min`, `Max` | It is searched for a NaN, an infinity and a `Some(None)`, without being encoded |
/// | `Vec`, `VecDeque`, `Box`, sets, `Distinct`, `TopN`, arrays, tuples, and maps whose keys are integers, `bool`, `char`, `String` or `Timestamp` | That of the content |
/// | Records without rules (`range`, `len`, `check`), without recursion, and with no attribute of serde but `rename`, `rename_all`, `rename_all_fields`, `default`, `alias`, `deny_unknown_fields`, `transparent` and `skip_serializing_if = "Option::is_none"` for a field without a default | That of the fields |
/// | All others, such as records with rules or `#[serde(tag)]`, types with their own `Deserialize`, and every type whose codec contains one of `#[codec]` | It is encoded and decoded |
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the value of a table",
    label = "not a table value",
    note = "annotate it with `#[record]`, or derive `Clone` and serde's `Serialize` and `Deserialize`"
)]
pub trait TableValue: Data + Clone {}

#[diagnostic::do_not_recommend]
impl<T: Data + Clone> TableValue for T {}
