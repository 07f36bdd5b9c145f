//! The service manager's side of a daemon: one datagram to `$NOTIFY_SOCKET`, and its journal behind standard error.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use nix::sys::stat::fstat;

/// Where to say that the daemon is ready.
pub struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// From the environment. Programs that are started from here must not inherit [`VARIABLE`]: they would speak for the daemon.
    #[must_use]
    pub fn from_env() -> Self {
        Self(env::var_os(VARIABLE).and_then(|path| open(&path).ok()))
    }

    /// Sends `READY=1` or the like. Never waits; a manager that does not listen is its own concern.
    pub fn say(&self, state: &str) {
        if let Some((socket, to)) = &self.0 {
            let _ = socket.send_to_addr(state.as_bytes(), to);
        }
    }
}

/// Names the manager's socket in the environment.
pub const VARIABLE: &str = "NOTIFY_SOCKET";

fn open(path: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match path.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

/// Whether standard error is the journal: then a line needs no time, and begins with its priority, `<3>`. (A daemon's
/// standard error may have been redirected since the variable was set, hence the look at the descriptor.)
#[must_use]
pub fn stderr_is_journal() -> bool {
    env::var("JOURNAL_STREAM").is_ok_and(|stream| is_stream(io::stderr(), &stream))
}

/// `DEVICE:INODE`, see systemd.exec(5).
fn is_stream(fd: impl AsFd, stream: &str) -> bool {
    let Some((device, inode)) = stream.split_once(':') else { return false };
    fstat(fd).is_ok_and(|s| device.parse() == Ok(s.st_dev) && inode.parse() == Ok(s.st_ino))
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::os::unix::fs::MetadataExt;

    use super::*;

    #[test]
    fn the_manager_hears_it() {
        let name = format!("holdfast-notify-test-{}", std::process::id());
        let listener =
            UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name).expect("a name")).expect("binds");
        let notify = Notify(open(OsStr::new(&format!("@{name}"))).ok());
        notify.say("READY=1");
        let mut said = [0; 32];
        let n = listener.recv(&mut said).expect("arrives");
        assert_eq!(&said[..n], b"READY=1");
        Notify(None).say("READY=1");
    }

    #[test]
    fn a_stream_is_known_by_device_and_inode() {
        let (one, other) = (File::open("/").expect("opens"), File::open("/proc").expect("opens"));
        let m = one.metadata().expect("is there");
        let stream = format!("{}:{}", m.dev(), m.ino());
        assert!(is_stream(&one, &stream) && !is_stream(&other, &stream));
        assert!(!is_stream(&one, "") && !is_stream(&one, "8") && !is_stream(&one, "8:x"));
    }
}
