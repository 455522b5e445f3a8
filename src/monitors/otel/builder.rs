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

/// Chooses what an [`OtelMonitor`] records beside what the conventions require.
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
/// An option that is given something wrong is an error of the middleware: see
/// [mistakes](crate::HrPrometheus#mistakes). Builders are equal if they choose the same: the middleware makes one
/// monitor for all equal builders in a registry.
#[derive(Clone, Debug, PartialEq)]
pub struct OtelMonitorBuilder {
    config: Config,
    mistakes: Mistakes,
}

impl OtelMonitor {
    /// Chooses what is recorded beside the duration of requests, and how.
    #[must_use]
    pub fn builder() -> OtelMonitorBuilder {
        OtelMonitorBuilder {
            config: Config::default(),
            mistakes: Mistakes::default(),
        }
    }
}

impl OtelMonitorBuilder {
    /// Registers the families and makes the monitor: for a custom monitor that wraps it, as
    /// [`DefaultMonitorBuilder::register`](crate::DefaultMonitorBuilder::register).
    ///
    /// # Panics
    ///
    /// If an option was given something wrong, or if the registry has a label that is one of this monitor. In
    /// [`RequestMonitor::register`](crate::RequestMonitor::register) the panic is caught, and the monitor is off.
    #[must_use = "a monitor records nothing until the middleware has it"]
    pub fn register(&self, registry: &mut Registry) -> OtelMonitor {
        if let Err(error) = self.mistakes.check() {
            give_up(error.to_string());
        }
        OtelMonitor::new(&self.config, registry)
    }

    /// Sets the upper bounds of the buckets of the duration in seconds; by default those of the conventions, 0.005 0.01
    /// 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10. The infinite one is added.
    ///
    /// See [`OtelMonitorBuilder`] for an example.
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn duration_buckets(mut self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        if let Some(bounds) = self.mistakes.note("duration_buckets", checked_bounds(bounds)) {
            self.config.duration_bounds = bounds;
        }
        self
    }

