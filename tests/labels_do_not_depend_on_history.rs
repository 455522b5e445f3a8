//! The label of a request is the same whatever was sent before it.

mod support;

use actix_files::Files;
use actix_web::{
    Error, HttpResponse, Resource, Route,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::InternalError,
    guard::{self, Guard},
    http::StatusCode,
    middleware::{Next, from_fn},
    web::{self, ServiceConfig},
};

use support::labels::{Application, EXCLUDED, application};

/// Holds the file `mod.rs`; relative to where cargo runs tests.
const DIRECTORY: &str = "tests/support";

fn get() -> Route {
    web::get().to(HttpResponse::Ok)
}

fn post() -> Route {
    web::post().to(HttpResponse::Ok)
}

fn with_header() -> impl Guard {
    guard::Header("v", "1")
}

/// A resource for requests with the header.
fn guarded(resource: Resource) -> Resource {
    resource.guard(with_header()).to(HttpResponse::Accepted)
}

#[actix_web::test]
async fn an_encoded_path_that_a_method_refuses_hides_no_other_404_of_its_scope() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("/api")
                .route("/users", post())
                .route("/items/{id}", post()),
        )
        .service(web::scope("/t/{id}").service(web::scope("/v1").route("/users", post())))
        .service(web::scope("/grüße").route("/neu", post()));
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/api/%75sers", 404, "unmatched"),
            ("HEAD", "/api/user%73", 404, "unmatched"),
            ("GET", "/api/nowhere", 404, "unmatched"),
            ("GET", "/api/users", 404, "unmatched"),
            ("GET", "/api/items/%37", 404, "unmatched"),
            ("GET", "/t/7/v1/%75sers", 404, "unmatched"),
            ("GET", "/t/7/v1/nowhere", 404, "unmatched"),
            ("GET", "/gr%C3%BC%C3%9Fe/neu", 404, "unmatched"),
            ("GET", "/gr%C3%BC%C3%9Fe/alt", 404, "unmatched"),
            ("POST", "/api/%75sers", 200, "/api/users"),
            ("POST", "/t/7/v1/users", 200, "/t/{id}/v1/users"),
            ("POST", "/gr%C3%BC%C3%9Fe/neu", 200, "/grüße/neu"),
        ])
        .await;
}

#[actix_web::test]
async fn an_encoded_path_of_an_excluded_route_excludes_nothing_else() {
    let routes = |app: &mut ServiceConfig| {
        app.service(web::scope("/api").route("/health", get()).route("/users", get()));
    };
    let application = Application {
        options: |metrics| metrics.exclude_routes(["/api/health"]),
        ..application(routes)
    };
    application
        .assert_in_any_order(&[
            ("POST", "/api/%68ealth", 404, "unmatched"),
            ("POST", "/api/health", 404, "unmatched"),
            ("POST", "/api/nowhere", 404, "unmatched"),
            ("GET", "/api/nowhere", 404, "unmatched"),
            ("GET", "/api/%68ealth", 200, EXCLUDED),
            ("GET", "/api/health", 200, EXCLUDED),
            ("GET", "/api/users", 200, "/api/users"),
        ])
        .await;
}

#[actix_web::test]
async fn a_tail_that_a_method_refused_is_no_mount() {
    let routes = |app: &mut ServiceConfig| {
        app.service(web::scope("/star").route("/{tail}*", get()))
            .service(web::scope("/regex").route("/{tail:.*}", get()))
            .service(web::scope("/t/{id}").route("/{tail}*", get()));
    };
    application(routes)
        .assert_in_any_order(&[
            ("POST", "/star/a", 404, "unmatched"),
            ("POST", "/star/a/b/c/d/e/f", 404, "unmatched"),
            ("HEAD", "/star/", 404, "unmatched"),
            ("POST", "/regex/a", 404, "unmatched"),
            ("POST", "/regex/a%2Fb", 404, "unmatched"),
            ("POST", "/t/7/a/b", 404, "unmatched"),
            ("GET", "/star/a/b", 200, "/star/{tail}*"),
            ("GET", "/regex/a/b", 200, "/regex/{tail}"),
            ("GET", "/t/7/a", 200, "/t/{id}/{tail}*"),
        ])
        .await;
}

#[actix_web::test]
async fn a_parameter_and_a_tail_of_one_name_keep_each_its_label() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/files/{path}", get())
            .route("/files/{path}*", get())
            .service(
                web::scope("/api")
                    .route("/{path}", get())
                    .route("/{path}*", get()),
            )
            .route("/regex/{path}", get())
            .route("/regex/{path:.*}/end", get());
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/files/a", 200, "/files/{path}"),
            ("GET", "/files/a/b", 200, "/files/{path}*"),
            ("GET", "/files/", 200, "/files/{path}*"),
            ("GET", "/api/a", 200, "/api/{path}"),
            ("GET", "/api/a/b", 200, "/api/{path}*"),
            ("GET", "/regex/a", 200, "/regex/{path}"),
            ("GET", "/regex/a/b/end", 200, "/regex/{path}/end"),
        ])
        .await;
}

