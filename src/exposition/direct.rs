//! Samples of this crate's own families as text.
//!
//! They are valid by construction, so they are not read again; and what the lines of a series have in common is written
//! into a text of its own once.

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
    /// As the registry makes it.
    name: &'a str,
    /// The labels that the registry has on everything, without braces.
    constant: &'a str,
    has_exemplars: bool,
    /// How many lines there are.
    pub(crate) count: usize,
    /// The buckets of the series before.
    buckets: Vec<Bucket>,
    /// The labels of the series.
    labels: String,
    /// What ends a line of a bucket.
    line_end: String,
}

/// What the lines of a bucket have in common.
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
            labels: String::new(),
            line_end: String::new(),
        }
    }

    fn set_labels(&mut self, labels: &dyn LabelPairs) -> fmt::Result {
        let text = &mut self.labels;
        text.clear();
        labels.for_each(&mut |name, value| {
            if !text.is_empty() {
                text.push(',');
            }
            text.push_str(name);
            text.push_str("=\"");
            escape(text, value, true);
            text.push('"');
            Ok(())
        })
    }

    /// Writes a line up to the value.
    fn begin_line(&mut self, suffix: &str) {
        self.count += 1;
        let (constant, labels) = (self.constant, &*self.labels);
        self.text.push_str(self.name);
        self.text.push_str(suffix);
        let comma = if constant.is_empty() || labels.is_empty() {
            ""
        } else {
            ","
        };
        if !(constant.is_empty() && labels.is_empty()) {
            for piece in ["{", constant, comma, labels, "}"] {
                self.text.push_str(piece);
            }
        }
        self.text.push(' ');
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
            Number::Whole(value) => writeln!(self.text, "{value}"),
            Number::Float(value) => writeln!(self.text, "{value:?}"),
        }
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
        writeln!(self.text, "{sum:?}")?;
        self.begin_line("_count");
        push_number(self.text, buckets.iter().map(|(_, count)| count).sum());
        self.text.push('\n');
        let mut cumulated = None;
        for (index, &(bound, count)) in buckets.iter().enumerate() {
            self.find_bucket(index, bound);
            // Most buckets of a series are empty, so that lines end as the one before.
            if count > 0 || cumulated.is_none() {
                cumulated = Some(cumulated.unwrap_or(0) + count);
                self.line_end.clear();
                if !self.labels.is_empty() {
                    self.line_end.push(',');
                    self.line_end.push_str(&self.labels);
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

/// What `write!` writes, without its detours.
fn push_number(text: &mut String, number: u64) {
    let mut digits = [0; 20];
    let mut begin = digits.len();
    let mut rest = number;
    loop {
        begin -= 1;
        digits[begin] = b'0' + u8::try_from(rest % 10).unwrap_or_default();
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    text.push_str(str::from_utf8(&digits[begin..]).unwrap_or_default());
}
