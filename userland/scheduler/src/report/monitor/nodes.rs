//! Nodes: what they are like, what runs on them, and their attributes.

use cib::Score;

use super::Show;
use super::out::{Heading, Kind, Markup};
use super::summary::word;
use crate::model::{NodeId, NodeKind, ResourceId, WorkingSet};

/// Attributes whose names begin so are the cluster's own.
const HIDDEN: [&str; 6] = ["fail-count", "last-failure", "shutdown", "terminate", "standby", "#"];

impl WorkingSet<'_> {
    /// How a node is, in words.
    pub(crate) fn mode(&self, id: NodeId) -> &'static str {
        let node = self.node(id);
        if node.unclean {
            match (node.online, node.pending) {
                (true, _) => "UNCLEAN (online)",
                (false, true) => "UNCLEAN (pending)",
                (false, false) => "UNCLEAN (offline)",
            }
        } else if node.pending {
            "pending"
        } else if node.standby_on_fail && node.online {
            "standby (on-fail)"
        } else if node.standby {
            match (node.online, node.running.is_empty()) {
                (true, true) => "standby",
                (true, false) => "standby (with active resources)",
                (false, _) => "OFFLINE (standby)",
            }
        } else if node.maintenance {
            if node.online { "maintenance" } else { "OFFLINE (maintenance)" }
        } else if node.online {
            "online"
        } else {
            "OFFLINE"
        }
    }

    /// Whether nothing special is to be said of a node, bad health included.
    pub(crate) fn is_plain(&self, id: NodeId) -> bool {
        let node = self.node(id);
        !(node.unclean
            || node.pending
            || (node.standby_on_fail && node.online)
            || node.standby
            || node.maintenance
            || self.health(id) != Health::Green)
    }

    /// The worst of a node's health attributes.
    pub(crate) fn health(&self, id: NodeId) -> Health {
        let strategy = self.options.all.get("node-health-strategy").map_or("none", String::as_str);
        if strategy == "none" {
            return Health::Green;
        }
        let score = |colour: &str| self.options.health_score(colour);
        let (red, yellow, green) = (score("red"), score("yellow"), score("green"));
        let mut worst = Health::Green;
        for (_, value) in self.node(id).attributes.iter().filter(|(name, _)| name.starts_with("#health")) {
            let health = match value.to_ascii_lowercase().as_str() {
                "red" => Health::Red,
                "yellow" => Health::Yellow,
                "green" => Health::Green,
                value => match Score::parse(value).unwrap_or_default() {
                    score if score <= red && red < Score::ZERO => Health::Red,
                    score if score <= yellow && yellow != green => Health::Yellow,
                    score if score < Score::ZERO && red == Score::ZERO => Health::Red,
                    _ => Health::Green,
                },
            };
            worst = worst.max(health);
        }
        worst
    }
}

/// A node's health.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Health {
    Green,
    Yellow,
    Red,
}

impl Health {
    fn remark(self) -> Option<&'static str> {
        match self {
            Self::Green => None,
            Self::Yellow => Some(" (health is YELLOW)"),
            Self::Red => Some(" (health is RED)"),
        }
    }
}

impl Show<'_, '_> {
    /// The release that a node of the cluster proper runs. It says so itself since 3.15.1.
    pub(super) fn feature_set(&self, id: NodeId) -> Option<&str> {
        let node = self.set.node(id);
        if !node.online || node.kind == NodeKind::Remote {
            return None;
        }
        Some(node.attributes.get("#feature-set").map_or("<3.15.1", String::as_str))
    }

