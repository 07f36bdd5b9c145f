//! The table of connections: who is there, who has something to say, who must go.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Bound::{Excluded, Unbounded};
use std::os::fd::AsRawFd;

use cmm_ipc::Service;
use cmm_ipc::server::{Connection, Gone};
use holdfast_types::{Boottime, ConnId, Span};

/// One connection and what its turn needs.
pub(super) struct Peer {
    pub(super) connection: Connection,
    /// The client's name, as the kernel knows it.
    pub(super) name: String,
    /// In the queue of those that may have requests.
    queued: bool,
    /// On its way out: nothing more is put into its queue.
    doomed: bool,
    /// A request that was taken from the ring and must wait for the gate.
    pub(super) held: Option<Vec<u8>>,
    /// When it was let in.
    since: Boottime,
    /// It has events that it was not told of.
    unannounced: bool,
    /// When events that waited went into its ring last, or began to wait.
    moved: Boottime,
    /// It is in the middle of a message in fragments.
    in_fragments: bool,
    /// It has sent something since it stopped taking events, so it is in no call that waits to send.
    has_sent: bool,
    pub(super) pace: Pace,
    /// Its requests that were none, and those that had to wait or to be tried again.
    pub(super) invalid: u64,
    pub(super) refused: u64,
}

/// How fast multicasts come. A client in full flow is a *stream*: its socket is not watched, since a wake-up for each
/// request would cost more than the request; the loop looks after it in each turn, and from time to time. Who waits for
/// replies makes none, however fast it calls: it would wait for the loop to look.
#[derive(Default)]
pub(super) struct Pace {
    since: Boottime,
    multicasts: u32,
    pub(super) streams: bool,
}

impl Pace {
    /// Counts multicasts, perhaps none, and decides anew. Whether that changed something.
    pub(super) fn note(&mut self, multicasts: u32, now: Boottime) -> bool {
        self.multicasts += multicasts;
        let over = now.since(self.since) >= PACE_INTERVAL;
        let streams = if over {
            self.streams && self.multicasts >= STREAM_ENDS_BELOW
        } else {
            self.streams || self.multicasts >= STREAM_BEGINS_AT
        };
        if over {
            (self.since, self.multicasts) = (now, 0);
        }
        std::mem::replace(&mut self.streams, streams) != streams
    }
}

impl Peer {
    /// It is in the middle of a message in fragments, or looks as if it waited to send the first one: events wait for it, it
    /// has taken none for a while, and has sent nothing meanwhile.
    fn in_call(&self, now: Boottime) -> bool {
        self.in_fragments || self.stands_still(now) && !self.has_sent
    }

    fn stands_still(&self, now: Boottime) -> bool {
        self.connection.waiting_bytes() > 0 && now.since(self.moved) >= CALL
    }
}

/// All connections.
#[derive(Default)]
pub(super) struct Peers {
    open: BTreeMap<ConnId, Peer>,
    ready: VecDeque<ConnId>,
    doomed: VecDeque<(ConnId, Option<Gone>)>,
    /// Connections with events that wait for room.
    lagging: BTreeSet<ConnId>,
    /// Bytes of those events.
    waiting: usize,
    /// Connections whose ring files still have names.
    unattached: BTreeSet<ConnId>,
    /// Connections with events that they were not told of.
    unannounced: Vec<ConnId>,
    /// Connections in full flow.
    streams: Vec<ConnId>,
    retry_at: Option<Boottime>,
    attach_at: Option<Boottime>,
    flow_control: u32,
    closed: u64,
}

impl Peers {
    pub(super) fn insert(&mut self, conn: ConnId, mut connection: Connection, now: Boottime) {
        if connection.service() == Service::Cpg {
            connection.set_flow_control(self.flow_control);
        }
        let name = holdfast_sys::host::process_name(connection.credentials().pid).unwrap_or_default();
        self.open.insert(
            conn,
            Peer {
                connection,
                name,
                queued: false,
                doomed: false,
                held: None,
                since: now,
                unannounced: false,
                moved: now,
                in_fragments: false,
                has_sent: false,
                pace: Pace::default(),
                invalid: 0,
                refused: 0,
            },
        );
        self.unattached.insert(conn);
        self.attach_at.get_or_insert(now + ATTACH_POLL);
        self.wake(conn);
    }

