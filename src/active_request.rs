//! One request from its arrival to the last byte of its response.

use std::{
    cell::Cell,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    rc::Rc,
    task::{Context, Poll, ready},
    time::Instant,
};

use actix_web::{
    Error, HttpMessage as _,
    body::{BodySize, BoxBody, MessageBody},
    dev::{Payload, ServiceRequest, ServiceResponse},
    error::PayloadError,
    http::{StatusCode, uri::PathAndQuery},
    web::Bytes,
};
use futures_util::stream::{Stream, StreamExt as _};
use pin_project_lite::pin_project;

use crate::{
    middleware::Worker,
    monitor::{Ending, MonitorSet, RequestEnd, ResponseStart},
    route::RouteLabel,
};

/// The status of a request that was dropped before there was a response: nginx's "client closed request", which has
/// no entry in IANA's registry and is never sent.
const CLIENT_CLOSED_REQUEST: u16 = 499;

/// The guard of one request. It travels from `call` into the future and from there into the body; wherever it is
/// dropped, the request ends, once.
pub(crate) struct ActiveRequest<S: MonitorSet> {
    pub(crate) worker: Rc<Worker<S>>,
    /// `None` when nothing is left to be called for this request.
    pub(crate) in_flight: Option<S::InFlight>,
    pub(crate) arrived: Instant,
    pub(crate) method: &'static str,
    pub(crate) path: PathAndQuery,
    pub(crate) request_body_bytes: Option<Rc<Cell<u64>>>,
    pub(crate) response_body_bytes: u64,
    /// The route that served the request, once there was a response.
    pub(crate) route: Option<RouteLabel>,
    /// The status that was passed on, once there was one.
    pub(crate) status: Option<StatusCode>,
    pub(crate) ending: Ending,
}

impl<S: MonitorSet> ActiveRequest<S> {
    /// Runs code of the application on behalf of `request`; a panic ends the request and goes on.
    ///
    /// `thread::panicking` in `Drop` would not do: tokio catches the panic first and drops the future then.
    pub(crate) fn run<T>(request: &mut Option<Self>, code: impl FnOnce() -> T) -> T {
        match catch_unwind(AssertUnwindSafe(code)) {
            Ok(value) => value,
            Err(panic) => {
                if let Some(request) = request.take() {
                    request.end(Ending::Panicked);
                }
                resume_unwind(panic)
            }
        }
    }

    fn end(mut self, ending: Ending) {
        self.ending = ending;
    }

    /// Learns from the response what is gone a moment later.
    fn respond<B>(&mut self, response: &ServiceResponse<B>) {
        let status = response.status();
        let route = self.worker.routes.label_as_served(response.request(), status);
        let start = ResponseStart {
            request: response.request(),
            head: response.response().head(),
            extensions: response.response().extensions(),
            method: self.method,
            route: &route,
            arrived: self.arrived,
        };
        if start.is_excluded() {
            if let Some(in_flight) = self.in_flight.take() {
                self.worker.monitors.forget(in_flight);
            }
        } else if let Some(in_flight) = &mut self.in_flight {
            self.worker.monitors.respond(in_flight, &start);
        }
        drop(start);
        self.status = Some(status);
        self.route = Some(route);
    }

    /// Goes along with an error until it becomes a response, which is when actix-web calls the mapper.
    fn follow(mut self, error: &mut Error) {
        // For those who look at the error and send a response of their own.
        self.status = Some(error.as_response_error().status_code());
        let request = Cell::new(Some(self));
        error.add_response_mapper(move |response| match request.take() {
            Some(mut request) => {
                request.status = Some(response.status());
                response.map_body(|_, body: BoxBody| {
                    let size = body.size();
                    MeasuredBody::new(body, size, Some(request)).boxed()
                })
            }
            None => response,
        });
    }
}

impl<S: MonitorSet> Drop for ActiveRequest<S> {
    fn drop(&mut self) {
        let Some(in_flight) = self.in_flight.take() else {
            return;
        };
        let worker = &self.worker;
        let route = self.route.take();
        let route = route.unwrap_or_else(|| worker.routes.label_as_arrived(&self.path));
        let status = self.status.unwrap_or_else(|| match self.ending {
            Ending::Panicked => StatusCode::INTERNAL_SERVER_ERROR,
            _ => StatusCode::from_u16(CLIENT_CLOSED_REQUEST).unwrap_or(StatusCode::REQUEST_TIMEOUT),
        });
        let end = RequestEnd {
            method: self.method,
            route: &route,
            status,
            latency: self.arrived.elapsed(),
            response_body_bytes: self.response_body_bytes,
            request_body_bytes: self.request_body_bytes.as_ref().map(|bytes| bytes.get()),
            ending: self.ending,
        };
        worker.monitors.end(in_flight, &end);
    }
}

