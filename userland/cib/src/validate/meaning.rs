//! What the parts of a document say of each other, and what the scheduler makes of their values: it goes on without what it cannot
//! use, which an operator should know before the cluster does so.

use std::collections::{BTreeMap, BTreeSet};
use std::time::UNIX_EPOCH;

use crate::condition::{Attributes, Facts};
use crate::date::Moment;
use crate::nvpairs::{Ids, Precedence, collect};
use crate::tree::Element;
use crate::values::{Score, parse_bool, parse_duration_ms};

use super::{Finding, Path, Severity};

/// Checks a document whose grammar is right.
pub(super) fn check(root: &Element) -> Vec<Finding> {
    let mut checker = Checker::new(root);
    checker.element(root);
    checker.found
}

struct Checker<'c> {
    path: Path<'c>,
    found: Vec<Finding>,
    by_id: BTreeMap<&'c str, &'c Element>,
    nodes: BTreeSet<&'c str>,
    tags: BTreeMap<&'c str, &'c Element>,
    /// Cluster options. The block that counts first comes first.
    options: BTreeMap<&'c str, &'c str>,
    /// Resources with a fail count.
    failed: BTreeSet<&'c str>,
    /// What is looked at is a promotable clone or bundle, or inside of one.
    promotable: bool,
    /// Tags whose members were judged, so that each is once.
    judged: BTreeSet<&'c str>,
    /// Where values that many resources get stand, with what they were judged for, so that each is said once.
    inherited: BTreeSet<(u32, u32, bool)>,
    ids: Ids<'c>,
    /// Some resource asks for unfencing: others then do so too unless they say otherwise.
    unfencing: bool,
    /// When dates in rules are judged.
    now: Moment,
}

