//! Checks of the values of options.

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

/// Checks that names of metrics can begin with this text and a `_`.
pub(super) fn checked_prefix(prefix: &str) -> Result<Cow<'static, str>, Error> {
    let checked = checked_name(prefix)?;
    if prefix.ends_with('_') {
        let without = prefix.trim_end_matches('_');
        return Err(Error::new(format!(
            "`_` is added to {prefix:?}; give {without:?}",
        )));
    }
    Ok(checked)
}

/// Checks that a metric can have this name.
pub(super) fn checked_name(name: &str) -> Result<Cow<'static, str>, Error> {
    if is_metric_name(name) {
        return Ok(name.to_owned().into());
    }
    Err(Error::new(format!(
        "{name:?} is not a valid metric name; \
         use ASCII letters, digits, `_` and `:`, and do not begin with a digit",
    )))
}

/// Checks the upper bounds of a histogram.
pub(crate) fn checked_bounds(
    bounds: impl IntoIterator<Item: Borrow<f64>>,
) -> Result<Cow<'static, [f64]>, Error> {
    let bounds: Vec<_> = bounds.into_iter().map(|bound| *bound.borrow()).collect();
    let wrong = if bounds.is_empty() {
        "there is no bound; give at least one"
    } else if !bounds.iter().all(|bound| bound.is_finite()) {
        "a bound is not finite; remove it, since the infinite bound is added"
    } else if bounds[0] <= 0.0 {
        "a bound is not above 0; remove it"
    } else if !bounds.is_sorted_by(|a, b| a < b) {
        "the bounds are not increasing; sort them, and give each once"
    } else {
        return Ok(bounds.into());
    };
    Err(Error::new(wrong))
}

/// Checks the labels of a family.
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
                "{name:?} is not a valid label name; use ASCII letters, digits and `_`, \
                 do not begin with a digit or `__`, and do not use `le`, which buckets have",
            )));
        }
        if !names.insert(name) {
            return Err(Error::new(format!(
                "two labels are called {name:?}; rename one of them",
            )));
        }
        if content.is_in_progress() && !matches!(label, Label::Method | Label::Path) {
            return Err(Error::new(format!(
                "a request in progress has no status for the label {name:?}; \
                 use only Label::Method and Label::Path",
            )));
        }
    }
    let is_path = |(_, label): &(_, Label)| *label == Label::Path;
    if content.is_of_objective() && (labels.is_empty() || !labels.iter().all(is_path)) {
        return Err(Error::new(
            "the label of an objective is its route; use only Label::Path",
        ));
    }
    Ok(labels)
}

/// Checks the help text of a family.
pub(super) fn checked_help(text: &str) -> Result<Cow<'static, str>, Error> {
    if text.is_empty() || text.chars().any(char::is_control) {
        return Err(Error::new(format!(
            "{text:?} is not a valid help text; write one line without control characters"
        )));
    }
    Ok(text.to_owned().into())
}
