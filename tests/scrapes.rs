//! Scrapes that take long, come together, are given up, and measure themselves.

mod support;

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicUsize, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use actix_service::Service as _;
use actix_web::{
    App,
    http::StatusCode,
    test::{self},
    web,
};
use futures_util::future::{LocalBoxFuture, pending};
use hr_prometheus::{
    HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart, ScrapeStart, metrics_scope,
    prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, EncodeMetric as _},
        metrics::{
            MetricType,
            gauge::{ConstGauge, Gauge},
            info::Info,
        },
        registry::Registry,
    },
};

use tokio::{runtime::Builder, task::LocalSet};

use support::{TestServer, client::Client, eventually, http, scrape_with, serve, without_omissions};

/// How long a collector waits for a test that has gone wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// A collector that waits in every scrape until the test lets it go.
#[derive(Debug, Default)]
struct Gate {
    is_open: Mutex<bool>,
    opened: Condvar,
    /// How often it was encoded.
    entered: AtomicUsize,
}

impl Gate {
    /// A registry with a gate, which is closed.
    fn closed() -> (MetricsRegistry, Arc<Self>) {
        let gate = Arc::<Self>::default();
        let registry = MetricsRegistry::new();
        registry.register_with(|registry| registry.register_collector(Box::new(Arc::clone(&gate))));
        (registry, gate)
    }

    fn open(&self) {
        *self.is_open.lock().unwrap() = true;
        self.opened.notify_all();
    }

    fn entered(&self) -> usize {
        self.entered.load(Ordering::Relaxed)
    }

    /// Waits until somebody waits in it.
    #[track_caller]
    fn is_entered(&self, times: usize) {
        eventually("a collector that is encoded", || self.entered() == times);
    }
}

impl Collector for Gate {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let times = self.entered.fetch_add(1, Ordering::Relaxed) + 1;
        let is_open = self.is_open.lock().unwrap();
        let (is_open, _) = self
            .opened
            .wait_timeout_while(is_open, PATIENCE, |is_open| !*is_open)
            .unwrap();
        assert!(*is_open, "nobody opened the gate");
        drop(is_open);
        let entered = encoder.encode_descriptor("gate_entered", "Help", None, MetricType::Gauge)?;
        ConstGauge::new(i64::try_from(times).unwrap()).encode(entered)
    }
}

/// One worker that serves the metrics of `registry`, and `hello` at `/`.
struct Served {
    server: TestServer,
    /// Requests that the worker has begun.
    begun: Arc<AtomicUsize>,
}

impl Served {
    fn new(registry: &MetricsRegistry) -> Self {
        let registry = registry.clone();
        let begun = Arc::<AtomicUsize>::default();
        let counter = Arc::clone(&begun);
        let server = serve(1, move || {
            let counter = Arc::clone(&counter);
            App::new()
                .app_data(registry.clone())
                .service(metrics_scope())
                .route("/", web::get().to(async || "hello"))
                .wrap_fn(move |request, service| {
                    counter.fetch_add(1, Ordering::Relaxed);
                    service.call(request)
                })
        });
        Self { server, begun }
    }

    /// Sends a request for a scrape with these header lines, and waits until the worker waits for the render.
    #[track_caller]
    fn begin_scrape(&self, headers: &str) -> Client {
        let before = self.begun.load(Ordering::Relaxed);
        let mut client = self.server.connect();
        client.send(format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        ));
        eventually("a scrape that is begun", || {
            self.begun.load(Ordering::Relaxed) > before
        });
        self.answers();
        client
    }

    /// The worker has nothing else to do: it serves another request.
    #[track_caller]
    fn answers(&self) {
        assert_eq!(http(self.server.address, "GET", "/").1, "hello");
    }
}

/// The end of a scrape that is answered with what is in the registry.
#[track_caller]
fn assert_scraped(mut client: Client, lines: &[&str]) {
    let response = client.read_to_end();
    assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
    let (_, body) = response.split_once("\r\n\r\n").unwrap();
    for line in lines {
        assert!(
            body.lines().any(|found| found == *line),
            "no {line} in\n{response}"
        );
    }
}

