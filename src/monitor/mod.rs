//! What a monitor is, what its hooks are given, and how several run side by side without harming each other.

use std::{
    any::{Any, TypeId, type_name},
    cell::{OnceCell, Ref},
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::Poll,
    time::{Duration, Instant},
};

use actix_web::{
    HttpMessage as _, HttpRequest,
    body::BodySize,
    dev::{Extensions, ResponseHead, ServiceRequest},
    http::{
        StatusCode,
        header::{self, HeaderMap},
        uri::PathAndQuery,
    },
};
use futures_util::future::LocalBoxFuture;
use prometheus_client::registry::Registry;

use crate::{
    error::Error,
    in_flight::InFlightTable,
    registry::MetricsRegistry,
    route::{RouteLabel, Routes, arrived_path, label_in_table},
};

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
/// | [`forget`](Self::forget) | it turned out to be left out: it was marked [`Excluded`], or its route is one of [`exclude_routes`] | then once, in place of the end |
///
/// None of them is called for a request that [`exclude`] leaves out.
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
/// # #[actix_web::main]
/// # async fn main() -> Result<(), hr_prometheus::Error> {
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
/// # Ok(())
/// # }
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
    /// # #[actix_web::main]
    /// # async fn main() {
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
    /// # }
    /// ```
    #[must_use]
    fn for_worker(&self) -> Self {
        self.clone()
    }

    /// Called when a request arrives, before it is routed.
    fn update_init_metrics(&self, request: &RequestStart<'_>) -> Self::InFlight;

    /// Called when the response head is ready, before the body.
    ///
    /// Not called for requests that end without a response: a panic, a client that left before, and an `Err` of
    /// an inner middleware, which actix-web turns into a response when nobody can see it any more. Nor for those that
    /// are left out.
    #[expect(
        unused_variables,
        reason = "the names are documentation; the body is for implementors"
    )]
    fn update_response_metrics(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {}

    /// Called exactly once for every `update_init_metrics`, when the last byte of the body was handed to the server
    /// or the request ended otherwise; [`RequestEnd::ending`] says how.
    fn update_end_metrics(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>);

    /// Called in place of `update_end_metrics` for a request that was left out after it had begun, to undo what
    /// the start did. See [`Excluded`] and [`HrPrometheus::exclude_routes`](crate::HrPrometheus::exclude_routes).
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

    /// Called before each scrape, on the worker that scrapes: the place to bring gauges up to date.
    ///
    /// Called on a clone of the registered value, not on a worker's. The scrape waits for it, so it should not wait
    /// for anything slow. [`MetricsRegistry::encode`] does not call it.
    #[expect(
        unused_variables,
        reason = "the name is documentation; the body is for implementors"
    )]
    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(std::future::ready(()))
    }
}

/// Leaves a request out of the metrics after it has begun.
///
/// A handler or an inner middleware puts it into the extensions of the request or of the response. The request is
/// then neither counted nor timed, and [`RequestMonitor::forget`] is called in place of the end; the gauge of
/// requests in progress had it while it ran. No effect on a request that ends without a response.
///
/// To leave out whole routes, or what is known when a request arrives, see [`HrPrometheus::exclude_routes`] and
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
/// # #[actix_web::main]
/// # async fn main() {
/// let registry = MetricsRegistry::new();
/// let app = test::init_service(
///     App::new()
///         .app_data(registry.clone())
///         .route("/health", web::get().to(health))
///         .wrap(HrPrometheus::default()),
/// )
/// .await;
///
/// test::call_and_read_body(&app, test::TestRequest::get().uri("/health").to_request()).await;
/// assert_eq!(registry.value("request_count_total", &[]), None);
/// # }
/// ```
///
/// By what the response says, such as its status, with a middleware of one's own between the handlers and this one:
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
/// async fn leave_out_not_found<B: MessageBody>(
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
/// # #[actix_web::main]
/// # async fn main() -> Result<(), hr_prometheus::Error> {
/// let registry = MetricsRegistry::new();
/// let app = test::init_service(
///     App::new()
///         .app_data(registry.clone())
///         .route("/", web::get().to(async || "hello"))
///         .wrap(from_fn(leave_out_not_found))
///         .wrap(HrPrometheus::default()),
/// )
/// .await;
///
/// for path in ["/", "/nowhere"] {
///     test::call_and_read_body(&app, test::TestRequest::get().uri(path).to_request()).await;
/// }
/// let scrape = registry.encode()?;
/// let counts: Vec<_> = scrape.lines().filter(|line| line.starts_with("request_count_total")).collect();
/// assert_eq!(counts, [r#"request_count_total{method="GET",path="/",status="200"} 1"#]);
/// # Ok(())
/// # }
/// ```
///
/// [`HrPrometheus::exclude`]: crate::HrPrometheus::exclude
/// [`HrPrometheus::exclude_routes`]: crate::HrPrometheus::exclude_routes
#[derive(Clone, Copy, Debug, Default)]
pub struct Excluded;

