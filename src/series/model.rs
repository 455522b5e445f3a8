//! Series of workers that come and go, against one map; and their grouping, against another.

use std::{collections::BTreeMap, fmt, sync::Arc, time::Duration};

use actix_web::http::StatusCode;
use proptest::{collection::vec, prelude::*, test_runner::Config};

use crate::{
    exposition::exemplar::ExemplarLabels,
    series::{
        Attributes, Series, SeriesKey,
        grouping::{ByStatus, GroupBy, Keyed, class},
        measures::{Measures, Scale},
        native::{NativeBuckets, NativeOptions},
        worker::WorkerSeries,
    },
};

const ROUTES: [&str; 3] = ["/", "/users/{id}", "unmatched"];
const METHODS: [&str; 2] = ["GET", "POST"];
const STATUSES: [StatusCode; 3] = [StatusCode::OK, StatusCode::NOT_FOUND, StatusCode::GONE];

fn native(max_buckets: usize) -> NativeOptions {
    let mut options = NativeOptions::default();
    options.max_buckets = max_buckets;
    options
}

#[derive(Clone, Debug)]
enum Step {
    /// A worker records a request with this method, route, status, latency and size, with an exemplar or without.
    Record(usize, [usize; 3], u64, Option<u64>, bool),
    /// Another takes the place of a worker.
    Replace(usize),
    Look,
}

fn step() -> impl Strategy<Value = Step> {
    let latency = prop_oneof![Just(0_u64), 0..3_000_000_000_u64, 0..60_000_000_000_u64];
    let key = [0..METHODS.len(), 0..ROUTES.len(), 0..STATUSES.len()];
    prop_oneof![
        8 => (0..3_usize, key, latency, prop::option::of(0..300_u64), any::<bool>())
            .prop_map(|(worker, key, latency, size, exemplar)| Step::Record(worker, key, latency, size, exemplar)),
        2 => (0..3_usize).prop_map(Step::Replace),
        1 => Just(Step::Look),
    ]
}

/// What one writer would have recorded: sum and buckets of the latency, of the size, and native buckets.
#[derive(Clone)]
struct Expected {
    numbers: [u64; 7],
    native: NativeBuckets,
    exemplars: [bool; 3],
}

