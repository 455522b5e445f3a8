//! Exposes families that the judges describe, a JSON array of them in a line of the standard input.
//!
//! `judged serve` takes one line, serves it beside the default monitor and prints its ports. `judged render` answers
//! each line with what a scrape of it alone gives in each format.

mod described;

use std::{
    collections::BTreeMap,
    env,
    io::{self, Write as _},
};

use actix_web::{
    App, HttpServer,
    http::header::{ACCEPT, CONTENT_TYPE},
    middleware::{Compress, Condition},
    test::{self, TestRequest},
    web,
};
use futures_util::future::try_join_all;
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, metrics_scope};

use crate::described::Described;

/// The name of a format, and what a scraper that wants it alone asks for.
const FORMATS: [(&str, &str); 3] = [
    ("openmetrics", "application/openmetrics-text;version=1.0.0"),
    ("text", "text/plain;version=0.0.4"),
    (
        "protobuf",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
    ),
];

/// Where `Compress` is: the name of a server, around the scope, around the application.
const SERVERS: [(&str, bool, bool); 4] = [
    ("plain", false, false),
    ("scope_compressed", true, false),
    ("app_compressed", false, true),
    ("both_compressed", true, true),
];

#[actix_web::main]
async fn main() -> io::Result<()> {
    env_logger::init();
    match env::args().nth(1).as_deref() {
        Some("serve") => serve(&line()?.unwrap_or_default()).await,
        Some("render") => {
            while let Some(line) = line()? {
                render(&line).await?;
            }
            Ok(())
        }
        _ => Err(io::Error::other("say `judged serve` or `judged render`")),
    }
}

/// The next line of the standard input.
fn line() -> io::Result<Option<String>> {
    let mut line = String::new();
    Ok((io::stdin().read_line(&mut line)? > 0).then_some(line))
}

fn registry(line: &str) -> io::Result<MetricsRegistry> {
    let registry = MetricsRegistry::new();
    for described in serde_json::from_str::<Vec<Described>>(line)? {
        registry.register_with(|registry| described.register(registry));
    }
    Ok(registry)
}

async fn serve(line: &str) -> io::Result<()> {
    let registry = registry(line)?;
    let monitor = DefaultMonitor::builder()
        .exemplars_from_traceparent()
        .native_histograms();
    let middleware = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    let mut ports = BTreeMap::new();
    let mut servers = Vec::new();
    for (name, scope_is_compressed, app_is_compressed) in SERVERS {
        let (registry, middleware) = (registry.clone(), middleware.clone());
        let server = HttpServer::new(move || {
            App::new()
                .app_data(registry.clone())
                .service(metrics_scope().wrap(Condition::new(scope_is_compressed, Compress::default())))
                .route("/hello/{name}", web::to(async || "Hello!\n"))
                .wrap(Condition::new(app_is_compressed, Compress::default()))
                .wrap(middleware.clone())
        })
        .workers(1)
        .bind(("127.0.0.1", 0))?;
        ports.insert(name, server.addrs()[0].port());
        servers.push(server.run());
    }
    print(&ports)?;
    try_join_all(servers).await?;
    Ok(())
}

async fn render(line: &str) -> io::Result<()> {
    let app = App::new().app_data(registry(line)?).service(metrics_scope());
    let app = test::init_service(app).await;
    let mut bodies = BTreeMap::new();
    for (format, accept) in FORMATS {
        let scrape = TestRequest::get().uri("/metrics").insert_header((ACCEPT, accept));
        let response = test::call_service(&app, scrape.to_request()).await;
        let content_type = response.headers().get(CONTENT_TYPE).map(|value| value.to_str());
        let content_type = content_type.and_then(Result::ok).unwrap_or_default().to_owned();
        bodies.insert(format, (content_type, test::read_body(response).await.to_vec()));
    }
    print(&bodies)
}

/// Prints a line of JSON.
fn print(value: &impl serde::Serialize) -> io::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, value)?;
    out.write_all(b"\n")?;
    out.flush()
}
