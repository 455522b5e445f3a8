//! The endpoint `/metrics`.

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

/// How many bytes of a scrape are passed to the server at once.
const CHUNK_SIZE: usize = 32 * 1024;

/// A [`Scope`] that serves the metrics at `/metrics` in the format negotiated from `Accept`.
///
/// It is an ordinary scope: wrap authentication around it, nest it in another scope, or serve it from another application.
/// It answers GET and HEAD, and other methods with 405. It works without the middleware: the scrape then has only the
/// metrics that you registered. [`metrics_view`] says what is served, and serves it at another path.
///
/// ```
/// use actix_web::{App, test};
/// use hr_prometheus::{MetricsRegistry, metrics_scope};
///
/// # actix_web::rt::System::new().block_on(async {
/// let app = App::new().app_data(MetricsRegistry::new()).service(metrics_scope());
/// let app = test::init_service(app).await;
///
/// let scrape = test::TestRequest::with_uri("/metrics").to_request();
/// assert_eq!(test::call_and_read_body(&app, scrape).await, "# EOF\n");
/// # });
/// ```
pub fn metrics_scope() -> Scope {
    web::scope("/metrics").service(
        // Both, for scrapers that ask for `/metrics/`, and for `NormalizePath` with `Always` or `MergeOnly`.
        web::resource(["", "/"])
            .name(RESOURCE)
            .route(web::get().to(metrics_view))
            .route(web::head().to(metrics_view)),
    )
}

