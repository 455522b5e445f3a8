//! What is registered with the crate `prometheus`, in either version, is in the scrape as it was there.
#![cfg(all(feature = "prometheus-0_13", feature = "prometheus-0_14"))]

mod support;

use hr_prometheus::{MetricsRegistry, PrometheusRegistry, prometheus_metrics};

use support::{capture_log, logged, scrape_prometheus_text, without_omissions};

/// The samples of a scrape of all types, with the prefix and the labels of their registry.
const OPENMETRICS: &str = r#"# HELP shop_boiler_celsius Temperature
# TYPE shop_boiler_celsius gauge
shop_boiler_celsius{region="eu"} 71.5
# HELP shop_logins Logins, a counter by another name
# TYPE shop_logins unknown
shop_logins{method="key",region="eu"} 2.0
shop_logins{method="password",region="eu"} 1.0
# HELP shop_orders Orders placed
# TYPE shop_orders counter
shop_orders_total{region="eu"} 3.0
# HELP shop_parcel_kilograms Weight of \"parcels\"
# TYPE shop_parcel_kilograms histogram
shop_parcel_kilograms_sum{carrier="po\"st",region="eu"} 12.0
shop_parcel_kilograms_count{carrier="po\"st",region="eu"} 3
shop_parcel_kilograms_bucket{le="1.0",carrier="po\"st",region="eu"} 1
shop_parcel_kilograms_bucket{le="5.0",carrier="po\"st",region="eu"} 2
shop_parcel_kilograms_bucket{le="+Inf",carrier="po\"st",region="eu"} 3
# HELP shop_queue_length Jobs that wait
# TYPE shop_queue_length gauge
shop_queue_length{region="eu"} -4.0
# HELP shop_wait_seconds Wait
# TYPE shop_wait_seconds gauge
shop_wait_seconds{region="eu",quantile="0.5"} 0.25
shop_wait_seconds{region="eu",quantile="0.99"} 2.0
# HELP shop_wait_seconds_sum Wait
# TYPE shop_wait_seconds_sum unknown
shop_wait_seconds_sum{region="eu"} 7.5
# HELP shop_wait_seconds_count Wait
# TYPE shop_wait_seconds_count unknown
shop_wait_seconds_count{region="eu"} 9
# EOF
"#;

