//! Families of any kind, and what a scrape has of them.

use std::fmt;

use actix_web::rt::System;
use hr_prometheus::{
    MetricsRegistry,
    prometheus_client::{
        collector::Collector,
        encoding::{DescriptorEncoder, MetricEncoder},
        metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
        registry::Registry,
    },
};

use super::{scrape_prometheus_text, without_omissions};

/// A label set with any names.
pub type Labels = Vec<(String, String)>;

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    let pairs = pairs.iter();
    pairs
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

/// Encodes what the function writes.
pub struct Collects<F>(pub F);

impl<F> fmt::Debug for Collects<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Collects")
    }
}

impl<F: Fn(DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static> Collector for Collects<F> {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        (self.0)(encoder)
    }
}

/// Registers a collector that calls `collect`.
pub fn add_collector(
    registry: &mut Registry,
    collect: impl Fn(DescriptorEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
) {
    registry.register_collector(Box::new(Collects(collect)));
}

/// Registers a family from a collector: `write` writes its metrics.
pub fn add_family(
    registry: &mut Registry,
    name: &'static str,
    kind: MetricType,
    write: impl Fn(MetricEncoder<'_>) -> fmt::Result + Send + Sync + 'static,
) {
    add_collector(registry, move |mut encoder| {
        write(encoder.encode_descriptor(name, "Help", None, kind)?)
    });
}

/// Registers a gauge with these series.
pub fn add_series(registry: &mut Registry, name: &'static str, series: &[&[(&str, &str)]]) {
    let series: Vec<_> = series.iter().map(|pairs| labels(pairs)).collect();
    add_family(registry, name, MetricType::Gauge, move |mut encoder| {
        let mut series = series.iter();
        series.try_for_each(|labels| encoder.encode_family(labels)?.encode_gauge(&1_i64))
    });
}

/// A registry with `register` between two families that are valid, each in a registration of its own.
pub fn between_canaries(register: impl FnOnce(&mut Registry)) -> MetricsRegistry {
    let registry = MetricsRegistry::new();
    registry.register_with(|registry| registry.register("canary", "First", ConstGauge::new(1_i64)));
    registry.register_with(register);
    registry.register_with(|registry| registry.register("other", "Last", ConstCounter::new(2_u64)));
    registry
}

/// Asserts that of what is between the canaries only `openmetrics` and `prometheus` are served.
#[track_caller]
pub fn assert_served(what: &str, registry: &MetricsRegistry, openmetrics: &str, prometheus: &str) {
    for _ in 0..3 {
        assert_eq!(
            without_omissions(&registry.encode().unwrap()),
            format!(
                "# HELP canary First.\n# TYPE canary gauge\ncanary 1\n{openmetrics}\
                 # HELP other Last.\n# TYPE other counter\nother_total 2\n# EOF\n"
            ),
            "{what}",
        );
        assert_eq!(
            without_omissions(&System::new().block_on(scrape_prometheus_text(registry))),
            format!(
                "# HELP canary First.\n# TYPE canary gauge\ncanary 1\n{prometheus}\
                 # HELP other_total Last.\n# TYPE other_total counter\nother_total 2\n"
            ),
            "{what}",
        );
    }
}

/// Asserts that of what is between the canaries the families `names` are served in protobuf.
#[track_caller]
pub fn assert_served_in_protobuf(what: &str, registry: &MetricsRegistry, names: &[&str]) {
    for _ in 0..3 {
        let families = protobuf::scrape(registry);
        let Some(served) = families
            .strip_prefix(&["canary".to_owned()][..])
            .and_then(|families| families.strip_suffix(&["other_total".to_owned()][..]))
        else {
            panic!("{what}: no canaries in {families:?}");
        };
        assert_eq!(served, names, "{what}");
    }
}

#[cfg(feature = "protobuf")]
pub mod protobuf {
    use actix_web::{rt::System, test};
    use hr_prometheus::{
        MetricsRegistry,
        prometheus_client::encoding::prometheus_protobuf::prometheus_data_model::MetricFamily,
    };
    use prost::Message as _;

    use crate::support::scrape_with;

    const ACCEPT: &str =
        "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

    pub fn families(registry: &MetricsRegistry) -> Vec<MetricFamily> {
        let body = System::new().block_on(async {
            let response = scrape_with(registry, &[("Accept", ACCEPT)]).await;
            test::read_body(response).await
        });
        let mut families = Vec::new();
        let mut body = &body[..];
        while !body.is_empty() {
            families.push(MetricFamily::decode_length_delimited(&mut body).unwrap());
        }
        families
    }

    /// The names of the families in the scrape.
    pub fn scrape(registry: &MetricsRegistry) -> Vec<String> {
        let families = families(registry).into_iter();
        let names = families.map(|family| family.name);
        names.filter(|name| !name.ends_with("s_omitted")).collect()
    }
}

#[cfg(not(feature = "protobuf"))]
pub mod protobuf {
    use hr_prometheus::MetricsRegistry;

    pub fn scrape(_: &MetricsRegistry) -> Vec<String> {
        unreachable!("not asked for")
    }
}
