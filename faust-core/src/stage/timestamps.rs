//! The timestamps of sent messages: those that a topic does not accept, and what is sent instead.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::config::TimestampPolicy;
use crate::error::TransportError;
use crate::message::EVENT_TIME;
use crate::stats::Stats;
use crate::time::{Clock, Horizon, Timestamp, format_duration, millis};
use crate::transport::{Delivery, Outgoing, Sealed, SendRefused, SinkTopic, TopicConfigs, is_storable};

/// The configuration that decides whose timestamps a topic has.
const TYPE: &str = "message.timestamp.type";
/// The configuration that limits how long before the broker's clock a timestamp may be.
const BEFORE: &str = "message.timestamp.before.max.ms";
/// The configuration that limits how far ahead of the broker's clock a timestamp may be.
const AFTER: &str = "message.timestamp.after.max.ms";
/// The predecessor of both: brokers before Kafka 3.6 know only this one, and others up to Kafka 4 still obey it.
const DIFFERENCE: &str = "message.timestamp.difference.max.ms";

/// The default of `message.timestamp.after.max.ms` in Kafka 4.
const DEFAULT_AFTER: Duration = Duration::from_secs(60 * 60);

/// The rules for the timestamps that a worker, or a program without a worker, sends.
#[derive(Debug)]
pub(crate) struct TimestampRules {
    policy: TimestampPolicy,
    clock: Clock,
    stats: Arc<Stats>,
    limits: TopicLimits,
    /// Topics for which a replaced timestamp has been reported.
    reported: Mutex<BTreeSet<String>>,
}

/// The limits of the topics, by name. Those of other topics are unknown.
pub(crate) type TopicLimits = BTreeMap<String, TimestampLimits>;

/// The timestamps that a topic accepts, relative to the broker's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TimestampLimits {
    /// The broker replaces all timestamps by its own (`LogAppendTime`).
    is_replaced: bool,
    before: Option<Duration>,
    after: Option<Duration>,
}

impl TimestampLimits {
    /// Returns the limits of topics with these configurations.
    pub(crate) fn of_topics(configs: &TopicConfigs) -> TopicLimits {
        configs.iter().map(|(topic, configs)| (topic.clone(), Self::new(configs))).collect()
    }

    fn new(configs: &BTreeMap<String, String>) -> Self {
        let limit = |name: &str| limit(configs.get(name)?);
        Self {
            is_replaced: configs.get(TYPE).is_some_and(|value| value == "LogAppendTime"),
            before: limit(BEFORE).or_else(|| limit(DIFFERENCE)),
            after: limit(AFTER).or_else(|| limit(DIFFERENCE)),
        }
    }

    /// Returns the limits within which a message of Faust keeps its event time as its timestamp.
    ///
    /// Half of the topic's limits allows for a broker with a slower or faster clock, and for the time until the message
    /// is sent. A timestamp far ahead of the clock would prevent retention from deleting its segment and all later ones.
    fn to_carry(self) -> Self {
        let after = self.after.map_or(DEFAULT_AFTER, |after| after.min(DEFAULT_AFTER));
        Self { before: self.before.map(|before| before / 2), after: Some(after / 2), ..self }
    }
}

/// Parses a limit in milliseconds. The largest number means that there is none.
fn limit(value: &str) -> Option<Duration> {
    value.parse().ok().filter(|&ms| ms < i64::MAX.unsigned_abs()).map(Duration::from_millis)
}

impl TimestampRules {
    pub(crate) fn new(policy: TimestampPolicy, clock: Clock, stats: Arc<Stats>, limits: TopicLimits) -> Arc<Self> {
        Arc::new(Self { policy, clock, stats, limits, reported: Mutex::default() })
    }

