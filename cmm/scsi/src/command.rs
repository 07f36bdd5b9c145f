//! The commands of SPC-4 that are needed, as bytes: PERSISTENT RESERVE IN and OUT, and what comes back.
//!
//! | command | service action | after it |
//! |---|---|---|
//! | read keys | IN 00h | generation, and one key for each registration (a node with several paths has several) |
//! | read reservation | IN 01h | generation, and the holder's key |
//! | register | OUT 00h | this path has the key, if it had the one named before |
//! | register and ignore | OUT 06h | this path has the key, whatever it had |
//! | reserve | OUT 01h | this path holds the reservation, if there was none |
//! | clear | OUT 03h | all registrations and the reservation are gone |
//! | preempt, preempt and abort | OUT 04h, 05h | the victim's registrations are gone, and its reservation, if it held it, is this path's |
//!
//! The reservation is always *write exclusive, registrants only*: who is not registered cannot write.

use crate::key::{Cluster, Key};

/// What is sent to the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Command {
    /// All registrations.
    ReadKeys,
    /// Who holds the reservation.
    ReadReservation,
    /// Only where this path has `current` so far; [`Key::NONE`]: where it has none.
    Register {
        /// Before.
        current: Key,
        /// From then on; [`Key::NONE`]: none any more.
        key: Key,
        /// Registrations and the reservation outlive a loss of power of the target.
        persist: bool,
    },
    /// Whatever this path has.
    RegisterAndIgnore {
        /// From then on.
        key: Key,
        /// As in `Register`.
        persist: bool,
    },
    /// Takes the reservation where nobody has it.
    Reserve {
        /// This node's.
        key: Key,
    },
    /// Ends everything: registrations and the reservation.
    Clear {
        /// This path's.
        key: Key,
    },
    /// Ends another node's registrations, and takes its reservation.
    Preempt {
        /// This node's.
        key: Key,
        /// The other's.
        victim: Key,
        /// Its commands under way are aborted before this is over.
        abort: bool,
    },
}

/// Bytes of a command.
pub const CDB_LEN: usize = 10;
/// Bytes of the parameter list that goes out with PERSISTENT RESERVE OUT.
pub const LIST_LEN: usize = 24;
/// Bytes that may come back: 1,023 registrations.
pub const ANSWER_LEN: usize = 8_192;

const IN: u8 = 0x5E;
const OUT: u8 = 0x5F;
/// Scope: logical unit; type: write exclusive, registrants only.
const REGISTRANTS_ONLY: u8 = 5;

impl Command {
    /// The command descriptor block.
    #[must_use]
    pub fn cdb(&self) -> [u8; CDB_LEN] {
        let read = |action: u8| {
            let [high, low] = (ANSWER_LEN as u16).to_be_bytes();
            [IN, action, 0, 0, 0, 0, 0, high, low, 0]
        };
        let write = |action: u8, kind: u8| {
            let [a, b, c, d] = (LIST_LEN as u32).to_be_bytes();
            [OUT, action, kind, 0, 0, a, b, c, d, 0]
        };
        match self {
            Self::ReadKeys => read(0),
            Self::ReadReservation => read(1),
            Self::Register { .. } => write(0, 0),
            Self::Reserve { .. } => write(1, REGISTRANTS_ONLY),
            Self::Clear { .. } => write(3, 0),
            Self::Preempt { abort: false, .. } => write(4, REGISTRANTS_ONLY),
            Self::Preempt { abort: true, .. } => write(5, REGISTRANTS_ONLY),
            Self::RegisterAndIgnore { .. } => write(6, 0),
        }
    }

    /// What goes out with it, if anything does.
    #[must_use]
    pub fn list(&self) -> Option<[u8; LIST_LEN]> {
        let (current, key, persist) = match *self {
            Self::ReadKeys | Self::ReadReservation => return None,
            Self::Register { current, key, persist } => (current, key, persist),
            Self::RegisterAndIgnore { key, persist } => (Key::NONE, key, persist),
            Self::Reserve { key } | Self::Clear { key } => (key, Key::NONE, false),
            Self::Preempt { key, victim, .. } => (key, victim, false),
        };
        let mut list = [0; LIST_LEN];
        list[..8].copy_from_slice(&current.to_bytes());
        list[8..16].copy_from_slice(&key.to_bytes());
        list[20] = u8::from(persist);
        Some(list)
    }

    /// What came back: the SCSI status, sense data in either format, and what was read.
    ///
    /// # Errors
    /// When the command was not done.
    pub fn reply(&self, cluster: Cluster, status: u8, sense: &[u8], data: &[u8]) -> Result<Reply, Failure> {
        good(status, sense)?;
        match self {
            Self::ReadKeys => read_keys(cluster, data).map(Reply::Keys),
            Self::ReadReservation => read_reservation(cluster, data).map(Reply::Reservation),
            _ => Ok(Reply::Done),
        }
    }
}

/// What came back of [`Command::ReadKeys`], whosever keys they are: the generation, and each registration.
///
/// # Errors
/// When the command was not done.
pub fn all_keys(status: u8, sense: &[u8], data: &[u8]) -> Result<(u32, Vec<Key>), Failure> {
    good(status, sense)?;
    let (generation, list) = header(data)?;
    let keys = list.chunks_exact(8).filter_map(|key| key.try_into().ok().map(Key::from_bytes));
    Ok((generation, keys.collect()))
}

