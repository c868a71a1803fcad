//! Types of settings, with parsing and formatting.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use crate::time::{format_duration, parse_duration};

/// A type that a setting can have. All layers provide settings as text.
pub(super) trait SettingValue: Sized + PartialOrd {
    /// Description of the written form, which completes "expected ..".
    const FORM: &'static str;

    /// Parses a value.
    ///
    /// # Errors
    /// Returns the reason, which names the text.
    fn parse(text: &str) -> Result<Self, String>;

    /// Formats the value in a form that [`parse`](Self::parse) accepts; secrets are masked.
    fn show(&self) -> String;

    /// Returns whether the setting is unset: limits do not apply.
    fn is_unset(&self) -> bool {
        false
    }
}

/// Parses a value and checks its limits, which are written like values.
pub(super) fn parse<T: SettingValue>(text: &str, within: Option<(&str, &str)>) -> Result<T, String> {
    let value = T::parse(text.trim())?;
    if let Some((low, high)) = within.filter(|_| !value.is_unset()) {
        let limit = |text| T::parse(text).expect("a test parses every limit");
        if value < limit(low) || value > limit(high) {
            return Err(format!("`{text}` is out of range: from `{low}` to `{high}`"));
        }
    }
    Ok(value)
}

/// An amount of memory in bytes, written as `64MiB`, `1.5GB`, `500KB` or `1000000B`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl SettingValue for ByteSize {
    const FORM: &'static str = "a size like `64MiB`, `1GB` or `1000000B`";

    fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a size: write a number and a unit, like `64MiB`, `1GB` or `1000000B`");
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(bad)?;
        let (number, unit) = text.split_at(digits);
        let (_, factor) = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit.trim())).ok_or_else(bad)?;
        // Whole numbers stay exact; a fraction may be rounded to a byte.
        if let Ok(whole) = number.parse::<u64>() {
            return whole.checked_mul(*factor).map(Self).ok_or_else(bad);
        }
        let number: f64 = number.parse().map_err(|_| bad())?;
        Ok(Self((number * *factor as f64) as u64))
    }

    fn show(&self) -> String {
        let (unit, factor) =
            UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor)).unwrap_or(&UNITS[8]);
        format!("{}{unit}", self.0 / factor)
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

/// The address of a Kafka cluster or of the embedded broker.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum BrokerUrl {
    /// Bootstrap brokers, as `host:port`.
    Kafka(Vec<String>),
    /// The embedded broker with its data in this directory.
    Embedded(PathBuf),
    /// The embedded broker with its data in memory.
    Memory,
}

impl BrokerUrl {
    const DEFAULT_PORT: u16 = 9092;
}

impl SettingValue for BrokerUrl {
    const FORM: &'static str = "`host:port[,host:port]`, `embedded://DIR` or `memory://`";

    fn parse(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not a broker address: write {}", Self::FORM);
        if let Some(dir) = text.strip_prefix("embedded://") {
            return if dir.is_empty() { Err(bad()) } else { Ok(Self::Embedded(PathBuf::from(dir))) };
        }
        if text == "memory://" {
            return Ok(Self::Memory);
        }
        let parts = text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
        let brokers: Option<Vec<String>> =
            parts.map(|part| host_port(part.strip_prefix("kafka://").unwrap_or(part))).collect();
        brokers.filter(|brokers| !brokers.is_empty()).map(Self::Kafka).ok_or_else(bad)
    }

    fn show(&self) -> String {
        match self {
            Self::Kafka(brokers) => format!("kafka://{}", brokers.join(",")),
            Self::Embedded(dir) => format!("embedded://{}", dir.display()),
            Self::Memory => "memory://".to_owned(),
        }
    }
}

/// Parses `host`, `host:port`, `[::1]` or `[::1]:port`, and adds the default port if there is none.
fn host_port(text: &str) -> Option<String> {
    let text = text.strip_suffix('/').unwrap_or(text);
    if text.contains("://") || text.contains(char::is_whitespace) {
        return None;
    }
    let after_host = text.rfind(']').map_or(0, |end| end + 1);
    match text[after_host..].rsplit_once(':') {
        Some((host, port)) => (after_host > 0 || !host.is_empty() && !host.contains(':'))
            .then(|| port.parse::<u16>().ok().filter(|port| *port > 0))
            .flatten()
            .map(|_| text.to_owned()),
        None if text.is_empty() => None,
        None => Some(format!("{text}:{}", BrokerUrl::DEFAULT_PORT)),
    }
}

impl fmt::Display for BrokerUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.show())
    }
}

/// A string that is never shown in logs or elsewhere.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Secret(String);

impl Secret {
    /// Text shown in place of a secret.
    pub(crate) const MASK: &'static str = "********";

    /// Returns the secret string, for the one place that needs it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl SettingValue for Secret {
    const FORM: &'static str = "a string, never shown";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn show(&self) -> String {
        Self::MASK.to_owned()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(Self::MASK)
    }
}

impl SettingValue for Duration {
    const FORM: &'static str = "a duration like `250ms`, `10s` or `1m30s`";

    fn parse(text: &str) -> Result<Self, String> {
        parse_duration(text).map_err(|error| error.to_string())
    }

    fn show(&self) -> String {
        format_duration(*self)
    }
}

impl SettingValue for PathBuf {
    const FORM: &'static str = "a path";

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Err("the path is empty".to_owned()) } else { Ok(Self::from(text)) }
    }

    fn show(&self) -> String {
        self.display().to_string()
    }
}

impl SettingValue for String {
    const FORM: &'static str = "a string";

    fn parse(text: &str) -> Result<Self, String> {
        Ok(text.to_owned())
    }

