//! The kernel log: a line that survives everything but the kernel, and reaches the console and pstore.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Where the kernel log is written.
pub const DEVICE: &str = "/dev/kmsg";

/// Prefix of a record at emergency level: shown on every console whatever its log level.
pub const EMERGENCY: &str = "<0>";

/// Opens the kernel log for writing. One `write` is one record; a record is cut beyond about 1000 bytes.
///
/// # Errors
/// `EACCES`, `EPERM` where that is not permitted (it takes `CAP_SYSLOG` or a writable device), `ENOENT` in a container.
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}
