//! From families to the text of a scrape.

use std::{collections::HashSet, fmt};

use prometheus_client::{encoding::text, registry::Registry};

/// Encodes `registries` one after the other as OpenMetrics 1.0.0 text of about `size` bytes.
pub(crate) fn openmetrics<'a>(
    registries: impl Iterator<Item = &'a Registry>,
    size: usize,
) -> Result<String, fmt::Error> {
    let mut text = String::with_capacity(size);
    for registry in registries {
        text::encode_registry(&mut text, registry)?;
    }
    text::encode_eof(&mut text)?;
    Ok(text)
}

/// Leaves out each family whose name an earlier one has, and calls `report` with its name.
///
/// OpenMetrics 1.0 forbids a name twice; Prometheus would drop half of the samples without a word. Only the encoded
/// text shows it: a `Registry` lists no names, and a family without series has none in the text.
pub(crate) fn without_repeated_families(text: String, mut report: impl FnMut(&str)) -> String {
    let mut names = HashSet::new();
    let repeated: Vec<_> = families(&text)
        .filter(|family| !names.insert(family.name))
        .collect();
    if repeated.is_empty() {
        return text;
    }
    let mut kept = String::with_capacity(text.len());
    let mut end_of_last = 0;
    for family in repeated {
        report(family.name);
        kept.push_str(&text[end_of_last..family.start]);
        end_of_last = family.end;
    }
    kept.push_str(&text[end_of_last..]);
    kept
}

struct EncodedFamily<'a> {
    name: &'a str,
    start: usize,
    end: usize,
}

/// The families of an encoded text: each begins with its HELP line and ends before the next one.
fn families(text: &str) -> impl Iterator<Item = EncodedFamily<'_>> {
    const HELP: &str = "# HELP ";
    const EOF: &str = "# EOF\n";

    let end_of_all = text.len() - EOF.len();
    // Hardly anything but the lines of families has this sign, and one is found faster than seven.
    let mut signs = text[..end_of_all].match_indices('#').skip(1);
    let mut start = 0;
    std::iter::from_fn(move || {
        let name = text[start..end_of_all].strip_prefix(HELP)?;
        let name = &name[..name.find([' ', '\n'])?];
        let family = EncodedFamily {
            name,
            start,
            end: signs
                .find(|&(sign, _)| text[..sign].ends_with('\n') && text[sign..].starts_with(HELP))
                .map_or(end_of_all, |(sign, _)| sign),
        };
        start = family.end;
        Some(family)
    })
}
