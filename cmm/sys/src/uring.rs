//! Block devices through `io_uring`: a write and the read behind it as one request, direct I/O, nobody waits.
//!
//! One ring for all devices of a process, made and used by one thread (`SINGLE_ISSUER`, `DEFER_TASKRUN`), with an eventfd for the
//! poller: that way no wake-up is lost. Each device has at most one request outstanding. Its buffers stay where
//! they are until the kernel is through with them, even if that is after the end of everything else: those of a request that hangs are
//! never freed.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::ptr::NonNull;

use io_uring::{IoUring, opcode, squeue, types};
use nix::sys::eventfd::{EfdFlags, EventFd};

/// Bytes at an address that direct I/O takes.
#[derive(Debug)]
pub struct Buffer {
    start: NonNull<u8>,
    len: usize,
}

impl Buffer {
    /// Zeros.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        let layout = Self::layout(len);
        // SAFETY: the layout is not empty, see `layout`.
        let start = unsafe { alloc_zeroed(layout) };
        Self { start: NonNull::new(start).unwrap_or_else(|| handle_alloc_error(layout)), len }
    }

    /// The bytes.
    #[must_use]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `start` is `len` bytes that this buffer owns, initialised when it was made.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }

    /// The bytes.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and borrowed from nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }

    fn layout(len: usize) -> Layout {
        Layout::from_size_align(len.max(1), ALIGN).expect("a buffer is no larger than memory")
    }
}

// SAFETY: the bytes are the buffer's alone, and whoever reads or writes them borrows it.
unsafe impl Send for Buffer {}

impl Drop for Buffer {
    fn drop(&mut self) {
        // SAFETY: allocated with this very layout, and not freed before.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.len)) }
    }
}

/// Opens a device or file for direct, durable I/O. Where the file system has no direct I/O (tmpfs of older kernels), through its cache.
///
/// # Errors
/// Those of `open(2)`.
pub fn open(path: &Path) -> io::Result<File> {
    let with = |flags| OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
    let durable = libc::O_DSYNC | libc::O_CLOEXEC;
    match with(durable | libc::O_DIRECT) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(durable),
        other => other,
    }
}

/// The same, to look only.
///
/// # Errors
/// Those of `open(2)`.
pub fn open_to_read(path: &Path) -> io::Result<File> {
    let with = |flags| OpenOptions::new().read(true).custom_flags(flags | libc::O_CLOEXEC).open(path);
    match with(libc::O_DIRECT | libc::O_NONBLOCK) {
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => with(libc::O_NONBLOCK),
        other => other,
    }
}

/// Devices, by number.
pub struct Devices {
    ring: IoUring,
    event: EventFd,
    devices: Vec<Device>,
}

struct Device {
    file: OwnedFd,
    write_at: u64,
    /// Emptied into the heap for good if a request hangs when everything ends.
    write: Buffer,
    read: Buffer,
    /// Parts of the request that are outstanding.
    pending: u8,
    error: Option<io::Error>,
}

impl Devices {
    /// A ring for at most `max` devices. To be used by the thread that makes it.
    ///
    /// # Errors
    /// `ENOSYS`, `EPERM`: this kernel has no `io_uring`, or the administrator has switched it off.
    pub fn new(max: u32) -> io::Result<Self> {
        let mut builder = IoUring::builder();
        builder.setup_single_issuer().setup_defer_taskrun();
        let ring = builder.build((2 * max).next_power_of_two())?;
        let event = EventFd::from_flags(EfdFlags::EFD_NONBLOCK | EfdFlags::EFD_CLOEXEC)?;
        ring.submitter().register_eventfd(event.as_fd().as_raw_fd())?;
        Ok(Self { ring, event, devices: Vec::new() })
    }

    /// Adds a device whose requests write at `write_at` and read from the beginning. Its number.
    pub fn add(&mut self, file: OwnedFd, write_at: u64, write_len: usize, read_len: usize) -> usize {
        let (write, read) = (Buffer::zeroed(write_len), Buffer::zeroed(read_len));
        self.devices.push(Device { file, write_at, write, read, pending: 0, error: None });
        self.devices.len() - 1
    }

