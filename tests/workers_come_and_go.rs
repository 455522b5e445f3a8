//! Workers that start, serve and stop at any moment lose no count, and leave nothing behind.

mod support;

use std::{
    collections::BTreeMap,
    future::pending,
    panic::{AssertUnwindSafe, resume_unwind},
    sync::{Mutex, PoisonError},
    thread,
};

use actix_http::Request;
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::Method,
    rt::System,
    test::{self, TestRequest},
    web::{self, ServiceConfig},
};
use allocation_counter::measure;
use futures_util::{FutureExt as _, future::LocalBoxFuture};
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};

use support::assert_balanced;

/// Held by each test: what matches the routes is shared by the whole process, and so is the memory that it works with.
static ALONE: Mutex<()> = Mutex::new(());

/// Threads that start and stop workers.
const THREADS: u64 = 8;

/// What each of them does: starts a worker, sends a request to one, or stops one.
const STEPS: usize = 6000;

/// Counts by the labels of a series, as the scrape has them.
type Counts = BTreeMap<String, u64>;

/// Numbers that look random and are the same in each run: xorshift.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % limit as u64).unwrap()
    }
}

fn configure(app: &mut ServiceConfig) {
    app.service(metrics_scope())
        .route("/", web::get().to(async || "hello"))
        .service(
            web::resource("/users/{id}")
                .route(web::get().to(async || "hello"))
                .route(web::post().to(HttpResponse::Created)),
        )
        .service(web::scope("/api").route("/pairs/{left}/{right}", web::get().to(async || "hello")))
        // Unwinds as a panic does, but says nothing.
        .route(
            "/panic",
            web::get().to(async || -> &str { resume_unwind(Box::new("wanted")) }),
        )
        .route("/hang/{id}", web::get().to(pending::<&str>));
}

/// Starts an application in this thread: what a server does for a worker.
async fn start(
    registry: MetricsRegistry,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new().app_data(registry).configure(configure);
    test::init_service(app.wrap(HrPrometheus::default())).await
}

/// Method, beginning of the path, and the method, path and status that it is counted under.
const REQUESTS: [(&str, &str, [&str; 3]); 9] = [
    ("GET", "/?", ["GET", "/", "200"]),
    ("GET", "/users/", ["GET", "/users/{id}", "200"]),
    ("POST", "/users/", ["POST", "/users/{id}", "201"]),
    ("BREW", "/users/", ["_OTHER", "/users/{id}", "405"]),
    (
        "GET",
        "/api/pairs/a/",
        ["GET", "/api/pairs/{left}/{right}", "200"],
    ),
    ("GET", "/nowhere/", ["GET", "unmatched", "404"]),
    ("BREW", "/nowhere/", ["_OTHER", "unmatched", "404"]),
    ("GET", "/panic?", ["GET", "/panic", "500"]),
    // Until it is dropped.
    ("GET", "/hang/", ["GET", "/hang/{id}", "499"]),
];

