//! The registry that workers, monitors and scrapes share.

pub(crate) mod body;
pub(crate) mod names;
pub(crate) mod parts;
pub(crate) mod scrapes;

use std::{
    any::Any,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    time::Instant,
};

use actix_web::{HttpRequest, web};
use futures_util::future::LocalBoxFuture;
use log::Level;
use once_cell::sync::{Lazy, OnceCell};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

#[cfg(feature = "live")]
use crate::registry::names::MonitorNames;
use crate::{
    error::Error,
    exposition::{
        constant::constant_labels,
        difference::{difference, family_names},
        format::{Format, MediaType, OPENMETRICS_1_0_0, PROMETHEUS_TEXT_0_0_4},
        line::sum,
        lint::lint,
        rendered::{Omitted, OmittedCounts, Rendered},
        text::{self, OPENMETRICS},
    },
    limit::{Limits, LimitsCollector},
    panics::{LogOnce, catch, report},
    registry::{
        parts::Parts,
        scrapes::{Render, ScrapeMetrics, Scrapes},
    },
};

static GLOBAL: Lazy<MetricsRegistry> = Lazy::new(MetricsRegistry::new);

/// Holds metrics: a shared handle on a [`prometheus_client::registry::Registry`]. Clones share its content.
///
/// The middleware and `/metrics` use the registry in the app data (`.app_data(registry.clone())`, also as `web::Data` or
/// `Arc`), else [`MetricsRegistry::global`]. Create it **outside** the closure of `HttpServer::new`, which runs once per
/// worker: a registry created inside has the numbers of one worker, so each scrape shows only a part.
///
/// Create one for custom metrics, for tests, or to add a prefix or constant labels:
///
/// ```
/// use hr_prometheus::{MetricsRegistry, prometheus_client::{metrics::counter::Counter, registry::Registry}};
///
/// let registry = MetricsRegistry::from(Registry::with_prefix("shop"));
/// let orders: Counter = registry.register_with(|registry| {
///     let orders = Counter::default();
///     registry.register("orders", "Orders placed", orders.clone());
///     orders
/// });
///
/// orders.inc();
/// assert_eq!(
///     registry.encode()?.lines().collect::<Vec<_>>(),
///     [
///         "# HELP shop_orders Orders placed.",
///         "# TYPE shop_orders counter",
///         "shop_orders_total 1",
///         "# EOF",
///     ],
/// );
/// # Ok::<(), hr_prometheus::Error>(())
/// ```
#[derive(Clone)]
pub struct MetricsRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    /// One entry for each source. Registering one holds no lock that another needs.
    registered: Mutex<Vec<Arc<Registered>>>,
    scrapes: Arc<Scrapes>,
    /// How often everything has been updated for a scrape.
    preparations: AtomicUsize,
    preparing: futures_util::lock::Mutex<()>,
    limits: Arc<Limits>,
    /// Whether scrapers that ask for no format get Prometheus text.
    has_text_by_default: AtomicBool,
    /// Whether a scrape fails instead of omitting something.
    is_strict: AtomicBool,
    /// Whether a middleware records into it.
    is_recorded: AtomicBool,
}

/// Something that is registered once for each source, and updated before each scrape.
pub(crate) trait BeforeScrape: Any + Send + Sync {
    fn prepare(&self, request: &HttpRequest) -> LocalBoxFuture<'static, ()>;
}

/// The origin of a registration: equal sources are registered once.
pub(crate) trait Source: Any + Send + Sync {
    fn is(&self, other: &dyn Any) -> bool;
}

impl<T: PartialEq + Send + Sync + 'static> Source for T {
    fn is(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| self == other)
    }
}

/// The registration of one source, or why it failed.
struct Registered {
    source: Box<dyn Source>,
    value: OnceCell<Result<Arc<dyn BeforeScrape>, Error>>,
}

impl MetricsRegistry {
    /// Creates an empty registry.
    #[must_use]
    pub fn new() -> Self {
        Self::from(Registry::default())
    }

