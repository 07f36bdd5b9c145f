//! What was done on each node, with what result; or only how often it failed.

use cib::Element;

use super::facts::exit_status_text;
use super::out::{Heading, Kind, Markup};
use super::{Sections, Show};
use crate::model::{NodeId, ResourceId, Variant};
use crate::unpack::{Operation, sort_by_age};

/// Failures of a resource on a node.
pub(super) struct Failures {
    /// How often; 1 000 000 is without end.
    pub(super) count: i32,
    /// When last, if that is known.
    pub(super) last: Option<i64>,
}

/// An entry of the history.
pub(super) struct Done<'c> {
    pub(super) xml: &'c Element,
    pub(super) task: &'c str,
    pub(super) interval: Option<&'c str>,
    pub(super) rc: i32,
}

impl<'c> Show<'_, 'c> {
    /// Whether there are nodes to tell of.
    pub(super) fn history(&mut self, spacer: bool) -> bool {
        let set = self.set;
        let operations = self.sections.has(Sections::OPERATIONS);
        let title = if operations { "Operations" } else { "Migration Summary" };
        let mut begun = Heading::default();
        for (node, state) in self.states() {
            self.out.heading(&mut begun, spacer, title);
            let mut of_node = false;
            for (id, name, entry) in self.histories(state) {
                if operations {
                    let done = done(entry);
                    if done.is_empty() {
                        continue;
                    }
                    self.begin_node(&mut of_node, node);
                    self.operations(id, node, &done);
                    continue;
                }
                let failures = self.failures_of(id, node);
                if failures.count > 0 {
                    self.begin_node(&mut of_node, node);
                    self.resource_history(set.resource(id).migration_threshold.get(), name, &failures, false);
                }
            }
            if of_node {
                self.out.end();
            }
        }
        self.out.footer(begun);
        begun.0
    }

    fn begin_node(&mut self, begun: &mut bool, node: NodeId) {
        if !std::mem::replace(begun, true) {
            self.node_heading(node);
        }
    }

    /// Nodes that are there and asked for, as the status has them.
    pub(super) fn states(&self) -> Vec<(NodeId, &'c Element)> {
        let set = self.set;
        let status = set.document().child("status");
        let states = status.into_iter().flat_map(|s| &s.children).filter(|s| s.name == "node_state");
        let found = states.filter_map(|state| {
            let id = state.id()?;
            let mut nodes = set.by_name.iter().copied();
            Some((nodes.find(|n| set.node(*n).id.eq_ignore_ascii_case(id))?, state))
        });
        found.filter(|(id, _)| set.node(*id).online && self.nodes.has_node(&set.node(*id).name)).collect()
    }

    /// Histories of resources that are asked for, each with the id that it stands under.
    pub(super) fn histories(&self, state: &'c Element) -> Vec<(ResourceId, &'c str, &'c Element)> {
        let set = self.set;
        let list = state.child("lrm").and_then(|l| l.child("lrm_resources"));
        let entries = list.into_iter().flat_map(|l| &l.children).filter(|r| r.name == "lrm_resource");
        let known = entries.filter_map(|entry| {
            let name = entry.id()?;
            Some((set.find_renamed(name)?, name, entry))
        });
        known
            .filter(|(id, ..)| {
                let top = set.top_of(*id);
                if matches!(set.resource(top).variant, Variant::Group) {
                    // A member by itself is not all of its group.
                    self.resources.has(set.shown_id(*id)) || self.resources.has(set.shown_id(top))
                } else {
                    !self.is_filtered(*id, true)
                }
            })
            .collect()
    }

    pub(super) fn failures_of(&self, id: ResourceId, node: NodeId) -> Failures {
        let (count, last) = self.set.own_fail_count(id, node);
        let count = count.get();
        Failures { count, last: Some(last).filter(|last| count > 0 && *last > 0) }
    }

    fn operations(&mut self, id: ResourceId, node: NodeId, done: &[Done<'_>]) {
        let set = self.set;
        let failures = self.failures_of(id, node);
        let threshold = set.resource(id).migration_threshold.get();
        self.resource_history(threshold, set.shown_id(id), &failures, true);
        for one in done {
            self.operation(one);
        }
        match self.kind() {
            Kind::Xml => self.out.close(),
            _ => self.out.end(),
        }
    }

    /// How often a resource failed; `heading`: what was done with it follows.
    fn resource_history(&mut self, threshold: i32, name: &str, failures: &Failures, heading: bool) {
        let last = failures.last.map(|at| (self.clock.ctime)(at));
        let count = Some(failures.count.to_string()).filter(|_| failures.count > 0);
        if self.kind() == Kind::Xml {
            let element = Markup::new("resource_history")
                .with("id", name)
                .with("orphan", "false")
                .with("migration-threshold", &threshold.to_string())
                .with_all(&[("fail-count", count.as_deref()), ("last-failure", last.as_deref())]);
            self.out.open(element);
            if !heading {
                self.out.close();
            }
            return;
        }
        let count = count.map_or(String::new(), |c| format!(" fail-count={c}"));
        let last = last.map_or(String::new(), |at| format!(" last-failure='{at}'"));
        let line = format!("{name}: migration-threshold={threshold}{count}{last}");
        if heading {
            self.out.begin(Some(&line));
        } else {
            self.out.item(&line);
        }
    }

    fn operation(&mut self, done: &Done<'_>) {
        let get = |name: &str| done.xml.get(name);
        let interval = done.interval.filter(|i| *i != "0").map(|i| format!("{i}ms"));
        let timing = self.details.timing;
        let changed = epoch(done.xml).filter(|at| timing && *at > 0).map(|at| (self.clock.ctime)(at));
        let length = |name: &str| get(name).filter(|_| timing).map(|v| format!("{v}ms"));
        let (ran, waited) = (length("exec-time"), length("queue-time"));
        if self.kind() == Kind::Xml {
            let element = Markup::new("operation_history")
                .with_all(&[("call", get("call-id"))])
                .with("task", done.task)
                .with("rc", &done.rc.to_string())
                .with("rc_text", exit_status_text(done.rc))
                .with_all(&[
                    ("interval", interval.as_deref()),
                    ("last-rc-change", changed.as_deref()),
                    ("exec-time", ran.as_deref()),
                    ("queue-time", waited.as_deref()),
                ]);
            self.out.leaf(element);
            return;
        }
        let pair = |name: &str, value: &Option<String>| {
            value.as_ref().map_or(String::new(), |v| format!(" {name}=\"{v}\""))
        };
        let mut line = format!("({}) {}", get("call-id").unwrap_or("(null)"), done.task);
        if timing || interval.is_some() {
            line.push(':');
        }
        line += &pair("interval", &interval);
        if timing {
            line += &pair("last-rc-change", &changed);
            line += &pair("exec-time", &ran);
            line += &pair("queue-time", &waited);
            line += &format!(" rc={} ({})", done.rc, exit_status_text(done.rc));
        }
        self.out.item(&line);
    }
}

/// When an entry's result changed last.
pub(super) fn epoch(entry: &Element) -> Option<i64> {
    entry.get("last-rc-change")?.trim().parse().ok()
}

/// Entries by age; what only found nothing is left out.
pub(super) fn done(entry: &Element) -> Vec<Done<'_>> {
    let entries = entry.children_named("lrm_rsc_op").filter_map(|xml| Some((xml, Operation::read(xml)?)));
    let shown = entries.filter_map(|(xml, operation)| {
        let interval = xml.get("interval");
        let probe = operation.task.eq_ignore_ascii_case("monitor") && interval.is_none_or(|i| i == "0");
        let rc = xml.get("rc-code").and_then(|v| v.trim().parse().ok()).unwrap_or(0).max(0);
        if operation.task.eq_ignore_ascii_case("notify") || probe && rc == 7 {
            return None;
        }
        Some((operation, Done { xml, task: if probe { "probe" } else { operation.task }, interval, rc }))
    });
    let sorted = sort_by_age(shown.collect(), &|(operation, _): &(Operation<'_>, Done<'_>)| *operation);
    sorted.into_iter().map(|(_, done)| done).collect()
}
