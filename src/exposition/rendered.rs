//! The body of a scrape, and what is not in it.

use std::fmt;

use crate::{exposition::family::Fault, panics::catch};

/// The body of a scrape, and what is in it.
#[derive(Debug, Default)]
pub(crate) struct Rendered<T> {
    pub(crate) body: T,
    pub(crate) samples: usize,
    pub(crate) omitted: Vec<Omitted>,
}

impl<T> Rendered<T> {
    pub(crate) fn map<U>(self, body: impl FnOnce(T) -> U) -> Rendered<U> {
        Rendered {
            body: body(self.body),
            samples: self.samples,
            omitted: self.omitted,
        }
    }
}

/// A family that is not in the scrape, or a collector whose family has no name.
#[derive(Debug)]
pub(crate) struct Omitted {
    /// Empty where no name is known.
    pub(crate) family: String,
    pub(crate) reason: String,
}

impl Omitted {
    /// What it is logged under, once: a reason may be another one at each scrape.
    pub(crate) fn name(&self) -> &str {
        if self.family.is_empty() {
            &self.reason
        } else {
            &self.family
        }
    }
}

impl fmt::Display for Omitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.family.is_empty() {
            write!(f, "a collector {}", self.reason)
        } else {
            write!(f, "the family {} {}", self.family, self.reason)
        }
    }
}

impl From<Fault<'_>> for Omitted {
    fn from(fault: Fault<'_>) -> Self {
        Self {
            family: fault.family.to_owned(),
            reason: fault.reason.into_owned(),
        }
    }
}

/// Runs code of metrics and collectors; says how it failed.
pub(crate) fn contain<T>(encode: impl FnOnce() -> Result<T, fmt::Error>) -> Result<T, String> {
    match catch(encode) {
        Ok(Ok(encoded)) => Ok(encoded),
        Ok(Err(fmt::Error)) => {
            Err("returned an error when it was encoded; mend it, or do not register it (a histogram with native buckets alone has no text form)".to_owned())
        }
        Err(panicked) => Err(format!(
            "panicked when it was encoded: {panicked}; mend it, or do not register it"
        )),
    }
}
