//! An allocator that counts, for tests of paths that must not allocate.
//!
//! ```
//! use holdfast_sys::counting::CountingAllocator;
//!
//! #[global_allocator]
//! static ALLOCATOR: CountingAllocator = CountingAllocator::new();
//!
//! let before = ALLOCATOR.allocations();
//! let sum: u64 = (0..10).sum();
//! assert_eq!((sum, ALLOCATOR.allocations()), (45, before));
//! ```

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

thread_local! {
    /// Of this thread. Needs no memory and no destructor of its own.
    static HERE: Cell<u64> = const { Cell::new(0) };
}

/// The system's allocator and a counter of all threads' calls.
#[derive(Debug)]
pub struct CountingAllocator {
    allocations: AtomicU64,
}

impl CountingAllocator {
    /// For a `static` with `#[global_allocator]`.
    #[must_use]
    #[expect(
        clippy::new_without_default,
        reason = "only ever made in a static, where Default cannot be called"
    )]
    pub const fn new() -> Self {
        Self { allocations: AtomicU64::new(0) }
    }

    /// Allocations and reallocations so far, in all threads.
    #[must_use]
    pub fn allocations(&self) -> u64 {
        self.allocations.load(Ordering::SeqCst)
    }

    /// Allocations and reallocations so far, in this thread.
    #[must_use]
    pub fn allocations_here(&self) -> u64 {
        HERE.get()
    }

    fn count(&self) {
        self.allocations.fetch_add(1, Ordering::SeqCst);
        HERE.set(HERE.get() + 1);
    }
}

// SAFETY: every call is handed on unchanged to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        self.count();
        // SAFETY: the caller keeps `alloc_zeroed`'s contract.
        unsafe { System.alloc_zeroed(layout) }
    }
    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        self.count();
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(ptr, layout, size) }
    }
    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(ptr, layout) }
    }
}
