//! `/metrics` on a separate port behind a bearer token; the public application does not serve it.
//!
//! If you need neither the token nor the time for a last scrape, `hr_prometheus::metrics_server` takes one line.
//!
//! ```console
//! $ METRICS_TOKEN=secret cargo run --example admin_port      # PORT and ADMIN_PORT choose other ports
//! The application is at http://127.0.0.1:8080
//! Metrics are at http://127.0.0.1:8081/metrics
//! ```
//!
//! In another terminal:
//!
//! ```console
//! $ curl http://127.0.0.1:8080/hello/alice
//! Hello, alice!
//! $ curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8080/metrics
//! 404
//! $ curl -s -o /dev/null -w '%{http_code}\n' http://127.0.0.1:8081/metrics
//! 401
//! $ curl -s -H 'Authorization: Bearer secret' http://127.0.0.1:8081/metrics | grep request_count_total
//! request_count_total{method="GET",path="/hello/{name}",status="200"} 1
//! request_count_total{method="GET",path="unmatched",status="404"} 1
//! ```
//!
//! Ctrl-C (or SIGTERM) stops the application. Its metrics are served for another 20 seconds, so that Prometheus sees
//! the last requests; a second Ctrl-C ends that too.
//!
//! Prometheus sends the token with `authorization: {credentials_file: /etc/prometheus/token}` in its scrape
//! configuration. In a container the admin server listens on `0.0.0.0`, on a port that is not published.
use std::{env, io, pin::pin, time::Duration};

use actix_web::{
    App, Error, HttpServer, Responder,
    dev::ServiceRequest,
    rt::{self, signal, time::timeout},
    web,
};
use actix_web_httpauth::{
    extractors::{
        AuthenticationError,
        bearer::{self, BearerAuth},
    },
    middleware::HttpAuthentication,
};
use futures_util::future::select;
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};

/// How long metrics are served after the application has stopped: a little more than the time between two scrapes.
const LAST_SCRAPE: Duration = Duration::from_secs(20);

/// The token that scrapers must send.
struct Token(String);

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    let token = env::var("METRICS_TOKEN")
        .map_err(|_| io::Error::other("set METRICS_TOKEN to the token that scrapers must send"))?;
    let token = web::Data::new(Token(token));
    // One registry: the application writes to it, the admin server reads it.
    let registry = MetricsRegistry::new();

    let public = HttpServer::new({
        let registry = registry.clone();
        move || {
            App::new()
                .app_data(registry.clone())
                .route("/hello/{name}", web::get().to(hello))
                .wrap(HrPrometheus::default())
        }
    })
    .disable_signals() // At a signal actix-web stops all servers of the process at once.
    .bind(("127.0.0.1", port("PORT", 8080)?))?;

    let admin = HttpServer::new(move || {
        App::new()
            .app_data(registry.clone())
            .app_data(token.clone())
            .service(metrics_scope().wrap(HttpAuthentication::bearer(check_token)))
    })
    .workers(1)
    .disable_signals()
    .bind(("127.0.0.1", port("ADMIN_PORT", 8081)?))?;

    for address in public.addrs() {
        println!("The application is at http://{address}");
    }
    for address in admin.addrs() {
        println!("Metrics are at http://{address}/metrics");
    }

    let (public, admin) = (public.run(), admin.run());
    let (public_handle, admin_handle) = (public.handle(), admin.handle());
    rt::spawn(admin);
    rt::spawn(async move {
        if let Err(error) = asked_to_stop().await {
            log::error!("cannot listen for signals: {error}");
        }
        public_handle.stop(true).await;
    });
    // Returns once it is stopped and the last requests have been answered.
    public.await?;

    println!("The application has stopped; Ctrl-C stops the metrics too.");
    let _ = timeout(LAST_SCRAPE, signal::ctrl_c()).await;
    admin_handle.stop(true).await;
    Ok(())
}

async fn hello(name: web::Path<String>) -> impl Responder {
    format!("Hello, {name}!\n")
}

async fn check_token(
    request: ServiceRequest,
    sent: BearerAuth,
) -> Result<ServiceRequest, (Error, ServiceRequest)> {
    match request.app_data::<web::Data<Token>>() {
        Some(token) if token.0 == sent.token() => Ok(request),
        _ => Err((
            AuthenticationError::from(bearer::Config::default()).into(),
            request,
        )),
    }
}

/// Waits for Ctrl-C or, on Unix, for SIGTERM.
async fn asked_to_stop() -> io::Result<()> {
    #[cfg(unix)]
    {
        let mut terminate = signal::unix::signal(signal::unix::SignalKind::terminate())?;
        select(pin!(signal::ctrl_c()), pin!(terminate.recv())).await;
        Ok(())
    }
    #[cfg(not(unix))]
    signal::ctrl_c().await
}

/// The port in the variable `name` of the environment; 0 lets the system choose.
fn port(name: &str, default: u16) -> io::Result<u16> {
    let port = env::var(name).unwrap_or_else(|_| default.to_string());
    port.parse()
        .map_err(|_| io::Error::other(format!("{name} is `{port}`: set it to a number from 0 to 65535")))
}
