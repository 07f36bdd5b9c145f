//! Real processes, tagged with a run directory that no other process can have.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

const LIMIT: Duration = Duration::from_secs(60);

/// A name of a run directory, used by this test only. Nothing needs to exist there.
fn run_dir() -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    std::env::temp_dir().join(format!("holdfast-process-tree-{}-{number}", std::process::id()))
}

fn tree(dir: &Path) -> ProcessTree {
    ProcessTree::open(Scope::RunDir(Tag::of_run_dir(dir).unwrap())).unwrap()
}

/// A shell with the variable; killed at the end of the test, with its process group.
struct Shell(Child);

impl Shell {
    fn start(dir: Option<&Path>, script: &str) -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", script]).stdin(Stdio::null()).stdout(Stdio::piped()).process_group(0);
        command.env_remove(VARIABLE);
        if let Some(dir) = dir {
            command.env(VARIABLE, dir);
        }
        Self(command.spawn().unwrap())
    }

    fn pid(&self) -> u32 {
        self.0.id()
    }

    /// Waits for the line that the script says when it is ready.
    fn wait_ready(&mut self) -> String {
        use std::io::{BufRead, BufReader};
        let mut line = String::new();
        BufReader::new(self.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    fn is_alive(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        if let Ok(group) = i32::try_from(self.0.id()) {
            let _ = nix::sys::signal::killpg(nix::unistd::Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_tagged_die_and_nobody_else() {
    let dir = run_dir();
    let mut ours = Shell::start(Some(&dir), "sleep 600 & sleep 600 & (sleep 600 &) ; echo ready; wait");
    let longer = PathBuf::from(format!("{}0", dir.display()));
    let mut others = [
        Shell::start(None, "echo ready; sleep 600"),
        Shell::start(Some(&longer), "echo ready; sleep 600"),
        Shell::start(dir.parent(), "echo ready; sleep 600"),
        Shell::start(None, &format!("OTHER_{VARIABLE}={0} sh -c 'echo ready; sleep 600'", dir.display())),
        Shell::start(None, &format!("x='{VARIABLE}={0}' sh -c 'echo ready; sleep 600'", dir.display())),
    ];
    for shell in others.iter_mut().chain([&mut ours]) {
        assert_eq!(shell.wait_ready(), "ready");
    }
    let mut tree = tree(&dir);
    assert_eq!(tree.list().unwrap().len(), 4, "the shell and three sleeps");
    let killed = tree.kill(LIMIT).unwrap();
    assert!(killed.is_empty(), "{killed:?}");
    // At least the shell: a stopped process group that loses its parent gets a hang-up from the kernel.
    assert!(killed.signalled >= 1, "{killed:?}");
    assert_eq!(tree.list().unwrap(), []);
    assert!(!ours.0.wait().unwrap().success());
    for other in &mut others {
        assert!(other.is_alive(), "{}", other.pid());
    }
}

#[test]
fn an_empty_tree_is_empty() {
    let killed = tree(&run_dir()).kill(LIMIT).unwrap();
    assert_eq!(killed, Killed::default());
}

#[test]
fn those_that_fork_all_the_time_do_not_get_away() {
    let dir = run_dir();
    let script = "echo ready; while :; do (sh -c 'sleep 600 & sleep 0.01' &) ; sleep 0.005; done";
    let mut shell = Shell::start(Some(&dir), script);
    assert_eq!(shell.wait_ready(), "ready");
    let mut tree = tree(&dir);
    while tree.list().unwrap().len() < 5 {
        std::thread::yield_now();
    }
    let killed = tree.kill(LIMIT).unwrap();
    assert!(killed.is_empty(), "{killed:?}");
    assert_eq!(tree.list().unwrap(), []);
}

#[test]
fn a_child_that_lost_the_variable_is_spared_and_keeps_the_tree_from_being_empty() {
    let dir = run_dir();
    let mut shell =
        Shell::start(Some(&dir), &format!("env -u {VARIABLE} sh -c 'echo $$; exec sleep 600' & wait"));
    let stray: u32 = shell.wait_ready().parse().unwrap();
    let killed = tree(&dir).kill(Duration::from_millis(200)).unwrap();
    assert_eq!((killed.left, killed.strays, killed.example), (0, 1, Some(stray)), "{killed:?}");
    assert!(!killed.is_empty());
    let handle = pidfd::open(stray).unwrap();
    assert!(!pidfd::has_ended(handle.as_fd()).unwrap(), "never touched");
    pidfd::send_signal(handle.as_fd(), Signal::SIGKILL).unwrap();
}

#[test]
fn a_process_whose_main_thread_has_ended_is_found() {
    let dir = run_dir();
    // Python is the only interpreter at hand that can end its main thread alone.
    let script = "exec python3 -c 'import threading,time,ctypes,sys\n\
        threading.Thread(target=lambda: time.sleep(600)).start()\n\
        print(\"ready\", flush=True)\n\
        ctypes.CDLL(None).pthread_exit(None)'";
    let mut shell = Shell::start(Some(&dir), script);
    if shell.wait_ready() != "ready" {
        writeln!(std::io::stderr(), "skipped: needs python3").unwrap();
        return;
    }
    let pid = shell.pid();
    let proc = open_proc().unwrap();
    let deadline = Instant::now() + LIMIT;
    while stat(&proc, pid).unwrap().unwrap().state != b'Z' {
        assert!(Instant::now() < deadline, "the main thread did not end");
        std::thread::yield_now();
    }
    let mut tree = tree(&dir);
    assert_eq!(tree.list().unwrap(), [pid]);
    let killed = tree.kill(LIMIT).unwrap();
    assert!(killed.is_empty() && killed.signalled > 0, "{killed:?}");
}

#[test]
fn the_caller_is_never_among_them() {
    // Children share the parent's entry only if it has one: look at this very process as if it were tagged.
    let me = std::process::id();
    let tree = tree(&run_dir());
    assert_eq!(tree.look(me).unwrap(), Look::Gone);
    assert_eq!(tree.look(1).unwrap(), Look::Gone);
}

#[test]
fn the_initial_pid_namespace_is_never_the_scope() {
    let initial = std::fs::read_link("/proc/self/ns/pid").unwrap();
    if initial != Path::new("pid:[4026531836]") {
        writeln!(std::io::stderr(), "skipped: needs the initial PID namespace").unwrap();
        return;
    }
    let error = ProcessTree::open(Scope::PidNamespace).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    assert!(error.to_string().contains("initial PID namespace"), "{error}");
}

#[test]
fn a_tag_is_an_absolute_path() {
    for bad in ["", "run", "./run", "/run\0x"] {
        assert!(Tag::of_run_dir(Path::new(bad)).is_err(), "{bad:?}");
    }
}

#[test]
fn who_carries_the_variable() {
    let dir = run_dir();
    let mut shell = Shell::start(Some(&dir), "echo ready; sleep 600");
    shell.wait_ready();
    let tag = Tag::of_run_dir(&dir).unwrap();
    assert!(carries(shell.pid(), &tag).unwrap());
    assert!(!carries(shell.pid(), &Tag::of_run_dir(&run_dir()).unwrap()).unwrap());
    assert!(!carries(u32::MAX, &tag).unwrap());
}

#[test]
fn entries_are_found_across_pieces() {
    let entry = b"HOLDFAST_RUN_DIR=/run/a";
    let environment =
        b"A=1\0HOLDFAST_RUN_DIR=/run/ab\0XHOLDFAST_RUN_DIR=/run/a\0HOLDFAST_RUN_DIR=/run/a\0B=2\0";
    for piece in 1..environment.len() {
        let mut finder = Finder::new(entry);
        let found = environment.chunks(piece).any(|p| finder.feed(p));
        assert!(found, "{piece}");
    }
    let mut without = Finder::new(entry);
    assert!(!without.feed(b"A=HOLDFAST_RUN_DIR=/run/a\0HOLDFAST_RUN_DIR=/run/ab\0HOLDFAST_RUN_DIR=/run/\0"));
    assert!(!without.end());
    let mut last = Finder::new(entry);
    assert!(!last.feed(b"A=1\0HOLDFAST_RUN_DIR=/run/a"));
    assert!(last.end(), "the last entry may come without its NUL");
}

#[test]
fn a_stat_line_with_a_wild_name() {
    let me = stat(&open_proc().unwrap(), std::process::id()).unwrap().unwrap();
    assert!(me.threads >= 2 && me.parent > 0 && me.start > 0 && me.environment_end > 0, "{me:?}");
    let numbers: String = (9..=52).map(|n| format!(" {n}")).collect();
    let line = format!("7 (a) Z 1 (b)) S 42 7 7 0 -1{numbers}\n");
    let stat = parse_stat(line.as_bytes()).unwrap();
    assert_eq!(stat, Stat { state: b'S', parent: 42, flags: 9, threads: 20, start: 22, environment_end: 51 });
    for bad in ["", "7", "7 (x", "7 (x)", "7 (x) S", "7 (x) S 1 2 3"] {
        assert_eq!(parse_stat(bad.as_bytes()), None, "{bad:?}");
    }
}
