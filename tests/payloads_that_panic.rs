//! Code that panics with a payload that panics when it is dropped, and values that do so themselves, harm no request, no
//! worker, no scrape and no other monitor. A payload that escapes while a thread unwinds would abort the process, and
//! with it every test of this file.

mod support;

use std::{
    any::type_name,
    convert::Infallible,
    fmt,
    hash::{Hash, Hasher},
    panic::panic_any,
    pin::Pin,
    sync::LazyLock,
    task::{Context, Poll},
    thread,
};

use actix_web::{
    App, Error, HttpMessage as _, HttpRequest, HttpResponse, ResponseError,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::StatusCode,
    middleware::{Next, from_fn},
    rt::task::yield_now,
    web::{self, Bytes},
};
use futures_util::{
    future::LocalBoxFuture,
    stream::{self, StreamExt as _},
};
use hr_prometheus::{
    DefaultMonitor, Excluded, HrPrometheus, MetricsRegistry, Monitors, RequestEnd, RequestLabels,
    RequestMonitor, RequestStart, ResponseStart, ScrapeStart, metrics_scope,
    prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder},
        metrics::gauge::Gauge,
        registry::Registry,
    },
};

use support::{
    TestServer,
    bomb::{Alive, Bomb, CountedBomb, throw},
    capture_log, eventually, eventually_has, logged,
    recorder::Recorder,
    serve,
};

const REGISTER: u8 = 1;
const FOR_WORKER: u8 = 2;
const CLONE: u8 = 3;
const COUNTS_REQUEST_BODY: u8 = 4;
const START: u8 = 5;
const RESPONSE: u8 = 6;
const END: u8 = 7;
const END_WHILE_UNWINDING: u8 = 8;
const FORGET: u8 = 9;
const FORGET_WHILE_UNWINDING: u8 = 10;
const PREPARE_SCRAPE: u8 = 11;
const PREPARE_SCRAPE_POLLED: u8 = 12;

/// Panics in the hook `AT`; of a type of its own for each `TEST`, so that what is logged about it can be told apart.
struct Throws<const AT: u8, const TEST: u8 = 0>;

impl<const AT: u8, const TEST: u8> Throws<AT, TEST> {
    fn reach(hook: u8) {
        if AT == hook {
            throw();
        }
    }
}

impl<const AT: u8, const TEST: u8> Clone for Throws<AT, TEST> {
    fn clone(&self) -> Self {
        Self::reach(CLONE);
        Self
    }
}

impl<const AT: u8, const TEST: u8> RequestMonitor for Throws<AT, TEST> {
    type InFlight = ();

    fn register(registry: &mut Registry) -> Self {
        registry.register("half_registered", "Left by a register", Gauge::<i64>::default());
        Self::reach(REGISTER);
        Self
    }

    fn for_worker(&self) -> Self {
        Self::reach(FOR_WORKER);
        Self
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {
        Self::reach(START);
    }

    fn update_response_metrics(&self, (): &mut (), _response: &ResponseStart<'_>) {
        Self::reach(RESPONSE);
    }

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {
        Self::reach(if thread::panicking() {
            END_WHILE_UNWINDING
        } else {
            END
        });
    }

    fn forget(&self, (): ()) {
        Self::reach(if thread::panicking() {
            FORGET_WHILE_UNWINDING
        } else {
            FORGET
        });
    }

    fn counts_request_body(&self) -> bool {
        Self::reach(COUNTS_REQUEST_BODY);
        false
    }

    fn prepare_scrape<'a>(&'a self, _scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Self::reach(PREPARE_SCRAPE);
        Box::pin(async {
            yield_now().await;
            Self::reach(PREPARE_SCRAPE_POLLED);
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
    // tokio drops this payload, and copes with one panic there.
    panic_any(Bomb(1));
}

async fn panics_in_body() -> HttpResponse {
    let first = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"hello"))]);
    let rest = stream::once(async {
        // So that the server sends what it has.
        yield_now().await;
        panic_any(Bomb(1))
    });
    HttpResponse::Ok().streaming(first.chain(rest))
}

/// An error for which actix-web is told neither a status nor a response.
#[derive(Debug)]
struct NoStatus;

impl fmt::Display for NoStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no status")
    }
}

impl ResponseError for NoStatus {
    fn status_code(&self) -> StatusCode {
        throw();
    }

