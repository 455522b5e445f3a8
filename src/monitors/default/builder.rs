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
/// # actix_web::rt::System::new().block_on(async {
/// let monitor = DefaultMonitor::builder()
///     .latency_buckets([0.1, 1.0])
///     .latency_labels([("path", Label::Path), ("status", Label::StatusClass)])
///     .response_body_bytes([100.0, 10_000.0]);
///
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .route("/", web::get().to(async || "hello"))
///     .wrap(HrPrometheus::with_builder(monitor));
/// let app = test::init_service(app).await;
///
/// test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
/// registry.assert_family(
///     "request_latency_bucket",
///     r#"
///     request_latency_bucket{le="0.1",path="/",status="2xx"} 1
///     request_latency_bucket{le="1.0",path="/",status="2xx"} 1
///     request_latency_bucket{le="+Inf",path="/",status="2xx"} 1
///     "#,
/// );
/// assert_eq!(registry.value("response_body_bytes_sum", &[("path", "/")]), Some(5.0));
/// # });
/// ```
///
/// # Families
///
/// | family | type | recorded | meaning |
/// | --- | --- | --- | --- |
/// | `request_count` | counter | by default | see [`DefaultMonitor`] |
/// | `request_latency` | histogram | by default | see [`DefaultMonitor`] |
/// | `requests_in_progress` | gauge | by default | see [`DefaultMonitor`] |
/// | `request_body_bytes` | histogram | [`request_body_bytes`](Self::request_body_bytes) | bytes of the request body that the application has read |
/// | `response_body_bytes` | histogram | [`response_body_bytes`](Self::response_body_bytes) | bytes of the response body that were passed to the server |
/// | `request_time_to_head_seconds` | histogram | [`time_to_head`](Self::time_to_head) | time from arrival to the response head |
/// | `request_queue_time_seconds` | histogram | [`queue_time`](Self::queue_time) | time that a request waited in front of the server |
/// | `request_time_on_worker_seconds` | histogram | [`time_on_worker`](Self::time_on_worker) | time for which a request occupied its worker |
/// | `request_longest_poll_seconds` | histogram | [`longest_poll`](Self::longest_poll) | longest time for which a request occupied its worker without a pause |
/// | `oldest_request_in_progress_seconds` | gauge | [`oldest_in_progress`](Self::oldest_in_progress) | age of the oldest request in progress |
/// | `requests_in_progress_peak` | gauge | [`peak_in_progress`](Self::peak_in_progress) | most requests in progress at a time in the last minute |
/// | `request_objective_met`, `request_objective_missed` | counter | [`objective`](Self::objective) | requests that met and missed the objective of their route |
/// | `request_objective_ratio`, `request_objective_seconds` | gauge | [`objective`](Self::objective) | the objectives themselves |
///
/// The latency is in seconds. The labels are those of [`count_labels`](Self::count_labels) for the counter,
/// [`latency_labels`](Self::latency_labels) for all histograms, [`in_progress_labels`](Self::in_progress_labels) for the
/// gauges of requests in progress, and `path` for objectives.
///
/// Each family can have another [name](Self::rename), other [labels](Self::family_labels) and another [help
/// text](Self::help), and all of them can have a [prefix](Self::prefix). Whatever the options, in every scrape the sum
/// over the counter equals the sum over the `_count` of the latency.
///
/// # Mistakes
///
/// Options return the builder, not a `Result`. The builder keeps the first mistake: a wrong value, as described in the
/// section "Mistakes" of the option. The middleware that is made from it reports the mistake: as the error of
/// [`HrPrometheus::build`](crate::HrPrometheus::build) or
/// [`HrPrometheus::register_in`](crate::HrPrometheus::register_in), else in the log when the application [does not
/// start](crate::HrPrometheus#mistakes). [`register`](Self::register) panics instead.
///
/// # Equality
///
/// Builders are equal if their options are, and equal builders [share a
/// monitor](crate::HrPrometheus#which-uses-share-a-monitor). Two [`exemplars_from`](Self::exemplars_from) or
/// [`objective_failures`](Self::objective_failures) are equal if they were given the same closure expression or
/// function, whatever the closure captures.
pub struct DefaultMonitorBuilder<L = NoLabels> {
    config: Config,
    mistakes: Mistakes,
    labels: PhantomData<fn() -> L>,
}

