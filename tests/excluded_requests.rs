//! What is left out leaves no trace: by route however the request ends, and by a predicate before anything is called.

mod support;

use std::{
    future::pending,
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    time::Duration,
};

use actix_web::{
    App, Error, HttpResponse,
    body::BoxBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorForbidden,
    middleware::{Next, from_fn},
    test::{TestRequest, call_and_read_body, call_service, init_service},
    web::{self, Bytes},
};
use futures_util::{
    FutureExt as _,
    stream::{self, StreamExt as _},
};
use hr_prometheus::{
    DefaultMonitor, Excluded, HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    ResponseStart, metrics_scope, prometheus_client::registry::Registry,
};

use support::{TestServer, assert_balanced, capture_log, eventually, eventually_has, http, logged, serve};

/// Counts how often each hook is called; clones share the counts.
#[derive(Clone, Default)]
struct Hooks(Arc<[AtomicUsize; 4]>);

impl Hooks {
    fn with_default(&self) -> HrPrometheus<(DefaultMonitor, Hooks)> {
        let hooks = self.clone();
        HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
            (DefaultMonitor::register(registry), hooks.clone())
        })
    }

    fn add(&self, hook: usize) {
        self.0[hook].fetch_add(1, Ordering::SeqCst);
    }

    /// Of the init, the response, the end and `forget`.
    fn called(&self) -> [usize; 4] {
        [0, 1, 2, 3].map(|hook| self.0[hook].load(Ordering::SeqCst))
    }
}

impl RequestMonitor for Hooks {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        Self::default()
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {
        self.add(0);
    }

    fn update_response_metrics(&self, (): &mut (), _: &ResponseStart<'_>) {
        self.add(1);
    }

    fn update_end_metrics(&self, (): (), _: &RequestEnd<'_>) {
        self.add(2);
    }

    fn forget(&self, (): ()) {
        self.add(3);
    }
}

/// Refuses requests with the query `refuse` by an `Err`.
async fn refuse(request: ServiceRequest, next: Next<BoxBody>) -> Result<ServiceResponse<BoxBody>, Error> {
    if request.query_string() == "refuse" {
        return Err(ErrorForbidden("refused"));
    }
    next.call(request).await
}

/// An application with a route for each ending, all below `/out/{id}`; wherever a handler hangs, `entered` is told.
fn serve_endings(
    registry: &MetricsRegistry,
    metrics: HrPrometheus<(DefaultMonitor, Hooks)>,
) -> (TestServer, mpsc::Receiver<()>) {
    let (entered, enters) = mpsc::channel::<()>();
    let registry = registry.clone();
    let server = serve(1, move || {
        let entered = entered.clone();
        let hang = move || {
            entered.send(()).expect("the test waits");
            pending::<HttpResponse>()
        };
        let half = || {
            let half = stream::iter([Ok(Bytes::from_static(b"half")), Err(io::Error::other("broken"))]);
            async { HttpResponse::Ok().streaming(half) }
        };
        let endless = || {
            let first = stream::iter([Ok::<_, io::Error>(Bytes::from_static(b"data: 1\n\n"))]);
            let events = first.chain(stream::pending());
            async {
                HttpResponse::Ok()
                    .content_type("text/event-stream")
                    .streaming(events)
            }
        };
        App::new()
            .app_data(registry.clone())
            .service(
                web::scope("/out/{id}")
                    .route("/well", web::get().to(async || "well"))
                    .route("/panic", web::get().to(async || -> &str { panic!("left out") }))
                    .route("/hang", web::get().to(hang))
                    .route("/half", web::get().to(half))
                    .route("/endless", web::get().to(endless)),
            )
            .route("/in", web::get().to(async || "in"))
            .service(metrics_scope())
            .wrap(from_fn(refuse))
            .wrap(metrics.clone())
    });
    (server, enters)
}

const OUT: [&str; 5] = [
    "/out/{id}/well",
    "/out/{id}/panic",
    "/out/{id}/hang",
    "/out/{id}/half",
    "/out/{id}/endless",
];

