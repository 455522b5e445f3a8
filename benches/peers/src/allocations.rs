//! Allocations and allocated bytes per request, counted in the allocator.

use actix_web::{rt::System, test};

use crate::{
    Table, child, counting,
    harness::{self, Kind},
    markdown,
    subjects::{self, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "allocations",
    print,
    measure,
};

const ROUTES: [usize; 2] = [10, 500];
/// Served before it is counted: pools are filled, and the series of known routes exist.
const WARM_UP: usize = 1_000;
const REQUESTS: usize = 2_000;

fn print() {
    let grid = ROUTES.map(|routes| Kind::ALL.map(|kind| (routes, kind)));
    let cells: Vec<_> = subjects::ALL
        .iter()
        .flat_map(|subject| grid.as_flattened().iter().map(move |cell| (*subject, *cell)))
        .collect();
    let counts = child::on_all_cores(&cells, |(subject, (routes, kind))| {
        child::measure(TABLE.name, &[subject, &routes.to_string(), kind.name()])
    });

    let mut counts = counts.chunks(grid.as_flattened().len());
    let none = counts.next().expect("the first subject is none");
    let mut rows = vec![row(&format!("{} (itself)", subjects::ALL[0]), none)];
    for (subject, counts) in subjects::ALL[1..].iter().zip(counts) {
        let over = counts.iter().zip(none);
        let over: Vec<_> = over
            .map(|(counts, none)| vec![counts[0] - none[0], counts[1] - none[1]])
            .collect();
        rows.push(row(subject, &over));
    }
    markdown::print(
        "Allocations per request, over the same application without middleware; in brackets the bytes allocated",
        &["static / param / 404", "10 routes", "500 routes"],
        &rows,
    );
}

fn row(name: &str, counts: &[Vec<f64>]) -> Vec<String> {
    let cells = counts.chunks(Kind::ALL.len()).map(|kinds| {
        let kinds = kinds.iter().map(|counts| {
            let (allocations, bytes) = (markdown::number(counts[0]), markdown::number(counts[1]));
            format!("{allocations} ({bytes})")
        });
        kinds.collect::<Vec<_>>().join(" / ")
    });
    [name.to_owned()].into_iter().chain(cells).collect()
}

fn measure(arguments: &[&str]) {
    let [subject, routes, kind] = arguments else {
        panic!("subject, routes, kind");
    };
    let (routes, kind) = (routes.parse().unwrap(), Kind::of(kind).unwrap());
    for_subject!(*subject, serve(routes, kind));
}

fn serve<S: Subject>(routes: usize, kind: Kind) {
    System::new().block_on(async {
        let app = test::init_service(S::new().app(move |app| harness::configure(app, routes))).await;
        let mut requests: Vec<_> = (0..WARM_UP + REQUESTS)
            .map(|number| kind.request(routes, number))
            .collect();
        let counted = requests.split_off(WARM_UP);
        for request in requests {
            harness::drive(&app, request);
        }
        let ((), counts, _) = counting::count(|| {
            for request in counted {
                harness::drive(&app, request);
            }
        });
        let per_request = |count: i64| count as f64 / REQUESTS as f64;
        println!(
            "{} {}",
            per_request(counts.allocations),
            per_request(counts.allocated)
        );
    });
}
