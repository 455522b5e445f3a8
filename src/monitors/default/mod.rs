//! The three metrics of the original.

pub(crate) mod builder;
mod exemplars;
pub(crate) mod families;
pub(crate) mod labels;

use std::{
    cell::{OnceCell, RefCell},
    fmt, ptr,
    sync::{Arc, Weak},
    time::Duration,
};

use actix_web::http::StatusCode;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, registry::Registry};

use crate::{
    in_flight::{InFlight, InFlightTable},
    monitor::{
        RequestMonitor,
        hooks::{RequestEnd, RequestStart, ResponseStart},
    },
    monitors::default::{
        builder::{Config, DefaultMonitorBuilder, Families},
        exemplars::{ExemplarLabels, Exemplars},
        families::InProgress,
        labels::{LabelSets, NoLabels, OwnLabels, RequestLabels, WorkerLabels, is_none},
    },
    route::RouteLabel,
    series::{
        Series,
        measures::nanos,
        worker::{More, Place, WorkerSeries},
    },
};

/// Records `request_count`, `request_latency` and `requests_in_progress`: what [`HrPrometheus`] does by default.
///
/// | family | type | labels | meaning |
/// | --- | --- | --- | --- |
/// | `request_count` (exposed as `request_count_total`) | counter | `method`, `path`, `status` | requests, counted when they end |
/// | `request_latency` | histogram, in seconds | `method`, `path` | from arrival to the last byte of the body handed to the server |
/// | `requests_in_progress` | gauge | `method`, `path` | arrived and not yet ended |
///
/// - `path` is the matched route, not what the client sent: `/users/{id}`, without the regular expressions of
///   parameters, `/` for a mount at the root, `unmatched` where no route matched. It is exact wherever there was a
///   response. Without one, and in the gauge until there is one, it is the route that the path matches. The middleware
///   can [keep values](crate::HrPrometheus::keep_params) of parameters, up to a cap, and call `unmatched`
///   [something else](crate::HrPrometheus::unmatched).
/// - `method` is a method of RFC 9110, `PATCH`, `QUERY` or one of
///   [`extra_methods`](crate::HrPrometheus::extra_methods); anything else is `_OTHER`.
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
/// seconds. These and the names, the labels and the families can be chosen: see [`builder`](Self::builder). `L` stands
/// for [labels of one's own](RequestLabels), which [`NoLabels`] has not.
///
/// [`HrPrometheus`]: crate::HrPrometheus
pub struct DefaultMonitor<L = NoLabels> {
    recorded: Arc<Recorded>,
    /// Made when the first request ends. A clone gets its own, so that each has one writer.
    worker: OnceCell<Worker<L>>,
    /// The table of the worker whose requests the gauge shows. A clone is for another worker.
    table: RefCell<Weak<InFlightTable>>,
    /// Whether more is observed than the latency.
    has_more: bool,
}

/// What the workers share, and what a scrape encodes.
#[derive(Debug)]
struct Recorded {
    series: Arc<Series<OwnLabels>>,
    in_flight: Arc<InFlight>,
    families: Families,
    label_sets: Arc<LabelSets>,
    exemplars: Option<Exemplars>,
}

/// What one worker records into.
struct Worker<L> {
    series: WorkerSeries<OwnLabels>,
    labels: WorkerLabels<L>,
}

impl DefaultMonitor {
    /// Chooses what is recorded, and under which names.
    #[must_use]
    pub fn builder() -> DefaultMonitorBuilder {
        DefaultMonitorBuilder::new()
    }
}

impl<L: RequestLabels> DefaultMonitor<L> {
    fn new(config: &Config, registry: &mut Registry) -> Self {
        let has_labels = !is_none::<L>();
        let recorded = Arc::new(Recorded {
            series: Series::new(config.measures()),
            in_flight: Arc::default(),
            families: config.families(has_labels),
            label_sets: Arc::new(LabelSets::new(config.most_label_sets, config.label_names())),
            exemplars: config.exemplars.clone().map(Exemplars::new),
        });
        for key in config.zeros() {
            recorded.series.add(key.clone());
        }
        registry.register_collector(Box::new(DefaultCollector(Arc::clone(&recorded))));
        Self {
            has_more: recorded.series.measures().has_more(),
            recorded,
            worker: OnceCell::new(),
            table: RefCell::default(),
        }
    }

