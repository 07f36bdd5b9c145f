//! Messages of `corosync-qnetd` 3: a type (2 bytes), the length of what follows (4 bytes), and options, each a type (2), a length (2) and a
//! value. All numbers are big-endian. A message is a bag of options: what a type of message needs is for its receiver to check; options that are not
//! known are passed over. Nothing here allocates more than what it was given, and no input panics.

use arrayvec::ArrayVec;
use holdfast_types::{NodeId, RingId};

use crate::NODES_MAX;

/// Length of a message without its options.
pub const HEADER: usize = 6;
/// Longest message: what the server takes and sends by default.
pub const LONGEST: usize = 1 << 15;

/// Why bytes are no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Longer than any may be.
    #[error("a message of {0} bytes")]
    TooLong(u32),
    /// A type that is not known.
    #[error("message type {0}")]
    Type(u16),
    /// An option that reaches beyond the end of its message.
    #[error("option {0} is cut off")]
    CutOff(u16),
    /// An option with a wrong length, or a value it cannot have.
    #[error("option {0} has a wrong value")]
    Value(u16),
    /// More nodes than a cluster can have.
    #[error("too many nodes")]
    Nodes,
}

macro_rules! numbered {
    ($(#[$doc:meta])* $name:ident: $inner:ty { $($(#[$vdoc:meta])* $variant:ident = $value:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub enum $name { $($(#[$vdoc])* $variant = $value,)* }
        impl $name {
            /// By its number on the wire.
            #[must_use]
            pub fn of(number: $inner) -> Option<Self> {
                match number { $($value => Some(Self::$variant),)* _ => None }
            }
        }
    };
}

numbered!(
    /// What a message is.
    Kind: u16 {
        /// The cluster's name, first of all.
        Preinit = 0,
        /// Whether the server wants TLS.
        PreinitReply = 1,
        /// TLS begins behind this message.
        StartTls = 2,
        /// Who the client is, and what it wants.
        Init = 3,
        /// Whether the server takes it.
        InitReply = 4,
        /// The server refuses a message.
        ServerError = 5,
        /// Other options.
        SetOption = 6,
        /// They are in force.
        SetOptionReply = 7,
        /// Is the server there?
        EchoRequest = 8,
        /// It is: the request with another type.
        EchoReply = 9,
        /// The nodes that are configured, members or quorate.
        NodeList = 10,
        /// What that means for the vote.
        NodeListReply = 11,
        /// Whether there is a vote by now.
        AskForVote = 12,
        /// It is so.
        AskForVoteReply = 13,
        /// The server gives or takes the vote by itself.
        VoteInfo = 14,
        /// The client has acted on it.
        VoteInfoReply = 15,
        /// Heuristics have another result.
        HeuristicsChange = 16,
        /// What that means for the vote.
        HeuristicsChangeReply = 17,
    }
);
numbered!(
    /// How the server decides.
    Algorithm: u16 {
        /// For tests of the server.
        Test = 0,
        /// One half of an even split.
        FfSplit = 1,
        /// The last of two nodes.
        TwoNodeLms = 2,
        /// The last man standing.
        Lms = 3,
    }
);
numbered!(
    /// Whether the server has TLS.
    TlsSupport: u8 {
        /// It has not.
        Unsupported = 0,
        /// If the client wants.
        Supported = 1,
        /// Nothing goes without.
        Required = 2,
    }
);
numbered!(
    /// What a list of nodes is.
    ListKind: u8 {
        /// Those configured, first of all.
        Initial = 0,
        /// Those configured, changed.
        Changed = 1,
        /// The members of a ring.
        Membership = 2,
        /// What votequorum has decided.
        Quorum = 3,
    }
);
numbered!(
    /// The server's verdict.
    Vote: u8 {
        /// The vote is with this client's partition.
        Ack = 1,
        /// It is not.
        Nack = 2,
        /// To be asked for later.
        AskLater = 3,
        /// The server will say by itself.
        WaitForReply = 4,
        /// As before.
        NoChange = 5,
    }
);
numbered!(
    /// What heuristics say; nothing is sent where there are none.
    Heuristics: u8 {
        /// This node is fit.
        Pass = 1,
        /// It is not.
        Fail = 2,
    }
);

/// Who wins between equals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TieBreaker {
    /// The partition of the lowest node id that is configured.
    Lowest,
    /// The partition of the highest one.
    Highest,
    /// The partition of this node.
    Node(NodeId),
}

