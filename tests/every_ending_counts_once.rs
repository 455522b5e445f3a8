//! Every request is counted and timed once, however it ends, under the status that the client was sent.

mod support;

use std::{
    collections::HashMap,
    fmt,
    future::{pending, ready},
    io,
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use actix_service::Service as _;
use actix_web::{
    App, Error, HttpMessage as _, HttpRequest, HttpResponse, ResponseError,
    body::{MessageBody, SizedStream},
    dev::{ServiceRequest, ServiceResponse},
    error::{ErrorGatewayTimeout, ErrorServiceUnavailable, ErrorUnauthorized, InternalError},
    http::StatusCode,
    middleware::{Next, from_fn},
    rt::{spawn, task::yield_now},
    test::{TestRequest, init_service},
    web::{self, Bytes},
};
use futures_util::{
    FutureExt as _,
    stream::{self, Stream, StreamExt as _},
};
use hr_prometheus::{
    Ending::{self, Completed, Dropped, Failed, Panicked},
    HrPrometheus, MetricsRegistry,
};
use support::{TestServer, assert_balanced, eventually, eventually_has, http, recorder::Recorder};
use tokio::{sync::Notify, time::timeout};

static CHUNK: [u8; 65_536] = [b'x'; 65_536];

/// Says what it is in its response alone.
#[derive(Debug)]
struct Teapot;

impl fmt::Display for Teapot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a teapot")
    }
}

impl ResponseError for Teapot {
    fn error_response(&self) -> HttpResponse {
        HttpResponse::ImATeapot().body("short and stout")
    }
}

/// Has a response, and no status beside it.
#[derive(Debug)]
struct Stateless;

impl fmt::Display for Stateless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("stateless")
    }
}

impl ResponseError for Stateless {
    fn status_code(&self) -> StatusCode {
        panic!("nobody asks for it where error_response is its own")
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::Conflict().body("stateless")
    }
}

/// Has a status, and panics when it is made into a response.
#[derive(Debug)]
struct Helpless;

impl fmt::Display for Helpless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("helpless")
    }
}

impl ResponseError for Helpless {
    fn status_code(&self) -> StatusCode {
        StatusCode::BAD_REQUEST
    }

    fn error_response(&self) -> HttpResponse {
        panic!("while it is made into a response")
    }
}

/// The middleware inside of ours: refuses some requests before they reach a handler.
async fn refuse(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match request.path() {
        "/unauthorized" | "/swallowed" => Err(ErrorUnauthorized("no token")),
        "/teapot" => Err(Teapot.into()),
        "/stateless" => Err(Stateless.into()),
        "/helpless" => Err(Helpless.into()),
        "/forbidden" => {
            let mut response = HttpResponse::Forbidden();
            let response = response.insert_header(("X-Reason", "robot")).body("no robots");
            Err(InternalError::from_response("robot", response).into())
        }
        _ => next.call(request).await,
    }
}

/// The middleware outside of ours: gives up on some requests, and answers for the one inside.
async fn overrule(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match request.path() {
        "/late" => timeout(Duration::from_millis(20), next.call(request))
            .await
            .map_err(ErrorGatewayTimeout)?,
        "/swallowed" => next.call(request).await.map_err(|_| {
            let response = HttpResponse::Accepted().body("never mind");
            InternalError::from_response("swallowed", response).into()
        }),
        _ => next.call(request).await,
    }
}

/// A body that breaks off after its first half was sent.
fn half(then: fn() -> io::Result<Bytes>) -> HttpResponse {
    let first = stream::once(ready(Ok(Bytes::from_static(b"half"))));
    let rest = stream::once(async move {
        yield_now().await;
        then()
    });
    HttpResponse::Ok().streaming(first.chain(rest))
}

fn chunks() -> impl Stream<Item = io::Result<Bytes>> {
    stream::repeat_with(|| Ok(Bytes::from_static(&CHUNK)))
}

