//! What measures the requests: this crate with every option on, or what one would write without it.

use std::{panic::panic_any, time::Duration};

use actix_web::{
    Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, StatusCode},
    middleware::Next,
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, OtelMonitor, RequestLabels, RequestStart, build_info,
    process_metrics,
    prometheus_client::{
        encoding::EncodeLabelSet,
        metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
        registry::Registry,
    },
};

use crate::application::Staged;

/// What measures the requests.
#[derive(Clone)]
pub enum Subject {
    Crate(HrPrometheus<(DefaultMonitor<ByTenant>, OtelMonitor)>),
    Naive(Naive),
}

impl Subject {
    /// Every option on.
    pub fn of_crate(registry: &MetricsRegistry) -> Result<Self, hr_prometheus::Error> {
        let builder = DefaultMonitor::builder()
            .latency_buckets([0.005, 0.05, 0.5, 5.0])
            .request_body_bytes([1_000.0, 10_000.0])
            .response_body_bytes([1_000.0, 10_000.0])
            .time_to_head([0.01, 0.1])
            .oldest_in_progress()
            .queue_time([0.01, 0.1])
            .time_on_worker([0.001, 0.01])
            .longest_poll([0.001, 0.01])
            .peak_in_progress()
            .objective("/normal/ok", 0.999, Duration::from_millis(300))
            .objective("/normal/slow", 0.9, Duration::from_millis(5))
            .objective_failures(|end| end.status().is_server_error())
            .start_at_zero([(Method::GET, "/normal/ok", StatusCode::OK)])
            .exemplars_from_traceparent()
            .native_histograms()
            .labels::<ByTenant>()
            .max_label_sets(6);
        let otel = OtelMonitor::builder()
            .active_requests()
            .request_body_size()
            .response_body_size()
            .network_protocol_name()
            .user_agent_synthetic_type()
            .scheme_from("X-Forwarded-Proto");
        let metrics = HrPrometheus::with_builder((builder, otel))
            .exclude_routes(["/excluded/ok"])
            .exclude(|start| start.request().path() == "/excluded/slow")
            .extra_methods(["PURGE"])
            .long_lived_content_types(["application/x-ndjson"])
            .keep_params("/encoded/item/{id}", ["id"])
            .max_kept_paths(30)
            .unmatched("unmatched")
            .worker_metrics()
            .route_metrics()
            .register_in(registry)?;
        registry.register_with(build_info!());
        registry.register_with(process_metrics);
        Ok(Self::Crate(metrics))
    }

    pub fn naive(registry: &MetricsRegistry) -> Self {
        Self::Naive(registry.register_with(Naive::register))
    }
}

/// Who asks, as the client says: a label that it makes up, and one that cannot always be read.
#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
pub struct ByTenant {
    tenant: String,
}

impl RequestLabels for ByTenant {
    fn at_arrival(start: &RequestStart<'_>) -> Self {
        let header = start.request().headers().get("x-tenant");
        let tenant = header.and_then(|value| value.to_str().ok()).unwrap_or("none");
        if tenant == "unreadable" {
            panic_any(Staged);
        }
        Self {
            tenant: tenant.into(),
        }
    }
}

type NaiveLabels = Vec<(&'static str, String)>;

/// What one would write without this crate: families, and a middleware that uses them before and after.
#[derive(Clone)]
pub struct Naive {
    count: Family<NaiveLabels, Counter>,
    latency: Family<NaiveLabels, Histogram, fn() -> Histogram>,
    in_progress: Family<NaiveLabels, Gauge>,
}

impl Naive {
    fn register(registry: &mut Registry) -> Self {
        let naive = Self {
            latency: Family::new_with_constructor(|| Histogram::new([0.01, 0.1, 1.0])),
            count: Family::default(),
            in_progress: Family::default(),
        };
        registry.register("request_count", "Requests", naive.count.clone());
        registry.register("request_latency", "Latency", naive.latency.clone());
        registry.register("requests_in_progress", "Requests", naive.in_progress.clone());
        naive
    }

    pub async fn measure(
        self,
        request: ServiceRequest,
        next: Next<impl MessageBody>,
    ) -> Result<ServiceResponse<impl MessageBody>, Error> {
        let begun = std::time::Instant::now();
        let path = request.match_pattern().unwrap_or_else(|| "unmatched".into());
        let labels = vec![("method", request.method().to_string()), ("path", path)];
        self.in_progress.get_or_create(&labels).inc();
        let response = next.call(request).await?;
        self.in_progress.get_or_create(&labels).dec();
        self.latency
            .get_or_create(&labels)
            .observe(begun.elapsed().as_secs_f64());
        let status = ("status", response.status().as_u16().to_string());
        self.count.get_or_create(&[labels, vec![status]].concat()).inc();
        Ok(response)
    }
}
