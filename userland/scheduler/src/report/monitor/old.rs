//! The layout of Pacemaker 1.1.13, for eyes and scripts that are used to it.

use std::fmt::Write;

use super::facts::exit_status_text;
use super::failures::Failure;
use super::history::epoch;
use super::nodes::{Connectivity, connectivity};
use super::out::Kind;
use super::summary::first_pair;
use super::{Monitor, Sections, Show};
use crate::model::node::compare_names;
use crate::model::{Flags, NodeId, NodeKind, ResourceId, Role, Variant, WorkingSet};

/// The screen as Pacemaker 1.1.13 has it.
#[must_use]
pub fn old_monitor(set: &mut WorkingSet<'_>, asked: &Monitor<'_>) -> String {
    if asked.sections.has_any(Sections::BANS.with(Sections::TICKETS)) {
        set.read_constraints();
    }
    let mut old = Old { show: Show::new(set, asked, Kind::Text), out: String::new() };
    old.header();
    if old.show.sections.has(Sections::NODES) {
        old.nodes();
    }
    if old.show.sections.has(Sections::RESOURCES) {
        old.resources();
    }
    if old.show.sections.has(Sections::ATTRIBUTES) {
        old.attributes();
    }
    if old.show.sections.has_any(Sections::OPERATIONS.with(Sections::FAILCOUNTS)) {
        old.history();
    }
    if old.show.sections.has(Sections::FAILURES) {
        old.failures();
    }
    if old.show.sections.has(Sections::TICKETS) {
        old.tickets();
    }
    if old.show.sections.has(Sections::BANS) {
        old.bans();
    }
    old.out
}

struct Old<'a, 'c> {
    show: Show<'a, 'c>,
    out: String,
}

