//! The release of a broker, by the requests that it answers.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use faust_core::config::{GroupProtocol, Settings};

use super::check::Check;

/// The requests that a release of Kafka was the first to answer, the newest first: Kafka's number of the request, and the
/// release.
const FIRST_REQUESTS: [(i16, &str); 8] =
    [(90, "4.1"), (68, "4.0"), (75, "3.8"), (71, "3.7"), (65, "3.0"), (60, "2.8"), (50, "2.7"), (44, "2.3")];
/// The request by which a member of the group protocol `consumer` joins.
const CONSUMER_GROUP_HEARTBEAT: i16 = 68;
/// The request for topics, and its first version that returns their ids.
const METADATA: i16 = 3;
const WITH_TOPIC_IDS: i16 = 10;

/// Checks whether the broker is recent enough. `apis` are the versions of the requests that it answers.
pub(super) fn check(apis: &BTreeMap<i16, RangeInclusive<i16>>, settings: &Settings) -> Check {
    if apis.is_empty() {
        return Check::warn("version", "the broker does not tell which requests it answers");
    }
    let release = FIRST_REQUESTS.iter().find(|(request, _)| apis.contains_key(request));
    let release = release.map_or("an early release".to_owned(), |(_, release)| format!("{release} or later"));
    let text = format!("the broker answers as Kafka {release}");
    if settings.group_protocol == GroupProtocol::Consumer && !apis.contains_key(&CONSUMER_GROUP_HEARTBEAT) {
        let fix = "which has no `group_protocol` `consumer`: set `group_protocol` to `classic`, or upgrade the broker";
        return Check::fail("version", format!("{text}, {fix}"));
    }
    match apis.get(&METADATA).is_some_and(|versions| *versions.end() >= WITH_TOPIC_IDS) {
        true => Check::ok("version", text),
        false => Check::warn(
            "version",
            format!(
                "{text}, which has no topic ids: a topic that is deleted and created again is not always noticed; upgrade the broker to 2.8 or later"
            ),
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a panic is how a test fails")]

    use faust_core::config::Layers;

    use super::*;

    #[test]
    fn the_release_is_the_one_that_introduced_the_newest_request() {
        let settings = |protocol: &str| {
            let mut layers = Layers::default();
            layers.builder("group_protocol", protocol);
            layers.resolve("shop").unwrap().settings
        };
        let apis = |requests: &[i16], metadata: i16| {
            let requests = requests.iter().map(|request| (*request, 0..=0));
            requests.chain([(METADATA, 0..=metadata)]).collect::<BTreeMap<_, _>>()
        };
        let line =
            |requests: &[i16], metadata, protocol| check(&apis(requests, metadata), &settings(protocol)).to_string();
        let new = line(&[44, 60, 68, 90], 13, "consumer");
        assert_eq!(new, "ok    version      the broker answers as Kafka 4.1 or later");
        assert!(line(&[44], 9, "classic").starts_with("warn"), "no topic ids");
        let old = line(&[44, 60], 10, "consumer");
        assert!(old.starts_with("fail") && old.contains("2.8 or later, which has no `group_protocol`"), "{old}");
    }
}
