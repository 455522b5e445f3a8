//! Exemplars, on their way from a collector into a scrape.
//!
//! prometheus-client encodes exemplars of its own metrics only: its `Exemplar` cannot be made elsewhere. So a
//! collector of ours attaches them to the render that is under way on its thread, and marks the series with a label that
//! the render removes.

use std::{
    cell::RefCell,
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::exposition::{
    family::is_label_name,
    line::{escape, read_labels, unescape},
};

/// The name of the label that marks a series; no valid label has it.
pub(crate) const MARKER: &str = "\u{1}exemplars";

/// How many characters the names and values of the labels of one exemplar have at the most: OpenMetrics 1.0,
/// section "Exemplars".
pub(crate) const MOST_CHARACTERS: usize = 128;

/// One request of many: what its trace can be found by.
#[derive(Clone, Debug)]
pub(crate) struct Exemplar {
    pub(crate) labels: Vec<(String, String)>,
    pub(crate) value: f64,
    pub(crate) time: SystemTime,
}

/// The exemplars of one series, by the index of their bucket; 0 for a counter.
pub(crate) type OfSeries = Vec<(usize, Exemplar)>;

thread_local! {
    static PENDING: RefCell<Option<Vec<OfSeries>>> = const { RefCell::new(None) };
}

/// Attaches the exemplars of one series to the render under way on this thread, and returns the label that marks the
/// series; `None` if there are none, or if somebody else encodes.
pub(crate) fn attach(exemplars: OfSeries) -> Option<(&'static str, String)> {
    if exemplars.is_empty() {
        return None;
    }
    PENDING.with_borrow_mut(|pending| {
        let pending = pending.as_mut()?;
        pending.push(exemplars);
        Some((MARKER, (pending.len() - 1).to_string()))
    })
}

/// Encodes, and returns what was attached meanwhile.
pub(crate) fn attached_by<T>(encode: impl FnOnce() -> T) -> (T, Vec<OfSeries>) {
    // A collector may scrape another registry.
    let outer = PENDING.replace(Some(Vec::new()));
    let encoded = encode();
    let attached = PENDING.replace(outer);
    (encoded, attached.unwrap_or_default())
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

pub(crate) fn write_exemplar(text: &mut String, exemplar: &Exemplar) {
    text.push_str(" # {");
    for (index, (name, value)) in exemplar.labels.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, r#"{comma}{name}=""#);
        escape(text, value, true);
        text.push('"');
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
pub(crate) fn is_valid(exemplar: &str) -> bool {
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
