//! Builders of monitors.

use crate::{error::Error, monitor::set::Monitors, registry::MetricsRegistry};

/// Builds a monitor from options: the argument of [`HrPrometheus::with_builder`](crate::HrPrometheus::with_builder).
///
/// Implemented for [`DefaultMonitorBuilder`](crate::DefaultMonitorBuilder), for
/// [`OtelMonitorBuilder`](crate::OtelMonitorBuilder), and for pairs of builders, whose monitors run side by side. It
/// cannot be implemented for other types.
pub trait MonitorBuilder: sealed::Sealed + Clone + Send + Sync + 'static {
    /// The monitor that it builds.
    type Monitor: Monitors;

    /// Returns what `registry` has for builders that are equal to this one, after registering it if necessary, as
    /// [`Monitors::obtain`] does.
    #[doc(hidden)]
    fn obtain(
        &self,
        registry: &MetricsRegistry,
        name: &str,
        errors: &mut Vec<Error>,
    ) -> <Self::Monitor as Monitors>::Set;

    /// Reports the first option that was given a wrong value.
    #[doc(hidden)]
    fn check(&self) -> Result<(), Error>;
}

pub(crate) mod sealed {
    #[allow(unnameable_types, reason = "a sealed trait")]
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