impl Excluded {
    #[inline]
    pub(crate) fn marks(request: &HttpRequest, of_response: &Extensions) -> bool {
        // Something may hold the extensions of the request for writing, such as a task that was spawned with it.
        let of_request = || request.extensions().contains::<Self>();
        of_response.contains::<Self>() || catch_unwind(AssertUnwindSafe(of_request)).unwrap_or(false)
    }
}

/// A request that arrived and has not been routed yet.
pub struct RequestStart<'a> {
    pub(crate) request: &'a ServiceRequest,
    pub(crate) method: &'static str,
    pub(crate) table: &'a Arc<InFlightTable>,
    pub(crate) routes: &'a Routes,
    pub(crate) route: OnceCell<Arc<str>>,
    /// Whether a predicate asks, which makes no label of the answer: so it has no claim on the cap.
    pub(crate) is_for_predicate: bool,
}

impl RequestStart<'_> {
    /// The request. A clone of its [`HttpRequest`] must not be kept: routing needs to be its only owner, and
    /// panics otherwise.
    #[must_use]
    pub fn request(&self) -> &ServiceRequest {
        self.request
    }

    /// The label of the method: a method of RFC 9110, `PATCH`, `QUERY` or one of
    /// [`extra_methods`](crate::HrPrometheus::extra_methods); anything else is `_OTHER`.
    #[must_use]
    pub fn method(&self) -> &str {
        self.method
    }

    /// The label of the route that the path matches, guards not considered; `unmatched` if there is none.
    ///
    /// A walk over the route table when it is first asked for. [`RequestEnd::route`] is exact and costs less. With
    /// [kept parameters](crate::HrPrometheus::keep_params) a path that is asked for here counts towards the cap, unless
    /// a predicate of [`exclude`](crate::HrPrometheus::exclude) asks.
    #[must_use]
    pub fn route(&self) -> &str {
        self.route.get_or_init(|| {
            let path = arrived_path(self.request);
            if self.is_for_predicate {
                return self.routes.text_before_cap(&path);
            }
            Arc::clone(&self.routes.label_as_arrived(Some(&path)).text)
        })
    }
}

impl fmt::Debug for RequestStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RequestStart")
            .field("method", &self.method)
            .field("path", &self.request.path())
            .finish_non_exhaustive()
    }
}

/// A response head that is ready, and the request that it answers: what is gone a moment later.
pub struct ResponseStart<'a> {
    pub(crate) request: &'a HttpRequest,
    pub(crate) head: &'a ResponseHead,
    pub(crate) extensions: Ref<'a, Extensions>,
    pub(crate) body_size: BodySize,
    pub(crate) method: &'static str,
    pub(crate) route: &'a RouteLabel,
    pub(crate) arrived: Instant,
}

