//! Which format a scrape is answered in: what RFC 9110, section 12.5.1, makes of `Accept`.

mod support;

use actix_web::{
    App,
    body::{BodySize, MessageBody as _},
    http::{Method, StatusCode, header},
    test::{self, TestRequest},
};
use hr_prometheus::{
    MetricsRegistry, metrics_scope,
    prometheus_client::metrics::{counter::Counter, info::Info},
};

use support::scrape_with;

const OPENMETRICS_1_0_0: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=underscores";
const OPENMETRICS_1_0_0_UTF_8: &str =
    "application/openmetrics-text; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const OPENMETRICS_0_0_1: &str = "application/openmetrics-text; version=0.0.1; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const PROMETHEUS_TEXT_1_0_0: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=underscores";
const PROMETHEUS_TEXT_1_0_0_UTF_8: &str = "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8";
const PROMETHEUS_PROTOBUF: &str =
    "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/// Which of the two it is depends on a feature.
const fn with_protobuf_or(otherwise: &'static str) -> &'static str {
    if cfg!(feature = "protobuf") {
        PROMETHEUS_PROTOBUF
    } else {
        otherwise
    }
}

/// A registry whose scrape tells the formats apart.
fn registry() -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| {
        let orders = Counter::<u64>::default();
        orders.inc_by(3);
        registry.register("orders", "Orders placed", orders);
        registry.register("version", "What runs", Info::new([("number", "7")]));
    });
    registry
}

const OPENMETRICS_BODY: &str = "# HELP orders Orders placed.\n\
                                # TYPE orders counter\n\
                                orders_total 3\n\
                                # HELP version What runs.\n\
                                # TYPE version info\n\
                                version_info{number=\"7\"} 1\n\
                                # EOF\n";
const PROMETHEUS_BODY: &str = "# HELP orders_total Orders placed.\n\
                               # TYPE orders_total counter\n\
                               orders_total 3\n\
                               # HELP version_info What runs.\n\
                               # TYPE version_info gauge\n\
                               version_info{number=\"7\"} 1\n";

/// Asserts that these lines of `Accept` are answered with `content_type`, and with a body of that type.
#[track_caller]
fn assert_answered(accept: &[&str], content_type: &str) {
    let (found, body) = actix_web::rt::System::new().block_on(async {
        let lines: Vec<_> = accept.iter().map(|line| ("Accept", *line)).collect();
        let response = scrape_with(&registry(), &lines).await;
        assert_eq!(response.status(), StatusCode::OK, "{accept:?}");
        let headers = response.headers();
        let vary: Vec<_> = headers.get_all(header::VARY).collect();
        assert_eq!(vary, ["Accept"], "{accept:?}");
        assert_eq!(headers.get_all(header::CONTENT_TYPE).count(), 1, "{accept:?}");
        let found = headers.get(header::CONTENT_TYPE).unwrap().to_str().unwrap();
        (found.to_owned(), test::read_body(response).await)
    });
    assert_eq!(found, content_type, "{accept:?}");
    if content_type.starts_with("application/openmetrics-text;") {
        assert_eq!(body, OPENMETRICS_BODY, "{accept:?}");
    } else if content_type.starts_with("text/plain;") {
        assert_eq!(body, PROMETHEUS_BODY, "{accept:?}");
    } else {
        assert_families(&body);
    }
}

#[cfg(feature = "protobuf")]
fn assert_families(mut body: &[u8]) {
    use hr_prometheus::prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily;
    use prost::Message as _;

    let mut names = Vec::new();
    while !body.is_empty() {
        names.push(MetricFamily::decode_length_delimited(&mut body).unwrap().name);
    }
    assert_eq!(names, ["orders_total", "version_info"]);
}

#[cfg(not(feature = "protobuf"))]
fn assert_families(body: &[u8]) {
    panic!("neither text format: {body:?}");
}

