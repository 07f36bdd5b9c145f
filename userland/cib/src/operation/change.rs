//! What each kind of operation does to the tree. Which element is meant, and what merging does, is the peer's, with its corners.

use super::{EMPTY, Operation, OperationKind, Refusal, version};
use crate::patch;
use crate::tree::Element;
use crate::upgrade::{SCHEMAS, schema_index, upgrade};
use crate::validate::validate;
use crate::values::Score;
use crate::xpath::{Place, XPath};

/// Sections of the configuration that an operation can be limited to.
const SECTIONS: [&str; 10] = [
    "crm_config",
    "nodes",
    "resources",
    "constraints",
    "rsc_defaults",
    "op_defaults",
    "acls",
    "fencing-topology",
    "tags",
    "alerts",
];

/// Where a section stands; a name that is none means the whole document, as no name does.
fn way(section: Option<&str>) -> Vec<&str> {
    match section {
        Some(name @ ("configuration" | "status")) => vec![name],
        Some("tickets") => vec!["status", "tickets"],
        Some(name) if SECTIONS.contains(&name) => vec!["configuration", name],
        _ => Vec::new(),
    }
}

fn find(root: &Element, section: Option<&str>) -> Option<Place> {
    let mut at = root;
    let mut place = Place::new();
    for name in way(section) {
        let child = at.children.iter().position(|c| c.name == name)?;
        place.push(child);
        at = &at.children[child];
    }
    Some(place)
}

fn no_section(section: Option<&str>) -> Refusal {
    Refusal::missing(format!("there is no section \"{}\"", section.unwrap_or("cib")))
}

/// The element that an operation works with. Of a whole document only the section that is meant counts.
pub(super) fn input(operation: &Operation) -> Result<Option<Element>, Refusal> {
    let Some(text) = &operation.xml else { return Ok(None) };
    let input =
        Element::parse(text, "input").map_err(|e| Refusal::new(78, "Couldn't parse input", e.to_string()))?;
    if input.name != "cib" || way(operation.section.as_deref()).is_empty() {
        return Ok(Some(input));
    }
    let place = find(&input, operation.section.as_deref());
    Ok(place.and_then(|place| input.at(&place).cloned()))
}

pub(super) fn query(
    root: &Element,
    operation: &Operation,
    xpath: Option<&XPath>,
) -> Result<Element, Refusal> {
    let shown = |element: &Element| match operation.options.no_children {
        true => element.clone_alone(),
        false => element.clone(),
    };
    let Some(xpath) = xpath else {
        let section = operation.section.as_deref();
        let place = find(root, section).ok_or_else(|| no_section(section))?;
        return root.at(&place).map(shown).ok_or_else(|| no_section(section));
    };
    let places = select(root, xpath)?;
    let mut all = Element::new("xpath-query");
    if operation.options.node_path && !operation.options.no_children {
        all.children
            .extend(places.iter().map(|p| Element::new("xpath-query-path").with("id", &root.path_of(p))));
        return Ok(all);
    }
    all.children.extend(places.iter().filter_map(|p| root.at(p)).map(shown));
    if all.children.len() == 1 { Ok(all.children.remove(0)) } else { Ok(all) }
}

/// At least one.
fn select(root: &Element, xpath: &XPath) -> Result<Vec<Place>, Refusal> {
    let places = xpath.select(root).map_err(|e| Refusal::missing(e.to_string()))?;
    if places.is_empty() { Err(Refusal::missing("the XPath selects nothing")) } else { Ok(places) }
}

