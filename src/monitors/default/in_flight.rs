//! What the default monitor remembers of a request.

use std::fmt;

use crate::{
    exposition::exemplar::ExemplarLabels,
    monitors::default::{labels::NoLabels, peaks::Running, table::NotedTimes},
    panics::DiscardOnDrop,
    series::worker::BlockIndex,
};

/// What a [`DefaultMonitor`](crate::DefaultMonitor) remembers of a request until it ends; nothing by default.
///
/// A custom monitor that wraps the default one keeps this in its own
/// [`InFlight`](crate::RequestMonitor::InFlight).
pub struct DefaultInFlight<L = NoLabels>(pub(super) Option<Box<Noted<L>>>);

/// The notes about a request in progress.
pub(super) struct Noted<L> {
    /// None if there are no labels, or if they could not be read.
    pub(super) labels: DiscardOnDrop<L>,
    /// To be observed when it ends.
    pub(super) times: NotedTimes,
    pub(super) exemplar: Option<ExemplarLabels>,
    /// If peaks are recorded.
    pub(super) running: Option<Running>,
    /// The block into which it was recorded at its head, if it is long-lived.
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
