//! How the samples of a scrape differ from those that a test expects.

use std::collections::BTreeMap;

use crate::exposition::line::read_line;

/// The lines that are expected and not there, with `-`, and those that are there and not expected, with `+`; `None` if
/// there are none.
///
/// `name` is that of a family, or of samples. Lines are the same in any order, whatever the order of their labels, with or
/// without an exemplar, and however their number is written. Lines that begin with `#` matter if some are expected.
pub(crate) fn difference(scrape: &str, name: &str, expected: &str) -> Option<String> {
    let found = select(scrape, name);
    let expected: Vec<_> = expected
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let has_comments = expected.iter().any(|line| line.starts_with('#'));
    let is_compared = |line: &&str| has_comments || !line.starts_with('#');

    // By series, so that its two values are one below the other.
    let mut lines = BTreeMap::<String, (Vec<&str>, Vec<&str>)>::new();
    for line in expected {
        lines.entry(series(line)).or_default().0.push(line);
    }
    for line in found.into_iter().filter(is_compared) {
        lines.entry(series(line)).or_default().1.push(line);
    }
    let mut difference = String::new();
    for (expected, found) in lines.into_values() {
        if expected
            .iter()
            .map(|line| value(line))
            .eq(found.iter().map(|line| value(line)))
        {
            continue;
        }
        for (sign, lines) in [('-', expected), ('+', found)] {
            for line in lines {
                difference.extend(["\n", "  "]);
                difference.push(sign);
                difference.push(' ');
                difference.push_str(line);
            }
        }
    }
    (!difference.is_empty()).then_some(difference)
}

/// The names of the families of a scrape.
pub(crate) fn family_names(scrape: &str) -> impl Iterator<Item = &str> {
    scrape.lines().filter_map(family_name)
}

/// The name of the family that begins with this line.
fn family_name(line: &str) -> Option<&str> {
    let (name, _) = line.strip_prefix("# HELP ")?.split_once(' ')?;
    Some(name)
}

/// The lines of the family `name`, or else the samples that have that name.
fn select<'a>(scrape: &'a str, name: &str) -> Vec<&'a str> {
    let mut family = "";
    scrape
        .lines()
        .filter(|line| {
            family = family_name(line).unwrap_or(family);
            *line != "# EOF" && (family == name || sample_name(line) == name)
        })
        .collect()
}

fn sample_name(line: &str) -> &str {
    line.split(['{', ' ']).next().unwrap_or_default()
}

/// What a line is known by: the name of its sample and its labels, in order. A comment, which is no sample, is known by all
/// of it.
fn series(line: &str) -> String {
    let name = sample_name(line);
    let mut labels = Vec::new();
    let sample = read_line(&line[name.len()..], |name, value| {
        labels.push(format!("{name}=\"{value}\""));
        Ok(())
    });
    if sample.is_err() {
        return line.to_owned();
    }
    labels.sort_unstable();
    format!("{name}{{{}}}", labels.join(","))
}

/// The value of a line, in one way of several to write it.
fn value(line: &str) -> String {
    let sample = read_line(&line[sample_name(line).len()..], |_, _| Ok(()));
    let value = sample.map_or("", |sample| sample.value);
    value
        .parse()
        .map_or_else(|_| value.to_owned(), |value: f64| format!("{value:?}"))
}

#[cfg(test)]
mod tests {
    use super::difference;

    const SCRAPE: &str = r#"# HELP a First.
# TYPE a counter
a_total{x="1",y="2"} 3 # {trace_id="4"} 1.0 2.5
a_total{x="2",y="2"} 0.5
# HELP ab Second.
# TYPE ab histogram
ab_sum 1.5
ab_count 2
ab_bucket{le="+Inf"} 2
# EOF
"#;

    #[test]
    fn neither_order_nor_exemplars_nor_the_writing_of_numbers_differ() {
        let samples = "a_total{y=\"2\",x=\"2\"} 5e-1\n\n   a_total{x=\"1\",y=\"2\"} 3.0   ";
        assert_eq!(difference(SCRAPE, "a", samples), None);
        assert_eq!(difference(SCRAPE, "a_total", samples), None);
        let comments = "# TYPE a counter\n# HELP a First.\n";
        assert_eq!(difference(SCRAPE, "a", &format!("{comments}{samples}")), None);
        assert_eq!(difference(SCRAPE, "ab_count", "ab_count 2"), None);
        assert_eq!(difference(SCRAPE, "absent", ""), None);
    }

    #[test]
    fn only_the_lines_that_differ_are_shown_by_series() {
        let expected = r#"
            # TYPE a gauge
            # HELP a First.
            a_total{x="1",y="2"} 4
            a_total{x="2",y="2"} 0.5
            a_total{x="3",y="2"} 1
        "#;
        assert_eq!(
            difference(SCRAPE, "a", expected).unwrap(),
            r#"
  + # TYPE a counter
  - # TYPE a gauge
  - a_total{x="1",y="2"} 4
  + a_total{x="1",y="2"} 3 # {trace_id="4"} 1.0 2.5
  - a_total{x="3",y="2"} 1"#,
        );
        assert_eq!(
            difference(SCRAPE, "ab", "ab_sum 1.5\nab_count 2").unwrap(),
            "\n  + ab_bucket{le=\"+Inf\"} 2",
        );
        // A line that is no sample, and one that comes twice.
        assert_eq!(
            difference(SCRAPE, "ab_count", "ab_count\nab_count 2\nab_count 2").unwrap(),
            "\n  - ab_count\n  - ab_count 2\n  - ab_count 2\n  + ab_count 2",
        );
        assert_eq!(
            difference(SCRAPE, "ab_count", "ab_count 2\nab_count").unwrap(),
            "\n  - ab_count",
        );
    }
}
