//! A server in this process, children of it as units.

use std::io::{BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use failfast::{Client, FailfastServer, ServerConfig};
use failfast_core::{ArmRequest, Decision, Event, ExitScope, Mode, Output, Reason, UnitName};
use holdfast_sys::{clock, process_tree};
use holdfast_types::{Boottime, Span};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// Nothing here takes nearly as long.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) fn now() -> Boottime {
    Boottime::from_nanos(clock::boottime_nanos())
}

/// A run directory that is gone with the test.
pub(crate) struct RunDir(pub(crate) PathBuf);

impl RunDir {
    pub(crate) fn new() -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("holdfast-failfast-{}-{number}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A server and the loop that drives it as `cmmd` does.
pub(crate) struct Node {
    pub(crate) server: FailfastServer,
    pub(crate) events: Vec<Event>,
    pub(crate) dir: RunDir,
}

impl Node {
    pub(crate) fn new(mode: Mode) -> Self {
        let dir = RunDir::new();
        let config = ServerConfig { run_dir: dir.0.clone(), mode, scope: ExitScope::RunDir };
        Self { server: FailfastServer::bind(&config, now()).unwrap(), events: Vec::new(), dir }
    }

    /// One turn of the loop: waits for something, handles it.
    pub(crate) fn turn(&mut self) -> Option<Reason> {
        let wait = self.server.next_timeout().map_or(Span::from_millis(20), |due| due.since(now()));
        let wait = wait.min(Span::from_millis(20)).as_millis() + 1;
        let mut fds = [PollFd::new(self.server.as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(u128::from(wait)).unwrap()).unwrap();
        while self.server.handle_ready(now()) {}
        self.server.handle_timeout(now());
        let mut taken_down = None;
        while let Some(output) = self.server.poll_output() {
            match output {
                Output::Decision(Decision::TakeDown(reason)) => taken_down = Some(reason),
                Output::Event(event) => self.events.push(event),
            }
        }
        taken_down
    }

    /// Runs until the node is taken down.
    pub(crate) fn run_to_decision(&mut self) -> Reason {
        let end = std::time::Instant::now() + LIMIT;
        while std::time::Instant::now() < end {
            if let Some(reason) = self.turn() {
                return reason;
            }
        }
        panic!("no decision; events: {:?}", self.events);
    }

    /// Runs until something holds; a decision meanwhile is a failure.
    pub(crate) fn run_until(&mut self, what: &str, mut holds: impl FnMut(&Self) -> bool) {
        let end = std::time::Instant::now() + LIMIT;
        while !holds(self) {
            assert!(
                std::time::Instant::now() < end,
                "not within the limit: {what}; events: {:?}",
                self.events
            );
            assert_eq!(self.turn(), None, "taken down while waiting: {what}");
        }
    }

    /// Lets a blocking conversation run beside the loop.
    pub(crate) fn beside<T: Send>(&mut self, conversation: impl FnOnce(&Path) -> T + Send) -> T {
        let dir = self.dir.0.clone();
        std::thread::scope(|scope| {
            let thread = scope.spawn(move || conversation(&dir));
            while !thread.is_finished() {
                assert_eq!(self.turn(), None);
            }
            thread.join().unwrap()
        })
    }
}

/// How a child behaves.
pub(crate) struct Unit<'a> {
    pub(crate) name: &'a str,
    pub(crate) delay_ms: u64,
    pub(crate) heartbeat_ms: u64,
    pub(crate) tagged: bool,
}

/// A child process that arms itself, and beats if it has a heartbeat, until it is told otherwise or killed.
pub(crate) struct UnitProcess {
    child: Child,
    lines: BufReader<ChildStdout>,
}

impl UnitProcess {
    pub(crate) fn start(dir: &Path, unit: &Unit<'_>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command
            .args(["--ignored", "--exact", "common::unit_process", "--nocapture"])
            .env("UNIT", format!("{} {} {}", unit.name, unit.delay_ms, unit.heartbeat_ms))
            .env("UNIT_DIR", dir)
            .env_remove(process_tree::VARIABLE)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped());
        if unit.tagged {
            command.env(process_tree::VARIABLE, dir);
        }
        let mut child = command.spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap());
        Self { child, lines }
    }

    /// Starts one and runs the loop until it has armed.
    pub(crate) fn armed(node: &mut Node, unit: &Unit<'_>) -> Self {
        let mut this = Self::start(&node.dir.0, unit);
        let answer = node.beside(|_| this.answer());
        assert_eq!(answer, "ok");
        this
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What became of its last request.
    pub(crate) fn answer(&mut self) -> String {
        let mut line = String::new();
        while self.lines.read_line(&mut line).unwrap() > 0 {
            if let Some((_, answer)) = line.trim_end().split_once("ANSWER ") {
                return answer.into();
            }
            line.clear();
        }
        panic!("the child ended without an answer");
    }

    pub(crate) fn tell(&mut self, what: &str) {
        writeln!(self.child.stdin.as_mut().unwrap(), "{what}").unwrap();
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id().try_into().unwrap()), signal).unwrap();
    }
}

impl Drop for UnitProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
#[ignore = "the main function of the other tests' children"]
fn unit_process() {
    let unit = std::env::var("UNIT").expect("started by the other tests only");
    let dir = PathBuf::from(std::env::var_os("UNIT_DIR").unwrap());
    let mut words = unit.split(' ');
    let name = UnitName::new(words.next().unwrap()).unwrap();
    let mut millis = || Span::from_millis(words.next().unwrap().parse().unwrap());
    let request = ArmRequest { name, delay: millis(), heartbeat: millis(), mode: None, restarts: None };
    let mut client = Client::connect(&dir, LIMIT).unwrap();
    let tell = |result: Result<(), failfast::client::ClientError>| {
        println!("ANSWER {}", result.map_or_else(|e| e.to_string(), |()| "ok".into()));
    };
    tell(client.arm(&request));
    let mut stdin = BufReader::new(std::io::stdin());
    let mut line = String::new();
    loop {
        let pause = if request.heartbeat > Span::ZERO { request.heartbeat.as_millis() / 10 } else { 60_000 };
        let mut fds = [PollFd::new(stdin.get_ref().as_fd(), PollFlags::POLLIN)];
        poll(&mut fds, PollTimeout::try_from(u128::from(pause)).unwrap()).unwrap();
        if fds[0].any().unwrap() {
            line.clear();
            match stdin.read_line(&mut line).unwrap() {
                0 => return,
                _ if line == "disarm\n" => tell(client.disarm(&name)),
                _ => panic!("{line}"),
            }
        }
        if request.heartbeat > Span::ZERO {
            client.beat(&name).unwrap();
        }
    }
}
