//! What `OtelMonitor` can be told: each option, that its labels stay bounded, and that the rest stays as it is.

mod support;

use std::{
    future::pending,
    pin::pin,
    task::{Context, Waker},
};

use actix_http::Request;
use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{Service, ServiceResponse},
    http::{Method, header},
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, Label, MetricsRegistry, OtelInFlight, OtelMonitor, OtelMonitorBuilder,
    RequestEnd, RequestMonitor, RequestStart, prometheus_client::registry::Registry,
};

use support::{eventually_has, http, serve};

const COUNT: &str = "http_server_request_duration_seconds_count";
const ACTIVE: &str = "http_server_active_requests";

fn builder() -> OtelMonitorBuilder {
    OtelMonitor::builder()
}

async fn app(
    metrics: HrPrometheus<OtelMonitor>,
    registry: &MetricsRegistry,
) -> impl Service<Request, Response = ServiceResponse<impl MessageBody>, Error = Error> {
    let app = App::new()
        .app_data(registry.clone())
        .route("/ok", web::get().to(async || "ok"))
        .route("/stuck", web::get().to(pending::<HttpResponse>));
    init_service(app.wrap(metrics)).await
}

/// The registry after these requests to an application that is measured by what `builder` makes.
async fn recorded(
    builder: OtelMonitorBuilder,
    requests: impl IntoIterator<Item = TestRequest>,
) -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    let app = app(HrPrometheus::with_builder(builder), &registry).await;
    for request in requests {
        call_and_read_body(&app, request.to_request()).await;
    }
    drop(app);
    registry
}

/// The lines of a scrape that begin so.
fn lines(registry: &MetricsRegistry, begin: &str) -> Vec<String> {
    let scrape = registry.encode().unwrap();
    let lines = scrape.lines().filter(|line| line.starts_with(begin));
    lines.map(str::to_owned).collect()
}

fn ok() -> TestRequest {
    TestRequest::with_uri("/ok")
}

#[actix_web::test]
async fn by_default_only_the_duration_is_recorded() {
    let registry = recorded(builder(), [ok()]).await;
    assert_eq!(
        lines(&registry, "# TYPE"),
        ["# TYPE http_server_request_duration_seconds histogram"]
    );
    assert_eq!(
        lines(&registry, COUNT),
        [
            r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/ok",network_protocol_version="1.1",url_scheme="http"} 1"#
        ],
    );
}

#[actix_web::test]
async fn each_family_is_asked_for_on_its_own() {
    for (builder, family) in [
        (builder().active_requests(), "http_server_active_requests gauge"),
        (
            builder().request_body_size(),
            "http_server_request_body_size_bytes histogram",
        ),
        (
            builder().response_body_size(),
            "http_server_response_body_size_bytes histogram",
        ),
    ] {
        let registry = recorded(builder, [ok()]).await;
        assert_eq!(
            lines(&registry, "# TYPE"),
            [
                "# TYPE http_server_request_duration_seconds histogram",
                &format!("# TYPE {family}")
            ],
        );
    }
}

#[actix_web::test]
async fn the_size_that_is_asked_for_is_the_one_that_is_shown() {
    for (builder, sums) in [
        (builder().request_body_size(), [Some(5.0), None]),
        (builder().response_body_size(), [None, Some(6.0)]),
        (
            builder().response_body_size().request_body_size(),
            [Some(5.0), Some(6.0)],
        ),
    ] {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .route("/", web::post().to(async |body: String| body + "!"));
        let app = init_service(app.wrap(HrPrometheus::with_builder(builder))).await;
        let request = TestRequest::post().set_payload("hello").to_request();
        call_and_read_body(&app, request).await;
        let sum = |what| registry.value(&format!("http_server_{what}_body_size_bytes_sum"), &[]);
        assert_eq!([sum("request"), sum("response")], sums);
    }
}

