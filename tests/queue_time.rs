//! How long requests waited in front of the server, as a proxy says.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use actix_web::{
    App,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{DefaultMonitor, HrPrometheus, MetricsRegistry};

/// The time of some seconds ago, or ahead, in Unix time.
fn seconds_ago(seconds: f64) -> Duration {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a clock that is set");
    Duration::from_secs_f64(now.as_secs_f64() - seconds)
}

/// The observations above 10 and up to 100 seconds, and all of them, after a request with this header.
async fn observed(header: Option<(&str, String)>) -> (f64, f64) {
    let registry = MetricsRegistry::new();
    let monitor = DefaultMonitor::builder().queue_time([10.0, 100.0]);
    let app = App::new()
        .app_data(registry.clone())
        .route("/users/{id}", web::get().to(async || "hello"))
        .wrap(HrPrometheus::with_builder(monitor));
    let app = init_service(app).await;
    let mut request = TestRequest::with_uri("/users/1");
    if let Some(header) = header {
        request = request.insert_header(header);
    }
    call_and_read_body(&app, request.to_request()).await;
    assert_eq!(registry.value("request_count_total", &[]), Some(1.0));
    let route = ("path", "/users/{id}");
    let upto = |bound| {
        let bucket = registry.value("request_queue_time_seconds_bucket", &[route, ("le", bound)]);
        bucket.expect("a bucket")
    };
    (upto("100.0") - upto("10.0"), upto("+Inf"))
}

#[actix_web::test]
async fn the_time_since_a_proxy_received_the_request_is_observed_in_any_unit() {
    for name in ["X-Request-Start", "X-Queue-Start"] {
        let at = seconds_ago(50.0);
        for text in [
            format!("t={:.3}", at.as_secs_f64()),
            format!("{}", at.as_millis()),
            format!("t={}", at.as_micros()),
            format!("{}", at.as_nanos()),
        ] {
            assert_eq!(
                observed(Some((name, text.clone()))).await,
                (1.0, 1.0),
                "{name}: {text}"
            );
        }
    }
}

#[actix_web::test]
async fn what_is_not_said_or_not_believed_is_not_observed() {
    assert_eq!(observed(None).await, (0.0, 0.0));
    for text in [
        "soon".to_owned(),
        seconds_ago(3_600.0).as_secs().to_string(),
        seconds_ago(-3_600.0).as_secs().to_string(),
    ] {
        assert_eq!(
            observed(Some(("X-Request-Start", text.clone()))).await,
            (0.0, 0.0),
            "{text}"
        );
    }
}
