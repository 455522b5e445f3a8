//! What the default monitor can be told, what it says to what it cannot be told, and that options obey each other.

mod support;

use std::{
    collections::HashSet,
    future::{pending, ready},
    pin::pin,
    task::{Context, Poll, Waker},
};

use actix_web::{
    App, HttpResponse,
    body::{BodyStream, MessageBody as _},
    dev::{Service, ServiceResponse},
    http::{Method, StatusCode},
    test::{TestRequest, call_and_read_body, call_service, init_service},
    web::{self, Bytes, ServiceConfig},
};
use futures_util::stream;
use hr_prometheus::{
    DefaultFamily, DefaultMonitor, DefaultMonitorBuilder, HrPrometheus, Label, MetricsRegistry,
    RequestLabels, RequestStart, prometheus_client::encoding::EncodeLabelSet,
};

fn builder() -> DefaultMonitorBuilder {
    DefaultMonitor::builder()
}

fn routes(app: &mut ServiceConfig) {
    app.route("/a", web::get().to(async || "hello"))
        .route("/a", web::post().to(async |body: String| body))
        .route("/b/{id}", web::get().to(HttpResponse::NoContent))
        .route("/created", web::get().to(HttpResponse::Created))
        .route("/unread", web::post().to(HttpResponse::Ok))
        .route("/broken", web::get().to(HttpResponse::InternalServerError))
        .route("/stuck", web::get().to(async || pending::<&'static str>().await))
        .route("/events", web::get().to(events))
        .route(
            "/stream",
            web::get().to(|| ready(HttpResponse::Ok().body(parts()))),
        );
}

fn parts() -> BodyStream<impl stream::Stream<Item = Result<Bytes, std::io::Error>>> {
    BodyStream::new(stream::iter(
        ["one", "three"].map(|part| Ok(Bytes::from_static(part.as_bytes()))),
    ))
}

async fn events() -> HttpResponse {
    HttpResponse::Ok().content_type("text/event-stream").body(parts())
}

/// An application that is measured by what `builder` makes.
async fn app<L: RequestLabels>(
    builder: DefaultMonitorBuilder<L>,
    registry: &MetricsRegistry,
) -> impl Service<
    actix_http::Request,
    Response = ServiceResponse<impl actix_web::body::MessageBody>,
    Error = actix_web::Error,
> {
    let metrics = HrPrometheus::with_builder(builder);
    init_service(
        App::new()
            .app_data(registry.clone())
            .configure(routes)
            .wrap(metrics),
    )
    .await
}

/// The registry after one request for each of `requests`.
async fn recorded<L: RequestLabels>(
    builder: DefaultMonitorBuilder<L>,
    requests: impl IntoIterator<Item = TestRequest>,
) -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    let app = app(builder, &registry).await;
    for request in requests {
        call_and_read_body(&app, request.to_request()).await;
    }
    drop(app);
    registry
}

fn get(path: &str) -> TestRequest {
    TestRequest::with_uri(path)
}

const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// One of each: methods, routes, statuses, bodies.
fn mixed() -> Vec<TestRequest> {
    vec![
        get("/a"),
        get("/a"),
        get("/b/1").insert_header(("traceparent", TRACEPARENT)),
        get("/b/2"),
        get("/created"),
        get("/broken"),
        get("/stream"),
        get("/events"),
        get("/nowhere"),
        TestRequest::post().uri("/a").set_payload("hello"),
        TestRequest::post().uri("/unread").set_payload("hello"),
    ]
}

/// The lines of a scrape that start with `name`, without values of times.
fn samples(registry: &MetricsRegistry, name: &str) -> Vec<String> {
    let scrape = registry.encode().unwrap();
    let lines = scrape.lines().filter(|line| line.starts_with(name));
    lines.map(str::to_owned).collect()
}

#[track_caller]
fn assert_refused(builder: DefaultMonitorBuilder, message: &str) {
    let error = HrPrometheus::with_builder(builder).build().unwrap_err();
    assert_eq!(error.to_string(), message);
}

#[test]
fn buckets_that_make_no_histogram_are_refused() {
    let cases: [(&[f64], &str); 7] = [
        (&[], "there is no bound; give at least one"),
        (
            &[1.0, f64::INFINITY],
            "a bound is not finite; remove it, since the infinite bound is added",
        ),
        (
            &[f64::NAN],
            "a bound is not finite; remove it, since the infinite bound is added",
        ),
        (&[0.0, 1.0], "a bound is not above 0; remove it"),
        (&[-1.0, 1.0], "a bound is not above 0; remove it"),
        (
            &[2.0, 1.0],
            "the bounds are not increasing; sort them, and give each once",
        ),
        (
            &[1.0, 1.0],
            "the bounds are not increasing; sort them, and give each once",
        ),
    ];
    for (bounds, wrong) in cases {
        let bounds = || bounds.iter().copied();
        assert_refused(
            builder().latency_buckets(bounds()),
            &format!("latency_buckets: {wrong}"),
        );
        assert_refused(
            builder().request_body_bytes(bounds()),
            &format!("request_body_bytes: {wrong}"),
        );
        assert_refused(
            builder().response_body_bytes(bounds()),
            &format!("response_body_bytes: {wrong}"),
        );
        assert_refused(
            builder().time_to_head(bounds()),
            &format!("time_to_head: {wrong}"),
        );
    }
}

#[test]
fn names_that_no_metric_can_have_are_refused() {
    for name in ["", "9lives", "two words", "dash-ed", "é", "a{b=\"c\"}", "a\nb"] {
        let wrong = format!(
            "{name:?} is not a valid metric name; \
             use ASCII letters, digits, `_` and `:`, and do not begin with a digit"
        );
        assert_refused(builder().count_name(name), &format!("count_name: {wrong}"));
        assert_refused(builder().latency_name(name), &format!("latency_name: {wrong}"));
        assert_refused(
            builder().in_progress_name(name),
            &format!("in_progress_name: {wrong}"),
        );
        assert_refused(
            builder().rename(DefaultFamily::TimeToHead, name),
            &format!("rename: {wrong}"),
        );
        assert_refused(builder().prefix(name), &format!("prefix: {wrong}"));
    }
    assert_refused(
        builder().count_name("http_requests_total"),
        "count_name: the encoder appends `_total` to \"http_requests_total\"; call it \"http_requests\"",
    );
    assert_refused(
        builder().rename(DefaultFamily::Count, "http_requests_total"),
        "rename: the encoder appends `_total` to \"http_requests_total\"; call it \"http_requests\"",
    );
    assert_refused(
        builder().prefix("api__"),
        "prefix: `_` is added to \"api__\"; give \"api\"",
    );
}

#[test]
fn two_families_of_one_name_are_refused() {
    let clash = |option: &str, name: &str| {
        format!(
            "{option}: two families of this monitor would have samples called {name:?}; \
             choose another name, or rename the other family first"
        )
    };
    assert_refused(
        builder().count_name("request_latency"),
        &clash("count_name", "request_latency"),
    );
    assert_refused(
        builder().latency_name("requests_in_progress"),
        &clash("latency_name", "requests_in_progress"),
    );
    // Samples too: those of a histogram have suffixes, those of a counter one.
    assert_refused(
        builder().in_progress_name("request_latency_sum"),
        &clash("in_progress_name", "request_latency_sum"),
    );
    assert_refused(
        builder().in_progress_name("request_count_total"),
        &clash("in_progress_name", "request_count_total"),
    );
    assert_refused(
        builder().count_name("request_latency_bucket"),
        &clash("count_name", "request_latency_bucket"),
    );
    // Nobody else may have this one: OpenMetrics 1.0.
    assert_refused(
        builder().in_progress_name("request_count_created"),
        &clash("in_progress_name", "request_count_created"),
    );
    // Those that are off by default keep their names.
    assert_refused(
        builder().latency_name("request_body_bytes"),
        &clash("latency_name", "request_body_bytes"),
    );
    assert_refused(
        builder().in_progress_name("oldest_request_in_progress_seconds"),
        &clash("in_progress_name", "oldest_request_in_progress_seconds"),
    );
    assert_refused(
        builder().rename(DefaultFamily::ResponseBodyBytes, "request_body_bytes"),
        &clash("rename", "request_body_bytes"),
    );
}

#[actix_web::test]
async fn every_family_can_be_renamed_and_all_of_them_have_a_prefix() {
    let monitor = builder()
        .prefix("shop")
        .request_body_bytes([1.0])
        .response_body_bytes([1.0])
        .time_to_head([1.0])
        .oldest_in_progress()
        .rename(DefaultFamily::Count, "a")
        .rename(DefaultFamily::Latency, "b")
        .rename(DefaultFamily::RequestBodyBytes, "c")
        .rename(DefaultFamily::ResponseBodyBytes, "d")
        .rename(DefaultFamily::TimeToHead, "e")
        .rename(DefaultFamily::InProgress, "f")
        .rename(DefaultFamily::OldestInProgress, "g");
    let registry = recorded(monitor, [get("/a")]).await;
    assert_eq!(
        samples(&registry, "# HELP"),
        [
            "# HELP shop_a Number of requests received",
            "# HELP shop_b Elapsed time per request",
            "# HELP shop_c Bytes of request bodies that were read",
            "# HELP shop_d Bytes of response bodies that were sent",
            "# HELP shop_e Seconds from arrival to the response head",
            "# HELP shop_f Requests in progress",
            "# HELP shop_g Seconds for which the oldest request in progress has run",
        ],
    );
    for sample in ["a_total", "b_count", "c_count", "d_count", "e_count"] {
        assert_eq!(
            registry.value(&format!("shop_{sample}"), &[]),
            Some(1.0),
            "{sample}"
        );
    }
}

#[test]
fn a_family_can_have_the_name_that_another_gave_up() {
    let monitor = builder()
        .rename(DefaultFamily::TimeToHead, "time_to_head_seconds")
        .latency_name("request_time_to_head_seconds");
    assert!(HrPrometheus::with_builder(monitor).build().is_ok());
}

#[test]
fn labels_that_no_series_can_have_are_refused() {
    for name in ["", "9th", "__name__", "le", "a-b", "ü", "a\"b"] {
        let wrong = format!(
            "{name:?} is not a valid label name; use ASCII letters, digits and `_`, \
             do not begin with a digit or `__`, and do not use `le`, which buckets have"
        );
        let labels = [(name, Label::Path)];
        assert_refused(builder().count_labels(labels), &format!("count_labels: {wrong}"));
        assert_refused(
            builder().latency_labels(labels),
            &format!("latency_labels: {wrong}"),
        );
        assert_refused(
            builder().in_progress_labels(labels),
            &format!("in_progress_labels: {wrong}"),
        );
    }
    assert_refused(
        builder().count_labels([("a", Label::Path), ("a", Label::Method)]),
        "count_labels: two labels are called \"a\"; rename one of them",
    );
    for label in [Label::Status, Label::StatusClass] {
        assert_refused(
            builder().in_progress_labels([("path", Label::Path), ("code", label)]),
            "in_progress_labels: a request in progress has no status for the label \"code\"; \
             use only Label::Method and Label::Path",
        );
    }
}

#[test]
fn each_family_has_the_help_text_and_the_labels_that_are_chosen() {
    let registry = MetricsRegistry::new();
    let further = [
        DefaultFamily::RequestBodyBytes,
        DefaultFamily::ResponseBodyBytes,
        DefaultFamily::TimeToHead,
    ];
    let mut monitor = builder()
        .request_body_bytes([1.0])
        .response_body_bytes([1.0])
        .time_to_head([1.0])
        .oldest_in_progress()
        .latency_labels([("verb", Label::Method)])
        .family_labels(DefaultFamily::OldestInProgress, [])
        .help(DefaultFamily::OldestInProgress, r#"How "old"\ it is"#)
        .start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    for (family, label) in further
        .into_iter()
        .zip([Label::Path, Label::Status, Label::StatusClass])
    {
        monitor = monitor
            .family_labels(family, [("label", label)])
            .help(family, format!("Help of {label:?}"));
    }
    let metrics = HrPrometheus::with_builder(monitor);
    let _metrics = metrics.register_in(&registry).unwrap();
    let shown = |begin| samples(&registry, begin);
    assert_eq!(
        shown("request_latency_count"),
        [r#"request_latency_count{verb="GET"} 0"#]
    );
    assert_eq!(
        shown("request_body_bytes_count"),
        [r#"request_body_bytes_count{label="/"} 0"#]
    );
    assert_eq!(
        shown("response_body_bytes_count"),
        [r#"response_body_bytes_count{label="200"} 0"#]
    );
    assert_eq!(
        shown("request_time_to_head_seconds_count"),
        [r#"request_time_to_head_seconds_count{label="2xx"} 0"#]
    );
    assert_eq!(
        shown("oldest_request_in_progress_seconds"),
        ["oldest_request_in_progress_seconds 0.0"]
    );
    assert_eq!(
        shown("# HELP"),
        [
            "# HELP request_count Number of requests received",
            "# HELP request_latency Elapsed time per request",
            "# HELP request_body_bytes Help of Path",
            "# HELP response_body_bytes Help of Status",
            "# HELP request_time_to_head_seconds Help of StatusClass",
            "# HELP requests_in_progress Requests in progress",
            r#"# HELP oldest_request_in_progress_seconds How \"old\"\\ it is"#,
        ],
    );
}

#[test]
fn help_texts_are_one_line() {
    for text in ["", "two\nlines", "a\ttab"] {
        let monitor = builder().help(DefaultFamily::Count, text);
        assert_refused(
            monitor,
            &format!("help: {text:?} is not a valid help text; write one line without control characters"),
        );
    }
}

#[actix_web::test]
async fn a_builder_that_is_told_nothing_changes_nothing() {
    let built = recorded(builder(), mixed()).await;

    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .configure(routes)
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    for request in mixed() {
        call_and_read_body(&app, request.to_request()).await;
    }

    let without_times = |registry: &MetricsRegistry| {
        let mut lines = samples(registry, "");
        lines.retain(|line| !line.contains("_sum") && !line.contains("_bucket"));
        lines
    };
    assert_eq!(without_times(&built), without_times(&registry));
}

#[actix_web::test]
async fn all_statuses_without_a_class_are_one_series() {
    let registry = MetricsRegistry::new();
    let monitor = builder().count_labels([("class", Label::StatusClass)]);
    let metrics = HrPrometheus::with_builder(monitor);
    let answer = async |status: web::Path<u16>| HttpResponse::new(StatusCode::from_u16(*status).unwrap());
    let app = App::new()
        .app_data(registry.clone())
        .route("/{status}", web::get().to(answer));
    let app = init_service(app.wrap(metrics)).await;
    for path in ["/200", "/600", "/799", "/999"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    assert_eq!(
        samples(&registry, "request_count_total"),
        [
            r#"request_count_total{class="2xx"} 1"#,
            r#"request_count_total{class="_OTHER"} 3"#,
        ],
    );
}

#[actix_web::test]
async fn series_are_aggregated_over_the_labels_that_are_not_chosen() {
    let count = |labels: Vec<(&'static str, Label)>| async move {
        let registry = recorded(builder().count_labels(labels), mixed()).await;
        samples(&registry, "request_count_total")
    };
    assert_eq!(count(vec![]).await, ["request_count_total 11"]);
    assert_eq!(
        count(vec![("verb", Label::Method)]).await,
        [
            r#"request_count_total{verb="GET"} 9"#,
            r#"request_count_total{verb="POST"} 2"#
        ],
    );
    assert_eq!(
        count(vec![("class", Label::StatusClass)]).await,
        [
            r#"request_count_total{class="2xx"} 9"#,
            r#"request_count_total{class="4xx"} 1"#,
            r#"request_count_total{class="5xx"} 1"#,
        ],
    );
    assert_eq!(
        count(vec![("code", Label::Status), ("class", Label::StatusClass)]).await,
        [
            r#"request_count_total{code="200",class="2xx"} 6"#,
            r#"request_count_total{code="201",class="2xx"} 1"#,
            r#"request_count_total{code="204",class="2xx"} 2"#,
            r#"request_count_total{code="404",class="4xx"} 1"#,
            r#"request_count_total{code="500",class="5xx"} 1"#,
        ],
    );
    assert_eq!(
        count(vec![("path", Label::Path)]).await,
        [
            r#"request_count_total{path="/a"} 3"#,
            r#"request_count_total{path="/b/{id}"} 2"#,
            r#"request_count_total{path="/broken"} 1"#,
            r#"request_count_total{path="/created"} 1"#,
            r#"request_count_total{path="/events"} 1"#,
            r#"request_count_total{path="/stream"} 1"#,
            r#"request_count_total{path="/unread"} 1"#,
            r#"request_count_total{path="unmatched"} 1"#,
        ],
    );
}

#[actix_web::test]
async fn a_histogram_without_path_has_the_requests_of_all_routes() {
    let monitor = builder().latency_buckets([1e9]);
    let monitor = monitor.latency_labels([("class", Label::StatusClass)]);
    let registry = recorded(monitor, mixed()).await;
    let mut lines = samples(&registry, "request_latency_");
    lines.retain(|line| !line.contains("_sum"));
    assert_eq!(
        lines,
        [
            r#"request_latency_count{class="2xx"} 9"#,
            r#"request_latency_bucket{le="1e+09",class="2xx"} 9"#,
            r#"request_latency_bucket{le="+Inf",class="2xx"} 9"#,
            r#"request_latency_count{class="4xx"} 1"#,
            r#"request_latency_bucket{le="1e+09",class="4xx"} 1"#,
            r#"request_latency_bucket{le="+Inf",class="4xx"} 1"#,
            r#"request_latency_count{class="5xx"} 1"#,
            r#"request_latency_bucket{le="1e+09",class="5xx"} 1"#,
            r#"request_latency_bucket{le="+Inf",class="5xx"} 1"#,
        ],
    );
}

#[actix_web::test]
async fn request_bodies_are_observed_as_far_as_they_were_read() {
    let monitor = builder().request_body_bytes([4.0, 5.0]);
    let registry = recorded(monitor, mixed()).await;
    let value = |name: &str, labels: &[(&str, &str)]| registry.value(name, labels);

    assert_eq!(value("request_body_bytes_sum", &[]), Some(5.0));
    assert_eq!(value("request_body_bytes_count", &[]), Some(11.0));
    let posted = [("method", "POST"), ("path", "/a")];
    let bucket = |le| value("request_body_bytes_bucket", &[posted[0], posted[1], ("le", le)]);
    assert_eq!(
        [bucket("4.0"), bucket("5.0"), bucket("+Inf")],
        [Some(0.0), Some(1.0), Some(1.0)]
    );
    assert_eq!(value("request_body_bytes_sum", &[("path", "/unread")]), Some(0.0));
    assert_eq!(
        value("request_body_bytes_count", &[("path", "/unread")]),
        Some(1.0)
    );
}

#[actix_web::test]
async fn response_bodies_are_observed_as_they_passed() {
    let monitor = builder().response_body_bytes([4.0, 8.0]);
    let registry = MetricsRegistry::new();
    let app = app(monitor, &registry).await;
    let sum = |path| registry.value("response_body_bytes_sum", &[("path", path)]);

    call_and_read_body(&app, get("/stream").to_request()).await;
    assert_eq!(sum("/stream"), Some(8.0));

    // A client that leaves after the first part.
    {
        let mut body = pin!(call_service(&app, get("/stream").to_request()).await.into_body());
        let chunk = body.as_mut().poll_next(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(chunk, Poll::Ready(Some(Ok(bytes))) if bytes == "one"));
    }
    assert_eq!(sum("/stream"), Some(11.0));

    // Counted at its head, observed at its end.
    let events = call_service(&app, get("/events").to_request()).await;
    assert_eq!(registry.value("request_count", &[("path", "/events")]), Some(1.0));
    assert_eq!(
        registry.value("response_body_bytes_count", &[("path", "/events")]),
        Some(0.0)
    );
    actix_web::test::read_body(events).await;
    assert_eq!(
        registry.value("response_body_bytes_count", &[("path", "/events")]),
        Some(1.0)
    );
    assert_eq!(sum("/events"), Some(8.0));
    assert_eq!(registry.value("request_count", &[("path", "/events")]), Some(1.0));
}

#[actix_web::test]
async fn the_time_to_the_head_is_observed_where_there_was_one() {
    let monitor = builder().time_to_head([1e9]);
    let registry = MetricsRegistry::new();
    let app = app(monitor, &registry).await;

    call_and_read_body(&app, get("/stream").to_request()).await;
    call_and_read_body(&app, get("/events").to_request()).await;
    let mut stuck = Box::pin(app.call(get("/stuck").to_request()));
    assert!(
        stuck
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    drop(stuck);

    let count = |path| registry.value("request_time_to_head_seconds_count", &[("path", path)]);
    assert_eq!(
        [count("/stream"), count("/events"), count("/stuck")],
        [Some(1.0), Some(1.0), Some(0.0)]
    );
    assert_eq!(
        registry.value("request_count", &[("path", "/stuck"), ("status", "499")]),
        Some(1.0)
    );
}

#[actix_web::test]
async fn the_oldest_request_in_progress_has_an_age_while_it_runs() {
    let registry = MetricsRegistry::new();
    let app = app(builder().oldest_in_progress(), &registry).await;
    let age = |path| {
        registry.value(
            "oldest_request_in_progress_seconds",
            &[("method", "GET"), ("path", path)],
        )
    };
    call_and_read_body(&app, get("/a").to_request()).await;

    let context = &mut Context::from_waker(Waker::noop());
    let mut first = Box::pin(app.call(get("/stuck").to_request()));
    assert!(first.as_mut().poll(context).is_pending());
    let before = age("/stuck").unwrap();
    assert!(before > 0.0);
    let mut second = Box::pin(app.call(get("/stuck").to_request()));
    assert!(second.as_mut().poll(context).is_pending());
    assert!(age("/stuck").unwrap() > before, "the first is the oldest");
    assert_eq!(age("/a"), Some(0.0));

    drop((first, second));
    assert_eq!(age("/stuck"), Some(0.0));
}

#[actix_web::test]
async fn gauges_of_requests_in_progress_can_have_fewer_labels() {
    let registry = MetricsRegistry::new();
    let monitor = builder()
        .in_progress_labels([("route", Label::Path)])
        .oldest_in_progress();
    let app = app(monitor, &registry).await;
    let context = &mut Context::from_waker(Waker::noop());
    for method in [Method::GET, Method::POST] {
        call_and_read_body(&app, get("/a").method(method).to_request()).await;
    }
    let mut stuck = Box::pin(app.call(get("/stuck").to_request()));
    assert!(stuck.as_mut().poll(context).is_pending());

    assert_eq!(
        samples(&registry, "requests_in_progress"),
        [
            r#"requests_in_progress{route="/a"} 0"#,
            r#"requests_in_progress{route="/stuck"} 1"#
        ],
    );
    assert_eq!(samples(&registry, "oldest_request_in_progress_seconds{").len(), 2);
}

#[actix_web::test]
async fn series_can_be_there_before_their_first_request() {
    let zeros = [
        (Method::GET, "/a", StatusCode::OK),
        (Method::GET, "/a", StatusCode::INTERNAL_SERVER_ERROR),
    ];
    let registry = MetricsRegistry::new();
    let app = app(builder().start_at_zero(zeros), &registry).await;
    let registered = || samples(&registry, "request_count_total");
    // Registered by the first request of all, which has not ended here.
    drop(Box::pin(app.call(get("/created").to_request())));
    let counts = registered();
    assert_eq!(
        counts[0],
        r#"request_count_total{method="GET",path="/a",status="200"} 0"#
    );
    assert_eq!(
        counts[1],
        r#"request_count_total{method="GET",path="/a",status="500"} 0"#
    );
    assert_eq!(
        registry.value("request_latency_count", &[("path", "/a")]),
        Some(0.0)
    );

    call_and_read_body(&app, get("/a").to_request()).await;
    let counts = registered();
    assert_eq!(
        counts[0],
        r#"request_count_total{method="GET",path="/a",status="200"} 1"#
    );
    assert_eq!(
        counts[1],
        r#"request_count_total{method="GET",path="/a",status="500"} 0"#
    );
}

#[actix_web::test]
async fn what_a_worker_that_stopped_had_observed_stays() {
    let registry = MetricsRegistry::new();
    let monitor = builder().response_body_bytes([4.0]).time_to_head([1.0]);
    for _ in 0..3 {
        let app = app(monitor.clone(), &registry).await;
        call_and_read_body(&app, get("/a").to_request()).await;
    }
    assert_eq!(registry.value("response_body_bytes_sum", &[]), Some(15.0));
    assert_eq!(
        registry.value("response_body_bytes_bucket", &[("le", "4.0")]),
        Some(0.0)
    );
    assert_eq!(
        registry.value("request_time_to_head_seconds_count", &[]),
        Some(3.0)
    );
    assert_eq!(registry.value("request_count", &[]), Some(3.0));
}

type Change = fn(DefaultMonitorBuilder) -> DefaultMonitorBuilder;
type Shown = fn(&MetricsRegistry) -> bool;

/// Options, each with what shows it in the scrape after [`mixed`], whatever else is chosen.
const OPTIONS: [(&str, Change, Shown); 16] = [
    (
        "latency_buckets",
        |b| b.latency_buckets([1e9]),
        |r| !has(r, "_latency") && !has(r, "duration_seconds_count") || has(r, r#"le="1e+09""#),
    ),
    (
        "count_name",
        |b| b.count_name("hits"),
        |r| !has(r, "request_count"),
    ),
    (
        "latency_name",
        |b| b.latency_name("duration_seconds"),
        |r| !has(r, "request_latency"),
    ),
    (
        "in_progress_name",
        |b| b.in_progress_name("busy"),
        |r| !has(r, "requests_in_progress"),
    ),
    (
        "count_labels",
        |b| b.count_labels([("code", Label::StatusClass)]),
        |r| !has(r, "_total{") || has(r, r#"_total{code="2xx"} 9"#),
    ),
    (
        "latency_labels",
        |b| b.latency_labels([("verb", Label::Method)]),
        |r| !has(r, "_count{") || has(r, r#"_count{verb="GET"} 9"#),
    ),
    (
        "in_progress_labels",
        |b| b.in_progress_labels([("verb", Label::Method)]),
        |r| !has(r, "# TYPE requests_in_progress") && !has(r, "# TYPE busy") || has(r, r#"{verb="POST"} 0"#),
    ),
    ("without_count", |b| b.without_count(), |r| !has(r, "_total")),
    (
        "without_latency",
        |b| b.without_latency(),
        |r| !has(r, "request_latency") && !has(r, "duration_seconds"),
    ),
    (
        "without_in_progress",
        |b| b.without_in_progress(),
        |r| !has(r, "# TYPE requests_in_progress") && !has(r, "# TYPE busy"),
    ),
    (
        "request_body_bytes",
        |b| b.request_body_bytes([5.0]),
        |r| r.value("request_body_bytes_count", &[]) == Some(11.0),
    ),
    (
        "response_body_bytes",
        |b| b.response_body_bytes([5.0]),
        |r| r.value("response_body_bytes_count", &[]) == Some(11.0),
    ),
    (
        "time_to_head",
        |b| b.time_to_head([5.0]),
        |r| r.value("request_time_to_head_seconds_count", &[]) == Some(11.0),
    ),
    (
        "oldest_in_progress",
        |b| b.oldest_in_progress(),
        |r| r.value("oldest_request_in_progress_seconds", &[]) == Some(0.0),
    ),
    (
        "start_at_zero",
        |b| b.start_at_zero([(Method::DELETE, "/zero", StatusCode::CONFLICT)]),
        |r| !has(r, "path=") || has(r, "/zero"),
    ),
    (
        "exemplars_from_traceparent",
        |b| b.exemplars_from_traceparent(),
        |r| {
            !has(r, "_total{") && !has(r, "# TYPE request_latency") && !has(r, "# TYPE duration")
                || has(r, "trace_id=")
        },
    ),
];

fn has(registry: &MetricsRegistry, text: &str) -> bool {
    registry.encode().unwrap().contains(text)
}

#[actix_web::test]
async fn every_option_obeys_every_other() {
    for (first, change_first, first_shown) in OPTIONS {
        for (second, change_second, second_shown) in OPTIONS {
            let both = change_second(change_first(builder()));
            let registry = recorded(both, mixed()).await;
            let scrape = registry.encode().unwrap();
            assert!(
                first_shown(&registry),
                "{first} does not hold beside {second} in\n{scrape}"
            );
            assert!(
                second_shown(&registry),
                "{second} does not hold beside {first} in\n{scrape}"
            );

            let mut series = HashSet::new();
            let samples = scrape.lines().filter_map(|line| line.rsplit_once(' '));
            let twice = samples
                .map(|(series, _)| series)
                .find(|&found| !series.insert(found));
            assert_eq!(twice, None, "{first} and {second}");
            let sum = |names: [&str; 2]| names.iter().find_map(|name| registry.value(name, &[]));
            let counted = sum(["request_count_total", "hits_total"]);
            let timed = sum(["request_latency_count", "duration_seconds_count"]);
            assert!(
                [None, Some(11.0)].contains(&counted),
                "{first}, {second}: {counted:?}"
            );
            assert!(
                [None, Some(11.0)].contains(&timed),
                "{first}, {second}: {timed:?}"
            );
        }
    }
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

#[actix_web::test]
async fn custom_labels_obey_every_option() {
    for (option, change, _) in OPTIONS {
        let monitor = change(builder()).labels::<Query>();
        let registry = recorded(monitor, mixed()).await;
        let scrape = registry.encode().unwrap();
        let lacks = |line: &&str| {
            ["_total{", "_bucket{", "_count{", "_sum{"]
                .iter()
                .any(|suffix| line.contains(suffix))
                && !line.contains("query=")
                && !line.contains("hr_prometheus")
                && !line.contains("/zero")
        };
        assert_eq!(scrape.lines().find(lacks), None, "{option}");
        let gauges = scrape
            .lines()
            .filter(|line| line.contains("in_progress") || line.starts_with("busy"));
        assert_eq!(
            gauges.filter(|line| line.contains("query=")).count(),
            0,
            "{option}"
        );
    }
}

#[actix_web::test]
async fn with_every_option_on_a_client_makes_no_series_over_the_limit() {
    let monitor = OPTIONS.iter().filter(|(name, ..)| !name.starts_with("without_"));
    let monitor = monitor.fold(builder(), |monitor, (_, change, _)| change(monitor));
    let monitor = monitor.labels::<Query>().max_label_sets(10);
    let registry = MetricsRegistry::new();
    let app = app(monitor, &registry).await;
    let send = async |numbers: std::ops::Range<usize>| {
        for number in numbers {
            let request = TestRequest::with_uri(&format!("/invented{number}?{number}"))
                .method(Method::from_bytes(format!("INVENTED{number}").as_bytes()).unwrap())
                .insert_header(("host", format!("invented{number}")))
                .insert_header(("traceparent", format!("00-{number:032x}-{number:016x}-01")));
            call_and_read_body(&app, request.to_request()).await;
        }
        registry.encode().unwrap().lines().count()
    };
    let before = send(1..100).await;
    assert_eq!(send(100..3_000).await, before);
    assert_eq!(registry.value("hits_total", &[]), Some(2_999.0));
}
