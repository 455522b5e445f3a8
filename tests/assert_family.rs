//! What a test sees when the samples of a family are not those that it expects.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hr_prometheus::{
    MetricsRegistry,
    prometheus_client::metrics::{counter::Counter, family::Family, gauge::ConstGauge},
};

fn registry() -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        let jobs = Family::<[(&str, &str); 2], Counter>::default();
        jobs.get_or_create_owned(&[("queue", "mail"), ("outcome", "sent")])
            .inc_by(3);
        jobs.get_or_create_owned(&[("queue", "mail"), ("outcome", "lost")])
            .inc();
        registry.register("jobs", "Jobs done", jobs);
        registry.register("jobs_queued", "Jobs that wait", ConstGauge::new(2_i64));
    });
    registry
}

/// What `assert_family` says.
#[track_caller]
fn message(name: &str, expected: &str) -> String {
    let registry = registry();
    let payload = catch_unwind(AssertUnwindSafe(|| registry.assert_family(name, expected)));
    *payload
        .expect_err("a panic")
        .downcast::<String>()
        .expect("a message")
}

#[test]
fn what_is_expected_passes_in_any_order() {
    registry().assert_family(
        "jobs",
        r#"
        jobs_total{outcome="lost",queue="mail"} 1
        jobs_total{queue="mail",outcome="sent"} 3.0
        "#,
    );
    registry().assert_family(
        "jobs_queued",
        "# TYPE jobs_queued gauge\n# HELP jobs_queued Jobs that wait.\njobs_queued 2",
    );
    registry().assert_family("mails", "");
}

#[test]
fn a_value_that_differs_is_shown_beside_the_expected_one() {
    assert_eq!(
        message(
            "jobs",
            r#"
            jobs_total{queue="mail",outcome="lost"} 1
            jobs_total{queue="mail",outcome="sent"} 4
            jobs_total{queue="post",outcome="sent"} 1
            "#,
        ),
        r#"jobs is not as expected (- expected, + found):
  - jobs_total{queue="mail",outcome="sent"} 4
  + jobs_total{queue="mail",outcome="sent"} 3
  - jobs_total{queue="post",outcome="sent"} 1
The families are: jobs, jobs_queued"#,
    );
}

#[test]
fn a_family_that_is_not_there_is_missed_with_the_names_that_are() {
    assert_eq!(
        message("job", "job_total 1"),
        "job is not as expected (- expected, + found):\n  - job_total 1\nThe families are: jobs, jobs_queued",
    );
    assert_eq!(
        message("jobs_queued", ""),
        "jobs_queued is not as expected (- expected, + found):\n  + jobs_queued 2\nThe families are: jobs, jobs_queued",
    );
}
