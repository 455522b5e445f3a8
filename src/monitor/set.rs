//! One monitor or several side by side, each contained on its own.

use crate::{
    monitor::{
        RequestMonitor,
        hooks::{RequestEnd, RequestStart, ResponseStart, ScrapeStart},
    },
    panics::panic_message,
};
use std::{
    any::{TypeId, type_name},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
};

use futures_util::future::LocalBoxFuture;

use crate::{error::Error, registry::MetricsRegistry};

/// One monitor or a pair of monitors: what [`HrPrometheus`](crate::HrPrometheus) can be made with.
///
/// Implemented for every [`RequestMonitor`] and for `(A, B)`, where `A` and `B` may be pairs again. The members of
/// a pair are registered and contained one by one: a panic in one of them costs the other nothing. It cannot be
/// implemented otherwise.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request monitor",
    label = "not a monitor",
    note = "implement `hr_prometheus::RequestMonitor` for `{Self}`; several monitors are given as a pair: `(A, B)`"
)]
pub trait Monitors: sealed::Sealed + Clone + Send + 'static {
    #[doc(hidden)]
    type Set: MonitorSet;

    /// What `registry` holds for this type; registers what it does not hold yet. A member that cannot be registered
    /// is off, and why is added to `errors`.
    #[doc(hidden)]
    fn obtain(registry: &MetricsRegistry, errors: &mut Vec<Error>) -> Self::Set;

    /// A value that was made elsewhere, ready to run.
    #[doc(hidden)]
    fn contained(self) -> Self::Set;
}

mod sealed {
    pub trait Sealed {}

    impl<M: crate::monitor::RequestMonitor> Sealed for M {}

    impl<A: super::Monitors, B: super::Monitors> Sealed for (A, B) {}
}

impl<M: RequestMonitor> Monitors for M {
    type Set = Contained<M>;

    fn obtain(registry: &MetricsRegistry, errors: &mut Vec<Error>) -> Contained<M> {
        registry.monitor_set(
            type_name::<M>(),
            TypeId::of::<M>(),
            |registry| M::register(registry).contained(),
            errors,
        )
    }

    fn contained(self) -> Contained<M> {
        Contained {
            monitor: Some(self),
            reported: Arc::default(),
        }
    }
}

impl<A: Monitors, B: Monitors> Monitors for (A, B) {
    type Set = (A::Set, B::Set);

    fn obtain(registry: &MetricsRegistry, errors: &mut Vec<Error>) -> Self::Set {
        (A::obtain(registry, errors), B::obtain(registry, errors))
    }

    fn contained(self) -> Self::Set {
        (self.0.contained(), self.1.contained())
    }
}

/// What runs for [`Monitors`]: each of them in a [`Contained`] of its own.
pub trait MonitorSet: Clone + Send + 'static {
    type InFlight: 'static;

    /// Monitors that record nothing, for those that could not be registered.
    fn off() -> Self;
    fn for_worker(&self) -> Self;
    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight;
    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>);
    fn end(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>);
    fn forget(&self, in_flight: Self::InFlight);
    fn counts_request_body(&self) -> bool;
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

    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight {
        (self.0.start(request), self.1.start(request))
    }

    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        self.0.respond(&mut in_flight.0, response);
        self.1.respond(&mut in_flight.1, response);
    }

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

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            self.0.prepare_scrape(scrape).await;
            self.1.prepare_scrape(scrape).await;
        })
    }
}

/// One monitor, whose panics end here.
pub struct Contained<M> {
    /// `None` if it could not be made; then nothing is called.
    monitor: Option<M>,
    /// Whether a panic of this monitor has been logged; shared by all workers.
    reported: Arc<AtomicBool>,
}

impl<M: RequestMonitor> Contained<M> {
    fn copied_by(&self, hook: &str, copy: impl FnOnce(&M) -> M) -> Self {
        let monitor = self.monitor.as_ref();
        Self {
            monitor: monitor.and_then(|monitor| self.contain(hook, || copy(monitor))),
            reported: Arc::clone(&self.reported),
        }
    }

    fn contain<T>(&self, hook: &str, call: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(value) => Some(value),
            Err(panic) => {
                if !self.reported.swap(true, Ordering::Relaxed) {
                    log::error!(
                        "{hook} of the monitor {} panicked: {}; requests are served, further panics of this monitor are not logged",
                        type_name::<M>(),
                        panic_message(&*panic),
                    );
                }
                None
            }
        }
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
        Self {
            monitor: None,
            reported: Arc::default(),
        }
    }

    fn for_worker(&self) -> Self {
        self.copied_by("for_worker", M::for_worker)
    }

    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight {
        let monitor = self.monitor.as_ref()?;
        self.contain("update_init_metrics", || monitor.update_init_metrics(request))
    }

    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        if let (Some(monitor), Some(in_flight)) = (&self.monitor, in_flight) {
            self.contain("update_response_metrics", || {
                monitor.update_response_metrics(in_flight, response);
            });
        }
    }

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

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(monitor) = &self.monitor else { return };
            let Some(mut prepare) = self.contain("prepare_scrape", || monitor.prepare_scrape(scrape)) else {
                return;
            };
            std::future::poll_fn(|cx| {
                self.contain("prepare_scrape", || prepare.as_mut().poll(cx))
                    .unwrap_or(Poll::Ready(()))
            })
            .await;
        })
    }
}
