//! An application in which requests end in every way.

use std::{convert::Infallible, io, panic::panic_any, thread, time::Duration};

use actix_web::{
    Error, HttpMessage as _, HttpRequest, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    error::{ErrorGatewayTimeout, ErrorUnauthorized, InternalError},
    http::StatusCode,
    middleware::{Compress, Next},
    rt,
    web::{self, Bytes, ServiceConfig},
};
use futures_util::{StreamExt as _, stream};
use hr_prometheus::{Excluded, metrics_scope};
use tokio::time::{sleep, timeout};

use crate::ending::scopes;

/// What panics that are meant carry.
pub struct Staged;

/// A payload that panics when it is dropped, as does what that panic carries.
pub struct Bomb(u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            panic_any(Self(left));
        }
    }
}

/// Panics as the path wants it.
fn stage(path: &str) -> ! {
    if path.starts_with("/bomb/") {
        panic_any(Bomb(1));
    }
    panic_any(Staged)
}

/// The time-out outside of the middleware, which drops a request.
pub async fn time_out(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if !request.path().starts_with("/dropped/") {
        return next.call(request).await;
    }
    let answer = timeout(Duration::from_millis(5), next.call(request)).await;
    answer.unwrap_or_else(|_| Err(ErrorGatewayTimeout("too late")))
}

/// The middleware inside, which fails, panics and marks.
pub async fn misbehave(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let path = request.path().to_owned();
    if path.starts_with("/middleware_error/") {
        return Err(ErrorUnauthorized("no token"));
    }
    if path.starts_with("/excluded/item") {
        request.extensions_mut().insert(Excluded);
    }
    let when = query(request.query_string(), "when").map(str::to_owned);
    if when.as_deref() == Some("before") {
        stage(&path);
    }
    let response = next.call(request).await;
    if when.as_deref() == Some("after") {
        stage(&path);
    }
    response
}

fn query<'a>(query: &'a str, name: &str) -> Option<&'a str> {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    pairs.find(|(key, _)| *key == name).map(|(_, value)| value)
}

fn number(request: &HttpRequest, name: &str) -> u64 {
    let value = query(request.query_string(), name).and_then(|value| value.parse().ok());
    value.unwrap_or_default()
}

static CHUNK: [u8; 16_384] = [b'x'; 16_384];

async fn slow(request: HttpRequest) -> &'static str {
    sleep(Duration::from_millis(number(&request, "ms"))).await;
    "slow"
}

async fn error(status: web::Path<String>) -> Result<&'static str, Error> {
    let status = status.parse().unwrap_or(StatusCode::BAD_GATEWAY);
    Err(InternalError::new("as you wish", status).into())
}

async fn panics(request: HttpRequest) -> &'static str {
    sleep(Duration::from_millis(1)).await;
    stage(request.path())
}

/// Chunks that come one after the other, with a pause before each.
fn chunks(number: u64, pause: u64) -> impl stream::Stream<Item = Result<Bytes, io::Error>> {
    stream::iter(0..number).then(move |_| async move {
        if pause > 0 {
            sleep(Duration::from_millis(pause)).await;
        }
        Ok(Bytes::from_static(&CHUNK[..1_024]))
    })
}

async fn streams(request: HttpRequest) -> HttpResponse {
    let (number, pause) = (number(&request, "chunks"), number(&request, "ms"));
    HttpResponse::Ok().streaming(chunks(number, pause))
}

async fn large() -> HttpResponse {
    let chunks = stream::iter(0..40).map(|_| Ok::<_, Infallible>(Bytes::from_static(&CHUNK)));
    HttpResponse::Ok().streaming(chunks)
}

async fn body_error() -> HttpResponse {
    let fails = stream::once(async {
        sleep(Duration::from_millis(1)).await;
        Err(io::Error::other("broken"))
    });
    HttpResponse::Ok().streaming(chunks(1, 0).chain(fails))
}

async fn body_panic(request: HttpRequest) -> HttpResponse {
    let path = request.path().to_owned();
    let panics = stream::once(async move {
        sleep(Duration::from_millis(1)).await;
        stage(&path)
    });
    HttpResponse::Ok().streaming(chunks(1, 0).chain(panics))
}

async fn events() -> HttpResponse {
    HttpResponse::Ok()
        .content_type("text/event-stream")
        .streaming(chunks(1_000, 5))
}

/// Says again what it hears, until the client leaves.
async fn socket(request: HttpRequest, body: web::Payload) -> Result<HttpResponse, Error> {
    let (response, mut session, mut messages) = actix_ws::handle(&request, body)?;
    rt::spawn(async move {
        while let Some(Ok(message)) = messages.next().await {
            let answered = match message {
                actix_ws::Message::Text(text) => session.text(text).await,
                actix_ws::Message::Ping(bytes) => session.pong(&bytes).await,
                actix_ws::Message::Close(_) => break,
                _ => Ok(()),
            };
            if answered.is_err() {
                return;
            }
        }
        let _ = session.close(None).await;
    });
    Ok(response)
}

async fn upload(body: Bytes) -> String {
    body.len().to_string()
}

/// The name of the worker.
async fn worker() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

pub fn routes(config: &mut ServiceConfig) {
    for scope in scopes() {
        let hello = |path| {
            let resource = web::resource(path).route(web::get().to(async || "hello"));
            resource.route(web::head().to(async || "hello"))
        };
        config.service(
            web::scope(scope)
                .service(hello("/ok"))
                .service(hello("/item/{id}"))
                .service(
                    web::resource("/stream")
                        .route(web::get().to(streams))
                        .route(web::head().to(streams)),
                )
                .service(
                    web::resource("/slow")
                        .route(web::get().to(slow))
                        .route(web::head().to(slow)),
                )
                .service(
                    web::resource("/large")
                        .route(web::get().to(large))
                        .route(web::head().to(large)),
                )
                .route("/upload", web::post().to(upload))
                .route("/error/{status}", web::get().to(error))
                .route("/panic", web::get().to(panics))
                .route("/body_panic", web::get().to(body_panic))
                .route("/body_error", web::get().to(body_error))
                .route("/events", web::get().to(events))
                .route("/socket", web::get().to(socket))
                .route("/worker", web::get().to(worker)),
        );
    }
    config.service(metrics_scope().wrap(Compress::default()));
}
