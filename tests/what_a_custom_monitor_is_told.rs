//! A custom monitor is told as much about a request as the monitors that ship.

use std::{
    future::pending,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
};

use actix_service::Service as _;
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorUnauthorized,
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service},
    web,
};
use futures_util::FutureExt as _;
use hr_prometheus::{
    HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart, ResponseStart,
    prometheus_client::registry::Registry,
};

/// Notes of each request that ended: its path, whether it had a route at the response head and at its end, and whether
/// it was answered.
#[derive(Clone, Default)]
struct Notes(Arc<Mutex<Vec<Note>>>);

type Note = (String, Option<bool>, bool, bool);

impl RequestMonitor for Notes {
    type InFlight = (String, Option<bool>);

    fn register(_registry: &mut Registry) -> Self {
        Self::default()
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> Self::InFlight {
        (request.request().path().to_owned(), None)
    }

    fn update_response_metrics(&self, (_, at_head): &mut Self::InFlight, response: &ResponseStart<'_>) {
        *at_head = Some(response.has_route());
    }

    fn update_end_metrics(&self, (path, at_head): Self::InFlight, end: &RequestEnd<'_>) {
        let note = (path, at_head, end.has_route(), end.answered());
        self.0.lock().unwrap().push(note);
    }
}

async fn refuse<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    if request.path() == "/refused" {
        return Err(ErrorUnauthorized("refused"));
    }
    next.call(request).await
}

async fn panics() -> HttpResponse {
    panic!("on purpose")
}

#[actix_web::test]
async fn whether_there_was_a_route_and_whether_there_was_a_response() {
    let notes = Notes::default();
    let monitor = notes.clone();
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .route("/hello", web::get().to(async || "hello"))
        .route("/refused", web::get().to(async || "never"))
        .route("/panics", web::get().to(panics))
        .route("/stuck", web::get().to(async || pending::<&'static str>().await))
        .wrap(from_fn(refuse))
        .wrap(HrPrometheus::with_monitor_from(move |_: &mut Registry| {
            monitor.clone()
        }));
    let app = init_service(app).await;
    for path in ["/hello", "/nowhere", "/refused", "/panics", "/stuck"] {
        let call = app.call(TestRequest::with_uri(path).to_request());
        // The one that is stuck is dropped.
        drop(AssertUnwindSafe(call).catch_unwind().now_or_never());
    }
    let note = |path: &str, at_head, has_route, answered| (path.to_owned(), at_head, has_route, answered);
    assert_eq!(
        *notes.0.lock().unwrap(),
        [
            note("/hello", Some(true), true, true),
            note("/nowhere", Some(false), false, true),
            note("/refused", None, true, true),
            note("/panics", None, true, false),
            note("/stuck", None, true, false),
        ],
    );
}

/// Notes its arguments as `Debug` shows them, and asks for nothing.
#[derive(Clone, Default)]
struct Shown(Arc<Mutex<Vec<String>>>);

impl RequestMonitor for Shown {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self::default()
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) {
        self.0.lock().unwrap().push(format!("{request:?}"));
    }

    fn update_response_metrics(&self, (): &mut (), response: &ResponseStart<'_>) {
        self.0.lock().unwrap().push(format!("{response:?}"));
    }

    fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
        let not_asked_for = (end.request_body_bytes(), end.time_on_worker());
        self.0.lock().unwrap().push(format!("{not_asked_for:?}"));
    }
}

#[actix_web::test]
async fn what_it_is_told_can_be_logged() {
    let shown = Shown::default();
    let monitor = shown.clone();
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .route("/users/{id}", web::get().to(async || "a user"))
        .wrap(HrPrometheus::with_monitor_from(move |_: &mut Registry| {
            monitor.clone()
        }));
    let app = init_service(app).await;
    call_service(&app, TestRequest::with_uri("/users/7").to_request()).await;
    assert_eq!(
        *shown.0.lock().unwrap(),
        [
            r#"RequestStart { method: "GET", path: "/users/7", .. }"#,
            r#"ResponseStart { method: "GET", route: "/users/{id}", status: 200, .. }"#,
            "(None, None)",
        ],
    );
}
