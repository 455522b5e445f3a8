//! Instructions per request, counted by callgrind. Only the serving is counted, after as many requests that are not: some
//! subjects calibrate a clock when they start, and pools fill. Clock reads are system calls there, and so count as
//! nothing.

use actix_http::Request;
use actix_web::{
    Error,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    rt::System,
    test,
};

use crate::{
    Table, arena, child,
    harness::{self, Kind},
    markdown,
    subjects::{self, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "instructions",
    print,
    measure,
};

/// How many routes an application has, and what its paths begin with.
pub type Layout = (usize, &'static str);

pub const LAYOUTS: [Layout; 3] = [(10, ""), (500, ""), (10, harness::PREFIX)];
pub const HEAD: [&str; 4] = [
    "static / param / 404",
    "10 routes",
    "500 routes",
    "10 routes, paths of 36 bytes",
];

/// How many are counted. Routing takes most of the time where there are many routes.
fn requests(routes: usize) -> usize {
    if routes > 50 { 200 } else { 1_000 }
}

fn print() {
    let grid = LAYOUTS.map(|layout| Kind::ALL.map(|kind| (layout, kind)));
    let cells: Vec<_> = subjects::ALL
        .iter()
        .flat_map(|subject| grid.as_flattened().iter().map(move |cell| (*subject, *cell)))
        .collect();
    let counts = child::on_all_cores(&cells, |(subject, (layout, kind))| {
        per_request(subject, *layout, *kind)
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
    markdown::print("Instructions added per request", &HEAD, &rows);
    println!(
        "Compared with the same application without middleware. Counted by callgrind, without the kernel's part of a clock \
         read. An allocation costs about 20 instructions here, whatever was allocated before; those of malloc cost more. \
         This program has all of these monitors in it; an application has one, for which the compiler inlines more: \
         `cargo bench --bench instructions` counts that.\n",
    );
}

/// A name, and its numbers by the layout.
fn row(name: &str, numbers: &[f64]) -> Vec<String> {
    let cells = numbers.chunks(Kind::ALL.len()).map(markdown::numbers);
    [name.to_owned()].into_iter().chain(cells).collect()
}

pub fn per_request(subject: &str, (routes, prefix): Layout, kind: Kind) -> f64 {
    let output = child::run(
        &[
            "valgrind",
            "--tool=callgrind",
            "--toggle-collect=*serve_counted*",
            "--callgrind-out-file=/dev/null",
        ],
        TABLE.name,
        &[subject, &routes.to_string(), prefix, kind.name()],
    );
    let log = String::from_utf8_lossy(&output.stderr);
    let collected = log.lines().find_map(|line| line.split_once("Collected : "));
    let (_, collected) = collected.unwrap_or_else(|| panic!("no count in\n{log}"));
    let collected: f64 = collected.trim().parse().expect("a number");
    (collected / requests(routes) as f64).round()
}

fn measure(arguments: &[&str]) {
    let [subject, routes, prefix, kind] = arguments else {
        panic!("subject, routes, prefix, kind");
    };
    let (routes, prefix) = (routes.parse().unwrap(), (*prefix).to_owned());
    arena::begin();
    for_subject!(*subject, serve(routes, prefix, Kind::of(kind).unwrap()));
}

fn serve<S: Subject>(routes: usize, prefix: String, kind: Kind) {
    System::new().block_on(async {
        let count = requests(routes);
        let requests = (0..2 * count).map(|number| kind.request_below(&prefix, routes, number));
        let mut requests: Vec<_> = requests.collect();
        let configure = move |app: &mut _| harness::configure_below(app, &prefix, routes);
        let app = test::init_service(S::new().app(configure)).await;
        let counted = requests.split_off(count);
        for request in requests {
            harness::drive(&app, request);
        }
        serve_counted(&app, counted);
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
