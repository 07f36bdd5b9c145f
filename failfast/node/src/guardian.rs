//! What `cmmd` and its guardian say to each other over the socket that is the guardian's standard input.
//!
//! One SEQPACKET datagram a message. First [`ToGuardian::Setup`] with two descriptors (the page of progress stamps, a
//! pidfd on `cmmd`), answered by [`FromGuardian`]; from then on `cmmd` only speaks. Both ends are of one build; a
//! message that does not decode is refused all the same.

use std::ffi::OsStr;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::ops::Range;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use cmm_qdisk::Layout;
use failfast_core::{ExitScope, Mode, Reason, ReasonKind, Text};
use holdfast_types::{Incarnation, Span};
use nix::sys::socket::{self, AddressFamily, MsgFlags, SockFlag, SockType};

use crate::grave::Grave;

/// All that the guardian, or any panic path, must know in advance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Setup {
    /// How the node goes down.
    pub mode: Mode,
    /// In mode `exit`: which processes belong to it.
    pub scope: ExitScope,
    /// The node's run directory: the value of `HOLDFAST_RUN_DIR` that marks its processes.
    pub run_dir: PathBuf,
    /// `<state>/blackbox`; `None`: none is written.
    pub black_box: Option<PathBuf>,
    /// `/dev/kmsg`; `None`: the kernel log is not written.
    pub kernel_log: Option<PathBuf>,
    /// A file to which the reason is appended as a line (`logging.logfile`).
    pub log_file: Option<PathBuf>,
    /// What modes `panic` and `reset` write to, see [`SYSRQ_TRIGGER`]; unused in the others.
    pub sysrq_trigger: PathBuf,
    /// `cmmd` may go without progress for this long.
    pub limit: Span,
    /// Where gasps go.
    pub links: Vec<Link>,
    /// The gasps.
    pub packets: Packets,
}

/// The kernel's sysrq trigger.
pub const SYSRQ_TRIGGER: &str = "/proc/sysrq-trigger";

/// One link of this node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// This node's address on it.
    pub source: IpAddr,
    /// The peers on it, with their ports.
    pub peers: Vec<SocketAddr>,
}

/// Packets that were sealed in advance; opaque here. An empty one is not sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Packets {
    /// For a dead or stuck `cmmd`, and where `cmmd` itself goes down.
    pub daemon_died: Vec<u8>,
    /// For a dead or late unit.
    pub unit_died: Vec<u8>,
    /// Mode `exit`: the node's processes were killed and none is left.
    pub last_word: Vec<u8>,
}

/// From `cmmd`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToGuardian {
    /// Everything; once, with two descriptors.
    Setup(Box<Setup>),
    /// Other packets from now on.
    Packets(Packets),
    /// Other links and peers from now on.
    Links(Vec<Link>),
    /// Places on quorum disks for the reason, from now on.
    Graves(Vec<Grave>),
    /// Take the node down now.
    TakeDown {
        /// Why.
        reason: Reason,
        /// A gasp sealed for this very reason; empty: the one in advance.
        gasp: Vec<u8>,
    },
    /// `cmmd` is about to end in good order: end too, and do nothing.
    Release,
}

/// From the guardian, once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FromGuardian {
    /// On guard. What could not be prepared, a line each, is for the log.
    Ready(Vec<String>),
    /// This set-up cannot be served, and why.
    Refused(String),
}

/// Longest message: 64 nodes on 8 links, packets, paths.
pub const MESSAGE_MAX: usize = 64 << 10;
/// Longest packet that is taken.
pub const PACKET_MAX: usize = 2_048;
/// Longest take-down message: encoded on the stack.
const TAKE_DOWN_MAX: usize = PACKET_MAX + 512;

