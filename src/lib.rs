// Links of the README, which is also read where there is no documentation: of two definitions of a link the first counts.
//! [live page]: https://raw.githubusercontent.com/hundredrooms/hr-prometheus/main/.github/live.png
//! [guide]: guide
//! [labels]: guide::labels
//! [custom labels]: guide::labels#custom-labels
//! [status]: DefaultMonitor#which-status
//! [long_lived]: guide::long_lived
//! [serving]: guide::serving
//! [coming_from]: guide::coming_from
//! [queries]: guide::queries
//! [testing]: guide::testing
//! [troubleshooting]: guide::troubleshooting
//! [middleware options]: guide::options#on-the-middleware
//! [monitor options]: guide::options#on-the-default-monitor
//! [otel options]: guide::options#on-the-monitor-of-the-opentelemetry-conventions
//! [registry options]: guide::options#on-the-registry-and-the-server
//! [features]: guide::options#features
//!
#![doc = include_str!("../README.md")]
// Says on docs.rs which feature an item needs.
#![cfg_attr(docsrs, feature(doc_cfg))]

mod build_info;
mod connections;
mod endpoint;
mod error;
mod exposition;
#[cfg(any(doc, doctest))]
pub mod guide;
mod in_flight;
mod limit;
#[cfg(feature = "live")]
mod live;
mod method;
mod middleware;
mod monitor;
mod monitors;
#[cfg(hr_loom)]
mod orderings;
mod panics;
#[cfg(feature = "process")]
mod process;
#[cfg(any(feature = "prometheus-0_13", feature = "prometheus-0_14"))]
mod prometheus_metrics;
mod registry;
mod requested_routes;
mod route;
mod series;
mod texts;
mod workers;

pub use prometheus_client;

#[cfg(unix)]
pub use crate::endpoint::server::metrics_server_uds;
#[cfg(feature = "live")]
pub use crate::live::{live_scope, live_scope_for};
#[cfg(feature = "process")]
pub use crate::process::process_metrics;
#[cfg(any(feature = "prometheus-0_13", feature = "prometheus-0_14"))]
pub use crate::prometheus_metrics::{PrometheusRegistry, prometheus_metrics};
#[doc(hidden)]
pub use crate::{
    build_info::register_build_info,
    monitor::set::{Contained, MonitorSet},
};

pub use crate::{
    connections::connection_metrics,
    endpoint::{metrics_scope, metrics_view, server::metrics_server},
    error::Error,
    middleware::{
        HrPrometheus,
        exclusion::Excluded,
        response::{MeasuredBody, MeasuredResponse},
        service::HrPrometheusService,
    },
    monitor::{
        RequestMonitor,
        builder::MonitorBuilder,
        hooks::{Ending, RequestEnd, RequestStart, ResponseStart, ScrapeStart},
        long_lived::LongLived,
        set::Monitors,
    },
    monitors::{
        DefaultFamily, DefaultInFlight, DefaultMonitor, DefaultMonitorBuilder, Label, NoLabels, OtelInFlight,
        OtelMonitor, OtelMonitorBuilder, RequestLabels,
    },
    registry::MetricsRegistry,
    texts::Texts,
};
