//! What stands on top: stack, controller, dates, counts, options. And what stands by itself: tickets and bans.

use cib::Element;

use super::out::{Heading, Kind, Markup};
use super::{Sections, Show, plural};
use crate::model::{NoQuorumPolicy, Role};

impl Show<'_, '_> {
    /// Whether anything was shown.
    pub(super) fn summary(&mut self) -> bool {
        let mut begun = Heading::default();
        let wanted = self.sections;
        let title = "Cluster Summary";
        if wanted.has(Sections::STACK) {
            self.out.heading(&mut begun, false, title);
            self.stack();
        }
        if wanted.has(Sections::DC) {
            self.out.heading(&mut begun, false, title);
            self.controller();
        }
        if wanted.has(Sections::TIMES) {
            self.out.heading(&mut begun, false, title);
            self.times();
        }
        if wanted.has(Sections::COUNTS) {
            self.out.heading(&mut begun, false, title);
            self.counts();
        }
        if wanted.has(Sections::OPTIONS) {
            if self.kind() == Kind::Html {
                // A list of their own; without a summary nothing ends it, which puts all that follows inside.
                self.out.footer(begun);
                self.out.begin(Some("Config Options"));
            } else {
                self.out.heading(&mut begun, false, title);
            }
            self.options();
        }
        self.out.footer(begun);
        let idle = wanted.has(Sections::MAINT_MODE) && self.kind() == Kind::Text && self.idle();
        begun.0 || idle
    }

    fn stack(&mut self) {
        let pair = first_pair(self.set.document(), "cluster-infrastructure");
        let stack = pair.and_then(|p| p.get("value")).unwrap_or("unknown");
        match self.kind() {
            Kind::Xml => self.out.leaf(Markup::new("stack").with("type", stack)),
            _ => self.out.pieces(&[(Some("bold"), "Stack: "), (None, stack)]),
        }
    }

    fn controller(&mut self) {
        let set = self.set;
        let version = first_pair(set.document(), "dc-version").and_then(|p| p.get("value"));
        let quorum = set.document().get("have-quorum").and_then(cib::parse_bool) == Some(true);
        let mixed = self.is_mixed();
        let Some(dc) = set.dc else {
            match self.kind() {
                Kind::Xml => self.out.leaf(Markup::new("current_dc").with("present", "false")),
                _ => self.out.pieces(&[(Some("bold"), "Current DC: "), (Some("warning"), "NONE")]),
            }
            return;
        };
        if self.kind() == Kind::Xml {
            let node = set.node(dc);
            let element = Markup::new("current_dc")
                .with("present", "true")
                .with("version", version.unwrap_or_default())
                .with("name", &node.name)
                .with("id", &node.id)
                .with("with_quorum", word(quorum))
                .with("mixed_version", word(mixed));
            self.out.leaf(element);
            return;
        }
        let label = set.label(dc, self.details.detail);
        let version = version.unwrap_or("unknown");
        if self.kind() == Kind::Text {
            let mixed = if mixed { "MIXED-VERSION " } else { "" };
            let quorum = if quorum { "with" } else { "WITHOUT" };
            self.out
                .item(&format!("Current DC: {label} (version {version}) - {mixed}partition {quorum} quorum"));
            return;
        }
        let label = format!("{label} (version {version}) -");
        let mut pieces = vec![(Some("bold"), "Current DC: "), (None, label.as_str())];
        if mixed {
            pieces.push((Some("warning"), " MIXED-VERSION"));
        }
        pieces.push((None, " partition"));
        pieces.push(if quorum { (None, " with") } else { (Some("warning"), " WITHOUT") });
        pieces.push((None, " quorum"));
        self.out.pieces(&pieces);
    }

    /// Whether nodes run different releases.
    fn is_mixed(&self) -> bool {
        let mut releases = self.set.by_name.iter().filter_map(|id| self.feature_set(*id));
        let first = releases.next();
        releases.any(|release| Some(release) != first)
    }

    fn times(&mut self) {
        let root = self.set.document();
        let now = (self.clock.ctime)(self.clock.now);
        let get = |name: &str| root.get(name);
        let (written, user, client, origin) =
            (get("cib-last-written"), get("update-user"), get("update-client"), get("update-origin"));
        if self.kind() == Kind::Xml {
            self.out.leaf(Markup::new("last_update").with("time", &now));
            let change = Markup::new("last_change")
                .with("time", written.unwrap_or_default())
                .with("user", user.unwrap_or_default())
                .with("client", client.unwrap_or_default())
                .with("origin", origin.unwrap_or_default());
            self.out.leaf(change);
            return;
        }
        let mut change = written.unwrap_or_default().to_owned();
        for (word, value) in [("by", user), ("via", client), ("on", origin)] {
            if let Some(value) = value {
                change += &format!(" {word} {value}");
            }
        }
        self.out.pieces(&[(Some("bold"), "Last updated: "), (None, &now)]);
        // Text has one blank more.
        let title = if self.kind() == Kind::Text { "Last change:  " } else { "Last change: " };
        self.out.pieces(&[(Some("bold"), title), (None, &change)]);
    }

