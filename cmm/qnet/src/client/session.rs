//! One connection to the server: it is made, secured where both sides want that, introduced, and then kept alive by echoes. Which one
//! of many connections an input belongs to is said by its attempt: what comes from an earlier one is passed over.

use std::collections::VecDeque;

use holdfast_types::{Boottime, NodeId, RingId, Span};

use super::{Channel, Config, Event, Output, Tls};
use crate::wire::{
    Algorithm, Kind, MESSAGES_KNOWN, Message, OPTIONS_KNOWN, Stream, TieBreaker, TlsSupport, error,
};

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Idle,
    Connecting,
    Preinit,
    Securing,
    Init,
    Up,
}

/// A connection, or the wait for the next one.
#[derive(Debug)]
pub(super) struct Session {
    channel: Channel,
    state: State,
    attempt: u64,
    /// Idle: when to connect. Else: when to give up what is waited for.
    at: Boottime,
    stream: Stream,
    seq: u32,
    /// The echo request under way: its number, and when it was made.
    echo: Option<(u32, Boottime)>,
    next_echo: Boottime,
    /// Options that the server knows.
    known: u64,
    /// Why there is no connection, as said last.
    said: Option<&'static str>,
}

/// What a session tells its client.
#[derive(Debug)]
pub(super) enum News {
    /// Introduced: from now on lists and votes.
    Up,
    /// The server was there when this request was made.
    Echoed(Boottime),
    /// For the client to act on.
    Message(Box<Message>),
    /// The connection is gone.
    Down,
}

impl Session {
    pub(super) fn new(channel: Channel, now: Boottime) -> Self {
        Self {
            channel,
            state: State::Idle,
            attempt: 0,
            at: now,
            stream: Stream::default(),
            seq: 0,
            echo: None,
            next_echo: now,
            known: 0,
            said: None,
        }
    }

    pub(super) fn is_up(&self) -> bool {
        self.state == State::Up
    }

    pub(super) fn is_of(&self, attempt: u64) -> bool {
        self.state != State::Idle && self.attempt == attempt
    }

    /// Whether the server knows an option.
    pub(super) fn knows(&self, number: u16) -> bool {
        self.known >> number & 1 == 1
    }

    pub(super) fn next_timeout(&self) -> Boottime {
        let echo = if self.is_up() && self.echo.is_none() { self.next_echo } else { self.at };
        self.at.min(echo)
    }

    pub(super) fn next_seq(&mut self) -> u32 {
        self.seq = self.seq.wrapping_add(1);
        self.seq
    }

    pub(super) fn send(&self, message: &Message, out: &mut VecDeque<Output>) {
        let (channel, attempt) = (self.channel, self.attempt);
        out.push_back(Output::Send { channel, attempt, bytes: message.encode() });
    }

    /// What the time asks for. `Some`: the connection is gone.
    pub(super) fn tend(
        &mut self,
        now: Boottime,
        config: &Config,
        out: &mut VecDeque<Output>,
    ) -> Option<News> {
        match self.state {
            State::Idle if now >= self.at => {
                self.attempt += 1;
                self.state = State::Connecting;
                self.at = now + config.settings.connect_timeout;
                self.stream.clear();
                out.push_back(Output::Connect { channel: self.channel, attempt: self.attempt });
            }
            State::Idle => {}
            _ if now >= self.at => return self.close(now, config, "no answer in time", out),
            State::Up if self.echo.is_none() && now >= self.next_echo => {
                let seq = self.next_seq();
                self.echo = Some((seq, now));
                self.next_echo = now + config.settings.interval;
                self.send(&Message::numbered(Kind::EchoRequest, seq), out);
            }
            _ => {}
        }
        None
    }

    /// The connection is made.
    pub(super) fn connected(&mut self, config: &Config, out: &mut VecDeque<Output>) {
        if self.state == State::Connecting {
            self.state = State::Preinit;
            let mut preinit = Message::numbered(Kind::Preinit, self.next_seq());
            preinit.cluster = Some(config.cluster.as_bytes().to_vec());
            self.send(&preinit, out);
        }
    }

    /// TLS stands.
    pub(super) fn secured(&mut self, config: &Config, ring: RingId, out: &mut VecDeque<Output>) {
        if self.state == State::Securing {
            self.init(config, ring, out);
        }
    }

    pub(super) fn received(&mut self, bytes: &[u8]) {
        self.stream.extend(bytes);
    }

    /// The next thing that came, if there is one.
    pub(super) fn next_news(
        &mut self,
        now: Boottime,
        config: &Config,
        ring: RingId,
        out: &mut VecDeque<Output>,
    ) -> Option<News> {
        while self.state != State::Idle {
            let message = match self.stream.next_message() {
                Ok(message) => message?,
                Err(_) => return self.close(now, config, "the server sent what is no message", out),
            };
            let news = match (self.state, message.kind) {
                (State::Preinit, Kind::PreinitReply) => self.preinit_reply(now, &message, config, ring, out),
                (State::Init, Kind::InitReply) => self.init_reply(now, &message, config, out),
                (State::Up, Kind::EchoReply) => self.echo_reply(now, &message, config),
                (_, Kind::ServerError) => {
                    self.close(now, config, error::text(message.error.unwrap_or(u16::MAX)), out)
                }
                (State::Up, _) => Some(News::Message(Box::new(message))),
                _ => self.close(now, config, "the server sent a message that is not expected", out),
            };
            if news.is_some() {
                return news;
            }
        }
        None
    }

