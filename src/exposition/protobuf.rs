//! The Prometheus protobuf format: what prometheus-client makes of a registry, checked like the text.

use std::collections::HashSet;

use prometheus_client::{
    encoding::prometheus_protobuf::{
        self,
        prometheus_data_model::{self as model, MetricType},
    },
    registry::Registry,
};
use prost::Message as _;

use crate::exposition::{
    exemplar::{MARKER, OfSeries, are_labels, attached_by},
    family::{
        BOUNDS_BELOW_ZERO, BOUNDS_DO_NOT_RISE, BUCKETS_DIFFER_FROM_COUNT, Kind, NO_METRIC_NAME, Reason,
        TakenNames, check_counted, check_label, is_metric_name,
    },
    rendered::{Omitted, Rendered, contain},
};

/// Encodes `registries` one after the other, each family with its length before it.
pub(crate) fn render<'a>(registries: impl Iterator<Item = &'a Registry>) -> Rendered<Vec<u8>> {
    let mut rendered = Rendered::default();
    let (families, attached) = attached_by(|| {
        let mut families = Vec::new();
        for registry in registries {
            match contain(|| prometheus_protobuf::encode(registry)) {
                Ok(of_registry) => families.extend(of_registry),
                Err(reason) => rendered.omitted.push(Omitted {
                    family: String::new(),
                    reason,
                }),
            }
        }
        families
    });

    let mut taken = TakenNames::default();
    for mut family in families {
        match complete(&mut family, &mut taken, &attached) {
            // Writing to a vector does not fail.
            Ok(()) => {
                let _ = family.encode_length_delimited(&mut rendered.body);
                rendered.samples += family.metric.iter().map(sample_count).sum::<usize>();
            }
            Err(reason) => rendered.omitted.push(Omitted {
                family: base_name(&family).to_owned(),
                reason: reason.into_owned(),
            }),
        }
    }
    rendered
}

/// The name of a family as it was given, without what prometheus-client puts behind that of a counter.
fn base_name(family: &model::MetricFamily) -> &str {
    let name = match family.r#type() {
        MetricType::Counter => family.name.strip_suffix("_total"),
        _ => None,
    };
    name.unwrap_or(&family.name)
}

/// The series that Prometheus makes of one metric.
fn sample_count(metric: &model::Metric) -> usize {
    metric
        .histogram
        .as_ref()
        .map_or(1, |histogram| histogram.bucket.len() + 2)
}

/// Checks a family, and makes it what it would be if prometheus-client knew all types and exemplars.
fn complete(
    family: &mut model::MetricFamily,
    taken: &mut TakenNames,
    attached: &[OfSeries],
) -> Result<(), Reason> {
    if !is_metric_name(base_name(family)) {
        return Err(NO_METRIC_NAME.into());
    }
    let kind = match family.r#type() {
        MetricType::Counter => Kind::Counter,
        MetricType::Histogram => Kind::Histogram,
        _ => Kind::Gauge,
    };
    let is_untyped = family.r#type() == MetricType::Untyped;
    let mut seen = HashSet::new();
    for metric in &mut family.metric {
        let marker = metric.label.pop_if(|label| label.name == MARKER);
        let attached = marker.and_then(|marker| attached.get(marker.value.parse::<usize>().ok()?));
        check_labels(&metric.label, kind)?;
        let mut labels: Vec<_> = metric
            .label
            .iter()
            .filter(|label| !label.value.is_empty())
            .collect();
        labels.sort_by(|a, b| a.name.cmp(&b.name));
        let labels: Vec<_> = labels
            .into_iter()
            .map(|label| (label.name.clone(), label.value.clone()))
            .collect();
        if !seen.insert(labels) {
            return Err("has a series twice; its collector has to give each once".into());
        }
        let is_of_kind = match kind {
            Kind::Counter => metric.counter.is_some(),
            Kind::Histogram => metric.histogram.is_some(),
            _ => metric.gauge.is_some(),
        };
        if !is_of_kind {
            let kind = kind.name();
            return Err(format!(
                "has a sample that no {kind} can have; its collector has to name the type that it encodes"
            )
            .into());
        }
        if let Some(counter) = &mut metric.counter {
            check_counted(counter.value)?;
            replace_exemplar(&mut counter.exemplar, attached, 0);
        }
        if let Some(histogram) = &mut metric.histogram {
            check_counted(histogram.sample_sum)?;
            if !histogram
                .bucket
                .is_sorted_by(|a, b| a.upper_bound < b.upper_bound)
            {
                return Err(BOUNDS_DO_NOT_RISE.into());
            }
            if histogram
                .bucket
                .first()
                .is_some_and(|bucket| bucket.upper_bound < 0.0 || bucket.upper_bound.is_nan())
            {
                return Err(BOUNDS_BELOW_ZERO.into());
            }
            // Without buckets it has native ones.
            if histogram.bucket.last().is_some_and(|last| {
                last.upper_bound.is_finite() || last.cumulative_count != histogram.sample_count
            }) {
                return Err(BUCKETS_DIFFER_FROM_COUNT.into());
            }
            for (index, bucket) in histogram.bucket.iter_mut().enumerate() {
                replace_exemplar(&mut bucket.exemplar, attached, index);
            }
        }
        if is_untyped {
            // prometheus-client gives the value of a gauge, in which Prometheus does not look for it.
            metric.untyped = metric
                .gauge
                .take()
                .map(|gauge| model::Untyped { value: gauge.value });
        }
    }
    // Last, so that an omitted family takes no name from others.
    taken.take(base_name(family), kind)
}

fn check_labels(labels: &[model::LabelPair], kind: Kind) -> Result<(), Reason> {
    let mut names = Vec::new();
    for label in labels {
        check_label(&label.name, &names, kind)?;
        names.push(&label.name);
    }
    Ok(())
}

/// Puts in the exemplar that was attached, or removes one that is not valid.
fn replace_exemplar(exemplar: &mut Option<model::Exemplar>, attached: Option<&OfSeries>, index: usize) {
    let attached = attached.and_then(|attached| attached.iter().find(|(bucket, _)| *bucket == index));
    if let Some((_, attached)) = attached {
        let label = attached.labels.iter().map(|(name, value)| model::LabelPair {
            name: name.clone(),
            value: value.clone(),
        });
        *exemplar = Some(model::Exemplar {
            label: label.collect(),
            value: attached.value,
            timestamp: Some(attached.time.into()),
        });
    }
    let labels = |exemplar: &model::Exemplar| {
        are_labels(exemplar.label.iter().map(|label| (&*label.name, &*label.value)))
    };
    if !exemplar.as_ref().is_some_and(labels) {
        *exemplar = None;
    }
}
