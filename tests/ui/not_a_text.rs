//! A number where texts are asked for.

use hr_prometheus::HrPrometheus;

fn main() {
    let _ = HrPrometheus::default().exclude_routes(404);
}
