//! Counts and distributions: each number is written by one worker, and merged with the others when somebody looks.

pub(crate) mod grouping;
pub(crate) mod measures;
pub(crate) mod native;
pub(crate) mod worker;

use std::{
    fmt, iter, mem,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::SystemTime,
};

use actix_web::http::StatusCode;
use parking_lot::Mutex;

use crate::{
    exposition::exemplar::{Exemplar, OfSeries},
    series::{
        measures::{Distribution, Measures},
        native::NativeBuckets,
    },
};

/// What a monitor tells series apart by, besides method, route and status.
pub(crate) trait Attributes: Clone + Ord + fmt::Debug + Send + Sync + 'static {
    /// Whether series of one row have the same, where a worker looks for one.
    fn same_in_row(&self, other: &Self) -> bool;

    /// Calls `each` with the name and the value of each label that is made of them.
    fn for_each_label(key: &SeriesKey<Self>, each: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result;
}

/// No attributes.
impl Attributes for () {
    fn same_in_row(&self, _other: &Self) -> bool {
        true
    }

    fn for_each_label(
        _key: &SeriesKey<Self>,
        _each: &mut dyn FnMut(&str, &str) -> fmt::Result,
    ) -> fmt::Result {
        Ok(())
    }
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey<X> {
    pub(crate) method: &'static str,
    pub(crate) route: Arc<str>,
    pub(crate) status: StatusCode,
    pub(crate) attributes: X,
}

/// The series of one monitor, over all its workers.
#[derive(Debug)]
pub(crate) struct Series<X> {
    measures: Measures,
    /// The blocks of all workers, also of those that have stopped; sorted, but for those that are new.
    blocks: Mutex<Vec<Arc<Block<X>>>>,
}

/// One series of one worker. Only that worker stores into it, so a load and a store do for an addition.
#[derive(Debug)]
pub(crate) struct Block<X> {
    key: SeriesKey<X>,
    /// As the measures lay them out.
    numbers: Box<[AtomicU64]>,
    /// The latest of each bucket of the latency.
    exemplars: Mutex<OfSeries>,
    /// Of the latency, where they are asked for. Then the lock is also that of its other numbers, because Prometheus
    /// takes no histogram whose parts have not the same count.
    native: Mutex<NativeBuckets>,
    created: SystemTime,
}

impl<X> Block<X> {
    #[inline(never)]
    fn observe_natively(&self, latency: &Distribution, nanos: u64) {
        let mut native = self.native.lock();
        latency.observe(&self.numbers, nanos);
        native.observe(nanos);
    }
}

impl<X: Attributes> Series<X> {
    pub(crate) fn new(measures: Measures) -> Arc<Self> {
        Arc::new(Self {
            measures,
            blocks: Mutex::default(),
        })
    }

    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Begins a series, with nothing recorded yet.
    pub(crate) fn add(&self, key: SeriesKey<X>) {
        self.add_block(key);
    }

    fn add_block(&self, key: SeriesKey<X>) -> Arc<Block<X>> {
        let block = Arc::new(Block {
            key,
            numbers: (0..self.measures.width).map(|_| AtomicU64::new(0)).collect(),
            exemplars: Mutex::default(),
            native: Mutex::new(NativeBuckets::new(self.measures.native.unwrap_or_default())),
            created: SystemTime::now(),
        });
        self.blocks.lock().push(Arc::clone(&block));
        block
    }

    /// What all workers have recorded until now, sorted by label.
    pub(crate) fn snapshot(&self) -> Snapshot<X> {
        let mut blocks = self.blocks.lock();
        sort(&mut blocks);
        let width = self.measures.width;
        let mut snapshot = Snapshot {
            keys: Vec::new(),
            numbers: Vec::new(),
            width,
            exemplars: Vec::new(),
            native: Vec::new(),
            created: Vec::new(),
        };
        for parts in blocks.chunk_by(|a, b| a.key == b.key) {
            // Before the numbers: the lock then orders these, so that a bucket with an exemplar has counted its request.
            if self.measures.exemplars {
                let mut latest = OfSeries::new();
                for block in parts {
                    merge_latest(&mut latest, block.exemplars.lock().iter().cloned());
                }
                snapshot.exemplars.push(latest);
            }
            let first = snapshot.numbers.len();
            snapshot.numbers.resize(first + width, 0);
            let mut native_sum = self.measures.native.map(NativeBuckets::new);
            for block in parts {
                // Until the numbers have been read, so that both have the same requests.
                let native = native_sum.is_some().then(|| block.native.lock());
                if let (Some(sum), Some(native)) = (&mut native_sum, &native) {
                    sum.merge(native);
                }
                for (sum, number) in snapshot.numbers[first..].iter_mut().zip(&block.numbers) {
                    *sum = sum.wrapping_add(number.load(Relaxed));
                }
            }
            snapshot.native.extend(native_sum);
            snapshot.keys.push(parts[0].key.clone());
            let created = parts.iter().map(|block| block.created).min();
            snapshot.created.push(created.unwrap_or_else(SystemTime::now));
        }
        snapshot
    }

