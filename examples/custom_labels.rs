//! Custom labels on the metrics of the default monitor, without a custom monitor.
//!
//! ```console
//! $ cargo run --example custom_labels      # PORT chooses another port than 8080
//! Listening on http://127.0.0.1:8080
//! ```
//!
//! In another terminal:
//!
//! ```console
//! $ curl -s -H 'Authorization: Bearer key-of-acme' http://127.0.0.1:8080/v1/orders
//! No orders of acme yet.
//! $ curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/v2/orders
//! 401
//! $ curl -s http://127.0.0.1:8080/metrics | grep request_count_total
//! request_count_total{method="GET",path="/{version}/orders",status="200",version="v1",tenant="acme"} 1
//! request_count_total{method="GET",path="/{version}/orders",status="401",version="v2",tenant="none"} 1
//! ```
//!
//! `request_latency` has the same two labels. The gauge `requests_in_progress` does not: its requests have not been
//! answered yet.
//!
//! The derive macro writes `::prometheus_client`, so you depend on that crate too, in the version that hr-prometheus uses:
//!
//! ```toml
//! actix-web = "4"
//! env_logger = "0.11"
//! hr-prometheus = "0.1"
//! prometheus-client = "0.26"
//! ```
use std::{env, io};

use actix_web::{
    App, Error, HttpMessage as _, HttpServer, Responder,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorUnauthorized,
    http::header,
    middleware::{Next, from_fn},
    web::{self, ReqData},
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, RequestLabels, RequestStart, ResponseStart, metrics_scope,
};
use prometheus_client::encoding::EncodeLabelSet;

/// The labels. Each has few values, and a client cannot make up others.
#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct Labels {
    version: &'static str,
    tenant: &'static str,
}

impl RequestLabels for Labels {
    /// Read from the request itself.
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        let version = match start.request().path().split('/').nth(1) {
            Some("v1") => "v1",
            Some("v2") => "v2",
            _ => "none",
        };
        Self {
            version,
            tenant: "none",
        }
    }

    /// Found out by the application.
    fn at_response(&mut self, response: &ResponseStart<'_>) {
        if let Some(Tenant(tenant)) = response.request().extensions().get() {
            self.tenant = tenant;
        }
    }
}

/// The sender of the request.
#[derive(Clone, Copy)]
struct Tenant(&'static str);

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
            .service(
                web::scope("/{version:v1|v2}")
                    .route("/orders", web::get().to(orders))
                    .wrap(from_fn(authenticate)),
            )
            .wrap(HrPrometheus::with_monitor::<DefaultMonitor<Labels>>())
    })
    .bind(("127.0.0.1", port))?;

    for address in server.addrs() {
        println!("Listening on http://{address}");
    }
    server.run().await
}

async fn orders(tenant: ReqData<Tenant>) -> impl Responder {
    format!("No orders of {} yet.\n", tenant.0)
}

/// Puts the tenant into the extensions of the request: for handlers, and for the labels.
async fn authenticate(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let key = request.headers().get(header::AUTHORIZATION);
    let tenant = match key.map(header::HeaderValue::as_bytes) {
        Some(b"Bearer key-of-acme") => Tenant("acme"),
        Some(b"Bearer key-of-globex") => Tenant("globex"),
        _ => return Err(ErrorUnauthorized("Say who you are.\n")),
    };
    request.extensions_mut().insert(tenant);
    next.call(request).await
}
