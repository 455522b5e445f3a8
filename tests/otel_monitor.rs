//! The metrics of the OpenTelemetry semantic conventions: to the letter, and for every ending of a request.

mod support;

use std::{
    future::{pending, ready},
    io,
    task::{Context, Waker},
};

use actix_http::Request;
use actix_service::ServiceFactory as _;
use actix_web::{
    App, Error, HttpResponse,
    body::{BodyStream, BoxBody, MessageBody},
    dev::{AppConfig, Service, ServiceRequest, ServiceResponse},
    error::ErrorUnauthorized,
    http::{Method, Version, header},
    middleware::{Next, from_fn},
    test::{TestRequest, call_and_read_body, call_service, init_service, read_body},
    web::{self, Bytes, ServiceConfig},
};
use futures_util::stream;
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, OtelMonitor, OtelMonitorBuilder};

fn routes(app: &mut ServiceConfig) {
    app.route("/echo/{id}", web::post().to(async |body: String| body + "!"))
        .route("/ok", web::get().to(async || "ok"))
        .route("/missing", web::get().to(HttpResponse::NotFound))
        .route("/broken", web::get().to(HttpResponse::BadGateway))
        .route("/stuck", web::get().to(async || pending::<&'static str>().await))
        .route(
            "/events",
            web::get().to(|| ready(stream_of("text/event-stream", [Ok("data")]))),
        )
        .route(
            "/fails",
            web::get().to(|| ready(stream_of("text/plain", [Err("broken")]))),
        );
}

fn stream_of(content_type: &str, parts: [Result<&'static str, &'static str>; 1]) -> HttpResponse {
    let parts = parts.map(|part| {
        part.map(|part| Bytes::from_static(part.as_bytes()))
            .map_err(io::Error::other)
    });
    HttpResponse::Ok()
        .content_type(content_type)
        .body(BodyStream::new(stream::iter(parts)))
}

/// Refuses a request with the query `refuse`.
async fn refuse(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.query_string() == "refuse" {
        return Err(ErrorUnauthorized("refused"));
    }
    next.call(request).await
}

/// With all families.
fn all() -> OtelMonitorBuilder {
    OtelMonitor::builder()
        .active_requests()
        .request_body_size()
        .response_body_size()
}

async fn app(
    registry: &MetricsRegistry,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    measured(all(), registry).await
}

/// An application that is measured by what `builder` makes.
async fn measured(
    builder: OtelMonitorBuilder,
    registry: &MetricsRegistry,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let metrics = HrPrometheus::with_builder(builder);
    let app = App::new().app_data(registry.clone()).configure(routes);
    init_service(app.wrap(from_fn(refuse)).wrap(metrics)).await
}

/// The labels of the series of the duration, with their counts.
fn durations(registry: &MetricsRegistry) -> Vec<String> {
    let scrape = registry.encode().unwrap();
    let series = scrape.lines();
    let series = series.filter_map(|line| line.strip_prefix("http_server_request_duration_seconds_count"));
    series.map(str::to_owned).collect()
}

/// Asserts that what `request` leaves is one series with these labels beside the method, the version and the scheme.
async fn assert_recorded(request: TestRequest, labels: &str) {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    call_and_read_body(&app, request.to_request()).await;
    let expected = labels.split_once('|').unwrap_or(("", labels));
    assert_eq!(
        durations(&registry),
        [format!(
            r#"{{{}http_request_method="GET",{}network_protocol_version="1.1",url_scheme="http"}} 1"#,
            expected.0, expected.1,
        )],
    );
    assert_eq!(registry.value("http_server_active_requests", &[]), Some(0.0));
}

#[actix_web::test]
async fn one_request_makes_this_scrape() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    let request = TestRequest::post().uri("/echo/7").set_payload("hello");
    call_and_read_body(&app, request.to_request()).await;

    let scrape = registry.encode().unwrap();
    // How long it took is not known beforehand.
    let lines: Vec<_> = scrape
        .lines()
        .map(|line| match line.rsplit_once(' ') {
            Some((series, _)) if series.starts_with("http_server_request_duration_seconds_sum") => series,
            Some((series, _)) if series.contains("duration_seconds_bucket") && !series.contains("+Inf") => series,
            _ => line,
        })
        .map(|line| {
            line.replace(
                r#"http_request_method="POST",http_response_status_code="200",http_route="/echo/{id}",network_protocol_version="1.1",url_scheme="http""#,
                "…",
            )
        })
        .collect();
    assert_eq!(
        lines,
        [
            "# HELP http_server_request_duration_seconds Duration of HTTP server requests.",
            "# TYPE http_server_request_duration_seconds histogram",
            "# UNIT http_server_request_duration_seconds seconds",
            "http_server_request_duration_seconds_sum{…}",
            "http_server_request_duration_seconds_count{…} 1",
            r#"http_server_request_duration_seconds_bucket{le="0.005",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.01",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.025",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.05",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.075",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.1",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.25",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.5",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="0.75",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="1.0",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="2.5",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="5.0",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="7.5",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="10.0",…}"#,
            r#"http_server_request_duration_seconds_bucket{le="+Inf",…} 1"#,
            "# HELP http_server_active_requests Number of active HTTP server requests.",
            "# TYPE http_server_active_requests gauge",
            r#"http_server_active_requests{http_request_method="POST",url_scheme="http"} 0"#,
            "# HELP http_server_request_body_size_bytes Size of HTTP server request bodies.",
            "# TYPE http_server_request_body_size_bytes histogram",
            "# UNIT http_server_request_body_size_bytes bytes",
            "http_server_request_body_size_bytes_sum{…} 5.0",
            "http_server_request_body_size_bytes_count{…} 1",
            r#"http_server_request_body_size_bytes_bucket{le="0.0",…} 0"#,
            r#"http_server_request_body_size_bytes_bucket{le="5.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="10.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="25.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="50.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="75.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="100.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="250.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="500.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="750.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="1000.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="2500.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="5000.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="7500.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="10000.0",…} 1"#,
            r#"http_server_request_body_size_bytes_bucket{le="+Inf",…} 1"#,
            "# HELP http_server_response_body_size_bytes Size of HTTP server response bodies.",
            "# TYPE http_server_response_body_size_bytes histogram",
            "# UNIT http_server_response_body_size_bytes bytes",
            "http_server_response_body_size_bytes_sum{…} 6.0",
            "http_server_response_body_size_bytes_count{…} 1",
            r#"http_server_response_body_size_bytes_bucket{le="0.0",…} 0"#,
            r#"http_server_response_body_size_bytes_bucket{le="5.0",…} 0"#,
            r#"http_server_response_body_size_bytes_bucket{le="10.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="25.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="50.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="75.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="100.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="250.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="500.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="750.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="1000.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="2500.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="5000.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="7500.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="10000.0",…} 1"#,
            r#"http_server_response_body_size_bytes_bucket{le="+Inf",…} 1"#,
            "# EOF",
        ],
    );
}

#[actix_web::test]
async fn without_a_route_there_is_no_http_route() {
    let labels = r#"http_response_status_code="404","#;
    assert_recorded(TestRequest::with_uri("/nowhere"), labels).await;
}

#[actix_web::test]
async fn a_path_over_the_limit_has_a_route_and_an_unmatched_one_has_none() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_monitor::<OtelMonitor>()
        .keep_params("/users/{id}", ["id"])
        .max_kept_paths(0);
    let app = App::new()
        .app_data(registry.clone())
        .route("/users/{id}", web::get().to(HttpResponse::Ok));
    let app = init_service(app.wrap(metrics)).await;
    for path in ["/users/7", "/users/8", "/nowhere", "/nowhere/else"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    assert_eq!(
        durations(&registry),
        [
            r#"{http_request_method="GET",http_response_status_code="404",network_protocol_version="1.1",url_scheme="http"} 2"#,
            r#"{http_request_method="GET",http_response_status_code="200",http_route="_OTHER",network_protocol_version="1.1",url_scheme="http"} 2"#,
        ],
    );
}

#[actix_web::test]
async fn a_status_below_500_is_no_error() {
    let labels = r#"http_response_status_code="404",http_route="/missing","#;
    assert_recorded(TestRequest::with_uri("/missing"), labels).await;
}

#[actix_web::test]
async fn a_status_of_500_or_above_is_the_type_of_the_error() {
    let labels = r#"error_type="502",|http_response_status_code="502",http_route="/broken","#;
    assert_recorded(TestRequest::with_uri("/broken"), labels).await;
}

#[actix_web::test]
async fn a_body_that_fails_is_an_error_after_a_good_status() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    let response = call_service(&app, TestRequest::with_uri("/fails").to_request()).await;
    assert!(actix_web::body::to_bytes(response.into_body()).await.is_err());
    let labels = [
        ("error_type", "body_failed"),
        ("http_response_status_code", "200"),
    ];
    assert_eq!(
        registry.value("http_server_request_duration_seconds_count", &labels),
        Some(1.0)
    );
}

