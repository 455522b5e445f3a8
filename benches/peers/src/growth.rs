//! What 100,000 requests leave behind, when clients choose what they send.

use actix_http::{Method, Request, header};
use actix_web::{rt::System, test};

use crate::{
    Table, child, counting, harness, markdown,
    subjects::{self, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "growth",
    print,
    measure,
};

const HOSTILE: [&str; 3] = ["methods", "paths", "hosts"];
const ROUTES: usize = 10;
/// The first of them fill pools and begin the series that all of them may share.
const WARM_UP: usize = 1_000;
const REQUESTS: usize = 100_000;

fn print() {
    let cells: Vec<_> = subjects::ALL
        .iter()
        .flat_map(|subject| HOSTILE.map(|hostile| (*subject, hostile)))
        .collect();
    let growths = child::on_all_cores(&cells, |(subject, hostile)| {
        child::measure(TABLE.name, &[subject, hostile])
    });
    let rows = subjects::ALL.iter().zip(growths.chunks(HOSTILE.len()));
    let rows: Vec<_> = rows
        .map(|(subject, growths)| {
            let cells = growths.iter().map(|growth| {
                let (bytes, lines) = (growth[0], growth[1]);
                format!("{:.1} MB, {}", (bytes / 1e6).max(0.0), markdown::number(lines))
            });
            [(*subject).to_owned()].into_iter().chain(cells).collect()
        })
        .collect();
    markdown::print(
        "Memory and lines of the scrape after 100,000 hostile requests",
        &["", "invented methods", "invented paths", "invented Host headers"],
        &rows,
    );
}

fn hostile_request(hostile: &str, number: usize) -> Request {
    let known = test::TestRequest::with_uri("/static0");
    let request = match hostile {
        "methods" => known.method(Method::from_bytes(format!("M{number}").as_bytes()).unwrap()),
        "paths" => test::TestRequest::with_uri(&format!("/nowhere/{number}")),
        "hosts" => known.insert_header((header::HOST, format!("host{number}.example"))),
        hostile => panic!("{hostile} is not hostile"),
    };
    request.to_request()
}

fn measure(arguments: &[&str]) {
    let [subject, hostile] = arguments else {
        panic!("subject, what is invented");
    };
    for_subject!(*subject, serve(hostile));
}

fn serve<S: Subject>(hostile: &str) {
    counting::begin();
    System::new().block_on(async {
        let subject = S::new();
        let app = subject.clone().app(|app| harness::configure(app, ROUTES));
        let app = test::init_service(app).await;
        let serve = |numbers: std::ops::Range<usize>| {
            for number in numbers {
                harness::drive(&app, hostile_request(hostile, number));
            }
            // A scrape may tidy up, so there is one before each look.
            let scrape = subject.scrape();
            let samples = scrape
                .lines()
                .filter(|line| !line.is_empty() && !line.starts_with('#'));
            let samples = samples.count() as i64;
            drop(scrape);
            (counting::counts().live, samples)
        };
        let before = serve(0..WARM_UP);
        let after = serve(WARM_UP..WARM_UP + REQUESTS);
        println!("{} {}", after.0 - before.0, after.1 - before.1);
    });
}
