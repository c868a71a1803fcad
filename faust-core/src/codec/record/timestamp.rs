//! Field types that can hold an event's timestamp.

use std::fmt;

use crate::time::Timestamp;

/// Milliseconds since the epoch at which year 9999 ends. Later times of text or floats are mistakes.
const END_OF_TIME: f64 = 253_402_300_800_000.0;
/// Maximum number of characters of a text that an error shows.
const SHOWN: usize = 40;

/// The error for a field that holds something other than a time, or a time that is out of range.
///
/// The message is then handled like one that cannot be decoded.
///
/// ```
/// use faust::{IntoTimestamp, Timestamp, TimestampError};
///
/// struct Minutes(i64);
///
/// impl IntoTimestamp for Minutes {
///     fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
///         let millis = self.0.checked_mul(60_000);
///         millis.map(|millis| Some(Timestamp(millis))).ok_or_else(|| TimestampError::new("too many minutes"))
///     }
/// }
///
/// assert_eq!(Minutes(2).to_timestamp(), Ok(Some(Timestamp(120_000))));
/// assert!(Minutes(i64::MAX).to_timestamp().is_err());
/// ```
#[derive(Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimestampError(String);

/// Shows the same text as `Display`: a `main` that returns the error prints its `Debug`.
impl fmt::Debug for TimestampError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl TimestampError {
    /// Creates an error with its reason, such as ``expected minutes since 1970, found `x` ``.
    pub fn new(why: impl fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// A type of the field in `#[record(timestamp = field)]`, which holds an event's timestamp.
///
/// Integers are milliseconds since the Unix epoch, as in Kafka; floats are seconds, as in Python; strings are RFC 3339,
/// in UTC if they have no offset (as written by Python's `isoformat`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be the time of an event",
    label = "not a time",
    note = "use an integer of milliseconds, an `f64` of seconds, RFC 3339 text, a `Timestamp`, or an `Option` of these"
)]
pub trait IntoTimestamp {
    /// Returns the timestamp, or `None` if it is absent: the event then has the timestamp of its message.
    ///
    /// # Errors
    /// Returns an error if the value is not a time, or out of range.
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError>;
}

impl IntoTimestamp for Timestamp {
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
        Ok(Some(*self))
    }
}

impl IntoTimestamp for i64 {
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
        Ok(Some(Timestamp(*self)))
    }
}

impl IntoTimestamp for u64 {
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
        let millis = i64::try_from(*self);
        let millis = millis.map_err(|_| TimestampError::new(format_args!("{self} milliseconds are out of range")))?;
        Ok(Some(Timestamp(millis)))
    }
}

impl IntoTimestamp for f64 {
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
        let millis = (self * 1000.0).round();
        // A number of milliseconds instead of seconds is out of range as well.
        if millis.abs() < END_OF_TIME {
            return Ok(Some(Timestamp(millis as i64)));
        }
        Err(TimestampError::new(format_args!("expected seconds since 1970, before the year 10000, found {self:e}")))
    }
}

impl IntoTimestamp for str {
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
        if let Ok(instant) = self.parse::<jiff::Timestamp>() {
            return Ok(Some(Timestamp(instant.as_millisecond())));
        }
        let civil = self.parse::<jiff::civil::DateTime>();
        let utc = civil.and_then(|civil| civil.to_zoned(jiff::tz::TimeZone::UTC));
        let utc = utc.map_err(|_| {
            let shown: String = self.chars().take(SHOWN).collect();
            TimestampError::new(format_args!("expected a time like `2026-11-28T12:00:00Z`, found {shown:?}"))
        })?;
        Ok(Some(Timestamp(utc.timestamp().as_millisecond())))
    }
}

impl IntoTimestamp for String {
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
        self.as_str().to_timestamp()
    }
}

impl<T: IntoTimestamp> IntoTimestamp for Option<T> {
    fn to_timestamp(&self) -> Result<Option<Timestamp>, TimestampError> {
        self.as_ref().map_or(Ok(None), T::to_timestamp)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.
    use super::*;

    fn error(value: &(impl IntoTimestamp + ?Sized)) -> String {
        value.to_timestamp().unwrap_err().to_string()
    }

    #[test]
    fn strings_are_rfc_3339_and_utc_without_an_offset() {
        let cases = [
            ("1970-01-01T00:00:01Z", 1000),
            ("1970-01-01T01:00:00.5+01:00", 500),
            ("1970-01-01T00:00:00.123456", 123),
            ("1970-01-02", 86_400_000),
        ];
        for (text, millis) in cases {
            assert_eq!(text.to_timestamp(), Ok(Some(Timestamp(millis))), "{text}");
        }
        for text in ["yesterday", "", "1700000000", "+12000-01-01T00:00:00Z"] {
            assert_eq!(error(text), format!("expected a time like `2026-11-28T12:00:00Z`, found {text:?}"));
        }
        assert!(error(&"x".repeat(1_000)).len() < 120);
    }

    #[test]
    fn floats_are_seconds_and_have_limits() {
        assert_eq!(1.5.to_timestamp(), Ok(Some(Timestamp(1500))));
        assert_eq!((-1.5).to_timestamp(), Ok(Some(Timestamp(-1500))));
        // The fourth is a number of milliseconds of the year 2023.
        for float in [f64::NAN, f64::INFINITY, 1e300, 1.7e12, -1.7e12] {
            assert!(error(&float).starts_with("expected seconds since 1970"), "{float}");
        }
    }

    #[test]
    fn integers_are_milliseconds_of_any_size() {
        for millis in [i64::MIN, -1, 0, i64::MAX] {
            assert_eq!(millis.to_timestamp(), Ok(Some(Timestamp(millis))));
        }
        assert_eq!(error(&u64::MAX), "18446744073709551615 milliseconds are out of range");
    }

    #[test]
    fn only_an_absent_time_is_none() {
        assert_eq!(Some(7_i64).to_timestamp(), Ok(Some(Timestamp(7))));
        assert_eq!(None::<String>.to_timestamp(), Ok(None));
        assert!(Some("soon".to_owned()).to_timestamp().is_err());
    }
}
