//! `/live`: a page that draws the metrics.

mod settings;

use std::{borrow::Cow, future::ready};

use actix_web::{
    HttpRequest, HttpResponse, Scope,
    http::header::{self, ContentType},
    web,
};
use once_cell::sync::Lazy;

use crate::{
    endpoint,
    live::settings::{relative, settings},
    registry::MetricsRegistry,
};

/// The hashes of the script and the style that `Content-Security-Policy` allows; a test computes them.
const SCRIPT_HASH: &str = "sha256-PSWgqIYAYTcOZvpS6pKINbfG0SrzItRDYE/nZiJrmOY=";
const STYLE_HASH: &str = "sha256-tBlFyBHRV45BN7HChn3zuB0F5rqi1Sdpl7zUyYLJaIw=";

/// The page, before the settings and behind them.
static PAGE: Lazy<(String, String)> = Lazy::new(|| {
    let page = include_str!("page.html");
    let (before, behind) = page.split_once("{settings}").unwrap_or((page, ""));
    let before = before.replacen("{style}", include_str!("page.css"), 1);
    (before, behind.replacen("{script}", include_str!("page.js"), 1))
});

/// A [`Scope`] that serves a page at `/live` which draws the metrics of this service; needs the feature `live`.
///
/// The page shows requests per second, the share of errors, latencies and requests in progress, in total and by route.
/// It shows workers with [`worker_metrics`], connections with [`connection_metrics`], the oldest requests with
/// [`oldest_in_progress`], and objectives with [`objective`]. The browser reads [`/metrics`](crate::metrics_scope)
/// every two seconds and keeps five minutes; the service stores nothing, and a page that nobody has open costs nothing.
///
/// ```
/// use actix_web::{App, test};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, live_scope, metrics_scope};
///
/// # actix_web::rt::System::new().block_on(async {
/// let app = App::new()
///     .app_data(MetricsRegistry::new())
///     .service(metrics_scope()) // GET /metrics
///     .service(live_scope()) // GET /live
///     .wrap(HrPrometheus::default());
/// let app = test::init_service(app).await;
///
/// let page = test::TestRequest::with_uri("/live").to_request();
/// let page = test::call_and_read_body(&app, page).await;
/// assert!(page.starts_with(b"<!doctype html>"));
/// # });
/// ```
///
/// # Where it reads
///
/// It reads the [`metrics_scope`](crate::metrics_scope) of the same application, whichever scopes the two are in. The
/// address is relative, so it also works behind a proxy that adds a prefix. [`live_scope_for`] takes another
/// address. The names of families and labels are written into the page, so [names](crate::DefaultMonitorBuilder) and
/// prefixes can be chosen freely. If there are two monitors, the page shows one at a time.
///
/// # Who can read it
///
/// The page itself contains only the names of families and labels. The numbers come from the metrics, so whoever cannot
/// read those sees none. Authentication by the browser (cookies, `Basic`) works as for any page. If `/metrics` needs a
/// bearer token, the page asks for it. If the metrics have a separate port, serve the page there too, next to
/// [`metrics_scope`](crate::metrics_scope): [`metrics_server`](crate::metrics_server) serves only the metrics.
///
/// It loads nothing from elsewhere, and its `Content-Security-Policy` does not allow it.
///
/// [`worker_metrics`]: crate::HrPrometheus::worker_metrics
/// [`connection_metrics`]: crate::connection_metrics
/// [`oldest_in_progress`]: crate::DefaultMonitorBuilder::oldest_in_progress
/// [`objective`]: crate::DefaultMonitorBuilder::objective
#[must_use = "pass it to `App::service`"]
pub fn live_scope() -> Scope {
    scope(None)
}

/// Serves the same page as [`live_scope`], which then reads the metrics at this address.
///
/// Use it for a [`metrics_view`](crate::metrics_view) at another path, and for metrics on another host or port. The
/// address is resolved like a link in the page: `prometheus` is beside the page, `/internal/prometheus` is on the same
/// host, and `https://admin.example:9000/metrics` is on another one, which has to allow this page by CORS.
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{MetricsRegistry, live_scope_for, metrics_view};
///
/// # actix_web::rt::System::new().block_on(async {
/// let app = App::new()
///     .app_data(MetricsRegistry::new())
///     .route("/internal/prometheus", web::get().to(metrics_view))
///     .service(live_scope_for("/internal/prometheus"));
/// let app = test::init_service(app).await;
///
/// let page = test::TestRequest::with_uri("/live").to_request();
/// let page = test::call_and_read_body(&app, page).await;
/// assert!(String::from_utf8_lossy(&page).contains(r#"{"metrics":"/internal/prometheus","#));
/// # });
/// ```
#[must_use = "pass it to `App::service`"]
pub fn live_scope_for(metrics: impl Into<Cow<'static, str>>) -> Scope {
    scope(Some(metrics.into()))
}

