//! Counts and distributions: each number is written by one worker, and merged with the others when somebody looks.

pub(crate) mod native;

use std::{
    cell::RefCell,
    cmp::Ordering,
    fmt, iter, mem, ptr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, SystemTime},
};

use actix_web::http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::encoding::LabelSetEncoder;

use crate::{
    exposition::exemplar::{Exemplar, OfSeries},
    series::native::NativeBuckets,
};

/// What a monitor tells series apart by, beside method, route and status.
pub(crate) trait Attributes: Clone + Ord + fmt::Debug + Send + Sync + 'static {
    /// Whether series of one row have the same, where a worker looks for one.
    fn same_in_row(&self, other: &Self) -> bool;

    /// Encodes the labels that are made of them.
    fn encode(key: &SeriesKey<Self>, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result;
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SeriesKey<X> {
    pub(crate) method: &'static str,
    pub(crate) route: Arc<str>,
    pub(crate) status: StatusCode,
    pub(crate) attributes: X,
}

/// What is measured of each request: the latency, and what else is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Measures {
    pub(crate) latency: Distribution,
    pub(crate) request_body: Option<Distribution>,
    pub(crate) response_body: Option<Distribution>,
    pub(crate) time_to_head: Option<Distribution>,
    /// Whether some requests leave an exemplar.
    exemplars: bool,
    /// Whether the latency has native buckets too.
    native: bool,
    /// How many numbers a series has.
    width: usize,
}

/// The shape of one histogram, and the place of its numbers among those of a series: the sum, then the observations
/// in each bucket, not cumulated.
#[derive(Clone, Debug)]
pub(crate) struct Distribution {
    /// Upper bounds, the last one infinite.
    pub(crate) bounds: Box<[f64]>,
    /// The same as they are recorded.
    limits: Box<[u64]>,
    /// What is recorded for one of the unit: nanoseconds for a second, else one.
    per_unit: f64,
    start: usize,
}

impl Measures {
    /// Measures the latency alone, in buckets with these upper bounds in seconds: rising and finite, the infinite one
    /// is added.
    pub(crate) fn latency(bounds: &[f64]) -> Self {
        let latency = Distribution::new(bounds, Distribution::SECONDS, 0);
        Self {
            width: latency.end(),
            latency,
            request_body: None,
            response_body: None,
            time_to_head: None,
            exemplars: false,
            native: false,
        }
    }

    #[must_use]
    pub(crate) fn and_request_body(mut self, bounds: Option<&[f64]>) -> Self {
        self.request_body = bounds.map(|bounds| self.next(bounds, Distribution::BYTES));
        self
    }

    #[must_use]
    pub(crate) fn and_response_body(mut self, bounds: Option<&[f64]>) -> Self {
        self.response_body = bounds.map(|bounds| self.next(bounds, Distribution::BYTES));
        self
    }

    #[must_use]
    pub(crate) fn and_time_to_head(mut self, bounds: Option<&[f64]>) -> Self {
        self.time_to_head = bounds.map(|bounds| self.next(bounds, Distribution::SECONDS));
        self
    }

    #[must_use]
    pub(crate) fn and_exemplars(mut self, exemplars: bool) -> Self {
        self.exemplars = exemplars;
        self
    }

    #[must_use]
    pub(crate) fn and_native(mut self, native: bool) -> Self {
        self.native = native;
        self
    }

    fn next(&mut self, bounds: &[f64], per_unit: f64) -> Distribution {
        let distribution = Distribution::new(bounds, per_unit, self.width);
        self.width = distribution.end();
        distribution
    }

    /// Whether more than the latency is measured.
    pub(crate) fn has_more(&self) -> bool {
        self.width > self.latency.end() || self.exemplars
    }
}

impl Distribution {
    const SECONDS: f64 = 1e9;
    const BYTES: f64 = 1.0;

