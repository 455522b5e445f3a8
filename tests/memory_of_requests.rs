//! What a request leaves in memory while its response runs, and after it; and what those that look at it take.

use std::{
    future::pending,
    io,
    ops::Range,
    pin::{Pin, pin},
    task::{Context, Poll, Waker},
    time::Duration,
};

use actix_http::Request;
use actix_web::{
    App, Error, HttpResponse,
    body::{BodySize, MessageBody},
    dev::{Response, Service, ServiceResponse},
    http::Method,
    test::{TestRequest, init_service},
    web::{self, Bytes, ServiceConfig},
};
use allocation_counter::measure;
use futures_util::stream::{self, StreamExt as _};
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};

fn routes(app: &mut ServiceConfig) {
    let stream = |content_type: &'static str| {
        move || async move {
            let first = stream::once(async { Ok::<_, io::Error>(Bytes::from_static(b"first")) });
            HttpResponse::Ok()
                .content_type(content_type)
                .streaming(first.chain(stream::pending()))
        }
    };
    app.route("/events", web::get().to(stream("text/event-stream")))
        .route(
            "/download/{id}",
            web::get().to(stream("application/octet-stream")),
        )
        .route("/hang/{id}", web::get().to(pending::<HttpResponse>))
        .default_service(web::get().to(pending::<HttpResponse>));
}

/// The body of the response, as the server holds it: of the request nothing is left.
fn begin<S, B>(app: &S, request: Request) -> B
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
    assert_eq!(body.size(), BodySize::Stream);
    body
}

/// The bytes that `count` responses hold while they run, with their first chunk sent.
fn held<S, B>(app: &S, path: &str, count: u16) -> i64
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let query = "x".repeat(60_000);
    // So that what is made once is no part of it.
    drop(begin(
        app,
        TestRequest::with_uri(&format!("{path}?{query}")).to_request(),
    ));
    let mut context = Context::from_waker(Waker::noop());
    let mut bodies: Vec<Pin<Box<B>>> = Vec::with_capacity(count.into());
    let held = measure(|| {
        for _ in 0..count {
            let request = TestRequest::with_uri(&format!("{path}?{query}")).to_request();
            let mut body = Box::pin(begin(app, request));
            assert!(matches!(
                body.as_mut().poll_next(&mut context),
                Poll::Ready(Some(Ok(_)))
            ));
            bodies.push(body);
        }
    });
    held.bytes_current
}

/// The same for an application with the middleware, and for one without.
async fn held_with_and_without(path: &str, count: u16) -> [i64; 2] {
    let without = init_service(App::new().configure(routes)).await;
    let app = App::new().app_data(MetricsRegistry::new()).configure(routes);
    let with = init_service(app.wrap(HrPrometheus::default())).await;
    [held(&with, path, count), held(&without, path, count)]
}

#[actix_web::test]
async fn a_response_that_runs_holds_nothing_of_a_long_request_target() {
    const COUNT: u16 = 100;

    for path in ["/events", "/download/7"] {
        let [with, without] = held_with_and_without(path, COUNT).await;
        let each = (with - without) / i64::from(COUNT);
        assert!(each < 2_000, "{path}: {each} bytes for each response");
    }
}

/// The bytes that are left of `count` requests that were in progress at the same time.
fn left_by_burst<S, B>(app: &S, path: &str, count: usize) -> i64
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
{
    let mut context = Context::from_waker(Waker::noop());
    let mut burst = |count: usize| {
        let mut futures = Vec::new();
        for number in 0..count {
            let request = TestRequest::with_uri(&format!("{path}{number:06}")).to_request();
            let mut future = Box::pin(app.call(request));
            assert!(future.as_mut().poll(&mut context).is_pending());
            futures.push(future);
        }
        drop(futures);
    };
    burst(300);
    let left = measure(|| {
        burst(count);
        burst(1);
    });
    left.bytes_current
}

#[actix_web::test]
async fn a_burst_leaves_no_memory_behind() {
    let with_options = DefaultMonitor::builder()
        .oldest_in_progress()
        .peak_in_progress()
        .objective("/hang/{id}", 0.9, Duration::from_secs(1))
        .time_on_worker([0.1])
        .queue_time([0.1])
        .exemplars_from_traceparent();
    for (path, metrics) in [
        ("/hang/", HrPrometheus::default()),
        ("/nowhere/", HrPrometheus::default()),
        ("/hang/", HrPrometheus::with_builder(with_options)),
    ] {
        let without = init_service(App::new().configure(routes)).await;
        let registry = MetricsRegistry::new();
        let app = App::new().app_data(registry.clone()).configure(routes);
        let with = init_service(app.wrap(metrics)).await;

        let left = left_by_burst(&with, path, 20_000) - left_by_burst(&without, path, 20_000);

        assert!(left < 100_000, "{path}: {left} bytes");
        assert_eq!(registry.value("request_count_total", &[]), Some(20_301.0));
    }
}

