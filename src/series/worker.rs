//! One worker's hand on the series.

use crate::series::{
    Attributes, Block, Series, SeriesKey,
    measures::{Distribution, nanos},
    merge_latest,
};
use std::{
    cell::RefCell,
    ptr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::http::StatusCode;

use crate::exposition::exemplar::Exemplar;

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