    fn preinit_reply(
        &mut self,
        now: Boottime,
        reply: &Message,
        config: &Config,
        ring: RingId,
        out: &mut VecDeque<Output>,
    ) -> Option<News> {
        match (reply.tls?, config.settings.tls) {
            (TlsSupport::Required, Tls::Off) => {
                return self.close(
                    now,
                    config,
                    "the server requires TLS, and \"tls: off\" is configured",
                    out,
                );
            }
            (TlsSupport::Unsupported, Tls::Required) => {
                return self.close(
                    now,
                    config,
                    "the server has no TLS, and \"tls: required\" is configured",
                    out,
                );
            }
            (TlsSupport::Unsupported, _) | (_, Tls::Off) => self.init(config, ring, out),
            (TlsSupport::Supported | TlsSupport::Required, Tls::On | Tls::Required) => {
                self.state = State::Securing;
                let start = Message::numbered(Kind::StartTls, self.next_seq());
                self.send(&start, out);
                out.push_back(Output::Secure { channel: self.channel, attempt: self.attempt });
            }
        }
        None
    }

    fn init(&mut self, config: &Config, ring: RingId, out: &mut VecDeque<Output>) {
        self.state = State::Init;
        let mut init = Message::numbered(Kind::Init, self.next_seq());
        init.messages = Some(MESSAGES_KNOWN);
        init.options = Some(OPTIONS_KNOWN);
        init.algorithm = Some(config.settings.algorithm as u16);
        init.heartbeat = Some(u32::try_from(config.settings.heartbeat.as_millis()).unwrap_or(u32::MAX));
        init.tie_breaker = Some(config.settings.tie_breaker);
        (init.node, init.ring) = match self.channel {
            Channel::Member => (Some(config.node), Some(ring)),
            // Of no partition: it is not counted in any.
            Channel::Holder => (Some(holder_id(config.settings.tie_breaker)), Some(RingId::default())),
        };
        self.send(&init, out);
    }

    fn init_reply(
        &mut self,
        now: Boottime,
        reply: &Message,
        config: &Config,
        out: &mut VecDeque<Output>,
    ) -> Option<News> {
        let code = reply.error.unwrap_or(u16::MAX);
        if code != error::NONE {
            return self.close(now, config, error::text(code), out);
        }
        self.known = reply.options.unwrap_or(0);
        self.state = State::Up;
        self.said = None;
        (self.echo, self.next_echo) = (None, now);
        self.at = now + config.silence();
        out.push_back(Output::Event(Event::Connected { channel: self.channel }));
        Some(News::Up)
    }

    fn echo_reply(&mut self, now: Boottime, reply: &Message, config: &Config) -> Option<News> {
        let (_, made) = self.echo.take_if(|(seq, _)| reply.seq == Some(*seq))?;
        self.at = now + config.silence();
        Some(News::Echoed(made))
    }

    /// Ends the connection; the next one is made after a while.
    pub(super) fn close(
        &mut self,
        now: Boottime,
        config: &Config,
        why: &'static str,
        out: &mut VecDeque<Output>,
    ) -> Option<News> {
        if self.state != State::Idle {
            out.push_back(Output::Close { channel: self.channel, attempt: self.attempt });
        }
        self.lost(now, config, why, out)
    }

    /// The connection is gone.
    pub(super) fn lost(
        &mut self,
        now: Boottime,
        config: &Config,
        why: &'static str,
        out: &mut VecDeque<Output>,
    ) -> Option<News> {
        let before = std::mem::replace(&mut self.state, State::Idle);
        if before == State::Idle {
            return None;
        }
        self.echo = None;
        self.at = now + config.retry();
        if before == State::Up || self.said != Some(why) {
            self.said = Some(why);
            out.push_back(Output::Event(Event::Disconnected { channel: self.channel, why }));
        }
        (before == State::Up).then_some(News::Down)
    }
}

/// The id of the second connection that stands for the vote: one that wins no tie, and that no node has.
fn holder_id(tie_breaker: TieBreaker) -> NodeId {
    match tie_breaker {
        TieBreaker::Highest => NodeId::new(0),
        TieBreaker::Lowest | TieBreaker::Node(_) => NodeId::new(u32::MAX),
    }
}

impl Config {
    /// A server that has not answered for so long is gone.
    fn silence(&self) -> Span {
        self.settings.lease.scale(2, 1)
    }

    fn retry(&self) -> Span {
        self.settings.interval.scale(2, 1)
    }

    /// Which connection shows that the vote is with nobody else.
    pub(super) fn proof(&self) -> Channel {
        if self.settings.algorithm == Algorithm::Lms { Channel::Holder } else { Channel::Member }
    }
}
