//! The client against a server that is played by hand.

use super::*;
use crate::wire::{Stream, TlsSupport};

const LEASE: Span = Span::from_millis(1_000);
const WAIT: Span = Span::from_millis(1_120);

struct World {
    client: Client,
    now: Boottime,
    attempts: [u64; 2],
    streams: [Stream; 2],
    sent: Vec<(Channel, Message)>,
    events: Vec<Event>,
    /// Whether echoes are answered.
    answers: bool,
}

fn config(algorithm: Algorithm) -> Config {
    Config {
        cluster: "alpha".to_owned(),
        node: NodeId::new(1),
        nodes: vec![NodeId::new(1), NodeId::new(2)],
        margin: Span::from_millis(100),
        settings: Settings {
            algorithm,
            tie_breaker: TieBreaker::Lowest,
            keep_active: true,
            tls: Tls::Off,
            heartbeat: Span::from_millis(1_600),
            interval: Span::from_millis(200),
            lease: LEASE,
            connect_timeout: Span::from_millis(1_600),
        },
    }
}

fn ring(representative: u32, seq: u64) -> RingId {
    RingId { representative: NodeId::new(representative), seq }
}

impl World {
    fn new(algorithm: Algorithm) -> Self {
        let now = Boottime::from_nanos(1_000_000_000);
        let mut world = Self {
            client: Client::new(config(algorithm), now),
            now,
            attempts: [0; 2],
            streams: [Stream::default(), Stream::default()],
            sent: Vec::new(),
            events: Vec::new(),
            answers: true,
        };
        world.client.handle_timeout(now);
        world.drain();
        world
    }

    fn wish(&mut self, ring: RingId, members: u64) {
        self.client.set_wish(self.now, Wish { wanted: true, ring, members });
        self.drain();
    }

    fn pass(&mut self, span: Span) {
        let end = self.now + span;
        while self.client.next_timeout() <= end {
            self.now = self.now.max(self.client.next_timeout());
            self.client.handle_timeout(self.now);
            self.drain();
        }
        self.now = end;
        self.client.handle_timeout(end);
        self.drain();
    }

    /// Plays the server: takes whoever comes, and answers echoes.
    fn drain(&mut self) {
        while let Some(output) = self.client.poll_output() {
            match output {
                Output::Connect { channel, attempt } => {
                    self.attempts[channel as usize] = attempt;
                    self.streams[channel as usize].clear();
                    self.client.handle(self.now, channel, attempt, Input::Connected);
                }
                Output::Send { channel, bytes, .. } => {
                    self.streams[channel as usize].extend(&bytes);
                    let message = self.streams[channel as usize].next_message().unwrap().unwrap();
                    self.sent.push((channel, message.clone()));
                    let mut reply = Message::new(Kind::InitReply);
                    reply.seq = message.seq;
                    match message.kind {
                        Kind::Preinit => {
                            reply.kind = Kind::PreinitReply;
                            reply.tls = Some(TlsSupport::Supported);
                        }
                        Kind::Init => {
                            reply.error = Some(0);
                            reply.options = Some(u64::MAX);
                        }
                        Kind::EchoRequest if self.answers => reply.kind = Kind::EchoReply,
                        _ => continue,
                    }
                    self.say(channel, &reply);
                }
                Output::Event(event) => self.events.push(event),
                Output::Secure { .. } | Output::Close { .. } => {}
            }
        }
    }

    fn say(&mut self, channel: Channel, message: &Message) {
        let attempt = self.attempts[channel as usize];
        self.client.handle(self.now, channel, attempt, Input::Received(&message.encode()));
        self.drain();
    }

    fn vote(&mut self, kind: Kind, ring: RingId, vote: Vote) {
        let mut info = Message::numbered(kind, 5);
        (info.ring, info.vote) = (Some(ring), Some(vote));
        self.say(Channel::Member, &info);
    }

    fn holds(&self) -> bool {
        self.client.hold(self.now).is_some()
    }
}

#[test]
fn the_vote_counts_after_the_wait_and_while_the_server_answers() {
    let mut world = World::new(Algorithm::FfSplit);
    let both = ring(1, 4);
    world.wish(both, 0b11);
    let kinds: Vec<Kind> = world.sent.iter().map(|(_, m)| m.kind).collect();
    assert_eq!(kinds[..4], [Kind::Preinit, Kind::Init, Kind::SetOption, Kind::NodeList]);
    world.vote(Kind::VoteInfo, both, Vote::Ack);
    assert_eq!(world.sent.last().unwrap().1, Message::numbered(Kind::VoteInfoReply, 5));
    world.pass(Span::from_millis(1_100));
    assert!(!world.holds(), "others may still count it");
    world.pass(Span::from_millis(21));
    assert_eq!(world.client.hold(world.now).map(|h| h.ring), Some(both));
    world.pass(Span::from_secs(60));
    assert!(world.holds());
    world.answers = false;
    world.pass(Span::from_millis(1_001));
    assert!(!world.holds(), "a server that does not answer gives nothing");
    assert!(world.events.contains(&Event::Lost { why: "the lease ran out" }), "{:?}", world.events);
}

