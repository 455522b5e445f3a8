//! Reads the text that prometheus-client encodes back into families, and finds those that would break the format.
//!
//! prometheus-client checks neither names nor help texts nor values, and a registry does not tell what is in it. One
//! bad family makes Prometheus refuse what stands beside it, or lose half of it without a word. So every scrape is
//! read, line by line, as OpenMetrics 1.0 has it.

use std::{collections::HashSet, hash::BuildHasher as _};

use crate::exposition::{
    exemplar::MARKER,
    family::{
        BOUNDS_BELOW_ZERO, BOUNDS_DO_NOT_RISE, BUCKETS_DIFFER_FROM_COUNT, Family, Fault, Kind,
        NO_METRIC_NAME, Reason, TakenNames, check_counted, check_label, is_metric_name,
    },
    line::{Sample, read_line},
};

const HELP: &str = "# HELP ";

const CUT_OFF: &str = "is cut off; its metric or collector has to write whole lines";
/// Reads the families of `text`, which has no `# EOF`.
pub(crate) fn families(text: &str) -> Families<'_> {
    Families {
        rest: text,
        taken: TakenNames::default(),
    }
}

pub(crate) struct Families<'a> {
    rest: &'a str,
    taken: TakenNames,
}

impl<'a> Iterator for Families<'a> {
    type Item = Result<Family<'a>, Fault<'a>>;

    fn next(&mut self) -> Option<Self::Item> {
        let text = self.rest.strip_prefix(HELP)?;
        let name = &text[..text.find([' ', '\n']).unwrap_or(text.len())];
        let read = read_family(name, &text[name.len()..]).and_then(|(family, rest)| {
            self.taken.take(family.name, family.kind)?;
            Ok((family, rest))
        });
        Some(match read {
            Ok((family, rest)) => {
                self.rest = rest;
                Ok(family)
            }
            Err(reason) => {
                let next = text
                    .match_indices(HELP)
                    .find(|&(at, _)| text[..at].ends_with('\n'));
                self.rest = next.map_or("", |(at, _)| &text[at..]);
                Err(Fault { family: name, reason })
            }
        })
    }
}

/// Reads one family, from what follows the name in its first line; gives back what follows the family.
fn read_family<'a>(name: &'a str, text: &'a str) -> Result<(Family<'a>, &'a str), Reason> {
    if !is_metric_name(name) {
        return Err(NO_METRIC_NAME.into());
    }
    // The help may have lines of its own.
    let after_help = format!("\n# TYPE {name} ");
    let (help, text) = text
        .strip_prefix(' ')
        .and_then(|text| text.split_once(&after_help))
        .ok_or(NO_METRIC_NAME)?;
    let (kind, mut text) = text.split_once('\n').ok_or(CUT_OFF)?;
    let kind = Kind::of(kind).ok_or(NO_METRIC_NAME)?;
    let mut unit = None;
    if let Some(line) = text.strip_prefix("# UNIT ") {
        let (line, rest) = line.split_once('\n').ok_or(CUT_OFF)?;
        unit = line.strip_prefix(name).and_then(|line| line.strip_prefix(' '));
        text = rest;
        if kind == Kind::Info {
            return Err("is an info with a unit, which OpenMetrics forbids; register it without one".into());
        }
    }
    let mut reader = SampleReader::new(name, kind);
    let rest = reader.read(text)?;
    let family = Family {
        name,
        help,
        kind,
        unit,
        samples: &text[..text.len() - rest.len()],
        sample_count: reader.count,
        has_exemplars: reader.has_exemplars,
    };
    Ok((family, rest))
}

/// Reads and checks the lines of one family.
struct SampleReader<'a> {
    name: &'a str,
    kind: Kind,
    count: usize,
    has_exemplars: bool,
    hasher: foldhash::fast::RandomState,
    /// The hashes of the label sets so far. Two of a million would be the same once in 37 million scrapes.
    seen: HashSet<u64, foldhash::fast::RandomState>,
    /// The names of labels in the line before, which are valid; nearly always those of the next one too.
    label_names: Vec<&'a str>,
    /// The bounds of the series before, likewise.
    bounds: Vec<Bound<'a>>,
}

/// The bound of a bucket.
struct Bound<'a> {
    /// The line up to its label, such as `x_bucket{le="0.5"`; what other series have in common with it.
    head: &'a str,
    /// How long the labels before it are, those that all series of a registry have.
    constant: usize,
    value: f64,
}

impl<'a> SampleReader<'a> {
    fn new(name: &'a str, kind: Kind) -> Self {
        Self {
            name,
            kind,
            count: 0,
            has_exemplars: false,
            hasher: foldhash::fast::RandomState::default(),
            seen: HashSet::default(),
            label_names: Vec::new(),
            bounds: Vec::new(),
        }
    }

