//! Who is let in: listeners, handshakes, users and limits.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::AsRawFd;

use cmm_ipc::abi::cmap::Value;
use cmm_ipc::server::{Credentials, Handshake};
use cmm_ipc::{Place, Service};
use cmm_proto::Node;
use holdfast_types::{Boottime, ConnId, Span};
use mio::Interest;
use mio::unix::SourceFd;

use super::peers::deregister;
use super::{Clients, stats};
use crate::event_loop::now as clock;

impl Clients {
    /// Takes in those who wait, for a moment: each is given files and mappings of its own, and a crowd must not hold up the
    /// ring. Readiness is reported once, so what is left gets a turn of its own.
    pub(super) fn let_in(&mut self, node: &Node, now: Boottime) {
        self.accept_at = None;
        let end = clock() + ACCEPT_TIME;
        while let Some(conn) = self.hellos.pop_front() {
            self.shake_hands(conn, node, now);
            if clock() >= end {
                self.accept_at = Some(now);
                return;
            }
        }
        let mut empty = 0;
        while empty < self.listeners.len() && clock() < end {
            self.next_listener = (self.next_listener + 1) % self.listeners.len();
            let listener = &self.listeners[self.next_listener];
            match listener.accept() {
                Ok(Some(handshake)) => {
                    empty = 0;
                    self.begin_handshake(handshake, node, now);
                }
                Ok(None) => empty += 1,
                Err(e) => {
                    // Out of descriptors, most likely: clients wait in the backlog until some are free again.
                    let service = listener.service().name();
                    self.report(format!("cannot accept {service} clients: {e}"), now);
                    self.accept_at = Some(now + ACCEPT_PAUSE);
                    return;
                }
            }
        }
        if empty < self.listeners.len() {
            self.accept_at = Some(now);
        }
    }

    fn begin_handshake(&mut self, handshake: Handshake, node: &Node, now: Boottime) {
        if self.handshakes.len() >= HANDSHAKES_MAX {
            let waiting = self.handshakes.iter().map(|(conn, (handshake, _))| (*conn, handshake.user()));
            if let Some(conn) = least_missed(waiting) {
                self.drop_handshake(conn);
            }
        }
        self.last_conn += 1;
        let conn = ConnId::new(self.last_conn);
        let token = self.token(conn);
        let Some(registry) = &self.registry else { return };
        let interest = Interest::READABLE | Interest::WRITABLE;
        if registry.register(&mut SourceFd(&handshake.as_raw_fd()), token, interest).is_ok() {
            self.handshakes.insert(conn, (handshake, now));
            // Clients say who they are right after connecting: most need not wait for a turn of their own.
            self.shake_hands(conn, node, now);
        }
    }

    fn shake_hands(&mut self, conn: ConnId, node: &Node, now: Boottime) {
        let Some((handshake, _)) = self.handshakes.get_mut(&conn) else { return };
        let credentials = match handshake.on_readable() {
            Ok(None) => return,
            Ok(Some(credentials)) => credentials,
            Err(_) => {
                self.drop_handshake(conn);
                return;
            }
        };
        let Some((handshake, _)) = self.handshakes.remove(&conn) else { return };
        let service = handshake.service();
        if let Err(errno) = self.admit(credentials, node) {
            if errno == Errno::Access {
                self.denied(service, credentials, now);
            }
            deregister(self.registry.as_ref(), &handshake);
            handshake.refuse(errno as i32);
            return;
        }
        match handshake.accept(&self.place, self.mode) {
            Ok(connection) => {
                if let (Some(fd), Some(registry)) = (connection.request_fd(), &self.registry) {
                    // A fresh descriptor: nothing can fail but the whole poller.
                    let _ = registry.register(
                        &mut SourceFd(&fd.as_raw_fd()),
                        self.token(conn),
                        Interest::READABLE,
                    );
                }
                self.peers.insert(conn, connection, now);
                stats::client_came(&mut self.cmap, &mut self.peers, conn, now);
                if service == Service::Cpg {
                    self.cpg.opened(conn);
                }
            }
            // It did not wait for the answer.
            Err(e) if matches!(e.kind(), io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionReset) => {}
            Err(e) => self.report(format!("cannot serve a {} client: {e}", service.name()), now),
        }
    }

