//! What lives as long as its client likes is counted and timed when its head is sent; the gauge has it until it closes.

mod support;

use std::future::{pending, ready};

use actix_web::{
    App, Error, HttpRequest, HttpResponse,
    web::{self, Bytes},
};
use futures_util::StreamExt as _;
use hr_prometheus::{
    Ending::{self, Completed, Dropped},
    MetricsRegistry,
};
use support::{
    TestServer, assert_balanced, capture_log,
    client::Client,
    eventually, eventually_has,
    fed_body::{FedBody, fed_body},
    logged,
    recorder::Recorder,
};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

/// A server with a WebSocket and with a stream that the test feeds, and what is recorded of them.
struct Measured {
    server: TestServer,
    registry: MetricsRegistry,
    recorder: Recorder,
    feed: UnboundedSender<Bytes>,
}

/// Serves the stream as `content_type`.
fn serve(content_type: &'static str) -> Measured {
    let registry = MetricsRegistry::new();
    let recorder = Recorder::default();
    let (feed, body) = fed_body();
    let server = support::serve(1, {
        let (registry, recorder) = (registry.clone(), recorder.clone());
        move || {
            let body = body.clone();
            let stream = move || {
                let mut response = HttpResponse::Ok();
                ready(response.content_type(content_type).streaming(body.stream()))
            };
            App::new()
                .app_data(registry.clone())
                .service(
                    web::resource("/stream")
                        .route(web::get().to(stream.clone()))
                        .route(web::head().to(stream)),
                )
                .route("/socket", web::get().to(socket))
                .wrap(recorder.beside_default())
        }
    });
    Measured {
        server,
        registry,
        recorder,
        feed,
    }
}

/// Sends back what it is sent until the client closes.
async fn socket(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    actix_web::rt::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            match message {
                actix_ws::Message::Text(text) => session.text(text).await.unwrap(),
                _ => break,
            }
        }
        let _ = session.close(None).await;
    });
    Ok(response)
}

impl Measured {
    /// A client of the stream that has read `event`.
    fn listen(&self, event: &'static str) -> Client {
        let mut client = self.server.request("GET", "/stream");
        self.feed.send(Bytes::from_static(event.as_bytes())).unwrap();
        client.read_until(event);
        client
    }

