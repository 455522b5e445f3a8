//! The state that the workers share, and its encoding.

use std::{collections::BTreeMap, fmt, rc::Rc, sync::Arc};

use actix_web::http::header::HeaderName;
use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::MetricType, registry::Unit,
};

use crate::{
    exposition::samples::{Number, Output},
    monitors::{
        default::families::FamilyEncoder,
        otel::{active::ActiveRequests, attributes::OtelAttributes, config::Config, scheme::Scheme},
    },
    registry::names::{FamilyNames, MonitorNames},
    series::{
        Series, Snapshot,
        grouping::GroupBy,
        measures::{Measures, Scale},
    },
};

/// The state that the workers share and a scrape encodes.
#[derive(Debug)]
pub(super) struct OtelStorage {
    pub(super) series: Arc<Series<OtelAttributes>>,
    pub(super) families: Vec<(Content, FamilyEncoder)>,
    pub(super) active: ActiveRequests,
    /// The route of all series without an `http_route`, so that they are one.
    pub(super) no_route: Arc<str>,
    pub(super) reads: Reads,
    pub(super) routes_unmatched: bool,
    pub(super) names_protocol: bool,
    pub(super) has_sizes: bool,
}

/// The content of a family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Content {
    Duration,
    ActiveRequests,
    RequestBodySize,
    ResponseBodySize,
}

/// Optional parts of a request that are read when it arrives.
#[derive(Debug, PartialEq)]
pub(super) struct Reads {
    pub(super) scheme_header: Option<HeaderName>,
    pub(super) synthetic: bool,
    pub(super) active: bool,
}

impl OtelStorage {
    pub(super) fn new(config: &Config) -> Arc<Self> {
        let families = [
            (
                Content::Duration,
                true,
                "http_server_request_duration",
                "Duration of HTTP server requests.",
                Some(Unit::Seconds),
            ),
            (
                Content::ActiveRequests,
                config.active_requests,
                "http_server_active_requests",
                "Number of active HTTP server requests.",
                None,
            ),
            (
                Content::RequestBodySize,
                config.request_body_size,
                "http_server_request_body_size",
                "Size of HTTP server request bodies.",
                Some(Unit::Bytes),
            ),
            (
                Content::ResponseBodySize,
                config.response_body_size,
                "http_server_response_body_size",
                "Size of HTTP server response bodies.",
                Some(Unit::Bytes),
            ),
        ];
        let mut measures = Measures::latency(&config.duration_bounds);
        let mut chosen = Vec::new();
        for (content, is_on, name, help, unit) in families {
            if !is_on {
                continue;
            }
            if content.is_size() {
                measures = measures.and(&config.size_bounds, Scale::Bytes);
            }
            let family = FamilyEncoder {
                unit: unit.filter(|_| config.has_units),
                group_by: GroupBy::ALL,
                has_unknown_labels: false,
                ..FamilyEncoder::new(name.into(), help.into(), Vec::new(), true)
            };
            chosen.push((content, family));
        }
        Arc::new(Self {
            series: Series::new(measures),
            families: chosen,
            active: ActiveRequests::default(),
            no_route: "".into(),
            reads: Reads {
                scheme_header: config.scheme_header.clone(),
                synthetic: config.shows_synthetic,
                active: config.active_requests,
            },
            routes_unmatched: config.routes_unmatched,
            names_protocol: config.names_protocol,
            has_sizes: config.request_body_size || config.response_body_size,
        })
    }

    /// The names of the families for the live page, in a registry that puts `prefix` before them.
    pub(super) fn names(&self, prefix: &str) -> MonitorNames {
        let method = ("http_request_method".to_owned(), "method");
        let path = ("http_route".to_owned(), "path");
        let status = ("http_response_status_code".to_owned(), "status");
        let families = self.families.iter().filter_map(|(content, family)| {
            let (role, labels) = match content {
                Content::Duration => ("latency", vec![method.clone(), path.clone(), status.clone()]),
                Content::ActiveRequests => ("in_progress", vec![method.clone()]),
                Content::RequestBodySize | Content::ResponseBodySize => return None,
            };
            Some(FamilyNames {
                role,
                name: family.name_behind(prefix),
                labels,
            })
        });
        MonitorNames {
            families: families.collect(),
        }
    }

    pub(super) fn has(&self, content: Content) -> bool {
        self.families.iter().any(|(of_family, _)| *of_family == content)
    }
}

impl Content {
    fn is_size(self) -> bool {
        matches!(self, Self::RequestBodySize | Self::ResponseBodySize)
    }

    fn metric_type(self) -> MetricType {
        match self {
            Self::ActiveRequests => MetricType::Gauge,
            _ => MetricType::Histogram,
        }
    }
}

impl Reads {
    pub(super) const NOTHING: Self = Self {
        scheme_header: None,
        synthetic: false,
        active: false,
    };
}

/// Encodes all families from one snapshot, so that they agree.
#[derive(Debug)]
pub(super) struct OtelCollector(pub(super) Arc<OtelStorage>);

impl Collector for OtelCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let scrape = Rc::new(Scrape::begin(&self.0));
        for (index, (content, family)) in self.0.families.iter().enumerate() {
            let scrape = Rc::clone(&scrape);
            family.encode(&mut encoder, content.metric_type(), move |output| {
                scrape.write(index, output)
            })?;
        }
        Ok(())
    }
}

/// The numbers of one scrape.
struct Scrape {
    storage: Arc<OtelStorage>,
    snapshot: Snapshot<OtelAttributes>,
    active: BTreeMap<(&'static str, Scheme), i64>,
}

impl Scrape {
    fn begin(storage: &Arc<OtelStorage>) -> Self {
        let snapshot = storage.series.snapshot();
        let mut active = BTreeMap::new();
        if storage.has(Content::ActiveRequests) {
            let known = snapshot.all().map(|totals| totals.key);
            active.extend(known.map(|key| ((key.method, key.attributes.arrival.scheme), 0)));
            storage.active.add_to(&mut active);
        }
        Self {
            storage: Arc::clone(storage),
            snapshot,
            active,
        }
    }

    /// Writes the samples of the family at this index.
    fn write(&self, index: usize, output: &mut dyn Output) -> fmt::Result {
        let families = &self.storage.families;
        let measures = self.storage.series.measures();
        let (content, family) = &families[index];
        let distribution = match content {
            Content::Duration => &measures.latency,
            Content::ActiveRequests => return self.write_active(output),
            Content::RequestBodySize | Content::ResponseBodySize => {
                let before = families[..index].iter();
                &measures.further[before.filter(|(content, _)| content.is_size()).count()]
            }
        };
        family.write_distribution(output, self.snapshot.all(), distribution)
    }

    fn write_active(&self, output: &mut dyn Output) -> fmt::Result {
        self.active.iter().try_for_each(|(&(method, scheme), &requests)| {
            let labels = [("http_request_method", method), ("url_scheme", scheme.as_str())];
            output.gauge(&labels, Number::Whole(requests))
        })
    }
}
