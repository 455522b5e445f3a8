//! Requests of bots and tests, recognized by their `User-Agent`.

use actix_web::http::header::{HeaderMap, USER_AGENT};

/// Texts in the `User-Agent` of synthetic tests.
const TEST: [&str; 6] = [
    "alwayson",
    "synthetics",
    "healthcheck",
    "kube-probe",
    "pingdom",
    "uptimerobot",
];

/// Texts in the `User-Agent` of bots.
const BOT: [&str; 3] = ["bot", "crawler", "spider"];

/// How many bytes of the header are read: names come first.
const READ: usize = 512;

/// The values of `user_agent.synthetic.type`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Synthetic {
    Bot,
    Test,
}

impl Synthetic {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Bot => "bot",
            Self::Test => "test",
        }
    }

    pub(super) fn from_headers(headers: &HeaderMap) -> Option<Self> {
        let agent = headers.get(USER_AGENT)?.as_bytes();
        let agent = agent.get(..READ).unwrap_or(agent);
        let contains = |text: &&str| {
            let mut windows = agent.windows(text.len());
            windows.any(|window| window.eq_ignore_ascii_case(text.as_bytes()))
        };
        // Tests first: the name of one contains `bot`.
        if TEST.iter().any(contains) {
            Some(Self::Test)
        } else {
            BOT.iter().any(contains).then_some(Self::Bot)
        }
    }
}

#[cfg(test)]
mod tests {
    use actix_web::http::header::{HeaderMap, HeaderValue, USER_AGENT};

    use proptest::{collection::vec, prelude::*};

    use super::{READ, Synthetic};

    #[test]
    fn bots_and_tests_are_told_by_their_names() {
        for (agent, expected) in [
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
                None,
            ),
            ("curl/8.5.0", None),
            ("", None),
            (
                "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
                Some("bot"),
            ),
            ("Mozilla/5.0 (compatible; Baiduspider/2.0)", Some("bot")),
            ("Mozilla/5.0+(compatible; UptimeRobot/2.0)", Some("test")),
            ("Mozilla/5.0 (compatible; MSIE 9.0; AlwaysOn)", Some("test")),
            ("ELB-HealthChecker/2.0", Some("test")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
            let found = Synthetic::from_headers(&headers).map(Synthetic::as_str);
            assert_eq!(found, expected, "{agent}");
        }
        assert_eq!(Synthetic::from_headers(&HeaderMap::new()), None);
    }

    proptest! {
        #[test]
        fn what_is_behind_the_limit_is_not_read(before in vec(0x80_u8..=0xff, 0..2 * READ)) {
            let agent = [&before[..], b" Bot"].concat();
            let mut headers = HeaderMap::new();
            headers.insert(USER_AGENT, HeaderValue::from_bytes(&agent).unwrap());
            let is_read = before.len() + " Bot".len() <= READ;
            prop_assert_eq!(Synthetic::from_headers(&headers).is_some(), is_read);
        }
    }
}
