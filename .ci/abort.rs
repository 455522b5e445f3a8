//! With `panic = "abort"` in the profile nothing can be contained: a request is served and counted until a hook panics,
//! and then the process ends.

use actix_web::{
    App,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{HrPrometheus, MetricsRegistry};

#[actix_web::main]
async fn main() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/{id}", web::get().to(async || "hello"))
        .wrap(HrPrometheus::default().exclude(|start| match start.request().path() {
            "/panic" => panic!("wanted"),
            path => path == "/excluded",
        }));
    let app = init_service(app).await;
    for path in ["/1", "/excluded"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    assert_eq!(registry.value("request_count_total", &[("path", "/{id}")]), Some(1.0));
    println!("served and counted");
    call_and_read_body(&app, TestRequest::with_uri("/panic").to_request()).await;
    println!("not reached");
}
