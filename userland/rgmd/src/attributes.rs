//! Transient node attributes: what agents and operators say of a node, kept until the node is gone. Every member keeps the
//! same table. A value may be held back for a while (dampening), so that what many nodes notice at almost one moment is
//! decided on once; the controller says when it is over.

use std::collections::BTreeMap;

use cib::Element;
use serde::{Deserialize, Serialize};

/// All attributes by name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Attributes {
    table: BTreeMap<String, Attribute>,
}

/// One attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Attribute {
    /// Changes are held back so long.
    dampen_ms: u64,
    /// It stands in no status.
    private: bool,
    /// In force, by node.
    values: BTreeMap<u32, String>,
    /// Held back; `None`: to be deleted.
    held: BTreeMap<u32, Option<String>>,
}

/// What is to become of an attribute.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Update {
    /// The node.
    pub(crate) node: u32,
    /// The attribute.
    pub(crate) name: String,
    /// `None`: it is deleted; `value++` and `value+=N` count on.
    pub(crate) value: Option<String>,
    /// From now on changes are held back so long; `None`: as before.
    pub(crate) dampen_ms: Option<u64>,
    /// Nothing but the dampening is set.
    pub(crate) dampen_only: bool,
    /// It stands in no status.
    pub(crate) private: bool,
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Updated {
    /// Nothing is different.
    Not,
    /// It is in force.
    Now,
    /// It is held back so many milliseconds.
    Held(u64),
}

/// A count that does not grow any more.
const INFINITY: i64 = 1_000_000;

impl Attributes {
    /// Takes a change.
    pub(crate) fn update(&mut self, update: &Update) -> Updated {
        let attribute = self.table.entry(update.name.clone()).or_default();
        if let Some(dampen_ms) = update.dampen_ms {
            attribute.dampen_ms = dampen_ms;
        }
        if update.dampen_only {
            return Updated::Not;
        }
        attribute.private |= update.private;
        let latest = match attribute.held.get(&update.node) {
            Some(held) => held.as_deref(),
            None => attribute.values.get(&update.node).map(String::as_str),
        };
        let value = update.value.as_deref().map(|text| counted(latest, text));
        if value.as_deref() == latest {
            return Updated::Not;
        }
        if attribute.dampen_ms == 0 {
            attribute.held.remove(&update.node);
            set(&mut attribute.values, update.node, value);
            return Updated::Now;
        }
        attribute.held.insert(update.node, value);
        Updated::Held(attribute.dampen_ms)
    }

    /// What was held back of an attribute is in force, for all nodes at once. Whether anything is different.
    pub(crate) fn release(&mut self, name: &str) -> bool {
        let Some(attribute) = self.table.get_mut(name) else { return false };
        let held = std::mem::take(&mut attribute.held);
        let mut changed = false;
        for (node, value) in held {
            changed |= attribute.values.get(&node) != value.as_ref();
            set(&mut attribute.values, node, value);
        }
        changed
    }

    /// Attributes that have something held back, and for how long that is to be.
    pub(crate) fn held(&self) -> impl Iterator<Item = (&str, u64)> {
        let held = self.table.iter().filter(|(_, a)| !a.held.is_empty());
        held.map(|(name, a)| (name.as_str(), a.dampen_ms))
    }

    /// Values by node, what is held back included, as whoever asks for one sees it.
    pub(crate) fn latest(&self, name: &str) -> Option<BTreeMap<u32, String>> {
        let attribute = self.table.get(name)?;
        let mut values = attribute.values.clone();
        for (node, value) in &attribute.held {
            set(&mut values, *node, value.clone());
        }
        Some(values)
    }

    /// The value in force.
    pub(crate) fn value(&self, node: u32, name: &str) -> Option<String> {
        self.table.get(name)?.values.get(&node).cloned()
    }

    /// Nodes for which something is held back.
    pub(crate) fn waiting(&self, name: &str) -> Vec<u32> {
        self.table.get(name).map(|a| a.held.keys().copied().collect()).unwrap_or_default()
    }

    /// A node is gone, and what was said of it.
    pub(crate) fn forget(&mut self, node: u32) {
        for attribute in self.table.values_mut() {
            attribute.values.remove(&node);
            attribute.held.remove(&node);
        }
    }

    /// What is known of one node: for those who have not heard it.
    pub(crate) fn of(&self, node: u32) -> Self {
        let mut table = self.table.clone();
        for attribute in table.values_mut() {
            attribute.values.retain(|n, _| *n == node);
            attribute.held.retain(|n, _| *n == node);
        }
        table.retain(|_, a| !a.values.is_empty() || !a.held.is_empty());
        Self { table }
    }

