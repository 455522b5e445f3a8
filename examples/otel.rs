//! Metrics with the names of OpenTelemetry, of the process, and of the scrapes themselves.
//!
//! ```console
//! $ cargo run --example otel --features process          # or PORT=8081 cargo run …
//! Metrics are at http://127.0.0.1:8080/metrics
//! ```
//!
//! A user and an order that does not exist:
//!
//! ```console
//! $ curl http://127.0.0.1:8080/users/7
//! user 7
//! $ curl -s -X POST http://127.0.0.1:8080/orders -d tea
//! $ curl -s http://127.0.0.1:8080/metrics | grep duration_seconds_count
//! http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/users/{id}",network_protocol_version="1.1",url_scheme="http"} 1
//! http_server_request_duration_seconds_count{error_type="503",http_request_method="POST",http_response_status_code="503",http_route="/orders",network_protocol_version="1.1",url_scheme="http"} 1
//! ```
//!
//! With `#[tokio::main]`, unlike `#[actix_web::main]`, tokio counts the tasks of each worker as well.
use std::{env, io};

use actix_web::{App, HttpResponse, HttpServer, web};
use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor, metrics_scope, process_metrics};

#[tokio::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let port = env::var("PORT").map_or(Ok(8080), |port| port.parse());
    let port: u16 = port.map_err(|error| io::Error::other(format!("PORT: {error}")))?;

    MetricsRegistry::global()
        .with_scrape_metrics()
        .register_with(process_metrics);
    let monitor = OtelMonitor::builder()
        .active_requests()
        .request_body_size()
        .response_body_size();
    let metrics = HrPrometheus::with_builder(monitor).worker_metrics();

    let server = HttpServer::new(move || {
        App::new()
            .service(metrics_scope())
            .route("/users/{id}", web::get().to(user))
            .route("/orders", web::post().to(order))
            .wrap(metrics.clone())
    })
    .bind(("127.0.0.1", port))?;
    for address in server.addrs() {
        println!("Metrics are at http://{address}/metrics");
    }
    server.run().await
}

async fn user(id: web::Path<u32>) -> String {
    format!("user {id}\n")
}

async fn order(_: web::Bytes) -> HttpResponse {
    HttpResponse::ServiceUnavailable().finish()
}
