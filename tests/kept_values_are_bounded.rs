//! No client fills a limit with values that it made up, and no label or scrape grows with them.

mod support;

use actix_web::{
    App, Error, HttpResponse, Resource,
    body::MessageBody,
    dev::{Service, ServiceRequest, ServiceResponse},
    error::ErrorNotFound,
    middleware::{Next, from_fn},
    test::{TestRequest, init_service},
    web::{self, ServiceConfig},
};
use allocation_counter::measure;
use futures_util::FutureExt as _;
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    prometheus_client::{encoding::EncodeLabelSet, registry::Registry},
};

use support::assert_balanced;

async fn app(
    registry: &MetricsRegistry,
    metrics: HrPrometheus,
    routes: impl FnOnce(&mut ServiceConfig),
) -> impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new().app_data(registry.clone()).configure(routes);
    init_service(app.wrap(metrics)).await
}

/// The labels `path` of the counter, each series once.
fn counted(registry: &MetricsRegistry) -> Vec<String> {
    let scrape = registry.encode().unwrap();
    let samples = scrape
        .lines()
        .filter(|line| line.starts_with("request_count_total{"));
    let paths =
        samples.filter_map(|sample| Some(sample.split_once("path=\"")?.1.split_once('"')?.0.to_owned()));
    paths.collect()
}

/// Answers 404 unless the first parameter is one of two words.
async fn known(path: web::Path<(String, String)>) -> HttpResponse {
    match &*path.0 {
        "foo" | "bar" => HttpResponse::Ok().finish(),
        _ => HttpResponse::NotFound().finish(),
    }
}

fn known_resource(prefix: &str) -> Resource {
    web::resource(format!("{prefix}/{{name}}/{{number}}")).route(web::get().to(known))
}

#[actix_web::test]
async fn no_value_is_kept_of_what_was_not_found() {
    let registry = MetricsRegistry::new();
    let routes = |app: &mut ServiceConfig| {
        app.service(known_resource("/resource"))
            .service(web::scope("/api").service(known_resource("/resource")))
            .service(actix_files::Files::new("/files/{tenant}", "tests/support"));
    };
    let app = app(&registry, HrPrometheus::default().keep_all_params(), routes).await;
    for number in 0..1_000 {
        for path in [
            format!("/resource/invented{number}/1"),
            format!("/api/resource/invented{number}/1"),
            format!("/files/invented{number}/missing"),
        ] {
            drop(app.call(TestRequest::with_uri(&path).to_request()).await);
        }
    }
    for path in ["/resource/foo/1", "/api/resource/bar/1", "/files/acme/mod.rs"] {
        drop(app.call(TestRequest::with_uri(path).to_request()).await);
    }

    assert_eq!(
        counted(&registry),
        [
            "/api/resource/bar/1",
            "/api/resource/{name}/{number}",
            "/files/acme",
            "/files/{tenant}",
            "/resource/foo/1",
            "/resource/{name}/{number}",
        ]
    );
    assert_eq!(registry.value("request_count_total", &[]), Some(3_003.0));
    assert_balanced(&registry);
}

#[actix_web::test]
async fn no_value_is_kept_in_the_gauge_of_what_turns_out_not_to_be_found() {
    let registry = MetricsRegistry::new();
    let routes = |app: &mut ServiceConfig| {
        // A body, so that the request is in progress as long as the test holds the response.
        let not_found = async || HttpResponse::NotFound().body("none");
        app.route("/{name}", web::get().to(not_found));
    };
    let metrics = HrPrometheus::default().keep_all_params().max_kept_paths(10);
    let app = app(&registry, metrics, routes).await;
    for number in 0..100 {
        let response = app
            .call(TestRequest::with_uri(&format!("/{number}")).to_request())
            .await;
        registry.encode().unwrap();
        drop(response);
    }
    assert_eq!(counted(&registry), ["/{name}"]);
    let scrape = registry.encode().unwrap();
    let gauge = scrape
        .lines()
        .filter(|line| line.starts_with("requests_in_progress{"));
    assert_eq!(gauge.count(), 1, "in\n{scrape}");
}

#[actix_web::test]
async fn many_long_values_are_not_kept_in_one_label() {
    let registry = MetricsRegistry::new();
    let parameters: Vec<_> = (0..16).map(|number| format!("{{p{number}}}")).collect();
    let pattern = format!("/{}", parameters.join("/"));
    let routes = |app: &mut ServiceConfig| {
        app.route(&pattern, web::get().to(HttpResponse::Ok));
    };
    let app = app(&registry, HrPrometheus::default().keep_all_params(), routes).await;
    for letter in ["x", "%C3%A4", "%F0%9F%A6%80"] {
        let path = format!("/{}", letter.repeat(128)).repeat(16);
        drop(app.call(TestRequest::with_uri(&path).to_request()).await);
    }
    assert_eq!(counted(&registry), [&*pattern]);
    assert_eq!(registry.value("request_count_total", &[]), Some(3.0));
}

