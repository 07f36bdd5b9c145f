//! Realtime set-up of the loop's thread, in the order that works; each refusal is one warning, none is fatal.

use cmm_conf::{Scheduling, System};
use holdfast_sys::realtime::{self, Locked};

use crate::events::DaemonEvent;
use crate::log::Log;

/// Runs for this long without sleeping before the leash warns (SIGXCPU ends the process), and then kills.
const LEASH_SOFT_MICROS: u64 = 2_000_000;
const LEASH_HARD_MICROS: u64 = 3_000_000;

/// Makes the calling thread as punctual as this machine permits. Helper threads must run already: they stay ordinary.
pub(crate) fn set_up(system: &System, log: &Log) {
    let told = |what: &'static str, then: &'static str, result: std::io::Result<()>| {
        if let Err(e) = result {
            log.event(DaemonEvent::Degraded { what, error: e.to_string(), then });
        }
    };
    // Not told: locking is tried with whatever limit there is, and CAP_IPC_LOCK needs none.
    let _ = realtime::raise_memlock_limit();
    realtime::prefault_stack();
    match realtime::lock_memory() {
        Ok(Locked::Everything) => {}
        Ok(Locked::CurrentOnly) => told(
            "memory is locked only as far as it is mapped now",
            "give cmmd CAP_IPC_LOCK or \"ulimit -l unlimited\", or it may stall when memory is short",
            Err(std::io::ErrorKind::PermissionDenied.into()),
        ),
        Err(e) => told(
            "memory cannot be locked",
            "give cmmd CAP_IPC_LOCK or \"ulimit -l unlimited\", or it may stall when memory is short",
            Err(e),
        ),
    }
    if let Some(cpu) = system.cpu {
        let then = "going on without; name a CPU that this cgroup has in system.cpu";
        told("the loop cannot be pinned to the CPU named by system.cpu", then, realtime::pin_to_cpu(cpu));
    }
    match system.scheduling {
        Scheduling::Realtime(priority) => {
            let _ = realtime::raise_rtprio_limit(priority);
            // The leash first: a realtime thread without one could stop the machine.
            let leash = realtime::limit_realtime_run(LEASH_SOFT_MICROS, LEASH_HARD_MICROS);
            let result = leash.and_then(|()| realtime::schedule_realtime(priority));
            let then =
                "running at ordinary priority; give cmmd CAP_SYS_NICE, or set \"sched_rr: no\" in system";
            told("realtime scheduling is refused", then, result);
        }
        Scheduling::Nice(0) => {}
        Scheduling::Nice(nice) => {
            let then = "going on at the usual one; give cmmd CAP_SYS_NICE";
            told("the nice value of system.priority is refused", then, realtime::set_nice(nice));
        }
    }
    let then = "cmmd may be killed when memory runs out; give it CAP_SYS_RESOURCE";
    told("the out-of-memory score cannot be lowered", then, realtime::set_oom_score_adj(-1_000));
    told("timers cannot be made exact", "they may be 50 us late", realtime::set_timer_slack_nanos(1));
}
