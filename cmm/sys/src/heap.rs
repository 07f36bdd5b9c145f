//! How the C library's allocator lays out its memory.

/// One heap for all threads, instead of one a thread that touches memory: for small programs whose memory is locked. Call it
/// before the first thread starts.
pub fn share_one() {
    // SAFETY: sets a number; takes no pointer. What it refuses stays as it was, which costs memory only.
    unsafe { libc::mallopt(libc::M_ARENA_MAX, 1) };
}
