//! What the default monitor can be told.

use std::{borrow::Cow, collections::HashSet, fmt, marker::PhantomData, sync::Arc};

use actix_web::http::{Method, StatusCode};
use prometheus_client::registry::Registry;

use crate::{
    error::Error,
    exposition::family::{Kind, is_metric_name},
    limit::DEFAULT_LIMIT,
    method::label_of,
    monitor::hooks::ResponseStart,
    monitors::default::{
        DefaultMonitor,
        exemplars::ExemplarSource,
        families::{Family, Label, Labels},
        labels::{NoLabels, OwnLabels, RequestLabels, is_free_label_name},
    },
    series::{SeriesKey, measures::Measures},
};

/// Upper bounds in seconds: those of the Python package.
const LATENCY: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// The names of the families that are off by default.
const REQUEST_BODY: &str = "request_body_bytes";
const RESPONSE_BODY: &str = "response_body_bytes";
const TIME_TO_HEAD: &str = "request_time_to_head_seconds";
const OLDEST: &str = "oldest_request_in_progress_seconds";

/// Chooses what a [`DefaultMonitor`] records: families, names, labels and buckets.
///
/// Made by [`DefaultMonitor::builder`], outside of the closure of `HttpServer::new`, where what is wrong shows as an
/// [`Error`] before the server starts; then [registered](Self::register) through
/// [`HrPrometheus::with_monitor_from`](crate::HrPrometheus::with_monitor_from):
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{
///     DefaultMonitor, HrPrometheus, Label, MetricsRegistry, prometheus_client::registry::Registry,
/// };
///
/// # #[actix_web::main]
/// # async fn main() -> Result<(), hr_prometheus::Error> {
/// let monitor = DefaultMonitor::builder()
///     .latency_buckets([0.1, 1.0])?
///     .latency_labels([("path", Label::Path), ("status", Label::StatusClass)])?;
/// let metrics =
///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
/// | `oldest_request_in_progress_seconds` | gauge, seconds | [`oldest_in_progress`](Self::oldest_in_progress) | those in progress | how long the oldest request in progress has run |
///
/// Whatever is chosen, in every scrape the sum over the counter is the sum over the `_count` of the latency. An option
/// that is not used changes nothing. A name that all of this shall begin with is given by a
/// [sub-registry](prometheus_client::registry::Registry::sub_registry_with_prefix):
/// `monitor.register(registry.sub_registry_with_prefix("shop"))`.
pub struct DefaultMonitorBuilder<L = NoLabels> {
    config: Config,
    labels: PhantomData<fn() -> L>,
}

#[derive(Clone)]
pub(super) struct Config {
    count: Chosen,
    latency: Chosen,
    in_progress: Chosen,
    oldest: bool,
    latency_buckets: Vec<f64>,
    request_body_buckets: Option<Vec<f64>>,
    response_body_buckets: Option<Vec<f64>>,
    time_to_head_buckets: Option<Vec<f64>>,
    zeros: Vec<SeriesKey<OwnLabels>>,
    pub(super) exemplars: Option<ExemplarSource>,
    native: bool,
    pub(super) most_label_sets: usize,
}

/// What was chosen for one of the families that are on by default.
#[derive(Clone)]
struct Chosen {
    name: Cow<'static, str>,
    labels: Labels,
    recorded: bool,
}

/// What a scrape shows.
#[derive(Debug)]
pub(super) struct Families {
    pub(super) count: Option<Family>,
    pub(super) latency: Option<Family>,
    pub(super) in_progress: Option<Family>,
    pub(super) oldest: Option<Family>,
    pub(super) request_body: Family,
    pub(super) response_body: Family,
    pub(super) time_to_head: Family,
}

impl Families {
    pub(super) fn shows_in_progress(&self) -> bool {
        self.in_progress.is_some() || self.oldest.is_some()
    }
}

impl DefaultMonitorBuilder {
    pub(super) fn new() -> Self {
        let method = ("method".into(), Label::Method);
        let path = ("path".into(), Label::Path);
        let status = ("status".into(), Label::Status);
        let chosen = |name: &'static str, labels| Chosen {
            name: name.into(),
            labels,
            recorded: true,
        };
        Self {
            config: Config {
                count: chosen("request_count", vec![method.clone(), path.clone(), status]),
                latency: chosen("request_latency", vec![method.clone(), path.clone()]),
                in_progress: chosen("requests_in_progress", vec![method, path]),
                oldest: false,
                latency_buckets: LATENCY.to_vec(),
                request_body_buckets: None,
                response_body_buckets: None,
                time_to_head_buckets: None,
                zeros: Vec::new(),
                exemplars: None,
                native: false,
                most_label_sets: DEFAULT_LIMIT,
            },
            labels: PhantomData,
        }
    }
}

