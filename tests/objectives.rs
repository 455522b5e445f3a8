//! Whether requests met the objectives of their routes, however they ended.

mod support;

use std::{future::pending, io, thread::sleep, time::Duration};

use actix_web::{
    App, HttpResponse,
    error::ErrorBadGateway,
    http::{Method, StatusCode},
    test::{TestRequest, call_and_read_body, init_service},
    web::{self, Bytes},
};
use futures_util::stream::{self, StreamExt as _};
use hr_prometheus::{
    DefaultFamily, DefaultMonitor, DefaultMonitorBuilder, HrPrometheus, Label, MetricsRegistry,
    RequestLabels, RequestStart, prometheus_client::encoding::EncodeLabelSet,
};

use support::{
    TestServer, capture_log, client::Client, eventually_has, http, logged, scrape_prometheus_text, serve,
};

/// What a request may take: next to nothing, and more than any system takes.
const SHORT: Duration = Duration::from_millis(1);
const LONG: Duration = Duration::from_secs(600);

fn builder() -> DefaultMonitorBuilder {
    DefaultMonitor::builder()
}

/// A stream that sends a byte, and goes on as `rest` does.
fn streams(
    content_type: &str,
    rest: impl stream::Stream<Item = Result<Bytes, io::Error>> + 'static,
) -> HttpResponse {
    let first = stream::once(async { Ok(Bytes::from_static(b"-")) });
    HttpResponse::Ok()
        .content_type(content_type)
        .streaming(first.chain(rest))
}

fn server(workers: usize, registry: &MetricsRegistry) -> TestServer {
    let mut monitor = builder();
    for route in [
        "/good",
        "/fails",
        "/missing/{id}",
        "/breaks",
        "/panics",
        "/hangs",
        "/left",
        "/events",
    ] {
        monitor = monitor.objective(route, 0.999, LONG);
    }
    let metrics = HrPrometheus::with_builder(monitor.objective("/slow", 0.5, SHORT));
    let metrics = metrics.register_in(registry).expect("a free registry");
    serve(workers, move || {
        let panics = async || -> &'static str { panic!("meant") };
        let slow = async || {
            sleep(2 * SHORT);
            "slow"
        };
        App::new()
            .route("/good", web::get().to(async || "good"))
            .route("/other", web::get().to(HttpResponse::InternalServerError))
            .route(
                "/fails",
                web::get().to(async || Err::<&str, _>(ErrorBadGateway("no"))),
            )
            .route("/missing/{id}", web::get().to(HttpResponse::NotFound))
            .route("/panics", web::get().to(panics))
            .route("/hangs", web::get().to(async || pending::<&str>().await))
            .route("/slow", web::get().to(slow))
            .route(
                "/breaks",
                web::get()
                    .to(async || streams("text/plain", stream::iter([Err(io::Error::other("broken"))]))),
            )
            .route(
                "/left",
                web::get().to(async || streams("text/plain", stream::pending())),
            )
            .route(
                "/events",
                web::get().to(async || streams("text/event-stream", stream::pending())),
            )
            .wrap(metrics.clone())
    })
}

fn judged(registry: &MetricsRegistry, path: &str) -> [Option<f64>; 2] {
    ["met", "missed"]
        .map(|what| registry.value(&format!("request_objective_{what}_total"), &[("path", path)]))
}

#[track_caller]
fn assert_judged(registry: &MetricsRegistry, path: &str, met: f64, missed: f64) {
    eventually_has(registry, "request_count_total", &[("path", path)], met + missed);
    eventually_has(registry, "request_objective_met_total", &[("path", path)], met);
    eventually_has(
        registry,
        "request_objective_missed_total",
        &[("path", path)],
        missed,
    );
}

