//! Systems that have nothing left, stop in the middle, or do not know the time: requests go on, and the scrape says what
//! it cannot show. Each in a process of its own, whose surroundings a shell sets.
#![cfg(target_os = "linux")]

mod support;

use std::{
    env,
    fs::{self, File},
    process::{self, Command},
    sync::mpsc,
    thread,
    time::Duration,
};

use actix_web::{
    App, HttpResponse, HttpServer,
    http::StatusCode,
    rt::System,
    test::{self, TestRequest},
    web::{self, Bytes},
};
use futures_util::stream;
use hr_prometheus::{
    DefaultMonitor, DefaultMonitorBuilder, HrPrometheus, MetricsRegistry, OtelMonitor, metrics_scope,
    prometheus_client::metrics::info::Info,
};
use peak_alloc::PeakAlloc;

use support::{TestServer, assert_balanced, capture_log, client::Client, eventually, http, logged, serve};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Names the test that a process of its own is for.
const ALONE: &str = "HR_PROMETHEUS_ALONE";

/// Runs `code`, which is the test `name`, in a process of its own after these commands of a shell.
#[track_caller]
fn alone(name: &str, commands: &str, code: impl FnOnce()) {
    if env::var(ALONE).is_ok_and(|of| of == name) {
        return code();
    }
    let output = Command::new("sh")
        .args(["-c", &format!("{commands}\nexec \"$0\" \"$@\"")])
        .arg(env::current_exe().unwrap())
        .args(["--exact", name, "--test-threads=1", "--nocapture"])
        .env(ALONE, name)
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned());
    assert!(
        output.status.success(),
        "{}\n{}\n{}",
        output.status,
        text[0],
        text[1]
    );
    assert!(text[0].contains("1 passed"), "{}", text[0]);
}

/// An application with its metrics, measured.
fn serve_measured(registry: &MetricsRegistry, workers: usize) -> TestServer {
    let registry = registry.clone();
    serve(workers, move || {
        App::new()
            .app_data(registry.clone())
            .service(metrics_scope())
            .route("/", web::get().to(async || "hello"))
            .route("/stream", web::get().to(endless))
            .wrap(HrPrometheus::default())
    })
}

async fn endless() -> HttpResponse {
    let chunks = stream::unfold((), async |()| {
        actix_web::rt::time::sleep(Duration::from_millis(20)).await;
        Some((Ok::<_, actix_web::Error>(Bytes::from_static(b"more")), ()))
    });
    HttpResponse::Ok().streaming(chunks)
}

/// Requests `path` on a connection that stays; the body, which ends with `end`.
#[track_caller]
fn get(client: &mut Client, path: &str, end: &str) -> String {
    client.request("GET", path);
    client.read_until(end)
}

#[test]
fn without_a_descriptor_left_scrapes_and_requests_go_on() {
    alone(
        "without_a_descriptor_left_scrapes_and_requests_go_on",
        "ulimit -n 64",
        || {
            let registry = MetricsRegistry::new();
            #[cfg(feature = "process")]
            registry.register_with(hr_prometheus::process_metrics);
            let server = serve_measured(&registry, 1);
            let mut client = server.connect();
            assert!(get(&mut client, "/", "hello").starts_with("HTTP/1.1 200"));
            let mut taken: Vec<_> = (0..64).map_while(|_| File::open("/dev/null").ok()).collect();
            assert!(taken.len() > 10 && File::open("/dev/null").is_err());

            get(&mut client, "/", "hello");
            let scrape = get(&mut client, "/metrics", "# EOF\n");
            assert!(
                scrape.contains("\nrequest_count_total{method=\"GET\",path=\"/\",status=\"200\"} 2\n"),
                "{scrape}"
            );
            // What the system does not tell is not made up.
            assert!(!scrape.contains("process_open_fds"), "{scrape}");
            // One for the client, and none for the server, where it waits.
            taken.pop();
            let mut waiting = server.request("GET", "/");
            get(&mut client, "/", "hello");

            drop(taken);
            waiting.read_until("hello");
            let scrape = get(&mut client, "/metrics", "# EOF\n");
            assert!(scrape.contains("path=\"/\",status=\"200\"} 4\n"), "{scrape}");
            #[cfg(feature = "process")]
            assert!(scrape.contains("\nprocess_open_fds "), "{scrape}");
        },
    );
}

