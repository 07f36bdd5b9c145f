//! The virtual quorum server and the connections to it: delays, machines that do not reach it, connections that end on one side only, and a
//! server that dies and remembers nothing.

mod decide;

use std::collections::BTreeMap;

use cmm_qnet::{Channel, Input, Kind, Message, Output};

use self::decide::{Conn, Sent, Server};
use crate::clock::{Instant, MS};
use crate::cluster::{Cluster, Event};
use crate::faults::Undo;
use crate::oracle::{LifeIndex, Violation};
use crate::sabotage::Bug;

/// The server, and what leads to it.
#[derive(Debug, Default)]
pub(crate) struct Qnetd {
    server: Server,
    up: bool,
    conns: BTreeMap<Conn, Connection>,
    last: Conn,
    /// By machine: how many cuts keep it away.
    cuts: Vec<u32>,
    /// How many faults keep the server down.
    down: u32,
}

/// A connection of a daemon.
#[derive(Debug)]
struct Connection {
    node: usize,
    life: LifeIndex,
    channel: Channel,
    attempt: u64,
    /// This side has it open.
    client: bool,
    server: bool,
    /// Nothing overtakes: the last arrival at either end.
    to_server: Instant,
    to_client: Instant,
    /// When the server heard of the client last.
    heard: Instant,
}

/// What happens on a connection.
#[derive(Clone, Debug)]
pub(crate) enum ServerEvent {
    /// The client's first packet is at the server.
    Reach,
    /// The client hears that there is a connection, that TLS stands, or bytes.
    Made,
    Secured,
    Down(Vec<u8>),
    /// Bytes of the client are at the server.
    Up(Vec<u8>),
    /// The client's end is gone, as the server sees it.
    Hangup,
    /// The server's end is gone, as the client sees it.
    Reset,
    /// The server looks whether the client is alive.
    Probe,
    /// lms: those who wait are looked at again. Not of a connection.
    Again,
}

impl Qnetd {
    pub(crate) fn new(configured: bool, nodes: usize) -> Self {
        Self { up: configured, cuts: vec![0; nodes], ..Self::default() }
    }

    pub(crate) fn heal(&mut self) {
        self.cuts.fill(0);
        self.down = 0;
        self.up = true;
    }
}

impl Cluster {
    fn server_delay(&mut self) -> u64 {
        1 + self.chance.exponential(self.options.faults.disk_latency.max(1))
    }

    /// What a daemon wants of its connection to the server.
    pub(crate) fn ask_server(&mut self, node: usize, output: Output) {
        let Some(life) = self.machines[node].running.as_ref().map(|r| r.life) else { return };
        let (channel, attempt) = match &output {
            Output::Connect { channel, attempt } => {
                self.qnetd.last += 1;
                let (conn, now) = (self.qnetd.last, self.now);
                let connection = Connection {
                    node,
                    life,
                    channel: *channel,
                    attempt: *attempt,
                    client: true,
                    server: false,
                    to_server: now,
                    to_client: now,
                    heard: now,
                };
                self.qnetd.conns.insert(conn, connection);
                return self.send_up(conn, ServerEvent::Reach);
            }
            Output::Send { channel, attempt, .. }
            | Output::Secure { channel, attempt }
            | Output::Close { channel, attempt } => (*channel, *attempt),
            Output::Event(_) => return,
        };
        let of = |c: &Connection| c.life == life && c.channel == channel && c.attempt == attempt && c.client;
        let Some((&conn, _)) = self.qnetd.conns.iter().find(|(_, c)| of(c)) else { return };
        match output {
            Output::Send { bytes, .. } => self.send_up(conn, ServerEvent::Up(bytes)),
            Output::Secure { .. } => {
                let at = self.now + 2 * self.server_delay();
                self.agenda.at(at, Event::Server(conn, ServerEvent::Secured));
            }
            Output::Close { .. } => self.hang_up(conn),
            Output::Connect { .. } | Output::Event(_) => {}
        }
    }

    fn send_up(&mut self, conn: Conn, event: ServerEvent) {
        let delay = self.server_delay();
        let Some(c) = self.qnetd.conns.get_mut(&conn) else { return };
        c.to_server = c.to_server.max(self.now + delay) + 1;
        self.agenda.at(c.to_server, Event::Server(conn, event));
    }

    fn send_down(&mut self, conn: Conn, event: ServerEvent) {
        let delay = self.server_delay();
        let Some(c) = self.qnetd.conns.get_mut(&conn) else { return };
        c.to_client = c.to_client.max(self.now + delay) + 1;
        self.agenda.at(c.to_client, Event::Server(conn, event));
    }

    /// The client's end is closed.
    fn hang_up(&mut self, conn: Conn) {
        if let Some(c) = self.qnetd.conns.get_mut(&conn) {
            c.client = false;
        }
        self.send_up(conn, ServerEvent::Hangup);
    }

