//! Objectives: whether requests succeed in time.

use std::{any::TypeId, cell::RefCell, fmt, sync::Arc, time::Duration};

use actix_web::http::StatusCode;
use log::Level;

use crate::{
    monitor::hooks::{Ending, RequestEnd, RequestStart},
    panics::{DiscardOnDrop, LogOnce, catch, report},
    route::RouteLabel,
};

/// The objective of a route.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Objective {
    /// The label of the route.
    pub(super) route: Arc<str>,
    /// The share of requests that should meet it.
    pub(super) ratio: f64,
    /// How long a request may take.
    pub(super) within: Duration,
}

/// A user's function that decides which requests failed.
#[derive(Clone)]
pub(super) struct Failures {
    is_failure: Arc<dyn Fn(&RequestEnd<'_>) -> bool + Send + Sync>,
    /// The type of that function, by which two of them are equal.
    closure: TypeId,
}

impl Failures {
    pub(super) fn new<F>(is_failure: F) -> Self
    where
        F: Fn(&RequestEnd<'_>) -> bool + Send + Sync + 'static,
    {
        // Its captured values may panic when they are dropped.
        let is_failure = DiscardOnDrop::new(is_failure);
        Self {
            is_failure: Arc::new(move |end| is_failure.as_ref().is_some_and(|is_failure| is_failure(end))),
            closure: TypeId::of::<F>(),
        }
    }
}

impl PartialEq for Failures {
    fn eq(&self, other: &Self) -> bool {
        self.closure == other.closure
    }
}

impl fmt::Debug for Failures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failures").finish_non_exhaustive()
    }
}

/// The objectives of one monitor.
#[derive(Debug)]
pub(super) struct Objectives {
    /// In the order of a scrape.
    pub(super) all: Vec<Objective>,
    failures: Option<Failures>,
    logged: LogOnce,
}

impl Objectives {
    pub(super) fn new(mut all: Vec<Objective>, failures: Option<Failures>) -> Self {
        all.sort_by(|a, b| a.route.cmp(&b.route));
        Self {
            all,
            failures,
            logged: LogOnce::default(),
        }
    }

    /// Warns of objectives that no request can meet or miss: for routes that the application does not have, or that are
    /// excluded.
    #[cold]
    pub(super) fn warn_of_routes_without_requests(&self, request: &RequestStart<'_>) {
        let labelling = &request.routes.labelling;
        for Objective { route, .. } in &self.all {
            if labelling.rules.excludes(route) {
                report(
                    Level::Warn,
                    format_args!(
                        "objective: `exclude_routes` has the route {route:?}, so none of its requests counts; remove one of the two"
                    ),
                );
                continue;
            }
            let keeps_values = labelling.rules.keeps_any();
            labelling.table.warn_if_unknown(route, "objective", keeps_values);
        }
    }

    /// The index of the objective of the route with this label.
    pub(super) fn index_of(&self, route: &str) -> Option<usize> {
        self.all.iter().position(|objective| *objective.route == *route)
    }

    /// Whether a request missed an objective of its route.
    pub(super) fn is_missed(&self, objective: usize, end: &RequestEnd<'_>) -> bool {
        end.latency() > self.all[objective].within || self.is_failure(end)
    }

    fn is_failure(&self, end: &RequestEnd<'_>) -> bool {
        let Some(failures) = &self.failures else {
            return is_failure(end);
        };
        catch(|| (failures.is_failure)(end)).unwrap_or_else(|panicked| {
            self.logged.log(
                Level::Error,
                format_args!("the function of `objective_failures` panicked: {panicked}; fix it; affected requests are judged without it (logged once)"),
            );
            is_failure(end)
        })
    }
}

/// Whether a request failed, by default.
fn is_failure(end: &RequestEnd<'_>) -> bool {
    let status = end.status();
    // Without a response the status is 499 or 500. A dropped body may mean only that the client left.
    status >= StatusCode::INTERNAL_SERVER_ERROR
        || status.as_u16() == 499
        || matches!(end.ending(), Ending::Failed | Ending::Panicked)
}

/// The objectives of one worker's routes, by the number of the route.
#[derive(Debug, Default)]
pub(super) struct ObjectivesOfWorker(RefCell<Vec<Option<OfRoute>>>);

/// The label of a route, and the index of its objective, if it has one.
type OfRoute = (Arc<str>, Option<usize>);