/// The end of a scrape that took too long.
#[track_caller]
fn assert_timed_out(mut client: Client, reason: &str) {
    let response = client.read_to_end();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    let head = head.to_ascii_lowercase();
    assert!(
        head.starts_with("http/1.1 503 service unavailable\r\n"),
        "{response}"
    );
    for header in ["content-type: text/plain; charset=utf-8", "vary: accept"] {
        assert!(
            head.lines().any(|line| line == header),
            "no {header} in\n{response}"
        );
    }
    assert_eq!(body, reason);
}

const SLOW_COLLECTOR: &str = "the metrics could not be rendered within 180ms: a collector is slow, or there are too many series; fix that, or raise `scrape_timeout`";
const SLOW_PREPARATION: &str = "the metrics could not be rendered within 180ms: the `prepare_scrape` of a monitor is slow; make it faster, or raise `scrape_timeout`";
const BRIEFLY: &str = "X-Prometheus-Scrape-Timeout-Seconds: 0.2\r\n";

#[test]
fn a_collector_that_sleeps_delays_the_scrape_and_no_request() {
    let (registry, gate) = Gate::closed();
    let served = Served::new(&registry);
    let scrape = served.begin_scrape("");
    gate.is_entered(1);
    for _ in 0..10 {
        served.answers();
    }
    gate.open();
    assert_scraped(scrape, &["gate_entered 1", "# EOF"]);
}

#[test]
fn a_collector_that_sleeps_delays_no_application_that_begins_meanwhile() {
    let (registry, gate) = Gate::closed();
    let admin = Served::new(&registry);
    let scrape = admin.begin_scrape("");
    gate.is_entered(1);

    // Its first request registers the monitor.
    let data = registry.clone();
    let public = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .route("/", web::get().to(async || "hello"))
            .wrap(HrPrometheus::default())
    });
    assert_eq!(http(public.address, "GET", "/").1, "hello");
    registry.register_with(|registry| registry.register("late", "Help", ConstGauge::new(1_i64)));

    gate.open();
    assert_scraped(scrape, &["gate_entered 1", "# EOF"]);
    assert_scraped(
        admin.begin_scrape(""),
        &[
            r#"request_count_total{method="GET",path="/",status="200"} 1"#,
            "late 1",
        ],
    );
}

#[test]
fn scrapes_that_come_together_share_one_render() {
    let (registry, gate) = Gate::closed();
    let served = Served::new(&registry);
    let scrapes: Vec<_> = (0..8).map(|_| served.begin_scrape("")).collect();
    gate.is_entered(1);
    gate.open();
    for scrape in scrapes {
        assert_scraped(scrape, &["gate_entered 1", "# EOF"]);
    }
    assert_eq!(gate.entered(), 1);

    // What comes later sees what happened meanwhile.
    assert_scraped(served.begin_scrape(""), &["gate_entered 2", "# EOF"]);
}

#[test]
fn scrapes_of_another_format_have_a_render_of_their_own() {
    let (registry, gate) = Gate::closed();
    let served = Served::new(&registry);
    let text = "Accept: text/plain\r\n";
    let scrapes: Vec<_> = ["", text, "", text]
        .map(|headers| served.begin_scrape(headers))
        .into();
    gate.is_entered(2);
    gate.open();
    for (index, scrape) in scrapes.into_iter().enumerate() {
        let eof: &[&str] = if index % 2 == 0 {
            &["# EOF"]
        } else {
            &["# TYPE gate_entered gauge"]
        };
        assert_scraped(scrape, eof);
    }
    assert_eq!(gate.entered(), 2);
}

