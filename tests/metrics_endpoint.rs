//! What `/metrics` answers.

mod support;

use std::{
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc::{self, Receiver},
    },
};

use actix_web::{
    App, HttpResponse,
    http::{Method, StatusCode, header},
    middleware::{Condition, NormalizePath, TrailingSlash},
    test::{self, TestRequest},
    web::{self, ServiceConfig},
};
use hr_prometheus::{
    HrPrometheus, MetricsRegistry, metrics_scope, metrics_view,
    prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, EncodeMetric as _},
        metrics::{MetricType, counter::Counter, gauge::ConstGauge},
        registry::Registry,
    },
};

use support::{TestServer, capture_log, http, logged, scrape_with, serve};

/// A real server with one worker, measured into `registry`, with `/metrics` and what `configure` adds.
fn serve_measured(
    registry: &MetricsRegistry,
    configure: impl Fn(&mut ServiceConfig) + Send + Clone + 'static,
) -> TestServer {
    let registry = registry.clone();
    serve(1, move || {
        App::new()
            .app_data(registry.clone())
            .service(metrics_scope())
            .configure(configure.clone())
            .wrap(HrPrometheus::default())
    })
}

/// The body of a scrape at `path`.
#[track_caller]
fn scrape(address: SocketAddr, path: &str) -> String {
    let (head, body) = http(address, "GET", path);
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}\n\n{body}");
    body
}

#[track_caller]
fn assert_has_lines(scrape: &str, lines: &[&str]) {
    for line in lines {
        assert!(
            scrape.lines().any(|found| found == *line),
            "no {line} in\n{scrape}"
        );
    }
}

#[actix_web::test]
async fn a_scrape_without_any_metric_is_an_open_metrics_text_without_families() {
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .service(metrics_scope());
    let app = test::init_service(app).await;

    let request = TestRequest::get().uri("/metrics").to_request();
    let response = test::call_service(&app, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    assert_eq!(
        response.headers().get(header::CONTENT_TYPE).unwrap(),
        "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
    );
    assert_eq!(test::read_body(response).await, "# EOF\n");
}

#[actix_web::test]
async fn custom_metrics_are_served_without_the_middleware() {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        let orders = Counter::<u64>::default();
        orders.inc_by(3);
        registry.register("orders", "Orders placed", orders);
    });
    let app = App::new().app_data(registry).service(metrics_scope());
    let app = test::init_service(app).await;

    let request = TestRequest::get().uri("/metrics").to_request();
    assert_eq!(
        test::call_and_read_body(&app, request).await,
        "# HELP orders Orders placed.\n# TYPE orders counter\norders_total 3\n# EOF\n",
    );
}

#[actix_web::test]
async fn only_get_and_head_are_answered() {
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .service(metrics_scope());
    let app = test::init_service(app).await;

    for method in [Method::GET, Method::HEAD] {
        let request = TestRequest::with_uri("/metrics")
            .method(method.clone())
            .to_request();
        let response = test::call_service(&app, request).await;
        assert_eq!(response.status(), StatusCode::OK, "{method}");
    }
    for method in [Method::POST, Method::PUT, Method::DELETE] {
        let request = TestRequest::with_uri("/metrics")
            .method(method.clone())
            .to_request();
        let response = test::call_service(&app, request).await;
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
        assert_eq!(
            response.headers().get(header::ALLOW).unwrap(),
            "GET, HEAD",
            "{method}"
        );
    }
}

#[test]
fn head_has_the_headers_of_get_and_no_body() {
    let registry = MetricsRegistry::new();
    let server = serve(1, move || {
        App::new().app_data(registry.clone()).service(metrics_scope())
    });

    let (head, body) = http(server.address, "HEAD", "/metrics");
    assert_eq!(body, "");
    let head = head.to_ascii_lowercase();
    let (status, headers) = head.split_once("\r\n").unwrap();
    assert_eq!(status, "http/1.1 200 ok");
    for expected in [
        "content-length: 6",
        "content-type: application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
    ] {
        assert!(
            headers.lines().any(|header| header == expected),
            "no {expected} in\n{headers}"
        );
    }
}

