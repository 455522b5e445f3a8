//! What a scrape of many series costs: the text alone, without the way to the client.

use std::any::Any;

use actix_http::Method;
use actix_web::{
    rt::System,
    test,
    web::{self, ServiceConfig},
};

use crate::{
    Table, child, clock, counting, harness, markdown,
    subjects::{Default, Families, Metrics, Prom, Prometheus, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "scrapes",
    print,
    measure,
};

/// The first has prometheus-client's own encoder, to which the others are compared.
const SUBJECTS: [&str; 5] = [
    Families::NAME,
    Default::NAME,
    Prom::NAME,
    Metrics::NAME,
    Prometheus::NAME,
];
const SERIES: [usize; 3] = [1_000, 10_000, 100_000];
const TIMED: usize = 5;

/// The methods that each route is asked by.
const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
];
/// The most routes of one application, for the sake of the time that routing takes.
const ROUTES: usize = 500;

fn print() {
    let mut rows = Vec::new();
    for series in SERIES {
        let costs = SUBJECTS.map(|subject| child::measure(TABLE.name, &[subject, &series.to_string()]));
        for (subject, cost) in SUBJECTS.iter().zip(&costs) {
            let [milliseconds, bytes, allocations, peak] = cost[..] else {
                panic!("four numbers");
            };
            rows.push(vec![
                markdown::number(series as f64),
                (*subject).to_owned(),
                format!("{milliseconds:.1} ms"),
                format!("×{:.2}", milliseconds / costs[0][0]),
                format!("{:.2} MB", bytes / 1e6),
                markdown::number(allocations),
                format!("{:.2} MB", peak / 1e6),
            ]);
        }
    }
    markdown::print(
        "A scrape of so many (method, path) pairs",
        &[
            "series",
            "",
            "time",
            "to prometheus-client's encoder",
            "text",
            "allocations",
            "peak of memory",
        ],
        &rows,
    );
    println!(
        "Each pair has a counter, a histogram and a gauge; actix-web-prom and actix-web-prometheus have no gauge, \
         actix-web-metrics has three summaries and a gauge by method. \
         Times: of the processor, the median of {TIMED}.\n",
    );
}

fn measure(arguments: &[&str]) {
    let [subject, series] = arguments else {
        panic!("subject, series");
    };
    for_subject!(*subject, scrape(series.parse().unwrap()));
}

fn scrape<S: Subject>(series: usize) {
    System::new().block_on(async {
        let subject = S::new();
        let _apps = fill(&subject, series).await;
        let times = (0..TIMED).map(|_| {
            let began = clock::thread_time();
            let scrape = subject.scrape();
            let time = clock::thread_time() - began;
            drop(scrape);
            time.as_secs_f64() * 1e3
        });
        let milliseconds = markdown::median(times);
        let (scrape, counts, peak) = counting::count(|| subject.scrape());
        println!("{milliseconds} {} {} {peak}", scrape.len(), counts.allocations);
    });
}

/// Records one request for each of so many pairs of a method and a path, in as many applications as that takes. They
/// are given back, because an application that stops hands over what it recorded.
pub async fn fill<S: Subject>(subject: &S, series: usize) -> Vec<Box<dyn Any>> {
    let routes = (series / METHODS.len()).min(ROUTES);
    let mut apps: Vec<Box<dyn Any>> = Vec::new();
    for number in 0..series / METHODS.len() / routes {
        let configure = move |app: &mut ServiceConfig| {
            for route in 0..routes {
                app.route(&path(number, route), web::to(async || "hello"));
            }
        };
        let app = test::init_service(subject.clone().app(configure)).await;
        for route in 0..routes {
            for method in METHODS {
                let request = test::TestRequest::with_uri(&path(number, route));
                let method = Method::from_bytes(method.as_bytes()).expect("a method");
                harness::drive(&app, request.method(method).to_request());
            }
        }
        apps.push(Box::new(app));
    }
    apps
}

fn path(app: usize, route: usize) -> String {
    format!("/app{app}/static{route}")
}
