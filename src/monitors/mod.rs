//! The monitors that ship.

pub(crate) mod default;
mod otel;

pub use default::{
    DefaultMonitor,
    builder::DefaultMonitorBuilder,
    families::Label,
    labels::{NoLabels, RequestLabels},
};
pub use otel::OtelMonitor;
