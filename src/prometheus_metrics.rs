//! Metrics of the crate `prometheus`, in the same scrape.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Registry,
};

/// Registers everything that a registry of the crate `prometheus` has, now and later; needs the feature
/// `prometheus-0_14` or `prometheus-0_13`, for the version of that crate.
///
/// For services that switch from a middleware on that crate: existing metrics can stay as they are, or move to
/// [`prometheus_client`] one by one. Pass it to [`MetricsRegistry::register_with`], once per registry:
///
/// ```
/// # #[cfg(feature = "prometheus-0_14")] {
/// use hr_prometheus::{MetricsRegistry, prometheus_metrics};
///
/// let orders = prometheus::register_int_counter!("orders_total", "Orders placed").unwrap();
///
/// let registry = MetricsRegistry::new();
/// registry.register_with(prometheus_metrics(prometheus::default_registry()));
///
/// orders.inc();
/// assert_eq!(registry.value("orders_total", &[]), Some(1.0));
/// # }
/// ```
///
/// Names, help texts, labels and values are the same, including the prefix and the labels of a `Registry::new_custom`.
/// The scrape differs from the one of that crate as follows:
///
/// - A counter whose name does not end in `_total` has the type `unknown`, since OpenMetrics has no such counter. Its
///   name stays, and `rate()` works. The OpenMetrics encoder of Prometheus' library for Go does the same.
/// - A summary, which only a custom collector can have, becomes three families: a gauge with its quantiles, and its
///   `_sum` and `_count` with the type `unknown`. Its samples stay the same.
/// - Untyped metrics, which that crate cannot encode either, and timestamps of samples are omitted.
/// - Bucket bounds are [written](crate::guide::queries#how-is-a-bucket-bound-written) `le="1.0"` instead of `le="1"`.
///   Quantiles are unaffected. Before version 3, Prometheus treats these as two series, so a query that names a bound
///   has to change.
///
/// Families that OpenMetrics forbids, such as a histogram with buckets below zero, are
/// [omitted](crate::metrics_view#invalid-families). A registry of that crate gathers its collectors together: if one
/// panics, the whole registry is missing from the scrape, and nothing else. With the feature `process` of that crate,
/// its default registry already has process metrics, so do not register [`process_metrics`](crate::process_metrics) as
/// well.
///
/// # With a prefix or with labels
///
/// Use a sub-registry:
///
/// ```
/// # #[cfg(feature = "prometheus-0_14")] {
/// use hr_prometheus::{MetricsRegistry, prometheus_metrics};
///
/// let old = prometheus::Registry::new();
/// let orders = prometheus::register_int_counter_with_registry!("orders_total", "Orders placed", old).unwrap();
///
/// let registry = MetricsRegistry::new();
/// registry.register_with(|registry| prometheus_metrics(&old)(registry.sub_registry_with_prefix("shop")));
/// orders.inc();
/// assert_eq!(registry.value("shop_orders_total", &[]), Some(1.0));
/// # }
/// ```
///
/// [`MetricsRegistry::register_with`]: crate::MetricsRegistry::register_with
pub fn prometheus_metrics(registry: impl Into<PrometheusRegistry>) -> impl FnOnce(&mut Registry) {
    let collector = Box::new(registry.into());
    |registry| registry.register_collector(collector)
}

/// Holds a registry of the crate `prometheus`, in any version that has a feature. [`prometheus_metrics`] converts
/// registries into it.
pub struct PrometheusRegistry(Box<dyn Gather>);

impl fmt::Debug for PrometheusRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrometheusRegistry").finish_non_exhaustive()
    }
}

impl Collector for PrometheusRegistry {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        self.0
            .families()
            .iter()
            .try_for_each(|family| family.encode(&mut encoder))
    }
}

/// The common view of all versions of the crate.
trait Gather: Send + Sync {
    fn families(&self) -> Vec<GatheredFamily>;
}

struct GatheredFamily {
    name: String,
    help: String,
    metrics: Metrics,
}

