//! Options for objectives.

use std::time::Duration;

use crate::{
    error::Error,
    monitor::hooks::RequestEnd,
    monitors::default::{
        builder::DefaultMonitorBuilder,
        config::Config,
        labels::RequestLabels,
        objectives::{Failures, Objective},
    },
    route::rules::Rules,
};

impl<L: RequestLabels> DefaultMonitorBuilder<L> {
    /// Sets an objective for a route: at least the share `ratio` of its requests, such as 0.999, has to succeed within
    /// the time `within`.
    ///
    /// `route` is the label of the route, as in `path`. May be called for several routes. The families have only the
    /// label `path`, and are exposed from the beginning, so alert rules can read the objective instead of repeating its
    /// numbers:
    ///
    /// | family | type | meaning |
    /// | --- | --- | --- |
    /// | `request_objective_met_total` | counter | requests that succeeded in time |
    /// | `request_objective_missed_total` | counter | requests that failed or were too slow |
    /// | `request_objective_ratio` | gauge | `ratio` |
    /// | `request_objective_seconds` | gauge | `within`, in seconds |
    ///
    /// A request misses its objective if its latency is above `within`, whatever the buckets are, or if it failed: its
    /// status is 500 or above, it was dropped before a response ([499](crate::DefaultMonitor#which-status)), or its
    /// body ended with an error or a panic. [`objective_failures`](Self::objective_failures) changes what a failure is.
    /// If the client leaves while the body is being sent, that is not a failure. A
    /// [long-lived](crate::ResponseStart::is_long_lived) response is judged when its head is sent, by the time until
    /// then.
    ///
    /// It adds 200 instructions to a request of the route, and 110 to a request of a route without an objective. At its
    /// first request, each worker logs a warning for a label that no route of the application has, or that
    /// [`exclude_routes`](crate::HrPrometheus::exclude_routes) names too.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use actix_web::{App, HttpResponse, test, web};
    /// use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};
    ///
    /// # actix_web::rt::System::new().block_on(async {
    /// let registry = MetricsRegistry::new();
    /// let monitor = DefaultMonitor::builder()
    ///     .objective("/pay", 0.999, Duration::from_secs(60))
    ///     .objective("/search", 0.99, Duration::from_millis(300));
    /// let app = App::new()
    ///     .app_data(registry.clone())
    ///     .route("/pay", web::get().to(async || "paid"))
    ///     .route("/search", web::get().to(async || HttpResponse::ServiceUnavailable()))
    ///     .wrap(HrPrometheus::with_builder(monitor));
    /// let app = test::init_service(app).await;
    ///
    /// for path in ["/pay", "/pay", "/search"] {
    ///     test::call_and_read_body(&app, test::TestRequest::with_uri(path).to_request()).await;
    /// }
    /// registry.assert_family(
    ///     "request_objective_met",
    ///     r#"
    ///     request_objective_met_total{path="/pay"} 2
    ///     request_objective_met_total{path="/search"} 0
    ///     "#,
    /// );
    /// registry.assert_family(
    ///     "request_objective_missed",
    ///     r#"
    ///     request_objective_missed_total{path="/pay"} 0
    ///     request_objective_missed_total{path="/search"} 1
    ///     "#,
    /// );
    /// assert_eq!(registry.value("request_objective_ratio", &[("path", "/pay")]), Some(0.999));
    /// assert_eq!(registry.value("request_objective_seconds", &[("path", "/search")]), Some(0.3));
    /// # });
    /// ```
    ///
    /// If the counters get [more labels](Self::family_labels) than `path`, such as the status, each of their series is
    /// exposed from its first request on. [Custom labels](Self::labels) are not included.
    ///
    /// # Mistakes
    ///
    /// [Reported](Self#mistakes) if `route` cannot be the label of a route, as with
    /// [`exclude_routes`](crate::HrPrometheus::exclude_routes), or already has an objective; if `ratio` is not
    /// between 0 and 1; if `within` is zero.
    #[must_use]
    pub fn objective(mut self, route: impl AsRef<str>, ratio: f64, within: Duration) -> Self {
        let objective = checked(&self.config, route.as_ref(), ratio, within);
        if let Some(objective) = self.mistakes.note("objective", objective) {
            self.config.add_objective(objective);
        }
        self
    }

    /// Sets which requests fail, and so [miss their objective](Self::objective): those for which `is_failure` returns
    /// `true`. A request that is too slow misses it in any case.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use hr_prometheus::DefaultMonitor;
    ///
    /// // A client that leaves is not a failure, and a payment that is not found is one.
    /// let monitor = DefaultMonitor::builder()
    ///     .objective("/pay/{id}", 0.999, Duration::from_secs(60))
    ///     .objective_failures(|end| end.status().is_server_error() || end.status() == 404);
    /// ```
    ///
    /// Called once for each request that was not too slow and whose route has an objective, when it has ended. If the
    /// function panics, the request is judged as without this option, and the first panic is logged.
    #[must_use]
    pub fn objective_failures(
        mut self,
        is_failure: impl Fn(&RequestEnd<'_>) -> bool + Send + Sync + 'static,
    ) -> Self {
        self.config.failures = Some(Failures::new(is_failure));
        self
    }
}

/// An objective that can be kept to, for a route that does not have one yet.
fn checked(config: &Config, route: &str, ratio: f64, within: Duration) -> Result<Objective, Error> {
    Rules::default().check_label(route)?;
    if config.objectives.iter().any(|known| *known.route == *route) {
        return Err(Error::new(format!(
            "the route {route:?} already has an objective; give each route only one",
        )));
    }
    if !(ratio > 0.0 && ratio < 1.0) {
        return Err(Error::new(format!(
            "{ratio} is not a ratio between 0 and 1; choose one such as 0.999",
        )));
    }
    if within.is_zero() {
        return Err(Error::new("the duration is zero; choose one above zero"));
    }
    Ok(Objective {
        route: route.into(),
        ratio,
        within,
    })
}
