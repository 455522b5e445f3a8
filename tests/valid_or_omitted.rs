//! Families that would break the format are omitted from the scrape, and the rest is served.

mod support;

use std::{
    fmt, iter,
    panic::panic_any,
    sync::{
        Arc,
        atomic::{AtomicI64, AtomicU64, Ordering},
    },
};

use actix_web::rt::System;
use hr_prometheus::{
    MetricsRegistry,
    prometheus_client::{
        encoding::{EncodeMetric, MetricEncoder},
        metrics::{
            MetricType,
            counter::{ConstCounter, Counter},
            exemplar::{CounterWithExemplar, HistogramWithExemplars},
            family::Family,
            gauge::{ConstGauge, Gauge},
            histogram::Histogram,
            info::Info,
        },
        registry::{Registry, Unit},
    },
};

#[cfg(feature = "protobuf")]
use support::families::protobuf;
use support::{
    capture_log,
    families::{
        Labels, add_collector, add_family, add_series, assert_served, assert_served_in_protobuf,
        between_canaries, labels,
    },
    logged, scrape_prometheus_text,
};

/// Registers a histogram with these buckets, which hold one observation each.
fn add_buckets(registry: &mut Registry, name: &'static str, sum: f64, count: u64, bounds: &[f64]) {
    let buckets: Vec<_> = bounds.iter().map(|bound| (*bound, 1)).collect();
    add_family(registry, name, MetricType::Histogram, move |mut encoder| {
        encoder.encode_histogram::<Labels>(sum, count, &buckets, None)
    });
}

/// One family that would break the format.
struct Offender {
    /// As the log has it, up to its first character that no name has.
    name: &'static str,
    /// What is in protobuf of it: what cannot break that.
    in_protobuf: &'static [&'static str],
    register: Box<dyn Fn(&mut Registry)>,
}

fn offender(name: &'static str, register: impl Fn(&mut Registry) + 'static) -> Offender {
    Offender {
        name,
        in_protobuf: &[],
        register: Box::new(register),
    }
}

/// Asserts that each is gone in every format, what stands beside it is served, and it is logged once.
#[track_caller]
fn assert_omitted(offenders: impl IntoIterator<Item = Offender>) {
    capture_log();
    for Offender {
        name,
        in_protobuf,
        register,
    } in offenders
    {
        let registry = between_canaries(register);
        assert_served(name, &registry, "", "");
        let lines = logged(&format!("the family {name}"));
        assert_eq!(lines.len(), 1, "{name}: {lines:#?}");
        let begin = format!("ERROR omitted from the scrape: the family {name}");
        assert!(lines[0].starts_with(&begin), "{name}: {lines:#?}");

        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf(name, &registry, in_protobuf);
            // Once as well, at most, with the whole name.
            let lines = logged(&format!("the family {name}"));
            assert!(lines.len() <= 2, "{name}: {lines:#?}");
        }
    }
}

/// A gauge of this name.
fn gauge_called(logged_as: &'static str, name: &'static str) -> Offender {
    offender(logged_as, move |registry| {
        registry.register(name, "Help", ConstGauge::new(1_i64));
    })
}

#[test]
fn a_family_with_a_name_that_no_metric_can_have_is_omitted() {
    assert_omitted([
        gauge_called("name_with-dash", "name_with-dash"),
        gauge_called("name_with.dot", "name_with.dot"),
        gauge_called("name_with_a", "name_with_a space"),
        gauge_called("1_digit_first", "1_digit_first"),
        gauge_called("name_with_é", "name_with_é"),
        gauge_called("name_with_newline", "name_with_newline\n"),
        gauge_called("name_with_line", "name_with_line\n# HELP canary Help"),
        gauge_called("name_with_cr\r", "name_with_cr\r"),
        gauge_called("name_with_nul\0", "name_with_nul\0"),
        gauge_called("name_with_quote\"", "name_with_quote\""),
        gauge_called("name_with_brace{", "name_with_brace{a=\"1\"}"),
    ]);
}

#[test]
fn an_omitted_family_costs_none_behind_it() {
    let names = ["one", "not-one", "two", "not-two", "not-three", "three", "four"];
    let registry = between_canaries(|registry| {
        for name in names {
            registry.register(name, "Help", ConstGauge::new(1_i64));
        }
    });
    let served = ["one", "two", "three", "four"];
    let text = served
        .map(|name| format!("# HELP {name} Help.\n# TYPE {name} gauge\n{name} 1\n"))
        .concat();
    assert_served("four of seven", &registry, &text, &text);
    if cfg!(feature = "protobuf") {
        assert_served_in_protobuf("four of seven", &registry, &served);
    }
}