impl<'c> Checker<'c> {
    fn new(root: &'c Element) -> Self {
        let mut checker = Self {
            path: Path::default(),
            found: Vec::new(),
            by_id: BTreeMap::new(),
            nodes: BTreeSet::new(),
            tags: BTreeMap::new(),
            options: BTreeMap::new(),
            failed: BTreeSet::new(),
            promotable: false,
            judged: BTreeSet::new(),
            inherited: BTreeSet::new(),
            ids: Ids::of(root),
            unfencing: false,
            now: Moment(UNIX_EPOCH.elapsed().map_or(0, |since| since.as_secs().cast_signed())),
        };
        root.walk(&mut |e| {
            checker.unfencing |= e.name == "meta_attributes"
                && e.children_named("nvpair").any(|p| {
                    matches!(p.get("name"), Some("provides" | "requires"))
                        && p.get("value") == Some("unfencing")
                });
        });
        for status in root.children_named("status") {
            status.walk(&mut |e| {
                let count = e.get("name").and_then(|name| name.strip_prefix("fail-count-"));
                checker.failed.extend(count.map(|rest| rest.split_once('#').map_or(rest, |(id, _)| id)));
            });
        }
        let Some(configuration) = root.child("configuration") else { return checker };
        let section = |name: &'static str| {
            configuration.children.iter().filter(move |c| c.name == name).flat_map(|c| &c.children)
        };
        for name in ["crm_config", "resources"] {
            for block in section(name) {
                block.walk(&mut |e| {
                    if let Some(id) = e.id() {
                        checker.by_id.insert(id, e);
                    }
                });
            }
        }
        checker.nodes.extend(section("nodes").filter_map(|n| n.get("uname")));
        checker.tags.extend(section("tags").filter_map(|t| Some((t.id()?, t))));
        let blocks: Vec<_> = section("crm_config").collect();
        let (first, rest): (Vec<_>, Vec<_>) =
            blocks.into_iter().partition(|b| b.id() == Some("cib-bootstrap-options"));
        for pair in first.into_iter().chain(rest).flat_map(|b| &b.children) {
            if let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) {
                checker.options.entry(name).or_insert(value);
            }
        }
        checker
    }

    fn say(&mut self, severity: Severity, what: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(self.path.finding(severity, what, remedy));
    }

    fn fencing(&self) -> bool {
        self.options.get("stonith-enabled").and_then(|v| parse_bool(v)).unwrap_or(true)
    }

    fn element(&mut self, element: &'c Element) {
        self.path.0.push(element);
        let outside = self.promotable;
        if matches!(element.name.as_str(), "clone" | "master" | "bundle") {
            self.promotable = self.is_promotable(element);
        }
        match element.name.as_str() {
            "cluster_property_set" => element.children.iter().for_each(|pair| self.option(pair)),
            "resources" => self.fencing_devices(element),
            "primitive" => self.primitive(element),
            "clone" | "master" => self.clone(element),
            "group" => self.group(element),
            "bundle" => self.bundle(element),
            "utilization" => element.children.iter().for_each(|pair| self.utilization(pair)),
            "rsc_location" => self.location(element),
            "rsc_colocation" => self.colocation(element),
            "rsc_order" => self.order(element),
            "rsc_ticket" => self.ticket(element),
            "resource_ref" => self.resource(element.id()),
            "tag" => self.tag(element),
            "fencing-level" => self.level(element),
            _ => {}
        }
        // The status is not the administrator's.
        for child in element.children.iter().filter(|c| c.name != "status") {
            self.element(child);
        }
        self.promotable = outside;
        self.path.0.pop();
    }

    fn option(&mut self, pair: &'c Element) {
        let (Some(name), Some(value)) = (pair.get("name"), pair.get("value")) else { return };
        let Some((_, kind)) = OPTIONS.iter().find(|(known, _)| *known == name) else { return };
        if value == DEFAULT {
            return;
        }
        let right = match kind {
            Is::Boolean => parse_bool(value).is_some(),
            Is::Number => is_number(value),
            Is::Time => parse_duration_ms(value).is_some() || is_number(value),
            Is::OneOf(words) => words.iter().any(|w| w.eq_ignore_ascii_case(value)),
        };
        self.path.0.push(pair);
        if !right {
            let wanted = match kind {
                Is::Boolean => "true or false".to_owned(),
                Is::Number => "a whole number, INFINITY or -INFINITY".to_owned(),
                Is::Time => "a length of time, e.g. 60s or 5min".to_owned(),
                Is::OneOf(words) => format!("one of {}", words.join(", ")),
            };
            self.say(
                Severity::Error,
                format!("{name}=\"{}\" is not possible: the option's default is used", value.escape_debug()),
                format!("write {wanted}"),
            );
        } else if name == "stonith-action" && value.eq_ignore_ascii_case("poweroff") {
            self.say(Severity::Warning, "stonith-action poweroff is deprecated", "write off");
        } else if name == "remove-after-stop" && parse_bool(value) == Some(true) {
            self.say(Severity::Warning, "remove-after-stop is deprecated", "remove it");
        }
        self.path.0.pop();
    }

    fn fencing_devices(&mut self, resources: &'c Element) {
        let watchdog = self.options.get("have-watchdog").and_then(|v| parse_bool(v)).unwrap_or(false);
        if !self.fencing() || watchdog {
            return;
        }
        let mut has_one = false;
        resources.walk(&mut |e| {
            let class = e.get("class").or_else(|| self.by_id.get(e.get("template")?)?.get("class"));
            has_one |= e.name == "primitive" && class == Some("stonith");
        });
        if !has_one {
            self.say(
                Severity::Error,
                "Resource start-up disabled since no STONITH resources have been defined",
                "define some, or set the option stonith-enabled to false; clusters with shared data need fencing",
            );
        }
    }

    fn primitive(&mut self, primitive: &'c Element) {
        if let Some(named) = primitive.get("template") {
            if Some(named) == primitive.id() {
                self.say(Severity::Error, "the resource names itself as its template", "name a <template>");
            } else if self.by_id.get(named).is_none_or(|e| e.name != "template") {
                self.say(
                    Severity::Error,
                    format!("\"{named}\" is no template: the resource is ignored"),
                    "name a <template>, or write class, provider and type",
                );
            }
        }
        let template = primitive.get("template").and_then(|named| self.by_id.get(named)).copied();
        self.meta(primitive, self.promotable);
        let operations = |e: &'c Element| {
            e.children_named("operations").flat_map(|list| self.operations_of(list)).collect::<Vec<_>>()
        };
        let own = operations(primitive);
        // The resource's own operations stand in for those of its template with the same name and interval.
        let mut seen: BTreeMap<(&str, u64), &Element> = BTreeMap::new();
        for op in own {
            self.path.0.push(op);
            self.operation(op, &mut seen);
            self.path.0.pop();
        }
        let inherited =
            template.into_iter().flat_map(|t| t.children_named("operations")).flat_map(|l| &l.children);
        let replaced: BTreeSet<_> =
            primitive.children_named("operations").flat_map(|l| &l.children).map(key).collect();
        for op in inherited.filter(|op| !replaced.contains(&key(op))) {
            self.path.0.push(op);
            self.operation(op, &mut seen);
            self.path.0.pop();
        }
        self.failure_timeout(primitive);
        let repeated = |e: &&Element| matches!(e.name.as_str(), "clone" | "master" | "bundle");
        if meta_value(primitive, "remote-node") == Some("") && !self.path.0.iter().any(repeated) {
            self.say(
                Severity::Error,
                "the guest has no name: it is ignored",
                "write a name, or remove the meta attribute remote-node",
            );
        }
    }

    /// What blocks on failure does not forget it.
    fn failure_timeout(&mut self, primitive: &'c Element) {
        let blocks = primitive
            .children_named("operations")
            .flat_map(|l| self.operations_of(l))
            .any(|op| op.get("on-fail") == Some("block"));
        if blocks
            && meta_value(primitive, "failure-timeout").and_then(parse_duration_ms).is_some_and(|t| t > 0)
        {
            // As the scheduler does, which looks once something has failed.
            let failed = primitive.id().is_some_and(|id| self.failed.contains(id));
            self.say(
                if failed { Severity::Warning } else { Severity::Note },
                "failure-timeout is ignored: it conflicts with on-fail block",
                "remove failure-timeout, or on-fail=\"block\" of the operation",
            );
        }
    }

    /// Those of the list, or of the list that it names.
    fn operations_of(&self, list: &'c Element) -> impl Iterator<Item = &'c Element> {
        let named = list.get("id-ref").and_then(|id| self.by_id.get(id)).copied();
        named.unwrap_or(list).children.iter()
    }

    fn operation(&mut self, op: &'c Element, seen: &mut BTreeMap<(&'c str, u64), &'c Element>) {
        let (name, interval) = key(op);
        let on_fail = op.get("on-fail");
        if interval > 0 {
            if matches!(
                name,
                "start" | "stop" | "promote" | "demote" | "reload" | "migrate_to" | "migrate_from"
            ) {
                self.say(
                    Severity::Error,
                    format!("{name} cannot recur: the operation is ignored"),
                    "write interval=\"0\"",
                );
            } else if let Some(first) = seen.insert((name, interval), op) {
                self.say(
                    Severity::Error,
                    format!(
                        "duplicate of \"{}\" of line {}: both are {name} every {interval} ms",
                        first.id().unwrap_or_default(),
                        first.position.line
                    ),
                    "give one another interval; roles need intervals of their own, too",
                );
            }
        }
        // The scheduler says so of what it schedules: only there is it wrong.
        if name == "stop" && on_fail.is_some_and(|v| matches!(v, "standby" | "demote" | "stop")) {
            self.say(
                Severity::Note,
                format!(
                    "on-fail {} is not allowed for stop: the default is used",
                    on_fail.unwrap_or_default()
                ),
                "write fence, block or ignore",
            );
        }
        let promoted = op.get("role").is_some_and(|r| matches!(r, "Promoted" | "Master"));
        if on_fail == Some("demote")
            && name != "promote"
            && name != "stop"
            && !(name == "monitor" && interval > 0 && promoted)
        {
            self.say(
                Severity::Note,
                format!("on-fail demote is not allowed for {name}: the default is used"),
                "use it with promote, and with recurring monitors of role Promoted",
            );
        }
        if on_fail == Some("fence") && !self.fencing() {
            self.say(
                Severity::Note,
                "on-fail fence without fencing makes no sense: the resource is stopped",
                "set the option stonith-enabled to true, or write another on-fail",
            );
        }
    }

    /// Meta attributes that are the same for every kind of resource, as they count: with those of its template, of what it stands
    /// in and of the defaults, rules judged.
    fn meta(&mut self, resource: &'c Element, promotable: bool) {
        let template = resource.get("template").and_then(|named| self.by_id.get(named)).copied();
        let described = template.unwrap_or(resource);
        let agent = described.get("class").zip(described.get("type"));
        let agent = agent.map(|(class, kind)| (class, described.get("provider"), kind));
        let facts = Facts { now: Some(self.now), agent, ..Facts::default() };
        let sources = self.sources(resource, template);
        let mut values = Attributes::new();
        for way in &sources {
            if let Some(source) = way.last() {
                let (ids, first) = (&self.ids, Precedence::First);
                collect(ids, source, "meta_attributes", &facts, None, first, &mut values);
            }
        }
        for (name, value) in &values {
            let Some(way) = sources.iter().find_map(|way| self.way_to(way, name, value)) else { continue };
            let own = way.iter().any(|e| std::ptr::eq(*e, resource));
            let place = way.last().map(|pair| pair.position).unwrap_or_default();
            if own || self.inherited.insert((place.line, place.column, promotable)) {
                let here = std::mem::replace(&mut self.path.0, way);
                self.meta_attribute(name, value, promotable);
                self.path.0 = here;
            }
        }
        let class = agent.map(|(class, ..)| class);
        let is_connection = agent == Some(("ocf", Some("pacemaker"), "remote"));
        let by_default = !values.contains_key("requires") && class != Some("stonith") && !is_connection;
        if self.unfencing && by_default && !self.fencing() {
            self.say(
                Severity::Warning,
                "the resource requires unfencing, as another one asks for it, but fencing is disabled",
                "set the option stonith-enabled to true, or set the meta attribute requires to quorum",
            );
        }
    }

    /// What gives a resource its meta attributes, the first that counts first, each with all that it stands in.
    fn sources(&self, resource: &'c Element, template: Option<&'c Element>) -> Vec<Vec<&'c Element>> {
        let here = &self.path.0;
        let mut sources = vec![here.clone()];
        if let (Some(template), Some(top)) = (template, here.get(..3)) {
            sources.push([top, &[template]].concat());
        }
        for (depth, outer) in here.iter().enumerate().rev() {
            let holds = matches!(outer.name.as_str(), "group" | "clone" | "master" | "bundle");
            if holds && !std::ptr::eq(*outer, resource) {
                sources.push(here[..=depth].to_vec());
            }
        }
        if let Some(top) = here.get(..2) {
            let defaults = top[1].children_named("rsc_defaults");
            sources.extend(defaults.map(|defaults| [top, &[defaults]].concat()));
        }
        sources
    }

    /// Where a value of these meta attributes stands.
    fn way_to(&self, way: &[&'c Element], name: &str, value: &str) -> Option<Vec<&'c Element>> {
        way.last()?.children_named("meta_attributes").filter_map(|b| self.ids.resolve(b)).find_map(|block| {
            let is_it = |p: &&Element| {
                self.ids.resolve(p).is_some_and(|of| {
                    p.get("name").or(of.get("name")) == Some(name)
                        && p.get("value").or(of.get("value")) == Some(value)
                })
            };
            let pair = block.children_named("nvpair").find(is_it)?;
            Some([way, &[block, pair]].concat())
        })
    }

    fn meta_attribute(&mut self, name: &str, value: &str, promotable: bool) {
        match name {
            _ if value == DEFAULT => {}
            "target-role" => {
                let Some(role) = ROLES.iter().find(|role| role.eq_ignore_ascii_case(value)) else {
                    self.say(
                        Severity::Error,
                        format!("target-role \"{}\" is not possible, and ignored", value.escape_debug()),
                        format!("write one of {}", ROLES[..4].join(", ")),
                    );
                    return;
                };
                if !promotable && !matches!(*role, "Stopped" | "Started") {
                    self.say(
                        Severity::Error,
                        format!("target-role {role} only makes sense for promotable clones, and is ignored"),
                        "write Started or Stopped, or set promotable of the clone to true",
                    );
                }
            }
            "requires" => {
                let known = ["nothing", "quorum", "fencing", "unfencing"];
                if !known.contains(&value.to_ascii_lowercase().as_str()) {
                    self.say(
                        Severity::Error,
                        format!("requires \"{}\" is not possible, and ignored", value.escape_debug()),
                        format!("write one of {}", known.join(", ")),
                    );
                } else if value.to_ascii_lowercase().ends_with("fencing") && !self.fencing() {
                    self.say(
                        Severity::Warning,
                        format!("the resource requires {value}, but fencing is disabled"),
                        "set the option stonith-enabled to true, or write quorum",
                    );
                }
            }
            "multiple-active" => {
                let known = ["stop_start", "stop_only", "block", "stop_unexpected"];
                if !known.contains(&value.to_ascii_lowercase().as_str()) {
                    self.say(
                        Severity::Warning,
                        format!(
                            "multiple-active \"{}\" is not possible: stop_start is used",
                            value.escape_debug()
                        ),
                        format!("write one of {}", known.join(", ")),
                    );
                }
            }
            "migration-threshold" if Score::parse(value).is_some_and(|score| score < Score::ZERO) => {
                self.say(
                    Severity::Warning,
                    "migration-threshold cannot be negative: 1 is used",
                    "write a whole number from 0, or INFINITY",
                );
            }
            "container" if !self.by_id.contains_key(value) => {
                self.say(
                    Severity::Error,
                    format!("the container \"{}\" does not exist", value.escape_debug()),
                    "name a resource, or remove the meta attribute container",
                );
            }
            "restart-type" if value.eq_ignore_ascii_case("restart") => {
                self.say(
                    Severity::Warning,
                    "restart-type is deprecated",
                    "use an ordering with kind Optional",
                );
            }
            _ => {}
        }
    }

    fn is_promotable(&self, element: &Element) -> bool {
        let container =
            |name: &str| element.child(name).and_then(|c| c.get("promoted-max").or(c.get("masters")));
        element.name == "master"
            || meta_value(element, "promotable").and_then(parse_bool) == Some(true)
            || ["docker", "podman", "rkt"].iter().any(|c| container(c).is_some_and(|n| n.trim() != "0"))
    }

    fn clone(&mut self, clone: &'c Element) {
        self.meta(clone, self.promotable);
        if meta_value(clone, "globally-unique").and_then(parse_bool) == Some(true) {
            let mut other = None;
            clone.walk(&mut |e| {
                let class = e.get("class").or_else(|| self.by_id.get(e.get("template")?)?.get("class"));
                if e.name == "primitive" && class.is_some_and(|c| c != "ocf" && c != "stonith") {
                    other = class;
                }
            });
            if let Some(class) = other {
                self.say(
                    Severity::Warning,
                    format!("globally-unique is ignored: instances of class {class} cannot be told from each other"),
                    "remove globally-unique, or use an agent of class ocf",
                );
            }
        }
    }

    fn group(&mut self, group: &'c Element) {
        self.meta(group, self.promotable);
        for name in ["ordered", "collocated"] {
            if meta_value(group, name).and_then(parse_bool) == Some(false) {
                self.say(
                    Severity::Warning,
                    format!("{name}=\"false\" of a group is deprecated"),
                    "use constraints with a resource_set instead of the group",
                );
            }
        }
    }

    fn bundle(&mut self, bundle: &'c Element) {
        self.meta(bundle, self.promotable);
        let network = bundle.child("network");
        let reachable =
            network.is_some_and(|n| n.get("ip-range-start").is_some() || n.get("control-port").is_some());
        if bundle.child("primitive").is_some() && !reachable {
            self.say(
                Severity::Error,
                "what runs inside cannot be controlled: the bundle is ignored",
                "add <network> with ip-range-start or control-port",
            );
        }
    }

    fn utilization(&mut self, pair: &'c Element) {
        let Some(value) = pair.get("value").filter(|v| v.trim().parse::<i64>().is_err()) else { return };
        let counts =
            self.options.get("placement-strategy").is_some_and(|s| !s.eq_ignore_ascii_case("default"));
        self.path.0.push(pair);
        self.say(
            if counts { Severity::Warning } else { Severity::Note },
            format!("utilization \"{}\" is no number: 0 is used", value.escape_debug()),
            "write a whole number",
        );
        self.path.0.pop();
    }

    /// What a constraint names is a resource, a template or a tag.
    fn resource(&mut self, id: Option<&'c str>) {
        let Some(id) = id else { return };
        let resource = |e: &&&Element| {
            matches!(e.name.as_str(), "primitive" | "template" | "group" | "clone" | "master" | "bundle")
        };
        if let Some(tag) = self.tags.get(id).copied() {
            let members: &[Element] = if self.judged.insert(id) { &tag.children } else { &[] };
            for object in members.iter().filter_map(Element::id) {
                if self.by_id.get(object).filter(resource).is_none() {
                    self.say(
                        Severity::Error,
                        format!("tag \"{id}\" holds \"{}\", which is no resource", object.escape_debug()),
                        "remove it from the tag, or name something else",
                    );
                }
            }
        } else if self.by_id.get(id).filter(resource).is_none() {
            self.say(
                Severity::Error,
                format!("\"{id}\" is no resource, template or tag"),
                "name one that exists, or remove the constraint: crm_resource --list",
            );
        }
    }

    fn location(&mut self, location: &'c Element) {
        self.resource(location.get("rsc"));
        self.lifetime(location);
        for rule in location.children_named("rule") {
            if let Some(role) = rule.get("role").filter(|role| !is_role(role)) {
                self.path.0.push(rule);
                self.say(
                    Severity::Error,
                    format!("role \"{}\" is not possible: the rule is ignored", role.escape_debug()),
                    format!("write one of {}", ROLES[..4].join(", ")),
                );
                self.path.0.pop();
            }
            let scored = ["id-ref", "score", "score-attribute"].iter().any(|name| rule.get(name).is_some());
            if !scored {
                self.path.0.push(rule);
                self.say(
                    Severity::Warning,
                    "the rule has no score: 0 is used",
                    "add score, or score-attribute",
                );
                self.path.0.pop();
            }
        }
        if let Some(node) =
            location.get("node").filter(|n| !self.nodes.contains(n) && !self.by_id.contains_key(n))
        {
            self.say(
                Severity::Note,
                format!("node \"{}\" is not configured", node.escape_debug()),
                "it may join later; if it will not: remove the constraint",
            );
        }
    }

    /// Rules of a constraint once stood in an element of their own.
    fn lifetime(&mut self, constraint: &'c Element) {
        for lifetime in constraint.children_named("lifetime") {
            self.path.0.push(lifetime);
            self.say(
                Severity::Warning,
                "lifetime is deprecated",
                "write a location whose rule has a date_expression in place of it",
            );
            self.path.0.pop();
        }
    }

    fn colocation(&mut self, colocation: &'c Element) {
        self.lifetime(colocation);
        let (first, second) = (colocation.get("rsc"), colocation.get("with-rsc"));
        self.resource(first);
        self.resource(second);
        let many = |id: Option<&str>| {
            id.is_some_and(|id| {
                self.tags.contains_key(id) || self.by_id.get(id).is_some_and(|e| e.name == "template")
            })
        };
        if many(first) && many(second) {
            self.say(
                Severity::Error,
                "two templates or tags cannot be colocated: the constraint is ignored",
                "name a resource at one end, or use a resource_set",
            );
        }
        if colocation.get("influence").is_some_and(|v| parse_bool(v).is_none()) {
            self.say(Severity::Error, "influence is no boolean: its default is used", "write true or false");
        }
    }

    fn order(&mut self, order: &'c Element) {
        self.lifetime(order);
        self.resource(order.get("first"));
        self.resource(order.get("then"));
        if order.get("score").is_some() {
            let remedy = "write kind=\"Mandatory\", or kind=\"Optional\" for a score of 0";
            self.say(Severity::Warning, "score of an ordering is deprecated", remedy);
        }
        if order.get("kind") == Some("Serialize")
            && order.get("symmetrical").and_then(parse_bool) == Some(true)
        {
            self.say(
                Severity::Warning,
                "symmetrical is ignored: it is not possible with kind Serialize",
                "remove symmetrical",
            );
        }
        let first = order.get("first").and_then(|id| self.by_id.get(id));
        let is_clone = first.is_some_and(|e| matches!(e.name.as_str(), "clone" | "master" | "bundle"));
        if is_clone && order.get("require-all").and_then(parse_bool) == Some(false) {
            self.say(
                Severity::Warning,
                "require-all is deprecated",
                "set the meta attribute clone-min of the clone instead",
            );
        }
    }

    fn ticket(&mut self, ticket: &'c Element) {
        self.resource(ticket.get("rsc"));
        if ticket.get("loss-policy") == Some("fence") && !self.fencing() {
            self.say(
                Severity::Error,
                "loss-policy fence is not possible without fencing: stop is used",
                "set the option stonith-enabled to true, or write another loss-policy",
            );
        }
    }

    fn tag(&mut self, tag: &'c Element) {
        for object in &tag.children {
            let Some(id) = object.id() else { continue };
            if !self.by_id.contains_key(id) && !self.nodes.contains(id) {
                self.path.0.push(object);
                self.say(
                    Severity::Note,
                    format!("\"{}\" names nothing", id.escape_debug()),
                    "remove it from the tag",
                );
                self.path.0.pop();
            }
        }
    }

    fn level(&mut self, level: &'c Element) {
        for device in level.get("devices").unwrap_or_default().split(',') {
            if !self.by_id.contains_key(device) {
                self.say(
                    Severity::Note,
                    format!("fence device \"{}\" is not configured", device.escape_debug()),
                    "name a resource of class stonith; this level fails without it",
                );
            }
        }
    }
}

/// What operations are told from each other by: name, and interval in milliseconds.
fn key(op: &Element) -> (&str, u64) {
    let interval = op.get("interval").and_then(parse_duration_ms).unwrap_or(0);
    (op.get("name").unwrap_or_default(), interval)
}

/// A meta attribute that stands on the element itself.
fn meta_value<'a>(resource: &'a Element, name: &str) -> Option<&'a str> {
    let mut pairs = resource.children_named("meta_attributes").flat_map(|b| &b.children);
    pairs.find(|p| p.get("name") == Some(name))?.get("value")
}