/// The same tests for one version of the crate.
macro_rules! in_version {
    ($module:ident, $prometheus:ident) => {
        mod $module {
            use std::{collections::HashMap, sync::atomic::{AtomicBool, Ordering}};

            use $prometheus::{
                Counter, CounterVec, Gauge, Histogram, HistogramOpts, HistogramVec, IntCounter, IntGauge, Opts, Registry,
                core::{Collector, Desc},
                proto,
            };

            use super::*;

            /// Collects what the function makes.
            struct Collects(Desc, fn() -> Vec<proto::MetricFamily>);

            impl Collects {
                fn boxed(name: &str, collect: fn() -> Vec<proto::MetricFamily>) -> Box<Self> {
                    let desc = Desc::new(name.to_owned(), "Help".to_owned(), Vec::new(), HashMap::new());
                    Box::new(Self(desc.unwrap(), collect))
                }
            }

            impl Collector for Collects {
                fn desc(&self) -> Vec<&Desc> {
                    vec![&self.0]
                }

                fn collect(&self) -> Vec<proto::MetricFamily> {
                    (self.1)()
                }
            }

            fn family(
                name: &str,
                kind: proto::MetricType,
                set: impl FnOnce(&mut proto::Metric),
            ) -> Vec<proto::MetricFamily> {
                let mut metric = proto::Metric::default();
                set(&mut metric);
                let mut family = proto::MetricFamily::default();
                family.set_name(name.to_owned());
                family.set_help("Wait".to_owned());
                family.set_field_type(kind);
                family.set_metric([metric].into_iter().collect());
                vec![family]
            }

            fn waits() -> Vec<proto::MetricFamily> {
                let mut summary = proto::Summary::default();
                summary.set_sample_sum(7.5);
                summary.set_sample_count(9);
                let quantiles = [(0.5, 0.25), (0.99, 2.0)].map(|(quantile, value)| {
                    let mut pair = proto::Quantile::default();
                    pair.set_quantile(quantile);
                    pair.set_value(value);
                    pair
                });
                summary.set_quantile(quantiles.into_iter().collect());
                family("wait_seconds", proto::MetricType::SUMMARY, |metric| metric.set_summary(summary))
            }

            #[test]
            fn every_type_is_served_with_prefix_labels_and_values() {
                let labels = HashMap::from([("region".to_owned(), "eu".to_owned())]);
                let old = Registry::new_custom(Some("shop".to_owned()), Some(labels)).unwrap();
                // Registered before there is anything in it.
                let registry = MetricsRegistry::new();
                registry.register_with(prometheus_metrics(&old));

                let orders = IntCounter::new("orders_total", "Orders placed").unwrap();
                let logins = CounterVec::new(Opts::new("logins", "Logins, a counter by another name"), &["method"]);
                let logins = logins.unwrap();
                let boiler = Gauge::new("boiler_celsius", "Temperature").unwrap();
                let queue = IntGauge::new("queue_length", "Jobs that wait").unwrap();
                let options = HistogramOpts::new("parcel_kilograms", "Weight of \"parcels\"").buckets(vec![1.0, 5.0]);
                let parcels = HistogramVec::new(options, &["carrier"]).unwrap();
                old.register(Box::new(orders.clone())).unwrap();
                old.register(Box::new(logins.clone())).unwrap();
                old.register(Box::new(boiler.clone())).unwrap();
                old.register(Box::new(queue.clone())).unwrap();
                old.register(Box::new(parcels.clone())).unwrap();
                old.register(Collects::boxed("wait_seconds", waits)).unwrap();

                orders.inc_by(3);
                logins.with_label_values(&["key"]).inc_by(2.0);
                logins.with_label_values(&["password"]).inc();
                boiler.set(71.5);
                queue.set(-4);
                for weight in [1.0, 2.0, 9.0] {
                    parcels.with_label_values(&["po\"st"]).observe(weight);
                }
                assert_eq!(registry.encode().unwrap(), OPENMETRICS);
            }

            #[test]
            fn a_prefix_and_labels_of_a_sub_registry_come_on_top() {
                let old = Registry::new();
                old.register(Box::new(Counter::new("orders_total", "Orders placed").unwrap())).unwrap();
                let registry = MetricsRegistry::new();
                registry.register_with(|registry| {
                    let shop = registry.sub_registry_with_prefix("shop");
                    prometheus_metrics(old)(shop.sub_registry_with_label(("region".into(), "eu".into())));
                });
                assert_eq!(registry.value("shop_orders_total", &[("region", "eu")]), Some(0.0));
            }

            #[actix_web::test]
            async fn prometheus_text_has_the_samples_of_that_crate() {
                let old = Registry::new();
                let histogram = Histogram::with_opts(HistogramOpts::new("latency_seconds", "Latency").buckets(vec![0.5]));
                let histogram = histogram.unwrap();
                let logins = Counter::new("logins", "Logins").unwrap();
                old.register(Box::new(histogram.clone())).unwrap();
                old.register(Box::new(logins)).unwrap();
                let registry = MetricsRegistry::new();
                registry.register_with(prometheus_metrics(&old));
                histogram.observe(0.25);
                histogram.observe(1.0);

                assert_eq!(
                    scrape_prometheus_text(&registry).await,
                    "# HELP latency_seconds Latency\n# TYPE latency_seconds histogram\nlatency_seconds_sum 1.25\n\
                     latency_seconds_count 2\nlatency_seconds_bucket{le=\"0.5\"} 1\n\
                     latency_seconds_bucket{le=\"+Inf\"} 2\n# HELP logins Logins\n# TYPE logins untyped\nlogins 0.0\n",
                );
            }

            #[test]
            fn a_collector_that_panics_costs_its_own_registry_alone() {
                static PANICS: AtomicBool = AtomicBool::new(true);

                fn collect() -> Vec<proto::MetricFamily> {
                    assert!(!PANICS.load(Ordering::Relaxed), concat!("no such sensor: ", stringify!($module)));
                    waits()
                }

                capture_log();
                let (faulty, sound) = (Registry::new(), Registry::new());
                faulty.register(Collects::boxed("wait_seconds", collect)).unwrap();
                sound.register(Box::new(Counter::new("orders_total", "Orders placed").unwrap())).unwrap();
                let registry = MetricsRegistry::new();
                registry.register_with(prometheus_metrics(&faulty));
                registry.register_with(prometheus_metrics(&sound));
                for _ in 0..3 {
                    assert_eq!(registry.value("orders_total", &[]), Some(0.0));
                    assert_eq!(registry.value("wait_seconds_count", &[]), None);
                }
                assert_eq!(logged(concat!("no such sensor: ", stringify!($module))).len(), 1);
                PANICS.store(false, Ordering::Relaxed);
                assert_eq!(registry.value("wait_seconds_count", &[]), Some(9.0));
            }

            #[test]
            fn families_that_lie_are_omitted_and_the_rest_is_served() {
                fn histogram(name: &str, counts: &[(f64, u64)], count: u64) -> Vec<proto::MetricFamily> {
                    let mut histogram = proto::Histogram::default();
                    histogram.set_sample_count(count);
                    histogram.set_sample_sum(1.0);
                    let buckets = counts.iter().map(|(bound, count)| {
                        let mut bucket = proto::Bucket::default();
                        bucket.set_upper_bound(*bound);
                        bucket.set_cumulative_count(*count);
                        bucket
                    });
                    histogram.set_bucket(buckets.collect());
                    family(name, proto::MetricType::HISTOGRAM, |metric| metric.set_histogram(histogram))
                }

                let old = Registry::new();
                old.register(Collects::boxed("a", || histogram("falls", &[(1.0, 9), (2.0, 3)], 3))).unwrap();
                old.register(Collects::boxed("b", || histogram("infinite", &[(1.0, 2), (f64::INFINITY, 3)], 3))).unwrap();
                old.register(Collects::boxed("c", || histogram("negative", &[(-1.0, 2)], 3))).unwrap();
                old.register(Collects::boxed("d", || {
                    family("untyped", proto::MetricType::UNTYPED, |_| {})
                }))
                .unwrap();
                old.register(Collects::boxed("e", || family("not-a-name", proto::MetricType::GAUGE, |_| {}))).unwrap();
                let registry = MetricsRegistry::new();
                registry.register_with(prometheus_metrics(&old));
                assert_eq!(
                    without_omissions(&registry.encode().unwrap()),
                    "# HELP infinite Wait\n# TYPE infinite histogram\ninfinite_sum 1.0\ninfinite_count 3\n\
                     infinite_bucket{le=\"1.0\"} 2\ninfinite_bucket{le=\"+Inf\"} 3\n# EOF\n",
                );
                assert_eq!(registry.value("hr_prometheus_scrape_families_omitted", &[]), Some(3.0));
            }

            #[test]
            fn the_default_registry_is_one_line() {
                let name = concat!(stringify!($module), "_jobs_total");
                let jobs = $prometheus::register_int_counter!(name, "Jobs done").unwrap();
                jobs.inc();
                let registry = MetricsRegistry::new();
                registry.register_with(prometheus_metrics($prometheus::default_registry()));
                assert_eq!(registry.value(name, &[]), Some(1.0));
            }
        }
    };
}

