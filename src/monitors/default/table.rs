//! The families of the default monitor, as a table.

use prometheus_client::metrics::MetricType;

use crate::{
    exposition::family::Kind,
    monitor::hooks::RequestEnd,
    monitors::default::families::Label,
    series::measures::{Scale, nanos},
};

/// A family that the [`DefaultMonitor`](crate::DefaultMonitor) can record, for options that apply to any of
/// them, such as [`rename`](crate::DefaultMonitorBuilder::rename).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DefaultFamily {
    /// The counter `request_count`.
    Count,
    /// The histogram `request_latency`.
    Latency,
    /// The histogram `request_body_bytes`.
    RequestBodyBytes,
    /// The histogram `response_body_bytes`.
    ResponseBodyBytes,
    /// The histogram `request_time_to_head_seconds`.
    TimeToHead,
    /// The histogram `request_queue_time_seconds`.
    QueueTime,
    /// The histogram `request_time_on_worker_seconds`.
    TimeOnWorker,
    /// The histogram `request_longest_poll_seconds`.
    LongestPoll,
    /// The gauge `requests_in_progress`.
    InProgress,
    /// The gauge `oldest_request_in_progress_seconds`.
    OldestInProgress,
    /// The gauge `requests_in_progress_peak`.
    PeakInProgress,
    /// The counter `request_objective_met`.
    ObjectiveMet,
    /// The counter `request_objective_missed`.
    ObjectiveMissed,
    /// The gauge `request_objective_ratio`.
    ObjectiveRatio,
    /// The gauge `request_objective_seconds`.
    ObjectiveSeconds,
}

/// One family.
pub(super) struct Row {
    pub(super) family: DefaultFamily,
    pub(super) name: &'static str,
    pub(super) help: &'static str,
    pub(super) labels: DefaultLabels,
    pub(super) content: Content,
    /// Upper bounds of the buckets. A histogram without any is off until bounds are chosen.
    pub(super) bounds: &'static [f64],
    pub(super) is_on: bool,
}

/// The default labels of a family.
pub(super) enum DefaultLabels {
    These(&'static [(&'static str, Label)]),
    /// Those of another family.
    AsOf(DefaultFamily),
}

/// The content of a family.
#[derive(Clone, Copy, Debug)]
pub(super) enum Content {
    /// How many requests have ended.
    Requests,
    /// The distribution of the latency.
    Latency,
    /// The distribution of a further value, in this scale. A function finds it when a request has ended; `None` if the
    /// request does not have one.
    Further(Scale, fn(&Ended<'_>) -> Option<u64>),
    /// How many requests are in progress.
    InProgress,
    /// The age of the oldest request in progress.
    OldestInProgress,
    /// The most requests in progress at a time in the last minute.
    PeakInProgress,
    /// How many requests have met the objective of their route.
    ObjectiveMet,
    /// How many have missed it.
    ObjectiveMissed,
    /// The share of requests that should meet it.
    ObjectiveRatio,
    /// How long a request may take to meet it.
    ObjectiveSeconds,
}

/// The facts about a request that has ended.
pub(super) struct Ended<'a> {
    pub(super) end: &'a RequestEnd<'a>,
    pub(super) times: NotedTimes,
}

/// Times that were noted before a request ended, in nanoseconds.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct NotedTimes {
    pub(super) in_queue: Option<u64>,
}