#[test]
fn a_scrape_that_takes_longer_than_the_scraper_waits_says_why_and_holds_one_thread() {
    let (registry, gate) = Gate::closed();
    let served = Served::new(&registry);
    for _ in 0..4 {
        assert_timed_out(served.begin_scrape(BRIEFLY), SLOW_COLLECTOR);
    }
    // They gave up, the render did not.
    assert_eq!(gate.entered(), 1);
    served.answers();

    gate.open();
    eventually("a scrape that works again", || {
        let (head, body) = http(served.server.address, "GET", "/metrics");
        head.starts_with("HTTP/1.1 200 OK\r\n") && body.ends_with("# EOF\n")
    });
}

#[test]
fn a_limit_that_is_none_is_passed_over() {
    let (registry, gate) = Gate::closed();
    let served = Served::new(&registry);
    let scrapes: Vec<_> = [
        "", " ", "soon", "0", "-0", "0.0", "-1", "NaN", "inf", "-inf", "1e400", "1e300", "0x1", "1,5", "1s",
        "é", "1e-400",
    ]
    .map(|limit| served.begin_scrape(&format!("X-Prometheus-Scrape-Timeout-Seconds: {limit}\r\n")))
    .into();
    gate.is_entered(1);
    gate.open();
    for scrape in scrapes {
        assert_scraped(scrape, &["gate_entered 1", "# EOF"]);
    }
}

#[test]
fn a_client_that_leaves_during_a_scrape_harms_nobody() {
    let (registry, gate) = Gate::closed();
    let served = Served::new(&registry);
    let leaves = served.begin_scrape("");
    gate.is_entered(1);
    let stays = served.begin_scrape("");
    leaves.reset();
    let half_closes = served.begin_scrape("");
    half_closes.half_close();
    served.answers();

    gate.open();
    assert_scraped(stays, &["gate_entered 1", "# EOF"]);
    assert_scraped(half_closes, &["gate_entered 1", "# EOF"]);
    assert_scraped(served.begin_scrape(""), &["gate_entered 2", "# EOF"]);
}

#[test]
fn a_render_that_nobody_waits_for_any_more_harms_nobody() {
    let (registry, gate) = Gate::closed();
    let served = Served::new(&registry);
    served.begin_scrape("").reset();
    gate.is_entered(1);
    served.answers();
    gate.open();
    eventually("a scrape of its own", || {
        let (_, body) = http(served.server.address, "GET", "/metrics");
        body.contains("gate_entered 2\n")
    });
}

#[test]
fn a_scrape_outlives_the_server_that_began_to_render_it() {
    let (registry, gate) = Gate::closed();
    let (stops, stays) = (Served::new(&registry), Served::new(&registry));
    let mut lost = stops.begin_scrape("");
    gate.is_entered(1);
    let scrape = stays.begin_scrape("");

    // A runtime waits for what it has begun.
    let stopping = thread::spawn(move || stops.server.stop(false));
    assert_eq!(lost.read_to_end(), "");
    stays.answers();
    gate.open();
    assert_scraped(scrape, &["gate_entered 1", "# EOF"]);
    stopping.join().unwrap();
    assert_scraped(stays.begin_scrape(""), &["gate_entered 2", "# EOF"]);
}

#[test]
fn a_monitor_that_is_slow_to_prepare_delays_the_scrape_and_no_request() {
    #[derive(Clone)]
    struct NeverReady;

    impl RequestMonitor for NeverReady {
        type InFlight = ();

        fn register(_registry: &mut Registry) -> Self {
            Self
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}

        fn prepare_scrape<'a>(&'a self, _scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
            Box::pin(pending())
        }
    }

    let registry = MetricsRegistry::new();
    HrPrometheus::with_monitor::<NeverReady>()
        .register_in(&registry)
        .unwrap();
    let served = Served::new(&registry);
    assert_timed_out(served.begin_scrape(BRIEFLY), SLOW_PREPARATION);
    served.answers();
}

/// Panics at lines that have this text.
struct PanicsAt(&'static str);

impl log::Log for PanicsAt {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let line = record.args().to_string();
        assert!(!line.contains(self.0), "as the test wants it");
    }

    fn flush(&self) {}
}

