//! One request from its arrival to the last byte of its response.

use std::{
    cell::Cell,
    mem::{self, ManuallyDrop},
    pin::Pin,
    rc::Rc,
    sync::Arc,
    task::Poll,
    thread,
    time::Instant,
};

use actix_web::{
    HttpMessage as _,
    body::BodySize,
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::Method,
    web::Bytes,
};
use futures_util::stream::{Stream, StreamExt as _};

use crate::{
    middleware::{
        exclusion::Excluded,
        polls::Polls,
        worker::{RequestState, Worker},
    },
    monitor::{
        hooks::{Ending, Facts, RequestEnd},
        set::MonitorSet,
    },
    route::{
        Served,
        labelling::{Values, Verdict},
    },
};

/// The guard of one request. It travels from `call` into the future and from there into the body; wherever it is
/// dropped, the request ends, once.
///
/// A pointer, because the server moves what holds it many times on the way of a request.
pub(crate) struct ActiveRequest<S: MonitorSet> {
    /// `None` when the request has ended. Not to be dropped once more after `Drop`, which takes it.
    pub(super) state: ManuallyDrop<Option<Box<RequestState<S>>>>,
}

impl<S: MonitorSet> ActiveRequest<S> {
    /// Begins to measure a request, unless it is excluded.
    #[inline]
    pub(crate) fn begin(worker: &Rc<Worker<S>>, request: &mut ServiceRequest) -> Self {
        let head = request.head();
        let method = worker.options.methods.label(&head.method);
        // Before the clock is read, which an excluded request does not need.
        if worker.has_predicates && worker.excludes(request, method) {
            return Self::of(None);
        }
        let facts = Facts::new(method, matches!(head.method, Method::HEAD), Instant::now());
        let mut state = match worker.spare_states.take() {
            Some(mut state) => {
                state.facts = facts;
                state
            }
            None => RequestState::new(facts, worker.in_flight.add_place()),
        };
        state.place.arrive(method, &head.uri);
        // In its place is none, so there is nothing to drop; the same below.
        mem::forget(state.worker.replace(Rc::clone(worker)));
        if worker.times_polls {
            state.polls = Polls::timed(state.facts.arrived);
        }
        state.route_is_shown = false;
        // From here on the request ends once, whatever happens.
        let mut active = Self::of(Some(state));
        active.start(worker, request);
        active
    }

    #[inline]
    fn of(state: Option<Box<RequestState<S>>>) -> Self {
        Self {
            state: ManuallyDrop::new(state),
        }
    }

    /// Tells the monitors that the request arrived.
    #[inline]
    fn start(&mut self, worker: &Worker<S>, request: &mut ServiceRequest) {
        let Some(state) = &mut *self.state else { return };
        let unseen = worker
            .monitors
            .start_unseen(Arc::as_ptr(&worker.in_flight).addr());
        let in_flight = unseen.unwrap_or_else(|| {
            let facts = &state.facts;
            let start = worker.start(request, facts.method, Some(facts), Values::Admit);
            worker.monitors.start(&start)
        });
        mem::forget(state.in_flight.replace(in_flight));
        worker.in_flight.note_arrival(&state.place, state.facts.arrived);
        if worker.counts_request_body {
            count_request_body(request, &mut state.request_body_bytes);
        }
    }

    /// Runs code of the application; if it panics, the request ends while that unwinds.
    ///
    /// `thread::panicking` in `Drop` would not do: tokio catches the panic first and drops the future then.
    #[inline]
    pub(crate) fn run<T>(&mut self, code: impl FnOnce() -> T) -> T {
        let on_unwind = OnUnwind(self);
        let value = code();
        mem::forget(on_unwind);
        value
    }

    /// A poll begins.
    #[inline]
    pub(super) fn begin_poll(&mut self) {
        if let Some(state) = &mut *self.state {
            state.polls.begin();
        }
    }

    /// A poll ends; the request goes on, if it has not ended.
    #[inline]
    pub(super) fn pause(&mut self) {
        if let Some(state) = &mut *self.state {
            state.polls.pause();
        }
    }

    /// Hands the request over.
    #[inline]
    pub(super) fn take(&mut self) -> Self {
        Self::of(self.state.take())
    }

    /// Reads from the response what is gone a moment later; `false` if the route that served it is not clear, which
    /// [`respond_for_certain`](Self::respond_for_certain) finds out.
    #[inline]
    pub(super) fn respond<B>(&mut self, response: &ServiceResponse<B>, body_size: BodySize) -> bool {
        let Some(state) = &mut *self.state else {
            return true;
        };
        let Some(worker) = &state.worker else { return true };
        let request = response.request();
        let response = response.response();
        if Excluded::marks(request, &response.extensions()) {
            self.forget();
            return true;
        }
        let status = response.status();
        let path = request.match_info().as_str();
        let served = if state.has_path(request, path) {
            worker.routes.served(request, path, status)
        } else {
            Served::Unclear
        };
        let route = match served {
            Served::As(route) => route,
            Served::Unclear => match worker.routes.served_as_noted(request, status) {
                Served::As(route) => route,
                Served::Unclear => return false,
            },
        };
        let Some(route) = route else {
            self.forget();
            return true;
        };
        if state.respond(route, request, response, body_size) {
            state.polls.pause();
        } else {
            self.end(Ending::Completed);
        }
        true
    }

