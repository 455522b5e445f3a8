//! Labels of one's own on the default monitor: where they are, their bound, and what becomes of a request whose labels
//! cannot be made.

mod support;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Waker},
};

use actix_web::{
    App, HttpMessage as _, HttpRequest, HttpResponse,
    dev::Service as _,
    http::{Method, StatusCode},
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart, ResponseStart,
    prometheus_client::{
        encoding::{EncodeLabelSet, LabelSetEncoder},
        registry::Registry,
    },
};

use support::{assert_balanced, capture_log, logged};

/// What is put into the extensions of a request: the query.
struct Found(String);

async fn handler(request: HttpRequest) -> HttpResponse {
    let query = request.query_string().to_owned();
    if query == "stuck" {
        std::future::pending::<()>().await;
    }
    request.extensions_mut().insert(Found(query));
    HttpResponse::Ok().body("hello")
}

/// Sends requests for `/` with these queries, measured with labels `L`, at most `most` sets of them.
async fn record_at_most<L: RequestLabels>(
    registry: &MetricsRegistry,
    most: Option<usize>,
    queries: impl IntoIterator<Item = impl fmt::Display>,
) {
    let mut monitor = DefaultMonitor::builder().labels::<L>();
    if let Some(most) = most {
        monitor = monitor.max_label_sets(most);
    }
    let metrics = HrPrometheus::with_builder(monitor);
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(handler))
        .wrap(metrics);
    let app = init_service(app).await;
    for query in queries {
        let request = TestRequest::with_uri(&format!("/?{query}")).to_request();
        call_and_read_body(&app, request).await;
    }
}

async fn record<L: RequestLabels>(queries: impl IntoIterator<Item = impl fmt::Display>) -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    record_at_most::<L>(&registry, None, queries).await;
    assert_balanced(&registry);
    registry
}

/// The samples whose name begins with `name`.
fn samples(registry: &MetricsRegistry, name: &str) -> Vec<String> {
    let scrape = registry.encode().unwrap();
    let lines = scrape.lines().filter(|line| line.starts_with(name));
    lines.map(str::to_owned).collect()
}

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

/// One label known at arrival, one at the response.
#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct Stages {
    arrival: &'static str,
    response: Option<String>,
}

impl RequestLabels for Stages {
    fn at_arrival(_start: &RequestStart<'_>) -> Self {
        Self {
            arrival: "seen",
            response: None,
        }
    }

    fn at_response(&mut self, response: &ResponseStart<'_>) {
        let extensions = response.request().extensions();
        self.response = extensions.get().map(|Found(query)| query.clone());
    }
}

#[actix_web::test]
async fn a_value_of_more_than_128_characters_is_over_the_limit() {
    let registry = MetricsRegistry::new();
    let (longest, longer) = ("x".repeat(128), "x".repeat(129));
    record_at_most::<Query>(&registry, None, [&longest, &longer]).await;

    let count = |query: &str| registry.value("request_count", &[("query", query)]);
    assert_eq!(count(&longest), Some(1.0));
    assert_eq!(count(&longer), None);
    assert_eq!(count("_OTHER"), Some(1.0));
}

