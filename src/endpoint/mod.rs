//! `/metrics`.

pub(crate) mod negotiation;
pub(crate) mod scrape;
pub(crate) mod server;

use std::{convert::Infallible, sync::Arc};

use actix_web::{
    HttpRequest, HttpResponse, Scope,
    body::{MessageBody, SizedStream},
    http::header,
    rt::task::yield_now,
    web::{self, Bytes},
};
use futures_util::stream;
use log::Level;

use crate::{
    endpoint::{
        negotiation::negotiate,
        scrape::{Failure, scrape},
    },
    panics::report,
    registry::{MetricsRegistry, body::Body},
};

/// The name of the resource of [`metrics_scope`], by which the live page finds it.
pub(crate) const RESOURCE: &str = "hr_prometheus metrics";

/// How many bytes of a scrape are handed to the server at once.
const CHUNK_SIZE: usize = 32 * 1024;

/// A [`Scope`] that serves the metrics at `/metrics` in the format negotiated from `Accept`.
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
        // Both, for those who scrape `/metrics/` and for `NormalizePath` with `Always` or `MergeOnly`.
        web::resource(["", "/"])
            .name(RESOURCE)
            .route(web::get().to(metrics_view))
            .route(web::head().to(metrics_view)),
    )
}

/// Serves the metrics: the handler behind [`metrics_scope`], for any other path.
///
/// Scrapes the registry in the application's data, else [`MetricsRegistry::global`]: the one that the middleware of
/// the same application uses.
///
/// # Formats
///
/// Negotiated from `Accept` as specified by RFC 9110; of the same `q`, what is named comes before a wildcard:
///
/// | asked for | answered |
/// | --- | --- |
/// | `application/openmetrics-text`, `version=1.0.0` or `0.0.1` | OpenMetrics text of that version |
/// | `text/plain`, `version=0.0.4` or `1.0.0` | Prometheus text of that version |
/// | `application/vnd.google.protobuf`, `proto=io.prometheus.client.MetricFamily`, `encoding=delimited` | Prometheus protobuf, with the feature `protobuf` |
/// | `*/*`, no `Accept`, or nothing of these | OpenMetrics 1.0.0, or [Prometheus text](MetricsRegistry::with_text_by_default): scrapers do not handle 406 |
/// | `text/html`, so a browser | Prometheus text 0.0.4, which it displays |
///
/// Protobuf is sent only when asked for by name. An `escaping` that leaves classic names as they are is confirmed in the
/// `Content-Type`, in which formats of version 1.0.0 always name one; other names are not served. `Vary` says that
/// `Accept` chose. Exemplars are in OpenMetrics and in protobuf, and start timestamps of counters and histograms in
/// protobuf.
///
/// `?name[]=request_count&name[]=request_latency` selects families by their names.
///
/// # Invalid families
///
/// What would break the format is omitted, and the rest is served; every scrape is checked, and every format has the same
/// families.
///
/// | omitted | because |
/// | --- | --- |
/// | a family | its name is invalid or taken by another type; it is an info with a unit; it fails, panics, or has no valid series |
/// | a series | a label is invalid or there twice; it comes twice; its value is no number, a counter or a sum is negative, its buckets do not rise up to `+Inf` or fall, its lines differ in their labels |
/// | an exemplar | its labels are invalid, have more than 128 characters, or a NUL in them |
///
/// Families of one name and type are one, with the help of the first: a family can be registered below several constant
/// labels. Each omission is logged once, with its name and what to do. Once there is one, the scrape says how many:
/// `hr_prometheus_scrape_families_omitted` and `hr_prometheus_scrape_series_omitted`.
/// [`strict`](MetricsRegistry::strict) makes the scrape fail instead.
///
/// A metric or collector that fails takes with it what was registered behind it in the same registration, since a
/// registry of `prometheus-client` is encoded as a whole, and the collector before it if it fails without a word: give
/// each collector its own [`register_with`](MetricsRegistry::register_with). In a registry that was
/// [made elsewhere](MetricsRegistry#impl-From<Registry>-for-MetricsRegistry) it also takes up to 8 KiB of text before it.
///
/// # Time
///
/// Rendered on a thread of its own, and sent piece by piece: other requests of the worker go on meanwhile. Scrapes
/// that come while one is rendered get the same. What takes longer than 10 seconds, or than nine tenths of the time that
/// the scraper announces in `X-Prometheus-Scrape-Timeout-Seconds`, is answered with 503 and the reason; and so is a scrape
/// while others of more than 64 MiB are still being read.
///
/// # Compression
///
/// Is left to actix-web's `Compress`: around [`metrics_scope()`], around the whole application, or both.
///
/// ```
/// use actix_web::{App, http::header, middleware::Compress, test};
/// use hr_prometheus::{MetricsRegistry, metrics_scope};
///
/// # #[actix_web::main]
/// # async fn main() {
/// let app = test::init_service(
///     App::new()
///         .app_data(MetricsRegistry::new())
///         .service(metrics_scope().wrap(Compress::default())),
/// )
/// .await;
///
/// let scrape = test::TestRequest::get().uri("/metrics").insert_header((header::ACCEPT_ENCODING, "gzip"));
/// let response = test::call_service(&app, scrape.to_request()).await;
/// assert_eq!(response.headers().get(header::CONTENT_ENCODING), Some(&header::HeaderValue::from_static("gzip")));
/// # }
/// ```
///
/// # Examples
///
/// ```
/// use actix_web::{App, http::header, test, web};
/// use hr_prometheus::{MetricsRegistry, metrics_view, prometheus_client::metrics::counter::Counter};
///
/// # #[actix_web::main]
/// # async fn main() {
/// let registry = MetricsRegistry::new();
/// registry.register_with(|registry| {
///     registry.register("orders", "Orders placed", Counter::<u64>::default());
/// });
/// let app = test::init_service(
///     App::new()
///         .app_data(registry)
///         .route("/internal/prometheus", web::get().to(metrics_view)),
/// )
/// .await;
///
/// let scrape = test::TestRequest::get().uri("/internal/prometheus");
/// let scrape = scrape.insert_header((header::ACCEPT, "text/plain;version=0.0.4"));
/// assert_eq!(
///     test::call_and_read_body(&app, scrape.to_request()).await,
///     "# HELP orders_total Orders placed.\n# TYPE orders_total counter\norders_total 0\n",
/// );
/// # }
/// ```
pub async fn metrics_view(request: HttpRequest) -> HttpResponse {
    let registry = MetricsRegistry::of(&request);
    registry.warn_if_overlooked();
    let negotiated = negotiate(&request, registry.default_media_type());
    let names = selected_names(&request);
    let (mut response, kind, reason) = match scrape(&registry, request, negotiated.format).await {
        Ok(body) => {
            let pieces = if names.is_empty() {
                body.all()
            } else {
                body.select(&names)
            };
            return HttpResponse::Ok()
                .insert_header((header::CONTENT_TYPE, negotiated.content_type))
                .insert_header((header::VARY, "Accept"))
                .body(in_chunks(body, pieces));
        }
        Err(Failure::Busy(error)) => (
            HttpResponse::ServiceUnavailable(),
            "a scrape that was refused",
            error.to_string(),
        ),
        Err(Failure::TimedOut(limit, slow)) => {
            let reason = format!("the metrics could not be rendered within {limit:?}: {slow}");
            (
                HttpResponse::ServiceUnavailable(),
                "a scrape that timed out",
                reason,
            )
        }
        Err(Failure::Failed(error)) => (
            HttpResponse::InternalServerError(),
            "a scrape that failed",
            error.to_string(),
        ),
    };
    // A client can make any number of them fail, by the time that it allows.
    if registry.is_first(kind) {
        report(
            Level::Error,
            format_args!("{kind}: {reason}; further ones are not logged"),
        );
    }
    response
        .insert_header(header::ContentType::plaintext())
        .insert_header((header::VARY, "Accept"))
        .body(reason)
}

/// The families that the query asks for, as `name[]=request_count`; all if there are none.
fn selected_names(request: &HttpRequest) -> Vec<String> {
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let parameters = query.map_or_else(|_| Vec::new(), web::Query::into_inner);
    let names = parameters.into_iter().filter(|(name, _)| name == "name[]");
    names.map(|(_, value)| value).collect()
}

/// A body that is handed to the server piece by piece, with other tasks of the worker in between: they need not wait
/// until a large scrape has been sent.
fn in_chunks(body: Arc<Body>, pieces: Vec<Bytes>) -> impl MessageBody {
    let size = pieces.iter().map(|piece| piece.len() as u64).sum();
    // The body is dropped last, so that it is the one to give the memory back.
    let state = (pieces.into_iter(), Bytes::new(), body);
    let chunks = stream::unfold(state, async |(mut pieces, mut piece, body)| {
        while piece.is_empty() {
            piece = pieces.next()?;
        }
        yield_now().await;
        let chunk = piece.split_to(piece.len().min(CHUNK_SIZE));
        Some((Ok::<_, Infallible>(chunk), (pieces, piece, body)))
    });
    SizedStream::new(size, chunks)
}
