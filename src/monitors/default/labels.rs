//! Custom labels on the families of the default monitor.

use std::{
    any::TypeId,
    cell::RefCell,
    cmp::Ordering,
    collections::HashSet,
    fmt,
    hash::{Hash, Hasher},
    sync::{Arc, OnceLock},
};

use foldhash::HashMap;
use log::Level;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, LabelSetEncoder, text},
    metrics::MetricType,
    registry::Registry,
};

use crate::{
    exposition::{
        family::is_label_name,
        line::{read_labels, unescape},
    },
    limit::{LONGEST_VALUE, Limit, Limits, OTHER},
    monitor::hooks::{RequestStart, ResponseStart},
    panics::{DiscardOnDrop, LogOnce, catch},
    route::RouteLabel,
    series::{Attributes, SeriesKey},
};

/// How many labels a worker remembers besides the first of each text.
const MAX_ALIASES: usize = 1_000;

/// Adds custom labels to the counter and the histograms of [`DefaultMonitor<L>`](crate::DefaultMonitor).
///
/// Derive [`EncodeLabelSet`]: each field becomes a label of `request_count`, `request_latency` and the other
/// histograms, but not of the gauges or the counters of objectives. The labels are read when the request arrives, and
/// again when the response head is ready. A request that ends without a response keeps those of
/// [`at_arrival`](Self::at_arrival).
///
/// The derive macro writes `::prometheus_client`, so your `Cargo.toml` needs `prometheus-client = "0.26"`, the version
/// that this crate [exports](crate::prometheus_client).
///
/// ```
/// use actix_web::{App, HttpMessage as _, HttpRequest, test, web};
/// use hr_prometheus::{
///     DefaultMonitor, HrPrometheus, MetricsRegistry, RequestLabels, RequestStart, ResponseStart,
/// };
/// use prometheus_client::encoding::EncodeLabelSet;
///
/// /// Who pays for a request, as the handler has found out.
/// #[derive(Clone, Copy)]
/// struct Plan(&'static str);
///
/// #[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
/// struct ByPlan {
///     plan: &'static str,
/// }
///
/// impl RequestLabels for ByPlan {
///     fn at_arrival(_start: &RequestStart<'_>) -> Self {
///         Self { plan: "unknown" }
///     }
///
///     fn at_response(&mut self, response: &ResponseStart<'_>) {
///         if let Some(Plan(plan)) = response.request().extensions().get() {
///             self.plan = plan;
///         }
///     }
/// }
///
/// async fn hello(request: HttpRequest) -> &'static str {
///     request.extensions_mut().insert(Plan("free"));
///     "hello"
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .route("/", web::get().to(hello))
///     .wrap(HrPrometheus::with_monitor::<DefaultMonitor<ByPlan>>());
/// let app = test::init_service(app).await;
///
/// test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
/// let scrape = registry.encode()?;
/// assert!(scrape.contains(r#"request_count_total{method="GET",path="/",status="200",plan="free"} 1"#));
/// assert!(scrape.contains(r#"request_latency_count{method="GET",path="/",plan="free"} 1"#));
/// assert!(scrape.contains(r#"requests_in_progress{method="GET",path="/"} 0"#));
/// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
/// ```
///
/// # Limits
///
/// A registry admits 1,000 distinct label sets, or the number in
/// [`max_label_sets`](crate::DefaultMonitorBuilder::max_label_sets), and as many pairs of a label set and a path with
/// [kept values](crate::HrPrometheus::keep_params). A request over the limit is still counted, with `_OTHER` in every
/// custom label, and in `hr_prometheus_cardinality_limit_exceeded_total{limit="label_set"}`; the first one is logged. A
/// value with more than 128 characters is over the limit too. Still avoid values that clients can choose freely: they
/// would use up the limit.
///
/// # Failures
///
/// If `at_arrival`, `at_response`, the comparison or the encoding panics, or if the encoding fails, the request is
/// counted without custom labels, and the first such failure is logged.
///
/// A label is omitted and logged once if its name is invalid, is `le`, or is that of another label of the family. If it
/// is that of a constant label of the registry, the families with custom labels are omitted from the scrape.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a set of request labels",
    label = "does not implement `RequestLabels`",
    note = "implement `hr_prometheus::RequestLabels` for `{Self}`"
)]
pub trait RequestLabels: EncodeLabelSet + Eq + Hash + Send + 'static {
    /// Reads the labels of a request that has arrived and is not routed yet.
    fn at_arrival(start: &RequestStart<'_>) -> Self;

    /// Updates the labels when the response head is ready.
    ///
    /// Called at most once, and not for a request that ends without a response.
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn at_response(&mut self, response: &ResponseStart<'_>) {}
}

/// Adds no custom labels.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NoLabels;

impl EncodeLabelSet for NoLabels {
    fn encode(&self, _encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        Ok(())
    }
}

impl RequestLabels for NoLabels {
    fn at_arrival(_start: &RequestStart<'_>) -> Self {
        Self
    }
}

/// Whether the type has no labels. The compiler evaluates it.
#[inline]
pub(super) fn is_none<L: RequestLabels>() -> bool {
    TypeId::of::<L>() == TypeId::of::<NoLabels>()
}

/// A set of custom labels as series keep it; `None` for a series without any.
#[derive(Clone, Debug, Default)]
pub(super) struct CustomLabels(Option<Arc<LabelSet>>);

#[derive(Debug)]
struct LabelSet {
    /// The identity of the label set, and its order.
    text: Arc<str>,
    pairs: Vec<(String, String)>,
}

impl CustomLabels {
    pub(super) const NONE: Self = Self(None);

    fn new(text: Arc<str>, pairs: Vec<(String, String)>) -> Self {
        Self(Some(Arc::new(LabelSet { text, pairs })))
    }

    #[cfg(test)]
    pub(super) fn of(pairs: &[(&str, &str)]) -> Self {
        let owned = |&(name, value): &(&str, &str)| (name.to_owned(), value.to_owned());
        let pairs: Vec<_> = pairs.iter().map(owned).collect();
        Self::new(text_of(&pairs).into(), pairs)
    }

    fn text(&self) -> &str {
        self.0.as_ref().map_or("", |set| &set.text)
    }
}

impl PartialEq for CustomLabels {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for CustomLabels {}

impl Hash for CustomLabels {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().hash(state);
    }
}

impl PartialOrd for CustomLabels {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for CustomLabels {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text().cmp(other.text())
    }
}

impl Attributes for CustomLabels {
    #[inline]
    fn same_in_row(&self, _other: &Self) -> bool {
        // A row is of one label set.
        true
    }

    fn for_each_label(key: &SeriesKey<Self>, each: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        let pairs = key.attributes.0.iter().flat_map(|set| &set.pairs);
        let mut pairs = pairs.map(|(name, value)| (name.as_str(), value.as_str()));
        pairs.try_for_each(|(name, value)| each(name, value))
    }
}

/// The label sets that one monitor admits.
#[derive(Debug)]
pub(super) struct LabelSets {
    /// Those of the registry, known from the first request on.
    limits: OnceLock<Arc<Limits>>,
    max: usize,
    /// The names of the other labels.
    taken: HashSet<String>,
    /// The labels of all requests over the limit, with the names of the first.
    over_limit: OnceLock<CustomLabels>,
    logged: LogOnce,
}

impl LabelSets {
    pub(super) fn new(max: usize, taken: HashSet<String>) -> Self {
        Self {
            limits: OnceLock::new(),
            max,
            taken,
            over_limit: OnceLock::new(),
            logged: LogOnce::default(),
        }
    }

    /// Runs a user's code for labels; `None` if it panics.
    pub(super) fn contain<T>(&self, code: impl FnOnce() -> T) -> Option<T> {
        catch(code)
            .inspect_err(|panicked| self.report(format_args!("panicked: {panicked}")))
            .ok()
    }

    fn report(&self, what: fmt::Arguments<'_>) {
        self.logged.log(
            Level::Error,
            format_args!("custom labels {what}; fix their `RequestLabels`; affected requests are recorded without them (logged once)"),
        );
    }

    /// Counts label sets in the registry that has these limits.
    pub(super) fn count_in(&self, limits: &Arc<Limits>) {
        self.limits.get_or_init(|| Arc::clone(limits));
        self.limit().enforce();
    }

    fn limit(&self) -> &Limit {
        &self.limits.get_or_init(Arc::default).label_sets
    }

    /// The text of a label set as it is kept; `None` if it is over the limit, by itself or together with the values of
    /// the path.
    fn admit(&self, text: &str, route: &RouteLabel, max: usize) -> Option<Arc<str>> {
        let admitted = self.limit().admit(text, max)?;
        if route.has_values {
            let pairs = &self.limits.get_or_init(Arc::default).pairs;
            pairs.admit(&format!("{} {text}", route.text), max)?;
        }
        Some(admitted)
    }

    /// The pairs of names and values that `labels` encode to, without those that would make the scrape invalid.
    fn pairs<L: RequestLabels>(&self, labels: DiscardOnDrop<L>) -> Option<EncodedLabels<L>> {
        let Some((labels, mut pairs)) = encoded(labels) else {
            self.report(format_args!("could not be encoded"));
            return None;
        };
        let mut names = HashSet::new();
        pairs.retain(|(name, _)| {
            let is_valid =
                is_free_label_name(name) && !self.taken.contains(name) && names.insert(name.clone());
            if !is_valid {
                self.report(format_args!(
                    "have a label whose name is invalid or taken: {name:?}"
                ));
            }
            is_valid
        });
        Some((labels, pairs))
    }

    fn over_limit(&self, pairs: Vec<(String, String)>) -> CustomLabels {
        self.limit().count_exceeded();
        let over_limit = self.over_limit.get_or_init(|| {
            let names = pairs.into_iter().map(|(name, _)| name);
            let pairs: Vec<_> = names.map(|name| (name, OTHER.to_owned())).collect();
            let text = text_of(&pairs).into();
            CustomLabels::new(text, pairs)
        });
        over_limit.clone()
    }
}

/// One worker's view of the series of each label set.
pub(super) struct WorkerLabels<L> {
    sets: Arc<LabelSets>,
    /// The numbers of the rows of series, by label set and the number of the route.
    rows: RefCell<HashMap<(CustomLabels, usize), usize>>,
    /// The same by the labels as they came, so that most need not be encoded. The route comes first, so that labels of
    /// other routes are not compared, which runs code of the user.
    known: RefCell<HashMap<(usize, DiscardOnDrop<L>), Row>>,
}

#[derive(Clone)]
struct Row {
    number: usize,
    labels: CustomLabels,
    is_over_limit: bool,
}

impl<L: RequestLabels> WorkerLabels<L> {
    pub(super) fn new(sets: &Arc<LabelSets>) -> Self {
        Self {
            sets: Arc::clone(sets),
            rows: RefCell::default(),
            known: RefCell::default(),
        }
    }

    /// The row for requests with these labels to the route of this number, and the labels as its series have them.
    pub(super) fn row(&self, labels: DiscardOnDrop<L>, route: &RouteLabel) -> (usize, CustomLabels) {
        let row = self.sets.contain(|| self.find(labels, route)).flatten();
        let row = row.unwrap_or_else(|| self.row_of(CustomLabels::NONE, route.id));
        (row.number, row.labels)
    }

    fn find(&self, labels: DiscardOnDrop<L>, route: &RouteLabel) -> Option<Row> {
        labels.as_ref()?;
        let key = (route.id, labels);
        if let Some(row) = self.known.borrow().get(&key) {
            if row.is_over_limit {
                self.sets.limit().count_exceeded();
            }
            return Some(row.clone());
        }
        let (labels, pairs) = self.sets.pairs(key.1)?;
        let fit = |(_, value): &(String, String)| value.chars().nth(LONGEST_VALUE).is_none();
        let max = if pairs.iter().all(fit) { self.sets.max } else { 0 };
        let admitted = self.sets.admit(&text_of(&pairs), route, max);
        let is_over_limit = admitted.is_none();
        let labels_of_series = match admitted {
            Some(text) => CustomLabels::new(text, pairs),
            None => self.sets.over_limit(pairs),
        };
        let row = Row {
            is_over_limit,
            ..self.row_of(labels_of_series, route.id)
        };
        let mut known = self.known.borrow_mut();
        // Any number of labels may be encoded to the same text.
        if known.len() < self.rows.borrow().len() + MAX_ALIASES {
            known.insert((route.id, labels), row.clone());
        }
        Some(row)
    }

    fn row_of(&self, labels: CustomLabels, route: usize) -> Row {
        let mut rows = self.rows.borrow_mut();
        let next = rows.len();
        let number = *rows.entry((labels.clone(), route)).or_insert(next);
        Row {
            number,
            labels,
            is_over_limit: false,
        }
    }
}

/// Whether a label of a family can have this name: `le` is reserved for buckets.
pub(super) fn is_free_label_name(name: &str) -> bool {
    is_label_name(name) && name != "le"
}

/// One text for all sets of pairs that are the same to a scraper: in any order, and with or without labels that have no
/// value.
fn text_of(pairs: &[(String, String)]) -> String {
    use fmt::Write as _;

    let mut pairs: Vec<_> = pairs.iter().filter(|(_, value)| !value.is_empty()).collect();
    pairs.sort();
    pairs.iter().fold(String::new(), |mut text, (name, value)| {
        let _ = write!(text, "{name}={value:?},");
        text
    })
}

/// Labels, and the pairs of names and values that they encode to.
type EncodedLabels<L> = (DiscardOnDrop<L>, Vec<(String, String)>);

/// Encodes `labels`, which only a registry can do, and reads the names and values back; `None` if that fails.
fn encoded<L: RequestLabels>(labels: DiscardOnDrop<L>) -> Option<EncodedLabels<L>> {
    let labels = Arc::new(Mutex::new(labels));
    let mut registry = Registry::default();
    registry.register_collector(Box::new(Sample(Arc::clone(&labels))));
    let mut text = String::new();
    text::encode_registry(&mut text, &registry).ok()?;
    drop(registry);
    let labels = Arc::into_inner(labels)?.into_inner();
    let (_, sample) = text.split_once("\nsample{")?;
    let mut pairs = Vec::new();
    let read = read_labels(sample, |name, value| {
        pairs.push((name.to_owned(), unescape(value).into_owned()));
        Ok(())
    });
    read.ok()?;
    Some((labels, pairs))
}

/// One sample with these labels.
struct Sample<L>(Arc<Mutex<DiscardOnDrop<L>>>);

impl<L> fmt::Debug for Sample<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sample").finish_non_exhaustive()
    }
}

impl<L: RequestLabels> Collector for Sample<L> {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let labels = self.0.lock();
        let labels = labels.as_ref().ok_or(fmt::Error)?;
        encoder
            .encode_descriptor("sample", "", None, MetricType::Gauge)?
            .encode_family(labels)?
            .encode_gauge(&1_i64)
    }
}
