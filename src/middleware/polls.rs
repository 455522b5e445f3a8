//! How long the polls of a request occupy its worker.

use std::time::{Duration, Instant};

use crate::monitor::hooks::PollTimes;

/// The polls of one request: those of the response in the making, and those of the body.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Polls {
    /// When the poll that is under way began. `None` between two of them, and where they are not timed.
    began: Option<Instant>,
    is_timed: bool,
    times: PollTimes,
}

impl Polls {
    /// For a request that arrived. Its first poll begins with that: the server calls and polls in one go.
    #[inline]
    pub(super) fn new(is_timed: bool, arrived: Instant) -> Self {
        Self {
            began: is_timed.then_some(arrived),
            is_timed,
            times: PollTimes::default(),
        }
    }

    /// A poll begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        if self.is_timed && self.began.is_none() {
            self.began = Some(Instant::now());
        }
    }

    /// The poll ends, and the request goes on.
    #[inline]
    pub(super) fn pause(&mut self) {
        if let Some(began) = self.began.take() {
            self.add(began.elapsed());
        }
    }

    /// The request ends: in a poll, or where it is dropped between two. `None` if its polls are not timed.
    #[inline]
    pub(super) fn end(&mut self, ended: Instant) -> Option<PollTimes> {
        if let Some(began) = self.began.take() {
            self.add(ended.saturating_duration_since(began));
        }
        self.is_timed.then_some(self.times)
    }

    #[inline]
    fn add(&mut self, time: Duration) {
        self.times.total = self.times.total.saturating_add(time);
        self.times.longest = self.times.longest.max(time);
    }
}
