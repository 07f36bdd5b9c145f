//! A quorum server as the real one behaves: what it knows of its clients, whom it gives the vote to, and in which order it says so. Written
//! from its description; the tests with the real server show that the two agree where it counts.

use cmm_qnet::wire::{
    Algorithm, Heuristics, Kind, ListKind, MESSAGES_KNOWN, Message, OPTIONS_KNOWN, Stream, TieBreaker,
    TlsSupport, Vote, error,
};
use holdfast_types::{NodeId, RingId};

/// Number of a connection.
pub(crate) type Conn = u64;

/// What the server sends, in order.
pub(crate) type Sent = Vec<(Conn, Message)>;

/// One client.
#[derive(Debug)]
struct Client {
    conn: Conn,
    stream: Stream,
    /// Set when it was introduced.
    node: Option<NodeId>,
    tie_breaker: TieBreaker,
    heartbeat: u32,
    keep_active: bool,
    configured: Vec<NodeId>,
    ring: RingId,
    members: Vec<NodeId>,
    heuristics: Option<Heuristics>,
    /// ffsplit: the vote that is due and not answered.
    due: Option<Vote>,
    number: u32,
    /// lms: what it was told last; `None`: it is new.
    told: Option<Vote>,
}

/// Whom an ffsplit server waits for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Phase {
    #[default]
    Rest,
    Unstable,
    Taking,
    Giving,
}

/// The server. Everything in it is gone when it is started again.
#[derive(Debug, Default)]
pub(crate) struct Server {
    clients: Vec<Client>,
    phase: Phase,
    quorate: Vec<NodeId>,
    algorithm: Option<Algorithm>,
    /// It gives its word to everybody: a lie.
    pub(crate) generous: bool,
}

impl Server {
    pub(crate) fn accept(&mut self, conn: Conn) {
        self.clients.push(Client {
            conn,
            stream: Stream::default(),
            node: None,
            tie_breaker: TieBreaker::Lowest,
            heartbeat: 0,
            keep_active: false,
            configured: Vec::new(),
            ring: RingId::default(),
            members: Vec::new(),
            heuristics: None,
            due: None,
            number: 0,
            told: None,
        });
    }

    /// After how many milliseconds without a message a client is taken for dead.
    pub(crate) fn dead_after(&self, conn: Conn) -> Option<u64> {
        let client = self.clients.iter().find(|c| c.conn == conn)?;
        Some(u64::from(client.heartbeat) * 3 / 2).filter(|ms| *ms > 0)
    }

    /// A client is gone.
    pub(crate) fn disconnect(&mut self, conn: Conn, out: &mut Sent) {
        let Some(at) = self.clients.iter().position(|c| c.conn == conn) else { return };
        let gone = self.clients.remove(at);
        if gone.node.is_some() && self.algorithm == Some(Algorithm::FfSplit) {
            self.decide(out);
        }
        if self.members().next().is_none() {
            (self.phase, self.quorate) = (Phase::Rest, Vec::new());
        }
    }

    /// Bytes of a client have come. `false`: it is to be disconnected.
    pub(crate) fn receive(&mut self, conn: Conn, bytes: &[u8], out: &mut Sent) -> bool {
        let Some(client) = self.clients.iter_mut().find(|c| c.conn == conn) else { return true };
        client.stream.extend(bytes);
        loop {
            let Some(at) = self.clients.iter().position(|c| c.conn == conn) else { return true };
            match self.clients[at].stream.next_message() {
                Ok(Some(message)) => self.take(at, &message, out),
                Ok(None) => return true,
                Err(_) => return false,
            }
        }
    }

    /// lms: clients that wait for the others of their partition are looked at again.
    pub(crate) fn look_again(&mut self, out: &mut Sent) {
        for at in 0..self.clients.len() {
            if self.clients[at].told == Some(Vote::WaitForReply) {
                let vote = self.last_man(at, self.clients[at].ring);
                if matches!(vote, Vote::Ack | Vote::Nack) {
                    self.clients[at].number += 1;
                    self.tell_vote(at, vote, out);
                }
            }
        }
    }

    fn members(&self) -> impl Iterator<Item = &Client> {
        self.clients.iter().filter(|c| c.node.is_some())
    }

