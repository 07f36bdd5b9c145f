//! Disks of qdiskd (Red Hat Cluster Suite, format V2): recognised, and read for import. Never written.
//!
//! Slots of 4096 bytes (of the sector size if that is larger): slot 0 the header, 1 to 16 the nodes. Each begins with a
//! little-endian block header (magic, CRC of the header, CRC of the data, length, view, time); the data behind it are
//! big endian.

use super::crc::{crc32, crc32_without};
use super::{Damaged, Text};

/// The header of a disk of qdiskd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyHeader {
    /// When it was made: seconds since 1970.
    pub created: u64,
    /// Where it was made.
    pub host: Text<128>,
    /// What it is found by.
    pub label: Text<120>,
    /// Sector size it was made for.
    pub sector: u32,
}

/// What qdiskd said of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LegacyState {
    /// It is not there.
    None,
    /// Another node threw it out.
    Evicted,
    /// It starts.
    Initializing,
    /// It is there.
    Running,
    /// It is the master.
    Master,
}

/// A status block of qdiskd.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LegacyStatus {
    /// Who wrote it last: another one than the node has evicted it.
    pub updated_by: u32,
    /// When: seconds since 1970.
    pub timestamp: u64,
    /// Whose it is.
    pub node: u32,
    /// How it is.
    pub state: LegacyState,
    /// Its flags.
    pub flags: u16,
    /// Heuristics reached and possible: qdiskd always writes 0.
    pub score: (u16, u16),
    /// Mean time of a cycle, seconds and microseconds.
    pub cycle: (u32, u32),
    /// That of the last one.
    pub last_cycle: (u32, u32),
    /// The life of its qdiskd, in the order of bytes of the machine that wrote it, which was little endian.
    pub incarnation: u64,
    /// Nodes that it sees, bit `node - 1` each.
    pub mask: u64,
}

impl LegacyHeader {
    /// From the beginning of a disk.
    ///
    /// # Errors
    /// When it is not a disk of qdiskd, or of a version that nobody has used for long.
    pub fn read(start: &[u8]) -> Result<Self, Damaged> {
        let data = unwrap(start)?;
        if data.len() < HEADER_LEN || be32(data, 0) != HEADER_MAGIC || be32(data, 4) != HEADER_V2 {
            return Err(Damaged::Contents);
        }
        let (mut host, mut label) = ([0; 128], [0; 120]);
        host.copy_from_slice(&data[16..144]);
        label.copy_from_slice(&data[144..264]);
        Ok(Self { created: be64(data, 8), host: Text(host), label: Text(label), sector: be32(data, 264) })
    }

    /// Bytes from one slot to the next.
    #[must_use]
    pub fn slot_size(&self) -> usize {
        usize::try_from(self.sector).unwrap_or(0).max(4_096)
    }
}

impl LegacyStatus {
    /// From the beginning of a slot.
    ///
    /// # Errors
    /// When there is no status block.
    pub fn read(slot: &[u8]) -> Result<Self, Damaged> {
        let data = unwrap(slot)?;
        if data.len() < STATUS_LEN || be32(data, 0) != STATUS_MAGIC {
            return Err(Damaged::Contents);
        }
        let state = match data[24] {
            0 => LegacyState::None,
            1 => LegacyState::Evicted,
            2 => LegacyState::Initializing,
            5 => LegacyState::Running,
            6 => LegacyState::Master,
            _ => return Err(Damaged::Contents),
        };
        Ok(Self {
            updated_by: be32(data, 4),
            timestamp: be64(data, 8),
            node: be32(data, 16),
            state,
            flags: be16(data, 26),
            score: (be16(data, 28), be16(data, 30)),
            cycle: (be32(data, 32), be32(data, 36)),
            last_cycle: (be32(data, 40), be32(data, 44)),
            incarnation: be64(data, 48).swap_bytes(),
            mask: be64(data, 64),
        })
    }
}

/// Checks a block header; returns the data behind it.
fn unwrap(block: &[u8]) -> Result<&[u8], Damaged> {
    let (head, rest) = block.split_at_checked(BLOCK_HEAD).ok_or(Damaged::Length)?;
    let le32 = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
    if le32(0) != BLOCK_MAGIC {
        return Err(Damaged::Unknown);
    }
    // qdiskd never accepts a checksum of 0.
    if le32(4) == 0 || crc32_without(head, 4) != le32(4) {
        return Err(Damaged::Contents);
    }
    let data = usize::try_from(le32(12)).ok().and_then(|len| rest.get(..len)).ok_or(Damaged::Contents)?;
    if crc32(data) != le32(8) { Err(Damaged::Contents) } else { Ok(data) }
}

fn be16(data: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([data[at], data[at + 1]])
}

fn be32(data: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([data[at], data[at + 1], data[at + 2], data[at + 3]])
}

fn be64(data: &[u8], at: usize) -> u64 {
    u64::from(be32(data, at)) << 32 | u64::from(be32(data, at + 4))
}

const BLOCK_HEAD: usize = 32;
const BLOCK_MAGIC: u32 = 0x00DE_BB1E;
const HEADER_MAGIC: u32 = 0xEB7A_62C2;
const HEADER_V2: u32 = 0x389F_ABC4;
const HEADER_LEN: usize = 272;
const STATUS_MAGIC: u32 = 0x47BA_CEF8;
const STATUS_LEN: usize = 80;