/// Counts the bytes of a request body as they are read.
pub(crate) fn count_request_body(request: &mut ServiceRequest) -> Rc<Cell<u64>> {
    let bytes = Rc::new(Cell::new(0));
    let payload = request.take_payload();
    if !matches!(payload, Payload::None) {
        let bytes = Rc::clone(&bytes);
        let counted = payload.inspect(move |chunk: &Result<Bytes, PayloadError>| {
            if let Ok(chunk) = chunk {
                bytes.set(bytes.get() + chunk.len() as u64);
            }
        });
        let payload: Pin<Box<dyn Stream<Item = _>>> = Box::pin(counted);
        request.set_payload(Payload::Stream { payload });
    }
    bytes
}

pin_project! {
    /// A response in the making, and the request that it will answer.
    pub struct MeasuredResponse<F, S: MonitorSet> {
        #[pin]
        response: F,
        request: Option<ActiveRequest<S>>,
    }
}

impl<F, S: MonitorSet> MeasuredResponse<F, S> {
    pub(crate) fn new(response: F, request: Option<ActiveRequest<S>>) -> Self {
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
        let result = ready!(ActiveRequest::run(this.request, || this.response.poll(cx)));
        let mut request = this.request.take();
        match result {
            Ok(response) => {
                let size = ActiveRequest::run(&mut request, || response.response().body().size());
                if let Some(request) = &mut request {
                    request.respond(&response);
                }
                Poll::Ready(Ok(
                    response.map_body(|_, body| MeasuredBody::new(body, size, request))
                ))
            }
            Err(mut error) => {
                if let Some(request) = request {
                    request.follow(&mut error);
                }
                Poll::Ready(Err(error))
            }
        }
    }
}

pin_project! {
    /// The body of a response, passed through as it is, and the request that ends with it.
    pub struct MeasuredBody<B, S: MonitorSet> {
        #[pin]
        body: B,
        size: BodySize,
        request: Option<ActiveRequest<S>>,
    }
}

impl<B, S: MonitorSet> MeasuredBody<B, S> {
    fn new(body: B, size: BodySize, mut request: Option<ActiveRequest<S>>) -> Self {
        // The server sends no byte of a body in answer to HEAD. On HTTP/1 it polls it all the same, and a stream that
        // stays pending would keep the request for ever.
        let nothing_to_send =
            size.is_eof() || request.as_ref().is_some_and(|request| request.method == "HEAD");
        if nothing_to_send && let Some(request) = request.take() {
            request.end(Ending::Completed);
        }
        Self { body, size, request }
    }
}

impl<B: MessageBody, S: MonitorSet> MessageBody for MeasuredBody<B, S> {
    type Error = B::Error;

    fn size(&self) -> BodySize {
        self.body.size()
    }

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let this = self.project();
        let chunk = ready!(ActiveRequest::run(this.request, || this.body.poll_next(cx)));
        let ending = match (&chunk, this.request.as_mut()) {
            (Some(Ok(bytes)), Some(request)) => {
                request.response_body_bytes += bytes.len() as u64;
                // Not every server asks for the end of a body whose size it knows.
                let complete = *this.size == BodySize::Sized(request.response_body_bytes);
                complete.then_some(Ending::Completed)
            }
            (Some(Ok(_)), None) => None,
            (Some(Err(_)), _) => Some(Ending::Failed),
            (None, _) => Some(Ending::Completed),
        };
        if let Some(ending) = ending
            && let Some(request) = this.request.take()
        {
            request.end(ending);
        }
        Poll::Ready(chunk)
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self {
            body,
            size,
            mut request,
        } = self;
        match ActiveRequest::run(&mut request, || body.try_into_bytes()) {
            Ok(bytes) => {
                if let Some(mut request) = request {
                    request.response_body_bytes += bytes.len() as u64;
                    request.end(Ending::Completed);
                }
                Ok(bytes)
            }
            Err(body) => Err(Self { body, size, request }),
        }
    }
}
