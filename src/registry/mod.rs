//! The registry that workers, monitors and scrapes share.

use std::{
    any::Any,
    cell::RefCell,
    collections::HashSet,
    fmt, iter, mem,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use actix_web::{
    HttpRequest,
    web::{self, Bytes},
};
use futures_util::future::LocalBoxFuture;
use log::Level;
use once_cell::sync::{Lazy, OnceCell};
use parking_lot::{Mutex, RwLock};
use prometheus_client::registry::Registry;

use crate::{
    endpoint::{negotiation::Encoding, scrape::Scrapes},
    error::Error,
    exposition::{
        line::sum,
        rendered::{Rendered, render_text},
        text::Dialect,
    },
    limit::{Limits, LimitsCollector},
    panics::{catch, discard, report},
};

/// How much of what is left out is logged, at the most: a collector may make up names.
const MOST_REPORTED: usize = 1_000;

static GLOBAL: Lazy<MetricsRegistry> = Lazy::new(MetricsRegistry::new);

/// A handle on one [`prometheus_client::registry::Registry`]; clones share it.
///
/// The middleware and `/metrics` use the registry in the application's data (`.app_data(registry.clone())` or
/// `.app_data(web::Data::new(registry))`), else [`MetricsRegistry::global`]. A registry of one's own is for metrics
/// of one's own, for tests, and for a prefix or labels on everything:
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
    families: RwLock<Families>,
    /// By their sources. Making one holds no lock that another needs.
    registered: Mutex<Vec<Arc<Registered>>>,
    /// What has been logged because it is left out of scrapes: families, or the reason where there is no name.
    reported: Mutex<HashSet<String>>,
    /// The size of the last scrape, in bytes.
    encoded_size: AtomicUsize,
    scrapes: Scrapes,
    limits: Arc<Limits>,
}

struct Families {
    /// Has the prefix and the labels of the registry, and no families.
    empty: Registry,
    /// As it was given, and one for each registration since. Shared with renders, which hold no lock: a collector may
    /// take its time, and meanwhile others register.
    parts: Vec<Arc<Registry>>,
}

impl Families {
    /// Makes an empty registry with the prefix and the labels of this one.
    fn new_part(&mut self) -> Registry {
        mem::take(self.empty.sub_registry_with_labels(iter::empty()))
    }

    fn push(&mut self, part: Registry) {
        self.parts.push(Arc::new(part));
    }
}

/// A registry that is being filled. What it holds may panic when it is dropped, also while the registration unwinds.
struct Unfinished(Registry);

impl Drop for Unfinished {
    fn drop(&mut self) {
        discard(mem::take(&mut self.0));
    }
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

    /// The one registry of the process: what the middleware and `/metrics` use when there is none in the
    /// application's data.
    #[must_use]
    pub fn global() -> Self {
        GLOBAL.clone()
    }

    /// Registers metrics of one's own, which then appear in every scrape.
    ///
    /// The closure gets a registry with the prefix and the labels of this one. What would break a scrape is
    /// [left out](crate::metrics_view#what-is-left-out) of it, and logged once.
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
        match self.register_part(register) {
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
    /// | `hr_prometheus_scrape_families_left_out` | gauge | families that were left out of the one before |
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
        if let Err(error) = self.check_free("nothing can be registered in a registry") {
            panic!("{error}");
        }
        let mut families = self.shared.families.write();
        if let Some(part) = self.shared.scrapes.measure(|| families.new_part()) {
            families.push(part);
        }
        drop(families);
        self
    }

    /// Encodes all families as OpenMetrics 1.0.0 text, ending in `# EOF`.
    ///
    /// What `/metrics` serves, but for [`RequestMonitor::prepare_scrape`], which is not called: it needs a worker.
    /// Families that would break the format are [left out](crate::metrics_view#what-is-left-out).
    ///
    /// [`RequestMonitor::prepare_scrape`]: crate::RequestMonitor::prepare_scrape
    ///
    /// # Errors
    ///
    /// When called from within a registration or a scrape of the same registry.
    pub fn encode(&self) -> Result<String, Error> {
        self.render_with(|parts, size| render_text(parts, Dialect::OpenMetrics, size))
    }

    /// Encodes all families that are valid; those that are not are logged, once each.
    pub(crate) fn render(&self, encoding: Encoding) -> Result<Bytes, Error> {
        match encoding {
            Encoding::OpenMetrics => self.encode().map(Bytes::from),
            Encoding::PrometheusText => self
                .render_with(|parts, size| render_text(parts, Dialect::Prometheus, size))
                .map(Bytes::from),
            #[cfg(feature = "protobuf")]
            Encoding::PrometheusProtobuf => self
                .render_with(|parts, _| crate::exposition::protobuf::render(parts))
                .map(Bytes::from),
        }
    }