/// The document after an operation, its version not raised yet.
pub(super) fn change(
    document: &Element,
    operation: &Operation,
    xpath: Option<&XPath>,
    input: Option<&Element>,
) -> Result<Element, Refusal> {
    let section = operation.section.as_deref();
    let need = || input.ok_or_else(|| Refusal::invalid("it needs XML to work with"));
    let mut root = document.clone();
    match operation.kind {
        OperationKind::Query => {}
        OperationKind::Create => match xpath {
            Some(xpath) => {
                let places = select(&root, xpath)?;
                create(&mut root, places.first().cloned(), need()?, section)?;
            }
            // Without a section, and for a whole document, creating is modifying: it finds what is there.
            None if way(section).is_empty() || need()?.name == "cib" => {
                modify(&mut root, operation, None, need()?)?;
            }
            None => {
                let place = find(&root, section);
                create(&mut root, place, need()?, section)?;
            }
        },
        OperationKind::Modify => modify(&mut root, operation, xpath, need()?)?,
        OperationKind::Replace => replace(&mut root, section, xpath, need()?)?,
        OperationKind::Delete | OperationKind::DeleteAll => {
            let all = operation.kind == OperationKind::DeleteAll;
            match xpath {
                Some(xpath) => delete_selected(&mut root, xpath, all)?,
                None => delete(&mut root, section, need()?)?,
            }
        }
        OperationKind::Bump => version::add(&mut root, "epoch", 1),
        OperationKind::Upgrade => root = upgraded(root),
        OperationKind::Erase => {
            let mut empty =
                Element::parse(EMPTY, "empty CIB").map_err(|e| Refusal::invalid(e.to_string()))?;
            empty.attributes = root.attributes;
            version::add(&mut empty, "admin_epoch", 1);
            root = empty;
        }
        OperationKind::Patch => {
            // Nothing to apply is no mistake to the peer.
            if let Some(patch) = input {
                root = patch::apply(&root, patch, true).map_err(Refusal::from)?;
            }
        }
    }
    Ok(root)
}

// Modify.

fn modify(
    root: &mut Element,
    operation: &Operation,
    xpath: Option<&XPath>,
    input: &Element,
) -> Result<(), Refusal> {
    let missing = || {
        Refusal::missing(format!(
            "there is no <{}{}> to change; to add it: --allow-create",
            input.name,
            input.id().map(|id| format!(" id=\"{id}\"")).unwrap_or_default()
        ))
    };
    if let Some(xpath) = xpath {
        let place = select(root, xpath)?.remove(0);
        let target = root.at_mut(&place).ok_or_else(missing)?;
        return if update_first(target, input) { Ok(()) } else { Err(missing()) };
    }
    let section = operation.section.as_deref();
    // A section that is missing is made.
    let mut target = root;
    for name in way(section) {
        target = target.child_mut(name);
    }
    if update_first(target, input) {
        return Ok(());
    }
    if !operation.options.allow_create {
        return Err(missing());
    }
    target.children.push(input.clone());
    Ok(())
}

/// Merges into the first element, at or below this one, that has the same name and id.
fn update_first(target: &mut Element, update: &Element) -> bool {
    let mut place = Place::new();
    if !find_first(target, update, &mut place) {
        return false;
    }
    let first = target.at_mut(&place);
    first.is_some_and(|first| {
        merge(first, update);
        true
    })
}

/// Where it is, looked for without taking a copy of what is not changed.
fn find_first(target: &Element, update: &Element, place: &mut Place) -> bool {
    if target.name == update.name && target.id() == update.id() {
        return true;
    }
    for (at, child) in target.children.iter().enumerate() {
        place.push(at);
        if find_first(child, update, place) {
            return true;
        }
        place.pop();
    }
    false
}

/// Sets the attributes that are given, then does the same with each child: found by its id, or by what it refers to, or as the first
/// one of its name; else added.
pub(crate) fn merge(target: &mut Element, update: &Element) {
    copy_attributes(target, update);
    for child in &update.children {
        let (key, value) = match (child.id(), child.get("id-ref")) {
            (Some(id), _) => ("id", Some(id)),
            (None, Some(reference)) => ("id-ref", Some(reference)),
            (None, None) => ("", None),
        };
        let at = target
            .children
            .iter()
            .position(|c| c.name == child.name && value.is_none_or(|value| c.get(key) == Some(value)));
        let at = at.unwrap_or_else(|| {
            target.children.push(Element::new(&child.name));
            target.children.len() - 1
        });
        merge(&mut target.children[at], child);
    }
}

fn copy_attributes(target: &mut Element, from: &Element) {
    for (name, value) in from.attributes.iter() {
        let value = match target.get(name) {
            Some(old) => expanded(name, value, Some(old)),
            None => None,
        }
        .unwrap_or_else(|| value.to_owned());
        target.attributes.insert(name, value);
    }
}