#[test]
fn an_excluded_route_leaves_no_trace_however_its_requests_end() {
    let registry = MetricsRegistry::new();
    let hooks = Hooks::default();
    let metrics = hooks.with_default().exclude_routes(OUT);
    let (server, enters) = serve_endings(&registry, metrics);

    assert_eq!(http(server.address, "GET", "/out/1/well").1, "well");
    assert!(
        http(server.address, "GET", "/out/1/well?refuse")
            .0
            .starts_with("HTTP/1.1 403")
    );
    assert_eq!(http(server.address, "GET", "/out/1/panic").0, "");
    http(server.address, "GET", "/out/1/half");
    let mut events = server.request("GET", "/out/1/endless");
    events.read_until("data: 1\n\n");
    let hanging = server.request("GET", "/out/1/hang");
    enters.recv_timeout(Duration::from_secs(20)).unwrap();
    // The gauge is asked from elsewhere, and by the application itself.
    let shown = [
        registry.encode().unwrap(),
        http(server.address, "GET", "/metrics").1,
    ];
    hanging.reset();
    events.reset();
    eventually("all are forgotten", || hooks.called()[3] == 6);
    assert_eq!(http(server.address, "GET", "/in").1, "in");
    eventually_has(&registry, "request_count_total", &[], 2.0);

    for scrape in [&shown[0], &shown[1], &registry.encode().unwrap()] {
        assert!(
            !scrape.contains("out") && !scrape.contains("unmatched"),
            "{scrape}"
        );
    }
    let [started, answered, ended, forgotten] = hooks.called();
    assert_eq!((started, answered, ended, forgotten), (8, 2, 2, 6));
    assert_balanced(&registry);
}

#[test]
fn unmatched_requests_are_excluded_by_their_label() {
    for text in ["unmatched", "none"] {
        let registry = MetricsRegistry::new();
        let hooks = Hooks::default();
        let metrics = hooks.with_default().unmatched(text);
        let (server, _enters) = serve_endings(&registry, metrics.exclude_routes([text]));

        http(server.address, "GET", "/nowhere");
        http(server.address, "GET", "/nowhere?refuse");
        http(server.address, "GET", "/in");

        eventually_has(&registry, "request_count_total", &[], 1.0);
        eventually("all are forgotten", || hooks.called()[3] == 2);
        let scrape = registry.encode().unwrap();
        assert!(!scrape.contains(text), "{scrape}");
    }
}

#[actix_web::test]
async fn an_unmatched_request_that_is_excluded_is_not_in_the_gauge() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::default().exclude_routes(["unmatched"]);
    let app = App::new().app_data(registry.clone());
    let app = app
        .default_service(web::to(pending::<HttpResponse>))
        .wrap(metrics);
    let app = init_service(app).await;

    let mut hanging = Box::pin(call_service(&app, TestRequest::with_uri("/nowhere").to_request()));
    assert!((&mut hanging).now_or_never().is_none());

    assert_eq!(registry.value("requests_in_progress", &[]), None);
}

#[actix_web::test]
async fn two_middleware_of_one_registry_leave_out_what_each_is_told() {
    let registry = MetricsRegistry::new();
    let hang = async || pending::<HttpResponse>().await;
    let of = |prefix: &str, metrics: HrPrometheus| {
        web::scope(prefix).wrap(metrics).service(
            web::scope("")
                .route("/a", web::get().to(async || "a"))
                .route("/hang", web::get().to(hang)),
        )
    };
    let excluding = HrPrometheus::default().exclude_routes(["/one/a", "/one/hang", "/two/a"]);
    let app = App::new()
        .app_data(registry.clone())
        .service(of("/one", excluding))
        .service(of("/two", HrPrometheus::default()));
    let app = init_service(app).await;

    let mut hanging = Vec::new();
    for prefix in ["/one", "/two"] {
        call_and_read_body(&app, TestRequest::with_uri(&format!("{prefix}/a")).to_request()).await;
        let request = TestRequest::with_uri(&format!("{prefix}/hang")).to_request();
        hanging.push(Box::pin(call_service(&app, request)));
    }
    for hanging in &mut hanging {
        assert!(hanging.now_or_never().is_none());
    }

    let scrape = registry.encode().unwrap();
    let shown: Vec<_> = scrape
        .lines()
        .filter(|line| line.starts_with("request_count_total") || line.starts_with("requests_in_progress{"))
        .collect();
    assert_eq!(
        shown,
        [
            r#"request_count_total{method="GET",path="/two/a",status="200"} 1"#,
            r#"requests_in_progress{method="GET",path="/two/a"} 0"#,
            r#"requests_in_progress{method="GET",path="/two/hang"} 1"#,
        ],
    );
}