    /// Takes over what others know of their nodes.
    pub(crate) fn merge(&mut self, other: &Self) {
        for (name, theirs) in &other.table {
            let attribute = self.table.entry(name.clone()).or_default();
            attribute.dampen_ms = attribute.dampen_ms.max(theirs.dampen_ms);
            attribute.private |= theirs.private;
            attribute.values.extend(theirs.values.clone());
            attribute.held.extend(theirs.held.clone());
        }
    }

    /// An operation failed: one more, or `forever`. `ignored`: only when it last did is noted.
    pub(crate) fn count_failure(
        &mut self,
        node: u32,
        failure: &str,
        forever: bool,
        ignored: bool,
        at_s: i64,
    ) {
        let mut put = |kind: &str, value: String| {
            let attribute = self.table.entry(format!("{kind}-{failure}")).or_default();
            let value = counted(attribute.values.get(&node).map(String::as_str), &value);
            attribute.values.insert(node, value);
        };
        if !ignored {
            put("fail-count", if forever { "INFINITY".to_owned() } else { "value++".to_owned() });
        }
        put("last-failure", at_s.to_string());
    }

    /// Failures are forgotten: on one node or all, of one resource or all, of one operation (`monitor_10000`) or all. Whether
    /// there were any.
    pub(crate) fn clear(
        &mut self,
        node: Option<u32>,
        resource: Option<&str>,
        operation: Option<&str>,
    ) -> bool {
        let mut cleared = false;
        for (name, attribute) in &mut self.table {
            let Some((of, what)) = failure(name) else { continue };
            if resource.is_none_or(|r| concerns(of, r)) && operation.is_none_or(|o| o == what) {
                let before = attribute.values.len();
                attribute.values.retain(|n, _| node.is_some_and(|node| node != *n));
                cleared |= attribute.values.len() < before;
            }
        }
        cleared
    }

    /// Failures of a resource, of one operation or any, are known on a node.
    pub(crate) fn has_failures(&self, node: u32, resource: &str, operation: Option<&str>) -> bool {
        self.table.iter().any(|(name, attribute)| {
            let meant = failure(name)
                .is_some_and(|(of, what)| concerns(of, resource) && operation.is_none_or(|o| o == what));
            meant && attribute.values.contains_key(&node)
        })
    }

    /// How often a resource failed on a node, and when last, in seconds since 1970.
    pub(crate) fn failures(&self, node: u32, resource: &str) -> (u32, i64) {
        let (mut count, mut last) = (0_u32, 0);
        for (name, attribute) in &self.table {
            let Some(value) = attribute.values.get(&node) else { continue };
            if !failure(name).is_some_and(|(of, _)| concerns(of, resource)) {
                continue;
            }
            if name.starts_with("fail-count-") {
                let more = if value == "INFINITY" { 1_000_000 } else { value.parse().unwrap_or(0) };
                count = count.saturating_add(more).min(1_000_000);
            } else {
                last = last.max(value.parse().unwrap_or(0));
            }
        }
        (count, last)
    }

    /// As the status has them; `own`: what is said of the node besides.
    pub(crate) fn element(&self, node: u32, own: &[(&str, String)]) -> Option<Element> {
        let id = node.to_string();
        let mut set = Element::new("instance_attributes").with("id", &format!("status-{id}"));
        let values = self.table.iter().filter(|(_, a)| !a.private);
        let values = values.filter_map(|(name, a)| Some((name.as_str(), a.values.get(&node)?.clone())));
        for (name, value) in values.chain(own.iter().cloned()) {
            set.children.push(
                Element::new("nvpair")
                    .with("id", &format!("status-{id}-{name}"))
                    .with("name", name)
                    .with("value", &value),
            );
        }
        let has_any = !set.children.is_empty();
        has_any.then(|| Element {
            children: vec![set].into(),
            ..Element::new("transient_attributes").with("id", &id)
        })
    }
}

/// Attributes that a node's state has.
pub(crate) fn read(state: &Element) -> BTreeMap<String, String> {
    let sets = state.child("transient_attributes").into_iter().flat_map(|t| &t.children);
    sets.flat_map(|set| &set.children)
        .filter_map(|pair| Some((pair.get("name")?.to_owned(), pair.get("value")?.to_owned())))
        .collect()
}

