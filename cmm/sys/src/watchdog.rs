//! The ioctls of `linux/watchdog.h`.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a watchdog device says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Support {
    /// `WDIOF_*` flags.
    pub options: u32,
    /// Firmware version.
    pub firmware_version: u32,
    /// Its name, e.g. `Software Watchdog`.
    pub identity: String,
}

/// The time-out can be set.
pub const CAN_SET_TIMEOUT: u32 = 0x0080;
/// Closing it after a `V` stops it.
pub const HAS_MAGIC_CLOSE: u32 = 0x0100;

#[repr(C)]
struct WatchdogInfo {
    options: u32,
    firmware_version: u32,
    identity: [u8; 32],
}

const _: () = assert!(size_of::<WatchdogInfo>() == 40);
const _: () = assert!(nix::request_code_read!(b'W', 0, 40) == 0x8028_5700);
const _: () = assert!(nix::request_code_read!(b'W', 5, 4) == 0x8004_5705);
const _: () = assert!(nix::request_code_readwrite!(b'W', 6, 4) == 0xC004_5706);
const _: () = assert!(nix::request_code_read!(b'W', 7, 4) == 0x8004_5707);
const _: () = assert!(nix::request_code_readwrite!(b'W', 8, 4) == 0xC004_5708);
const _: () = assert!(nix::request_code_read!(b'W', 9, 4) == 0x8004_5709);

mod request {
    use super::WatchdogInfo;

    nix::ioctl_read!(getsupport, b'W', 0, WatchdogInfo);
    nix::ioctl_readwrite!(settimeout, b'W', 6, libc::c_int);
    nix::ioctl_read!(gettimeout, b'W', 7, libc::c_int);
    nix::ioctl_readwrite!(setpretimeout, b'W', 8, libc::c_int);
    nix::ioctl_read!(getpretimeout, b'W', 9, libc::c_int);
}

/// Name and abilities.
///
/// # Errors
/// `ENOTTY` where the descriptor is no watchdog.
pub fn support(fd: BorrowedFd<'_>) -> io::Result<Support> {
    let mut info = WatchdogInfo { options: 0, firmware_version: 0, identity: [0; 32] };
    // SAFETY: the request reads exactly a `watchdog_info` into `info`, whose size is checked above.
    unsafe { request::getsupport(fd.as_raw_fd(), &raw mut info) }?;
    let identity = CStr::from_bytes_until_nul(&info.identity).map_or_else(
        |_| String::from_utf8_lossy(&info.identity).into_owned(),
        |name| name.to_string_lossy().into_owned(),
    );
    Ok(Support { options: info.options, firmware_version: info.firmware_version, identity })
}

/// Asks for a time-out in seconds; gives the one the device took.
///
/// # Errors
/// `EINVAL` where the device cannot do it, `EOPNOTSUPP`, `ENOTTY`.
pub fn set_timeout(fd: BorrowedFd<'_>, seconds: u32) -> io::Result<u32> {
    let mut value = libc::c_int::try_from(seconds).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the request reads and writes one int, which `value` is.
    unsafe { request::settimeout(fd.as_raw_fd(), &raw mut value) }?;
    unsigned(value)
}

/// The time-out in force, in seconds.
///
/// # Errors
/// `EOPNOTSUPP`, `ENOTTY`.
pub fn timeout(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the request writes one int, which `value` is.
    unsafe { request::gettimeout(fd.as_raw_fd(), &raw mut value) }?;
    unsigned(value)
}

/// Asks for notice that many seconds before the device fires (0: none); gives what it took. Asking is the way to know: where the
/// kernel's own timer gives the notice, `WDIOF_PRETIMEOUT` is not among the options.
///
/// # Errors
/// `EINVAL`, `EOPNOTSUPP`, `ENOTTY`.
pub fn set_pretimeout(fd: BorrowedFd<'_>, seconds: u32) -> io::Result<u32> {
    let mut value = libc::c_int::try_from(seconds).map_err(|_| io::Error::from_raw_os_error(libc::EINVAL))?;
    // SAFETY: the request reads and writes one int, which `value` is.
    unsafe { request::setpretimeout(fd.as_raw_fd(), &raw mut value) }?;
    unsigned(value)
}

/// The notice in force, in seconds.
///
/// # Errors
/// `EOPNOTSUPP`, `ENOTTY`.
pub fn pretimeout(fd: BorrowedFd<'_>) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    // SAFETY: the request writes one int, which `value` is.
    unsafe { request::getpretimeout(fd.as_raw_fd(), &raw mut value) }?;
    unsigned(value)
}

fn unsigned(value: libc::c_int) -> io::Result<u32> {
    u32::try_from(value).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "negative time-out"))
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    /// No test opens a watchdog device: opening one arms it.
    #[test]
    fn what_is_no_watchdog_says_so() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let not_a_watchdog = Some(libc::ENOTTY);
        assert_eq!(support(file.as_fd()).unwrap_err().raw_os_error(), not_a_watchdog);
        assert_eq!(set_timeout(file.as_fd(), 10).unwrap_err().raw_os_error(), not_a_watchdog);
        assert_eq!(timeout(file.as_fd()).unwrap_err().raw_os_error(), not_a_watchdog);
        assert_eq!(set_pretimeout(file.as_fd(), 1).unwrap_err().raw_os_error(), not_a_watchdog);
        assert_eq!(pretimeout(file.as_fd()).unwrap_err().raw_os_error(), not_a_watchdog);
        assert_eq!(set_timeout(file.as_fd(), u32::MAX).unwrap_err().raw_os_error(), Some(libc::EINVAL));
    }
}
