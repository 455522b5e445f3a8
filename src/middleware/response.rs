//! The future and the body that carry a request to its end.

use std::{
    cell::Cell,
    pin::Pin,
    task::{Context, Poll},
};

use actix_web::{
    Error,
    body::{BodySize, MessageBody},
    dev::ServiceResponse,
    web::Bytes,
};
use pin_project_lite::pin_project;

use crate::{
    middleware::active_request::ActiveRequest,
    monitor::{hooks::Ending, set::MonitorSet},
    panics::catch,
};

pin_project! {
    /// The future of a response, and the request that it will answer.
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
        let request = this.request;
        // A response is large: it is looked at where it lies, and moved once.
        request.begin_poll();
        let mut result = request.run(|| this.response.poll(cx));
        match &mut result {
            Poll::Pending => {
                request.pause();
                return Poll::Pending;
            }
            Poll::Ready(Ok(response)) => {
                let body_size = request.run(|| response.response().body().size());
                if !request.respond(response, body_size) {
                    result = request.respond_for_certain(result, body_size);
                }
            }
            Poll::Ready(Err(error)) => {
                request.pause();
                request.take().follow(error);
            }
        }
        let request = request.take();
        result.map_ok(|response| {
            // Not by `map_body`, which moves the whole response once more.
            let (http_request, response) = response.into_parts();
            let (head, body) = response.into_parts();
            ServiceResponse::new(http_request, head.set_body(MeasuredBody { body, request }))
        })
    }
}

impl<S: MonitorSet> ActiveRequest<S> {
    /// Follows an error until it becomes a response, when actix-web calls the mapper.
    #[cold]
    fn follow(mut self, error: &mut Error) {
        let Some(state) = &mut *self.state else { return };
        // For code that handles the error and sends another response. Others may never ask for this status.
        let status = catch(|| error.as_response_error().status_code());
        state.facts.status_of_error = status.ok();
        let request = Cell::new(Some(self));
        error.add_response_mapper(move |response| {
            let Some(mut request) = request.take() else {
                return response;
            };
            if let Some(state) = &mut *request.state {
                state.facts.status = Some(response.status());
                state.facts.response_body_size = response.body().size();
                if !state.has_body_to_come() {
                    request.end(Ending::Completed);
                }
            }
            response.map_body(|_, body| MeasuredBody { body, request }.boxed())
        });
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
        let Some(state) = &mut *this.request.state else {
            return this.body.poll_next(cx);
        };
        state.polls.begin();
        let chunk = this.request.run(|| this.body.poll_next(cx));
        match &chunk {
            Poll::Pending => this.request.wait(),
            Poll::Ready(Some(Ok(bytes))) => this.request.sent(bytes.len()),
            Poll::Ready(Some(Err(_))) => this.request.end(Ending::Failed),
            Poll::Ready(None) => this.request.end(Ending::Completed),
        }
        chunk
    }

    fn try_into_bytes(self) -> Result<Bytes, Self> {
        let Self { body, mut request } = self;
        request.begin_poll();
        match request.run(|| body.try_into_bytes()) {
            Ok(bytes) => {
                request.sent(bytes.len());
                request.end(Ending::Completed);
                Ok(bytes)
            }
            Err(body) => {
                request.pause();
                Err(Self { body, request })
            }
        }
    }
}
