//! The text formats, OpenMetrics 1.0 and Prometheus 0.0.4, line by line.

use super::{Buckets, Labels, Scrape, is_name, number};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
    Info,
    Untyped,
}

impl Scrape {
    pub(super) fn from_text(text: &str, is_openmetrics: bool) -> Result<Self, String> {
        let text = if is_openmetrics {
            text.strip_suffix("# EOF\n").ok_or("no `# EOF` at the end")?
        } else {
            text
        };
        if !text.is_empty() && !text.ends_with('\n') {
            return Err("no end of the last line".into());
        }
        let mut scrape = Self::default();
        let mut family = None;
        let mut buckets = Buckets::default();
        for line in text.lines() {
            let wrong = |what: &str| format!("{what}: {line:?}");
            let Some(comment) = line.strip_prefix("# ") else {
                let (name, kind) = family
                    .as_ref()
                    .ok_or_else(|| wrong("a sample before any family"))?;
                let (sample, labels, value) =
                    read_sample(line, is_openmetrics).ok_or_else(|| wrong("no sample"))?;
                let suffix = sample
                    .strip_prefix(name as &str)
                    .ok_or_else(|| wrong("a sample of another family"))?;
                let fits = match (kind, suffix) {
                    (Kind::Counter, "_total") | (Kind::Info, "_info") => is_openmetrics,
                    (Kind::Counter, "") => !is_openmetrics && sample.ends_with("_total"),
                    (Kind::Gauge | Kind::Untyped, "") | (Kind::Histogram, "_bucket" | "_count" | "_sum") => {
                        true
                    }
                    _ => false,
                };
                if !fits {
                    return Err(wrong("a sample that does not fit its type"));
                }
                if *kind == Kind::Histogram {
                    buckets.see(suffix, &labels, value).map_err(wrong_in(line))?;
                }
                scrape.add(
                    sample,
                    labels,
                    value,
                    matches!(kind, Kind::Counter | Kind::Histogram),
                )?;
                continue;
            };
            let (what, rest) = comment.split_once(' ').ok_or_else(|| wrong("no comment"))?;
            let (name, value) = rest.split_once(' ').unwrap_or((rest, ""));
            match what {
                // Comes first, and begins the family.
                "HELP" => {
                    buckets.end()?;
                    scrape.add_family(name)?;
                    family = Some((name.to_owned(), Kind::Untyped));
                    if !is_escaped(value, is_openmetrics) {
                        return Err(wrong("a help that is not escaped"));
                    }
                }
                "TYPE" => {
                    let of = family.as_mut().filter(|(of, _)| of == name);
                    of.ok_or_else(|| wrong("a type before the help"))?.1 = match value {
                        "counter" => Kind::Counter,
                        "gauge" => Kind::Gauge,
                        "histogram" => Kind::Histogram,
                        "info" if is_openmetrics => Kind::Info,
                        "unknown" if is_openmetrics => Kind::Untyped,
                        "untyped" if !is_openmetrics => Kind::Untyped,
                        _ => return Err(wrong("an unknown type")),
                    };
                }
                "UNIT" if is_openmetrics && name.ends_with(&format!("_{value}")) => {}
                _ => return Err(wrong("an unknown comment")),
            }
        }
        buckets.end()?;
        Ok(scrape)
    }
}

fn wrong_in(line: &str) -> impl Fn(String) -> String {
    move |what| format!("{what}: {line:?}")
}

/// Whether each backslash begins an escape that the format has.
fn is_escaped(text: &str, quotes: bool) -> bool {
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        let fits = match c {
            '\\' => matches!(chars.next(), Some('\\' | 'n')) || quotes,
            '"' => !quotes,
            '\n' | '\r' => false,
            _ => true,
        };
        if !fits {
            return false;
        }
    }
    true
}

/// Name, labels and value of a line.
fn read_sample(line: &str, is_openmetrics: bool) -> Option<(&str, Labels, f64)> {
    let end = line.find(['{', ' '])?;
    let (name, mut rest) = line.split_at(end);
    let mut labels = Labels::new();
    if rest.starts_with('{') {
        (labels, rest) = read_labels(rest)?;
    }
    let rest = rest.strip_prefix(' ')?;
    let (rest, exemplar) = match rest.split_once(" # ") {
        Some((rest, exemplar)) => (rest, Some(exemplar)),
        None => (rest, None),
    };
    if let Some(exemplar) = exemplar {
        let (labels, rest) = read_labels(exemplar)?;
        let characters = labels
            .iter()
            .map(|(name, value)| name.chars().count() + value.chars().count());
        let mut numbers = rest.strip_prefix(' ')?.split(' ');
        let is_valid = numbers.all(|text| number(text).is_some()) && characters.sum::<usize>() <= 128;
        if !is_openmetrics || !is_valid {
            return None;
        }
    }
    is_name(name, true).then_some((name, labels, number(rest)?))
}

/// What is between braces, and the rest.
fn read_labels(text: &str) -> Option<(Labels, &str)> {
    let mut rest = text.strip_prefix('{')?;
    let mut labels = Labels::new();
    while !rest.starts_with('}') {
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut chars = after.char_indices();
        let end = loop {
            match chars.next()? {
                (at, '"') => break at + 1,
                (_, '\\') => value.push(match chars.next()?.1 {
                    'n' => '\n',
                    escaped @ ('\\' | '"') => escaped,
                    _ => return None,
                }),
                (_, c) => value.push(c),
            }
        };
        labels.push((name.to_owned(), value));
        rest = &after[end..];
        rest = match rest.strip_prefix(',') {
            Some(further) if !further.starts_with('}') => further,
            Some(_) => return None,
            None => rest,
        };
    }
    Some((labels, &rest[1..]))
}
