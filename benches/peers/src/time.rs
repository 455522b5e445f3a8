//! Nanoseconds of processor time per request: short rounds of all subjects in turn, so that what disturbs one disturbs all; the medians.

use actix_http::Request;
use actix_web::{rt::System, test};

use crate::{
    Table, child, clock,
    harness::{self, Kind},
    markdown,
    subjects::{self, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "time",
    print,
    measure,
};

const ROUTES: [usize; 2] = [10, 500];
const ROUNDS: usize = 61;
/// In one round of one subject.
const REQUESTS: usize = 250;

fn print() {
    let grid = ROUTES.map(|routes| Kind::ALL.map(|kind| (routes, kind)));
    let cells = grid.as_flattened().iter();
    let medians: Vec<_> = cells
        .map(|(routes, kind)| child::measure(TABLE.name, &[&routes.to_string(), kind.name()]))
        .collect();
    let rows = subjects::ALL.iter().enumerate().map(|(index, subject)| {
        let cells = medians.iter().map(|medians| {
            let (subject, none) = (medians[index], medians[0]);
            format!("{} (×{:.2})", markdown::number(subject), subject / none)
        });
        [(*subject).to_owned()].into_iter().chain(cells).collect()
    });
    markdown::print(
        &format!(
            "Nanoseconds of processor time per request, and the ratio to the application alone; {} shared cores",
            child::cores(),
        ),
        &[
            "",
            "10 routes: static",
            "param",
            "404",
            "500 routes: static",
            "param",
            "404",
        ],
        &rows.collect::<Vec<_>>(),
    );
}

fn measure(arguments: &[&str]) {
    let [routes, kind] = arguments else {
        panic!("routes, kind");
    };
    let (routes, kind) = (routes.parse().unwrap(), Kind::of(kind).unwrap());
    let runners = subjects::ALL.map(|subject| for_subject!(subject, runner(routes)));
    let rounds = (0..ROUNDS).map(|round| {
        runners.each_ref().map(|run| {
            let numbers = round * REQUESTS..(round + 1) * REQUESTS;
            run(numbers.map(|number| kind.request(routes, number)).collect())
        })
    });
    // The first round fills pools.
    let rounds: Vec<_> = rounds.skip(1).collect();
    for subject in 0..runners.len() {
        let median = markdown::median(rounds.iter().map(|round| round[subject]));
        println!("{median}");
    }
}

/// Serves requests and says how many nanoseconds each took.
type Runner = Box<dyn Fn(Vec<Request>) -> f64>;

fn runner<S: Subject>(routes: usize) -> Runner {
    let app = S::new().app(move |app| harness::configure(app, routes));
    let app = System::new().block_on(test::init_service(app));
    Box::new(move |requests| {
        let count = requests.len() as f64;
        let began = clock::thread_time();
        for request in requests {
            harness::drive(&app, request);
        }
        (clock::thread_time() - began).as_secs_f64() * 1e9 / count
    })
}
