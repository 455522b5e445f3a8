//! Requests in progress, each written by one worker, and labelled at a scrape.

#[cfg(test)]
mod model;
pub(crate) mod place;

use std::{
    collections::BTreeMap,
    ptr,
    sync::{
        Arc, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Instant,
};

use parking_lot::Mutex;

use crate::{
    in_flight::place::{Place, RouteOf, Seen},
    limit::{Limits, OTHER},
    route::labelling::{Labelling, Values, Verdict},
};

/// How many places of a table a scrape reads before the worker may add or remove one; labelling them needs no lock.
const READ_AT_ONCE: usize = 256;

/// The requests in progress of one worker.
pub(crate) struct InFlightTable {
    labelling: Arc<Labelling>,
    /// Locked by the worker only if it has more requests in progress than ever, or returns places.
    places: Mutex<Places>,
    keeps_arrivals: AtomicBool,
}

/// All places, by their numbers.
#[derive(Debug, Default)]
struct Places {
    all: BTreeMap<u64, Arc<Place>>,
    next: u64,
}

impl InFlightTable {
    /// Makes the table of one worker.
    pub(crate) fn new(labelling: Arc<Labelling>) -> Self {
        Self {
            labelling,
            places: Mutex::default(),
            keeps_arrivals: AtomicBool::new(false),
        }
    }

    /// The limits on labels of the registry that the requests are recorded in.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.labelling.limits
    }

    /// Makes a place for one request after the other.
    #[cold]
    pub(crate) fn add_place(&self) -> Arc<Place> {
        let mut places = self.places.lock();
        let number = places.next;
        places.next += 1;
        let place = Arc::new(Place::new(number));
        places.all.insert(number, Arc::clone(&place));
        place
    }

    /// Gives a place back, for good.
    #[cold]
    pub(crate) fn remove_place(&self, place: &Place) {
        self.places.lock().all.remove(&place.number);
    }

    /// From now on the arrivals of requests are recorded too.
    pub(crate) fn keep_arrivals(&self) {
        self.keeps_arrivals.store(true, Relaxed);
    }

    /// Records the arrival of a request, if that is needed.
    #[inline]
    pub(crate) fn note_arrival(&self, place: &Place, arrived: Instant) {
        if self.keeps_arrivals.load(Relaxed) {
            place.set_arrival(arrived);
        }
    }

    /// The requests in the places with these numbers and above, and the number of the first place that was not read;
    /// `None` where there are no more places.
    fn read(&self, first: u64) -> Option<(Vec<Seen>, u64)> {
        let places = self.places.lock();
        let read: Vec<_> = places.all.range(first..).take(READ_AT_ONCE).collect();
        let next = read.last()?.0 + 1;
        Some((read.iter().filter_map(|(_, place)| place.read()).collect(), next))
    }

    /// Decides on the labels of these requests, and notes the decisions.
    fn label_seen(&self, requests: &mut [Seen]) {
        for seen in requests {
            let RouteOf::Unknown(path) = &seen.route else {
                continue;
            };
            let (_, verdict) = self.labelling.verdict_as_arrived(path, Values::Admit);
            seen.note(verdict.clone());
            seen.route = RouteOf::Known(verdict);
        }
    }
}

/// The requests in progress that one monitor sees, over all its workers.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    tables: Mutex<Vec<Weak<InFlightTable>>>,
}

impl InFlight {
    /// Looks at the requests of one more worker, until the worker stops; `false` if it does already, as where workers
    /// share a monitor.
    pub(crate) fn add_table(&self, table: &Arc<InFlightTable>) -> bool {
        let mut tables = self.tables.lock();
        tables.retain(|table| table.strong_count() > 0);
        let is_new = !tables
            .iter()
            .any(|known| ptr::eq(known.as_ptr(), Arc::as_ptr(table)));
        if is_new {
            tables.push(Arc::downgrade(table));
        }
        is_new
    }

    /// Calls `each` with the method, the label of the route and the arrival of each request in progress, but for those
    /// that are excluded. A request that has no response yet has the label of its path as it arrived. Where no arrivals
    /// are kept, all are now.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&'static str, Arc<str>, Instant)) {
        let now = Instant::now();
        for table in self.tables() {
            let mut first = 0;
            while let Some((mut requests, next)) = table.read(first) {
                table.label_seen(&mut requests);
                for seen in requests {
                    let arrived = seen.arrived.unwrap_or(now);
                    match seen.route {
                        RouteOf::Known(Verdict::Label(label)) => each(seen.method, label, arrived),
                        RouteOf::Known(Verdict::OverLimit) => each(seen.method, OTHER.into(), arrived),
                        // Now all are known.
                        RouteOf::Known(Verdict::Excluded) | RouteOf::Unknown(_) => {}
                    }
                }
                first = next;
            }
        }
    }

    fn tables(&self) -> Vec<Arc<InFlightTable>> {
        self.tables.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
