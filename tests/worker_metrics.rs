//! How busy each worker is, as the scrape shows it.

mod support;

use std::{
    sync::mpsc,
    thread::{self, sleep},
    time::Duration,
};

use actix_web::{
    App, HttpServer,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry, prometheus_client::registry::Registry};
use tokio::runtime::Runtime;

use support::{TestServer, eventually, http, serve};

const BUSY: &str = "actix_worker_busy_seconds_total";

/// What a handler waits for, in the way that it should not.
const BLOCKED: Duration = Duration::from_millis(300);

async fn name_of_worker() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

async fn block() -> String {
    sleep(BLOCKED);
    name_of_worker().await
}

fn server(workers: usize, registry: &MetricsRegistry) -> TestServer {
    let monitor = DefaultMonitor::builder()
        .time_on_worker([0.3])
        .longest_poll([0.3]);
    let metrics = HrPrometheus::with_builder(monitor).worker_metrics();
    let metrics = metrics.register_in(registry).expect("a free registry");
    serve(workers, move || {
        App::new()
            .route("/name", web::get().to(name_of_worker))
            .route("/block", web::get().to(block))
            .wrap(metrics.clone())
    })
}

fn busy(registry: &MetricsRegistry, worker: usize) -> Option<f64> {
    registry.value(BUSY, &[("worker", &worker.to_string())])
}

fn runtime() -> Runtime {
    let runtime = tokio::runtime::Builder::new_current_thread();
    { runtime }.enable_all().build().expect("a runtime")
}

/// An application on the worker of this runtime, after one request.
async fn application(registry: &MetricsRegistry) -> impl Sized + use<> {
    let app = App::new()
        .app_data(registry.clone())
        .wrap(HrPrometheus::default().worker_metrics());
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::default().to_request()).await;
    app
}

fn parks(registry: &MetricsRegistry, worker: &str) -> Option<f64> {
    registry.value("actix_worker_parks_total", &[("worker", worker)])
}

async fn park_often() {
    for _ in 0..50 {
        actix_web::rt::time::sleep(Duration::from_millis(1)).await;
    }
}

/// The labels `worker` in the scrape.
fn workers(registry: &MetricsRegistry) -> Vec<String> {
    let scrape = registry.encode().expect("a scrape");
    let series = scrape.lines().filter_map(|line| line.strip_prefix(BUSY));
    series
        .filter_map(|labels| Some(labels.strip_prefix("{worker=\"")?.split_once('"')?.0.to_owned()))
        .collect()
}

/// Asks until both workers have answered.
fn meet_both_workers(server: &TestServer) {
    let mut names = Vec::new();
    eventually("both workers answer", || {
        let (_, name) = http(server.address, "GET", "/name");
        if !names.contains(&name) {
            names.push(name);
        }
        names.len() == 2
    });
}

#[test]
fn a_handler_that_blocks_shows_on_its_worker_and_its_route_and_on_no_other() {
    let registry = MetricsRegistry::new();
    let server = server(2, &registry);
    meet_both_workers(&server);
    let before = [0, 1].map(|worker| busy(&registry, worker).expect("a worker"));
    http(server.address, "GET", "/block");
    let blocked_by = |worker: usize| busy(&registry, worker).expect("a worker") - before[worker];
    eventually("a worker was busy", || {
        [0, 1]
            .into_iter()
            .any(|worker| blocked_by(worker) >= BLOCKED.as_secs_f64())
    });
    let blocked: Vec<_> = (0..2)
        .filter(|&worker| blocked_by(worker) >= BLOCKED.as_secs_f64())
        .collect();
    assert_eq!(blocked.len(), 1, "{}", registry.encode().expect("a scrape"));
    // And on its route, on no other.
    for family in ["request_time_on_worker_seconds", "request_longest_poll_seconds"] {
        let scrape = registry.encode().expect("a scrape");
        let sum = |path| registry.value(&format!("{family}_sum"), &[("path", path)]);
        let shorter = |path| registry.value(&format!("{family}_bucket"), &[("path", path), ("le", "0.3")]);
        assert!(sum("/block") >= Some(BLOCKED.as_secs_f64()), "{scrape}");
        assert_eq!(shorter("/block"), Some(0.0), "{scrape}");
        let asked = registry.value("request_count_total", &[("path", "/name")]);
        assert_eq!(shorter("/name"), asked, "{scrape}");
    }
}

