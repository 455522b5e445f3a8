//! Measuring changes nothing of a body, neither in content nor in time, and its bytes are counted exactly.

mod support;

use std::{
    cell::RefCell,
    convert::Infallible,
    future::ready,
    sync::{Arc, Mutex},
};

use actix_http::encoding::Decoder;
use actix_service::Service;
use actix_web::{
    App, Error, HttpResponse,
    body::{BodySize, MessageBody, SizedStream, to_bytes},
    dev::ServiceResponse,
    http::header::{ACCEPT_ENCODING, CONTENT_ENCODING},
    middleware::Compress,
    test::{TestRequest, call_and_read_body, call_service, init_service},
    web::{self, Bytes},
};
use futures_util::stream::{self, StreamExt as _};
use hr_prometheus::{
    Ending::{Completed, Dropped},
    HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    prometheus_client::registry::Registry,
};
use support::{
    TestServer, assert_balanced, eventually,
    fed_body::{FedBody, fed_body},
    http,
    recorder::Recorder,
};

/// A server that answers with bodies of every kind, and what is recorded of them.
struct Measured {
    server: TestServer,
    registry: MetricsRegistry,
    recorder: Recorder,
}

fn serve(body: FedBody) -> Measured {
    let registry = MetricsRegistry::new();
    let recorder = Recorder::default();
    let server = support::serve(1, {
        let (registry, recorder) = (registry.clone(), recorder.clone());
        move || {
            let fed_stream = {
                let body = body.clone();
                move || ready(HttpResponse::Ok().streaming(body.stream()))
            };
            App::new()
                .app_data(registry.clone())
                .service(
                    web::resource("/sized")
                        .route(web::get().to(async || "hello"))
                        .route(web::head().to(async || "hello")),
                )
                .service(
                    web::resource("/fed")
                        .route(web::get().to(fed_stream.clone()))
                        .route(web::head().to(fed_stream)),
                )
                .route("/empty", web::get().to(HttpResponse::Ok))
                .route("/no-content", web::get().to(HttpResponse::NoContent))
                .route("/not-modified", web::get().to(HttpResponse::NotModified))
                .wrap(recorder.beside_default())
        }
    });
    Measured {
        server,
        registry,
        recorder,
    }
}

impl Measured {
    /// Asserts that one request was recorded, complete, with so many bytes of body.
    #[track_caller]
    fn assert_complete(&self, request: &str, status: u16, bytes: u64) {
        eventually("the request ends", || !self.recorder.ended().is_empty());
        assert_eq!(
            self.recorder.ended(),
            [(request.to_owned(), status, Completed, bytes)]
        );
        assert_eq!(self.registry.value("request_count_total", &[]), Some(1.0));
        assert_balanced(&self.registry);
    }
}

