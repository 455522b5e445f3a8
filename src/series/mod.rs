//! Counts and distributions: each number is written by one worker, and merged with the others at a scrape.

pub(crate) mod grouping;
pub(crate) mod measures;
#[cfg(test)]
mod model;
pub(crate) mod native;
pub(crate) mod worker;

#[cfg(not(hr_loom))]
use std::sync::atomic::AtomicU64;
use std::{
    collections::BTreeMap,
    fmt, mem,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::SystemTime,
};

use actix_web::http::StatusCode;
#[cfg(hr_loom)]
use loom::sync::atomic::AtomicU64;
#[cfg(not(hr_loom))]
use parking_lot::Mutex;

#[cfg(hr_loom)]
use crate::orderings::Mutex;

use crate::{
    exposition::exemplar::{Exemplar, OfSeries},
    series::{
        measures::{Distribution, Measures, add},
        native::NativeBuckets,
    },
};

/// The labels of a monitor's series, besides method, route and status.
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
    all: Mutex<All<X>>,
}

/// All series, for a scrape to find twice.
#[derive(Debug)]
struct All<X> {
    /// Where the parts of each are, in the order of a scrape.
    sorted: BTreeMap<Arc<SeriesKey<X>>, usize>,
    /// As they began: so their blocks follow each other in memory, more or less, and are read faster than in the order
    /// of a scrape.
    parts: Vec<Parts<X>>,
}

/// One series, over all workers.
#[derive(Debug)]
struct Parts<X> {
    /// When its first worker recorded it.
    created: SystemTime,
    /// Of each worker one, also of those that have stopped.
    blocks: Vec<SharedBlock<X>>,
}

/// One series of one worker. Only that worker stores into it, so a load and a store do for an addition.
#[derive(Debug)]
pub(crate) struct Block<X> {
    /// With the route as this worker has it, by which it finds the block. Shared with other workers that have it so too.
    key: Arc<SeriesKey<X>>,
    /// As the measures lay them out. Relaxed: none of them says anything about another. A scrape that sees the sum of a
    /// request before its count sees both the next time.
    numbers: Box<[AtomicU64]>,
    /// Where they are asked for: they take more room than the rest.
    details: Option<Box<Details>>,
}

/// A reference to a block, held by its worker or by the series.
#[cfg(not(hr_loom))]
type SharedBlock<X> = Arc<Block<X>>;
#[cfg(hr_loom)]
type SharedBlock<X> = loom::sync::Arc<Block<X>>;

/// The optional parts of a series.
#[derive(Debug)]
struct Details {
    /// The latest of each bucket of the latency.
    exemplars: Mutex<OfSeries>,
    /// Of the latency, where they are asked for. Then the lock is also that of its other numbers, because Prometheus
    /// takes no histogram whose parts have not the same count.
    native: Option<Mutex<NativeBuckets>>,
}

impl<X> Block<X> {
    fn new(key: Arc<SeriesKey<X>>, measures: &Measures) -> Self {
        let has_details = measures.exemplars || measures.native.is_some();
        let details = || Details {
            exemplars: Mutex::default(),
            native: measures.native.map(NativeBuckets::new).map(Mutex::new),
        };
        Self {
            key,
            numbers: (0..measures.width).map(|_| AtomicU64::new(0)).collect(),
            details: has_details.then(|| Box::new(details())),
        }
    }

    fn native(&self) -> Option<&Mutex<NativeBuckets>> {
        self.details.as_ref()?.native.as_ref()
    }

    #[inline(never)]
    fn observe_natively(&self, latency: &Distribution, nanos: u64) {
        let native = self.native().map(Mutex::lock);
        latency.observe(&self.numbers, nanos);
        if let Some(mut native) = native {
            native.observe(nanos);
        }
    }

    /// Keeps an exemplar of a bucket, in the place of that of the request before.
    #[inline]
    fn keep_exemplar(&self, bucket: usize, exemplar: Exemplar) {
        let Some(details) = &self.details else { return };
        let mut exemplars = details.exemplars.lock();
        match exemplars.iter_mut().find(|(known, _)| *known == bucket) {
            Some((_, known)) => *known = exemplar,
            None => exemplars.push((bucket, exemplar)),
        }
    }

    /// Adds the numbers of another block of the series; nothing else uses the two.
    fn merge(&mut self, other: &mut Self) {
        for (sum, number) in self.numbers.iter().zip(&other.numbers) {
            add(sum, number.load(Relaxed));
        }
        if let (Some(details), Some(other)) = (&mut self.details, &mut other.details) {
            if let (Some(native), Some(other)) = (&mut details.native, &mut other.native) {
                native.get_mut().merge(other.get_mut());
            }
            let exemplars = mem::take(other.exemplars.get_mut());
            merge_latest(details.exemplars.get_mut(), exemplars);
        }
    }
}

impl<X: Attributes> Series<X> {
    pub(crate) fn new(measures: Measures) -> Arc<Self> {
        Arc::new(Self {
            measures,
            all: Mutex::new(All {
                sorted: BTreeMap::new(),
                parts: Vec::new(),
            }),
        })
    }

