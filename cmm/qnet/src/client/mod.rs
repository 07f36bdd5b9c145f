//! Holds the vote that the server gives to a partition: at every instant at most one life of one node.
//!
//! The server decides which partition has the vote, and tells each of its nodes. That alone does not do: every member of a partition
//! that falls apart has been told, a server that was started again has forgotten, and a connection may end on one side long before it does
//! on the other. So three things are put together.
//!
//! *Who.* Of the members that the server gives the vote to, only the lowest one of the ring counts it, and hands it on with its echoes. In
//! another ring where it is not the lowest it renews nothing any more, before it reports that ring.
//!
//! *Until when.* What the server has said counts for a lease from the making of the last request that it has answered.
//!
//! *From when.* Whoever gets the vote counts it a lease, drift and margin later. So whoever else counted it has an answer that was given after
//! this one: both were connected to the same life of the server, and had its word.
//!
//! That the word is given to one partition at a time is, with `ffsplit`, the server's rule: it takes it from the others first and waits until each has
//! answered. With `lms` it has no such rule. There the lowest member that has the word makes a second connection as a node that does not exist: the
//! server takes each node id once, so this connection is the vote.
//!
//! | state | input | what follows |
//! |---|---|---|
//! | connected | another configuration | reported to the server; the word for the one before is worth what it was |
//! | lowest member, word for this ring | time | after the wait the vote counts |
//! | counts | answer to an echo | a lease from when that was made |
//! | counts | no word: NACK | does not count; then the server is answered |
//! | counts | connection lost, or another node is the lowest | what is left of the lease, and nothing more |

mod session;

use std::collections::VecDeque;

use holdfast_types::{Boottime, Hold, NodeId, RingId, Span, Wish};

use self::session::{News, Session};
use crate::wire::{Algorithm, Heuristics, Kind, ListKind, Message, NodeInfo, TieBreaker, Vote, option};

/// Whether TLS is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tls {
    /// Never.
    Off,
    /// If the server has it.
    On,
    /// Without it there is no connection.
    Required,
}

/// How a cluster uses its server: the same on all nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How the server decides.
    pub algorithm: Algorithm,
    /// Who wins between equals.
    pub tie_breaker: TieBreaker,
    /// Whether a half that has the vote keeps it when the other one is as good.
    pub keep_active: bool,
    /// Whether TLS is used.
    pub tls: Tls,
    /// What the server is told: it takes a client for dead after 1.5 of these.
    pub heartbeat: Span,
    /// An echo is asked for this often.
    pub interval: Span,
    /// How long the vote counts from the making of an echo request that was answered.
    pub lease: Span,
    /// A connection that is not introduced by then is given up.
    pub connect_timeout: Span,
}

/// What a client is told at start.
#[derive(Clone, Debug)]
pub struct Config {
    /// `totem.cluster_name`.
    pub cluster: String,
    /// This node.
    pub node: NodeId,
    /// All configured nodes, at most [`crate::NODES_MAX`], ids 1 to 64.
    pub nodes: Vec<NodeId>,
    /// What is added when another node's lease is waited for: how late it may notice that it is over.
    pub margin: Span,
    /// The rest.
    pub settings: Settings,
}

impl Settings {
    /// What is wrong with them, if anything.
    ///
    /// # Errors
    /// In words.
    pub fn check(&self) -> Result<(), &'static str> {
        if !matches!(self.algorithm, Algorithm::FfSplit | Algorithm::Lms) {
            return Err("the algorithm must be ffsplit or lms");
        }
        if [self.interval, self.heartbeat, self.connect_timeout].contains(&Span::ZERO) {
            return Err("intervals must not be 0");
        }
        if self.lease < self.interval.scale(2, 1) {
            return Err("the lease must be at least two intervals");
        }
        Ok(())
    }
}

/// Which connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Channel {
    /// This node's own.
    Member,
    /// With `lms` the one that is the vote.
    Holder,
}

/// What happens to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input<'a> {
    /// It is made.
    Connected,
    /// TLS stands, and the server is who it should be.
    Secured,
    /// Bytes have come.
    Received(&'a [u8]),
    /// It is gone, or was never made.
    Closed,
}

