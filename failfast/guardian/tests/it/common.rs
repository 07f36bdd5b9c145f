//! A stand-in for `cmmd`: a child of the test that starts a guardian for itself, and a peer that hears the gasps.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use failfast::black_box::{self, Class};
use failfast::spawn::Respawn;
use failfast::{Guardian, Link, Packets, PanicPath, Setup};
use failfast_core::{ExitScope, Mode, Reason};
use holdfast_sys::process_tree::VARIABLE;
use holdfast_sys::{clock, pidfd};
use holdfast_types::{Boottime, Span};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// Nothing here takes nearly as long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A run directory, a peer, and all processes of the test; cleared away at its end.
pub(crate) struct World {
    pub(crate) dir: PathBuf,
    pub(crate) peer: UdpSocket,
}

impl World {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("holdfast-guardian-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
        peer.set_read_timeout(Some(LIMIT)).unwrap();
        Self { dir, peer }
    }

    /// What the peer hears next, as text.
    pub(crate) fn hear(&self) -> String {
        let mut buffer = [0; 100];
        let len = self.peer.recv(&mut buffer).expect("a packet within the limit");
        String::from_utf8_lossy(&buffer[..len]).into_owned()
    }

    pub(crate) fn hear_all(&self, count: usize) -> Vec<String> {
        (0..count).map(|_| self.hear()).collect()
    }

    /// All that the peer has heard since and does not hear any more.
    pub(crate) fn silence(&self) -> Vec<String> {
        self.peer.set_nonblocking(true).unwrap();
        let mut buffer = [0; 100];
        let heard = std::iter::from_fn(|| self.peer.recv(&mut buffer).ok().map(|len| buffer[..len].to_vec()));
        let heard = heard.map(|b| String::from_utf8_lossy(&b).into_owned()).collect();
        self.peer.set_nonblocking(false).unwrap();
        heard
    }

    /// A process that sleeps, with or without the node's variable, in a process group of its own.
    pub(crate) fn sleeper(&self, tagged: bool) -> Process {
        let mut command = Command::new("sleep");
        command.arg("600").env_remove(VARIABLE).process_group(0);
        if tagged {
            command.env(VARIABLE, &self.dir);
        }
        Process::of(command.spawn().unwrap())
    }

    /// Deaths and outcomes in the black box.
    pub(crate) fn black_box(&self) -> Vec<(Class, String)> {
        let records = black_box::read(&self.dir.join("blackbox")).unwrap();
        records.iter().map(|r| (r.class, r.text.to_string())).collect()
    }

    pub(crate) fn kernel_log(&self) -> String {
        std::fs::read_to_string(self.dir.join("kmsg")).unwrap()
    }

    fn setup(dir: &Path, peer: SocketAddr, mode: Mode, scope: ExitScope, limit: Span) -> Setup {
        Setup {
            mode,
            scope,
            run_dir: dir.into(),
            black_box: Some(dir.join("blackbox")),
            kernel_log: Some(dir.join("kmsg")),
            log_file: Some(dir.join("log")),
            sysrq_trigger: dir.join("trigger"),
            limit,
            links: vec![Link { source: "127.0.0.1".parse().unwrap(), peers: vec![peer] }],
            packets: Packets {
                daemon_died: b"daemon died".into(),
                unit_died: b"unit died".into(),
                last_word: b"last word".into(),
            },
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.dir);
    }
}

/// Any process of a test; killed with its group at the end.
pub(crate) struct Process {
    child: Child,
    pidfd: OwnedFd,
}

impl Process {
    fn of(child: Child) -> Self {
        let pidfd = pidfd::open(child.id()).unwrap();
        Self { child, pidfd }
    }

    /// The PID namespace that its children live in.
    pub(crate) fn child_namespace(&self) -> PathBuf {
        std::fs::read_link(format!("/proc/{}/ns/pid_for_children", self.child.id())).unwrap()
    }

    pub(crate) fn is_alive(&self) -> bool {
        !pidfd::has_ended(self.pidfd.as_fd()).unwrap()
    }

    pub(crate) fn dies(&self) -> bool {
        pidfd::wait_end(self.pidfd.as_fd(), LIMIT).unwrap()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        pidfd::send_signal(self.pidfd.as_fd(), signal).unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = killpg(Pid::from_raw(self.child.id().try_into().unwrap()), Signal::SIGKILL);
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Arguments of the test binary that make it the stand-in.
pub(crate) const DAEMON_ARGS: [&str; 4] = ["--ignored", "--exact", "common::daemon_process", "--nocapture"];

/// The stand-in, and a handle on its guardian.
pub(crate) struct Daemon {
    pub(crate) process: Process,
    lines: BufReader<ChildStdout>,
    guardian: Option<OwnedFd>,
}

impl Daemon {
    /// Starts one and waits until its guardian is on guard.
    pub(crate) fn start(world: &World, mode: Mode, limit: Span) -> Self {
        let mut this = Self::begin(world, mode, limit);
        this.guardian = Some(pidfd::open(this.line("guardian").parse().unwrap()).unwrap());
        this
    }

    /// Starts one and waits for nothing.
    pub(crate) fn begin(world: &World, mode: Mode, limit: Span) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(DAEMON_ARGS);
        Self::begin_by(world, command, mode, limit)
    }

    /// Starts one by a command that leads to it.
    pub(crate) fn begin_by(world: &World, mut command: Command, mode: Mode, limit: Span) -> Self {
        std::fs::write(world.dir.join("kmsg"), "").unwrap();
        std::fs::write(world.dir.join("trigger"), "").unwrap();
        let mut child = command
            .env("DAEMON_MODE", mode.as_str())
            .env("DAEMON_LIMIT_MS", limit.as_millis().to_string())
            .env("DAEMON_PEER", world.peer.local_addr().unwrap().to_string())
            .env(VARIABLE, &world.dir)
            .process_group(0)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(world.dir.join("stderr")).unwrap())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { process: Process::of(child), lines, guardian: None }
    }

