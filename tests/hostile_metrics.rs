//! Metrics and collectors that write what no scrape may have: what of it is bad is omitted, in every format.

mod support;

use std::{
    fmt::{self, Write as _},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hr_prometheus::prometheus_client::{
    encoding::{
        EncodeGaugeValue, EncodeLabelKey, EncodeLabelSet, EncodeMetric, GaugeValueEncoder, LabelSetEncoder,
        MetricEncoder,
    },
    metrics::{
        MetricType,
        counter::ConstCounter,
        exemplar::{CounterWithExemplar, HistogramWithExemplars},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::Registry,
};

use support::{
    capture_log,
    families::{
        Labels, add_family, add_series, assert_served, assert_served_in_protobuf, between_canaries, labels,
    },
    logged,
};

/// The header of a gauge from a collector.
fn gauge(name: &str) -> String {
    format!("# HELP {name} Help\n# TYPE {name} gauge\n")
}

/// Asserts that of a gauge with two series that without the bad labels is served, in every format, and one line names
/// the family.
#[track_caller]
fn assert_series_omitted(name: &'static str, bad: &[(&str, &str)]) {
    capture_log();
    let registry = between_canaries(|registry| {
        add_series(registry, name, &[&[("fine", "1")], bad, &[("fine", "2")]]);
    });
    let served = format!("{}{name}{{fine=\"1\"}} 1\n{name}{{fine=\"2\"}} 1\n", gauge(name));
    assert_served(name, &registry, &served, &served);
    if cfg!(feature = "protobuf") {
        assert_served_in_protobuf(name, &registry, &[name]);
    }
    let lines = logged(&format!("a series of the family {name},"));
    assert_eq!(lines.len(), 1, "{lines:#?}");
}

#[test]
fn a_label_whose_name_ends_the_labels_is_omitted() {
    assert_series_omitted("brace", &[("} 5", "v")]);
    assert_series_omitted("brace_behind_another", &[("a", "1"), ("} 5", "v")]);
    assert_series_omitted("brace_alone", &[("}", "v")]);
}

#[test]
fn a_label_whose_name_makes_a_second_line_is_omitted() {
    assert_series_omitted("newline", &[("} 1\nnewline{b", "v")]);
    assert_series_omitted("newline_in_another_family", &[("} 1\ncanary{b", "v")]);
    assert_series_omitted("two_newlines", &[("} 1\ntwo_newlines 2\ncanary{b", "v")]);
    assert_series_omitted(
        "newline_and_header",
        &[("} 1\n# HELP evil Help\n# TYPE evil gauge\nevil{b", "v")],
    );
}

#[test]
fn a_label_that_looks_like_a_marker_of_exemplars_is_omitted() {
    assert_series_omitted("marker_first", &[("\u{1}exemplars", "0"), ("a", "1")]);
    assert_series_omitted("marker_last", &[("a", "1"), ("\u{1}exemplars", "0")]);
}

#[test]
fn an_exemplar_with_an_invalid_label_goes_and_its_series_stays() {
    for exemplar in [
        ("}", "v"),
        ("} 1\nx_total{a", "v"),
        ("user", "\0"),
        ("a=\"1\",b", "v"),
        ("", "v"),
    ] {
        let registry = between_canaries(|registry| {
            let counter = CounterWithExemplar::<Labels>::default();
            counter.inc_by(1, Some(labels(&[exemplar])), None);
            registry.register("x", "Help", counter);
            let histogram = HistogramWithExemplars::<Labels>::new([1.0].into_iter());
            histogram.observe(0.5, Some(labels(&[exemplar])), None);
            registry.register("y", "Help", histogram);
        });
        let histogram = "# HELP y Help.\n# TYPE y histogram\ny_sum 0.5\ny_count 1\n\
                         y_bucket{le=\"1.0\"} 1\ny_bucket{le=\"+Inf\"} 1\n";
        // Two labels in the text of one cannot be told from two; what is served is valid.
        if !exemplar.0.contains("=\"") || exemplar.0.contains('\n') {
            assert_served(
                exemplar.0,
                &registry,
                &format!("# HELP x Help.\n# TYPE x counter\nx_total 1\n{histogram}"),
                &format!("# HELP x_total Help.\n# TYPE x_total counter\nx_total 1\n{histogram}"),
            );
        }
        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf(exemplar.0, &registry, &["x_total", "y"]);
        }
    }
}

/// Encodes any number of values.
#[derive(Clone, Debug)]
struct Values(u64);

impl EncodeGaugeValue for Values {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        (1..=self.0).try_for_each(|value| EncodeGaugeValue::encode(&value, encoder))
    }
}

