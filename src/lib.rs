#![doc = include_str!("../README.md")]

mod build_info;
mod endpoint;
mod error;
mod exposition;
mod in_flight;
mod limit;
mod method;
mod middleware;
mod monitor;
mod monitors;
mod panics;
#[cfg(feature = "process")]
mod process;
mod registry;
mod route;
mod series;
mod texts;

pub use prometheus_client;

#[cfg(feature = "process")]
pub use crate::process::process_metrics;
#[doc(hidden)]
pub use crate::{
    build_info::register_build_info,
    monitor::set::{Contained, MonitorSet},
};

pub use crate::{
    endpoint::{metrics_scope, metrics_view},
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
