//! Groups records into the series of a family.

use std::{cmp::Ordering, fmt, sync::Arc, time::SystemTime};

use actix_web::http::StatusCode;

use crate::{
    exposition::exemplar::OfSeries,
    series::{Attributes, SeriesKey, Totals, measures::Distribution, merge_latest, native::NativeBuckets},
};

/// The parts of the key by which a family groups; records that differ only in the rest are summed up.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupBy {
    pub(crate) method: bool,
    pub(crate) route: bool,
    pub(crate) status: ByStatus,
    pub(crate) attributes: bool,
}

/// How far a family groups by the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ByStatus {
    No,
    Class,
    Exactly,
}

/// A record that has the key of a series: the totals of one, or a request in progress.
pub(crate) trait Keyed {
    type Attributes: Attributes;

    fn key(&self) -> &SeriesKey<Self::Attributes>;
}

impl GroupBy {
    pub(crate) const ALL: Self = Self {
        method: true,
        route: true,
        status: ByStatus::Exactly,
        attributes: true,
    };

    /// Calls `each` with the records of one group after the other. `records` are sorted by key.
    pub(crate) fn for_each_group<T: Keyed>(
        self,
        records: impl Iterator<Item = T>,
        mut each: impl FnMut(&[T]) -> fmt::Result,
    ) -> fmt::Result {
        let compare = |a: &T, b: &T| self.compare(a.key(), b.key());
        if !self.keeps_order() {
            let mut records: Vec<_> = records.collect();
            records.sort_by(compare);
            return records.chunk_by(|a, b| compare(a, b).is_eq()).try_for_each(each);
        }
        // One group at a time: of many series a list takes longer to fill than to group.
        let mut group = Vec::new();
        for record in records {
            if group.first().is_some_and(|first| compare(first, &record).is_ne()) {
                each(&group)?;
                group.clear();
            }
            group.push(record);
        }
        if group.is_empty() { Ok(()) } else { each(&group) }
    }

    /// Whether the records of a group follow each other in the order of the keys.
    fn keeps_order(self) -> bool {
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

    fn compare<X: Ord>(self, a: &SeriesKey<X>, b: &SeriesKey<X>) -> Ordering {
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

impl<X: Attributes> Keyed for Totals<'_, X> {
    type Attributes = X;

    fn key(&self) -> &SeriesKey<X> {
        self.key
    }
}

impl<T: Keyed> Keyed for &T {
    type Attributes = T::Attributes;

    fn key(&self) -> &SeriesKey<T::Attributes> {
        T::key(self)
    }
}

/// How many values were observed in a group.
pub(crate) fn count<X>(group: &[Totals<'_, X>], distribution: &Distribution) -> u64 {
    let buckets = |totals: &Totals<'_, X>| distribution.buckets(totals.numbers).iter().sum::<u64>();
    group.iter().map(buckets).sum()
}

/// The sum of the values that were observed in a group, in seconds or bytes.
pub(crate) fn sum<X>(group: &[Totals<'_, X>], distribution: &Distribution) -> f64 {
    group.iter().map(|totals| distribution.sum(totals.numbers)).sum()
}

/// Puts the observations of a group in each bucket into `buckets`, not cumulated.
pub(crate) fn sum_buckets<X>(
    group: &[Totals<'_, X>],
    distribution: &Distribution,
    buckets: &mut Vec<(f64, u64)>,
) {
    buckets.clear();
    buckets.extend(distribution.bounds.iter().map(|&bound| (bound, 0)));
    for totals in group {
        let counts = distribution.buckets(totals.numbers);
        for ((_, sum), count) in buckets.iter_mut().zip(counts) {
            *sum += count;
        }
    }
}

/// The latest exemplar of each bucket of the latency in a group.
pub(crate) fn latest_exemplars<X>(group: &[Totals<'_, X>]) -> OfSeries {
    let mut latest = OfSeries::new();
    for totals in group {
        merge_latest(&mut latest, totals.exemplars.iter().cloned());
    }
    latest
}

/// When a group began.
pub(crate) fn created<X>(group: &[Totals<'_, X>]) -> SystemTime {
    let created = group.iter().map(|totals| totals.created).min();
    created.unwrap_or_else(SystemTime::now)
}

/// The native buckets of the latency in a group, where they are asked for.
pub(crate) fn native_buckets<X>(group: &[Totals<'_, X>]) -> Option<NativeBuckets> {
    let mut all = group.iter().filter_map(|totals| totals.native);
    let mut sum = all.next()?.clone();
    all.for_each(|native| sum.merge(native));
    Some(sum)
}

/// The first digit of a status; 6 for all that have no class in RFC 9110.
pub(crate) fn class(status: StatusCode) -> u16 {
    (status.as_u16() / 100).min(6)
}
