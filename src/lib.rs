#![doc = include_str!("../README.md")]

mod build_info;
mod cap;
mod endpoint;
mod error;
mod exposition;
mod in_flight;
mod middleware;
mod monitor;
mod monitors;
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
    monitor::{
        Ending, Excluded, Monitors, RequestEnd, RequestMonitor, RequestStart, ResponseStart, ScrapeStart,
    },
    monitors::{DefaultMonitor, DefaultMonitorBuilder, Label, NoLabels, OtelMonitor, RequestLabels},
    registry::MetricsRegistry,
};
