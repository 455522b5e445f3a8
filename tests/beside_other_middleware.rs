//! With other middleware in any order, around an application, a scope or a resource, and `/metrics` behind them.

mod support;

use std::{
    collections::BTreeMap,
    future::{Pending, pending, poll_fn},
    io::Write as _,
    net::TcpStream,
    task::{Context, Poll},
};

use actix_http::Request;
use actix_service::{Service, Transform as _};
use actix_web::{
    App, Error, HttpResponse, Responder,
    body::{EitherBody, MessageBody},
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorUnauthorized,
    http::StatusCode,
    middleware::{
        Compress, Condition, DefaultHeaders, ErrorHandlerResponse, ErrorHandlers, Logger, Next,
        NormalizePath, from_fn,
    },
    test::{TestRequest, init_service, read_body},
    web::{self, Bytes, ServiceConfig},
};
use actix_web_httpauth::{extractors::bearer::BearerAuth, middleware::HttpAuthentication};
use futures_util::FutureExt as _;
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};

const NO_HEADERS: [(&str, &str); 0] = [];
const TOKEN: [(&str, &str); 1] = [("authorization", "Bearer secret")];
const GZIP: [(&str, &str); 1] = [("accept-encoding", "gzip")];

/// An application that nobody measures yet, with its registry.
fn routes(registry: &MetricsRegistry) -> impl FnOnce(&mut ServiceConfig) {
    let registry = registry.clone();
    move |app| {
        app.app_data(registry)
            .route("/users/{id}", web::get().to(greet))
            .route(
                "/gone/{id}",
                web::get().to(async || HttpResponse::Gone().body("it was here")),
            );
    }
}

async fn greet(id: web::Path<String>) -> impl Responder {
    format!("hello {id}, ").repeat(100)
}

async fn ask<B: MessageBody>(
    app: &impl Service<Request, Response = ServiceResponse<B>, Error = Error>,
    target: &str,
    headers: &[(&str, &str)],
) -> (u16, BTreeMap<String, String>, Bytes) {
    let request = TestRequest::with_uri(target);
    let request = headers
        .iter()
        .fold(request, |request, &header| request.insert_header(header));
    let response = app.call(request.to_request()).await.expect("a response");
    let headers = response.headers().iter();
    let headers = headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned()));
    (
        response.status().as_u16(),
        headers.collect(),
        read_body(response).await,
    )
}

/// The series of the counter, each with its value.
fn counts(registry: &MetricsRegistry) -> Vec<String> {
    let scrape = registry.encode().unwrap();
    let counts = scrape
        .lines()
        .filter(|line| line.starts_with("request_count_total"));
    counts.map(str::to_owned).collect()
}

async fn check_token(
    request: ServiceRequest,
    token: BearerAuth,
) -> Result<ServiceRequest, (Error, ServiceRequest)> {
    match token.token() {
        "secret" => Ok(request),
        _ => Err((ErrorUnauthorized("unknown token"), request)),
    }
}

/// What has no room for a request yet.
struct Busy;

impl Service<ServiceRequest> for Busy {
    type Response = ServiceResponse;
    type Error = Error;
    type Future = Pending<Result<ServiceResponse, Error>>;

    fn poll_ready(&self, _: &mut Context<'_>) -> Poll<Result<(), Error>> {
        Poll::Pending
    }

    fn call(&self, _: ServiceRequest) -> Self::Future {
        pending()
    }
}

#[actix_web::test]
async fn it_is_not_ready_before_what_it_is_around() {
    let measured = HrPrometheus::default().new_transform(Busy).await.unwrap();
    assert!(poll_fn(|cx| measured.poll_ready(cx)).now_or_never().is_none());
}

async fn pass_on(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    next.call(request).await
}

/// Replaces the body of a response that was an error.
#[expect(clippy::unnecessary_wraps, reason = "the signature of an error handler")]
fn apologize<B>(response: ServiceResponse<B>) -> actix_web::Result<ErrorHandlerResponse<B>> {
    let response = response.map_body(|_, _| EitherBody::right("we are sorry".to_owned().boxed()));
    Ok(ErrorHandlerResponse::Response(response))
}