/// A thread wants so much memory for its stack that the system gives none.
#[test]
fn without_a_thread_left_the_scrape_says_so_and_requests_go_on() {
    alone(
        "without_a_thread_left_the_scrape_says_so_and_requests_go_on",
        "export RUST_MIN_STACK=1000000000000000",
        || {
            capture_log();
            assert!(thread::Builder::new().spawn(|| ()).is_err());
            let registry = MetricsRegistry::new();
            System::new().block_on(async {
                let app = App::new()
                    .app_data(registry.clone())
                    .service(metrics_scope())
                    .route("/", web::get().to(async || "hello"))
                    .wrap(HrPrometheus::default());
                let app = test::init_service(app).await;
                for _ in 0..3 {
                    let scrape = TestRequest::with_uri("/metrics").to_request();
                    let response = test::call_service(&app, scrape).await;
                    assert_eq!(response.status(), StatusCode::INTERNAL_SERVER_ERROR);
                    assert_eq!(
                        test::read_body(response).await,
                        "the metrics could not be rendered: the system cannot start a thread; raise its limits on threads or memory"
                    );
                    let request = TestRequest::with_uri("/").to_request();
                    assert_eq!(test::call_and_read_body(&app, request).await, "hello");
                }
            });
            assert_eq!(logged("the system cannot start a thread").len(), 1);
            let count = |path| registry.value("request_count_total", &[("path", path)]);
            assert_eq!((count("/"), count("/metrics")), (Some(3.0), Some(3.0)));
            assert_balanced(&registry);
        },
    );
}

#[test]
fn a_scraper_that_reads_byte_by_byte_gets_all_and_delays_nobody() {
    let registry = MetricsRegistry::new();
    let large = "x".repeat(20 * 1024 * 1024);
    registry.register_with(|registry| registry.register("large", "Help", Info::new([("a", large)])));
    let server = serve_measured(&registry, 1);
    let mut slow = server.connect();
    slow.send("GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    for _ in 0..20 {
        assert_eq!(slow.read(1), 1);
        thread::sleep(Duration::from_millis(25));
        assert_eq!(http(server.address, "GET", "/").1, "hello");
    }
    let in_progress = [("path", "/metrics")];
    assert_eq!(registry.value("requests_in_progress", &in_progress), Some(1.0));
    assert!(http(server.address, "GET", "/metrics").1.ends_with("# EOF\n"));

    let rest = slow.read_to_end();
    assert!(rest.len() > 20 * 1024 * 1024 && rest.ends_with("# EOF\n"));
    eventually("the end of the slow scrape", || {
        registry.value("requests_in_progress", &in_progress) == Some(0.0)
    });
    assert_balanced(&registry);
}

/// The clock of a process: what its system calls say, made wrong. `CLOCK_REALTIME` jumps from one look to the next, also
/// to `EARLIEST`; `CLOCK_MONOTONIC` knows whole seconds alone.
const CLOCK: &str = r"
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static unsigned looks;

int clock_gettime(clockid_t clock, struct timespec *now) {
    int failed = syscall(SYS_clock_gettime, clock, now);
    if (failed) return failed;
    if (clock == CLOCK_MONOTONIC) now->tv_nsec = 0;
    if (clock == CLOCK_REALTIME) switch (__atomic_fetch_add(&looks, 1, __ATOMIC_RELAXED) % 4) {
        case 1: now->tv_sec += 3600; break;
        case 2: now->tv_sec -= 3600; break;
        case 3: now->tv_sec = EARLIEST; break;
    }
    return 0;
}
";

