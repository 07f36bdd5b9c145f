//! Codec of the ordered messages: what members tell each other through the ring.
//!
//! Little endian, a kind byte first, counts before lists. A message of another version or a malformed one is an error
//! here and is skipped by every member alike; nothing is allocated beyond what the bytes at hand can fill.

use holdfast_types::{BootId, Epoch, Incarnation, NodeId, RingId, Span, StepNumber, Votes, WallTime};

use crate::api::{
    CpgFragment, DeviceEntry, DeviceKind, GroupReason, NodeEntry, NodeTable, Scale, TableId, Tables,
    TieBreak, Whose,
};
use crate::limits::{GROUP_NAME_MAX, NODES_MAX};
use crate::wire::{Put, Reader, WireError};

/// Longest reason text that is passed on; longer ones are cut at a character.
pub const WHY_MAX: usize = 256;

/// One ordered message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message<'a> {
    /// What a member brings into a new configuration; one of each member ends step `sync`.
    State(State),
    /// A member has finished its part of a step.
    StepDone {
        /// Ring of the reconfiguration; left-overs of an older one are void.
        ring: RingId,
        /// Which reconfiguration.
        epoch: Epoch,
        /// Which step.
        step: StepNumber,
    },
    /// A step took too long, or lost a participant: start this reconfiguration again with a higher epoch.
    StepAgain {
        /// Ring of the reconfiguration.
        ring: RingId,
        /// The round that becomes void: how often it has started again already. Epochs are not agreed before the exchange.
        round: u32,
    },
    /// A process of the sender joins a group.
    Join {
        /// Process.
        pid: u32,
        /// Group.
        group: &'a [u8],
    },
    /// A process of the sender leaves a group.
    Leave {
        /// Process.
        pid: u32,
        /// Group.
        group: &'a [u8],
        /// [`GroupReason::Leave`] or [`GroupReason::ProcDown`].
        reason: GroupReason,
    },
    /// A process of the sender multicasts to its group.
    Mcast {
        /// Process.
        pid: u32,
        /// Group.
        group: &'a [u8],
        /// Set for fragments of libcpg.
        fragment: Option<CpgFragment>,
        /// The bytes.
        payload: &'a [u8],
    },
    /// Death of an incarnation, and with it of every earlier one, is confirmed.
    ConfirmDeath {
        /// Who.
        node: NodeId,
        /// Which life.
        incarnation: Incarnation,
        /// In words.
        why: &'a str,
    },
    /// The administrator sets expected votes.
    SetExpected {
        /// Ring it was asked and checked in; void in any other.
        ring: RingId,
        /// How many.
        votes: Votes,
    },
    /// The administrator sets a node's votes.
    SetVotes {
        /// Ring it was asked and checked in; void in any other.
        ring: RingId,
        /// Whose.
        node: NodeId,
        /// How many.
        votes: Votes,
    },
    /// A member has prepared a change of votes.
    VotesReady {
        /// Ring of the change.
        ring: RingId,
        /// Which one of this ring, in order of delivery.
        number: u64,
    },
    /// The administrator ends waiting for all.
    CancelWaitForAll {
        /// Ring it was asked in; void in any other.
        ring: RingId,
    },
    /// The administrator has changed the configuration files: every member reads its own.
    Reload,
    /// A member has read its file.
    Reread {
        /// Ring of the reload; the word counts in no other.
        ring: RingId,
        /// Which reload of this ring, in order of delivery.
        number: u64,
        /// [`Settings::digest`](crate::Settings::digest) of what it wants to be in force.
        digest: u64,
    },
    /// A member has another node table in its file than it has said before.
    Table {
        /// Ring it is said in; void in any other, whose states say it anew.
        ring: RingId,
        /// [`NodeTable::digest`] of it.
        digest: u64,
    },
    /// The votes of these nodes are to count again when they are members again: they have left, or are missing for long.
    Absent {
        /// Ring it was looked at in; void in any other.
        ring: RingId,
        /// Expected votes do not fall below this.
        least: Votes,
        /// Who. Ascending.
        who: Vec<NodeId>,
    },
    /// The administrator takes votes out of the count, or puts them back.
    Maintain {
        /// Ring it was asked and checked in; void in any other.
        ring: RingId,
        /// Whose.
        whose: Whose,
        /// Out of the count.
        on: bool,
    },
    /// The administrator takes a node down.
    KillNode {
        /// Who.
        node: NodeId,
        /// In words.
        why: &'a str,
    },
    /// What the sender recorded of the end of an earlier life of a member, for that member's black box. Changes nothing; who does not
    /// know this kind skips it.
    Testimony(Testimony<'a>),
}

