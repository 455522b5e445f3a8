//! The attributes of the conventions that are labels.

use std::fmt;

use actix_web::http::{StatusCode, Version};

use crate::{
    monitor::hooks::{Ending, RequestEnd},
    monitors::otel::{scheme::Scheme, synthetic::Synthetic},
    series::{Attributes, SeriesKey},
};

/// The labels of the families, including that of buckets.
pub(super) const LABELS: [&str; 9] = [
    "error_type",
    "http_request_method",
    "http_response_status_code",
    "http_route",
    "le",
    "network_protocol_name",
    "network_protocol_version",
    "url_scheme",
    "user_agent_synthetic_type",
];

/// The labels of a series, besides method, route and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OtelAttributes {
    pub(super) arrival: Arrival,
    /// Whether there is an `http_route`.
    pub(super) has_route: bool,
    /// Whether there was a response.
    pub(super) answered: bool,
    pub(super) error: Option<ErrorType>,
    /// Whether the name of the protocol is a label: the same for all series of a monitor.
    pub(super) names_protocol: bool,
}

/// The attributes that are known when a request arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Arrival {
    pub(super) scheme: Scheme,
    pub(super) version: ProtocolVersion,
    pub(super) synthetic: Option<Synthetic>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ProtocolVersion {
    Http09,
    Http10,
    Http11,
    Http2,
    Http3,
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ErrorType {
    Status,
    Panic,
    Dropped,
    BodyFailed,
}

impl From<Version> for ProtocolVersion {
    #[inline]
    fn from(version: Version) -> Self {
        match version {
            Version::HTTP_11 => Self::Http11,
            Version::HTTP_2 => Self::Http2,
            Version::HTTP_10 => Self::Http10,
            Version::HTTP_3 => Self::Http3,
            Version::HTTP_09 => Self::Http09,
            _ => Self::Unknown,
        }
    }
}

impl ProtocolVersion {
    fn as_str(self) -> Option<&'static str> {
        Some(match self {
            Self::Http09 => "0.9",
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Http3 => "3",
            Self::Unknown => return None,
        })
    }
}

impl ErrorType {
    pub(super) fn from_status(status: StatusCode) -> Option<Self> {
        (status.as_u16() >= 500).then_some(Self::Status)
    }

    pub(super) fn from_end(end: &RequestEnd<'_>) -> Option<Self> {
        if end.answered()
            && let Some(error) = Self::from_status(end.status())
        {
            return Some(error);
        }
        match end.ending() {
            Ending::Panicked => Some(Self::Panic),
            Ending::Failed => Some(Self::BodyFailed),
            // A client that leaves during the body is no error of the server.
            Ending::Dropped if !end.answered() => Some(Self::Dropped),
            Ending::Dropped | Ending::Completed => None,
        }
    }
}

impl Attributes for OtelAttributes {
    #[inline]
    fn same_in_row(&self, other: &Self) -> bool {
        self == other
    }

    fn for_each_label(key: &SeriesKey<Self>, each: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        let Self {
            arrival,
            has_route,
            answered,
            error,
            names_protocol,
        } = key.attributes;
        let error = error.map(|error| match error {
            ErrorType::Status => key.status.as_str(),
            ErrorType::Panic => "panic",
            ErrorType::Dropped => "dropped",
            ErrorType::BodyFailed => "body_failed",
        });
        let attributes = [
            ("error_type", error),
            ("http_request_method", Some(key.method)),
            ("http_response_status_code", answered.then(|| key.status.as_str())),
            ("http_route", has_route.then_some(&*key.route)),
            ("network_protocol_name", names_protocol.then_some("http")),
            ("network_protocol_version", arrival.version.as_str()),
            ("url_scheme", Some(arrival.scheme.as_str())),
            (
                "user_agent_synthetic_type",
                arrival.synthetic.map(Synthetic::as_str),
            ),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                each(name, value)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::Version;

    use super::ProtocolVersion;

    #[test]
    fn each_version_has_the_text_of_the_conventions() {
        let texts = [
            Version::HTTP_09,
            Version::HTTP_10,
            Version::HTTP_11,
            Version::HTTP_2,
            Version::HTTP_3,
        ]
        .map(|version| ProtocolVersion::from(version).as_str());
        assert_eq!(texts, ["0.9", "1.0", "1.1", "2", "3"].map(Some));
    }
}