#[actix_web::test]
async fn they_are_on_counter_and_histogram_and_never_on_the_gauge() {
    let registry = record::<Query>(["a"]).await;
    assert_eq!(
        samples(&registry, "request_count"),
        [r#"request_count_total{method="GET",path="/",status="200",query="a"} 1"#],
    );
    assert_eq!(
        samples(&registry, "request_latency_count"),
        [r#"request_latency_count{method="GET",path="/",query="a"} 1"#],
    );
    assert_eq!(
        samples(&registry, "request_latency_bucket{le=\"+Inf\""),
        [r#"request_latency_bucket{le="+Inf",method="GET",path="/",query="a"} 1"#],
    );
    assert_eq!(
        samples(&registry, "requests_in_progress"),
        [r#"requests_in_progress{method="GET",path="/"} 0"#]
    );
}

#[actix_web::test]
async fn they_are_read_again_at_the_response() {
    let registry = record::<Stages>(["x"]).await;
    assert_eq!(
        registry.value("request_count", &[("arrival", "seen"), ("response", "x")]),
        Some(1.0)
    );
}

#[actix_web::test]
async fn a_long_lived_response_has_them_at_its_head() {
    async fn events(request: HttpRequest) -> HttpResponse {
        request.extensions_mut().insert(Found("found".to_owned()));
        let pending = futures_util::stream::pending::<Result<web::Bytes, std::io::Error>>();
        HttpResponse::Ok()
            .content_type("text/event-stream")
            .streaming(pending)
    }

    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(events))
        .wrap(HrPrometheus::with_monitor::<DefaultMonitor<Stages>>());
    let app = init_service(app).await;
    let response = app.call(TestRequest::default().to_request()).await.unwrap();
    let labels = [("status", "200"), ("arrival", "seen"), ("response", "found")];
    assert_eq!(registry.value("request_count", &labels), Some(1.0));

    drop(response);
    assert_eq!(registry.value("request_count", &[]), Some(1.0));
    assert_balanced(&registry);
}

#[actix_web::test]
async fn without_a_response_those_of_the_arrival_count() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(handler))
        .wrap(HrPrometheus::with_monitor::<DefaultMonitor<Stages>>());
    let app = init_service(app).await;
    let mut stuck = Box::pin(app.call(TestRequest::with_uri("/?stuck").to_request()));
    assert!(
        stuck
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    drop(stuck);
    assert_eq!(
        registry.value(
            "request_count",
            &[("status", "499"), ("arrival", "seen"), ("response", "")]
        ),
        Some(1.0),
    );
    assert_balanced(&registry);
}

#[actix_web::test]
async fn series_are_sorted_by_their_text_whichever_worker_saw_them_first() {
    let registry = MetricsRegistry::new();
    // One closure and so one monitor, but two workers.
    for queries in [&["c", "a"][..], &["b", "a", "d"]] {
        record_at_most::<Query>(&registry, None, queries).await;
    }
    assert_eq!(
        samples(&registry, "request_count"),
        [
            r#"request_count_total{method="GET",path="/",status="200",query="a"} 2"#,
            r#"request_count_total{method="GET",path="/",status="200",query="b"} 1"#,
            r#"request_count_total{method="GET",path="/",status="200",query="c"} 1"#,
            r#"request_count_total{method="GET",path="/",status="200",query="d"} 1"#,
        ],
    );
    assert_eq!(samples(&registry, "request_latency_count").len(), 4);
}

#[actix_web::test]
async fn any_text_can_be_a_value() {
    #[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
    struct Hell {
        text: &'static str,
        more: &'static str,
    }

    const TEXT: &str = "\" \\ \n {a=\"b\"} } 1 # ü \r \0 \u{2028}";

    impl RequestLabels for Hell {
        fn at_arrival(_start: &RequestStart<'_>) -> Self {
            Self {
                text: TEXT,
                more: "sample{",
            }
        }
    }

    let registry = record::<Hell>([""]).await;
    assert_eq!(
        registry.value("request_count", &[("text", TEXT), ("more", "sample{")]),
        Some(1.0)
    );
}

#[actix_web::test]
async fn labels_without_a_value_make_the_series_of_those_that_have_none() {
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder()
        .start_at_zero([(Method::GET, "/", StatusCode::OK)])
        .labels::<Query>();
    let metrics = HrPrometheus::with_builder(monitor);
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(handler))
        .wrap(metrics);
    let app = init_service(app).await;
    for path in ["/", "/?x"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    assert_eq!(
        samples(&registry, "request_count"),
        [
            r#"request_count_total{method="GET",path="/",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/",status="200",query="x"} 1"#,
        ],
    );
}

#[actix_web::test]
async fn labels_are_one_set_in_any_order() {
    #[derive(Hash, PartialEq, Eq)]
    struct AnyOrder {
        reversed: bool,
    }

    impl EncodeLabelSet for AnyOrder {
        fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
            let mut labels = [("a", "1"), ("b", "2")];
            if self.reversed {
                labels.reverse();
            }
            labels.encode(encoder)
        }
    }

    impl RequestLabels for AnyOrder {
        fn at_arrival(start: &RequestStart<'_>) -> Self {
            Self {
                reversed: start.request().query_string() == "reversed",
            }
        }
    }

    let registry = record::<AnyOrder>(["", "reversed"]).await;
    assert_eq!(
        samples(&registry, "request_count"),
        [r#"request_count_total{method="GET",path="/",status="200",a="1",b="2"} 2"#],
    );
}

#[actix_web::test]
async fn what_a_client_sends_is_not_kept_where_its_label_is_the_same() {
    static KEPT: AtomicUsize = AtomicUsize::new(0);

    /// Tells queries apart, but not in its label.
    #[derive(Hash, PartialEq, Eq)]
    struct Length(String);

    impl Drop for Length {
        fn drop(&mut self) {
            KEPT.fetch_sub(1, Ordering::Relaxed);
        }
    }

    impl EncodeLabelSet for Length {
        fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
            [("length", self.0.len().to_string())].encode(encoder)
        }
    }

    impl RequestLabels for Length {
        fn at_arrival(start: &RequestStart<'_>) -> Self {
            KEPT.fetch_add(1, Ordering::Relaxed);
            Self(start.request().query_string().to_owned())
        }
    }

    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder().labels::<Length>();
    let metrics = HrPrometheus::with_builder(monitor);
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(handler))
        .wrap(metrics);
    let app = init_service(app).await;
    for number in 1_000..6_000 {
        let request = TestRequest::with_uri(&format!("/?{number}")).to_request();
        call_and_read_body(&app, request).await;
    }
    assert_eq!(registry.value("request_count", &[("length", "4")]), Some(5_000.0));
    let kept = KEPT.load(Ordering::Relaxed);
    assert!(kept < 1_100, "{kept}");
}