/// Asserts that an application with the middleware and with two of ours, one inside of it and one outside, answers as
/// it does without ours, and that each of the two counts once.
macro_rules! assert_counted_on_both_sides_of {
    ($middleware:expr) => {{
        let registry = MetricsRegistry::new();
        let plain = App::new().configure(routes(&registry)).wrap($middleware);
        let plain = init_service(plain).await;
        let measured = App::new()
            .configure(routes(&registry))
            .wrap(HrPrometheus::default())
            .wrap($middleware)
            .wrap(HrPrometheus::default());
        let measured = init_service(measured).await;

        for target in ["/users/7", "/gone/7", "/nowhere"] {
            let headers = [TOKEN[0], GZIP[0]];
            let expected = ask(&plain, target, &headers).await;
            let answered = ask(&measured, target, &headers).await;
            let middleware = stringify!($middleware);
            assert_eq!(answered, expected, "{target} beside {middleware}");
        }
        assert_eq!(
            counts(&registry),
            [
                r#"request_count_total{method="GET",path="/gone/{id}",status="410"} 2"#,
                r#"request_count_total{method="GET",path="/users/{id}",status="200"} 2"#,
                r#"request_count_total{method="GET",path="unmatched",status="404"} 2"#,
            ],
            stringify!($middleware),
        );
        support::assert_balanced(&registry);
    }};
}

#[actix_web::test]
async fn right_inside_and_right_outside_of_other_middleware_it_counts_and_changes_nothing() {
    assert_counted_on_both_sides_of!(NormalizePath::trim());
    assert_counted_on_both_sides_of!(Compress::default());
    assert_counted_on_both_sides_of!(Logger::default());
    assert_counted_on_both_sides_of!(Condition::new(true, Compress::default()));
    assert_counted_on_both_sides_of!(Condition::new(false, Compress::default()));
    assert_counted_on_both_sides_of!(HttpAuthentication::bearer(check_token));
    assert_counted_on_both_sides_of!(DefaultHeaders::new().add(("x-version", "1")));
    assert_counted_on_both_sides_of!(ErrorHandlers::new().default_handler(apologize));
    assert_counted_on_both_sides_of!(from_fn(pass_on));
}

#[actix_web::test]
async fn outermost_of_many_it_counts_what_the_client_was_sent() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .configure(routes(&registry))
        .wrap(ErrorHandlers::new().default_handler(apologize))
        .wrap(DefaultHeaders::new().add(("x-version", "1")))
        .wrap(Compress::default())
        .wrap(HttpAuthentication::bearer(check_token))
        .wrap(NormalizePath::trim())
        .wrap(Condition::new(true, from_fn(pass_on)))
        .wrap(Logger::default())
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;

    let (status, headers, body) = ask(&app, "//users///7/", &TOKEN).await;
    assert_eq!((status, &body[..9]), (200, &b"hello 7, "[..]));
    assert_eq!(headers["x-version"], "1");
    assert_eq!(ask(&app, "/users/7", &NO_HEADERS).await.0, 401);
    assert_eq!(
        ask(&app, "/users/7", &[("authorization", "Bearer stolen")])
            .await
            .0,
        401
    );
    let (status, _, body) = ask(&app, "/gone/7", &TOKEN).await;
    assert_eq!((status, &*body), (410, &b"we are sorry"[..]));

    assert_eq!(
        counts(&registry),
        [
            r#"request_count_total{method="GET",path="/gone/{id}",status="410"} 1"#,
            r#"request_count_total{method="GET",path="/users/{id}",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/users/{id}",status="401"} 2"#,
        ],
    );
    support::assert_balanced(&registry);
}

