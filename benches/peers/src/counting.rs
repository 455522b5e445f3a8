//! An allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};

/// The allocator of the system, which counts what is asked of it after [`begin`]; before, for measurements of time and
/// of instructions, it looks at a flag and no more.
pub struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static ALLOCATIONS: AtomicI64 = AtomicI64::new(0);
static ALLOCATED: AtomicI64 = AtomicI64::new(0);
static LIVE: AtomicI64 = AtomicI64::new(0);
static PEAK: AtomicI64 = AtomicI64::new(0);

#[derive(Clone, Copy)]
pub struct Counts {
    pub allocations: i64,
    /// All bytes that were asked for.
    pub allocated: i64,
    /// Those of them that have not been given back.
    pub live: i64,
}

/// Counts from now on; only differences of what it counts mean something.
pub fn begin() {
    COUNTS.store(true, Relaxed);
}

pub fn counts() -> Counts {
    Counts {
        allocations: ALLOCATIONS.load(Relaxed),
        allocated: ALLOCATED.load(Relaxed),
        live: LIVE.load(Relaxed),
    }
}

/// The result of `work`, what it allocated, and by how many bytes it raised those that are live at the most.
pub fn count<T>(work: impl FnOnce() -> T) -> (T, Counts, i64) {
    begin();
    let before = counts();
    PEAK.store(before.live, Relaxed);
    let result = work();
    let after = counts();
    let difference = Counts {
        allocations: after.allocations - before.allocations,
        allocated: after.allocated - before.allocated,
        live: after.live - before.live,
    };
    (result, difference, PEAK.load(Relaxed) - before.live)
}

#[inline]
fn change(allocations: i64, bytes: i64) {
    if COUNTS.load(Relaxed) {
        ALLOCATIONS.fetch_add(allocations, Relaxed);
        ALLOCATED.fetch_add(bytes.max(0), Relaxed);
        let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(live, Relaxed);
    }
}

// SAFETY: the system's allocator does all of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        change(1, layout.size() as i64);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        change(1, layout.size() as i64);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        change(0, -(layout.size() as i64));
        unsafe { System.dealloc(memory, layout) }
    }

    /// A further allocation, of what is added: the copy that may be needed meanwhile is not seen.
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        change(1, size as i64 - layout.size() as i64);
        unsafe { System.realloc(memory, layout, size) }
    }
}
