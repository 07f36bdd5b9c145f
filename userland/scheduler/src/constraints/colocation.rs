//! Resources that are placed because of where others are.

use std::cmp::Ordering;

use cib::{Element, Score, parse_bool};

use crate::actions::Task;
use crate::model::{Flags, Resource, ResourceId, Role, Variant, WorkingSet};
use crate::orderings::Kind;
use crate::unpack::lenient_score;

use super::{Named, is_sequential, role_of};

/// `dependent` is placed by where `primary` is.
#[derive(Clone, Debug)]
pub(crate) struct Colocation {
    /// Id of the constraint or of its set; `None`: it follows from what the two are.
    pub(crate) id: Option<String>,
    pub(crate) dependent: ResourceId,
    pub(crate) primary: ResourceId,
    pub(crate) score: Score,
    /// Counts for this role only; unknown: for all.
    pub(crate) dependent_role: Role,
    pub(crate) primary_role: Role,
    /// The node attribute that both have to have in common; `None`: the node itself.
    pub(crate) attribute: Option<String>,
    /// The primary looks at the dependent when it chooses its node.
    pub(crate) influence: bool,
}

impl Colocation {
    /// Its score as a part of infinity, in 32 bits: what is computed with it has no more than those.
    pub(crate) fn share(&self) -> f32 {
        self.score.get() as f32 / Score::INFINITY.get() as f32
    }
}

/// What a colocation has apart from its two sides.
pub(crate) struct Bond<'a> {
    pub(crate) id: Option<&'a str>,
    pub(crate) score: Score,
    pub(crate) roles: (Role, Role),
    pub(crate) attribute: Option<&'a str>,
    pub(crate) influence: Option<bool>,
}

impl<'c> WorkingSet<'c> {
    pub(super) fn read_colocation(&mut self, xml: &'c Element) {
        let score = xml.get("score").and_then(lenient_score).unwrap_or_default();
        let influence = xml.get("influence").and_then(parse_bool);
        let sets = self.written_sets(xml);
        if sets.is_empty() {
            return self.read_simple_colocation(xml, score, influence);
        }
        for (at, set) in sets.iter().enumerate() {
            self.colocate_set(set, score, influence);
            if let Some(before) = at.checked_sub(1).and_then(|at| sets.get(at)) {
                self.colocate_sets(before, set, score, influence);
            }
        }
    }

    fn read_simple_colocation(&mut self, xml: &'c Element, score: Score, influence: Option<bool>) {
        let (Some(dependent), Some(primary)) = (xml.get("rsc"), xml.get("with-rsc")) else { return };
        let roles = (role_of(xml.get("rsc-role")), role_of(xml.get("with-rsc-role")));
        let all = |named: Option<Named>| match named {
            Some(Named::Resource(one)) => vec![one],
            Some(Named::All(all)) => all,
            None => Vec::new(),
        };
        let (dependent, primary) = (self.named(dependent), self.named(primary));
        // Between two templates or tags it would make no sense.
        if matches!((&dependent, &primary), (Some(Named::All(_)), Some(Named::All(_)))) {
            return;
        }
        // Where one side is many the attribute is lost: a quirk of the peer's.
        let plain = matches!((&dependent, &primary), (Some(Named::Resource(_)), Some(Named::Resource(_))));
        let (dependents, primaries) = (all(dependent), all(primary));
        let attribute = xml.get("node-attribute").filter(|_| plain);
        for dependent in &dependents {
            for primary in &primaries {
                self.colocate(
                    *dependent,
                    *primary,
                    &Bond { id: xml.id(), score, roles, attribute, influence },
                );
            }
        }
    }

    fn colocate_set(&mut self, set: &super::Written<'c>, score: Score, influence: Option<bool>) {
        let xml = set.xml;
        let score = xml.get("score").map_or(score, |s| lenient_score(s).unwrap_or_default());
        if score == Score::ZERO || !is_sequential(xml) {
            return;
        }
        let role = role_of(xml.get("role"));
        let bond = Bond { id: xml.id(), score, roles: (role, role), attribute: None, influence };
        // Up to the first one that is not there.
        let members: Vec<ResourceId> = set.members.iter().copied().map_while(|m| m).collect();
        if score < Score::ZERO {
            // With every one before: only so no two of them run together.
            for (at, member) in members.iter().enumerate() {
                for other in &members[..at] {
                    self.colocate(*member, *other, &bond);
                }
            }
        } else {
            let listed = xml.get("ordering").is_some_and(|o| !o.eq_ignore_ascii_case("group"));
            for pair in members.windows(2) {
                let (dependent, primary) = if listed { (pair[0], pair[1]) } else { (pair[1], pair[0]) };
                self.colocate(dependent, primary, &bond);
            }
        }
    }