/// Runs `code`, which is the test `name`, in a process of its own with that clock.
#[track_caller]
fn with_clock(name: &str, earliest: i64, code: impl FnOnce()) {
    if env::var(ALONE).is_ok() {
        return alone(name, "", code);
    }
    let source = env::temp_dir().join(format!("hr-prometheus-clock-{}-{earliest}.c", process::id()));
    let library = source.with_extension("so");
    fs::write(&source, CLOCK).unwrap();
    // It links Rust programs too.
    let compiled = Command::new("cc")
        .args(["-shared", "-fPIC", &format!("-DEARLIEST={earliest}"), "-o"])
        .args([&library, &source])
        .status();
    assert!(compiled.unwrap().success());
    fs::remove_file(source).unwrap();
    alone(name, &format!("export LD_PRELOAD={}", library.display()), code);
    fs::remove_file(library).unwrap();
}

/// Everything that looks at a clock.
fn with_every_time() -> DefaultMonitorBuilder {
    let builder = DefaultMonitor::builder()
        .queue_time([1.0, 10.0])
        .time_to_head([0.1, 1.0])
        .time_on_worker([0.1, 1.0])
        .longest_poll([0.1, 1.0])
        .oldest_in_progress()
        .exemplars_from_traceparent();
    #[cfg(feature = "protobuf")]
    let builder = builder.native_histograms();
    builder
}

fn measured_in_every_way() -> HrPrometheus<(DefaultMonitor, OtelMonitor)> {
    let monitors = (with_every_time(), OtelMonitor::builder().active_requests());
    HrPrometheus::with_builder(monitors).worker_metrics()
}

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: localhost\r\nX-Request-Start: t=1512379167.574\r\n\
    traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\n";

const FORMATS: [&str; 3] = [
    "application/openmetrics-text",
    "text/plain;version=0.0.4",
    "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited",
];

/// Asserts that there are so many requests to `/`, and no sample that is not a number or less than none.
#[track_caller]
fn assert_plausible(registry: &MetricsRegistry, requests: f64) {
    let scrape = registry.encode().unwrap();
    for sample in scrape.lines().filter(|line| !line.starts_with('#')) {
        let value = sample.split(" # ").next().unwrap().rsplit_once(' ').unwrap().1;
        let value: f64 = value.parse().unwrap();
        assert!(value.is_finite() && value >= 0.0, "{sample}");
    }
    assert_eq!(registry.value("request_count", &[("path", "/")]), Some(requests));
    assert_balanced(registry);
}

#[test]
fn clocks_that_jump_or_stand_still_make_no_scrape_invalid() {
    with_clock(
        "clocks_that_jump_or_stand_still_make_no_scrape_invalid",
        1,
        || {
            let registry = MetricsRegistry::new().strict().with_scrape_metrics();
            let in_app = registry.clone();
            let server = serve(2, move || {
                App::new()
                    .app_data(in_app.clone())
                    .service(metrics_scope())
                    .route("/", web::get().to(async || "hello"))
                    .wrap(measured_in_every_way())
            });
            for _ in 0..40 {
                let mut client = server.connect();
                client.send(REQUEST);
                client.read_until("hello");
                for format in FORMATS {
                    let mut scraper = server.connect();
                    scraper.send(format!(
                    "GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nAccept: {format}\r\n\r\n"
                ));
                    let scrape = scraper.read_to_end();
                    assert!(scrape.starts_with("HTTP/1.1 200 OK\r\n"), "{scrape}");
                }
            }
            eventually("the end of the last scrape", || {
                registry.value("requests_in_progress", &[("path", "/metrics")]) == Some(0.0)
            });
            assert_plausible(&registry, 40.0);
        },
    );
}

