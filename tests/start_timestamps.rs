//! When each series began, as a scraper that asks for protobuf gets it: so that the first request of a series and the
//! first after a restart are an increase.
#![cfg(feature = "protobuf")]

mod support;

use std::time::SystemTime;

use actix_web::{
    App, HttpResponse,
    http::{Method, StatusCode},
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultMonitor, DefaultMonitorBuilder, HrPrometheus, Label, MetricsRegistry, OtelMonitor,
};

use support::families::protobuf;

/// When each series of a family began.
fn starts(registry: &MetricsRegistry, family: &str) -> Vec<SystemTime> {
    let families = protobuf::families(registry);
    let family = families.into_iter().find(|found| found.name == family);
    let metrics = family.expect("the family").metric;
    let starts = metrics.into_iter().map(|metric| {
        let start = match (&metric.counter, &metric.histogram) {
            (Some(counter), _) => counter.start_timestamp,
            (_, Some(histogram)) => histogram.start_timestamp,
            _ => None,
        };
        assert!(metric.label.iter().all(|label| !label.name.starts_with('\u{1}')));
        SystemTime::try_from(start.expect("a start")).expect("a time")
    });
    starts.collect()
}

/// Sends a request to each path, one after the other.
async fn visit(registry: &MetricsRegistry, monitor: DefaultMonitorBuilder, paths: &[&str]) {
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(HttpResponse::Ok))
        .route("/other", web::get().to(HttpResponse::Ok))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    for path in paths {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
}

#[test]
fn a_series_begins_with_its_first_request_and_keeps_that() {
    let registry = MetricsRegistry::new();
    let visit = |paths: &[&str]| {
        actix_web::rt::System::new().block_on(visit(&registry, DefaultMonitor::builder(), paths));
    };
    let before = SystemTime::now();
    visit(&["/"]);
    let between = SystemTime::now();
    let first = starts(&registry, "request_count_total");
    assert_eq!(first.len(), 1);
    assert!((before..=between).contains(&first[0]), "{first:?}");
    assert_eq!(starts(&registry, "request_latency"), first);

    // By another worker; the first has stopped.
    visit(&["/other", "/", "/"]);
    let both = starts(&registry, "request_count_total");
    assert_eq!(both.len(), 2);
    assert_eq!(both[0], first[0]);
    assert!(both[1] >= between, "{both:?}");
    assert_eq!(starts(&registry, "request_latency"), both);
}

#[test]
fn routes_that_fall_together_began_with_the_first_of_them() {
    let registry = MetricsRegistry::new();
    let monitor = || {
        let monitor = DefaultMonitor::builder().response_body_bytes([100.0]);
        monitor.latency_labels([("method", Label::Method)])
    };
    actix_web::rt::System::new().block_on(visit(&registry, monitor(), &["/other", "/"]));
    let counts = starts(&registry, "request_count_total");
    let first = counts.iter().min().copied();
    assert_eq!(starts(&registry, "request_latency").first().copied(), first);
    assert_eq!(starts(&registry, "response_body_bytes").first().copied(), first);
}

#[test]
fn series_that_are_shown_before_they_have_a_request_began_then() {
    let registry = MetricsRegistry::new();
    let before = SystemTime::now();
    let monitor = DefaultMonitor::builder().start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    let _metrics = HrPrometheus::with_builder(monitor)
        .register_in(&registry)
        .unwrap();
    let registered = SystemTime::now();
    let starts = starts(&registry, "request_count_total");
    assert!((before..=registered).contains(&starts[0]), "{starts:?}");
}

#[test]
fn the_opentelemetry_monitor_has_them_and_no_text_format_has_a_series_for_them() {
    let registry = MetricsRegistry::new();
    actix_web::rt::System::new().block_on(async {
        let app = App::new()
            .app_data(registry.clone())
            .route("/", web::get().to(HttpResponse::Ok))
            .wrap(HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>());
        let app = init_service(app).await;
        call_and_read_body(&app, TestRequest::default().to_request()).await;
    });
    assert_eq!(starts(&registry, "http_server_request_duration_seconds").len(), 1);
    let text = registry.encode().unwrap();
    assert!(!text.contains("_created"), "{text}");
    assert!(!text.contains('\u{1}'), "{text}");
}