#[test]
fn a_request_meets_its_objective_if_it_succeeds_in_time() {
    let registry = MetricsRegistry::new();
    let server = server(2, &registry);
    for (path, times) in [
        ("/good", 5),
        ("/fails", 3),
        ("/missing/1", 2),
        ("/panics", 1),
        ("/slow", 2),
        ("/breaks", 1),
        ("/other", 1),
    ] {
        for _ in 0..times {
            http(server.address, "GET", path);
        }
    }
    let hangs = server.request("GET", "/hangs");
    eventually_has(&registry, "requests_in_progress", &[("path", "/hangs")], 1.0);
    hangs.reset();
    let mut left = server.request("GET", "/left");
    left.read_until("1\r\n-\r\n");
    left.reset();

    assert_judged(&registry, "/good", 5.0, 0.0);
    assert_judged(&registry, "/fails", 0.0, 3.0);
    assert_judged(&registry, "/missing/{id}", 2.0, 0.0);
    assert_judged(&registry, "/panics", 0.0, 1.0);
    assert_judged(&registry, "/slow", 0.0, 2.0);
    assert_judged(&registry, "/breaks", 0.0, 1.0);
    assert_judged(&registry, "/hangs", 0.0, 1.0);
    assert_judged(&registry, "/left", 1.0, 0.0);
    assert_eq!(judged(&registry, "/other"), [None; 2]);
    // What a worker has counted stays when it stops.
    server.stop(true);
    assert_judged(&registry, "/good", 5.0, 0.0);
}

#[test]
fn a_long_lived_response_is_judged_at_its_head_and_once() {
    let registry = MetricsRegistry::new();
    let server = server(1, &registry);
    let mut events: Client = server.request("GET", "/events");
    events.read_until("1\r\n-\r\n");
    assert_judged(&registry, "/events", 1.0, 0.0);
    assert_eq!(
        registry.value("requests_in_progress", &[("path", "/events")]),
        Some(1.0)
    );
    events.reset();
    server.stop(true);
    assert_judged(&registry, "/events", 1.0, 0.0);
}

const FAMILIES: &str = r#"
# HELP request_objective_met Number of requests that met the objective of their route
# TYPE request_objective_met counter
request_objective_met_total{path="/pay/{id}"} 0
request_objective_met_total{path="/search"} 0
# HELP request_objective_missed Number of requests that missed the objective of their route
# TYPE request_objective_missed counter
request_objective_missed_total{path="/pay/{id}"} 0
request_objective_missed_total{path="/search"} 0
# HELP request_objective_ratio Share of requests that is to meet the objective of their route
# TYPE request_objective_ratio gauge
request_objective_ratio{path="/pay/{id}"} 0.999
request_objective_ratio{path="/search"} 0.95
# HELP request_objective_seconds Seconds that a request may take to meet the objective of its route
# TYPE request_objective_seconds gauge
request_objective_seconds{path="/pay/{id}"} 0.3
request_objective_seconds{path="/search"} 1.0
"#;

fn two_objectives() -> DefaultMonitorBuilder {
    builder()
        .objective("/search", 0.95, Duration::from_secs(1))
        .objective("/pay/{id}", 0.999, Duration::from_millis(300))
}

/// The part of a scrape that is about objectives.
fn of_objectives(scrape: &str) -> String {
    let lines = scrape.split_inclusive('\n');
    lines.filter(|line| line.contains("request_objective")).collect()
}

