//! Over HTTP/2, where many requests share a connection, each is counted once.

mod support;

use std::{
    future::{pending, ready},
    io,
    time::{Duration, Instant},
};

use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorUnauthorized,
    middleware::{Next, from_fn},
    rt::{self, task::JoinHandle},
    web::{self, Bytes},
};
use futures_util::{FutureExt as _, future::join_all, stream};
use h2::{
    RecvStream,
    client::{SendRequest, handshake},
};
use hr_prometheus::{
    Ending::{self, Completed, Dropped, Failed, Panicked},
    MetricsRegistry,
};
use support::{TestServer, assert_balanced, eventually, recorder::Recorder};
use tokio::{net::TcpStream, time::sleep};

const PATIENCE: Duration = Duration::from_secs(20);

static CHUNK: [u8; 16_384] = [b'x'; 16_384];

/// A server, an HTTP/2 connection to it, and what is recorded.
struct Measured {
    server: TestServer,
    registry: MetricsRegistry,
    recorder: Recorder,
    client: SendRequest<Bytes>,
    connection: JoinHandle<()>,
}

async fn refuse(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.path() == "/refused" {
        return Err(ErrorUnauthorized("no token"));
    }
    next.call(request).await
}

async fn serve() -> Measured {
    let registry = MetricsRegistry::new();
    let recorder = Recorder::default();
    let server = support::serve(1, {
        let (registry, recorder) = (registry.clone(), recorder.clone());
        move || {
            let endless = || stream::repeat_with(|| Ok::<_, io::Error>(Bytes::from_static(&CHUNK)));
            let broken = || stream::iter([Ok(Bytes::from_static(b"half")), Err(io::Error::other("broken"))]);
            App::new()
                .app_data(registry.clone())
                .route(
                    "/hello/{name}",
                    web::get().to(async |name: web::Path<String>| name.into_inner()),
                )
                .service(
                    web::resource("/endless")
                        .route(web::get().to(move || ready(HttpResponse::Ok().streaming(endless()))))
                        .route(web::head().to(move || ready(HttpResponse::Ok().streaming(endless())))),
                )
                .route("/refused", web::get().to(async || "hello"))
                .route(
                    "/broken",
                    web::get().to(move || ready(HttpResponse::Ok().streaming(broken()))),
                )
                .route(
                    "/panic",
                    web::get().to(async || -> &str { panic!("over HTTP/2") }),
                )
                .route("/hang", web::get().to(pending::<&str>))
                .wrap(from_fn(refuse))
                .wrap(recorder.beside_default())
        }
    });
    let stream = TcpStream::connect(server.address).await.unwrap();
    let (client, connection) = handshake(stream).await.unwrap();
    let connection = rt::spawn(async {
        // However it ends: a test may end it.
        let _ = connection.await;
    });
    Measured {
        server,
        registry,
        recorder,
        client,
        connection,
    }
}

/// A request as h2 takes it, whose type is in a crate that is no dependency of the tests.
fn default_request<R: Default, T>(_: fn(&mut SendRequest<Bytes>, R, bool) -> T) -> R {
    R::default()
}

