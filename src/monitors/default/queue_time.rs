//! The time that a request waited in front of the server, according to a proxy.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::http::header::{HeaderMap, HeaderName};

/// The headers in which proxies say when they received a request; the first one present counts.
static HEADERS: [HeaderName; 2] = [
    HeaderName::from_static("x-request-start"),
    HeaderName::from_static("x-queue-start"),
];

/// The longest time that is believed: a wrong clock, or a client that makes up the header, claims more.
pub(super) const MOST: Duration = Duration::from_secs(600);

/// How far the clock of the proxy may be ahead; the request then counts as not having waited.
const MOST_AHEAD: Duration = Duration::from_secs(1);

/// How long a request waited that arrived at `now`; `None` if no proxy says so, or if it cannot be true.
pub(super) fn queue_time(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let received = HEADERS.iter().find_map(|name| headers.get(name))?;
    let received = received_at(received.to_str().ok()?)?;
    match now.duration_since(received) {
        Ok(waited) => Some(waited).filter(|waited| *waited <= MOST),
        Err(ahead) => (ahead.duration() <= MOST_AHEAD).then_some(Duration::ZERO),
    }
}

/// Unix time in seconds (`t=1512379167.574`, nginx), milliseconds (`1512379167574`, Heroku and `HAProxy`), microseconds
/// (`t=1512379167574000`, Apache) or nanoseconds; recognized by its size, since the unit is not named.
fn received_at(text: &str) -> Option<SystemTime> {
    let text = text.trim();
    let text = text.strip_prefix("t=").unwrap_or(text);
    // Not all that is a number for Rust: `inf`, `1e9`, `+1`.
    if !text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let number: f64 = text.parse().ok()?;
    // The units are a thousand apart, and the year 5138 is at 1e11 seconds.
    let seconds = [1.0, 1e3, 1e6, 1e9]
        .into_iter()
        .map(|per_second| number / per_second)
        .find(|seconds| *seconds < 1e11)?;
    UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};

    use proptest::prelude::*;

    use super::{MOST, queue_time};

    /// 1.5 s after `1512379167.574`.
    fn now() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_512_379_169_074)
    }

    fn milliseconds(name: &'static str, value: &[u8]) -> Option<u128> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(value).unwrap();
        headers.insert(HeaderName::from_static(name), value);
        // To the microsecond: a float has no more.
        queue_time(&headers, now()).map(|waited| (waited + Duration::from_micros(1)).as_millis())
    }

    #[test]
    fn all_forms_of_the_header_are_understood() {
        for text in [
            "t=1512379167.574",
            "1512379167.574",
            "t=1512379167574",
            "1512379167574",
            " 1512379167574 ",
            "t=1512379167574000",
            "1512379167574000",
            "1512379167574000000",
        ] {
            for name in ["x-request-start", "x-queue-start"] {
                assert_eq!(milliseconds(name, text.as_bytes()), Some(1_500), "{name}: {text}");
            }
        }
    }

    #[test]
    fn what_cannot_be_is_not_believed() {
        for text in [
            "",
            "t=",
            "now",
            "-1",
            "inf",
            "NaN",
            "1e9",
            "0x5a",
            "1.2.3",
            "0",
            "1",
            // A clock that is 11 minutes behind, one that is 2 seconds ahead, and the far future.
            "1512378507",
            "1512379171.074",
            "99999999999",
            "9999999999999999999999999",
            // Two proxies.
            "1512379167574, 1512379168574",
        ] {
            assert_eq!(milliseconds("x-request-start", text.as_bytes()), None, "{text}");
        }
        assert_eq!(milliseconds("x-request-start", b"\xff"), None);
        assert_eq!(milliseconds("x-other", b"1512379167574"), None);
    }

    #[test]
    fn a_clock_that_is_a_little_ahead_means_no_wait() {
        assert_eq!(milliseconds("x-request-start", b"1512379169.900"), Some(0));
    }

    #[test]
    fn nearly_ten_minutes_are_believed() {
        assert_eq!(milliseconds("x-request-start", b"1512378570.074"), Some(599_000));
    }

    fn headers(value: &[u8]) -> Option<HeaderMap> {
        let mut headers = HeaderMap::new();
        let value = HeaderValue::from_bytes(value).ok()?;
        headers.insert(HeaderName::from_static("x-request-start"), value);
        Some(headers)
    }

    proptest! {
        /// Also with a clock that was set to any time.
        #[test]
        fn whatever_a_client_sends_is_no_time_or_one_that_can_be(
            value in r"(t=)?[0-9.]{0,30}|[ -~\x80-\xff]{0,30}",
            now: u64,
        ) {
            let now = UNIX_EPOCH.checked_add(Duration::from_millis(now)).unwrap_or(UNIX_EPOCH);
            if let Some(headers) = headers(value.as_bytes()) {
                prop_assert!(queue_time(&headers, now).is_none_or(|waited| waited <= MOST));
            }
        }

        #[test]
        fn the_time_that_a_proxy_says_is_taken_in_any_unit(waited in 0..700_000_u64, unit in 0..4_u32) {
            let received = 1_512_379_169_074 - waited;
            let text = match unit {
                0 => format!("t={}.{:03}", received / 1_000, received % 1_000),
                unit => format!("{received}{}", "0".repeat(3 * (unit as usize - 1))),
            };
            let expected = (waited <= 600_000).then_some(u128::from(waited));
            let found = queue_time(&headers(text.as_bytes()).unwrap(), now());
            // A float has no more than a microsecond, which may be the one that is too much.
            let found = found.map(|waited| (waited + Duration::from_micros(1)).as_millis());
            prop_assert!(found == expected || waited == 600_000, "{text}: {found:?}");
        }
    }
}
