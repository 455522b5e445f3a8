//! Where the registry comes from, who shares it, and what it makes of families that do wrong.

mod support;

use std::{
    fmt,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use actix_web::{
    App, HttpResponse,
    http::StatusCode,
    test::{self, TestRequest},
    web::{self, ServiceConfig},
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart, metrics_scope,
    prometheus_client::{
        collector::Collector,
        encoding::DescriptorEncoder,
        metrics::{
            counter::Counter, exemplar::CounterWithExemplar, family::Family, gauge::Gauge,
            histogram::Histogram,
        },
        registry::Registry,
    },
};

use support::{assert_balanced, capture_log, eventually_has, http, logged, serve, without_omissions};

/// The answer to one request, from an application that is started for it and stopped afterwards.
async fn visit(path: &str, metrics: HrPrometheus, configure: impl FnOnce(&mut ServiceConfig)) -> String {
    let app = App::new()
        .service(metrics_scope())
        .route("/users/{id}", web::get().to(async || "hello"))
        .configure(configure)
        .wrap(metrics);
    let app = test::init_service(app).await;
    let request = TestRequest::get().uri(path).to_request();
    let body = test::call_and_read_body(&app, request).await;
    String::from_utf8(body.to_vec()).unwrap()
}

/// A gauge called `name` with `value`, registered in `registry`.
fn add_gauge(registry: &mut Registry, name: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, "Help", gauge);
}

/// Encodes what the function writes.
struct Collects<F>(F);

impl<F> fmt::Debug for Collects<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collects")
    }
}

impl<F: Fn() -> fmt::Result + Send + Sync + 'static> Collector for Collects<F> {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)()
    }
}

fn add_collector(registry: &MetricsRegistry, collect: impl Fn() -> fmt::Result + Send + Sync + 'static) {
    registry.register_with(|registry| registry.register_collector(Box::new(Collects(collect))));
}

#[actix_web::test]
async fn the_registry_is_found_in_the_data_of_the_application_bare_or_as_data() {
    let bare = MetricsRegistry::new();
    visit("/users/7", HrPrometheus::default(), |app| {
        app.app_data(bare.clone());
    })
    .await;
    assert_eq!(bare.value("request_count", &[]), Some(1.0));

    let data = web::Data::new(MetricsRegistry::new());
    visit("/users/7", HrPrometheus::default(), |app| {
        app.app_data(data.clone());
    })
    .await;
    assert_eq!(data.value("request_count", &[]), Some(1.0));
}

#[actix_web::test]
async fn middleware_and_scrape_meet_in_the_global_registry_when_there_is_none_in_the_data() {
    let path = "/only-in-the-test-of-the-global-registry";
    for expected in [1.0, 2.0] {
        visit(path, HrPrometheus::default(), |app| {
            app.route(path, web::get().to(HttpResponse::Ok));
        })
        .await;
        assert_eq!(
            MetricsRegistry::global().value("request_count", &[("path", path)]),
            Some(expected)
        );
    }

    let scrape = visit("/metrics", HrPrometheus::default(), |_| ()).await;
    let line = format!("request_count_total{{method=\"GET\",path=\"{path}\",status=\"200\"}} 2");
    assert!(scrape.lines().any(|found| found == line), "{scrape}");
}

#[actix_web::test]
async fn register_in_wins_over_the_data_of_the_application() {
    let (chosen, data) = (MetricsRegistry::new(), MetricsRegistry::new());
    let metrics = HrPrometheus::default().register_in(&chosen).unwrap();

    visit("/users/7", metrics, |app| {
        app.app_data(data.clone());
    })
    .await;

    assert_eq!(chosen.value("request_count", &[]), Some(1.0));
    assert_eq!(data.encode().unwrap(), "# EOF\n");
}

#[test]
fn register_in_shows_the_families_before_the_first_request() {
    let registry = MetricsRegistry::new();
    HrPrometheus::default().register_in(&registry).unwrap();
    assert_eq!(
        registry.encode().unwrap(),
        "# HELP request_count Number of requests received\n\
         # TYPE request_count counter\n\
         # HELP request_latency Elapsed time per request\n\
         # TYPE request_latency histogram\n\
         # HELP requests_in_progress Requests in progress\n\
         # TYPE requests_in_progress gauge\n\
         # EOF\n",
    );
}

