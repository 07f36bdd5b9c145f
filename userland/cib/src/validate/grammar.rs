//! The grammar: which elements stand where, with which attributes and values, and that ids are unique.

use std::collections::BTreeMap;

use crate::parse::is_xml_name;
use crate::tree::{Element, Position};

use super::shapes::{Attribute, Child, Kind, SHAPES, Shape};
use super::{Finding, Path, Severity};

/// Checks a document of the third family, of this schema of it.
pub(super) fn check(root: &Element, schema: u8) -> Vec<Finding> {
    let shapes = SHAPES.iter().map(|s| (s.name, s)).collect();
    let mut checker = Checker {
        schema,
        shapes,
        path: Path::default(),
        ids: BTreeMap::new(),
        references: Vec::new(),
        found: Vec::new(),
    };
    checker.element(root);
    checker.references();
    checker.found
}

struct Checker<'c> {
    schema: u8,
    shapes: BTreeMap<&'static str, &'static Shape>,
    path: Path<'c>,
    ids: BTreeMap<&'c str, Position>,
    /// Ids that are named, and what to say if there are none such: all are known at the end only.
    references: Vec<(&'c str, Finding)>,
    found: Vec<Finding>,
}

impl<'c> Checker<'c> {
    fn wrong(&mut self, what: impl Into<String>, remedy: impl Into<String>) {
        self.found.push(self.path.finding(Severity::Error, what, remedy));
    }

    fn element(&mut self, element: &'c Element) {
        // What stands where it may not has been said already.
        let Some(shape) = self.shapes.get(element.name.as_str()).copied() else { return };
        self.path.0.push(element);
        self.attributes(element, shape);
        self.children(element, shape);
        for choice in shape.choices {
            self.choice(element, choice);
        }
        self.special(element);
        for child in &element.children {
            if shape.children.iter().any(|c| c.name == child.name) {
                self.element(child);
            }
        }
        self.path.0.pop();
    }

    fn attributes(&mut self, element: &'c Element, shape: &Shape) {
        for (name, value) in element.attributes.iter() {
            let Some(known) = shape.attributes.iter().find(|a| a.name == name) else {
                let allowed: Vec<_> = shape.attributes.iter().map(|a| a.name).collect();
                let remedy = match closest(name, allowed.iter().copied()) {
                    Some(meant) => format!("is {meant} meant?"),
                    None if allowed.is_empty() => "remove it: there are none here".into(),
                    None => format!("remove it; known are {}", allowed.join(", ")),
                };
                self.wrong(format!("<{}> has no attribute {}", element.name, name.escape_debug()), remedy);
                continue;
            };
            if known.since > self.schema {
                self.newer(&format!("attribute {name}"), known.since);
            } else {
                self.value(element, known, value);
            }
        }
        for missing in shape.attributes.iter().filter(|a| a.required && element.get(a.name).is_none()) {
            let name = missing.name;
            self.wrong(
                format!("<{}> needs an attribute {name}", element.name),
                format!("add {name}=\"...\": {}", describe(missing.kind, self.schema)),
            );
        }
    }

    fn newer(&mut self, thing: &str, since: u8) {
        self.wrong(
            format!("{thing} is of schema pacemaker-3.{since}, the document of pacemaker-3.{}", self.schema),
            "upgrade it: cibadmin --upgrade",
        );
    }