#[test]
fn a_family_without_a_name_is_omitted() {
    capture_log();
    let registry = between_canaries(|registry| registry.register("", "Help", ConstGauge::new(1_i64)));
    assert_served("no name", &registry, "", "");
    assert_eq!(logged("a collector has an invalid name").len(), 1);
}

#[test]
fn a_family_with_a_prefix_or_a_unit_that_no_metric_can_have_is_omitted() {
    let below_prefix = |logged_as, prefix: &'static str| {
        offender(logged_as, move |registry| {
            let part = registry.sub_registry_with_prefix(prefix);
            part.register("x", "Help", ConstGauge::new(1_i64));
        })
    };
    let with_unit = |name, unit: &'static str| {
        offender(name, move |registry| {
            let unit = Unit::Other(unit.to_owned());
            registry.register_with_unit(name, "Help", unit, ConstGauge::new(1_i64));
        })
    };
    assert_omitted([
        below_prefix("prefix-with-dash_x", "prefix-with-dash"),
        below_prefix("2_as_prefix_x", "2_as_prefix"),
        below_prefix("prefix_with", "prefix_with space"),
        with_unit("unit_dash", "a-b"),
        with_unit("unit_space", "a b"),
        with_unit("unit_newline", "a\nb"),
        with_unit("unit_slash", "m/s"),
    ]);
}

/// A gauge with one series, which has these labels.
fn labelled(name: &'static str, label_names: &'static [&'static str]) -> Offender {
    offender(name, move |registry| {
        let pairs: Vec<_> = label_names.iter().map(|name| (*name, "1")).collect();
        add_series(registry, name, &[&pairs]);
    })
}

#[test]
fn a_family_with_a_label_that_no_label_can_be_is_omitted() {
    assert_omitted([
        labelled("label_empty", &[""]),
        labelled("label_dash", &["a-b"]),
        labelled("label_dot", &["a.b"]),
        labelled("label_colon", &["a:b"]),
        labelled("label_space", &["a b"]),
        labelled("label_e_acute", &["é"]),
        labelled("label_digit", &["1a"]),
        labelled("label_newline", &["a\nb"]),
        labelled("label_quote", &["a\"b"]),
        labelled("label_equals", &["a=b"]),
        labelled("label_comma", &["a,b"]),
        labelled("label_reserved", &["__a"]),
        labelled("label_address", &["__address__"]),
        labelled("label_name", &["__name__"]),
        labelled("label_behind_another", &["a", "b-c"]),
    ]);
}

#[test]
fn a_family_with_a_label_twice_is_omitted() {
    assert_omitted([
        labelled("label_twice", &["a", "a"]),
        labelled("label_twice_apart", &["a", "b", "a"]),
        offender("label_twice_other_value", |registry| {
            add_series(registry, "label_twice_other_value", &[&[("a", "1"), ("a", "2")]]);
        }),
        offender("label_twice_without_value", |registry| {
            add_series(registry, "label_twice_without_value", &[&[("a", ""), ("a", "")]]);
        }),
        offender("label_of_registry_and_family", |registry| {
            let part = registry.sub_registry_with_label(("a".into(), "1".into()));
            add_series(part, "label_of_registry_and_family", &[&[("a", "2")]]);
        }),
        offender("label_of_two_registries", |registry| {
            let part = registry.sub_registry_with_label(("a".into(), "1".into()));
            let part = part.sub_registry_with_label(("a".into(), "1".into()));
            part.register("label_of_two_registries", "Help", ConstGauge::new(1_i64));
        }),
        offender("le_of_its_own", |registry| {
            let family = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new([1.0]));
            family.get_or_create_owned(&labels(&[("le", "1")])).observe(0.5);
            registry.register("le_of_its_own", "Help", family);
        }),
        offender("le_of_a_registry", |registry| {
            let part = registry.sub_registry_with_label(("le".into(), "1".into()));
            part.register("le_of_a_registry", "Help", Histogram::new([1.0]));
        }),
    ]);
}