    fn error_response(&self) -> HttpResponse {
        HttpResponse::new(StatusCode::IM_A_TEAPOT)
    }
}

#[derive(Debug)]
struct NoResponse;

impl fmt::Display for NoResponse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no response")
    }
}

impl ResponseError for NoResponse {
    fn status_code(&self) -> StatusCode {
        StatusCode::IM_A_TEAPOT
    }

    fn error_response(&self) -> HttpResponse {
        panic_any(Bomb(1));
    }
}

async fn refuse<B: MessageBody>(request: ServiceRequest, next: Next<B>) -> Result<ServiceResponse<B>, Error> {
    match request.path() {
        "/refused/status" => Err(NoStatus.into()),
        "/refused/response" => Err(NoResponse.into()),
        _ => next.call(request).await,
    }
}

/// A worker that serves the routes above, measured.
struct Measured {
    registry: MetricsRegistry,
    server: TestServer,
}

fn measured_by<M: Monitors>(metrics: HrPrometheus<M>) -> Measured {
    measured_in(MetricsRegistry::new(), metrics)
}

fn measured_in<M: Monitors>(registry: MetricsRegistry, metrics: HrPrometheus<M>) -> Measured {
    capture_log();
    let data = registry.clone();
    let server = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .service(metrics_scope())
            .route("/", web::get().to(hello))
            .route("/excluded", web::get().to(excluded))
            .route("/panic", web::get().to(panics))
            .route("/excluded/panic", web::get().to(panics))
            .route("/panic/body", web::get().to(panics_in_body))
            .route("/refused/status", web::get().to(hello))
            .route("/refused/response", web::get().to(hello))
            .wrap(from_fn(refuse))
            .wrap(metrics.clone())
    });
    Measured { registry, server }
}

impl Measured {
    #[track_caller]
    fn get(&self, path: &str) -> String {
        self.get_with("", path)
    }

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
    fn eventually_counts(&self, path: &str, status: &str, expected: f64) {
        let labels = [("path", path), ("status", status)];
        eventually_has(&self.registry, "request_count_total", &labels, expected);
    }

    /// Asserts that requests are served with the status that they have, and counted once each; that the gauge is back
    /// at 0; and that a scrape is whole. Eight requests, six of which are recorded.
    #[track_caller]
    fn assert_unharmed(&self) {
        for round in [1.0, 2.0] {
            for (path, status, body) in [
                ("/", "200 OK", "hello"),
                ("/excluded", "200 OK", "hello"),
                ("/nowhere", "404 Not Found", ""),
            ] {
                let response = self.get(path);
                assert!(
                    response.starts_with(&format!("HTTP/1.1 {status}\r\n")),
                    "{response}"
                );
                assert!(response.ends_with(&format!("\r\n\r\n{body}")), "{response}");
            }
            self.eventually_counts("/", "200", round);
            self.eventually_counts("unmatched", "404", round);
            assert_eq!(
                self.registry
                    .value("request_count_total", &[("path", "/excluded")]),
                None
            );
            let scrape = self.scrape();
            assert!(
                scrape.contains("\nrequests_in_progress{method=\"GET\",path=\"/\"} 0\n"),
                "{scrape}"
            );
            self.eventually_counts("/metrics", "200", round);
        }
        support::assert_balanced(&self.registry);
    }

    #[track_caller]
    fn scrape(&self) -> String {
        let scrape = self.get("/metrics");
        assert!(scrape.starts_with("HTTP/1.1 200 OK\r\n"), "{scrape}");
        assert!(scrape.ends_with("# EOF\n"), "{scrape}");
        scrape
    }

    /// Asserts that two requests whose handler panics get no byte, and are counted once each, with this status.
    #[track_caller]
    fn assert_counts_panics(&self) {
        for round in [1.0, 2.0] {
            assert_eq!(self.get("/panic"), "");
            self.eventually_counts("/panic", "500", round);
        }
        support::assert_balanced(&self.registry);
    }
}

/// What is logged about the monitor `M`: once for each registry.
fn reports_about<M>() -> usize {
    logged(&format!("the monitor {} ", type_name::<M>())).len()
}

