//! Native buckets beside the classic ones, as a scraper that asks for protobuf gets them.
#![cfg(feature = "protobuf")]

use actix_web::{
    App, HttpResponse,
    http::header,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultMonitor, DefaultMonitorBuilder, HrPrometheus, Label, MetricsRegistry, metrics_scope,
    prometheus_client::encoding::prometheus_protobuf::prometheus_data_model as model,
};
use prost::Message as _;

const PROTOBUF: &str =
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// The histograms of the latency after so many requests in each of three workers.
async fn histograms(monitor: DefaultMonitorBuilder, requests: usize) -> Vec<model::Histogram> {
    let registry = MetricsRegistry::new();
    let mut apps = Vec::new();
    for _ in 0..3 {
        let monitor = monitor.clone();
        let metrics = HrPrometheus::with_builder(monitor);
        let app = App::new()
            .app_data(registry.clone())
            .route("/", web::get().to(HttpResponse::Ok))
            .route("/other", web::get().to(HttpResponse::NotFound))
            .wrap(metrics);
        let app = init_service(app).await;
        for number in 0..requests {
            let path = ["/", "/other"][number % 2];
            call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
        }
        apps.push(app);
    }
    // One that has stopped.
    apps.pop();

    let scrape = init_service(App::new().app_data(registry.clone()).service(metrics_scope())).await;
    let request = TestRequest::with_uri("/metrics").insert_header((header::ACCEPT, PROTOBUF));
    let body = call_and_read_body(&scrape, request.to_request()).await;
    let mut rest = &body[..];
    let mut families = Vec::new();
    while !rest.is_empty() {
        families.push(model::MetricFamily::decode_length_delimited(&mut rest).unwrap());
    }
    let latency = families
        .into_iter()
        .find(|family| family.name == "request_latency");
    let metrics = latency.expect("the family").metric;
    metrics
        .into_iter()
        .map(|metric| metric.histogram.expect("a histogram"))
        .collect()
}

/// The number of observations in all native buckets.
fn native_count(histogram: &model::Histogram) -> i64 {
    let mut bucket = 0;
    let buckets = histogram.positive_delta.iter().map(|delta| {
        bucket += delta;
        bucket
    });
    buckets.sum::<i64>() + i64::try_from(histogram.zero_count).unwrap()
}

#[actix_web::test]
async fn native_and_classic_buckets_have_the_same_requests() {
    let all = histograms(DefaultMonitor::builder().native_histograms(), 10).await;
    assert_eq!(all.len(), 2);
    for histogram in all {
        assert_eq!(histogram.sample_count, 15);
        assert_eq!(histogram.bucket.len(), 15);
        assert_eq!(histogram.bucket.last().unwrap().cumulative_count, 15);
        assert_eq!(histogram.schema, 3);
        assert_eq!(histogram.zero_threshold.to_bits(), 2.0_f64.powi(-128).to_bits());
        assert_eq!(native_count(&histogram), 15);
        let buckets: u32 = histogram.positive_span.iter().map(|span| span.length).sum();
        assert_eq!(buckets as usize, histogram.positive_delta.len());
    }
}

#[actix_web::test]
async fn native_buckets_of_routes_that_fall_together_are_summed() {
    let monitor = DefaultMonitor::builder().native_histograms();
    let monitor = monitor.latency_labels([("method", Label::Method)]);
    let all = histograms(monitor, 10).await;
    assert_eq!(all.len(), 1);
    assert_eq!(
        [native_count(&all[0]), 30],
        [30, i64::try_from(all[0].sample_count).unwrap()]
    );
}

#[actix_web::test]
async fn the_width_and_the_number_of_buckets_can_be_chosen() {
    let builder = DefaultMonitor::builder;
    for (monitor, schema) in [
        (builder().native_growth_factor(1.003), 8),
        (builder().native_growth_factor(2.0), 0),
        (builder().native_growth_factor(20.0), -2),
        // Whatever the latencies are, they are in two buckets of the coarsest.
        (builder().native_max_buckets(0), -4),
    ] {
        for histogram in histograms(monitor, 10).await {
            assert_eq!(histogram.schema, schema);
            assert_eq!(native_count(&histogram), 15);
        }
    }
    for factor in [1.0, 1.002, 0.0, -1.0, f64::NAN, f64::INFINITY] {
        let monitor = builder().native_growth_factor(factor);
        let error = HrPrometheus::with_builder(monitor).build().unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "native_growth_factor: no native buckets grow by {factor}; choose a factor of at least 1.0028, such as 1.1"
            ),
        );
    }
}

#[actix_web::test]
async fn classic_buckets_can_be_off() {
    for histogram in histograms(DefaultMonitor::builder().without_classic(), 10).await {
        assert_eq!(histogram.bucket.len(), 1);
        assert!(histogram.bucket[0].upper_bound.is_infinite());
        assert_eq!(histogram.bucket[0].cumulative_count, 15);
        assert_eq!(native_count(&histogram), 15);
    }
}

#[actix_web::test]
async fn unless_asked_for_there_are_none() {
    let all = histograms(DefaultMonitor::builder(), 2).await;
    assert!(
        all.iter()
            .all(|histogram| histogram.positive_span.is_empty() && histogram.schema == 0)
    );
}
