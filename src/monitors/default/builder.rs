//! The options of the default monitor.

mod objectives;

use std::{any::type_name, borrow::Borrow, fmt, marker::PhantomData};

use actix_web::http::{Method, StatusCode};
use prometheus_client::registry::Registry;

use crate::{
    error::{Error, Mistakes},
    method::label_of,
    monitor::{
        builder::{MonitorBuilder, sealed::Sealed},
        hooks::ResponseStart,
        set::{Monitors, obtain},
    },
    monitors::default::{
        DefaultMonitor,
        checks::{checked_bounds, checked_help, checked_labels, checked_name, checked_prefix},
        config::Config,
        exemplars::ExemplarSource,
        families::Label,
        labels::{CustomLabels, NoLabels, RequestLabels},
        table::DefaultFamily,
    },
    panics::give_up,
    registry::MetricsRegistry,
    series::SeriesKey,
};

/// Chooses what a [`DefaultMonitor`] records: families, names, labels and buckets.
///
/// Create it with [`DefaultMonitor::builder`] and pass it to
/// [`HrPrometheus::with_builder`](crate::HrPrometheus::with_builder):
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{DefaultMonitor, HrPrometheus, Label, MetricsRegistry};
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), hr_prometheus::Error> {
/// let monitor = DefaultMonitor::builder()
///     .latency_buckets([0.1, 1.0])
///     .latency_labels([("path", Label::Path), ("status", Label::StatusClass)]);
/// let metrics = HrPrometheus::with_builder(monitor);
///
/// let registry = MetricsRegistry::new();
/// let app = test::init_service(
///     App::new()
///         .app_data(registry.clone())
///         .route("/", web::get().to(async || "hello"))
///         .wrap(metrics.clone()),
/// )
/// .await;
/// test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
///
/// let scrape = registry.encode()?;
/// let buckets: Vec<_> = scrape.lines().filter(|line| line.contains("le=")).collect();
/// assert_eq!(
///     buckets,
///     [
///         r#"request_latency_bucket{le="0.1",path="/",status="2xx"} 1"#,
///         r#"request_latency_bucket{le="1.0",path="/",status="2xx"} 1"#,
///         r#"request_latency_bucket{le="+Inf",path="/",status="2xx"} 1"#,
///     ],
/// );
/// # Ok(())
/// # }
/// ```
///
/// # Families
///
/// | family | type | on | labels | meaning |
/// | --- | --- | --- | --- | --- |
/// | `request_count` | counter | yes | [`count_labels`](Self::count_labels) | see [`DefaultMonitor`] |
/// | `request_latency` | histogram, seconds | yes | [`latency_labels`](Self::latency_labels) | see [`DefaultMonitor`] |
/// | `requests_in_progress` | gauge | yes | [`in_progress_labels`](Self::in_progress_labels) | see [`DefaultMonitor`] |
/// | `request_body_bytes` | histogram, bytes | [`request_body_bytes`](Self::request_body_bytes) | those of the latency | bytes of the request body that were read |
/// | `response_body_bytes` | histogram, bytes | [`response_body_bytes`](Self::response_body_bytes) | those of the latency | bytes of the response body that were handed to the server |
/// | `request_time_to_head_seconds` | histogram, seconds | [`time_to_head`](Self::time_to_head) | those of the latency | from arrival to the response head |
/// | `request_queue_time_seconds` | histogram, seconds | [`queue_time`](Self::queue_time) | those of the latency | how long requests waited in front of the server |
/// | `request_time_on_worker_seconds` | histogram, seconds | [`time_on_worker`](Self::time_on_worker) | those of the latency | how long requests occupied their worker |
/// | `request_longest_poll_seconds` | histogram, seconds | [`longest_poll`](Self::longest_poll) | those of the latency | the longest time for which they did so without a pause |
/// | `oldest_request_in_progress_seconds` | gauge, seconds | [`oldest_in_progress`](Self::oldest_in_progress) | those in progress | how long the oldest request in progress has run |
/// | `requests_in_progress_peak` | gauge | [`peak_in_progress`](Self::peak_in_progress) | those in progress | the most requests in progress at a time in the last minute |
/// | `request_objective_met`, `request_objective_missed` | counter | [`objective`](Self::objective) | `path` | requests that met and missed the objective of their route |
/// | `request_objective_ratio`, `request_objective_seconds` | gauge | [`objective`](Self::objective) | `path` | the objectives themselves |
///
/// Each family can have another [name](Self::rename), other [labels](Self::family_labels) and another
/// [help text](Self::help), and all of them can have a [prefix](Self::prefix). Whatever is chosen, in every scrape the sum
/// over the counter is the sum over the `_count` of the latency.
///
/// # Mistakes
///
/// An option that is given something wrong, as its section "Errors" says, keeps the error for the middleware, which
/// reports it: see [mistakes](crate::HrPrometheus#mistakes).
///
/// # Equality
///
/// Builders are equal if they choose the same: the middleware makes one monitor for all equal builders in a registry.
/// Two [`exemplars_from`](Self::exemplars_from) or [`objective_failures`](Self::objective_failures) are the same if they were
/// given the same closure expression or function, whatever the closure captures.
pub struct DefaultMonitorBuilder<L = NoLabels> {
    config: Config,
    mistakes: Mistakes,
    labels: PhantomData<fn() -> L>,
}

impl DefaultMonitor {
    /// Chooses what is recorded, and under which names.
    #[must_use]
    pub fn builder() -> DefaultMonitorBuilder {
        DefaultMonitorBuilder {
            config: Config::default(),
            mistakes: Mistakes::default(),
            labels: PhantomData,
        }
    }
}

impl<L: RequestLabels> DefaultMonitorBuilder<L> {
    /// Registers the families and makes the monitor: for a custom monitor that wraps it.
    /// [`HrPrometheus::with_builder`](crate::HrPrometheus::with_builder) calls it otherwise.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     DefaultInFlight, DefaultMonitor, HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor,
    ///     RequestStart, prometheus_client::registry::Registry,
    /// };
    ///
    /// /// Counts only requests that took a second or more.
    /// #[derive(Clone)]
    /// struct Slow(DefaultMonitor);
    ///
    /// impl RequestMonitor for Slow {
    ///     type InFlight = DefaultInFlight;
    ///
    ///     fn register(registry: &mut Registry) -> Self {
    ///         Self(DefaultMonitor::builder().without_in_progress().register(registry))
    ///     }
    ///
    ///     fn update_init_metrics(&self, request: &RequestStart<'_>) -> DefaultInFlight {
    ///         self.0.update_init_metrics(request)
    ///     }
    ///
    ///     fn update_end_metrics(&self, in_flight: DefaultInFlight, end: &RequestEnd<'_>) {
    ///         if end.latency().as_secs() >= 1 {
    ///             self.0.update_end_metrics(in_flight, end);
    ///         }
    ///     }
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// # let registry = MetricsRegistry::new();
    /// # let app = test::init_service(
    /// #     App::new()
    /// #         .app_data(registry.clone())
    /// #         .route("/", web::get().to(async || "hello"))
    /// #         .wrap(HrPrometheus::with_monitor::<Slow>()),
    /// # )
    /// # .await;
    /// # test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
    /// // … after one fast request:
    /// assert_eq!(registry.value("request_count_total", &[]), None);
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// If an option was given something wrong, or if the registry has a label that is one of this monitor. In
    /// [`RequestMonitor::register`](crate::RequestMonitor::register) the panic is caught, and the monitor is off.
    #[must_use = "a monitor records nothing until the middleware has it"]
    pub fn register(&self, registry: &mut Registry) -> DefaultMonitor<L> {
        if let Err(error) = self.mistakes.check() {
            give_up(error.to_string());
        }
        DefaultMonitor::new(&self.config, registry)
    }

    /// Records what the crate actix-web-prom 0.10 does by default, so that its dashboards and alerts go on working:
    /// its names, labels, buckets and help texts, and no gauge.
    ///
    /// `namespace` is that of its `PrometheusMetricsBuilder::new`; `""` for none.
    ///
    /// | family | type | labels | buckets |
    /// | --- | --- | --- | --- |
    /// | `http_requests_total` | counter | `endpoint`, `method`, `status` | |
    /// | `http_requests_duration_seconds` | histogram | `endpoint`, `method`, `status` | 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 |
    ///
    /// Options that follow change it. What differs:
    ///
    /// - More is counted: requests that end in the `Err` of a middleware, in a panic or with a client that left.
    /// - If no route served the request, also because no route has its method, `endpoint` is `unmatched` and never what
    ///   the client sent; [`unmatched`](crate::HrPrometheus::unmatched) changes the text. A `web::resource` that refuses
    ///   a method with 405 keeps its label.
    /// - Invented methods are `_OTHER`.
    /// - A label does not have the regular expressions of parameters: `/orders/{id}`, not `/orders/{id:\d+}`.
    /// - A bound is written `le="1.0"`, as OpenMetrics demands, no longer `le="1"`.
    ///
    /// ```
    /// use actix_web::http::{Method, StatusCode};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .actix_web_prom("api")
    ///     .start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// let scrape = registry.encode()?;
    /// let labels = r#"{endpoint="/",method="GET",status="200"}"#;
    /// assert!(scrape.contains(&format!("api_http_requests_total{labels} 0")));
    /// assert!(scrape.contains(&format!("api_http_requests_duration_seconds_count{labels} 0")));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the name of a metric cannot begin with `namespace`, or if `namespace` ends in `_`, which is added.
    #[must_use]
    pub fn actix_web_prom(mut self, namespace: impl AsRef<str>) -> Self {
        let namespace = match namespace.as_ref() {
            "" => Ok(None),
            namespace => checked_prefix(namespace).map(Some),
        };
        if let Some(prefix) = self.mistakes.note("actix_web_prom", namespace) {
            self.config.prefix = prefix;
        }
        let labels = [
            ("endpoint", Label::Path),
            ("method", Label::Method),
            ("status", Label::Status),
        ];
        self.count_name("http_requests")
            .help(DefaultFamily::Count, "Total number of HTTP requests")
            .count_labels(labels)
            .latency_name("http_requests_duration_seconds")
            .help(
                DefaultFamily::Latency,
                "HTTP request duration in seconds for all requests",
            )
            .latency_labels(labels)
            .latency_buckets([0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0])
            .without_in_progress()
    }

    /// Begins the names of all families with `prefix` and `_`.
    ///
    /// Two monitors in one registry need different names. Here two scopes have their own buckets:
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let fast = DefaultMonitor::builder().prefix("api").latency_buckets([0.01, 0.1]);
    /// let slow = DefaultMonitor::builder().prefix("reports").latency_buckets([10.0, 100.0]);
    /// let (fast, slow) = (HrPrometheus::with_builder(fast), HrPrometheus::with_builder(slow));
    ///
    /// let registry = MetricsRegistry::new();
    /// let hello = async || "hello";
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .service(web::scope("/api").route("/a", web::get().to(hello)).wrap(fast))
    ///         .service(web::scope("/reports").route("/b", web::get().to(hello)).wrap(slow)),
    /// )
    /// .await;
    /// for path in ["/api/a", "/reports/b"] {
    ///     test::call_and_read_body(&app, test::TestRequest::with_uri(path).to_request()).await;
    /// }
    ///
    /// assert_eq!(registry.value("api_request_latency_bucket", &[("le", "0.1")]), Some(1.0));
    /// assert_eq!(registry.value("reports_request_latency_bucket", &[("le", "100.0")]), Some(1.0));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the name of a metric cannot begin with `prefix`, or if `prefix` ends in `_`, which is added.
    #[must_use]
    pub fn prefix(mut self, prefix: impl AsRef<str>) -> Self {
        if let Some(prefix) = self.mistakes.note("prefix", checked_prefix(prefix.as_ref())) {
            self.config.prefix = Some(prefix);
        }
        self
    }

    /// Calls a family `name`.
    ///
    /// [`count_name`](Self::count_name), [`latency_name`](Self::latency_name) and
    /// [`in_progress_name`](Self::in_progress_name) are short for it.
    ///
    /// ```
    /// use hr_prometheus::{DefaultFamily, DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .response_body_bytes([100.0, 10_000.0])
    ///     .rename(DefaultFamily::ResponseBodyBytes, "http_response_size_bytes");
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE http_response_size_bytes histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `name` is not a valid metric name, or clashes with another family of this monitor, even a disabled one. And
    /// if the counter would be called `…_total`, which the encoder adds.
    #[must_use]
    pub fn rename(self, family: DefaultFamily, name: impl AsRef<str>) -> Self {
        self.renamed("rename", family, name.as_ref())
    }

    /// Sets the help text of a family.
    ///
    /// ```
    /// use hr_prometheus::{DefaultFamily, DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().help(DefaultFamily::Count, "Requests to the shop");
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# HELP request_count Requests to the shop"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `text` is empty or has control characters, such as line breaks.
    #[must_use]
    pub fn help(mut self, family: DefaultFamily, text: impl AsRef<str>) -> Self {
        if let Some(text) = self.mistakes.note("help", checked_help(text.as_ref())) {
            self.config.chosen_mut(family).help = text;
        }
        self
    }

    /// Chooses the labels of a family and their names: for histograms whose labels differ.
    ///
    /// [`count_labels`](Self::count_labels), [`latency_labels`](Self::latency_labels) and
    /// [`in_progress_labels`](Self::in_progress_labels) are short for it. A further histogram has the labels of the
    /// latency until it is told its own, and the oldest request those in progress.
    ///
    /// ```
    /// use actix_web::http::{Method, StatusCode};
    /// use hr_prometheus::{DefaultFamily, DefaultMonitor, HrPrometheus, Label, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .response_body_bytes([100.0, 10_000.0])
    ///     .family_labels(DefaultFamily::ResponseBodyBytes, [("status", Label::StatusClass)])
    ///     .start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// let scrape = registry.encode()?;
    /// assert!(scrape.contains(r#"request_latency_count{method="GET",path="/"} 0"#));
    /// assert!(scrape.contains(r#"response_body_bytes_count{status="2xx"} 0"#));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a name is not a valid label name, starts with `__`, is `le` or comes twice. And if a label of the gauges is not
    /// [`Label::Method`] or [`Label::Path`].
    #[must_use]
    pub fn family_labels<'a>(
        self,
        family: DefaultFamily,
        labels: impl IntoIterator<Item = (&'a str, Label)>,
    ) -> Self {
        self.labelled("family_labels", family, labels)
    }

    /// Sets the upper bounds of the latency buckets in seconds; by default 0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75
    /// 1 2.5 5 7.5 10. The infinite one is added.
    ///
    /// See [`DefaultMonitorBuilder`] for an example.
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn latency_buckets(mut self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        if let Some(bounds) = self.mistakes.note("latency_buckets", checked_bounds(bounds)) {
            self.config.chosen_mut(DefaultFamily::Latency).bounds = bounds;
        }
        self
    }

    /// Calls the counter `name`; by default `request_count`. The encoder adds `_total`.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().count_name("http_requests");
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE http_requests counter"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `name` is not a valid metric name, clashes with another family of this monitor, even a disabled one, or ends
    /// in `_total`, which the encoder adds.
    #[must_use]
    pub fn count_name(self, name: impl AsRef<str>) -> Self {
        self.renamed("count_name", DefaultFamily::Count, name.as_ref())
    }

    /// Calls the histogram of the latency `name`; by default `request_latency`.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().latency_name("http_request_duration_seconds");
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE http_request_duration_seconds histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `name` is not a valid metric name, or clashes with another family of this monitor, even a disabled one.
    #[must_use]
    pub fn latency_name(self, name: impl AsRef<str>) -> Self {
        self.renamed("latency_name", DefaultFamily::Latency, name.as_ref())
    }

    /// Calls the gauge of requests in progress `name`; by default `requests_in_progress`.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().in_progress_name("http_requests_in_flight");
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE http_requests_in_flight gauge"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If `name` is not a valid metric name, or clashes with another family of this monitor, even a disabled one.
    #[must_use]
    pub fn in_progress_name(self, name: impl AsRef<str>) -> Self {
        self.renamed("in_progress_name", DefaultFamily::InProgress, name.as_ref())
    }

    /// Chooses the labels of the counter and their names; by default `method`, `path` and `status`.
    ///
    /// Series are summed up over the labels that are not chosen. [Custom labels](Self::labels) come after these.
    ///
    /// ```
    /// use actix_web::http::{Method, StatusCode};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, Label, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .count_labels([("verb", Label::Method), ("code", Label::StatusClass)])
    ///     .start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains(r#"request_count_total{verb="GET",code="2xx"} 0"#));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a name is not a valid label name, starts with `__`, is `le` or comes twice.
    #[must_use]
    pub fn count_labels<'a>(self, labels: impl IntoIterator<Item = (&'a str, Label)>) -> Self {
        self.labelled("count_labels", DefaultFamily::Count, labels)
    }

    /// Chooses the labels of the latency and of the further histograms, and their names; by default `method` and
    /// `path`.
    ///
    /// Each series of a histogram is one sample for every bucket and two more: for an application with very many
    /// routes, one without [`Label::Path`] may be better.
    ///
    /// ```
    /// use actix_web::http::{Method, StatusCode};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, Label, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .latency_labels([("method", Label::Method), ("status", Label::Status)])
    ///     .start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains(r#"request_latency_count{method="GET",status="200"} 0"#));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a name is not a valid label name, starts with `__`, is `le` or comes twice.
    #[must_use]
    pub fn latency_labels<'a>(self, labels: impl IntoIterator<Item = (&'a str, Label)>) -> Self {
        self.labelled("latency_labels", DefaultFamily::Latency, labels)
    }

    /// Chooses the labels of the gauges of requests in progress, and their names; by default `method` and `path`.
    ///
    /// ```
    /// use actix_web::http::{Method, StatusCode};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, Label, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .in_progress_labels([("verb", Label::Method)])
    ///     .start_at_zero([(Method::GET, "/", StatusCode::OK)]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains(r#"requests_in_progress{verb="GET"} 0"#));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If a name is not a valid label name, starts with `__`, is `le` or comes twice. And if a label is not
    /// [`Label::Method`] or [`Label::Path`].
    #[must_use]
    pub fn in_progress_labels<'a>(self, labels: impl IntoIterator<Item = (&'a str, Label)>) -> Self {
        self.labelled("in_progress_labels", DefaultFamily::InProgress, labels)
    }

    /// Omits the counter.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().without_count();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(!registry.encode()?.contains("request_count"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn without_count(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::Count).is_on = false;
        self
    }

    /// Omits the histogram of the latency, but not the further histograms.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().without_latency();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(!registry.encode()?.contains("request_latency"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn without_latency(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::Latency).is_on = false;
        self
    }

    /// Omits the gauge of requests in progress.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().without_in_progress();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(!registry.encode()?.contains("requests_in_progress"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn without_in_progress(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::InProgress).is_on = false;
        self
    }

    /// Records the sizes of request bodies in `request_body_bytes`, with these upper bounds in bytes.
    ///
    /// Counts the bytes that the application read: 0 for a request without a body, and for a body that was not read. It
    /// costs an allocation for each request that has a body.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().request_body_bytes([100.0, 10_000.0]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE request_body_bytes histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn request_body_bytes(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("request_body_bytes", DefaultFamily::RequestBodyBytes, bounds)
    }

    /// Records the sizes of response bodies in `response_body_bytes`, with these upper bounds in bytes.
    ///
    /// Counts the bytes that were sent, streams included, before any transfer coding: 0 for HEAD and if there was no
    /// response. A [long-lived](crate::ResponseStart::is_long_lived) response is observed when it ends.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().response_body_bytes([100.0, 10_000.0]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE response_body_bytes histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn response_body_bytes(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("response_body_bytes", DefaultFamily::ResponseBodyBytes, bounds)
    }

    /// Records in `request_time_to_head_seconds` the time from the arrival until the response head was ready, with
    /// these upper bounds in seconds. Requests that ended without a response are not observed.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().time_to_head([0.1, 1.0]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE request_time_to_head_seconds histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn time_to_head(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("time_to_head", DefaultFamily::TimeToHead, bounds)
    }

    /// Records in `request_queue_time_seconds` how long requests waited in front of the server, with these upper bounds in
    /// seconds: from when a proxy received them, by the header `X-Request-Start` or `X-Queue-Start`, to their arrival.
    ///
    /// For a service behind a proxy that sets the header, and overwrites what a client put there. It is Unix time in
    /// seconds, milliseconds, microseconds or nanoseconds, told apart by their size, with or without `t=` before it:
    ///
    /// | proxy | configuration |
    /// | --- | --- |
    /// | nginx | `proxy_set_header X-Request-Start "t=${msec}";` |
    /// | `HAProxy` | `http-request set-header X-Request-Start t=%[date(0,us)]` |
    /// | Apache | `RequestHeader set X-Request-Start "%t"` |
    /// | Heroku | sets it |
    ///
    /// More than ten minutes are not believed, and neither is a time that is more than a second ahead: such requests are
    /// not observed, like those without the header. The clocks of both machines have to agree.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().queue_time([0.01, 0.1, 1.0]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE request_queue_time_seconds histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn queue_time(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("queue_time", DefaultFamily::QueueTime, bounds)
    }

    /// Records in `request_time_on_worker_seconds` how long requests occupied their worker, with these upper bounds in
    /// seconds. A worker does one thing at a time: while a request occupies it, all others on it wait.
    ///
    /// That is the time of all polls of the response in the making and of its body, and not the time in which the
    /// request waited for something. `rate(request_time_on_worker_seconds_sum[5m])` is the part of one worker that a
    /// route takes, so its sum over all routes is how many workers are busy.
    ///
    /// The first poll begins with the arrival, and the last one ends with the request, so a request that never pauses needs
    /// no further look at the clock. Each pause costs two reads of it:
    ///
    /// | added | instructions, without the clock |
    /// | --- | --- |
    /// | to a request | 470 |
    /// | to each pause of its handler | 170 |
    ///
    /// ```
    /// use std::{thread::sleep, time::Duration};
    ///
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// async fn hash() -> &'static str {
    ///     sleep(Duration::from_millis(20)); // something that takes all of the worker
    ///     "done"
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().time_on_worker([0.001, 0.01, 0.1]).longest_poll([0.01, 0.1]);
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/hash", web::get().to(hash))
    ///     .wrap(HrPrometheus::with_builder(monitor));
    /// let app = test::init_service(app).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/hash").to_request()).await;
    /// assert!(registry.value("request_time_on_worker_seconds_sum", &[("path", "/hash")]) >= Some(0.02));
    /// assert_eq!(registry.value("request_longest_poll_seconds_bucket", &[("le", "0.01")]), Some(0.0));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn time_on_worker(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("time_on_worker", DefaultFamily::TimeOnWorker, bounds)
    }

    /// Records in `request_longest_poll_seconds` the longest time for which each request occupied its worker without a
    /// pause, with these upper bounds in seconds: what tells a route that blocks from one that is busy now and then.
    /// From 0.01 on other requests notice.
    ///
    /// It costs what [`time_on_worker`](Self::time_on_worker) costs, once for both.
    ///
    /// ```
    /// use std::{thread::sleep, time::Duration};
    ///
    /// use actix_web::{App, rt::task::yield_now, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// async fn rows() -> &'static str {
    ///     for _ in 0..10 {
    ///         sleep(Duration::from_millis(20)); // a part of the work
    ///         yield_now().await; // others may go on
    ///     }
    ///     "done"
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().time_on_worker([0.19]).longest_poll([0.19]);
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/rows", web::get().to(rows))
    ///     .wrap(HrPrometheus::with_builder(monitor));
    /// let app = test::init_service(app).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/rows").to_request()).await;
    /// let within = |family: &str| registry.value(&format!("{family}_bucket"), &[("path", "/rows"), ("le", "0.19")]);
    /// assert_eq!(within("request_time_on_worker_seconds"), Some(0.0)); // 200 ms and more
    /// assert_eq!(within("request_longest_poll_seconds"), Some(1.0)); // 20 ms at a time
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no bound, or they are not finite, not above 0 or not rising.
    #[must_use]
    pub fn longest_poll(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("longest_poll", DefaultFamily::LongestPoll, bounds)
    }

    /// Exposes the age of the oldest request in progress as `oldest_request_in_progress_seconds`, with the labels of the
    /// requests in progress; 0 for a known route without any. Alert on it to catch stuck requests, which the latency
    /// sees only once they end. A long-lived response counts as long as it lives.
    ///
    /// It is computed at the scrape, from the table of requests in progress.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().oldest_in_progress();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert!(registry.encode()?.contains("# TYPE oldest_request_in_progress_seconds gauge"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn oldest_in_progress(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::OldestInProgress).is_on = true;
        self
    }

    /// Exposes the highest number of requests that were in progress at a time in the last minute as
    /// `requests_in_progress_peak`, with the labels of the requests in progress. A scrape sees the gauge at one moment; what
    /// saturates a pool of connections may be over by then.
    ///
    /// It is the number over all workers at the same moment. The window slides in steps of five seconds, so a peak is seen for
    /// 60 to 65 seconds, by every scraper, and is then forgotten, whether requests arrive or not.
    ///
    /// A request counts from its arrival on, under the label of its path as it arrived until there is a response, as in the
    /// gauge; with [kept values](crate::HrPrometheus::keep_params) that no response has had yet, under the label without them.
    /// Excluded requests do not count.
    ///
    /// It adds 770 instructions to a request of a route without parameters, whose label each worker remembers. Other paths are
    /// matched against the route table when they arrive: that adds 1,500 where there are 10 routes, and 10,000 in the middle of
    /// 500; more where a parameter has a regular expression.
    ///
    /// ```
    /// use actix_web::{App, dev::Service as _, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().peak_in_progress();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/", web::get().to(async || "hello"))
    ///         .wrap(HrPrometheus::with_builder(monitor)),
    /// )
    /// .await;
    ///
    /// let three = [(); 3].map(|()| app.call(test::TestRequest::get().to_request()));
    /// drop(three);
    /// assert_eq!(registry.value("requests_in_progress", &[("path", "/")]), Some(0.0));
    /// assert_eq!(registry.value("requests_in_progress_peak", &[("path", "/")]), Some(3.0));
    /// # }
    /// ```
    #[must_use]
    pub fn peak_in_progress(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::PeakInProgress).is_on = true;
        self
    }

    /// Initializes the series of these methods, routes and statuses to 0. Otherwise `increase()`, which needs two
    /// samples, misses the first increment of a new series, such as the first 500.
    ///
    /// The route is a label such as `/users/{id}`, and the method one that has a label of its own: see
    /// [`extra_methods`](crate::HrPrometheus::extra_methods). These series have no custom labels.
    ///
    /// ```
    /// use actix_web::http::{Method, StatusCode};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .start_at_zero([(Method::GET, "/", StatusCode::INTERNAL_SERVER_ERROR)]);
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// assert_eq!(registry.value("request_count_total", &[("path", "/"), ("status", "500")]), Some(0.0));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn start_at_zero<R: AsRef<str>>(
        mut self,
        series: impl IntoIterator<Item = (Method, R, StatusCode)>,
    ) -> Self {
        let series = series.into_iter().map(|(method, route, status)| SeriesKey {
            method: label_of(method.as_str()),
            route: route.as_ref().into(),
            status,
            attributes: CustomLabels::NONE,
        });
        self.config.zeros.extend(series);
        self
    }

    /// Adds the custom labels of the type `T` to the counter and the histograms.
    ///
    /// Without any other option, [`with_monitor::<DefaultMonitor<T>>()`](crate::HrPrometheus::with_monitor) does the
    /// same.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    /// };
    /// use prometheus_client::encoding::EncodeLabelSet;
    ///
    /// #[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
    /// struct Version {
    ///     version: String,
    /// }
    ///
    /// impl RequestLabels for Version {
    ///     fn at_arrival(start: &RequestStart<'_>) -> Self {
    ///         Self { version: format!("{:?}", start.request().version()) }
    ///     }
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let monitor = DefaultMonitor::builder().without_latency().labels::<Version>();
    /// let metrics = HrPrometheus::with_builder(monitor);
    /// # let registry = MetricsRegistry::new();
    /// # let app = test::init_service(
    /// #     App::new()
    /// #         .app_data(registry.clone())
    /// #         .route("/", web::get().to(async || "hello"))
    /// #         .wrap(metrics),
    /// # )
    /// # .await;
    /// # test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
    /// // … after one request:
    /// assert_eq!(registry.value("request_count_total", &[("version", "HTTP/1.1")]), Some(1.0));
    /// # }
    /// ```
    #[must_use]
    pub fn labels<T: RequestLabels>(self) -> DefaultMonitorBuilder<T> {
        DefaultMonitorBuilder {
            config: self.config,
            mistakes: self.mistakes,
            labels: PhantomData,
        }
    }

    /// Limits the number of distinct sets of custom labels in the registry; by default 1,000. Requests over the limit
    /// are counted with `_OTHER` in each of these labels.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    /// };
    /// use prometheus_client::encoding::EncodeLabelSet;
    ///
    /// #[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
    /// struct Query {
    ///     query: String,
    /// }
    ///
    /// impl RequestLabels for Query {
    ///     fn at_arrival(start: &RequestStart<'_>) -> Self {
    ///         Self { query: start.request().query_string().to_owned() }
    ///     }
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let monitor = DefaultMonitor::builder().labels::<Query>().max_label_sets(0);
    /// let metrics = HrPrometheus::with_builder(monitor);
    /// # let registry = MetricsRegistry::new();
    /// # let app = test::init_service(
    /// #     App::new()
    /// #         .app_data(registry.clone())
    /// #         .route("/", web::get().to(async || "hello"))
    /// #         .wrap(metrics),
    /// # )
    /// # .await;
    /// # test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
    /// // … after one request:
    /// assert_eq!(registry.value("request_count_total", &[("query", "_OTHER")]), Some(1.0));
    /// assert_eq!(registry.value("hr_prometheus_cardinality_limit_exceeded_total", &[("limit", "label_set")]), Some(1.0));
    /// # }
    /// ```
    #[must_use]
    pub fn max_label_sets(mut self, max: usize) -> Self {
        self.config.max_label_sets = max;
        self
    }

    /// Links series to traces: adds exemplars with the label `trace_id`, from the header `traceparent` of W3C Trace
    /// Context.
    ///
    /// Each bucket of the latency shows the latest exemplar of all workers, and the counter the latest of all, in
    /// OpenMetrics and protobuf; the text format 0.0.4 has no exemplars. Only a valid header of a sampled trace is used:
    /// other traces cannot be found. A request without one costs a search for the header. Replaces [`exemplars_from`](Self::exemplars_from).
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().exemplars_from_traceparent();
    /// let metrics = HrPrometheus::with_builder(monitor);
    /// # let registry = MetricsRegistry::new();
    /// # let app = test::init_service(
    /// #     App::new()
    /// #         .app_data(registry.clone())
    /// #         .route("/", web::get().to(async || "hello"))
    /// #         .wrap(metrics),
    /// # )
    /// # .await;
    /// # let trace = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01");
    /// # test::call_and_read_body(&app, test::TestRequest::get().insert_header(trace).to_request()).await;
    /// // … after one request:
    /// let scrape = registry.encode()?;
    /// assert!(scrape.contains(r#" # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} "#));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exemplars_from_traceparent(mut self) -> Self {
        self.config.exemplars = Some(ExemplarSource::Traceparent);
        self
    }

    /// Adds exemplars as [`exemplars_from_traceparent`](Self::exemplars_from_traceparent) does, with the labels that
    /// `labels` returns for a response: for trace ids that are found elsewhere, such as in the extensions of the request.
    /// Replaces that option.
    ///
    /// Called once for each request, when the response head is ready; return `None` for no exemplar. An exemplar with
    /// more than 128 characters in its names and values (OpenMetrics 1.0) or with names that labels cannot have is
    /// omitted, and so is one whose function panics; the first is logged.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().exemplars_from(|response| {
    ///     let id = response.headers().get("x-request-id")?.to_str().ok()?;
    ///     Some([("request_id", id.to_owned())])
    /// });
    /// let metrics = HrPrometheus::with_builder(monitor);
    /// # let registry = MetricsRegistry::new();
    /// # let app = test::init_service(
    /// #     App::new()
    /// #         .app_data(registry.clone())
    /// #         .route("/", web::get().to(async || {
    /// #             actix_web::HttpResponse::Ok().insert_header(("x-request-id", "r-17")).finish()
    /// #         }))
    /// #         .wrap(metrics),
    /// # )
    /// # .await;
    /// # test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
    /// // … after one request:
    /// let scrape = registry.encode()?;
    /// assert!(scrape.contains(r#" # {request_id="r-17"} "#));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn exemplars_from<F, E, N, V>(mut self, labels: F) -> Self
    where
        F: Fn(&ResponseStart<'_>) -> Option<E> + Send + Sync + 'static,
        E: IntoIterator<Item = (N, V)>,
        N: Into<String>,
        V: Into<String>,
    {
        self.config.exemplars = Some(ExemplarSource::from_response(labels));
        self
    }

    /// Gives the latency native buckets beside the classic ones: with the feature `protobuf`.
    ///
    /// By default buckets grow by 2^(1/8), 9 % (schema 3), see [`native_growth_factor`](Self::native_growth_factor), and the
    /// zero threshold is 2^-128 seconds. Only buckets with observations take memory, in each worker and in the scrape: for
    /// latencies between a millisecond and ten seconds about 107 for each series, and never more than 513;
    /// [`native_max_buckets`](Self::native_max_buckets) sets a limit. Recording takes a lock that only a scrape contends for.
    ///
    /// Only a scraper that asks for protobuf gets them; the text formats show the classic buckets. Prometheus has to ask:
    ///
    /// | version | in its configuration |
    /// | --- | --- |
    /// | 3.8 and later | `scrape_native_histograms: true`, and `always_scrape_classic_histograms: true` to store both |
    /// | before | `--enable-feature=native-histograms`; 2.42 stores only the native buckets then |
    ///
    /// Where it stores only the native buckets, `histogram_quantile` over `…_bucket` finds nothing. A scraper that asks for
    /// protobuf and does not know native buckets, such as 2.42 without the flag, refuses the whole scrape.
    ///
    /// The further histograms stay classic.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().native_histograms();
    /// let metrics = HrPrometheus::with_builder(monitor).register_in(&registry)?;
    /// // The text formats are as before:
    /// assert!(registry.encode()?.contains("# TYPE request_latency histogram"));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn native_histograms(mut self) -> Self {
        self.config.native.get_or_insert_default();
        self
    }

    /// Gives the latency [native buckets](Self::native_histograms) of which each is at most by this factor wider than the
    /// one before.
    ///
    /// Takes the coarsest schema of Prometheus that is within the factor: 1.1 is schema 3, which is the default, 2 is
    /// schema 0, and 1.003 is schema 8, the finest.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus};
    ///
    /// let monitor = DefaultMonitor::builder().native_growth_factor(1.05);
    /// # assert!(HrPrometheus::with_builder(monitor).build().is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// If there is no such schema: the factor is below 1.0028, or not finite.
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn native_growth_factor(mut self, factor: f64) -> Self {
        let native = self.config.native.unwrap_or_default().with_growth_factor(factor);
        let native = native.ok_or_else(|| {
            Error::new(format!(
                "no native buckets grow by {factor}; choose a factor from 1.0028, such as 1.1"
            ))
        });
        if let Some(native) = self.mistakes.note("native_growth_factor", native) {
            self.config.native = Some(native);
        }
        self
    }

    /// Gives each series of the latency at most so many [native buckets](Self::native_histograms).
    ///
    /// A series that would have more makes one bucket of each two, as often as it takes, down to schema -4.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus};
    ///
    /// let monitor = DefaultMonitor::builder().native_max_buckets(160);
    /// # assert!(HrPrometheus::with_builder(monitor).build().is_ok());
    /// ```
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn native_max_buckets(mut self, max: usize) -> Self {
        self.config.native.get_or_insert_default().max_buckets = max;
        self
    }

    /// Gives the latency [native buckets](Self::native_histograms) and no classic ones, but for the one of all requests.
    ///
    /// For set-ups in which all scrapers ask for protobuf: in the text formats the histogram has a count and a sum, and no
    /// quantiles can be taken from it.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus};
    ///
    /// let monitor = DefaultMonitor::builder().without_classic();
    /// # assert!(HrPrometheus::with_builder(monitor).build().is_ok());
    /// ```
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn without_classic(mut self) -> Self {
        self.config.native.get_or_insert_default().has_classic = false;
        self
    }

    fn renamed(mut self, option: &str, family: DefaultFamily, name: &str) -> Self {
        let renamed = checked_name(name).and_then(|name| self.config.renamed(family, name));
        if let Some(config) = self.mistakes.note(option, renamed) {
            self.config = config;
        }
        self
    }

    fn labelled<'a>(
        mut self,
        option: &str,
        family: DefaultFamily,
        labels: impl IntoIterator<Item = (&'a str, Label)>,
    ) -> Self {
        let labels = checked_labels(family.content(), labels);
        if let Some(labels) = self.mistakes.note(option, labels) {
            self.config.chosen_mut(family).labels = Some(labels);
        }
        self
    }

    fn with_histogram(
        mut self,
        option: &str,
        family: DefaultFamily,
        bounds: impl IntoIterator<Item: Borrow<f64>>,
    ) -> Self {
        if let Some(bounds) = self.mistakes.note(option, checked_bounds(bounds)) {
            let chosen = self.config.chosen_mut(family);
            chosen.bounds = bounds;
            chosen.is_on = true;
        }
        self
    }
}