impl DefaultMonitor {
    /// Returns a builder for everything that can be configured.
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
    /// Registers the families and returns the monitor: for a custom monitor that wraps it. Otherwise
    /// [`HrPrometheus::with_builder`](crate::HrPrometheus::with_builder) calls it.
    ///
    /// ```
    /// use hr_prometheus::{
    ///     DefaultInFlight, DefaultMonitor, HrPrometheus, RequestEnd, RequestMonitor, RequestStart,
    ///     prometheus_client::registry::Registry,
    /// };
    ///
    /// /// Records only requests that took a second or more.
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
    /// let metrics = HrPrometheus::with_monitor::<Slow>();
    /// ```
    ///
    /// # Panics
    ///
    /// If an option was given a wrong value, or if the registry has a label that this monitor uses. In
    /// [`RequestMonitor::register`](crate::RequestMonitor::register) the panic is caught, and the monitor is off.
    #[must_use = "a monitor records nothing until the middleware has it"]
    pub fn register(&self, registry: &mut Registry) -> DefaultMonitor<L> {
        if let Err(error) = self.mistakes.check() {
            give_up(error.to_string());
        }
        DefaultMonitor::new(&self.config, registry)
    }

    /// Records what the crate actix-web-prom 0.10 records by default, so that dashboards and alerts keep working.
    ///
    /// That is its names, labels, buckets and help texts, and no gauge. `namespace` is the argument of its
    /// `PrometheusMetricsBuilder::new`, or `""` for none.
    ///
    /// | family | type | labels | buckets |
    /// | --- | --- | --- | --- |
    /// | `http_requests_total` | counter | `endpoint`, `method`, `status` | |
    /// | `http_requests_duration_seconds` | histogram | `endpoint`, `method`, `status` | 0.005 0.01 0.025 0.05 0.1 0.25 0.5 1 2.5 5 10 |
    ///
    /// Later options change this. The differences are:
    ///
    /// - More is counted: requests that end with the `Err` of a middleware, with a panic or with a disconnect.
    /// - If no route served the request, for example because none has its method, `endpoint` is `unmatched`, never what
    ///   the client sent; [`unmatched`](crate::HrPrometheus::unmatched) changes the text. A `web::resource` that
    ///   refuses a method with 405 keeps its label.
    /// - Made-up methods are `_OTHER`.
    /// - A label does not contain the regular expressions of parameters: `/orders/{id}`, not `/orders/{id:\d+}`.
    /// - The bound of a bucket is [written](crate::guide::queries#how-is-a-bucket-bound-written) `le="1.0"` instead of
    ///   `le="1"`.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().actix_web_prom("api"); // api_http_requests_total
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if no metric name can begin with `namespace`, or if `namespace` ends in `_`, which
    /// is added.
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

    /// Prefixes the names of all families with `prefix` and `_`.
    ///
    /// Two monitors in one registry need different names. In this example two scopes have different buckets:
    ///
    /// ```
    /// use actix_web::{App, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus};
    ///
    /// let fast = DefaultMonitor::builder().prefix("api").latency_buckets([0.01, 0.1]);
    /// let slow = DefaultMonitor::builder().prefix("reports").latency_buckets([10.0, 100.0]);
    /// let app = App::new()
    ///     .service(web::scope("/api").wrap(HrPrometheus::with_builder(fast))) // api_request_count_total
    ///     .service(web::scope("/reports").wrap(HrPrometheus::with_builder(slow))); // reports_request_count_total
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if no metric name can begin with `prefix`, or if `prefix` ends in `_`, which is
    /// added.
    #[must_use]
    pub fn prefix(mut self, prefix: impl AsRef<str>) -> Self {
        if let Some(prefix) = self.mistakes.note("prefix", checked_prefix(prefix.as_ref())) {
            self.config.prefix = Some(prefix);
        }
        self
    }

