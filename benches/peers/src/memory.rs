//! How much memory a series takes, for each worker that records it.

use actix_web::{rt::System, test};

use crate::{
    Table, child, counting, harness, markdown,
    scrapes::{METHODS, configure, request},
    subjects::{Default, Families, Metrics, Prom, Prometheus, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "memory",
    print,
    measure,
};

const SUBJECTS: [&str; 5] = [
    Default::NAME,
    Families::NAME,
    Prom::NAME,
    Metrics::NAME,
    Prometheus::NAME,
];
const ROUTES: usize = 500;
/// Beside the first.
const FURTHER_WORKERS: usize = 3;

fn print() {
    let rows = child::on_all_cores(&SUBJECTS, |subject| {
        let bytes = child::measure(TABLE.name, &[subject]);
        let cells = bytes
            .iter()
            .map(|bytes| format!("{} B", markdown::number(*bytes)));
        [(*subject).to_owned()].into_iter().chain(cells).collect()
    });
    markdown::print(
        "Memory of a (method, path) pair, by worker",
        &[
            "",
            "first worker: a new route",
            "a further method",
            "each further worker: a new route",
            "a further method",
        ],
        &rows,
    );
    println!(
        "Live memory after a scrape, the average of {ROUTES} routes, each asked by {} methods, and of {FURTHER_WORKERS} \
         further workers. Where workers share their series, a further worker adds none.\n",
        METHODS.len()
    );
}

fn measure(arguments: &[&str]) {
    let [subject] = arguments else {
        panic!("subject");
    };
    for_subject!(*subject, record());
}

fn record<S: Subject>() {
    counting::begin();
    System::new().block_on(async {
        let subject = S::new();
        let live = || {
            // A scrape may tidy up.
            drop(subject.scrape());
            counting::counts().live as f64
        };
        let mut apps = Vec::new();
        let mut costs = Vec::new();
        for _ in 0..1 + FURTHER_WORKERS {
            let app = test::init_service(subject.clone().app(|app| configure(app, 0, ROUTES))).await;
            // Fills pools.
            harness::drive(&app, test::TestRequest::with_uri("/nowhere").to_request());
            let serve = |methods: &[&str]| {
                let before = live();
                for route in 0..ROUTES {
                    for method in methods {
                        harness::drive(&app, request(method, 0, route));
                    }
                }
                (live() - before) / (ROUTES * methods.len()) as f64
            };
            costs.push([serve(&METHODS[..1]), serve(&METHODS[1..])]);
            apps.push(app);
        }
        let further = &costs[1..];
        let average =
            |index: usize| further.iter().map(|cost| cost[index]).sum::<f64>() / further.len() as f64;
        let [[route, method], ..] = costs[..] else {
            panic!("there is a first worker");
        };
        println!("{route} {method} {} {}", average(0), average(1));
    });
}