#[actix_web::test]
async fn what_was_admitted_stays_admitted_in_every_worker() {
    let registry = MetricsRegistry::new();
    for _ in 0..2 {
        record_at_most::<Query>(&registry, Some(2), ["a", "b", "c", "a"]).await;
    }
    let count = |query| registry.value("request_count", &[("query", query)]);
    assert_eq!(
        [count("a"), count("b"), count("c"), count("_OTHER")],
        [Some(4.0), Some(2.0), None, Some(2.0)]
    );
}

#[actix_web::test]
async fn without_custom_labels_no_limit_is_shown() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::get().to_request()).await;
    assert!(!registry.encode().unwrap().contains("hr_prometheus"));
}

#[actix_web::test]
async fn names_that_would_break_the_scrape_are_omitted() {
    #[derive(Hash, PartialEq, Eq)]
    struct Bad;

    impl EncodeLabelSet for Bad {
        fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
            let names = [
                "le", "path", "status", "__x", "9", "a-b", "", "good", "good", "x}",
            ];
            names.map(|name| (name, "value")).encode(encoder)
        }
    }

    impl RequestLabels for Bad {
        fn at_arrival(_start: &RequestStart<'_>) -> Self {
            Self
        }
    }

    capture_log();
    let registry = record::<Bad>(["", ""]).await;
    assert_eq!(
        samples(&registry, "request_count"),
        [r#"request_count_total{method="GET",path="/",status="200",good="value"} 2"#],
    );
    assert_eq!(logged("whose name is invalid or taken: \"le\"").len(), 1);
}

/// The names of custom labels are known only when they are made, so they are compared at the scrape.
#[actix_web::test]
async fn a_series_with_a_label_that_its_registry_has_too_is_omitted() {
    capture_log();
    let labels = [("query".into(), "all".into())];
    let registry = MetricsRegistry::from(Registry::with_labels(labels.into_iter()));
    record_at_most::<Query>(&registry, None, ["one"]).await;
    assert_eq!(samples(&registry, "request_count"), [""; 0]);
    assert_eq!(
        logged("the family request_count has the label query twice;").len(),
        1
    );
}

