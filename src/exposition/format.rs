//! The formats that a scrape can have.

use actix_web::web::Bytes;
use prometheus_client::registry::Registry;

use crate::exposition::{
    rendered::Rendered,
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
pub(crate) struct MediaType {
    pub(crate) format: Format,
    pub(crate) essence: &'static str,
    /// What makes it this format and no other of the same essence.
    pub(crate) parameters: &'static [(&'static str, &'static str)],
    /// Whether it also answers those who name no parameters, or only a wildcard.
    pub(crate) is_general: bool,
    pub(crate) content_type: &'static str,
}

/// What those get who ask for nothing, or for nothing that is served.
pub(crate) const DEFAULT: MediaType = MediaType {
    format: Format::OpenMetrics,
    essence: "application/openmetrics-text",
    parameters: &[("version", "1.0.0")],
    is_general: true,
    content_type: "application/openmetrics-text; version=1.0.0; charset=utf-8",
};

/// In the order of preference among those of equal quality.
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
        content_type: "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited",
    },
    DEFAULT,
    MediaType {
        format: Format::OpenMetrics,
        essence: "application/openmetrics-text",
        parameters: &[("version", "0.0.1")],
        is_general: false,
        content_type: "application/openmetrics-text; version=0.0.1; charset=utf-8",
    },
    MediaType {
        format: Format::PrometheusText,
        essence: "text/plain",
        parameters: &[("version", "0.0.4")],
        is_general: true,
        content_type: "text/plain; version=0.0.4; charset=utf-8",
    },
];

impl Format {
    /// Encodes `registries` one after the other, as about `size` bytes.
    pub(crate) fn render<'a>(
        self,
        registries: impl Iterator<Item = &'a Registry>,
        size: usize,
    ) -> Rendered<Bytes> {
        match self {
            Self::OpenMetrics => text::render(registries, &OPENMETRICS, size).map(Bytes::from),
            Self::PrometheusText => text::render(registries, &PROMETHEUS, size).map(Bytes::from),
            #[cfg(feature = "protobuf")]
            Self::PrometheusProtobuf => crate::exposition::protobuf::render(registries).map(Bytes::from),
        }
    }
}
