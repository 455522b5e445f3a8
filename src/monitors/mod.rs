//! The monitors that ship.

mod default;

pub use default::{DefaultMonitor, NoLabels};