/// The headers of scrapers, to the letter.
#[test]
fn each_scraper_gets_what_it_prefers() {
    const OLD: &str = "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,\
                       text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let delimited =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";
    let protobuf_utf_8 = format!("{PROMETHEUS_PROTOBUF}; escaping=allow-utf-8");
    for (scraper, accept, content_type) in [
        ("Prometheus 2.42, Datadog Agent 7.46", OLD.to_owned(), OPENMETRICS_1_0_0),
        (
            "older ones",
            "application/openmetrics-text; version=0.0.1,text/plain;version=0.0.4;q=0.5,*/*;q=0.1".to_owned(),
            OPENMETRICS_0_0_1,
        ),
        (
            "Prometheus 2.42 with native histograms",
            format!(
                "{delimited},application/openmetrics-text;version=1.0.0;q=0.8,\
                 application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
            ),
            with_protobuf_or(OPENMETRICS_1_0_0),
        ),
        (
            "Prometheus 2.53",
            "application/openmetrics-text;version=1.0.0;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
                .to_owned(),
            OPENMETRICS_1_0_0,
        ),
        (
            "Prometheus 3.0 to 3.3",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;escaping=allow-utf-8;q=0.5,\
             text/plain;version=1.0.0;escaping=allow-utf-8;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;escaping=allow-utf-8;q=0.3,*/*;escaping=allow-utf-8;q=0.2"
                .to_owned(),
            OPENMETRICS_1_0_0_UTF_8,
        ),
        (
            "Prometheus 3.4 to 3.14, OpenTelemetry Collector, Grafana Alloy",
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
             application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
             text/plain;version=0.0.4;q=0.3,*/*;q=0.2"
                .to_owned(),
            OPENMETRICS_1_0_0_UTF_8,
        ),
        (
            "the same with native histograms",
            format!(
                "{delimited};q=0.6,application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
            ),
            with_protobuf_or(OPENMETRICS_1_0_0_UTF_8),
        ),
        (
            "Prometheus 3 with native histograms, whose protobuf has an escaping",
            format!(
                "{delimited};escaping=allow-utf-8;q=0.6,\
                 application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,\
                 application/openmetrics-text;version=0.0.1;q=0.4,\
                 text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1"
            ),
            if cfg!(feature = "protobuf") {
                &*protobuf_utf_8
            } else {
                OPENMETRICS_1_0_0_UTF_8
            },
        ),
        (
            "Prometheus 3 with `scrape_protocols: [PrometheusText1.0.0]`",
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,*/*;q=0.5".to_owned(),
            PROMETHEUS_TEXT_1_0_0_UTF_8,
        ),
        (
            "Prometheus 3 with `PrometheusText1.0.0` and `PrometheusText0.0.4`",
            "text/plain;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.4".to_owned(),
            PROMETHEUS_TEXT_1_0_0_UTF_8,
        ),
        (
            "VictoriaMetrics, vmagent",
            "text/plain;version=0.0.4;q=1,*/*;q=0.1".to_owned(),
            PROMETHEUS_TEXT,
        ),
        ("Datadog Agent", "text/plain".to_owned(), PROMETHEUS_TEXT),
        (
            "Telegraf",
            format!("{delimited};q=0.7,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"),
            with_protobuf_or(PROMETHEUS_TEXT),
        ),
        ("curl, python requests", "*/*".to_owned(), OPENMETRICS_1_0_0),
    ] {
        println!("{scraper}");
        assert_answered(&[&accept], content_type);
    }
}

#[test]
fn of_the_same_quality_what_is_named_comes_before_a_wildcard() {
    for accept in [
        "text/plain, */*",
        "application/json, text/plain, */*",
        "*/*;q=0.5, text/plain;version=0.0.4;q=0.5",
        "application/*, text/plain",
        "text/*, */*",
    ] {
        assert_answered(&[accept], PROMETHEUS_TEXT);
    }
    assert_answered(&["text/plain;version=1.0.0, */*"], PROMETHEUS_TEXT_1_0_0);
}

