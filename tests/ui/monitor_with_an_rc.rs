//! Worker-local state in an `Rc`, though a monitor is sent to its worker.

use std::{cell::Cell, rc::Rc};

use hr_prometheus::{RequestEnd, RequestMonitor, RequestStart, prometheus_client::registry::Registry};

#[derive(Clone)]
struct Local(Rc<Cell<u64>>);

impl RequestMonitor for Local {
    type InFlight = ();

    fn register(_registry: &mut Registry) -> Self {
        Self(Rc::default())
    }

    fn update_init_metrics(&self, _request: &RequestStart<'_>) {}

    fn update_end_metrics(&self, (): (), _end: &RequestEnd<'_>) {
        self.0.set(self.0.get() + 1);
    }
}

fn main() {}
