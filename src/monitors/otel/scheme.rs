//! The scheme of a request, as far as it is known.

use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The scheme of the connection.
    #[inline]
    pub(super) fn of_connection(is_secure: bool) -> Self {
        if is_secure { Self::Https } else { Self::Http }
    }

    /// The scheme in the header `name`, which a proxy sets; `None` if it has neither `http` nor `https`.
    pub(super) fn from_header(name: &HeaderName, headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(name)?.to_str().ok()?;
        // The first proxy is the one that the client connected to.
        let first = value.split(',').next()?;
        if *name == FORWARDED {
            // RFC 7239, section 4.
            let mut pairs = first.split(';').filter_map(|pair| pair.split_once('='));
            let (_, proto) = pairs.find(|(name, _)| name.trim().eq_ignore_ascii_case("proto"))?;
            Self::parse(proto.trim().trim_matches('"'))
        } else {
            Self::parse(first.trim())
        }
    }

    fn parse(text: &str) -> Option<Self> {
        let known = [Self::Http, Self::Https];
        known
            .into_iter()
            .find(|scheme| text.eq_ignore_ascii_case(scheme.as_str()))
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{FORWARDED, HeaderMap, HeaderName, HeaderValue};

    use super::Scheme;

    fn scheme(name: &HeaderName, value: &'static str) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        headers.insert(name.clone(), HeaderValue::from_static(value));
        Scheme::from_header(name, &headers).map(Scheme::as_str)
    }

    #[test]
    fn a_plain_header_is_read_up_to_its_first_comma() {
        let of = |value| scheme(&HeaderName::from_static("x-forwarded-proto"), value);
        assert_eq!(of("https"), Some("https"));
        assert_eq!(of(" HTTP "), Some("http"));
        assert_eq!(of("https, http"), Some("https"));
        for value in ["", ",", "https!", "gopher", "proto=https", "httpss", ", https"] {
            assert_eq!(of(value), None, "{value:?}");
        }
    }

    #[test]
    fn of_forwarded_the_first_proto_is_read() {
        let of = |value| scheme(&FORWARDED, value);
        assert_eq!(of("proto=https"), Some("https"));
        assert_eq!(
            of("for=192.0.2.60; Proto=\"https\" ;by=x, proto=http"),
            Some("https")
        );
        for value in ["", "https", "for=a, proto=https", "proto", "proto=", "proto=ws"] {
            assert_eq!(of(value), None, "{value:?}");
        }
    }
}
