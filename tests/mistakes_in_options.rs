//! What is wrong with an option is never lost, and what people type is accepted.

mod support;

use std::{
    borrow::Cow,
    collections::{BTreeMap, BTreeSet, HashMap},
    net::TcpListener,
    time::Duration,
};

use actix_service::{IntoServiceFactory, ServiceFactory};
use actix_web::{App, HttpServer, dev::AppConfig, http::Method, rt::time::timeout, web};
use hr_prometheus::{
    DefaultFamily, DefaultInFlight, DefaultMonitor, DefaultMonitorBuilder, Error, HrPrometheus, Label,
    MetricsRegistry, OtelMonitor, RequestEnd, RequestMonitor, RequestStart, build_info,
    prometheus_client::registry::Registry,
};

use support::{capture_log, logged};

fn builder() -> DefaultMonitorBuilder {
    DefaultMonitor::builder()
}

#[test]
fn the_first_mistake_is_what_build_and_register_in_return() {
    let wrong = |path: &str| {
        HrPrometheus::default()
            .exclude_routes(["/good", path])
            .unmatched("/none")
    };
    let is_first = |error: Error| {
        let expected = "exclude_routes: no route can have the label \"a\"; begin it with `/`, as in \"/a\", \
                        or use \"unmatched\" for unmatched requests";
        assert_eq!(error.to_string(), expected);
    };
    is_first(wrong("a").build().unwrap_err());
    is_first(wrong("a").register_in(&MetricsRegistry::new()).unwrap_err());
    assert!(HrPrometheus::default().exclude_routes("/a").build().is_ok());
}

#[test]
fn the_mistakes_of_a_builder_come_before_those_of_the_middleware() {
    let metrics = HrPrometheus::with_builder(builder().latency_buckets([f64::NAN]));
    assert_eq!(
        metrics.unmatched("").build().unwrap_err().to_string(),
        "latency_buckets: a bound is not finite; remove it, since the infinite bound is added",
    );
}

/// No option is half applied: the registry has no family of a monitor that could not be made as it was chosen.
#[test]
fn a_mistake_registers_nothing() {
    let registry = MetricsRegistry::new();
    let metrics = HrPrometheus::with_builder(builder().prefix("a-b"));
    assert!(metrics.register_in(&registry).is_err());
    assert_eq!(registry.encode().unwrap(), "# EOF\n");
}

async fn starts<S: ServiceFactory<actix_http::Request, Config = AppConfig>>(
    app: impl IntoServiceFactory<S, actix_http::Request>,
) -> bool {
    app.into_factory().new_service(AppConfig::default()).await.is_ok()
}

#[actix_web::test]
async fn an_application_with_a_mistake_does_not_start_and_the_log_says_why() {
    capture_log();
    for (metrics, message) in [
        (
            HrPrometheus::default().exclude_routes("does-not-start"),
            "ERROR exclude_routes: no route can have the label \"does-not-start\"; begin it with `/`, as in \
             \"/does-not-start\", or use \"unmatched\" for unmatched requests; the application does not start",
        ),
        (
            HrPrometheus::with_builder(builder().prefix("does not start")),
            "ERROR prefix: \"does not start\" is not a valid metric name; use ASCII letters, digits, `_` \
             and `:`, and do not begin with a digit; the application does not start",
        ),
    ] {
        assert!(!starts(App::new().wrap(metrics)).await);
        assert!(logged("not start").contains(&message.to_owned()));
    }
    let scope = web::scope("/a").wrap(HrPrometheus::default().extra_methods("DOES NOT START"));
    assert!(!starts(App::new().service(scope)).await);
    assert_eq!(logged("DOES NOT START").len(), 1);
}

#[actix_web::test]
async fn a_server_with_a_mistake_ends_with_an_error() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = HttpServer::new(|| App::new().wrap(HrPrometheus::default().unmatched("")))
        .workers(1)
        .disable_signals()
        .listen(listener)
        .unwrap();
    let ended = timeout(Duration::from_secs(20), server.run()).await;
    assert!(ended.expect("a server that does not start").is_err());
}

/// A monitor whose builder has a mistake.
#[derive(Clone)]
struct Wraps(DefaultMonitor);

impl RequestMonitor for Wraps {
    type InFlight = DefaultInFlight;

    fn register(registry: &mut Registry) -> Self {
        Self(builder().count_name("two words").register(registry))
    }

