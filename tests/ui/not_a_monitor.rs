//! A type that does not implement `RequestMonitor`.

use actix_web::App;
use hr_prometheus::HrPrometheus;

#[derive(Clone)]
struct NotAMonitor;

fn main() {
    let _ = App::new().wrap(HrPrometheus::with_monitor::<NotAMonitor>());
}