#[actix_web::test]
async fn those_who_name_no_format_get_text_where_that_is_chosen() {
    let registry = registry().with_text_by_default();
    for (accept, content_type) in [
        (None, PROMETHEUS_TEXT),
        (Some("*/*"), PROMETHEUS_TEXT),
        (Some("application/json,*/*;q=0.1"), PROMETHEUS_TEXT),
        (Some("image/png"), PROMETHEUS_TEXT),
        (
            Some("application/openmetrics-text;version=1.0.0,*/*"),
            OPENMETRICS_1_0_0,
        ),
        (Some("application/*"), OPENMETRICS_1_0_0),
        (Some("text/plain,application/openmetrics-text"), OPENMETRICS_1_0_0),
    ] {
        let headers: Vec<_> = accept.into_iter().map(|accept| ("Accept", accept)).collect();
        let response = scrape_with(&registry, &headers).await;
        let found = response.headers().get(header::CONTENT_TYPE).unwrap();
        assert_eq!(found, content_type, "{accept:?}");
    }
}

#[actix_web::test]
async fn a_query_selects_families_in_each_format() {
    let app = App::new().app_data(registry()).service(metrics_scope());
    let app = test::init_service(app).await;
    for (accept, query, body) in [
        (
            "*/*",
            "name[]=orders",
            "# HELP orders Orders placed.\n# TYPE orders counter\norders_total 3\n# EOF\n",
        ),
        (
            "*/*",
            "name%5B%5D=orders_total",
            "# HELP orders Orders placed.\n# TYPE orders counter\norders_total 3\n# EOF\n",
        ),
        (
            "*/*",
            "name[]=version&name[]=orders&name[]=none",
            OPENMETRICS_BODY,
        ),
        ("*/*", "name[]=order", "# EOF\n"),
        ("*/*", "name[]=", "# EOF\n"),
        ("*/*", "name=orders", OPENMETRICS_BODY),
        ("*/*", "", OPENMETRICS_BODY),
        (
            "text/plain",
            "name[]=version_info",
            "# HELP version_info What runs.\n# TYPE version_info gauge\nversion_info{number=\"7\"} 1\n",
        ),
        ("text/plain", "name[]=none", ""),
    ] {
        let request =
            TestRequest::with_uri(&format!("/metrics?{query}")).insert_header((header::ACCEPT, accept));
        let found = test::call_and_read_body(&app, request.to_request()).await;
        assert_eq!(found, body, "{query}");
    }
}

#[test]
fn an_escaping_that_leaves_the_names_as_they_are_is_confirmed() {
    for escaping in ["allow-utf-8", "underscores", "values"] {
        for format in ["application/openmetrics-text", "text/plain"] {
            assert_answered(
                &[&format!("{format};version=1.0.0;escaping={escaping}")],
                &format!("{format}; version=1.0.0; charset=utf-8; escaping={escaping}"),
            );
        }
    }
    for escaping in ["dots", "none-of-these", "allow-utf-8x", ""] {
        let accept = format!("application/openmetrics-text;version=1.0.0;escaping={escaping},*/*;q=0.1");
        assert_answered(&[&accept], OPENMETRICS_1_0_0);
    }
    assert_answered(
        &["text/plain;version=0.0.4;escaping=underscores"],
        &format!("{PROMETHEUS_TEXT}; escaping=underscores"),
    );
}

#[test]
fn prometheus_text_1_0_0_is_sent_to_those_who_name_it() {
    assert_answered(&["text/plain;version=1.0.0"], PROMETHEUS_TEXT_1_0_0);
    assert_answered(
        &["text/plain;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.5"],
        PROMETHEUS_TEXT,
    );
    assert_answered(&["text/plain"], PROMETHEUS_TEXT);
}

#[test]
fn a_client_without_accept_gets_openmetrics() {
    // python urllib.
    assert_answered(&[], OPENMETRICS_1_0_0);
}

