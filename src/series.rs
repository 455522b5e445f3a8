//! Counts and latencies: each number is written by one worker, and merged with the others when somebody looks.

use std::{
    cell::RefCell,
    ptr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use actix_web::http::StatusCode;

use crate::{lock::lock, route::RouteLabel};

/// The series of one monitor, over all its workers.
#[derive(Debug)]
pub(crate) struct Series {
    /// Upper bounds in seconds, the last one infinite.
    bounds: Box<[f64]>,
    /// The same in nanoseconds.
    bounds_nanos: Box<[u64]>,
    /// The blocks of all workers, also of those that have stopped; sorted, but for those that are new.
    blocks: Mutex<Vec<Arc<Block>>>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey {
    pub(crate) method: &'static str,
    pub(crate) route: Arc<str>,
    pub(crate) status: StatusCode,
}

/// One series of one worker. Only that worker stores into it, so a load and a store do for an addition.
#[derive(Debug)]
struct Block {
    key: SeriesKey,
    /// The requests in each bucket, not cumulated: each request is in one.
    buckets: Box<[AtomicU64]>,
    nanos: AtomicU64,
}

impl Series {
    /// Makes series with these upper bounds in seconds, rising and finite; the infinite one is added.
    pub(crate) fn new(bounds: &[f64]) -> Arc<Self> {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and so does a latency beyond 584 years"
        )]
        let nanos = |bound: &f64| (bound * 1e9).round() as u64;
        Arc::new(Self {
            bounds: bounds.iter().copied().chain([f64::INFINITY]).collect(),
            bounds_nanos: bounds.iter().map(nanos).chain([u64::MAX]).collect(),
            blocks: Mutex::default(),
        })
    }

    pub(crate) fn bounds(&self) -> &[f64] {
        &self.bounds
    }

    /// What all workers have recorded until now, sorted by label.
    pub(crate) fn snapshot(&self) -> Snapshot {
        let mut blocks = lock(&self.blocks);
        sort(&mut blocks);
        let mut snapshot = Snapshot::default();
        for of_series in blocks.chunk_by(|a, b| a.key == b.key) {
            let first = snapshot.buckets.len();
            snapshot.buckets.resize(first + self.bounds.len(), 0);
            let mut nanos = 0_u64;
            for block in of_series {
                for (sum, count) in snapshot.buckets[first..].iter_mut().zip(&block.buckets) {
                    *sum += count.load(Ordering::Relaxed);
                }
                nanos = nanos.wrapping_add(block.nanos.load(Ordering::Relaxed));
            }
            snapshot.series.push((of_series[0].key.clone(), nanos));
        }
        snapshot
    }

    /// Merges the blocks that no worker writes any more, so that workers which come and go leave next to nothing: for
    /// each series at most one block beside each of those that are written.
    fn merge_blocks_of_stopped(&self) {
        let mut blocks = lock(&self.blocks);
        sort(&mut blocks);
        blocks.dedup_by(|block, before| {
            if block.key != before.key {
                return false;
            }
            // Only where nobody else has a hand on the block.
            let (Some(block), Some(before)) = (Arc::get_mut(block), Arc::get_mut(before)) else {
                return false;
            };
            for (sum, count) in before.buckets.iter_mut().zip(&mut block.buckets) {
                *sum.get_mut() += *count.get_mut();
            }
            let nanos = before.nanos.get_mut();
            *nanos = nanos.wrapping_add(*block.nanos.get_mut());
            true
        });
    }
}

/// Cheap for what is sorted already.
fn sort(blocks: &mut [Arc<Block>]) {
    blocks.sort_by(|a, b| a.key.cmp(&b.key));
}

/// The totals of all series at one moment.
#[derive(Debug, Default)]
pub(crate) struct Snapshot {
    /// Keys, sorted, and the sum of latencies in nanoseconds.
    series: Vec<(SeriesKey, u64)>,
    /// For each series its buckets, one series after the other.
    buckets: Vec<u64>,
}

/// The totals of one series.
pub(crate) struct Totals<'a> {
    pub(crate) key: &'a SeriesKey,
    pub(crate) nanos: u64,
    /// The requests in each bucket, not cumulated.
    pub(crate) buckets: &'a [u64],
}

impl Totals<'_> {
    /// The number of requests: each of them is in one bucket.
    pub(crate) fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }
}

impl Snapshot {
    pub(crate) fn iter(&self) -> impl Iterator<Item = Totals<'_>> {
        let buckets = self.buckets.len().checked_div(self.series.len()).unwrap_or(1);
        let buckets = self.buckets.chunks_exact(buckets.max(1));
        let series = self.series.iter().zip(buckets);
        series.map(|((key, nanos), buckets)| Totals {
            key,
            nanos: *nanos,
            buckets,
        })
    }
}

/// One worker's hand on the series.
#[derive(Debug)]
pub(crate) struct WorkerSeries {
    series: Arc<Series>,
    /// The blocks of this worker, by the id of their route.
    by_route: RefCell<Vec<Vec<Arc<Block>>>>,
}

impl WorkerSeries {
    pub(crate) fn new(series: &Arc<Series>) -> Self {
        Self {
            series: Arc::clone(series),
            by_route: RefCell::default(),
        }
    }

    /// Counts and times one request; says whether it is the first of its series in this worker.
    #[inline]
    pub(crate) fn record(
        &self,
        method: &'static str,
        route: &RouteLabel,
        status: StatusCode,
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
        status: StatusCode,
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
        lock(&self.series.blocks).push(Arc::clone(&block));
        if by_route.len() <= route.id {
            by_route.resize_with(route.id + 1, Vec::new);
        }
        by_route[route.id].push(block);
        by_route[route.id].len() - 1
    }
}

impl Drop for WorkerSeries {
    fn drop(&mut self) {
        self.by_route.get_mut().clear();
        self.series.merge_blocks_of_stopped();
    }
}

#[inline]
fn add(number: &AtomicU64, value: u64) {
    number.store(
        number.load(Ordering::Relaxed).wrapping_add(value),
        Ordering::Relaxed,
    );
}
