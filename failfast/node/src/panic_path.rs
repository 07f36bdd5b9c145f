//! How a node goes down. Everything it takes is made in advance, so that it works without memory, descriptors, disk
//! space or a log.
//!
//! The order, see [`PanicPath::execute`]:
//! 1. the reason goes to the kernel log at emergency level, then (bounded, by a thread of its own) to the black box,
//!    standard error, the log file and the quorum disks;
//! 2. `cmmd`, where it is another process, is killed and its event loop seen dead: it held the quorum lease, and a gasp
//!    says that it has given that up;
//! 3. the gasp goes out on every link;
//! 4. the mode: `exit` kills the node's processes, sees that none is left, and sends the last word; `panic` and `reset`
//!    write to the sysrq trigger; `off` does nothing more.
//!
//! Where the kernel does not panic it is told to reset, where it does not reset the node's processes are killed, and the
//! watchdog, which nobody feeds any more, does the rest.
//!
//! # Safety in tests
//! The trigger is a path in the [`Setup`]. The kernel's own is refused where the run directory is not the machine's
//! (several nodes may live there then) and below `cargo`: no test can reset the machine it runs on.

use std::fmt::Write as _;
use std::fs::{File, OpenOptions};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use failfast_core::{ExitScope, Mode, Reason, ReasonKind, Text};
use holdfast_sys::leader::Leader;
use holdfast_sys::process_tree::{Killed, ProcessTree, Scope, Tag};
use holdfast_sys::{kmsg, pidfd, realtime};

use crate::black_box::Class;
use crate::grave::{Grave, Graves};
use crate::guardian::{Link, PACKET_MAX, Packets, Setup};
use crate::scribe::{Scribe, write_kernel_log};

/// The run directory of a machine that is one node.
pub const RUN_DIR_DEFAULT: &str = "/run/holdfast";

/// A way down, ready to go.
#[derive(Debug)]
pub struct PanicPath {
    mode: Mode,
    kernel_log: Option<File>,
    scribe: Scribe,
    graves: Graves,
    daemon: Option<Daemon>,
    targets: Vec<Target>,
    packets: Sealed,
    tree: ProcessTree,
    trigger: Option<File>,
    reserve: Option<[File; RESERVE]>,
}

/// `cmmd`, seen from another process.
#[derive(Debug)]
struct Daemon {
    pidfd: OwnedFd,
    /// Its main thread, which is the event loop: without it no lease is held and nothing is decided. `None`: only the
    /// end of the whole process tells.
    event_loop: Option<Leader>,
}

impl Daemon {
    fn watch(pidfd: OwnedFd, warnings: &mut Vec<String>) -> Self {
        let event_loop = Leader::of(pidfd.as_fd());
        if let Err(e) = &event_loop {
            warnings.push(format!("Failfast: cmmd's death is seen only when its memory is gone: {e}"));
        }
        Self { pidfd, event_loop: event_loop.ok() }
    }

    fn event_loop_is_dead(&self) -> bool {
        self.event_loop.as_ref().is_some_and(Leader::has_ended)
    }
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Mode `off`: the reason is written, `cmmd` is stopped.
    Logged,
    /// Mode `exit`: killed, none left, and the last word is out.
    Gone(Killed),
    /// Mode `exit`: something is left, or may be; no last word was sent.
    NotGone(Killed),
    /// The sysrq trigger did not take effect; the node's processes were killed instead. The watchdog must do the rest.
    TriggerFailed(Killed),
}

#[derive(Debug)]
struct Target {
    socket: UdpSocket,
    peers: Vec<SocketAddr>,
}

#[derive(Debug)]
struct Sealed {
    daemon_died: Packet,
    unit_died: Packet,
    last_word: Packet,
}

#[derive(Debug)]
struct Packet {
    bytes: [u8; PACKET_MAX],
    len: usize,
}

/// Descriptors kept back for the reading of /proc: directory, environment, stat, pidfd, and one to spare each.
const RESERVE: usize = 8;
/// The black box and the log may take this long.
const WRITE_LIMIT: Duration = Duration::from_millis(300);
/// The same before a crash or reset of the machine, when they are also synced.
const WRITE_LIMIT_SYNC: Duration = Duration::from_secs(1);
/// A killed `cmmd` is dead within this, or it hangs in the kernel.
const DEATH_LIMIT: Duration = Duration::from_secs(2);
/// The node's processes are gone within this, or something hangs in the kernel.
const TREE_LIMIT: Duration = Duration::from_secs(60);
/// A machine that has been told to crash or reset is down within this.
const TRIGGER_LIMIT: Duration = Duration::from_secs(5);
const GASPS: u32 = 2;
const LAST_WORDS: u32 = 3;
const LAST_WORD_PAUSE: Duration = Duration::from_millis(10);

