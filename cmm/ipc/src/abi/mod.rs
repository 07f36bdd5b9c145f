//! Message layouts of the corosync client ABI: one file a service, encoding and checked decoding for both sides.
//!
//! All integers are in host byte order at fixed offsets; gaps are zero when written and ignored when read. A request
//! has a 16-byte header (id, size), a reply or event one of 24 bytes (id, size, error). Decoding copies nothing it
//! does not need, checks every embedded length against what is there, and never panics on what a client sent.

pub mod cfg;
pub mod cmap;
pub mod cpg;
mod error;
pub mod quorum;
pub mod votequorum;

use holdfast_types::{NodeId, RingId};

pub use error::CsError;

/// The services with a client interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Service {
    /// Typed keys and values, local to the node.
    Cmap,
    /// Ring status, node status, shutdown, killing of nodes.
    Cfg,
    /// Closed process groups.
    Cpg,
    /// Quorate or not.
    Quorum,
    /// Votes.
    Votequorum,
}

impl Service {
    /// All of them, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Cmap, Self::Cfg, Self::Cpg, Self::Quorum, Self::Votequorum];

    /// Name of its socket.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cmap => "cmap",
            Self::Cfg => "cfg",
            Self::Cpg => "cpg",
            Self::Quorum => "quorum",
            Self::Votequorum => "votequorum",
        }
    }

    /// Its number, as in `stats.ipcs.service<N>`.
    #[must_use]
    pub const fn number(self) -> u32 {
        match self {
            Self::Cmap => 0,
            Self::Cfg => 1,
            Self::Cpg => 2,
            Self::Quorum => 3,
            Self::Votequorum => 5,
        }
    }

    /// Largest message in bytes that a connection is granted, whatever it asks for. libcpg computes its limits from a
    /// constant of its own, so CPG must grant that; the others never need more than 16 KiB and save memory.
    #[must_use]
    pub const fn grant(self) -> u32 {
        match self {
            Self::Cpg => 1_048_576,
            _ => 65_536,
        }
    }

    /// The reply to a request that failed before any result was there: of the full size that the caller's library
    /// copies from, zero-filled.
    #[must_use]
    pub fn error_reply(self, request_id: i32, error: CsError) -> Vec<u8> {
        self.error_reply_in(Vec::new(), request_id, error)
    }

    /// The same in a buffer that was used before.
    #[must_use]
    pub fn error_reply_in(self, buffer: Vec<u8>, request_id: i32, error: CsError) -> Vec<u8> {
        let (id, size) = match self {
            Self::Cmap => cmap::reply_shape(request_id),
            Self::Cfg => cfg::reply_shape(request_id),
            Self::Cpg => cpg::reply_shape(request_id),
            Self::Quorum => quorum::reply_shape(request_id),
            Self::Votequorum => votequorum::reply_shape(request_id),
        }
        .unwrap_or((0, REPLY_HEADER));
        Build::reply_in(buffer, id, size, error).done()
    }
}

/// Why a message cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// Shorter than its fields or embedded lengths say, or a number out of range.
    #[error("message is shorter than its fields say, or a field is out of range")]
    Content,
    /// A group or key name is longer than its field.
    #[error("name is longer than its field")]
    Name,
    /// No message of this service has this id.
    #[error("no message with id {0}")]
    UnknownId(i32),
}

impl From<Malformed> for CsError {
    fn from(e: Malformed) -> Self {
        match e {
            Malformed::Name => Self::NameTooLong,
            Malformed::Content | Malformed::UnknownId(_) => Self::InvalidParam,
        }
    }
}

/// Id of a request, reply or event, after the header was checked: at least `header` bytes are there, and `size` is
/// not more than what is there. Returns the message cut to its `size` too.
///
/// # Errors
/// [`Malformed::Content`].
pub fn open(bytes: &[u8], header: usize) -> Result<(i32, &[u8]), Malformed> {
    let view = View(bytes);
    let (id, size) = (view.i32(0)?, view.i32(8)?);
    let size = usize::try_from(size).map_err(|_| Malformed::Content)?;
    if size < header {
        return Err(Malformed::Content);
    }
    Ok((id, view.bytes(0, size)?))
}

/// Checks a reply's header and turns its error field into a result.
///
/// # Errors
/// What the server answered, or [`CsError::MessageError`] for what is no reply.
pub fn open_reply(bytes: &[u8]) -> Result<View<'_>, CsError> {
    let (_, bytes) = open(bytes, REPLY_HEADER)?;
    let view = View(bytes);
    match CsError::from_code(view.i32(16)?) {
        CsError::Ok => Ok(view),
        error => Err(error),
    }
}

/// Bytes of a request header.
pub const REQUEST_HEADER: usize = 16;
/// Bytes of a reply or event header.
pub const REPLY_HEADER: usize = 24;

/// Checked reading at offsets.
#[derive(Clone, Copy, Debug)]
pub struct View<'a>(pub &'a [u8]);

