//! A `?` behind an option, which keeps its error for `register_in`.

use hr_prometheus::{HrPrometheus, MetricsRegistry};

fn main() -> std::io::Result<()> {
    let metrics = HrPrometheus::default().exclude_routes("/health")?;
    let _ = metrics.register_in(&MetricsRegistry::new())?;
    Ok(())
}
