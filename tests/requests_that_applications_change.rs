//! Applications that change a request after it was routed, or keep it, still get a label, and nothing panics.

mod support;

use std::{
    cell::RefCell,
    panic,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use actix_files::Files;
use actix_web::{
    App, Error, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    guard,
    http::{StatusCode, Uri},
    middleware::{Next, NormalizePath, from_fn},
    test::{TestRequest, call_service, init_service},
    web,
};
use hr_prometheus::{HrPrometheus, MetricsRegistry};

use support::assert_balanced;

thread_local! {
    static KEPT: RefCell<Vec<HttpRequest>> = const { RefCell::new(Vec::new()) };
}

/// A handler that keeps its request, as a task that outlives the response does.
async fn keep(request: HttpRequest) -> HttpResponse {
    KEPT.with_borrow_mut(|kept| kept.push(request));
    HttpResponse::Ok().finish()
}

/// The same as a default service.
async fn keep_and_find_nothing(request: HttpRequest) -> HttpResponse {
    KEPT.with_borrow_mut(|kept| kept.push(request));
    HttpResponse::NotFound().finish()
}

/// Cuts the path off before what has been captured of it.
async fn shorten(
    mut request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let uri = Uri::from_static("/x");
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
    next.call(request).await
}

/// The same when the response comes back, after the route captured its parameters.
async fn shorten_afterwards(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let (request, response) = next.call(request).await?.into_parts();
    let mut request = ServiceRequest::from_request(request);
    request.match_info_mut().get_mut().update(&Uri::from_static("/x"));
    Ok(ServiceResponse::new(request.into_parts().0, response))
}

#[actix_web::test]
async fn a_path_that_ends_before_its_captures_is_counted() {
    let registry = MetricsRegistry::new();
    let scope = web::scope("/{tenant}").route("/items/{id}", web::get().to(HttpResponse::Ok));
    let app = App::new()
        .app_data(registry.clone())
        .service(scope.wrap(from_fn(shorten_afterwards)))
        .wrap(HrPrometheus::default().keep_all_params());
    let app = init_service(app).await;
    let request = TestRequest::with_uri("/acme-corporation/items/7").to_request();
    let response = call_service(&app, request).await;
    assert_eq!(response.status(), StatusCode::OK);
    drop(response);
    let labels = [("path", "/{tenant}/items/{id}"), ("status", "200")];
    assert_eq!(registry.value("request_count_total", &labels), Some(1.0));
    assert_balanced(&registry);
}

#[actix_web::test]
async fn a_path_that_ends_before_its_captures_is_counted_where_the_request_is_kept() {
    let registry = MetricsRegistry::new();
    let scope = web::scope("/{tenant}").route("", web::get().to(keep));
    let app = App::new()
        .app_data(registry.clone())
        .service(scope.wrap(from_fn(shorten)))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    let response = call_service(&app, TestRequest::with_uri("/acme-corporation").to_request()).await;
    let status = response.status();
    drop(response);
    assert_eq!(
        registry.value("request_count_total", &[("status", status.as_str())]),
        Some(1.0)
    );
    assert_balanced(&registry);
    KEPT.with_borrow_mut(Vec::clear);
}

#[actix_web::test]
async fn a_handler_that_keeps_its_requests_is_no_cause_of_panics() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);

    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::scope("/users")
                .route("", web::get().to(keep))
                .route("/{id}", web::get().to(keep)),
        )
        .service(
            web::resource("/f/{p}")
                .guard(guard::Header("x", "1"))
                .to(HttpResponse::Ok),
        )
        .service(web::resource("/f/{p}*").to(keep))
        .default_service(web::to(keep))
        .wrap(NormalizePath::trim())
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    let hook = panic::take_hook();
    let this = thread::current().id();
    panic::set_hook(Box::new(move |_| {
        if thread::current().id() == this {
            PANICS.fetch_add(1, Ordering::Relaxed);
        }
    }));
    for (method, path) in [
        ("GET", "/users"),
        ("GET", "/users"),
        // Replaced by `NormalizePath`, and so not the one that arrived.
        ("GET", "/users/7/"),
        ("GET", "/users/7"),
        // Refused by its route, and encoded.
        ("POST", "/users/%37"),
        ("GET", "/f/a"),
        ("GET", "/users"),
        ("GET", "/f/a"),
    ] {
        let request = TestRequest::with_uri(path).method(method.parse().unwrap());
        call_service(&app, request.to_request()).await;
    }
    panic::set_hook(hook);
    for (path, count) in [
        ("/users", 3.0),
        ("/users/{id}", 2.0),
        ("/f/{p}*", 2.0),
        ("unmatched", 1.0),
    ] {
        assert_eq!(
            registry.value("request_count_total", &[("path", path)]),
            Some(count),
            "{path}"
        );
    }
    // The first of a route that nothing else tells from its scope has to be tried.
    assert!(PANICS.load(Ordering::Relaxed) <= 1);
    KEPT.with_borrow_mut(Vec::clear);
}

/// Both paths are consumed as far as a scope and a route of the same prefix consume them.
#[actix_web::test]
async fn a_default_service_that_keeps_its_requests_leaves_them_unmatched() {
    for (path, status, default) in [
        // As a handler could consume it, but not found.
        ("/users", "404", web::to(keep_and_find_nothing)),
        // Found, but not consumed as a handler would.
        ("/static/upload", "200", web::to(keep)),
    ] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .service(web::scope("/users").route("", web::get().to(keep)))
            .service(web::scope("/static").route("/upload", web::get().to(keep)))
            .service(Files::new("/static", "tests/support"))
            .default_service(default)
            .wrap(HrPrometheus::default());
        let app = init_service(app).await;
        for _ in 0..2 {
            call_service(&app, TestRequest::post().uri(path).to_request()).await;
        }
        registry.assert_family(
            "request_count",
            &format!(r#"request_count_total{{method="POST",path="unmatched",status="{status}"}} 2"#),
        );
        KEPT.with_borrow_mut(Vec::clear);
    }
}