/// Serves the metrics: the handler of [`metrics_scope`], for any other path.
///
/// It serves the registry in the app data, else [`MetricsRegistry::global`]. The middleware of the application uses the
/// same one, unless [`register_in`](crate::HrPrometheus::register_in) gave it another.
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{MetricsRegistry, metrics_view, prometheus_client::metrics::counter::Counter};
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// registry.register_with(|registry| {
///     registry.register("orders", "Orders placed", Counter::<u64>::default());
/// });
/// let app = App::new()
///     .app_data(registry)
///     .route("/internal/prometheus", web::get().to(metrics_view));
/// let app = test::init_service(app).await;
///
/// let scrape = test::TestRequest::with_uri("/internal/prometheus");
/// let scrape = scrape.insert_header(("accept", "text/plain;version=0.0.4"));
/// assert_eq!(
///     test::call_and_read_body(&app, scrape.to_request()).await,
///     "# HELP orders_total Orders placed.\n# TYPE orders_total counter\norders_total 0\n",
/// );
/// # });
/// ```
///
/// # Formats
///
/// Negotiated from `Accept` as specified by RFC 9110; with the same `q`, a named type is preferred to a wildcard:
///
/// | `Accept` | response |
/// | --- | --- |
/// | `application/openmetrics-text`, `version=1.0.0` or `0.0.1` | OpenMetrics text of that version |
/// | `text/plain`, `version=0.0.4` or `1.0.0` | Prometheus text of that version |
/// | `application/vnd.google.protobuf`, `proto=io.prometheus.client.MetricFamily`, `encoding=delimited` | Prometheus protobuf, with the feature `protobuf` |
/// | `*/*`, no `Accept`, or none of these | OpenMetrics 1.0.0, or Prometheus text 0.0.4 with [`with_text_by_default`](MetricsRegistry::with_text_by_default); never 406, which scrapers do not handle |
/// | `text/html`, as from a browser | Prometheus text 0.0.4, which it displays |
///
/// Protobuf is sent only if it is asked for by name. Exemplars are in OpenMetrics and protobuf; start timestamps of
/// counters and histograms are in protobuf only. The response has `Vary: Accept`.
///
/// All names are classic ones, of letters, digits, `_` and `:`. So of the ways of `escaping` that Prometheus 3 may ask
/// for, `allow-utf-8`, `underscores` and `values` change nothing. The `Content-Type` confirms the one that was asked
/// for; if none of these was, it names `underscores` in formats of version 1.0.0, and none in others.
///
/// `?name[]=request_count&name[]=request_latency` selects families by name.
///
/// # Invalid families
///
/// Every scrape is checked. Families and series that would break the format are omitted, and the rest is served. All
/// formats have the same families.
///
/// | omitted | because |
/// | --- | --- |
/// | a family | its name is invalid, or taken by another type; it is an info with a unit; it fails, panics, or has no valid series |
/// | a series | a label is invalid or occurs twice; the series occurs twice; its value is not a number; a counter or a sum is negative; its bucket bounds do not increase up to `+Inf`, or its bucket counts decrease; its lines have different labels |
/// | an exemplar | its labels are invalid, have more than 128 characters, or contain a NUL |
///
/// Families with the same name and type are merged under the help text of the first, so a family can be registered under
/// several constant labels. Of two equal series, and of two families with the same name and different types, the first
/// in the scrape is served: that of the earlier registration.
///
/// Each omission is logged once, with the name and the fix. From the first one on, the scrape has their number:
/// `hr_prometheus_scrape_families_omitted` and `hr_prometheus_scrape_series_omitted`.
/// [`strict`](MetricsRegistry::strict) makes the scrape fail instead.
///
/// `prometheus-client` encodes a registry as a whole. So a metric or collector that fails also hides everything registered
/// after it in the same registration. A collector that fails before it has written anything also hides the last family
/// of the collector before it. Give each collector its own [`register_with`](MetricsRegistry::register_with). In a
/// registry that was [created elsewhere](MetricsRegistry#impl-From<Registry>-for-MetricsRegistry), a failure also loses
/// up to 8 KiB of the text before it.
///
/// # Time
///
/// A scrape is rendered on a separate thread and sent in pieces, so the worker continues with other requests. Scrapes
/// that arrive while one is being rendered share its result.
///
/// The answer is 503 with the reason if the scrape takes longer than nine tenths of the time that the scraper announces
/// in `X-Prometheus-Scrape-Timeout-Seconds`, or than 10 seconds if it announces none. It is also 503 while earlier
/// scrapes of more than 64 MiB in all are still being sent.
///
/// # Compression
///
/// Wrap actix-web's `Compress` around [`metrics_scope()`], around the whole application, or around both:
///
/// ```
/// use actix_web::{App, middleware::Compress, test};
/// use hr_prometheus::{MetricsRegistry, metrics_scope};
///
/// # actix_web::rt::System::new().block_on(async {
/// let app = App::new()
///     .app_data(MetricsRegistry::new())
///     .service(metrics_scope().wrap(Compress::default()));
/// let app = test::init_service(app).await;
///
/// let scrape = test::TestRequest::with_uri("/metrics").insert_header(("accept-encoding", "gzip"));
/// let response = test::call_service(&app, scrape.to_request()).await;
/// let encoding = response.headers().get("content-encoding");
/// assert_eq!(encoding.unwrap(), "gzip");
/// # });
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
            "a scrape was refused",
            error.to_string(),
        ),
        Err(Failure::TimedOut(limit, slow)) => {
            let reason = format!("the metrics could not be rendered within {limit:?}: {slow}");
            (HttpResponse::ServiceUnavailable(), "a scrape timed out", reason)
        }
        Err(Failure::Failed(error)) => (
            HttpResponse::InternalServerError(),
            "a scrape failed",
            error.to_string(),
        ),
    };
    // By announcing a short timeout, a client can make any number of scrapes fail.
    if registry.is_first(kind) {
        report(Level::Error, format_args!("{kind}: {reason} (logged once)"));
    }
    response
        .insert_header(header::ContentType::plaintext())
        .insert_header((header::VARY, "Accept"))
        .body(reason)
}

/// The names of families in the query, as `name[]=request_count`; none means all families.
fn selected_names(request: &HttpRequest) -> Vec<String> {
    let query = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let parameters = query.map_or_else(|_| Vec::new(), web::Query::into_inner);
    let names = parameters.into_iter().filter(|(name, _)| name == "name[]");
    names.map(|(_, value)| value).collect()
}

/// A body that is passed to the server in pieces. Other tasks of the worker run in between, rather than wait until a large
/// scrape has been sent.
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