    pub(crate) fn measures(&self) -> &Measures {
        &self.measures
    }

    /// Begins a series, with nothing recorded yet.
    pub(crate) fn add(&self, key: SeriesKey<X>) {
        self.add_block(key);
    }

    fn add_block(&self, key: SeriesKey<X>) -> SharedBlock<X> {
        let mut all = self.all.lock();
        let All { sorted, parts } = &mut *all;
        let (key, index) = match sorted.get_key_value(&key) {
            Some((known, &index)) if Arc::ptr_eq(&known.route, &key.route) => (Arc::clone(known), index),
            Some((_, &index)) => (Arc::new(key), index),
            None => {
                let (key, index) = (Arc::new(key), parts.len());
                sorted.insert(Arc::clone(&key), index);
                parts.push(Parts {
                    created: SystemTime::now(),
                    blocks: Vec::with_capacity(1),
                });
                (key, index)
            }
        };
        let block = SharedBlock::new(Block::new(key, &self.measures));
        parts[index].blocks.push(SharedBlock::clone(&block));
        block
    }

    /// The numbers of all workers until now, sorted by label.
    pub(crate) fn snapshot(&self) -> Snapshot<X> {
        let all = self.all.lock();
        let width = self.measures.width;
        let mut snapshot = Snapshot {
            series: Vec::with_capacity(all.sorted.len()),
            numbers: Vec::with_capacity(all.parts.len() * width),
            width,
            exemplars: Vec::new(),
            native: Vec::new(),
        };
        for parts in &all.parts {
            // Before the numbers: the lock then orders these, so that a bucket with an exemplar has counted its request.
            if self.measures.exemplars {
                let mut latest = OfSeries::new();
                for details in parts.blocks.iter().filter_map(|block| block.details.as_ref()) {
                    merge_latest(&mut latest, details.exemplars.lock().iter().cloned());
                }
                snapshot.exemplars.push(latest);
            }
            let first = snapshot.numbers.len();
            snapshot.numbers.resize(first + width, 0);
            let mut native_sum = self.measures.native.map(NativeBuckets::new);
            for block in &parts.blocks {
                // Until the numbers have been read, so that both have the same requests.
                let native = block.native().map(Mutex::lock);
                if let (Some(sum), Some(native)) = (&mut native_sum, &native) {
                    sum.merge(native);
                }
                for (sum, number) in snapshot.numbers[first..].iter_mut().zip(&block.numbers) {
                    *sum = sum.wrapping_add(number.load(Relaxed));
                }
            }
            snapshot.native.extend(native_sum);
        }
        let series = all.sorted.iter().map(|(key, &index)| KnownSeries {
            key: Arc::clone(key),
            created: all.parts[index].created,
            index,
        });
        snapshot.series.extend(series);
        snapshot
    }