/// Answers while a task of its own still writes to the extensions of the request.
#[expect(clippy::await_holding_refcell_ref, reason = "as applications do")]
async fn hold_extensions(request: HttpRequest, release: web::Data<Notify>) -> &'static str {
    let held = Rc::new(Notify::new());
    let holds = Rc::clone(&held);
    spawn(async move {
        let mut extensions = request.extensions_mut();
        holds.notify_one();
        release.notified().await;
        extensions.insert("written late");
    });
    held.notified().await;
    "held"
}

/// A service in which requests end in every way, and what is recorded of them.
struct Measured {
    server: TestServer,
    registry: MetricsRegistry,
    recorder: Recorder,
    /// Lets one request to `/released`, or the task of one to `/held`, go.
    release: Arc<Notify>,
    /// How many requests to `/hang/{client}` have reached the handler, for each client.
    hanging: Arc<[AtomicUsize; 8]>,
}

fn serve(workers: usize) -> Measured {
    let registry = MetricsRegistry::new();
    let recorder = Recorder::default();
    let release = Arc::new(Notify::new());
    let hanging = Arc::<[AtomicUsize; 8]>::default();
    let server = support::serve(workers, {
        let (registry, recorder) = (registry.clone(), recorder.clone());
        let (release, hanging) = (web::Data::from(release.clone()), web::Data::from(hanging.clone()));
        move || {
            let hello = || web::get().to(async || "hello");
            App::new()
                .app_data(registry.clone())
                .app_data(release.clone())
                .app_data(hanging.clone())
                .route("/", hello())
                .route("/unauthorized", hello())
                .route("/teapot", hello())
                .route("/stateless", hello())
                .route("/helpless", hello())
                .route("/forbidden", hello())
                .route("/swallowed", hello())
                .route("/panic-in-call", hello())
                .service(
                    web::resource("/page")
                        .route(hello())
                        .route(web::head().to(async || "hello"))
                        .route(web::method("OPTIONS".parse().unwrap()).to(HttpResponse::NoContent)),
                )
                .route(
                    "/error",
                    web::get().to(async || Err::<&str, _>(ErrorServiceUnavailable("later"))),
                )
                .route(
                    "/query",
                    web::get().to(async |_: web::Query<HashMap<String, u8>>| "hello"),
                )
                .route("/held", web::get().to(hold_extensions))
                .route("/upload", web::post().to(async |_: Bytes| "received"))
                .route(
                    "/panic",
                    web::get().to(async || -> &str { panic!("before the first await") }),
                )
                .route(
                    "/panic-later",
                    web::get().to(async || -> &str {
                        yield_now().await;
                        panic!("after an await")
                    }),
                )
                .route("/late", web::get().to(pending::<&str>))
                .route(
                    "/hang/{client}",
                    web::get().to(
                        async |client: web::Path<usize>, hanging: web::Data<[AtomicUsize; 8]>| {
                            hanging[*client].fetch_add(1, Ordering::SeqCst);
                            pending::<&str>().await
                        },
                    ),
                )
                .route(
                    "/released",
                    web::get().to(async |release: web::Data<Notify>| {
                        release.notified().await;
                        "released"
                    }),
                )
                .route(
                    "/body-fails",
                    web::get().to(async || half(|| Err(io::Error::other("broken")))),
                )
                .route(
                    "/body-panics",
                    web::get().to(async || half(|| panic!("in the body"))),
                )
                .route(
                    "/endless",
                    web::get().to(async || HttpResponse::Ok().streaming(chunks())),
                )
                .route(
                    "/large",
                    web::get().to(async || {
                        let chunks = chunks().take(256);
                        HttpResponse::Ok().body(SizedStream::new(256 * 65_536, chunks))
                    }),
                )
                .wrap(from_fn(refuse))
                .wrap_fn(|request, next| {
                    assert!(request.path() != "/panic-in-call", "in call");
                    next.call(request)
                })
                .wrap(recorder.beside_default())
                .wrap(from_fn(overrule))
        }
    });
    Measured {
        server,
        registry,
        recorder,
        release,
        hanging,
    }
}

