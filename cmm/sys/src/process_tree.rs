//! All processes of one node: found by their environment or by their PID namespace, and killed without a pid ever
//! being mistaken for another.
//!
//! Finding and killing allocate nothing, so that they work without memory: buffers are made by [`ProcessTree::open`].
//!
//! # What is safe here
//! In scope [`Scope::RunDir`] a process is signalled only after its environment was seen to hold the exact variable,
//! read *after* a pidfd on it was opened: if the pid had passed to another process in between, the signal would go to
//! the dead one. Scope [`Scope::PidNamespace`] is refused in the initial PID namespace. Process 1 and the caller are
//! never touched.
//!
//! # What "empty" means
//! The environment is the one a process was started with; a process that cleared it, or that writes its title over it,
//! is not found. Such a process is still noticed while its parent is one of the node's (*stray*): it is not killed, but
//! the tree does not count as empty before it has ended. The same goes for processes that root may not look into.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat};
use nix::sys::stat::Mode;

use crate::pidfd::{self, Signal};

/// The environment variable that marks a node's processes.
pub const VARIABLE: &str = "HOLDFAST_RUN_DIR";

/// Which processes are the node's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Those whose environment holds this variable with this value.
    RunDir(Tag),
    /// All of this process's PID namespace, which must not be the initial one.
    PidNamespace,
}

/// The exact environment entry `HOLDFAST_RUN_DIR=<dir>`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tag {
    entry: Vec<u8>,
}

/// The processes of a node.
#[derive(Debug)]
pub struct ProcessTree {
    proc: OwnedFd,
    scope: Scope,
    me: u32,
    am_root: bool,
    entries: Box<[u8]>,
    marks: Box<[u64]>,
    strays: [Stray; STRAYS_MAX],
    strays_len: usize,
    strays_lost: bool,
}

/// Whether this process is root of the machine, not only of a user namespace.
fn is_real_root() -> bool {
    let all = ["0", "0", "4294967295"];
    let map = std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    nix::unistd::geteuid().is_root() && (map.is_empty() || map.split_whitespace().eq(all))
}

/// What a kill has reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Killed {
    /// Processes that were sent SIGKILL, each counted once per scan that found it.
    pub signalled: u32,
    /// The node's processes that are still there at the end.
    pub left: u32,
    /// Children of the node's processes that do not carry the variable and are still there: not touched.
    pub strays: u32,
    /// Processes that root could not look into, so that nobody knows whose they are.
    pub unreadable: u32,
    /// One that is in the way, by pid.
    pub example: Option<u32>,
}

impl Killed {
    /// Whether nothing of the node runs any more, beyond doubt.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.left == 0 && self.strays == 0 && self.unreadable == 0
    }
}

#[derive(Clone, Copy, Debug, Default)]
struct Stray {
    pid: u32,
    start: u64,
}

/// One pass over /proc.
#[derive(Clone, Copy, Debug, Default)]
struct Scan {
    members: u32,
    running: u32,
    unreadable: u32,
    signalled: u32,
    example: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Gone,
    Member,
    Other,
    Unreadable,
    /// In the middle of an exec: its new environment is not there yet.
    Unsettled,
    /// On its way out and without memory, but still with its files and locks.
    Exiting,
}

/// A line of /proc/PID/stat, as far as it matters here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stat {
    state: u8,
    parent: u32,
    flags: u64,
    threads: u64,
    start: u64,
    environment_end: u64,
}

impl Stat {
    /// A leader that has ended while other threads run on is a zombie by its letter only.
    fn is_dead(&self) -> bool {
        matches!(self.state, b'Z' | b'X') && self.threads <= 1
    }

    fn is_stopped(&self) -> bool {
        matches!(self.state, b'T' | b't' | b'Z' | b'X')
    }
}

const STRAYS_MAX: usize = 64;
/// One bit for each remainder of a pid. Pids that share one are taken for the same: a stranger's zombie may then be waited
/// for until it is reaped, which is the safe side. A bit for each pid there can be would be half a megabyte of locked memory.
const MARKS: usize = 1 << 17;
/// Passes that stop and do not yet kill. More would only matter to a fork bomb, which the killing passes meet too.
const STOP_PASSES_MAX: u32 = 20;
const PAUSE: Duration = Duration::from_millis(2);
/// Inode of the initial PID namespace, fixed in the kernel (`PROC_PID_INIT_INO`).
const INITIAL_PID_NAMESPACE: u64 = 0xEFFF_FFFC;
/// Flags in /proc/PID/stat.
const PF_EXITING: u64 = 0x0000_0004;
const PF_KTHREAD: u64 = 0x0020_0000;