    /// The daemon of a machine is dead: its kernel says so to the server, if it still can.
    pub(crate) fn lose_connections(&mut self, life: LifeIndex) {
        let of: Vec<Conn> =
            self.qnetd.conns.iter().filter(|(_, c)| c.life == life && c.client).map(|(n, _)| *n).collect();
        for conn in of {
            if self.chance.chance(500_000) {
                self.hang_up(conn);
            } else if let Some(c) = self.qnetd.conns.get_mut(&conn) {
                c.client = false;
            }
        }
    }

    pub(crate) fn server_event(&mut self, conn: Conn, event: ServerEvent) -> Result<(), Violation> {
        let mut out = Sent::new();
        if let ServerEvent::Again = event {
            self.qnetd.server.look_again(&mut out);
            self.deliver(out);
            if self.qnetd.conns.values().any(|c| c.server) {
                self.agenda.at(self.now + 50 * MS, Event::Server(conn, event));
            }
            return Ok(());
        }
        let Some(c) = self.qnetd.conns.get(&conn) else { return Ok(()) };
        let (node, life) = (c.node, c.life);
        if matches!(
            event,
            ServerEvent::Made | ServerEvent::Secured | ServerEvent::Down(_) | ServerEvent::Reset
        ) {
            return self.client_event(conn, event);
        }
        if self.qnetd.cuts[node] > 0 && !matches!(event, ServerEvent::Probe) {
            // It is sent again until it comes through.
            if self.lives(node, life) || matches!(event, ServerEvent::Hangup) {
                self.agenda.at(self.now + 20 * MS, Event::Server(conn, event));
                if let Some(c) = self.qnetd.conns.get_mut(&conn) {
                    c.to_server = c.to_server.max(self.now + 20 * MS);
                }
            }
            return Ok(());
        }
        let open = c.server;
        self.qnetd.server.generous = self.saboteur.bug == Some(Bug::GenerousServer);
        match event {
            ServerEvent::Reach if self.qnetd.up => {
                let first = !self.qnetd.conns.values().any(|c| c.server);
                self.qnetd.server.accept(conn);
                if let Some(c) = self.qnetd.conns.get_mut(&conn) {
                    (c.server, c.heard) = (true, self.now);
                }
                self.send_down(conn, ServerEvent::Made);
                self.agenda.at(self.now + 50 * MS, Event::Server(conn, ServerEvent::Probe));
                if first {
                    self.agenda.at(self.now + 50 * MS, Event::Server(0, ServerEvent::Again));
                }
            }
            ServerEvent::Reach => self.send_down(conn, ServerEvent::Reset),
            ServerEvent::Up(bytes) if open => {
                if let Some(c) = self.qnetd.conns.get_mut(&conn) {
                    c.heard = self.now;
                }
                if !self.qnetd.server.receive(conn, &bytes, &mut out) {
                    self.drop_client(conn, &mut out);
                }
            }
            ServerEvent::Up(bytes) if self.saboteur.strikes(Bug::HollowEchoes, 1_000_000) => {
                if let Ok(Message { kind: Kind::EchoRequest, seq, .. }) = Message::decode(&bytes) {
                    let reply = Message { seq, ..Message::new(Kind::EchoReply) };
                    self.send_down(conn, ServerEvent::Down(reply.encode()));
                }
            }
            // Its end is closed: the client's kernel is told.
            ServerEvent::Up(_) => self.send_down(conn, ServerEvent::Reset),
            ServerEvent::Hangup if open => self.drop_client(conn, &mut out),
            ServerEvent::Probe if open => {
                let dead_after = self.qnetd.server.dead_after(conn).unwrap_or(u64::MAX / MS / 4);
                let heard = self.qnetd.conns.get(&conn).map_or(0, |c| c.heard);
                if self.now >= heard + dead_after * MS {
                    self.drop_client(conn, &mut out);
                } else {
                    self.agenda.at(self.now + 20 * MS, Event::Server(conn, ServerEvent::Probe));
                }
            }
            _ => {}
        }
        self.deliver(out);
        Ok(())
    }

    fn deliver(&mut self, out: Sent) {
        for (conn, message) in out {
            self.coverage.reach("quorum server", "sends", kind(&message), "");
            self.send_down(conn, ServerEvent::Down(message.encode()));
        }
    }

    /// The server ends a connection.
    fn drop_client(&mut self, conn: Conn, out: &mut Sent) {
        self.qnetd.server.disconnect(conn, out);
        if let Some(c) = self.qnetd.conns.get_mut(&conn) {
            c.server = false;
            if !c.client {
                self.qnetd.conns.remove(&conn);
                return;
            }
        }
        // The word of that may never come; then the next bytes are refused.
        let hollow = self.saboteur.bug == Some(Bug::HollowEchoes);
        if self.healed || !hollow && self.chance.chance(500_000) {
            self.send_down(conn, ServerEvent::Reset);
        }
    }

