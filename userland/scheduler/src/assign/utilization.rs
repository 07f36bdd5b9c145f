//! Capacity of nodes and what resources need of it.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write;

use cib::{Attributes, Precedence, Score, collect};

use crate::model::{NodeId, ResourceId, Variant, WorkingSet};

use super::colocate::Effect;
use super::nodes::Strategy;
use super::order::{Hash, glib_order};
use super::trace::Why;

/// Amounts by name.
pub(crate) type Amounts = BTreeMap<String, i32>;

/// Amounts as the peer lists them.
fn in_peers_order(amounts: Vec<(&str, &str)>) -> String {
    let order = glib_order(amounts.iter().map(|(name, _)| *name), Hash::Pacemaker);
    order.into_iter().map(|at| format!(" {}={}", amounts[at].0, amounts[at].1)).collect()
}

/// A whole number as it is read where nobody complains: what follows it is left out, and no number is zero.
fn amount(values: &Attributes, name: &str) -> i32 {
    values.get(name).map_or(0, |v| whole_number(v))
}

fn whole_number(text: &str) -> i32 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['+', '-']));
    let end = text[sign..].bytes().position(|b| !b.is_ascii_digit()).map_or(text.len(), |at| at + sign);
    let number = text[..end].strip_prefix('+').unwrap_or(&text[..end]);
    // One with too many digits counts as the least there is: a quirk of the peer's.
    let number = if end > sign { number.parse().unwrap_or(i64::MIN) } else { 0 };
    number.clamp(i64::from(i32::MIN), i64::from(i32::MAX)) as i32
}