    /// Creates an empty registry that adds these labels to everything registered in it.
    ///
    /// Use them for values that are fixed for the whole process, such as the region. They come before other labels, sorted
    /// by name. To add a prefix as well, convert a [`Registry::with_prefix_and_labels`]. A label name that is invalid, or
    /// that a monitor uses for one of its labels, makes [`HrPrometheus::register_in`](crate::HrPrometheus::register_in)
    /// return an error.
    ///
    /// ```
    /// use std::collections::HashMap;
    ///
    /// use hr_prometheus::{MetricsRegistry, build_info};
    ///
    /// let labels = HashMap::from([("region".to_owned(), "eu".to_owned())]);
    /// let registry = MetricsRegistry::with_labels(labels);
    /// registry.register_with(build_info!(version = "1.4.0"));
    /// assert!(registry.encode()?.contains(r#"build_info{region="eu",version="1.4.0"} 1"#));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use]
    pub fn with_labels<N, V>(labels: impl IntoIterator<Item = (N, V)>) -> Self
    where
        N: Into<String>,
        V: Into<String>,
    {
        let labels = labels.into_iter();
        // A map may have any order; the order in the scrape must not change.
        let labels: BTreeMap<_, _> = labels.map(|(name, value)| (name.into(), value.into())).collect();
        let labels = labels
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self::from(Registry::with_labels(labels))
    }

    /// Returns the registry that the whole process shares. The middleware and `/metrics` use it if the app data has none.
    #[must_use]
    pub fn global() -> Self {
        GLOBAL.clone()
    }

    /// Registers custom metrics, which then appear in every scrape, and returns what the closure returns.
    ///
    /// The closure is called once, before this returns, with a registry that has the prefix and the labels of this one.
    /// Families that would break a scrape are [omitted](crate::metrics_view#invalid-families) from it, and logged once.
    ///
    /// ```
    /// use hr_prometheus::{MetricsRegistry, prometheus_client::metrics::gauge::Gauge};
    ///
    /// let registry = MetricsRegistry::new();
    /// let queued: Gauge = registry.register_with(|registry| {
    ///     let queued = Gauge::default();
    ///     registry.register("jobs_queued", "Jobs waiting", queued.clone());
    ///     queued
    /// });
    ///
    /// queued.set(3);
    /// assert_eq!(registry.value("jobs_queued", &[]), Some(3.0));
    /// ```
    ///
    /// # Panics
    ///
    /// If called during a registration or a scrape of the same registry: from a collector, a
    /// [`RequestMonitor::register`](crate::RequestMonitor::register) or another `register_with`. And if the closure panics:
    /// whatever it has registered by then is dropped.
    pub fn register_with<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        match self.shared.parts.register(register) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Measures the scrapes themselves from now on.
    ///
    /// | family | type | meaning |
    /// | --- | --- | --- |
    /// | `hr_prometheus_scrapes_total` | counter | scrapes, by `outcome`: `success`, `timeout` or `error` |
    /// | `hr_prometheus_scrape_duration_seconds` | histogram | time to render a scrape, without the time to send it |
    /// | `hr_prometheus_scrape_size_bytes` | gauge | size of the previous scrape, before compression |
    /// | `hr_prometheus_scrape_series` | gauge | series in the previous scrape |
    /// | `hr_prometheus_scrape_families_omitted` | gauge | invalid families that are omitted from this scrape |
    /// | `hr_prometheus_scrape_series_omitted` | gauge | invalid series that are omitted from other families of this scrape |
    ///
    /// Once something has been omitted, the last two are in every scrape, even without this option. Scrapes that share a
    /// render are counted one by one in `hr_prometheus_scrapes_total`, and together in the other families. Requests over a
    /// limit on labels are counted by `hr_prometheus_cardinality_limit_exceeded_total`, which is exposed whenever there is
    /// such a limit.
    ///
    /// ```
    /// use hr_prometheus::MetricsRegistry;
    ///
    /// let registry = MetricsRegistry::new().with_scrape_metrics();
    /// registry.encode()?;
    /// assert_eq!(registry.value("hr_prometheus_scrape_duration_seconds_count", &[]), Some(1.0));
    /// # Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// If called during a registration or a scrape of the same registry.
    #[must_use]
    pub fn with_scrape_metrics(self) -> Self {
        if let Err(error) = self.shared.parts.check_free("cannot register in a registry") {
            panic!("{error}");
        }
        self.shared
            .scrapes
            .measure(|| self.register_with(ScrapeMetrics::register));
        self
    }

