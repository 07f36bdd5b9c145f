//! Memory shared with other processes, as the local IPC uses it: mapped files, atomics inside them, and glibc's
//! process-shared semaphore.
//!
//! The other side of a mapping is not trusted. It may change any byte at any time, so callers copy out before they
//! validate and never keep a reference to plain bytes. It may also truncate a file that it owns; an access beyond the
//! new end raises SIGBUS, which would end the process. After [`guard_against_sigbus`] such an access finds zeroes
//! instead, and [`SharedMap::faulted`] says so from then on.

use std::fs::{File, OpenOptions};
use std::io;
use std::num::NonZeroUsize;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::ptr::NonNull;
use std::sync::Once;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

/// A file mapped for reading and writing, shared with whoever maps it too.
#[derive(Debug)]
pub struct SharedMap {
    base: NonNull<u8>,
    len: usize,
    guard: Option<&'static Guarded>,
}

// SAFETY: the mapping belongs to the value and lives until drop; every access goes through atomics or raw copies.
unsafe impl Send for SharedMap {}

impl SharedMap {
    /// Makes a file that must not exist yet, mode 0600, with `len` zero bytes that are really there (a full tmpfs is
    /// an error here, not a SIGBUS later), and maps it. The file comes back too, to be given to its owner.
    ///
    /// # Errors
    /// Those of open, fallocate and mmap.
    pub fn create(path: &Path, len: usize) -> io::Result<(Self, File)> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .custom_flags(libc::O_NOFOLLOW | libc::O_CLOEXEC)
            .open(path)?;
        let size = libc::off_t::try_from(len).map_err(|_| io::ErrorKind::InvalidInput)?;
        while let Err(e) = nix::fcntl::posix_fallocate(&file, 0, size) {
            if e != Errno::EINTR {
                let _ = std::fs::remove_file(path);
                return Err(e.into());
            }
        }
        let map = Self::map(&file, len).inspect_err(|_| drop(std::fs::remove_file(path)))?;
        Ok((map, file))
    }

    /// Maps the first `len` bytes of an existing file. Never follows a symbolic link, never waits for a FIFO.
    ///
    /// # Errors
    /// Those of open and mmap; `InvalidData` for what is not a regular file of at least `len` bytes.
    pub fn open(path: &Path, len: usize) -> io::Result<Self> {
        Self::map(&open(path)?, len)
    }

    /// As [`SharedMap::open`], but only a file that belongs to `owner`.
    ///
    /// # Errors
    /// As there; `PermissionDenied` for a file of somebody else.
    pub fn open_owned(path: &Path, len: usize, owner: u32) -> io::Result<Self> {
        let file = open(path)?;
        if file.metadata()?.uid() != owner {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        Self::map(&file, len)
    }

    /// Maps the first `len` bytes of an open file.
    ///
    /// # Errors
    /// Those of mmap; `InvalidData` for what is not a regular file of at least `len` bytes; `OutOfMemory` when more
    /// mappings are guarded than there is room for.
    pub fn map(file: &File, len: usize) -> io::Result<Self> {
        let metadata = file.metadata()?;
        if !metadata.is_file() || metadata.len() < len as u64 {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not a regular file of the announced size",
            ));
        }
        let length = NonZeroUsize::new(len).ok_or(io::ErrorKind::InvalidInput)?;
        // SAFETY: a new mapping at an address of the kernel's choice; nothing else refers to it.
        let base = unsafe {
            mmap(
                None,
                length,
                ProtFlags::PROT_READ | ProtFlags::PROT_WRITE,
                MapFlags::MAP_SHARED,
                file.as_fd(),
                0,
            )
        }?;
        let mut map = Self { base: base.cast(), len, guard: None };
        if GUARD.is_completed() {
            map.guard =
                Some(Guarded::claim(map.base.as_ptr() as usize, len).ok_or(io::ErrorKind::OutOfMemory)?);
        }
        Ok(map)
    }

    /// Length of the mapping in bytes.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Never true: an empty mapping cannot be made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether an access found the file shorter than it was mapped. What was read since is void.
    #[must_use]
    pub fn faulted(&self) -> bool {
        self.guard.is_some_and(|guard| guard.faulted.load(Ordering::Acquire))
    }

    /// The 32-bit word at byte `offset`.
    ///
    /// # Panics
    /// If `offset` is not aligned or not inside: offsets are the caller's own arithmetic.
    #[must_use]
    pub fn atomic_u32(&self, offset: usize) -> &AtomicU32 {
        assert!(offset.is_multiple_of(4) && offset + 4 <= self.len, "offset {offset} of {}", self.len);
        // SAFETY: inside the mapping, aligned (mappings start at a page), and alive as long as the borrow of self.
        // Other processes only ever touch the word atomically or tear nothing wider than it.
        unsafe { AtomicU32::from_ptr(self.base.as_ptr().add(offset).cast()) }
    }

    /// The semaphore whose 16 used bytes start at byte `offset`.
    ///
    /// # Panics
    /// If `offset` is not aligned to 8 or not inside.
    #[must_use]
    pub fn semaphore(&self, offset: usize) -> Semaphore<'_> {
        assert!(offset.is_multiple_of(8) && offset + 16 <= self.len, "offset {offset} of {}", self.len);
        // SAFETY: as in `atomic_u32`, for a 64-bit word.
        let state = unsafe { AtomicU64::from_ptr(self.base.as_ptr().add(offset).cast()) };
        Semaphore { state, shared: self.atomic_u32(offset + 8) }
    }

    /// Copies bytes out, starting at `offset`.
    ///
    /// # Panics
    /// If the range is not inside the mapping.
    pub fn read(&self, offset: usize, out: &mut [u8]) {
        assert!(
            offset <= self.len && out.len() <= self.len - offset,
            "{offset}+{} of {}",
            out.len(),
            self.len
        );
        // SAFETY: both ranges are valid for this length and cannot overlap (`out` is a Rust reference to other memory).
        // Another process may change the source meanwhile; the copy is then any mix of bytes, which callers validate.
        unsafe { std::ptr::copy_nonoverlapping(self.base.as_ptr().add(offset), out.as_mut_ptr(), out.len()) }
    }

    /// Copies bytes in, starting at `offset`.
    ///
    /// # Panics
    /// If the range is not inside the mapping.
    pub fn write(&self, offset: usize, bytes: &[u8]) {
        assert!(
            offset <= self.len && bytes.len() <= self.len - offset,
            "{offset}+{} of {}",
            bytes.len(),
            self.len
        );
        // SAFETY: as in `read`, with the directions exchanged.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), self.base.as_ptr().add(offset), bytes.len()) }
    }
}

