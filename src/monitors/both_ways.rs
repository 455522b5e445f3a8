//! Whoever encodes a registry with prometheus-client gets the samples that a scrape has.

use std::{fmt::Write as _, future, iter, time::Duration};

use actix_web::{
    App, Error, HttpResponse,
    dev::Service as _,
    http::{Method, StatusCode},
    rt::System,
    test::{TestRequest, init_service},
    web,
};
use futures_util::FutureExt as _;
use prometheus_client::{
    encoding::{self, EncodeLabelSet},
    registry::Registry,
};

use crate::{
    exposition::{
        line::{read_line, unescape},
        mark::strip_marks,
        rendered::Rendered,
        text::{self, OPENMETRICS, PROMETHEUS},
    },
    middleware::HrPrometheus,
    monitor::{hooks::RequestStart, set::Monitors},
    monitors::{
        default::{DefaultMonitor, builder::DefaultMonitorBuilder, labels::RequestLabels},
        otel::{OtelMonitor, builder::OtelMonitorBuilder},
    },
    registry::MetricsRegistry,
};

/// Checks that prometheus-client encodes of one registry what a scrape has of another, in both text formats.
pub(super) fn check_both_ways(encoded: &Registry, scraped: &Registry) {
    let scrape = |dialect| {
        let rendered = text::render(iter::once(scraped), |_| Registry::default(), dialect, 0);
        assert!(rendered.omitted.is_empty(), "{:?}", rendered.omitted);
        content(&rendered.body)
    };
    let mut openmetrics = String::new();
    encoding::text::encode(&mut openmetrics, encoded).unwrap();
    assert_eq!(scrape(&OPENMETRICS), content(&strip_marks(&openmetrics)));
    let mut prometheus = String::new();
    encoding::prometheus_text::encode(&mut prometheus, encoded).unwrap();
    assert_eq!(scrape(&PROMETHEUS), content(&strip_marks(&prometheus)));
}

/// All lines in order, those of samples with what they mean: labels by name, and the values of numbers.
fn content(text: &str) -> Vec<String> {
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            if line.starts_with('#') {
                return line.to_owned();
            }
            let (name, behind) = line.split_at(line.find(['{', ' ']).unwrap());
            let mut labels = Vec::new();
            let Ok(sample) = read_line(behind, |name, value| {
                let bound = value.parse::<f64>().ok().filter(|_| name == "le");
                let value = bound.map_or_else(|| unescape(value).into_owned(), |bound| bound.to_string());
                labels.push((name.to_owned(), value));
                Ok(())
            }) else {
                panic!("no sample: {line}")
            };
            labels.sort();
            let mut content = name.to_owned();
            let value: f64 = sample.value.parse().unwrap();
            write!(content, " {labels:?} {value}").unwrap();
            content
        })
        .collect();
    lines.sort();
    lines
}

/// Serves requests of several methods, routes and statuses, leaves one in progress, and checks each part of the registry.
fn check<M: Monitors>(metrics: HrPrometheus<M>, registry: Registry) {
    let registry = MetricsRegistry::from(registry);
    let app = App::new()
        .app_data(registry.clone())
        .route("/", web::get().to(async || "hello"))
        .route("/hang/{id}", web::get().to(future::pending::<&str>))
        .route(
            "/\"é\\/{id}",
            web::get().to(async || HttpResponse::new(StatusCode::NOT_FOUND)),
        )
        .route(
            "/fail",
            web::get().to(async || Err::<&str, _>(Error::from(std::io::Error::other("broken")))),
        )
        .wrap(metrics);
    System::new().block_on(async {
        let app = init_service(app).await;
        for (method, uri) in [
            (Method::GET, "/"),
            (Method::POST, "/"),
            (Method::GET, "/%22%C3%A9%5C/%22%0A%7D"),
            (Method::GET, "/fail"),
            (Method::from_bytes(b"BREW").unwrap(), "/nowhere"),
        ] {
            let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
            let request = TestRequest::with_uri(uri)
                .method(method)
                .insert_header(("traceparent", trace))
                .set_payload("body");
            drop(app.call(request.to_request()).await);
        }
        let mut hanging = Box::pin(app.call(TestRequest::with_uri("/hang/1").to_request()));
        assert!(hanging.as_mut().now_or_never().is_none());
        let mut families = 0;
        registry
            .encode_with(|parts, _, _| {
                for part in parts {
                    check_both_ways(part, part);
                    let mut text = String::new();
                    encoding::text::encode(&mut text, part).unwrap();
                    families += strip_marks(&text).matches("# TYPE ").count();
                }
                Rendered::<String>::default()
            })
            .unwrap();
        assert!(families > 0);
    });
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Tenant {
    tenant: &'static str,
}

impl RequestLabels for Tenant {
    fn at_arrival(_request: &RequestStart<'_>) -> Self {
        Self { tenant: "a\"\\\nb" }
    }
}

const REGISTRIES: [fn() -> Registry; 2] = [Registry::default, || {
    Registry::with_prefix_and_labels("shop", [("shop".into(), "{,\"".into())].into_iter())
}];

#[test]
fn requests_of_the_default_monitor_are_the_same_both_ways() {
    let builders: [fn() -> DefaultMonitorBuilder; 6] = [
        DefaultMonitor::builder,
        || DefaultMonitor::builder().exemplars_from_traceparent(),
        || DefaultMonitor::builder().request_body_bytes([1.0, 4.0]),
        || DefaultMonitor::builder().without_count().without_latency(),
        || DefaultMonitor::builder().peak_in_progress(),
        || {
            DefaultMonitor::builder()
                .objective("/", 0.999, Duration::from_secs(60))
                .objective("/fail", 0.9, Duration::from_secs(60))
                .objective("/\"é\\/{id}", 0.99, Duration::from_nanos(1))
        },
    ];
    for registry in REGISTRIES {
        for builder in builders {
            check(HrPrometheus::with_builder(builder()), registry());
            check(
                HrPrometheus::with_builder(builder()).keep_all_params(),
                registry(),
            );
            check(
                HrPrometheus::with_builder(builder().labels::<Tenant>()),
                registry(),
            );
        }
    }
}

/// The monitor with all families.
fn otel() -> OtelMonitorBuilder {
    OtelMonitor::builder()
        .active_requests()
        .request_body_size()
        .response_body_size()
}

#[test]
fn requests_of_the_otel_monitor_are_the_same_both_ways() {
    for registry in REGISTRIES {
        check(HrPrometheus::with_builder(otel()), registry());
        check(HrPrometheus::with_builder(otel()).keep_all_params(), registry());
        check(
            HrPrometheus::with_builder((DefaultMonitor::builder(), otel())),
            registry(),
        );
    }
}
