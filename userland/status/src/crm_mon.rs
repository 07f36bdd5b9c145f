//! The screen of `crm_mon` in the layout of Pacemaker 2.1, byte for byte: scripts read it.
//!
//! What the layout leaves to read between the lines: blanks and tabs inside resource lines are fixed; nodes in a
//! special state come first, one a line, the rest collected as `Online:` and `OFFLINE:`; a heading whose list is
//! empty is left out, except for resources and `Migration Summary:`.

use std::fmt::Write;

use crate::model::{
    ClusterStatus, FailCount, FailedAction, FenceRecord, FenceState, INFINITY, NodeStatus, ResourceStatus,
    Role,
};
use crate::ocf;
use crate::time::{Zone, ctime, interval, iso};

/// What is shown; as crm_mon's options of the same names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrmMonOptions {
    /// The line of the daemon's state that a live cluster has.
    pub live: bool,
    /// `-D`: no summary.
    pub hide_headers: bool,
    /// `-r`: stopped resources too.
    pub inactive: bool,
    /// `-n`: resources below their nodes.
    pub group_by_node: bool,
    /// `-A`: node attributes.
    pub node_attributes: bool,
    /// `-f`: fail counts.
    pub failcounts: bool,
    /// `-L[PREFIX]`: constraints of score −INFINITY whose id begins so.
    pub neg_locations: Option<String>,
    /// `-R`: node ids, long failure lines.
    pub show_detail: bool,
    /// `-m`: 0 nothing, 1 failures and pending, 2 successes too, 3 as 2 with all details.
    pub fence_history: u8,
}

impl Default for CrmMonOptions {
    fn default() -> Self {
        Self {
            live: true,
            hide_headers: false,
            inactive: false,
            group_by_node: false,
            node_attributes: false,
            failcounts: false,
            neg_locations: None,
            show_detail: false,
            fence_history: 1,
        }
    }
}

/// The screen.
///
/// ```
/// let screen = status::crm_mon(&Default::default(), &Default::default(), status::utc);
/// assert!(screen.contains("Current DC: NONE"));
/// ```
#[must_use]
pub fn crm_mon(status: &ClusterStatus, options: &CrmMonOptions, zone: Zone) -> String {
    let screen = Screen { status, options, zone };
    let mut out = String::new();
    if options.live {
        let now = iso(status.updated_unix_ms, zone);
        let _ = writeln!(out, "Status of pacemakerd: 'Pacemaker is running' (last updated {now})");
    }
    let resources = if options.group_by_node {
        if options.inactive { screen.inactive_resources() } else { Vec::new() }
    } else {
        screen.resources()
    };
    let resources_heading = match (options.group_by_node, options.inactive) {
        (true, _) => "Inactive Resources:",
        (false, true) => "Full List of Resources:",
        (false, false) => "Active Resources:",
    };
    let sections = [
        ("Cluster Summary:", if options.hide_headers { Vec::new() } else { screen.summary() }),
        ("", screen.maintenance()),
        ("Node List:", screen.nodes()),
        (resources_heading, resources),
        ("Node Attributes:", if options.node_attributes { screen.attributes() } else { Vec::new() }),
    ];
    let mut first = true;
    let mut section = |heading: &str, lines: Vec<String>, always: bool| {
        if lines.is_empty() && !always {
            return;
        }
        if !std::mem::take(&mut first) {
            out.push('\n');
        }
        for line in std::iter::once(heading).filter(|h| !h.is_empty()).chain(lines.iter().map(String::as_str))
        {
            out.push_str(line);
            out.push('\n');
        }
    };
    for (heading, lines) in sections {
        section(heading, lines, false);
    }
    if options.failcounts {
        section("Migration Summary:", screen.fail_counts(), true);
    }
    section("Failed Resource Actions:", screen.failed_actions(), false);
    let history = |state: &[FenceState]| screen.fencing(state);
    if options.fence_history >= 1 {
        section("Failed Fencing Actions:", history(&[FenceState::Failed]), false);
    }
    if options.fence_history >= 2 {
        section("Fencing History:", history(&[FenceState::Succeeded, FenceState::Pending]), false);
    } else if options.fence_history == 1 {
        section("Pending Fencing Actions:", history(&[FenceState::Pending]), false);
    }
    if let Some(prefix) = &options.neg_locations {
        section("Negative Location Constraints:", screen.bans(prefix), false);
    }
    out
}

