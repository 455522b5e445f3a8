//! Chooses the format of a scrape from `Accept`, as RFC 9110, section 12.5.1, specifies.

use std::cmp::Reverse;

use actix_web::{
    HttpRequest,
    http::header::{Accept, Header as _, Quality},
};

use crate::exposition::format::{Format, MEDIA_TYPES, MediaType};

/// Ways to write names beyond the classic syntax, as Prometheus 3 asks for them. Only classic names are served, which these
/// leave unchanged; `dots` would not.
const ESCAPINGS: [&str; 3] = ["allow-utf-8", "underscores", "values"];

/// The escaping for scrapers that ask for none.
const DEFAULT_ESCAPING: &str = "underscores";

/// The format of a response.
#[derive(Clone, Debug)]
pub(crate) struct Negotiated {
    pub(crate) format: Format,
    pub(crate) content_type: String,
}

/// Chooses the format that the client prefers.
///
/// If it accepts none of them, or prefers none, it gets the default: scrapers do not handle 406.
pub(crate) fn negotiate(request: &HttpRequest, default: &'static MediaType) -> Negotiated {
    let ranges = Accept::parse(request).map_or_else(|_| Vec::new(), |accept| accept.0);
    let accepted = MEDIA_TYPES.iter().enumerate().filter_map(|(index, media_type)| {
        let matching = ranges.iter().filter_map(|range| {
            let parameter = |name: &str| range.item.get_param(name).map(|value| value.as_str());
            let specificity = specificity(media_type, range.item.essence_str(), parameter)?;
            Some((specificity, range.quality, parameter("escaping")))
        });
        // Of the ranges that match, the most specific one gives the quality.
        let (specificity, quality, escaping) = matching.max_by_key(|(specificity, ..)| *specificity)?;
        // With the same quality, a named type is preferred to a wildcard.
        let named = specificity.min(2);
        let is_default = named < 2 && media_type == default;
        let rank = (quality, named, is_default, Reverse(index));
        (quality > Quality::ZERO).then_some((rank, media_type, escaping))
    });
    let best = accepted.max_by_key(|(rank, ..)| *rank);

    let (media_type, escaping) = best.map_or((default, None), |(_, media_type, escaping)| {
        (media_type, escaping)
    });
    let escaping = escaping.and_then(|asked| ESCAPINGS.into_iter().find(|known| *known == asked));
    let escaping = escaping.or(media_type.names_escaping.then_some(DEFAULT_ESCAPING));
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
        "text/html" if media_type.format == Format::PrometheusText => general(2),
        "text/*" if media_type.essence.starts_with("text/") => general(1),
        "application/*" if media_type.essence.starts_with("application/") => general(1),
        "*/*" => general(0),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use actix_web::{http::header::HeaderValue, test::TestRequest};
    use proptest::{collection::vec, prelude::*, sample::select};

    use super::{Negotiated, negotiate};
    use crate::exposition::format::{MEDIA_TYPES, OPENMETRICS_1_0_0};

    fn negotiated(accept: &[u8]) -> Option<Negotiated> {
        let accept = HeaderValue::from_bytes(accept).ok()?;
        let request = TestRequest::default().insert_header(("accept", accept));
        Some(negotiate(&request.to_http_request(), &OPENMETRICS_1_0_0))
    }

    fn is_known(negotiated: &Negotiated) -> bool {
        let mut known = MEDIA_TYPES.iter();
        known.any(|known| {
            known.format == negotiated.format && negotiated.content_type.starts_with(known.content_type)
        })
    }

    proptest! {
        #[test]
        fn any_bytes_are_answered_in_a_known_format(accept in vec(any::<u8>(), 0..60)) {
            prop_assert!(negotiated(&accept).is_none_or(|negotiated| is_known(&negotiated)));
        }

        #[test]
        fn any_mixture_of_what_scrapers_say_is_answered_in_a_known_format(
            pieces in vec(select(&["text/plain", "application/openmetrics-text", "application/vnd.google.protobuf", "*/*", "text/*", ";", ",", "version=", "0.0.4", "1.0.0", "q=", "0.5", "0", "1", "9", "\"", " ", "escaping=", "allow-utf-8", "dots", "é", "proto=io.prometheus.client.MetricFamily", "encoding=delimited"][..]), 0..16),
        ) {
            prop_assert!(negotiated(pieces.concat().as_bytes()).is_none_or(|negotiated| is_known(&negotiated)));
        }

        /// Each format by its name, with a separate quality, in any order.
        #[test]
        fn what_has_the_highest_quality_is_answered(
            order in Just((0..MEDIA_TYPES.len()).collect::<Vec<_>>()).prop_shuffle(),
            qualities in Just((0..1_000_u32).step_by(7).collect::<Vec<_>>()).prop_shuffle(),
        ) {
            let ranges = order.iter().zip(&qualities).map(|(index, quality)| {
                let parameters = MEDIA_TYPES[*index].parameters.iter().map(|(name, value)| format!(";{name}={value}"));
                format!("{}{};q=0.{quality:03}", MEDIA_TYPES[*index].essence, parameters.collect::<String>())
            });
            let accept = ranges.collect::<Vec<_>>().join(", ");
            let best = order.iter().zip(&qualities).max_by_key(|(_, quality)| **quality).unwrap();
            let found = negotiated(accept.as_bytes()).unwrap();
            prop_assert!(found.content_type.starts_with(MEDIA_TYPES[*best.0].content_type), "{accept}: {found:?}");
        }
    }
}
