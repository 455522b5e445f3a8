//! The process metrics have the names that Prometheus documents, and the values of this process.
#![cfg(all(feature = "process", target_os = "linux"))]

mod support;

use std::{
    fs::File,
    hint, process,
    sync::mpsc,
    thread,
    time::{SystemTime, UNIX_EPOCH},
};

use hr_prometheus::{MetricsRegistry, process_metrics, prometheus_client::registry::Registry};

use support::eventually;

fn registry() -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    registry.register_with(process_metrics);
    registry
}

#[track_caller]
fn value(registry: &MetricsRegistry, name: &str) -> f64 {
    registry.value(name, &[]).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn names_and_types_are_those_that_prometheus_documents() {
    let scrape = registry().encode().expect("a scrape");
    // Whether there is a limit of memory depends on the shell that started the test.
    let families = scrape
        .lines()
        .filter(|line| line.starts_with("# TYPE ") && !line.contains("_max_bytes"))
        .collect::<Vec<_>>();
    assert_eq!(
        families,
        [
            "# TYPE process_cpu_seconds counter",
            "# TYPE process_open_fds gauge",
            "# TYPE process_max_fds gauge",
            "# TYPE process_virtual_memory_bytes gauge",
            "# TYPE process_resident_memory_bytes gauge",
            "# TYPE process_start_time_seconds gauge",
            "# TYPE process_threads gauge",
        ],
    );
    let samples = scrape
        .lines()
        .filter(|line| !line.starts_with('#') && !line.contains("_max_bytes"))
        .filter_map(|line| line.split(' ').next())
        .collect::<Vec<_>>();
    assert_eq!(
        samples,
        [
            "process_cpu_seconds_total",
            "process_open_fds",
            "process_max_fds",
            "process_virtual_memory_bytes",
            "process_resident_memory_bytes",
            "process_start_time_seconds",
            "process_threads",
        ],
    );
}

#[test]
fn they_are_read_anew_at_each_scrape() {
    let registry = registry();

    let before = value(&registry, "process_open_fds");
    let files: Vec<_> = (0..100)
        .map(|_| File::open("/proc/self/stat").expect("a file"))
        .collect();
    assert!(value(&registry, "process_open_fds") >= before + 50.0);
    drop(files);

    let before = value(&registry, "process_cpu_seconds_total");
    eventually("processor time", || {
        (0..1_000_000).for_each(|n| {
            hint::black_box(n);
        });
        value(&registry, "process_cpu_seconds_total") > before
    });
}

#[test]
fn threads_and_memory_are_those_of_this_process() {
    let registry = registry();
    let (stop, stopped) = mpsc::channel::<()>();
    let (ready, started) = mpsc::channel();
    let waiting = thread::spawn(move || {
        ready.send(()).expect("a test that waits");
        stopped.recv().ok();
    });
    started.recv().expect("a thread that starts");
    assert!(value(&registry, "process_threads") >= 2.0);
    drop(stop);
    waiting.join().expect("a thread that ends");

    let resident = value(&registry, "process_resident_memory_bytes");
    assert!(resident > 100_000.0, "{resident} is not in bytes");
    let virtual_memory = value(&registry, "process_virtual_memory_bytes");
    assert!(virtual_memory >= resident);
    // Where there is no limit, there is no sample, and above all no 0.
    let limit = registry.value("process_virtual_memory_max_bytes", &[]);
    assert!(limit.is_none_or(|limit| limit >= virtual_memory), "{limit:?}");
    assert!(value(&registry, "process_max_fds") >= value(&registry, "process_open_fds"));
}

#[test]
fn the_start_is_in_unix_time() {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock after 1970");
    let age = now.as_secs_f64() - value(&registry(), "process_start_time_seconds");
    // A day is beyond any run of this test; the system counts its start in whole seconds.
    assert!(
        (-2.0..86_400.0).contains(&age),
        "process {} is {age} s old",
        process::id()
    );
}

#[test]
fn a_prefix_of_the_registry_holds_for_them_and_a_sub_registry_avoids_that() {
    let prefixed = MetricsRegistry::from(Registry::with_prefix("shop"));
    prefixed.register_with(process_metrics);
    assert!(prefixed.value("shop_process_threads", &[]).is_some());
    assert_eq!(prefixed.value("process_threads", &[]), None);

    let registry = registry();
    registry.register_with(|registry| {
        process_metrics(registry.sub_registry_with_prefix("shop"));
    });
    assert!(registry.value("process_threads", &[]).is_some());
    assert!(registry.value("shop_process_threads", &[]).is_some());
}
