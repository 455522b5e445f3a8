//! What a monitor is, what its hooks are given, and how several run side by side without harming each other.

pub(crate) mod builder;
pub(crate) mod hooks;
pub(crate) mod long_lived;
pub(crate) mod set;

use actix_web::body::BodySize;
use futures_util::future::LocalBoxFuture;
use prometheus_client::registry::Registry;

use crate::monitor::hooks::{RequestEnd, RequestStart, ResponseStart, ScrapeStart};

/// Records metrics of every request: the families, and what happens to them when a request starts and ends.
///
/// One value is made per registry, by [`register`](Self::register); every worker gets its own through
/// [`for_worker`](Self::for_worker), which is why state of a worker needs no lock (`RefCell`, `Cell`, `Arc`; not
/// `Rc`, because a monitor is `Send`). Select a monitor with [`HrPrometheus::with_monitor`], several as a pair.
///
/// For each request the hooks are called in this order:
///
/// | hook | when | how often |
/// | --- | --- | --- |
/// | [`update_init_metrics`](Self::update_init_metrics) | it arrived, before it is routed | once |
/// | [`update_response_metrics`](Self::update_response_metrics) | the response head is ready | at most once |
/// | [`update_end_metrics`](Self::update_end_metrics) | it ended, in whichever way | exactly once, unless |
/// | [`forget`](Self::forget) | it turned out to be excluded: it is marked [`Excluded`](crate::Excluded), or its route is one of [`exclude_routes`] | then once, instead of the end |
///
/// None of them is called for a request that [`exclude`] excludes.
///
/// A hook that panics is contained: the panic is logged once for each monitor, and the request, the worker, the
/// scrape and other monitors go on. If `update_init_metrics` panicked, nothing further is called for that request.
/// A `register` that panics turns this monitor off.
///
/// # Examples
///
/// ```
/// use actix_web::{App, HttpResponse, test, web};
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
/// let app = test::init_service(
///     App::new()
///         .app_data(registry.clone())
///         .route("/", web::get().to(async || "hello"))
///         .wrap(HrPrometheus::with_monitor::<BytesSent>()),
/// )
/// .await;
///
/// test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
/// let scrape = registry.encode()?;
/// assert_eq!(
///     scrape.lines().collect::<Vec<_>>(),
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
/// # Testing a monitor
///
/// The shortest application will do: whatever its default service does is an ending.
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
///         let labels = [("ending", format!("{:?}", end.ending())), ("status", end.status().as_str().to_owned())];
///         self.0.get_or_create_owned(&labels).inc();
///     }
/// }
///
/// # actix_web::rt::System::new().block_on(async {
/// let registry = MetricsRegistry::new();
/// let app = test::init_service(
///     App::new()
///         .app_data(registry.clone())
///         .default_service(web::to(async || Err::<&str, _>(ErrorBadGateway("no answer"))))
///         .wrap(HrPrometheus::with_monitor::<Endings>()),
/// )
/// .await;
/// let request = || test::TestRequest::get().to_request();
///
/// // Read to the end, left before its body was read, and left before there was a response.
/// test::call_and_read_body(&app, request()).await;
/// drop(test::call_service(&app, request()).await);
/// drop(app.call(request()));
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
    /// What one request carries from its start to its end.
    type InFlight: 'static;

    /// Creates the families and registers them.
    ///
    /// Called once per registry, at the first request or by [`HrPrometheus::register_in`]. In here the registry
    /// cannot be scraped, nor asked for another registration.
    ///
    /// [`HrPrometheus::register_in`]: crate::HrPrometheus::register_in
    fn register(registry: &mut Registry) -> Self;

    /// Makes the value that one worker uses; by default a clone.
    ///
    /// Called once for each worker, at its first request, on the worker's thread: the place to make state that no
    /// other worker touches, and so needs neither a lock nor a look-up that others wait for. A server has as many
    /// workers for each address that it is bound to; and each `wrap` counts on its own.
    ///
    /// Here each worker keeps its handles by [`RequestEnd::route_id`], so that the text of a label is hashed once for
    /// a route, not once for a request:
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
    ///     /// For another worker, which numbers its routes itself.
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
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/hello/{name}", web::get().to(async || "hello"))
    ///         .wrap(HrPrometheus::with_monitor::<BytesByRoute>()),
    /// )
    /// .await;
    ///
    /// for name in ["/hello/alice", "/hello/bob"] {
    ///     test::call_and_read_body(&app, test::TestRequest::get().uri(name).to_request()).await;
    /// }
    /// assert_eq!(registry.value("response_bytes_total", &[("path", "/hello/{name}")]), Some(10.0));
    /// # });
    /// ```
    #[must_use]
    fn for_worker(&self) -> Self {
        self.clone()
    }

    /// Called when a request arrives, before it is routed.
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> Self::InFlight;

    /// Called when the response head is ready, before the body.
    ///
    /// Not called for requests that end without a response: a panic, a client that left before, and an `Err` from
    /// inner middleware, which actix-web turns into a response only after the middleware stack. Nor for excluded
    /// requests.
    #[expect(
        unused_variables,
        reason = "the names are documentation; the body is for implementors"
    )]
    fn update_response_metrics(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {}

    /// What `update_init_metrics` would give, if it would neither look at the request nor do anything else: what it is
    /// given need not be prepared then. `table_address` is where the worker has its table of requests in progress.
    #[doc(hidden)]
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn start_unseen(&self, table_address: usize) -> Option<Self::InFlight> {
        None
    }

    /// Whether `update_response_metrics` has anything to do for a response with such a body: what it is given need not be
    /// prepared otherwise.
    #[doc(hidden)]
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn looks_at_response(&self, body: BodySize) -> bool {
        true
    }

    /// Called exactly once for every `update_init_metrics`, when the last byte of the body was handed to the server
    /// or the request ended otherwise; [`RequestEnd::ending`] says how.
    fn update_end_metrics(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>);

    /// Called instead of `update_end_metrics` for a request that was excluded after it had begun, to undo what the start
    /// did. See [`Excluded`](crate::Excluded) and [`HrPrometheus::exclude_routes`](crate::HrPrometheus::exclude_routes).
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn forget(&self, in_flight: Self::InFlight) {}

    /// Whether to count the bytes of request bodies, which costs an allocation per request that has one;
    /// [`RequestEnd::request_body_bytes`] then has them. Asked once for each worker.
    fn counts_request_body(&self) -> bool {
        false
    }

    /// Whether to time the polls of requests, which costs two reads of the clock for each poll but the last one;
    /// [`RequestEnd::time_on_worker`] and [`RequestEnd::longest_poll`] then have them. Asked once for each worker.
    fn times_polls(&self) -> bool {
        false
    }

    /// Called before each scrape, on the worker that scrapes: the place to bring gauges up to date.
    ///
    /// Called on a clone of the registered value, not on a worker's. The scrape waits for it, so it should not wait
    /// for anything slow. [`MetricsRegistry::encode`](crate::MetricsRegistry::encode) does not call it.
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}