/// The metrics of a family, which are of one type.
enum Metrics {
    Counters(Vec<(Labels, f64)>),
    Gauges(Vec<(Labels, f64)>),
    Histograms(Vec<(Labels, Histogram)>),
    Summaries(Vec<(Labels, Summary)>),
}

type Labels = Vec<(String, String)>;

struct Histogram {
    sum: f64,
    count: u64,
    /// Cumulative counts by upper bound. The infinite bound may be missing.
    buckets: Vec<(f64, u64)>,
}

struct Summary {
    sum: f64,
    count: u64,
    /// The quantiles and their values.
    quantiles: Vec<(f64, f64)>,
}

impl GatheredFamily {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let Self { name, help, metrics } = self;
        let mut families = WithHelp { encoder, help };
        match metrics {
            Metrics::Counters(counters) => match name.strip_suffix("_total") {
                // The encoder appends it.
                Some(name) => families.encode(name, MetricType::Counter, counters, |metric, count| {
                    metric.encode_counter::<NoLabelSet, _, f64>(count, None)
                }),
                None => families.encode(name, MetricType::Unknown, counters, |metric, count| {
                    metric.encode_gauge(count)
                }),
            },
            Metrics::Gauges(gauges) => families.encode(name, MetricType::Gauge, gauges, |metric, value| {
                metric.encode_gauge(value)
            }),
            Metrics::Histograms(histograms) => {
                families.encode(name, MetricType::Histogram, histograms, |metric, histogram| {
                    let buckets = histogram.single_buckets();
                    metric.encode_histogram::<NoLabelSet>(histogram.sum, histogram.count, &buckets, None)
                })
            }
            Metrics::Summaries(summaries) => {
                let quantiles: Vec<_> = summaries.iter().flat_map(Summary::quantiles).collect();
                families.encode(name, MetricType::Gauge, &quantiles, |metric, value| {
                    metric.encode_gauge(value)
                })?;
                families.encode(
                    &format!("{name}_sum"),
                    MetricType::Unknown,
                    summaries,
                    |metric, summary| metric.encode_gauge(&summary.sum),
                )?;
                families.encode(
                    &format!("{name}_count"),
                    MetricType::Unknown,
                    summaries,
                    |metric, summary| metric.encode_gauge(&summary.count),
                )
            }
        }
    }
}

/// Encodes families that share one help text.
struct WithHelp<'a, 'e> {
    encoder: &'a mut DescriptorEncoder<'e>,
    help: &'a str,
}

