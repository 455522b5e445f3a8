//! Compression is `Compress`'s job, wherever it is wrapped.

mod support;

use std::io::Read as _;

use actix_web::{
    App,
    http::{
        StatusCode,
        header::{self, HeaderMap},
    },
    middleware::Compress,
    rt::System,
    test::{self, TestRequest},
    web::Bytes,
};
use flate2::read::GzDecoder;
use hr_prometheus::{
    HrPrometheus, MetricsRegistry, metrics_scope,
    prometheus_client::metrics::{family::Family, gauge::Gauge},
};

use support::{http, serve};

/// A registry with this many series.
fn registry(series: i64) -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        let family = Family::<[(&str, i64); 1], Gauge>::default();
        for number in 0..series {
            family.get_or_create_owned(&[("number", number)]).set(number);
        }
        registry.register("series", "Help", family);
    });
    registry
}

/// Where `Compress` is.
#[derive(Clone, Copy, Debug)]
enum Around {
    Scope,
    App,
    Both,
}

/// The answer to a scrape of `registry`.
fn scrape(
    registry: &MetricsRegistry,
    around: Around,
    headers: &[(&'static str, &'static str)],
) -> (HeaderMap, Bytes) {
    System::new().block_on(async {
        let mut request = TestRequest::with_uri("/metrics");
        for header in headers {
            request = request.append_header(*header);
        }
        let request = request.to_request();
        let app = App::new().app_data(registry.clone());
        macro_rules! answer {
            ($app:expr) => {{
                let app = test::init_service($app).await;
                let response = test::call_service(&app, request).await;
                assert_eq!(response.status(), StatusCode::OK);
                (response.headers().clone(), test::read_body(response).await)
            }};
        }
        match around {
            Around::Scope => answer!(app.service(metrics_scope().wrap(Compress::default()))),
            Around::App => answer!(
                app.service(metrics_scope())
                    .wrap(Compress::default())
                    .wrap(HrPrometheus::default())
            ),
            Around::Both => answer!(
                app.service(metrics_scope().wrap(Compress::default()))
                    .wrap(HrPrometheus::default())
                    .wrap(Compress::default())
            ),
        }
    })
}

const EVERYWHERE: [Around; 3] = [Around::Scope, Around::App, Around::Both];

/// What `Vary` names, in lower case.
fn vary(headers: &HeaderMap) -> Vec<String> {
    let mut names: Vec<_> = headers
        .get_all(header::VARY)
        .flat_map(|line| line.to_str().unwrap().split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn decoded(body: &[u8]) -> String {
    let mut text = String::new();
    GzDecoder::new(body)
        .read_to_string(&mut text)
        .expect("gzip of UTF-8");
    text
}

#[test]
fn a_scrape_is_compressed_once_wherever_compress_is() {
    // In one piece, and in many.
    for series in [0, 3, 10_000] {
        for around in EVERYWHERE {
            let registry = registry(series);
            let (headers, body) = scrape(&registry, around, &[("Accept-Encoding", "gzip")]);
            let what = format!("{around:?}, {series}");
            let encodings: Vec<_> = headers.get_all(header::CONTENT_ENCODING).collect();
            assert_eq!(encodings, ["gzip"], "{what}");
            assert_eq!(vary(&headers), ["accept", "accept-encoding"], "{what}");
            assert_eq!(
                headers.get(header::CONTENT_TYPE).unwrap(),
                "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores",
                "{what}"
            );
            let text = decoded(&body);
            assert_eq!(
                text.lines().filter(|line| line.starts_with("series{")).count(),
                usize::try_from(series).unwrap(),
                "{what}"
            );
            assert!(text.ends_with("# EOF\n"), "{what}");
            if series == 10_000 {
                assert!(
                    body.len() * 2 < text.len(),
                    "{what}: {} of {}",
                    body.len(),
                    text.len()
                );
            }
        }
    }
}

#[test]
fn a_scrape_is_sent_as_it_is_to_those_who_ask_for_nothing_else() {
    for accept_encoding in [&[][..], &[("Accept-Encoding", "identity")]] {
        for around in EVERYWHERE {
            let (headers, body) = scrape(&registry(3), around, accept_encoding);
            assert!(!headers.contains_key(header::CONTENT_ENCODING), "{around:?}");
            assert!(vary(&headers).contains(&"accept".to_owned()), "{around:?}");
            let text = std::str::from_utf8(&body).unwrap();
            assert!(text.contains("series{number=\"2\"} 2\n"), "{around:?}: {text}");
            assert!(text.ends_with("# EOF\n"), "{around:?}: {text}");
        }
    }
}

#[test]
fn format_and_compression_are_negotiated_each_on_its_own() {
    for around in EVERYWHERE {
        let accept = [
            ("Accept", "text/plain;version=0.0.4;q=1,*/*;q=0.1"),
            ("Accept-Encoding", "gzip"),
        ];
        let (headers, body) = scrape(&registry(1), around, &accept);
        assert_eq!(
            headers.get(header::CONTENT_TYPE).unwrap(),
            "text/plain; version=0.0.4; charset=utf-8",
            "{around:?}"
        );
        let text = decoded(&body);
        assert!(
            text.contains("# TYPE series gauge\nseries{number=\"0\"} 0\n"),
            "{text}"
        );
        assert!(!text.contains("# EOF"), "{text}");
    }
}

/// Over a real socket, where a length that is not that of the body would be seen.
#[test]
fn a_compressed_scrape_has_no_length_of_another_body() {
    let registry = registry(10_000);
    let server = serve(1, move || {
        App::new()
            .app_data(registry.clone())
            .service(metrics_scope().wrap(Compress::default()))
    });
    let (head, body) = http(server.address, "GET", "/metrics");
    let head = head.to_ascii_lowercase();
    assert!(
        head.contains(&format!("content-length: {}", body.len())),
        "{head}"
    );
    assert!(body.ends_with("# EOF\n"));

    let mut client = server.connect();
    client.send(
        "GET /metrics HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n",
    );
    let head = client.read_until("\r\n\r\n").to_ascii_lowercase();
    assert!(head.contains("content-encoding: gzip\r\n"), "{head}");
    assert!(head.contains("transfer-encoding: chunked\r\n"), "{head}");
    assert!(!head.contains("content-length"), "{head}");
    let rest = client.read_to_end();
    assert!(rest.ends_with("\r\n0\r\n\r\n"), "the body is cut off");
}