impl<'c> Old<'_, 'c> {
    fn line(&mut self, line: &str) {
        let _ = writeln!(self.out, "{line}"); // a String takes everything
    }

    /// A heading, apart from what stands before it.
    fn title(&mut self, title: &str) {
        self.line(&format!("\n{title}:"));
    }

    fn header(&mut self) {
        let set = self.show.set;
        let root = set.document();
        let wanted = self.show.sections;
        if wanted.has(Sections::TIMES) {
            let now = (self.show.clock.ctime)(self.show.clock.now);
            self.line(&format!("Last updated: {now}"));
            let mut change = root.get("cib-last-written").unwrap_or_default().to_owned();
            for (word, name) in [("by", "update-user"), ("via", "update-client"), ("on", "update-origin")] {
                if let Some(value) = root.get(name) {
                    change += &format!(" {word} {value}");
                }
            }
            self.line(&format!("Last change: {change}"));
        }
        let value = |name: &str| first_pair(root, name).and_then(|p| p.get("value"));
        if let Some(stack) = value("cluster-infrastructure").filter(|_| wanted.has(Sections::STACK)) {
            self.line(&format!("Stack: {stack}"));
        }
        match set.dc {
            None => self.line("Current DC: NONE"),
            Some(dc) if wanted.has(Sections::DC) => {
                let quorum = if set.have_quorum { "with" } else { "WITHOUT" };
                let label = set.label(dc, self.show.details.detail);
                self.line(&format!("Current DC: {label} - partition {quorum} quorum"));
                if let Some(version) = value("dc-version") {
                    self.line(&format!("Version: {version}"));
                }
            }
            Some(_) => {}
        }
        if wanted.has(Sections::COUNTS) {
            let (nodes, resources) = (set.nodes.len(), set.counts().0);
            self.line(&format!("{nodes} Nodes configured\n{resources} Resources configured\n\n"));
        }
    }

    fn nodes(&mut self) {
        let set = self.show.set;
        let detail = self.show.details.detail;
        let mut lists: [(&str, Vec<String>); 5] =
            ["Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "Containers"].map(|t| (t, Vec::new()));
        for id in &set.by_name {
            let node = set.node(*id);
            if !self.show.nodes.has_node(&node.name) {
                continue;
            }
            let special = node.unclean
                || node.pending
                || (node.standby_on_fail && node.online)
                || node.standby
                || node.maintenance;
            if !special && !self.show.details.by_node {
                let place = match (set.is_guest(*id), node.kind == NodeKind::Remote, node.online) {
                    (true, _, true) => 4,
                    (true, _, false) => continue,
                    (false, true, online) => 2 + usize::from(!online),
                    (false, false, online) => usize::from(!online),
                };
                lists[place].1.push(set.label(*id, detail));
                continue;
            }
            let kind = match (set.is_guest(*id), node.kind) {
                (true, _) => "Container",
                (false, NodeKind::Remote) => "Remote",
                _ => "",
            };
            let mode = match set.mode(*id) {
                "standby (with active resources)" => "standby",
                mode => mode,
            };
            self.line(&format!("{kind}Node {}: {mode}", set.label(*id, detail)));
            if self.show.details.by_node {
                for resource in &node.running {
                    self.primitive(*resource, "\t", false);
                }
            }
        }
        for (title, names) in lists {
            if !names.is_empty() {
                self.line(&format!("{title}: [ {} ]", names.join(" ")));
            }
        }
    }

    fn resources(&mut self) {
        let set = self.show.set;
        let details = self.show.details;
        if details.by_node && !details.inactive {
            return;
        }
        match (details.by_node, details.inactive) {
            (false, true) => self.title("Full list of resources"),
            (true, true) => self.title("Inactive resources"),
            _ => {}
        }
        self.out.push('\n');
        for id in &set.top {
            let (all, partly) = (set.is_active(*id, true), set.is_active(*id, false));
            let shown = if details.by_node { !all } else { partly || details.inactive };
            if shown && (all || !set.resource(*id).is(Flags::ORPHAN)) && !self.show.is_filtered(*id, true) {
                self.resource(*id, " ");
            }
        }
    }

    fn resource(&mut self, id: ResourceId, before: &str) {
        let resource = self.show.set.resource(id);
        let inside = format!("{before}    ");
        match &resource.variant {
            Variant::Primitive => self.primitive(id, before, true),
            Variant::Group => {
                self.line(&format!("{before}Resource Group: {}", resource.id));
                for member in &resource.children {
                    self.primitive(*member, &inside, true);
                }
            }
            Variant::Clone(_) => self.clone(id, before, &inside),
            // That release knew none.
            Variant::Bundle(bundle) => {
                self.line(&format!("{before}Container bundle: {} [{}]", resource.id, bundle.image));
                for replica in &bundle.replicas {
                    self.primitive(replica.child.unwrap_or(replica.container), &inside, true);
                }
            }
        }
    }

    /// `located`: it is not plain where it runs.
    fn primitive(&mut self, id: ResourceId, before: &str, located: bool) {
        let set = self.show.set;
        let resource = set.resource(id);
        if resource.meta.get("internal_rsc").and_then(|v| cib::parse_bool(v)) == Some(true) {
            return;
        }
        let provider = resource.provider.as_ref().map_or(String::new(), |p| format!("::{p}"));
        let mut line =
            format!("{before}{}\t({}{provider}:{}):\t", set.shown_id(id), resource.class, resource.kind);
        if resource.is(Flags::ORPHAN) {
            line.push_str(" ORPHANED ");
        }
        let role = old_role(resource.role);
        let pending = resource.pending.as_ref().filter(|_| self.show.details.pending);
        if resource.is(Flags::FAILED) {
            line.push_str("FAILED");
            if resource.role > Role::Unpromoted {
                let _ = write!(line, " {role}");
            }
        } else {
            let begun = pending.and_then(|p| match p.task.as_str() {
                "start" => Some("Starting"),
                "stop" => Some("Stopping"),
                "migrate_to" | "migrate_from" => Some("Migrating"),
                "promote" => Some("Promoting"),
                "demote" => Some("Demoting"),
                _ => None,
            });
            let state = begun.unwrap_or(role);
            let target = resource.meta.get("target-role").map(String::as_str);
            match target.and_then(Role::parse) {
                None | Some(Role::Started) => {}
                Some(wanted) => {
                    let limits = matches!(wanted, Role::Unpromoted | Role::Stopped);
                    if limits || !target.is_some_and(|t| t.eq_ignore_ascii_case(state)) {
                        let _ = write!(line, "(target-role:{}) ", old_role(wanted));
                    }
                }
            }
            line.push_str(state);
        }
        let several = resource.running_on.len() > 1;
        if let Some(node) = resource.running_on.first().filter(|_| located && !several) {
            let node = set.node(*node);
            let _ = write!(line, " {}", node.name);
            if !node.online && node.unclean {
                line.push_str(" (UNCLEAN)");
            }
        }
        if pending.is_some_and(|p| p.task == "monitor") {
            line.push_str(" (Monitoring)");
        }
        if !resource.is(Flags::MANAGED) {
            line.push_str(" (unmanaged)");
        }
        if resource.is(Flags::FAILURE_IGNORED) {
            line.push_str(" (failure ignored)");
        }
        if let Some(description) = resource.xml.get("description").filter(|_| several || !located) {
            let _ = write!(line, " {description}");
        }
        if several && located {
            let names: Vec<&str> = resource.running_on.iter().map(|n| set.node(*n).name.as_str()).collect();
            let _ = write!(line, "[ {} ]", names.join(" "));
        }
        self.line(&line);
    }

    fn clone(&mut self, id: ResourceId, before: &str, inside: &str) {
        let set = self.show.set;
        let resource = set.resource(id);
        let Variant::Clone(instances) = &resource.variant else { return };
        let promotable = resource.is(Flags::PROMOTABLE);
        let unique = resource.is(Flags::UNIQUE);
        let title = if promotable { "Master/Slave" } else { "Clone" };
        let name = resource.children.first().map_or("", |c| set.resource(*c).configured_id());
        let unmanaged = if resource.is(Flags::MANAGED) { "" } else { " (unmanaged)" };
        let different = if unique { " (unique)" } else { "" };
        self.line(&format!("{before}{title} Set: {} [{name}]{different}{unmanaged}", resource.id));
        let (mut promoted, mut started) = (Vec::new(), Vec::new());
        for child in &resource.children {
            let instance = set.resource(*child);
            let mut alone = self.show.details.detail;
            if !set.is_active(*child, false) {
                if instance.is(Flags::ORPHAN) {
                    continue;
                }
                alone |= unique;
            } else {
                let mut locations = Vec::new();
                set.locations(*child, false, &mut locations);
                let odd = unique
                    || set.any(*child, &|r| {
                        r.is(Flags::ORPHAN) || !r.is(Flags::MANAGED) || r.is(Flags::FAILED)
                    })
                    || self.show.details.pending && instance.pending.is_some()
                    || !set.is_active(*child, true);
                match locations[..] {
                    [node] if !odd && (set.node(node).online || !set.node(node).unclean) => {
                        if set.role_of(*child) > Role::Unpromoted {
                            promoted.push(node);
                        } else {
                            started.push(node);
                        }
                    }
                    _ => alone = true,
                }
            }
            if alone {
                self.resource(*child, inside);
            }
        }
        let active = promoted.len() + started.len();
        self.node_names(inside, "Masters", promoted);
        self.node_names(inside, if promotable { "Slaves" } else { "Started" }, started);
        if self.show.details.inactive && !unique && instances.max as usize > active {
            let allowed = resource.allowed.iter().enumerate().filter(|(_, score)| score.is_some());
            let mut nodes: Vec<NodeId> = allowed.map(|(at, _)| NodeId(at as u32)).collect();
            if nodes.is_empty() {
                nodes.extend(&resource.known_on);
            }
            nodes.retain(|node| !resource.running_on.contains(node));
            self.node_names(inside, "Stopped", nodes);
        }
    }

    fn node_names(&mut self, before: &str, title: &str, mut nodes: Vec<NodeId>) {
        if nodes.is_empty() {
            return;
        }
        let set = self.show.set;
        nodes.sort_by(|a, b| compare_names(&set.node(*a).name, &set.node(*b).name));
        let names: Vec<&str> = nodes.iter().map(|n| set.node(*n).name.as_str()).collect();
        self.line(&format!("{before}{title}: [ {} ]", names.join(" ")));
    }

    fn attributes(&mut self) {
        let set = self.show.set;
        self.title("Node Attributes");
        for id in &set.by_name {
            let node = set.node(*id);
            if !node.online || !self.show.nodes.has_node(&node.name) {
                continue;
            }
            let mut lines = format!("* Node {}:\n", set.label(*id, self.show.details.detail));
            for (name, value) in self.show.own_attributes(*id) {
                let expected = self.show.expected_connectivity(&node.running, *id, name);
                let remark = match expected.map(|expected| connectivity(value, expected)) {
                    Some(Connectivity::Lost) => "\t: Connectivity is lost".to_owned(),
                    Some(Connectivity::Degraded(all)) => {
                        format!("\t: Connectivity is degraded (Expected={all})")
                    }
                    _ => String::new(),
                };
                let _ = writeln!(lines, "    + {name:<32}\t: {value:<10}{remark}");
            }
            self.out += &lines;
        }
    }

    fn history(&mut self) {
        let set = self.show.set;
        let operations = self.show.sections.has(Sections::OPERATIONS);
        self.title(if operations { "Operations" } else { "Migration summary" });
        for (node, state) in self.show.states() {
            self.line(&format!("* Node {}: ", set.node(node).name));
            for (id, _, entry) in self.show.histories(state) {
                let failures = self.show.failures_of(id, node);
                let done = if operations { super::history::done(entry) } else { Vec::new() };
                if done.is_empty() && (operations || failures.count == 0) {
                    continue;
                }
                let threshold = set.resource(id).migration_threshold.get();
                let mut line = format!("   {}: migration-threshold={threshold}", set.shown_id(id));
                if failures.count > 0 {
                    let _ = write!(line, " fail-count={}", failures.count);
                }
                if let Some(at) = failures.last {
                    let _ = write!(line, " last-failure='{}'", (self.show.clock.ctime)(at));
                }
                self.line(&line);
                for one in done {
                    let mut line = format!("    + ({}) {}:", one.xml.get("call-id").unwrap_or("?"), one.task);
                    if let Some(interval) = one.interval.filter(|i| *i != "0") {
                        let _ = write!(line, " interval={interval}ms");
                    }
                    if self.show.details.timing {
                        line += &self.timing(one.xml);
                    }
                    self.line(&format!("{line} rc={} ({})", one.rc, old_status_text(one.rc)));
                }
            }
        }
    }

    fn timing(&self, entry: &cib::Element) -> String {
        let mut text = String::new();
        for name in ["last-rc-change", "last-run"] {
            if let Some(at) = entry.get(name).and_then(|v| v.trim().parse().ok()).filter(|at| *at > 0) {
                let _ = write!(text, " {name}='{}'", (self.show.clock.ctime)(at));
            }
        }
        for name in ["exec-time", "queue-time"] {
            if let Some(length) = entry.get(name) {
                let _ = write!(text, " {name}={length}ms");
            }
        }
        text
    }

    fn failures(&mut self) {
        let failed: Vec<Failure<'c>> = self.show.failed();
        if failed.is_empty() {
            return;
        }
        self.title("Failed actions");
        for Failure { xml, node, key, rc, status, .. } in failed {
            let get = |name: &str| xml.get(name).unwrap_or("(null)");
            let text = old_status_text(rc);
            let mut line = format!("    {key} on {node} '{text}' ({rc}): call={}, ", get("call-id"));
            let reason = xml.get("exit-reason");
            match epoch(xml) {
                Some(at) => {
                    let at = (self.show.clock.ctime)(at);
                    let (queued, ran) = (get("queue-time"), get("exec-time"));
                    let reason = reason.filter(|r| !r.is_empty()).unwrap_or("none");
                    line += &format!(
                        "status={status}, exit-reason='{reason}', last-rc-change='{at}', \
                         queued={queued}ms, exec={ran}ms"
                    );
                }
                None => line += &format!("status={status}, exitreason='{}'", reason.unwrap_or("unknown")),
            }
            self.line(&line);
        }
    }

    fn tickets(&mut self) {
        self.title("Tickets");
        for (id, ticket) in &self.show.set.tickets {
            let status = if ticket.granted { "granted" } else { "revoked" };
            let standby = if ticket.standby { " [standby]" } else { "" };
            let mut line = format!(" {id}\t{status}{standby:>10}");
            if let Some(at) = ticket.last_granted {
                let _ = write!(line, " last-granted='{}'", (self.show.clock.ctime)(at));
            }
            let _ = writeln!(self.out, "{line}");
        }
    }

    fn bans(&mut self) {
        self.title("Negative location constraints");
        for ban in self.show.banned() {
            let role = if ban.promoted { "as Master " } else { "" };
            let label = self.show.set.label(ban.node, self.show.details.detail);
            let line = format!(" {}\tprevents {} from running {role}on {label}", ban.id, ban.resource);
            let _ = writeln!(self.out, "{line}");
        }
    }
}

fn old_role(role: Role) -> &'static str {
    match role {
        Role::Promoted => "Master",
        Role::Unpromoted => "Slave",
        other => other.as_str(),
    }
}

fn old_status_text(code: i32) -> &'static str {
    match code {
        1 => "unknown error",
        8 => "master",
        9 => "master (failed)",
        other => exit_status_text(other),
    }
}
