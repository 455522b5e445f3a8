//! Instructions per request, counted by callgrind: a run serves k requests, another one 2k; the difference over k is
//! what one costs. Only the serving is counted: some subjects calibrate a clock when they start. Clock reads are system
//! calls there, and so count as nothing.

use actix_http::Request;
use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    rt::System,
    test,
};

use crate::{
    Table, child,
    harness::{self, Kind},
    markdown,
    subjects::{self, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "instructions",
    print,
    measure,
};

const ROUTES: [usize; 3] = [10, 50, 500];
const REQUESTS: usize = 1_000;

fn print() {
    let grid = ROUTES.map(|routes| Kind::ALL.map(|kind| (routes, kind)));
    let cells: Vec<_> = subjects::ALL
        .iter()
        .flat_map(|subject| grid.as_flattened().iter().map(move |cell| (*subject, *cell)))
        .collect();
    let counts = child::on_all_cores(&cells, |(subject, (routes, kind))| {
        per_request(subject, *routes, *kind)
    });

    let mut counts = counts.chunks(grid.as_flattened().len());
    let none = counts.next().expect("the first subject is none");
    let mut rows = vec![row(&format!("{} (itself)", subjects::ALL[0]), none)];
    for (subject, counts) in subjects::ALL[1..].iter().zip(counts) {
        let over: Vec<_> = counts
            .iter()
            .zip(none)
            .map(|(count, none)| count - none)
            .collect();
        rows.push(row(subject, &over));
    }
    markdown::print(
        "Instructions per request, over the same application without middleware",
        &["static / param / 404", "10 routes", "50 routes", "500 routes"],
        &rows,
    );
}

/// A name, and its numbers by the number of routes.
fn row(name: &str, numbers: &[f64]) -> Vec<String> {
    let cells = numbers.chunks(Kind::ALL.len()).map(|kinds| {
        let kinds: Vec<_> = kinds.iter().map(|count| markdown::number(*count)).collect();
        kinds.join(" / ")
    });
    [name.to_owned()].into_iter().chain(cells).collect()
}

fn per_request(subject: &str, routes: usize, kind: Kind) -> f64 {
    let count = |served: usize| {
        let output = child::run(
            &[
                "valgrind",
                "--tool=callgrind",
                "--toggle-collect=*serve_counted*",
                "--callgrind-out-file=/dev/null",
            ],
            TABLE.name,
            &[subject, &routes.to_string(), kind.name(), &served.to_string()],
        );
        let log = String::from_utf8_lossy(&output.stderr);
        let collected = log.lines().find_map(|line| line.split_once("Collected : "));
        let collected = collected.unwrap_or_else(|| panic!("no count in\n{log}"));
        collected.1.trim().parse::<f64>().expect("a number")
    };
    ((count(2 * REQUESTS) - count(REQUESTS)) / REQUESTS as f64).round()
}

fn measure(arguments: &[&str]) {
    let [subject, routes, kind, served] = arguments else {
        panic!("subject, routes, kind, served");
    };
    let (routes, served) = (routes.parse().unwrap(), served.parse().unwrap());
    let kind = Kind::of(kind).unwrap();
    for_subject!(*subject, serve(routes, kind, served));
}

fn serve<S: Subject>(routes: usize, kind: Kind, served: usize) {
    System::new().block_on(async {
        let app = test::init_service(S::new().app(move |app| harness::configure(app, routes))).await;
        let requests = (0..served).map(|number| kind.request(routes, number));
        serve_counted(&app, requests.collect());
    });
}

/// A function by itself, for callgrind to know by its name.
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
