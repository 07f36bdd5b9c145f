//! Orderings of the configuration: `rsc_order`, with two resources or with sets.

use cib::{Element, Score, parse_bool};

use crate::actions::{Is, Task};
use crate::constraints::{Named, Set, is_sequential};
use crate::model::{ResourceId, Variant, WorkingSet};
use crate::unpack::lenient_score;

use super::{Kind, Side};

/// How strict an ordering is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Strictness {
    Optional,
    Mandatory,
    Serialize,
}

/// Whether it holds for the inverse actions the other way round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Symmetry {
    Symmetric,
    Inverse,
    Asymmetric,
}

impl<'c> WorkingSet<'c> {
    pub(crate) fn read_ordering(&mut self, xml: &'c Element) {
        let strictness = strictness_of(xml);
        let parent_symmetrical = xml.get("symmetrical");
        let symmetry = symmetry_of(xml, strictness, None);
        if xml.child("resource_set").is_none() {
            return self.read_simple_ordering(xml, strictness, symmetry);
        }
        let mut last: Option<Set<'c>> = None;
        let Some(sets) = self.sets(xml) else { return };
        for set in sets {
            self.order_within_set(&set, strictness, parent_symmetrical);
            if let Some(last) = &last {
                self.order_sets(last, &set, strictness, symmetry);
                if symmetry == Symmetry::Symmetric {
                    self.order_sets(&set, last, strictness, Symmetry::Inverse);
                }
            }
            last = Some(set);
        }
    }

    fn read_simple_ordering(&mut self, xml: &'c Element, strictness: Strictness, symmetry: Symmetry) {
        let named = |set: &Self, name: &str| xml.get(name).and_then(|id| set.named(id));
        let (Some(first), Some(then)) = (named(self, "first"), named(self, "then")) else { return };
        let first_name = xml.get("first-action").unwrap_or("start").to_owned();
        let (first, then) = match (first, then) {
            (Named::Resource(first), Named::Resource(then)) => (first, then),
            // Of a tag or template all, each with each; then the second action is a start unless it is named.
            (first, then) => {
                let then_name = xml.get("then-action").unwrap_or("start").to_owned();
                let all = |named: Named| match named {
                    Named::Resource(one) => vec![one],
                    Named::All(all) => all,
                };
                let (first, then) = (all(first), all(then));
                self.order_all(&first, &first_name, &then, &then_name, strictness, symmetry);
                if symmetry == Symmetry::Symmetric {
                    self.order_all(&then, &then_name, &first, &first_name, strictness, Symmetry::Inverse);
                }
                return;
            }
        };
        let then_name = xml.get("then-action").map_or_else(|| first_name.clone(), str::to_owned);
        let first_task = self.actions.tasks.task(&first_name);
        let then_task = self.actions.tasks.task(&then_name);
        let restarts = |set: &Self| {
            strictness == Strictness::Optional
                && set.resource(then).meta.get("restart-type").is_some_and(|t| t == "restart")
        };
        let mut kind = kind_of(strictness, first_task, symmetry);
        if restarts(self) {
            kind = kind.with(Kind::IMPLIES_THEN);
        }
        match self.least_instances(first, xml) {
            Some(least) => self.order_after_some(xml, first, first_task, then, then_task, kind, least),
            None => self.add_ordering((first, first_task), (then, then_task), kind),
        }
        if symmetry == Symmetry::Symmetric
            && let (Some(first_task), Some(then_task)) = (first_task.inverse(), then_task.inverse())
        {
            let mut kind = kind_of(strictness, first_task, Symmetry::Inverse);
            if restarts(self) {
                kind = kind.with(Kind::IMPLIES_FIRST);
            }
            self.add_ordering((then, then_task), (first, first_task), kind);
        }
    }

    /// How many instances of a clone are enough for what comes after it.
    fn least_instances(&self, first: ResourceId, xml: &Element) -> Option<u32> {
        let resource = self.resource(first);
        if !matches!(resource.variant, Variant::Clone(_)) {
            return None;
        }
        if let Some(least) = resource.meta.get("clone-min") {
            return lenient_score(least)
                .map(Score::get)
                .and_then(|n| u32::try_from(n).ok())
                .filter(|n| *n > 0);
        }
        let all = xml.get("require-all").map(|v| parse_bool(v).unwrap_or(false));
        (all == Some(false)).then_some(1)
    }

    #[expect(clippy::too_many_arguments, reason = "both sides of an ordering and what it means")]
    fn order_after_some(
        &mut self,
        xml: &Element,
        first: ResourceId,
        first_task: Task,
        then: ResourceId,
        then_task: Task,
        kind: Kind,
        least: u32,
    ) {
        let name = format!("clone-one-or-more:{}", xml.id().unwrap_or_default());
        let met = self.pseudo_action(&name);
        self.set_is(met, Is::REQUIRES_ANY);
        self.actions[met].required_before = least;
        for child in self.resource(first).children.clone() {
            self.add_ordering((child, first_task), met, Kind::ONE_OR_MORE.with(Kind::PRINTS_THEN));
        }
        self.add_ordering(met, (then, then_task), kind.with(Kind::RUNNABLE_FIRST));
    }

