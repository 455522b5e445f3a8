//! Requests in progress, written down by one worker each and labelled when somebody looks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, Weak},
    task::Poll,
};

use actix_web::{dev::ResourceDef, http::uri::PathAndQuery};
use slab::Slab;

use crate::{
    lock::lock,
    monitor::ScrapeStart,
    route::{self, RouteLabel, UNMATCHED},
};

/// How many requests a scrape labels before it lets the worker go on.
const LABELLED_AT_ONCE: usize = 32;

/// The requests in progress of one worker. Nobody else locks it but a scrape.
#[derive(Debug, Default)]
pub(crate) struct InFlightTable(Mutex<Slab<Entry>>);

/// A place in the table, for one request after the other.
#[derive(Debug)]
struct Entry {
    method: &'static str,
    /// `None` while there is no request.
    path: Option<PathAndQuery>,
    /// The route, once it is known: from the response, or from a scrape that looked before.
    route: Option<Arc<str>>,
}

impl InFlightTable {
    /// Makes a place, until it is given up.
    pub(crate) fn take_place(&self) -> usize {
        lock(&self.0).insert(Entry {
            method: "",
            path: None,
            route: None,
        })
    }

    pub(crate) fn give_up_place(&self, place: usize) {
        lock(&self.0).try_remove(place);
    }

    /// Writes down a request that arrived.
    #[inline]
    pub(crate) fn arrive(&self, place: usize, method: &'static str, path: PathAndQuery) {
        if let Some(entry) = lock(&self.0).get_mut(place) {
            entry.method = method;
            entry.path = Some(path);
        }
    }

    /// Labels a request by the route that served it.
    pub(crate) fn label(&self, place: usize, route: &Arc<str>) {
        if let Some(entry) = lock(&self.0).get_mut(place) {
            entry.route = Some(Arc::clone(route));
        }
    }

    /// Strikes a request out, and gives back the path as it arrived.
    #[inline]
    pub(crate) fn leave(&self, place: usize) -> Option<PathAndQuery> {
        let mut entries = lock(&self.0);
        let entry = entries.get_mut(place)?;
        entry.route = None;
        entry.path.take()
    }

    fn unlabelled(&self) -> Vec<(usize, PathAndQuery)> {
        let entries = lock(&self.0);
        let unlabelled = entries.iter().filter(|(_, entry)| entry.route.is_none());
        unlabelled
            .filter_map(|(place, entry)| Some((place, entry.path.clone()?)))
            .collect()
    }

    /// Labels requests by what `find` knows. Looks the labels up before it locks the table to write them down.
    fn label_all(
        &self,
        requests: &[(usize, PathAndQuery)],
        find: impl Fn(&PathAndQuery) -> Option<Arc<str>>,
    ) {
        let labels: Vec<_> = requests.iter().map(|(_, path)| find(path)).collect();
        let mut entries = lock(&self.0);
        for ((place, path), label) in requests.iter().zip(labels) {
            // The request may have ended, and its place be that of another.
            if let Some(entry) = entries.get_mut(*place)
                && entry.route.is_none()
                && entry.path.as_ref() == Some(path)
            {
                entry.route = label;
            }
        }
    }
}

/// The requests in progress that one monitor sees, over all its workers.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    tables: Mutex<Vec<Weak<InFlightTable>>>,
    /// The routes that requests have ended with: what is known where the application is not at hand.
    routes: Mutex<Vec<(ResourceDef, Arc<str>)>>,
}

impl InFlight {
    /// Looks at the requests of one more worker, until the worker stops.
    pub(crate) fn add_table(&self, table: &Arc<InFlightTable>) {
        let mut tables = lock(&self.tables);
        tables.retain(|table| table.strong_count() > 0);
        tables.push(Arc::downgrade(table));
    }

    /// Learns a route that a request has ended with.
    pub(crate) fn add_route(&self, route: &RouteLabel) {
        let Some(pattern) = &route.pattern else { return };
        let mut routes = lock(&self.routes);
        if !routes.iter().any(|(_, label)| *label == route.text) {
            routes.push((ResourceDef::new(&**pattern), Arc::clone(&route.text)));
        }
    }

    /// Labels what has no label yet by the route table of the application that is scraped, a slice at a time.
    pub(crate) async fn label(&self, scrape: &ScrapeStart) {
        for table in self.tables() {
            for slice in table.unlabelled().chunks(LABELLED_AT_ONCE) {
                table.label_all(slice, |path| scrape.route(path).map(Into::into));
                yield_now().await;
            }
        }
    }

    /// Adds the requests in progress to `gauge`, by method and route. What has no label yet gets that of an application
    /// on this thread, else of a route that requests have ended with, else none.
    pub(crate) fn add_to(&self, gauge: &mut BTreeMap<(&'static str, Arc<str>), i64>) {
        for table in self.tables() {
            table.label_all(&table.unlabelled(), |path| {
                let label = route::label_on_this_thread(path).map(Into::into);
                label.or_else(|| self.label_of_ended(path))
            });
            for (_, entry) in lock(&table.0).iter() {
                if entry.path.is_some() {
                    let route = entry.route.clone().unwrap_or_else(|| UNMATCHED.into());
                    *gauge.entry((entry.method, route)).or_default() += 1;
                }
            }
        }
    }

    fn label_of_ended(&self, path: &PathAndQuery) -> Option<Arc<str>> {
        let path = route::decoded(path);
        let routes = lock(&self.routes);
        let found = routes.iter().find(|(route, _)| route.is_match(path.path()))?;
        Some(Arc::clone(&found.1))
    }

    fn tables(&self) -> Vec<Arc<InFlightTable>> {
        lock(&self.tables).iter().filter_map(Weak::upgrade).collect()
    }
}

/// Lets other tasks of this thread run once.
async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if yielded {
            return Poll::Ready(());
        }
        yielded = true;
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