    /// Sets the upper bounds of the buckets of both sizes in bytes; by default those of the OpenTelemetry SDKs, since the
    /// conventions name none: 0 5 10 25 50 75 100 250 500 750 1000 2500 5000 7500 10000. The infinite one is added.
    ///
    /// ```
    /// use hr_prometheus::{HrPrometheus, OtelMonitor};
    ///
    /// let monitor = OtelMonitor::builder().response_body_size().body_size_buckets([1e3, 1e6]);
    /// # assert!(HrPrometheus::with_builder(monitor).build().is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn body_size_buckets(mut self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        if let Some(bounds) = self.mistakes.note("body_size_buckets", checked_bounds(bounds)) {
            self.config.size_bounds = bounds;
        }
        self
    }

    /// Shows the requests in progress as `http_server_active_requests`, by method and scheme; 0 for those that are known
    /// and have none.
    ///
    /// A request to a route that the middleware [excludes](crate::HrPrometheus::exclude_routes) is not counted: this
    /// then costs each request a walk over the route table. See [`OtelMonitorBuilder`] for an example.
    #[must_use]
    pub fn active_requests(mut self) -> Self {
        self.config.active_requests = true;
        self
    }

    /// Records the sizes of request bodies in `http_server_request_body_size_bytes`.
    ///
    /// Counts the bytes that the application read: 0 for a request without a body, and for a body that was not read. It
    /// costs an allocation for each request that has a body.
    ///
    /// ```
    /// # use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};
    /// let registry = MetricsRegistry::new();
    /// let monitor = OtelMonitor::builder().request_body_size();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE http_server_request_body_size_bytes histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn request_body_size(mut self) -> Self {
        self.config.request_body_size = true;
        self
    }

    /// Records the sizes of response bodies in `http_server_response_body_size_bytes`.
    ///
    /// Counts the bytes that were handed to the server, streams included, before any transfer coding.
    ///
    /// ```
    /// # use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};
    /// let registry = MetricsRegistry::new();
    /// let monitor = OtelMonitor::builder().response_body_size();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE http_server_response_body_size_bytes histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn response_body_size(mut self) -> Self {
        self.config.response_body_size = true;
        self
    }

    /// Gives requests that no route served an `http_route` too: the label that the middleware has for them, `unmatched`
    /// or [what you say](crate::HrPrometheus::unmatched). By default it is absent, as the conventions want it.
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let monitor = OtelMonitor::builder().route_of_unmatched();
    /// let metrics = HrPrometheus::with_builder(monitor).unmatched("UNKNOWN").register_in(&registry)?;
    /// let app = test::init_service(App::new().wrap(metrics)).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/nowhere").to_request()).await;
    /// let count = "http_server_request_duration_seconds_count";
    /// assert_eq!(registry.value(count, &[("http_route", "UNKNOWN")]), Some(1.0));
    /// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn route_of_unmatched(mut self) -> Self {
        self.config.routes_unmatched = true;
        self
    }

    /// Adds the attribute `network_protocol_name`, which is always `http`: the conventions require it for other protocols
    /// only.
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let monitor = OtelMonitor::builder().network_protocol_name();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// let app = test::init_service(App::new().wrap(metrics)).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
    /// let count = "http_server_request_duration_seconds_count";
    /// assert_eq!(registry.value(count, &[("network_protocol_name", "http")]), Some(1.0));
    /// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
    /// ```
    #[must_use]
    pub fn network_protocol_name(mut self) -> Self {
        self.config.names_protocol = true;
        self
    }

    /// Names the families without their units: `http_server_request_duration`, as actix-web-metrics does.
    ///
    /// By default the names have a unit, as the OpenTelemetry specification asks of exporters to Prometheus.
    ///
    /// ```
    /// # use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};
    /// let registry = MetricsRegistry::new();
    /// let monitor = OtelMonitor::builder().without_units();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE http_server_request_duration histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn without_units(mut self) -> Self {
        self.config.has_units = false;
        self
    }

    /// Takes `url_scheme` from the header `name`, which a trusted proxy sets: `Forwarded` (RFC 7239), of which `proto`
    /// is read, or one whose value is the scheme, such as `X-Forwarded-Proto`.
    ///
    /// Of several proxies the first counts, the one that the client talked to. Where the header says neither `http`
    /// nor `https`, the scheme is that of the connection. Name the header that your proxy sets itself: any other is
    /// up to the client. See [`OtelMonitorBuilder`] for an example.
    ///
    /// # Errors
    ///
    /// If no header can be called `name`.
    #[must_use]
    pub fn scheme_from(mut self, name: impl AsRef<str>) -> Self {
        let name = name.as_ref();
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
            Error::new(format!(
                "{name:?} is not the name of a header; give one such as \"X-Forwarded-Proto\""
            ))
        });
        if let Some(header) = self.mistakes.note("scheme_from", header) {
            self.config.scheme_header = Some(header);
        }
        self
    }

    /// Adds the attribute `user_agent_synthetic_type` to requests of bots and of tests, as far as they say so in their
    /// `User-Agent`.
    ///
    /// | value | if the header contains, in any case |
    /// | --- | --- |
    /// | `test` | `alwayson`, `synthetics`, `healthcheck`, `kube-probe`, `pingdom`, `uptimerobot` |
    /// | `bot` | else `bot`, `crawler`, `spider` |
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let monitor = OtelMonitor::builder().user_agent_synthetic_type();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// let app = test::init_service(App::new().wrap(metrics)).await;
    ///
    /// let request = test::TestRequest::get().insert_header(("User-Agent", "Googlebot/2.1"));
    /// test::call_and_read_body(&app, request.to_request()).await;
    /// let count = "http_server_request_duration_seconds_count";
    /// assert_eq!(registry.value(count, &[("user_agent_synthetic_type", "bot")]), Some(1.0));
    /// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
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
