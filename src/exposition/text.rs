//! The text formats: how each of them writes families that are valid.

use std::fmt::Write as _;

use prometheus_client::registry::Registry;

use crate::exposition::{
    attached::{Attached, Attachment, Takes, attached_by},
    direct::Lines,
    encoded::Encoded,
    exemplar::{is_valid, write_exemplar},
    family::{Family, Kind},
    line::{Sample, escape, read_line},
    mark::token,
    number::bound,
    reader::read,
    rendered::{FamilyName, OmittedCounts, Rendered, count_omitted},
};

/// The differences between the text formats.
pub(crate) struct Dialect {
    /// The suffix of a family's name in HELP and TYPE, and the name of its type.
    header: fn(Kind) -> (&'static str, &'static str),
    /// Whether quotes are escaped in help, besides backslashes and newlines.
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
    header: |kind| {
        let name = match kind {
            Kind::Info => "gauge",
            Kind::Unknown => "untyped",
            Kind::Counter | Kind::Gauge | Kind::Histogram => kind.name(),
        };
        (kind.suffix(), name)
    },
    escapes_quotes: false,
    has_units: false,
    has_exemplars: false,
    end: "",
};

/// Encodes `registries` one after the other as text of about `size` bytes, and then the families that count omissions.
pub(crate) fn render<'a>(
    registries: impl Iterator<Item = &'a Registry>,
    omissions: impl FnOnce(OmittedCounts) -> Registry,
    dialect: &Dialect,
    size: usize,
) -> Rendered<String> {
    let mut rendered = Rendered::<String>::default();
    rendered.body.reserve(size);
    let (mut encoded, attached) = attached_by(Takes::Samples, || {
        let mut encoded = Encoded::default();
        for registry in registries {
            encoded.add(registry, &mut rendered.omitted);
        }
        encoded
    });
    encoded.find_own(&attached.samples);
    let families = read(&encoded, &mut rendered.omitted);
    write(&mut rendered, &families, &attached, dialect);
    let mut encoded = Encoded::default();
    encoded.add(&omissions(count_omitted(&rendered.omitted)), &mut Vec::new());
    let families = read(&encoded, &mut Vec::new());
    write(&mut rendered, &families, &Attached::default(), dialect);
    rendered.body.push_str(dialect.end);
    rendered
}

