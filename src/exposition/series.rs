//! Reads the series of one family, line by line, and finds those that would break the format.

use std::hash::BuildHasher as _;

use crate::exposition::{
    family::{
        BOUNDS_BELOW_ZERO, BOUNDS_DO_NOT_RISE, BUCKETS_DIFFER_FROM_COUNT, COUNTS_FALL, CUT_OFF, Family, Kind,
        Reason, check_counted, check_label,
    },
    line::{Sample, read_line},
    mark::token,
    number::is_canonical_bound,
};

/// A problem with some series of a family.
pub(crate) struct Fault {
    pub(crate) series: usize,
    /// The problem with the first of them.
    pub(crate) reason: Reason,
}

/// Reads and checks the series of one family.
pub(crate) struct SeriesReader<'a, 'f> {
    family: &'f mut Family<'a>,
    hasher: &'f foldhash::fast::RandomState,
    /// The valid names of labels in the line before; nearly always those of the next one too.
    label_names: Vec<&'a str>,
    /// The bounds of the series before; nearly always those of the next one too.
    bounds: Vec<Bound<'a>>,
    pub(crate) good: usize,
    /// Series that are there already.
    pub(crate) twice: usize,
}

/// The bound of a bucket.
struct Bound<'a> {
    /// The line up to its label, such as `x_bucket{le="0.5"`, which other series share.
    head: &'a str,
    /// The labels before it, those that all series of a registry have.
    constant: &'a str,
    value: f64,
    is_canonical: bool,
}

/// The first line of a series, and what it is known by.
struct First<'a> {
    sample: Sample<'a>,
    hash: u64,
    is_marked: bool,
}

impl<'a, 'f> SeriesReader<'a, 'f> {
    pub(crate) fn new(family: &'f mut Family<'a>, hasher: &'f foldhash::fast::RandomState) -> Self {
        Self {
            family,
            hasher,
            label_names: Vec::new(),
            bounds: Vec::new(),
            good: 0,
            twice: 0,
        }
    }

    /// Reads to the end; returns the problem of the series that it skipped.
    pub(crate) fn read(&mut self, mut text: &'a str) -> Option<Fault> {
        let mut fault: Option<Fault> = None;
        // The good series since the last bad one.
        let mut run = text;
        while !text.is_empty() {
            match self.read_series(text) {
                Ok(rest) => {
                    self.good += 1;
                    text = rest;
                }
                Err(reason) => {
                    self.take(&run[..run.len() - text.len()]);
                    text = self.skip_series(text);
                    run = text;
                    match &mut fault {
                        Some(fault) => fault.series += 1,
                        None => fault = Some(Fault { series: 1, reason }),
                    }
                }
            }
        }
        self.take(run);
        fault
    }

    fn take(&mut self, lines: &'a str) {
        if !lines.is_empty() {
            self.family.samples.push(lines);
        }
    }