proptest! {
    #![proptest_config(Config::with_cases(400))]

    #[test]
    fn workers_that_come_and_go_record_what_one_would(steps in vec(step(), 0..100), max_buckets in 1..40_usize) {
        let measures = Measures::latency(&[1.0, 10.0])
            .and(&[100.0], Scale::Bytes)
            .and_exemplars(true)
            .and_native(Some(native(max_buckets)));
        let series = Series::<()>::new(measures);
        // Each worker has separate texts.
        let start = || (WorkerSeries::new(&series), ROUTES.map(Arc::<str>::from));
        let mut workers = [(); 3].map(|()| start());
        let mut expected = BTreeMap::<_, Expected>::new();

        for step in steps.into_iter().chain([Step::Look, Step::Replace(0), Step::Replace(1), Step::Replace(2), Step::Look]) {
            match step {
                Step::Record(worker, [method, route, status], latency, size, has_exemplar) => {
                    let (worker, routes) = &workers[worker];
                    let duration = Duration::from_nanos(latency);
                    let key = (METHODS[method], &routes[route], STATUSES[status], &());
                    let index = worker.record(route, key, duration);
                    worker.observe(index, [size]);
                    let bucket = usize::from(latency > 1_000_000_000) + usize::from(latency > 10_000_000_000);
                    if has_exemplar {
                        let labels = vec![("latency".into(), latency.to_string())];
                        worker.keep_exemplar(index, duration, ExemplarLabels::Pairs(labels));
                    }

                    let of_key = expected.entry((METHODS[method], ROUTES[route], STATUSES[status].as_u16()));
                    let sum = of_key.or_insert_with(|| Expected {
                        numbers: [0; 7],
                        native: NativeBuckets::new(native(max_buckets)),
                        exemplars: [false; 3],
                    });
                    sum.numbers[0] += latency;
                    sum.numbers[1 + bucket] += 1;
                    if let Some(size) = size {
                        sum.numbers[4] += size;
                        sum.numbers[5 + usize::from(size > 100)] += 1;
                    }
                    sum.native.observe(latency);
                    sum.exemplars[bucket] |= has_exemplar;
                }
                Step::Replace(worker) => workers[worker] = start(),
                Step::Look => {
                    let snapshot = series.snapshot();
                    prop_assert_eq!(snapshot.all().count(), expected.len());
                    for (totals, (key, sum)) in snapshot.all().zip(&expected) {
                        prop_assert_eq!((totals.key.method, &*totals.key.route, totals.key.status.as_u16()), *key);
                        prop_assert_eq!(totals.numbers, sum.numbers);
                        prop_assert_eq!(format!("{:?}", totals.native.unwrap()), format!("{:?}", sum.native));
                        let mut exemplars = [false; 3];
                        for (bucket, exemplar) in totals.exemplars {
                            exemplars[*bucket] = true;
                            // It is one of a request in its bucket.
                            let latency: u64 = exemplar.labels.pairs().next().unwrap().1.parse().unwrap();
                            prop_assert_eq!(usize::from(latency > 1_000_000_000) + usize::from(latency > 10_000_000_000), *bucket);
                        }
                        prop_assert_eq!(exemplars, sum.exemplars);
                    }
                }
            }
        }
        let all = series.all.lock();
        prop_assert!(all.parts.iter().all(|parts| parts.blocks.len() == 1), "{all:?}");
    }

    #[test]
    fn groups_are_the_records_with_equal_keys(
        keys in vec((0..2_usize, 0..3_usize, 100..700_u16, 0..3_u8), 0..40),
        method: bool, route: bool, attributes: bool, status in 0..3_usize,
    ) {
        let mut records: Vec<_> = keys.into_iter().map(|(method, route, status, attributes)| Record(SeriesKey {
            method: METHODS[method],
            route: ROUTES[route].into(),
            status: StatusCode::from_u16(status).unwrap(),
            attributes: Attribute(attributes),
        })).collect();
        records.sort_by(|a, b| a.0.cmp(&b.0));
        let status = [ByStatus::No, ByStatus::Class, ByStatus::Exactly][status];
        let group_by = GroupBy { method, route, status, attributes };

        let mut expected = BTreeMap::<_, usize>::new();
        for Record(key) in &records {
            *expected.entry(grouped(key, group_by)).or_default() += 1;
        }
        let mut groups = Vec::new();
        group_by.for_each_group(records.iter(), |group| {
            groups.push((grouped(&group[0].0, group_by), group.len()));
            let first = &groups.last().unwrap().0;
            assert!(group.iter().all(|record| grouped(&record.0, group_by) == *first));
            Ok(())
        }).unwrap();
        prop_assert_eq!(groups, expected.into_iter().collect::<Vec<_>>());
    }
}

/// What a group has in common.
fn grouped(
    key: &SeriesKey<Attribute>,
    by: GroupBy,
) -> (Option<&str>, Option<&str>, Option<u16>, Option<Attribute>) {
    let status = match by.status {
        ByStatus::No => None,
        ByStatus::Class => Some(class(key.status)),
        ByStatus::Exactly => Some(key.status.as_u16()),
    };
    (
        by.method.then_some(key.method),
        by.route.then_some(&*key.route),
        status,
        by.attributes.then_some(key.attributes),
    )
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Attribute(u8);

impl Attributes for Attribute {
    fn same_in_row(&self, other: &Self) -> bool {
        self == other
    }

    fn for_each_label(_: &SeriesKey<Self>, _: &mut dyn FnMut(&str, &str) -> fmt::Result) -> fmt::Result {
        Ok(())
    }
}

struct Record(SeriesKey<Attribute>);

impl Keyed for Record {
    type Attributes = Attribute;

    fn key(&self) -> &SeriesKey<Attribute> {
        &self.0
    }
}
