//! The options of the monitor of the OpenTelemetry conventions.

use std::borrow::Borrow;

use actix_web::http::header::HeaderName;
use prometheus_client::registry::Registry;

use crate::{
    error::{Error, Mistakes},
    monitor::{
        builder::{MonitorBuilder, sealed::Sealed},
        set::{Monitors, obtain},
    },
    monitors::{
        default::checks::checked_bounds,
        otel::{OtelMonitor, config::Config},
    },
    panics::give_up,
    registry::MetricsRegistry,
};

/// Chooses what an [`OtelMonitor`] records in addition to the metric that the conventions require.
///
/// Create it with [`OtelMonitor::builder`] and pass it to
/// [`HrPrometheus::with_builder`](crate::HrPrometheus::with_builder):
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};
///
/// # actix_web::rt::System::new().block_on(async {
/// let monitor = OtelMonitor::builder()
///     .duration_buckets([0.1, 1.0])
///     .active_requests()
///     .scheme_from("X-Forwarded-Proto");
/// let registry = MetricsRegistry::new();
/// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
/// let app = App::new().route("/", web::get().to(async || "hello")).wrap(metrics);
/// let app = test::init_service(app).await;
///
/// let request = test::TestRequest::get().insert_header(("X-Forwarded-Proto", "https"));
/// test::call_and_read_body(&app, request.to_request()).await;
/// let labels = r#"http_request_method="GET",http_response_status_code="200",http_route="/",network_protocol_version="1.1",url_scheme="https""#;
/// let scrape = registry.encode()?;
/// let lines: Vec<_> = scrape.lines().filter(|line| !line.contains("_sum")).collect();
/// assert_eq!(
///     lines,
///     [
///         "# HELP http_server_request_duration_seconds Duration of HTTP server requests.",
///         "# TYPE http_server_request_duration_seconds histogram",
///         "# UNIT http_server_request_duration_seconds seconds",
///         &format!("http_server_request_duration_seconds_count{{{labels}}} 1"),
///         &format!(r#"http_server_request_duration_seconds_bucket{{le="0.1",{labels}}} 1"#),
///         &format!(r#"http_server_request_duration_seconds_bucket{{le="1.0",{labels}}} 1"#),
///         &format!(r#"http_server_request_duration_seconds_bucket{{le="+Inf",{labels}}} 1"#),
///         "# HELP http_server_active_requests Number of active HTTP server requests.",
///         "# TYPE http_server_active_requests gauge",
///         r#"http_server_active_requests{http_request_method="GET",url_scheme="https"} 0"#,
///         "# EOF",
///     ],
/// );
/// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
/// ```
///
/// Builders are equal if their options are, and equal builders [share a
/// monitor](crate::HrPrometheus#which-uses-share-a-monitor).
///
/// # Mistakes
///
/// Options return the builder, not a `Result`. The builder keeps the first mistake: a wrong value, as described in the
/// section "Mistakes" of the option. The middleware that is made from it reports the mistake: as the error of
/// [`HrPrometheus::build`](crate::HrPrometheus::build) or
/// [`HrPrometheus::register_in`](crate::HrPrometheus::register_in), else in the log when the application [does not
/// start](crate::HrPrometheus#mistakes). [`register`](Self::register) panics instead.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelMonitorBuilder {
    config: Config,
    mistakes: Mistakes,
}

impl OtelMonitor {
    /// Returns a builder for everything that can be configured.
    #[must_use]
    pub fn builder() -> OtelMonitorBuilder {
        OtelMonitorBuilder {
            config: Config::default(),
            mistakes: Mistakes::default(),
        }
    }
}

impl OtelMonitorBuilder {
    /// Registers the families and returns the monitor: for a custom monitor that wraps it, as with
    /// [`DefaultMonitorBuilder::register`](crate::DefaultMonitorBuilder::register).
    ///
    /// # Panics
    ///
    /// If an option was given a wrong value, or if the registry has a label that this monitor uses. In
    /// [`RequestMonitor::register`](crate::RequestMonitor::register) the panic is caught, and the monitor is off.
    #[must_use = "a monitor records nothing until the middleware has it"]
    pub fn register(&self, registry: &mut Registry) -> OtelMonitor {
        if let Err(error) = self.mistakes.check() {
            give_up(error.to_string());
        }
        OtelMonitor::new(&self.config, registry)
    }

