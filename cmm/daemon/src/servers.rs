//! The connections to the quorum server: a thread of normal priority resolves names, connects, does TLS, and moves bytes for the event loop,
//! which never waits for it. Each end of the queues between them is bounded: what does not fit ends the connection.

mod link;
mod tls;

use std::collections::VecDeque;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cmm_conf::{Config, Priority, QuorumServer, ServerTls};
use cmm_qnet::{Channel, Output};
use crossbeam_queue::ArrayQueue;
use mio::{Events, Poll, Token, Waker};

use self::link::Link;
use crate::log::Log;

/// The server of this node's cluster, if one is configured.
pub(crate) struct Servers {
    thread: Option<Handle>,
    /// Connections whose orders could not be handed over.
    failed: VecDeque<Happened>,
}

struct Handle {
    orders: Arc<ArrayQueue<Output>>,
    happened: Arc<ArrayQueue<Happened>>,
    waker: Arc<Waker>,
}

/// What has happened to a connection.
pub(crate) struct Happened {
    pub(crate) channel: Channel,
    pub(crate) attempt: u64,
    pub(crate) what: What,
}

/// See [`cmm_qnet::Input`].
pub(crate) enum What {
    Connected,
    Secured,
    Received(Vec<u8>),
    Closed,
}

impl Servers {
    /// # Errors
    /// When the thread cannot be started.
    pub(crate) fn start(config: &Config, loop_waker: Arc<Waker>, log: &Log) -> io::Result<Self> {
        let failed = VecDeque::new();
        let Some(server) = config.quorum.server() else { return Ok(Self { thread: None, failed }) };
        let poll = Poll::new()?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKER)?);
        let (orders, happened) = (Arc::new(ArrayQueue::new(ROOM)), Arc::new(ArrayQueue::new(ROOM)));
        let pump = Pump {
            poll,
            server: server.clone(),
            orders: Arc::clone(&orders),
            outbox: Outbox { happened: Arc::clone(&happened), waker: loop_waker },
            links: [None, None],
            addresses: Vec::new(),
            tls: None,
            log: log.clone(),
            said: String::new(),
        };
        thread::Builder::new().name("qnet".into()).spawn(move || pump.run())?;
        Ok(Self { thread: Some(Handle { orders, happened, waker }), failed })
    }

    /// What the core wants of a connection.
    pub(crate) fn ask(&mut self, order: Output) {
        let Some(handle) = &self.thread else { return };
        if let Err(
            Output::Connect { channel, attempt }
            | Output::Send { channel, attempt, .. }
            | Output::Secure { channel, attempt }
            | Output::Close { channel, attempt },
        ) = handle.orders.push(order)
        {
            self.failed.push_back(Happened { channel, attempt, what: What::Closed });
        }
        // It looks at the queue whenever it wakes up.
        let _ = handle.waker.wake();
    }

    /// The next thing that has happened.
    pub(crate) fn next(&mut self) -> Option<Happened> {
        self.failed.pop_front().or_else(|| self.thread.as_ref()?.happened.pop())
    }
}

/// Takes what happens to the event loop.
pub(crate) struct Outbox {
    happened: Arc<ArrayQueue<Happened>>,
    waker: Arc<Waker>,
}

impl Outbox {
    /// Waits for room: the loop takes everything in each of its turns.
    fn push(&self, mut happened: Happened) {
        while let Err(back) = self.happened.push(happened) {
            happened = back;
            thread::sleep(Duration::from_millis(1));
        }
        let _ = self.waker.wake();
    }
}

/// The thread.
struct Pump {
    poll: Poll,
    server: QuorumServer,
    orders: Arc<ArrayQueue<Output>>,
    outbox: Outbox,
    /// By channel.
    links: [Option<Link>; 2],
    /// What the server's name stands for, as long as they work.
    addresses: Vec<SocketAddr>,
    tls: Option<Arc<rustls::ClientConfig>>,
    log: Log,
    /// What was said last.
    said: String,
}

