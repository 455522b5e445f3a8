//! The three metrics of the original.

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fmt,
    marker::PhantomData,
    ptr,
    sync::{Arc, Weak},
    time::Duration,
};

use actix_web::http::StatusCode;
use futures_util::future::LocalBoxFuture;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    in_flight::{InFlight, InFlightTable},
    monitor::{RequestEnd, RequestMonitor, RequestStart, ResponseStart, ScrapeStart},
    route::RouteLabel,
    series::{Series, Totals, WorkerSeries},
};

/// Upper bounds in seconds: those of the Python package.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Records `request_count`, `request_latency` and `requests_in_progress`: what [`HrPrometheus`] does by default.
///
/// | family | type | labels | meaning |
/// | --- | --- | --- | --- |
/// | `request_count` (exposed as `request_count_total`) | counter | `method`, `path`, `status` | requests, counted when they end |
/// | `request_latency` | histogram, in seconds | `method`, `path` | from arrival to the last byte of the body handed to the server |
/// | `requests_in_progress` | gauge | `method`, `path` | arrived and not yet ended |
///
/// - `path` is the matched route, never what the client sent: `/users/{id}`, without the regular expressions of
///   parameters, `/` for a mount at the root, `unmatched` where no route matched. It is exact wherever there was a
///   response. Without one, and in the gauge until there is one, it is the route that the path matches.
/// - `method` is a method of RFC 9110, `PATCH` or `QUERY`; anything else is `_OTHER`.
/// - `status` is what the middleware passed on. A panic is 500. A request that was dropped before there was a
///   response is 499. A body that fails after a 200 stays 200.
/// - A [long-lived](ResponseStart::is_long_lived) response is counted and timed when its head is sent; the gauge
///   has it until it is closed.
/// - In every scrape the sum over `request_count_total` is the sum over `request_latency_count`.
///
/// The buckets have the upper bounds 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5 and 10
/// seconds. `L` stands for labels of one's own, which [`NoLabels`] has not.
///
/// [`HrPrometheus`]: crate::HrPrometheus
pub struct DefaultMonitor<L = NoLabels> {
    recorded: Arc<Recorded>,
    /// Made when the first request ends. A clone gets its own, so that each has one writer.
    series: OnceCell<WorkerSeries>,
    /// The table of the worker whose requests the gauge shows. A clone is for another worker.
    table: RefCell<Weak<InFlightTable>>,
    labels: PhantomData<fn() -> L>,
}

/// No labels beside `method`, `path` and `status`.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLabels;

/// What the workers share, and what a scrape encodes.
#[derive(Debug)]
struct Recorded {
    series: Arc<Series>,
    in_flight: Arc<InFlight>,
}

impl DefaultMonitor {
    #[inline]
    fn record(&self, method: &'static str, route: &RouteLabel, status: StatusCode, latency: Duration) {
        let series = self
            .series
            .get_or_init(|| WorkerSeries::new(&self.recorded.series));
        if series.record(method, route, status.as_u16(), latency) {
            self.recorded.in_flight.add_route(route);
        }
    }
}

impl<L> Clone for DefaultMonitor<L> {
    fn clone(&self) -> Self {
        Self {
            recorded: Arc::clone(&self.recorded),
            series: OnceCell::new(),
            table: RefCell::default(),
            labels: PhantomData,
        }
    }
}

impl<L> fmt::Debug for DefaultMonitor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultMonitor").finish_non_exhaustive()
    }
}

/// What the default monitor remembers of a request under way.
#[derive(Debug)]
pub struct DefaultInFlight {
    /// Counted at its head, because it is long-lived.
    counted: bool,
}

impl RequestMonitor for DefaultMonitor {
    type InFlight = DefaultInFlight;

    fn register(registry: &mut Registry) -> Self {
        let recorded = Arc::new(Recorded {
            series: Series::new(&BUCKETS),
            in_flight: Arc::default(),
        });
        registry.register_collector(Box::new(DefaultCollector(Arc::clone(&recorded))));
        Self {
            recorded,
            series: OnceCell::new(),
            table: RefCell::default(),
            labels: PhantomData,
        }
    }

    #[inline]
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> DefaultInFlight {
        // In the long run a comparison: a worker has one table.
        if !ptr::eq(self.table.borrow().as_ptr(), Arc::as_ptr(request.table)) {
            self.recorded.in_flight.add_table(request.table);
            self.table.replace(Arc::downgrade(request.table));
        }
        DefaultInFlight { counted: false }
    }

    #[inline]
    fn update_response_metrics(&self, in_flight: &mut DefaultInFlight, response: &ResponseStart<'_>) {
        if response.is_long_lived() {
            let (route, status) = (response.route_label(), response.status());
            self.record(response.method, route, status, response.elapsed());
            in_flight.counted = true;
        }
    }

    #[inline]
    fn update_end_metrics(&self, in_flight: DefaultInFlight, end: &RequestEnd<'_>) {
        if !in_flight.counted {
            self.record(end.method, end.route_label(), end.status, end.latency);
        }
    }

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(self.recorded.in_flight.label(scrape))
    }
}

/// Encodes the three families from one snapshot, so that they agree.
#[derive(Debug)]
struct DefaultCollector(Arc<Recorded>);

impl Collector for DefaultCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let Recorded { series, in_flight } = &*self.0;
        let snapshot = series.snapshot();
        let mut latency = BTreeMap::<_, Totals>::new();
        let mut in_progress = BTreeMap::new();

        let mut family = encoder.encode_descriptor(
            "request_count",
            "Number of requests received",
            None,
            MetricType::Counter,
        )?;
        for (key, totals) in &snapshot {
            let status = key.status.to_string();
            let labels = [
                ("method", key.method),
                ("path", &*key.route),
                ("status", &*status),
            ];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&totals.count(), None)?;

            let method_and_route = (key.method, Arc::clone(&key.route));
            in_progress.insert(method_and_route.clone(), 0);
            latency.entry(method_and_route).or_default().add(totals);
        }

        let mut family = encoder.encode_descriptor(
            "request_latency",
            "Elapsed time per request",
            None,
            MetricType::Histogram,
        )?;
        for ((method, route), totals) in &latency {
            let labels = [("method", *method), ("path", &**route)];
            let counts = totals.buckets().iter().copied();
            let buckets: Vec<_> = series.bounds().iter().copied().zip(counts).collect();
            family.encode_family(&labels)?.encode_histogram::<NoLabelSet>(
                totals.seconds(),
                totals.count(),
                &buckets,
                None,
            )?;
        }

        in_flight.add_to(&mut in_progress);
        let mut family = encoder.encode_descriptor(
            "requests_in_progress",
            "Requests in progress",
            None,
            MetricType::Gauge,
        )?;
        for ((method, route), requests) in &in_progress {
            let labels = [("method", *method), ("path", &**route)];
            family.encode_family(&labels)?.encode_gauge(requests)?;
        }
        Ok(())
    }
}
