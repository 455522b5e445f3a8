//! A set of monitors that is neither one monitor nor a pair.

use hr_prometheus::{DefaultMonitor, Error, MetricsRegistry, Monitors};

type Set = <DefaultMonitor as Monitors>::Set;

#[derive(Clone)]
struct ByHand;

impl Monitors for ByHand {
    type Set = Set;

    fn obtain(registry: &MetricsRegistry, name: &str, errors: &mut Vec<Error>) -> Set {
        DefaultMonitor::obtain(registry, name, errors)
    }

    fn contained(self) -> Set {
        unreachable!()
    }
}

fn main() {}
