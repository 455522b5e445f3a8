//! The families of the default monitor, as a table, and what a builder chose for each.

use std::{borrow::Cow, collections::HashSet};

use prometheus_client::metrics::MetricType;

use crate::{
    error::Error,
    exposition::family::Kind,
    limit::DEFAULT_LIMIT,
    monitor::hooks::RequestEnd,
    monitors::default::{
        exemplars::ExemplarSource,
        families::{FamilyEncoder, Label, LabelNames},
        labels::CustomLabels,
    },
    registry::names::{FamilyNames, MonitorNames},
    series::{
        SeriesKey,
        measures::{Measures, Scale, nanos},
        native::NativeOptions,
    },
};

/// A family that the [`DefaultMonitor`](crate::DefaultMonitor) can record, for options that are the same for all of
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
}

/// What there is to know about one family.
pub(super) struct Row {
    pub(super) family: DefaultFamily,
    name: &'static str,
    help: &'static str,
    labels: DefaultLabels,
    pub(super) content: Content,
    /// Upper bounds of the buckets. A histogram without any is off until bounds are chosen.
    bounds: &'static [f64],
    is_on: bool,
}

/// The labels of a family for which none are chosen.
enum DefaultLabels {
    These(&'static [(&'static str, Label)]),
    /// Those of another family.
    AsOf(DefaultFamily),
}

/// What the samples of a family say.
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
    /// How long the oldest request in progress has run.
    OldestInProgress,
}

/// What is known about a request when it has ended.
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
pub(super) static FAMILIES: [Row; 10] = [
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
];

impl DefaultFamily {
    pub(super) fn content(self) -> Content {
        FAMILIES[self as usize].content
    }
}

impl Content {
    fn kind(self) -> Kind {
        match self {
            Self::Requests => Kind::Counter,
            Self::Latency | Self::Further(..) => Kind::Histogram,
            Self::InProgress | Self::OldestInProgress => Kind::Gauge,
        }
    }

    /// What the live page calls it, if it shows it.
    fn role(self) -> Option<&'static str> {
        match self {
            Self::Requests => Some("requests"),
            Self::Latency => Some("latency"),
            Self::Further(..) => None,
            Self::InProgress => Some("in_progress"),
            Self::OldestInProgress => Some("oldest"),
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
        self.kind() == Kind::Gauge
    }
}

/// What a builder chose.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    /// For each of [`FAMILIES`].
    chosen: [Chosen; FAMILIES.len()],
    pub(super) prefix: Option<Cow<'static, str>>,
    /// The series that are shown before they have a request.
    pub(super) zeros: Vec<SeriesKey<CustomLabels>>,
    pub(super) exemplars: Option<ExemplarSource>,
    pub(super) native: Option<NativeOptions>,
    pub(super) max_label_sets: usize,
}

/// What was chosen for one family.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Chosen {
    pub(super) name: Cow<'static, str>,
    pub(super) help: Cow<'static, str>,
    /// `None` for those of the table.
    pub(super) labels: Option<LabelNames>,
    pub(super) bounds: Cow<'static, [f64]>,
    pub(super) is_on: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            chosen: FAMILIES.each_ref().map(|row| Chosen {
                name: row.name.into(),
                help: row.help.into(),
                labels: None,
                bounds: row.bounds.into(),
                is_on: row.is_on,
            }),
            prefix: None,
            zeros: Vec::new(),
            exemplars: None,
            native: None,
            max_label_sets: DEFAULT_LIMIT,
        }
    }
}

impl Config {
    pub(super) fn chosen(&self, family: DefaultFamily) -> &Chosen {
        &self.chosen[family as usize]
    }

    pub(super) fn chosen_mut(&mut self, family: DefaultFamily) -> &mut Chosen {
        &mut self.chosen[family as usize]
    }

    /// The families that are recorded, in the order of the scrape.
    pub(super) fn recorded(&self) -> impl Iterator<Item = (&'static Row, &Chosen)> {
        FAMILIES
            .iter()
            .zip(&self.chosen)
            .filter(|(_, chosen)| chosen.is_on)
    }

    pub(super) fn measures(&self) -> Measures {
        let measures = Measures::latency(&self.chosen(DefaultFamily::Latency).bounds)
            .and_exemplars(self.exemplars.is_some())
            .and_native(self.native);
        self.recorded()
            .fold(measures, |measures, (row, chosen)| match row.content {
                Content::Further(scale, _) => measures.and(&chosen.bounds, scale),
                _ => measures,
            })
    }

    /// What encodes a family; `custom` says whether there are custom labels.
    pub(super) fn encoder(&self, row: &Row, custom: bool) -> FamilyEncoder {
        let chosen = self.chosen(row.family);
        let custom = custom && !row.content.is_in_progress();
        FamilyEncoder::new(
            chosen.name.clone(),
            chosen.help.clone(),
            self.labels(row.family),
            custom,
        )
    }

    fn labels(&self, family: DefaultFamily) -> LabelNames {
        if let Some(labels) = &self.chosen(family).labels {
            return labels.clone();
        }
        match FAMILIES[family as usize].labels {
            DefaultLabels::These(labels) => {
                labels.iter().map(|&(name, label)| (name.into(), label)).collect()
            }
            DefaultLabels::AsOf(other) => self.labels(other),
        }
    }

    /// What the families are called in a registry that puts `prefix` before their names.
    pub(super) fn names(&self, prefix: &str) -> MonitorNames {
        let families = self.recorded().filter_map(|(row, chosen)| {
            let labels = self.labels(row.family).into_iter();
            Some(FamilyNames {
                role: row.content.role()?,
                name: format!("{prefix}{}", chosen.name),
                labels: labels
                    .map(|(name, label)| (name.into_owned(), label.role()))
                    .collect(),
            })
        });
        MonitorNames {
            families: families.collect(),
        }
    }

    /// The names of all labels of the families that have custom labels too.
    pub(super) fn label_names(&self) -> HashSet<String> {
        let families = FAMILIES.iter().filter(|row| !row.content.is_in_progress());
        let labels = families.flat_map(|row| self.labels(row.family));
        labels.map(|(name, _)| name.into_owned()).collect()
    }

    /// The names of the labels of all families that are recorded, without custom ones; those of buckets too.
    pub(super) fn own_labels(&self) -> HashSet<Cow<'static, str>> {
        let mut names = HashSet::new();
        for (row, _) in self.recorded() {
            names.extend(self.labels(row.family).into_iter().map(|(name, _)| name));
            if row.content.kind() == Kind::Histogram {
                names.insert("le".into());
            }
        }
        names
    }

    /// The same with another name for a family, if the families still differ, and so do their samples, whether they
    /// are recorded or not.
    pub(super) fn renamed(&self, family: DefaultFamily, name: Cow<'static, str>) -> Result<Self, Error> {
        if family == DefaultFamily::Count
            && let Some(without) = name.strip_suffix("_total")
        {
            return Err(Error::new(format!(
                "the scrape adds `_total` to {name:?}; call it {without:?}",
            )));
        }
        let mut config = self.clone();
        config.chosen_mut(family).name = name;
        let mut samples = HashSet::new();
        for (row, chosen) in FAMILIES.iter().zip(&config.chosen) {
            for suffix in row.content.kind().suffixes() {
                let sample = format!("{}{suffix}", chosen.name);
                if samples.contains(&sample) {
                    return Err(Error::new(format!(
                        "two families of the monitor would be called {sample:?} in the scrape; \
                         choose another name, or rename the other one first",
                    )));
                }
                samples.insert(sample);
            }
        }
        Ok(config)
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
