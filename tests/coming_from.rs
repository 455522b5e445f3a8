//! `src/guide/coming_from.md`: each section gives the families that the other crate has, as its scrape in
//! `tests/recorded/` shows, but for the differences that a test names.

mod support;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Instant,
};

use actix_web::{
    App, Error, HttpResponse,
    body::MessageBody,
    dev::{ServiceRequest, ServiceResponse},
    middleware::{Next, from_fn},
    test::{TestRequest, call_service, init_service, read_body},
    web::{self, ServiceConfig},
};
use hr_prometheus::{
    DefaultMonitor, HrPrometheus, Label, MetricsRegistry, OtelMonitor, OtelMonitorBuilder, RequestMonitor,
    metrics_scope,
    prometheus_client::{
        metrics::{counter::Counter, family::Family, histogram::Histogram},
        registry::Registry,
    },
};

/// The buckets of most of them.
const BUCKETS: [f64; 11] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What a scrape has.
#[derive(Default)]
struct Scrape {
    types: BTreeMap<String, String>,
    samples: Vec<Sample>,
}

/// A sample; its value only where each run has the same.
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: Option<f64>,
}

impl Scrape {
    /// Reads Prometheus text without escapes and timestamps.
    fn read(text: &str) -> Self {
        let mut scrape = Self::default();
        for line in text.lines().filter(|line| !line.is_empty()) {
            if let Some(header) = line.strip_prefix("# TYPE ") {
                let (name, kind) = header.split_once(' ').unwrap();
                scrape.types.insert(name.to_owned(), kind.to_owned());
            } else if !line.starts_with('#') {
                scrape.samples.push(Sample::read(line));
            }
        }
        scrape
    }

    /// Keeps the families whose names begin with one of these, and their samples.
    fn only(mut self, names: &[&str]) -> Self {
        let is_one = |family: &str| names.iter().any(|name| family.starts_with(name));
        self.types.retain(|name, _| is_one(name));
        self.samples.retain(|sample| is_one(&sample.name));
        self
    }

    fn rename(mut self, family: &str, name: &str) -> Self {
        let kind = self.types.remove(family).unwrap();
        self.types.insert(name.to_owned(), kind);
        for sample in &mut self.samples {
            if let Some(suffix) = sample.name.strip_prefix(family) {
                sample.name = format!("{name}{suffix}");
            }
        }
        self
    }

    /// Changes each sample.
    fn map(mut self, change: impl FnMut(&mut Sample)) -> Self {
        self.samples.iter_mut().for_each(change);
        self
    }

    fn without(mut self, is_absent: impl Fn(&Sample) -> bool) -> Self {
        self.samples.retain(|sample| !is_absent(sample));
        self
    }

    fn lines(&self) -> BTreeSet<String> {
        let samples = self.samples.iter().map(|sample| {
            let Sample { name, labels, value } = sample;
            format!("{name} {labels:?} {value:?}")
        });
        let types = self
            .types
            .iter()
            .map(|(name, kind)| format!("# TYPE {name} {kind}"));
        samples.chain(types).collect()
    }
}

impl Sample {
    fn read(line: &str) -> Self {
        let (series, value) = line.rsplit_once(' ').unwrap();
        let (name, pairs) = series.split_once('{').unwrap_or((series, "}"));
        let pairs = pairs.strip_suffix('}').unwrap().split_terminator("\",");
        let labels = pairs.filter(|pair| !pair.is_empty()).map(|pair| {
            let (label, value) = pair.split_once("=\"").unwrap();
            let value = value.trim_end_matches('"');
            let value = match label {
                "le" => value.parse::<f64>().unwrap().to_string(),
                _ => value.to_owned(),
            };
            (label.to_owned(), value)
        });
        let varies = name.ends_with("_bucket") || name.ends_with("_sum");
        Self {
            name: name.to_owned(),
            labels: labels.collect(),
            value: (!varies).then(|| value.parse().unwrap()),
        }
    }

    fn has(&self, label: &str, value: &str) -> bool {
        self.labels.get(label).is_some_and(|found| found == value)
    }

    /// Sets a label that has this value to another one.
    fn replace(&mut self, label: &str, from: &str, to: &str) {
        if self.has(label, from) {
            self.labels.insert(label.to_owned(), to.to_owned());
        }
    }
}

#[track_caller]
fn assert_same(ours: &Scrape, theirs: &Scrape) {
    let (ours, theirs) = (ours.lines(), theirs.lines());
    let missing: Vec<_> = theirs.difference(&ours).take(12).collect();
    let extra: Vec<_> = ours.difference(&theirs).take(12).collect();
    assert!(
        missing.is_empty() && extra.is_empty(),
        "missing: {missing:#?}\nextra: {extra:#?}"
    );
    assert!(ours.len() > 10, "it has something to compare: {ours:?}");
}

macro_rules! recorded {
    ($name:literal) => {
        Scrape::read(include_str!(concat!("recorded/", $name, ".txt")))
    };
}