    fn order_within_set(&mut self, set: &Set<'c>, parent: Strictness, parent_symmetrical: Option<&str>) {
        let [_, _, ..] = set.members[..] else { return };
        let task = self.actions.tasks.task(set.xml.get("action").unwrap_or("start"));
        let strictness = if set.xml.get("kind").is_some() { strictness_of(set.xml) } else { parent };
        let symmetry = symmetry_of(set.xml, parent, parent_symmetrical);
        let kind = kind_of(strictness, task, symmetry);
        let sequential = is_sequential(set.xml);
        if strictness == Strictness::Serialize {
            for (at, member) in set.members.iter().enumerate() {
                for later in &set.members[at + 1..] {
                    self.add_ordering((*member, task), (*later, task), kind);
                }
            }
        } else if sequential {
            for pair in set.members.windows(2) {
                self.add_ordering((pair[0], task), (pair[1], task), kind);
            }
        }
        let Some(task) = task.inverse().filter(|_| symmetry != Symmetry::Asymmetric && sequential) else {
            return;
        };
        let kind = kind_of(strictness, task, Symmetry::Inverse);
        for pair in set.members.windows(2) {
            self.add_ordering((pair[1], task), (pair[0], task), kind);
        }
    }

    fn order_sets(&mut self, first: &Set<'c>, then: &Set<'c>, strictness: Strictness, symmetry: Symmetry) {
        let inverse = symmetry == Symmetry::Inverse;
        let name_of = |set: &Set<'c>| set.xml.get("action").unwrap_or("start").to_owned();
        let mut first_task = self.actions.tasks.task(&name_of(first));
        let mut then_task = self.actions.tasks.task(&name_of(then));
        if inverse {
            let (Some(a), Some(b)) = (first_task.inverse(), then_task.inverse()) else { return };
            (first_task, then_task) = (a, b);
        }
        let kind = kind_of(strictness, first_task, symmetry);
        let all = first.xml.get("require-all").is_none_or(|v| parse_bool(v).unwrap_or(false));
        // On the way down all have to be gone.
        if !all && !matches!(first_task, Task::STOP | Task::DEMOTE) {
            let name = format!("one-or-more:{}", first.xml.id().unwrap_or_default());
            let met = self.pseudo_action(&name);
            self.set_is(met, Is::REQUIRES_ANY);
            for member in &first.members {
                self.add_ordering((*member, first_task), met, Kind::ONE_OR_MORE.with(Kind::PRINTS_THEN));
            }
            for member in &then.members {
                self.add_ordering(met, (*member, then_task), kind.with(Kind::RUNNABLE_FIRST));
            }
            return;
        }
        // Only where a set says so itself is its end enough.
        let says_sequential = |set: &Set<'c>| set.xml.get("sequential").and_then(parse_bool) == Some(true);
        let one =
            |set: &Set<'c>, last: bool| if last { set.members.last() } else { set.members.first() }.copied();
        let ends = |set: &Set<'c>, last: bool| -> Vec<ResourceId> {
            if says_sequential(set) { one(set, last).into_iter().collect() } else { set.members.clone() }
        };
        for a in ends(first, !inverse) {
            for b in ends(then, inverse) {
                self.add_ordering((a, first_task), (b, then_task), kind);
            }
        }
    }

    fn order_all(
        &mut self,
        first: &[ResourceId],
        first_name: &str,
        then: &[ResourceId],
        then_name: &str,
        strictness: Strictness,
        symmetry: Symmetry,
    ) {
        let (mut first_task, mut then_task) =
            (self.actions.tasks.task(first_name), self.actions.tasks.task(then_name));
        if symmetry == Symmetry::Inverse {
            let (Some(a), Some(b)) = (first_task.inverse(), then_task.inverse()) else { return };
            (first_task, then_task) = (a, b);
        }
        let kind = kind_of(strictness, first_task, symmetry);
        for a in first {
            for b in then {
                self.add_ordering(Side::Task(*a, first_task, 0), Side::Task(*b, then_task, 0), kind);
            }
        }
    }
}

fn strictness_of(xml: &Element) -> Strictness {
    let is = |value: &str, word: &str| value.eq_ignore_ascii_case(word);
    match xml.get("kind") {
        // As it was once written: a score of zero is advice.
        None => match xml.get("score").and_then(lenient_score) {
            Some(Score::ZERO) => Strictness::Optional,
            _ => Strictness::Mandatory,
        },
        Some(kind) if is(kind, "Optional") => Strictness::Optional,
        Some(kind) if is(kind, "Serialize") => Strictness::Serialize,
        Some(_) => Strictness::Mandatory,
    }
}

fn symmetry_of(xml: &Element, strictness: Strictness, parent: Option<&str>) -> Symmetry {
    if strictness == Strictness::Serialize {
        return Symmetry::Asymmetric;
    }
    match xml.get("symmetrical").or(parent).map(|v| parse_bool(v).unwrap_or(false)) {
        Some(false) => Symmetry::Asymmetric,
        _ => Symmetry::Symmetric,
    }
}

fn kind_of(strictness: Strictness, first: Task, symmetry: Symmetry) -> Kind {
    let rises = matches!(first, Task::START | Task::PROMOTE);
    let more = match (strictness, symmetry) {
        (Strictness::Optional, _) => Kind::NONE,
        (Strictness::Serialize, _) => Kind::SERIALIZE,
        (Strictness::Mandatory, Symmetry::Asymmetric) => Kind::ASYMMETRIC,
        (Strictness::Mandatory, Symmetry::Symmetric) if rises => {
            Kind::IMPLIES_THEN.with(Kind::RUNNABLE_FIRST)
        }
        (Strictness::Mandatory, Symmetry::Symmetric) => Kind::IMPLIES_THEN,
        (Strictness::Mandatory, Symmetry::Inverse) => Kind::IMPLIES_FIRST,
    };
    Kind::OPTIONAL.with(more)
}
