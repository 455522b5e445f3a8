//! How long another request waits while the only worker of a server answers a scrape.

use std::{
    future,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::Poll,
    thread,
    time::{Duration, Instant},
};

use actix_web::{HttpServer, http::KeepAlive, rt, web};

use crate::{
    Table, child, clock, markdown,
    scrapes::fill,
    subjects::{Default, Families, Metrics, Prom, Prometheus, Subject, for_subject},
};

pub const TABLE: Table = Table {
    name: "waits",
    print,
    measure,
};

/// The subject, how many pairs are scraped, and how many requests hang in handlers meanwhile.
const CASES: [(&str, usize, usize); 7] = [
    (Default::NAME, SERIES, 0),
    (Default::NAME, SERIES, IN_FLIGHT),
    (Default::NAME, MANY_SERIES, 0),
    (Families::NAME, SERIES, 0),
    (Prom::NAME, SERIES, 0),
    (Metrics::NAME, SERIES, 0),
    (Prometheus::NAME, SERIES, 0),
];
const IN_FLIGHT: usize = 1_000;
const SERIES: usize = 10_000;
const MANY_SERIES: usize = 100_000;
/// Routes with a parameter, over which the requests that hang are spread.
const ROUTES: usize = 500;
const SCRAPES: usize = 5;
/// Between two scrapes, and between two probes.
const PAUSE: Duration = Duration::from_millis(200);
const PROBE_PAUSE: Duration = Duration::from_millis(1);
/// After which a client gives up.
const LIMIT: Duration = Duration::from_secs(30);

fn print() {
    let rows = CASES.map(|(subject, series, in_flight)| {
        let numbers = [series, in_flight].map(|number| number.to_string());
        let numbers = child::measure(TABLE.name, &[subject, &numbers[0], &numbers[1]]);
        let [turn, longest, longest_of_most, median, idle, scrape, bytes] = numbers[..] else {
            panic!("seven numbers");
        };
        let name = match (series, in_flight) {
            (SERIES, 0) => subject.to_owned(),
            (SERIES, _) => format!("{subject}, {} in flight", markdown::number(in_flight as f64)),
            _ => format!("{subject}, {} pairs", markdown::number(series as f64)),
        };
        let mut row = vec![name];
        let times = [turn, longest, longest_of_most, median, idle, scrape];
        row.extend(times.map(|milliseconds| format!("{milliseconds:.2} ms")));
        row.push(format!("{:.1} MB", bytes / 1e6));
        row
    });
    markdown::print(
        "What other requests on the same worker wait for while 10,000 (method, path) pairs are scraped",
        &[
            "",
            "longest turn of the worker, processor time",
            "longest wait",
            "longest wait, median scrape",
            "median wait",
            "longest wait between scrapes",
            "duration of a scrape",
            "its body",
        ],
        &rows,
    );
    println!(
        "One worker, {SCRAPES} scrapes, a probe every millisecond; server, scraper and probe share {} cores, so the times \
         of a probe have the scheduler's in them. Without probes, {SCRAPES} more scrapes: the longest turn is the processor \
         time of the worker between two turns of a task that is always ready, the median of the longest of each scrape. The \
         requests in flight hang in {ROUTES} routes with a parameter.\n",
        child::cores(),
    );
}

fn measure(arguments: &[&str]) {
    let [subject, series, in_flight] = arguments else {
        panic!("subject, series, requests in flight");
    };
    for_subject!(
        *subject,
        serve(series.parse().unwrap(), in_flight.parse().unwrap())
    );
}

fn serve<S: Subject>(series: usize, in_flight: usize) {
    rt::System::new().block_on(async {
        let subject = S::new();
        let _apps = fill(&subject, series).await;
        let server = HttpServer::new(move || {
            let metrics = subject.clone();
            subject.clone().app(move |app| {
                app.route("/probe", web::get().to(async || "well"))
                    .route("/turns", web::get().to(watch_turns));
                metrics.add_metrics(app);
                for route in 0..ROUTES {
                    app.route(&format!("/hang{route}/{{id}}"), web::get().to(hang));
                }
            })
        });
        let server = server
            .workers(1)
            // Some scrapes block the worker for longer than a connection is kept by default.
            .keep_alive(KeepAlive::Os)
            .disable_signals()
            .bind(("127.0.0.1", 0))
            .unwrap();
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        let served = rt::spawn(server);
        let numbers = web::block(move || ask(address, in_flight))
            .await
            .unwrap()
            .unwrap();
        println!("{}", numbers.map(|number| number.to_string()).join(" "));
        handle.stop(false).await;
        served.await.unwrap().unwrap();
    });
}

/// How many requests hang.
static HANGING: AtomicUsize = AtomicUsize::new(0);

async fn hang() -> &'static str {
    HANGING.fetch_add(1, Relaxed);
    std::future::pending().await
}

/// The longest turn of the worker since it was set to zero, in nanoseconds of processor time.
static LONGEST_TURN: AtomicU64 = AtomicU64::new(0);

