//! Samples of this crate's own families as text.
//!
//! They are valid by construction, so they are not read again. The common part of the lines of a series is written only
//! once.

use std::fmt::{self, Write as _};

use crate::exposition::{
    exemplar::write_exemplar,
    line::escape,
    number::bound,
    samples::{Counter, Histogram, LabelPairs, Number, Output},
};

/// Writes the samples of one family.
pub(crate) struct Lines<'a> {
    text: &'a mut String,
    /// With the prefix of the registry.
    name: &'a str,
    /// The labels that the registry puts on everything, without braces.
    constant: &'a str,
    has_exemplars: bool,
    /// How many lines there are.
    pub(crate) count: usize,
    /// The buckets of the series before.
    buckets: Vec<Bucket>,
    /// The labels of the series, without those of the registry.
    own: String,
    /// The text between the name of a sample and its value.
    all: String,
    /// The text that ends the line of a bucket.
    line_end: String,
}

/// The common part of the lines of a bucket.
struct Bucket {
    bound: f64,
    /// The line up to its label, such as `x_bucket{le="0.5"`.
    head: String,
}

impl<'a> Lines<'a> {
    pub(crate) fn new(
        text: &'a mut String,
        (name, constant): (&'a str, &'a str),
        has_exemplars: bool,
    ) -> Self {
        Self {
            text,
            name,
            constant,
            has_exemplars,
            count: 0,
            buckets: Vec::new(),
            own: String::new(),
            all: String::new(),
            line_end: String::new(),
        }
    }

    fn set_labels(&mut self, labels: &dyn LabelPairs) -> fmt::Result {
        let own = &mut self.own;
        own.clear();
        labels.for_each(&mut |name, value| {
            if !own.is_empty() {
                own.push(',');
            }
            own.push_str(name);
            own.push_str("=\"");
            escape(own, value, true);
            own.push('"');
            Ok(())
        })?;
        let (constant, own, all) = (self.constant, &*self.own, &mut self.all);
        all.clear();
        if !(constant.is_empty() && own.is_empty()) {
            all.push('{');
            all.push_str(constant);
            if !(constant.is_empty() || own.is_empty()) {
                all.push(',');
            }
            all.push_str(own);
            all.push('}');
        }
        all.push(' ');
        Ok(())
    }

    /// Writes a line up to the value.
    fn begin_line(&mut self, suffix: &str) {
        self.count += 1;
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        self.text.push_str(&self.all);
    }

    /// The bucket of this index and bound.
    fn find_bucket(&mut self, index: usize, upper_bound: f64) {
        if self
            .buckets
            .get(index)
            .is_some_and(|bucket| bucket.bound.total_cmp(&upper_bound).is_eq())
        {
            return;
        }
        let comma = if self.constant.is_empty() { "" } else { "," };
        let (name, constant) = (self.name, self.constant);
        let head = format!(r#"{name}_bucket{{{constant}{comma}le="{}""#, bound(upper_bound));
        self.buckets.truncate(index);
        self.buckets.push(Bucket {
            bound: upper_bound,
            head,
        });
    }
}

impl Output for Lines<'_> {
    fn counter(&mut self, labels: &dyn LabelPairs, counter: Counter) -> fmt::Result {
        self.set_labels(labels)?;
        self.begin_line("_total");
        push_number(self.text, counter.count);
        if let Some(exemplar) = counter.exemplar.filter(|_| self.has_exemplars) {
            write_exemplar(self.text, &exemplar);
        }
        self.text.push('\n');
        Ok(())
    }

    fn gauge(&mut self, labels: &dyn LabelPairs, value: Number) -> fmt::Result {
        self.set_labels(labels)?;
        self.begin_line("");
        match value {
            Number::Whole(value) => match u64::try_from(value) {
                Ok(value) => push_number(self.text, value),
                Err(_) => write!(self.text, "{value}")?,
            },
            Number::Float(value) => push_float(self.text, value),
        }
        self.text.push('\n');
        Ok(())
    }