impl Tag {
    /// The entry for a run directory, taken byte for byte.
    ///
    /// # Errors
    /// `InvalidInput` where the path is not absolute or holds a NUL: it would mark nothing, or everything.
    pub fn of_run_dir(dir: &Path) -> io::Result<Self> {
        let bytes = dir.as_os_str().as_bytes();
        if !dir.is_absolute() || bytes.contains(&0) {
            let text = format!("run directory {} is not an absolute path", dir.display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
        }
        Ok(Self { entry: [VARIABLE.as_bytes(), b"=", bytes].concat() })
    }
}

/// Whether a process was started with this variable. Not an error but `false` where it has just ended.
///
/// # Errors
/// `EACCES`, `EPERM` where its environment may not be read; what opening /proc says.
pub fn carries(pid: u32, tag: &Tag) -> io::Result<bool> {
    let proc = open_proc()?;
    Ok(environment_holds(&proc, pid, tag)? == Look::Member)
}

impl ProcessTree {
    /// Opens /proc and checks that what it shows are the pids that this process sees.
    ///
    /// # Errors
    /// `PermissionDenied` where the scope is refused, with the reason in words; what opening /proc says.
    pub fn open(scope: Scope) -> io::Result<Self> {
        let proc = open_proc()?;
        let me = std::process::id();
        if nix::fcntl::readlinkat(&proc, c"self")?.to_str() != Some(me.to_string().as_str()) {
            return Err(refused(
                "/proc belongs to another PID namespace: mount it anew inside this one".into(),
            ));
        }
        if scope == Scope::PidNamespace {
            check_namespace(&proc)?;
        }
        Ok(Self {
            proc,
            scope,
            me,
            am_root: is_real_root(),
            entries: vec![0; 32 << 10].into(),
            marks: vec![0; MARKS / 64].into(),
            strays: [Stray::default(); STRAYS_MAX],
            strays_len: 0,
            strays_lost: false,
        })
    }

    /// The pids of the node's processes now, but 1 and the caller's.
    ///
    /// # Errors
    /// What reading /proc says.
    pub fn list(&mut self) -> io::Result<Vec<u32>> {
        let mut pids = Vec::new();
        self.each_process(|tree, pid| {
            if tree.look(pid)? == Look::Member {
                pids.push(pid);
            }
            Ok(())
        })?;
        Ok(pids)
    }

    /// Kills them all: stops them first, so that none forks away, then SIGKILL, until two passes in a row find none and
    /// no stray is left, or the limit is over. Allocates nothing.
    ///
    /// # Errors
    /// What reading /proc says; nothing may be concluded about the node then.
    pub fn kill(&mut self, limit: Duration) -> io::Result<Killed> {
        let start = Instant::now();
        self.marks.fill(0);
        (self.strays_len, self.strays_lost) = (0, false);
        for pass in 0..STOP_PASSES_MAX {
            let scan = self.pass(Signal::SIGSTOP)?;
            // The second pass sees children with a lower pid than their parents, and what was forked meanwhile.
            if pass > 0 && scan.running == 0 {
                break;
            }
            std::thread::sleep(PAUSE);
        }
        let mut killed = Killed::default();
        let mut empty_passes = 0;
        loop {
            let scan = self.pass(Signal::SIGKILL)?;
            killed.signalled = killed.signalled.saturating_add(scan.signalled);
            killed.left = scan.members;
            killed.unreadable = scan.unreadable;
            killed.example = scan.example;
            self.count_strays(&mut killed)?;
            empty_passes = if killed.is_empty() { empty_passes + 1 } else { 0 };
            if empty_passes >= 2 || start.elapsed() >= limit {
                return Ok(killed);
            }
            std::thread::sleep(PAUSE);
        }
    }

    /// Looks at every process, signals the node's, and (while stopping) notes their children that are not tagged.
    fn pass(&mut self, signal: Signal) -> io::Result<Scan> {
        let mut scan = Scan::default();
        self.each_process(|tree, pid| tree.visit(pid, signal, &mut scan))?;
        Ok(scan)
    }

