//! What the tests arrange with: a real server on loopback, and patience with a limit.
#![allow(dead_code, unreachable_pub, reason = "each test file uses its own part")]

pub mod bomb;
pub mod client;
pub mod families;
pub mod fed_body;
pub mod labels;
pub mod recorder;

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use actix_service::{IntoServiceFactory, Service, ServiceFactory};
use actix_web::{
    HttpServer,
    body::MessageBody,
    dev::{AppConfig, Response, ServerHandle},
    rt::System,
};
use hr_prometheus::MetricsRegistry;

/// How long a test waits for what must come before it gives up. It asserts nothing about speed.
const PATIENCE: Duration = Duration::from_secs(20);

/// A real `HttpServer` on loopback, in a thread of its own; stopped when dropped.
pub struct TestServer {
    pub address: SocketAddr,
    handle: ServerHandle,
    thread: Option<JoinHandle<()>>,
}

/// Serves the application that `app` makes with `workers` workers: HTTP/1.1 and cleartext HTTP/2.
pub fn serve<F, I, S, B>(workers: usize, app: F) -> TestServer
where
    F: Fn() -> I + Send + Clone + 'static,
    I: IntoServiceFactory<S, actix_http::Request>,
    S: ServiceFactory<actix_http::Request, Config = AppConfig> + 'static,
    S::Error: Into<actix_web::Error> + 'static,
    S::InitError: fmt::Debug,
    S::Response: Into<Response<B>> + 'static,
    <S::Service as Service<actix_http::Request>>::Future: 'static,
    S::Service: 'static,
    B: MessageBody + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("an address");
    let (ready, started) = mpsc::channel();
    let thread = thread::spawn(move || {
        System::new().block_on(async move {
            let server = HttpServer::new(app)
                .workers(workers)
                .disable_signals()
                .shutdown_timeout(1)
                .listen_auto_h2c(listener)
                .expect("a listener")
                .run();
            ready.send(server.handle()).expect("the test waits");
            server.await.expect("a server that ends well");
        });
    });
    TestServer {
        address,
        handle: started.recv().expect("a server that starts"),
        thread: Some(thread),
    }
}

impl TestServer {
    /// Stops the server. Requests under way are dropped, unless `graceful`; workers may still be at it on return.
    pub fn stop(mut self, graceful: bool) {
        self.stop_and_join(graceful);
    }

    fn stop_and_join(&mut self, graceful: bool) {
        if let Some(thread) = self.thread.take() {
            drop(self.handle.stop(graceful));
            thread.join().expect("a server thread that did not panic");
        }
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop_and_join(false);
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < PATIENCE, "waited in vain: {what}");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Waits until the sample `name` with `labels` has the value `expected`.
#[track_caller]
pub fn eventually_has(registry: &MetricsRegistry, name: &str, labels: &[(&str, &str)], expected: f64) {
    let begun = Instant::now();
    loop {
        let found = registry.value(name, labels);
        if found == Some(expected) {
            return;
        }
        assert!(
            begun.elapsed() < PATIENCE,
            "waited in vain for {expected} of {name} {labels:?}; it is {found:?} in\n{}",
            registry.encode().expect("a scrape"),
        );
        thread::sleep(Duration::from_millis(5));
    }
}

/// A scrape without the families that say how much is omitted.
pub fn without_omissions(scrape: &str) -> String {
    let is_other = |line: &&str| {
        !line.contains("hr_prometheus_scrape_families_omitted")
            && !line.contains("hr_prometheus_scrape_series_omitted")
    };
    scrape.split_inclusive('\n').filter(is_other).collect()
}

/// Asserts what must hold whenever no request runs: each request was counted and timed once, and none is left.
#[track_caller]
pub fn assert_balanced(registry: &MetricsRegistry) {
    let scrape = registry.encode().expect("a scrape");
    assert_eq!(
        registry.value("request_count_total", &[]),
        registry.value("request_latency_count", &[]),
        "counter and histogram disagree in\n{scrape}",
    );
    assert!(
        registry
            .value("requests_in_progress", &[])
            .is_none_or(|requests| requests == 0.0),
        "the gauge is not back at 0 in\n{scrape}",
    );
}

/// Sends one request without a body on a connection of its own; the head and the body of the response, both empty
/// if the server closed without a byte.
#[track_caller]
pub fn http(address: SocketAddr, method: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a limit");
    let request = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).expect("a server that reads");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("a response");
    let (head, body) = response.split_once("\r\n\r\n").unwrap_or_default();
    (head.to_owned(), body.to_owned())
}

/// What was logged in this process since `capture_log`.
static LOG: Mutex<Vec<String>> = Mutex::new(Vec::new());

struct Capture;

impl log::Log for Capture {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = format!("{} {}", record.level(), record.args());
        LOG.lock().unwrap_or_else(PoisonError::into_inner).push(line);
    }

    fn flush(&self) {}
}

/// Keeps what is logged from now on, by all tests of this process.
pub fn capture_log() {
    // The first test that gets here installs it for the others.
    let _ = log::set_logger(&Capture);
    log::set_max_level(log::LevelFilter::Warn);
}

/// The records that contain `marker`, which no other test of this process logs.
pub fn logged(marker: &str) -> Vec<String> {
    let log = LOG.lock().unwrap_or_else(PoisonError::into_inner);
    log.iter().filter(|line| line.contains(marker)).cloned().collect()
}

/// Scrapes `registry` through an application of its own, with these headers.
pub async fn scrape_with(
    registry: &MetricsRegistry,
    headers: &[(&'static str, &str)],
) -> actix_web::dev::ServiceResponse {
    let app = actix_web::App::new()
        .app_data(registry.clone())
        .service(hr_prometheus::metrics_scope());
    let app = actix_web::test::init_service(app).await;
    let mut request = actix_web::test::TestRequest::get().uri("/metrics");
    for header in headers {
        request = request.append_header(*header);
    }
    actix_web::test::call_service(&app, request.to_request()).await
}

/// The scrape of `registry` as the Prometheus text format 0.0.4 has it.
pub async fn scrape_prometheus_text(registry: &MetricsRegistry) -> String {
    let response = scrape_with(registry, &[("Accept", "text/plain;version=0.0.4")]).await;
    let body = actix_web::test::read_body(response).await;
    String::from_utf8(body.to_vec()).expect("UTF-8")
}
