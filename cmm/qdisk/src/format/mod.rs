//! What is on a quorum disk.
//!
//! Everything is in records of one sector each, and each record is there twice, in neighbouring sectors: a write that a
//! power cut tears leaves at most one of them unreadable. With `C` the sector size the disk was made for (512 or 4096)
//! and `N` slots:
//!
//! | offset | what | written by |
//! |---|---|---|
//! | 0 | header, twice | `create` |
//! | 2C·n, n = 1 … N | block of node n, twice | node n, nobody else |
//! | 2C·(N + n) | mailbox of node n, twice | whoever has an order for n |
//! | 2C·(2N + n) | tombstone of node n, twice | node n on its way down |
//!
//! A record, little endian: magic (8 bytes) · kind u8 · 0 u8 · version u16 · oldest version that may read it u16 · slot u16 ·
//! id of the disk (16 bytes) · CRC-32 of the whole sector with this field 0 u32 · length of the body u16 · 0 u16 · body · zeros.
//! The checksum covers the zeros: every bit of a sector counts. The id and the slot expose a record that was written to the
//! wrong disk or place. A later version appends fields to a body: a reader takes those that it knows, and refuses a record that says
//! it needs a newer reader. What a shorter body lacks reads as 0.

pub mod block;
pub mod crc;
pub mod header;
pub mod legacy;
pub mod mail;

use arrayvec::ArrayVec;

use self::block::Block;
use crate::SLOTS_MAX;

/// Drawn when a disk is made: tells it from every other one, and from what was on it before.
pub type DiskId = [u8; 16];

/// Why a record cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damaged {
    /// No magic: never written by us.
    #[error("nothing that Holdfast wrote")]
    Unknown,
    /// The checksum is another one, or a field is impossible.
    #[error("checksum or contents are wrong")]
    Contents,
    /// Of another disk, or made anew since.
    #[error("it belongs to another quorum disk")]
    OtherDisk,
    /// Of another slot or kind.
    #[error("it belongs to another place")]
    OtherPlace,
    /// Written by a version that says this one cannot read it.
    #[error("it needs version {0} of the format")]
    TooNew(u16),
    /// Not the bytes of a sector.
    #[error("not a whole sector")]
    Length,
}

/// Kinds of records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Header = 1,
    Block = 2,
    Mail = 3,
    Tombstone = 4,
}

/// Where things are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    sector: u32,
    slots: u8,
}

impl Layout {
    /// For disks with sectors of 512 or 4096 bytes; `None` for any other size, or no or too many slots.
    #[must_use]
    pub fn new(sector: u32, slots: u8) -> Option<Self> {
        (matches!(sector, 512 | 4_096) && (1..=SLOTS_MAX).contains(&slots)).then_some(Self { sector, slots })
    }

    /// Bytes of a sector.
    #[must_use]
    pub fn sector(self) -> u32 {
        self.sector
    }

    /// Nodes that it has room for.
    #[must_use]
    pub fn slots(self) -> u8 {
        self.slots
    }

    /// Bytes of a record, both copies.
    #[must_use]
    pub fn pair(self) -> usize {
        2 * usize::try_from(self.sector).unwrap_or(0)
    }

    /// Bytes of the whole disk.
    #[must_use]
    pub fn size(self) -> u64 {
        self.at(3 * u64::from(self.slots) + 1)
    }

    /// Where a node's block is. The header is in the place of slot 0.
    #[must_use]
    pub fn block_at(self, slot: u8) -> u64 {
        self.at(u64::from(slot))
    }

    /// Where a node's mailbox is.
    #[must_use]
    pub fn mail_at(self, slot: u8) -> u64 {
        self.at(u64::from(self.slots) + u64::from(slot))
    }

    /// Where a node's tombstone is.
    #[must_use]
    pub fn tombstone_at(self, slot: u8) -> u64 {
        self.at(2 * u64::from(self.slots) + u64::from(slot))
    }

    /// Bytes of header and blocks of the slots up to `last`: what is read in each cycle.
    #[must_use]
    pub fn area(self, last: u8) -> usize {
        self.pair() * (usize::from(last.min(self.slots)) + 1)
    }

    fn at(self, pairs: u64) -> u64 {
        pairs * 2 * u64::from(self.sector)
    }
}