impl Pump {
    fn run(mut self) {
        let mut events = Events::with_capacity(8);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    self.say(format!("the poller fails: {error}"));
                    thread::sleep(Duration::from_secs(1));
                }
                _ => {}
            }
            while let Some(order) = self.orders.pop() {
                self.obey(order);
            }
            for at in 0..self.links.len() {
                self.move_bytes(at);
            }
        }
    }

    fn obey(&mut self, order: Output) {
        match order {
            Output::Connect { channel, attempt } => match self.connect(channel, attempt) {
                Ok(link) => self.links[channel as usize] = Some(link),
                Err(why) => {
                    self.say(format!("cannot connect to {}: {why}", self.server.host));
                    self.addresses.clear();
                    self.outbox.push(Happened { channel, attempt, what: What::Closed });
                }
            },
            Output::Send { channel, attempt, bytes } => {
                if let Some(link) = self.link(channel, attempt) {
                    link.send(&bytes);
                }
            }
            Output::Secure { channel, attempt } => {
                let tls = self.tls();
                if let Some(link) = self.link(channel, attempt) {
                    let secured = tls.and_then(|tls| link.secure(tls));
                    if let Err(why) = secured {
                        self.close(channel as usize, &why);
                    }
                }
            }
            Output::Close { channel, attempt } => {
                if self.link(channel, attempt).is_some() {
                    self.links[channel as usize] = None;
                }
            }
            Output::Event(_) => {}
        }
    }

    fn link(&mut self, channel: Channel, attempt: u64) -> Option<&mut Link> {
        self.links[channel as usize].as_mut().filter(|link| link.attempt == attempt)
    }

    /// To the next of the server's addresses.
    fn connect(&mut self, channel: Channel, attempt: u64) -> Result<Link, String> {
        if self.addresses.is_empty() {
            let wanted = |a: &SocketAddr| match self.server.ip_version {
                4 => a.is_ipv4(),
                6 => a.is_ipv6(),
                _ => true,
            };
            let name = (self.server.host.as_str(), self.server.port);
            let found = name.to_socket_addrs().map_err(|e| {
                format!("{e}; correct quorum.device.net.host, or have the name resolved on this node")
            })?;
            self.addresses = found.filter(wanted).collect();
        }
        let count = u64::try_from(self.addresses.len()).unwrap_or(1).max(1);
        let which = usize::try_from(attempt % count).unwrap_or(0);
        let address = *self.addresses.get(which).ok_or("no address of the wanted IP version")?;
        Link::connect(address, channel, attempt, self.poll.registry(), Token(1 + channel as usize))
            .map_err(|e| format!("{address}: {e}"))
    }

    /// The certificates, read when they are needed first: they may come later than this process.
    fn tls(&mut self) -> Result<Arc<rustls::ClientConfig>, String> {
        if self.tls.is_none() {
            self.tls = Some(tls::config(&self.server)?);
        }
        self.tls.clone().ok_or_else(String::new)
    }

    fn move_bytes(&mut self, at: usize) {
        let Some(link) = &mut self.links[at] else { return };
        if let Err(why) = link.turn(&self.outbox) {
            self.close(at, &why);
        }
    }

    fn close(&mut self, at: usize, why: &str) {
        let Some(link) = self.links[at].take() else { return };
        if !link.is_connected() {
            // Perhaps the name stands for something else by now.
            self.addresses.clear();
        }
        // The next attempt reads other certificates, if they are there by then.
        self.tls = None;
        if link.channel == Channel::Member {
            let hint = if link.is_securing() && self.server.tls == ServerTls::On {
                "; bring the certificates with \"holdfast qnet import-certificates\", or write \"tls: off\""
            } else {
                ""
            };
            self.say(format!("{}: {why}{hint}", link.address));
        }
        self.outbox.push(Happened { channel: link.channel, attempt: link.attempt, what: What::Closed });
    }

    /// Once, until it is something else.
    fn say(&mut self, text: String) {
        if self.said != text {
            self.log.text(Priority::Warning, format!("Quorum server: {text}"));
            self.said = text;
        }
    }
}

const WAKER: Token = Token(0);
/// Orders, and what happens: few a second.
const ROOM: usize = 256;
