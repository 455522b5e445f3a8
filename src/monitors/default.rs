//! The three metrics of the original.

use std::{
    cell::{OnceCell, RefCell},
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
    series::{Series, SeriesKey, WorkerSeries},
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
/// - The gauge shows all requests that the middleware sees. A monitor of one's own that calls this one for some of
///   them counts and times those, but cannot leave the others out of the gauge.
/// - Where `/metrics` is served by another application than the one that is measured, the gauge knows a request that
///   has no response yet by the routes that requests have ended with; else it is `unmatched`.
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
        if series.record(method, route, status, latency) {
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
            in_flight.counted = true;
            let (route, status) = (response.route_label(), response.status());
            self.record(response.method, route, status, response.elapsed());
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
        let all: Vec<_> = snapshot.iter().collect();
        let by_route = || all.chunk_by(|a, b| (a.key.method, &a.key.route) == (b.key.method, &b.key.route));

        let help = "Number of requests received";
        let mut family = encoder.encode_descriptor("request_count", help, None, MetricType::Counter)?;
        for totals in &all {
            let SeriesKey {
                method,
                route,
                status,
            } = totals.key;
            let labels = [
                ("method", *method),
                ("path", &**route),
                ("status", status.as_str()),
            ];
            family
                .encode_family(&labels)?
                .encode_counter::<NoLabelSet, _, u64>(&totals.count(), None)?;
        }

        let help = "Elapsed time per request";
        let mut family = encoder.encode_descriptor("request_latency", help, None, MetricType::Histogram)?;
        for of_route in by_route() {
            let SeriesKey { method, route, .. } = of_route[0].key;
            let labels = [("method", *method), ("path", &**route)];
            let mut buckets: Vec<_> = series.bounds().iter().map(|&bound| (bound, 0)).collect();
            for totals in of_route {
                for ((_, sum), count) in buckets.iter_mut().zip(totals.buckets) {
                    *sum += count;
                }
            }
            let count = buckets.iter().map(|(_, count)| count).sum();
            let nanos = of_route
                .iter()
                .fold(0, |sum: u64, totals| sum.wrapping_add(totals.nanos));
            let seconds = Duration::from_nanos(nanos).as_secs_f64();
            family
                .encode_family(&labels)?
                .encode_histogram::<NoLabelSet>(seconds, count, &buckets, None)?;
        }

        // Each route that is known, and whatever runs.
        let known =
            by_route().map(|of_route| (of_route[0].key.method, Arc::clone(&of_route[0].key.route), 0));
        let mut in_progress: Vec<_> = known.collect();
        in_flight.add_to(&mut in_progress);
        in_progress.sort();
        let help = "Requests in progress";
        let mut family = encoder.encode_descriptor("requests_in_progress", help, None, MetricType::Gauge)?;
        for same in in_progress.chunk_by(|a, b| (a.0, &a.1) == (b.0, &b.1)) {
            let (method, route, _) = &same[0];
            let labels = [("method", *method), ("path", &**route)];
            let requests: i64 = same.iter().map(|(_, _, requests)| requests).sum();
            family.encode_family(&labels)?.encode_gauge(&requests)?;
        }
        Ok(())
    }
}
