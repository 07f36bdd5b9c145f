//! Applying a patch: what is changed and taken out first, then what is put in or moved, by place.

use super::{PatchError, VERSION, first, steps};
use crate::digest::versioned;
use crate::tree::Element;
use crate::xpath::Place;

/// A patch of so many changes is of no document that we hold.
const CHANGES_MAX: usize = 4_000_000;

pub(super) fn apply(document: &Element, patch: &Element, check_version: bool) -> Result<Element, PatchError> {
    let format = patch.get("format").unwrap_or("1");
    if patch.name != "diff" || !matches!(format, "1" | "2") {
        let what = format!("<{} format=\"{format}\"> is no patch; crm_diff makes one", patch.name);
        return Err(PatchError::Failed(what));
    }
    if check_version {
        fits(document, patch, format == "2")?;
    }
    let mut new = document.clone();
    if format == "2" {
        second(&mut new, patch)?;
    } else {
        first::apply(&mut new, patch);
    }
    match patch.get("digest") {
        Some(digest) if digest != versioned(&new, document.get("crm_feature_set")) => {
            Err(PatchError::Failed(
                "what comes of it has another digest than the patch says: it was made for another document"
                    .into(),
            ))
        }
        _ => Ok(new),
    }
}

fn fits(document: &Element, patch: &Element, second: bool) -> Result<(), PatchError> {
    let number = |e: Option<&Element>, name: &str| {
        e.and_then(|e| e.get(name)).and_then(|v| v.trim().parse::<i64>().ok())
    };
    let (source, target) = if second {
        let version = patch.child("version");
        (version.and_then(|v| v.child("source")), version.and_then(|v| v.child("target")))
    } else {
        (patch.child("diff-removed"), patch.child("diff-added"))
    };
    let have = VERSION.map(|name| number(Some(document), name).unwrap_or(0).max(0));
    let mut want = have;
    let mut becomes = [have[0], have[1], have[2].saturating_add(1)];
    for (i, name) in VERSION.iter().enumerate() {
        want[i] = number(source, name).unwrap_or(want[i]);
        becomes[i] = number(target, name).unwrap_or(becomes[i]);
    }
    let text = |v: [i64; 3]| format!("{}.{}.{}", v[0], v[1], v[2]);
    if have < want {
        return Err(PatchError::Gap { have: text(have), want: text(want) });
    }
    if have > want || becomes <= want {
        return Err(PatchError::Old { have: text(have), want: text(want) });
    }
    Ok(())
}

fn second(root: &mut Element, patch: &Element) -> Result<(), PatchError> {
    let no_match = |path: &str| PatchError::Failed(format!("the document has no {path}"));
    let mut late: Vec<(usize, &Element, &str)> = Vec::new();
    for change in patch.children.iter().filter(|c| c.name == "change").take(CHANGES_MAX) {
        let Some(what) = change.get("operation") else { continue };
        let path = change.get("path").unwrap_or_default();
        let found = place(root, path);
        match (what, found) {
            ("delete", None) => {}
            ("delete", Some(at)) => {
                if root.take(&at).is_none() {
                    return Err(PatchError::Failed("a patch cannot take the whole document out".into()));
                }
            }
            (_, None) => return Err(no_match(path)),
            ("modify", Some(at)) => {
                let result = change.child("change-result").and_then(|r| r.children.first());
                let Some(result) = result else {
                    return Err(PatchError::Failed(format!("the patch does not say how {path} is to be")));
                };
                if let Some(element) = root.at_mut(&at) {
                    element.attributes = result.attributes.clone();
                }
            }
            ("create" | "move", Some(at)) => {
                let position = change.get("position").and_then(|p| p.parse().ok()).unwrap_or(0);
                late.push((position, change, path));
                if what == "move" {
                    shift(root, &at, usize::MAX);
                }
            }
            (other, _) => {
                return Err(PatchError::Failed(format!("\"{other}\" is no operation of a patch")));
            }
        }
    }
    late.sort_by_key(|(position, ..)| *position);
    for (position, change, path) in late {
        let at = place(root, path).ok_or_else(|| no_match(path))?;
        if change.get("operation") == Some("move") {
            if shift(root, &at, position) != Some(position) {
                return Err(PatchError::Failed(format!("{path} cannot be moved to place {position}")));
            }
            continue;
        }
        let (Some(parent), Some(new)) = (root.at_mut(&at), change.children.first()) else { continue };
        let position = position.min(parent.children.len());
        parent.children.insert(position, new.clone());
    }
    Ok(())
}

/// Moves an element among its siblings; its place then.
fn shift(root: &mut Element, at: &[usize], to: usize) -> Option<usize> {
    let above = at.split_last()?.1;
    let element = root.take(at)?;
    let parent = root.at_mut(above)?;
    let to = to.min(parent.children.len());
    parent.children.insert(to, element);
    Some(to)
}

/// The first element on a path.
fn place(root: &Element, path: &str) -> Option<Place> {
    let steps = steps(path)?;
    let ((name, id), below) = steps.split_first()?;
    if root.name != *name || id.is_some_and(|id| root.id() != Some(id)) {
        return None;
    }
    let mut at = root;
    let mut place = Place::new();
    for (name, id) in below {
        let child =
            at.children.iter().position(|c| c.name == *name && id.is_none_or(|id| c.id() == Some(id)))?;
        place.push(child);
        at = &at.children[child];
    }
    Some(place)
}
