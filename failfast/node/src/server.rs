//! The failfast socket: `cmmd`'s side. Never waits, and does a bounded amount of work in one call.
//!
//! Listener, connections and the pidfds of armed processes sit in one epoll instance; the event loop polls only that
//! descriptor. Answers are written at once; a client that does not read them is disconnected. Who may connect is who
//! may write to the socket file (mode 0600) and runs as root or as `cmmd`'s user. A unit belongs to the process that
//! connected, the kernel says which one that is, and hands out the pidfd; or to the one that it names by its pid.

use std::fmt::Write as _;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use failfast_core::limits::{REPLY_MAX, REQUEST_MAX, UNITS_MAX};
use failfast_core::protocol::{Report, Request, UnitLine};
use failfast_core::{ArmRequest, ExitScope, Mode, Output, Registry, UnitKey, UnitView};
use holdfast_sys::pidfd;
use holdfast_sys::process_tree::{self, Tag};
use holdfast_types::{Boottime, Span};
use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{self, AddressFamily, Backlog, MsgFlags, SockFlag, SockType, UnixAddr, sockopt};
use nix::sys::stat;

use crate::client::SOCKET;

/// The registry behind its socket.
#[derive(Debug)]
pub struct FailfastServer {
    registry: Registry,
    epoll: Epoll,
    listener: UnixListener,
    path: PathBuf,
    tag: Option<Tag>,
    own_uid: u32,
    connections: Slots<Connection>,
    watches: Slots<Watch>,
    /// Set while accepting is switched off because descriptors have run out.
    accept_again_at: Option<Boottime>,
    reply: String,
    report: Report,
    guardian_seen: Boottime,
}

/// What a server is made from.
#[derive(Clone, Debug)]
pub struct ServerConfig {
    /// The node's run directory: the socket is `failfast.sock` in it.
    pub run_dir: PathBuf,
    /// How the node goes down.
    pub mode: Mode,
    /// In mode `exit` with scope `run-dir`, a process whose environment does not carry the node's variable could not be
    /// found later, so it cannot arm.
    pub scope: ExitScope,
}

/// Connections at one time; one more is closed at once.
pub const CONNECTIONS_MAX: usize = 2 * UNITS_MAX;
/// Events that one call handles.
const BUDGET: usize = 256;
const BATCH: usize = 32;
const ACCEPT_PAUSE: Span = Span::from_secs(1);

#[derive(Debug)]
struct Connection {
    socket: OwnedFd,
    pid: u32,
}

#[derive(Debug)]
struct Watch {
    pidfd: OwnedFd,
    key: UnitKey,
    /// Whose: armed anew, a unit drops its former watch.
    name: failfast_core::UnitName,
}

/// A table of fixed size whose places carry a generation, so that an event for a former tenant is recognised.
#[derive(Debug)]
struct Slots<T> {
    places: Vec<(u32, Option<T>)>,
}

#[derive(Clone, Copy)]
enum Token {
    Listener,
    Connection(u32, u32),
    Watch(u32, u32),
}

impl FailfastServer {
    /// Binds the socket, over a stale one: the caller holds the node's single-instance lock.
    ///
    /// # Errors
    /// What `bind` and `epoll` say, with the path; a path beyond 107 bytes is `InvalidInput`.
    pub fn bind(config: &ServerConfig, now: Boottime) -> io::Result<Self> {
        let path = config.run_dir.join(SOCKET);
        let listener = listen(&path).map_err(|e| {
            io::Error::new(io::Error::from(e).kind(), format!("{}: {}", path.display(), e.desc()))
        })?;
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        epoll.add(&listener, Token::Listener.event())?;
        let tag = match (config.mode, config.scope) {
            (Mode::Exit, ExitScope::RunDir) => Some(Tag::of_run_dir(&config.run_dir)?),
            _ => None,
        };
        Ok(Self {
            registry: Registry::new(config.mode, now),
            epoll,
            listener,
            path,
            tag,
            own_uid: nix::unistd::geteuid().as_raw(),
            connections: Slots::new(CONNECTIONS_MAX),
            // One more than units: a new watch is made before the former one goes.
            watches: Slots::new(UNITS_MAX + 1),
            accept_again_at: None,
            reply: String::with_capacity(REPLY_MAX),
            report: Report {
                mode: config.mode,
                guardian: None,
                maintenance: None,
                feeding: None,
                watchdogs: Vec::new(),
            },
            guardian_seen: now,
        })
    }