#[actix_web::test]
async fn a_slash_behind_the_path_is_served_under_the_same_label() {
    for (mode, path) in [
        (None, "/metrics"),
        (None, "/metrics/"),
        (Some(TrailingSlash::Always), "/metrics"),
        (Some(TrailingSlash::Always), "/metrics/"),
        (Some(TrailingSlash::MergeOnly), "/metrics"),
        (Some(TrailingSlash::MergeOnly), "/metrics/"),
        (Some(TrailingSlash::MergeOnly), "//metrics//"),
        (Some(TrailingSlash::Trim), "/metrics/"),
    ] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .service(metrics_scope())
            .wrap(HrPrometheus::default())
            .wrap(Condition::new(
                mode.is_some(),
                NormalizePath::new(mode.unwrap_or(TrailingSlash::Trim)),
            ));
        let app = test::init_service(app).await;
        let scrape = TestRequest::with_uri(path).to_request();
        let response = test::call_service(&app, scrape).await;
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        test::read_body(response).await;
        let count = registry.value("request_count_total", &[("path", "/metrics"), ("status", "200")]);
        assert_eq!(count, Some(1.0), "{path}");
    }
}

#[test]
fn the_handler_serves_any_other_path() {
    let server = serve_measured(&MetricsRegistry::new(), |app| {
        app.route("/internal/prometheus", web::get().to(metrics_view));
    });
    let scrape = scrape(server.address, "/internal/prometheus");
    assert_has_lines(
        &scrape,
        &[r#"requests_in_progress{method="GET",path="/internal/prometheus"} 1"#],
    );
    assert!(scrape.ends_with("# EOF\n"), "{scrape}");
}

#[test]
fn a_scrape_is_in_progress_in_itself_and_counted_in_the_next_one() {
    let server = serve_measured(&MetricsRegistry::new(), |app| {
        app.service(web::scope("/internal").service(metrics_scope()));
    });

    let first = scrape(server.address, "/metrics");
    assert_has_lines(
        &first,
        &[r#"requests_in_progress{method="GET",path="/metrics"} 1"#],
    );
    assert!(!first.contains("request_count_total{"), "{first}");

    let second = scrape(server.address, "/internal/metrics");
    assert_has_lines(
        &second,
        &[
            r#"request_count_total{method="GET",path="/metrics",status="200"} 1"#,
            r#"requests_in_progress{method="GET",path="/internal/metrics"} 1"#,
            r#"requests_in_progress{method="GET",path="/metrics"} 0"#,
        ],
    );

    let third = scrape(server.address, "/metrics");
    assert_has_lines(
        &third,
        &[
            r#"request_count_total{method="GET",path="/internal/metrics",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/metrics",status="200"} 1"#,
            r#"requests_in_progress{method="GET",path="/internal/metrics"} 0"#,
            r#"requests_in_progress{method="GET",path="/metrics"} 1"#,
        ],
    );
}

/// Fails as long as its switch is on.
#[derive(Debug)]
struct Breaks(Arc<AtomicBool>);

impl Collector for Breaks {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        assert!(!self.0.load(Ordering::Relaxed), "broken until it is mended");
        let mended = ConstGauge::new(1_i64);
        mended.encode(encoder.encode_descriptor("mended", "Help", None, MetricType::Gauge)?)
    }
}

#[test]
fn a_collector_that_fails_costs_no_scrape_and_is_back_when_it_is_mended() {
    capture_log();
    let broken = Arc::new(AtomicBool::new(true));
    let registry = MetricsRegistry::new();
    registry.register_with(|registry: &mut Registry| {
        registry.register_collector(Box::new(Breaks(Arc::clone(&broken))));
    });
    let server = serve_measured(&registry, |_| ());

    let before = scrape(server.address, "/metrics");
    assert!(!before.contains("mended"), "{before}");
    assert_has_lines(
        &before,
        &[r#"requests_in_progress{method="GET",path="/metrics"} 1"#, "# EOF"],
    );

    broken.store(false, Ordering::Relaxed);
    assert_has_lines(
        &scrape(server.address, "/metrics"),
        &[
            r#"request_count_total{method="GET",path="/metrics",status="200"} 1"#,
            "mended 1",
            "# EOF",
        ],
    );
    assert_eq!(
        logged("broken until it is mended"),
        [
            "ERROR omitted from the scrape: a collector panicked when it was encoded: \
          broken until it is mended; fix it, or do not register it"
        ],
    );
}

#[test]
fn series_are_sorted_and_two_scrapes_without_traffic_are_equal() {
    let registry = MetricsRegistry::new();
    let server = serve_measured(&registry, |app| {
        app.route("/b", web::to(HttpResponse::Ok))
            .route("/a/{id}", web::to(HttpResponse::Ok))
            .route("/a", web::to(HttpResponse::NotFound));
    });
    for (method, path) in [
        ("POST", "/b"),
        ("GET", "/b"),
        ("GET", "/nowhere"),
        ("GET", "/a/7"),
        ("POST", "/a"),
        ("GET", "/a"),
    ] {
        http(server.address, method, path);
    }
    server.stop(true);

    let scrape = registry.encode().unwrap();
    let counted: Vec<_> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("request_count_total"))
        .collect();
    assert_eq!(
        counted,
        [
            r#"{method="GET",path="/a",status="404"} 1"#,
            r#"{method="GET",path="/a/{id}",status="200"} 1"#,
            r#"{method="GET",path="/b",status="200"} 1"#,
            r#"{method="GET",path="unmatched",status="404"} 1"#,
            r#"{method="POST",path="/a",status="404"} 1"#,
            r#"{method="POST",path="/b",status="200"} 1"#,
        ],
    );
    assert_eq!(registry.encode().unwrap(), scrape);
}

#[test]
fn a_small_application_makes_this_scrape() {
    let server = serve_measured(&MetricsRegistry::new(), |app| {
        app.route("/hello/{name}", web::get().to(async || "hello"));
    });
    http(server.address, "GET", "/hello/alice");
    http(server.address, "GET", "/hello/bob");
    let scrape = scrape(server.address, "/metrics");

    // How long it took is not known beforehand.
    let lines: Vec<_> = scrape
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((series, _)) if series.starts_with("request_latency_sum") => series,
            Some((series, _)) if series.contains("le=") && !series.contains("+Inf") => series,
            _ => line,
        })
        .collect();
    assert_eq!(
        lines,
        [
            "# HELP request_count Number of requests received",
            "# TYPE request_count counter",
            r#"request_count_total{method="GET",path="/hello/{name}",status="200"} 2"#,
            "# HELP request_latency Elapsed time per request",
            "# TYPE request_latency histogram",
            r#"request_latency_sum{method="GET",path="/hello/{name}"}"#,
            r#"request_latency_count{method="GET",path="/hello/{name}"} 2"#,
            r#"request_latency_bucket{le="0.005",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.01",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.025",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.05",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.075",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.1",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.25",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.5",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="0.75",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="1.0",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="2.5",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="5.0",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="7.5",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="10.0",method="GET",path="/hello/{name}"}"#,
            r#"request_latency_bucket{le="+Inf",method="GET",path="/hello/{name}"} 2"#,
            "# HELP requests_in_progress Requests in progress",
            "# TYPE requests_in_progress gauge",
            r#"requests_in_progress{method="GET",path="/hello/{name}"} 0"#,
            r#"requests_in_progress{method="GET",path="/metrics"} 1"#,
            "# EOF",
        ],
    );
}

/// Waits until nobody can send any more.
#[derive(Debug)]
struct Waits(Mutex<Receiver<()>>);

impl Collector for Waits {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let _ = self.0.lock().unwrap().recv();
        Ok(())
    }
}

#[actix_web::test]
async fn scrapes_that_time_out_are_logged_once() {
    capture_log();
    let (holds, waits) = mpsc::channel();
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| registry.register_collector(Box::new(Waits(Mutex::new(waits)))));

    for _ in 0..3 {
        let limit = [("X-Prometheus-Scrape-Timeout-Seconds", "0.01")];
        let response = scrape_with(&registry, &limit).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    }
    assert_eq!(
        logged("a scrape timed out"),
        [
            "ERROR a scrape timed out: the metrics could not be rendered within 9ms: \
             a collector is slow, or there are too many series; fix that, or raise `scrape_timeout` (logged once)"
        ],
    );
    drop(holds);
}
