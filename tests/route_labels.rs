//! The label `path` is the route that served the request, as the application wrote it, whatever the client sent.

mod support;

use std::{
    collections::BTreeSet, future::pending, io::Write as _, net::TcpStream, panic::AssertUnwindSafe, pin::pin,
};

use actix_files::Files;
use actix_http::Request;
use actix_service::Service;
use actix_web::{
    App, Error, HttpResponse, Responder as _, Route,
    body::{BoxBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorForbidden,
    guard,
    http::{Method, StatusCode, Uri},
    middleware::{Next, from_fn},
    test::{TestRequest, init_service},
    web::{self, ServiceConfig},
};
use futures_util::FutureExt as _;
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};

/// Holds the file `mod.rs`; relative to where cargo runs tests.
const DIRECTORY: &str = "tests/support";

/// Method and target of a request; status and label that it is counted under.
type Row<'a> = (&'a str, &'a str, u16, &'a str);

/// Asserts that an application with these routes answers and counts each of `rows` so, once.
async fn assert_labels(routes: impl FnOnce(&mut ServiceConfig), rows: &[Row<'_>]) {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .configure(routes)
        .wrap(HrPrometheus::default());
    assert_labels_of(&registry, &init_service(app).await, rows).await;
}

async fn assert_labels_of<B: MessageBody>(
    registry: &MetricsRegistry,
    app: &impl Service<Request, Response = ServiceResponse<B>, Error = Error>,
    rows: &[Row<'_>],
) {
    let mut wrong = Vec::new();
    for &(method, target, status, path) in rows {
        let expected =
            format!(r#"request_count_total{{method="{method}",path="{path}",status="{status}"}} "#);
        let before = counts(registry);
        let answered = answer(app, TestRequest::with_uri(target).method(method.parse().unwrap())).await;
        let counted: Vec<_> = counts(registry).difference(&before).cloned().collect();
        if answered != status || counted.len() != 1 || !counted[0].starts_with(&expected) {
            wrong.push(format!(
                "{method} {target} was answered {answered} and counted as {counted:?}, not {expected}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    support::assert_balanced(registry);
}

/// The status that a server would send: that of the response, of the error, or 500 for a panic.
async fn answer<B: MessageBody>(
    app: &impl Service<Request, Response = ServiceResponse<B>, Error = Error>,
    request: TestRequest,
) -> StatusCode {
    match AssertUnwindSafe(app.call(request.to_request()))
        .catch_unwind()
        .await
    {
        Ok(Ok(response)) => response.status(),
        Ok(Err(error)) => HttpResponse::from_error(error).status(),
        Err(_panic) => StatusCode::INTERNAL_SERVER_ERROR,
    }
}

/// The series of the counter, each with its value.
fn counts(registry: &MetricsRegistry) -> BTreeSet<String> {
    let scrape = registry.encode().unwrap();
    let counts = scrape
        .lines()
        .filter(|line| line.starts_with("request_count_total"));
    counts.map(str::to_owned).collect()
}

fn ok() -> Route {
    web::to(HttpResponse::Ok)
}

fn not_found() -> Route {
    web::to(HttpResponse::NotFound)
}

fn hang() -> Route {
    web::to(pending::<HttpResponse>)
}

#[actix_web::test]
async fn a_route_is_labelled_as_it_was_written() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/", ok())
            .route("/about", ok())
            .route("/users/{id}", ok())
            .route("/users/{id}/books/{book}", ok())
            .route(r"/numbers/{n:\d+}", ok())
            .route(r"/codes/{code:\d{3}}/{part:[^:]{1,2}}", ok())
            .route("/{name}.{extension:txt|md}", ok())
            .route("/files/{tail:.*}", ok())
            .route("/trees/{tail}*", ok())
            .route("/grüße/{n}", ok())
            .route("/a b", ok())
            .route("/gone/{id}", not_found())
            .route("/gone", not_found())
            .service(web::redirect("/old", "/about"));
    };
    let long = format!("/users/{}", "x".repeat(60_000));
    assert_labels(
        routes,
        &[
            ("GET", "/", 200, "/"),
            ("GET", "/?page=1", 200, "/"),
            ("GET", "/about", 200, "/about"),
            ("POST", "/about?x={id}", 200, "/about"),
            ("GET", "http://localhost/about", 200, "/about"),
            ("GET", "/users/7", 200, "/users/{id}"),
            ("GET", "/users/8?x=1", 200, "/users/{id}"),
            ("GET", "/users/a%2Fb", 200, "/users/{id}"),
            ("GET", "/users/%22%0A%7D", 200, "/users/{id}"),
            ("GET", "http://localhost/users/7", 200, "/users/{id}"),
            ("GET", &long, 200, "/users/{id}"),
            ("GET", "/users/7/books/x", 200, "/users/{id}/books/{book}"),
            ("GET", "/numbers/12", 200, "/numbers/{n}"),
            ("GET", "/codes/123/ab", 200, "/codes/{code}/{part}"),
            ("GET", "/readme.md", 200, "/{name}.{extension}"),
            ("GET", "/files/", 200, "/files/{tail}"),
            ("GET", "/files/a/b.txt", 200, "/files/{tail}"),
            ("GET", "/trees/a/b", 200, "/trees/{tail}*"),
            ("GET", "/gr%C3%BC%C3%9Fe/1", 200, "/grüße/{n}"),
            ("GET", "/a%20b", 200, "/a b"),
            ("GET", "/gone/7", 404, "/gone/{id}"),
            ("GET", "/gone", 404, "/gone"),
            ("GET", "/old", 307, "/old"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn what_no_route_matches_is_unmatched() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/", ok())
            .route("/about", ok())
            .route("/users/{id}", ok())
            .route(r"/numbers/{n:\d+}", ok());
    };
    let long = format!("/{}", "x".repeat(60_000));
    assert_labels(
        routes,
        &[
            ("GET", "/nowhere", 404, "unmatched"),
            ("GET", "/about/", 404, "unmatched"),
            ("GET", "//", 404, "unmatched"),
            ("GET", "/users/7/more", 404, "unmatched"),
            ("GET", "/users/", 404, "unmatched"),
            ("GET", "/numbers/x", 404, "unmatched"),
            ("GET", &long, 404, "unmatched"),
            ("OPTIONS", "*", 404, "unmatched"),
            ("CONNECT", "example.com:443", 404, "unmatched"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn the_prefixes_of_scopes_are_part_of_the_label() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("/api").route("", ok()).service(
                web::scope("/v1")
                    .route("/items/{id}", ok())
                    .route("/items", ok())
                    .route("/", ok())
                    .service(
                        web::scope("/{shop:[a-z]+}/{floor}")
                            .route("", ok())
                            .route("/till", ok()),
                    ),
            ),
        )
        .service(web::scope("/bare").route("/inside", ok()))
        .service(web::scope("/tenants/{tenant}").route("/users/{id}", ok()))
        .service(web::scope("").route("/rootless/{id}", ok()));
    };
    assert_labels(
        routes,
        &[
            ("GET", "/api", 200, "/api"),
            ("GET", "/api/", 404, "unmatched"),
            ("GET", "/api/nowhere", 404, "unmatched"),
            ("GET", "/api/v1", 404, "unmatched"),
            ("GET", "/api/v1/", 200, "/api/v1/"),
            ("GET", "/api/v1/items", 200, "/api/v1/items"),
            ("GET", "/api/v1/items/7", 200, "/api/v1/items/{id}"),
            ("GET", "/api/v1/items/7/more", 404, "unmatched"),
            ("GET", "/api/v1/books/2", 200, "/api/v1/{shop}/{floor}"),
            ("GET", "/api/v1/books/2/till", 200, "/api/v1/{shop}/{floor}/till"),
            ("GET", "/api/v1/books/2/nowhere", 404, "unmatched"),
            ("GET", "/bare", 404, "unmatched"),
            ("GET", "/bare/inside", 200, "/bare/inside"),
            ("GET", "/bare/outside", 404, "unmatched"),
            ("GET", "/tenants/7", 404, "unmatched"),
            ("GET", "/tenants/7/nowhere", 404, "unmatched"),
            ("GET", "/tenants/7/users/8", 200, "/tenants/{tenant}/users/{id}"),
            ("GET", "/rootless/7", 200, "/rootless/{id}"),
            ("GET", "/nowhere", 404, "unmatched"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn a_default_service_is_no_route_whatever_it_answers() {
    for status in [200, 302, 404] {
        let status_code = StatusCode::from_u16(status).unwrap();
        let default = || web::to(move || async move { "".customize().with_status(status_code) });
        let routes = |app: &mut ServiceConfig| {
            app.route("/users/{id}", ok())
                .service(
                    web::scope("/scope")
                        .route("/users/{id}", ok())
                        .default_service(default()),
                )
                .service(
                    web::scope("/tenants/{tenant}")
                        .route("/users/{id}", ok())
                        .default_service(default()),
                )
                .default_service(default());
        };
        assert_labels(
            routes,
            &[
                ("GET", "/nowhere", status, "unmatched"),
                ("GET", "/users/7/nowhere", status, "unmatched"),
                ("GET", "/scope", status, "unmatched"),
                ("GET", "/scope/nowhere", status, "unmatched"),
                ("GET", "/tenants/7", status, "unmatched"),
                ("GET", "/tenants/7/nowhere", status, "unmatched"),
                ("GET", "/users/7", 200, "/users/{id}"),
                ("GET", "/scope/users/7", 200, "/scope/users/{id}"),
                ("GET", "/tenants/7/users/8", 200, "/tenants/{tenant}/users/{id}"),
            ],
        )
        .await;
    }
}

#[actix_web::test]
async fn a_mount_is_labelled_by_its_prefix_whether_the_file_is_there_or_not() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/users/{id}", ok())
            .service(Files::new("/static", DIRECTORY))
            .service(web::scope("/app").service(Files::new("/assets", DIRECTORY)))
            .service(web::scope("/tenants/{tenant}").service(Files::new("/logos", DIRECTORY)));
    };
    assert_labels(
        routes,
        &[
            ("GET", "/static/mod.rs", 200, "/static"),
            ("HEAD", "/static/mod.rs", 200, "/static"),
            ("POST", "/static/mod.rs", 405, "/static"),
            ("GET", "/static/missing/file", 404, "/static"),
            ("GET", "/static", 404, "/static"),
            ("GET", "/app/assets/mod.rs", 200, "/app/assets"),
            ("GET", "/app/assets/missing", 404, "/app/assets"),
            ("GET", "/app/nowhere", 404, "unmatched"),
            ("GET", "/tenants/7/logos/mod.rs", 200, "/tenants/{tenant}/logos"),
            ("GET", "/tenants/7/logos/missing", 404, "/tenants/{tenant}/logos"),
            ("GET", "/tenants/7/nowhere", 404, "unmatched"),
            ("GET", "/nowhere", 404, "unmatched"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn a_mount_at_the_root_is_labelled_with_a_slash() {
    let files: [Row<'_>; 4] = [
        ("GET", "/mod.rs", 200, "/"),
        ("GET", "/missing/file", 404, "/"),
        ("GET", "/", 404, "/"),
        ("POST", "/mod.rs", 405, "/"),
    ];
    let alone = |app: &mut ServiceConfig| {
        app.service(Files::new("/", DIRECTORY));
    };
    assert_labels(alone, &files).await;

    let after_others = |app: &mut ServiceConfig| {
        app.route("/users/{id}", ok())
            .route("/about", ok())
            .service(web::resource("/submit").guard(guard::Post()).to(HttpResponse::Ok))
            .service(web::scope("/api").route("/items/{id}", ok()))
            .service(Files::new("/", DIRECTORY));
    };
    let others: [Row<'_>; 6] = [
        ("GET", "/users/7", 200, "/users/{id}"),
        ("GET", "/about", 200, "/about"),
        ("POST", "/submit", 200, "/submit"),
        ("GET", "/api/items/7", 200, "/api/items/{id}"),
        ("GET", "/api/nowhere", 404, "unmatched"),
        // Refused by the guard, so it came to the mount.
        ("GET", "/submit", 404, "/"),
    ];
    assert_labels(after_others, &[&files[..], &others[..]].concat()).await;
}

#[actix_web::test]
async fn a_mount_keeps_its_label_beside_a_route_that_matches_its_prefix() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/{page}", ok())
            .service(Files::new("/static", DIRECTORY));
    };
    assert_labels(
        routes,
        &[
            ("GET", "/static/mod.rs", 200, "/static"),
            ("GET", "/static/missing", 404, "/static"),
            ("GET", "/static", 200, "/{page}"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn the_label_is_the_route_that_the_guards_chose() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::resource("/users/{read}")
                .guard(guard::Get())
                .to(HttpResponse::Ok),
        )
        .service(
            web::resource("/users/{written}")
                .guard(guard::Post())
                .to(HttpResponse::Ok),
        )
        .service(web::resource("/{page}").guard(guard::Get()).to(HttpResponse::Ok))
        .service(web::resource("/health").guard(guard::Post()).to(HttpResponse::Ok))
        .service(web::scope("/api/{v}").guard(guard::Get()).route("/{read}", ok()))
        .service(web::scope("/api/v1").guard(guard::Post()).route("/items", ok()));
    };
    assert_labels(
        routes,
        &[
            ("GET", "/users/7", 200, "/users/{read}"),
            ("POST", "/users/7", 200, "/users/{written}"),
            ("POST", "/health", 200, "/health"),
            ("GET", "/health", 200, "/{page}"),
            ("POST", "/health", 200, "/health"),
            ("GET", "/api/v1/items", 200, "/api/{v}/{read}"),
            ("POST", "/api/v1/items", 200, "/api/v1/items"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn what_a_guard_refused_is_unmatched() {
    let routes = |app: &mut ServiceConfig| {
        app.service(web::resource("/posts").guard(guard::Post()).to(HttpResponse::Ok))
            .service(
                web::resource("/posts/{id}")
                    .guard(guard::Post())
                    .to(HttpResponse::Ok),
            )
            .service(
                web::scope("/api")
                    .route("", ok())
                    .service(web::resource("/posts").guard(guard::Post()).to(HttpResponse::Ok))
                    .service(
                        web::resource("/posts/{id}")
                            .guard(guard::Post())
                            .to(HttpResponse::Ok),
                    ),
            )
            .service(
                web::scope("/tenants/{tenant}")
                    .service(web::resource("/posts").guard(guard::Post()).to(HttpResponse::Ok)),
            )
            .service(web::scope("/closed").guard(guard::Post()).route("/posts", ok()))
            // A guard too: this is not a resource with a GET route, which would answer 405.
            .route("/about", web::get().to(HttpResponse::Ok));
    };
    assert_labels(
        routes,
        &[
            ("POST", "/about", 404, "unmatched"),
            ("GET", "/about", 200, "/about"),
            ("GET", "/posts", 404, "unmatched"),
            ("GET", "/posts/7", 404, "unmatched"),
            ("GET", "/api/posts", 404, "unmatched"),
            ("GET", "/api/posts/7", 404, "unmatched"),
            ("GET", "/tenants/7/posts", 404, "unmatched"),
            ("GET", "/closed/posts", 404, "unmatched"),
            ("POST", "/posts", 200, "/posts"),
            ("POST", "/posts/7", 200, "/posts/{id}"),
            ("POST", "/api/posts/7", 200, "/api/posts/{id}"),
            ("POST", "/tenants/7/posts", 200, "/tenants/{tenant}/posts"),
            ("POST", "/closed/posts", 200, "/closed/posts"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn what_a_guard_refused_is_unmatched_also_where_the_route_has_several_patterns() {
    let routes = |app: &mut ServiceConfig| {
        let index = web::resource(["", "/index"]).guard(guard::Post());
        app.service(web::scope("/api").service(index.to(HttpResponse::Ok)));
    };
    assert_labels(
        routes,
        &[
            ("GET", "/api/index", 404, "unmatched"),
            ("POST", "/api/index", 200, "/api"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn what_a_guard_refused_is_unmatched_however_many_parameters_the_route_has() {
    let routes = |app: &mut ServiceConfig| {
        let posts = |path: &str| web::resource(path).guard(guard::Post()).to(HttpResponse::Ok);
        app.service(
            web::scope("/api")
                .service(posts("/{a}/{b}/{c}/{d}"))
                .service(posts("/{a}/{b}/{c}/{d}/{e}")),
        )
        .service(web::scope("/four").service(posts("/{a}/{b}/{c}/{d}")))
        .service(web::scope("/five").service(posts("/{a}/{b}/{c}/{d}/{e}")));
    };
    assert_labels(
        routes,
        &[
            ("GET", "/api/1/2/3/4", 404, "unmatched"),
            ("GET", "/api/1/2/3/4/5", 404, "unmatched"),
            ("GET", "/four/1/2/3/4", 404, "unmatched"),
            ("GET", "/five/1/2/3/4/5", 404, "unmatched"),
            ("POST", "/api/1/2/3/4", 200, "/api/{a}/{b}/{c}/{d}"),
            ("POST", "/api/1/2/3/4/5", 200, "/api/{a}/{b}/{c}/{d}/{e}"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn a_method_that_a_route_has_not_is_counted_for_the_route() {
    let routes = |app: &mut ServiceConfig| {
        let users = || web::resource("/users/{id}").route(web::get().to(HttpResponse::Ok));
        app.service(users()).service(web::scope("/api").service(users()));
    };
    assert_labels(
        routes,
        &[
            ("DELETE", "/users/7", 405, "/users/{id}"),
            ("HEAD", "/api/users/7", 405, "/api/users/{id}"),
        ],
    )
    .await;
}

#[actix_web::test]
async fn a_resource_with_several_patterns_has_the_first_as_its_label() {
    let routes = |app: &mut ServiceConfig| {
        app.service(web::resource(["/first", "/second"]).to(HttpResponse::Ok))
            .service(web::resource(["/users/{id}", "/people/{name}", "/me"]).to(HttpResponse::Ok))
            .service(web::scope("/api").service(web::resource(["", "/index"]).to(HttpResponse::Ok)));
    };
    let rows: [Row<'_>; 7] = [
        ("GET", "/second", 200, "/first"),
        ("GET", "/first", 200, "/first"),
        ("GET", "/me", 200, "/users/{id}"),
        ("GET", "/people/alice", 200, "/users/{id}"),
        ("GET", "/users/7", 200, "/users/{id}"),
        ("GET", "/api/index", 200, "/api"),
        ("GET", "/api", 200, "/api"),
    ];
    assert_labels(routes, &rows).await;

    let mut reversed = rows;
    reversed.reverse();
    assert_labels(routes, &reversed).await;
}

#[actix_web::test]
async fn guards_choose_the_label_also_where_one_text_leads_to_two_routes() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::resource(["/first", "/second"])
                .guard(guard::Get())
                .to(HttpResponse::Ok),
        )
        .service(web::resource("/second").guard(guard::Post()).to(HttpResponse::Ok))
        .service(web::scope("/api").guard(guard::Get()).route("/items", ok()))
        .service(web::resource("/api").guard(guard::Post()).to(HttpResponse::Ok));
    };
    let rows: [Row<'_>; 4] = [
        ("GET", "/second", 200, "/first"),
        ("POST", "/second", 200, "/second"),
        ("GET", "/api", 404, "unmatched"),
        ("POST", "/api", 200, "/api"),
    ];
    assert_labels(routes, &rows).await;

    let mut reversed = rows;
    reversed.reverse();
    assert_labels(routes, &reversed).await;
}

/// Asserts that a request for `target` has the label `path` unless a guard let it in elsewhere, in both orders of first
/// use.
async fn assert_own_label_beside_guarded(routes: fn(&mut ServiceConfig), target: &str, path: &str) {
    let guarded = || TestRequest::with_uri(target).insert_header(("v", "1"));
    let plain = [("GET", target, 200, path)];
    for guarded_first in [true, false] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .configure(routes)
            .wrap(HrPrometheus::default());
        let app = init_service(app).await;

        if guarded_first {
            assert_eq!(answer(&app, guarded()).await, 202);
        }
        assert_labels_of(&registry, &app, &plain).await;
        assert_eq!(answer(&app, guarded()).await, 202);
        assert_labels_of(&registry, &app, &plain).await;
    }
}

#[actix_web::test]
async fn a_header_guard_on_a_resource_with_several_patterns_leaves_others_their_label() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::resource(["/y", "/x", "/y/{id}", "/x/{id}"])
                .guard(guard::Header("v", "1"))
                .to(HttpResponse::Accepted),
        )
        .service(web::resource("/x").to(HttpResponse::Ok))
        .service(web::resource("/x/{id}").to(HttpResponse::Ok));
    };
    assert_own_label_beside_guarded(routes, "/x/7", "/x/{id}").await;
    assert_own_label_beside_guarded(routes, "/x", "/x").await;
}

#[actix_web::test]
async fn a_header_guard_on_a_scope_with_a_default_service_leaves_others_their_label() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("/api")
                .guard(guard::Header("v", "1"))
                .default_service(web::to(HttpResponse::Accepted)),
        )
        .service(web::resource("/api").to(HttpResponse::Ok));
    };
    assert_own_label_beside_guarded(routes, "/api", "/api").await;
}

#[actix_web::test]
async fn a_virtual_host_leaves_another_its_label() {
    let routes = |app: &mut ServiceConfig| {
        app.service(
            web::scope("")
                .guard(guard::Header("v", "1"))
                .service(web::resource(["/home", "/"]).to(HttpResponse::Accepted)),
        )
        .service(web::scope("").service(web::resource("/").to(HttpResponse::Ok)));
    };
    assert_own_label_beside_guarded(routes, "/", "/").await;
}

#[actix_web::test]
async fn an_unnamed_tail_makes_no_labels_of_what_clients_ask_for() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/files*", ok())
        .route("/about", ok())
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;

    for n in 0..5_000 {
        answer(&app, TestRequest::with_uri(&format!("/files/{n}"))).await;
    }

    assert_labels_of(&registry, &app, &[("GET", "/about", 200, "/about")]).await;
    // One for all the files, whether this actix-web serves such a route or finds nothing under it.
    assert_eq!(counts(&registry).len(), 2);
    assert_eq!(registry.value("request_count_total", &[]), Some(5_001.0));
}

/// An inner middleware that ends requests as their query asks for.
async fn obey_query(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<BoxBody>, Error> {
    match request.query_string() {
        "error" => Err(ErrorForbidden("refused")),
        "panic" => panic!("asked to"),
        "401" => Ok(request.into_response(HttpResponse::Unauthorized())),
        "404" => Ok(request.into_response(HttpResponse::NotFound())),
        "hang" => pending().await,
        _ => Ok(next.call(request).await?.map_into_boxed_body()),
    }
}

async fn assert_labels_around_obey_query(rows: &[Row<'_>]) {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/", ok())
        .route("/about", ok())
        .route("/users/{id}", ok())
        .route("/shops/{id}/", ok())
        .route("/shops/{id}", ok())
        .route("/grüße/{n}", ok())
        .route("/a b", ok())
        .route(
            "/panics/{id}",
            web::to(async || -> HttpResponse { panic!("as handlers do") }),
        )
        .service(web::scope("/api").route("/items/{id}", ok()))
        .wrap(from_fn(obey_query))
        .wrap(HrPrometheus::default());
    assert_labels_of(&registry, &init_service(app).await, rows).await;
}

#[actix_web::test]
async fn without_a_response_the_label_is_the_route_of_the_path_as_it_arrived() {
    assert_labels_around_obey_query(&[
        ("GET", "/users/7?error", 403, "/users/{id}"),
        ("GET", "/about?error", 403, "/about"),
        ("GET", "/api/items/7?error", 403, "/api/items/{id}"),
        ("GET", "/gr%C3%BC%C3%9Fe/1?error", 403, "/grüße/{n}"),
        ("GET", "/shops/7/?error", 403, "/shops/{id}/"),
        ("GET", "/shops//7?error", 403, "/shops/{id}"),
        ("GET", "/nowhere?error", 403, "unmatched"),
        ("GET", "/users/7?panic", 500, "/users/{id}"),
        ("GET", "/nowhere?panic", 500, "unmatched"),
        ("GET", "/panics/7", 500, "/panics/{id}"),
        ("GET", "/users/7", 200, "/users/{id}"),
    ])
    .await;
}

#[actix_web::test]
async fn what_an_inner_middleware_answers_is_counted_for_the_route_it_stands_before() {
    assert_labels_around_obey_query(&[
        ("GET", "/?401", 401, "/"),
        ("GET", "/about?401", 401, "/about"),
        ("GET", "/users/7?401", 401, "/users/{id}"),
        ("GET", "/api/items/7?401", 401, "/api/items/{id}"),
        ("GET", "/api?401", 401, "unmatched"),
        ("GET", "/nowhere?401", 401, "unmatched"),
        ("GET", "/nowhere?404", 404, "unmatched"),
        ("GET", "/about", 200, "/about"),
    ])
    .await;
}

#[actix_web::test]
async fn what_an_inner_middleware_answers_is_counted_also_for_routes_that_clients_encode() {
    assert_labels_around_obey_query(&[
        ("GET", "/gr%C3%BC%C3%9Fe/1?401", 401, "/grüße/{n}"),
        ("GET", "/a%20b?401", 401, "/a b"),
    ])
    .await;
}

#[actix_web::test]
async fn connect_is_no_request_for_the_root() {
    async fn refuse_connect(
        request: ServiceRequest,
        next: Next<impl MessageBody + 'static>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        match *request.method() {
            Method::CONNECT => Err(ErrorForbidden("no proxy")),
            _ => next.call(request).await,
        }
    }
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/", ok())
        .wrap(from_fn(refuse_connect))
        .wrap(HrPrometheus::default());

    let rows = [("CONNECT", "example.com:443", 403, "unmatched")];
    assert_labels_of(&registry, &init_service(app).await, &rows).await;
}

/// Gives the request another path.
fn rewrite(request: &mut ServiceRequest, path: &str) {
    let uri: Uri = path.parse().unwrap();
    request.match_info_mut().get_mut().update(&uri);
    request.head_mut().uri = uri;
}

#[actix_web::test]
async fn a_path_that_is_rewritten_before_routing_has_the_label_of_the_route_that_served() {
    async fn to_users(
        mut request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        if request.path() == "/old" || request.path() == "/about" {
            rewrite(&mut request, "/users/7");
        }
        next.call(request).await
    }
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/users/{id}", ok())
        .route("/about", ok())
        .wrap(from_fn(to_users))
        .wrap(HrPrometheus::default());

    let rows = [
        ("GET", "/old", 200, "/users/{id}"),
        ("GET", "/about", 200, "/users/{id}"),
        ("GET", "/nowhere", 404, "unmatched"),
    ];
    assert_labels_of(&registry, &init_service(app).await, &rows).await;
}

async fn to_about(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    rewrite(&mut request, "/about");
    next.call(request).await
}

/// To a path in which the byte after what was consumed of `/multibyte` is within a character, once it is decoded.
async fn to_multibyte(
    mut request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    rewrite(
        &mut request,
        "/xx%F0%9F%A6%80%F0%9F%A6%80%F0%9F%A6%80%F0%9F%A6%80",
    );
    next.call(request).await
}

/// Asserts the labels of an application that gives requests another path after they have been routed.
async fn assert_labels_of_rewritten_after_routing(rows: &[Row<'_>]) {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::resource("/shortened")
                .to(HttpResponse::Ok)
                .wrap(from_fn(to_about)),
        )
        .service(
            web::resource("/multibyte")
                .to(HttpResponse::Ok)
                .wrap(from_fn(to_multibyte)),
        )
        .service(web::scope("/prefixed").route("", ok()).wrap(from_fn(to_about)))
        .route("/about", ok())
        .wrap(HrPrometheus::default());
    assert_labels_of(&registry, &init_service(app).await, rows).await;
}

#[actix_web::test]
async fn a_path_that_is_rewritten_within_a_character_breaks_no_request() {
    let registry = MetricsRegistry::new();
    let resource = web::resource("/multibyte").to(HttpResponse::Ok);
    let app = App::new()
        .app_data(registry.clone())
        .service(resource.wrap(from_fn(to_multibyte)))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;

    assert_eq!(
        answer(&app, TestRequest::with_uri("/multibyte")).await,
        StatusCode::OK
    );
    assert_eq!(
        registry.value("request_count_total", &[("status", "200")]),
        Some(1.0)
    );
    support::assert_balanced(&registry);
}

#[actix_web::test]
async fn a_path_that_is_rewritten_after_routing_keeps_the_label_of_the_route_that_served() {
    for row in [
        ("GET", "/shortened", 200, "/shortened"),
        ("GET", "/prefixed", 200, "/prefixed"),
    ] {
        assert_labels_of_rewritten_after_routing(&[row]).await;
    }
}

#[actix_web::test]
async fn a_path_that_is_rewritten_after_routing_to_longer_characters_keeps_its_label() {
    assert_labels_of_rewritten_after_routing(&[
        ("GET", "/multibyte", 200, "/multibyte"),
        ("GET", "/about", 200, "/about"),
    ])
    .await;
}

#[actix_web::test]
async fn a_path_that_is_rewritten_after_routing_does_not_take_the_label_of_another_route() {
    assert_labels_of_rewritten_after_routing(&[
        ("GET", "/shortened", 200, "/shortened"),
        ("GET", "/about", 200, "/about"),
    ])
    .await;
}

#[actix_web::test]
async fn a_request_that_is_dropped_has_the_label_in_the_gauge_and_then_in_the_count() {
    for (target, path) in [
        ("/about?hang", "/about"),
        ("/users/7?hang", "/users/{id}"),
        ("/api/items/7?hang", "/api/items/{id}"),
        ("/gr%C3%BC%C3%9Fe/1?hang", "/grüße/{n}"),
        ("/slow", "/slow"),
        ("/slow/7", "/slow/{id}"),
        ("/nowhere?hang", "unmatched"),
    ] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .route("/about", ok())
            .route("/users/{id}", ok())
            .route("/grüße/{n}", ok())
            .route("/slow", hang())
            .route("/slow/{id:.+}", hang())
            .service(web::scope("/api").route("/items/{id}", ok()))
            .wrap(from_fn(obey_query))
            .wrap(HrPrometheus::default());
        let app = init_service(app).await;
        let in_progress = || registry.value("requests_in_progress", &[("method", "GET"), ("path", path)]);

        {
            let mut request = pin!(app.call(TestRequest::with_uri(target).to_request()));
            assert!(request.as_mut().now_or_never().is_none(), "{target} hangs");
            assert_eq!(
                in_progress(),
                Some(1.0),
                "{target} in\n{}",
                registry.encode().unwrap()
            );
        }

        assert_eq!(in_progress(), Some(0.0), "{target}");
        assert_eq!(
            registry.value("request_count_total", &[("path", path), ("status", "499")]),
            Some(1.0),
            "{target}",
        );
        support::assert_balanced(&registry);
    }
}

#[test]
fn a_scrape_has_the_requests_that_hang_in_all_workers_by_their_routes() {
    let registry = MetricsRegistry::new();
    let server = support::serve(2, {
        let registry = registry.clone();
        move || {
            App::new()
                .app_data(registry.clone())
                .service(metrics_scope())
                .route("/slow", hang())
                .route("/slow/{id}", hang())
                .service(web::scope("/shops/{shop}").route(r"/items/{id:\d+}", hang()))
                .default_service(hang())
                .wrap(HrPrometheus::default())
        }
    });
    let targets = [
        "/slow",
        "/slow/1",
        "/slow/2?x",
        "/slow/3",
        "/shops/a/items/1",
        "/shops/b/items/2",
        "/nowhere",
        "/slow/1/2",
    ];
    let clients = targets.map(|target| {
        let mut client = TcpStream::connect(server.address).unwrap();
        write!(client, "GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
        client
    });

    let expected = [
        r#"requests_in_progress{method="GET",path="/metrics"} 1"#,
        r#"requests_in_progress{method="GET",path="/shops/{shop}/items/{id}"} 2"#,
        r#"requests_in_progress{method="GET",path="/slow"} 1"#,
        r#"requests_in_progress{method="GET",path="/slow/{id}"} 3"#,
        r#"requests_in_progress{method="GET",path="unmatched"} 2"#,
    ];
    let mut last = String::new();
    support::eventually(&format!("a scrape with {expected:#?}"), || {
        last = support::http(server.address, "GET", "/metrics").1;
        let gauge: Vec<_> = last
            .lines()
            .filter(|line| line.starts_with("requests_in_progress"))
            .collect();
        gauge == expected
    });
    // What a scrape found out stays known to those who look without one.
    let hanging = registry.value("requests_in_progress", &[("path", "/slow/{id}")]);
    assert_eq!(hanging, Some(3.0));

    server.stop(false);
    drop(clients);
    let dropped = [("path", "/shops/{shop}/items/{id}"), ("status", "499")];
    support::eventually_has(&registry, "request_count_total", &dropped, 2.0);
    support::eventually_has(&registry, "requests_in_progress", &[], 0.0);
}

#[actix_web::test]
async fn around_a_scope_it_counts_that_scope_by_full_labels() {
    let registry = MetricsRegistry::new();
    let scope = web::scope("/api/{v}")
        .route("", ok())
        .route("/items", ok())
        .route("/items/{id}", ok())
        .service(web::scope("/inner").route("/x", ok()))
        .service(Files::new("/assets", DIRECTORY))
        .wrap(from_fn(obey_query))
        .wrap(HrPrometheus::default());
    let app = App::new()
        .app_data(registry.clone())
        .service(scope)
        .route("/outside/{id}", ok());
    let app = init_service(app).await;

    let outside = answer(&app, TestRequest::with_uri("/outside/7")).await;
    assert_eq!((outside.as_u16(), counts(&registry).len()), (200, 0));
    let rows = [
        ("GET", "/api/v1", 200, "/api/{v}"),
        ("GET", "/api/v1/items", 200, "/api/{v}/items"),
        ("GET", "/api/v1/items/7", 200, "/api/{v}/items/{id}"),
        ("GET", "/api/v1/inner/x", 200, "/api/{v}/inner/x"),
        ("GET", "/api/v1/assets/mod.rs", 200, "/api/{v}/assets"),
        ("GET", "/api/v1/assets/missing", 404, "/api/{v}/assets"),
        ("GET", "/api/v1/nowhere", 404, "unmatched"),
        ("GET", "/api/v1/items/7?401", 401, "/api/{v}/items/{id}"),
        ("GET", "/api/v1/items/7?error", 403, "/api/{v}/items/{id}"),
    ];
    assert_labels_of(&registry, &app, &rows).await;
}

#[actix_web::test]
async fn around_a_resource_it_counts_that_resource_by_its_full_label() {
    let registry = MetricsRegistry::new();
    let measured = |path: &str| {
        web::resource(path)
            .route(web::get().to(HttpResponse::Ok))
            .wrap(from_fn(obey_query))
            .wrap(HrPrometheus::default())
    };
    let app = App::new()
        .app_data(registry.clone())
        .service(measured("/about"))
        .service(web::scope("/api").service(measured("/items/{id}")))
        .route("/outside/{id}", ok());
    let app = init_service(app).await;

    let outside = answer(&app, TestRequest::with_uri("/outside/7")).await;
    assert_eq!((outside.as_u16(), counts(&registry).len()), (200, 0));
    let rows = [
        ("GET", "/about", 200, "/about"),
        ("GET", "/api/items/7", 200, "/api/items/{id}"),
        ("POST", "/api/items/7", 405, "/api/items/{id}"),
        ("GET", "/api/items/7?401", 401, "/api/items/{id}"),
        ("GET", "/api/items/7?404", 404, "/api/items/{id}"),
        ("GET", "/api/items/7?error", 403, "/api/items/{id}"),
    ];
    assert_labels_of(&registry, &app, &rows).await;
}

#[actix_web::test]
async fn two_wraps_that_see_one_request_count_it_twice() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::scope("/api")
                .route("/items/{id}", ok())
                .wrap(HrPrometheus::default()),
        )
        .route("/about", ok())
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;

    answer(&app, TestRequest::with_uri("/api/items/7")).await;
    answer(&app, TestRequest::with_uri("/about")).await;

    assert_eq!(
        Vec::from_iter(counts(&registry)),
        [
            r#"request_count_total{method="GET",path="/about",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/api/items/{id}",status="200"} 2"#,
        ],
    );
    support::assert_balanced(&registry);
}

#[actix_web::test]
async fn an_unusual_first_request_does_not_spoil_later_labels() {
    for first in [
        ("GET", "/nowhere", 404, "unmatched"),
        ("OPTIONS", "*", 404, "unmatched"),
        ("CONNECT", "example.com:443", 404, "unmatched"),
        ("GET", "/api", 404, "unmatched"),
        ("GET", "/nowhere?error", 403, "unmatched"),
        ("GET", "/users/7?panic", 500, "/users/{id}"),
        ("GET", "/panics/7", 500, "/panics/{id}"),
    ] {
        assert_labels_around_obey_query(&[
            first,
            ("GET", "/", 200, "/"),
            ("GET", "/about", 200, "/about"),
            ("GET", "/users/7", 200, "/users/{id}"),
            ("GET", "/api/items/7", 200, "/api/items/{id}"),
            ("GET", "/nowhere", 404, "unmatched"),
        ])
        .await;
    }
}
