//! Kept values of path parameters are labels, bounded, and never mistaken for a route.

mod support;

use std::{collections::BTreeSet, future::pending};

use actix_http::Request;
use actix_service::Service;
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::ServiceResponse,
    guard,
    test::{TestRequest, call_and_read_body, init_service},
    web::{self, ServiceConfig},
};
use allocation_counter::measure;
use futures_util::FutureExt as _;
use hr_prometheus::{
    HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart, metrics_scope,
    prometheus_client::{
        metrics::{counter::Counter, family::Family},
        registry::Registry,
    },
};

use support::{assert_balanced, capture_log, eventually_has, http, logged, serve};

/// The labels `path` of a family in a scrape, each once.
fn paths(scrape: &str, family: &str) -> Vec<String> {
    let samples = scrape.lines().filter_map(|line| line.strip_prefix(family));
    let paths = samples.filter_map(|sample| {
        let path = sample.split_once("path=\"")?.1;
        Some(path.split_once('"')?.0.to_owned())
    });
    let paths: BTreeSet<_> = paths.collect();
    paths.into_iter().collect()
}

/// With a body, so that the request is in progress as long as a test holds the response.
async fn ok() -> HttpResponse {
    HttpResponse::Ok().body("ok")
}

async fn app(
    registry: &MetricsRegistry,
    metrics: HrPrometheus,
    configure: impl FnOnce(&mut ServiceConfig),
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new().app_data(registry.clone()).configure(configure);
    init_service(app.wrap(metrics)).await
}

/// Routes of every shape.
fn shapes(config: &mut ServiceConfig) {
    config
        .route("/cell/{cell_id}/direction/{direction}", web::get().to(ok))
        .service(
            web::scope("/tenants/{id}")
                .route("/users/{id}", web::get().to(ok))
                .route("/about", web::get().to(ok)),
        )
        .route(r"/numbers/{number:\d{1,3}}", web::get().to(ok))
        .route("/files/{tail}*", web::get().to(ok))
        .service(web::resource(["/new/{name}", "/old/{name}"]).to(ok))
        .route("/static", web::get().to(ok));
}

/// The label under which a request for `uri` is counted, which must be the one under which it was in progress.
async fn counted_as(metrics: HrPrometheus, configure: impl FnOnce(&mut ServiceConfig), uri: &str) -> String {
    let registry = MetricsRegistry::new();
    let app = app(&registry, metrics, configure).await;
    let response = app.call(TestRequest::with_uri(uri).to_request()).await;
    let in_progress = paths(&registry.encode().unwrap(), "requests_in_progress");
    drop(response);
    let counted = paths(&registry.encode().unwrap(), "request_count_total");
    assert_eq!(in_progress, counted, "of {uri}");
    assert_balanced(&registry);
    counted.concat()
}

#[actix_web::test]
async fn the_values_of_chosen_parameters_are_kept_and_all_others_collapsed() {
    let keep = |route: &str, names: &[&str]| HrPrometheus::default().keep_params(route, names);
    let cell = "/cell/{cell_id}/direction/{direction}";
    for (route, names, uri, label) in [
        (
            cell,
            &["direction"][..],
            "/cell/7/direction/north",
            "/cell/{cell_id}/direction/north",
        ),
        (
            cell,
            &["cell_id"],
            "/cell/7/direction/north",
            "/cell/7/direction/{direction}",
        ),
        (
            cell,
            &["cell_id", "direction"],
            "/cell/7/direction/north",
            "/cell/7/direction/north",
        ),
        (cell, &[], "/cell/7/direction/north", cell),
        (cell, &["direction"], "/numbers/7", "/numbers/{number}"),
        ("/numbers/{number}", &["number"], "/numbers/123", "/numbers/123"),
        ("/files/{tail}*", &["tail"], "/files/a/b.txt", "/files/a/b.txt"),
        // A name stands for all parameters of that name.
        (
            "/tenants/{id}/users/{id}",
            &["id"],
            "/tenants/acme/users/7",
            "/tenants/acme/users/7",
        ),
        (
            "/tenants/{id}/about",
            &["id"],
            "/tenants/acme/about",
            "/tenants/acme/about",
        ),
        (
            "/tenants/{id}/about",
            &["id"],
            "/tenants/acme/users/7",
            "/tenants/{id}/users/{id}",
        ),
        // Only the first of several patterns is a label.
        ("/new/{name}", &["name"], "/new/a", "/new/a"),
        ("/new/{name}", &["name"], "/old/a", "/new/{name}"),
        (cell, &["direction"], "/cell/7", "unmatched"),
    ] {
        assert_eq!(
            counted_as(keep(route, names), shapes, uri).await,
            label,
            "{names:?} of {route}"
        );
    }
}