    /// Reads to the end of the family, and gives back what follows.
    fn read(&mut self, mut text: &'a str) -> Result<&'a str, Reason> {
        while !text.is_empty() && !text.starts_with(HELP) {
            text = match self.kind {
                Kind::Counter => self.read_single("_total", text)?,
                Kind::Gauge | Kind::Unknown => self.read_single("", text)?,
                Kind::Info => self.read_single("_info", text)?,
                Kind::Histogram => self.read_histogram(text)?,
            };
        }
        Ok(text)
    }

    /// The next line, from what follows the name of its sample, and what follows the line.
    fn line(&mut self, suffix: &str, text: &'a str) -> Result<(&'a str, &'a str), Reason> {
        let (line, rest) = text.split_once('\n').ok_or(CUT_OFF)?;
        let behind = line
            .strip_prefix(self.name)
            .and_then(|line| line.strip_prefix(suffix));
        let Some(behind) = behind.filter(|behind| behind.starts_with(['{', ' '])) else {
            let kind = self.kind.name();
            return Err(format!("has a line that no {kind} can have: {line:.80}; its collector has to name the type that it encodes, and its labels have to be such as Prometheus allows").into());
        };
        self.count += 1;
        Ok((behind, rest))
    }

    /// Reads the one line of a series.
    fn read_single(&mut self, suffix: &str, text: &'a str) -> Result<&'a str, Reason> {
        let (line, rest) = self.line(suffix, text)?;
        let sample = self.read_first(line)?;
        if self.kind == Kind::Counter {
            check_counted_text(sample.value)?;
        }
        Ok(rest)
    }

    /// Reads the lines of a series: sum, count, and the buckets.
    fn read_histogram(&mut self, text: &'a str) -> Result<&'a str, Reason> {
        let (line, rest) = self.line("_sum", text)?;
        let sum = self.read_first(line)?;
        check_counted_text(sum.value)?;
        let (line, mut rest) = self.line("_count", rest)?;
        let count = line.rsplit_once(' ').map_or("", |(_, count)| count);

        let mut buckets = 0;
        let mut last = ("", f64::NEG_INFINITY);
        while let Some((bound, value, after)) = self.read_bucket(buckets, sum.labels, rest)? {
            if bound <= last.1 || bound.is_nan() {
                return Err(BOUNDS_DO_NOT_RISE.into());
            }
            if bound < 0.0 {
                return Err(BOUNDS_BELOW_ZERO.into());
            }
            last = (value, bound);
            buckets += 1;
            rest = after;
        }
        self.count += buckets;
        if last.1.is_finite() || last.0 != count {
            return Err(BUCKETS_DIFFER_FROM_COUNT.into());
        }
        Ok(rest)
    }

    /// Reads the line of the next bucket, if there is one: its bound, its value, and what follows.
    #[inline]
    fn read_bucket(
        &mut self,
        index: usize,
        labels: &'a str,
        text: &'a str,
    ) -> Result<Option<(f64, &'a str, &'a str)>, Reason> {
        // As in the series before, but for the labels of this one, which have been read.
        let as_before = self.bounds.get(index).and_then(|bound| {
            let mut behind = text.strip_prefix(bound.head)?;
            let own = labels.get(bound.constant..)?;
            let own = own.strip_prefix(',').unwrap_or(own);
            if !own.is_empty() {
                behind = behind.strip_prefix(',')?.strip_prefix(own)?;
            }
            let behind = behind.strip_prefix("} ")?;
            let end = behind.bytes().position(|byte| !byte.is_ascii_digit())?;
            let rest = behind[end..].strip_prefix('\n')?;
            Some((bound.value, &behind[..end], rest))
        });
        match as_before {
            Some(bucket) => Ok(Some(bucket)),
            None => self.read_other_bucket(index, text),
        }
    }

    #[cold]
    fn read_other_bucket(
        &mut self,
        index: usize,
        text: &'a str,
    ) -> Result<Option<(f64, &'a str, &'a str)>, Reason> {
        let prefix = |line: &'a str| line.strip_prefix(self.name)?.strip_prefix("_bucket");
        let Some(behind) = prefix(text) else {
            return Ok(None);
        };
        let (line, rest) = behind.split_once('\n').ok_or(CUT_OFF)?;
        let begin_of_line = text.len() - behind.len();
        let mut bound = None;
        let sample = read_line(line, |name, value| {
            if name == "le" {
                let end = value.as_ptr().addr() + value.len() - text.as_ptr().addr();
                let begin = end - value.len() - r#"le=""#.len();
                bound = Some(Bound {
                    head: &text[..=end],
                    // Between the brace and a comma.
                    constant: (begin - begin_of_line).saturating_sub(2),
                    value: value.parse().unwrap_or(f64::NAN),
                });
            }
            Ok(())
        })?;
        let bound = bound.ok_or("has a bucket without a bound")?;
        let value = bound.value;
        self.bounds.truncate(index);
        self.bounds.push(bound);
        self.has_exemplars |= sample.exemplar.is_some();
        Ok(Some((value, sample.value, rest)))
    }

    /// Reads the first line of a series, whose labels are new.
    fn read_first(&mut self, line: &'a str) -> Result<Sample<'a>, Reason> {
        let Self {
            kind,
            hasher,
            label_names: names,
            ..
        } = self;
        let mut hash = 0_u64;
        let mut label_count = 0;
        let mut is_marked = false;
        let sample = read_line(line, |name, value| {
            if name == MARKER {
                is_marked = true;
                return Ok(());
            }
            if names.get(label_count) != Some(&name) {
                names.truncate(label_count);
                check_label(name, names, *kind)?;
                names.push(name);
            }
            label_count += 1;
            // In any order, and a label without a value is none.
            if !value.is_empty() {
                hash = hash.wrapping_add(hasher.hash_one((name, value)));
            }
            Ok(())
        })?;
        if !self.seen.insert(hash) {
            return Err(format!(
                "has the series {{{:.80}}} twice; its collector has to give each once",
                sample.labels
            )
            .into());
        }
        self.has_exemplars |= is_marked || sample.exemplar.is_some();
        Ok(sample)
    }
}

#[inline]
fn check_counted_text(value: &str) -> Result<(), Reason> {
    // What begins with a digit is neither.
    if value.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    check_counted(value.parse().unwrap_or(f64::NAN))
}
