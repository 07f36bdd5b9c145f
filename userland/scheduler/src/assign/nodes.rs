//! Which nodes can be used at all, and which of two is the better one.

use std::cmp::Ordering;

use cib::Score;

use crate::model::{NodeId, ResourceId, WorkingSet};

/// `placement-strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Strategy {
    Default,
    Utilization,
    Minimal,
    Balanced,
}

impl WorkingSet<'_> {
    pub(super) fn strategy(&self) -> Strategy {
        match self.options.all.get("placement-strategy").map(String::as_str) {
            Some("utilization") => Strategy::Utilization,
            Some("minimal") => Strategy::Minimal,
            Some("balanced") => Strategy::Balanced,
            _ => Strategy::Default,
        }
    }

    /// Whether a node can run something that does not run there yet.
    pub(crate) fn is_available(&self, id: NodeId) -> bool {
        let node = self.node(id);
        node.online && !node.shutdown && !node.unclean && !node.standby && !node.maintenance
    }

    /// Whether any node of a table can be used.
    pub(super) fn any_usable(&self, table: &[Option<Score>]) -> bool {
        table.iter().enumerate().any(|(at, score)| {
            score.is_some_and(|s| s >= Score::ZERO) && self.is_available(NodeId(at as u32))
        })
    }

    /// The nodes of a table, the best first. `current`: where it is now.
    pub(super) fn sorted_nodes(&self, table: &[Option<Score>], current: Option<NodeId>) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> =
            (0..table.len()).filter(|at| table[*at].is_some()).map(|at| NodeId(at as u32)).collect();
        let strategy = self.strategy();
        nodes.sort_by(|a, b| self.compare_nodes(table, *a, *b, current, strategy));
        nodes
    }

    pub(super) fn compare_nodes(
        &self,
        table: &[Option<Score>],
        a: NodeId,
        b: NodeId,
        current: Option<NodeId>,
        strategy: Strategy,
    ) -> Ordering {
        let score = |n: NodeId| {
            let score = table.get(n.0 as usize).copied().flatten();
            if self.is_available(n) { score.unwrap_or(Score::MINUS_INFINITY) } else { Score::MINUS_INFINITY }
        };
        let (x, y) = (self.node(a), self.node(b));
        let by_name = || x.name.as_bytes().cmp(y.name.as_bytes());
        let order = score(b).cmp(&score(a));
        if order.is_ne() {
            return order;
        }
        if strategy == Strategy::Minimal {
            return by_name();
        }
        if strategy == Strategy::Balanced {
            let order = self.compare_capacity(b, a);
            if order.is_ne() {
                return order;
            }
        }
        x.assigned
            .cmp(&y.assigned)
            .then_with(|| (current == Some(b)).cmp(&(current == Some(a))))
            .then_with(by_name)
    }

    pub(crate) fn score_on(&self, id: ResourceId, node: NodeId) -> Option<Score> {
        self.resource(id).allowed.get(node.0 as usize).copied().flatten()
    }

    /// Adds to the score of a resource on a node; one that was not allowed there is from now on.
    pub(crate) fn add_score(&mut self, id: ResourceId, node: NodeId, score: Score) {
        let base = self.node(node).score;
        let at = node.0 as usize;
        let allowed = &mut self.resource_mut(id).allowed;
        if allowed.len() <= at {
            allowed.resize(at + 1, None);
        }
        allowed[at] = Some(allowed[at].unwrap_or(base) + score);
    }

    /// The same for all that it consists of. `None`: on every node.
    pub(crate) fn place_on(&mut self, id: ResourceId, node: Option<NodeId>, score: Score) {
        for child in self.resource(id).children.clone() {
            self.place_on(child, node, score);
        }
        match node {
            Some(node) => self.add_score(id, node, score),
            None => {
                for at in 0..self.nodes.len() {
                    self.add_score(id, NodeId(at as u32), score);
                }
                if score == Score::MINUS_INFINITY {
                    self.resource_mut(id).assigned = None;
                }
            }
        }
    }

    pub(crate) fn place_everywhere(&mut self, id: ResourceId, score: Score) {
        self.place_on(id, None, score);
    }
}
