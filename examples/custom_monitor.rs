//! A custom monitor beside the default one: it counts requests by tenant, from a header.
//!
//! ```console
//! $ cargo run --example custom_monitor      # PORT chooses another port than 8080
//! Listening on http://127.0.0.1:8080
//! ```
//!
//! In another terminal, where `nobody` is not known and becomes `other`:
//!
//! ```console
//! $ curl -s -H 'X-Tenant: acme' 'http://127.0.0.1:8080/orders?call=[1-2]'
//! No orders yet.
//! No orders yet.
//! $ curl -s -H 'X-Tenant: nobody' http://127.0.0.1:8080/orders
//! No orders yet.
//! $ curl -s http://127.0.0.1:8080/metrics | grep -E 'request_count|tenant' | sort
//! # HELP request_count Number of requests received
//! # HELP tenant_requests Requests by tenant.
//! # TYPE request_count counter
//! # TYPE tenant_requests counter
//! request_count_total{method="GET",path="/orders",status="200"} 3
//! tenant_requests_total{tenant="acme"} 2
//! tenant_requests_total{tenant="other"} 1
//! ```
//!
//! A scrape is a request too: in the next one `/metrics` is counted, and `other` is 2.
use std::{env, io};

use actix_web::{App, HttpServer, Responder, web};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, RequestEnd, RequestMonitor, RequestStart, metrics_scope,
    prometheus_client::{
        metrics::{counter::Counter, family::Family},
        registry::Registry,
    },
};

/// Counts requests by tenant.
#[derive(Clone)]
struct TenantMonitor {
    requests: Family<[(&'static str, &'static str); 1], Counter>,
}

impl RequestMonitor for TenantMonitor {
    /// The tenant: the headers are gone when the request ends.
    type InFlight = &'static str;

    fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("tenant_requests", "Requests by tenant", requests.clone());
        Self { requests }
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> &'static str {
        let header = request.request().headers().get("X-Tenant");
        tenant_label(header.map_or(b"", |value| value.as_bytes()))
    }

    fn update_end_metrics(&self, tenant: &'static str, _end: &RequestEnd<'_>) {
        self.requests.get_or_create(&[("tenant", tenant)]).inc();
    }
}

/// The label of a tenant. The client writes the header, so only known names become labels: each further value would
/// be a series that Prometheus keeps, and anyone could send a million of them.
fn tenant_label(header: &[u8]) -> &'static str {
    match header {
        b"acme" => "acme",
        b"globex" => "globex",
        _ => "other",
    }
}

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let port = env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    let port = port
        .parse()
        .map_err(|_| io::Error::other(format!("PORT is `{port}`: set it to a number from 0 to 65535")))?;

    let server = HttpServer::new(|| {
        App::new()
            .service(metrics_scope())
            .route("/orders", web::get().to(orders))
            .wrap(HrPrometheus::with_monitor::<(DefaultMonitor, TenantMonitor)>())
    })
    .bind(("127.0.0.1", port))?;

    for address in server.addrs() {
        println!("Listening on http://{address}");
    }
    server.run().await
}

async fn orders() -> impl Responder {
    "No orders yet.\n"
}