    /// The rest of its next line that begins with `what`.
    pub(crate) fn line(&mut self, what: &str) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some((_, rest)) = line.trim_end().split_once(&format!("DAEMON {what} ")) {
                return rest.into();
            }
            line.clear();
        }
        panic!("the stand-in ended without saying: {what}");
    }

    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.process.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    pub(crate) fn guardian(&self) -> &OwnedFd {
        self.guardian.as_ref().unwrap()
    }

    pub(crate) fn guardian_ends(&self) -> bool {
        pidfd::wait_end(self.guardian().as_fd(), LIMIT).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Also where a test has failed: it must not go on to take its node down behind our back.
        if let Some(guardian) = &self.guardian {
            let _ = pidfd::send_signal(guardian.as_fd(), Signal::SIGKILL);
        }
    }
}

#[test]
#[ignore = "the main function of the stand-in for cmmd"]
fn daemon_process() {
    let var = |name| std::env::var(name).expect("started by the other tests only");
    let dir = PathBuf::from(var(VARIABLE));
    let limit = Span::from_millis(var("DAEMON_LIMIT_MS").parse().unwrap());
    let scope = std::env::var("DAEMON_SCOPE").map_or(ExitScope::RunDir, |scope| scope.parse().unwrap());
    let mode = var("DAEMON_MODE").parse().unwrap();
    let setup = World::setup(&dir, var("DAEMON_PEER").parse().unwrap(), mode, scope, limit);
    let program = PathBuf::from(env!("CARGO_BIN_EXE_holdfast-guardian"));
    // As with cmmd the parent is the main thread in the end; this is another one.
    let spawn =
        || std::thread::scope(|s| s.spawn(|| Guardian::spawn(&program, &setup, now())).join().unwrap());
    let mut guardian = match spawn() {
        Ok(guardian) => Some(guardian),
        Err(e) => {
            println!("DAEMON refused {e}");
            return;
        }
    };
    let mut own = PanicPath::prepare(&setup, None, &mut Vec::new()).unwrap();
    println!("DAEMON guardian {}", guardian.as_ref().unwrap().pid());
    let mut respawn: Option<Respawn> = None;
    let mut progress = true;
    let mut stdin = BufReader::new(std::io::stdin());
    let mut line = String::new();
    loop {
        if let (Some(guardian), true) = (&guardian, progress) {
            guardian.progress(now());
        }
        if guardian.as_ref().is_some_and(|g| pidfd::has_ended(g.pidfd()).unwrap()) {
            let dead = guardian.take().unwrap();
            respawn = Some(Respawn::start(dead, program.clone(), setup.clone(), now(), || {}).unwrap());
        }
        if let Some(result) = respawn.as_ref().and_then(Respawn::result) {
            respawn = None;
            let new = result.unwrap();
            println!("DAEMON guardian {}", new.pid());
            guardian = Some(new);
        }
        let mut fds = [PollFd::new(stdin.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::from(10_u8)).unwrap();
        if !fds[0].any().unwrap() {
            continue;
        }
        line.clear();
        assert!(stdin.read_line(&mut line).unwrap() > 0, "the test has ended");
        let why = Reason::commanded(&"the test says so");
        match line.trim_end() {
            "no progress" => progress = false,
            "end main thread" => holdfast_sys::leader::end_own().unwrap(),
            "die" => nix::sys::signal::raise(Signal::SIGKILL).unwrap(),
            "take down" => failfast::take_down(guardian.as_ref(), &mut own, &why, b""),
            "take down with gasp" => failfast::take_down(guardian.as_ref(), &mut own, &why, b"fresh gasp"),
            "take down alone" => failfast::take_down(None, &mut own, &why, b""),
            "other packets" => {
                let packets = Packets { daemon_died: b"other packet".into(), ..setup.packets.clone() };
                guardian.as_ref().unwrap().update_packets(&packets).unwrap();
                println!("DAEMON told ok");
            }
            "other links" => {
                // What follows has the address of the other peer.
                line.clear();
                assert!(stdin.read_line(&mut line).unwrap() > 0, "the test has ended");
                let peers = vec![line.trim_end().parse().unwrap()];
                let links = [Link { source: "127.0.0.1".parse().unwrap(), peers }];
                guardian.as_ref().unwrap().update_links(&links).unwrap();
                println!("DAEMON told ok");
            }
            "release" => {
                guardian.take().unwrap().release().unwrap();
                println!("DAEMON released ok");
                return;
            }
            other => panic!("{other}"),
        }
    }
}

fn now() -> Boottime {
    Boottime::from_nanos(clock::boottime_nanos())
}
