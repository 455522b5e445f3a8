//! The measures of a request, and the layout of their numbers in a series.

#[cfg(not(hr_loom))]
use std::sync::atomic::AtomicU64;
use std::{sync::atomic::Ordering::Relaxed, time::Duration};

#[cfg(hr_loom)]
use loom::sync::atomic::AtomicU64;

use crate::series::native::NativeOptions;

/// The measures of a request: the latency, and optional further values.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    pub(crate) latency: Distribution,
    /// Those of the further values, in the order in which the values of a request are observed.
    pub(crate) further: Vec<Distribution>,
    /// Whether some requests leave an exemplar.
    pub(super) exemplars: bool,
    /// The native buckets of the latency, if it has any.
    pub(super) native: Option<NativeOptions>,
    /// How many numbers a series has.
    pub(crate) width: usize,
}

/// The unit of a distribution, and how its values are recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Scale {
    /// Recorded in nanoseconds.
    Seconds,
    Bytes,
}

impl Scale {
    /// The recorded number for one unit.
    fn per_unit(self) -> f64 {
        match self {
            Self::Seconds => 1e9,
            Self::Bytes => 1.0,
        }
    }
}

/// The shape of one histogram, and the place of its numbers among those of a series: the sum, then the observations
/// in each bucket, not cumulated.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    /// Upper bounds, the last one infinite.
    pub(crate) bounds: Box<[f64]>,
    /// The same as they are recorded.
    limits: Box<[u64]>,
    per_unit: f64,
    start: usize,
}

impl Measures {
    /// Measures the latency alone, in buckets with these upper bounds in seconds: rising and finite, the infinite one
    /// is added.
    pub(crate) fn latency(bounds: &[f64]) -> Self {
        let latency = Distribution::new(bounds, Scale::Seconds, 0);
        Self {
            width: latency.end(),
            latency,
            further: Vec::new(),
            exemplars: false,
            native: None,
        }
    }

    /// Measures a further value, in buckets with these upper bounds.
    #[must_use]
    pub(crate) fn and(mut self, bounds: &[f64], scale: Scale) -> Self {
        let distribution = Distribution::new(bounds, scale, self.width);
        self.width = distribution.end();
        self.further.push(distribution);
        self
    }

    #[must_use]
    pub(crate) fn and_exemplars(mut self, exemplars: bool) -> Self {
        self.exemplars = exemplars;
        self
    }

    #[must_use]
    pub(crate) fn and_native(mut self, native: Option<NativeOptions>) -> Self {
        self.native = native;
        self
    }
}

impl Distribution {
    fn new(bounds: &[f64], scale: Scale, start: usize) -> Self {
        let per_unit = scale.per_unit();
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and so do a latency beyond 584 years and a bound below zero"
        )]
        let limit = |bound: &f64| (bound * per_unit).round() as u64;
        Self {
            bounds: bounds.iter().copied().chain([f64::INFINITY]).collect(),
            limits: bounds.iter().map(limit).chain([u64::MAX]).collect(),
            per_unit,
            start,
        }
    }

    fn end(&self) -> usize {
        self.start + 1 + self.bounds.len()
    }

    #[inline]
    pub(super) fn observe(&self, numbers: &[AtomicU64], value: u64) {
        add(&numbers[self.start], value);
        add(&numbers[self.start + 1 + self.bucket(value)], 1);
    }

    /// The index of the bucket for what is recorded as `value`.
    #[inline]
    pub(super) fn bucket(&self, value: u64) -> usize {
        let bucket = self.limits.iter().position(|&limit| value <= limit);
        bucket.unwrap_or(self.limits.len() - 1)
    }

    /// Whether it is that of the latency, which every series has.
    pub(crate) fn is_latency(&self) -> bool {
        self.start == 0
    }

    /// The sum of what was observed, in seconds or bytes.
    pub(crate) fn sum(&self, numbers: &[u64]) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a sample has no more digits than that")]
        let sum = numbers[self.start] as f64;
        sum / self.per_unit
    }

    /// The observations in each bucket, not cumulated.
    pub(crate) fn buckets<'a>(&self, numbers: &'a [u64]) -> &'a [u64] {
        &numbers[self.start + 1..self.end()]
    }
}

#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[inline]
pub(super) fn add(number: &AtomicU64, value: u64) {
    number.store(number.load(Relaxed).wrapping_add(value), Relaxed);
}
