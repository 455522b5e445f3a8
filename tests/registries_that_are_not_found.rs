//! A registry that was put where nobody looks is found, or said to be lost.

mod support;

use std::sync::Arc;

use actix_web::{
    App, HttpResponse,
    test::{TestRequest, call_and_read_body, init_service},
    web::{self, ServiceConfig},
};
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope, prometheus_client::registry::Registry};

use support::{capture_log, logged};

/// The scrape of an application with this data, after one request for `path`.
async fn scrape(configure: impl FnOnce(&mut ServiceConfig), path: &str) -> String {
    let app = App::new()
        .configure(configure)
        .service(metrics_scope())
        .service(web::resource(path).to(HttpResponse::Ok))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    let body = call_and_read_body(&app, TestRequest::with_uri("/metrics").to_request()).await;
    String::from_utf8(body.to_vec()).unwrap()
}

#[actix_web::test]
async fn a_registry_in_an_arc_is_found() {
    let registry = MetricsRegistry::new();
    let data = Arc::new(registry.clone());
    let scrape = scrape(
        move |app| {
            app.app_data(data);
        },
        "/in-an-arc",
    )
    .await;
    assert!(scrape.contains(r#"path="/in-an-arc""#), "not in\n{scrape}");
    assert_eq!(
        registry.value("request_count_total", &[("path", "/in-an-arc")]),
        Some(1.0)
    );
    assert_eq!(
        MetricsRegistry::global().value("request_count_total", &[("path", "/in-an-arc")]),
        None
    );
}

#[actix_web::test]
async fn a_registry_in_data_of_an_arc_is_found() {
    let registry = MetricsRegistry::new();
    let data = web::Data::from(Arc::new(registry.clone()));
    scrape(
        move |app| {
            app.app_data(data);
        },
        "/in-data",
    )
    .await;
    assert_eq!(
        registry.value("request_count_total", &[("path", "/in-data")]),
        Some(1.0)
    );
}

/// The warnings so far, each of which must name the type that is looked for.
fn warnings() -> Vec<String> {
    let lines = logged("WARN");
    lines
        .into_iter()
        .filter(|line| line.contains("MetricsRegistry"))
        .collect()
}

// One test, as what is logged is that of the whole process.
#[actix_web::test]
async fn a_registry_that_nobody_would_find_is_warned_of_once() {
    capture_log();
    scrape(|_| {}, "/no-registry").await;
    assert_eq!(warnings(), [""; 0], "there is none, and none is needed");
    for _ in 0..3 {
        scrape(
            |app| {
                app.app_data(web::Data::new(Registry::default()));
            },
            "/bare-registry",
        )
        .await;
    }
    let lines = warnings();
    assert_eq!(lines.len(), 1, "a bare `Registry`: {lines:?}");

    // In the data of a scope, which the middleware around the application does not see.
    let lost = MetricsRegistry::new();
    for _ in 0..3 {
        let app = App::new()
            .service(
                web::scope("/admin")
                    .app_data(lost.clone())
                    .service(metrics_scope()),
            )
            .route("/lost", web::get().to(HttpResponse::Ok))
            .wrap(HrPrometheus::default());
        let app = init_service(app).await;
        call_and_read_body(&app, TestRequest::with_uri("/lost").to_request()).await;
        call_and_read_body(&app, TestRequest::with_uri("/admin/metrics").to_request()).await;
    }
    let lines = warnings();
    assert_eq!(lines.len(), 2, "a registry in a scope's data only: {lines:?}");

    // Nothing is wrong with one that has a middleware, nor with one that is scraped where nothing else is measured.
    let used = MetricsRegistry::new();
    scrape(
        |app| {
            app.app_data(used.clone());
        },
        "/used",
    )
    .await;
    let lines = warnings();
    assert_eq!(lines.len(), 2, "{lines:?}");
}
