//! Questions to the machine that the configuration has: its name, its users and groups, its addresses.

use std::fs::File;
use std::io;
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use nix::unistd::{Group, User};

/// `uname -n`.
///
/// # Errors
/// What `gethostname` says.
pub fn hostname() -> io::Result<String> {
    Ok(nix::unistd::gethostname()?.to_string_lossy().into_owned())
}

/// Which boot of the machine this is: the kernel's `boot_id`.
///
/// # Errors
/// Without /proc.
pub fn boot_id() -> io::Result<[u8; 16]> {
    let path = "/proc/sys/kernel/random/boot_id";
    let failed = |e: io::Error| io::Error::new(e.kind(), format!("cannot read {path}: {e}; mount /proc"));
    let text = std::fs::read_to_string(path).map_err(failed)?;
    let digits: String = text.chars().filter(char::is_ascii_hexdigit).collect();
    u128::from_str_radix(&digits, 16).map(u128::to_be_bytes).map_err(|e| failed(io::Error::other(e)))
}

/// The name of a process, cut to 15 bytes as the kernel has it. No disk and no name service: may be asked anywhere.
///
/// # Errors
/// What reading /proc says; `NotFound` where there is no such process.
pub fn process_name(pid: i32) -> io::Result<String> {
    let name = std::fs::read(format!("/proc/{pid}/comm"))?;
    Ok(String::from_utf8_lossy(&name).trim_end().to_owned())
}

/// Number of a user given by number or name. Asks the name service: only before the realtime thread starts.
#[must_use]
pub fn user_id(user: &str) -> Option<u32> {
    user.parse().ok().or_else(|| User::from_name(user).ok().flatten().map(|u| u.uid.as_raw()))
}

/// Number of a group given by number or name. Asks the name service: only before the realtime thread starts.
#[must_use]
pub fn group_id(group: &str) -> Option<u32> {
    group.parse().ok().or_else(|| Group::from_name(group).ok().flatten().map(|g| g.gid.as_raw()))
}

/// Whether a socket can be bound to this address here.
#[must_use]
pub fn is_local(addr: IpAddr) -> bool {
    UdpSocket::bind((addr, 0)).is_ok()
}

/// Opens a file for reading without waiting for anything: also where a pipe or a device is found in its place.
///
/// # Errors
/// What `open` says.
pub fn open_without_waiting(path: &Path) -> io::Result<File> {
    File::options().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path)
}

/// Numeric id of the user that runs this.
#[must_use]
pub fn effective_uid() -> u32 {
    nix::unistd::geteuid().as_raw()
}