/// What a member recorded of the end of an earlier life of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Testimony<'a> {
    /// Whose end.
    pub node: NodeId,
    /// Which life of it.
    pub life: Incarnation,
    /// Kind of news, as black boxes number them; those that the addressee does not know it leaves out.
    pub news: u8,
    /// When, on the wall clock of who recorded it.
    pub at: WallTime,
    /// In words.
    pub text: &'a str,
}

/// What one member states in step `sync`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// The ring it is stated for.
    pub ring: RingId,
    /// Counts attempts to synchronise on this ring.
    pub round: u32,
    /// Highest epoch this member has seen, the one it proposes now included.
    pub epoch: Epoch,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its boot.
    pub boot_id: BootId,
    /// Its votes.
    pub votes: Votes,
    /// Its expected votes.
    pub expected: Votes,
    /// It is quorate now, within a valid lease.
    pub quorate: bool,
    /// `wait_for_all` is configured there.
    pub wait_for_all: bool,
    /// It still waits for all.
    pub waits_for_all: bool,
    /// The node tables that it counts by.
    pub tables: Box<Tables>,
    /// [`NodeTable::digest`] of the one in its file.
    pub file: u64,
    /// Its userland takes part in steps.
    pub participates: bool,
    /// The ring whose synchronisation it completed last.
    pub previous: RingId,
    /// How long an echo that an earlier life of this member may have sent can still count, whoever got it.
    pub start_wait: Span,
    /// Echoes sent to nodes that are not members: who, which life, how long the last one can still count.
    pub promised: Vec<(NodeId, Incarnation, Span)>,
    /// Firm news: up to which incarnation of a node no lease can be valid.
    pub ended: Vec<(NodeId, Incarnation)>,
    /// Up to which incarnation the death of a node is confirmed.
    pub confirmed: Vec<(NodeId, Incarnation)>,
    /// Latest life and boot known of each node.
    pub lives: Vec<(NodeId, Incarnation, BootId)>,
    /// Local processes in groups, as far as their joins were delivered.
    pub joined: Vec<(Vec<u8>, u32)>,
}

mod kind {
    pub(super) const STATE: u8 = 1;
    pub(super) const STEP_DONE: u8 = 2;
    pub(super) const STEP_AGAIN: u8 = 3;
    pub(super) const JOIN: u8 = 4;
    pub(super) const LEAVE: u8 = 5;
    pub(super) const MCAST: u8 = 6;
    pub(super) const CONFIRM_DEATH: u8 = 7;
    pub(super) const SET_EXPECTED: u8 = 8;
    pub(super) const SET_VOTES: u8 = 9;
    pub(super) const CANCEL_WAIT_FOR_ALL: u8 = 10;
    pub(super) const KILL_NODE: u8 = 11;
    pub(super) const VOTES_READY: u8 = 12;
    pub(super) const RELOAD: u8 = 13;
    pub(super) const REREAD: u8 = 14;
    pub(super) const TABLE: u8 = 15;
    pub(super) const ABSENT: u8 = 16;
    pub(super) const MAINTAIN: u8 = 17;
    pub(super) const TESTIMONY: u8 = 18;
}

