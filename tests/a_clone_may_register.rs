//! A monitor whose clone uses the registry that it is in stops nobody.

mod support;

use std::{sync::mpsc, thread, time::Duration};

use actix_web::{
    App, HttpResponse,
    rt::System,
    test::{TestRequest, call_and_read_body, init_service},
    web,
};
use hr_prometheus::{
    HrPrometheus, MetricsRegistry, RequestEnd, RequestMonitor, RequestStart,
    prometheus_client::registry::Registry,
};

/// The registry that each clone uses.
static REGISTRY: std::sync::LazyLock<MetricsRegistry> = std::sync::LazyLock::new(MetricsRegistry::new);

struct Registers;

impl Clone for Registers {
    fn clone(&self) -> Self {
        // Whether that is refused is not the point.
        let _ = HrPrometheus::with_monitor::<Self>().register_in(&REGISTRY);
        let _ = REGISTRY.encode();
        Self
    }
}

impl RequestMonitor for Registers {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        Self
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _: &RequestEnd<'_>) {}
}

#[test]
fn a_clone_that_registers_its_own_type_locks_nobody_out() {
    let (done, is_done) = mpsc::channel();
    thread::spawn(move || {
        System::new().block_on(async {
            let app = App::new()
                .app_data(REGISTRY.clone())
                .route("/", web::get().to(HttpResponse::Ok))
                .wrap(HrPrometheus::with_monitor::<Registers>());
            let app = init_service(app).await;
            call_and_read_body(&app, TestRequest::default().to_request()).await;
            REGISTRY.encode().unwrap();
        });
        done.send(()).unwrap();
    });
    let answered = is_done.recv_timeout(Duration::from_secs(20));
    assert_eq!(answered, Ok(()), "the first request waits for ever");
}