    fn counts(&mut self) {
        let nodes = self.set.by_name.len();
        let (all, disabled, blocked) = self.counts;
        if self.kind() == Kind::Xml {
            self.out.leaf(Markup::new("nodes_configured").with("number", &nodes.to_string()));
            let resources = Markup::new("resources_configured")
                .with("number", &all.to_string())
                .with("disabled", &disabled.to_string())
                .with("blocked", &blocked.to_string());
            self.out.leaf(resources);
            return;
        }
        self.out.pieces(&[(None, &format!("{nodes} node{} configured", plural(nodes)))]);
        let configured = format!("{all} resource instance{} configured", plural(all));
        let (first, second) = (format!("{configured} ({disabled} "), format!("{configured} ({blocked} "));
        let middle = format!(", {blocked} ");
        let end = " from further action due to failure)";
        let pieces: &[(Option<&str>, &str)] = match (disabled, blocked) {
            (0, 0) => &[(None, &configured)],
            (_, 0) => &[(None, &first), (Some("bold"), "DISABLED"), (None, ")")],
            (0, _) => &[(None, &second), (Some("bold"), "BLOCKED"), (None, end)],
            _ => &[
                (None, &first),
                (Some("bold"), "DISABLED"),
                (None, &middle),
                (Some("bold"), "BLOCKED"),
                (None, end),
            ],
        };
        self.out.pieces(pieces);
    }

    fn options(&mut self) {
        let options = &self.set.options;
        if self.kind() == Kind::Xml {
            let policy = match options.no_quorum_policy {
                NoQuorumPolicy::Stop => "stop",
                NoQuorumPolicy::Freeze => "freeze",
                NoQuorumPolicy::Ignore => "ignore",
                NoQuorumPolicy::Demote => "demote",
                NoQuorumPolicy::Suicide => "suicide",
            };
            let timeout = options.all.get("stonith-timeout").and_then(|v| cib::parse_duration_ms(v));
            let element = Markup::new("cluster_options")
                .with("stonith-enabled", word(options.fencing))
                .with("symmetric-cluster", word(options.symmetric))
                .with("no-quorum-policy", policy)
                .with("maintenance-mode", word(options.maintenance))
                .with("stop-all-resources", word(options.stop_all))
                .with("stonith-timeout-ms", &timeout.unwrap_or(60_000).to_string())
                .with(
                    "priority-fencing-delay-ms",
                    &options.priority_fencing_delay.saturating_mul(1_000).to_string(),
                );
            self.out.leaf(element);
            return;
        }
        let enabled = if options.fencing { "enabled" } else { "disabled" };
        self.out.item(&format!("STONITH of failed nodes {enabled}"));
        self.out.item(&format!("Cluster is {}", if options.symmetric { "symmetric" } else { "asymmetric" }));
        self.out.item(match options.no_quorum_policy {
            NoQuorumPolicy::Stop => "No quorum policy: Stop ALL resources",
            NoQuorumPolicy::Freeze => "No quorum policy: Freeze resources",
            NoQuorumPolicy::Ignore => "No quorum policy: Ignore",
            NoQuorumPolicy::Demote => {
                "No quorum policy: Demote promotable resources and stop all other resources"
            }
            NoQuorumPolicy::Suicide => "No quorum policy: Suicide",
        });
        if self.kind() == Kind::Html {
            let title = (None, "Resource management: ");
            if options.maintenance {
                let why = " (the cluster will not attempt to start, stop, or recover services)";
                self.out.pieces(&[title, (Some("bold"), "DISABLED"), (None, why)]);
            } else if options.stop_all {
                let why = " (the cluster will keep all resources stopped)";
                self.out.pieces(&[title, (Some("bold"), "STOPPED"), (None, why)]);
            } else {
                self.out.item("Resource management: enabled");
            }
        }
    }

    /// That nothing is done. Whether that is so.
    fn idle(&mut self) -> bool {
        let (text, idle) = idle(self.set.options.maintenance, self.set.options.stop_all);
        self.out.raw(text);
        idle
    }

    /// Whether there are any.
    pub(super) fn tickets(&mut self, spacer: bool) -> bool {
        if !self.sections.has(Sections::TICKETS) || self.set.tickets.is_empty() {
            return false;
        }
        self.out.spacer(spacer);
        self.out.begin(Some("Tickets"));
        let tickets = &self.set.tickets;
        for id in in_table_order(&tickets.keys().map(String::as_str).collect::<Vec<_>>()) {
            let ticket = &tickets[id];
            let status = if ticket.granted { "granted" } else { "revoked" };
            let standby = if ticket.standby { " [standby]" } else { "" };
            let since = ticket.last_granted.map(|at| (self.clock.ctime)(at));
            if self.kind() == Kind::Xml {
                let element = Markup::new("ticket")
                    .with("id", id)
                    .with("status", status)
                    .with("standby", word(ticket.standby))
                    .with_all(&[("last-granted", since.as_deref())]);
                self.out.leaf(element);
                continue;
            }
            let since = since.map_or(String::new(), |at| format!(" last-granted=\"{at}\""));
            let gap = if self.kind() == Kind::Html { "\t" } else { " " };
            self.out.item(&format!("{id}:{gap}{status}{standby}{since}"));
        }
        self.out.end();
        true
    }

