//! Families as the judges describe them, and how they get into a registry.

use std::{
    fmt,
    str::FromStr,
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, SystemTime},
};

use hr_prometheus::prometheus_client::{
    collector::Collector,
    encoding::{
        DescriptorEncoder, EncodeGaugeValue, EncodeLabel, EncodeLabelSet, EncodeMetric, GaugeValueEncoder,
        LabelSetEncoder, MetricEncoder,
    },
    metrics::{
        MetricType, TypedMetric,
        counter::{ConstCounter, Counter},
        exemplar::{CounterWithExemplar, HistogramWithExemplars},
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::{Histogram, NativeHistogramConfig},
        info::Info,
    },
    registry::{Metric, Registry, Unit},
};
use serde::Deserialize;

type Labels = Vec<(String, String)>;

/// A family and all that is recorded in it. Numbers are text, because JSON has no NaN, no infinity and no `u64`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Described {
    kind: Kind,
    name: String,
    #[serde(default)]
    help: String,
    unit: Option<String>,
    prefix: Option<String>,
    /// Those that each series has.
    #[serde(default)]
    labels: Labels,
    series: Vec<Series>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Counter,
    IntegerCounter,
    ConstCounter,
    CounterWithExemplar,
    Gauge,
    IntegerGauge,
    ConstGauge,
    Histogram,
    HistogramWithExemplars,
    /// With classic buckets too.
    NativeHistogram,
    NativeHistogramAlone,
    Info,
    /// Written by a collector, which can write anything.
    CollectedCounter,
    CollectedGauge,
    CollectedHistogram,
    CollectedInfo,
    CollectedUnknown,
    /// Encodes its value `count` times.
    CollectedValues,
    /// Has another value of the label `changes` each time that its labels are encoded.
    ChangingHistogram,
    /// A collector that fails after it has written the series.
    Failing,
    /// A collector that panics after it has written the series.
    Panicking,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Series {
    /// `None` for a metric that is registered without a `Family` around it.
    labels: Option<Labels>,
    #[serde(default)]
    value: String,
    exemplar: Option<Exemplar>,
    /// The bounds of the buckets of a histogram, without the infinite one.
    #[serde(default)]
    bounds: Vec<String>,
    /// What a histogram observes.
    #[serde(default)]
    observations: Vec<Observation>,
    /// What a collector says of a histogram instead: its buckets, each with its bound and the count of it alone.
    #[serde(default)]
    buckets: Vec<(String, u64)>,
    #[serde(default)]
    count: u64,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Observation {
    value: String,
    exemplar: Option<Exemplar>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Exemplar {
    labels: Labels,
    /// In milliseconds since 1970.
    time: Option<u64>,
}

impl Described {
    pub fn register(self, registry: &mut Registry) {
        match self.kind {
            Kind::Counter => self.register_as(
                registry,
                |_| Counter::<f64, AtomicU64>::default(),
                |counter, series| {
                    counter.inc_by(number(&series.value));
                },
            ),
            Kind::IntegerCounter => self.register_as(
                registry,
                |_| Counter::<u64>::default(),
                |counter, series| {
                    counter.inc_by(number(&series.value));
                },
            ),
            Kind::ConstCounter => {
                let counter = ConstCounter::new(number::<f64>(&self.series[0].value));
                self.name(registry, counter);
            }
            Kind::CounterWithExemplar => self.register_as(
                registry,
                |_| CounterWithExemplar::<Labels>::default(),
                |counter, series| {
                    let (labels, time) = Exemplar::parts(series.exemplar.as_ref());
                    counter.inc_by(number(&series.value), labels, time);
                },
            ),
            Kind::Gauge => self.register_as(
                registry,
                |_| Gauge::<f64, AtomicU64>::default(),
                |gauge, series| {
                    gauge.set(number(&series.value));
                },
            ),
            Kind::IntegerGauge => self.register_as(
                registry,
                |_| Gauge::<i64>::default(),
                |gauge, series| {
                    gauge.set(number(&series.value));
                },
            ),
            Kind::ConstGauge => {
                let gauge = ConstGauge::new(number::<f64>(&self.series[0].value));
                self.name(registry, gauge);
            }
            Kind::Histogram => self.register_as(registry, |bounds| Histogram::new(bounds.to_vec()), observe),
            Kind::NativeHistogram => self.register_as(
                registry,
                |bounds| Histogram::new_classic_and_native(bounds.to_vec(), NativeHistogramConfig::default()),
                observe,
            ),
            Kind::NativeHistogramAlone => self.register_as(
                registry,
                |_| Histogram::new_native(NativeHistogramConfig::default()),
                observe,
            ),
            Kind::HistogramWithExemplars => self.register_as(
                registry,
                |bounds| HistogramWithExemplars::<Labels>::new(bounds.iter().copied()),
                |histogram, series| {
                    for observation in &series.observations {
                        let (labels, time) = Exemplar::parts(observation.exemplar.as_ref());
                        histogram.observe(number(&observation.value), labels, time);
                    }
                },
            ),
            Kind::Info => {
                let info = Info::new(self.series[0].labels.clone().unwrap_or_default());
                self.name(registry, info);
            }
            Kind::CollectedCounter
            | Kind::CollectedGauge
            | Kind::CollectedHistogram
            | Kind::CollectedInfo
            | Kind::CollectedUnknown
            | Kind::CollectedValues
            | Kind::ChangingHistogram
            | Kind::Failing
            | Kind::Panicking => {
                let collector = Box::new(Collected(self.clone()));
                self.part_of(registry).register_collector(collector);
            }
        }
    }

    /// Registers one metric, or a `Family` of them where a series has labels.
    fn register_as<M>(
        self,
        registry: &mut Registry,
        new: impl Fn(&[f64]) -> M + Clone + Send + Sync + 'static,
        record: impl Fn(&M, &Series),
    ) where
        M: EncodeMetric + TypedMetric + fmt::Debug + Send + Sync + 'static,
    {
        let bounds: Vec<f64> = self
            .series
            .first()
            .map(|series| series.bounds.iter().map(|bound| number(bound)).collect())
            .unwrap_or_default();
        let new = move || new(&bounds);
        if let [series] = &self.series[..]
            && series.labels.is_none()
        {
            let metric = new();
            record(&metric, series);
            self.name(registry, metric);
        } else {
            let family = Family::<Labels, M, _>::new_with_constructor(new);
            for series in &self.series {
                record(
                    &family.get_or_create(&series.labels.clone().unwrap_or_default()),
                    series,
                );
            }
            self.name(registry, family);
        }
    }

    fn name(&self, registry: &mut Registry, metric: impl Metric) {
        let registry = self.part_of(registry);
        match self.unit() {
            Some(unit) => registry.register_with_unit(&self.name, &self.help, unit, metric),
            None => registry.register(&self.name, &self.help, metric),
        }
    }

    fn part_of<'a>(&self, registry: &'a mut Registry) -> &'a mut Registry {
        let labels = self.labels.iter().cloned();
        let labels = labels.map(|(name, value)| (name.into(), value.into()));
        match &self.prefix {
            Some(prefix) => registry.sub_registry_with_prefix(prefix),
            None => registry,
        }
        .sub_registry_with_labels(labels)
    }

    fn unit(&self) -> Option<Unit> {
        self.unit.clone().map(Unit::Other)
    }
}

