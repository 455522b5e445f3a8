//! `OtelMonitor` obeys the options of the middleware as the default monitor does.

use std::{future::pending, pin::pin};

use actix_web::{
    App, HttpResponse,
    dev::Service as _,
    test::{TestRequest, init_service},
    web,
};
use futures_util::FutureExt as _;
use hr_prometheus::{HrPrometheus, MetricsRegistry, OtelMonitor};

#[actix_web::test]
async fn over_the_limit_on_paths_the_route_is_other() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_monitor::<OtelMonitor>()
        .keep_all_params()
        .max_kept_paths(1);
    let app = App::new()
        .app_data(registry.clone())
        .route("/users/{name}", web::get().to(HttpResponse::Ok))
        .wrap(metrics);
    let app = init_service(app).await;
    for path in ["/users/alice", "/users/bob", "/users/carol", "/nowhere"] {
        drop(app.call(TestRequest::with_uri(path).to_request()).await);
    }

    let durations = |route| {
        registry.value(
            "http_server_request_duration_seconds_count",
            &[("http_route", route)],
        )
    };
    assert_eq!(durations("/users/alice"), Some(1.0));
    assert_eq!(durations("_OTHER"), Some(2.0));
    assert_eq!(
        registry.value("http_server_request_duration_seconds_count", &[]),
        Some(4.0)
    );
}

#[actix_web::test]
async fn the_gauge_has_no_request_of_an_excluded_route() {
    const TARGETS: [&str; 3] = ["/events/7", "/nowhere", "/slow"];

    for (excluded, shown) in [
        (&["/events/{id}"][..], ["/nowhere", "/slow"].as_slice()),
        (&["unmatched"], &["/events/7", "/slow"]),
        (&["/events/{id}", "unmatched"], &["/slow"]),
        (&[], &TARGETS),
    ] {
        let registry = MetricsRegistry::new();
        let hang = || web::get().to(pending::<HttpResponse>);
        let app = App::new()
            .app_data(registry.clone())
            .route("/events/{id}", hang())
            .route("/slow", hang())
            .default_service(hang())
            .wrap(
                HrPrometheus::with_builder(OtelMonitor::builder().active_requests()).exclude_routes(excluded),
            );
        let app = init_service(app).await;
        let active = || {
            registry
                .value("http_server_active_requests", &[])
                .filter(|count| *count > 0.0)
        };

        for target in TARGETS {
            let mut request = pin!(app.call(TestRequest::with_uri(target).to_request()));
            assert!(request.as_mut().now_or_never().is_none());
            let expected = shown.contains(&target).then_some(1.0);
            assert_eq!(active(), expected, "{target} without {excluded:?}");
        }
        assert_eq!(active(), None, "with none under way");
    }
}
