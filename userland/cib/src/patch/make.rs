//! Making a patch: what is gone, in the order of the old document, then what is changed, new or elsewhere, in that of the new one.

use std::collections::BTreeMap;

use super::{PatchError, VERSION, apply};
use crate::tree::Element;

pub(super) fn diff(from: &Element, to: &Element) -> Result<Option<Element>, PatchError> {
    if from == to {
        return Ok(None);
    }
    if from.name != to.name || from.id() != to.id() {
        let what =
            format!("<{}> and <{}> are two things; a patch is between states of one", from.name, to.name);
        return Err(PatchError::Failed(what));
    }
    let mut patch = Element::new("diff").with("format", "2");
    let mut version = Element::new("version");
    for (name, element) in [("source", from), ("target", to)] {
        let mut one = Element::new(name);
        for field in VERSION {
            one.attributes.insert(field, element.get(field).unwrap_or("1"));
        }
        version.children.push(one);
    }
    patch.children.push(version);
    let mut made = Made { changes: Vec::new(), doubtful: false };
    made.gone(from, to, &step("", from));
    made.changed(from, to, &step("", from));
    let fits = |patch: &Element| apply(from, patch, false).is_ok_and(|new| new == *to);
    let exact =
        Element { children: patch.children.iter().cloned().chain(made.changes).collect(), ..patch.clone() };
    // What is only taken out, changed and put in by place needs no proof.
    if !made.doubtful || fits(&exact) {
        return Ok(Some(exact));
    }
    let coarse =
        Element { children: patch.children.iter().cloned().chain(coarse(from, to)).collect(), ..patch };
    if fits(&coarse) {
        return Ok(Some(coarse));
    }
    Err(PatchError::Failed("an id holds \"']\", which no path can name; rename it".into()))
}

struct Made {
    changes: Vec<Element>,
    /// What may not come out as meant.
    doubtful: bool,
}

/// For each old and each new child the one that it is on the other side.
struct Pairing {
    old: Vec<Option<usize>>,
    new: Vec<Option<usize>>,
    /// Some share name and id, or have no id where others of their name stand beside them: a path may mean another one.
    ambiguous: bool,
}

fn keyed(element: &Element) -> BTreeMap<(&str, Option<&str>), Vec<usize>> {
    let mut map: BTreeMap<_, Vec<usize>> = BTreeMap::new();
    for (i, child) in element.children.iter().enumerate() {
        map.entry((child.name.as_str(), child.id())).or_default().push(i);
    }
    map
}

fn is_ambiguous(children: &BTreeMap<(&str, Option<&str>), Vec<usize>>) -> bool {
    // Sorted by name, then those without id first.
    let mut nameless = None;
    children.iter().any(|((name, id), all)| {
        if id.is_none() {
            nameless = Some(*name);
        }
        all.len() > 1 || (id.is_some() && nameless == Some(*name))
    })
}

/// For each child of the one element which child of the other it is, and the other way round.
pub(crate) fn pairing(from: &Element, to: &Element) -> (Vec<Option<usize>>, Vec<Option<usize>>) {
    let Pairing { old, new, .. } = pair(from, to);
    (old, new)
}

fn pair(from: &Element, to: &Element) -> Pairing {
    let (old, new) = (keyed(from), keyed(to));
    let mut pairing = Pairing {
        old: vec![None; from.children.len()],
        new: vec![None; to.children.len()],
        ambiguous: is_ambiguous(&old) || is_ambiguous(&new),
    };
    for (key, all) in &old {
        if let ([i], Some([j])) = (all.as_slice(), new.get(key).map(Vec::as_slice)) {
            pairing.old[*i] = Some(*j);
            pairing.new[*j] = Some(*i);
        }
    }
    pairing
}

impl Made {
    fn change(&mut self, operation: &str, path: &str) -> &mut Element {
        // A quote and a bracket in an id end it too early.
        self.doubtful |= super::steps(path).is_none();
        self.changes.push(Element::new("change").with("operation", operation).with("path", path));
        let last = self.changes.len() - 1;
        &mut self.changes[last]
    }

    fn gone(&mut self, from: &Element, to: &Element, path: &str) {
        if from.children == to.children {
            return;
        }
        let pairing = pair(from, to);
        self.doubtful |= pairing.ambiguous;
        for (child, other) in from.children.iter().zip(&pairing.old) {
            let path = step(path, child);
            match other.and_then(|j| to.children.get(j)) {
                Some(other) => self.gone(child, other, &path),
                None => drop(self.change("delete", &path)),
            }
        }
    }

    fn changed(&mut self, from: &Element, to: &Element, path: &str) {
        if from.attributes != to.attributes {
            self.attributes(from, to, path);
        }
        if from.children == to.children {
            return;
        }
        let pairing = pair(from, to);
        // What counts for places: not what is gone, new or was moved before.
        let mut skip_old: Vec<bool> = pairing.old.iter().map(Option::is_none).collect();
        let mut position_new = 0;
        for (i, child) in to.children.iter().enumerate() {
            let Some(j) = pairing.new[i] else {
                let change = self.change("create", path);
                change.attributes.insert("position", i.to_string());
                change.children.push(child.clone());
                continue;
            };
            let below = step(path, child);
            self.changed(&from.children[j], child, &below);
            let position_old = skip_old[..j].iter().filter(|skip| !**skip).count();
            if position_old != position_new {
                self.doubtful = true;
                self.change("move", &below).attributes.insert("position", i.to_string());
                if position_old > position_new {
                    skip_old[j] = true;
                } else {
                    continue;
                }
            }
            position_new += 1;
        }
    }

    fn attributes(&mut self, from: &Element, to: &Element, path: &str) {
        let mut list = Element::new("change-list");
        let entry =
            |name: &str, how: &str| Element::new("change-attr").with("name", name).with("operation", how);
        for (name, value) in to.attributes.iter() {
            if from.get(name) != Some(value) {
                list.children.push(entry(name, "set").with("value", value));
            }
        }
        let gone = from.attributes.keys().filter(|name| !to.attributes.contains_key(name));
        list.children.extend(gone.map(|name| entry(name, "unset")));
        let mut result = Element::new("change-result");
        let attributes = to.attributes.clone();
        result.children.push(Element { attributes, ..Element::new(&to.name) });
        self.change("modify", path).children = vec![list, result].into();
    }
}

/// Everything below the top anew.
fn coarse(from: &Element, to: &Element) -> Vec<Element> {
    let top = step("", from);
    let mut made = Made { changes: Vec::new(), doubtful: false };
    // Those that a path names surely go first; then a path without an id means what is left.
    let (named, nameless): (Vec<_>, Vec<_>) = from.children.iter().partition(|c| c.id().is_some());
    for child in named.into_iter().chain(nameless) {
        made.change("delete", &step(&top, child));
    }
    if from.attributes != to.attributes {
        made.attributes(from, to, &top);
    }
    for (i, child) in to.children.iter().enumerate() {
        let change = made.change("create", &top);
        change.attributes.insert("position", i.to_string());
        change.children.push(child.clone());
    }
    made.changes
}

fn step(path: &str, element: &Element) -> String {
    match element.id() {
        Some(id) => format!("{path}/{}[@id='{id}']", element.name),
        None => format!("{path}/{}", element.name),
    }
}
