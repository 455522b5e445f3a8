// The README is not beside its picture in the documentation; of two definitions of a link the first counts.
#![doc = "[live page]: https://raw.githubusercontent.com/hundredrooms/hr-prometheus/main/.github/live.png"]
#![doc = ""]
#![doc = include_str!("../README.md")]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod build_info;
mod connections;
mod endpoint;
mod error;
mod exposition;
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