#[actix_web::test]
async fn a_logger_that_panics_costs_no_scrape() {
    static LOGGER: PanicsAt = PanicsAt("panics_in_the_log");
    log::set_logger(&LOGGER).unwrap();
    log::set_max_level(log::LevelFilter::Error);
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        registry.register("panics_in_the_log-", "Help", ConstGauge::new(1_i64));
    });

    for _ in 0..2 {
        let response = scrape_with(&registry, &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        let body = test::read_body(response).await;
        let scrape = String::from_utf8(body.to_vec()).unwrap();
        assert_eq!(without_omissions(&scrape), "# EOF\n");
    }
}

#[actix_web::test]
async fn scrapes_can_be_measured() {
    let registry = MetricsRegistry::new().with_scrape_metrics();
    for outcome in ["success", "timeout", "error"] {
        let count = registry.value("hr_prometheus_scrapes_total", &[("outcome", outcome)]);
        assert_eq!(count, Some(0.0), "{outcome}");
    }
    registry.register_with(|registry| {
        registry.register("canary", "Help", ConstGauge::new(1_i64));
        registry.register("not-valid", "Help", ConstGauge::new(1_i64));
        registry.register("not.valid", "Help", ConstGauge::new(1_i64));
    });
    let mut sizes = Vec::new();
    for _ in 0..3 {
        let response = scrape_with(&registry, &[]).await;
        sizes.push(test::read_body(response).await);
    }

    // `value` is a render as well, and no scrape.
    let text = registry.encode().unwrap();
    let last = sizes.last().unwrap();
    for line in [
        "# TYPE hr_prometheus_scrapes counter",
        "hr_prometheus_scrapes_total{outcome=\"success\"} 3",
        "# TYPE hr_prometheus_scrape_duration_seconds histogram",
        "# UNIT hr_prometheus_scrape_duration_seconds seconds",
        "hr_prometheus_scrapes_total{outcome=\"timeout\"} 0",
        "hr_prometheus_scrapes_total{outcome=\"error\"} 0",
        // Three by `value`.
        "hr_prometheus_scrape_duration_seconds_count 6",
        "hr_prometheus_scrape_duration_seconds_bucket{le=\"+Inf\"} 6",
        "# TYPE hr_prometheus_scrape_size_bytes gauge",
        "# UNIT hr_prometheus_scrape_size_bytes bytes",
        &format!("hr_prometheus_scrape_size_bytes {}", last.len()),
        "# TYPE hr_prometheus_scrape_series gauge",
        &format!(
            "hr_prometheus_scrape_series {}",
            last.split(|byte| *byte == b'\n')
                .filter(|line| !line.is_empty() && line[0] != b'#')
                .count()
        ),
        "# TYPE hr_prometheus_scrape_families_omitted gauge",
        "hr_prometheus_scrape_families_omitted 2",
        "canary 1",
    ] {
        assert!(text.lines().any(|found| found == line), "no {line} in\n{text}");
    }
}

#[test]
fn a_scrape_that_was_given_up_is_counted_as_such() {
    let (registry, gate) = Gate::closed();
    let registry = registry.with_scrape_metrics();
    let served = Served::new(&registry);
    for _ in 0..2 {
        assert_timed_out(served.begin_scrape(BRIEFLY), SLOW_COLLECTOR);
    }
    let patient = served.begin_scrape("");
    gate.open();
    assert_scraped(patient, &["# EOF"]);

    for (outcome, count) in [("timeout", 2.0), ("success", 1.0)] {
        eventually(outcome, || {
            registry.value("hr_prometheus_scrapes_total", &[("outcome", outcome)]) == Some(count)
        });
    }
}