impl PanicPath {
    /// Makes everything ready. `daemon` is a pidfd on `cmmd` where the caller is not `cmmd` itself. Lines for the log
    /// about what is missing but not needed are added to `warnings`.
    ///
    /// # Errors
    /// `PermissionDenied` where mode or scope are refused, `InvalidInput` for a bad run directory or packet; what opening
    /// /proc or the trigger, making sockets and starting the writing thread say.
    pub fn prepare(setup: &Setup, daemon: Option<OwnedFd>, warnings: &mut Vec<String>) -> io::Result<Self> {
        let scope = match setup.scope {
            ExitScope::RunDir => Scope::RunDir(Tag::of_run_dir(&setup.run_dir)?),
            ExitScope::PidNamespace => Scope::PidNamespace,
        };
        let trigger = match setup.mode {
            Mode::Panic | Mode::Reset => Some(open_trigger(setup)?),
            Mode::Exit | Mode::Off => None,
        };
        let kernel_log = setup.kernel_log.as_deref().and_then(|path| match kmsg::open(path) {
            Ok(file) => Some(file),
            Err(e) => {
                warnings.push(format!("Failfast: no kernel log {}: {e}", path.display()));
                None
            }
        });
        let for_scribe = kernel_log.as_ref().map(File::try_clone).transpose()?;
        let targets = targets(&setup.links, warnings)?;
        let daemon = daemon.map(|pidfd| Daemon::watch(pidfd, warnings));
        let mut this = Self {
            mode: setup.mode,
            kernel_log,
            scribe: Scribe::start(setup, for_scribe, trigger.is_some(), warnings)?,
            graves: Graves::start()?,
            daemon,
            targets,
            packets: Sealed {
                daemon_died: Packet::empty(),
                unit_died: Packet::empty(),
                last_word: Packet::empty(),
            },
            tree: ProcessTree::open(scope)?,
            trigger,
            reserve: None,
        };
        this.set_packets(&setup.packets)?;
        let null = File::open("/dev/null")?;
        let mut reserve = [const { None }; RESERVE];
        for slot in &mut reserve {
            *slot = Some(null.try_clone()?);
        }
        this.reserve = Some(reserve.map(|file| file.expect("each was filled just now")));
        Ok(this)
    }

