//! The Prometheus text format 0.0.4, beside the OpenMetrics text of the same registry.

mod support;

use std::{
    fmt,
    sync::atomic::AtomicU64,
    time::{Duration, UNIX_EPOCH},
};

use actix_web::{
    App,
    rt::System,
    test::{self, TestRequest},
    web,
};
use hr_prometheus::{
    HrPrometheus, MetricsRegistry,
    prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, EncodeMetric as _},
        metrics::{
            MetricType,
            counter::{ConstCounter, Counter},
            exemplar::{CounterWithExemplar, HistogramWithExemplars},
            family::Family,
            gauge::{ConstGauge, Gauge},
            histogram::{Histogram, NativeHistogramConfig},
            info::Info,
        },
        registry::{Registry, Unit},
    },
};

use support::scrape_prometheus_text;

/// Asserts what a registry looks like in both formats.
#[track_caller]
fn assert_scraped(registry: impl Into<MetricsRegistry>, openmetrics: &str, prometheus: &str) {
    let registry = registry.into();
    assert_eq!(registry.encode().unwrap(), openmetrics);
    let text = System::new().block_on(scrape_prometheus_text(&registry));
    assert_eq!(text, prometheus);
    // One does not change the other.
    assert_eq!(registry.encode().unwrap(), openmetrics);
}

/// A registry with what `register` registers.
fn registered(register: impl FnOnce(&mut Registry)) -> Registry {
    let mut registry = Registry::default();
    register(&mut registry);
    registry
}

#[test]
fn nothing_is_an_empty_text() {
    assert_scraped(Registry::default(), "# EOF\n", "");
}

#[test]
fn the_help_and_type_of_a_counter_are_those_of_its_samples() {
    let registry = registered(|registry| {
        let whole = Counter::<u64>::default();
        whole.inc_by(u64::MAX);
        registry.register("whole", "Whole numbers", whole);
        let parts = Counter::<f64, AtomicU64>::default();
        parts.inc_by(0.25);
        registry.register("parts", "Parts", parts);
        let constant = ConstCounter::new(7_u64);
        registry.register("constant", "Always the same", constant);
    });
    assert_scraped(
        registry,
        "# HELP whole Whole numbers.\n\
         # TYPE whole counter\n\
         whole_total 18446744073709551615\n\
         # HELP parts Parts.\n\
         # TYPE parts counter\n\
         parts_total 0.25\n\
         # HELP constant Always the same.\n\
         # TYPE constant counter\n\
         constant_total 7\n\
         # EOF\n",
        "# HELP whole_total Whole numbers.\n\
         # TYPE whole_total counter\n\
         whole_total 18446744073709551615\n\
         # HELP parts_total Parts.\n\
         # TYPE parts_total counter\n\
         parts_total 0.25\n\
         # HELP constant_total Always the same.\n\
         # TYPE constant_total counter\n\
         constant_total 7\n",
    );
}

#[test]
fn a_gauge_has_any_number() {
    let registry = registered(|registry| {
        let gauges = [
            ("least", f64::NEG_INFINITY),
            ("most", f64::INFINITY),
            ("none", f64::NAN),
            ("tiny", 5e-324),
            ("minus_zero", -0.0),
        ];
        for (name, value) in gauges {
            let gauge = Gauge::<f64, AtomicU64>::default();
            gauge.set(value);
            registry.register(name, "Help", gauge);
        }
        let whole = Gauge::<i64>::default();
        whole.set(i64::MIN);
        registry.register("whole", "Help", whole);
        registry.register("constant", "Help", ConstGauge::new(-3_i64));
    });
    let families = "# HELP least Help.\n\
                    # TYPE least gauge\n\
                    least -inf\n\
                    # HELP most Help.\n\
                    # TYPE most gauge\n\
                    most inf\n\
                    # HELP none Help.\n\
                    # TYPE none gauge\n\
                    none NaN\n\
                    # HELP tiny Help.\n\
                    # TYPE tiny gauge\n\
                    tiny 5e-324\n\
                    # HELP minus_zero Help.\n\
                    # TYPE minus_zero gauge\n\
                    minus_zero -0.0\n\
                    # HELP whole Help.\n\
                    # TYPE whole gauge\n\
                    whole -9223372036854775808\n\
                    # HELP constant Help.\n\
                    # TYPE constant gauge\n\
                    constant -3\n";
    assert_scraped(registry, &format!("{families}# EOF\n"), families);
}