    /// Reads the same, when that needs the request itself.
    #[cold]
    pub(super) fn respond_for_certain<B, E>(
        &mut self,
        result: Poll<Result<ServiceResponse<B>, E>>,
        body_size: BodySize,
    ) -> Poll<Result<ServiceResponse<B>, E>> {
        result.map_ok(|response| {
            let Some(state) = &mut *self.state else {
                return response;
            };
            let Some(worker) = &state.worker else {
                return response;
            };
            let (request, response) = response.into_parts();
            let (request, route) = worker.routes.served_for_certain(request, response.status());
            match route {
                Some(route) => {
                    if state.respond(route, &request, &response, body_size) {
                        state.polls.pause();
                    } else {
                        self.end(Ending::Completed);
                    }
                }
                None => self.forget(),
            }
            ServiceResponse::new(request, response)
        })
    }

    /// Excludes the request.
    #[cold]
    fn forget(&mut self) {
        let Some(state) = &mut *self.state else { return };
        if let (Some(worker), Some(in_flight)) = (&state.worker, state.in_flight.take()) {
            worker.monitors.forget(in_flight);
        }
        // With nothing left to be called.
        self.end(Ending::Dropped);
    }

    /// Counts bytes of the body that were passed to the server; ends the request if they were the last.
    #[inline]
    pub(super) fn sent(&mut self, bytes: usize) {
        let Some(state) = &mut *self.state else { return };
        let facts = &mut state.facts;
        facts.response_body_bytes += bytes as u64;
        // Not every server asks for the end of a body whose size it knows.
        if facts.response_body_size == BodySize::Sized(facts.response_body_bytes) {
            self.end(Ending::Completed);
        } else {
            self.wait();
        }
    }

    /// Waits for the rest of the body. Only now is it clear that it takes time: so the route, which a scrape sees
    /// in the table of requests in progress, costs nothing for a body that is sent at once.
    #[inline]
    pub(super) fn wait(&mut self) {
        let Some(state) = &mut *self.state else { return };
        state.polls.pause();
        if !state.route_is_shown
            && let Some(route) = &state.route
        {
            state.place.label(Verdict::Label(Arc::clone(&route.text)));
            state.route_is_shown = true;
        }
    }

    #[cold]
    fn end_by_drop(&mut self) {
        // Such as a panic while an error is made into a response.
        self.end(if thread::panicking() {
            Ending::Panicked
        } else {
            Ending::Dropped
        });
    }

    /// Ends the request, if it has not ended.
    pub(super) fn end(&mut self, ending: Ending) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        let Some(worker) = state.worker.take() else { return };
        if state.route.is_none() {
            state.route_without_response(&worker);
        }
        if let (Some(in_flight), Some(route)) = (state.in_flight.take(), &state.route) {
            let status = state.facts.status;
            let latency = state.facts.arrived.elapsed();
            let end = RequestEnd {
                facts: &state.facts,
                route,
                status: status.unwrap_or_else(|| state.status_without_response(ending)),
                latency,
                polls: state.polls.end(|| state.facts.arrived + latency),
                request_body_bytes: worker
                    .counts_request_body
                    .then(|| state.request_body_bytes.as_ref().map_or(0, |bytes| bytes.get())),
                ending,
            };
            worker.monitors.end(in_flight, &end);
        }
        // Only now: where no request is in progress, all are recorded.
        state.place.leave();
        state.route = None;
        worker.spare_states.put_back(state, &worker.in_flight);
    }
}

impl<S: MonitorSet> Drop for ActiveRequest<S> {
    #[inline]
    fn drop(&mut self) {
        if self.state.is_some() {
            self.end_by_drop();
        }
    }
}

/// Ends a request when it is dropped, which only a panic does.
struct OnUnwind<'a, S: MonitorSet>(&'a mut ActiveRequest<S>);

impl<S: MonitorSet> Drop for OnUnwind<'_, S> {
    fn drop(&mut self) {
        self.0.end(Ending::Panicked);
    }
}

/// Counts the bytes of a request body as they are read, if there is one.
#[cold]
fn count_request_body(request: &mut ServiceRequest, counted: &mut Option<Rc<Cell<u64>>>) {
    // The memory of the request before, unless something still reads its body.
    let spare = counted.take().filter(|bytes| Rc::strong_count(bytes) == 1);
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return;
    }
    let bytes = spare.unwrap_or_default();
    bytes.set(0);
    let read = Rc::clone(counted.insert(bytes));
    let payload = payload.inspect(move |chunk: &Result<Bytes, PayloadError>| {
        if let Ok(chunk) = chunk {
            read.set(read.get() + chunk.len() as u64);
        }
    });
    let payload: Pin<Box<dyn Stream<Item = _>>> = Box::pin(payload);
    request.set_payload(Payload::Stream { payload });
}