#[test]
fn a_value_that_is_not_one_number_is_omitted() {
    capture_log();
    for (name, count) in [("thrice", 3), ("twice", 2), ("never", 0)] {
        let registry = between_canaries(|registry| {
            add_family(registry, name, MetricType::Gauge, move |mut encoder| {
                for count in [1, count] {
                    let labels = labels(&[("count", &count.to_string())]);
                    encoder.encode_family(&labels)?.encode_gauge(&Values(count))?;
                }
                Ok(())
            });
        });
        let served = format!("{}{name}{{count=\"1\"}} 1\n", gauge(name));
        assert_served(name, &registry, &served, &served);
        assert_eq!(logged(&format!("a series of the family {name},")).len(), 1);
    }
}

#[test]
fn a_help_that_looks_like_lines_of_its_family_stays_a_help() {
    for help in [
        "\n# TYPE x counter\nx_total 1x",
        "\n# TYPE x gauge\nx 1\n# HELP y Help",
        "\n# HELP x Help\n# TYPE x gauge\nx 2",
        "\n# EOF",
        " \n# TYPE x ",
    ] {
        let registry = between_canaries(|registry| registry.register("x", help, ConstGauge::new(7_i64)));
        let help = help.replace('\n', r"\n");
        let served = format!("# HELP x {help}.\n# TYPE x gauge\nx 7\n");
        assert_served(&help, &registry, &served, &served);
        if cfg!(feature = "protobuf") {
            assert_served_in_protobuf(&help, &registry, &["x"]);
        }
    }
}

/// Another label value each time it is encoded.
#[derive(Clone, Debug)]
struct Changes(Arc<AtomicUsize>);

impl EncodeLabelSet for Changes {
    fn encode(&self, encoder: &mut LabelSetEncoder<'_>) -> fmt::Result {
        let mut label = encoder.encode_label();
        let mut key = label.encode_label_key()?;
        EncodeLabelKey::encode(&"a", &mut key)?;
        let mut value = key.encode_label_value()?;
        write!(value, "{}", self.0.fetch_add(1, Ordering::Relaxed))?;
        value.finish()
    }
}

#[test]
fn a_series_whose_labels_change_from_line_to_line_is_omitted() {
    capture_log();
    let registry = between_canaries(|registry| {
        add_family(registry, "changes", MetricType::Histogram, |mut encoder| {
            let histogram = Histogram::new([1.0]);
            histogram.encode(encoder.encode_family(&labels(&[("a", "before")]))?)?;
            histogram.encode(encoder.encode_family(&Changes(Arc::default()))?)?;
            histogram.encode(encoder.encode_family(&labels(&[("a", "behind")]))?)
        });
    });
    let series = |a| {
        format!(
            "changes_sum{{a=\"{a}\"}} 0.0\nchanges_count{{a=\"{a}\"}} 0\n\
             changes_bucket{{le=\"1.0\",a=\"{a}\"}} 0\nchanges_bucket{{le=\"+Inf\",a=\"{a}\"}} 0\n"
        )
    };
    let served = format!(
        "# HELP changes Help\n# TYPE changes histogram\n{}{}",
        series("before"),
        series("behind")
    );
    assert_served("changes", &registry, &served, &served);
    assert_eq!(
        logged("a series of the family changes, which has a series whose lines").len(),
        1
    );
}