/// Registers a family of this type that has the series `{a="1"}` twice.
fn add_twice(registry: &mut Registry, name: &'static str, kind: MetricType) {
    add_family(registry, name, kind, move |mut encoder| {
        let labels = labels(&[("a", "1")]);
        for value in [1, 2] {
            match kind {
                MetricType::Counter => ConstCounter::new(value).encode(encoder.encode_family(&labels)?)?,
                MetricType::Histogram => {
                    let buckets = [(f64::INFINITY, value)];
                    let mut series = encoder.encode_family(&labels)?;
                    series.encode_histogram::<Labels>(1.0, value, &buckets, None)?;
                }
                MetricType::Info => encoder.encode_info(&labels)?,
                _ => ConstGauge::new(value).encode(encoder.encode_family(&labels)?)?,
            }
        }
        Ok(())
    });
}

#[test]
fn a_series_that_comes_twice_is_served_once() {
    for (kind, served) in [
        (MetricType::Gauge, "x{a=\"1\"} 1\n"),
        (MetricType::Unknown, "x{a=\"1\"} 1\n"),
        (MetricType::Counter, "x_total{a=\"1\"} 1\n"),
        (MetricType::Info, "x_info{a=\"1\"} 1\n"),
        (
            MetricType::Histogram,
            "x_sum{a=\"1\"} 1.0\nx_count{a=\"1\"} 1\nx_bucket{le=\"+Inf\",a=\"1\"} 1\n",
        ),
    ] {
        let registry = between_canaries(|registry| add_twice(registry, "x", kind));
        let (type_name, suffix, type_in_text) = match kind {
            MetricType::Counter => ("counter", "_total", "counter"),
            MetricType::Info => ("info", "_info", "gauge"),
            MetricType::Unknown => ("unknown", "", "untyped"),
            MetricType::Histogram => ("histogram", "", "histogram"),
            MetricType::Gauge => ("gauge", "", "gauge"),
        };
        assert_served(
            type_name,
            &registry,
            &format!("# HELP x Help\n# TYPE x {type_name}\n{served}"),
            &format!("# HELP x{suffix} Help\n# TYPE x{suffix} {type_in_text}\n{served}"),
        );
        assert_eq!(
            registry.value("hr_prometheus_scrape_series_omitted", &[]),
            Some(1.0)
        );
        if cfg!(feature = "protobuf") {
            let suffix = if kind == MetricType::Unknown { "" } else { suffix };
            assert_served_in_protobuf(type_name, &registry, &[&format!("x{suffix}")]);
        }
    }
}

#[test]
fn series_are_the_same_whatever_the_order_of_their_labels() {
    for (what, first, second) in [
        ("one label", &[("a", "1")][..], &[("a", "1")][..]),
        ("no label", &[], &[]),
        (
            "another order",
            &[("a", "1"), ("b", "2")],
            &[("b", "2"), ("a", "1")],
        ),
        // For Prometheus an empty label is none.
        ("an empty label", &[("a", "")], &[]),
        ("escaped", &[("a", "\"\\\n")], &[("a", "\"\\\n")]),
    ] {
        let registry = between_canaries(|registry| {
            add_series(registry, "x", &[first, &[("a", "other")], second]);
        });
        let scrape = registry.encode().unwrap();
        let series = scrape
            .lines()
            .filter(|line| line.starts_with("x{") || line.starts_with("x "));
        assert_eq!(series.count(), 2, "{what}: {scrape}");
        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf(what, &registry, &["x"]);
        }
    }
}

#[test]
fn a_counter_that_is_negative_or_not_a_number_is_omitted() {
    let counting = |name, count: f64| {
        offender(name, move |registry| {
            registry.register(name, "Help", ConstCounter::new(count));
        })
    };
    assert_omitted([
        counting("count_of_nan", f64::NAN),
        counting("count_below_zero", -0.5),
        counting("count_of_minus_infinity", f64::NEG_INFINITY),
    ]);
}