#[actix_web::test]
async fn a_burst_that_ends_in_any_order_leaves_no_memory_behind() {
    let registry = MetricsRegistry::new();
    let app = App::new().app_data(registry.clone()).configure(routes);
    let app = init_service(app.wrap(HrPrometheus::default())).await;
    let mut context = Context::from_waker(Waker::noop());
    let mut hang = |number: usize| {
        let request = TestRequest::with_uri(&format!("/hang/{number:06}")).to_request();
        let mut future = Box::pin(app.call(request));
        assert!(future.as_mut().poll(&mut context).is_pending());
        future
    };
    drop(hang(0));

    let left = measure(|| {
        let mut futures: Vec<_> = (0..20_000).map(|number| Some(hang(number))).collect();
        for start in [1, 0, 2] {
            for place in (start..futures.len()).step_by(3) {
                futures[place] = None;
            }
        }
        drop(futures);
        drop(hang(0));
    });

    // The pools of actix-web and of the middleware have 128 requests each.
    assert!(left.bytes_current < 250_000, "{} bytes", left.bytes_current);
    assert_eq!(registry.value("requests_in_progress", &[]), Some(0.0));
}

/// The allocations of looking at `count` requests that hang where no route is, for the second time.
async fn allocations_of_second_look(count: u32) -> u64 {
    let registry = MetricsRegistry::new();
    let app = App::new().app_data(registry.clone()).configure(routes);
    let app = init_service(app.wrap(HrPrometheus::default())).await;
    let mut context = Context::from_waker(Waker::noop());
    let mut futures: Vec<_> = (0..count)
        .map(|number| {
            let uri = format!("/%6Eowhere/{number:06}");
            Box::pin(app.call(TestRequest::with_uri(&uri).to_request()))
        })
        .collect();
    for future in &mut futures {
        assert!(future.as_mut().poll(&mut context).is_pending());
    }
    let look = || {
        let hanging = registry.value("requests_in_progress", &[("path", "unmatched")]);
        assert_eq!(hanging, (count > 0).then_some(f64::from(count)));
    };
    look();
    measure(look).count_total
}

#[actix_web::test]
async fn a_request_without_a_route_is_looked_up_once_however_often_somebody_looks() {
    let none = allocations_of_second_look(0).await;
    let many = allocations_of_second_look(2_000).await;

    // Decoding its path again takes one allocation at the least.
    assert!(
        many < none + 1_000,
        "{many} allocations, and {none} without requests"
    );
}

/// The bytes that a worker has more after many requests for distinct paths than after some.
async fn grown_by(methods: [&str; 2], path: &str, routes: fn(&mut ServiceConfig)) -> i64 {
    let registry = MetricsRegistry::new();
    let app = App::new().app_data(registry.clone()).configure(routes);
    let app = init_service(app.wrap(HrPrometheus::default())).await;
    let mut context = Context::from_waker(Waker::noop());
    let methods = methods.map(|method| method.parse::<Method>().unwrap());
    let mut send = |numbers: Range<usize>| {
        for number in numbers {
            let uri = format!("{path}{number:06}");
            let request = TestRequest::with_uri(&uri).method(methods[number % 2].clone());
            let mut future = pin!(app.call(request.to_request()));
            assert!(future.as_mut().poll(&mut context).is_ready());
        }
    };
    send(0..1_000);
    measure(|| send(1_000..6_000)).bytes_current
}

/// Routes of every shape for POST, and a page for everything else.
fn post_only(app: &mut ServiceConfig) {
    let post = || web::post().to(HttpResponse::Ok);
    let page = || web::to(HttpResponse::Ok);
    app.route("/users/{id}", post())
        .route("/files/{tail}*", post())
        .service(
            web::scope("/api")
                .route("/users/{id}", post())
                .route("/files/{tail:.*}", post())
                .default_service(page()),
        )
        .service(
            web::scope("/t/{tenant}")
                .route("", post())
                .default_service(page()),
        )
        .service(web::resource(["/new/{id}", "/old/{id}"]).route(post()))
        .default_service(page());
}

#[actix_web::test]
async fn paths_that_a_client_makes_up_leave_nothing_behind_whoever_answers() {
    for path in [
        "/users/",
        "/%75sers/",
        "/files/a/",
        "/api/users/",
        "/api/%75sers/",
        "/api/files/a/",
        "/api/nowhere/",
        "/t/",
        "/t/a/",
        "/%74/",
        "/old/",
        "/%6Fld/",
        "/nowhere/",
    ] {
        let grown = grown_by(["GET", "POST"], path, post_only).await;
        // Not a byte, or as much as fills a small memory that is bounded.
        assert!(grown < 100_000, "{path}: {grown} bytes after 5,000 requests");
    }
}