fn scope(metrics: Option<Cow<'static, str>>) -> Scope {
    let view = move |request: HttpRequest| ready(page(&request, metrics.as_deref()));
    web::scope("/live").service(
        web::resource(["", "/"])
            .route(web::get().to(view.clone()))
            .route(web::head().to(view)),
    )
}

fn page(request: &HttpRequest, metrics: Option<&str>) -> HttpResponse {
    let names = MetricsRegistry::of(request).names();
    let address = metrics.map_or_else(|| address_of_metrics(request), str::to_owned);
    let (before, behind) = &*PAGE;
    HttpResponse::Ok()
        .insert_header(ContentType::html())
        .insert_header((header::CONTENT_SECURITY_POLICY, policy(&address)))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"))
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .body([before, &*settings(&address, &names), behind].concat())
}

/// The address of [`metrics_scope`](crate::metrics_scope), relative to the page: beside it, else anywhere in the
/// application.
fn address_of_metrics(request: &HttpRequest) -> String {
    let path = request.path();
    let (scope, _) = path.trim_end_matches('/').rsplit_once('/').unwrap_or_default();
    let beside = format!("{scope}/metrics");
    if request.resource_map().match_name(&beside) == Some(endpoint::RESOURCE) {
        return relative(path, &beside);
    }
    let elsewhere = request.url_for_static(endpoint::RESOURCE);
    elsewhere.map_or_else(|_| relative(path, &beside), |url| relative(path, url.path()))
}

/// Nothing but this page, and the metrics.
fn policy(metrics: &str) -> String {
    let origin = origin_of(metrics);
    format!(
        "default-src 'none'; script-src '{SCRIPT_HASH}'; style-src '{STYLE_HASH}'; img-src data:; \
         connect-src 'self'{}{}; base-uri 'none'; form-action 'none'; frame-ancestors 'self'; \
         require-trusted-types-for 'script'",
        if origin.is_some() { " " } else { "" },
        origin.unwrap_or_default(),
    )
}

/// Scheme, host and port of an address that has them.
fn origin_of(address: &str) -> Option<&str> {
    let (scheme, rest) = address.split_once("://")?;
    let host = rest.split(['/', '?', '#']).next()?;
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ".:-_[]".contains(c);
    let is_known = matches!(scheme, "http" | "https") && !host.is_empty() && host.chars().all(is_plain);
    is_known.then(|| &address[..scheme.len() + "://".len() + host.len()])
}

#[cfg(test)]
mod tests {
    use std::iter;

    use sha2::{Digest as _, Sha256};

    use super::{PAGE, SCRIPT_HASH, STYLE_HASH, origin_of};

    fn hash_of(text: &str) -> String {
        const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut base64 = String::from("sha256-");
        for bytes in Sha256::digest(text).chunks(3) {
            let mut three = [0; 3];
            three[..bytes.len()].copy_from_slice(bytes);
            let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
            for digit in 0..=bytes.len() {
                base64.push(char::from(DIGITS[(bits >> (18 - 6 * digit)) as usize % 64]));
            }
            base64.extend(iter::repeat_n('=', 3 - bytes.len()));
        }
        base64
    }

    /// The text of the last element of this kind.
    fn text_of<'a>(page: &'a str, element: &str) -> &'a str {
        let (begin, end) = (format!("<{element}>"), format!("</{element}>"));
        let (_, behind) = page.split_once(&*begin).expect("it begins");
        behind.split_once(&*end).expect("it ends").0
    }

    #[test]
    fn the_policy_allows_the_script_and_the_style_of_the_page() {
        let (before, behind) = &*PAGE;
        assert_eq!(SCRIPT_HASH, hash_of(text_of(behind, "script")));
        assert_eq!(STYLE_HASH, hash_of(text_of(before, "style")));
    }

    #[test]
    fn an_origin_is_that_of_an_address_with_a_host_and_nothing_else() {
        for (address, origin) in [
            ("./metrics", None),
            ("/internal/metrics", None),
            (
                "https://admin.example:9000/metrics",
                Some("https://admin.example:9000"),
            ),
            ("http://[::1]:9000", Some("http://[::1]:9000")),
            ("http://a; script-src *", None),
            ("http:///metrics", None),
            ("file://host/metrics", None),
        ] {
            assert_eq!(origin_of(address), origin, "{address}");
        }
    }
}
