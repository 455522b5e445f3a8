//! The body of a scrape, and what was omitted from it.

use std::{fmt, ops::Range};

use crate::{exposition::family::Reason, panics::catch};

/// The body of a scrape, and what is in it.
#[derive(Debug, Default)]
pub(crate) struct Rendered<T> {
    pub(crate) body: T,
    /// Where the families are in it.
    pub(crate) families: Vec<(FamilyName, Range<usize>)>,
    pub(crate) samples: usize,
    pub(crate) omitted: Vec<Omitted>,
}

impl<T> Rendered<T> {
    pub(crate) fn map<U>(self, body: impl FnOnce(T) -> U) -> Rendered<U> {
        Rendered {
            body: body(self.body),
            families: self.families,
            samples: self.samples,
            omitted: self.omitted,
        }
    }
}

/// The name of a family, and that of its samples.
#[derive(Debug)]
pub(crate) struct FamilyName {
    pub(crate) name: String,
    pub(crate) suffix: &'static str,
}

impl FamilyName {
    pub(crate) fn is(&self, name: &str) -> bool {
        let suffix = name.strip_prefix(&*self.name);
        suffix.is_some_and(|suffix| suffix.is_empty() || suffix == self.suffix)
    }
}

/// A family, or series of a family, that was omitted from the scrape.
#[derive(Debug)]
pub(crate) struct Omitted {
    /// Empty for a collector that fails before it names a family.
    family: String,
    /// How many series of the family, if it is not the family itself.
    pub(crate) series: usize,
    reason: Reason,
}

impl Omitted {
    pub(crate) fn family(family: impl Into<String>, reason: impl Into<Reason>) -> Self {
        Self {
            family: family.into(),
            series: 0,
            reason: reason.into(),
        }
    }

    pub(crate) fn series(count: usize, family: impl Into<String>, reason: impl Into<Reason>) -> Self {
        Self {
            family: family.into(),
            series: count,
            reason: reason.into(),
        }
    }

    /// The key under which it is logged once; the reason may differ at each scrape.
    pub(crate) fn key(&self) -> String {
        match (&*self.family, self.series) {
            ("", _) => self.reason.clone().into_owned(),
            (family, 0) => family.to_owned(),
            (family, _) => format!("series of {family}"),
        }
    }
}

impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            family,
            series,
            reason,
        } = self;
        match (&**family, series) {
            ("", _) => write!(f, "a collector {reason}"),
            (_, 0) => write!(f, "the family {family} {reason}"),
            (_, 1) => write!(f, "a series of the family {family}, which {reason}"),
            (_, _) => write!(f, "{series} series of the family {family}, which {reason}"),
        }
    }
}

/// Counts families and series that were omitted from the scrape.
pub(crate) fn count_omitted(omitted: &[Omitted]) -> OmittedCounts {
    OmittedCounts {
        families: omitted.iter().filter(|omitted| omitted.series == 0).count(),
        series: omitted.iter().map(|omitted| omitted.series).sum(),
    }
}

/// How many families, and how many series of other families, were omitted from the scrape.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct OmittedCounts {
    pub(crate) families: usize,
    pub(crate) series: usize,
}

/// Runs the code of metrics and collectors; returns how it failed.
pub(crate) fn contain<T>(encode: impl FnOnce() -> Result<T, fmt::Error>) -> Result<T, String> {
    match catch(encode) {
        Ok(Ok(encoded)) => Ok(encoded),
        Ok(Err(fmt::Error)) => {
            Err("returned an error when it was encoded; fix it, or do not register it (a histogram with only native buckets has no text form)".to_owned())
        }
        Err(panicked) => Err(format!(
            "panicked when it was encoded: {panicked}; fix it, or do not register it"
        )),
    }
}
