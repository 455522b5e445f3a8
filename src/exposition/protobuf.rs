//! The Prometheus protobuf format: the families that prometheus-client encodes, checked like the text.

use std::collections::{HashMap, HashSet};

use prometheus_client::{
    encoding::prometheus_protobuf::{
        self,
        prometheus_data_model::{self as model, MetricType},
    },
    registry::Registry,
};
use prost::Message as _;

use crate::exposition::{
    attached::{Attachment, Takes, attached_by},
    encoded::Encoded,
    exemplar::are_labels,
    family::{
        BOUNDS_BELOW_ZERO, BOUNDS_DO_NOT_RISE, BUCKETS_DIFFER_FROM_COUNT, COUNTS_FALL, INFO_WITH_UNIT, Kind,
        NO_METRIC_NAME, REGISTERED_TWICE, Reason, TakenNames, check_counted, check_label, is_metric_name,
    },
    mark::{is_end_of_metrics, token, unmark},
    messages::from_text,
    rendered::{FamilyName, Omitted, OmittedCounts, Rendered, contain, count_omitted},
};

/// Encodes `registries` one after the other, each family with its length before it, and then the families that
/// count omissions.
pub(crate) fn render<'a>(
    registries: impl Iterator<Item = &'a Registry>,
    omissions: impl FnOnce(OmittedCounts) -> Registry,
) -> Rendered<Vec<u8>> {
    let mut rendered = Rendered::<Vec<u8>>::default();
    let mut families = Families::default();
    let ((), attached) = attached_by(Takes::Series, || {
        for registry in registries {
            families.encode(registry, &mut rendered.omitted);
        }
    });
    families.check(&attached.to_series, &mut rendered.omitted);
    let mut served = families.served;
    let mut families = Families::default();
    families.encode(&omissions(count_omitted(&rendered.omitted)), &mut Vec::new());
    families.check(&[], &mut Vec::new());
    served.extend(families.served);

    for (family, kind, _) in served {
        let begin = rendered.body.len();
        // Writing to a vector does not fail.
        let _ = family.encode_length_delimited(&mut rendered.body);
        rendered.samples += family.metric.iter().map(sample_count).sum::<usize>();
        let name = FamilyName {
            name: base_name(&family, kind).to_owned(),
            suffix: kind.suffix(),
        };
        rendered.families.push((name, begin..rendered.body.len()));
    }
    rendered
}

const SERIES_TWICE: &str = "has a series twice; its collector must encode each series once";

/// How many series Prometheus makes of one metric.
fn sample_count(metric: &model::Metric) -> usize {
    metric
        .histogram
        .as_ref()
        .map_or(1, |histogram| histogram.bucket.len() + 2)
}

/// A label set, in order, without empty labels.
type LabelSet = Vec<(String, String)>;

#[derive(Default)]
struct Families {
    /// As prometheus-client encodes them, with their types in text.
    encoded: Vec<(model::MetricFamily, Kind)>,
    /// The valid ones, with their label sets.
    served: Vec<(model::MetricFamily, Kind, HashSet<LabelSet>)>,
}