impl Drop for SharedMap {
    fn drop(&mut self) {
        if let Some(guard) = self.guard {
            guard.release();
        }
        // SAFETY: the whole mapping as made in `map`; no borrow of it outlives self.
        let unmapped = unsafe { munmap(self.base.cast(), self.len) };
        debug_assert!(unmapped.is_ok());
    }
}

/// glibc's process-shared `sem_t` for 64-bit machines: the low half of the first word is the value, the high half the
/// number of waiters; the word behind says "shared".
#[derive(Debug)]
pub struct Semaphore<'a> {
    state: &'a AtomicU64,
    shared: &'a AtomicU32,
}

impl Semaphore<'_> {
    /// `sem_init(…, 1, value)`.
    pub fn init(&self, value: u32) {
        self.state.store(u64::from(value), Ordering::Relaxed);
        self.shared.store(FUTEX_IS_SHARED, Ordering::Release);
    }

    /// How many may pass now.
    #[must_use]
    pub fn value(&self) -> u32 {
        low(self.state.load(Ordering::Acquire))
    }

    /// Lets one more pass, and wakes a waiter if there is one.
    pub fn post(&self) {
        if self.state.fetch_add(1, Ordering::AcqRel) >> 32 != 0 {
            // An error can only mean that the page is gone, and then nobody waits on it.
            let _ = futex(self.value_word(), libc::FUTEX_WAKE, 1, None);
        }
    }

    /// Passes if that is possible at once.
    #[must_use]
    pub fn try_wait(&self) -> bool {
        self.state
            .try_update(Ordering::AcqRel, Ordering::Acquire, |s| if low(s) > 0 { Some(s - 1) } else { None })
            .is_ok()
    }

    /// Passes, or returns false when `limit` is over.
    ///
    /// # Errors
    /// Those of futex other than a time-out, a change of the value or an interruption.
    pub fn wait(&self, limit: Duration) -> io::Result<bool> {
        if self.try_wait() {
            return Ok(true);
        }
        let end = Instant::now() + limit;
        self.state.fetch_add(ONE_WAITER, Ordering::AcqRel);
        let outcome = loop {
            if self.try_wait() {
                break Ok(true);
            }
            let rest = end.saturating_duration_since(Instant::now());
            if rest.is_zero() {
                break Ok(false);
            }
            match futex(self.value_word(), libc::FUTEX_WAIT, 0, Some(rest)) {
                Ok(()) | Err(Errno::EAGAIN | Errno::EINTR | Errno::ETIMEDOUT) => {}
                Err(e) => break Err(e.into()),
            }
        };
        self.state.fetch_sub(ONE_WAITER, Ordering::AcqRel);
        outcome
    }

    fn value_word(&self) -> *const u32 {
        std::ptr::from_ref(self.state).cast()
    }
}