    /// Whether there are any.
    pub(super) fn bans(&mut self, spacer: bool) -> bool {
        if !self.sections.has(Sections::BANS) {
            return false;
        }
        let mut begun = Heading::default();
        for ban in self.banned() {
            self.out.heading(&mut begun, spacer, "Negative Location Constraints");
            let Ban { id, resource, node, promoted, weight } = ban;
            if self.kind() == Kind::Xml {
                let element = Markup::new("ban")
                    .with("id", id)
                    .with("resource", resource)
                    .with("node", &self.set.node(node).name)
                    .with("weight", &weight.to_string())
                    .with("promoted-only", word(promoted))
                    .with("master_only", word(promoted));
                self.out.leaf(element);
                continue;
            }
            let role = if promoted { "in Promoted role " } else { "" };
            let label = self.set.label(node, self.details.detail);
            self.out.item(&format!("{id}\tprevents {resource} from running {role}on {label}"));
        }
        self.out.footer(begun);
        begun.0
    }
}

/// A node where a resource must not run.
pub(super) struct Ban<'a> {
    pub(super) id: &'a str,
    pub(super) resource: &'a str,
    pub(super) node: crate::model::NodeId,
    pub(super) promoted: bool,
    pub(super) weight: i32,
}

impl<'a> Show<'a, '_> {
    /// What was made last comes first.
    pub(super) fn banned(&self) -> Vec<Ban<'a>> {
        let set = self.set;
        let mut bans = Vec::new();
        for location in set.locations_by_constraint.iter().rev() {
            if self.ban_prefix.is_some_and(|prefix| !location.id.starts_with(prefix)) {
                continue;
            }
            let top = set.top_of(location.resource);
            if !self.resources.has(set.shown_id(location.resource)) && !self.resources.has(set.shown_id(top))
            {
                continue;
            }
            for (node, score) in &location.scores {
                if *score < cib::Score::ZERO {
                    bans.push(Ban {
                        id: &location.id,
                        resource: &set.resource(location.resource).id,
                        node: *node,
                        promoted: location.role == Role::Promoted,
                        weight: score.get(),
                    });
                }
            }
        }
        bans
    }
}

/// What is said where the cluster does nothing, and whether that is so.
pub(super) fn idle(maintenance: bool, stop_all: bool) -> (&'static str, bool) {
    if maintenance {
        let text = "\n              *** Resource management is DISABLED ***\n  \
                    The cluster will not attempt to start, stop or recover services\n";
        (text, true)
    } else if stop_all {
        let text = "\n    *** Resource management is DISABLED ***\n  \
                    The cluster will keep all resources stopped\n";
        (text, true)
    } else {
        ("", false)
    }
}

pub(super) fn word(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// The first pair of this name anywhere in the document.
pub(super) fn first_pair<'c>(root: &'c Element, name: &str) -> Option<&'c Element> {
    if root.name == "nvpair" && root.get("name") == Some(name) {
        return Some(root);
    }
    root.children.iter().find_map(|c| first_pair(c, name))
}

/// In the order in which GLib's hash table has them that the peer keeps them in: slots by the hash of a name, modulo a prime
/// near the size of the table, and onward in growing steps where one is taken. The table has eight slots for few names, and
/// grows when more than that are taken.
fn in_table_order<'n>(names: &[&'n str]) -> Vec<&'n str> {
    const PRIMES: [u32; 12] = [1, 2, 3, 7, 13, 31, 61, 127, 251, 509, 1021, 2039];
    let hash = |name: &str| {
        let next =
            |h: u32, b: u8| (h << 5).wrapping_add(h).wrapping_add((b.cast_signed() as i32).cast_unsigned());
        let hash = name.bytes().fold(5381u32, next);
        // The two smallest ones mean something else there.
        hash.max(2)
    };
    let place = |slots: &mut Vec<Option<&'n str>>, name: &'n str| {
        let shift = slots.len().ilog2() as usize;
        let mask = slots.len() - 1;
        // GLib multiplies before it divides, to spread neighbours.
        let mut at = (hash(name).wrapping_mul(11) % PRIMES[shift.min(PRIMES.len() - 1)]) as usize & mask;
        let mut step = 0;
        while slots[at].is_some() {
            step += 1;
            at = (at + step) & mask;
        }
        slots[at] = Some(name);
    };
    let mut slots: Vec<Option<&'n str>> = vec![None; 8];
    let mut count = 0;
    for name in names {
        place(&mut slots, name);
        count += 1;
        if slots.len() <= count + count / 16 && slots.len() < 2048 {
            let old =
                std::mem::replace(&mut slots, vec![None; (count * 4 / 3 + 1).next_power_of_two().max(8)]);
            for name in old.into_iter().flatten() {
                place(&mut slots, name);
            }
        }
    }
    slots.into_iter().flatten().collect()
}