#[test]
fn a_browser_gets_text_that_it_displays() {
    for accept in [
        // Chrome.
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,\
         application/signed-exchange;v=b3;q=0.7",
        // Firefox.
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        // Safari.
        "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        "text/html",
    ] {
        assert_answered(&[accept], PROMETHEUS_TEXT);
    }
}

#[test]
fn q_values_decide_in_any_order() {
    for (accept, content_type) in [
        (
            "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=1.0.0;q=0.4",
            PROMETHEUS_TEXT,
        ),
        (
            "application/openmetrics-text;version=1.0.0;q=0.4,text/plain;version=0.0.4;q=0.5",
            PROMETHEUS_TEXT,
        ),
        (
            "text/plain;q=0.001,application/openmetrics-text;q=0.002",
            OPENMETRICS_1_0_0,
        ),
        (
            "application/openmetrics-text;q=0.999,text/plain;q=1.000",
            PROMETHEUS_TEXT,
        ),
        // Without one it is 1.
        ("application/openmetrics-text;q=0.9,text/plain", PROMETHEUS_TEXT),
        (
            "application/openmetrics-text;version=0.0.1,application/openmetrics-text;version=1.0.0;q=0.9",
            OPENMETRICS_0_0_1,
        ),
        // Not the first parameter, nor the last.
        (
            "application/openmetrics-text;q=0.1;version=1.0.0,text/plain;version=0.0.4;q=0.2;charset=utf-8",
            PROMETHEUS_TEXT,
        ),
    ] {
        assert_answered(&[accept], content_type);
    }
}

#[test]
fn what_has_a_q_of_0_is_not_served_where_something_else_is_accepted() {
    for (accept, content_type) in [
        ("application/openmetrics-text;q=0,*/*", PROMETHEUS_TEXT),
        (
            "application/openmetrics-text;q=0.000,text/*;q=0.001",
            PROMETHEUS_TEXT,
        ),
        ("text/plain;q=0,text/*,*/*;q=0.1", OPENMETRICS_1_0_0),
        (
            "application/openmetrics-text;version=1.0.0;q=0,application/openmetrics-text;version=0.0.1;q=0.1",
            OPENMETRICS_0_0_1,
        ),
        ("*/*;q=0,text/plain;version=0.0.4;q=0.1", PROMETHEUS_TEXT),
    ] {
        assert_answered(&[accept], content_type);
    }
}

#[test]
fn the_most_specific_range_says_how_much_a_format_is_liked() {
    for (accept, content_type) in [
        ("*/*,application/*;q=0.5", PROMETHEUS_TEXT),
        (
            "text/*,text/plain;q=0.1,application/openmetrics-text;q=0.5",
            OPENMETRICS_1_0_0,
        ),
        (
            "text/*;q=0.1,text/plain;q=0.9,application/*;q=0.5",
            PROMETHEUS_TEXT,
        ),
        (
            "text/plain,text/plain;version=0.0.4;q=0.1,application/openmetrics-text;q=0.5",
            OPENMETRICS_1_0_0,
        ),
        (
            "application/*,application/openmetrics-text;q=0.2,text/plain;q=0.3",
            PROMETHEUS_TEXT,
        ),
        (
            "application/openmetrics-text;version=1.0.0;q=0.1,application/openmetrics-text;q=0.9,text/plain;q=0.5",
            PROMETHEUS_TEXT,
        ),
    ] {
        assert_answered(&[accept], content_type);
    }
}

#[test]
fn openmetrics_is_first_among_what_is_liked_equally() {
    for accept in [
        "text/plain,application/openmetrics-text",
        "application/openmetrics-text,text/plain",
        "text/plain;version=0.0.4;q=0.5,application/openmetrics-text;version=0.0.1;q=0.5,\
         application/openmetrics-text;version=1.0.0;q=0.5",
        "text/*,application/*",
        "application/json,*/*;q=0.1",
    ] {
        assert_answered(&[accept], OPENMETRICS_1_0_0);
    }
}

