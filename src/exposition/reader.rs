//! Reads the text that prometheus-client encodes back into families, and finds those that would break the format.
//!
//! prometheus-client checks neither names nor help texts nor values, and a registry does not tell what is in it. One
//! bad family makes Prometheus refuse what stands beside it, or lose half of it without a word. So every scrape is
//! read, line by line, as OpenMetrics 1.0 has it.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    hash::BuildHasher as _,
};

use crate::exposition::exemplar::MARK;

const HELP: &str = "# HELP ";

/// A metric family that is valid.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) name: &'a str,
    /// As it was given, not escaped.
    pub(crate) help: &'a str,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<&'a str>,
    /// Whole lines.
    pub(crate) samples: &'a str,
    /// How many lines these are.
    pub(crate) sample_count: usize,
    /// Whether there are exemplars, or marks that stand for them.
    pub(crate) has_exemplars: bool,
}

/// A metric family that would break the format.
#[derive(Debug)]
pub(crate) struct Fault<'a> {
    pub(crate) family: &'a str,
    pub(crate) reason: Reason,
}

/// What is wrong, as the end of a sentence that begins with the family, and what to do about it.
pub(crate) type Reason = Cow<'static, str>;

pub(crate) const NO_METRIC_NAME: &str =
    "has a name, a prefix or a unit that no metric can have; use letters, digits, `_` and `:`";
const CUT_OFF: &str = "is cut off; its metric or collector has to write whole lines";
pub(crate) const BOUNDS_DO_NOT_RISE: &str =
    "has buckets whose bounds do not rise; give each bound once, in rising order";
pub(crate) const BUCKETS_DIFFER_FROM_COUNT: &str =
    "has buckets that do not add up to its count; encode all of them, the last one without a bound";
pub(crate) const BOUNDS_BELOW_ZERO: &str =
    "has buckets below zero, which OpenMetrics allows without a sum only; observe what is not negative";

/// The types of metrics that prometheus-client encodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
    Unknown,
}

impl Kind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "counter" => Self::Counter,
            "gauge" => Self::Gauge,
            "histogram" => Self::Histogram,
            "info" => Self::Info,
            "unknown" => Self::Unknown,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
            Self::Info => "info",
            Self::Unknown => "unknown",
        }
    }

    /// What a family takes behind its name, so that no other can have it: OpenMetrics 1.0, section "Suffixes".
    pub(crate) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            Self::Info => &["", "_info"],
            Self::Gauge | Self::Unknown => &[""],
        }
    }
}

/// The names that the families of a scrape take, and the family that takes each.
#[derive(Debug, Default)]
pub(crate) struct TakenNames(HashMap<String, String>);

impl TakenNames {
    pub(crate) fn take(&mut self, family: &str, kind: Kind) -> Result<(), Reason> {
        let names = || kind.suffixes().iter().map(|suffix| format!("{family}{suffix}"));
        if let Some(other) = names().find_map(|name| self.0.get(&name)) {
            return Err(if other == family {
                "is registered twice; rename one of them, or register it once".into()
            } else {
                format!("has samples whose names are taken by the family {other}; rename one of them").into()
            });
        }
        self.0.extend(names().map(|name| (name, family.to_owned())));
        Ok(())
    }
}

/// Whether a family may be called `name`: `[a-zA-Z_:][a-zA-Z0-9_:]*`.
pub(crate) fn is_metric_name(name: &str) -> bool {
    is_name(name, |byte| byte == b':')
}

/// Whether a label may be called `name`: `[a-zA-Z_][a-zA-Z0-9_]*`, without those that begin with `__`, which Prometheus
/// keeps for itself.
pub(crate) fn is_label_name(name: &str) -> bool {
    is_name(name, |_| false) && !name.starts_with("__")
}

#[inline]
fn is_name(name: &str, is_extra: impl Fn(u8) -> bool) -> bool {
    let mut bytes = name.bytes();
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_' || is_extra(byte);
    bytes.next().is_some_and(is_letter) && bytes.all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

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

/// One line, from what follows the name of the sample.
pub(crate) struct Sample<'a> {
    /// Without the braces.
    pub(crate) labels: &'a str,
    pub(crate) value: &'a str,
    /// From its opening brace.
    pub(crate) exemplar: Option<&'a str>,
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
            if name == MARK {
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

/// What is counted or summed up is neither negative nor not a number.
pub(crate) fn check_counted(value: f64) -> Result<(), Reason> {
    if value >= 0.0 {
        return Ok(());
    }
    Err(
        format!("counts or sums up to {value}; neither add nor observe what is negative or not a number")
            .into(),
    )
}

#[inline]
fn check_counted_text(value: &str) -> Result<(), Reason> {
    // What begins with a digit is neither.
    if value.starts_with(|c: char| c.is_ascii_digit()) {
        return Ok(());
    }
    check_counted(value.parse().unwrap_or(f64::NAN))
}

/// Whether a label can follow those that are called `names`.
#[inline]
pub(crate) fn check_label(name: &str, names: &[impl AsRef<str>], kind: Kind) -> Result<(), Reason> {
    if !is_label_name(name) {
        return Err(format!("has a label called {name:?}, which no label can be; use letters, digits and `_`, and no `__` at the beginning").into());
    }
    if names.iter().any(|known| known.as_ref() == name) {
        return Err(format!(
            "has the label {name} twice; rename one, or leave it out of the registry's own labels"
        )
        .into());
    }
    if name == "le" && kind == Kind::Histogram {
        return Err("has a label `le` of its own, which is that of its buckets; rename it".into());
    }
    Ok(())
}

/// Reads one line from what follows the name of its sample, and calls `on_label` with each name and escaped value.
pub(crate) fn read_line<'a>(
    line: &'a str,
    on_label: impl FnMut(&'a str, &'a str) -> Result<(), Reason>,
) -> Result<Sample<'a>, Reason> {
    let (labels, behind) = match line.strip_prefix('{') {
        Some(text) => {
            let behind = read_labels(text, on_label)?;
            (&text[..text.len() - behind.len() - 1], behind)
        }
        None => ("", line),
    };
    let behind = behind.strip_prefix(' ').ok_or("has a line without a value")?;
    let (value, exemplar) = match behind.split_once(' ') {
        Some((value, exemplar)) => (value, exemplar.strip_prefix("# ")),
        None => (behind, None),
    };
    Ok(Sample {
        labels,
        value,
        exemplar,
    })
}

/// Reads labels up to the closing brace, and gives back what follows it.
pub(crate) fn read_labels<'a>(
    mut text: &'a str,
    mut on_label: impl FnMut(&'a str, &'a str) -> Result<(), Reason>,
) -> Result<&'a str, Reason> {
    if let Some(behind) = text.strip_prefix('}') {
        return Ok(behind);
    }
    loop {
        let label = text.bytes().position(|byte| byte == b'=').and_then(|end| {
            let (name, text) = text.split_at(end);
            let text = text.strip_prefix("=\"")?;
            let end = closing_quote(text)?;
            Some((name, &text[..end], &text[end + 1..]))
        });
        let (name, value, behind) = label.ok_or("has a label without a name or a value")?;
        on_label(name, value)?;
        match behind.as_bytes().first() {
            Some(b',') => text = &behind[1..],
            Some(b'}') => return Ok(&behind[1..]),
            _ => return Err("has a label without a name or a value".into()),
        }
    }
}

/// The index of the first quote that is not escaped.
#[inline]
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}
