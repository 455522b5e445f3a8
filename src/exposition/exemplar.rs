//! Exemplars and start timestamps, on their way from a collector into a scrape.
//!
//! prometheus-client encodes those of its own metrics only: its `Exemplar` cannot be made elsewhere. So a collector of
//! ours attaches them to the render that is under way on its thread, and marks the series with a label that the render
//! removes.

use std::{
    cell::RefCell,
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::exposition::{
    family::is_label_name,
    line::{escape, read_labels, unescape},
    mark::token,
};

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

/// What prometheus-client has no way to encode of a series.
#[derive(Clone, Debug)]
pub(crate) struct Attachment {
    pub(crate) exemplars: OfSeries,
    /// When the series began.
    #[cfg_attr(
        not(feature = "protobuf"),
        expect(dead_code, reason = "no text format has it without a series")
    )]
    pub(crate) created: SystemTime,
}

/// What is attached to the render under way on this thread.
struct Pending {
    wants_created: bool,
    attached: Vec<Attachment>,
}

thread_local! {
    static PENDING: RefCell<Option<Pending>> = const { RefCell::new(None) };
}

/// Attaches to one series of the render under way on this thread, and returns the label that marks the series; `None` if
/// there is nothing that the render wants, or if somebody else encodes.
pub(crate) fn attach(attachment: Attachment) -> Option<(&'static str, String)> {
    PENDING.with_borrow_mut(|pending| {
        let pending = pending.as_mut()?;
        if attachment.exemplars.is_empty() && !pending.wants_created {
            return None;
        }
        pending.attached.push(attachment);
        Some((token(), (pending.attached.len() - 1).to_string()))
    })
}

/// Encodes, and returns what was attached meanwhile; a format without start timestamps does not want them.
pub(crate) fn attached_by<T>(wants_created: bool, encode: impl FnOnce() -> T) -> (T, Vec<Attachment>) {
    // A collector may scrape another registry.
    let outer = PENDING.replace(Some(Pending {
        wants_created,
        attached: Vec::new(),
    }));
    let encoded = encode();
    let pending = PENDING.replace(outer);
    (encoded, pending.map_or_else(Vec::new, |pending| pending.attached))
}

/// Whether labels can be those of an exemplar.
pub(crate) fn are_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let mut names = Vec::new();
    let mut characters = 0;
    for (name, value) in labels {
        // Prometheus refuses the whole scrape for a NUL.
        if !is_label_name(name) || names.contains(&name) || value.contains('\0') {
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
    let mut numbers = behind.split(' ');
    let is_number = |text: &str| text.parse().is_ok_and(f64::is_finite);
    numbers.next() == Some("")
        && numbers.next().is_some_and(|value| value.parse::<f64>().is_ok())
        && numbers.next().is_none_or(is_number)
        && numbers.next().is_none()
        && are_labels(labels.iter().map(|(name, value)| (*name, &**value)))
}
