//! The metrics of the OpenTelemetry semantic conventions.

mod active;
mod attributes;
pub(crate) mod builder;
mod config;
mod scheme;
mod storage;
mod synthetic;

use std::{cell::OnceCell, fmt, sync::Arc, time::Duration};

use actix_web::{body::BodySize, http::StatusCode};
use prometheus_client::registry::Registry;

use crate::{
    exposition::constant::{check_own_labels, name_prefix},
    monitor::{
        RequestMonitor,
        hooks::{RequestEnd, RequestStart, ResponseStart},
    },
    monitors::otel::{
        active::{Active, WorkerActive},
        attributes::{Arrival, ErrorType, LABELS, OtelAttributes},
        config::Config,
        scheme::Scheme,
        storage::{Content, OtelCollector, OtelStorage, Reads},
        synthetic::Synthetic,
    },
    panics::give_up,
    registry::names::note,
    route::{RouteLabel, arrived_path},
    series::worker::{BlockIndex, WorkerSeries},
};

/// Records the metrics of the OpenTelemetry semantic conventions for HTTP servers, under their Prometheus names.
///
/// Names and attributes follow version 1.44. By default only the duration is recorded, which the conventions require;
/// [`builder`](Self::builder) adds the others:
///
/// | family | convention | type | recorded | attributes |
/// | --- | --- | --- | --- | --- |
/// | `http_server_request_duration_seconds` | `http.server.request.duration` | histogram | by default | all |
/// | `http_server_active_requests` | `http.server.active_requests` | gauge | [`active_requests`](crate::OtelMonitorBuilder::active_requests) | `http_request_method`, `url_scheme` |
/// | `http_server_request_body_size_bytes` | `http.server.request.body.size` | histogram | [`request_body_size`](crate::OtelMonitorBuilder::request_body_size) | all |
/// | `http_server_response_body_size_bytes` | `http.server.response.body.size` | histogram | [`response_body_size`](crate::OtelMonitorBuilder::response_body_size) | all |
///
/// | attribute | convention | value |
/// | --- | --- | --- |
/// | `error_type` | `error.type` | the status if it is 500 or above; `panic` after a panic; `dropped` if the request was dropped before a response; `body_failed` if the body of the response failed; otherwise absent |
/// | `http_request_method` | `http.request.method` | [`RequestEnd::method`], where an unknown method is `_OTHER`; see [`known_methods`](crate::HrPrometheus::known_methods) |
/// | `http_response_status_code` | `http.response.status_code` | the status, if there was a response |
/// | `http_route` | `http.route` | [`RequestEnd::route`], if the request [has a route](RequestEnd::has_route); for unmatched requests with [`route_of_unmatched`](crate::OtelMonitorBuilder::route_of_unmatched) |
/// | `network_protocol_name` | `network.protocol.name` | `http`, with [`network_protocol_name`](crate::OtelMonitorBuilder::network_protocol_name); the conventions do not require it |
/// | `network_protocol_version` | `network.protocol.version` | `1.0`, `1.1` or `2` |
/// | `url_scheme` | `url.scheme` | `https` if this server terminates TLS itself, else `http`; that of a proxy with [`scheme_from`](crate::OtelMonitorBuilder::scheme_from) |
/// | `user_agent_synthetic_type` | `user_agent.synthetic.type` | `bot` or `test`, with [`user_agent_synthetic_type`](crate::OtelMonitorBuilder::user_agent_synthetic_type) |
///
/// - Every attribute has a bounded number of values. By default none comes from a header that the client sends;
///   `server.address` and `server.port`, which are opt-in in the conventions, are never recorded.
/// - The duration is [`RequestEnd::latency`]. For a [long-lived](ResponseStart::is_long_lived) response it ends with the
///   head; its sizes are recorded when it ends.
/// - The duration has the buckets of the conventions: 0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10
///   seconds.
///
/// The guide says [when to choose it](crate::guide::options#on-the-monitor-of-the-opentelemetry-conventions) instead of
/// the default monitor. During a migration, both can run side by side:
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, OtelMonitor};
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .route("/hello/{name}", web::get().to(async || "hello"))
///     .wrap(HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>());
/// let app = test::init_service(app).await;
///
/// test::call_and_read_body(&app, test::TestRequest::with_uri("/hello/alice").to_request()).await;
/// let scrape = registry.encode()?;
/// let counts: Vec<_> = scrape.lines().filter(|line| line.contains("_count{")).collect();
/// let labels = r#"http_request_method="GET",http_response_status_code="200",http_route="/hello/{name}",network_protocol_version="1.1",url_scheme="http""#;
/// assert_eq!(
///     counts,
///     [
///         r#"request_latency_count{method="GET",path="/hello/{name}"} 1"#,
///         &format!("http_server_request_duration_seconds_count{{{labels}}} 1"),
///     ],
/// );
/// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
/// ```
pub struct OtelMonitor {
    storage: Arc<OtelStorage>,
    /// Created when the first request ends. A clone creates another, so that each has one writer.
    worker: OnceCell<WorkerSeries<OtelAttributes>>,
    /// Created when the first request arrives, if active requests are recorded. A clone creates another.
    active: OnceCell<Arc<WorkerActive>>,
}

