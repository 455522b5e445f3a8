//! One worker's access to the series.

use std::{
    cell::RefCell,
    ptr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use actix_web::http::StatusCode;

use crate::{
    exposition::exemplar::{Exemplar, ExemplarLabels},
    series::{Attributes, Block, Series, SeriesKey, SharedBlock, measures::nanos},
};

/// One worker's access to the series.
#[derive(Debug)]
pub(crate) struct WorkerSeries<X: Attributes> {
    series: Arc<Series<X>>,
    /// The blocks of this worker, by rows: those of one route, and of one label set where there are several.
    rows: RefCell<Vec<Vec<SharedBlock<X>>>>,
}

/// The place of the block in which a worker recorded a request. Two halves of a word, because requests carry it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BlockIndex {
    row: u32,
    in_row: u32,
}

impl<X: Attributes> WorkerSeries<X> {
    pub(crate) fn new(series: &Arc<Series<X>>) -> Self {
        Self {
            series: Arc::clone(series),
            rows: RefCell::default(),
        }
    }

    /// Counts and times one request, and says where.
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
    ) -> BlockIndex {
        let rows = self.rows.borrow();
        let blocks = rows.get(row).map_or(&[][..], Vec::as_slice);
        for (in_row, block) in blocks.iter().enumerate() {
            // The text too: rows are those of one worker, and another may use the monitor.
            let key = &block.key;
            if key.status == status
                && ptr::eq(key.method, method)
                && Arc::ptr_eq(&key.route, route)
                && key.attributes.same_in_row(attributes)
            {
                self.observe_latency(block, latency);
                return BlockIndex {
                    row: row as u32,
                    in_row: in_row as u32,
                };
            }
        }
        drop(rows);
        let in_row = self.add_to_row(
            row,
            SeriesKey {
                method,
                route: Arc::clone(route),
                status,
                attributes: attributes.clone(),
            },
        );
        let index = BlockIndex {
            row: row as u32,
            in_row: in_row as u32,
        };
        self.with_block(index, |block| self.observe_latency(block, latency));
        index
    }

    #[inline]
    fn observe_latency(&self, block: &Block<X>, latency: Duration) {
        let measures = &self.series.measures;
        if measures.native.is_some() {
            block.observe_natively(&measures.latency, nanos(latency));
        } else {
            measures.latency.observe(&block.numbers, nanos(latency));
        }
    }

    /// Observes the further values of a request that was recorded, in the order of the measures; `None` where there
    /// is none.
    pub(crate) fn observe(&self, index: BlockIndex, values: impl IntoIterator<Item = Option<u64>>) {
        self.with_block(index, |block| {
            for (distribution, value) in self.series.measures.further.iter().zip(values) {
                if let Some(value) = value {
                    distribution.observe(&block.numbers, value);
                }
            }
        });
    }

    /// Observes a value of the last measure.
    pub(crate) fn observe_last(&self, index: BlockIndex, value: u64) {
        self.with_block(index, |block| {
            if let Some(distribution) = self.series.measures.further.last() {
                distribution.observe(&block.numbers, value);
            }
        });
    }

    /// Keeps a request that was recorded with this latency as the exemplar of its bucket, in the place of the one before.
    pub(crate) fn keep_exemplar(&self, index: BlockIndex, latency: Duration, labels: ExemplarLabels) {
        let bucket = self.series.measures.latency.bucket(nanos(latency));
        let exemplar = Exemplar {
            labels,
            value: latency.as_secs_f64(),
            time: SystemTime::now(),
        };
        self.with_block(index, |block| block.keep_exemplar(bucket, exemplar));
    }

    pub(super) fn with_block(&self, index: BlockIndex, act: impl FnOnce(&Block<X>)) {
        let rows = self.rows.borrow();
        let row = rows.get(index.row as usize);
        if let Some(block) = row.and_then(|row| row.get(index.in_row as usize)) {
            act(block);
        }
    }

    /// Begins a series, and returns its index in its row.
    #[cold]
    fn add_to_row(&self, row: usize, key: SeriesKey<X>) -> usize {
        let mut rows = self.rows.borrow_mut();
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