#[test]
fn a_histogram_that_openmetrics_does_not_allow_is_omitted() {
    let buckets = |name, sum, count, bounds: &'static [f64]| {
        offender(name, move |registry| {
            add_buckets(registry, name, sum, count, bounds);
        })
    };
    let observing = |name, bound: f64, value: f64| {
        offender(name, move |registry| {
            let histogram = Histogram::new([bound]);
            histogram.observe(value);
            registry.register(name, "Help", histogram);
        })
    };
    assert_omitted([
        observing("sum_of_nan", 1.0, f64::NAN),
        observing("sum_below_zero", 1.0, -1.0),
        observing("bound_below_zero", -1.0, 1.0),
        buckets(
            "bound_of_minus_infinity",
            1.0,
            2,
            const { &[f64::NEG_INFINITY, f64::INFINITY] },
        ),
        buckets("bound_of_nan", 1.0, 3, const { &[1.0, f64::NAN, f64::INFINITY] }),
        buckets("bound_of_nan_first", 1.0, 2, const { &[f64::NAN, f64::INFINITY] }),
        buckets("bounds_fall", 1.0, 3, const { &[2.0, 1.0, f64::INFINITY] }),
        buckets("bound_twice", 1.0, 3, const { &[1.0, 1.0, f64::INFINITY] }),
        buckets(
            "infinity_twice",
            1.0,
            3,
            const { &[1.0, f64::INFINITY, f64::INFINITY] },
        ),
        buckets("infinity_not_last", 1.0, 3, const { &[1.0, f64::INFINITY, 2.0] }),
    ]);
    assert_omitted([
        buckets("no_bucket_for_all", 1.0, 2, &[1.0, 2.0]),
        buckets("count_is_not_that_of_the_buckets", 1.0, 7, &[1.0, f64::INFINITY]),
        // In protobuf it can have native ones.
        Offender {
            in_protobuf: &["bucketless"],
            ..buckets("bucketless", 1.0, 0, &[])
        },
    ]);
}

#[test]
fn an_info_that_openmetrics_does_not_allow_is_omitted() {
    assert_omitted([offender("info_with_unit_seconds", |registry| {
        let info = Info::new(labels(&[("a", "1")]));
        registry.register_with_unit("info_with_unit", "Help", Unit::Seconds, info);
    })]);
}

#[test]
fn a_family_with_samples_of_another_type_is_omitted() {
    assert_omitted([
        offender("gauge_that_counts", |registry| {
            add_family(registry, "gauge_that_counts", MetricType::Gauge, |encoder| {
                ConstCounter::new(1_u64).encode(encoder)
            });
        }),
        offender("counter_that_measures", |registry| {
            add_family(
                registry,
                "counter_that_measures",
                MetricType::Counter,
                |encoder| ConstGauge::new(1_i64).encode(encoder),
            );
        }),
        offender("histogram_that_measures", |registry| {
            add_family(
                registry,
                "histogram_that_measures",
                MetricType::Histogram,
                |encoder| ConstGauge::new(1_i64).encode(encoder),
            );
        }),
        offender("gauge_that_has_buckets", |registry| {
            add_family(registry, "gauge_that_has_buckets", MetricType::Gauge, |encoder| {
                Histogram::new([1.0]).encode(encoder)
            });
        }),
    ]);
}

/// Registers a family of each type by name: `counter x`.
fn add_typed(registry: &mut Registry, family: &str) {
    let (kind, name) = family.split_once(' ').unwrap();
    match kind {
        // Registered by itself, one called `_total` panics in a build with checks.
        "counter" => add_family(registry, name.to_owned().leak(), MetricType::Counter, |encoder| {
            ConstCounter::new(1_u64).encode(encoder)
        }),
        "gauge" => registry.register(name, "Help", ConstGauge::new(1_i64)),
        "histogram" => registry.register(name, "Help", Histogram::new([])),
        "info" => registry.register(name, "Help", Info::new([("a", "1")])),
        kind => unreachable!("{kind}"),
    }
}

