//! What the default monitor carries for a request.

use std::fmt;

use crate::{
    exposition::exemplar::ExemplarLabels,
    monitors::default::{labels::NoLabels, peaks::Running, table::NotedTimes},
    panics::DiscardOnDrop,
    series::worker::BlockIndex,
};

/// What a [`DefaultMonitor`](crate::DefaultMonitor) carries for a request from its start to its end: nothing by default.
///
/// A custom monitor that wraps the default one has it in its own
/// [`InFlight`](crate::RequestMonitor::InFlight).
pub struct DefaultInFlight<L = NoLabels>(pub(super) Option<Box<Noted<L>>>);

/// What is noted of a request under way.
pub(super) struct Noted<L> {
    /// None where there are none, or where they could not be read.
    pub(super) labels: DiscardOnDrop<L>,
    /// To be observed when it ends.
    pub(super) times: NotedTimes,
    pub(super) exemplar: Option<ExemplarLabels>,
    /// Where peaks are asked for.
    pub(super) running: Option<Running>,
    /// Where it was recorded at its head, because it is long-lived.
    pub(super) recorded: Option<BlockIndex>,
}

impl<L> Default for Noted<L> {
    fn default() -> Self {
        Self {
            labels: DiscardOnDrop::none(),
            times: NotedTimes::default(),
            exemplar: None,
            running: None,
            recorded: None,
        }
    }
}

impl<L> fmt::Debug for DefaultInFlight<L> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DefaultInFlight").finish_non_exhaustive()
    }
}
