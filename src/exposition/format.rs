//! The formats that a scrape can have.

use actix_web::web::Bytes;
use prometheus_client::registry::Registry;

use crate::exposition::{
    rendered::{OmittedCounts, Rendered},
    text::{self, OPENMETRICS, PROMETHEUS},
};

/// How the families are encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Format {
    /// OpenMetrics text; the versions 0.0.1 and 1.0.0 do not differ in what is sent here.
    OpenMetrics,
    /// Prometheus text 0.0.4.
    PrometheusText,
    /// Prometheus protobuf, each family with its length before it.
    #[cfg(feature = "protobuf")]
    PrometheusProtobuf,
}

/// A media type that is served.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct MediaType {
    pub(crate) format: Format,
    pub(crate) essence: &'static str,
    /// What makes it this format and no other of the same essence.
    pub(crate) parameters: &'static [(&'static str, &'static str)],
    /// Whether it also answers those who name no parameters, or only a wildcard.
    pub(crate) is_general: bool,
    /// Whether the answer says how names are escaped, also to those who do not ask.
    pub(crate) names_escaping: bool,
    pub(crate) content_type: &'static str,
}

pub(crate) const OPENMETRICS_1_0_0: MediaType = MediaType {
    format: Format::OpenMetrics,
    essence: "application/openmetrics-text",
    parameters: &[("version", "1.0.0")],
    is_general: true,
    names_escaping: true,
    content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

pub(crate) const PROMETHEUS_TEXT_0_0_4: MediaType = MediaType {
    format: Format::PrometheusText,
    essence: "text/plain",
    parameters: &[("version", "0.0.4")],
    is_general: true,
    names_escaping: false,
    content_type: "text/plain; version=0.0.4; charset=utf-8",
};

/// In the order of preference among those that a client names with the same quality.
pub(crate) const MEDIA_TYPES: &[MediaType] = &[
    #[cfg(feature = "protobuf")]
    MediaType {
        format: Format::PrometheusProtobuf,
        essence: "application/vnd.google.protobuf",
        parameters: &[
            ("proto", "io.prometheus.client.MetricFamily"),
            ("encoding", "delimited"),
        ],
        is_general: false,
        names_escaping: false,
        content_type: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    },
    OPENMETRICS_1_0_0,
    MediaType {
        parameters: &[("version", "0.0.1")],
        is_general: false,
        names_escaping: false,
        content_type: "application/openmetrics-text; version=0.0.1; charset=utf-8",
        ..OPENMETRICS_1_0_0
    },
    // It differs from 0.0.4 in names beyond the classic syntax, which are not served.
    MediaType {
        parameters: &[("version", "1.0.0")],
        is_general: false,
        names_escaping: true,
        content_type: "text/plain; version=1.0.0; charset=utf-8",
        ..PROMETHEUS_TEXT_0_0_4
    },
    PROMETHEUS_TEXT_0_0_4,
];

impl Format {
    /// Encodes `registries` one after the other, as about `size` bytes, and then what says how much is omitted.
    pub(crate) fn render<'a>(
        self,
        registries: impl Iterator<Item = &'a Registry>,
        omissions: impl FnOnce(OmittedCounts) -> Registry,
        size: usize,
    ) -> Rendered<Bytes> {
        match self {
            Self::OpenMetrics => text::render(registries, omissions, &OPENMETRICS, size).map(Bytes::from),
            Self::PrometheusText => text::render(registries, omissions, &PROMETHEUS, size).map(Bytes::from),
            #[cfg(feature = "protobuf")]
            Self::PrometheusProtobuf => {
                crate::exposition::protobuf::render(registries, omissions).map(Bytes::from)
            }
        }
    }
}
