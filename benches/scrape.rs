//! What a scrape costs: `cargo bench --bench scrape`.
//!
//! The same series, once from workers that the default monitor merges, once from families of prometheus-client.

use actix_web::{App, dev::Service as _, test, test::TestRequest, web};
use divan::Bencher;
use hr_prometheus::{
    HrPrometheus, MetricsRegistry,
    prometheus_client::{
        encoding::text,
        metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
        registry::Registry,
    },
};

const ROUTES: [usize; 2] = [1_000, 10_000];

fn main() {
    divan::main();
}

/// One request for each of `routes` routes.
fn recorded(routes: usize) -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    actix_web::rt::System::new().block_on(async {
        let app = App::new()
            .app_data(registry.clone())
            .configure(|app| {
                for route in 0..routes {
                    app.route(&format!("/items/{route}"), web::get().to(async || ""));
                }
            })
            .wrap(HrPrometheus::default());
        let app = test::init_service(app).await;
        for route in 0..routes {
            let request = TestRequest::with_uri(&format!("/items/{route}")).to_request();
            drop(app.call(request).await);
        }
    });
    registry
}

#[divan::bench(args = ROUTES)]
fn default_monitor(bencher: Bencher, routes: usize) {
    let registry = recorded(routes);
    bencher.bench(|| registry.encode());
}

#[divan::bench(args = ROUTES)]
fn families_of_prometheus_client(bencher: Bencher, routes: usize) {
    type Labels<const N: usize> = [(&'static str, String); N];

    const BUCKETS: [f64; 14] = [
        0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
    ];
    let count = Family::<Labels<3>, Counter>::default();
    let latency = Family::<Labels<2>, Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
    let in_progress = Family::<Labels<2>, Gauge>::default();
    for route in 0..routes {
        let method = ("method", "GET".to_owned());
        let path = ("path", format!("/items/{route}"));
        let status = ("status", "200".to_owned());
        count
            .get_or_create_owned(&[method.clone(), path.clone(), status])
            .inc();
        let labels = [method, path];
        latency.get_or_create_owned(&labels).observe(0.0001);
        in_progress.get_or_create_owned(&labels).set(0);
    }
    let mut registry = Registry::default();
    registry.register("request_count", "Number of requests received", count);
    registry.register("request_latency", "Elapsed time per request", latency);
    registry.register("requests_in_progress", "Requests in progress", in_progress);
    bencher.bench(|| {
        let mut scrape = String::new();
        text::encode(&mut scrape, &registry).map(|()| scrape)
    });
}