    fn update_init_metrics(&self, request: &RequestStart<'_>) -> DefaultInFlight {
        self.0.update_init_metrics(request)
    }

    fn update_end_metrics(&self, in_flight: DefaultInFlight, end: &RequestEnd<'_>) {
        self.0.update_end_metrics(in_flight, end);
    }
}

#[test]
fn a_mistake_in_a_monitor_that_wraps_another_turns_it_off() {
    let metrics = HrPrometheus::with_monitor::<Wraps>();
    assert_eq!(
        metrics
            .register_in(&MetricsRegistry::new())
            .unwrap_err()
            .to_string(),
        "the monitor mistakes_in_options::Wraps is off: its `register` panicked: count_name: \"two words\" is not a valid metric name; \
         use ASCII letters, digits, `_` and `:`, and do not begin with a digit; it records nothing until that is fixed",
    );
}

#[test]
fn texts_are_taken_as_they_come() {
    const CONST: [&str; 2] = ["/a", "/b"];
    static STATIC: &[&str] = &["/a"];
    let owned = || vec!["/a".to_owned(), "/b".to_owned()];
    let (new, labels) = (HrPrometheus::default, owned());
    let all = [
        new().exclude_routes("/a"),
        new().exclude_routes("/a".to_owned()),
        new().exclude_routes(&owned()[0]),
        new().exclude_routes(Cow::Borrowed("/a")),
        new().exclude_routes(CONST),
        new().exclude_routes(&CONST[..]),
        new().exclude_routes(STATIC),
        new().exclude_routes(&labels),
        new().exclude_routes(labels),
        new().exclude_routes(owned().iter().map(|label| label.trim())),
        new().exclude_routes("/a,/b".split(',')),
        new().exclude_routes(BTreeSet::from(["/a"])),
        new().exclude_routes(Some("/a")),
        new().exclude_routes(None::<String>),
        new().extra_methods("PURGE"),
        new().extra_methods(Method::TRACE),
        new().extra_methods([Method::TRACE]),
        new().long_lived_content_types("application/x-ndjson"),
        new().keep_params("/{a}/{b}", "a"),
        new().keep_params(String::from("/{a}/{b}"), ["a", "b"]),
        new().unmatched("none"),
        new().unmatched(String::from("none")),
        new().named(String::from("shop")),
    ];
    for metrics in all {
        metrics.build().unwrap();
    }
}

#[test]
fn names_labels_and_bounds_are_taken_as_they_come() {
    const BOUNDS: [f64; 2] = [0.1, 1.0];
    let name = String::from("shop");
    let all = vec![
        builder().prefix(&name).count_name(name.clone()).latency_name("a"),
        builder().rename(DefaultFamily::TimeToHead, name.as_str()),
        builder().latency_buckets(BOUNDS),
        builder().latency_buckets(&BOUNDS[..]),
        builder().latency_buckets(BOUNDS.to_vec()),
        builder().latency_buckets((1..3).map(f64::from)),
        builder().request_body_bytes(&BOUNDS[..]),
        builder().count_labels([]),
        builder().latency_labels([(name.as_str(), Label::Path)]),
        builder().in_progress_labels(vec![("a", Label::Path)]),
    ];
    for builder in all {
        HrPrometheus::with_builder(builder).build().unwrap();
    }
}

#[test]
fn labels_on_everything_come_from_any_map() {
    let info = |registry: MetricsRegistry| {
        registry.register_with(build_info!(version = "1"));
        registry.encode().unwrap().lines().nth(2).unwrap().to_owned()
    };
    let pairs = [("zone", "z"), ("region", "eu")];
    let owned = pairs.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let expected = r#"build_info{region="eu",zone="z",version="1"} 1"#;
    assert_eq!(info(MetricsRegistry::with_labels(pairs)), expected);
    assert_eq!(info(MetricsRegistry::with_labels(HashMap::from(pairs))), expected);
    assert_eq!(
        info(MetricsRegistry::with_labels(HashMap::from(owned.clone()))),
        expected
    );
    assert_eq!(
        info(MetricsRegistry::with_labels(BTreeMap::from(owned))),
        expected
    );

    let registry = MetricsRegistry::with_labels([("http_route", "a")]);
    let error = HrPrometheus::with_monitor::<OtelMonitor>()
        .register_in(&registry)
        .unwrap_err();
    assert!(
        error.to_string().contains("has the label http_route twice"),
        "{error}"
    );
}