fn labels([method, path, status]: [&str; 3]) -> String {
    format!(r#"{{method="{method}",path="{path}",status="{status}"}}"#)
}

/// Starts workers, sends them requests and stops them at random; what that must have counted.
async fn work(registry: MetricsRegistry, seed: u64) -> Counts {
    let mut random = Random(seed);
    let mut counts = Counts::new();
    let mut apps = Vec::new();
    // Requests that hang may outlive their application.
    let mut hanging = Vec::<LocalBoxFuture<_>>::new();

    for _ in 0..STEPS {
        let one_of_all = random.below(apps.len().max(1));
        match random.below(100) {
            _ if apps.is_empty() => apps.push(start(registry.clone()).await),
            0..5 if apps.len() < 3 => apps.push(start(registry.clone()).await),
            5..10 => drop(apps.swap_remove(one_of_all)),
            10..20 if !hanging.is_empty() => drop(hanging.swap_remove(random.below(hanging.len()))),
            20 => {
                let request = TestRequest::get().uri("/metrics").to_request();
                assert_agrees(&String::from_utf8_lossy(
                    &test::call_and_read_body(&apps[one_of_all], request).await,
                ));
                *counts.entry(labels(["GET", "/metrics", "200"])).or_default() += 1;
            }
            _ => {
                let (method, path, mut labelled) = REQUESTS[random.below(REQUESTS.len())];
                let request = TestRequest::with_uri(&format!("{path}{}", random.below(1000)))
                    .method(Method::from_bytes(method.as_bytes()).unwrap());
                let response = apps[one_of_all].call(request.to_request());
                let mut response = AssertUnwindSafe(response).catch_unwind().boxed_local();
                if random.below(10) == 0 {
                    // Dropped before it was routed.
                    labelled[2] = "499";
                } else if let Some(ended) = (&mut response).now_or_never() {
                    // A panic is in the outer result. The body of a response is dropped unread.
                    let status = ended.map_or(500, |response| response.unwrap().status().as_u16());
                    assert_eq!(status.to_string(), labelled[2], "{method} {path}");
                } else {
                    hanging.push(response);
                }
                *counts.entry(labels(labelled)).or_default() += 1;
            }
        }
    }
    counts
}

/// The samples called `name`, by their labels.
fn samples(scrape: &str, name: &str) -> Counts {
    let samples = scrape
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    samples
        .filter(|(labels, _)| labels.starts_with('{'))
        .map(|(labels, value)| (labels.to_owned(), value.parse().unwrap()))
        .collect()
}

/// Asserts that the counter and the histogram of a scrape have the same requests.
#[track_caller]
fn assert_agrees(scrape: &str) {
    let mut counted = Counts::new();
    for (labels, count) in samples(scrape, "request_count_total") {
        let (method_and_path, _) = labels.split_once(",status=").unwrap();
        *counted.entry(format!("{method_and_path}}}")).or_default() += count;
    }
    assert_eq!(counted, samples(scrape, "request_latency_count"), "{scrape}");
}

#[test]
fn no_count_is_lost_while_workers_start_serve_and_stop_at_random() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let registry = MetricsRegistry::new();
    let threads: Vec<_> = (1..=THREADS)
        .map(|seed| {
            let registry = registry.clone();
            let seed = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15);
            thread::spawn(move || System::new().block_on(work(registry, seed)))
        })
        .collect();

    let mut seen = BTreeMap::new();
    while !threads.iter().all(thread::JoinHandle::is_finished) {
        let scrape = registry.encode().unwrap();
        assert_agrees(&scrape);
        for name in ["request_count_total", "request_latency_bucket"] {
            let now = samples(&scrape, name);
            for (labels, before) in seen.insert(name, now.clone()).unwrap_or_default() {
                assert!(
                    now.get(&labels) >= Some(&before),
                    "{name}{labels}: {before} before\n{scrape}"
                );
            }
        }
    }

    let mut expected = Counts::new();
    for thread in threads {
        for (labels, count) in thread.join().unwrap() {
            *expected.entry(labels).or_default() += count;
        }
    }
    let scrape = registry.encode().unwrap();
    assert_eq!(samples(&scrape, "request_count_total"), expected);
    assert_agrees(&scrape);
    assert_balanced(&registry);
}

/// Starts and stops a thousand workers one after the other; the bytes that the last 800 of them leave behind.
fn left_by_a_thousand<S, B>(start: impl AsyncFn() -> S) -> i64
where
    S: Service<Request, Response = ServiceResponse<B>, Error = Error>,
    B: MessageBody,
{
    let start_and_stop = async |count: usize| {
        for _ in 0..count {
            let app = start().await;
            let mut hanging = Box::pin(app.call(TestRequest::with_uri("/hang/7").to_request()));
            assert!((&mut hanging).now_or_never().is_none());
            let request = TestRequest::with_uri("/").to_request();
            assert_eq!(test::call_and_read_body(&app, request).await, "hello");
            drop(app);
            drop(hanging);
        }
    };
    let system = System::new();
    system.block_on(start_and_stop(200));
    measure(|| system.block_on(start_and_stop(800))).bytes_current
}

#[test]
fn a_thousand_workers_lose_no_count_and_leave_nothing_behind() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let registry = MetricsRegistry::new();
    let left = left_by_a_thousand(async || start(registry.clone()).await);

    // actix-router leaks the names of the parameters of each application's routes, and says so.
    let left_by_actix =
        left_by_a_thousand(async || test::init_service(App::new().configure(configure)).await);
    assert_eq!(left, left_by_actix);

    let scrape = registry.encode().unwrap();
    let expected = [
        (labels(["GET", "/", "200"]), 1000),
        (labels(["GET", "/hang/{id}", "499"]), 1000),
    ];
    assert_eq!(samples(&scrape, "request_count_total"), expected.into());
    assert_agrees(&scrape);
    assert_balanced(&registry);
}
