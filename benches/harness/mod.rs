//! What every measurement shares: the application, its requests, and a drive like that of actix's HTTP/1 dispatcher.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each program that measures uses its own part"
)]

use std::{
    hint::black_box,
    pin::pin,
    task::{Context, Poll, Waker},
};

use actix_http::Request;
use actix_web::{
    Error,
    body::MessageBody,
    dev::{Response, Service, ServiceResponse},
    test::TestRequest,
    web::{self, ServiceConfig},
};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Static,
    Param,
    /// As `Param`, with the same few identifiers over and over.
    Known,
    NotFound,
    /// As the others, of an application whose paths begin with [`PREFIX`].
    LongStatic,
    LongParam,
    LongNotFound,
    /// As `Static`, answered after [`YIELDS`] pauses.
    Yielding,
}

/// How often a request of [`Kind::Yielding`] pauses.
pub const YIELDS: usize = 10;

/// What paths of a realistic length begin with: with it they have about 36 bytes.
pub const PREFIX: &str = "/api/v1/organizations/acme";

impl Kind {
    /// Those that are measured everywhere.
    pub const ALL: [Self; 3] = [Self::Static, Self::Param, Self::NotFound];

    pub fn name(self) -> &'static str {
        match self {
            Self::Static => "static",
            Self::Param => "param",
            Self::Known => "known",
            Self::NotFound => "404",
            Self::LongStatic => "long static",
            Self::LongParam => "long param",
            Self::LongNotFound => "long 404",
            Self::Yielding => "yielding",
        }
    }

    /// What all paths of its application begin with.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Static | Self::Param | Self::Known | Self::NotFound | Self::Yielding => "",
            Self::LongStatic | Self::LongParam | Self::LongNotFound => PREFIX,
        }
    }

    pub fn of(name: &str) -> Option<Self> {
        let further = [
            Self::Known,
            Self::LongStatic,
            Self::LongParam,
            Self::LongNotFound,
            Self::Yielding,
        ];
        let mut kinds = Self::ALL.into_iter().chain(further);
        kinds.find(|kind| kind.name() == name)
    }

    /// One of many requests of this kind; identifiers and unknown paths are distinct. The target is in the middle of
    /// an application with `routes` routes.
    pub fn request(self, routes: usize, number: usize) -> Request {
        self.request_below(self.prefix(), routes, number)
    }

    /// The same in an application whose paths begin with `prefix`.
    pub fn request_below(self, prefix: &str, routes: usize, number: usize) -> Request {
        let target = routes / 10;
        let uri = match self {
            Self::Static | Self::LongStatic => format!("{prefix}/static{target}"),
            Self::Param | Self::LongParam => format!("{prefix}/users{target}/{number}"),
            Self::Known => format!("{prefix}/users{target}/{}", number % 10),
            Self::NotFound | Self::LongNotFound => format!("{prefix}/nowhere/{number}"),
            Self::Yielding => "/yields".to_owned(),
        };
        let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let request = TestRequest::with_uri(&uri).insert_header(("traceparent", trace));
        let mut request = request.to_request();
        // As the server gives a request without a body.
        request.take_payload();
        request
    }
}

/// An application of `routes` routes, a fifth of each of five shapes.
pub fn configure(app: &mut ServiceConfig, routes: usize) {
    configure_below(app, "", routes);
}

/// The same, whose paths begin with `prefix`.
pub fn configure_below(app: &mut ServiceConfig, prefix: &str, routes: usize) {
    async fn hello() -> &'static str {
        "hello"
    }

    for i in 0..routes / 5 {
        app.route(&format!("{prefix}/static{i}"), web::get().to(hello))
            .route(&format!("{prefix}/users{i}/{{id}}"), web::get().to(hello))
            .service(
                web::scope(&format!("{prefix}/api{i}"))
                    .service(web::scope("/v1").route("/items/{id}", web::get().to(hello))),
            )
            .route(
                &format!("{prefix}/pairs{i}/{{left}}/{{right}}"),
                web::get().to(hello),
            )
            .route(&format!("{prefix}/files{i}/{{tail}}*"), web::get().to(hello));
    }
}

/// Serves one request as the dispatcher does: polls the future, turns what comes into a `Response` (which drops the
/// `HttpRequest`), asks the body for its size, polls it to its end and drops it.
#[inline]
pub fn drive<S, B>(app: &S, request: Request)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    drive_pausing(app, request, 0);
}

/// The same for a request that pauses so often.
#[inline]
pub fn drive_pausing<S, B>(app: &S, request: Request, pauses: usize)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let mut context = Context::from_waker(Waker::noop());
    let body = {
        let mut future = pin!(app.call(request));
        for _ in 0..pauses {
            assert!(future.as_mut().poll(&mut context).is_pending());
        }
        let Poll::Ready(Ok(response)) = future.as_mut().poll(&mut context) else {
            panic!("the handler is ready at once");
        };
        let response: Response<B> = response.into();
        black_box(response.status());
        let (_, body) = response.into_parts();
        body
    };
    if body.size().is_eof() {
        return;
    }
    let mut body = pin!(body);
    while let Poll::Ready(Some(chunk)) = body.as_mut().poll_next(&mut context) {
        black_box(chunk.is_ok());
    }
}
