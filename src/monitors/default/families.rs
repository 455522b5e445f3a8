//! Encodes the recorded numbers as the families of a scrape.

use std::{
    borrow::Cow,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::http::StatusCode;
use prometheus_client::{encoding::DescriptorEncoder, metrics::MetricType, registry::Unit};

use crate::{
    exposition::{
        exemplar::Exemplar,
        own::{Descriptor, encode_family},
        samples::{Counter, Histogram, LabelPairs, Number, Output},
    },
    in_flight::InFlight,
    limit::OTHER,
    series::{
        Attributes, SeriesKey, Totals,
        grouping::{
            ByStatus, GroupBy, Keyed, class, count, created, latest_exemplars, native_buckets, sum,
            sum_buckets,
        },
        measures::Distribution,
    },
};

/// A label of the default monitor, by its content.
///
/// The argument of [`count_labels`](crate::DefaultMonitorBuilder::count_labels) and its siblings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Label {
    /// The method, as [`RequestEnd::method`](crate::RequestEnd::method).
    Method,
    /// The matched route, as [`RequestEnd::route`](crate::RequestEnd::route).
    Path,
    /// The status, as [`RequestEnd::status`](crate::RequestEnd::status).
    Status,
    /// The class of the status: `1xx` to `5xx`.
    StatusClass,
}

impl Label {
    /// Its name on the live page.
    pub(super) fn role(self) -> &'static str {
        match self {
            Self::Method => "method",
            Self::Path => "path",
            Self::Status => "status",
            Self::StatusClass => "status_class",
        }
    }
}