    /// A client of the WebSocket that has said something and heard it back.
    fn talk(&self) -> Client {
        let mut client = self.server.connect();
        client.send(
            "GET /socket HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        );
        let head = client.read_until("\r\n\r\n");
        assert!(head.starts_with("HTTP/1.1 101 Switching Protocols\r\n"), "{head}");
        client.send(b"\x81\x85\0\0\0\0hello");
        client.read_until("\u{5}hello");
        client
    }

    /// Asserts that one request is under way, and whether it has been counted and timed.
    #[track_caller]
    fn assert_open(&self, counted: Option<f64>) {
        let value = |name, labels: &[_]| self.registry.value(name, labels);
        assert_eq!(value("requests_in_progress", &[]), Some(1.0));
        assert_eq!(value("request_count_total", &[]), counted);
        assert_eq!(value("request_latency_count", &[]), counted);
        assert_eq!(value("request_latency_bucket", &[("le", "+Inf")]), counted);
    }

    /// Waits until the one request has ended, stops the server, and asserts that it was counted once.
    #[track_caller]
    fn assert_closed(self, request: &str, status: u16, ending: Ending) {
        eventually("the request ends", || !self.recorder.ended().is_empty());
        // A worker takes its part of the gauge with it, so look before it goes.
        assert_balanced(&self.registry);
        self.stop_and_assert_closed(request, status, ending);
    }

    #[track_caller]
    fn stop_and_assert_closed(self, request: &str, status: u16, ending: Ending) {
        self.server.stop(false);
        eventually("the workers are gone", || self.recorder.is_final());
        let ended = self.recorder.ended();
        let ended: Vec<_> = ended
            .iter()
            .map(|(request, status, ending, _)| (&**request, *status, *ending))
            .collect();
        assert_eq!(ended, [(request, status, ending)]);
        assert_eq!(self.registry.value("request_count_total", &[]), Some(1.0));
        let (method, path) = request.split_once(' ').unwrap();
        let labels = [
            ("method", method),
            ("path", path),
            ("status", &*status.to_string()),
        ];
        assert_eq!(self.registry.value("request_count_total", &labels), Some(1.0));
        assert_balanced(&self.registry);
    }
}

#[track_caller]
fn assert_counted_at_the_head(content_type: &'static str) {
    let service = serve(content_type);

    let client = service.listen("data: 1\n\n");
    service.assert_open(Some(1.0));
    client.reset();

    service.assert_closed("GET /stream", 200, Dropped);
}

#[test]
fn an_event_stream_is_counted_at_its_head() {
    assert_counted_at_the_head("text/event-stream");
}

#[test]
fn an_event_stream_with_a_parameter_is_counted_at_its_head() {
    assert_counted_at_the_head("text/event-stream; charset=utf-8");
    assert_counted_at_the_head("text/event-stream ;charset=utf-8");
}

#[test]
fn an_event_stream_in_upper_case_is_counted_at_its_head() {
    assert_counted_at_the_head("TEXT/EVENT-STREAM");
}

#[test]
fn a_stream_of_pictures_is_counted_at_its_head() {
    assert_counted_at_the_head("multipart/x-mixed-replace; boundary=frame");
}

#[test]
fn an_event_stream_that_comes_to_an_end_is_counted_once() {
    let mut service = serve("text/event-stream");

    let mut client = service.listen("data: 1\n\n");
    service.assert_open(Some(1.0));
    // The only sender is gone.
    service.feed = unbounded_channel().0;
    client.read_until("\r\n0\r\n\r\n");

    service.assert_closed("GET /stream", 200, Completed);
}

#[test]
fn an_ordinary_stream_is_not_counted_before_its_end() {
    for content_type in [
        "application/octet-stream",
        "text/event-streams",
        "multipart/mixed",
    ] {
        let service = serve(content_type);

        let client = service.listen("data: 1\n\n");
        service.assert_open(None);
        client.reset();

        service.assert_closed("GET /stream", 200, Dropped);
    }
}

#[test]
fn an_event_stream_that_is_open_when_the_server_stops_is_counted_once() {
    let service = serve("text/event-stream");

    let _client = service.listen("data: 1\n\n");
    service.assert_open(Some(1.0));

    service.stop_and_assert_closed("GET /stream", 200, Dropped);
}

#[test]
fn head_of_an_event_stream_is_counted_once() {
    let service = serve("text/event-stream");

    let mut client = service.server.request("HEAD", "/stream");
    client.read_until("\r\n\r\n");

    service.assert_closed("HEAD /stream", 200, Completed);
}

#[test]
fn a_web_socket_is_counted_at_its_handshake() {
    let service = serve("text/plain");

    let mut client = service.talk();
    service.assert_open(Some(1.0));
    client.send(b"\x88\x80\0\0\0\0");

    service.assert_closed("GET /socket", 101, Completed);
}

#[test]
fn a_web_socket_whose_client_vanishes_is_counted_once() {
    let service = serve("text/plain");

    let client = service.talk();
    service.assert_open(Some(1.0));
    client.reset();

    service.assert_closed("GET /socket", 101, Dropped);
}

#[test]
fn a_web_socket_that_is_open_when_the_server_stops_is_counted_once() {
    let service = serve("text/plain");

    let _client = service.talk();
    service.assert_open(Some(1.0));

    service.stop_and_assert_closed("GET /socket", 101, Dropped);
}

/// Answers with a stream of events, but for `?hang`.
async fn events(request: HttpRequest, body: web::Data<FedBody>) -> HttpResponse {
    if request.query_string() == "hang" {
        return pending().await;
    }
    let mut response = HttpResponse::Ok();
    response
        .content_type("text/event-stream")
        .streaming(body.stream())
}

/// Asserts that a stream of events at `path`, served by `route` below `scope`, is counted once under `label`, and that
/// a request which hangs before its head meanwhile is shown under `shown` to those who do not know the routes.
#[track_caller]
fn assert_counted_once_below(scope: &'static str, route: &'static str, path: &str, label: &str, shown: &str) {
    capture_log();
    let registry = MetricsRegistry::new();
    let recorder = Recorder::default();
    let (feed, body) = fed_body();
    let server = support::serve(1, {
        let (registry, recorder) = (registry.clone(), recorder.clone());
        move || {
            App::new()
                .app_data(registry.clone())
                .app_data(web::Data::new(body.clone()))
                .service(web::scope(scope).route(route, web::get().to(events)))
                .wrap(recorder.beside_default())
        }
    });

    let mut stream = server.request("GET", path);
    feed.send(Bytes::from_static(b"data: 1\n\n")).unwrap();
    stream.read_until("data: 1\n\n");
    let value = |name, labels: &[_]| registry.value(name, labels);
    assert_eq!(value("request_count_total", &[("path", label)]), Some(1.0));

    let hanging = server.request("GET", &format!("{path}?hang"));
    eventually_has(&registry, "requests_in_progress", &[], 2.0);
    let in_progress = [label, shown].map(|path| value("requests_in_progress", &[("path", path)]));
    let expected = if label == shown { 2.0 } else { 1.0 };
    assert_eq!(in_progress, [Some(expected); 2]);

    hanging.reset();
    eventually_has(&registry, "requests_in_progress", &[], 1.0);
    stream.reset();
    eventually("both end", || recorder.ended().len() == 2);
    for status in ["200", "499"] {
        let labels = [("path", label), ("status", status)];
        assert_eq!(value("request_count_total", &labels), Some(1.0), "{status}");
    }
    assert_eq!(value("request_count_total", &[]), Some(2.0));
    assert_balanced(&registry);
    assert_eq!(logged("panicked"), [""; 0]);
}

#[test]
fn an_event_stream_below_scopes_that_name_one_parameter_twice_is_counted_once() {
    assert_counted_once_below("/{id}", "/{id}", "/1/2", "/{id}/{id}", "/{id}/{id}");
}

#[test]
fn an_event_stream_with_more_parameters_than_one_pattern_may_have_is_counted_once() {
    assert_counted_once_below(
        "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}",
        "/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}",
        "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17",
        "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}",
        "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}/{j}/{k}/{l}/{m}/{n}/{o}/{p}/{q}",
    );
}
