//! Documents of older schemas, as Pacemaker 2.1 reads them: what used to have other names or stood elsewhere is brought to where
//! schema 3 has it. What is unknown stays as it is and where it is.
//!
//! Two steps, each only where a document needs it. From 1.x to 2.0: access control lists. From 2.x to 3.0: cluster options,
//! types of nodes, parameters of fence devices, `requires` of operations, isolation, score attributes of colocations. `<master>`
//! and the old names of roles need no step: they are valid to this day, and read.

use std::collections::BTreeSet;

use indexmap::IndexMap;

use crate::tree::{Element, Position};

/// The schemas that there are, in their order.
pub const SCHEMAS: [&str; 24] = [
    "pacemaker-1.0",
    "pacemaker-1.2",
    "pacemaker-1.3",
    "pacemaker-2.0",
    "pacemaker-2.1",
    "pacemaker-2.2",
    "pacemaker-2.3",
    "pacemaker-2.4",
    "pacemaker-2.5",
    "pacemaker-2.6",
    "pacemaker-2.7",
    "pacemaker-2.8",
    "pacemaker-2.9",
    "pacemaker-2.10",
    "pacemaker-3.0",
    "pacemaker-3.1",
    "pacemaker-3.2",
    "pacemaker-3.3",
    "pacemaker-3.4",
    "pacemaker-3.5",
    "pacemaker-3.6",
    "pacemaker-3.7",
    "pacemaker-3.8",
    "pacemaker-3.9",
];

const SECOND: usize = 3;
pub(crate) const THIRD: usize = 14;
/// What names the third family got begins with: the peer's, so that references from elsewhere hold.
const NEW_ID: &str = "_2TO3_";
/// What ids begin with while a block that is named from elsewhere stands there in full.
const INLINED: &str = "_cibtr-2_";

/// Something that an upgrade changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Where it stood.
    pub position: Position,
    /// In words.
    pub what: String,
}

/// A document of a schema that is understood, and what was done to make it one.
#[derive(Clone, Debug)]
pub struct Upgraded {
    /// The document.
    pub root: Element,
    /// The schema that it claimed, if it was too old: nothing was changed otherwise.
    pub from: Option<String>,
    /// What was changed, in the order in which it was found.
    pub changes: Vec<Change>,
}

/// Where a schema stands in [`SCHEMAS`].
#[must_use]
pub fn schema_index(name: &str) -> Option<usize> {
    SCHEMAS.iter().position(|s| s.eq_ignore_ascii_case(name))
}

/// Brings a document to the third family of schemas. Without `validate-with`, with `none`, or of that family, it stays as it is;
/// a schema that is not known counts as the oldest.
#[must_use]
pub fn upgrade(mut root: Element) -> Upgraded {
    let claimed = root.get("validate-with").map(str::to_owned);
    let untouched =
        |name: &str| name.eq_ignore_ascii_case("none") || name.eq_ignore_ascii_case("pacemaker-next");
    let Some(from) = claimed.filter(|name| !untouched(name)) else {
        return Upgraded { root, from: None, changes: Vec::new() };
    };
    let index = schema_index(&from).unwrap_or(0);
    if index >= THIRD {
        return Upgraded { root, from: None, changes: Vec::new() };
    }
    let mut changes = Vec::new();
    if let Some(configuration) = root.children.iter_mut().find(|c| c.name == "configuration") {
        if index < SECOND {
            for acls in configuration.children.iter_mut().filter(|c| c.name == "acls") {
                access_lists(acls, &mut changes);
            }
        }
        if needs_third(configuration) {
            inline_references(configuration);
            third(configuration, &mut changes);
            fold_references(configuration);
        }
    }
    root.attributes.insert("validate-with", SCHEMAS[THIRD]);
    Upgraded { root, from: Some(from), changes }
}

// From 1.x to 2.0.

