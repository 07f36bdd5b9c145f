//! Changing what resources are given.

use std::collections::BTreeSet;

use cib::Element;
use cib::Score;
use scheduler::{ResourceId, Variant, WorkingSet};

use super::super::output::Out;
use super::super::results::Code;
use super::super::session::Session;
use super::{DONE, Done, Found, NO_SUCH, Stop, Task, USAGE};

pub(super) fn delete(task: &Task<'_>, session: &mut Session) -> Result<Done, Stop> {
    let Some(kind) = task.given.get("resource-type") else {
        return Err(Stop::new(NO_SUCH, "You need to specify a resource type with -t"));
    };
    session.delete("resources", &Element::new(kind).with("id", task.name)).map_err(performing)?;
    DONE
}

pub(super) fn property(task: &Task<'_>, session: &mut Session) -> Result<Done, Stop> {
    let (kind, value) = (task.given.get("resource-type"), task.given.get("parameter-value"));
    let Some(kind) = kind.filter(|k| !k.is_empty()) else {
        return Err(Stop::new(NO_SUCH, "Must specify -t with resource type"));
    };
    let Some(value) = value.filter(|v| !v.is_empty()) else {
        return Err(Stop::new(NO_SUCH, "Must supply -v with new value"));
    };
    let name = task.given.get("set-property").unwrap_or_default();
    let xml = Element::new(kind).with("id", task.name).with(name, value);
    session.modify("resources", &xml).map_err(performing)?;
    DONE
}

/// The document's own reasons are not said: what came of it is.
fn performing(refusal: cib::operation::Refusal) -> Stop {
    let details = refusal.details.join("\n");
    let stop = Stop::from(refusal);
    let text = format!("Error performing operation: {}", stop.text);
    Stop { text: if details.is_empty() { text } else { details }, ..stop }
}

/// Which pairs are meant.
struct Pairs<'a> {
    /// `instance_attributes`, `meta_attributes`, `utilization`.
    kind: &'static str,
    set: Option<&'a str>,
    id: Option<&'a str>,
    name: &'a str,
}

impl Pairs<'_> {
    /// The pair of a resource that matches; several are shown. `kind`: in any block if there is none.
    fn find(
        &self,
        document: &Element,
        resource: &str,
        kind: Option<&str>,
        out: &mut Out<'_>,
    ) -> Result<(String, String), Code> {
        let resources = document.child("configuration").and_then(|c| c.child("resources"));
        let Some(element) = resources.and_then(|r| r.find_id(resource)) else { return Err(Code::NXIO) };
        let blocks = element.children.iter().filter(|b| {
            kind.is_none_or(|kind| b.name == kind)
                && (kind.is_none() || self.set.is_none_or(|s| b.id() == Some(s)))
        });
        let mut found = Vec::new();
        for block in blocks {
            block.walk(&mut |pair| {
                let same_id = self.id.is_none_or(|id| pair.id() == Some(id));
                if pair.name == "nvpair" && same_id && pair.get("name") == Some(self.name) {
                    found.push((pair.id().unwrap_or_default(), pair.get("value").unwrap_or_default()));
                }
            });
        }
        match found[..] {
            [] => Err(Code::NXIO),
            [(id, value)] => Ok((id.to_owned(), value.to_owned())),
            _ => {
                out.info(format_args!("Multiple attributes match name={}", self.name));
                for (id, value) in found {
                    out.info(format_args!("  Value: {value} \t(id={id})"));
                }
                out.print(format_args!("\n"));
                Err(Code::NOTUNIQ)
            }
        }
    }
}

pub(super) fn parameter(
    task: &Task<'_>,
    set: &mut WorkingSet<'_>,
    found: Found,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<Done, Stop> {
    let Some(resource) = found.resource else { return DONE };
    let kind = match task.given.last_of(&["meta", "utilization"]) {
        Some("meta") => "meta_attributes",
        Some(_) => "utilization",
        None => "instance_attributes",
    };
    let pairs = Pairs {
        kind,
        set: task.given.get("set-name"),
        id: task.given.get("nvpair"),
        name: task.given.get(task.command).unwrap_or_default(),
    };
    if task.command == "delete-parameter" {
        delete_pair(task, set, resource, &pairs, session, out)?;
        return DONE;
    }
    let Some(value) = task.given.get("parameter-value").filter(|v| !v.is_empty()) else {
        return Err(Stop::new(USAGE, "You need to supply a value with the -v option"));
    };
    let recursive = task.given.has("recursive");
    if recursive {
        set.read_constraints_only();
    }
    let mut changed = BTreeSet::new();
    set_pair(task.name, task.force, set, resource, &pairs, value, recursive, &mut changed, session, out)?;
    DONE
}

/// An id without the number of an instance.
pub(super) fn without_number(id: &str) -> &str {
    match id.rsplit_once(':') {
        Some((base, number)) if !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()) => base,
        _ => id,
    }
}

