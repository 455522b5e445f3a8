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

/// A handle on one [`prometheus_client::registry::Registry`]; clones share it.
///
/// The middleware and `/metrics` use the registry in the application's data (`.app_data(registry.clone())`, also as
/// `web::Data` or `Arc`), else [`MetricsRegistry::global`]. Make one **outside** the closure of `HttpServer::new`: that
/// runs once per worker, and a registry made in it has the numbers of one worker, so that each scrape shows a part.
/// A registry is for custom metrics, for tests, and for a prefix or labels on everything:
///
/// ```
/// use hr_prometheus::{MetricsRegistry, prometheus_client::{metrics::counter::Counter, registry::Registry}};
///
/// # fn main() -> Result<(), hr_prometheus::Error> {
/// let registry = MetricsRegistry::from(Registry::with_prefix("shop"));
/// let orders = registry.register_with(|registry| {
///     let orders: Counter = Counter::default();
///     registry.register("orders", "Orders placed", orders.clone());
///     orders
/// });
///
/// orders.inc();
/// let scrape = registry.encode()?;
/// assert_eq!(
///     scrape.lines().collect::<Vec<_>>(),
///     [
///         "# HELP shop_orders Orders placed.",
///         "# TYPE shop_orders counter",
///         "shop_orders_total 1",
///         "# EOF",
///     ],
/// );
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct MetricsRegistry {
    shared: Arc<Shared>,
}

struct Shared {
    parts: Parts,
    /// By their sources. Making one holds no lock that another needs.
    registered: Mutex<Vec<Arc<Registered>>>,
    scrapes: Arc<Scrapes>,
    /// How often everything was brought up to date for a scrape.
    preparations: AtomicUsize,
    preparing: futures_util::lock::Mutex<()>,
    limits: Arc<Limits>,
    /// Whether those who ask for no format get Prometheus text.
    has_text_by_default: AtomicBool,
    /// Whether a scrape fails rather than omit something.
    is_strict: AtomicBool,
    /// Whether a middleware records into it.
    is_recorded: AtomicBool,
}

/// What is registered once for each source, and made ready before each scrape.
pub(crate) trait BeforeScrape: Any + Send + Sync {
    fn prepare(&self, request: &HttpRequest) -> LocalBoxFuture<'static, ()>;
}

/// Where something that is registered comes from: registered once for all sources that are equal.
pub(crate) trait Source: Any + Send + Sync {
    fn is(&self, other: &dyn Any) -> bool;
}

impl<T: PartialEq + Send + Sync + 'static> Source for T {
    fn is(&self, other: &dyn Any) -> bool {
        other.downcast_ref::<T>().is_some_and(|other| self == other)
    }
}

/// The place of one source: what was registered, or why it could not be.
struct Registered {
    source: Box<dyn Source>,
    value: OnceCell<Result<Arc<dyn BeforeScrape>, Error>>,
}

impl MetricsRegistry {
    /// Makes a registry of its own, empty.
    #[must_use]
    pub fn new() -> Self {
        Self::from(Registry::default())
    }

