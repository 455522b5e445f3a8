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