#[test]
fn a_worker_is_busy_while_it_is_blocked() {
    let registry = MetricsRegistry::new();
    let (entered, is_blocked) = mpsc::channel();
    let (let_go, gate) = mpsc::channel::<()>();
    let gate = std::sync::Arc::new(std::sync::Mutex::new(gate));
    let metrics = HrPrometheus::default()
        .worker_metrics()
        .register_in(&registry)
        .expect("a free registry");
    let server = serve(1, move || {
        let (entered, gate) = (entered.clone(), gate.clone());
        App::new()
            .route(
                "/",
                web::get().to(move || {
                    entered.send(()).expect("the test waits");
                    let _ = gate.lock().expect("one request").recv();
                    async { "done" }
                }),
            )
            .wrap(metrics.clone())
    });
    let address = server.address;
    let client = thread::spawn(move || http(address, "GET", "/"));
    is_blocked.recv().expect("a request");
    let first = busy(&registry, 0).expect("a worker");
    eventually("its time grows", || {
        busy(&registry, 0).expect("a worker") >= first + 0.05
    });
    let last = busy(&registry, 0).expect("a worker");
    let_go.send(()).expect("a handler that waits");
    client.join().expect("a response");
    assert!(busy(&registry, 0) >= Some(last), "the counter fell");
}

#[test]
fn servers_that_start_again_go_on_with_the_numbers_and_counts_of_earlier_ones() {
    let registry = MetricsRegistry::new();
    let all = || registry.value(BUSY, &[]).unwrap_or_default();
    let mut least = 0.0;
    for _ in 0..3 {
        let server = server(2, &registry);
        meet_both_workers(&server);
        http(server.address, "GET", "/block");
        eventually("the time is counted", || all() >= least + BLOCKED.as_secs_f64());
        least = all();
        server.stop(true);
        assert!(all() >= least, "the counter fell");
        assert_eq!(workers(&registry), ["0", "1"]);
    }
    assert!(registry.value("actix_worker_parks_total", &[]) > Some(0.0));
}

#[actix_web::test]
async fn an_application_that_starts_again_on_its_worker_counts_nothing_twice() {
    let registry = MetricsRegistry::new();
    for _ in 0..200 {
        actix_web::rt::time::sleep(Duration::from_millis(1)).await;
    }
    let mut shown = Vec::new();
    for _ in 0..4 {
        let _app = application(&registry).await;
        shown.push(parks(&registry, "0").expect("a worker"));
    }
    let counted = tokio::runtime::Handle::current().metrics().worker_park_count(0);
    let counted = f64::from(u32::try_from(counted).expect("a short test"));
    assert!(
        shown.iter().all(|&parks| parks <= counted),
        "{shown:?} of {counted}"
    );
    assert!(shown.is_sorted(), "{shown:?}");
}

#[actix_web::test]
async fn a_worker_is_shown_until_its_last_application_stops() {
    let registry = MetricsRegistry::new();
    let first = application(&registry).await;
    let second = application(&registry).await;
    drop(first);
    let before = parks(&registry, "0");
    park_often().await;
    assert!(parks(&registry, "0") > before, "the other application runs");
    drop(second);
    let last = parks(&registry, "0");
    park_often().await;
    assert_eq!(parks(&registry, "0"), last);
}

