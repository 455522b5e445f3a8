//! Requests in progress, written down by one worker each and labelled when somebody looks.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use actix_web::http::uri::PathAndQuery;
use parking_lot::Mutex;

use crate::{
    limit::{Limits, OTHER},
    route::labelling::{Labelling, Values, Verdict},
};

/// How many places of a table a scrape reads before it lets the worker have it; labelling them needs no lock.
const READ_AT_ONCE: usize = 256;

/// A table with more places than this gives the memory of free ones back.
const KEPT_PLACES: usize = 1_024;

/// The requests in progress of one worker. Nobody else locks it but a scrape.
#[derive(Debug)]
pub(crate) struct InFlightTable {
    labelling: Arc<Labelling>,
    places: Mutex<Places>,
}

/// Places for requests, which are written where they lie.
#[derive(Debug, Default)]
struct Places {
    all: Vec<Place>,
    taken: usize,
    /// The place that became free last; each free one knows the one that did before it.
    free: Option<usize>,
}

#[derive(Debug)]
struct Place {
    method: &'static str,
    arrived: Instant,
    /// `None` while the place is free.
    label: Option<RouteOf>,
    next_free: Option<usize>,
}

/// What is known of the route of a request in progress.
#[derive(Clone, Debug)]
pub(crate) enum RouteOf {
    /// Nothing yet: the path as it arrived.
    Unknown(PathAndQuery),
    /// From the response, or from a scrape that looked before.
    Known(Verdict),
}

/// A request in progress when a table was read.
struct Seen {
    place: usize,
    method: &'static str,
    arrived: Instant,
    label: RouteOf,
}

impl InFlightTable {
    /// Makes the table of one worker.
    pub(crate) fn new(labelling: Arc<Labelling>) -> Self {
        Self {
            labelling,
            places: Mutex::default(),
        }
    }

    /// The limits on labels of the registry that the requests are recorded in.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.labelling.limits
    }

    /// Writes down a request that arrived, and gives back its place.
    #[inline]
    pub(crate) fn arrive(&self, method: &'static str, path: PathAndQuery, arrived: Instant) -> usize {
        let mut places = self.places.lock();
        places.taken += 1;
        let label = Some(RouteOf::Unknown(path));
        let Some(free) = places.free else {
            return places.add(method, label, arrived);
        };
        let place = &mut places.all[free];
        place.method = method;
        place.arrived = arrived;
        place.label = label;
        places.free = place.next_free;
        free
    }

    /// Labels a request by the route that served it, and forgets its path.
    pub(crate) fn label(&self, place: usize, label: &Arc<str>) {
        if let Some(place) = self.places.lock().all.get_mut(place) {
            place.label = Some(RouteOf::Known(Verdict::Label(Arc::clone(label))));
        }
    }

    /// What is known of the route of a request.
    #[cold]
    pub(crate) fn label_of(&self, place: usize) -> Option<RouteOf> {
        let places = self.places.lock();
        places.all.get(place)?.label.clone()
    }

    /// Strikes a request out.
    #[inline]
    pub(crate) fn leave(&self, number: usize) {
        let mut places = self.places.lock();
        let next_free = places.free;
        let Some(place) = places.all.get_mut(number) else {
            return;
        };
        place.label = None;
        place.next_free = next_free;
        places.free = Some(number);
        places.taken -= 1;
        // On the way down from a burst at one number after the other of halves.
        let is_empty =
            places.taken * 4 <= places.all.len() && (places.taken == 0 || places.taken.is_power_of_two());
        if is_empty && places.all.len() > KEPT_PLACES {
            places.shrink();
        }
    }

    /// The requests in the places from `first` on; `None` where there are no more places.
    fn read(&self, first: usize) -> Option<Vec<Seen>> {
        let places = self.places.lock();
        let from_first = places.all.get(first..).filter(|rest| !rest.is_empty())?;
        let seen = from_first.iter().take(READ_AT_ONCE).zip(first..);
        let seen = seen.filter_map(|(entry, place)| {
            Some(Seen {
                place,
                method: entry.method,
                arrived: entry.arrived,
                label: entry.label.clone()?,
            })
        });
        Some(seen.collect())
    }

    /// Decides on the labels of these requests, and notes the decisions.
    fn label_seen(&self, requests: &mut [Seen], values: Values) {
        let mut found = Vec::new();
        for seen in requests {
            if let RouteOf::Unknown(path) = &seen.label {
                let (route, verdict) = self.labelling.verdict_as_arrived(path, values);
                let is_final = values == Values::Admit
                    || !route.is_some_and(|route| self.labelling.keeps_values_of(route));
                let path = path.clone();
                seen.label = RouteOf::Known(verdict.clone());
                if is_final {
                    found.push((seen.place, path, verdict));
                }
            }
        }
        if found.is_empty() {
            return;
        }
        let mut places = self.places.lock();
        for (place, path, verdict) in found {
            // The request may have ended, and its place be that of another.
            if let Some(entry) = places.all.get_mut(place)
                && matches!(&entry.label, Some(RouteOf::Unknown(known)) if *known == path)
            {
                entry.label = Some(RouteOf::Known(verdict));
            }
        }
    }
}

impl Places {
    /// Gives back the memory of the free places at the end.
    #[cold]
    fn shrink(&mut self) {
        let last_taken = self.all.iter().rposition(|place| place.label.is_some());
        self.all.truncate(last_taken.map_or(0, |last| last + 1));
        self.all.shrink_to_fit();
        self.free = None;
        for (number, place) in self.all.iter_mut().enumerate() {
            if place.label.is_none() {
                place.next_free = self.free.replace(number);
            }
        }
    }

    #[cold]
    fn add(&mut self, method: &'static str, label: Option<RouteOf>, arrived: Instant) -> usize {
        self.all.push(Place {
            method,
            arrived,
            label,
            next_free: None,
        });
        self.all.len() - 1
    }
}

/// The requests in progress that one monitor sees, over all its workers.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    tables: Mutex<Vec<Weak<InFlightTable>>>,
}

impl InFlight {
    /// Looks at the requests of one more worker, until the worker stops.
    pub(crate) fn add_table(&self, table: &Arc<InFlightTable>) {
        let mut tables = self.tables.lock();
        tables.retain(|table| table.strong_count() > 0);
        tables.push(Arc::downgrade(table));
    }

    /// Calls `each` with the method, the label of the route and the arrival of each request in progress, but for those
    /// that are excluded. A request that has no response yet has the label of its path as it arrived.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&'static str, Arc<str>, Instant)) {
        for table in self.tables() {
            let mut first = 0;
            while let Some(mut requests) = table.read(first) {
                table.label_seen(&mut requests, Values::Admit);
                for seen in requests {
                    match seen.label {
                        RouteOf::Known(Verdict::Label(label)) => each(seen.method, label, seen.arrived),
                        RouteOf::Known(Verdict::OverLimit) => each(seen.method, OTHER.into(), seen.arrived),
                        // None is unknown any more.
                        RouteOf::Known(Verdict::Excluded) | RouteOf::Unknown(_) => {}
                    }
                }
                first += READ_AT_ONCE;
            }
        }
    }

    fn tables(&self) -> Vec<Arc<InFlightTable>> {
        self.tables.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
