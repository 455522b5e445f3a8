//! What is registered with the crate `prometheus`, in the same scrape.

use std::fmt;

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Registry,
};

/// Registers everything that a registry of the crate `prometheus` has, now and later; needs the feature
/// `prometheus-0_14` or `prometheus-0_13`, by the version of that crate.
///
/// For services that switch from a middleware on that crate: their own metrics stay as they are, and move to
/// [`prometheus_client`] one by one, or never. Hand it to [`MetricsRegistry::register_with`], once for each registry:
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
/// Names, help, labels and values stay, and so do the prefix and the labels of a `Registry::new_custom`. What differs from
/// the scrape of that crate:
///
/// - A counter whose name does not end in `_total` has the type `unknown`, since OpenMetrics has no such counter. Its name
///   stays, and `rate()` works. The OpenMetrics encoder of Prometheus' library for Go does the same.
/// - A summary, which only a custom collector can have, becomes three families: a gauge of its quantiles, and its `_sum` and
///   `_count`, of type `unknown`. Its samples stay as they are.
/// - An untyped metric, which the crate cannot encode itself, and the timestamps of samples are omitted.
/// - Bounds of buckets are written `le="1.0"`, as OpenMetrics demands, no longer `le="1"`. Quantiles do not notice. To
///   Prometheus before version 3 these are two series, so that a query which names a bound has to change.
///
/// Families that OpenMetrics does not allow, such as a histogram with buckets below zero, are
/// [omitted](crate::metrics_view#invalid-families). A collector that panics costs the others of its own registry, which are
/// gathered together, and nothing else. With the feature `process` that crate's default registry has process metrics
/// already: do not register [`process_metrics`](crate::process_metrics) beside them.
///
/// # With a prefix or with labels
///
/// They are those of a sub-registry:
///
/// ```
/// # #[cfg(feature = "prometheus-0_14")] {
/// use hr_prometheus::{MetricsRegistry, prometheus_metrics};
///
/// # let old = prometheus::Registry::new();
/// # let orders = prometheus::IntCounter::new("orders_total", "Orders placed").unwrap();
/// # old.register(Box::new(orders.clone())).unwrap();
/// let registry = MetricsRegistry::new();
/// registry.register_with(|registry| prometheus_metrics(&old)(registry.sub_registry_with_prefix("shop")));
/// assert_eq!(registry.value("shop_orders_total", &[]), Some(0.0));
/// # }
/// ```
///
/// [`MetricsRegistry::register_with`]: crate::MetricsRegistry::register_with
pub fn prometheus_metrics(registry: impl Into<PrometheusRegistry>) -> impl FnOnce(&mut Registry) {
    let collector = Box::new(registry.into());
    |registry| registry.register_collector(collector)
}

/// A registry of the crate `prometheus`, in any version that a feature names: for [`prometheus_metrics`], which takes it
/// as it is.
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

/// What the versions of the crate have in common.
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
    /// How much is in a bucket and in those below it, by its upper bound. The last one may be missing.
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

/// Encodes families with the help of one.
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
    /// How much is in each bucket alone, with the last one.
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

/// Takes registries of one version of the crate.
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

            #[allow(
                deprecated,
                reason = "other names of the same are in one of the versions only"
            )]
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

            /// With the crate's feature `protobuf` the method is `value`, without it is `get_value` in 0.14, and any crate
            /// of the tree can turn it on. Methods of a type come before those of a trait, so that here each calls the one
            /// that there is.
            #[allow(dead_code, reason = "which one is, depends on that feature")]
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
