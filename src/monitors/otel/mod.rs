//! The metrics of the OpenTelemetry semantic conventions.

mod attributes;

use std::{
    cell::{OnceCell, RefCell},
    collections::BTreeMap,
    fmt, ptr,
    rc::Rc,
    sync::{Arc, Weak},
    time::Duration,
};

use actix_web::http::{StatusCode, Version};
use prometheus_client::{
    collector::Collector,
    encoding::DescriptorEncoder,
    metrics::MetricType,
    registry::{Registry, Unit},
};

use crate::{
    exposition::{
        constant::{check_own_labels, name_prefix},
        samples::{Number, Output},
    },
    in_flight::{InFlight, InFlightTable},
    monitor::{
        RequestMonitor,
        hooks::{RequestEnd, RequestStart, ResponseStart},
    },
    monitors::{
        default::families::FamilyEncoder,
        otel::attributes::{ErrorType, OtelAttributes, Scheme},
    },
    panics::give_up,
    registry::names::{FamilyNames, MonitorNames, note},
    route::RouteLabel,
    series::{
        Series, Snapshot,
        grouping::GroupBy,
        measures::{Measures, Scale},
        worker::{BlockIndex, WorkerSeries},
    },
};

/// The labels of the families, that of buckets too.
const LABELS: [&str; 7] = [
    "error_type",
    "http_request_method",
    "http_response_status_code",
    "http_route",
    "le",
    "network_protocol_version",
    "url_scheme",
];

/// Upper bounds in seconds: those of the conventions.
const DURATION: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Upper bounds in bytes: the conventions name none, so these are those of the OpenTelemetry SDKs.
const SIZE: [f64; 15] = [
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1e3, 2.5e3, 5e3, 7.5e3, 1e4,
];

/// Records the metrics of the OpenTelemetry semantic conventions for HTTP servers, under the names that they have in
/// Prometheus.
///
/// | family | convention | type | attributes |
/// | --- | --- | --- | --- |
/// | `http_server_request_duration_seconds` | `http.server.request.duration` | histogram | all |
/// | `http_server_active_requests` | `http.server.active_requests` | gauge | `http_request_method`, `url_scheme` |
/// | `http_server_request_body_size_bytes` | `http.server.request.body.size` | histogram | all |
/// | `http_server_response_body_size_bytes` | `http.server.response.body.size` | histogram | all |
///
/// | attribute | convention | value |
/// | --- | --- | --- |
/// | `error_type` | `error.type` | the status if it is 500 or above; `panic` after a panic, `dropped` for a request that was dropped before a response, `body_failed` if the body of a response failed; otherwise absent |
/// | `http_request_method` | `http.request.method` | as [`RequestEnd::method`]: an unknown method is `_OTHER` |
/// | `http_response_status_code` | `http.response.status_code` | the status, if there was a response |
/// | `http_route` | `http.route` | as [`RequestEnd::route`], if it [has a route](RequestEnd::has_route) |
/// | `network_protocol_version` | `network.protocol.version` | `1.0`, `1.1` or `2` |
/// | `url_scheme` | `url.scheme` | `https` if this server terminates TLS itself, else `http` |
///
/// - No attribute comes from a header that the client sends: neither `server.address` and `server.port`, which are
///   opt-in, nor the scheme from `Forwarded`, which the conventions prefer behind a proxy.
/// - `network.protocol.name` is omitted: it would always be `http`, for which the conventions do not require it.
/// - The duration is [`RequestEnd::latency`]. That of a [long-lived](ResponseStart::is_long_lived) response ends with its
///   head; its sizes are observed when it ends.
/// - The size of a request body is the number of bytes that the application read, that of a response body the number
///   that was handed to the server, before any transfer coding. The first costs an allocation for each request that has
///   a body.
///
/// The duration has the buckets of the conventions: 0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10
/// seconds. The conventions define none for the sizes, which have those of the OpenTelemetry SDKs: 0 5 10 25 50 75 100
/// 250 500 750 1000 2500 5000 7500 10000 bytes. The names follow semantic conventions 1.23 and later, which mark the
/// duration as stable and the others as in development.
///
/// During a migration it runs beside the default monitor:
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, OtelMonitor};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), hr_prometheus::Error> {
/// let registry = MetricsRegistry::new();
/// let app = test::init_service(
///     App::new()
///         .app_data(registry.clone())
///         .route("/hello/{name}", web::get().to(async || "hello"))
///         .wrap(HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>()),
/// )
/// .await;
///
/// let hello = test::TestRequest::get().uri("/hello/alice").to_request();
/// test::call_and_read_body(&app, hello).await;
/// let scrape = registry.encode()?;
/// let counts: Vec<_> = scrape.lines().filter(|line| line.contains("_count{")).collect();
/// let labels = r#"http_request_method="GET",http_response_status_code="200",http_route="/hello/{name}",network_protocol_version="1.1",url_scheme="http""#;
/// assert_eq!(
///     counts,
///     [
///         r#"request_latency_count{method="GET",path="/hello/{name}"} 1"#,
///         &format!("http_server_request_duration_seconds_count{{{labels}}} 1"),
///         &format!("http_server_request_body_size_bytes_count{{{labels}}} 1"),
///         &format!("http_server_response_body_size_bytes_count{{{labels}}} 1"),
///     ],
/// );
/// # Ok(())
/// # }
/// ```
pub struct OtelMonitor {
    storage: Arc<OtelStorage>,
    /// Made when the first request ends. A clone gets its own, so that each has one writer.
    worker: OnceCell<WorkerSeries<OtelAttributes>>,
    /// The table of the worker whose requests are active. A clone is for another worker.
    table: RefCell<Weak<InFlightTable>>,
}

/// What the workers share, and what a scrape encodes.
#[derive(Debug)]
struct OtelStorage {
    series: Arc<Series<OtelAttributes>>,
    /// The requests of servers without TLS, and of those with it.
    active: [InFlight; 2],
    /// The route of series that show none: series are told apart by what they show.
    no_route: Arc<str>,
    duration: FamilyEncoder,
    active_requests: FamilyEncoder,
    /// One for each further measure.
    body_sizes: [FamilyEncoder; 2],
}

impl OtelStorage {
    /// What the families of the live page are called in a registry that puts `prefix` before their names.
    fn names(&self, prefix: &str) -> MonitorNames {
        let method = ("http_request_method".to_owned(), "method");
        let path = ("http_route".to_owned(), "path");
        let status = ("http_response_status_code".to_owned(), "status");
        MonitorNames {
            families: vec![
                FamilyNames {
                    role: "latency",
                    name: self.duration.name_behind(prefix),
                    labels: vec![method.clone(), path, status],
                },
                FamilyNames {
                    role: "in_progress",
                    name: self.active_requests.name_behind(prefix),
                    labels: vec![method],
                },
            ],
        }
    }
}

impl OtelMonitor {
    #[inline]
    fn record(
        &self,
        (method, route, status): (&'static str, &RouteLabel, StatusCode),
        attributes: OtelAttributes,
        duration: Duration,
    ) -> BlockIndex {
        let text = if attributes.has_route {
            &route.text
        } else {
            &self.storage.no_route
        };
        let key = (method, text, status, &attributes);
        self.worker().record(route.id, key, duration)
    }

    fn worker(&self) -> &WorkerSeries<OtelAttributes> {
        self.worker
            .get_or_init(|| WorkerSeries::new(&self.storage.series))
    }
}

impl Clone for OtelMonitor {
    fn clone(&self) -> Self {
        Self {
            storage: Arc::clone(&self.storage),
            worker: OnceCell::new(),
            table: RefCell::default(),
        }
    }
}

impl fmt::Debug for OtelMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMonitor").finish_non_exhaustive()
    }
}