#[actix_web::test]
async fn innermost_of_many_it_counts_what_the_others_let_through() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .configure(routes(&registry))
        .wrap(HrPrometheus::default())
        .wrap(ErrorHandlers::new().default_handler(apologize))
        .wrap(DefaultHeaders::new().add(("x-version", "1")))
        .wrap(Compress::default())
        .wrap(HttpAuthentication::bearer(check_token))
        .wrap(NormalizePath::trim())
        .wrap(Condition::new(true, from_fn(pass_on)))
        .wrap(Logger::default());
    let app = init_service(app).await;

    let (status, headers, body) = ask(&app, "//users///7/", &TOKEN).await;
    assert_eq!((status, &body[..9]), (200, &b"hello 7, "[..]));
    assert_eq!(headers["x-version"], "1");
    assert_eq!(ask(&app, "/users/7", &NO_HEADERS).await.0, 401);
    // The handler's body is thrown away outside; the request ends all the same.
    let (status, _, body) = ask(&app, "/gone/7", &TOKEN).await;
    assert_eq!((status, &*body), (410, &b"we are sorry"[..]));

    assert_eq!(
        counts(&registry),
        [
            r#"request_count_total{method="GET",path="/gone/{id}",status="410"} 1"#,
            r#"request_count_total{method="GET",path="/users/{id}",status="200"} 1"#,
        ],
    );
    support::assert_balanced(&registry);
}

#[actix_web::test]
async fn a_redirect_of_inner_middleware_is_counted_for_the_route_it_stands_before() {
    async fn redirect(
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<EitherBody<impl MessageBody>>, Error> {
        if request.headers().contains_key("x-insecure") {
            let location = ("location", format!("https://localhost{}", request.path()));
            let moved = HttpResponse::PermanentRedirect().insert_header(location).finish();
            return Ok(request.into_response(moved).map_into_right_body());
        }
        Ok(next.call(request).await?.map_into_left_body())
    }
    let registry = MetricsRegistry::new();
    let app = App::new()
        .configure(routes(&registry))
        .wrap(from_fn(redirect))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;

    let (status, headers, _) = ask(&app, "/users/7", &[("x-insecure", "1")]).await;
    assert_eq!(status, 308);
    assert_eq!(headers["location"], "https://localhost/users/7");
    assert_eq!(ask(&app, "/users/7", &NO_HEADERS).await.0, 200);

    assert_eq!(
        counts(&registry),
        [
            r#"request_count_total{method="GET",path="/users/{id}",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/users/{id}",status="308"} 1"#,
        ],
    );
}

#[actix_web::test]
async fn error_handlers_inside_decide_the_status_and_outside_come_too_late() {
    fn teapot<B>(mut response: ServiceResponse<B>) -> actix_web::Result<ErrorHandlerResponse<B>> {
        *response.response_mut().status_mut() = StatusCode::IM_A_TEAPOT;
        apologize(response)
    }
    for (ours_is_outermost, expected) in [(true, "418"), (false, "410")] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .configure(routes(&registry))
            .wrap(Condition::new(!ours_is_outermost, HrPrometheus::default()))
            .wrap(ErrorHandlers::new().handler(StatusCode::GONE, teapot))
            .wrap(Condition::new(ours_is_outermost, HrPrometheus::default()));
        let app = init_service(app).await;

        let (status, _, body) = ask(&app, "/gone/7", &NO_HEADERS).await;

        assert_eq!((status, &*body), (418, &b"we are sorry"[..]));
        let counted =
            format!(r#"request_count_total{{method="GET",path="/gone/{{id}}",status="{expected}"}} 1"#);
        assert_eq!(counts(&registry), [counted]);
        support::assert_balanced(&registry);
    }
}

#[actix_web::test]
async fn a_condition_turns_it_on_and_off() {
    for (on, expected) in [(true, Some(1.0)), (false, None)] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .configure(routes(&registry))
            .wrap(Condition::new(on, HrPrometheus::default()));
        let app = init_service(app).await;

        assert_eq!(ask(&app, "/users/7", &NO_HEADERS).await.0, 200);

        let counted = registry.value("request_count_total", &[("path", "/users/{id}")]);
        assert_eq!(counted, expected, "{on}");
    }
}

