//! A switch from actix-web-prom 0.10: the same names, labels and buckets, so that dashboards and alerts go on working.
//!
//! ```console
//! $ cargo run --example from_actix_web_prom      # PORT chooses another port than 8080
//! Listening on http://127.0.0.1:8080
//! ```
//!
//! In another terminal:
//!
//! ```console
//! $ curl -s 'http://127.0.0.1:8080/orders/[1-2]'
//! Order 1 of 1 kg is on its way.
//! Order 2 of 2 kg is on its way.
//! $ curl -s http://127.0.0.1:8080/metrics | grep -E '_total|_count'
//! shop_http_requests_total{endpoint="/orders/{id}",method="GET",status="200"} 2
//! shop_http_requests_duration_seconds_count{endpoint="/orders/{id}",method="GET",status="200"} 2
//! shop_orders_read_total 2.0
//! shop_parcel_kilograms_count{carrier="post"} 2
//! ```
//!
//! `.actix_web_prom("shop")` records what `PrometheusMetricsBuilder::new("shop")` does; constant labels are those of a
//! registry, `MetricsRegistry::with_labels(map)`. Numbers change all the same, because more is counted: requests that
//! end in an error of a middleware, in a panic or with a client that left. Some labels do too:
//!
//! - Where no route matched, `endpoint` is `unmatched`: not what the client asked for. That includes a path whose routes
//!   all have another method, such as `POST /orders/1` here.
//! - Methods that are not known are `_OTHER`.
//! - A label has no regular expressions: `/orders/{id}`, not `/orders/{id:\d+}`.
//!
//! What the service has registered with the crate `prometheus` comes along: `PrometheusCrate` brings it into the
//! scrape. It can move to `prometheus_client` piece by piece, or never. What is not kept of it:
//!
//! - A counter whose name does not end in `_total` is served as a gauge, because OpenMetrics has no such counter. Its
//!   name stays, and `rate()` works.
//! - Timestamps of samples: what is scraped is of now.
//! - Bounds are written `le="1.0"`, as OpenMetrics demands, and no longer `le="1"`. Quantiles do not notice. To
//!   Prometheus before version 3 these are two series, so a query that names a bound has to change.
use std::{env, fmt, io};

use actix_web::{App, HttpServer, Responder, web};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, metrics_scope,
    prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet},
        metrics::MetricType,
    },
};
use prometheus::{HistogramOpts, HistogramVec, IntCounter, proto};

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let port = port
        .parse()
        .map_err(|_| io::Error::other(format!("PORT is `{port}`: set it to a number from 0 to 65535")))?;

    // What the service has had all along.
    let old_registry = prometheus::Registry::new();
    let shop = Shop::register(&old_registry).map_err(io::Error::other)?;

    let registry = MetricsRegistry::new();
    registry.register_with(|registry| registry.register_collector(Box::new(PrometheusCrate(old_registry))));
    let monitor = DefaultMonitor::builder().actix_web_prom("shop");
    let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;

    let server = HttpServer::new(move || {
        App::new()
            .app_data(registry.clone())
            .app_data(web::Data::new(shop.clone()))
            .service(metrics_scope())
            .route("/orders/{id}", web::get().to(order))
            .wrap(metrics.clone())
    })
    .bind(("127.0.0.1", port))?;

    for address in server.addrs() {
        println!("Listening on http://{address}");
    }
    server.run().await
}

/// Metrics made with the crate `prometheus`.
#[derive(Clone)]
struct Shop {
    orders_read: IntCounter,
    parcel_kilograms: HistogramVec,
}

impl Shop {
    fn register(registry: &prometheus::Registry) -> prometheus::Result<Self> {
        let orders_read = IntCounter::new("shop_orders_read_total", "Orders that were looked at")?;
        let parcel_kilograms = HistogramVec::new(
            HistogramOpts::new("shop_parcel_kilograms", "Weight of parcels").buckets(vec![1.0, 5.0]),
            &["carrier"],
        )?;
        registry.register(Box::new(orders_read.clone()))?;
        registry.register(Box::new(parcel_kilograms.clone()))?;
        Ok(Self {
            orders_read,
            parcel_kilograms,
        })
    }
}

async fn order(id: web::Path<u32>, shop: web::Data<Shop>) -> impl Responder {
    shop.orders_read.inc();
    let kilograms = f64::from(*id);
    shop.parcel_kilograms
        .with_label_values(&["post"])
        .observe(kilograms);
    format!("Order {id} of {kilograms} kg is on its way.\n")
}

/// Brings what is registered with the crate `prometheus` into the scrape.
#[derive(Debug)]
struct PrometheusCrate(prometheus::Registry);

impl Collector for PrometheusCrate {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        use proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};

        for family in self.0.gather() {
            // The encoder appends `_total` to counters.
            let (name, kind) = match (family.get_field_type(), family.name().strip_suffix("_total")) {
                (COUNTER, Some(name)) => (name, MetricType::Counter),
                (COUNTER, None) | (GAUGE, _) => (family.name(), MetricType::Gauge),
                (HISTOGRAM, _) => (family.name(), MetricType::Histogram),
                // The crate has no others.
                _ => continue,
            };
            let mut encoder = encoder.encode_descriptor(name, family.help(), None, kind)?;
            for metric in family.get_metric() {
                let labels = metric.get_label().iter();
                let labels: Vec<_> = labels.map(|label| (label.name(), label.value())).collect();
                if labels.is_empty() {
                    encode_metric(&mut encoder, &family, metric, kind)?;
                } else {
                    encode_metric(&mut encoder.encode_family(&labels)?, &family, metric, kind)?;
                }
            }
        }
        Ok(())
    }
}

fn encode_metric(
    encoder: &mut MetricEncoder<'_>,
    family: &proto::MetricFamily,
    metric: &proto::Metric,
    kind: MetricType,
) -> fmt::Result {
    let value = match family.get_field_type() {
        proto::MetricType::COUNTER => metric.get_counter().get_value(),
        _ => metric.get_gauge().get_value(),
    };
    match kind {
        MetricType::Counter => encoder.encode_counter::<NoLabelSet, _, f64>(&value, None),
        MetricType::Histogram => {
            let histogram = metric.get_histogram();
            let (sum, count) = (histogram.get_sample_sum(), histogram.get_sample_count());
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets(histogram), None)
        }
        _ => encoder.encode_gauge(&value),
    }
}

/// The buckets with how many are in each: there, each has those below it as well, and the last has no bound.
fn buckets(histogram: &proto::Histogram) -> Vec<(f64, u64)> {
    let mut below = 0;
    let bounds = histogram.get_bucket().iter();
    bounds
        .map(|bucket| (bucket.upper_bound(), bucket.cumulative_count()))
        .chain([(f64::INFINITY, histogram.get_sample_count())])
        .map(|(bound, cumulative)| {
            let count = cumulative.saturating_sub(below);
            below = cumulative;
            (bound, count)
        })
        .collect()
}
