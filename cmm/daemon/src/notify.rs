//! The service manager's protocol: one datagram to `$NOTIFY_SOCKET`.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where to say that the daemon is ready.
pub(crate) struct Notify(Option<(UnixDatagram, SocketAddr)>);

impl Notify {
    /// From the environment; the variable is not for our children.
    pub(crate) fn from_env() -> Self {
        Self(env::var_os("NOTIFY_SOCKET").and_then(|path| open(&path).ok()))
    }

    /// Sends `READY=1` or the like. Never waits; a manager that does not listen is its own concern.
    pub(crate) fn say(&self, state: &str) {
        if let Some((socket, to)) = &self.0 {
            let _ = socket.send_to_addr(state.as_bytes(), to);
        }
    }
}

fn open(path: &OsStr) -> io::Result<(UnixDatagram, SocketAddr)> {
    let to = match path.as_bytes().split_first() {
        Some((b'@', name)) => SocketAddr::from_abstract_name(name)?,
        _ => SocketAddr::from_pathname(path)?,
    };
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    Ok((socket, to))
}

#[cfg(test)]
mod tests {
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
}