/// Of two families that take the same names the first is served, whichever it is.
#[test]
fn of_families_whose_names_clash_the_first_is_served() {
    capture_log();
    for (index, (one, other)) in [
        ("counter same", "counter same"),
        ("counter same", "gauge same"),
        ("gauge same", "histogram same"),
        ("info same", "histogram same"),
        ("counter x", "gauge x_total"),
        ("counter x", "gauge x_created"),
        ("counter x", "counter x_total"),
        ("counter x", "histogram x_total"),
        ("histogram x", "gauge x_count"),
        ("histogram x", "gauge x_sum"),
        ("histogram x", "gauge x_bucket"),
        ("histogram x", "gauge x_created"),
        ("histogram x", "counter x_count"),
        ("info x", "gauge x_info"),
        ("info x", "counter x_info"),
    ]
    .into_iter()
    .enumerate()
    {
        for (turn, (first, second)) in [(one, other), (other, one)].into_iter().enumerate() {
            // The log is that of the whole process.
            let unique = |family: &str| family.replacen(' ', &format!(" clash_{index}_{turn}_"), 1);
            let (first, second) = (unique(first), unique(second));
            let alone = MetricsRegistry::new();
            alone.register_with(|registry| add_typed(registry, &first));
            let openmetrics = alone.encode().unwrap();
            let openmetrics = openmetrics.strip_suffix("# EOF\n").unwrap();
            let prometheus = System::new().block_on(scrape_prometheus_text(&alone));
            assert!(openmetrics.contains("clash"), "{openmetrics}");

            let both = between_canaries(|registry| {
                // Metrics are encoded before collectors, but one registry behind the other.
                add_typed(registry.sub_registry_with_labels(iter::empty()), &first);
                add_typed(registry.sub_registry_with_labels(iter::empty()), &second);
            });
            assert_served(&second, &both, openmetrics, &prometheus);
            let name = second.split_once(' ').unwrap().1;
            let lines = logged(&format!("the family {name} "));
            assert_eq!(lines.len(), 1, "{first}, {second}: {lines:#?}");

            if cfg!(feature = "protobuf") {
                assert_served_in_protobuf(&second, &both, &[&name_in_protobuf(&first)]);
            }
        }
    }
}

/// What `counter x` is called in protobuf.
fn name_in_protobuf(family: &str) -> String {
    match family.split_once(' ').unwrap() {
        ("counter", name) => format!("{name}_total"),
        ("info", name) => format!("{name}_info"),
        (_, name) => name.to_owned(),
    }
}

#[test]
fn families_whose_names_only_look_alike_are_all_served() {
    let registry = MetricsRegistry::new();
    let families = [
        "gauge a",
        "gauge a_total",
        "gauge a_count",
        "counter b",
        "gauge b_count",
        "counter c",
        "counter c_total_total",
        "histogram d",
        "gauge d_total",
        "gauge d_info",
        "info e",
        "gauge e_total",
        "gauge __x",
        "gauge NaN",
        "gauge _",
        "gauge :colons:",
    ];
    for family in families {
        registry.register_with(|registry| add_typed(registry, family));
    }
    let scrape = registry.encode().unwrap();
    let served: Vec<_> = scrape
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .map(|line| line.split_once(' ').unwrap())
        .map(|(name, kind)| format!("{kind} {name}"))
        .collect();
    assert_eq!(served, families);
}

