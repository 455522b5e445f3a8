//! A switch from actix-web-prom takes one line, and keeps its names, labels, buckets and help texts.

use actix_web::{
    App,
    http::{Method, StatusCode},
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};

/// The lines of a scrape that begin so.
fn lines(registry: &MetricsRegistry, begin: &str) -> Vec<String> {
    let scrape = registry.encode().unwrap();
    let lines = scrape.lines().filter(|line| line.starts_with(begin));
    lines.map(str::to_owned).collect()
}

#[actix_web::test]
async fn actix_web_prom_is_one_line() {
    let registry = MetricsRegistry::with_labels([("region", "eu")]);
    let metrics = HrPrometheus::with_builder(DefaultMonitor::builder().actix_web_prom("api"));
    let app = App::new()
        .app_data(registry.clone())
        .route("/orders/{id:\\d+}", web::get().to(async || "an order"))
        .service(web::resource("/resource").route(web::get().to(async || "a resource")));
    let app = init_service(app.wrap(metrics)).await;
    for request in [
        TestRequest::with_uri("/orders/7"),
        TestRequest::with_uri("/orders/8"),
        TestRequest::post().uri("/orders/8"),
        TestRequest::post().uri("/resource"),
        TestRequest::with_uri("/invented"),
        TestRequest::with_uri("/resource").method(Method::from_bytes(b"INVENTED").unwrap()),
    ] {
        call_and_read_body(&app, request.to_request()).await;
    }
    assert_eq!(
        lines(&registry, "#"),
        [
            "# HELP api_http_requests Total number of HTTP requests",
            "# TYPE api_http_requests counter",
            "# HELP api_http_requests_duration_seconds HTTP request duration in seconds for all requests",
            "# TYPE api_http_requests_duration_seconds histogram",
            "# EOF",
        ],
    );
    assert_eq!(
        lines(&registry, "api_http_requests_total"),
        [
            r#"api_http_requests_total{region="eu",endpoint="/orders/{id}",method="GET",status="200"} 2"#,
            r#"api_http_requests_total{region="eu",endpoint="unmatched",method="GET",status="404"} 1"#,
            r#"api_http_requests_total{region="eu",endpoint="/resource",method="POST",status="405"} 1"#,
            r#"api_http_requests_total{region="eu",endpoint="unmatched",method="POST",status="404"} 1"#,
            r#"api_http_requests_total{region="eu",endpoint="/resource",method="_OTHER",status="405"} 1"#,
        ],
    );
    let buckets = lines(&registry, "api_http_requests_duration_seconds_bucket");
    let of_order = buckets.iter().filter(|line| line.contains("/orders"));
    let bounds: Vec<_> = of_order
        .map(|line| {
            line.split('"')
                .skip_while(|part| !part.ends_with("le="))
                .nth(1)
                .unwrap()
        })
        .collect();
    assert_eq!(
        bounds,
        [
            "0.005", "0.01", "0.025", "0.05", "0.1", "0.25", "0.5", "1.0", "2.5", "5.0", "10.0", "+Inf"
        ],
    );
}

#[test]
fn actix_web_prom_takes_no_namespace_and_what_follows_it() {
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder()
        .actix_web_prom("")
        .latency_name("http_seconds")
        .latency_buckets([1.0])
        .start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    let metrics = HrPrometheus::with_builder(monitor);
    let _metrics = metrics.register_in(&registry).unwrap();
    assert_eq!(
        registry.value("http_requests_total", &[("endpoint", "/")]),
        Some(0.0)
    );
    assert_eq!(lines(&registry, "http_seconds_bucket").len(), 2);

    assert_eq!(
        HrPrometheus::with_builder(DefaultMonitor::builder().actix_web_prom("api_"))
            .build()
            .unwrap_err()
            .to_string(),
        r#"actix_web_prom: `_` is added to "api_"; give "api""#,
    );
}