#[actix_web::test]
async fn middleware_around_a_scope_and_a_scrape_in_it_use_the_data_of_the_scope() {
    let (of_app, of_scope) = (MetricsRegistry::new(), MetricsRegistry::new());
    let app = App::new().app_data(of_app.clone()).service(
        web::scope("/api")
            .app_data(of_scope.clone())
            .service(metrics_scope())
            .route("/hello", web::get().to(async || "hello"))
            .wrap(HrPrometheus::default()),
    );
    let app = test::init_service(app).await;

    let hello = TestRequest::get().uri("/api/hello").to_request();
    test::call_and_read_body(&app, hello).await;
    let scrape = TestRequest::get().uri("/api/metrics").to_request();
    let scrape = test::call_and_read_body(&app, scrape).await;

    let scrape = std::str::from_utf8(&scrape).unwrap();
    assert!(
        scrape.contains("request_count_total{method=\"GET\",path=\"/api/hello\",status=\"200\"} 1\n"),
        "{scrape}",
    );
    assert_eq!(of_scope.value("request_count", &[]), Some(2.0));
    assert_eq!(of_app.encode().unwrap(), "# EOF\n");
}

#[test]
fn all_workers_share_one_registry() {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let server = serve(4, move || {
        App::new()
            .app_data(data.clone())
            .service(metrics_scope())
            .route("/", web::get().to(async || "hello"))
            .wrap(HrPrometheus::default())
    });

    for _ in 0..40 {
        assert_eq!(http(server.address, "GET", "/").1, "hello");
    }
    eventually_has(&registry, "request_count", &[("path", "/")], 40.0);
    for _ in 0..8 {
        let (_, scrape) = http(server.address, "GET", "/metrics");
        assert!(
            scrape.contains("request_count_total{method=\"GET\",path=\"/\",status=\"200\"} 40\n"),
            "{scrape}",
        );
    }

    server.stop(true);
    assert_eq!(registry.value("request_count", &[]), Some(48.0));
    assert_balanced(&registry);
}

#[actix_web::test]
async fn the_prefix_and_the_labels_of_a_registry_are_on_all_families() {
    let labels = [("region".into(), "eu".into())];
    let registry = MetricsRegistry::from(Registry::with_prefix_and_labels("shop", labels.into_iter()));
    registry.register_with(|registry| add_gauge(registry, "queue", 3));
    visit("/users/7", HrPrometheus::default(), |app| {
        app.app_data(registry.clone());
    })
    .await;

    let scrape = registry.encode().unwrap();
    for line in [
        "# TYPE shop_queue gauge",
        r#"shop_queue{region="eu"} 3"#,
        "# TYPE shop_request_count counter",
        r#"shop_request_count_total{region="eu",method="GET",path="/users/{id}",status="200"} 1"#,
        r#"shop_request_latency_count{region="eu",method="GET",path="/users/{id}"} 1"#,
        r#"shop_requests_in_progress{region="eu",method="GET",path="/users/{id}"} 0"#,
    ] {
        assert!(scrape.lines().any(|found| found == line), "{line} in\n{scrape}");
    }
    assert_eq!(registry.value("request_count", &[]), None);
    assert_eq!(
        registry.value("shop_request_count", &[("region", "eu")]),
        Some(1.0)
    );
}

#[test]
fn value_sums_over_the_series_that_have_the_labels() {
    let registry = MetricsRegistry::new();
    let orders = registry.register_with(|registry| {
        let orders = Family::<[(&str, &str); 2], Counter>::default();
        registry.register("orders", "Orders placed", orders.clone());
        orders
    });
    for (shop, state, count) in [("a", "paid", 1), ("a", "open", 2), ("b", "paid", 4)] {
        orders
            .get_or_create_owned(&[("shop", shop), ("state", state)])
            .inc_by(count);
    }

    assert_eq!(registry.value("orders_total", &[]), Some(7.0));
    assert_eq!(registry.value("orders", &[]), Some(7.0));
    assert_eq!(registry.value("orders", &[("shop", "a")]), Some(3.0));
    assert_eq!(registry.value("orders_total", &[("state", "paid")]), Some(5.0));
    assert_eq!(
        registry.value("orders", &[("state", "paid"), ("shop", "b")]),
        Some(4.0)
    );
    assert_eq!(
        registry.value("orders", &[("shop", "b"), ("state", "open")]),
        None
    );
    assert_eq!(registry.value("orders", &[("shop", "")]), None);
    assert_eq!(registry.value("orders", &[("Shop", "a")]), None);
    assert_eq!(registry.value("order", &[]), None);
    assert_eq!(registry.value("orders_tot", &[]), None);
    assert_eq!(registry.value("", &[]), None);
}

