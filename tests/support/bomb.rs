//! Values that panic when they are dropped.

use std::{
    panic::panic_any,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Panics when it is dropped; what that panic carries does the same, as often as this says.
pub struct Bomb(pub u32);

impl Drop for Bomb {
    fn drop(&mut self) {
        if let Some(left) = self.0.checked_sub(1) {
            panic_any(Self(left));
        }
    }
}

/// Panics with a payload that panics when it is dropped.
pub fn throw() -> ! {
    panic_any(Bomb(3))
}

/// How many values there are that count themselves, and panic when they are dropped.
#[derive(Clone, Default)]
pub struct Alive(Arc<AtomicUsize>);

impl Alive {
    pub fn bomb(&self) -> CountedBomb {
        self.0.fetch_add(1, Ordering::Relaxed);
        CountedBomb(self.clone())
    }

    pub fn count(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }
}

/// Panics when it is dropped, and is counted as long as it lives.
pub struct CountedBomb(Alive);

impl CountedBomb {
    pub fn another(&self) -> Self {
        self.0.bomb()
    }
}

impl Drop for CountedBomb {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
        throw();
    }
}