/// `crm_mon -s`: one line for monitoring systems.
#[must_use]
pub fn crm_mon_simple(status: &ClusterStatus) -> String {
    let mut warnings = String::new();
    if status.dc.is_none() {
        warnings.push_str(" No DC");
    }
    let in_membership = |n: &&NodeStatus| n.online || n.pending;
    for node in status.nodes.iter().filter(|n| !in_membership(n)) {
        let _ = write!(warnings, " offline node: {}", node.name);
    }
    if !warnings.is_empty() {
        return format!("CLUSTER WARN:{warnings}\n");
    }
    let count = |f: fn(&NodeStatus) -> bool| status.nodes.iter().filter(|n| f(n)).count();
    let standby = count(|n| n.standby);
    let maintenance = count(|n| !n.standby && n.maintenance);
    let online = status.nodes.len() - standby - maintenance;
    let mut out = format!("CLUSTER OK: {online} node{} online, ", plural(online));
    if standby > 0 {
        let _ = write!(out, "{standby} standby node{}, ", plural(standby));
    }
    if maintenance > 0 {
        let _ = write!(out, "{maintenance} maintenance node{}, ", plural(maintenance));
    }
    let resources = status.resources.len();
    let _ = writeln!(out, "{resources} resource instance{} configured", plural(resources));
    out
}

struct Screen<'a> {
    status: &'a ClusterStatus,
    options: &'a CrmMonOptions,
    zone: Zone,
}

