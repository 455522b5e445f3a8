//! Requests under way, written down by one worker each and labelled when somebody looks.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex},
    task::Poll,
};

use actix_web::http::uri::PathAndQuery;
use slab::Slab;

use crate::{lock::lock, monitor::ScrapeStart, route};

/// How many requests a scrape labels before it lets the worker go on.
const LABELLED_AT_ONCE: usize = 32;

/// The requests under way of one monitor, over all its workers.
#[derive(Debug, Default)]
pub(crate) struct InFlight {
    workers: Mutex<Vec<Arc<Table>>>,
}

/// The requests under way of one worker; a scrape is the only other one to lock it.
type Table = Mutex<Slab<Entry>>;

#[derive(Debug)]
struct Entry {
    method: &'static str,
    path: PathAndQuery,
    /// The route, once it is known: from the response, or from a scrape that looked before.
    route: Option<Arc<str>>,
}

impl InFlight {
    /// Labels what has no label yet by the route table of the application that is scraped, a slice at a time.
    pub(crate) async fn label(&self, scrape: &ScrapeStart) {
        let tables = lock(&self.workers).clone();
        for table in tables {
            let unlabelled: Vec<_> = lock(&table)
                .iter()
                .filter(|(_, entry)| entry.route.is_none())
                .map(|(key, entry)| (key, entry.path.clone()))
                .collect();
            for slice in unlabelled.chunks(LABELLED_AT_ONCE) {
                label_slice(&table, slice, scrape);
                yield_now().await;
            }
        }
    }

    /// Adds the requests under way to `gauge`, by method and route.
    pub(crate) fn add_to(&self, gauge: &mut BTreeMap<(&'static str, Arc<str>), i64>) {
        let mut unlabelled = Vec::new();
        for table in lock(&self.workers).iter() {
            for (_, entry) in lock(table).iter() {
                match &entry.route {
                    Some(route) => *gauge.entry((entry.method, Arc::clone(route))).or_default() += 1,
                    None => unlabelled.push((entry.method, entry.path.clone())),
                }
            }
        }
        for (method, path) in unlabelled {
            *gauge
                .entry((method, route::label_on_this_thread(&path).into()))
                .or_default() += 1;
        }
    }
}

/// One worker's hand on its table.
#[derive(Debug)]
pub(crate) struct WorkerInFlight {
    in_flight: Arc<InFlight>,
    table: Arc<Table>,
}

impl WorkerInFlight {
    pub(crate) fn new(in_flight: &Arc<InFlight>) -> Self {
        let table = Arc::<Table>::default();
        lock(&in_flight.workers).push(Arc::clone(&table));
        Self {
            in_flight: Arc::clone(in_flight),
            table,
        }
    }

    /// Writes down a request that arrived; the key is its until it leaves.
    pub(crate) fn arrive(&self, method: &'static str, path: PathAndQuery) -> usize {
        lock(&self.table).insert(Entry {
            method,
            path,
            route: None,
        })
    }

    /// Labels a request by the route that served it.
    pub(crate) fn label(&self, key: usize, route: &Arc<str>) {
        if let Some(entry) = lock(&self.table).get_mut(key) {
            entry.route = Some(Arc::clone(route));
        }
    }

    pub(crate) fn leave(&self, key: usize) {
        lock(&self.table).try_remove(key);
    }
}

impl Drop for WorkerInFlight {
    fn drop(&mut self) {
        lock(&self.in_flight.workers).retain(|table| !Arc::ptr_eq(table, &self.table));
    }
}

/// Holds the lock of the worker while it writes labels down, not while it looks them up.
fn label_slice(table: &Table, slice: &[(usize, PathAndQuery)], scrape: &ScrapeStart) {
    let labels: Vec<_> = slice.iter().map(|(_, path)| scrape.route(path)).collect();
    let mut table = lock(table);
    for ((key, path), label) in slice.iter().zip(labels) {
        // The request may have ended, and its key be that of another.
        if let Some(entry) = table.get_mut(*key)
            && entry.route.is_none()
            && entry.path == *path
        {
            entry.route = label.map(Into::into);
        }
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