fn access_lists(acls: &mut Element, changes: &mut Vec<Change>) {
    let mut roles = Vec::new();
    for mut element in std::mem::take(&mut acls.children) {
        let is_permission = |e: &Element| matches!(e.name.as_str(), "read" | "write" | "deny");
        let position = element.position;
        if element.name != "acl_user" {
            element.children.iter_mut().for_each(|child| access_entry(child, changes));
            roles.push(element);
            continue;
        }
        let named = element.id().unwrap_or_default().to_owned();
        element.name = "acl_target".to_owned();
        changes.push(Change {
            position,
            what: format!("user \"{named}\" of the access lists is an acl_target now"),
        });
        let mut own = None;
        if element.child("role_ref").is_some() {
            element.children.iter_mut().for_each(|child| access_entry(child, changes));
        } else {
            let mut entries = std::mem::take(&mut element.children);
            if entries.iter().any(is_permission) {
                let id = format!("auto-{named}");
                element.children.push(Element { position, ..Element::new("role").with("id", &id) });
                entries.iter_mut().for_each(|child| access_entry(child, changes));
                own =
                    Some(Element { position, children: entries, ..Element::new("acl_role").with("id", &id) });
                let what = format!("what user \"{named}\" may do stands in a role of its own now, \"{id}\"");
                changes.push(Change { position, what });
            }
        }
        roles.push(element);
        roles.extend(own);
    }
    acls.children = roles.into();
}

fn access_entry(entry: &mut Element, changes: &mut Vec<Change>) {
    match entry.name.as_str() {
        "role_ref" => entry.name = "role".to_owned(),
        kind @ ("read" | "write" | "deny") => {
            let mut permission = Element { position: entry.position, ..Element::new("acl_permission") };
            if let Some(id) = entry.id() {
                permission = permission.with("id", id);
            }
            permission = permission.with("kind", kind);
            permission =
                match (entry.get("ref"), entry.get("tag"), entry.get("xpath"), entry.get("attribute")) {
                    (Some(id), ..) => permission.with("reference", id),
                    (None, Some(tag), _, None) => permission.with("object-type", tag),
                    (None, Some(tag), _, Some(attribute)) => {
                        permission.with("object-type", tag).with("attribute", attribute)
                    }
                    (None, None, path, Some(attribute)) => {
                        permission.with("xpath", &format!("{}[@{attribute}]", path.unwrap_or_default()))
                    }
                    (None, None, Some(path), None) => permission.with("xpath", path),
                    (None, None, None, None) => permission,
                };
            let id = entry.id().unwrap_or_default();
            let what = format!("<{kind}> \"{id}\" of the access lists is an acl_permission now");
            changes.push(Change { position: entry.position, what });
            *entry = permission;
        }
        _ => {}
    }
}

// From 2.x to 3.0.

/// What becomes of a name and its value.
enum Fate {
    /// Another name, and another value if it is given.
    Renamed(&'static str, Option<&'static str>),
    /// Moved to the defaults of this section.
    Moved(&'static str, &'static str, Option<&'static str>),
    Dropped,
}

/// Cluster layers that are no more.
const OLD_LAYERS: [&str; 5] =
    ["heartbeat", "openais", "classic openais", "classic openais (with plugin)", "cman"];

/// What becomes of a cluster option.
fn option_fate(name: &str, value: &str) -> Option<Fate> {
    use Fate::{Dropped, Moved, Renamed};
    Some(match name {
        "cluster-infrastructure" if OLD_LAYERS.contains(&value) => Dropped,
        "cluster-infrastructure" => return None,
        "cluster_recheck_interval" => Renamed("cluster-recheck-interval", None),
        "dc_deadtime" => Renamed("dc-deadtime", None),
        "default-action-timeout" | "default_action_timeout" => Moved("op_defaults", "timeout", None),
        "default-migration-threshold" | "default_migration_threshold" => Dropped,
        "default-resource-stickiness" | "default_resource_stickiness" => {
            Moved("rsc_defaults", "resource-stickiness", None)
        }
        "default-resource-failure-stickiness" | "default_resource_failure_stickiness" => {
            if value == "-INFINITY" {
                Moved("rsc_defaults", "migration-threshold", Some("1"))
            } else {
                Dropped
            }
        }
        "election_timeout" => Renamed("election-timeout", None),
        "expected-quorum-votes" | "notification-agent" | "notification-recipient" => Dropped,
        "is-managed-default" | "is_managed_default" => Moved("rsc_defaults", "is-managed", None),
        "no_quorum_policy" => Renamed("no-quorum-policy", None),
        "remove_after_stop" => Renamed("remove-after-stop", None),
        "shutdown_escalation" => Renamed("shutdown-escalation", None),
        "startup_fencing" => Renamed("startup-fencing", None),
        "stonith_action" => Renamed("stonith-action", None),
        "stonith_enabled" => Renamed("stonith-enabled", None),
        "stop_orphan_actions" => Renamed("stop-orphan-actions", None),
        "stop_orphan_resources" => Renamed("stop-orphan-resources", None),
        "symmetric_cluster" => Renamed("symmetric-cluster", None),
        "transition_idle_timeout" => Renamed("cluster-delay", None),
        _ => return None,
    })
}

/// The new name of a resource's parameter, and what is taken off the front of its value; an empty name: dropped.
fn parameter_fate(name: &str, value: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "pcmk_arg_map" if value.starts_with("port:") && !value.contains(',') => {
            ("pcmk_host_argument", "port:")
        }
        "pcmk_arg_map" => ("", ""),
        "pcmk_list_cmd" => ("pcmk_list_action", ""),
        "pcmk_monitor_cmd" => ("pcmk_monitor_action", ""),
        "pcmk_off_cmd" => ("pcmk_off_action", ""),
        "pcmk_on_cmd" => ("pcmk_on_action", ""),
        "pcmk_reboot_cmd" => ("pcmk_reboot_action", ""),
        "pcmk_status_cmd" => ("pcmk_status_action", ""),
        _ => return None,
    })
}