#[test]
fn value_finds_labels_with_any_character_in_them() {
    let registry = MetricsRegistry::new();
    let odd = registry.register_with(|registry| {
        let odd = Family::<[(&str, &str); 2], Gauge>::default();
        registry.register("odd", "Help", odd.clone());
        odd
    });

    let values = [
        "a \"quoted\" word",
        r"back\slash",
        r"ends in a backslash\",
        "two\nlines",
        r"no\new line",
        "} 7",
        r#"x="y",after="z"#,
        "grün",
    ];
    for (value, number) in values.iter().zip(1..) {
        odd.get_or_create_owned(&[("odd", value), ("after", "same")])
            .set(number);
    }
    for (value, number) in values.iter().zip(1_u32..) {
        let found = registry.value("odd", &[("after", "same"), ("odd", value)]);
        assert_eq!(found, Some(number.into()), "{value}");
    }
    assert_eq!(registry.value("odd", &[("after", "z")]), None);
}

#[test]
fn value_finds_the_parts_of_a_histogram_and_counters_with_exemplars() {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        let histogram = Histogram::new([1.0, 2.5]);
        histogram.observe(0.5);
        histogram.observe(2.0);
        histogram.observe(4.0);
        registry.register("seconds", "Help", histogram);

        let traced = CounterWithExemplar::<[(&str, &str); 1]>::default();
        traced.inc_by(2, Some([("trace_id", "} 7")]), None);
        registry.register("traced", "Help", traced);
    });

    assert_eq!(registry.value("seconds_count", &[]), Some(3.0));
    assert_eq!(registry.value("seconds_sum", &[]), Some(6.5));
    assert_eq!(registry.value("seconds_bucket", &[("le", "1.0")]), Some(1.0));
    assert_eq!(registry.value("seconds_bucket", &[("le", "2.5")]), Some(2.0));
    assert_eq!(registry.value("seconds_bucket", &[("le", "+Inf")]), Some(3.0));
    assert_eq!(registry.value("seconds", &[]), None);
    assert_eq!(registry.value("traced", &[]), Some(2.0));
}

#[test]
fn what_a_closure_registered_before_it_panicked_is_dropped_and_the_registry_goes_on() {
    let registry = MetricsRegistry::new();
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        registry.register_with(|registry| {
            add_gauge(registry, "half_registered", 1);
            panic!("as the test wants it");
        });
    }));
    assert!(panicked.is_err());

    registry.register_with(|registry| add_gauge(registry, "registered", 1));
    assert_eq!(
        registry.encode().unwrap(),
        "# HELP registered Help.\n# TYPE registered gauge\nregistered 1\n# EOF\n",
    );
}

/// Runs `code` in a thread of its own, so that a dead-lock fails the test rather than hang it.
#[track_caller]
fn without_dead_lock<T: Send + 'static>(code: impl FnOnce() -> T + Send + 'static) -> T {
    let (done, result) = mpsc::channel();
    thread::spawn(move || done.send(code()));
    result
        .recv_timeout(Duration::from_secs(20))
        .expect("a result in time")
}

/// What became of each use of `registry` that would dead-lock or recurse.
fn use_again(registry: &MetricsRegistry) -> Vec<String> {
    let encoded = registry.encode().unwrap_or_else(|error| error.to_string());
    let value = registry.value("any", &[]);
    let registered = HrPrometheus::default()
        .register_in(registry)
        .map(|_| "registered");
    let registered_with = catch_unwind(AssertUnwindSafe(|| {
        registry.register_with(|registry| add_gauge(registry, "again", 1));
    }));
    let registered_with = registered_with.map_err(|panic| *panic.downcast::<String>().unwrap());
    let measured = catch_unwind(AssertUnwindSafe(|| drop(registry.clone().with_scrape_metrics())));
    let measured = measured.map_err(|panic| *panic.downcast::<String>().unwrap());
    vec![
        encoded,
        format!("{value:?}"),
        registered.map_or_else(|error| error.to_string(), str::to_owned),
        registered_with.map_or_else(|panic| panic, |()| "registered".to_owned()),
        measured.map_or_else(|panic| panic, |()| "measured".to_owned()),
    ]
}

