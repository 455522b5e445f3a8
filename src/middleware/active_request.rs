//! One request from its arrival to the last byte of its response.

use std::{
    cell::{Cell, RefCell},
    mem,
    panic::{AssertUnwindSafe, catch_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    thread,
    time::Instant,
};

use actix_web::{
    Error, HttpMessage as _,
    body::{BodySize, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{StatusCode, uri::PathAndQuery},
    web::Bytes,
};
use futures_util::stream::{Stream, StreamExt as _};
use pin_project_lite::pin_project;

use crate::{
    in_flight::InFlightTable,
    middleware::Worker,
    monitor::{Ending, Excluded, MonitorSet, RequestEnd, ResponseStart},
    route::{RouteLabel, arrived_path},
};

/// The status of a request that was dropped before there was a response: nginx's "client closed request", which has
/// no entry in IANA's registry and is never sent.
fn client_closed_request() -> StatusCode {
    StatusCode::from_u16(499).unwrap_or(StatusCode::REQUEST_TIMEOUT)
}

/// The guard of one request. It travels from `call` into the future and from there into the body; wherever it is
/// dropped, the request ends, once.
///
/// A pointer, because the server moves what holds it many times on the way of a request.
pub(crate) struct ActiveRequest<S: MonitorSet> {
    /// `None` when the request has ended.
    state: Option<Box<RequestState<S>>>,
}

/// What is known of one request. A worker uses the memory again for the next one.
pub(crate) struct RequestState<S: MonitorSet> {
    /// `None` while the memory waits for its next request, else a worker would own itself.
    worker: Option<Rc<Worker<S>>>,
    /// The place of this memory in the worker's table of requests in progress.
    place: usize,
    /// `None` when nothing is left to be called for this request.
    in_flight: Option<S::InFlight>,
    arrived: Instant,
    method: &'static str,
    request_body_bytes: Option<Rc<Cell<u64>>>,
    response_body_size: BodySize,
    response_body_bytes: u64,
    /// The route that served the request, once there was a response.
    route: Option<Rc<RouteLabel>>,
    /// Whether the table of requests in progress knows that route.
    route_is_shown: bool,
    /// The status that was passed on, once there was one.
    status: Option<StatusCode>,
    /// What an error says of its status, in case that no response is made of it here.
    status_of_error: Option<StatusCode>,
}

impl<S: MonitorSet> ActiveRequest<S> {
    /// Begins to measure a request, unless it is excluded.
    pub(crate) fn begin(worker: &Rc<Worker<S>>, request: &mut ServiceRequest, arrived: Instant) -> Self {
        let method = worker.options.method_label(request.method());
        if worker.has_predicates && worker.excludes(request, method) {
            return Self { state: None };
        }
        let mut state = worker.spare_states.take(&worker.in_flight, arrived);
        worker
            .in_flight
            .arrive(state.place, method, arrived_path(request), arrived);
        state.in_flight = Some(worker.monitors.start(&worker.start(request, method, false)));
        if worker.counts_request_body {
            state.request_body_bytes = count_request_body(request);
        }
        state.worker = Some(Rc::clone(worker));
        state.arrived = arrived;
        state.method = method;
        state.response_body_size = BodySize::Stream;
        state.response_body_bytes = 0;
        state.route_is_shown = false;
        Self { state: Some(state) }
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

    /// Learns from the response what is gone a moment later.
    fn respond<B>(&mut self, response: &ServiceResponse<B>, body_size: BodySize) {
        let Some(state) = &mut self.state else { return };
        let Some(worker) = &state.worker else { return };
        let extensions = response.response().extensions();
        if Excluded::marks(response.request(), &extensions) {
            return self.forget();
        }
        let status = response.status();
        let Some(route) = worker
            .routes
            .label_as_served(response.request(), state.method, status)
        else {
            return self.forget();
        };
        let start = ResponseStart {
            request: response.request(),
            head: response.response().head(),
            extensions,
            body_size,
            method: state.method,
            route: &route,
            arrived: state.arrived,
        };
        if let Some(in_flight) = &mut state.in_flight {
            worker.monitors.respond(in_flight, &start);
        }
        drop(start);
        state.status = Some(status);
        state.route = Some(route);
        self.expect_body(body_size);
    }

    /// Leaves the request out.
    #[cold]
    fn forget(&mut self) {
        let Some(state) = &mut self.state else { return };
        if let (Some(worker), Some(in_flight)) = (&state.worker, state.in_flight.take()) {
            worker.monitors.forget(in_flight);
        }
        // With nothing left to be called.
        self.end(Ending::Dropped);
    }

    /// Learns how much is to come; ends the request where that is nothing.
    fn expect_body(&mut self, size: BodySize) {
        let Some(state) = &mut self.state else { return };
        state.response_body_size = size;
        // The server sends no byte of a body in answer to HEAD. On HTTP/1 it polls it all the same, and a stream that
        // stays pending would keep the request for ever.
        if size.is_eof() || state.method == "HEAD" {
            self.end(Ending::Completed);
        }
    }

    /// Learns that bytes of the body were handed to the server; ends the request if they were the last.
    fn sent(&mut self, bytes: usize) {
        let Some(state) = &mut self.state else { return };
        state.response_body_bytes += bytes as u64;
        // Not every server asks for the end of a body whose size it knows.
        if state.response_body_size == BodySize::Sized(state.response_body_bytes) {
            self.end(Ending::Completed);
        } else {
            self.show_route();
        }
    }

    /// Shows the route to those who look at the requests in progress: called once it is clear that the body takes
    /// its time, so that it costs nothing for one that is sent at once.
    fn show_route(&mut self) {
        if let Some(state) = &mut self.state
            && !state.route_is_shown
            && let (Some(worker), Some(route)) = (&state.worker, &state.route)
        {
            worker.in_flight.label(state.place, &route.text);
            state.route_is_shown = true;
        }
    }

    /// Goes along with an error until it becomes a response, which is when actix-web calls the mapper.
    #[cold]
    fn follow(mut self, error: &mut Error) {
        let Some(state) = &mut self.state else { return };
        // For those who look at the error and send a response of their own. Others may never ask for this status.
        let status = catch_unwind(AssertUnwindSafe(|| error.as_response_error().status_code()));
        state.status_of_error = status.ok();
        let request = Cell::new(Some(self));
        error.add_response_mapper(move |response| {
            let Some(mut request) = request.take() else {
                return response;
            };
            if let Some(state) = &mut request.state {
                state.status = Some(response.status());
            }
            request.expect_body(response.body().size());
            response.map_body(|_, body| MeasuredBody { body, request }.boxed())
        });
    }

    /// Ends the request, if it has not ended.
    fn end(&mut self, ending: Ending) {
        let Some(mut state) = self.state.take() else {
            return;
        };
        let Some(worker) = state.worker.take() else { return };
        let path = worker.in_flight.leave(state.place);
        if state.route.is_none() {
            state.route_without_response(&worker, path.as_ref());
        }
        let (route, status) = (state.route.take(), state.status.take());
        let status_of_error = state.status_of_error.take();
        let answered = status.or(status_of_error).is_some();
        let request_body_bytes = state.request_body_bytes.take();
        if let (Some(in_flight), Some(route)) = (state.in_flight.take(), route) {
            let status = status.unwrap_or_else(|| match ending {
                Ending::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
                _ => status_of_error.unwrap_or_else(client_closed_request),
            });
            let end = RequestEnd {
                method: state.method,
                route: &route,
                status,
                latency: state.arrived.elapsed(),
                response_body_bytes: state.response_body_bytes,
                request_body_bytes: worker
                    .counts_request_body
                    .then(|| request_body_bytes.map_or(0, |bytes| bytes.get())),
                ending,
                answered,
            };
            worker.monitors.end(in_flight, &end);
        }
        worker.spare_states.put_back(state, &worker.in_flight);
    }
}

impl<S: MonitorSet> RequestState<S> {
    /// Labels a request that ended without a response, or leaves it out.
    #[cold]
    fn route_without_response(&mut self, worker: &Worker<S>, path: Option<&PathAndQuery>) {
        if self.in_flight.is_some() {
            self.route = worker.routes.label_without_response(path);
        }
        if self.route.is_none()
            && let Some(in_flight) = self.in_flight.take()
        {
            worker.monitors.forget(in_flight);
        }
    }
}

impl<S: MonitorSet> Drop for ActiveRequest<S> {
    #[inline]
    fn drop(&mut self) {
        if self.state.is_some() {
            // Such as a panic while an error is made into a response.
            self.end(if thread::panicking() {
                Ending::Panicked
            } else {
                Ending::Dropped
            });
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

/// The memory of requests that have ended, for those to come: in the long run a worker allocates nothing for a request.
pub(crate) struct SpareStates<S: MonitorSet>(RefCell<Vec<Box<RequestState<S>>>>);

impl<S: MonitorSet> SpareStates<S> {
    /// How many a worker keeps, after a burst.
    const MOST: usize = 128;

    pub(crate) fn new() -> Self {
        Self(RefCell::new(Vec::new()))
    }

    #[expect(
        clippy::unnecessary_box_returns,
        reason = "it is the memory that is handed out"
    )]
    fn take(&self, table: &InFlightTable, arrived: Instant) -> Box<RequestState<S>> {
        let spare = self.0.borrow_mut().pop();
        spare.unwrap_or_else(|| {
            Box::new(RequestState {
                worker: None,
                place: table.take_place(arrived),
                in_flight: None,
                arrived,
                method: "",
                request_body_bytes: None,
                response_body_size: BodySize::Stream,
                response_body_bytes: 0,
                route: None,
                route_is_shown: false,
                status: None,
                status_of_error: None,
            })
        })
    }

    fn put_back(&self, state: Box<RequestState<S>>, table: &InFlightTable) {
        let mut spare = self.0.borrow_mut();
        if spare.len() < Self::MOST {
            spare.push(state);
        } else {
            table.give_up_place(state.place);
        }
    }
}

/// Counts the bytes of a request body as they are read; `None` if there is none.
fn count_request_body(request: &mut ServiceRequest) -> Option<Rc<Cell<u64>>> {
    let payload = request.take_payload();
    if matches!(payload, Payload::None) {
        return None;
    }
    let bytes = Rc::new(Cell::new(0));
    let read = Rc::clone(&bytes);
    let counted = payload.inspect(move |chunk: &Result<Bytes, PayloadError>| {
        if let Ok(chunk) = chunk {
            read.set(read.get() + chunk.len() as u64);
        }
    });
    let payload: Pin<Box<dyn Stream<Item = _>>> = Box::pin(counted);
    request.set_payload(Payload::Stream { payload });
    Some(bytes)
}

pin_project! {
    /// A response in the making, and the request that it will answer.
    pub struct MeasuredResponse<F, S: MonitorSet> {
        #[pin]
        response: F,
        request: ActiveRequest<S>,
    }
}

impl<F, S: MonitorSet> MeasuredResponse<F, S> {
    pub(crate) fn new(response: F, request: ActiveRequest<S>) -> Self {
        Self { response, request }
    }
}

impl<F, B, S> Future for MeasuredResponse<F, S>
where
    F: Future<Output = Result<ServiceResponse<B>, Error>>,
    B: MessageBody,
    S: MonitorSet,
{
    type Output = Result<ServiceResponse<MeasuredBody<B, S>>, Error>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut result = ready!(this.request.run(|| this.response.poll(cx)));
        let mut request = mem::replace(this.request, ActiveRequest { state: None });
        match &mut result {
            Ok(response) => {
                let body_size = request.run(|| response.response().body().size());
                request.respond(response, body_size);
            }
            Err(error) => mem::replace(&mut request, ActiveRequest { state: None }).follow(error),
        }
        Poll::Ready(result.map(|response| response.map_body(|_, body| MeasuredBody { body, request })))
    }
}

pin_project! {
    /// The body of a response, passed through as it is, and the request that ends with it.
    pub struct MeasuredBody<B, S: MonitorSet> {
        #[pin]
        body: B,
        request: ActiveRequest<S>,
    }
}

impl<B: MessageBody, S: MonitorSet> MessageBody for MeasuredBody<B, S> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        if this.request.state.is_none() {
            return this.body.poll_next(cx);
        }
        let chunk = this.request.run(|| this.body.poll_next(cx));
        match &chunk {
            Poll::Pending => this.request.show_route(),
            Poll::Ready(Some(Ok(bytes))) => this.request.sent(bytes.len()),
            Poll::Ready(Some(Err(_))) => this.request.end(Ending::Failed),
            Poll::Ready(None) => this.request.end(Ending::Completed),
        }
        chunk
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, mut request } = self;
        match request.run(|| body.try_into_bytes()) {
            Ok(bytes) => {
                request.sent(bytes.len());
                request.end(Ending::Completed);
                Ok(bytes)
            }
            Err(body) => Err(Self { body, request }),
        }
    }
}
