//! A scrape on a runtime that stops ends with an answer, and keeps nothing from those that come later.

use std::{sync::mpsc, thread, time::Duration};

use actix_web::{
    App,
    test::{TestRequest, call_and_read_body, init_service},
};
use hr_prometheus::{MetricsRegistry, metrics_scope};
use tokio::{runtime::Builder, task::LocalSet};

#[test]
fn a_scrape_on_a_runtime_that_is_gone_is_answered_with_the_reason_and_costs_no_other() {
    let (done, answers) = mpsc::channel();
    // In a thread of its own, so that a dead-lock fails the test rather than hang it.
    thread::spawn(move || {
        let registry = MetricsRegistry::new();
        let runtime = || Builder::new_current_thread().enable_all().build().unwrap();
        for is_gone in [true, false] {
            let (runtime, local) = (runtime(), LocalSet::new());
            let handle = runtime.handle().clone();
            let app = App::new().app_data(registry.clone()).service(metrics_scope());
            let app = runtime.block_on(local.run_until(init_service(app)));
            if is_gone {
                runtime.shutdown_background();
            }
            let scrape = call_and_read_body(&app, TestRequest::with_uri("/metrics").to_request());
            done.send(handle.block_on(local.run_until(scrape))).unwrap();
        }
    });
    let answers = [(); 2].map(|()| answers.recv_timeout(Duration::from_secs(20)).expect("an answer"));
    assert_eq!(
        answers,
        [
            "the metrics could not be rendered: the worker is stopping",
            "# EOF\n",
        ],
    );
}
