//! How long the polls of a request occupy its worker.

use std::time::Instant;

use crate::monitor::hooks::PollTimes;

/// The polls of one request: those of the response future, and those of the body.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Polls {
    /// Whether a poll is running; `false` if polls are not timed.
    is_under_way: bool,
    /// Whether one is to come; `false` if polls are not timed.
    is_paused: bool,
    began: Instant,
    times: PollTimes,
}

impl Polls {
    /// For requests whose polls are not timed.
    pub(super) fn untimed(now: Instant) -> Self {
        Self {
            is_under_way: false,
            is_paused: false,
            began: now,
            times: PollTimes::default(),
        }
    }

    /// For a request that arrived. Its first poll begins with that: the server calls and polls in one go.
    #[cold]
    pub(super) fn timed(arrived: Instant) -> Self {
        Self {
            is_under_way: true,
            ..Self::untimed(arrived)
        }
    }

    /// A poll begins.
    #[inline]
    pub(super) fn begin(&mut self) {
        if self.is_paused {
            self.resume();
        }
    }

    #[cold]
    fn resume(&mut self) {
        self.is_paused = false;
        self.is_under_way = true;
        self.began = Instant::now();
    }

    /// The poll ends, and the request goes on.
    #[inline]
    pub(super) fn pause(&mut self) {
        if self.is_under_way {
            self.stop(Instant::now);
        }
    }

    #[cold]
    fn stop(&mut self, now: impl FnOnce() -> Instant) {
        self.is_under_way = false;
        self.is_paused = true;
        let time = now().saturating_duration_since(self.began);
        self.times.total = self.times.total.saturating_add(time);
        self.times.longest = self.times.longest.max(time);
    }

    /// The request ends: in a poll, or where it is dropped between two. `None` if its polls are not timed.
    #[inline]
    pub(super) fn end(&mut self, ended: impl FnOnce() -> Instant) -> Option<&PollTimes> {
        if self.is_under_way {
            self.stop(ended);
        }
        self.is_paused.then_some(&self.times)
    }
}