    /// Sets the name of a family.
    ///
    /// ```
    /// use hr_prometheus::{DefaultFamily, DefaultMonitor};
    ///
    /// let monitor = DefaultMonitor::builder()
    ///     .response_body_bytes([100.0, 10_000.0])
    ///     .rename(DefaultFamily::ResponseBodyBytes, "http_response_size_bytes");
    /// ```
    ///
    /// [`count_name`](Self::count_name), [`latency_name`](Self::latency_name) and
    /// [`in_progress_name`](Self::in_progress_name) are short forms.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `name` is not a valid metric name, or clashes with another family of this
    /// monitor, even a disabled one. Also if the counter would be called `…_total`, which the encoder appends.
    #[must_use]
    pub fn rename(self, family: DefaultFamily, name: impl AsRef<str>) -> Self {
        self.renamed("rename", family, name.as_ref())
    }

    /// Sets the help text of a family.
    ///
    /// ```
    /// use hr_prometheus::{DefaultFamily, DefaultMonitor};
    ///
    /// let monitor = DefaultMonitor::builder().help(DefaultFamily::Count, "Requests to the shop");
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `text` is empty or contains control characters, such as line breaks.
    #[must_use]
    pub fn help(mut self, family: DefaultFamily, text: impl AsRef<str>) -> Self {
        if let Some(text) = self.mistakes.note("help", checked_help(text.as_ref())) {
            self.config.chosen_mut(family).help = text;
        }
        self
    }

    /// Sets the labels of a family, with their names.
    ///
    /// ```
    /// use hr_prometheus::{DefaultFamily, DefaultMonitor, Label};
    ///
    /// let monitor = DefaultMonitor::builder()
    ///     .response_body_bytes([100.0, 10_000.0])
    ///     .family_labels(DefaultFamily::ResponseBodyBytes, [("status", Label::StatusClass)]);
    /// ```
    ///
    /// [`count_labels`](Self::count_labels), [`latency_labels`](Self::latency_labels) and
    /// [`in_progress_labels`](Self::in_progress_labels) are short forms. Without this option, the other histograms have
    /// the labels of the latency, and the other gauges of requests in progress have those of `requests_in_progress`.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a name is not a valid label name, starts with `__`, is `le` or occurs twice. Also
    /// if a label of a gauge of requests in progress is neither [`Label::Method`] nor [`Label::Path`], or if a gauge of
    /// objectives has a label other than [`Label::Path`], or none.
    #[must_use]
    pub fn family_labels<'a>(
        self,
        family: DefaultFamily,
        labels: impl IntoIterator<Item = (&'a str, Label)>,
    ) -> Self {
        self.labelled("family_labels", family, labels)
    }

