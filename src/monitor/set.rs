//! One monitor or several side by side: each is registered once, and contained separately.

use std::{
    any::{TypeId, type_name},
    cell::Cell,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use actix_web::{HttpRequest, body::BodySize};
use futures_util::future::LocalBoxFuture;
use log::Level;
use parking_lot::ReentrantMutex;
use prometheus_client::registry::Registry;

use crate::{
    error::Error,
    monitor::{
        RequestMonitor,
        hooks::{RequestEnd, RequestStart, ResponseStart, ScrapeStart},
    },
    panics::{LogOnce, Panicked, catch, discard},
    registry::{BeforeScrape, MetricsRegistry, Source},
};

/// One monitor or several, as [`HrPrometheus`](crate::HrPrometheus) uses them.
///
/// Implemented for every [`RequestMonitor`] and for tuples of two or three, whose members may be tuples again. The members
/// are registered and contained separately: a panic in one of them does not affect the others. It cannot be implemented
/// for other types.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request monitor",
    label = "not a monitor",
    note = "implement `hr_prometheus::RequestMonitor` for `{Self}`; custom labels are given as `DefaultMonitor<{Self}>`; several monitors are given as a tuple: `(A, B)` or `(A, B, C)`; nest tuples for more"
)]
pub trait Monitors: sealed::Sealed + Clone + Send + 'static {
    #[doc(hidden)]
    type Set: MonitorSet;

    /// Returns what `registry` has for this type and name, after registering it if necessary. A member that cannot be
    /// registered is off, and the reason is added to `errors`.
    #[doc(hidden)]
    fn obtain(registry: &MetricsRegistry, name: &str, errors: &mut Vec<Error>) -> Self::Set;

    /// A value that was made elsewhere, ready to run.
    #[doc(hidden)]
    fn contained(self) -> Self::Set;
}

mod sealed {
    #[allow(unnameable_types, reason = "a sealed trait")]
    pub trait Sealed {}

    impl<M: crate::monitor::RequestMonitor> Sealed for M {}

    impl<A: super::Monitors, B: super::Monitors> Sealed for (A, B) {}

    impl<A: super::Monitors, B: super::Monitors, C: super::Monitors> Sealed for (A, B, C) {}
}

impl<M: RequestMonitor> Monitors for M {
    type Set = Contained<M>;

    fn obtain(registry: &MetricsRegistry, name: &str, errors: &mut Vec<Error>) -> Contained<M> {
        let register = |registry: &mut Registry| M::register(registry).contained();
        obtain::<M, _>(registry, (TypeId::of::<M>(), name.to_owned()), register, errors)
    }

    fn contained(self) -> Contained<M> {
        Contained::new(Some(self))
    }
}

impl<A: Monitors, B: Monitors> Monitors for (A, B) {
    type Set = (A::Set, B::Set);

    fn obtain(registry: &MetricsRegistry, name: &str, errors: &mut Vec<Error>) -> Self::Set {
        (
            A::obtain(registry, name, errors),
            B::obtain(registry, name, errors),
        )
    }

    fn contained(self) -> Self::Set {
        (self.0.contained(), self.1.contained())
    }
}

impl<A: Monitors, B: Monitors, C: Monitors> Monitors for (A, B, C) {
    type Set = ((A::Set, B::Set), C::Set);

    fn obtain(registry: &MetricsRegistry, name: &str, errors: &mut Vec<Error>) -> Self::Set {
        let pair = <(A, B)>::obtain(registry, name, errors);
        (pair, C::obtain(registry, name, errors))
    }

    fn contained(self) -> Self::Set {
        ((self.0, self.1).contained(), self.2.contained())
    }
}

/// The monitors that `registry` holds for `source`; `register` makes them if it holds none. Those that cannot be made
/// are off, and the reason is added to `errors`.
pub(crate) fn obtain<M: Monitors, S: Source>(
    registry: &MetricsRegistry,
    source: S,
    register: impl FnOnce(&mut Registry) -> M::Set,
    errors: &mut Vec<Error>,
) -> M::Set {
    let register = |registry: &mut Registry| SharedSet::new(register(registry));
    let set = registry.register_once(type_name::<M>(), source, register);
    set.and_then(|set| set.copy()).unwrap_or_else(|error| {
        errors.push(error);
        M::Set::off()
    })
}

/// The monitors of one source, of which every worker gets a copy. A monitor need not be `Sync`.
struct SharedSet<S> {
    /// Whether this thread is copying the monitors: then it is code of a monitor that asks for them.
    set: ReentrantMutex<(Cell<bool>, S)>,
}

