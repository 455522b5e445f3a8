//! An allocator of constant cost, for counting instructions: what malloc takes depends on all that was allocated before.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::UnsafeCell,
    hint, ptr,
    sync::atomic::{
        AtomicBool, AtomicUsize,
        Ordering::{Acquire, Relaxed, Release},
    },
};

/// Addresses, not memory: only what is written to takes any.
const SIZE: usize = 1 << 30;
/// Blocks have a power of two of bytes, from 16 on.
const CLASSES: usize = 31;
/// The largest alignment of a block.
const PAGE: usize = 4096;

struct Blocks {
    begin: AtomicUsize,
    is_locked: AtomicBool,
    state: UnsafeCell<State>,
}

struct State {
    /// Where the part begins that has never been used.
    next: usize,
    /// The first free block of each class; the first word of a free block is the address of the next one.
    free: [usize; CLASSES],
}

// SAFETY: the state is used under the lock.
unsafe impl Sync for Blocks {}

static BLOCKS: Blocks = Blocks {
    begin: AtomicUsize::new(0),
    is_locked: AtomicBool::new(false),
    state: UnsafeCell::new(State {
        next: 0,
        free: [0; CLASSES],
    }),
};

/// From now on memory comes from here.
pub fn begin() {
    let layout = Layout::from_size_align(SIZE, PAGE).expect("a power of two");
    // SAFETY: the size is not zero.
    let begin = unsafe { System.alloc(layout) } as usize;
    assert_ne!(begin, 0, "there are addresses");
    BLOCKS.with_state(|state| state.next = begin);
    BLOCKS.begin.store(begin, Release);
}

/// A block, unless memory comes from elsewhere.
#[inline]
pub fn alloc(layout: Layout) -> Option<*mut u8> {
    let begin = BLOCKS.begin.load(Acquire);
    if begin == 0 {
        return None;
    }
    let class = class(layout)?;
    BLOCKS.with_state(|state| {
        let mut block = state.free[class];
        if block == 0 {
            let size = 1 << class;
            block = state.next.next_multiple_of(size.min(PAGE));
            if block + size > begin + SIZE {
                return None;
            }
            state.next = block + size;
        } else {
            // SAFETY: the block is free, so that its first word is an address or zero.
            state.free[class] = unsafe { ptr::with_exposed_provenance::<usize>(block).read() };
        }
        Some(ptr::with_exposed_provenance_mut(block))
    })
}

/// Whether memory is one of the blocks.
#[inline]
pub fn owns(memory: *mut u8) -> bool {
    let begin = BLOCKS.begin.load(Acquire);
    begin != 0 && (begin..begin + SIZE).contains(&memory.addr())
}

/// Takes a block back; `false` if it is from elsewhere.
#[inline]
pub fn dealloc(memory: *mut u8, layout: Layout) -> bool {
    if !owns(memory) {
        return false;
    }
    let block = memory.expose_provenance();
    let class = class(layout).expect("it had a class when it was allocated");
    BLOCKS.with_state(|state| {
        // SAFETY: the block is nobody's now, and has room for a word.
        unsafe { ptr::with_exposed_provenance_mut::<usize>(block).write(state.free[class]) };
        state.free[class] = block;
    });
    true
}

fn class(layout: Layout) -> Option<usize> {
    let size = layout.size().max(layout.align()).max(16);
    let class = size.next_power_of_two().trailing_zeros() as usize;
    (class < CLASSES && layout.align() <= PAGE).then_some(class)
}

impl Blocks {
    #[inline]
    fn with_state<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        while self
            .is_locked
            .compare_exchange_weak(false, true, Acquire, Relaxed)
            .is_err()
        {
            hint::spin_loop();
        }
        // SAFETY: the lock is held, and `act` does not allocate.
        let result = act(unsafe { &mut *self.state.get() });
        self.is_locked.store(false, Release);
        result
    }
}