#[actix_web::test]
async fn a_client_that_leaves_during_the_body_is_no_error() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    drop(call_service(&app, TestRequest::with_uri("/fails").to_request()).await);
    assert_eq!(
        durations(&registry),
        [
            r#"{http_request_method="GET",http_response_status_code="200",http_route="/fails",network_protocol_version="1.1",url_scheme="http"} 1"#
        ],
    );
}

#[actix_web::test]
async fn the_error_of_a_middleware_has_the_status_of_its_response() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    let error = app
        .call(TestRequest::with_uri("/ok?refuse").to_request())
        .await
        .map(|_| ())
        .unwrap_err();
    drop(error.error_response());
    assert_eq!(
        durations(&registry),
        [
            r#"{http_request_method="GET",http_response_status_code="401",http_route="/ok",network_protocol_version="1.1",url_scheme="http"} 1"#
        ],
    );
}

#[actix_web::test]
async fn a_request_that_is_dropped_has_no_status_and_its_own_error() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    let mut stuck = Box::pin(app.call(TestRequest::with_uri("/stuck").to_request()));
    assert!(
        stuck
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    let active = [("http_request_method", "GET"), ("url_scheme", "http")];
    assert_eq!(registry.value("http_server_active_requests", &active), Some(1.0));

    drop(stuck);
    assert_eq!(
        durations(&registry),
        [
            r#"{error_type="dropped",http_request_method="GET",http_route="/stuck",network_protocol_version="1.1",url_scheme="http"} 1"#
        ],
    );
    assert_eq!(registry.value("http_server_active_requests", &active), Some(0.0));
}

