//! Instructions per request of the default set-up, against a ceiling.
//!
//! `cargo bench --bench instructions` runs itself under callgrind, which counts instructions: the same on a busy
//! machine as on an idle one. A run serves n requests, another one 2n; the difference over n is what one costs. What
//! is printed is that of the application with the middleware less that of the application without it. A clock is read
//! by a system call there, which counts as nothing.

mod harness;

use std::{
    env,
    process::{Command, ExitCode},
};

use actix_http::Request;
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    test,
};
use harness::Kind;
use hr_prometheus::{HrPrometheus, MetricsRegistry};

const REQUESTS: usize = 2_000;

/// (routes, kind, most instructions that one request may cost): 5 % above what has been reached.
const CEILINGS: [(usize, Kind, u64); 6] = [
    (10, Kind::Static, 1_420),
    (10, Kind::Param, 1_610),
    (10, Kind::NotFound, 1_210),
    (500, Kind::Static, 1_450),
    (500, Kind::Param, 1_650),
    (500, Kind::NotFound, 1_260),
];

fn main() -> ExitCode {
    let arguments: Vec<_> = env::args().collect();
    if let [_, _, subject, routes, kind, served] = &arguments[..] {
        let (routes, served) = (routes.parse().unwrap(), served.parse().unwrap());
        actix_web::rt::System::new().block_on(serve(subject, routes, Kind::of(kind).unwrap(), served));
        return ExitCode::SUCCESS;
    }

    println!("instructions per request, over the same application without the middleware");
    println!("| routes | kind | reached | ceiling |\n| --- | --- | --- | --- |");
    let mut good = true;
    for (routes, kind, ceiling) in CEILINGS {
        let reached = per_request("hr-prometheus", routes, kind) - per_request("none", routes, kind);
        println!("| {routes} | {} | {reached} | {ceiling} |", kind.name());
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
    let app = App::new().configure(|app| harness::configure(app, routes));
    match subject {
        "none" => serve_counted(&test::init_service(app).await, requests),
        "hr-prometheus" => {
            let app = app.app_data(MetricsRegistry::new()).wrap(HrPrometheus::default());
            serve_counted(&test::init_service(app).await, requests);
        }
        subject => panic!("no subject {subject}"),
    }
    std::mem::forget(unserved);
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
