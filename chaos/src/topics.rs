//! The topics of the worker under test.

/// Id of the app, which is its consumer group.
pub(crate) const APP: &str = "chaos";
/// Number of partitions of all topics.
pub(crate) const PARTITIONS: i32 = 6;
/// Integers by key.
pub(crate) const INPUT: &str = "chaos.input";
/// The topic behind the `group_by`.
pub(crate) const REPARTITION: &str = "chaos-group-by-repartition";
pub(crate) const WINDOWS: &str = "chaos.windows";
pub(crate) const GROUPS: &str = "chaos.groups";
pub(crate) const WINDOWED_CHANGELOG: &str = "chaos-windowed-changelog";
pub(crate) const GROUPS_CHANGELOG: &str = "chaos-groups-changelog";
/// The changelogs of the tables by key: count, sum, minimum, maximum.
pub(crate) const CHANGELOGS: [&str; 4] =
    ["chaos-counts-changelog", "chaos-sums-changelog", "chaos-minima-changelog", "chaos-maxima-changelog"];
/// Size of a window in milliseconds, and the time for which it is kept after its end.
pub(crate) const WINDOW_MS: i64 = 5_000;
pub(crate) const EXPIRES_MS: i64 = 1_000;
/// Number of groups of the `group_by`.
pub(crate) const GROUP_COUNT: i64 = 97;

/// An output with one record for each event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    Echo,
    Count,
    Sum,
    Min,
    Max,
}

impl Output {
    pub(crate) const ALL: [Self; 5] = [Self::Echo, Self::Count, Self::Sum, Self::Min, Self::Max];

    /// Returns the name of the topic.
    pub(crate) fn topic(self) -> &'static str {
        match self {
            Self::Echo => "chaos.echo",
            Self::Count => "chaos.count",
            Self::Sum => "chaos.sum",
            Self::Min => "chaos.min",
            Self::Max => "chaos.max",
        }
    }
}
