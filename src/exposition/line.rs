//! From the text of a scrape back to numbers.

use std::borrow::Cow;

use crate::exposition::reader::read_line;

/// The sum over the samples of `text`, OpenMetrics as this crate encodes it, that are called `name` (or `name_total`)
/// and have all of `labels`; `None` if there is none.
pub(crate) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let rest = rest.strip_prefix("_total").unwrap_or(rest);
        let mut found = Vec::new();
        let sample = read_line(rest, |name, value| {
            found.push((name, unescape(value)));
            Ok(())
        });
        let selected = labels
            .iter()
            .all(|&(name, value)| found.iter().any(|(n, v)| *n == name && v == value));
        if selected && let Ok(Ok(value)) = sample.map(|sample| sample.value.parse::<f64>()) {
            sum = Some(sum.unwrap_or(0.0) + value);
        }
    }
    sum
}

pub(crate) fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return value.into();
    }
    let mut text = String::with_capacity(value.len());
    let mut chars = value.chars();
    while let Some(c) = chars.next() {
        text.push(match c {
            '\\' => match chars.next() {
                Some('n') => '\n',
                Some(c) => c,
                None => '\\',
            },
            c => c,
        });
    }
    text.into()
}