    /// Handles what waits: call it when the descriptor is readable. `true`: the budget of this call is used up and there
    /// may be more, call again in the next turn without waiting.
    pub fn handle_ready(&mut self, now: Boottime) -> bool {
        let mut handled = 0;
        while handled < BUDGET {
            let mut events = [EpollEvent::empty(); BATCH];
            let count = match self.epoll.wait(&mut events, EpollTimeout::ZERO) {
                Ok(0) => return false,
                Ok(count) => count,
                Err(Errno::EINTR) => continue,
                // Nothing else can come from a valid epoll; should it, the deadlines still run.
                Err(_) => return false,
            };
            handled += count;
            for event in &events[..count] {
                match Token::of(event) {
                    Some(Token::Listener) => self.accept(now),
                    Some(Token::Connection(place, generation)) => self.serve(now, place, generation),
                    Some(Token::Watch(place, generation)) => {
                        if let Some(watch) = self.watches.take(place, generation) {
                            let _ = self.epoll.delete(&watch.pidfd); // closing it does the same
                            self.registry.handle_death(now, watch.key);
                        }
                    }
                    None => {}
                }
            }
        }
        true
    }

    /// Lets the registry look at its deadlines, after all that waits has been handled: a beat that is there already
    /// counts. Call it at [`Self::next_timeout`] at the latest.
    pub fn handle_timeout(&mut self, now: Boottime) {
        if self.accept_again_at.is_some_and(|at| at <= now) {
            self.accept_again_at = None;
            let _ = self.epoll.modify(&self.listener, &mut Token::Listener.event());
        }
        self.handle_ready(now);
        self.registry.handle_timeout(now);
    }

    /// Arms a unit for a process that does not do so itself (the configuration names it).
    ///
    /// # Errors
    /// In words; nothing has changed then.
    pub fn arm_process(&mut self, now: Boottime, pid: u32, request: &ArmRequest) -> Result<(), String> {
        let pidfd = pidfd::open(pid).map_err(|e| format!("cannot watch pid {pid}: {e}"))?;
        self.arm(now, pid, pidfd, request)
    }

    /// What is answered to `status`, but for what the registry knows and for how long ago the guardian was seen.
    pub fn report_mut(&mut self) -> &mut Report {
        &mut self.report
    }

    /// The guardian made progress.
    pub fn guardian_seen(&mut self, at: Boottime) {
        self.guardian_seen = at;
    }

    /// Whether a unit is dead or late, and the node has not gone down for it.
    #[must_use]
    pub fn in_trouble(&self) -> bool {
        self.registry.in_trouble()
    }