impl<'a> Message<'a> {
    /// The bytes for the ring.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        self.encode_into(&mut out);
        out
    }

    /// Behind what `w` holds.
    pub fn encode_into(&self, w: &mut Vec<u8>) {
        match self {
            Self::State(state) => {
                w.put_u8(kind::STATE);
                state.encode(w);
            }
            Self::StepDone { ring, epoch, step } => {
                w.put_u8(kind::STEP_DONE);
                w.put_ring(*ring);
                w.put_u64(epoch.get());
                w.put_u32(step.get());
            }
            Self::StepAgain { ring, round } => {
                w.put_u8(kind::STEP_AGAIN);
                w.put_ring(*ring);
                w.put_u32(*round);
            }
            Self::Join { pid, group } => {
                w.put_u8(kind::JOIN);
                w.put_u32(*pid);
                w.put_group(group);
            }
            Self::Leave { pid, group, reason } => {
                w.put_u8(kind::LEAVE);
                w.put_u32(*pid);
                w.put_group(group);
                w.put_u8(*reason as u8);
            }
            Self::Mcast { pid, group, fragment, payload } => {
                w.put_u8(kind::MCAST);
                w.put_u32(*pid);
                w.put_group(group);
                w.put_u32(fragment.map_or(0, |f| f.position));
                w.put_u32(fragment.map_or(0, |f| f.whole_len));
                w.put(payload);
            }
            Self::ConfirmDeath { node, incarnation, why } => {
                w.put_u8(kind::CONFIRM_DEATH);
                w.put_u32(node.get());
                w.put_u64(incarnation.get());
                w.put(cut(why).as_bytes());
            }
            Self::SetExpected { ring, votes } => {
                w.put_u8(kind::SET_EXPECTED);
                w.put_ring(*ring);
                w.put_u32(votes.get());
            }
            Self::SetVotes { ring, node, votes } => {
                w.put_u8(kind::SET_VOTES);
                w.put_ring(*ring);
                w.put_u32(node.get());
                w.put_u32(votes.get());
            }
            Self::VotesReady { ring, number } => {
                w.put_u8(kind::VOTES_READY);
                w.put_ring(*ring);
                w.put_u64(*number);
            }
            Self::CancelWaitForAll { ring } => {
                w.put_u8(kind::CANCEL_WAIT_FOR_ALL);
                w.put_ring(*ring);
            }
            Self::Reload => w.put_u8(kind::RELOAD),
            Self::Reread { ring, number, digest } => {
                w.put_u8(kind::REREAD);
                w.put_ring(*ring);
                w.put_u64(*number);
                w.put_u64(*digest);
            }
            Self::Table { ring, digest } => {
                w.put_u8(kind::TABLE);
                w.put_ring(*ring);
                w.put_u64(*digest);
            }
            Self::Absent { ring, least, who } => {
                w.put_u8(kind::ABSENT);
                w.put_ring(*ring);
                w.put_u32(least.get());
                w.put_ids(who);
            }
            Self::Maintain { ring, whose, on } => {
                w.put_u8(kind::MAINTAIN);
                w.put_ring(*ring);
                let (kind, node) = match whose {
                    Whose::Node(node) => (0, *node),
                    Whose::Device => (1, NodeId::default()),
                    Whose::All => (2, NodeId::default()),
                };
                w.put_u8(kind);
                w.put_u32(node.get());
                w.put_u8((*on).into());
            }
            Self::KillNode { node, why } => {
                w.put_u8(kind::KILL_NODE);
                w.put_u32(node.get());
                w.put(cut(why).as_bytes());
            }
            Self::Testimony(Testimony { node, life, news, at, text }) => {
                w.put_u8(kind::TESTIMONY);
                w.put_u32(node.get());
                w.put_u64(life.get());
                w.put_u8(*news);
                w.put_u64(at.0.cast_unsigned());
                w.put(cut(text).as_bytes());
            }
        }
    }

    /// Reads one message.
    ///
    /// # Errors
    /// When the bytes are not exactly one message of this version.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, WireError> {
        let mut r = Reader::new(bytes);
        let message = match r.u8()? {
            kind::STATE => Self::State(State::decode(&mut r)?),
            kind::STEP_DONE => Self::StepDone {
                ring: r.ring()?,
                epoch: Epoch::new(r.u64()?),
                step: StepNumber::new(r.u32()?),
            },
            kind::STEP_AGAIN => Self::StepAgain { ring: r.ring()?, round: r.u32()? },
            kind::JOIN => Self::Join { pid: r.u32()?, group: group(&mut r)? },
            kind::LEAVE => Self::Leave {
                pid: r.u32()?,
                group: group(&mut r)?,
                reason: match r.u8()? {
                    2 => GroupReason::Leave,
                    5 => GroupReason::ProcDown,
                    _ => return Err(WireError::BadValue("reason")),
                },
            },
            kind::MCAST => {
                let (pid, group) = (r.u32()?, group(&mut r)?);
                let fragment = match (r.u32()?, r.u32()?) {
                    (0, 0) => None,
                    (position @ 1..=3, whole_len) => Some(CpgFragment { whole_len, position }),
                    _ => return Err(WireError::BadValue("fragment")),
                };
                return Ok(Self::Mcast { pid, group, fragment, payload: r.rest() });
            }
            kind::CONFIRM_DEATH => {
                let (node, incarnation) = (r.node()?, Incarnation::new(r.u64()?));
                return Ok(Self::ConfirmDeath { node, incarnation, why: text(r)? });
            }
            kind::SET_EXPECTED => Self::SetExpected { ring: r.ring()?, votes: Votes::new(r.u32()?) },
            kind::SET_VOTES => {
                Self::SetVotes { ring: r.ring()?, node: r.node()?, votes: Votes::new(r.u32()?) }
            }
            kind::VOTES_READY => Self::VotesReady { ring: r.ring()?, number: r.u64()? },
            kind::CANCEL_WAIT_FOR_ALL => Self::CancelWaitForAll { ring: r.ring()? },
            kind::RELOAD => Self::Reload,
            kind::REREAD => Self::Reread { ring: r.ring()?, number: r.u64()?, digest: r.u64()? },
            kind::TABLE => Self::Table { ring: r.ring()?, digest: r.u64()? },
            kind::ABSENT => Self::Absent { ring: r.ring()?, least: Votes::new(r.u32()?), who: ids(&mut r)? },
            kind::MAINTAIN => Self::Maintain {
                ring: r.ring()?,
                whose: match (r.u8()?, r.u32()?) {
                    (0, node) if node > 0 => Whose::Node(NodeId::new(node)),
                    (1, 0) => Whose::Device,
                    (2, 0) => Whose::All,
                    _ => return Err(WireError::BadValue("whose votes")),
                },
                on: flag(&mut r)?,
            },
            kind::KILL_NODE => {
                let node = r.node()?;
                return Ok(Self::KillNode { node, why: text(r)? });
            }
            kind::TESTIMONY => {
                let (node, life, news) = (r.node()?, Incarnation::new(r.u64()?), r.u8()?);
                let at = WallTime(r.u64()?.cast_signed());
                return Ok(Self::Testimony(Testimony { node, life, news, at, text: text(r)? }));
            }
            _ => return Err(WireError::BadValue("kind")),
        };
        r.end()?;
        Ok(message)
    }
}

