//! Requests in progress, written down by one worker each and labelled when somebody looks.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use actix_web::http::uri::PathAndQuery;
use parking_lot::Mutex;
use slab::Slab;

use crate::{
    limit::{Limits, OTHER},
    route::labelling::{Labelling, NewPath, Verdict},
};

/// How many places of a table a scrape reads before it lets the worker have it; labelling them needs no lock.
const READ_AT_ONCE: usize = 256;

/// An empty table with more places than this gives its memory back.
const KEPT_PLACES: usize = 1_024;

/// The requests in progress of one worker. Nobody else locks it but a scrape.
#[derive(Debug)]
pub(crate) struct InFlightTable {
    labelling: Arc<Labelling>,
    entries: Mutex<Slab<Entry>>,
}

/// A request in progress.
#[derive(Debug)]
struct Entry {
    method: &'static str,
    arrived: Instant,
    label: Label,
}

/// What is known of the route of a request in progress.
#[derive(Clone, Debug)]
pub(crate) enum Label {
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
    label: Label,
}

impl InFlightTable {
    /// Makes the table of one worker.
    pub(crate) fn new(labelling: Arc<Labelling>) -> Self {
        Self {
            labelling,
            entries: Mutex::default(),
        }
    }

    /// The limits on labels of the registry that the requests are recorded in.
    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.labelling.limits
    }

    /// Writes down a request that arrived, and gives back its place.
    #[inline]
    pub(crate) fn arrive(&self, method: &'static str, path: PathAndQuery, arrived: Instant) -> usize {
        self.entries.lock().insert(Entry {
            method,
            arrived,
            label: Label::Unknown(path),
        })
    }

    /// Labels a request by the route that served it, and forgets its path.
    pub(crate) fn label(&self, place: usize, label: &Arc<str>) {
        if let Some(entry) = self.entries.lock().get_mut(place) {
            entry.label = Label::Known(Verdict::Label(Arc::clone(label)));
        }
    }

    /// Strikes a request out, and gives back what was known of its route.
    #[inline]
    pub(crate) fn leave(&self, place: usize) -> Option<Label> {
        let mut entries = self.entries.lock();
        let entry = entries.try_remove(place)?;
        if entries.is_empty() && entries.capacity() > KEPT_PLACES {
            entries.shrink_to_fit();
        }
        Some(entry.label)
    }

    /// The requests in the places from `first` on; `None` where there are no more places.
    fn read(&self, first: usize) -> Option<Vec<Seen>> {
        let entries = self.entries.lock();
        if first >= entries.capacity() {
            return None;
        }
        let places = first..first.saturating_add(READ_AT_ONCE);
        let seen = places.filter_map(|place| {
            let entry = entries.get(place)?;
            Some(Seen {
                place,
                method: entry.method,
                arrived: entry.arrived,
                label: entry.label.clone(),
            })
        });
        Some(seen.collect())
    }

    /// Decides on the labels of these requests, and notes the decisions.
    fn label_seen(&self, requests: &mut [Seen]) {
        let mut found = Vec::new();
        for seen in requests {
            if let Label::Unknown(path) = &seen.label {
                let (_, verdict) = self.labelling.verdict_as_arrived(path, NewPath::Admit);
                let path = path.clone();
                seen.label = Label::Known(verdict.clone());
                found.push((seen.place, path, verdict));
            }
        }
        if found.is_empty() {
            return;
        }
        let mut entries = self.entries.lock();
        for (place, path, verdict) in found {
            // The request may have ended, and its place be that of another.
            if let Some(entry) = entries.get_mut(place)
                && matches!(&entry.label, Label::Unknown(known) if *known == path)
            {
                entry.label = Label::Known(verdict);
            }
        }
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
                table.label_seen(&mut requests);
                for seen in requests {
                    match seen.label {
                        Label::Known(Verdict::Label(label)) => each(seen.method, label, seen.arrived),
                        Label::Known(Verdict::OverLimit) => each(seen.method, OTHER.into(), seen.arrived),
                        Label::Known(Verdict::Excluded) | Label::Unknown(_) => {}
                    }
                }
                first += READ_AT_ONCE;
            }
        }
    }

    /// Calls `each` with the method of each request in progress, but for those that are excluded.
    pub(crate) fn for_each_method(&self, mut each: impl FnMut(&'static str)) {
        for table in self.tables() {
            let mut first = 0;
            while let Some(mut requests) = table.read(first) {
                if table.labelling.rules.excludes_any() {
                    table.label_seen(&mut requests);
                }
                for seen in requests {
                    if !matches!(seen.label, Label::Known(Verdict::Excluded)) {
                        each(seen.method);
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
