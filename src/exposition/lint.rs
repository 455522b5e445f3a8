//! Checks the families of a scrape against the naming rules of Prometheus.
//!
//! The rules are those of `promtool check metrics` (`promlint` in Prometheus' library for Go), with those that OpenMetrics
//! adds, and one of <https://prometheus.io/docs/practices/naming/>: no label in a name.

use std::collections::BTreeSet;

use crate::exposition::{family::Kind, line::read_line};

/// The names of the families of workers of this crate begin with this.
const OF_WORKERS: &str = "actix_worker";

/// The problems of the families of `scrape`, which is OpenMetrics as this crate encodes it.
pub(crate) fn lint(scrape: &str) -> Vec<String> {
    let mut families = Vec::<ExposedFamily>::new();
    for line in scrape.lines() {
        if let Some(header) = line.strip_prefix("# HELP ") {
            let (name, help) = header.split_once(' ').unwrap_or((header, ""));
            families.push(ExposedFamily {
                name,
                help,
                kind: Kind::Unknown,
                labels: BTreeSet::new(),
            });
        } else if let Some(family) = families.last_mut() {
            family.read(line);
        }
    }
    families.iter().flat_map(ExposedFamily::problems).collect()
}

struct ExposedFamily<'a> {
    name: &'a str,
    help: &'a str,
    kind: Kind,
    /// The names of all labels, without those that the type demands.
    labels: BTreeSet<&'a str>,
}

impl<'a> ExposedFamily<'a> {
    fn read(&mut self, line: &'a str) {
        if let Some(header) = line.strip_prefix("# TYPE ") {
            let kind = header.rsplit_once(' ').and_then(|(_, kind)| Kind::of(kind));
            self.kind = kind.unwrap_or(Kind::Unknown);
        } else if !line.starts_with('#') {
            let name = line.find(['{', ' ']).unwrap_or(line.len());
            // All lines have been read before.
            let _ = read_line(&line[name..], |name, _| {
                if name != "le" || self.kind != Kind::Histogram {
                    self.labels.insert(name);
                }
                Ok(())
            });
        }
    }

    fn problems(&self) -> Vec<String> {
        let name = self.name;
        let mut problems = Vec::new();
        let mut add = |problem: &str| problems.push(format!("{name} {problem}"));
        if self.help.trim_matches(['.', ' ']).is_empty() {
            add("has no help text");
        }
        if name.contains(':') {
            add("has a colon in its name, which is for recording rules");
        }
        if is_camel_case(name) {
            add("is in camelCase; use snake_case");
        }
        if let Some((unit, base)) = unit(name) {
            add(&format!("is in {unit}; use the base unit {base}"));
        }
        let mut behind_first = parts(name).skip(1);
        if let Some(unit) = behind_first.find(|part| ABBREVIATIONS.contains(&&*part.to_lowercase())) {
            add(&format!(
                "has the abbreviation `{unit}` in its name; write the unit out"
            ));
        }
        let mut behind_first = parts(name).skip(1).filter(|_| self.kind != Kind::Unknown);
        if let Some(kind) = behind_first.find(|part| TYPES.contains(part)) {
            add(&format!("has a metric type in its name; leave out `{kind}`"));
        }
        if let Some(problem) = self.suffix_problem() {
            add(&problem);
        }
        for label in &self.labels {
            if is_camel_case(label) {
                add(&format!("has the label `{label}` in camelCase; use snake_case"));
            }
            // Those of a worker still measure workers when they are summed up.
            if has_parts(name, label) && !has_parts(name, OF_WORKERS) {
                add(&format!("has its label `{label}` in its name; leave that out"));
            }
            if self.kind != Kind::Unknown && (*label == "le" || *label == "quantile") {
                add(&format!(
                    "has the label `{label}`, which is for histograms and summaries; rename it"
                ));
            }
        }
        problems
    }

    /// The problem with the end of the name, if any.
    fn suffix_problem(&self) -> Option<String> {
        let (_, suffix) = self.name.rsplit_once('_')?;
        let kind = self.kind.name();
        match (suffix, self.kind) {
            ("total", Kind::Counter) | ("info", Kind::Info) => Some(format!(
                "is exposed with `_{suffix}` twice, since the encoder appends it to every {kind}; register it without"
            )),
            ("total", Kind::Gauge | Kind::Histogram | Kind::Info) => Some(format!(
                "is of type {kind} and ends in `_total`, as counters do; rename it"
            )),
            ("bucket" | "count" | "sum", Kind::Gauge) => Some(format!(
                "is of type {kind} and ends in `_{suffix}`, as samples of histograms do; rename it"
            )),
            _ => None,
        }
    }
}

fn parts(name: &str) -> impl Iterator<Item = &str> {
    name.split(['_', ':'])
}

/// Whether the parts of `label` are parts of `name`, one after the other.
fn has_parts(name: &str, label: &str) -> bool {
    format!("_{name}_").contains(&format!("_{label}_"))
}

fn is_camel_case(name: &str) -> bool {
    let pairs = name.bytes().zip(name.bytes().skip(1));
    pairs
        .into_iter()
        .any(|(first, second)| first.is_ascii_lowercase() && second.is_ascii_uppercase())
}

/// The unit in a name that is not a base unit, and the base unit to use instead.
fn unit(name: &str) -> Option<(&str, &'static str)> {
    let units = parts(name).find_map(|part| {
        let prefixed = PREFIXES.iter().filter_map(|prefix| part.strip_prefix(prefix));
        let mut candidates = std::iter::once(part).chain(prefixed);
        let base = candidates.find_map(|unit| UNITS.iter().find(|(_, units)| units.contains(&unit)))?;
        Some((part, base.0))
    });
    units.filter(|(unit, base)| unit != base)
}

/// The base units, each with the words for it and for what is converted to it.
const UNITS: [(&str, &[&str]); 10] = [
    ("amperes", &["amperes"]),
    ("bytes", &["bytes", "bits"]),
    ("celsius", &["celsius", "fahrenheit", "rankine"]),
    ("grams", &["grams", "pounds", "ounces"]),
    ("joules", &["joules", "calories"]),
    ("kelvin", &["kelvin", "kelvins"]),
    ("meters", &["meters", "inches", "yards", "miles"]),
    ("metres", &["metres"]),
    ("seconds", &["seconds", "minutes", "hours", "days", "weeks"]),
    ("volts", &["volts"]),
];

const PREFIXES: [&str; 18] = [
    "pico", "nano", "micro", "milli", "centi", "deci", "deca", "hecto", "kilo", "kibi", "mega", "mebi",
    "giga", "gibi", "tera", "tebi", "peta", "pebi",
];

const TYPES: [&str; 4] = ["counter", "gauge", "histogram", "summary"];

const ABBREVIATIONS: [&str; 14] = [
    "s", "ms", "us", "ns", "sec", "b", "kb", "mb", "gb", "tb", "pb", "m", "h", "d",
];