    fn render_with<T: AsRef<[u8]>>(
        &self,
        render: impl FnOnce(&mut dyn Iterator<Item = &Registry>, usize) -> Rendered<T>,
    ) -> Result<T, Error> {
        let _in_use = self.enter("a registry cannot be encoded")?;
        let began = Instant::now();
        let parts = self.shared.families.read().parts.clone();
        // A little more than the last time, so that it need not be moved while it grows.
        let size = self.shared.encoded_size.load(Ordering::Relaxed);
        let rendered = render(&mut parts.iter().map(Arc::as_ref), size + size / 16);
        let size = rendered.body.as_ref().len();
        self.shared.encoded_size.store(size, Ordering::Relaxed);
        self.shared.scrapes.observe(&rendered, began);
        for left_out in rendered.left_out {
            if self.is_first(left_out.name()) {
                report(Level::Error, format_args!("left out of the scrape: {left_out}"));
            }
        }
        Ok(rendered.body)
    }

    /// Whether this is the first time that something is to be logged which is known by `name`.
    pub(crate) fn is_first(&self, name: &str) -> bool {
        let mut reported = self.shared.reported.lock();
        reported.len() < MOST_REPORTED && reported.insert(name.to_owned())
    }

    pub(crate) fn scrapes(&self) -> &Scrapes {
        &self.shared.scrapes
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

    /// The registry that the middleware and `/metrics` use for `request`.
    pub(crate) fn of(request: &HttpRequest) -> Self {
        let in_data = request.app_data::<web::Data<Self>>().map(|data| data.as_ref());
        in_data
            .or_else(|| request.app_data::<Self>())
            .cloned()
            .unwrap_or_else(Self::global)
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
            && let Err(error) = self.check_free("nothing can be registered in a registry")
        {
            report(Level::Error, format_args!("the monitor {name} is off: {error}"));
            return Err(error);
        }
        let value = place.value.get_or_init(|| {
            let registered = catch(|| self.register_part(register)).unwrap_or_else(|panicked| {
                Err(Error::new(format!(
                    "`register` of the monitor {name} panicked: {panicked}; it records nothing until this is mended"
                )))
            });
            match registered {
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

    /// Lets everything that was registered bring its families up to date.
    pub(crate) async fn prepare_scrape(&self, request: &HttpRequest) {
        let all = self.shared.registered.lock().clone();
        for registered in all {
            if let Some(Ok(value)) = registered.value.get() {
                value.prepare(request).await;
            }
        }
    }

    /// The limits on labels in this registry.
    pub(crate) fn limits(&self) -> Arc<Limits> {
        Arc::clone(&self.shared.limits)
    }

    /// Registers into a registry of its own, so that no lock is held and a panic leaves nothing behind.
    fn register_part<T>(&self, register: impl FnOnce(&mut Registry) -> T) -> Result<T, Error> {
        let _in_use = self.enter("nothing can be registered in a registry")?;
        let mut part = Unfinished(self.shared.families.write().new_part());
        let value = register(&mut part.0);
        self.shared.families.write().push(mem::take(&mut part.0));
        Ok(value)
    }

    /// Refuses what would dead-lock or recurse without end, rather than do it.
    fn check_free(&self, refused: &str) -> Result<(), Error> {
        if IN_USE.with_borrow(|in_use| in_use.iter().any(|registry| registry.is(self))) {
            return Err(Error::new(format!(
                "{refused} from within a registration or a scrape of itself; do it before or after"
            )));
        }
        Ok(())
    }

    fn enter(&self, refused: &str) -> Result<InUse<'_>, Error> {
        self.check_free(refused)?;
        IN_USE.with_borrow_mut(|in_use| in_use.push(self.clone()));
        Ok(InUse(self))
    }

    fn is(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }
}

impl Default for MetricsRegistry {
    fn default() -> Self {
        Self::new()
    }
}

/// Takes over a registry with all that is registered in it, its prefix and its labels.
impl From<Registry> for MetricsRegistry {
    fn from(mut root: Registry) -> Self {
        let mut families = Families {
            empty: mem::take(root.sub_registry_with_labels(iter::empty())),
            parts: vec![Arc::new(root)],
        };
        let limits = Arc::<Limits>::default();
        let mut part = families.new_part();
        part.register_collector(Box::new(LimitsCollector(Arc::clone(&limits))));
        families.push(part);
        Self {
            shared: Arc::new(Shared {
                families: RwLock::new(families),
                registered: Mutex::default(),
                reported: Mutex::default(),
                encoded_size: AtomicUsize::new(0),
                scrapes: Scrapes::default(),
                limits,
            }),
        }
    }
}

impl fmt::Debug for MetricsRegistry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MetricsRegistry").finish_non_exhaustive()
    }
}

thread_local! {
    /// The registries in which this thread is registering or encoding at this moment.
    static IN_USE: RefCell<Vec<MetricsRegistry>> = const { RefCell::new(Vec::new()) };
}

/// This thread's mark on a registry that it is registering in or encoding.
struct InUse<'a>(&'a MetricsRegistry);

impl Drop for InUse<'_> {
    fn drop(&mut self) {
        IN_USE.with_borrow_mut(|in_use| in_use.retain(|registry| !registry.is(self.0)));
    }
}