    fn new(bounds: &[f64], per_unit: f64, start: usize) -> Self {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the cast saturates, and so do a latency beyond 584 years and a bound below zero"
        )]
        let limit = |bound: &f64| (bound * per_unit).round() as u64;
        Self {
            bounds: bounds.iter().copied().chain([f64::INFINITY]).collect(),
            limits: bounds.iter().map(limit).chain([u64::MAX]).collect(),
            per_unit,
            start,
        }
    }

    fn end(&self) -> usize {
        self.start + 1 + self.bounds.len()
    }

    #[inline]
    fn observe(&self, numbers: &[AtomicU64], value: u64) {
        add(&numbers[self.start], value);
        add(&numbers[self.start + 1 + self.bucket(value)], 1);
    }

    /// The index of the bucket for what is recorded as `value`.
    #[inline]
    fn bucket(&self, value: u64) -> usize {
        let bucket = self.limits.iter().position(|&limit| value <= limit);
        bucket.unwrap_or(self.limits.len() - 1)
    }

    /// Whether it is that of the latency, which every series has.
    pub(crate) fn is_latency(&self) -> bool {
        self.start == 0
    }

    /// The sum of what was observed, in seconds or bytes.
    pub(crate) fn sum(&self, numbers: &[u64]) -> f64 {
        #[expect(clippy::cast_precision_loss, reason = "a sample has no more digits than that")]
        let sum = numbers[self.start] as f64;
        sum / self.per_unit
    }

    /// The observations in each bucket, not cumulated.
    pub(crate) fn buckets<'a>(&self, numbers: &'a [u64]) -> &'a [u64] {
        &numbers[self.start + 1..self.end()]
    }
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
struct Block<X> {
    key: SeriesKey<X>,
    /// As the measures lay them out.
    numbers: Box<[AtomicU64]>,
    /// The latest of each bucket of the latency.
    exemplars: Mutex<OfSeries>,
    /// Of the latency, where they are asked for. Then the lock is also that of its other numbers, because Prometheus
    /// takes no histogram whose parts have not the same count.
    native: Mutex<NativeBuckets>,
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
            native: Mutex::default(),
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
        };
        for of_series in blocks.chunk_by(|a, b| a.key == b.key) {
            // Before the numbers: the lock then orders these, so that a bucket with an exemplar has counted its request.
            if self.measures.exemplars {
                let mut latest = OfSeries::new();
                for block in of_series {
                    merge_latest(&mut latest, block.exemplars.lock().iter().cloned());
                }
                snapshot.exemplars.push(latest);
            }
            let first = snapshot.numbers.len();
            snapshot.numbers.resize(first + width, 0);
            let mut native_of_series = NativeBuckets::default();
            for block in of_series {
                let native = self.measures.native.then(|| block.native.lock());
                if let Some(native) = &native {
                    native_of_series.merge(native);
                }
                for (sum, number) in snapshot.numbers[first..].iter_mut().zip(&block.numbers) {
                    *sum = sum.wrapping_add(number.load(Relaxed));
                }
            }
            if self.measures.native {
                snapshot.native.push(native_of_series);
            }
            snapshot.keys.push(of_series[0].key.clone());
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
            true
        });
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
}

impl<X: Attributes> Snapshot<X> {
    /// All series, sorted.
    pub(crate) fn all(&self) -> Vec<Totals<'_, X>> {
        let keys = self.keys.iter();
        let exemplars = self.exemplars.iter().map(Vec::as_slice);
        keys.zip(self.numbers.chunks_exact(self.width))
            .zip(exemplars.chain(iter::repeat(&[][..])))
            .zip(self.native.iter().map(Some).chain(iter::repeat(None)))
            .map(|(((key, numbers), exemplars), native)| Totals {
                key,
                numbers,
                exemplars,
                native,
            })
            .collect()
    }
}

/// Which parts of the key a family tells its series apart by; what differs in the rest falls together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut {
    pub(crate) method: bool,
    pub(crate) route: bool,
    pub(crate) status: ByStatus,
    pub(crate) attributes: bool,
}

/// How far a family tells its series apart by the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByStatus {
    No,
    Class,
    Exactly,
}

impl Cut {
    pub(crate) const ALL: Self = Self {
        method: true,
        route: true,
        status: ByStatus::Exactly,
        attributes: true,
    };

    /// Whether what falls together stands together in the order of the keys.
    pub(crate) fn keeps_order(self) -> bool {
        let Self {
            method,
            route,
            status,
            attributes,
        } = self;
        // Statuses of one class follow each other.
        (method || !route)
            && (route || status == ByStatus::No)
            && (status == ByStatus::Exactly || !attributes)
    }

    pub(crate) fn compare<X: Ord>(self, a: &SeriesKey<X>, b: &SeriesKey<X>) -> Ordering {
        let mut order = Ordering::Equal;
        if self.method {
            order = a.method.cmp(b.method);
        }
        if self.route && !Arc::ptr_eq(&a.route, &b.route) {
            order = order.then_with(|| a.route.cmp(&b.route));
        }
        order = order.then_with(|| match self.status {
            ByStatus::No => Ordering::Equal,
            ByStatus::Class => class(a.status).cmp(&class(b.status)),
            ByStatus::Exactly => a.status.cmp(&b.status),
        });
        if self.attributes {
            order = order.then_with(|| a.attributes.cmp(&b.attributes));
        }
        order
    }
}

