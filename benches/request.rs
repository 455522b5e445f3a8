//! What a request costs in time: `cargo bench --bench request`. For decisions trust `--bench instructions` first.

mod harness;

use actix_web::{App, rt::System, test};
use divan::Bencher;
use harness::Kind;
use hr_prometheus::{HrPrometheus, MetricsRegistry};

fn main() {
    divan::main();
}

#[divan::bench(args = Kind::ALL)]
fn without_middleware(bencher: Bencher, kind: Kind) {
    let app = App::new().configure(|app| harness::configure(app, 50));
    let app = System::new().block_on(test::init_service(app));
    bencher
        .with_inputs(|| kind.request(50, 7))
        .bench_local_values(|request| harness::drive(&app, request));
}

#[divan::bench(args = Kind::ALL)]
fn default_monitor(bencher: Bencher, kind: Kind) {
    let app = App::new()
        .configure(|app| harness::configure(app, 50))
        .app_data(MetricsRegistry::new())
        .wrap(HrPrometheus::default());
    let app = System::new().block_on(test::init_service(app));
    bencher
        .with_inputs(|| kind.request(50, 7))
        .bench_local_values(|request| harness::drive(&app, request));
}