    fn value(&mut self, element: &'c Element, attribute: &Attribute, value: &'c str) {
        let name = attribute.name;
        let trimmed = value.trim();
        let right = match attribute.kind {
            Kind::Text => true,
            Kind::Id | Kind::Reference => is_xml_name(trimmed) && !trimmed.contains(':'),
            Kind::Boolean => matches!(trimmed, "true" | "false" | "1" | "0"),
            Kind::Integer => is_integer(trimmed),
            Kind::Natural => is_integer(trimmed) && (!trimmed.starts_with('-') || is_zero(trimmed)),
            Kind::Positive => is_integer(trimmed) && !trimmed.starts_with('-') && !is_zero(trimmed),
            Kind::Score => is_integer(trimmed) || matches!(trimmed, "INFINITY" | "+INFINITY" | "-INFINITY"),
            Kind::OneOf(words) => words.iter().any(|(word, since)| *word == trimmed && *since <= self.schema),
            Kind::Ids => value.split(',').all(|id| {
                !id.is_empty()
                    && id.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b'-'))
            }),
            Kind::Ports => !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit() || b == b'-'),
        };
        if !right {
            let mut remedy = format!("write {}", describe(attribute.kind, self.schema));
            if let Kind::OneOf(words) = attribute.kind
                && let Some((_, since)) =
                    words.iter().find(|(word, since)| *word == trimmed && *since > self.schema)
            {
                remedy = format!(
                    "{trimmed} is of schema pacemaker-3.{since}: upgrade the document with cibadmin --upgrade, or {remedy}"
                );
            }
            self.wrong(
                format!("{name}=\"{}\" of <{}> is not possible", value.escape_debug(), element.name),
                remedy,
            );
        } else if matches!(attribute.kind, Kind::Reference) {
            let what = format!("{name}=\"{trimmed}\" of <{}> names nothing", element.name);
            let remedy = "write the id of something that is there, or remove what names it";
            self.references.push((trimmed, self.path.finding(Severity::Error, what, remedy)));
        } else if matches!(attribute.kind, Kind::Id)
            && let Some(first) = self.ids.insert(trimmed, element.position)
        {
            self.wrong(
                format!("id \"{trimmed}\" is used twice, first in line {}", first.line),
                format!("give <{}> an id of its own", element.name),
            );
        }
    }

    /// References to ids that nothing has.
    fn references(&mut self) {
        let ids = &self.ids;
        let dangling =
            std::mem::take(&mut self.references).into_iter().filter(|(id, _)| !ids.contains_key(id));
        self.found.extend(dangling.map(|(_, finding)| finding));
    }

    fn children(&mut self, element: &'c Element, shape: &Shape) {
        for child in &element.children {
            let Some(known) = shape.children.iter().find(|c| c.name == child.name) else {
                let allowed = shape.children.iter().map(|c| c.name);
                let remedy = match closest(&child.name, allowed.clone()) {
                    Some(meant) => format!("is <{meant}> meant?"),
                    None if shape.children.is_empty() => "remove it: nothing stands there".into(),
                    None => {
                        format!("move or remove it; there can be {}", allowed.collect::<Vec<_>>().join(", "))
                    }
                };
                self.path.0.push(child);
                self.wrong(format!("<{}> cannot stand in <{}>", child.name, element.name), remedy);
                self.path.0.pop();
                continue;
            };
            if known.since > self.schema {
                self.path.0.push(child);
                self.newer(&format!("<{}>", child.name), known.since);
                self.path.0.pop();
            }
        }
        for Child { name, required, many, .. } in shape.children {
            let mut there = element.children_named(name);
            let first = there.next();
            if first.is_none() && *required {
                self.wrong(format!("<{}> needs a <{name}>", element.name), format!("add <{name}>"));
            }
            if let Some(second) = there.next().filter(|_| !many) {
                self.path.0.push(second);
                self.wrong(
                    format!("<{}> can have one <{name}> only", element.name),
                    "put both into one, or remove one",
                );
                self.path.0.pop();
            }
        }
        let mut last = 0;
        for child in &element.children {
            let Some(at) = shape.order.iter().position(|name| *name == child.name) else { continue };
            if at < last {
                self.path.0.push(child);
                self.wrong(
                    format!("<{}> stands after <{}>", child.name, shape.order[last]),
                    format!("bring them into this order: {}", shape.order.join(", ")),
                );
                self.path.0.pop();
            }
            last = last.max(at);
        }
    }

    /// Exactly one of the alternatives has all that it needs, and nothing of the others is there.
    fn choice(&mut self, element: &'c Element, alternatives: &[&[&str]]) {
        let plain = |name: &&str| name.strip_prefix('?').unwrap_or(name).to_owned();
        let is_there = |name: &str| element.get(name).is_some() || element.child(name).is_some();
        let there: Vec<String> = {
            let mut all: Vec<String> = alternatives.iter().flat_map(|a| a.iter().map(plain)).collect();
            all.sort();
            all.dedup();
            all.into_iter().filter(|name| is_there(name)).collect()
        };
        let missing = |a: &[&str]| -> Vec<String> {
            a.iter().filter(|n| !n.starts_with('?') && !is_there(n)).map(|n| (*n).to_owned()).collect()
        };
        let surplus = |a: &[&str]| -> Vec<String> {
            there.iter().filter(|n| !a.iter().any(|m| plain(m) == **n)).cloned().collect()
        };
        if alternatives.iter().any(|a| missing(a).is_empty() && surplus(a).is_empty()) {
            return;
        }
        // The one that was probably meant: with the least to be changed.
        let Some(meant) = alternatives.iter().min_by_key(|a| missing(a).len() + surplus(a).len()) else {
            return;
        };
        let (missing, surplus) = (missing(meant), surplus(meant));
        let what = if surplus.is_empty() {
            format!("<{}> needs {}", element.name, missing.join(" and "))
        } else {
            format!("<{}> cannot have {} together", element.name, there.join(", "))
        };
        let ways: Vec<String> = alternatives
            .iter()
            .map(|a| {
                let needed: Vec<_> = a.iter().filter(|n| !n.starts_with('?')).copied().collect();
                if needed.is_empty() {
                    a.iter().map(plain).collect::<Vec<_>>().join(", ")
                } else {
                    needed.join(" and ")
                }
            })
            .collect();
        self.wrong(what, format!("write either {}", ways.join(", or ")));
    }

    /// What no table says.
    fn special(&mut self, element: &'c Element) {
        match element.name.as_str() {
            "primitive" | "template" => match (element.get("class"), element.get("provider")) {
                (Some("ocf"), None) => self.wrong(
                    "agents of class ocf have a provider",
                    "add provider=\"...\", e.g. heartbeat: the agent's folder below /usr/lib/ocf/resource.d",
                ),
                (Some(class), Some(_)) if class != "ocf" => {
                    self.wrong(format!("agents of class {class} have no provider"), "remove provider");
                }
                _ => {}
            },
            "rule" if element.get("id-ref").is_none() && element.children.is_empty() => self
                .wrong("the rule has no condition", "add an <expression>, a <date_expression>, or a <rule>"),
            "date_expression" => self.date_expression(element),
            "nvpair" if element.get("id-ref").is_none() => self.option(element),
            _ => {}
        }
    }

    fn date_expression(&mut self, element: &'c Element) {
        let has = |name: &str| element.get(name).is_some() || element.child(name).is_some();
        let (needed, possible): (&[&str], &[&str]) = match element.get("operation") {
            Some("in_range") if !has("start") => (&["end"], &["end", "duration"]),
            Some("in_range") => (&["start"], &["start", "end", "duration"]),
            Some("gt") => (&["start"], &["start"]),
            Some("lt") => (&["end"], &["end"]),
            Some("date_spec") => (&["date_spec"], &["date_spec"]),
            _ => return,
        };
        for name in needed.iter().filter(|n| !has(n)) {
            self.wrong(
                format!(
                    "a date_expression of operation {} needs {name}",
                    element.get("operation").unwrap_or_default()
                ),
                format!("add {name}"),
            );
        }
        for name in ["start", "end", "duration", "date_spec"] {
            if has(name) && !possible.contains(&name) {
                self.wrong(
                    format!(
                        "a date_expression of operation {} has no {name}",
                        element.get("operation").unwrap_or_default()
                    ),
                    format!("remove {name}, or choose another operation"),
                );
            }
        }
    }

    /// Names of options that mean nothing in this family.
    fn option(&mut self, element: &'c Element) {
        let depth = self.path.0.len();
        let (Some(name), true) = (element.get("name"), depth >= 3) else { return };
        let (block, owner) = (self.path.0[depth - 2].name.as_str(), self.path.0[depth - 3].name.as_str());
        let is_primitive = matches!(owner, "primitive" | "template");
        let gone = match (block, owner) {
            ("cluster_property_set", _) => OLD_OPTIONS.contains(&name),
            ("meta_attributes", _) if is_primitive => OLD_META.contains(&name),
            ("meta_attributes", "op") => name == "requires",
            ("instance_attributes", _) if is_primitive && self.schema < 2 => OLD_FENCING.contains(&name),
            ("instance_attributes", "op") if self.schema < 1 => OPERATION_OPTIONS.contains(&name),
            _ => false,
        };
        if gone {
            self.wrong(
                format!("{name} is no longer an option of <{owner}>"),
                "remove it, or write it by its present name; cibadmin --upgrade does so for documents of older schemas",
            );
        }
        if block == "cluster_property_set" && name == "cluster-infrastructure" {
            match element.get("value") {
                None => self.wrong("cluster-infrastructure needs a value", "write corosync"),
                Some(value) if OLD_STACKS.contains(&value.trim()) => {
                    self.wrong(format!("{value} is no cluster infrastructure any more"), "write corosync");
                }
                Some(_) => {}
            }
        }
    }
}

