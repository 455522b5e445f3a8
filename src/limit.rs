//! Limits on label values that clients influence: cardinality limits, as OpenTelemetry calls them.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
};

use log::Level;
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

use crate::panics::LogOnce;

/// The label value for everything over its limit; OpenTelemetry's word for unknown values.
pub(crate) const OTHER: &str = "_OTHER";

/// How many characters a value may have.
pub(crate) const LONGEST_VALUE: usize = 128;

/// How many distinct values a registry admits by default.
pub(crate) const DEFAULT_LIMIT: usize = 1_000;

/// A limit on the distinct values of one kind in one registry.
#[derive(Debug)]
pub(crate) struct Limit {
    /// The value of the label `limit`.
    name: &'static str,
    /// What the log says when the limit is exceeded.
    hint: &'static str,
    /// Whether scrapes show how often the limit was exceeded, because something is limited.
    is_enforced: AtomicBool,
    admitted: Admitted,
    /// Relaxed, as the flag: nothing is read because of them.
    exceeded: AtomicU64,
    logged: LogOnce,
}

impl Limit {
    fn new(name: &'static str, hint: &'static str) -> Self {
        Self {
            name,
            hint,
            is_enforced: AtomicBool::new(false),
            admitted: Admitted::default(),
            exceeded: AtomicU64::new(0),
            logged: LogOnce::default(),
        }
    }

    /// From now on every scrape shows how many requests exceeded the limit, beginning at 0.
    pub(crate) fn enforce(&self) {
        self.is_enforced.store(true, Relaxed);
    }

    /// As [`Admitted::admit`].
    pub(crate) fn admit(&self, value: &str, limit: usize) -> Option<Arc<str>> {
        self.admitted.admit(value, limit)
    }

    /// Counts one request over the limit; the first one is logged.
    pub(crate) fn count_exceeded(&self) {
        self.exceeded.fetch_add(1, Relaxed);
        self.logged.log(
            Level::Warn,
            format_args!(
                "{}; requests over the limit are recorded as {OTHER} (logged once)",
                self.hint
            ),
        );
    }
}

/// Distinct values, up to a limit.
#[derive(Debug, Default)]
pub(crate) struct Admitted(Mutex<HashSet<Arc<str>>>);

impl Admitted {
    /// Returns `value` as it is kept for the life of the registry, or `None` if it would exceed `limit`.
    pub(crate) fn admit(&self, value: &str, limit: usize) -> Option<Arc<str>> {
        let mut admitted = self.0.lock();
        if let Some(known) = admitted.get(value) {
            return Some(Arc::clone(known));
        }
        if admitted.len() >= limit {
            return None;
        }
        let value: Arc<str> = value.into();
        admitted.insert(Arc::clone(&value));
        Some(value)
    }
}

/// The limits of one registry.
#[derive(Debug)]
pub(crate) struct Limits {
    /// On paths with kept parameters.
    pub(crate) paths: Limit,
    /// On sets of custom labels.
    pub(crate) label_sets: Limit,
    /// The labels `path`, without a limit: all workers share their text, and so the keys of their series.
    pub(crate) labels: Admitted,
    /// On pairs of a path with kept values and a set of custom labels, since they multiply: as many as label sets.
    pub(crate) pairs: Admitted,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            paths: Limit::new(
                "path",
                "`keep_params`: the limit on distinct paths is reached: raise `max_kept_paths`, or keep parameters with fewer values",
            ),
            label_sets: Limit::new(
                "label_set",
                "custom labels: the limit on distinct label sets is reached, or a value has more than 128 characters: raise `max_label_sets`, or use labels with fewer values",
            ),
            labels: Admitted::default(),
            pairs: Admitted::default(),
        }
    }
}

/// Encodes how many requests exceeded each enforced limit of a registry.
#[derive(Debug)]
pub(crate) struct LimitsCollector(pub(crate) Arc<Limits>);

impl Collector for LimitsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let all = [&self.0.paths, &self.0.label_sets];
        let enforced: Vec<_> = all
            .into_iter()
            .filter(|limit| limit.is_enforced.load(Relaxed))
            .collect();
        if enforced.is_empty() {
            return Ok(());
        }
        let mut family = encoder.encode_descriptor(
            "hr_prometheus_cardinality_limit_exceeded",
            "Requests counted as _OTHER because a label has more distinct values than its limit",
            None,
            MetricType::Counter,
        )?;
        for limit in enforced {
            family
                .encode_family(&[("limit", limit.name)])?
                .encode_counter::<NoLabelSet, _, u64>(&limit.exceeded.load(Relaxed), None)?;
        }
        Ok(())
    }
}
