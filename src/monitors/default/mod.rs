//! The default monitor: the three metrics of the Python package, and the options of its builder.

pub(crate) mod builder;
pub(crate) mod checks;
pub(crate) mod config;
mod exemplars;
pub(crate) mod families;
pub(crate) mod in_flight;
pub(crate) mod labels;
mod objectives;
mod peaks;
mod queue_time;
mod scrape;
mod storage;
pub(crate) mod table;

use std::{
    cell::{Cell, OnceCell, RefCell},
    fmt, mem,
    sync::{Arc, Weak},
    time::{Duration, SystemTime},
};

use actix_web::{body::BodySize, http::StatusCode};
use prometheus_client::registry::Registry;

use crate::{
    exposition::{
        constant::{check_own_labels, name_prefix},
        exemplar::ExemplarLabels,
    },
    in_flight::InFlightTable,
    monitor::{
        RequestMonitor,
        hooks::{RequestEnd, RequestStart, ResponseStart},
    },
    monitors::default::{
        config::Config,
        exemplars::Exemplars,
        in_flight::{DefaultInFlight, Noted},
        labels::{CustomLabels, NoLabels, RequestLabels, WorkerLabels, is_none},
        objectives::ObjectivesOfWorker,
        peaks::{Peaks, PeaksOfWorker},
        queue_time::queue_time,
        scrape::DefaultCollector,
        storage::DefaultStorage,
        table::{DefaultFamily, Ended, NotedTimes},
    },
    panics::{DiscardOnDrop, give_up},
    registry::names::note,
    route::RouteLabel,
    series::{
        measures::nanos,
        worker::{BlockIndex, WorkerSeries},
    },
};

/// Records `request_count`, `request_latency` and `requests_in_progress`; the default of [`HrPrometheus`].
///
/// | family | type | labels | meaning |
/// | --- | --- | --- | --- |
/// | `request_count` (exposed as `request_count_total`) | counter | `method`, `path`, `status` | requests that have ended |
/// | `request_latency` | histogram, seconds | `method`, `path` | time from arrival until the last byte of the body is passed to the server |
/// | `requests_in_progress` | gauge | `method`, `path` | requests that have arrived and not ended |
///
/// - `path` is the pattern of the matched route, never what the client sent: `/users/{id}`, without the regular
///   expressions of parameters, and `/` for a service mounted at the root; see [below](#which-route). The middleware
///   can [keep values](crate::HrPrometheus::keep_params) of parameters, up to a limit, and change the label for
///   [unmatched](crate::HrPrometheus::unmatched) requests.
/// - `method` is a method of RFC 9110, `PATCH`, `QUERY` or one of [`extra_methods`](crate::HrPrometheus::extra_methods);
///   anything else is `_OTHER`.
/// - `status` is the status of the response that the middleware passed on, or 500 or 499 without a response; see
///   [below](#which-status).
/// - A [long-lived](ResponseStart::is_long_lived) response is counted and timed when its head is sent, and is in the
///   gauge until it closes.
/// - The gauge has all requests that the middleware sees. A custom monitor that passes only some requests to this one
///   limits the counter and the histogram to those, but cannot exclude the others from the gauge.
/// - In every scrape, the sum over `request_count_total` equals the sum over `request_latency_count`.
///
/// The bucket bounds are 0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5 and 10 seconds. Buckets,
/// names, labels and families are configurable: see [`builder`](Self::builder). `L` adds [custom
/// labels](RequestLabels); the default, [`NoLabels`], adds none.
///
/// # Which route
///
/// `path` is the route that served the request: its handler ran, its resource answered 405, or a middleware that is
/// wrapped around its resource answered. For a resource with several patterns it is the first pattern. A request that
/// no route served is `unmatched`, whatever the default service answered. Earlier requests do not change the label.
///
/// Two routes, or a route and a scope, can share a pattern, apart from the `*` of a tail, but not a label: for example
/// `/files/{path}` and `/files/{path}*`, or `scope("/users")` and its `route("", ..)`. Their requests also have the
/// label of the one that served them, but finding it allocates.
///
/// Some requests leave no trace of who answered:
///
/// - If a route shares the pattern of a scope, as in `scope("/users").route("", ..)`, and the application keeps a clone
///   of the request beyond its response or is built with `panic = "abort"`, then `path` is `unmatched` for a 404, and
///   the route for any other status.
/// - An inner middleware that answers before routing leaves the same trace as a default service. With a redirect, 401,
///   403, 407, 429, or success for a CORS preflight, the answer is attributed to such a middleware, and `path` is the
///   first route that matches, ignoring guards. With any other status the request is `unmatched`.
/// - Without a response (an `Err` of an inner middleware, a panic, a disconnect), and in the gauge until there is one,
///   `path` is the first route that matches the path as it arrived, ignoring guards. If there is none, the path is
///   tried again as `NormalizePath` would change it. Of scopes with the same prefix, which differ only by guards, only
///   the first is searched.
///
/// # Which status
///
/// A request has the status of the response that the middleware passed on, or that actix-web makes from the `Err` it
/// passed on, even if the body then fails, panics or is cut off. Without a response it is
///
/// - 500 if a handler or a middleware panicked: the client gets no response, but a closed connection, or on HTTP/2 a
///   reset stream;
/// - 499 if the request was dropped: an HTTP/1 client reset its connection, a timeout in outer code gave up, or the
///   server shut down. Nobody receives this status, which is nginx's "client closed request".
///
/// actix-web notices no other disconnect while a handler runs. If an HTTP/1 client merely closes its side of the
/// connection, or an HTTP/2 client cancels the request (`RST_STREAM`) or closes the connection, the handler runs to its
/// end, and the request has the status of its response.
///
/// [`HrPrometheus`]: crate::HrPrometheus
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is looked at on the way of every request"
)]
pub struct DefaultMonitor<L = NoLabels> {
    storage: Arc<DefaultStorage>,
    /// Created at the first request. A clone creates another, so that each has one writer.
    worker: OnceCell<WorkerStorage<L>>,
    /// The table of the worker whose requests the gauge shows. A clone is for another worker.
    table: RefCell<Weak<InFlightTable>>,
    /// The address of that table. The weak reference keeps the memory, so no other table can be there.
    table_address: Cell<usize>,
    /// Whether there is something to read on arrival, and at the response head.
    reads_requests: bool,
    reads_responses: bool,
    times_head: bool,
    /// Whether there is something to record besides the latency.
    has_further: bool,
}

