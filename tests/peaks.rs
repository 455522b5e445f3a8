//! The most requests in progress of the last minute, by route.

mod support;

use std::{
    collections::HashMap,
    sync::Arc,
    thread::{self, JoinHandle},
};

use actix_web::{
    App, HttpMessage as _, HttpRequest, HttpResponse,
    dev::{Service as _, ServiceRequest},
    error::ErrorUnauthorized,
    guard,
    http::{Method, Uri},
    middleware::{Next, from_fn},
    rt::task::yield_now,
    test::{TestRequest, call_and_read_body, init_service},
    web::{self, Bytes},
};
use futures_util::{FutureExt as _, stream};
use hr_prometheus::{
    DefaultFamily, DefaultInFlight, DefaultMonitor, Excluded, HrPrometheus, Label, MetricsRegistry,
    RequestEnd, RequestMonitor, RequestStart, metrics_scope, prometheus_client::registry::Registry,
};
use tokio::sync::Semaphore;

use support::{TestServer, eventually_has, http, serve};

const PEAK: &str = "requests_in_progress_peak";
const GAUGE: &str = "requests_in_progress";

fn peaks() -> HrPrometheus {
    HrPrometheus::with_builder(DefaultMonitor::builder().peak_in_progress())
}

#[test]
fn a_peak_is_that_of_all_workers_at_one_moment_and_stays_when_it_is_over() {
    let registry = MetricsRegistry::new();
    let gate = Arc::new(Semaphore::new(0));
    let metrics = peaks().register_in(&registry).expect("a free registry");
    let server = serve(2, {
        let gate = Arc::clone(&gate);
        move || {
            let gate = Arc::clone(&gate);
            let hang = move |_: HttpRequest| {
                let gate = Arc::clone(&gate);
                async move {
                    let _permit = gate.acquire().await;
                    "done"
                }
            };
            App::new()
                .service(metrics_scope())
                .route("/static", web::get().to(hang.clone()))
                .route("/users/{id}", web::route().to(hang))
                .wrap(metrics.clone())
        }
    });
    let send = |method: &'static str, path: String| -> JoinHandle<_> {
        let address = server.address;
        thread::spawn(move || http(address, method, &path))
    };
    // One after the other, on whichever worker: that is no peak.
    gate.add_permits(1);
    for _ in 0..4 {
        http(server.address, "GET", "/static");
    }
    eventually_has(&registry, GAUGE, &[], 0.0);
    assert_eq!(registry.value(PEAK, &[("path", "/static")]), Some(1.0));
    gate.forget_permits(1);

    let mut clients: Vec<_> = (0..6).map(|_| send("GET", "/static".into())).collect();
    clients.extend((0..5).map(|id| send("GET", format!("/users/{id}"))));
    clients.extend((0..2).map(|id| send("POST", format!("/users/{id}"))));
    eventually_has(&registry, GAUGE, &[], 13.0);
    let expected = r#"
        requests_in_progress_peak{method="GET",path="/static"} 6
        requests_in_progress_peak{method="GET",path="/users/{id}"} 5
        requests_in_progress_peak{method="POST",path="/users/{id}"} 2
    "#;
    registry.assert_family(PEAK, expected);
    gate.add_permits(1);
    for client in clients {
        client.join().expect("a response");
    }
    eventually_has(&registry, GAUGE, &[], 0.0);
    // Nobody has taken it away, and nothing that stops does.
    registry.assert_family(PEAK, expected);
    server.stop(true);
    registry.assert_family(PEAK, expected);
}

