//! The text formats: how each of them writes families that are valid.

use std::fmt::Write as _;

use prometheus_client::{encoding, registry::Registry};

use crate::exposition::{
    exemplar::{MARKER, OfSeries, attached_by, is_valid, write_exemplar},
    family::{Family, Kind},
    line::{escape, read_line},
    reader::families,
    rendered::{Omitted, Rendered, contain},
};

/// What a text format does its own way.
pub(crate) struct Dialect {
    /// What a family is called behind its name, and the name of its type.
    header: fn(Kind) -> (&'static str, &'static str),
    /// What is escaped in help, beside backslashes and newlines.
    escapes_quotes: bool,
    has_units: bool,
    has_exemplars: bool,
    /// The last line.
    end: &'static str,
}

/// OpenMetrics 1.0.
pub(crate) const OPENMETRICS: Dialect = Dialect {
    header: |kind| ("", kind.name()),
    escapes_quotes: true,
    has_units: true,
    has_exemplars: true,
    end: "# EOF\n",
};

/// Prometheus text 0.0.4: HELP and TYPE on the names of samples.
pub(crate) const PROMETHEUS: Dialect = Dialect {
    header: |kind| match kind {
        Kind::Counter => ("_total", "counter"),
        Kind::Info => ("_info", "gauge"),
        Kind::Unknown => ("", "untyped"),
        Kind::Gauge | Kind::Histogram => ("", kind.name()),
    },
    escapes_quotes: false,
    has_units: false,
    has_exemplars: false,
    end: "",
};

/// Encodes `registries` one after the other as text of about `size` bytes.
pub(crate) fn render<'a>(
    registries: impl Iterator<Item = &'a Registry>,
    dialect: &Dialect,
    size: usize,
) -> Rendered<String> {
    let mut rendered = Rendered::<String>::default();
    let (encoded, attached) = attached_by(|| {
        let mut encoded = String::with_capacity(size);
        for registry in registries {
            let begin = encoded.len();
            if let Err(reason) = contain(|| encoding::text::encode_registry(&mut encoded, registry)) {
                rendered.omitted.push(roll_back(&mut encoded, begin, reason));
            }
        }
        encoded
    });

    rendered.body.reserve(size);
    for family in families(&encoded) {
        match family {
            Ok(family) => {
                write_family(&mut rendered.body, &family, &attached, dialect);
                rendered.samples += family.sample_count;
            }
            Err(fault) => rendered.omitted.push(fault.into()),
        }
    }
    rendered.body.push_str(dialect.end);
    rendered
}

/// Removes the last family of what a registry has encoded before it failed: it may be the one that failed. What is
/// behind it in the same registry has not been encoded.
fn roll_back(encoded: &mut String, begin: usize, reason: String) -> Omitted {
    let of_registry = &encoded[begin..];
    let last = of_registry
        .match_indices("# HELP ")
        .filter(|&(at, _)| at == 0 || of_registry[..at].ends_with('\n'))
        .last();
    let (begin, family) = match last {
        Some((last, _)) => {
            let family = of_registry[last..].split(' ').nth(2);
            (begin + last, family.unwrap_or_default().to_owned())
        }
        None => (begin, String::new()),
    };
    encoded.truncate(begin);
    Omitted { family, reason }
}

fn write_family(text: &mut String, family: &Family<'_>, attached: &[OfSeries], dialect: &Dialect) {
    let (suffix, kind) = (dialect.header)(family.kind);
    let name = family.name;
    let _ = write!(text, "# HELP {name}{suffix} ");
    escape(text, family.help, dialect.escapes_quotes);
    let _ = write!(text, "\n# TYPE {name}{suffix} {kind}\n");
    if let Some(unit) = family.unit.filter(|_| dialect.has_units) {
        let _ = writeln!(text, "# UNIT {name} {unit}");
    }
    if family.has_exemplars {
        write_samples(text, family, attached, dialect.has_exemplars);
    } else {
        text.push_str(family.samples);
    }
}

/// Writes the samples of a family that has exemplars: with those that are valid, or without any.
fn write_samples(text: &mut String, family: &Family<'_>, attached: &[OfSeries], with_exemplars: bool) {
    let mut bucket = 0;
    for line in family.samples.lines() {
        let (name, behind) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
        // All lines of the family have been read before.
        let mut marker = None;
        let Ok(sample) = read_line(behind, |name, value| {
            if name == MARKER {
                marker = Some(value);
            }
            Ok(())
        }) else {
            continue;
        };
        let labels = marker.map_or(sample.labels, |marker| without_marker(sample.labels, marker));
        let marker = marker.and_then(|marker| marker.parse::<usize>().ok());
        text.push_str(name);
        if !labels.is_empty() {
            let _ = write!(text, "{{{labels}}}");
        }
        let _ = write!(text, " {}", sample.value);
        let is_counted = match family.kind {
            Kind::Histogram => name.ends_with("_bucket"),
            _ => true,
        };
        if is_counted && with_exemplars {
            let of_series = marker
                .and_then(|marker| attached.get(marker))
                .into_iter()
                .flatten();
            for (_, exemplar) in of_series.filter(|(index, _)| *index == bucket) {
                write_exemplar(text, exemplar);
            }
            if let Some(exemplar) = sample.exemplar.filter(|exemplar| is_valid(exemplar)) {
                let _ = write!(text, " # {exemplar}");
            }
        }
        bucket = match family.kind {
            Kind::Histogram if is_counted => bucket + 1,
            _ => 0,
        };
        text.push('\n');
    }
}

/// The labels without the last one, the marker with this value.
fn without_marker<'a>(labels: &'a str, marker: &str) -> &'a str {
    let end = labels
        .len()
        .saturating_sub(format!(r#"{MARKER}="{marker}""#).len());
    let before = labels.get(..end).unwrap_or(labels);
    before.strip_suffix(',').unwrap_or(before)
}