/// The storage of one worker.
struct WorkerStorage<L> {
    series: WorkerSeries<CustomLabels>,
    labels: WorkerLabels<L>,
    objectives: ObjectivesOfWorker,
    peaks: PeaksOfWorker,
    /// The memory of requests that have ended, for those to come.
    spare: RefCell<Vec<Box<Noted<L>>>>,
}

/// How many boxes a worker keeps, after a burst.
const MOST_SPARE: usize = 128;

impl<L: RequestLabels> DefaultMonitor<L> {
    fn new(config: &Config, registry: &mut Registry) -> Self {
        if let Err(reason) = check_own_labels(registry, config.own_labels().iter().map(|name| &**name)) {
            give_up(format!("its registry {reason}"));
        }
        let has_labels = !is_none::<L>();
        let storage = Arc::new(DefaultStorage::new(config, has_labels));
        let registry = match &config.prefix {
            Some(prefix) => registry.sub_registry_with_prefix(prefix),
            None => registry,
        };
        note(config.names(&name_prefix(registry)));
        registry.register_collector(Box::new(DefaultCollector(Arc::clone(&storage))));
        let exemplars = storage.exemplars.as_ref();
        Self {
            reads_requests: has_labels
                || storage.times_queue
                || storage.peaks.is_some()
                || exemplars.is_some_and(Exemplars::are_of_requests),
            times_head: config.chosen(DefaultFamily::TimeToHead).is_on,
            reads_responses: has_labels
                || storage.peaks.is_some()
                || exemplars.is_some_and(|exemplars| !exemplars.are_of_requests()),
            has_further: !storage.series.measures().further.is_empty(),
            storage,
            worker: OnceCell::new(),
            table: RefCell::default(),
            table_address: Cell::default(),
        }
    }

