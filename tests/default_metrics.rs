//! What is recorded by default, to the letter.

mod support;

use actix_web::{App, HttpResponse, test, web};
use hr_prometheus::{HrPrometheus, MetricsRegistry};

#[actix_web::test]
async fn one_request_makes_this_scrape() {
    let registry = MetricsRegistry::new();
    let app = test::init_service(
        App::new()
            .app_data(registry.clone())
            .route("/users/{id}", web::get().to(HttpResponse::NoContent))
            .wrap(HrPrometheus::default()),
    )
    .await;

    let request = test::TestRequest::get().uri("/users/7").to_request();
    test::call_service(&app, request).await;

    let scrape = registry.encode().unwrap();
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
            r#"request_count_total{method="GET",path="/users/{id}",status="204"} 1"#,
            "# HELP request_latency Elapsed time per request",
            "# TYPE request_latency histogram",
            r#"request_latency_sum{method="GET",path="/users/{id}"}"#,
            r#"request_latency_count{method="GET",path="/users/{id}"} 1"#,
            r#"request_latency_bucket{le="0.005",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.01",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.025",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.05",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.075",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.1",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.25",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.5",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="0.75",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="1.0",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="2.5",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="5.0",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="7.5",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="10.0",method="GET",path="/users/{id}"}"#,
            r#"request_latency_bucket{le="+Inf",method="GET",path="/users/{id}"} 1"#,
            "# HELP requests_in_progress Requests in progress",
            "# TYPE requests_in_progress gauge",
            r#"requests_in_progress{method="GET",path="/users/{id}"} 0"#,
            "# EOF",
        ],
    );
    support::assert_balanced(&registry);
}
