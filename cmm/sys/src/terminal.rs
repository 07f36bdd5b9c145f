//! The terminal's window.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

nix::ioctl_read_bad!(
    /// `TIOCGWINSZ`.
    window_size,
    libc::TIOCGWINSZ,
    libc::winsize
);

/// Rows and columns of the window behind a terminal.
///
/// # Errors
/// When it is no terminal.
pub fn size(terminal: BorrowedFd<'_>) -> io::Result<(u16, u16)> {
    let mut size = libc::winsize { ws_row: 0, ws_col: 0, ws_xpixel: 0, ws_ypixel: 0 };
    // SAFETY: the descriptor is open as long as it is borrowed, and the kernel writes one `winsize` to where one is.
    unsafe { window_size(terminal.as_raw_fd(), &raw mut size) }?;
    if size.ws_row == 0 { Err(io::ErrorKind::Unsupported.into()) } else { Ok((size.ws_row, size.ws_col)) }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    #[test]
    fn a_file_has_no_window() {
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(super::size(file.as_fd()).is_err());
    }
}