impl Screen<'_> {
    fn summary(&self) -> Vec<String> {
        let s = self.status;
        let dc = match &s.dc {
            None => "NONE".to_owned(),
            Some(name) => {
                let quorum = if s.quorum.quorate { "with" } else { "WITHOUT" };
                format!("{} (version {}) - partition {quorum} quorum", self.label(name), s.dc_version)
            }
        };
        let change = s.cib.last_change.as_ref().map_or_else(String::new, |c| {
            let mut text = ctime(c.unix_ms, self.zone);
            for (word, value) in [("by", &c.user), ("via", &c.client), ("on", &c.origin)] {
                if !value.is_empty() {
                    let _ = write!(text, " {word} {value}");
                }
            }
            text
        });
        let (nodes, resources) = (s.nodes.len(), s.resources.len());
        let mut remarks = Vec::new();
        let disabled = s.resources.iter().filter(|r| r.disabled).count();
        let blocked = s.resources.iter().filter(|r| r.blocked).count();
        if disabled > 0 {
            remarks.push(format!("{disabled} DISABLED"));
        }
        if blocked > 0 {
            remarks.push(format!("{blocked} BLOCKED from further action due to failure"));
        }
        let remarks = if remarks.is_empty() { String::new() } else { format!(" ({})", remarks.join(", ")) };
        vec![
            "  * Stack: corosync".to_owned(),
            format!("  * Current DC: {dc}"),
            format!("  * Last updated: {}", ctime(s.updated_unix_ms, self.zone)),
            format!("  * Last change:  {change}"),
            format!("  * {nodes} node{} configured", plural(nodes)),
            format!("  * {resources} resource instance{} configured{remarks}", plural(resources)),
        ]
    }

    fn maintenance(&self) -> Vec<String> {
        if !self.status.cib.maintenance_mode {
            return Vec::new();
        }
        vec![
            "              *** Resource management is DISABLED ***".to_owned(),
            "  The cluster will not attempt to start, stop or recover services".to_owned(),
        ]
    }

    fn nodes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        if self.options.group_by_node {
            for node in &self.status.nodes {
                lines.push(format!("  * Node {}: {}:", self.label(&node.name), self.node_state(node)));
                lines.push("    * Resources:".to_owned());
                let here = |r: &&ResourceStatus| r.nodes.contains(&node.name);
                // Where a resource runs is clear from the heading, and in what group does not matter here.
                lines.extend(self.status.resources.iter().filter(here).map(|r| self.resource(r, 6, false)));
            }
            return lines;
        }
        let (mut online, mut offline) = (Vec::new(), Vec::new());
        for node in &self.status.nodes {
            match self.node_state(node) {
                "online" if !self.options.show_detail => online.push(node.name.as_str()),
                "OFFLINE" if !self.options.show_detail => offline.push(node.name.as_str()),
                state => lines.push(format!("  * Node {}: {state}", self.label(&node.name))),
            }
        }
        if !online.is_empty() {
            lines.push(format!("  * Online: [ {} ]", online.join(" ")));
        }
        if !offline.is_empty() {
            lines.push(format!("  * OFFLINE: [ {} ]", offline.join(" ")));
        }
        lines
    }

    fn node_state(&self, node: &NodeStatus) -> &'static str {
        let active = || self.status.resources.iter().any(|r| r.nodes.contains(&node.name));
        match node {
            NodeStatus { unclean: true, online: true, .. } => "UNCLEAN (online)",
            NodeStatus { unclean: true, pending: true, .. } => "UNCLEAN (pending)",
            NodeStatus { unclean: true, .. } => "UNCLEAN (offline)",
            NodeStatus { pending: true, .. } => "pending",
            NodeStatus { standby: true, online: true, .. } if active() => "standby (with active resources)",
            NodeStatus { standby: true, online: true, .. } => "standby",
            NodeStatus { standby: true, .. } => "OFFLINE (standby)",
            NodeStatus { maintenance: true, online: true, .. } => "maintenance",
            NodeStatus { maintenance: true, .. } => "OFFLINE (maintenance)",
            NodeStatus { online: true, .. } => "online",
            _ => "OFFLINE",
        }
    }

    /// Resources and groups, as `-r` asks.
    fn resources(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for members in self.groups() {
            let shown: Vec<_> =
                members.iter().filter(|r| self.options.inactive || active(r)).copied().collect();
            self.one_group(&members, &shown, &mut lines);
        }
        if lines.is_empty() {
            lines.push(
                if self.options.inactive { "  * No resources" } else { "  * No active resources" }.to_owned(),
            );
        }
        lines
    }

    /// Groups and resources that are not wholly active.
    fn inactive_resources(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for members in self.groups().into_iter().filter(|m| !m.iter().all(active)) {
            self.one_group(&members, &members, &mut lines);
        }
        if lines.is_empty() {
            lines.push("  * No inactive resources".to_owned());
        }
        lines
    }

    fn one_group(&self, all: &[&ResourceStatus], shown: &[&ResourceStatus], lines: &mut Vec<String>) {
        let Some(first) = shown.first() else { return };
        let Some(group) = &first.group else {
            lines.push(self.resource(first, 2, true));
            return;
        };
        let mut flags = Vec::new();
        let hidden = all.len() - shown.len();
        if hidden > 0 {
            flags.push(format!("{hidden} member{} inactive", plural(hidden)));
        }
        if all.iter().all(|r| r.disabled) {
            flags.push("disabled".to_owned());
        }
        if all.iter().all(|r| !r.managed) {
            flags.push("unmanaged".to_owned());
        }
        let flags = if flags.is_empty() { String::new() } else { format!(" ({})", flags.join(", ")) };
        lines.push(format!("  * Resource Group: {group}{flags}:"));
        lines.extend(shown.iter().map(|r| self.resource(r, 4, true)));
    }

    /// Runs of neighbours of the same group; a resource without a group stands alone.
    fn groups(&self) -> Vec<Vec<&ResourceStatus>> {
        let same = |a: &ResourceStatus, b: &ResourceStatus| a.group.is_some() && a.group == b.group;
        self.status.resources.chunk_by(same).map(|c| c.iter().collect()).collect()
    }

    fn resource(&self, r: &ResourceStatus, indent: usize, with_node: bool) -> String {
        let role = match r.role {
            Role::Starting => "Starting",
            Role::Stopping => "Stopping",
            Role::Started => "Started",
            Role::Promoted => "Promoted",
            Role::Unpromoted => "Unpromoted",
            Role::Stopped | Role::Unknown => "Stopped",
        };
        let state = match (r.failed, r.role) {
            (true, Role::Promoted | Role::Unpromoted) => format!("FAILED {role}"),
            (true, _) => "FAILED".to_owned(),
            (false, _) => role.to_owned(),
        };
        let place = match r.nodes.as_slice() {
            [] => String::new(),
            _ if !with_node => String::new(),
            [one] => format!(" {one}"),
            many => format!(" [ {} ]", many.join(" ")),
        };
        let mut flags = Vec::new();
        let unclean = |name: &String| {
            self.status.nodes.iter().any(|n| &n.name == name && n.unclean && !n.online && !n.pending)
        };
        if with_node && matches!(r.nodes.as_slice(), [one] if unclean(one)) {
            flags.push("UNCLEAN");
        }
        if r.disabled {
            flags.push("disabled");
        }
        if r.blocked {
            flags.push("blocked");
        } else if !r.managed {
            flags.push("unmanaged");
        }
        let flags = if flags.is_empty() { String::new() } else { format!(" ({})", flags.join(", ")) };
        let orphaned = if r.orphaned { " ORPHANED" } else { "" };
        format!("{:indent$}* {}\t({}):\t{orphaned} {state}{place}{flags}", "", r.id, r.agent)
    }

    fn attributes(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for node in self.status.nodes.iter().filter(|n| n.online && !n.attributes.is_empty()) {
            lines.push(format!("  * Node: {}:", self.label(&node.name)));
            lines.extend(node.attributes.iter().map(|(k, v)| format!("    * {k:<32}\t: {v:<10}")));
        }
        lines
    }

    fn fail_counts(&self) -> Vec<String> {
        let mut lines = Vec::new();
        for node in self.status.nodes.iter().filter(|n| n.online) {
            let failures: Vec<String> = self
                .status
                .resources
                .iter()
                .flat_map(|r| r.fail_counts.iter().map(move |f| (r, f)))
                .filter(|(_, f)| f.node == node.name && f.count > 0)
                .map(|(r, f)| self.fail_count(r, f))
                .collect();
            if !failures.is_empty() {
                lines.push(format!("  * Node: {}:", self.label(&node.name)));
                lines.extend(failures);
            }
        }
        lines
    }

    fn fail_count(&self, r: &ResourceStatus, f: &FailCount) -> String {
        let threshold = if f.migration_threshold == 0 { INFINITY } else { f.migration_threshold };
        let last = match f.last_failure_unix_ms {
            0 => String::new(),
            at => format!(" last-failure='{}'", ctime(at, self.zone)),
        };
        format!("    * {}: migration-threshold={threshold} fail-count={}{last}", r.id, f.count.min(INFINITY))
    }

    fn failed_actions(&self) -> Vec<String> {
        let line = |f| format!("  * {}", if self.options.show_detail { self.long(f) } else { self.short(f) });
        self.status.failed.iter().map(line).collect()
    }

    fn short(&self, f: &FailedAction) -> String {
        let op = &f.operation;
        let name = if op.operation == "monitor" && op.interval_ms == 0 { "probe" } else { &op.operation };
        let every = match op.interval_ms {
            0 => String::new(),
            ms => format!("{}-interval ", interval(ms)),
        };
        let mut line = format!("{} {every}{name} on {}", f.resource, op.node);
        if op.status == "complete" {
            let _ = write!(line, " returned '{}'", ocf::text(op.rc));
            if !op.exit_reason.is_empty() {
                let _ = write!(line, " ({})", op.exit_reason);
            }
        } else {
            let reason =
                if op.exit_reason.is_empty() { String::new() } else { format!(": {}", op.exit_reason) };
            let _ = write!(line, " could not be executed ({}{reason})", op.status);
        }
        if op.last_rc_change_unix_ms > 0 {
            let _ = write!(line, " at {}", ctime(op.last_rc_change_unix_ms, self.zone));
        }
        if op.exec_ms > 0 {
            let _ = write!(line, " after {}", interval(op.exec_ms));
        }
        line
    }

    fn long(&self, f: &FailedAction) -> String {
        let op = &f.operation;
        let (rc, text, call) = (op.rc, ocf::text(op.rc), op.call);
        let mut line = format!(
            "{}_{}_{} on {} '{text}' ({rc}): call={call}, status='{}'",
            f.resource, op.operation, op.interval_ms, op.node, op.status
        );
        if !op.exit_reason.is_empty() {
            let _ = write!(line, ", exitreason='{}'", op.exit_reason);
        }
        if op.last_rc_change_unix_ms > 0 {
            let _ = write!(
                line,
                ", last-rc-change='{}', queued={}ms, exec={}ms",
                ctime(op.last_rc_change_unix_ms, self.zone),
                op.queued_ms,
                op.exec_ms
            );
        }
        line
    }

    fn fencing(&self, wanted: &[FenceState]) -> Vec<String> {
        let all = self.options.fence_history >= 3;
        let mut seen = Vec::new();
        let mut lines = Vec::new();
        for f in self.status.fencing.iter().filter(|f| wanted.contains(&f.state)) {
            // Below level 3 only the last of its kind is shown for each target and action.
            let kind = (&f.target, &f.action, f.state);
            if all || f.state == FenceState::Pending || !seen.contains(&kind) {
                lines.push(format!("  * {}", self.fence(f, all)));
            }
            seen.push(kind);
        }
        lines
    }

    fn fence(&self, f: &FenceRecord, full_history: bool) -> String {
        let action = match f.action.as_str() {
            "on" => "unfencing",
            "off" => "turning off",
            "reboot" => "reboot",
            other => other,
        };
        let state = match f.state {
            FenceState::Pending => "pending",
            FenceState::Succeeded => "successful",
            FenceState::Failed => "failed",
        };
        let ended = f.state != FenceState::Pending;
        let mut line = format!("{action} of {}", f.target);
        if !self.options.show_detail {
            if ended && !f.executor.is_empty() {
                let _ = write!(line, " by {}", f.executor);
            }
            let _ = write!(line, " for {}@{}", f.client, f.origin);
            if ended && !full_history {
                line.push_str(" last");
            }
        }
        let _ = write!(line, " {state}");
        if f.state == FenceState::Failed && !f.error.is_empty() {
            let _ = write!(line, " ({})", f.error);
        }
        let completed = (ended && f.completed_unix_ms > 0).then(|| iso(f.completed_unix_ms, self.zone));
        if self.options.show_detail {
            line.push_str(": ");
            if ended && !f.executor.is_empty() {
                let _ = write!(line, "delegate={}, ", f.executor);
            }
            let _ = write!(line, "client={}, origin={}", f.client, f.origin);
            if let Some(at) = completed {
                let word = match (full_history, f.state) {
                    (true, _) => "completed",
                    (false, FenceState::Failed) => "last-failed",
                    (false, _) => "last-successful",
                };
                let _ = write!(line, ", {word}='{at}'");
            }
        } else if let Some(at) = completed {
            let _ = write!(line, " at {at}");
        }
        line
    }

    fn bans(&self, prefix: &str) -> Vec<String> {
        let wanted = self.status.bans.iter().filter(|b| b.id.starts_with(prefix));
        wanted
            .map(|b| format!("  * {}\tprevents {} from running on {}", b.id, b.resource, self.label(&b.node)))
            .collect()
    }

    /// The node's name, with its id where details are wanted.
    fn label(&self, name: &str) -> String {
        let id = self.status.nodes.iter().find(|n| n.name == name).map(|n| n.id);
        match id {
            Some(id) if self.options.show_detail => format!("{name} ({id})"),
            _ => name.to_owned(),
        }
    }
}

fn active(r: &&ResourceStatus) -> bool {
    !r.nodes.is_empty()
}

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}
