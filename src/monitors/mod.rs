//! The monitors that ship.

#[cfg(test)]
mod both_ways;
pub(crate) mod default;
mod otel;

pub use default::{
    DefaultInFlight, DefaultMonitor,
    builder::DefaultMonitorBuilder,
    families::Label,
    labels::{NoLabels, RequestLabels},
    table::DefaultFamily,
};
pub use otel::{OtelInFlight, OtelMonitor, builder::OtelMonitorBuilder};