#[test]
fn measuring_scrapes_twice_is_measuring_them_once() {
    let registry = MetricsRegistry::from(Registry::with_prefix_and_labels(
        "shop",
        [("region".into(), "eu".into())].into_iter(),
    ));
    let registry = registry.with_scrape_metrics().with_scrape_metrics();
    let again = registry.clone().with_scrape_metrics();
    for registry in [&registry, &again, &registry] {
        registry.encode().unwrap();
    }
    let scrape = registry.encode().unwrap();
    let families = scrape.lines().filter(|line| line.starts_with("# TYPE "));
    assert_eq!(
        families.collect::<Vec<_>>(),
        [
            "# TYPE shop_hr_prometheus_scrapes counter",
            "# TYPE shop_hr_prometheus_scrape_duration_seconds histogram",
            "# TYPE shop_hr_prometheus_scrape_size_bytes gauge",
            "# TYPE shop_hr_prometheus_scrape_series gauge",
            "# TYPE shop_hr_prometheus_scrape_families_omitted gauge",
            "# TYPE shop_hr_prometheus_scrape_series_omitted gauge",
        ],
    );
    for line in [
        "shop_hr_prometheus_scrape_duration_seconds_count{region=\"eu\"} 3",
        "shop_hr_prometheus_scrape_families_omitted{region=\"eu\"} 0",
    ] {
        assert!(
            scrape.lines().any(|found| found == line),
            "no {line} in\n{scrape}"
        );
    }
}

/// Uses its registry while that is scraped.
#[derive(Debug)]
struct UsesAgain {
    registry: MetricsRegistry,
    said: mpsc::Sender<Vec<String>>,
}

impl Collector for UsesAgain {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let panics = |register: &dyn Fn()| {
            let panicked = catch_unwind(AssertUnwindSafe(register));
            *panicked.unwrap_err().downcast::<String>().unwrap()
        };
        let said = vec![
            self.registry.encode().unwrap_err().to_string(),
            HrPrometheus::default()
                .register_in(&self.registry)
                .unwrap_err()
                .to_string(),
            panics(&|| {
                self.registry.register_with(|registry| {
                    registry.register("again", "Help", Gauge::<i64>::default());
                });
            }),
            panics(&|| drop(self.registry.clone().with_scrape_metrics())),
        ];
        let _ = self.said.send(said);
        Ok(())
    }
}

#[test]
fn a_registry_cannot_be_used_from_within_a_scrape_of_itself() {
    let (said, hears) = mpsc::channel();
    let registry = MetricsRegistry::new();
    let again = UsesAgain {
        registry: registry.clone(),
        said,
    };
    registry.register_with(|registry| registry.register_collector(Box::new(again)));
    // In a thread of its own, so that a dead-lock fails the test rather than hang it.
    let scraped = thread::spawn(move || {
        let served = Served::new(&registry);
        assert_scraped(served.begin_scrape(""), &["# EOF"]);
    });
    let refused = "during a registration or a scrape of the same registry; do it before or after";
    assert_eq!(
        hears.recv_timeout(PATIENCE).expect("no dead-lock"),
        [
            format!("cannot encode a registry {refused}"),
            format!("cannot register in a registry {refused}"),
            format!("cannot register in a registry {refused}"),
            format!("cannot register in a registry {refused}"),
        ],
    );
    scraped.join().unwrap();
}

#[actix_web::test]
async fn a_strict_registry_fails_a_scrape_rather_than_omit_something() {
    let registry = MetricsRegistry::new().strict().with_scrape_metrics();
    let response = scrape_with(&registry, &[]).await;
    assert_eq!(response.status(), StatusCode::OK);

    registry.register_with(|registry| {
        registry.register("canary", "Help", ConstGauge::new(1_i64));
        registry.register("not-valid", "Help", ConstGauge::new(1_i64));
        registry.register("not.valid", "Help", ConstGauge::new(1_i64));
    });
    let reasons = "the scrape would be incomplete: \
                   the family not-valid has an invalid name, prefix or unit; \
                   use letters, digits, `_` and `:`; \
                   the family not.valid has an invalid name, prefix or unit; \
                   use letters, digits, `_` and `:`";
    for accept in ["*/*", "text/plain"] {
        let response = scrape_with(&registry, &[("Accept", accept)]).await;
        assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(test::read_body(response).await, reasons);
    }
    assert_eq!(registry.encode().unwrap_err().to_string(), reasons);
    assert_eq!(registry.value("canary", &[]), None);
}

