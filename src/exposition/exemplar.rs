//! Exemplars: single requests that a sample links to.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use crate::exposition::{
    family::is_label_name,
    line::{escape, read_labels, unescape},
};

/// The limit on the characters of all label names and values of one exemplar: OpenMetrics 1.0,
/// section "Exemplars".
pub(crate) const MOST_CHARACTERS: usize = 128;

/// One request of many, with the labels by which its trace is found.
#[derive(Clone, Debug)]
pub(crate) struct Exemplar {
    pub(crate) labels: ExemplarLabels,
    pub(crate) value: f64,
    pub(crate) time: SystemTime,
}

/// The labels of one exemplar.
#[derive(Clone, Debug)]
pub(crate) enum ExemplarLabels {
    /// `trace_id`, of 32 hexadecimal digits.
    TraceId([u8; 32]),
    Pairs(Vec<(String, String)>),
}

impl ExemplarLabels {
    /// The names and the values.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let (trace_id, pairs) = match self {
            Self::TraceId(digits) => (str::from_utf8(digits).ok(), &[][..]),
            Self::Pairs(pairs) => (None, &pairs[..]),
        };
        let pairs = pairs.iter().map(|(name, value)| (&**name, &**value));
        trace_id
            .map(|digits| ("trace_id", digits))
            .into_iter()
            .chain(pairs)
    }
}

/// The exemplars of one series, by the index of their bucket; 0 for a counter.
pub(crate) type OfSeries = Vec<(usize, Exemplar)>;

/// Whether labels can be those of an exemplar.
pub(crate) fn are_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> bool {
    let mut names = Vec::new();
    let mut characters = 0;
    for (name, value) in labels {
        // Prometheus refuses the whole scrape for a NUL.
        if !is_label_name(name) || names.contains(&name) || value.contains('\0') {
            return false;
        }
        names.push(name);
        characters += name.chars().count() + value.chars().count();
    }
    characters <= MOST_CHARACTERS
}

pub(crate) fn write_exemplar(text: &mut String, exemplar: &Exemplar) {
    text.push_str(" # {");
    for (index, (name, value)) in exemplar.labels.pairs().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, r#"{comma}{name}=""#);
        escape(text, value, true);
        text.push('"');
    }
    let time = exemplar.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    let _ = write!(
        text,
        "}} {:?} {}.{:03}",
        exemplar.value,
        time.as_secs(),
        time.subsec_millis()
    );
}

/// Whether an exemplar that prometheus-client has encoded can be served.
pub(crate) fn is_valid(exemplar: &str) -> bool {
    let mut labels = Vec::new();
    let text = exemplar.strip_prefix('{').unwrap_or_default();
    let Ok(behind) = read_labels(text, |name, value| {
        labels.push((name, unescape(value)));
        Ok(())
    }) else {
        return false;
    };
    let mut numbers = behind.split(' ');
    let is_number = |text: &str| text.parse().is_ok_and(f64::is_finite);
    numbers.next() == Some("")
        && numbers.next().is_some_and(|value| value.parse::<f64>().is_ok())
        && numbers.next().is_none_or(is_number)
        && numbers.next().is_none()
        && are_labels(labels.iter().map(|(name, value)| (*name, &**value)))
}

#[cfg(test)]
mod tests {
    use super::is_valid;

    #[test]
    fn an_exemplar_has_labels_a_value_and_at_most_a_time() {
        for exemplar in [
            r#"{a="b"} 1"#,
            r#"{a="b",c="d"} NaN 1.5"#,
            r#"{a="b\"}"} -1e9 0"#,
            "{} 1",
        ] {
            assert!(is_valid(exemplar), "{exemplar}");
        }
        for exemplar in [
            "",
            "1",
            r#"a="b"} 1"#,
            r#"{a="b"}"#,
            r#"{a="b"}1"#,
            r#"{a="b"} "#,
            r#"{a="b"} one"#,
            r#"{a="b"} 1 "#,
            r#"{a="b"} 1 NaN"#,
            r#"{a="b"} 1 2 3"#,
            r#"{a="b"} 1 2 3 4"#,
            r#"{a="b",a="c"} 1"#,
        ] {
            assert!(!is_valid(exemplar), "{exemplar}");
        }
    }
}