#[actix_web::test]
async fn buckets_are_those_that_are_chosen() {
    const BOUNDS: [f64; 2] = [0.5, 1.0];
    let builder = builder()
        .duration_buckets(&BOUNDS[..])
        .body_size_buckets(vec![10.0])
        .response_body_size();
    let registry = recorded(builder, [ok()]).await;
    let bounds = |name: &str| {
        let buckets = lines(&registry, &format!("http_server_{name}_bucket"));
        let bound = |line: &String| line.split('"').nth(1).unwrap().to_owned();
        buckets.iter().map(bound).collect::<Vec<_>>()
    };
    assert_eq!(bounds("request_duration_seconds"), ["0.5", "1.0", "+Inf"]);
    assert_eq!(bounds("response_body_size_bytes"), ["10.0", "+Inf"]);
}

#[actix_web::test]
async fn names_can_be_without_units() {
    let builder = builder().without_units().request_body_size().response_body_size();
    let registry = recorded(builder, [ok()]).await;
    assert_eq!(
        lines(&registry, "# TYPE"),
        [
            "# TYPE http_server_request_duration histogram",
            "# TYPE http_server_request_body_size histogram",
            "# TYPE http_server_response_body_size histogram",
        ],
    );
    assert_eq!(lines(&registry, "# UNIT"), [""; 0]);
}

#[actix_web::test]
async fn a_request_without_a_route_can_have_the_label_of_the_middleware() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_builder(builder().route_of_unmatched());
    let app = app(metrics.unmatched("UNKNOWN"), &registry).await;
    for path in ["/ok", "/nowhere", "/nowhere/else"] {
        call_and_read_body(&app, TestRequest::with_uri(path).to_request()).await;
    }
    let count = |route| registry.value(COUNT, &[("http_route", route)]);
    assert_eq!([count("/ok"), count("UNKNOWN")], [Some(1.0), Some(2.0)]);
    assert_eq!(registry.value(COUNT, &[]), Some(3.0));
}

#[actix_web::test]
async fn the_name_of_the_protocol_stands_before_its_version() {
    let registry = recorded(builder().network_protocol_name(), [ok()]).await;
    assert_eq!(
        lines(&registry, COUNT),
        [
            r#"http_server_request_duration_seconds_count{http_request_method="GET",http_response_status_code="200",http_route="/ok",network_protocol_name="http",network_protocol_version="1.1",url_scheme="http"} 1"#
        ],
    );
}

#[actix_web::test]
async fn the_scheme_is_that_of_the_header_that_is_trusted() {
    let requests = || {
        [
            ok().insert_header(("X-Forwarded-Proto", "https")),
            ok().insert_header((header::FORWARDED, "for=192.0.2.60;proto=https")),
            ok().insert_header(("X-Forwarded-Proto", "invented")),
            ok(),
        ]
    };
    for (builder, https) in [
        (builder(), None),
        (builder().scheme_from("X-Forwarded-Proto"), Some(1.0)),
        (builder().scheme_from(header::FORWARDED), Some(1.0)),
        (builder().scheme_from("x-forwarded-scheme"), None),
    ] {
        let registry = recorded(builder, requests()).await;
        let count = |scheme| registry.value(COUNT, &[("url_scheme", scheme)]);
        assert_eq!(count("https"), https);
        assert_eq!(count("http"), Some(4.0 - https.unwrap_or(0.0)));
    }
}

#[actix_web::test]
async fn the_gauge_has_the_scheme_of_the_header_too() {
    let registry = MetricsRegistry::new();
    let builder = builder().active_requests().scheme_from("X-Forwarded-Proto");
    let app = app(HrPrometheus::with_builder(builder), &registry).await;
    let active = |scheme| registry.value(ACTIVE, &[("url_scheme", scheme)]);
    {
        let stuck = |scheme| {
            let request = TestRequest::with_uri("/stuck").insert_header(("X-Forwarded-Proto", scheme));
            app.call(request.to_request())
        };
        let (mut first, mut second, mut third) =
            (pin!(stuck("https")), pin!(stuck("https")), pin!(stuck("http")));
        let mut context = Context::from_waker(Waker::noop());
        assert!(first.as_mut().poll(&mut context).is_pending());
        assert!(second.as_mut().poll(&mut context).is_pending());
        assert!(third.as_mut().poll(&mut context).is_pending());
        assert_eq!([active("https"), active("http")], [Some(2.0), Some(1.0)]);
    }
    assert_eq!([active("https"), active("http")], [Some(0.0), Some(0.0)]);
}

