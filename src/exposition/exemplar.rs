//! Exemplars, on their way from a collector into a scrape.
//!
//! prometheus-client encodes exemplars of its own metrics only: its `Exemplar` cannot be made elsewhere. So a
//! collector of ours lends them to the render that is under way on its thread, and marks the series with a label that
//! the render takes out again.

use std::{
    cell::RefCell,
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::exposition::{
    line::unescape,
    reader::{Family, Kind, is_label_name, read_labels, read_line},
};

/// The name of the label that marks a series; no label of anybody else can have it.
pub(crate) const MARK: &str = "\u{1}exemplars";

/// How many characters the names and values of the labels of one exemplar have at the most: OpenMetrics 1.0,
/// section "Exemplars".
pub(crate) const MOST_CHARACTERS: usize = 128;

/// A request that stands for others: what its trace can be found by.
#[derive(Clone, Debug)]
pub(crate) struct Exemplar {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
    pub(crate) time: SystemTime,
}

/// The exemplars of one series, by the index of their bucket; 0 for a counter.
pub(crate) type OfSeries = Vec<(usize, Exemplar)>;

thread_local! {
    static LENT: RefCell<Option<Vec<OfSeries>>> = const { RefCell::new(None) };
}

/// Lends the exemplars of one series to the render under way on this thread, and gives back the label that marks the
/// series; `None` if there are none, or if somebody else encodes.
pub(crate) fn lend(exemplars: OfSeries) -> Option<(&'static str, String)> {
    if exemplars.is_empty() {
        return None;
    }
    LENT.with_borrow_mut(|lent| {
        let lent = lent.as_mut()?;
        lent.push(exemplars);
        Some((MARK, (lent.len() - 1).to_string()))
    })
}

/// Encodes, and gives back what was lent meanwhile.
pub(crate) fn borrowed_by<T>(encode: impl FnOnce() -> T) -> (T, Vec<OfSeries>) {
    // A collector may scrape another registry.
    let outer = LENT.replace(Some(Vec::new()));
    let encoded = encode();
    let lent = LENT.replace(outer);
    (encoded, lent.unwrap_or_default())
}

/// Whether labels can be those of an exemplar.
pub(crate) fn are_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let mut names = Vec::new();
    let mut characters = 0;
    for (name, value) in labels {
        if !is_label_name(name) || names.contains(&name) {
            return false;
        }
        names.push(name);
        characters += name.chars().count() + value.chars().count();
    }
    characters <= MOST_CHARACTERS
}

/// Writes the samples of a family that has exemplars: with those that are valid, or without any.
pub(crate) fn write_samples(text: &mut String, family: &Family<'_>, lent: &[OfSeries], with_exemplars: bool) {
    let mut bucket = 0;
    for line in family.samples.lines() {
        let (name, behind) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
        // All lines of the family have been read before.
        let mut mark = None;
        let Ok(sample) = read_line(behind, |name, value| {
            if name == MARK {
                mark = Some(value);
            }
            Ok(())
        }) else {
            continue;
        };
        let labels = mark.map_or(sample.labels, |mark| without_mark(sample.labels, mark));
        let mark = mark.and_then(|mark| mark.parse::<usize>().ok());
        text.push_str(name);
        if !labels.is_empty() {
            let _ = write!(text, "{{{labels}}}");
        }
        let _ = write!(text, " {}", sample.value);
        let is_counted = match family.kind {
            Kind::Histogram => name.ends_with("_bucket"),
            _ => true,
        };
        if is_counted && with_exemplars {
            let of_series = mark.and_then(|mark| lent.get(mark)).into_iter().flatten();
            for (_, exemplar) in of_series.filter(|(index, _)| *index == bucket) {
                write_exemplar(text, exemplar);
            }
            if let Some(exemplar) = sample.exemplar.filter(|exemplar| is_valid(exemplar)) {
                let _ = write!(text, " # {exemplar}");
            }
        }
        bucket = match family.kind {
            Kind::Histogram if is_counted => bucket + 1,
            _ => 0,
        };
        text.push('\n');
    }
}

/// The labels without the last one, the mark with this value.
fn without_mark<'a>(labels: &'a str, mark: &str) -> &'a str {
    let end = labels.len().saturating_sub(format!(r#"{MARK}="{mark}""#).len());
    let before = labels.get(..end).unwrap_or(labels);
    before.strip_suffix(',').unwrap_or(before)
}

fn write_exemplar(text: &mut String, exemplar: &Exemplar) {
    text.push_str(" # {");
    for (index, (name, value)) in exemplar.labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let value = value
            .replace('\\', r"\\")
            .replace('"', r#"\""#)
            .replace('\n', r"\n");
        let _ = write!(text, r#"{comma}{name}="{value}""#);
    }
    let time = exemplar.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let _ = write!(
        text,
        "}} {:?} {}.{:03}",
        exemplar.value,
        time.as_secs(),
        time.subsec_millis()
    );
}

/// Whether an exemplar that prometheus-client has encoded can be served.
fn is_valid(exemplar: &str) -> bool {
    let mut labels = Vec::new();
    let text = exemplar.strip_prefix('{').unwrap_or_default();
    let Ok(behind) = read_labels(text, |name, value| {
        labels.push((name, unescape(value)));
        Ok(())
    }) else {
        return false;
    };
    let mut numbers = behind.split(' ').skip(1);
    let has_value = numbers.next().is_some();
    let has_time = numbers
        .next()
        .is_none_or(|time| time.parse().is_ok_and(f64::is_finite));
    has_value && has_time && are_labels(labels.iter().map(|(name, value)| (*name, &**value)))
}