    /// Skips the series that begins here.
    fn skip_series(&self, text: &'a str) -> &'a str {
        let next_line = |text: &'a str| text.split_once('\n').map_or("", |(_, rest)| rest);
        let mut rest = next_line(text);
        let is_first = |line: &str| {
            let behind = line.strip_prefix(self.family.name);
            let behind = behind.and_then(|line| line.strip_prefix("_sum"));
            behind.is_some_and(|behind| behind.starts_with(['{', ' ']))
        };
        while self.family.kind == Kind::Histogram && !rest.is_empty() && !is_first(rest) {
            rest = next_line(rest);
        }
        rest
    }

    fn read_series(&mut self, text: &'a str) -> Result<&'a str, Reason> {
        if self.family.kind == Kind::Histogram {
            return self.read_histogram(text);
        }
        let (line, rest) = self.line(self.family.kind.suffix(), text)?;
        let first = self.read_first(line)?;
        let has_exemplar = first.sample.exemplar.is_some();
        if self.family.kind == Kind::Counter {
            check_counted_text(first.sample.value)?;
        } else {
            check_number(first.sample.value)?;
            if has_exemplar {
                return Err("has an exemplar, which only counters and buckets can have; encode none".into());
            }
        }
        self.add(&first, 1, has_exemplar);
        Ok(rest)
    }

    /// Adds a valid series, with the number of its lines.
    fn add(&mut self, first: &First<'_>, lines: usize, is_rewritten: bool) {
        self.family.seen.insert(first.hash);
        self.family.sample_count += lines;
        self.family.is_rewritten |= is_rewritten || first.is_marked;
    }

    /// The next line, from what follows the name of its sample, and what follows the line.
    fn line(&self, suffix: &str, text: &'a str) -> Result<(&'a str, &'a str), Reason> {
        let (line, rest) = text.split_once('\n').ok_or(CUT_OFF)?;
        let behind = line
            .strip_prefix(self.family.name)
            .and_then(|line| line.strip_prefix(suffix));
        let Some(behind) = behind.filter(|behind| behind.starts_with(['{', ' '])) else {
            let kind = self.family.kind.name();
            return Err(format!("has a line that is invalid for its type, {kind}: {line:.80}; its collector must name the type that it encodes, and its label names must be valid").into());
        };
        Ok((behind, rest))
    }

    /// Reads the lines of a series: sum, count, and the buckets.
    fn read_histogram(&mut self, text: &'a str) -> Result<&'a str, Reason> {
        let (line, rest) = self.line("_sum", text)?;
        let first = self.read_first(line)?;
        let labels = first.sample.labels;
        check_counted_text(first.sample.value)?;
        let (line, mut rest) = self.line("_count", rest)?;
        let count = count_with_labels(line, labels).ok_or(LABELS_CHANGE)?;

        let mut buckets = 0;
        let mut last = ("", f64::NEG_INFINITY);
        let mut is_rewritten = first.sample.exemplar.is_some();
        while let Some(bucket) = self.read_bucket(buckets, labels, rest)? {
            if bucket.bound <= last.1 || bucket.bound.is_nan() {
                return Err(BOUNDS_DO_NOT_RISE.into());
            }
            if bucket.bound < 0.0 {
                return Err(BOUNDS_BELOW_ZERO.into());
            }
            // Whole numbers without leading zeros.
            if (bucket.count.len(), bucket.count) < (last.0.len(), last.0) {
                return Err(COUNTS_FALL.into());
            }
            last = (bucket.count, bucket.bound);
            is_rewritten |= bucket.is_rewritten;
            buckets += 1;
            rest = bucket.rest;
        }
        if last.1.is_finite() || last.0 != count {
            return Err(BUCKETS_DIFFER_FROM_COUNT.into());
        }
        self.add(&first, buckets + 2, is_rewritten);
        Ok(rest)
    }

    /// Reads the line of the next bucket, if there is one.
    #[inline]
    fn read_bucket(
        &mut self,
        index: usize,
        labels: &'a str,
        text: &'a str,
    ) -> Result<Option<Bucket<'a>>, Reason> {
        // As in the series before, but for the labels of this one, which have been read. This only saves time: a line that
        // differs is read in full.
        let as_before = self.bounds.get(index).and_then(|bound| {
            let mut behind = text.strip_prefix(bound.head)?;
            let own = labels.strip_prefix(bound.constant)?;
            let own = own.strip_prefix(',').unwrap_or(own);
            if !own.is_empty() {
                behind = behind.strip_prefix(',')?.strip_prefix(own)?;
            }
            let behind = behind.strip_prefix("} ")?;
            let end = behind.bytes().position(|byte| !byte.is_ascii_digit())?;
            Some(Bucket {
                bound: bound.value,
                count: Some(&behind[..end]).filter(|count| !count.is_empty())?,
                is_rewritten: !bound.is_canonical,
                rest: behind[end..].strip_prefix('\n')?,
            })
        });
        match as_before {
            Some(bucket) => Ok(Some(bucket)),
            None => self.read_other_bucket(index, labels, text),
        }
    }

    #[cold]
    fn read_other_bucket(
        &mut self,
        index: usize,
        labels: &'a str,
        text: &'a str,
    ) -> Result<Option<Bucket<'a>>, Reason> {
        let prefix = |line: &'a str| line.strip_prefix(self.family.name)?.strip_prefix("_bucket");
        let Some(behind) = prefix(text) else {
            return Ok(None);
        };
        let (line, rest) = behind.split_once('\n').ok_or(CUT_OFF)?;
        let mut bound = None;
        let sample = read_line(line, |name, value| {
            if name == "le" && bound.is_none() {
                bound = Some(value);
            }
            Ok(())
        })?;
        let bound = bound.ok_or("has a bucket without a bound; encode one for each bucket")?;
        // The label in the text of all labels.
        let end = bound.as_ptr().addr() + bound.len() + 1 - sample.labels.as_ptr().addr();
        let begin = end - bound.len() - r#"le="""#.len();
        let (before, after) = (&sample.labels[..begin], &sample.labels[end..]);
        let constant = before.strip_suffix(',').unwrap_or(before);
        let own = after.strip_prefix(',').unwrap_or(after);
        let is_same = labels.strip_prefix(constant).is_some_and(|labels| {
            let labels = match (constant, own) {
                ("", _) | (_, "") => Some(labels),
                _ => labels.strip_prefix(','),
            };
            labels == Some(own)
        });
        if !is_same {
            return Err(LABELS_CHANGE.into());
        }
        if sample.value.is_empty() || !sample.value.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err("has a bucket whose count is not a whole number; encode a whole number".into());
        }
        let head = text.len() - behind.len() + 1 + end;
        let value = bound.parse().unwrap_or(f64::NAN);
        let bound = Bound {
            head: &text[..head],
            constant,
            value,
            is_canonical: is_canonical_bound(bound, value),
        };
        let bucket = Bucket {
            bound: value,
            count: sample.value,
            is_rewritten: sample.exemplar.is_some() || !bound.is_canonical,
            rest,
        };
        self.bounds.truncate(index);
        self.bounds.push(bound);
        Ok(Some(bucket))
    }