/// Goes wrong where the query says.
#[derive(Debug)]
struct Faulty(String);

impl Faulty {
    fn check(&self, place: &str) {
        assert_ne!(self.0, place, "wrong");
    }
}

impl PartialEq for Faulty {
    fn eq(&self, other: &Self) -> bool {
        self.check("eq");
        self.0 == other.0
    }
}

impl Eq for Faulty {}

impl Hash for Faulty {
    fn hash<H: Hasher>(&self, _state: &mut H) {
        self.check("hash");
    }
}

impl EncodeLabelSet for Faulty {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.check("encode");
        if self.0 == "error" {
            return Err(fmt::Error);
        }
        [("query", self.0.as_str())].encode(encoder)
    }
}

impl RequestLabels for Faulty {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        let labels = Self(start.request().query_string().to_owned());
        labels.check("arrival");
        labels
    }

    fn at_response(&mut self, _response: &ResponseStart<'_>) {
        self.check("response");
    }
}

/// The same, and panics when it is dropped.
#[derive(PartialEq, Eq, Hash)]
struct FaultyBomb(Faulty);

impl Drop for FaultyBomb {
    fn drop(&mut self) {
        panic!("labels that are dropped");
    }
}

impl EncodeLabelSet for FaultyBomb {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        self.0.encode(encoder)
    }
}

impl RequestLabels for FaultyBomb {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        Self(Faulty::at_arrival(start))
    }

    fn at_response(&mut self, response: &ResponseStart<'_>) {
        self.0.at_response(response);
    }
}

/// Asserts that only those requests lack their labels of which something went wrong.
async fn assert_counted_without_them<L: RequestLabels>() {
    for fault in ["arrival", "response", "hash", "eq", "encode", "error"] {
        let registry = record::<L>(["good", fault, "good"]).await;
        assert_eq!(
            samples(&registry, "request_count"),
            [
                r#"request_count_total{method="GET",path="/",status="200"} 1"#,
                r#"request_count_total{method="GET",path="/",status="200",query="good"} 2"#,
            ],
            "{fault}",
        );
    }
}

#[actix_web::test]
async fn a_request_whose_labels_go_wrong_is_counted_without_them() {
    capture_log();
    assert_counted_without_them::<Faulty>().await;
    assert_counted_without_them::<FaultyBomb>().await;
    // Once for each monitor.
    assert_eq!(
        logged("custom labels panicked:").len() + logged("custom labels could not be encoded").len(),
        12
    );
}

static COMPARISONS: AtomicUsize = AtomicUsize::new(0);

/// Counts how often it is compared.
#[derive(EncodeLabelSet)]
struct Compared {
    kind: &'static str,
}

impl Hash for Compared {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.kind.hash(state);
    }
}

impl PartialEq for Compared {
    fn eq(&self, other: &Self) -> bool {
        COMPARISONS.fetch_add(1, Ordering::Relaxed);
        self.kind == other.kind
    }
}

impl Eq for Compared {}

impl RequestLabels for Compared {
    fn at_arrival(_: &RequestStart<'_>) -> Self {
        Self { kind: "known" }
    }
}

/// So many that the hashes of some stand side by side.
#[actix_web::test]
async fn labels_of_two_routes_are_never_compared() {
    const ROUTES: usize = 2_000;

    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .configure(|app| {
            for route in 0..ROUTES {
                app.route(&format!("/{route}"), web::get().to(async || "hello"));
            }
        })
        .wrap(HrPrometheus::with_monitor::<DefaultMonitor<Compared>>());
    let app = init_service(app).await;
    for route in 0..ROUTES {
        let request = TestRequest::with_uri(&format!("/{route}")).to_request();
        call_and_read_body(&app, request).await;
    }
    assert_eq!(
        registry.value("request_count_total", &[("kind", "known")]),
        Some(2_000.0)
    );
    assert_eq!(COMPARISONS.load(Ordering::Relaxed), 0);
}
