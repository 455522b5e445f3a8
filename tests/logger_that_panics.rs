//! A logger that panics, such as one that writes to a pipe that is closed, harms no request, no worker, no scrape and no
//! other monitor, whatever is being reported.

mod support;

use std::{
    fmt,
    hash::{Hash, Hasher},
    sync::{Mutex, PoisonError},
};

use actix_web::{App, HttpResponse, web};
use futures_util::{
    FutureExt as _,
    future::{self, LocalBoxFuture},
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, Monitors, RequestEnd, RequestLabels, RequestMonitor,
    RequestStart, ScrapeStart, metrics_scope,
    prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, EncodeLabelSet},
        metrics::gauge::Gauge,
        registry::Registry,
    },
};

use support::{TestServer, bomb::throw, eventually, eventually_has, serve};

/// What was about to be logged.
static RECORDS: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Panics at each record of this crate, with a payload that panics when it is dropped.
struct Broken;

impl log::Log for Broken {
    fn enabled(&self, _: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        if record.target().starts_with("hr_prometheus") {
            let line = format!("{} {}", record.level(), record.args());
            RECORDS.lock().unwrap_or_else(PoisonError::into_inner).push(line);
            throw();
        }
    }

    fn flush(&self) {}
}

/// How often a record that contains `marker` was about to be logged.
fn reports(marker: &str) -> usize {
    let records = RECORDS.lock().unwrap_or_else(PoisonError::into_inner);
    records.iter().filter(|line| line.contains(marker)).count()
}

/// A worker that serves a few routes, measured.
struct Measured {
    registry: MetricsRegistry,
    server: TestServer,
}

fn measured_by<M: Monitors>(metrics: HrPrometheus<M>) -> Measured {
    // The first test that gets here installs it for the others.
    let _ = log::set_logger(&Broken);
    log::set_max_level(log::LevelFilter::Warn);
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let server = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .service(metrics_scope())
            .route("/hello/{name}", web::get().to(async || "hello"))
            .route("/panic", web::get().to(panics))
            .wrap(metrics.clone())
    });
    Measured { registry, server }
}

async fn panics() -> HttpResponse {
    panic!("as the test wants it");
}

impl Measured {
    /// The response to a request with these lines of headers; empty if the server closed without a byte.
    #[track_caller]
    fn get_with(&self, headers: &str, path: &str) -> String {
        let mut client = self.server.connect();
        client.send(format!(
            "GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}\r\n"
        ));
        client.read_to_end()
    }

    #[track_caller]
    fn eventually_counts(&self, status: &str, expected: f64) {
        eventually_has(
            &self.registry,
            "request_count_total",
            &[("status", status)],
            expected,
        );
    }

    /// Asserts that requests are served and counted once each, that the gauge is back at 0, and that a scrape is whole.
    #[track_caller]
    fn assert_unharmed(&self) {
        for round in [1.0, 2.0] {
            for name in ["alice", "bob"] {
                let response = self.get_with("", &format!("/hello/{name}"));
                assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
                assert!(response.ends_with("\r\n\r\nhello"), "{response}");
            }
            let scrape = self.get_with("", "/metrics");
            assert!(scrape.starts_with("HTTP/1.1 200 OK\r\n"), "{scrape}");
            assert!(scrape.ends_with("# EOF\n"), "{scrape}");
            self.eventually_counts("200", round * 3.0);
        }
        support::assert_balanced(&self.registry);
    }
}

/// Panics at the end of a request.
#[derive(Clone)]
struct BrokenEnd<const TEST: u8>;

impl<const TEST: u8> RequestMonitor for BrokenEnd<TEST> {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {
        throw();
    }
}

#[test]
fn a_hook_that_panics_is_reported_in_vain() {
    measured_by(HrPrometheus::with_monitor::<(BrokenEnd<0>, DefaultMonitor)>()).assert_unharmed();
    assert_eq!(
        reports("the monitor logger_that_panics::BrokenEnd<0> panicked"),
        1
    );
}

#[test]
fn a_hook_that_panics_while_a_handler_unwinds_is_reported_in_vain() {
    let measured = measured_by(HrPrometheus::with_monitor::<(BrokenEnd<1>, DefaultMonitor)>());
    assert_eq!(measured.get_with("", "/panic"), "");
    measured.eventually_counts("500", 1.0);
    measured.assert_unharmed();
    assert_eq!(
        reports("the monitor logger_that_panics::BrokenEnd<1> panicked"),
        1
    );
}

/// Cannot be registered.
#[derive(Clone)]
struct BrokenRegister;

impl RequestMonitor for BrokenRegister {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        throw();
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
}

#[test]
fn a_register_that_panics_is_reported_in_vain() {
    measured_by(HrPrometheus::with_monitor::<(BrokenRegister, DefaultMonitor)>()).assert_unharmed();
    assert_eq!(
        reports("the monitor logger_that_panics::BrokenRegister is off"),
        1
    );
}

/// Registered in vain.
#[derive(Clone)]
struct RegisteredTooLate;

impl RequestMonitor for RegisteredTooLate {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
}

