//! Requests in progress, written down by one worker each and labelled when somebody looks.

use crate::limit::Limits;
use std::{
    sync::{Arc, Weak},
    thread::{self, ThreadId},
    time::Instant,
};

use actix_web::{http::uri::PathAndQuery, rt::task::yield_now};
use parking_lot::Mutex;
use slab::Slab;

use crate::{
    monitor::hooks::ScrapeStart,
    route::{
        KnownRoutes, RouteLabel,
        kept::{Labelling, Shown},
        shown_on_this_thread,
    },
};

/// How many requests a scrape labels before it lets the worker go on. A walk over 500 routes can take 0.07 ms.
const LABELLED_AT_ONCE: usize = 8;

/// The requests in progress of one worker. Nobody else locks it but a scrape.
#[derive(Debug)]
pub(crate) struct InFlightTable {
    thread: ThreadId,
    labelling: Arc<Labelling>,
    entries: Mutex<Slab<Entry>>,
}

/// A place in the table, for one request after the other.
#[derive(Debug)]
struct Entry {
    method: &'static str,
    arrived: Instant,
    /// `None` while there is no request.
    path: Option<PathAndQuery>,
    /// The route, once it is known: from the response, or from a scrape that looked before.
    route: Option<Shown>,
}

/// A request in progress at the moment of a look at the table.
struct Seen {
    place: usize,
    method: &'static str,
    arrived: Instant,
    /// Looked at only where there is no route yet.
    path: Option<PathAndQuery>,
    route: Option<Shown>,
}

impl Seen {
    fn label(&mut self, find: impl FnOnce(&PathAndQuery) -> Option<Shown>) {
        if self.route.is_none() {
            self.route = self.path.as_ref().and_then(find);
        }
    }
}

impl InFlightTable {
    /// Makes the table of the worker that runs on this thread.
    pub(crate) fn new(labelling: Arc<Labelling>) -> Self {
        Self {
            thread: thread::current().id(),
            labelling,
            entries: Mutex::default(),
        }
    }

    pub(crate) fn limits(&self) -> &Arc<Limits> {
        &self.labelling.limits
    }

    /// Makes a place, until it is given up.
    pub(crate) fn take_place(&self, now: Instant) -> usize {
        self.entries.lock().insert(Entry {
            method: "",
            arrived: now,
            path: None,
            route: None,
        })
    }

    pub(crate) fn give_up_place(&self, place: usize) {
        self.entries.lock().try_remove(place);
    }

    /// Writes down a request that arrived.
    #[inline]
    pub(crate) fn arrive(&self, place: usize, method: &'static str, path: PathAndQuery, arrived: Instant) {
        if let Some(entry) = self.entries.lock().get_mut(place) {
            entry.method = method;
            entry.arrived = arrived;
            entry.path = Some(path);
        }
    }

    /// Labels a request by the route that served it.
    pub(crate) fn label(&self, place: usize, route: &Arc<str>) {
        if let Some(entry) = self.entries.lock().get_mut(place) {
            entry.route = Some(Shown::As(Arc::clone(route)));
        }
    }

    /// Strikes a request out, and gives back the path as it arrived.
    #[inline]
    pub(crate) fn leave(&self, place: usize) -> Option<PathAndQuery> {
        let mut entries = self.entries.lock();
        let entry = entries.get_mut(place)?;
        entry.route = None;
        entry.path.take()
    }

    fn look(&self) -> Vec<Seen> {
        let entries = self.entries.lock();
        let requests = entries.iter().filter(|(_, entry)| entry.path.is_some());
        requests
            .map(|(place, entry)| Seen {
                place,
                method: entry.method,
                arrived: entry.arrived,
                path: entry.path.clone().filter(|_| entry.route.is_none()),
                route: entry.route.clone(),
            })
            .collect()
    }

    /// Writes down the labels that were found since the look.
    fn keep_labels(&self, requests: &[Seen]) {
        let mut entries = self.entries.lock();
        for seen in requests.iter().filter(|seen| seen.path.is_some()) {
            // The request may have ended, and its place be that of another.
            if let Some(entry) = entries.get_mut(seen.place)
                && entry.route.is_none()
                && entry.path == seen.path
            {
                entry.route.clone_from(&seen.route);
            }
        }
    }
}

/// The requests in progress that one monitor sees, over all its workers.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    tables: Mutex<Vec<Weak<InFlightTable>>>,
    /// The routes that requests have ended with: what is known where the application is not at hand.
    ended: KnownRoutes,
}

impl InFlight {
    /// Looks at the requests of one more worker, until the worker stops.
    pub(crate) fn add_table(&self, table: &Arc<InFlightTable>) {
        let mut tables = self.tables.lock();
        tables.retain(|table| table.strong_count() > 0);
        tables.push(Arc::downgrade(table));
    }

    /// Learns a route that a request has ended with.
    pub(crate) fn add_route(&self, route: &RouteLabel) {
        if let Some(pattern) = &route.pattern {
            self.ended.learn(pattern);
        }
    }

    /// Labels what has no label yet by the route table of the application that is scraped, a slice at a time.
    pub(crate) async fn label(&self, scrape: &ScrapeStart) {
        let tables = self.tables();
        let here = thread::current().id();
        if !tables.iter().any(|table| table.thread == here) {
            // An application that measures nothing, such as one on another port for `/metrics` alone: its routes
            // are not those of the requests.
            return;
        }
        for table in tables {
            let mut requests = table.look();
            requests.retain(|seen| seen.route.is_none());
            for slice in requests.chunks_mut(LABELLED_AT_ONCE) {
                for seen in &mut *slice {
                    seen.label(|path| {
                        let routes = scrape.request.resource_map();
                        table.labelling.shown(path, |path| routes.match_pattern(path))
                    });
                }
                table.keep_labels(slice);
                // Not by waking oneself: with a task that is always ready tokio looks for new input only now and then.
                yield_now().await;
            }
        }
    }

    /// Calls `each` with the method, the route and the arrival of each request in progress. What has no label yet gets
    /// that of an application on this thread, else of a route that requests have ended with, else none. What is left
    /// out is not among them.
    pub(crate) fn for_each(&self, mut each: impl FnMut(&'static str, Arc<str>, Instant)) {
        for table in self.tables() {
            let mut requests = table.look();
            for seen in &mut requests {
                seen.label(|path| {
                    let shown = shown_on_this_thread(&table.labelling, path);
                    let known = [&self.ended, table.labelling.options.special_routes()];
                    shown.or_else(|| table.labelling.shown(path, |path| KnownRoutes::find(known, path)))
                });
            }
            table.keep_labels(&requests);
            for seen in requests {
                match seen.route.unwrap_or_else(|| table.labelling.shown_unmatched()) {
                    Shown::As(route) => each(seen.method, route, seen.arrived),
                    Shown::LeftOut => {}
                }
            }
        }
    }

    /// Calls `each` with the method of each request in progress: without a look for its route.
    pub(crate) fn for_each_method(&self, mut each: impl FnMut(&'static str)) {
        for table in self.tables() {
            let entries = table.entries.lock();
            let requests = entries.iter().filter(|(_, entry)| entry.path.is_some());
            requests.for_each(|(_, entry)| each(entry.method));
        }
    }

    fn tables(&self) -> Vec<Arc<InFlightTable>> {
        self.tables.lock().iter().filter_map(Weak::upgrade).collect()
    }
}
