//! The scrapes of one registry: the render that several share, the log of its omissions, and metrics of the scrapes
//! themselves.

#[cfg(not(hr_loom))]
use std::thread;
use std::{
    collections::{HashMap, HashSet},
    mem,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use actix_web::web::Bytes;
use log::Level;
#[cfg(hr_loom)]
use loom::thread;
use once_cell::sync::OnceCell;
#[cfg(not(hr_loom))]
use parking_lot::Mutex;
use prometheus_client::{
    metrics::{
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};

#[cfg(hr_loom)]
use crate::orderings::Mutex;
use crate::{
    error::Error,
    exposition::{
        format::Format,
        rendered::{OmittedCounts, Rendered},
    },
    panics::{catch, report},
    registry::body::{Body, Held},
};

/// How many omissions are logged at most: a collector may make up names.
const MOST_REPORTED: usize = 1_000;

/// The scrapes of one registry.
#[derive(Default)]
pub(crate) struct Scrapes {
    /// The renders that are running.
    running: Mutex<HashMap<Format, Arc<Render>>>,
    /// The size of the last scrape, in bytes.
    size: AtomicUsize,
    held: Arc<Held>,
    /// Whether a scrape has had omissions.
    has_omitted_families: AtomicBool,
    has_omitted_series: AtomicBool,
    /// The omitted families that have been logged; the reason, if there is no name.
    reported: Mutex<HashSet<String>>,
    metrics: OnceCell<ScrapeMetrics>,
}

impl Scrapes {
    /// Joins the render that is running, or begins one on a new thread: the blocking pool of a worker may be full of
    /// requests that hang, in the very incident that the scrape is to show.
    ///
    /// One at a time even if a collector hangs: it then holds one thread, not one for each scrape that gave up.
    pub(crate) fn render(
        self: &Arc<Self>,
        format: Format,
        render: impl FnOnce() -> Result<Rendered<Bytes>, Error> + Send + 'static,
    ) -> Result<Arc<Render>, Error> {
        let mut running = self.running.lock();
        if let Some(render) = running.get(&format) {
            return Ok(Arc::clone(render));
        }
        self.held.check(self.expected_size())?;
        let shared = Arc::<Render>::default();
        let rendering = Rendering {
            scrapes: Arc::clone(self),
            format,
            shared: Arc::clone(&shared),
        };
        running.insert(format, Arc::clone(&shared));
        drop(running);
        let thread = thread::Builder::new().name("metrics".to_owned());
        // If the system cannot start a thread, `rendering` is dropped, which ends the render.
        let _ = thread.spawn(move || {
            rendering.shared.begin();
            let rendered = catch(render).unwrap_or_else(|_| {
                Err(Error::new(
                    "rendering the metrics panicked; fix the code that the panic message on standard error names",
                ))
            });
            let held = Arc::clone(&rendering.scrapes.held);
            rendering.end(rendered.map(|rendered| Arc::new(Body::new(rendered, held))));
        });
        Ok(shared)
    }

    /// The expected size of the next scrape in bytes: a little more than the last one, so that it rarely has to be moved
    /// while it grows.
    pub(crate) fn expected_size(&self) -> usize {
        let size = self.size.load(Relaxed);
        size + size / 16
    }

    /// Measures a render, and logs each omission the first time.
    pub(crate) fn observe(&self, rendered: &Rendered<impl AsRef<[u8]>>, began: Instant) {
        self.size.store(rendered.body.as_ref().len(), Relaxed);
        if let Some(metrics) = self.metrics.get() {
            metrics.observe(rendered, began.elapsed());
        }
        for omitted in &rendered.omitted {
            if self.is_first(&omitted.key()) {
                report(Level::Error, format_args!("omitted from the scrape: {omitted}"));
            }
        }
    }

    /// Registers the counts of omissions, once there is one, or if scrapes are measured.
    pub(crate) fn register_omissions(&self, registry: &mut Registry, counts: OmittedCounts) {
        let is_measured = self.metrics.get().is_some();
        let mut register = |has_omitted: &AtomicBool, name, help, count| {
            if has_omitted.fetch_or(count > 0, Relaxed) || count > 0 || is_measured {
                registry.register(name, help, ConstGauge::new(number(count)));
            }
        };
        register(
            &self.has_omitted_families,
            "hr_prometheus_scrape_families_omitted",
            "Families omitted from this scrape because they would have broken it",
            counts.families,
        );
        register(
            &self.has_omitted_series,
            "hr_prometheus_scrape_series_omitted",
            "Series omitted from other families of this scrape because they would have broken it",
            counts.series,
        );
    }

    /// Whether nothing has been logged under this `name` yet.
    pub(crate) fn is_first(&self, name: &str) -> bool {
        let mut reported = self.reported.lock();
        reported.len() < MOST_REPORTED && reported.insert(name.to_owned())
    }

    /// Counts a scrape that has been answered.
    pub(crate) fn count(&self, outcome: &'static str) {
        if let Some(metrics) = self.metrics.get() {
            metrics.scrapes.get_or_create_owned(&[("outcome", outcome)]).inc();
        }
    }

    /// Begins to measure the scrapes themselves, in `registry`; does nothing the second time.
    pub(crate) fn measure(&self, registry: impl FnOnce() -> ScrapeMetrics) {
        self.metrics.get_or_init(registry);
    }
}

/// A render that is running, shared by all scrapes that wait for its body.
#[derive(Default)]
pub(crate) struct Render {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    has_begun: bool,
    body: Option<Result<Arc<Body>, Error>>,
    waiting: Vec<Waker>,
}

impl Render {
    /// Notes that its thread runs.
    pub(crate) fn begin(&self) {
        self.state.lock().has_begun = true;
    }

    /// Whether its thread has had processor time yet.
    pub(crate) fn has_begun(&self) -> bool {
        self.state.lock().has_begun
    }
}

impl Future for &Render {
    type Output = Result<Arc<Body>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.state.lock();
        if let Some(body) = &state.body {
            return Poll::Ready(body.clone());
        }
        if !state.waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
            state.waiting.push(cx.waker().clone());
        }
        Poll::Pending
    }
}