impl<'a> View<'a> {
    fn array<const N: usize>(self, at: usize) -> Result<[u8; N], Malformed> {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).copied().ok_or(Malformed::Content)
    }

    /// The byte at `at`.
    ///
    /// # Errors
    /// [`Malformed::Content`] beyond the end; so for all of these.
    pub fn u8(self, at: usize) -> Result<u8, Malformed> {
        self.array(at).map(u8::from_ne_bytes)
    }

    /// 16 bits at `at`.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn u16(self, at: usize) -> Result<u16, Malformed> {
        self.array(at).map(u16::from_ne_bytes)
    }

    /// 32 bits at `at`.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn u32(self, at: usize) -> Result<u32, Malformed> {
        self.array(at).map(u32::from_ne_bytes)
    }

    /// 32 bits at `at`, signed.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn i32(self, at: usize) -> Result<i32, Malformed> {
        self.array(at).map(i32::from_ne_bytes)
    }

    /// 64 bits at `at`.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn u64(self, at: usize) -> Result<u64, Malformed> {
        self.array(at).map(u64::from_ne_bytes)
    }

    /// `len` bytes at `at`.
    ///
    /// # Errors
    /// Beyond the end.
    pub fn bytes(self, at: usize, len: usize) -> Result<&'a [u8], Malformed> {
        at.checked_add(len).and_then(|end| self.0.get(at..end)).ok_or(Malformed::Content)
    }

    /// A 32-bit count or length as the machine's.
    pub(crate) fn count(self, at: usize) -> Result<usize, Malformed> {
        self.u32(at).map(|n| n as usize)
    }

    /// A 64-bit length; one that cannot be in memory is malformed.
    pub(crate) fn length(self, at: usize) -> Result<usize, Malformed> {
        usize::try_from(self.u64(at)?).map_err(|_| Malformed::Content)
    }

    /// A C string in a field of `field` bytes: up to its NUL or the end of the field.
    pub(crate) fn text(self, at: usize, field: usize) -> Result<&'a [u8], Malformed> {
        let bytes = self.bytes(at, field)?;
        Ok(bytes.split(|b| *b == 0).next().unwrap_or_default())
    }

    /// `n` node ids one behind the other.
    pub(crate) fn nodes(self, at: usize, n: usize) -> Result<Vec<NodeId>, Malformed> {
        let len = n.checked_mul(4).ok_or(Malformed::Content)?;
        let ids = View(self.bytes(at, len)?);
        (0..n).map(|k| ids.u32(4 * k).map(NodeId::new)).collect()
    }

    /// The 16-byte ring id: node, then sequence number at the next multiple of 8.
    pub(crate) fn ring(self, at: usize) -> Result<RingId, Malformed> {
        Ok(RingId { representative: NodeId::new(self.u32(at)?), seq: self.u64(at + 8)? })
    }
}

/// A zero-filled message under construction. Offsets are ours, so one beyond the end is a bug and panics.
pub(crate) struct Build(Vec<u8>);

impl Build {
    pub(crate) fn request(id: i32, size: usize) -> Self {
        Self(vec![0; size]).i32(0, id).i32(8, i32::try_from(size).expect("messages are below 2 GiB"))
    }

    pub(crate) fn reply(id: i32, size: usize, error: CsError) -> Self {
        Self::reply_in(Vec::new(), id, size, error)
    }

    pub(crate) fn event(id: i32, size: usize) -> Self {
        Self::event_in(Vec::new(), id, size)
    }

    /// In a buffer that was used before; so the next.
    pub(crate) fn event_in(buffer: Vec<u8>, id: i32, size: usize) -> Self {
        Self::reply_in(buffer, id, size, CsError::Ok)
    }

    pub(crate) fn reply_in(mut buffer: Vec<u8>, id: i32, size: usize, error: CsError) -> Self {
        buffer.clear();
        buffer.resize(size, 0);
        let size = i32::try_from(size).expect("messages are below 2 GiB");
        Self(buffer).i32(0, id).i32(8, size).i32(16, error.code())
    }

    /// Says that `more` bytes follow which are sent from elsewhere.
    pub(crate) fn followed_by(self, more: usize) -> Self {
        let size = self.0.len() + more;
        self.i32(8, i32::try_from(size).expect("messages are below 2 GiB"))
    }

    pub(crate) fn bytes(mut self, at: usize, bytes: &[u8]) -> Self {
        self.0[at..at + bytes.len()].copy_from_slice(bytes);
        self
    }

    pub(crate) fn u8(self, at: usize, v: u8) -> Self {
        self.bytes(at, &[v])
    }

    pub(crate) fn u16(self, at: usize, v: u16) -> Self {
        self.bytes(at, &v.to_ne_bytes())
    }

    pub(crate) fn u32(self, at: usize, v: u32) -> Self {
        self.bytes(at, &v.to_ne_bytes())
    }

    pub(crate) fn i32(self, at: usize, v: i32) -> Self {
        self.bytes(at, &v.to_ne_bytes())
    }

    pub(crate) fn u64(self, at: usize, v: u64) -> Self {
        self.bytes(at, &v.to_ne_bytes())
    }

    pub(crate) fn count(self, at: usize, n: usize) -> Self {
        self.u32(at, u32::try_from(n).expect("counts are small"))
    }

    /// A C string in a field of `field` bytes, cut so that its NUL fits.
    pub(crate) fn text(self, at: usize, field: usize, text: &[u8]) -> Self {
        let n = text.len().min(field - 1);
        self.bytes(at, &text[..n])
    }

    pub(crate) fn nodes(self, at: usize, ids: &[NodeId]) -> Self {
        ids.iter().enumerate().fold(self, |b, (k, id)| b.u32(at + 4 * k, id.get()))
    }

    pub(crate) fn ring(self, at: usize, ring: RingId) -> Self {
        self.u32(at, ring.representative.get()).u64(at + 8, ring.seq)
    }

    pub(crate) fn done(self) -> Vec<u8> {
        self.0
    }
}