#[actix_web::test]
async fn around_a_scope_or_a_resource_it_stands_beside_their_other_middleware() {
    let registry = MetricsRegistry::new();
    let outermost = web::scope("/outermost")
        .route("/{id}", web::get().to(greet))
        .wrap(HttpAuthentication::bearer(check_token))
        .wrap(NormalizePath::trim())
        .wrap(HrPrometheus::default());
    let innermost = web::scope("/innermost")
        .route("/{id}", web::get().to(greet))
        .wrap(HrPrometheus::default())
        .wrap(HttpAuthentication::bearer(check_token))
        .wrap(Compress::default());
    let resource = web::resource("/resource/{id}")
        .route(web::get().to(greet))
        .wrap(DefaultHeaders::new().add(("x-version", "1")))
        .wrap(HrPrometheus::default())
        .wrap(ErrorHandlers::new().default_handler(apologize))
        .wrap(Compress::default());
    let app = App::new()
        .configure(routes(&registry))
        .service(outermost)
        .service(innermost)
        .service(resource)
        .wrap(Logger::default());
    let app = init_service(app).await;

    assert_eq!(ask(&app, "/users/7", &NO_HEADERS).await.0, 200);
    for target in ["/outermost/7/", "/innermost/7", "/resource/7"] {
        let (status, _, body) = ask(&app, target, &TOKEN).await;
        assert_eq!((status, &body[..9]), (200, &b"hello 7, "[..]), "{target}");
    }
    assert_eq!(ask(&app, "/outermost/7", &NO_HEADERS).await.0, 401);
    assert_eq!(ask(&app, "/innermost/7", &NO_HEADERS).await.0, 401);

    assert_eq!(
        counts(&registry),
        [
            r#"request_count_total{method="GET",path="/innermost/{id}",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/outermost/{id}",status="200"} 1"#,
            r#"request_count_total{method="GET",path="/outermost/{id}",status="401"} 1"#,
            r#"request_count_total{method="GET",path="/resource/{id}",status="200"} 1"#,
        ],
    );
    support::assert_balanced(&registry);
}

#[actix_web::test]
async fn metrics_are_behind_the_authentication_that_is_wrapped_around_them() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .configure(routes(&registry))
        .service(metrics_scope().wrap(HttpAuthentication::bearer(check_token)))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    ask(&app, "/users/7", &NO_HEADERS).await;

    let (status, _, body) = ask(&app, "/metrics", &NO_HEADERS).await;
    assert_eq!((status, &*body), (401, &b""[..]));
    let (status, _, body) = ask(&app, "/metrics", &TOKEN).await;

    assert_eq!(status, 200);
    let scrape = String::from_utf8(body.to_vec()).unwrap();
    let counted: Vec<_> = scrape
        .lines()
        .filter(|line| line.starts_with("request_count_total"))
        .collect();
    assert_eq!(
        counted,
        [
            r#"request_count_total{method="GET",path="/metrics",status="401"} 1"#,
            r#"request_count_total{method="GET",path="/users/{id}",status="200"} 1"#,
        ],
    );
}

#[actix_web::test]
async fn metrics_can_be_nested_in_another_scope() {
    let registry = MetricsRegistry::new();
    let internal = web::scope("/internal").service(metrics_scope());
    let app = App::new()
        .configure(routes(&registry))
        .service(internal.wrap(HttpAuthentication::bearer(check_token)))
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    ask(&app, "/users/7", &NO_HEADERS).await;

    assert_eq!(ask(&app, "/metrics", &TOKEN).await.0, 404);
    assert_eq!(ask(&app, "/internal/metrics", &NO_HEADERS).await.0, 401);
    let (status, _, body) = ask(&app, "/internal/metrics", &TOKEN).await;

    assert_eq!(status, 200);
    let scrape = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        scrape.contains(r#"request_count_total{method="GET",path="/users/{id}",status="200"} 1"#),
        "{scrape}",
    );
    assert_eq!(
        registry.value(
            "request_count_total",
            &[("path", "/internal/metrics"), ("status", "200")]
        ),
        Some(1.0),
    );
}

