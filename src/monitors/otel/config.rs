//! The options of the monitor of the OpenTelemetry conventions, as its builder sets them.

use std::borrow::Cow;

use actix_web::http::header::HeaderName;

/// Upper bounds in seconds: those of the conventions.
const DURATION: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

/// Upper bounds in bytes: those of the OpenTelemetry SDKs, since the conventions have none.
const SIZE: [f64; 15] = [
    0.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0, 250.0, 500.0, 750.0, 1e3, 2.5e3, 5e3, 7.5e3, 1e4,
];

/// The options of a builder.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option")]
pub(super) struct Config {
    pub(super) duration_bounds: Cow<'static, [f64]>,
    pub(super) size_bounds: Cow<'static, [f64]>,
    pub(super) active_requests: bool,
    pub(super) request_body_size: bool,
    pub(super) response_body_size: bool,
    /// Whether unmatched requests have an `http_route`.
    pub(super) routes_unmatched: bool,
    pub(super) names_protocol: bool,
    pub(super) has_units: bool,
    pub(super) scheme_header: Option<HeaderName>,
    pub(super) shows_synthetic: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            duration_bounds: (&DURATION[..]).into(),
            size_bounds: (&SIZE[..]).into(),
            active_requests: false,
            request_body_size: false,
            response_body_size: false,
            routes_unmatched: false,
            names_protocol: false,
            has_units: true,
            scheme_header: None,
            shows_synthetic: false,
        }
    }
}