/// What a value has to be, in words.
fn describe(kind: Kind, schema: u8) -> String {
    match kind {
        Kind::Text => "any text".into(),
        Kind::Id => {
            "a name of letters, digits, '-', '_' and '.' that nothing else has and that begins with a letter"
                .into()
        }
        Kind::Reference => "the id of another element".into(),
        Kind::Boolean => "true or false".into(),
        Kind::Integer => "a whole number".into(),
        Kind::Natural => "a whole number from 0".into(),
        Kind::Positive => "a whole number from 1".into(),
        Kind::Score => "a whole number, INFINITY or -INFINITY".into(),
        Kind::OneOf(words) => {
            let words: Vec<_> =
                words.iter().filter(|(_, since)| *since <= schema).map(|(word, _)| *word).collect();
            format!("one of {}", words.join(", "))
        }
        Kind::Ids => "ids with commas between them".into(),
        Kind::Ports => "ports as 8000-8010".into(),
    }
}

/// The name that differs from this one by a letter or two, or by `-` and `_`.
fn closest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    // Nobody mistypes a name into one that is much longer, and the work is bounded.
    let name: Vec<char> = name.chars().take(40).collect();
    known
        .map(|k| (distance(&name, k), k))
        .filter(|(d, k)| *d <= 2 && *d * 2 < k.len())
        .min_by_key(|(d, _)| *d)
        .map(|(_, k)| k)
}

