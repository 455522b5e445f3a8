//! A request in progress is shown by the routes of its own application, whichever application is scraped.

mod support;

use std::{future::pending, pin::pin, sync::mpsc, time::Duration};

use actix_files::Files;
use actix_web::{
    App, HttpRequest, HttpResponse,
    dev::{Service, ServiceResponse},
    middleware::NormalizePath,
    test::{TestRequest, init_service},
    web::{self, ServiceConfig},
};
use futures_util::FutureExt as _;
use hr_prometheus::{HrPrometheus, MetricsRegistry, metrics_scope};

use support::{assert_balanced, eventually_has, http, serve};

/// The samples of the gauge in a scrape that are not zero, without those of scrapes.
fn in_progress(scrape: &str) -> Vec<&str> {
    let samples = scrape.lines().filter(|line| !line.ends_with(" 0"));
    samples
        .filter_map(|line| line.strip_prefix("requests_in_progress{"))
        .filter(|sample| !sample.contains(r#"path="/metrics""#))
        .collect()
}

/// Says that it was entered and hangs, but for `?now`.
async fn slow(request: HttpRequest, entered: web::Data<mpsc::Sender<()>>) -> &'static str {
    if request.query_string() == "now" {
        return "now";
    }
    entered.send(()).unwrap();
    pending().await
}

/// Asserts what a scrape of an admin application with these routes shows of a request that hangs in another one.
fn assert_shown_through(
    admin_routes: fn(&mut ServiceConfig),
    admin_metrics: fn() -> HrPrometheus,
    expected: &[&str],
) {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let (entered, enters) = mpsc::channel::<()>();
    let public = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::Data::new(entered.clone()))
            .route("/slow/{id}", web::get().to(slow))
            .wrap(HrPrometheus::default())
    });
    let data = registry.clone();
    let admin = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .service(metrics_scope())
            .configure(admin_routes)
            .wrap(admin_metrics())
    });
    http(public.address, "GET", "/slow/7?now");
    // The worker of the admin application learns its routes too.
    http(admin.address, "GET", "/metrics");

    let client = public.request("GET", "/slow/7");
    enters.recv_timeout(Duration::from_secs(20)).unwrap();
    let scrape = http(admin.address, "GET", "/metrics").1;

    assert_eq!(in_progress(&scrape), expected);
    client.reset();
    eventually_has(&registry, "requests_in_progress", &[], 0.0);
    assert_balanced(&registry);
}

#[test]
fn a_measured_admin_application_that_takes_every_path_lends_no_label() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/{page:.*}", web::get().to(async || "page"));
    };
    assert_shown_through(
        routes,
        HrPrometheus::default,
        &[r#"method="GET",path="/slow/{id}"} 1"#],
    );
}

#[test]
fn a_measured_admin_application_with_files_at_the_root_lends_no_label() {
    let routes = |app: &mut ServiceConfig| {
        app.service(Files::new("/", "tests/support"));
    };
    assert_shown_through(
        routes,
        HrPrometheus::default,
        &[r#"method="GET",path="/slow/{id}"} 1"#],
    );
}

#[test]
fn a_route_that_the_admin_application_excludes_is_shown_where_it_is_not_excluded() {
    let routes = |app: &mut ServiceConfig| {
        app.route("/slow/{name}", web::get().to(async || "page"));
    };
    assert_shown_through(
        routes,
        || HrPrometheus::default().exclude_routes(["/slow/{name}", "/slow/{id}"]),
        &[r#"method="GET",path="/slow/{id}"} 1"#],
    );
}

#[test]
fn a_route_that_is_excluded_is_not_shown_through_an_admin_application_that_has_it() {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let (entered, enters) = mpsc::channel::<()>();
    let public = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .app_data(web::Data::new(entered.clone()))
            .route("/slow/{id}", web::get().to(slow))
            .wrap(HrPrometheus::default().exclude_routes(["/slow/{id}"]))
    });
    let data = registry.clone();
    let admin = serve(1, move || {
        App::new()
            .app_data(data.clone())
            .service(metrics_scope())
            .route("/{page:.*}", web::get().to(async || "page"))
            .wrap(HrPrometheus::default())
    });
    http(admin.address, "GET", "/metrics");

    let client = public.request("GET", "/slow/7");
    enters.recv_timeout(Duration::from_secs(20)).unwrap();
    let scrape = http(admin.address, "GET", "/metrics").1;

    assert_eq!(in_progress(&scrape), [""; 0]);
    client.reset();
}

fn hang() -> actix_web::Route {
    web::get().to(pending::<HttpResponse>)
}

async fn application(
    registry: &MetricsRegistry,
    metrics: HrPrometheus,
    routes: fn(&mut ServiceConfig),
) -> impl Service<
    actix_http::Request,
    Response = ServiceResponse<impl actix_web::body::MessageBody>,
    Error = actix_web::Error,
> {
    let app = App::new().app_data(registry.clone()).configure(routes);
    init_service(app.wrap(metrics)).await
}

