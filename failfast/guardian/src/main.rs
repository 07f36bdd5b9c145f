//! `holdfast-guardian`: the small child of `cmmd` that outlives it.
//!
//! It gets its set-up on standard input, a socket from `cmmd`, with a pidfd on `cmmd` and the page where `cmmd` stamps
//! its progress. From then on it waits for one of four things:
//!
//! | what | then |
//! |---|---|
//! | `cmmd` is dead, or its event loop is | the node goes down |
//! | `cmmd`'s stamp has stood still for longer than the limit (stopped counts) | the node goes down |
//! | the word "take down", with a reason | the node goes down |
//! | the word "release" | it ends, and nothing happens |
//!
//! All signals but SIGKILL and SIGSTOP are blocked: whoever wants to stop a node stops `cmmd`. The one by which the kernel
//! tells of the end of `cmmd`'s main thread makes it look, and believe what it sees: a process that is killed is a pidfd's
//! news only when its memory is taken down, a millisecond or two later. Its memory is locked where that is permitted.
//!
//! Exit status: 0 released, or the node is down; 1 the node could not be taken down completely; 64 not started by
//! `cmmd`; 65 the set-up was refused.

#![forbid(unsafe_code)]

mod cgroup;

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::process::ExitCode;

use failfast::guardian::{FromGuardian, MESSAGE_MAX, Setup, ToGuardian, decode_take_down, receive, send};
use failfast::{Outcome, PanicPath};
use failfast_core::{Reason, StuckDetector};
use holdfast_sys::stamp::{Side, Stamps};
use holdfast_sys::{clock, fdpass, heap, leader, realtime};
use holdfast_types::{Boottime, Span};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sched::CpuSet;
use nix::sys::signal::SigSet;
use nix::sys::signalfd::SignalFd;
use nix::unistd::Pid;

const NOT_STARTED_BY_CMMD: u8 = 64;
const REFUSED: u8 = 65;
const NOT_DOWN: u8 = 1;
/// The lowest: above everything ordinary, below `cmmd`.
const PRIORITY: u8 = 1;
/// Longest run without sleep as a realtime thread. The way down is ordinary again from the gasp on.
const LEASH_SOFT_MICROS: u64 = 1_000_000;
const LEASH_HARD_MICROS: u64 = 2_000_000;
const OUT_OF_MEMORY_NEVER: i16 = -1000;

fn main() -> ExitCode {
    let by_hand = || {
        eprintln!("holdfast-guardian is started by cmmd, which hands it a socket; it is of no use by hand");
        ExitCode::from(NOT_STARTED_BY_CMMD)
    };
    heap::share_one();
    let Ok(channel) = io::stdin().as_fd().try_clone_to_owned() else { return by_hand() };
    let mut buffer = vec![0; MESSAGE_MAX];
    let Ok((len, fds)) = fdpass::receive(channel.as_fd(), &mut buffer) else { return by_hand() };
    let Some(ToGuardian::Setup(setup)) = ToGuardian::decode(&buffer[..len]) else {
        return by_hand();
    };
    let Ok([stamps, pidfd]) = <[OwnedFd; 2]>::try_from(fds) else { return by_hand() };

    let mut warnings = Vec::new();
    match Guard::prepare(&setup, channel, stamps, pidfd, buffer, &mut warnings) {
        Ok(guard) => guard.stand(warnings),
        Err((channel, error)) => {
            // If cmmd is gone there is nobody to tell, and nothing that ran yet.
            let _ = send(channel.as_fd(), &FromGuardian::Refused(error.to_string()).encode());
            ExitCode::from(REFUSED)
        }
    }
}

/// A guardian with all it needs.
struct Guard {
    channel: OwnedFd,
    /// `cmmd` has closed its end: nothing more will come, and its death is still to be awaited.
    channel_closed: bool,
    pidfd: OwnedFd,
    parent: SignalFd,
    stamps: Stamps,
    detector: StuckDetector,
    path: PanicPath,
    cgroup: Option<cgroup::Own>,
    buffer: Vec<u8>,
}

/// What one look at the world says.
#[expect(clippy::large_enum_variant, reason = "a reason is of fixed size so that it is never allocated")]
enum Verdict {
    Fine,
    Released,
    /// The length of the gasp that came with it, at the start of the buffer.
    TakeDown(Reason, usize),
}

impl Guard {
    fn prepare(
        setup: &Setup,
        channel: OwnedFd,
        stamps: OwnedFd,
        pidfd: OwnedFd,
        buffer: Vec<u8>,
        warnings: &mut Vec<String>,
    ) -> Result<Self, (OwnedFd, io::Error)> {
        let made = (|| {
            if setup.limit == Span::ZERO {
                let text = "failfast.guardian_limit is 0: any cmmd is stuck by that measure";
                return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
            }
            detach(warnings)?;
            let parent = leader::tell_of_parent()?;
            let stamps = Stamps::from_fd(stamps)?;
            let path = PanicPath::prepare(setup, Some(pidfd.try_clone()?), warnings)?;
            let cgroup = cgroup::Own::leave_service(warnings);
            // Last, so that all of the above is in.
            if let Err(e) = realtime::lock_memory() {
                warnings.push(format!("Failfast: the guardian's memory is not locked: {e}"));
            }
            punctual();
            Ok((parent, stamps, path, cgroup))
        })();
        match made {
            Ok((parent, stamps, path, cgroup)) => {
                let detector = StuckDetector::new(setup.limit, now());
                Ok(Self {
                    channel,
                    channel_closed: false,
                    pidfd,
                    parent,
                    stamps,
                    detector,
                    path,
                    cgroup,
                    buffer,
                })
            }
            Err(e) => Err((channel, e)),
        }
    }