    fn worker(&self) -> &Worker<L> {
        self.worker.get_or_init(|| Worker {
            series: WorkerSeries::new(&self.recorded.series),
            labels: WorkerLabels::new(&self.recorded.label_sets),
        })
    }

    #[inline]
    fn record(
        &self,
        labels: Option<L>,
        method: &'static str,
        route: &RouteLabel,
        status: StatusCode,
        latency: Duration,
    ) -> Place {
        let worker = self.worker();
        let on_first = || {};
        if is_none::<L>() {
            let key = (method, &route.text, status, &OwnLabels::NONE);
            return worker.series.record(route.id, key, latency, on_first);
        }
        let (row, labels) = worker.labels.row(labels, route.id);
        let key = (method, &route.text, status, &labels);
        worker.series.record(row, key, latency, on_first)
    }

    /// Learns of a request that arrived what is not to be seen later.
    fn arrive(&self, request: &RequestStart<'_>) -> DefaultInFlight<L> {
        let of_request = |exemplars: &Exemplars| exemplars.at_arrival(request);
        let exemplar = self.recorded.exemplars.as_ref().and_then(of_request);
        if is_none::<L>() && exemplar.is_none() {
            return DefaultInFlight(None);
        }
        DefaultInFlight(Some(Box::new(Remembered {
            labels: self.recorded.label_sets.contain(|| L::at_arrival(request)),
            exemplar,
            ..Remembered::default()
        })))
    }

    /// Learns from the response head what is to be known when the request ends.
    fn remember(&self, request: &mut Option<Box<Remembered<L>>>, response: &ResponseStart<'_>) {
        let of_response = |exemplars: &Exemplars| exemplars.at_response(response);
        let exemplar = self.recorded.exemplars.as_ref().and_then(of_response);
        let times_head = self.recorded.series.measures().time_to_head.is_some();
        if request.is_none() && exemplar.is_none() && !times_head && !response.is_long_lived() {
            return;
        }
        let request = request.get_or_insert_default();
        request.exemplar = request.exemplar.take().or(exemplar);
        // What panics half way is not to be trusted.
        request.labels = request.labels.take().and_then(|mut labels| {
            self.recorded.label_sets.contain(|| {
                labels.at_response(response);
                labels
            })
        });
        let latency = response.elapsed();
        request.time_to_head = Some(nanos(latency));
        if response.is_long_lived() {
            let (route, status) = (response.route_label(), response.status());
            let labels = request.labels.take();
            let place = self.record(labels, response.method, route, status, latency);
            request.counted = Some(place);
            self.keep_exemplar(place, latency, request.exemplar.take());
        }
    }

    fn end(&self, request: Remembered<L>, end: &RequestEnd<'_>) {
        let place = request.counted.unwrap_or_else(|| {
            self.record(
                request.labels,
                end.method,
                end.route_label(),
                end.status,
                end.latency,
            )
        });
        self.keep_exemplar(place, end.latency, request.exemplar);
        if self.has_more {
            self.observe_end(place, request.time_to_head, end);
        }
    }

    fn keep_exemplar(&self, place: Place, latency: Duration, exemplar: Option<ExemplarLabels>) {
        if let Some(labels) = exemplar {
            self.worker().series.keep_exemplar(place, latency, labels);
        }
    }

    fn observe_end(&self, place: Place, time_to_head: Option<u64>, end: &RequestEnd<'_>) {
        let more = More {
            request_body: end.request_body_bytes,
            response_body: Some(end.response_body_bytes),
            time_to_head,
        };
        self.worker().series.observe(place, more);
    }
}