impl Measured {
    fn http(&self, method: &str, path: &str) -> (String, String) {
        http(self.server.address, method, path)
    }

    /// Waits until `requests` are under way.
    #[track_caller]
    fn await_in_progress(&self, requests: f64) {
        eventually_has(&self.registry, "requests_in_progress", &[], requests);
    }

    /// Waits until as many requests have ended, and asserts that these are what was recorded.
    #[track_caller]
    fn assert_recorded(self, expected: &[(&str, u16, Ending, u64)]) {
        eventually("the requests end", || {
            self.recorder.ended().len() >= expected.len()
        });
        // A worker takes its part of the gauge with it, so look before it goes.
        assert_balanced(&self.registry);
        self.stop_and_assert_recorded(expected);
    }

    /// Stops the server, whatever is under way, so that nothing more can be recorded, and asserts what was.
    #[track_caller]
    fn stop_and_assert_recorded(self, expected: &[(&str, u16, Ending, u64)]) {
        self.server.stop(false);
        eventually("the workers are gone", || self.recorder.is_final());

        let ended = self.recorder.ended();
        let ended = ended
            .iter()
            .map(|(request, status, ending, bytes)| (&**request, *status, *ending, *bytes));
        let sorted = |mut requests: Vec<(_, _, _, _)>| {
            requests.sort_by_key(|(request, status, ..)| (*request, *status));
            requests
        };
        assert_eq!(sorted(ended.collect()), sorted(expected.to_vec()));

        let count = |labels: &[(&str, &str)]| self.registry.value("request_count_total", labels);
        for (request, status, ..) in expected {
            let same = expected
                .iter()
                .filter(|other| (&other.0, &other.1) == (request, status));
            let (method, path) = request.split_once(' ').unwrap();
            let status = status.to_string();
            let labels = [("method", method), ("path", path), ("status", &status)];
            assert_eq!(count(&labels), Some(same.map(|_| 1.0).sum()), "{labels:?}");
        }
        assert_eq!(count(&[]), Some(expected.iter().map(|_| 1.0).sum()));
        assert_balanced(&self.registry);
    }
}

#[test]
fn a_response_is_counted_under_its_status() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/");

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "hello");
    service.assert_recorded(&[("GET /", 200, Completed, 5)]);
}

#[test]
fn a_response_is_counted_while_a_task_holds_the_extensions_of_its_request() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/held");
    service.release.notify_one();

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "held");
    service.assert_recorded(&[("GET /held", 200, Completed, 4)]);
}

#[test]
fn an_error_of_a_handler_has_the_status_of_its_response() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/error");

    assert!(head.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{head}");
    assert_eq!(body, "later");
    service.assert_recorded(&[("GET /error", 503, Completed, 5)]);
}

#[test]
fn an_extractor_that_fails_is_a_400() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/query?page=many");

    assert!(head.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{head}");
    service.assert_recorded(&[("GET /query", 400, Completed, body.len() as u64)]);
}

#[test]
fn an_error_of_an_inner_middleware_has_the_status_of_its_response() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/unauthorized");

    assert!(head.starts_with("HTTP/1.1 401 Unauthorized\r\n"), "{head}");
    assert!(head.contains("content-length: 8"), "{head}");
    assert_eq!(body, "no token");
    service.assert_recorded(&[("GET /unauthorized", 401, Completed, 8)]);
}

#[test]
fn an_error_whose_response_has_a_status_of_its_own_has_that_status() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/teapot");

    assert!(head.starts_with("HTTP/1.1 418 I'm a teapot\r\n"), "{head}");
    assert_eq!(body, "short and stout");
    service.assert_recorded(&[("GET /teapot", 418, Completed, 15)]);
}