impl ToGuardian {
    /// Encodes it.
    ///
    /// # Errors
    /// `InvalidInput` where it is longer than [`MESSAGE_MAX`].
    pub fn encode(&self) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut out = Writer { bytes: &mut bytes, len: 0 };
        let fits = match self {
            Self::Setup(setup) => out.setup(setup),
            Self::Packets(packets) => out.byte(2).and_then(|()| out.packets(packets)),
            Self::Links(links) => out.byte(5).and_then(|()| out.links(links)),
            Self::Graves(graves) => out.byte(6).and_then(|()| out.graves(graves)),
            Self::TakeDown { reason, gasp } => out.take_down(reason, gasp),
            Self::Release => out.byte(4),
        };
        let len = out.len;
        bytes.truncate(len);
        fits.map(|()| bytes).ok_or_else(too_long)
    }

    /// Decodes it; `None` where the bytes are no message.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let message = match from.byte()? {
            1 => Self::Setup(Box::new(from.setup()?)),
            2 => Self::Packets(from.packets()?),
            3 => {
                let (reason, gasp) = from.take_down()?;
                Self::TakeDown { reason, gasp: gasp.to_vec() }
            }
            4 => Self::Release,
            5 => Self::Links(from.links()?),
            6 => Self::Graves(from.graves()?),
            _ => return None,
        };
        from.0.is_empty().then_some(message)
    }
}

/// Decodes [`ToGuardian::TakeDown`] alone, without allocation: the reason, and where in `bytes` the gasp is.
#[must_use]
pub fn decode_take_down(bytes: &[u8]) -> Option<(Reason, Range<usize>)> {
    let mut from = Reader(bytes);
    if from.byte()? != 3 {
        return None;
    }
    let (reason, gasp) = from.take_down()?;
    // The gasp is the last field.
    from.0.is_empty().then(|| (reason, bytes.len() - gasp.len()..bytes.len()))
}

impl FromGuardian {
    /// Encodes it; lines beyond [`MESSAGE_MAX`] are left out.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![0; MESSAGE_MAX];
        let mut out = Writer { bytes: &mut bytes, len: 0 };
        let lines = match self {
            Self::Ready(lines) => {
                let _ = out.byte(1);
                lines.as_slice()
            }
            Self::Refused(text) => {
                let _ = out.byte(2);
                std::slice::from_ref(text)
            }
        };
        for line in lines {
            let _ = out.slice(line.as_bytes());
        }
        let len = out.len;
        bytes.truncate(len);
        bytes
    }

    /// Decodes it.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let mut from = Reader(bytes);
        let verdict = from.byte()?;
        let mut lines = Vec::new();
        while !from.0.is_empty() {
            lines.push(String::from_utf8_lossy(from.slice()?).into_owned());
        }
        match verdict {
            1 => Some(Self::Ready(lines)),
            2 => Some(Self::Refused(lines.pop().unwrap_or_default())),
            _ => None,
        }
    }
}

/// A pair of connected sockets for the two, close-on-exec and non-blocking.
///
/// # Errors
/// What `socketpair` says.
pub fn channel() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socket::socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// Sends one message.
///
/// # Errors
/// `WouldBlock` where the other side does not read, `BrokenPipe` where it is gone.
pub fn send(channel: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<()> {
    socket::send(channel.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT)?;
    Ok(())
}

/// Tells the guardian to take the node down. Allocates nothing.
///
/// # Errors
/// As [`send`]; `InvalidInput` where the gasp is longer than [`PACKET_MAX`].
pub fn send_take_down(channel: BorrowedFd<'_>, reason: &Reason, gasp: &[u8]) -> io::Result<()> {
    let mut bytes = [0; TAKE_DOWN_MAX];
    let mut out = Writer { bytes: &mut bytes, len: 0 };
    if out.take_down(reason, gasp).is_none() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let len = out.len;
    send(channel, &bytes[..len])
}

/// Receives one message into `buffer`; the length is zero when the other side is gone.
///
/// # Errors
/// `WouldBlock` where there is none.
pub fn receive(channel: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<usize> {
    Ok(socket::recv(channel.as_raw_fd(), buffer, MsgFlags::MSG_DONTWAIT)?)
}

fn too_long() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the guardian's set-up is too long: fewer peers or shorter paths",
    )
}