/// All families, in the order of the scrape and of [`DefaultFamily`].
pub(super) static FAMILIES: [Row; 15] = [
    Row {
        family: DefaultFamily::Count,
        name: "request_count",
        help: "Number of requests received",
        labels: DefaultLabels::These(&[
            ("method", Label::Method),
            ("path", Label::Path),
            ("status", Label::Status),
        ]),
        content: Content::Requests,
        bounds: &[],
        is_on: true,
    },
    Row {
        family: DefaultFamily::Latency,
        name: "request_latency",
        help: "Elapsed time per request",
        labels: DefaultLabels::These(&[("method", Label::Method), ("path", Label::Path)]),
        content: Content::Latency,
        // Those of the Python package.
        bounds: &[
            0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
        ],
        is_on: true,
    },
    Row {
        family: DefaultFamily::RequestBodyBytes,
        name: "request_body_bytes",
        help: "Bytes of request bodies that were read",
        labels: DefaultLabels::AsOf(DefaultFamily::Latency),
        content: Content::Further(Scale::Bytes, |ended| ended.end.request_body_bytes()),
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::ResponseBodyBytes,
        name: "response_body_bytes",
        help: "Bytes of response bodies that were sent",
        labels: DefaultLabels::AsOf(DefaultFamily::Latency),
        content: Content::Further(Scale::Bytes, |ended| Some(ended.end.response_body_bytes())),
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::TimeToHead,
        name: "request_time_to_head_seconds",
        help: "Seconds from arrival to the response head",
        labels: DefaultLabels::AsOf(DefaultFamily::Latency),
        content: Content::Further(Scale::Seconds, |ended| ended.end.time_to_head().map(nanos)),
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::QueueTime,
        name: "request_queue_time_seconds",
        help: "Seconds for which requests waited in front of the server",
        labels: DefaultLabels::AsOf(DefaultFamily::Latency),
        content: Content::Further(Scale::Seconds, |ended| ended.times.in_queue),
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::TimeOnWorker,
        name: "request_time_on_worker_seconds",
        help: "Seconds for which requests occupied their worker",
        labels: DefaultLabels::AsOf(DefaultFamily::Latency),
        content: Content::Further(Scale::Seconds, |ended| ended.end.time_on_worker().map(nanos)),
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::LongestPoll,
        name: "request_longest_poll_seconds",
        help: "Seconds of the longest time for which a request occupied its worker without a pause",
        labels: DefaultLabels::AsOf(DefaultFamily::Latency),
        content: Content::Further(Scale::Seconds, |ended| ended.end.longest_poll().map(nanos)),
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::InProgress,
        name: "requests_in_progress",
        help: "Requests in progress",
        labels: DefaultLabels::These(&[("method", Label::Method), ("path", Label::Path)]),
        content: Content::InProgress,
        bounds: &[],
        is_on: true,
    },
    Row {
        family: DefaultFamily::OldestInProgress,
        name: "oldest_request_in_progress_seconds",
        help: "Seconds for which the oldest request in progress has run",
        labels: DefaultLabels::AsOf(DefaultFamily::InProgress),
        content: Content::OldestInProgress,
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::PeakInProgress,
        name: "requests_in_progress_peak",
        help: "Most requests in progress at a time in the last minute",
        labels: DefaultLabels::AsOf(DefaultFamily::InProgress),
        content: Content::PeakInProgress,
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::ObjectiveMet,
        name: "request_objective_met",
        help: "Number of requests that met the objective of their route",
        labels: DefaultLabels::These(&[("path", Label::Path)]),
        content: Content::ObjectiveMet,
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::ObjectiveMissed,
        name: "request_objective_missed",
        help: "Number of requests that missed the objective of their route",
        labels: DefaultLabels::AsOf(DefaultFamily::ObjectiveMet),
        content: Content::ObjectiveMissed,
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::ObjectiveRatio,
        name: "request_objective_ratio",
        help: "Share of requests that is to meet the objective of their route",
        labels: DefaultLabels::These(&[("path", Label::Path)]),
        content: Content::ObjectiveRatio,
        bounds: &[],
        is_on: false,
    },
    Row {
        family: DefaultFamily::ObjectiveSeconds,
        name: "request_objective_seconds",
        help: "Seconds that a request may take to meet the objective of its route",
        labels: DefaultLabels::AsOf(DefaultFamily::ObjectiveRatio),
        content: Content::ObjectiveSeconds,
        bounds: &[],
        is_on: false,
    },
];

impl DefaultFamily {
    pub(super) fn content(self) -> Content {
        FAMILIES[self as usize].content
    }
}

impl Content {
    pub(super) fn kind(self) -> Kind {
        match self {
            Self::Requests | Self::ObjectiveMet | Self::ObjectiveMissed => Kind::Counter,
            Self::Latency | Self::Further(..) => Kind::Histogram,
            Self::InProgress
            | Self::OldestInProgress
            | Self::PeakInProgress
            | Self::ObjectiveRatio
            | Self::ObjectiveSeconds => Kind::Gauge,
        }
    }

    /// Its role on the live page, if it is shown there.
    pub(super) fn role(self) -> Option<&'static str> {
        match self {
            Self::Requests => Some("requests"),
            Self::Latency => Some("latency"),
            Self::Further(..) | Self::PeakInProgress | Self::ObjectiveSeconds => None,
            Self::InProgress => Some("in_progress"),
            Self::OldestInProgress => Some("oldest"),
            Self::ObjectiveMet => Some("objective_met"),
            Self::ObjectiveMissed => Some("objective_missed"),
            Self::ObjectiveRatio => Some("objective_ratio"),
        }
    }

    pub(super) fn metric_type(self) -> MetricType {
        match self.kind() {
            Kind::Counter => MetricType::Counter,
            Kind::Histogram => MetricType::Histogram,
            _ => MetricType::Gauge,
        }
    }

    /// Whether it is about requests that have not ended, which have neither a status nor custom labels.
    pub(super) fn is_in_progress(self) -> bool {
        matches!(
            self,
            Self::InProgress | Self::OldestInProgress | Self::PeakInProgress
        )
    }

    /// Whether it exposes the objectives themselves, which have only a route.
    pub(super) fn is_of_objective(self) -> bool {
        matches!(self, Self::ObjectiveRatio | Self::ObjectiveSeconds)
    }

    /// Whether its series have custom labels.
    pub(super) fn has_custom_labels(self) -> bool {
        matches!(self, Self::Requests | Self::Latency | Self::Further(..))
    }
}

#[cfg(test)]
mod tests {
    use super::FAMILIES;

    #[test]
    fn the_table_has_each_family_at_its_index() {
        for (index, row) in FAMILIES.iter().enumerate() {
            assert_eq!(row.family as usize, index);
        }
    }
}
