//! What monitors are made from when something is chosen for them.

use crate::{error::Error, monitor::set::Monitors, registry::MetricsRegistry};

/// Chooses what a monitor records: what [`HrPrometheus::with_builder`](crate::HrPrometheus::with_builder) takes.
///
/// Implemented for [`DefaultMonitorBuilder`](crate::DefaultMonitorBuilder),
/// [`OtelMonitorBuilder`](crate::OtelMonitorBuilder), and for `(A, B)` where `A` and `B` are builders, which make monitors
/// that run side by side. It cannot be implemented otherwise.
pub trait MonitorBuilder: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The monitor that it makes.
    type Monitor: Monitors;

    /// What `registry` holds for builders that are equal to this one; registers what it does not hold yet, as
    /// [`Monitors::obtain`].
    #[doc(hidden)]
    fn obtain(
        &self,
        registry: &MetricsRegistry,
        name: &str,
        errors: &mut Vec<Error>,
    ) -> <Self::Monitor as Monitors>::Set;

    /// Reports the first option that was given something wrong.
    #[doc(hidden)]
    fn check(&self) -> Result<(), Error>;
}

pub(crate) mod sealed {
    #[allow(unnameable_types, reason = "nobody else is to implement it")]
    pub trait Sealed {}

    impl<A: Sealed, B: Sealed> Sealed for (A, B) {}
}

impl<A: MonitorBuilder, B: MonitorBuilder> MonitorBuilder for (A, B) {
    type Monitor = (A::Monitor, B::Monitor);

    fn obtain(
        &self,
        registry: &MetricsRegistry,
        name: &str,
        errors: &mut Vec<Error>,
    ) -> <Self::Monitor as Monitors>::Set {
        (
            self.0.obtain(registry, name, errors),
            self.1.obtain(registry, name, errors),
        )
    }

    fn check(&self) -> Result<(), Error> {
        self.0.check().and(self.1.check())
    }
}
