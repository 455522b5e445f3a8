//! Which format a scrape is answered in: what RFC 9110, section 12.5.1, makes of `Accept`.

use actix_web::{
    HttpRequest,
    http::header::{Accept, Header as _, Quality},
};

/// How the families are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Encoding {
    /// OpenMetrics text; the versions 0.0.1 and 1.0.0 do not differ in what is sent here.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    PrometheusText,
    /// Prometheus protobuf, each family with its length before it.
    #[cfg(feature = "protobuf")]
    PrometheusProtobuf,
}

/// A format that can be served.
struct Format {
    encoding: Encoding,
    essence: &'static str,
    /// What makes it this format and no other of the same media type.
    parameters: &'static [(&'static str, &'static str)],
    /// Whether it is also for those who leave out these parameters, or the media type.
    is_general: bool,
    content_type: &'static str,
}

const OPENMETRICS_1_0_0: Format = Format {
    encoding: Encoding::OpenMetrics,
    essence: "application/openmetrics-text",
    parameters: &[("version", "1.0.0")],
    is_general: true,
    content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/// In the order of preference among those that a client likes equally.
const FORMATS: &[Format] = &[
    #[cfg(feature = "protobuf")]
    Format {
        encoding: Encoding::PrometheusProtobuf,
        essence: "application/vnd.google.protobuf",
        parameters: &[
            ("proto", "io.prometheus.client.MetricFamily"),
            ("encoding", "delimited"),
        ],
        is_general: false,
        content_type: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    },
    OPENMETRICS_1_0_0,
    Format {
        encoding: Encoding::OpenMetrics,
        essence: "application/openmetrics-text",
        parameters: &[("version", "0.0.1")],
        is_general: false,
        content_type: "application/openmetrics-text; version=0.0.1; charset=utf-8",
    },
    Format {
        encoding: Encoding::PrometheusText,
        essence: "text/plain",
        parameters: &[("version", "0.0.4")],
        is_general: true,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
    },
];

/// Ways to write names beyond the classic syntax, as Prometheus 3 asks for them. All names that are served have the
/// classic syntax, which these leave as it is; `dots` would not.
const ESCAPINGS: [&str; 3] = ["allow-utf-8", "underscores", "values"];

/// What a scrape is answered with.
#[derive(Clone, Debug)]
pub(crate) struct Negotiated {
    pub(crate) encoding: Encoding,
    pub(crate) content_type: String,
}

/// Chooses the format that the client likes best.
///
/// Where it accepts none of them it gets the default, OpenMetrics 1.0.0: scrapers do not handle 406.
pub(crate) fn negotiate(request: &HttpRequest) -> Negotiated {
    let ranges = Accept::parse(request).map_or_else(|_| Vec::new(), |accept| accept.0);
    let mut best = (Quality::ZERO, &OPENMETRICS_1_0_0, None);
    for format in FORMATS {
        let matching = ranges.iter().filter_map(|range| {
            let parameter = |name: &str| range.item.get_param(name).map(|value| value.as_str());
            let specificity = specificity(format, range.item.essence_str(), parameter)?;
            Some((specificity, range.quality, parameter("escaping")))
        });
        // Of the ranges that match, the most specific one says how much the format is liked.
        if let Some((_, quality, escaping)) = matching.max_by_key(|(specificity, ..)| *specificity)
            && quality > best.0
        {
            best = (quality, format, escaping);
        }
    }

    let (_, format, escaping) = best;
    let escaping = escaping.and_then(|asked| ESCAPINGS.into_iter().find(|known| *known == asked));
    let escaping = escaping.map_or_else(String::new, |escaping| format!("; escaping={escaping}"));
    Negotiated {
        encoding: format.encoding,
        content_type: format!("{}{escaping}", format.content_type),
    }
}

/// How closely a media range describes `format`; `None` if it does not match.
fn specificity<'a>(format: &Format, range: &str, parameter: impl Fn(&str) -> Option<&'a str>) -> Option<u8> {
    let general = |specificity| format.is_general.then_some(specificity);
    if range == format.essence {
        let mut parameters = format.parameters.iter();
        if parameters
            .all(|(name, value)| parameter(name).is_some_and(|found| found.eq_ignore_ascii_case(value)))
        {
            return Some(4);
        }
        let says_nothing = format
            .parameters
            .iter()
            .all(|(name, _)| parameter(name).is_none());
        return says_nothing.then(|| general(3)).flatten();
    }
    match range {
        // A browser: it displays plain text, and saves OpenMetrics to a file.
        "text/html" if format.encoding == Encoding::PrometheusText => Some(2),
        "text/*" if format.essence.starts_with("text/") => general(1),
        "application/*" if format.essence.starts_with("application/") => general(1),
        "*/*" => general(0),
        _ => None,
    }
}