/// On either side of the default monitor.
#[track_caller]
fn one_hook_throws<const AT: u8>() {
    measured_by(HrPrometheus::with_monitor::<(Throws<AT>, DefaultMonitor)>()).assert_unharmed();
    measured_by(HrPrometheus::with_monitor::<(DefaultMonitor, Throws<AT>)>()).assert_unharmed();
    assert_eq!(reports_about::<Throws<AT>>(), 2);
}

#[test]
fn a_payload_that_panics_in_register_is_contained() {
    one_hook_throws::<REGISTER>();
}

/// Panics when it is dropped.
struct CollectorIsABomb {
    _bomb: CountedBomb,
}

impl fmt::Debug for CollectorIsABomb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CollectorIsABomb")
    }
}

impl Collector for CollectorIsABomb {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

#[test]
fn a_collector_that_panics_when_a_failed_registration_drops_it_is_contained() {
    let alive = Alive::default();
    let registered = alive.clone();
    let failed = HrPrometheus::with_monitor_from(move |registry: &mut Registry| -> DefaultMonitor {
        registry.register_collector(Box::new(CollectorIsABomb {
            _bomb: registered.bomb(),
        }));
        throw();
    });
    let registry = MetricsRegistry::new();
    assert!(failed.register_in(&registry).is_err());
    assert_eq!(alive.count(), 0);
    measured_in(registry, HrPrometheus::default()).assert_unharmed();
}

#[test]
fn a_payload_that_panics_in_for_worker_is_contained() {
    one_hook_throws::<FOR_WORKER>();
}

#[test]
fn a_payload_that_panics_in_clone_is_contained() {
    one_hook_throws::<CLONE>();
}

#[test]
fn a_payload_that_panics_in_counts_request_body_is_contained() {
    one_hook_throws::<COUNTS_REQUEST_BODY>();
}

#[test]
fn a_payload_that_panics_in_update_init_metrics_is_contained() {
    one_hook_throws::<START>();
}

#[test]
fn a_payload_that_panics_in_update_response_metrics_is_contained() {
    one_hook_throws::<RESPONSE>();
}

#[test]
fn a_payload_that_panics_in_update_end_metrics_is_contained() {
    one_hook_throws::<END>();
}

#[test]
fn a_payload_that_panics_in_forget_is_contained() {
    one_hook_throws::<FORGET>();
}

#[test]
fn a_payload_that_panics_in_the_call_of_prepare_scrape_is_contained() {
    one_hook_throws::<PREPARE_SCRAPE>();
}

#[test]
fn a_payload_that_panics_in_the_future_of_prepare_scrape_is_contained() {
    one_hook_throws::<PREPARE_SCRAPE_POLLED>();
}

#[test]
fn a_payload_that_panics_in_update_end_metrics_while_a_handler_unwinds_is_contained() {
    fn beside_default<M: Monitors>() {
        let measured = measured_by(HrPrometheus::with_monitor::<M>());
        measured.assert_counts_panics();
        measured.assert_unharmed();
    }
    beside_default::<(Throws<END_WHILE_UNWINDING>, DefaultMonitor)>();
    beside_default::<(DefaultMonitor, Throws<END_WHILE_UNWINDING>)>();
    assert_eq!(reports_about::<Throws<END_WHILE_UNWINDING>>(), 2);
}

#[test]
fn a_payload_that_panics_in_forget_while_a_handler_unwinds_is_contained() {
    let metrics = HrPrometheus::with_monitor::<(Throws<FORGET_WHILE_UNWINDING>, DefaultMonitor)>();
    let measured = measured_by(metrics.exclude_routes(["/excluded/panic"]));
    for _ in 0..2 {
        assert_eq!(measured.get("/excluded/panic"), "");
    }
    measured.assert_unharmed();
    assert_eq!(reports_about::<Throws<FORGET_WHILE_UNWINDING>>(), 1);
    let of_route = [("path", "/excluded/panic")];
    assert_eq!(measured.registry.value("request_count_total", &of_route), None);
}

#[test]
fn a_payload_that_panics_in_a_handler_ends_its_request_alone() {
    let measured = measured_by(HrPrometheus::default());
    measured.assert_counts_panics();
    measured.assert_unharmed();
}

#[test]
fn a_payload_that_panics_in_a_response_body_ends_its_request_alone() {
    type AlsoAtTheEnd = Throws<END_WHILE_UNWINDING, 1>;
    let measured = measured_by(HrPrometheus::with_monitor::<(AlsoAtTheEnd, DefaultMonitor)>());
    for round in [1.0, 2.0] {
        let response = measured.get("/panic/body");
        assert!(response.starts_with("HTTP/1.1 200 OK\r\n"), "{response}");
        assert!(response.ends_with("\r\n5\r\nhello\r\n"), "cut off: {response}");
        measured.eventually_counts("/panic/body", "200", round);
    }
    measured.assert_unharmed();
    assert_eq!(reports_about::<AlsoAtTheEnd>(), 1);
}

#[test]
fn a_payload_that_panics_in_a_predicate_is_contained() {
    let recorder = Recorder::default();
    let measured = measured_by(recorder.beside_default().exclude(|_| throw()));
    measured.assert_unharmed();
    assert_eq!(recorder.ended().len(), 6);
}

#[test]
fn a_payload_that_panics_in_exemplars_from_is_contained() {
    let recorder = Recorder::default();
    let beside = recorder.clone();
    let monitor = DefaultMonitor::builder().exemplars_from(|_| -> Option<[(String, String); 1]> { throw() });
    let measured = measured_by(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        (monitor.register(registry), beside.clone())
    }));
    measured.assert_unharmed();
    assert_eq!(recorder.ended().len(), 6);
}