#[test]
fn a_histogram_is_the_same_in_both() {
    let registry = registered(|registry| {
        let histogram = Histogram::new([0.0, 0.5, 2.5]);
        for value in [0.0, 0.25, 0.75, 7.0] {
            histogram.observe(value);
        }
        registry.register("latency", "How long", histogram);
        // Its native buckets are in protobuf alone.
        let both = Histogram::new_classic_and_native([1.0], NativeHistogramConfig::new(1.1));
        both.observe(2.0);
        registry.register("both", "Classic and native", both);
    });
    let families = "# HELP latency How long.\n\
                    # TYPE latency histogram\n\
                    latency_sum 8.0\n\
                    latency_count 4\n\
                    latency_bucket{le=\"0.0\"} 1\n\
                    latency_bucket{le=\"0.5\"} 2\n\
                    latency_bucket{le=\"2.5\"} 3\n\
                    latency_bucket{le=\"+Inf\"} 4\n\
                    # HELP both Classic and native.\n\
                    # TYPE both histogram\n\
                    both_sum 2.0\n\
                    both_count 1\n\
                    both_bucket{le=\"1.0\"} 0\n\
                    both_bucket{le=\"+Inf\"} 1\n";
    assert_scraped(registry, &format!("{families}# EOF\n"), families);
}

#[test]
fn an_info_is_a_gauge() {
    let registry = registered(|registry| {
        registry.register(
            "build",
            "What runs",
            Info::new([("version", "1.2"), ("branch", "main")]),
        );
    });
    assert_scraped(
        registry,
        "# HELP build What runs.\n\
         # TYPE build info\n\
         build_info{version=\"1.2\",branch=\"main\"} 1\n\
         # EOF\n",
        "# HELP build_info What runs.\n\
         # TYPE build_info gauge\n\
         build_info{version=\"1.2\",branch=\"main\"} 1\n",
    );
}

#[test]
fn exemplars_are_dropped_and_their_series_stay() {
    let registry = registered(|registry| {
        let at = Some(UNIX_EPOCH + Duration::from_millis(1_500));
        let counter = Family::<[(&str, &str); 1], CounterWithExemplar<[(&str, &str); 1]>>::default();
        counter
            .get_or_create_owned(&[("path", "} # {a=\"b\"} 1")])
            .inc_by(2, Some([("trace_id", "4bf92f")]), at);
        registry.register("orders", "Orders placed", counter);
        let histogram = HistogramWithExemplars::new([1.0].into_iter());
        histogram.observe(0.5, Some([("trace_id", "00f067")]), at);
        histogram.observe(2.0, Some([("trace_id", "} # {")]), None);
        registry.register("latency", "How long", histogram);
    });
    assert_scraped(
        registry,
        r#"# HELP orders Orders placed.
# TYPE orders counter
orders_total{path="} # {a=\"b\"} 1"} 2 # {trace_id="4bf92f"} 2.0 1.5
# HELP latency How long.
# TYPE latency histogram
latency_sum 2.5
latency_count 2
latency_bucket{le="1.0"} 1 # {trace_id="00f067"} 0.5 1.5
latency_bucket{le="+Inf"} 2 # {trace_id="} # {"} 2.0
# EOF
"#,
        r#"# HELP orders_total Orders placed.
# TYPE orders_total counter
orders_total{path="} # {a=\"b\"} 1"} 2
# HELP latency How long.
# TYPE latency histogram
latency_sum 2.5
latency_count 2
latency_bucket{le="1.0"} 1
latency_bucket{le="+Inf"} 2
"#,
    );
}

