//! JOIN and LEAVE: one node's word on who is there, with the rows of reachability that it knows.

use holdfast_types::{Incarnation, NodeId, RingId};

use super::{FRAME_CONTROL_MAX, FrameKind, NodeSet, Put, Reader, WireError};

/// What one node says about membership. The sender is the packet's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Join {
    /// The sender's life.
    pub incarnation: Incarnation,
    /// Grows with each join the sender makes in one life: an older one is void however late it comes.
    pub counter: u64,
    /// Orderly leave: the sender is gone after this.
    pub leave: bool,
    /// The sender knows of a better ring with the receiver in it than each of them is in, and gathers because of that.
    pub vouch: bool,
    /// The sender comes from no ring: it has just started.
    pub newborn: bool,
    /// Highest ring sequence number the sender has taken part in or may have used in an earlier life.
    pub ring_seq: u64,
    /// The configuration it comes from.
    pub old_ring: RingId,
    /// Nodes it considers, the failed included.
    pub proc: NodeSet,
    /// Nodes of `proc` that it goes on without, for whatever reason.
    pub failed: NodeSet,
    /// Nodes of `proc` that it has firm news of: they are gone for all.
    pub gone: NodeSet,
    /// Nodes of `proc` that it hears, itself included.
    pub heard: NodeSet,
    /// Nodes of `proc` that it does not hear.
    pub deaf: NodeSet,
    /// What others of `proc` have said of whom they do not hear, as far as the sender knows.
    pub rows: Vec<Row>,
}

/// One node's row of reachability, as it has said it itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Whose.
    pub node: NodeId,
    /// Which of its joins it is from.
    pub version: RowVersion,
    /// Representative of the ring it comes from; `None`: it has just started.
    pub company: Option<NodeId>,
    /// Whom it does not hear.
    pub deaf: NodeSet,
}

/// Which of a node's joins a row is from: its life, and its number there. Both cut to 32 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct RowVersion {
    /// The life.
    pub life: u32,
    /// The join's number.
    pub counter: u32,
}

impl RowVersion {
    /// Of this join of this life.
    #[must_use]
    #[allow(clippy::cast_possible_truncation)] // cut on purpose: lives and joins are counted from 1
    pub fn new(life: Incarnation, counter: u64) -> Self {
        Self { life: life.get() as u32, counter: counter as u32 }
    }
}

impl Join {
    /// Its own row.
    #[must_use]
    pub fn row(&self, node: NodeId) -> Row {
        Row {
            node,
            version: RowVersion::new(self.incarnation, self.counter),
            company: (!self.newborn).then_some(self.old_ring.representative),
            deaf: self.deaf.clone(),
        }
    }

    /// As a frame. Rows that do not fit are left out: of 64 nodes at least 50 fit whatever they say, and all of them
    /// where no more than that lack anybody.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(FIXED_LEN + 4 * self.proc.len() + ROW_LEN * self.rows.len());
        out.put_u8(FrameKind::Join as u8);
        out.put_u8(u8::from(self.leave) | u8::from(self.vouch) << 1 | u8::from(self.newborn) << 2);
        out.put_u64(self.incarnation.get());
        out.put_u64(self.counter);
        out.put_u64(self.ring_seq);
        out.put_ring(self.old_ring);
        out.put_nodes(&self.proc);
        for set in [&self.failed, &self.gone, &self.heard, &self.deaf] {
            out.put_u64(self.proc.mask(|id| set.contains(id)));
        }
        let count_at = out.len();
        out.put_u8(0);
        for row in &self.rows {
            let Some(place) = self.proc.position(row.node) else { continue };
            let deaf = self.proc.mask(|id| row.deaf.contains(id));
            if out.len() + ROW_LEN > FRAME_CONTROL_MAX {
                break;
            }
            let company = row.company.and_then(|id| self.proc.position(id));
            // Most rows lack nobody: they go without a mask.
            out.put_u8(place as u8 | u8::from(deaf != 0) << 7);
            out.put_u32(row.version.life);
            out.put_u32(row.version.counter);
            out.put_u8(company.map_or(NO_COMPANY, |place| place as u8));
            if deaf != 0 {
                out.put_u64(deaf);
            }
            out[count_at] += 1;
        }
        out
    }

    /// From a frame.
    pub fn decode(frame: &[u8]) -> Result<Self, WireError> {
        let mut r = Reader::frame(frame, FrameKind::Join)?;
        let flags = r.u8()?;
        if flags > 7 {
            return Err(WireError::BadValue("join flags"));
        }
        let incarnation = Incarnation::new(r.u64()?);
        let counter = r.u64()?;
        let ring_seq = r.ring_seq()?;
        let old_ring = r.ring()?;
        let proc = r.nodes("nodes considered")?;
        let failed = set(&mut r, &proc)?;
        let gone = set(&mut r, &proc)?;
        let heard = set(&mut r, &proc)?;
        let deaf = set(&mut r, &proc)?;
        let count = r.count("rows", proc.len())?;
        let mut rows = Vec::with_capacity(count);
        let mut seen = 0_u64;
        for _ in 0..count {
            let head = r.u8()?;
            let node = node(&proc, head & 0x7f)?;
            let bit = 1_u64 << (head & 0x7f);
            if seen & bit != 0 {
                return Err(WireError::BadValue("two rows of a node"));
            }
            seen |= bit;
            let version = RowVersion { life: r.u32()?, counter: r.u32()? };
            let company = match r.u8()? {
                NO_COMPANY => None,
                place => Some(self::node(&proc, place)?),
            };
            let deaf = if head >> 7 == 1 { set(&mut r, &proc)? } else { NodeSet::new() };
            if head >> 7 == 1 && deaf.is_empty() {
                return Err(WireError::BadValue("a row"));
            }
            rows.push(Row { node, version, company, deaf });
        }
        r.end()?;
        Ok(Self {
            incarnation,
            counter,
            leave: flags & 1 == 1,
            vouch: flags & 2 == 2,
            newborn: flags & 4 == 4,
            ring_seq,
            old_ring,
            proc,
            failed,
            gone,
            heard,
            deaf,
            rows,
        })
    }
}