#[test]
fn a_sized_body_stays_sized() {
    let service = serve(fed_body().1);

    let (head, body) = http(service.server.address, "GET", "/sized");

    assert!(head.contains("\r\ncontent-length: 5"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(body, "hello");
    service.assert_complete("GET /sized", 200, 5);
}

#[test]
fn a_stream_is_passed_on_chunk_by_chunk() {
    let (feed, body) = fed_body();
    let service = serve(body);

    let mut client = service.server.request("GET", "/fed");
    feed.send(Bytes::from_static(b"first")).unwrap();
    let head = client.read_until("\r\n\r\n");
    assert!(head.contains("\r\ntransfer-encoding: chunked"), "{head}");
    client.read_until("5\r\nfirst\r\n");
    assert_eq!(service.recorder.ended(), []);
    feed.send(Bytes::from_static(b"second")).unwrap();
    drop(feed);

    assert_eq!(client.read_until("\r\n\r\n"), "6\r\nsecond\r\n0\r\n\r\n");
    service.assert_complete("GET /fed", 200, 11);
}

#[test]
fn head_has_the_length_of_the_body_and_no_body() {
    let service = serve(fed_body().1);

    let (head, body) = http(service.server.address, "HEAD", "/sized");

    assert!(head.contains("\r\ncontent-length: 5"), "{head}");
    assert_eq!(body, "");
    service.assert_complete("HEAD /sized", 200, 0);
}

#[test]
fn head_ends_at_its_head_even_if_the_body_never_does() {
    let (feed, body) = fed_body();
    let service = serve(body);

    let mut client = service.server.request("HEAD", "/fed");

    client.read_until("\r\n\r\n");
    service.assert_complete("HEAD /fed", 200, 0);
    // The server still waits for the body.
    assert!(!feed.is_closed());
}

#[test]
fn an_empty_body_stays_empty() {
    let service = serve(fed_body().1);

    let (head, body) = http(service.server.address, "GET", "/empty");

    assert!(head.contains("\r\ncontent-length: 0"), "{head}");
    assert_eq!(body, "");
    service.assert_complete("GET /empty", 200, 0);
}

#[test]
fn no_content_has_no_length() {
    let service = serve(fed_body().1);

    let (head, body) = http(service.server.address, "GET", "/no-content");

    assert!(head.starts_with("HTTP/1.1 204 No Content\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    assert_eq!(body, "");
    service.assert_complete("GET /no-content", 204, 0);
}

#[test]
fn not_modified_has_no_body() {
    let service = serve(fed_body().1);

    let (head, body) = http(service.server.address, "GET", "/not-modified");

    assert!(head.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{head}");
    assert!(!head.contains("transfer-encoding"), "{head}");
    assert_eq!(body, "");
    service.assert_complete("GET /not-modified", 304, 0);
}

const PROSE: &str = "Nothing is lost, nothing is created, everything is transformed. ";

/// Reads a response as a client that asked for gzip does; also its length before it was decoded.
async fn read_gzip(
    app: &impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error>,
    path: &str,
) -> (u64, String) {
    let request = TestRequest::with_uri(path).insert_header((ACCEPT_ENCODING, "gzip"));
    let response = call_service(app, request.to_request()).await;
    assert_eq!(response.headers().get(CONTENT_ENCODING).unwrap(), "gzip");
    let headers = response.headers().clone();
    let encoded = to_bytes(response.into_body()).await.ok().unwrap();
    let length = encoded.len() as u64;
    let mut chunks = Decoder::from_headers(stream::iter([Ok(encoded)]), &headers);
    let mut decoded = Vec::new();
    while let Some(chunk) = chunks.next().await {
        decoded.extend(chunk.unwrap());
    }
    (length, String::from_utf8(decoded).unwrap())
}

#[actix_web::test]
async fn what_is_compressed_inside_is_counted_as_compressed() {
    let recorder = Recorder::default();
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route("/sized", web::get().to(async || PROSE.repeat(100)))
            .route("/streamed", web::get().to(async || streamed(100)))
            .wrap(Compress::default())
            .wrap(recorder.beside_default()),
    )
    .await;

    let (sized, decoded) = read_gzip(&app, "/sized").await;
    assert_eq!(decoded, PROSE.repeat(100));
    let (streamed, decoded) = read_gzip(&app, "/streamed").await;
    assert_eq!(decoded, PROSE.repeat(100));

    assert_eq!(
        recorder.ended(),
        [
            ("GET /sized".to_owned(), 200, Completed, sized),
            ("GET /streamed".to_owned(), 200, Completed, streamed),
        ],
    );
}

#[actix_web::test]
async fn what_is_compressed_outside_is_counted_as_it_was() {
    let recorder = Recorder::default();
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route("/sized", web::get().to(async || PROSE.repeat(100)))
            .route("/streamed", web::get().to(async || streamed(100)))
            .wrap(recorder.beside_default())
            .wrap(Compress::default()),
    )
    .await;

    assert_eq!(read_gzip(&app, "/sized").await.1, PROSE.repeat(100));
    assert_eq!(read_gzip(&app, "/streamed").await.1, PROSE.repeat(100));

    assert_eq!(
        recorder.ended(),
        [
            ("GET /sized".to_owned(), 200, Completed, 6_400),
            ("GET /streamed".to_owned(), 200, Completed, 6_400),
        ],
    );
}

fn streamed(chunks: usize) -> HttpResponse {
    let chunk = || Ok::<_, Infallible>(Bytes::from_static(PROSE.as_bytes()));
    HttpResponse::Ok().streaming(stream::repeat_with(chunk).take(chunks))
}

#[actix_web::test]
async fn bytes_can_be_taken_at_once() {
    let recorder = Recorder::default();
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route("/", web::get().to(async || "hello"))
            .wrap(recorder.beside_default()),
    )
    .await;

    let response = call_service(&app, TestRequest::get().to_request()).await;
    let bytes = response.into_body().try_into_bytes().ok().unwrap();

    assert_eq!(bytes, "hello");
    assert_eq!(recorder.ended(), [("GET /".to_owned(), 200, Completed, 5)]);
}

#[actix_web::test]
async fn a_stream_that_cannot_be_taken_at_once_is_still_whole() {
    let recorder = Recorder::default();
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route("/", web::get().to(async || streamed(2)))
            .wrap(recorder.beside_default()),
    )
    .await;

    let response = call_service(&app, TestRequest::get().to_request()).await;
    let body = response.into_body().try_into_bytes().err().unwrap();
    assert_eq!(recorder.ended(), []);

    assert_eq!(body.size(), BodySize::Stream);
    assert_eq!(to_bytes(body).await.ok().unwrap(), PROSE.repeat(2));
    assert_eq!(recorder.ended(), [("GET /".to_owned(), 200, Completed, 128)]);
}

#[actix_web::test]
async fn a_sized_stream_ends_with_its_last_byte() {
    let recorder = Recorder::default();
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route(
                "/",
                web::get().to(async || {
                    let chunk = || Ok::<_, Infallible>(Bytes::from_static(b"four"));
                    let stream = stream::repeat_with(chunk).take(2);
                    HttpResponse::Ok().body(SizedStream::new(8, stream))
                }),
            )
            .wrap(recorder.beside_default()),
    )
    .await;

    let response = call_service(&app, TestRequest::get().to_request()).await;
    let mut body = Box::pin(response.into_body());
    assert_eq!(body.size(), BodySize::Sized(8));
    let mut next = async || {
        let chunk = std::future::poll_fn(|cx| body.as_mut().poll_next(cx)).await;
        chunk.unwrap().ok().unwrap()
    };

    assert_eq!(next().await, "four");
    assert_eq!(recorder.ended(), []);
    assert_eq!(next().await, "four");
    assert_eq!(recorder.ended(), [("GET /".to_owned(), 200, Completed, 8)]);
}

