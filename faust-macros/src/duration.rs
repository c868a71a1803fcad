//! Durations in annotations: `"250ms"`, `"10s"`, `"7d"`.

use std::time::Duration;

use syn::LitStr;

use crate::fault::Faults;

/// Returns the duration in milliseconds, Kafka's unit. Reports text that is not a duration, or not a whole number of
/// milliseconds, and returns `None`.
pub(crate) fn millis(text: &LitStr, faults: &mut Faults) -> Option<i64> {
    let written = text.value();
    let duration = parse(&written).and_then(|duration| Some((duration, i64::try_from(duration.as_millis()).ok()?)));
    let Some((duration, millis)) = duration else {
        let fault =
            format_args!("`{written}` is not a duration: write a number and a unit, for example `10s`, `1h` or `7d`");
        faults.add(text, fault);
        return None;
    };
    if !duration.subsec_nanos().is_multiple_of(1_000_000) {
        let fault =
            format_args!("`{written}` is more precise than a millisecond; use whole milliseconds, for example `250ms`");
        faults.add(text, fault);
        return None;
    }
    Some(millis)
}

/// Parses the durations that settings accept: without months and years, which have no fixed length.
fn parse(text: &str) -> Option<Duration> {
    let vague = |unit: &str| unit.starts_with('M') || unit.starts_with("mon") || unit.starts_with('y');
    let mut units = text.split(|c: char| c.is_ascii_digit() || c == '.' || c.is_whitespace());
    if units.any(vague) { None } else { humantime::parse_duration(text.trim()).ok() }
}

#[cfg(test)]
mod tests {
    use proc_macro2::Span;

    use super::*;

    #[test]
    fn only_whole_milliseconds_are_accepted() {
        for (text, expected, fault) in [
            ("250ms", Some(250), ""),
            ("1m 30s", Some(90_000), ""),
            ("1000us", Some(1), ""),
            ("0s", Some(0), ""),
            ("1500us", None, "more precise than a millisecond"),
            ("1month", None, "`1month` is not a duration"),
            ("ten", None, "`ten` is not a duration"),
            ("99999999999999999d", None, "is not a duration"),
        ] {
            let mut faults = Faults::default();
            assert_eq!(millis(&LitStr::new(text, Span::call_site()), &mut faults), expected, "{text}");
            let faults = faults.emit().to_string();
            assert!(faults.contains(fault) && faults.is_empty() == fault.is_empty(), "{text}: {faults}");
        }
    }
}