#[actix_web::test]
async fn a_peak_by_route_is_not_the_sum_of_those_of_its_methods() {
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder()
        .peak_in_progress()
        .family_labels(DefaultFamily::PeakInProgress, [("route", Label::Path)]);
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::route().to(async || "hello"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    for method in [Method::GET, Method::POST] {
        let request = || TestRequest::default().method(method.clone()).to_request();
        let three = [(); 3].map(|()| app.call(request()));
        drop(three);
    }
    registry.assert_family(PEAK, r#"requests_in_progress_peak{route="/"} 3"#);
}

#[actix_web::test]
async fn requests_have_the_label_of_their_path_and_then_that_of_their_response() {
    let registry = MetricsRegistry::new();
    let waits = async || HttpResponse::Ok().streaming(stream::pending::<Result<Bytes, actix_web::Error>>());
    let app = App::new()
        .app_data(registry.clone())
        .route(
            "/guarded",
            web::get().guard(guard::Header("x", "y")).to(async || "never"),
        )
        .default_service(web::to(waits))
        .wrap(peaks());
    let app = init_service(app).await;
    let request = || TestRequest::with_uri("/guarded").to_request();
    let arrived = [(); 4].map(|()| app.call(request()));
    drop(arrived);
    let mut answered = Vec::new();
    for _ in 0..2 {
        answered.push(app.call(request()).await.expect("a response"));
    }
    registry.assert_family(
        PEAK,
        r#"
        requests_in_progress_peak{method="GET",path="/guarded"} 4
        requests_in_progress_peak{method="GET",path="unmatched"} 2
        "#,
    );
    drop(answered);
    registry.assert_family(
        PEAK,
        r#"
        requests_in_progress_peak{method="GET",path="/guarded"} 4
        requests_in_progress_peak{method="GET",path="unmatched"} 2
        "#,
    );
}

#[actix_web::test]
async fn a_request_that_changes_its_route_is_one_where_routes_are_not_told_apart() {
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder()
        .peak_in_progress()
        .family_labels(DefaultFamily::PeakInProgress, [("verb", Label::Method)]);
    let app = App::new()
        .app_data(registry.clone())
        .route(
            "/guarded",
            web::get().guard(guard::Header("x", "y")).to(async || "never"),
        )
        .default_service(web::to(async || "none"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::with_uri("/guarded").to_request()).await;
    registry.assert_family(PEAK, r#"requests_in_progress_peak{verb="GET"} 1"#);
}

#[actix_web::test]
async fn paths_are_matched_as_they_are_routed() {
    let registry = MetricsRegistry::new();
    let hello = || web::get().to(async || "hello");
    let app = App::new()
        .app_data(registry.clone())
        .route("/", hello())
        .route("/users/me", hello())
        .route("/users/{id}", hello())
        .route("/é b", hello())
        .service(
            web::scope("/v1")
                .route("/items/{tail}*", hello())
                .route("", hello()),
        )
        .wrap(peaks());
    let app = init_service(app).await;
    let mut peaks = HashMap::new();
    for (path, label) in [
        ("/", "/"),
        ("/users/me", "/users/me"),
        ("/users/you", "/users/{id}"),
        ("/users/%6de", "/users/me"),
        ("/users/me/", "/users/me"),
        ("/%C3%A9%20b", "/é b"),
        ("/v1/items/a/b", "/v1/items/{tail}*"),
        ("/v1", "/v1"),
        ("/v1/nothing", "unmatched"),
        ("/users/%7Bid%7D", "/users/{id}"),
    ] {
        // A label is found the first time, and remembered the second.
        for _ in 0..2 {
            let peak = peaks.entry(label).or_insert(0_u32);
            *peak += 1;
            let request = || TestRequest::with_uri(path).to_request();
            let many: Vec<_> = (0..*peak).map(|_| app.call(request())).collect();
            drop(many);
            let found = registry.value(PEAK, &[("path", label)]);
            assert_eq!(found, Some(f64::from(*peak)), "{path}");
        }
    }
}

#[actix_web::test]
async fn excluded_requests_are_no_peak() {
    let registry = MetricsRegistry::new();
    let metrics = peaks()
        .exclude_routes(["/health", "/users/{id}", "unmatched"])
        .exclude(|start| start.request().path() == "/internal");
    let app = App::new()
        .app_data(registry.clone())
        .route("/health", web::get().to(async || "well"))
        .route("/internal", web::get().to(async || "hello"))
        .route("/users/{id}", web::get().to(async || "a user"))
        .route("/counted", web::get().to(async || "hello"))
        .wrap(metrics);
    let app = init_service(app).await;
    for path in [
        "/health",
        "/health",
        "/internal",
        "/users/1",
        "/users/2",
        "/nowhere",
        "/counted",
    ] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    registry.assert_family(
        PEAK,
        r#"requests_in_progress_peak{method="GET",path="/counted"} 1"#,
    );
}

#[actix_web::test]
async fn a_request_whose_route_is_excluded_as_it_arrived_counts_under_the_route_that_served_it() {
    let registry = MetricsRegistry::new();
    let waits = async || HttpResponse::Ok().streaming(stream::pending::<Result<Bytes, actix_web::Error>>());
    let app = App::new()
        .app_data(registry.clone())
        .route("/stream", web::get().to(waits))
        .wrap_fn(|mut request, next| {
            let path = Uri::from_static("/stream");
            request.match_info_mut().get_mut().update(&path);
            request.head_mut().uri = path;
            next.call(request)
        })
        .wrap(peaks().exclude_routes(["unmatched"]));
    let app = init_service(app).await;
    let mut answered = Vec::new();
    for _ in 0..3 {
        let request = TestRequest::with_uri("/v1/stream").to_request();
        answered.push(app.call(request).await.expect("a response"));
    }
    let expected = r#"requests_in_progress_peak{method="GET",path="/stream"} 3"#;
    registry.assert_family(PEAK, expected);
    drop(answered);
    assert_eq!(registry.value(GAUGE, &[]), Some(0.0));
    registry.assert_family(PEAK, expected);
}

#[actix_web::test]
async fn requests_are_gone_however_they_end() {
    let registry = MetricsRegistry::new();
    let refuse = async |request: ServiceRequest, next: Next<_>| match request.query_string() {
        "refuse" => Err(ErrorUnauthorized("no")),
        "mark" => {
            request.extensions_mut().insert(Excluded);
            next.call(request).await
        }
        _ => next.call(request).await,
    };
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(async || "hello"))
        .route("/panics", web::get().to(async || -> &str { panic!("meant") }))
        .wrap(from_fn(refuse))
        .wrap(peaks());
    let app = init_service(app).await;
    for uri in ["/", "/?refuse", "/?mark", "/panics", "/nowhere"] {
        let request = || TestRequest::with_uri(uri).to_request();
        let call = std::panic::AssertUnwindSafe(async { app.call(request()).await.map(drop) });
        drop(call.catch_unwind().await);
        drop(app.call(request()));
    }
    // None was added to the next one.
    registry.assert_family(
        PEAK,
        r#"
        requests_in_progress_peak{method="GET",path="/"} 1
        requests_in_progress_peak{method="GET",path="/panics"} 1
        requests_in_progress_peak{method="GET",path="unmatched"} 1
        "#,
    );
}

/// Loses what the default monitor gave it.
#[derive(Clone)]
struct Forgetful(DefaultMonitor);

impl RequestMonitor for Forgetful {
    type InFlight = DefaultInFlight;

    fn register(registry: &mut Registry) -> Self {
        Self(DefaultMonitor::builder().peak_in_progress().register(registry))
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> DefaultInFlight {
        self.0.update_init_metrics(request)
    }

    fn update_end_metrics(&self, _: DefaultInFlight, _: &RequestEnd<'_>) {}
}

#[actix_web::test]
async fn a_monitor_that_forgets_a_request_leaves_none_in_progress() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(async || "hello"))
        .wrap(HrPrometheus::with_monitor::<Forgetful>());
    let app = init_service(app).await;
    for _ in 0..5 {
        call_and_read_body(&app, TestRequest::with_uri("/").to_request()).await;
    }
    assert_eq!(registry.value(PEAK, &[]), Some(1.0));
}

#[actix_web::test]
async fn clients_add_no_series_by_values_that_no_response_had() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route(
            "/users/{name}",
            web::get().to(async |name: web::Path<String>| match &**name {
                "alice" => HttpResponse::Ok(),
                _ => HttpResponse::NotFound(),
            }),
        )
        .wrap(peaks().keep_all_params().max_kept_paths(1));
    let app = init_service(app).await;
    for number in 0..50 {
        let request = TestRequest::with_uri(&format!("/users/{number}")).to_request();
        call_and_read_body(&app, request).await;
    }
    for _ in 0..2 {
        call_and_read_body(&app, TestRequest::with_uri("/users/alice").to_request()).await;
    }
    registry.assert_family(
        PEAK,
        r#"
        requests_in_progress_peak{method="GET",path="/users/alice"} 1
        requests_in_progress_peak{method="GET",path="/users/{name}"} 1
        "#,
    );
}

#[test]
fn a_peak_is_never_below_the_gauge_of_the_same_scrape() {
    let registry = MetricsRegistry::new();
    let metrics = peaks().register_in(&registry).expect("a free registry");
    let server: TestServer = serve(2, move || {
        App::new()
            .route("/", web::get().to(async || "hello"))
            .route(
                "/{a}/{b}",
                web::get().to(async || {
                    yield_now().await;
                    "hello"
                }),
            )
            .wrap(metrics.clone())
    });
    let address = server.address;
    let clients: Vec<_> = (0..4)
        .map(|client| {
            thread::spawn(move || {
                for number in 0..150 {
                    let path = ["/".to_owned(), format!("/{client}/{number}")];
                    http(address, "GET", &path[number % 2]);
                }
            })
        })
        .collect();
    let mut seen = 0;
    while clients.iter().any(|client| !client.is_finished()) {
        let scrape = registry.encode().expect("a scrape");
        let value = |name: &str, labels: &str| -> Option<f64> {
            let line = scrape
                .lines()
                .find_map(|line| line.strip_prefix(&format!("{name}{labels} ")))?;
            line.parse().ok()
        };
        for line in scrape
            .lines()
            .filter_map(|line| line.strip_prefix("requests_in_progress{"))
        {
            let labels = format!("{{{}", line.split_once(' ').expect("a value").0);
            assert!(value(PEAK, &labels) >= value(GAUGE, &labels), "{scrape}");
            seen += 1;
        }
    }
    assert!(seen > 0);
    for client in clients {
        client.join().expect("a client");
    }
}
