//! An application with request metrics, and `/metrics` for Prometheus to scrape.
//!
//! ```console
//! $ cargo run --example quickstart          # or PORT=8081 cargo run …; PORT=0 takes a free one
//! Listening on http://127.0.0.1:8080
//! Metrics are at http://127.0.0.1:8080/metrics
//! Watch them at http://127.0.0.1:8080/live
//! ```
//!
//! Three built-in visitors call its routes, so that there is something to watch; `VISITORS=0` disables them. Then only
//! the requests that you send from another terminal are counted. Every fifth call of `/flaky` fails:
//!
//! ```console
//! $ curl http://127.0.0.1:8080/hello/alice
//! Hello, alice!
//! $ curl -s 'http://127.0.0.1:8080/flaky?call=[1-5]'
//! It went well.
//! It went well.
//! It went well.
//! It went well.
//! Not this time.
//! $ curl -s http://127.0.0.1:8080/nowhere
//! $ curl -s http://127.0.0.1:8080/metrics | grep request_count
//! # HELP request_count Number of requests received
//! # TYPE request_count counter
//! request_count_total{method="GET",path="/flaky",status="200"} 4
//! request_count_total{method="GET",path="/flaky",status="503"} 1
//! request_count_total{method="GET",path="/hello/{name}",status="200"} 1
//! request_count_total{method="GET",path="unmatched",status="404"} 1
//! ```
//!
//! A request that has not ended is in the gauge:
//!
//! ```console
//! $ curl -s http://127.0.0.1:8080/slow & sleep 0.3; curl -s http://127.0.0.1:8080/metrics | grep 'progress{.*slow'
//! requests_in_progress{method="GET",path="/slow"} 1
//! That took a second.
//! ```
//!
//! One scrape says which worker is busy and which route keeps it so, how many connections are open and how many requests
//! each had, and whether `/slow` met its objective:
//!
//! ```console
//! $ curl -s http://127.0.0.1:8080/blocking
//! That blocked a worker.
//! $ curl -s http://127.0.0.1:8080/metrics | grep -E '^actix_worker_busy|^request_time_on_worker_seconds_sum.*(block|slow)'
//! request_time_on_worker_seconds_sum{method="GET",path="/blocking"} 0.080294
//! request_time_on_worker_seconds_sum{method="GET",path="/slow"} 0.000501644
//! actix_worker_busy_seconds_total{worker="0"} 0.085932176
//! actix_worker_busy_seconds_total{worker="1"} 0.001969810
//! $ curl -s http://127.0.0.1:8080/metrics | grep -E '^actix_connection(s_open|_requests_sum|_requests_count)|^request_objective_m.*slow'
//! actix_connections_open{scheme="http"} 1
//! actix_connection_requests_sum{scheme="http"} 12.0
//! actix_connection_requests_count{scheme="http"} 7
//! request_objective_met_total{path="/slow"} 0
//! request_objective_missed_total{path="/slow"} 1
//! ```
use std::{
    convert::Infallible,
    env,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::atomic::{AtomicU64, Ordering},
    thread,
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, Responder, rt::time::sleep, web};
use futures_util::stream::{self, StreamExt as _};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, connection_metrics, live_scope, metrics_scope,
};

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let port = number("PORT", 8080)?;
    let visitors = number("VISITORS", 3)?;
    // `HrPrometheus::default()` would do; this measures the workers, what keeps them busy, and objectives as well.
    let monitor = DefaultMonitor::builder()
        .oldest_in_progress()
        .peak_in_progress()
        .time_on_worker([0.001, 0.01, 0.1])
        .longest_poll([0.001, 0.01, 0.1])
        .objective("/slow", 0.99, Duration::from_millis(500))
        .objective("/hello/{name}", 0.999, Duration::from_millis(100));
    let metrics = HrPrometheus::with_builder(monitor)
        .worker_metrics()
        .route_metrics();

    let server = HttpServer::new(move || {
        App::new()
            .service(metrics_scope()) // GET /metrics
            .service(live_scope()) // GET /live, with the feature `live`
            .route("/", web::get().to(index))
            .route("/hello/{name}", web::get().to(hello))
            .route("/flaky", web::get().to(flaky))
            .route("/stream", web::get().to(chunks))
            .route("/slow", web::get().to(slow))
            .route("/blocking", web::get().to(blocking))
            .wrap(metrics.clone()) // last: outermost, sees what other middleware answers
    })
    .on_connect(connection_metrics(&MetricsRegistry::global())?)
    .bind(("127.0.0.1", port))
    .map_err(|error| {
        let message = format!("cannot listen on port {port}: {error}; set PORT to a free one, or to 0");
        io::Error::new(error.kind(), message)
    })?;

    // With PORT=0 only the server knows where it listens.
    for address in server.addrs() {
        println!("Listening on http://{address}");
        println!("Metrics are at http://{address}/metrics");
        println!("Watch them at http://{address}/live");
        for visitor in 0..visitors {
            thread::spawn(move || visit(address, visitor.into()));
        }
    }
    io::stdout().flush()?;
    server.run().await
}