fn node(of: &NodeSet, place: u8) -> Result<NodeId, WireError> {
    of.as_slice().get(usize::from(place)).copied().ok_or(WireError::BadValue("place of a node"))
}

/// A set of nodes of `of`, as a mask by place.
fn set(r: &mut Reader<'_>, of: &NodeSet) -> Result<NodeSet, WireError> {
    let mask = r.u64()?;
    let beyond = u32::try_from(of.len()).ok().and_then(|n| mask.checked_shr(n)).unwrap_or(0);
    if beyond != 0 { Err(WireError::BadValue("mask of nodes")) } else { Ok(of.of_mask(mask)) }
}

const NO_COMPANY: u8 = 0xff;
const FIXED_LEN: usize = 1 + 1 + 8 + 8 + 8 + 12 + 1 + 4 * 8 + 1;
const ROW_LEN: usize = 1 + 4 + 4 + 1 + 8;
const _: () = assert!(FIXED_LEN + 4 * crate::limits::NODES_MAX + 50 * ROW_LEN <= FRAME_CONTROL_MAX);
const _: () = assert!(
    FIXED_LEN + 4 * crate::limits::NODES_MAX + (ROW_LEN - 8) * crate::limits::NODES_MAX + 8 * 44
        <= FRAME_CONTROL_MAX
);

#[cfg(test)]
mod tests {
    use super::super::tests::{all_truncations_fail, one_more_byte_fails};
    use super::*;

    fn nodes(n: impl IntoIterator<Item = u32>) -> NodeSet {
        n.into_iter().map(NodeId::new).collect()
    }

    fn sample(proc: u32, failed: u32, rows: u32) -> Join {
        let row = |n: u32| Row {
            node: NodeId::new(n),
            version: RowVersion { life: n, counter: 7 },
            company: (n.is_multiple_of(2)).then_some(NodeId::new(1)),
            deaf: if n.is_multiple_of(3) { nodes([1]) } else { NodeSet::new() },
        };
        Join {
            incarnation: Incarnation::new(3),
            counter: 8,
            leave: failed == 1,
            vouch: proc == 3,
            newborn: proc == 64,
            ring_seq: 1024,
            old_ring: RingId { representative: NodeId::new(2), seq: 1020 },
            proc: nodes(1..=proc),
            failed: nodes(1..=failed),
            gone: nodes(1..=failed / 2),
            heard: nodes(failed + 1..=proc),
            deaf: nodes(1..=failed),
            rows: (1..=rows).map(row).collect(),
        }
    }

    #[test]
    fn decodes_what_it_encodes() {
        for (proc, failed, rows) in [(0, 0, 0), (3, 1, 3), (3, 0, 0), (64, 64, 64)] {
            let join = sample(proc, failed, rows);
            let bytes = join.encode();
            assert!(bytes.len() <= FRAME_CONTROL_MAX);
            assert_eq!(Join::decode(&bytes), Ok(join));
            all_truncations_fail(&bytes, |b| Join::decode(b).is_err());
            one_more_byte_fails(&bytes, |b| Join::decode(b).is_err());
        }
    }

    #[test]
    fn rows_that_do_not_fit_are_left_out() {
        let mut join = sample(64, 0, 64);
        for row in &mut join.rows {
            row.deaf = nodes(33..=64);
        }
        join.rows.insert(0, Row { node: NodeId::new(99), ..join.rows[0].clone() });
        let bytes = join.encode();
        assert!(bytes.len() <= FRAME_CONTROL_MAX);
        let rows = Join::decode(&bytes).unwrap().rows;
        assert!(rows.len() >= 50 && rows[..] == join.rows[1..=rows.len()], "{}", rows.len());
    }

    #[test]
    fn refuses_unsorted_and_oversized_sets_and_places_of_nobody() {
        let bytes = sample(2, 0, 1).encode();
        let at = FIXED_LEN - 1 - 4 * 8;
        let mut unsorted = bytes.clone();
        unsorted[at..at + 8].rotate_left(4);
        assert_eq!(Join::decode(&unsorted), Err(WireError::BadValue("order of node ids")));
        let mut oversized = sample(0, 0, 0).encode();
        oversized[at - 1] = 65;
        assert!(matches!(Join::decode(&oversized), Err(WireError::TooMany { count: 65, .. })));
        let mut beyond = bytes.clone();
        beyond[at + 8] = 4;
        assert_eq!(Join::decode(&beyond), Err(WireError::BadValue("mask of nodes")));
        let row = at + 8 + 4 * 8 + 1;
        for (place, value) in [(row, 2), (row, 0x80), (row + 9, 2)] {
            let mut bad = bytes.clone();
            bad[place] = value;
            assert!(Join::decode(&bad).is_err(), "{place} {value}");
        }
        let mut doubled = sample(2, 0, 2).encode();
        doubled[row + 10] = 0;
        assert_eq!(Join::decode(&doubled), Err(WireError::BadValue("two rows of a node")));
    }
}