#[test]
fn a_unit_is_in_the_name_alone() {
    let registry = registered(|registry| {
        registry.register_with_unit("read", "Bytes read", Unit::Bytes, ConstCounter::new(3_u64));
        registry.register_with_unit("age", "How old", Unit::Seconds, ConstGauge::new(1.5_f64));
        let histogram = Histogram::new([]);
        histogram.observe(0.5);
        registry.register_with_unit("load", "Help", Unit::Other("apples".to_owned()), histogram);
    });
    assert_scraped(
        registry,
        "# HELP read_bytes Bytes read.\n\
         # TYPE read_bytes counter\n\
         # UNIT read_bytes bytes\n\
         read_bytes_total 3\n\
         # HELP age_seconds How old.\n\
         # TYPE age_seconds gauge\n\
         # UNIT age_seconds seconds\n\
         age_seconds 1.5\n\
         # HELP load_apples Help.\n\
         # TYPE load_apples histogram\n\
         # UNIT load_apples apples\n\
         load_apples_sum 0.5\n\
         load_apples_count 1\n\
         load_apples_bucket{le=\"+Inf\"} 1\n\
         # EOF\n",
        "# HELP read_bytes_total Bytes read.\n\
         # TYPE read_bytes_total counter\n\
         read_bytes_total 3\n\
         # HELP age_seconds How old.\n\
         # TYPE age_seconds gauge\n\
         age_seconds 1.5\n\
         # HELP load_apples Help.\n\
         # TYPE load_apples histogram\n\
         load_apples_sum 0.5\n\
         load_apples_count 1\n\
         load_apples_bucket{le=\"+Inf\"} 1\n",
    );
}

#[test]
fn prefixes_and_labels_of_registries_are_on_every_sample() {
    let mut registry = Registry::with_prefix_and_labels("shop", [("region".into(), "eu".into())].into_iter());
    registry.register("orders", "Orders placed", ConstCounter::new(1_u64));
    let part = registry.sub_registry_with_prefix("till");
    let open = Family::<[(&str, &str); 1], Gauge>::default();
    open.get_or_create_owned(&[("hall", "a")]).set(2);
    part.register("open", "Open ones", open);
    let labelled = registry.sub_registry_with_label(("zone".into(), "1".into()));
    labelled.register("version", "What runs", Info::new([("number", "7")]));
    let histogram = Histogram::new([1.0]);
    histogram.observe(0.5);
    labelled.register("wait", "How long", histogram);

    assert_scraped(
        registry,
        "# HELP shop_orders Orders placed.\n\
         # TYPE shop_orders counter\n\
         shop_orders_total{region=\"eu\"} 1\n\
         # HELP shop_till_open Open ones.\n\
         # TYPE shop_till_open gauge\n\
         shop_till_open{region=\"eu\",hall=\"a\"} 2\n\
         # HELP shop_version What runs.\n\
         # TYPE shop_version info\n\
         shop_version_info{region=\"eu\",zone=\"1\",number=\"7\"} 1\n\
         # HELP shop_wait How long.\n\
         # TYPE shop_wait histogram\n\
         shop_wait_sum{region=\"eu\",zone=\"1\"} 0.5\n\
         shop_wait_count{region=\"eu\",zone=\"1\"} 1\n\
         shop_wait_bucket{region=\"eu\",zone=\"1\",le=\"1.0\"} 1\n\
         shop_wait_bucket{region=\"eu\",zone=\"1\",le=\"+Inf\"} 1\n\
         # EOF\n",
        "# HELP shop_orders_total Orders placed.\n\
         # TYPE shop_orders_total counter\n\
         shop_orders_total{region=\"eu\"} 1\n\
         # HELP shop_till_open Open ones.\n\
         # TYPE shop_till_open gauge\n\
         shop_till_open{region=\"eu\",hall=\"a\"} 2\n\
         # HELP shop_version_info What runs.\n\
         # TYPE shop_version_info gauge\n\
         shop_version_info{region=\"eu\",zone=\"1\",number=\"7\"} 1\n\
         # HELP shop_wait How long.\n\
         # TYPE shop_wait histogram\n\
         shop_wait_sum{region=\"eu\",zone=\"1\"} 0.5\n\
         shop_wait_count{region=\"eu\",zone=\"1\"} 1\n\
         shop_wait_bucket{region=\"eu\",zone=\"1\",le=\"1.0\"} 1\n\
         shop_wait_bucket{region=\"eu\",zone=\"1\",le=\"+Inf\"} 1\n",
    );
}

