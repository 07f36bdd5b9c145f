//! `SG_IO`: a SCSI command to a block or generic device, and what came back.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// What a device answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Done {
    /// The SCSI status.
    pub status: u8,
    /// Bytes of sense data.
    pub sense: usize,
    /// Bytes that were read.
    pub read: usize,
}

/// What goes along with a command.
pub enum Data<'a> {
    /// Nothing.
    None,
    /// To the device.
    Out(&'a [u8]),
    /// From the device.
    In(&'a mut [u8]),
}

/// As in `scsi/sg.h`.
#[repr(C)]
struct Header {
    interface_id: libc::c_int,
    direction: libc::c_int,
    cmd_len: u8,
    sense_max: u8,
    iovec_count: u16,
    data_len: u32,
    data: *mut libc::c_void,
    cmd: *const u8,
    sense: *mut u8,
    timeout_ms: u32,
    flags: u32,
    pack_id: libc::c_int,
    user: *mut libc::c_void,
    status: u8,
    masked_status: u8,
    msg_status: u8,
    sense_len: u8,
    host_status: u16,
    driver_status: u16,
    residual: libc::c_int,
    duration_ms: u32,
    info: u32,
}

#[cfg(target_pointer_width = "64")]
const _: () = assert!(size_of::<Header>() == 88);

const SG_IO: libc::Ioctl = 0x2285;
const TO_DEVICE: libc::c_int = -2;
const FROM_DEVICE: libc::c_int = -3;
const NO_DATA: libc::c_int = -1;
/// The driver has sense data for us.
const DRIVER_SENSE: u16 = 0x08;

/// Sends a command and waits for its end, for `timeout_ms` and the kernel's attempts to abort it then. `sense` takes up to 255 bytes.
///
/// # Errors
/// What the kernel says; `ENOTTY` where the device takes no SCSI commands; `EIO` where the command did not reach the device.
pub fn send(
    fd: BorrowedFd<'_>,
    cmd: &[u8],
    data: Data<'_>,
    sense: &mut [u8],
    timeout_ms: u32,
) -> io::Result<Done> {
    let too_long = |_| io::Error::from_raw_os_error(libc::EINVAL);
    let (direction, pointer, length) = match data {
        Data::None => (NO_DATA, std::ptr::null_mut(), 0),
        // The kernel only reads it.
        Data::Out(bytes) => (TO_DEVICE, bytes.as_ptr().cast_mut().cast(), bytes.len()),
        Data::In(bytes) => (FROM_DEVICE, bytes.as_mut_ptr().cast(), bytes.len()),
    };
    let mut header = Header {
        interface_id: libc::c_int::from(b'S'),
        direction,
        cmd_len: u8::try_from(cmd.len()).map_err(too_long)?,
        sense_max: u8::try_from(sense.len()).unwrap_or(u8::MAX),
        iovec_count: 0,
        data_len: u32::try_from(length).map_err(too_long)?,
        data: pointer,
        cmd: cmd.as_ptr(),
        sense: sense.as_mut_ptr(),
        timeout_ms,
        flags: 0,
        pack_id: 0,
        user: std::ptr::null_mut(),
        status: 0,
        masked_status: 0,
        msg_status: 0,
        sense_len: 0,
        host_status: 0,
        driver_status: 0,
        residual: 0,
        duration_ms: 0,
        info: 0,
    };
    // SAFETY: `header` is what the request reads and writes; its pointers are to `cmd`, `sense` and the data, with their lengths, all
    // of which are borrowed until the call returns.
    let result = unsafe { libc::ioctl(fd.as_raw_fd(), SG_IO, &raw mut header) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    if header.host_status != 0 || header.driver_status & !DRIVER_SENSE != 0 {
        return Err(io::Error::from_raw_os_error(libc::EIO));
    }
    let residual = usize::try_from(header.residual).unwrap_or(0);
    Ok(Done {
        status: header.status,
        sense: usize::from(header.sense_len).min(sense.len()),
        read: length.saturating_sub(residual),
    })
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn what_is_no_scsi_device_says_so() {
        let file = std::fs::File::open("/dev/null").unwrap();
        let error = send(file.as_fd(), &[0; 6], Data::None, &mut [0; 32], 1_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ENOTTY));
        let error = send(file.as_fd(), &[0; 300], Data::None, &mut [0; 32], 1_000).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EINVAL));
    }
}
