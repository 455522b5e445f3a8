//! Metric families: the names, types and suffixes of every format, and what makes a family invalid.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
};

/// A problem and its fix, as the end of a sentence that begins with the family.
pub(crate) type Reason = Cow<'static, str>;

pub(crate) const NO_METRIC_NAME: &str =
    "has an invalid name, prefix or unit; use letters, digits, `_` and `:`";
pub(crate) const CUT_OFF: &str = "is cut off; its metric or collector must write whole lines";
pub(crate) const INFO_WITH_UNIT: &str =
    "is an info with a unit, which OpenMetrics forbids; register it without the unit";
pub(crate) const REGISTERED_TWICE: &str = "is registered twice; rename one of them, or register it once";
pub(crate) const BOUNDS_DO_NOT_RISE: &str =
    "has buckets whose bounds do not increase; give each bound once, in increasing order";
pub(crate) const COUNTS_FALL: &str = "has buckets whose cumulative counts decrease; encode the count of each bucket alone, and keep their sum within a `u64`";
pub(crate) const BUCKETS_DIFFER_FROM_COUNT: &str = "has buckets that do not add up to its count; encode all of them, including the last one, which has no bound";
pub(crate) const BOUNDS_BELOW_ZERO: &str =
    "has buckets below zero, which OpenMetrics allows only without a sum; observe no negative values";

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

    /// The suffix of the sample, for types with one sample per series.
    pub(crate) fn suffix(self) -> &'static str {
        match self {
            Self::Counter => "_total",
            Self::Info => "_info",
            Self::Gauge | Self::Histogram | Self::Unknown => "",
        }
    }

    /// The suffixes whose names a family reserves: OpenMetrics 1.0, section "Suffixes".
    pub(crate) fn suffixes(self) -> &'static [&'static str] {
        match self {
            Self::Counter => &["", "_total", "_created"],
            Self::Histogram => &["", "_bucket", "_count", "_sum", "_created"],
            Self::Info => &["", "_info"],
            Self::Gauge | Self::Unknown => &[""],
        }
    }
}

/// A valid metric family: everything that is registered under its name.
#[derive(Debug)]
pub(crate) struct Family<'a> {
    pub(crate) name: &'a str,
    /// That of the first one, not escaped.
    pub(crate) help: &'a str,
    pub(crate) kind: Kind,
    pub(crate) unit: Option<&'a str>,
    /// Whole lines.
    pub(crate) samples: Vec<&'a str>,
    /// Samples of this crate, which are valid and not written yet.
    pub(crate) own: Option<Own<'a>>,
    /// The number of lines in `samples`.
    pub(crate) sample_count: usize,
    /// Whether there are exemplars, their markers, or bounds that are not canonical.
    pub(crate) is_rewritten: bool,
    pub(crate) seen: SeenSeries,
}

/// Samples of this crate, not written yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own<'a> {
    /// Their index among those that are attached.
    pub(crate) samples: usize,
    /// The labels that the registry puts on everything, as text.
    pub(crate) constant_labels: &'a str,
}

/// The hashes of the label sets so far. Two of a million would be the same once in 37 million scrapes.
pub(crate) type SeenSeries = HashSet<u64, foldhash::fast::RandomState>;

/// The names that the families of a scrape take.
#[derive(Debug, Default)]
pub(crate) struct TakenNames(HashMap<String, Owner>);

/// The family that takes a name.
#[derive(Clone, Debug)]
struct Owner {
    family: String,
    kind: Kind,
    index: usize,
}

impl TakenNames {
    /// The index of the family of this name and type; `None` if the name is free.
    pub(crate) fn find(&self, family: &str, kind: Kind) -> Result<Option<usize>, Reason> {
        let owner = self.0.get(family);
        if let Some(owner) = owner.filter(|owner| owner.family == family) {
            return if owner.kind == kind {
                Ok(Some(owner.index))
            } else {
                Err("is registered twice, with different types; rename one of them".into())
            };
        }
        let suffixes = kind.suffixes().iter();
        let mut owners = suffixes.filter_map(|suffix| self.0.get(&format!("{family}{suffix}")));
        match owners.next() {
            None => Ok(None),
            Some(Owner { family: other, .. }) => Err(format!(
                "has samples whose names are taken by the family {other}; rename one of them"
            )
            .into()),
        }
    }

    /// Takes the names of the family at `index`, which are free.
    pub(crate) fn take(&mut self, family: &str, kind: Kind, index: usize) {
        for suffix in kind.suffixes() {
            let owner = Owner {
                family: family.to_owned(),
                kind,
                index,
            };
            self.0.insert(format!("{family}{suffix}"), owner);
        }
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

/// Checks that a count or a sum is a number and not negative.
pub(crate) fn check_counted(value: f64) -> Result<(), Reason> {
    if value >= 0.0 {
        return Ok(());
    }
    Err(format!("has the count or sum {value}; add and observe only numbers, and no negative ones").into())
}

/// Whether a label can follow those that are called `names`.
#[inline]
pub(crate) fn check_label(name: &str, names: &[impl AsRef<str>], kind: Kind) -> Result<(), Reason> {
    if !is_label_name(name) {
        return Err(format!(
            "has the invalid label name {name:?}; use letters, digits and `_`, and no `__` at the beginning"
        )
        .into());
    }
    if names.iter().any(|known| known.as_ref() == name) {
        return Err(format!(
            "has the label {name} twice; rename one of them, or remove it from the labels of the registry"
        )
        .into());
    }
    if name == "le" && kind == Kind::Histogram {
        return Err("has a label `le`, which is reserved for its buckets; rename it".into());
    }
    Ok(())
}
