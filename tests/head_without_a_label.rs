//! HEAD ends with its head, also where it has no label of its own.

use actix_web::{
    App, HttpResponse,
    test::{TestRequest, call_service, init_service},
    web,
};
use futures_util::stream;
use hr_prometheus::{HrPrometheus, MetricsRegistry};

#[actix_web::test]
async fn a_head_request_that_counts_as_other_does_not_wait_for_a_body() {
    let registry = MetricsRegistry::new();
    let endless = || HttpResponse::Ok().streaming(stream::pending::<Result<web::Bytes, actix_web::Error>>());
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::head().to(move || async move { endless() }))
        .wrap(HrPrometheus::default().known_methods("GET"));
    let app = init_service(app).await;
    let response = call_service(
        &app,
        TestRequest::default()
            .method("HEAD".parse().unwrap())
            .to_request(),
    )
    .await;
    assert_eq!(
        registry.value("request_count_total", &[("method", "_OTHER")]),
        Some(1.0)
    );
    drop(response);
}