/// The names of labels, with their content.
pub(crate) type LabelNames = Vec<(Cow<'static, str>, Label)>;

/// Encodes one family of a scrape.
#[derive(Clone, Debug)]
pub(crate) struct FamilyEncoder {
    pub(crate) name: Cow<'static, str>,
    pub(crate) help: Cow<'static, str>,
    /// The encoder adds it to the name.
    pub(crate) unit: Option<Unit>,
    pub(crate) labels: LabelNames,
    pub(crate) group_by: GroupBy,
    /// Whether the attributes make labels whose names are not known when the family is registered.
    pub(crate) has_unknown_labels: bool,
}

impl FamilyEncoder {
    /// For a family with these labels, and those of the attributes of the series.
    pub(crate) fn new(
        name: Cow<'static, str>,
        help: Cow<'static, str>,
        labels: LabelNames,
        attributes: bool,
    ) -> Self {
        let has = |label| labels.iter().any(|(_, l)| *l == label);
        Self {
            group_by: GroupBy {
                method: has(Label::Method),
                route: has(Label::Path),
                status: if has(Label::Status) {
                    ByStatus::Exactly
                } else if has(Label::StatusClass) {
                    ByStatus::Class
                } else {
                    ByStatus::No
                },
                attributes,
            },
            name,
            help,
            unit: None,
            labels,
            has_unknown_labels: attributes,
        }
    }

    /// Its name in a registry that puts `prefix` before it.
    pub(crate) fn name_behind(&self, prefix: &str) -> String {
        let unit = self.unit.as_ref().map(|unit| format!("_{}", unit.as_str()));
        format!("{prefix}{}{}", self.name, unit.unwrap_or_default())
    }

    /// Encodes the family with these samples.
    pub(crate) fn encode(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        of_type: MetricType,
        samples: impl Fn(&mut dyn Output) -> fmt::Result + 'static,
    ) -> fmt::Result {
        let family = Descriptor {
            name: &self.name,
            help: &self.help,
            unit: self.unit.as_ref(),
            of_type,
            has_unknown_labels: self.has_unknown_labels,
        };
        encode_family(encoder, &family, samples)
    }

    /// Writes the number of requests of each series.
    pub(crate) fn write_count<'a, X: Attributes>(
        &self,
        output: &mut dyn Output,
        all: impl Iterator<Item = Totals<'a, X>>,
        latency: &Distribution,
    ) -> fmt::Result {
        self.group_by.for_each_group(all, |group| {
            let latest = latest_exemplars(group)
                .into_iter()
                .max_by_key(|(_, exemplar)| exemplar.time);
            let counter = Counter {
                // Each request is in one bucket of the latency, even if that family is disabled.
                count: count(group, latency),
                exemplar: latest.map(|(_, exemplar)| Exemplar {
                    value: 1.0,
                    ..exemplar
                }),
                created: created(group),
            };
            output.counter(&self.labels(group), counter)
        })
    }

    /// Writes the number of values in one bucket of each series.
    pub(crate) fn write_bucket<'a, X: Attributes>(
        &self,
        output: &mut dyn Output,
        all: impl Iterator<Item = Totals<'a, X>>,
        (distribution, bucket): (&Distribution, usize),
    ) -> fmt::Result {
        self.group_by.for_each_group(all, |group| {
            let counts = group
                .iter()
                .map(|totals| distribution.buckets(totals.numbers)[bucket]);
            let counter = Counter {
                count: counts.sum(),
                exemplar: None,
                created: created(group),
            };
            output.counter(&self.labels(group), counter)
        })
    }

    /// Writes the observed values of each series; those of the latency with exemplars and native buckets.
    pub(crate) fn write_distribution<'a, X: Attributes>(
        &self,
        output: &mut dyn Output,
        all: impl Iterator<Item = Totals<'a, X>>,
        distribution: &Distribution,
    ) -> fmt::Result {
        let mut buckets = Vec::new();
        self.group_by.for_each_group(all, |group| {
            sum_buckets(group, distribution, &mut buckets);
            let (exemplars, native) = if distribution.is_latency() {
                (latest_exemplars(group), native_buckets(group))
            } else {
                (Vec::new(), None)
            };
            let has_classic = native.as_ref().is_none_or(|native| native.options.has_classic);
            if !has_classic {
                let count = buckets.iter().map(|(_, count)| count).sum();
                // The bucket of all is there: no text format has a histogram without one.
                buckets.clear();
                buckets.push((f64::INFINITY, count));
            }
            let histogram = Histogram {
                sum: sum(group, distribution),
                buckets: &buckets,
                exemplars,
                native: None,
                created: created(group),
            };
            let labels = self.labels(group);
            match &native {
                Some(native) => native.encoded(|native| {
                    let native = Some(native);
                    output.histogram(&labels, Histogram { native, ..histogram })
                }),
                None => output.histogram(&labels, histogram),
            }
        })
    }

    /// Writes a value for each group of requests in progress.
    pub(crate) fn write_gauge(
        &self,
        output: &mut dyn Output,
        requests: &[InProgress],
        value: impl Fn(&[&InProgress]) -> Number,
    ) -> fmt::Result {
        self.group_by.for_each_group(requests.iter(), |group| {
            output.gauge(&self.labels(group), value(group))
        })
    }

    /// Writes a constant value of a route.
    pub(crate) fn write_of_route(&self, output: &mut dyn Output, route: &str, value: f64) -> fmt::Result {
        let labels = OfRoute(self.labels.iter().map(|(name, _)| &**name).collect(), route);
        output.gauge(&labels, Number::Float(value))
    }

    /// The labels of the series of one group.
    fn labels<'a, T: Keyed>(&'a self, group: &'a [T]) -> SeriesLabels<'a, T::Attributes> {
        SeriesLabels {
            names: &self.labels,
            key: group[0].key(),
            has_attributes: self.group_by.attributes,
        }
    }
}

/// The labels of one series.
struct SeriesLabels<'a, X> {
    names: &'a [(Cow<'static, str>, Label)],
    key: &'a SeriesKey<X>,
    /// Whether the attributes make labels too.
    has_attributes: bool,
}

