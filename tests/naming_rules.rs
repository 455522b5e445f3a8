//! `lint` finds what `promtool check metrics` would, and what OpenMetrics and the naming practices add.

mod support;

use std::time::Duration;

use actix_web::{
    App, HttpResponse,
    dev::Extensions,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, OtelMonitor, build_info, connection_metrics,
    prometheus_client::{
        metrics::{
            MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info,
        },
        registry::Registry,
    },
};

use support::families::{Labels, add_family, labels};

#[track_caller]
fn assert_problems(register: impl FnOnce(&mut Registry), problems: &[&str]) {
    let registry = MetricsRegistry::new();
    registry.register_with(register);
    assert_eq!(registry.lint(), problems);
}

fn assert_problems_of_gauge(name: &str, problems: &[&str]) {
    assert_problems(
        |registry| registry.register(name, "Help", Gauge::<i64>::default()),
        problems,
    );
}

#[actix_web::test]
async fn the_families_of_this_crate_obey_the_rules() {
    let registry = MetricsRegistry::new().with_scrape_metrics();
    registry.register_with(build_info!());
    #[cfg(feature = "process")]
    registry.register_with(hr_prometheus::process_metrics);
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(HttpResponse::Ok))
        .wrap(HrPrometheus::with_monitor::<(DefaultMonitor, OtelMonitor)>());
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::get().to_request()).await;
    assert_eq!(registry.value("request_count_total", &[]), Some(1.0));
    assert_eq!(registry.lint(), [""; 0]);
}

#[actix_web::test]
async fn the_families_of_every_option_obey_the_rules() -> Result<(), hr_prometheus::Error> {
    let registry = MetricsRegistry::new();
    connection_metrics(&registry)?(&(), &mut Extensions::new());
    let monitor = DefaultMonitor::builder()
        .request_body_bytes([1.0])
        .response_body_bytes([1.0])
        .time_to_head([1.0])
        .queue_time([1.0])
        .time_on_worker([1.0])
        .longest_poll([1.0])
        .oldest_in_progress()
        .peak_in_progress()
        .objective("/", 0.9, Duration::from_secs(1));
    let metrics = HrPrometheus::with_builder(monitor)
        .worker_metrics()
        .route_metrics();
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(HttpResponse::Ok))
        .wrap(metrics);
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::get().to_request()).await;
    assert!(registry.value("actix_worker_parks_total", &[]).is_some());
    assert_eq!(registry.lint(), [""; 0]);
    Ok(())
}

#[test]
fn units_are_base_units_and_written_out() {
    for name in [
        "wait_seconds",
        "size_bytes",
        "boiler_celsius",
        "grams_sold",
        "unit_price",
        "days_off",
    ] {
        let problems: &[_] = match name {
            "days_off" => &["days_off is in days; use the base unit seconds"],
            _ => &[],
        };
        assert_problems_of_gauge(name, problems);
    }
    assert_problems_of_gauge(
        "wait_milliseconds",
        &["wait_milliseconds is in milliseconds; use the base unit seconds"],
    );
    assert_problems_of_gauge(
        "parcel_kilograms",
        &["parcel_kilograms is in kilograms; use the base unit grams"],
    );
    assert_problems_of_gauge(
        "cache_kibibytes",
        &["cache_kibibytes is in kibibytes; use the base unit bytes"],
    );
    for (name, unit) in [("wait_ms", "ms"), ("memory_MB_used", "MB")] {
        assert_problems_of_gauge(
            name,
            &[&format!(
                "{name} has the abbreviation `{unit}` in its name; write the unit out"
            )],
        );
    }
}

#[test]
fn names_are_snake_case_without_colons_and_types() {
    assert_problems_of_gauge("queueLength", &["queueLength is in camelCase; use snake_case"]);
    assert_problems_of_gauge(
        "job:queue",
        &["job:queue has a colon in its name, which is for recording rules"],
    );
    for (name, kind) in [("queue_gauge", "gauge"), ("geiger_counter_volts", "counter")] {
        assert_problems_of_gauge(
            name,
            &[&format!(
                "{name} has a metric type in its name; leave out `{kind}`"
            )],
        );
    }
    assert_problems_of_gauge("gauges_connected", &[]);
}

#[test]
fn suffixes_belong_to_types() {
    assert_problems_of_gauge(
        "jobs_total",
        &["jobs_total is of type gauge and ends in `_total`, as counters do; rename it"],
    );
    assert_problems_of_gauge(
        "job_count",
        &["job_count is of type gauge and ends in `_count`, as samples of histograms do; rename it"],
    );
    assert_problems(
        |registry| registry.register("build_info", "Help", Info::new(labels(&[("version", "1")]))),
        &[
            "build_info is exposed with `_info` twice, since the encoder appends it to every info; register it without",
        ],
    );
    // In a build with checks prometheus-client refuses it in `register`.
    assert_problems(
        |registry| {
            add_family(registry, "jobs_total", MetricType::Counter, |mut encoder| {
                encoder.encode_counter::<Labels, _, f64>(&1_u64, None)
            });
        },
        &[
            "jobs_total is exposed with `_total` twice, since the encoder appends it to every counter; register it without",
        ],
    );
    assert_problems(
        |registry| {
            registry.register("jobs", "Help", Counter::<u64>::default());
            registry.register("request_count", "Help", Counter::<u64>::default());
            registry.register("wait_seconds", "Help", Histogram::new([1.0]));
        },
        &[],
    );
}

#[test]
fn labels_are_snake_case_and_not_in_the_name() {
    let register = |name: &'static str, pairs: &[(&str, &str)]| {
        let family = Family::<Labels, Counter>::default();
        family.get_or_create_owned(&labels(pairs)).inc();
        family.get_or_create_owned(&labels(pairs)).inc();
        move |registry: &mut Registry| registry.register(name, "Help", family)
    };
    assert_problems(register("jobs", &[("kind", "a")]), &[]);
    assert_problems(
        register("jobs_by_kind", &[("kind", "a")]),
        &["jobs_by_kind has its label `kind` in its name; leave that out"],
    );
    assert_problems(register("kindness", &[("kind", "a")]), &[]);
    assert_problems(
        register("jobs", &[("jobKind", "a")]),
        &["jobs has the label `jobKind` in camelCase; use snake_case"],
    );
    assert_problems(
        register("jobs", &[("le", "1"), ("quantile", "0.5")]),
        &[
            "jobs has the label `le`, which is for histograms and summaries; rename it",
            "jobs has the label `quantile`, which is for histograms and summaries; rename it",
        ],
    );
}

#[test]
fn families_without_help_and_omitted_ones_are_found() {
    assert_problems(
        |registry| {
            registry.register("jobs-done", "Help", Gauge::<i64>::default());
            registry.register("jobs", "", Gauge::<i64>::default());
        },
        &[
            "the family jobs-done has an invalid name, prefix or unit; use letters, digits, `_` \
             and `:`",
            "jobs has no help text",
        ],
    );
}