    fn visit(&mut self, pid: u32, signal: Signal, scan: &mut Scan) -> io::Result<()> {
        let look = self.look(pid)?;
        match look {
            Look::Gone => {}
            Look::Member => {
                self.mark(pid);
                self.signal(pid, signal, scan)?;
            }
            // Ours or not is known in a moment.
            Look::Unsettled => {
                scan.members += 1;
                scan.running += 1;
                scan.example = Some(pid);
            }
            Look::Exiting if self.is_marked(pid) => {
                scan.members += 1;
                scan.example = Some(pid);
            }
            Look::Exiting => {}
            Look::Other | Look::Unreadable => {
                if signal == Signal::SIGSTOP {
                    self.note_if_stray(pid)?;
                }
                // Whether it is the node's cannot be told. For a user who is not root, and for the root of a user
                // namespace, all other users' processes look like this, and he could not have started them.
                if look == Look::Unreadable && self.am_root && self.is_alive(pid)? {
                    scan.unreadable += 1;
                    scan.example = Some(pid);
                }
            }
        }
        Ok(())
    }

    fn signal(&self, pid: u32, signal: Signal, scan: &mut Scan) -> io::Result<()> {
        let handle = match pidfd::open(pid) {
            Ok(handle) => handle,
            Err(e) if e.raw_os_error() == Some(libc::ESRCH) => return Ok(()),
            Err(e) => return Err(e),
        };
        // Only now: what the environment says belongs to the process behind the handle, or that one is dead.
        if self.look(pid)? != Look::Member {
            return Ok(());
        }
        scan.members += 1;
        scan.example = Some(pid);
        if signal == Signal::SIGSTOP && stat(&self.proc, pid)?.is_none_or(|s| s.is_stopped()) {
            return Ok(());
        }
        scan.running += 1;
        match pidfd::send_signal(handle.as_fd(), signal) {
            Ok(()) => scan.signalled += 1,
            // Ended meanwhile; or it is not ours to signal, and then it stays among those left.
            Err(e) if matches!(e.raw_os_error(), Some(libc::ESRCH | libc::EPERM)) => {}
            Err(e) => return Err(e),
        }
        Ok(())
    }

    fn look(&self, pid: u32) -> io::Result<Look> {
        if pid == 1 || pid == self.me {
            return Ok(Look::Gone);
        }
        match &self.scope {
            Scope::RunDir(tag) => match environment_holds(&self.proc, pid, tag) {
                Err(e) if matches!(e.raw_os_error(), Some(libc::EACCES | libc::EPERM)) => {
                    Ok(Look::Unreadable)
                }
                look => look,
            },
            Scope::PidNamespace => Ok(if self.is_alive(pid)? { Look::Member } else { Look::Gone }),
        }
    }

    fn is_alive(&self, pid: u32) -> io::Result<bool> {
        Ok(stat(&self.proc, pid)?.is_some_and(|s| !s.is_dead()))
    }

    /// A living process without the variable whose parent has it, or is a stray itself.
    fn note_if_stray(&mut self, pid: u32) -> io::Result<()> {
        let Some(stat) = stat(&self.proc, pid)? else { return Ok(()) };
        if stat.is_dead() || !self.is_marked(stat.parent) {
            return Ok(());
        }
        let stray = Stray { pid, start: stat.start };
        if self.strays[..self.strays_len].iter().any(|s| s.pid == pid && s.start == stat.start) {
            return Ok(());
        }
        self.mark(pid);
        if let Some(slot) = self.strays.get_mut(self.strays_len) {
            *slot = stray;
            self.strays_len += 1;
        } else {
            self.strays_lost = true;
        }
        Ok(())
    }

    fn count_strays(&self, killed: &mut Killed) -> io::Result<()> {
        killed.strays = u32::from(self.strays_lost);
        for stray in &self.strays[..self.strays_len] {
            let now = stat(&self.proc, stray.pid)?;
            if now.is_some_and(|s| s.start == stray.start && !s.is_dead()) {
                killed.strays += 1;
                killed.example = Some(stray.pid);
            }
        }
        Ok(())
    }

    fn mark(&mut self, pid: u32) {
        let bit = pid as usize % MARKS;
        self.marks[bit / 64] |= 1 << (bit % 64);
    }

    fn is_marked(&self, pid: u32) -> bool {
        let bit = pid as usize % MARKS;
        self.marks[bit / 64] & (1 << (bit % 64)) != 0
    }

