//! The local IPC from outside: messages, the two halves against each other, the server over sockets, the client half against
//! a real corosync.

mod abi;
mod corosync;
mod halves;
mod run_dir;
mod sockets;

/// For tests of what must not allocate.
#[global_allocator]
static ALLOCATOR: holdfast_sys::counting::CountingAllocator =
    holdfast_sys::counting::CountingAllocator::new();