    /// Whether anything was shown.
    pub(super) fn node_list(&mut self, spacer: bool) -> bool {
        let set = self.set;
        if self.kind() == Kind::Xml {
            self.out.begin(Some("nodes"));
        }
        let mut begun = Heading::default();
        let mut lists: [(&str, Vec<String>); 5] =
            ["Online", "OFFLINE", "RemoteOnline", "RemoteOFFLINE", "GuestOnline"].map(|t| (t, Vec::new()));
        for id in &set.by_name {
            let node = set.node(*id);
            if !self.nodes.has_node(&node.name) {
                continue;
            }
            if self.kind() == Kind::Xml {
                self.node_xml(*id);
                continue;
            }
            self.out.heading(&mut begun, spacer, "Node List");
            if self.kind() == Kind::Html {
                self.node_html(*id);
            } else if self.details.by_node || self.details.detail || !set.is_plain(*id) {
                self.node_text(*id);
            } else {
                let place = match (set.is_guest(*id), node.kind == NodeKind::Remote, node.online) {
                    (true, _, true) => 4,
                    (true, _, false) => continue,
                    (false, true, online) => 2 + usize::from(!online),
                    (false, false, online) => usize::from(!online),
                };
                lists[place].1.push(set.label(*id, self.details.detail));
            }
        }
        for (title, names) in lists {
            if !names.is_empty() {
                self.out.named(title, &format!("[ {} ]", names.join(" ")));
            }
        }
        if self.kind() == Kind::Xml {
            self.out.end();
        }
        self.out.footer(begun);
        begun.0
    }

    /// What runs on a node, in the order in which that was found.
    fn running(&self, id: NodeId) -> Vec<ResourceId> {
        self.set.node(id).running.clone()
    }

    fn node_text(&mut self, id: NodeId) {
        let set = self.set;
        let kind = match (set.is_guest(id), set.node(id).kind) {
            (true, _) => "GuestNode",
            (false, NodeKind::Remote) => "RemoteNode",
            _ => "Node",
        };
        let mut line = format!("{kind} {}: {}", set.label(id, self.details.detail), set.mode(id));
        line.push_str(set.health(id).remark().unwrap_or_default());
        if let Some(release) = self.feature_set(id).filter(|_| self.details.detail) {
            line += &format!(", feature set {release}");
        }
        if !self.details.by_node {
            self.out.item(&line);
            return;
        }
        let running = self.running(id);
        if self.details.brief {
            let running = self.filtered(&running);
            if !running.is_empty() {
                self.out.begin(Some(&line));
                self.out.begin(Some("Resources"));
                self.brief_of_node(&running);
                self.out.end();
                self.out.end();
            }
            return;
        }
        self.out.begin(Some(&line));
        self.out.begin(Some("Resources"));
        self.without_nodes(&running);
        self.out.end();
        self.out.end();
    }

    /// Resources where it is plain where they run.
    fn without_nodes(&mut self, running: &[ResourceId]) {
        let before = std::mem::replace(&mut self.resource_only, true);
        for resource in running {
            self.resource(*resource);
        }
        self.resource_only = before;
    }

    fn brief_of_node(&mut self, running: &[ResourceId]) {
        let before = (self.resource_only, self.details.inactive);
        (self.resource_only, self.details.inactive) = (true, false);
        self.brief(running);
        (self.resource_only, self.details.inactive) = before;
    }

    fn node_html(&mut self, id: NodeId) {
        let label = self.set.label(id, self.details.detail);
        if !self.details.by_node {
            self.out.open(Markup::new("li"));
            self.out.span(Some("bold"), &format!("{label}:"));
            self.node_state_html(id);
            self.out.close();
            return;
        }
        self.out.begin(Some(&format!("{label}:")));
        self.out.open(Markup::new("li"));
        self.out.span(None, "Status:");
        self.node_state_html(id);
        let mut running = self.running(id);
        if self.details.brief {
            running = self.filtered(&running);
        }
        if !running.is_empty() {
            self.out.begin(Some("Resources"));
            if self.details.brief {
                self.brief_of_node(&running);
            } else {
                self.without_nodes(&running);
            }
            self.out.end();
        }
        self.out.close();
        self.out.end();
    }

