//! From registries to the body of a scrape: what is valid, whatever stands beside it.

use std::fmt;

use prometheus_client::{encoding, registry::Registry};

use crate::{
    exposition::{
        exemplar::borrowed_by,
        reader::{Fault, families},
        text::{Dialect, is_as_encoded, write_family},
    },
    panics::catch,
};

/// The body of a scrape, and what is in it.
#[derive(Debug, Default)]
pub(crate) struct Rendered<T> {
    pub(crate) body: T,
    pub(crate) samples: usize,
    pub(crate) left_out: Vec<LeftOut>,
}

/// A family, or what stands behind it, that is not in the scrape.
#[derive(Debug)]
pub(crate) struct LeftOut {
    /// Empty where no name is known.
    pub(crate) family: String,
    pub(crate) reason: String,
}

impl LeftOut {
    /// What it is logged under, once: a reason may be another one at each scrape.
    pub(crate) fn name(&self) -> &str {
        if self.family.is_empty() {
            &self.reason
        } else {
            &self.family
        }
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.family.is_empty() {
            write!(f, "a collector {}", self.reason)
        } else {
            write!(f, "the family {} {}", self.family, self.reason)
        }
    }
}

impl From<Fault<'_>> for LeftOut {
    fn from(fault: Fault<'_>) -> Self {
        Self {
            family: fault.family.to_owned(),
            reason: fault.reason.into_owned(),
        }
    }
}

/// Encodes `registries` one after the other as text of about `size` bytes.
pub(crate) fn render_text<'a>(
    registries: impl Iterator<Item = &'a Registry>,
    dialect: Dialect,
    size: usize,
) -> Rendered<String> {
    let mut rendered = Rendered::default();
    let (encoded, lent) = borrowed_by(|| {
        let mut encoded = String::with_capacity(size);
        for registry in registries {
            let begin = encoded.len();
            if let Err(reason) = contain(|| encoding::text::encode_registry(&mut encoded, registry)) {
                rendered.left_out.push(take_back(&mut encoded, begin, reason));
            }
        }
        encoded
    });

    let mut valid = Vec::new();
    for family in families(&encoded) {
        match family {
            Ok(family) => valid.push(family),
            Err(fault) => rendered.left_out.push(fault.into()),
        }
    }
    rendered.samples = valid.iter().map(|family| family.sample_count).sum();

    let is_as_encoded =
        dialect == Dialect::OpenMetrics && rendered.left_out.is_empty() && valid.iter().all(is_as_encoded);
    let mut body = if is_as_encoded {
        encoded
    } else {
        let mut body = String::with_capacity(encoded.len());
        for family in &valid {
            write_family(&mut body, family, &lent, dialect);
        }
        body
    };
    if dialect == Dialect::OpenMetrics {
        body.push_str("# EOF\n");
    }
    rendered.body = body;
    rendered
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

/// Takes the family that failed out of what a registry has encoded before that. What is behind it in the same registry
/// has not been encoded.
fn take_back(encoded: &mut String, begin: usize, reason: String) -> LeftOut {
    let of_registry = &encoded[begin..];
    let last = of_registry
        .match_indices("# HELP ")
        .filter(|&(at, _)| at == 0 || of_registry[..at].ends_with('\n'));
    let Some((last, _)) = last.last() else {
        encoded.truncate(begin);
        return LeftOut {
            family: String::new(),
            reason,
        };
    };
    let of_last = &of_registry[last..];
    let family = of_last.split(' ').nth(2).unwrap_or_default().to_owned();
    let help = of_last.lines().next().unwrap_or_default();
    // Whole lines of samples: it may have been a collector behind it that failed. A family from a collector is taken
    // back all the same, since that may have been its own; only the help of others ends in a full stop that
    // prometheus-client adds.
    let is_whole =
        of_last.ends_with('\n') && of_last.lines().any(|line| !line.starts_with("# ")) && help.ends_with('.');
    if is_whole {
        return LeftOut {
            family: String::new(),
            reason,
        };
    }
    encoded.truncate(begin + last);
    LeftOut { family, reason }
}
