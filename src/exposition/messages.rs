//! Converts text to protobuf messages, for a registry that fails to encode: its text has the families before that.

use prometheus_client::{
    encoding::prometheus_protobuf::prometheus_data_model::{self as model, MetricType},
    registry::Registry,
};

use crate::exposition::{
    encoded::Encoded,
    family::{Family, Kind},
    line::{read_line, unescape},
    reader::read,
    rendered::Omitted,
};

/// The families of `registry`, as its text has them.
pub(crate) fn from_text(registry: &Registry, omitted: &mut Vec<Omitted>) -> Vec<(model::MetricFamily, Kind)> {
    let mut encoded = Encoded::default();
    encoded.add(registry, omitted);
    let families = read(&encoded, omitted);
    families
        .iter()
        .map(|family| (message(family), family.kind))
        .collect()
}

fn message(family: &Family<'_>) -> model::MetricFamily {
    let kind = match family.kind {
        Kind::Counter => MetricType::Counter,
        Kind::Gauge | Kind::Info => MetricType::Gauge,
        Kind::Histogram => MetricType::Histogram,
        Kind::Unknown => MetricType::Untyped,
    };
    let mut metrics = Vec::new();
    for line in family.samples.iter().flat_map(|lines| lines.lines()) {
        add_line(&mut metrics, family, line);
    }
    model::MetricFamily {
        name: format!("{}{}", family.name, family.kind.suffix()),
        help: family.help.to_owned(),
        r#type: kind.into(),
        metric: metrics,
        unit: family.unit.unwrap_or_default().to_owned(),
    }
}

/// Adds a line, which has been read before, as a metric or to the last one.
fn add_line(metrics: &mut Vec<model::Metric>, family: &Family<'_>, line: &str) {
    let behind_name = line.find(['{', ' ']).unwrap_or(line.len());
    let (name, behind) = line.split_at(behind_name);
    let mut bound = f64::NAN;
    let mut label = Vec::new();
    let sample = read_line(behind, |name, value| {
        if family.kind == Kind::Histogram && name == "le" {
            bound = value.parse().unwrap_or(f64::NAN);
        } else {
            label.push(model::LabelPair {
                name: name.to_owned(),
                value: unescape(value).into_owned(),
            });
        }
        Ok(())
    });
    let Ok(sample) = sample else {
        return;
    };
    let value = sample.value.parse().unwrap_or(f64::NAN);
    let count = sample.value.parse().unwrap_or_default();
    let mut metric = model::Metric {
        label,
        ..model::Metric::default()
    };
    match family.kind {
        Kind::Counter => {
            metric.counter = Some(model::Counter {
                value,
                ..model::Counter::default()
            });
        }
        Kind::Gauge | Kind::Info | Kind::Unknown => metric.gauge = Some(model::Gauge { value }),
        Kind::Histogram if name.ends_with("_sum") => {
            metric.histogram = Some(model::Histogram {
                sample_sum: value,
                ..model::Histogram::default()
            });
        }
        Kind::Histogram => {
            let last = metrics.last_mut().and_then(|metric| metric.histogram.as_mut());
            if let Some(histogram) = last {
                if name.ends_with("_count") {
                    histogram.sample_count = count;
                } else {
                    histogram.bucket.push(model::Bucket {
                        cumulative_count: count,
                        upper_bound: bound,
                        ..model::Bucket::default()
                    });
                }
            }
            return;
        }
    }
    metrics.push(metric);
}

#[cfg(test)]
mod tests {
    use std::{fmt, sync::atomic::AtomicU64};

    use prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, prometheus_protobuf},
        metrics::{
            MetricType, counter::ConstCounter, family::Family, gauge::Gauge, histogram::Histogram, info::Info,
        },
        registry::{Registry, Unit},
    };

    use super::from_text;
    use crate::exposition::mark::{is_end_of_metrics, new_part, unmark};

    /// A family of unknown type.
    #[derive(Debug)]
    struct Outside;

    impl Collector for Outside {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            let mut family = encoder.encode_descriptor("outside", "Help", None, MetricType::Unknown)?;
            family.encode_gauge(&-7.5_f64)
        }
    }

    /// Fails behind the header of its family.
    #[derive(Debug)]
    struct Fails;

    impl Collector for Fails {
        fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
            encoder.encode_descriptor("half", "Help", None, MetricType::Gauge)?;
            Err(fmt::Error)
        }
    }

    type Labels = [(&'static str, &'static str); 1];

    #[test]
    fn text_makes_the_messages_that_prometheus_client_makes() {
        let labels = [("zone".into(), "a\"\\\n".into())];
        let mut registry = new_part(&mut Registry::with_prefix_and_labels("shop", labels.into_iter()));
        registry.register("orders", "Orders\nplaced", ConstCounter::new(3_u64));
        // For all types but one it is a label like others.
        let ages = Family::<Labels, Gauge<f64, AtomicU64>>::default();
        ages.get_or_create_owned(&[("le", "1")]).set(1.5);
        registry.register_with_unit("age", "Ages", Unit::Seconds, ages);
        let waits = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new([0.5, 2.0]));
        for route in ["/", "/other"] {
            let wait = waits.get_or_create_owned(&[("route", route)]);
            wait.observe(0.25);
            wait.observe(1.0);
            wait.observe(4.0);
        }
        registry.register("wait", "Waits", waits);
        registry.register("build", "Build", Info::new([("version", "1")]));
        registry.register_collector(Box::new(Outside));

        let mut expected = prometheus_protobuf::encode(&registry).unwrap();
        for family in &mut expected {
            unmark(&mut family.name);
        }
        expected.retain(|family| !is_end_of_metrics(&family.name));
        let names: Vec<_> = expected.iter().map(|family| &*family.name).collect();
        assert_eq!(
            names,
            [
                "shop_orders_total",
                "shop_age_seconds",
                "shop_wait",
                "shop_build_info",
                "shop_outside"
            ],
        );

        registry.register_collector(Box::new(Fails));
        let mut omitted = Vec::new();
        let families = from_text(&registry, &mut omitted);
        let families: Vec<_> = families.into_iter().map(|(family, _)| family).collect();
        assert_eq!(families, expected);
        let omitted: Vec<_> = omitted.iter().map(ToString::to_string).collect();
        assert_eq!(omitted.len(), 1);
        assert!(
            omitted[0].starts_with("the family shop_half returned an error"),
            "{omitted:?}"
        );
    }
}
