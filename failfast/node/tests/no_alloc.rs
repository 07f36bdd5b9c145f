//! The way down allocates nothing in any of its threads, in any mode, and needs no descriptor that it does not have: a
//! binary of its own, so that nobody else's allocations and descriptors count.

use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command};
use std::time::Duration;

use failfast::guardian::{channel, decode_take_down, receive, send_take_down};
use failfast::{Link, Outcome, Packets, PanicPath, Setup};
use failfast_core::{
    ArmRequest, Decision, Event, ExitScope, Mode, Output, Reason, Registry, StuckDetector, UnitName,
};
use holdfast_sys::counting::CountingAllocator;
use holdfast_sys::{pidfd, process_tree};
use holdfast_types::{Boottime, Span};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator::new();

struct Killed(Vec<Child>, std::path::PathBuf);

impl Drop for Killed {
    fn drop(&mut self) {
        for child in &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

/// Gives the descriptors back.
struct Limit(u64);

impl Drop for Limit {
    fn drop(&mut self) {
        let _ = setrlimit(Resource::RLIMIT_NOFILE, self.0, self.0);
    }
}

fn at(s: u64) -> Boottime {
    Boottime::from_nanos(s * 1_000_000_000)
}

/// Who goes the way: the guardian, which kills `cmmd` first, or `cmmd` itself without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Who {
    Guardian,
    Cmmd,
}

/// One test, from the death of a unit to the last word, so that no other test's thread runs beside it.
#[test]
fn from_a_units_death_to_the_last_word_nothing_is_allocated() {
    let guardian = [Mode::Exit, Mode::Panic, Mode::Reset, Mode::Off].map(|mode| (mode, Who::Guardian));
    let cmmd = [Mode::Exit, Mode::Reset, Mode::Off].map(|mode| (mode, Who::Cmmd));
    for (mode, who) in guardian.into_iter().chain(cmmd) {
        let (outcome, trigger) = way_down(mode, who);
        let expected = match mode {
            Mode::Exit => {
                matches!(outcome, Some(Outcome::Gone(killed)) if killed.signalled >= 5) && trigger.is_empty()
            }
            // The trigger is a plain file: the machine is still there, and the node's processes are not.
            Mode::Panic => matches!(outcome, Some(Outcome::TriggerFailed(_))) && trigger == "cb",
            Mode::Reset => matches!(outcome, Some(Outcome::TriggerFailed(_))) && trigger == "b",
            Mode::Off => outcome == Some(Outcome::Logged) && trigger.is_empty(),
        };
        assert!(expected, "{mode} by {who:?}: {outcome:?}, trigger {trigger:?}");
    }
    // The counter counts.
    let before = ALLOCATOR.allocations();
    drop(std::hint::black_box(vec![1_u8; 100]));
    assert_eq!(ALLOCATOR.allocations() - before, 1);
}

/// Goes the whole way; gives what came of it and what was written to the trigger.
fn way_down(mode: Mode, who: Who) -> (Option<Outcome>, String) {
    let dir = std::env::temp_dir().join(format!("holdfast-no-alloc-{}-{mode}-{who:?}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    for file in ["kmsg", "trigger"] {
        std::fs::write(dir.join(file), "").unwrap();
    }
    let mut sleep = Command::new("sleep");
    sleep.arg("600").env(process_tree::VARIABLE, &dir).process_group(0);
    let children = (0..5).map(|_| sleep.spawn().unwrap()).collect();
    let daemon = sleep.env_remove(process_tree::VARIABLE).spawn().unwrap();
    let daemon_handle = pidfd::open(daemon.id()).unwrap();
    let mut cleared = Killed(children, dir.clone());
    cleared.0.push(daemon);

    let peer = UdpSocket::bind("127.0.0.1:0").unwrap();
    let setup = Setup {
        mode,
        scope: ExitScope::RunDir,
        run_dir: dir.clone(),
        black_box: Some(dir.join("blackbox")),
        kernel_log: Some(dir.join("kmsg")),
        log_file: Some(dir.join("log")),
        sysrq_trigger: dir.join("trigger"),
        limit: Span::from_secs(30),
        links: vec![Link {
            source: "127.0.0.1".parse().unwrap(),
            peers: vec![peer.local_addr().unwrap(); 3],
        }],
        packets: Packets { daemon_died: vec![1; 90], unit_died: vec![2; 90], last_word: vec![3; 90] },
    };
    let watched = (who == Who::Guardian).then(|| daemon_handle.try_clone().unwrap());
    let mut path = PanicPath::prepare(&setup, watched, &mut Vec::new()).unwrap();
    let mut registry = Registry::new(Mode::Exit, at(1));
    let name = UnitName::new("rgmd").unwrap();
    let request =
        ArmRequest { name, delay: Span::from_secs(35), heartbeat: Span::ZERO, mode: None, restarts: None };
    let key = registry.arm(at(1), 4711, &request).unwrap();
    while registry.poll_output().is_some() {}
    let (ours, theirs) = channel().unwrap();
    let mut buffer = vec![0; 4096];
    let mut detector = StuckDetector::new(Span::from_secs(30), at(1));

    // Not one descriptor is left.
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    let _given_back = Limit(hard);
    setrlimit(Resource::RLIMIT_NOFILE, 200, hard).unwrap();
    let mut hoard = Vec::new();
    while let Ok(file) = std::fs::File::open("/dev/null") {
        hoard.push(file);
    }
    assert!(hoard.len() > 50, "{}", hoard.len());

    // What is asserted is asserted afterwards: a message would be formatted, and that allocates.
    let before = ALLOCATOR.allocations();
    registry.handle_death(at(10), key);
    registry.handle_timeout(at(45));
    let mut taken_down = None;
    let mut told = None;
    while let Some(output) = registry.poll_output() {
        match output {
            Output::Decision(Decision::TakeDown(reason)) => taken_down = Some(reason),
            Output::Event(event @ Event::TakingDown { .. }) => told = Some(event),
            Output::Event(_) => {}
        }
    }
    let reason = taken_down.unwrap_or(Reason::daemon_died(Span::ZERO));
    let sent = send_take_down(ours.as_fd(), &reason, &[7; 200]);
    let len = receive(theirs.as_fd(), &mut buffer).unwrap_or(0);
    let heard = decode_take_down(&buffer[..len]);
    let stuck = detector.look(at(2), 1);
    let outcome = heard.map(|(reason, gasp)| path.execute(&reason, &buffer[gasp]));
    let after = ALLOCATOR.allocations();
    drop(hoard);

    assert_eq!(after - before, 0, "allocations on the way down, {mode} by {who:?}");
    assert!(told.is_some() && sent.is_ok() && stuck.is_none());
    assert_eq!(&*reason.text, "Failfast: Aborting because \"rgmd\" died 35 seconds ago.");
    if who == Who::Guardian {
        assert!(pidfd::wait_end(daemon_handle.as_fd(), Duration::from_secs(60)).unwrap());
    }
    let records = failfast::black_box::read(&dir.join("blackbox")).unwrap();
    let expected = if mode == Mode::Off { 1 } else { 2 };
    assert_eq!((records.len(), records[0].text), (expected, reason.text));
    (outcome, std::fs::read_to_string(dir.join("trigger")).unwrap())
}
