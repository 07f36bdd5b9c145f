//! A clone: its instances are given to nodes one after another, those that run first.

use std::cmp::Ordering;

use cib::Score;

use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

use super::colocate::{How, Sum};
use super::order::merge_sort;
use super::trace::{Table, Why};

impl WorkingSet<'_> {
    pub(super) fn assign_clone(&mut self, id: ResourceId) -> Option<NodeId> {
        let resource = self.resource(id);
        if !resource.provisional || resource.assigning {
            return None;
        }
        let Variant::Clone(instances) = resource.variant.clone() else { return None };
        let promotable = resource.is(Flags::PROMOTABLE);
        if promotable {
            self.add_promotion_scores(id);
        }
        self.resource_mut(id).assigning = true;
        for place in 0..self.resource(id).this_with.len() {
            let at = self.resource(id).this_with[place];
            self.assign(self.colocations[at].primary, None);
        }
        self.add_dependents(id, How { active: true, nonnegative: true, ..How::default() });
        self.show_scores(id, "pcmk__clone_allocate");
        let mut children = self.resource(id).children.clone();
        self.sort_instances(id, &mut children);
        self.resource_mut(id).children.clone_from(&children);
        self.distribute(id, &children, instances.max, instances.node_max);
        if promotable {
            self.choose_roles(id);
        }
        let resource = self.resource_mut(id);
        (resource.provisional, resource.assigning) = (false, false);
        None
    }

    /// Puts instances into the order in which they choose.
    pub(super) fn sort_instances(&self, id: ResourceId, children: &mut Vec<ResourceId>) {
        let mut wishes = Wishes::default();
        merge_sort(children, &mut |a, b| self.compare_instances(id, *a, *b, &mut wishes));
    }

    /// How good the node of an instance is by all that its parent is colocated with.
    fn score_of_parents_colocations(&self, parent: ResourceId, id: ResourceId) -> Score {
        let Some(node) = self.current_node(id) else { return Score::MINUS_INFINITY };
        let at = node.0 as usize;
        let mut table: Table = vec![None; at + 1];
        table[at] = Some(self.node(node).score);
        let mut sum = Sum::of(table);
        let mut add = |colocation: &crate::constraints::Colocation, other, nonnegative| {
            let how = How { nonnegative, ..How::default() };
            self.add_colocated(other, &mut sum, colocation.attribute.as_deref(), colocation.share(), how);
        };
        for at in &self.resource(parent).this_with {
            let colocation = &self.colocations[*at];
            add(colocation, colocation.primary, false);
        }
        for at in &self.resource(parent).with_this {
            let colocation = &self.colocations[*at];
            if self.has_influence(colocation, Some(id)) {
                add(colocation, colocation.dependent, true);
            }
        }
        sum.scores[at].unwrap_or(Score::MINUS_INFINITY)
    }

    pub(super) fn compare_instances(
        &self,
        parent: ResourceId,
        a: ResourceId,
        b: ResourceId,
        wishes: &mut Wishes,
    ) -> Ordering {
        let (x, y) = (self.resource(a), self.resource(b));
        // One that runs in fewer places has less to lose.
        if !x.running_on.is_empty() && !y.running_on.is_empty() {
            let order = x.running_on.len().cmp(&y.running_on.len());
            if order.is_ne() {
                return order;
            }
        }
        // Where it is must be allowed still; where it may not be it counts as not running.
        let may = |id: ResourceId, node: &Option<NodeId>| {
            node.is_none_or(|node| self.score_on(id, node).is_some_and(|s| s >= Score::ZERO))
        };
        let (mut m, mut n) = (self.current_node(a), self.current_node(b));
        let (can_a, can_b) = (may(a, &m), may(b, &n));
        (m, n) = (m.filter(|_| can_a), n.filter(|_| can_b));
        let order = can_b.cmp(&can_a).then_with(|| y.priority.cmp(&x.priority));
        if order.is_ne() {
            return order;
        }
        let (Some(m), Some(n)) = (m, n) else { return m.is_none().cmp(&n.is_none()) };
        let order = self.is_available(n).cmp(&self.is_available(m));
        if order.is_ne() {
            return order;
        }
        let (p, q) = (self.score_on(parent, m).is_some(), self.score_on(parent, n).is_some());
        if !p || !q {
            return q.cmp(&p);
        }
        let count = |node: NodeId| self.instances_on(parent, node);
        let failed = |id: ResourceId| self.any(id, &|r| r.is(Flags::FAILED));
        let order = count(m).cmp(&count(n)).then_with(|| failed(a).cmp(&failed(b)));
        if order.is_ne() {
            return order;
        }
        let mut wish =
            |id| *wishes.0.entry(id).or_insert_with(|| self.score_of_parents_colocations(parent, id));
        let order = wish(b).cmp(&wish(a));
        if order.is_ne() {
            return order;
        }
        number(&x.id).cmp(&number(&y.id))
    }

    pub(super) fn instances_on(&self, collective: ResourceId, node: NodeId) -> u32 {
        self.resource(collective).instances_on.get(node.0 as usize).copied().unwrap_or(0)
    }

    /// One more instance of what a resource belongs to is on a node.
    fn count_instance(&mut self, id: ResourceId, node: NodeId) {
        let at = node.0 as usize;
        if self.score_on(id, node).is_none() {
            return;
        }
        let counts = &mut self.resource_mut(id).instances_on;
        counts.resize(counts.len().max(at + 1), 0);
        counts[at] += 1;
    }

    /// Gives instances to nodes: those that run stay if they may, then the rest.
    pub(super) fn distribute(&mut self, id: ResourceId, children: &[ResourceId], max: u32, node_max: u32) {
        let count = self.nodes.len();
        self.resource_mut(id).instances_on = vec![0; count];
        let allowed = &self.resource(id).allowed;
        let available = (0..allowed.len())
            .filter(|n| allowed[*n].is_some() && self.is_available(NodeId(*n as u32)))
            .count() as u32;
        let per_node = max.checked_div(available).map_or(1, |n| n.max(1));
        let all = max < available;
        let mut placed = 0;
        for child in children {
            if placed >= max {
                break;
            }
            let resource = self.resource(*child);
            if !resource.provisional || resource.is(Flags::FAILED) {
                continue;
            }
            let Some(node) = self.current_node(*child) else { continue };
            // As good as the node is by itself; what the instance thinks of it is asked later.
            let usable = self.is_available(node) && self.node(node).score >= Score::ZERO;
            let free = self.score_on(id, node).is_none() || self.instances_on(id, node) < per_node;
            if usable && free && self.assign_instance(id, *child, Some(node), all, node_max) {
                placed += 1;
            }
        }
        for child in children {
            if !self.resource(*child).provisional {
                continue;
            }
            if placed >= max {
                self.place_everywhere(*child, Score::MINUS_INFINITY, Why::LimitReached);
            } else if self.assign_instance(id, *child, None, all, node_max) {
                placed += 1;
            }
        }
    }

    /// Places one instance; with `prefer`, there or not at all yet.
    fn assign_instance(
        &mut self,
        id: ResourceId,
        child: ResourceId,
        prefer: Option<NodeId>,
        all: bool,
        node_max: u32,
    ) -> bool {
        if !self.resource(child).provisional || self.resource(child).assigning {
            return !self.resource(child).provisional && self.placed_node(child).is_some();
        }
        // What the clone is colocated with its instances are, too: twice, if it is tried twice.
        for at in self.resource(id).this_with.clone() {
            let score = self.colocations[at].score;
            if all || score < Score::ZERO || score == Score::INFINITY {
                self.insert_colocation(child, at, true);
            }
        }
        for at in self.resource(id).with_this.clone() {
            let colocation = &self.colocations[at];
            if self.has_influence(colocation, Some(child)) && (all || colocation.score < Score::ZERO) {
                self.insert_colocation(child, at, false);
            }
        }
        if prefer.is_some_and(|p| self.score_on(child, p).is_none_or(|s| s < Score::ZERO)) {
            return false;
        }
        for at in 0..self.resource(child).allowed.len() {
            let node = NodeId(at as u32);
            if self.resource(child).allowed[at].is_none() {
                continue;
            }
            let orphan = self.resource(child).is(Flags::ORPHAN);
            let of_clone = self.score_on(id, node).filter(|_| self.is_available(node) && !orphan);
            let why = match of_clone {
                Some(score) if score < Score::ZERO => Why::OfWhole,
                Some(_) if self.instances_on(id, node) < node_max => continue,
                _ => Why::Full,
            };
            self.add_below(child, at, Score::MINUS_INFINITY, why);
        }
        let before = prefer.map(|_| self.resource(child).allowed.clone());
        let chosen = self.assign(child, prefer);
        if let Some(before) = before
            && chosen.is_some()
            && chosen != prefer
        {
            // Members of a group keep what was added to theirs.
            self.replace_table(child, before, Why::SecondTry);
            self.unassign(child);
            return false;
        }
        if let Some(node) = chosen {
            self.count_instance(id, node);
        }
        chosen.is_some()
    }

    /// Adds to the scores of all parts, where they are allowed.
    fn add_below(&mut self, id: ResourceId, at: usize, score: Score, why: Why) {
        for child in 0..self.resource(id).children.len() {
            self.add_below(self.resource(id).children[child], at, score, why);
        }
        let node = NodeId(at as u32);
        if self.score_on(id, node).is_some() {
            self.add_score(id, node, score, why);
        }
    }

    /// As if it had never been placed; what it was going to do stays.
    pub(super) fn unassign(&mut self, id: ResourceId) {
        let Some(node) = self.resource_mut(id).assigned.take() else { return };
        self.resource_mut(id).provisional = true;
        if self.resource(id).is_primitive() {
            let known = self.node_mut(node);
            known.assigned = known.assigned.saturating_sub(1);
            self.release_capacity(id, node);
        }
    }

    /// Takes a resource away from where it was put; it stays down.
    pub(crate) fn withdraw(&mut self, id: ResourceId) {
        self.unassign(id);
        let resource = self.resource_mut(id);
        (resource.provisional, resource.next_role) = (false, Role::Stopped);
    }

    /// A colocation whose primary is a clone.
    pub(super) fn colocate_with_clone(&mut self, dependent: ResourceId, primary: ResourceId, at: usize) {
        let clone = self.resource(primary);
        if clone.provisional {
            return;
        }
        let colocation = &self.colocations[at];
        let (score, owner) = (colocation.score, colocation.dependent);
        if clone.is(Flags::PROMOTABLE) && colocation.primary_role != Role::Unknown {
            if self.resource(dependent).provisional {
                return self.colocate_with_roles(dependent, primary, at);
            }
            if colocation.dependent_role == Role::Promoted {
                return self.promote_with_roles(dependent, primary, at);
            }
        }
        let children = clone.children.clone();
        if self.is_interleaved(owner) && self.copies_per_node(owner) == self.copies_per_node(primary) {
            match self.partner(dependent, &children, Role::Unknown) {
                Some(partner) => self.apply_colocation(dependent, partner, at),
                None if score == Score::INFINITY => self.place_nowhere(dependent),
                None => {}
            }
        } else if score == Score::INFINITY {
            let mut nodes = Vec::new();
            for child in children {
                let blocked = self.any(child, &|r| r.is(Flags::BLOCKED));
                nodes.extend(self.placed_with_score(child).filter(|_| !blocked));
            }
            self.restrict_to(dependent, &nodes, false, at);
        } else {
            for child in children {
                self.apply_to_dependent(dependent, child, at);
            }
        }
    }

    pub(crate) fn is_interleaved(&self, owner: ResourceId) -> bool {
        let owner = self.resource(owner);
        matches!(owner.variant, Variant::Clone(_) | Variant::Bundle(_))
            && owner.meta.get("interleave").and_then(|v| cib::parse_bool(v)) == Some(true)
    }

    fn copies_per_node(&self, id: ResourceId) -> u32 {
        let resource = self.resource(id);
        match &resource.variant {
            // As configured, also where only one is possible.
            Variant::Clone(_) => {
                resource.meta.get("clone-node-max").and_then(|v| v.trim().parse().ok()).unwrap_or(1)
            }
            Variant::Bundle(bundle) => bundle.per_host,
            _ => 1,
        }
    }

    /// Puts a resource, all parts of it, nowhere.
    pub(super) fn place_nowhere(&mut self, id: ResourceId) {
        let children = self.resource(id).children.clone();
        if children.is_empty() {
            self.conclude_assignment(id, None, true);
        }
        for child in children {
            self.place_nowhere(child);
        }
    }

    /// The first of some instances that will be where this one is, or might be.
    pub(super) fn partner(&self, id: ResourceId, others: &[ResourceId], role: Role) -> Option<ResourceId> {
        let on = |node: NodeId| {
            others.iter().copied().find(|other| {
                !self.any(*other, &|r| r.is(Flags::BLOCKED))
                    && (role == Role::Unknown || self.next_role_of(*other) == role)
                    && self.placed_node(*other) == Some(node)
            })
        };
        match self.placed_node(id) {
            Some(node) => on(node),
            None => self.sorted_nodes(&self.resource(id).allowed, None).into_iter().find_map(on),
        }
    }

    /// These nodes are (`add`: better by how good they were for those who are there, or) as good as before; all others are out of the question.
    pub(super) fn restrict_to(
        &mut self,
        dependent: ResourceId,
        nodes: &[(NodeId, Score)],
        add: bool,
        at: usize,
    ) {
        let mut table = self.resource(dependent).allowed.clone();
        for (at, entry) in table.iter_mut().enumerate() {
            let Some(entry) = entry else { continue };
            let there = nodes.iter().find(|(n, _)| n.0 as usize == at);
            *entry =
                there.map_or(Score::MINUS_INFINITY, |(_, score)| if add { *entry + *score } else { *entry });
        }
        let most = nodes.iter().map(|(n, _)| n.0 as usize + 1).max().unwrap_or(0);
        table.resize(table.len().max(most), None);
        for (node, _) in nodes {
            table[node.0 as usize].get_or_insert(Score::MINUS_INFINITY);
        }
        self.replace_table(dependent, table, Why::Colocation(at));
    }

    /// Puts all resources into the order in which they choose when capacity counts.
    pub(super) fn sort_resources(&mut self) {
        let mut top = self.top.clone();
        let tables: std::collections::BTreeMap<ResourceId, Table> =
            top.iter().map(|id| (*id, self.scores_with_primaries(*id).unwrap_or_default())).collect();
        let base: Table = self.nodes.iter().map(|n| Some(n.score)).collect();
        let mut nodes = self.by_name.clone();
        let strategy = self.strategy();
        merge_sort(&mut nodes, &mut |a, b| self.compare_nodes(&base, *a, *b, None, strategy));
        let score = |id: ResourceId, node: NodeId| {
            tables
                .get(&id)
                .and_then(|t| t.get(node.0 as usize).copied().flatten())
                .unwrap_or(Score::MINUS_INFINITY)
        };
        merge_sort(&mut top, &mut |a, b| {
            let (x, y) = (self.resource(*a), self.resource(*b));
            let current =
                |id: ResourceId| self.current_node(id).map_or(Score::MINUS_INFINITY, |n| score(id, n));
            y.priority.cmp(&x.priority).then_with(|| current(*b).cmp(&current(*a))).then_with(|| {
                nodes
                    .iter()
                    .map(|n| score(*b, *n).cmp(&score(*a, *n)))
                    .find(|o| o.is_ne())
                    .unwrap_or(Ordering::Equal)
            })
        });
        self.top = top;
    }
}

/// What was found out of instances while they were sorted.
#[derive(Debug, Default)]
pub(super) struct Wishes(std::collections::BTreeMap<ResourceId, Score>);

/// The number of an instance, behind a colon, or of a container, behind a dash.
fn number(id: &str) -> u64 {
    let number = id.rsplit_once(':').or_else(|| id.rsplit_once('-'));
    number.and_then(|(_, n)| n.parse().ok()).unwrap_or(0)
}
