//! The state that the requests of one worker share.

use std::{
    cell::{Cell, OnceCell},
    mem,
    rc::Rc,
    sync::Arc,
};

use actix_web::{HttpRequest, HttpResponse, body::BodySize, dev::ServiceRequest, http::StatusCode};

use crate::{
    in_flight::{
        InFlightTable,
        place::{Place, RouteOf},
    },
    method::MethodLabel,
    middleware::{Options, polls::Polls},
    monitor::{
        hooks::{Ending, Facts, RequestStart, ResponseStart},
        set::MonitorSet,
    },
    route::{RouteLabel, Routes, labelling::Values},
    workers::ShownWorker,
};

/// The state that the requests of one worker share.
#[expect(
    clippy::struct_excessive_bools,
    reason = "what is asked once, to be looked at on the way of every request"
)]
pub(crate) struct Worker<S: MonitorSet> {
    pub(crate) monitors: S,
    pub(crate) options: Arc<Options>,
    pub(crate) has_predicates: bool,
    pub(crate) routes: Routes,
    pub(crate) counts_request_body: bool,
    pub(crate) times_polls: bool,
    /// Whether connections are told of their requests.
    pub(crate) counts_on_connections: bool,
    pub(crate) in_flight: Arc<InFlightTable>,
    pub(crate) spare_states: SpareStates<S>,
    /// Keeps the worker in the scrape.
    pub(crate) _shown: Option<ShownWorker>,
}

impl<S: MonitorSet> Worker<S> {
    #[inline]
    pub(crate) fn start<'a>(
        &'a self,
        request: &'a ServiceRequest,
        method: &'static MethodLabel,
        facts: Option<&'a Facts>,
        values: Values,
    ) -> RequestStart<'a> {
        RequestStart {
            request,
            method,
            facts,
            table: &self.in_flight,
            routes: &self.routes,
            route: OnceCell::new(),
            values,
        }
    }

    /// Whether a predicate excludes this request.
    #[cold]
    pub(crate) fn excludes(&self, request: &ServiceRequest, method: &'static MethodLabel) -> bool {
        let start = self.start(request, method, None, Values::Show);
        self.options.predicates.exclude(&start)
    }
}

/// One request in the hands of its worker, which uses the memory again for the next one.
pub(crate) struct RequestState<S: MonitorSet> {
    /// `None` while the memory waits for its next request, else a worker would own itself.
    pub(super) worker: Option<Rc<Worker<S>>>,
    /// The place of this memory in the worker's table of requests in progress.
    pub(super) place: Arc<Place>,
    /// `None` when nothing is left to be called for this request.
    pub(super) in_flight: Option<S::InFlight>,
    pub(super) facts: Facts,
    pub(super) polls: Polls,
    /// How much was read of the request's body, where it has one and that is counted.
    pub(super) request_body_bytes: Option<Rc<Cell<u64>>>,
    /// The route that served the request, once there was a response.
    pub(super) route: Option<Rc<RouteLabel>>,
    /// Whether the table of requests in progress knows that route.
    pub(super) route_is_shown: bool,
    /// While this memory waits for its next request: the next that does.
    next_spare: Option<Box<Self>>,
}

impl<S: MonitorSet> RequestState<S> {
    #[cold]
    pub(super) fn new(facts: Facts, place: Arc<Place>) -> Box<Self> {
        Box::new(Self {
            worker: None,
            place,
            in_flight: None,
            polls: Polls::untimed(facts.arrived),
            facts,
            request_body_bytes: None,
            route: None,
            route_is_shown: false,
            next_spare: None,
        })
    }

    /// Whether the path of the request, which is `path` when it is decoded, is still the one that arrived, and no other
    /// that a middleware put in its place.
    #[inline]
    pub(super) fn has_path(&self, request: &HttpRequest, path: &str) -> bool {
        // In most there is nothing to be decoded.
        self.place.has_path(path) || self.has_encoded_path(request)
    }

    #[cold]
    fn has_encoded_path(&self, request: &HttpRequest) -> bool {
        self.place.has_path(request.match_info().get_ref().uri().path())
    }

    /// Learns what is known of the response, and tells the monitors; `false` if there is nothing of a body to come.
    #[inline]
    pub(super) fn respond<B>(
        &mut self,
        route: Rc<RouteLabel>,
        request: &HttpRequest,
        response: &HttpResponse<B>,
        body_size: BodySize,
    ) -> bool {
        let facts = &mut self.facts;
        let head = response.head();
        facts.status = Some(head.status);
        facts.response_body_size = body_size;
        if let (Some(worker), Some(in_flight)) = (&self.worker, &mut self.in_flight)
            && worker.monitors.looks_at_response(body_size)
        {
            let start = ResponseStart {
                request,
                head,
                extensions: response.extensions(),
                long_lived_types: &worker.options.long_lived_types,
                facts,
                route: &route,
            };
            worker.monitors.respond(in_flight, &start);
        }
        // In its place is none, so there is nothing to drop.
        mem::forget(self.route.replace(route));
        self.has_body_to_come()
    }

    /// Whether there are bytes of a body to come.
    #[inline]
    pub(super) fn has_body_to_come(&self) -> bool {
        // The server sends no byte of a body in answer to HEAD. On HTTP/1 it still polls it, and a stream that
        // stays pending would keep the request forever.
        !self.facts.response_body_size.is_eof() && !self.facts.is_head
    }

    /// The status of a request that ended without a response.
    #[cold]
    pub(super) fn status_without_response(&self, ending: Ending) -> StatusCode {
        match ending {
            Ending::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            _ => self.facts.status_of_error.unwrap_or_else(client_closed_request),
        }
    }

    /// Labels a request that ended without a response, or excludes it.
    #[cold]
    pub(super) fn route_without_response(&mut self, worker: &Worker<S>) {
        if self.in_flight.is_some() {
            self.route = match self.place.route() {
                Some(RouteOf::Unknown(path)) => {
                    let status = self.facts.status.or(self.facts.status_of_error);
                    worker.routes.without_response(&path, status)
                }
                Some(RouteOf::Known(verdict)) => {
                    worker.routes.note_requested_by(|| self.place.path());
                    worker.routes.label(verdict)
                }
                None => None,
            };
        }
        if self.route.is_none()
            && let Some(in_flight) = self.in_flight.take()
        {
            worker.monitors.forget(in_flight);
        }
    }
}

/// The status of a request that was dropped before there was a response: nginx's "client closed request", which has
/// no entry in IANA's registry and is never sent.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT)
}

/// The memory of requests that have ended, for those to come: in the long run a worker allocates nothing for a request.
pub(crate) struct SpareStates<S: MonitorSet> {
    first: Cell<Option<Box<RequestState<S>>>>,
    len: Cell<usize>,
}

impl<S: MonitorSet> SpareStates<S> {
    /// How many a worker keeps, after a burst.
    const MOST: usize = 128;

    pub(crate) fn new() -> Self {
        Self {
            first: Cell::new(None),
            len: Cell::new(0),
        }
    }

    #[inline]
    pub(super) fn take(&self) -> Option<Box<RequestState<S>>> {
        let mut state = self.first.take()?;
        self.first.set(state.next_spare.take());
        self.len.set(self.len.get() - 1);
        Some(state)
    }

    #[inline]
    pub(super) fn put_back(&self, mut state: Box<RequestState<S>>, table: &InFlightTable) {
        let len = self.len.get();
        if len < Self::MOST {
            state.next_spare = self.first.take();
            self.first.set(Some(state));
            self.len.set(len + 1);
        } else {
            table.remove_place(&state.place);
        }
    }
}