/// `name++` and `name+=5` count on from the old value. `None`: it is neither.
fn expanded(name: &str, value: &str, old: Option<&str>) -> Option<String> {
    let rest = value.strip_prefix(name)?;
    let number = |text: &str| i64::from(Score::parse(text).unwrap_or(Score::ZERO).get());
    let add = match (rest.strip_prefix("++"), rest.strip_prefix("+=")) {
        (Some(_), _) => 1,
        (None, Some(by)) => number(by),
        (None, None) => return None,
    };
    // As a version counts: beyond an int there is no way to go on.
    let sum = number(old.unwrap_or("0")).saturating_add(add).min(i64::from(Score::INFINITY.get()));
    Some(sum.to_string())
}

/// What was set by `name++` where nothing was before counts from nothing.
pub(super) fn expand_all(root: &mut Element) {
    let mut places = Vec::new();
    counting(root, &mut Place::new(), &mut places);
    for element in places {
        let Some(element) = root.at_mut(&element) else { continue };
        let counts: Vec<(String, String)> = element
            .attributes
            .iter()
            .filter_map(|(name, value)| Some((name.to_owned(), expanded(name, value, None)?)))
            .collect();
        for (name, value) in counts {
            element.attributes.insert(&name, value);
        }
    }
}

/// Whether something in the input may count on. Values as they were read: a plus sign may have been written as a reference.
pub(super) fn counts_on(input: &Element) -> bool {
    let mut found = false;
    input.walk(&mut |element| {
        found |= element.attributes.iter().any(|(_, value)| value.contains("++") || value.contains("+="));
    });
    found
}

/// Where something counts on. Only that is changed, so that all else stays shared with what the document was.
fn counting(element: &Element, place: &mut Place, found: &mut Vec<Place>) {
    if element.attributes.iter().any(|(name, value)| expanded(name, value, None).is_some()) {
        found.push(place.clone());
    }
    for (at, child) in element.children.iter().enumerate() {
        place.push(at);
        counting(child, place, found);
        place.pop();
    }
}

// Create.

fn create(
    root: &mut Element,
    place: Option<Place>,
    input: &Element,
    section: Option<&str>,
) -> Result<(), Refusal> {
    let all: &[Element] =
        if section == Some(input.name.as_str()) { &input.children } else { std::slice::from_ref(input) };
    let target = place.as_deref().and_then(|place| root.at_mut(place));
    let Some(target) = target else {
        let what = format!(
            "there is no section \"{}\" to create it in; to make it: --modify --allow-create",
            section.unwrap_or("cib")
        );
        return Err(failed(Refusal::invalid(what), all.first().unwrap_or(input)));
    };
    for new in all {
        let is_there =
            target.children.iter().any(|c| c.name == new.name && (new.id().is_none() || c.id() == new.id()));
        if is_there {
            let what = format!(
                "<{} id=\"{}\"> is there already; to change it: --modify",
                new.name,
                new.id().unwrap_or_default()
            );
            return Err(failed(Refusal::new(108, "File exists", what), new));
        }
        target.children.push(Element::new(&new.name));
        if let Some(made) = target.children.last_mut() {
            fill(made, new);
        }
    }
    Ok(())
}

/// As the peer fills a new element: `replace="NAME"` takes out a child of that name first, and children of one name and id become one.
fn fill(target: &mut Element, update: &Element) {
    if let Some(name) = update.get("replace")
        && let Some(at) = target.children.iter().position(|c| c.name == name)
    {
        target.children.remove(at);
    }
    let mut attributes = update.clone();
    attributes.children.clear();
    attributes.attributes.remove("replace");
    copy_attributes(target, &attributes);
    for child in &update.children {
        let at = target
            .children
            .iter()
            .position(|c| c.name == child.name && (child.id().is_none() || c.id() == child.id()));
        let at = at.unwrap_or_else(|| {
            target.children.push(Element::new(&child.name));
            target.children.len() - 1
        });
        fill(&mut target.children[at], child);
    }
}

fn failed(refusal: Refusal, what: &Element) -> Refusal {
    let mut update = Element::new("failed_update");
    if let Some(id) = what.id() {
        update.attributes.insert("id", id);
    }
    let mut update =
        update.with("object_type", &what.name).with("operation", "cib_create").with("reason", &refusal.text);
    update.children.push(what.clone());
    let mut all = Element::new("failed");
    all.children.push(update);
    Refusal { failed: Some(all.to_xml()), ..refusal }
}

