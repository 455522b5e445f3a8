//! From what was recorded to the families of a scrape: each a cut through the same series.

use std::{
    borrow::Cow,
    cmp::Ordering,
    fmt,
    sync::Arc,
    time::{Duration, Instant},
};

use actix_web::http::StatusCode;
use prometheus_client::{
    encoding::{
        DescriptorEncoder, EncodeGaugeValue, EncodeLabel as _, EncodeLabelSet, LabelSetEncoder,
        MetricEncoder, NoLabelSet,
    },
    metrics::MetricType,
    registry::Unit,
};

use crate::{
    exposition::exemplar::{Exemplar, OfSeries, attach},
    in_flight::InFlight,
    limit::OTHER,
    series::{
        Attributes, SeriesKey, Totals,
        grouping::{ByStatus, Cut, class},
        measures::Distribution,
        merge_latest,
        native::NativeBuckets,
    },
};

/// What a label of the default monitor says of a request.
///
/// Chosen by [`count_labels`](crate::DefaultMonitorBuilder::count_labels) and its siblings.
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

/// The names of labels, and what stands under each.
pub(crate) type Labels = Vec<(Cow<'static, str>, Label)>;

/// One family as the scrape has it.
#[derive(Clone, Debug)]
pub(crate) struct Family {
    pub(crate) name: Cow<'static, str>,
    pub(crate) help: &'static str,
    /// The encoder adds it to the name.
    pub(crate) unit: Option<Unit>,
    pub(crate) labels: Labels,
    /// What its series are told apart by.
    pub(crate) cut: Cut,
}

impl Family {
    /// A family with these labels, and what the attributes of the series add.
    pub(crate) fn new(name: Cow<'static, str>, help: &'static str, labels: Labels, attributes: bool) -> Self {
        let has = |label| labels.iter().any(|(_, l)| *l == label);
        Self {
            cut: Cut {
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
        }
    }

    /// Encodes how many requests each series has.
    pub(crate) fn encode_count<X: Attributes>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        all: &[Totals<'_, X>],
        latency: &Distribution,
    ) -> fmt::Result {
        let mut family = self.begin(encoder, MetricType::Counter)?;
        let all = self.cut(all);
        let mut pairs = Vec::new();
        for group in all.chunk_by(|a, b| self.together(a, b)) {
            // Each request is in one bucket of the latency, whatever is shown of that.
            let buckets = group.iter().flat_map(|totals| latency.buckets(totals.numbers));
            let count: u64 = buckets.sum();
            let exemplars = latest(group)
                .into_iter()
                .max_by_key(|(_, exemplar)| exemplar.time);
            let exemplar = exemplars.map(|(_, exemplar)| {
                (
                    0,
                    Exemplar {
                        value: 1.0,
                        ..exemplar
                    },
                )
            });
            let marker = attach(exemplar.into_iter().collect());
            self.encode(&mut family, &mut pairs, group[0].key, marker, |mut metric| {
                metric.encode_counter::<NoLabelSet, _, u64>(&count, None)
            })?;
        }
        Ok(())
    }

    /// Encodes what was observed of each series.
    pub(crate) fn encode_distribution<X: Attributes>(
        &self,
        encoder: &mut DescriptorEncoder<'_>,
        all: &[Totals<'_, X>],
        distribution: &Distribution,
    ) -> fmt::Result {
        let mut family = self.begin(encoder, MetricType::Histogram)?;
        let mut buckets: Vec<_> = distribution.bounds.iter().map(|&bound| (bound, 0)).collect();
        let all = self.cut(all);
        let mut pairs = Vec::new();
        for group in all.chunk_by(|a, b| self.together(a, b)) {
            for (_, count) in &mut buckets {
                *count = 0;
            }
            for totals in group {
                let counts = distribution.buckets(totals.numbers);
                for ((_, sum), count) in buckets.iter_mut().zip(counts) {
                    *sum += count;
                }
            }
            let count = buckets.iter().map(|(_, count)| count).sum();
            let sum = group.iter().map(|totals| distribution.sum(totals.numbers)).sum();
            let native = native_of(group);
            let marker = if distribution.is_latency() {
                attach(latest(group))
            } else {
                None
            };
            self.encode(
                &mut family,
                &mut pairs,
                group[0].key,
                marker,
                |mut metric| match native.as_ref().filter(|_| distribution.is_latency()) {
                    Some(native) => native.encoded(|native| {
                        metric.encode_histogram_with_native::<NoLabelSet>(sum, count, &buckets, None, native)
                    }),
                    None => metric.encode_histogram::<NoLabelSet>(sum, count, &buckets, None),
                },
            )?;
        }
        Ok(())
    }

    /// The series in an order in which those that fall together stand together.
    fn cut<'a, X: Attributes>(&self, all: &'a [Totals<'a, X>]) -> Cow<'a, [Totals<'a, X>]> {
        if self.cut.keeps_order() {
            return all.into();
        }
        let mut sorted = all.to_vec();
        sorted.sort_by(|a, b| self.cut.compare(a.key, b.key));
        sorted.into()
    }

    fn together<X: Attributes>(&self, a: &Totals<'_, X>, b: &Totals<'_, X>) -> bool {
        self.cut.compare(a.key, b.key).is_eq()
    }

    /// Encodes one series, for which `pairs` is memory.
    fn encode<'a, X: Attributes>(
        &'a self,
        family: &mut MetricEncoder<'_>,
        pairs: &mut Vec<(&'a str, &'a str)>,
        key: &'a SeriesKey<X>,
        marker: Option<(&'static str, String)>,
        encode: impl FnOnce(MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        self.name_values(pairs, key.method, &key.route, Some(&key.status));
        encode(family.encode_family(&SeriesLabels {
            named: pairs,
            attributes: self.cut.attributes.then_some(key),
            marker,
        })?)
    }

    /// Puts the names of the labels and their values into `pairs`.
    fn name_values<'a>(
        &'a self,
        pairs: &mut Vec<(&'a str, &'a str)>,
        method: &'a str,
        route: &'a str,
        status: Option<&'a StatusCode>,
    ) {
        pairs.clear();
        pairs.extend(self.labels.iter().map(|(name, label)| {
            let value = match label {
                Label::Method => method,
                Label::Path => route,
                Label::Status => status.map_or(OTHER, StatusCode::as_str),
                Label::StatusClass => status.map_or(OTHER, |status| class_text(*status)),
            };
            (&**name, value)
        }));
    }

    pub(crate) fn begin<'a>(
        &'a self,
        encoder: &'a mut DescriptorEncoder<'_>,
        of_type: MetricType,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        encoder.encode_descriptor(&self.name, self.help, self.unit.as_ref(), of_type)
    }
}

/// The labels of one series.
struct SeriesLabels<'a, X> {
    named: &'a [(&'a str, &'a str)],
    /// The key whose attributes make labels too.
    attributes: Option<&'a SeriesKey<X>>,
    /// What tells the render of the exemplars that were lent to it.
    marker: Option<(&'static str, String)>,
}

impl<X: Attributes> EncodeLabelSet for SeriesLabels<'_, X> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.named.encode(encoder)?;
        if let Some(key) = self.attributes {
            X::encode(key, encoder)?;
        }
        if let Some((name, value)) = &self.marker {
            (*name, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

/// The latest exemplar of each bucket over what falls together.
fn latest<X>(group: &[Totals<'_, X>]) -> OfSeries {
    let mut latest = OfSeries::new();
    for totals in group {
        merge_latest(&mut latest, totals.exemplars.iter().cloned());
    }
    latest
}

/// The native buckets of what falls together, where they are asked for.
fn native_of<X>(group: &[Totals<'_, X>]) -> Option<NativeBuckets> {
    let mut all = group.iter().filter_map(|totals| totals.native);
    let mut sum = all.next()?.clone();
    all.for_each(|native| sum.merge(native));
    Some(sum)
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

/// The requests in progress at one moment, by method and route.
pub(crate) struct InProgress {
    requests: Vec<OfRoute>,
}

struct OfRoute {
    method: &'static str,
    route: Arc<str>,
    requests: i64,
    oldest: Duration,
}

impl InProgress {
    /// What runs, and nothing for each series that is known.
    pub(crate) fn look<X>(in_flight: &InFlight, all: &[Totals<'_, X>]) -> Self {
        let now = Instant::now();
        let same = |a: &SeriesKey<X>, b: &SeriesKey<X>| (a.method, &a.route) == (b.method, &b.route);
        let known = all.chunk_by(|a, b| same(a.key, b.key)).map(|known| OfRoute {
            method: known[0].key.method,
            route: Arc::clone(&known[0].key.route),
            requests: 0,
            oldest: Duration::ZERO,
        });
        let mut requests: Vec<_> = known.collect();
        in_flight.for_each(|method, route, arrived| {
            requests.push(OfRoute {
                method,
                route,
                requests: 1,
                oldest: now.saturating_duration_since(arrived),
            });
        });
        requests.sort_by(|a, b| (a.method, &a.route).cmp(&(b.method, &b.route)));
        Self { requests }
    }

    /// Encodes how many they are.
    pub(crate) fn encode_number(&self, family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.encode(family, encoder, |together| {
            together.iter().map(|of_route| of_route.requests).sum::<i64>()
        })
    }

    /// Encodes for how many seconds the oldest of them has run.
    pub(crate) fn encode_oldest(&self, family: &Family, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        self.encode(family, encoder, |together| {
            let oldest = together.iter().map(|of_route| of_route.oldest).max();
            oldest.unwrap_or_default().as_secs_f64()
        })
    }

    fn encode<V: EncodeGaugeValue>(
        &self,
        family: &Family,
        encoder: &mut DescriptorEncoder<'_>,
        value: impl Fn(&[&OfRoute]) -> V,
    ) -> fmt::Result {
        let cut = family.cut;
        let compare = |a: &OfRoute, b: &OfRoute| {
            let by_method = if cut.method {
                a.method.cmp(b.method)
            } else {
                Ordering::Equal
            };
            by_method.then_with(|| {
                if cut.route {
                    a.route.cmp(&b.route)
                } else {
                    Ordering::Equal
                }
            })
        };
        let mut sorted: Vec<_> = self.requests.iter().collect();
        if !cut.keeps_order() {
            sorted.sort_by(|a, b| compare(a, b));
        }
        let mut metrics = family.begin(encoder, MetricType::Gauge)?;
        let mut pairs = Vec::new();
        for together in sorted.chunk_by(|a, b| compare(a, b).is_eq()) {
            family.name_values(&mut pairs, together[0].method, &together[0].route, None);
            metrics.encode_family(&pairs)?.encode_gauge(&value(together))?;
        }
        Ok(())
    }
}
