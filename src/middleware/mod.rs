//! The middleware: its options, and its way with a request from arrival to the last byte.

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

/// The middleware: records every request in the metrics of the application's registry.
///
/// ```
/// use actix_web::{App, test, web};
/// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};
///
/// # actix_web::rt::System::new().block_on(async {
/// let metrics = HrPrometheus::default()
///     .exclude_routes("/metrics")
///     .keep_params("/search/{kind}", "kind")
///     .build()?;
///
/// let registry = MetricsRegistry::new();
/// let app = App::new()
///     .app_data(registry.clone())
///     .service(metrics_scope())
///     .route("/hello/{name}", web::get().to(async || "hello"))
///     .route("/search/{kind}", web::get().to(async || "found"))
///     .wrap(metrics); // last: the outermost sees what other middleware answers
/// let app = test::init_service(app).await;
///
/// for path in ["/hello/alice", "/hello/bob", "/search/books", "/nowhere", "/metrics"] {
///     test::call_and_read_body(&app, test::TestRequest::with_uri(path).to_request()).await;
/// }
/// registry.assert_family(
///     "request_count",
///     r#"
///     request_count_total{method="GET",path="/hello/{name}",status="200"} 2
///     request_count_total{method="GET",path="/search/books",status="200"} 1
///     request_count_total{method="GET",path="unmatched",status="404"} 1
///     "#,
/// );
/// # Ok::<(), hr_prometheus::Error>(()) }).unwrap();
/// ```
///
/// Every request is recorded exactly once, however it ends: [`DefaultMonitor`] says under which status, and
/// [`RequestMonitor`](crate::RequestMonitor) says what monitors are told. The middleware changes nothing in a response.
///
/// # Which registry
///
/// It records into the registry given to [`register_in`](Self::register_in); else into the one in the app data of the
/// application, or of the scope that the middleware is wrapped around; else into [`MetricsRegistry::global`]. Each
/// worker looks it up once, at its first request. `/metrics` serves the registry in the app data, else the global one.
/// So both use the same registry if it is in the app data of the application, or if no app data has one.
///
/// # Where to create it
///
/// Create it before `HttpServer::new` and clone it in the closure: there, [`build`](Self::build) and
/// [`register_in`](Self::register_in) can report mistakes. It may also be created in the closure, which runs once per
/// worker: unlike a [`MetricsRegistry`], it holds no numbers, and the workers still share one monitor.
///
/// Wrap it around a scope or a resource to measure only that. A request that passes through two of them is counted
/// twice.
///
/// # Which uses share a monitor
///
/// Each worker and each `wrap` is a use of the middleware. Two uses share a monitor, which is registered once and
/// counts the requests of both, if they have the same registry, the same [name](Self::named) (by default none), and
/// the same origin:
///
/// | made by | the origin is |
/// | --- | --- |
/// | `HrPrometheus::default()`, [`with_monitor`](Self::with_monitor) | the type of the monitor |
/// | [`with_builder`](Self::with_builder) | the type and the options of the builder; without options, the type of the monitor |
/// | [`with_monitor_from`](Self::with_monitor_from) | the closure expression or function, whatever the closure captures |
///
/// Clones have the same origin. The members of a tuple are compared one by one, unless one closure makes them all. All
/// other uses have separate monitors. If these are in one registry, their families need different names: of a series
/// that two monitors have, only that of the monitor registered first is [served](crate::metrics_view#invalid-families).
/// A monitor is registered by [`register_in`](Self::register_in), else at its first request.
///
/// # Mistakes
///
/// So that options can be chained, an option that is given a wrong value keeps the mistake and returns the middleware;
/// the builders of monitors do the same. [`build`](Self::build) and [`register_in`](Self::register_in) return the first
/// mistake as an [`Error`], which names the option and the fix. If neither is called, the application does not start:
/// actix-web says only that it cannot start the service, and the log has the message at level error.
pub struct HrPrometheus<M: Monitors = DefaultMonitor> {
    registry: Option<MetricsRegistry>,
    source: Source<M>,
    /// Distinguishes sources that are otherwise equal.
    name: String,
    options: Arc<Options>,
}