#[actix_web::test]
async fn a_body_that_is_not_read_has_sent_nothing() {
    let recorder = Recorder::default();
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route("/", web::get().to(async || "hello"))
            .wrap(recorder.beside_default()),
    )
    .await;

    drop(call_service(&app, TestRequest::get().to_request()).await);

    assert_eq!(recorder.ended(), [("GET /".to_owned(), 200, Dropped, 0)]);
}

/// Notes the bytes of request bodies, and asks for them if it was told to.
#[derive(Clone)]
struct Uploads {
    asks: bool,
    bytes: Arc<Mutex<Vec<Option<u64>>>>,
}

impl RequestMonitor for Uploads {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        unreachable!("it is made by a closure")
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
        self.bytes.lock().unwrap().push(end.request_body_bytes());
    }

    fn counts_request_body(&self) -> bool {
        self.asks
    }
}

/// Uploads `body` in chunks to a handler that sends it back, and to one that does not look at it; the answer of the
/// first, and what was noted of both.
fn upload(asks: bool, chunks: &[&str]) -> (String, Vec<Option<u64>>) {
    let registry = MetricsRegistry::new();
    let uploads = Uploads {
        asks,
        bytes: Arc::default(),
    };
    let server = support::serve(1, {
        let (registry, uploads) = (registry.clone(), uploads.clone());
        move || {
            let uploads = uploads.clone();
            App::new()
                .app_data(registry.clone())
                .route("/echo", web::post().to(async |body: Bytes| body))
                .route("/ignore", web::post().to(async || "ignored"))
                .wrap(HrPrometheus::with_monitor_from(move |_: &mut Registry| {
                    uploads.clone()
                }))
        }
    });

    let mut client = server.connect();
    let mut answer = String::new();
    for (path, end) in [("/echo", chunks.concat()), ("/ignore", "ignored".to_owned())] {
        client.send(format!(
            "POST {path} HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
        ));
        for chunk in chunks {
            client.send(format!("{:x}\r\n{chunk}\r\n", chunk.len()));
        }
        client.send("0\r\n\r\n");
        client.read_until("\r\n\r\n");
        answer.push_str(&client.read_until(&end));
    }
    let bytes = uploads.bytes.lock().unwrap().clone();
    (answer, bytes)
}