/// What is to be done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Connect to the server.
    Connect {
        /// Which.
        channel: Channel,
        /// To be named with all that happens to it.
        attempt: u64,
    },
    /// Send these bytes.
    Send {
        /// Which.
        channel: Channel,
        /// Of this attempt.
        attempt: u64,
        /// What.
        bytes: Vec<u8>,
    },
    /// Go over to TLS, when all that was to be sent is sent.
    Secure {
        /// Which.
        channel: Channel,
        /// Of this attempt.
        attempt: u64,
    },
    /// End the connection.
    Close {
        /// Which.
        channel: Channel,
        /// Of this attempt.
        attempt: u64,
    },
    /// For the log.
    Event(Event),
}

/// For the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The server has taken this node.
    Connected {
        /// Which connection.
        channel: Channel,
    },
    /// The connection is gone, or there is none, for another reason than the last time.
    Disconnected {
        /// Which.
        channel: Channel,
        /// In words.
        why: &'static str,
    },
    /// The server's word for a ring.
    Verdict {
        /// Which.
        ring: RingId,
        /// It has the vote.
        ack: bool,
    },
    /// This node counts the vote from now on.
    Gained,
    /// It counts it no more.
    Lost {
        /// In words.
        why: &'static str,
    },
}

/// A node's part in the vote.
///
/// `now` never goes back. After each call [`Client::poll_output`] until it is empty.
#[derive(Debug)]
pub struct Client {
    config: Config,
    now: Boottime,
    wish: Wish,
    fit: Option<Heuristics>,
    told_fit: Option<Heuristics>,
    member: Session,
    holder: Session,
    /// The ring that the server was told last, on this connection.
    reported: Option<RingId>,
    /// It has said something about that.
    answered: bool,
    next_ask: Boottime,
    /// The ring that the server gave the vote to last, on this connection.
    acked: Option<RingId>,
    /// Since when the vote is with this node, if it waits long enough.
    granted: Option<Boottime>,
    /// The newest answered request: the lease of what was granted ends here.
    leased: Boottime,
    /// What is left of a grant that is over.
    rest: Option<Hold>,
    counts: bool,
    outputs: VecDeque<Output>,
}

impl Client {
    /// At this node's start.
    #[must_use]
    pub fn new(config: Config, now: Boottime) -> Self {
        Self {
            now,
            wish: Wish::default(),
            fit: None,
            told_fit: None,
            member: Session::new(Channel::Member, now),
            holder: Session::new(Channel::Holder, now),
            reported: None,
            answered: false,
            next_ask: now,
            acked: None,
            granted: None,
            leased: Boottime::ZERO,
            rest: None,
            counts: false,
            outputs: VecDeque::with_capacity(16),
            config,
        }
    }

    /// What the cluster wants has changed.
    pub fn set_wish(&mut self, now: Boottime, wish: Wish) {
        self.turn(now);
        self.wish = wish;
        self.advance();
    }

    /// The cluster has these nodes now.
    pub fn set_nodes(&mut self, now: Boottime, nodes: Vec<NodeId>) {
        self.turn(now);
        if self.config.nodes != nodes {
            self.config.nodes = nodes;
            if self.member.is_up() {
                self.tell_nodes(ListKind::Changed);
            }
            self.reported = None;
        }
        self.advance();
    }

    /// What heuristics say.
    pub fn set_heuristics(&mut self, now: Boottime, fit: bool) {
        self.turn(now);
        self.fit = Some(if fit { Heuristics::Pass } else { Heuristics::Fail });
        self.advance();
    }

    /// Something has happened to a connection.
    pub fn handle(&mut self, now: Boottime, channel: Channel, attempt: u64, input: Input<'_>) {
        self.turn(now);
        let ring = self.wish.ring;
        let (config, out) = (&self.config, &mut self.outputs);
        let session = match channel {
            Channel::Member => &mut self.member,
            Channel::Holder => &mut self.holder,
        };
        if !session.is_of(attempt) {
            return;
        }
        let mut gone = None;
        match input {
            Input::Connected => session.connected(config, out),
            Input::Secured => session.secured(config, ring, out),
            Input::Received(bytes) => session.received(bytes),
            Input::Closed => gone = session.lost(self.now, config, "the connection is gone", out),
        }
        if let Some(news) = gone {
            self.take(channel, news);
        }
        loop {
            let session = match channel {
                Channel::Member => &mut self.member,
                Channel::Holder => &mut self.holder,
            };
            let Some(news) = session.next_news(self.now, &self.config, ring, &mut self.outputs) else {
                break;
            };
            self.take(channel, news);
        }
        self.advance();
    }

    /// Time has passed.
    pub fn handle_timeout(&mut self, now: Boottime) {
        self.turn(now);
        self.advance();
    }