/// Numbers from 0 to 63, one bit each: messages, options or algorithms that a side knows.
pub type Known = u64;

/// Errors that the server names, as far as more follows from them than a line in the log.
pub mod error {
    /// None.
    pub const NONE: u16 = 0;
    /// A client with this node id is connected: perhaps the one that was lost a moment ago.
    pub const DUPLICATE_NODE: u16 = 17;

    /// In words.
    #[must_use]
    pub fn text(code: u16) -> &'static str {
        const TEXTS: [&str; 20] = [
            "no error",
            "unsupported needed message",
            "unsupported needed option",
            "the server requires TLS; write \"tls: on\" and name certificates",
            "unsupported message",
            "message too long",
            "preinit required",
            "a required option is missing",
            "unexpected message",
            "the server cannot read the message",
            "internal error of the server",
            "init required",
            "the server does not know the algorithm",
            "the server refuses the heartbeat interval; see its heartbeat_interval_min and _max, and quorum.device.timeout",
            "the algorithm has no such message",
            "the tie-breaker differs from that of other nodes; write the same on all",
            "the algorithm differs from that of other nodes; write the same on all",
            "a client with this node id is connected: of another cluster with the same name, or not yet known to be gone",
            "the server refuses the list of nodes",
            "the server refuses the list of members",
        ];
        TEXTS.get(usize::from(code)).copied().unwrap_or("an error that is not known")
    }
}

/// A node in a list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeInfo {
    /// Which.
    pub node: NodeId,
    /// 1 member, 2 dead, 3 leaving; `None`: not said.
    pub state: Option<u8>,
}

/// One message. `None` and empty: the option is not in it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the options of the protocol, by their names")]
pub struct Message {
    pub kind: Kind,
    pub seq: Option<u32>,
    pub cluster: Option<Vec<u8>>,
    pub tls: Option<TlsSupport>,
    pub client_cert: Option<bool>,
    pub messages: Option<Known>,
    pub options: Option<Known>,
    pub error: Option<u16>,
    pub longest_request: Option<u32>,
    pub longest_reply: Option<u32>,
    pub node: Option<NodeId>,
    pub algorithms: Option<Known>,
    pub algorithm: Option<u16>,
    /// In milliseconds.
    pub heartbeat: Option<u32>,
    pub ring: Option<RingId>,
    pub config_version: Option<u64>,
    pub nodes: ArrayVec<NodeInfo, NODES_MAX>,
    pub list: Option<ListKind>,
    pub vote: Option<Vote>,
    pub quorate: Option<bool>,
    pub tie_breaker: Option<TieBreaker>,
    pub heuristics: Option<Heuristics>,
    pub keep_active: Option<bool>,
}

/// Numbers of the options.
pub mod option {
    #![allow(missing_docs, reason = "the options of the protocol, by their names")]
    pub const SEQ: u16 = 0;
    pub const CLUSTER: u16 = 1;
    pub const TLS: u16 = 2;
    pub const CLIENT_CERT: u16 = 3;
    pub const MESSAGES: u16 = 4;
    pub const OPTIONS: u16 = 5;
    pub const ERROR: u16 = 6;
    pub const LONGEST_REQUEST: u16 = 7;
    pub const LONGEST_REPLY: u16 = 8;
    pub const NODE: u16 = 9;
    pub const ALGORITHMS: u16 = 10;
    pub const ALGORITHM: u16 = 11;
    pub const HEARTBEAT: u16 = 12;
    pub const RING: u16 = 13;
    pub const CONFIG_VERSION: u16 = 14;
    pub const DATA_CENTER: u16 = 15;
    pub const NODE_STATE: u16 = 16;
    pub const NODE_INFO: u16 = 17;
    pub const LIST: u16 = 18;
    pub const VOTE: u16 = 19;
    pub const QUORATE: u16 = 20;
    pub const TIE_BREAKER: u16 = 21;
    pub const HEURISTICS: u16 = 22;
    pub const KEEP_ACTIVE: u16 = 23;
}

