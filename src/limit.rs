//! Bounds on label values that are made of what clients send: cardinality limits, as OpenTelemetry calls them.

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

/// The value of a label for everything over its limit; OpenTelemetry's name for what is not known.
pub(crate) const OTHER: &str = "_OTHER";

/// How many characters a value may have.
pub(crate) const LONGEST_VALUE: usize = 128;

/// How many distinct values a registry takes by default.
pub(crate) const DEFAULT_LIMIT: usize = 1_000;

/// A bound on the distinct values of one kind in one registry.
#[derive(Debug)]
pub(crate) struct Limit {
    /// What is limited, as the label `limit` has it.
    name: &'static str,
    /// What the log says of a limit that is exceeded.
    hint: &'static str,
    /// Whether something is limited, so that a scrape shows how often the limit was exceeded.
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

    /// From now on every scrape shows how many requests exceeded the limit, beginning with none.
    pub(crate) fn enforce(&self) {
        self.is_enforced.store(true, Relaxed);
    }

    /// As [`Admitted::admit`].
    pub(crate) fn admit(&self, value: &str, limit: usize) -> Option<Arc<str>> {
        self.admitted.admit(value, limit)
    }

    /// Counts one request over the limit; the first is logged.
    pub(crate) fn count_exceeded(&self) {
        self.exceeded.fetch_add(1, Relaxed);
        self.logged.log(
            Level::Warn,
            format_args!("{}; from now on they are counted as {OTHER}", self.hint),
        );
    }
}

/// Distinct values, up to a limit.
#[derive(Debug, Default)]
pub(crate) struct Admitted(Mutex<HashSet<Arc<str>>>);

impl Admitted {
    /// Gives back `value` as it is kept for the life of the registry, or `None` if it would be one more than `limit`.
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
    /// The labels `path`, without a limit: all workers have the same text, and so can share the keys of their series.
    pub(crate) labels: Admitted,
    /// The pairs of a path with kept values and a set of custom labels, which multiply: limited as label sets are.
    pub(crate) pairs: Admitted,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            paths: Limit::new(
                "path",
                "the limit on distinct paths is reached: raise `max_kept_paths`, or keep parameters with fewer values",
            ),
            label_sets: Limit::new(
                "label_set",
                "the limit on distinct label sets is reached, or a value has more than 128 characters: raise `max_label_sets`, or use labels with fewer values",
            ),
            labels: Admitted::default(),
            pairs: Admitted::default(),
        }
    }
}

/// Encodes how many requests exceeded each limit of a registry that is enforced.
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