#[test]
fn the_bytes_of_a_request_body_are_counted_as_they_are_read() {
    let (answer, bytes) = upload(true, &["first ", "second ", "third "]);

    assert_eq!(answer, "first second third ignored");
    assert_eq!(bytes, [Some(19), Some(0)]);
}

#[test]
fn the_bytes_of_a_request_body_are_not_counted_unasked() {
    let (answer, bytes) = upload(false, &["first ", "second ", "third "]);

    assert_eq!(answer, "first second third ignored");
    assert_eq!(bytes, [None, None]);
}

#[actix_web::test]
async fn a_body_that_is_read_after_its_request_is_not_counted_for_the_next() {
    thread_local! {
        static KEPT: RefCell<Option<web::Payload>> = const { RefCell::new(None) };
    }

    let uploads = Uploads {
        asks: true,
        bytes: Arc::default(),
    };
    let monitor = uploads.clone();
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route(
                "/keep",
                web::post().to(async |body: web::Payload| {
                    KEPT.set(Some(body));
                    "kept"
                }),
            )
            .route(
                "/read",
                web::post().to(async |body: Bytes| {
                    if let Some(mut kept) = KEPT.take() {
                        while kept.next().await.is_some() {}
                    }
                    body
                }),
            )
            .wrap(HrPrometheus::with_monitor_from(move |_: &mut Registry| {
                monitor.clone()
            })),
    )
    .await;

    for (path, body) in [("/keep", "a long body"), ("/read", "short")] {
        let request = TestRequest::post().uri(path).set_payload(body).to_request();
        call_and_read_body(&app, request).await;
    }

    assert_eq!(*uploads.bytes.lock().unwrap(), [Some(0), Some(5)]);
}

#[actix_web::test]
async fn one_monitor_of_a_pair_is_enough_to_count_request_bodies() {
    let (silent, asking) = (Arc::default(), Arc::default());
    let pair = {
        let (silent, asking) = (Arc::clone(&silent), Arc::clone(&asking));
        move |_: &mut Registry| {
            let (silent, asking) = (Arc::clone(&silent), Arc::clone(&asking));
            (
                Uploads {
                    asks: false,
                    bytes: silent,
                },
                Uploads {
                    asks: true,
                    bytes: asking,
                },
            )
        }
    };
    let app = init_service(
        App::new()
            .app_data(MetricsRegistry::new())
            .route("/", web::post().to(async |body: Bytes| body))
            .wrap(HrPrometheus::with_monitor_from(pair)),
    )
    .await;

    let request = TestRequest::post().set_payload("hello").to_request();
    drop(call_service(&app, request).await);

    assert_eq!(*silent.lock().unwrap(), [Some(5)]);
    assert_eq!(*asking.lock().unwrap(), [Some(5)]);
}