/// What [`use_again`] says when all is refused.
const REFUSED: [&str; 5] = [
    "cannot encode a registry during a registration or a scrape of the same registry; do it before or after",
    "None",
    "cannot register in a registry during a registration or a scrape of the same registry; do it before or after",
    "cannot register in a registry during a registration or a scrape of the same registry; do it before or after",
    "cannot register in a registry during a registration or a scrape of the same registry; do it before or after",
];

#[test]
fn a_registry_cannot_be_used_from_within_a_collector_of_its_own() {
    let said = without_dead_lock(|| {
        let registry = MetricsRegistry::new();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let (again, says) = (registry.clone(), Arc::clone(&said));
        add_collector(&registry, move || {
            *says.lock().unwrap() = use_again(&again);
            Ok(())
        });
        assert_eq!(registry.encode().unwrap(), "# EOF\n");
        said.lock().unwrap().clone()
    });
    assert_eq!(said, REFUSED);
}

#[test]
fn a_registry_cannot_be_used_from_within_a_registration() {
    let said = without_dead_lock(|| {
        let registry = MetricsRegistry::new();
        let said = registry.register_with(|_| use_again(&registry));
        // Only from within.
        registry.register_with(|registry| add_gauge(registry, "afterwards", 1));
        assert_eq!(registry.value("afterwards", &[]), Some(1.0));
        said
    });
    assert_eq!(said, REFUSED);
}

#[test]
fn a_registry_cannot_be_used_from_within_the_registration_of_a_monitor() {
    #[derive(Clone)]
    struct Idle;

    impl RequestMonitor for Idle {
        type InFlight = ();

        fn register(_registry: &mut Registry) -> Self {
            Self
        }

        fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

        fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {}
    }

    let said = without_dead_lock(|| {
        let registry = MetricsRegistry::new();
        let said = Arc::<Mutex<Vec<String>>>::default();
        let (again, says) = (registry.clone(), Arc::clone(&said));
        let metrics = HrPrometheus::with_monitor_from(move |_: &mut Registry| {
            *says.lock().unwrap() = use_again(&again);
            Idle
        });
        metrics.register_in(&registry).unwrap();
        // A refusal is not kept.
        HrPrometheus::default().register_in(&registry).unwrap();
        said.lock().unwrap().clone()
    });
    assert_eq!(said, REFUSED);
}

#[test]
fn a_collector_can_use_another_registry() {
    let encoded = without_dead_lock(|| {
        let (registry, other) = (MetricsRegistry::new(), MetricsRegistry::new());
        let (inner, encoded) = (other.clone(), Arc::<Mutex<String>>::default());
        let result = Arc::clone(&encoded);
        add_collector(&registry, move || {
            *result.lock().unwrap() = inner.encode().unwrap();
            Ok(())
        });
        registry.encode().unwrap();
        encoded.lock().unwrap().clone()
    });
    assert_eq!(encoded, "# EOF\n");
}

/// Asserts that of two families called `name` the first, which is 1, is served beside the family `rest`.
#[track_caller]
fn assert_the_first_is_served(registry: &MetricsRegistry, name: &str) {
    capture_log();
    for _ in 0..3 {
        let scrape = registry.encode().unwrap();
        assert_eq!(scrape.matches(&format!("# TYPE {name} ")).count(), 1, "{scrape}");
        assert_eq!(registry.value(name, &[]), Some(1.0), "{scrape}");
        assert_eq!(registry.value("rest", &[]), Some(3.0), "{scrape}");
        assert!(scrape.contains("\nrest 3\n"), "{scrape}");
    }
    assert_eq!(
        logged(&format!("the family {name} is")),
        [format!(
            "ERROR omitted from the scrape: the family {name} is registered twice; \
             rename one of them, or register it once"
        )],
    );
}

