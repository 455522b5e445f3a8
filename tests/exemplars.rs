//! Exemplars: the trace of a request beside the numbers that it is in.

mod support;

use std::{
    mem,
    sync::{Arc, Mutex},
    thread,
};

use actix_http::Request;
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultMonitor, DefaultMonitorBuilder, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    prometheus_client::{encoding::EncodeLabelSet, registry::Registry},
};

use support::{capture_log, logged};

const FIRST: &str = "00-11111111111111111111111111111111-00f067aa0ba902b7-01";
const SECOND: &str = "00-22222222222222222222222222222222-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-33333333333333333333333333333333-00f067aa0ba902b7-00";

async fn app(
    monitor: DefaultMonitorBuilder,
    registry: &MetricsRegistry,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    app_with(HrPrometheus::with_builder(monitor), registry).await
}

async fn app_with(
    metrics: HrPrometheus<DefaultMonitor>,
    registry: &MetricsRegistry,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(HttpResponse::Ok))
        .route("/other", web::get().to(HttpResponse::NotFound))
        .wrap(metrics);
    init_service(app).await
}

/// One bucket for all that takes less than thirty years.
fn traced() -> DefaultMonitorBuilder {
    DefaultMonitor::builder()
        .latency_buckets([1e9])
        .exemplars_from_traceparent()
}

fn with_trace(path: &str, traceparent: &str) -> Request {
    let request = TestRequest::with_uri(path).insert_header(("traceparent", traceparent));
    request.to_request()
}

/// The samples that have an exemplar, and the labels of that.
fn exemplars(registry: &MetricsRegistry) -> Vec<(String, String)> {
    let scrape = registry.encode().unwrap();
    let lines = scrape.lines().filter(|line| !line.starts_with('#'));
    let with = lines.filter_map(|line| line.split_once(" # {"));
    with.map(|(sample, exemplar)| {
        let labels = exemplar.split_once('}').expect("a brace").0;
        (sample.to_owned(), labels.to_owned())
    })
    .collect()
}

/// A client can send any text as the value of a label.
#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct Text {
    text: String,
}

impl RequestLabels for Text {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        let text = start.request().query_string().replace("%01", "\u{1}");
        Self { text }
    }
}

#[actix_web::test]
async fn no_text_of_a_label_is_taken_for_an_exemplar() {
    let registry = MetricsRegistry::new();
    let monitor = traced().labels::<Text>();
    let metrics = HrPrometheus::with_builder(monitor);
    let app = App::new().app_data(registry.clone()).wrap(metrics);
    let app = init_service(app).await;
    call_and_read_body(&app, with_trace("/?traced%01exemplars=0", FIRST)).await;
    let other = TestRequest::with_uri("/?%01exemplars=0");
    call_and_read_body(&app, other.to_request()).await;

    for text in ["traced\u{1}exemplars=0", "\u{1}exemplars=0"] {
        assert_eq!(registry.value("request_count", &[("text", text)]), Some(1.0));
        let bucket = [("text", text), ("le", "+Inf")];
        assert_eq!(registry.value("request_latency_bucket", &bucket), Some(1.0));
    }
    assert_eq!(exemplars(&registry).len(), 2);
}

#[actix_web::test]
async fn the_latest_trace_is_on_its_bucket_and_on_the_counter() {
    let registry = MetricsRegistry::new();
    let app = app(traced(), &registry).await;
    for trace in [FIRST, SECOND, NOT_SAMPLED] {
        call_and_read_body(&app, with_trace("/", trace)).await;
    }
    call_and_read_body(&app, TestRequest::default().to_request()).await;

    let second = r#"trace_id="22222222222222222222222222222222""#.to_owned();
    assert_eq!(
        exemplars(&registry),
        [
            (
                r#"request_count_total{method="GET",path="/",status="200"} 4"#.to_owned(),
                second.clone()
            ),
            (
                r#"request_latency_bucket{le="1e+09",method="GET",path="/"} 4"#.to_owned(),
                second
            ),
        ],
    );
}