impl<L: RequestLabels> DefaultMonitorBuilder<L> {
    /// Registers the families and makes the monitor, in the closure that
    /// [`with_monitor_from`](crate::HrPrometheus::with_monitor_from) takes.
    ///
    /// The closure is run once per registry, so a builder that differs needs a closure of its own, written in another
    /// place. Here two scopes have buckets of their own, told apart by a prefix:
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry,
    /// };
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let fast = DefaultMonitor::builder().latency_buckets([0.01, 0.1])?;
    /// let fast = HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
    ///     fast.register(registry.sub_registry_with_prefix("api"))
    /// });
    /// let slow = DefaultMonitor::builder().latency_buckets([10.0, 100.0])?;
    /// let slow = HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
    ///     slow.register(registry.sub_registry_with_prefix("reports"))
    /// });
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
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "a monitor records nothing until the middleware has it"]
    pub fn register(&self, registry: &mut Registry) -> DefaultMonitor<L> {
        DefaultMonitor::new(&self.config, registry)
    }

    /// Takes other upper bounds for the latency, in seconds; by default 0.005 0.01 0.025 0.05 0.075 0.1 0.25 0.5 0.75 1
    /// 2.5 5 7.5 10. The infinite one is added.
    ///
    /// See [`DefaultMonitorBuilder`] for an example.
    ///
    /// # Errors
    ///
    /// When there is none, or they are not finite, not above 0 or not rising.
    pub fn latency_buckets(mut self, bounds: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        self.config.latency_buckets = checked_buckets("latency_buckets", bounds)?;
        Ok(self)
    }

    /// Calls the counter `name`; by default `request_count`. The encoder adds `_total`.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().count_name("http_requests")?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("http_requests_total", &[]), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When `name` is not a valid name of a metric, or a family of the monitor has it or a sample like it, recorded or
    /// not. And when it ends in `_total`, which would come twice.
    pub fn count_name(mut self, name: impl Into<Cow<'static, str>>) -> Result<Self, Error> {
        let name = name.into();
        if let Some(without) = name.strip_suffix("_total") {
            return Err(Error::new(format!(
                "count_name: the scrape adds `_total` to {name:?}; call it {without:?}",
            )));
        }
        self.config.count.name = name;
        self.check_names("count_name")?;
        Ok(self)
    }

    /// Calls the histogram of the latency `name`; by default `request_latency`.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().latency_name("http_request_duration_seconds")?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("http_request_duration_seconds_count", &[]), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When `name` is not a valid name of a metric, or a family of the monitor has it or a sample like it, recorded or
    /// not.
    pub fn latency_name(mut self, name: impl Into<Cow<'static, str>>) -> Result<Self, Error> {
        self.config.latency.name = name.into();
        self.check_names("latency_name")?;
        Ok(self)
    }

    /// Calls the gauge of requests in progress `name`; by default `requests_in_progress`.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().in_progress_name("http_requests_in_flight")?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("http_requests_in_flight", &[("path", "/")]), Some(0.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When `name` is not a valid name of a metric, or a family of the monitor has it or a sample like it, recorded or
    /// not.
    pub fn in_progress_name(mut self, name: impl Into<Cow<'static, str>>) -> Result<Self, Error> {
        self.config.in_progress.name = name.into();
        self.check_names("in_progress_name")?;
        Ok(self)
    }

    /// Chooses the labels of the counter and their names; by default `method`, `path` and `status`.
    ///
    /// What is left out is summed up. Labels [of one's own](Self::labels) come after these.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry, Label};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder()
    ///     .count_labels([("verb", Label::Method), ("code", Label::StatusClass)])?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// let scrape = registry.encode()?;
    /// assert!(scrape.contains(r#"request_count_total{verb="GET",code="2xx"} 1"#));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When a name is not a valid name of a label, starts with `__`, is `le` or comes twice.
    pub fn count_labels<N: Into<Cow<'static, str>>>(
        mut self,
        labels: impl IntoIterator<Item = (N, Label)>,
    ) -> Result<Self, Error> {
        self.config.count.labels = checked_labels("count_labels", labels)?;
        Ok(self)
    }

    /// Chooses the labels of the latency and of the further histograms, and their names; by default `method` and
    /// `path`.
    ///
    /// Each series of a histogram is one sample for every bucket and two more: for an application with very many
    /// routes, one without [`Label::Path`] may be better.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry, Label};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder()
    ///     .latency_labels([("method", Label::Method), ("status", Label::Status)])?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// let scrape = registry.encode()?;
    /// assert!(scrape.contains(r#"request_latency_count{method="GET",status="200"} 1"#));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When a name is not a valid name of a label, starts with `__`, is `le` or comes twice.
    pub fn latency_labels<N: Into<Cow<'static, str>>>(
        mut self,
        labels: impl IntoIterator<Item = (N, Label)>,
    ) -> Result<Self, Error> {
        self.config.latency.labels = checked_labels("latency_labels", labels)?;
        Ok(self)
    }

    /// Chooses the labels of the gauges of requests in progress, and their names; by default `method` and `path`.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry, Label};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().in_progress_labels([("verb", Label::Method)])?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// let scrape = registry.encode()?;
    /// assert!(scrape.contains(r#"requests_in_progress{verb="GET"} 0"#));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When a name is not a valid name of a label, starts with `__`, is `le` or comes twice. And when a label is not
    /// [`Label::Method`] or [`Label::Path`].
    pub fn in_progress_labels<N: Into<Cow<'static, str>>>(
        mut self,
        labels: impl IntoIterator<Item = (N, Label)>,
    ) -> Result<Self, Error> {
        let labels = checked_labels("in_progress_labels", labels)?;
        if let Some((name, _)) = labels
            .iter()
            .find(|(_, label)| !matches!(label, Label::Method | Label::Path))
        {
            return Err(Error::new(format!(
                "in_progress_labels: a request in progress has no status, but {name:?} is one; \
                 choose of Label::Method and Label::Path",
            )));
        }
        self.config.in_progress.labels = labels;
        Ok(self)
    }

    /// Leaves out the counter.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().without_count();
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("request_count_total", &[]), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn without_count(mut self) -> Self {
        self.config.count.recorded = false;
        self
    }

    /// Leaves out the histogram of the latency.
    ///
    /// The further histograms are not left out with it.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().without_latency();
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("request_latency_count", &[]), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn without_latency(mut self) -> Self {
        self.config.latency.recorded = false;
        self
    }

    /// Leaves out the gauge of requests in progress.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().without_in_progress();
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("requests_in_progress", &[]), None);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn without_in_progress(mut self) -> Self {
        self.config.in_progress.recorded = false;
        self
    }

    /// Records the sizes of request bodies in `request_body_bytes`, with these upper bounds in bytes.
    ///
    /// Counted are the bytes that the application read: 0 for a request without a body, and for one that was not read.
    /// It costs an allocation for each request that has a body.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().request_body_bytes([100.0, 10_000.0])?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
    /// # let registry = MetricsRegistry::new();
    /// # let app = test::init_service(
    /// #     App::new()
    /// #         .app_data(registry.clone())
    /// #         .route("/", web::post().to(async |body: String| body))
    /// #         .wrap(metrics),
    /// # )
    /// # .await;
    /// # test::call_and_read_body(&app, test::TestRequest::post().set_payload("hello").to_request()).await;
    /// // … after one request:
    /// assert_eq!(registry.value("request_body_bytes_sum", &[("path", "/")]), Some(5.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no bound, or they are not finite, not above 0 or not rising.
    pub fn request_body_bytes(mut self, bounds: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        self.config.request_body_buckets = Some(checked_buckets("request_body_bytes", bounds)?);
        Ok(self)
    }

    /// Records the sizes of response bodies in `response_body_bytes`, with these upper bounds in bytes.
    ///
    /// Counted is what really passed, streams included, before any transfer coding: 0 for HEAD and where there was no
    /// response. A [long-lived](crate::ResponseStart::is_long_lived) response is observed when it ends.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().response_body_bytes([100.0, 10_000.0])?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("response_body_bytes_sum", &[("path", "/")]), Some(5.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no bound, or they are not finite, not above 0 or not rising.
    pub fn response_body_bytes(mut self, bounds: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        self.config.response_body_buckets = Some(checked_buckets("response_body_bytes", bounds)?);
        Ok(self)
    }

    /// Records in `request_time_to_head_seconds` the time from the arrival until the response head was ready, with
    /// these upper bounds in seconds. Requests that ended without a response are not observed.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().time_to_head([0.1, 1.0])?;
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("request_time_to_head_seconds_count", &[("path", "/")]), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When there is no bound, or they are not finite, not above 0 or not rising.
    pub fn time_to_head(mut self, bounds: impl IntoIterator<Item = f64>) -> Result<Self, Error> {
        self.config.time_to_head_buckets = Some(checked_buckets("time_to_head", bounds)?);
        Ok(self)
    }

    /// Shows in the gauge `oldest_request_in_progress_seconds` for how long the oldest request in progress has run, by
    /// the labels of the requests in progress; 0 for a route that is known and of which none runs. An alert on a
    /// request that is stuck: the latency does not know it until it ends. A long-lived response counts as long as it
    /// lives.
    ///
    /// It is worked out at the scrape, from the table of requests in progress.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().oldest_in_progress();
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// assert_eq!(registry.value("oldest_request_in_progress_seconds", &[("path", "/")]), Some(0.0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn oldest_in_progress(mut self) -> Self {
        self.config.oldest = true;
        self
    }

    /// Shows series for these methods, routes and statuses from the beginning, at 0: Prometheus' `increase()` sees a
    /// series only from its second sample on, and so would miss the first 500.
    ///
    /// The route is a label such as `/users/{id}`, and the method one that has a label of its own: see
    /// [`extra_methods`](crate::HrPrometheus::extra_methods). Labels of one's own are not on these series.
    ///
    /// ```
    /// use actix_web::http::{Method, StatusCode};
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder()
    ///     .start_at_zero([(Method::GET, "/", StatusCode::INTERNAL_SERVER_ERROR)]);
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// let labels = [("method", "GET"), ("path", "/")];
    /// assert_eq!(registry.value("request_count_total", &[labels[0], labels[1], ("status", "500")]), Some(0.0));
    /// assert_eq!(registry.value("request_latency_count", &labels), Some(1.0));
    /// # Ok(())
    /// # }
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
            attributes: OwnLabels::NONE,
        });
        self.config.zeros.extend(series);
        self
    }

    /// Adds labels of one's own: those of the type `T`, to the counter and the histograms.
    ///
    /// Without any other option, [`with_monitor::<DefaultMonitor<T>>()`](crate::HrPrometheus::with_monitor) does.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    ///     prometheus_client::{self, encoding::EncodeLabelSet, registry::Registry},
    /// };
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
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().without_latency().labels::<Version>();
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn labels<T: RequestLabels>(self) -> DefaultMonitorBuilder<T> {
        DefaultMonitorBuilder {
            config: self.config,
            labels: PhantomData,
        }
    }

    /// Admits this many distinct sets of labels of one's own into the registry; by default 1,000. Requests beyond are
    /// counted with `_OTHER` in each of them.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart,
    ///     prometheus_client::{self, encoding::EncodeLabelSet, registry::Registry},
    /// };
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
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().labels::<Query>().max_label_sets(0);
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn max_label_sets(mut self, most: usize) -> Self {
        self.config.most_label_sets = most;
        self
    }

    /// Shows for some requests the trace by which they can be found: an exemplar with the label `trace_id`, from the
    /// header `traceparent` of W3C Trace Context.
    ///
    /// Of each bucket of the latency the latest is shown, over all workers, and of the counter the latest of all; in
    /// OpenMetrics and protobuf, the text format 0.0.4 has no exemplars. Only a valid header is used, and only one
    /// whose trace is sampled: other traces are not there to be found. A request without one costs a look for the
    /// header. Replaces [`exemplars_from`](Self::exemplars_from).
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().exemplars_from_traceparent();
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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

    /// As [`exemplars_from_traceparent`](Self::exemplars_from_traceparent), with the labels that `labels` makes of a
    /// response: for traces whose id is found elsewhere, such as in the extensions of the request. Replaces that.
    ///
    /// It is called once for each request, when the response head is ready; `None` for a request that stands for
    /// nothing. An exemplar with more than 128 characters in its names and values (OpenMetrics 1.0) or with names that
    /// labels cannot have is left out, and so is one whose function panics; the first is logged.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().exemplars_from(|response| {
    ///     let id = response.headers().get("x-request-id")?.to_str().ok()?;
    ///     Some([("request_id", id.to_owned())])
    /// });
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
        let labels = move |response: &ResponseStart<'_>| {
            let labels = labels(response)?.into_iter();
            Some(labels.map(|(name, value)| (name.into(), value.into())).collect())
        };
        self.config.exemplars = Some(ExemplarSource::Response(Arc::new(labels)));
        self
    }

    /// Gives the latency native buckets beside the classic ones: with the feature `protobuf`.
    ///
    /// They have a growth of 2^(1/8), 9 % (schema 3), and a zero threshold of 2^-128 seconds. Only those that something
    /// is in take memory, in each worker and in the scrape: for latencies between a millisecond and ten seconds about
    /// 107 for each series, and never more than 513. Recording takes a lock that only a scrape contends for.
    ///
    /// Only a scraper that asks for protobuf gets them; the text formats show the classic ones. They are asked for on
    /// both sides, here and in Prometheus, and there are traps: Prometheus 2.42 with
    /// `--enable-feature=native-histograms` stores the native buckets alone and drops the classic ones, so that every
    /// `histogram_quantile` over `…_bucket` finds nothing more. And a scraper that asks for protobuf but does not know
    /// native buckets, as that one without the flag, refuses the whole scrape.
    ///
    /// The further histograms stay classic.
    ///
    /// ```
    /// # use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let monitor = DefaultMonitor::builder().native_histograms();
    /// let metrics =
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| monitor.register(registry));
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
    /// // The text formats are as before:
    /// assert_eq!(registry.value("request_latency_count", &[]), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub fn native_histograms(mut self) -> Self {
        self.config.native = true;
        self
    }

    /// Families that differ in name, and whose samples do.
    fn check_names(&self, option: &str) -> Result<(), Error> {
        let Config {
            count,
            latency,
            in_progress,
            ..
        } = &self.config;
        let families: [(&str, Kind); 7] = [
            (&count.name, Kind::Counter),
            (&latency.name, Kind::Histogram),
            (&in_progress.name, Kind::Gauge),
            (REQUEST_BODY, Kind::Histogram),
            (RESPONSE_BODY, Kind::Histogram),
            (TIME_TO_HEAD, Kind::Histogram),
            (OLDEST, Kind::Gauge),
        ];
        let mut names = HashSet::new();
        for (name, kind) in families {
            if !is_metric_name(name) {
                return Err(Error::new(format!(
                    "{option}: {name:?} is not a name that a metric can have; \
                     use letters of ASCII, digits, `_` and `:`, and begin with no digit",
                )));
            }
            for suffix in kind.suffixes() {
                let sample = format!("{name}{suffix}");
                if names.contains(&sample) {
                    return Err(Error::new(format!(
                        "{option}: two families of the monitor would be called {sample:?} in the scrape; \
                         choose another name, or rename the other one first",
                    )));
                }
                names.insert(sample);
            }
        }
        Ok(())
    }
}

