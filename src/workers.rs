//! How busy each worker is: the counts of its tokio runtime, read at each scrape.

use std::{fmt, sync::Arc, time::Instant};

use actix_web::HttpRequest;
use futures_util::future::{LocalBoxFuture, ready};
use parking_lot::Mutex;
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
    registry::Unit,
};
use tokio::runtime::{Handle, Id};

use crate::{
    error::Error,
    registry::{BeforeScrape, MetricsRegistry},
};

/// The workers that record into one registry, each at the place of its number.
#[derive(Debug, Default)]
pub(crate) struct Workers(Arc<Mutex<Vec<Seat>>>);

/// One number: the worker that has it, and the counts of those that had it before.
#[derive(Debug, Default)]
struct Seat {
    running: Option<Running>,
    /// The worker that had the number last, and its counts when it gave it back. If the same worker takes the number
    /// again, tokio continues from them.
    last: Option<(Id, Counts)>,
    /// The counts of earlier workers with this number.
    before: Counts,
}

/// A runtime, as long as applications on it record into the registry.
#[derive(Debug)]
struct Running {
    id: Id,
    runtime: Handle,
    applications: usize,
    /// Whether tokio counts its tasks: not those of a `LocalSet`, on which the workers of an actix `System` run theirs.
    counts_tasks: bool,
    shown: Counts,
    /// Since when scrapes have seen it at the same piece of work, by its count of parks.
    working: Option<(u64, Instant)>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    busy_seconds: f64,
    parks: u64,
}

impl Counts {
    fn plus(self, other: Self) -> Self {
        Self {
            busy_seconds: self.busy_seconds + other.busy_seconds,
            parks: self.parks + other.parks,
        }
    }
}

impl Workers {
    /// The workers of `registry`, whose families are registered there once.
    pub(crate) fn of(registry: &MetricsRegistry) -> Result<Arc<Self>, Error> {
        #[derive(PartialEq)]
        struct OfRegistry;

        registry.register_once("of workers", OfRegistry, |registry| {
            let workers = Self::default();
            registry.register_collector(Box::new(WorkersCollector(Arc::clone(&workers.0))));
            workers
        })
    }

    /// Shows the runtime of this thread under the lowest number that is free, until what is returned is dropped. `None`
    /// where there is no runtime.
    pub(crate) fn join(&self) -> Option<ShownWorker> {
        let runtime = Handle::try_current().ok()?;
        let id = runtime.id();
        let mut seats = self.0.lock();
        let shown = ShownWorker {
            id,
            workers: Self(Arc::clone(&self.0)),
        };
        if let Some(running) = seats.iter_mut().find_map(|seat| seat.running_as(id)) {
            running.applications += 1;
            return Some(shown);
        }
        let had_by = |seat: &Seat| seat.running.is_none() && seat.last.is_some_and(|(last, _)| last == id);
        let number = seats.iter().position(had_by);
        let number = number.or_else(|| seats.iter().position(|seat| seat.running.is_none()));
        let number = number.unwrap_or_else(|| {
            seats.push(Seat::default());
            seats.len() - 1
        });
        let seat = &mut seats[number];
        let (last, counted) = seat.last.take().unwrap_or((id, Counts::default()));
        if last != id {
            seat.before = seat.before.plus(counted);
        }
        seat.running = Some(Running {
            id,
            // This runs in one of them.
            counts_tasks: runtime.metrics().num_alive_tasks() > 0,
            runtime,
            applications: 1,
            // Its own, if it had the number before: a counter must not fall.
            shown: if last == id { counted } else { Counts::default() },
            working: None,
        });
        Some(shown)
    }
}

impl BeforeScrape for Workers {
    fn prepare(&self, _: &HttpRequest) -> LocalBoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}

/// A worker that is in the scrape, as long as this lives.
#[derive(Debug)]
pub(crate) struct ShownWorker {
    id: Id,
    workers: Workers,
}

impl Drop for ShownWorker {
    fn drop(&mut self) {
        let mut seats = self.workers.0.lock();
        for seat in &mut *seats {
            if let Some(running) = seat.running_as(self.id) {
                running.applications -= 1;
                if running.applications == 0 {
                    seat.last = Some((self.id, running.counts()));
                    seat.running = None;
                }
                return;
            }
        }
    }
}

