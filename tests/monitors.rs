//! What a monitor is told, in which order and how often, and who shares it.

mod support;

use std::{
    cell::Cell,
    collections::{BTreeSet, HashSet},
    fmt,
    panic::AssertUnwindSafe,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, ThreadId},
    time::Duration,
};

use actix_service::Service;
use actix_web::{
    App, Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::ErrorImATeapot,
    http::{Method, uri::PathAndQuery},
    middleware::{Next, from_fn},
    rt::time::sleep,
    test::{self, TestRequest},
    web,
};
use futures_util::{FutureExt as _, future::LocalBoxFuture, stream};
use hr_prometheus::{
    DefaultMonitor, Excluded, HrPrometheus, MetricsRegistry, Monitors, OtelMonitor, RequestEnd,
    RequestMonitor, RequestStart, ResponseStart, ScrapeStart, metrics_scope,
    prometheus_client::{
        metrics::{counter::Counter, family::Family, gauge::Gauge},
        registry::Registry,
    },
};

use support::{TestServer, eventually, eventually_has, http, serve};

/// Writes down what is asked of each hook, with the number that the request was given at its start.
#[derive(Clone)]
struct Journal {
    ask_start: fn(&RequestStart<'_>) -> String,
    ask_response: fn(&ResponseStart<'_>) -> String,
    ask_end: fn(&RequestEnd<'_>) -> String,
    counts_request_body: bool,
    started: Arc<AtomicUsize>,
    entries: Arc<Mutex<Vec<String>>>,
}

impl Default for Journal {
    fn default() -> Self {
        Self {
            ask_start: |start| format!("{} {}", start.method(), start.route()),
            ask_response: |response| {
                let status = response.status().as_u16();
                format!("{} {} {status}", response.method(), response.route())
            },
            ask_end: |end| {
                let status = end.status().as_u16();
                format!("{} {} {status} {:?}", end.method(), end.route(), end.ending())
            },
            counts_request_body: false,
            started: Arc::default(),
            entries: Arc::default(),
        }
    }
}

impl Journal {
    fn write(&self, number: usize, entry: impl fmt::Display) {
        self.entries.lock().unwrap().push(format!("{number} {entry}"));
    }

    /// What was written since the last look.
    fn read(&self) -> Vec<String> {
        std::mem::take(&mut self.entries.lock().unwrap())
    }

    fn middleware(&self) -> HrPrometheus<Self> {
        let journal = self.clone();
        HrPrometheus::with_monitor_from(move |_: &mut Registry| journal.clone())
    }
}

impl RequestMonitor for Journal {
    /// The number, and the hook that saw it last.
    type InFlight = (usize, &'static str);

    fn register(_registry: &mut Registry) -> Self {
        Self::default()
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> Self::InFlight {
        let number = self.started.fetch_add(1, Ordering::Relaxed);
        self.write(number, format_args!("arrived: {}", (self.ask_start)(request)));
        (number, "arrived")
    }

    fn update_response_metrics(&self, (number, last): &mut Self::InFlight, response: &ResponseStart<'_>) {
        let answer = (self.ask_response)(response);
        self.write(*number, format_args!("{last}, responds: {answer}"));
        *last = "responded";
    }

    fn update_end_metrics(&self, (number, last): Self::InFlight, end: &RequestEnd<'_>) {
        self.write(number, format_args!("{last}, ends: {}", (self.ask_end)(end)));
    }

    fn forget(&self, (number, last): Self::InFlight) {
        self.write(number, format_args!("{last}, is forgotten"));
    }

    fn counts_request_body(&self) -> bool {
        self.counts_request_body
    }
}

/// An application with a path for each way in which a request goes.
async fn application<M: Monitors>(
    registry: &MetricsRegistry,
    metrics: HrPrometheus<M>,
) -> impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody + use<M>>, Error = Error> + use<M>
{
    test::init_service(
        App::new()
            .app_data(registry.clone())
            .service(metrics_scope())
            .route("/users/{id}", web::to(async || "hello"))
            .route("/echo", web::post().to(async |body: web::Bytes| body))
            .route("/typed", web::get().to(of_the_type_that_was_asked_for))
            .route("/excluded", web::get().to(excluded_by_its_request))
            .route("/excluded-upload", web::post().to(excluded_with_its_body))
            .route("/excluded-late", web::get().to(excluded_by_its_response))
            .route("/panic", web::get().to(panics))
            .route("/pending", web::get().to(std::future::pending::<HttpResponse>))
            .wrap(from_fn(refuse_some))
            .wrap(metrics),
    )
    .await
}

async fn refuse_some(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.path() == "/users/refused" {
        return Err(ErrorImATeapot("refused"));
    }
    request.extensions_mut().insert("from the inner middleware");
    let mut response = next.call(request).await?;
    response.response_mut().extensions_mut().insert(42_u32);
    Ok(response)
}

/// A body of the type that was asked for: a stream, unless its length was asked for too.
async fn of_the_type_that_was_asked_for(request: HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header(("content-type", request.headers().get("accept").unwrap()));
    if request.query_string() == "sized" {
        return response.body("hello");
    }
    response.streaming(stream::iter([Ok::<_, Error>(web::Bytes::from_static(b"hello"))]))
}

/// Answers with the gauge as it is meanwhile.
async fn excluded_by_its_request(request: HttpRequest) -> String {
    request.extensions_mut().insert(Excluded);
    format!("{:?} in progress", in_progress(&request))
}

async fn excluded_by_its_response(request: HttpRequest) -> HttpResponse {
    let mut response = HttpResponse::Ok().body(format!("{:?} in progress", in_progress(&request)));
    response.extensions_mut().insert(Excluded);
    response
}

async fn excluded_with_its_body(request: HttpRequest, body: web::Bytes) -> web::Bytes {
    request.extensions_mut().insert(Excluded);
    body
}

fn in_progress(request: &HttpRequest) -> Option<f64> {
    let registry = request.app_data::<MetricsRegistry>().unwrap();
    registry.value("requests_in_progress", &[("path", request.path())])
}

async fn panics() -> HttpResponse {
    panic!("as the test wants it");
}

fn get(path: &str) -> actix_http::Request {
    TestRequest::get().uri(path).to_request()
}

#[actix_web::test]
async fn an_ordinary_request_starts_responds_and_ends_once_in_this_order() {
    let journal = Journal::default();
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    let response = test::call_service(&app, get("/users/7")).await;
    assert_eq!(
        journal.read(),
        [
            "0 arrived: GET /users/{id}",
            "0 arrived, responds: GET /users/{id} 200",
        ],
    );
    assert_eq!(test::read_body(response).await, "hello");
    assert_eq!(
        journal.read(),
        ["0 responded, ends: GET /users/{id} 200 Completed"]
    );
}

#[actix_web::test]
async fn each_request_carries_its_own_value_from_start_to_end() {
    let journal = Journal::default();
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    let first = test::call_service(&app, get("/users/1")).await;
    test::call_and_read_body(&app, get("/users/2")).await;
    drop(first);

    assert_eq!(
        journal.read(),
        [
            "0 arrived: GET /users/{id}",
            "0 arrived, responds: GET /users/{id} 200",
            "1 arrived: GET /users/{id}",
            "1 arrived, responds: GET /users/{id} 200",
            "1 responded, ends: GET /users/{id} 200 Completed",
            "0 responded, ends: GET /users/{id} 200 Dropped",
        ],
    );
}

#[actix_web::test]
async fn an_err_of_an_inner_middleware_ends_without_the_response_hook() {
    let journal = Journal::default();
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    let error = app.call(get("/users/refused")).await.err().unwrap();
    // What the server does with it.
    let response = error.error_response();
    assert_eq!(
        actix_web::body::to_bytes(response.into_body()).await.unwrap(),
        "refused"
    );

    assert_eq!(
        journal.read(),
        [
            "0 arrived: GET /users/{id}",
            "0 arrived, ends: GET /users/{id} 418 Completed",
        ],
    );
}

#[actix_web::test]
async fn a_panic_ends_without_the_response_hook() {
    let journal = Journal::default();
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    let panicked = AssertUnwindSafe(app.call(get("/panic"))).catch_unwind().await;
    assert!(panicked.is_err());

    assert_eq!(
        journal.read(),
        [
            "0 arrived: GET /panic",
            "0 arrived, ends: GET /panic 500 Panicked"
        ],
    );
}

#[actix_web::test]
async fn a_dropped_request_ends_without_the_response_hook() {
    let journal = Journal::default();
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    assert!(app.call(get("/pending")).now_or_never().is_none());

    assert_eq!(
        journal.read(),
        [
            "0 arrived: GET /pending",
            "0 arrived, ends: GET /pending 499 Dropped",
        ],
    );
}

#[actix_web::test]
async fn an_excluded_request_is_forgotten_in_place_of_its_end() {
    let journal = Journal::default();
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    test::call_and_read_body(&app, get("/excluded")).await;
    test::call_and_read_body(&app, get("/excluded-late")).await;

    assert_eq!(
        journal.read(),
        [
            "0 arrived: GET /excluded",
            "0 arrived, is forgotten",
            "1 arrived: GET /excluded-late",
            "1 arrived, is forgotten",
        ],
    );
}

#[actix_web::test]
async fn an_excluded_request_is_in_progress_while_it_runs_and_never_counted_or_timed() {
    let registry = MetricsRegistry::new();
    let app = application(&registry, HrPrometheus::default()).await;

    for path in ["/excluded", "/excluded-late"] {
        let body = test::call_and_read_body(&app, get(path)).await;
        assert_eq!(body, "Some(1.0) in progress", "{path}");
        assert_eq!(registry.value("request_count_total", &[]), None, "{path}");
        assert_eq!(registry.value("request_latency_count", &[]), None, "{path}");
        assert_eq!(
            registry
                .value("requests_in_progress", &[])
                .unwrap_or(0.0)
                .to_string(),
            "0",
            "{path}",
        );
    }
}

#[actix_web::test]
async fn the_start_lends_the_request_and_knows_its_labels() {
    let journal = Journal {
        ask_start: |start| {
            let request = start.request();
            let agent = request.headers().get("user-agent").unwrap().to_str().unwrap();
            format!(
                "{} {} of {} by {agent}",
                start.method(),
                start.route(),
                request.uri()
            )
        },
        ..Journal::default()
    };
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    for (method, path) in [("DELETE", "/users/7?now=1"), ("BREW", "/coffee")] {
        let request = TestRequest::with_uri(path)
            .method(Method::from_bytes(method.as_bytes()).unwrap())
            .insert_header(("user-agent", "a test"));
        test::call_service(&app, request.to_request()).await;
    }

    let arrived: Vec<_> = journal
        .read()
        .into_iter()
        .filter(|entry| entry.contains("arrived:"))
        .collect();
    assert_eq!(
        arrived,
        [
            "0 arrived: DELETE /users/{id} of /users/7?now=1 by a test",
            "1 arrived: _OTHER unmatched of /coffee by a test",
        ],
    );
}

#[actix_web::test]
async fn the_response_lends_its_head_and_what_inner_middleware_left_in_the_extensions() {
    let journal = Journal {
        ask_response: |response| {
            format!(
                "{} {} {} {:?} {:?} {:?} {:?}",
                response.method(),
                response.route(),
                response.status(),
                response.body_size(),
                response.headers().get("content-type"),
                response.request().extensions().get::<&str>(),
                response.extensions().get::<u32>(),
            )
        },
        ..Journal::default()
    };
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    test::call_service(&app, get("/users/7")).await;
    assert_eq!(
        journal.read()[1],
        "0 arrived, responds: GET /users/{id} 200 OK Sized(5) Some(\"text/plain; charset=utf-8\") \
         Some(\"from the inner middleware\") Some(42)",
    );
}

#[actix_web::test]
async fn a_stream_is_long_lived_by_its_content_type() {
    let journal = Journal {
        ask_response: |response| response.is_long_lived().to_string(),
        ..Journal::default()
    };
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;

    for (path, content_type, long_lived) in [
        ("/typed", "text/event-stream", true),
        ("/typed", "Text/Event-Stream ; charset=utf-8", true),
        ("/typed", "multipart/x-mixed-replace; boundary=x", true),
        ("/typed", "text/event-streams", false),
        ("/typed", "text/plain", false),
        ("/typed?sized", "text/event-stream", false),
    ] {
        let request = TestRequest::get()
            .uri(path)
            .insert_header(("accept", content_type));
        test::call_service(&app, request.to_request()).await;
        let responds = &journal.read()[1];
        assert!(
            responds.ends_with(&format!("responds: {long_lived}")),
            "{path} as {content_type}: {responds}",
        );
    }
}

#[actix_web::test]
async fn the_time_since_the_arrival_only_grows() {
    #[derive(Clone)]
    struct Clock(Arc<Mutex<Vec<Duration>>>);

    impl RequestMonitor for Clock {
        type InFlight = ();

        fn register(_registry: &mut Registry) -> Self {
            Self(Arc::default())
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_response_metrics(&self, (): &mut (), response: &ResponseStart<'_>) {
            self.0.lock().unwrap().push(response.elapsed());
        }

        fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
            self.0.lock().unwrap().push(end.latency());
        }
    }

    let times = Arc::<Mutex<Vec<Duration>>>::default();
    let clock = Clock(Arc::clone(&times));
    let metrics = HrPrometheus::with_monitor_from(move |_: &mut Registry| clock.clone());
    let app = application(&MetricsRegistry::new(), metrics).await;

    let response = test::call_service(&app, get("/users/7")).await;
    sleep(Duration::from_millis(2)).await;
    drop(response);

    let times = times.lock().unwrap();
    let [until_head, until_end] = times[..] else {
        panic!("two hooks, each called once: {times:?}");
    };
    assert!(Duration::ZERO < until_head && until_head < until_end, "{times:?}");
}

#[actix_web::test]
async fn the_end_has_the_bytes_of_both_bodies_where_a_monitor_asked_for_them() {
    for (counts_request_body, posted, fetched) in [(true, "Some(4)", "Some(0)"), (false, "None", "None")] {
        let journal = Journal {
            ask_end: |end| {
                format!(
                    "read {:?}, sent {}",
                    end.request_body_bytes(),
                    end.response_body_bytes()
                )
            },
            counts_request_body,
            ..Journal::default()
        };
        let app = application(&MetricsRegistry::new(), journal.middleware()).await;

        let post = TestRequest::post().uri("/echo").set_payload("ping").to_request();
        assert_eq!(test::call_and_read_body(&app, post).await, "ping");
        assert_eq!(
            journal.read()[2],
            format!("0 responded, ends: read {posted}, sent 4")
        );
        assert_eq!(test::call_and_read_body(&app, get("/users/7")).await, "hello");
        assert_eq!(
            journal.read()[2],
            format!("1 responded, ends: read {fetched}, sent 5")
        );
    }
}

#[actix_web::test]
async fn a_request_that_ends_without_a_response_is_told_nothing_of_the_one_before() {
    let journal = Journal {
        ask_end: |end| {
            let (route, status) = (end.route(), end.status().as_u16());
            let (read, sent) = (end.request_body_bytes(), end.response_body_bytes());
            format!("{route} {status} {:?}, read {read:?}, sent {sent}", end.ending())
        },
        counts_request_body: true,
        ..Journal::default()
    };
    let app = application(&MetricsRegistry::new(), journal.middleware()).await;
    let upload = |path| TestRequest::post().uri(path).set_payload("ping").to_request();

    for (before, last) in [
        ("/excluded-upload", "is forgotten"),
        ("/echo", "read Some(4), sent 4"),
    ] {
        // An error of which nobody makes a response.
        assert_eq!(test::call_and_read_body(&app, upload(before)).await, "ping");
        assert!(journal.read().pop().unwrap().ends_with(last));
        assert!(app.call(get("/users/refused")).await.is_err());
        let refused = journal.read().pop().unwrap();
        assert!(
            refused.ends_with("arrived, ends: /users/{id} 418 Dropped, read Some(0), sent 0"),
            "after {before}: {refused}",
        );

        // A request that is dropped, also one after that error.
        for _ in 0..2 {
            assert!(app.call(get("/pending")).now_or_never().is_none());
            let dropped = journal.read().pop().unwrap();
            assert!(
                dropped.ends_with("arrived, ends: /pending 499 Dropped, read Some(0), sent 0"),
                "after {before}: {dropped}",
            );
            assert_eq!(test::call_and_read_body(&app, upload(before)).await, "ping");
        }
        journal.read();
    }
}

#[actix_web::test]
async fn a_route_has_one_small_number_from_its_response_to_the_end() {
    let journal = Journal {
        ask_start: |_| String::new(),
        ask_response: |response| format!("{} is {}", response.route(), response.route_id()),
        ask_end: |end| format!("{} is {}", end.route(), end.route_id()),
        ..Journal::default()
    };
    let app = test::init_service(
        App::new()
            .route("/about", web::to(HttpResponse::Ok))
            .route("/users/{id}", web::to(HttpResponse::Ok))
            // Two routes with one label.
            .route(r"/codes/{code:\d+}", web::to(HttpResponse::Ok))
            .route("/codes/{code:[a-z]+}", web::to(HttpResponse::NotFound))
            .wrap(from_fn(refuse_some))
            .wrap(journal.middleware()),
    )
    .await;
    // Those that are refused have an end alone.
    for path in [
        "/users/refused",
        "/nowhere",
        "/about",
        "/users/7",
        "/codes/7",
        "/codes/x",
    ]
    .repeat(2)
    {
        drop(app.call(get(path)).await);
    }

    let told = journal.read();
    let told = told.iter().filter_map(|entry| entry.split_once("s: "));
    let numbers: Vec<_> = told.filter_map(|(_, told)| told.split_once(" is ")).collect();
    assert_eq!(numbers.len(), 2 * (1 + 2 * 5), "{numbers:?}");
    let routes: BTreeSet<_> = numbers.iter().map(|(route, _)| *route).collect();
    assert_eq!(
        Vec::from_iter(routes),
        ["/about", "/codes/{code}", "/users/{id}", "unmatched"],
    );
    let of_routes: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(of_routes.len(), 4, "a route with two numbers: {of_routes:?}");
    let distinct: BTreeSet<_> = numbers.iter().map(|(_, number)| *number).collect();
    assert_eq!(Vec::from_iter(distinct), ["0", "1", "2", "3"], "{of_routes:?}");
}

/// The threads of the workers that have answered.
type Workers = Mutex<HashSet<ThreadId>>;

/// Serves `/` with `count` workers, each measured by what `metrics` makes in the closure of the server.
fn serve_workers<M: Monitors>(
    count: usize,
    registry: &MetricsRegistry,
    metrics: impl Fn() -> HrPrometheus<M> + Send + Clone + 'static,
) -> (TestServer, web::Data<Workers>) {
    async fn hello(workers: web::Data<Workers>) -> &'static str {
        workers.lock().unwrap().insert(thread::current().id());
        "hello"
    }

    let workers = web::Data::new(Workers::default());
    let (registry, data) = (registry.clone(), workers.clone());
    let server = serve(count, move || {
        App::new()
            .app_data(registry.clone())
            .app_data(data.clone())
            .service(metrics_scope())
            .route("/", web::get().to(hello))
            .wrap(metrics())
    });
    (server, workers)
}

/// Sends requests until `count` workers have answered one; how many it took.
fn visit_all(count: usize, server: &TestServer, workers: &Workers) -> u32 {
    let mut requests = 0;
    eventually("an answer of every worker", || {
        assert_eq!(http(server.address, "GET", "/").1, "hello");
        requests += 1;
        workers.lock().unwrap().len() == count
    });
    requests
}

#[test]
fn for_worker_is_called_once_on_the_thread_of_each_worker() {
    #[derive(Clone)]
    struct PerWorker(Arc<Mutex<Vec<ThreadId>>>);

    impl RequestMonitor for PerWorker {
        type InFlight = ();

        fn register(_registry: &mut Registry) -> Self {
            Self(Arc::default())
        }

        fn for_worker(&self) -> Self {
            self.0.lock().unwrap().push(thread::current().id());
            self.clone()
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
    }

    let made = Arc::<Mutex<Vec<ThreadId>>>::default();
    let monitor = PerWorker(Arc::clone(&made));
    let metrics = HrPrometheus::with_monitor_from(move |_: &mut Registry| monitor.clone());
    let (server, workers) = serve_workers(3, &MetricsRegistry::new(), move || metrics.clone());

    visit_all(3, &server, &workers);
    for _ in 0..10 {
        http(server.address, "GET", "/");
        http(server.address, "GET", "/metrics");
    }

    let made = made.lock().unwrap();
    assert_eq!(made.len(), 3);
    assert_eq!(
        made.iter().copied().collect::<HashSet<_>>(),
        *workers.lock().unwrap()
    );
}

#[actix_web::test]
async fn a_worker_gets_a_clone_unless_the_monitor_says_otherwise() {
    /// Counts its own clones.
    struct Cloned(Arc<AtomicUsize>);

    impl Clone for Cloned {
        fn clone(&self) -> Self {
            self.0.fetch_add(1, Ordering::Relaxed);
            Self(Arc::clone(&self.0))
        }
    }

    impl RequestMonitor for Cloned {
        type InFlight = ();

        fn register(_registry: &mut Registry) -> Self {
            Self(Arc::default())
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
    }

    let clones = Arc::<AtomicUsize>::default();
    let counted = Arc::clone(&clones);
    let metrics = HrPrometheus::with_monitor_from(move |_: &mut Registry| Cloned(Arc::clone(&counted)));
    let app = application(&MetricsRegistry::new(), metrics).await;

    test::call_service(&app, get("/users/1")).await;
    let at_first = clones.load(Ordering::Relaxed);
    assert!(at_first > 0);
    test::call_service(&app, get("/users/2")).await;
    assert_eq!(clones.load(Ordering::Relaxed), at_first);
}

#[actix_web::test]
async fn a_monitor_is_registered_once_per_registry() {
    static REGISTERED: AtomicUsize = AtomicUsize::new(0);

    #[derive(Clone)]
    struct Once;

    impl RequestMonitor for Once {
        type InFlight = ();

        fn register(_registry: &mut Registry) -> Self {
            REGISTERED.fetch_add(1, Ordering::Relaxed);
            Self
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
    }

    let registry = MetricsRegistry::new();
    let made_in_main = HrPrometheus::with_monitor::<Once>()
        .register_in(&registry)
        .unwrap();
    for metrics in [made_in_main.clone(), made_in_main, HrPrometheus::with_monitor()] {
        let app = application(&registry, metrics).await;
        test::call_service(&app, get("/users/7")).await;
    }
    let (server, workers) = serve_workers(4, &registry, HrPrometheus::with_monitor::<Once>);
    visit_all(4, &server, &workers);
    assert_eq!(REGISTERED.load(Ordering::Relaxed), 1);

    let app = application(&MetricsRegistry::new(), HrPrometheus::with_monitor::<Once>()).await;
    test::call_service(&app, get("/users/7")).await;
    assert_eq!(REGISTERED.load(Ordering::Relaxed), 2);
}

#[test]
fn a_closure_registers_once_though_the_line_runs_in_every_worker() {
    let registered = Arc::<AtomicUsize>::default();
    let count = Arc::clone(&registered);
    let registry = MetricsRegistry::new();
    let (server, workers) = serve_workers(3, &registry, move || {
        let count = Arc::clone(&count);
        HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
            count.fetch_add(1, Ordering::Relaxed);
            Hooks::<'a'>::register(registry)
        })
    });

    let requests = visit_all(3, &server, &workers);

    eventually_has(&registry, "hooks_a", &[("hook", "end")], requests.into());
    assert_eq!(registered.load(Ordering::Relaxed), 1);
}

#[actix_web::test]
async fn two_closures_are_two_monitors_also_of_one_type() {
    let registry = MetricsRegistry::new();
    let (first, second) = (Journal::default(), Journal::default());
    let (of_first, of_second) = (first.clone(), second.clone());
    let metrics = [
        HrPrometheus::with_monitor_from(move |_: &mut Registry| of_first.clone()),
        HrPrometheus::with_monitor_from(move |_: &mut Registry| of_second.clone()),
    ];
    for metrics in metrics {
        let app = application(&registry, metrics).await;
        test::call_and_read_body(&app, get("/users/7")).await;
    }
    assert_eq!((first.read().len(), second.read().len()), (3, 3));
}

/// Counts how often each of its hooks is called, in a family of its own.
#[derive(Clone)]
struct Hooks<const NAME: char>(Family<[(&'static str, &'static str); 1], Counter>);

impl<const NAME: char> Hooks<NAME> {
    fn count(&self, hook: &'static str) {
        self.0.get_or_create_owned(&[("hook", hook)]).inc();
    }
}

impl<const NAME: char> RequestMonitor for Hooks<NAME> {
    type InFlight = ();

    fn register(registry: &mut Registry) -> Self {
        let hooks = Self(Family::default());
        registry.register(format!("hooks_{NAME}"), "Calls", hooks.0.clone());
        hooks.count("register");
        hooks
    }

    fn for_worker(&self) -> Self {
        self.count("for_worker");
        self.clone()
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {
        self.count("start");
    }

    fn update_response_metrics(&self, (): &mut (), _response: &ResponseStart<'_>) {
        self.count("response");
    }

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {
        self.count("end");
    }

    fn forget(&self, (): ()) {
        self.count("forget");
    }

    fn counts_request_body(&self) -> bool {
        self.count("counts_request_body");
        false
    }

    fn prepare_scrape<'a>(&'a self, _scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        self.count("prepare_scrape");
        Box::pin(async {})
    }
}

#[actix_web::test]
async fn every_member_of_nested_pairs_gets_every_hook() {
    type Nested = ((Hooks<'a'>, Hooks<'b'>), Hooks<'c'>);
    let made_by_types = HrPrometheus::with_monitor::<Nested>();
    let made_by_a_closure = HrPrometheus::with_monitor_from(|registry: &mut Registry| -> Nested {
        let pair = (Hooks::register(registry), Hooks::register(registry));
        (pair, Hooks::register(registry))
    });

    for metrics in [made_by_types, made_by_a_closure] {
        let registry = MetricsRegistry::new();
        let app = application(&registry, metrics).await;
        for path in ["/users/7", "/excluded", "/metrics"] {
            test::call_and_read_body(&app, get(path)).await;
        }
        assert!(app.call(get("/pending")).now_or_never().is_none());

        for name in ["hooks_a", "hooks_b", "hooks_c"] {
            for (hook, calls) in [
                ("register", 1.0),
                ("for_worker", 1.0),
                ("counts_request_body", 1.0),
                ("start", 4.0),
                ("response", 2.0),
                ("end", 3.0),
                ("forget", 1.0),
                ("prepare_scrape", 1.0),
            ] {
                assert_eq!(
                    registry.value(name, &[("hook", hook)]),
                    Some(calls),
                    "{hook} of {name}"
                );
            }
        }
    }
}

#[actix_web::test]
async fn a_pair_shares_the_default_monitor_with_other_middleware_on_the_registry() {
    let registry = MetricsRegistry::new();
    let paired = HrPrometheus::with_monitor::<(DefaultMonitor, Hooks<'a'>)>();
    let alone = HrPrometheus::default();

    test::call_service(&application(&registry, paired).await, get("/users/7")).await;
    test::call_service(&application(&registry, alone).await, get("/users/8")).await;

    let scrape = registry.encode().unwrap();
    for (name, families) in [
        ("request_count", 1),
        ("request_latency", 1),
        ("requests_in_progress", 1),
    ] {
        let found = scrape.matches(&format!("# TYPE {name} ")).count();
        assert_eq!(found, families, "{name} in\n{scrape}");
    }
    assert_eq!(
        registry.value("request_count_total", &[("path", "/users/{id}")]),
        Some(2.0)
    );
    assert_eq!(registry.value("hooks_a", &[("hook", "end")]), Some(1.0));
    support::assert_balanced(&registry);
}

/// A user's monitor that adds nothing to the default one, by delegation.
#[derive(Clone)]
struct Wrapped(DefaultMonitor);

impl RequestMonitor for Wrapped {
    type InFlight = <DefaultMonitor as RequestMonitor>::InFlight;

    fn register(registry: &mut Registry) -> Self {
        Self(DefaultMonitor::register(registry))
    }

    fn for_worker(&self) -> Self {
        Self(self.0.for_worker())
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> Self::InFlight {
        self.0.update_init_metrics(request)
    }

    fn update_response_metrics(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        self.0.update_response_metrics(in_flight, response);
    }

    fn update_end_metrics(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>) {
        self.0.update_end_metrics(in_flight, end);
    }

    fn forget(&self, in_flight: Self::InFlight) {
        self.0.forget(in_flight);
    }

    fn counts_request_body(&self) -> bool {
        self.0.counts_request_body()
    }

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        self.0.prepare_scrape(scrape)
    }
}

/// A user's monitor that all workers share.
#[derive(Clone)]
struct Shared(Arc<Mutex<DefaultMonitor>>);

impl RequestMonitor for Shared {
    type InFlight = <DefaultMonitor as RequestMonitor>::InFlight;

    fn register(registry: &mut Registry) -> Self {
        let monitor = DefaultMonitor::builder()
            .peak_in_progress()
            .objective("/shared", 0.9, Duration::from_secs(60))
            .objective("/not/served", 0.9, Duration::from_secs(60));
        Self(Arc::new(Mutex::new(monitor.register(registry))))
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> Self::InFlight {
        self.0.lock().unwrap().update_init_metrics(request)
    }

    fn update_response_metrics(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        self.0
            .lock()
            .unwrap()
            .update_response_metrics(in_flight, response);
    }

    fn update_end_metrics(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>) {
        self.0.lock().unwrap().update_end_metrics(in_flight, end);
    }
}

#[actix_web::test]
async fn a_default_monitor_that_workers_share_shows_each_request_once() {
    support::capture_log();
    let registry = MetricsRegistry::new();
    let app = || {
        let app = App::new()
            .app_data(registry.clone())
            .route("/shared", web::get().to(async || "shared"))
            .wrap(HrPrometheus::with_monitor::<Shared>());
        test::init_service(app)
    };
    let apps = [app().await, app().await];
    let request = || TestRequest::with_uri("/shared").to_request();
    for app in apps.iter().cycle().take(10) {
        test::call_and_read_body(app, request()).await;
    }
    let in_progress = apps.each_ref().map(|app| app.call(request()));
    for name in ["requests_in_progress", "requests_in_progress_peak"] {
        assert_eq!(registry.value(name, &[]), Some(2.0), "{name}");
    }
    drop(in_progress);
    assert_eq!(registry.value("request_objective_met_total", &[]), Some(10.0));
    // One line of each worker.
    assert_eq!(support::logged("/not/served").len(), 2);
}

#[actix_web::test]
async fn a_route_that_one_application_excludes_has_a_peak_in_another_with_the_same_monitor() {
    let registry = MetricsRegistry::new();
    let app = |metrics: HrPrometheus<Shared>| {
        let app = App::new()
            .app_data(registry.clone())
            .route("/shared", web::get().to(async || "shared"))
            .wrap(metrics);
        test::init_service(app)
    };
    let excludes = app(HrPrometheus::with_monitor::<Shared>().exclude_routes(["/shared"])).await;
    let other = app(HrPrometheus::with_monitor::<Shared>()).await;
    let request = || TestRequest::with_uri("/shared").to_request();
    test::call_and_read_body(&excludes, request()).await;
    assert_eq!(registry.value("requests_in_progress_peak", &[]), None);
    drop(other.call(request()));
    assert_eq!(registry.value("requests_in_progress_peak", &[]), Some(1.0));
}

#[test]
fn a_monitor_around_the_default_one_counts_exactly_in_several_workers() {
    let registry = MetricsRegistry::new();
    let (server, workers) = serve_workers(3, &registry, HrPrometheus::with_monitor::<Wrapped>);

    let requests = visit_all(3, &server, &workers);
    let (_, scrape) = http(server.address, "GET", "/metrics");
    assert!(
        scrape.contains("requests_in_progress{method=\"GET\",path=\"/metrics\"} 1\n"),
        "{scrape}",
    );

    let of_hello = [("path", "/"), ("status", "200")];
    eventually_has(&registry, "request_count_total", &of_hello, requests.into());
    server.stop(true);
    assert_eq!(
        registry.value("request_count_total", &of_hello),
        Some(requests.into())
    );
    assert_eq!(
        registry.value("request_count_total", &[]),
        Some(f64::from(requests + 1))
    );
    support::assert_balanced(&registry);
}

#[actix_web::test]
async fn prepare_scrape_brings_a_gauge_up_to_date_for_that_very_scrape() {
    /// Looks something up, at its leisure.
    #[derive(Clone)]
    struct Prepared(Gauge);

    impl RequestMonitor for Prepared {
        type InFlight = ();

        fn register(registry: &mut Registry) -> Self {
            let gauge = Gauge::default();
            registry.register("prepared", "Scrapes so far", gauge.clone());
            Self(gauge)
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}

        fn prepare_scrape<'a>(&'a self, _scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
            Box::pin(async {
                sleep(Duration::from_millis(1)).await;
                self.0.inc();
            })
        }
    }

    let registry = MetricsRegistry::new();
    let app = application(&registry, HrPrometheus::with_monitor::<Prepared>()).await;

    for expected in ["prepared 1", "prepared 2"] {
        let scrape = test::call_and_read_body(&app, get("/metrics")).await;
        let scrape = std::str::from_utf8(&scrape).unwrap();
        assert!(
            scrape.lines().any(|line| line == expected),
            "{expected} in\n{scrape}"
        );
    }
    // `encode` has no worker on which it could call it.
    assert_eq!(registry.value("prepared", &[]), Some(2.0));
}

#[actix_web::test]
async fn prepare_scrape_resolves_paths_by_the_routes_of_the_application() {
    #[derive(Clone)]
    struct Resolves(Arc<Mutex<Vec<Option<String>>>>);

    impl RequestMonitor for Resolves {
        type InFlight = ();

        fn register(_registry: &mut Registry) -> Self {
            Self(Arc::default())
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}

        fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
            let paths = ["/users/7", "/users/%41?and=more", "/metrics", "/nowhere"];
            let routes = paths.map(|path| scrape.route(&PathAndQuery::from_static(path)));
            self.0.lock().unwrap().extend(routes);
            Box::pin(async {})
        }
    }

    let routes = Arc::<Mutex<Vec<Option<String>>>>::default();
    let monitor = Resolves(Arc::clone(&routes));
    let metrics = HrPrometheus::with_monitor_from(move |_: &mut Registry| monitor.clone());
    let app = application(&MetricsRegistry::new(), metrics).await;
    test::call_service(&app, get("/metrics")).await;

    let routes = routes.lock().unwrap();
    let routes: Vec<_> = routes.iter().map(Option::as_deref).collect();
    assert_eq!(
        routes,
        [Some("/users/{id}"), Some("/users/{id}"), Some("/metrics"), None]
    );
}

/// State of a worker that no lock protects.
#[derive(Clone)]
struct NotSync(Cell<u32>);

impl RequestMonitor for NotSync {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self(Cell::new(0))
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {
        self.0.set(self.0.get() + 1);
    }

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
}

#[test]
fn middleware_and_registry_go_wherever_a_server_wants_them() {
    fn goes_anywhere<T: Clone + Send + Sync + fmt::Debug + 'static>(value: &T) -> String {
        format!("{value:?}")
    }

    // The monitors need not be `Sync`, and are not.
    assert_eq!(
        goes_anywhere(&HrPrometheus::with_monitor::<(NotSync, DefaultMonitor)>()),
        "HrPrometheus { monitor: \"(monitors::NotSync, hr_prometheus::monitors::default::DefaultMonitor)\", \
         registry: None, .. }",
    );
    assert_eq!(
        goes_anywhere(
            &HrPrometheus::default()
                .register_in(&MetricsRegistry::new())
                .unwrap()
        ),
        "HrPrometheus { monitor: \"hr_prometheus::monitors::default::DefaultMonitor\", \
         registry: Some(MetricsRegistry { .. }), .. }",
    );
    assert_eq!(goes_anywhere(&MetricsRegistry::new()), "MetricsRegistry { .. }");
}

#[test]
fn what_users_may_print_names_its_type() {
    let mut registry = Registry::default();
    let monitor = <DefaultMonitor>::register(&mut registry);
    assert_eq!(format!("{monitor:?}"), "DefaultMonitor { .. }");
    let monitor = OtelMonitor::builder().register(&mut registry);
    assert_eq!(format!("{monitor:?}"), "OtelMonitor { .. }");

    let builder = DefaultMonitor::builder()
        .exemplars_from_traceparent()
        .objective("/pay", 0.9, Duration::from_secs(1))
        .objective_failures(|_| true);
    let printed = format!("{builder:?}");
    for part in ["DefaultMonitorBuilder { ", "Traceparent", "Failures { .. }"] {
        assert!(printed.contains(part), "{part} in {printed}");
    }
}