    /// The next decision or event.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.registry.poll_output()
    }

    /// When [`Self::handle_timeout`] is wanted.
    #[must_use]
    pub fn next_timeout(&self) -> Option<Boottime> {
        [self.registry.next_timeout(), self.accept_again_at].into_iter().flatten().min()
    }

    /// Whether the units allow the watchdog to be fed.
    #[must_use]
    pub fn within_deadlines(&self, now: Boottime) -> bool {
        self.registry.within_deadlines(now)
    }

    /// All units.
    pub fn units(&self) -> impl Iterator<Item = UnitView> {
        self.registry.units()
    }

    /// Grows whenever [`Self::units`] has changed.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.registry.changes()
    }

    fn accept(&mut self, now: Boottime) {
        match self.listener.accept() {
            Ok((socket, _)) => self.admit(socket.into()),
            Err(e) if e.kind() == io::ErrorKind::WouldBlock || e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) if e.raw_os_error() == Some(Errno::ECONNABORTED as i32) => {}
            // No descriptors, no memory: a readable listener would keep the loop spinning.
            Err(_) => {
                let mut nothing = EpollEvent::new(EpollFlags::empty(), 0);
                let _ = self.epoll.modify(&self.listener, &mut nothing);
                self.accept_again_at = Some(now + ACCEPT_PAUSE);
            }
        }
    }

    /// Takes a connection in, or closes it by dropping it.
    fn admit(&mut self, socket: OwnedFd) {
        let Ok(peer) = socket::getsockopt(&socket, sockopt::PeerCredentials) else { return };
        let pid = u32::try_from(peer.pid()).unwrap_or(0);
        // Pid 0: from another PID namespace, so nothing can be watched.
        if pid == 0 || (peer.uid() != 0 && peer.uid() != self.own_uid) {
            refuse(&socket, "only root and cmmd's own user may talk to failfast");
            return;
        }
        match self.connections.put(Connection { socket, pid }) {
            Ok((place, generation)) => {
                let connection = self.connections.get(place, generation);
                let event = Token::Connection(place, generation).event();
                if connection.is_none_or(|c| self.epoll.add(&c.socket, event).is_err()) {
                    self.connections.take(place, generation);
                }
            }
            Err(connection) => {
                refuse(&connection.socket, "too many connections");
            }
        }
    }

    fn serve(&mut self, now: Boottime, place: u32, generation: u32) {
        let Some(Connection { socket, pid }) = self.connections.get(place, generation) else { return };
        let pid = *pid;
        let mut buffer = [0; REQUEST_MAX + 1];
        let len = match socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_DONTWAIT) {
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            // An empty datagram looks like the end; nobody who speaks this protocol sends one.
            Ok(0) | Err(_) => {
                self.connections.take(place, generation);
                return;
            }
            Ok(len) => len,
        };
        let replied = match Request::parse(&buffer[..len]) {
            Ok(Request::Beat(name)) => {
                self.registry.beat(now, pid, &name);
                return;
            }
            Ok(Request::Arm(request, other)) => {
                let handle = match other {
                    Some(other) => pidfd::open(other),
                    None => pidfd::of_peer(socket.as_fd(), pid),
                };
                let whose = other.unwrap_or(pid);
                let armed = handle
                    .map_err(|e| format!("cannot watch pid {whose}: {e}"))
                    .and_then(|handle| self.arm(now, whose, handle, &request));
                self.reply(
                    place,
                    generation,
                    armed.as_ref().map_or_else(|e| Err(e.as_str()), |()| Ok("ok\n")),
                )
            }
            Ok(Request::Disarm(name, other)) => {
                let done = self.registry.disarm(now, pid, other.unwrap_or(pid), &name);
                if done {
                    self.unwatch(&name);
                }
                let answer = match other {
                    _ if done => Ok("ok\n"),
                    None => Err("no such unit is armed by this process"),
                    Some(_) => {
                        Err("no such unit is armed by that process; \"holdfast failfast status\" lists them")
                    }
                };
                self.reply(place, generation, answer)
            }
            Ok(Request::Maintain(name, length)) => {
                let done = self.registry.maintain(now, name.as_ref(), length).map_err(|e| e.to_string());
                let answer = done.as_ref().map_or_else(|e| Err(e.as_str()), |()| Ok("ok\n"));
                self.reply(place, generation, answer)
            }
            Ok(Request::Status) => {
                self.report.maintenance = self.registry.maintenance().map(|until| until.since(now));
                if let Some(guardian) = &mut self.report.guardian {
                    guardian.seen = now.since(self.guardian_seen);
                }
                let mut text = std::mem::take(&mut self.reply);
                text.clear();
                let _ = write!(text, "{}", self.report); // a String takes everything
                let sent = self.reply(place, generation, Ok(&text));
                self.reply = text;
                sent
            }
            Ok(Request::List) => {
                let mut list = std::mem::take(&mut self.reply);
                list.clear();
                for unit in self.registry.units() {
                    let _ = writeln!(list, "{}", UnitLine::new(&unit, now)); // a String takes everything
                }
                if list.is_empty() {
                    list.push('\n'); // an empty datagram would look like the end
                }
                let sent = self.reply(place, generation, Ok(&list));
                self.reply = list;
                sent
            }
            Err(bad) => self.reply(place, generation, Err(&bad.to_string())),
        };
        if !replied {
            self.connections.take(place, generation);
        }
    }

    /// Sends an answer; `false` where the client does not read or is gone.
    fn reply(&self, place: u32, generation: u32, answer: Result<&str, &str>) -> bool {
        let Some(connection) = self.connections.get(place, generation) else { return false };
        match answer {
            Ok(text) => send(&connection.socket, text),
            Err(text) => refuse(&connection.socket, text),
        }
    }

    fn arm(&mut self, now: Boottime, pid: u32, pidfd: OwnedFd, request: &ArmRequest) -> Result<(), String> {
        if let Some(tag) = &self.tag
            && request.mode != Some(Mode::Off)
        {
            check_tag(pid, tag, &self.path)?;
        }
        let key = self.registry.arm(now, pid, request).map_err(|e| e.to_string())?;
        self.unwatch(&request.name);
        let watch = Watch { pidfd, key, name: request.name };
        let watched = self.watches.put(watch).ok().and_then(|(place, generation)| {
            let watch = self.watches.get(place, generation)?;
            self.epoll.add(&watch.pidfd, Token::Watch(place, generation).event()).ok()
        });
        if watched.is_none() {
            // Armed and unwatched would be a lie.
            self.registry.disarm(now, pid, pid, &request.name);
            self.unwatch(&request.name);
            return Err("no room to watch the process".into());
        }
        Ok(())
    }

    fn unwatch(&mut self, name: &failfast_core::UnitName) {
        self.watches.retain(|watch| watch.name != *name);
    }
}