impl State {
    fn encode(&self, w: &mut Vec<u8>) {
        w.put_ring(self.ring);
        w.put_u32(self.round);
        w.put_u64(self.epoch.get());
        w.put_u64(self.incarnation.get());
        w.put(&self.boot_id.0);
        w.put_u32(self.votes.get());
        w.put_u32(self.expected.get());
        let flags = [self.quorate, self.wait_for_all, self.waits_for_all, self.participates];
        w.put_u8(flags.iter().enumerate().fold(0, |byte, (bit, on)| byte | u8::from(*on) << bit));
        w.put_tables(&self.tables);
        w.put_u64(self.file);
        w.put_ring(self.previous);
        w.put_u64(self.start_wait.as_nanos());
        w.put_count(self.promised.len());
        for (node, life, wait) in &self.promised {
            w.put_u32(node.get());
            w.put_u64(life.get());
            w.put_u64(wait.as_nanos());
        }
        for lives in [&self.ended, &self.confirmed] {
            w.put_count(lives.len());
            for (node, life) in lives {
                w.put_u32(node.get());
                w.put_u64(life.get());
            }
        }
        w.put_count(self.lives.len());
        for (node, life, boot) in &self.lives {
            w.put_u32(node.get());
            w.put_u64(life.get());
            w.put(&boot.0);
        }
        w.put_u32(u32::try_from(self.joined.len()).expect("bounded by LOCAL_PROCESSES_MAX"));
        for (group, pid) in &self.joined {
            w.put_u32(*pid);
            w.put_group(group);
        }
    }

    fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let ring = r.ring()?;
        let round = r.u32()?;
        let epoch = Epoch::new(r.u64()?);
        let incarnation = Incarnation::new(r.u64()?);
        let boot_id = BootId(r.id16()?);
        let votes = Votes::new(r.u32()?);
        let expected = Votes::new(r.u32()?);
        let flags = r.u8()?;
        if flags > 15 {
            return Err(WireError::BadValue("flags"));
        }
        Ok(Self {
            ring,
            round,
            epoch,
            incarnation,
            boot_id,
            votes,
            expected,
            quorate: flags & 1 != 0,
            wait_for_all: flags & 2 != 0,
            waits_for_all: flags & 4 != 0,
            participates: flags & 8 != 0,
            tables: Box::new(tables(r)?),
            file: r.u64()?,
            previous: r.ring()?,
            start_wait: Span::from_nanos(r.u64()?),
            promised: list(r, |r| Ok((r.node()?, Incarnation::new(r.u64()?), Span::from_nanos(r.u64()?))))?,
            ended: list(r, |r| Ok((r.node()?, Incarnation::new(r.u64()?))))?,
            confirmed: list(r, |r| Ok((r.node()?, Incarnation::new(r.u64()?))))?,
            lives: list(r, |r| Ok((r.node()?, Incarnation::new(r.u64()?), BootId(r.id16()?))))?,
            joined: {
                // No capacity in advance: the vector grows only with bytes that are there.
                let count = r.u32()?;
                let mut joined = Vec::new();
                for _ in 0..count {
                    let pid = r.u32()?;
                    joined.push((group(r)?.to_vec(), pid));
                }
                joined
            },
        })
    }
}

/// `text`, cut to [`WHY_MAX`] bytes at a character.
#[must_use]
pub fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(WHY_MAX)]
}

trait PutMore: Put {
    fn put_group(&mut self, name: &[u8]) {
        assert!(name.len() <= GROUP_NAME_MAX, "group names are checked when they come in");
        self.put_count(name.len());
        self.put(name);
    }

    fn put_table(&mut self, id: TableId, table: &NodeTable) {
        self.put_u64(id.ring);
        self.put_u32(id.number);
        self.put_u32(table.expected.get());
        self.put_u8(table.device.map_or(0, |device| device.kind as u8));
        if let Some(device) = table.device {
            self.put_u32(device.votes.get());
        }
        self.put_count(table.nodes.len());
        for node in &table.nodes {
            self.put_u32(node.id.get());
            self.put_u32(node.votes.get());
        }
        let (rule, list): (u8, &[NodeId]) = match &table.tie_break {
            TieBreak::Off => (0, &[]),
            TieBreak::Lowest => (1, &[]),
            TieBreak::Highest => (2, &[]),
            TieBreak::Listed(list) => (3, list),
        };
        self.put_u8(rule);
        self.put_ids(list);
        self.put_ids(&table.scale.away);
        self.put_ids(&table.scale.maintained);
        self.put_u8(u8::from(table.scale.device_out));
        self.put_u32(table.scale.least.get());
        self.put_u32(table.scale.tie.map_or(0, NodeId::get));
    }

    fn put_ids(&mut self, ids: &[NodeId]) {
        self.put_count(ids.len());
        ids.iter().for_each(|id| self.put_u32(id.get()));
    }

    fn put_tables(&mut self, tables: &Tables) {
        self.put_table(tables.id, &tables.table);
        self.put_u8(u8::from(tables.next.is_some()));
        if let Some((id, table)) = &tables.next {
            self.put_table(*id, table);
        }
    }
}
impl PutMore for Vec<u8> {}

fn group<'a>(r: &mut Reader<'a>) -> Result<&'a [u8], WireError> {
    let len = r.count("bytes of a group name", GROUP_NAME_MAX)?;
    r.bytes(len)
}

