//! Capacity of nodes and what resources need of it.

use std::cmp::Ordering;

use cib::{Attributes, Precedence, Score, collect};

use crate::model::{NodeId, ResourceId, Variant, WorkingSet};

use super::nodes::Strategy;

fn amount(values: &Attributes, name: &str) -> i64 {
    values.get(name).and_then(|v| v.trim().parse().ok()).unwrap_or(0)
}

impl WorkingSet<'_> {
    pub(super) fn needs(&self, id: ResourceId) -> Attributes {
        let mut needs = Attributes::new();
        let facts = self.facts();
        let mut at = Some(id);
        while let Some(one) = at {
            let xml = &self.resource(one).xml;
            collect(&self.ids, xml, "utilization", &facts, None, Precedence::First, &mut needs);
            at = self.resource(one).parent;
        }
        needs
    }

    /// Which of two nodes has more left: attribute by attribute.
    pub(super) fn compare_capacity(&self, a: NodeId, b: NodeId) -> Ordering {
        let (x, y) = (&self.node(a).utilization, &self.node(b).utilization);
        let mut sum = 0;
        for name in x.keys() {
            sum += amount(x, name).cmp(&amount(y, name)) as i32;
        }
        for name in y.keys().filter(|n| !x.contains_key(*n)) {
            sum += 0.cmp(&amount(y, name)) as i32;
        }
        sum.cmp(&0)
    }

    pub(super) fn consume_capacity(&mut self, id: ResourceId, node: NodeId) {
        self.change_capacity(id, node, -1);
    }

    pub(super) fn release_capacity(&mut self, id: ResourceId, node: NodeId) {
        self.change_capacity(id, node, 1);
    }

    fn change_capacity(&mut self, id: ResourceId, node: NodeId, sign: i64) {
        if self.strategy() == Strategy::Default {
            return;
        }
        for (name, _) in self.needs(id).clone() {
            let need = amount(&self.needs(id), &name);
            let left = &mut self.node_mut(node).utilization;
            if left.contains_key(&name) {
                let now = amount(left, &name).saturating_add(need.saturating_mul(sign));
                left.insert(name, now.to_string());
            }
        }
    }

    fn fits(&self, node: NodeId, needs: &Attributes) -> bool {
        needs.keys().all(|name| amount(&self.node(node).utilization, name) >= amount(needs, name))
    }

    /// Bans nodes that are too small; gives the one with the most left.
    pub(super) fn ban_insufficient_capacity(&mut self, id: ResourceId) -> Option<NodeId> {
        if self.strategy() == Strategy::Default {
            return None;
        }
        let (mut together, mut seen) = (Vec::new(), std::collections::BTreeSet::new());
        self.mandatorily_together(id, &mut together, &mut seen);
        let mut all = Attributes::new();
        for one in &together {
            if !self.resource(*one).provisional {
                continue;
            }
            for (name, _) in self.needs(*one) {
                let sum = amount(&all, &name).saturating_add(amount(&self.needs(*one), &name));
                all.insert(name, sum.to_string());
            }
        }
        let own = self.needs(id);
        let candidates: Vec<NodeId> = (0..self.resource(id).allowed.len())
            .filter(|n| self.resource(id).allowed[*n].is_some_and(|s| s >= Score::ZERO))
            .map(|n| NodeId(n as u32))
            .filter(|n| self.is_available(*n))
            .collect();
        let fits_all = candidates.iter().any(|n| self.fits(*n, &all));
        let needs = if fits_all { all } else { own };
        let mut most_free: Option<NodeId> = None;
        for at in 0..self.resource(id).allowed.len() {
            let node = NodeId(at as u32);
            if self.resource(id).allowed[at].is_none() || !self.is_available(node) {
                continue;
            }
            if self.fits(node, &needs) {
                if most_free.is_none_or(|m| self.compare_capacity(node, m).is_gt()) {
                    most_free = Some(node);
                }
            } else {
                self.add_score(id, node, Score::MINUS_INFINITY);
            }
        }
        most_free
    }

    /// All primitives that have to be where this one is.
    fn mandatorily_together(
        &self,
        id: ResourceId,
        into: &mut Vec<ResourceId>,
        seen: &mut std::collections::BTreeSet<ResourceId>,
    ) {
        if !seen.insert(id) {
            return;
        }
        let resource = self.resource(id);
        match resource.variant {
            Variant::Primitive => into.push(id),
            Variant::Group => {
                for member in &resource.children {
                    self.mandatorily_together(*member, into, seen);
                }
            }
            Variant::Clone(_) => {
                if let Some(first) = resource.children.first() {
                    self.mandatorily_together(*first, into, seen);
                }
                return;
            }
            Variant::Bundle(_) => return,
        }
        for at in resource.this_with.iter().chain(&resource.with_this) {
            let colocation = &self.colocations[*at];
            if colocation.score == Score::INFINITY {
                let other =
                    if colocation.dependent == id { colocation.primary } else { colocation.dependent };
                self.mandatorily_together(other, into, seen);
            }
        }
    }
}