impl WithHelp<'_, '_> {
    /// Encodes a family with all its metrics, each with its labels.
    fn encode<T>(
        &mut self,
        name: &str,
        kind: MetricType,
        metrics: &[(Labels, T)],
        encode: impl Fn(&mut MetricEncoder<'_>, &T) -> fmt::Result,
    ) -> fmt::Result {
        let mut family = self.encoder.encode_descriptor(name, self.help, None, kind)?;
        metrics.iter().try_for_each(|(labels, metric)| {
            if labels.is_empty() {
                encode(&mut family, metric)
            } else {
                encode(&mut family.encode_family(labels)?, metric)
            }
        })
    }
}

impl Histogram {
    /// The count of each bucket alone, including the infinite one.
    fn single_buckets(&self) -> Vec<(f64, u64)> {
        let mut below = 0;
        let bounded = self.buckets.iter().filter(|(bound, _)| bound.is_finite());
        bounded
            .chain([&(f64::INFINITY, self.count)])
            .map(|&(bound, cumulated)| {
                let count = cumulated.saturating_sub(below);
                below = cumulated;
                (bound, count)
            })
            .collect()
    }
}

impl Summary {
    /// Each quantile with its labels and its value.
    fn quantiles((labels, summary): &(Labels, Self)) -> impl Iterator<Item = (Labels, f64)> {
        summary.quantiles.iter().map(|(quantile, value)| {
            let quantile = ("quantile".to_owned(), quantile.to_string());
            (labels.iter().cloned().chain([quantile]).collect(), *value)
        })
    }
}

/// The labels and the value of each metric.
fn series<M, T>(metrics: &[M], labels: impl Fn(&M) -> Labels, value: impl Fn(&M) -> T) -> Vec<(Labels, T)> {
    metrics
        .iter()
        .map(|metric| (labels(metric), value(metric)))
        .collect()
}

/// Implements everything for one version of the crate.
macro_rules! gather {
    ($prometheus:ident) => {
        const _: () = {
            use $prometheus::{
                Registry,
                proto::{
                    self,
                    MetricType::{COUNTER, GAUGE, HISTOGRAM, SUMMARY},
                },
            };

            impl From<Registry> for PrometheusRegistry {
                fn from(registry: Registry) -> Self {
                    Self(Box::new(registry))
                }
            }

            impl From<&Registry> for PrometheusRegistry {
                fn from(registry: &Registry) -> Self {
                    Self::from(registry.clone())
                }
            }

            #[allow(deprecated, reason = "the new names exist only in one of the versions")]
            impl Gather for Registry {
                fn families(&self) -> Vec<GatheredFamily> {
                    let families = self.gather();
                    let families = families.iter().filter_map(|family| {
                        let metrics = family.get_metric();
                        let metrics = match family.get_field_type() {
                            COUNTER => Metrics::Counters(series(metrics, labels, |metric| {
                                metric.get_counter().value()
                            })),
                            GAUGE => {
                                Metrics::Gauges(series(metrics, labels, |metric| metric.get_gauge().value()))
                            }
                            HISTOGRAM => Metrics::Histograms(series(metrics, labels, histogram)),
                            SUMMARY => Metrics::Summaries(series(metrics, labels, summary)),
                            _ => return None,
                        };
                        Some(GatheredFamily {
                            name: family.get_name().to_owned(),
                            help: family.get_help().to_owned(),
                            metrics,
                        })
                    });
                    families.collect()
                }
            }

            #[allow(deprecated, reason = "as above")]
            fn labels(metric: &proto::Metric) -> Labels {
                let labels = metric.get_label().iter();
                labels
                    .map(|label| (label.get_name().to_owned(), label.get_value().to_owned()))
                    .collect()
            }

            #[allow(deprecated, reason = "as above")]
            fn histogram(metric: &proto::Metric) -> Histogram {
                let histogram = metric.get_histogram();
                let buckets = histogram.get_bucket().iter();
                Histogram {
                    sum: histogram.get_sample_sum(),
                    count: histogram.get_sample_count(),
                    buckets: buckets
                        .map(|bucket| (bucket.get_upper_bound(), bucket.get_cumulative_count()))
                        .collect(),
                }
            }

            #[allow(deprecated, reason = "as above")]
            fn summary(metric: &proto::Metric) -> Summary {
                let summary = metric.get_summary();
                let quantiles = summary.get_quantile().iter();
                Summary {
                    sum: summary.get_sample_sum(),
                    count: summary.get_sample_count(),
                    quantiles: quantiles
                        .map(|quantile| (quantile.get_quantile(), quantile.get_value()))
                        .collect(),
                }
            }

            /// With the crate's feature `protobuf` the method is `value`; without, it is `get_value` in 0.14. Any crate
            /// of the tree can turn that on. Inherent methods take precedence over those of a trait, so each calls the one
            /// that exists.
            #[allow(dead_code, reason = "which one is dead depends on that feature")]
            trait Value {
                fn value(&self) -> f64;
                fn get_value(&self) -> f64;
            }

            impl Value for proto::Counter {
                fn value(&self) -> f64 {
                    self.get_value()
                }

                fn get_value(&self) -> f64 {
                    self.value()
                }
            }

            impl Value for proto::Gauge {
                fn value(&self) -> f64 {
                    self.get_value()
                }

                fn get_value(&self) -> f64 {
                    self.value()
                }
            }
        };
    };
}

#[cfg(feature = "prometheus-0_14")]
gather!(prometheus);
#[cfg(feature = "prometheus-0_13")]
gather!(prometheus_0_13);