impl Seat {
    fn running_as(&mut self, id: Id) -> Option<&mut Running> {
        self.running.as_mut().filter(|running| running.id == id)
    }

    fn counts(&mut self) -> Counts {
        let counts = self.running.as_mut().map(Running::counts);
        let counts = counts.or(self.last.map(|(_, counts)| counts));
        self.before.plus(counts.unwrap_or_default())
    }
}

impl Running {
    /// What it has counted since it was made.
    ///
    /// tokio adds the time of a piece of work when that has ended, so a worker that is blocked would look idle all the
    /// while. Its count of parks and their ends is even while it works: when two scrapes find the same one, it has worked
    /// from the first of them to the second.
    fn counts(&mut self) -> Counts {
        let metrics = self.runtime.metrics();
        let mut counts = Counts::default();
        let mut changes = 0;
        for worker in 0..metrics.num_workers() {
            counts.busy_seconds += metrics.worker_total_busy_duration(worker).as_secs_f64();
            counts.parks += metrics.worker_park_count(worker);
            changes += metrics.worker_park_unpark_count(worker);
        }
        let is_working = metrics.num_workers() == 1 && changes % 2 == 0;
        self.working = match self.working {
            Some(working) if is_working && working.0 == changes => Some(working),
            _ => is_working.then(|| (changes, Instant::now())),
        };
        if let Some((_, since)) = self.working {
            counts.busy_seconds += since.elapsed().as_secs_f64();
        }
        // The work may have ended in the middle of this, and its time be here twice; a counter must not fall.
        self.shown = Counts {
            busy_seconds: counts.busy_seconds.max(self.shown.busy_seconds),
            parks: counts.parks.max(self.shown.parks),
        };
        self.shown
    }
}

/// Encodes all numbers that a worker has had.
#[derive(Debug)]
struct WorkersCollector(Arc<Mutex<Vec<Seat>>>);

impl Collector for WorkersCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let shown: Vec<_> = {
            let mut seats = self.0.lock();
            let shown = |(number, seat): (usize, &mut Seat)| {
                let counts = seat.counts();
                let counting = seat.running.as_ref().filter(|running| running.counts_tasks);
                let tasks = counting.map(|running| {
                    let metrics = running.runtime.metrics();
                    (metrics.num_alive_tasks(), metrics.global_queue_depth())
                });
                ([("worker", number.to_string())], counts, tasks)
            };
            seats.iter_mut().enumerate().map(shown).collect()
        };
        if shown.is_empty() {
            return Ok(());
        }
        let help = "Time that the worker did not wait for events; its rate is the utilization, from 0 to 1";
        let mut family = encoder.encode_descriptor(
            "actix_worker_busy",
            help,
            Some(&Unit::Seconds),
            MetricType::Counter,
        )?;
        for (label, counts, ..) in &shown {
            family
                .encode_family(label)?
                .encode_counter::<NoLabelSet, _, f64>(&counts.busy_seconds, None)?;
        }
        let help = "Times that the worker had nothing to do and waited for events";
        let mut family = encoder.encode_descriptor("actix_worker_parks", help, None, MetricType::Counter)?;
        for (label, counts, ..) in &shown {
            family
                .encode_family(label)?
                .encode_counter::<NoLabelSet, _, u64>(&counts.parks, None)?;
        }
        if shown.iter().all(|(.., tasks)| tasks.is_none()) {
            return Ok(());
        }
        let help = "Tasks on the worker that have not ended";
        let mut family = encoder.encode_descriptor("actix_worker_tasks", help, None, MetricType::Gauge)?;
        for (label, _, tasks) in &shown {
            if let Some((alive, _)) = tasks {
                family.encode_family(label)?.encode_gauge(&to_i64(*alive))?;
            }
        }
        let help = "Tasks woken by other threads that the worker has not come to yet";
        let mut family =
            encoder.encode_descriptor("actix_worker_queue_depth", help, None, MetricType::Gauge)?;
        for (label, _, tasks) in &shown {
            if let Some((_, queued)) = tasks {
                family.encode_family(label)?.encode_gauge(&to_i64(*queued))?;
            }
        }
        Ok(())
    }
}

fn to_i64(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