/// In a build with checks the encoder panics, and the family is gone.
#[test]
fn buckets_whose_counts_wrap_are_omitted() {
    let registry = between_canaries(|registry| {
        add_family(registry, "wraps", MetricType::Histogram, |mut encoder| {
            let buckets = [(1.0, u64::MAX), (2.0, 2), (f64::INFINITY, 0)];
            encoder.encode_histogram::<Labels>(1.0, 1, &buckets, None)
        });
    });
    assert_served("wraps", &registry, "", "");
    if cfg!(feature = "protobuf") {
        assert_served_in_protobuf("wraps", &registry, &[]);
    }
}

/// Fails in the middle of a line, and goes on.
#[derive(Debug)]
struct Swallows;

#[derive(Clone, Debug)]
struct Fails;

impl EncodeGaugeValue for Fails {
    fn encode(&self, _: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        Err(fmt::Error)
    }
}

impl EncodeMetric for Swallows {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> fmt::Result {
        for n in ["1", "2"] {
            let labels = labels(&[("n", n)]);
            let _ = encoder.encode_family(&labels)?.encode_gauge(&Fails);
            encoder.encode_family(&labels)?.encode_gauge(&1_i64)?;
        }
        let _ = encoder.encode_gauge(&Fails);
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Gauge
    }
}

#[test]
fn a_line_that_is_cut_off_costs_no_other() {
    let registry = between_canaries(|registry| {
        registry.register("x", "Help", Swallows);
        registry.register("behind", "Help", ConstGauge::new(1_i64));
        registry.register("last", "Help", Swallows);
    });
    let swallows = |name| {
        format!("# HELP {name} Help.\n# TYPE {name} gauge\n{name}{{n=\"1\"}} 1\n{name}{{n=\"2\"}} 1\n")
    };
    let behind = "# HELP behind Help.\n# TYPE behind gauge\nbehind 1\n";
    let served = [&swallows("x"), behind, &swallows("last")].concat();
    assert_served("swallows", &registry, &served, &served);
    if cfg!(feature = "protobuf") {
        assert_served_in_protobuf("swallows", &registry, &["x", "behind", "last"]);
    }
}

/// 100 good series, one that comes again with its labels in another order, and one that is no number.
#[test]
fn bad_series_cost_no_good_one() {
    capture_log();
    let registry = between_canaries(|registry| {
        add_family(registry, "jobs", MetricType::Counter, |mut encoder| {
            for n in 0_u64..100 {
                let labels = labels(&[("n", &n.to_string()), ("queue", "mail")]);
                ConstCounter::new(n).encode(encoder.encode_family(&labels)?)?;
                if n == 50 {
                    let again = self::labels(&[("queue", "mail"), ("n", "7")]);
                    ConstCounter::new(1_u64).encode(encoder.encode_family(&again)?)?;
                }
            }
            let labels = labels(&[("n", "nan"), ("queue", "mail")]);
            ConstCounter::new(f64::NAN).encode(encoder.encode_family(&labels)?)
        });
    });
    let series: Vec<_> = (0..100)
        .map(|n| format!("jobs_total{{n=\"{n}\",queue=\"mail\"}} {n}\n"))
        .collect();
    let series = series.concat();
    assert_served(
        "jobs",
        &registry,
        &format!("# HELP jobs Help\n# TYPE jobs counter\n{series}"),
        &format!("# HELP jobs_total Help\n# TYPE jobs_total counter\n{series}"),
    );
    assert_eq!(
        registry.value("hr_prometheus_scrape_series_omitted", &[]),
        Some(2.0)
    );
    assert_eq!(registry.value("hr_prometheus_scrape_families_omitted", &[]), None);
    assert_eq!(
        logged("of the family jobs"),
        [
            "ERROR omitted from the scrape: 2 series of the family jobs, which has the series \
             {queue=\"mail\",n=\"7\"} twice; its collector must encode each series once"
        ],
    );
    if cfg!(feature = "protobuf") {
        assert_served_in_protobuf("jobs", &registry, &["jobs_total"]);
    }
}

