//! Blocks of name and value pairs: options, meta-attributes, parameters, utilization, node attributes.

use std::collections::BTreeMap;

use crate::condition::{Attributes, Facts};
use crate::tree::Element;
use crate::values::Score;

/// Elements by id, for `id-ref`.
#[derive(Debug, Default)]
pub struct Ids<'a>(BTreeMap<&'a str, &'a Element>);

impl<'a> Ids<'a> {
    /// Of everything at or below an element; the first one of an id counts. Histories of operations are left out: they are most
    /// of a document, and nothing refers to them.
    #[must_use]
    pub fn of(root: &'a Element) -> Self {
        let mut ids = Self::default();
        ids.take(root);
        ids
    }

    fn take(&mut self, element: &'a Element) {
        if let Some(id) = element.id() {
            self.0.entry(id).or_insert(element);
        }
        element.children.iter().filter(|c| c.name != "lrm").for_each(|child| self.take(child));
    }

    /// The element itself, or the one that it refers to.
    #[must_use]
    pub fn resolve<'e>(&self, element: &'e Element) -> Option<&'e Element>
    where
        'a: 'e,
    {
        match element.get("id-ref") {
            Some(id) => self.0.get(id).copied().filter(|found| found.name == element.name),
            None => Some(element),
        }
    }

    /// The element with this id.
    #[must_use]
    pub fn get(&self, id: &str) -> Option<&'a Element> {
        self.0.get(id).copied()
    }
}

/// Which value of a name counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precedence {
    /// The first one, also over what was there.
    First,
    /// The last one.
    Last,
}

/// Puts the pairs of all blocks of a kind below `parent` into `into`, blocks in the order of their scores (of two with the
/// same score the later one first), those whose rules accept. `first`: the id of the block that comes before all others.
pub fn collect(
    ids: &Ids<'_>,
    parent: &Element,
    kind: &str,
    facts: &Facts<'_>,
    first: Option<&str>,
    precedence: Precedence,
    into: &mut Attributes,
) {
    let mut blocks: Vec<&Element> = parent.children_named(kind).filter_map(|b| ids.resolve(b)).collect();
    let rank = |block: &Element| {
        let score = block.get("score").and_then(Score::parse).unwrap_or_default();
        (first.is_none() || block.id() != first, std::cmp::Reverse(score))
    };
    // Pacemaker collects them from the front of a list: people's files rely on the later one of two.
    blocks.reverse();
    blocks.sort_by_key(|b| rank(b));
    for block in blocks {
        if !facts.accept_any_rule(block) {
            continue;
        }
        // Old documents have their pairs one level down.
        let pairs = block.child("attributes").unwrap_or(block);
        for pair in pairs.children_named("nvpair") {
            let Some(found) = ids.resolve(pair) else { continue };
            let own = |key: &str| pair.get(key).or(found.get(key));
            let (Some(name), Some(value)) = (own("name"), own("value")) else { continue };
            let default = value.eq_ignore_ascii_case("#default");
            match into.entry(name.to_owned()) {
                indexmap::map::Entry::Occupied(mut there) => {
                    if default {
                        there.shift_remove();
                    } else if precedence == Precedence::Last {
                        there.insert(value.to_owned());
                    }
                }
                indexmap::map::Entry::Vacant(free) if !default => {
                    free.insert(value.to_owned());
                }
                indexmap::map::Entry::Vacant(_) => {}
            }
        }
    }
}