impl ResponseStart<'_> {
    /// The request, with what inner middleware and the handler put into its extensions.
    #[must_use]
    pub fn request(&self) -> &HttpRequest {
        self.request
    }

    /// The label of the method, as [`RequestStart::method`].
    #[must_use]
    pub fn method(&self) -> &str {
        self.method
    }

    /// The label of the route that served the request; `unmatched` if there was none.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route.text
    }

    /// The status of the response.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.head.status
    }

    /// The headers of the response, without those that the server adds when it sends them.
    #[must_use]
    pub fn headers(&self) -> &HeaderMap {
        self.head.headers()
    }

    /// The extensions of the response.
    #[must_use]
    pub fn extensions(&self) -> &Extensions {
        &self.extensions
    }

    /// The time since the request arrived; reads the clock.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.arrived.elapsed()
    }

    /// The size of the body, as far as it is known beforehand.
    #[must_use]
    pub fn body_size(&self) -> BodySize {
        self.body_size
    }

    /// Whether the response lives as long as its client likes: a stream with status 101, `text/event-stream` or
    /// `multipart/x-mixed-replace`. Its end says little, so the default monitor counts and times it now.
    #[must_use]
    #[inline]
    pub fn is_long_lived(&self) -> bool {
        if self.body_size != BodySize::Stream {
            return false;
        }
        if self.head.status == StatusCode::SWITCHING_PROTOCOLS {
            return true;
        }
        let Some(content_type) = self.head.headers().get(header::CONTENT_TYPE) else {
            return false;
        };
        let essence = content_type.as_bytes().split(|&byte| byte == b';').next();
        essence.map(<[u8]>::trim_ascii_end).is_some_and(|essence| {
            essence.eq_ignore_ascii_case(b"text/event-stream")
                || essence.eq_ignore_ascii_case(b"multipart/x-mixed-replace")
        })
    }

    /// A small number for the label of the route, as [`RequestEnd::route_id`].
    #[must_use]
    pub fn route_id(&self) -> usize {
        self.route.id
    }

    pub(crate) fn route_label(&self) -> &RouteLabel {
        self.route
    }
}

impl fmt::Debug for ResponseStart<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseStart")
            .field("method", &self.method)
            .field("route", &self.route.text)
            .field("status", &self.head.status)
            .finish_non_exhaustive()
    }
}

/// A request that has ended.
#[derive(Debug)]
pub struct RequestEnd<'a> {
    pub(crate) method: &'static str,
    pub(crate) route: &'a RouteLabel,
    pub(crate) status: StatusCode,
    pub(crate) latency: Duration,
    pub(crate) response_body_bytes: u64,
    pub(crate) request_body_bytes: Option<u64>,
    pub(crate) ending: Ending,
    /// Whether there was a response, be it one that was made of an error further out.
    pub(crate) answered: bool,
}

impl RequestEnd<'_> {
    /// The label of the method, as [`RequestStart::method`].
    #[must_use]
    pub fn method(&self) -> &str {
        self.method
    }

    /// The label of the route that served the request; `unmatched` if there was none. For a request that ended
    /// without a response, the label of the path as it arrived.
    #[must_use]
    pub fn route(&self) -> &str {
        &self.route.text
    }

    /// The status that the middleware passed on; 500 after a panic, 499 for a request that was dropped before there
    /// was a response. Once there was a response its status stays, whatever became of the body.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The time from the arrival to this end.
    #[must_use]
    pub fn latency(&self) -> Duration {
        self.latency
    }

    /// The bytes of the response body that were handed to the server, before any transfer coding; 0 for HEAD.
    #[must_use]
    pub fn response_body_bytes(&self) -> u64 {
        self.response_body_bytes
    }

    /// The bytes of the request body that were read; `None` unless a monitor
    /// [asked for them](RequestMonitor::counts_request_body).
    #[must_use]
    pub fn request_body_bytes(&self) -> Option<u64> {
        self.request_body_bytes
    }

    /// How the request ended.
    #[must_use]
    pub fn ending(&self) -> Ending {
        self.ending
    }

    /// A small number for the label of the route, by which a monitor can find its own records without a look-up of
    /// text: counted from 0, the same for the same label as long as the worker lives. Another worker has other
    /// numbers. See [`RequestMonitor::for_worker`].
    #[must_use]
    pub fn route_id(&self) -> usize {
        self.route.id
    }

    pub(crate) fn route_label(&self) -> &RouteLabel {
        self.route
    }
}