    /// Reads the first line of a series, whose labels are new.
    fn read_first(&mut self, line: &'a str) -> Result<First<'a>, Reason> {
        let Self {
            hasher,
            label_names: names,
            ..
        } = self;
        let kind = self.family.kind;
        let mut hash = 0_u64;
        let mut label_count = 0;
        let mut is_marked = false;
        let sample = read_line(line, |name, value| {
            if name == token() && !is_marked && value.parse::<usize>().is_ok() {
                is_marked = true;
                return Ok(());
            }
            if names.get(label_count) != Some(&name) {
                names.truncate(label_count);
                check_label(name, names, kind)?;
                names.push(name);
            }
            label_count += 1;
            // In any order; an empty label is no label.
            if !value.is_empty() {
                hash = hash.wrapping_add(hasher.hash_one((name, value)));
            }
            Ok(())
        })?;
        if self.family.seen.contains(&hash) {
            self.twice += 1;
            return Err(format!(
                "has the series {{{:.80}}} twice; its collector must encode each series once",
                sample.labels
            )
            .into());
        }
        Ok(First {
            sample,
            hash,
            is_marked,
        })
    }
}

/// The line of a bucket.
struct Bucket<'a> {
    bound: f64,
    count: &'a str,
    is_rewritten: bool,
    rest: &'a str,
}

const LABELS_CHANGE: &str =
    "has a series whose lines have different labels; its label set must encode the same labels each time";

/// The value of a line, from what follows the name of its sample, if these are its labels.
fn count_with_labels<'a>(line: &'a str, labels: &str) -> Option<&'a str> {
    if labels.is_empty() {
        return line.strip_prefix(' ');
    }
    line.strip_prefix('{')?.strip_prefix(labels)?.strip_prefix("} ")
}

fn check_number(value: &str) -> Result<(), Reason> {
    if value.bytes().all(|byte| byte.is_ascii_digit()) && !value.is_empty() || value.parse::<f64>().is_ok() {
        return Ok(());
    }
    Err(format!("has the value {value:.80}, which is not a number; encode a number").into())
}

#[inline]
fn check_counted_text(value: &str) -> Result<(), Reason> {
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(());
    }
    check_number(value)?;
    check_counted(value.parse().unwrap_or(f64::NAN))
}
