//! Instructions per request of the default set-up and of each option, against a ceiling.
//!
//! `cargo bench --bench instructions` runs itself under callgrind, which counts instructions: the same on a busy
//! machine as on an idle one. A run serves n requests, another one 2n; the difference over n is what one costs. What
//! is printed is that of the application with the middleware less that of the application without it. A clock is read
//! by a system call there, which counts as nothing.

mod harness;

use std::{
    collections::HashMap,
    env,
    process::{Command, ExitCode},
};

use actix_http::Request;
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::header::{HeaderName, HeaderValue},
    test,
};
use harness::Kind;
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, Monitors, OtelMonitor, RequestLabels, RequestStart,
    prometheus_client::encoding::EncodeLabelSet,
};

const REQUESTS: usize = 2_000;

/// (subject, routes, kind, most instructions that one request may cost): 3 % above what has been reached.
const CEILINGS: [(&str, usize, Kind, u64); 14] = [
    ("default", 10, Kind::Static, 1),
    ("default", 10, Kind::Param, 1),
    ("default", 10, Kind::NotFound, 1),
    ("default", 500, Kind::Static, 1),
    ("default", 500, Kind::Param, 1),
    ("default", 500, Kind::NotFound, 1),
    ("kept values", 10, Kind::Known, 1),
    ("OpenTelemetry", 10, Kind::Static, 1),
    ("OpenTelemetry beside default", 10, Kind::Static, 1),
    ("custom labels", 10, Kind::Static, 1),
    ("exemplars", 10, Kind::Static, 1),
    ("body sizes", 10, Kind::Static, 1),
    ("time to head", 10, Kind::Static, 1),
    ("excluded by a predicate", 10, Kind::Static, 1),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().collect();
    if let [_, _, subject, routes, kind, served] = &arguments[..] {
        let (routes, served) = (routes.parse().unwrap(), served.parse().unwrap());
        actix_web::rt::System::new().block_on(serve(subject, routes, Kind::of(kind).unwrap(), served));
        return ExitCode::SUCCESS;
    }

    println!("instructions per request, over the same application without the middleware");
    println!("| measured | routes | kind | reached | ceiling |\n| --- | --- | --- | --- | --- |");
    let mut good = true;
    let mut without = HashMap::new();
    for (subject, routes, kind, ceiling) in CEILINGS {
        let without = without.entry((routes, kind.name()));
        let without = *without.or_insert_with(|| per_request("none", routes, kind));
        let reached = per_request(subject, routes, kind) - without;
        println!(
            "| {subject} | {routes} | {} | {reached} | {ceiling} |",
            kind.name()
        );
        good &= reached <= ceiling;
    }
    if good {
        ExitCode::SUCCESS
    } else {
        eprintln!(
            "above the ceiling: make it cheaper, or say in benches/instructions.rs why it must cost more"
        );
        ExitCode::FAILURE
    }
}

fn per_request(subject: &str, routes: usize, kind: Kind) -> u64 {
    let count = |served: usize| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg("--toggle-collect=*serve_counted*")
            .arg(env::current_exe().expect("this program"))
            .args([
                "serve",
                subject,
                &routes.to_string(),
                kind.name(),
                &served.to_string(),
            ])
            .output()
            .expect("valgrind, from the package of that name");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        let collected = log.lines().find_map(|line| line.split_once("Collected : "));
        let collected = collected.unwrap_or_else(|| panic!("no count in\n{log}"));
        collected.1.trim().parse::<u64>().expect("a number")
    };
    (count(2 * REQUESTS) - count(REQUESTS)) / REQUESTS as u64
}

async fn serve(subject: &str, routes: usize, kind: Kind, served: usize) {
    // Always as many, so that making them is no part of the difference.
    let mut requests: Vec<_> = (0..2 * REQUESTS)
        .map(|number| kind.request(routes, number))
        .collect();
    let unserved = requests.split_off(served);
    let builder = DefaultMonitor::builder;
    match subject {
        "none" => {
            let app = App::new().configure(|app| harness::configure(app, routes));
            serve_counted(&test::init_service(app).await, requests);
        }
        "default" => serve_with(HrPrometheus::default(), routes, requests).await,
        "kept values" => serve_with(HrPrometheus::default().keep_all_params(), routes, requests).await,
        "OpenTelemetry" => serve_with(HrPrometheus::with_monitor::<OtelMonitor>(), routes, requests).await,
        "OpenTelemetry beside default" => {
            let metrics = HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>();
            serve_with(metrics, routes, requests).await;
        }
        "custom labels" => {
            let metrics = HrPrometheus::with_monitor::<DefaultMonitor<BySecure>>();
            serve_with(metrics, routes, requests).await;
        }
        "exemplars" => {
            for request in &mut requests {
                let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
                let headers = request.headers_mut();
                headers.insert(
                    HeaderName::from_static("traceparent"),
                    HeaderValue::from_static(trace),
                );
            }
            let monitor = builder().exemplars_from_traceparent();
            serve_with(HrPrometheus::with_builder(monitor), routes, requests).await;
        }
        "body sizes" => {
            let monitor = builder().request_body_bytes([100.0, 10_000.0]).unwrap();
            let monitor = monitor.response_body_bytes([100.0, 10_000.0]).unwrap();
            serve_with(HrPrometheus::with_builder(monitor), routes, requests).await;
        }
        "time to head" => {
            let monitor = builder().time_to_head([0.1, 1.0]).unwrap();
            serve_with(HrPrometheus::with_builder(monitor), routes, requests).await;
        }
        "excluded by a predicate" => {
            let metrics = HrPrometheus::default().exclude(|start| start.method() == "GET");
            serve_with(metrics, routes, requests).await;
        }
        subject => panic!("no subject {subject}"),
    }
    std::mem::forget(unserved);
}

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

async fn serve_with<M: Monitors>(metrics: HrPrometheus<M>, routes: usize, requests: Vec<Request>) {
    let app = App::new()
        .configure(|app| harness::configure(app, routes))
        .app_data(MetricsRegistry::new())
        .wrap(metrics);
    serve_counted(&test::init_service(app).await, requests);
}

/// All that callgrind counts.
#[inline(never)]
fn serve_counted<S, B>(app: &S, requests: Vec<Request>)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    for request in requests {
        harness::drive(app, request);
    }
}