impl Families {
    fn encode(&mut self, registry: &Registry, omitted: &mut Vec<Omitted>) {
        match contain(|| prometheus_protobuf::encode(registry)) {
            Ok(families) => {
                let mut kinds = None;
                for mut family in families {
                    unmark(&mut family.name);
                    if is_end_of_metrics(&family.name) {
                        continue;
                    }
                    let kind = match family.r#type() {
                        MetricType::Counter => Kind::Counter,
                        MetricType::Histogram => Kind::Histogram,
                        MetricType::Untyped => Kind::Unknown,
                        _ if family.name.ends_with("_info") => {
                            let kinds = kinds.get_or_insert_with(|| info_names(registry));
                            match kinds.get_mut(&family.name) {
                                Some(count) if *count > 0 => {
                                    *count -= 1;
                                    Kind::Info
                                }
                                _ => Kind::Gauge,
                            }
                        }
                        _ => Kind::Gauge,
                    };
                    self.encoded.push((family, kind));
                }
            }
            // Its reason is in what its text omits.
            Err(_) => self.encoded.extend(from_text(registry, omitted)),
        }
    }

    /// Keeps the valid families, and adds the types and exemplars that prometheus-client cannot encode.
    fn check(&mut self, attached: &[Attachment], omitted: &mut Vec<Omitted>) {
        let mut taken = TakenNames::default();
        for (family, kind) in std::mem::take(&mut self.encoded) {
            let name = base_name(&family, kind).to_owned();
            match self.add(family, kind, &name, &mut taken, attached) {
                Ok(None) => {}
                Ok(Some((series, reason))) => omitted.push(Omitted::series(series, name, reason)),
                Err(reason) => {
                    let name = name.split([' ', '\n']).next().unwrap_or_default();
                    omitted.push(Omitted::family(name, reason));
                }
            }
        }
    }

    /// Adds a family, or its series to the family of its name; says what is wrong with how many series.
    fn add(
        &mut self,
        mut family: model::MetricFamily,
        kind: Kind,
        name: &str,
        taken: &mut TakenNames,
        attached: &[Attachment],
    ) -> Result<Option<(usize, Reason)>, Reason> {
        if !is_metric_name(name) {
            return Err(NO_METRIC_NAME.into());
        }
        if kind == Kind::Info && !family.unit.is_empty() {
            return Err(INFO_WITH_UNIT.into());
        }
        let known = taken.find(name, kind)?;
        let mut new = HashSet::new();
        let seen = known.map_or(&mut new, |index| &mut self.served[index].2);
        let mut fault: Option<(usize, Reason)> = None;
        let mut twice = 0;
        let metrics = std::mem::take(&mut family.metric);
        for mut metric in metrics {
            let checked = check(&mut metric, kind, attached).and_then(|()| {
                if seen.insert(label_set(&metric)) {
                    return Ok(());
                }
                twice += 1;
                Err(SERIES_TWICE.into())
            });
            match (checked, &mut fault) {
                (Ok(()), _) => family.metric.push(metric),
                (Err(_), Some((series, _))) => *series += 1,
                (Err(reason), None) => fault = Some((1, reason)),
            }
        }
        if family.metric.is_empty()
            && let Some((series, reason)) = fault
        {
            return Err(if twice == series {
                REGISTERED_TWICE.into()
            } else {
                reason
            });
        }
        if let Some(index) = known {
            self.served[index].0.metric.append(&mut family.metric);
        } else {
            taken.take(name, kind, self.served.len());
            self.served.push((family, kind, new));
        }
        Ok(fault)
    }
}

/// The names of the infos in a registry, each as often as it comes: in protobuf they are gauges.
fn info_names(registry: &Registry) -> HashMap<String, usize> {
    let mut encoded = Encoded::default();
    // What it attaches is not for the render.
    attached_by(Takes::Series, || encoded.add(registry, &mut Vec::new()));
    let mut names = HashMap::new();
    for section in encoded.sections().flatten() {
        if Kind::of(section.kind) == Some(Kind::Info) {
            *names.entry(format!("{}_info", section.name)).or_default() += 1;
        }
    }
    names
}

/// The name of a family as it was given, without what prometheus-client puts behind it.
fn base_name(family: &model::MetricFamily, kind: Kind) -> &str {
    let suffix = kind.suffix();
    family.name.strip_suffix(suffix).unwrap_or(&family.name)
}

fn label_set(metric: &model::Metric) -> LabelSet {
    let labels = metric.label.iter().filter(|label| !label.value.is_empty());
    let mut labels: Vec<_> = labels
        .map(|label| (label.name.clone(), label.value.clone()))
        .collect();
    labels.sort_unstable();
    labels
}

/// Checks a series, and completes it.
fn check(metric: &mut model::Metric, kind: Kind, attached: &[Attachment]) -> Result<(), Reason> {
    let marker = metric.label.pop_if(|label| label.name == token());
    let attached = marker.and_then(|marker| attached.get(marker.value.parse::<usize>().ok()?));
    let mut names = Vec::new();
    for label in &metric.label {
        check_label(&label.name, &names, kind)?;
        names.push(&label.name);
    }
    let is_of_kind = match kind {
        Kind::Counter => metric.counter.is_some(),
        Kind::Histogram => metric.histogram.is_some(),
        _ => metric.gauge.is_some(),
    };
    if !is_of_kind {
        let kind = kind.name();
        return Err(format!(
            "has a sample that is invalid for its type, {kind}; its collector must name the type that it encodes"
        )
        .into());
    }
    let created = attached.map(|attached| attached.created.into());
    if let Some(counter) = &mut metric.counter {
        check_counted(counter.value)?;
        counter.start_timestamp = counter.start_timestamp.or(created);
        replace_exemplar(&mut counter.exemplar, attached, 0);
    }
    if let Some(histogram) = &mut metric.histogram {
        check_histogram(histogram)?;
        histogram.start_timestamp = histogram.start_timestamp.or(created);
        for (index, bucket) in histogram.bucket.iter_mut().enumerate() {
            replace_exemplar(&mut bucket.exemplar, attached, index);
        }
    }
    if kind == Kind::Unknown {
        // prometheus-client gives the value of a gauge, in which Prometheus does not look for it.
        metric.untyped = metric
            .gauge
            .take()
            .map(|gauge| model::Untyped { value: gauge.value });
    }
    Ok(())
}

