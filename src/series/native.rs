//! The buckets of native histograms: exponential, and only those with observations.

use std::{borrow::Cow, collections::BTreeMap, mem, ops::RangeInclusive};

use prometheus_client::encoding::{NativeHistogram, NativeHistogramBuckets};

/// The schemas that Prometheus knows: two to the power of one is the number of buckets for each power of two.
const SCHEMAS: RangeInclusive<i32> = -4..=8;

/// 2^-128, below which everything counts as zero: what the specification of native histograms recommends.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

/// Up to this many empty buckets between two others take less room than a new span.
const MAX_EMPTY_IN_SPAN: i32 = 2;

/// Which native buckets there are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NativeOptions {
    /// Of the finest buckets.
    schema: i32,
    /// How many a series may have before they are made coarser.
    pub(crate) max_buckets: usize,
    /// Whether there are classic buckets too.
    pub(crate) has_classic: bool,
}

impl Default for NativeOptions {
    fn default() -> Self {
        Self {
            schema: 3,
            max_buckets: usize::MAX,
            has_classic: true,
        }
    }
}

impl NativeOptions {
    /// The same with buckets of which each is at most by this factor wider than the one before; `None` if there are no
    /// such.
    #[cfg(feature = "protobuf")]
    #[must_use]
    pub(crate) fn with_growth_factor(self, factor: f64) -> Option<Self> {
        // 2^(2^-schema) is the factor of a schema.
        let mut schemas = SCHEMAS;
        let schema = schemas.find(|schema| f64::from(-schema).exp2().exp2() <= factor)?;
        factor.is_finite().then_some(Self { schema, ..self })
    }
}

/// The native buckets of one series. A latency in nanoseconds leads to one of at most 513 if there are eight for
/// each power of two, and to the one of zero.
#[derive(Clone, Debug)]
pub(crate) struct NativeBuckets {
    pub(crate) options: NativeOptions,
    /// As fine as the limit of buckets allows.
    schema: i32,
    zero: u64,
    /// By their index: the upper bound is two to the power of it over the buckets for each power of two, in seconds.
    positive: BTreeMap<i32, u64>,
}

impl NativeBuckets {
    pub(crate) fn new(options: NativeOptions) -> Self {
        Self {
            options,
            schema: options.schema,
            zero: 0,
            positive: BTreeMap::new(),
        }
    }

    pub(crate) fn observe(&mut self, nanos: u64) {
        if nanos == 0 {
            self.zero += 1;
            return;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a bucket is wider than what is lost, and its index below 20,000"
        )]
        let index = ((nanos as f64 / 1e9).log2() * f64::from(self.schema).exp2()).ceil() as i32;
        *self.positive.entry(index).or_default() += 1;
        self.keep_limit();
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        while self.schema > other.schema {
            self.coarsen();
        }
        let mut other = Cow::Borrowed(other);
        while other.schema > self.schema {
            other.to_mut().coarsen();
        }
        for (&index, count) in &other.positive {
            *self.positive.entry(index).or_default() += count;
        }
        self.keep_limit();
    }

    fn keep_limit(&mut self) {
        while self.positive.len() > self.options.max_buckets && self.schema > *SCHEMAS.start() {
            self.coarsen();
        }
    }

    /// Merges pairs of buckets.
    fn coarsen(&mut self) {
        self.schema -= 1;
        for (index, count) in mem::take(&mut self.positive) {
            // Half of it, rounded up: a bucket includes its upper bound.
            let index = index.div_euclid(2) + index.rem_euclid(2);
            *self.positive.entry(index).or_default() += count;
        }
    }

    /// Calls `encode` with the form in which they are encoded.
    pub(crate) fn encoded<T>(&self, encode: impl FnOnce(NativeHistogram<'_>) -> T) -> T {
        let (spans, deltas) = self.spans_and_deltas();
        encode(NativeHistogram {
            schema: self.schema,
            zero_threshold: ZERO_THRESHOLD,
            zero_count: self.zero,
            negative: NativeHistogramBuckets {
                spans: &[],
                deltas: &[],
            },
            positive: NativeHistogramBuckets {
                spans: &spans,
                deltas: &deltas,
            },
            created: None,
        })
    }

    /// Runs of buckets, each by its distance from the end of the one before and its length; and of each bucket in them
    /// the difference from the one before.
    fn spans_and_deltas(&self) -> (Vec<(i32, u32)>, Vec<i64>) {
        let mut spans: Vec<(i32, u32)> = Vec::new();
        let mut deltas = Vec::new();
        let mut end = 0;
        let mut before = 0;
        for (&index, &count) in &self.positive {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            let gap = index - end;
            match spans.last_mut() {
                Some((_, length)) if gap <= MAX_EMPTY_IN_SPAN => {
                    for _ in 0..gap {
                        deltas.push(-before);
                        before = 0;
                    }
                    *length += gap.unsigned_abs() + 1;
                }
                _ => spans.push((gap, 1)),
            }
            deltas.push(count - before);
            before = count;
            end = index + 1;
        }
        (spans, deltas)
    }
}

