//! Why a node can be had for a resource, or not.

use cib::Element;
use logconv::Event;
use scheduler::ResourceId;

use crate::view::View;

/// Why a node is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// The id of the constraint that forbids it, where it is one.
    pub(crate) constraint: Option<String>,
    /// In words.
    pub(crate) why: String,
    /// What lifts it, as a command, where there is one.
    pub(crate) remedy: Option<String>,
    /// It is an attribute of the node that says so.
    pub(crate) by_attribute: bool,
    /// It was an operator.
    pub(crate) by_operator: bool,
}

impl Refusal {
    fn of(why: impl Into<String>) -> Self {
        Self { constraint: None, why: why.into(), remedy: None, by_attribute: false, by_operator: false }
    }
}

impl View<'_> {
    /// Why a resource cannot be on a node; `None`: it could.
    pub(crate) fn refusal(&self, id: ResourceId, node: &str) -> Option<Refusal> {
        let whole = self.whole(id);
        let known = self.node_named(node)?;
        let name = &known.name;
        if known.unclean {
            return Some(Refusal::of(format!(
                "{name} is UNCLEAN: whether it still runs something is not known"
            )));
        }
        if !known.online {
            return Some(Refusal::of(format!("{name} is offline")));
        }
        if known.standby {
            return Some(Refusal {
                remedy: Some(format!("crm_standby -U {name} -v off")),
                by_operator: !known.standby_on_fail,
                ..Refusal::of(format!("{name} is in standby"))
            });
        }
        if known.maintenance {
            return Some(Refusal { by_operator: true, ..Refusal::of(format!("{name} is in maintenance")) });
        }
        self.forbidden(whole, name)
    }

    /// What rules the node out by its score.
    pub(crate) fn forbidden(&self, whole: ResourceId, node: &str) -> Option<Refusal> {
        let resource = self.resource(whole)?;
        let mut found: Vec<(u8, Refusal)> = Vec::new();
        for line in self.set.explain(Some(&resource.id), Some(node)) {
            for step in &line.steps {
                // Steps that rule it out themselves, and a start below nothing.
                if step.added.as_deref() != Some("-INFINITY")
                    && !(step.added.is_none() && step.score == "-INFINITY")
                {
                    continue;
                }
                // Parts of one whole follow each other: that is what comes of it, not why.
                let other = ["placed with ", "placed away from "].iter().find_map(|w| step.why.split_once(w));
                let other = other.and_then(|(_, rest)| self.find(rest.split(' ').next()?));
                if other.is_some_and(|other| self.whole(other) == whole) {
                    continue;
                }
                let step = self.step(&line.resource, node, &step.why);
                if !found.contains(&step) {
                    found.push(step);
                }
            }
        }
        found.into_iter().min_by_key(|(rank, _)| *rank).map(|(_, refusal)| refusal)
    }

    /// What a step of a score says of a node, the plainest reason first.
    fn step(&self, resource: &str, node: &str, why: &str) -> (u8, Refusal) {
        if let Some(id) = why.strip_prefix("location constraint ") {
            let id = id.split(' ').next().unwrap_or(id);
            let mut refusal =
                Refusal { constraint: Some(id.to_owned()), ..Refusal::of("a location constraint") };
            if id.starts_with("cli-") {
                refusal.why = "an operator's move left it behind".to_owned();
                refusal.by_operator = true;
                let of = self.constraint(id).and_then(|c| c.get("rsc")).unwrap_or(resource);
                refusal.remedy = Some(format!("crm_resource -U -r {of}"));
                return (0, refusal);
            }
            let values = self.constraint(id).map(|rule| self.values(rule, node)).unwrap_or_default();
            if !values.is_empty() {
                refusal.why = values.join(", ");
                refusal.by_attribute = true;
                return (2, refusal);
            }
            return (3, refusal);
        }
        if why.starts_with("it failed here as often") {
            let of = self.fail_counts().into_iter().find(|(owner, on, ..)| {
                on == node
                    && self
                        .find(owner)
                        .is_some_and(|id| self.whole(id) == self.find(resource).map_or(id, |r| self.whole(r)))
            });
            let (owner, count) =
                of.map_or_else(|| (resource.to_owned(), String::new()), |(o, _, c, _)| (o, c));
            let count = if count.is_empty() { String::new() } else { format!(" (fail count {count})") };
            return (
                1,
                Refusal {
                    remedy: Some(format!("crm_resource -C -r {owner} -N {node}")),
                    ..Refusal::of(format!(
                        "{owner} failed there as often as migration-threshold allows{count}"
                    ))
                },
            );
        }
        (if why.contains("is placed") { 5 } else { 4 }, Refusal::of(why))
    }

    /// The attributes that a rule looks at, with their values on a node: `default_ping_set is 0`.
    fn values(&self, rule: &Element, node: &str) -> Vec<String> {
        let mut said = Vec::new();
        let Some(known) = self.node_named(node) else { return said };
        rule.walk(&mut |e| {
            let Some(name) = e.get("attribute").filter(|n| e.name == "expression" && !n.starts_with('#'))
            else {
                return;
            };
            let text = match known.attributes.get(name) {
                Some(value) => format!("{name} is {value} on {node}"),
                None => format!("{name} is not set on {node}"),
            };
            if !said.contains(&text) {
                said.push(text);
            }
        });
        said
    }

    /// Why these resources are placed where they are, and why not elsewhere: what the operator's log says of it where a fail-over begins.
    /// Of a group one line is said, for the whole.
    #[must_use]
    pub fn reasons(&self, resources: &[String]) -> Vec<Event> {
        let mut said = Vec::new();
        let mut wholes: Vec<ResourceId> = Vec::new();
        for id in resources.iter().filter_map(|name| self.find(name)).map(|id| self.whole(id)) {
            if !wholes.contains(&id) {
                wholes.push(id);
            }
        }
        for whole in wholes {
            let Some(resource) = self.resource(whole) else { continue };
            let name = &resource.id;
            let leaves = self.leaves(whole);
            let chosen =
                leaves.iter().find_map(|leaf| leaf.assigned).map(|node| self.name_of(node).to_owned());
            for node in &self.set.nodes {
                if Some(&node.name) == chosen.as_ref() {
                    continue;
                }
                if let Some(Refusal { constraint, why, .. }) = self.refusal(whole, &node.name) {
                    said.push(Event::Refused {
                        resource: name.clone(),
                        node: node.name.clone(),
                        constraint,
                        why,
                    });
                }
            }
            if let Some(node) = chosen {
                let why = self.choice(whole, &node);
                said.push(Event::Chosen { resource: name.clone(), node, why });
            }
        }
        said
    }

    /// Why a node was taken: it is the only one, or it has the highest score.
    pub(crate) fn choice(&self, whole: ResourceId, node: &str) -> String {
        let can = |name: &str| self.refusal(whole, name).is_none();
        let others = self.set.nodes.iter().filter(|n| n.name != node && can(&n.name)).count();
        if others == 0 {
            return "no other node can have it".to_owned();
        }
        let resource = self.resource(whole).map(|r| r.id.clone()).unwrap_or_default();
        let lines = self.set.explain(Some(&resource), Some(node));
        let Some(line) = lines.iter().find(|l| l.resource == resource).or(lines.first()) else {
            return "of the nodes that can have it, it is the first".to_owned();
        };
        let mut steps: Vec<&str> =
            line.steps.iter().filter(|s| s.added.as_deref() != Some("0")).map(|s| s.why.as_str()).collect();
        steps.dedup();
        let because = if steps.is_empty() { String::new() } else { format!(" ({})", steps.join("; ")) };
        format!("its score there is {}{because}", line.score)
    }
}