    /// The next thing to do, in order.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.outputs.pop_front()
    }

    /// When [`Client::handle_timeout`] has something to do.
    #[must_use]
    pub fn next_timeout(&self) -> Boottime {
        let mut next = self.member.next_timeout();
        if self.wants_holder() {
            next = next.min(self.holder.next_timeout());
        }
        if self.reports() {
            next = next.min(self.next_ask);
        }
        let begins = self.granted.map(|at| at + self.config.wait()).filter(|at| *at > self.now);
        let ends = self.hold(self.now).map(|h| h.until);
        [begins, ends].into_iter().flatten().fold(next, Boottime::min)
    }

    /// The vote, if this node may count it now.
    #[must_use]
    pub fn hold(&self, now: Boottime) -> Option<Hold> {
        let granted = self.granted.filter(|at| now >= *at + self.config.wait());
        let lease = granted.and(self.acked).map(|ring| Hold { until: self.leased, ring });
        let best = [lease, self.rest].into_iter().flatten().max_by_key(|h| h.until);
        best.filter(|h| now < h.until && self.wish.wanted)
    }

    /// Whether the server has taken this node.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.member.is_up()
    }

    /// First thing in every call.
    fn turn(&mut self, now: Boottime) {
        self.now = self.now.max(now);
        self.note("the lease ran out");
    }

    /// Says when the vote begins or ends to count.
    fn note(&mut self, why: &'static str) {
        let counts = self.hold(self.now).is_some();
        if counts != self.counts {
            self.counts = counts;
            self.event(if counts { Event::Gained } else { Event::Lost { why } });
        }
    }

    fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }

    /// The lowest member of the configuration counts the vote, and hands it on.
    fn is_lowest(&self) -> bool {
        self.wish.ring.representative == self.config.node
    }

    fn wants_holder(&self) -> bool {
        self.config.proof() == Channel::Holder && self.is_lowest() && self.acked.is_some()
    }

    /// There is a server, and a configuration to tell it about.
    fn reports(&self) -> bool {
        self.member.is_up() && self.wish.ring.representative.get() > 0 && self.wish.members != 0
    }

    fn advance(&mut self) {
        let now = self.now;
        if !self.is_lowest() {
            self.keep_rest();
        }
        if let Some(news) = self.member.tend(now, &self.config, &mut self.outputs) {
            self.take(Channel::Member, news);
        }
        if self.wants_holder() {
            if let Some(news) = self.holder.tend(now, &self.config, &mut self.outputs) {
                self.take(Channel::Holder, news);
            }
        } else if self.config.proof() == Channel::Holder {
            let down = self.holder.close(now, &self.config, "the vote is given back", &mut self.outputs);
            if let Some(news) = down {
                self.take(Channel::Holder, news);
            }
        }
        self.report();
        self.grant();
        self.note("this configuration is not quorate with it");
    }

    /// A grant is over; what is left of its lease is left.
    fn keep_rest(&mut self) {
        if let Some(at) = self.granted.take()
            && self.now >= at + self.config.wait()
            && let Some(ring) = self.acked
        {
            let rest = Hold { until: self.leased, ring };
            self.rest = Some(self.rest.filter(|r| r.until > rest.until).unwrap_or(rest));
        }
        self.leased = Boottime::ZERO;
    }

    fn grant(&mut self) {
        let proven = match self.config.proof() {
            Channel::Member => self.acked == Some(self.wish.ring),
            Channel::Holder => self.holder.is_up() && self.acked.is_some(),
        };
        if self.granted.is_none() && proven && self.is_lowest() {
            self.granted = Some(self.now);
        }
    }

    /// Tells the server what it does not know yet; what it has not said anything about after a while is told again.
    fn report(&mut self) {
        if !self.reports() {
            return;
        }
        let fit = self.fit.filter(|_| self.member.knows(option::HEURISTICS));
        let ring = self.wish.ring;
        let told = self.reported == Some(ring);
        if told && fit.is_some() && self.told_fit != fit {
            let mut change = Message::numbered(Kind::HeuristicsChange, self.member.next_seq());
            change.heuristics = fit;
            self.member.send(&change, &mut self.outputs);
            self.told_fit = fit;
        }
        let due = self.now >= self.next_ask;
        if !told || due && !self.answered {
            let mut list = Message::numbered(Kind::NodeList, self.member.next_seq());
            list.list = Some(ListKind::Membership);
            list.ring = Some(ring);
            list.heuristics = fit;
            let members = self.config.nodes.iter().filter(|n| {
                n.get().checked_sub(1).and_then(|bit| self.wish.members.checked_shr(bit)).unwrap_or(0) & 1
                    == 1
            });
            list.nodes = members.map(|node| NodeInfo { node: *node, state: Some(1) }).collect();
            self.member.send(&list, &mut self.outputs);
            self.told_fit = fit;
            (self.reported, self.answered) = (Some(ring), false);
            self.next_ask = self.now + self.config.settings.interval.scale(5, 1);
        } else if due && self.config.settings.algorithm == Algorithm::Lms {
            // It says nothing by itself when another partition has become the better one.
            let ask = Message::numbered(Kind::AskForVote, self.member.next_seq());
            self.member.send(&ask, &mut self.outputs);
            self.next_ask = self.now + self.config.settings.interval;
        } else if due {
            self.next_ask = self.now + self.config.settings.interval.scale(5, 1);
        }
    }

    fn take(&mut self, channel: Channel, news: News) {
        match (channel, news) {
            (Channel::Member, News::Up) => self.introduce(),
            (Channel::Holder, News::Up) => self.grant(),
            (at, News::Echoed(made)) if at == self.config.proof() && self.granted.is_some() => {
                self.leased = self.leased.max(made + self.config.settings.lease);
                self.note("");
            }
            (Channel::Member, News::Message(message)) => self.message(&message),
            (Channel::Member, News::Down) => {
                self.keep_rest();
                (self.acked, self.reported, self.answered) = (None, None, false);
            }
            (Channel::Holder, News::Down) => self.keep_rest(),
            (_, News::Echoed(_) | News::Message(_)) => {}
        }
    }

    /// First of all: what is configured.
    fn introduce(&mut self) {
        (self.acked, self.reported, self.answered) = (None, None, false);
        if self.member.knows(option::KEEP_ACTIVE) {
            let mut set = Message::numbered(Kind::SetOption, self.member.next_seq());
            set.keep_active = Some(self.config.settings.keep_active);
            self.member.send(&set, &mut self.outputs);
        }
        self.tell_nodes(ListKind::Initial);
    }

    /// Who is configured.
    fn tell_nodes(&mut self, list_kind: ListKind) {
        let mut list = Message::numbered(Kind::NodeList, self.member.next_seq());
        list.list = Some(list_kind);
        list.nodes = self.config.nodes.iter().map(|node| NodeInfo { node: *node, state: None }).collect();
        self.member.send(&list, &mut self.outputs);
    }

    fn message(&mut self, message: &Message) {
        let vote = message.vote;
        match message.kind {
            Kind::VoteInfo => {
                self.verdict(message.ring, vote);
                // Behind what follows from it: nobody else is given the vote before this is read.
                let mut reply = Message::new(Kind::VoteInfoReply);
                reply.seq = message.seq;
                self.member.send(&reply, &mut self.outputs);
            }
            // With ffsplit a vote comes by itself, when it was taken from all others.
            Kind::NodeListReply | Kind::HeuristicsChangeReply
                if self.config.settings.algorithm == Algorithm::FfSplit =>
            {
                self.verdict(message.ring, vote.filter(|v| *v == Vote::Nack));
            }
            Kind::NodeListReply | Kind::HeuristicsChangeReply | Kind::AskForVoteReply => {
                self.verdict(message.ring, vote);
            }
            _ => {}
        }
    }

    fn verdict(&mut self, ring: Option<RingId>, vote: Option<Vote>) {
        let about = self.reported.filter(|known| Some(*known) == ring);
        let before = self.acked;
        match (vote, about) {
            (Some(Vote::Nack), _) => {
                (self.acked, self.granted, self.rest) = (None, None, None);
                self.leased = Boottime::ZERO;
                self.answered = true;
                if before.is_some() || about.is_some() {
                    self.tell_verdict(ring, false);
                }
                self.note("the server has taken it");
            }
            (Some(Vote::Ack), Some(ring)) => {
                (self.acked, self.answered) = (Some(ring), true);
                if before != Some(ring) {
                    self.tell_verdict(Some(ring), true);
                }
                self.grant();
            }
            _ => {}
        }
    }

    fn tell_verdict(&mut self, ring: Option<RingId>, ack: bool) {
        if let Some(ring) = ring {
            self.event(Event::Verdict { ring, ack });
        }
    }
}

impl Config {
    /// How long after it was given to this node nobody else counts the vote any more.
    fn wait(&self) -> Span {
        self.settings.lease.scale(102, 100) + self.margin
    }
}

#[cfg(test)]
mod tests;