/// How a request ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Ending {
    /// The whole response was handed to the server.
    Completed,
    /// The body of the response ended in an error.
    Failed,
    /// The response, or the future that would have become one, was dropped before it was complete. The reason is
    /// not known here: the client left, a time-out outside of the middleware, a shutdown.
    Dropped,
    /// A handler, an inner middleware or the body of the response panicked.
    Panicked,
}

/// A scrape that is about to begin.
#[derive(Debug)]
pub struct ScrapeStart {
    pub(crate) request: HttpRequest,
}

impl ScrapeStart {
    /// The label of the route that `path` matches in the application that is scraped; `None` if there is none.
    ///
    /// `path` is that of a request line: percent-encoded, with or without a query. A walk over the route table. The
    /// options of a middleware do not apply: a registry, and so a scrape, can have several with different options.
    #[must_use]
    pub fn route(&self, path: &PathAndQuery) -> Option<String> {
        label_in_table(self.request.resource_map(), path)
    }
}

/// One monitor or a pair of monitors: what [`HrPrometheus`](crate::HrPrometheus) can be made with.
///
/// Implemented for every [`RequestMonitor`] and for `(A, B)`, where `A` and `B` may be pairs again. The members of
/// a pair are registered and contained one by one: a panic in one of them costs the other nothing. It cannot be
/// implemented otherwise.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a request monitor",
    label = "not a monitor",
    note = "implement `hr_prometheus::RequestMonitor` for `{Self}`; several monitors are given as a pair: `(A, B)`"
)]
pub trait Monitors: sealed::Sealed + Clone + Send + 'static {
    #[doc(hidden)]
    type Set: MonitorSet;

    /// What `registry` holds for this type; registers what it does not hold yet. A member that cannot be registered
    /// is off, and why is added to `errors`.
    #[doc(hidden)]
    fn obtain(registry: &MetricsRegistry, errors: &mut Vec<Error>) -> Self::Set;

    /// A value that was made elsewhere, ready to run.
    #[doc(hidden)]
    fn contained(self) -> Self::Set;
}

mod sealed {
    pub trait Sealed {}

    impl<M: super::RequestMonitor> Sealed for M {}

    impl<A: super::Monitors, B: super::Monitors> Sealed for (A, B) {}
}

impl<M: RequestMonitor> Monitors for M {
    type Set = Contained<M>;

    fn obtain(registry: &MetricsRegistry, errors: &mut Vec<Error>) -> Contained<M> {
        registry.monitor_set(
            type_name::<M>(),
            TypeId::of::<M>(),
            |registry| M::register(registry).contained(),
            errors,
        )
    }

    fn contained(self) -> Contained<M> {
        Contained {
            monitor: Some(self),
            reported: Arc::default(),
        }
    }
}

impl<A: Monitors, B: Monitors> Monitors for (A, B) {
    type Set = (A::Set, B::Set);

    fn obtain(registry: &MetricsRegistry, errors: &mut Vec<Error>) -> Self::Set {
        (A::obtain(registry, errors), B::obtain(registry, errors))
    }

    fn contained(self) -> Self::Set {
        (self.0.contained(), self.1.contained())
    }
}

/// What runs for [`Monitors`]: each of them in a [`Contained`] of its own.
pub trait MonitorSet: Clone + Send + 'static {
    type InFlight: 'static;

    /// Monitors that record nothing, for those that could not be registered.
    fn off() -> Self;
    fn for_worker(&self) -> Self;
    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight;
    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>);
    fn end(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>);
    fn forget(&self, in_flight: Self::InFlight);
    fn counts_request_body(&self) -> bool;
    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()>;
}

impl<A: MonitorSet, B: MonitorSet> MonitorSet for (A, B) {
    type InFlight = (A::InFlight, B::InFlight);

    fn off() -> Self {
        (A::off(), B::off())
    }

