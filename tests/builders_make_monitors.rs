//! One monitor for all builders that choose the same, and one for each that chooses something else.

mod support;

use std::{
    collections::HashSet,
    sync::Mutex,
    thread::{self, ThreadId},
    time::Duration,
};

use actix_web::{
    App,
    http::{Method, StatusCode},
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultFamily, DefaultMonitor, DefaultMonitorBuilder, HrPrometheus, Label, MetricsRegistry, RequestEnd,
    RequestLabels, RequestStart, ResponseStart, prometheus_client::encoding::EncodeLabelSet,
};

use support::{assert_balanced, eventually, eventually_has, http, serve};

fn builder() -> DefaultMonitorBuilder {
    DefaultMonitor::builder()
}

fn zero(method: Method) -> [(Method, &'static str, StatusCode); 1] {
    [(method, "/", StatusCode::OK)]
}

fn first_closure(_response: &ResponseStart<'_>) -> Option<[(&'static str, &'static str); 1]> {
    None
}

fn second_closure(_response: &ResponseStart<'_>) -> Option<[(&'static str, &'static str); 1]> {
    None
}

fn first_test(_end: &RequestEnd<'_>) -> bool {
    true
}

fn second_test(_end: &RequestEnd<'_>) -> bool {
    false
}

/// A builder for each option, with that option alone; and for some a second with another value.
fn builders() -> Vec<(&'static str, DefaultMonitorBuilder)> {
    let path = [("path", Label::Path)];
    let verb = [("verb", Label::Method)];
    vec![
        ("nothing", builder()),
        ("prefix a", builder().prefix("a")),
        ("prefix b", builder().prefix("b")),
        ("rename", builder().rename(DefaultFamily::TimeToHead, "a")),
        (
            "rename another",
            builder().rename(DefaultFamily::RequestBodyBytes, "a"),
        ),
        ("count_name", builder().count_name("a")),
        ("latency_name", builder().latency_name("a")),
        ("in_progress_name", builder().in_progress_name("a")),
        ("latency_buckets", builder().latency_buckets([1.0])),
        ("more latency_buckets", builder().latency_buckets([1.0, 2.0])),
        ("count_labels", builder().count_labels(path)),
        ("other count_labels", builder().count_labels(verb)),
        ("latency_labels", builder().latency_labels(path)),
        ("in_progress_labels", builder().in_progress_labels(path)),
        ("without_count", builder().without_count()),
        ("without_latency", builder().without_latency()),
        ("without_in_progress", builder().without_in_progress()),
        ("request_body_bytes", builder().request_body_bytes([1.0])),
        ("response_body_bytes", builder().response_body_bytes([1.0])),
        ("time_to_head", builder().time_to_head([1.0])),
        ("oldest_in_progress", builder().oldest_in_progress()),
        ("peak_in_progress", builder().peak_in_progress()),
        ("objective", builder().objective("/", 0.9, Duration::from_secs(1))),
        (
            "stricter objective",
            builder().objective("/", 0.99, Duration::from_secs(1)),
        ),
        (
            "shorter objective",
            builder().objective("/", 0.9, Duration::from_millis(1)),
        ),
        ("objective_failures", builder().objective_failures(first_test)),
        (
            "objective_failures by another",
            builder().objective_failures(second_test),
        ),
        ("start_at_zero", builder().start_at_zero(zero(Method::GET))),
        (
            "start_at_zero for POST",
            builder().start_at_zero(zero(Method::POST)),
        ),
        ("max_label_sets", builder().max_label_sets(7)),
        (
            "exemplars_from_traceparent",
            builder().exemplars_from_traceparent(),
        ),
        ("exemplars_from", builder().exemplars_from(first_closure)),
        ("exemplars_from another", builder().exemplars_from(second_closure)),
        #[cfg(feature = "protobuf")]
        ("native_histograms", builder().native_histograms()),
    ]
}

/// The registry after one request to each of two applications, measured by what these builders make.
async fn one_request_each<A: RequestLabels, B: RequestLabels>(
    first: DefaultMonitorBuilder<A>,
    second: DefaultMonitorBuilder<B>,
) -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::scope("/a")
                .route("", web::get().to(async || "a"))
                .wrap(HrPrometheus::with_builder(first)),
        )
        .service(
            web::scope("/b")
                .route("", web::get().to(async || "b"))
                .wrap(HrPrometheus::with_builder(second)),
        );
    let app = init_service(app).await;
    for path in ["/a", "/b"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    registry
}

