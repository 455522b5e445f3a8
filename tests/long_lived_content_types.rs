//! Applications say what else is long-lived: by its content type, or by a marker in the response.

mod support;

use std::{convert::Infallible, future::ready};

use actix_web::{
    App, HttpResponse,
    test::{TestRequest, call_service, init_service},
    web::{self, Bytes},
};
use futures_util::stream;
use hr_prometheus::{HrPrometheus, LongLived, MetricsRegistry};

use support::assert_balanced;

/// A stream of this type that never ends, marked as long-lived or not.
fn stream_of(content_type: &str, is_marked: bool) -> HttpResponse {
    let mut response = HttpResponse::Ok()
        .content_type(content_type)
        .streaming(stream::pending::<Result<Bytes, Infallible>>());
    if is_marked {
        response.extensions_mut().insert(LongLived);
    }
    response
}

/// Whether a response of this type is counted at its head, by which it is known to be long-lived.
async fn is_counted_at_its_head(metrics: HrPrometheus, content_type: &'static str, is_marked: bool) -> bool {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route(
            "/feed",
            web::get().to(move || ready(stream_of(content_type, is_marked))),
        )
        .wrap(metrics);
    let app = init_service(app).await;
    let response = call_service(&app, TestRequest::with_uri("/feed").to_request()).await;
    let counted = || registry.value("request_count_total", &[("path", "/feed"), ("status", "200")]);
    let at_head = counted() == Some(1.0);
    assert_eq!(registry.value("requests_in_progress", &[]), Some(1.0));
    drop(response);
    assert_eq!(counted(), Some(1.0), "{content_type}");
    assert_balanced(&registry);
    at_head
}

fn metrics() -> HrPrometheus {
    HrPrometheus::default().long_lived_content_types(["application/x-ndjson", "application/grpc-web+proto"])
}

#[actix_web::test]
async fn a_stream_of_a_type_that_was_named_is_counted_at_its_head() {
    for content_type in [
        "application/x-ndjson",
        "application/x-ndjson; charset=utf-8",
        "Application/X-NDJSON",
        "application/grpc-web+proto",
        // Built in, and still there.
        "text/event-stream",
    ] {
        assert!(
            is_counted_at_its_head(metrics(), content_type, false).await,
            "{content_type}"
        );
    }
}

#[actix_web::test]
async fn a_stream_of_another_type_is_counted_at_its_end() {
    for content_type in [
        "application/x-ndjson-seq",
        "application/octet-stream",
        "x/application/x-ndjson",
    ] {
        assert!(
            !is_counted_at_its_head(metrics(), content_type, false).await,
            "{content_type}"
        );
    }
    assert!(!is_counted_at_its_head(HrPrometheus::default(), "application/x-ndjson", false).await);
}

#[actix_web::test]
async fn types_may_be_named_in_several_calls_and_any_case() {
    let metrics = || {
        HrPrometheus::default()
            .long_lived_content_types(["Application/JSON-Seq"])
            .long_lived_content_types(["application/x-ndjson".to_owned()])
    };
    for content_type in ["application/json-seq", "application/x-ndjson"] {
        assert!(
            is_counted_at_its_head(metrics(), content_type, false).await,
            "{content_type}"
        );
    }
}

#[actix_web::test]
async fn a_stream_that_its_handler_marks_is_counted_at_its_head() {
    assert!(is_counted_at_its_head(HrPrometheus::default(), "application/octet-stream", true).await);
}

#[actix_web::test]
async fn a_marked_response_that_is_no_stream_is_counted_once() {
    let registry = MetricsRegistry::new();
    let marked = async || {
        let mut response = HttpResponse::Ok().body("hello");
        response.extensions_mut().insert(LongLived);
        response
    };
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(marked))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    drop(call_service(&app, TestRequest::default().to_request()).await);
    assert_eq!(registry.value("request_count_total", &[]), Some(1.0));
    assert_balanced(&registry);
}

#[test]
fn what_is_no_content_type_is_an_error_that_names_it() {
    for text in [
        "",
        "ndjson",
        "application/",
        "/x-ndjson",
        "application/x ndjson",
        "text/*",
        "text/a; charset=utf-8",
    ] {
        let error = HrPrometheus::default()
            .long_lived_content_types([text])
            .build()
            .unwrap_err();
        assert!(error.to_string().contains(&format!("{text:?}")), "{error}");
    }
}
