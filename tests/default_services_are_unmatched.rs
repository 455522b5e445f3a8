//! A request that no route served is `unmatched`, whatever a default service answers; one that an inner middleware
//! answered before routing has the label of the route that it stands before.

mod support;

use actix_files::Files;
use actix_web::{
    App, Error, HttpResponse, Route,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service},
    web::{self, ServiceConfig},
};
use hr_prometheus::{HrPrometheus, MetricsRegistry};

use support::labels::application;

fn get() -> Route {
    web::get().to(HttpResponse::Ok)
}

fn post() -> Route {
    web::post().to(HttpResponse::Ok)
}

/// Answers as a single-page application does.
fn page() -> Route {
    web::to(async || HttpResponse::Ok().body("<!doctype html>"))
}

#[actix_web::test]
async fn what_a_method_refused_and_a_default_service_served_is_unmatched() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/", get())
            .route("/login", post())
            .route("/users/{id}", post())
            .route("/grüße", post())
            .route("/files/{tail}*", get())
            .default_service(page());
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/login", 200, "unmatched"),
            ("HEAD", "/login", 200, "unmatched"),
            ("GET", "/log%69n", 200, "unmatched"),
            ("GET", "/login/", 200, "unmatched"),
            ("POST", "/", 200, "unmatched"),
            ("OPTIONS", "/login", 200, "unmatched"),
            ("BREW", "/", 200, "unmatched"),
            ("GET", "/users/7", 200, "unmatched"),
            ("GET", "/gr%C3%BC%C3%9Fe", 200, "unmatched"),
            ("POST", "/files/a/b", 200, "unmatched"),
            ("GET", "/", 200, "/"),
            ("POST", "/login", 200, "/login"),
            ("POST", "/users/7", 200, "/users/{id}"),
        ])
        .await;
}

#[actix_web::test]
async fn what_a_method_refused_and_a_default_service_of_a_scope_served_is_unmatched() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("/app")
                .route("/login", post())
                .route("/users/{id}", post())
                .route("/{tail}*", post())
                .service(web::scope("/inner").route("/login", post()))
                .default_service(page()),
        )
        .service(
            web::scope("/t/{tenant}")
                .route("/login", post())
                .default_service(page()),
        )
        .service(web::scope("").route("/rootless", post()).default_service(page()));
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/app/login", 200, "unmatched"),
            ("GET", "/app/%6Cogin", 200, "unmatched"),
            ("GET", "/app/users/7", 200, "unmatched"),
            ("GET", "/app/a/b/c", 200, "unmatched"),
            // The scope within has the default service of the application.
            ("GET", "/app/inner/login", 404, "unmatched"),
            ("GET", "/t/7/login", 200, "unmatched"),
            ("GET", "/rootless", 200, "unmatched"),
            ("POST", "/app/login", 200, "/app/login"),
            ("POST", "/app/a/b", 200, "/app/{tail}*"),
            ("POST", "/t/7/login", 200, "/t/{tenant}/login"),
            ("POST", "/rootless", 200, "/rootless"),
        ])
        .await;
}

#[actix_web::test]
async fn what_a_header_guard_refused_and_a_default_service_served_is_unmatched() {
    let routes = |app: &mut ServiceConfig| {
        let guarded = |path: &str| {
            web::resource(path)
                .guard(actix_web::guard::Header("v", "1"))
                .to(HttpResponse::Accepted)
        };
        app.service(guarded("/beta"))
            .service(guarded("/beta/{id}"))
            .service(web::scope("/api").service(guarded("/beta")))
            .default_service(page());
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/beta", 200, "unmatched"),
            ("GET", "/beta/7", 200, "unmatched"),
            ("GET", "/api/beta", 200, "unmatched"),
            ("GET", "/beta [v: 1]", 202, "/beta"),
            ("GET", "/beta/7 [v: 1]", 202, "/beta/{id}"),
            ("GET", "/api/beta [v: 1]", 202, "/api/beta"),
        ])
        .await;
}