/// A gauge that goes down where a counter goes up: each value is another one, and one line says so.
#[test]
fn a_fault_that_looks_different_at_every_scrape_is_logged_once() {
    capture_log();
    let count = Arc::new(AtomicI64::new(0));
    let falling = Arc::clone(&count);
    let registry = between_canaries(|registry| {
        add_family(registry, "ever_falling", MetricType::Counter, move |encoder| {
            let value = falling.fetch_sub(1, Ordering::Relaxed) - 1;
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            ConstCounter::new(value as f64).encode(encoder)
        });
    });
    assert_served("ever_falling", &registry, "", "");
    assert!(count.load(Ordering::Relaxed) < -5);
    let lines = logged("ever_falling");
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn labels_and_help_from_hell_round_trip() {
    const HELL: &str = "\"quoted\" \\n \\ \\\\ \n \r\n \r \0 \u{1} \u{7f} \u{85} \u{2028} \u{2029} \u{feff} \
                        \u{b} \u{c} \t \u{10ffff} é } # {a=\"b\"} 1 # EOF\n# EOF\n# HELP x y\n# TYPE canary gauge\n,=";
    let hells = [
        HELL.to_owned(),
        "\\".to_owned(),
        "\"".to_owned(),
        "\n".to_owned(),
        "\r".to_owned(),
        "\0".to_owned(),
        "\u{2028}".to_owned(),
        "x".repeat(64 * 1024),
        HELL.repeat(400),
        "\n\\\"".repeat(20_000),
    ];
    for hell in hells {
        let registry = between_canaries(|registry| {
            let family = Family::<Labels, Gauge>::default();
            family
                .get_or_create_owned(&labels(&[("hell", &hell), ("z", "1")]))
                .set(7);
            registry.register("hellish", hell.clone(), family);
        });
        let value = hell
            .replace('\\', r"\\")
            .replace('"', r#"\""#)
            .replace('\n', r"\n");
        let sample = format!("hellish{{hell=\"{value}\",z=\"1\"}} 7\n");
        let prometheus_help = hell.replace('\\', r"\\").replace('\n', r"\n");
        assert_served(
            "hell",
            &registry,
            &format!("# HELP hellish {value}.\n# TYPE hellish gauge\n{sample}"),
            &format!("# HELP hellish {prometheus_help}.\n# TYPE hellish gauge\n{sample}"),
        );
        assert_eq!(
            registry.value("hellish", &[("hell", &hell), ("z", "1")]),
            Some(7.0)
        );
        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf("hell", &registry, &["hellish"]);
        }
    }
}

/// Text that looks like what the exposition uses inside, from a client.
#[test]
fn a_label_value_cannot_pass_for_anything_else() {
    for value in [
        "\u{1}exemplars",
        ",\u{1}exemplars=",
        ",\u{1}exemplars=\"0\"",
        "\u{1}exemplars=\"0",
        "} 1 # {trace_id=\"x\"} 1",
    ] {
        let registry = between_canaries(|registry| {
            let family = Family::<Labels, CounterWithExemplar<Labels>>::default();
            for order in [&[("a", value), ("b", "2")], &[("c", "3"), ("d", value)]] {
                let counter = family.get_or_create_owned(&labels(order));
                counter.inc_by(1, Some(labels(&[("trace_id", "7")])), None);
            }
            registry.register("marked", "Help", family);
        });
        let scrape = registry.encode().unwrap();
        let escaped = value.replace('"', r#"\""#);
        for line in [
            format!("marked_total{{a=\"{escaped}\",b=\"2\"}} 1 # {{trace_id=\"7\"}} 1.0"),
            format!("marked_total{{c=\"3\",d=\"{escaped}\"}} 1 # {{trace_id=\"7\"}} 1.0"),
        ] {
            assert!(
                scrape.lines().any(|found| found == line),
                "no {line:?} in\n{scrape}"
            );
        }
    }
}

#[test]
fn an_exemplar_that_is_not_allowed_goes_and_its_series_stays() {
    // 128 characters in 246 bytes.
    let longest = "é".repeat(118);
    let too_long = "x".repeat(121);
    let registry = between_canaries(|registry| {
        let counters = Family::<Labels, CounterWithExemplar<Labels>>::default();
        for (series, exemplar) in [
            ("a", &[("abcdefghij", &*longest)][..]),
            ("b", &[("abcdefghij", &*too_long)]),
            ("c", &[("abcde", "x"), ("trace_id", &too_long)]),
            ("d", &[("trace-id", "x")]),
            ("e", &[("trace_id", "x"), ("trace_id", "y")]),
            ("f", &[("__name__", "x")]),
            ("g", &[]),
        ] {
            let counter = counters.get_or_create_owned(&labels(&[("series", series)]));
            counter.inc_by(1, Some(labels(exemplar)), None);
        }
        registry.register("traced", "Help", counters);
        let histogram = HistogramWithExemplars::new([1.0].into_iter());
        histogram.observe(0.5, Some(labels(&[("trace_id", &too_long)])), None);
        histogram.observe(2.0, Some(labels(&[("trace_id", "x")])), None);
        registry.register("waited", "Help", histogram);
    });
    let mut lines: Vec<_> = registry.encode().unwrap().lines().map(str::to_owned).collect();
    // A family has no order.
    lines.sort_unstable();
    let traced: Vec<_> = lines.iter().filter(|line| line.starts_with("traced")).collect();
    assert_eq!(
        traced,
        [
            &*format!("traced_total{{series=\"a\"}} 1 # {{abcdefghij=\"{longest}\"}} 1.0"),
            "traced_total{series=\"b\"} 1",
            "traced_total{series=\"c\"} 1",
            "traced_total{series=\"d\"} 1",
            "traced_total{series=\"e\"} 1",
            "traced_total{series=\"f\"} 1",
            "traced_total{series=\"g\"} 1 # {} 1.0",
        ],
    );
    let waited: Vec<_> = lines.iter().filter(|line| line.starts_with("waited")).collect();
    assert_eq!(
        waited,
        [
            "waited_bucket{le=\"+Inf\"} 2 # {trace_id=\"x\"} 2.0",
            "waited_bucket{le=\"1.0\"} 1",
            "waited_count 2",
            "waited_sum 2.5",
        ],
    );
}

type End = fn() -> fmt::Result;

/// How a collector ends.
const ENDINGS: [(&str, End); 3] = [
    ("fails", || Err(fmt::Error)),
    ("panics", || panic!("as the test wants it")),
    ("panics without words", || panic_any(7)),
];

#[test]
fn a_collector_that_fails_alone_is_omitted_with_what_it_had_written() {
    for (what, end) in ENDINGS {
        let before = between_canaries(|registry| add_collector(registry, move |_| end()));
        assert_served(what, &before, "", "");

        let within_a_family = between_canaries(|registry| {
            add_family(registry, "half", MetricType::Gauge, move |_| end());
        });
        assert_served(what, &within_a_family, "", "");

        let after_a_sample = between_canaries(|registry| add_half_a_family(registry, "Help", end));
        assert_served(what, &after_a_sample, "", "");
        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf(what, &after_a_sample, &[]);
        }
    }
}

/// Registers a collector that ends behind the first sample of a family.
fn add_half_a_family(registry: &mut Registry, help: &'static str, end: End) {
    add_collector(registry, move |mut encoder| {
        let mut family = encoder.encode_descriptor("half", help, None, MetricType::Gauge)?;
        family.encode_family(&[("a", "1")])?.encode_gauge(&1_i64)?;
        end()
    });
}

const BEFORE: &str = "# HELP before Help.\n# TYPE before gauge\nbefore 1\n";

#[test]
fn a_collector_that_fails_costs_no_metric_of_its_registration() {
    for (what, end) in ENDINGS {
        for writes in [false, true] {
            let registry = between_canaries(|registry| {
                registry.register("before", "Help", ConstGauge::new(1_i64));
                add_collector(registry, move |mut encoder| {
                    if writes {
                        encoder.encode_descriptor("half", "Help", None, MetricType::Gauge)?;
                    }
                    end()
                });
            });
            assert_served(what, &registry, BEFORE, BEFORE);
            if cfg!(feature = "protobuf") {
                assert_served_in_protobuf(what, &registry, &["before"]);
            }
        }
    }
}

/// What is behind it cannot be reached: a registry is encoded as a whole.
#[test]
fn a_family_that_fails_costs_what_was_registered_behind_it_and_nothing_else() {
    for (what, end) in ENDINGS {
        let of_collectors = between_canaries(|registry| {
            registry.register("before", "Help", ConstGauge::new(1_i64));
            for (name, value) in [("fine", 2_i64), ("fine_too", 3)] {
                add_family(registry, name, MetricType::Gauge, move |encoder| {
                    ConstGauge::new(value).encode(encoder)
                });
            }
            add_half_a_family(registry, "Help", end);
            add_family(registry, "behind", MetricType::Gauge, |encoder| {
                ConstGauge::new(3_i64).encode(encoder)
            });
        });
        let served = format!(
            "{BEFORE}# HELP fine Help\n# TYPE fine gauge\nfine 2\n\
             # HELP fine_too Help\n# TYPE fine_too gauge\nfine_too 3\n"
        );
        assert_served(what, &of_collectors, &served, &served);

        let of_metrics = between_canaries(|registry| {
            registry.register("before", "Help", ConstGauge::new(1_i64));
            registry.register("partial", "Help", Partial(end));
            registry.register("behind", "Help", ConstGauge::new(1_i64));
        });
        assert_served(what, &of_metrics, BEFORE, BEFORE);
        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf(what, &of_metrics, &["before"]);
        }
    }
}