    fn take(&mut self, at: usize, message: &Message, out: &mut Sent) {
        let conn = self.clients[at].conn;
        let mut reply = Message::new(Kind::ServerError);
        reply.seq = message.seq;
        match message.kind {
            Kind::Preinit => {
                reply.kind = Kind::PreinitReply;
                (reply.tls, reply.client_cert) = (Some(TlsSupport::Supported), Some(true));
            }
            Kind::Init => {
                reply.kind = Kind::InitReply;
                let taken = self.members().any(|c| c.node == message.node);
                reply.error = Some(if taken { error::DUPLICATE_NODE } else { error::NONE });
                (reply.messages, reply.options) = (Some(MESSAGES_KNOWN), Some(OPTIONS_KNOWN));
                (reply.longest_request, reply.longest_reply) = (Some(1 << 15), Some(1 << 15));
                reply.algorithms = Some(0b1111);
                let client = &mut self.clients[at];
                client.heartbeat = message.heartbeat.unwrap_or(0);
                if !taken {
                    client.node = message.node;
                    client.ring = message.ring.unwrap_or_default();
                    client.tie_breaker = message.tie_breaker.unwrap_or(TieBreaker::Lowest);
                    self.algorithm = message.algorithm.and_then(Algorithm::of);
                }
            }
            Kind::StartTls => return,
            _ if self.clients[at].node.is_none() => reply.error = Some(11),
            Kind::SetOption => {
                reply.kind = Kind::SetOptionReply;
                let client = &mut self.clients[at];
                client.keep_active = message.keep_active.unwrap_or(client.keep_active);
            }
            Kind::EchoRequest => reply.kind = Kind::EchoReply,
            Kind::NodeList => {
                (reply.kind, reply.list) = (Kind::NodeListReply, message.list);
                reply.vote = Some(self.list(at, message, out));
                reply.ring = Some(self.clients[at].ring);
            }
            Kind::HeuristicsChange => {
                (reply.kind, reply.vote) = (Kind::HeuristicsChangeReply, Some(Vote::NoChange));
                reply.ring = Some(self.clients[at].ring);
                self.clients[at].heuristics = message.heuristics;
                if self.algorithm == Some(Algorithm::FfSplit) {
                    self.decide(out);
                }
            }
            Kind::AskForVote if self.algorithm == Some(Algorithm::Lms) => {
                let ring = self.clients[at].ring;
                (reply.kind, reply.ring) = (Kind::AskForVoteReply, Some(ring));
                reply.vote = Some(self.last_man(at, ring));
            }
            Kind::VoteInfoReply => return self.vote_read(at, message.seq, out),
            _ => reply.error = Some(14),
        }
        out.push((conn, reply));
    }

    fn list(&mut self, at: usize, message: &Message, out: &mut Sent) -> Vote {
        let nodes: Vec<NodeId> = message.nodes.iter().map(|n| n.node).collect();
        let lms = self.algorithm == Some(Algorithm::Lms);
        match message.list {
            Some(ListKind::Initial | ListKind::Changed) => {
                self.clients[at].configured = nodes;
                Vote::AskLater
            }
            Some(ListKind::Membership) => {
                let ring = message.ring.unwrap_or_default();
                // It is looked at with what was known before.
                let vote = if lms { Some(self.last_man(at, ring)) } else { None };
                let client = &mut self.clients[at];
                (client.ring, client.members, client.heuristics) = (ring, nodes, message.heuristics);
                vote.unwrap_or_else(|| {
                    self.decide(out);
                    if self.phase == Phase::Unstable { Vote::WaitForReply } else { Vote::NoChange }
                })
            }
            _ => Vote::NoChange,
        }
    }

    fn tell_vote(&mut self, at: usize, vote: Vote, out: &mut Sent) {
        let client = &self.clients[at];
        let mut info = Message::numbered(Kind::VoteInfo, client.number);
        (info.ring, info.vote) = (Some(client.ring), Some(vote));
        out.push((client.conn, info));
    }

    /// ffsplit: looks at everybody anew.
    fn decide(&mut self, out: &mut Sent) {
        self.phase = Phase::Unstable;
        if !self.is_stable() {
            return;
        }
        self.quorate = self.best().unwrap_or_default();
        for client in self.clients.iter_mut().filter(|c| c.node.is_some()) {
            let has = client.node.is_some_and(|n| self.quorate.contains(&n)) || self.generous;
            client.due = Some(if has { Vote::Ack } else { Vote::Nack });
        }
        self.phase = Phase::Taking;
        if self.tell_all(Vote::Nack, out) == 0 {
            self.give(out);
        }
    }

    fn give(&mut self, out: &mut Sent) {
        self.phase = Phase::Giving;
        if self.tell_all(Vote::Ack, out) == 0 {
            self.phase = Phase::Rest;
        }
    }

    fn tell_all(&mut self, vote: Vote, out: &mut Sent) -> usize {
        let due: Vec<usize> =
            (0..self.clients.len()).filter(|at| self.clients[*at].due == Some(vote)).collect();
        for at in &due {
            self.clients[*at].number += 1;
            self.tell_vote(*at, vote, out);
        }
        due.len()
    }

    fn vote_read(&mut self, at: usize, seq: Option<u32>, out: &mut Sent) {
        if self.algorithm != Some(Algorithm::FfSplit) || seq != Some(self.clients[at].number) {
            return;
        }
        self.clients[at].due = None;
        let rest = |vote| self.clients.iter().filter(|c| c.due == Some(vote)).count();
        match self.phase {
            Phase::Taking if rest(Vote::Nack) == 0 => self.give(out),
            Phase::Giving if rest(Vote::Ack) == 0 => self.phase = Phase::Rest,
            _ => {}
        }
    }