    /// Wraps a topic of the user: a timestamp that it does not accept follows the policy. If its limits are unknown, a
    /// timestamp that Kafka refuses by default is replaced as well, but none fails before the broker has refused it.
    pub(super) fn checked(self: &Arc<Self>, name: &str, topic: Arc<dyn SinkTopic>) -> Arc<dyn SinkTopic> {
        let after = Some(DEFAULT_AFTER).filter(|_| self.policy == TimestampPolicy::Replace);
        let unknown = TimestampLimits { after, ..TimestampLimits::default() };
        self.wrapped(name, topic, self.limits.get(name).copied().unwrap_or(unknown), Instead::ByPolicy)
    }

    /// Wraps a topic whose messages Faust reads: a timestamp that the topic could refuse or change is sent in a header. If
    /// its limits are unknown, all are.
    pub(super) fn carrying(self: &Arc<Self>, name: &str, topic: Arc<dyn SinkTopic>) -> Arc<dyn SinkTopic> {
        let unknown = TimestampLimits { is_replaced: true, ..TimestampLimits::default() };
        let limits = self.limits.get(name).map_or(unknown, |limits| limits.to_carry());
        self.wrapped(name, topic, limits, Instead::InHeader)
    }

    fn wrapped(
        self: &Arc<Self>,
        name: &str,
        topic: Arc<dyn SinkTopic>,
        limits: TimestampLimits,
        instead: Instead,
    ) -> Arc<dyn SinkTopic> {
        let latest = limits.after.map(|after| Horizon::new(self.clock.clone(), after));
        Arc::new(CheckedTopic { name: name.to_owned(), topic, limits, latest, instead, rules: Arc::clone(self) })
    }
}

/// The treatment of a timestamp that the topic does not accept.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Instead {
    /// It is sent in the header [`EVENT_TIME`].
    InHeader,
    /// It follows the setting `on_timestamp_error`.
    ByPolicy,
}

/// A topic that accepts only some timestamps.
struct CheckedTopic {
    name: String,
    topic: Arc<dyn SinkTopic>,
    limits: TimestampLimits,
    /// The latest accepted timestamp.
    latest: Option<Horizon>,
    instead: Instead,
    rules: Arc<TimestampRules>,
}

impl Sealed for CheckedTopic {}

impl SinkTopic for CheckedTopic {
    fn try_send(&self, message: &Outgoing<'_>, delivery: &Arc<Delivery>) -> Result<(), SendRefused> {
        match message.timestamp.and_then(|time| Some((time, self.unaccepted(time)?))) {
            None => self.topic.try_send(message, delivery),
            Some((time, unaccepted)) => self.send_otherwise(message, time, unaccepted, delivery),
        }
    }

    fn check(&self, message: &Outgoing<'_>) -> Result<(), TransportError> {
        self.topic.check(message)
    }
}

/// The reason for which a topic does not store a timestamp.
enum Unaccepted {
    /// The broker stores its own time.
    Replaced,
    /// Kafka cannot store it.
    NotStorable,
    /// It is too long before the clock.
    TooOld(Duration),
    /// It is too far ahead of the clock.
    TooLate(Duration),
}

impl CheckedTopic {
    fn unaccepted(&self, time: Timestamp) -> Option<Unaccepted> {
        if self.limits.is_replaced {
            return Some(Unaccepted::Replaced);
        }
        if !is_storable(time) {
            return Some(Unaccepted::NotStorable);
        }
        if let Some(latest) = self.latest.as_ref().filter(|latest| !latest.reaches(time)) {
            return Some(Unaccepted::TooLate(latest.ahead()));
        }
        let is_too_old = |before: &Duration| time.0 < self.rules.clock.now().0.saturating_sub(millis(*before));
        self.limits.before.filter(is_too_old).map(Unaccepted::TooOld)
    }

