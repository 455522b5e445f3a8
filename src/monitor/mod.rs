//! Monitors: the trait, the arguments of its hooks, and how several monitors run side by side without harm.

pub(crate) mod builder;
pub(crate) mod hooks;
pub(crate) mod long_lived;
pub(crate) mod set;

use actix_web::body::BodySize;
use futures_util::future::LocalBoxFuture;
use prometheus_client::registry::Registry;

use crate::monitor::hooks::{RequestEnd, RequestStart, ResponseStart, ScrapeStart};

/// Records metrics of requests: which families there are, and how each request changes them.
///
/// [`register`](Self::register) makes one value per registry, and [`for_worker`](Self::for_worker) makes one from it
/// for each worker. So state that belongs to a worker needs no lock: use `Cell`, `RefCell` and `Arc`, but not `Rc`,
/// since a monitor is `Send`. Select a monitor with [`HrPrometheus::with_monitor`], and several as a pair.
///
/// For each request the hooks are called in this order:
///
/// | hook | when | how often |
/// | --- | --- | --- |
/// | [`update_init_metrics`](Self::update_init_metrics) | the request has arrived and is not routed yet | once |
/// | [`update_response_metrics`](Self::update_response_metrics) | the response head is ready | at most once |
/// | [`update_end_metrics`](Self::update_end_metrics) | the request has ended, in whatever way | exactly once, or `forget` |
/// | [`forget`](Self::forget) | the request turned out to be excluded, by [`Excluded`](crate::Excluded) or [`exclude_routes`] | once, instead of `update_end_metrics` |
///
/// No hook is called for a request that [`exclude`] excludes.
///
/// If a hook panics, the panic is caught and logged once per monitor; the request, the worker, the scrape and other
/// monitors are unaffected. After a panic of `update_init_metrics`, no further hook is called for that request. After a
/// panic of `register`, the monitor is off: it records nothing.
///
/// # Examples
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{
///     HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
///     prometheus_client::{metrics::counter::Counter, registry::Registry},
/// };
///
/// /// Counts the bytes of all response bodies.
/// #[derive(Clone)]
/// struct BytesSent(Counter);
///
/// impl RequestMonitor for BytesSent {
///     type InFlight = ();
///
///     fn register(registry: &mut Registry) -> Self {
///         let bytes = Counter::default();
///         registry.register("sent_bytes", "Bytes of response bodies", bytes.clone());
///         Self(bytes)
///     }
///
///     fn update_init_metrics(&self, _request: &RequestStart<'_>) {}
///
///     fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
///         self.0.inc_by(end.response_body_bytes());
///     }
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .route("/", web::get().to(async || "hello"))
///     .wrap(HrPrometheus::with_monitor::<BytesSent>());
/// let app = test::init_service(app).await;
///
/// test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
/// assert_eq!(
///     registry.encode()?.lines().collect::<Vec<_>>(),
///     [
///         "# HELP sent_bytes Bytes of response bodies.",
///         "# TYPE sent_bytes counter",
///         "sent_bytes_total 5",
///         "# EOF",
///     ],
/// );
/// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
/// ```
///
/// The guide has [more examples](crate::guide::custom_monitors).
///
/// # Testing a monitor
///
/// An application with nothing but a default service is enough. The test reads one response to the end, drops another
/// before its body is read, and drops a request before it has a response:
///
/// ```
/// use actix_web::{App, dev::Service, error::ErrorBadGateway, test, web};
/// use hr_prometheus::{
///     HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
///     prometheus_client::{metrics::{counter::Counter, family::Family}, registry::Registry},
/// };
///
/// /// Counts requests by how they ended.
/// #[derive(Clone)]
/// struct Endings(Family<[(&'static str, String); 2], Counter>);
///
/// impl RequestMonitor for Endings {
///     type InFlight = ();
///
///     fn register(registry: &mut Registry) -> Self {
///         let endings = Family::default();
///         registry.register("endings", "Requests by how they ended", endings.clone());
///         Self(endings)
///     }
///
///     fn update_init_metrics(&self, _request: &RequestStart<'_>) {}
///
///     fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
///         let ending = format!("{:?}", end.ending());
///         let labels = [("ending", ending), ("status", end.status().as_str().to_owned())];
///         self.0.get_or_create_owned(&labels).inc();
///     }
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .default_service(web::to(async || Err::<&str, _>(ErrorBadGateway("no answer"))))
///     .wrap(HrPrometheus::with_monitor::<Endings>());
/// let app = test::init_service(app).await;
/// let request = || test::TestRequest::get().to_request();
///
/// test::call_and_read_body(&app, request()).await; // read to the end
/// drop(test::call_service(&app, request()).await); // dropped before its body was read
/// drop(app.call(request())); // dropped before there was a response
///
/// registry.assert_family(
///     "endings",
///     r#"
///     endings_total{ending="Completed",status="502"} 1
///     endings_total{ending="Dropped",status="502"} 1
///     endings_total{ending="Dropped",status="499"} 1
///     "#,
/// );
/// # });
/// ```
///
/// [`HrPrometheus::with_monitor`]: crate::HrPrometheus::with_monitor
/// [`exclude`]: crate::HrPrometheus::exclude
/// [`exclude_routes`]: crate::HrPrometheus::exclude_routes
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request monitor",
    label = "not a monitor",
    note = "implement `hr_prometheus::RequestMonitor` for `{Self}`"
)]
pub trait RequestMonitor: Clone + Send + 'static {
    /// What the monitor remembers of a request, from its start to its end.
    type InFlight: 'static;

    /// Creates the families and registers them.
    ///
    /// Called once per registry, at the first request or by [`HrPrometheus::register_in`], for all uses that [share the
    /// monitor](crate::HrPrometheus#which-uses-share-a-monitor). The call itself can neither scrape that registry nor
    /// register anything else in it.
    ///
    /// [`HrPrometheus::register_in`]: crate::HrPrometheus::register_in
    fn register(registry: &mut Registry) -> Self;

    /// Makes the value that one worker uses (default: a clone).
    ///
    /// Called once per worker, at its first request, on the worker's thread. Use it to create worker-local state, which
    /// needs no locking. actix-web builds the application once per worker and bound address: a server with four workers
    /// on two addresses calls this up to eight times for each `wrap`.
    ///
    /// In this example each worker keeps its counters by [`RequestEnd::route_id`], so that the text of a label is
    /// hashed once per route instead of once per request:
    ///
    /// ```
    /// use std::cell::RefCell;
    ///
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    ///     prometheus_client::{metrics::{counter::Counter, family::Family}, registry::Registry},
    /// };
    ///
    /// /// Counts the bytes of response bodies by route.
    /// struct BytesByRoute {
    ///     bytes: Family<[(&'static str, String); 1], Counter>,
    ///     by_route: RefCell<Vec<Option<Counter>>>,
    /// }
    ///
    /// impl Clone for BytesByRoute {
    ///     /// For another worker, which has its own numbers for routes.
    ///     fn clone(&self) -> Self {
    ///         Self { bytes: self.bytes.clone(), by_route: RefCell::default() }
    ///     }
    /// }
    ///
    /// impl RequestMonitor for BytesByRoute {
    ///     type InFlight = ();
    ///
    ///     fn register(registry: &mut Registry) -> Self {
    ///         let bytes = Family::default();
    ///         registry.register("response_bytes", "Bytes of response bodies", bytes.clone());
    ///         Self { bytes, by_route: RefCell::default() }
    ///     }
    ///
    ///     fn update_init_metrics(&self, _request: &RequestStart<'_>) {}
    ///
    ///     fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
    ///         let mut by_route = self.by_route.borrow_mut();
    ///         if by_route.len() <= end.route_id() {
    ///             by_route.resize(end.route_id() + 1, None);
    ///         }
    ///         by_route[end.route_id()]
    ///             .get_or_insert_with(|| self.bytes.get_or_create_owned(&[("path", end.route().to_owned())]))
    ///             .inc_by(end.response_body_bytes());
    ///     }
    /// }
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/hello/{name}", web::get().to(async || "hello"))
    ///     .wrap(HrPrometheus::with_monitor::<BytesByRoute>());
    /// let app = test::init_service(app).await;
    ///
    /// for path in ["/hello/alice", "/hello/bob"] {
    ///     test::call_and_read_body(&app, test::TestRequest::with_uri(path).to_request()).await;
    /// }
    /// assert_eq!(registry.value("response_bytes_total", &[("path", "/hello/{name}")]), Some(10.0));
    /// # });
    /// ```
    #[must_use]
    fn for_worker(&self) -> Self {
        self.clone()
    }

    /// Called once when a request arrives, before it is routed. Returns what the other hooks get of this request.
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> Self::InFlight;

    /// Called at most once, when the response head is ready, before the body.
    ///
    /// Not called for requests that end without a response: after a panic, after a disconnect, and after an `Err` from
    /// inner middleware, which actix-web turns into a response only outside the middleware stack. Not called for
    /// excluded requests either.
    #[expect(
        unused_variables,
        reason = "the names are documentation; the body is for implementors"
    )]
    fn update_response_metrics(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {}

    /// Returns what `update_init_metrics` would return if it neither looked at the request nor did anything else; the
    /// middleware then need not prepare its arguments. `table_address` is the address of the worker's table of requests
    /// in progress.
    #[doc(hidden)]
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn start_unseen(&self, table_address: usize) -> Option<Self::InFlight> {
        None
    }

    /// Whether `update_response_metrics` does anything for a response with such a body; otherwise the middleware need
    /// not prepare its arguments.
    #[doc(hidden)]
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn looks_at_response(&self, body: BodySize) -> bool {
        true
    }

    /// Called exactly once for every `update_init_metrics`, unless [`forget`](Self::forget) is called instead: when the
    /// last byte of the body has been passed to the server or the request has ended otherwise.
    /// [`RequestEnd::ending`] says how.
    fn update_end_metrics(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>);

    /// Called instead of `update_end_metrics` if the request was excluded after it had begun: undo what the start did.
    ///
    /// See [`Excluded`](crate::Excluded) and [`HrPrometheus::exclude_routes`](crate::HrPrometheus::exclude_routes).
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn forget(&self, in_flight: Self::InFlight) {}

    /// Whether to count the bytes of request bodies for [`RequestEnd::request_body_bytes`] (default: no).
    ///
    /// Costs an allocation for each request with a body. Called once per worker.
    fn counts_request_body(&self) -> bool {
        false
    }

    /// Whether to time the polls of requests for [`RequestEnd::time_on_worker`] and [`RequestEnd::longest_poll`]
    /// (default: no).
    ///
    /// Costs two reads of the clock for each poll except the last. Called once per worker.
    fn times_polls(&self) -> bool {
        false
    }

    /// Called before each scrape, on the worker that serves it: update gauges here.
    ///
    /// Called on a clone of the registered value, not on a worker's. The scrape waits for the future, so it should not
    /// wait for anything slow. [`MetricsRegistry::encode`](crate::MetricsRegistry::encode) does not call it.
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}
