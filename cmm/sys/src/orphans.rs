//! Orphans: processes whose parent has ended come to the nearest ancestor that adopts them, instead of to process 1.
//!
//! A resource's daemon usually detaches from the agent that started it, and some programs clear their environment on the
//! way. Adopted, it stays a child of the node's processes, and whoever looks for what a node runs still sees it.

use std::io;

use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;

/// From now on orphans below this process become its children. Call [`reap`] now and then.
///
/// # Errors
/// What `prctl` says.
pub fn adopt() -> io::Result<()> {
    Ok(nix::sys::prctl::set_child_subreaper(true)?)
}

/// Takes the exit status of orphans that have ended, without those that somebody else here waits for. The kernel gives
/// orphans to the first thread, so children that other threads have started are not touched: the first thread must start
/// none of its own.
pub fn reap(waited_for: impl Fn(u32) -> bool) {
    let me = std::process::id();
    let children = std::fs::read_to_string(format!("/proc/{me}/task/{me}/children")).unwrap_or_default();
    let children = children.split_whitespace().filter_map(|p| p.parse::<u32>().ok());
    for pid in children.filter(|pid| !waited_for(*pid)).filter_map(|pid| i32::try_from(pid).ok()) {
        let _ = waitpid(Pid::from_raw(pid), Some(WaitPidFlag::WNOHANG));
    }
}
