//! Labels of one's own that a client fills make as many series as their cap, and one.

mod support;

use actix_web::{
    App,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    prometheus_client::encoding::EncodeLabelSet,
};

use support::{assert_balanced, capture_log, logged};

#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct Query {
    query: String,
}

impl RequestLabels for Query {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        Self {
            query: start.request().query_string().to_owned(),
        }
    }
}

#[actix_web::test]
async fn ten_thousand_values_make_a_thousand_series_and_one() {
    capture_log();
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(async || "hello"))
        .wrap(HrPrometheus::with_monitor::<DefaultMonitor<Query>>());
    let app = init_service(app).await;
    for number in 0..10_000 {
        let request = TestRequest::with_uri(&format!("/?{number}")).to_request();
        call_and_read_body(&app, request).await;
    }

    let scrape = registry.encode().unwrap();
    let series = |name| scrape.lines().filter(|line| line.starts_with(name)).count();
    assert_eq!(series("request_count_total"), 1_001);
    assert_eq!(series("request_latency_count"), 1_001);
    assert_eq!(registry.value("request_count", &[]), Some(10_000.0));
    assert_eq!(
        registry.value("request_count", &[("query", "_OTHER")]),
        Some(9_000.0),
    );
    assert_eq!(
        registry.value(
            "hr_prometheus_cardinality_limit_exceeded_total",
            &[("limit", "label_set")]
        ),
        Some(9_000.0),
    );
    assert_eq!(logged("the limit on distinct label sets is reached").len(), 1);
    assert_balanced(&registry);
}
