//! The buckets of native histograms: exponential, and only those that something is in.

use std::collections::BTreeMap;

use prometheus_client::encoding::{NativeHistogram, NativeHistogramBuckets};

/// Eight buckets for each power of two: each is 9 % wider than the one before.
const SCHEMA: i32 = 3;

const BUCKETS_PER_POWER: f64 = 8.0;

/// 2^-128, below which everything counts as zero: what the specification of native histograms recommends.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

/// Up to this many empty buckets between two others take less room than a new span.
const MAX_EMPTY_IN_SPAN: i32 = 2;

/// The native buckets of one series. A latency in nanoseconds leads to one of 513 at the most, and to the one of zero.
#[derive(Clone, Debug, Default)]
pub(crate) struct NativeBuckets {
    zero: u64,
    /// By their index: the upper bound is two to the power of an eighth of it, in seconds.
    positive: BTreeMap<i32, u64>,
}

impl NativeBuckets {
    pub(crate) fn observe(&mut self, nanos: u64) {
        if nanos == 0 {
            self.zero += 1;
            return;
        }
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a bucket is wider than what is lost, and its index below 600"
        )]
        let index = ((nanos as f64 / 1e9).log2() * BUCKETS_PER_POWER).ceil() as i32;
        *self.positive.entry(index).or_default() += 1;
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.zero += other.zero;
        for (&index, count) in &other.positive {
            *self.positive.entry(index).or_default() += count;
        }
    }

    /// Calls `encode` with the form in which they are encoded.
    pub(crate) fn encoded<T>(&self, encode: impl FnOnce(NativeHistogram<'_>) -> T) -> T {
        let (spans, deltas) = self.spans_and_deltas();
        encode(NativeHistogram {
            schema: SCHEMA,
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
    use super::NativeBuckets;

    fn observed(seconds: &[f64]) -> NativeBuckets {
        let mut buckets = NativeBuckets::default();
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
        let mut buckets = NativeBuckets::default();
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
}