const NOWHERE: u8 = 0;
const AT_ARRIVAL: u8 = 1;
const AT_RESPONSE: u8 = 2;
const HASH: u8 = 3;
const EQ: u8 = 4;
const ENCODE: u8 = 5;

/// The label `kind="known"`, whose code panics at `AT`.
struct Kind<const AT: u8>;

impl<const AT: u8> Kind<AT> {
    fn reach(at: u8) {
        if AT == at {
            throw();
        }
    }
}

impl<const AT: u8> RequestLabels for Kind<AT> {
    fn at_arrival(_start: &RequestStart<'_>) -> Self {
        Self::reach(AT_ARRIVAL);
        Self
    }

    fn at_response(&mut self, _response: &ResponseStart<'_>) {
        Self::reach(AT_RESPONSE);
    }
}

impl<const AT: u8> Hash for Kind<AT> {
    fn hash<H: Hasher>(&self, _state: &mut H) {
        Self::reach(HASH);
    }
}

impl<const AT: u8> PartialEq for Kind<AT> {
    fn eq(&self, _other: &Self) -> bool {
        Self::reach(EQ);
        true
    }
}

impl<const AT: u8> Eq for Kind<AT> {}

impl<const AT: u8> EncodeLabelSet for Kind<AT> {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        Self::reach(ENCODE);
        [("kind", "known")].encode(encoder)
    }
}

/// Asserts that requests are recorded whatever labels do, `with_label` of those for `/` and `/panic` with their label.
#[track_caller]
fn labels_throw<const AT: u8>(with_label: [Option<f64>; 2]) {
    let recorder = Recorder::default();
    let beside = recorder.clone();
    let monitor = DefaultMonitor::builder().labels::<Kind<AT>>();
    let measured = measured_by(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        (monitor.register(registry), beside.clone())
    }));
    // In the second of them the thread unwinds when labels are compared and encoded.
    measured.assert_unharmed();
    measured.assert_counts_panics();
    assert_eq!(recorder.ended().len(), 8);
    let counted = |path| {
        let labels = [("path", path), ("kind", "known")];
        measured.registry.value("request_count_total", &labels)
    };
    assert_eq!(["/", "/panic"].map(counted), with_label);
}

#[test]
fn labels_that_do_not_panic_are_recorded() {
    labels_throw::<NOWHERE>([Some(2.0), Some(2.0)]);
}

#[test]
fn a_payload_that_panics_in_at_arrival_is_contained() {
    labels_throw::<AT_ARRIVAL>([None, None]);
}

#[test]
fn a_payload_that_panics_in_at_response_is_contained() {
    // A handler that panics makes no response.
    labels_throw::<AT_RESPONSE>([None, Some(2.0)]);
}

#[test]
fn a_payload_that_panics_when_labels_are_hashed_is_contained() {
    labels_throw::<HASH>([None, None]);
}

#[test]
fn a_payload_that_panics_when_labels_are_compared_is_contained() {
    // The first of a route has nothing to be compared with.
    labels_throw::<EQ>([Some(1.0), Some(1.0)]);
}

#[test]
fn a_payload_that_panics_when_labels_are_encoded_is_contained() {
    labels_throw::<ENCODE>([None, None]);
}