    /// What the next request of a device writes; none while one is outstanding.
    pub fn to_write(&mut self, device: usize) -> Option<&mut [u8]> {
        self.devices.get_mut(device).filter(|d| d.pending == 0).map(|d| d.write.bytes_mut())
    }

    /// What the last request of a device has read; none while one is outstanding.
    #[must_use]
    pub fn was_read(&self, device: usize) -> Option<&[u8]> {
        self.devices.get(device).filter(|d| d.pending == 0).map(|d| d.read.bytes())
    }

    /// Starts a request: the write, if `writes`, and when that is done the read.
    ///
    /// # Errors
    /// `EBUSY`: one is outstanding. Those of `io_uring_enter(2)`; then nothing is outstanding.
    pub fn start(&mut self, device: usize, writes: bool) -> io::Result<()> {
        let tag = u64::try_from(device).unwrap_or(u64::MAX);
        let Some(d) = self.devices.get_mut(device).filter(|d| d.pending == 0) else {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        };
        let length = |b: &Buffer| u32::try_from(b.len).unwrap_or(u32::MAX);
        let fd = types::Fd(d.file.as_raw_fd());
        let read = opcode::Read::new(fd, d.read.start.as_ptr(), length(&d.read)).build().user_data(2 * tag);
        let write = opcode::Write::new(fd, d.write.start.as_ptr(), length(&d.write)).offset(d.write_at);
        let write = write.build().user_data(2 * tag + 1).flags(squeue::Flags::IO_LINK);
        let mut queue = self.ring.submission();
        if queue.capacity() - queue.len() < 2 {
            return Err(io::Error::from_raw_os_error(libc::EBUSY));
        }
        if writes {
            // SAFETY: the buffer lives until the completion has come, or for ever: see `Drop`. Nobody else has access to it while
            // `pending` is not 0.
            unsafe { queue.push(&write) }.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
        }
        // SAFETY: as above; there is room for both.
        unsafe { queue.push(&read) }.map_err(|_| io::Error::from_raw_os_error(libc::EBUSY))?;
        drop(queue);
        d.pending = if writes { 2 } else { 1 };
        d.error = None;
        match self.ring.submit() {
            Ok(_) => Ok(()),
            // The entries stay in the queue: the next call submits them.
            Err(error) if matches!(error.raw_os_error(), Some(libc::EINTR | libc::EAGAIN | libc::EBUSY)) => {
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Becomes readable when something has completed.
    #[must_use]
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }

    /// To be called when the descriptor is readable: lets the kernel finish its work for this thread.
    ///
    /// # Errors
    /// Those of `io_uring_enter(2)`.
    pub fn woken(&mut self) -> io::Result<()> {
        // First the eventfd, then the work, which may start the second half of a request: that may be over, and say so, before the
        // work is. The other order would lose it; this one may leave a wake-up for nothing.
        let _ = self.event.read();
        // SAFETY: without an argument, no memory is handed over.
        let entered = unsafe { self.ring.submitter().enter::<()>(0, 0, GETEVENTS, None) };
        match entered {
            Err(error) if error.raw_os_error() != Some(libc::EINTR) => Err(error),
            _ => Ok(()),
        }
    }

    /// A device whose request is over, and what came of it.
    pub fn done(&mut self) -> Option<(usize, io::Result<()>)> {
        loop {
            let entry = self.ring.completion().next()?;
            let (tag, result) = (entry.user_data(), entry.result());
            let device = usize::try_from(tag / 2).unwrap_or(usize::MAX);
            let Some(d) = self.devices.get_mut(device).filter(|d| d.pending > 0) else { continue };
            let wanted = if tag % 2 == 1 { d.write.len } else { d.read.len };
            d.pending -= 1;
            if usize::try_from(result) != Ok(wanted) && d.error.is_none() {
                // Less than was asked for: the device is smaller than its header says.
                let errno = if result < 0 { -result } else { libc::EIO };
                d.error = Some(io::Error::from_raw_os_error(errno));
            }
            if d.pending == 0 {
                let error = d.error.take();
                return Some((device, error.map_or(Ok(()), Err)));
            }
        }
    }
}

impl Drop for Devices {
    fn drop(&mut self) {
        for device in self.devices.iter_mut().filter(|d| d.pending > 0) {
            // The kernel may still read and write there.
            std::mem::forget(std::mem::replace(&mut device.write, Buffer::zeroed(0)));
            std::mem::forget(std::mem::replace(&mut device.read, Buffer::zeroed(0)));
        }
    }
}

/// Covers sectors of 4096 bytes.
const ALIGN: usize = 4_096;
/// `IORING_ENTER_GETEVENTS`.
const GETEVENTS: u32 = 1;

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::unix::fs::FileExt as _;

    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

    use super::*;

    fn wait(devices: &mut Devices) -> (usize, io::Result<()>) {
        loop {
            if let Some(done) = devices.done() {
                return done;
            }
            let mut fds = [PollFd::new(devices.event(), PollFlags::POLLIN)];
            assert_eq!(
                poll(&mut fds, PollTimeout::from(20_000_u16)),
                Ok(1),
                "a completion makes it readable"
            );
            devices.woken().unwrap();
        }
    }

    fn image(name: &str, len: usize) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("holdfast-uring-{name}-{}", std::process::id()));
        File::create(&path).unwrap().write_all(&vec![7; len]).unwrap();
        path
    }

    #[test]
    fn what_was_written_is_in_the_read_behind_it() {
        let path = image("rw", 16_384);
        let file = open(&path).unwrap();
        let mut devices = Devices::new(2).unwrap();
        let device = devices.add(file.into(), 4_096, 4_096, 16_384);
        devices.to_write(device).unwrap().fill(9);
        devices.start(device, true).unwrap();
        assert!(
            devices.to_write(device).is_none() && devices.was_read(device).is_none(),
            "they are the kernel's"
        );
        assert_eq!(devices.start(device, false).unwrap_err().raw_os_error(), Some(libc::EBUSY));
        let (which, result) = wait(&mut devices);
        assert_eq!((which, result.is_ok()), (device, true));
        let read = devices.was_read(device).unwrap();
        assert!(read[..4_096].iter().all(|b| *b == 7) && read[4_096..8_192].iter().all(|b| *b == 9));
        for round in 0..100_u8 {
            devices.to_write(device).unwrap().fill(round);
            devices.start(device, true).unwrap();
            assert!(wait(&mut devices).1.is_ok());
            assert_eq!(devices.was_read(device).unwrap()[8_191], round);
        }
        std::fs::remove_file(path).unwrap();
    }

    #[test]
    fn a_device_that_is_too_small_or_refuses_is_an_error_and_works_again() {
        let path = image("small", 8_192);
        let mut devices = Devices::new(2).unwrap();
        let device = devices.add(open(&path).unwrap().into(), 4_096, 4_096, 16_384);
        devices.start(device, true).unwrap();
        assert_eq!(wait(&mut devices).1.unwrap_err().raw_os_error(), Some(libc::EIO), "a short read");
        File::options().write(true).open(&path).unwrap().write_all_at(&[1; 4_096], 12_288).unwrap();
        devices.start(device, false).unwrap();
        assert!(wait(&mut devices).1.is_ok());
        // Read only: the write fails, and the read behind it is not done.
        let readonly = File::open(&path).unwrap();
        let other = devices.add(readonly.into(), 0, 4_096, 4_096);
        devices.start(other, true).unwrap();
        let (which, result) = wait(&mut devices);
        assert_eq!((which, result.unwrap_err().raw_os_error()), (other, Some(libc::EBADF)));
        std::fs::remove_file(path).unwrap();
    }
}