    /// Root may, and who is named in the configuration or was allowed at run time, by user or by primary group.
    fn admit(&self, who: Credentials, node: &Node) -> Result<(), Errno> {
        if !node.is_synced() {
            return Err(Errno::Again);
        }
        let one = |key: String| self.cmap.config.get(&key) == Some(&Value::u8(1));
        let allowed = who.is_root_or_own()
            || who.gid == 0
            || one(format!("uidgid.uid.{}", who.uid))
            || one(format!("uidgid.config.uid.{}", who.uid))
            || one(format!("uidgid.gid.{}", who.gid))
            || one(format!("uidgid.config.gid.{}", who.gid));
        if !allowed {
            return Err(Errno::Access);
        }
        let of_user = self.peers.of_user(who.uid);
        if self.peers.len() >= CONNECTIONS_MAX || who.uid != 0 && of_user >= CONNECTIONS_PER_USER_MAX {
            return Err(Errno::TooMany);
        }
        Ok(())
    }

    pub(super) fn drop_handshake(&mut self, conn: ConnId) {
        if let Some((handshake, _)) = self.handshakes.remove(&conn) {
            deregister(self.registry.as_ref(), &handshake);
        }
    }

    /// One line a second: whoever is denied may come again at once, and the log is for more than that.
    fn denied(&mut self, service: Service, who: Credentials, now: Boottime) {
        self.denials += 1;
        if self.denied_at.is_some_and(|at| now.since(at) < DENIAL_INTERVAL) {
            return;
        }
        let more = match self.denials - 1 {
            0 => String::new(),
            n => format!(" (and {n} more since the last such line)"),
        };
        let Credentials { pid, uid, gid } = who;
        self.report(
            format!("Denied connection to {}: pid {pid}, uid {uid}, gid {gid}{more}", service.name()),
            now,
        );
        (self.denials, self.denied_at) = (0, Some(now));
    }
}

/// Whom to send away of those who have connected and said nothing: the oldest one of the user who has most of them.
fn least_missed(waiting: impl Iterator<Item = (ConnId, u32)>) -> Option<ConnId> {
    let mut users: BTreeMap<u32, (usize, ConnId)> = BTreeMap::new();
    for (conn, user) in waiting {
        users.entry(user).or_insert((0, conn)).0 += 1;
    }
    users.values().max_by_key(|(count, _)| *count).map(|(_, oldest)| *oldest)
}

/// The errnos by which a connection is refused.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
enum Errno {
    /// EAGAIN: not yet.
    Again = 11,
    /// EACCES.
    Access = 13,
    /// EMFILE.
    TooMany = 24,
}

/// Where to listen. Clients of libqb take socket files instead of abstract names where this marker is, in a folder that
/// was fixed when their libqb was built: upstream's default, or Debian's.
pub(super) fn listening_places(place: &Place) -> Vec<Place> {
    let mut places = vec![place.clone()];
    if *place == Place::Abstract && std::fs::exists(FILE_SOCKETS_MARKER).unwrap_or(false) {
        places.extend(FILE_SOCKETS_DIRS.map(|dir| Place::Dir(dir.into())));
    }
    places
}

/// Below a run directory the rings' folder is ours: made anew, and rid of what an earlier life left behind.
pub(super) fn prepare_ring_dir(place: &Place) -> io::Result<()> {
    let Place::Dir(_) = place else { return Ok(()) };
    let dir = place.ring_dir();
    match std::fs::remove_dir_all(&dir) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    std::fs::create_dir_all(&dir)
}

const FILE_SOCKETS_MARKER: &str = "/etc/libqb/force-filesystem-sockets";
const FILE_SOCKETS_DIRS: [&str; 2] = ["/var/run", "/tmp"];
/// Connections at once.
const CONNECTIONS_MAX: usize = 512;
/// Connections of one user other than root at once.
const CONNECTIONS_PER_USER_MAX: usize = 128;
/// Clients at once that have connected and not said anything.
const HANDSHAKES_MAX: usize = 64;
/// How long they may take.
pub(super) const HANDSHAKE_LIMIT: Span = Span::from_secs(10);
/// How long clients are taken in within one turn of the event loop; the last one may take a millisecond more.
const ACCEPT_TIME: Span = Span::from_millis(3);
/// How long to wait for free descriptors.
const ACCEPT_PAUSE: Span = Span::from_millis(100);
const DENIAL_INTERVAL: Span = Span::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_comes_as_a_crowd_sends_nobody_else_away() {
        let waiting = |users: &[u32]| {
            least_missed(users.iter().enumerate().map(|(n, user)| (ConnId::new(n as u64), *user)))
        };
        assert_eq!(waiting(&[0, 7, 7, 0, 7]), Some(ConnId::new(1)), "the oldest of user 7");
        assert_eq!(waiting(&[5]), Some(ConnId::new(0)));
        assert_eq!(waiting(&[]), None);
    }
}
