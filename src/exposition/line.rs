//! One line of text: read into labels and a value, escaped and unescaped, and summed up.

use std::borrow::Cow;

use crate::exposition::family::Reason;

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

/// Writes text on one line: label values and the help of OpenMetrics with quotes escaped, other help without.
pub(crate) fn escape(line: &mut String, text: &str, escapes_quotes: bool) {
    // Without a way out of the middle, the compiler looks at many at once.
    let is_special = |byte| byte == b'\\' || byte == b'\n' || byte == b'"';
    if !text.bytes().fold(false, |any, byte| any | is_special(byte)) {
        line.push_str(text);
        return;
    }
    for c in text.chars() {
        match c {
            '\\' => line.push_str(r"\\"),
            '\n' => line.push_str(r"\n"),
            '"' if escapes_quotes => line.push_str(r#"\""#),
            c => line.push(c),
        }
    }
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

/// One line, from what follows the name of the sample.
pub(crate) struct Sample<'a> {
    /// Without the braces.
    pub(crate) labels: &'a str,
    pub(crate) value: &'a str,
    /// From its opening brace.
    pub(crate) exemplar: Option<&'a str>,
}

/// Reads one line from what follows the name of its sample, and calls `on_label` with each name and escaped value.
pub(crate) fn read_line<'a>(
    line: &'a str,
    on_label: impl FnMut(&'a str, &'a str) -> Result<(), Reason>,
) -> Result<Sample<'a>, Reason> {
    let (labels, behind) = match line.strip_prefix('{') {
        Some(text) => {
            let behind = read_labels(text, on_label)?;
            (&text[..text.len() - behind.len() - 1], behind)
        }
        None => ("", line),
    };
    let behind = behind
        .strip_prefix(' ')
        .ok_or("has a line without a value; encode one")?;
    let (value, exemplar) = match behind.split_once(' ') {
        Some((value, behind)) => {
            let exemplar = behind.strip_prefix("# ");
            (
                value,
                Some(exemplar.ok_or("has a line with more than one value; encode one")?),
            )
        }
        None => (behind, None),
    };
    Ok(Sample {
        labels,
        value,
        exemplar,
    })
}

/// Reads labels up to the closing brace, and returns what follows it.
pub(crate) fn read_labels<'a>(
    mut text: &'a str,
    mut on_label: impl FnMut(&'a str, &'a str) -> Result<(), Reason>,
) -> Result<&'a str, Reason> {
    if let Some(behind) = text.strip_prefix('}') {
        return Ok(behind);
    }
    loop {
        let label = text.bytes().position(|byte| byte == b'=').and_then(|end| {
            let (name, text) = text.split_at(end);
            let text = text.strip_prefix("=\"")?;
            let end = closing_quote(text)?;
            Some((name, &text[..end], &text[end + 1..]))
        });
        let (name, value, behind) = label.ok_or("has a label without a name or a value; encode both")?;
        on_label(name, value)?;
        match behind.as_bytes().first() {
            Some(b',') => text = &behind[1..],
            Some(b'}') => return Ok(&behind[1..]),
            _ => return Err("has a label without a name or a value; encode both".into()),
        }
    }
}

/// The index of the first quote that is not escaped.
#[inline]
fn closing_quote(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    loop {
        match bytes.get(at)? {
            b'"' => return Some(at),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{escape, read_line, unescape};

    proptest! {
        #[test]
        fn what_is_escaped_is_read_as_it_was(
            labels in vec(("[a-z_]{1,3}", any::<String>()), 0..4),
            value in "[0-9]{1,3}",
            exemplar in prop::option::of("[ -~]{0,9}"),
        ) {
            let mut line = String::new();
            for (index, (name, value)) in labels.iter().enumerate() {
                line.push(if index == 0 { '{' } else { ',' });
                line.push_str(name);
                line.push_str("=\"");
                escape(&mut line, value, true);
                line.push('"');
            }
            if !labels.is_empty() {
                line.push('}');
            }
            line.push(' ');
            line.push_str(&value);
            if let Some(exemplar) = &exemplar {
                line.push_str(" # ");
                line.push_str(exemplar);
            }
            prop_assert!(!line.contains('\n'));
            let mut found = Vec::new();
            let sample = read_line(&line, |name, value| {
                found.push((name.to_owned(), unescape(value).into_owned()));
                Ok(())
            });
            let sample = sample.map_err(|reason| TestCaseError::fail(reason.into_owned()))?;
            prop_assert_eq!(found, labels);
            prop_assert_eq!((sample.value, sample.exemplar), (&*value, exemplar.as_deref()));
        }

        #[test]
        fn any_line_is_read_or_refused(
            pieces in vec(select(&["{", "}", "a", "=", "\"", "\\", ",", " ", "#", "1", "é", "a=\"b\""][..]), 0..14),
        ) {
            let line = pieces.concat();
            if let Ok(sample) = read_line(&line, |_, _| Ok(())) {
                prop_assert!(line.contains(sample.value));
            }
        }
    }
}