    fn worker(&self) -> &WorkerStorage<L> {
        self.worker.get_or_init(|| WorkerStorage {
            series: WorkerSeries::new(&self.storage.series),
            labels: WorkerLabels::new(&self.storage.label_sets),
            objectives: ObjectivesOfWorker::default(),
            peaks: PeaksOfWorker::default(),
            spare: RefCell::default(),
        })
    }

    #[inline]
    fn record(
        &self,
        labels: DiscardOnDrop<L>,
        method: &'static str,
        route: &RouteLabel,
        status: StatusCode,
        latency: Duration,
    ) -> BlockIndex {
        let worker = self.worker();
        if is_none::<L>() {
            let key = (method, &route.text, status, &CustomLabels::NONE);
            return worker.series.record(route.id, key, latency);
        }
        let (row, labels) = worker.labels.row(labels, route);
        let key = (method, &route.text, status, &labels);
        worker.series.record(row, key, latency)
    }

    /// Shows the requests of this monitor's worker.
    #[cold]
    fn begin_in_worker(&self, request: &RequestStart<'_>) {
        let is_new = self.storage.in_flight.add_table(request.table);
        if self.storage.shows_ages() {
            request.table.keep_arrivals();
        }
        if !is_none::<L>() {
            self.storage.label_sets.count_in(request.limits());
        }
        if let Some(objectives) = self.storage.objectives.as_ref().filter(|_| is_new) {
            objectives.warn_of_routes_without_requests(request);
        }
        if self.storage.peaks.is_some() {
            self.worker().peaks.clear();
        }
        self.table_address.set(Arc::as_ptr(request.table).addr());
        self.table.replace(Arc::downgrade(request.table));
    }

    /// Reads what is known only on arrival.
    fn read_request(&self, request: &RequestStart<'_>) -> DefaultInFlight<L> {
        let mut noted = self.note_request(request);
        if let Some(peaks) = &self.storage.peaks {
            self.count_running(peaks, request, &mut noted);
        }
        DefaultInFlight(noted)
    }

    #[inline(never)]
    fn count_running(&self, peaks: &Peaks, request: &RequestStart<'_>, noted: &mut Option<Box<Noted<L>>>) {
        if let Some(running) = self.worker().peaks.arrive(peaks, request) {
            noted.get_or_insert_with(|| self.take_spare()).running = Some(running);
        }
    }

    /// Notes the labels, exemplar and time in the queue of a request; `None` if there are none.
    #[inline]
    fn note_request(&self, request: &RequestStart<'_>) -> Option<Box<Noted<L>>> {
        let exemplars = self.storage.exemplars.as_ref();
        let exemplar = exemplars.and_then(|exemplars| exemplars.at_arrival(request));
        let headers = || request.request().headers();
        let times_queue = self.storage.times_queue;
        let in_queue = times_queue
            .then(|| queue_time(headers(), SystemTime::now()))
            .flatten();
        if is_none::<L>() && exemplar.is_none() && in_queue.is_none() {
            return None;
        }
        let labels = self.storage.label_sets.contain(|| L::at_arrival(request));
        let mut noted = self.take_spare();
        noted.labels = labels.map_or_else(DiscardOnDrop::none, DiscardOnDrop::new);
        noted.exemplar = exemplar;
        noted.times.in_queue = in_queue.map(nanos);
        Some(noted)
    }

