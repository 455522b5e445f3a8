//! The result of a registration, where only a middleware can be.

use actix_web::App;
use hr_prometheus::{HrPrometheus, MetricsRegistry};

fn main() {
    let registry = MetricsRegistry::new();
    let _ = App::new().wrap(HrPrometheus::default().exclude_routes("/health").register_in(&registry));
}