    /// Creates an empty registry with these labels on everything that is registered in it: for what is known when the
    /// program starts, such as the region, from any map.
    ///
    /// They come first and are sorted by name. For a prefix besides, make it from a
    /// [`Registry::with_prefix_and_labels`]. A name that no label can have, or that a monitor has for a label of its
    /// own, is an [`Error`] of [`HrPrometheus::register_in`](crate::HrPrometheus::register_in).
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
        // A map may have any order, and a scrape has the same each time.
        let labels: BTreeMap<_, _> = labels.map(|(name, value)| (name.into(), value.into())).collect();
        let labels = labels
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        Self::from(Registry::with_labels(labels))
    }

    /// The one registry of the process: what the middleware and `/metrics` use when there is none in the
    /// application's data.
    #[must_use]
    pub fn global() -> Self {
        GLOBAL.clone()
    }

    /// Registers custom metrics, which then appear in every scrape.
    ///
    /// The closure gets a registry with the prefix and the labels of this one. Families that would break a scrape are
    /// [omitted](crate::metrics_view#invalid-families) from it, and logged once.
    ///
    /// ```
    /// use hr_prometheus::{MetricsRegistry, prometheus_client::metrics::gauge::Gauge};
    ///
    /// let registry = MetricsRegistry::new();
    /// let queued: Gauge = registry.register_with(|registry| {
    ///     let queued = Gauge::default();
    ///     registry.register("jobs_queued", "Jobs that wait", queued.clone());
    ///     queued
    /// });
    ///
    /// queued.set(3);
    /// assert_eq!(registry.value("jobs_queued", &[]), Some(3.0));
    /// ```
    ///
    /// # Panics
    ///
    /// When called from within a registration or a scrape of the same registry: from a collector, a
    /// [`RequestMonitor::register`](crate::RequestMonitor::register) or another `register_with`. What the closure
    /// registered before it panicked is dropped.
    pub fn register_with<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> T {
        match self.shared.parts.register(register) {
            Ok(value) => value,
            Err(error) => panic!("{error}"),
        }
    }

    /// Measures the scrapes themselves as well, from now on.
    ///
    /// | family | type | meaning |
    /// | --- | --- | --- |
    /// | `hr_prometheus_scrapes_total` | counter | scrapes, by `outcome`: `success`, `timeout` or `error` |
    /// | `hr_prometheus_scrape_duration_seconds` | histogram | time to render one, without the time to send it |
    /// | `hr_prometheus_scrape_size_bytes` | gauge | size of the one before, before compression |
    /// | `hr_prometheus_scrape_series` | gauge | series in the one before |
    /// | `hr_prometheus_scrape_families_omitted` | gauge | invalid families that are omitted from this one |
    /// | `hr_prometheus_scrape_series_omitted` | gauge | invalid series that are omitted from other families of this one |
    ///
    /// The last two are in every scrape, measured or not, once something is omitted.
    ///
    /// Scrapes that wait for the same render count each in `hr_prometheus_scrapes_total`, and once in the others. How
    /// many requests exceeded a limit on labels is `hr_prometheus_cardinality_limit_exceeded_total`, which is there
    /// whenever there is a limit.
    ///
    /// ```
    /// use hr_prometheus::MetricsRegistry;
    ///
    /// # fn main() -> Result<(), hr_prometheus::Error> {
    /// let registry = MetricsRegistry::new().with_scrape_metrics();
    /// registry.encode()?;
    /// assert_eq!(registry.value("hr_prometheus_scrape_duration_seconds_count", &[]), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When called from within a registration or a scrape of the same registry.
    #[must_use]
    pub fn with_scrape_metrics(self) -> Self {
        if let Err(error) = self
            .shared
            .parts
            .check_free("nothing can be registered in a registry")
        {
            panic!("{error}");
        }
        self.shared
            .scrapes
            .measure(|| self.register_with(ScrapeMetrics::register));
        self
    }

    /// Fails scrapes rather than omit something from them.
    ///
    /// By default a scrape is served without the families and series that would break it. From now on it is answered
    /// with 500 and the reasons, and [`encode`](Self::encode) returns them as an error: for those who prefer no
    /// samples to missing ones.
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
    ///     "the scrape would be incomplete: the family jobs-done has a name, a prefix or a unit that no metric can \
    ///      have; use letters, digits, `_` and `:`",
    /// );
    /// ```
    #[must_use]
    pub fn strict(self) -> Self {
        self.shared.is_strict.store(true, Relaxed);
        self
    }

    /// Answers those who ask for no format with Prometheus text 0.0.4 instead of OpenMetrics.
    ///
    /// For scrapers that send no `Accept` and read nothing else, such as those of Influx and Fluent Bit, or
    /// `curl … | promtool check metrics`. Those who name a format in `Accept` get it as before.
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use hr_prometheus::{MetricsRegistry, metrics_scope};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new().with_text_by_default();
    /// let app = test::init_service(App::new().app_data(registry).service(metrics_scope())).await;
    ///
    /// let scrape = test::TestRequest::get().uri("/metrics").to_request();
    /// let response = test::call_service(&app, scrape).await;
    /// let content_type = response.headers().get("content-type");
    /// assert_eq!(content_type.unwrap(), "text/plain; version=0.0.4; charset=utf-8");
    /// # }
    /// ```
    #[must_use]
    pub fn with_text_by_default(self) -> Self {
        self.shared.has_text_by_default.store(true, Relaxed);
        self
    }

    /// Encodes all families as OpenMetrics 1.0.0 text, ending in `# EOF`.
    ///
    /// What `/metrics` serves, but for [`RequestMonitor::prepare_scrape`], which is not called: it needs a worker.
    /// Families that would break the format are [omitted](crate::metrics_view#invalid-families).
    ///
    /// [`RequestMonitor::prepare_scrape`]: crate::RequestMonitor::prepare_scrape
    ///
    /// # Errors
    ///
    /// When called from within a registration or a scrape of the same registry; and, where it is
    /// [strict](Self::strict), when something would be omitted.
    pub fn encode(&self) -> Result<String, Error> {
        let rendered =
            self.encode_with(|parts, omissions, size| text::render(parts, omissions, &OPENMETRICS, size))?;
        Ok(rendered.body)
    }

    /// The render in this format that is under way, or one that begins now.
    ///
    /// # Errors
    ///
    /// When the bodies of earlier scrapes, which are still being sent, hold too much memory.
    pub(crate) fn render(&self, format: Format) -> Result<Arc<Render>, Error> {
        let registry = self.clone();
        self.shared.scrapes.render(format, move || {
            registry.encode_with(|parts, omissions, size| format.render(parts, omissions, size))
        })
    }

    /// What those get who ask for no format.
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

    /// Counts a scrape that was answered.
    pub(crate) fn count_scrape(&self, outcome: &'static str) {
        self.shared.scrapes.count(outcome);
    }

    /// Whether this is the first time that something is to be logged which is known by `name`.
    pub(crate) fn is_first(&self, name: &str) -> bool {
        self.shared.scrapes.is_first(name)
    }

    /// The sum over the samples called `name` whose labels include all of `labels`; `None` if there is none.
    ///
    /// Made for tests. `name` is that of a sample as the scrape has it, such as `request_count_total` or
    /// `request_latency_count`; a counter is also found by the name of its family, `request_count`. The labels are a
    /// selection, in any order. `None` also when the registry cannot be [encoded](Self::encode).
    ///
    /// A request counts when it has ended, so read or drop the body of a response before you look:
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/", web::get().to(async || "hello"))
    ///         .wrap(HrPrometheus::default()),
    /// )
    /// .await;
    ///
    /// let response = test::call_service(&app, test::TestRequest::get().to_request()).await;
    /// assert_eq!(registry.value("request_count_total", &[("path", "/")]), None);
    /// assert_eq!(registry.value("requests_in_progress", &[("path", "/")]), Some(1.0));
    ///
    /// drop(response);
    /// assert_eq!(registry.value("request_count_total", &[("path", "/")]), Some(1.0));
    /// assert_eq!(registry.value("requests_in_progress", &[("path", "/")]), Some(0.0));
    /// # }
    /// ```
    #[must_use]
    pub fn value(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        sum(&self.encode().ok()?, name, labels)
    }

    /// Asserts that the family `name` has the samples `expected`, and no others.
    ///
    /// Made for tests, as [`value`](Self::value). `expected` is text as the scrape has it. Neither the order of its lines and
    /// of their labels matters nor how they are indented; exemplars are ignored; a number may be written `1` or `1.0`. HELP
    /// and TYPE are compared if `expected` has any. `name` may also be that of samples, such as `request_latency_count`, to
    /// assert these alone, and no lines assert that there are none.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/hello/{name}", web::get().to(async || "hello"))
    ///         .wrap(HrPrometheus::default()),
    /// )
    /// .await;
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
    /// # }
    /// ```
    ///
    /// # Panics
    ///
    /// When they differ, with the lines that do: those that are expected with `-`, those that are found with `+`.
    ///
    /// ```text
    /// request_count is not as expected (- expected, + found):
    ///   - request_count_total{method="GET",path="/hello/{name}",status="200"} 3
    ///   + request_count_total{method="GET",path="/hello/{name}",status="200"} 2
    /// ```
    ///
    /// And when the registry cannot be [encoded](Self::encode).
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

    /// What is against the naming rules of Prometheus, one sentence each; nothing if all is well.
    ///
    /// Made for a test, after requests to every part of the application, because families without series are in no scrape.
    /// The rules are those of `promtool check metrics`: a help text, base units (`seconds`, `bytes`), `snake_case`, no
    /// abbreviations and no types in names, and suffixes that belong to the type. One is added from the [naming
    /// practices]: no label in a name. Families that are [omitted](crate::metrics_view#invalid-families) are listed too.
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
    /// In a test, with the name of a family that stays as it is:
    ///
    /// ```
    /// # let registry = hr_prometheus::MetricsRegistry::new();
    /// let mut problems = registry.lint();
    /// problems.retain(|problem| !problem.starts_with("legacy_latency_ms "));
    /// assert!(problems.is_empty(), "{problems:#?}");
    /// ```
    ///
    /// [naming practices]: https://prometheus.io/docs/practices/naming/
    #[must_use = "it is the problems that are found"]
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
                format_args!("the application's data has a prometheus_client Registry, which is not looked for: wrap it, `.app_data(MetricsRegistry::from(registry))`"),
            );
        }
        found.cloned().unwrap_or_else(Self::global)
    }

    /// Notes that a middleware records into this registry.
    pub(crate) fn note_recorded(&self) {
        self.shared.is_recorded.store(true, Relaxed);
        IS_ANY_RECORDED.store(true, Relaxed);
    }

    /// Warns, once, of a scrape that shows no requests although another registry of the process has some.
    pub(crate) fn warn_if_overlooked(&self) {
        if !self.shared.is_recorded.load(Relaxed)
            && IS_ANY_RECORDED.load(Relaxed)
            && self.shared.scrapes.is_first("a registry without requests")
        {
            report(
                Level::Warn,
                format_args!(
                    "the MetricsRegistry that is scraped has no requests, but another one of the process has: put the same MetricsRegistry into the data of every `App`, not of a scope alone, and wrap HrPrometheus around the application"
                ),
            );
        }
    }

    /// What is registered for `source`, which is done now if it has not been: by `register`, for the monitor `name`.
    ///
    /// # Errors
    ///
    /// When `register` panics, now or before, which is logged once; and from within a registration or a scrape of this
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
            && let Err(error) = self
                .shared
                .parts
                .check_free("nothing can be registered in a registry")
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
                    "`register` of the monitor {name} panicked: {panicked}; it records nothing until this is mended"
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
                "two monitors called {name} have one source; register each from its own"
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

    /// Lets everything that was registered bring its families up to date. Scrapes that come meanwhile wait for that, and
    /// do not begin anew.
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

    /// What the families of the monitors in this registry are called.
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

/// Whether somebody put a registry into the application's data that is not a [`MetricsRegistry`].
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

/// Takes over a registry with all that is registered in it, its prefix and its labels.
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
