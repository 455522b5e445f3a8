//! One scrape: prepared on the worker, rendered off it, and shared with others that wait for the same.

use std::{
    collections::HashMap,
    fmt,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use actix_web::{
    HttpRequest,
    rt::{task::spawn_blocking, time::timeout},
    web::Bytes,
};
use futures_util::{
    FutureExt as _,
    future::{self, BoxFuture, Shared},
};
use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{
    endpoint::negotiation::Encoding, error::Error, exposition::rendered::Rendered, registry::MetricsRegistry,
};

/// How long a scrape may take where the scraper does not say: the default time-out of Prometheus.
const DEFAULT_LIMIT: Duration = Duration::from_secs(10);

/// The header in which Prometheus says after how many seconds it gives up.
const LIMIT_HEADER: &str = "X-Prometheus-Scrape-Timeout-Seconds";

/// How much of that time is used, so that the answer arrives before it is over.
const USED_OF_LIMIT: f64 = 0.9;

/// The scrapes of one registry.
#[derive(Default)]
pub(crate) struct Scrapes {
    /// What is rendered at this moment.
    running: Mutex<HashMap<Encoding, SharedRender>>,
    metrics: OnceCell<ScrapeMetrics>,
}

/// Ends with the body; with `None` where the worker is gone that began to render it.
type SharedRender = Shared<BoxFuture<'static, Option<Result<Bytes, Error>>>>;

/// Why there is no body.
pub(crate) enum Failure {
    /// It took longer than this.
    TimedOut(Duration),
    Failed(Error),
}

impl Scrapes {
    /// Registers metrics of the scrapes themselves, once.
    pub(crate) fn measure(&self, registry: impl FnOnce() -> Registry) -> Option<Registry> {
        let mut measured = None;
        self.metrics.get_or_init(|| {
            let mut registry = registry();
            let metrics = ScrapeMetrics::register(&mut registry);
            measured = Some(registry);
            metrics
        });
        measured
    }

    pub(crate) fn observe(&self, rendered: &Rendered<impl AsRef<[u8]>>, began: Instant) {
        if let Some(metrics) = self.metrics.get() {
            metrics.observe(rendered, began.elapsed());
        }
    }
}

impl fmt::Debug for Scrapes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scrapes").finish_non_exhaustive()
    }
}

/// The body of a scrape of `registry`, within the time that the scraper has.
pub(crate) async fn scrape(
    registry: &MetricsRegistry,
    request: HttpRequest,
    encoding: Encoding,
) -> Result<Bytes, Failure> {
    let limit = limit(&request);
    let body = async {
        registry.prepare_scrape(&request).await;
        shared_render(registry, encoding).await
    };
    let body = match timeout(limit, body).await {
        Ok(body) => body.map_err(Failure::Failed),
        Err(_) => Err(Failure::TimedOut(limit)),
    };
    if let Some(metrics) = registry.scrapes().metrics.get() {
        let outcome = match body {
            Ok(_) => "success",
            Err(Failure::TimedOut(_)) => "timeout",
            Err(Failure::Failed(_)) => "error",
        };
        metrics.scrapes.get_or_create_owned(&[("outcome", outcome)]).inc();
    }
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

/// Waits for the render that is under way, or begins one.
///
/// One at a time also where a collector hangs: it then holds one thread, not one for each scrape that gave up.
async fn shared_render(registry: &MetricsRegistry, encoding: Encoding) -> Result<Bytes, Error> {
    loop {
        let mut is_own = false;
        let render = {
            let mut running = registry.scrapes().running.lock();
            let begin = || {
                is_own = true;
                render_off_the_worker(registry.clone(), encoding)
            };
            running.entry(encoding).or_insert_with(begin).clone()
        };
        if let Some(body) = render.clone().await {
            return body;
        }
        if is_own {
            // No other shall wait for it.
            let mut running = registry.scrapes().running.lock();
            let lost = running.extract_if(|_, running| running.ptr_eq(&render)).next();
            drop(running);
            drop(lost);
            return Err(Error::new(
                "the metrics could not be rendered: the worker is stopping, or the system gives no thread",
            ));
        }
        // The worker stopped that had begun it, so this one begins anew.
    }
}

/// Begins when it is polled, not under the lock of what is running: the blocking pool of a worker that stops drops
/// what it is given at once, and that lock is taken then.
fn render_off_the_worker(registry: MetricsRegistry, encoding: Encoding) -> SharedRender {
    let running = Running { registry, encoding };
    let render = future::lazy(move |_| spawn_blocking(move || running.registry.render(encoding)));
    // It panics where the system gives no thread.
    let render = AssertUnwindSafe(render.then(|render| render)).catch_unwind();
    let body = render.map(|render| match render.ok()? {
        Ok(body) => Some(body),
        // To begin anew would panic anew.
        Err(error) if error.is_panic() => Some(Err(Error::new(
            "the render panicked; see the log for where, and mend that",
        ))),
        Err(_) => None,
    });
    body.boxed().shared()
}

/// Ends a render for those who come later, when it has been done and when it will not be.
struct Running {
    registry: MetricsRegistry,
    encoding: Encoding,
}

impl Drop for Running {
    fn drop(&mut self) {
        // Not dropped under the lock: it may hold the last hand on a worker's runtime.
        let _render = self.registry.scrapes().running.lock().remove(&self.encoding);
    }
}

/// Metrics of the scrapes themselves.
#[derive(Debug)]
struct ScrapeMetrics {
    scrapes: Family<[(&'static str, &'static str); 1], Counter>,
    duration: Histogram,
    size: Gauge,
    series: Gauge,
    left_out: Gauge,
}

impl ScrapeMetrics {
    fn register(registry: &mut Registry) -> Self {
        // From a small service to 100,000 routes.
        let buckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
        let metrics = Self {
            scrapes: Family::default(),
            duration: Histogram::new(buckets),
            size: Gauge::default(),
            series: Gauge::default(),
            left_out: Gauge::default(),
        };
        let Self {
            scrapes,
            duration,
            size,
            series,
            left_out,
        } = &metrics;
        registry.register(
            "hr_prometheus_scrapes",
            "Scrapes that were answered, by outcome",
            scrapes.clone(),
        );
        registry.register_with_unit(
            "hr_prometheus_scrape_duration",
            "Time that it took to render a scrape, shared or not",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register_with_unit(
            "hr_prometheus_scrape_size",
            "Size of the scrape before this one, before compression",
            Unit::Bytes,
            size.clone(),
        );
        registry.register(
            "hr_prometheus_scrape_series",
            "Series in the scrape before this one",
            series.clone(),
        );
        registry.register(
            "hr_prometheus_scrape_families_left_out",
            "Families left out of the scrape before this one because they would have broken it",
            left_out.clone(),
        );
        metrics
    }

    fn observe(&self, rendered: &Rendered<impl AsRef<[u8]>>, duration: Duration) {
        let number = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
        self.duration.observe(duration.as_secs_f64());
        self.size.set(number(rendered.body.as_ref().len()));
        self.series.set(number(rendered.samples));
        self.left_out.set(number(rendered.left_out.len()));
    }
}