/// In it prometheus-client writes the samples, to which the scrape adds the exemplars.
#[actix_web::test]
async fn a_registry_that_was_made_elsewhere_has_exemplars_on_the_same_samples() {
    let elsewhere = Arc::new(Mutex::new(Registry::default()));
    let target = Arc::clone(&elsewhere);
    // All requests are in the last bucket.
    let monitor = move |_: &mut Registry| {
        let monitor = traced().latency_buckets([1e-9]);
        monitor.register(&mut target.lock().unwrap())
    };
    let empty = MetricsRegistry::new();
    let app = app_with(HrPrometheus::with_monitor_from(monitor), &empty).await;
    call_and_read_body(&app, with_trace("/", FIRST)).await;
    call_and_read_body(&app, with_trace("/other", SECOND)).await;
    call_and_read_body(&app, TestRequest::with_uri("/nowhere").to_request()).await;

    let registry = MetricsRegistry::from(mem::take(&mut *elsewhere.lock().unwrap()));
    let first = r#"trace_id="11111111111111111111111111111111""#;
    let second = r#"trace_id="22222222222222222222222222222222""#;
    assert_eq!(
        exemplars(&registry),
        [
            (
                r#"request_count_total{method="GET",path="/",status="200"} 1"#,
                first
            ),
            (
                r#"request_count_total{method="GET",path="/other",status="404"} 1"#,
                second
            ),
            (
                r#"request_latency_bucket{le="+Inf",method="GET",path="/"} 1"#,
                first
            ),
            (
                r#"request_latency_bucket{le="+Inf",method="GET",path="/other"} 1"#,
                second
            ),
        ]
        .map(|(sample, labels)| (sample.to_owned(), labels.to_owned())),
    );
    for path in ["/", "/other", "unmatched"] {
        assert_eq!(
            registry.value("request_count", &[("path", path)]),
            Some(1.0),
            "{path}"
        );
    }
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_has_each_exemplar_on_its_bucket_and_on_the_counter() {
    let registry = MetricsRegistry::new();
    actix_web::rt::System::new().block_on(async {
        // All requests are in the last bucket.
        let app = app(traced().latency_buckets([1e-9]), &registry).await;
        call_and_read_body(&app, with_trace("/", FIRST)).await;
    });
    let families = support::families::protobuf::families(&registry);
    let metric = |name| &families.iter().find(|family| family.name == name).unwrap().metric[0];
    let counter = metric("request_count_total").counter.as_ref().unwrap();
    let buckets = &metric("request_latency").histogram.as_ref().unwrap().bucket;
    let exemplars = [&counter.exemplar, &buckets[0].exemplar, &buckets[1].exemplar];
    let trace_ids = exemplars.map(|exemplar| {
        let label = &exemplar.as_ref()?.label[0];
        Some((&*label.name, &*label.value))
    });
    let first = Some(("trace_id", "11111111111111111111111111111111"));
    assert_eq!(trace_ids, [first, None, first]);
}

#[actix_web::test]
async fn an_exemplar_has_the_value_and_the_time_of_its_request() {
    let registry = MetricsRegistry::new();
    let app = app(traced(), &registry).await;
    call_and_read_body(&app, with_trace("/", FIRST)).await;

    let scrape = registry.encode().unwrap();
    let exemplar = |name| {
        let line = scrape
            .lines()
            .find(|line| line.starts_with(name) && line.contains(" # "))
            .unwrap();
        let numbers = line
            .rsplit_once("} ")
            .unwrap()
            .1
            .split(' ')
            .map(|number| number.parse::<f64>().unwrap());
        numbers.collect::<Vec<_>>()
    };
    let of_count = exemplar("request_count_total");
    let of_bucket = exemplar("request_latency_bucket");
    let latency = registry.value("request_latency_sum", &[]).unwrap();
    assert_eq!(of_count[0].to_bits(), 1.0_f64.to_bits());
    assert!((of_bucket[0] - latency).abs() < 1e-6, "{of_bucket:?}, {latency}");
    // In seconds since 1970: after this was written, and the same on both.
    assert!(of_count[1] > 1.7e9);
    assert_eq!(of_count[1].to_bits(), of_bucket[1].to_bits());
}

#[actix_web::test]
async fn series_that_fall_together_show_the_latest_of_all() {
    let registry = MetricsRegistry::new();
    let monitor = traced().count_labels([] as [(&str, _); 0]);
    let app = app(monitor, &registry).await;
    call_and_read_body(&app, with_trace("/other", FIRST)).await;
    thread::sleep(std::time::Duration::from_millis(2));
    call_and_read_body(&app, with_trace("/", SECOND)).await;
    let of_count = exemplars(&registry).swap_remove(0);
    assert!(of_count.0.starts_with("request_count_total"), "{of_count:?}");
    assert_eq!(of_count.1, r#"trace_id="22222222222222222222222222222222""#);
}

#[actix_web::test]
async fn the_exemplars_of_a_worker_that_stopped_stay_until_there_are_later_ones() {
    let registry = MetricsRegistry::new();
    let monitor = traced();
    for trace in [FIRST, SECOND] {
        let app = app(monitor.clone(), &registry).await;
        call_and_read_body(&app, with_trace("/", trace)).await;
        drop(app);
        let trace_id = &trace[3..35];
        let found = exemplars(&registry);
        assert_eq!(found.len(), 2);
        assert!(
            found.iter().all(|(_, labels)| labels.contains(trace_id)),
            "{found:?}"
        );
        thread::sleep(std::time::Duration::from_millis(2));
    }
}

#[actix_web::test]
async fn a_header_that_comes_twice_is_not_used() {
    let registry = MetricsRegistry::new();
    let app = app(traced(), &registry).await;
    let request = TestRequest::default()
        .append_header(("traceparent", FIRST))
        .append_header(("traceparent", SECOND));
    call_and_read_body(&app, request.to_request()).await;
    assert_eq!(exemplars(&registry), []);
}

#[actix_web::test]
async fn unless_asked_for_there_are_none() {
    let registry = MetricsRegistry::new();
    let app = app(DefaultMonitor::builder(), &registry).await;
    call_and_read_body(&app, with_trace("/", FIRST)).await;
    assert_eq!(exemplars(&registry), []);
    assert_eq!(registry.value("request_count", &[]), Some(1.0));
}

#[actix_web::test]
async fn an_exemplar_that_is_too_long_is_omitted_and_its_request_counted() {
    capture_log();
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder().exemplars_from(|response| {
        let query = response.request().query_string();
        assert_ne!(query, "panic", "after the first fault");
        (!query.is_empty()).then(|| [("id", query.to_owned())])
    });
    let app = app(monitor, &registry).await;
    for (query, left_out) in [(126, false), (127, true), (500, true)] {
        let uri = format!("/?{}", "x".repeat(query));
        call_and_read_body(&app, TestRequest::with_uri(&uri).to_request()).await;
        let latest = format!(r#"id="{}""#, "x".repeat(if left_out { 126 } else { query }));
        assert!(exemplars(&registry).iter().all(|(_, labels)| *labels == latest));
    }
    call_and_read_body(&app, TestRequest::with_uri("/?panic").to_request()).await;
    call_and_read_body(&app, TestRequest::with_uri("/").to_request()).await;
    assert_eq!(exemplars(&registry).len(), 2);
    assert_eq!(registry.value("request_count", &[]), Some(5.0));
    // Once for each monitor, by the first fault.
    assert_eq!(logged("an exemplar is omitted: its labels have").len(), 1);
    assert_eq!(logged("after the first fault"), [""; 0]);
}

/// Labels of an exemplar of which everything panics when it is dropped, and what the query says before.
struct Bombs {
    query: String,
    given: bool,
}

struct BombValue(String);

struct BombName(&'static str);

impl Drop for Bombs {
    fn drop(&mut self) {
        panic!("labels");
    }
}

impl Drop for BombValue {
    fn drop(&mut self) {
        panic!("a value");
    }
}

impl Iterator for Bombs {
    type Item = (BombName, BombValue);

    fn next(&mut self) -> Option<Self::Item> {
        assert_ne!(self.query, "next", "on purpose");
        let name = if self.query == "name" { "" } else { "id" };
        let first = !mem::replace(&mut self.given, true);
        first.then(|| (BombName(name), BombValue(self.query.clone())))
    }
}

impl From<BombName> for String {
    fn from(BombName(name): BombName) -> Self {
        assert_ne!(name, "", "on purpose");
        name.to_owned()
    }
}

impl From<BombValue> for String {
    fn from(value: BombValue) -> Self {
        assert_ne!(value.0, "value", "on purpose");
        let text = value.0.clone();
        mem::forget(value);
        text
    }
}

#[actix_web::test]
async fn labels_that_panic_when_they_are_dropped_cost_no_request_and_no_exemplar() {
    let registry = MetricsRegistry::new();
    let captured = BombValue("captured".to_owned());
    let monitor = DefaultMonitor::builder().exemplars_from(move |response| {
        let _ = &captured;
        let query = response.request().query_string().to_owned();
        Some(Bombs { query, given: false })
    });
    let app = app(monitor, &registry).await;
    for query in ["good", "next", "name"] {
        let uri = format!("/?{query}");
        call_and_read_body(&app, TestRequest::with_uri(&uri).to_request()).await;
    }
    drop(app);
    let ids: Vec<_> = exemplars(&registry)
        .into_iter()
        .map(|(_, labels)| labels)
        .collect();
    assert_eq!(ids, [r#"id="good""#, r#"id="good""#]);
    assert_eq!(registry.value("request_count", &[]), Some(3.0));
}

/// Prometheus refuses a whole scrape for it.
#[actix_web::test]
async fn a_nul_that_a_client_sends_does_not_get_into_an_exemplar() {
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder().exemplars_from(|response| {
        let user = response.request().match_info().get("user")?;
        Some([("user", user.to_owned())])
    });
    let app = App::new()
        .app_data(registry.clone())
        .route("/users/{user}", web::get().to(async || "user"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    for path in ["/users/%00", "/users/a%00b"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
        assert_eq!(exemplars(&registry), []);
    }
    call_and_read_body(&app, TestRequest::with_uri("/users/%01").to_request()).await;
    let labels: Vec<_> = exemplars(&registry)
        .into_iter()
        .map(|(_, labels)| labels)
        .collect();
    assert_eq!(labels, ["user=\"\u{1}\""; 2]);
    assert_eq!(registry.value("request_count", &[]), Some(3.0));
}
