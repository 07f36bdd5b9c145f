//! The recovery patterns of the manuals: which one applies, how far it is, what comes next.

use serde::Serialize;

use crate::view::View;

/// A way back to normal.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub enum Pattern {
    /// Both nodes are up; the network failed.
    #[serde(rename = "1")]
    Network,
    /// Both nodes are up; a resource failed.
    #[serde(rename = "1'")]
    Resource,
    /// A node is down, and what it ran was taken over.
    #[serde(rename = "2")]
    Node,
    /// A node is down that ran nothing that had to be taken over.
    #[serde(rename = "2'")]
    Standby,
    /// A disk failed, or a node cannot be fenced: it is taken down by force.
    #[serde(rename = "3")]
    Disk,
}

impl Pattern {
    /// As the manuals number it.
    #[must_use]
    pub const fn number(self) -> &'static str {
        match self {
            Self::Network => "1",
            Self::Resource => "1'",
            Self::Node => "2",
            Self::Standby => "2'",
            Self::Disk => "3",
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Network => "both nodes are up, and the network or a score drove the service away",
            Self::Resource => "both nodes are up, and a resource failed",
            Self::Node => "a node is down, and its service was taken over",
            Self::Standby => "a node is down that did not run the service",
            Self::Disk => "a disk failed, or a node cannot be fenced",
        }
    }
}

/// One step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What to type.
    pub command: String,
    /// What for.
    pub what: String,
    /// It is done already.
    pub done: bool,
    /// It can be left out.
    pub optional: bool,
}

/// A way back, and how far it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recovery {
    /// Which.
    pub pattern: Pattern,
    /// The node that something is wrong with.
    pub node: String,
    /// Its steps in their order.
    pub steps: Vec<Step>,
}

impl Recovery {
    /// The next step.
    #[must_use]
    pub fn next(&self) -> Option<&Step> {
        self.steps.iter().find(|s| !s.done)
    }
}

fn step(command: impl Into<String>, what: impl Into<String>, done: bool) -> Step {
    Step { command: command.into(), what: what.into(), done, optional: false }
}

impl View<'_> {
    /// The way back that applies, for the node that is worst off.
    pub(crate) fn recovery(&self) -> Option<Recovery> {
        let order = |node: &&scheduler::Node| {
            // UNCLEAN, down, then what is wrong on nodes that are up.
            (!node.unclean, node.online)
        };
        let mut nodes: Vec<_> =
            self.set.nodes.iter().filter(|n| n.kind == scheduler::NodeKind::Member).collect();
        nodes.sort_by_key(order);
        nodes.into_iter().find_map(|node| self.recovery_of(node)).or_else(|| self.fail_back())
    }

    fn recovery_of(&self, node: &scheduler::Node) -> Option<Recovery> {
        let name = &node.name;
        if node.pending && node.online {
            return None;
        }
        let services = self.services();
        let its_home = services.iter().any(|id| self.home(*id).as_ref() == Some(name));
        let start = |pattern| {
            let mut steps = vec![
                step(
                    format!("power {name} on"),
                    "boot it, if it is off; find and remove the cause before the next step",
                    false,
                ),
                step("systemctl start holdfast.target", format!("on {name}: start the cluster there"), false),
            ];
            steps.extend(self.fail_back_steps(name));
            Recovery { pattern, node: name.clone(), steps }
        };
        if node.unclean && !node.online {
            let mut found = start(Pattern::Disk);
            let failed = self.fenced(name).is_some_and(crate::Fencing::failed) || !self.set.options.fencing;
            let what = if failed {
                "only when it is certain that it is off: tell the cluster, which goes on then"
            } else {
                "fencing runs; should it fail, and only when it is certain that the node is off: tell the cluster"
            };
            found.steps.insert(0, step(format!("stonith_admin -C {name}"), what, false));
            return Some(found);
        }
        if !node.online {
            return Some(start(if its_home { Pattern::Node } else { Pattern::Standby }));
        }
        let failures: Vec<String> = self
            .fail_counts()
            .into_iter()
            .filter(|(owner, on, ..)| on == name && self.find(owner).is_some_and(|id| self.serves(id)))
            .map(|(owner, ..)| owner)
            .collect();
        let refused = services.iter().find_map(|id| self.forbidden(*id, name).filter(|r| r.by_attribute));
        let disk = refused.as_ref().is_some_and(|r| r.why.contains("is ERROR on"));
        if disk && !node.standby {
            let mut found = start(Pattern::Disk);
            let what = format!(
                "take {name} down by force, or press its power button: a clean stop cannot be relied on"
            );
            found.steps.insert(0, step(format!("stonith_admin -F {name}"), what, false));
            return Some(found);
        }
        if failures.is_empty() && refused.is_none() && !node.standby {
            return None;
        }
        let pattern = if failures.is_empty() { Pattern::Network } else { Pattern::Resource };
        let mut steps = vec![step(
            format!("crm_standby -U {name} -v on"),
            format!("keep {name} from taking the service over while it is repaired; then repair the fault"),
            node.standby,
        )];
        for owner in &failures {
            steps.push(step(
                format!("crm_resource -C -r {owner} -N {name}"),
                "after the repair: forget its failures",
                false,
            ));
        }
        steps.push(step(
            format!("crm_standby -U {name} -v off"),
            "after the repair: let it take part again",
            false,
        ));
        steps.extend(self.fail_back_steps(name));
        Some(Recovery { pattern, node: name.clone(), steps })
    }

    /// Optional: the service goes back to its home.
    fn fail_back_steps(&self, node: &str) -> Vec<Step> {
        let mut steps = Vec::new();
        for id in self.services() {
            let at_home = self.home(id).as_deref() == Some(node);
            let runs = self.runs_on(id);
            let Some(resource) = self.resource(id).filter(|_| at_home && !runs.is_empty() && runs != [node])
            else {
                continue;
            };
            let name = &resource.id;
            steps.push(Step {
                command: format!("crm_resource -M -r {name} -N {node} -f -Q"),
                what: format!("bring {name} back to {node}"),
                done: false,
                optional: true,
            });
            steps.push(Step {
                command: format!("crm_resource -U -r {name}"),
                what: "then: remove the constraints of the move".to_owned(),
                done: false,
                optional: true,
            });
        }
        steps
    }

    /// Everything is well but that a service is not at home.
    fn fail_back(&self) -> Option<Recovery> {
        for node in self.set.nodes.iter().filter(|n| n.online && !n.unclean) {
            let steps = self.fail_back_steps(&node.name);
            let banned = self.services().iter().any(|id| {
                self.home(*id).as_ref() == Some(&node.name) && self.refusal(*id, &node.name).is_some()
            });
            if !steps.is_empty() && !banned {
                return Some(Recovery { pattern: Pattern::Network, node: node.name.clone(), steps });
            }
        }
        None
    }
}
