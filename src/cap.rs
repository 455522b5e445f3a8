//! Bounds on label values that are made of what clients send.

use std::{
    collections::HashSet,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

/// What stands in a label for values beyond its cap; OpenTelemetry's name for what is not known.
pub(crate) const OTHER: &str = "_OTHER";

/// How long a value is at the most, in characters.
pub(crate) const LONGEST_VALUE: usize = 128;

/// How many distinct values a registry takes where nobody said otherwise.
pub(crate) const DEFAULT_MOST: usize = 1_000;

/// A bound on the distinct values of one kind in one registry.
#[derive(Debug)]
pub(crate) struct Cap {
    /// What is counted, as the scrape and the log name it.
    kind: &'static str,
    known: Mutex<HashSet<Arc<str>>>,
    beyond: AtomicU64,
    reported: AtomicBool,
}

impl Cap {
    pub(crate) fn new(kind: &'static str) -> Self {
        Self {
            kind,
            known: Mutex::default(),
            beyond: AtomicU64::new(0),
            reported: AtomicBool::new(false),
        }
    }

    /// Gives back `value` as it is kept for the life of the registry, or `None` if it would be one more than `most`.
    pub(crate) fn admit(&self, value: &str, most: usize) -> Option<Arc<str>> {
        let mut known = self.known.lock();
        if let Some(known) = known.get(value) {
            return Some(Arc::clone(known));
        }
        if known.len() >= most {
            return None;
        }
        let value: Arc<str> = value.into();
        known.insert(Arc::clone(&value));
        Some(value)
    }

    /// Counts one request whose value was beyond the cap; the first is logged.
    pub(crate) fn count_beyond(&self) {
        self.beyond.fetch_add(1, Ordering::Relaxed);
        if !self.reported.swap(true, Ordering::Relaxed) {
            log::warn!(
                "more distinct {} than their cap allows, or a value of more than {LONGEST_VALUE} characters: from now on they are counted as {OTHER}; raise the cap, or keep less of what clients send",
                self.kind,
            );
        }
    }

    pub(crate) fn beyond(&self) -> u64 {
        self.beyond.load(Ordering::Relaxed)
    }
}

/// The caps of one registry.
#[derive(Debug)]
pub(crate) struct Caps {
    /// Paths with kept parameters.
    pub(crate) paths: Cap,
    /// Sets of labels of one's own.
    pub(crate) label_sets: Cap,
}

impl Default for Caps {
    fn default() -> Self {
        Self {
            paths: Cap::new("paths"),
            label_sets: Cap::new("label sets"),
        }
    }
}

/// Encodes how many requests ran into the caps of a registry.
#[derive(Debug)]
pub(crate) struct CapsCollector(pub(crate) Arc<Caps>);

impl Collector for CapsCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let mut family = encoder.encode_descriptor(
            "hr_prometheus_requests_beyond_cap",
            "Requests counted under _OTHER because a label had more distinct values than its cap allows",
            None,
            MetricType::Counter,
        )?;
        for (name, cap) in [("path", &self.0.paths), ("label_set", &self.0.label_sets)] {
            family
                .encode_family(&[("cap", name)])?
                .encode_counter::<NoLabelSet, _, u64>(&cap.beyond(), None)?;
        }
        Ok(())
    }
}
