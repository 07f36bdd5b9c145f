//! A set of nodes: sorted, bounded, without heap.

use std::fmt;

use arrayvec::ArrayVec;
use holdfast_types::NodeId;

use crate::limits::NODES_MAX;

/// Node ids in ascending order, at most [`NODES_MAX`] of them.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct NodeSet(ArrayVec<NodeId, NODES_MAX>);

impl NodeSet {
    /// The empty set.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The set of one.
    #[must_use]
    pub fn of(id: NodeId) -> Self {
        Self::from_iter([id])
    }

    /// Adds `id`; `true` if it was not there. A full set takes no more and says `false`.
    pub fn insert(&mut self, id: NodeId) -> bool {
        match self.0.binary_search(&id) {
            Ok(_) => false,
            Err(at) => self.0.try_insert(at, id).is_ok(),
        }
    }

    /// Takes `id` out; `true` if it was there.
    pub fn remove(&mut self, id: NodeId) -> bool {
        self.0.binary_search(&id).map(|at| self.0.remove(at)).is_ok()
    }

    /// Adds all of `other`; `true` if that changed anything.
    pub fn merge(&mut self, other: &Self) -> bool {
        !other.is_subset(self) && other.iter().fold(false, |changed, id| self.insert(id) | changed)
    }

    /// Whether `id` is in the set.
    #[must_use]
    pub fn contains(&self, id: NodeId) -> bool {
        self.0.binary_search(&id).is_ok()
    }

    /// Whether all of `self` are in `other`.
    #[must_use]
    pub fn is_subset(&self, other: &Self) -> bool {
        let mut rest = other.iter();
        self.len() <= other.len() && self.iter().all(|id| rest.find(|o| *o >= id) == Some(id))
    }

    /// Whether any of `self` is in `other`.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.iter().any(|id| other.contains(id))
    }

    /// `self` without `other`.
    #[must_use]
    pub fn minus(&self, other: &Self) -> Self {
        self.iter().filter(|id| !other.contains(*id)).collect()
    }

    /// Place of `id` in ascending order.
    #[must_use]
    pub fn position(&self, id: NodeId) -> Option<usize> {
        self.0.binary_search(&id).ok()
    }

    /// The member that follows `id` round the ring; the first one after the last.
    #[must_use]
    pub fn after(&self, id: NodeId) -> Option<NodeId> {
        let at = self.0.partition_point(|m| *m <= id);
        self.0.get(at).or_else(|| self.0.first()).copied()
    }

    /// The member before `id` round the ring; the last one before the first.
    #[must_use]
    pub fn before(&self, id: NodeId) -> Option<NodeId> {
        let at = self.0.partition_point(|m| *m < id);
        at.checked_sub(1).and_then(|i| self.0.get(i)).or_else(|| self.0.last()).copied()
    }

    /// The lowest id.
    #[must_use]
    pub fn first(&self) -> Option<NodeId> {
        self.0.first().copied()
    }

    /// The highest id.
    #[must_use]
    pub fn last(&self) -> Option<NodeId> {
        self.0.last().copied()
    }

    /// How many.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// In ascending order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = NodeId> + '_ {
        self.0.iter().copied()
    }

    /// In ascending order.
    #[must_use]
    pub fn as_slice(&self) -> &[NodeId] {
        &self.0
    }

    /// One bit for each member that `of` picks, by place in ascending order.
    #[must_use]
    pub fn mask(&self, mut of: impl FnMut(NodeId) -> bool) -> u64 {
        self.iter().enumerate().filter(|(_, id)| of(*id)).fold(0, |mask, (bit, _)| mask | 1 << bit)
    }

    /// One bit for each of this set that is in `of`, by its place there.
    #[must_use]
    pub fn places_in(&self, of: &Self) -> u64 {
        let mut rest = of.iter().enumerate().peekable();
        self.iter().fold(0, |mask, id| {
            while rest.next_if(|(_, o)| *o < id).is_some() {}
            rest.next_if(|(_, o)| *o == id).map_or(mask, |(bit, _)| mask | 1 << bit)
        })
    }

    /// The members whose bits are set; bits beyond the set mean nobody.
    #[must_use]
    pub fn of_mask(&self, mut mask: u64) -> Self {
        let mut some = Self::new();
        while let Some(id) = self.0.get(mask.trailing_zeros() as usize) {
            some.0.push(*id);
            mask &= mask - 1;
        }
        some
    }
}

impl FromIterator<NodeId> for NodeSet {
    /// Takes the first [`NODES_MAX`] different ids.
    fn from_iter<T: IntoIterator<Item = NodeId>>(ids: T) -> Self {
        let mut set = Self::new();
        for id in ids {
            // Most come in order.
            if set.last().is_none_or(|last| last < id) {
                let _ = set.0.try_push(id);
            } else {
                set.insert(id);
            }
        }
        set
    }
}

impl fmt::Debug for NodeSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|id| id.get())).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(ids: &[u32]) -> NodeSet {
        ids.iter().map(|id| NodeId::new(*id)).collect()
    }

    #[test]
    fn stays_sorted_and_without_doubles() {
        assert_eq!(set(&[3, 1, 2, 3]), set(&[1, 2, 3]));
        assert_eq!(set(&[3, 1]).as_slice(), [NodeId::new(1), NodeId::new(3)]);
    }

    #[test]
    fn a_full_set_takes_no_more() {
        let full: NodeSet = (1..=200).map(NodeId::new).collect();
        assert_eq!(full.len(), NODES_MAX);
        assert!(!full.clone().insert(NodeId::new(500)));
    }

    #[test]
    fn neighbours_go_round() {
        let ring = set(&[2, 5, 9]);
        assert_eq!(ring.after(NodeId::new(9)), Some(NodeId::new(2)));
        assert_eq!(ring.after(NodeId::new(2)), Some(NodeId::new(5)));
        assert_eq!(ring.before(NodeId::new(2)), Some(NodeId::new(9)));
        assert_eq!(ring.before(NodeId::new(9)), Some(NodeId::new(5)));
        assert_eq!(set(&[4]).after(NodeId::new(4)), Some(NodeId::new(4)));
        assert_eq!(set(&[]).after(NodeId::new(4)), None);
    }

    #[test]
    fn set_algebra() {
        assert_eq!(set(&[1, 2, 3]).minus(&set(&[2])), set(&[1, 3]));
        assert!(set(&[1, 3]).is_subset(&set(&[1, 2, 3])));
        assert!(!set(&[1, 4]).is_subset(&set(&[1, 2, 3])));
        assert!(set(&[1, 4]).intersects(&set(&[4])));
        let mut a = set(&[1]);
        assert!(a.merge(&set(&[1, 2])) && !a.merge(&set(&[2])));
    }

    #[test]
    fn masks_name_members_by_place() {
        let ring = set(&[2, 5, 9]);
        let mask = ring.mask(|id| id.get() != 5);
        assert_eq!(mask, 0b101);
        assert_eq!(ring.of_mask(mask), set(&[2, 9]));
        assert_eq!(ring.of_mask(u64::MAX), ring);
    }
}