/// A metric that fails behind the first of its series.
#[derive(Debug)]
struct Partial(End);

impl EncodeMetric for Partial {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        encoder.encode_family(&[("n", "1")])?.encode_gauge(&1_i64)?;
        (self.0)()
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[test]
fn a_registered_metric_that_fails_after_its_first_series_is_omitted_whole() {
    for (what, end) in ENDINGS {
        let registry = between_canaries(|registry| registry.register("partial", "Help", Partial(end)));
        assert_served(what, &registry, "", "");
        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf(what, &registry, &[]);
        }
    }
}

/// What is dropped with the message of a panic can panic as well.
#[test]
fn a_panic_whose_message_panics_costs_no_scrape() {
    struct Bomb;

    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "as the test wants it, once more");
        }
    }

    let registry = between_canaries(|registry| add_collector(registry, |_| panic_any(Bomb)));
    assert_served("bomb", &registry, "", "");
}

#[test]
fn values_that_only_look_wrong_are_served() {
    let registry = between_canaries(|registry| {
        for (name, value) in [
            ("nan", f64::NAN),
            ("inf", f64::INFINITY),
            ("ninf", f64::NEG_INFINITY),
        ] {
            registry.register(name, "Help", ConstGauge::new(value));
        }
        let zero = Counter::<f64, AtomicU64>::default();
        zero.inc_by(-0.0);
        registry.register("zero", "Help", zero);
        registry.register("endless", "Help", ConstCounter::new(f64::INFINITY));
        let sum = Histogram::new([-0.0]);
        sum.observe(f64::INFINITY);
        registry.register("sum", "Help", sum);
        let labels: Labels = (0..128).map(|n| (format!("l{n}"), String::new())).collect();
        registry.register("wide", "Help", Info::new(labels));
        registry.register("x".repeat(64 * 1024), "", ConstGauge::new(1_i64));
    });
    if cfg!(feature = "protobuf") {
        let long = "x".repeat(64 * 1024);
        let names = [
            "nan",
            "inf",
            "ninf",
            "zero_total",
            "endless_total",
            "sum",
            "wide_info",
            &long,
        ];
        assert_served_in_protobuf("values", &registry, &names);
    }
    let scrape = registry.encode().unwrap();
    for line in [
        "nan NaN",
        "inf inf",
        "ninf -inf",
        "endless_total inf",
        "sum_sum inf",
        "sum_bucket{le=\"0.0\"} 0",
        "sum_bucket{le=\"+Inf\"} 1",
        "other_total 2",
    ] {
        assert!(
            scrape.lines().any(|found| found == line),
            "no {line} in\n{scrape:.4000}"
        );
    }
    assert!(scrape.contains("\nzero_total 0.0\n") || scrape.contains("\nzero_total -0.0\n"));
    assert!(scrape.contains("\nwide_info{l0=\"\",l1=\"\","));
    assert!(scrape.contains("xxx 1\n"));
}