/// Without a server: that of actix-web ends with its first `Date`.
#[test]
fn a_clock_from_before_1970_makes_no_scrape_invalid() {
    with_clock(
        "a_clock_from_before_1970_makes_no_scrape_invalid",
        -1_000_000,
        || {
            let registry = MetricsRegistry::new().strict().with_scrape_metrics();
            System::new().block_on(async {
                let app = App::new()
                    .app_data(registry.clone())
                    .service(metrics_scope())
                    .route("/", web::get().to(async || "hello"))
                    .wrap(measured_in_every_way());
                let app = test::init_service(app).await;
                for _ in 0..40 {
                    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
                    let request = TestRequest::with_uri("/")
                        .insert_header(("traceparent", trace))
                        .insert_header(("X-Request-Start", "t=1512379167.574"));
                    test::call_and_read_body(&app, request.to_request()).await;
                    for format in FORMATS {
                        let scrape = TestRequest::with_uri("/metrics").insert_header(("Accept", format));
                        let response = test::call_service(&app, scrape.to_request()).await;
                        assert_eq!(response.status(), StatusCode::OK);
                        test::read_body(response).await;
                    }
                }
            });
            assert_plausible(&registry, 40.0);
        },
    );
}

#[test]
fn a_signal_ends_streams_and_each_is_counted_once() {
    let name = "a_signal_ends_streams_and_each_is_counted_once";
    alone(name, "", || {
        let registry = MetricsRegistry::new();
        let in_app = registry.clone();
        let (started, address) = mpsc::channel();
        let main = thread::spawn(move || {
            System::new().block_on(async {
                let server = HttpServer::new(move || {
                    App::new()
                        .app_data(in_app.clone())
                        .route("/stream", web::get().to(endless))
                        .wrap(HrPrometheus::default())
                });
                let server = server
                    .workers(2)
                    .shutdown_timeout(1)
                    .bind(("127.0.0.1", 0))
                    .unwrap();
                started.send(server.addrs()[0]).unwrap();
                server.run().await
            })
        });
        let address = address.recv().unwrap();
        let clients: Vec<_> = (0..10)
            .map(|_| thread::spawn(move || http_until_closed(address)))
            .collect();
        let of_streams = [("path", "/stream")];
        eventually("ten streams", || {
            registry.value("requests_in_progress", &of_streams) == Some(10.0)
        });
        let id = process::id().to_string();
        assert!(
            Command::new("kill")
                .args(["-s", "TERM", &id])
                .status()
                .unwrap()
                .success()
        );
        main.join().unwrap().unwrap();
        for client in clients {
            client.join().unwrap();
        }
        eventually("the end of the streams", || {
            registry.value("requests_in_progress", &of_streams) == Some(0.0)
        });
        assert_eq!(
            registry.value("request_count_total", &[("status", "200")]),
            Some(10.0)
        );
        assert_balanced(&registry);
    });
}

/// Reads a stream until the server closes the connection.
fn http_until_closed(address: std::net::SocketAddr) {
    use std::io::{Read as _, Write as _};

    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream
        .write_all(b"GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .unwrap();
    let _ = stream.read_to_end(&mut Vec::new());
}

/// How many entries a folder has.
fn entries(folder: &str) -> usize {
    fs::read_dir(folder).unwrap().count()
}

#[test]
fn a_thousand_servers_start_and_stop_in_one_process_and_leave_next_to_nothing() {
    let name = "a_thousand_servers_start_and_stop_in_one_process_and_leave_next_to_nothing";
    alone(name, "", || {
        let registry = MetricsRegistry::new();
        let start_and_stop = |times: usize| {
            for _ in 0..times {
                let server = serve_measured(&registry, 1);
                assert_eq!(http(server.address, "GET", "/").1, "hello");
                server.stop(true);
            }
            // This one, and that of the harness.
            eventually("the end of all threads", || entries("/proc/self/task") <= 2);
            (HEAP.current_usage(), entries("/proc/self/fd"))
        };
        let (heap, descriptors) = start_and_stop(200);
        let (heap_after, descriptors_after) = start_and_stop(800);
        assert_eq!(descriptors_after, descriptors);
        // actix-router leaks the names of parameters, some 500 bytes for each server; here is no parameter.
        let left = heap_after.saturating_sub(heap);
        assert!(left < 800 * 64, "{left} bytes");
        assert_eq!(
            registry.value("request_count_total", &[("path", "/")]),
            Some(1_000.0)
        );
        assert_balanced(&registry);
    });
}