#[actix_web::test]
async fn how_much_is_omitted_is_in_the_scrape_unasked_once_something_is() {
    let registry = MetricsRegistry::new();
    let flag = Arc::new(AtomicUsize::new(0));
    let (asked, flag) = (Arc::clone(&flag), flag);
    registry.register_with(|registry| {
        registry.register_collector(Box::new(Fails(asked)));
    });
    assert_eq!(registry.encode().unwrap(), "# EOF\n");
    for (failing, omitted) in [(1, 1), (0, 0), (1, 1)] {
        flag.store(failing, Ordering::Relaxed);
        let omissions = format!(
            "# HELP hr_prometheus_scrape_families_omitted Families omitted from this scrape because they would have \
             broken it.\n# TYPE hr_prometheus_scrape_families_omitted gauge\n\
             hr_prometheus_scrape_families_omitted {omitted}\n"
        );
        assert_eq!(registry.encode().unwrap(), format!("{omissions}# EOF\n"));
        let response = scrape_with(&registry, &[("Accept", "text/plain")]).await;
        assert_eq!(test::read_body(response).await, omissions);
    }
}

/// Fails unless it is 0.
#[derive(Debug)]
struct Fails(Arc<AtomicUsize>);

impl Collector for Fails {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        match self.0.load(Ordering::Relaxed) {
            0 => Ok(()),
            _ => Err(fmt::Error),
        }
    }
}

/// When requests hold all threads of it, say on a database that hangs, the metrics are to show just that.
#[test]
fn a_full_blocking_pool_does_not_hide_the_metrics() {
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    let (release, hangs) = mpsc::channel::<()>();
    LocalSet::new().block_on(&runtime, async {
        let (hanging, is_hanging) = mpsc::channel();
        let hanging = web::block(move || {
            hanging.send(()).unwrap();
            let _ = hangs.recv_timeout(PATIENCE);
        });
        let hanging = actix_web::rt::spawn(hanging);
        eventually_async(|| is_hanging.try_recv().is_ok()).await;

        let response = scrape_with(&MetricsRegistry::new(), &[]).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(test::read_body(response).await, "# EOF\n");
        drop(release);
        hanging.await.unwrap().unwrap();
    });
}

async fn eventually_async(mut condition: impl FnMut() -> bool) {
    while !condition() {
        actix_web::rt::task::yield_now().await;
    }
}

#[actix_web::test]
async fn scrapes_that_nobody_reads_hold_so_much_memory_and_no_more() {
    let registry = MetricsRegistry::new().with_scrape_metrics();
    let large = "x".repeat(33 * 1024 * 1024);
    registry.register_with(|registry| registry.register("large", "Help", Info::new([("a", large)])));
    // So that a busy machine has the time to render what is large.
    let patient = [("X-Prometheus-Scrape-Timeout-Seconds", "300")];
    let first = scrape_with(&registry, &patient).await;
    let second = scrape_with(&registry, &patient).await;
    assert_eq!(first.status(), StatusCode::OK);
    assert_eq!(second.status(), StatusCode::OK);

    let refused = scrape_with(&registry, &patient).await;
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(
        test::read_body(refused).await,
        "2 earlier scrapes, 66 MiB in all, are still being sent; scrape less often, or read them faster"
    );

    drop(first);
    let third = scrape_with(&registry, &patient).await;
    assert_eq!(third.status(), StatusCode::OK);
    for (outcome, count) in [("success", 3.0), ("error", 1.0)] {
        let found = registry.value("hr_prometheus_scrapes_total", &[("outcome", outcome)]);
        assert_eq!(found, Some(count), "{outcome}");
    }
}