/// Ends a render in any case, for those who wait and for those who come later. Owned by its thread.
struct Rendering {
    scrapes: Arc<Scrapes>,
    format: Format,
    shared: Arc<Render>,
}

impl Rendering {
    fn end(&self, body: Result<Arc<Body>, Error>) {
        self.scrapes.running.lock().remove(&self.format);
        let mut state = self.shared.state.lock();
        state.body.get_or_insert(body);
        let waiting = mem::take(&mut state.waiting);
        drop(state);
        for waker in waiting {
            // The runtime of a waiting scrape may be gone.
            let _ = catch(|| waker.wake());
        }
    }
}

impl Drop for Rendering {
    fn drop(&mut self) {
        if self.shared.state.lock().body.is_none() {
            self.end(Err(Error::new(
                "the metrics could not be rendered: the system cannot start a thread; raise its limits on threads or memory",
            )));
        }
    }
}

/// Metrics of the scrapes themselves.
#[derive(Debug)]
pub(crate) struct ScrapeMetrics {
    scrapes: Family<[(&'static str, &'static str); 1], Counter>,
    duration: Histogram,
    size: Gauge,
    series: Gauge,
}

impl ScrapeMetrics {
    pub(crate) fn register(registry: &mut Registry) -> Self {
        // From a small service to 100,000 routes.
        let buckets = [0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 5.0, 10.0];
        let metrics = Self {
            scrapes: Family::default(),
            duration: Histogram::new(buckets),
            size: Gauge::default(),
            series: Gauge::default(),
        };
        let Self {
            scrapes,
            duration,
            size,
            series,
        } = &metrics;
        for outcome in ["success", "timeout", "error"] {
            scrapes.get_or_create_owned(&[("outcome", outcome)]);
        }
        registry.register("hr_prometheus_scrapes", "Scrapes, by outcome", scrapes.clone());
        registry.register_with_unit(
            "hr_prometheus_scrape_duration",
            "Time to render a scrape, whether shared by several or not",
            Unit::Seconds,
            duration.clone(),
        );
        registry.register_with_unit(
            "hr_prometheus_scrape_size",
            "Size of the previous scrape, before compression",
            Unit::Bytes,
            size.clone(),
        );
        registry.register(
            "hr_prometheus_scrape_series",
            "Series in the previous scrape",
            series.clone(),
        );
        metrics
    }

    fn observe(&self, rendered: &Rendered<impl AsRef<[u8]>>, duration: Duration) {
        self.duration.observe(duration.as_secs_f64());
        self.size.set(number(rendered.body.as_ref().len()));
        self.series.set(number(rendered.samples));
    }
}

fn number(number: usize) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

#[cfg(all(test, hr_loom))]
mod orderings {
    use std::sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    };

    use actix_web::web::Bytes;
    use loom::{future::block_on, thread};

    use crate::{
        exposition::{format::Format, rendered::Rendered},
        orderings::model,
        registry::scrapes::Scrapes,
    };

    /// One scrape: the body that its render made.
    fn scrape(scrapes: &Arc<Scrapes>, renders: &Arc<AtomicUsize>) -> Bytes {
        let renders = Arc::clone(renders);
        let render = scrapes.render(Format::OpenMetrics, move || {
            let number = renders.fetch_add(1, Relaxed);
            Ok(Rendered::<()>::default().map(|()| Bytes::from(number.to_string())))
        });
        let body = block_on(render.unwrap().as_ref()).unwrap();
        body.all().concat().into()
    }

    /// Loom says if one of them waits for ever.
    #[test]
    fn scrapes_that_meet_are_all_answered_by_a_render_that_ends() {
        model(|| {
            let scrapes = Arc::<Scrapes>::default();
            let renders = Arc::<AtomicUsize>::default();
            let other = thread::spawn({
                let (scrapes, renders) = (Arc::clone(&scrapes), Arc::clone(&renders));
                move || scrape(&scrapes, &renders)
            });
            let bodies = [scrape(&scrapes, &renders), other.join().unwrap()];
            let renders = renders.load(Relaxed);
            assert!(
                bodies
                    .iter()
                    .all(|body| ["0", "1"][..renders].contains(&str::from_utf8(body).unwrap()))
            );
            assert!(scrapes.running.lock().is_empty());
        });
    }
}