/// All messages and options that this crate knows.
pub const MESSAGES_KNOWN: Known = (1 << 18) - 1;
/// See [`MESSAGES_KNOWN`].
pub const OPTIONS_KNOWN: Known = (1 << 24) - 1;

impl Message {
    /// Without options.
    #[must_use]
    pub fn new(kind: Kind) -> Self {
        Self {
            kind,
            seq: None,
            cluster: None,
            tls: None,
            client_cert: None,
            messages: None,
            options: None,
            error: None,
            longest_request: None,
            longest_reply: None,
            node: None,
            algorithms: None,
            algorithm: None,
            heartbeat: None,
            ring: None,
            config_version: None,
            nodes: ArrayVec::new(),
            list: None,
            vote: None,
            quorate: None,
            tie_breaker: None,
            heuristics: None,
            keep_active: None,
        }
    }

    /// With a sequence number, which its reply repeats.
    #[must_use]
    pub fn numbered(kind: Kind, seq: u32) -> Self {
        Self { seq: Some(seq), ..Self::new(kind) }
    }

    /// The bytes of the message.
    ///
    /// # Panics
    /// If the name of the cluster has more than 1024 bytes: the configuration refuses such a name.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(128);
        out.extend((self.kind as u16).to_be_bytes());
        out.extend([0; 4]);
        let o = &mut out;
        put(o, option::SEQ, self.seq.map(u32::to_be_bytes));
        if let Some(name) = &self.cluster {
            assert!(name.len() <= 1024, "a cluster name of {} bytes", name.len());
            put(o, option::CLUSTER, Some(name));
        }
        put(o, option::TLS, self.tls.map(|v| [v as u8]));
        put(o, option::CLIENT_CERT, self.client_cert.map(|v| [u8::from(v)]));
        put(o, option::MESSAGES, self.messages.map(list));
        put(o, option::OPTIONS, self.options.map(list));
        put(o, option::ERROR, self.error.map(u16::to_be_bytes));
        put(o, option::LONGEST_REQUEST, self.longest_request.map(u32::to_be_bytes));
        put(o, option::LONGEST_REPLY, self.longest_reply.map(u32::to_be_bytes));
        put(o, option::NODE, self.node.map(|n| n.get().to_be_bytes()));
        put(o, option::ALGORITHMS, self.algorithms.map(list));
        put(o, option::ALGORITHM, self.algorithm.map(u16::to_be_bytes));
        put(o, option::HEARTBEAT, self.heartbeat.map(u32::to_be_bytes));
        put(o, option::TIE_BREAKER, self.tie_breaker.map(tie_breaker));
        put(o, option::LIST, self.list.map(|v| [v as u8]));
        put(o, option::RING, self.ring.map(ring));
        put(o, option::CONFIG_VERSION, self.config_version.map(u64::to_be_bytes));
        put(o, option::QUORATE, self.quorate.map(|v| [u8::from(v)]));
        for info in &self.nodes {
            let mut value: ArrayVec<u8, 13> = ArrayVec::new();
            value.extend([0, option::NODE as u8, 0, 4]);
            value.extend(info.node.get().to_be_bytes());
            if let Some(state) = info.state {
                value.extend([0, option::NODE_STATE as u8, 0, 1, state]);
            }
            put(o, option::NODE_INFO, Some(value));
        }
        put(o, option::VOTE, self.vote.map(|v| [v as u8]));
        put(o, option::HEURISTICS, self.heuristics.map(|v| [v as u8]));
        put(o, option::KEEP_ACTIVE, self.keep_active.map(|v| [u8::from(v)]));
        let length = u32::try_from(out.len() - HEADER).unwrap_or(u32::MAX);
        out[2..HEADER].copy_from_slice(&length.to_be_bytes());
        out
    }

    /// Reads a whole message.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let (kind, body) = bytes.split_first_chunk::<2>().ok_or(Malformed::CutOff(0))?;
        let number = u16::from_be_bytes(*kind);
        let mut message = Self::new(Kind::of(number).ok_or(Malformed::Type(number))?);
        for option in Options(body.get(4..).ok_or(Malformed::CutOff(0))?) {
            let (number, value) = option?;
            message.take(number, value).map_err(|e| e.unwrap_or(Malformed::Value(number)))?;
        }
        Ok(message)
    }

    /// `Err(None)`: the value is wrong.
    fn take(&mut self, number: u16, value: &[u8]) -> Result<(), Option<Malformed>> {
        let flag = || fixed::<1>(value).map(|[v]| v != 0);
        let byte = || fixed::<1>(value).map(|[v]| v);
        let n32 = || fixed(value).map(u32::from_be_bytes);
        match number {
            option::SEQ => self.seq = Some(n32()?),
            option::CLUSTER => self.cluster = Some(value.to_vec()),
            option::TLS => self.tls = Some(TlsSupport::of(byte()?).ok_or(None)?),
            option::CLIENT_CERT => self.client_cert = Some(flag()?),
            option::MESSAGES => self.messages = Some(known(value)?),
            option::OPTIONS => self.options = Some(known(value)?),
            option::ERROR => self.error = Some(u16::from_be_bytes(fixed(value)?)),
            option::LONGEST_REQUEST => self.longest_request = Some(n32()?),
            option::LONGEST_REPLY => self.longest_reply = Some(n32()?),
            option::NODE => self.node = Some(NodeId::new(n32()?)),
            option::ALGORITHMS => self.algorithms = Some(known(value)?),
            option::ALGORITHM => self.algorithm = Some(u16::from_be_bytes(fixed(value)?)),
            option::HEARTBEAT => self.heartbeat = Some(n32()?),
            option::RING => {
                let (node, seq) = value.split_at_checked(4).ok_or(None)?;
                let representative = NodeId::new(u32::from_be_bytes(fixed(node)?));
                self.ring = Some(RingId { representative, seq: u64::from_be_bytes(fixed(seq)?) });
            }
            option::CONFIG_VERSION => self.config_version = Some(u64::from_be_bytes(fixed(value)?)),
            option::NODE_INFO => {
                let info = node_info(value)?;
                self.nodes.try_push(info).map_err(|_| Malformed::Nodes)?;
            }
            option::LIST => self.list = Some(ListKind::of(byte()?).ok_or(None)?),
            option::VOTE => self.vote = Some(Vote::of(byte()?).ok_or(None)?),
            option::QUORATE => self.quorate = Some(flag()?),
            option::TIE_BREAKER => {
                let [mode, node @ ..] = fixed::<5>(value)?;
                self.tie_breaker = Some(match mode {
                    1 => TieBreaker::Lowest,
                    2 => TieBreaker::Highest,
                    3 => TieBreaker::Node(NodeId::new(u32::from_be_bytes(node))),
                    _ => return Err(None),
                });
            }
            option::HEURISTICS => {
                self.heuristics = match byte()? {
                    0 => None,
                    other => Some(Heuristics::of(other).ok_or(None)?),
                }
            }
            option::KEEP_ACTIVE => self.keep_active = Some(flag()?),
            _ => {}
        }
        Ok(())
    }
}

