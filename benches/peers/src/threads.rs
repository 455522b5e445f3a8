//! The record path on one series from several threads: workers of one application, all asked for one static route.

use std::{sync::Barrier, thread};

use actix_http::Request;
use actix_web::{
    body::MessageBody,
    dev::{Service, ServiceResponse},
    rt::System,
    test,
};

use crate::{
    Table, child, clock,
    harness::{self, Kind},
    markdown,
    subjects::{Default, Families, Nothing, Prom, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "threads",
    print,
    measure,
};

const SUBJECTS: [&str; 3] = [Default::NAME, Families::NAME, Prom::NAME];
const ROUTES: usize = 10;
const ROUNDS: usize = 15;
/// In one round of one thread.
const REQUESTS: usize = 5_000;

fn print() {
    let mut threads = vec![1, 2, 4, 8];
    if child::cores() >= 16 {
        threads.push(16);
    }
    let rows = SUBJECTS.map(|subject| {
        let cells = threads.iter().map(|threads| {
            let cost = child::measure(TABLE.name, &[subject, &threads.to_string()]);
            markdown::number(cost[0])
        });
        [subject.to_owned()].into_iter().chain(cells).collect()
    });
    let head: Vec<_> = threads.iter().map(|threads| threads.to_string()).collect();
    let head: Vec<_> = ["threads"]
        .into_iter()
        .chain(head.iter().map(String::as_str))
        .collect();
    markdown::print(
        "Nanoseconds of processor time to record a request, while several threads record into one series",
        &head,
        &rows,
    );
    println!(
        "Over the same threads without middleware; medians of {ROUNDS} rounds on {} shared cores. Waiting for a lock costs \
         no processor time and is not in it.\n",
        child::cores(),
    );
}

fn measure(arguments: &[&str]) {
    let [subject, threads] = arguments else {
        panic!("subject, threads");
    };
    for_subject!(*subject, race(threads.parse().unwrap()));
}

fn race<S: Subject>(threads: usize) {
    let subject = S::new();
    let start = Barrier::new(threads);
    let work = || {
        let subject = subject.clone();
        System::new().block_on(async {
            let configure = |app: &mut _| harness::configure(app, ROUTES);
            let none = test::init_service(Nothing.app(configure)).await;
            let app = test::init_service(subject.app(configure)).await;
            let rounds = (0..ROUNDS).map(|_| {
                let none = round(&none, &start);
                round(&app, &start) - none
            });
            rounds.collect::<Vec<_>>()
        })
    };
    let costs: Vec<_> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let costs = workers.into_iter().map(|worker| worker.join().unwrap());
        costs.collect()
    });
    println!("{}", markdown::median(costs.concat()));
}

/// Nanoseconds per request, in this thread, while the others do the same.
fn round<S, B>(app: &S, start: &Barrier) -> f64
where
    S: Service<Request, Response = ServiceResponse<B>, Error = actix_web::Error>,
    B: MessageBody,
{
    let requests: Vec<_> = (0..REQUESTS)
        .map(|number| Kind::Static.request(ROUTES, number))
        .collect();
    start.wait();
    let began = clock::thread_time();
    for request in requests {
        harness::drive(app, request);
    }
    (clock::thread_time() - began).as_secs_f64() * 1e9 / REQUESTS as f64
}