/// The first digit of a status; 6 for all that have no class in RFC 9110.
pub(crate) fn class(status: StatusCode) -> u16 {
    (status.as_u16() / 100).min(6)
}

/// One worker's hand on the series.
#[derive(Debug)]
pub(crate) struct WorkerSeries<X: Attributes> {
    series: Arc<Series<X>>,
    /// The blocks of this worker, by rows: those of one route, and of one label set where there are several.
    rows: RefCell<Vec<Vec<Arc<Block<X>>>>>,
}

/// Where a worker has the block that a request was recorded in. Two halves of a word, because requests carry it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    row: u32,
    index: u32,
}

/// What is observed of a request beside its latency, in bytes and nanoseconds; nothing where it is not measured.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct More {
    pub(crate) request_body: Option<u64>,
    pub(crate) response_body: Option<u64>,
    pub(crate) time_to_head: Option<u64>,
}

impl<X: Attributes> WorkerSeries<X> {
    pub(crate) fn new(series: &Arc<Series<X>>) -> Self {
        Self {
            series: Arc::clone(series),
            rows: RefCell::default(),
        }
    }

    /// Counts and times one request, and says where; calls `on_first` if it is the first of its series in this worker.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a worker has not that many routes, label sets or series"
    )]
    #[inline]
    pub(crate) fn record(
        &self,
        row: usize,
        (method, route, status, attributes): (&'static str, &Arc<str>, StatusCode, &X),
        latency: Duration,
        on_first: impl FnOnce(),
    ) -> Place {
        let mut rows = self.rows.borrow_mut();
        let blocks = rows.get(row).map_or(&[][..], Vec::as_slice);
        let found = blocks.iter().position(|block| {
            // The text too: rows are those of one worker, and a monitor may be lent to another.
            let key = &block.key;
            key.status == status
                && ptr::eq(key.method, method)
                && Arc::ptr_eq(&key.route, route)
                && key.attributes.same_in_row(attributes)
        });
        let index = found.unwrap_or_else(|| {
            let key = SeriesKey {
                method,
                route: Arc::clone(route),
                status,
                attributes: attributes.clone(),
            };
            on_first();
            self.add_to_row(&mut rows, row, key)
        });
        let block = &rows[row][index];
        let measures = &self.series.measures;
        if measures.native {
            block.observe_natively(&measures.latency, nanos(latency));
        } else {
            measures.latency.observe(&block.numbers, nanos(latency));
        }
        Place {
            row: row as u32,
            index: index as u32,
        }
    }

    /// Observes more of a request that was recorded.
    pub(crate) fn observe(&self, place: Place, more: More) {
        let rows = self.rows.borrow();
        let row = rows.get(place.row as usize);
        let Some(block) = row.and_then(|blocks| blocks.get(place.index as usize)) else {
            return;
        };
        let measures = &self.series.measures;
        let observe = |distribution: &Option<Distribution>, value: Option<u64>| {
            if let (Some(distribution), Some(value)) = (distribution, value) {
                distribution.observe(&block.numbers, value);
            }
        };
        observe(&measures.request_body, more.request_body);
        observe(&measures.response_body, more.response_body);
        observe(&measures.time_to_head, more.time_to_head);
    }

    /// Lets a request that was recorded with this latency stand for others.
    pub(crate) fn keep_exemplar(&self, place: Place, latency: Duration, labels: Vec<(String, String)>) {
        let rows = self.rows.borrow();
        let row = rows.get(place.row as usize);
        if let Some(block) = row.and_then(|blocks| blocks.get(place.index as usize)) {
            let exemplar = Exemplar {
                labels,
                value: latency.as_secs_f64(),
                time: SystemTime::now(),
            };
            let bucket = self.series.measures.latency.bucket(nanos(latency));
            merge_latest(&mut block.exemplars.lock(), [(bucket, exemplar)]);
        }
    }

    /// Begins a series, and gives back its index in its row.
    #[cold]
    fn add_to_row(&self, rows: &mut Vec<Vec<Arc<Block<X>>>>, row: usize, key: SeriesKey<X>) -> usize {
        if rows.len() <= row {
            rows.resize_with(row + 1, Vec::new);
        }
        rows[row].push(self.series.add_block(key));
        rows[row].len() - 1
    }
}

impl<X: Attributes> Drop for WorkerSeries<X> {
    fn drop(&mut self) {
        self.rows.get_mut().clear();
        self.series.merge_blocks_of_stopped();
    }
}

#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[inline]
fn add(number: &AtomicU64, value: u64) {
    number.store(number.load(Relaxed).wrapping_add(value), Relaxed);
}
