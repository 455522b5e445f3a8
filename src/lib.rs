#![doc = include_str!("../README.md")]

mod active_request;
mod cap;
mod error;
mod exposition;
mod in_flight;
mod kept_path;
mod lock;
mod middleware;
mod monitor;
mod monitors;
mod options;
mod registry;
mod route;
mod series;

pub use prometheus_client;

pub use crate::{
    error::Error,
    exposition::{metrics_scope, metrics_view},
    middleware::HrPrometheus,
    monitor::{
        Ending, Excluded, Monitors, RequestEnd, RequestMonitor, RequestStart, ResponseStart, ScrapeStart,
    },
    monitors::{DefaultMonitor, NoLabels},
    registry::MetricsRegistry,
};