    /// Merges the blocks that no worker writes any more, so that workers which come and go leave next to nothing: for
    /// each series at most one block beside each of those that are written.
    fn merge_blocks_of_stopped(&self) {
        let mut blocks = self.blocks.lock();
        sort(&mut blocks);
        blocks.dedup_by(|block, before| {
            if block.key != before.key {
                return false;
            }
            // Only where nobody else has a hand on the block.
            let (Some(block), Some(before)) = (Arc::get_mut(block), Arc::get_mut(before)) else {
                return false;
            };
            for (sum, number) in before.numbers.iter_mut().zip(&mut block.numbers) {
                *sum.get_mut() = sum.get_mut().wrapping_add(*number.get_mut());
            }
            before.native.get_mut().merge(block.native.get_mut());
            let exemplars = mem::take(block.exemplars.get_mut());
            merge_latest(before.exemplars.get_mut(), exemplars);
            before.created = before.created.min(block.created);
            true
        });
    }
}

/// Keeps the exemplar of a bucket that a worker had last, whatever its clock says: it may have been set back.
pub(crate) fn replace(exemplars: &mut OfSeries, bucket: usize, exemplar: Exemplar) {
    match exemplars.iter_mut().find(|(known, _)| *known == bucket) {
        Some((_, known)) => *known = exemplar,
        None => exemplars.push((bucket, exemplar)),
    }
}

/// Keeps of each bucket the latest.
pub(crate) fn merge_latest(latest: &mut OfSeries, exemplars: impl IntoIterator<Item = (usize, Exemplar)>) {
    for (bucket, exemplar) in exemplars {
        match latest.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, known)) if known.time <= exemplar.time => *known = exemplar,
            Some(_) => {}
            None => latest.push((bucket, exemplar)),
        }
    }
}

/// Cheap for what is sorted already.
fn sort<X: Ord>(blocks: &mut [Arc<Block<X>>]) {
    blocks.sort_by(|a, b| a.key.cmp(&b.key));
}

/// The totals of all series at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot<X> {
    /// Sorted.
    keys: Vec<SeriesKey<X>>,
    /// The numbers of one series after the other.
    numbers: Vec<u64>,
    width: usize,
    /// Those of each series; none at all where none are asked for.
    exemplars: Vec<OfSeries>,
    /// Those of each series; none at all where none are asked for.
    native: Vec<NativeBuckets>,
    /// When each began: when its first worker recorded it.
    created: Vec<SystemTime>,
}

/// The totals of one series.
#[derive(Clone, Copy)]
pub(crate) struct Totals<'a, X> {
    pub(crate) key: &'a SeriesKey<X>,
    /// As the measures lay them out.
    pub(crate) numbers: &'a [u64],
    /// The latest of each bucket of the latency.
    pub(crate) exemplars: &'a [(usize, Exemplar)],
    /// The native buckets of the latency, where they are asked for.
    pub(crate) native: Option<&'a NativeBuckets>,
    pub(crate) created: SystemTime,
}

impl<X: Attributes> Snapshot<X> {
    /// All series, sorted.
    pub(crate) fn all(&self) -> Vec<Totals<'_, X>> {
        let keys = self.keys.iter();
        let exemplars = self.exemplars.iter().map(Vec::as_slice);
        keys.zip(self.numbers.chunks_exact(self.width))
            .zip(exemplars.chain(iter::repeat(&[][..])))
            .zip(self.native.iter().map(Some).chain(iter::repeat(None)))
            .zip(&self.created)
            .map(|((((key, numbers), exemplars), native), created)| Totals {
                key,
                numbers,
                exemplars,
                native,
                created: *created,
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::{merge_latest, replace};
    use crate::exposition::exemplar::{Exemplar, OfSeries};

    /// An exemplar of so many seconds after the beginning.
    fn at(seconds: u64) -> Exemplar {
        Exemplar {
            labels: Vec::new(),
            value: 1.0,
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(seconds),
        }
    }

    fn times(exemplars: &OfSeries) -> Vec<(usize, SystemTime)> {
        exemplars
            .iter()
            .map(|(bucket, one)| (*bucket, one.time))
            .collect()
    }

    #[test]
    fn of_one_worker_the_newest_exemplar_stays_though_the_clock_was_set_back() {
        let mut exemplars = OfSeries::new();
        for (bucket, seconds) in [(0, 9), (1, 7), (0, 3)] {
            replace(&mut exemplars, bucket, at(seconds));
        }
        assert_eq!(times(&exemplars), [(0, at(3).time), (1, at(7).time)]);
    }

    #[test]
    fn of_several_workers_the_latest_exemplar_stays() {
        let mut exemplars = OfSeries::new();
        for (bucket, seconds) in [(0, 9), (1, 7), (0, 3), (1, 8)] {
            merge_latest(&mut exemplars, [(bucket, at(seconds))]);
        }
        assert_eq!(times(&exemplars), [(0, at(9).time), (1, at(8).time)]);
    }
}