/// What came back of [`Command::ReadReservation`]: the holder's key, and the type of the reservation.
///
/// # Errors
/// When the command was not done.
pub fn any_holder(status: u8, sense: &[u8], data: &[u8]) -> Result<Option<(Key, u8)>, Failure> {
    good(status, sense)?;
    match header(data)?.1 {
        [] => Ok(None),
        [a, b, c, d, e, f, g, h, .., _, kind, _, _] => {
            Ok(Some((Key::from_bytes([*a, *b, *c, *d, *e, *f, *g, *h]), kind & 0x0F)))
        }
        _ => Err(Failure::Malformed),
    }
}

fn good(status: u8, sense: &[u8]) -> Result<(), Failure> {
    match status {
        0x00 => Ok(()),
        0x02 => Err(check_condition(sense)),
        0x18 => Err(Failure::Conflict),
        status => Err(Failure::Status(status)),
    }
}

fn check_condition(sense: &[u8]) -> Failure {
    let byte = |n: usize| sense.get(n).copied().unwrap_or(0);
    let (key, code) = match byte(0) & 0x7F {
        0x70 | 0x71 => (byte(2) & 0x0F, u16::from_be_bytes([byte(12), byte(13)])),
        0x72 | 0x73 => (byte(1) & 0x0F, u16::from_be_bytes([byte(2), byte(3)])),
        _ => (0, 0),
    };
    match key {
        6 => Failure::Attention,
        5 => Failure::Unsupported,
        key => Failure::Sense { key, code },
    }
}

/// A command that was done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reply {
    /// Of [`Command::ReadKeys`].
    Keys(Keys),
    /// Of [`Command::ReadReservation`].
    Reservation(Reservation),
    /// Of all others.
    Done,
}

/// Who is registered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Keys {
    /// Counts registrations and preemptions, and begins anew when the target does.
    pub generation: u32,
    /// Nodes of this cluster: bit `slot - 1` for each.
    pub ours: u64,
    /// A key that is none of this cluster's.
    pub foreign: Option<Key>,
}

/// Who holds the reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reservation {
    /// As in [`Keys`].
    pub generation: u32,
    /// Nobody; a node of this cluster; or something that is not its business.
    pub holder: Holder,
}

/// The holder of a reservation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Holder {
    /// There is no reservation.
    #[default]
    Nobody,
    /// A node of this cluster.
    Slot(u8),
    /// Another cluster or tool, or a reservation of another type.
    Foreign(Key),
}

/// Why a command was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// RESERVATION CONFLICT: this path is not registered as the command says, or somebody else holds the reservation.
    #[error("reservation conflict")]
    Conflict,
    /// ILLEGAL REQUEST.
    #[error("the disk does not know the command (no SCSI-3 persistent reservations, or not all of them)")]
    Unsupported,
    /// UNIT ATTENTION: the target has something to tell, and has not done the command. Send it again.
    #[error("unit attention")]
    Attention,
    /// Another sense key, and additional sense code with qualifier.
    #[error("sense key {key:#x}, code {code:#06x}")]
    Sense {
        /// The sense key.
        key: u8,
        /// Code and qualifier.
        code: u16,
    },
    /// Another status.
    #[error("SCSI status {0:#04x}")]
    Status(u8),
    /// The operating system says no: its error number.
    #[error("I/O error {0}")]
    Io(i32),
    /// An answer that cannot be.
    #[error("malformed answer")]
    Malformed,
}

fn read_keys(cluster: Cluster, data: &[u8]) -> Result<Keys, Failure> {
    let (generation, list) = header(data)?;
    let mut keys = Keys { generation, ..Keys::default() };
    for key in list.chunks_exact(8) {
        let key = Key::from_bytes(key.try_into().map_err(|_| Failure::Malformed)?);
        match cluster.slot(key) {
            Some(slot) => keys.ours |= bit(slot),
            None => keys.foreign = Some(key),
        }
    }
    Ok(keys)
}

fn read_reservation(cluster: Cluster, data: &[u8]) -> Result<Reservation, Failure> {
    let (generation, list) = header(data)?;
    let holder = match list {
        [] => Holder::Nobody,
        [a, b, c, d, e, f, g, h, .., _, kind, _, _] if list.len() == 16 => {
            let key = Key::from_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
            cluster.slot(key).filter(|_| *kind == REGISTRANTS_ONLY).map_or(Holder::Foreign(key), Holder::Slot)
        }
        _ => return Err(Failure::Malformed),
    };
    Ok(Reservation { generation, holder })
}

/// Generation, and as many bytes as are said to follow.
fn header(data: &[u8]) -> Result<(u32, &[u8]), Failure> {
    let number = |at: usize| -> Option<u32> { data.get(at..at + 4)?.try_into().ok().map(u32::from_be_bytes) };
    let (generation, length) = number(0).zip(number(4)).ok_or(Failure::Malformed)?;
    let list = usize::try_from(length).ok().and_then(|l| data.get(8..8_usize.checked_add(l)?));
    list.filter(|l| l.len() % 8 == 0).map(|list| (generation, list)).ok_or(Failure::Malformed)
}

/// A node's bit in a set.
pub(crate) fn bit(slot: u8) -> u64 {
    slot.checked_sub(1).and_then(|n| 1_u64.checked_shl(n.into())).unwrap_or(0)
}
