//! Requests that are excluded, by a predicate on arrival or by a marker.

use std::sync::Arc;

use actix_web::{HttpMessage as _, HttpRequest, dev::Extensions};
use log::Level;

use crate::{
    monitor::hooks::RequestStart,
    panics::{LogOnce, catch, discard},
};

type Predicate = dyn Fn(&RequestStart<'_>) -> bool + Send + Sync;

/// The predicates of one middleware.
#[derive(Clone, Default)]
pub(crate) struct Predicates {
    all: Vec<Arc<Predicate>>,
    panic_logged: Arc<LogOnce>,
}

impl Drop for Predicates {
    fn drop(&mut self) {
        self.all.drain(..).for_each(discard);
    }
}

impl Predicates {
    pub(crate) fn add(&mut self, predicate: Arc<Predicate>) {
        self.all.push(predicate);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// Whether any predicate excludes the request. One that panics does not.
    pub(crate) fn exclude(&self, request: &RequestStart<'_>) -> bool {
        self.all.iter().any(|predicate| {
            catch(|| predicate(request)).unwrap_or_else(|panicked| {
                self.panic_logged.log(
                    Level::Error,
                    format_args!("a predicate of `exclude` panicked: {panicked}; requests for which it panics are recorded (logged once)"),
                );
                false
            })
        })
    }
}

/// Excludes a request that has already begun from the metrics.
///
/// A handler or an inner middleware puts this marker into the extensions of the request or of the response. The request
/// is then neither counted nor timed, and [`RequestMonitor::forget`] is called instead of `update_end_metrics`. While
/// it ran, it was in the gauge. The marker has no effect on a request that ends without a response.
///
/// To exclude whole routes, use [`HrPrometheus::exclude_routes`]; to exclude requests by anything known on arrival, use
/// [`HrPrometheus::exclude`].
///
/// ```
/// use actix_web::{App, HttpMessage as _, HttpRequest, test, web};
/// use hr_prometheus::{Excluded, HrPrometheus, MetricsRegistry};
///
/// async fn health(request: HttpRequest) -> &'static str {
///     request.extensions_mut().insert(Excluded);
///     "well"
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .route("/health", web::get().to(health))
///     .wrap(HrPrometheus::default());
/// let app = test::init_service(app).await;
///
/// test::call_and_read_body(&app, test::TestRequest::with_uri("/health").to_request()).await;
/// assert_eq!(registry.value("request_count_total", &[]), None);
/// # });
/// ```
///
/// To exclude requests by their response, such as its status, use a middleware between the handlers and this one:
///
/// ```
/// use actix_web::{
///     App, Error,
///     body::MessageBody,
///     dev::{ServiceRequest, ServiceResponse},
///     http::StatusCode,
///     middleware::{Next, from_fn},
///     test, web,
/// };
/// use hr_prometheus::{Excluded, HrPrometheus, MetricsRegistry};
///
/// async fn exclude_not_found<B: MessageBody>(
///     request: ServiceRequest,
///     next: Next<B>,
/// ) -> Result<ServiceResponse<B>, Error> {
///     let mut response = next.call(request).await?;
///     if response.status() == StatusCode::NOT_FOUND {
///         response.response_mut().extensions_mut().insert(Excluded);
///     }
///     Ok(response)
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .route("/", web::get().to(async || "hello"))
///     .wrap(from_fn(exclude_not_found))
///     .wrap(HrPrometheus::default());
/// let app = test::init_service(app).await;
///
/// for path in ["/", "/nowhere"] {
///     test::call_and_read_body(&app, test::TestRequest::with_uri(path).to_request()).await;
/// }
/// registry.assert_family(
///     "request_count",
///     r#"request_count_total{method="GET",path="/",status="200"} 1"#,
/// );
/// # });
/// ```
///
/// [`HrPrometheus::exclude`]: crate::HrPrometheus::exclude
/// [`HrPrometheus::exclude_routes`]: crate::HrPrometheus::exclude_routes
/// [`RequestMonitor::forget`]: crate::RequestMonitor::forget
#[derive(Clone, Copy, Debug, Default)]
pub struct Excluded;

impl Excluded {
    #[expect(
        clippy::inline_always,
        reason = "else it is a call where a program has several monitors"
    )]
    #[inline(always)]
    pub(crate) fn marks(request: &HttpRequest, of_response: &Extensions) -> bool {
        // Other code may hold the extensions of the request for writing, such as a task that was spawned with it.
        let of_request = || request.extensions().contains::<Self>();
        of_response.contains::<Self>() || catch(of_request).unwrap_or(false)
    }
}