/// Roles as they are written, the present names first; upper and lower case are the same.
const ROLES: [&str; 6] = ["Stopped", "Started", "Promoted", "Unpromoted", "Master", "Slave"];

fn is_role(text: &str) -> bool {
    ROLES.iter().any(|role| role.eq_ignore_ascii_case(text))
}

/// A value that asks for the default.
const DEFAULT: &str = "#default";

/// As scores are written.
fn is_number(text: &str) -> bool {
    let text = text.trim();
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    digits.eq_ignore_ascii_case("INFINITY")
        || matches!(text, "red" | "yellow" | "green")
        || digits.starts_with(|c: char| c.is_ascii_digit())
}

enum Is {
    Boolean,
    Number,
    Time,
    OneOf(&'static [&'static str]),
}

/// The scheduler's options. Those of other daemons, and unknown ones, are not judged.
const OPTIONS: [(&str, Is); 30] = [
    ("no-quorum-policy", Is::OneOf(&["stop", "freeze", "ignore", "demote", "suicide"])),
    ("symmetric-cluster", Is::Boolean),
    ("maintenance-mode", Is::Boolean),
    ("start-failure-is-fatal", Is::Boolean),
    ("enable-startup-probes", Is::Boolean),
    ("shutdown-lock", Is::Boolean),
    ("shutdown-lock-limit", Is::Time),
    ("stonith-enabled", Is::Boolean),
    ("stonith-action", Is::OneOf(&["reboot", "off", "poweroff"])),
    ("stonith-timeout", Is::Time),
    ("have-watchdog", Is::Boolean),
    ("concurrent-fencing", Is::Boolean),
    ("startup-fencing", Is::Boolean),
    ("priority-fencing-delay", Is::Time),
    ("cluster-delay", Is::Time),
    ("batch-limit", Is::Number),
    ("migration-limit", Is::Number),
    ("stop-all-resources", Is::Boolean),
    ("stop-orphan-resources", Is::Boolean),
    ("stop-orphan-actions", Is::Boolean),
    ("remove-after-stop", Is::Boolean),
    ("pe-error-series-max", Is::Number),
    ("pe-warn-series-max", Is::Number),
    ("pe-input-series-max", Is::Number),
    ("node-health-strategy", Is::OneOf(&["none", "migrate-on-red", "only-green", "progressive", "custom"])),
    ("node-health-base", Is::Number),
    ("node-health-green", Is::Number),
    ("node-health-yellow", Is::Number),
    ("node-health-red", Is::Number),
    ("placement-strategy", Is::OneOf(&["default", "utilization", "minimal", "balanced"])),
];