#[cfg(feature = "protobuf")]
#[test]
fn an_unknown_value_is_where_prometheus_looks_for_it() {
    let registry = between_canaries(|registry| {
        add_family(registry, "outside", MetricType::Unknown, |mut encoder| {
            encoder.encode_gauge(&-7.5_f64)
        });
    });
    let families = protobuf::families(&registry);
    let metric = &families[1].metric[0];
    assert_eq!(
        metric.untyped.as_ref().unwrap().value.to_bits(),
        (-7.5_f64).to_bits()
    );
    assert!(metric.gauge.is_none());
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_says_how_many_series_of_a_family_are_omitted() {
    let registry = between_canaries(|registry| add_series(registry, "x", &[&[("a", "1")][..]; 4]));
    let families = protobuf::families(&registry);
    let name = "hr_prometheus_scrape_series_omitted";
    let omitted = families.iter().find(|family| family.name == name).unwrap();
    let omitted = omitted.metric[0].gauge.as_ref().unwrap();
    assert_eq!(omitted.value.to_string(), "3");
}

#[cfg(feature = "protobuf")]
#[test]
fn protobuf_has_labels_as_they_are_and_the_exemplars_that_are_allowed() {
    let hell = "\"quoted\" \\n \\ \n \r \0 \u{2028} \u{1}exemplars=\"0\"";
    let registry = between_canaries(|registry| {
        let counters = Family::<Labels, CounterWithExemplar<Labels>>::default();
        for (series, exemplar) in [(hell, "short".to_owned()), ("other", "x".repeat(121))] {
            let counter = counters.get_or_create_owned(&labels(&[("series", series)]));
            counter.inc_by(1, Some(labels(&[("trace_id", &exemplar)])), None);
        }
        registry.register("traced", hell, counters);
    });
    let families = protobuf::families(&registry);
    assert_eq!(families[1].name, "traced_total");
    assert_eq!(families[1].help, format!("{hell}."));
    for metric in &families[1].metric {
        let exemplar = metric.counter.as_ref().unwrap().exemplar.as_ref();
        let trace = exemplar.map(|exemplar| &*exemplar.label[0].value);
        match &*metric.label[0].value {
            "other" => assert_eq!(trace, None),
            series => assert_eq!((series, trace), (hell, Some("short"))),
        }
    }
    assert_eq!(families[1].metric.len(), 2);
}
