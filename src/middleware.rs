//! The middleware: what is chosen when it is made, and what it does when a request arrives.

use std::{
    any::{TypeId, type_name},
    cell::OnceCell,
    fmt,
    future::{Ready, ready},
    rc::Rc,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use actix_service::{Service, Transform};
use actix_web::{
    HttpRequest,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
};
use prometheus_client::registry::Registry;

use crate::{
    DefaultMonitor, Error, MetricsRegistry, Monitors,
    active_request::{ActiveRequest, MeasuredBody, MeasuredResponse, SpareStates},
    in_flight::InFlightTable,
    monitor::MonitorSet,
    route::Routes,
};

/// The middleware: records metrics of every request into the registry of the application.
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};
///
/// # #[actix_web::main]
/// # async fn main() {
/// let registry = MetricsRegistry::new();
/// let app = test::init_service(
///     App::new()
///         .app_data(registry.clone())
///         .service(metrics_scope())
///         .route("/hello/{name}", web::get().to(async || "hello"))
///         .wrap(HrPrometheus::default()), // last: outermost, sees what other middleware answers
/// )
/// .await;
///
/// let hello = test::TestRequest::get().uri("/hello/alice").to_request();
/// test::call_and_read_body(&app, hello).await;
/// assert_eq!(
///     registry.value("request_count_total", &[("path", "/hello/{name}"), ("status", "200")]),
///     Some(1.0),
/// );
/// # }
/// ```
///
/// # Which registry
///
/// That of [`register_in`](Self::register_in); else the one in the data of the application, or of the scope that the
/// middleware is wrapped around; else [`MetricsRegistry::global`]. The middleware looks once per worker, at its first
/// request. `/metrics` looks in the same places, so both meet when the registry is in the application's data or in
/// neither's.
///
/// # Where to make it
///
/// In the closure of `HttpServer::new`, which runs once per worker: all workers share one registry, and a monitor is
/// registered once. Or once before the server starts, to be cloned in the closure: that is where
/// [`register_in`](Self::register_in) can report what is wrong.
///
/// Wrap it around a scope or a resource to measure only that. Two of them that see the same request count it twice.
///
/// # What a panic, an error or a client that leaves does
///
/// Every request is recorded exactly once, however it ends; see [`DefaultMonitor`] for the status that it is counted
/// under, and [`RequestMonitor`](crate::RequestMonitor) for what monitors are told. The middleware changes nothing of a
/// response.
pub struct HrPrometheus<M: Monitors = DefaultMonitor> {
    registry: Option<MetricsRegistry>,
    source: Source<M>,
}

/// Gets the monitors from a registry, and registers them there if that has not been done.
type Source<M> = Arc<dyn Fn(&MetricsRegistry, &mut Vec<Error>) -> <M as Monitors>::Set + Send + Sync>;

impl HrPrometheus {
    /// Measures with the monitor `M`, or with several: `with_monitor::<(DefaultMonitor, MyMonitor)>()`.
    ///
    /// A monitor is registered once per registry and type, by the first worker that gets a request. Workers, clones
    /// and other middleware with the same monitor share it; the members of a pair are registered one by one. A pair of
    /// the same monitor twice records everything twice.
    ///
    /// See [`RequestMonitor`](crate::RequestMonitor) for an example.
    #[must_use = "give it to `App::wrap`"]
    pub fn with_monitor<M: Monitors>() -> HrPrometheus<M> {
        HrPrometheus {
            registry: None,
            source: Arc::new(M::obtain),
        }
    }

    /// Measures with the monitor that `register` makes: for one that needs more than a registry.
    ///
    /// `register` is called once per registry and type of closure, however often the line runs: also where the closure
    /// of `HttpServer::new` is run by each worker. Two closures that are written in two places have two types; a
    /// `fn` pointer has the same type as every other of its signature, so give the function itself.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{
    ///     HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    ///     prometheus_client::{metrics::counter::Counter, registry::Registry},
    /// };
    ///
    /// /// Counts the requests whose response was late.
    /// #[derive(Clone)]
    /// struct Late {
    ///     budget: std::time::Duration,
    ///     late: Counter,
    /// }
    ///
    /// impl Late {
    ///     fn with_budget(budget: std::time::Duration, registry: &mut Registry) -> Self {
    ///         let late = Counter::default();
    ///         registry.register("late_responses", "Responses over their budget", late.clone());
    ///         Self { budget, late }
    ///     }
    /// }
    ///
    /// impl RequestMonitor for Late {
    ///     type InFlight = ();
    ///
    ///     fn register(registry: &mut Registry) -> Self {
    ///         Self::with_budget(std::time::Duration::from_secs(1), registry)
    ///     }
    ///
    ///     fn update_init_metrics(&self, _request: &RequestStart<'_>) {}
    ///
    ///     fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
    ///         if end.latency() > self.budget {
    ///             self.late.inc();
    ///         }
    ///     }
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let budget = std::time::Duration::ZERO;
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/", web::get().to(async || "hello"))
    ///         .wrap(HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
    ///             Late::with_budget(budget, registry)
    ///         })),
    /// )
    /// .await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::get().to_request()).await;
    /// assert_eq!(registry.value("late_responses_total", &[]), Some(1.0));
    /// # }
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn with_monitor_from<F, M>(register: F) -> HrPrometheus<M>
    where
        F: Fn(&mut Registry) -> M + Send + Sync + 'static,
        M: Monitors,
    {
        HrPrometheus {
            registry: None,
            source: Arc::new(move |registry, errors| {
                let register = |registry: &mut Registry| register(registry).contained();
                registry.monitor_set(type_name::<M>(), TypeId::of::<F>(), register, errors)
            }),
        }
    }
}

