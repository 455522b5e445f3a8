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

    use proptest::{collection::vec, prelude::*, sample::select};

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

    fn scheme_of(name: &HeaderName, value: &[u8]) -> Option<Scheme> {
        let mut headers = HeaderMap::new();
        headers.insert(name.clone(), HeaderValue::from_bytes(value).ok()?);
        Scheme::from_header(name, &headers)
    }

    proptest! {
        #[test]
        fn any_bytes_are_a_scheme_or_none(value in vec(any::<u8>(), 0..60)) {
            for name in [&FORWARDED, &HeaderName::from_static("x-forwarded-proto")] {
                if scheme_of(name, &value).is_some() {
                    prop_assert!(value.to_ascii_lowercase().windows(4).any(|part| part == b"http"));
                }
            }
        }

        /// RFC 7239: elements of pairs, of which the first that has a `proto` in the first element counts.
        #[test]
        fn of_forwarded_nothing_but_the_proto_of_the_first_element_counts(
            elements in vec(vec((select(&["for", "by", "host", "proto", "PROTO"][..]), select(&["http", "https", "HTTPS", "ws", "_a", "\"https\""][..])), 1..4), 1..4),
        ) {
            let element = |pairs: &Vec<(&str, &str)>| {
                pairs.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(";")
            };
            let header = elements.iter().map(element).collect::<Vec<_>>().join(", ");
            let proto = elements[0].iter().find(|(name, _)| name.eq_ignore_ascii_case("proto"));
            let expected = proto.and_then(|(_, value)| match *value {
                "http" => Some(Scheme::Http),
                "https" | "HTTPS" | "\"https\"" => Some(Scheme::Https),
                _ => None,
            });
            prop_assert_eq!(scheme_of(&FORWARDED, header.as_bytes()), expected, "{}", header);
        }
    }
}