async fn index() -> impl Responder {
    "Try /hello/alice, /flaky, /stream, /slow and /blocking, then look at /live and /metrics.\n"
}

async fn hello(name: web::Path<String>) -> impl Responder {
    format!("Hello, {name}!\n")
}

/// Fails at every fifth call, whichever worker it reaches.
async fn flaky() -> HttpResponse {
    static CALLS: AtomicU64 = AtomicU64::new(1);
    if CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(5) {
        HttpResponse::ServiceUnavailable().body("Not this time.\n")
    } else {
        HttpResponse::Ok().body("It went well.\n")
    }
}

/// Sends five chunks, one every tenth of a second: the latency is that of the last one.
async fn chunks() -> HttpResponse {
    HttpResponse::Ok().streaming(stream::iter(1..=5).then(async |n| {
        sleep(Duration::from_millis(100)).await;
        Ok::<_, Infallible>(web::Bytes::from(format!("chunk {n} of 5\n")))
    }))
}

/// Takes a second, in which `requests_in_progress` has it.
async fn slow() -> impl Responder {
    sleep(Duration::from_secs(1)).await;
    "That took a second.\n"
}

/// Holds its worker for 80 ms, in which the worker can do nothing else. This is what not to do: wait with
/// [`sleep`](fn@sleep), and compute in [`web::block`].
async fn blocking() -> impl Responder {
    thread::sleep(Duration::from_millis(80));
    "That blocked a worker.\n"
}

/// Calls one route after the other, as long as the server answers; one that blocks now and then.
fn visit(address: SocketAddr, mut step: u64) {
    const PATHS: [&str; 7] = [
        "/",
        "/hello/alice",
        "/flaky",
        "/hello/bob",
        "/stream",
        "/slow",
        "/nowhere",
    ];

    let get = |path: &str| {
        let mut connection = TcpStream::connect(address)?;
        write!(
            connection,
            "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
        )?;
        connection.read_to_end(&mut Vec::new())
    };
    loop {
        // Numbers that look random: steps of a linear congruential generator.
        step = step
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let number = (step >> 33) as usize;
        let path = if number.is_multiple_of(20) {
            "/blocking"
        } else {
            PATHS[number % PATHS.len()]
        };
        if get(path).is_err() {
            return;
        }
        thread::sleep(Duration::from_millis(step >> 57));
    }
}

/// The number in this variable of the environment; of ports, 0 lets the system choose.
fn number(variable: &str, default: u16) -> io::Result<u16> {
    let Some(number) = env::var_os(variable) else {
        return Ok(default);
    };
    number
        .to_str()
        .and_then(|number| number.parse().ok())
        .ok_or_else(|| {
            io::Error::other(format!(
                "{variable} is `{}`: set it to a number from 0 to 65535, or unset it to get {default}",
                number.display(),
            ))
        })
}