#[test]
fn no_hook_is_called_for_what_a_predicate_excludes_and_its_response_is_untouched() {
    let registry = MetricsRegistry::new();
    let hooks = Hooks::default();
    let metrics = hooks
        .with_default()
        .exclude(|start| start.request().path().starts_with("/out/"))
        .exclude(|start| start.method() == "HEAD");
    let (server, enters) = serve_endings(&registry, metrics);

    let well = http(server.address, "GET", "/out/1/well");
    assert!(well.0.contains("content-length: 4"), "{}", well.0);
    assert_eq!(well.1, "well");
    http(server.address, "HEAD", "/in");
    assert!(
        http(server.address, "GET", "/out/1/well?refuse")
            .0
            .starts_with("HTTP/1.1 403")
    );
    assert_eq!(http(server.address, "GET", "/out/1/panic").0, "");
    http(server.address, "GET", "/out/1/half");
    server.request("GET", "/out/1/endless").read_until("data: 1\n\n");
    let hanging = server.request("GET", "/out/1/hang");
    enters.recv_timeout(Duration::from_secs(20)).unwrap();
    let scrape = registry.encode().unwrap();
    hanging.reset();

    assert_eq!(hooks.called(), [0; 4]);
    assert!(!scrape.contains("GET") && !scrape.contains("HEAD"), "{scrape}");
    http(server.address, "GET", "/in");
    eventually("what is not excluded is measured", || {
        hooks.called() == [1, 1, 1, 0]
    });
    assert_balanced(&registry);
}

#[actix_web::test]
async fn a_predicate_is_asked_once_for_each_request() {
    let asked = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&asked);
    let metrics =
        HrPrometheus::default().exclude(move |_| count.fetch_add(1, Ordering::SeqCst).is_multiple_of(2));
    let registry = MetricsRegistry::new();
    let app = App::new().app_data(registry.clone()).wrap(metrics);
    let app = init_service(app).await;

    for _ in 0..6 {
        call_and_read_body(&app, TestRequest::default().to_request()).await;
    }

    assert_eq!(asked.load(Ordering::SeqCst), 6);
    assert_eq!(registry.value("request_count_total", &[]), Some(3.0));
}

#[actix_web::test]
async fn a_predicate_that_panics_is_logged_once_and_its_requests_are_measured() {
    capture_log();
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::default()
        .exclude(|start| match start.request().path() {
            "/bad" => panic!("a predicate of the test"),
            _ => false,
        })
        .exclude(|start| start.request().query_string() == "out");
    let app = App::new().app_data(registry.clone()).wrap(metrics);
    let app = init_service(app).await;

    for uri in ["/bad", "/bad", "/good", "/bad?out", "/good?out"] {
        call_and_read_body(&app, TestRequest::with_uri(uri).to_request()).await;
    }

    assert_eq!(registry.value("request_count_total", &[]), Some(3.0));
    assert_eq!(
        logged("a predicate of the test"),
        [
            "ERROR a predicate of `exclude` panicked: a predicate of the test; \
             requests for which it panics are recorded (logged once)"
        ],
    );
}

