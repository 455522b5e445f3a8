//! The samples of this crate's own families, whoever writes them.

use std::{fmt, rc::Rc, time::SystemTime};

use prometheus_client::encoding::NativeHistogram;

use crate::exposition::exemplar::{Exemplar, OfSeries};

/// Writes the series of a family.
pub(crate) trait Output {
    fn counter(&mut self, labels: &dyn LabelPairs, counter: Counter) -> fmt::Result;
    fn gauge(&mut self, labels: &dyn LabelPairs, value: Number) -> fmt::Result;
    fn histogram(&mut self, labels: &dyn LabelPairs, histogram: Histogram<'_>) -> fmt::Result;
}

/// The labels of a series.
pub(crate) trait LabelPairs {
    /// Calls `each` with each name and value.
    fn for_each(&self, each: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result;
}

impl<const N: usize> LabelPairs for [(&str, &str); N] {
    fn for_each(&self, each: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        self.iter().try_for_each(|(name, value)| each(name, value))
    }
}

pub(crate) struct Counter {
    pub(crate) count: u64,
    pub(crate) exemplar: Option<Exemplar>,
    pub(crate) created: SystemTime,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum Number {
    Whole(i64),
    Float(f64),
}

pub(crate) struct Histogram<'a> {
    pub(crate) sum: f64,
    /// How much is in each bucket, by its upper bound, not cumulated.
    pub(crate) buckets: &'a [(f64, u64)],
    pub(crate) exemplars: OfSeries,
    pub(crate) native: Option<NativeHistogram<'a>>,
    pub(crate) created: SystemTime,
}

/// The samples of a family.
pub(crate) type Samples = Rc<dyn Fn(&mut dyn Output) -> fmt::Result>;
