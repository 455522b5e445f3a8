//! A switch from actix-web-prom 0.10: the same names, labels and buckets, so that dashboards and alerts keep working.
//!
//! ```console
//! $ cargo run --example from_actix_web_prom --features prometheus-0_14      # PORT chooses another port than 8080
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
//! `.actix_web_prom("shop")` records what `PrometheusMetricsBuilder::new("shop")` does; for constant labels, use a
//! registry, `MetricsRegistry::with_labels(map)`. Numbers still change, because more is counted: requests that
//! end with an error of a middleware, with a panic or with a disconnect. Some labels change too:
//!
//! - If no route matched, `endpoint` is `unmatched` instead of the requested path. That includes a path whose routes
//!   all have another method, such as `POST /orders/1` here.
//! - Unknown methods are `_OTHER`.
//! - A label has no regular expressions: `/orders/{id}`, not `/orders/{id:\d+}`.
//!
//! Metrics that the service has registered with the crate `prometheus` are exposed through `prometheus_metrics`. They can
//! move to `prometheus_client` one by one, or never. The documentation of that function says what differs.
//!
//! ```toml
//! actix-web = "4"
//! env_logger = "0.11"
//! hr-prometheus = { version = "0.1", features = ["prometheus-0_14"] }
//! prometheus = "0.14"
//! ```
use std::{env, io};

use actix_web::{App, HttpServer, Responder, web};
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, metrics_scope, prometheus_metrics};
use prometheus::{HistogramOpts, HistogramVec, IntCounter};

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let port = port
        .parse()
        .map_err(|_| io::Error::other(format!("PORT is `{port}`: set it to a number from 0 to 65535")))?;

    // The metrics that the service has had all along.
    let old_registry = prometheus::Registry::new();
    let shop = Shop::register(&old_registry).map_err(io::Error::other)?;

    let registry = MetricsRegistry::new();
    registry.register_with(prometheus_metrics(old_registry));
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