/// One slot as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// The newer one of the copies that can be read.
    Block(Block),
    /// Neither copy can be read.
    Damaged(Damaged),
}

/// Blocks as one read of a disk found them.
#[derive(Clone, Debug, Default)]
pub struct Area {
    slots: ArrayVec<Slot, { SLOTS_MAX as usize }>,
}

impl Area {
    /// Reads header and blocks; `bytes` as [`Layout::area`] says.
    ///
    /// # Errors
    /// When the header is not that of this disk any more.
    pub fn read(&mut self, layout: Layout, id: &DiskId, bytes: &[u8]) -> Result<(), Damaged> {
        self.slots.clear();
        let mut pairs = bytes.chunks_exact(layout.pair());
        let header = header::Header::read(pairs.next().ok_or(Damaged::Length)?)?;
        if header.id != *id || header.layout != layout {
            return Err(Damaged::OtherDisk);
        }
        for (slot, pair) in (1..=layout.slots).zip(pairs) {
            self.slots.push(Block::read(slot, id, pair).map_or_else(Slot::Damaged, Slot::Block));
        }
        Ok(())
    }

    /// Made of blocks as they are: for simulators.
    #[must_use]
    pub fn of(slots: impl IntoIterator<Item = Slot>) -> Self {
        Self { slots: slots.into_iter().take(usize::from(SLOTS_MAX)).collect() }
    }

    /// All slots that were read, from 1 on.
    pub fn slots(&self) -> impl Iterator<Item = (u8, &Slot)> {
        (1..=SLOTS_MAX).zip(&self.slots)
    }
}

/// What is around the body of a record, sound or not: for people who look at a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame {
    /// 1 header, 2 block, 3 mailbox, 4 tombstone.
    pub kind: u8,
    /// Whose; 0: the header.
    pub slot: u16,
    /// Of what wrote it.
    pub version: u16,
    /// The oldest version that may read it.
    pub needs: u16,
    /// Which disk it is of.
    pub id: DiskId,
    /// Bytes of the body.
    pub length: u16,
    /// The checksum that it has.
    pub stored: u32,
    /// The checksum that it should have.
    pub computed: u32,
}

impl Frame {
    /// That of one sector; `None` without the magic.
    #[must_use]
    pub fn of(sector: &[u8]) -> Option<Self> {
        let head = sector.get(..HEAD).filter(|head| head.starts_with(&MAGIC))?;
        let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
        let mut id = [0; 16];
        id.copy_from_slice(&head[16..32]);
        Some(Self {
            kind: head[8],
            slot: u16_at(14),
            version: u16_at(10),
            needs: u16_at(12),
            id,
            length: u16_at(36),
            stored: u32::from_le_bytes([head[32], head[33], head[34], head[35]]),
            computed: crc::crc32_without(sector, CRC_AT),
        })
    }
}

/// Frames a body into one sector.
pub(crate) fn seal(sector: &mut [u8], kind: Kind, slot: u8, id: &DiskId, body: &[u8]) {
    assert!(sector.len() >= HEAD + body.len() && body.len() <= BODY_MAX, "a record fits its sector");
    sector.fill(0);
    sector[..8].copy_from_slice(&MAGIC);
    sector[8] = kind as u8;
    sector[10..12].copy_from_slice(&VERSION.to_le_bytes());
    sector[12..14].copy_from_slice(&NEEDS.to_le_bytes());
    sector[14..16].copy_from_slice(&u16::from(slot).to_le_bytes());
    sector[16..32].copy_from_slice(id);
    let len = u16::try_from(body.len()).unwrap_or(0);
    sector[36..38].copy_from_slice(&len.to_le_bytes());
    sector[HEAD..HEAD + body.len()].copy_from_slice(body);
    let crc = crc::crc32(sector);
    sector[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
}

/// Checks one sector and returns its body. `id`: of the disk it must be of, `None` for any.
pub(crate) fn open<'a>(
    sector: &'a [u8],
    kind: Kind,
    slot: u8,
    id: Option<&DiskId>,
) -> Result<Body<'a>, Damaged> {
    let (head, rest) = sector.split_at_checked(HEAD).ok_or(Damaged::Length)?;
    if head[..8] != MAGIC {
        return Err(Damaged::Unknown);
    }
    let u16_at = |at: usize| u16::from_le_bytes([head[at], head[at + 1]]);
    let stored = u32::from_le_bytes([head[32], head[33], head[34], head[35]]);
    if crc::crc32_without(sector, CRC_AT) != stored {
        return Err(Damaged::Contents);
    }
    if u16_at(12) > VERSION {
        return Err(Damaged::TooNew(u16_at(12)));
    }
    if id.is_some_and(|id| head[16..32] != id[..]) {
        return Err(Damaged::OtherDisk);
    }
    if head[8] != kind as u8 || u16_at(14) != u16::from(slot) {
        return Err(Damaged::OtherPlace);
    }
    let body = rest.get(..usize::from(u16_at(36))).ok_or(Damaged::Contents)?;
    let mut id = [0; 16];
    id.copy_from_slice(&head[16..32]);
    Ok(Body { rest: body, id })
}