impl Config {
    pub(super) fn measures(&self) -> Measures {
        Measures::latency(&self.latency_buckets)
            .and_request_body(self.request_body_buckets.as_deref())
            .and_response_body(self.response_body_buckets.as_deref())
            .and_time_to_head(self.time_to_head_buckets.as_deref())
            .and_exemplars(self.exemplars.is_some())
            .and_native(self.native)
    }

    /// The families, with labels of one's own where `own` says so.
    pub(super) fn families(&self, own: bool) -> Families {
        let chosen = |chosen: &Chosen, help, own| {
            let family = || Family::new(chosen.name.clone(), help, chosen.labels.clone(), own);
            chosen.recorded.then(family)
        };
        let in_progress = &self.in_progress.labels;
        let oldest = || {
            let help = "Seconds for which the oldest request in progress has run";
            Family::new(OLDEST.into(), help, in_progress.clone(), false)
        };
        let further =
            |name: &'static str, help| Family::new(name.into(), help, self.latency.labels.clone(), own);
        Families {
            count: chosen(&self.count, "Number of requests received", own),
            latency: chosen(&self.latency, "Elapsed time per request", own),
            in_progress: chosen(&self.in_progress, "Requests in progress", false),
            oldest: self.oldest.then(oldest),
            request_body: further(REQUEST_BODY, "Bytes of request bodies that were read"),
            response_body: further(RESPONSE_BODY, "Bytes of response bodies that were sent"),
            time_to_head: further(TIME_TO_HEAD, "Seconds from arrival to the response head"),
        }
    }

