//! Counts the instructions of a request, and compares them with ceilings.
//!
//! A benchmark runs itself under callgrind, which counts instructions: the same on a busy machine as on an idle one. A run
//! serves n requests, another one 2n; the difference over n is what one costs. What is printed is that of the application
//! with the middleware less that of the application without it. A clock is read by a system call there, which counts as
//! nothing. Scrapes are counted in the same way.

use std::{
    collections::HashMap,
    env,
    future::poll_fn,
    mem,
    process::{Command, ExitCode},
    task::Poll,
};

use actix_http::Request;
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    rt::System,
    test,
    web::{self, ServiceConfig},
};
use hr_prometheus::{HrPrometheus, MetricsRegistry, Monitors};

use crate::harness::{self, Kind};

const REQUESTS: usize = 2_000;

/// The application that serves.
#[derive(Clone, Copy)]
pub struct Application {
    routes: usize,
    kind: Kind,
}

impl Application {
    fn configure(self, app: &mut ServiceConfig) {
        harness::configure_below(app, self.kind.prefix(), self.routes);
        if self.kind == Kind::Yielding {
            app.route("/yields", web::get().to(yields));
        }
    }
}

async fn yields() -> &'static str {
    for _ in 0..harness::YIELDS {
        pending_once().await;
    }
    "hello"
}

/// Pauses without a waker, which costs the same in each application.
fn pending_once() -> impl Future<Output = ()> {
    let mut has_paused = false;
    poll_fn(move |_| {
        if mem::replace(&mut has_paused, true) {
            Poll::Ready(())
        } else {
            Poll::Pending
        }
    })
}

/// What is measured, with how many routes and of which kind, and the instructions of one request when it was last taken.
pub type Recorded = (&'static str, usize, Kind, u64);

/// The most instructions that may be reached: 3 % above what was recorded, and two in ten thousand of those of the
/// application without the middleware. A router of 500 routes takes half a million for a request, and a few dozen more
/// or fewer as its strings happen to lie in memory.
pub fn ceiling(recorded: u64, without: u64) -> u64 {
    recorded + recorded * 3 / 100 + without / 5_000
}

/// Measures all that was `recorded`, against its ceilings; `serve` serves requests of one subject.
pub fn run(recorded: &[Recorded], serve: impl AsyncFnOnce(&str, Application, Vec<Request>)) -> ExitCode {
    let arguments: Vec<_> = env::args().collect();
    if let [_, _, subject, routes, kind, served] = &arguments[..] {
        let (routes, served) = (routes.parse().unwrap(), served.parse().unwrap());
        let kind = Kind::of(kind).unwrap();
        // Always as many, so that making them is no part of the difference.
        let mut requests: Vec<_> = (0..2 * REQUESTS)
            .map(|number| kind.request(routes, number))
            .collect();
        let unserved = requests.split_off(served);
        let application = Application { routes, kind };
        System::new().block_on(async {
            if subject == "none" {
                let app = App::new().configure(|app| application.configure(app));
                serve_counted(&test::init_service(app).await, requests, kind);
            } else {
                serve(subject, application, requests).await;
            }
        });
        mem::forget(unserved);
        return ExitCode::SUCCESS;
    }

    println!("instructions per request, over the same application without the middleware");
    println!(
        "| measured | routes | kind | recorded | reached | ceiling |\n| --- | --- | --- | --- | --- | --- |"
    );
    let mut good = true;
    let mut without = HashMap::new();
    for &(subject, routes, kind, recorded) in recorded {
        let without = without.entry((routes, kind.name()));
        let without = *without.or_insert_with(|| per_request("none", routes, kind));
        let reached = per_request(subject, routes, kind) - without;
        let ceiling = ceiling(recorded, without);
        println!(
            "| {subject} | {routes} | {} | {recorded} | {reached} | {ceiling} |",
            kind.name()
        );
        good &= reached <= ceiling;
    }
    if good {
        ExitCode::SUCCESS
    } else {
        eprintln!("above the ceiling: make it cheaper, or say beside the ceiling why it must cost more");
        ExitCode::FAILURE
    }
}

fn per_request(subject: &str, routes: usize, kind: Kind) -> u64 {
    let routes = routes.to_string();
    per_repetition(REQUESTS, |served| {
        ["serve", subject, &routes, kind.name(), served].map(str::to_owned)
    })
}

/// The instructions of one repetition in this program, which is run with these arguments for a number of repetitions.
pub fn per_repetition<const N: usize>(repetitions: usize, arguments: impl Fn(&str) -> [String; N]) -> u64 {
    let count = |repetitions: usize| {
        let output = Command::new("valgrind")
            .args(["--tool=callgrind", "--callgrind-out-file=/dev/null"])
            .arg("--toggle-collect=*_counted*")
            .arg(env::current_exe().expect("this program"))
            .args(arguments(&repetitions.to_string()))
            .output()
            .expect("valgrind, from the package of that name");
        let log = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{log}");
        let collected = log.lines().find_map(|line| line.split_once("Collected : "));
        let collected = collected.unwrap_or_else(|| panic!("no count in\n{log}"));
        collected.1.trim().parse::<u64>().expect("a number")
    };
    (count(2 * repetitions) - count(repetitions)) / repetitions as u64
}

/// Serves requests in the application with this middleware.
pub async fn serve_with<M: Monitors>(
    metrics: HrPrometheus<M>,
    application: Application,
    requests: Vec<Request>,
) {
    let app = App::new()
        .configure(|app| application.configure(app))
        .app_data(MetricsRegistry::new())
        .wrap(metrics);
    serve_counted(&test::init_service(app).await, requests, application.kind);
}

/// All that callgrind counts.
#[inline(never)]
fn serve_counted<S, B>(app: &S, requests: Vec<Request>, kind: Kind)
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let pauses = if kind == Kind::Yielding {
        harness::YIELDS
    } else {
        0
    };
    for request in requests {
        harness::drive_pausing(app, request, pauses);
    }
}