#[actix_web::test]
async fn a_default_service_with_a_status_of_its_own_is_unmatched() {
    for status in [200, 201, 204, 304, 404, 405, 410] {
        let routes = match status {
            200 => default_with::<200>,
            201 => default_with::<201>,
            204 => default_with::<204>,
            304 => default_with::<304>,
            404 => default_with::<404>,
            405 => default_with::<405>,
            _ => default_with::<410>,
        };
        application(routes)
            .assert_in_any_order(&[
                ("GET", "/login", status, "unmatched"),
                ("GET", "/nowhere", status, "unmatched"),
                ("GET", "/api/login", status, "unmatched"),
                ("GET", "/api/nowhere", status, "unmatched"),
                ("POST", "/login", 200, "/login"),
                ("POST", "/api/login", 200, "/api/login"),
            ])
            .await;
    }
}

fn default_with<const STATUS: u16>(app: &mut ServiceConfig) {
    let default = async || HttpResponse::new(StatusCode::from_u16(STATUS).unwrap());
    app.route("/login", post())
        .service(web::scope("/api").route("/login", post()))
        .default_service(web::to(default));
}

#[actix_web::test]
async fn beside_a_mount_at_the_root_a_refused_route_belongs_to_who_served() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/login", post())
            .service(web::scope("/api").route("/login", post()))
            .service(Files::new("/", "tests/support"))
            .default_service(page());
    };
    application(routes)
        .assert_in_any_order(&[
            // The mount asks the default service for what it does not have.
            ("GET", "/login", 200, "/"),
            ("GET", "/nowhere", 200, "/"),
            ("GET", "/mod.rs", 200, "/"),
            ("GET", "/api/login", 200, "unmatched"),
            ("GET", "/api/nowhere", 200, "unmatched"),
            ("POST", "/login", 200, "/login"),
        ])
        .await;
}

#[actix_web::test]
async fn a_resource_without_a_route_for_the_method_is_still_the_resource() {
    let routes = |app: &mut ServiceConfig| {
        app.service(web::resource("/login").route(post()))
            .service(
                web::resource("/own")
                    .route(post())
                    .default_service(web::to(HttpResponse::ImATeapot)),
            )
            .default_service(page());
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/login", 405, "/login"),
            ("GET", "/own", 418, "/own"),
            ("POST", "/login", 200, "/login"),
            ("GET", "/nowhere", 200, "unmatched"),
        ])
        .await;
}

/// Answers what the query asks for, in place of the route.
async fn gatekeeper(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match request.query_string().parse() {
        Ok(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            Ok(request.into_response(HttpResponse::new(status)))
        }
        Err(_) => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

#[actix_web::test]
async fn what_a_gatekeeper_answers_has_the_label_of_the_route_behind_it() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("")
                .route("/about", get())
                .route("/users/{id}", get())
                .route("/a b", get())
                .service(web::scope("/api").route("/items/{id}", get()))
                .wrap(from_fn(gatekeeper)),
        );
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/about?401", 401, "/about"),
            ("GET", "/about?403", 403, "/about"),
            ("GET", "/users/7?302", 302, "/users/{id}"),
            ("GET", "/users/7?429", 429, "/users/{id}"),
            ("GET", "/a%20b?401", 401, "/a b"),
            ("GET", "/api/items/7?401", 401, "/api/items/{id}"),
            ("GET", "/api/items/%37?403", 403, "/api/items/{id}"),
            ("GET", "/nowhere?401", 401, "unmatched"),
            ("GET", "/api?401", 401, "unmatched"),
            ("GET", "/about", 200, "/about"),
        ])
        .await;
}

#[actix_web::test]
async fn a_preflight_that_a_gatekeeper_answers_has_the_label_of_the_route_that_it_asks_about() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::scope("")
                .route("/users/{id}", get())
                .wrap(from_fn(gatekeeper)),
        )
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    for (method, header) in [
        ("OPTIONS", "access-control-request-method"),
        ("OPTIONS", "access-control-request-headers"),
        ("POST", "access-control-request-method"),
    ] {
        let request = TestRequest::with_uri("/users/7?204").insert_header((header, "PUT"));
        let request = request.method(method.parse().unwrap()).to_request();
        call_service(&app, request).await;
    }
    let counts = registry.encode().unwrap();
    let counts = counts
        .lines()
        .filter(|line| line.starts_with("request_count_total"));
    assert_eq!(
        counts.collect::<Vec<_>>(),
        [
            r#"request_count_total{method="OPTIONS",path="/users/{id}",status="204"} 1"#,
            r#"request_count_total{method="OPTIONS",path="unmatched",status="204"} 1"#,
            r#"request_count_total{method="POST",path="unmatched",status="204"} 1"#,
        ],
    );
}