    #[expect(
        clippy::unnecessary_box_returns,
        reason = "it is the memory that is handed out"
    )]
    fn take_spare(&self) -> Box<Noted<L>> {
        let spare = self.worker().spare.borrow_mut().pop();
        spare.unwrap_or_default()
    }

    /// Reads what is known only at the response head, and records a long-lived response.
    fn read_response(&self, noted: &mut Option<Box<Noted<L>>>, response: &ResponseStart<'_>) {
        let exemplars = self.storage.exemplars.as_ref();
        let exemplar = exemplars.and_then(|exemplars| exemplars.at_response(response));
        // A response without a body ends at once.
        if let Some(peaks) = self
            .storage
            .peaks
            .as_ref()
            .filter(|_| !response.body_size().is_eof())
        {
            let noted = noted.get_or_insert_with(|| self.take_spare());
            self.worker().peaks.respond(peaks, &mut noted.running, response);
        }
        if noted.is_none() && exemplar.is_none() && !response.is_long_lived() {
            return;
        }
        let noted = noted.get_or_insert_with(|| self.take_spare());
        if exemplar.is_some() && noted.exemplar.is_none() {
            noted.exemplar = exemplar;
        }
        if let Some(labels) = noted.labels.as_mut() {
            let read = self.storage.label_sets.contain(|| labels.at_response(response));
            if read.is_none() {
                // The labels may have been changed halfway.
                noted.labels = DiscardOnDrop::none();
            }
        }
        if response.is_long_lived() {
            let latency = response.time_to_head();
            let (method, route) = (response.method(), response.route_label());
            let labels = mem::take(&mut noted.labels);
            let block = self.record(labels, method, route, response.status(), latency);
            noted.recorded = Some(block);
            self.keep_exemplar(block, latency, &mut noted.exemplar);
            self.judge(block, &response.ended_at_head(latency));
        }
    }

    fn end(&self, mut noted: Box<Noted<L>>, end: &RequestEnd<'_>) {
        if let Some(running) = noted.running.take() {
            running.end(end.facts.arrived + end.latency());
        }
        let recorded = noted.recorded.take();
        let block = recorded.unwrap_or_else(|| {
            let labels = mem::take(&mut noted.labels);
            let (method, route) = (end.method(), end.route_label());
            self.record(labels, method, route, end.status(), end.latency())
        });
        self.keep_exemplar(block, end.latency(), &mut noted.exemplar);
        let times = mem::take(&mut noted.times);
        let mut spare = self.worker().spare.borrow_mut();
        if spare.len() < MOST_SPARE {
            spare.push(noted);
        }
        drop(spare);
        if self.has_further {
            self.observe_further(block, times, end, recorded.is_some());
        }
    }

    #[inline]
    fn keep_exemplar(&self, block: BlockIndex, latency: Duration, exemplar: &mut Option<ExemplarLabels>) {
        if let Some(labels) = exemplar.take() {
            self.worker().series.keep_exemplar(block, latency, labels);
        }
    }

    /// Observes the values besides the latency. A request that was recorded at its head has been judged there.
    fn observe_further(&self, block: BlockIndex, times: NotedTimes, end: &RequestEnd<'_>, is_judged: bool) {
        let ended = Ended { end, times };
        let values = self.storage.further.iter().map(|value| value(&ended));
        self.worker().series.observe(block, values);
        if !is_judged {
            self.judge(block, end);
        }
    }

    /// Observes whether a request missed the objective of its route, if that has one.
    #[inline]
    fn judge(&self, block: BlockIndex, end: &RequestEnd<'_>) {
        if let Some(objectives) = &self.storage.objectives
            && let Some(objective) = self.worker().objectives.find(objectives, end.route_label())
        {
            let is_missed = objectives.is_missed(objective, end);
            self.worker().series.observe_last(block, is_missed.into());
        }
    }
}

impl<L> Clone for DefaultMonitor<L> {
    fn clone(&self) -> Self {
        Self {
            storage: Arc::clone(&self.storage),
            worker: OnceCell::new(),
            table: RefCell::default(),
            table_address: Cell::default(),
            reads_requests: self.reads_requests,
            reads_responses: self.reads_responses,
            times_head: self.times_head,
            has_further: self.has_further,
        }
    }
}

impl<L> fmt::Debug for DefaultMonitor<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultMonitor").finish_non_exhaustive()
    }
}

impl<L: RequestLabels> RequestMonitor for DefaultMonitor<L> {
    type InFlight = DefaultInFlight<L>;

    fn register(registry: &mut Registry) -> Self {
        Self::new(&Config::default(), registry)
    }

    #[inline]
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> DefaultInFlight<L> {
        // Nearly always just a comparison: a worker has one table.
        if self.table_address.get() != Arc::as_ptr(request.table).addr() {
            self.begin_in_worker(request);
        }
        if self.reads_requests {
            self.read_request(request)
        } else {
            DefaultInFlight(None)
        }
    }

    #[inline]
    fn start_unseen(&self, table_address: usize) -> Option<DefaultInFlight<L>> {
        let knows_table = self.table_address.get() == table_address;
        (knows_table && !self.reads_requests).then_some(DefaultInFlight(None))
    }

