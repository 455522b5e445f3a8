//! Counts and latencies, written by one worker each and merged when somebody looks.

use std::{
    cell::RefCell,
    collections::BTreeMap,
    mem, ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{lock::lock, route::RouteLabel};

/// The series of one monitor, over all its workers.
#[derive(Debug)]
pub(crate) struct Series {
    /// Upper bounds in seconds, the last one infinite.
    bounds: Box<[f64]>,
    /// The same in nanoseconds.
    bounds_nanos: Box<[u64]>,
    workers: Mutex<Vec<Arc<Blocks>>>,
    /// What workers recorded that have stopped. Locked after `workers`.
    base: Mutex<Snapshot>,
}

/// The blocks that one worker writes and a scrape reads.
type Blocks = Mutex<Vec<Arc<Block>>>;

/// The totals of each series at one moment, sorted by label.
pub(crate) type Snapshot = BTreeMap<SeriesKey, Totals>;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    pub(crate) method: &'static str,
    pub(crate) route: Arc<str>,
    pub(crate) status: u16,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    /// The requests in each bucket, not cumulated; empty if there are none.
    buckets: Vec<u64>,
    nanos: u64,
}

impl Totals {
    /// The number of requests: each of them is in one bucket.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    pub(crate) fn seconds(&self) -> f64 {
        Duration::from_nanos(self.nanos).as_secs_f64()
    }

    pub(crate) fn buckets(&self) -> &[u64] {
        &self.buckets
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.add_buckets(other.buckets.iter().copied(), other.nanos);
    }

    fn add_buckets(&mut self, buckets: impl ExactSizeIterator<Item = u64>, nanos: u64) {
        self.buckets.resize(self.buckets.len().max(buckets.len()), 0);
        for (sum, count) in self.buckets.iter_mut().zip(buckets) {
            *sum += count;
        }
        self.nanos = self.nanos.wrapping_add(nanos);
    }
}

/// One series of one worker. Only that worker stores into it, so a load and a store do for an addition.
#[derive(Debug)]
struct Block {
    key: SeriesKey,
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Block {
    fn add_to(&self, snapshot: &mut Snapshot) {
        let buckets = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let totals = snapshot.entry(self.key.clone()).or_default();
        totals.add_buckets(buckets, self.nanos.load(Ordering::Relaxed));
    }
}

impl Series {
    /// Makes series with these upper bounds in seconds, rising and finite; the infinite one is added.
    pub(crate) fn new(bounds: &[f64]) -> Arc<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a cast saturates, and so does a bound beyond 584 years"
        )]
        let nanos = |bound: &f64| (bound * 1e9).round() as u64;
        Arc::new(Self {
            bounds: bounds.iter().copied().chain([f64::INFINITY]).collect(),
            bounds_nanos: bounds.iter().map(nanos).chain([u64::MAX]).collect(),
            workers: Mutex::default(),
            base: Mutex::default(),
        })
    }

    pub(crate) fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// What all workers have recorded until now.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let workers = lock(&self.workers);
        let mut snapshot = lock(&self.base).clone();
        for blocks in workers.iter() {
            for block in lock(blocks).iter() {
                block.add_to(&mut snapshot);
            }
        }
        snapshot
    }
}

/// One worker's hand on the series.
#[derive(Debug)]
pub(crate) struct WorkerSeries {
    series: Arc<Series>,
    blocks: Arc<Blocks>,
    /// The same blocks, by the id of their route.
    by_route: RefCell<Vec<Vec<Arc<Block>>>>,
}

impl WorkerSeries {
    pub(crate) fn new(series: &Arc<Series>) -> Self {
        let blocks = Arc::<Blocks>::default();
        lock(&series.workers).push(Arc::clone(&blocks));
        Self {
            series: Arc::clone(series),
            blocks,
            by_route: RefCell::default(),
        }
    }

    /// Counts and times one request; says whether it is the first of its series in this worker.
    #[inline]
    pub(crate) fn record(
        &self,
        method: &'static str,
        route: &RouteLabel,
        status: u16,
        latency: Duration,
    ) -> bool {
        let mut by_route = self.by_route.borrow_mut();
        let of_route = by_route.get(route.id).map_or(&[][..], Vec::as_slice);
        let found = of_route.iter().position(|block| {
            // The text too: ids are those of one worker, and a monitor may be lent to another.
            let key = &block.key;
            key.status == status && ptr::eq(key.method, method) && Arc::ptr_eq(&key.route, &route.text)
        });
        let index = found.unwrap_or_else(|| self.add_block(&mut by_route, method, route, status));
        let block = &by_route[route.id][index];

        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        let bounds = &self.series.bounds_nanos;
        let bucket = bounds.iter().position(|&bound| nanos <= bound);
        add(&block.nanos, nanos);
        add(&block.buckets[bucket.unwrap_or(bounds.len() - 1)], 1);
        found.is_none()
    }

    /// Begins a series, and gives back its index among those of its route.
    #[cold]
    fn add_block(
        &self,
        by_route: &mut Vec<Vec<Arc<Block>>>,
        method: &'static str,
        route: &RouteLabel,
        status: u16,
    ) -> usize {
        let block = Arc::new(Block {
            key: SeriesKey {
                method,
                route: Arc::clone(&route.text),
                status,
            },
            buckets: self.series.bounds.iter().map(|_| AtomicU64::new(0)).collect(),
            nanos: AtomicU64::new(0),
        });
        lock(&self.blocks).push(Arc::clone(&block));
        if by_route.len() <= route.id {
            by_route.resize_with(route.id + 1, Vec::new);
        }
        by_route[route.id].push(block);
        by_route[route.id].len() - 1
    }
}

/// A worker that stops leaves what it recorded to the base.
impl Drop for WorkerSeries {
    fn drop(&mut self) {
        let mut workers = lock(&self.series.workers);
        let mut base = lock(&self.series.base);
        workers.retain(|blocks| !Arc::ptr_eq(blocks, &self.blocks));
        for block in mem::take(&mut *lock(&self.blocks)) {
            block.add_to(&mut base);
        }
    }
}

fn add(number: &AtomicU64, value: u64) {
    number.store(
        number.load(Ordering::Relaxed).wrapping_add(value),
        Ordering::Relaxed,
    );
}