    /// Merges the blocks that no worker writes any more, so that workers which come and go leave next to nothing: for
    /// each series at most one block beside each of those that are written.
    fn merge_blocks_of_stopped(&self) {
        for parts in &mut self.all.lock().parts {
            parts.blocks.dedup_by(|block, before| {
                // Only if nothing else refers to the block: then everything is visible that was stored before the last
                // reference was dropped.
                let (Some(block), Some(before)) = (SharedBlock::get_mut(block), SharedBlock::get_mut(before))
                else {
                    return false;
                };
                before.merge(block);
                true
            });
        }
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

/// The totals of all series at one moment.
#[derive(Debug)]
pub(crate) struct Snapshot<X> {
    /// Sorted.
    series: Vec<KnownSeries<X>>,
    /// The numbers of one series after the other, by their indexes.
    numbers: Vec<u64>,
    width: usize,
    /// Those of each series; none at all where none are asked for.
    exemplars: Vec<OfSeries>,
    /// Those of each series; none at all where none are asked for.
    native: Vec<NativeBuckets>,
}

#[derive(Debug)]
struct KnownSeries<X> {
    key: Arc<SeriesKey<X>>,
    created: SystemTime,
    /// Where its totals are.
    index: usize,
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
    pub(crate) fn all(&self) -> impl Iterator<Item = Totals<'_, X>> {
        self.series.iter().map(|series| {
            let first = series.index * self.width;
            Totals {
                key: &series.key,
                numbers: &self.numbers[first..first + self.width],
                exemplars: self.exemplars.get(series.index).map_or(&[], Vec::as_slice),
                native: self.native.get(series.index),
                created: series.created,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Duration, SystemTime},
    };

    use actix_web::http::StatusCode;

    use super::{Series, measures::Measures, merge_latest, worker::WorkerSeries};
    use crate::exposition::exemplar::{Exemplar, ExemplarLabels, OfSeries};

    #[test]
    fn a_series_has_one_block_for_each_worker_and_after_they_stopped_one_in_all() {
        let series = Series::<()>::new(Measures::latency(&[1.0]));
        // Each worker has a separate text of a route.
        let workers = [(); 3].map(|()| (WorkerSeries::new(&series), Arc::<str>::from("/")));
        for (worker, route) in workers.iter().chain(&workers) {
            worker.record(0, ("GET", route, StatusCode::OK, &()), Duration::ZERO);
        }
        let blocks = || {
            series
                .all
                .lock()
                .parts
                .iter()
                .map(|parts| parts.blocks.len())
                .collect::<Vec<_>>()
        };
        assert_eq!(blocks(), [3]);
        drop(workers);
        assert_eq!(blocks(), [1]);
        let snapshot = series.snapshot();
        let numbers: Vec<_> = snapshot.all().map(|totals| totals.numbers.to_vec()).collect();
        // The sum, and the count of each bucket.
        assert_eq!(numbers, [[0, 6, 0]]);
    }

    /// An exemplar of so many seconds after the beginning.
    fn at(seconds: u64) -> Exemplar {
        Exemplar {
            labels: ExemplarLabels::Pairs(Vec::new()),
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
        let series = Series::new(Measures::latency(&[]).and_exemplars(true));
        let worker = WorkerSeries::new(&series);
        let key = ("GET", &Arc::from("/"), StatusCode::OK, &());
        let latency = Duration::from_secs(1);
        let index = worker.record(0, key, latency);
        let future = SystemTime::now() + Duration::from_secs(3600);
        worker.with_block(index, |block| {
            let older = Exemplar {
                time: future,
                ..at(0)
            };
            block.keep_exemplar(0, older);
        });

        worker.keep_exemplar(index, latency, ExemplarLabels::TraceId([b'a'; 32]));
        let snapshot = series.snapshot();
        let [(0, exemplar)] = &snapshot.exemplars[0][..] else {
            panic!("one exemplar, of the first bucket");
        };
        let newer = ("trace_id", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa");
        assert_eq!(exemplar.labels.pairs().collect::<Vec<_>>(), [newer]);
        assert!(exemplar.time < future);
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

#[cfg(all(test, hr_loom))]
mod orderings {
    use std::{sync::Arc, time::Duration};

    use actix_web::http::StatusCode;
    use loom::thread;

    use super::{
        Measures, Series,
        native::{NativeBuckets, NativeOptions},
        worker::WorkerSeries,
    };
    use crate::{exposition::exemplar::ExemplarLabels, orderings::model};

    const LATENCY: Duration = Duration::from_secs(1);

    fn record(worker: &WorkerSeries<()>, route: &Arc<str>, has_exemplar: bool) {
        let index = worker.record(0, ("GET", route, StatusCode::OK, &()), LATENCY);
        if has_exemplar {
            worker.keep_exemplar(index, LATENCY, ExemplarLabels::Pairs(Vec::new()));
        }
    }

    /// Native buckets of so many requests.
    fn native(requests: u64) -> String {
        let mut native = NativeBuckets::new(NativeOptions::default());
        (0..requests).for_each(|_| native.observe(1_000_000_000));
        format!("{native:?}")
    }

    #[test]
    fn a_bucket_with_an_exemplar_has_counted_its_request() {
        model(|| {
            let series = Series::<()>::new(Measures::latency(&[]).and_exemplars(true));
            let worker = thread::spawn({
                let series = Arc::clone(&series);
                move || record(&WorkerSeries::new(&series), &"/".into(), true)
            });
            for totals in series.snapshot().all() {
                assert!(totals.exemplars.is_empty() || totals.numbers[1] == 1);
            }
            worker.join().unwrap();
        });
    }

    #[test]
    fn native_and_classic_buckets_have_the_same_requests() {
        model(|| {
            let measures = Measures::latency(&[]).and_native(Some(NativeOptions::default()));
            let series = Series::<()>::new(measures);
            let worker = thread::spawn({
                let series = Arc::clone(&series);
                move || {
                    let (worker, route) = (WorkerSeries::new(&series), "/".into());
                    record(&worker, &route, false);
                    record(&worker, &route, false);
                }
            });
            for totals in series.snapshot().all() {
                assert_eq!(format!("{:?}", totals.native.unwrap()), native(totals.numbers[1]));
            }
            worker.join().unwrap();
        });
    }

    /// Two workers, one of which stops, while somebody looks twice.
    #[test]
    fn no_count_falls_and_none_is_lost_while_blocks_are_merged() {
        model(|| {
            let series = Series::<()>::new(Measures::latency(&[]));
            let first = WorkerSeries::new(&series);
            record(&first, &"/".into(), false);
            let worker = thread::spawn({
                let series = Arc::clone(&series);
                move || record(&WorkerSeries::new(&series), &"/".into(), false)
            });
            let count = || {
                series
                    .snapshot()
                    .all()
                    .map(|totals| totals.numbers[1])
                    .sum::<u64>()
            };
            let before = count();
            drop(first);
            let after = count();
            assert!(
                (1..=2).contains(&before) && (before..=2).contains(&after),
                "{before} {after}"
            );
            worker.join().unwrap();
            assert_eq!(count(), 2);
        });
    }
}