impl<S: MonitorSet> SharedSet<S> {
    fn new(set: S) -> Self {
        Self {
            set: ReentrantMutex::new((Cell::new(false), set)),
        }
    }

    fn copy(&self) -> Result<S, Error> {
        let set = self.set.lock();
        let (is_copying, set) = &*set;
        if is_copying.replace(true) {
            return Err(Error::new(
                "a monitor cannot be registered during its own `clone`; do it before or after",
            ));
        }
        let copy = set.clone();
        is_copying.set(false);
        Ok(copy)
    }
}

impl<S: MonitorSet> BeforeScrape for SharedSet<S> {
    fn prepare(&self, request: &HttpRequest) -> LocalBoxFuture<'static, ()> {
        let set = self.copy();
        let scrape = ScrapeStart {
            request: request.clone(),
        };
        Box::pin(async move {
            if let Ok(set) = set {
                set.prepare_scrape(&scrape).await;
            }
        })
    }
}

/// The running form of [`Monitors`]: each of them in a separate [`Contained`].
pub trait MonitorSet: Clone + Send + 'static {
    /// What one request carries from start to end, for each monitor that has begun.
    type InFlight: 'static;

    /// Monitors that record nothing, for those that could not be registered.
    fn off() -> Self;
    /// As [`RequestMonitor::for_worker`].
    #[must_use]
    fn for_worker(&self) -> Self;
    /// As [`RequestMonitor::start_unseen`]; `None` if one of them is to see the request.
    fn start_unseen(&self, table_address: usize) -> Option<Self::InFlight>;
    /// As [`RequestMonitor::update_init_metrics`].
    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight;
    /// Whether any of them [looks at the response](RequestMonitor::looks_at_response).
    fn looks_at_response(&self, body: BodySize) -> bool;
    /// As [`RequestMonitor::update_response_metrics`].
    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>);
    /// As [`RequestMonitor::update_end_metrics`].
    fn end(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>);
    /// As [`RequestMonitor::forget`].
    fn forget(&self, in_flight: Self::InFlight);
    /// Whether any of them [counts request bodies](RequestMonitor::counts_request_body).
    fn counts_request_body(&self) -> bool;
    /// Whether any of them [times polls](RequestMonitor::times_polls).
    fn times_polls(&self) -> bool;
    /// As [`RequestMonitor::prepare_scrape`], one after the other.
    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()>;
}

impl<A: MonitorSet, B: MonitorSet> MonitorSet for (A, B) {
    type InFlight = (A::InFlight, B::InFlight);

    fn off() -> Self {
        (A::off(), B::off())
    }

    fn for_worker(&self) -> Self {
        (self.0.for_worker(), self.1.for_worker())
    }

    #[inline]
    fn start_unseen(&self, table_address: usize) -> Option<Self::InFlight> {
        let first = self.0.start_unseen(table_address)?;
        Some((first, self.1.start_unseen(table_address)?))
    }

    #[inline]
    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight {
        (self.0.start(request), self.1.start(request))
    }

    #[inline]
    fn looks_at_response(&self, body: BodySize) -> bool {
        self.0.looks_at_response(body) || self.1.looks_at_response(body)
    }

    #[inline]
    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        self.0.respond(&mut in_flight.0, response);
        self.1.respond(&mut in_flight.1, response);
    }

    #[inline]
    fn end(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>) {
        self.0.end(in_flight.0, end);
        self.1.end(in_flight.1, end);
    }

    fn forget(&self, in_flight: Self::InFlight) {
        self.0.forget(in_flight.0);
        self.1.forget(in_flight.1);
    }

    fn counts_request_body(&self) -> bool {
        // Both are asked, whatever the first says.
        self.0.counts_request_body() | self.1.counts_request_body()
    }

    fn times_polls(&self) -> bool {
        self.0.times_polls() | self.1.times_polls()
    }

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            self.0.prepare_scrape(scrape).await;
            self.1.prepare_scrape(scrape).await;
        })
    }
}

/// One monitor, whose panics end here: those of its hooks, and those of its values when they are dropped.
pub struct Contained<M: RequestMonitor> {
    /// `None` if it could not be made; then nothing is called.
    monitor: Option<M>,
    /// Whether a panic of this monitor has been logged; shared by all workers.
    logged: Arc<LogOnce>,
}