impl<M: Monitors> HrPrometheus<M> {
    /// Registers now, and measures into `registry` whatever is in the application's data.
    ///
    /// For those who want to see errors before the server starts, and the families before the first request. For
    /// `/metrics` to find the registry it has to be in the application's data too.
    ///
    /// ```
    /// use actix_web::{App, HttpServer};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};
    ///
    /// # fn main() -> std::io::Result<()> {
    /// let registry = MetricsRegistry::new();
    /// let metrics = HrPrometheus::default().register_in(&registry)?;
    /// let server = HttpServer::new(move || {
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .service(metrics_scope())
    ///         .wrap(metrics.clone())
    /// });
    /// # let _ = server;
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// When a monitor's `register` panics, now or before, and when called from within a registration or a scrape of
    /// the same registry.
    pub fn register_in(mut self, registry: &MetricsRegistry) -> Result<Self, Error> {
        let mut errors = Vec::new();
        (self.source)(registry, &mut errors);
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        self.registry = Some(registry.clone());
        Ok(self)
    }
}

/// Measures with [`DefaultMonitor`].
impl Default for HrPrometheus {
    fn default() -> Self {
        Self::with_monitor()
    }
}

impl<M: Monitors> Clone for HrPrometheus<M> {
    fn clone(&self) -> Self {
        Self {
            registry: self.registry.clone(),
            source: Arc::clone(&self.source),
        }
    }
}

impl<M: Monitors> fmt::Debug for HrPrometheus<M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HrPrometheus")
            .field("monitor", &type_name::<M>())
            .field("registry", &self.registry)
            .finish_non_exhaustive()
    }
}

impl<N, B, M> Transform<N, ServiceRequest> for HrPrometheus<M>
where
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
    M: Monitors,
{
    type Response = ServiceResponse<MeasuredBody<B, M::Set>>;
    type Error = actix_web::Error;
    type InitError = ();
    type Transform = HrPrometheusService<N, M>;
    type Future = Ready<Result<Self::Transform, Self::InitError>>;

    fn new_transform(&self, next: N) -> Self::Future {
        ready(Ok(HrPrometheusService {
            next,
            metrics: self.clone(),
            worker: OnceCell::new(),
        }))
    }
}

/// The middleware in one worker.
pub struct HrPrometheusService<N, M: Monitors> {
    next: N,
    metrics: HrPrometheus<M>,
    /// Made at the first request: before it nothing shows the application's data or its routes.
    worker: OnceCell<Rc<Worker<M::Set>>>,
}

/// What the requests of one worker share.
pub(crate) struct Worker<S: MonitorSet> {
    pub(crate) monitors: S,
    pub(crate) routes: Rc<Routes>,
    pub(crate) counts_request_body: bool,
    pub(crate) in_flight: Arc<InFlightTable>,
    pub(crate) spare_states: SpareStates<S>,
}

impl<N, M: Monitors> HrPrometheusService<N, M> {
    fn worker(&self, request: &HttpRequest) -> &Rc<Worker<M::Set>> {
        self.worker.get_or_init(|| {
            let registry = self.metrics.registry.clone();
            let registry = registry.unwrap_or_else(|| MetricsRegistry::of(request));
            // A monitor that cannot be registered is off, which the registry has logged; requests are served.
            let monitors = (self.metrics.source)(&registry, &mut Vec::new()).for_worker();
            Rc::new(Worker {
                counts_request_body: monitors.counts_request_body(),
                monitors,
                routes: Routes::of(request),
                in_flight: Arc::new(InFlightTable::new()),
                spare_states: SpareStates::new(),
            })
        })
    }
}

impl<N, B, M> Service<ServiceRequest> for HrPrometheusService<N, M>
where
    N: Service<ServiceRequest, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
    M: Monitors,
{
    type Response = ServiceResponse<MeasuredBody<B, M::Set>>;
    type Error = actix_web::Error;
    type Future = MeasuredResponse<N::Future, M::Set>;

    fn poll_ready(&self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.next.poll_ready(cx)
    }

    fn call(&self, mut request: ServiceRequest) -> Self::Future {
        let arrived = Instant::now();
        let worker = self.worker(request.request());
        let mut active = ActiveRequest::begin(worker, &mut request, arrived);
        let response = active.run(|| self.next.call(request));
        MeasuredResponse::new(response, active)
    }
}