impl Exemplar {
    fn parts(exemplar: Option<&Self>) -> (Option<Labels>, Option<SystemTime>) {
        let Some(Self { labels, time }) = exemplar else {
            return (None, None);
        };
        let time = time.map(|time| SystemTime::UNIX_EPOCH + Duration::from_millis(time));
        (Some(labels.clone()), time)
    }
}

#[derive(Debug)]
struct Collected(Described);

impl Collector for Collected {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let Self(described) = self;
        let metric_type = match described.kind {
            Kind::CollectedCounter => MetricType::Counter,
            Kind::CollectedHistogram | Kind::ChangingHistogram => MetricType::Histogram,
            Kind::CollectedInfo => MetricType::Info,
            Kind::CollectedUnknown => MetricType::Unknown,
            _ => MetricType::Gauge,
        };
        let unit = described.unit();
        let mut family =
            encoder.encode_descriptor(&described.name, &described.help, unit.as_ref(), metric_type)?;
        for series in &described.series {
            let labels = series.labels.clone().unwrap_or_default();
            match described.kind {
                Kind::CollectedValues => {
                    let mut metric = family.encode_family(&labels)?;
                    metric.encode_gauge(&Values(number(&series.value), series.count))?;
                    continue;
                }
                Kind::ChangingHistogram => {
                    let labels = Changes(labels, AtomicU64::new(0));
                    series.encode(metric_type, &mut family.encode_family(&labels)?)?;
                    continue;
                }
                _ => {}
            }
            match &series.labels {
                Some(labels) if !matches!(metric_type, MetricType::Info) => {
                    series.encode(metric_type, &mut family.encode_family(labels)?)?;
                }
                _ => series.encode(metric_type, &mut family)?,
            }
        }
        match described.kind {
            Kind::Failing => Err(fmt::Error),
            Kind::Panicking => panic!("the collector of {} panics, as it should", described.name),
            _ => Ok(()),
        }
    }
}

/// A value, as often as it says.
struct Values(f64, u64);

impl EncodeGaugeValue for Values {
    fn encode(&self, encoder: &mut GaugeValueEncoder) -> Result<(), fmt::Error> {
        (0..self.1).try_for_each(|_| self.0.encode(encoder))
    }
}

/// Labels, and one that is another each time.
struct Changes(Labels, AtomicU64);

impl EncodeLabelSet for Changes {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> Result<(), fmt::Error> {
        EncodeLabelSet::encode(&self.0, encoder)?;
        ("changes", self.1.fetch_add(1, Ordering::Relaxed)).encode(encoder.encode_label())
    }
}

impl Series {
    fn encode(&self, metric_type: MetricType, encoder: &mut MetricEncoder) -> Result<(), fmt::Error> {
        match metric_type {
            MetricType::Counter => encoder.encode_counter::<Labels, f64, f64>(&number(&self.value), None),
            MetricType::Gauge | MetricType::Unknown => encoder.encode_gauge(&number::<f64>(&self.value)),
            MetricType::Histogram => {
                let buckets: Vec<(f64, u64)> = self
                    .buckets
                    .iter()
                    .map(|(bound, count)| (number(bound), *count))
                    .collect();
                encoder.encode_histogram::<Labels>(number(&self.value), self.count, &buckets, None)
            }
            MetricType::Info => encoder.encode_info(self.labels.as_ref().unwrap_or(&Labels::new())),
        }
    }
}

fn observe(histogram: &Histogram, series: &Series) {
    for observation in &series.observations {
        histogram.observe(number(&observation.value));
    }
}

fn number<T: FromStr<Err: fmt::Debug>>(text: &str) -> T {
    text.parse().expect("the judges write numbers that fit the kind")
}