#[actix_web::test]
async fn a_predicate_sees_the_route_that_the_path_matches() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/users/{id}", web::get().to(async || "a user"))
        .route("/in", web::get().to(async || "in"))
        .wrap(HrPrometheus::default().exclude(|start| ["/users/{id}", "unmatched"].contains(&start.route())));
    let app = init_service(app).await;

    for uri in ["/users/7", "/nowhere", "/in"] {
        call_and_read_body(&app, TestRequest::with_uri(uri).to_request()).await;
    }

    assert_eq!(registry.value("request_count_total", &[]), Some(1.0));
    assert_eq!(
        registry.value("request_count_total", &[("path", "/in")]),
        Some(1.0)
    );
}

#[actix_web::test]
async fn a_route_is_excluded_by_who_served_not_by_who_might_have() {
    use actix_web::guard;

    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(
            web::resource("/d/{first}")
                .guard(guard::Post())
                .to(HttpResponse::Ok),
        )
        .service(web::resource("/d/{second}").to(HttpResponse::Ok))
        .wrap(HrPrometheus::default().exclude_routes(["/d/{first}"]));
    let app = init_service(app).await;

    for request in [TestRequest::get(), TestRequest::post()] {
        call_and_read_body(&app, request.uri("/d/7").to_request()).await;
    }

    assert_eq!(registry.value("request_count_total", &[]), Some(1.0));
    assert_eq!(
        registry.value("request_count_total", &[("path", "/d/{second}")]),
        Some(1.0)
    );
}

#[test]
fn a_text_that_is_the_label_of_no_route_is_an_error_that_names_the_fix() {
    let error = |label: &str| {
        let error = HrPrometheus::default()
            .exclude_routes(["/good", label])
            .build()
            .unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error("health"),
        r#"exclude_routes: no route can have the label "health"; begin it with `/`, as in "/health", or use "unmatched" for unmatched requests"#,
    );
    assert_eq!(
        error(""),
        r#"exclude_routes: no route can have the label ""; for a service mounted at the root, use "/""#,
    );
    assert_eq!(
        error(r"/users/{id:\d+}/posts"),
        r#"exclude_routes: no route can have the label "/users/{id:\\d+}/posts"; write parameters without their regular expressions: "/users/{id}/posts""#,
    );
    for unclosed in ["/users/{id", "/users/{"] {
        let error = error(unclosed);
        assert!(error.ends_with("close the parameter with `}`"), "{error}");
    }
    let renamed = HrPrometheus::default().unmatched("none");
    let error = renamed
        .exclude_routes(["unmatched"])
        .build()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(r#"or use "none" for unmatched requests"#),
        "{error}"
    );
}

#[test]
fn a_text_that_cannot_stand_for_requests_without_a_route_is_an_error() {
    let error = |text: &str| {
        HrPrometheus::default()
            .unmatched(text)
            .build()
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(""),
        r#"unmatched: "" cannot be the label of unmatched requests, because Prometheus treats an empty label as absent; choose a word such as "none""#,
    );
    assert!(error("/none").contains("because it could be a route;"));
    assert!(error("_OTHER").contains("because that is the label of everything over a limit;"));
}

#[actix_web::test]
async fn a_marked_request_is_excluded_also_where_options_are_used() {
    let registry = MetricsRegistry::new();
    let mark = async || {
        let mut response = HttpResponse::Ok().finish();
        response.extensions_mut().insert(Excluded);
        response
    };
    let app = App::new()
        .app_data(registry.clone())
        .route("/{name}", web::get().to(mark))
        .wrap(HrPrometheus::default().keep_all_params().max_kept_paths(0));
    let app = init_service(app).await;

    call_and_read_body(&app, TestRequest::with_uri("/a").to_request()).await;

    assert_eq!(registry.value("request_count_total", &[]), None);
    let beyond = registry.value(
        "hr_prometheus_cardinality_limit_exceeded_total",
        &[("limit", "path")],
    );
    assert_eq!(beyond, Some(0.0), "a request that is left out ran into no cap");
}