/// What an [`OtelMonitor`] carries for a request from its start to its end.
///
/// A custom monitor that wraps it has it in its own [`InFlight`](RequestMonitor::InFlight).
#[derive(Clone, Copy, Debug)]
pub struct OtelInFlight {
    scheme: Scheme,
    protocol_version: Option<&'static str>,
    /// Where it was recorded at its head, because it is long-lived.
    recorded: Option<BlockIndex>,
}

impl RequestMonitor for OtelMonitor {
    type InFlight = OtelInFlight;

    fn register(registry: &mut Registry) -> Self {
        if let Err(reason) = check_own_labels(registry, LABELS) {
            give_up(format!("its registry {reason}"));
        }
        let family = |name: &'static str, help, unit| FamilyEncoder {
            unit,
            group_by: GroupBy::ALL,
            has_unknown_labels: false,
            ..FamilyEncoder::new(name.into(), help, Vec::new(), true)
        };
        let measures = Measures::latency(&DURATION)
            .and(&SIZE, Scale::Bytes)
            .and(&SIZE, Scale::Bytes);
        let storage = Arc::new(OtelStorage {
            series: Series::new(measures),
            active: Default::default(),
            no_route: "".into(),
            duration: family(
                "http_server_request_duration",
                "Duration of HTTP server requests.",
                Some(Unit::Seconds),
            ),
            active_requests: family(
                "http_server_active_requests",
                "Number of active HTTP server requests.",
                None,
            ),
            body_sizes: [
                family(
                    "http_server_request_body_size",
                    "Size of HTTP server request bodies.",
                    Some(Unit::Bytes),
                ),
                family(
                    "http_server_response_body_size",
                    "Size of HTTP server response bodies.",
                    Some(Unit::Bytes),
                ),
            ],
        });
        note(storage.names(&name_prefix(registry)));
        registry.register_collector(Box::new(OtelCollector(Arc::clone(&storage))));
        Self {
            storage,
            worker: OnceCell::new(),
            table: RefCell::default(),
        }
    }

    #[inline]
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> OtelInFlight {
        let scheme = if request.request().app_config().secure() {
            Scheme::Https
        } else {
            Scheme::Http
        };
        // In the long run a comparison: a worker has one table.
        if !ptr::eq(self.table.borrow().as_ptr(), Arc::as_ptr(request.table)) {
            self.storage.active[scheme as usize].add_table(request.table);
            self.table.replace(Arc::downgrade(request.table));
        }
        let protocol_version = match request.request().version() {
            Version::HTTP_11 => Some("1.1"),
            Version::HTTP_2 => Some("2"),
            Version::HTTP_10 => Some("1.0"),
            Version::HTTP_3 => Some("3"),
            Version::HTTP_09 => Some("0.9"),
            _ => None,
        };
        OtelInFlight {
            scheme,
            protocol_version,
            recorded: None,
        }
    }

    #[inline]
    fn update_response_metrics(&self, in_flight: &mut OtelInFlight, response: &ResponseStart<'_>) {
        if response.is_long_lived() {
            let status = response.status();
            let attributes = OtelAttributes {
                scheme: in_flight.scheme,
                protocol_version: in_flight.protocol_version,
                has_route: response.has_route(),
                answered: true,
                error: ErrorType::from_status(status),
            };
            let key = (response.method(), response.route_label(), status);
            in_flight.recorded = Some(self.record(key, attributes, response.elapsed()));
        }
    }

    #[inline]
    fn update_end_metrics(&self, in_flight: OtelInFlight, end: &RequestEnd<'_>) {
        let block = in_flight.recorded.unwrap_or_else(|| {
            let attributes = OtelAttributes {
                scheme: in_flight.scheme,
                protocol_version: in_flight.protocol_version,
                has_route: end.has_route(),
                answered: end.answered(),
                error: ErrorType::from_end(end),
            };
            let key = (end.method(), end.route_label(), end.status());
            self.record(key, attributes, end.latency())
        });
        let body_sizes = [end.request_body_bytes(), Some(end.response_body_bytes())];
        self.worker().observe(block, body_sizes);
    }

    fn counts_request_body(&self) -> bool {
        true
    }
}