#[actix_web::test]
async fn all_families_are_in_the_first_scrape() -> Result<(), hr_prometheus::Error> {
    let registry = MetricsRegistry::new();
    let _metrics = HrPrometheus::with_builder(two_objectives()).register_in(&registry)?;
    assert_eq!(of_objectives(&registry.encode()?), FAMILIES.trim_start());
    let prometheus = of_objectives(&scrape_prometheus_text(&registry).await);
    let expected = FAMILIES
        .trim_start()
        .replace("met Number", "met_total Number")
        .replace("missed Number", "missed_total Number")
        .replace("met counter", "met_total counter")
        .replace("missed counter", "missed_total counter");
    assert_eq!(prometheus, expected);
    assert!(registry.lint().is_empty(), "{:?}", registry.lint());
    Ok(())
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_has_the_same() -> Result<(), hr_prometheus::Error> {
    let registry = MetricsRegistry::new();
    let _metrics = HrPrometheus::with_builder(two_objectives()).register_in(&registry)?;
    let scrape = support::families::protobuf::scrape(&registry);
    let lines: Vec<_> = scrape.iter().filter(|line| line.contains("objective")).collect();
    assert_eq!(lines.len(), 4, "{scrape:#?}");
    Ok(())
}

#[actix_web::test]
async fn names_labels_and_help_can_be_chosen() -> Result<(), hr_prometheus::Error> {
    let registry = MetricsRegistry::new();
    let path = [("route", Label::Path)];
    let monitor = two_objectives()
        .prefix("shop")
        .rename(DefaultFamily::ObjectiveMet, "good")
        .rename(DefaultFamily::ObjectiveMissed, "bad")
        .rename(DefaultFamily::ObjectiveRatio, "target")
        .family_labels(
            DefaultFamily::ObjectiveMet,
            [("route", Label::Path), ("code", Label::StatusClass)],
        )
        .family_labels(DefaultFamily::ObjectiveMissed, path)
        .family_labels(DefaultFamily::ObjectiveRatio, path)
        .help(DefaultFamily::ObjectiveSeconds, "Promised");
    let app = App::new()
        .app_data(registry.clone())
        .route("/search", web::get().to(async || "found"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::with_uri("/search").to_request()).await;
    registry.assert_family("shop_good", r#"shop_good_total{route="/search",code="2xx"} 1"#);
    registry.assert_family(
        "shop_bad",
        r#"
        shop_bad_total{route="/pay/{id}"} 0
        shop_bad_total{route="/search"} 0
        "#,
    );
    registry.assert_family(
        "shop_target",
        r#"
        shop_target{route="/pay/{id}"} 0.999
        shop_target{route="/search"} 0.95
        "#,
    );
    registry.assert_family(
        "shop_request_objective_seconds",
        r#"
        # HELP shop_request_objective_seconds Promised
        # TYPE shop_request_objective_seconds gauge
        shop_request_objective_seconds{route="/pay/{id}"} 0.3
        shop_request_objective_seconds{route="/search"} 1
        "#,
    );
    Ok(())
}

#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct ByTenant {
    tenant: String,
}

impl RequestLabels for ByTenant {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        Self {
            tenant: start.request().query_string().to_owned(),
        }
    }
}

#[actix_web::test]
async fn objectives_have_no_custom_labels_and_stand_beside_every_other_option() {
    let registry = MetricsRegistry::new();
    let monitor = two_objectives()
        .time_to_head([1.0])
        .response_body_bytes([10.0])
        .longest_poll([1.0])
        .exemplars_from_traceparent()
        .start_at_zero([(Method::GET, "/search", StatusCode::OK)])
        .labels::<ByTenant>();
    let app = App::new()
        .app_data(registry.clone())
        .route("/search", web::get().to(async || "found"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    for query in ["a", "b", "b"] {
        call_and_read_body(
            &app,
            TestRequest::with_uri(&format!("/search?{query}")).to_request(),
        )
        .await;
    }
    registry.assert_family(
        "request_objective_met",
        r#"
        request_objective_met_total{path="/pay/{id}"} 0
        request_objective_met_total{path="/search"} 3
        "#,
    );
    registry.assert_family(
        "response_body_bytes_sum",
        r#"
        response_body_bytes_sum{method="GET",path="/search"} 0
        response_body_bytes_sum{method="GET",path="/search",tenant="a"} 5
        response_body_bytes_sum{method="GET",path="/search",tenant="b"} 10
        "#,
    );
}

#[test]
fn what_cannot_be_an_objective_is_a_mistake_that_names_the_fix() {
    let second = Duration::from_secs(1);
    let label = "already has an objective";
    for (monitor, message) in vec![
        (
            builder().objective("", 0.9, second),
            "no route can have the label \"\"",
        ),
        (
            builder().objective("unmatched", 0.9, second),
            "no route can have the label \"unmatched\"; unmatched requests have it; name a route",
        ),
        (builder().objective("pay", 0.9, second), "as in \"/pay\""),
        (builder().objective("/pay/:id", 0.9, second), ": \"/pay/{id}\""),
        (
            builder().objective(r"/pay/{id:\d+}", 0.9, second),
            ": \"/pay/{id}\"",
        ),
        (
            builder().objective("/pay", 0.0, second),
            "choose one such as 0.999",
        ),
        (builder().objective("/pay", 1.0, second), "1 is not a ratio"),
        (builder().objective("/pay", 99.9, second), "99.9 is not a ratio"),
        (builder().objective("/pay", -0.5, second), "-0.5 is not a ratio"),
        (
            builder().objective("/pay", f64::NAN, second),
            "NaN is not a ratio",
        ),
        (
            builder().objective("/pay", 0.9, Duration::ZERO),
            "choose one above zero",
        ),
        (
            builder()
                .objective("/pay", 0.9, second)
                .objective("/pay", 0.99, second),
            label,
        ),
    ] {
        let error = HrPrometheus::with_builder(monitor)
            .build()
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("objective: ") && error.contains(message),
            "{error}"
        );
    }
    for labels in [
        &[][..],
        &[("method", Label::Method)],
        &[("path", Label::Path), ("code", Label::Status)],
    ] {
        let monitor = two_objectives().family_labels(DefaultFamily::ObjectiveRatio, labels.iter().copied());
        let error = HrPrometheus::with_builder(monitor)
            .build()
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("use only Label::Path"), "{error}");
    }
    let monitor = builder().rename(DefaultFamily::ObjectiveMet, "good_total");
    let error = HrPrometheus::with_builder(monitor)
        .build()
        .unwrap_err()
        .to_string();
    assert!(error.contains("call it \"good\""), "{error}");
}

#[actix_web::test]
async fn an_objective_for_a_route_without_requests_is_logged() {
    capture_log();
    let monitor = builder()
        .objective("/served", 0.9, LONG)
        .objective("/not/served", 0.9, LONG)
        .objective("/excluded/and/served", 0.9, LONG);
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .route("/served", web::get().to(async || "hello"))
        .route("/excluded/and/served", web::get().to(async || "hello"))
        .wrap(HrPrometheus::with_builder(monitor).exclude_routes(["/excluded/and/served"]));
    let app = init_service(app).await;
    for _ in 0..2 {
        call_and_read_body(&app, TestRequest::with_uri("/served").to_request()).await;
    }
    assert_eq!(
        logged("served\""),
        [
            "WARN objective: `exclude_routes` has the route \"/excluded/and/served\", so none of its requests counts; remove \
          one of the two",
            "WARN objective: no route of the application has the label \"/not/served\"; a label is the whole pattern of a \
          route, with those of the scopes around it",
        ],
    );
}

#[actix_web::test]
async fn what_a_failure_is_can_be_chosen_and_a_function_that_panics_is_logged_once() {
    capture_log();
    let registry = MetricsRegistry::new();
    let monitor = builder()
        .objective("/teapot", 0.9, LONG)
        .objective("/strange", 0.9, LONG)
        .objective_failures({
            let strange = "/strange".to_owned();
            move |end| {
                assert_ne!(end.route(), strange, "a strange route");
                end.status() == StatusCode::IM_A_TEAPOT
            }
        });
    let app = App::new()
        .app_data(registry.clone())
        .route("/teapot", web::get().to(HttpResponse::ImATeapot))
        .route("/strange", web::get().to(async || "strange"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    for path in ["/teapot", "/strange", "/strange"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    assert_eq!(judged(&registry, "/teapot"), [Some(0.0), Some(1.0)]);
    assert_eq!(judged(&registry, "/strange"), [Some(2.0), Some(0.0)]);
    assert_eq!(logged("objective_failures").len(), 1);
}