#[test]
fn a_payload_that_panics_in_status_code_is_contained() {
    let recorder = Recorder::default();
    let measured = measured_by(recorder.beside_default());
    for round in [1.0, 2.0] {
        let response = measured.get("/refused/status");
        assert!(
            response.starts_with("HTTP/1.1 418 I'm a teapot\r\n"),
            "{response}"
        );
        measured.eventually_counts("/refused/status", "418", round);
    }
    measured.assert_unharmed();
    assert_eq!(recorder.ended().len(), 8);
}

#[test]
fn a_payload_that_panics_in_error_response_ends_its_request_alone() {
    type AlsoAtTheEnd = Throws<END_WHILE_UNWINDING, 2>;
    let measured = measured_by(HrPrometheus::with_monitor::<(AlsoAtTheEnd, DefaultMonitor)>());
    for round in [1.0, 2.0] {
        assert_eq!(measured.get("/refused/response"), "");
        measured.eventually_counts("/refused/response", "500", round);
    }
    measured.assert_unharmed();
    assert_eq!(reports_about::<AlsoAtTheEnd>(), 1);
}

/// Panics when it is encoded.
#[derive(Debug)]
struct ThrowingCollector;

impl Collector for ThrowingCollector {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        throw();
    }
}

#[test]
fn a_payload_that_panics_in_a_collector_is_contained_in_every_format() {
    let measured = measured_by(HrPrometheus::default());
    measured.registry.register_with(|registry| {
        registry.register_collector(Box::new(ThrowingCollector));
    });
    measured.registry.register_with(|registry| {
        registry.register("registered_behind", "Is served", Gauge::<i64>::default());
    });
    measured.assert_unharmed();
    for (accept, family) in [
        (
            "application/openmetrics-text;version=1.0.0",
            "\nregistered_behind 0\n",
        ),
        ("text/plain;version=0.0.4", "\nregistered_behind 0\n"),
        #[cfg(feature = "protobuf")]
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
            "registered_behind",
        ),
    ] {
        let mut client = measured.server.connect();
        client.send(format!(
            "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {accept}\r\n\r\n"
        ));
        let scrape = client.read_to_end();
        assert!(scrape.starts_with("HTTP/1.1 200 OK\r\n"), "{scrape}");
        assert!(scrape.contains(family), "{scrape}");
    }
}

/// Panics when it is dropped, if it is not the one that was registered.
struct CloneIsABomb {
    alive: Alive,
    _bomb: Option<CountedBomb>,
}

impl Clone for CloneIsABomb {
    fn clone(&self) -> Self {
        Self {
            alive: self.alive.clone(),
            _bomb: Some(self.alive.bomb()),
        }
    }
}

impl RequestMonitor for CloneIsABomb {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self {
            alive: Alive::default(),
            _bomb: None,
        }
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
}

#[test]
fn a_clone_of_a_monitor_that_panics_when_it_is_dropped_harms_nobody() {
    let alive = Alive::default();
    let registered = alive.clone();
    let measured = measured_by(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        let monitor = || CloneIsABomb {
            alive: registered.clone(),
            _bomb: None,
        };
        // Two of them, so that a panic would meet another.
        (
            monitor(),
            (monitor(), DefaultMonitor::builder().register(registry)),
        )
    }));
    measured.assert_unharmed();
    let Measured { registry, server } = measured;
    server.stop(true);
    eventually("every clone is dropped", || alive.count() == 0);
    support::assert_balanced(&registry);
}

/// Panics when it is dropped.
struct MonitorIsABomb(CountedBomb);

impl Clone for MonitorIsABomb {
    fn clone(&self) -> Self {
        Self(self.0.another())
    }
}

impl RequestMonitor for MonitorIsABomb {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self(Alive::default().bomb())
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
}

#[test]
fn a_worker_and_a_registry_outlive_monitors_that_panic_when_they_are_dropped() {
    let alive = Alive::default();
    let registered = alive.clone();
    let measured = measured_by(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        let monitor = || MonitorIsABomb(registered.bomb());
        (
            monitor(),
            (monitor(), DefaultMonitor::builder().register(registry)),
        )
    }));
    measured.assert_unharmed();
    let Measured { registry, server } = measured;
    server.stop(true);
    eventually("the worker's monitors are dropped", || alive.count() == 2);
    assert_eq!(registry.value("request_count_total", &[]), Some(6.0));
    support::assert_balanced(&registry);
    drop(registry);
    eventually("the registry's monitors are dropped", || alive.count() == 0);
}