/// A public server, whose `/slow/{id}` answers or hangs, and one with nothing but `/metrics`, for the same registry.
fn serve_publicly_and_internally(registry: &MetricsRegistry) -> (support::TestServer, support::TestServer) {
    async fn slow(id: web::Path<String>) -> &'static str {
        if *id == "forever" {
            pending::<()>().await;
        }
        "done"
    }
    let public = support::serve(2, {
        let registry = registry.clone();
        move || {
            App::new()
                .app_data(registry.clone())
                .route("/slow/{id}", web::get().to(slow))
                .wrap(HrPrometheus::default())
        }
    });
    let internal = support::serve(1, {
        let registry = registry.clone();
        move || {
            App::new()
                .app_data(web::Data::new(registry.clone()))
                .service(metrics_scope())
        }
    });
    (public, internal)
}

#[test]
fn metrics_can_be_on_another_port() {
    let registry = MetricsRegistry::new();
    let (public, internal) = serve_publicly_and_internally(&registry);

    assert_eq!(support::http(public.address, "GET", "/slow/7").1, "done");
    let (head, _) = support::http(public.address, "GET", "/metrics");
    assert!(head.starts_with("HTTP/1.1 404"), "{head}");

    support::eventually("a scrape of the other port's two requests", || {
        let (_, scrape) = support::http(internal.address, "GET", "/metrics");
        let counted = scrape
            .lines()
            .filter(|line| line.starts_with("request_count_total"));
        counted.eq([
            r#"request_count_total{method="GET",path="/slow/{id}",status="200"} 1"#,
            r#"request_count_total{method="GET",path="unmatched",status="404"} 1"#,
        ])
    });
}

#[test]
fn on_another_port_requests_in_progress_have_the_routes_that_requests_ended_with() {
    let registry = MetricsRegistry::new();
    let (public, internal) = serve_publicly_and_internally(&registry);
    assert_eq!(support::http(public.address, "GET", "/slow/7").1, "done");

    let mut hanging = TcpStream::connect(public.address).unwrap();
    hanging
        .write_all(b"GET /slow/forever HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();

    let expected = r#"requests_in_progress{method="GET",path="/slow/{id}"} 1"#;
    support::eventually(expected, || {
        let (_, scrape) = support::http(internal.address, "GET", "/metrics");
        scrape.lines().any(|line| line == expected)
    });
}

/// Serves with two workers and the middleware that `make` makes in each; asserts that they count together.
#[track_caller]
fn assert_workers_count_together(
    registry: &MetricsRegistry,
    make: impl Fn() -> HrPrometheus + Clone + Send + 'static,
) {
    let server = support::serve(2, {
        let registry = registry.clone();
        move || {
            App::new()
                .configure(routes(&registry))
                .service(metrics_scope())
                .wrap(make())
        }
    });

    for id in 0..20 {
        let (head, _) = support::http(server.address, "GET", &format!("/users/{id}"));
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    }

    support::eventually_has(registry, "request_count_total", &[("path", "/users/{id}")], 20.0);
    let (_, scrape) = support::http(server.address, "GET", "/metrics");
    assert_eq!(
        scrape.matches("# TYPE request_count counter\n").count(),
        1,
        "{scrape}"
    );
    assert!(
        scrape.contains(r#"request_count_total{method="GET",path="/users/{id}",status="200"} 20"#),
        "{scrape}",
    );
}

#[test]
fn workers_count_together_when_each_makes_its_own() {
    assert_workers_count_together(&MetricsRegistry::new(), HrPrometheus::default);
}

#[test]
fn workers_count_together_when_each_clones_one_made_before() {
    let made_before = HrPrometheus::default();
    assert_workers_count_together(&MetricsRegistry::new(), move || made_before.clone());
}

#[test]
fn workers_count_together_when_each_clones_one_registered_before() {
    let registry = MetricsRegistry::new();
    let registered = HrPrometheus::default().register_in(&registry).unwrap();
    assert_workers_count_together(&registry, move || registered.clone());
}
