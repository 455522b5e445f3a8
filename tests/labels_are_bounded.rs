//! No client can make a series: what it may choose is never a label.

mod support;

use std::future::pending;

use actix_http::Request;
use actix_service::Service;
use actix_web::{
    App, Error, HttpResponse,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorForbidden,
    guard,
    http::header,
    middleware::{Next, from_fn},
    test::{TestRequest, init_service},
    web,
};
use futures_util::FutureExt as _;
use hr_prometheus::{HrPrometheus, MetricsRegistry};

async fn app(
    registry: &MetricsRegistry,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let tenants = web::scope("/tenants/{tenant}")
        .route("/users/{id}", web::to(HttpResponse::Ok))
        .service(web::resource("/posts").guard(guard::Post()).to(HttpResponse::Ok));
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::to(HttpResponse::Ok))
        .route("/users/{id}", web::to(HttpResponse::Ok))
        .route("/files/{tail:.*}", web::to(HttpResponse::NotFound))
        .route("/slow/{id}", web::to(pending::<HttpResponse>))
        .service(tenants)
        .wrap(from_fn(refuse_on_request))
        .wrap(HrPrometheus::default());
    init_service(app).await
}

/// Ends a request with the query `refuse` without a response.
async fn refuse_on_request(
    request: ServiceRequest,
    next: Next<BoxBody>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.query_string() == "refuse" {
        return Err(ErrorForbidden("refused"));
    }
    next.call(request).await
}

/// Sends `requests` after `first`, which is one of them; the series of the counter in the end.
///
/// Asserts that the scrape did not grow after the first, and has nothing in it of `marker`, which is in all of them.
async fn counted_without_growth(
    first: TestRequest,
    requests: impl IntoIterator<Item = TestRequest>,
    marker: &str,
) -> Vec<String> {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;
    drop(app.call(first.to_request()).await);
    let lines = registry.encode().unwrap().lines().count();

    for request in requests {
        drop(app.call(request.to_request()).await);
    }

    let scrape = registry.encode().unwrap();
    assert_eq!(scrape.lines().count(), lines, "{scrape}");
    assert!(!scrape.contains(marker), "{scrape}");
    support::assert_balanced(&registry);
    counted(&scrape)
}

fn counted(scrape: &str) -> Vec<String> {
    let counts = scrape
        .lines()
        .filter(|line| line.starts_with("request_count_total"));
    counts.map(str::to_owned).collect()
}

fn with_method(method: &str) -> TestRequest {
    TestRequest::default().method(method.parse().unwrap())
}

#[actix_web::test]
async fn all_invented_methods_are_one_series() {
    let invented = (1..2_000).map(|n| with_method(&format!("INVENTED{n}-._~|^!")));

    let counted = counted_without_growth(with_method("INVENTED0"), invented, "INVENTED").await;

    assert_eq!(
        counted,
        [r#"request_count_total{method="_OTHER",path="/",status="200"} 2000"#]
    );
}

#[actix_web::test]
async fn methods_that_a_specification_defines_keep_their_names_and_all_others_have_one() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;

    for method in [
        "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY", "get",
        "Post", "PROPFIND", "_OTHER", "G",
    ] {
        drop(app.call(with_method(method).to_request()).await);
    }

    assert_eq!(
        counted(&registry.encode().unwrap()),
        [
            r#"request_count_total{method="CONNECT",path="/",status="200"} 1"#,
            r#"request_count_total{method="DELETE",path="/",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/",status="200"} 1"#,
            r#"request_count_total{method="HEAD",path="/",status="200"} 1"#,
            r#"request_count_total{method="OPTIONS",path="/",status="200"} 1"#,
            r#"request_count_total{method="PATCH",path="/",status="200"} 1"#,
            r#"request_count_total{method="POST",path="/",status="200"} 1"#,
            r#"request_count_total{method="PUT",path="/",status="200"} 1"#,
            r#"request_count_total{method="QUERY",path="/",status="200"} 1"#,
            r#"request_count_total{method="TRACE",path="/",status="200"} 1"#,
            r#"request_count_total{method="_OTHER",path="/",status="200"} 5"#,
        ],
    );
}

