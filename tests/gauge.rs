//! A request in progress is shown by its own route: whoever looks, and whatever other routes its path matches.

mod support;

use std::{
    future::{pending, poll_fn, ready},
    io,
    pin::pin,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use actix_web::{
    App, HttpRequest, HttpResponse,
    body::{BodyStream, BoxBody, MessageBody, SizedStream},
    guard,
    rt::{System, task::yield_now},
    test::{TestRequest, call_service, init_service},
    web::{self, Bytes},
};
use futures_util::{
    FutureExt as _,
    stream::{self, Stream, StreamExt as _},
};
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};

use support::{assert_balanced, eventually, eventually_has, http, serve};

/// The samples of the gauge in a scrape that are not zero.
fn in_progress(scrape: &str) -> Vec<&str> {
    let samples = scrape.lines().filter(|line| !line.ends_with(" 0"));
    samples
        .filter_map(|line| line.strip_prefix("requests_in_progress{"))
        .collect()
}

/// A worker that serves one request to `/known/{id}` after the other.
fn worker(registry: &MetricsRegistry) -> JoinHandle<()> {
    const REQUESTS: usize = 20_000;

    let registry = registry.clone();
    thread::spawn(move || {
        System::new().block_on(async move {
            let known = async || {
                yield_now().await;
                "known"
            };
            let app = App::new()
                .app_data(registry)
                .route("/known/{id}", web::get().to(known))
                .wrap(HrPrometheus::default());
            let app = init_service(app).await;
            for number in 0..REQUESTS {
                let request = TestRequest::with_uri(&format!("/known/{number}"));
                drop(call_service(&app, request.to_request()).await);
            }
        });
    })
}

#[test]
fn a_route_that_has_ended_before_is_never_unmatched_to_a_look_from_another_thread() {
    let registry = MetricsRegistry::new();
    let workers = [worker(&registry), worker(&registry)];
    // One of the two has served more than one.
    eventually("a route that has ended", || {
        registry.value("request_count_total", &[]) >= Some(3.0)
    });

    let mut wrong = None;
    while wrong.is_none() && !workers.iter().all(JoinHandle::is_finished) {
        let scrape = registry.encode().unwrap();
        wrong = in_progress(&scrape)
            .iter()
            .any(|sample| sample.contains("unmatched"))
            .then_some(scrape);
    }
    for worker in workers {
        worker.join().unwrap();
    }

    assert_eq!(wrong, None);
    assert_eq!(
        registry.value("request_count_total", &[("path", "/known/{id}")]),
        Some(40_000.0),
    );
    assert_balanced(&registry);
}

/// Four bytes, and then nothing for ever.
fn half() -> impl Stream<Item = io::Result<Bytes>> {
    let first = stream::once(ready(Ok(Bytes::from_static(b"half"))));
    first.chain(stream::pending())
}

/// Asserts that a response whose body has begun is shown by the route that served it, not by the one whose guard
/// refused the request.
async fn assert_shown_by_the_route_that_served(body: fn() -> BoxBody) {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::resource("/d/{first}")
                .guard(guard::Post())
                .to(HttpResponse::Ok),
        )
        .service(web::resource("/d/{second}").to(move || ready(HttpResponse::Ok().body(body()))))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;

    let response = call_service(&app, TestRequest::with_uri("/d/7").to_request()).await;
    {
        let mut body = pin!(response.into_body());
        let chunk = poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        assert_eq!(chunk.unwrap().unwrap(), "half");
        let shown = [r#"method="GET",path="/d/{second}"} 1"#];
        assert_eq!(in_progress(&registry.encode().unwrap()), shown);

        let rest = poll_fn(|cx| body.as_mut().poll_next(cx)).now_or_never();
        assert!(rest.is_none());
        assert_eq!(in_progress(&registry.encode().unwrap()), shown);
    }
    assert_eq!(
        registry.value("request_count_total", &[("path", "/d/{second}")]),
        Some(1.0),
    );
    assert_balanced(&registry);
}

#[actix_web::test]
async fn a_body_of_known_size_that_has_begun_is_shown_by_the_route_that_served_it() {
    assert_shown_by_the_route_that_served(|| SizedStream::new(8, half()).boxed()).await;
}

#[actix_web::test]
async fn a_stream_that_has_begun_is_shown_by_the_route_that_served_it() {
    assert_shown_by_the_route_that_served(|| BodyStream::new(half()).boxed()).await;
}

/// Says that it was entered and hangs, but for `?now`.
async fn slow(request: HttpRequest, entered: web::Data<mpsc::Sender<()>>) -> &'static str {
    if request.query_string() == "now" {
        return "now";
    }
    entered.send(()).unwrap();
    pending().await
}

#[test]
fn the_routes_of_an_admin_application_are_not_those_of_the_requests() {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let (entered, enters) = mpsc::channel::<()>();
    let public = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::Data::new(entered.clone()))
            .route("/slow/{id}", web::get().to(slow))
            .wrap(HrPrometheus::default())
    });
    let data = registry.clone();
    let admin = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .service(metrics_scope())
            .route("/{tail:.*}", web::get().to(async || "page"))
    });
    http(public.address, "GET", "/slow/7?now");
    assert_eq!(http(admin.address, "GET", "/slow/7").1, "page");

    let client = public.request("GET", "/slow/7");
    // Not by a look at the gauge, which would find the label and keep it.
    enters.recv_timeout(Duration::from_secs(20)).unwrap();
    let scrape = http(admin.address, "GET", "/metrics").1;

    assert_eq!(in_progress(&scrape), [r#"method="GET",path="/slow/{id}"} 1"#]);
    client.reset();
    eventually_has(&registry, "requests_in_progress", &[], 0.0);
    assert_balanced(&registry);
}
