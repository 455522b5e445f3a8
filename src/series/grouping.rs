//! Which series fall into one group of a family.

use crate::series::SeriesKey;
use std::{cmp::Ordering, sync::Arc};

use actix_web::http::StatusCode;

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
