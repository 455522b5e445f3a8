//! One scrape: within the time that the scraper has, prepared on the worker, rendered off it.

use std::{cell::Cell, panic::AssertUnwindSafe, time::Duration};

use actix_web::{HttpRequest, rt::time::timeout, web::Bytes};
use futures_util::FutureExt as _;

use crate::{error::Error, exposition::format::Format, registry::MetricsRegistry};

/// How long a scrape may take where the scraper does not say: the default time-out of Prometheus.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// The header in which Prometheus says after how many seconds it gives up.
const LIMIT_HEADER: &str = "X-Prometheus-Scrape-Timeout-Seconds";

/// How much of that time is used, so that the answer arrives before it is over.
const USED_OF_LIMIT: f64 = 0.9;

/// Why there is no body.
pub(crate) enum Failure {
    /// It took longer than this, for this reason.
    TimedOut(Duration, &'static str),
    Failed(Error),
}

/// The body of a scrape of `registry`, within the time that the scraper has.
pub(crate) async fn scrape(
    registry: &MetricsRegistry,
    request: HttpRequest,
    format: Format,
) -> Result<Bytes, Failure> {
    let limit = limit(&request);
    let render = Cell::new(None);
    let body = async {
        registry.prepare_scrape(&request).await;
        let shared = registry.render(format);
        render.set(Some(shared.clone()));
        shared.as_ref().await
    };
    // Waiting panics where the runtime of the worker is gone.
    let body = match AssertUnwindSafe(timeout(limit, body)).catch_unwind().await {
        Ok(Ok(body)) => body.map_err(Failure::Failed),
        Ok(Err(_)) => Err(Failure::TimedOut(
            limit,
            match render.take() {
                None => "a `prepare_scrape` is slow",
                Some(render) if render.has_begun() => "a collector is slow",
                Some(_) => "the system has given the render no time yet",
            },
        )),
        Err(_) => Err(Failure::Failed(Error::new(
            "the metrics could not be rendered: the worker is stopping",
        ))),
    };
    registry.count_scrape(match body {
        Ok(_) => "success",
        Err(Failure::TimedOut(..)) => "timeout",
        Err(Failure::Failed(_)) => "error",
    });
    body
}

fn limit(request: &HttpRequest) -> Duration {
    let header = request.headers().get(LIMIT_HEADER);
    header
        .and_then(|seconds| seconds.to_str().ok()?.trim().parse::<f64>().ok())
        .and_then(|seconds| Duration::try_from_secs_f64(seconds * USED_OF_LIMIT).ok())
        .filter(|limit| !limit.is_zero())
        .unwrap_or(DEFAULT_LIMIT)
}
