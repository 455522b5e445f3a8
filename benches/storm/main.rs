//! A storm: clients that end their requests in every way there is, scrapers in every format, and servers that come and
//! go, all at once; and then the question whether the numbers are right.
//!
//! ```sh
//! cargo bench --all-features --bench storm -- --seed 7 --seconds 600
//! ```
//!
//! It works in rounds. After each, nothing may run any more: the gauges are 0, the counter is the histogram, each
//! request is counted once under a status that its client can prove, each worker answers, and from the second round on
//! memory and descriptors stay as they are. It ends with 1 if anything is wrong. A seed draws the same plan again; how
//! far it gets is a matter of time. `--subject naive` shows that it bites: there the requests are measured by a
//! middleware that uses families before and after.
#![expect(unreachable_pub, reason = "a program has no users")]
#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    clippy::cast_sign_loss,
    clippy::float_cmp,
    reason = "the samples that it compares are counts, whole and far below 2^53"
)]

mod application;
mod checks;
mod connection;
mod dice;
mod ending;
mod exposition;
mod http1;
mod http2;
mod plan;
mod scrapers;
mod server;
mod subject;
mod table;
mod tally;
mod witnesses;

use std::{
    env, process,
    sync::atomic::Ordering::Relaxed,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use hr_prometheus::MetricsRegistry;

use crate::{
    dice::Dice, ending::Protocol, plan::Plan, scrapers::Scraper, server::Server, subject::Subject,
    table::Round, tally::Ground,
};

const WORKERS: usize = 3;
const HTTP1_CLIENTS: usize = 8;
const HTTP2_CLIENTS: usize = 3;

/// By how much memory may vary from the second round on: by 1 MiB it does. In ten minutes it shows 3 bytes a request.
const MOST_GROWTH: usize = 2 * 1_024 * 1_024;
/// What a series that is new then may take.
const MOST_OF_A_SERIES: usize = 512;
/// What a server that is gone may leave: actix-router 0.5 leaks the names of path parameters for each worker.
const MOST_OF_A_SERVER: usize = 1_024;
const MOST_MORE_DESCRIPTORS: usize = 8;
/// How many lines the crate may log: it logs the first of what goes wrong again and again.
const MOST_LINES: usize = 20;

/// Among how many requests actix-http may close one pipeline.
const A_CLOSED_PIPELINE: u64 = 20_000;

struct Options {
    seed: u64,
    seconds: u64,
    is_naive: bool,
}

impl Options {
    fn read() -> Self {
        let mut options = Self {
            seed: 1,
            seconds: 10,
            is_naive: false,
        };
        // Cargo adds `--bench`.
        let mut arguments = env::args().skip(1).filter(|argument| argument != "--bench");
        while let Some(option) = arguments.next() {
            let value = arguments.next().unwrap_or_default();
            let number = || value.parse().ok();
            let known = match option.as_str() {
                "--seed" => number().map(|seed| options.seed = seed),
                "--seconds" => number().map(|seconds| options.seconds = seconds),
                "--subject" => ["crate", "naive"]
                    .contains(&&*value)
                    .then(|| options.is_naive = value == "naive"),
                _ => None,
            };
            if known.is_none() {
                eprintln!(
                    "not understood: {option} {value}\nusage: [--seed N] [--seconds N] [--subject crate|naive]"
                );
                process::exit(2);
            }
        }
        options
    }
}

fn main() {
    let options = Options::read();
    witnesses::begin();
    let registry = MetricsRegistry::new().with_scrape_metrics();
    let subject = if options.is_naive {
        Subject::naive(&registry)
    } else {
        Subject::of_crate(&registry).expect("options that are right")
    };
    let steady = Server::start(WORKERS, &registry, &subject);
    let admin = Server::start_admin(&registry);
    println!("Metrics at http://{}/metrics", admin.address);
    println!(
        "Seed {}, plan {:016x}, {} s\n",
        options.seed,
        Plan::fingerprint(options.seed),
        options.seconds
    );

    let mut storm = Storm {
        ground: Ground::new(steady.address),
        scrapers: scrapers::all(options.seed),
        registry,
        subject,
        options,
        rounds: Vec::new(),
    };
    let is_well = storm.rage();
    steady.stop(true);
    admin.stop(true);
    process::exit(i32::from(!is_well));
}

struct Storm {
    ground: Ground,
    scrapers: Vec<Scraper>,
    registry: MetricsRegistry,
    subject: Subject,
    options: Options,
    rounds: Vec<Round>,
}

impl Storm {
    fn rage(&mut self) -> bool {
        let seconds = self.options.seconds;
        let length = Duration::from_secs((seconds / 6).clamp(1, 10));
        let begun = Instant::now();
        let workers = checks::meet_workers(&self.ground, self.ground.steady, WORKERS);
        table::head_of_rounds();
        loop {
            let servers = self.round(length);
            let met = checks::meet_workers(&self.ground, self.ground.steady, WORKERS);
            if met != workers {
                self.ground
                    .tally
                    .problem(format!("the workers {workers:?} have become {met:?}"));
            }
            self.judge(servers);
            if begun.elapsed().as_secs() >= seconds {
                break;
            }
        }
        let scrape = checks::look(&self.registry).unwrap_or_default();
        table::endings(&scrape, &self.ground.tally.bounds());
        table::scrapes(&self.scrapers);
        let closed = self.ground.tally.closed_pipelines();
        println!("\n{closed} connections closed with requests in their pipeline");
        if closed > 1 + self.ground.tally.requests() / A_CLOSED_PIPELINE {
            self.ground
                .tally
                .problem("too many of the pipelines were closed".into());
        }
        for panic in witnesses::panics() {
            self.ground.tally.problem(panic);
        }
        let lines = witnesses::lines();
        println!("\n{} lines logged", lines.len());
        for line in lines.iter().take(MOST_LINES) {
            println!("- {line}");
        }
        if lines.len() > MOST_LINES {
            self.ground
                .tally
                .problem(format!("more than {MOST_LINES} lines were logged"));
        }
        let problems = self.ground.tally.problems();
        println!("\n{} problems", problems.len());
        for (problem, number) in problems.iter().take(40) {
            println!("- {problem} ({number}×)");
        }
        problems.is_empty()
    }

    /// Lets it rage for a while; how many servers came and went.
    fn round(&mut self, length: Duration) -> u64 {
        let (ground, registry, subject) = (&self.ground, &self.registry, &self.subject);
        let (seed, round) = (self.options.seed, self.rounds.len() as u64);
        ground.is_over.store(false, Relaxed);
        thread::scope(|scope| {
            for client in 0..HTTP1_CLIENTS {
                let mut plan = Plan::new(seed, round, Protocol::Http1, client, HTTP1_CLIENTS);
                scope.spawn(move || http1::run(ground, &mut plan));
            }
            for client in 0..HTTP2_CLIENTS {
                let mut plan = Plan::new(seed, round, Protocol::Http2, client, HTTP2_CLIENTS);
                scope.spawn(move || http2::run(ground, &mut plan));
            }
            for scraper in &mut self.scrapers {
                scope.spawn(move || scraper.run(ground));
            }
            let passing = scope.spawn(move || come_and_go(ground, registry, subject, Dice(seed ^ round)));
            sleep(length);
            ground.is_over.store(true, Relaxed);
            passing.join().expect("a thread that does not panic")
        })
    }

    fn judge(&mut self, servers: u64) {
        let tally = &self.ground.tally;
        let is_naive = self.options.is_naive;
        let series = match checks::settle(&self.registry, is_naive) {
            Ok(scrape) => {
                for problem in checks::compare(&scrape, &tally.bounds(), is_naive) {
                    tally.problem(problem);
                }
                scrape.number_of_series()
            }
            Err(error) => {
                tally.problem(format!("no scrape after a round: {error}"));
                0
            }
        };
        let (heap, descriptors) = witnesses::measure();
        let round = Round {
            requests: tally.requests(),
            scrapes: self.scrapers.iter().map(|scraper| scraper.scrapes).sum(),
            servers,
            series,
            heap,
            descriptors,
        };
        if let Some(second) = self.rounds.get(1) {
            let further = series.saturating_sub(second.series);
            let servers: u64 = self.rounds.iter().skip(2).map(|round| round.servers).sum();
            let servers = usize::try_from(servers + round.servers).unwrap_or(usize::MAX);
            let most = second.heap + MOST_GROWTH + further * MOST_OF_A_SERIES + servers * MOST_OF_A_SERVER;
            if heap > most {
                tally.problem(format!(
                    "the heap has grown, with {further} series, by more than they may take"
                ));
            }
            if descriptors
                > second
                    .descriptors
                    .map(|descriptors| descriptors + MOST_MORE_DESCRIPTORS)
            {
                tally.problem("descriptors are left over".into());
            }
        }
        table::round(self.rounds.len() + 1, &round);
        self.rounds.push(round);
    }
}

/// Starts a server on the same registry, stops it soon, and so on.
fn come_and_go(ground: &Ground, registry: &MetricsRegistry, subject: &Subject, mut dice: Dice) -> u64 {
    let mut servers = 0;
    while !ground.is_over() {
        let workers = dice.index(3) + 1;
        let server = Server::start(workers, registry, subject);
        *ground.passing.lock().expect("no panic") = Some(server.address);
        sleep(Duration::from_millis(dice.between(50, 600)));
        *ground.passing.lock().expect("no panic") = None;
        server.stop(dice.one_in(2));
        servers += 1;
    }
    servers
}
