//! An application whose requests are measured, and `/metrics` for Prometheus to scrape.
//!
//! ```console
//! $ cargo run --example quickstart          # or PORT=8081 cargo run …; PORT=0 takes a free one
//! Listening on http://127.0.0.1:8080
//! Metrics are at http://127.0.0.1:8080/metrics
//! ```
//!
//! In another terminal, where every fifth call of `/flaky` fails:
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
//! $ curl -s http://127.0.0.1:8080/slow & sleep 0.3; curl -s http://127.0.0.1:8080/metrics | grep slow
//! requests_in_progress{method="GET",path="/slow"} 1
//! That took a second.
//! ```
use std::{
    convert::Infallible,
    env,
    io::{self, Write as _},
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use actix_web::{App, HttpResponse, HttpServer, Responder, rt::time::sleep, web};
use futures_util::stream::{self, StreamExt as _};
use hr_prometheus::{HrPrometheus, metrics_scope};

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let port = port()?;

    let server = HttpServer::new(|| {
        App::new()
            .service(metrics_scope()) // GET /metrics
            .route("/", web::get().to(index))
            .route("/hello/{name}", web::get().to(hello))
            .route("/flaky", web::get().to(flaky))
            .route("/stream", web::get().to(chunks))
            .route("/slow", web::get().to(slow))
            .wrap(HrPrometheus::default()) // last: outermost, sees what other middleware answers
    })
    .bind(("127.0.0.1", port))
    .map_err(|error| {
        let message = format!("cannot listen on port {port}: {error}; set PORT to a free one, or to 0");
        io::Error::new(error.kind(), message)
    })?;

    // With PORT=0 only the server knows where it listens.
    for address in server.addrs() {
        println!("Listening on http://{address}");
        println!("Metrics are at http://{address}/metrics");
    }
    io::stdout().flush()?;
    server.run().await
}

async fn index() -> impl Responder {
    "Try /hello/alice, /flaky, /stream and /slow, then look at /metrics.\n"
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

/// The port in the environment's `PORT`, 8080 if there is none; 0 lets the system choose.
fn port() -> io::Result<u16> {
    let Some(port) = env::var_os("PORT") else {
        return Ok(8080);
    };
    port.to_str().and_then(|port| port.parse().ok()).ok_or_else(|| {
        io::Error::other(format!(
            "PORT is `{}`, which is no port: set it to a number from 0 to 65535, or unset it to get 8080",
            port.display(),
        ))
    })
}
