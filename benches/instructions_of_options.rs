//! Instructions per request with each option, against a ceiling: `cargo bench --bench instructions_of_options`.
//!
//! A program of its own: with one monitor in a program, as most applications have it, the compiler inlines more, so the
//! default set-up costs more here than in `instructions`.

#[allow(unreachable_pub, reason = "two programs use it")]
mod callgrind;
mod harness;

use std::{process::ExitCode, time::Duration};

use actix_http::Request;
use callgrind::{Application, Recorded, serve_with};
use harness::Kind;
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, OtelMonitor, RequestLabels, RequestStart,
    prometheus_client::encoding::EncodeLabelSet,
};

/// Exemplars cost more on a busy machine, where requests fall into more buckets.
const RECORDED: [Recorded; 22] = [
    ("default", 10, Kind::Static, 1_020),
    ("kept values", 10, Kind::Known, 1_271),
    ("OpenTelemetry", 10, Kind::Static, 1_158),
    ("OpenTelemetry beside default", 10, Kind::Static, 1_339),
    ("custom labels", 10, Kind::Static, 1_440),
    ("exemplars", 10, Kind::Static, 1_670),
    ("body sizes", 10, Kind::Static, 1_223),
    ("time to head", 10, Kind::Static, 1_304),
    ("excluded by a predicate", 10, Kind::Static, 306),
    // Beside what the clock takes, which is read twice for each pause.
    ("default", 10, Kind::Yielding, 1_628),
    ("time on worker", 10, Kind::Static, 1_457),
    ("time on worker", 10, Kind::Yielding, 3_807),
    ("time on worker and longest poll", 10, Kind::Static, 1_505),
    ("queue time", 10, Kind::Static, 1_386),
    ("peak in progress", 10, Kind::Static, 1_814),
    ("peak in progress", 10, Kind::Param, 2_621),
    ("peak in progress", 500, Kind::Static, 1_815),
    ("peak in progress", 500, Kind::Param, 11_074),
    ("peak in progress", 10, Kind::NotFound, 2_703),
    ("objective", 10, Kind::Static, 1_222),
    ("objective of another route", 10, Kind::Static, 1_130),
    ("workers and routes", 10, Kind::Static, 1_020),
];

/// A custom label that most requests share.
#[derive(EncodeLabelSet, Hash, PartialEq, Eq)]
struct BySecure {
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

fn main() -> ExitCode {
    callgrind::run(&RECORDED, serve)
}

async fn serve(subject: &str, application: Application, requests: Vec<Request>) {
    let builder = DefaultMonitor::builder;
    match subject {
        "default" => serve_with(HrPrometheus::default(), application, requests).await,
        "kept values" => serve_with(HrPrometheus::default().keep_all_params(), application, requests).await,
        "OpenTelemetry" => {
            serve_with(HrPrometheus::with_monitor::<OtelMonitor>(), application, requests).await;
        }
        "OpenTelemetry beside default" => {
            let metrics = HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>();
            serve_with(metrics, application, requests).await;
        }
        "custom labels" => {
            let metrics = HrPrometheus::with_monitor::<DefaultMonitor<BySecure>>();
            serve_with(metrics, application, requests).await;
        }
        "exemplars" => {
            let monitor = builder().exemplars_from_traceparent();
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "body sizes" => {
            let monitor = builder().request_body_bytes([100.0, 10_000.0]);
            let monitor = monitor.response_body_bytes([100.0, 10_000.0]);
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "time to head" => {
            let monitor = builder().time_to_head([0.1, 1.0]);
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "time on worker" => {
            let monitor = builder().time_on_worker([0.001, 0.01, 0.1]);
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "time on worker and longest poll" => {
            let monitor = builder().time_on_worker([0.001, 0.01, 0.1]);
            let monitor = monitor.longest_poll([0.001, 0.01, 0.1]);
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "queue time" => {
            let monitor = builder().queue_time([0.1, 1.0]);
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "peak in progress" => {
            let monitor = builder().peak_in_progress();
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "objective" | "objective of another route" => {
            let route = if subject == "objective" {
                "/static1"
            } else {
                "/static0"
            };
            let monitor = builder().objective(route, 0.999, Duration::from_millis(300));
            serve_with(HrPrometheus::with_builder(monitor), application, requests).await;
        }
        "workers and routes" => {
            let metrics = HrPrometheus::default().worker_metrics().route_metrics();
            serve_with(metrics, application, requests).await;
        }
        "excluded by a predicate" => {
            let metrics = HrPrometheus::default().exclude(|start| start.method() == "GET");
            serve_with(metrics, application, requests).await;
        }
        subject => panic!("no subject {subject}"),
    }
}
