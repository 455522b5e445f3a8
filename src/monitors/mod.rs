//! The monitors that ship.

mod builder;
mod default;
mod exemplars;
mod families;
mod labels;
mod otel;

pub use builder::DefaultMonitorBuilder;
pub use default::DefaultMonitor;
pub use families::Label;
pub use labels::{NoLabels, RequestLabels};
pub use otel::OtelMonitor;
