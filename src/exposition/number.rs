//! The bounds of buckets as OpenMetrics 1.0 writes them.
//!
//! A bound is a label value: written in two ways, it makes two series.

use std::borrow::Cow;

/// The text of a bound: OpenMetrics 1.0, section "Considerations: Canonical Numbers", which is Go's `%g` with a point.
/// Prometheus writes the bounds of protobuf this way.
pub(crate) fn bound(value: f64) -> Cow<'static, str> {
    if value == f64::INFINITY {
        return "+Inf".into();
    }
    if value == 0.0 {
        return "0.0".into();
    }
    // The digits that are needed, and no more: `1.25e-7`.
    let scientific = format!("{value:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if (-4..6).contains(&exponent) {
        return format!("{value:?}").into();
    }
    format!("{digits}e{exponent:+03}").into()
}

/// Whether `text` is the [`bound`] of this value.
#[inline]
pub(crate) fn is_canonical_bound(text: &str, value: f64) -> bool {
    // Nearly all are.
    (0.0001..1e6).contains(&value) && !text.contains('e') || bound(value) == text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{bound, is_canonical_bound};

    /// What `strconv.FormatFloat(f, 'g', -1, 64)` of Go says, with `.0` where it has neither a point nor an exponent.
    #[test]
    fn a_bound_is_written_as_go_and_openmetrics_write_it() {
        for (value, text) in [
            (0.0, "0.0"),
            (-0.0, "0.0"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (0.000_012_5, "1.25e-05"),
            (1e-10, "1e-10"),
            (1.0, "1.0"),
            (2.5, "2.5"),
            (100_000.0, "100000.0"),
            (123_456.0, "123456.0"),
            (123_456.5, "123456.5"),
            (1e6, "1e+06"),
            (1.5e6, "1.5e+06"),
            (1_048_576.0, "1.048576e+06"),
            (1e10, "1e+10"),
            (1e100, "1e+100"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(bound(value), text);
        }
    }

    proptest! {
        #[test]
        fn a_bound_is_read_as_it_was(value in prop::num::f64::POSITIVE | prop::num::f64::ZERO) {
            let text = bound(value);
            prop_assert_eq!(text.parse::<f64>().ok(), Some(value));
            prop_assert!(is_canonical_bound(&text, value));
        }
    }
}
