//! The monitors that ship.

#[cfg(test)]
mod both_ways;
pub(crate) mod default;
mod otel;

pub use default::{
    DefaultMonitor,
    builder::DefaultMonitorBuilder,
    families::Label,
    in_flight::DefaultInFlight,
    labels::{NoLabels, RequestLabels},
    table::DefaultFamily,
};
pub use otel::{OtelInFlight, OtelMonitor, builder::OtelMonitorBuilder};