in_version!(version_0_14, prometheus);
in_version!(version_0_13, prometheus_0_13);

#[test]
fn registries_of_both_versions_share_a_scrape() {
    let registry = MetricsRegistry::new();
    let (new, old) = (prometheus::Registry::new(), prometheus_0_13::Registry::new());
    new.register(Box::new(prometheus::IntGauge::new("new", "New").unwrap()))
        .unwrap();
    old.register(Box::new(prometheus_0_13::IntGauge::new("old", "Old").unwrap()))
        .unwrap();
    registry.register_with(prometheus_metrics(new));
    registry.register_with(prometheus_metrics(old));
    assert_eq!(registry.value("new", &[]), Some(0.0));
    assert_eq!(registry.value("old", &[]), Some(0.0));
}

#[test]
fn the_debug_text_of_a_registry_says_what_it_is() {
    let old = PrometheusRegistry::from(prometheus::Registry::new());
    assert_eq!(format!("{old:?}"), "PrometheusRegistry { .. }");
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_has_the_same_families() {
    use hr_prometheus::prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricType;

    let old = prometheus::Registry::new();
    let histogram = prometheus::HistogramOpts::new("latency_seconds", "Latency").buckets(vec![0.5]);
    let histogram = prometheus::Histogram::with_opts(histogram).unwrap();
    let logins = prometheus::IntCounter::new("logins", "Logins").unwrap();
    histogram.observe(0.25);
    logins.inc();
    old.register(Box::new(histogram)).unwrap();
    old.register(Box::new(logins)).unwrap();
    let registry = MetricsRegistry::new();
    registry.register_with(prometheus_metrics(old));
    let families = support::families::protobuf::families(&registry);
    let families: Vec<_> = families
        .iter()
        .map(|family| (&*family.name, family.r#type()))
        .collect();
    assert_eq!(
        families,
        [
            ("latency_seconds", MetricType::Histogram),
            ("logins", MetricType::Untyped)
        ],
    );
}
