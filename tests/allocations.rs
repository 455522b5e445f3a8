//! What a request costs in allocations, and that no client makes a worker grow.

use std::{
    collections::BTreeSet,
    pin::pin,
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_http::Request;
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{Response, Service, ServiceResponse},
    http::{Method, header},
    test::{self, TestRequest},
    web::{self, ServiceConfig},
};
use allocation_counter::measure;
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, Monitors, OtelMonitor, RequestLabels, RequestStart,
    prometheus_client::encoding::EncodeLabelSet,
};

/// Requests before what is measured: they fill the pools of actix-web and make the series.
const WARM_UP: usize = 200;

/// Requests that are measured.
const MEASURED: usize = 1000;

fn configure(app: &mut ServiceConfig) {
    app.route("/static", web::get().to(async || "hello"))
        .service(
            web::scope("/api")
                .route("/static", web::get().to(async || "hello"))
                .route("/items/{id}", web::get().to(async || "hello")),
        )
        .route("/users/{id}", web::get().to(async || "hello"))
        .route("/pairs/{left}/{right}", web::get().to(async || "hello"))
        .route("/numbers/{number:[0-9]+}", web::get().to(async || "hello"))
        .route("/files/{tail}*", web::get().to(async || "hello"))
        .service(web::resource(["/first", "/second/{id}"]).to(async || "hello"));
}

/// Serves one request as the server does: polls the future, drops the `HttpRequest`, polls the body to its end.
fn drive<S, B>(app: &S, request: Request)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let mut context = Context::from_waker(Waker::noop());
    let mut future = pin!(app.call(request));
    let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut context) else {
        panic!("the handler is ready at once");
    };
    let (_, body) = Response::<B>::from(response).into_parts();
    let mut body = pin!(body);
    while let Poll::Ready(Some(chunk)) = body.as_mut().poll_next(&mut context) {
        assert!(chunk.is_ok());
    }
}

/// The allocations of many of these requests, each with a number of its own.
fn allocations<S, B>(app: &S, request: &dyn Fn(usize) -> TestRequest) -> u64
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let requests = |count: usize| -> Vec<_> {
        let mut requests: Vec<_> = (0..count).map(|number| request(number).to_request()).collect();
        for request in &mut requests {
            // As the server gives a request without a body.
            request.take_payload();
        }
        requests
    };
    let drive_all = |requests: Vec<Request>| requests.into_iter().for_each(|request| drive(app, request));
    drive_all(requests(WARM_UP));
    let measured = requests(MEASURED);
    measure(|| drive_all(measured)).count_total
}

/// Asserts that these requests allocate nothing more than in the same application without the middleware.
async fn assert_adds_nothing_with<M: Monitors>(
    metrics: HrPrometheus<M>,
    request: impl Fn(usize) -> TestRequest,
) {
    let without = test::init_service(App::new().configure(configure)).await;
    let app = App::new().app_data(MetricsRegistry::new()).configure(configure);
    let with = test::init_service(app.wrap(metrics)).await;

    let without = allocations(&without, &request);
    // A request that the machine delays is the first of a bucket, whose exemplar needs memory of its own.
    let with = (0..5).map(|_| allocations(&with, &request)).min();
    assert_eq!(with, Some(without), "{:?}", request(0).to_request().path());
}

/// The same for distinct paths that begin with `path`, measured by default.
async fn assert_adds_nothing(path: &str) {
    let request = |number: usize| TestRequest::with_uri(&format!("{path}{number}"));
    assert_adds_nothing_with(HrPrometheus::default(), request).await;
}

/// The same for one path after the other, over and over.
async fn assert_adds_nothing_to_users<M: Monitors>(metrics: HrPrometheus<M>) {
    let request = |number: usize| TestRequest::with_uri(&format!("/users/{}", number % 10));
    assert_adds_nothing_with(metrics, request).await;
}

#[actix_web::test]
async fn a_static_route_allocates_nothing_more() {
    assert_adds_nothing("/static?").await;
    assert_adds_nothing("/api/static?").await;
}

#[actix_web::test]
async fn a_path_that_no_route_matches_allocates_nothing_more() {
    assert_adds_nothing("/nowhere/").await;
}

#[actix_web::test]
async fn a_path_that_no_route_of_a_scope_matches_allocates_nothing_more() {
    assert_adds_nothing("/api/nowhere/").await;
}

#[actix_web::test]
async fn a_route_with_parameters_allocates_nothing_more() {
    for path in ["/users/", "/api/items/", "/pairs/a/", "/numbers/"] {
        assert_adds_nothing(path).await;
    }
}

#[actix_web::test]
async fn a_tail_allocates_nothing_more() {
    assert_adds_nothing("/files/a/b/").await;
}

#[actix_web::test]
async fn a_long_path_allocates_nothing_more() {
    assert_adds_nothing(&format!("/users/{}", "x".repeat(100))).await;
}

#[actix_web::test]
async fn a_resource_with_several_patterns_allocates_nothing_more() {
    for path in ["/first?", "/second/"] {
        assert_adds_nothing(path).await;
    }
}

#[actix_web::test]
async fn kept_values_that_are_known_allocate_nothing_more() {
    let metrics = HrPrometheus::default().keep_all_params();
    assert_adds_nothing_to_users(metrics).await;
}

#[actix_web::test]
async fn the_otel_monitor_allocates_nothing_more() {
    assert_adds_nothing_to_users(HrPrometheus::with_monitor::<OtelMonitor>()).await;
    assert_adds_nothing_to_users(HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>()).await;
    let with_options = OtelMonitor::builder()
        .active_requests()
        .response_body_size()
        .route_of_unmatched()
        .network_protocol_name()
        .scheme_from("X-Forwarded-Proto")
        .user_agent_synthetic_type();
    assert_adds_nothing_to_users(HrPrometheus::with_builder(with_options)).await;
}