/// The options of one middleware; its clones and its workers share them.
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

/// Returns the monitors that a registry has, after registering them if necessary.
type Source<M> = Arc<dyn Fn(&MetricsRegistry, &str, &mut Vec<Error>) -> <M as Monitors>::Set + Send + Sync>;

impl HrPrometheus {
    /// Records with the monitor `M`, or with several: `with_monitor::<(DefaultMonitor, MyMonitor)>()`.
    ///
    /// The first worker that gets a request registers the monitor. All uses of the same type [share
    /// it](Self#which-uses-share-a-monitor). A pair of the same monitor twice records everything twice.
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

    /// Records with the monitor that `register` creates: for a monitor that needs more than a registry.
    ///
    /// `register` is called once per registry, even if every worker calls `with_monitor_from`, in the closure of
    /// `HttpServer::new`: all uses of one closure expression [share the monitor](Self#which-uses-share-a-monitor),
    /// whatever it captures. To make several monitors with one closure, give each [a name](Self::named). Closures are
    /// told apart by their types, and all `fn` pointers of one signature have one type: pass the function itself.
    ///
    /// ```
    /// use std::time::Duration;
    /// use hr_prometheus::{
    ///     HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    ///     prometheus_client::{metrics::counter::Counter, registry::Registry},
    /// };
    ///
    /// /// Counts the requests that took longer than their budget.
    /// #[derive(Clone)]
    /// struct Late {
    ///     budget: Duration,
    ///     late: Counter,
    /// }
    ///
    /// impl RequestMonitor for Late {
    ///     type InFlight = ();
    ///
    ///     fn register(registry: &mut Registry) -> Self {
    ///         let late = Counter::default();
    ///         registry.register("late_requests", "Requests over their budget", late.clone());
    ///         Self { budget: Duration::from_secs(1), late }
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
    /// let budget = Duration::from_millis(300);
    /// let registry = MetricsRegistry::new();
    /// let metrics = HrPrometheus::with_monitor_from(move |registry: &mut Registry| Late {
    ///     budget,
    ///     ..Late::register(registry)
    /// })
    /// .register_in(&registry)?;
    /// assert_eq!(registry.value("late_requests_total", &[]), Some(0.0));
    /// # drop(metrics); Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn with_monitor_from<F, M>(register: F) -> HrPrometheus<M>
    where
        F: Fn(&mut Registry) -> M + Send + Sync + 'static,
        M: Monitors,
    {
        // Its captured values may panic when they are dropped.
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

    /// Records with the monitor that `builder` makes: [`DefaultMonitor::builder`], [`OtelMonitor::builder`], or a tuple,
    /// `with_builder((DefaultMonitor::builder(), OtelMonitor::builder()))`.
    ///
    /// All uses of equal builders [share a monitor](Self#which-uses-share-a-monitor). Builders that differ make
    /// separate monitors, whose families need different names, for example by a
    /// [prefix](crate::DefaultMonitorBuilder::prefix):
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// let with_prefix = |prefix| HrPrometheus::with_builder(DefaultMonitor::builder().prefix(prefix));
    /// let hello = async || "hello";
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .service(web::scope("/a").route("/", web::get().to(hello)).wrap(with_prefix("a")))
    ///     .service(web::scope("/b").route("/", web::get().to(hello)).wrap(with_prefix("b")));
    /// let app = test::init_service(app).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/b/").to_request()).await;
    /// assert_eq!(registry.value("a_request_count_total", &[]), None);
    /// assert_eq!(registry.value("b_request_count_total", &[]), Some(1.0));
    /// # });
    /// ```
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
    /// Names the monitor, so that it is [not shared](Self#which-uses-share-a-monitor) with uses under another name.
    ///
    /// The name has no other effect, and is in no label. Call this before [`register_in`](Self::register_in). Use it if
    /// one closure makes several monitors, as in this function:
    ///
    /// ```
    /// use hr_prometheus::{
    ///     DefaultMonitor, HrPrometheus, MetricsRegistry, RequestMonitor, prometheus_client::registry::Registry,
    /// };
    ///
    /// fn metrics_of(team: &'static str) -> HrPrometheus {
    ///     HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
    ///         DefaultMonitor::register(registry.sub_registry_with_prefix(team))
    ///     })
    ///     .named(team)
    /// }
    ///
    /// let registry = MetricsRegistry::new();
    /// let shop = metrics_of("shop").register_in(&registry)?;
    /// let search = metrics_of("search").register_in(&registry)?;
    /// let scrape = registry.encode()?;
    /// assert!(scrape.contains("# TYPE shop_request_count counter"));
    /// assert!(scrape.contains("# TYPE search_request_count counter"));
    /// # drop((shop, search)); Ok::<(), hr_prometheus::Error>(())
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn named(mut self, name: impl AsRef<str>) -> Self {
        name.as_ref().clone_into(&mut self.name);
        self
    }

    /// Registers the monitor now, and records into `registry`, whatever the app data has.
    ///
    /// Use this to get registration errors before the server starts, and to expose the families before the first
    /// request. Also add the registry to the app data, so that `/metrics` finds it:
    ///
    /// ```
    /// use actix_web::{App, HttpServer};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};
    ///
    /// let registry = MetricsRegistry::new();
    /// let metrics = HrPrometheus::default().register_in(&registry)?;
    /// let server = HttpServer::new(move || {
    ///     App::new()
    ///         .app_data(registry.clone())
    ///         .service(metrics_scope())
    ///         .wrap(metrics.clone())
    /// });
    /// # drop(server); Ok::<(), hr_prometheus::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If an option was given a wrong value, as in [`build`](Self::build). If a monitor's `register` panics, now or
    /// before. If called during a registration or a scrape of the same registry.
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

    /// Reports the first [mistake](Self#mistakes) in the options. [`register_in`](Self::register_in) does so too.
    ///
    /// Call it last, where `?` works:
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().exclude_routes(["/health", "/users/:id"]).build();
    /// assert_eq!(
    ///     metrics.unwrap_err().to_string(),
    ///     "exclude_routes: no route can have the label \"/users/:id\"; \
    ///      write parameters and tails in braces: \"/users/{id}\"",
    /// );
    /// ```
    ///
    /// # Errors
    ///
    /// If an option of the middleware or of the builder of its monitor was given a wrong value: the first of them.
    pub fn build(self) -> Result<Self, Error> {
        self.options.mistakes.check()?;
        Ok(self)
    }

    /// Excludes the requests of these routes from every family, including the gauge.
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().exclude_routes(["/health", "/metrics"]);
    /// ```
    ///
    /// Give each route by its label, the `path` that its requests would otherwise have: `/users/{id}`, without the
    /// regular expressions of parameters; `/` for a service mounted at the root; the text of
    /// [`unmatched`](Self::unmatched); or a path with [kept values](Self::keep_params), which then does not count
    /// towards the limit. The label of a route also covers all paths with kept values that are made from it.
    ///
    /// The route is known once the request has been answered or has ended; [`RequestMonitor::forget`] is then called
    /// instead of `update_end_metrics`. Until then, the route that matches the path decides whether the gauge has it.
    ///
    /// May be called several times. At its first request, each worker logs a warning for a label that no route of the
    /// application has.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a text cannot be the label of a route: it does not begin with `/` and is not the
    /// text of `unmatched` (as set so far), it contains the regular expression of a parameter, a parameter is not
    /// closed, or it writes a parameter or a tail as other frameworks do (`/:id`, `/*`).
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

    /// Excludes the requests for which `predicate` returns `true`: no hook of a monitor is called, no family has them,
    /// and the response passes unchanged.
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default()
    ///     .exclude(|start| start.request().path().starts_with("/internal/"))
    ///     .exclude(|start| start.request().headers().contains_key("x-synthetic"));
    /// ```
    ///
    /// Called once per request, on arrival and before routing, so it can use anything known by then, such as the path
    /// or a header. The time that it takes is not part of any latency. [`RequestStart::route`] costs a walk over the
    /// route table. It contains the values that [`keep_params`](Self::keep_params) keeps, whether or not the limit is
    /// reached.
    ///
    /// May be called several times: a request is excluded if any predicate returns `true`. If a predicate panics, the
    /// request is recorded, and the first panic is logged.
    #[must_use = "give it to `App::wrap`"]
    pub fn exclude(mut self, predicate: impl Fn(&RequestStart<'_>) -> bool + Send + Sync + 'static) -> Self {
        self.options().predicates.add(Arc::new(predicate));
        self
    }

    /// Shows how busy each worker is, which distinguishes a route that blocks its worker from one that waits.
    ///
    /// | family | type | meaning |
    /// | --- | --- | --- |
    /// | `actix_worker_busy_seconds_total` | counter | time in which the worker did not wait for events; its `rate()` is the utilization, from 0 to 1 |
    /// | `actix_worker_parks_total` | counter | how often the worker had nothing to do |
    /// | `actix_worker_tasks` | gauge | tasks of the worker that have not ended; only under `#[tokio::main]` |
    /// | `actix_worker_queue_depth` | gauge | tasks that other threads have woken and the worker has not run yet; only under `#[tokio::main]` |
    ///
    /// tokio counts them for the runtime of the worker, and each scrape reads them, so requests pay nothing. Under
    /// `#[actix_web::main]` each worker runs its tasks in a [`LocalSet`], which tokio does not count, so the last two
    /// families are absent.
    ///
    /// The label `worker` is a number from 0 on: the lowest one that is free when the worker gets its first request. A
    /// worker that starts after another has ended continues its number and its counts, so restarts add no series. All
    /// servers whose middleware records into one registry share the numbers.
    ///
    /// tokio counts a piece of work when it ends. While a worker is blocked, the time since the first scrape that found
    /// it so is counted too.
    ///
    /// [`LocalSet`]: https://docs.rs/tokio/latest/tokio/task/struct.LocalSet.html
    ///
    /// ```
    /// use std::{thread::sleep, time::Duration};
    ///
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// async fn block() -> &'static str {
    ///     sleep(Duration::from_millis(30)); // blocks, unlike `actix_web::rt::time::sleep(…).await`
    ///     "done"
    /// }
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/block", web::get().to(block))
    ///     .wrap(HrPrometheus::default().worker_metrics());
    /// let app = test::init_service(app).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/block").to_request()).await;
    /// actix_web::rt::time::sleep(Duration::from_millis(1)).await; // tokio counts when the worker waits
    /// let busy = registry.value("actix_worker_busy_seconds_total", &[("worker", "0")]);
    /// assert!(busy > Some(0.03));
    /// # });
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn worker_metrics(mut self) -> Self {
        self.options().shows_workers = true;
        self
    }

    /// Lists the routes of the application, and whether each has been requested: to find routes that are no longer
    /// used, or that a guard or an earlier route hides.
    ///
    /// The gauge `actix_route_requested{path="/users/{id}"}` is 1 once the route has had a request in this process, and
    /// 0 before. So `actix_route_requested == 0` lists the routes without any, and `count(actix_route_requested)` is
    /// the number of routes. A request that ended without a response, or that a middleware refused before routing,
    /// counts for the route that matches its path. Excluded routes are absent. It costs nothing after the first request
    /// to a route.
    ///
    /// It does not know
    ///
    /// - the routes before the first request to the application, which may be the scrape itself;
    /// - the methods of a route: routes with the same label are one, since actix-web reveals methods only with the feature
    ///   `experimental-introspection`, which is "intended for local/non-production use";
    /// - requests that this middleware does not see: wrapped around a scope, it lists the routes of the whole
    ///   application, those outside the scope with 0.
    ///
    /// ```
    /// use actix_web::{App, test, web};
    /// use hr_prometheus::{HrPrometheus, MetricsRegistry};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/users/{id}", web::get().to(async || "a user"))
    ///     .service(web::scope("/v1").route("/users", web::get().to(async || "all users")))
    ///     .wrap(HrPrometheus::default().route_metrics());
    /// let app = test::init_service(app).await;
    ///
    /// test::call_and_read_body(&app, test::TestRequest::with_uri("/users/17").to_request()).await;
    /// registry.assert_family(
    ///     "actix_route_requested",
    ///     r#"
    ///     actix_route_requested{path="/users/{id}"} 1
    ///     actix_route_requested{path="/v1/users"} 0
    ///     "#,
    /// );
    /// # });
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn route_metrics(mut self) -> Self {
        self.options().shows_routes = true;
        self
    }

    /// Gives these methods labels, in addition to those of RFC 9110, `PATCH` and `QUERY`; other methods are `_OTHER`.
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().extra_methods(["PURGE", "PROPFIND"]);
    /// ```
    ///
    /// Methods are case-sensitive. Their texts are kept for the life of the process. May be called several times.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a text is not a token of RFC 9110, section 5.6.2, and so cannot be a method.
    #[must_use = "give it to `App::wrap`"]
    pub fn extra_methods<K>(mut self, methods: impl Texts<K>) -> Self {
        methods.for_each_text(|method| {
            let added = self.options().methods.add(method);
            self.options().mistakes.note("extra_methods", added);
        });
        self
    }

    /// Gives only these methods labels; all others are `_OTHER`, even those of RFC 9110.
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().known_methods(["GET", "POST"]);
    /// ```
    ///
    /// It holds for every monitor of this middleware, and replaces earlier [`extra_methods`](Self::extra_methods). The
    /// OpenTelemetry semantic conventions define the environment variable `OTEL_INSTRUMENTATION_HTTP_KNOWN_METHODS` for
    /// this. To obey it, read it and pass its value: `.known_methods(value.split(','))`.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a text is not a token of RFC 9110, section 5.6.2, and so cannot be a method.
    #[must_use = "give it to `App::wrap`"]
    pub fn known_methods<K>(mut self, methods: impl Texts<K>) -> Self {
        self.options().methods.clear();
        methods.for_each_text(|method| {
            let added = self.options().methods.add(method);
            self.options().mistakes.note("known_methods", added);
        });
        self
    }

    /// Counts and times streamed responses with these content types when their head is sent, in addition to
    /// `text/event-stream` and `multipart/x-mixed-replace`.
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().long_lived_content_types("application/x-ndjson");
    /// ```
    ///
    /// Use it for streams that last as long as the client wants: see [long-lived responses](crate::guide::long_lived).
    /// They stay in the gauge until they close. The parameters of the header and the case of letters do not matter. May
    /// be called several times. To mark a single response, use [`LongLived`](crate::LongLived).
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if a text is not a type and a subtype (RFC 9110, section 8.3.1), or has parameters.
    #[must_use = "give it to `App::wrap`"]
    pub fn long_lived_content_types<K>(mut self, content_types: impl Texts<K>) -> Self {
        content_types.for_each_text(|content_type| {
            let added = self.options().long_lived_types.add(content_type);
            self.options().mistakes.note("long_lived_content_types", added);
        });
        self
    }

    /// Keeps the values of these parameters of a route in its label.
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// // `/cell/17/direction/north` has the label `/cell/{id}/direction/north`.
    /// let metrics = HrPrometheus::default().keep_params("/cell/{id}/direction/{direction}", "direction");
    /// ```
    ///
    /// `route` is the label that the route has without this option. Each distinct path is a series for every status, so
    /// keep only parameters with few values. Best is a pattern that matches only those, such as
    /// `/{direction:north|south}`: with any other, a client can make up values until
    /// [`max_kept_paths`](Self::max_kept_paths) is reached.
    ///
    /// May be called several times, even for the same route. At its first request, each worker logs a warning for a
    /// label that no route of the application has.
    ///
    /// # How the label is made
    ///
    /// From the values that actix-web captured for the route. Before a request is routed, in the gauge and in
    /// [`RequestStart::route`], they are the values that the route captures from the path as it arrived. A value is
    /// written as actix-web decodes it (`%2F`, `%25` and `%2B` stay), except that braces and control characters are
    /// percent-encoded, so that no value looks like a parameter. The value of a tail `{tail}*` has no `*`.
    ///
    /// A parameter whose value has more than 128 characters keeps its name instead. All parameters keep their names
    ///
    /// - if the request is answered with 404, since a value that finds nothing may be made up,
    /// - if a middleware refuses the request with 401, 403, 404, 407 or 429, or answers it before routing,
    /// - if the whole label would have more than 1,024 bytes,
    /// - if another pattern of a resource with several patterns matched.
    ///
    /// A path that equals the label of one of the application's routes has that route's label, and does not count
    /// towards the limit.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `route` cannot be the label of a route, as with
    /// [`exclude_routes`](Self::exclude_routes), or has no parameter with one of these names.
    #[must_use = "give it to `App::wrap`"]
    pub fn keep_params<K>(mut self, route: impl AsRef<str>, names: impl Texts<K>) -> Self {
        names.for_each_text(|name| {
            let kept = self.rules().keep(route.as_ref(), name);
            self.options().mistakes.note("keep_params", kept);
        });
        self.show_limit();
        self
    }

    /// Keeps the values of all parameters of all routes, including tails: the labels are the requested paths.
    ///
    /// Otherwise like [`keep_params`](Self::keep_params). Identifiers in paths soon reach the limit of
    /// [`max_kept_paths`](Self::max_kept_paths).
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// // On `/{language}/docs/{tail}*`, the request `/en/docs/guide/start` has the label `/en/docs/guide/start`.
    /// let metrics = HrPrometheus::default().keep_all_params();
    /// ```
    #[must_use = "give it to `App::wrap`"]
    pub fn keep_all_params(mut self) -> Self {
        self.rules().keep_all();
        self.show_limit();
        self
    }

    /// Limits the number of distinct paths with kept values per registry (default: 1,000).
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().keep_all_params().max_kept_paths(200);
    /// ```
    ///
    /// Any further path has the label `_OTHER`. The labels of the application's own routes are not limited. The limit
    /// is shared by everything that records into the registry: workers, clones and other middleware, each applying its
    /// own maximum. A path counts as soon as it appears in any family, including the gauge, and is never evicted.
    ///
    /// `hr_prometheus_cardinality_limit_exceeded_total{limit="path"}` counts the requests over the limit; the first one
    /// is logged. The family is exposed as soon as a middleware keeps parameters.
    #[must_use = "give it to `App::wrap`"]
    pub fn max_kept_paths(mut self, max: usize) -> Self {
        self.rules().set_max_kept_paths(max);
        self
    }

    /// Sets the label of requests that no route served (default: `unmatched`).
    ///
    /// ```
    /// use hr_prometheus::HrPrometheus;
    ///
    /// let metrics = HrPrometheus::default().unmatched("none");
    /// ```
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if the text is empty, begins with `/` and so could be a route, or is `_OTHER`.
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

    /// Shows from now on how many requests exceeded the limit on kept paths, if there is one.
    fn show_limit(&self) {
        if let Some(registry) = &self.registry
            && self.options.rules.keeps_any()
        {
            registry.limits().paths.enforce();
        }
    }
}

/// Records with [`DefaultMonitor`].
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