    fn each_process(&mut self, mut visit: impl FnMut(&mut Self, u32) -> io::Result<()>) -> io::Result<()> {
        nix::unistd::lseek(&self.proc, 0, nix::unistd::Whence::SeekSet)?;
        let mut entries = std::mem::take(&mut self.entries);
        let result = (|| {
            loop {
                let len = read_entries(&self.proc, &mut entries)?;
                if len == 0 {
                    return Ok(());
                }
                let mut rest = &entries[..len];
                while let Some((name, more)) = split_entry(rest) {
                    rest = more;
                    if let Some(pid) = parse_number(name) {
                        visit(self, u32::try_from(pid).unwrap_or(0))?;
                    }
                }
            }
        })();
        self.entries = entries;
        result
    }
}

fn open_proc() -> io::Result<OwnedFd> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    Ok(nix::fcntl::open(c"/proc", flags, Mode::empty())?)
}

fn refused(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::PermissionDenied, text)
}

/// Scope pid-namespace kills all there is: only where the namespace was made for that.
fn check_namespace(proc: &OwnedFd) -> io::Result<()> {
    let inode =
        |path: &CStr| nix::sys::stat::fstatat(proc, path, nix::fcntl::AtFlags::empty()).map(|s| s.st_ino);
    let own = inode(c"self/ns/pid")?;
    if own == INITIAL_PID_NAMESPACE {
        return Err(refused(
            "exit_scope pid-namespace: this is the machine's initial PID namespace; start the node in one of its own, \
             or set exit_scope: run-dir"
                .into(),
        ));
    }
    if inode(c"1/ns/pid")? != own {
        return Err(refused(
            "exit_scope pid-namespace: process 1 of /proc is in another PID namespace".into(),
        ));
    }
    Ok(())
}

/// Whether the environment of a process holds the entry, exactly.
fn environment_holds(proc: &OwnedFd, pid: u32, tag: &Tag) -> io::Result<Look> {
    let denied = match open_file(proc, pid, b"/environ\0") {
        Ok(Some(file)) => match search(&file, tag)? {
            Some(look) => return Ok(look),
            None => None,
        },
        Ok(None) => None,
        // So it is for a leader without memory, too, which belongs to root.
        Err(e) => Some(e),
    };
    // Nothing to open or to read: gone, a zombie, a kernel thread, an empty environment, or one that is not there yet.
    let Some(stat) = stat(proc, pid)? else { return Ok(Look::Gone) };
    if let Some(e) = denied
        && !matches!(stat.state, b'Z' | b'X')
    {
        return Err(e);
    }
    Ok(match stat {
        _ if stat.is_dead() || stat.flags & PF_KTHREAD != 0 => Look::Gone,
        Stat { state: b'Z' | b'X', .. } => environment_of_a_thread(proc, pid, tag)?,
        _ if stat.flags & PF_EXITING != 0 => Look::Exiting,
        Stat { environment_end: 0, .. } => Look::Unsettled,
        _ => Look::Other,
    })
}

/// The leader has ended, other threads run on: they still have the environment.
fn environment_of_a_thread(proc: &OwnedFd, pid: u32, tag: &Tag) -> io::Result<Look> {
    let Some(tasks) = open_file(proc, pid, b"/task\0")? else { return Ok(Look::Gone) };
    let mut buffer = [0; 2048];
    loop {
        let len = read_entries(&tasks, &mut buffer)?;
        if len == 0 {
            return Ok(Look::Unsettled);
        }
        let mut rest = &buffer[..len];
        while let Some((name, more)) = split_entry(rest) {
            rest = more;
            let thread = parse_number(name).and_then(|n| u32::try_from(n).ok()).filter(|&n| n != pid);
            let Some(thread) = thread else { continue };
            if let Some(file) = open_file(&tasks, thread, b"/environ\0")?
                && let Some(look) = search(&file, tag)?
            {
                return Ok(look);
            }
        }
    }
}

/// `Member` or `Other`; `None` where there is nothing to read.
fn search(file: &OwnedFd, tag: &Tag) -> io::Result<Option<Look>> {
    let mut finder = Finder::new(&tag.entry);
    let mut buffer = [0; 4096];
    let mut read_any = false;
    loop {
        match nix::unistd::read(file, &mut buffer) {
            Ok(0) if !read_any => return Ok(None),
            Ok(0) => return Ok(Some(if finder.end() { Look::Member } else { Look::Other })),
            Ok(len) => {
                read_any = true;
                if finder.feed(&buffer[..len]) {
                    return Ok(Some(Look::Member));
                }
            }
            Err(Errno::EINTR) => {}
            Err(Errno::ESRCH) => return Ok(None),
            // The process has moved its environment while it was read: the next pass knows.
            Err(Errno::EIO | Errno::EFAULT) => return Ok(Some(Look::Unsettled)),
            Err(e) => return Err(e.into()),
        }
    }
}

