//! The live page: where it finds the metrics, what it is told of their names, and what it lets a browser do.

#![cfg(feature = "live")]

mod support;

use actix_service::ServiceFactory;
use actix_web::{
    App, Error,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    http::{Method, header},
    test::{TestRequest, call_service, init_service, read_body},
    web,
};
use hr_prometheus::{
    DefaultFamily, DefaultMonitor, HrPrometheus, Label, MetricsRegistry, OtelMonitor, live_scope,
    live_scope_for, metrics_scope, metrics_view, prometheus_client::registry::Registry,
};

/// What the server wrote into the page at this path.
async fn settings<B: MessageBody + 'static>(
    app: App<
        impl ServiceFactory<
            ServiceRequest,
            Config = (),
            Response = ServiceResponse<B>,
            Error = Error,
            InitError = (),
        > + 'static,
    >,
    path: &str,
) -> String {
    let app = init_service(app).await;
    let response = call_service(&app, TestRequest::with_uri(path).to_request()).await;
    assert_eq!(response.status(), 200);
    let page = read_body(response).await;
    let page = std::str::from_utf8(&page).expect("UTF-8");
    let (_, settings) = page
        .split_once(r#"<script type="application/json" id="settings">"#)
        .expect("settings");
    settings.split_once("</script>").expect("their end").0.to_owned()
}

fn address_in(settings: &str) -> &str {
    let address = settings.strip_prefix(r#"{"metrics":""#).expect("an address");
    address.split_once('"').expect("its end").0
}

#[actix_web::test]
async fn the_metrics_are_found_in_whichever_scopes_they_and_the_page_are() {
    let registry = MetricsRegistry::new();
    let app = || App::new().app_data(registry.clone());
    let scope = |path| web::scope(path);

    let beside = || app().service(metrics_scope()).service(live_scope());
    assert_eq!(address_in(&settings(beside(), "/live").await), "./metrics");
    assert_eq!(address_in(&settings(beside(), "/live/").await), "../metrics");
    let both = || {
        app().service(
            scope("/admin/{tenant}")
                .service(metrics_scope())
                .service(live_scope()),
        )
    };
    assert_eq!(
        address_in(&settings(both(), "/admin/acme/live").await),
        "./metrics"
    );
    let page_in_scope = app()
        .service(metrics_scope())
        .service(scope("/admin").service(live_scope()));
    assert_eq!(
        address_in(&settings(page_in_scope, "/admin/live").await),
        "../metrics"
    );
    let metrics_in_scope = app()
        .service(live_scope())
        .service(scope("/a").service(scope("/b").service(metrics_scope())));
    assert_eq!(
        address_in(&settings(metrics_in_scope, "/live").await),
        "./a/b/metrics"
    );
    let two = || {
        app()
            .service(scope("/a").service(metrics_scope()).service(live_scope()))
            .service(scope("/b").service(metrics_scope()).service(live_scope()))
    };
    assert_eq!(address_in(&settings(two(), "/a/live").await), "./metrics");
    assert_eq!(address_in(&settings(two(), "/b/live").await), "./metrics");
}

#[actix_web::test]
async fn the_address_of_the_metrics_can_be_given() {
    let app = || {
        App::new()
            .app_data(MetricsRegistry::new())
            .route("/prometheus", web::get().to(metrics_view))
    };
    for address in ["/prometheus", "https://admin.example:9000/metrics"] {
        let app = app().service(live_scope_for(address));
        assert_eq!(address_in(&settings(app, "/live").await), address);
    }
    let hostile = app().service(live_scope_for("</script><script>alert(1)</script>"));
    assert_eq!(
        address_in(&settings(hostile, "/live").await),
        r"\u003c/script\u003e\u003cscript\u003ealert(1)\u003c/script\u003e",
    );
}

#[actix_web::test]
async fn the_page_knows_the_names_that_were_chosen() -> Result<(), hr_prometheus::Error> {
    let labels = [("zone".into(), "eu".into())];
    let registry = MetricsRegistry::from(Registry::with_prefix_and_labels("shop", labels.into_iter()));
    let monitor = DefaultMonitor::builder()
        .prefix("api")
        .count_name("hits")
        .count_labels([("endpoint", Label::Path), ("class", Label::StatusClass)])
        .latency_labels([("endpoint", Label::Path)])
        .rename(DefaultFamily::OldestInProgress, "age")
        .oldest_in_progress()
        .without_in_progress();
    let app = App::new()
        .app_data(registry)
        .service(live_scope())
        .wrap(HrPrometheus::with_builder(monitor));
    assert_eq!(
        settings(app, "/live").await,
        concat!(
            r#"{"metrics":"./metrics","monitors":[{"#,
            r#""requests":{"name":"shop_api_hits","labels":{"path":"endpoint","status_class":"class"}},"#,
            r#""latency":{"name":"shop_api_request_latency","labels":{"path":"endpoint"}},"#,
            r#""oldest":{"name":"shop_api_age","labels":{"method":"method","path":"path"}}}]}"#,
        ),
    );
    Ok(())
}

#[actix_web::test]
async fn the_page_knows_the_names_of_the_opentelemetry_conventions() {
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .service(live_scope())
        .wrap(HrPrometheus::with_builder(
            OtelMonitor::builder().active_requests(),
        ));
    assert_eq!(
        settings(app, "/live").await,
        concat!(
            r#"{"metrics":"./metrics","monitors":[{"latency":{"name":"http_server_request_duration_seconds","#,
            r#""labels":{"method":"http_request_method","path":"http_route","status":"http_response_status_code"}},"#,
            r#""in_progress":{"name":"http_server_active_requests","labels":{"method":"http_request_method"}}}]}"#,
        ),
    );
}

#[actix_web::test]
async fn each_monitor_of_a_registry_is_in_the_page_and_those_of_others_are_not()
-> Result<(), hr_prometheus::Error> {
    let registry = MetricsRegistry::new();
    let only_count = || DefaultMonitor::builder().without_latency().without_in_progress();
    let first = HrPrometheus::with_builder(only_count());
    let second = HrPrometheus::with_builder(only_count().count_name("calls"));
    first.clone().register_in(&MetricsRegistry::new())?;
    let app = App::new()
        .app_data(registry.clone())
        .service(live_scope())
        .wrap(first.register_in(&registry)?)
        .wrap(second.register_in(&registry)?);
    let settings = settings(app, "/live").await;
    let names: Vec<_> = settings.match_indices(r#""requests":{"name":""#).collect();
    assert_eq!(names.len(), 2, "{settings}");
    assert!(
        settings.contains(r#""request_count""#) && settings.contains(r#""calls""#),
        "{settings}"
    );
    Ok(())
}

#[actix_web::test]
async fn a_registry_without_monitors_has_a_page() {
    let app = App::new().app_data(MetricsRegistry::new()).service(live_scope());
    assert_eq!(
        settings(app, "/live").await,
        r#"{"metrics":"./metrics","monitors":[]}"#
    );
}

#[actix_web::test]
async fn a_browser_may_load_nothing_else_and_read_the_metrics_only() {
    let app = App::new()
        .app_data(MetricsRegistry::new())
        .service(web::scope("/here").service(live_scope()))
        .service(web::scope("/there").service(live_scope_for("https://admin.example:9000/metrics?a=b")));
    let app = init_service(app).await;
    for (path, origins) in [
        ("/here/live", "'self'"),
        ("/there/live", "'self' https://admin.example:9000"),
    ] {
        let response = call_service(&app, TestRequest::with_uri(path).to_request()).await;
        let header = |name: header::HeaderName| {
            response
                .headers()
                .get(name)
                .expect("a header")
                .to_str()
                .expect("text")
        };
        let policy: Vec<_> = header(header::CONTENT_SECURITY_POLICY).split("; ").collect();
        assert_eq!(policy[0], "default-src 'none'");
        assert!(
            policy[1].starts_with("script-src 'sha256-") && !policy[1].contains("unsafe"),
            "{policy:?}"
        );
        assert!(
            policy[2].starts_with("style-src 'sha256-") && !policy[2].contains("unsafe"),
            "{policy:?}"
        );
        assert_eq!(
            policy[3..],
            [
                "img-src data:",
                &format!("connect-src {origins}"),
                "base-uri 'none'",
                "form-action 'none'",
                "frame-ancestors 'self'",
                "require-trusted-types-for 'script'",
            ],
        );
        assert_eq!(header(header::CONTENT_TYPE), "text/html; charset=utf-8");
        assert_eq!(header(header::X_CONTENT_TYPE_OPTIONS), "nosniff");
        assert_eq!(header(header::REFERRER_POLICY), "no-referrer");
        assert_eq!(header(header::CACHE_CONTROL), "no-store");
    }
}

#[actix_web::test]
async fn the_page_answers_get_and_head() {
    let app = init_service(App::new().app_data(MetricsRegistry::new()).service(live_scope())).await;
    for (method, status) in [(Method::GET, 200), (Method::HEAD, 200), (Method::POST, 405)] {
        let request = TestRequest::with_uri("/live").method(method.clone()).to_request();
        assert_eq!(call_service(&app, request).await.status(), status, "{method}");
    }
}