#[actix_web::test]
async fn bots_and_tests_are_told_apart() {
    let agent = |name: &'static str| ok().insert_header((header::USER_AGENT, name));
    let requests = [
        agent("Googlebot/2.1"),
        agent("kube-probe/1.30"),
        agent("curl/8"),
        ok(),
    ];
    let registry = recorded(builder().user_agent_synthetic_type(), requests).await;
    let count = |kind| registry.value(COUNT, &[("user_agent_synthetic_type", kind)]);
    assert_eq!([count("bot"), count("test")], [Some(1.0), Some(1.0)]);
    assert_eq!(registry.value(COUNT, &[]), Some(4.0));
}

#[actix_web::test]
async fn with_every_option_on_what_a_client_invents_is_in_no_label() {
    let builder = builder()
        .active_requests()
        .request_body_size()
        .response_body_size()
        .route_of_unmatched()
        .network_protocol_name()
        .scheme_from("X-Forwarded-Proto")
        .user_agent_synthetic_type();
    let requests = (0..1_000).map(|number| {
        let invented = format!("invented{number}");
        TestRequest::with_uri(&format!("/{invented}"))
            .method(Method::from_bytes(invented.to_uppercase().as_bytes()).unwrap())
            .insert_header((header::HOST, invented.clone()))
            .insert_header((header::USER_AGENT, invented.clone()))
            .insert_header(("X-Forwarded-Proto", invented))
    });
    let registry = recorded(builder, requests).await;
    assert_eq!(
        lines(&registry, COUNT),
        [
            r#"http_server_request_duration_seconds_count{http_request_method="_OTHER",http_response_status_code="404",http_route="unmatched",network_protocol_name="http",network_protocol_version="1.1",url_scheme="http"} 1000"#
        ],
    );
    assert_eq!(
        lines(&registry, ACTIVE),
        [r#"http_server_active_requests{http_request_method="_OTHER",url_scheme="http"} 0"#],
    );
}

#[actix_web::test]
async fn requests_of_all_workers_are_active_until_they_end() {
    let registry = MetricsRegistry::new();
    let active = || registry.value(ACTIVE, &[]);
    let metrics = || HrPrometheus::with_builder(builder().active_requests());
    let stuck = || TestRequest::with_uri("/stuck").to_request();
    let apps = [
        app(metrics(), &registry).await,
        app(metrics(), &registry).await,
        app(metrics(), &registry).await,
    ];
    let mut requests = Vec::new();
    for (number, app) in (1..).zip(&apps) {
        requests.push(app.call(stuck()));
        assert_eq!(active(), Some(f64::from(number)));
    }
    drop(requests.remove(0));
    assert_eq!(active(), Some(2.0));
    drop(requests);
    assert_eq!(active(), Some(0.0));
}

#[actix_web::test]
async fn known_methods_are_those_that_are_named_and_no_others() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_builder(builder().active_requests())
        .extra_methods("BREW")
        .known_methods("GET,PURGE".split(','));
    let app = app(metrics, &registry).await;
    for method in ["GET", "POST", "PURGE", "BREW", "get"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        call_and_read_body(&app, ok().method(method).to_request()).await;
    }
    for (name, counts) in [(COUNT, [1.0, 1.0, 3.0]), (ACTIVE, [0.0; 3])] {
        let count = |method| registry.value(name, &[("http_request_method", method)]);
        let counted = ["GET", "PURGE", "_OTHER"].map(count);
        assert_eq!(counted, counts.map(Some));
        assert_eq!(["POST", "BREW", "get"].map(count), [None; 3]);
    }
}

#[actix_web::test]
async fn not_even_get_is_known_if_it_is_not_named() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_builder(builder()).known_methods("POST,PURGE".split(','));
    let app = app(metrics, &registry).await;
    call_and_read_body(&app, ok().to_request()).await;
    assert_eq!(registry.value(COUNT, &[("http_request_method", "GET")]), None);
    assert_eq!(
        registry.value(COUNT, &[("http_request_method", "_OTHER")]),
        Some(1.0)
    );
}

