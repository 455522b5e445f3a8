#![doc = include_str!("../README.md")]

mod build_info;
mod endpoint;
mod error;
mod exposition;
mod in_flight;
mod limit;
mod middleware;
mod monitor;
mod monitors;
mod panics;
#[cfg(feature = "process")]
mod process;
mod registry;
mod route;
mod series;

pub use prometheus_client;

#[doc(hidden)]
pub use crate::build_info::register_build_info;
#[cfg(feature = "process")]
pub use crate::process::process_metrics;

pub use crate::{
    endpoint::{metrics_scope, metrics_view},
    error::Error,
    middleware::HrPrometheus,
    middleware::exclusion::Excluded,
    monitor::{
        RequestMonitor,
        hooks::{Ending, RequestEnd, RequestStart, ResponseStart, ScrapeStart},
        set::Monitors,
    },
    monitors::{
        DefaultFamily, DefaultInFlight, DefaultMonitor, DefaultMonitorBuilder, Label, NoLabels, OtelInFlight,
        OtelMonitor, RequestLabels,
    },
    registry::MetricsRegistry,
};