#[test]
fn of_a_name_taken_twice_in_one_registration_the_first_is_served() {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        for (name, value) in [("twice_in_one", 1), ("twice_in_one", 2), ("rest", 3)] {
            add_gauge(registry, name, value);
        }
    });
    assert_the_first_is_served(&registry, "twice_in_one");
}

#[test]
fn of_a_name_taken_in_two_registrations_the_first_is_served() {
    let registry = MetricsRegistry::new();
    for (name, value) in [("twice_in_two", 1), ("twice_in_two", 2), ("rest", 3)] {
        registry.register_with(|registry| add_gauge(registry, name, value));
    }
    assert_the_first_is_served(&registry, "twice_in_two");
}

#[test]
fn of_a_name_taken_in_a_registry_that_was_taken_over_the_first_is_served() {
    let mut taken_over = Registry::default();
    add_gauge(&mut taken_over, "twice_and_taken_over", 1);
    let registry = MetricsRegistry::from(taken_over);
    registry.register_with(|registry| {
        add_gauge(registry, "twice_and_taken_over", 2);
        add_gauge(registry, "rest", 3);
    });
    assert_the_first_is_served(&registry, "twice_and_taken_over");
}

#[test]
fn an_omitted_family_is_logged_once_though_what_is_wrong_with_it_changes() {
    capture_log();
    let registry = MetricsRegistry::new();
    let below_zero = Histogram::new([1.0]);
    registry.register_with(|registry| {
        registry.register("below_zero_five_times", "Help", below_zero.clone());
    });
    for _ in 0..5 {
        below_zero.observe(-1.0);
        assert_eq!(without_omissions(&registry.encode().unwrap()), "# EOF\n");
    }
    assert_eq!(logged("below_zero_five_times").len(), 1);

    // Another one is news.
    registry.register_with(|registry| {
        registry.register("below_zero_as_well", "Help", below_zero.clone());
    });
    assert_eq!(without_omissions(&registry.encode().unwrap()), "# EOF\n");
    assert_eq!(logged("below_zero_as_well").len(), 1);
    assert_eq!(logged("below_zero_five_times").len(), 1);
}

#[actix_web::test]
async fn a_name_of_the_default_monitor_that_is_taken_costs_only_that_family() {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| add_gauge(registry, "request_latency", 1));
    visit("/users/7", HrPrometheus::default(), |app| {
        app.app_data(registry.clone());
    })
    .await;

    assert_eq!(registry.value("request_latency", &[]), Some(1.0));
    assert_eq!(registry.value("request_latency_count", &[]), None);
    assert_eq!(registry.value("request_count", &[]), Some(1.0));
    assert_eq!(registry.value("requests_in_progress", &[]), Some(0.0));
}

/// Their families have the same names, and one header in the scrape.
#[actix_web::test]
async fn two_default_monitors_that_a_label_tells_apart_are_both_served() {
    let registry = MetricsRegistry::new();
    let public = HrPrometheus::with_monitor_from(|registry: &mut Registry| {
        let registry = registry.sub_registry_with_label(("app".into(), "public".into()));
        DefaultMonitor::builder().register(registry)
    });
    let internal = HrPrometheus::with_monitor_from(|registry: &mut Registry| {
        let registry = registry.sub_registry_with_label(("app".into(), "internal".into()));
        DefaultMonitor::builder().register(registry)
    });
    let [public, internal] = [public, internal].map(|metrics| metrics.register_in(&registry).unwrap());
    for metrics in [public.clone(), public] {
        visit("/users/7", metrics, |_| {}).await;
    }
    visit("/users/7", internal, |_| {}).await;

    for (app, count) in [("public", 2.0), ("internal", 1.0)] {
        for family in ["request_count_total", "request_latency_count"] {
            assert_eq!(
                registry.value(family, &[("app", app)]),
                Some(count),
                "{family} of {app}"
            );
        }
    }
    let scrape = registry.encode().unwrap();
    for family in [
        "request_count counter",
        "request_latency histogram",
        "requests_in_progress gauge",
    ] {
        assert_eq!(
            scrape.matches(&format!("# TYPE {family}\n")).count(),
            1,
            "{scrape}"
        );
    }
    assert!(!scrape.contains("_omitted"), "{scrape}");
}