    /// Fails a scrape instead of omitting invalid families and series from it.
    ///
    /// By default the rest of the scrape is served. With this option such a scrape is answered with 500 and the
    /// reasons, and [`encode`](Self::encode) returns them as an error. Use it if no samples are better than missing
    /// ones.
    ///
    /// ```
    /// use hr_prometheus::{MetricsRegistry, prometheus_client::metrics::counter::ConstCounter};
    ///
    /// let registry = MetricsRegistry::new().strict();
    /// registry.register_with(|registry| {
    ///     registry.register("jobs-done", "Jobs done", ConstCounter::new(3_u64));
    /// });
    ///
    /// assert_eq!(
    ///     registry.encode().unwrap_err().to_string(),
    ///     "the scrape would be incomplete: the family jobs-done has an invalid name, prefix or unit; \
    ///      use letters, digits, `_` and `:`",
    /// );
    /// ```
    #[must_use]
    pub fn strict(self) -> Self {
        self.shared.is_strict.store(true, Relaxed);
        self
    }

    /// Serves Prometheus text 0.0.4 instead of OpenMetrics to clients that ask for no format.
    ///
    /// Use it for scrapers that send no `Accept` and read only text, such as those of Influx and Fluent Bit, or for
    /// `curl … | promtool check metrics`. A client that names a format in `Accept` still gets that.
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use hr_prometheus::{MetricsRegistry, metrics_scope};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new().with_text_by_default();
    /// let app = test::init_service(App::new().app_data(registry).service(metrics_scope())).await;
    ///
    /// let scrape = test::TestRequest::get().uri("/metrics").to_request();
    /// let response = test::call_service(&app, scrape).await;
    /// let content_type = response.headers().get("content-type");
    /// assert_eq!(content_type.unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    /// # });
    /// ```
    #[must_use]
    pub fn with_text_by_default(self) -> Self {
        self.shared.has_text_by_default.store(true, Relaxed);
        self
    }

    /// Encodes all families as OpenMetrics 1.0.0 text, ending in `# EOF`.
    ///
    /// This is what `/metrics` serves, except that [`RequestMonitor::prepare_scrape`], which needs a worker, is not called.
    /// Families that would break the format are [omitted](crate::metrics_view#invalid-families).
    ///
    /// [`RequestMonitor::prepare_scrape`]: crate::RequestMonitor::prepare_scrape
    ///
    /// # Errors
    ///
    /// If called during a registration or a scrape of the same registry. If the registry is [strict](Self::strict), also if
    /// something would be omitted.
    pub fn encode(&self) -> Result<String, Error> {
        let rendered =
            self.encode_with(|parts, omissions, size| text::render(parts, omissions, &OPENMETRICS, size))?;
        Ok(rendered.body)
    }

    /// The render in this format that is running, or a new one.
    ///
    /// # Errors
    ///
    /// If the bodies of earlier scrapes, which are still being sent, hold too much memory.
    pub(crate) fn render(&self, format: Format) -> Result<Arc<Render>, Error> {
        let registry = self.clone();
        self.shared.scrapes.render(format, move || {
            registry.encode_with(|parts, omissions, size| format.render(parts, omissions, size))
        })
    }

