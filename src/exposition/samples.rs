//! From the text of a scrape back to numbers.

use std::borrow::Cow;

/// The sum over the samples of `text`, OpenMetrics as this crate encodes it, that are called `name` (or `name_total`)
/// and have all of `labels`; `None` if there is none.
pub(crate) fn sum(text: &str, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
    let mut sum = None;
    for line in text.lines() {
        let Some(rest) = line.strip_prefix(name) else {
            continue;
        };
        let rest = rest.strip_prefix("_total").unwrap_or(rest);
        let (found, value) = match rest.strip_prefix('{') {
            Some(rest) => parse_labels(rest),
            None => (Vec::new(), rest),
        };
        let Some(value) = value.strip_prefix(' ') else {
            continue;
        };
        let selected = labels
            .iter()
            .all(|&(name, value)| found.iter().any(|(n, v)| *n == name && v == value));
        // An exemplar may follow the value.
        if selected && let Some(Ok(value)) = value.split(' ').next().map(str::parse::<f64>) {
            sum = Some(sum.unwrap_or(0.0) + value);
        }
    }
    sum
}

/// The labels up to the closing brace, and what follows it.
fn parse_labels(mut rest: &str) -> (Vec<(&str, Cow<'_, str>)>, &str) {
    let mut labels = Vec::new();
    while let Some((name, after)) = rest.split_once("=\"") {
        if name.starts_with('}') {
            break;
        }
        let mut escaped = false;
        let end = after.find(|c| {
            let closes = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            closes
        });
        let Some(end) = end else { break };
        labels.push((name.trim_start_matches(','), unescape(&after[..end])));
        rest = &after[end + 1..];
    }
    (labels, rest.strip_prefix('}').unwrap_or(rest))
}

fn unescape(value: &str) -> Cow<'_, str> {
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
