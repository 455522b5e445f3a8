//! A monitor that panics harms no request, no worker, no scrape and no other monitor, and is reported once.

mod support;

use std::{
    any::type_name,
    panic::AssertUnwindSafe,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use actix_service::Service;
use actix_web::{
    App, Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::ServiceResponse,
    test::{self, TestRequest},
    web,
};
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use hr_prometheus::{
    DefaultMonitor, Excluded, HrPrometheus, MetricsRegistry, Monitors, RequestEnd, RequestMonitor,
    RequestStart, ResponseStart, ScrapeStart, metrics_scope,
    prometheus_client::{metrics::gauge::Gauge, registry::Registry},
};

use support::{capture_log, eventually_has, http, logged, serve};

const REGISTER: u32 = 1;
const FOR_WORKER: u32 = 1 << 1;
const CLONE: u32 = 1 << 2;
const START: u32 = 1 << 3;
const RESPONSE: u32 = 1 << 4;
const END: u32 = 1 << 5;
const FORGET: u32 = 1 << 6;
const COUNTS_REQUEST_BODY: u32 = 1 << 7;
const PREPARE_SCRAPE: u32 = 1 << 8;
const PREPARE_SCRAPE_POLLED: u32 = 1 << 9;

/// Panics in the hooks of the set `HOOKS`.
struct Broken<const HOOKS: u32>;

impl<const HOOKS: u32> Broken<HOOKS> {
    fn call(hook: u32) {
        assert!(HOOKS & hook == 0, "broken in {hook}");
    }
}

impl<const HOOKS: u32> Clone for Broken<HOOKS> {
    fn clone(&self) -> Self {
        Self::call(CLONE);
        Self
    }
}

impl<const HOOKS: u32> RequestMonitor for Broken<HOOKS> {
    type InFlight = ();

    fn register(registry: &mut Registry) -> Self {
        registry.register("half_registered", "Left by a register", Gauge::<i64>::default());
        Self::call(REGISTER);
        Self
    }

    fn for_worker(&self) -> Self {
        Self::call(FOR_WORKER);
        Self
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {
        Self::call(START);
    }

    fn update_response_metrics(&self, (): &mut (), _response: &ResponseStart<'_>) {
        Self::call(RESPONSE);
    }

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {
        Self::call(END);
    }

    fn forget(&self, (): ()) {
        Self::call(FORGET);
    }

    fn counts_request_body(&self) -> bool {
        Self::call(COUNTS_REQUEST_BODY);
        false
    }

    fn prepare_scrape<'a>(&'a self, _scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Self::call(PREPARE_SCRAPE);
        Box::pin(async {
            actix_web::rt::task::yield_now().await;
            Self::call(PREPARE_SCRAPE_POLLED);
        })
    }
}

async fn hello() -> &'static str {
    "hello"
}

async fn excluded(request: HttpRequest) -> &'static str {
    request.extensions_mut().insert(Excluded);
    "hello"
}

async fn panics() -> HttpResponse {
    panic!("as the test wants it");
}

fn routes(config: &mut web::ServiceConfig) {
    config
        .service(metrics_scope())
        .route("/", web::get().to(hello))
        .route("/excluded", web::get().to(excluded))
        .route("/panic", web::get().to(panics));
}

async fn application<M: Monitors>(
    registry: &MetricsRegistry,
    metrics: HrPrometheus<M>,
) -> impl Service<actix_http::Request, Response = ServiceResponse<impl MessageBody + use<M>>, Error = Error> + use<M>
{
    capture_log();
    let app = App::new()
        .app_data(registry.clone())
        .configure(routes)
        .wrap(metrics);
    test::init_service(app).await
}

fn get(path: &str) -> actix_http::Request {
    TestRequest::get().uri(path).to_request()
}

/// What is logged about the monitor `M`.
fn logged_about<M>() -> Vec<String> {
    logged(&format!("the monitor {} ", type_name::<M>()))
}

/// Ten requests of each kind beside a monitor that panics in the hook `HOOK`, on either side of it: answered, counted
/// by the other one, scraped, and one line in the log.
async fn one_hook_panics<const HOOK: u32>(logged_as: &str) {
    beside_the_default_monitor::<(Broken<HOOK>, DefaultMonitor)>().await;
    assert_eq!(logged_about::<Broken<HOOK>>(), [logged_as]);

    // A registry of its own, a line of its own.
    beside_the_default_monitor::<(DefaultMonitor, Broken<HOOK>)>().await;
    assert_eq!(logged_about::<Broken<HOOK>>(), [logged_as, logged_as]);
}