    /// Other packets from now on.
    ///
    /// # Errors
    /// `InvalidInput` where one is longer than [`PACKET_MAX`]; none has changed then.
    pub fn set_packets(&mut self, packets: &Packets) -> io::Result<()> {
        let Packets { daemon_died, unit_died, last_word } = packets;
        if [daemon_died, unit_died, last_word].iter().any(|p| p.len() > PACKET_MAX) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "sealed packet too long"));
        }
        self.packets.daemon_died.set(daemon_died);
        self.packets.unit_died.set(unit_died);
        self.packets.last_word.set(last_word);
        Ok(())
    }

    /// Other links and peers from now on. Lines for the log are added to `warnings`.
    ///
    /// # Errors
    /// What making sockets says; nothing has changed then.
    pub fn set_links(&mut self, links: &[Link], warnings: &mut Vec<String>) -> io::Result<()> {
        self.targets = targets(links, warnings)?;
        Ok(())
    }

    /// Takes the node down. Returns where the machine stays up, and always in mode `exit` and `off`. `gasp` goes out
    /// instead of the packet that was sealed in advance, unless it is empty. Allocates nothing.
    pub fn execute(&mut self, reason: &Reason, gasp: &[u8]) -> Outcome {
        drop(self.reserve.take());
        self.log(&reason.text);
        // The reason is on its way; while it is written the gasp leaves, and before anything is done it is there.
        let written = self.scribe.hand_over(Class::Death, reason.kind.code(), &reason.text);
        self.graves.hand_over(&reason.text);
        let daemon_dead = self.stop_daemon();
        if daemon_dead {
            self.gasp(reason.kind, gasp);
        }
        if self.daemon.is_some() {
            // What follows may take long, and a guardian under realtime scheduling must not. Never refused.
            let _ = realtime::schedule_ordinary();
        }
        let (start, limit) = (Instant::now(), self.write_limit());
        if written {
            self.scribe.wait(limit);
        }
        self.graves.wait(limit.saturating_sub(start.elapsed()));
        let outcome = match self.mode {
            Mode::Off => Outcome::Logged,
            Mode::Exit => self.kill_tree(),
            Mode::Panic => self.pull(&[b"c", b"b"]),
            Mode::Reset => self.pull(&[b"b"]),
        };
        self.tell(outcome);
        // Killing the rest may have been what it took.
        if !daemon_dead && self.daemon_ends(Duration::ZERO) {
            self.gasp(reason.kind, gasp);
        }
        outcome
    }

    /// Has written down what may be this node's last word, or not: the watchdog is not fed any more, or again. Waits for nothing.
    pub fn announce(&mut self, class: Class, text: &Text) {
        self.scribe.announce(class, ReasonKind::Commanded.code(), text);
    }

    /// Other places on quorum disks from now on. Waits for nothing.
    pub fn set_graves(&mut self, graves: &[Grave]) {
        self.graves.name(graves.to_vec());
    }

    /// An orderly end stands on the quorum disks as well, where that does not take long.
    pub fn say_on_disks(&mut self, text: &Text) {
        self.graves.hand_over(text);
        self.graves.wait(WRITE_LIMIT);
    }

    fn log(&self, text: &Text) {
        if let Some(kernel_log) = &self.kernel_log {
            write_kernel_log(kernel_log, text);
        }
    }

    fn write_limit(&self) -> Duration {
        if self.trigger.is_some() { WRITE_LIMIT_SYNC } else { WRITE_LIMIT }
    }

    /// Whether `cmmd`'s event loop is dead, though its process may not be gone yet.
    #[must_use]
    pub fn event_loop_is_dead(&self) -> bool {
        self.daemon.as_ref().is_some_and(Daemon::event_loop_is_dead)
    }

    /// Kills `cmmd` and sees its event loop dead. `true` where the caller is `cmmd`: it gives up quorum by coming here.
    fn stop_daemon(&self) -> bool {
        let Some(daemon) = &self.daemon else { return true };
        let _ = pidfd::send_signal(daemon.pidfd.as_fd(), pidfd::Signal::SIGKILL); // dead already: seen below
        daemon.event_loop_is_dead() || self.daemon_ends(DEATH_LIMIT)
    }

    fn daemon_ends(&self, limit: Duration) -> bool {
        self.daemon.as_ref().is_none_or(|d| pidfd::wait_end(d.pidfd.as_fd(), limit).unwrap_or(false))
    }

    fn gasp(&self, kind: ReasonKind, fresh: &[u8]) {
        let packet = match kind {
            _ if !fresh.is_empty() => fresh,
            ReasonKind::UnitDied | ReasonKind::UnitLate => self.packets.unit_died.bytes(),
            ReasonKind::DaemonDied
            | ReasonKind::DaemonStuck
            | ReasonKind::GuardianDied
            | ReasonKind::Commanded => self.packets.daemon_died.bytes(),
        };
        for _ in 0..GASPS {
            self.send(packet);
        }
    }

    fn send(&self, packet: &[u8]) {
        if packet.is_empty() {
            return;
        }
        for target in &self.targets {
            for peer in &target.peers {
                // A peer that cannot be reached detects the death by itself.
                let _ = target.socket.send_to(packet, peer);
            }
        }
    }

    fn kill_tree(&mut self) -> Outcome {
        let killed = self.kill_all(TREE_LIMIT);
        if !killed.is_empty() || !self.daemon_ends(DEATH_LIMIT) {
            return Outcome::NotGone(killed);
        }
        for i in 0..LAST_WORDS {
            if i > 0 {
                std::thread::sleep(LAST_WORD_PAUSE);
            }
            self.send(self.packets.last_word.bytes());
        }
        Outcome::Gone(killed)
    }

    /// As [`ProcessTree::kill`], tried again where /proc could not be read.
    fn kill_all(&mut self, limit: Duration) -> Killed {
        let start = Instant::now();
        loop {
            match self.tree.kill(limit.saturating_sub(start.elapsed())) {
                Ok(killed) => return killed,
                Err(_) if start.elapsed() < limit => std::thread::sleep(LAST_WORD_PAUSE),
                Err(_) => return Killed { unreadable: 1, ..Killed::default() },
            }
        }
    }

    /// Asks the kernel for one thing after the other; the first should be the last.
    fn pull(&mut self, letters: &[&[u8]]) -> Outcome {
        for letter in letters {
            if let Some(trigger) = &self.trigger
                && nix::unistd::write(trigger, letter).is_ok()
            {
                std::thread::sleep(TRIGGER_LIMIT);
            }
        }
        Outcome::TriggerFailed(self.kill_all(TREE_LIMIT))
    }

    fn tell(&mut self, outcome: Outcome) {
        let mut text = Text::new();
        let _ = match outcome {
            Outcome::Logged => return,
            Outcome::Gone(killed) => {
                write!(text, "Failfast: node is down, {} processes killed, none left", killed.signalled)
            }
            Outcome::NotGone(killed) | Outcome::TriggerFailed(killed) => {
                let Killed { left, strays, unreadable, .. } = killed;
                let what = if self.trigger.is_some() { "sysrq did not work" } else { "death not confirmed" };
                write!(
                    text,
                    "Failfast: {what}: {left} processes left, {strays} without the node's variable, "
                )
                .and_then(|()| write!(text, "{unreadable} unreadable"))
                .and_then(|()| killed.example.map_or(Ok(()), |pid| write!(text, ", e.g. pid {pid}")))
            }
        };
        self.log(&text);
        let limit = self.write_limit();
        self.scribe.write(Class::Outcome, 0, &text, limit);
    }
}

