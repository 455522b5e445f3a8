//! Metric families: the names, types and suffixes that every format obeys, and what is wrong with a family.

use std::{borrow::Cow, collections::HashMap};

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
    pub(crate) fn of(name: &str) -> Option<Self> {
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