fn set(values: &mut BTreeMap<u32, String>, node: u32, value: Option<String>) {
    match value {
        Some(value) => values.insert(node, value),
        None => values.remove(&node),
    };
}

/// Whose failure an attribute is about, and of which operation.
fn failure(name: &str) -> Option<(&str, &str)> {
    name.strip_prefix("fail-count-").or_else(|| name.strip_prefix("last-failure-"))?.rsplit_once('#')
}

/// Instances of a clone are not told apart, as the scheduler does not.
fn concerns(of: &str, resource: &str) -> bool {
    let base = |id: &str| id.rsplit_once(':').map_or(id, |(base, _)| base).to_owned();
    of == resource || base(of) == base(resource)
}

/// What a value is where it may count on from the one before.
fn counted(before: Option<&str>, text: &str) -> String {
    let add = match text.strip_prefix("value") {
        Some("++") => Some(1),
        Some("--") => Some(-1),
        Some(rest) => rest
            .strip_prefix("+=")
            .map(|n| n.parse::<i64>())
            .or_else(|| rest.strip_prefix("-=").map(|n| n.parse::<i64>().map(|n| n.saturating_neg())))
            .and_then(Result::ok),
        None => None,
    };
    let Some(add) = add else { return text.to_owned() };
    let number = |text: &str| match text {
        "INFINITY" | "+INFINITY" => INFINITY,
        "-INFINITY" => -INFINITY,
        text => text.trim().parse().unwrap_or(0),
    };
    match before.map_or(0, number).saturating_add(add) {
        sum if sum >= INFINITY => "INFINITY".to_owned(),
        sum if sum <= -INFINITY => "-INFINITY".to_owned(),
        sum => sum.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(node: u32, value: Option<&str>, dampen_ms: Option<u64>) -> Update {
        let value = value.map(str::to_owned);
        Update { node, name: "ping".into(), value, dampen_ms, ..Update::default() }
    }

    fn values(attributes: &Attributes) -> Vec<Option<String>> {
        let of = |node| Some(attributes.element(node, &[])?.children[0].children[0].get("value")?.to_owned());
        vec![of(1), of(2)]
    }

    #[test]
    fn what_is_held_back_comes_into_force_for_all_nodes_at_once() {
        let mut attributes = Attributes::default();
        assert_eq!(attributes.update(&update(1, Some("100"), Some(5_000))), Updated::Held(5_000));
        assert_eq!(attributes.update(&update(2, Some("0"), None)), Updated::Held(5_000));
        assert_eq!(values(&attributes), [None, None]);
        assert_eq!(attributes.latest("ping").unwrap().len(), 2, "who asks is told");
        assert!(attributes.release("ping"));
        assert_eq!(values(&attributes), [Some("100".into()), Some("0".into())]);
        assert!(!attributes.release("ping"));
        assert_eq!(attributes.update(&update(1, Some("100"), None)), Updated::Not);
        assert_eq!(attributes.update(&update(1, None, Some(0))), Updated::Now);
        assert_eq!(values(&attributes), [None, Some("0".into())]);
    }

    #[test]
    fn values_count_on() {
        for (before, text, want) in [
            (None, "value++", "1"),
            (Some("2"), "value++", "3"),
            (Some("2"), "value+=5", "7"),
            (Some("2"), "value-=5", "-3"),
            (Some("INFINITY"), "value++", "INFINITY"),
            (Some("999999"), "value++", "INFINITY"),
            (Some("x"), "value++", "1"),
            (Some("1"), "valuable", "valuable"),
        ] {
            assert_eq!(counted(before, text), want, "{before:?} {text}");
        }
    }

    #[test]
    fn failures_are_counted_and_forgotten_by_resource_and_operation() {
        let mut attributes = Attributes::default();
        attributes.count_failure(1, "db#monitor_10000", false, false, 7);
        attributes.count_failure(1, "db#start_0", true, false, 8);
        attributes.count_failure(2, "db2#start_0", false, true, 8);
        assert_eq!(attributes.table.len(), 5, "ignored ones have no count");
        assert!(!attributes.clear(Some(2), Some("db"), None));
        assert!(attributes.clear(None, Some("db"), Some("start_0")));
        assert_eq!(attributes.latest("fail-count-db#monitor_10000").unwrap()[&1], "1");
        assert!(attributes.clear(Some(1), Some("db"), None));
        assert!(attributes.element(1, &[]).is_none());
        assert!(attributes.element(2, &[]).is_some());
    }
}