#[actix_web::test]
async fn all_parameters_of_all_routes_can_be_kept() {
    for (uri, label) in [
        ("/cell/7/direction/north", "/cell/7/direction/north"),
        ("/tenants/acme/users/7", "/tenants/acme/users/7"),
        ("/numbers/7", "/numbers/7"),
        ("/files/a/b?c=d", "/files/a/b"),
        ("/files/", "/files/"),
        ("/static", "/static"),
        ("/numbers/none", "unmatched"),
    ] {
        let metrics = HrPrometheus::default().keep_all_params();
        assert_eq!(counted_as(metrics, shapes, uri).await, label);
    }
}

#[actix_web::test]
async fn no_value_looks_like_a_parameter_or_breaks_a_line() {
    for (uri, label) in [
        // Decoded by actix-web, all but what would change the path.
        ("/numbers/x/%C3%A4%20%22%5C", r#"/numbers/x/ä \"\\"#),
        ("/numbers/x/a%2Fb%25", "/numbers/x/a%2Fb%25"),
        ("/numbers/x/%7Bvalue%7D", "/numbers/x/%7Bvalue%7D"),
        ("/numbers/x/%0A%0d%00%7f%C2%85", "/numbers/x/%0A%0D%00%7F%C2%85"),
        ("/numbers/x/unmatched", "/numbers/x/unmatched"),
        ("/numbers/x/_OTHER", "/numbers/x/_OTHER"),
    ] {
        let registry = MetricsRegistry::new();
        let metrics = HrPrometheus::default().keep_all_params();
        let route = |config: &mut ServiceConfig| {
            config.route("/numbers/{name}/{value}", web::get().to(ok));
        };
        let app = app(&registry, metrics, route).await;
        drop(app.call(TestRequest::with_uri(uri).to_request()).await);
        let sample = format!(r#"request_count_total{{method="GET",path="{label}",status="200"}} 1"#);
        let scrape = registry.encode().unwrap();
        assert!(
            scrape.lines().any(|line| line == sample),
            "{sample} is not in\n{scrape}"
        );
    }
}

#[actix_web::test]
async fn a_value_of_more_than_128_characters_is_not_kept() {
    for (length, label) in [
        (128, format!("/{}/b", "ä".repeat(128))),
        (129, "/{first}/b".to_owned()),
        (6_000, "/{first}/b".to_owned()),
    ] {
        let metrics = HrPrometheus::default().keep_all_params();
        let route = |config: &mut ServiceConfig| {
            config.route("/{first}/{second}", web::get().to(ok));
        };
        let uri = format!("/{}/b", "%C3%A4".repeat(length));
        assert_eq!(counted_as(metrics, route, &uri).await, label);
    }
}

#[actix_web::test]
async fn patterns_with_one_label_keep_each_its_own_values() {
    let registry = MetricsRegistry::new();
    let routes = |config: &mut ServiceConfig| {
        config
            .route(r"/{name:\d+}", web::get().to(ok))
            .route("/{name:[a-z]+}", web::get().to(ok));
    };
    let app = app(&registry, HrPrometheus::default().keep_all_params(), routes).await;

    for uri in ["/12", "/ab", "/34", "/cd", "/12"] {
        let response = app.call(TestRequest::with_uri(uri).to_request()).await;
        assert_eq!(
            registry.value("requests_in_progress", &[("path", uri)]),
            Some(1.0)
        );
        drop(response);
    }

    let counted = paths(&registry.encode().unwrap(), "request_count_total");
    assert_eq!(counted, ["/12", "/34", "/ab", "/cd"]);
}

#[actix_web::test]
async fn a_mount_keeps_the_parameters_before_it() {
    let mount = |config: &mut ServiceConfig| {
        config.service(actix_files::Files::new("/f/{tenant}", env!("CARGO_MANIFEST_DIR")));
    };
    for (uri, path) in [
        ("/f/acme/Cargo.toml", "/f/acme"),
        // A value with which nothing is found may be made up.
        ("/f/acme/none/at/all", "/f/{tenant}"),
    ] {
        let metrics = HrPrometheus::default().keep_params("/f/{tenant}", ["tenant"]);
        assert_eq!(counted_as(metrics, mount, uri).await, path);
    }
}

#[test]
fn ten_thousand_values_are_as_many_labels_as_the_limit_allows_and_one_more() {
    capture_log();
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let metrics = HrPrometheus::default().keep_all_params();
    let server = serve(2, move || {
        App::new()
            .app_data(data.clone())
            .route("/users/{name}", web::get().to(ok))
            .route("/about", web::get().to(ok))
            .wrap(metrics.clone())
    });
    let mut client = server.connect();
    let mut other = server.connect();
    for name in 0..10_000 {
        let client = if name % 2 == 0 { &mut client } else { &mut other };
        client.request("GET", &format!("/users/{name}"));
        client.read_until("ok");
    }
    http(server.address, "GET", "/about");

    eventually_has(&registry, "request_count_total", &[], 10_001.0);
    let scrape = registry.encode().unwrap();
    for family in [
        "request_count_total",
        "request_latency_count",
        "requests_in_progress",
    ] {
        let paths = paths(&scrape, family);
        assert_eq!(paths.len(), 1_002, "1,000, `_OTHER` and `/about`");
        assert!(paths.contains(&"_OTHER".to_owned()) && paths.contains(&"/about".to_owned()));
    }
    let other = registry.value("request_count_total", &[("path", "_OTHER")]);
    assert_eq!(other, Some(9_000.0));
    let beyond = registry.value(
        "hr_prometheus_cardinality_limit_exceeded_total",
        &[("limit", "path")],
    );
    assert_eq!(beyond, other);
    // One for each registry of this process, not one for each request.
    let lines = logged("the limit on distinct paths is reached").len();
    assert!((1..20).contains(&lines), "{lines} lines");
    assert_balanced(&registry);
}

#[actix_web::test]
async fn over_the_limit_a_worker_remembers_nothing() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::default().keep_all_params().max_kept_paths(10);
    let app = app(&registry, metrics, shapes).await;
    let call_all = |range: std::ops::Range<u32>| {
        for name in range {
            let request = TestRequest::with_uri(&format!("/files/{name:06}")).to_request();
            drop(app.call(request).now_or_never());
        }
    };
    call_all(0..200);

    let kept = measure(|| call_all(200..1_200)).bytes_current;

    assert_eq!(kept, 0);
}

#[actix_web::test]
async fn requests_in_progress_are_as_bounded_as_those_that_have_ended() {
    let registry = MetricsRegistry::new();
    let hang = |config: &mut ServiceConfig| {
        config.route("/slow/{name}", web::get().to(pending::<HttpResponse>));
    };
    let metrics = HrPrometheus::default().keep_all_params().max_kept_paths(10);
    let app = app(&registry, metrics, hang).await;

    let mut hanging = Vec::new();
    for name in 0..50 {
        let request = TestRequest::with_uri(&format!("/slow/{name:02}")).to_request();
        let mut answer = Box::pin(app.call(request));
        assert!((&mut answer).now_or_never().is_none());
        hanging.push(answer);
    }
    let in_progress = paths(&registry.encode().unwrap(), "requests_in_progress");
    let beyond = || registry.value("hr_prometheus_cardinality_limit_exceeded_total", &[]);
    assert_eq!(in_progress.len(), 11);
    assert_eq!(
        registry.value("requests_in_progress", &[("path", "_OTHER")]),
        Some(40.0)
    );
    assert_eq!(beyond(), Some(0.0), "who looks is no request");

    drop(hanging);
    assert_eq!(
        paths(&registry.encode().unwrap(), "request_count_total"),
        in_progress
    );
    assert_eq!(
        registry.value("request_count_total", &[("path", "_OTHER"), ("status", "499")]),
        Some(40.0)
    );
    assert_eq!(beyond(), Some(40.0));
    assert_balanced(&registry);
}

#[actix_web::test]
async fn the_routes_of_the_application_do_not_count_towards_the_limit() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::default().keep_all_params().max_kept_paths(1);
    let routes = |config: &mut ServiceConfig| {
        config
            .service(web::resource("/users/me").guard(guard::Get()).to(ok))
            .service(web::resource("/users/{name}").to(ok))
            .route("/about", web::get().to(ok));
    };
    let app = app(&registry, metrics, routes).await;

    for request in [
        // Both are served by `/users/{name}`, and the first has the path of a route.
        TestRequest::post().uri("/users/me"),
        TestRequest::post().uri("/users/alice"),
        TestRequest::post().uri("/users/bob"),
        TestRequest::post().uri("/users/me"),
        TestRequest::get().uri("/users/me"),
        TestRequest::get().uri("/about"),
    ] {
        drop(app.call(request.to_request()).await);
    }

    let of = |path: &str| registry.value("request_count_total", &[("path", path)]);
    assert_eq!(of("/users/me"), Some(3.0));
    assert_eq!(of("/users/alice"), Some(1.0));
    assert_eq!(of("_OTHER"), Some(1.0));
    assert_eq!(of("/about"), Some(1.0));
}