#[cfg(test)]
mod tests {
    use super::{NativeBuckets, NativeOptions};

    fn observed(seconds: &[f64]) -> NativeBuckets {
        observed_with(NativeOptions::default(), seconds)
    }

    fn observed_with(options: NativeOptions, seconds: &[f64]) -> NativeBuckets {
        let mut buckets = NativeBuckets::new(options);
        for seconds in seconds {
            buckets.observe(
                std::time::Duration::from_secs_f64(*seconds)
                    .as_nanos()
                    .try_into()
                    .unwrap(),
            );
        }
        buckets
    }

    #[test]
    fn a_bound_is_in_the_bucket_that_it_closes() {
        // 2^(8/8) = 2, 2^(16/8) = 4; and half a second is 2^(-8/8).
        let index = |seconds| *observed(&[seconds]).positive.first_key_value().unwrap().0;
        assert_eq!([index(2.0), index(2.000_1), index(4.0)], [8, 9, 16]);
        assert_eq!([index(1.0), index(0.5), index(0.500_1)], [0, -8, -7]);
        assert_eq!([index(1e-9), index(18_446_744_073.0)], [-239, 273]);
    }

    #[test]
    fn small_gaps_are_filled_and_large_ones_begin_a_span() {
        let mut buckets = NativeBuckets::new(NativeOptions::default());
        for (index, count) in [(-3, 2), (-2, 5), (1, 1), (5, 4)] {
            buckets.positive.insert(index, count);
        }
        let (spans, deltas) = buckets.spans_and_deltas();
        // -3 -2 (-1 0) 1, then three empty ones, then 5.
        assert_eq!(spans, [(-3, 5), (3, 1)]);
        assert_eq!(deltas, [2, 3, -5, 0, 1, 3]);
    }

    #[test]
    fn what_is_merged_is_the_sum() {
        let mut sum = observed(&[0.0, 1.0, 2.0]);
        sum.merge(&observed(&[0.0, 0.0, 2.0, 64.0]));
        assert_eq!(sum.zero, 3);
        assert_eq!(
            sum.positive.into_iter().collect::<Vec<_>>(),
            [(0, 1), (8, 2), (48, 1)]
        );
    }

    #[cfg(feature = "protobuf")]
    #[test]
    fn the_coarsest_schema_within_a_growth_factor_is_taken() {
        let schema = |factor| {
            let options = NativeOptions::default().with_growth_factor(factor);
            options.map(|options| options.schema)
        };
        assert_eq!([schema(2.0), schema(4.0), schema(1.1)], [0, -1, 3].map(Some));
        assert_eq!(
            [schema(1.002_8), schema(65536.0), schema(1e9)],
            [8, -4, -4].map(Some)
        );
        assert_eq!(
            [schema(1.0), schema(0.5), schema(f64::NAN), schema(f64::INFINITY)],
            [None; 4]
        );
    }

    #[test]
    fn over_the_limit_buckets_become_coarser_and_lose_no_observation() {
        let options = NativeOptions {
            max_buckets: 4,
            ..NativeOptions::default()
        };
        let seconds: Vec<_> = (1..=100).map(f64::from).collect();
        let buckets = observed_with(options, &seconds);
        assert_eq!(
            observed_with(options, &[1.0, 2.0, 4.0, 8.0]).schema,
            3,
            "as many as it may have"
        );
        // 1, 2, 4, 8, … 128 are eight buckets of schema 0; 1, 4, 16, 64, 256 are five of schema -1.
        assert_eq!(buckets.schema, -2);
        assert_eq!(
            buckets.positive.into_iter().collect::<Vec<_>>(),
            [(0, 1), (1, 15), (2, 84)]
        );
    }

    #[test]
    fn no_limit_makes_buckets_coarser_than_prometheus_knows() {
        let options = NativeOptions {
            max_buckets: 1,
            ..NativeOptions::default()
        };
        let buckets = observed_with(options, &[1e-9, 1e9]);
        assert_eq!((buckets.schema, buckets.positive.len()), (-4, 2));
    }

    #[test]
    fn what_is_merged_is_as_coarse_as_the_coarser_of_both() {
        let options = |max_buckets| NativeOptions {
            max_buckets,
            ..NativeOptions::default()
        };
        let fine = observed_with(options(100), &[1.0, 3.0]);
        let coarse = observed_with(options(1), &[1.0, 3.0, 16.0, 17.0]);
        assert_eq!((fine.schema, coarse.schema), (3, -4));
        for (mut sum, other) in [(fine.clone(), &coarse), (coarse.clone(), &fine)] {
            sum.merge(other);
            assert_eq!(sum.schema, -4);
            assert_eq!(sum.positive.into_iter().collect::<Vec<_>>(), [(0, 2), (1, 4)]);
        }
    }
}