#[test]
fn a_collector_that_fails_or_panics_is_omitted_until_it_is_mended() {
    let fails: fn() -> fmt::Result = || Err(fmt::Error);
    let panics: fn() -> fmt::Result = || panic!("as the test wants it");
    for collect in [fails, panics] {
        let registry = MetricsRegistry::new();
        let broken = Arc::new(AtomicBool::new(true));
        let breaks = Arc::clone(&broken);
        registry.register_with(|registry| add_gauge(registry, "before", 1));
        registry.register_with(|registry| {
            registry.register_collector(Box::new(Collects(move || {
                if breaks.load(Ordering::Relaxed) {
                    collect()
                } else {
                    Ok(())
                }
            })));
            let behind = registry.sub_registry_with_labels(std::iter::empty());
            add_gauge(behind, "behind", 2);
        });
        registry.register_with(|registry| add_gauge(registry, "rest", 3));

        for _ in 0..2 {
            assert_eq!(
                without_omissions(&registry.encode().unwrap()),
                "# HELP before Help.\n# TYPE before gauge\nbefore 1\n\
                 # HELP rest Help.\n# TYPE rest gauge\nrest 3\n# EOF\n",
            );
        }
        broken.store(false, Ordering::Relaxed);
        for (name, value) in [("before", 1.0), ("behind", 2.0), ("rest", 3.0)] {
            assert_eq!(registry.value(name, &[]), Some(value), "{name}");
        }
    }
}

#[actix_web::test]
async fn applications_that_come_and_go_lose_no_count() {
    let registry = MetricsRegistry::new();
    for _ in 0..200 {
        visit("/users/7", HrPrometheus::default(), |app| {
            app.app_data(registry.clone());
        })
        .await;
    }
    assert_eq!(
        registry.value("request_count", &[("path", "/users/{id}")]),
        Some(200.0)
    );
    assert_balanced(&registry);
}

/// Sends `count` requests on one connection; their answers have no body.
fn send_many(address: SocketAddr, count: usize) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_nodelay(true).unwrap();
    for status in ["200", "204", "404", "500"].into_iter().cycle().take(count) {
        let request = format!("GET /{status} HTTP/1.1\r\nHost: localhost\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut response = Vec::new();
        while !response.ends_with(b"\r\n\r\n") {
            let mut part = [0; 1024];
            let length = stream.read(&mut part).unwrap();
            assert!(length > 0, "the server closed");
            response.extend_from_slice(&part[..length]);
        }
        assert!(response.starts_with(format!("HTTP/1.1 {status} ").as_bytes()));
    }
}

/// The sum over all samples called `name` in one scrape.
fn sum(scrape: &str, name: &str) -> u64 {
    let samples = scrape
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.rsplit_once(' '));
    samples.map(|(_, value)| value.parse::<u64>().unwrap()).sum()
}

#[test]
fn counter_and_histogram_agree_in_every_scrape_while_requests_are_served() {
    const CLIENTS: usize = 3;
    const REQUESTS: usize = 1500;
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let server = serve(3, move || {
        App::new()
            .app_data(data.clone())
            .route(
                "/{status}",
                web::get().to(async |status: web::Path<u16>| {
                    HttpResponse::new(StatusCode::from_u16(*status).unwrap())
                }),
            )
            .wrap(HrPrometheus::default())
    });

    let address = server.address;
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| thread::spawn(move || send_many(address, REQUESTS)))
        .collect();
    let mut seen = 0;
    while !clients.iter().all(thread::JoinHandle::is_finished) {
        let scrape = registry.encode().unwrap();
        let counted = sum(&scrape, "request_count_total{");
        assert_eq!(counted, sum(&scrape, "request_latency_count{"), "{scrape}");
        assert!(counted >= seen, "counted {counted} after {seen}");
        seen = counted;
    }
    for client in clients {
        client.join().unwrap();
    }

    server.stop(true);
    let scrape = registry.encode().unwrap();
    assert_eq!(sum(&scrape, "request_count_total{"), (CLIENTS * REQUESTS) as u64);
    assert_balanced(&registry);
}
