//! What is left over from faults and repairs, and the next command to type.

use std::collections::BTreeSet;

use scheduler::{Flags, NoQuorumPolicy, NodeKind};
use serde::Serialize;

use crate::recovery::Recovery;
use crate::view::View;

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind of thing, in one word: `ban`, `failures`, `unclean`, `blocked`, `fencing`, `time`, `standby`, `quorum`, `offline`,
    /// `attribute`, `maintenance`, `stopped`, `unmanaged`.
    pub kind: &'static str,
    /// What it is about: a resource or a node.
    pub about: String,
    /// What is so.
    pub what: String,
    /// The command that helps.
    pub command: String,
    /// Something has to be done about it; else it is to be known.
    pub to_do: bool,
}

/// Everything that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnosis {
    /// Each thing, the most urgent first.
    pub findings: Vec<Finding>,
    /// The way back that applies.
    pub recovery: Option<Recovery>,
    /// The next command to type; `None`: none has to be.
    pub next: Option<String>,
    /// Whether something has to be done.
    pub to_do: bool,
}

/// A time in the future by more than so many seconds is of a clock that is wrong.
const SKEW: i64 = 5;

impl View<'_> {
    /// See [`Diagnosis`].
    #[must_use]
    pub fn doctor(&self) -> Diagnosis {
        let mut findings = Vec::new();
        self.unclean(&mut findings);
        self.quorum(&mut findings);
        self.blocked(&mut findings);
        self.no_fencing(&mut findings);
        self.bans(&mut findings);
        self.offline(&mut findings);
        self.attributes(&mut findings);
        self.failures(&mut findings);
        self.left(&mut findings);
        self.time(&mut findings);
        let to_do = findings.iter().any(|f| f.to_do);
        let recovery = self.recovery();
        // The way back comes first where something is wrong with a node: its steps are in an order that is safe.
        let of_recovery = recovery.as_ref().and_then(Recovery::next).filter(|s| !s.optional);
        let first = findings.iter().find(|f| f.to_do);
        let urgent = first.filter(|f| matches!(f.kind, "quorum" | "blocked"));
        let next = urgent
            .map(|f| f.command.clone())
            .or_else(|| of_recovery.map(|s| s.command.clone()))
            .or_else(|| first.map(|f| f.command.clone()));
        Diagnosis { findings, recovery, next: next.filter(|_| to_do), to_do }
    }

    fn unclean(&self, found: &mut Vec<Finding>) {
        for node in self.set.nodes.iter().filter(|n| n.unclean && n.kind == NodeKind::Member) {
            let name = &node.name;
            let fence = self.fenced(name);
            let (what, command) = if node.online {
                (
                    format!(
                        "{name} is UNCLEAN (online): something there could not be stopped, and it has to be fenced"
                    ),
                    format!("holdfast why {name}"),
                )
            } else if fence.is_some_and(crate::Fencing::failed) {
                let why = fence.map(|f| f.exit_reason.as_str()).unwrap_or_default();
                let why = if why.is_empty() { String::new() } else { format!(" ({why})") };
                (
                    format!(
                        "{name} is UNCLEAN (offline), and fencing it failed{why}: make sure that it is off, then say so"
                    ),
                    format!("stonith_admin -C {name}"),
                )
            } else {
                (
                    format!(
                        "{name} is UNCLEAN (offline): what it ran is started elsewhere when it was fenced"
                    ),
                    format!("stonith_admin -H {name}"),
                )
            };
            found.push(Finding { kind: "unclean", about: name.clone(), what, command, to_do: true });
        }
    }

    fn quorum(&self, found: &mut Vec<Finding>) {
        if !self.set.have_quorum {
            let ignored = self.set.options.no_quorum_policy == NoQuorumPolicy::Ignore;
            let what = if ignored {
                "the nodes that are up have no quorum; the configuration ignores that"
            } else {
                "the nodes that are up have no quorum: nothing is started"
            };
            found.push(Finding {
                kind: "quorum",
                about: "cluster".to_owned(),
                what: what.to_owned(),
                command: "holdfast quorum status".to_owned(),
                to_do: !ignored,
            });
        }
    }

    fn blocked(&self, found: &mut Vec<Finding>) {
        for resource in self.set.resources.iter().filter(|r| r.children.is_empty() && r.is(Flags::BLOCKED)) {
            let name = crate::view::base(&resource.id);
            let of_it = |e: &&crate::Entry<'_>| crate::view::is_of(resource, e.resource);
            let stop = self.entries.iter().filter(of_it).find(|e| e.task == "stop" && e.failed());
            let why =
                stop.map_or_else(|| "of a failure".to_owned(), |e| format!("{} on {}", e.words(), e.node));
            let node = stop.map(|e| e.node).or_else(|| resource.running_on.first().map(|n| self.name_of(*n)));
            let on = node.map(|n| format!(" -N {n}")).unwrap_or_default();
            found.push(Finding {
                kind: "blocked",
                about: name.to_owned(),
                what: format!("{name} is blocked because {why}; stop it by hand, or see that it is stopped, then forget the failure"),
                command: format!("crm_resource -C -r {name}{on}"),
                to_do: true,
            });
        }
    }

    fn no_fencing(&self, found: &mut Vec<Finding>) {
        let options = &self.set.options;
        let device = self.set.resources.iter().any(|r| r.is(Flags::FENCE_DEVICE) && !r.is(Flags::ORPHAN));
        let several = self.set.nodes.iter().filter(|n| n.kind == NodeKind::Member).count() > 1;
        if !several || self.services().is_empty() {
            return;
        }
        let (what, command) = if !options.fencing {
            (
                "fencing is switched off: a node that is lost is taken for dead, and its service may run twice",
                "crm_attribute -n stonith-enabled -v true",
            )
        } else if !device && !options.have_watchdog {
            (
                "there is no fence device: nothing of a lost node is ever started elsewhere, nor anything else",
                "crm configure primitive fence stonith:fence_ipmilan params …    (fence devices: stonith_admin -I)",
            )
        } else {
            return;
        };
        let (what, command) = (what.to_owned(), command.to_owned());
        found.push(Finding { kind: "fencing", about: "cluster".to_owned(), what, command, to_do: true });
    }

    fn bans(&self, found: &mut Vec<Finding>) {
        let mut said = BTreeSet::new();
        let written = self.written();
        for (constraint, resource, node, over) in self.moves() {
            let id = constraint.id().unwrap_or_default();
            let ban = id.starts_with("cli-ban-");
            // Every later change of the configuration would have a later date.
            let age = written.map(|w| self.now.saturating_sub(w)).filter(|age| *age >= 60);
            let age = age.map(|age| format!(", for {} at least", span(age))).unwrap_or_default();
            let on = node.map(|n| format!(" {} {n}", if ban { "from" } else { "to" })).unwrap_or_default();
            let (what, command) = if over {
                (
                    format!("{id} is over, and left in the configuration"),
                    format!("crm_resource -U -e -r {resource}"),
                )
            } else if ban {
                (
                    format!(
                        "{id} keeps {resource}{on}{age}: it is left from a move, and {resource} cannot fail over there"
                    ),
                    format!("crm_resource -U -r {resource}"),
                )
            } else {
                (
                    format!("{id} draws {resource}{on}{age}: it is left from a move"),
                    format!("crm_resource -U -r {resource}"),
                )
            };
            if said.insert(id.to_owned()) {
                found.push(Finding { kind: "ban", about: resource.to_owned(), what, command, to_do: !over });
            }
        }
    }

    fn offline(&self, found: &mut Vec<Finding>) {
        let gone = |n: &&scheduler::Node| !n.online && !n.unclean && n.kind == NodeKind::Member;
        for node in self.set.nodes.iter().filter(gone) {
            let name = &node.name;
            found.push(Finding {
                kind: "offline",
                about: name.clone(),
                what: format!("{name} is OFFLINE: nothing can fail over to it"),
                command: "systemctl start holdfast.target".to_owned()
                    + &format!("    (on {name}, when the cause is found)"),
                to_do: true,
            });
        }
    }

    fn attributes(&self, found: &mut Vec<Finding>) {
        for node in self.set.nodes.iter().filter(|n| n.online && !n.unclean) {
            for id in self.services() {
                let Some(refusal) = self.forbidden(id, &node.name).filter(|r| r.by_attribute) else {
                    continue;
                };
                let resource = self.resource(id).map(|r| r.id.clone()).unwrap_or_default();
                let by = refusal.constraint.unwrap_or_default();
                found.push(Finding {
                    kind: "attribute",
                    about: node.name.clone(),
                    what: format!("{} cannot have {resource}: {} (constraint {by})", node.name, refusal.why),
                    command: format!("crm_standby -U {} -v on", node.name),
                    to_do: !node.standby,
                });
            }
        }
    }

    fn failures(&self, found: &mut Vec<Finding>) {
        let counts = self.fail_counts();
        for (owner, node, count, last) in &counts {
            let threshold = self.find(owner).and_then(|id| self.resource(id)).map(|r| r.migration_threshold);
            let banned = threshold.is_some_and(|t| {
                t.to_string() != "0"
                    && count.parse::<i64>().unwrap_or(1_000_000) >= t.to_string().parse().unwrap_or(1_000_000)
            });
            let so = if banned { ": it cannot run there" } else { "" };
            let at = if *last > 0 { format!(", last {}", self.when(*last)) } else { String::new() };
            found.push(Finding {
                kind: "failures",
                about: owner.clone(),
                what: format!("{owner} has fail count {count} on {node}{at}{so}"),
                command: format!("crm_resource -C -r {owner} -N {node}"),
                to_do: true,
            });
        }
        for failure in self.entries.iter().filter(|e| e.failed() && !e.is_probe()) {
            let name = crate::view::base(failure.resource);
            if counts.iter().any(|(owner, node, ..)| owner == name && node == failure.node)
                || found.iter().any(|f| matches!(f.kind, "failures" | "blocked") && f.about == name)
                || self.node_named(failure.node).is_none_or(|n| !n.online)
            {
                continue;
            }
            found.push(Finding {
                kind: "failures",
                about: name.to_owned(),
                what: format!(
                    "{name} failed on {}: {} {}",
                    failure.node,
                    failure.words(),
                    self.when(failure.at)
                ),
                command: format!("crm_resource -C -r {name} -N {}", failure.node),
                to_do: true,
            });
        }
    }

    /// What an operator may have forgotten.
    fn left(&self, found: &mut Vec<Finding>) {
        for node in &self.set.nodes {
            let name = &node.name;
            if node.standby {
                found.push(Finding {
                    kind: "standby",
                    about: name.clone(),
                    what: format!("{name} is in standby: it runs nothing, and nothing can fail over to it"),
                    command: format!("crm_standby -U {name} -v off"),
                    to_do: true,
                });
            }
            if node.maintenance && !self.set.options.maintenance {
                found.push(Finding {
                    kind: "maintenance",
                    about: name.clone(),
                    what: format!("{name} is in maintenance: nothing there is watched or recovered"),
                    command: format!("crm_attribute -N {name} -n maintenance -D"),
                    to_do: true,
                });
            }
        }
        if self.set.options.maintenance {
            found.push(Finding {
                kind: "maintenance",
                about: "cluster".to_owned(),
                what: "the cluster is in maintenance: nothing is watched or recovered".to_owned(),
                command: "crm_attribute -n maintenance-mode -D".to_owned(),
                to_do: true,
            });
        }
        for id in self.services() {
            let Some(resource) = self.resource(id) else { continue };
            let name = &resource.id;
            let disabled = self
                .leaves(id)
                .iter()
                .any(|l| l.meta.get("target-role").is_some_and(|r| r.eq_ignore_ascii_case("stopped")));
            if disabled {
                found.push(Finding {
                    kind: "stopped",
                    about: name.clone(),
                    what: format!("{name}, or a part of it, is to be stopped (target-role)"),
                    command: format!("crm_resource -r {name} -m -d target-role"),
                    to_do: false,
                });
            } else if !self.set.options.maintenance && self.leaves(id).iter().any(|l| !l.is(Flags::MANAGED)) {
                found.push(Finding {
                    kind: "unmanaged",
                    about: name.clone(),
                    what: format!("{name}, or a part of it, is not managed: it is not recovered, and fail-overs of it end as failed"),
                    command: format!("crm_resource -r {name} -m -d is-managed"),
                    to_do: true,
                });
            } else if self.runs_on(id).is_empty() && self.set.have_quorum {
                found.push(Finding {
                    kind: "stopped",
                    about: name.clone(),
                    what: format!("{name} runs nowhere"),
                    command: format!("holdfast why {name}"),
                    to_do: true,
                });
            }
        }
    }

    fn time(&self, found: &mut Vec<Finding>) {
        let mut worst: std::collections::BTreeMap<&str, i64> = std::collections::BTreeMap::new();
        for entry in &self.entries {
            let ahead = entry.at.saturating_sub(self.now);
            if ahead > SKEW {
                let at = worst.entry(entry.node).or_default();
                *at = (*at).max(ahead);
            }
        }
        for (node, ahead) in worst {
            found.push(Finding {
                kind: "time",
                about: node.to_owned(),
                what: format!(
                    "the clock of {node} is ahead by {} at least, or that of this node behind: failures expire at the wrong time, and logs cannot be compared",
                    span(ahead)
                ),
                command: format!("chronyc tracking    (on {node} and here)"),
                to_do: true,
            });
        }
    }
}

/// A length of time, in one unit.
fn span(seconds: i64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} d", s / 86_400),
    }
}
