//! What a request costs in allocations, and that no client makes a worker grow.

use std::{
    collections::BTreeSet,
    pin::pin,
    task::{Context, Poll, Waker},
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
use hr_prometheus::{HrPrometheus, MetricsRegistry};

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
        .route("/files/{tail}*", web::get().to(async || "hello"));
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

/// The allocations of many requests for distinct paths that begin with `path`.
fn allocations<S, B>(app: &S, path: &str) -> u64
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let requests = |count: usize| -> Vec<_> {
        (0..count)
            .map(|number| TestRequest::with_uri(&format!("{path}{number}")).to_request())
            .collect()
    };
    let drive_all = |requests: Vec<Request>| requests.into_iter().for_each(|request| drive(app, request));
    drive_all(requests(WARM_UP));
    let measured = requests(MEASURED);
    measure(|| drive_all(measured)).count_total
}

/// Asserts that each request for a path that begins with `path` allocates at most this number more than it does in the
/// same application without the middleware.
async fn assert_adds(most: usize, path: &str) {
    let without = test::init_service(App::new().configure(configure)).await;
    let app = App::new().app_data(MetricsRegistry::new()).configure(configure);
    let with = test::init_service(app.wrap(HrPrometheus::default())).await;

    let without = allocations(&without, path);
    let with = allocations(&with, path);
    assert!(
        (without..=without + (most * MEASURED) as u64).contains(&with),
        "{path}: {with}, and {without} without the middleware"
    );
}

#[actix_web::test]
async fn a_static_route_allocates_nothing_more() {
    assert_adds(0, "/static?").await;
    assert_adds(0, "/api/static?").await;
}

#[actix_web::test]
async fn a_path_that_no_route_matches_allocates_nothing_more() {
    assert_adds(0, "/nowhere/").await;
}

#[actix_web::test]
async fn a_path_that_no_route_of_a_scope_matches_allocates_nothing_more() {
    assert_adds(0, "/api/nowhere/").await;
}

#[actix_web::test]
async fn a_route_with_parameters_allocates_nothing_more() {
    for path in ["/users/", "/api/items/", "/pairs/a/", "/numbers/"] {
        assert_adds(0, path).await;
    }
}

#[actix_web::test]
async fn a_tail_allocates_once_more_at_the_most() {
    assert_adds(1, "/files/a/b/").await;
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