#[test]
fn an_error_that_cannot_tell_its_status_has_that_of_its_response() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/stateless");

    assert!(head.starts_with("HTTP/1.1 409 Conflict\r\n"), "{head}");
    assert_eq!(body, "stateless");
    service.assert_recorded(&[("GET /stateless", 409, Completed, 9)]);
}

#[test]
fn an_error_whose_response_panics_is_a_500() {
    let service = serve(1);

    assert_eq!(service.http("GET", "/helpless"), (String::new(), String::new()));
    let (_, body) = service.http("GET", "/");

    assert_eq!(body, "hello");
    service.assert_recorded(&[("GET /helpless", 500, Panicked, 0), ("GET /", 200, Completed, 5)]);
}

#[test]
fn an_error_that_can_make_its_response_once_keeps_it() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/forbidden");

    assert!(head.starts_with("HTTP/1.1 403 Forbidden\r\n"), "{head}");
    assert!(head.contains("content-length: 9"), "{head}");
    assert!(head.contains("x-reason: robot"), "{head}");
    assert_eq!(body, "no robots");
    service.assert_recorded(&[("GET /forbidden", 403, Completed, 9)]);
}

#[test]
fn an_error_that_is_swallowed_further_out_has_the_status_of_the_error() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/swallowed");

    assert!(head.starts_with("HTTP/1.1 202 Accepted\r\n"), "{head}");
    assert_eq!(body, "never mind");
    // What our middleware passed on; nobody can see what became of it.
    service.assert_recorded(&[("GET /swallowed", 401, Dropped, 0)]);
}

#[test]
fn a_panic_before_the_first_await_is_a_500() {
    let service = serve(1);

    assert_eq!(service.http("GET", "/panic"), (String::new(), String::new()));
    let (_, body) = service.http("GET", "/");

    assert_eq!(body, "hello");
    service.assert_recorded(&[("GET /panic", 500, Panicked, 0), ("GET /", 200, Completed, 5)]);
}

#[test]
fn a_panic_after_an_await_is_a_500() {
    let service = serve(1);

    assert_eq!(
        service.http("GET", "/panic-later"),
        (String::new(), String::new())
    );
    let (_, body) = service.http("GET", "/");

    assert_eq!(body, "hello");
    service.assert_recorded(&[
        ("GET /panic-later", 500, Panicked, 0),
        ("GET /", 200, Completed, 5),
    ]);
}

#[test]
fn a_panic_in_the_call_of_an_inner_service_is_a_500() {
    let service = serve(1);

    assert_eq!(
        service.http("GET", "/panic-in-call"),
        (String::new(), String::new())
    );
    let (_, body) = service.http("GET", "/");

    assert_eq!(body, "hello");
    service.assert_recorded(&[
        ("GET /panic-in-call", 500, Panicked, 0),
        ("GET /", 200, Completed, 5),
    ]);
}

#[test]
fn a_body_that_panics_after_the_head_stays_a_200() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/body-panics");

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "4\r\nhalf\r\n");
    service.assert_recorded(&[("GET /body-panics", 200, Panicked, 4)]);
}

#[test]
fn a_body_that_fails_after_the_head_stays_a_200() {
    let service = serve(1);

    let (head, body) = service.http("GET", "/body-fails");

    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "4\r\nhalf\r\n");
    service.assert_recorded(&[("GET /body-fails", 200, Failed, 4)]);
}

#[test]
fn a_client_that_resets_while_the_handler_waits_is_a_499() {
    let service = serve(1);

    let client = service.server.request("GET", "/hang/0");
    service.await_in_progress(1.0);
    client.reset();

    service.assert_recorded(&[("GET /hang/{client}", 499, Dropped, 0)]);
}