impl<L> Clone for DefaultMonitor<L> {
    fn clone(&self) -> Self {
        Self {
            recorded: Arc::clone(&self.recorded),
            worker: OnceCell::new(),
            table: RefCell::default(),
            has_more: self.has_more,
        }
    }
}

impl<L> fmt::Debug for DefaultMonitor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultMonitor").finish_non_exhaustive()
    }
}

/// What the default monitor remembers of a request under way: nothing, unless it was told to.
pub struct DefaultInFlight<L>(Option<Box<Remembered<L>>>);

struct Remembered<L> {
    /// `None` where there are none, or none could be made.
    labels: Option<L>,
    /// In nanoseconds; to be observed when it ends.
    time_to_head: Option<u64>,
    exemplar: Option<ExemplarLabels>,
    /// Where it was counted at its head, because it is long-lived.
    counted: Option<Place>,
}

impl<L> Default for Remembered<L> {
    fn default() -> Self {
        Self {
            labels: None,
            time_to_head: None,
            exemplar: None,
            counted: None,
        }
    }
}

impl<L> fmt::Debug for DefaultInFlight<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultInFlight").finish_non_exhaustive()
    }
}

impl<L: RequestLabels> RequestMonitor for DefaultMonitor<L> {
    type InFlight = DefaultInFlight<L>;

    fn register(registry: &mut Registry) -> Self {
        DefaultMonitorBuilder::new().labels().register(registry)
    }

    #[inline]
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> DefaultInFlight<L> {
        // In the long run a comparison: a worker has one table.
        if !ptr::eq(self.table.borrow().as_ptr(), Arc::as_ptr(request.table)) {
            self.recorded.in_flight.add_table(request.table);
            if !is_none::<L>() {
                self.recorded.label_sets.count_in(request.limits());
            }
            self.table.replace(Arc::downgrade(request.table));
        }
        if is_none::<L>() && !self.has_more {
            return DefaultInFlight(None);
        }
        self.arrive(request)
    }

    #[inline]
    fn update_response_metrics(&self, in_flight: &mut DefaultInFlight<L>, response: &ResponseStart<'_>) {
        if self.has_more || !is_none::<L>() || response.is_long_lived() {
            self.remember(&mut in_flight.0, response);
        }
    }

    #[inline]
    fn update_end_metrics(&self, in_flight: DefaultInFlight<L>, end: &RequestEnd<'_>) {
        if let Some(remembered) = in_flight.0 {
            return self.end(*remembered, end);
        }
        let place = self.record(None, end.method, end.route_label(), end.status, end.latency);
        if self.has_more {
            self.observe_end(place, None, end);
        }
    }

    fn counts_request_body(&self) -> bool {
        self.recorded.series.measures().request_body.is_some()
    }
}

/// Encodes all families from one snapshot, so that they agree.
#[derive(Debug)]
struct DefaultCollector(Arc<Recorded>);

impl Collector for DefaultCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let Recorded {
            series,
            in_flight,
            families,
            ..
        } = &*self.0;
        let measures = series.measures();
        let snapshot = series.snapshot();
        let all = snapshot.all();
        let encoder = &mut encoder;

        if let Some(family) = &families.count {
            family.encode_count(encoder, &all, &measures.latency)?;
        }
        if let Some(family) = &families.latency {
            family.encode_distribution(encoder, &all, &measures.latency)?;
        }
        for (family, distribution) in [
            (&families.request_body, &measures.request_body),
            (&families.response_body, &measures.response_body),
            (&families.time_to_head, &measures.time_to_head),
        ] {
            if let Some(distribution) = distribution {
                family.encode_distribution(encoder, &all, distribution)?;
            }
        }
        if families.shows_in_progress() {
            let in_progress = InProgress::look(in_flight, &all);
            if let Some(family) = &families.in_progress {
                in_progress.encode_number(family, encoder)?;
            }
            if let Some(family) = &families.oldest {
                in_progress.encode_oldest(family, encoder)?;
            }
        }
        Ok(())
    }
}