    fn for_worker(&self) -> Self {
        (self.0.for_worker(), self.1.for_worker())
    }

    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight {
        (self.0.start(request), self.1.start(request))
    }

    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        self.0.respond(&mut in_flight.0, response);
        self.1.respond(&mut in_flight.1, response);
    }

    fn end(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>) {
        self.0.end(in_flight.0, end);
        self.1.end(in_flight.1, end);
    }

    fn forget(&self, in_flight: Self::InFlight) {
        self.0.forget(in_flight.0);
        self.1.forget(in_flight.1);
    }

    fn counts_request_body(&self) -> bool {
        // Both are asked, whatever the first says.
        self.0.counts_request_body() | self.1.counts_request_body()
    }

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            self.0.prepare_scrape(scrape).await;
            self.1.prepare_scrape(scrape).await;
        })
    }
}

/// One monitor, whose panics end here.
pub struct Contained<M> {
    /// `None` if it could not be made; then nothing is called.
    monitor: Option<M>,
    /// Whether a panic of this monitor has been logged; shared by all workers.
    reported: Arc<AtomicBool>,
}

impl<M: RequestMonitor> Contained<M> {
    fn copied_by(&self, hook: &str, copy: impl FnOnce(&M) -> M) -> Self {
        let monitor = self.monitor.as_ref();
        Self {
            monitor: monitor.and_then(|monitor| self.contain(hook, || copy(monitor))),
            reported: Arc::clone(&self.reported),
        }
    }

    fn contain<T>(&self, hook: &str, call: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(call)) {
            Ok(value) => Some(value),
            Err(panic) => {
                if !self.reported.swap(true, Ordering::Relaxed) {
                    log::error!(
                        "{hook} of the monitor {} panicked: {}; requests are served, further panics of this monitor are not logged",
                        type_name::<M>(),
                        panic_message(&*panic),
                    );
                }
                None
            }
        }
    }
}

impl<M: RequestMonitor> Clone for Contained<M> {
    fn clone(&self) -> Self {
        self.copied_by("clone", M::clone)
    }
}

impl<M: RequestMonitor> MonitorSet for Contained<M> {
    type InFlight = Option<M::InFlight>;

    fn off() -> Self {
        Self {
            monitor: None,
            reported: Arc::default(),
        }
    }

    fn for_worker(&self) -> Self {
        self.copied_by("for_worker", M::for_worker)
    }

    fn start(&self, request: &RequestStart<'_>) -> Self::InFlight {
        let monitor = self.monitor.as_ref()?;
        self.contain("update_init_metrics", || monitor.update_init_metrics(request))
    }

    fn respond(&self, in_flight: &mut Self::InFlight, response: &ResponseStart<'_>) {
        if let (Some(monitor), Some(in_flight)) = (&self.monitor, in_flight) {
            self.contain("update_response_metrics", || {
                monitor.update_response_metrics(in_flight, response);
            });
        }
    }

    fn end(&self, in_flight: Self::InFlight, end: &RequestEnd<'_>) {
        if let (Some(monitor), Some(in_flight)) = (&self.monitor, in_flight) {
            self.contain("update_end_metrics", || {
                monitor.update_end_metrics(in_flight, end);
            });
        }
    }

    fn forget(&self, in_flight: Self::InFlight) {
        if let (Some(monitor), Some(in_flight)) = (&self.monitor, in_flight) {
            self.contain("forget", || monitor.forget(in_flight));
        }
    }

    fn counts_request_body(&self) -> bool {
        let monitor = self.monitor.as_ref();
        monitor
            .and_then(|monitor| self.contain("counts_request_body", || monitor.counts_request_body()))
            .unwrap_or(false)
    }

    fn prepare_scrape<'a>(&'a self, scrape: &'a ScrapeStart) -> LocalBoxFuture<'a, ()> {
        Box::pin(async move {
            let Some(monitor) = &self.monitor else { return };
            let Some(mut prepare) = self.contain("prepare_scrape", || monitor.prepare_scrape(scrape)) else {
                return;
            };
            std::future::poll_fn(|cx| {
                self.contain("prepare_scrape", || prepare.as_mut().poll(cx))
                    .unwrap_or(Poll::Ready(()))
            })
            .await;
        })
    }
}

/// What a panic says, where it is text.
pub(crate) fn panic_message(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
