//! Constraints of the configuration, and those that resources bring along by what they are.

mod colocation;
mod internal;
mod location;
mod tickets;

use cib::{Element, parse_bool};

use crate::model::{ResourceId, Role, WorkingSet};

pub(crate) use colocation::Colocation;
pub(crate) use internal::MANDATORY;
pub(crate) use location::Location;
pub(crate) use tickets::Need;

/// Something that a constraint names: one resource, or all of a tag or template.
pub(crate) enum Named {
    Resource(ResourceId),
    All(Vec<ResourceId>),
}

/// A set of resources in a constraint.
pub(crate) struct Set<'c> {
    pub(crate) xml: &'c Element,
    pub(crate) members: Vec<ResourceId>,
}

/// The same as it is written: what is named need not be there.
pub(super) struct Written<'c> {
    pub(super) xml: &'c Element,
    /// In order; `None`: it is not there.
    pub(super) members: Vec<Option<ResourceId>>,
}

impl<'c> WorkingSet<'c> {
    /// Reads all constraints that decide where something runs, in the order of the document.
    pub(crate) fn read_constraints(&mut self) {
        let Some(section) = self.root.child("configuration").and_then(|c| c.child("constraints")) else {
            return;
        };
        for element in &section.children {
            let lifetime = element.child("lifetime");
            if lifetime.is_some_and(|l| !self.facts().accept_any_rule(l)) {
                continue;
            }
            match element.name.as_str() {
                "rsc_location" => self.read_location(element),
                "rsc_colocation" => self.read_colocation(element),
                "rsc_order" => self.read_ordering(element),
                "rsc_ticket" => self.read_ticket(element),
                _ => {}
            }
        }
    }

    /// The resource that a constraint names; what is an instance stands for its clone.
    pub(super) fn constrained(&self, id: &str) -> Option<ResourceId> {
        let found = self.find_resource(id).or_else(|| self.by_history_name.get(id).copied())?;
        if self.resource(found).id == id { Some(found) } else { Some(self.top_of(found)) }
    }

    /// What a constraint names, tags and templates included: of those, what comes before the first one that is not there.
    pub(crate) fn named(&self, id: &str) -> Option<Named> {
        if let Some(resource) = self.constrained(id) {
            return Some(Named::Resource(resource));
        }
        let references = self.references(id)?;
        Some(Named::All(references.into_iter().map_while(|r| r).collect()))
    }

    /// What a template or tag stands for, in order. Instances of which no history knows cannot be found by the id that they
    /// have in the configuration: a quirk of the peer's.
    fn references(&self, id: &str) -> Option<Vec<Option<ResourceId>>> {
        let configuration = self.root.child("configuration")?;
        let mut found = Vec::new();
        if self.ids.get(id).is_some_and(|e| e.name == "template") {
            if let Some(resources) = configuration.child("resources") {
                resources.walk(&mut |e| {
                    if e.get("template") == Some(id) {
                        found.push(e.id().and_then(|id| self.constrained(id)));
                    }
                });
            }
        } else {
            let tags = configuration.child("tags")?;
            let tag = tags.children_named("tag").find(|t| t.id() == Some(id))?;
            found.extend(tag.children_named("obj_ref").map(|r| self.constrained(r.id()?)));
        }
        Some(found).filter(|all| !all.is_empty())
    }

    /// The sets of a constraint. Tags and templates stand for what they are of only if everything that is named is there.
    pub(super) fn written_sets(&self, xml: &'c Element) -> Vec<Written<'c>> {
        let sets: Vec<&'c Element> =
            xml.children_named("resource_set").map_while(|set| self.ids.resolve(set)).collect();
        let named = |set: &'c Element| -> Vec<Option<(bool, Vec<Option<ResourceId>>)>> {
            let of = |id: &str| match self.constrained(id) {
                Some(one) => Some((false, vec![Some(one)])),
                None => self.references(id).map(|all| (true, all)),
            };
            set.children_named("resource_ref").map(|r| r.id().and_then(of)).collect()
        };
        let all: Vec<_> = sets.iter().map(|set| named(set)).collect();
        let complete = all.iter().flatten().all(Option::is_some);
        let members = |named: Vec<Option<(bool, Vec<Option<ResourceId>>)>>| {
            let mut members = Vec::new();
            for one in named {
                match one {
                    Some((many, all)) if complete || !many => members.extend(all),
                    _ => members.push(None),
                }
            }
            members
        };
        sets.into_iter().zip(all).map(|(xml, all)| Written { xml, members: members(all) }).collect()
    }

    /// The sets of a constraint. `None`: one names what is not there.
    pub(crate) fn sets(&self, xml: &'c Element) -> Option<Vec<Set<'c>>> {
        let complete = |set: Written<'c>| {
            let members = set.members.into_iter().collect::<Option<Vec<ResourceId>>>()?;
            Some(Set { xml: set.xml, members })
        };
        self.written_sets(xml).into_iter().map(complete).collect()
    }
}

/// The role that a constraint is about; one that every running resource has is none.
pub(super) fn role_of(text: Option<&str>) -> Role {
    match text.and_then(Role::parse) {
        None | Some(Role::Started) => Role::Unknown,
        Some(role) => role,
    }
}

pub(crate) fn is_sequential(set: &Element) -> bool {
    set.get("sequential").and_then(parse_bool).unwrap_or(true)
}
