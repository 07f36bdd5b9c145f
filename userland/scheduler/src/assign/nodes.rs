//! Which nodes can be used at all, and which of two is the better one.

use std::cmp::Ordering;

use cib::Score;

use crate::model::{NodeId, ResourceId, WorkingSet};

use super::order::merge_sort;
use super::trace::Why;

/// `placement-strategy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strategy {
    Default,
    Utilization,
    Minimal,
    Balanced,
}

impl WorkingSet<'_> {
    pub(crate) fn strategy(&self) -> Strategy {
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
    pub(crate) fn sorted_nodes(&self, table: &[Option<Score>], current: Option<NodeId>) -> Vec<NodeId> {
        let mut nodes: Vec<NodeId> =
            (0..table.len()).filter(|at| table[*at].is_some()).map(|at| NodeId(at as u32)).collect();
        let strategy = self.strategy();
        merge_sort(&mut nodes, &mut |a, b| self.compare_nodes(table, *a, *b, current, strategy));
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
    pub(crate) fn add_score(&mut self, id: ResourceId, node: NodeId, score: Score, why: Why) {
        let base = self.node(node).score;
        let at = node.0 as usize;
        let before = self.score_on(id, node);
        let allowed = &mut self.resource_mut(id).allowed;
        if allowed.len() <= at {
            allowed.resize(at + 1, None);
        }
        let after = before.unwrap_or(base) + score;
        allowed[at] = Some(after);
        self.note(id, at, before, after, before.map(|_| score), why);
    }

    /// The same for all that it consists of. `None`: on every node.
    pub(crate) fn place_on(&mut self, id: ResourceId, node: Option<NodeId>, score: Score, why: Why) {
        match node {
            Some(node) => self.place_on_one(id, node, score, why),
            None => {
                for at in 0..self.nodes.len() {
                    self.place_on_one(id, NodeId(at as u32), score, why);
                }
                if score == Score::MINUS_INFINITY {
                    self.resource_mut(id).assigned = None;
                }
            }
        }
    }

    fn place_on_one(&mut self, id: ResourceId, node: NodeId, score: Score, why: Why) {
        for child in 0..self.resource(id).children.len() {
            self.place_on_one(self.resource(id).children[child], node, score, why);
        }
        self.add_score(id, node, score, why);
    }

    pub(crate) fn place_everywhere(&mut self, id: ResourceId, score: Score, why: Why) {
        self.place_on(id, None, score, why);
    }

    /// Where a resource and all that is inside of it will be, each node once.
    pub(super) fn placed_nodes(&self, id: ResourceId, into: &mut Vec<(NodeId, Score)>) {
        let resource = self.resource(id);
        if resource.children.is_empty() {
            if let Some(node) = resource.assigned
                && !into.iter().any(|(n, _)| *n == node)
            {
                into.push((node, resource.assigned_score));
            }
            return;
        }
        for child in &resource.children {
            self.placed_nodes(*child, into);
        }
    }

    /// Where a resource will be, and by what score, if all of it will be in one place.
    pub(super) fn placed_with_score(&self, id: ResourceId) -> Option<(NodeId, Score)> {
        let mut nodes = Vec::new();
        self.placed_nodes(id, &mut nodes);
        if let [one] = nodes[..] { Some(one) } else { None }
    }

    /// The node where all of a resource will be.
    pub(crate) fn placed_node(&self, id: ResourceId) -> Option<NodeId> {
        self.placed_with_score(id).map(|(node, _)| node)
    }

    /// A node's value of an attribute.
    pub(super) fn node_value(&self, node: NodeId, attribute: &str) -> Option<&str> {
        self.node(node).attributes.get(attribute).map(String::as_str)
    }

    /// Whether two nodes are the same place as far as an attribute tells (`None`: whether they are the same node). What both
    /// have not is the same, too.
    pub(super) fn same_place(&self, a: NodeId, b: NodeId, attribute: Option<&str>) -> bool {
        match attribute {
            _ if a == b => true,
            // A node of which no state was ever read has no name among its attributes either.
            None => !self.node(a).named && !self.node(b).named,
            Some(attribute) => match (self.node_value(a, attribute), self.node_value(b, attribute)) {
                (Some(x), Some(y)) => x.eq_ignore_ascii_case(y),
                (x, y) => x.is_none() && y.is_none(),
            },
        }
    }
}