#[test]
fn builders_are_equal_if_all_their_options_are() {
    for (index, (option, first)) in builders().into_iter().enumerate() {
        assert_eq!(first, first.clone(), "{option}");
        for (other_index, (other, second)) in builders().into_iter().enumerate() {
            let is_equal = first == second;
            assert_eq!(is_equal, index == other_index, "{option} and {other}");
        }
    }
}

#[actix_web::test]
async fn builders_that_differ_in_one_option_make_two_monitors() {
    let chosen = builders().into_iter();
    for (option, other) in chosen.filter(|(option, _)| *option != "nothing") {
        // Both choose something, since a builder that chooses nothing is the default monitor anyway.
        let [first, second] = [builder(), other].map(|b| b.start_at_zero(zero(Method::DELETE)));
        let registry = one_request_each(first, second).await;
        // Of two monitors either the names differ, or both have the series that begin at zero, which are omitted once.
        let omitted = ["families", "series"]
            .map(|what| registry.value(&format!("hr_prometheus_scrape_{what}_omitted"), &[]));
        let is_one = registry.value("request_count_total", &[]) == Some(2.0) && omitted == [None, None];
        assert!(!is_one, "{option}");
    }
}

#[actix_web::test]
async fn equal_builders_share_one_monitor() {
    let chosen = || {
        builder()
            .prefix("shop")
            .latency_buckets([0.5, 60.0])
            .exemplars_from(first_closure)
    };
    let registry = one_request_each(chosen(), chosen()).await;
    assert_eq!(registry.value("shop_request_count_total", &[]), Some(2.0));
    assert_eq!(
        registry.value("shop_request_latency_bucket", &[("le", "60.0")]),
        Some(2.0)
    );
}

#[actix_web::test]
async fn builders_of_other_labels_make_two_monitors() {
    #[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
    struct Kind {
        kind: &'static str,
    }

    impl RequestLabels for Kind {
        fn at_arrival(_start: &RequestStart<'_>) -> Self {
            Self { kind: "known" }
        }
    }

    let labelled = builder().labels::<Kind>();
    let registry = one_request_each(builder(), labelled).await;
    let count = |labels: &[(&str, &str)]| registry.value("request_count_total", labels);
    assert_eq!(count(&[]), Some(2.0));
    assert_eq!(count(&[("kind", "known")]), Some(1.0));
}

#[actix_web::test]
async fn a_builder_that_chooses_nothing_shares_the_monitor_of_the_default_middleware() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::scope("/a")
                .route("", web::get().to(async || "a"))
                .wrap(HrPrometheus::default()),
        )
        .service(
            web::scope("/b")
                .route("", web::get().to(async || "b"))
                .wrap(HrPrometheus::with_builder(builder())),
        );
    let app = init_service(app).await;
    for path in ["/a", "/b"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    assert_eq!(registry.value("request_count_total", &[]), Some(2.0));
    assert_balanced(&registry);
}

#[test]
fn workers_share_a_monitor_for_each_prefix_that_a_helper_is_called_with() {
    type Workers = Mutex<HashSet<ThreadId>>;

    fn metrics(prefix: &'static str) -> HrPrometheus<DefaultMonitor> {
        HrPrometheus::with_builder(builder().prefix(prefix))
    }

    async fn hello(workers: web::Data<Workers>) -> &'static str {
        workers.lock().unwrap().insert(thread::current().id());
        "hello"
    }

    let registry = MetricsRegistry::new();
    let workers = web::Data::new(Workers::default());
    let (app_registry, app_workers) = (registry.clone(), workers.clone());
    let server = serve(3, move || {
        App::new()
            .app_data(app_registry.clone())
            .app_data(app_workers.clone())
            .service(
                web::scope("/a")
                    .route("", web::get().to(hello))
                    .wrap(metrics("a")),
            )
            .service(
                web::scope("/b")
                    .route("", web::get().to(hello))
                    .wrap(metrics("b")),
            )
    });

    let mut requests = 0;
    eventually("an answer of every worker", || {
        for path in ["/a", "/b"] {
            assert_eq!(http(server.address, "GET", path).1, "hello");
        }
        requests += 1;
        workers.lock().unwrap().len() == 3
    });

    for prefix in ["a", "b"] {
        let path = format!("/{prefix}");
        let count = format!("{prefix}_request_count_total");
        eventually_has(&registry, &count, &[], requests.into());
        assert_eq!(registry.value(&count, &[("path", &path)]), Some(requests.into()));
    }
    server.stop(true);
}