#[actix_web::test]
async fn a_tail_that_answers_404_keeps_its_label() {
    let routes = |app: &mut ServiceConfig| {
        let not_found = || web::get().to(HttpResponse::NotFound);
        app.route("/files/{path}", not_found())
            .route("/files/{path}*", not_found())
            .route("/{page}", not_found());
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/files/a", 404, "/files/{path}"),
            ("GET", "/files/a/b", 404, "/files/{path}*"),
            ("GET", "/files", 404, "/{page}"),
            ("POST", "/files/a/b", 404, "unmatched"),
        ])
        .await;
}

#[actix_web::test]
async fn a_header_guard_chooses_between_a_resource_and_a_further_pattern_of_another() {
    let routes = |app: &mut ServiceConfig| {
        app.service(guarded(web::resource(["/x", "/y"])))
            .service(web::resource("/y").to(HttpResponse::Ok))
            .service(guarded(web::resource(["/x/{id}", "/y/{id}"])))
            .service(web::resource("/y/{id}").to(HttpResponse::Ok))
            .service(
                web::scope("/api")
                    .service(guarded(web::resource(["/x", "/y"])))
                    .service(web::resource("/y").to(HttpResponse::Ok)),
            );
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/y [v: 1]", 202, "/x"),
            ("GET", "/y", 200, "/y"),
            ("GET", "/x [v: 1]", 202, "/x"),
            ("GET", "/y/7 [v: 1]", 202, "/x/{id}"),
            ("GET", "/y/7", 200, "/y/{id}"),
            ("GET", "/api/y [v: 1]", 202, "/api/x"),
            ("GET", "/api/y", 200, "/api/y"),
        ])
        .await;
}

#[actix_web::test]
async fn a_header_guard_chooses_between_scopes_of_one_prefix() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("/api")
                .guard(with_header())
                .service(web::resource(["/first", "/second"]).to(HttpResponse::Accepted))
                .service(web::resource("/gone").to(HttpResponse::NotFound)),
        )
        .service(
            web::scope("/api")
                .service(web::resource("/second").to(HttpResponse::Ok))
                .service(Files::new("", DIRECTORY)),
        );
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/api/second [v: 1]", 202, "/api/first"),
            ("GET", "/api/second", 200, "/api/second"),
            ("GET", "/api/gone [v: 1]", 404, "/api/gone"),
            ("GET", "/api/gone", 404, "/api"),
            ("GET", "/api/nowhere [v: 1]", 404, "unmatched"),
            ("GET", "/api/nowhere", 404, "/api"),
            ("GET", "/api/mod.rs", 200, "/api"),
        ])
        .await;
}

#[actix_web::test]
async fn a_scope_and_a_mount_of_one_prefix_keep_each_its_label() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("/static")
                .guard(guard::Post())
                .route("/upload", post()),
        )
        .service(Files::new("/static", DIRECTORY));
    };
    application(routes)
        .assert_in_any_order(&[
            ("POST", "/static/nowhere", 404, "unmatched"),
            ("POST", "/static/upload", 200, "/static/upload"),
            ("GET", "/static/missing", 404, "/static"),
            ("GET", "/static/mod.rs", 200, "/static"),
            ("GET", "/static/upload", 404, "/static"),
        ])
        .await;
}

#[actix_web::test]
async fn a_missing_file_belongs_to_its_mount_also_beside_a_route_that_takes_all_below() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/static/{tail:.*}", post())
            .service(Files::new("/static", DIRECTORY))
            .route("/star/{tail}*", post())
            .service(Files::new("/star", DIRECTORY))
            .service(
                web::scope("/api")
                    .route("/static/{tail:.*}", post())
                    .service(Files::new("/static", DIRECTORY)),
            );
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/static/missing", 404, "/static"),
            ("GET", "/static/a/b/c/d/e", 404, "/static"),
            ("GET", "/static/mod.rs", 200, "/static"),
            ("POST", "/static/mod.rs", 200, "/static/{tail}"),
            ("GET", "/star/missing", 404, "/star"),
            ("POST", "/star/missing", 200, "/star/{tail}*"),
            ("GET", "/api/static/missing", 404, "/api/static"),
            ("GET", "/api/nowhere", 404, "unmatched"),
        ])
        .await;
}

