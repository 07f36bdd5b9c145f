//! Tree to typed view. Wrong values are errors with a remedy; what is right but not honoured is a warning.

use indexmap::IndexMap;

use crate::error::{CibError, Warning};
use crate::limits::{CONFIGURATION, RESOURCES_MAX};
use crate::model::{
    Cib, FencingLevel, FencingTarget, Location, LocationScore, Meta, Node, OnFail, Operation, Primitive,
    Resource, TargetRole, Version,
};
use crate::options::{Options, property_pairs};
use crate::parse::{check_ids, parse_tree};
use crate::rules::{Comparison, Condition, Rule};
use crate::tree::Element;
use crate::values::{Score, parse_bool, parse_duration_ms};

impl Cib {
    /// Reads a document; `file` is its name in messages.
    ///
    /// # Errors
    /// When it is not well-formed, beyond a limit, or holds a value that cannot be meant.
    pub fn parse(text: &str, file: &str) -> Result<Self, CibError> {
        Self::from_tree(parse_tree(text, file, CONFIGURATION)?, file)
    }

    /// The typed view of a tree.
    ///
    /// # Errors
    /// When it holds a value that cannot be meant.
    pub fn from_tree(tree: Element, file: &str) -> Result<Self, CibError> {
        let fail = |e: &Element, what: &str| Err(CibError::new(file, e.position, what));
        if tree.name != "cib" {
            return fail(
                &tree,
                &format!("the document begins with <{}>; a CIB begins with <cib>", tree.name),
            );
        }
        let Some(configuration) = tree.child("configuration") else {
            return fail(&tree, "<cib> has no <configuration>");
        };
        check_ids(configuration, file)?;
        let mut reader = Reader { file, warnings: Vec::new(), root: configuration };
        for section in &configuration.children {
            if !SECTIONS.contains(&section.name.as_str()) {
                reader.warn(
                    section,
                    format!("not supported yet: section <{}>; it has no effect", section.name),
                );
            } else if section.name == "tags" && !section.children.is_empty() {
                reader.warn(section, "not supported yet: tags; constraints that name one have no effect");
            }
        }
        let empty = Element::default();
        let section = |name: &str| configuration.child(name).unwrap_or(&empty);
        let version = reader.version(&tree)?;
        let options = Options::read(&property_pairs(section("crm_config")), file, &mut reader.warnings)?;
        let nodes = reader.nodes(section("nodes"))?;
        let defaults = Defaults {
            meta: reader.pairs(section("rsc_defaults"), "meta_attributes"),
            op: reader.pairs(section("op_defaults"), "meta_attributes"),
        };
        let resources = reader.resources(section("resources"), &defaults)?;
        let locations = reader.constraints(section("constraints"), &resources)?;
        let fencing_levels = reader.topology(section("fencing-topology"))?;
        let mut warnings = reader.warnings;
        warnings.sort();
        warnings.dedup();
        Ok(Self { tree, version, options, nodes, resources, locations, fencing_levels, warnings })
    }
}

struct Defaults {
    meta: IndexMap<String, String>,
    op: IndexMap<String, String>,
}

struct Reader<'a> {
    file: &'a str,
    warnings: Vec<Warning>,
    root: &'a Element,
}

impl<'a> Reader<'a> {
    fn warn(&mut self, at: &Element, what: impl Into<String>) {
        self.warnings.push(Warning { line: at.position.line, what: what.into() });
    }

    fn error<T>(&self, at: &Element, what: impl Into<String>) -> Result<T, CibError> {
        Err(CibError::new(self.file, at.position, what))
    }