fn routes(app: &mut ServiceConfig) {
    app.service(web::resource("/users/{id}").route(web::get().to(async || "user")))
        .route("/fail", web::get().to(HttpResponse::InternalServerError))
        .route("/health", web::get().to(async || "ok"))
        .service(metrics_scope());
}

/// The requests that were sent to all of them; the last one is the scrape.
const REQUESTS: [(&str, &str); 7] = [
    ("GET", "/users/1"),
    ("GET", "/users/2"),
    ("POST", "/users/1"),
    ("GET", "/none"),
    ("GET", "/fail"),
    ("GET", "/health"),
    ("GET", "/metrics"),
];

/// The last response of an application with these routes.
macro_rules! last_response_of {
    ($app:expr) => {{
        let app = init_service($app.configure(routes)).await;
        let mut text = String::new();
        for (method, path) in REQUESTS {
            let request = TestRequest::with_uri(path)
                .method(method.parse().unwrap())
                .insert_header(("Accept", "text/plain"));
            let body = read_body(call_service(&app, request.to_request()).await).await;
            text = String::from_utf8(body.to_vec()).unwrap();
        }
        Scrape::read(&text)
    }};
}

async fn scrape<M: RequestMonitor>(metrics: HrPrometheus<M>) -> Scrape {
    last_response_of!(App::new().app_data(MetricsRegistry::new()).wrap(metrics))
}

/// `http_requests_total` and `http_requests_duration_seconds` by path, method and status, with their buckets.
fn http_requests() -> HrPrometheus {
    let labels = [
        ("path", Label::Path),
        ("method", Label::Method),
        ("status", Label::Status),
    ];
    let monitor = DefaultMonitor::builder()
        .count_name("http_requests")
        .count_labels(labels)
        .latency_name("http_requests_duration_seconds")
        .latency_labels(labels)
        .latency_buckets(BUCKETS)
        .without_in_progress();
    HrPrometheus::with_builder(monitor)
}

/// What the conventions call optional too.
fn all_of_otel() -> OtelMonitorBuilder {
    OtelMonitor::builder()
        .active_requests()
        .request_body_size()
        .response_body_size()
}

const ENDPOINT: [(&str, Label); 3] = [
    ("endpoint", Label::Path),
    ("method", Label::Method),
    ("status", Label::Status),
];

/// Paths that no route has are one label.
fn unmatched(sample: &mut Sample) {
    sample.replace("endpoint", "/none", "unmatched");
    sample.replace("path", "/none", "unmatched");
}

#[actix_web::test]
async fn what_actix_web_prom_has_stays() {
    for (namespace, theirs) in [
        ("", recorded!("actix-web-prom-0.10.0")),
        ("api", recorded!("actix-web-prom-0.10.0-namespace-api")),
    ] {
        let monitor = DefaultMonitor::builder().actix_web_prom(namespace);
        let ours = scrape(HrPrometheus::with_builder(monitor)).await;
        assert_same(&ours, &theirs.map(unmatched));
    }
}

#[actix_web::test]
async fn what_actix_web_prometheus_has_stays_but_for_the_ends_of_counters() {
    let monitor = DefaultMonitor::builder()
        .count_name("incoming_requests")
        .count_labels(ENDPOINT)
        .latency_name("response_time")
        .latency_labels(ENDPOINT)
        .latency_buckets(BUCKETS)
        .without_in_progress();
    // Counters end in `_total`; `response_code` has the same numbers with the label `status` named `statuscode`.
    let theirs = recorded!("actix-web-prometheus-0.1.2")
        .only(&["incoming_requests", "response_time"])
        .rename("incoming_requests", "incoming_requests_total")
        .map(unmatched);
    assert_same(
        &scrape(HrPrometheus::with_builder(monitor.clone())).await,
        &theirs,
    );

    let monitor = monitor.prefix("api");
    let theirs = recorded!("actix-web-prometheus-0.1.2-namespace-api")
        .only(&["api_incoming_requests", "api_response_time"])
        .rename("api_incoming_requests", "api_incoming_requests_total")
        .map(unmatched);
    assert_same(&scrape(HrPrometheus::with_builder(monitor)).await, &theirs);
}

#[actix_web::test]
async fn what_actix_web_metrics_has_stays_but_for_summaries() {
    // Histograms instead of summaries, and the labels of the current conventions.
    let mut theirs = recorded!("actix-web-metrics-0.5.0")
        .without(|sample| sample.labels.contains_key("quantile"))
        .map(|sample| {
            sample.labels.insert("url_scheme".to_owned(), "http".to_owned());
            if sample.has("http_response_status_code", "500") {
                sample.labels.insert("error_type".to_owned(), "500".to_owned());
            }
        });
    for kind in theirs.types.values_mut().filter(|kind| *kind == "summary") {
        "histogram".clone_into(kind);
    }
    let monitor = all_of_otel()
        .without_units()
        .network_protocol_name()
        .route_of_unmatched();
    let metrics = HrPrometheus::with_builder(monitor).unmatched("UNKNOWN");
    let ours = scrape(metrics).await;
    assert_same(&ours.without(|sample| sample.name.ends_with("_bucket")), &theirs);
}