/// Writes into a fixed buffer; `None` once it is full.
struct Writer<'a> {
    bytes: &'a mut [u8],
    len: usize,
}

impl Writer<'_> {
    fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.bytes.get_mut(self.len..self.len + bytes.len())?.copy_from_slice(bytes);
        self.len += bytes.len();
        Some(())
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        self.put(&[byte])
    }

    fn slice(&mut self, bytes: &[u8]) -> Option<()> {
        let at = self.len;
        self.put(&u16::try_from(bytes.len()).ok()?.to_le_bytes())?;
        // All or nothing, so that a message that is cut still decodes.
        self.put(bytes).or_else(|| {
            self.len = at;
            None
        })
    }

    fn packet(&mut self, packet: &[u8]) -> Option<()> {
        if packet.len() > PACKET_MAX { None } else { self.slice(packet) }
    }

    fn packets(&mut self, packets: &Packets) -> Option<()> {
        self.packet(&packets.daemon_died)?;
        self.packet(&packets.unit_died)?;
        self.packet(&packets.last_word)
    }

    fn path(&mut self, path: Option<&Path>) -> Option<()> {
        self.slice(path.map_or(&[], |p| p.as_os_str().as_bytes()))
    }

    fn address(&mut self, address: IpAddr) -> Option<()> {
        match address {
            IpAddr::V4(ip) => self.byte(4).and_then(|()| self.put(&ip.octets())),
            IpAddr::V6(ip) => self.byte(6).and_then(|()| self.put(&ip.octets())),
        }
    }

    fn take_down(&mut self, reason: &Reason, gasp: &[u8]) -> Option<()> {
        self.byte(3)?;
        self.byte(reason.kind.code())?;
        self.slice(reason.text.as_bytes())?;
        self.packet(gasp)
    }

    fn setup(&mut self, setup: &Setup) -> Option<()> {
        self.byte(1)?;
        self.slice(setup.mode.as_str().as_bytes())?;
        self.slice(setup.scope.as_str().as_bytes())?;
        self.path(Some(&setup.run_dir))?;
        self.path(setup.black_box.as_deref())?;
        self.path(setup.kernel_log.as_deref())?;
        self.path(setup.log_file.as_deref())?;
        self.path(Some(&setup.sysrq_trigger))?;
        self.put(&setup.limit.as_nanos().to_le_bytes())?;
        self.packets(&setup.packets)?;
        self.links(&setup.links)
    }

    fn links(&mut self, links: &[Link]) -> Option<()> {
        self.put(&u16::try_from(links.len()).ok()?.to_le_bytes())?;
        for link in links {
            self.address(link.source)?;
            self.put(&u16::try_from(link.peers.len()).ok()?.to_le_bytes())?;
            for peer in &link.peers {
                self.address(peer.ip())?;
                self.put(&peer.port().to_le_bytes())?;
                let scope = if let SocketAddr::V6(peer) = peer { peer.scope_id() } else { 0 };
                self.put(&scope.to_le_bytes())?;
            }
        }
        Some(())
    }
}

impl Writer<'_> {
    fn graves(&mut self, graves: &[Grave]) -> Option<()> {
        self.byte(u8::try_from(graves.len()).ok()?)?;
        for Grave { path, id, layout, slot, life } in graves {
            self.path(Some(path))?;
            self.put(id)?;
            self.put(&layout.sector().to_le_bytes())?;
            self.put(&[layout.slots(), *slot])?;
            self.put(&life.get().to_le_bytes())?;
        }
        Some(())
    }
}

