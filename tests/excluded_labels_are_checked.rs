//! A label to exclude that no route can have is an error, and one that no route has is reported.

mod support;

use actix_files::Files;
use actix_web::{
    App, HttpResponse,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};

use support::{capture_log, logged};

#[test]
fn a_syntax_that_no_route_can_have_is_an_error_that_names_the_fix() {
    for (label, fix) in [
        ("/users/:id", "/users/{id}"),
        ("/users/:id/books/:book", "/users/{id}/books/{book}"),
        ("/swagger-ui/*", "/swagger-ui/{tail}*"),
        ("/swagger-ui/**", "/swagger-ui/{tail}*"),
        ("/users/*/books", "/users/{name}/books"),
    ] {
        let error = HrPrometheus::default()
            .exclude_routes([label])
            .build()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("{label:?}")) && error.ends_with(&format!("{fix:?}")),
            "{label}: {error}"
        );
        let kept = HrPrometheus::default().keep_params(label, ["id"]);
        assert!(kept.build().is_err(), "{label} as a route with parameters");
    }
}

#[test]
fn what_looks_unusual_and_can_be_a_route_is_accepted() {
    for label in [
        "/",
        "/health/",
        "/files/{tail}*",
        "/a:b",
        "/{name}:{verb}",
        "/a b",
        "/grüße",
        "/~user",
        "/x/@me",
        "/v1.0/{a}.{b}",
        "//double",
        "/a+b",
    ] {
        HrPrometheus::default()
            .exclude_routes([label])
            .build()
            .expect(label);
    }
}

/// Scrapes an application that excludes these labels, several times.
async fn scrape_excluding(labels: &[&str]) {
    let registry = MetricsRegistry::new();
    let ok = || web::get().to(HttpResponse::Ok);
    let app = App::new()
        .app_data(registry.clone())
        .service(metrics_scope())
        .route("/about", ok())
        .route("/checked/{id}", ok())
        .route(r"/numbers/{number:\d+}", ok())
        .route("/tails/{tail}*", ok())
        .service(web::resource(["/first", "/second"]).to(HttpResponse::Ok))
        .service(web::scope("/api").route("", ok()).route("/items/{id}", ok()))
        .service(Files::new("/static", "tests/support"))
        .wrap(HrPrometheus::default().exclude_routes(labels));
    let app = init_service(app).await;
    for _ in 0..3 {
        call_and_read_body(&app, TestRequest::with_uri("/metrics").to_request()).await;
    }
}

#[actix_web::test]
async fn a_label_that_no_route_has_is_logged_once() {
    capture_log();
    scrape_excluding(&["/misspelt", "/checked/{misspelt}", "/api/misspelt/"]).await;
    for label in ["/misspelt\"", "/checked/{misspelt}", "/api/misspelt/"] {
        let lines = logged(label);
        assert_eq!(lines.len(), 1, "{label}: {lines:?}");
        assert!(lines[0].starts_with("WARN"), "{lines:?}");
    }
}

#[actix_web::test]
async fn the_second_of_several_patterns_is_no_label() {
    capture_log();
    scrape_excluding(&["/second"]).await;
    assert_eq!(logged("/second").len(), 1);
}

#[actix_web::test]
async fn a_label_that_a_route_has_is_not_logged() {
    capture_log();
    let labels = [
        "/metrics",
        "/about",
        "/checked/{id}",
        "/numbers/{number}",
        "/tails/{tail}*",
        "/first",
        "/api",
        "/api/items/{id}",
        "/static",
        "unmatched",
    ];
    scrape_excluding(&labels).await;
    for label in labels {
        assert_eq!(logged(&format!("{label:?}")), [""; 0], "{label}");
    }
}