fn put<V: AsRef<[u8]>>(out: &mut Vec<u8>, number: u16, value: Option<V>) {
    if let Some(value) = value {
        let value = value.as_ref();
        out.extend(number.to_be_bytes());
        out.extend(u16::try_from(value.len()).unwrap_or(u16::MAX).to_be_bytes());
        out.extend(value);
    }
}

fn list(known: Known) -> ArrayVec<u8, 128> {
    (0..64_u16).filter(|n| known >> n & 1 == 1).flat_map(u16::to_be_bytes).collect()
}

fn known(value: &[u8]) -> Result<Known, Option<Malformed>> {
    let (pairs, rest) = value.as_chunks::<2>();
    if !rest.is_empty() {
        return Err(None);
    }
    let bit = |pair: &[u8; 2]| 1_u64.checked_shl(u16::from_be_bytes(*pair).into()).unwrap_or(0);
    Ok(pairs.iter().fold(0, |all, pair| all | bit(pair)))
}

fn ring(ring: RingId) -> [u8; 12] {
    let mut value = [0; 12];
    value[..4].copy_from_slice(&ring.representative.get().to_be_bytes());
    value[4..].copy_from_slice(&ring.seq.to_be_bytes());
    value
}

fn tie_breaker(breaker: TieBreaker) -> [u8; 5] {
    let (mode, node) = match breaker {
        TieBreaker::Lowest => (1, 0),
        TieBreaker::Highest => (2, 0),
        TieBreaker::Node(node) => (3, node.get()),
    };
    let [a, b, c, d] = u32::to_be_bytes(node);
    [mode, a, b, c, d]
}