fn stat(proc: &OwnedFd, pid: u32) -> io::Result<Option<Stat>> {
    let Some(file) = open_file(proc, pid, b"/stat\0")? else { return Ok(None) };
    let mut buffer = [0; 2048];
    match nix::unistd::read(&file, &mut buffer) {
        Ok(len) => Ok(parse_stat(&buffer[..len])),
        Err(Errno::ESRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// `PID (COMM) STATE PPID …`, fields counted from 1 as in proc(5); COMM may hold anything, parentheses too.
fn parse_stat(line: &[u8]) -> Option<Stat> {
    let behind = line.iter().rposition(|&b| b == b')')? + 1;
    let mut stat = Stat::default();
    let mut last = 0;
    for (field, word) in
        (3..).zip(line.get(behind..)?.split(u8::is_ascii_whitespace).filter(|w| !w.is_empty()))
    {
        let number = || parse_number(word);
        match field {
            3 => stat.state = word[0],
            4 => stat.parent = u32::try_from(number()?).ok()?,
            9 => stat.flags = number()?,
            20 => stat.threads = number()?,
            22 => stat.start = number()?,
            51 => stat.environment_end = number()?,
            _ => {}
        }
        last = field;
    }
    (last >= 51).then_some(stat)
}

/// Opens `/proc/PID` + `rest` (with its NUL); `None` where that process is gone.
fn open_file(proc: &OwnedFd, pid: u32, rest: &[u8]) -> io::Result<Option<OwnedFd>> {
    let mut path = [0; 32];
    let digits = write_number(pid, &mut path);
    path[digits..digits + rest.len()].copy_from_slice(rest);
    let path = CStr::from_bytes_until_nul(&path).map_err(io::Error::other)?;
    match openat(proc, path, OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NOCTTY, Mode::empty()) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::ENOENT | Errno::ESRCH) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

fn write_number(number: u32, to: &mut [u8]) -> usize {
    let mut digits = 1;
    let mut rest = number;
    while rest >= 10 {
        rest /= 10;
        digits += 1;
    }
    rest = number;
    for slot in to[..digits].iter_mut().rev() {
        *slot = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    digits
}

fn parse_number(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |n, b| {
        b.is_ascii_digit().then(|| n.checked_mul(10)?.checked_add(u64::from(b - b'0'))).flatten()
    })
}

fn read_entries(dir: &OwnedFd, buffer: &mut [u8]) -> io::Result<usize> {
    // SAFETY: the kernel writes at most `buffer.len()` bytes into `buffer`, which is ours for the call.
    let len =
        unsafe { libc::syscall(libc::SYS_getdents64, dir.as_raw_fd(), buffer.as_mut_ptr(), buffer.len()) };
    usize::try_from(len).map_err(|_| io::Error::last_os_error())
}

/// One `linux_dirent64`: inode 8, offset 8, length 2, type 1, then the name up to its NUL.
fn split_entry(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let len = usize::from(u16::from_ne_bytes(bytes.get(16..18)?.try_into().ok()?));
    let name = bytes.get(19..len)?;
    let end = name.iter().position(|&b| b == 0)?;
    Some((&name[..end], &bytes[len..]))
}

/// Looks for one whole NUL-separated entry in a stream of pieces.
struct Finder<'a> {
    entry: &'a [u8],
    /// Bytes of the entry matched so far; `None` once this entry is known to be another.
    matched: Option<usize>,
}

impl<'a> Finder<'a> {
    fn new(entry: &'a [u8]) -> Self {
        Self { entry, matched: Some(0) }
    }

    fn feed(&mut self, piece: &[u8]) -> bool {
        for &byte in piece {
            if byte == 0 {
                if self.end() {
                    return true;
                }
                self.matched = Some(0);
            } else {
                self.matched = self.matched.filter(|&n| self.entry.get(n) == Some(&byte)).map(|n| n + 1);
            }
        }
        false
    }

    fn end(&self) -> bool {
        self.matched == Some(self.entry.len())
    }
}

#[cfg(test)]
mod tests;
