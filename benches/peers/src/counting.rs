//! An allocator that counts.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicBool, AtomicI64, Ordering::Relaxed},
};

use crate::arena;

/// The allocator of the system, or that of [`arena`], which counts what is asked of it after [`begin`]; before, for
/// measurements of time and of instructions, it looks at a flag and no more.
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

// SAFETY: the allocator of the system does all of it, or the one of constant cost.
unsafe impl GlobalAlloc for Counting {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        change(1, layout.size() as i64);
        arena::alloc(layout).unwrap_or_else(|| unsafe { System.alloc(layout) })
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        change(1, layout.size() as i64);
        match arena::alloc(layout) {
            Some(memory) => {
                unsafe { memory.write_bytes(0, layout.size()) };
                memory
            }
            None => unsafe { System.alloc_zeroed(layout) },
        }
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        change(0, -(layout.size() as i64));
        if !arena::dealloc(memory, layout) {
            unsafe { System.dealloc(memory, layout) };
        }
    }

    /// A further allocation, of what is added: the copy that may be needed meanwhile is not seen.
    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        change(1, size as i64 - layout.size() as i64);
        if !arena::owns(memory) {
            return unsafe { System.realloc(memory, layout, size) };
        }
        let new = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        let moved = arena::alloc(new).unwrap_or_else(|| unsafe { System.alloc(new) });
        if !moved.is_null() {
            unsafe { memory.copy_to_nonoverlapping(moved, layout.size().min(size)) };
            arena::dealloc(memory, layout);
        }
        moved
    }
}