    fn histogram(&mut self, labels: &dyn LabelPairs, histogram: Histogram<'_>) -> fmt::Result {
        let Histogram {
            sum,
            buckets,
            exemplars,
            ..
        } = histogram;
        self.set_labels(labels)?;
        self.begin_line("_sum");
        push_float(self.text, sum);
        self.text.push('\n');
        self.begin_line("_count");
        push_number(self.text, buckets.iter().map(|(_, count)| count).sum());
        self.text.push('\n');
        let mut cumulated = None;
        for (index, &(bound, count)) in buckets.iter().enumerate() {
            self.find_bucket(index, bound);
            // Most buckets of a series are empty, so most lines end like the one before.
            if count > 0 || cumulated.is_none() {
                cumulated = Some(cumulated.unwrap_or(0) + count);
                self.line_end.clear();
                if !self.own.is_empty() {
                    self.line_end.push(',');
                    self.line_end.push_str(&self.own);
                }
                self.line_end.push_str("} ");
                push_number(&mut self.line_end, cumulated.unwrap_or(0));
                self.line_end.push('\n');
            }
            self.text.push_str(&self.buckets[index].head);
            self.text.push_str(&self.line_end);
            if self.has_exemplars
                && let Some((_, exemplar)) = exemplars.iter().find(|(bucket, _)| *bucket == index)
            {
                self.text.pop();
                write_exemplar(self.text, exemplar);
                self.text.push('\n');
            }
        }
        self.count += buckets.len();
        Ok(())
    }
}

/// Writes a number as `write!` does, but faster.
fn push_number(text: &mut String, number: u64) {
    let mut digits = [0; 20];
    push_digits(text, &mut digits, number, 1);
}

/// Writes a number with at least this many digits.
fn push_digits(text: &mut String, digits: &mut [u8; 20], mut number: u64, least: usize) {
    let mut begin = digits.len();
    while number > 0 || digits.len() - begin < least {
        begin -= 1;
        digits[begin] = b'0' + u8::try_from(number % 10).unwrap_or_default();
        number /= 10;
    }
    text.push_str(str::from_utf8(&digits[begin..]).unwrap_or_default());
}

/// Writes a number that parses to this value.
fn push_float(text: &mut String, value: f64) {
    const BILLION: u64 = 1_000_000_000;
    /// Below this, whole numbers are exact, so their billionths parse to the result of the division.
    const EXACT: f64 = 9_007_199_254_740_992.0;

    let billionths = (value * 1e9).round();
    if value.is_sign_positive() && billionths < EXACT && (billionths / 1e9).total_cmp(&value).is_eq() {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is whole and in range"
        )]
        let billionths = billionths as u64;
        let mut digits = [0; 20];
        push_digits(text, &mut digits, billionths / BILLION, 1);
        text.push('.');
        push_digits(text, &mut digits, billionths % BILLION, 9);
        let zeros = text.bytes().rev().take_while(|&byte| byte == b'0').count();
        let last_is_point = text.as_bytes()[text.len() - zeros - 1] == b'.';
        text.truncate(text.len() - zeros + usize::from(last_is_point));
    } else {
        // Writing to a string does not fail.
        let _ = write!(text, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use super::push_float;

    #[test]
    fn a_float_reads_as_what_it_is() {
        for (value, text) in [
            (0.0, "0.0"),
            (1e-9, "0.000000001"),
            (0.1, "0.1"),
            (1.25, "1.25"),
            (10.0, "10.0"),
            (1_200.0, "1200.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (9_007_199.25, "9007199.25"),
            (90_071_992.5, "90071992.5"),
            (1e17, "1e17"),
            (-0.0, "-0.0"),
            (f64::INFINITY, "inf"),
        ] {
            let mut written = String::new();
            push_float(&mut written, value);
            assert_eq!(written, text);
            assert_eq!(written.parse(), Ok(value));
        }
    }
}
