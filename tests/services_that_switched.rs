//! Three kinds of service after the switch from another crate, with the lines that `src/guide/coming_from.md` names, over
//! real connections.
#![cfg(all(feature = "prometheus-0_13", feature = "prometheus-0_14"))]

mod support;

use std::{
    collections::HashMap,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
};

use actix_web::{
    App, Error, HttpServer,
    body::MessageBody,
    dev::{Server, ServiceRequest, ServiceResponse},
    error::ErrorTooManyRequests,
    middleware::{Next, from_fn},
    rt::System,
    web,
};
use futures_util::future::try_join;
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, MetricsRegistry, metrics_scope, metrics_server,
    prometheus_client::registry::Registry, prometheus_metrics,
};

use support::{eventually_has, http, scrape_prometheus_text, serve};

/// Binds `make` to a port that is free; another process may take it in between, then the next one.
fn on_a_free_port(make: impl Fn(SocketAddr) -> std::io::Result<Server>) -> (SocketAddr, Server) {
    let bound = (0..10).find_map(|_| {
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        Some((address, make(address).ok()?))
    });
    bound.expect("a free port")
}

/// It had a second `HttpServer` with a handler that encodes what `prometheus::gather()` of 0.13 returns.
#[test]
fn an_exporter_on_its_own_port_keeps_its_metrics_and_the_port() {
    let tiles = prometheus_0_13::register_int_counter!("tiles_rendered_total", "Tiles rendered").unwrap();

    let (started, addresses) = mpsc::channel();
    let main = thread::spawn(move || {
        System::new().block_on(async {
            let registry = MetricsRegistry::new();
            registry.register_with(prometheus_metrics(prometheus_0_13::default_registry()));
            let (metrics_address, metrics) = on_a_free_port(|address| metrics_server(&registry, address));
            let app = HttpServer::new(move || {
                let tiles = tiles.clone();
                App::new()
                    .app_data(registry.clone())
                    .route(
                        "/tiles/{z}/{x}/{y}",
                        web::get().to(move || {
                            tiles.inc();
                            async { "tile" }
                        }),
                    )
                    .wrap(HrPrometheus::default())
            })
            .workers(1)
            .disable_signals()
            .bind(("127.0.0.1", 0))?;
            let address = app.addrs()[0];
            let app = app.run();
            started
                .send((address, metrics_address, app.handle(), metrics.handle()))
                .unwrap();
            try_join(app, metrics).await
        })
    });
    let (app, metrics, app_handle, metrics_handle) = addresses.recv().unwrap();

    for y in 0..3 {
        assert_eq!(http(app, "GET", &format!("/tiles/1/0/{y}")).1, "tile");
    }
    assert!(http(app, "GET", "/metrics").0.starts_with("HTTP/1.1 404"));
    let (_, scrape) = http(metrics, "GET", "/metrics");
    for line in [
        "tiles_rendered_total 3.0",
        r#"request_count_total{method="GET",path="/tiles/{z}/{x}/{y}",status="200"} 3"#,
        r#"request_count_total{method="GET",path="unmatched",status="404"} 1"#,
    ] {
        assert!(
            scrape.lines().any(|found| found == line),
            "no {line} in\n{scrape}"
        );
    }

    drop((app_handle.stop(false), metrics_handle.stop(false)));
    main.join().unwrap().unwrap();
}

/// It had `PrometheusMetricsBuilder::new("shop").registry(default_registry().clone()).const_labels(labels)`, which puts the
/// labels on the metrics of requests alone.
#[actix_web::test]
async fn a_default_registry_and_constant_labels_from_configuration_stay() {
    let orders = prometheus::register_int_counter_vec!("orders_total", "Orders", &["kind"]).unwrap();
    let labels = HashMap::from([("region".to_owned(), "eu".to_owned())]);

    let registry = MetricsRegistry::new();
    registry.register_with(prometheus_metrics(prometheus::default_registry()));
    let monitor = DefaultMonitor::builder().actix_web_prom("shop");
    let metrics = HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
        let labels = labels
            .clone()
            .into_iter()
            .map(|(name, value)| (name.into(), value.into()));
        monitor.register(registry.sub_registry_with_labels(labels))
    })
    .register_in(&registry)
    .unwrap();
    let server = serve(2, {
        let registry = registry.clone();
        move || {
            let orders = orders.clone();
            App::new()
                .app_data(registry.clone())
                .service(metrics_scope())
                .route(
                    "/orders/{id}",
                    web::post().to(move || {
                        orders.with_label_values(&["book"]).inc();
                        async { "ordered" }
                    }),
                )
                .wrap(metrics.clone())
        }
    });

    http(server.address, "POST", "/orders/7");
    http(server.address, "POST", "/orders/8");
    eventually_has(&registry, "shop_http_requests_total", &[], 2.0);
    let scrape = scrape_prometheus_text(&registry).await;
    for line in [
        r#"orders_total{kind="book"} 2.0"#,
        r#"shop_http_requests_total{region="eu",endpoint="/orders/{id}",method="POST",status="200"} 2"#,
        r#"shop_http_requests_duration_seconds_count{region="eu",endpoint="/orders/{id}",method="POST",status="200"} 2"#,
    ] {
        assert!(
            scrape.lines().any(|found| found == line),
            "no {line} in\n{scrape}"
        );
    }
}

/// Refuses a request of two with an error, as limiters and authentication do.
async fn limit(
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    if request.query_string() == "too=many" {
        return Err(ErrorTooManyRequests("later"));
    }
    next.call(request).await
}

/// It had actix-web-prom around that, which does not count what ends in an error of a middleware or in a panic.
#[test]
fn requests_that_a_middleware_refuses_with_an_error_are_all_counted() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_builder(DefaultMonitor::builder().actix_web_prom(""));
    let server = serve(2, {
        let registry = registry.clone();
        move || {
            App::new()
                .app_data(registry.clone())
                .route("/items/{id}", web::get().to(async || "item"))
                .route(
                    "/broken",
                    web::get().to(async || -> &str { panic!("a handler that panics") }),
                )
                .wrap(from_fn(limit))
                .wrap(metrics.clone())
        }
    });

    for item in 0..32 {
        let query = ["", "?too=many"][item % 2];
        http(server.address, "GET", &format!("/items/{item}{query}"));
    }
    for _ in 0..2 {
        assert_eq!(
            http(server.address, "GET", "/broken"),
            (String::new(), String::new())
        );
    }
    eventually_has(&registry, "http_requests_total", &[], 34.0);
    registry.assert_family(
        "http_requests",
        r#"
        http_requests_total{endpoint="/items/{id}",method="GET",status="200"} 16
        http_requests_total{endpoint="/items/{id}",method="GET",status="429"} 16
        http_requests_total{endpoint="/broken",method="GET",status="500"} 2
        "#,
    );
    assert_eq!(
        registry.value("http_requests_duration_seconds_count", &[]),
        Some(34.0)
    );
}