fn table(r: &mut Reader<'_>) -> Result<(TableId, NodeTable), WireError> {
    let id = TableId { ring: r.ring_seq()?, number: r.u32()? };
    let expected = Votes::new(r.u32()?);
    let device = match (r.u8()?, DeviceKind::from_number) {
        (0, _) => None,
        (number, kind) => {
            let kind = kind(number).ok_or(WireError::BadValue("kind of quorum device"))?;
            Some(DeviceEntry { votes: Votes::new(r.u32()?), kind })
        }
    };
    let nodes = list(r, |r| Ok(NodeEntry { id: r.node()?, votes: Votes::new(r.u32()?) }))?;
    if nodes.windows(2).any(|w| w[0].id >= w[1].id) {
        return Err(WireError::BadValue("order of node ids"));
    }
    let (rule, listed) = (r.u8()?, list(r, |r| r.node())?);
    let tie_break = match rule {
        0 => TieBreak::Off,
        1 => TieBreak::Lowest,
        2 => TieBreak::Highest,
        3 => TieBreak::Listed(listed),
        _ => return Err(WireError::BadValue("tie-breaker")),
    };
    let scale = Scale {
        away: ids(r)?,
        maintained: ids(r)?,
        device_out: flag(r)?,
        least: Votes::new(r.u32()?),
        tie: Some(NodeId::new(r.u32()?)).filter(|node| node.get() > 0),
    };
    Ok((id, NodeTable { nodes, expected, device, tie_break, scale }))
}

fn flag(r: &mut Reader<'_>) -> Result<bool, WireError> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(WireError::BadValue("on or off")),
    }
}

/// Node ids in ascending order.
fn ids(r: &mut Reader<'_>) -> Result<Vec<NodeId>, WireError> {
    let ids = list(r, |r| r.node())?;
    if ids.windows(2).any(|w| w[0] >= w[1]) {
        return Err(WireError::BadValue("order of node ids"));
    }
    Ok(ids)
}

fn tables(r: &mut Reader<'_>) -> Result<Tables, WireError> {
    let (id, in_force) = table(r)?;
    let next = match r.u8()? {
        0 => None,
        1 => Some(table(r)?),
        _ => return Err(WireError::BadValue("number of tables")),
    };
    Ok(Tables { id, table: in_force, next })
}

fn text(r: Reader<'_>) -> Result<&str, WireError> {
    match std::str::from_utf8(r.rest()) {
        Ok(why) if why.len() <= WHY_MAX => Ok(why),
        _ => Err(WireError::BadValue("reason")),
    }
}

