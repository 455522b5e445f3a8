//! The attributes of the conventions that are labels.

use std::fmt;

use actix_web::http::StatusCode;

use crate::{
    monitor::hooks::{Ending, RequestEnd},
    series::{Attributes, SeriesKey},
};

/// What tells the series of the monitor apart, besides method, route and status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct OtelAttributes {
    pub(super) scheme: Scheme,
    pub(super) protocol_version: Option<&'static str>,
    /// Whether a route matched.
    pub(super) has_route: bool,
    /// Whether there was a response.
    pub(super) answered: bool,
    pub(super) error: Option<ErrorType>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scheme {
    Http,
    Https,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum ErrorType {
    Status,
    Panic,
    Dropped,
    BodyFailed,
}

impl Scheme {
    pub(super) const ALL: [Self; 2] = [Self::Http, Self::Https];

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
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
            scheme,
            protocol_version,
            has_route,
            answered,
            error,
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
            ("network_protocol_version", protocol_version),
            ("url_scheme", Some(scheme.as_str())),
        ];
        for (name, value) in attributes {
            if let Some(value) = value {
                each(name, value)?;
            }
        }
        Ok(())
    }
}
