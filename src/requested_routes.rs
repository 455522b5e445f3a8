//! Which routes of an application have been requested.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
};

use actix_web::HttpRequest;
use futures_util::future::{LocalBoxFuture, ready};
use parking_lot::Mutex;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::MetricType};

use crate::{
    error::Error,
    registry::{BeforeScrape, MetricsRegistry},
    route::labelling::{Labelling, Verdict},
};

/// Whether each route has been requested, by its label, over all applications and workers.
type ByLabel = Arc<Mutex<BTreeMap<Arc<str>, Arc<AtomicBool>>>>;

/// The routes of all applications that record into one registry.
#[derive(Debug, Default)]
pub(crate) struct RequestedRoutes(ByLabel);

impl RequestedRoutes {
    /// The routes of `registry`, whose family is registered there once.
    pub(crate) fn of(registry: &MetricsRegistry) -> Result<Arc<Self>, Error> {
        #[derive(PartialEq)]
        struct OfRegistry;

        registry.register_once("of routes", OfRegistry, |registry| {
            let routes = Self::default();
            registry.register_collector(Box::new(RequestedCollector(Arc::clone(&routes.0))));
            routes
        })
    }

    /// Shows the routes of an application from now on, except excluded ones; returns a mark for each of its
    /// routes, to be set when it is requested.
    pub(crate) fn join(&self, labelling: &Labelling) -> Vec<Arc<AtomicBool>> {
        let mut all = self.0.lock();
        let routes = 0..labelling.table.routes().len();
        routes
            .map(|route| match labelling.verdict_of_route(route) {
                Verdict::Label(label) => Arc::clone(all.entry(label).or_default()),
                Verdict::Excluded | Verdict::OverLimit => Arc::default(),
            })
            .collect()
    }
}

impl BeforeScrape for RequestedRoutes {
    fn prepare(&self, _: &HttpRequest) -> LocalBoxFuture<'static, ()> {
        Box::pin(ready(()))
    }
}

#[derive(Debug)]
struct RequestedCollector(ByLabel);

impl Collector for RequestedCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let all = self.0.lock();
        if all.is_empty() {
            return Ok(());
        }
        let help = "Whether the route has been asked for since the service started: 1 or 0";
        let mut family = encoder.encode_descriptor("actix_route_requested", help, None, MetricType::Gauge)?;
        for (label, is_requested) in &*all {
            family
                .encode_family(&[("path", &**label)])?
                .encode_gauge(&i64::from(is_requested.load(Relaxed)))?;
        }
        Ok(())
    }
}