#[test]
fn several_lines_of_accept_are_one() {
    assert_answered(
        &[
            "application/openmetrics-text;q=0.2",
            "text/plain;version=0.0.4;q=0.3",
            "*/*;q=0.1",
        ],
        PROMETHEUS_TEXT,
    );
    assert_answered(
        &[
            "text/plain;version=0.0.4;q=0.3",
            "application/openmetrics-text;q=0.4",
        ],
        OPENMETRICS_1_0_0,
    );
}

#[test]
fn names_and_versions_are_read_in_any_case_quoted_or_not() {
    for accept in [
        "Text/Plain; Version=0.0.4; Q=0.9, */*; q=0.1",
        "TEXT/PLAIN;VERSION=0.0.4",
        "text/plain; version=\"0.0.4\"",
        "text/plain; charset=UTF-8; version=0.0.4",
        "TEXT/HTML",
    ] {
        assert_answered(&[accept], PROMETHEUS_TEXT);
    }
    assert_answered(&["APPLICATION/OpenMetrics-Text;VERSION=0.0.1"], OPENMETRICS_0_0_1);
    assert_answered(
        &["Application/Vnd.Google.Protobuf;Proto=io.prometheus.client.MetricFamily;Encoding=DELIMITED"],
        with_protobuf_or(OPENMETRICS_1_0_0),
    );
}

/// Scrapers do not handle 406.
#[test]
fn nothing_acceptable_gets_openmetrics_rather_than_an_error() {
    for accept in [
        "application/json",
        "image/*",
        "*/*;q=0",
        "application/openmetrics-text;q=0,text/plain;q=0",
        "text/plain;version=0.0.4;q=0",
        "application/openmetrics-text;version=2.0.0",
        "text/plain;version=0.0.3",
        "application/vnd.google.protobuf;proto=other.Message;encoding=delimited",
    ] {
        assert_answered(&[accept], OPENMETRICS_1_0_0);
    }
}

#[test]
fn garbage_is_passed_over() {
    for accept in [
        "",
        ",",
        " , ,",
        ";",
        "garbage",
        "/",
        "*",
        "q=1",
        "text/plain;q",
        "text/plain;q=2",
        "\u{e4}",
    ] {
        assert_answered(&[accept], OPENMETRICS_1_0_0);
    }
    for accept in [
        "garbage,text/plain;version=0.0.4;q=0.5,;;;",
        ",,text/plain,,",
        "application/openmetrics-text;q=high,text/plain;q=0.1",
    ] {
        assert_answered(&[accept], PROMETHEUS_TEXT);
    }
}

#[test]
fn protobuf_is_sent_to_those_alone_who_ask_for_it_by_all_its_names() {
    for accept in [
        "application/*",
        "application/vnd.google.protobuf,*/*;q=0.1",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily,*/*;q=0.1",
        "application/vnd.google.protobuf;encoding=delimited,*/*;q=0.1",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=text,*/*;q=0.1",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=compact-text,*/*;q=0.1",
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0,*/*",
    ] {
        assert_answered(&[accept], OPENMETRICS_1_0_0);
    }
    assert_answered(
        &[
            "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited, */*",
        ],
        with_protobuf_or(OPENMETRICS_1_0_0),
    );
}

#[actix_web::test]
async fn head_is_negotiated_as_get_is() {
    let app = App::new().app_data(registry()).service(metrics_scope());
    let app = test::init_service(app).await;
    for (accept, content_type, body) in [
        ("*/*", OPENMETRICS_1_0_0, OPENMETRICS_BODY),
        ("text/plain", PROMETHEUS_TEXT, PROMETHEUS_BODY),
    ] {
        let request = TestRequest::with_uri("/metrics")
            .method(Method::HEAD)
            .insert_header((header::ACCEPT, accept));
        let response = test::call_service(&app, request.to_request()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers().get(header::CONTENT_TYPE).unwrap(),
            content_type
        );
        assert_eq!(response.headers().get(header::VARY).unwrap(), "Accept");
        assert_eq!(
            response.response().body().size(),
            BodySize::Sized(body.len() as u64)
        );
    }
}