impl Packet {
    const fn empty() -> Self {
        Self { bytes: [0; PACKET_MAX], len: 0 }
    }

    /// The caller has checked the length.
    fn set(&mut self, bytes: &[u8]) {
        self.bytes[..bytes.len()].copy_from_slice(bytes);
        self.len = bytes.len();
    }

    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A socket for each link. An address that this machine does not have is left to the kernel.
fn targets(links: &[Link], warnings: &mut Vec<String>) -> io::Result<Vec<Target>> {
    let target = |link: &Link| {
        let socket = bind(link.source).or_else(|e| {
            warnings.push(format!("Failfast: gasps do not leave from {}: {e}", link.source));
            bind(if link.source.is_ipv4() {
                Ipv4Addr::UNSPECIFIED.into()
            } else {
                Ipv6Addr::UNSPECIFIED.into()
            })
        })?;
        Ok(Target { socket, peers: link.peers.clone() })
    };
    links.iter().map(target).collect()
}

fn bind(source: IpAddr) -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind(SocketAddr::new(source, 0))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Opens the trigger; the kernel's own only where it may be pulled. It is told by its path before it is opened, and by
/// its file system after, since /proc may be mounted anywhere.
fn open_trigger(setup: &Setup) -> io::Result<File> {
    let trigger = &setup.sysrq_trigger;
    let path = std::fs::canonicalize(trigger).unwrap_or_else(|_| trigger.clone());
    if path.starts_with("/proc") {
        check_machine_is_ours(setup)?;
    }
    let file = OpenOptions::new().write(true).open(trigger)?;
    if nix::sys::statfs::fstatfs(&file)?.filesystem_type() == nix::sys::statfs::PROC_SUPER_MAGIC {
        check_machine_is_ours(setup)?;
    }
    Ok(file)
}

fn check_machine_is_ours(setup: &Setup) -> io::Result<()> {
    let refused = |text: &str| Err(io::Error::new(io::ErrorKind::PermissionDenied, text.to_owned()));
    if setup.run_dir != Path::new(RUN_DIR_DEFAULT) {
        return refused(
            "failfast mode panic and reset take the whole machine down: refused with another HOLDFAST_RUN_DIR than \
             /run/holdfast, where it may carry other nodes; use mode exit",
        );
    }
    if ["CARGO", "CARGO_MANIFEST_DIR", "NEXTEST"].iter().any(|v| std::env::var_os(v).is_some()) {
        return refused(
            "failfast mode panic and reset are refused below cargo: no test takes its machine down",
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::guardian::SYSRQ_TRIGGER;

    struct Dir(std::path::PathBuf);

    impl Dir {
        fn new(name: &str) -> Self {
            let dir = std::env::temp_dir().join(format!("holdfast-panic-path-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&dir).unwrap();
            Self(dir)
        }

        fn setup(&self, mode: Mode) -> Setup {
            Setup {
                mode,
                scope: ExitScope::RunDir,
                run_dir: self.0.clone(),
                black_box: None,
                kernel_log: None,
                log_file: None,
                sysrq_trigger: self.0.join("trigger"),
                limit: holdfast_types::Span::from_secs(30),
                links: vec![],
                packets: Packets::default(),
            }
        }
    }
    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }

    fn refusal(setup: &Setup) -> io::Error {
        PanicPath::prepare(setup, None, &mut Vec::new()).unwrap_err()
    }

    /// The kernel's trigger is not even opened here.
    #[test]
    fn the_kernels_trigger_is_refused_in_tests() {
        let dir = Dir::new("proc");
        std::os::unix::fs::symlink(SYSRQ_TRIGGER, dir.0.join("trigger")).unwrap();
        for mode in [Mode::Panic, Mode::Reset] {
            // Another run directory than the machine's: through a link (where the kernel has a trigger), and by path.
            let mut setup = dir.setup(mode);
            let by_link = refusal(&setup);
            assert!(
                by_link.kind() == io::ErrorKind::NotFound
                    || by_link.to_string().contains("another HOLDFAST_RUN_DIR")
            );
            setup.sysrq_trigger = SYSRQ_TRIGGER.into();
            assert!(refusal(&setup).to_string().contains("another HOLDFAST_RUN_DIR"), "{}", refusal(&setup));
            // The machine's own, but below cargo (this binary may be run without it too).
            if std::env::var_os("CARGO_MANIFEST_DIR").is_none() {
                writeln!(std::io::stderr(), "skipped: the refusal below cargo needs cargo").unwrap();
                continue;
            }
            setup.run_dir = RUN_DIR_DEFAULT.into();
            assert!(refusal(&setup).to_string().contains("below cargo"), "{}", refusal(&setup));
        }
    }

    #[test]
    fn a_trigger_is_needed_where_it_is_used() {
        let dir = Dir::new("missing");
        assert_eq!(refusal(&dir.setup(Mode::Panic)).kind(), io::ErrorKind::NotFound);
        PanicPath::prepare(&dir.setup(Mode::Exit), None, &mut Vec::new()).unwrap();
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let dir = Dir::new("refused");
        let setup = Setup { run_dir: "run".into(), ..dir.setup(Mode::Exit) };
        assert_eq!(refusal(&setup).kind(), io::ErrorKind::InvalidInput);
        let mut setup = dir.setup(Mode::Exit);
        setup.packets.last_word = vec![0; PACKET_MAX + 1];
        assert_eq!(refusal(&setup).kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn what_is_missing_but_not_needed_is_a_warning() {
        let dir = Dir::new("warnings");
        let nowhere = dir.0.join("no").join("where");
        let setup = Setup {
            black_box: Some(nowhere.clone()),
            kernel_log: Some(nowhere.clone()),
            log_file: Some(nowhere),
            links: vec![crate::guardian::Link { source: "192.0.2.1".parse().unwrap(), peers: vec![] }],
            ..dir.setup(Mode::Exit)
        };
        let mut warnings = Vec::new();
        PanicPath::prepare(&setup, None, &mut warnings).unwrap();
        assert_eq!(warnings.len(), 4, "{warnings:?}");
    }

    /// A pipe that nobody reads stands for a full or broken log: the way down goes on.
    #[test]
    fn a_log_that_hangs_does_not_keep_the_node_alive() {
        let dir = Dir::new("hangs");
        let fifo = dir.0.join("log");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let reader = OpenOptions::new().read(true).write(true).open(&fifo).unwrap();
        let filler = OpenOptions::new().write(true).open(&fifo).unwrap();
        fill(&filler);
        let setup = Setup { log_file: Some(fifo), ..dir.setup(Mode::Exit) };
        let mut path = PanicPath::prepare(&setup, None, &mut Vec::new()).unwrap();
        let outcome = path.execute(&Reason::commanded(&"a test says so"), b"");
        assert!(matches!(outcome, Outcome::Gone(_)), "{outcome:?}");
        drop(reader);
    }

    /// Writes until the pipe is full, without waiting.
    fn fill(pipe: &File) {
        use nix::fcntl::{FcntlArg, OFlag, fcntl};
        fcntl(pipe, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        while nix::unistd::write(pipe, &[0; 4096]).is_ok() {}
        while nix::unistd::write(pipe, &[0; 1]).is_ok() {}
    }
}
