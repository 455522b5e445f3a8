//! This crate: as it is by default, with each option, and with other monitors.

use std::cell::RefCell;

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    web::ServiceConfig,
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, OtelMonitor, RequestEnd, RequestLabels, RequestMonitor,
    RequestStart, metrics_scope,
};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family},
    registry::Registry,
};

use super::{Subject, app};

/// A subject: its name, and its middleware.
macro_rules! ours {
    ($($(#[$doc:meta])* $subject:ident, $name:literal, $middleware:expr;)+) => {$(
        $(#[$doc])*
        #[derive(Clone)]
        pub struct $subject(MetricsRegistry);

        impl Subject for $subject {
            const NAME: &'static str = $name;

            fn new() -> Self {
                Self(MetricsRegistry::new())
            }

            fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!() {
                App::new()
                    .app_data(self.0)
                    .configure(configure)
                    .wrap($middleware)
            }

            fn scrape(&self) -> String {
                self.0.encode().expect("a valid registry")
            }

            fn add_metrics(&self, app: &mut ServiceConfig) {
                app.service(metrics_scope());
            }
        }
    )+};
}

ours! {
    /// This crate as it is by default.
    Default, "hr-prometheus", HrPrometheus::default();
    /// A custom monitor, which counts by route and class of status.
    CustomCounter, "hr-prometheus, custom counter", HrPrometheus::with_monitor::<RequestsByRoute>();
    Otel, "hr-prometheus, `OtelMonitor`", HrPrometheus::with_monitor::<OtelMonitor>();
    Both, "`OtelMonitor` beside the default monitor", HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>();
    KeptValues, "`keep_all_params`", HrPrometheus::default().keep_all_params();
    CustomLabels, "custom labels", HrPrometheus::with_monitor::<DefaultMonitor<BySecure>>();
    Exemplars, "exemplars", HrPrometheus::with_builder(DefaultMonitor::builder().exemplars_from_traceparent());
    BodySizes, "body sizes", HrPrometheus::with_builder(
        DefaultMonitor::builder()
            .request_body_bytes([100.0, 10_000.0])
            .response_body_bytes([100.0, 10_000.0]),
    );
    TimeToHead, "time to head", HrPrometheus::with_builder(
        DefaultMonitor::builder().time_to_head([0.1, 1.0]),
    );
    Excluded, "excluded by a predicate", HrPrometheus::default().exclude(|start| start.method() == "GET");
}

/// A custom label that most requests share.
#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
pub struct BySecure {
    secure: &'static str,
}

impl RequestLabels for BySecure {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        let secure = start.request().app_config().secure();
        Self {
            secure: if secure { "yes" } else { "no" },
        }
    }
}

/// Counts requests by route and class of status, and keeps its handles by the number of the route, as the documentation
/// of [`RequestMonitor::for_worker`] shows.
struct RequestsByRoute {
    requests: Family<RouteAndClass, Counter>,
    by_route: RefCell<Vec<[Option<Counter>; 5]>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteAndClass {
    path: String,
    class: &'static str,
}

impl Clone for RequestsByRoute {
    /// For another worker, which numbers its routes itself.
    fn clone(&self) -> Self {
        Self {
            requests: self.requests.clone(),
            by_route: RefCell::default(),
        }
    }
}

impl RequestMonitor for RequestsByRoute {
    type InFlight = ();

    fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        registry.register("requests", "Requests by class of status", requests.clone());
        Self {
            requests,
            by_route: RefCell::default(),
        }
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
        let mut by_route = self.by_route.borrow_mut();
        if by_route.len() <= end.route_id() {
            by_route.resize_with(end.route_id() + 1, <[_; 5]>::default);
        }
        let (index, class) = match end.status().as_u16() {
            ..200 => (0, "1xx"),
            200..300 => (1, "2xx"),
            300..400 => (2, "3xx"),
            400..500 => (3, "4xx"),
            500.. => (4, "5xx"),
        };
        let counter = by_route[end.route_id()][index].get_or_insert_with(|| {
            let path = end.route().to_owned();
            self.requests.get_or_create_owned(&RouteAndClass { path, class })
        });
        counter.inc();
    }
}
