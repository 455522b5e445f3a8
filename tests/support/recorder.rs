//! A monitor that notes what it is told.

use std::sync::{Arc, Mutex};

use hr_prometheus::{
    DefaultMonitor, Ending, HrPrometheus, RequestEnd, RequestMonitor, RequestStart,
    prometheus_client::registry::Registry,
};

/// How a request ended: method and route, status, ending, bytes of the response body.
pub type Ended = (String, u16, Ending, u64);

/// Notes how requests end; clones share the notes.
#[derive(Clone, Default)]
pub struct Recorder(Arc<Mutex<Vec<Ended>>>);

impl Recorder {
    /// The middleware with the default monitor and this one, which is told last.
    pub fn beside_default(&self) -> HrPrometheus<(DefaultMonitor, Recorder)> {
        let recorder = self.clone();
        HrPrometheus::with_monitor_from(move |registry: &mut Registry| {
            (DefaultMonitor::register(registry), recorder.clone())
        })
    }

    /// Whether nothing more can come, because no worker and no request is left. A stopped server does not wait for
    /// the threads of its workers.
    pub fn is_final(&self) -> bool {
        // One is the test's, and one the registry's, to make those of workers from.
        Arc::strong_count(&self.0) == 2
    }

    pub fn ended(&self) -> Vec<Ended> {
        self.0.lock().expect("a test that did not panic").clone()
    }
}

impl RequestMonitor for Recorder {
    type InFlight = ();

    fn register(_: &mut Registry) -> Self {
        Self::default()
    }

    fn update_init_metrics(&self, _: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), end: &RequestEnd<'_>) {
        self.0.lock().expect("a test that did not panic").push((
            format!("{} {}", end.method(), end.route()),
            end.status().as_u16(),
            end.ending(),
            end.response_body_bytes(),
        ));
    }
}