impl ObjectivesOfWorker {
    /// The objective of a route; looked up by its text once.
    pub(super) fn find(&self, objectives: &Objectives, route: &RouteLabel) -> Option<usize> {
        let mut known = self.0.borrow_mut();
        // The text too: numbers are those of one worker, and another may use the monitor.
        if let Some(Some((text, objective))) = known.get(route.id)
            && Arc::ptr_eq(text, &route.text)
        {
            return *objective;
        }
        if known.len() <= route.id {
            known.resize(route.id + 1, None);
        }
        let objective = objectives.index_of(&route.text);
        known[route.id] = Some((Arc::clone(&route.text), objective));
        objective
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use actix_web::{
        body::BodySize,
        http::{Method, StatusCode},
    };

    use super::{Failures, Objective, Objectives, ObjectivesOfWorker};
    use crate::{
        method::Methods,
        monitor::hooks::{Ending, Facts, RequestEnd},
        route::RouteLabel,
    };

    fn objectives(failures: Option<Failures>) -> Objectives {
        let objective = |route: &str, milliseconds| Objective {
            route: route.into(),
            ratio: 0.999,
            within: Duration::from_millis(milliseconds),
        };
        Objectives::new(
            vec![objective("/search", 1_000), objective("/pay", 300)],
            failures,
        )
    }

    /// Whether a request that took so long and ended so misses the objective of 300 ms.
    fn is_missed(failures: Option<Failures>, latency: Duration, status: u16, ending: Ending) -> bool {
        let mut facts = Facts::new(Methods::default().label(&Method::GET), false, Instant::now());
        facts.response_body_size = BodySize::Sized(5);
        let end = RequestEnd {
            facts: &facts,
            route: &RouteLabel::new("/pay".into(), 1),
            status: StatusCode::from_u16(status).unwrap(),
            latency,
            polls: None,
            request_body_bytes: None,
            ending,
        };
        let objectives = objectives(failures);
        objectives.is_missed(objectives.index_of("/pay").unwrap(), &end)
    }

    #[test]
    fn a_request_may_take_as_long_as_the_objective_says_and_no_nanosecond_longer() {
        let takes = |latency| is_missed(None, latency, 200, Ending::Completed);
        assert!(!takes(Duration::ZERO));
        assert!(!takes(Duration::from_millis(300)));
        assert!(takes(Duration::from_millis(300) + Duration::from_nanos(1)));
    }

    #[test]
    fn a_request_that_failed_misses_its_objective_and_one_whose_client_left_its_body_does_not() {
        let ends = |status, ending| is_missed(None, Duration::ZERO, status, ending);
        for status in [200, 302, 404, 429, 498] {
            assert!(!ends(status, Ending::Completed), "{status}");
            assert!(!ends(status, Ending::Dropped), "{status}");
            assert!(ends(status, Ending::Failed), "{status}");
            assert!(ends(status, Ending::Panicked), "{status}");
        }
        for status in [499, 500, 503, 599] {
            assert!(ends(status, Ending::Completed), "{status}");
            assert!(ends(status, Ending::Dropped), "{status}");
        }
    }

    #[test]
    fn what_a_failure_is_can_be_chosen_and_too_slow_always_misses() {
        let ends = |latency, status| {
            let failures = Failures::new(|end| end.status() == 404);
            is_missed(Some(failures), latency, status, Ending::Completed)
        };
        assert!(ends(Duration::ZERO, 404));
        assert!(!ends(Duration::ZERO, 500));
        assert!(ends(Duration::from_secs(1), 500));
    }

    #[test]
    fn a_function_that_panics_leaves_the_judgement_as_it_is_without() {
        let ends = |status| {
            let failures = Failures::new(|_| panic!("in a function of objective_failures"));
            is_missed(Some(failures), Duration::ZERO, status, Ending::Completed)
        };
        assert!(!ends(200));
        assert!(ends(500));
    }

    #[test]
    fn a_route_of_another_worker_with_the_same_number_is_told_apart() {
        let objectives = objectives(None);
        let worker = ObjectivesOfWorker::default();
        let find = |text: &str| worker.find(&objectives, &RouteLabel::new(text.into(), 7));
        assert_eq!(find("/pay"), Some(0));
        assert_eq!(find("/other"), None);
        assert_eq!(find("/search"), Some(1));
    }
}