/// The allocations of requests for these paths, whose requests are not among them.
fn allocations(
    app: &impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody>, Error = Error>,
    paths: impl IntoIterator<Item = String>,
) -> u64 {
    let requests: Vec<_> = paths
        .into_iter()
        .map(|path| TestRequest::with_uri(&path).to_request())
        .collect();
    let measured = measure(|| {
        for request in requests {
            drop(app.call(request).now_or_never().expect("a handler that is ready"));
        }
    });
    measured.count_total
}

#[actix_web::test]
async fn over_the_limit_a_request_allocates_no_more_than_below_it() {
    const REQUESTS: usize = 1_000;

    let registry = MetricsRegistry::new();
    let routes = |app: &mut ServiceConfig| {
        for number in 0..50 {
            app.route(
                &format!("/other{number}/{{name}}"),
                web::get().to(HttpResponse::Ok),
            );
        }
        app.route("/users/{name}", web::get().to(HttpResponse::Ok));
    };
    let metrics = HrPrometheus::default().keep_all_params().max_kept_paths(10);
    let app = app(&registry, metrics, routes).await;
    let known = |count| (0..count).map(|number| format!("/users/{:04}", number % 10));
    let over = |count| (0..count).map(|number| format!("/users/x{number:03}"));
    allocations(&app, known(200));
    allocations(&app, over(200));

    let below_limit = allocations(&app, known(REQUESTS));
    let over_limit = allocations(&app, over(REQUESTS));

    assert!(
        over_limit <= below_limit,
        "{over_limit} for {REQUESTS} requests, and {below_limit} below the limit"
    );
}

#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct Query {
    query: String,
}

impl RequestLabels for Query {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        Self {
            query: start.request().query_string().to_owned(),
        }
    }
}

#[actix_web::test]
async fn kept_paths_and_label_sets_do_not_multiply() {
    const EACH: u32 = 150;

    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_monitor_from(|registry: &mut Registry| {
        DefaultMonitor::builder().labels::<Query>().register(registry)
    });
    let app = App::new()
        .app_data(registry.clone())
        .route("/{name}", web::get().to(HttpResponse::Ok))
        .wrap(metrics.keep_all_params());
    let app = init_service(app).await;
    for name in 0..EACH {
        for query in 0..EACH {
            let uri = format!("/{name}?{query}");
            drop(app.call(TestRequest::with_uri(&uri).to_request()).await);
        }
    }
    let series = counted(&registry).len();
    assert!(series <= 10_000, "{series} series of the counter alone");
    assert_eq!(
        registry.value("request_count_total", &[]),
        Some(f64::from(EACH * EACH))
    );
    assert_balanced(&registry);
}

/// Refuses values that are made up, as an authentication does, or with an `Err`.
async fn refuse_invented(
    request: ServiceRequest,
    next: Next<impl MessageBody + 'static>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.path().contains("unknown") {
        return Err(ErrorNotFound("no such tenant"));
    }
    if request.path().contains("invented") {
        let response = HttpResponse::Unauthorized().finish();
        return Ok(request.into_response(response).map_into_right_body());
    }
    Ok(next.call(request).await?.map_into_left_body())
}

#[actix_web::test]
async fn values_that_a_middleware_refuses_are_not_kept() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/resource/{name}/{n}", web::get().to(HttpResponse::Ok))
        .wrap(from_fn(refuse_invented))
        .wrap(HrPrometheus::default().keep_all_params().max_kept_paths(10));
    let app = init_service(app).await;
    for number in 0..50 {
        for name in ["invented", "unknown"] {
            let uri = format!("/resource/{name}{number}/1");
            if let Err(error) = app.call(TestRequest::with_uri(&uri).to_request()).await {
                drop(error.error_response());
            }
        }
    }
    drop(
        app.call(TestRequest::with_uri("/resource/foo/1").to_request())
            .await,
    );
    let count = |path, status| registry.value("request_count_total", &[("path", path), ("status", status)]);
    assert_eq!(count("/resource/{name}/{n}", "401"), Some(50.0));
    assert_eq!(count("/resource/{name}/{n}", "404"), Some(50.0));
    assert_eq!(count("/resource/foo/1", "200"), Some(1.0));
    assert_balanced(&registry);
}