    fn colocate_sets(
        &mut self,
        before: &super::Written<'c>,
        set: &super::Written<'c>,
        score: Score,
        influence: Option<bool>,
    ) {
        if score == Score::ZERO {
            return;
        }
        let dependents = match &before.members[..] {
            [first, ..] if is_sequential(before.xml) => std::slice::from_ref(first),
            all => all,
        };
        let primaries = match &set.members[..] {
            [.., last] if is_sequential(set.xml) => std::slice::from_ref(last),
            all => all,
        };
        // The only one that counts of a side has to be there from the beginning.
        if matches!(dependents, [None]) || matches!(primaries, [None]) {
            return;
        }
        let roles = (role_of(before.xml.get("role")), role_of(set.xml.get("role")));
        for dependent in dependents {
            for primary in primaries {
                // One that is not there ends it.
                let (Some(dependent), Some(primary)) = (*dependent, *primary) else { return };
                self.colocate(
                    dependent,
                    primary,
                    &Bond { id: before.xml.id(), score, roles, attribute: None, influence },
                );
            }
        }
    }

    /// Adds a colocation and lets both sides know of it.
    pub(crate) fn colocate(&mut self, dependent: ResourceId, primary: ResourceId, bond: &Bond<'_>) {
        if bond.score == Score::ZERO {
            return;
        }
        let critical = self.resource(dependent).is(Flags::CRITICAL);
        let at = self.colocations.len();
        self.colocations.push(Colocation {
            id: bond.id.map(str::to_owned),
            dependent,
            primary,
            score: bond.score,
            dependent_role: bond.roles.0,
            primary_role: bond.roles.1,
            attribute: bond.attribute.map(str::to_owned),
            influence: bond.influence.unwrap_or(critical),
        });
        self.insert_colocation(dependent, at, true);
        self.insert_colocation(primary, at, false);
        if bond.score == Score::MINUS_INFINITY {
            self.order_apart(dependent, bond.roles.0, primary, bond.roles.1);
            self.order_apart(primary, bond.roles.1, dependent, bond.roles.0);
        }
    }

    /// Where two may not be on one node, one leaves its role there before the other takes its own.
    fn order_apart(&mut self, first: ResourceId, first_role: Role, then: ResourceId, then_role: Role) {
        let leaving: &[Task] = match first_role {
            Role::Promoted => &[Task::DEMOTE],
            Role::Unpromoted => &[Task::STOP, Task::PROMOTE],
            _ => &[Task::STOP],
        };
        let taking: &[Task] = match then_role {
            Role::Promoted => &[Task::PROMOTE],
            Role::Unpromoted => &[Task::START, Task::DEMOTE],
            _ => &[Task::START],
        };
        for leave in leaving {
            for take in taking {
                self.add_ordering((first, *leave), (then, *take), Kind::ANTI_COLOCATION);
            }
        }
    }

    /// Into the list of one side, by the other side's rank; of two alike the later one comes first.
    pub(crate) fn insert_colocation(&mut self, owner: ResourceId, at: usize, by_primary: bool) {
        let other = |at: usize| {
            let colocation = &self.colocations[at];
            if by_primary { colocation.primary } else { colocation.dependent }
        };
        let resource = self.resource(owner);
        let list = if by_primary { &resource.this_with } else { &resource.with_this };
        let own = other(at);
        let place = list.iter().position(|c| self.compare_rank(own, other(*c)).is_le()).unwrap_or(list.len());
        let resource = self.resource_mut(owner);
        let list = if by_primary { &mut resource.this_with } else { &mut resource.with_this };
        list.insert(place, at);
    }

    /// Those that are looked at first: higher priority, then what consists of more, then by name.
    fn compare_rank(&self, a: ResourceId, b: ResourceId) -> Ordering {
        let (x, y) = (self.resource(a), self.resource(b));
        let kind = |resource: &Resource<'_>| match resource.variant {
            Variant::Bundle(_) => 0,
            Variant::Clone(_) if resource.is(Flags::PROMOTABLE) => 1,
            Variant::Clone(_) => 2,
            Variant::Group => 3,
            Variant::Primitive => 4,
        };
        y.priority.cmp(&x.priority).then_with(|| kind(x).cmp(&kind(y))).then_with(|| x.id.cmp(&y.id))
    }

    /// Whether a colocation counts when its primary, or `instance` of it, chooses a node.
    pub(crate) fn has_influence(&self, colocation: &Colocation, instance: Option<ResourceId>) -> bool {
        let dependent = self.resource(colocation.dependent);
        let primary = self.resource(instance.unwrap_or(colocation.primary));
        // A connection can be moved without anybody noticing; a container that runs well is not moved for it.
        if dependent.is_connection
            && self.is_bundled(colocation.dependent)
            && !primary.is(Flags::FAILED)
            && primary.running_on.len() == 1
        {
            return false;
        }
        colocation.influence || primary.running_on.is_empty()
    }
}