    /// All have the same configured, and the connected members of each list have told the same ring and list.
    fn is_stable(&self) -> bool {
        let same = |a: &Client, b: &Client| {
            a.configured.iter().all(|n| b.configured.contains(n))
                && (!b.node.is_some_and(|n| a.members.contains(&n))
                    || a.ring == b.ring && a.members.iter().all(|n| b.members.contains(n)))
        };
        self.members().all(|a| self.members().all(|b| a.conn == b.conn || same(a, b)))
    }

    fn best(&self) -> Option<Vec<NodeId>> {
        let keep = self.members().all(|c| c.keep_active);
        let mut best: Option<&Client> = None;
        for client in self.members() {
            if self.is_better(client, best, keep) {
                best = Some(client);
            }
        }
        best.map(|c| c.members.clone())
    }

    fn is_better(&self, one: &Client, other: Option<&Client>, keep: bool) -> bool {
        let (all, here) = (one.configured.len(), one.members.len());
        if here * 2 != all {
            return here * 2 > all;
        }
        let score = |c: &Client| {
            let connected = self.members().filter(|m| m.node.is_some_and(|n| c.members.contains(&n)));
            connected.fold(0_i64, |sum, m| {
                sum + 1
                    + match m.heuristics {
                        Some(Heuristics::Pass) => 1,
                        Some(Heuristics::Fail) => -1,
                        None => 0,
                    }
            })
        };
        let (mine, its) = (score(one), other.map_or(0, score));
        if mine != its {
            return mine > its;
        }
        if let Some(other) = other {
            let active = |c: &Client| c.node.is_some_and(|n| self.quorate.contains(&n));
            if keep && active(one) != active(other) {
                return active(one);
            }
        }
        let preferred = match one.tie_breaker {
            TieBreaker::Lowest => one.configured.iter().min().copied(),
            TieBreaker::Highest => one.configured.iter().max().copied(),
            TieBreaker::Node(node) => Some(node),
        };
        preferred.is_some_and(|n| one.members.contains(&n))
    }

    /// lms: the verdict for one client, whatever the others have been told.
    fn last_man(&mut self, at: usize, ring: RingId) -> Vote {
        if self.generous {
            return Vote::Ack;
        }
        let vote = self.last_man_of(at, ring);
        match vote {
            // A newcomer stays one.
            Err(vote) => vote,
            Ok(vote) => {
                self.clients[at].told = Some(vote);
                vote
            }
        }
    }

    fn last_man_of(&self, at: usize, ring: RingId) -> Result<Vote, Vote> {
        let me = &self.clients[at];
        let together = |c: &Client| {
            c.node.is_some_and(|n| me.members.contains(&n)) || me.node.is_some_and(|n| c.members.contains(&n))
        };
        if self.members().any(|c| c.conn != me.conn && together(c) && c.ring != ring) {
            return Ok(Vote::WaitForReply);
        }
        let mut parts: Vec<(RingId, i64, u32)> = Vec::new();
        for client in self.members().filter(|c| c.ring.seq > 0) {
            let score = 1 + match client.heuristics {
                Some(Heuristics::Pass) => 1,
                Some(Heuristics::Fail) => -1,
                None => 0,
            };
            match parts.iter_mut().find(|p| p.0 == client.ring) {
                Some(part) => (part.1, part.2) = (part.1 + score, part.2 + 1),
                None => parts.push((client.ring, score, 1)),
            }
        }
        match parts.len() {
            0 => return Ok(Vote::WaitForReply),
            1 => return Ok(Vote::Ack),
            _ => {}
        }
        if me.told.is_none() && self.members().any(|c| c.ring != ring && c.told == Some(Vote::Ack)) {
            return Err(Vote::Nack);
        }
        let verdict = |has: bool| Ok(if has { Vote::Ack } else { Vote::Nack });
        for key in [|p: &(RingId, i64, u32)| p.1, |p: &(RingId, i64, u32)| i64::from(p.2)] {
            let most = parts.iter().map(key).max();
            let mut first = parts.iter().filter(|p| Some(key(p)) == most);
            if let (Some(best), None) = (first.next(), first.next()) {
                return verdict(best.0 == ring);
            }
        }
        let named = self.members().filter(|c| c.node.is_some_and(|n| n.get() > 0 && n.get() < u32::MAX));
        let tie = match me.tie_breaker {
            TieBreaker::Lowest => named.min_by_key(|c| c.node),
            TieBreaker::Highest => named.max_by_key(|c| c.node),
            TieBreaker::Node(node) => named.into_iter().find(|c| c.node == Some(node)),
        };
        verdict(tie.is_some_and(|c| c.ring == ring))
    }
}