    #[cold]
    fn send_otherwise(
        &self,
        message: &Outgoing<'_>,
        time: Timestamp,
        unaccepted: Unaccepted,
        delivery: &Arc<Delivery>,
    ) -> Result<(), SendRefused> {
        let mut message = message.clone();
        message.timestamp = Some(self.rules.clock.now());
        match (self.instead, &unaccepted, self.rules.policy) {
            (Instead::InHeader, ..) => message.headers.set_event_time(time),
            (Instead::ByPolicy, Unaccepted::Replaced, _) => {}
            (Instead::ByPolicy, _, TimestampPolicy::Replace) => {
                message.headers.set_event_time(time);
                self.topic.try_send(&message, delivery)?;
                self.report(time, &unaccepted);
                return Ok(());
            }
            (Instead::ByPolicy, _, TimestampPolicy::Fail) => {
                let why = format!(
                    "{}; correct the timestamp, or set `on_timestamp_error` to `replace`, which sends the clock's time and keeps the other in the header `{EVENT_TIME}`",
                    self.reason(time, &unaccepted)
                );
                return Err(SendRefused::Failed(TransportError::fatal(format!("sending to `{}`", self.name), why)));
            }
        }
        self.topic.try_send(&message, delivery)
    }

    /// Counts a replaced timestamp, and warns of the first.
    fn report(&self, time: Timestamp, unaccepted: &Unaccepted) {
        self.rules.stats.timestamp_replaced();
        let mut reported = self.rules.reported.lock().unwrap_or_else(PoisonError::into_inner);
        if reported.insert(self.name.clone()) {
            tracing::warn!(
                topic = %self.name,
                "{}; the message is sent with the clock's time, and its own in the header `{EVENT_TIME}`. Others are only \
                 counted (`timestamps_replaced`)",
                self.reason(time, unaccepted)
            );
        }
    }

    fn reason(&self, time: Timestamp, unaccepted: &Unaccepted) -> String {
        let limit = |name: &str, limit: Duration| format!("(`{name}` is {})", format_duration(limit));
        match unaccepted {
            Unaccepted::Replaced => format!("the timestamp {time} is replaced by the broker"),
            Unaccepted::NotStorable => {
                format!("the timestamp {time} is not after 1970-01-01, and Kafka would store another")
            }
            Unaccepted::TooOld(before) => format!(
                "the topic refuses the timestamp {time}, which is too far before the clock {}",
                limit(BEFORE, *before)
            ),
            Unaccepted::TooLate(after) => format!(
                "the topic refuses the timestamp {time}, which is too far ahead of the clock {}",
                limit(AFTER, *after)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UNBOUNDED: &str = "9223372036854775807";

    fn limits(configs: &[(&str, &str)]) -> TimestampLimits {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        TimestampLimits::new(&configs)
    }

    fn bounds(limits: TimestampLimits) -> [Option<u64>; 2] {
        [limits.before, limits.after].map(|limit| limit.map(|limit| limit.as_secs()))
    }

    #[test]
    fn the_limits_of_older_brokers_apply_where_there_are_no_newer_ones() {
        let both = |before, after, difference| limits(&[(BEFORE, before), (AFTER, after), (DIFFERENCE, difference)]);
        assert_eq!(bounds(limits(&[])), [None, None]);
        assert_eq!(bounds(limits(&[(DIFFERENCE, "5000")])), [Some(5), Some(5)]);
        assert_eq!(bounds(both(UNBOUNDED, "3600000", UNBOUNDED)), [None, Some(3600)]);
        assert_eq!(bounds(both("9000", UNBOUNDED, "5000")), [Some(9), Some(5)]);
        assert!(limits(&[(TYPE, "LogAppendTime")]).is_replaced && !limits(&[(TYPE, "CreateTime")]).is_replaced);
    }

    #[test]
    fn a_carried_time_is_a_timestamp_well_within_the_limits() {
        let cases = [
            ((UNBOUNDED, UNBOUNDED), [None, Some(1800)]),
            (("86400000", "86400000"), [Some(43200), Some(1800)]),
            ((UNBOUNDED, "60000"), [None, Some(30)]),
        ];
        for ((before, after), expected) in cases {
            assert_eq!(bounds(limits(&[(BEFORE, before), (AFTER, after)]).to_carry()), expected);
        }
    }
}