/// Reads what [`Writer`] has written.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn byte(&mut self) -> Option<u8> {
        self.array().map(|[b]| b)
    }

    fn count(&mut self) -> Option<usize> {
        self.array().map(|b| usize::from(u16::from_le_bytes(b)))
    }

    fn slice(&mut self) -> Option<&'a [u8]> {
        let len = self.count()?;
        self.take(len)
    }

    fn packet(&mut self) -> Option<&'a [u8]> {
        Some(self.slice()?).filter(|p| p.len() <= PACKET_MAX)
    }

    fn packets(&mut self) -> Option<Packets> {
        Some(Packets {
            daemon_died: self.packet()?.to_vec(),
            unit_died: self.packet()?.to_vec(),
            last_word: self.packet()?.to_vec(),
        })
    }

    fn take_down(&mut self) -> Option<(Reason, &'a [u8])> {
        let kind = ReasonKind::from_code(self.byte()?)?;
        let text = Text::from(std::str::from_utf8(self.slice()?).ok()?);
        Some((Reason { kind, text }, self.packet()?))
    }

    fn path(&mut self) -> Option<Option<PathBuf>> {
        let bytes = self.slice()?;
        Some((!bytes.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(bytes))))
    }

    fn word<T: std::str::FromStr>(&mut self) -> Option<T> {
        std::str::from_utf8(self.slice()?).ok()?.parse().ok()
    }

    fn address(&mut self) -> Option<IpAddr> {
        match self.byte()? {
            4 => Some(IpAddr::V4(Ipv4Addr::from(self.array::<4>()?))),
            6 => Some(IpAddr::V6(Ipv6Addr::from(self.array::<16>()?))),
            _ => None,
        }
    }

    fn setup(&mut self) -> Option<Setup> {
        Some(Setup {
            mode: self.word()?,
            scope: self.word()?,
            run_dir: self.path()??,
            black_box: self.path()?,
            kernel_log: self.path()?,
            log_file: self.path()?,
            sysrq_trigger: self.path()?.unwrap_or_default(),
            limit: Span::from_nanos(u64::from_le_bytes(self.array()?)),
            packets: self.packets()?,
            links: self.links()?,
        })
    }

    fn graves(&mut self) -> Option<Vec<Grave>> {
        let mut graves = Vec::new();
        for _ in 0..self.byte()? {
            let (path, id) = (self.path()??, self.array()?);
            let sector = u32::from_le_bytes(self.array()?);
            let [slots, slot] = self.array()?;
            let layout = Layout::new(sector, slots).filter(|l| (1..=l.slots()).contains(&slot))?;
            graves.push(Grave {
                path,
                id,
                layout,
                slot,
                life: Incarnation::new(u64::from_le_bytes(self.array()?)),
            });
        }
        Some(graves)
    }

    fn links(&mut self) -> Option<Vec<Link>> {
        let mut links = Vec::new();
        for _ in 0..self.count()? {
            let mut link = Link { source: self.address()?, peers: Vec::new() };
            for _ in 0..self.count()? {
                let (ip, port) = (self.address()?, u16::from_le_bytes(self.array()?));
                let scope = u32::from_le_bytes(self.array()?);
                link.peers.push(match ip {
                    IpAddr::V4(_) => SocketAddr::new(ip, port),
                    IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, scope).into(),
                });
            }
            links.push(link);
        }
        Some(links)
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;

    use proptest::prelude::*;

    use super::*;

    fn setup() -> Setup {
        Setup {
            mode: Mode::Exit,
            scope: ExitScope::RunDir,
            run_dir: "/run/holdfast".into(),
            black_box: Some("/var/lib/holdfast/blackbox".into()),
            kernel_log: None,
            log_file: None,
            sysrq_trigger: SYSRQ_TRIGGER.into(),
            limit: Span::from_secs(30),
            links: vec![
                Link {
                    source: "10.0.0.1".parse().unwrap(),
                    peers: vec!["10.0.0.2:5405".parse().unwrap(), "10.0.0.3:5405".parse().unwrap()],
                },
                Link {
                    source: "fe80::1".parse().unwrap(),
                    peers: vec![SocketAddrV6::new("fe80::2".parse().unwrap(), 5406, 0, 3).into()],
                },
            ],
            packets: Packets { daemon_died: vec![1; 90], unit_died: vec![2; 100], last_word: vec![] },
        }
    }

    #[test]
    fn messages_go_through_the_channel() {
        let (a, b) = channel().unwrap();
        let reason = Reason::commanded(&"so it is");
        let messages = [
            ToGuardian::Setup(Box::new(setup())),
            ToGuardian::Packets(setup().packets),
            ToGuardian::Links(setup().links),
            ToGuardian::Graves(vec![Grave {
                path: "/dev/sdb1".into(),
                id: [3; 16],
                layout: Layout::new(4_096, 16).unwrap(),
                slot: 16,
                life: Incarnation::new(1 << 60),
            }]),
            ToGuardian::TakeDown { reason, gasp: vec![7; PACKET_MAX] },
            ToGuardian::Release,
        ];
        let mut buffer = vec![0; MESSAGE_MAX];
        for message in messages {
            send(a.as_fd(), &message.encode().unwrap()).unwrap();
            let len = receive(b.as_fd(), &mut buffer).unwrap();
            assert_eq!(ToGuardian::decode(&buffer[..len]), Some(message));
        }
        send_take_down(a.as_fd(), &reason, &[]).unwrap();
        let len = receive(b.as_fd(), &mut buffer).unwrap();
        assert_eq!(ToGuardian::decode(&buffer[..len]), Some(ToGuardian::TakeDown { reason, gasp: vec![] }));
        assert_eq!(decode_take_down(&buffer[..len]), Some((reason, len..len)));
        send_take_down(a.as_fd(), &reason, b"gasp").unwrap();
        let len = receive(b.as_fd(), &mut buffer).unwrap();
        assert_eq!(decode_take_down(&buffer[..len]).map(|(_, gasp)| &buffer[gasp]), Some(&b"gasp"[..]));
        for answer in [FromGuardian::Ready(vec!["a".into(), "b".into()]), FromGuardian::Refused("no".into())]
        {
            assert_eq!(FromGuardian::decode(&answer.encode()), Some(answer));
        }
        drop(a);
        assert_eq!(receive(b.as_fd(), &mut buffer).unwrap(), 0);
    }

    #[test]
    fn the_largest_cluster_fits() {
        let mut setup = setup();
        let peer = SocketAddr::from(([0xff_u8; 16], 5405));
        setup.links = vec![Link { source: peer.ip(), peers: vec![peer; 63] }; 8];
        setup.packets = Packets {
            daemon_died: vec![0; PACKET_MAX],
            unit_died: vec![0; PACKET_MAX],
            last_word: vec![0; PACKET_MAX],
        };
        let message = ToGuardian::Setup(Box::new(setup));
        assert_eq!(ToGuardian::decode(&message.encode().unwrap()), Some(message));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let mut setup = setup();
        setup.packets.unit_died = vec![0; PACKET_MAX + 1];
        assert!(ToGuardian::Setup(Box::new(setup)).encode().is_err());
        let (a, _b) = channel().unwrap();
        let error = send_take_down(a.as_fd(), &Reason::commanded(&"x"), &[0; PACKET_MAX + 1]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
    }

    #[test]
    fn a_cut_message_is_no_message() {
        let whole = ToGuardian::Setup(Box::new(setup())).encode().unwrap();
        for len in 0..whole.len() {
            assert_eq!(ToGuardian::decode(&whole[..len]), None, "{len}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(kind in 0u8..8, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let bytes = [&[kind][..], &bytes].concat();
            let _ = ToGuardian::decode(&bytes);
            let _ = FromGuardian::decode(&bytes);
            let _ = decode_take_down(&bytes);
        }
    }
}