fn write(rendered: &mut Rendered<String>, families: &[Family<'_>], attached: &Attached, dialect: &Dialect) {
    let text = &mut rendered.body;
    for family in families {
        let (suffix, kind) = (dialect.header)(family.kind);
        let name = family.name;
        let begin = text.len();
        let _ = write!(text, "# HELP {name}{suffix} ");
        escape(text, family.help, dialect.escapes_quotes);
        let _ = write!(text, "\n# TYPE {name}{suffix} {kind}\n");
        if let Some(unit) = family.unit.filter(|_| dialect.has_units) {
            let _ = writeln!(text, "# UNIT {name} {unit}");
        }
        for lines in &family.samples {
            if family.is_rewritten {
                write_samples(text, lines, family.kind, &attached.to_series, dialect);
            } else {
                text.push_str(lines);
            }
        }
        rendered.samples += family.sample_count;
        if let Some(own) = &family.own {
            let mut lines = Lines::new(text, (name, own.constant_labels), dialect.has_exemplars);
            // Writing to a string does not fail.
            let _ = (attached.samples[own.samples].samples)(&mut lines);
            rendered.samples += lines.count;
        }
        let name = FamilyName {
            name: name.to_owned(),
            suffix: family.kind.suffix(),
        };
        rendered.families.push((name, begin..text.len()));
    }
}

/// Writes samples with canonical bounds, and with those exemplars that are valid, or without any.
fn write_samples(text: &mut String, lines: &str, kind: Kind, attached: &[Attachment], dialect: &Dialect) {
    let mut bucket = 0;
    for line in lines.lines() {
        let (name, behind) = line.split_at(line.find(['{', ' ']).unwrap_or(line.len()));
        text.push_str(name);
        let mut index = None;
        let mut separator = '{';
        // All lines have been read before.
        let Ok(Sample { value, exemplar, .. }) = read_line(behind, |name, value| {
            if name == token() {
                index = value.parse::<usize>().ok();
                return Ok(());
            }
            text.push(separator);
            separator = ',';
            text.push_str(name);
            text.push_str("=\"");
            match value.parse() {
                Ok(value) if name == "le" && kind == Kind::Histogram => text.push_str(&bound(value)),
                _ => text.push_str(value),
            }
            text.push('"');
            Ok(())
        }) else {
            continue;
        };
        if separator == ',' {
            text.push('}');
        }
        text.push(' ');
        text.push_str(value);
        let is_counted = kind != Kind::Histogram || name.ends_with("_bucket");
        if is_counted && dialect.has_exemplars {
            let attached = index.and_then(|index| attached.get(index));
            let mut of_series = attached.iter().flat_map(|attached| &attached.exemplars);
            if let Some((_, exemplar)) = of_series.find(|(index, _)| *index == bucket) {
                write_exemplar(text, exemplar);
            } else if let Some(exemplar) = exemplar.filter(|exemplar| is_valid(exemplar)) {
                let _ = write!(text, " # {exemplar}");
            }
        }
        bucket = match kind {
            Kind::Histogram if is_counted => bucket + 1,
            _ => 0,
        };
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select, test_runner::Config};

    use super::{Attached, Encoded, OPENMETRICS, PROMETHEUS, Rendered, read, write};

    /// What collectors, names, helps and labels of users can put together.
    const PIECES: [&str; 34] = [
        "# HELP x h\n# TYPE x gauge\n",
        "# HELP y \n# TYPE y counter\n",
        "# HELP z h\n# TYPE z histogram\n",
        "# HELP i h\n# TYPE i info\n",
        "# HELP x_s h\n# TYPE x_s gauge\n# UNIT x_s s\n",
        "# HELP ",
        "# TYPE ",
        "# UNIT ",
        "x",
        "x 1\n",
        "y_total",
        "y_total 1\n",
        "y_total{a=\"1\"} 2 # {b=\"c\"} 1\n",
        "z_sum 1\nz_count 2\nz_bucket{le=\"1\"} 1\nz_bucket{le=\"+Inf\"} 2\n",
        "z_sum",
        "z_bucket{le=\"2\"} 2\n",
        "z_count 2\n",
        "i_info{v=\"1\"} 1\n",
        "x_s 3\n",
        "{",
        "}",
        "a=\"1\"",
        "le=\"",
        ",",
        "\"",
        "\\",
        "\n",
        " ",
        "1",
        "NaN",
        "-1",
        "+Inf",
        " # {",
        "é",
    ];

    fn rendered(text: &str, dialect: &super::Dialect) -> (String, usize, usize) {
        let encoded = Encoded::from_text(text);
        let mut omitted = Vec::new();
        let mut rendered = Rendered::<String>::default();
        let families = read(&encoded, &mut omitted);
        write(&mut rendered, &families, &Attached::default(), dialect);
        (rendered.body, rendered.samples, omitted.len())
    }

    #[test]
    fn a_series_whose_value_is_no_number_is_omitted() {
        for (kind, samples) in [
            ("gauge", "x one\n"),
            ("gauge", "x \n"),
            ("gauge", "x{a=\"1\"} 0x1\n"),
            (
                "histogram",
                "x_sum 1\nx_count 3\nx_bucket{le=\"1.0\"} 1.5\nx_bucket{le=\"+Inf\"} 3\n",
            ),
            (
                "histogram",
                "x_sum one\nx_count 3\nx_bucket{le=\"1.0\"} 1\nx_bucket{le=\"+Inf\"} 3\n",
            ),
        ] {
            let text = format!("# HELP x h\n# TYPE x {kind}\n{samples}");
            let (_, served, omitted) = rendered(&text, &OPENMETRICS);
            assert_eq!((served, omitted), (0, 1), "{text}");
        }
    }

    /// A help can have such lines.
    #[test]
    fn a_unit_of_another_family_is_no_unit() {
        let text = "# HELP x h\n# TYPE x gauge\n# UNIT {éy_total 1\nx 1\n";
        let served = "# HELP x h\n# TYPE x gauge\nx 1\n# EOF\n";
        let (body, ..) = rendered(text, &OPENMETRICS);
        assert_eq!(body + OPENMETRICS.end, served);
    }

    /// Their bounds have been read with the series that is omitted.
    #[test]
    fn bounds_are_canonical_in_the_series_behind_one_that_is_omitted() {
        let header = "# HELP x h\n# TYPE x histogram\n";
        let series = |a: u8, count: u8, [bound, last]: [&str; 2]| {
            format!(
                "x_sum{{a=\"{a}\"}} 1\nx_count{{a=\"{a}\"}} {count}\n\
                 x_bucket{{le=\"{bound}\",a=\"{a}\"}} 2\nx_bucket{{le=\"{last}\",a=\"{a}\"}} 3\n"
            )
        };
        let [given, canonical] = [["1000000.0", "inf"], ["1e+06", "+Inf"]];
        let text = [
            header,
            &series(1, 9, given),
            &series(2, 3, given),
            &series(3, 3, given),
        ];
        let served = [header, &series(2, 3, canonical), &series(3, 3, canonical)];
        assert_eq!(rendered(&text.concat(), &OPENMETRICS), (served.concat(), 8, 1));
    }

    fn samples(text: &str) -> Vec<&str> {
        text.lines().filter(|line| !line.starts_with("# HELP")).collect()
    }

    proptest! {
        #![proptest_config(Config::with_cases(2_000))]

        #[test]
        fn what_is_served_of_any_text_is_read_again_whole(pieces in vec(select(&PIECES[..]), 0..16)) {
            let text = pieces.concat();
            let (once, count, _) = rendered(&text, &OPENMETRICS);
            let (twice, again, omitted) = rendered(&once, &OPENMETRICS);
            prop_assert_eq!((samples(&twice), again, omitted), (samples(&once), count, 0));
            prop_assert_eq!(once.lines().filter(|line| !line.starts_with("# ")).count(), count);
            prop_assert_eq!(rendered(&text, &PROMETHEUS).1, count);
        }
    }
}
