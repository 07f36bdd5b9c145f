//! Documents to decide by. What begins as XML is taken as it is; anything else is a recipe that a document with the right words in the
//! right places is made by: bytes alone would hardly ever get past the parser.

use cib::{Element, Moment};
use scheduler::WorkingSet;
use scheduler::transition::Graph;

/// Reads a document, upgrades it, places everything, makes the graph, and carries it out. A graph that was written reads the same.
pub fn scheduler(data: &[u8]) {
    let Some(root) = root(data) else { return };
    let root = cib::upgrade(root).root;
    let Ok(mut set) = WorkingSet::new(&root, Moment(1_700_000_000)) else { return };
    let _ = scheduler::current_status(&set, false);
    set.place();
    set.schedule();
    let graph = set.graph();
    let _ = scheduler::transition_summary(&mut set);
    let _ = set.dot(true);
    let written = graph.to_xml();
    let again = Graph::parse(&written, "again.xml");
    assert_eq!(again.map(|g| g.to_xml()).as_deref(), Ok(written.as_str()), "written again, it is the same");
    let _ = scheduler::simulate::carry_out(&graph, &set, &[], Moment(1_700_000_000));
}

/// Finds everything that is wrong with a document. One that can be worked on can be when it is looked at again.
pub fn validate(data: &[u8]) {
    let Some(root) = root(data) else { return };
    let found = cib::validate(root);
    for finding in &found.findings {
        assert!(!finding.to_string().is_empty() && !finding.remedy.is_empty(), "{finding:?} names no remedy");
    }
    if found.usable {
        assert!(cib::validate(found.root).usable, "looked at again, it can be worked on");
    }
}

/// The document that stands there as text, or that a recipe makes.
fn root(data: &[u8]) -> Option<Element> {
    if data.first() != Some(&b'<') {
        return Some(document(data));
    }
    Element::parse(std::str::from_utf8(data).ok()?, "fuzz.xml").ok()
}

/// A document by a recipe.
#[must_use]
pub fn document(recipe: &[u8]) -> Element {
    let mut rest = Recipe(recipe);
    let mut configuration = Element::new("configuration");
    let mut options = Element::new("cluster_property_set").with("id", "o");
    for _ in 0..rest.below(4) {
        options.children.push(rest.pair(&OPTIONS));
    }
    configuration.children.push(within("crm_config", vec![options]));
    let nodes = 1 + rest.below(4);
    let named = |n: usize| Element::new("node").with("id", &n.to_string()).with("uname", &format!("n{n}"));
    let mut list: Vec<Element> = (1..=nodes).map(named).collect();
    for node in &mut list {
        if rest.below(4) == 0 {
            node.children.push(rest.block("instance_attributes", &NODE_ATTRIBUTES));
        }
    }
    configuration.children.push(within("nodes", list));
    let mut resources = Vec::new();
    for _ in 0..1 + rest.below(6) {
        resources.push(rest.resource(0));
    }
    configuration.children.push(within("resources", resources));
    let mut constraints = Vec::new();
    for _ in 0..rest.below(8) {
        constraints.push(rest.constraint());
    }
    configuration.children.push(within("constraints", constraints));
    let mut tag = Element::new("tag").with("id", "t");
    for _ in 0..rest.below(3) {
        tag.children.push(Element::new("obj_ref").with("id", rest.one(&IDS)));
    }
    configuration.children.push(within("tags", vec![tag]));
    for defaults in ["rsc_defaults", "op_defaults"] {
        if rest.below(4) == 0 {
            let block = rest.block("meta_attributes", &METAS);
            configuration.children.push(within(defaults, vec![block]));
        }
    }
    let mut states = Vec::new();
    for n in 1..=nodes {
        states.push(rest.state(n));
    }
    for _ in 0..rest.below(2) {
        let granted = rest.one(&["true", "false"]);
        let ticket = Element::new("ticket_state").with("id", "tick").with("granted", granted);
        states.push(within("tickets", vec![ticket]));
    }
    let schema = rest.one(&["pacemaker-3.7", "pacemaker-2.5", "pacemaker-1.2"]);
    let root = Element::new("cib").with("validate-with", schema).with("have-quorum", rest.one(&["1", "0"]));
    Element { children: vec![configuration, within("status", states)].into(), ..root.with("dc-uuid", "1") }
}

fn within(name: &str, children: Vec<Element>) -> Element {
    Element { children: children.into(), ..Element::new(name) }
}

/// What is left of the bytes; behind their end come noughts.
struct Recipe<'a>(&'a [u8]);