impl<L> Sealed for DefaultMonitorBuilder<L> {}

impl<L: RequestLabels> MonitorBuilder for DefaultMonitorBuilder<L> {
    type Monitor = DefaultMonitor<L>;

    fn obtain(
        &self,
        registry: &MetricsRegistry,
        name: &str,
        errors: &mut Vec<Error>,
    ) -> <Self::Monitor as Monitors>::Set {
        if self.config == Config::default() {
            return DefaultMonitor::obtain(registry, name, errors);
        }
        let register = |registry: &mut Registry| self.register(registry).contained();
        let source = (self.clone(), name.to_owned());
        obtain::<Self::Monitor, _>(registry, source, register, errors)
    }

    fn check(&self) -> Result<(), Error> {
        self.mistakes.check()
    }
}

impl<L> Clone for DefaultMonitorBuilder<L> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            mistakes: self.mistakes.clone(),
            labels: PhantomData,
        }
    }
}

impl<L> PartialEq for DefaultMonitorBuilder<L> {
    fn eq(&self, other: &Self) -> bool {
        self.config == other.config && self.mistakes == other.mistakes
    }
}

impl<L> fmt::Debug for DefaultMonitorBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultMonitorBuilder")
            .field("config", &self.config)
            .field("mistakes", &self.mistakes)
            .field("labels", &type_name::<L>())
            .finish()
    }
}
