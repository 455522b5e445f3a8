//! The two text formats: what is written for a family that is valid.

use std::fmt::Write as _;

use crate::exposition::{
    exemplar::{OfSeries, write_samples},
    reader::{Family, Kind},
};

/// The text format that is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// OpenMetrics 1.0; but for `# EOF`, which ends all families.
    OpenMetrics,
    /// Prometheus text 0.0.4: HELP and TYPE on the names of samples, no UNIT, no exemplars, no `# EOF`.
    Prometheus,
}

/// Whether OpenMetrics has `family` just as prometheus-client has encoded it.
pub(crate) fn is_as_encoded(family: &Family<'_>) -> bool {
    !family.has_exemplars && !family.help.contains(['\\', '\n', '"'])
}

pub(crate) fn write_family(text: &mut String, family: &Family<'_>, lent: &[OfSeries], dialect: Dialect) {
    let Family { name, help, kind, .. } = family;
    // Writing to a string does not fail.
    let _ = match dialect {
        Dialect::OpenMetrics => {
            let help = help
                .replace('\\', r"\\")
                .replace('\n', r"\n")
                .replace('"', r#"\""#);
            let _ = write!(text, "# HELP {name} {help}\n# TYPE {name} {}\n", kind.name());
            family
                .unit
                .map_or(Ok(()), |unit| writeln!(text, "# UNIT {name} {unit}"))
        }
        Dialect::Prometheus => {
            let help = help.replace('\\', r"\\").replace('\n', r"\n");
            let (suffix, kind) = match kind {
                Kind::Counter => ("_total", "counter"),
                Kind::Info => ("_info", "gauge"),
                Kind::Unknown => ("", "untyped"),
                Kind::Gauge | Kind::Histogram => ("", kind.name()),
            };
            write!(
                text,
                "# HELP {name}{suffix} {help}\n# TYPE {name}{suffix} {kind}\n"
            )
        }
    };
    if family.has_exemplars {
        write_samples(text, family, lent, dialect == Dialect::OpenMetrics);
    } else {
        text.push_str(family.samples);
    }
}