/// The resources whose pairs are changed when those of one are: a member may have the whole's, a clone its instances'.
#[expect(clippy::too_many_arguments, reason = "the resource, what is changed, and where it is said")]
fn meant(
    name: &str,
    force: bool,
    set: &WorkingSet<'_>,
    id: ResourceId,
    pairs: &Pairs<'_>,
    verb: &str,
    document: &Element,
    out: &mut Out<'_>,
) -> Vec<ResourceId> {
    let resource = set.resource_at(id);
    let is_clone = |id: ResourceId| matches!(set.resource_at(id).variant, Variant::Clone(_));
    if force {
        return vec![id];
    }
    let kind = Some(pairs.kind);
    if let Some(parent) = resource.parent.filter(|p| is_clone(*p)) {
        if pairs.find(document, name, kind, out).is_ok() {
            return vec![id];
        }
        let parent_id = &set.resource_at(parent).id;
        out.info(format_args!(
            "Performing {verb} of '{}' on '{parent_id}', the parent of '{name}'",
            pairs.name
        ));
        return vec![parent];
    }
    if is_clone(id) && resource.parent.is_none() {
        if let Some(child) = resource.children.first() {
            let inside = set.resource_at(*child);
            let base = without_number(&inside.id);
            let primitive = matches!(inside.variant, Variant::Primitive);
            if primitive && pairs.find(document, base, kind, out).is_ok() {
                out.info(format_args!(
                    "A value for '{}' already exists in child '{base}', performing {verb} on that instead of '{name}'",
                    pairs.name
                ));
                return vec![*child];
            }
        }
        return vec![id];
    }
    let mut all = Vec::new();
    members(set, id, pairs, document, 0, &mut all, out);
    all
}

fn members(
    set: &WorkingSet<'_>,
    id: ResourceId,
    pairs: &Pairs<'_>,
    document: &Element,
    depth: usize,
    all: &mut Vec<ResourceId>,
    out: &mut Out<'_>,
) {
    let resource = set.resource_at(id);
    let once = matches!(resource.variant, Variant::Clone(_));
    for child in resource.children.iter().take(if once { 1 } else { usize::MAX }) {
        members(set, *child, pairs, document, depth + 1, all, out);
    }
    let has = pairs.find(document, without_number(&resource.id), Some(pairs.kind), out).is_ok();
    if depth == 0 || has {
        all.push(id);
    }
}