/// Asserts what `encode` shows of a request for `/slow/7` that hangs in one of two applications of this thread; both
/// have served one before, in either order.
async fn assert_encoded_beside(
    other_metrics: fn() -> HrPrometheus,
    other_routes: fn(&mut ServiceConfig),
    expected: &[&str],
) {
    for other_first in [true, false] {
        let registry = MetricsRegistry::new();
        let own_routes = |app: &mut ServiceConfig| {
            app.route("/slow/{id}", hang());
        };
        let own = application(&registry, HrPrometheus::default(), own_routes).await;
        let other = application(&registry, other_metrics(), other_routes).await;
        let nowhere = || TestRequest::with_uri("/a/b/c/nowhere").to_request();
        if other_first {
            other.call(nowhere()).now_or_never();
            own.call(nowhere()).now_or_never();
        } else {
            own.call(nowhere()).now_or_never();
            other.call(nowhere()).now_or_never();
        }

        let mut request = pin!(own.call(TestRequest::with_uri("/slow/7").to_request()));
        assert!(request.as_mut().now_or_never().is_none());
        assert_eq!(
            in_progress(&registry.encode().unwrap()),
            expected,
            "the other one first: {other_first}"
        );
    }
}

#[actix_web::test]
async fn encode_shows_a_request_by_its_own_application_of_two_on_a_thread() {
    let all = |app: &mut ServiceConfig| {
        app.route("/{page:.*}", web::post().to(HttpResponse::Ok));
    };
    let files = |app: &mut ServiceConfig| {
        app.service(Files::new("/", "tests/support"));
    };
    let expected = [r#"method="GET",path="/slow/{id}"} 1"#];
    assert_encoded_beside(HrPrometheus::default, all, &expected).await;
    assert_encoded_beside(HrPrometheus::default, files, &expected).await;
}

#[actix_web::test]
async fn encode_shows_a_request_whose_route_another_application_of_the_thread_excludes() {
    let same = |app: &mut ServiceConfig| {
        app.route("/slow/{id}", hang());
    };
    let excluding = || HrPrometheus::default().exclude_routes(["/slow/{id}"]);
    assert_encoded_beside(excluding, same, &[r#"method="GET",path="/slow/{id}"} 1"#]).await;
}

/// Panics, refuses or hangs as the query says.
async fn obey(request: HttpRequest) -> HttpResponse {
    match request.query_string() {
        "panic" => panic!("asked to"),
        "hang" => pending().await,
        _ => HttpResponse::Ok().finish(),
    }
}

/// Asserts that a request for `target` is shown and counted as `path` where `NormalizePath` trims it, if it hangs and
/// is dropped, and if it panics; `None` for no trace.
async fn assert_normalized(target: &str, path: Option<&str>) {
    for ending in ["hang", "panic"] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .route("/", web::get().to(obey))
            .route("/health", web::get().to(obey))
            .route("/orders/{id}", web::get().to(obey))
            .service(web::scope("/api").route("/orders/{id}", web::get().to(obey)))
            .wrap(NormalizePath::trim())
            .wrap(HrPrometheus::default().exclude_routes(["/health"]));
        let app = init_service(app).await;
        let uri = format!("{target}?{ending}");
        {
            let request = app.call(TestRequest::with_uri(&uri).to_request());
            let mut request = pin!(std::panic::AssertUnwindSafe(request).catch_unwind());
            let polled = request.as_mut().now_or_never();
            assert_eq!(polled.is_none(), ending == "hang", "{uri}");
            if ending == "hang" {
                let shown = path.map(|path| format!(r#"method="GET",path="{path}"}} 1"#));
                assert_eq!(
                    in_progress(&registry.encode().unwrap()),
                    Vec::from_iter(shown.as_deref()),
                    "{uri}"
                );
            }
        }
        let counted = |labels: &[_]| registry.value("request_count_total", labels);
        let status = if ending == "hang" { "499" } else { "500" };
        match path {
            Some(path) => assert_eq!(
                counted(&[("path", path), ("status", status)]),
                Some(1.0),
                "{uri} in\n{}",
                registry.encode().unwrap()
            ),
            None => assert!(counted(&[]).is_none_or(|count| count == 0.0), "{uri}"),
        }
        assert_balanced(&registry);
    }
}

#[actix_web::test]
async fn a_path_that_is_trimmed_within_has_the_label_of_its_route_without_a_response() {
    for (target, path) in [
        ("/orders/7", "/orders/{id}"),
        ("/orders/7/", "/orders/{id}"),
        ("/orders/7//", "/orders/{id}"),
        ("//orders//7", "/orders/{id}"),
        ("/%6Frders/7/", "/orders/{id}"),
        ("/api/orders/7/", "/api/orders/{id}"),
        ("/api//orders/7", "/api/orders/{id}"),
        ("//", "/"),
    ] {
        assert_normalized(target, Some(path)).await;
    }
}

#[actix_web::test]
async fn a_path_that_is_trimmed_to_an_excluded_route_leaves_no_trace_without_a_response() {
    for target in ["/health", "/health/", "//health", "/health//", "/%68ealth/"] {
        assert_normalized(target, None).await;
    }
}