/// Makes truncated files harmless to mappings made after this: installs the SIGBUS handler, once for the
/// process. A SIGBUS anywhere else still ends it.
///
/// # Errors
/// Those of sigaction.
pub fn guard_against_sigbus() -> io::Result<()> {
    let mut outcome = Ok(());
    GUARD.call_once(|| {
        let page = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE).ok().flatten().unwrap_or(4_096);
        PAGE_SIZE.store(usize::try_from(page).unwrap_or(4_096), Ordering::Relaxed);
        let action = nix::sys::signal::SigAction::new(
            nix::sys::signal::SigHandler::SigAction(on_sigbus),
            nix::sys::signal::SaFlags::SA_ONSTACK,
            nix::sys::signal::SigSet::empty(),
        );
        // SAFETY: the handler only touches atomics and makes async-signal-safe system calls.
        outcome = unsafe { nix::sys::signal::sigaction(nix::sys::signal::Signal::SIGBUS, &action) }.map(drop);
    });
    outcome.map_err(io::Error::from)
}

/// One guarded mapping. `base` 0: free; 1: being set up; else the address.
#[derive(Debug)]
struct Guarded {
    base: AtomicUsize,
    len: AtomicUsize,
    faulted: AtomicBool,
}

impl Guarded {
    fn claim(base: usize, len: usize) -> Option<&'static Self> {
        let slot = SLOTS
            .iter()
            .find(|slot| slot.base.compare_exchange(0, 1, Ordering::Acquire, Ordering::Relaxed).is_ok())?;
        slot.len.store(len, Ordering::Relaxed);
        slot.faulted.store(false, Ordering::Relaxed);
        slot.base.store(base, Ordering::Release);
        Some(slot)
    }

    fn release(&self) {
        self.base.store(0, Ordering::Release);
    }
}

extern "C" fn on_sigbus(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: the kernel hands a valid siginfo to an SA_SIGINFO handler, and for SIGBUS it holds an address.
    let address = unsafe { (*info).si_addr() } as usize;
    for slot in &SLOTS {
        let base = slot.base.load(Ordering::Acquire);
        if base > 1 && address >= base && address - base < slot.len.load(Ordering::Relaxed) {
            slot.faulted.store(true, Ordering::Release);
            let size = PAGE_SIZE.load(Ordering::Relaxed);
            let page = (address & !(size - 1)) as *mut libc::c_void;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED;
            // SAFETY: replaces one page of a mapping that this module owns, by zeroes; mmap is a plain system call.
            let got = unsafe { libc::mmap(page, size, libc::PROT_READ | libc::PROT_WRITE, flags, -1, 0) };
            if got != libc::MAP_FAILED {
                return;
            }
        }
    }
    // Not ours: back to the default action, and let the access fault again.
    // SAFETY: signal is async-signal-safe and SIG_DFL a valid disposition.
    unsafe { libc::signal(libc::SIGBUS, libc::SIG_DFL) };
}

fn open(path: &Path) -> io::Result<File> {
    let flags = libc::O_NOFOLLOW | libc::O_CLOEXEC | libc::O_NONBLOCK;
    OpenOptions::new().read(true).write(true).custom_flags(flags).open(path)
}