    /// The series that are shown before they have a request.
    pub(super) fn zeros(&self) -> &[SeriesKey<OwnLabels>] {
        &self.zeros
    }

    /// The names of all labels of the families that have labels of one's own.
    pub(super) fn label_names(&self) -> HashSet<String> {
        let labels = self.count.labels.iter().chain(&self.latency.labels);
        labels.map(|(name, _)| name.clone().into_owned()).collect()
    }
}

fn checked_buckets(option: &str, bounds: impl IntoIterator<Item = f64>) -> Result<Vec<f64>, Error> {
    let bounds: Vec<_> = bounds.into_iter().collect();
    let wrong = if bounds.is_empty() {
        "there is no bound; give at least one"
    } else if !bounds.iter().all(|bound| bound.is_finite()) {
        "a bound is not finite; leave it out, the infinite one is added"
    } else if bounds[0] <= 0.0 {
        "a bound is not above 0; leave it out"
    } else if !bounds.is_sorted_by(|a, b| a < b) {
        "the bounds are not rising; sort them, and give each once"
    } else {
        return Ok(bounds);
    };
    Err(Error::new(format!("{option}: {wrong}")))
}

fn checked_labels<N: Into<Cow<'static, str>>>(
    option: &str,
    labels: impl IntoIterator<Item = (N, Label)>,
) -> Result<Labels, Error> {
    let labels = labels.into_iter().map(|(name, label)| (name.into(), label));
    let labels: Labels = labels.collect();
    let mut names = HashSet::new();
    for (name, _) in &labels {
        if !is_free_label_name(name) {
            return Err(Error::new(format!(
                "{option}: {name:?} is not a name that a label can have; use letters of ASCII, digits and `_`, \
                 begin with no digit and not with `__`, and leave `le` to the buckets",
            )));
        }
        if !names.insert(name) {
            return Err(Error::new(format!(
                "{option}: two labels are called {name:?}; rename one of them",
            )));
        }
    }
    Ok(labels)
}

impl<L> Clone for DefaultMonitorBuilder<L> {
    fn clone(&self) -> Self {
        Self {
            config: self.config.clone(),
            labels: PhantomData,
        }
    }
}

impl<L> fmt::Debug for DefaultMonitorBuilder<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Config {
            count,
            latency,
            in_progress,
            ..
        } = &self.config;
        f.debug_struct("DefaultMonitorBuilder")
            .field("count", &count.name)
            .field("latency", &latency.name)
            .field("in_progress", &in_progress.name)
            .finish_non_exhaustive()
    }
}