    /// The format for scrapers that ask for none.
    pub(crate) fn default_media_type(&self) -> &'static MediaType {
        if self.shared.has_text_by_default.load(Relaxed) {
            &PROMETHEUS_TEXT_0_0_4
        } else {
            &OPENMETRICS_1_0_0
        }
    }

    pub(crate) fn encode_with<T: AsRef<[u8]>>(
        &self,
        encode: impl FnOnce(
            &mut dyn Iterator<Item = &Registry>,
            &dyn Fn(OmittedCounts) -> Registry,
            usize,
        ) -> Rendered<T>,
    ) -> Result<Rendered<T>, Error> {
        let began = Instant::now();
        let scrapes = &self.shared.scrapes;
        let size = scrapes.expected_size();
        let omissions = |counts| {
            let mut part = self.shared.parts.new_part();
            scrapes.register_omissions(&mut part, counts);
            part
        };
        let rendered = self
            .shared
            .parts
            .encode(|parts| encode(parts, &omissions, size))?;
        scrapes.observe(&rendered, began);
        if self.shared.is_strict.load(Relaxed) && !rendered.omitted.is_empty() {
            return Err(Error::new(format!(
                "the scrape would be incomplete: {}",
                join(&rendered.omitted)
            )));
        }
        Ok(rendered)
    }

    /// Counts a scrape that has been answered.
    pub(crate) fn count_scrape(&self, outcome: &'static str) {
        self.shared.scrapes.count(outcome);
    }

    /// Whether nothing has been logged under this `name` yet.
    pub(crate) fn is_first(&self, name: &str) -> bool {
        self.shared.scrapes.is_first(name)
    }

    /// Returns the sum over the samples called `name` whose labels include all of `labels`, or `None` if there are none.
    ///
    /// For tests. `name` is the name of samples in the scrape, such as `request_count_total` or
    /// `request_latency_count`; a counter is also found by the name of its family, `request_count`. `labels` are any
    /// selection, in any order. Returns `None` also if the registry cannot be [encoded](Self::encode).
    ///
    /// Requests are counted when they finish, so read or drop the body of the response first:
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/", web::get().to(async || "hello"))
    ///     .wrap(HrPrometheus::default());
    /// let app = test::init_service(app).await;
    ///
    /// let response = test::call_service(&app, test::TestRequest::get().to_request()).await;
    /// assert_eq!(registry.value("request_count_total", &[("path", "/")]), None);
    /// assert_eq!(registry.value("requests_in_progress", &[("path", "/")]), Some(1.0));
    ///
    /// drop(response);
    /// assert_eq!(registry.value("request_count_total", &[("path", "/")]), Some(1.0));
    /// assert_eq!(registry.value("requests_in_progress", &[("path", "/")]), Some(0.0));
    /// # });
    /// ```
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sum(&self.encode().ok()?, name, labels)
    }

    /// Asserts that the family `name` has exactly the samples `expected`.
    ///
    /// For tests, like [`value`](Self::value). `expected` is text as in the scrape, except that the order of lines and
    /// labels and the indentation do not matter, exemplars are ignored, and a number may be written `1` or `1.0`. HELP and
    /// TYPE lines are compared only if `expected` has some. `name` may also be the name of samples, such as
    /// `request_latency_count`, to compare only those. An empty `expected` asserts that there are no samples.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/hello/{name}", web::get().to(async || "hello"))
    ///     .wrap(HrPrometheus::default());
    /// let app = test::init_service(app).await;
    /// for path in ["/hello/alice", "/hello/bob", "/nowhere"] {
    ///     test::call_and_read_body(&app, test::TestRequest::with_uri(path).to_request()).await;
    /// }
    ///
    /// registry.assert_family(
    ///     "request_count",
    ///     r#"
    ///     request_count_total{method="GET",path="/hello/{name}",status="200"} 2
    ///     request_count_total{method="GET",path="unmatched",status="404"} 1
    ///     "#,
    /// );
    /// # });
    /// ```
    ///
    /// # Panics
    ///
    /// If they differ. The message has the lines that do, expected ones with `-` and found ones with `+`, and the names of
    /// all families:
    ///
    /// ```text
    /// request_count is not as expected (- expected, + found):
    ///   - request_count_total{method="GET",path="/hello/{name}",status="200"} 3
    ///   + request_count_total{method="GET",path="/hello/{name}",status="200"} 2
    /// ```
    ///
    /// Also if the registry cannot be [encoded](Self::encode).
    #[track_caller]
    pub fn assert_family(&self, name: &str, expected: &str) {
        let scrape = match self.encode() {
            Ok(scrape) => scrape,
            Err(error) => panic!("{error}"),
        };
        if let Some(difference) = difference(&scrape, name, expected) {
            let families: Vec<_> = family_names(&scrape).collect();
            panic!(
                "{name} is not as expected (- expected, + found):{difference}\nThe families are: {}",
                families.join(", ")
            );
        }
    }

    /// Returns the violations of Prometheus' naming rules, one sentence each.
    ///
    /// For tests. Send requests to every part of the application first, because families without series are not in
    /// the scrape. The rules are those of `promtool check metrics`: a help text, base units (`seconds`, `bytes`),
    /// `snake_case`, no abbreviations and no types in names, and suffixes that fit the type. One more comes from the
    /// [naming practices]: no label in a name. [Omitted](crate::metrics_view#invalid-families) families are listed too.
    ///
    /// ```
    /// use hr_prometheus::{MetricsRegistry, prometheus_client::metrics::gauge::Gauge};
    ///
    /// let registry = MetricsRegistry::new();
    /// registry.register_with(|registry| {
    ///     registry.register("backup_age_hours", "Time since the last backup", Gauge::<i64>::default());
    /// });
    ///
    /// assert_eq!(registry.lint(), ["backup_age_hours is in hours; use the base unit seconds"]);
    /// ```
    ///
    /// To allow a name that cannot change:
    ///
    /// ```
    /// # let registry = hr_prometheus::MetricsRegistry::new();
    /// let mut problems = registry.lint();
    /// problems.retain(|problem| !problem.starts_with("legacy_latency_ms "));
    /// assert!(problems.is_empty(), "{problems:#?}");
    /// ```
    ///
    /// [naming practices]: https://prometheus.io/docs/practices/naming/
    #[must_use = "these are the problems that were found"]
    pub fn lint(&self) -> Vec<String> {
        let rendered =
            self.encode_with(|parts, omissions, size| text::render(parts, omissions, &OPENMETRICS, size));
        match rendered {
            Ok(rendered) => {
                let omitted = rendered.omitted.iter().map(Omitted::to_string);
                omitted.chain(lint(&rendered.body)).collect()
            }
            Err(error) => vec![error.to_string()],
        }
    }

    /// The registry that the middleware and `/metrics` use for `request`.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        static LOGGED: LogOnce = LogOnce::new();

        let in_data = request.app_data::<web::Data<Self>>().map(|data| data.as_ref());
        let found = in_data
            .or_else(|| request.app_data::<Self>())
            .or_else(|| request.app_data::<Arc<Self>>().map(Arc::as_ref));
        if found.is_none() && has_bare_registry(request) {
            LOGGED.log(
                Level::Warn,
                format_args!("the app data has a bare prometheus_client Registry, which is not used: wrap it, `.app_data(MetricsRegistry::from(registry))`"),
            );
        }
        found.cloned().unwrap_or_else(Self::global)
    }

    /// Notes that a middleware records into this registry.
    pub(crate) fn note_recorded(&self) {
        self.shared.is_recorded.store(true, Relaxed);
        IS_ANY_RECORDED.store(true, Relaxed);
    }

    /// Warns once if a scrape shows no requests although another registry in this process has some.
    pub(crate) fn warn_if_overlooked(&self) {
        if !self.shared.is_recorded.load(Relaxed)
            && IS_ANY_RECORDED.load(Relaxed)
            && self.shared.scrapes.is_first("a registry without requests")
        {
            report(
                Level::Warn,
                format_args!(
                    "the MetricsRegistry that is scraped has no requests, but another one in this process has: add the same MetricsRegistry to the app data of every `App`, not only of a scope, and wrap HrPrometheus around the application"
                ),
            );
        }
    }

    /// The registration of `source`, the monitor `name`; calls `register` unless that has been done.
    ///
    /// # Errors
    ///
    /// If `register` panics, now or before, which is logged once. If called during a registration or a scrape of this
    /// registry.
    pub(crate) fn register_once<T: BeforeScrape>(
        &self,
        name: &str,
        source: impl Source,
        register: impl FnOnce(&mut Registry) -> T,
    ) -> Result<Arc<T>, Error> {
        let place = self.place_of(source);
        // The cell would wait for itself.
        if place.value.get().is_none()
            && let Err(error) = self.shared.parts.check_free("cannot register in a registry")
        {
            report(Level::Error, format_args!("the monitor {name} is off: {error}"));
            return Err(error);
        }
        let value = place.value.get_or_init(|| {
            let register = |part: &mut Registry| {
                let check = constant_labels(part);
                check.map_err(|reason| Error::new(format!("the monitor {name} is off: its registry {reason}")))?;
                Ok(register(part))
            };
            let registered = catch(|| self.shared.parts.register(register)).unwrap_or_else(|panicked| {
                Err(Error::new(format!(
                    "the monitor {name} is off: its `register` panicked: {panicked}; it records nothing until that is fixed"
                )))
            });
            match registered.flatten() {
                Ok(value) => Ok(Arc::new(value)),
                Err(error) => {
                    report(Level::Error, format_args!("{error}"));
                    Err(error)
                }
            }
        });
        let value: Arc<dyn Any + Send + Sync> = value.clone()?;
        value.downcast().map_err(|_| {
            Error::new(format!(
                "two monitors called {name} are made by one closure; write one for each"
            ))
        })
    }

    fn place_of(&self, source: impl Source) -> Arc<Registered> {
        let mut all = self.shared.registered.lock();
        if let Some(place) = all.iter().find(|place| source.is(&*place.source as &dyn Any)) {
            return Arc::clone(place);
        }
        let place = Arc::new(Registered {
            source: Box::new(source),
            value: OnceCell::new(),
        });
        all.push(Arc::clone(&place));
        place
    }

    /// Lets everything that is registered update its families. Scrapes that arrive meanwhile wait for that, and do not
    /// begin again.
    pub(crate) async fn prepare_scrape(&self, request: &HttpRequest) {
        // Relaxed: the lock orders the second look. The first may be late by a moment, and so may what it shares.
        let before = self.shared.preparations.load(Relaxed);
        let _preparing = self.shared.preparing.lock().await;
        if self.shared.preparations.load(Relaxed) != before {
            return;
        }
        let all = self.shared.registered.lock().clone();
        for registered in all {
            if let Some(Ok(value)) = registered.value.get() {
                value.prepare(request).await;
            }
        }
        self.shared.preparations.fetch_add(1, Relaxed);
    }

    /// The names of the families of the monitors in this registry.
    #[cfg(feature = "live")]
    pub(crate) fn names(&self) -> Vec<MonitorNames> {
        self.shared.parts.names()
    }

    /// The limits on labels in this registry.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.shared.limits)
    }
}

