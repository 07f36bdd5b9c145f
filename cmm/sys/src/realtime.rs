//! What a realtime thread asks of the kernel. Each call stands alone and says whether it was granted, so that the daemon
//! can go on without it and warn once.

use std::fs;
use std::hint::black_box;
use std::io;

use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::mman::{MlockAllFlags, mlockall};
use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};
use nix::unistd::Pid;

/// How much of the memory is locked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locked {
    /// Everything mapped now, and every page touched later.
    Everything,
    /// Only what was mapped when it was asked for: the limit would make later mappings fail.
    CurrentOnly,
}

/// Takes the limit on locked memory away.
///
/// # Errors
/// `EPERM` without CAP_SYS_RESOURCE.
pub fn raise_memlock_limit() -> io::Result<()> {
    raise(Resource::RLIMIT_MEMLOCK, RLIM_INFINITY)
}

/// Raises the limit on realtime priorities to `priority`.
///
/// # Errors
/// `EPERM` without CAP_SYS_RESOURCE.
pub fn raise_rtprio_limit(priority: u8) -> io::Result<()> {
    raise(Resource::RLIMIT_RTPRIO, u64::from(priority))
}

fn raise(what: Resource, to: u64) -> io::Result<()> {
    let (soft, hard) = getrlimit(what)?;
    if soft < to { Ok(setrlimit(what, to, hard.max(to))?) } else { Ok(()) }
}

/// Locks memory: pages mapped so far are brought in and kept; later ones are kept from their first touch on, which keeps
/// large mappings that are hardly used (rings of clients) out of memory.
///
/// # Errors
/// `EPERM` or `ENOMEM` where the limit does not allow even what is mapped now.
pub fn lock_memory() -> io::Result<Locked> {
    mlockall(MlockAllFlags::MCL_CURRENT)?;
    let (soft, _) = getrlimit(Resource::RLIMIT_MEMLOCK)?;
    // Locking the future under a limit would make some later allocation fail: worse than a page fault.
    if soft != RLIM_INFINITY && !has_capability(CAP_IPC_LOCK) {
        return Ok(Locked::CurrentOnly);
    }
    let on_fault = MlockAllFlags::from_bits_retain(libc::MCL_CURRENT | libc::MCL_FUTURE | libc::MCL_ONFAULT);
    mlockall(on_fault)?;
    Ok(Locked::Everything)
}

/// Touches the next `STACK_BYTES` of this thread's stack, so that they are there when they are needed.
pub fn prefault_stack() {
    let mut stack = [0u8; STACK_BYTES];
    for page in stack.chunks_mut(4_096) {
        page[0] = black_box(1);
    }
    black_box(&stack);
}

/// Pins the calling thread to one CPU.
///
/// # Errors
/// `EINVAL` where this machine or cgroup has no such CPU.
pub fn pin_to_cpu(cpu: usize) -> io::Result<()> {
    let mut set = CpuSet::new();
    set.set(cpu)?;
    Ok(sched_setaffinity(Pid::from_raw(0), &set)?)
}

/// CPUs the calling thread may run on, ascending.
///
/// # Errors
/// What `sched_getaffinity` says.
pub fn allowed_cpus() -> io::Result<Vec<usize>> {
    let set = sched_getaffinity(Pid::from_raw(0))?;
    Ok((0..CpuSet::count()).filter(|cpu| set.is_set(*cpu).unwrap_or(false)).collect())
}

/// Puts the calling thread under round-robin realtime scheduling; what it forks is ordinary again. Round robin, because
/// several nodes of a test share a priority on one machine.
///
/// # Errors
/// `EPERM` without CAP_SYS_NICE or a limit, or in a cgroup without realtime budget.
pub fn schedule_realtime(priority: u8) -> io::Result<()> {
    let param = libc::sched_param { sched_priority: i32::from(priority) };
    // SAFETY: the pointer is to a live sched_param; 0 is the calling thread.
    let rc =
        unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const param) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Puts the calling thread back under ordinary scheduling.
///
/// # Errors
/// None that is known: going down is always allowed.
pub fn schedule_ordinary() -> io::Result<()> {
    let param = libc::sched_param { sched_priority: 0 };
    // SAFETY: the pointer is to a live sched_param; 0 is the calling thread. The flag may not be taken back without a
    // right, so it stays.
    let rc = unsafe {
        libc::sched_setscheduler(0, libc::SCHED_OTHER | libc::SCHED_RESET_ON_FORK, &raw const param)
    };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Sets the nice value of the calling thread.
///
/// # Errors
/// `EACCES` where it would go below what is allowed.
pub fn set_nice(nice: i8) -> io::Result<()> {
    // SAFETY: no pointers; 0 is the calling thread.
    let rc = unsafe { libc::setpriority(libc::PRIO_PROCESS, 0, i32::from(nice)) };
    if rc == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// A leash for realtime threads: one that runs for `soft` seconds without sleeping gets SIGXCPU, at `hard` SIGKILL.
///
/// # Errors
/// `EPERM` where a lower hard limit is set already.
pub fn limit_realtime_run(soft_micros: u64, hard_micros: u64) -> io::Result<()> {
    Ok(setrlimit(Resource::RLIMIT_RTTIME, soft_micros, hard_micros)?)
}

/// Tells the kernel to take this process last (−1000: never) when memory runs out.
///
/// # Errors
/// `EACCES` without CAP_SYS_RESOURCE.
pub fn set_oom_score_adj(score: i16) -> io::Result<()> {
    fs::write("/proc/self/oom_score_adj", score.to_string())
}

/// Lets timers of the calling thread fire up to this late to save power; 1 is none.
///
/// # Errors
/// What `prctl` says.
pub fn set_timer_slack_nanos(nanos: u64) -> io::Result<()> {
    Ok(nix::sys::prctl::set_timerslack(nanos)?)
}

/// Whether this process has a capability in effect.
#[must_use]
pub fn has_capability(number: u32) -> bool {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let caps = status.lines().find_map(|l| l.strip_prefix("CapEff:")).map(str::trim).unwrap_or_default();
    u64::from_str_radix(caps, 16).is_ok_and(|c| c & (1 << number) != 0)
}

/// Number of CAP_IPC_LOCK.
pub const CAP_IPC_LOCK: u32 = 14;
const STACK_BYTES: usize = 256 * 1_024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stack_can_be_touched_and_cpus_are_listed() {
        prefault_stack();
        let cpus = allowed_cpus().expect("always allowed");
        assert!(!cpus.is_empty() && cpus.is_sorted());
    }

    #[test]
    fn pinning_to_a_cpu_that_is_not_there_fails() {
        assert!(pin_to_cpu(CpuSet::count() - 1).is_err());
    }

    #[test]
    fn a_thread_can_be_realtime_and_its_children_are_not() {
        std::thread::spawn(|| {
            limit_realtime_run(500_000, 1_000_000).expect("lowering a limit is always allowed");
            if schedule_realtime(1).is_err() {
                return eprintln!("skipped: needs the right to realtime scheduling");
            }
            // SAFETY: no pointers; 0 is the calling thread.
            let policy = || unsafe { libc::sched_getscheduler(0) } & !libc::SCHED_RESET_ON_FORK;
            assert_eq!(policy(), libc::SCHED_RR);
            let child = std::thread::spawn(policy).join().expect("it ends");
            assert_eq!(child, libc::SCHED_OTHER);
            schedule_ordinary().expect("down is always allowed");
            assert_eq!(policy(), libc::SCHED_OTHER);
        })
        .join()
        .expect("it ends");
    }
}