/// New name and value of a resource's meta-attribute; an empty name: dropped.
fn meta_fate(name: &str, value: &str) -> Option<(&'static str, &'static str)> {
    Some(match name {
        "isolation" | "isolation-host" | "isolation-instance" | "isolation-wrapper" => {
            ("target-role", "Stopped")
        }
        "resource-failure-stickiness" | "resource_failure_stickiness" => {
            if value == "-INFINITY" {
                ("migration-threshold", "1")
            } else {
                ("", "")
            }
        }
        _ => return None,
    })
}

/// Parameters of an operation that are meta-attributes of it.
fn is_meta_of_operation(name: &str) -> bool {
    matches!(
        name,
        "interval-origin" | "start-delay" | "enabled" | "on-fail" | "record-pending" | "role" | "timeout"
    )
}

const COLOCATION_DROPS: [&str; 2] = ["score-attribute", "score-attribute-mangle"];

/// Whether something has to be changed that the third family would refuse: a document without is taken as it is.
fn needs_third(configuration: &Element) -> bool {
    let mut found = false;
    let name = |e: &Element| e.get("name").unwrap_or_default().to_owned();
    let value = |e: &Element| e.get("value").unwrap_or_default().to_owned();
    configuration.walk(&mut |element| {
        let pairs = |kind| element.children_named(kind).flat_map(|b| b.children_named("nvpair"));
        found |= match element.name.as_str() {
            "cluster_property_set" => {
                element.children_named("nvpair").any(|p| option_fate(&name(p), &value(p)).is_some())
            }
            "node" => element.get("type") == Some("normal"),
            "primitive" | "template" => {
                pairs("instance_attributes").any(|p| parameter_fate(&name(p), &value(p)).is_some())
                    || pairs("meta_attributes")
                        .any(|p| name(p).starts_with("isolation") && meta_fate(&name(p), "").is_some())
            }
            "op" => {
                element.get("requires").is_some()
                    || pairs("meta_attributes").any(|p| name(p) == "requires")
                    || pairs("instance_attributes")
                        .any(|p| name(p) == "requires" || is_meta_of_operation(&name(p)))
            }
            "rsc_colocation" => COLOCATION_DROPS.iter().any(|drop| element.get(drop).is_some()),
            _ => false,
        };
    });
    found
}

fn is_block(name: &str) -> bool {
    matches!(name, "cluster_property_set" | "instance_attributes" | "meta_attributes")
}