    pub(super) fn get(&self, conn: ConnId) -> Option<&Peer> {
        self.open.get(&conn)
    }

    pub(super) fn get_mut(&mut self, conn: ConnId) -> Option<&mut Peer> {
        self.open.get_mut(&conn)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (ConnId, &Peer)> {
        self.open.iter().map(|(conn, peer)| (*conn, peer))
    }

    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// Connections that have ended so far.
    pub(super) fn closed(&self) -> u64 {
        self.closed
    }

    /// The connection may have requests: it gets a turn.
    pub(super) fn wake(&mut self, conn: ConnId) {
        if let Some(peer) = self.open.get_mut(&conn)
            && !std::mem::replace(&mut peer.queued, true)
        {
            self.ready.push_back(conn);
        }
    }

    /// The connection whose turn it is.
    pub(super) fn next_ready(&mut self) -> Option<ConnId> {
        while let Some(conn) = self.ready.pop_front() {
            if let Some(peer) = self.open.get_mut(&conn) {
                peer.queued = false;
                return Some(conn);
            }
        }
        None
    }

    pub(super) fn has_work(&self) -> bool {
        !self.ready.is_empty() || !self.doomed.is_empty()
    }

    /// Everybody whose request waits may try again.
    fn wake_held(&mut self) {
        for (conn, peer) in self.open.iter_mut().filter(|(_, p)| p.held.is_some()) {
            if !std::mem::replace(&mut peer.queued, true) {
                self.ready.push_back(*conn);
            }
        }
    }

    pub(super) fn hold(&mut self, conn: ConnId, request: Vec<u8>, now: Boottime) {
        if let Some(peer) = self.open.get_mut(&conn) {
            peer.held = Some(request);
            peer.connection.take_notifications();
            // While the gate is closed its opening wakes whoever waits.
            if self.flow_control == 0 {
                self.retry_at.get_or_insert(now + RETRY);
            }
        }
    }

    /// Tells multicasting clients to go on (0) or to hold back (2).
    pub(super) fn set_flow_control(&mut self, value: u32) {
        self.flow_control = value;
        for peer in self.open.values_mut().filter(|p| p.connection.service() == Service::Cpg) {
            peer.connection.set_flow_control(value);
        }
        if value == 0 {
            self.wake_held();
        }
    }

    /// The client sends a message that goes in one piece, or the last piece of one. If it takes no events it hears again that
    /// it should not send: then its library returns to it.
    pub(super) fn has_sent(&mut self, conn: ConnId, now: Boottime) {
        if let Some(peer) = self.open.get_mut(&conn).filter(|p| p.stands_still(now)) {
            peer.has_sent = true;
            peer.connection.set_in_call(peer.in_call(now));
        }
    }

    /// Whether the client takes no events until it is rid of a large message, so that it must get past the gate.
    pub(super) fn in_call(&self, conn: ConnId, now: Boottime) -> bool {
        self.open.get(&conn).is_some_and(|peer| peer.in_call(now))
    }

    /// The client is, or is no more, in the middle of a message in fragments.
    pub(super) fn set_in_fragments(&mut self, conn: ConnId, value: bool, now: Boottime) {
        if let Some(peer) = self.open.get_mut(&conn) {
            peer.in_fragments = value;
            peer.connection.set_in_call(peer.in_call(now));
        }
    }

    pub(super) fn send_event(&mut self, conn: ConnId, parts: &[&[u8]], now: Boottime) {
        let Some(peer) = self.open.get_mut(&conn).filter(|p| !p.doomed) else { return };
        let before = peer.connection.waiting_bytes();
        let outcome = peer.connection.send_event(parts);
        self.waiting += peer.connection.waiting_bytes() - before;
        match outcome {
            Ok(()) => {
                if !std::mem::replace(&mut peer.unannounced, true) {
                    self.unannounced.push(conn);
                }
                if peer.connection.waiting_bytes() > 0 {
                    if self.lagging.insert(conn) {
                        (peer.moved, peer.has_sent) = (now, false);
                    }
                    self.retry_at.get_or_insert(now + RETRY);
                }
            }
            Err(gone) => self.doom(conn, Some(gone)),
        }
        while self.waiting > WAITING_MAX {
            let bytes = |conn: &ConnId| {
                self.open.get(conn).filter(|p| !p.doomed).map_or(0, |p| p.connection.waiting_bytes())
            };
            let most = self.lagging.iter().copied().max_by_key(bytes);
            let Some(most) = most.filter(|conn| bytes(conn) > 0) else { return };
            self.doom(most, Some(Gone::Slow(bytes(&most))));
        }
    }

    /// Tells clients of the events they were given since the last time, one system call each, and gives those that lag
    /// what there is room for.
    pub(super) fn notify(&mut self, now: Boottime) {
        let mut next = self.lagging.first().copied();
        while let Some(conn) = next {
            self.flush(conn, now);
            next = self.lagging.range((Excluded(conn), Unbounded)).next().copied();
        }
        let Self { unannounced, open, .. } = self;
        for conn in unannounced.drain(..) {
            if let Some(peer) = open.get_mut(&conn) {
                peer.unannounced = false;
                peer.connection.notify();
            }
        }
    }

    /// Gives each client in full flow a turn. Whether there is any.
    pub(super) fn wake_streams(&mut self) -> bool {
        for at in 0..self.streams.len() {
            self.wake(self.streams[at]);
        }
        !self.streams.is_empty()
    }

    /// Counts multicasts of `conn`. `Some`: from now on it is in full flow, or not any more.
    pub(super) fn note_multicasts(&mut self, conn: ConnId, multicasts: u32, now: Boottime) -> Option<bool> {
        let peer = self.open.get_mut(&conn)?;
        if !peer.pace.note(multicasts, now) {
            return None;
        }
        let streams = peer.pace.streams;
        if streams {
            self.streams.push(conn);
        } else {
            self.streams.retain(|c| *c != conn);
        }
        Some(streams)
    }

    /// Whether some client is so far behind that senders must hold back, or is still behind and `lagged` before. One that
    /// takes nothing at all for longer holds nobody up: it is on its way to be closed.
    pub(super) fn lag(&self, lagged: bool, now: Boottime) -> bool {
        let bound = if lagged { 0 } else { LAG_BYTES };
        self.lagging
            .iter()
            .filter_map(|conn| self.open.get(conn))
            .any(|peer| peer.connection.waiting_bytes() > bound && now.since(peer.moved) < LAG_PATIENCE)
    }

    /// Whether some client is in full flow.
    pub(super) fn has_streams(&self) -> bool {
        !self.streams.is_empty()
    }

    pub(super) fn send_response(&mut self, conn: ConnId, message: &[u8]) {
        let Some(peer) = self.open.get_mut(&conn).filter(|p| !p.doomed) else { return };
        if let Err(gone) = peer.connection.send_response(message) {
            self.doom(conn, Some(gone));
        }
    }

    /// The connection will be closed, for a reason or because the client hung up.
    pub(super) fn doom(&mut self, conn: ConnId, why: Option<Gone>) {
        if let Some(peer) = self.open.get_mut(&conn)
            && !std::mem::replace(&mut peer.doomed, true)
        {
            self.waiting -= peer.connection.waiting_bytes();
            self.doomed.push_back((conn, why));
        }
    }

    /// Takes the next connection that must go out of the table.
    pub(super) fn take_doomed(&mut self) -> Option<(ConnId, Peer, Option<Gone>)> {
        while let Some((conn, why)) = self.doomed.pop_front() {
            if let Some(peer) = self.open.remove(&conn) {
                self.lagging.remove(&conn);
                self.unattached.remove(&conn);
                self.streams.retain(|c| *c != conn);
                self.closed += 1;
                return Some((conn, peer, why));
            }
        }
        None
    }

    /// The socket is writable again: owed notification bytes, waiting events.
    pub(super) fn flush(&mut self, conn: ConnId, now: Boottime) {
        let Some(peer) = self.open.get_mut(&conn).filter(|p| !p.doomed) else { return };
        let before = peer.connection.waiting_bytes();
        let outcome = peer.connection.flush();
        self.waiting -= before - peer.connection.waiting_bytes();
        match outcome {
            Ok(true) => {
                if peer.connection.waiting_bytes() < before {
                    (peer.moved, peer.has_sent) = (now, false);
                }
            }
            Ok(false) => drop(self.lagging.remove(&conn)),
            Err(gone) => return self.doom(conn, Some(gone)),
        }
        peer.connection.set_in_call(peer.in_call(now));
    }

    /// When [`Peers::on_timer`] has something to do.
    pub(super) fn next_timeout(&self) -> Option<Boottime> {
        self.retry_at.into_iter().chain(self.attach_at).min()
    }

    pub(super) fn on_timer(&mut self, now: Boottime) {
        if self.retry_at.is_some_and(|at| at <= now) {
            if self.flow_control == 0 {
                self.wake_held();
            }
            self.retry_at = (!self.lagging.is_empty()).then(|| now + RETRY);
        }
        if self.attach_at.is_some_and(|at| at <= now) {
            let open = &mut self.open;
            self.unattached.retain(|conn| {
                // A client that takes longer is looked at again with its first request, and at its end.
                open.get_mut(conn)
                    .is_some_and(|p| !p.connection.is_attached() && now.since(p.since) < ATTACH_PATIENCE)
            });
            self.attach_at = (!self.unattached.is_empty()).then(|| now + ATTACH_POLL);
        }
    }

    /// Connections of a user.
    pub(super) fn of_user(&self, uid: u32) -> usize {
        self.open.values().filter(|p| p.connection.credentials().uid == uid).count()
    }

    /// Closes everything at once.
    pub(super) fn clear(&mut self, registry: Option<&mio::Registry>) {
        self.notify(Boottime::default());
        for peer in self.open.values() {
            deregister(registry, &peer.connection);
        }
        *self = Self { closed: self.closed + self.open.len() as u64, ..Self::default() };
    }
}

/// Takes a descriptor out of the poll set before it is closed.
pub(super) fn deregister(registry: Option<&mio::Registry>, socket: &impl AsRawFd) {
    if let Some(registry) = registry {
        // It can only fail for a descriptor that is not registered.
        let _ = registry.deregister(&mut mio::unix::SourceFd(&socket.as_raw_fd()));
    }
}

/// Over this long multicasts are counted.
const PACE_INTERVAL: Span = Span::from_millis(1);
/// So many of one client within the interval make a stream: more than anyone can send who waits for each to be delivered.
const STREAM_BEGINS_AT: u32 = 40;
/// With fewer it ends.
const STREAM_ENDS_BELOW: u32 = 20;
/// Bytes of events that wait for all clients together. Beyond, the one for whom most wait is closed: many slow clients
/// must not take the memory that one may not.
const WAITING_MAX: usize = 128 * 1_048_576;
/// How soon a full ring is tried again, and a request that was refused with the gate open: nothing announces either.
const RETRY: Span = Span::from_millis(1);
/// Bytes that wait beyond a client's full ring before senders on all nodes are held back.
const LAG_BYTES: usize = 262_144;
/// Who leaves events lying for so long may be waiting in a call to get a message off.
const CALL: Span = Span::from_millis(20);
/// For how long a client that takes nothing at all may do so: libcpg tries to send a large message for a second.
const LAG_PATIENCE: Span = Span::from_millis(1_500);
/// How often a new client is looked at until its ring files can be unlinked.
const ATTACH_POLL: Span = Span::from_millis(10);
/// For how long.
const ATTACH_PATIENCE: Span = Span::from_secs(2);
