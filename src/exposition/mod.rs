//! `/metrics`.

pub(crate) mod render;
pub(crate) mod samples;

use std::convert::Infallible;

use actix_web::{
    HttpRequest, HttpResponse, Scope,
    body::{MessageBody, SizedStream},
    http::header,
    rt::task::yield_now,
    web::{self, Bytes},
};
use futures_util::stream;

use crate::{MetricsRegistry, monitor::ScrapeStart};

/// OpenMetrics 1.0.0, section "Content-Type".
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// How many bytes of a scrape are handed to the server at once.
const CHUNK_SIZE: usize = 32 * 1024;

/// Serves the metrics under `/metrics`, as OpenMetrics 1.0.0 text.
///
/// An ordinary [`Scope`]: wrap authentication around it, nest it in another scope, or put it into an application on
/// another port. Answers GET and HEAD, other methods with 405. It needs no middleware; without one the scrape has
/// what else is registered. See [`metrics_view`] for what is served, and for another path.
///
/// ```
/// use actix_web::{App, test};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};
///
/// # #[actix_web::main]
/// # async fn main() {
/// let app = test::init_service(
///     App::new()
///         .app_data(MetricsRegistry::new())
///         .service(metrics_scope()),
/// )
/// .await;
///
/// let scrape = test::TestRequest::get().uri("/metrics").to_request();
/// assert_eq!(test::call_and_read_body(&app, scrape).await, "# EOF\n");
/// # }
/// ```
pub fn metrics_scope() -> Scope {
    web::scope("/metrics").service(
        web::resource("")
            .route(web::get().to(metrics_view))
            .route(web::head().to(metrics_view)),
    )
}

/// Serves the metrics: the handler behind [`metrics_scope`], for any other path.
///
/// Scrapes the registry in the application's data, else [`MetricsRegistry::global`]: the one that the middleware of
/// the same application uses. Encodes off the worker. A scrape that cannot be [encoded](MetricsRegistry::encode) is
/// answered with 500 and the reason, which is also logged.
///
/// ```
/// use actix_web::{App, web};
/// use hr_prometheus::metrics_view;
///
/// let app = App::new().route("/internal/prometheus", web::get().to(metrics_view));
/// # let _ = app;
/// ```
pub async fn metrics_view(request: HttpRequest) -> HttpResponse {
    let registry = MetricsRegistry::of(&request);
    registry.prepare_scrape(ScrapeStart { request }).await;
    let encoded = web::block(move || registry.encode()).await;
    let reason = match encoded {
        Ok(Ok(text)) => {
            return HttpResponse::Ok()
                .insert_header((header::CONTENT_TYPE, OPENMETRICS))
                .body(in_chunks(text.into()));
        }
        Ok(Err(error)) => error.to_string(),
        Err(cancelled) => cancelled.to_string(),
    };
    log::error!("a scrape failed: {reason}");
    HttpResponse::InternalServerError()
        .insert_header(header::ContentType::plaintext())
        .body(reason)
}

/// A body that is handed to the server piece by piece, with other tasks of the worker in between: they need not wait
/// until a large scrape has been sent.
fn in_chunks(body: Bytes) -> impl MessageBody {
    let size = body.len() as u64;
    let chunks = stream::unfold(body, async |mut body| {
        if body.is_empty() {
            return None;
        }
        yield_now().await;
        let chunk = body.split_to(body.len().min(CHUNK_SIZE));
        Some((Ok::<_, Infallible>(chunk), body))
    });
    SizedStream::new(size, chunks)
}