#[test]
fn a_nack_counts_before_it_is_answered() {
    let mut world = World::new(Algorithm::FfSplit);
    let both = ring(1, 4);
    world.wish(both, 0b11);
    world.vote(Kind::VoteInfo, both, Vote::Ack);
    world.pass(WAIT + Span::from_millis(1));
    assert!(world.holds());
    let mut info = Message::numbered(Kind::VoteInfo, 6);
    (info.ring, info.vote) = (Some(both), Some(Vote::Nack));
    let attempt = world.attempts[0];
    world.client.handle(world.now, Channel::Member, attempt, Input::Received(&info.encode()));
    assert!(!world.holds());
    world.drain();
    assert_eq!(world.sent.last().unwrap().1, Message::numbered(Kind::VoteInfoReply, 6));
    // What comes back has to wait again.
    world.vote(Kind::VoteInfo, both, Vote::Ack);
    world.pass(Span::from_millis(900));
    assert!(!world.holds());
    world.pass(Span::from_millis(300));
    assert!(world.holds());
}

#[test]
fn who_is_not_the_lowest_counts_nothing_and_renews_nothing() {
    let mut world = World::new(Algorithm::FfSplit);
    world.wish(ring(2, 4), 0b11);
    world.vote(Kind::VoteInfo, ring(2, 4), Vote::Ack);
    world.pass(Span::from_secs(5));
    assert!(!world.holds());
    let own = ring(1, 8);
    world.wish(own, 0b01);
    world.vote(Kind::VoteInfo, own, Vote::Ack);
    world.pass(WAIT + Span::from_millis(1));
    assert!(world.holds());
    // In another one it is not: what is left counts for the configuration before, and no longer.
    let left = world.client.hold(world.now).unwrap();
    world.wish(ring(2, 12), 0b11);
    assert_eq!(world.client.hold(world.now), Some(left));
    world.vote(Kind::VoteInfo, ring(2, 12), Vote::Ack);
    world.pass(LEASE);
    assert!(!world.holds());
}

#[test]
fn a_word_for_another_ring_is_none_and_goes_with_the_connection() {
    let mut world = World::new(Algorithm::FfSplit);
    let (both, own) = (ring(1, 4), ring(1, 8));
    world.wish(both, 0b11);
    world.wish(own, 0b01);
    world.vote(Kind::VoteInfo, both, Vote::Ack);
    world.vote(Kind::NodeListReply, own, Vote::Ack);
    world.pass(Span::from_secs(5));
    assert!(!world.holds(), "not for this ring, and not by the server's own word");
    world.vote(Kind::VoteInfo, own, Vote::Ack);
    world.pass(WAIT + Span::from_millis(1));
    assert!(world.holds());
    let attempt = world.attempts[0];
    world.client.handle(world.now, Channel::Member, attempt, Input::Closed);
    world.drain();
    assert!(world.holds(), "what is left of the lease");
    world.pass(Span::from_secs(5));
    assert!(!world.holds() && world.client.is_connected());
    // Bytes of an earlier connection are nobody's.
    let mut info = Message::numbered(Kind::VoteInfo, 6);
    (info.ring, info.vote) = (Some(own), Some(Vote::Ack));
    world.client.handle(world.now, Channel::Member, attempt, Input::Received(&info.encode()));
    world.drain();
    world.pass(Span::from_secs(5));
    assert!(!world.holds());
}

#[test]
fn with_lms_a_second_connection_is_the_vote() {
    let mut world = World::new(Algorithm::Lms);
    let own = ring(1, 4);
    world.wish(own, 0b01);
    world.vote(Kind::AskForVoteReply, own, Vote::Ack);
    let init = world.sent.iter().find(|(c, m)| *c == Channel::Holder && m.kind == Kind::Init).unwrap();
    assert_eq!(init.1.node, Some(NodeId::new(u32::MAX)));
    world.pass(WAIT + Span::from_millis(1));
    assert!(world.holds());
    assert!(world.sent.iter().any(|(_, m)| m.kind == Kind::AskForVote), "it is asked again and again");
    world.vote(Kind::AskForVoteReply, own, Vote::Nack);
    assert!(!world.holds());
    assert!(
        world
            .events
            .contains(&Event::Disconnected { channel: Channel::Holder, why: "the vote is given back" })
    );
    // Where the server does not take the second one there is no vote.
    let attempt = world.attempts[1];
    world.vote(Kind::AskForVoteReply, own, Vote::Ack);
    assert!(world.attempts[1] == attempt, "not at once");
    world.pass(Span::from_millis(401));
    assert!(world.attempts[1] > attempt);
}