    fn show(&self) -> String {
        self.clone()
    }
}

impl SettingValue for bool {
    const FORM: &'static str = "`true` or `false`";

    /// Accepts the same words as Python Faust, in any case.
    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_lowercase().as_str() {
            "true" | "yes" | "on" | "1" => Ok(true),
            "false" | "no" | "off" | "0" => Ok(false),
            _ => Err(format!("`{text}` is neither `true` nor `false`")),
        }
    }

    fn show(&self) -> String {
        self.to_string()
    }
}

impl<T: SettingValue> SettingValue for Option<T> {
    const FORM: &'static str = T::FORM;

    fn parse(text: &str) -> Result<Self, String> {
        if text.is_empty() { Ok(None) } else { T::parse(text).map(Some) }
    }

    fn show(&self) -> String {
        self.as_ref().map(T::show).unwrap_or_default()
    }

    fn is_unset(&self) -> bool {
        self.is_none()
    }
}

macro_rules! whole_numbers {
    ($($type:ty)*) => {$(
        impl SettingValue for $type {
            const FORM: &'static str = "an integer";

            fn parse(text: &str) -> Result<Self, String> {
                let number: i128 = text.replace('_', "").parse().map_err(|_| format!("`{text}` is not an integer"))?;
                number.try_into().map_err(|_| format!("`{text}` is out of range: from {} to {}", <$type>::MIN, <$type>::MAX))
            }

            fn show(&self) -> String {
                self.to_string()
            }
        }
    )*};
}

whole_numbers! { u16 i16 u32 i32 usize }

/// Defines enums whose variants are selected by name.
macro_rules! choices {
    ($($(#[doc = $doc:literal])+ $type:ident { $($(#[doc = $variant_doc:literal])+ $variant:ident = $text:literal,)+ } form $form:literal)*) => {$(
        $(#[doc = $doc])+
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[non_exhaustive]
        pub enum $type {
            $($(#[doc = $variant_doc])+ $variant,)+
        }

        impl $type {
            /// Returns the name used in settings.
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $text,)+
                }
            }
        }

        impl SettingValue for $type {
            const FORM: &'static str = $form;

            fn parse(text: &str) -> Result<Self, String> {
                match text.to_ascii_lowercase().as_str() {
                    $($text => Ok(Self::$variant),)+
                    _ => Err(format!("`{text}` is not one of {}", $form)),
                }
            }

            fn show(&self) -> String {
                self.as_str().to_owned()
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.as_str())
            }
        }
    )*};
}
pub(super) use choices;

choices! {
    /// Policy for a partition without a committed offset, or whose committed offset no longer exists.
    OffsetReset {
    /// Start at the log start offset.
        Earliest = "earliest",
    /// Start at the end of the log.
        Latest = "latest",
    /// Stop with an error.
        None = "none",
    } form "`earliest`, `latest`, `none`"

    /// The protocol by which the partitions of a consumer group are assigned.
    GroupProtocol {
    /// The members assign partitions; since Kafka 0.9.
        Classic = "classic",
    /// The brokers assign partitions (KIP-848); since Kafka 4.
        Consumer = "consumer",
    } form "`classic`, `consumer`"

    /// The guarantee for events whose processing is interrupted.
    ProcessingGuarantee {
    /// Each event is processed; after a fault, outputs may repeat, and tables behind a `group_by` count them again.
        AtLeastOnce = "at_least_once",
    /// Outputs, table changes and positions take effect together, in a transaction: each event counts once.
        ExactlyOnce = "exactly_once",
    } form "`at_least_once`, `exactly_once`"

    /// Encryption and authentication of the connections to the brokers.
    SecurityProtocol {
    /// Neither encryption nor SASL authentication.
        Plaintext = "plaintext",
    /// TLS encryption.
        Ssl = "ssl",
    /// SASL authentication without encryption.
        SaslPlaintext = "sasl_plaintext",
    /// TLS encryption and SASL authentication.
        SaslSsl = "sasl_ssl",
    } form "`plaintext`, `ssl`, `sasl_plaintext`, `sasl_ssl`"

    /// The handling of messages that cannot be decoded.
    DecodePolicy {
    /// The message is sent to `<app>-dead-letter` with the reason in its headers.
        DeadLetter = "dead_letter",
    /// The message is counted, logged and skipped.
        Skip = "skip",
    /// The worker stops with an error that names the message.
        Stop = "stop",
    } form "`dead_letter`, `skip`, `stop`"

    /// The handling of an event whose agent fails each time.
    FailurePolicy {
    /// The event is retried until it succeeds. Only its partition waits.
        Retry = "retry",
    /// The worker stops with an error that names the event.
        Stop = "stop",
    /// The event is sent to `<app>-dead-letter` with the error in its headers, and the agent goes on behind it.
        DeadLetter = "dead_letter",
    /// The event is counted, logged and skipped.
        Skip = "skip",
    } form "`retry`, `stop`, `dead_letter`, `skip`"

    /// The handling of messages whose topic does not accept their timestamp.
    TimestampPolicy {
    /// The send fails with an error that names the topic and the timestamp.
        Fail = "fail",
    /// The message is sent with the clock's time, and its own in the header `faust-event-time`.
        Replace = "replace",
    } form "`fail`, `replace`"

    /// The compression of message batches.
    Compression {
    /// No compression.
        None = "none",
    /// Deflate.
        Gzip = "gzip",
    /// Snappy.
        Snappy = "snappy",
    /// LZ4, the fastest.
        Lz4 = "lz4",
    /// Zstandard, the smallest result.
        Zstd = "zstd",
    } form "`none`, `gzip`, `snappy`, `lz4`, `zstd`"
}