impl AsFd for FailfastServer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

impl AsRawFd for FailfastServer {
    fn as_raw_fd(&self) -> RawFd {
        self.epoll.0.as_raw_fd()
    }
}

impl Drop for FailfastServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path); // the next start removes a stale one
    }
}

impl<T> Slots<T> {
    fn new(len: usize) -> Self {
        Self { places: (0..len).map(|_| (0, None)).collect() }
    }

    /// Place and generation of the new tenant; the tenant itself where there is no room.
    fn put(&mut self, tenant: T) -> Result<(u32, u32), T> {
        match self.places.iter_mut().zip(0..).find(|((_, place), _)| place.is_none()) {
            Some(((generation, place), index)) => {
                *generation = generation.wrapping_add(1);
                *place = Some(tenant);
                Ok((index, *generation))
            }
            None => Err(tenant),
        }
    }

    fn get(&self, place: u32, generation: u32) -> Option<&T> {
        self.places.get(place as usize).filter(|(g, _)| *g == generation)?.1.as_ref()
    }

    fn take(&mut self, place: u32, generation: u32) -> Option<T> {
        self.places.get_mut(place as usize).filter(|(g, _)| *g == generation)?.1.take()
    }

    fn retain(&mut self, keep: impl Fn(&T) -> bool) {
        for (_, place) in &mut self.places {
            if place.as_ref().is_some_and(|tenant| !keep(tenant)) {
                *place = None;
            }
        }
    }
}

impl Token {
    fn event(self) -> EpollEvent {
        let (kind, place, generation) = match self {
            Self::Listener => (0, 0, 0),
            Self::Connection(place, generation) => (1, place, generation),
            Self::Watch(place, generation) => (2, place, generation),
        };
        EpollEvent::new(EpollFlags::EPOLLIN, kind << 62 | u64::from(place) << 32 | u64::from(generation))
    }

    fn of(event: &EpollEvent) -> Option<Self> {
        let data = event.data();
        let place = (data >> 32) as u32 & 0x3fff_ffff;
        let generation = data as u32; // the lower half
        match data >> 62 {
            0 => Some(Self::Listener),
            1 => Some(Self::Connection(place, generation)),
            2 => Some(Self::Watch(place, generation)),
            _ => None,
        }
    }
}

fn listen(path: &Path) -> nix::Result<UnixListener> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let socket = socket::socket(AddressFamily::Unix, SockType::SeqPacket, flags, None)?;
    match nix::unistd::unlink(path) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(e) => return Err(e),
    }
    socket::bind(socket.as_raw_fd(), &UnixAddr::new(path)?)?;
    // Nobody can connect before listen, so there is no moment with wider rights.
    let owner_only = stat::Mode::S_IRUSR | stat::Mode::S_IWUSR;
    stat::fchmodat(nix::fcntl::AT_FDCWD, path, owner_only, stat::FchmodatFlags::FollowSymlink)?;
    socket::listen(&socket, Backlog::new(64)?)?;
    Ok(UnixListener::from(socket))
}

fn check_tag(pid: u32, tag: &Tag, socket: &Path) -> Result<(), String> {
    let variable = process_tree::VARIABLE;
    let dir = socket.parent().unwrap_or(socket).display();
    match process_tree::carries(pid, tag) {
        Ok(true) => Ok(()),
        Ok(false) => Err(format!(
            "pid {pid} was started without {variable}={dir} in its environment: mode exit could not find its processes"
        )),
        Err(e) => Err(format!("cannot tell whether pid {pid} carries {variable}={dir}: {e}")),
    }
}

fn refuse(socket: &OwnedFd, text: &str) -> bool {
    send(socket, &format!("error {text}\n"))
}

fn send(socket: &OwnedFd, text: &str) -> bool {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_NOSIGNAL;
    socket::send(socket.as_raw_fd(), text.as_bytes(), flags).is_ok()
}