#[test]
fn a_client_that_half_closes_gets_its_200() {
    let service = serve(1);

    let mut client = service.server.request("GET", "/released");
    service.await_in_progress(1.0);
    client.half_close();
    // The one worker has seen the end of that connection when it has answered on this one.
    service.http("GET", "/");
    service.release.notify_one();

    assert!(client.read_to_end().ends_with("\r\n\r\nreleased"));
    service.assert_recorded(&[("GET /", 200, Completed, 5), ("GET /released", 200, Completed, 8)]);
}

#[test]
fn a_client_that_closes_while_the_handler_waits_is_a_200() {
    let service = serve(1);

    let client = service.server.request("GET", "/released");
    service.await_in_progress(1.0);
    drop(client);
    service.http("GET", "/");
    service.release.notify_one();

    service.assert_recorded(&[("GET /", 200, Completed, 5), ("GET /released", 200, Completed, 8)]);
}

#[test]
fn a_client_that_leaves_in_the_middle_of_a_body_is_a_200() {
    let service = serve(1);

    let mut client = service.server.request("GET", "/endless");
    client.read_until("xxx");
    drop(client);
    eventually("the body is dropped", || !service.recorder.ended().is_empty());

    // How much the sockets took is not known beforehand.
    let bytes = service.recorder.ended()[0].3;
    assert_ne!(bytes, 0);
    service.assert_recorded(&[("GET /endless", 200, Dropped, bytes)]);
}

#[test]
fn a_client_that_reads_slowly_is_counted_when_it_has_it_all() {
    let service = serve(1);

    let mut client = service.server.request("GET", "/large");
    client.read_until("\r\n\r\n");
    assert_eq!(service.registry.value("request_count_total", &[]), None);
    let mut bytes = 0;
    while bytes < 256 * 65_536 {
        bytes += client.read(65_536);
        thread::sleep(Duration::from_millis(1));
    }

    service.assert_recorded(&[("GET /large", 200, Completed, 256 * 65_536)]);
}

#[test]
fn an_upload_that_is_cut_off_is_a_400() {
    let service = serve(1);

    let mut client = service.server.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nten bytes!");
    service.await_in_progress(1.0);
    client.half_close();

    let answer = client.read_to_end();
    assert!(answer.starts_with("HTTP/1.1 400 Bad Request\r\n"), "{answer}");
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    service.assert_recorded(&[("POST /upload", 400, Completed, body.len() as u64)]);
}

#[test]
fn an_upload_whose_client_resets_is_a_499() {
    let service = serve(1);

    let mut client = service.server.connect();
    client.send("POST /upload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nten bytes!");
    service.await_in_progress(1.0);
    client.reset();

    service.assert_recorded(&[("POST /upload", 499, Dropped, 0)]);
}