    fn client_event(&mut self, conn: Conn, event: ServerEvent) -> Result<(), Violation> {
        let Some(c) = self.qnetd.conns.get(&conn).filter(|c| c.client) else { return Ok(()) };
        let (node, life, channel, attempt) = (c.node, c.life, c.channel, c.attempt);
        if !self.lives(node, life) {
            return Ok(());
        }
        if self.machines[node].paused.is_some() || self.qnetd.cuts[node] > 0 {
            let at = self.now + 5 * MS;
            self.agenda.at(at, Event::Server(conn, event));
            if let Some(c) = self.qnetd.conns.get_mut(&conn) {
                c.to_client = c.to_client.max(at);
            }
            return Ok(());
        }
        if matches!(event, ServerEvent::Reset)
            && let Some(c) = self.qnetd.conns.get_mut(&conn)
        {
            c.client = false;
            if !c.server {
                self.qnetd.conns.remove(&conn);
            }
        }
        self.trace.mix(&[self.now, node as u64, conn]);
        self.timers_first(node)?;
        if !self.lives(node, life) {
            return Ok(());
        }
        self.tell(node, |node, now| match &event {
            ServerEvent::Made => node.handle_server(now, channel, attempt, Input::Connected),
            ServerEvent::Secured => node.handle_server(now, channel, attempt, Input::Secured),
            ServerEvent::Down(bytes) => node.handle_server(now, channel, attempt, Input::Received(bytes)),
            _ => node.handle_server(now, channel, attempt, Input::Closed),
        })
    }

    /// The server is out of reach for some machines, dies, or loses one of its connections on one side.
    pub(crate) fn strike_server(&mut self) {
        let length = self.faults.log_uniform(MS, self.options.faults.cut_max.max(MS));
        let n = self.machines.len();
        match self.faults.below(5) {
            0 => {
                self.stop_server();
                self.qnetd.down += 1;
                self.agenda.at(self.now + length, Event::Undo(Undo::Server { cuts: Vec::new(), down: true }));
            }
            1 | 2 => {
                let one = self.faults.index(n);
                let all = self.faults.chance(200_000);
                let cuts: Vec<usize> = (0..n).filter(|i| all || *i == one).collect();
                self.trace.line(self.now, None, || format!("server out of reach: {cuts:?}"));
                cuts.iter().for_each(|i| self.qnetd.cuts[*i] += 1);
                self.agenda.at(self.now + length, Event::Undo(Undo::Server { cuts, down: false }));
            }
            side => {
                let open: Vec<Conn> =
                    self.qnetd.conns.iter().filter(|(_, c)| c.client && c.server).map(|(n, _)| *n).collect();
                if let Some(&conn) = open.get(self.faults.index(open.len().max(1))) {
                    self.trace.line(self.now, None, || format!("connection {conn} ends on side {side}"));
                    if side == 3 {
                        let mut out = Sent::new();
                        self.drop_client(conn, &mut out);
                        self.deliver(out);
                    } else {
                        self.send_down(conn, ServerEvent::Reset);
                    }
                }
            }
        }
    }

    /// The server dies: it forgets everything, and each connection ends, or seems to live on.
    pub fn stop_server(&mut self) {
        self.trace.line(self.now, None, || "the quorum server dies".to_owned());
        self.qnetd.up = false;
        self.qnetd.server = Server::default();
        let open: Vec<Conn> = self.qnetd.conns.iter().filter(|(_, c)| c.server).map(|(n, _)| *n).collect();
        for conn in open {
            let c = self.qnetd.conns.get_mut(&conn).map(|c| {
                c.server = false;
                c.client
            });
            if c == Some(true) && self.saboteur.bug != Some(Bug::HollowEchoes) && self.chance.chance(700_000)
            {
                self.send_down(conn, ServerEvent::Reset);
            }
        }
    }

    /// It is started again.
    pub fn start_server(&mut self) {
        self.qnetd.up = true;
    }

    pub(crate) fn mend_server(&mut self, cuts: &[usize], down: bool) {
        for node in cuts {
            let known = &mut self.qnetd.cuts[*node];
            *known = known.saturating_sub(1);
        }
        if down {
            self.qnetd.down = self.qnetd.down.saturating_sub(1);
            self.qnetd.up = self.qnetd.down == 0;
        }
    }

    /// The server is out of reach for these machines, or back. For scripts.
    pub fn reach_server(&mut self, nodes: &[usize], reach: bool) {
        nodes.iter().for_each(|node| self.qnetd.cuts[*node] = u32::from(!reach));
    }
}

fn kind(message: &Message) -> &'static str {
    use cmm_qnet::wire::Vote;
    match (message.kind, message.vote) {
        (Kind::VoteInfo, Some(Vote::Ack)) => "the vote",
        (Kind::VoteInfo, _) => "no vote",
        (Kind::AskForVoteReply, Some(Vote::Ack)) => "the vote, when asked",
        (Kind::AskForVoteReply, Some(Vote::Nack)) => "no vote, when asked",
        (Kind::InitReply, _) if message.error == Some(0) => "welcome",
        (Kind::InitReply, _) => "no welcome",
        _ => "otherwise",
    }
}