    fn node_state_html(&mut self, id: NodeId) {
        let node = self.set.node(id);
        let runs = !node.running.is_empty();
        let (class, text) = if node.online { ("online", " online") } else { ("offline", " OFFLINE") };
        self.out.span(Some(class), text);
        let standby = match (node.standby_on_fail, node.standby, runs) {
            (true, _, true) => Some(" (in standby due to on-fail, with active resources)"),
            (true, _, false) => Some(" (in standby due to on-fail)"),
            (false, true, true) => Some(" (in standby, with active resources)"),
            (false, true, false) => Some(" (in standby)"),
            (false, false, _) => None,
        };
        if let Some(standby) = standby {
            self.out.span(Some("standby"), standby);
        }
        if node.maintenance {
            self.out.span(Some("maint"), " (in maintenance mode)");
        }
        let health = self.set.health(id);
        if let Some(remark) = health.remark() {
            let class = if health == Health::Red { "health_red" } else { "health_yellow" };
            self.out.span(Some(class), remark);
        }
        if let Some(release) = self.feature_set(id).filter(|_| self.details.detail) {
            let text = format!(", feature set {release}");
            self.out.span(None, &text);
        }
    }

    fn node_xml(&mut self, id: NodeId) {
        let set = self.set;
        let node = set.node(id);
        let health = match set.health(id) {
            Health::Green => "green",
            Health::Yellow => "yellow",
            Health::Red => "red",
        };
        let kind = match node.kind {
            NodeKind::Member => "member",
            NodeKind::Remote => "remote",
            NodeKind::Ping => "ping",
        };
        let running = node.running.len().to_string();
        let container = node.connection.filter(|_| set.is_guest(id)).and_then(|c| set.resource(c).container);
        let element = Markup::new("node")
            .with("name", &node.name)
            .with("id", &node.id)
            .with("online", word(node.online))
            .with("standby", word(node.standby))
            .with("standby_onfail", word(node.standby_on_fail))
            .with("maintenance", word(node.maintenance))
            .with("pending", word(node.pending))
            .with("unclean", word(node.unclean))
            .with("health", health)
            .with_all(&[("feature_set", self.feature_set(id))])
            .with("shutdown", word(node.shutdown))
            .with("expected_up", word(node.expected_up))
            .with("is_dc", word(set.dc == Some(id)))
            .with("resources_running", &running)
            .with("type", kind)
            .with_all(&[("id_as_resource", container.map(|c| set.resource(c).id.as_str()))]);
        self.out.open(element);
        if self.details.by_node {
            self.without_nodes(&self.running(id));
        }
        self.out.close();
    }

    /// The beginning of a list about a node.
    pub(super) fn node_heading(&mut self, id: NodeId) {
        match self.kind() {
            Kind::Xml => self.out.open(Markup::new("node").with("name", &self.set.node(id).name)),
            kind => {
                let title = if kind == Kind::Text { "Node: " } else { "" };
                let colon = if kind == Kind::Html { ":" } else { "" };
                let label = self.set.label(id, self.details.detail);
                self.out.begin(Some(&format!("{title}{label}{colon}")));
            }
        }
    }

    /// Names and values of a node's own attributes.
    pub(super) fn own_attributes(&self, id: NodeId) -> Vec<(&str, &str)> {
        let all = self.set.node(id).attributes.iter().map(|(n, v)| (n.as_str(), v.as_str()));
        let mut own: Vec<_> = all.filter(|(name, _)| !HIDDEN.iter().any(|h| name.starts_with(h))).collect();
        own.sort_unstable();
        own
    }

    /// Whether anything was shown.
    pub(super) fn attributes(&mut self, spacer: bool) -> bool {
        let set = self.set;
        let mut begun = Heading::default();
        for id in &set.by_name {
            let node = set.node(*id);
            if !node.online || !self.nodes.has_node(&node.name) {
                continue;
            }
            let own: Vec<(String, String)> =
                self.own_attributes(*id).iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            if own.is_empty() {
                continue;
            }
            self.out.heading(&mut begun, spacer, "Node Attributes");
            self.node_heading(*id);
            for (name, value) in &own {
                self.attribute(*id, name, value);
            }
            match self.kind() {
                Kind::Xml => self.out.close(),
                _ => self.out.end(),
            }
        }
        self.out.footer(begun);
        begun.0
    }

