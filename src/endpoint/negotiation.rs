//! Which format a scrape is answered in: what RFC 9110, section 12.5.1, makes of `Accept`.

use actix_web::{
    HttpRequest,
    http::header::{Accept, Header as _, Quality},
};

use crate::exposition::format::{DEFAULT, Format, MEDIA_TYPES, MediaType};

/// Ways to write names beyond the classic syntax, as Prometheus 3 asks for them. All names that are served have the
/// classic syntax, which these leave as it is; `dots` would not.
const ESCAPINGS: [&str; 3] = ["allow-utf-8", "underscores", "values"];

/// What a scrape is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Negotiated {
    pub(crate) format: Format,
    pub(crate) content_type: String,
}

/// Chooses the format that the client prefers.
///
/// Where it accepts none of them it gets the default, OpenMetrics 1.0.0: scrapers do not handle 406.
pub(crate) fn negotiate(request: &HttpRequest) -> Negotiated {
    let ranges = Accept::parse(request).map_or_else(|_| Vec::new(), |accept| accept.0);
    let mut best = (Quality::ZERO, &DEFAULT, None);
    for media_type in MEDIA_TYPES {
        let matching = ranges.iter().filter_map(|range| {
            let parameter = |name: &str| range.item.get_param(name).map(|value| value.as_str());
            let specificity = specificity(media_type, range.item.essence_str(), parameter)?;
            Some((specificity, range.quality, parameter("escaping")))
        });
        // Of the ranges that match, the most specific one gives the quality.
        if let Some((_, quality, escaping)) = matching.max_by_key(|(specificity, ..)| *specificity)
            && quality > best.0
        {
            best = (quality, media_type, escaping);
        }
    }

    let (_, media_type, escaping) = best;
    let escaping = escaping.and_then(|asked| ESCAPINGS.into_iter().find(|known| *known == asked));
    let escaping = escaping.map_or_else(String::new, |escaping| format!("; escaping={escaping}"));
    Negotiated {
        format: media_type.format,
        content_type: format!("{}{escaping}", media_type.content_type),
    }
}

/// How closely a media range describes a media type; `None` if it does not match.
fn specificity<'a>(
    media_type: &MediaType,
    range: &str,
    parameter: impl Fn(&str) -> Option<&'a str>,
) -> Option<u8> {
    let general = |specificity| media_type.is_general.then_some(specificity);
    if range == media_type.essence {
        let mut parameters = media_type.parameters.iter();
        if parameters
            .all(|(name, value)| parameter(name).is_some_and(|found| found.eq_ignore_ascii_case(value)))
        {
            return Some(4);
        }
        let says_nothing = media_type
            .parameters
            .iter()
            .all(|(name, _)| parameter(name).is_none());
        return says_nothing.then(|| general(3)).flatten();
    }
    match range {
        // A browser: it displays plain text, and saves OpenMetrics to a file.
        "text/html" if media_type.format == Format::PrometheusText => Some(2),
        "text/*" if media_type.essence.starts_with("text/") => general(1),
        "application/*" if media_type.essence.starts_with("application/") => general(1),
        "*/*" => general(0),
        _ => None,
    }
}
