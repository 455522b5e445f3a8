//! The others: a middleware by hand, and each crate as its documentation says.

use std::{rc::Rc, sync::Arc, time::Instant};

use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceFactory, ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    web::ServiceConfig,
};
use actix_web_metrics::{ActixWebMetrics, ActixWebMetricsBuilder};
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use opentelemetry_instrumentation_actix_web::RequestMetrics;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use prometheus_client::{
    encoding::{EncodeLabelSet, text},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{Subject, app};

/// The application alone.
#[derive(Clone)]
pub struct Nothing;

impl Subject for Nothing {
    const NAME: &'static str = "none";

    fn new() -> Self {
        Self
    }

    fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!() {
        App::new().configure(configure)
    }

    fn scrape(&self) -> String {
        String::new()
    }
}

/// A middleware as one writes it with prometheus-client: the families of this crate's default, three look-ups by text
/// for each request. Its encoder is prometheus-client's own.
#[derive(Clone)]
pub struct Families {
    registry: Arc<Registry>,
    count: Family<CountLabels, Counter>,
    latency: Family<RouteLabels, Histogram, fn() -> Histogram>,
    in_progress: Family<RouteLabels, Gauge>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RouteLabels {
    method: String,
    path: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CountLabels {
    method: String,
    path: String,
    status: String,
}

/// The upper bounds of this crate's default.
const BUCKETS: [f64; 14] = [
    0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0,
];

impl Families {
    async fn record(
        self: Rc<Self>,
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        let arrived = Instant::now();
        let pattern = request.match_pattern();
        let labels = RouteLabels {
            method: request.method().to_string(),
            path: pattern.unwrap_or_else(|| "unmatched".to_owned()),
        };
        let in_progress = self.in_progress.get_or_create_owned(&labels);
        in_progress.inc();
        let result = next.call(request).await;
        in_progress.dec();
        let status = match &result {
            Ok(response) => response.status(),
            Err(error) => error.as_response_error().status_code(),
        };
        self.latency
            .get_or_create(&labels)
            .observe(arrived.elapsed().as_secs_f64());
        let labels = CountLabels {
            method: labels.method,
            path: labels.path,
            status: status.as_str().to_owned(),
        };
        self.count.get_or_create(&labels).inc();
        result
    }
}

impl Subject for Families {
    const NAME: &'static str = "`Family::get_or_create`";

    fn new() -> Self {
        let count = Family::default();
        let latency = Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram);
        let in_progress = Family::default();
        let mut registry = Registry::default();
        registry.register("request_count", "Number of requests received", count.clone());
        registry.register("request_latency", "Elapsed time per request", latency.clone());
        registry.register(
            "requests_in_progress",
            "Requests in progress",
            in_progress.clone(),
        );
        Self {
            registry: Arc::new(registry),
            count,
            latency,
            in_progress,
        }
    }

    fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!() {
        let families = Rc::new(self);
        App::new()
            .configure(configure)
            .wrap(from_fn(move |request, next| {
                Rc::clone(&families).record(request, next)
            }))
    }

    fn scrape(&self) -> String {
        let mut scrape = String::new();
        text::encode(&mut scrape, &self.registry).expect("a valid registry");
        scrape
    }
}

/// actix-web-prom, at its defaults. It has no gauge.
#[derive(Clone)]
pub struct Prom(actix_web_prom::PrometheusMetrics);

impl Subject for Prom {
    const NAME: &'static str = "actix-web-prom";

    fn new() -> Self {
        let metrics = actix_web_prom::PrometheusMetricsBuilder::new("api").endpoint("/metrics");
        Self(metrics.build().expect("valid options"))
    }

    fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!() {
        App::new().configure(configure).wrap(self.0)
    }

    fn scrape(&self) -> String {
        let families = self.0.registry.gather();
        let scrape = prometheus::TextEncoder::new().encode_to_string(&families);
        scrape.expect("valid families")
    }

    /// The middleware answers `/metrics` itself.
    fn add_metrics(&self, _app: &mut ServiceConfig) {}
}

/// actix-web-metrics with metrics-exporter-prometheus, at their defaults: summaries in place of histograms.
#[derive(Clone)]
pub struct Metrics {
    metrics: ActixWebMetrics,
    exporter: PrometheusHandle,
}

impl Subject for Metrics {
    const NAME: &'static str = "actix-web-metrics";

    fn new() -> Self {
        let exporter = PrometheusBuilder::new().install_recorder();
        Self {
            exporter: exporter.expect("the only recorder of this process"),
            metrics: ActixWebMetricsBuilder::new().build(),
        }
    }

    fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!() {
        App::new().configure(configure).wrap(self.metrics)
    }

    fn scrape(&self) -> String {
        self.exporter.render()
    }
}

/// actix-web-prometheus, at its defaults. It has no gauge.
#[derive(Clone)]
pub struct Prometheus(actix_web_prometheus::PrometheusMetrics);

impl Subject for Prometheus {
    const NAME: &'static str = "actix-web-prometheus";

    fn new() -> Self {
        let metrics = actix_web_prometheus::PrometheusMetricsBuilder::new("api").endpoint("/metrics");
        Self(metrics.build().expect("valid options"))
    }

    fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!() {
        App::new().configure(configure).wrap(self.0)
    }

    fn scrape(&self) -> String {
        let families = self.0.registry.gather();
        let scrape = prometheus_013::TextEncoder::new().encode_to_string(&families);
        scrape.expect("valid families")
    }

    /// The middleware answers `/metrics` itself.
    fn add_metrics(&self, _app: &mut ServiceConfig) {}
}

/// opentelemetry-instrumentation-actix-web with the SDK's meter provider and the exporter for Prometheus, at their defaults.
#[derive(Clone)]
pub struct OpenTelemetry {
    registry: prometheus::Registry,
    metrics: RequestMetrics,
    /// Its exporter stops with the last clone.
    provider: SdkMeterProvider,
}

impl Subject for OpenTelemetry {
    const NAME: &'static str = "opentelemetry-instrumentation-actix-web";

    fn new() -> Self {
        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone());
        let exporter = exporter.build().expect("valid options");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        Self {
            registry,
            metrics: RequestMetrics::builder()
                .with_meter_provider(provider.clone())
                .build(),
            provider,
        }
    }

    fn app(self, configure: impl FnOnce(&mut ServiceConfig) + 'static) -> app!() {
        App::new()
            .app_data(self.provider)
            .configure(configure)
            .wrap(self.metrics)
    }

    fn scrape(&self) -> String {
        let families = self.registry.gather();
        let scrape = prometheus::TextEncoder::new().encode_to_string(&families);
        scrape.expect("valid families")
    }
}