#[actix_web::test]
async fn all_paths_without_a_route_are_one_series() {
    let request = |n| TestRequest::with_uri(&format!("/invented{n}/%22%0A%7D/{n}?invented={n}"));

    let counted = counted_without_growth(request(0), (1..5_000).map(request), "invented").await;

    assert_eq!(
        counted,
        [r#"request_count_total{method="GET",path="unmatched",status="404"} 5000"#]
    );
}

#[actix_web::test]
async fn all_paths_without_a_route_that_middleware_refuses_are_one_series() {
    let request = |n| TestRequest::with_uri(&format!("/invented{n}?refuse"));

    let counted = counted_without_growth(request(0), (1..2_000).map(request), "invented").await;

    assert_eq!(
        counted,
        [r#"request_count_total{method="GET",path="unmatched",status="403"} 2000"#]
    );
}

#[actix_web::test]
async fn hosts_make_no_series() {
    let request = |n| TestRequest::default().insert_header((header::HOST, format!("invented{n}.example")));

    let counted = counted_without_growth(request(0), (1..2_000).map(request), "invented").await;

    assert_eq!(
        counted,
        [r#"request_count_total{method="GET",path="/",status="200"} 2000"#]
    );
}

#[actix_web::test]
async fn values_of_parameters_make_no_series() {
    let request = |n| TestRequest::with_uri(&format!("/users/invented{n}%22%0A%7D%20%7Bx%3D%22%5C"));

    let counted = counted_without_growth(request(0), (1..2_000).map(request), "invented").await;

    assert_eq!(
        counted,
        [r#"request_count_total{method="GET",path="/users/{id}",status="200"} 2000"#]
    );
}

#[actix_web::test]
async fn tails_make_no_series_although_the_route_finds_nothing() {
    let request = |n| TestRequest::with_uri(&format!("/files/invented{n}/%22%0A%7D"));

    let counted = counted_without_growth(request(0), (1..2_000).map(request), "invented").await;

    assert_eq!(
        counted,
        [r#"request_count_total{method="GET",path="/files/{tail}",status="404"} 2000"#]
    );
}

#[actix_web::test]
async fn what_a_scope_with_a_parameter_does_not_know_is_one_series() {
    let request = |n: usize| {
        // The scope alone, below it, and what a guard refuses.
        let below = ["", "/invented", "/posts"][n % 3];
        TestRequest::with_uri(&format!("/tenants/invented{n}%22%0A%7D{below}"))
    };

    let counted = counted_without_growth(request(0), (1..3_000).map(request), "invented").await;

    assert_eq!(
        counted,
        [r#"request_count_total{method="GET",path="unmatched",status="404"} 3000"#]
    );
}

#[actix_web::test]
async fn requests_in_progress_show_nothing_of_what_clients_chose() {
    let registry = MetricsRegistry::new();
    let app = app(&registry).await;

    let mut hanging = Vec::new();
    for n in 0..200 {
        let target = format!("/slow/invented{n}%22%0A%7D?invented={n}");
        let request = TestRequest::with_uri(&target).method(format!("INVENTED{n}").parse().unwrap());
        let mut answer = Box::pin(app.call(request.to_request()));
        assert!((&mut answer).now_or_never().is_none(), "it hangs");
        hanging.push(answer);
    }

    let scrape = registry.encode().unwrap();
    let gauge: Vec<_> = scrape
        .lines()
        .filter(|line| line.starts_with("requests_in_progress"))
        .collect();
    assert_eq!(
        gauge,
        [r#"requests_in_progress{method="_OTHER",path="/slow/{id}"} 200"#]
    );
    assert!(!scrape.to_lowercase().contains("invented"), "{scrape}");
    drop(hanging);
    support::assert_balanced(&registry);
}
