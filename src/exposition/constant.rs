//! The prefix and the labels that a registry puts on everything; it has no getter for them.

use std::{iter, mem};

use prometheus_client::{metrics::gauge::ConstGauge, registry::Registry};

use crate::exposition::{
    encoded::Encoded,
    family::{CUT_OFF, Kind, NO_METRIC_NAME, Reason, check_label, is_metric_name},
    line::read_line,
};

/// The name of a family that shows the prefix and the labels.
const PROBE: &str = "probe";

fn encoded_probe(registry: &mut Registry) -> Encoded {
    let mut probe = mem::take(registry.sub_registry_with_labels(iter::empty()));
    probe.register(PROBE, "Shows the prefix and the labels", ConstGauge::new(1_i64));
    let mut encoded = Encoded::default();
    encoded.add(&probe, &mut Vec::new());
    encoded
}

/// The prefix that `registry` puts before the name of each family.
pub(crate) fn name_prefix(registry: &mut Registry) -> String {
    let encoded = encoded_probe(registry);
    let section = encoded.sections().next().and_then(Result::ok);
    let prefix = section.and_then(|section| section.name.strip_suffix(PROBE));
    prefix.unwrap_or_default().to_owned()
}

/// The names of the labels that `registry` puts on everything. Fails if one of them or the prefix is invalid.
pub(crate) fn constant_labels(registry: &mut Registry) -> Result<Vec<String>, Reason> {
    let encoded = encoded_probe(registry);
    let section = encoded
        .sections()
        .next()
        .ok_or(CUT_OFF)?
        .map_err(|(_, reason)| reason)?;
    if !is_metric_name(section.name) {
        return Err(NO_METRIC_NAME.into());
    }
    let mut names = Vec::new();
    let line = section.samples.strip_prefix(section.name).unwrap_or_default();
    read_line(line, |name, _| {
        check_label(name, &names, Kind::Gauge)?;
        names.push(name.to_owned());
        Ok(())
    })?;
    Ok(names)
}

/// Checks that families with these labels can be registered in `registry`.
pub(crate) fn check_own_labels<'a>(
    registry: &mut Registry,
    names: impl IntoIterator<Item = &'a str>,
) -> Result<(), Reason> {
    let constant = constant_labels(registry)?;
    for name in names {
        check_label(name, &constant, Kind::Gauge)?;
    }
    Ok(())
}
