//! Locks for the models of loom, which runs them in every order in which their threads can meet, and lets
//! each load see every value that it may.
//!
//! The models stand at the end of the files whose orderings they check; `.ci/orderings.py` runs them.

use loom::{model::Builder, sync};

/// A lock without poison, as that of `parking_lot`.
#[derive(Debug, Default)]
pub(crate) struct Mutex<T>(sync::Mutex<T>);

pub(crate) type MutexGuard<'a, T> = sync::MutexGuard<'a, T>;

impl<T> Mutex<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }

    pub(crate) fn get_mut(&mut self) -> &mut T {
        self.0.get_mut().unwrap()
    }
}

/// Runs `threads` in every order in which one interrupts another at most three times: more than what is known to find
/// nearly all faults, and done in seconds.
#[cfg(test)]
pub(crate) fn model(threads: impl Fn() + Send + Sync + 'static) {
    let mut builder = Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(threads);
}
