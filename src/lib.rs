#![doc = include_str!("../README.md")]

mod active_request;
mod build_info;
mod cap;
mod error;
mod exposition;
mod in_flight;
mod kept_path;
mod middleware;
mod monitor;
mod monitors;
mod native;
mod options;
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
    error::Error,
    exposition::{metrics_scope, metrics_view},
    middleware::HrPrometheus,
    monitor::{
        Ending, Excluded, Monitors, RequestEnd, RequestMonitor, RequestStart, ResponseStart, ScrapeStart,
    },
    monitors::{DefaultMonitor, DefaultMonitorBuilder, Label, NoLabels, OtelMonitor, RequestLabels},
    registry::MetricsRegistry,
};