#[actix_web::test]
async fn builders_side_by_side_make_both_monitors() {
    let registry = MetricsRegistry::new();
    let default = DefaultMonitor::builder()
        .prefix("shop")
        .count_labels([("path", Label::Path)]);
    let metrics = HrPrometheus::with_builder((default, builder().without_units()));
    let app = App::new()
        .app_data(registry.clone())
        .route("/ok", web::get().to(async || "ok"));
    let app = init_service(app.wrap(metrics.clone())).await;
    call_and_read_body(&app, ok().to_request()).await;
    assert_eq!(
        lines(&registry, "shop_request_count_total"),
        [r#"shop_request_count_total{path="/ok"} 1"#]
    );
    assert_eq!(
        registry.value("http_server_request_duration_count", &[]),
        Some(1.0)
    );

    let wrong = (builder().scheme_from("X Forwarded"), DefaultMonitor::builder());
    assert_eq!(
        HrPrometheus::with_builder(wrong).build().unwrap_err().to_string(),
        r#"scheme_from: "X Forwarded" is not a valid header name; give one such as "X-Forwarded-Proto""#,
    );
}

#[actix_web::test]
async fn what_either_monitor_asks_for_is_measured() {
    let times = || DefaultMonitor::builder().time_on_worker([0.1]);
    let measured = async |metrics: HrPrometheus<_>| {
        let registry = MetricsRegistry::new();
        let app = App::new()
            .app_data(registry.clone())
            .default_service(web::to(async |_: web::Bytes| "ok"));
        let app = init_service(app.wrap(metrics)).await;
        let post = TestRequest::post().set_payload("ping").to_request();
        call_and_read_body(&app, post).await;
        [
            "request_time_on_worker_seconds_count",
            "http_server_request_body_size_bytes_sum",
        ]
        .map(|name| registry.value(name, &[]))
    };
    let first = HrPrometheus::with_builder((times(), builder().request_body_size()));
    assert_eq!(measured(first).await, [Some(1.0), Some(4.0)]);
    let both = HrPrometheus::with_builder((times().request_body_bytes([1.0]), builder().request_body_size()));
    assert_eq!(measured(both).await, [Some(1.0), Some(4.0)]);
}

#[actix_web::test]
async fn equal_builders_share_one_monitor() {
    let registry = MetricsRegistry::new();
    let metrics = || HrPrometheus::with_builder(builder().scheme_from("x-forwarded-proto"));
    for metrics in [metrics(), metrics()] {
        let app = app(metrics, &registry).await;
        call_and_read_body(&app, ok().to_request()).await;
    }
    assert_eq!(registry.value(COUNT, &[]), Some(2.0));
}

/// Counts no request of the monitor within, which it has begun.
#[derive(Clone)]
struct ForgetsAll(OtelMonitor);

impl RequestMonitor for ForgetsAll {
    type InFlight = OtelInFlight;

    fn register(registry: &mut Registry) -> Self {
        Self(OtelMonitor::builder().active_requests().register(registry))
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> OtelInFlight {
        self.0.update_init_metrics(request)
    }

    fn update_end_metrics(&self, _in_flight: OtelInFlight, _end: &RequestEnd<'_>) {}
}

#[actix_web::test]
async fn a_monitor_within_another_has_no_request_left_that_it_is_not_told_the_end_of() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/ok", web::get().to(async || "ok"))
        .wrap(HrPrometheus::with_monitor::<ForgetsAll>());
    let app = init_service(app).await;
    call_and_read_body(&app, ok().to_request()).await;
    assert_eq!(registry.value(ACTIVE, &[]), Some(0.0));
    assert_eq!(registry.value(COUNT, &[]), None);
}

#[test]
fn the_gauge_comes_back_to_zero_after_panics_and_clients_that_left() {
    let registry = MetricsRegistry::new();
    let data = registry.clone();
    let server = serve(2, move || {
        App::new()
            .app_data(data.clone())
            .route(
                "/panics",
                web::get().to(async || -> &'static str { panic!("on purpose") }),
            )
            .route("/ok", web::get().to(async || "ok"))
            .wrap(HrPrometheus::with_builder(builder().active_requests()))
    });
    for path in ["/panics", "/ok", "/panics", "/nowhere"] {
        http(server.address, "GET", path);
    }
    eventually_has(&registry, COUNT, &[], 4.0);
    eventually_has(&registry, ACTIVE, &[], 0.0);
    server.stop(true);
    assert_eq!(registry.value(ACTIVE, &[]), Some(0.0));
}