    /// Sets the upper bounds of the duration buckets in seconds.
    ///
    /// The default is that of the conventions: 0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10. The
    /// infinite bound is added. See [`OtelMonitorBuilder`] for an example.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn duration_buckets(mut self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        if let Some(bounds) = self.mistakes.note("duration_buckets", checked_bounds(bounds)) {
            self.config.duration_bounds = bounds;
        }
        self
    }

    /// Sets the upper bounds of the buckets of both body sizes in bytes.
    ///
    /// The default is that of the OpenTelemetry SDKs, since the conventions have none: 0 5 10 25 50 75 100 250 500 750
    /// 1000 2500 5000 7500 10000. The infinite bound is added.
    ///
    /// ```
    /// use hr_prometheus::OtelMonitor;
    ///
    /// let monitor = OtelMonitor::builder().response_body_size().body_size_buckets([1e3, 1e6]);
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn body_size_buckets(mut self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        if let Some(bounds) = self.mistakes.note("body_size_buckets", checked_bounds(bounds)) {
            self.config.size_bounds = bounds;
        }
        self
    }

    /// Exposes the requests in progress as `http_server_active_requests`, by method and scheme.
    ///
    /// A pair of method and scheme that has been seen shows 0 while it has no requests. Requests to [excluded
    /// routes](crate::HrPrometheus::exclude_routes) are not counted; if there are any, every request costs a walk over
    /// the route table. See [`OtelMonitorBuilder`] for an example.
    #[must_use]
    pub fn active_requests(mut self) -> Self {
        self.config.active_requests = true;
        self
    }

    /// Records the sizes of request bodies in `http_server_request_body_size_bytes`.
    ///
    /// Counts the bytes that the application has read: 0 for a request without a body, and for a body that was not
    /// read. Costs an allocation for each request with a body.
    ///
    /// ```
    /// use hr_prometheus::OtelMonitor;
    ///
    /// let monitor = OtelMonitor::builder().request_body_size();
    /// ```
    #[must_use]
    pub fn request_body_size(mut self) -> Self {
        self.config.request_body_size = true;
        self
    }

    /// Records the sizes of response bodies in `http_server_response_body_size_bytes`.
    ///
    /// Counts the bytes that were passed to the server, including those of streams, before any transfer coding.
    ///
    /// ```
    /// use hr_prometheus::OtelMonitor;
    ///
    /// let monitor = OtelMonitor::builder().response_body_size();
    /// ```
    #[must_use]
    pub fn response_body_size(mut self) -> Self {
        self.config.response_body_size = true;
        self
    }

    /// Gives unmatched requests an `http_route`: `unmatched`, or the text of [`unmatched`](crate::HrPrometheus::unmatched).
    ///
    /// By default it is absent, as the conventions demand.
    ///
    /// ```
    /// use hr_prometheus::{HrPrometheus, OtelMonitor};
    ///
    /// let monitor = OtelMonitor::builder().route_of_unmatched();
    /// let metrics = HrPrometheus::with_builder(monitor).unmatched("none"); // http_route="none"
    /// ```
    #[must_use]
    pub fn route_of_unmatched(mut self) -> Self {
        self.config.routes_unmatched = true;
        self
    }

    /// Adds the attribute `network_protocol_name`, which is always `http`; the conventions require it only for other
    /// protocols.
    ///
    /// ```
    /// use hr_prometheus::OtelMonitor;
    ///
    /// let monitor = OtelMonitor::builder().network_protocol_name(); // network_protocol_name="http"
    /// ```
    #[must_use]
    pub fn network_protocol_name(mut self) -> Self {
        self.config.names_protocol = true;
        self
    }

    /// Names the families without their units: `http_server_request_duration`, as actix-web-metrics does.
    ///
    /// By default names have a unit, as the OpenTelemetry specification demands of exporters to Prometheus.
    ///
    /// ```
    /// use hr_prometheus::OtelMonitor;
    ///
    /// let monitor = OtelMonitor::builder().without_units(); // http_server_request_duration
    /// ```
    #[must_use]
    pub fn without_units(mut self) -> Self {
        self.config.has_units = false;
        self
    }

    /// Takes `url_scheme` from the header `name`, which a trusted proxy sets.
    ///
    /// The header is `Forwarded` (RFC 7239), whose `proto` is read, or one whose value is the scheme, such as
    /// `X-Forwarded-Proto`. Behind several proxies the first one counts, which is the one that the client connected to.
    /// If the header says neither `http` nor `https`, the scheme is that of the connection. Name only a header that
    /// your proxy always sets: any other is up to the client. See [`OtelMonitorBuilder`] for an example.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `name` is not a valid header name.
    #[must_use]
    pub fn scheme_from(mut self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            Error::new(format!(
                "{name:?} is not a valid header name; give one such as \"X-Forwarded-Proto\""
            ))
        });
        if let Some(header) = self.mistakes.note("scheme_from", header) {
            self.config.scheme_header = Some(header);
        }
        self
    }

    /// Adds the attribute `user_agent_synthetic_type` to requests of bots and tests, as far as their `User-Agent` says so.
    ///
    /// | value | if the header contains, in upper or lower case |
    /// | --- | --- |
    /// | `test` | `alwayson`, `synthetics`, `healthcheck`, `kube-probe`, `pingdom`, `uptimerobot` |
    /// | `bot` | none of these, but `bot`, `crawler` or `spider` |
    ///
    /// ```
    /// use hr_prometheus::OtelMonitor;
    ///
    /// // A request with `User-Agent: Googlebot/2.1` has user_agent_synthetic_type="bot".
    /// let monitor = OtelMonitor::builder().user_agent_synthetic_type();
    /// ```
    #[must_use]
    pub fn user_agent_synthetic_type(mut self) -> Self {
        self.config.shows_synthetic = true;
        self
    }
}

impl Sealed for OtelMonitorBuilder {}

impl MonitorBuilder for OtelMonitorBuilder {
    type Monitor = OtelMonitor;

    fn obtain(
        &self,
        registry: &MetricsRegistry,
        name: &str,
        errors: &mut Vec<Error>,
    ) -> <Self::Monitor as Monitors>::Set {
        if self.config == Config::default() {
            return OtelMonitor::obtain(registry, name, errors);
        }
        let register = |registry: &mut Registry| self.register(registry).contained();
        let source = (self.clone(), name.to_owned());
        obtain::<Self::Monitor, _>(registry, source, register, errors)
    }

    fn check(&self) -> Result<(), Error> {
        self.mistakes.check()
    }
}