    /// Says that it is on guard, and is until the end.
    fn stand(mut self, warnings: Vec<String>) -> ExitCode {
        self.stamps.set(Side::Guardian, now().as_nanos());
        // A cmmd that is dead by now shows in the first look.
        let _ = send(self.channel.as_fd(), &FromGuardian::Ready(warnings).encode());
        loop {
            match self.look() {
                Verdict::Fine => {}
                Verdict::Released => return self.end(ExitCode::SUCCESS),
                Verdict::TakeDown(reason, gasp) => {
                    let outcome = self.path.execute(&reason, &self.buffer[..gasp]);
                    let status = match outcome {
                        Outcome::Gone(_) | Outcome::Logged => ExitCode::SUCCESS,
                        Outcome::NotGone(_) | Outcome::TriggerFailed(_) => ExitCode::from(NOT_DOWN),
                    };
                    return self.end(status);
                }
            }
        }
    }

    /// Waits for news, at most until the next look at the stamp is due.
    fn look(&mut self) -> Verdict {
        let interval = self.detector.interval();
        let timeout =
            PollTimeout::try_from(u128::from(interval.as_millis())).unwrap_or(PollTimeout::from(1_000_u16));
        let mut fds = [
            PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.parent.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.channel.as_fd(), PollFlags::POLLIN),
        ];
        // A closed channel is always readable: it must not keep the loop spinning.
        let watched = if self.channel_closed { &mut fds[..2] } else { &mut fds[..] };
        let failed = poll(watched, timeout).is_err_and(|e| e != nix::Error::EINTR);
        let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        let (mut dead, told) = (ready(&fds[0]), ready(&fds[1]));
        let readable = !self.channel_closed && ready(&fds[2]);
        if told {
            while matches!(self.parent.read_signal(), Ok(Some(_))) {}
            dead |= self.path.event_loop_is_dead();
        }
        if failed {
            std::thread::sleep(interval.to_duration()); // out of kernel memory, say: the stamp is still looked at
        }
        self.stamps.set(Side::Guardian, now().as_nanos());
        // What was said before the death counts first: a release is a release.
        if readable || (dead && !self.channel_closed) {
            match self.read_channel() {
                Verdict::Fine => {}
                verdict => return verdict,
            }
        }
        if dead {
            return Verdict::TakeDown(Reason::daemon_died(Span::ZERO), 0);
        }
        match self.detector.look(now(), self.stamps.get(Side::Daemon)) {
            Some(silent) => Verdict::TakeDown(Reason::daemon_stuck(silent), 0),
            None => Verdict::Fine,
        }
    }

    fn read_channel(&mut self) -> Verdict {
        loop {
            match receive(self.channel.as_fd(), &mut self.buffer) {
                Ok(0) => {
                    self.channel_closed = true;
                    return Verdict::Fine;
                }
                Ok(len) => {
                    // Without allocation, as all that follows it.
                    if let Some((reason, gasp)) = decode_take_down(&self.buffer[..len]) {
                        self.buffer.copy_within(gasp.clone(), 0);
                        return Verdict::TakeDown(reason, gasp.len());
                    }
                    match ToGuardian::decode(&self.buffer[..len]) {
                        Some(ToGuardian::Release) => return Verdict::Released,
                        Some(ToGuardian::Packets(packets)) => {
                            let _ = self.path.set_packets(&packets); // their lengths were checked by decoding
                        }
                        Some(ToGuardian::Links(links)) => {
                            // With what it has it still reaches those whose addresses stay.
                            let _ = self.path.set_links(&links, &mut Vec::new());
                        }
                        Some(ToGuardian::Graves(graves)) => self.path.set_graves(&graves),
                        // One set-up is enough, and what does not decode changes nothing.
                        Some(ToGuardian::Setup(_) | ToGuardian::TakeDown { .. }) | None => {}
                    }
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Verdict::Fine,
                // The other end died with something unread: its pidfd says the rest.
                Err(_) => {
                    self.channel_closed = true;
                    return Verdict::Fine;
                }
            }
        }
    }

    fn end(self, status: ExitCode) -> ExitCode {
        if let Some(cgroup) = self.cgroup {
            cgroup.remove();
        }
        status
    }
}

/// A session of its own, no signals, every CPU, last to be killed when memory runs out.
fn detach(warnings: &mut Vec<String>) -> io::Result<()> {
    SigSet::all().thread_block()?; // before any thread starts: they inherit it
    nix::unistd::setsid()?;
    let mut cpus = CpuSet::new();
    for cpu in 0..CpuSet::count() {
        cpus.set(cpu)?;
    }
    // cmmd may be pinned; a guardian on the same CPU would wait behind a cmmd that spins.
    if let Err(e) = nix::sched::sched_setaffinity(Pid::from_raw(0), &cpus) {
        warnings.push(format!("Failfast: the guardian stays on the CPU of cmmd: {e}"));
    }
    // Not permitted without CAP_SYS_RESOURCE, and then not worth a line: cmmd says the same of itself.
    let _ = realtime::set_oom_score_adj(OUT_OF_MEMORY_NEVER);
    Ok(())
}

/// Ahead of everything ordinary until the gasp is out: it nearly always sleeps, and the peers wait for it. Where that is
/// refused it is late on a busy machine, and the peers' own detectors are the rest.
fn punctual() {
    let leash = realtime::limit_realtime_run(LEASH_SOFT_MICROS, LEASH_HARD_MICROS);
    let _ = leash.and_then(|()| realtime::schedule_realtime(PRIORITY));
}

fn now() -> Boottime {
    Boottime::from_nanos(clock::boottime_nanos())
}