fn fixed<const N: usize>(value: &[u8]) -> Result<[u8; N], Option<Malformed>> {
    value.try_into().map_err(|_| None)
}

fn node_info(value: &[u8]) -> Result<NodeInfo, Option<Malformed>> {
    let mut info = NodeInfo { node: NodeId::new(0), state: None };
    for option in Options(value) {
        match option? {
            (option::NODE, id) => info.node = NodeId::new(u32::from_be_bytes(fixed(id)?)),
            (option::NODE_STATE, state) => info.state = Some(fixed::<1>(state)?[0]),
            _ => {}
        }
    }
    if info.node.get() == 0 { Err(None) } else { Ok(info) }
}

/// The options of a message, one after the other.
struct Options<'a>(&'a [u8]);

impl<'a> Iterator for Options<'a> {
    type Item = Result<(u16, &'a [u8]), Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let number = self.0.first_chunk().map_or(0, |n| u16::from_be_bytes(*n));
        let split = || {
            let (length, rest) = self.0.get(2..)?.split_first_chunk::<2>()?;
            rest.split_at_checked(u16::from_be_bytes(*length).into())
        };
        let Some((value, rest)) = split() else {
            self.0 = &[];
            return Some(Err(Malformed::CutOff(number)));
        };
        self.0 = rest;
        Some(Ok((number, value)))
    }
}

/// Puts messages together from a stream of bytes.
#[derive(Debug, Default)]
pub struct Stream {
    pending: Vec<u8>,
}

impl Stream {
    /// More bytes. At most [`LONGEST`] of them are kept beyond those of a message that is complete.
    pub fn extend(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Another stream begins.
    pub fn clear(&mut self) {
        self.pending.clear();
    }

    /// The next message, if it is there.
    ///
    /// # Errors
    /// What is wrong with it; the stream cannot be read any further.
    pub fn next_message(&mut self) -> Result<Option<Message>, Malformed> {
        let Some(length) = self.pending.get(2..HEADER).and_then(|b| b.try_into().ok()) else {
            return Ok(None);
        };
        let length = u32::from_be_bytes(length);
        let whole = usize::try_from(length).unwrap_or(usize::MAX).saturating_add(HEADER);
        if whole > LONGEST + HEADER {
            return Err(Malformed::TooLong(length));
        }
        let Some(bytes) = self.pending.get(..whole) else { return Ok(None) };
        let message = Message::decode(bytes)?;
        self.pending.drain(..whole);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests;