/// How many letters have to be changed, added or removed.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, letter) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, other) in a.iter().enumerate() {
            let changed = diagonal + usize::from(*other != letter);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

fn is_zero(integer: &str) -> bool {
    integer.bytes().all(|b| matches!(b, b'0' | b'+' | b'-'))
}

const OLD_STACKS: [&str; 5] =
    ["heartbeat", "openais", "classic openais", "classic openais (with plugin)", "cman"];
const OLD_META: [&str; 4] = ["isolation", "isolation-host", "isolation-instance", "isolation-wrapper"];
const OLD_FENCING: [&str; 7] = [
    "pcmk_arg_map",
    "pcmk_list_cmd",
    "pcmk_monitor_cmd",
    "pcmk_off_cmd",
    "pcmk_on_cmd",
    "pcmk_reboot_cmd",
    "pcmk_status_cmd",
];
const OPERATION_OPTIONS: [&str; 8] =
    ["interval-origin", "start-delay", "enabled", "on-fail", "record-pending", "role", "timeout", "requires"];
const OLD_OPTIONS: [&str; 26] = [
    "cluster_recheck_interval",
    "dc_deadtime",
    "default-action-timeout",
    "default_action_timeout",
    "default-migration-threshold",
    "default_migration_threshold",
    "default-resource-failure-stickiness",
    "default_resource_failure_stickiness",
    "default-resource-stickiness",
    "default_resource_stickiness",
    "election_timeout",
    "expected-quorum-votes",
    "is-managed-default",
    "is_managed_default",
    "no_quorum_policy",
    "notification-agent",
    "notification-recipient",
    "remove_after_stop",
    "shutdown_escalation",
    "startup_fencing",
    "stonith_action",
    "stonith_enabled",
    "stop_orphan_actions",
    "stop_orphan_resources",
    "symmetric_cluster",
    "transition_idle_timeout",
];