/// Encodes all families from one snapshot, so that they agree.
#[derive(Debug)]
struct OtelCollector(Arc<OtelStorage>);

impl Collector for OtelCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let storage = &*self.0;
        let scrape = Rc::new(Scrape::begin(&self.0));
        let encoder = &mut encoder;
        let duration = Rc::clone(&scrape);
        storage
            .duration
            .encode(encoder, MetricType::Histogram, move |output| {
                let Scrape {
                    storage, snapshot, ..
                } = &*duration;
                let latency = &storage.series.measures().latency;
                storage
                    .duration
                    .write_distribution(output, &snapshot.all(), latency)
            })?;
        let active = Rc::clone(&scrape);
        storage
            .active_requests
            .encode(encoder, MetricType::Gauge, move |output| {
                active.write_active(output)
            })?;
        for (index, family) in storage.body_sizes.iter().enumerate() {
            let scrape = Rc::clone(&scrape);
            family.encode(encoder, MetricType::Histogram, move |output| {
                let Scrape {
                    storage, snapshot, ..
                } = &*scrape;
                let further = &storage.series.measures().further[index];
                storage.body_sizes[index].write_distribution(output, &snapshot.all(), further)
            })?;
        }
        Ok(())
    }
}

/// What one scrape shows.
struct Scrape {
    storage: Arc<OtelStorage>,
    snapshot: Snapshot<OtelAttributes>,
    active: BTreeMap<(&'static str, Scheme), i64>,
}

impl Scrape {
    fn begin(storage: &Arc<OtelStorage>) -> Self {
        let snapshot = storage.series.snapshot();
        let known = snapshot.all();
        let known = known.iter().map(|totals| totals.key);
        let mut active: BTreeMap<_, _> = known
            .map(|key| ((key.method, key.attributes.scheme), 0))
            .collect();
        for (scheme, requests) in Scheme::ALL.into_iter().zip(&storage.active) {
            requests.for_each_method(|method| *active.entry((method, scheme)).or_default() += 1);
        }
        Self {
            storage: Arc::clone(storage),
            snapshot,
            active,
        }
    }

    fn write_active(&self, output: &mut dyn Output) -> fmt::Result {
        self.active.iter().try_for_each(|(&(method, scheme), &requests)| {
            let labels = [("http_request_method", method), ("url_scheme", scheme.as_str())];
            output.gauge(&labels, Number::Whole(requests))
        })
    }
}