/// A list of at most [`NODES_MAX`] items.
fn list<'a, T>(
    r: &mut Reader<'a>,
    mut get: impl FnMut(&mut Reader<'a>) -> Result<T, WireError>,
) -> Result<Vec<T>, WireError> {
    let count = r.count("nodes", NODES_MAX)?;
    (0..count).map(|_| get(r)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(seq: u64) -> RingId {
        RingId { representative: NodeId::new(1), seq }
    }

    fn samples() -> Vec<Message<'static>> {
        let (node, life) = (NodeId::new(3), Incarnation::new(77));
        vec![
            Message::State(State {
                ring: ring(8),
                round: 2,
                epoch: Epoch::new(5),
                incarnation: life,
                boot_id: BootId([7; 16]),
                votes: Votes::new(1),
                expected: Votes::new(3),
                quorate: true,
                wait_for_all: false,
                waits_for_all: true,
                participates: true,
                tables: Box::new(Tables {
                    id: TableId { ring: 4, number: 1 },
                    table: NodeTable::new(vec![NodeEntry { id: node, votes: Votes::new(2) }], None)
                        .with_device(Some(DeviceEntry { votes: Votes::new(1), kind: DeviceKind::Net })),
                    next: Some((
                        TableId { ring: 8, number: 2 },
                        NodeTable {
                            tie_break: TieBreak::Listed(vec![NodeId::new(4), node]),
                            scale: Scale {
                                away: vec![node, NodeId::new(4)],
                                maintained: vec![NodeId::new(5)],
                                device_out: true,
                                least: Votes::new(2),
                                tie: Some(node),
                            },
                            ..NodeTable::new(Vec::new(), Some(Votes::new(3)))
                        },
                    )),
                }),
                file: 99,
                previous: ring(4),
                start_wait: Span::from_millis(3),
                promised: vec![(node, life, Span::from_millis(9))],
                ended: vec![(node, life)],
                confirmed: vec![(node, life), (NodeId::new(4), life)],
                lives: vec![(node, life, BootId([1; 16]))],
                joined: vec![(b"a\0".to_vec(), 12), (Vec::new(), 13)],
            }),
            Message::StepDone { ring: ring(8), epoch: Epoch::new(5), step: StepNumber::new(3) },
            Message::StepAgain { ring: ring(8), round: 5 },
            Message::Join { pid: 12, group: b"cib\0" },
            Message::Leave { pid: 12, group: b"", reason: GroupReason::ProcDown },
            Message::Mcast { pid: 12, group: &[9; GROUP_NAME_MAX], fragment: None, payload: b"" },
            Message::Mcast {
                pid: 12,
                group: b"g",
                fragment: Some(CpgFragment { whole_len: 1 << 30, position: 2 }),
                payload: b"xyz",
            },
            Message::ConfirmDeath { node, incarnation: life, why: "fenced by ipmi" },
            Message::SetExpected { ring: ring(8), votes: Votes::new(3) },
            Message::SetVotes { ring: ring(8), node, votes: Votes::new(0) },
            Message::CancelWaitForAll { ring: ring(8) },
            Message::Reload,
            Message::Reread { ring: ring(4), number: 2, digest: u64::MAX - 7 },
            Message::VotesReady { ring: ring(8), number: 7 },
            Message::Table { ring: ring(8), digest: 1 << 63 },
            Message::Absent { ring: ring(8), least: Votes::new(2), who: vec![node, NodeId::new(4)] },
            Message::Maintain { ring: ring(8), whose: Whose::Node(node), on: true },
            Message::Maintain { ring: ring(8), whose: Whose::Device, on: true },
            Message::Maintain { ring: ring(8), whose: Whose::All, on: false },
            Message::KillNode { node, why: "operator" },
            Message::Testimony(Testimony { node, life, news: 8, at: WallTime(-5), text: "fenced by ipmi" }),
        ]
    }

    #[test]
    fn every_message_survives_the_wire() {
        for message in samples() {
            assert_eq!(Message::decode(&message.encode()).as_ref(), Ok(&message));
        }
    }

    #[test]
    fn a_cut_message_is_an_error_unless_its_tail_is_free() {
        for message in samples() {
            let bytes = message.encode();
            for len in 0..bytes.len() {
                let cut = Message::decode(&bytes[..len]);
                match message {
                    // A payload and a text reach to the end: shorter ones are other messages, never this one.
                    Message::Mcast { .. }
                    | Message::ConfirmDeath { .. }
                    | Message::KillNode { .. }
                    | Message::Testimony(_) => assert_ne!(cut, Ok(message.clone())),
                    _ => assert!(cut.is_err(), "{message:?} cut to {len}"),
                }
            }
        }
    }

    #[test]
    fn no_damage_makes_it_panic_or_allocate() {
        // Every single byte of every sample set to each of a few telling values.
        for message in samples() {
            let good = message.encode();
            for at in 0..good.len() {
                for value in [0, 1, 0x7f, 0x80, 0xff] {
                    let mut bytes = good.clone();
                    bytes[at] = value;
                    if let Ok(read) = Message::decode(&bytes) {
                        assert_eq!(Message::decode(&read.encode()), Ok(read.clone()));
                    }
                }
            }
        }
        let Message::State(state) = &samples()[0] else { panic!("the first sample is a state") };
        let mut bytes = Message::State(State { joined: Vec::new(), ..state.clone() }).encode();
        let at = bytes.len() - 4;
        bytes[at..].copy_from_slice(&u32::MAX.to_le_bytes());
        assert_eq!(Message::decode(&bytes), Err(WireError::Truncated));
    }

    #[test]
    fn a_long_reason_is_cut_at_a_character() {
        let why = "ä".repeat(200);
        let bytes = Message::KillNode { node: NodeId::new(1), why: &why }.encode();
        let Ok(Message::KillNode { why: read, .. }) = Message::decode(&bytes) else { panic!("must decode") };
        assert_eq!(read, "ä".repeat(128));
    }
}