    fn attribute(&mut self, id: NodeId, name: &str, value: &str) {
        let expected = self.expected_connectivity(&self.set.node(id).running, id, name);
        let lost = expected.map(|expected| connectivity(value, expected));
        match self.kind() {
            Kind::Xml => {
                let expected = expected.map(|e| e.to_string());
                let element = Markup::new("attribute")
                    .with("name", name)
                    .with("value", value)
                    .with_all(&[("expected", expected.as_deref())]);
                self.out.leaf(element);
            }
            Kind::Text => {
                let remark = match lost {
                    Some(Connectivity::Lost) => "\t: Connectivity is lost".to_owned(),
                    Some(Connectivity::Degraded(expected)) => {
                        format!("\t: Connectivity is degraded (Expected={expected})")
                    }
                    _ => String::new(),
                };
                self.out.item(&format!("{name:<32}\t: {value:<10}{remark}"));
            }
            Kind::Html => {
                let text = format!("{name}: {value}");
                match lost {
                    None => self.out.item(&text),
                    Some(Connectivity::Full) => self.out.pieces(&[(None, &text)]),
                    Some(Connectivity::Lost) => {
                        self.out.pieces(&[(None, &text), (Some("bold"), "(connectivity is lost)")]);
                    }
                    Some(Connectivity::Degraded(expected)) => {
                        // The peer forgets to close it.
                        let remark = format!("(connectivity is degraded -- expected {expected}");
                        self.out.pieces(&[(None, &text), (Some("bold"), &remark)]);
                    }
                }
            }
        }
    }

    /// What an attribute is where every host can be reached, if one of these resources sets it by reaching hosts.
    pub(super) fn expected_connectivity(
        &self,
        resources: &[ResourceId],
        node: NodeId,
        attribute: &str,
    ) -> Option<i64> {
        let set = self.set;
        for id in resources {
            let resource = set.resource(*id);
            if let Some(inside) = self.expected_connectivity(&resource.children, node, attribute) {
                return Some(inside);
            }
            if !resource.meta.get("type").is_some_and(|t| t == "ping" || t == "pingd") {
                continue;
            }
            let parameters = set.parameters(*id, Some(&set.node(node).attributes));
            let name = parameters.get("name").map_or("pingd", String::as_str);
            if name.eq_ignore_ascii_case(attribute) {
                let hosts = parameters.get("host_list").map_or(0, |h| match h.as_str() {
                    "" => 0,
                    hosts => hosts.split(' ').count(),
                });
                let hosts = i64::try_from(hosts).unwrap_or(i64::MAX);
                let each = parameters.get("multiplier").and_then(|m| m.trim().parse::<i64>().ok());
                return Some(hosts.saturating_mul(each.unwrap_or(1)));
            }
        }
        None
    }
}

/// How much of what should be reached is.
pub(super) enum Connectivity {
    Full,
    Degraded(i64),
    Lost,
}

pub(super) fn connectivity(value: &str, expected: i64) -> Connectivity {
    // What is no number reaches nobody.
    let value = lenient_number(value);
    if value <= 0 {
        Connectivity::Lost
    } else if value < expected {
        Connectivity::Degraded(expected)
    } else {
        Connectivity::Full
    }
}

/// The number that a text begins with.
fn lenient_number(text: &str) -> i64 {
    let text = text.trim_start();
    let sign = usize::from(text.starts_with(['+', '-']));
    let end = text[sign..].bytes().position(|b| !b.is_ascii_digit()).map_or(text.len(), |at| at + sign);
    text[..end].parse().unwrap_or(0)
}