#[actix_web::test]
async fn what_opentelemetry_instrumentation_actix_web_has_loses_what_clients_choose() {
    // No labels of the SDK's scope and none from the header `Host`; only errors of the server have a type; and the size of a
    // request is recorded when it ends, and so with its status.
    let theirs = recorded!("opentelemetry-instrumentation-actix-web-0.25.0")
        .only(&["http_server_"])
        .without(|sample| sample.name.contains("body_size") && sample.has("http_route", "/metrics"))
        .map(|sample| {
            let is_gauge = sample.name == "http_server_active_requests";
            let is_default = sample.has("http_route", "default");
            let is_error = sample.has("error_type", "500");
            sample.labels.retain(|label, _| match &**label {
                "http_route" => !is_default && !is_gauge,
                "error_type" => is_error,
                "network_protocol_version" => !is_gauge,
                "server_address" | "server_port" => false,
                label => !label.starts_with("otel_scope_"),
            });
        });
    // Without the route several series of the gauge are one: that of GET has the scrape in progress.
    let theirs = theirs.without(|sample| {
        sample.name == "http_server_active_requests"
            && sample.has("http_request_method", "GET")
            && sample.value == Some(0.0)
    });
    let ours = scrape(HrPrometheus::with_builder(all_of_otel())).await;
    let ours = ours.map(|sample| {
        if sample.name.contains("request_body_size") {
            sample.labels.remove("http_response_status_code");
            sample.labels.remove("error_type");
        }
    });
    assert_same(&ours, &theirs);
}

#[actix_web::test]
async fn what_axum_prometheus_has_stays() {
    let monitor = DefaultMonitor::builder()
        .prefix("axum")
        .count_name("http_requests")
        .count_labels(ENDPOINT)
        .latency_name("http_requests_duration_seconds")
        .latency_labels(ENDPOINT)
        .latency_buckets(BUCKETS)
        .in_progress_name("http_requests_pending")
        .in_progress_labels([("endpoint", Label::Path), ("method", Label::Method)]);
    let ours = scrape(HrPrometheus::with_builder(monitor)).await;
    assert_same(&ours, &recorded!("axum-prometheus-0.10.1").map(unmatched));
}

#[actix_web::test]
async fn what_axum_has_by_hand_stays() {
    let ours = scrape(http_requests()).await;
    // A `route_layer` does not see what no route served.
    let ours = ours.without(|sample| sample.has("path", "unmatched"));
    assert_same(&ours, &recorded!("axum-0.8.9-by-hand"));
}

#[actix_web::test]
async fn what_hr_prometheus_for_python_has_stays() {
    let families = ["request_count_total", "request_latency", "requests_in_progress"];
    // There 404 and 405 are counted as 500.
    let mut theirs = recorded!("hr-prometheus-python-0.2.0")
        .only(&families)
        .without(|sample| sample.name.ends_with("_created"))
        .map(|sample| {
            if sample.has("method", "POST") {
                sample.replace("status", "500", "405");
            }
            if sample.has("path", "/none") {
                sample.replace("status", "500", "404");
            }
            unmatched(sample);
        });
    theirs.types.retain(|name, _| !name.ends_with("_created"));
    // The limit on paths has a counter of its own.
    let ours = scrape(HrPrometheus::default().keep_all_params()).await;
    assert_same(&ours.only(&families), &theirs);
}

/// What many services have: two families, and a middleware that records into them.
#[derive(Clone)]
struct ByHand {
    requests: Family<LabelsByHand, Counter>,
    duration: Family<LabelsByHand, Histogram>,
}

type LabelsByHand = [(&'static str, String); 3];

impl ByHand {
    fn register(registry: &mut Registry) -> Self {
        let requests = Family::default();
        let duration = Family::<_, _, fn() -> Histogram>::new_with_constructor(|| Histogram::new(BUCKETS));
        registry.register("http_requests", "Requests", requests.clone());
        registry.register("http_requests_duration_seconds", "Duration", duration.clone());
        Self { requests, duration }
    }
}

async fn measure_by_hand(
    metrics: web::Data<ByHand>,
    request: ServiceRequest,
    next: Next<impl MessageBody>,
) -> Result<ServiceResponse<impl MessageBody>, Error> {
    let begun = Instant::now();
    let method = request.method().to_string();
    let response = next.call(request).await?;
    let path = response.request().match_pattern();
    let labels = [
        ("path", path.unwrap_or_else(|| "unmatched".to_owned())),
        ("method", method),
        ("status", response.status().as_u16().to_string()),
    ];
    metrics.requests.get_or_create_owned(&labels).inc();
    let duration = metrics.duration.get_or_create_owned(&labels);
    duration.observe(begun.elapsed().as_secs_f64());
    Ok(response)
}

#[actix_web::test]
async fn what_a_monitor_by_hand_has_stays() {
    let registry = MetricsRegistry::new();
    let metrics = web::Data::new(registry.register_with(ByHand::register));
    let theirs = last_response_of!(
        App::new()
            .app_data(registry)
            .app_data(metrics)
            .wrap(from_fn(measure_by_hand))
    );
    assert_same(&scrape(http_requests()).await, &theirs);
}