    #[inline]
    fn looks_at_response(&self, body: BodySize) -> bool {
        // Some streams are long-lived.
        self.reads_responses || self.times_head || body == BodySize::Stream
    }

    #[inline]
    fn update_response_metrics(&self, in_flight: &mut DefaultInFlight<L>, response: &ResponseStart<'_>) {
        if self.times_head {
            response.time_to_head();
        }
        if self.reads_responses || response.is_long_lived() {
            self.read_response(&mut in_flight.0, response);
        }
    }

    #[inline]
    fn update_end_metrics(&self, in_flight: DefaultInFlight<L>, end: &RequestEnd<'_>) {
        if let Some(noted) = in_flight.0 {
            return self.end(noted, end);
        }
        let (method, route) = (end.method(), end.route_label());
        let block = self.record(DiscardOnDrop::none(), method, route, end.status(), end.latency());
        if self.has_further {
            self.observe_further(block, NotedTimes::default(), end, false);
        }
    }

    fn counts_request_body(&self) -> bool {
        self.storage.counts_request_body
    }

    fn times_polls(&self) -> bool {
        self.storage.times_polls
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use actix_web::http::StatusCode;
    use prometheus_client::{encoding::EncodeLabelSet, registry::Registry};

    use super::{
        DefaultCollector, DefaultMonitor, NoLabels,
        builder::DefaultMonitorBuilder,
        families::Label,
        labels::{CustomLabels, RequestLabels},
        table::DefaultFamily,
    };
    use crate::{
        exposition::{
            attached::{Takes, attached_by},
            encoded::Encoded,
            exemplar::ExemplarLabels,
            mark::new_part,
        },
        monitor::hooks::RequestStart,
        monitors::both_ways::check_both_ways,
    };

    /// Records requests of several methods, routes, statuses and latencies.
    fn record<L: RequestLabels>(monitor: &DefaultMonitor<L>, labels: &[CustomLabels]) {
        let worker = monitor.worker();
        for (row, (method, route, status, nanos)) in [
            ("GET", "/", 200, 1),
            ("GET", "/a\"b\\c\nd", 200, 5_000_000),
            ("GET", "/{id}", 404, 123_456_789),
            ("GET", "/{id}", 500, 11_000_000_000),
            ("_OTHER", "", 200, 100_000_000_000_000_000),
        ]
        .into_iter()
        .enumerate()
        {
            for (set, attributes) in labels.iter().enumerate() {
                let status = StatusCode::from_u16(status).unwrap();
                let key = (method, &Arc::from(route), status, attributes);
                let latency = Duration::from_nanos(nanos);
                let block = worker.series.record(row * labels.len() + set, key, latency);
                worker.series.observe(block, [Some(7), Some(1_000_000)]);
                let labels = vec![("trace_id".to_owned(), "a\"b".to_owned())];
                let labels = ExemplarLabels::Pairs(labels);
                worker.series.keep_exemplar(block, latency, labels);
            }
        }
    }

    #[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
    struct Tenant {
        tenant: &'static str,
    }

    impl RequestLabels for Tenant {
        fn at_arrival(_request: &RequestStart<'_>) -> Self {
            Self { tenant: "" }
        }
    }

    type Build = fn(Builder) -> Builder;
    type Place = fn(&mut Registry) -> &mut Registry;

    /// Checks that both ways give the same of a monitor that is registered in this place of this registry.
    fn check<L: RequestLabels>(
        builder: &DefaultMonitorBuilder<L>,
        labels: &[CustomLabels],
        registry: fn() -> Registry,
        place: Place,
    ) {
        let mut plain = registry();
        let monitor = builder.register(place(&mut plain));
        record(&monitor, labels);
        let mut part = new_part(&mut registry());
        let collector = DefaultCollector(Arc::clone(&monitor.storage));
        place(&mut part).register_collector(Box::new(collector));
        check_both_ways(&plain, &part);

        let encode = || Encoded::default().add(&part, &mut Vec::new());
        let ((), attached) = attached_by(Takes::Samples, encode);
        assert_eq!(attached.samples.len(), monitor.storage.families.len());
    }

    type Builder = DefaultMonitorBuilder<NoLabels>;

    /// Which families of a registry are written without being read again: families of the default monitor, registered
    /// as often as `times` says.
    fn are_direct(times: usize) -> Vec<bool> {
        let mut part = new_part(&mut Registry::default());
        for _ in 0..times {
            record(
                &DefaultMonitor::builder().register(&mut part),
                &[CustomLabels::NONE],
            );
        }
        let mut encoded = Encoded::default();
        let encode = || encoded.add(&part, &mut Vec::new());
        let ((), attached) = attached_by(Takes::Samples, encode);
        encoded.find_own(&attached.samples);
        let sections = encoded.sections().map(Result::unwrap);
        sections.map(|section| section.own.is_some()).collect()
    }

    #[test]
    fn families_that_are_alone_are_not_read_again() {
        assert_eq!(are_direct(1), [true; 3]);
        assert_eq!(are_direct(2), [false; 6]);
    }

    #[test]
    fn prometheus_client_and_the_direct_way_give_the_same_samples() {
        let none = [CustomLabels::NONE];
        let custom = [
            CustomLabels::of(&[("tenant", "a\"\\\nb"), ("tier", "")]),
            CustomLabels::of(&[("tenant", "é")]),
        ];
        let builders: &[(&str, Build)] = &[
            ("default", |builder| builder),
            ("buckets", |builder| {
                builder.latency_buckets([0.000_01, 0.5, 1e6, 1e16])
            }),
            ("labels", |builder| {
                let labels = [("class", Label::StatusClass), ("m", Label::Method)];
                builder.count_labels(labels).latency_labels(labels)
            }),
            ("no labels", |builder| {
                let builder = builder.count_labels([]);
                let builder = builder.latency_labels([]);
                builder.in_progress_labels([])
            }),
            ("by route", |builder| {
                builder
                    .latency_labels([("path", Label::Path)])
                    .oldest_in_progress()
            }),
            ("sizes", |builder| {
                let builder = builder.response_body_bytes([1.0, 1e3, 1e9]);
                builder.time_to_head([0.001, 0.1]).without_latency()
            }),
            ("exemplars", Builder::exemplars_from_traceparent),
            ("peaks", |builder| {
                let builder = builder.peak_in_progress();
                builder.family_labels(DefaultFamily::PeakInProgress, [("route", Label::Path)])
            }),
            ("objectives", |builder| {
                builder
                    .response_body_bytes([1e3])
                    .objective("/{id}", 0.9, Duration::from_secs(1))
                    .objective("/", 0.999, Duration::from_millis(300))
            }),
            ("objectives with labels", |builder| {
                let labels = [("route", Label::Path), ("class", Label::StatusClass)];
                builder
                    .objective("/{id}", 0.9, Duration::from_secs(1))
                    .rename(DefaultFamily::ObjectiveMet, "good")
                    .family_labels(DefaultFamily::ObjectiveMet, labels)
                    .family_labels(DefaultFamily::ObjectiveSeconds, [("route", Label::Path)])
            }),
            #[cfg(feature = "protobuf")]
            ("native", Builder::native_histograms),
            #[cfg(feature = "protobuf")]
            ("native alone", |builder| {
                builder.native_histograms().without_classic()
            }),
        ];
        let places: [(&str, Place); 4] = [
            ("registry", |registry| registry),
            ("prefix", |registry| registry.sub_registry_with_prefix("sub")),
            ("label", |registry| {
                registry.sub_registry_with_label(("zone".into(), "a\\b".into()))
            }),
            ("labels", |registry| {
                let registry = registry.sub_registry_with_prefix("sub");
                registry.sub_registry_with_labels(
                    [("zone".into(), "1".into()), ("rack".into(), "2".into())].into_iter(),
                )
            }),
        ];
        let registries: [fn() -> Registry; 2] = [Registry::default, || {
            Registry::with_prefix_and_labels("shop", [("shop".into(), "{,\"".into())].into_iter())
        }];
        for &(option, build) in builders {
            for (place, place_of) in places {
                for registry in registries {
                    println!("{option}, {place}");
                    let builder = build(DefaultMonitor::builder());
                    check(&builder, &none, registry, place_of);
                    check(&builder.labels::<Tenant>(), &custom, registry, place_of);
                }
            }
        }
    }
}
