//! Two numbers shared between two processes: each side stamps its own progress, the other looks.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU64, Ordering};

use nix::fcntl::{FcntlArg, SealFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use nix::unistd::ftruncate;

/// A page of memory that another process may map too.
#[derive(Debug)]
pub struct Stamps {
    page: NonNull<AtomicU64>,
    fd: OwnedFd,
}

/// Which of the two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The watched daemon's.
    Daemon,
    /// The guardian's.
    Guardian,
}

const SIZE: NonZeroUsize = NonZeroUsize::new(4096).unwrap();
const FIXED_SIZE: SealFlag =
    SealFlag::F_SEAL_SHRINK.union(SealFlag::F_SEAL_GROW).union(SealFlag::F_SEAL_SEAL);

impl Stamps {
    /// A fresh page, both numbers zero. Its size is sealed, so that no holder can make the other one fault.
    ///
    /// # Errors
    /// What `memfd_create`, `ftruncate` or `mmap` say.
    pub fn create() -> io::Result<Self> {
        let fd = memfd_create(c"holdfast-stamps", MFdFlags::MFD_CLOEXEC | MFdFlags::MFD_ALLOW_SEALING)?;
        ftruncate(&fd, SIZE.get() as libc::off_t)?;
        fcntl(&fd, FcntlArg::F_ADD_SEALS(FIXED_SIZE))?;
        Self::map(fd)
    }

    /// The page behind a descriptor that came from the other process.
    ///
    /// # Errors
    /// `InvalidData` where it is not such a page; what `mmap` says.
    pub fn from_fd(fd: OwnedFd) -> io::Result<Self> {
        let seals = fcntl(&fd, FcntlArg::F_GET_SEALS).unwrap_or(0);
        let size = nix::sys::stat::fstat(&fd)?.st_size;
        if !SealFlag::from_bits_truncate(seals).contains(FIXED_SIZE) || size != SIZE.get() as libc::off_t {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "not a page of progress stamps"));
        }
        Self::map(fd)
    }

    fn map(fd: OwnedFd) -> io::Result<Self> {
        let prot = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address the kernel chooses; the file is SIZE long and sealed against shrinking, so
        // no access to it can fault.
        let page = unsafe { mmap(None, SIZE, prot, MapFlags::MAP_SHARED, &fd, 0) }?;
        Ok(Self { page: page.cast(), fd })
    }

    /// Sets one side's number.
    pub fn set(&self, side: Side, value: u64) {
        self.slot(side).store(value, Ordering::Release);
    }

    /// One side's number.
    #[must_use]
    pub fn get(&self, side: Side) -> u64 {
        self.slot(side).load(Ordering::Acquire)
    }

    fn slot(&self, side: Side) -> &AtomicU64 {
        // A cache line apart, so that the two writers do not slow each other down.
        let index = match side {
            Side::Daemon => 0,
            Side::Guardian => 8,
        };
        // SAFETY: the page is mapped for as long as self lives, page-aligned, and 4096 bytes long, so both slots are
        // inside and aligned; every process touches them by atomic operations only.
        unsafe { self.page.add(index).as_ref() }
    }
}

impl AsFd for Stamps {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl Drop for Stamps {
    fn drop(&mut self) {
        // SAFETY: this mapping was made by `map` with this size, and no reference into it outlives self.
        let _ = unsafe { munmap(self.page.cast(), SIZE.get()) };
    }
}

// SAFETY: all access goes through atomics, and the mapping is not bound to a thread.
unsafe impl Send for Stamps {}
// SAFETY: as above.
unsafe impl Sync for Stamps {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_mappings_show_the_same_numbers() {
        let a = Stamps::create().unwrap();
        let b = Stamps::from_fd(a.as_fd().try_clone_to_owned().unwrap()).unwrap();
        a.set(Side::Daemon, 7);
        b.set(Side::Guardian, 9);
        assert_eq!((b.get(Side::Daemon), a.get(Side::Guardian)), (7, 9));
        drop(a);
        assert_eq!(b.get(Side::Daemon), 7);
    }

    #[test]
    fn another_file_is_refused() {
        let fd = memfd_create(c"other", MFdFlags::MFD_CLOEXEC).unwrap();
        assert_eq!(Stamps::from_fd(fd).unwrap_err().kind(), io::ErrorKind::InvalidData);
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Stamps::from_fd(file.into()).is_err());
    }
}