#[actix_web::test]
async fn middleware_with_other_caps_share_the_paths_of_their_registry() {
    let registry = MetricsRegistry::new();
    let small = HrPrometheus::default().keep_all_params().max_kept_paths(1);
    let large = HrPrometheus::default().keep_all_params().max_kept_paths(2);
    let route = |config: &mut ServiceConfig| {
        config.route("/{name}", web::get().to(ok));
    };
    let small = app(&registry, small, route).await;
    let large = app(&registry, large, route).await;

    let get = |path: &str| TestRequest::with_uri(path).to_request();
    drop(small.call(get("/a")).await);
    drop(small.call(get("/b")).await);
    drop(large.call(get("/b")).await);
    drop(large.call(get("/c")).await);
    drop(small.call(get("/b")).await);

    let of = |path: &str| registry.value("request_count_total", &[("path", path)]);
    assert_eq!(
        (of("/a"), of("/b"), of("/c"), of("_OTHER")),
        (Some(1.0), Some(2.0), None, Some(2.0))
    );
}

#[actix_web::test]
async fn a_monitor_gets_the_kept_path_and_one_number_for_it() {
    #[derive(Clone)]
    struct ByRoute(Family<[(&'static str, String); 3], Counter>);

    impl RequestMonitor for ByRoute {
        type InFlight = String;

        fn register(registry: &mut Registry) -> Self {
            let family = Family::default();
            registry.register("ended", "Requests", family.clone());
            Self(family)
        }

        fn update_init_metrics(&self, request: &RequestStart<'_>) -> String {
            request.route().to_owned()
        }

        fn update_end_metrics(&self, start: String, end: &RequestEnd<'_>) {
            let labels = [
                ("start", start),
                ("end", end.route().to_owned()),
                ("id", end.route_id().to_string()),
            ];
            self.0.get_or_create_owned(&labels).inc();
        }
    }

    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_monitor::<ByRoute>()
        .keep_all_params()
        .max_kept_paths(2);
    let app = App::new()
        .app_data(registry.clone())
        .route("/a/{name}", web::get().to(ok))
        .route("/b/{name}", web::get().to(ok))
        .wrap(metrics);
    let app = init_service(app).await;
    for uri in ["/a/x", "/a/y", "/a/x", "/a/z", "/b/z"] {
        call_and_read_body(&app, TestRequest::with_uri(uri).to_request()).await;
    }

    let scrape = registry.encode().unwrap();
    let mut ended: Vec<_> = scrape
        .lines()
        .filter(|line| line.starts_with("ended_total"))
        .collect();
    ended.sort_unstable();
    let ids: BTreeSet<_> = ended
        .iter()
        .filter_map(|line| line.split_once("id=\""))
        .map(|(_, id)| id)
        .collect();
    assert_eq!(ids.len(), 3, "{ended:?}");
    let without_ids: Vec<_> = ended
        .iter()
        .filter_map(|line| Some((line.split_once(",id=")?.0, line.split_once("} ")?.1)))
        .collect();
    assert_eq!(
        without_ids,
        [
            (r#"ended_total{start="/a/x",end="/a/x""#, "2"),
            (r#"ended_total{start="/a/y",end="/a/y""#, "1"),
            (r#"ended_total{start="_OTHER",end="_OTHER""#, "2"),
        ],
    );
}

#[test]
fn a_look_from_elsewhere_shows_the_label_that_the_request_is_counted_under() {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let metrics = HrPrometheus::default().keep_params("/slow/{name}/{id}", ["name"]);
    let public = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .route("/slow/{name}/{id}", web::get().to(pending::<HttpResponse>))
            .wrap(metrics.clone())
    });
    let data = registry.clone();
    let admin = serve(1, move || {
        App::new().app_data(data.clone()).service(metrics_scope())
    });
    let hanging = public.request("GET", "/slow/bob/7");
    let in_progress = &[("path", "/slow/bob/{id}")];
    support::eventually("the request of bob is shown", || {
        let scrape = http(admin.address, "GET", "/metrics").1;
        assert!(!scrape.contains("unmatched"), "{scrape}");
        paths(&scrape, "requests_in_progress").contains(&"/slow/bob/{id}".to_owned())
    });
    hanging.reset();

    eventually_has(&registry, "request_count_total", in_progress, 1.0);
    eventually_has(&registry, "requests_in_progress", in_progress, 0.0);
}

#[test]
fn what_cannot_be_kept_is_an_error_that_names_the_fix() {
    let error = |route: &str, name: &str| {
        let error = HrPrometheus::default()
            .keep_params(route, [name])
            .build()
            .unwrap_err();
        error.to_string()
    };
    assert_eq!(
        error("/cell/{cell_id}/direction/{direction}", "cell"),
        r#"keep_params: the route "/cell/{cell_id}/direction/{direction}" has no parameter `cell`; it has `cell_id`, `direction`"#,
    );
    assert_eq!(
        error("/about", "id"),
        r#"keep_params: the route "/about" has no parameter `id`; it has no parameters"#,
    );
    assert_eq!(
        error(r"/users/{id:\d+}", "id"),
        r#"keep_params: no route can have the label "/users/{id:\\d+}"; write parameters without their regular expressions: "/users/{id}""#,
    );
    assert!(error("users/{id}", "id").contains(r#"as in "/users/{id}""#));
}

#[test]
fn the_limit_is_exposed_with_the_families_that_are_registered_beforehand() {
    let beyond =
        |registry: &MetricsRegistry| registry.value("hr_prometheus_cardinality_limit_exceeded_total", &[]);
    let registries = [(); 4].map(|()| MetricsRegistry::new());
    let [nothing, before, after, all] = &registries;
    let _ = HrPrometheus::default()
        .register_in(nothing)
        .unwrap()
        .max_kept_paths(5);
    let _ = HrPrometheus::default()
        .keep_all_params()
        .register_in(before)
        .unwrap();
    let _ = HrPrometheus::default()
        .register_in(after)
        .unwrap()
        .keep_params("/{a}", ["a"]);
    let _ = HrPrometheus::default()
        .register_in(all)
        .unwrap()
        .keep_all_params();

    assert_eq!(beyond(nothing), None);
    for registry in [before, after, all] {
        assert_eq!(beyond(registry), Some(0.0));
    }
}
