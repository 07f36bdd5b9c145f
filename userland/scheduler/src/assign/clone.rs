//! A clone: its instances are given to nodes one after another, those that run first.

use std::cmp::Ordering;

use cib::Score;

use crate::constraints::Colocation;
use crate::model::{Flags, NodeId, ResourceId, Role, Variant, WorkingSet};

use super::colocate::How;

impl WorkingSet<'_> {
    pub(super) fn assign_clone(&mut self, id: ResourceId) -> Option<NodeId> {
        let resource = self.resource(id);
        if !resource.provisional || resource.assigning {
            return None;
        }
        let Variant::Clone(instances) = resource.variant.clone() else { return None };
        let promotable = resource.is(Flags::PROMOTABLE);
        self.resource_mut(id).assigning = true;
        if promotable {
            self.add_promotion_scores(id);
        }
        for at in self.resource(id).this_with.clone() {
            self.assign(self.colocations[at].primary, None);
        }
        self.add_dependents(id, How { active: true, nonnegative: true, ..How::default() });
        self.show_scores(id, "pcmk__clone_allocate");
        let children = self.sorted_instances(id);
        self.resource_mut(id).children.clone_from(&children);
        self.distribute(id, &children, instances.max, instances.node_max);
        if promotable {
            self.choose_roles(id);
        }
        let resource = self.resource_mut(id);
        (resource.provisional, resource.assigning) = (false, false);
        None
    }

    /// Instances in the order in which they choose.
    fn sorted_instances(&mut self, id: ResourceId) -> Vec<ResourceId> {
        let mut children = self.resource(id).children.clone();
        let keys: std::collections::BTreeMap<ResourceId, Vec<Option<Score>>> =
            children.iter().map(|c| (*c, self.scores_with_colocations(*c))).collect();
        children.sort_by(|a, b| self.compare_instances(*a, *b, &keys));
        children
    }

    /// What an instance's scores would be with what its parent is colocated with.
    fn scores_with_colocations(&mut self, id: ResourceId) -> Vec<Option<Score>> {
        let Some(parent) = self.resource(id).parent else { return Vec::new() };
        let current = self.current_or_member_node(id);
        let mut table: Vec<Option<Score>> = vec![None; self.nodes.len()];
        if let Some(node) = current {
            table[node.0 as usize] = self.score_on(id, node).or(Some(Score::ZERO));
        }
        for at in self.resource(parent).this_with.clone() {
            let colocation = self.colocations[at].clone();
            self.add_instance_colocation(&mut table, colocation.primary, &colocation, false);
        }
        for at in self.resource(parent).with_this.clone() {
            let colocation = self.colocations[at].clone();
            if self.has_influence(&colocation) {
                self.add_instance_colocation(&mut table, colocation.dependent, &colocation, true);
            }
        }
        table
    }

    fn add_instance_colocation(
        &mut self,
        table: &mut Vec<Option<Score>>,
        other: ResourceId,
        colocation: &Colocation,
        nonnegative: bool,
    ) {
        let factor = colocation.score.get() as f32 / Score::INFINITY.get() as f32;
        let how = How { nonnegative, ..How::default() };
        if let Some(added) = self.add_colocated_scores(other, Some(table), &colocation.attribute, factor, how)
        {
            *table = added;
        }
    }

    pub(super) fn current_or_member_node(&self, id: ResourceId) -> Option<NodeId> {
        self.current_node(id)
            .or_else(|| self.resource(id).children.iter().find_map(|c| self.current_node(*c)))
    }

    fn compare_instances(
        &self,
        a: ResourceId,
        b: ResourceId,
        keys: &std::collections::BTreeMap<ResourceId, Vec<Option<Score>>>,
    ) -> Ordering {
        let (x, y) = (self.resource(a), self.resource(b));
        // One that runs in fewer places has less to lose.
        if !x.running_on.is_empty() && !y.running_on.is_empty() {
            let order = x.running_on.len().cmp(&y.running_on.len());
            if order.is_ne() {
                return order;
            }
        }
        let (m, n) = (self.current_or_member_node(a), self.current_or_member_node(b));
        // Where it is must be allowed still.
        let can = |id: ResourceId, node: Option<NodeId>| {
            node.is_none_or(|node| self.score_on(id, node).is_some_and(|s| s >= Score::ZERO))
        };
        let order = can(b, n).cmp(&can(a, m));
        if order.is_ne() {
            return order;
        }
        let order = y.priority.cmp(&x.priority);
        if order.is_ne() {
            return order;
        }
        match (m, n) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Greater,
            (Some(_), None) => return Ordering::Less,
            (Some(_), Some(_)) => {}
        }
        let (Some(m), Some(n)) = (m, n) else { return Ordering::Equal };
        let order = self.is_available(n).cmp(&self.is_available(m));
        if order.is_ne() {
            return order;
        }
        let on_parent =
            |id: ResourceId, node: NodeId| self.resource(id).parent.and_then(|p| self.score_on(p, node));
        let (p, q) = (on_parent(a, m), on_parent(b, n));
        let order = q.is_some().cmp(&p.is_some());
        if order.is_ne() {
            return order;
        }
        let count =
            |id: ResourceId, node: NodeId| self.resource(id).parent.map_or(0, |p| self.instances_on(p, node));
        let order = count(a, m).cmp(&count(b, n));
        if order.is_ne() {
            return order;
        }
        let failed = |id: ResourceId| self.any(id, &|r| r.is(Flags::FAILED));
        let order = failed(a).cmp(&failed(b));
        if order.is_ne() {
            return order;
        }
        let key = |id: ResourceId, node: NodeId| {
            keys.get(&id).and_then(|t| t.get(node.0 as usize).copied().flatten())
        };
        let order = key(b, n).cmp(&key(a, m));
        if order.is_ne() {
            return order;
        }
        let number = |id: ResourceId| {
            let id = &self.resource(id).id;
            id.rsplit_once(':').and_then(|(_, n)| n.parse::<u64>().ok()).unwrap_or(0)
        };
        number(a).cmp(&number(b))
    }

    pub(super) fn instances_on(&self, collective: ResourceId, node: NodeId) -> u32 {
        self.resource(collective).instances_on.get(node.0 as usize).copied().unwrap_or(0)
    }

    /// One more instance of what a resource belongs to is on a node.
    pub(super) fn count_instance(&mut self, id: ResourceId, node: NodeId) {
        let at = node.0 as usize;
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
        let mut placed = 0;
        for child in children {
            if placed >= max {
                break;
            }
            let resource = self.resource(*child);
            if !resource.provisional || !self.is_active(*child, false) || resource.is(Flags::FAILED) {
                continue;
            }
            let Some(node) = self.current_or_member_node(*child) else { continue };
            let usable =
                self.is_available(node) && self.score_on(*child, node).is_some_and(|s| s >= Score::ZERO);
            if usable
                && self.instances_on(id, node) < per_node
                && self.assign_instance(id, *child, Some(node), max < available, node_max)
            {
                placed += 1;
            }
        }
        for child in children {
            if !self.resource(*child).provisional {
                continue;
            }
            if placed >= max {
                self.place_everywhere(*child, Score::MINUS_INFINITY);
                self.assign_instance(id, *child, None, max < available, node_max);
            } else if self.assign_instance(id, *child, None, max < available, node_max) {
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
            return !self.resource(child).provisional && self.resource(child).assigned.is_some();
        }
        if prefer.is_some_and(|p| self.score_on(child, p).is_none_or(|s| s < Score::ZERO)) {
            return false;
        }
        // What the clone is colocated with its instances are, too.
        let finite = |c: &Colocation| c.score > Score::ZERO && c.score < Score::INFINITY;
        for at in self.resource(id).this_with.clone() {
            let colocation = self.colocations[at].clone();
            if (all || !finite(&colocation)) && !self.resource(child).this_with.contains(&at) {
                self.resource_mut(child).this_with.push(at);
            }
        }
        for at in self.resource(id).with_this.clone() {
            let colocation = &self.colocations[at];
            if (all || colocation.score < Score::ZERO) && !self.resource(child).with_this.contains(&at) {
                self.resource_mut(child).with_this.push(at);
            }
        }
        for node in 0..self.nodes.len() {
            let node = NodeId(node as u32);
            if self.score_on(child, node).is_none() {
                continue;
            }
            let orphan = self.resource(child).is(Flags::ORPHAN);
            let of_clone = self.score_on(id, node).filter(|_| self.is_available(node) && !orphan);
            match of_clone {
                Some(score) if score < Score::ZERO => self.add_score_below(child, node, score),
                Some(_) if self.instances_on(id, node) < node_max => {}
                _ => self.add_score_below(child, node, Score::MINUS_INFINITY),
            }
        }
        let before = prefer.map(|_| self.tables_of(child));
        let chosen = self.assign(child, prefer);
        if let Some(before) = before
            && chosen.is_some()
            && chosen != prefer
        {
            self.unassign(child);
            self.restore_tables(before);
            return false;
        }
        if let Some(node) = chosen {
            self.count_instance(id, node);
        }
        chosen.is_some()
    }

    fn add_score_below(&mut self, id: ResourceId, node: NodeId, score: Score) {
        for child in self.resource(id).children.clone() {
            self.add_score_below(child, node, score);
        }
        if let Some(Some(entry)) = self.resource_mut(id).allowed.get_mut(node.0 as usize) {
            *entry = *entry + score;
        }
    }

    fn tables_of(&self, id: ResourceId) -> Vec<(ResourceId, Vec<Option<Score>>)> {
        let mut tables = vec![(id, self.resource(id).allowed.clone())];
        for child in &self.resource(id).children {
            tables.extend(self.tables_of(*child));
        }
        tables
    }

    fn restore_tables(&mut self, tables: Vec<(ResourceId, Vec<Option<Score>>)>) {
        for (id, table) in tables {
            self.resource_mut(id).allowed = table;
        }
    }

    /// As if it had never been placed.
    fn unassign(&mut self, id: ResourceId) {
        for child in self.resource(id).children.clone() {
            self.unassign(child);
        }
        if let Some(node) = self.resource(id).assigned
            && self.resource(id).is_primitive()
        {
            self.node_mut(node).assigned -= 1;
            self.release_capacity(id, node);
        }
        let resource = self.resource_mut(id);
        (resource.assigned, resource.provisional) = (None, true);
        if resource.next_role == Role::Stopped && resource.is_primitive() {
            resource.next_role = Role::Unknown;
        }
    }

    /// A colocation whose primary is a clone.
    pub(super) fn colocate_with_clone(
        &mut self,
        dependent: ResourceId,
        primary: ResourceId,
        colocation: &Colocation,
    ) {
        let clone = self.resource(primary);
        if clone.provisional {
            return;
        }
        if clone.is(Flags::PROMOTABLE) && colocation.primary_role != Role::Unknown {
            return self.colocate_with_roles(dependent, primary, colocation);
        }
        if let Variant::Clone(own) = &self.resource(self.top_of(dependent)).variant
            && own.interleave
            && self.is_instance(dependent)
        {
            let node = self.resource(dependent).assigned;
            let partner = match node.or_else(|| self.first_choice(dependent, primary)) {
                Some(node) => self.instance_on(primary, node),
                None => None,
            };
            match partner {
                Some(partner) => self.apply_to_partner(dependent, partner, colocation),
                None if colocation.score == Score::INFINITY => {
                    self.conclude_assignment(dependent, None, true);
                }
                None => {}
            }
            return;
        }
        let children = clone.children.clone();
        if colocation.score == Score::INFINITY {
            let mut nodes = Vec::new();
            for child in children {
                let unblocked = !self.resource(child).is(Flags::BLOCKED);
                nodes.extend(self.assigned_with_score(child).filter(|_| unblocked));
            }
            self.restrict_to(dependent, &nodes, false);
            return;
        }
        for child in children {
            self.apply_to_partner(dependent, child, colocation);
        }
    }

    fn apply_to_partner(&mut self, dependent: ResourceId, partner: ResourceId, colocation: &Colocation) {
        self.apply_colocation(dependent, partner, colocation);
    }

    fn is_instance(&self, id: ResourceId) -> bool {
        let parent = self.resource(id).parent;
        parent.is_some_and(|p| {
            matches!(self.resource(p).variant, Variant::Clone(_))
                || self
                    .resource(p)
                    .parent
                    .is_some_and(|g| matches!(self.resource(g).variant, Variant::Clone(_)))
        })
    }

    /// The first node in the order of an instance's choice that has a partner for it.
    fn first_choice(&self, dependent: ResourceId, primary: ResourceId) -> Option<NodeId> {
        let table = &self.resource(dependent).allowed;
        let nodes = self.sorted_nodes(table, None);
        nodes.into_iter().find(|n| self.instance_on(primary, *n).is_some())
    }

    /// Where a part of a collective was put.
    pub(super) fn assigned_node(&self, id: ResourceId) -> Option<NodeId> {
        let resource = self.resource(id);
        resource.assigned.or_else(|| resource.children.iter().find_map(|c| self.assigned_node(*c)))
    }

    pub(super) fn instance_on(&self, clone: ResourceId, node: NodeId) -> Option<ResourceId> {
        let children = &self.resource(clone).children;
        children
            .iter()
            .copied()
            .find(|c| self.assigned_node(*c) == Some(node) && !self.resource(*c).is(Flags::BLOCKED))
    }

    /// Where a part of a collective was put, and by what score.
    pub(super) fn assigned_with_score(&self, id: ResourceId) -> Option<(NodeId, Score)> {
        let resource = self.resource(id);
        let own = resource.assigned.filter(|_| resource.is_primitive()).map(|n| (n, resource.assigned_score));
        own.or_else(|| resource.children.iter().find_map(|c| self.assigned_with_score(*c)))
    }

    /// These nodes are (`add`: better by how good they were for those who are there, or) as good as before; all others are out of the question.
    pub(super) fn restrict_to(&mut self, dependent: ResourceId, nodes: &[(NodeId, Score)], add: bool) {
        let base = nodes.iter().map(|(n, _)| n.0 as usize + 1).max().unwrap_or(0);
        let allowed = &mut self.resource_mut(dependent).allowed;
        for (at, entry) in allowed.iter_mut().enumerate() {
            let Some(entry) = entry else { continue };
            let there = nodes.iter().find(|(n, _)| n.0 as usize == at);
            *entry =
                there.map_or(Score::MINUS_INFINITY, |(_, score)| if add { *entry + *score } else { *entry });
        }
        allowed.resize(allowed.len().max(base), None);
        for (node, _) in nodes {
            allowed[node.0 as usize].get_or_insert(Score::MINUS_INFINITY);
        }
    }

    pub(super) fn sort_resources(&mut self) {
        let mut top = self.top.clone();
        let tables: std::collections::BTreeMap<ResourceId, Vec<Option<Score>>> = top
            .iter()
            .map(|id| {
                let how = How { this_with: true, ..How::default() };
                let table = self.add_colocated_scores(*id, None, "#uname", 1.0, how);
                (*id, table.unwrap_or_default())
            })
            .collect();
        let nodes = self.sorted_by_base();
        let score = |id: ResourceId, node: NodeId| {
            tables
                .get(&id)
                .and_then(|t| t.get(node.0 as usize).copied().flatten())
                .unwrap_or(Score::MINUS_INFINITY)
        };
        top.sort_by(|a, b| {
            let (x, y) = (self.resource(*a), self.resource(*b));
            let current = |id: ResourceId| {
                self.current_or_member_node(id).map_or(Score::MINUS_INFINITY, |n| score(id, n))
            };
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

    fn sorted_by_base(&self) -> Vec<NodeId> {
        let table: Vec<Option<Score>> = self.nodes.iter().map(|n| Some(n.score)).collect();
        let mut nodes = self.by_name.clone();
        let strategy = self.strategy();
        nodes.sort_by(|a, b| self.compare_nodes(&table, *a, *b, None, strategy));
        nodes
    }
}