#[test]
fn a_monitor_that_is_registered_from_within_a_registration_is_refused_in_vain() {
    let measured = measured_by(HrPrometheus::default());
    let error = measured.registry.register_with(|_| {
        let metrics = HrPrometheus::with_monitor::<RegisteredTooLate>();
        metrics.register_in(&measured.registry).unwrap_err()
    });
    assert_eq!(
        error.to_string(),
        "cannot register in a registry during a registration or a scrape of the same registry; \
         do it before or after"
    );
    measured.assert_unharmed();
    assert_eq!(
        reports("the monitor logger_that_panics::RegisteredTooLate is off"),
        1
    );
}

#[test]
fn a_predicate_that_panics_is_reported_in_vain() {
    measured_by(HrPrometheus::default().exclude(|_| throw())).assert_unharmed();
    assert_eq!(reports("a predicate of `exclude` panicked"), 1);
}

/// A label that cannot be read.
#[derive(EncodeLabelSet)]
struct BrokenLabel {
    kind: &'static str,
}

impl RequestLabels for BrokenLabel {
    fn at_arrival(_start: &RequestStart<'_>) -> Self {
        Self { kind: "known" }
    }
}

impl Hash for BrokenLabel {
    fn hash<H: Hasher>(&self, _state: &mut H) {
        throw();
    }
}

impl PartialEq for BrokenLabel {
    fn eq(&self, _other: &Self) -> bool {
        true
    }
}

impl Eq for BrokenLabel {}

#[test]
fn labels_that_panic_are_reported_in_vain() {
    let monitor = DefaultMonitor::builder().labels::<BrokenLabel>();
    let measured = measured_by(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        monitor.register(registry)
    }));
    // The thread unwinds when the first is reported.
    assert_eq!(measured.get_with("", "/panic"), "");
    measured.eventually_counts("500", 1.0);
    measured.assert_unharmed();
    assert_eq!(reports("labels panicked"), 1);
}

#[test]
fn an_exemplar_whose_function_panics_is_reported_in_vain() {
    let monitor = DefaultMonitor::builder().exemplars_from(|_| -> Option<[(String, String); 1]> { throw() });
    let metrics = HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
    measured_by(metrics).assert_unharmed();
    assert_eq!(reports("the function of `exemplars_from` panicked"), 1);
}

#[test]
fn a_limit_on_paths_that_is_exceeded_is_reported_in_vain() {
    let metrics = HrPrometheus::default().keep_params("/hello/{name}", ["name"]);
    let measured = measured_by(metrics.max_kept_paths(1));
    measured.assert_unharmed();
    let count = |path| measured.registry.value("request_count_total", &[("path", path)]);
    assert_eq!(["/hello/alice", "_OTHER"].map(count), [Some(2.0), Some(2.0)]);
    assert_eq!(reports("distinct paths"), 1);
}

/// The path, which a client chooses.
#[derive(EncodeLabelSet, PartialEq, Eq, Hash)]
struct Raw {
    raw: String,
}

impl RequestLabels for Raw {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        Self {
            raw: start.request().path().to_owned(),
        }
    }
}

#[test]
fn a_limit_on_label_sets_that_is_exceeded_is_reported_in_vain() {
    let monitor = DefaultMonitor::builder().labels::<Raw>().max_label_sets(1);
    let metrics = HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
    let measured = measured_by(metrics);
    // The thread unwinds when it is reported.
    assert!(measured.get_with("", "/hello/alice").ends_with("\r\n\r\nhello"));
    assert_eq!(measured.get_with("", "/panic"), "");
    measured.eventually_counts("500", 1.0);
    let count = |raw| measured.registry.value("request_count_total", &[("raw", raw)]);
    assert_eq!(["/hello/alice", "_OTHER"].map(count), [Some(1.0), Some(1.0)]);
    support::assert_balanced(&measured.registry);
    assert_eq!(reports("distinct label sets"), 1);
}

/// Cannot be encoded.
#[derive(Debug)]
struct BrokenCollector;

impl Collector for BrokenCollector {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        throw();
    }
}

#[test]
fn families_that_are_omitted_are_reported_in_vain() {
    let measured = measured_by(HrPrometheus::default());
    for name in ["not-a-name", "named", "named"] {
        measured.registry.register_with(|registry| {
            registry.register(name, "Something", Gauge::<i64>::default());
        });
    }
    measured.registry.register_with(|registry| {
        registry.register_collector(Box::new(BrokenCollector));
    });
    measured.assert_unharmed();
    for marker in [
        "the family not-a-name ",
        "the family named is registered twice",
        "a collector panicked",
    ] {
        assert_eq!(reports(marker), 1, "{marker}");
    }
}

/// Never ready for a scrape.
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
        future::pending().boxed_local()
    }
}

#[test]
fn a_scrape_that_fails_is_reported_in_vain() {
    let measured = measured_by(HrPrometheus::with_monitor::<(NeverReady, DefaultMonitor)>());
    for round in [1.0, 2.0] {
        let scrape = measured.get_with("X-Prometheus-Scrape-Timeout-Seconds: 0.1\r\n", "/metrics");
        assert!(
            scrape.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{scrape}"
        );
        measured.eventually_counts("503", round);
    }
    assert!(measured.get_with("", "/hello/alice").ends_with("\r\n\r\nhello"));
    measured.eventually_counts("200", 1.0);
    support::assert_balanced(&measured.registry);
    eventually("it is reported", || reports("a scrape timed out") == 1);
}
