//! What can be wrong with the values of options.

use std::{
    borrow::{Borrow, Cow},
    collections::HashSet,
};

use crate::{
    error::Error,
    exposition::family::is_metric_name,
    monitors::default::{
        families::{Label, LabelNames},
        labels::is_free_label_name,
        table::Content,
    },
};

/// A text that the names of metrics can begin with, before a `_`.
pub(super) fn checked_prefix(prefix: &str) -> Result<Cow<'static, str>, Error> {
    let checked = checked_name(prefix)?;
    if prefix.ends_with('_') {
        let without = prefix.trim_end_matches('_');
        return Err(Error::new(format!(
            "the scrape adds `_` to {prefix:?}; give {without:?}",
        )));
    }
    Ok(checked)
}

/// A name that a metric can have, or begin with.
pub(super) fn checked_name(name: &str) -> Result<Cow<'static, str>, Error> {
    if is_metric_name(name) {
        return Ok(name.to_owned().into());
    }
    Err(Error::new(format!(
        "{name:?} is not a name that a metric can have; \
         use letters of ASCII, digits, `_` and `:`, and begin with no digit",
    )))
}

/// The upper bounds of a histogram.
pub(crate) fn checked_bounds(
    bounds: impl IntoIterator<Item: Borrow<f64>>,
) -> Result<Cow<'static, [f64]>, Error> {
    let bounds: Vec<_> = bounds.into_iter().map(|bound| *bound.borrow()).collect();
    let wrong = if bounds.is_empty() {
        "there is no bound; give at least one"
    } else if !bounds.iter().all(|bound| bound.is_finite()) {
        "a bound is not finite; leave it out, the infinite one is added"
    } else if bounds[0] <= 0.0 {
        "a bound is not above 0; leave it out"
    } else if !bounds.is_sorted_by(|a, b| a < b) {
        "the bounds are not rising; sort them, and give each once"
    } else {
        return Ok(bounds.into());
    };
    Err(Error::new(wrong))
}

/// The labels of a family.
pub(super) fn checked_labels<'a>(
    content: Content,
    labels: impl IntoIterator<Item = (&'a str, Label)>,
) -> Result<LabelNames, Error> {
    let labels = labels.into_iter();
    let labels: LabelNames = labels
        .map(|(name, label)| (name.to_owned().into(), label))
        .collect();
    let mut names = HashSet::new();
    for (name, label) in &labels {
        if !is_free_label_name(name) {
            return Err(Error::new(format!(
                "{name:?} is not a name that a label can have; use letters of ASCII, digits and `_`, \
                 begin with no digit and not with `__`, and leave `le` to the buckets",
            )));
        }
        if !names.insert(name) {
            return Err(Error::new(format!(
                "two labels are called {name:?}; rename one of them",
            )));
        }
        if content.is_in_progress() && !matches!(label, Label::Method | Label::Path) {
            return Err(Error::new(format!(
                "a request in progress has no status, but {name:?} is one; \
                 choose of Label::Method and Label::Path",
            )));
        }
    }
    let is_path = |(_, label): &(_, Label)| *label == Label::Path;
    if content.is_of_objective() && (labels.is_empty() || !labels.iter().all(is_path)) {
        return Err(Error::new(
            "an objective is that of a route, and has nothing else; choose Label::Path alone",
        ));
    }
    Ok(labels)
}

/// The help text of a family.
pub(super) fn checked_help(text: &str) -> Result<Cow<'static, str>, Error> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Error::new(format!(
            "{text:?} is not a help text; write one line, with no control characters"
        )));
    }
    Ok(text.to_owned().into())
}