#[test]
fn a_panic_has_no_status_and_its_own_error() {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let server = support::serve(1, move || {
        App::new()
            .app_data(data.clone())
            .route(
                "/",
                web::get().to(async || -> &'static str { panic!("on purpose") }),
            )
            .wrap(HrPrometheus::with_monitor::<OtelMonitor>())
    });
    support::http(server.address, "GET", "/");
    support::eventually("the request has ended", || {
        durations(&registry)
            == [
                r#"{error_type="panic",http_request_method="GET",http_route="/",network_protocol_version="1.1",url_scheme="http"} 1"#,
            ]
    });
}

#[actix_web::test]
async fn what_a_client_invents_is_in_no_label() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    for number in 0..1_000 {
        let request = TestRequest::with_uri(&format!("/invented{number}"))
            .method(Method::from_bytes(format!("INVENTED{number}").as_bytes()).unwrap())
            .insert_header((header::HOST, format!("invented{number}")))
            .insert_header(("x-forwarded-proto", format!("invented{number}")))
            .insert_header((header::FORWARDED, format!("proto=invented{number}")));
        call_service(&app, request.to_request()).await;
    }
    assert_eq!(
        durations(&registry),
        [
            r#"{http_request_method="_OTHER",http_response_status_code="404",network_protocol_version="1.1",url_scheme="http"} 1000"#
        ],
    );
}

#[actix_web::test]
async fn the_version_is_that_of_the_request() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    for version in [
        Version::HTTP_10,
        Version::HTTP_11,
        Version::HTTP_2,
        Version::HTTP_2,
    ] {
        call_and_read_body(&app, TestRequest::with_uri("/ok").version(version).to_request()).await;
    }
    let count = |version| {
        registry.value(
            "http_server_request_duration_seconds_count",
            &[("network_protocol_version", version)],
        )
    };
    assert_eq!(
        [count("1.0"), count("1.1"), count("2")],
        [Some(1.0), Some(1.0), Some(2.0)]
    );
}

#[actix_web::test]
async fn the_scheme_is_that_of_the_server() {
    let registry = MetricsRegistry::new();
    let app = App::new().app_data(registry.clone()).configure(routes);
    let app = app.wrap(HrPrometheus::with_builder(all()));
    let address = "127.0.0.1:443".parse().unwrap();
    let config = AppConfig::__priv_test_new(true, "localhost".to_owned(), address);
    let app = actix_service::IntoServiceFactory::<_, Request>::into_factory(app)
        .new_service(config)
        .await
        .unwrap();
    let response = call_service(&app, TestRequest::with_uri("/ok").to_request()).await;

    let https = [("url_scheme", "https")];
    assert_eq!(registry.value("http_server_active_requests", &https), Some(1.0));
    read_body(response).await;
    assert_eq!(registry.value("http_server_active_requests", &https), Some(0.0));
    assert_eq!(
        registry.value("http_server_request_duration_seconds_count", &https),
        Some(1.0)
    );
    assert_eq!(
        registry.value("http_server_active_requests", &[("url_scheme", "http")]),
        None
    );
}

#[actix_web::test]
async fn a_long_lived_response_is_timed_at_its_head_and_measured_at_its_end() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    let response = call_service(&app, TestRequest::with_uri("/events").to_request()).await;
    let value = |name| registry.value(name, &[]);
    assert_eq!(value("http_server_request_duration_seconds_count"), Some(1.0));
    assert_eq!(value("http_server_response_body_size_bytes_count"), Some(0.0));
    assert_eq!(value("http_server_active_requests"), Some(1.0));

    read_body(response).await;
    assert_eq!(value("http_server_request_duration_seconds_count"), Some(1.0));
    assert_eq!(value("http_server_response_body_size_bytes_count"), Some(1.0));
    assert_eq!(value("http_server_response_body_size_bytes_sum"), Some(4.0));
    assert_eq!(value("http_server_active_requests"), Some(0.0));
}

#[actix_web::test]
async fn it_runs_beside_the_default_monitor() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>();
    let app = App::new().app_data(registry.clone()).configure(routes);
    let app = init_service(app.wrap(metrics)).await;
    for _ in 0..3 {
        call_and_read_body(&app, TestRequest::with_uri("/ok").to_request()).await;
    }
    assert_eq!(
        registry.value("request_count_total", &[("path", "/ok")]),
        Some(3.0)
    );
    let route = [("http_route", "/ok")];
    assert_eq!(
        registry.value("http_server_request_duration_seconds_count", &route),
        Some(3.0)
    );
    support::assert_balanced(&registry);
}