/// Omissions in one line.
fn join(omitted: &[Omitted]) -> String {
    let omitted: Vec<_> = omitted.iter().map(Omitted::to_string).collect();
    omitted.join("; ")
}

/// Whether any registry of the process has requests.
static IS_ANY_RECORDED: AtomicBool = AtomicBool::new(false);

/// Whether the app data has a registry that is not a [`MetricsRegistry`].
fn has_bare_registry(request: &HttpRequest) -> bool {
    request.app_data::<web::Data<Registry>>().is_some()
        || request.app_data::<Registry>().is_some()
        || request.app_data::<Arc<Registry>>().is_some()
}

impl Default for MetricsRegistry {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes over a registry with everything registered in it, its prefix and its labels.
impl From<Registry> for MetricsRegistry {
    fn from(root: Registry) -> Self {
        let registry = Self {
            shared: Arc::new(Shared {
                parts: Parts::new(root),
                registered: Mutex::default(),
                scrapes: Arc::default(),
                preparations: AtomicUsize::new(0),
                preparing: futures_util::lock::Mutex::new(()),
                limits: Arc::default(),
                has_text_by_default: AtomicBool::default(),
                is_strict: AtomicBool::default(),
                is_recorded: AtomicBool::new(false),
            }),
        };
        let limits = LimitsCollector(registry.limits());
        registry.register_with(|part| part.register_collector(Box::new(limits)));
        registry
    }
}

impl fmt::Debug for MetricsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsRegistry").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use actix_web::{test::TestRequest, web};
    use prometheus_client::registry::Registry;

    use super::{MetricsRegistry, has_bare_registry};

    #[test]
    fn a_registry_of_prometheus_client_is_seen_however_it_is_held() {
        let request = TestRequest::default;
        for bare in [
            request().app_data(Registry::default()),
            request().app_data(web::Data::new(Registry::default())),
            request().app_data(Arc::new(Registry::default())),
        ] {
            assert!(has_bare_registry(&bare.to_http_request()));
        }
        let own = request().app_data(MetricsRegistry::new());
        assert!(!has_bare_registry(&own.to_http_request()));
    }
}