impl<M: RequestMonitor> Contained<M> {
    fn new(monitor: Option<M>) -> Self {
        Self {
            monitor,
            logged: Arc::default(),
        }
    }

    fn copied_by(&self, hook: &str, copy: impl FnOnce(&M) -> M) -> Self {
        let monitor = self.monitor.as_ref();
        Self {
            monitor: monitor.and_then(|monitor| self.contain(hook, || copy(monitor))),
            logged: Arc::clone(&self.logged),
        }
    }

    #[inline]
    fn contain<T>(&self, hook: &str, call: impl FnOnce() -> T) -> Option<T> {
        catch(call).map_err(|panicked| self.report(hook, &panicked)).ok()
    }

    #[cold]
    fn report(&self, hook: &str, panicked: &Panicked) {
        self.logged.log(
            Level::Error,
            format_args!(
                "`{hook}` of the monitor {} panicked: {panicked}; fix it; requests are served as usual (logged once per monitor)",
                type_name::<M>(),
            ),
        );
    }
}

impl<M: RequestMonitor> Drop for Contained<M> {
    fn drop(&mut self) {
        discard(self.monitor.take());
    }
}

impl<M: RequestMonitor> Clone for Contained<M> {
    fn clone(&self) -> Self {
        self.copied_by("clone", M::clone)
    }
}

impl<M: RequestMonitor> MonitorSet for Contained<M> {
    type InFlight = Option<M::InFlight>;

    fn off() -> Self {
        Self::new(None)
    }

    fn for_worker(&self) -> Self {
        self.copied_by("for_worker", M::for_worker)
    }

    #[inline]
    fn start_unseen(&self, table_address: usize) -> Option<Self::InFlight> {
        let monitor = self.monitor.as_ref()?;
        let start = || monitor.start_unseen(table_address);
        self.contain("start_unseen", start).flatten().map(Some)
    }

    #[inline]
    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight {
        let monitor = self.monitor.as_ref()?;
        self.contain("update_init_metrics", || monitor.update_init_metrics(request))
    }

    #[inline]
    fn looks_at_response(&self, body: BodySize) -> bool {
        self.monitor.as_ref().is_some_and(|monitor| {
            let looks = self.contain("looks_at_response", || monitor.looks_at_response(body));
            looks.unwrap_or(true)
        })
    }

    #[inline]
    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        if let (Some(monitor), Some(in_flight)) = (&self.monitor, in_flight) {
            self.contain("update_response_metrics", || {
                monitor.update_response_metrics(in_flight, response);
            });
        }
    }

    #[inline]
    fn end(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>) {
        if let (Some(monitor), Some(in_flight)) = (&self.monitor, in_flight) {
            self.contain("update_end_metrics", || {
                monitor.update_end_metrics(in_flight, end);
            });
        }
    }

    fn forget(&self, in_flight: Self::InFlight) {
        if let (Some(monitor), Some(in_flight)) = (&self.monitor, in_flight) {
            self.contain("forget", || monitor.forget(in_flight));
        }
    }

    fn counts_request_body(&self) -> bool {
        let monitor = self.monitor.as_ref();
        monitor
            .and_then(|monitor| self.contain("counts_request_body", || monitor.counts_request_body()))
            .unwrap_or(false)
    }

    fn times_polls(&self) -> bool {
        let monitor = self.monitor.as_ref();
        monitor
            .and_then(|monitor| self.contain("times_polls", || monitor.times_polls()))
            .unwrap_or(false)
    }

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        let monitor = self.monitor.as_ref();
        Box::pin(Preparation {
            contained: self,
            future: monitor
                .and_then(|monitor| self.contain("prepare_scrape", || monitor.prepare_scrape(scrape))),
        })
    }
}

/// The future of [`RequestMonitor::prepare_scrape`], whose panics end here too.
struct Preparation<'a, M: RequestMonitor> {
    contained: &'a Contained<M>,
    /// `None` when it has ended.
    future: Option<LocalBoxFuture<'a, ()>>,
}

impl<M: RequestMonitor> Future for Preparation<'_, M> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = &mut *self;
        let Some(future) = &mut this.future else {
            return Poll::Ready(());
        };
        let poll = this
            .contained
            .contain("prepare_scrape", || future.as_mut().poll(cx));
        if poll == Some(Poll::Pending) {
            return Poll::Pending;
        }
        discard(this.future.take());
        Poll::Ready(())
    }
}

impl<M: RequestMonitor> Drop for Preparation<'_, M> {
    fn drop(&mut self) {
        discard(self.future.take());
    }
}