/// As `eventually`, but leaves the thread to the connection that it drives.
async fn patiently(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

impl Measured {
    /// Sends a request without a body; the status of the response and its body, once the head is there.
    async fn send(&self, method: &str, path: &str) -> Result<(u16, RecvStream), h2::Error> {
        let mut request = default_request(SendRequest::<Bytes>::send_request);
        *request.method_mut() = method.parse().unwrap();
        *request.uri_mut() = format!("http://{}{path}", self.server.address).parse().unwrap();
        let mut client = self.client.clone().ready().await?;
        let (response, _) = client.send_request(request, true)?;
        let response = response.await?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    async fn get(&self, path: &str) -> Result<(u16, String), h2::Error> {
        let (status, mut body) = self.send("GET", path).await?;
        let mut read = Vec::new();
        while let Some(chunk) = body.data().await {
            let chunk = chunk?;
            body.flow_control().release_capacity(chunk.len())?;
            read.extend(chunk);
        }
        Ok((status, String::from_utf8(read).unwrap()))
    }

    /// Waits until as many requests have ended, stops the server, and asserts that these, sorted, are what was
    /// recorded.
    async fn assert_recorded(self, expected: &[(&str, u16, Ending)]) {
        patiently("the requests end", || {
            self.recorder.ended().len() >= expected.len()
        })
        .await;
        // A worker takes its part of the gauge with it, so look before it goes.
        assert_balanced(&self.registry);
        self.stop_and_assert_recorded(expected);
    }

    #[track_caller]
    fn stop_and_assert_recorded(self, expected: &[(&str, u16, Ending)]) {
        self.server.stop(false);
        eventually("the workers are gone", || self.recorder.is_final());

        let ended = self.recorder.ended();
        let mut ended: Vec<_> = ended
            .iter()
            .map(|(request, status, ending, _)| (&**request, *status, *ending))
            .collect();
        ended.sort_by_key(|(request, ..)| *request);
        assert_eq!(ended, expected);
        let count = |labels: &[(&str, &str)]| self.registry.value("request_count_total", labels);
        for (request, status, _) in expected {
            let (method, path) = request.split_once(' ').unwrap();
            let status = status.to_string();
            let labels = [("method", method), ("path", path), ("status", &status)];
            assert!(count(&labels).is_some(), "{labels:?}");
        }
        assert_eq!(count(&[]), Some(expected.iter().map(|_| 1.0).sum()));
        assert_balanced(&self.registry);
    }
}

#[actix_web::test]
async fn streams_that_run_side_by_side_are_counted_one_by_one() {
    let measured = serve().await;

    let paths: Vec<_> = (0..20).map(|n| format!("/hello/{n}")).collect();
    let answers = join_all(paths.iter().map(|path| measured.get(path))).await;

    let expected: Vec<_> = (0..20).map(|n| (200, n.to_string())).collect();
    let answers: Result<Vec<_>, _> = answers.into_iter().collect();
    assert_eq!(answers.unwrap(), expected);
    measured
        .assert_recorded(&[("GET /hello/{name}", 200, Completed); 20])
        .await;
}

#[actix_web::test]
async fn a_stream_that_the_client_resets_during_its_body_is_a_200() {
    let measured = serve().await;

    let (status, mut body) = measured.send("GET", "/endless").await.unwrap();
    assert_eq!(status, 200);
    body.data().await.unwrap().unwrap();
    // The last handle on a stream resets it.
    drop(body);
    // The connection goes on.
    assert_eq!(measured.get("/hello/you").await.unwrap().1, "you");

    measured
        .assert_recorded(&[
            ("GET /endless", 200, Dropped),
            ("GET /hello/{name}", 200, Completed),
        ])
        .await;
}

#[actix_web::test]
async fn a_connection_that_closes_during_a_body_is_a_200() {
    let measured = serve().await;

    let (_, mut body) = measured.send("GET", "/endless").await.unwrap();
    body.data().await.unwrap().unwrap();
    measured.connection.abort();

    measured.assert_recorded(&[("GET /endless", 200, Dropped)]).await;
}

#[actix_web::test]
async fn a_body_that_fails_is_a_200() {
    let measured = serve().await;

    let error = measured.get("/broken").await.unwrap_err();

    assert!(error.is_reset(), "{error}");
    measured.assert_recorded(&[("GET /broken", 200, Failed)]).await;
}

#[actix_web::test]
async fn a_panic_is_a_500_and_the_connection_goes_on() {
    let measured = serve().await;

    let error = measured.get("/panic").await.unwrap_err();
    assert!(error.is_reset(), "{error}");
    assert_eq!(measured.get("/hello/you").await.unwrap(), (200, "you".to_owned()));

    measured
        .assert_recorded(&[
            ("GET /hello/{name}", 200, Completed),
            ("GET /panic", 500, Panicked),
        ])
        .await;
}

#[actix_web::test]
async fn an_error_of_an_inner_middleware_has_the_status_of_its_response() {
    let measured = serve().await;

    assert_eq!(
        measured.get("/refused").await.unwrap(),
        (401, "no token".to_owned())
    );

    measured
        .assert_recorded(&[("GET /refused", 401, Completed)])
        .await;
}

#[actix_web::test]
async fn head_is_complete_at_its_head() {
    let measured = serve().await;

    let (status, body) = measured.send("HEAD", "/endless").await.unwrap();

    assert_eq!(status, 200);
    assert!(body.is_end_stream());
    measured
        .assert_recorded(&[("HEAD /endless", 200, Completed)])
        .await;
}

#[actix_web::test]
async fn a_handler_that_still_waits_when_the_server_stops_is_a_499() {
    let measured = serve().await;

    let mut answer = Box::pin(measured.get("/hang"));
    // One poll sends it.
    assert!((&mut answer).now_or_never().is_none());
    patiently("the request arrives", || {
        measured.registry.value("requests_in_progress", &[]) == Some(1.0)
    })
    .await;
    drop(answer);
    measured.connection.abort();

    measured.stop_and_assert_recorded(&[("GET /hang", 499, Dropped)]);
}
