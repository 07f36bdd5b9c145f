//! Patches of the first format: a tree of what goes and a tree of what comes, each with the way to it. Peers before 1.1.12 made them,
//! and `crm_diff` does where a document does not say its feature set.

use crate::tree::Element;

const MARK: &str = "__crm_diff_marker__";

pub(super) fn apply(root: &mut Element, patch: &Element) {
    for gone in patch.children.iter().filter(|c| c.name == "diff-removed").flat_map(|c| &c.children) {
        remove(root, gone);
    }
    for come in patch.children.iter().filter(|c| c.name == "diff-added").flat_map(|c| &c.children) {
        add(root, come);
    }
}

fn is_same(a: &Element, b: &Element) -> bool {
    a.name == b.name && a.id() == b.id()
}

fn remove(target: &mut Element, patch: &Element) {
    if !is_same(target, patch) {
        return;
    }
    for name in patch.attributes.keys().filter(|name| *name != "id") {
        target.attributes.remove(name);
    }
    for one in &patch.children {
        let Some(at) = target.children.iter().position(|c| is_same(c, one)) else { continue };
        if one.get(MARK) == Some("removed:top") {
            target.children.remove(at);
        } else {
            remove(&mut target.children[at], one);
        }
    }
}

fn add(target: &mut Element, patch: &Element) {
    if !is_same(target, patch) {
        return;
    }
    for (name, value) in patch.attributes.iter().filter(|(name, _)| *name != MARK) {
        target.attributes.insert(name, value);
    }
    for one in &patch.children {
        match target.children.iter_mut().find(|c| is_same(c, one)) {
            Some(child) => add(child, one),
            None if one.get(MARK) == Some("added:top") => {
                let mut new = one.clone();
                new.attributes.remove(MARK);
                target.children.push(new);
            }
            None => {}
        }
    }
}