fn check_histogram(histogram: &model::Histogram) -> Result<(), Reason> {
    check_counted(histogram.sample_sum)?;
    let buckets = &histogram.bucket;
    if !buckets.is_sorted_by(|a, b| a.upper_bound < b.upper_bound) {
        return Err(BOUNDS_DO_NOT_RISE.into());
    }
    if !buckets.is_sorted_by_key(|bucket| bucket.cumulative_count) {
        return Err(COUNTS_FALL.into());
    }
    let first = buckets.first();
    if first.is_some_and(|bucket| bucket.upper_bound < 0.0 || bucket.upper_bound.is_nan()) {
        return Err(BOUNDS_BELOW_ZERO.into());
    }
    // Without buckets it has native ones.
    let last = buckets.last();
    if last
        .is_some_and(|last| last.upper_bound.is_finite() || last.cumulative_count != histogram.sample_count)
    {
        return Err(BUCKETS_DIFFER_FROM_COUNT.into());
    }
    Ok(())
}

/// Puts in the exemplar that was attached, or removes one that is not valid.
fn replace_exemplar(exemplar: &mut Option<model::Exemplar>, attached: Option<&Attachment>, index: usize) {
    let attached =
        attached.and_then(|attached| attached.exemplars.iter().find(|(bucket, _)| *bucket == index));
    if let Some((_, attached)) = attached {
        let label = attached.labels.pairs().map(|(name, value)| model::LabelPair {
            name: name.to_owned(),
            value: value.to_owned(),
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

#[cfg(test)]
mod tests {
    use std::iter;

    use prometheus_client::{
        metrics::{counter::ConstCounter, gauge::ConstGauge, histogram::Histogram, info::Info},
        registry::Registry,
    };

    use super::render;

    /// How many samples are served of what is registered, and what is omitted.
    fn rendered(register: impl FnOnce(&mut Registry)) -> (usize, Vec<String>) {
        let mut registry = Registry::default();
        register(&mut registry);
        let rendered = render(iter::once(&registry), |_| Registry::default());
        let omitted = rendered.omitted.iter().map(ToString::to_string);
        (rendered.samples, omitted.collect())
    }

    #[test]
    fn a_histogram_counts_as_its_sum_its_count_and_its_buckets() {
        let (samples, omitted) = rendered(|registry| {
            registry.register("x", "Help", Histogram::new([1.0, 2.0]));
            registry.register("y", "Help", ConstGauge::new(1_i64));
        });
        assert_eq!((samples, omitted), (5 + 1, Vec::new()));
    }

    #[test]
    fn a_gauge_with_the_name_of_an_info_is_not_taken_for_it() {
        let (samples, omitted) = rendered(|registry| {
            registry.register("build", "Help", Info::new([("version", "1")]));
            registry.register("build_info", "Help", ConstGauge::new(1_i64));
        });
        assert_eq!(samples, 1);
        assert_eq!(
            omitted,
            [
                "the family build_info has samples whose names are taken by the family build; rename one of them"
            ],
        );
    }

    #[test]
    fn only_a_family_whose_series_are_all_there_is_called_registered_twice() {
        for (second, reason) in [
            (
                1.0,
                "is registered twice; rename one of them, or register it once",
            ),
            (
                -1.0,
                "has the count or sum -1; add and observe only numbers, and no negative ones",
            ),
        ] {
            let (samples, omitted) = rendered(|registry| {
                registry.register("x", "Help", ConstCounter::new(1.0));
                registry.register("x", "Help", ConstCounter::new(second));
            });
            assert_eq!((samples, omitted), (1, vec![format!("the family x {reason}")]));
        }
    }
}