impl OtelMonitor {
    fn new(config: &Config, registry: &mut Registry) -> Self {
        if let Err(reason) = check_own_labels(registry, LABELS) {
            give_up(format!("its registry {reason}"));
        }
        let storage = OtelStorage::new(config);
        note(storage.names(&name_prefix(registry)));
        registry.register_collector(Box::new(OtelCollector(Arc::clone(&storage))));
        Self {
            storage,
            worker: OnceCell::new(),
            active: OnceCell::new(),
        }
    }

    /// Reads the optional parts of a request that has arrived.
    fn read(&self, request: &RequestStart<'_>, in_flight: &mut OtelInFlight) {
        let reads = &self.storage.reads;
        let headers = request.request().headers();
        if let Some(name) = &reads.scheme_header
            && let Some(scheme) = Scheme::from_header(name, headers)
        {
            in_flight.arrival.scheme = scheme;
        }
        if reads.synthetic {
            in_flight.arrival.synthetic = Synthetic::from_headers(headers);
        }
        let excluded = || {
            let path = arrived_path(request.request());
            request.routes.excludes_as_arrived(&path)
        };
        if reads.active && !excluded() {
            let worker = self.active.get_or_init(|| self.storage.active.add_worker());
            in_flight.active = Some(worker.begin(request.method(), in_flight.arrival.scheme));
        }
    }

    #[inline]
    fn record(
        &self,
        (method, route, status): (&'static str, &RouteLabel, StatusCode),
        (arrival, answered, error): (Arrival, bool, Option<ErrorType>),
        duration: Duration,
    ) -> BlockIndex {
        let storage = &*self.storage;
        let has_route = route.has_route || storage.routes_unmatched;
        let text = if has_route { &route.text } else { &storage.no_route };
        let attributes = OtelAttributes {
            arrival,
            has_route,
            answered,
            error,
            names_protocol: storage.names_protocol,
        };
        let key = (method, text, status, &attributes);
        self.worker().record(route.id, key, duration)
    }

    fn observe_sizes(&self, block: BlockIndex, end: &RequestEnd<'_>) {
        let values = self
            .storage
            .families
            .iter()
            .filter_map(|(content, _)| match content {
                Content::RequestBodySize => Some(end.request_body_bytes()),
                Content::ResponseBodySize => Some(Some(end.response_body_bytes())),
                Content::Duration | Content::ActiveRequests => None,
            });
        self.worker().observe(block, values);
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
            active: OnceCell::new(),
        }
    }
}

impl fmt::Debug for OtelMonitor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtelMonitor").finish_non_exhaustive()
    }
}

/// What an [`OtelMonitor`] remembers of a request until it ends.
///
/// A custom monitor that wraps it keeps this in its own [`InFlight`](RequestMonitor::InFlight).
#[derive(Debug)]
pub struct OtelInFlight {
    arrival: Arrival,
    /// The block into which it was recorded at its head, if it is long-lived.
    recorded: Option<BlockIndex>,
    /// Counts it as active, if active requests are recorded.
    active: Option<Active>,
}

impl RequestMonitor for OtelMonitor {
    type InFlight = OtelInFlight;

    fn register(registry: &mut Registry) -> Self {
        Self::new(&Config::default(), registry)
    }

    #[inline]
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> OtelInFlight {
        let mut in_flight = OtelInFlight {
            arrival: Arrival {
                scheme: Scheme::of_connection(request.request().app_config().secure()),
                version: request.request().version().into(),
                synthetic: None,
            },
            recorded: None,
            active: None,
        };
        if self.storage.reads != Reads::NOTHING {
            self.read(request, &mut in_flight);
        }
        in_flight
    }

    #[inline]
    fn looks_at_response(&self, body: BodySize) -> bool {
        // Some streams are long-lived.
        body == BodySize::Stream
    }

    #[inline]
    fn update_response_metrics(&self, in_flight: &mut OtelInFlight, response: &ResponseStart<'_>) {
        if response.is_long_lived() {
            let status = response.status();
            let key = (response.method(), response.route_label(), status);
            let attributes = (in_flight.arrival, true, ErrorType::from_status(status));
            in_flight.recorded = Some(self.record(key, attributes, response.elapsed()));
        }
    }

    #[inline]
    fn update_end_metrics(&self, in_flight: OtelInFlight, end: &RequestEnd<'_>) {
        let block = in_flight.recorded.unwrap_or_else(|| {
            let key = (end.method(), end.route_label(), end.status());
            let attributes = (in_flight.arrival, end.answered(), ErrorType::from_end(end));
            self.record(key, attributes, end.latency())
        });
        if self.storage.has_sizes {
            self.observe_sizes(block, end);
        }
    }

    fn counts_request_body(&self) -> bool {
        self.storage.has(Content::RequestBodySize)
    }
}