async fn beside_the_default_monitor<M: Monitors>() {
    let registry = MetricsRegistry::new();
    let app = application(&registry, HrPrometheus::with_monitor::<M>()).await;
    for _ in 0..10 {
        for path in ["/", "/excluded"] {
            assert_eq!(test::call_and_read_body(&app, get(path)).await, "hello");
        }
    }
    for scrapes_before in 0..10 {
        let scrape = test::call_and_read_body(&app, get("/metrics")).await;
        let scrape = std::str::from_utf8(&scrape).unwrap();
        for line in [
            "request_count_total{method=\"GET\",path=\"/\",status=\"200\"} 10",
            "requests_in_progress{method=\"GET\",path=\"/\"} 0",
            "requests_in_progress{method=\"GET\",path=\"/metrics\"} 1",
        ] {
            assert!(
                scrape.lines().any(|found| found == line),
                "{line} in scrape {scrapes_before}\n{scrape}"
            );
        }
    }
    assert_eq!(registry.value("request_count_total", &[]), Some(20.0));
    assert_eq!(
        registry.value("request_count_total", &[("path", "/excluded")]),
        None
    );
    support::assert_balanced(&registry);
}

#[actix_web::test]
async fn a_panic_in_register_is_contained() {
    one_hook_panics::<REGISTER>(
        "ERROR the monitor panics_are_contained::Broken<1> is off: its `register` panicked: broken in 1; \
         it records nothing until that is fixed",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_for_worker_is_contained() {
    one_hook_panics::<FOR_WORKER>(
        "ERROR `for_worker` of the monitor panics_are_contained::Broken<2> panicked: broken in 2; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_clone_is_contained() {
    one_hook_panics::<CLONE>(
        "ERROR `clone` of the monitor panics_are_contained::Broken<4> panicked: broken in 4; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_update_init_metrics_is_contained() {
    one_hook_panics::<START>(
        "ERROR `update_init_metrics` of the monitor panics_are_contained::Broken<8> panicked: broken in 8; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_update_response_metrics_is_contained() {
    one_hook_panics::<RESPONSE>(
        "ERROR `update_response_metrics` of the monitor panics_are_contained::Broken<16> panicked: broken in 16; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_update_end_metrics_is_contained() {
    one_hook_panics::<END>(
        "ERROR `update_end_metrics` of the monitor panics_are_contained::Broken<32> panicked: broken in 32; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_forget_is_contained() {
    one_hook_panics::<FORGET>(
        "ERROR `forget` of the monitor panics_are_contained::Broken<64> panicked: broken in 64; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_counts_request_body_is_contained() {
    one_hook_panics::<COUNTS_REQUEST_BODY>(
        "ERROR `counts_request_body` of the monitor panics_are_contained::Broken<128> panicked: broken in 128; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_the_call_of_prepare_scrape_is_contained() {
    one_hook_panics::<PREPARE_SCRAPE>(
        "ERROR `prepare_scrape` of the monitor panics_are_contained::Broken<256> panicked: broken in 256; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_panic_in_the_future_of_prepare_scrape_is_contained() {
    one_hook_panics::<PREPARE_SCRAPE_POLLED>(
        "ERROR `prepare_scrape` of the monitor panics_are_contained::Broken<512> panicked: broken in 512; \
         fix it; requests are served as usual (logged once per monitor)",
    )
    .await;
}

#[actix_web::test]
async fn a_monitor_that_panics_in_all_its_hooks_is_reported_for_the_first_only() {
    type AllBroken = Broken<{ START | END | COUNTS_REQUEST_BODY | PREPARE_SCRAPE }>;
    beside_the_default_monitor::<(AllBroken, DefaultMonitor)>().await;
    assert_eq!(logged_about::<AllBroken>().len(), 1);
}

#[actix_web::test]
async fn nothing_more_is_asked_about_a_request_whose_start_panicked() {
    type NoStart = Broken<{ START | RESPONSE | END | FORGET }>;
    beside_the_default_monitor::<(NoStart, DefaultMonitor)>().await;
    let about = logged_about::<NoStart>();
    assert_eq!(about.len(), 1);
    assert!(
        about[0].starts_with("ERROR `update_init_metrics` of"),
        "{about:?}"
    );
}

#[actix_web::test]
async fn a_register_that_panics_leaves_no_family_behind_and_is_named_by_register_in() {
    type HalfRegistered = Broken<{ REGISTER | FOR_WORKER }>;
    let registry = MetricsRegistry::new();
    let expected = "the monitor panics_are_contained::Broken<3> is off: its `register` panicked: broken in 1; \
                    it records nothing until that is fixed";

    // Each time, not only when it happened.
    for _ in 0..2 {
        let error = HrPrometheus::with_monitor::<(DefaultMonitor, HalfRegistered)>().register_in(&registry);
        assert_eq!(error.unwrap_err().to_string(), expected);
    }
    assert_eq!(registry.value("half_registered", &[]), None);

    HrPrometheus::with_monitor::<Broken<0>>()
        .register_in(&registry)
        .unwrap();
    assert_eq!(registry.value("half_registered", &[]), Some(0.0));
}

#[actix_web::test]
async fn an_end_that_panics_after_a_handler_that_panicked_is_contained() {
    type BrokenEnd = Broken<{ END | FORGET }>;
    let registry = MetricsRegistry::new();
    let app = application(
        &registry,
        HrPrometheus::with_monitor::<(BrokenEnd, DefaultMonitor)>(),
    )
    .await;

    for _ in 0..10 {
        let panicked = AssertUnwindSafe(app.call(get("/panic"))).catch_unwind().await;
        let message = panicked
            .err()
            .and_then(|panic| panic.downcast_ref::<&str>().copied());
        assert_eq!(message, Some("as the test wants it"));
    }

    assert_eq!(
        registry.value("request_count_total", &[("status", "500")]),
        Some(10.0)
    );
    support::assert_balanced(&registry);
    assert_eq!(logged_about::<BrokenEnd>().len(), 1);
}

#[actix_web::test]
async fn a_panic_in_dropping_what_a_request_carries_is_contained() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in a destructor");
        }
    }

    #[derive(Clone)]
    struct CarriesBombs;

    impl RequestMonitor for CarriesBombs {
        type InFlight = Bomb;

        fn register(_registry: &mut Registry) -> Self {
            Self
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) -> Bomb {
            Bomb
        }

        fn update_end_metrics(&self, _bomb: Bomb, _end: &RequestEnd<'_>) {}
    }

    beside_the_default_monitor::<(CarriesBombs, DefaultMonitor)>().await;
    assert_eq!(logged_about::<CarriesBombs>().len(), 1);
}

/// Panics at the end of a request, and remembers whether that was while the thread unwound.
#[derive(Clone)]
struct PanicsInUnwinding(Arc<AtomicBool>);

impl RequestMonitor for PanicsInUnwinding {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self(Arc::default())
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {
        self.0.fetch_or(thread::panicking(), Ordering::Relaxed);
        panic!("at the end");
    }
}

#[actix_web::test]
async fn an_end_that_panics_while_the_thread_unwinds_does_not_abort() {
    let registry = MetricsRegistry::new();
    let unwound = Arc::<AtomicBool>::default();
    let monitor = PanicsInUnwinding(Arc::clone(&unwound));
    let metrics = HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        (monitor.clone(), DefaultMonitor::builder().register(registry))
    });
    let app = application(&registry, metrics).await;

    let outer_middleware = async {
        let _response = app.call(get("/")).await.unwrap();
        panic!("in an outer middleware, which owns the response");
    };
    let panicked: Result<(), _> = AssertUnwindSafe(outer_middleware).catch_unwind().await;
    assert!(panicked.is_err());

    assert!(
        unwound.load(Ordering::Relaxed),
        "it ended while the thread unwound"
    );
    assert_eq!(
        registry.value("request_count_total", &[("status", "200")]),
        Some(1.0)
    );
    support::assert_balanced(&registry);
}

#[test]
fn a_worker_outlives_a_monitor_and_a_handler_that_panic() {
    type AllBroken = Broken<{ RESPONSE | END | FORGET | COUNTS_REQUEST_BODY | PREPARE_SCRAPE_POLLED }>;
    capture_log();
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let server = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .configure(routes)
            .wrap(HrPrometheus::with_monitor::<(AllBroken, DefaultMonitor)>())
    });

    for _ in 0..5 {
        assert_eq!(http(server.address, "GET", "/").1, "hello");
        assert_eq!(
            http(server.address, "GET", "/panic"),
            (String::new(), String::new())
        );
        let (head, scrape) = http(server.address, "GET", "/metrics");
        assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
        assert!(scrape.ends_with("# EOF\n"), "{scrape}");
    }

    eventually_has(
        &registry,
        "request_count_total",
        &[("path", "/panic"), ("status", "500")],
        5.0,
    );
    eventually_has(&registry, "request_count_total", &[], 15.0);
    server.stop(true);
    support::assert_balanced(&registry);
    assert_eq!(logged_about::<AllBroken>().len(), 1);
}