/// The shared (not private) futex call: the word lies in memory of several processes.
fn futex(word: *const u32, operation: libc::c_int, value: u32, limit: Option<Duration>) -> Result<(), Errno> {
    let limit = limit.map(|limit| libc::timespec {
        tv_sec: libc::time_t::try_from(limit.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(limit.subsec_nanos().cast_signed()),
    });
    let timeout = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the word is inside a live mapping or the kernel answers EFAULT; the timeout outlives the call.
    let code = unsafe { libc::syscall(libc::SYS_futex, word, operation, value, timeout) };
    Errno::result(code).map(drop)
}

fn low(state: u64) -> u32 {
    (state & u64::from(u32::MAX)) as u32
}

/// Six mappings a client connection; more than the connections a daemon admits.
const SLOT_COUNT: usize = 4_096;
static SLOTS: [Guarded; SLOT_COUNT] = [const {
    Guarded { base: AtomicUsize::new(0), len: AtomicUsize::new(0), faulted: AtomicBool::new(false) }
}; SLOT_COUNT];
static GUARD: Once = Once::new();
static PAGE_SIZE: AtomicUsize = AtomicUsize::new(4_096);
const ONE_WAITER: u64 = 1 << 32;
/// What glibc stores for "shared": the complement of its private-futex flag.
const FUTEX_IS_SHARED: u32 = 128;
const _: () = assert!(cfg!(target_endian = "little"), "the value is the low half, at the lower address");

#[cfg(test)]
mod tests {
    use super::*;

    fn scratch(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("holdfast-shm-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn a_truncated_file_reads_as_zeroes_and_is_reported() {
        guard_against_sigbus().expect("handler");
        let path = scratch("truncated");
        let (map, file) = SharedMap::create(&path, 64 * 1024).expect("map");
        std::fs::remove_file(&path).expect("unlink");
        map.write(40_000, &[7; 16]);
        let mut out = [1; 16];
        map.read(40_000, &mut out);
        assert_eq!(out, [7; 16]);
        assert!(!map.faulted());
        file.set_len(4_096).expect("truncate");
        map.read(40_000, &mut out);
        assert_eq!(out, [0; 16]);
        assert!(map.faulted());
        map.write(60_000, &[1; 16]);
        map.atomic_u32(20_000).store(1, Ordering::Release);
    }

    #[test]
    fn semaphore_has_the_layout_of_glibc() {
        let path = scratch("glibc");
        let (map, _file) = SharedMap::create(&path, 4_096).expect("map");
        std::fs::remove_file(&path).expect("unlink");
        let sem = map.base.as_ptr().cast::<libc::sem_t>();
        // SAFETY: aligned and inside the mapping, which outlives every use.
        assert_eq!(unsafe { libc::sem_init(sem, 1, 2) }, 0);
        let ours = map.semaphore(0);
        assert_eq!(ours.value(), 2);
        assert!(ours.try_wait() && ours.try_wait() && !ours.try_wait());
        ours.init(0);
        ours.post();
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_trywait(sem) }, 0);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_trywait(sem) }, -1);
        // SAFETY: as above.
        assert_eq!(unsafe { libc::sem_post(sem) }, 0);
        assert!(ours.wait(Duration::from_secs(10)).expect("wait"));
        assert!(!ours.wait(Duration::from_millis(1)).expect("wait"));
        assert_eq!(ours.state.load(Ordering::SeqCst), 0, "no waiter is left behind");
    }

    #[test]
    fn a_post_wakes_a_waiter_in_another_thread() {
        let path = scratch("wake");
        let (map, _file) = SharedMap::create(&path, 4_096).expect("map");
        let other = SharedMap::open(&path, 4_096).expect("second mapping");
        std::fs::remove_file(&path).expect("unlink");
        map.semaphore(64).init(0);
        let waiter =
            std::thread::spawn(move || other.semaphore(64).wait(Duration::from_secs(30)).expect("wait"));
        while map.semaphore(64).state.load(Ordering::Acquire) >> 32 == 0 {
            std::thread::yield_now();
        }
        map.semaphore(64).post();
        assert!(waiter.join().expect("thread"));
    }

    #[test]
    fn what_is_too_short_or_not_a_file_is_refused() {
        let path = scratch("short");
        std::fs::write(&path, [0; 100]).expect("file");
        assert_eq!(SharedMap::open(&path, 4_096).expect_err("short").kind(), io::ErrorKind::InvalidData);
        std::fs::remove_file(&path).expect("unlink");
        assert!(SharedMap::open(&std::env::temp_dir(), 4_096).is_err());
    }
}