#[test]
fn requests_in_one_write_are_counted_one_by_one() {
    let service = serve(1);

    let mut client = service.server.connect();
    client.send(
        "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n\
         GET /error HTTP/1.1\r\nHost: localhost\r\n\r\n\
         GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    );

    assert_eq!(client.read_to_end().matches("HTTP/1.1 ").count(), 3);
    service.assert_recorded(&[
        ("GET /", 200, Completed, 5),
        ("GET /error", 503, Completed, 5),
        ("GET /", 200, Completed, 5),
    ]);
}

#[test]
fn requests_on_one_connection_are_counted_one_by_one() {
    let service = serve(1);

    let mut client = service.server.connect();
    for _ in 0..3 {
        client.request("GET", "/");
        client.read_until("hello");
    }

    service.assert_recorded(&[("GET /", 200, Completed, 5); 3]);
}

#[test]
fn requests_that_a_stopped_server_drops_are_499s() {
    let service = serve(2);

    let clients: Vec<_> = (0..5)
        .map(|client| service.server.request("GET", &format!("/hang/{client}")))
        .collect();
    service.await_in_progress(5.0);

    service.stop_and_assert_recorded(&[("GET /hang/{client}", 499, Dropped, 0); 5]);
    drop(clients);
}

#[test]
fn a_time_out_further_out_is_a_499() {
    let service = serve(1);

    let (head, _) = service.http("GET", "/late");

    assert!(head.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{head}");
    service.assert_recorded(&[("GET /late", 499, Dropped, 0)]);
}

#[actix_web::test]
async fn a_future_that_is_dropped_after_one_poll_is_a_499() {
    let registry = MetricsRegistry::new();
    let app = init_service(
        App::new()
            .app_data(registry.clone())
            .route("/", web::get().to(pending::<&str>))
            .wrap(HrPrometheus::default()),
    )
    .await;

    let response = app.call(TestRequest::get().to_request()).now_or_never().is_some();

    assert!(!response);
    assert_eq!(
        registry.value("request_count_total", &[("path", "/"), ("status", "499")]),
        Some(1.0),
    );
    assert_balanced(&registry);
}

#[actix_web::test]
async fn a_future_that_is_never_polled_is_a_499() {
    let registry = MetricsRegistry::new();
    let app = init_service(
        App::new()
            .app_data(registry.clone())
            .route("/", web::get().to(pending::<&str>))
            .wrap(HrPrometheus::default()),
    )
    .await;

    drop(app.call(TestRequest::get().to_request()));

    assert_eq!(
        registry.value("request_count_total", &[("path", "/"), ("status", "499")]),
        Some(1.0),
    );
    assert_balanced(&registry);
}

#[test]
fn a_path_without_a_route_is_a_404() {
    let service = serve(1);

    let (head, _) = service.http("GET", "/nowhere");

    assert!(head.starts_with("HTTP/1.1 404 Not Found\r\n"), "{head}");
    service.assert_recorded(&[("GET unmatched", 404, Completed, 0)]);
}

#[test]
fn a_method_without_a_route_is_a_405() {
    let service = serve(1);

    let (head, _) = service.http("POST", "/page");

    assert!(head.starts_with("HTTP/1.1 405 Method Not Allowed\r\n"), "{head}");
    service.assert_recorded(&[("POST /page", 405, Completed, 0)]);
}

#[test]
fn head_and_options_are_counted_without_a_body() {
    let service = serve(1);

    let (head, body) = service.http("HEAD", "/page");
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert_eq!(body, "");
    let (head, _) = service.http("OPTIONS", "/page");
    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");

    service.assert_recorded(&[
        ("HEAD /page", 200, Completed, 0),
        ("OPTIONS /page", 204, Completed, 0),
    ]);
}

#[test]
fn methods_that_nobody_knows_are_counted_as_one() {
    let service = serve(1);

    service.http("BREW", "/page");
    service.http("WHEN", "/page");

    service.assert_recorded(&[("_OTHER /page", 405, Completed, 0); 2]);
}

#[test]
fn a_crowd_on_several_workers_is_counted_to_the_last() {
    let service = serve(4);

    thread::scope(|scope| {
        for client in 0..8 {
            let service = &service;
            scope.spawn(move || {
                for round in 1..=10 {
                    assert_eq!(service.http("GET", "/").1, "hello");
                    assert_eq!(service.http("GET", "/error").1, "later");
                    assert_eq!(service.http("GET", "/panic").0, "");
                    assert_eq!(service.http("GET", "/teapot").1, "short and stout");
                    let hanging = service.server.request("GET", &format!("/hang/{client}"));
                    eventually("the handler waits", || {
                        service.hanging[client].load(Ordering::SeqCst) == round
                    });
                    hanging.reset();
                }
            });
        }
    });

    let each = [
        ("GET /", 200, Completed, 5),
        ("GET /error", 503, Completed, 5),
        ("GET /panic", 500, Panicked, 0),
        ("GET /teapot", 418, Completed, 15),
        ("GET /hang/{client}", 499, Dropped, 0),
    ];
    service.assert_recorded(&[each; 80].concat());
}
