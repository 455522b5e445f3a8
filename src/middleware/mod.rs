//! The middleware: what is chosen when it is made, and what it does when a request arrives.

pub(crate) mod active_request;
pub(crate) mod exclusion;
pub(crate) mod polls;
pub(crate) mod response;
pub(crate) mod service;
pub(crate) mod worker;

use std::{
    any::{TypeId, type_name},
    fmt,
    sync::Arc,
};

use prometheus_client::registry::Registry;

use crate::{
    error::{Error, Mistakes},
    method::Methods,
    middleware::exclusion::Predicates,
    monitor::{
        builder::MonitorBuilder,
        hooks::RequestStart,
        long_lived::LongLivedTypes,
        set::{MonitorSet as _, Monitors, obtain},
    },
    monitors::default::DefaultMonitor,
    panics::DiscardOnDrop,
    registry::MetricsRegistry,
    requested_routes::RequestedRoutes,
    route::rules::Rules,
    texts::Texts,
    workers::Workers,
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
/// # Mistakes
///
/// An option that is given something wrong returns the middleware all the same, so that options can be chained, and
/// keeps the error. [`register_in`](Self::register_in) and [`build`](Self::build) return the first one, with a message
/// that names the option and the fix. Without either, an application that is wrapped does not start, and the message is
/// in the log, at level error: actix-web says only that it cannot start the service. Builders of monitors do the same,
/// and the middleware has their errors too.
///
/// # What a panic, an error or a client that leaves does
///
/// Every request is recorded exactly once, however it ends; see [`DefaultMonitor`] for the status that it is counted
/// under, and [`RequestMonitor`](crate::RequestMonitor) for what monitors are told. The middleware changes nothing of a
/// response.
pub struct HrPrometheus<M: Monitors = DefaultMonitor> {
    registry: Option<MetricsRegistry>,
    source: Source<M>,
    /// Tells sources apart that are otherwise the same.
    name: String,
    options: Arc<Options>,
}

/// What is chosen for one middleware; its clones and its workers share it.
#[derive(Clone, Default)]
pub(crate) struct Options {
    pub(crate) predicates: Predicates,
    pub(crate) methods: Methods,
    pub(crate) long_lived_types: LongLivedTypes,
    pub(crate) rules: Arc<Rules>,
    pub(crate) shows_workers: bool,
    pub(crate) shows_routes: bool,
    pub(crate) mistakes: Mistakes,
}

/// Gets the monitors from a registry, and registers them there if that has not been done.
type Source<M> = Arc<dyn Fn(&MetricsRegistry, &str, &mut Vec<Error>) -> <M as Monitors>::Set + Send + Sync>;

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
            name: String::new(),
            options: Arc::default(),
        }
    }

    /// Measures with the monitor that `register` makes, for a monitor that needs more than a registry.
    ///
    /// `register` is called once per registry and type of closure, no matter how often this is called, for instance by
    /// every worker in the closure of `HttpServer::new`. Closures that are written in different places have different
    /// types; two uses of one closure are told apart by [a name](Self::named). All `fn` pointers of one signature share
    /// a type, so pass the function itself.
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
        // What it captures may panic when it is dropped.
        let register = DiscardOnDrop::new(register);
        HrPrometheus {
            registry: None,
            source: Arc::new(move |registry, name, errors| {
                let Some(register) = register.as_ref() else {
                    return M::Set::off();
                };
                let register = |registry: &mut Registry| register(registry).contained();
                obtain::<M, _>(registry, (TypeId::of::<F>(), name.to_owned()), register, errors)
            }),
            name: String::new(),
            options: Arc::default(),
        }
    }

    /// Measures with what `builder` makes: [`DefaultMonitor::builder`], [`OtelMonitor::builder`], or both as a pair,
    /// `with_builder((DefaultMonitor::builder(), OtelMonitor::builder()))`.
    ///
    /// The monitor is made once for each registry and all builders that are equal: workers and clones share it, and two
    /// builders that differ make two monitors. Their families need different names, for example by a
    /// [prefix](crate::DefaultMonitorBuilder::prefix):
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// fn metrics(prefix: &str) -> HrPrometheus {
    ///     HrPrometheus::with_builder(DefaultMonitor::builder().prefix(prefix))
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let hello = async || "hello";
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .service(web::scope("/a").route("/", web::get().to(hello)).wrap(metrics("a")))
    ///         .service(web::scope("/b").route("/", web::get().to(hello)).wrap(metrics("b"))),
    /// )
    /// .await;
    /// for path in ["/a/", "/b/"] {
    ///     test::call_and_read_body(&app, test::TestRequest::with_uri(path).to_request()).await;
    /// }
    ///
    /// assert_eq!(registry.value("a_request_count_total", &[]), Some(1.0));
    /// assert_eq!(registry.value("b_request_count_total", &[]), Some(1.0));
    /// # }
    /// ```
    ///
    /// A builder that chooses nothing makes the same monitor as [`with_monitor`](Self::with_monitor).
    ///
    /// [`OtelMonitor::builder`]: crate::OtelMonitor::builder
    #[must_use = "give it to `App::wrap`"]
    pub fn with_builder<B: MonitorBuilder>(builder: B) -> HrPrometheus<B::Monitor> {
        let options = Options {
            mistakes: Mistakes::of(builder.check()),
            ..Options::default()
        };
        HrPrometheus {
            registry: None,
            source: Arc::new(move |registry, name, errors| builder.obtain(registry, name, errors)),
            name: String::new(),
            options: Arc::new(options),
        }
    }
}

