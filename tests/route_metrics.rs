//! Which routes of an application have been asked for, as the scrape shows it.

use actix_web::{
    App, HttpResponse,
    dev::Service as _,
    guard,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope, prometheus_client::registry::Registry};

const FAMILY: &str = "actix_route_requested";

#[actix_web::test]
async fn routes_are_shown_from_the_first_request_on_and_marked_when_they_are_asked_for() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .service(metrics_scope())
        .route("/", web::get().to(async || "hello"))
        .route("/users/{id:\\d+}", web::get().to(async || "a user"))
        .route("/users/{id:\\d+}", web::post().to(async || "a user"))
        .service(web::resource(["/old", "/older/{id}"]).to(async || "old"))
        .service(web::scope("/v1").route("/items/{tail}*", web::get().to(async || "items")))
        .route(
            "/refused",
            web::get().guard(guard::fn_guard(|_| false)).to(async || "never"),
        )
        .route("/health", web::get().to(async || "well"))
        .wrap(
            HrPrometheus::default()
                .exclude_routes(["/health"])
                .route_metrics(),
        );
    let app = init_service(app).await;
    registry.assert_family(FAMILY, "");

    let scrape = call_and_read_body(&app, TestRequest::with_uri("/metrics").to_request()).await;
    assert!(
        String::from_utf8_lossy(&scrape).contains("actix_route_requested{path=\"/v1/items/{tail}*\"} 0\n")
    );
    for path in [
        "/users/1",
        "/users/2",
        "/older/7",
        "/refused",
        "/health",
        "/nowhere",
        "/v1/nothing",
    ] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    registry.assert_family(
        FAMILY,
        r#"
        # HELP actix_route_requested Whether the route has been asked for since the service started: 1 or 0
        # TYPE actix_route_requested gauge
        actix_route_requested{path="/"} 0
        actix_route_requested{path="/metrics"} 1
        actix_route_requested{path="/old"} 1
        actix_route_requested{path="/refused"} 0
        actix_route_requested{path="/users/{id}"} 1
        actix_route_requested{path="/v1/items/{tail}*"} 0
        "#,
    );
}

#[actix_web::test]
async fn a_route_has_been_asked_for_however_the_request_ended_and_whatever_is_kept() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route(
            "/left",
            web::get().to(async || std::future::pending::<&str>().await),
        )
        .route("/failed", web::get().to(HttpResponse::InternalServerError))
        .route("/missing/{id}", web::get().to(HttpResponse::NotFound))
        .route("/kept/{id}", web::get().to(async || "kept"))
        .route("/unasked/{id}", web::get().to(async || "unasked"))
        .wrap(HrPrometheus::default().keep_all_params().route_metrics());
    let app = init_service(app).await;
    drop(app.call(TestRequest::with_uri("/left").to_request()));
    for path in ["/failed", "/missing/1", "/kept/1"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    registry.assert_family(
        FAMILY,
        r#"
        actix_route_requested{path="/failed"} 1
        actix_route_requested{path="/kept/{id}"} 1
        actix_route_requested{path="/left"} 1
        actix_route_requested{path="/missing/{id}"} 1
        actix_route_requested{path="/unasked/{id}"} 0
        "#,
    );
}

#[actix_web::test]
async fn a_route_has_been_asked_for_if_a_scrape_saw_its_request_before_that_was_dropped() {
    let registry = MetricsRegistry::new();
    let hangs = || web::get().to(async || std::future::pending::<&str>().await);
    let long = format!("/long/{}", "a".repeat(200));
    let app = App::new()
        .app_data(registry.clone())
        .route("/hangs", hangs())
        .route("/kept/{id}", hangs())
        .route("/long/{id}", hangs())
        .route("/over/{id}", hangs())
        .wrap(
            HrPrometheus::default()
                .keep_params("/kept/{id}", ["id"])
                .keep_params("/over/{id}", ["id"])
                .max_kept_paths(1)
                .route_metrics(),
        );
    let app = init_service(app).await;
    for path in ["/hangs", "/kept/1", "/over/1", &long] {
        let request = app.call(TestRequest::with_uri(path).to_request());
        assert_eq!(registry.value("requests_in_progress", &[]), Some(1.0));
        drop(request);
    }
    registry.assert_family(
        FAMILY,
        r#"
        actix_route_requested{path="/hangs"} 1
        actix_route_requested{path="/kept/{id}"} 1
        actix_route_requested{path="/long/{id}"} 1
        actix_route_requested{path="/over/{id}"} 1
        "#,
    );
}

#[actix_web::test]
async fn applications_and_workers_of_one_registry_are_shown_together() {
    let registry = MetricsRegistry::from(Registry::with_prefix("shop"));
    for (own, asked) in [("/a", "/both"), ("/b", "/b"), ("/a", "/nowhere")] {
        let app = App::new()
            .app_data(registry.clone())
            .route("/both", web::get().to(async || "both"))
            .route(own, web::get().to(async || "own"))
            .wrap(HrPrometheus::default().route_metrics());
        let app = init_service(app).await;
        call_and_read_body(&app, TestRequest::with_uri(asked).to_request()).await;
    }
    registry.assert_family(
        "shop_actix_route_requested",
        r#"
        shop_actix_route_requested{path="/a"} 0
        shop_actix_route_requested{path="/b"} 1
        shop_actix_route_requested{path="/both"} 1
        "#,
    );
}

#[actix_web::test]
async fn routes_are_not_shown_unasked() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .wrap(HrPrometheus::default());
    let app = init_service(app).await;
    call_and_read_body(&app, TestRequest::with_uri("/").to_request()).await;
    registry.assert_family(FAMILY, "");
}