/// Blocks that name another one stand there in full while things are moved.
fn inline_references(configuration: &mut Element) {
    let mut originals: IndexMap<(String, String), Element> = IndexMap::new();
    configuration.walk(&mut |e| {
        if is_block(&e.name)
            && e.get("id-ref").is_none()
            && let Some(id) = e.id()
        {
            originals.entry((e.name.clone(), id.to_owned())).or_insert_with(|| e.clone());
        }
    });
    // An original may be large and be named from everywhere: no more than a document may hold.
    let mut room = crate::limits::DOCUMENT.elements;
    change_all(configuration, &mut |element| {
        if !is_block(&element.name) {
            return;
        }
        let Some(id) = element.get("id-ref").map(str::to_owned) else { return };
        let Some(original) = originals.get(&(element.name.clone(), id.clone())) else { return };
        if original.children.len() >= room {
            return;
        }
        room -= original.children.len();
        let mut copy = original.clone();
        change_all(&mut copy, &mut |e| {
            if let Some(inner) = e.id().map(|inner| format!("_{INLINED}{id}__{inner}")) {
                e.attributes.insert("id", inner);
            }
        });
        copy.attributes.insert("id", format!("{INLINED}{id}"));
        copy.position = element.position;
        *element = copy;
    });
}

/// What was not changed otherwise than the block that it came from names it again.
fn fold_references(configuration: &mut Element) {
    let mut originals: IndexMap<(String, String), Element> = IndexMap::new();
    configuration.walk(&mut |e| {
        if is_block(&e.name)
            && let Some(id) = e.id()
            && !id.starts_with(INLINED)
        {
            originals.entry((e.name.clone(), id.to_owned())).or_insert_with(|| e.clone());
        }
    });
    change_all(configuration, &mut |element| {
        if !is_block(&element.name) {
            return;
        }
        let Some(id) = element.id().and_then(|id| id.strip_prefix(INLINED)).map(str::to_owned) else {
            return;
        };
        let Some(original) = originals.get(&(element.name.clone(), id.clone())) else { return };
        if same_without_ids(element, original) {
            let position = element.position;
            *element = Element { position, ..Element::new(&element.name).with("id-ref", &id) };
        }
    });
}

fn same_without_ids(one: &Element, other: &Element) -> bool {
    one.name == other.name
        && one
            .attributes
            .iter()
            .filter(|(n, _)| *n != "id")
            .eq(other.attributes.iter().filter(|(n, _)| *n != "id"))
        && one.children.len() == other.children.len()
        && one.children.iter().zip(&other.children).all(|(a, b)| same_without_ids(a, b))
}

fn change_all(element: &mut Element, change: &mut impl FnMut(&mut Element)) {
    change(element);
    for child in &mut element.children {
        change_all(child, change);
    }
}

fn third(configuration: &mut Element, changes: &mut Vec<Change>) {
    let moved = cluster_options(configuration, changes);
    for (section, pairs) in moved {
        to_defaults(configuration, section, pairs);
    }
    change_all(configuration, &mut |element| match element.name.as_str() {
        "node" if element.get("type") == Some("normal") => {
            element.attributes.insert("type", "member");
            let what =
                format!("node \"{}\": type normal is called member now", element.id().unwrap_or_default());
            changes.push(Change { position: element.position, what });
        }
        "rsc_colocation" => {
            for drop in COLOCATION_DROPS {
                if element.attributes.remove(drop).is_some() {
                    let id = element.id().unwrap_or_default();
                    let what = format!("colocation \"{id}\": {drop} never had an effect and is dropped");
                    changes.push(Change { position: element.position, what });
                }
            }
        }
        "primitive" | "template" => resource(element, changes),
        _ => {}
    });
}