#[test]
fn a_help_has_its_quotes_escaped_in_openmetrics_alone() {
    let registry = registered(|registry| {
        registry.register("odd", "A \"quoted\" C:\\new\nline", ConstGauge::new(1_i64));
    });
    assert_scraped(
        registry,
        "# HELP odd A \\\"quoted\\\" C:\\\\new\\nline.\n# TYPE odd gauge\nodd 1\n# EOF\n",
        "# HELP odd A \"quoted\" C:\\\\new\\nline.\n# TYPE odd gauge\nodd 1\n",
    );
}

/// All types, of which some come from a collector alone.
#[derive(Debug)]
struct Thermometer;

impl Collector for Thermometer {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut unknown = encoder.encode_descriptor("outside", "Degrees", None, MetricType::Unknown)?;
        unknown
            .encode_family(&[("side", "north")])?
            .encode_gauge(&-7.5_f64)?;
        unknown
            .encode_family(&[("side", "south")])?
            .encode_gauge(&2_i64)?;

        let read = encoder.encode_descriptor("reads", "Readings", None, MetricType::Counter)?;
        ConstCounter::new(4_u64).encode(read)?;

        let unit = Unit::Celsius;
        let inside = encoder.encode_descriptor("inside", "Inside", Some(&unit), MetricType::Gauge)?;
        ConstGauge::new(21_i64).encode(inside)?;

        encoder.encode_descriptor("empty", "", None, MetricType::Histogram)?;
        Ok(())
    }
}

#[test]
fn what_a_collector_encodes_is_in_both_and_unknown_is_untyped() {
    let registry = registered(|registry| registry.register_collector(Box::new(Thermometer)));
    assert_scraped(
        registry,
        "# HELP outside Degrees\n\
         # TYPE outside unknown\n\
         outside{side=\"north\"} -7.5\n\
         outside{side=\"south\"} 2\n\
         # HELP reads Readings\n\
         # TYPE reads counter\n\
         reads_total 4\n\
         # HELP inside_celsius Inside\n\
         # TYPE inside_celsius gauge\n\
         # UNIT inside_celsius celsius\n\
         inside_celsius 21\n\
         # HELP empty \n\
         # TYPE empty histogram\n\
         # EOF\n",
        "# HELP outside Degrees\n\
         # TYPE outside untyped\n\
         outside{side=\"north\"} -7.5\n\
         outside{side=\"south\"} 2\n\
         # HELP reads_total Readings\n\
         # TYPE reads_total counter\n\
         reads_total 4\n\
         # HELP inside_celsius Inside\n\
         # TYPE inside_celsius gauge\n\
         inside_celsius 21\n\
         # HELP empty \n\
         # TYPE empty histogram\n",
    );
}

#[actix_web::test]
async fn the_default_monitor_is_in_it() {
    let registry = MetricsRegistry::new();
    let app = App::new()
        .app_data(registry.clone())
        .route("/hello/{name}", web::get().to(async || "hello"))
        .wrap(HrPrometheus::default());
    let app = test::init_service(app).await;
    let request = TestRequest::get().uri("/hello/alice").to_request();
    test::call_and_read_body(&app, request).await;

    let scrape = scrape_prometheus_text(&registry).await;
    for line in [
        "# HELP request_count_total Number of requests received",
        "# TYPE request_count_total counter",
        r#"request_count_total{method="GET",path="/hello/{name}",status="200"} 1"#,
        "# HELP request_latency Elapsed time per request",
        "# TYPE request_latency histogram",
        r#"request_latency_count{method="GET",path="/hello/{name}"} 1"#,
        r#"request_latency_bucket{le="+Inf",method="GET",path="/hello/{name}"} 1"#,
        "# TYPE requests_in_progress gauge",
        r#"requests_in_progress{method="GET",path="/hello/{name}"} 0"#,
    ] {
        assert!(
            scrape.lines().any(|found| found == line),
            "no {line} in\n{scrape}"
        );
    }
    assert!(!scrape.contains("# EOF"), "{scrape}");
}
