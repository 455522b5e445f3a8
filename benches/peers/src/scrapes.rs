//! What a scrape of many series costs: the text alone, without the way to the client.

use std::any::Any;

use actix_http::{Method, Request};
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

/// The subject, and how many workers have recorded each pair. The first has prometheus-client's own encoder, to which the
/// others are compared.
const CASES: [(&str, usize); 6] = [
    (Families::NAME, 1),
    (Default::NAME, 1),
    (Default::NAME, WORKERS),
    (Prom::NAME, 1),
    (Metrics::NAME, 1),
    (Prometheus::NAME, 1),
];
const WORKERS: usize = 16;
/// Beyond so many pairs less is measured, for the sake of the time that it takes.
const MANY: usize = 10_000;
const SERIES: [usize; 3] = [1_000, 10_000, 100_000];
/// How many scrapes are timed.
const TIMED: usize = 5;
const TIMED_OF_MANY: usize = 3;

/// The methods that each route is asked by.
pub const METHODS: [&str; 10] = [
    "GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH", "QUERY",
];
/// The most routes of one application, for the sake of the time that routing takes.
const ROUTES: usize = 500;

fn print() {
    let mut rows = Vec::new();
    for series in SERIES {
        let mut encoder = None;
        for (subject, workers) in CASES {
            if workers > 1 && series > MANY {
                continue;
            }
            let arguments = [subject, &series.to_string(), &workers.to_string()];
            let cost = child::measure(TABLE.name, &arguments);
            let [nanos, bytes, allocations, peak] = cost[..] else {
                panic!("four numbers");
            };
            let name = match workers {
                1 => subject.to_owned(),
                _ => format!("{subject}, {workers} workers"),
            };
            rows.push(vec![
                markdown::number(series as f64),
                name,
                markdown::number(nanos / series as f64),
                format!("×{:.2}", nanos / *encoder.get_or_insert(nanos)),
                format!("{:.1} ms", nanos / 1e6),
                format!("{:.2} MB", bytes / 1e6),
                markdown::number(allocations),
                format!("{:.2} MB", peak / 1e6),
            ]);
        }
    }
    markdown::print(
        "A scrape of (method, path) pairs",
        &[
            "pairs",
            "",
            "ns per pair",
            "to prometheus-client's encoder",
            "in all",
            "text",
            "allocations",
            "peak of memory",
        ],
        &rows,
    );
    println!(
        "Each pair has a counter, a histogram and a gauge; actix-web-prom and actix-web-prometheus have no gauge, \
         actix-web-metrics has three summaries and a gauge by method. With several workers, each of them has recorded all \
         pairs. Times: of the processor, the median of {TIMED} scrapes, of \
         100,000 pairs that of {TIMED_OF_MANY}.\n",
    );
}

fn measure(arguments: &[&str]) {
    let [subject, series, workers] = arguments else {
        panic!("subject, series, workers");
    };
    for_subject!(
        *subject,
        scrape(series.parse().unwrap(), workers.parse().unwrap())
    );
}

fn scrape<S: Subject>(series: usize, workers: usize) {
    System::new().block_on(async {
        let subject = S::new();
        let mut apps = Vec::new();
        for _ in 0..workers {
            apps.push(fill(&subject, series).await);
        }
        let timed = if series > MANY { TIMED_OF_MANY } else { TIMED };
        let times = (0..timed).map(|_| {
            let began = clock::thread_time();
            let scrape = subject.scrape();
            let time = clock::thread_time() - began;
            drop(scrape);
            time.as_secs_f64() * 1e9
        });
        let nanos = markdown::median(times);
        let (scrape, counts, peak) = counting::count(|| subject.scrape());
        println!("{nanos} {} {} {peak}", scrape.len(), counts.allocations);
    });
}

/// Records one request for each of so many pairs of a method and a path, in as many applications as that takes. They
/// are given back, because an application that stops hands over what it recorded.
pub async fn fill<S: Subject>(subject: &S, series: usize) -> Vec<Box<dyn Any>> {
    let routes = (series / METHODS.len()).min(ROUTES);
    let mut apps: Vec<Box<dyn Any>> = Vec::new();
    for number in 0..series / METHODS.len() / routes {
        let app = subject.clone().app(move |app| configure(app, number, routes));
        let app = test::init_service(app).await;
        for route in 0..routes {
            for method in METHODS {
                harness::drive(&app, request(method, number, route));
            }
        }
        apps.push(Box::new(app));
    }
    apps
}

/// The routes of one of several applications, which take any method.
pub fn configure(app: &mut ServiceConfig, number: usize, routes: usize) {
    for route in 0..routes {
        app.route(&path(number, route), web::to(async || "hello"));
    }
}

pub fn request(method: &str, app: usize, route: usize) -> Request {
    let request = test::TestRequest::with_uri(&path(app, route));
    let method = Method::from_bytes(method.as_bytes()).expect("a method");
    request.method(method).to_request()
}

fn path(app: usize, route: usize) -> String {
    format!("/app{app}/static{route}")
}
