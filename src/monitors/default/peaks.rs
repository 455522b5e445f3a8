//! Peaks: the most requests that were in progress at a time, over all workers, in the last minute.

use std::{
    array,
    cell::RefCell,
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU32, AtomicU64,
            Ordering::{AcqRel, Acquire, Relaxed},
        },
    },
    time::Instant,
};

use foldhash::HashMap;
use parking_lot::Mutex;

use crate::{
    method::MethodLabel,
    monitor::hooks::{RequestStart, ResponseStart},
    route::{arrived_path, labelling::decoded},
    series::grouping::GroupBy,
};

/// The length of the slots into which the last minute is divided.
const SLOT_SECONDS: u64 = 5;

/// The slots of a minute, and the current one.
const SLOTS: u32 = 13;

/// The peaks of one monitor.
#[derive(Debug)]
pub(super) struct Peaks {
    began: Instant,
    /// The labels of the series: the peak of a route is not the sum of the peaks of its methods.
    group_by: GroupBy,
    all: Mutex<BTreeMap<Key, Arc<Peak>>>,
}

/// The method and the label of the route, each empty if the series do not have it.
type Key = (&'static str, Arc<str>);

impl Peaks {
    pub(super) fn new(group_by: GroupBy) -> Self {
        Self {
            began: Instant::now(),
            group_by,
            all: Mutex::default(),
        }
    }

    fn peak(&self, method: &'static str, route: &Arc<str>) -> Arc<Peak> {
        let method = if self.group_by.method { method } else { "" };
        let route = if self.group_by.route {
            Arc::clone(route)
        } else {
            "".into()
        };
        let mut all = self.all.lock();
        let peak = all
            .entry((method, route))
            .or_insert_with(|| Arc::new(Peak::new(self.began)));
        Arc::clone(peak)
    }

    /// Calls `each` with the method, the label of the route and the peak of each series.
    pub(super) fn for_each(&self, mut each: impl FnMut(&'static str, Arc<str>, u32)) {
        let now = Instant::now();
        for ((method, route), peak) in &*self.all.lock() {
            each(method, Arc::clone(route), peak.of_last_minute(now));
        }
    }
}

/// The requests of one series.
///
/// Each change of their number notes the higher of both in its slot. If nothing changes, the number is that of the
/// next change, or of now. So no moment is missed, however long requests take.
#[derive(Debug)]
struct Peak {
    began: Instant,
    running: AtomicU32,
    /// The number of a slot, and in the lower half the number noted in it. A slot with a higher number replaces
    /// the one before, because it is more.
    slots: [AtomicU64; SLOTS as usize],
}

impl Peak {
    fn new(began: Instant) -> Self {
        Self {
            began,
            running: AtomicU32::new(0),
            slots: array::from_fn(|_| AtomicU64::new(0)),
        }
    }

    #[expect(clippy::cast_possible_truncation, reason = "it is enough for 680 years")]
    fn slot(&self, at: Instant) -> u32 {
        (at.saturating_duration_since(self.began).as_secs() / SLOT_SECONDS) as u32
    }

    fn note(&self, at: Instant, running: u32) {
        let slot = self.slot(at);
        let noted = u64::from(slot) << 32 | u64::from(running);
        let place = &self.slots[(slot % SLOTS) as usize];
        // Usually it is no peak, and other workers need not be disturbed.
        if place.load(Relaxed) < noted {
            place.fetch_max(noted, Relaxed);
        }
    }

    fn enter(&self, at: Instant) {
        let before = self.running.fetch_add(1, AcqRel);
        self.note(at, before.saturating_add(1));
    }

    fn leave(&self, at: Instant) {
        // Before it is gone: a scrape in between would see neither.
        self.note(at, self.running.load(Acquire));
        self.running.fetch_sub(1, AcqRel);
    }

    #[expect(clippy::cast_possible_truncation, reason = "the lower half is meant")]
    fn of_last_minute(&self, now: Instant) -> u32 {
        let oldest = (self.slot(now) + 1).saturating_sub(SLOTS);
        let noted = self.slots.iter().map(|slot| slot.load(Relaxed));
        let noted = noted.filter(|noted| noted >> 32 >= u64::from(oldest));
        let most = noted.map(|noted| noted as u32).max();
        most.unwrap_or(0).max(self.running.load(Relaxed))
    }
}

/// A request in progress, until this is dropped.
pub(super) struct Running {
    /// `None` when it has ended.
    peak: Option<Arc<Peak>>,
    /// The label under which it runs.
    route: Arc<str>,
}

impl Running {
    fn begin(peak: &Arc<Peak>, route: &Arc<str>, at: Instant) -> Self {
        peak.enter(at);
        Self {
            peak: Some(Arc::clone(peak)),
            route: Arc::clone(route),
        }
    }

    /// The request ends at this moment, which has been read from the clock already.
    #[inline(never)]
    pub(super) fn end(mut self, at: Instant) {
        if let Some(peak) = self.peak.take() {
            peak.leave(at);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(peak) = self.peak.take() {
            peak.leave(Instant::now());
        }
    }
}

/// One worker's view of the peaks, by the labels of routes: as many as there are labels.
#[derive(Default)]
pub(super) struct PeaksOfWorker(RefCell<HashMap<Arc<str>, OfLabel>>);

/// What a worker knows of one label.
#[derive(Default)]
struct OfLabel {
    /// Whether a request whose path equals the label is counted under it; unknown at first. So the
    /// routes without parameters are looked up once.
    counts_path: Option<bool>,
    peaks: Vec<(&'static MethodLabel, Arc<Peak>)>,
}

impl PeaksOfWorker {
    /// Counts a request that arrived, unless it is excluded, under the label of its path as it arrived.
    pub(super) fn arrive(&self, peaks: &Peaks, request: &RequestStart<'_>) -> Option<Running> {
        let at = request.facts.map_or_else(Instant::now, |facts| facts.arrived);
        let method = request.method;
        // Decoded, as it is to be routed; another middleware may have put a path in its place.
        let path = request.request.match_info().as_str();
        let is_plain = path == request.request.uri().path();
        if is_plain
            && let Some((label, known)) = self.0.borrow().get_key_value(path)
            && let Some(counts) = known.counts_path
        {
            if !counts {
                return None;
            }
            if let Some(peak) = known.peak(method) {
                return Some(Running::begin(peak, label, at));
            }
        }
        let label = if is_plain {
            request.routes.label_on_arrival(path)
        } else {
            request
                .routes
                .label_on_arrival(decoded(&arrived_path(request.request)).path())
        };
        if is_plain && let Some(route) = request.routes.labelling.table.label(path) {
            let counts = match &label {
                Some(label) => (*label == route).then_some(true),
                None => Some(false),
            };
            self.0.borrow_mut().entry(route).or_default().counts_path = counts;
        }
        Some(self.begin(peaks, method, &label?, at))
    }

    /// Counts a request under the label of its response, if it is not counted under that: it has another, or was excluded
    /// as it arrived.
    pub(super) fn respond(&self, peaks: &Peaks, running: &mut Option<Running>, response: &ResponseStart<'_>) {
        let route = &response.route_label().text;
        // Without the label of the route, it would be counted twice for a moment.
        if let Some(running) = running
            && (!peaks.group_by.route || Arc::ptr_eq(&running.route, route) || running.route == *route)
        {
            return;
        }
        let at = response.facts.arrived + response.elapsed();
        *running = Some(self.begin(peaks, response.facts.method, route, at));
    }

    fn begin(&self, peaks: &Peaks, method: &'static MethodLabel, label: &Arc<str>, at: Instant) -> Running {
        let mut labels = self.0.borrow_mut();
        let of_label = labels.entry(Arc::clone(label)).or_default();
        if let Some(peak) = of_label.peak(method) {
            return Running::begin(peak, label, at);
        }
        let peak = peaks.peak(method.text, label);
        let running = Running::begin(&peak, label, at);
        of_label.peaks.push((method, peak));
        running
    }

    /// Forgets the routes of another application.
    pub(super) fn clear(&self) {
        self.0.borrow_mut().clear();
    }
}

impl OfLabel {
    fn peak(&self, method: &'static MethodLabel) -> Option<&Arc<Peak>> {
        let mut peaks = self.peaks.iter();
        let (_, peak) = peaks.find(|(known, _)| known.number == method.number)?;
        Some(peak)
    }
}

impl fmt::Debug for Running {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Running")
            .field("route", &self.route)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Peak;

    /// A peak, and the moment so many seconds after it began.
    fn peak() -> (Peak, impl Fn(u64) -> Instant) {
        let began = Instant::now();
        (Peak::new(began), move |seconds| {
            began + Duration::from_secs(seconds)
        })
    }

    #[test]
    fn a_peak_is_seen_for_a_minute_and_forgotten_within_five_seconds_more() {
        let (peak, at) = peak();
        for _ in 0..7 {
            peak.enter(at(3));
        }
        for _ in 0..7 {
            peak.leave(at(4));
        }
        assert_eq!(peak.of_last_minute(at(4)), 7);
        assert_eq!(peak.of_last_minute(at(64)), 7);
        assert_eq!(peak.of_last_minute(at(65)), 0);
        assert_eq!(peak.of_last_minute(at(10_000)), 0);
    }

    #[test]
    fn requests_that_run_for_long_are_a_peak_as_long_as_they_run_and_a_minute_after() {
        let (peak, at) = peak();
        for _ in 0..3 {
            peak.enter(at(0));
        }
        assert_eq!(peak.of_last_minute(at(900)), 3);
        for _ in 0..3 {
            peak.leave(at(1_000));
        }
        assert_eq!(peak.of_last_minute(at(1_060)), 3);
        assert_eq!(peak.of_last_minute(at(1_065)), 0);
    }

    #[test]
    fn a_smaller_peak_is_seen_when_the_greater_is_forgotten() {
        let (peak, at) = peak();
        for (second, requests) in [(0, 9), (30, 4), (50, 2)] {
            for _ in 0..requests {
                peak.enter(at(second));
            }
            for _ in 0..requests {
                peak.leave(at(second));
            }
        }
        let seen = [59, 64, 65, 94, 95, 114, 115].map(|second| peak.of_last_minute(at(second)));
        assert_eq!(seen, [9, 9, 4, 4, 2, 2, 0]);
    }

    #[test]
    fn one_after_the_other_is_no_peak() {
        let (peak, at) = peak();
        for second in 0..100 {
            peak.enter(at(second));
            peak.leave(at(second));
        }
        assert_eq!(peak.of_last_minute(at(100)), 1);
    }

    #[test]
    fn a_note_that_comes_late_replaces_nothing() {
        let (peak, at) = peak();
        peak.note(at(130), 2);
        // The same place, two minutes before.
        peak.note(at(0), 50);
        assert_eq!(peak.of_last_minute(at(130)), 2);
    }
}
