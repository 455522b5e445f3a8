//! One scrape: prepared on the worker, rendered on another thread, within the time that the scraper waits.

use std::{cell::Cell, future::poll_fn, pin::pin, sync::Arc, task::Poll, time::Duration};

use actix_web::{HttpRequest, rt::time::timeout};

use crate::{
    error::Error,
    exposition::format::Format,
    panics::catch,
    registry::{MetricsRegistry, body::Body, scrapes::Render},
};

/// How long a scrape may take if the scraper does not say: the default timeout of Prometheus.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// The header in which Prometheus announces its timeout in seconds.
const LIMIT_HEADER: &str = "X-Prometheus-Scrape-Timeout-Seconds";

/// How much of that time is used, so that the response arrives in time.
const USED_OF_LIMIT: f64 = 0.9;

/// Why there is no body.
pub(crate) enum Failure {
    /// Too much is being sent already.
    Busy(Error),
    /// It took longer than this, for this reason.
    TimedOut(Duration, &'static str),
    Failed(Error),
}

/// The body of a scrape of `registry`, within the time that the scraper has.
pub(crate) async fn scrape(
    registry: &MetricsRegistry,
    request: HttpRequest,
    format: Format,
) -> Result<Arc<Body>, Failure> {
    let limit = limit(&request);
    let render = Cell::new(None);
    let body = async {
        registry.prepare_scrape(&request).await;
        let shared = registry.render(format).map_err(Failure::Busy)?;
        render.set(Some(Arc::clone(&shared)));
        shared.as_ref().await.map_err(Failure::Failed)
    };
    let mut body = pin!(async { timeout(limit, body).await });
    let body = poll_fn(|cx| match catch(|| body.as_mut().poll(cx)) {
        Ok(poll) => {
            poll.map(|in_time| in_time.unwrap_or_else(|_| Err(timed_out(limit, render.take().as_deref()))))
        }
        // The runtime of the worker is gone, and its timer too.
        Err(_) => Poll::Ready(Err(Failure::Failed(Error::new(
            "the metrics could not be rendered: the worker is stopping",
        )))),
    })
    .await;
    registry.count_scrape(match body {
        Ok(_) => "success",
        Err(Failure::TimedOut(..)) => "timeout",
        Err(Failure::Busy(_) | Failure::Failed(_)) => "error",
    });
    body
}

/// The failure of a scrape that ran out of time, with the cause.
fn timed_out(limit: Duration, render: Option<&Render>) -> Failure {
    let reason = match render {
        None => "the `prepare_scrape` of a monitor is slow; make it faster, or raise `scrape_timeout`",
        Some(render) if render.has_begun() => {
            "a collector is slow, or there are too many series; fix that, or raise `scrape_timeout`"
        }
        Some(_) => "its thread got no processor time; give the process more, or raise `scrape_timeout`",
    };
    Failure::TimedOut(limit, reason)
}

fn limit(request: &HttpRequest) -> Duration {
    let header = request.headers().get(LIMIT_HEADER);
    header
        .and_then(|seconds| seconds.to_str().ok()?.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds * USED_OF_LIMIT).ok())
        .filter(|limit| !limit.is_zero())
        .unwrap_or(DEFAULT_LIMIT)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use actix_web::test::TestRequest;
    use proptest::prelude::*;

    use super::{DEFAULT_LIMIT, Failure, LIMIT_HEADER, limit, timed_out};
    use crate::registry::scrapes::Render;

    #[test]
    fn a_render_without_time_is_told_from_a_slow_one() {
        let reason = |render: Option<&Render>| match timed_out(Duration::from_secs(1), render) {
            Failure::TimedOut(_, reason) => reason,
            Failure::Busy(_) | Failure::Failed(_) => "another failure",
        };
        let render = Render::default();
        assert_eq!(
            reason(None),
            "the `prepare_scrape` of a monitor is slow; make it faster, or raise `scrape_timeout`"
        );
        assert_eq!(
            reason(Some(&render)),
            "its thread got no processor time; give the process more, or raise `scrape_timeout`"
        );
        render.begin();
        assert_eq!(
            reason(Some(&render)),
            "a collector is slow, or there are too many series; fix that, or raise `scrape_timeout`"
        );
    }

    fn limit_of(header: &[u8]) -> Option<Duration> {
        let header = actix_web::http::header::HeaderValue::from_bytes(header).ok()?;
        Some(limit(
            &TestRequest::default()
                .insert_header((LIMIT_HEADER, header))
                .to_http_request(),
        ))
    }

    proptest! {
        #[test]
        fn any_header_leaves_some_time(header in r"[-+0-9.e ]{0,5}|inf|NaN|[ -~\x80-\xff]{0,20}") {
            prop_assert!(limit_of(header.as_bytes()).is_none_or(|limit| !limit.is_zero()));
        }

        #[test]
        fn any_number_is_a_limit_or_none(seconds: f64) {
            let expected = if (1e-6..1e18).contains(&seconds) {
                seconds * 0.9
            } else if (0.0..1e-6).contains(&seconds) || (1e18..1e20).contains(&seconds) {
                return Ok(());
            } else {
                DEFAULT_LIMIT.as_secs_f64()
            };
            let found = limit_of(format!(" {seconds} ").as_bytes()).unwrap().as_secs_f64();
            prop_assert!((found - expected).abs() <= 1e-6 * expected + 1e-9, "{found} instead of {expected}");
        }
    }
}
