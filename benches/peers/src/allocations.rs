//! Allocations and allocated bytes per request, counted in the allocator.

use actix_web::{rt::System, test};

use crate::{
    Table, child, counting,
    harness::{self, Kind},
    instructions::{HEAD, LAYOUTS, Layout},
    markdown,
    subjects::{self, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "allocations",
    print,
    measure,
};

/// Served before it is counted: pools are filled, and the series of known routes exist.
const WARM_UP: usize = 1_000;
const REQUESTS: usize = 2_000;

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
            .map(|(counts, none)| [counts[0] - none[0], counts[1] - none[1]])
            .collect();
        rows.push(row(subject, &over));
    }
    markdown::print(
        "Allocations added per request, with their bytes in brackets",
        &HEAD,
        &rows,
    );
}

fn row(name: &str, counts: &[[f64; 2]]) -> Vec<String> {
    let cells = counts.chunks(Kind::ALL.len()).map(|kinds| {
        let kinds = kinds.iter().map(|[allocations, bytes]| {
            format!(
                "{} ({})",
                markdown::number(*allocations),
                markdown::number(*bytes)
            )
        });
        kinds.collect::<Vec<_>>().join(" / ")
    });
    [name.to_owned()].into_iter().chain(cells).collect()
}

/// How many, and how many bytes.
pub fn per_request(subject: &str, (routes, prefix): Layout, kind: Kind) -> [f64; 2] {
    let numbers = child::measure(TABLE.name, &[subject, &routes.to_string(), prefix, kind.name()]);
    numbers.try_into().expect("two numbers")
}

fn measure(arguments: &[&str]) {
    let [subject, routes, prefix, kind] = arguments else {
        panic!("subject, routes, prefix, kind");
    };
    let (routes, prefix) = (routes.parse().unwrap(), (*prefix).to_owned());
    for_subject!(*subject, serve(routes, prefix, Kind::of(kind).unwrap()));
}

fn serve<S: Subject>(routes: usize, prefix: String, kind: Kind) {
    System::new().block_on(async {
        let mut requests: Vec<_> = (0..WARM_UP + REQUESTS)
            .map(|number| kind.request_below(&prefix, routes, number))
            .collect();
        let configure = move |app: &mut _| harness::configure_below(app, &prefix, routes);
        let app = test::init_service(S::new().app(configure)).await;
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