#[actix_web::test]
async fn custom_labels_that_are_known_allocate_nothing_more() {
    #[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
    struct BySecure {
        secure: &'static str,
    }

    impl RequestLabels for BySecure {
        fn at_arrival(start: &RequestStart<'_>) -> Self {
            let secure = start.request().app_config().secure();
            Self {
                secure: if secure { "yes" } else { "no" },
            }
        }
    }

    assert_adds_nothing_to_users(HrPrometheus::with_monitor::<DefaultMonitor<BySecure>>()).await;
}

#[actix_web::test]
async fn exemplars_allocate_nothing_more() {
    // One bucket, so that none has its first exemplar while they are counted.
    let monitor = DefaultMonitor::builder().latency_buckets([1_000.0]);
    let monitor = monitor.exemplars_from_traceparent();
    assert_adds_nothing_with(HrPrometheus::with_builder(monitor), |number| {
        let header = format!("00-{:032x}-00f067aa0ba902b7-01", number + 1);
        TestRequest::with_uri("/static").insert_header(("traceparent", header))
    })
    .await;
}

#[actix_web::test]
async fn further_histograms_allocate_nothing_more() {
    let builder = DefaultMonitor::builder;
    let metrics = HrPrometheus::with_builder(builder().time_to_head([0.1, 1.0]));
    assert_adds_nothing_to_users(metrics).await;
    let sizes = builder().request_body_bytes([100.0]);
    let sizes = sizes.response_body_bytes([100.0]);
    assert_adds_nothing_to_users(HrPrometheus::with_builder(sizes)).await;
}

#[actix_web::test]
async fn polls_queues_objectives_and_peaks_allocate_nothing_more() {
    let metrics = || {
        let monitor = DefaultMonitor::builder()
            .time_on_worker([0.001, 0.01])
            .longest_poll([0.01, 0.1])
            .queue_time([0.01, 0.1])
            .peak_in_progress()
            .objective("/static", 0.999, Duration::from_millis(300))
            .objective("/users/{id}", 0.99, Duration::from_millis(300));
        HrPrometheus::with_builder(monitor)
            .worker_metrics()
            .route_metrics()
    };
    // Peaks match a parameter with a regular expression on arrival, for which actix-web allocates.
    for path in ["/static", "/users/", "/files/a/", "/nowhere/"] {
        let request = |number: usize| {
            let path = if path.ends_with('/') {
                format!("{path}{number}")
            } else {
                path.to_owned()
            };
            TestRequest::with_uri(&path).insert_header(("x-request-start", "t=1700000000"))
        };
        assert_adds_nothing_with(metrics(), request).await;
    }
}

#[actix_web::test]
async fn an_excluded_request_allocates_nothing_more() {
    let metrics = HrPrometheus::default().exclude(|start| start.request().path() == "/users/7");
    assert_adds_nothing_to_users(metrics).await;
    let metrics = HrPrometheus::default().exclude_routes(["/users/{id}"]);
    assert_adds_nothing_to_users(metrics).await;
}

/// The series of a registry, without their values.
fn series(registry: &MetricsRegistry) -> BTreeSet<String> {
    let scrape = registry.encode().unwrap();
    let samples = scrape.lines().filter_map(|line| line.rsplit_once(' '));
    samples.map(|(series, _)| series.to_owned()).collect()
}

/// Asserts that a worker is as large after many of these requests as it was after a few, and has as many series.
///
/// Paths of one length: actix-web keeps the last one.
async fn assert_bounded(request: fn(usize) -> TestRequest) {
    let registry = MetricsRegistry::new();
    let app = App::new().app_data(registry.clone()).configure(configure);
    let app = test::init_service(app.wrap(HrPrometheus::default())).await;
    let mut numbers = 0..;
    let mut left_by = |count: usize| {
        let requests = numbers.by_ref().take(count);
        measure(|| requests.for_each(|number| drive(&app, request(number).to_request()))).bytes_current
    };

    left_by(WARM_UP);
    let before = series(&registry);
    assert_eq!(left_by(1000), 0, "bytes left by 1,000 requests");
    assert_eq!(left_by(20_000), 0, "bytes left by 20,000 requests");
    assert_eq!(series(&registry), before);
    assert_eq!(registry.value("request_count", &[]), Some(21_200.0));
}

#[actix_web::test]
async fn invented_methods_leave_nothing_behind() {
    assert_bounded(|number| {
        let method = Method::from_bytes(format!("INVENTED{number}").as_bytes());
        TestRequest::with_uri("/static").method(method.unwrap())
    })
    .await;
}

#[actix_web::test]
async fn invented_paths_leave_nothing_behind() {
    assert_bounded(|number| {
        // On the ground floor, within a scope, beside a parameter, and encoded.
        let before = ["/nowhere", "/api/nowhere", "/numbers/x", "/st%61tic"][number % 4];
        TestRequest::with_uri(&format!("{before}{number:06}"))
    })
    .await;
}

#[actix_web::test]
async fn invented_hosts_leave_nothing_behind() {
    assert_bounded(|number| {
        let host = format!("host{number}.example.org");
        TestRequest::with_uri("/static").insert_header((header::HOST, host))
    })
    .await;
}

#[actix_web::test]
async fn invented_values_of_parameters_leave_nothing_behind() {
    assert_bounded(|number| {
        let before = ["/users/", "/pairs/a/", "/files/a/", "/users/%22%0A%7D"][number % 4];
        TestRequest::with_uri(&format!("{before}{number:06}"))
    })
    .await;
}