impl<X: Attributes> LabelPairs for SeriesLabels<'_, X> {
    fn for_each(&self, each: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        for (name, label) in self.names {
            let value = match label {
                Label::Method => self.key.method,
                Label::Path => &self.key.route,
                Label::Status => self.key.status.as_str(),
                Label::StatusClass => class_text(self.key.status),
            };
            each(name, value)?;
        }
        if self.has_attributes {
            X::for_each_label(self.key, each)?;
        }
        Ok(())
    }
}

/// Labels that all have the route as their value.
struct OfRoute<'a>(Vec<&'a str>, &'a str);

impl LabelPairs for OfRoute<'_> {
    fn for_each(&self, each: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        self.0.iter().try_for_each(|name| each(name, self.1))
    }
}

fn class_text(status: StatusCode) -> &'static str {
    match class(status) {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => OTHER,
    }
}

/// Requests in progress of one method and route.
#[derive(Clone, Debug)]
pub(crate) struct InProgress {
    /// A request in progress has no status: none of its families groups by it or shows it.
    key: SeriesKey<()>,
    requests: i64,
    /// The age of the oldest of them.
    age: Duration,
    /// Their recent peak.
    peak: i64,
}

impl Keyed for InProgress {
    type Attributes = ();

    fn key(&self) -> &SeriesKey<()> {
        &self.key
    }
}

impl InProgress {
    fn none(method: &'static str, route: Arc<str>) -> Self {
        Self {
            key: SeriesKey {
                method,
                route,
                status: StatusCode::OK,
                attributes: (),
            },
            requests: 0,
            age: Duration::ZERO,
            peak: 0,
        }
    }

    /// A group without requests now, with its recent peak.
    pub(crate) fn peak(method: &'static str, route: Arc<str>, peak: u32) -> Self {
        Self {
            peak: peak.into(),
            ..Self::none(method, route)
        }
    }

    /// The requests in progress at this moment, sorted by key, with an empty group for each series in `known`, so that
    /// its gauge is 0.
    pub(crate) fn look<'a, X: 'a>(
        in_flight: &InFlight,
        known: impl Iterator<Item = &'a SeriesKey<X>>,
    ) -> Vec<Self> {
        let now = Instant::now();
        let mut all = Vec::<Self>::with_capacity(known.size_hint().0);
        for key in known {
            let is_same = |last: &Self| (last.key.method, &last.key.route) == (key.method, &key.route);
            if !all.last().is_some_and(is_same) {
                all.push(Self::none(key.method, key.route.clone()));
            }
        }
        in_flight.for_each(|method, route, arrived| {
            all.push(Self {
                requests: 1,
                age: now.saturating_duration_since(arrived),
                ..Self::none(method, route)
            });
        });
        Self::sort(&mut all);
        all
    }

    /// By key.
    pub(crate) fn sort(all: &mut [Self]) {
        all.sort_by(|a, b| a.key.cmp(&b.key));
    }

    /// Their number.
    pub(crate) fn number(group: &[&Self]) -> Number {
        Number::Whole(group.iter().map(|in_progress| in_progress.requests).sum())
    }

    /// Their recent peak, or their number now if that is higher.
    pub(crate) fn most(group: &[&Self]) -> Number {
        let now = group.iter().map(|in_progress| in_progress.requests).sum();
        let peak = group.iter().map(|in_progress| in_progress.peak).max();
        Number::Whole(peak.unwrap_or(0).max(now))
    }

    /// The age of the oldest of them in seconds.
    pub(crate) fn oldest_seconds(group: &[&Self]) -> Number {
        let oldest = group.iter().map(|in_progress| in_progress.age).max();
        Number::Float(oldest.unwrap_or_default().as_secs_f64())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::StatusCode;

    use super::class_text;

    #[test]
    fn the_class_of_a_status_is_its_first_digit_if_that_is_a_class() {
        let texts = [100, 204, 304, 404, 599, 600, 999].map(|status| {
            let status = StatusCode::from_u16(status).unwrap();
            class_text(status)
        });
        assert_eq!(texts, ["1xx", "2xx", "3xx", "4xx", "5xx", "_OTHER", "_OTHER"]);
    }
}