impl<M: Monitors> HrPrometheus<M> {
    /// Tells this middleware's monitor apart from others of the same closure or type: `name` takes part in what
    /// "registered once" means, and is seen nowhere else. Call it before [`register_in`](Self::register_in).
    ///
    /// For a function that makes several, which all have its one closure:
    ///
    /// ```
    /// use hr_prometheus::{
    ///     HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    ///     prometheus_client::{metrics::counter::Counter, registry::Registry},
    /// };
    ///
    /// #[derive(Clone)]
    /// struct Requests(Counter);
    ///
    /// impl RequestMonitor for Requests {
    ///     type InFlight = ();
    ///
    ///     fn register(registry: &mut Registry) -> Self {
    ///         let requests = Counter::default();
    ///         registry.register("requests", "Requests that ended", requests.clone());
    ///         Self(requests)
    ///     }
    ///
    ///     fn update_init_metrics(&self, _request: &RequestStart<'_>) {}
    ///
    ///     fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {
    ///         self.0.inc();
    ///     }
    /// }
    ///
    /// fn requests_of(team: &'static str) -> HrPrometheus<Requests> {
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
    ///         Requests::register(registry.sub_registry_with_prefix(team))
    ///     })
    ///     .named(team)
    /// }
    ///
    /// # fn main() -> Result<(), hr_prometheus::Error> {
    /// let registry = MetricsRegistry::new();
    /// let (shop, search) = (requests_of("shop"), requests_of("search"));
    /// # let _ = (shop.register_in(&registry)?, search.register_in(&registry)?);
    /// assert_eq!(registry.value("shop_requests_total", &[]), Some(0.0));
    /// assert_eq!(registry.value("search_requests_total", &[]), Some(0.0));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        name.as_ref().clone_into(&mut self.name);
        self
    }

    /// Registers now, and measures into `registry` whatever is in the application's data.
    ///
    /// Use this to get registration errors before the server starts, and to expose the families before the first
    /// request. Also add the registry to the application's data, so that `/metrics` finds it.
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
    /// When an option was given something wrong, as [`build`](Self::build); when a monitor's `register` panics, now or
    /// before; and when called from within a registration or a scrape of the same registry.
    pub fn register_in(mut self, registry: &MetricsRegistry) -> Result<Self, Error> {
        self.options.mistakes.check()?;
        let mut errors = Vec::new();
        (self.source)(registry, &self.name, &mut errors);
        if let Some(error) = errors.into_iter().next() {
            return Err(error);
        }
        self.registry = Some(registry.clone());
        self.show_limit();
        if self.options.shows_workers {
            Workers::of(registry)?;
        }
        if self.options.shows_routes {
            RequestedRoutes::of(registry)?;
        }
        Ok(self)
    }

    /// Reports what is wrong with the options, for a middleware that has no [`register_in`](Self::register_in), which
    /// reports the same.
    ///
    /// Call it last, where `?` works; see [mistakes](Self#mistakes) for what happens without it.
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().exclude_routes(["/health", "/users/:id"]).build();
    /// assert_eq!(
    ///     metrics.unwrap_err().to_string(),
    ///     "exclude_routes: \"/users/:id\" is the label of no route: \
    ///      actix-web writes parameters and tails in braces: write \"/users/{id}\"",
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// When an option of the middleware or of the builder of its monitor was given something wrong: the first of them.
    pub fn build(self) -> Result<Self, Error> {
        self.options.mistakes.check()?;
        Ok(self)
    }

    /// Excludes the requests of the routes with these labels from every family, the gauge included.
    ///
    /// A label is the `path` that such requests would otherwise have: `/users/{id}`, without the regular expressions of
    /// parameters; `/` for a service mounted at the root; the text of [`unmatched`](Self::unmatched); a path with
    /// [kept values](Self::keep_params), which then does not count towards the limit. The label of a route covers all
    /// paths that are made from it. The route is known once the request has been answered or has ended;
    /// [`RequestMonitor::forget`] is then called instead of `update_end_metrics`. Until then the gauge uses the route
    /// that matches the path. May be called several times. A label that no route of the application has is logged as a
    /// warning at the first request of each worker.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), hr_prometheus::Error> {
    /// let registry = MetricsRegistry::new();
    /// let metrics = HrPrometheus::default().exclude_routes(["/health", "/metrics"]);
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .service(metrics_scope())
    ///         .route("/health", web::get().to(async || "well"))
    ///         .route("/", web::get().to(async || "hello"))
    ///         .wrap(metrics),
    /// )
    /// .await;
    ///
    /// for path in ["/health", "/metrics", "/"] {
    ///     test::call_and_read_body(&app, test::TestRequest::get().uri(path).to_request()).await;
    /// }
    /// let scrape = registry.encode()?;
    /// let counts: Vec<_> = scrape.lines().filter(|line| line.starts_with("request_count_total")).collect();
    /// assert_eq!(counts, [r#"request_count_total{method="GET",path="/",status="200"} 1"#]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If a text cannot be the label of a route: it does not begin with `/` and is not the text of `unmatched` (as set
    /// so far), it has the regular expression of a parameter, a parameter is not closed, or it writes a parameter or a
    /// tail as other frameworks do (`/:id`, `/*`).
    ///
    /// [`RequestMonitor::forget`]: crate::RequestMonitor::forget
    #[must_use = "give it to `App::wrap`"]
    pub fn exclude_routes<K>(mut self, labels: impl Texts<K>) -> Self {
        labels.for_each_text(|label| {
            let excluded = self.rules().exclude(label);
            self.options().mistakes.note("exclude_routes", excluded);
        });
        self
    }

    /// Excludes the requests for which `predicate` returns `true`: no hook of a monitor is called, no family shows them,
    /// and the response passes untouched.
    ///
    /// Called once per request, on arrival and before routing, so it can use anything known by then, such as the path
    /// or a header. The time that it takes is in no latency. [`RequestStart::route`] costs a walk over the route table, and has the values that
    /// [`keep_params`](Self::keep_params) keeps even over the limit. May be called several times: a request is excluded
    /// if any predicate says so. A predicate that panics is logged once, and the request is measured.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let metrics = HrPrometheus::default()
    ///     .exclude(|start| start.request().path().starts_with("/internal/"))
    ///     .exclude(|start| start.request().headers().contains_key("x-synthetic"));
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .default_service(web::to(async || "hello"))
    ///         .wrap(metrics),
    /// )
    /// .await;
    ///
    /// let internal = test::TestRequest::with_uri("/internal/status");
    /// let synthetic = test::TestRequest::default().insert_header(("x-synthetic", "1"));
    /// for request in [internal, synthetic, test::TestRequest::default()] {
    ///     test::call_and_read_body(&app, request.to_request()).await;
    /// }
    /// assert_eq!(registry.value("request_count_total", &[]), Some(1.0));
    /// # }
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn exclude(mut self, predicate: impl Fn(&RequestStart<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.options().predicates.add(Arc::new(predicate));
        self
    }

    /// Shows how busy each worker is: what tells a route that blocks its worker from one that waits.
    ///
    /// | family | type | meaning |
    /// | --- | --- | --- |
    /// | `actix_worker_busy_seconds_total` | counter | time that the worker did not wait for events; its `rate()` is the utilization, from 0 to 1 |
    /// | `actix_worker_parks_total` | counter | times that the worker had nothing to do |
    /// | `actix_worker_tasks` | gauge | tasks on the worker that have not ended; only under `#[tokio::main]` |
    /// | `actix_worker_queue_depth` | gauge | tasks woken by other threads that the worker has not come to yet; only under `#[tokio::main]` |
    ///
    /// They are what tokio counts of the worker's runtime, read at each scrape: a request costs nothing. The label
    /// `worker` is a number from 0 on. A worker has the lowest one that is free when it gets its first request, and one
    /// that starts after another has ended goes on with its number and its counts, so restarts add no series. All
    /// servers whose middleware records into one registry share the numbers.
    ///
    /// A worker that is blocked counts as busy while it is, from the first scrape on that finds it so. Under
    /// `#[actix_web::main]` each worker runs its tasks in a [`LocalSet`], whose tasks tokio does not count, so there the last
    /// two families are not in the scrape.
    ///
    /// [`LocalSet`]: https://docs.rs/tokio/latest/tokio/task/struct.LocalSet.html
    ///
    /// ```
    /// use std::{thread::sleep, time::Duration};
    ///
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};
    ///
    /// async fn block() -> &'static str {
    ///     sleep(Duration::from_millis(30)); // instead of `actix_web::rt::time::sleep(…).await`
    ///     "done"
    /// }
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/block", web::get().to(block))
    ///         .wrap(HrPrometheus::default().worker_metrics()),
    /// )
    /// .await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/block").to_request()).await;
    /// # actix_web::rt::time::sleep(Duration::from_millis(1)).await;
    /// let busy = registry.value("actix_worker_busy_seconds_total", &[("worker", "0")]);
    /// assert!(busy > Some(0.03));
    /// # }
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn worker_metrics(mut self) -> Self {
        self.options().shows_workers = true;
        self
    }

    /// Shows each route of the application, and whether it has been asked for: what finds a route that nobody needs any
    /// more, or that a guard or an earlier route keeps from its clients.
    ///
    /// The gauge `actix_route_requested{path="/users/{id}"}` is 1 once the route has had a request in this process, and 0
    /// before: `actix_route_requested == 0` lists the routes without any, and `count(actix_route_requested)` is the number of
    /// routes. A request that ended without a response, or that a middleware refused before it was routed, is one of the
    /// route that matches its path. Excluded routes are not shown. It costs nothing after the first request to a route.
    ///
    /// What it cannot know:
    ///
    /// - The routes before the first request to the application, which may be the scrape itself.
    /// - The methods of a route: routes with the same label are one. actix-web tells its methods only with the feature
    ///   `experimental-introspection`, which is "intended for local/non-production use".
    /// - Requests that this middleware does not see: wrapped around a scope, it shows the routes of the whole application,
    ///   those outside of the scope with 0.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/users/{id}", web::get().to(async || "a user"))
    ///         .service(web::scope("/v1").route("/users", web::get().to(async || "all users")))
    ///         .wrap(HrPrometheus::default().route_metrics()),
    /// )
    /// .await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/users/17").to_request()).await;
    /// registry.assert_family(
    ///     "actix_route_requested",
    ///     r#"
    ///     actix_route_requested{path="/users/{id}"} 1
    ///     actix_route_requested{path="/v1/users"} 0
    ///     "#,
    /// );
    /// # }
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn route_metrics(mut self) -> Self {
        self.options().shows_routes = true;
        self
    }

    /// Gives these methods their own labels instead of `_OTHER`.
    ///
    /// For methods beyond those of RFC 9110, `PATCH` and `QUERY`, such as those of a cache or of `WebDAV`. Methods are
    /// case-sensitive. Their texts are kept for the life of the process. May be called several times.
    ///
    /// ```
    /// use actix_web::{App, HttpResponse, http::Method, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/", web::to(HttpResponse::Ok))
    ///         .wrap(HrPrometheus::default().extra_methods(["PURGE", "PROPFIND"])),
    /// )
    /// .await;
    ///
    /// for method in ["PURGE", "BREW"] {
    ///     let request = test::TestRequest::default().method(Method::from_bytes(method.as_bytes())?);
    ///     test::call_and_read_body(&app, request.to_request()).await;
    /// }
    /// assert_eq!(registry.value("request_count_total", &[("method", "PURGE")]), Some(1.0));
    /// assert_eq!(registry.value("request_count_total", &[("method", "_OTHER")]), Some(1.0));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If a text is not a token of RFC 9110, section 5.6.2, and so cannot be a method.
    #[must_use = "give it to `App::wrap`"]
    pub fn extra_methods<K>(mut self, methods: impl Texts<K>) -> Self {
        methods.for_each_text(|method| {
            let added = self.options().methods.add(method);
            self.options().mistakes.note("extra_methods", added);
        });
        self
    }

    /// Gives these methods their own labels, and no other: also those of RFC 9110 that are not among them are `_OTHER`.
    ///
    /// This is what the OpenTelemetry semantic conventions want the variable `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` to
    /// do: `.known_methods(variable.split(','))`. Replaces [`extra_methods`](Self::extra_methods) so far, and holds for
    /// every monitor of this middleware.
    ///
    /// ```
    /// use actix_web::{App, HttpResponse, http::Method, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/", web::to(HttpResponse::Ok))
    ///         .wrap(HrPrometheus::default().known_methods("GET,POST".split(','))),
    /// )
    /// .await;
    ///
    /// for method in [Method::GET, Method::DELETE] {
    ///     let request = test::TestRequest::default().method(method);
    ///     test::call_and_read_body(&app, request.to_request()).await;
    /// }
    /// assert_eq!(registry.value("request_count_total", &[("method", "GET")]), Some(1.0));
    /// assert_eq!(registry.value("request_count_total", &[("method", "_OTHER")]), Some(1.0));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If a text is not a token of RFC 9110, section 5.6.2, and so cannot be a method.
    #[must_use = "give it to `App::wrap`"]
    pub fn known_methods<K>(mut self, methods: impl Texts<K>) -> Self {
        self.options().methods.clear();
        methods.for_each_text(|method| {
            let added = self.options().methods.add(method);
            self.options().mistakes.note("known_methods", added);
        });
        self
    }

    /// Counts and times streamed responses of these content types when their head is sent, beside those of
    /// `text/event-stream` and `multipart/x-mixed-replace`.
    ///
    /// For streams whose end is up to the client. Their lifetime would bury the latency of all else, and their end is
    /// often that of the process. The gauge has them until they close. Parameters of the header and the case of letters
    /// do not matter. May be called several times; a single response can be marked as [`LongLived`](crate::LongLived).
    ///
    /// ```
    /// use actix_web::{App, HttpResponse, test, web};
    /// use futures_util::stream;
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let changes = async || {
    ///     HttpResponse::Ok()
    ///         .content_type("application/x-ndjson; charset=utf-8")
    ///         .streaming(stream::pending::<Result<web::Bytes, actix_web::Error>>())
    /// };
    ///
    /// let registry = MetricsRegistry::new();
    /// let metrics = HrPrometheus::default().long_lived_content_types(["application/x-ndjson"]);
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/changes", web::get().to(changes))
    ///         .wrap(metrics),
    /// )
    /// .await;
    ///
    /// let response = test::call_service(&app, test::TestRequest::with_uri("/changes").to_request()).await;
    /// assert_eq!(registry.value("request_count_total", &[("path", "/changes")]), Some(1.0));
    /// assert_eq!(registry.value("requests_in_progress", &[("path", "/changes")]), Some(1.0));
    /// # drop(response);
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If a text is not a type and a subtype (RFC 9110, section 8.3.1), or has parameters.
    #[must_use = "give it to `App::wrap`"]
    pub fn long_lived_content_types<K>(mut self, content_types: impl Texts<K>) -> Self {
        content_types.for_each_text(|content_type| {
            let added = self.options().long_lived_types.add(content_type);
            self.options().mistakes.note("long_lived_content_types", added);
        });
        self
    }

    /// Keeps the values of these parameters of a route in its labels.
    ///
    /// `route` is the label that the route has without this option. Each distinct path is a series for every status, so
    /// a parameter should have few values. The best bound is a pattern that matches only those,
    /// `/{speed:fast|cheap}`: with any other, a client can invent values until [`max_kept_paths`](Self::max_kept_paths)
    /// is reached. May be called several times, for the same route too. A label that no route of the application has is
    /// logged as a warning at the first request of each worker.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// const ROUTE: &str = "/cell_neighbour/{cell_id}/direction/{direction}";
    ///
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route(ROUTE, web::get().to(async || "a cell"))
    ///         .wrap(HrPrometheus::default().keep_params(ROUTE, ["direction"])),
    /// )
    /// .await;
    ///
    /// for path in ["/cell_neighbour/17/direction/north", "/cell_neighbour/4/direction/north"] {
    ///     test::call_and_read_body(&app, test::TestRequest::get().uri(path).to_request()).await;
    /// }
    /// let path = "/cell_neighbour/{cell_id}/direction/north";
    /// assert_eq!(registry.value("request_count_total", &[("path", path)]), Some(2.0));
    /// # }
    /// ```
    ///
    /// # What a label is made of
    ///
    /// The values that actix-web captured for the route. Before a request is routed, in the gauge and in
    /// [`RequestStart::route`], they are those that the route captures from the path as it arrived. A value is written
    /// as actix-web decodes it (`%2F`, `%25` and `%2B` stay), except that braces and control characters are
    /// percent-encoded, so that no value looks like a parameter. The value of a tail `{tail}*` has no `*`.
    ///
    /// A parameter keeps its name instead of its value if the value has more than 128 characters, and all do
    ///
    /// - if the request is answered with 404: a value with which nothing is found may be made up,
    /// - if a middleware refuses it with 401, 403, 404, 407 or 429, or answers it before routing,
    /// - if the whole label would have more than 1,024 bytes,
    /// - if another pattern of a resource with several patterns matched.
    ///
    /// A path that equals the label of one of the application's own routes is that route's label and does not count
    /// towards the limit.
    ///
    /// # Errors
    ///
    /// If `route` cannot be the label of a route, as with [`exclude_routes`](Self::exclude_routes), or has no parameter
    /// with one of these names.
    #[must_use = "give it to `App::wrap`"]
    pub fn keep_params<K>(mut self, route: impl AsRef<str>, names: impl Texts<K>) -> Self {
        names.for_each_text(|name| {
            let kept = self.rules().keep(route.as_ref(), name);
            self.options().mistakes.note("keep_params", kept);
        });
        self.show_limit();
        self
    }

    /// Keeps the values of all parameters of all routes, tails included: the labels are the paths that were asked for.
    ///
    /// Everything said of [`keep_params`](Self::keep_params) holds. With identifiers in paths the limit of
    /// [`max_kept_paths`](Self::max_kept_paths) is soon reached.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/{language}/docs/{tail}*", web::get().to(async || "a page"))
    ///         .wrap(HrPrometheus::default().keep_all_params()),
    /// )
    /// .await;
    ///
    /// let request = test::TestRequest::with_uri("/en/docs/guide/start").to_request();
    /// test::call_and_read_body(&app, request).await;
    /// assert_eq!(registry.value("request_count_total", &[("path", "/en/docs/guide/start")]), Some(1.0));
    /// # }
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn keep_all_params(mut self) -> Self {
        self.rules().keep_all();
        self.show_limit();
        self
    }

    /// Limits the number of distinct paths with kept values per registry; 1,000 by default.
    ///
    /// Any further path has the label `_OTHER`. The labels of the application's own routes are not limited. The limit is
    /// shared by everything that records into the registry: workers, clones and other middleware, each applying its own
    /// maximum. A path counts as soon as it appears in any family, including the gauge, and is never evicted.
    ///
    /// `hr_prometheus_cardinality_limit_exceeded_total{limit="path"}` counts the requests over the limit; the first one
    /// is logged. The family is exposed as soon as a middleware keeps parameters.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .route("/users/{name}", web::get().to(async || "a user"))
    ///         .wrap(HrPrometheus::default().keep_all_params().max_kept_paths(1)),
    /// )
    /// .await;
    ///
    /// for path in ["/users/alice", "/users/bob", "/users/carol"] {
    ///     test::call_and_read_body(&app, test::TestRequest::get().uri(path).to_request()).await;
    /// }
    /// assert_eq!(registry.value("request_count_total", &[("path", "/users/alice")]), Some(1.0));
    /// assert_eq!(registry.value("request_count_total", &[("path", "_OTHER")]), Some(2.0));
    /// assert_eq!(registry.value("hr_prometheus_cardinality_limit_exceeded_total", &[("limit", "path")]), Some(2.0));
    /// # }
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn max_kept_paths(mut self, max: usize) -> Self {
        self.rules().set_max_kept_paths(max);
        self
    }

    /// Sets the label of requests that no route served; `unmatched` by default.
    ///
    /// ```
    /// use actix_web::{App, test};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # #[actix_web::main]
    /// # async fn main() {
    /// let registry = MetricsRegistry::new();
    /// let app = test::init_service(
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .wrap(HrPrometheus::default().unmatched("none")),
    /// )
    /// .await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/nowhere").to_request()).await;
    /// assert_eq!(registry.value("request_count_total", &[("path", "none"), ("status", "404")]), Some(1.0));
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If the text is empty, begins with `/` and so could be a route, or is `_OTHER`.
    #[must_use = "give it to `App::wrap`"]
    pub fn unmatched(mut self, text: impl AsRef<str>) -> Self {
        let set = self.rules().set_unmatched(text.as_ref());
        self.options().mistakes.note("unmatched", set);
        self
    }

    fn options(&mut self) -> &mut Options {
        Arc::make_mut(&mut self.options)
    }

    fn rules(&mut self) -> &mut Rules {
        Arc::make_mut(&mut self.options().rules)
    }

    /// Shows from now on how many requests exceeded the limit on kept paths, where there is one.
    fn show_limit(&self) {
        if let Some(registry) = &self.registry
            && self.options.rules.keeps_any()
        {
            registry.limits().paths.enforce();
        }
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
            name: self.name.clone(),
            options: Arc::clone(&self.options),
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