/// Renames and drops options; returns those that go to the defaults, by section.
fn cluster_options(
    configuration: &mut Element,
    changes: &mut Vec<Change>,
) -> [(&'static str, Vec<Element>); 2] {
    let mut moved = [("op_defaults", Vec::new()), ("rsc_defaults", Vec::new())];
    for section in configuration.children.iter_mut().filter(|c| c.name == "crm_config") {
        section.children.retain_mut(|block| {
            if block.name != "cluster_property_set" {
                return true;
            }
            let conditional = block.child("rule").is_some();
            block.children.retain_mut(|pair| {
                if pair.name != "nvpair" {
                    return true;
                }
                let name = pair.get("name").unwrap_or_default().to_owned();
                let Some(fate) = option_fate(&name, pair.get("value").unwrap_or_default()) else { return true };
                let position = pair.position;
                let mut say = |what: String| changes.push(Change { position, what });
                match fate {
                    Fate::Dropped => {
                        say(format!("cluster option {name} means nothing any more and is dropped"));
                        false
                    }
                    Fate::Renamed(new, value) => {
                        say(format!("cluster option {name} is called {new} now"));
                        rename(pair, new, value);
                        true
                    }
                    Fate::Moved(target, _, _) if conditional => {
                        say(format!(
                            "cluster option {name} depends on a rule and is dropped; it belongs to {target} now, set it there"
                        ));
                        false
                    }
                    Fate::Moved(target, new, value) => {
                        say(format!("cluster option {name} is {new} in {target} now, unless that is set there"));
                        rename(pair, new, value);
                        let into = moved.iter_mut().find(|(section, _)| *section == target);
                        into.into_iter().for_each(|(_, pairs)| pairs.push(pair.clone()));
                        false
                    }
                }
            });
            block.children.iter().any(|c| c.name == "nvpair")
        });
    }
    moved
}

fn rename(pair: &mut Element, name: &str, value: Option<&str>) {
    pair.attributes.insert("name", name);
    if let Some(value) = value
        && pair.get("value").is_some()
    {
        pair.attributes.insert("value", value);
    }
}

/// Into the first block of the defaults that always holds. Defaults with none that does get nothing, as with the peer.
fn to_defaults(configuration: &mut Element, section: &str, mut pairs: Vec<Element>) {
    if let Some(defaults) = configuration.children.iter_mut().find(|c| c.name == section) {
        let always = |b: &Element| b.name == "meta_attributes" && b.child("rule").is_none();
        let there: BTreeSet<String> = defaults
            .children
            .iter()
            .filter(|b| always(b))
            .flat_map(|b| b.children_named("nvpair"))
            .filter_map(|p| p.get("name").map(str::to_owned))
            .collect();
        pairs.retain(|p| p.get("name").is_none_or(|name| !there.contains(name)));
        if let Some(block) = defaults.children.iter_mut().find(|b| always(b)) {
            block.children.append(&mut pairs);
        }
    } else if !pairs.is_empty() {
        let id = format!("{NEW_ID}-{}", section.replace('_', "-"));
        let block = Element { children: pairs.into(), ..Element::new("meta_attributes").with("id", &id) };
        configuration.children.push(Element { children: vec![block].into(), ..Element::new(section) });
    }
}

fn resource(element: &mut Element, changes: &mut Vec<Change>) {
    let id = element.id().unwrap_or_default().to_owned();
    let requires = requires_of_operations(element, &id, changes);
    let own: BTreeSet<String> = always_set(element);
    for operations in element.children.iter_mut().filter(|c| c.name == "operations") {
        for op in operations.children.iter_mut().filter(|c| c.name == "op") {
            operation(op, &id, &own, changes);
        }
    }
    parameters(element, &id, changes);
    metas(element, &id, changes);
    element.children.extend(requires);
}

/// Names in a resource's meta-attributes that hold whatever the time and the node.
fn always_set(element: &Element) -> BTreeSet<String> {
    let blocks = element.children_named("meta_attributes").filter(|b| b.child("rule").is_none());
    let pairs = blocks.flat_map(|b| b.children_named("nvpair"));
    pairs.filter_map(|p| p.get("name").map(str::to_owned)).collect()
}

fn parameters(element: &mut Element, id: &str, changes: &mut Vec<Change>) {
    element.children.retain_mut(|block| {
        if block.name != "instance_attributes" || block.get("id-ref").is_some() {
            return true;
        }
        block.children.retain_mut(|pair| {
            let name = pair.get("name").unwrap_or_default().to_owned();
            let value = pair.get("value").unwrap_or_default().to_owned();
            let Some((new, prefix)) = parameter_fate(&name, &value).filter(|_| pair.name == "nvpair") else {
                return true;
            };
            let what = if new.is_empty() {
                format!("resource \"{id}\": parameter {name} means nothing any more and is dropped")
            } else {
                format!("resource \"{id}\": parameter {name} is called {new} now")
            };
            changes.push(Change { position: pair.position, what });
            rename(pair, new, value.strip_prefix(prefix));
            !new.is_empty()
        });
        block.children.iter().any(|c| c.name == "nvpair")
    });
}

fn metas(element: &mut Element, id: &str, changes: &mut Vec<Change>) {
    // What follows a block decides whether a pair is made again: the new names in the blocks from this one on. A quirk of
    // the peer's comes with it: a new pair is only kept if it comes before every other pair that it looks at.
    let blocks: Vec<usize> =
        (0..element.children.len()).filter(|i| element.children[*i].name == "meta_attributes").collect();
    let fates: Vec<Vec<Option<&'static str>>> = blocks
        .iter()
        .map(|b| {
            let pairs = element.children[*b].children_named("nvpair");
            pairs
                .map(|p| {
                    let fate =
                        meta_fate(p.get("name").unwrap_or_default(), p.get("value").unwrap_or_default());
                    // `None`: stays as it is. Dropped ones leave no trace.
                    fate.map(|(new, _)| new)
                })
                .collect()
        })
        .collect();
    let conditional: Vec<bool> =
        blocks.iter().map(|b| element.children[*b].child("rule").is_some()).collect();
    let mut emptied = BTreeSet::new();
    for (at, block) in blocks.iter().enumerate() {
        let mut pair_at = 0;
        let looked_at: Vec<(usize, usize, Option<&str>)> = (at..blocks.len())
            .filter(|b| !conditional[*b])
            .flat_map(|b| fates[b].iter().enumerate().map(move |(p, f)| (b, p, *f)))
            .filter(|(_, _, fate)| *fate != Some(""))
            .collect();
        if fates[at].iter().all(|fate| *fate == Some("")) {
            emptied.insert(*block);
        }
        element.children[*block].children.retain_mut(|pair| {
            if pair.name != "nvpair" {
                return true;
            }
            let place = (at, pair_at);
            pair_at += 1;
            let name = pair.get("name").unwrap_or_default().to_owned();
            let Some((new, value)) = meta_fate(&name, pair.get("value").unwrap_or_default()) else {
                return true;
            };
            let known = looked_at.iter().any(|(_, _, fate)| *fate == Some(new));
            let first = looked_at.first().is_some_and(|(b, p, _)| (*b, *p) == place);
            let keep = !new.is_empty() && (!known || first);
            let what = if keep {
                format!("resource \"{id}\": {name} is {new}={value} now")
            } else if new.is_empty() {
                format!("resource \"{id}\": {name} is dropped; set migration-threshold instead")
            } else {
                format!("resource \"{id}\": {name} is dropped; set {new}={value} if that is wanted")
            };
            changes.push(Change { position: pair.position, what });
            rename(pair, new, Some(value));
            keep
        });
    }
    // A block of which a pair might have been made again stays, even empty.
    let mut at = 0;
    element.children.retain(|block| {
        at += 1;
        !emptied.contains(&(at - 1)) || block.get("id-ref").is_some()
    });
}

/// `requires` of start and promote becomes the resource's, unless that has one: attributes of operations win over their
/// blocks, later operations over earlier ones. For the others it had no effect. Returns the blocks to add; those that are
/// empty now are left to [`operation`].
fn requires_of_operations(element: &mut Element, id: &str, changes: &mut Vec<Change>) -> Vec<Element> {
    let mut free = !always_set(element).contains("requires");
    let mut made = Vec::new();
    let mut from_attribute = None;
    let mut from_blocks = Vec::new();
    for operations in element.children.iter_mut().filter(|c| c.name == "operations") {
        for op in operations.children.iter_mut().filter(|c| c.name == "op") {
            let counts = matches!(op.get("name"), Some("start" | "promote"));
            let op_id = op.id().unwrap_or_default().to_owned();
            let position = op.position;
            let mut say = |position| {
                let what = if counts {
                    format!(
                        "resource \"{id}\": requires of operation \"{op_id}\" is the resource's now, unless that has its own"
                    )
                } else {
                    format!(
                        "resource \"{id}\": requires of operation \"{op_id}\" had no effect and is dropped"
                    )
                };
                changes.push(Change { position, what });
            };
            if let Some(value) = op.attributes.remove("requires") {
                say(position);
                if counts {
                    let pair = Element::new("nvpair")
                        .with("id", &format!("{NEW_ID}{op_id}-meta-requires"))
                        .with("name", "requires")
                        .with("value", &value);
                    from_attribute = Some(Element { position, ..pair });
                }
            }
            for block in &mut op.children {
                if !matches!(block.name.as_str(), "meta_attributes" | "instance_attributes") {
                    continue;
                }
                let mut kept = Vec::new();
                let mut taken = Vec::new();
                for pair in std::mem::take(&mut block.children) {
                    if pair.name == "nvpair" && pair.get("name") == Some("requires") {
                        say(pair.position);
                        taken.push(pair);
                    } else {
                        kept.push(pair);
                    }
                }
                block.children = kept.into();
                if counts && !taken.is_empty() {
                    let mut copy = Element { position: block.position, ..Element::new("meta_attributes") };
                    copy.attributes = block.attributes.iter().filter(|(n, _)| *n != "id").collect();
                    let block_id = block.id().unwrap_or_default();
                    copy.attributes.insert("id", format!("{NEW_ID}{block_id}"));
                    copy.children = block.children.iter().filter(|c| c.name != "nvpair").cloned().collect();
                    copy.children.extend(taken);
                    from_blocks.push((block.name == "meta_attributes", copy));
                }
            }
        }
    }
    if let Some(pair) = from_attribute
        && free
    {
        let block = Element::new("meta_attributes").with("id", &format!("{NEW_ID}{id}-meta"));
        made.push(Element { position: pair.position, children: vec![pair].into(), ..block });
        free = false;
    }
    // Of the blocks without a rule the last one counts, meta-attributes before parameters.
    let always = |(meta, block): &(bool, Element), want: bool| *meta == want && block.child("rule").is_none();
    let last = from_blocks
        .iter()
        .rposition(|b| always(b, true))
        .or_else(|| from_blocks.iter().rposition(|b| always(b, false)));
    if free {
        let metas_last = from_blocks.iter().rposition(|b| always(b, true));
        for (at, (meta, block)) in from_blocks.into_iter().enumerate() {
            let outdone = if meta { metas_last } else { last };
            if outdone.is_none_or(|winner| at >= winner && (meta || winner == at)) {
                made.push(block);
            }
        }
    }
    made
}

/// Parameters of an operation that are meta-attributes move to those.
fn operation(op: &mut Element, resource: &str, own: &BTreeSet<String>, changes: &mut Vec<Change>) {
    let op_id = op.id().unwrap_or_default().to_owned();
    let mut moved: Vec<Element> = Vec::new();
    let mut conditional: Vec<Element> = Vec::new();
    let blocks: Vec<usize> =
        (0..op.children.len()).filter(|i| op.children[*i].name == "instance_attributes").collect();
    for (nth, at) in blocks.iter().enumerate() {
        let later: BTreeSet<String> = blocks[nth + 1..]
            .iter()
            .map(|b| &op.children[*b])
            .filter(|b| b.child("rule").is_none())
            .flat_map(|b| b.children_named("nvpair"))
            .filter_map(|p| p.get("name").map(str::to_owned))
            .collect();
        let block = &mut op.children[*at];
        let mut taken = Vec::new();
        block.children.retain(|pair| {
            let name = pair.get("name").unwrap_or_default();
            if pair.name != "nvpair" || !is_meta_of_operation(name) {
                return true;
            }
            let what =
                format!("resource \"{resource}\": parameter {name} of operation \"{op_id}\" is a meta-attribute of it now");
            changes.push(Change { position: pair.position, what });
            if !own.contains(name) && !later.contains(name) {
                taken.push(pair.clone());
            }
            false
        });
        if taken.is_empty() {
            continue;
        }
        if block.child("rule").is_some() {
            let mut copy = Element { position: block.position, ..Element::new("meta_attributes") };
            copy.attributes = block.attributes.iter().filter(|(n, _)| *n != "id").collect();
            copy.attributes.insert("id", format!("{NEW_ID}{}", block.id().unwrap_or_default()));
            copy.children = block.children.iter().filter(|c| c.name != "nvpair").cloned().collect();
            copy.children.extend(taken);
            conditional.push(copy);
        } else {
            moved.extend(taken);
        }
    }
    let is_first = |b: &Element| b.name == "meta_attributes" && b.child("rule").is_none();
    if !moved.is_empty() {
        if let Some(first) = op.children.iter_mut().find(|b| is_first(b)) {
            first.children.extend(moved);
        } else {
            let position = op.position;
            let block = Element::new("meta_attributes").with("id", &format!("{NEW_ID}{op_id}-meta"));
            op.children.push(Element { position, children: moved.into(), ..block });
        }
    }
    op.children.extend(conditional);
    op.children.retain(|block| {
        !matches!(block.name.as_str(), "meta_attributes" | "instance_attributes")
            || block.get("id-ref").is_some()
            || block.children.iter().any(|c| c.name == "nvpair")
    });
}