/// The body of a record; what it lacks at its end reads as 0.
pub(crate) struct Body<'a> {
    rest: &'a [u8],
    pub(crate) id: DiskId,
}

impl Body<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        let (now, later) = self.rest.split_at(N.min(self.rest.len()));
        out[..now.len()].copy_from_slice(now);
        self.rest = later;
        out
    }
    pub(crate) fn u8(&mut self) -> u8 {
        self.take::<1>()[0]
    }
    pub(crate) fn u16(&mut self) -> u16 {
        u16::from_le_bytes(self.take())
    }
    pub(crate) fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }
    pub(crate) fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
    /// Text in a field of `N` bytes, ended by the first 0.
    pub(crate) fn text<const N: usize>(&mut self) -> Text<N> {
        Text(self.take())
    }
}

/// Text of at most `N` bytes, as it is on the disk. Not checked for UTF-8: shown with care.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// As much of it as fits, cut at a character.
    #[must_use]
    pub fn new(text: &str) -> Self {
        let mut len = text.len().min(N);
        while !text.is_char_boundary(len) {
            len -= 1;
        }
        let mut bytes = [0; N];
        bytes[..len].copy_from_slice(&text.as_bytes()[..len]);
        Self(bytes)
    }

    pub(crate) fn bytes(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> std::fmt::Display for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let len = self.0.iter().position(|b| *b == 0).unwrap_or(N);
        // Whoever can write to the disk does not get to write to a terminal.
        let text = String::from_utf8_lossy(&self.0[..len]);
        text.chars().try_for_each(|c| std::fmt::Write::write_char(f, if c.is_control() { '?' } else { c }))
    }
}

impl<const N: usize> std::fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.to_string())
    }
}

/// The newer one of two copies that can be read.
pub(crate) fn newer<T>(
    pair: &[u8],
    read: impl Fn(&[u8]) -> Result<T, Damaged>,
    later: impl Fn(&T, &T) -> bool,
) -> Result<T, Damaged> {
    let half = pair.len() / 2;
    if !matches!(half, 512 | 4_096) || !pair.len().is_multiple_of(2) {
        return Err(Damaged::Length);
    }
    match (read(&pair[..half]), read(&pair[half..])) {
        (Ok(a), Ok(b)) => Ok(if later(&b, &a) { b } else { a }),
        (Ok(one), Err(_)) | (Err(_), Ok(one)) => Ok(one),
        (Err(why), Err(_)) => Err(why),
    }
}

/// Fills both copies.
pub(crate) fn seal_pair(pair: &mut [u8], kind: Kind, slot: u8, id: &DiskId, body: &[u8]) {
    let half = pair.len() / 2;
    let (a, b) = pair.split_at_mut(half);
    seal(a, kind, slot, id, body);
    b.copy_from_slice(a);
}

const MAGIC: [u8; 8] = *b"HOLDFSTQ";
/// The version of what is written here.
const VERSION: u16 = 1;
/// The oldest version that can read it.
const NEEDS: u16 = 1;
const HEAD: usize = 40;
const CRC_AT: usize = 32;
/// Fits the smallest sector.
pub(crate) const BODY_MAX: usize = 512 - HEAD;

#[cfg(test)]
mod tests;