    /// Sets the upper bounds of the latency buckets in seconds.
    ///
    /// The default is 0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1 2.5 5 7.5 10. The infinite bound is added. See
    /// [`DefaultMonitorBuilder`] for an example.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn latency_buckets(mut self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        if let Some(bounds) = self.mistakes.note("latency_buckets", checked_bounds(bounds)) {
            self.config.chosen_mut(DefaultFamily::Latency).bounds = bounds;
        }
        self
    }

    /// Sets the name of the counter (default: `request_count`). The encoder appends `_total`.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().count_name("http_requests"); // http_requests_total
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `name` is not a valid metric name, clashes with another family of this monitor,
    /// even a disabled one, or ends in `_total`.
    #[must_use]
    pub fn count_name(self, name: impl AsRef<str>) -> Self {
        self.renamed("count_name", DefaultFamily::Count, name.as_ref())
    }

    /// Sets the name of the latency histogram (default: `request_latency`).
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().latency_name("http_request_duration_seconds");
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `name` is not a valid metric name, or clashes with another family of this
    /// monitor, even a disabled one.
    #[must_use]
    pub fn latency_name(self, name: impl AsRef<str>) -> Self {
        self.renamed("latency_name", DefaultFamily::Latency, name.as_ref())
    }

    /// Sets the name of the gauge of requests in progress (default: `requests_in_progress`).
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().in_progress_name("http_requests_in_flight");
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `name` is not a valid metric name, or clashes with another family of this
    /// monitor, even a disabled one.
    #[must_use]
    pub fn in_progress_name(self, name: impl AsRef<str>) -> Self {
        self.renamed("in_progress_name", DefaultFamily::InProgress, name.as_ref())
    }

    /// Sets the labels of the counter, with their names (default: `method`, `path` and `status`).
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, Label};
    ///
    /// // request_count_total{verb="GET",code="2xx"}
    /// let monitor = DefaultMonitor::builder()
    ///     .count_labels([("verb", Label::Method), ("code", Label::StatusClass)]);
    /// ```
    ///
    /// Series are aggregated over the omitted labels. [Custom labels](Self::labels) come after these.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a name is not a valid label name, starts with `__`, is `le` or occurs twice.
    #[must_use]
    pub fn count_labels<'a>(self, labels: impl IntoIterator<Item = (&'a str, Label)>) -> Self {
        self.labelled("count_labels", DefaultFamily::Count, labels)
    }

    /// Sets the labels of the latency and of the other histograms, with their names (default: `method` and `path`).
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, Label};
    ///
    /// // request_latency_count{method="GET",status="200"}
    /// let monitor = DefaultMonitor::builder()
    ///     .latency_labels([("method", Label::Method), ("status", Label::Status)]);
    /// ```
    ///
    /// Each series of a histogram has a sample for every bucket and two more. An application with very many routes may
    /// be better off without [`Label::Path`] here.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a name is not a valid label name, starts with `__`, is `le` or occurs twice.
    #[must_use]
    pub fn latency_labels<'a>(self, labels: impl IntoIterator<Item = (&'a str, Label)>) -> Self {
        self.labelled("latency_labels", DefaultFamily::Latency, labels)
    }

    /// Sets the labels of the gauges of requests in progress, with their names (default: `method` and `path`).
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, Label};
    ///
    /// // requests_in_progress{verb="GET"}
    /// let monitor = DefaultMonitor::builder().in_progress_labels([("verb", Label::Method)]);
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a name is not a valid label name, starts with `__`, is `le` or occurs twice. Also
    /// if a label is neither [`Label::Method`] nor [`Label::Path`].
    #[must_use]
    pub fn in_progress_labels<'a>(self, labels: impl IntoIterator<Item = (&'a str, Label)>) -> Self {
        self.labelled("in_progress_labels", DefaultFamily::InProgress, labels)
    }

    /// Disables the counter.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().without_count();
    /// ```
    #[must_use]
    pub fn without_count(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::Count).is_on = false;
        self
    }

    /// Disables the latency histogram, but not the other histograms.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().without_latency();
    /// ```
    #[must_use]
    pub fn without_latency(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::Latency).is_on = false;
        self
    }

    /// Disables the gauge of requests in progress.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().without_in_progress();
    /// ```
    #[must_use]
    pub fn without_in_progress(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::InProgress).is_on = false;
        self
    }

    /// Records the sizes of request bodies in `request_body_bytes`, with these upper bounds in bytes.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().request_body_bytes([100.0, 10_000.0]);
    /// ```
    ///
    /// Counts the bytes that the application has read: 0 for a request without a body, and for a body that was not
    /// read. Costs an allocation for each request with a body.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn request_body_bytes(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("request_body_bytes", DefaultFamily::RequestBodyBytes, bounds)
    }

    /// Records the sizes of response bodies in `response_body_bytes`, with these upper bounds in bytes.
    ///
    /// Counts the bytes that were passed to the server, including those of streams, before any transfer coding: 0 for
    /// HEAD, and if there was no response. A [long-lived](crate::ResponseStart::is_long_lived) response is recorded
    /// when it ends. See [`DefaultMonitorBuilder`] for an example.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn response_body_bytes(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("response_body_bytes", DefaultFamily::ResponseBodyBytes, bounds)
    }

    /// Records the time from arrival to the response head in `request_time_to_head_seconds`, with these upper bounds in
    /// seconds.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().time_to_head([0.1, 1.0]);
    /// ```
    ///
    /// Requests that end without a response are not recorded.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn time_to_head(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("time_to_head", DefaultFamily::TimeToHead, bounds)
    }

    /// Records how long requests waited in front of the server in `request_queue_time_seconds`, with these upper bounds
    /// in seconds.
    ///
    /// It is the time from a proxy, by its header `X-Request-Start` or `X-Queue-Start`, to the arrival here. Use it
    /// only behind a proxy that sets the header and overwrites what a client put there. The header is Unix time, with
    /// or without `t=` in front. Its size tells whether it is in seconds, milliseconds, microseconds or nanoseconds:
    ///
    /// | proxy | configuration |
    /// | --- | --- |
    /// | nginx | `proxy_set_header X-Request-Start "t=${msec}";` |
    /// | `HAProxy` | `http-request set-header X-Request-Start t=%[date(0,us)]` |
    /// | Apache | `RequestHeader set X-Request-Start "%t"` |
    /// | Heroku | sets it |
    ///
    /// The clocks of both machines have to agree. A request is not recorded if it has no such header, or if its time is
    /// more than ten minutes ago or more than a second ahead.
    ///
    /// ```
    /// use std::time::SystemTime;
    ///
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().queue_time([0.1, 1.0]);
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/", web::get().to(async || "hello"))
    ///     .wrap(HrPrometheus::with_builder(monitor));
    /// let app = test::init_service(app).await;
    ///
    /// let now = SystemTime::UNIX_EPOCH.elapsed()?.as_secs_f64();
    /// let waited = test::TestRequest::get().insert_header(("x-request-start", format!("t={}", now - 0.5)));
    /// test::call_and_read_body(&app, waited.to_request()).await;
    /// assert_eq!(registry.value("request_queue_time_seconds_count", &[]), Some(1.0));
    /// assert_eq!(registry.value("request_queue_time_seconds_bucket", &[("le", "0.1")]), Some(0.0));
    /// # Ok::<(), std::time::SystemTimeError>(()) }).unwrap();
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn queue_time(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("queue_time", DefaultFamily::QueueTime, bounds)
    }

    /// Records how long requests occupied their worker in `request_time_on_worker_seconds`, with these upper bounds in
    /// seconds.
    ///
    /// A worker does one thing at a time: while a request occupies it, all its other requests wait. The time is the sum
    /// of all polls of the response future and of the body, without the time in which the request itself waits. So
    /// `rate(request_time_on_worker_seconds_sum[5m])` is the share of one worker that a route takes, and its sum over
    /// all routes is the number of busy workers.
    ///
    /// The first poll begins with the arrival, and the last one ends with the request, so a request that never pauses
    /// needs no further look at the clock. Each pause costs two reads of it. `cargo bench --bench instructions_of_options`
    /// counts this:
    ///
    /// | added | instructions, without the clock |
    /// | --- | --- |
    /// | to a request | 440 |
    /// | to each pause of its handler | 170 |
    ///
    /// ```
    /// use std::{thread::sleep, time::Duration};
    ///
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// async fn hash() -> &'static str {
    ///     sleep(Duration::from_millis(20)); // occupies the worker
    ///     "done"
    /// }
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().time_on_worker([0.001, 0.01, 0.1]);
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/hash", web::get().to(hash))
    ///     .wrap(HrPrometheus::with_builder(monitor));
    /// let app = test::init_service(app).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/hash").to_request()).await;
    /// assert!(registry.value("request_time_on_worker_seconds_sum", &[("path", "/hash")]) >= Some(0.02));
    /// # });
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn time_on_worker(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("time_on_worker", DefaultFamily::TimeOnWorker, bounds)
    }

    /// Records the longest time for which each request occupied its worker without a pause in
    /// `request_longest_poll_seconds`, with these upper bounds in seconds.
    ///
    /// It distinguishes a route that blocks from one that is busy now and then. A poll of about 0.01 seconds or more
    /// delays other requests noticeably. This option costs the same as [`time_on_worker`](Self::time_on_worker); both
    /// together cost that once.
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
    ///         yield_now().await; // lets others go on
    ///     }
    ///     "done"
    /// }
    ///
    /// # actix_web::rt::System::new().block_on(async {
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
    /// # });
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no bound, or if bounds are not finite, not above 0 or not increasing.
    #[must_use]
    pub fn longest_poll(self, bounds: impl IntoIterator<Item: Borrow<f64>>) -> Self {
        self.with_histogram("longest_poll", DefaultFamily::LongestPoll, bounds)
    }

    /// Exposes the age of the oldest request in progress as `oldest_request_in_progress_seconds`.
    ///
    /// Alert on it to catch stuck requests, which the latency sees only once they end. The labels are those of the
    /// requests in progress; a known route without any has 0. A long-lived response counts as long as it is open. The
    /// age is computed at each scrape, from the table of requests in progress.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().oldest_in_progress();
    /// ```
    #[must_use]
    pub fn oldest_in_progress(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::OldestInProgress).is_on = true;
        self
    }

    /// Exposes the most requests in progress at a time in the last minute as `requests_in_progress_peak`.
    ///
    /// A scrape sees the gauge `requests_in_progress` at one moment only; the burst that exhausted a connection pool
    /// may be over by then. The labels are those of the requests in progress.
    ///
    /// The peak is the sum over all workers at one moment. The window moves in steps of five seconds, so every scraper
    /// sees a peak for 60 to 65 seconds; then it is forgotten, whether requests arrive or not.
    ///
    /// A request counts from its arrival on. Until its response head is ready it has the label of its path as it
    /// arrived, as in the gauge. Excluded requests do not count.
    ///
    /// With [kept values](crate::HrPrometheus::keep_params) the label differs from that of the gauge at first, since a
    /// client can make up values. Say that `/search/{kind}` keeps `kind`: until a worker has recorded a request as
    /// `/search/books`, it counts requests for that path under `/search/{kind}`. So if the first 50 of them arrive in
    /// one burst, the series of `/search/{kind}` shows 50, and that of `/search/books` does not exist before the first
    /// of them is answered. Later ones count under `/search/books` from their arrival on.
    ///
    /// It adds 800 instructions to a request of a route without parameters, whose label each worker remembers. Other
    /// paths are matched against the route table when they arrive: that adds 1,600 with 10 routes, and 10,000 for a
    /// route in the middle of 500; more if a parameter has a regular expression.
    ///
    /// ```
    /// use actix_web::{App, dev::Service as _, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder().peak_in_progress();
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/", web::get().to(async || "hello"))
    ///     .wrap(HrPrometheus::with_builder(monitor));
    /// let app = test::init_service(app).await;
    ///
    /// let three = [(); 3].map(|()| app.call(test::TestRequest::get().to_request()));
    /// drop(three);
    /// assert_eq!(registry.value("requests_in_progress", &[("path", "/")]), Some(0.0));
    /// assert_eq!(registry.value("requests_in_progress_peak", &[("path", "/")]), Some(3.0));
    /// # });
    /// ```
    #[must_use]
    pub fn peak_in_progress(mut self) -> Self {
        self.config.chosen_mut(DefaultFamily::PeakInProgress).is_on = true;
        self
    }

    /// Initializes the series of these methods, routes and statuses to 0.
    ///
    /// Otherwise `increase()`, which needs two samples, misses the first increment of a new series, such as the first 500.
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
    /// # drop(metrics); Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// The route is a label such as `/users/{id}`, and the method one that has a label: see
    /// [`extra_methods`](crate::HrPrometheus::extra_methods). These series have no custom labels.
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

    /// Adds the custom labels `T` to the counter and the histograms.
    ///
    /// Without other options, [`with_monitor::<DefaultMonitor<T>>()`](crate::HrPrometheus::with_monitor) does the same.
    /// The guide introduces [custom labels](crate::guide::labels#custom-labels) step by step.
    ///
    /// ```
    /// use hr_prometheus::{DefaultMonitor, RequestLabels, RequestStart};
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
    /// // request_count_total{method="GET",path="/",status="200",version="HTTP/1.1"}
    /// let monitor = DefaultMonitor::builder().without_latency().labels::<Version>();
    /// ```
    #[must_use]
    pub fn labels<T: RequestLabels>(self) -> DefaultMonitorBuilder<T> {
        DefaultMonitorBuilder {
            config: self.config,
            mistakes: self.mistakes,
            labels: PhantomData,
        }
    }

    /// Limits the number of distinct sets of custom labels per registry (default: 1,000).
    ///
    /// Requests over the limit are recorded with `_OTHER` in each of these labels, and counted in
    /// `hr_prometheus_cardinality_limit_exceeded_total{limit="label_set"}`.
    /// [`RequestLabels`](crate::RequestLabels#limits) says more.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().max_label_sets(200);
    /// ```
    #[must_use]
    pub fn max_label_sets(mut self, max: usize) -> Self {
        self.config.max_label_sets = max;
        self
    }

    /// Adds exemplars that link series to traces: the label `trace_id`, from the header `traceparent` of W3C Trace Context.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// // request_count_total{…} 1 # {trace_id="4bf92f3577b34da6a3ce929d0e0e4736"} 1.0 1779997600.000
    /// let monitor = DefaultMonitor::builder().exemplars_from_traceparent();
    /// ```
    ///
    /// Each bucket of the latency and each series of the counter has the latest exemplar of all workers. OpenMetrics and
    /// protobuf have exemplars; Prometheus text does not. Only a valid header of a sampled trace is used, since other
    /// traces cannot be found. A request without one costs a search for the header. Replaces
    /// [`exemplars_from`](Self::exemplars_from).
    #[must_use]
    pub fn exemplars_from_traceparent(mut self) -> Self {
        self.config.exemplars = Some(ExemplarSource::Traceparent);
        self
    }

    /// Adds exemplars with the labels that `labels` returns for a response: for trace ids from elsewhere, such as the
    /// extensions of the request.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// // request_count_total{…} 1 # {request_id="r-17"} 1.0 1779997600.000
    /// let monitor = DefaultMonitor::builder().exemplars_from(|response| {
    ///     let id = response.headers().get("x-request-id")?.to_str().ok()?;
    ///     Some([("request_id", id.to_owned())])
    /// });
    /// ```
    ///
    /// Called once per request, when the response head is ready; return `None` for no exemplar. An exemplar is omitted
    /// if its names and values have more than 128 characters in all (OpenMetrics 1.0), if a name is not a valid label
    /// name, or if `labels` panics; the first one is logged. Otherwise like
    /// [`exemplars_from_traceparent`](Self::exemplars_from_traceparent), which this option replaces.
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

    /// Adds native buckets to the classic ones of the latency; needs the feature `protobuf`.
    ///
    /// By default buckets grow by 2^(1/8), which is 9 % (schema 3), see
    /// [`native_growth_factor`](Self::native_growth_factor), and the zero threshold is 2^-128 seconds. Only buckets
    /// with observations take memory, in each worker and in the scrape: for latencies between a millisecond and ten
    /// seconds about 107 per series, and never more than 513; [`native_max_buckets`](Self::native_max_buckets) sets a
    /// limit. Recording takes a lock that only a scrape contends for. The other histograms stay classic.
    ///
    /// Only a scraper that asks for protobuf gets native buckets; the text formats have the classic ones. Prometheus
    /// has to ask:
    ///
    /// | version | in its configuration |
    /// | --- | --- |
    /// | 3.8 and later | `scrape_native_histograms: true`, and `always_scrape_classic_histograms: true` to store both |
    /// | before | `--enable-feature=native-histograms`; 2.42 then stores only the native buckets |
    ///
    /// If it stores only the native buckets, `histogram_quantile` over `…_bucket` finds nothing. A scraper that asks
    /// for protobuf without knowing native buckets, such as 2.42 without the flag, refuses the whole scrape.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().native_histograms();
    /// ```
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn native_histograms(mut self) -> Self {
        self.config.native.get_or_insert_default();
        self
    }

    /// Sets how much wider each [native bucket](Self::native_histograms) of the latency may be than the one before.
    ///
    /// Uses the coarsest schema of Prometheus within the factor: 1.1 is schema 3, the default; 2 is schema 0; 1.003 is
    /// schema 8, the finest.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().native_growth_factor(1.05);
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if there is no such schema: the factor is below 1.0028, or not finite.
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn native_growth_factor(mut self, factor: f64) -> Self {
        let native = self.config.native.unwrap_or_default().with_growth_factor(factor);
        let native = native.ok_or_else(|| {
            Error::new(format!(
                "no native buckets grow by {factor}; choose a factor of at least 1.0028, such as 1.1"
            ))
        });
        if let Some(native) = self.mistakes.note("native_growth_factor", native) {
            self.config.native = Some(native);
        }
        self
    }

    /// Limits the number of [native buckets](Self::native_histograms) of each series of the latency.
    ///
    /// A series that exceeds the limit merges pairs of buckets, as often as it takes, down to schema -4.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().native_max_buckets(160);
    /// ```
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn native_max_buckets(mut self, max: usize) -> Self {
        self.config.native.get_or_insert_default().max_buckets = max;
        self
    }

    /// Gives the latency [native buckets](Self::native_histograms) and no classic ones except the infinite one.
    ///
    /// Use it only if all scrapers ask for protobuf: in the text formats the histogram then has a count and a sum, but
    /// no quantiles.
    ///
    /// ```
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// let monitor = DefaultMonitor::builder().without_classic();
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