const READY: u8 = 0;
const PANICS: u8 = 1;
const PENDING: u8 = 2;

/// Prepares scrapes with a future that panics when it is dropped, after it has done as `HOW` says.
#[derive(Clone)]
struct Prepares<const HOW: u8>(Alive);

struct Preparation<const HOW: u8> {
    /// Dropped with the future, not when it ends.
    _state: CountedBomb,
}

impl<const HOW: u8> Future for Preparation<HOW> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<()> {
        match HOW {
            READY => Poll::Ready(()),
            PANICS => throw(),
            _ => Poll::Pending,
        }
    }
}

impl<const HOW: u8> RequestMonitor for Prepares<HOW> {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self(Alive::default())
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}

    fn prepare_scrape<'a>(&'a self, _scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(Preparation::<HOW> {
            _state: self.0.bomb(),
        })
    }
}

fn prepared<const HOW: u8>() -> (Measured, Alive) {
    let alive = Alive::default();
    let monitor = Prepares::<HOW>(alive.clone());
    let measured = measured_by(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        (monitor.clone(), DefaultMonitor::builder().register(registry))
    }));
    (measured, alive)
}

#[test]
fn a_preparation_that_completes_and_panics_when_it_is_dropped_is_contained() {
    let (measured, alive) = prepared::<READY>();
    measured.assert_unharmed();
    assert_eq!(alive.count(), 0);
}

#[test]
fn a_preparation_that_panics_and_panics_again_when_it_is_dropped_is_contained() {
    let (measured, alive) = prepared::<PANICS>();
    measured.assert_unharmed();
    assert_eq!(alive.count(), 0);
}

#[test]
fn a_preparation_that_times_out_and_panics_when_it_is_dropped_is_contained() {
    let (measured, alive) = prepared::<PENDING>();
    for round in [1.0, 2.0] {
        assert!(measured.get("/").ends_with("\r\n\r\nhello"));
        let scrape = measured.get_with("X-Prometheus-Scrape-Timeout-Seconds: 0.1\r\n", "/metrics");
        assert!(
            scrape.starts_with("HTTP/1.1 503 Service Unavailable\r\n"),
            "{scrape}"
        );
        measured.eventually_counts("/", "200", round);
        measured.eventually_counts("/metrics", "503", round);
        assert_eq!(alive.count(), 0);
    }
    support::assert_balanced(&measured.registry);
}

/// Gives each request a value that panics when it is dropped, which the hooks that take it do.
#[derive(Clone)]
struct CarriesBombs(Alive);

impl RequestMonitor for CarriesBombs {
    type InFlight = CountedBomb;

    fn register(_registry: &mut Registry) -> Self {
        Self(Alive::default())
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) -> CountedBomb {
        self.0.bomb()
    }

    fn update_end_metrics(&self, _bomb: CountedBomb, _end: &RequestEnd<'_>) {}
}

#[test]
fn what_a_request_carries_may_panic_when_a_hook_drops_it() {
    let alive = Alive::default();
    let monitor = CarriesBombs(alive.clone());
    let measured = measured_by(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        (monitor.clone(), DefaultMonitor::builder().register(registry))
    }));
    measured.assert_counts_panics();
    measured.assert_unharmed();
    assert_eq!(alive.count(), 0);
}

/// Registers its own type whenever it is cloned.
struct RegistersItself;

static REGISTRY: LazyLock<MetricsRegistry> = LazyLock::new(MetricsRegistry::new);

impl Clone for RegistersItself {
    fn clone(&self) -> Self {
        // Refused where the registry is cloning it.
        let _ = HrPrometheus::with_monitor::<Self>().register_in(&REGISTRY);
        Self
    }
}

impl RequestMonitor for RegistersItself {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
}

#[test]
fn a_clone_that_registers_its_own_type_neither_dead_locks_nor_overflows() {
    let metrics = HrPrometheus::with_monitor::<(RegistersItself, DefaultMonitor)>();
    let measured = measured_in(REGISTRY.clone(), metrics);
    measured.assert_unharmed();
    assert_eq!(reports_about::<RegistersItself>(), 0);
}