    /// An attribute that must be there.
    fn must<'e>(&self, element: &'e Element, name: &str) -> Result<&'e str, CibError> {
        match element.get(name) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => self.error(element, format!("<{}> needs {name}=\"…\"", element.name)),
        }
    }

    fn score(&self, at: &Element, value: &str) -> Result<Score, CibError> {
        Score::parse(value).map_or_else(
            || {
                self.error(
                    at,
                    format!("score \"{value}\" is not valid; write a whole number, INFINITY or -INFINITY"),
                )
            },
            Ok,
        )
    }

    fn bool_of(&self, at: &Element, name: &str, value: &str) -> Result<bool, CibError> {
        parse_bool(value).map_or_else(
            || self.error(at, format!("{name}=\"{value}\" is not valid; write true or false")),
            Ok,
        )
    }

    fn ms(&self, at: &Element, name: &str, value: &str) -> Result<u64, CibError> {
        parse_duration_ms(value).map_or_else(
            || self.error(at, format!("{name}=\"{value}\" is not a time; write for example 20s")),
            Ok,
        )
    }

    fn version(&self, cib: &Element) -> Result<Version, CibError> {
        let number = |name: &str| match cib.get(name) {
            None | Some("") => Ok(0),
            Some(text) => {
                text.parse().or_else(|_| self.error(cib, format!("{name}=\"{text}\" is not a whole number")))
            }
        };
        Ok(Version {
            admin_epoch: number("admin_epoch")?,
            epoch: number("epoch")?,
            num_updates: number("num_updates")?,
        })
    }

    /// Name/value pairs of all sets of this kind below `parent`: sets by descending `score`, the first value of a name
    /// wins. A set may stand elsewhere (`id-ref`).
    fn pairs(&mut self, parent: &Element, kind: &str) -> IndexMap<String, String> {
        let mut sets: Vec<(i32, &Element)> = Vec::new();
        let root = self.root;
        for set in parent.children.iter().filter(|c| c.name == kind) {
            let found = match set.get("id-ref") {
                None => Some(set),
                Some(id) => root.find_id(id),
            };
            let Some(target) = found else {
                self.warn(set, format!("id-ref=\"{}\" names nothing", set.get("id-ref").unwrap_or("")));
                continue;
            };
            if target.child("rule").is_some() {
                self.warn(target, format!("not supported yet: rules in {kind}; the whole set has no effect"));
                continue;
            }
            let score = target.get("score").and_then(Score::parse).unwrap_or_default();
            sets.push((score.get(), target));
        }
        sets.sort_by_key(|(score, _)| -score);
        let mut pairs = IndexMap::new();
        for pair in sets.iter().flat_map(|(_, set)| set.children_named("nvpair")) {
            let target = pair.get("id-ref").and_then(|id| root.find_id(id)).unwrap_or(pair);
            let name = pair.get("name").or_else(|| target.get("name"));
            if let Some(name) = name {
                pairs
                    .entry(name.to_owned())
                    .or_insert_with(|| target.get("value").unwrap_or_default().to_owned());
            } else {
                self.warn(pair, "<nvpair> without a name has no effect");
            }
        }
        pairs
    }

    fn nodes(&mut self, section: &Element) -> Result<Vec<Node>, CibError> {
        let mut nodes = Vec::new();
        for element in section.children_named("node") {
            if element.get("type").is_some_and(|t| t != "member" && t != "normal") {
                self.warn(
                    element,
                    format!("not supported yet: node type \"{}\"", element.get("type").unwrap_or("")),
                );
                continue;
            }
            let (id, uname) = (self.must(element, "id")?.to_owned(), self.must(element, "uname")?.to_owned());
            if nodes.iter().any(|n: &Node| n.uname == uname) {
                return self.error(element, format!("node \"{uname}\" is listed twice"));
            }
            nodes.push(Node { id, uname, attributes: self.pairs(element, "instance_attributes") });
        }
        Ok(nodes)
    }

    fn resources(&mut self, section: &Element, defaults: &Defaults) -> Result<Vec<Resource>, CibError> {
        let mut resources = Vec::new();
        let mut count = 0;
        for element in &section.children {
            let resource = match element.name.as_str() {
                "primitive" => self.primitive(element, &IndexMap::new(), defaults)?.map(|primitive| {
                    Resource { id: primitive.id.clone(), group: false, members: vec![primitive] }
                }),
                "group" => self.group(element, defaults)?,
                "clone" | "master" | "bundle" | "template" => {
                    let id = element.id().unwrap_or("?");
                    self.warn(
                        element,
                        format!("not supported yet: {} \"{id}\"; it is not managed", element.name),
                    );
                    None
                }
                other => {
                    self.warn(element, format!("unknown element <{other}> in resources; it has no effect"));
                    None
                }
            };
            count += resource.as_ref().map_or(0, |r| r.members.len());
            if count > RESOURCES_MAX {
                return self.error(element, format!("more than {RESOURCES_MAX} resources"));
            }
            resources.extend(resource);
        }
        Ok(resources)
    }

    fn group(&mut self, element: &Element, defaults: &Defaults) -> Result<Option<Resource>, CibError> {
        let id = self.must(element, "id")?.to_owned();
        let meta = self.pairs(element, "meta_attributes");
        for name in ["ordered", "collocated"] {
            if meta.get(name).is_some_and(|v| parse_bool(v) == Some(false)) {
                self.warn(
                    element,
                    format!("not supported yet: {name}=\"false\" of group \"{id}\"; members are {name}"),
                );
            }
        }
        let mut members = Vec::new();
        let mut whole = true;
        for child in element.children_named("primitive") {
            match self.primitive(child, &meta, defaults)? {
                Some(member) => members.push(member),
                None => whole = false,
            }
        }
        if members.is_empty() && whole {
            return self
                .error(element, format!("group \"{id}\" has no members; add a <primitive> or remove it"));
        }
        if !whole {
            self.warn(
                element,
                format!("not supported yet: a member of group \"{id}\"; the whole group is not managed"),
            );
            return Ok(None);
        }
        Ok(Some(Resource { id, group: true, members }))
    }

    fn primitive(
        &mut self,
        element: &Element,
        group_meta: &IndexMap<String, String>,
        defaults: &Defaults,
    ) -> Result<Option<Primitive>, CibError> {
        let id = self.must(element, "id")?.to_owned();
        if !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b)) || id.len() > 128 {
            return self.error(
                element,
                format!("resource id \"{id}\": use letters, digits, '-', '_', '.'; at most 128"),
            );
        }
        if let Some(template) = element.get("template") {
            self.warn(
                element,
                format!("not supported yet: template \"{template}\"; \"{id}\" is not managed"),
            );
            return Ok(None);
        }
        let class = self.must(element, "class")?.to_owned();
        let provider = match class.as_str() {
            "ocf" => element.get("provider").unwrap_or("heartbeat").to_owned(),
            "stonith" => String::new(),
            "heartbeat" => {
                return self.error(
                    element,
                    format!(
                        "class \"heartbeat\" of \"{id}\" is gone; write class=\"ocf\" provider=\"heartbeat\""
                    ),
                );
            }
            "lsb" | "systemd" | "service" | "nagios" | "upstart" => {
                self.warn(element, format!("not supported yet: class \"{class}\"; \"{id}\" is not managed"));
                return Ok(None);
            }
            other => {
                return self.error(
                    element,
                    format!("class \"{other}\" of \"{id}\" is unknown; write ocf or stonith"),
                );
            }
        };
        let kind = self.must(element, "type")?.to_owned();
        if class == "ocf" && provider == "pacemaker" && kind == "remote" {
            self.warn(element, format!("not supported yet: remote nodes; \"{id}\" is not managed"));
            return Ok(None);
        }
        let params = self.pairs(element, "instance_attributes").into_iter().collect();
        let mut all = self.pairs(element, "meta_attributes");
        for (name, value) in group_meta.iter().chain(&defaults.meta) {
            all.entry(name.clone()).or_insert_with(|| value.clone());
        }
        let meta = self.meta(element, all)?;
        let default_timeout_ms = match defaults.op.get("timeout") {
            Some(text) => self.ms(element, "op_defaults timeout", text)?,
            None => 20_000,
        };
        let mut operations = Vec::new();
        for op in element.children_named("operations").flat_map(|ops| ops.children_named("op")) {
            operations.push(self.operation(op, defaults)?);
        }
        Ok(Some(Primitive {
            id,
            class,
            provider,
            kind,
            params,
            meta,
            operations,
            default_timeout_ms,
            line: element.position.line,
        }))
    }

    fn meta(&mut self, at: &Element, all: IndexMap<String, String>) -> Result<Meta, CibError> {
        let get = |name: &str| all.get(name).map(String::as_str).filter(|v| !v.is_empty());
        let stickiness = get("resource-stickiness").map_or(Ok(Score::ZERO), |v| self.score(at, v))?;
        let migration_threshold = match get("migration-threshold").map(|v| self.score(at, v)).transpose()? {
            None => Some(Meta::NO_THRESHOLD),
            Some(Score::ZERO) => None,
            Some(score) => match u32::try_from(score.get()) {
                Ok(n) => Some(n),
                Err(_) => return self.error(at, "migration-threshold must not be negative; 0 means never"),
            },
        };
        let failure_timeout_ms = get("failure-timeout")
            .map(|v| self.ms(at, "failure-timeout", v))
            .transpose()?
            .filter(|ms| *ms > 0);
        let target_role = match get("target-role").map(str::to_ascii_lowercase).as_deref() {
            None | Some("started" | "default") => TargetRole::Started,
            Some("stopped") => TargetRole::Stopped,
            Some("promoted" | "master" | "unpromoted" | "slave") => {
                self.warn(at, "not supported yet: promotable roles in target-role; Started is in force");
                TargetRole::Started
            }
            Some(other) => {
                return self
                    .error(at, format!("target-role=\"{other}\" is not valid; write Started or Stopped"));
            }
        };
        let maintenance = get("maintenance").map_or(Ok(false), |v| self.bool_of(at, "maintenance", v))?;
        let managed =
            get("is-managed").map_or(Ok(true), |v| self.bool_of(at, "is-managed", v))? && !maintenance;
        let priority = get("priority").map_or(Ok(Score::ZERO), |v| self.score(at, v))?.get();
        for name in ["remote-node", "container", "multiple-active", "allow-migrate"] {
            let default = if name == "multiple-active" { "stop_start" } else { "false" };
            if get(name).is_some_and(|v| v != default) {
                self.warn(
                    at,
                    format!(
                        "not supported yet: meta attribute {name}=\"{}\"; it has no effect",
                        get(name).unwrap_or("")
                    ),
                );
            }
        }
        Ok(Meta {
            stickiness,
            migration_threshold,
            failure_timeout_ms,
            target_role,
            managed,
            maintenance,
            priority,
            all,
        })
    }

    fn operation(&mut self, element: &Element, defaults: &Defaults) -> Result<Operation, CibError> {
        let name = self.must(element, "name")?.to_owned();
        let own = self.pairs(element, "meta_attributes");
        // The element's own attributes win over its meta attributes, these over the defaults.
        let value = |key: &str| {
            element
                .get(key)
                .or_else(|| own.get(key).map(String::as_str))
                .or_else(|| defaults.op.get(key).map(String::as_str))
        };
        let interval_ms = element.get("interval").map_or(Ok(0), |v| self.ms(element, "interval", v))?;
        let timeout_ms = value("timeout").map(|v| self.ms(element, "timeout", v)).transpose()?;
        if timeout_ms == Some(0) {
            return self.error(element, format!("timeout of {name} is zero; write for example 20s"));
        }
        let on_fail = match value("on-fail") {
            None => None,
            Some("ignore") => Some(OnFail::Ignore),
            Some("restart") => Some(OnFail::Restart),
            Some("stop") => Some(OnFail::Stop),
            Some("block") => Some(OnFail::Block),
            Some("standby") => Some(OnFail::Standby),
            Some("fence") => Some(OnFail::Fence),
            Some(other @ ("demote" | "restart-container")) => {
                self.warn(element, format!("not supported yet: on-fail=\"{other}\"; restart is in force"));
                None
            }
            Some(other) => {
                let what = format!(
                    "on-fail=\"{other}\" is not valid; write ignore, block, stop, restart, standby or fence"
                );
                return self.error(element, what);
            }
        };
        let enabled = value("enabled").map_or(Ok(true), |v| self.bool_of(element, "enabled", v))?;
        let role = value("role").map(str::to_owned);
        if role.as_deref().is_some_and(|r| r != "Started") {
            self.warn(
                element,
                format!(
                    "not supported yet: {name} with role \"{}\"; it does not run",
                    role.as_deref().unwrap_or("")
                ),
            );
        }
        let params = self.pairs(element, "instance_attributes").into_iter().collect();
        let meta = element
            .attributes
            .iter()
            .filter(|(k, _)| !matches!(*k, "id" | "name" | "interval" | "timeout"))
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let id = element.id().map_or_else(|| format!("{name}-{interval_ms}"), str::to_owned);
        Ok(Operation { id, name, interval_ms, timeout_ms, on_fail, enabled, role, params, meta })
    }

    fn constraints(&mut self, section: &Element, resources: &[Resource]) -> Result<Vec<Location>, CibError> {
        let mut locations = Vec::new();
        for element in &section.children {
            if element.name == "rsc_location" {
                self.location(element, resources, &mut locations)?;
            } else {
                let id = element.id().unwrap_or("?");
                self.warn(element, format!("not supported yet: {} \"{id}\"; it has no effect", element.name));
            }
        }
        Ok(locations)
    }

    fn location(
        &mut self,
        element: &Element,
        resources: &[Resource],
        locations: &mut Vec<Location>,
    ) -> Result<(), CibError> {
        let id = self.must(element, "id")?.to_owned();
        if element.get("rsc-pattern").is_some() || element.child("resource_set").is_some() {
            self.warn(
                element,
                format!("not supported yet: patterns and sets in rsc_location \"{id}\"; it has no effect"),
            );
            return Ok(());
        }
        let resource = self.must(element, "rsc")?.to_owned();
        let known = resources.iter().any(|r| r.id == resource || r.members.iter().any(|m| m.id == resource));
        if !known {
            self.warn(element, format!("rsc_location \"{id}\" names \"{resource}\", which is not managed"));
            return Ok(());
        }
        if element.get("role").is_some_and(|r| r != "Started") {
            self.warn(element, format!("not supported yet: role in rsc_location \"{id}\"; it has no effect"));
            return Ok(());
        }
        if element.get("resource-discovery").is_some_and(|d| d != "always") {
            self.warn(
                element,
                format!("not supported yet: resource-discovery in rsc_location \"{id}\"; always is in force"),
            );
        }
        let mut push = |score| locations.push(Location { id: id.clone(), resource: resource.clone(), score });
        if let Some(node) = element.get("node") {
            let score = self.score(element, element.get("score").unwrap_or("0"))?;
            push(LocationScore::Node(node.to_owned(), score));
            return Ok(());
        }
        if element.child("rule").is_none() {
            return self
                .error(element, format!("rsc_location \"{id}\" needs node=\"…\" score=\"…\" or a <rule>"));
        }
        for rule in element.children.iter().filter(|c| c.name == "rule") {
            if let Some(rule) = self.rule(rule)? {
                push(LocationScore::Rule(rule));
            }
        }
        Ok(())
    }

    /// `None`: it holds something that is not supported, and was warned about.
    fn rule(&mut self, element: &Element) -> Result<Option<Rule>, CibError> {
        let id = element.id().unwrap_or("?").to_owned();
        if element.get("id-ref").is_some() || element.get("role").is_some_and(|r| r != "Started") {
            self.warn(
                element,
                format!("not supported yet: references and roles in rule \"{id}\"; it has no effect"),
            );
            return Ok(None);
        }
        let score = element.get("score").map_or(Ok(Score::ZERO), |v| self.score(element, v))?;
        let any = match element.get("boolean-op") {
            None | Some("and") => false,
            Some("or") => true,
            Some(other) => {
                return self.error(element, format!("boolean-op=\"{other}\" is not valid; write and or or"));
            }
        };
        let mut conditions = Vec::new();
        for child in &element.children {
            match child.name.as_str() {
                "expression" => match self.expression(child)? {
                    Some(condition) => conditions.push(condition),
                    None => return Ok(None),
                },
                "rule" => match self.rule(child)? {
                    Some(rule) => conditions.push(Condition::Nested(rule)),
                    None => return Ok(None),
                },
                other => {
                    self.warn(
                        child,
                        format!("not supported yet: <{other}> in rule \"{id}\"; the rule has no effect"),
                    );
                    return Ok(None);
                }
            }
        }
        let score_attribute = element.get("score-attribute").map(str::to_owned);
        Ok(Some(Rule { id, score, score_attribute, any, conditions }))
    }

    fn expression(&mut self, element: &Element) -> Result<Option<Condition>, CibError> {
        let attribute = self.must(element, "attribute")?.to_owned();
        let text = self.must(element, "operation")?;
        let Some(comparison) = Comparison::parse(text) else {
            let what = format!(
                "operation=\"{text}\" is not valid; write defined, not_defined, eq, ne, lt, lte, gt or gte"
            );
            return self.error(element, what);
        };
        if element.get("value-source").is_some_and(|s| s != "literal") {
            self.warn(element, "not supported yet: value-source; the rule has no effect");
            return Ok(None);
        }
        let numeric = match element.get("type") {
            None => comparison.is_ordering(),
            Some("string") => false,
            Some("integer" | "number") => true,
            Some(other) => {
                self.warn(
                    element,
                    format!("not supported yet: expression type \"{other}\"; the rule has no effect"),
                );
                return Ok(None);
            }
        };
        let value = element.get("value").unwrap_or_default().to_owned();
        Ok(Some(Condition::Compare { attribute, comparison, value, numeric }))
    }

    fn topology(&mut self, section: &Element) -> Result<Vec<FencingLevel>, CibError> {
        let mut levels = Vec::new();
        for element in section.children_named("fencing-level") {
            let get = |name: &str| element.get(name).map(str::to_owned);
            let target = match (get("target"), get("target-pattern"), get("target-attribute")) {
                (Some(name), ..) => FencingTarget::Name(name),
                (None, Some(pattern), _) => FencingTarget::Pattern(pattern),
                (None, None, Some(name)) => {
                    FencingTarget::Attribute(name, self.must(element, "target-value")?.to_owned())
                }
                (None, None, None) => {
                    return self.error(
                        element,
                        "a fencing-level needs target, target-pattern, or target-attribute and target-value",
                    );
                }
            };
            let text = self.must(element, "index")?;
            let Some(index) = text.parse::<u32>().ok().filter(|i| (1..=9).contains(i)) else {
                return self.error(
                    element,
                    format!("index=\"{text}\" of a fencing-level is not valid; write 1 to 9"),
                );
            };
            let devices = self.must(element, "devices")?.split(',').map(|d| d.trim().to_owned()).collect();
            levels.push(FencingLevel { target, index, devices });
        }
        Ok(levels)
    }
}

const SECTIONS: &[&str] = &[
    "crm_config",
    "nodes",
    "resources",
    "constraints",
    "rsc_defaults",
    "op_defaults",
    "fencing-topology",
    "tags",
];
