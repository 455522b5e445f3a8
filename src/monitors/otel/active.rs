//! Requests in progress, by method and scheme. The tables of the middleware do not know the scheme of a request.

use std::{
    collections::BTreeMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;

use crate::monitors::otel::scheme::Scheme;

/// The requests in progress of all workers.
#[derive(Debug, Default)]
pub(super) struct ActiveRequests(Mutex<Vec<Weak<WorkerActive>>>);

/// The requests in progress of one worker. Only a scrape locks it besides.
#[derive(Debug, Default)]
pub(super) struct WorkerActive(Mutex<Vec<Group>>);

#[derive(Debug)]
struct Group {
    method: &'static str,
    scheme: Scheme,
    requests: i64,
}

/// A request in progress, until it is dropped.
#[derive(Debug)]
pub(super) struct Active {
    worker: Arc<WorkerActive>,
    group: usize,
}

impl ActiveRequests {
    /// Shows the requests of one more worker, until it stops.
    pub(super) fn add_worker(&self) -> Arc<WorkerActive> {
        let worker = Arc::default();
        let mut workers = self.0.lock();
        workers.retain(|worker| worker.strong_count() > 0);
        workers.push(Arc::downgrade(&worker));
        worker
    }

    /// Adds up the requests of all workers.
    pub(super) fn add_to(&self, sums: &mut BTreeMap<(&'static str, Scheme), i64>) {
        let workers = self.0.lock().clone();
        for worker in workers.iter().filter_map(Weak::upgrade) {
            for group in worker.0.lock().iter() {
                *sums.entry((group.method, group.scheme)).or_default() += group.requests;
            }
        }
    }
}

impl WorkerActive {
    /// Counts a request until the returned value is dropped.
    pub(super) fn begin(self: &Arc<Self>, method: &'static str, scheme: Scheme) -> Active {
        let mut groups = self.0.lock();
        let known = groups
            .iter()
            .position(|group| (group.method, group.scheme) == (method, scheme));
        let group = known.unwrap_or_else(|| {
            groups.push(Group {
                method,
                scheme,
                requests: 0,
            });
            groups.len() - 1
        });
        groups[group].requests += 1;
        Active {
            worker: Arc::clone(self),
            group,
        }
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        if let Some(group) = self.worker.0.lock().get_mut(self.group) {
            group.requests -= 1;
        }
    }
}