#[expect(clippy::too_many_arguments, reason = "what is passed down when colocations are followed")]
pub(super) fn set_pair_of(
    name: &str,
    set: &WorkingSet<'_>,
    id: ResourceId,
    meta: &str,
    value: &str,
    force: bool,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<(), Stop> {
    let pairs = Pairs { kind: "meta_attributes", set: None, id: None, name: meta };
    set_pair(name, force, set, id, &pairs, value, false, &mut BTreeSet::new(), session, out)
}

#[expect(clippy::too_many_arguments, reason = "what is passed down when colocations are followed")]
fn set_pair(
    name: &str,
    force: bool,
    set: &WorkingSet<'_>,
    id: ResourceId,
    pairs: &Pairs<'_>,
    value: &str,
    recursive: bool,
    changed: &mut BTreeSet<ResourceId>,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<(), Stop> {
    let document = session.document()?;
    let top = &set.resource_at(set.outermost(id)).id;
    if pairs.id.is_none() && !force {
        // Shows them if there are several, wherever they are.
        let _ = pairs.find(&document, top, None, out);
    }
    let resources = if pairs.kind == "instance_attributes" {
        if !force && let Ok((found, _)) = pairs.find(&document, top, Some("meta_attributes"), out) {
            if !out.is_quiet() {
                out.error(format_args!(
                    "WARNING: There is already a meta attribute for '{top}' called '{}' (id={found})",
                    pairs.name
                ));
                out.error(format_args!(
                    "         Delete '{found}' first or use the force option to override"
                ));
            }
            return Err(Code::NOTUNIQ.into());
        }
        vec![id]
    } else {
        meant(name, force, set, id, pairs, "update", &document, out)
    };
    // Whoever names the block or the pair means one resource.
    let only_last = pairs.set.is_some() || pairs.id.is_some();
    let from = if only_last { resources.len().saturating_sub(1) } else { 0 };
    let mut block = pairs.set.map(str::to_owned);
    for id in resources.into_iter().skip(from) {
        let resource = set.resource_at(id);
        let lookup = without_number(&resource.id);
        let (pair_id, new) = match pairs.find(&document, lookup, Some(pairs.kind), out) {
            Ok((found, _)) => (found, false),
            Err(Code::NXIO) => {
                // The block of the first resource that had none is named for all that follow: as the original has it.
                let block = block.get_or_insert_with(|| format!("{lookup}-{}", pairs.kind));
                (pairs.id.map_or_else(|| format!("{block}-{}", pairs.name), str::to_owned), true)
            }
            Err(code) => return Err(code.into()),
        };
        let pair = Element::new("nvpair").with("id", &pair_id).with("name", pairs.name).with("value", value);
        let xml = if new {
            let mut inner = Element::new(pairs.kind).with("id", block.as_deref().unwrap_or_default());
            inner.children.push(pair);
            let mut outer = Element::new(&resource.element().name).with("id", lookup);
            outer.children.push(inner);
            outer
        } else {
            pair
        };
        session.modify("resources", &xml).map_err(performing)?;
        let in_block = block.as_ref().map(|b| format!(" set={b}")).unwrap_or_default();
        // A pair that was named by its id is not said to have been found by it.
        let shown = if new && pairs.id.is_some() { "(null)" } else { &pair_id };
        out.info(format_args!(
            "Set '{lookup}' option: id={shown}{in_block} name={} value={value}",
            pairs.name
        ));
        if !recursive || pairs.kind != "meta_attributes" {
            continue;
        }
        changed.insert(id);
        for view in set.colocation_views(id).1 {
            if view.score > Score::ZERO && !changed.contains(&view.dependent) {
                let of = Pairs { kind: pairs.kind, set: None, id: None, name: pairs.name };
                let dependent = set.resource_at(view.dependent).id.clone();
                set_pair(&dependent, force, set, view.dependent, &of, value, true, changed, session, out)?;
            }
        }
    }
    Ok(())
}

fn delete_pair(
    task: &Task<'_>,
    set: &WorkingSet<'_>,
    id: ResourceId,
    pairs: &Pairs<'_>,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<(), Stop> {
    delete_of(task.name, task.force, set, id, pairs, session, out)
}

pub(super) fn delete_pair_of(
    name: &str,
    set: &WorkingSet<'_>,
    id: ResourceId,
    meta: &str,
    force: bool,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<(), Stop> {
    let pairs = Pairs { kind: "meta_attributes", set: None, id: None, name: meta };
    delete_of(name, force, set, id, &pairs, session, out)
}

fn delete_of(
    name: &str,
    force: bool,
    set: &WorkingSet<'_>,
    id: ResourceId,
    pairs: &Pairs<'_>,
    session: &mut Session,
    out: &mut Out<'_>,
) -> Result<(), Stop> {
    let document = session.document()?;
    if pairs.id.is_none() && !force {
        let _ = pairs.find(&document, &set.resource_at(set.outermost(id)).id, None, out);
    }
    let resources = if pairs.kind == "meta_attributes" {
        meant(name, force, set, id, pairs, "delete", &document, out)
    } else {
        vec![id]
    };
    for id in resources {
        let lookup = without_number(&set.resource_at(id).id);
        let found = match pairs.find(&document, lookup, Some(pairs.kind), out) {
            Ok((found, _)) => found,
            Err(Code::NXIO) => continue,
            Err(code) => return Err(code.into()),
        };
        let pair = Element::new("nvpair").with("id", pairs.id.unwrap_or(&found)).with("name", pairs.name);
        session.delete("resources", &pair).map_err(performing)?;
        let in_block = pairs.set.map(|b| format!(" set={b}")).unwrap_or_default();
        out.info(format_args!("Deleted '{lookup}' option: id={found}{in_block} name={}", pairs.name));
    }
    Ok(())
}

/// The value of a resource's meta-attribute as it is written.
pub(super) fn written_meta(
    document: &Element,
    resource: &str,
    name: &str,
    out: &mut Out<'_>,
) -> Option<String> {
    let pairs = Pairs { kind: "meta_attributes", set: None, id: None, name };
    pairs.find(document, resource, Some("meta_attributes"), out).ok().map(|(_, value)| value)
}