/// Registers a counter below the label `shard`.
fn add_shard(registry: &mut Registry, shard: &'static str, help: &str, count: u64) {
    let shard = registry.sub_registry_with_label(("shard".into(), shard.into()));
    shard.register("jobs", help, ConstCounter::new(count));
}

#[test]
fn a_family_below_several_constant_labels_is_one_family() {
    let in_one = between_canaries(|registry| {
        add_shard(registry, "a", "Jobs", 1);
        registry.register("between", "Help", Family::<Labels, Gauge>::default());
        add_shard(registry, "b", "Other help", 2);
    });
    let in_two = between_canaries(|_| {});
    in_two.register_with(|registry| add_shard(registry, "a", "Jobs", 1));
    in_two.register_with(|registry| add_shard(registry, "b", "Other help", 2));

    let series = "jobs_total{shard=\"a\"} 1\njobs_total{shard=\"b\"} 2\n";
    assert_served(
        "shards",
        &in_one,
        &format!("# HELP jobs Jobs.\n# TYPE jobs counter\n{series}"),
        &format!("# HELP jobs_total Jobs.\n# TYPE jobs_total counter\n{series}"),
    );
    for registry in [&in_one, &in_two] {
        let scrape = registry.encode().unwrap();
        assert!(scrape.contains(series), "{scrape}");
        assert_eq!(scrape.matches("# TYPE jobs ").count(), 1, "{scrape}");
        assert_eq!(registry.value("jobs", &[]), Some(3.0));
        assert_eq!(registry.value("hr_prometheus_scrape_families_omitted", &[]), None);
    }
    if cfg!(feature = "protobuf") {
        assert_served_in_protobuf("shards", &in_one, &["jobs_total"]);
    }
}

#[test]
fn histograms_below_several_constant_labels_are_one_family() {
    let registry = between_canaries(|registry| {
        for shard in ["a", "b"] {
            let part = registry.sub_registry_with_label(("shard".into(), shard.into()));
            add_family(part, "wait", MetricType::Histogram, |mut encoder| {
                let histogram = Histogram::new([1.0]);
                for n in ["1", "2"] {
                    histogram.encode(encoder.encode_family(&labels(&[("n", n)]))?)?;
                }
                Ok(())
            });
        }
    });
    let scrape = registry.encode().unwrap();
    assert_eq!(scrape.matches("# TYPE wait ").count(), 1, "{scrape}");
    assert_eq!(
        scrape
            .matches("\nwait_bucket{shard=\"b\",le=\"1.0\",n=\"2\"} 0\n")
            .count(),
        1
    );
    assert_eq!(scrape.matches("\nwait_").count(), 16, "{scrape}");
}

#[test]
fn of_families_of_one_name_and_two_types_the_first_is_served() {
    capture_log();
    let registry = between_canaries(|registry| {
        for (shard, kind) in [
            ("a", MetricType::Gauge),
            ("b", MetricType::Unknown),
            ("c", MetricType::Gauge),
        ] {
            let part = registry.sub_registry_with_label(("shard".into(), shard.into()));
            add_family(part, "two_types", kind, |mut encoder| {
                encoder.encode_gauge(&1_i64)
            });
        }
    });
    let served = format!(
        "{}two_types{{shard=\"a\"}} 1\ntwo_types{{shard=\"c\"}} 1\n",
        gauge("two_types")
    );
    assert_served("two types", &registry, &served, &served);
    assert_eq!(
        logged("the family two_types"),
        [
            "ERROR omitted from the scrape: the family two_types is registered twice, with different types; \
             rename one of them"
        ],
    );
    if cfg!(feature = "protobuf") {
        assert_served_in_protobuf("two types", &registry, &["two_types"]);
    }
}
