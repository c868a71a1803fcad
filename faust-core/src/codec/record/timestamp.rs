//! Field types that can hold an event's timestamp.

use crate::time::Timestamp;

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
    /// Returns the timestamp, or `None` if it is absent or invalid. The event then has the timestamp of its message.
    fn to_timestamp(&self) -> Option<Timestamp>;
}

impl IntoTimestamp for Timestamp {
    fn to_timestamp(&self) -> Option<Timestamp> {
        Some(*self)
    }
}

impl IntoTimestamp for i64 {
    fn to_timestamp(&self) -> Option<Timestamp> {
        Some(Timestamp(*self))
    }
}

impl IntoTimestamp for u64 {
    fn to_timestamp(&self) -> Option<Timestamp> {
        i64::try_from(*self).ok().map(Timestamp)
    }
}

impl IntoTimestamp for f64 {
    fn to_timestamp(&self) -> Option<Timestamp> {
        let millis = (self * 1000.0).round();
        // Beyond 2^53 milliseconds, which is the year 287396, a float cannot represent single milliseconds.
        (millis.abs() < 9.0e15).then_some(Timestamp(millis as i64))
    }
}

impl IntoTimestamp for str {
    fn to_timestamp(&self) -> Option<Timestamp> {
        if let Ok(instant) = self.parse::<jiff::Timestamp>() {
            return Some(Timestamp(instant.as_millisecond()));
        }
        let civil: jiff::civil::DateTime = self.parse().ok()?;
        let utc = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
        Some(Timestamp(utc.timestamp().as_millisecond()))
    }
}

impl IntoTimestamp for String {
    fn to_timestamp(&self) -> Option<Timestamp> {
        self.as_str().to_timestamp()
    }
}

impl<T: IntoTimestamp> IntoTimestamp for Option<T> {
    fn to_timestamp(&self) -> Option<Timestamp> {
        self.as_ref().and_then(T::to_timestamp)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)] // A failed unwrap is the test's failure.
    use super::*;

    #[test]
    fn strings_are_rfc_3339_and_utc_without_an_offset() {
        let cases = [
            ("1970-01-01T00:00:01Z", Some(1000)),
            ("1970-01-01T01:00:00.5+01:00", Some(500)),
            ("1970-01-01T00:00:00.123456", Some(123)),
            ("1970-01-02", Some(86_400_000)),
            ("yesterday", None),
            ("", None),
        ];
        for (text, millis) in cases {
            assert_eq!(text.to_timestamp().map(Timestamp::as_millis), millis, "{text}");
        }
    }

    #[test]
    fn floats_are_seconds_and_have_limits() {
        assert_eq!(1.5.to_timestamp(), Some(Timestamp(1500)));
        assert_eq!(f64::NAN.to_timestamp(), None);
        assert_eq!(1e300.to_timestamp(), None);
        assert_eq!(u64::MAX.to_timestamp(), None);
        assert_eq!(Some(7_i64).to_timestamp(), Some(Timestamp(7)));
        assert_eq!(None::<String>.to_timestamp(), None);
    }
}