#[actix_web::test]
async fn values_are_kept_of_two_routes_with_one_label() {
    let routes = |app: &mut ServiceConfig| {
        app.route(r"/users/{id:\d+}", get())
            .route("/users/{id}", get())
            .service(
                web::scope("/api")
                    .route(r"/{id:\d+}", get())
                    .route("/{id}", get())
                    .route("/{id}*", get()),
            );
    };
    let application = Application {
        options: |metrics| metrics.keep_all_params(),
        ..application(routes)
    };
    application
        .assert_in_any_order(&[
            ("GET", "/users/7", 200, "/users/7"),
            ("GET", "/users/alice", 200, "/users/alice"),
            ("GET", "/users/bob", 200, "/users/bob"),
            ("GET", "/api/7", 200, "/api/7"),
            ("GET", "/api/alice", 200, "/api/alice"),
            ("GET", "/api/a/b", 200, "/api/a/b"),
        ])
        .await;
}

#[actix_web::test]
async fn a_value_that_is_too_long_collapses_no_other() {
    let routes = |app: &mut ServiceConfig| {
        app.service(guarded(web::resource("/users/{id}")))
            .service(guarded(web::resource("/users/{name}/books")))
            .route("/users/{name}", get())
            .route("/users/{name}/books", get())
            .route(r"/items/{id:[a-z]+}", get())
            .route("/items/{id}", get())
            .route("/shops/{shop}/items/{id}", get());
    };
    let application = Application {
        options: |metrics| metrics.keep_all_params(),
        ..application(routes)
    };
    let long = "x".repeat(129);
    let user = format!("/users/{long}");
    let guarded = format!("/users/{long} [v: 1]");
    let books = format!("/users/{long}/books [v: 1]");
    let item = format!("/items/{long}");
    let item_of_shop = format!("/shops/7/items/{long}");
    application
        .assert_in_any_order(&[
            ("GET", &guarded, 202, "/users/{id}"),
            ("GET", &user, 200, "/users/{name}"),
            ("GET", &books, 202, "/users/{name}/books"),
            ("GET", "/users/alice", 200, "/users/alice"),
            ("GET", "/users/alice [v: 1]", 202, "/users/alice"),
            ("GET", "/users/alice/books", 200, "/users/alice/books"),
            ("GET", &item, 200, "/items/{id}"),
            ("GET", "/items/a", 200, "/items/a"),
            ("GET", "/items/7", 200, "/items/7"),
            ("GET", &item_of_shop, 200, "/shops/7/items/{id}"),
            ("GET", "/shops/7/items/%7Bid%7D", 200, "/shops/7/items/%7Bid%7D"),
        ])
        .await;
}

/// Fails with the status that the query asks for, before the request is routed.
async fn fail(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    match request.query_string().parse() {
        Ok(status) => {
            let status = StatusCode::from_u16(status).unwrap();
            Err(InternalError::new("asked for", status).into())
        }
        Err(_) => next.call(request).await,
    }
}

#[actix_web::test]
async fn a_value_that_a_failed_request_had_is_kept_of_no_request_that_was_refused() {
    let routes = |app: &mut ServiceConfig| {
        app.service(web::scope("").route("/users/{id}", get()).wrap(from_fn(fail)));
    };
    let application = Application {
        options: |metrics| metrics.keep_all_params(),
        ..application(routes)
    };
    application
        .assert_in_any_order(&[
            ("GET", "/users/7?500", 500, "/users/7"),
            ("GET", "/users/7?401", 401, "/users/{id}"),
            ("GET", "/users/7", 200, "/users/7"),
        ])
        .await;
}

/// actix-web leaves the same of a request whether the route of a bare prefix answered 404 or a guard refused it.
#[actix_web::test]
async fn a_bare_prefix_has_the_label_of_its_route_where_that_answered_and_none_where_a_guard_refused() {
    let routes = |app: &mut ServiceConfig| {
        let not_found = || web::get().to(HttpResponse::NotFound);
        app.service(web::scope("/api").route("", not_found()).route("/users", get()))
            .service(web::scope("/t/{id}").route("", not_found()))
            .service(web::scope("/grüße").service(web::scope("/{neu}").route("", not_found())))
            .service(web::scope("/none").route("/users", get()));
    };
    application(routes)
        .assert_in_any_order(&[
            ("GET", "/api", 404, "/api"),
            ("POST", "/api", 404, "unmatched"),
            ("HEAD", "/ap%69", 404, "unmatched"),
            ("GET", "/api/", 404, "unmatched"),
            ("GET", "/t/7", 404, "/t/{id}"),
            ("POST", "/t/%37", 404, "unmatched"),
            ("GET", "/gr%C3%BC%C3%9Fe/neu", 404, "/grüße/{neu}"),
            ("POST", "/gr%C3%BC%C3%9Fe/neu", 404, "unmatched"),
            ("GET", "/none", 404, "unmatched"),
            ("POST", "/non%65", 404, "unmatched"),
        ])
        .await;
}