/// Begins a task that is always ready, and notes what the worker does between two of its turns.
async fn watch_turns() -> &'static str {
    let mut before = clock::thread_time();
    rt::spawn(future::poll_fn::<(), _>(move |context| {
        let now = clock::thread_time();
        let turn = (now - before).as_nanos();
        LONGEST_TURN.fetch_max(turn.try_into().unwrap_or(u64::MAX), Relaxed);
        before = now;
        context.waker().wake_by_ref();
        Poll::Pending
    }));
    "well"
}

/// Milliseconds: the longest turn, the median of the scrapes; the longest wait during a scrape, the median over the scrapes of the longest, the median wait, the
/// longest one between scrapes, the median duration of a scrape. And the bytes of a scrape.
fn ask(address: SocketAddr, in_flight: usize) -> io::Result<[f64; 7]> {
    let mut hanging = Vec::new();
    for number in 0..in_flight {
        let mut client = Client::new(address)?;
        client.send(&format!("/hang{}/{number}", number % ROUTES))?;
        hanging.push(client);
    }
    let began = Instant::now();
    while HANGING.load(Relaxed) < in_flight {
        assert!(began.elapsed() < LIMIT, "the requests do not arrive");
        thread::sleep(PROBE_PAUSE);
    }

    let over = AtomicBool::new(false);
    let probes = Mutex::new(Vec::new());
    let mut scrapes = Vec::new();
    let mut bytes = 0;
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::new(address).unwrap();
            while !over.load(Relaxed) {
                let began = Instant::now();
                client.get("/probe").unwrap();
                probes.lock().unwrap().push((began, Instant::now()));
                thread::sleep(PROBE_PAUSE);
            }
        });
        let mut client = Client::new(address)?;
        for _ in 0..SCRAPES {
            thread::sleep(PAUSE);
            let began = Instant::now();
            bytes = client.get("/metrics")?;
            scrapes.push((began, Instant::now()));
        }
        thread::sleep(PAUSE);
        over.store(true, Relaxed);
        io::Result::Ok(())
    })?;

    let mut client = Client::new(address)?;
    client.get("/turns")?;
    let mut turns = Vec::new();
    for _ in 0..SCRAPES {
        thread::sleep(PAUSE);
        LONGEST_TURN.store(0, Relaxed);
        client.get("/metrics")?;
        // What is left of the body is dropped after that.
        thread::sleep(PAUSE);
        turns.push(LONGEST_TURN.load(Relaxed));
    }

    let probes = probes.into_inner().unwrap();
    let wait = |(began, ended): &(Instant, Instant)| (*ended - *began).as_secs_f64() * 1e3;
    let overlap = |a: &(Instant, Instant), b: &(Instant, Instant)| a.0 < b.1 && b.0 < a.1;
    let longest = |waits: &[f64]| waits.iter().copied().fold(0.0, f64::max);
    let during = scrapes.iter().map(|scrape| {
        let probes = probes.iter().filter(|probe| overlap(probe, scrape));
        probes.map(wait).collect::<Vec<_>>()
    });
    let during: Vec<_> = during.collect();
    let between = probes
        .iter()
        .filter(|probe| !scrapes.iter().any(|scrape| overlap(probe, scrape)));
    let between: Vec<_> = between.map(wait).collect();
    let longest_of_each: Vec<_> = during.iter().map(|waits| longest(waits)).collect();
    Ok([
        markdown::median(turns) as f64 / 1e6,
        longest(&longest_of_each),
        markdown::median(longest_of_each),
        markdown::median(during.concat()),
        longest(&between),
        markdown::median(scrapes.iter().map(wait)),
        bytes as f64,
    ])
}

/// A client that keeps its connection.
struct Client {
    connection: TcpStream,
    received: Vec<u8>,
}

impl Client {
    fn new(address: SocketAddr) -> io::Result<Self> {
        let connection = TcpStream::connect(address)?;
        connection.set_nodelay(true)?;
        connection.set_read_timeout(Some(LIMIT))?;
        Ok(Self {
            connection,
            received: vec![0; 256 * 1024],
        })
    }

    fn send(&mut self, path: &str) -> io::Result<()> {
        write!(self.connection, "GET {path} HTTP/1.1\r\nhost: localhost\r\n\r\n")
    }

    /// Asks and reads the answer; says how long its body is.
    fn get(&mut self, path: &str) -> io::Result<usize> {
        self.send(path)?;
        let mut received = 0;
        let (head, length) = loop {
            match self.connection.read(&mut self.received[received..])? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => received += more,
            }
            let text = String::from_utf8_lossy(&self.received[..received]);
            if let Some((head, _)) = text.split_once("\r\n\r\n") {
                assert!(head.starts_with("HTTP/1.1 200"), "{head}");
                let length = head.lines().find_map(|line| {
                    let (name, value) = line.split_once(": ")?;
                    name.eq_ignore_ascii_case("content-length")
                        .then(|| value.parse().expect("a length"))
                });
                break (head.len() + 4, length.expect("a body of a known size"));
            }
        };
        while received < head + length {
            match self.connection.read(&mut self.received)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                more => received += more,
            }
        }
        Ok(length)
    }
}