#[actix_web::test]
async fn a_worker_that_waits_is_not_busy_though_a_scrape_found_it_at_work() {
    let registry = MetricsRegistry::new();
    let _app = application(&registry).await;
    let at_work = busy(&registry, 0).expect("a worker");
    actix_web::rt::time::sleep(Duration::from_secs(1)).await;
    let waited = busy(&registry, 0).expect("a worker") - at_work;
    assert!(waited < 0.5, "busy for {waited} s of the second");
}

#[test]
fn a_worker_takes_its_own_number_again_and_adds_to_that_of_another() {
    let registry = MetricsRegistry::new();
    let [first, second, third] = [runtime(), runtime(), runtime()];
    let start = |runtime: &Runtime| runtime.block_on(application(&registry));
    let stop = |runtime: &Runtime, app| {
        runtime.block_on(park_often());
        drop(app);
    };
    let (of_first, of_second) = (start(&first), start(&second));
    stop(&first, of_first);
    stop(&second, of_second);
    let shown = ["0", "1"].map(|worker| parks(&registry, worker).expect("a worker"));

    // Its own, though the lower one is free.
    let of_second = start(&second);
    stop(&second, of_second);
    assert_eq!(parks(&registry, "0"), Some(shown[0]));
    assert!(parks(&registry, "1") > Some(shown[1]));

    // That of the first, which ran longer.
    drop(start(&third));
    let counted = third.metrics().worker_park_count(0);
    let counted = f64::from(u32::try_from(counted).expect("a short test"));
    assert_eq!(parks(&registry, "0"), Some(shown[0] + counted));
}

#[test]
fn applications_of_one_worker_are_one_worker() {
    let registry = MetricsRegistry::new();
    let server = serve(1, {
        let registry = registry.clone();
        move || {
            App::new()
                .app_data(registry.clone())
                .service(
                    web::scope("/a")
                        .route("/name", web::get().to(name_of_worker))
                        .wrap(HrPrometheus::default().named("a").worker_metrics()),
                )
                .route("/name", web::get().to(name_of_worker))
                .wrap(HrPrometheus::default().worker_metrics())
        }
    });
    http(server.address, "GET", "/a/name");
    http(server.address, "GET", "/name");
    assert_eq!(workers(&registry), ["0"]);
}

#[test]
fn tasks_are_shown_where_tokio_counts_them() {
    let registry = MetricsRegistry::new();
    let system = server(1, &registry);
    http(system.address, "GET", "/name");
    assert_eq!(registry.value("actix_worker_tasks", &[]), None);
    drop(system);

    let registry = MetricsRegistry::from(Registry::with_prefix("shop"));
    runtime().block_on(async {
        let metrics = HrPrometheus::default()
            .worker_metrics()
            .register_in(&registry)
            .expect("a free registry");
        let server = HttpServer::new(move || {
            App::new()
                .route("/name", web::get().to(name_of_worker))
                .wrap(metrics.clone())
        });
        let server = server
            .workers(1)
            .disable_signals()
            .bind("127.0.0.1:0")
            .expect("a free port");
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        let client = thread::spawn(move || http(address, "GET", "/name"));
        let stop = async {
            let join = tokio::task::spawn_blocking(move || client.join().expect("a response"));
            join.await.expect("a client");
            // The server's own task is one.
            assert!(registry.value("shop_actix_worker_tasks", &[("worker", "0")]) >= Some(1.0));
            assert_eq!(
                registry.value("shop_actix_worker_queue_depth", &[("worker", "0")]),
                Some(0.0)
            );
            handle.stop(true).await;
        };
        let (server, ()) = futures_util::future::join(server, stop).await;
        server.expect("a server that ends well");
    });
}

#[test]
fn nothing_is_shown_unasked() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::default()
        .register_in(&registry)
        .expect("a free registry");
    let server = serve(1, move || App::new().wrap(metrics.clone()));
    http(server.address, "GET", "/");
    assert!(!registry.encode().expect("a scrape").contains("actix_worker"));
}