impl Recipe<'_> {
    fn below(&mut self, n: usize) -> usize {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(*first) % n
    }

    fn one(&mut self, words: &[&'static str]) -> &'static str {
        words[self.below(words.len())]
    }

    fn pair(&mut self, names: &[&'static str]) -> Element {
        let (name, value) = (self.one(names), self.one(&VALUES));
        Element::new("nvpair").with("id", "p").with("name", name).with("value", value)
    }

    fn block(&mut self, kind: &str, names: &[&'static str]) -> Element {
        let mut block = Element::new(kind).with("id", "b");
        if self.below(4) == 0 {
            block.children.push(self.rule(0));
        }
        for _ in 0..self.below(4) {
            block.children.push(self.pair(names));
        }
        block
    }

    fn rule(&mut self, depth: usize) -> Element {
        let mut rule = Element::new("rule").with("id", "r");
        rule = rule.with(self.one(&["score", "score-attribute"]), self.one(&VALUES));
        rule = rule.with("role", self.one(&ROLES)).with("boolean-op", self.one(&["and", "or"]));
        for _ in 0..self.below(3) {
            let child = match self.below(4) {
                0 if depth < 3 => self.rule(depth + 1),
                1 => Element::new("date_expression")
                    .with("operation", self.one(&["gt", "lt", "in_range", "date_spec"]))
                    .with("start", self.one(&["2023-11-14", "9999-12-31T23:59:59Z", "x"]))
                    .with("end", self.one(&["2024-01-01", "0000-00-00", "-1"])),
                _ => Element::new("expression")
                    .with("attribute", self.one(&NODE_ATTRIBUTES))
                    .with("operation", self.one(&["eq", "ne", "lt", "gte", "defined", "not_defined"]))
                    .with("value", self.one(&VALUES))
                    .with("type", self.one(&["string", "integer", "number", "version"])),
            };
            rule.children.push(child);
        }
        rule
    }

    fn resource(&mut self, depth: usize) -> Element {
        let id = self.one(&IDS);
        let kind = self.below(8);
        let mut resource = match kind {
            0 | 1 if depth < 2 => {
                let mut group = Element::new("group").with("id", id);
                for _ in 0..self.below(4) {
                    group.children.push(self.resource(2));
                }
                group
            }
            2 | 3 if depth < 1 => {
                let clone = Element::new(self.one(&["clone", "master"])).with("id", id);
                Element { children: vec![self.resource(1)].into(), ..clone }
            }
            4 if depth < 1 => self.bundle(id),
            _ => self.primitive(id),
        };
        if self.below(2) == 0 {
            resource.children.push(self.block("meta_attributes", &METAS));
        }
        resource
    }

    fn primitive(&mut self, id: &str) -> Element {
        let (class, provider, kind) = match self.below(6) {
            0 => ("ocf", "pacemaker", "remote"),
            1 => ("stonith", "", "fence_x"),
            2 => ("systemd", "", "x"),
            _ => ("ocf", "pacemaker", "Stateful"),
        };
        let mut primitive = Element::new("primitive").with("id", id).with("class", class);
        if !provider.is_empty() {
            primitive = primitive.with("provider", provider);
        }
        primitive = primitive.with("type", kind);
        let mut operations = Element::new("operations");
        for _ in 0..self.below(3) {
            let op = Element::new("op").with("id", "op").with("name", self.one(&TASKS));
            let op = op.with("interval", self.one(&["0", "10s", "11s", "-1", "x"]));
            let op = op.with("on-fail", self.one(&ON_FAIL)).with("role", self.one(&ROLES));
            operations.children.push(op.with("timeout", self.one(&VALUES)));
        }
        primitive.children.push(operations);
        if self.below(4) == 0 {
            primitive.children.push(self.block("utilization", &["cpu", "ram"]));
        }
        primitive
    }

    fn bundle(&mut self, id: &str) -> Element {
        let docker = Element::new("docker").with("image", "i").with("replicas", self.one(&VALUES));
        let docker = docker.with("replicas-per-host", self.one(&["1", "2", "0"]));
        let network = Element::new("network").with("ip-range-start", self.one(&["10.0.0.1", "x", ""]));
        let mut bundle = Element::new("bundle").with("id", id);
        bundle.children = vec![docker, network.with("control-port", "3121")].into();
        if self.below(2) == 0 {
            let inside = self.one(&IDS);
            bundle.children.push(self.primitive(inside));
        }
        bundle
    }

    fn constraint(&mut self) -> Element {
        let (a, b) = (self.one(&IDS), self.one(&IDS));
        let score = self.one(&VALUES);
        let mut made = match self.below(6) {
            0 => Element::new("rsc_location").with("rsc", a).with("node", "n1").with("score", score),
            1 => {
                let location =
                    Element::new("rsc_location").with("rsc-pattern", "^(.)").with("role", self.one(&ROLES));
                Element { children: vec![self.rule(0)].into(), ..location }
            }
            2 => Element::new("rsc_colocation")
                .with("rsc", a)
                .with("with-rsc", b)
                .with("score", score)
                .with("rsc-role", self.one(&ROLES))
                .with("with-rsc-role", self.one(&ROLES)),
            3 => Element::new("rsc_order")
                .with("first", a)
                .with("then", b)
                .with("kind", self.one(&["Mandatory", "Optional", "Serialize"]))
                .with("first-action", self.one(&TASKS))
                .with("then-action", self.one(&TASKS)),
            4 => Element::new("rsc_ticket")
                .with("rsc", a)
                .with("ticket", "tick")
                .with("loss-policy", self.one(&ON_FAIL)),
            _ => {
                let kind = self.one(&["rsc_colocation", "rsc_order", "rsc_ticket", "rsc_location"]);
                let mut sets =
                    Element::new(kind).with("score", score).with("ticket", "tick").with("node", "n1");
                for _ in 0..1 + self.below(3) {
                    let set = Element::new("resource_set")
                        .with("id", "s")
                        .with("sequential", self.one(&["true", "false"]));
                    let mut set =
                        set.with("role", self.one(&ROLES)).with("require-all", self.one(&["true", "false"]));
                    for _ in 0..self.below(4) {
                        set.children.push(Element::new("resource_ref").with("id", self.one(&IDS)));
                    }
                    sets.children.push(set);
                }
                sets
            }
        };
        made.attributes.insert("id", "c");
        made
    }

    fn state(&mut self, n: usize) -> Element {
        let id = n.to_string();
        let yes = |this: &mut Self| this.one(&["true", "true", "true", "false"]);
        let mut state = Element::new("node_state").with("id", &id).with("uname", &format!("n{n}"));
        state = state.with("in_ccm", yes(self)).with("crmd", self.one(&["online", "online", "offline"]));
        state =
            state.with("join", self.one(&["member", "member", "down", "banned"])).with("expected", "member");
        if self.below(3) == 0 {
            let block = self.block("instance_attributes", &NODE_ATTRIBUTES);
            state.children.push(within("transient_attributes", vec![block]));
        }
        let mut history = Vec::new();
        for _ in 0..self.below(6) {
            let resource = self.one(&IDS);
            let mut entry = Element::new("lrm_resource").with("id", resource).with("class", "ocf");
            entry = entry.with("provider", "pacemaker").with("type", "Stateful");
            for call in 0..self.below(4) {
                let task = self.one(&TASKS);
                let op = Element::new("lrm_rsc_op")
                    .with("id", &format!("{resource}_{call}"))
                    .with("operation", task);
                let op =
                    op.with("call-id", &call.to_string()).with("interval", self.one(&["0", "10000", "-1"]));
                let op = op
                    .with("rc-code", self.one(&RC))
                    .with("op-status", self.one(&["0", "4", "-1", "2", "9"]));
                let op = op.with("last-rc-change", self.one(&VALUES)).with("on_node", "n1");
                let op = op.with("transition-key", self.one(&["1:1:0:x", "1:1:7:x", "", "a:b:c"]));
                entry.children.push(op.with("migrate_source", "n1").with("migrate_target", "n2"));
            }
            history.push(entry);
        }
        let list = within("lrm_resources", history);
        state.children.push(Element { children: vec![list].into(), ..Element::new("lrm").with("id", &id) });
        state
    }
}

const IDS: [&str; 10] = ["a", "b", "c", "g", "h", "m", "a:0", "c:1", "t", "n2"];
const ROLES: [&str; 6] = ["Started", "Stopped", "Promoted", "Unpromoted", "Master", "x"];
const TASKS: [&str; 8] =
    ["monitor", "start", "stop", "promote", "demote", "migrate_to", "migrate_from", "notify"];
const RC: [&str; 8] = ["0", "7", "8", "1", "5", "9", "190", "x"];
const ON_FAIL: [&str; 8] = ["restart", "fence", "block", "ignore", "stop", "standby", "demote", "migrate"];
const VALUES: [&str; 20] = [
    "1",
    "0",
    "true",
    "false",
    "INFINITY",
    "-INFINITY",
    "100",
    "-7",
    "",
    "9223372036854775807",
    "1700000000",
    "3",
    "Stopped",
    "Promoted",
    "fencing",
    "unfencing",
    "a",
    "n2",
    "balanced",
    "2s",
];
const OPTIONS: [&str; 14] = [
    "stonith-enabled",
    "symmetric-cluster",
    "no-quorum-policy",
    "maintenance-mode",
    "placement-strategy",
    "shutdown-lock",
    "stop-all-resources",
    "enable-startup-probes",
    "node-health-strategy",
    "concurrent-fencing",
    "have-watchdog",
    "stop-orphan-resources",
    "default-resource-stickiness",
    "priority-fencing-delay",
];
const NODE_ATTRIBUTES: [&str; 12] = [
    "standby",
    "maintenance",
    "shutdown",
    "terminate",
    "fail-count-a",
    "last-failure-a",
    "fail-count-c#monitor_10000",
    "master-a",
    "#health-x",
    "#kind",
    "site",
    "resource-discovery-enabled",
];
const METAS: [&str; 24] = [
    "target-role",
    "is-managed",
    "maintenance",
    "clone-max",
    "clone-node-max",
    "globally-unique",
    "interleave",
    "ordered",
    "notify",
    "promotable",
    "promoted-max",
    "promoted-node-max",
    "migration-threshold",
    "failure-timeout",
    "resource-stickiness",
    "multiple-active",
    "requires",
    "allow-migrate",
    "container",
    "remote-node",
    "priority",
    "critical",
    "clone-min",
    "isolation",
];