// Replace.

fn replace(
    root: &mut Element,
    section: Option<&str>,
    xpath: Option<&XPath>,
    input: &Element,
) -> Result<(), Refusal> {
    if let Some(xpath) = xpath {
        let place = select(root, xpath)?.remove(0);
        let Some((_, above)) = place.split_last() else {
            return Err(Refusal::invalid("the whole document is replaced without an XPath"));
        };
        root.take(&place);
        // The peer puts it at the end.
        if let Some(parent) = root.at_mut(above) {
            parent.children.push(input.clone());
        }
        return Ok(());
    }
    if input.name == "cib" {
        let (old, new) = (version::of(root), version::of(input));
        if new < old {
            return Err(version::old_data(old, new));
        }
        *root = input.clone();
        root.child_mut("status");
        return Ok(());
    }
    // The section itself is meant, not something in it.
    let section = section.filter(|name| *name != input.name);
    let place = find(root, section).ok_or_else(|| no_section(section))?;
    let target = root.at_mut(&place).ok_or_else(|| no_section(section))?;
    if replace_below(target, input) {
        return Ok(());
    }
    Err(Refusal::missing(format!(
        "there is no <{} id=\"{}\"> to replace; to add it: --create",
        input.name,
        input.id().unwrap_or_default()
    )))
}

fn replace_below(target: &mut Element, input: &Element) -> bool {
    for child in &mut target.children {
        if child.name.eq_ignore_ascii_case(&input.name) && (input.id().is_none() || child.id() == input.id())
        {
            *child = input.clone();
            return true;
        }
        if replace_below(child, input) {
            return true;
        }
    }
    false
}

// Delete.

fn delete(root: &mut Element, section: Option<&str>, input: &Element) -> Result<(), Refusal> {
    let Some(place) = find(root, section) else { return Ok(()) };
    let Some(target) = root.at_mut(&place) else { return Ok(()) };
    // A section with elements in it: each of these, not the section.
    let all: &[Element] = match section {
        Some(name) if name.eq_ignore_ascii_case(&input.name) => &input.children,
        _ => std::slice::from_ref(input),
    };
    for one in all {
        delete_below(target, one);
    }
    Ok(())
}

fn delete_below(target: &mut Element, input: &Element) -> bool {
    for at in 0..target.children.len() {
        let child = &mut target.children[at];
        // Names and values are compared without regard to case, ids with.
        let is_it = child.name.eq_ignore_ascii_case(&input.name)
            && (input.id().is_none() || child.id() == input.id())
            && input
                .attributes
                .iter()
                .all(|(name, value)| child.get(name).is_some_and(|v| v.eq_ignore_ascii_case(value)));
        if is_it {
            target.children.remove(at);
            return true;
        }
        if delete_below(child, input) {
            return true;
        }
    }
    false
}

fn delete_selected(root: &mut Element, xpath: &XPath, all: bool) -> Result<(), Refusal> {
    let mut places = xpath.select(root).map_err(|e| Refusal::missing(e.to_string()))?;
    if !all {
        places.truncate(1);
    }
    if places.iter().any(Vec::is_empty) {
        return Err(Refusal::invalid("the XPath selects the whole document; to empty it: --erase"));
    }
    places.sort_unstable();
    places.dedup();
    // From the last one, so that places stay what they are.
    for place in places.iter().rev() {
        root.take(place);
    }
    Ok(())
}

// Upgrade.

/// To the newest schema that the document fits, its version beginning anew under a higher `admin_epoch`.
fn upgraded(root: Element) -> Element {
    let from = root.get("validate-with").and_then(schema_index);
    let mut new = upgrade(root.clone()).root;
    for schema in SCHEMAS[from.unwrap_or(0)..].iter().rev() {
        new.attributes.insert("validate-with", schema);
        if validate(new.clone()).usable {
            break;
        }
    }
    if new.get("validate-with").and_then(schema_index) <= from {
        return root;
    }
    version::add(&mut new, "admin_epoch", 1);
    new.attributes.insert("epoch", "1");
    new.attributes.insert("num_updates", "1");
    new
}