impl WorkingSet<'_> {
    pub(crate) fn needs(&self, id: ResourceId) -> Amounts {
        let mut needs = Attributes::new();
        let parent = self.resource(id).parent.and_then(|p| self.resource(p).parent);
        if parent.is_some_and(|p| matches!(self.resource(p).variant, Variant::Bundle(_))) {
            // Its container needs it.
            return Amounts::new();
        }
        let xml = &self.resource(id).xml;
        collect(&self.ids, xml, "utilization", &self.facts(), None, Precedence::First, &mut needs);
        needs.iter().map(|(name, value)| (name.clone(), whole_number(value))).collect()
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
        self.change_capacity(id, node, false);
    }

    pub(super) fn release_capacity(&mut self, id: ResourceId, node: NodeId) {
        self.change_capacity(id, node, true);
    }

    fn change_capacity(&mut self, id: ResourceId, node: NodeId, give_back: bool) {
        // Nothing is placed by it then, but who asks is shown it.
        if self.strategy() == Strategy::Default && !self.show_utilization {
            return;
        }
        for (name, need) in self.needs(id) {
            let left = &mut self.node_mut(node).utilization;
            let there = amount(left, &name);
            // Of what it has nothing it has nothing less.
            let now = match (give_back, left.contains_key(&name)) {
                (true, _) => there.saturating_add(need),
                (false, true) => there.saturating_sub(need),
                (false, false) => 0,
            };
            left.insert(name, now.to_string());
        }
    }

    /// Writes down what each node has room for.
    pub(super) fn show_capacities(&mut self, when: &str) {
        if !self.show_utilization {
            return;
        }
        for id in self.by_name.clone() {
            let node = self.node(id);
            let has = &node.utilization;
            let amounts = in_peers_order(has.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect());
            let name = node.name.clone();
            let _ = writeln!(self.scores, "{when}: {name} capacity:{amounts}"); // a String takes everything
        }
    }

    /// Writes down what a resource takes of the node that it was given to.
    pub(super) fn show_need(&mut self, id: ResourceId, node: NodeId) {
        if !self.show_utilization {
            return;
        }
        let needs = self.needs(id);
        let needs: Vec<(String, String)> = needs.into_iter().map(|(n, v)| (n, v.to_string())).collect();
        let amounts = in_peers_order(needs.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect());
        let (of, on) = (self.resource(id).id.clone(), self.node(node).name.clone());
        // By the name of the peer's own function, as with scores.
        let _ = writeln!(self.scores, "pcmk__finalize_assignment: {of} utilization on {on}:{amounts}");
    }

    fn fits(&self, node: NodeId, needs: &Amounts) -> bool {
        let has = &self.node(node).utilization;
        needs.iter().all(|(name, need)| amount(has, name) >= *need)
    }

    /// Bans nodes that are too small; gives the one with the most left if none is large enough for all that belong together.
    pub(super) fn ban_insufficient_capacity(&mut self, id: ResourceId) -> Option<NodeId> {
        if self.strategy() == Strategy::Default {
            return None;
        }
        let mut together = Together::default();
        self.mandatorily_together(id, id, &mut together);
        if !together.contains(id) {
            together.push(id);
        }
        let mut all = Amounts::new();
        for one in &together.list {
            self.add_needs(*one, &together, &mut all);
        }
        let allowed = &self.resource(id).allowed;
        let usable =
            |n: &NodeId| self.is_available(*n) && allowed[n.0 as usize].is_some_and(|s| s >= Score::ZERO);
        // Of several the first one that the peer happens to look at.
        let there: Vec<NodeId> = self
            .by_name
            .iter()
            .copied()
            .filter(|n| allowed.get(n.0 as usize).is_some_and(Option::is_some))
            .collect();
        let order = glib_order(there.iter().map(|n| self.node(*n).id.as_str()), Hash::GLib);
        let candidates: Vec<NodeId> = order.into_iter().map(|at| there[at]).filter(usable).collect();
        let mut most_free: Option<NodeId> = None;
        for node in &candidates {
            if most_free.is_none_or(|m| self.compare_capacity(*node, m).is_gt()) {
                most_free = Some(*node);
            }
        }
        let any_capable = candidates.iter().any(|n| self.fits(*n, &all));
        let needs = if any_capable { all } else { self.needs(id) };
        for node in candidates {
            if !self.fits(node, &needs) {
                self.add_score(id, node, Score::MINUS_INFINITY, Why::Capacity);
            }
        }
        most_free.filter(|_| !any_capable)
    }

    /// All that has to be where this one is, as far as that can be said.
    fn mandatorily_together(&self, id: ResourceId, origin: ResourceId, into: &mut Together) {
        let resource = self.resource(id);
        if matches!(resource.variant, Variant::Group) {
            let cloned = resource
                .parent
                .is_some_and(|p| matches!(self.resource(p).variant, Variant::Clone(_) | Variant::Bundle(_)));
            let members = if self.is_together(id) || cloned {
                &resource.children[..]
            } else {
                &resource.children[..1.min(resource.children.len())]
            };
            for member in members {
                self.mandatorily_together(*member, origin, into);
            }
        }
        if into.contains(id) {
            return;
        }
        into.push(id);
        for at in &resource.this_with {
            let colocation = &self.colocations[*at];
            let primary = colocation.primary;
            if primary != origin
                && colocation.score == Score::INFINITY
                && self.effect(id, primary, colocation, true) == Effect::Location
            {
                self.mandatorily_together(primary, origin, into);
            }
        }
        let is_clone = |id: ResourceId| matches!(self.resource(id).variant, Variant::Clone(_));
        for at in &resource.with_this {
            let colocation = &self.colocations[*at];
            let dependent = colocation.dependent;
            // Of several instances nobody knows yet with which one it will be.
            if dependent != origin
                && (!is_clone(id) || is_clone(dependent))
                && colocation.score == Score::INFINITY
                && self.effect(dependent, id, colocation, true) == Effect::Location
            {
                self.mandatorily_together(dependent, origin, into);
            }
        }
    }

    /// What a resource of those that belong together needs, as far as it has no place yet.
    fn add_needs(&self, id: ResourceId, together: &Together, sum: &mut Amounts) {
        let resource = self.resource(id);
        if !resource.provisional {
            return;
        }
        match &resource.variant {
            Variant::Primitive => {
                for (name, need) in self.needs(id) {
                    let so_far = sum.entry(name).or_default();
                    *so_far = so_far.saturating_add(need);
                }
            }
            Variant::Group => {
                let cloned = resource.parent.is_some();
                let all = self.is_together(id) || cloned;
                let count = if all { resource.children.len() } else { 1.min(resource.children.len()) };
                for member in &resource.children[..count] {
                    if !together.contains(*member) {
                        self.add_needs(*member, together, sum);
                    }
                }
            }
            Variant::Clone(_) => {
                let mut existing = false;
                for child in &resource.children {
                    if together.contains(*child) {
                        existing = true;
                    } else if self.resource(*child).children.iter().any(|m| together.contains(*m)) {
                        // The whole instance, not only the member.
                        self.add_needs(*child, together, sum);
                        existing = true;
                    }
                }
                if let Some(first) = resource.children.first().filter(|_| !existing) {
                    self.add_needs(*first, together, sum);
                }
            }
            Variant::Bundle(bundle) => {
                if let Some(replica) = bundle.replicas.first() {
                    self.add_needs(replica.container, together, sum);
                }
            }
        }
    }
}

/// Resources in the order in which they were found.
#[derive(Debug, Default)]
struct Together {
    list: Vec<ResourceId>,
    known: std::collections::BTreeSet<ResourceId>,
}

impl Together {
    fn contains(&self, id: ResourceId) -> bool {
        self.known.contains(&id)
    }

    fn push(&mut self, id: ResourceId) {
        self.known.insert(id);
        self.list.push(id);
    }
}
